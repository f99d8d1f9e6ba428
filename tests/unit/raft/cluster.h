/* A group of cores in one thread: their disks, a network of messages that the test decides about,
 * and the properties of Raft (figure 3) checked after every step. Pure: no floor is used but memory.
 * cluster_types.h: what there is; cluster_disk.h: a member's durable log and state; cluster_check.h:
 * the properties. */
#pragma once
#include "tests/unit/raft/cluster_check.h"
#include "tests/unit/raft/cluster_disk.h"
#include "tests/unit/raft/cluster_types.h"

static inline enum err cluster_step(struct cluster *c, struct cluster_node *n,
                                    const struct raft_event *event);
static inline void cluster_do(struct cluster *c, struct cluster_node *n, struct raft_event event)
{
    if (cluster_step(c, n, &event))
        cluster_check(c, false, "an event that cannot be refused was refused");
}

static inline void cluster_network_add(struct cluster *c, const struct raft_message *m)
{
    if (c->network_count == c->network_capacity) {
        c->network_capacity = c->network_capacity ? 2 * c->network_capacity : 64;
        c->network = sys_realloc(c->network, c->network_capacity * sizeof *c->network);
    }
    struct raft_message *to = &c->network[c->network_count++];
    *to = *m;
    raft_payload_ref(to->piece);
    to->entries = (struct raft_entries){0};
    for (size_t i = 0; i < m->entries.n; i++)
        raft_entries_push(&to->entries, &m->entries.v[i]);
    if (c->trace_message)
        c->trace_message(c, to);
}

/* What is durable is checked when a message leaves, not when it is made (D3). */
static inline void cluster_leaves(struct cluster *c, struct cluster_node *n,
                                  const struct raft_message *m)
{
    cluster_check_message(c, n, m);
    cluster_network_add(c, m);
}

static inline void cluster_send(struct cluster *c, struct cluster_node *n, struct raft_message *m)
{
    if (m->after <= n->persisted) {
        cluster_leaves(c, n, m);
        return;
    }
    if (n->held_count == n->held_capacity) {
        n->held_capacity = n->held_capacity ? 2 * n->held_capacity : 16;
        n->held = sys_realloc(n->held, n->held_capacity * sizeof *n->held);
    }
    raft_message_move(&n->held[n->held_count++], m);
}

static inline void cluster_release_held(struct cluster *c, struct cluster_node *n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n->held_count; i++) {
        if (n->held[i].after > n->persisted) {
            n->held[kept++] = n->held[i];
            continue;
        }
        cluster_leaves(c, n, &n->held[i]);
        raft_message_release(&n->held[i]);
    }
    n->held_count = kept;
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
                                .reset = e->reset,
                                .truncate_from = e->truncate_from,
                                .hard_changed = e->hard_state_changed,
                                .hard = e->hard_state};
    raft_payload_ref(w->reset.configuration.payload);
    for (size_t i = 0; i < e->entries.n; i++)
        raft_entries_push(&w->entries, &e->entries.v[i]);
}

static inline void cluster_loads(struct cluster *c, struct cluster_node *n,
                                 const struct raft_load *loads, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct raft_entries found = {0};
        size_t bytes = 0;
        for (uint64_t k = loads[i].first; k <= loads[i].last; k++) {
            const struct raft_entry *e = cluster_log_at(&n->log, k);
            if (!e || (found.n && bytes + raft_entry_bytes(e) > loads[i].max_bytes))
                break;
            bytes += raft_entry_bytes(e);
            raft_entries_push(&found, e);
        }
        cluster_do(
            c, n,
            (struct raft_event){.type = RAFT_LOADED, .member = loads[i].member, .entries = &found});
        raft_entries_release(&found);
    }
}

static inline void cluster_results(struct cluster *c, struct cluster_node *n)
{
    for (size_t i = 0; i < n->effects.read_count; i++) {
        const struct raft_read_result *r = &n->effects.reads[i];
        if (c->trace)
            c->trace(c, "%llu answers read %llu: %s index=%llu%s", (unsigned long long)n->id,
                     (unsigned long long)r->read, err_name(r->err), (unsigned long long)r->index,
                     r->leased ? " leased" : "");
        if (r->err || (r->leased && !raft_lease_holds(n->raft, cluster_clock(c, n))))
            continue;
        c->reads_done++;
        c->leased_reads += r->leased;
        cluster_check(c, r->index >= c->read_floor[r->read % 4096] && n->applied >= r->index,
                      "a read would not see what was applied before it");
        cluster_check(c, raft_term(n->raft) >= c->read_term[r->read % 4096],
                      "a read was answered by a leader that had a successor when it was asked");
    }
    cluster_check(c, !n->effects.violation, n->effects.violation ? n->effects.violation : "");
}

static inline void cluster_queue_snapshots(struct cluster *c, struct cluster_node *n)
{
    for (size_t i = 0; i < n->effects.snapshot_read_count; i++) {
        cluster_check(c, n->asked_count < 64, "more reads of snapshots than members");
        if (!c->failed)
            n->asked[n->asked_count++] = n->effects.snapshot_reads[i];
    }
    for (size_t i = 0; i < n->effects.install_count; i++) {
        struct raft_install_piece *p = &n->effects.installs[i];
        cluster_check_install(c, n, p);
        if (c->failed)
            return;
        n->pieces[n->piece_count++] = *p;
        raft_payload_ref(p->snapshot.configuration.payload);
        raft_payload_ref(p->piece);
    }
}

static inline void cluster_settle_disk(struct cluster *c, struct cluster_node *n);

static inline enum err cluster_step(struct cluster *c, struct cluster_node *n,
                                    const struct raft_event *event)
{
    struct raft_status before;
    raft_status(n->raft, &before);
    struct raft_event timed = *event;
    timed.now = cluster_clock(c, n);
    enum err e = raft_step(n->raft, &timed, &n->effects);
    cluster_check_step(c, n, &before);
    cluster_queue_write(n);
    for (size_t i = 0; i < n->effects.message_count; i++)
        cluster_send(c, n, &n->effects.messages[i]);
    if (n->effects.apply_to)
        n->apply_to = n->effects.apply_to;
    cluster_results(c, n);
    cluster_queue_snapshots(c, n);
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

static inline void cluster_apply_all(struct cluster *c, struct cluster_node *n)
{
    uint64_t before = n->applied;
    if (n->side.switched)
        return; /* D8: what was handed out before is not applied any more */
    cluster_apply(c, n);
    if (n->applied > before && !c->failed)
        cluster_do(c, n, (struct raft_event){.type = RAFT_APPLIED, .index = n->applied});
}

/* Up to index at most. */
static inline void cluster_compact(struct cluster *c, struct cluster_node *n, uint64_t index)
{
    uint64_t most = n->applied < cluster_log_last(&n->log) ? n->applied : cluster_log_last(&n->log);
    for (size_t i = 0; i < n->write_count; i++)
        if (n->writes[i].reset.index)
            return;
    index = index < most ? index : most;
    if (n->side.switched || index <= n->log.base)
        return;
    cluster_log_compact(&n->log, index);
    cluster_do(c, n, (struct raft_event){.type = RAFT_COMPACTED, .index = index});
}

/* Answers one read of a snapshot (D7): the image asked for if it is still there, else the first
 * piece of a new one. */
static inline bool cluster_read_one(struct cluster *c, struct cluster_node *n)
{
    if (n->asked_count == 0)
        return false;
    struct raft_snapshot_read ask = n->asked[0];
    memmove(n->asked, n->asked + 1, --n->asked_count * sizeof *n->asked);
    struct raft_event event = {.type = RAFT_SNAPSHOT_READ, .member = ask.member};
    bool same = ask.index && ask.index == n->image;
    if (!same && n->applied >= ask.least && n->applied > 0 && !n->side.switched)
        n->image = n->applied; /* a state that was read as of then; stays what it is */
    if (same || (n->image && n->image >= ask.least)) {
        uint8_t bytes[CLUSTER_IMAGE_MAX];
        size_t length = cluster_image(n->image, c->applied_state[n->image], bytes);
        struct raft_snapshot s = cluster_snapshot(c, n->image);
        size_t offset = same ? ask.offset : 0;
        cluster_check(c, offset <= length, "a piece behind the end of an image");
        size_t some = length - offset < ask.max_bytes ? length - offset : ask.max_bytes;
        event.snapshot = &s;
        event.offset = offset;
        event.piece = some ? raft_payload_new(bytes + offset, some) : NULL;
        event.last = offset + some == length;
        cluster_do(c, n, event);
        raft_payload_unref(event.piece);
        return true;
    }
    cluster_do(c, n, event);
    return true;
}

/* One step of the thread that writes what comes in (D8). */
static inline bool cluster_install_one(struct cluster *c, struct cluster_node *n, bool fail)
{
    if (n->side.switched) {
        uint64_t index = n->side.index;
        n->side = (struct cluster_side){0};
        n->apply_to = index;
        cluster_do(c, n, (struct raft_event){.type = RAFT_INSTALLED, .index = index});
        return true;
    }
    if (n->piece_count == 0)
        return false;
    struct raft_install_piece *p = &n->pieces[0];
    struct cluster_side *side = &n->side;
    struct raft_event event = {.type = RAFT_SNAPSHOT_WRITTEN, .index = p->snapshot.index};
    if (p->offset == 0)
        *side = (struct cluster_side){.index = p->snapshot.index};
    bool next = side->index == p->snapshot.index && side->n == p->offset;
    if (fail || !next) { /* an earlier failure leaves pieces behind it that lead nowhere */
        *side = (struct cluster_side){0};
        event.err = ERR_IO;
        cluster_drop_piece(n);
        cluster_do(c, n, event);
        return true;
    }
    size_t length = p->piece ? p->piece->length : 0;
    bool last = p->last;
    cluster_check(c, length <= CLUSTER_IMAGE_MAX - side->n, "an image is too long");
    if (!c->failed && length)
        memcpy(side->bytes + side->n, p->piece->data, length);
    side->n += length;
    event.offset = side->n;
    cluster_drop_piece(n);
    if (c->failed)
        return false;
    if (last)
        cluster_switch(c, n);
    else
        cluster_do(c, n, event);
    return true;
}

/* One write becomes durable: reset, truncate, entries, hard state; then what waited for it leaves. */
static inline bool cluster_persist_one(struct cluster *c, struct cluster_node *n)
{
    if (n->write_count == 0)
        return false;
    struct cluster_write w = n->writes[0];
    memmove(n->writes, n->writes + 1, --n->write_count * sizeof *n->writes);
    if (w.reset.index) {
        cluster_check(c, n->applied >= w.reset.index, "a log is reset behind what is no state");
        cluster_log_reset(&n->log, &w.reset);
        c->resets_done++;
    }
    raft_payload_unref(w.reset.configuration.payload);
    while (w.truncate_from && cluster_log_last(&n->log) >= w.truncate_from)
        raft_payload_unref(n->log.entries.v[--n->log.entries.n].payload);
    for (size_t i = 0; i < w.entries.n; i++) {
        cluster_check(c, w.entries.v[i].index == cluster_log_last(&n->log) + 1, "a hole in a log");
        raft_entries_push(&n->log.entries, &w.entries.v[i]);
    }
    if (w.hard_changed)
        n->hard = w.hard;
    raft_entries_release(&w.entries);
    n->persisted = w.sequence;
    cluster_release_held(c, n);
    cluster_do(c, n, (struct raft_event){.type = RAFT_PERSISTED, .sequence = w.sequence});
    return true;
}

static inline void cluster_settle_disk(struct cluster *c, struct cluster_node *n)
{
    do {
        while (!c->failed && (cluster_persist_one(c, n) || cluster_read_one(c, n) ||
                              cluster_install_one(c, n, false)))
            ;
        if (!c->slow_apply)
            cluster_apply_all(c, n);
    } while ((n->write_count || n->asked_count || n->piece_count) && !c->failed);
}

static inline void cluster_crash(struct cluster_node *n)
{
    if (!n->alive)
        return;
    for (size_t i = 0; i < n->write_count; i++) {
        raft_entries_release(&n->writes[i].entries);
        raft_payload_unref(n->writes[i].reset.configuration.payload);
    }
    for (size_t i = 0; i < n->held_count; i++)
        raft_message_release(&n->held[i]);
    while (n->piece_count)
        cluster_drop_piece(n);
    n->write_count = n->held_count = n->asked_count = 0;
    n->side = (struct cluster_side){0};
    n->image = 0;
    raft_effects_release(&n->effects);
    raft_free(n->raft);
    n->raft = NULL;
    n->alive = false;
}

static inline void cluster_start_node(struct cluster *c, struct cluster_node *n)
{
    cluster_reconcile(c, n);
    struct term_runs terms;
    struct raft_entries configurations = {0};
    term_runs_init(&terms);
    term_runs_reset(&terms, n->log.base, n->log.base_term);
    if (n->log.base_configuration.index)
        raft_entries_push(&configurations, &n->log.base_configuration);
    for (size_t i = 0; i < n->log.entries.n; i++) {
        term_runs_append(&terms, n->log.entries.v[i].term);
        if (n->log.entries.v[i].type == RAFT_ENTRY_CONFIGURATION)
            raft_entries_push(&configurations, &n->log.entries.v[i]);
    }
    struct raft_options options = {.id = n->id,
                                   .seed = (c->seed * 1000 + n->life++)
                                           << 8, /* the id comes into it too */
                                   .cache_bytes = c->cache_bytes,
                                   .batch_bytes = 400,
                                   .inflight_bytes = 2000,
                                   .piece_bytes = c->piece_bytes,
                                   .promise_ns = c->lease_ns,
                                   .lease_ns = c->lease_ns};
    struct raft_restored restored = {.hard = n->hard,
                                     .terms = &terms,
                                     .configurations = configurations.v,
                                     .configuration_count = configurations.n,
                                     .applied = n->applied,
                                     .discarded = n->discarded};
    enum err e = raft_new(&options, &restored, &n->raft);
    cluster_check(c, e == OK, "a core does not start");
    term_runs_release(&terms);
    raft_entries_release(&configurations);
    raft_effects_init(&n->effects);
    n->alive = true;
    n->persisted = 0;
    n->role_seen = RAFT_FOLLOWER;
    n->apply_to = raft_handed(n->raft);
    n->commit_seen = raft_commit(n->raft);
    if (!c->slow_apply)
        cluster_apply_all(c, n);
}

/* voters: how many of 1 .. are in entry 1; 0: an empty log. */
static inline struct cluster_node *cluster_add(struct cluster *c, raft_id id, size_t voters)
{
    struct cluster_node *n = &c->nodes[id];
    n->id = id;
    n->exists = true;
    n->clock_rate = 1000;
    if (voters) {
        struct raft_configuration first = {0};
        for (raft_id i = 1; i <= voters; i++)
            CHECK_OK(raft_configuration_set(&first, i, RAFT_VOTER, ""));
        struct raft_entry e = raft_bootstrap_entry(&first);
        raft_entries_push(&n->log.entries, &e);
        raft_payload_unref(e.payload);
        n->hard = (struct raft_hard_state){.term = 1, .commit = 1};
    }
    return n;
}

static inline struct cluster *cluster_new(uint64_t seed)
{
    struct cluster *c = sys_alloc(sizeof *c);
    c->seed = seed;
    c->piece_bytes = 16;
    return c;
}

static inline void cluster_free(struct cluster *c)
{
    for (size_t i = 0; i <= CLUSTER_MAX; i++) {
        cluster_crash(&c->nodes[i]);
        raft_entries_release(&c->nodes[i].log.entries);
        raft_payload_unref(c->nodes[i].log.base_configuration.payload);
        sys_free(c->nodes[i].writes);
        sys_free(c->nodes[i].held);
    }
    for (size_t i = 0; i < c->network_count; i++)
        raft_message_release(&c->network[i]);
    for (size_t i = 0; i < c->late_count; i++)
        raft_message_release(&c->late[i]);
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
    lose |= m.type == RAFT_APPEND && m.entries.n && m.entries.v[0].index == c->lost_append;
    if (m.type == RAFT_SNAPSHOT && c->lost_piece) {
        c->lost_piece = false;
        lose = true;
    }
    c->transfers_done += m.type == RAFT_VOTE && m.context == 1;
    if (!lose && to && to->alive && !c->cut[m.from][m.to])
        cluster_do(c, to, (struct raft_event){.type = RAFT_MESSAGE, .message = &m});
    raft_message_release(&m);
}

/* Holds message i up for a time, if there is room. */
static inline void cluster_delay(struct cluster *c, size_t i, int64_t time)
{
    if (c->late_count == 32)
        return;
    c->late_until[c->late_count] = c->time + time;
    c->late[c->late_count++] = c->network[i];
    memmove(&c->network[i], &c->network[i + 1], (--c->network_count - i) * sizeof *c->network);
}

static inline void cluster_late(struct cluster *c)
{
    for (size_t i = 0; i < c->late_count; i++) {
        if (c->late_until[i] > c->time)
            continue;
        struct raft_message m = c->late[i];
        c->late[i] = c->late[--c->late_count];
        c->late_until[i] = c->late_until[c->late_count];
        cluster_network_add(c, &m);
        raft_message_release(&m);
    }
}

static inline struct cluster_node *cluster_leader(struct cluster *c)
{
    struct cluster_node *found = NULL;
    for (size_t i = 1; i <= CLUSTER_MAX; i++) {
        struct cluster_node *n = &c->nodes[i];
        if (n->alive && raft_is_leader(n->raft) &&
            (!found || raft_term(n->raft) > raft_term(found->raft)))
            found = n;
    }
    return found;
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
    c->read_term[read % 4096] = c->highest_leader_term;
    return cluster_step(c, n, &(struct raft_event){.type = RAFT_READ, .read = read, .lease = true});
}
