/* The properties of Raft (figure 3) and of what was built around it, as each step can break
 * them. */
#pragma once
#include "tests/unit/raft/cluster_disk.h"
#include "tests/unit/raft/cluster_types.h"

/* Majorities as the paper counts them, apart from the code that is tested. */
static inline bool cluster_quorum(const struct raft_configuration *c, uint32_t yes)
{
    size_t all[2] = {0}, have[2] = {0};
    for (size_t i = 0; i < c->count; i++)
        for (int old = 0; old < 2; old++)
            if (c->members[i].roles & (old ? RAFT_OUTGOING : RAFT_VOTER)) {
                all[old]++;
                have[old] += yes >> i & 1;
            }
    return have[0] * 2 > all[0] && (all[1] == 0 || have[1] * 2 > all[1]);
}

/* Log completeness (figure 3): a leader has all that was ever applied. Hazard 14: nobody leads beside
 * a lease. */
static inline void cluster_leader_appeared(struct cluster *c, struct cluster_node *n,
                                           const struct raft_status *before)
{
    struct raft_status s;
    raft_status(n->raft, &s);
    cluster_check(c, s.term < CLUSTER_TERM_MAX, "too many terms");
    if (c->failed)
        return;
    cluster_check(c, !c->leader_of[s.term] || c->leader_of[s.term] == n->id,
                  "two leaders in one term");
    c->leader_of[s.term] = n->id;
    if (s.term > c->highest_leader_term)
        c->highest_leader_term = s.term;
    uint32_t votes = 0;
    for (size_t i = 0; i < before->configuration.count; i++) {
        const struct cluster_node *o = &c->nodes[before->configuration.members[i].id];
        bool own = o == n && o->hard.term == s.term && o->hard.vote == n->id;
        if (own || (o != n && c->vote_of[o->id][s.term] == n->id))
            votes |= UINT32_C(1) << i;
    }
    cluster_check(c, cluster_quorum(&before->configuration, votes),
                  "elected without a durable majority");
    cluster_check(c, !s.discarded, "a member without a state leads");
    cluster_check(c, s.last_index >= c->highest_applied, "a leader lacks what was applied");
    for (uint64_t i = n->log.base; i <= cluster_log_last(&n->log) && i <= c->highest_applied; i++)
        cluster_check(c, i == 0 || cluster_log_term(&n->log, i) == c->applied_term[i],
                      "a leader has another entry than what was applied");
    for (size_t i = 1; i <= CLUSTER_MAX; i++) {
        struct cluster_node *o = &c->nodes[i];
        cluster_check(c,
                      o == n || !o->alive || raft_term(o->raft) > s.term ||
                          !raft_lease_holds(o->raft, cluster_clock(c, o)),
                      "a leader appeared beside a lease");
    }
}

/* What a message vouches for is durable when it leaves (Raft, figure 2; D3), and nobody votes twice
 * in a term. */
static inline void cluster_check_message(struct cluster *c, struct cluster_node *n,
                                         const struct raft_message *m)
{
    if (m->term >= CLUSTER_TERM_MAX)
        return;
    bool asks = m->type == RAFT_VOTE, grants = m->type == RAFT_VOTE_REPLY && !m->reject;
    if (asks || grants) {
        raft_id to = asks ? n->id : m->to;
        cluster_check(c, n->hard.term > m->term || (n->hard.term == m->term && n->hard.vote == to),
                      "a vote leaves before it is durable");
        cluster_check(c, !c->vote_of[n->id][m->term] || c->vote_of[n->id][m->term] == to,
                      "a member votes twice in a term");
        c->vote_of[n->id][m->term] = to;
    }
    if (m->type == RAFT_APPEND_REPLY && !m->reject)
        cluster_check(c, m->index <= cluster_log_last(&n->log),
                      "entries are acknowledged before they are durable");
    bool pre = m->type == RAFT_PRE_VOTE || m->type == RAFT_PRE_VOTE_REPLY;
    cluster_check(c, pre || n->hard.term >= m->term, "a term is told before it is durable");
}

/* Raft, section 5.4.2: an entry of its own term, durable on a majority, of both configurations in a
 * joint one. A commit by counting is made under the configuration before the step. */
static inline void cluster_check_commit(struct cluster *c, struct cluster_node *n,
                                        const struct raft_status *before,
                                        const struct raft_status *now)
{
    struct raft_entries found = {0};
    uint64_t term = cluster_log_term(&n->log, now->commit);
    if (raft_entries_cached(n->raft, now->commit, now->commit, 1, &found))
        term = found.v[0].term;
    raft_entries_release(&found);
    cluster_check(c, term == now->term, "a leader commits an entry of another term by counting");
    uint32_t have = 0;
    for (size_t i = 0; i < before->configuration.count; i++) {
        const struct cluster_log *log = &c->nodes[before->configuration.members[i].id].log;
        if (now->commit <= log->base || cluster_log_term(log, now->commit) == term)
            have |= UINT32_C(1) << i;
    }
    cluster_check(c, cluster_quorum(&before->configuration, have),
                  "committed without a durable majority");
}

static inline void cluster_check_install(struct cluster *c, struct cluster_node *n,
                                         const struct raft_install_piece *p)
{
    struct raft_status s;
    raft_status(n->raft, &s);
    cluster_check(c, p->snapshot.index > s.commit || s.discarded,
                  "an image below what is committed");
    cluster_check(c, p->snapshot.index > n->applied, "an image below what is applied");
    cluster_check(c, n->piece_count < 64, "more pieces than the window");
}

static inline void cluster_check_step(struct cluster *c, struct cluster_node *n,
                                      const struct raft_status *before)
{
    struct raft_status s;
    raft_status(n->raft, &s);
    if (s.role != n->role_seen && c->trace)
        c->trace(c, "%llu becomes %s term=%llu", (unsigned long long)n->id, raft_role_name(s.role),
                 (unsigned long long)s.term);
    if (s.removed && !before->removed) {
        c->removals_seen++;
        if (c->trace)
            c->trace(c, "%llu is removed", (unsigned long long)n->id);
    }
    bool leads = s.role == RAFT_LEADER && n->role_seen != RAFT_LEADER;
    n->role_seen = s.role;
    if (leads)
        cluster_leader_appeared(c, n, before);
    bool led = before->role == RAFT_LEADER && before->term == s.term;
    if (led && s.commit > before->commit)
        cluster_check_commit(c, n, before, &s);
    cluster_check(c, s.term >= before->term, "a term went back");
    cluster_check(c, s.commit >= n->commit_seen, "a commit index went back");
    cluster_check(c, s.commit + 1 >= s.first_index, "a log begins behind what is committed");
    n->commit_seen = s.commit;
}

/* Log matching (figure 3): same index and term, then all before is the same too. */
static inline void cluster_check_matching(struct cluster *c)
{
    for (size_t a = 1; a <= CLUSTER_MAX; a++)
        for (size_t b = a + 1; b <= CLUSTER_MAX; b++) {
            const struct cluster_log *x = &c->nodes[a].log, *y = &c->nodes[b].log;
            uint64_t last = cluster_log_last(x), first = x->base > y->base ? x->base : y->base;
            if (cluster_log_last(y) < last)
                last = cluster_log_last(y);
            bool matched = false;
            for (uint64_t i = last; i >= first && i > 0; i--) {
                bool same = cluster_log_term(x, i) == cluster_log_term(y, i);
                cluster_check(c, same || !matched, "logs match at an index and differ before it");
                matched |= same;
            }
        }
}
