/* The same cases on LevelDB and the real floor. */
#include "tests/unit/kv/test_contract.c"
