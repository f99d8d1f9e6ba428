/* An index that is lost, of an earlier time or damaged while the disk is open: rebuilt from the
 * extents, seen to be rebuilt, and nothing wrong is answered meanwhile. */
#include "chunkserver/store_internal.h"
#include "common/sys/sim/sim.h"
#include "tests/unit/chunkserver/store_kit.h"

enum { SHARDS = 40, LENGTH = 70000, EXTENT = 1 << 20 };

static struct shard_store *open_small(void)
{
    struct shard_store *s = NULL;
    struct shard_store_config c = kit_config(suite_dir());
    c.extent_bytes = EXTENT;
    CHECK_OK(shard_store_open(&s, &c));
    return s;
}

static void fill(struct shard_store *s)
{
    for (uint32_t i = 0; i < SHARDS; i++)
        CHECK_OK(kit_write(s, i, i % 4 ? LENGTH : 900));
}

static void check_all(struct shard_store *s)
{
    for (uint32_t i = 0; i < SHARDS; i++) {
        uint32_t n = i % 4 ? LENGTH : 900;
        CHECK_OK(kit_read(s, i, n, 0, n));
    }
}

static void extents_slow(int64_t ns)
{
    char path[64];
    snprintf(path, sizeof path, "%s/extents", suite_dir());
    sim_disk_slow(1, path, ns);
}

/* Every call has its answer while the extents are read. */
static void answers_meanwhile(struct shard_store *s)
{
    struct shard_store_stats st;
    struct stored_shard shard = kit_shard(3, LENGTH), page[4];
    struct shard_writer *w = NULL;
    size_t n = 0;
    CHECK_ERR(kit_read(s, 3, LENGTH, 0, 10), ERR_UNAVAILABLE);
    CHECK_ERR(kit_verify(s, 3), ERR_UNAVAILABLE);
    CHECK_ERR(kit_delete(s, 3), ERR_UNAVAILABLE);
    CHECK_ERR(shard_store_stat(s, KIT_POOL, &shard.id, &shard), ERR_UNAVAILABLE);
    CHECK_ERR(shard_store_list(s, KIT_POOL, 0, UINT64_MAX, NULL, page, 4, &n), ERR_UNAVAILABLE);
    CHECK_ERR(shard_writer_open(s, &shard, &w), ERR_UNAVAILABLE);
    CHECK_ERR(shard_store_flush(s, KIT_DEADLINE), ERR_UNAVAILABLE);
    shard_store_stats(s, &st);
    CHECK(st.rebuilding && !st.failed);
}

/* Waits for the end; what is told of it only grows. */
static void watch(struct shard_store *s)
{
    struct shard_store_stats st = {.rebuilding = true};
    uint64_t done = 0, steps = 0;
    while (st.rebuilding && !st.failed) {
        shard_store_stats(s, &st);
        CHECK(st.rebuild_done >= done && st.rebuild_done <= st.rebuild_total);
        steps += st.rebuild_done > done;
        done = st.rebuild_done;
        sys_sleep_until(sys_now() + SYS_MS);
    }
    CHECK(steps >= 2); /* the disk has several extents */
    CHECK(done > 0 && done == st.rebuild_total);
    CHECK_EQ(st.index_rebuilds, 1);
}

static void lost(void)
{
    CHECK_OK(kit_format(suite_dir()));
    struct shard_store *s = open_small();
    fill(s);
    shard_store_close(s);
    kit_lose_index(suite_dir());
    extents_slow(20 * SYS_MS);
    int64_t begun = sys_now();
    s = open_small(); /* does not wait for it */
    CHECK(sys_now() < begun + 200 * SYS_MS);
    answers_meanwhile(s);
    watch(s);
    extents_slow(0);
    check_all(s);
    CHECK_EQ(kit_count(s), SHARDS);
    CHECK_OK(kit_write(s, 900, LENGTH));
    shard_store_close(s);
    s = open_small();
    struct shard_store_stats st;
    shard_store_stats(s, &st);
    CHECK(!st.rebuilding && !st.unclean);
    CHECK_OK(kit_read(s, 900, LENGTH, 0, LENGTH));
    shard_store_close(s);
}

/* Closed, and crashed open, in the middle: begun anew. */
static void cut_short(void)
{
    CHECK_OK(kit_format(suite_dir()));
    struct shard_store *s = open_small();
    fill(s);
    shard_store_close(s);
    kit_lose_index(suite_dir());
    extents_slow(20 * SYS_MS);
    for (int i = 0; i < 3; i++) {
        s = open_small();
        answers_meanwhile(s);
        sys_sleep_until(sys_now() + 30 * i * SYS_MS);
        shard_store_close(s);
    }
    s = open_small();
    watch(s);
    extents_slow(0);
    check_all(s);
    shard_store_close(s);
}

/* Others have filled the file system when the index is to be written: the disk has not failed. */
static void without_room(void)
{
    struct shard_store_stats st = {0};
    CHECK_OK(kit_format(suite_dir()));
    struct shard_store *s = open_small();
    fill(s);
    sim_disk_limit(1, 0);
    CHECK_ERR(shard_store_flush(s, KIT_DEADLINE), ERR_UNAVAILABLE);
    for (int64_t until = sys_now() + 30 * SYS_SECOND; sys_now() < until;) {
        shard_store_stats(s, &st);
        CHECK(!st.failed && st.rebuilding);
        sys_sleep_until(sys_now() + SYS_SECOND);
    }
    CHECK_ERR(kit_write(s, 900, LENGTH), ERR_UNAVAILABLE);
    sim_disk_limit(1, UINT64_C(64) << 30);
    for (; st.rebuilding && !st.failed; shard_store_stats(s, &st))
        sys_sleep_until(sys_now() + 100 * SYS_MS);
    CHECK(!st.failed);
    check_all(s);
    CHECK_OK(kit_write(s, 900, LENGTH));
    shard_store_close(s);
}

/* Copies DIR/index to or from DIR/kept. */
static void copy_index(bool back)
{
    char from[64], to[64];
    static uint8_t bytes[1 << 20];
    size_t n = 0;
    struct sys_file *f = NULL;
    snprintf(from, sizeof from, "%s/%s", suite_dir(), back ? "kept" : "index/log");
    snprintf(to, sizeof to, "%s/%s", suite_dir(), back ? "index/log" : "kept");
    CHECK_OK(sys_file_open(from, SYS_OPEN_READ, &f));
    CHECK_OK(sys_file_read(f, 0, bytes, sizeof bytes, &n));
    sys_file_close(f);
    CHECK_OK(sys_file_open(to, SYS_OPEN_WRITE | SYS_OPEN_CREATE | SYS_OPEN_TRUNCATE, &f));
    CHECK_OK(sys_file_write(f, 0, bytes, n));
    CHECK_OK(sys_file_sync(f));
    sys_file_close(f);
}

/* An index put back from a copy names what was deleted since: it must not be believed. */
static void stale(void)
{
    CHECK_OK(kit_format(suite_dir()));
    struct shard_store *s = open_small();
    fill(s);
    shard_store_close(s);
    copy_index(false);
    s = open_small();
    CHECK_OK(kit_delete(s, 1)); /* large: its space is given back */
    CHECK_OK(kit_write(s, 700, LENGTH));
    shard_store_close(s);
    copy_index(true);
    s = open_small();
    kit_await(s);
    struct shard_store_stats st;
    shard_store_stats(s, &st);
    CHECK_EQ(st.index_rebuilds, 1);
    struct stored_shard shard = kit_shard(1, LENGTH);
    CHECK_ERR(shard_store_stat(s, KIT_POOL, &shard.id, &shard), ERR_NOT_FOUND);
    CHECK_EQ(kit_count(s), SHARDS);
    CHECK_OK(kit_read(s, 700, LENGTH, 0, LENGTH));
    shard_store_close(s);
}

struct hand {
    struct shard_store *s;
    uint32_t acked, refused;
    bool stop;
};

static void hand_main(void *arg)
{
    struct hand *h = arg;
    while (!h->stop) {
        enum err e = kit_write(h->s, 1000 + h->acked, LENGTH);
        CHECK(e == OK || e == ERR_UNAVAILABLE);
        h->acked += e == OK;
        h->refused += e != OK;
        if (e)
            sys_sleep_until(sys_now() + SYS_MS);
    }
}

/* kv reports corruption while the disk is written to. */
static void damaged_while_open(void)
{
    CHECK_OK(kit_format(suite_dir()));
    struct shard_store *s = open_small();
    struct hand h = {.s = s};
    struct sys_thread *t = NULL;
    struct shard_writer *w = NULL;
    struct stored_shard open = kit_shard(800, 700000);
    uint8_t *data = sys_alloc(700000);
    fill(s);
    CHECK_OK(shard_writer_open(s, &open, &w));
    CHECK_OK(shard_writer_append(w, data, 600000, NULL, KIT_DEADLINE));
    CHECK_OK(sys_thread_start(&t, "hand", 0, hand_main, &h));
    sys_sleep_until(sys_now() + 30 * SYS_MS);
    extents_slow(2 * SYS_MS);
    CHECK_OK(index_enter(s));
    CHECK_ERR(index_leave(s, ERR_CORRUPT), ERR_UNAVAILABLE); /* as index_lookup does */
    CHECK_ERR(shard_writer_append(w, data, 100000, NULL, KIT_DEADLINE), ERR_UNAVAILABLE);
    watch(s);
    extents_slow(0);
    uint32_t acked = h.acked;
    while (h.acked < acked + 5)
        sys_sleep_until(sys_now() + SYS_MS);
    h.stop = true;
    sys_thread_join(t);
    CHECK(h.refused > 0 && acked > 0);
    shard_writer_abort(w);
    check_all(s);
    for (uint32_t i = 0; i < h.acked; i++)
        CHECK_OK(kit_read(s, 1000 + i, LENGTH, 0, LENGTH));
    shard_store_close(s);
    s = open_small();
    check_all(s);
    CHECK_EQ(kit_count(s), SHARDS + h.acked);
    shard_store_close(s);
    sys_free(data);
}

/* A row that is not one: found by a lookup, by a listing, by a flush. */
static void damaged_row(void)
{
    for (int by = 0; by < 3; by++) {
        CHECK_OK(sim_disk_wipe(1, suite_dir()));
        CHECK_OK(kit_format(suite_dir()));
        struct shard_store *s = open_small();
        fill(s);
        shard_store_close(s);
        s = open_small();
        struct stored_shard shard = kit_shard(2, LENGTH), page[SHARDS];
        uint8_t row[1 + INDEX_KEY] = {'s'};
        size_t n = 0;
        struct kv_batch *b = kv_batch_new();
        index_key(KIT_POOL, &shard.id, row + 1);
        kv_batch_put(b, (struct kv_slice){row, sizeof row}, (struct kv_slice){"rot", 3});
        CHECK_OK(kv_write(s->index, b, true)); /* the keeper has nothing to write */
        kv_batch_free(b);
        if (by == 0)
            CHECK_ERR(kit_read(s, 2, LENGTH, 0, LENGTH), ERR_UNAVAILABLE);
        if (by == 1)
            CHECK_ERR(shard_store_list(s, KIT_POOL, 0, UINT64_MAX, NULL, page, SHARDS, &n),
                      ERR_UNAVAILABLE);
        if (by == 2) {
            CHECK_OK(kit_write(s, 2, LENGTH));
            enum err e = shard_store_flush(s, KIT_DEADLINE);
            CHECK(e == ERR_UNAVAILABLE || e == OK);
        }
        kit_await(s);
        check_all(s);
        struct shard_store_stats st;
        shard_store_stats(s, &st);
        CHECK_EQ(st.index_rebuilds, 1);
        CHECK_EQ(st.shards, SHARDS);
        shard_store_close(s);
    }
}

/* Deleted, its space about to be given back, and found again by the scan: there, or not, but whole. */
static void dead_of_the_old_index(void)
{
    CHECK_OK(kit_format(suite_dir()));
    struct shard_store *s = open_small();
    fill(s);
    CHECK_OK(kit_write(s, 800, LENGTH));
    CHECK_OK(kit_delete(s, 800));
    CHECK_OK(index_enter(s));
    CHECK_ERR(index_leave(s, ERR_CORRUPT), ERR_UNAVAILABLE);
    kit_await(s);
    CHECK_OK(kit_write(s, 801, LENGTH));
    CHECK_OK(shard_store_flush(s, KIT_DEADLINE));
    enum err e = kit_read(s, 800, LENGTH, 0, LENGTH);
    CHECK(e == OK || e == ERR_NOT_FOUND);
    CHECK_EQ(kit_count(s), SHARDS + 1 + (e == OK));
    check_all(s);
    shard_store_close(s);
}

/* Space that is taken for a record is known to the next flush (extent.c E3): however little of the record has
 * come to pass by then, a crash has it looked for. */
static void reserved_and_flushed(void)
{
    struct shard_store *s;
    struct shard_writer *w = NULL;
    struct stored_shard shard = kit_shard(0, LENGTH);
    uint64_t large = 0, run = 0;
    CHECK_OK(kit_format(suite_dir()));
    s = open_small();
    CHECK_OK(shard_writer_open(s, &shard, &w));
    CHECK_OK(extent_reserve(s, record_room(LENGTH), w));
    CHECK_OK(extent_reserve(s, 1 << 17, NULL));
    CHECK_OK(extent_reserve(s, EXTENT - (1 << 17), w)); /* seals the extent of the run */
    uint32_t first = s->run->number, second = w->place.extent;
    CHECK(second > first);
    CHECK_OK(shard_store_flush(s, KIT_DEADLINE));
    CHECK_OK(index_scan_from(s, first, &run));
    CHECK_OK(index_scan_from(s, second, &large));
    CHECK_EQ(run, s->run_at);
    CHECK_EQ(large, w->place.offset);
    s->extents[0]->users--; /* of the first place of w */
    shard_writer_abort(w);
    shard_store_close(s);
}

static const struct test tests[] = {
    {"reserved, and flushed at once", reserved_and_flushed},
    {"the dead of the old index", dead_of_the_old_index},
    {"lost: rebuilt while open", lost},
    {"a rebuild cut short", cut_short},
    {"of an earlier time", stale},
    {"damaged while open", damaged_while_open},
    {"a damaged row", damaged_row},
    {"without room", without_room},
    {0},
};
SUITE("shard store, index", tests)
