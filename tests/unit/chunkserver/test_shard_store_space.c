/* Room on a disk: its marks, what still works at each, and how space comes back. */
#include "chunkserver/service_internal.h"
#include "chunkserver/store_internal.h"
#include "common/sys/sim/sim.h"
#include "tests/unit/chunkserver/store_kit.h"

enum { MIB = 1 << 20, LENGTH = 200000 };

static struct shard_store_stats stats_of(struct shard_store *s)
{
    struct shard_store_stats st;
    shard_store_stats(s, &st);
    return st;
}

/* Written until it is full: each mark comes at its percentage, and means what it says. */
static void marks(uint64_t capacity)
{
    struct shard_store *s = NULL;
    struct shard_store_config c = kit_config(suite_dir());
    c.extent_bytes = MIB;
    c.capacity_bytes = capacity;
    CHECK_OK(kit_format(suite_dir()));
    CHECK_OK(shard_store_open(&s, &c));
    static const unsigned percent[] = {0, 85, 90, 95};
    double at[4] = {0};
    uint32_t n = 0;
    enum err e = OK;
    enum disk_mark mark = DISK_MARK_NONE;
    while (!e && n < 2000) {
        struct chunk_disk d = {.store = s};
        struct stored_shard shard = kit_shard(5000, 3000);
        struct shard_writer *w = NULL;
        enum err backfill = chunk_disk_write(&d, &shard, 0, &w);
        if (w)
            shard_writer_abort(w);
        enum disk_mark now = stats_of(s).mark;
        CHECK(now >= mark);
        CHECK_EQ(backfill, now >= DISK_MARK_BACKFILLFULL ? ERR_DISK_FULL : OK);
        if (now > mark)
            at[now] = 100.0 * n * LENGTH / (double)stats_of(s).capacity_bytes;
        mark = now;
        e = kit_write(s, n, LENGTH);
        n += e == OK;
    }
    CHECK_ERR(e, ERR_DISK_FULL);
    CHECK_EQ(stats_of(s).mark, DISK_MARK_FULL);
    for (int m = 1; m < 3; m++)
        suite_check(at[m] > percent[m] - 8 && at[m] < percent[m] + 2, __FILE__, __LINE__,
                    "mark %d at %.1f %%", m, at[m]);
    suite_check(100.0 * n * LENGTH / (double)stats_of(s).capacity_bytes <= 95, __FILE__, __LINE__,
                "writes stop at 95 %%");
    for (uint32_t i = 0; i < n; i++) /* heals out */
        CHECK_OK(kit_read(s, i, LENGTH, 0, LENGTH));
    for (uint32_t i = 0; i < n / 2; i++)
        CHECK_OK(kit_delete(s, i));
    CHECK_OK(shard_store_flush(s, KIT_DEADLINE));
    CHECK_OK(shard_store_flush(s, KIT_DEADLINE)); /* space is looked at after a flush */
    CHECK_EQ(stats_of(s).mark, DISK_MARK_NONE);
    CHECK_OK(kit_write(s, 3000, LENGTH));
    shard_store_close(s);
}

static void marks_of_a_cap(void)
{
    marks(64 * MIB);
}

static void marks_of_the_file_system(void)
{
    sim_disk_limit(1, 64 * MIB);
    marks(0);
}

static const struct test tests[] = {
    {"marks of a configured capacity", marks_of_a_cap},
    {"marks of the file system", marks_of_the_file_system},
    {0},
};
SUITE("shard store, space", tests)
