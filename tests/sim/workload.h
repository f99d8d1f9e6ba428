/* Random client work with a model of what each key may hold.
 *
 * Each client owns its keys, so its history is sequential: after an acknowledged write a key holds
 * that value; after one whose outcome is not known it holds the old or the new. A read decides. What
 * a key held when it was acknowledged must come back, byte by byte. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "tests/sim/cluster.h"

struct workload {
    struct sim_cluster *cluster;
    uint32_t clients, operations; /* operations of each client */
    /* out */
    uint32_t done; /* clients that have finished */
    uint64_t puts, gets, deletes, refused;
    bool failed;
    char problem[256];
};
/* A simulated process's main function; arg is a struct workload. Ends the process when all is done,
 * having read every key once more. */
void workload_main(void *arg);
