/* What must become durable, and what follows when it has. */
#include <assert.h>
#include <string.h>
#include "common/base/alloc.h"
#include "metadata/raft/raft_internal.h"

/* The write that this step's effects will become. Steps gathered in one raft_effects share one
 * sequence, since they are written as one unit. */
static struct raft_persist *writing(struct raft *r)
{
    struct raft_effects *e = r->effects;
    if (e->persist_sequence == 0) {
        e->persist_sequence = ++r->sequence;
        if (r->persist_count == r->persist_capacity) {
            r->persist_capacity = r->persist_capacity ? r->persist_capacity * 2 : 8;
            r->persists = sys_realloc(r->persists, r->persist_capacity * sizeof *r->persists);
        }
        r->persists[r->persist_count++] = (struct raft_persist){.sequence = r->sequence};
    }
    assert(r->persist_count && e->persist_sequence == r->sequence);
    return &r->persists[r->persist_count - 1];
}

void raft_save_hard_state(struct raft *r)
{
    writing(r);
    r->hard_sequence = r->sequence;
    r->effects->hard_state_changed = true;
    r->effects->hard_state =
        (struct raft_hard_state){.term = r->term, .vote = r->vote, .commit = r->log.commit};
}

void raft_append_entry(struct raft *r, const struct raft_entry *e)
{
    struct raft_persist *p = writing(r);
    raft_cache_push(&r->log, e);
    raft_entries_push(&r->effects->entries, e);
    p->last = e->index;
}

/* Raft, section 5.3: a follower's entries that conflict with the leader's go, with all after
 * them. */
void raft_truncate(struct raft *r, uint64_t from)
{
    assert(from > r->log.commit);                                     /* R1 */
    assert(r->role != RAFT_LEADER && from > r->log.terms.base_index); /* R2 */
    struct raft_effects *e = r->effects;
    writing(r);
    raft_cache_truncate(&r->log, from);
    while (e->entries.n && e->entries.v[e->entries.n - 1].index >= from)
        raft_payload_unref(e->entries.v[--e->entries.n].payload);
    if (e->truncate_from == 0 || from < e->truncate_from)
        e->truncate_from = from;
    for (size_t i = 0; i < r->persist_count; i++)
        if (r->persists[i].last >= from)
            r->persists[i].last = from - 1;
    if (r->log.persisted >= from)
        r->log.persisted = from - 1;
    raft_configuration_truncate(r, from);
}

/* D8: the state is now the snapshot, of which this log knows nothing or something else. What is
 * under way to the disk comes before the reset and counts for nothing. */
void raft_log_reset(struct raft *r, const struct raft_snapshot *snapshot)
{
    assert(snapshot->index > r->log.commit); /* R1 */
    struct raft_effects *e = r->effects;
    writing(r);
    for (size_t i = 0; i < r->persist_count; i++)
        r->persists[i].last = 0;
    raft_entries_clear(&e->entries);
    e->truncate_from = 0;
    e->apply_to = 0;
    raft_payload_unref(e->reset.configuration.payload);
    e->reset = *snapshot;
    raft_payload_ref(snapshot->configuration.payload);
    raft_cache_clear(&r->log);
    term_runs_reset(&r->log.terms, snapshot->index, snapshot->term);
    r->log.commit = r->log.persisted = snapshot->index;
    r->log.handed = r->log.applied = snapshot->index;
    r->configuration_count = 0;
    enum err bad = raft_configuration_push(r, &snapshot->configuration);
    assert(bad == OK); /* it was decoded when it came */
    r->effects->configuration_changed = true;
    raft_save_hard_state(r); /* the log that begins anew has it too */
}

void raft_persisted(struct raft *r, uint64_t sequence)
{
    assert(sequence <= r->sequence);
    size_t done = 0;
    for (; done < r->persist_count && r->persists[done].sequence <= sequence; done++) {
        const struct raft_persist *p = &r->persists[done];
        r->sequence_done = p->sequence;
        if (p->last > r->log.persisted)
            r->log.persisted = p->last;
    }
    if (done)
        memmove(r->persists, r->persists + done, (r->persist_count - done) * sizeof *r->persists);
    r->persist_count -= done;
    assert(r->log.persisted <= raft_last_index(r)); /* R3 */
    if (r->role == RAFT_CANDIDATE && r->sequence_done >= r->hard_sequence)
        raft_self_vote_durable(r);
    else if (r->role == RAFT_LEADER)
        raft_advance_commit(r);
    raft_hand_out(r);
}

void raft_commit_to(struct raft *r, uint64_t index)
{
    if (index <= r->log.commit)
        return;
    assert(index <= raft_last_index(r)); /* R1 */
    for (uint64_t i = r->log.commit + 1; i <= index && r->role == RAFT_LEADER; i++) {
        const struct raft_entry *e = raft_cache_at(&r->log, i);
        uint64_t bytes = e ? raft_entry_bytes(e) : 0;
        r->uncommitted_bytes -= bytes < r->uncommitted_bytes ? bytes : r->uncommitted_bytes;
    }
    r->log.commit = index;
    raft_configuration_settle(r);
    raft_hand_out(r);
}

/* R4: a state machine ahead of its own log could not be told apart from a damaged one. */
void raft_hand_out(struct raft *r)
{
    uint64_t to = r->log.commit < r->log.persisted ? r->log.commit : r->log.persisted;
    if (to <= r->log.handed || r->discarded)
        return;
    r->log.handed = to;
    r->effects->apply_to = to;
}
