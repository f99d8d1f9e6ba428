/* AppendEntries at a follower (Raft, figure 2 and section 5.3). */
#include "metadata/raft/raft_internal.h"

/* Not before all that it vouches for is durable (D3). */
void raft_acknowledge(struct raft *r, raft_id leader, uint64_t match)
{
    struct raft_message *reply = raft_send(r, RAFT_APPEND_REPLY, leader);
    reply->index = match;
    if (r->log.persisted < match || reply->after)
        reply->after = r->sequence;
}

/* Raft, section 5.3, end: instead of one entry at a time the leader steps back to where the terms
 * can agree: the last of ours, up to its own index, whose term is not above its own. */
static void refuse(struct raft *r, const struct raft_message *m)
{
    struct raft_message *reply = raft_send(r, RAFT_APPEND_REPLY, m->from);
    reply->reject = true;
    reply->index = m->index;
    reply->hint_index = term_runs_find(&r->log.terms, m->index, m->log_term);
    reply->hint_term = raft_term_at(r, reply->hint_index);
}

static bool sensible(const struct raft_message *m)
{
    uint64_t term = m->log_term, index = m->index;
    if (index > UINT64_MAX / 2 || term > m->term)
        return false;
    for (size_t i = 0; i < m->entries.n; i++) {
        const struct raft_entry *e = &m->entries.v[i];
        if (e->index != index + 1 + i || e->term < term || e->term > m->term)
            return false;
        if (raft_entry_length(e) > RAFT_COMMAND_MAX)
            return false;
        term = e->term;
    }
    return true;
}

/* Appends what is not there yet. False: it contradicts what is committed here. */
static bool store(struct raft *r, const struct raft_message *m)
{
    size_t i = 0;
    while (i < m->entries.n && m->entries.v[i].index <= r->log.terms.base_index)
        i++;
    while (i < m->entries.n && raft_term_at(r, m->entries.v[i].index) == m->entries.v[i].term)
        i++;
    if (i == m->entries.n)
        return true;
    if (m->entries.v[i].index <= raft_last_index(r)) {
        if (m->entries.v[i].index <= r->log.commit)
            return false;
        raft_truncate(r, m->entries.v[i].index);
    }
    for (; i < m->entries.n; i++) {
        const struct raft_entry *e = &m->entries.v[i];
        if (e->term < raft_last_term(r) ||
            (e->type == RAFT_ENTRY_CONFIGURATION && raft_configuration_push(r, e)))
            return false;
        raft_append_entry(r, e);
        if (e->type == RAFT_ENTRY_CONFIGURATION)
            r->effects->configuration_changed = true;
    }
    return true;
}

void raft_recv_append(struct raft *r, const struct raft_message *m)
{
    if (r->role == RAFT_LEADER) {
        raft_violated(r, "two leaders in one term");
        return;
    }
    if (!sensible(m))
        return;
    raft_follow(r, m);
    if (raft_frozen(r))
        return; /* R7: the leader asks again with its heartbeats */
    uint64_t last = m->index + m->entries.n;
    if (m->index < r->log.terms.base_index) {
        if (last < r->log.commit) { /* all of it is known here, and committed */
            raft_acknowledge(r, m->from, r->log.commit);
            return;
        }
    } else if (m->index > raft_last_index(r) || raft_term_at(r, m->index) != m->log_term) {
        refuse(r, m);
        return;
    }
    if (!store(r, m)) {
        raft_violated(r, "a leader's entry contradicts a committed one");
        return;
    }
    raft_commit_to(r, m->commit < last ? m->commit : last);
    raft_acknowledge(r, m->from, last);
}
