/* Groups of one to five under random loss, reordering, repetition, cuts, crashes, slow disks,
 * membership changes, transfers, compaction with snapshots of tiny pieces, states thrown away, and
 * leases with clocks that run apart. Every step is checked by cluster.h; in the end, with all healed,
 * they must agree and go on. */
#include <stdlib.h>
#include "common/sys/sys.h"
#include "tests/unit/raft/cluster.h"

static uint64_t next_random(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

struct dice {
    uint64_t x;
};
static uint64_t roll(struct dice *d, uint64_t n)
{
    return next_random(&d->x) % n;
}

/* Of a thousand steps, up to where each kind goes; what is asked of a leader goes likewise. */
struct mix {
    uint64_t network, tick, disk, disaster;
    uint64_t propose, read, change; /* else a transfer */
    bool compacts, leases;
    size_t voters; /* 0: any */
};
static const struct mix mixes[] = {
    /* all of it */
    {550, 680, 850, 857, 650, 900, 975, true, true, 0},
    {550, 680, 850, 857, 650, 950, 990, false, false, 0},
    /* leases and reads */
    {600, 760, 880, 900, 250, 930, 930, false, true, 3},
    {600, 760, 880, 900, 250, 980, 980, false, false, 3},
    /* members come and go */
    {520, 680, 850, 858, 500, 600, 960, false, false, 0},
    /* snapshots, and little else */
    {500, 620, 840, 852, 900, 930, 970, true, false, 0},
};

static struct cluster_node *any_alive(struct cluster *c, struct dice *d)
{
    for (int k = 0; k < 8; k++) {
        struct cluster_node *n = &c->nodes[1 + roll(d, CLUSTER_MAX)];
        if (n->alive)
            return n;
    }
    return NULL;
}

/* A member without a state is a failed one until it has a snapshot: one at a time, and only where the
 * others are still a majority. */
static bool may_discard(const struct cluster *c)
{
    for (size_t i = 1; i <= CLUSTER_MAX; i++) {
        const struct cluster_node *n = &c->nodes[i];
        if (!n->exists)
            continue;
        if (!n->alive || n->discarded)
            return false;
        struct raft_status s;
        raft_status(n->raft, &s);
        size_t voters = 0;
        for (size_t k = 0; k < s.configuration.count; k++)
            voters += s.configuration.members[k].roles & RAFT_VOTER;
        if ((s.configuration.count && voters < 3) || raft_configuration_joint(&s.configuration))
            return false;
    }
    return c->compacts;
}

static bool any_discarded(const struct cluster *c)
{
    for (size_t i = 1; i <= CLUSTER_MAX; i++)
        if (c->nodes[i].discarded)
            return true;
    return false;
}

static void change(struct cluster *c, struct dice *d, struct cluster_node *leader)
{
    raft_id member = 1 + roll(d, CLUSTER_MAX);
    if (!c->nodes[member].exists || any_discarded(c))
        return;
    static const enum raft_change_type types[] = {RAFT_ADD_LEARNER, RAFT_ADD_LEARNER, RAFT_PROMOTE,
                                                  RAFT_PROMOTE, RAFT_REMOVE};
    struct raft_event event = {.type = RAFT_CHANGE,
                               .change = types[roll(d, 5)],
                               .member = member,
                               .replaces = roll(d, 3) ? 0 : 1 + roll(d, CLUSTER_MAX),
                               .address = "x"};
    if (cluster_step(c, leader, &event))
        return; /* not now, or not a learner */
}

static void hand_over(struct cluster *c, struct dice *d, struct cluster_node *leader)
{
    struct raft_event event = {.type = roll(d, 8) ? RAFT_TRANSFER : RAFT_RESIGN,
                               .member = roll(d, 2) ? 1 + roll(d, CLUSTER_MAX) : 0};
    if (cluster_step(c, leader, &event))
        return; /* not now, or not a voter */
}

static void ask(struct cluster *c, struct dice *d, const struct mix *mix,
                struct cluster_node *leader, uint64_t step)
{
    uint64_t what = roll(d, 1000);
    char text[64];
    snprintf(text, sizeof text, "command %llu", (unsigned long long)step);
    if (what < mix->propose)
        cluster_check(c, cluster_propose(c, leader, text) != ERR_TOO_BIG, "too big");
    else if (what < mix->read)
        cluster_check(c, cluster_read(c, leader) != ERR_INVALID, "a read is invalid");
    else if (what < mix->change)
        change(c, d, leader);
    else
        hand_over(c, d, leader);
}

/* What a member's own disk does at its own pace. */
static void disk(struct cluster *c, struct dice *d, struct cluster_node *n)
{
    cluster_persist_one(c, n);
    if (roll(d, 2))
        cluster_apply_all(c, n);
    if (roll(d, 2))
        cluster_read_one(c, n);
    if (roll(d, 2))
        cluster_install_one(c, n, roll(d, 40) == 0);
    if (roll(d, 6) == 0 && c->compacts)
        cluster_compact(c, n,
                        n->applied - (n->applied ? roll(d, n->applied > 8 ? 8 : n->applied) : 0));
}

static void network(struct cluster *c, struct dice *d)
{
    if (c->network_count == 0)
        return;
    /* Mostly in order, at times from anywhere. */
    size_t i = roll(d, 4) ? roll(d, c->network_count < 4 ? c->network_count : 4)
                          : roll(d, c->network_count);
    if (roll(d, 20) == 0) {
        struct raft_message again = c->network[i];
        cluster_network_add(c, &again);
    }
    if (roll(d, c->network[i].type == RAFT_TIMEOUT_NOW ? 3 : 400) == 0)
        cluster_delay(c, i, (int64_t)roll(d, 1500));
    else
        cluster_deliver(c, i, roll(d, 25) == 0);
}

static void disaster(struct cluster *c, struct dice *d, struct cluster_node *n)
{
    switch (roll(d, 10)) {
    case 0:
    case 6:
        cluster_crash(n);
        break;
    case 7: /* and back at once, before anybody noticed, but with what was not durable gone */
        cluster_crash(n);
        cluster_start_node(c, n);
        break;
    case 9: /* and back without its state, which was found to be wrong */
        if (!may_discard(c))
            break;
        cluster_crash(n);
        n->applied = n->state = 0;
        n->discarded = n->log.base > 0;
        cluster_start_node(c, n);
        break;
    case 1:
        for (size_t i = 1; i <= CLUSTER_MAX; i++)
            c->cut[n->id][i] = roll(d, 2);
        break;
    case 2:
        for (size_t i = 1; i <= CLUSTER_MAX; i++)
            c->cut[n->id][i] = c->cut[i][n->id] = true;
        break;
    case 3:
        memset(c->cut, 0, sizeof c->cut);
        break;
    default:
        for (size_t i = 1; i <= CLUSTER_MAX; i++)
            if (c->nodes[i].exists && !c->nodes[i].alive)
                cluster_start_node(c, &c->nodes[i]);
    }
}

/* A link of the leader fails, so that one member does not hear it; one that does restarts at once and
 * has forgotten it; the leader is cut off from all, and does not know. */
static void lease_disaster(struct cluster *c, struct dice *d, struct cluster_node *n)
{
    struct cluster_node *leader = cluster_leader(c);
    if (!leader)
        leader = n;
    switch (roll(d, 8)) {
    case 0:
    case 1:
        c->cut[n->id][leader->id] = c->cut[leader->id][n->id] = true;
        break;
    case 2:
        for (size_t i = 1; i <= CLUSTER_MAX; i++)
            c->cut[leader->id][i] = c->cut[i][leader->id] = true;
        break;
    case 3:
        memset(c->cut, 0, sizeof c->cut);
        break;
    default:
        for (size_t i = 1; i <= CLUSTER_MAX; i++) {
            struct cluster_node *o = &c->nodes[i];
            if (!o->alive || c->cut[i][leader->id] || (o == leader && roll(d, 8)))
                continue;
            cluster_crash(o);
            cluster_start_node(c, o);
        }
    }
}

/* One that does not know of a later one, if there is any. */
static struct cluster_node *stale_leader(struct cluster *c, struct cluster_node *n)
{
    for (size_t i = 1; i <= CLUSTER_MAX; i++)
        if (c->nodes[i].alive && raft_is_leader(c->nodes[i].raft) &&
            raft_term(c->nodes[i].raft) < c->highest_leader_term)
            return &c->nodes[i];
    return n;
}

static void one_step(struct cluster *c, struct dice *d, const struct mix *mix, uint64_t step)
{
    struct cluster_node *n = any_alive(c, d);
    c->time += (int64_t)roll(d, 3);
    cluster_late(c);
    if (!n) {
        disaster(c, d, &c->nodes[1]);
        return;
    }
    uint64_t what = roll(d, 1000);
    if (what < mix->network) {
        network(c, d);
    } else if (what < mix->tick) {
        /* Clocks run apart: at times one runs off. */
        for (uint64_t k = roll(d, 40) ? 1 : 1 + roll(d, 25); k > 0 && !c->failed; k--)
            cluster_do(c, n, (struct raft_event){.type = RAFT_TICK});
    } else if (what < mix->disk) {
        disk(c, d, n);
    } else if (what < mix->disaster) {
        if (mix->leases)
            lease_disaster(c, d, n);
        else
            disaster(c, d, n);
    } else {
        struct cluster_node *leader = roll(d, 4) ? cluster_leader(c) : stale_leader(c, n);
        if (leader)
            ask(c, d, mix, leader, step);
    }
}

static void cluster_report(struct cluster *c)
{
    for (size_t i = 1; i <= CLUSTER_MAX; i++) {
        struct cluster_node *n = &c->nodes[i];
        if (!n->alive)
            continue;
        struct raft_status s;
        raft_status(n->raft, &s);
        printf("\n  %zu %s term %llu leader %llu log %llu..%llu commit %llu applied %llu%s%s:", i,
               raft_role_name(s.role), (unsigned long long)s.term, (unsigned long long)s.leader,
               (unsigned long long)s.first_index, (unsigned long long)s.last_index,
               (unsigned long long)s.commit, (unsigned long long)s.applied,
               s.discarded ? " discarded" : "", s.removed ? " removed" : "");
        for (size_t k = 0; k < s.configuration.count; k++)
            printf(" %llu=%u(match %llu next %llu flow %d)",
                   (unsigned long long)s.configuration.members[k].id,
                   s.configuration.members[k].roles, (unsigned long long)s.members[k].match,
                   (unsigned long long)s.members[k].next, s.members[k].flow);
    }
}

/* All healed: a leader is found, one more command is committed, all members have the same. */
static void recover(struct cluster *c, struct dice *d)
{
    memset(c->cut, 0, sizeof c->cut);
    c->slow_disks = c->slow_apply = false;
    for (size_t i = 1; i <= CLUSTER_MAX; i++) {
        if (c->nodes[i].exists && !c->nodes[i].alive)
            cluster_start_node(c, &c->nodes[i]);
        if (c->nodes[i].alive)
            cluster_settle_disk(c, &c->nodes[i]);
    }
    uint64_t before = c->highest_applied;
    bool proposed = false;
    for (int round = 0; round < 400 && !c->failed; round++) {
        c->time += 41;
        for (size_t i = 1; i <= CLUSTER_MAX; i++)
            if (c->nodes[i].alive)
                cluster_do(c, &c->nodes[i], (struct raft_event){.type = RAFT_TICK});
        for (int k = 0; k < 2000 && c->network_count; k++)
            cluster_deliver(c, 0, false);
        struct cluster_node *leader = cluster_leader(c);
        if (round > 100 && !proposed && leader)
            proposed = cluster_propose(c, leader, "the last") == OK;
    }
    (void)d;
    if (!proposed || c->highest_applied <= before)
        cluster_report(c);
    cluster_check(c, proposed && c->highest_applied > before, "nothing is committed after healing");
    struct cluster_node *leader = cluster_leader(c);
    if (!leader)
        return;
    struct raft_status s;
    raft_status(leader->raft, &s);
    bool behind = false;
    for (size_t i = 0; i < s.configuration.count; i++)
        behind |= c->nodes[s.configuration.members[i].id].applied != c->highest_applied;
    if (behind)
        cluster_report(c);
    for (size_t i = 0; i < s.configuration.count; i++)
        cluster_check(c, c->nodes[s.configuration.members[i].id].applied == c->highest_applied,
                      "a member did not catch up");
}

struct totals {
    uint64_t installs, resets, leased, transfers, removals;
};

static uint64_t run_seed(uint64_t seed, bool *failed, struct totals *t)
{
    struct dice d = {.x = seed * UINT64_C(0x9e3779b97f4a7c15) + 1};
    for (int i = 0; i < 8; i++)
        roll(&d, 2);
    struct cluster *c = cluster_new(seed);
    const struct mix *mix = &mixes[roll(&d, sizeof mixes / sizeof *mixes)];
    size_t voters = roll(&d, 4) == 0 ? 1 : roll(&d, 2) ? 3 : 5;
    voters = mix->voters ? mix->voters : voters;
    size_t members = voters + (mix->voters ? 0 : roll(&d, 3));
    c->slow_disks = roll(&d, 4) != 0;
    c->slow_apply = c->slow_disks;
    c->cache_bytes = roll(&d, 2) ? 0 : 200;
    c->compacts = mix->compacts;
    c->lease_ns = mix->leases ? 300 : 0;
    for (raft_id i = 1; i <= members; i++) {
        cluster_add(c, i, i <= voters ? voters : 0)->clock_rate = 950 + roll(&d, 101);
        cluster_start_node(c, &c->nodes[i]);
    }
    for (uint64_t step = 0; step < 6000 && !c->failed; step++) {
        one_step(c, &d, mix, step);
        if (step % 64 == 0)
            cluster_check_matching(c);
    }
    if (!c->failed)
        recover(c, &d);
    cluster_check_matching(c);
    uint64_t applied = c->highest_applied + c->reads_done;
    t->installs += c->installs_done;
    t->resets += c->resets_done;
    t->leased += c->leased_reads;
    t->transfers += c->transfers_done;
    t->removals += c->removals_seen;
    *failed = c->failed;
    cluster_free(c);
    return applied;
}

static void safety(void)
{
    uint64_t seeds = getenv("SEEDS") ? strtoull(getenv("SEEDS"), NULL, 10) : 600, first = 0;
    uint64_t done = 0, failures = 0;
    struct totals t = {0};
    if (getenv("FIRST"))
        first = strtoull(getenv("FIRST"), NULL, 10);
    for (uint64_t seed = first; seed < first + seeds && failures < 5; seed++) {
        bool failed;
        sys_sleep_until(sys_now()); /* a long soak is no hang */
        done += run_seed((suite_seed() << 20) + seed, &failed, &t);
        failures += failed;
    }
    suite_check(done > seeds * 50, __FILE__, __LINE__, "only %llu applied or read",
                (unsigned long long)done);
    printf(
        "  %llu applied or read, %llu installs (%llu resets), %llu leased reads, %llu transfers, "
        "%llu removals\n",
        (unsigned long long)done, (unsigned long long)t.installs, (unsigned long long)t.resets,
        (unsigned long long)t.leased, (unsigned long long)t.transfers,
        (unsigned long long)t.removals);
    suite_check(t.installs > seeds / 2 && t.resets > seeds / 3 && t.leased > seeds * 3 &&
                    t.transfers > seeds && t.removals > seeds / 4,
                __FILE__, __LINE__, "what is meant to be tested happens too rarely");
}

static const struct test tests[] = {{"safety", safety}, {0}};
SUITE("raft random", tests)
