/* A leader's side of replication (Raft, section 5.3; thesis, section 10.2): batches, pipelined, each
 * follower at its own pace, the leader's own disk in parallel with them. */
#include <assert.h>
#include "metadata/raft/raft_internal.h"

static struct raft_message *append_message(struct raft *r, const struct raft_progress *p)
{
    struct raft_message *m = raft_send(r, RAFT_APPEND, p->id);
    m->index = p->next - 1;
    m->log_term = raft_term_at(r, p->next - 1);
    m->commit = r->log.commit;
    return m;
}

static void ask_log(struct raft *r, struct raft_progress *p)
{
    p->loading = true;
    raft_effect_load(r, &(struct raft_load){.member = p->id,
                                            .first = p->next,
                                            .last = raft_last_index(r),
                                            .max_bytes = r->options.batch_bytes});
}

static void account(struct raft_progress *p, const struct raft_entries *entries)
{
    size_t bytes = 0;
    for (size_t i = 0; i < entries->n; i++)
        bytes += raft_entry_bytes(&entries->v[i]);
    p->next += entries->n;
    raft_inflight_add(p, p->next - 1, bytes);
}

/* One append: with entries when they are in memory, else only to find where the logs agree. */
static void probe(struct raft *r, struct raft_progress *p)
{
    if (p->probing)
        return;
    p->probing = true;
    struct raft_message *m = append_message(r, p);
    if (p->next <= raft_last_index(r))
        raft_entries_cached(r, p->next, raft_last_index(r), r->options.batch_bytes, &m->entries);
}

void raft_replicate(struct raft *r, struct raft_progress *p)
{
    if (p->id == r->options.id)
        return;
    if (p->flow != RAFT_SNAPSHOT_FLOW && p->next <= r->log.terms.base_index)
        raft_progress_snapshot(p);
    if (p->flow == RAFT_SNAPSHOT_FLOW) {
        raft_sending_go_on(r, p);
        return;
    }
    if (p->flow == RAFT_PROBE) {
        probe(r, p);
        return;
    }
    while (!p->loading && p->next <= raft_last_index(r) && !raft_inflight_full(r, p)) {
        if (!raft_cache_at(&r->log, p->next)) {
            ask_log(r, p);
            return;
        }
        struct raft_message *m = append_message(r, p);
        raft_entries_cached(r, p->next, raft_last_index(r), r->options.batch_bytes, &m->entries);
        account(p, &m->entries);
    }
}

/* The member lives and lacks something although all may have been sent: an append without entries
 * after the last one sent is refused if that one was lost. */
void raft_replicate_again(struct raft *r, struct raft_progress *p)
{
    bool tail = p->flow == RAFT_REPLICATE && p->inflight_count > 0 && !p->loading;
    if (tail && p->id != r->options.id && p->next > r->log.terms.base_index)
        append_message(r, p);
    raft_replicate(r, p);
}

void raft_replicate_all(struct raft *r)
{
    for (size_t i = 0; i < r->progress_count; i++)
        raft_replicate(r, &r->progress[i]);
}

void raft_loaded(struct raft *r, raft_id member, const struct raft_entries *entries)
{
    int position = r->role == RAFT_LEADER ? raft_position(r, member) : -1;
    if (position < 0)
        return;
    struct raft_progress *p = &r->progress[position];
    if (!p->loading)
        return;
    p->loading = false;
    if (entries->n == 0 || p->flow != RAFT_REPLICATE || raft_inflight_full(r, p))
        return;
    for (size_t i = 0; i < entries->n; i++)
        if (entries->v[i].index != p->next + i ||
            entries->v[i].term != raft_term_at(r, p->next + i))
            return; /* asked for before something changed */
    struct raft_message *m = append_message(r, p);
    for (size_t i = 0; i < entries->n; i++)
        raft_entries_push(&m->entries, &entries->v[i]);
    account(p, entries);
    raft_replicate(r, p);
}

void raft_heartbeat_all(struct raft *r)
{
    for (size_t i = 0; i < r->progress_count; i++) {
        const struct raft_progress *p = &r->progress[i];
        if (p->id == r->options.id)
            continue;
        struct raft_message *m = raft_send(r, RAFT_HEARTBEAT, p->id);
        m->commit = p->match < r->log.commit ? p->match : r->log.commit;
        m->context = r->round;
        m->index = (uint64_t)r->options.lease_ns;
    }
}

/* Raft, section 5.4.2: only entries of the own term are committed by counting. The leader's own
 * log counts like a follower's (thesis, section 10.2.1). */
void raft_advance_commit(struct raft *r)
{
    uint64_t values[RAFT_MEMBERS_MAX] = {0};
    for (size_t i = 0; i < r->progress_count; i++) {
        const struct raft_progress *p = &r->progress[i];
        values[i] = p->id == r->options.id ? r->log.persisted : p->match;
    }
    uint64_t index = raft_configuration_reached(raft_configuration_now(r), values);
    if (index <= r->log.commit || raft_term_at(r, index) != r->term)
        return;
    raft_commit_to(r, index);
    raft_change_committed(r);
    if (r->role == RAFT_LEADER)
        raft_reads_begin(r);
}

bool raft_leader_append(struct raft *r, enum raft_entry_type type, struct raft_payload *payload)
{
    struct raft_entry e = {
        .index = raft_last_index(r) + 1, .term = r->term, .type = type, .payload = payload};
    if (type == RAFT_ENTRY_CONFIGURATION && raft_configuration_push(r, &e))
        return false;
    raft_append_entry(r, &e);
    r->uncommitted_bytes += raft_entry_bytes(&e);
    if (type == RAFT_ENTRY_CONFIGURATION) {
        r->effects->configuration_changed = true;
        raft_progress_rebuild(r);
        raft_reads_confirm(r); /* who stays may be a majority already, and nobody else answers */
        raft_lease_drop(r);
        const struct raft_member *m =
            raft_configuration_find(raft_configuration_now(r), r->transfer);
        if (!m || !(m->roles & RAFT_VOTER))
            r->transfer = 0;
    }
    return true;
}

enum err raft_propose(struct raft *r, struct raft_payload *const *payloads, size_t count)
{
    if (r->role != RAFT_LEADER)
        return ERR_NOT_LEADER;
    if (count == 0)
        return ERR_INVALID;
    if (r->transfer)
        return ERR_BUSY;
    uint64_t bytes = r->uncommitted_bytes;
    for (size_t i = 0; i < count; i++) {
        if (payloads[i]->length > RAFT_COMMAND_MAX)
            return ERR_TOO_BIG;
        bytes += payloads[i]->length;
    }
    if (bytes > RAFT_UNCOMMITTED_BYTES && r->uncommitted_bytes > 0)
        return ERR_BUSY;
    r->effects->proposed_first = raft_last_index(r) + 1;
    r->effects->proposed_term = r->term;
    for (size_t i = 0; i < count; i++) {
        bool room = raft_leader_append(r, RAFT_ENTRY_COMMAND, payloads[i]);
        assert(room);
    }
    raft_replicate_all(r);
    return OK;
}
