/* A group of cores in one thread: their disks, a network of messages that the test decides about,
 * and the properties of Raft (figure 3) checked after every step. Pure: no floor is used but memory. */
#pragma once
#include <stdio.h>
#include <string.h>
#include "common/base/alloc.h"
#include "metadata/raft/raft.h"
#include "tests/unit/suite.h"

enum { CLUSTER_MAX = 7, CLUSTER_INDEX_MAX = 8192, CLUSTER_TERM_MAX = 8192 };

struct cluster_write {
    uint64_t sequence, truncate_from;
    bool hard_changed;
    struct raft_hard_state hard;
    struct raft_entries entries;
};
struct cluster_node {
    raft_id id; /* 1 .. */
    bool exists, alive;
    struct raft *raft;
    struct raft_effects effects;
    /* the disk */
    struct raft_hard_state hard;
    struct raft_entries log; /* entry i at v[i - 1] */
    uint64_t applied;        /* the state's, synced */
    /* lost in a crash */
    struct cluster_write *writes;
    size_t write_count, write_capacity;
    uint64_t persisted;
    struct raft_message *held;
    size_t held_count, held_capacity;
    uint64_t apply_to, commit_seen;
    enum raft_role role_seen;
    uint64_t life;
};
struct cluster {
    struct cluster_node nodes[CLUSTER_MAX + 1]; /* by id */
    struct raft_message *network;
    size_t network_count, network_capacity;
    bool cut[CLUSTER_MAX + 1][CLUSTER_MAX + 1];
    uint64_t lost_append; /* appends that begin with this entry are lost */
    bool slow_disks;      /* writes become durable only when the test says so */
    bool slow_apply;
    bool settling;
    uint64_t seed;
    size_t cache_bytes;
    /* what was seen anywhere */
    uint64_t applied_term[CLUSTER_INDEX_MAX];
    struct raft_payload *applied_payload[CLUSTER_INDEX_MAX];
    uint64_t highest_applied;
    raft_id leader_of[CLUSTER_TERM_MAX];
    uint64_t read_floor[4096]; /* by read number: what was applied when it was asked */
    uint64_t read_next, reads_done;
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

static inline void cluster_network_add(struct cluster *c, const struct raft_message *m)
{
    if (c->network_count == c->network_capacity) {
        c->network_capacity = c->network_capacity ? 2 * c->network_capacity : 64;
        c->network = sys_realloc(c->network, c->network_capacity * sizeof *c->network);
    }
    struct raft_message *to = &c->network[c->network_count++];
    *to = *m;
    to->entries = (struct raft_entries){0};
    for (size_t i = 0; i < m->entries.n; i++)
        raft_entries_push(&to->entries, &m->entries.v[i]);
    if (c->trace_message)
        c->trace_message(c, to);
}

/* Log completeness (figure 3): a leader has all that was ever applied. */
static inline void cluster_leader_appeared(struct cluster *c, struct cluster_node *n)
{
    struct raft_status s;
    raft_status(n->raft, &s);
    cluster_check(c, s.term < CLUSTER_TERM_MAX, "too many terms");
    if (c->failed)
        return;
    cluster_check(c, !c->leader_of[s.term] || c->leader_of[s.term] == n->id,
                  "two leaders in one term");
    c->leader_of[s.term] = n->id;
    cluster_check(c, s.last_index >= c->highest_applied, "a leader lacks what was applied");
    for (uint64_t i = 1; i <= n->log.n && i <= c->highest_applied; i++)
        cluster_check(c, n->log.v[i - 1].term == c->applied_term[i],
                      "a leader has another entry than what was applied");
}

/* Up to a NUL: what pads an entry is not shown. */
static inline int cluster_text_length(const struct raft_payload *p)
{
    const uint8_t *end = memchr(p->data, 0, p->length);
    return end ? (int)(end - p->data) : (int)p->length;
}

/* State machine safety (figure 3). */
static inline void cluster_apply(struct cluster *c, struct cluster_node *n)
{
    while (n->applied < n->apply_to && !c->failed) {
        uint64_t i = ++n->applied;
        cluster_check(c, i <= n->log.n && i < CLUSTER_INDEX_MAX, "applied before it was durable");
        if (c->failed)
            return;
        const struct raft_entry *e = &n->log.v[i - 1];
        if (i > c->highest_applied) {
            c->highest_applied = i;
            c->applied_term[i] = e->term;
            c->applied_payload[i] = raft_payload_ref(e->payload);
        }
        const struct raft_payload *known = c->applied_payload[i];
        bool same = c->applied_term[i] == e->term && !known == !e->payload &&
                    (!known || (known->length == e->payload->length &&
                                memcmp(known->data, e->payload->data, known->length) == 0));
        cluster_check(c, same, "two members applied different entries");
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

static inline void cluster_queue_write(struct cluster_node *n)
{
    struct raft_effects *e = &n->effects;
    if (!e->persist_sequence)
        return;
    if (n->write_count == n->write_capacity) {
        n->write_capacity = n->write_capacity ? 2 * n->write_capacity : 8;
        n->writes = sys_realloc(n->writes, n->write_capacity * sizeof *n->writes);
    }
    struct cluster_write *w = &n->writes[n->write_count++];
    *w = (struct cluster_write){.sequence = e->persist_sequence,
                                .truncate_from = e->truncate_from,
                                .hard_changed = e->hard_state_changed,
                                .hard = e->hard_state};
    for (size_t i = 0; i < e->entries.n; i++)
        raft_entries_push(&w->entries, &e->entries.v[i]);
}

static inline void cluster_send(struct cluster *c, struct cluster_node *n, struct raft_message *m)
{
    if (m->after <= n->persisted) {
        cluster_network_add(c, m);
        return;
    }
    if (n->held_count == n->held_capacity) {
        n->held_capacity = n->held_capacity ? 2 * n->held_capacity : 16;
        n->held = sys_realloc(n->held, n->held_capacity * sizeof *n->held);
    }
    n->held[n->held_count++] = *m;
    m->entries = (struct raft_entries){0};
}

static inline void cluster_settle_disk(struct cluster *c, struct cluster_node *n);
static inline enum err cluster_step(struct cluster *c, struct cluster_node *n,
                                    const struct raft_event *event);

static inline void cluster_loads(struct cluster *c, struct cluster_node *n,
                                 const struct raft_load *loads, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct raft_entries found = {0};
        size_t bytes = 0;
        for (uint64_t k = loads[i].first; k <= loads[i].last && k <= n->log.n; k++) {
            if (found.n && bytes + raft_entry_bytes(&n->log.v[k - 1]) > loads[i].max_bytes)
                break;
            bytes += raft_entry_bytes(&n->log.v[k - 1]);
            raft_entries_push(&found, &n->log.v[k - 1]);
        }
        enum err e =
            cluster_step(c, n,
                         &(struct raft_event){
                             .type = RAFT_LOADED, .member = loads[i].member, .entries = &found});
        cluster_check(c, e == OK, "a load was refused");
        raft_entries_release(&found);
    }
}

static inline void cluster_results(struct cluster *c, struct cluster_node *n)
{
    for (size_t i = 0; i < n->effects.read_count; i++) {
        const struct raft_read_result *r = &n->effects.reads[i];
        if (c->trace)
            c->trace(c, "%llu answers read %llu: %s index=%llu", (unsigned long long)n->id,
                     (unsigned long long)r->read, err_name(r->err), (unsigned long long)r->index);
        if (r->err)
            continue;
        c->reads_done++;
        cluster_check(c, r->index >= c->read_floor[r->read % 4096] && n->applied >= r->index,
                      "a read would not see what was applied before it");
    }
    cluster_check(c, !n->effects.violation, n->effects.violation ? n->effects.violation : "");
}

static inline void cluster_notice(struct cluster *c, struct cluster_node *n)
{
    struct raft_status s;
    raft_status(n->raft, &s);
    if (s.role != n->role_seen && c->trace)
        c->trace(c, "%llu becomes %s term=%llu", (unsigned long long)n->id, raft_role_name(s.role),
                 (unsigned long long)s.term);
    bool leads = s.role == RAFT_LEADER && n->role_seen != RAFT_LEADER;
    n->role_seen = s.role;
    if (leads)
        cluster_leader_appeared(c, n);
    cluster_check(c, s.commit >= n->commit_seen, "a commit index went back");
    n->commit_seen = s.commit;
}

static inline enum err cluster_step(struct cluster *c, struct cluster_node *n,
                                    const struct raft_event *event)
{
    enum err e = raft_step(n->raft, event, &n->effects);
    cluster_notice(c, n);
    cluster_queue_write(n);
    for (size_t i = 0; i < n->effects.message_count; i++)
        cluster_send(c, n, &n->effects.messages[i]);
    if (n->effects.apply_to)
        n->apply_to = n->effects.apply_to;
    cluster_results(c, n);
    struct raft_load loads[CLUSTER_MAX];
    size_t load_count = n->effects.load_count;
    for (size_t i = 0; i < load_count; i++)
        loads[i] = n->effects.loads[i];
    raft_effects_clear(&n->effects);
    cluster_loads(c, n, loads, load_count);
    if (!c->slow_disks && !c->settling) {
        c->settling = true;
        cluster_settle_disk(c, n);
        c->settling = false;
    }
    return e;
}

static inline void cluster_do(struct cluster *c, struct cluster_node *n, struct raft_event event)
{
    if (cluster_step(c, n, &event)) {
        cluster_check(c, false, "an event that cannot be refused was refused");
    }
}

/* One write becomes durable: truncate, entries, hard state; then what waited for it leaves. */
static inline bool cluster_persist_one(struct cluster *c, struct cluster_node *n)
{
    if (n->write_count == 0)
        return false;
    struct cluster_write w = n->writes[0];
    memmove(n->writes, n->writes + 1, --n->write_count * sizeof *n->writes);
    while (w.truncate_from && n->log.n >= w.truncate_from)
        raft_payload_unref(n->log.v[--n->log.n].payload);
    for (size_t i = 0; i < w.entries.n; i++) {
        cluster_check(c, w.entries.v[i].index == n->log.n + 1, "a hole in a log");
        raft_entries_push(&n->log, &w.entries.v[i]);
    }
    if (w.hard_changed)
        n->hard = w.hard;
    raft_entries_release(&w.entries);
    n->persisted = w.sequence;
    size_t kept = 0;
    for (size_t i = 0; i < n->held_count; i++) {
        if (n->held[i].after > n->persisted) {
            n->held[kept++] = n->held[i];
            continue;
        }
        cluster_network_add(c, &n->held[i]);
        raft_message_release(&n->held[i]);
    }
    n->held_count = kept;
    cluster_do(c, n, (struct raft_event){.type = RAFT_PERSISTED, .sequence = w.sequence});
    return true;
}

static inline void cluster_apply_all(struct cluster *c, struct cluster_node *n)
{
    uint64_t before = n->applied;
    cluster_apply(c, n);
    if (n->applied > before && !c->failed)
        cluster_do(c, n, (struct raft_event){.type = RAFT_APPLIED, .index = n->applied});
}

static inline void cluster_settle_disk(struct cluster *c, struct cluster_node *n)
{
    do {
        while (cluster_persist_one(c, n))
            ;
        if (!c->slow_apply)
            cluster_apply_all(c, n);
    } while (n->write_count && !c->failed);
}

static inline void cluster_crash(struct cluster_node *n)
{
    if (!n->alive)
        return;
    for (size_t i = 0; i < n->write_count; i++)
        raft_entries_release(&n->writes[i].entries);
    for (size_t i = 0; i < n->held_count; i++)
        raft_message_release(&n->held[i]);
    n->write_count = n->held_count = 0;
    raft_effects_release(&n->effects);
    raft_free(n->raft);
    n->raft = NULL;
    n->alive = false;
}

static inline void cluster_start_node(struct cluster *c, struct cluster_node *n)
{
    struct term_runs terms;
    struct raft_entries configurations = {0};
    term_runs_init(&terms);
    for (size_t i = 0; i < n->log.n; i++) {
        term_runs_append(&terms, n->log.v[i].term);
        if (n->log.v[i].type == RAFT_ENTRY_CONFIGURATION)
            raft_entries_push(&configurations, &n->log.v[i]);
    }
    struct raft_options options = {.id = n->id,
                                   .seed = c->seed * 1000 + n->life++,
                                   .cache_bytes = c->cache_bytes,
                                   .batch_bytes = 400,
                                   .inflight_bytes = 2000};
    struct raft_restored restored = {.hard = n->hard,
                                     .terms = &terms,
                                     .configurations = configurations.v,
                                     .configuration_count = configurations.n,
                                     .applied = n->applied};
    enum err e = raft_new(&options, &restored, &n->raft);
    cluster_check(c, e == OK, "a core does not start");
    term_runs_release(&terms);
    raft_entries_release(&configurations);
    raft_effects_init(&n->effects);
    n->alive = true;
    n->persisted = 0;
    n->role_seen = RAFT_FOLLOWER;
    n->apply_to = n->commit_seen = raft_commit(n->raft);
    if (!c->slow_apply)
        cluster_apply_all(c, n);
}

/* voters: how many of 1 .. are in entry 1; 0: an empty log. */
static inline struct cluster_node *cluster_add(struct cluster *c, raft_id id, size_t voters)
{
    struct cluster_node *n = &c->nodes[id];
    n->id = id;
    n->exists = true;
    if (voters) {
        struct raft_configuration first = {0};
        for (raft_id i = 1; i <= voters; i++)
            CHECK_OK(raft_configuration_set(&first, i, RAFT_VOTER, ""));
        struct raft_entry e = raft_bootstrap_entry(&first);
        raft_entries_push(&n->log, &e);
        raft_payload_unref(e.payload);
        n->hard = (struct raft_hard_state){.term = 1, .commit = 1};
    }
    return n;
}

static inline struct cluster *cluster_new(uint64_t seed)
{
    struct cluster *c = sys_alloc(sizeof *c);
    c->seed = seed;
    return c;
}

static inline void cluster_free(struct cluster *c)
{
    for (size_t i = 0; i <= CLUSTER_MAX; i++) {
        cluster_crash(&c->nodes[i]);
        raft_entries_release(&c->nodes[i].log);
        sys_free(c->nodes[i].writes);
        sys_free(c->nodes[i].held);
    }
    for (size_t i = 0; i < c->network_count; i++)
        raft_message_release(&c->network[i]);
    sys_free(c->network);
    for (uint64_t i = 0; i <= c->highest_applied; i++)
        raft_payload_unref(c->applied_payload[i]);
    sys_free(c);
}

/* Takes message i off the network; delivers it unless lost or the way is cut. */
static inline void cluster_deliver(struct cluster *c, size_t i, bool lose)
{
    struct raft_message m = c->network[i];
    memmove(&c->network[i], &c->network[i + 1], (--c->network_count - i) * sizeof *c->network);
    struct cluster_node *to = m.to <= CLUSTER_MAX ? &c->nodes[m.to] : NULL;
    lose |= m.entries.n && m.entries.v[0].index == c->lost_append;
    if (!lose && to && to->alive && !c->cut[m.from][m.to])
        cluster_do(c, to, (struct raft_event){.type = RAFT_MESSAGE, .message = &m});
    raft_message_release(&m);
}

static inline struct cluster_node *cluster_leader(struct cluster *c)
{
    struct cluster_node *best = NULL;
    for (size_t i = 1; i <= CLUSTER_MAX; i++) {
        struct cluster_node *n = &c->nodes[i];
        if (n->alive && raft_is_leader(n->raft) &&
            (!best || raft_term(n->raft) > raft_term(best->raft)))
            best = n;
    }
    return best;
}

static inline enum err cluster_propose(struct cluster *c, struct cluster_node *n, const char *text)
{
    struct raft_payload *p = raft_payload_new(text, strlen(text));
    enum err e =
        cluster_step(c, n, &(struct raft_event){.type = RAFT_PROPOSE, .payloads = &p, .count = 1});
    raft_payload_unref(p);
    return e;
}

static inline enum err cluster_read(struct cluster *c, struct cluster_node *n)
{
    uint64_t read = ++c->read_next;
    c->read_floor[read % 4096] = c->highest_applied;
    return cluster_step(c, n, &(struct raft_event){.type = RAFT_READ, .read = read});
}

/* Log matching (figure 3): same index and term, then all before is the same too. */
static inline void cluster_check_matching(struct cluster *c)
{
    for (size_t a = 1; a <= CLUSTER_MAX; a++)
        for (size_t b = a + 1; b <= CLUSTER_MAX; b++) {
            const struct raft_entries *x = &c->nodes[a].log, *y = &c->nodes[b].log;
            bool matched = false;
            for (size_t i = x->n < y->n ? x->n : y->n; i > 0; i--) {
                bool same = x->v[i - 1].term == y->v[i - 1].term;
                cluster_check(c, same || !matched, "logs match at an index and differ before it");
                matched |= same;
            }
        }
}
