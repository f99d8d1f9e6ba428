/* Reads under a lease (hazard 14): no messages for them, and none sees less than what anybody was told
 * before the state was read, whatever becomes of the leader and its clock. */
#include "tests/unit/metadata_driver/group_kit.h"

enum { ROUNDS = 8, TENTH = 100000 /* ppm */ };

static struct group *leased_group(bool apart)
{
    struct group *g = group_new(256 << 10, 0, 100);
    g->apart = apart;
    g->lease = SYS_SECOND;
    g->election_max = 13;
    CHECK(wait_for(g, all_voters, 60));
    return g;
}

static void end_group(struct group *g)
{
    g->silent = 0;
    rest(3 * SYS_SECOND);
    g->quiet = true;
    CHECK(wait_for(g, caught_up, 30));
    check_group(g);
    stop_group(g);
}

static bool leads(const struct group *g)
{
    return leader_of(g) >= 0;
}

/* One that leads, whose client from now on only reads. */
static int silenced_leader(struct group *g)
{
    CHECK(wait_for(g, leads, 20));
    rest(2 * SYS_SECOND);
    int old = leader_of(g);
    g->silent = old + 1;
    rest(300 * SYS_MS); /* its last write has ended, its lease is there */
    return old;
}

static void isolate(int member, bool in, bool out, bool cut)
{
    for (int i = 0; i < GROUP_MEMBERS; i++) {
        if (i != member && in)
            sim_cut((uint32_t)(GROUP_HOST + i), (uint32_t)(GROUP_HOST + member), cut);
        if (i != member && out)
            sim_cut((uint32_t)(GROUP_HOST + member), (uint32_t)(GROUP_HOST + i), cut);
    }
}

/* Whether the others have got a leader and have written. */
static bool others_write(const struct group *g)
{
    uint64_t before = g->acknowledged;
    for (int i = 0; i < 200 && g->acknowledged < before + 3; i++)
        rest(50 * SYS_MS);
    bool written = g->acknowledged >= before + 3;
    rest(200 * SYS_MS); /* while who was cut off may read */
    return written;
}

static void no_messages(void)
{
    struct group *g = leased_group(false);
    g->quiet = true;
    rest(SYS_SECOND);
    uint64_t reads = g->reads, leased = g->leased, messages = g->messages;
    rest(10 * SYS_SECOND);
    reads = g->reads - reads;
    leased = g->leased - leased;
    messages = g->messages - messages;
    CHECK(reads > 500);
    CHECK_EQ(leased, reads);
    /* A heartbeat for each of two others with every tick, asked for or not. */
    suite_check(messages <= 2 * 102, __FILE__, __LINE__, "%llu messages, %llu reads",
                (unsigned long long)messages, (unsigned long long)reads);
    end_group(g);
}

/* ppm: how the old leader's clock, or else the others', runs. */
static void cut_off(int32_t own, int32_t others)
{
    struct group *g = leased_group(false);
    for (int round = 0; round < ROUNDS; round++) {
        int old = silenced_leader(g);
        if (!CHECK(old >= 0))
            break;
        for (int i = 0; i < GROUP_MEMBERS; i++)
            sim_clock_drift((uint32_t)(GROUP_HOST + i), i == old ? own : others);
        rest(SYS_SECOND + (int64_t)(sim_random() % 100) * SYS_MS);
        if (leader_of(g) == old) {
            uint64_t leased = g->leased;
            isolate(old, true, true, true);
            rest(500 * SYS_MS);
            CHECK(g->leased > leased + 10); /* for a while it goes on */
            CHECK(others_write(g));
        }
        isolate(old, true, true, false);
        g->silent = 0;
    }
    CHECK(g->leased > 100);
    end_group(g);
}

static void alone(void)
{
    cut_off(0, 0);
}

static void alone_with_a_slow_clock(void)
{
    cut_off(-TENTH, 0);
}

static void alone_others_fast(void)
{
    cut_off(0, TENTH);
}

static void asleep(void)
{
    struct group *g = leased_group(false);
    for (int round = 0; round < ROUNDS; round++) {
        int old = silenced_leader(g);
        if (!CHECK(old >= 0))
            break;
        uint64_t again = g->again;
        g->pause = old + 1;
        for (int i = 0; i < 100 && g->pause; i++)
            rest(20 * SYS_MS);
        CHECK_EQ(g->pause, 0);
        CHECK(others_write(g));
        sim_pause(g->members[old].pid, false);
        rest(2 * SYS_SECOND);
        CHECK_EQ(g->again, again + 1);
    }
    end_group(g);
}

/* The word to stand leaves, and the old leader hears nothing any more. */
static void handed_over(void)
{
    struct group *g = leased_group(false);
    for (int round = 0; round < ROUNDS; round++) {
        int old = silenced_leader(g);
        if (!CHECK(old >= 0))
            break;
        isolate(old, true, false, true);
        g->transfer = old + 1;
        rest(50 * SYS_MS);
        CHECK_EQ(g->transfer, 0);
        CHECK(others_write(g));
        isolate(old, true, false, false);
        g->silent = 0;
    }
    end_group(g);
}

static bool first_leads(const struct group *g)
{
    return leader_of(g) == 0;
}

/* A promise is as long as its leader counts on, also when others would not wait half as long, and when
 * they have been started again and do not know it. */
static void configured_apart(void)
{
    struct group *g = leased_group(true);
    int led = 0;
    for (int round = 0; round < 3 * ROUNDS; round++) {
        g->transfer_to = group_id(0);
        for (int i = 0; i < 20 && !first_leads(g); i++) {
            g->transfer = leader_of(g) + 1;
            rest(500 * SYS_MS);
        }
        g->transfer = 0;
        if (silenced_leader(g) == 0 && ++led) {
            isolate(0, true, true, true);
            for (int i = 1; i < GROUP_MEMBERS && round % 2; i++) {
                sim_crash(g->members[i].pid);
                sim_restart(g->members[i].pid);
            }
            CHECK(others_write(g));
            isolate(0, true, true, false);
        }
        g->silent = 0;
    }
    CHECK(led > ROUNDS);
    end_group(g);
}

static void crashes(void)
{
    struct group *g = leased_group(false);
    for (int round = 0; round < 3 * ROUNDS; round++) {
        rest((int64_t)(sim_random() % 2000) * SYS_MS);
        int one = (int)(sim_random() % GROUP_MEMBERS);
        if (sim_random() % 2)
            isolate(one, true, true, true);
        else
            sim_crash(g->members[one].pid);
        rest((int64_t)(sim_random() % 3000) * SYS_MS);
        isolate(one, true, true, false);
        if (!sim_alive(g->members[one].pid))
            sim_restart(g->members[one].pid);
    }
    CHECK(g->leased > 100);
    end_group(g);
}

static const struct test tests[] = {
    {"reads without messages", no_messages},
    {"a leader that is cut off", alone},
    {"a leader that is cut off, with a slow clock", alone_with_a_slow_clock},
    {"a leader that is cut off from fast clocks", alone_others_fast},
    {"a leader that sleeps before it reads", asleep},
    {"a leader that hands over", handed_over},
    {"members that are configured apart", configured_apart},
    {"crashes and cuts", crashes},
    {0},
};
SUITE("metadata driver: leases", tests)
