/* Drivers as a group of simulated processes: what was acknowledged is applied by all, in one order,
 * whatever crashes; and what a stopped one leaves behind. */
#include "tests/unit/metadata_driver/group.h"
#include <stdlib.h>

static void rest(int64_t ns)
{
    sys_sleep_until(sys_now() + ns);
}

static struct group *group_new(uint64_t segment_bytes, uint64_t cache_bytes, size_t command_bytes)
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

static bool all_voters(const struct group *g)
{
    const struct raft_configuration *c = NULL;
    for (int i = 0; i < GROUP_MEMBERS; i++)
        if (g->members[i].raft.role == RAFT_LEADER)
            c = &g->members[i].raft.configuration;
    return c && c->count == GROUP_MEMBERS && c->members[0].roles == RAFT_VOTER &&
           c->members[1].roles == RAFT_VOTER && c->members[2].roles == RAFT_VOTER;
}

static bool caught_up(const struct group *g)
{
    for (int i = 0; i < GROUP_MEMBERS; i++)
        if (!g->members[i].running || g->members[i].applied < g->highest_acknowledged)
            return false;
    return true;
}

static bool wait_for(const struct group *g, bool (*what)(const struct group *), int seconds)
{
    for (int i = 0; i < seconds * 10 && !what(g); i++)
        rest(100 * SYS_MS);
    return what(g);
}

static bool enough(const struct group *g)
{
    return g->acknowledged >= 100;
}

static void check_group(const struct group *g)
{
    CHECK_EQ(g->differing, 0);
    CHECK_EQ(g->stale_reads, 0);
    CHECK_EQ(g->lost_replies, 0);
}

static void stop_group(struct group *g)
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

static void one_becomes_three(void)
{
    struct group *g = group_new(256 << 10, 0, 100);
    CHECK(wait_for(g, all_voters, 60));
    uint64_t before = g->acknowledged;
    rest(2 * SYS_SECOND);
    suite_check(g->acknowledged > before + 50, __FILE__, __LINE__, "only %llu acknowledged",
                (unsigned long long)g->acknowledged);
    CHECK(g->reads > 0);
    g->quiet = true;
    CHECK(wait_for(g, caught_up, 20));
    check_group(g);
    stop_group(g);
}

static void crashes_lose_nothing(void)
{
    struct group *g = group_new(128 << 10, 16 << 10, 700);
    CHECK(wait_for(g, all_voters, 60));
    for (int round = 0; round < 25; round++) {
        rest((int64_t)(sim_random() % 3000) * SYS_MS);
        int pid = g->members[sim_random() % GROUP_MEMBERS].pid;
        if (sim_random() % 2)
            sim_crash(pid);
        else
            sim_crash_at(pid, 1 + sim_random() % 3000);
        rest((int64_t)(sim_random() % 3000) * SYS_MS);
        for (int i = 0; i < GROUP_MEMBERS; i++)
            if (!sim_alive(g->members[i].pid))
                sim_restart(g->members[i].pid);
    }
    CHECK(wait_for(g, enough, 60));
    rest(5 * SYS_SECOND);
    for (int i = 0; i < GROUP_MEMBERS; i++) {
        sim_crash_at(g->members[i].pid, 0);
        if (!sim_alive(g->members[i].pid))
            sim_restart(g->members[i].pid);
    }
    uint64_t before = g->acknowledged;
    rest(8 * SYS_SECOND);
    CHECK(g->acknowledged > before);
    g->quiet = true;
    CHECK(wait_for(g, caught_up, 30));
    check_group(g);
    stop_group(g);
}

static int leader_of(const struct group *g)
{
    for (int i = 0; i < GROUP_MEMBERS; i++)
        if (sim_alive(g->members[i].pid) && g->members[i].raft.role == RAFT_LEADER)
            return i;
    return -1;
}

static void a_lonely_leader_steps_down(void)
{
    struct group *g = group_new(256 << 10, 0, 100);
    CHECK(wait_for(g, all_voters, 60));
    for (int round = 0; round < 5; round++) {
        int old = leader_of(g);
        if (!CHECK(old >= 0))
            break;
        for (int i = 0; i < GROUP_MEMBERS; i++)
            if (i != old)
                sim_partition((uint32_t)(GROUP_HOST + old), (uint32_t)(GROUP_HOST + i), true);
        rest(6 * SYS_SECOND);
        CHECK(g->members[old].raft.role != RAFT_LEADER);
        int now = leader_of(g);
        CHECK(now >= 0 && now != old);
        for (int i = 0; i < GROUP_MEMBERS; i++)
            if (i != old)
                sim_partition((uint32_t)(GROUP_HOST + old), (uint32_t)(GROUP_HOST + i), false);
        rest(3 * SYS_SECOND);
    }
    g->quiet = true;
    CHECK(wait_for(g, caught_up, 30));
    check_group(g);
    stop_group(g);
}

/* Hazard 23. */
static void a_leader_whose_disk_hangs_resigns(void)
{
    struct group *g = group_new(256 << 10, 0, 100);
    CHECK(wait_for(g, all_voters, 60));
    int old = leader_of(g);
    if (CHECK(old >= 0)) {
        uint32_t host = (uint32_t)(GROUP_HOST + old);
        sim_disk_hang(host, "/log", true);
        rest(8 * SYS_SECOND);
        int now = leader_of(g);
        CHECK(now >= 0 && now != old);
        uint64_t before = g->acknowledged;
        rest(2 * SYS_SECOND);
        CHECK(g->acknowledged > before);
        sim_disk_hang(host, "/log", false);
    }
    rest(3 * SYS_SECOND);
    g->quiet = true;
    CHECK(wait_for(g, caught_up, 30));
    check_group(g);
    stop_group(g);
}

static const struct test tests[] = {
    {"one becomes three", one_becomes_three},
    {"crashes lose nothing", crashes_lose_nothing},
    {"a lonely leader steps down", a_lonely_leader_steps_down},
    {"a leader whose disk hangs resigns", a_leader_whose_disk_hangs_resigns},
    {0},
};
SUITE("metadata driver", tests)
