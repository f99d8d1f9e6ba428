/* A group of cores, its disks and its network, as cluster.h runs them. */
#pragma once
#include <stdio.h>
#include <string.h>
#include "common/base/alloc.h"
#include "metadata/raft/raft.h"
#include "tests/unit/suite.h"

enum {
    CLUSTER_MAX = 7,
    CLUSTER_INDEX_MAX = 8192,
    CLUSTER_TERM_MAX = 8192,
    CLUSTER_IMAGE_MAX = 256
};

struct cluster_write {
    uint64_t sequence, truncate_from;
    struct raft_snapshot reset;
    bool hard_changed;
    struct raft_hard_state hard;
    struct raft_entries entries;
};
/* The durable log: entry i at v[i - base - 1]. */
struct cluster_log {
    uint64_t base, base_term;
    struct raft_entry base_configuration; /* the last one up to base; index 0: none */
    struct raft_entries entries;
};
/* An image that is being received. */
struct cluster_side {
    uint64_t index;
    size_t n;
    uint8_t bytes[CLUSTER_IMAGE_MAX];
    bool switched; /* it is the state; the core does not know yet */
};
struct cluster_node {
    raft_id id; /* 1 .. */
    bool exists, alive;
    struct raft *raft;
    struct raft_effects effects;
    /* the disk */
    struct raft_hard_state hard;
    struct cluster_log log;
    uint64_t applied; /* the state's, synced */
    uint64_t state;   /* digest of all that was applied */
    bool discarded;   /* the state was thrown away */
    /* lost in a crash */
    struct cluster_write *writes;
    size_t write_count, write_capacity;
    uint64_t persisted;
    struct raft_message *held;
    size_t held_count, held_capacity;
    struct raft_snapshot_read asked[64];
    size_t asked_count;
    struct raft_install_piece pieces[256];
    size_t piece_count;
    struct cluster_side side;
    uint64_t image; /* index of the image that it hands out; 0: none */
    uint64_t apply_to, commit_seen;
    enum raft_role role_seen;
    uint64_t life;
    uint64_t clock_rate; /* thousandths */
};
struct cluster {
    struct cluster_node nodes[CLUSTER_MAX + 1]; /* by id */
    struct raft_message *network;
    size_t network_count, network_capacity;
    struct raft_message late[32]; /* held up for long */
    int64_t late_until[32];
    size_t late_count;
    bool cut[CLUSTER_MAX + 1][CLUSTER_MAX + 1];
    uint64_t lost_append; /* appends that begin with this entry are lost */
    bool lost_piece;      /* the next piece of a snapshot is lost */
    bool slow_disks;      /* writes become durable only when the test says so */
    bool slow_apply;
    bool compacts;
    bool settling;
    uint64_t seed;
    size_t cache_bytes, piece_bytes;
    int64_t lease_ns, time;
    /* what was seen anywhere */
    uint64_t applied_term[CLUSTER_INDEX_MAX];
    enum raft_entry_type applied_type[CLUSTER_INDEX_MAX];
    struct raft_payload *applied_payload[CLUSTER_INDEX_MAX];
    uint64_t applied_state[CLUSTER_INDEX_MAX];
    uint64_t highest_applied;
    raft_id leader_of[CLUSTER_TERM_MAX];
    uint64_t highest_leader_term;
    raft_id vote_of[CLUSTER_MAX + 1][CLUSTER_TERM_MAX];
    uint64_t read_floor[4096], read_term[4096]; /* by read number: when it was asked */
    uint64_t read_next, reads_done;
    uint64_t installs_done, resets_done, leased_reads, transfers_done, removals_seen;
    void (*trace)(struct cluster *c, const char *format, ...);
    void (*trace_message)(struct cluster *c, const struct raft_message *m);
    bool failed;
};

static inline void cluster_check(struct cluster *c, bool ok, const char *what)
{
    if (!ok && !c->failed) {
        c->failed = true;
        suite_check(false, __FILE__, __LINE__, "seed %llu: %s", (unsigned long long)c->seed, what);
    }
}

static inline int64_t cluster_clock(const struct cluster *c, const struct cluster_node *n)
{
    return (int64_t)n->id * 100000 + c->time * (int64_t)n->clock_rate / 1000;
}
