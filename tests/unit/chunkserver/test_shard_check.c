/* A disk looked through while no server has it: what is sound, and each way in which it is not. */
#include "chunkserver/shard_check.h"
#include "chunkserver/store_internal.h"
#include "common/sys/sim/sim.h"
#include "tests/unit/chunkserver/store_kit.h"

static const uint32_t lengths[] = {300, 70000, 5000, 300000, 60000, 20000, 1, 140000};
enum { SHARDS = sizeof(lengths) / sizeof(*lengths), BLOCKS = 1 + 2 + 1 + 5 + 1 + 1 + 1 + 3 };

struct seen {
    struct shard_record records[64];
    uint32_t count, faults;
    struct shard_fault last;
    uint64_t done, total;
};

static void see_record(void *arg, const struct shard_record *r)
{
    struct seen *seen = arg;
    CHECK(seen->count < 64);
    if (seen->count < 64)
        seen->records[seen->count++] = *r;
}

static void see_fault(void *arg, const struct shard_fault *f)
{
    struct seen *seen = arg;
    seen->faults++;
    seen->last = *f;
}

static void see_progress(void *arg, uint64_t done, uint64_t total)
{
    struct seen *seen = arg;
    CHECK(done >= seen->done && done <= total);
    seen->done = done;
    seen->total = total;
}

static struct shard_check_result look(struct seen *seen)
{
    struct shard_check *c = NULL;
    struct shard_check_result r = {0};
    const struct shard_check_watcher w = {seen, see_progress, see_fault, see_record};
    memset(seen, 0, sizeof *seen);
    CHECK_OK(shard_check_open(suite_dir(), &c));
    if (c) {
        CHECK_OK(shard_check_verify(c, &w, &r));
        CHECK_EQ(seen->done, seen->total);
        CHECK_EQ(seen->faults, r.fault_count);
        shard_check_close(c);
    }
    return r;
}

static void make_disk(void)
{
    CHECK_OK(kit_format(suite_dir()));
    struct shard_store *s = kit_open(suite_dir());
    for (uint32_t i = 0; i < SHARDS; i++)
        CHECK_OK(kit_write(s, i, lengths[i]));
    shard_store_close(s);
}

static void sound(void)
{
    struct seen seen;
    make_disk();
    struct shard_check_result r = look(&seen);
    CHECK_EQ(r.fault_count, 0);
    CHECK_EQ(r.records[RECORD_LIVE], SHARDS);
    CHECK_EQ(r.indexed, SHARDS);
    CHECK_EQ(r.blocks, BLOCKS);
    CHECK_EQ(seen.count, SHARDS);
    CHECK_EQ(r.records[RECORD_DEAD] + r.records[RECORD_BEHIND] + r.records[RECORD_UNFINISHED], 0);
    struct shard_store *s = kit_open(suite_dir());
    struct shard_store_stats st;
    shard_store_stats(s, &st);
    CHECK(!st.unclean && !st.index_rebuilds); /* the look has left no trace */
    CHECK_OK(kit_delete(s, 0));
    shard_store_close(s);
    r = look(&seen);
    CHECK_EQ(r.fault_count, 0);
    CHECK_EQ(r.records[RECORD_LIVE], SHARDS - 1);
    CHECK_EQ(r.records[RECORD_DEAD], 1); /* packed among others: nothing to punch */
}

static void in_use(void)
{
    struct shard_check *c = NULL;
    CHECK_ERR(shard_check_open(suite_dir(), &c), ERR_NOT_FOUND);
    make_disk();
    struct shard_store *s = kit_open(suite_dir());
    CHECK_ERR(shard_check_open(suite_dir(), &c), ERR_DISK_IN_USE);
    shard_store_close(s);
}

static void close_main(void *s)
{
    sys_sleep_until(sys_now() + SYS_SECOND);
    shard_store_close(s);
}

/* Who held the disk was killed, and is gone a moment later only. */
static void holder_on_its_way_out(void)
{
    struct sys_thread *t;
    CHECK_OK(kit_format(suite_dir()));
    CHECK_OK(sys_thread_start(&t, "holder", 0, close_main, kit_open(suite_dir())));
    struct shard_store *s = kit_open(suite_dir());
    sys_thread_join(t);
    shard_store_close(s);
}

/* Where a shard lies. */
static struct shard_record place_of(uint32_t number)
{
    struct seen seen;
    struct shard_record none = {0};
    look(&seen);
    struct stored_shard want = kit_shard(number, lengths[number]);
    for (uint32_t i = 0; i < seen.count; i++)
        if (seen.records[i].state == RECORD_LIVE && seen.records[i].shard.nonce == want.nonce)
            return seen.records[i];
    CHECK(!"found");
    return none;
}

static void extent_name(uint32_t number, char out[64])
{
    snprintf(out, 64, "%s/extents/%08u", suite_dir(), number);
}

/* Each byte of a record's parts, one of each. */
static void rot(void)
{
    char path[64];
    make_disk();
    for (uint32_t i = 0; i < SHARDS; i++) {
        struct shard_record p = place_of(i);
        extent_name(p.extent, path);
        const uint64_t at[] = {20, RECORD_HEADER + lengths[i] / 2, RECORD_HEADER + lengths[i],
                               RECORD_HEADER + (uint64_t)lengths[i] +
                                   4 * (uint64_t)shard_block_count(lengths[i]) + 20};
        for (size_t k = 0; k < 4; k++) {
            struct seen seen;
            CHECK_OK(sim_disk_flip(1, path, p.offset + at[k], 4));
            struct shard_check_result r = look(&seen);
            suite_check(r.fault_count == 1 && r.faults[FAULT_CORRUPT] == 1 &&
                            seen.last.offset == p.offset && seen.last.shard.nonce == p.shard.nonce,
                        __FILE__, __LINE__, "shard %u, part %zu: %u faults", i, k, seen.faults);
            CHECK_OK(sim_disk_flip(1, path, p.offset + at[k], 4));
        }
    }
}

static void other_faults(void)
{
    char path[64];
    struct seen seen;
    make_disk();
    snprintf(path, sizeof path, "%s/superblock", suite_dir());
    CHECK_OK(sim_disk_flip(1, path, SYS_BLOCK + 40, 1));
    CHECK_EQ(look(&seen).faults[FAULT_SUPERBLOCK], 1);
    CHECK_OK(sim_disk_flip(1, path, SYS_BLOCK + 40, 1));
    extent_name(1, path);
    for (uint64_t at = 20; at < 3 * SYS_BLOCK; at += SYS_BLOCK) { /* header, two log blocks */
        CHECK_OK(sim_disk_flip(1, path, at, 1));
        CHECK_EQ(look(&seen).faults[FAULT_EXTENT], 1);
        CHECK_EQ(seen.faults, 1);
        CHECK_OK(sim_disk_flip(1, path, at, 1));
    }
    /* A row without its record. */
    struct shard_record p = place_of(3);
    struct sys_file *f = NULL;
    extent_name(p.extent, path);
    CHECK_OK(sys_file_open(path, SYS_OPEN_WRITE, &f));
    CHECK_OK(sys_file_punch(f, p.offset, p.bytes));
    sys_file_close(f);
    CHECK_EQ(look(&seen).faults[FAULT_MISSING], 1);
    CHECK_EQ(seen.faults, 1);
    CHECK_EQ(seen.last.shard.nonce, p.shard.nonce);
}

/* Records without an index, and the index made of them. */
static void rebuild(void)
{
    struct seen seen;
    make_disk();
    kit_lose_index(suite_dir());
    struct shard_check_result r = look(&seen);
    CHECK_EQ(r.faults[FAULT_INDEX], 1);
    CHECK_EQ(r.fault_count, 1);
    CHECK_EQ(r.records[RECORD_BEHIND], SHARDS);
    CHECK_EQ(r.blocks, BLOCKS); /* verified all the same */
    struct shard_check *c = NULL;
    const struct shard_check_watcher w = {&seen, see_progress, NULL, NULL};
    uint64_t shards = 0, bytes = 0;
    CHECK_OK(shard_check_open(suite_dir(), &c));
    seen.done = seen.total = 0;
    CHECK_OK(shard_check_rebuild(c, &w, &shards, &bytes));
    CHECK(seen.total > 0 && seen.done == seen.total);
    CHECK_EQ(shards, SHARDS);
    shard_check_close(c);
    r = look(&seen);
    CHECK_EQ(r.fault_count, 0);
    CHECK_EQ(r.records[RECORD_LIVE], SHARDS);
    struct shard_store *s = kit_open(suite_dir());
    struct shard_store_stats st;
    shard_store_stats(s, &st);
    CHECK(!st.index_rebuilds);
    CHECK(st.unclean); /* to be compared with metadata */
    for (uint32_t i = 0; i < SHARDS; i++)
        CHECK_OK(kit_read(s, i, lengths[i], 0, lengths[i]));
    shard_store_close(s);
}

/* Blocks that the disk cannot read once: what lies elsewhere is there. Of the youngest record, which no
 * other one calls durable, nobody knows without its bytes. */
static void unreadable(void)
{
    make_disk();
    for (uint64_t nth = 1; nth < 60; nth++) {
        struct shard_store *s = NULL;
        struct shard_store_config config = kit_config(suite_dir());
        char path[64];
        kit_lose_index(suite_dir());
        extent_name(1, path);
        sim_disk_fail(1, path, nth, ERR_IO, false);
        enum err e = shard_store_open(&s, &config);
        kit_await(s);
        sim_disk_fail(1, path, 0, OK, false);
        struct shard_store_stats st;
        CHECK_OK(e);
        shard_store_stats(s, &st);
        if (st.failed) { /* a sync, never tried again */
            shard_store_close(s);
            continue;
        }
        uint32_t bad = 0;
        for (uint32_t i = 0; i < SHARDS; i++)
            bad += kit_read(s, i, lengths[i], 0, lengths[i]) != OK;
        suite_check(bad <= 1, __FILE__, __LINE__, "call %" PRIu64 ": %u shards", nth, bad);
        shard_store_close(s);
    }
}

static const struct test tests[] = {
    {"a sound disk", sound},
    {"a disk in use, no disk", in_use},
    {"waits for a holder that is on its way out", holder_on_its_way_out},
    {"rot in each part of a record", rot},
    {"superblock, extents, a row without a record", other_faults},
    {"the index rebuilt", rebuild},
    {"a read fails in a rebuild", unreadable},
    {0},
};
SUITE("shard check", tests)
