/* The contract of sys.h on the simulated floor. */
#include "tests/unit/sys/contract.h"
#include "tests/unit/sys/contract_files.h"

static const struct test tests[] = {CONTRACT_TESTS, CONTRACT_FILE_TESTS, {0}};
SUITE("sys contract, simulated", tests)
