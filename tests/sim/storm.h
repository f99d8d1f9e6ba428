/* Harm to the members of the metadata group alone, far more often than the nemesis does it: what goes wrong in
 * consensus needs several leaders within a few entries. Members crash, all of them at once too, are
 * paused, cut off from one another while clients still reach them, and have slow disks. Nothing of it takes
 * what is durable, so no limit on how many are harmed is kept. */
#pragma once
#include "tests/sim/workload.h"

struct storm {
    struct sim_cluster *cluster;
    struct workload *work;
    uint64_t strikes; /* out */
};
/* A simulated process's main function; arg is a struct storm. Strikes while the workload is in PHASE_WORK,
 * for a bounded time, and ends what it has begun. */
void storm_main(void *arg);
