/* Elections (Raft, section 5.2), with PreVote and CheckQuorum (thesis, sections 9.6 and 6.2). */
#include <assert.h>
#include "metadata/raft/raft_internal.h"

/* splitmix64: the seed came with the options. */
static uint64_t next_random(struct raft *r)
{
    uint64_t z = r->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* Raft, section 5.2: randomized, so that split votes are rare. */
static void restart_timer(struct raft *r)
{
    uint32_t span = r->options.election_max_ticks - r->options.election_min_ticks;
    r->timeout = r->options.election_min_ticks + (uint32_t)(next_random(r) % span);
    r->elapsed = 0;
}

void raft_become_follower(struct raft *r, uint64_t term, raft_id leader)
{
    assert(term >= r->term);
    bool was_leader = r->role == RAFT_LEADER;
    r->role = RAFT_FOLLOWER;
    r->leader = leader;
    if (term > r->term) {
        r->term = term;
        r->vote = 0;
        raft_save_hard_state(r);
    }
    restart_timer(r);
    if (was_leader) {
        raft_reads_fail(r);
        raft_progress_release(r);
        raft_lease_drop(r);
        r->transfer = 0;
        r->departed_count = 0;
    }
    r->resigning = false;
}

static void become_leader(struct raft *r)
{
    r->role = RAFT_LEADER;
    r->leader = r->options.id;
    r->elapsed = r->heartbeat_elapsed = 0;
    r->round = r->round_done = 0;
    r->uncommitted_bytes = 0;
    r->lease_off = false;
    raft_progress_reset(r);
    /* Raft, section 8: only with an entry of its own term does a leader learn what is committed. */
    r->term_start = raft_last_index(r) + 1;
    bool room = raft_leader_append(r, RAFT_ENTRY_NOOP, NULL);
    assert(room);
    raft_replicate_all(r);
    raft_heartbeat_all(r);
    raft_advance_commit(r);
}

static void ask_for_votes(struct raft *r, enum raft_message_type type, uint64_t term, bool transfer)
{
    const struct raft_configuration *c = raft_configuration_now(r);
    for (size_t i = 0; i < c->count; i++) {
        const struct raft_member *member = &c->members[i];
        if (member->id == r->options.id || !(member->roles & (RAFT_VOTER | RAFT_OUTGOING)))
            continue;
        struct raft_message *m = raft_send(r, type, member->id);
        m->term = term;
        m->index = raft_last_index(r);
        m->log_term = raft_last_term(r);
        m->context = transfer;
    }
}

/* transfer: the leader asked for it (thesis, section 3.10). */
void raft_stand(struct raft *r, bool transfer)
{
    r->role = RAFT_CANDIDATE;
    r->leader = 0;
    r->term++;
    r->vote = r->options.id;
    r->votes = r->refused = 0; /* R6: the own vote counts when it is durable */
    raft_save_hard_state(r);
    restart_timer(r);
    ask_for_votes(r, RAFT_VOTE, r->term, transfer);
}

void raft_campaign(struct raft *r)
{
    r->role = RAFT_PRE_CANDIDATE;
    r->leader = 0;
    int self = raft_position(r, r->options.id);
    r->votes = self < 0 ? 0 : UINT32_C(1) << self;
    r->refused = 0;
    restart_timer(r);
    if (raft_configuration_quorum(raft_configuration_now(r), r->votes))
        raft_stand(r, false);
    else
        ask_for_votes(r, RAFT_PRE_VOTE, r->term + 1, false);
}

void raft_self_vote_durable(struct raft *r)
{
    int self = raft_position(r, r->options.id);
    if (self < 0 || r->vote != r->options.id)
        return;
    r->votes |= UINT32_C(1) << self;
    raft_count_votes(r);
}

void raft_count_votes(struct raft *r)
{
    const struct raft_configuration *c = raft_configuration_now(r);
    if (raft_configuration_quorum(c, r->votes)) {
        if (r->role == RAFT_PRE_CANDIDATE)
            raft_stand(r, false);
        else
            become_leader(r);
        return;
    }
    uint32_t all = (UINT32_C(1) << c->count) - 1;
    if (!raft_configuration_quorum(c, all & ~r->refused))
        raft_become_follower(r, r->term, 0); /* can no longer win */
}

/* CheckQuorum: a leader that a majority no longer hears steps down, so that its clients go
 * elsewhere. */
static void check_quorum(struct raft *r)
{
    uint32_t active = 0;
    for (size_t i = 0; i < r->progress_count; i++) {
        struct raft_progress *p = &r->progress[i];
        if (p->active || p->id == r->options.id)
            active |= UINT32_C(1) << i;
        p->lives = p->active;
        if (!p->active)
            raft_sending_end(p);
        p->active = false;
    }
    if (!raft_configuration_quorum(raft_configuration_now(r), active))
        raft_become_follower(r, r->term, 0);
}

/* A member without its state could not serve as a leader; one that installs a snapshot has no log;
 * and nobody breaks his own promise. */
static bool may_stand(const struct raft *r)
{
    return raft_self_votes(r) && !r->discarded && !r->install.complete &&
           !raft_lease_promised(r, r->options.id);
}

void raft_tick(struct raft *r)
{
    r->elapsed++;
    if (r->role != RAFT_LEADER) {
        if (r->elapsed >= r->timeout && may_stand(r))
            raft_campaign(r);
        else if (r->elapsed >= r->timeout)
            r->leader = 0; /* who cannot stand need not point at a dead leader */
        return;
    }
    if (r->elapsed >= r->options.election_min_ticks) {
        r->elapsed = 0;
        check_quorum(r);
        if (r->role != RAFT_LEADER)
            return;
    }
    raft_transfer_tick(r);
    if (r->role != RAFT_LEADER)
        return;
    if (++r->heartbeat_elapsed >= r->options.heartbeat_ticks) {
        r->heartbeat_elapsed = 0;
        raft_lease_renew(r);
        raft_heartbeat_all(r);
    }
}
