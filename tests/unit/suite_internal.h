/* Between suite.c, which knows CUnit, and the floor that runs a test. */
#pragma once
#include "tests/unit/suite.h"

/* Runs the test in a world of its own, with an empty suite_dir(); calls suite_check for what the
 * test left behind. */
void suite_floor_run(const struct test *test, uint64_t seed);
