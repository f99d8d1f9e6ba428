/* How fast a disk is said to be: when it is used, when nobody uses it, when it crawls, when it hangs, and
 * when a drill makes it slow. */
#include "common/sys/sim/sim.h"
#include "tests/unit/chunkserver/store_kit.h"

enum { HOST = 1, LENGTH = 100000 };
#define SLOW (200 * SYS_MS)

static int64_t pace(struct shard_store *s)
{
    struct shard_store_stats stats;
    shard_store_stats(s, &stats);
    return stats.pace_ns;
}

static void use(struct shard_store *s, uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++) {
        CHECK_OK(kit_write(s, i, LENGTH));
        CHECK_OK(kit_read(s, i, LENGTH, 0, LENGTH));
    }
}

/* As heartbeats do. */
static void idle(struct shard_store *s, int seconds)
{
    for (int i = 0; i < seconds; i++) {
        shard_store_probe(s);
        sys_sleep_until(sys_now() + SYS_SECOND);
    }
}

static struct shard_store *open_disk(void)
{
    CHECK_OK(sys_mkdir("/disk"));
    CHECK_OK(kit_format("/disk"));
    return kit_open("/disk");
}

static void crawls(void)
{
    struct shard_store *s = open_disk();
    CHECK_EQ(pace(s), 0);
    use(s, 0, 20);
    int64_t quick = pace(s);
    CHECK(quick > 0 && quick < 20 * SYS_MS);
    sim_disk_slow(HOST, "/disk", SLOW);
    use(s, 20, 20);
    CHECK(pace(s) >= SLOW);
    sim_disk_slow(HOST, "/disk", 0);
    use(s, 40, 80);
    CHECK(pace(s) < 20 * SYS_MS);
    shard_store_close(s);
}

/* What is not there, and what came too late to be read, says nothing of the disk. */
static void not_touched(void)
{
    struct shard_store *s = open_disk();
    for (uint32_t i = 0; i < 50; i++)
        CHECK_ERR(kit_read(s, i, LENGTH, 0, LENGTH), ERR_NOT_FOUND);
    CHECK_EQ(pace(s), 0);
    shard_store_close(s);
}

/* Left alone because it was slow, it shows by itself that it is well again. */
static void nobody_uses_it(void)
{
    struct shard_store *s = open_disk();
    sim_disk_slow(HOST, "/disk", SLOW);
    idle(s, 20);
    CHECK(pace(s) >= SLOW);
    sim_disk_slow(HOST, "/disk", 0);
    idle(s, 20);
    CHECK(pace(s) > 0 && pace(s) < 20 * SYS_MS);
    sys_sleep_until(sys_now() + 20 * SYS_SECOND);
    CHECK_EQ(pace(s), 0);
    shard_store_close(s);
}

static void hangs(void)
{
    struct shard_store *s = open_disk();
    use(s, 0, 20);
    sim_disk_hang(HOST, "/disk", true);
    CHECK_ERR(shard_store_flush(s, sys_now() + SYS_MS), ERR_TIMEOUT);
    sys_sleep_until(sys_now() + 3 * SYS_SECOND);
    idle(s, 2);
    sys_sleep_until(sys_now() + 5 * SYS_SECOND);
    CHECK(pace(s) > 5 * SYS_SECOND && pace(s) < 10 * SYS_SECOND);
    sim_disk_hang(HOST, "/disk", false);
    use(s, 20, 1);
    idle(s, 15);
    CHECK(pace(s) < 20 * SYS_MS);
    shard_store_close(s);
}

/* A sync that fails means that the disk has failed, whose block it was does not matter. */
static void probe_fails(void)
{
    struct shard_store *s = open_disk();
    idle(s, 1);
    sys_sleep_until(sys_now() + 5 * SYS_SECOND);
    sim_disk_fail(HOST, "/disk/probe", 3, ERR_IO, false);
    idle(s, 1);
    struct shard_store_stats stats;
    shard_store_stats(s, &stats);
    CHECK(stats.failed);
    sim_disk_fail(HOST, "/disk/probe", 0, OK, false);
    shard_store_close(s);
}

static void drilled(void)
{
    struct shard_store *s = open_disk();
    use(s, 0, 2);
    int64_t until = sys_now() + 10 * SYS_SECOND;
    CHECK(shard_store_drill(s, DRILL_DELAY, SLOW, until));
    CHECK(!shard_store_drill(s, DRILL_DELAY, SLOW, until));
    int64_t began = sys_now();
    use(s, 2, 1);
    CHECK(sys_now() - began >= 3 * SLOW); /* bytes, commit, read */
    use(s, 3, 10);
    CHECK(pace(s) >= SLOW);
    /* One that hangs for ever does so until the lease ends. */
    CHECK(shard_store_drill(s, DRILL_DELAY, INT64_MAX, until));
    use(s, 20, 1);
    CHECK(sys_now() >= until && sys_now() < until + SYS_SECOND);
    began = sys_now();
    use(s, 21, 1);
    CHECK(sys_now() - began < SLOW);
    /* A lease that goes on keeps nobody from closing the disk. */
    CHECK(shard_store_drill(s, DRILL_DELAY, INT64_MAX, sys_now() + 3600 * SYS_SECOND));
    idle(s, 5);
    began = sys_now();
    shard_store_close(s);
    CHECK(sys_now() - began < SYS_SECOND);
}

static const struct test tests[] = {
    {"a disk that crawls", crawls},
    {"what does not touch the disk", not_touched},
    {"a disk that nobody uses", nobody_uses_it},
    {"a disk that hangs", hangs},
    {"a probe's sync fails", probe_fails},
    {"a disk made slow by a drill", drilled},
    {0},
};
SUITE("pace of a disk", tests)
