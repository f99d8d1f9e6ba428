/* Chunks written and read beside disks that are slow for long: stragglers by this process's own experience,
 * suspects by metadata's word. All times are virtual. */
#include "tests/unit/client/cluster_rig.h"

enum { POOL_BYTES = 64 << 20 };

static int64_t took(int64_t since)
{
    return sys_now() - since;
}

static void set_slow(struct misdeeds *bad, uint16_t type)
{
    bad->slow_type = type;
    bad->slow = 1800 * SYS_MS; /* shorter than what the rpc layer gives up at */
}

/* A disk that was late three times is not waited for any more; when it is well it is used again. */
static void write_straggler(void)
{
    struct rig *rig = rig_new(POOL_BYTES);
    rig->disks[6].bad.slow_type = MSG_SHARD_COMMIT;
    rig->disks[6].bad.slow = 400 * SYS_MS;
    for (unsigned i = 0; i < 40; i++) {
        struct chunk w = rig_chunk(rig, P_2_1, 1000);
        CHECK_OK(rig_write(rig, &w, SYS_SECOND, 0));
    }
    int64_t times[5];
    for (unsigned i = 0; i < 5; i++) {
        struct chunk c = rig_chunk(rig, P_4_2, 1000);
        int64_t began = sys_now();
        CHECK_OK(rig_write(rig, &c, SYS_SECOND, 0));
        times[i] = took(began);
        CHECK_EQ(rig_durable(&c), 5);
        sys_sleep_until(sys_now() + SYS_SECOND);
    }
    CHECK(times[0] > 90 * SYS_MS && times[4] < 50 * SYS_MS);
    rig->disks[6].bad = (struct misdeeds){0};
    sys_sleep_until(sys_now() + 40 * SYS_SECOND);
    struct chunk c = rig_chunk(rig, P_4_2, 1000);
    CHECK_OK(rig_write(rig, &c, SYS_SECOND, 0));
    CHECK_EQ(rig_durable(&c), 6);
    rig_free(rig);
}

/* A disk that metadata calls suspect is written to and not waited for, neither at the end of a small chunk nor
 * in the window of a long one; without it there would be too few, it is. */
static void write_suspect(void)
{
    for (unsigned i = 0; i < 2; i++) {
        struct rig *rig = rig_new(POOL_BYTES);
        struct chunk warm = rig_chunk(rig, P_4_2, 1000);
        CHECK_OK(rig_write(rig, &warm, SYS_SECOND, 0));
        int64_t began = sys_now();
        struct chunk usual = rig_chunk(rig, P_4_2, i ? 30000000 : 1000);
        CHECK_OK(rig_write(rig, &usual, 60 * SYS_SECOND, 0));
        int64_t most = 2 * took(began) + 100 * SYS_MS; /* the least grace is 250 */
        set_slow(&rig->disks[3].bad, i ? MSG_SHARD_APPEND : MSG_SHARD_COMMIT);
        rig_set_suspect(rig, 3, true);
        began = sys_now();
        struct chunk c = rig_chunk(rig, P_4_2, i ? 30000000 : 1000);
        CHECK_OK(rig_write(rig, &c, 60 * SYS_SECOND, 0));
        CHECK(took(began) < most);
        CHECK_EQ(rig_durable(&c), 5);
        CHECK(rig->disks[3].opens >= 3);
        rig_crash(rig, 1);
        began = sys_now();
        CHECK_OK(rig_write(rig, &c, 60 * SYS_SECOND, 0));
        CHECK_EQ(rig_durable(&c), 5);
        CHECK(c.durable.disks[2] == 3 && took(began) > SYS_SECOND);
        rig_free(rig);
    }
}

/* A busy disk, 200 ms behind the others at each commit, still gets its shards. */
static void write_busy(void)
{
    struct rig *rig = rig_new(POOL_BYTES);
    for (unsigned i = 0; i < 40; i++) {
        struct chunk w = rig_chunk(rig, P_2_1, 1000);
        CHECK_OK(rig_write(rig, &w, SYS_SECOND, 0));
    }
    rig->disks[6].bad.slow_type = MSG_SHARD_COMMIT;
    rig->disks[6].bad.slow = 200 * SYS_MS;
    for (unsigned i = 0; i < 5; i++) {
        struct chunk c = rig_chunk(rig, P_4_2, 1000);
        CHECK_OK(rig_write(rig, &c, SYS_SECOND, 0));
        CHECK_EQ(rig_durable(&c), 6);
    }
    rig->disks[6].bad = (struct misdeeds){0};
    rig_free(rig);
}

/* Nor is one that metadata calls suspect asked before it must be. */
static void read_suspect(void)
{
    struct rig *rig = rig_new(POOL_BYTES);
    struct chunk c = rig_chunk(rig, P_4_2, 3000000);
    CHECK_OK(rig_write(rig, &c, SYS_SECOND, 0));
    rig_set_suspect(rig, 3, true);
    CHECK_OK(rig_check(rig, &c, SYS_SECOND));
    CHECK_EQ(rig->disks[3].reads, 0);
    rig_hide(rig, 1, &c, 0, true);
    rig_hide(rig, 2, &c, 1, true);
    CHECK_OK(rig_check(rig, &c, SYS_SECOND));
    CHECK(rig->disks[3].reads > 0);
    rig_free(rig);
}

static const struct test tests[] = {
    {"write: straggler", write_straggler},
    {"write: suspect", write_suspect},
    {"write: busy", write_busy},
    {"read: suspect", read_suspect},
    {0},
};
SUITE("chunk, slow disks", tests)
