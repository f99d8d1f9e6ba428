/* Branches of the product that a run does not take by itself: how often each was taken, over all
 * processes of the world. The soak prints the sums, so that a branch that no scenario reaches shows. */
#pragma once
#include <stdint.h>

#define RARE_LIST(X)                                             \
    X(INSTALL, "snapshots installed")                            \
    X(COMPACTION, "logs compacted")                              \
    X(LEADER_LEAVES, "leaders removed")                          \
    X(FOLLOW, "shards copied after a placement had changed")     \
    X(STALE_SLOT, "requests refused for an older placement")     \
    X(SESSION_EXPIRED, "expired sessions")                       \
    X(SESSION_AGAIN, "results told again to a session")          \
    X(SDK_AGAIN, "results told again to an SDK")                 \
    X(REBUILD, "shards rebuilt")                                 \
    X(SUSPECT, "disks called suspect")                           \
    X(BREAKER, "calls that a breaker refused")                   \
    X(STARTED, "chunkservers started again to find new members") \
    X(ROT_REFUSED, "members that refused to start over rot")     \
    X(ROT_UNNOTICED, "members that started in spite of rot")

enum rare {
#define X(name, text) RARE_##name,
    RARE_LIST(X)
#undef X
        RARE_KINDS
};
const char *rare_name(enum rare kind);
void rare_note(enum rare kind);
/* Since the world began. */
void rare_counts(uint64_t counts[RARE_KINDS]);
