/* One seed: a random cluster, its work, its faults; run, checked, and told. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "tests/sim/faults.h"
#include "tests/sim/rare.h"

/* What of a seed is run. plan_whole: all of it; less is what shrinking has found to be enough. */
struct plan {
    uint64_t seed;
    bool trace;
    uint64_t kinds;                 /* bits of enum fault: those that may strike */
    uint64_t strikes[STRIKE_WORDS]; /* bits by number: those that may strike */
    uint32_t clients, operations;   /* at most */
};

struct outcome {
    uint64_t hash, crashes, puts, gets, deletes, lists, copies, uploads, refused;
    uint64_t faults[FAULT_KINDS], rare[RARE_KINDS];
    uint64_t on;                   /* kinds that the seed has switched on */
    uint64_t struck[STRIKE_WORDS]; /* strikes that were made */
    uint32_t clients, operations;  /* of each client */
    int64_t virtual_ns;
    bool passed;
    char problem[400];
    char shape[200]; /* the cluster, in words */
};
void plan_whole(struct plan *plan, uint64_t seed);
void scenario_run(const struct plan *plan, struct outcome *out);
