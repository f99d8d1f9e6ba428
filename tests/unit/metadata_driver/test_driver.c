/* Drivers as a group of simulated processes: what was acknowledged is applied by all, in one order,
 * whatever crashes; and what a stopped one leaves behind. */
#include "tests/unit/metadata_driver/group_kit.h"
#include <stdlib.h>

static bool enough(const struct group *g)
{
    return g->acknowledged >= 100;
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
        int64_t hung = sys_now();
        while (leader_of(g) == old && sys_now() < hung + 20 * SYS_SECOND)
            rest(100 * SYS_MS);
        int now = leader_of(g);
        CHECK(now >= 0 && now != old);
        /* 2 s until it counts as hung, then twice the longest election at most. */
        CHECK(sys_now() - hung < 6 * SYS_SECOND);
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
