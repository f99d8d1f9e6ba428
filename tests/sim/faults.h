/* The nemesis: a process of its own that does harm while the workload is in PHASE_WORK, then heals
 * everything and lets the checks begin.
 *
 * A seed switches each kind on or off and sets how often it strikes (swarm). What the pool and the
 * quorum must survive is kept:
 *   - members: a minority at a time is crashed, paused or cut off
 *   - a blackout crashes all processes at once: what is acknowledged has been synced
 *   - disks: any chunkserver may crash, pause, be cut off or hang, since what it acknowledged stays;
 *     only one of them, the victim of the seed, loses or changes what it has acknowledged */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "tests/sim/workload.h"

#define FAULT_LIST(X)                            \
    X(CHUNK_CRASH, "chunk crashes")              \
    X(MEMBER_CRASH, "member crashes")            \
    X(GATEWAY_CRASH, "gateway crashes")          \
    X(CRASH_POINT, "crashes at a primitive")     \
    X(RESET, "resets")                           \
    X(CUT_ONE_WAY, "one-way cuts")               \
    X(CUT, "partitions")                         \
    X(SLOW_LINK, "slow links")                   \
    X(PAUSE, "pauses")                           \
    X(SKEW, "skewed clocks")                     \
    X(DISK_SLOW, "slow disks")                   \
    X(DISK_HANG, "hung disks")                   \
    X(READ_ERROR, "read errors")                 \
    X(ROT, "rotten bytes")                       \
    X(WIPE, "wiped disks")                       \
    X(DISK_FAIL, "disks failed by the operator") \
    X(DRAIN, "disks drained")                    \
    X(GROW, "chunkservers added")                \
    X(BLACKOUT, "blackouts")

enum fault {
#define X(name, text) FAULT_##name,
    FAULT_LIST(X)
#undef X
        FAULT_KINDS
};
const char *fault_name(enum fault kind);

struct faults {
    struct sim_cluster *cluster;
    struct workload *work;
    int client;      /* pid of the gateway's process */
    uint32_t on;     /* bits: 1 << kind */
    uint64_t gap;    /* ns, mean between two strikes */
    uint32_t victim; /* index of the chunkserver whose disk may lose data */
    /* out */
    uint64_t counts[FAULT_KINDS];
};
/* Chooses what strikes and how often, from the world's random numbers. */
void faults_choose(struct faults *f, bool none);
/* A simulated process's main function; arg is a struct faults. */
void faults_main(void *arg);
