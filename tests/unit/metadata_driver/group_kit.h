/* A group of drivers as the test handles it: made, waited for, judged, stopped. */
#pragma once
#include "tests/unit/metadata_driver/group.h"

static inline void rest(int64_t ns)
{
    sys_sleep_until(sys_now() + ns);
}

static inline struct group *group_new(uint64_t segment_bytes, uint64_t cache_bytes,
                                      size_t command_bytes)
{
    struct group *g = sys_alloc(sizeof *g);
    g->segment_bytes = segment_bytes;
    g->cache_bytes = cache_bytes;
    g->command_bytes = command_bytes;
    for (int i = 0; i < GROUP_MEMBERS; i++) {
        g->members[i].group = g;
        g->members[i].number = i;
        g->members[i].pid =
            sim_spawn("member", (uint32_t)(GROUP_HOST + i), group_main, &g->members[i]);
    }
    return g;
}

static inline bool all_voters(const struct group *g)
{
    const struct raft_configuration *c = NULL;
    for (int i = 0; i < GROUP_MEMBERS; i++)
        if (g->members[i].raft.role == RAFT_LEADER)
            c = &g->members[i].raft.configuration;
    return c && c->count == GROUP_MEMBERS && c->members[0].roles == RAFT_VOTER &&
           c->members[1].roles == RAFT_VOTER && c->members[2].roles == RAFT_VOTER;
}

static inline bool caught_up(const struct group *g)
{
    for (int i = 0; i < GROUP_MEMBERS; i++)
        if (!g->members[i].running || g->members[i].applied < g->highest_acknowledged)
            return false;
    return true;
}

static inline bool wait_for(const struct group *g, bool (*what)(const struct group *), int seconds)
{
    for (int i = 0; i < seconds * 10 && !what(g); i++)
        rest(100 * SYS_MS);
    return what(g);
}

static inline void check_group(const struct group *g)
{
    CHECK_EQ(g->differing, 0);
    CHECK_EQ(g->stale_reads, 0);
    CHECK_EQ(g->lost_replies, 0);
}

static inline void stop_group(struct group *g)
{
    for (int i = 0; i < GROUP_MEMBERS; i++)
        sim_stop(g->members[i].pid);
    for (int k = 0; k < 200; k++) {
        bool alive = false;
        for (int i = 0; i < GROUP_MEMBERS; i++)
            alive |= sim_alive(g->members[i].pid);
        if (!alive)
            break;
        rest(100 * SYS_MS);
    }
    for (int i = 0; i < GROUP_MEMBERS; i++) {
        CHECK(!sim_alive(g->members[i].pid));
        struct sim_leaks l = sim_leaks(g->members[i].pid);
        CHECK_EQ(l.blocks, 0);
        CHECK_EQ(l.threads + l.sockets + l.files + l.events + l.mutexes + l.conds, 0);
    }
    sys_free(g);
}

static inline int leader_of(const struct group *g)
{
    for (int i = 0; i < GROUP_MEMBERS; i++)
        if (sim_alive(g->members[i].pid) && g->members[i].raft.role == RAFT_LEADER)
            return i;
    return -1;
}
