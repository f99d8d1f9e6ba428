/* A whole cluster in the simulated world: the product's own servers (tools/server.h) as simulated
 * processes, each on a host of its own.
 *
 *   metadata-1..   hosts 1..     port 7000    metadata-1 bootstraps, the others join
 *   chunk-1..      hosts 101..   port 7200    one disk each, in /disk
 *   client         host 200                   a gateway without a listener, and the workload */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "tools/server.h"

enum { SIM_METADATA_MAX = 5, SIM_CHUNKS_MAX = 20, SIM_CLIENT_HOST = 200, SIM_CHUNK_HOST = 100 };

struct sim_cluster {
    uint32_t metadata_count, chunk_count;
    uint32_t k, m;
    uint32_t inline_max;
    int metadata[SIM_METADATA_MAX], chunks[SIM_CHUNKS_MAX]; /* pids */
};

/* Starts the servers' processes; restart_after as sim_restart_after for all of them. */
void sim_cluster_start(struct sim_cluster *c, int64_t restart_after);
/* Within the client's process: a gateway of that cluster. Waits until the pool has its placement
 * groups. */
enum err sim_cluster_connect(struct sim_cluster *c, struct server *out,
                             struct config *config) MUST_USE;

extern const char sim_access_key[], sim_secret[];
