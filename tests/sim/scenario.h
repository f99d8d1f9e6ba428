/* One seed: a random cluster, its work, its faults; run, checked, and told. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "tests/sim/faults.h"

struct outcome {
    uint64_t hash, crashes, puts, gets, deletes, lists, copies, uploads, refused;
    uint64_t faults[FAULT_KINDS];
    int64_t virtual_ns;
    bool passed;
    char problem[400];
};
void scenario_run(uint64_t seed, bool trace, struct outcome *out);
