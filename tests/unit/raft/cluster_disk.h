/* A member's disk as the driver would keep it: a log that is compacted and reset, a state that is
 * applied to, read as an image and installed from one. */
#pragma once
#include "tests/unit/raft/cluster_types.h"

static inline uint64_t cluster_log_last(const struct cluster_log *log)
{
    return log->base + log->entries.n;
}

static inline const struct raft_entry *cluster_log_at(const struct cluster_log *log, uint64_t index)
{
    return index > log->base && index <= cluster_log_last(log)
               ? &log->entries.v[index - log->base - 1]
               : NULL;
}

/* 0: not known (any more). */
static inline uint64_t cluster_log_term(const struct cluster_log *log, uint64_t index)
{
    const struct raft_entry *e = cluster_log_at(log, index);
    return e ? e->term : index == log->base ? log->base_term : 0;
}

static inline void cluster_keep_configuration(struct cluster_log *log, const struct raft_entry *e)
{
    raft_payload_ref(e->payload);
    raft_payload_unref(log->base_configuration.payload);
    log->base_configuration = *e;
}

static inline void cluster_log_reset(struct cluster_log *log, const struct raft_snapshot *s)
{
    raft_entries_clear(&log->entries);
    log->base = s->index;
    log->base_term = s->term;
    cluster_keep_configuration(log, &s->configuration);
}

static inline void cluster_log_compact(struct cluster_log *log, uint64_t index)
{
    size_t gone = index - log->base;
    log->base_term = cluster_log_term(log, index);
    for (size_t i = 0; i < gone; i++) {
        if (log->entries.v[i].type == RAFT_ENTRY_CONFIGURATION)
            cluster_keep_configuration(log, &log->entries.v[i]);
        raft_payload_unref(log->entries.v[i].payload);
    }
    log->entries.n -= gone;
    memmove(log->entries.v, log->entries.v + gone, log->entries.n * sizeof *log->entries.v);
    log->base = index;
}

/* What a snapshot of index stands for; payload not counted. */
static inline struct raft_snapshot cluster_snapshot(const struct cluster *c, uint64_t index)
{
    struct raft_snapshot s = {.index = index, .term = c->applied_term[index]};
    uint64_t i = index;
    while (i > 0 && c->applied_type[i] != RAFT_ENTRY_CONFIGURATION)
        i--;
    s.configuration = (struct raft_entry){.index = i,
                                          .term = c->applied_term[i],
                                          .type = RAFT_ENTRY_CONFIGURATION,
                                          .payload = c->applied_payload[i]};
    return s;
}

/* The image is a function of the state alone. */
static inline size_t cluster_image(uint64_t index, uint64_t state, uint8_t *out)
{
    size_t n = index * 31 % 120;
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)(state >> (i % 8 * 8) ^ i);
    return n;
}

/* D8: a crash between the state's switch and the log's reset. */
static inline void cluster_reconcile(struct cluster *c, struct cluster_node *n)
{
    if (n->applied < n->log.base)
        return;
    if (cluster_log_term(&n->log, n->applied) == c->applied_term[n->applied])
        return;
    struct raft_snapshot s = cluster_snapshot(c, n->applied);
    cluster_log_reset(&n->log, &s);
}

/* Up to a NUL: what pads an entry is not shown. */
static inline int cluster_text_length(const struct raft_payload *p)
{
    const uint8_t *end = memchr(p->data, 0, p->length);
    return end ? (int)(end - p->data) : (int)p->length;
}

static inline uint64_t cluster_digest(uint64_t state, const struct raft_entry *e)
{
    state = (state ^ e->term) * UINT64_C(0x9e3779b97f4a7c15) + e->index;
    for (size_t i = 0; i < raft_entry_length(e); i++)
        state = (state ^ e->payload->data[i]) * UINT64_C(0x100000001b3);
    return state;
}

/* State machine safety (figure 3). */
static inline void cluster_apply(struct cluster *c, struct cluster_node *n)
{
    while (n->applied < n->apply_to && !c->failed) {
        uint64_t i = ++n->applied;
        const struct raft_entry *e = cluster_log_at(&n->log, i);
        cluster_check(c, e && i < CLUSTER_INDEX_MAX, "applied before it was durable");
        if (c->failed)
            return;
        n->state = cluster_digest(n->state, e);
        if (i > c->highest_applied) {
            c->highest_applied = i;
            c->applied_term[i] = e->term;
            c->applied_type[i] = e->type;
            c->applied_state[i] = n->state;
            c->applied_payload[i] = raft_payload_ref(e->payload);
        }
        cluster_check(c, c->applied_term[i] == e->term && c->applied_state[i] == n->state,
                      "two members applied different entries");
        if (c->trace)
            c->trace(c, "%llu applies %llu/%llu%s%.*s", (unsigned long long)n->id,
                     (unsigned long long)i, (unsigned long long)e->term,
                     e->type == RAFT_ENTRY_NOOP            ? " no-op"
                     : e->type == RAFT_ENTRY_CONFIGURATION ? " configuration"
                                                           : " ",
                     e->type == RAFT_ENTRY_COMMAND ? cluster_text_length(e->payload) : 0,
                     e->type == RAFT_ENTRY_COMMAND ? (const char *)e->payload->data : "");
    }
}

static inline void cluster_drop_piece(struct cluster_node *n)
{
    raft_payload_unref(n->pieces[0].piece);
    raft_payload_unref(n->pieces[0].snapshot.configuration.payload);
    memmove(n->pieces, n->pieces + 1, --n->piece_count * sizeof *n->pieces);
}

/* The image is whole: it becomes the state in one step, and the core is told in the next. */
static inline void cluster_switch(struct cluster *c, struct cluster_node *n)
{
    uint8_t bytes[CLUSTER_IMAGE_MAX];
    uint64_t index = n->side.index;
    size_t length = cluster_image(index, c->applied_state[index], bytes);
    cluster_check(c, length == n->side.n && memcmp(bytes, n->side.bytes, length) == 0,
                  "an image came out different");
    cluster_check(c, index > n->applied, "an image that is older than the state");
    n->applied = index;
    n->state = c->applied_state[index];
    n->discarded = false;
    n->side.switched = true;
    c->installs_done++;
    if (c->trace)
        c->trace(c, "%llu installs snapshot %llu/%llu", (unsigned long long)n->id,
                 (unsigned long long)index, (unsigned long long)c->applied_term[index]);
}
