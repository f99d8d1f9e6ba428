/* Clocks of a metadata group (hazard 6): a minority that is off moves log time nowhere and does not
 * lead; where no majority agrees log time stands still; a majority that is off is held. */
#include "metadata/clock_agreement.h"
#include "tests/unit/metadata_service/members_kit.h"

#define DAY (24 * 3600 * SYS_SECOND)

/* ---- the rule alone ---- */

static void agreement(void)
{
    struct clock_range out;
    const struct clock_range true_ones[] = {{-10, 10}, {-5, 15}, {90, 110}};
    CHECK(clock_agree(true_ones, 3, 2, &out));
    CHECK_EQ(out.low, -5);
    CHECK_EQ(out.high, 10);
    CHECK(clock_touches(true_ones[0], out));
    CHECK(!clock_touches(true_ones[2], out));
    const struct clock_range apart[] = {{-10, 10}, {40, 60}, {90, 110}};
    CHECK(!clock_agree(apart, 3, 2, &out));
    const struct clock_range chain[] = {{-10, 10}, {5, 25}, {20, 40}};
    CHECK(clock_agree(chain, 3, 2, &out)); /* the middle one is with both */
    CHECK_EQ(out.low, 5);
    CHECK_EQ(out.high, 25);
    const struct clock_range point[] = {{0, 10}, {10, 20}};
    CHECK(clock_agree(point, 2, 2, &out));
    CHECK_EQ(out.low, 10);
    CHECK_EQ(out.high, 10);
    const struct clock_range one[] = {{7, 9}};
    CHECK(clock_agree(one, 1, 1, &out));
    CHECK_EQ(out.low, 7);
    CHECK_EQ(out.high, 9);
    CHECK(!clock_agree(one, 1, 2, &out));
    const struct clock_range within[] = {{0, 100}, {10, 20}, {12, 18}};
    CHECK(clock_agree(within, 3, 3, &out));
    CHECK_EQ(out.low, 12);
    CHECK_EQ(out.high, 18);
    CHECK_EQ(clock_clamp(5, out), 12);
    CHECK_EQ(clock_clamp(15, out), 15);
    CHECK_EQ(clock_clamp(50, out), 18);
}

/* Whatever the clocks are: what a majority shares lies in no fewer ranges at its ends, and a majority
 * touches it. */
static void agreement_at_random(void)
{
    for (int round = 0; round < 2000; round++) {
        struct clock_range ranges[7], out;
        size_t n = 1 + sim_random() % 7, majority = n / 2 + 1, touching = 0, low = 0, high = 0;
        for (size_t i = 0; i < n; i++) {
            ranges[i].low = (int64_t)(sim_random() % 60);
            ranges[i].high = ranges[i].low + (int64_t)(sim_random() % 20);
        }
        bool agreed = clock_agree(ranges, n, majority, &out);
        for (int64_t at = 0; at < 80; at++) {
            size_t covers = 0;
            for (size_t i = 0; i < n; i++)
                covers += ranges[i].low <= at && at <= ranges[i].high;
            CHECK(covers < majority || (agreed && out.low <= at && at <= out.high));
            low += agreed && at == out.low && covers >= majority;
            high += agreed && at == out.high && covers >= majority;
        }
        for (size_t i = 0; i < n; i++)
            touching += agreed && clock_touches(ranges[i], out);
        CHECK(!agreed || (low == 1 && high == 1 && touching >= majority));
    }
}

/* ---- a group ---- */

static int64_t log_time(struct members_test *t)
{
    CHECK_OK(members_touch(t));
    return metadata_log_time(t->c.metadata);
}

static bool off(const Members *m, const MemberInfo *one)
{
    (void)m;
    return one->clock_off;
}

static bool in_time(const Members *m, const MemberInfo *one)
{
    (void)m;
    return one->clock_known && !one->clock_off;
}

/* The leader's clock jumps: not one command gets that time, and another member leads from then on. */
static void a_leader_ahead(int64_t by)
{
    struct members_test t;
    members_start(&t);
    int old = members_leader(&t);
    CHECK(old >= 0);
    int64_t time = log_time(&t), began = sys_now();
    sim_clock_skew(MEMBERS_HOST + (uint32_t)old, by);
    for (int i = 0; i < 50; i++) {
        int64_t now = log_time(&t);
        CHECK(now >= time && now - time <= sys_now() - began + 21 * SYS_SECOND);
        sys_sleep_until(sys_now() + 200 * SYS_MS);
    }
    CHECK(log_time(&t) - time >= 8 * SYS_SECOND); /* it goes on */
    int leader = members_leader(&t);
    CHECK(leader >= 0 && leader != old);
    for (unsigned i = 0; i < MEMBERS; i++)
        CHECK(members_wait(&t, i, (unsigned)old, off, 5));
    /* When all others are gone and back it still does not lead. */
    for (unsigned i = 0; i < MEMBERS; i++) {
        if ((int)i == old)
            continue;
        sim_crash(t.pid[i]);
        sim_restart(t.pid[i]);
    }
    sys_sleep_until(sys_now() + 10 * SYS_SECOND);
    CHECK(members_leader(&t) != old);
    CHECK(log_time(&t) - time <= sys_now() - began + 21 * SYS_SECOND);
    sim_clock_skew(MEMBERS_HOST + (uint32_t)old, 0);
    CHECK(members_wait(&t, (unsigned)old, (unsigned)old, in_time, 5));
    members_stop(&t);
}

static void ahead(void)
{
    a_leader_ahead(2 * DAY);
}

static void behind(void)
{
    a_leader_ahead(-2 * DAY);
}

static bool disagree(const Members *m, const MemberInfo *one)
{
    (void)one;
    return m->clocks_disagree;
}

/* Three clocks, three times: the group serves, and no time passes for it. */
static void no_agreement(void)
{
    struct members_test t;
    members_start(&t);
    sim_clock_skew(MEMBERS_HOST, DAY);
    sim_clock_skew(MEMBERS_HOST + 1, -DAY);
    for (unsigned i = 0; i < MEMBERS; i++)
        CHECK(members_wait(&t, i, i, disagree, 5));
    int64_t time = log_time(&t);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(log_time(&t), time);
        sys_sleep_until(sys_now() + SYS_SECOND);
    }
    sim_clock_skew(MEMBERS_HOST, 0);
    sys_sleep_until(sys_now() + 5 * SYS_SECOND);
    int64_t after = log_time(&t);
    CHECK(after - time >= 20 * SYS_SECOND && after - time < 120 * SYS_SECOND);
    members_stop(&t);
}

static bool held(const Members *m, const MemberInfo *one)
{
    (void)one;
    return m->time_held_ns > 0;
}

static bool not_held(const Members *m, const MemberInfo *one)
{
    (void)one;
    return m->time_held_ns == 0;
}

static enum err confirm(struct members_test *t, int64_t seen)
{
    ConfirmTime body = CONFIRM_TIME__INIT;
    Command command = COMMAND__INIT;
    body.seen = seen;
    command.body_case = COMMAND__BODY_CONFIRM_TIME;
    command.confirm_time = &body;
    return members_command(t, &command, NULL);
}

/* A majority jumps, so log time does: every member holds, until the time is confirmed; then none does,
 * also one that is started again. A step after the one that was seen is held again. */
static void confirmed(void)
{
    struct members_test t;
    members_start(&t);
    int64_t before = log_time(&t);
    for (unsigned i = 0; i < MEMBERS; i++) {
        CHECK(members_wait(&t, i, i, not_held, 1));
        sim_clock_skew(MEMBERS_HOST + i, DAY);
    }
    sys_sleep_until(sys_now() + 5 * SYS_SECOND);
    int64_t after = log_time(&t);
    CHECK(after - before >= DAY);
    for (unsigned i = 0; i < MEMBERS; i++)
        CHECK(members_wait(&t, i, i, held, 2));
    CHECK_ERR(confirm(&t, after + DAY), ERR_INVALID); /* nobody has seen that yet */
    CHECK_OK(confirm(&t, before));                    /* not what is held */
    CHECK(members_wait(&t, 0, 0, held, 0 + 1));
    CHECK_OK(confirm(&t, after));
    for (unsigned i = 0; i < MEMBERS; i++)
        CHECK(members_wait(&t, i, i, not_held, 2));
    /* The clocks were wrong after all: started anew, log time is a day ahead, which is known. */
    for (unsigned i = 0; i < MEMBERS; i++)
        sim_clock_skew(MEMBERS_HOST + i, 0);
    sim_crash(t.pid[0]);
    sim_restart(t.pid[0]);
    sys_sleep_until(sys_now() + 3 * SYS_SECOND);
    CHECK(members_wait(&t, 0, 0, not_held, 5));
    for (unsigned i = 0; i < MEMBERS; i++)
        sim_clock_skew(MEMBERS_HOST + i, 2 * DAY);
    sys_sleep_until(sys_now() + 5 * SYS_SECOND);
    CHECK(log_time(&t) - after >= DAY);
    for (unsigned i = 0; i < MEMBERS; i++)
        CHECK(members_wait(&t, i, i, held, 2));
    members_stop(&t);
}

static const struct test tests[] = {
    {"what a majority of clocks agrees on", agreement},
    {"agreement at random", agreement_at_random},
    {"a leader whose clock jumps ahead", ahead},
    {"a leader whose clock jumps back", behind},
    {"no majority of clocks agrees", no_agreement},
    {"a step of a majority is held until confirmed", confirmed},
    {0},
};
SUITE("metadata clocks", tests)
