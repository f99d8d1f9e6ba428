/* A whole cluster in the simulated world: the product's own servers (tools/server.h) as simulated
 * processes, each on a host of its own.
 *
 *   metadata-1..   hosts 1..     port 7000    metadata-1 bootstraps, the others join
 *   chunk-1..      hosts 101..   port 7200    one disk each, in /disk
 *   client         host 200                   a gateway without a listener, and the workload
 *   nemesis        host 250                   faults and the operator's work */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "tools/server.h"
#include "tools/verb_view.h"

enum {
    SIM_METADATA_MAX = 5,
    SIM_CHUNKS_MAX = 20,
    SIM_CHUNK_HOST = 100,
    SIM_CLIENT_HOST = 200,
    SIM_NEMESIS_HOST = 250,
};

struct sim_cluster {
    uint32_t metadata_count, chunk_count;
    uint32_t k, m;
    uint32_t inline_max;
    int64_t restart_after;
    int metadata[SIM_METADATA_MAX], chunks[SIM_CHUNKS_MAX]; /* pids */
    bool may_exit[SIM_CHUNKS_MAX]; /* what was done to its disk may make it give up */
};

/* Starts the servers' processes, which come back by themselves restart_after their ends. */
void sim_cluster_start(struct sim_cluster *c);
/* One chunkserver more, with an empty disk; nothing when there are SIM_CHUNKS_MAX. */
void sim_cluster_grow(struct sim_cluster *c);
/* Within a process: a gateway of that cluster. Waits until the pool has its placement groups. */
enum err sim_cluster_connect(struct sim_cluster *c, struct server *out,
                             struct config *config) MUST_USE;
/* Within a process: what an operator's verbs use; view_close ends it. */
enum err sim_cluster_view(struct sim_cluster *c, struct cluster_view *out) MUST_USE;

extern const char sim_access_key[], sim_secret[];
