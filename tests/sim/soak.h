/* Many seeds, each in a process of its own, so that an assertion ends one seed and not the soak. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "tests/sim/scenario.h"

enum { SOAK_JOBS_MAX = 16 };

struct soak {
    const char *program;
    const struct plan *plan; /* of every seed, but for its number */
    uint64_t jobs;
    /* out */
    uint64_t passed, failed;
    struct outcome all; /* sums */
};
/* Runs them; failures say how to replay them. Every 25th seed is run twice and must be the same run. */
void soak_run(struct soak *s, const uint64_t *seeds, size_t n);
/* Rates, work, faults by kind; closes with 'N passed, N failed'. */
void soak_print(const struct soak *s, size_t seeds, double seconds);
