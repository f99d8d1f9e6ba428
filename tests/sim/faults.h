/* The nemesis: a process of its own that does harm while the workload is in PHASE_WORK, then heals
 * everything and lets the checks begin.
 *
 * A seed switches each kind on or off and sets how often it strikes (swarm). Strikes are numbered; each
 * takes its time and its choices from random numbers of its own, so that leaving one out (scenario.h,
 * struct plan) leaves the others what they are. What the pool and the quorum must survive is kept:
 *   - members: a minority at a time is harmed; one at a time has lost what it promised, and only while
 *     there are three or more
 *   - a blackout crashes all processes at once: what is acknowledged has been synced
 *   - disks: any may hang, be full, be unmounted or lose its process for a while, since what it acknowledged stays;
 *     only one of them, the victim of the seed, loses or changes what it has acknowledged */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "tests/sim/workload.h"

#define FAULT_LIST(X)                              \
    X(CHUNK_CRASH, "chunk crashes")                \
    X(MEMBER_CRASH, "member crashes")              \
    X(GATEWAY_CRASH, "gateway crashes")            \
    X(CRASH_POINT, "crashes at a primitive")       \
    X(CRASH_SEVERAL, "crashes of several at once") \
    X(BLACKOUT, "blackouts")                       \
    X(AIMED, "aimed at a request")                 \
    X(REPLY, "replies lost")                       \
    X(PAUSE, "pauses")                             \
    X(RESET, "resets")                             \
    X(CUT_ONE_WAY, "one-way cuts")                 \
    X(CUT, "partitions")                           \
    X(SLOW_LINK, "slow links")                     \
    X(HALF_OPEN, "half-open connections")          \
    X(LOSSY, "lossy links")                        \
    X(NARROW, "narrow links")                      \
    X(SKEW, "skewed clocks")                       \
    X(DRIFT, "drifting clocks")                    \
    X(DISK_SLOW, "slow disks")                     \
    X(DISK_HANG, "hung disks")                     \
    X(DISK_FULL, "full disks")                     \
    X(READ_ERROR, "disk errors")                   \
    X(ROT, "rotten bytes")                         \
    X(BAD_SECTORS, "bad sectors")                  \
    X(LIE, "lies of a disk")                       \
    X(WIPE, "wiped disks")                         \
    X(MEMBER_SLOW, "slow disks of members")        \
    X(MEMBER_HANG, "hung disks of members")        \
    X(MEMBER_ERROR, "disk errors of members")      \
    X(MEMBER_FULL, "full disks of members")        \
    X(DISK_FAIL, "disks failed by the operator")   \
    X(DRAIN, "disks drained or taken in")          \
    X(GROW, "chunkservers added")                  \
    X(TRANSFER, "leaderships handed over")         \
    X(COMPACT, "logs compacted by the operator")   \
    X(MEMBER_ADD, "members added")                 \
    X(MEMBER_REMOVE, "members removed")            \
    X(MEMBER_REPLACE, "members replaced")          \
    X(MEMBER_ROLL, "all members replaced")         \
    X(MEMBER_WIPE, "members' disks wiped")         \
    X(MEMBER_ROT, "rot on members' disks")         \
    X(UNMOUNT, "unmounted disks")

enum fault {
#define X(name, text) FAULT_##name,
    FAULT_LIST(X)
#undef X
        FAULT_KINDS
};
const char *fault_name(enum fault kind);

enum { STRIKES_MAX = 8192, STRIKE_WORDS = STRIKES_MAX / 64 };

struct faults {
    struct sim_cluster *cluster;
    struct workload *work;
    uint64_t seed;
    uint64_t on;             /* bits: 1 << kind */
    const uint64_t *strikes; /* bits by number: those that may strike; NULL: all */
    uint64_t gap;            /* ns, mean between two strikes */
    uint32_t victim;         /* number of the disk that may lose data */
    /* out */
    uint64_t counts[FAULT_KINDS];
    uint64_t struck[STRIKE_WORDS]; /* bits by number */
};
/* Chooses what strikes and how often. */
void faults_choose(struct faults *f, bool none);
/* A simulated process's main function; arg is a struct faults. */
void faults_main(void *arg);
