/* What a member promises to others with a message, and what a leader concludes from their promises: is it so?
 * All in the terms of the figures: nothing here calls what it judges. */
#include <inttypes.h>
#include "tests/check/raft_check_internal.h"

/* ---- durable ---- */

/* Whether a term, and in it a vote (0: none), cannot be forgotten once `after` is durable. A later term
 * keeps it: nothing of an earlier one is promised any more. */
static bool hard_durable(const struct member *m, uint64_t after, uint64_t term, raft_id vote)
{
    struct raft_hard_state hard = m->durable;
    for (size_t i = 0; i < m->write_count; i++) {
        const struct write *w = &m->writes[(m->write_first + i) % WRITES];
        if (w->sequence <= after)
            hard = w->hard;
    }
    return m->writes_lost || hard.term > term ||
           (hard.term == term && (vote == 0 || hard.vote == vote));
}

static bool entry_durable(const struct member *m, uint64_t after, uint64_t index)
{
    uint64_t done = after > m->done ? after : m->done;
    return index <= m->base || (index <= m->last && m->log[index - 1].sequence <= done);
}

/* ---- messages ---- */

static void vote_is_durable(struct raft_check *c, const struct member *m,
                            const struct raft_message *message)
{
    raft_id vote = message->type == RAFT_VOTE ? m->id : 0;
    if (message->type == RAFT_PRE_VOTE || message->type == RAFT_PRE_VOTE_REPLY)
        return;
    if (message->type == RAFT_VOTE_REPLY && !message->reject)
        vote = message->to;
    if (!hard_durable(m, message->after, message->term, vote))
        raft_check_violated(c,
                            "promise: member %016" PRIx64
                            "'s message of type %d speaks of term %" PRIu64
                            " and leaves before its term and vote are durable",
                            m->id, (int)message->type, message->term);
}

static void acknowledged(struct raft_check *c, const struct member *m,
                         const struct raft_message *message)
{
    uint64_t index = message->index;
    if (!entry_durable(m, message->after, index))
        raft_check_violated(c,
                            "promise: member %016" PRIx64 " acknowledges up to %" PRIu64
                            ", which is not durable then",
                            m->id, index);
    for (size_t i = 0; i < c->member_count; i++) {
        const struct member *leader = &c->members[i];
        if (leader->id != message->to || !leader->leads || leader->leads_term != message->term)
            continue;
        uint64_t mine = raft_check_term_at(m, index), its = raft_check_term_at(leader, index);
        if (index > leader->last || (mine && its && mine != its))
            raft_check_violated(c,
                                "promise: member %016" PRIx64 " acknowledges up to %" PRIu64
                                ", where it has term %" PRIu64 " and its leader %" PRIu64,
                                m->id, index, mine, its);
    }
}

/* ---- majorities ---- */

/* Whether more than half of those with the role say yes; without any, yes. */
static bool most(const struct raft_configuration *c, uint8_t role, uint32_t yes)
{
    unsigned all = 0, with = 0;
    for (size_t i = 0; i < c->count; i++) {
        all += (c->members[i].roles & role) != 0;
        with += (c->members[i].roles & role) != 0 && (yes >> i & 1);
    }
    return all == 0 || 2 * with > all;
}

static bool majority(const struct raft_configuration *c, uint32_t yes)
{
    return most(c, RAFT_VOTER, yes) && most(c, RAFT_OUTGOING, yes);
}

static bool has(const struct raft_check *c, raft_id id, uint64_t index, uint64_t term)
{
    for (size_t i = 0; i < c->member_count; i++)
        if (c->members[i].id == id)
            return index <= c->members[i].base || raft_check_term_at(&c->members[i], index) == term;
    return false;
}

static void counted(struct raft_check *c, const struct member *m, const struct raft_status *s)
{
    uint64_t term = raft_check_term_at(m, s->commit);
    if (!term)
        return;
    if (term != s->term)
        raft_check_violated(c,
                            "counting: leader %016" PRIx64 " of term %" PRIu64 " commits %" PRIu64
                            "/%" PRIu64 " itself",
                            m->id, s->term, s->commit, term);
    uint32_t yes = 0;
    for (size_t i = 0; i < m->configuration.count; i++) {
        raft_id id = m->configuration.members[i].id;
        bool is_so = id == m->id ? entry_durable(m, 0, s->commit) : has(c, id, s->commit, term);
        yes |= (uint32_t)is_so << i;
    }
    if (!majority(&m->configuration, yes))
        raft_check_violated(c,
                            "counting: leader %016" PRIx64 " commits %" PRIu64 "/%" PRIu64
                            ", which no majority has",
                            m->id, s->commit, term);
}

static void elected(struct raft_check *c, const struct member *m, const struct raft_status *s)
{
    uint32_t yes = 0;
    for (size_t i = 0; i < m->configuration.count; i++) {
        raft_id id = m->configuration.members[i].id;
        bool is_so = id == m->id ? hard_durable(m, 0, s->term, m->id)
                                 : raft_check_vote_of(c, id, s->term) == m->id;
        yes |= (uint32_t)is_so << i;
    }
    if (!majority(&m->configuration, yes))
        raft_check_violated(
            c, "counting: %016" PRIx64 " leads in term %" PRIu64 " without the votes of a majority",
            m->id, s->term);
}

/* ---- reads ---- */

static void answered(struct raft_check *c, const struct member *m, const struct raft_read_result *r,
                     const struct raft_status *s)
{
    uint64_t term = raft_check_term_at(m, r->index);
    if (r->err != OK)
        return;
    if (r->index > s->applied)
        raft_check_violated(
            c, "read: member %016" PRIx64 " may answer at %" PRIu64 ", and has applied %" PRIu64,
            m->id, r->index, s->applied);
    if (s->role == RAFT_LEADER && term && term != s->term)
        raft_check_violated(c,
                            "read: leader %016" PRIx64 " may answer at %" PRIu64 "/%" PRIu64
                            ", with nothing of its term %" PRIu64 " committed",
                            m->id, r->index, term, s->term);
}

void raft_promises_stepped(struct raft_check *c, const struct member *m,
                           const struct raft_event *event, const struct raft_effects *effects,
                           const struct raft_status *s, uint64_t commit, bool new_leader)
{
    for (size_t i = m->messages_before; i < effects->message_count; i++) {
        const struct raft_message *message = &effects->messages[i];
        vote_is_durable(c, m, message);
        if (message->type == RAFT_APPEND_REPLY && !message->reject)
            acknowledged(c, m, message);
    }
    for (size_t i = m->reads_before; i < effects->read_count; i++)
        answered(c, m, &effects->reads[i], s);
    if (!entry_durable(m, 0, s->persisted))
        raft_check_violated(c,
                            "durability: member %016" PRIx64 " counts %" PRIu64
                            " as durable, whose write is not done",
                            m->id, s->persisted);
    if (new_leader)
        elected(c, m, s);
    if (s->role == RAFT_LEADER && s->commit > commit)
        counted(c, m, s);
    if (event->type == RAFT_COMPACTED && event->index > s->applied)
        raft_check_violated(
            c, "member %016" PRIx64 " compacts its log up to %" PRIu64 ", and has applied %" PRIu64,
            m->id, event->index, s->applied);
}
