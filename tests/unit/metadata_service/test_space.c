/* A metadata disk that fills (hazard 23): below the mark on any voter nothing is added, all else goes on;
 * the ballast gives deletes, and a start, something to work with. */
#include "tests/unit/metadata_service/members_kit.h"

#define GIB (UINT64_C(1) << 30)
/* With segments of 1 MiB the mark is 4 MiB, and the ballast goes below 1 MiB. */
#define LOW  (2 << 20)
#define FULL (1 << 19)

static bool low(const Members *m, const MemberInfo *one)
{
    (void)m;
    return one->disk_low;
}

static bool roomy(const Members *m, const MemberInfo *one)
{
    (void)m;
    return one->disk_known && !one->disk_low && !one->ballast_gone;
}

static bool ballast_gone(const Members *m, const MemberInfo *one)
{
    (void)m;
    return one->disk_low && one->ballast_gone;
}

static uint64_t used(struct members_test *t, unsigned number, uint64_t limit)
{
    struct arena arena;
    const Members *m = NULL;
    uint64_t unused = 0;
    arena_init(&arena);
    if (CHECK(members_ask(t, number, &arena, &m)))
        unused = members_entry(m, number)->disk_free_bytes;
    arena_release(&arena);
    return limit - unused;
}

static unsigned follower(struct members_test *t)
{
    int leader = members_leader(t);
    CHECK(leader >= 0);
    return leader == 0 ? 1 : 0;
}

/* Waits until the group has heard of it and refuses, or takes. */
static void grows(struct members_test *t, enum err expected)
{
    enum err e = OK;
    for (int i = 0; i < 50; i++) {
        e = members_grow(t);
        if (e == expected)
            break;
        sys_sleep_until(sys_now() + 100 * SYS_MS);
    }
    CHECK_ERR(e, expected);
}

/* One follower's disk decides; deletes and operators' commands pass. */
static void refused(void)
{
    struct members_test t;
    members_start(&t);
    for (unsigned i = 0; i < MEMBERS; i++)
        CHECK(members_wait(&t, i, i, roomy, 5));
    CHECK_OK(members_grow(&t));
    unsigned full = follower(&t);
    sim_disk_limit(MEMBERS_HOST + full, used(&t, full, 64 * GIB) + LOW);
    for (unsigned i = 0; i < MEMBERS; i++)
        CHECK(members_wait(&t, i, full, low, 5));
    grows(&t, ERR_METADATA_FULL);
    for (int i = 0; i < 20; i++) {
        CHECK_ERR(members_grow(&t), ERR_METADATA_FULL);
        CHECK_OK(members_touch(&t));
    }
    /* Nobody waits for a word from one that is gone. */
    sim_crash(t.pid[full]);
    sys_sleep_until(sys_now() + 15 * SYS_SECOND);
    CHECK_OK(members_grow(&t));
    sim_restart(t.pid[full]);
    CHECK(members_wait(&t, (unsigned)members_leader(&t), full, low, 20));
    grows(&t, ERR_METADATA_FULL);
    sim_disk_limit(MEMBERS_HOST + full, 64 * GIB);
    CHECK(members_wait(&t, full, full, roomy, 5));
    grows(&t, OK);
    members_stop(&t);
}

/* The leader's own disk counts as any other's. */
static void leader_full(void)
{
    struct members_test t;
    members_start(&t);
    unsigned full = (unsigned)members_leader(&t);
    sim_disk_limit(MEMBERS_HOST + full, used(&t, full, 64 * GIB) + LOW);
    CHECK(members_wait(&t, full, full, low, 5));
    CHECK_ERR(members_grow(&t), ERR_METADATA_FULL);
    CHECK_OK(members_touch(&t));
    members_stop(&t);
}

/* Next to nothing is free: the ballast goes, the member goes on and can be started; with room the ballast
 * is made again. */
static void ballast(void)
{
    struct members_test t;
    members_start(&t);
    for (unsigned i = 0; i < MEMBERS; i++)
        CHECK(members_wait(&t, i, i, roomy, 5));
    unsigned full = follower(&t);
    uint32_t host = MEMBERS_HOST + full;
    uint64_t bytes = used(&t, full, 64 * GIB) + FULL;
    sim_disk_limit(host, bytes);
    CHECK(members_wait(&t, full, full, ballast_gone, 5));
    sys_sleep_until(sys_now() + SYS_SECOND); /* it looks again */
    uint64_t after = used(&t, full, bytes);
    CHECK(bytes - after > FULL); /* a segment more, some of which the member has used */
    for (int i = 0; i < 100; i++)
        CHECK_OK(members_touch(&t));
    CHECK_EQ(sim_exits(t.pid[full]), 0);
    grows(&t, ERR_METADATA_FULL);
    sim_disk_limit(host, 64 * GIB);
    CHECK(members_wait(&t, full, full, roomy, 5));
    grows(&t, OK);
    /* Full while it does not run. */
    sim_crash(t.pid[full]);
    sim_disk_limit(host, bytes - FULL);
    sim_restart(t.pid[full]);
    CHECK(members_wait(&t, full, full, ballast_gone, 20));
    sim_disk_limit(host, 64 * GIB);
    CHECK(members_wait(&t, full, full, roomy, 10));
    members_stop(&t);
}

static const struct test tests[] = {
    {"a voter's disk is nearly full", refused},
    {"the leader's disk is nearly full", leader_full},
    {"the ballast keeps a full member going", ballast},
    {0},
};
SUITE("metadata space", tests)
