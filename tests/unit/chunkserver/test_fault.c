/* What fails a disk besides a sync, by what name that is told, and drills. */
#include "common/sys/sim/sim.h"
#include "tests/unit/chunkserver/store_kit.h"
#include "chunkserver/store_internal.h"

enum { HOST = 1, LENGTH = 300000 };

static struct shard_store *open_disk(void)
{
    CHECK_OK(sys_mkdir("/disk"));
    CHECK_OK(kit_format("/disk"));
    struct shard_store *s = kit_open("/disk");
    for (uint32_t i = 0; i < 4; i++)
        CHECK_OK(kit_write(s, i, LENGTH));
    return s;
}

static enum err read_whole(struct shard_store *s, uint32_t number)
{
    return kit_read(s, number, LENGTH, 0, LENGTH);
}

static struct shard_store_stats stats_of(struct shard_store *s)
{
    struct shard_store_stats stats;
    shard_store_stats(s, &stats);
    return stats;
}

/* Until it is told why the disk has failed; as heartbeats do, it is probed meanwhile. */
static enum disk_fault fault_within(struct shard_store *s, int64_t time)
{
    for (int64_t until = sys_now() + time; sys_now() < until && !stats_of(s).fault;) {
        shard_store_probe(s);
        sys_sleep_until(sys_now() + 100 * SYS_MS);
    }
    CHECK(!stats_of(s).fault || stats_of(s).failed);
    return stats_of(s).fault;
}

static void all_is_there(struct shard_store *s)
{
    for (uint32_t i = 0; i < 4; i++)
        CHECK_OK(read_whole(s, i));
}

/* A write tells; on a disk that nobody writes to, the probe does. Never a restart: it stays read-only. */
static void read_only(void)
{
    struct shard_store *s = open_disk();
    for (int used = 0; used < 2; used++) {
        unsigned kinds = SIM_DISK_WRITE | SIM_DISK_SYNC | SIM_DISK_NAMES;
        sim_disk_fail_kinds(HOST, "/disk", kinds, 1, ERR_READ_ONLY, true);
        if (used)
            CHECK_ERR(kit_write(s, 10, LENGTH), ERR_DISK_FAILED);
        CHECK_EQ(fault_within(s, 10 * SYS_SECOND), DISK_FAULT_READ_ONLY);
        CHECK(!stats_of(s).may_return);
        shard_store_close(s);
        sim_disk_fail(HOST, "/disk", 0, OK, false);
        s = kit_open("/disk");
        all_is_there(s);
    }
    /* Its first sign may be a failed write of the index, or a sync: it is told as what it is. */
    CHECK_OK(kit_delete(s, 3));
    sim_disk_fail(HOST, "/disk/index", 1, ERR_IO, true);
    sim_disk_fail_kinds(HOST, "/disk/probe", SIM_DISK_NAMES, 1, ERR_READ_ONLY, true);
    CHECK_EQ(fault_within(s, 2 * SYS_SECOND), DISK_FAULT_READ_ONLY);
    sim_disk_fail(HOST, "/disk/index", 0, OK, false);
    sim_disk_fail(HOST, "/disk/probe", 0, OK, false);
    shard_store_close(s);
}

static void gone(void)
{
    struct shard_store *s = open_disk();
    struct uuid cluster = kit_uuid(1), other = kit_uuid(9);
    for (int replaced = 0; replaced < 2; replaced++) {
        CHECK_OK(sys_rename("/disk", "/away"));
        if (replaced) {
            CHECK_OK(sys_mkdir("/disk"));
            CHECK_OK(shard_store_format("/disk", &cluster, &other));
        }
        CHECK_EQ(fault_within(s, 10 * SYS_SECOND), DISK_FAULT_GONE);
        CHECK(stats_of(s).may_return);
        CHECK_ERR(read_whole(s, 1), ERR_DISK_FAILED);
        shard_store_close(s);
        if (replaced)
            CHECK_OK(sys_rename("/disk", "/other"));
        CHECK_OK(sys_rename("/away", "/disk"));
        s = kit_open("/disk");
        all_is_there(s);
    }
    shard_store_close(s);
}

/* A bad sector is its shard's trouble, however often that is read; a disk that has many of them is no disk. */
static void unreadable(void)
{
    enum { SMALL = 12000, FIRST = 40, END = FIRST + READS_MAX };
    struct shard_store *s = open_disk();
    for (uint32_t i = 4; i < END; i++)
        CHECK_OK(kit_write(s, i, SMALL));
    CHECK_OK(sim_disk_bad_sectors(HOST, "/disk/extents/00000001", 1600 << 10, 2 << 20));
    for (unsigned i = 0; i < 2 * READS_MAX; i++)
        CHECK_ERR(kit_read(s, FIRST, SMALL, 0, SMALL), ERR_IO);
    for (int window = 0; window < 2; window++) {
        for (uint32_t i = FIRST; i < END - 1; i++)
            CHECK_ERR(i % 2 ? kit_read(s, i, SMALL, 0, SMALL) : kit_verify(s, i), ERR_IO);
        CHECK(!stats_of(s).failed);
        CHECK_OK(read_whole(s, 1));
        if (window == 0)
            sys_sleep_until(sys_now() + 700 * SYS_SECOND);
    }
    CHECK_EQ(stats_of(s).io_errors, 2 * READS_MAX + 2 * (READS_MAX - 1));
    CHECK_ERR(kit_verify(s, END - 1), ERR_IO);
    CHECK_ERR(read_whole(s, 1), ERR_DISK_FAILED);
    CHECK_EQ(fault_within(s, SYS_SECOND), DISK_FAULT_READS);
    CHECK(!stats_of(s).may_return);
    shard_store_close(s);
}

/* ---- drills ---- */

#define LEASE (10 * SYS_SECOND)

static void begin(struct shard_store *s, enum drill_kind kind)
{
    CHECK(shard_store_drill(s, kind, 0, sys_now() + LEASE));
    CHECK(!shard_store_drill(s, kind, 0, sys_now() + LEASE));
}

static void drilled_reads(void)
{
    struct shard_store *s = open_disk();
    begin(s, DRILL_READS);
    for (unsigned i = 0; i < READS_MAX + 10; i++) {
        begin(s, DRILL_DELAY);
        begin(s, DRILL_READS);
        CHECK_ERR(read_whole(s, i % 4), ERR_IO);
    }
    CHECK_EQ(stats_of(s).io_errors, READS_MAX + 10);
    begin(s, DRILL_ROT);
    for (uint32_t i = 0; i < 4; i++) {
        CHECK_ERR(read_whole(s, i), ERR_CORRUPT);
        CHECK_ERR(kit_verify(s, i), ERR_CORRUPT);
    }
    CHECK_OK(kit_write(s, 5, LENGTH));
    sys_sleep_until(sys_now() + LEASE);
    all_is_there(s);
    CHECK_OK(read_whole(s, 5));
    CHECK(!stats_of(s).failed);
    shard_store_close(s);
}

static void drilled_full(void)
{
    struct shard_store *s = open_disk();
    begin(s, DRILL_FULL);
    CHECK_ERR(kit_write(s, 5, LENGTH), ERR_DISK_FULL);
    CHECK_EQ(stats_of(s).mark, DISK_MARK_FULL);
    all_is_there(s);
    CHECK_OK(kit_delete(s, 3));
    sys_sleep_until(sys_now() + LEASE);
    CHECK_OK(kit_write(s, 5, LENGTH));
    CHECK_EQ(stats_of(s).mark, DISK_MARK_NONE);
    shard_store_close(s);
}

/* A disk that fails by itself while it is drilled for something else does not come back with the drill's end. */
static void fails_while_drilled(void)
{
    struct shard_store *s = open_disk();
    begin(s, DRILL_ROT);
    sim_disk_fail_kinds(HOST, "/disk/extents", SIM_DISK_SYNC, 1, ERR_IO, false);
    CHECK_ERR(kit_write(s, 6, LENGTH), ERR_DISK_FAILED);
    CHECK_EQ(fault_within(s, SYS_SECOND), DISK_FAULT_SYNC);
    sys_sleep_until(sys_now() + 2 * LEASE);
    CHECK(!stats_of(s).may_return);
    shard_store_close(s);
}

/* What fails by a drill stays so until the drill is over and it is opened again. */
static void drilled_failures(void)
{
    static const struct {
        enum drill_kind kind;
        enum disk_fault fault;
    } all[] = {{DRILL_SYNC, DISK_FAULT_SYNC},
               {DRILL_READ_ONLY, DISK_FAULT_READ_ONLY},
               {DRILL_GONE, DISK_FAULT_GONE}};
    struct shard_store *s = open_disk();
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        begin(s, all[i].kind);
        CHECK_EQ(fault_within(s, LEASE - SYS_SECOND), all[i].fault);
        CHECK(!stats_of(s).may_return);
        CHECK_ERR(kit_write(s, 10, LENGTH), ERR_DISK_FAILED);
        sys_sleep_until(sys_now() + LEASE);
        CHECK(stats_of(s).may_return);
        CHECK_ERR(kit_write(s, 10, LENGTH), ERR_DISK_FAILED);
        shard_store_close(s);
        s = kit_open("/disk");
        all_is_there(s);
    }
    shard_store_close(s);
}

static const struct test tests[] = {
    {"a file system that has become read-only", read_only},
    {"a directory that is gone, or another disk's", gone},
    {"too many unreadable shards", unreadable},
    {"drills: places that cannot be read, or have rotted", drilled_reads},
    {"drills: full", drilled_full},
    {"drills: what fails the disk", drilled_failures},
    {"a disk fails by itself while it is drilled", fails_while_drilled},
    {0},
};
SUITE("faults of a disk", tests)
