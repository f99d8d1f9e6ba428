/* Room on a disk: its marks, what still works at each, and how space comes back. */
#include "chunkserver/service_internal.h"
#include "chunkserver/store_internal.h"
#include "common/sys/ballast.h"
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

/* ---- compaction ---- */

enum { SMALL = 3000, COUNT = 900 }; /* in extents of 1 MiB: some 300 each */

static struct shard_store *open_compacting(int64_t interval)
{
    struct shard_store *s = NULL;
    struct shard_store_config c = kit_config(suite_dir());
    c.extent_bytes = MIB;
    c.flush_interval = 50 * SYS_MS;
    c.compact_interval = interval;
    c.compact_bytes_per_s = 64 * MIB;
    CHECK_OK(shard_store_open(&s, &c));
    kit_await(s);
    return s;
}

static void count_file(void *arg, const char *name, bool is_dir)
{
    CHECK(!is_dir && strlen(name) == 8);
    ++*(uint32_t *)arg;
}

static uint32_t extent_files(void)
{
    char path[64];
    uint32_t n = 0;
    snprintf(path, sizeof path, "%s/extents", suite_dir());
    CHECK_OK(sys_dir_list(path, count_file, &n));
    return n;
}

/* Small ones keep their blocks when their neighbours live: of each ten one stays. */
static void write_and_thin_out(struct shard_store *s, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        CHECK_OK(kit_write(s, i, SMALL));
    for (uint32_t i = 0; i < count; i++)
        if (i % 10)
            CHECK_OK(kit_delete(s, i));
    CHECK_OK(shard_store_flush(s, KIT_DEADLINE));
}

static void check_thinned(struct shard_store *s, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        enum err e = kit_read(s, i, SMALL, 0, SMALL);
        suite_check(e == (i % 10 ? ERR_NOT_FOUND : OK), __FILE__, __LINE__, "shard %u reads %s", i,
                    err_name(e));
    }
    CHECK_EQ(kit_count(s), (count + 9) / 10);
    CHECK_EQ(stats_of(s).shards, (count + 9) / 10);
}

static void await_files(struct shard_store *s, uint32_t most)
{
    int64_t until = sys_now() + 60 * SYS_SECOND;
    while (extent_files() > most && sys_now() < until)
        sys_sleep_until(sys_now() + 10 * SYS_MS);
    suite_check(extent_files() <= most, __FILE__, __LINE__, "%u extents", extent_files());
    CHECK(!stats_of(s).failed);
}

static void compacts(void)
{
    CHECK_OK(kit_format(suite_dir()));
    struct shard_store *s = open_compacting(100 * SYS_MS);
    write_and_thin_out(s, COUNT);
    await_files(s, 2);
    CHECK(stats_of(s).extents_removed >= 2 && stats_of(s).compacted_bytes > 0);
    check_thinned(s, COUNT);
    shard_store_close(s);
    for (int lost = 0; lost < 2; lost++) { /* the index and the extents say the same */
        if (lost)
            kit_lose_index(suite_dir());
        s = open_compacting(100 * SYS_MS);
        if (!lost)
            check_thinned(s, COUNT);
        for (uint32_t i = 0; i < COUNT; i += 10)
            CHECK_OK(kit_read(s, i, SMALL, 0, SMALL));
        shard_store_close(s);
    }
}

/* Without holes in files: large records come back as well. */
static void compacts_without_punching(void)
{
    CHECK_OK(kit_format(suite_dir()));
    sim_disk_no_holes(1, true);
    struct shard_store *s = open_compacting(100 * SYS_MS);
    for (uint32_t i = 0; i < 40; i++)
        CHECK_OK(kit_write(s, i, LENGTH));
    uint32_t before = extent_files();
    for (uint32_t i = 0; i < 40; i++)
        if (i % 4)
            CHECK_OK(kit_delete(s, i));
    CHECK_OK(shard_store_flush(s, KIT_DEADLINE));
    await_files(s, before / 3 + 1);
    for (uint32_t i = 0; i < 40; i++)
        CHECK_ERR(kit_read(s, i, LENGTH, 0, LENGTH), i % 4 ? ERR_NOT_FOUND : OK);
    CHECK(stats_of(s).compacted_bytes > 0);
    shard_store_close(s);
}

/* A record that does not verify is not copied: it stays where it is, seen as what it is. */
static void keeps_rot(void)
{
    CHECK_OK(kit_format(suite_dir()));
    struct shard_store *s = open_compacting(SYS_SECOND);
    write_and_thin_out(s, COUNT);
    struct stored_shard shard = kit_shard(10, SMALL);
    struct index_entry entry;
    char path[64];
    CHECK_OK(index_lookup(s, KIT_POOL, &shard.id, &entry));
    snprintf(path, sizeof path, "%s/extents/%08u", suite_dir(), entry.place.extent);
    CHECK_OK(sim_disk_flip(1, path, entry.place.offset + 1000, 1));
    await_files(s, 3);
    CHECK_ERR(kit_read(s, 10, SMALL, 0, SMALL), ERR_CORRUPT);
    CHECK_OK(kit_write(s, 10, SMALL)); /* repaired: the old one keeps nothing any more */
    CHECK_OK(shard_store_flush(s, KIT_DEADLINE));
    CHECK_OK(kit_write(s, 5000, SMALL));
    CHECK_OK(kit_delete(s, 5000));
    await_files(s, 2);
    check_thinned(s, COUNT);
    shard_store_close(s);
}

struct rival {
    struct shard_store *s;
    uint32_t begin, deleted[COUNT], count;
    bool stop;
};

/* Deletes and second commits of the very shards that are being copied. */
static void rival_main(void *arg)
{
    struct rival *r = arg;
    for (uint32_t i = 0; i < COUNT && !r->stop; i += 10) {
        if (i / 10 % 3 == 0) {
            CHECK_OK(kit_delete(r->s, i));
            r->deleted[r->count++] = i;
        } else if (i / 10 % 3 == 1) {
            CHECK_OK(kit_write(r->s, i, SMALL));
        }
        if (i % 50 == 0)
            sys_sleep_until(sys_now() + SYS_MS);
    }
}

static void rivals(void)
{
    CHECK_OK(kit_format(suite_dir()));
    struct shard_store *s = open_compacting(10 * SYS_MS);
    struct rival r = {.s = s};
    struct sys_thread *t = NULL;
    write_and_thin_out(s, COUNT);
    CHECK_OK(sys_thread_start(&t, "rival", 0, rival_main, &r));
    sys_thread_join(t);
    await_files(s, 2);
    for (uint32_t i = 0; i < COUNT; i += 10) {
        bool gone = false;
        for (uint32_t k = 0; k < r.count; k++)
            gone |= r.deleted[k] == i;
        CHECK_ERR(kit_read(s, i, SMALL, 0, SMALL), gone ? ERR_NOT_FOUND : OK);
    }
    CHECK_OK(shard_store_flush(s, KIT_DEADLINE)); /* until then a second commit counts for two */
    CHECK_EQ(kit_count(s), COUNT / 10 - r.count);
    CHECK_EQ(stats_of(s).shards, COUNT / 10 - r.count);
    shard_store_close(s);
}

/* A full disk gets room from what only compaction can give back. */
static void full_of_fragments(void)
{
    sim_disk_limit(1, 16 * MIB);
    CHECK_OK(kit_format(suite_dir()));
    struct shard_store *s = open_compacting(200 * SYS_MS);
    uint32_t n = 0;
    enum err e = OK;
    while (!e) {
        e = kit_write(s, n, SMALL);
        n += e == OK;
    }
    CHECK_ERR(e, ERR_DISK_FULL);
    CHECK(stats_of(s).mark >= DISK_MARK_BACKFILLFULL);
    for (uint32_t i = 0; i < n; i++)
        if (i % 10)
            CHECK_OK(kit_delete(s, i));
    int64_t until = sys_now() + 60 * SYS_SECOND;
    while (stats_of(s).mark > DISK_MARK_NONE && sys_now() < until)
        sys_sleep_until(sys_now() + 10 * SYS_MS);
    CHECK_EQ(stats_of(s).mark, DISK_MARK_NONE);
    check_thinned(s, n);
    shard_store_close(s);
}

/* A process that is killed leaves the rest of its extent preallocated. The next one cuts it off as soon as it has
 * opened the disk, so one that is killed again and again does not fill it. */
struct crashing {
    const char *dir;
    uint32_t n;
};

static void crashing_main(void *arg)
{
    const struct crashing *c = arg;
    struct shard_store *s = kit_open(c->dir);
    sys_sleep_until(sys_now() + SYS_SECOND);
    CHECK_OK(kit_write(s, c->n, LENGTH));
    if (c->n % 2)
        CHECK_OK(shard_store_flush(s, KIT_DEADLINE));
    sim_crash(sim_self());
}

static uint64_t extents_allocated(uint32_t highest)
{
    uint64_t sum = 0;
    for (uint32_t i = 1; i <= highest; i++) {
        char path[64];
        struct sys_file *f = NULL;
        uint64_t bytes = 0;
        snprintf(path, sizeof path, "%s/extents/%08u", suite_dir(), i);
        if (sys_file_open(path, SYS_OPEN_READ, &f) != OK)
            continue;
        CHECK_OK(sys_file_allocated(f, &bytes));
        sys_file_close(f);
        sum += bytes;
    }
    return sum;
}

static void trims(void)
{
    enum { CRASHES = 6 };
    CHECK_OK(kit_format(suite_dir()));
    CHECK_OK(sys_dir_sync(suite_dir()));
    CHECK_OK(sys_dir_sync("/"));
    for (uint32_t i = 0; i < CRASHES; i++) {
        struct crashing c = {suite_dir(), i};
        int pid = sim_spawn("crashing", 1, crashing_main, &c);
        while (sim_alive(pid))
            sys_sleep_until(sys_now() + SYS_MS);
        uint64_t all = extents_allocated(CRASHES);
        suite_check(all >= 4 * MIB && all < 6 * MIB, __FILE__, __LINE__, "%llu after %u crashes",
                    (unsigned long long)all, i + 1); /* the extents are of 4 MiB */
    }
    struct shard_store *s = kit_open(suite_dir());
    sys_sleep_until(sys_now() + SYS_SECOND);
    uint64_t all = extents_allocated(CRASHES);
    suite_check(all < 2 * MIB, __FILE__, __LINE__, "%llu", (unsigned long long)all);
    for (uint32_t i = 0; i < CRASHES; i++)
        CHECK_OK(kit_read(s, i, LENGTH, 0, LENGTH));
    shard_store_close(s);
}

/* Also of an empty disk: its number must not come back, since the index may speak of it. */
static void the_last_extent_stays(void)
{
    CHECK_OK(kit_format(suite_dir()));
    struct shard_store *s = open_compacting(50 * SYS_MS);
    for (uint32_t i = 0; i < 20; i++)
        CHECK_OK(kit_write(s, i, LENGTH));
    for (uint32_t i = 0; i < 20; i++)
        CHECK_OK(kit_delete(s, i));
    uint32_t highest = s->next_extent - 1;
    shard_store_close(s);
    s = open_compacting(50 * SYS_MS);
    await_files(s, 1);
    sys_sleep_until(sys_now() + SYS_SECOND); /* some looks more */
    CHECK_EQ(extent_files(), 1);
    shard_store_close(s);
    s = open_compacting(50 * SYS_MS);
    CHECK_EQ(s->next_extent, highest + 1);
    /* One that is just being made may be taken back: it does not count. */
    char path[64];
    struct sys_file *f = NULL;
    snprintf(path, sizeof path, "%s/extents/%08u", suite_dir(), highest + 1);
    CHECK_OK(sys_file_open(path, SYS_OPEN_WRITE | SYS_OPEN_CREATE, &f));
    sys_file_close(f);
    s->deaths++; /* so that there is a look */
    sys_sleep_until(sys_now() + SYS_SECOND);
    CHECK_OK(sys_unlink(path));
    CHECK_EQ(extent_files(), 1);
    shard_store_close(s);
}

static bool await_ballast(uint64_t bytes)
{
    for (int i = 0; i < 100 && ballast_bytes(suite_dir()) != bytes; i++)
        sys_sleep_until(sys_now() + 100 * SYS_MS);
    return ballast_bytes(suite_dir()) == bytes;
}

/* Others' files take all that is left, and are gone again. */
static void fill(bool full)
{
    static const char path[] = "/others";
    struct sys_file *f;
    uint64_t total, unused, size = 0;
    if (!full) {
        CHECK_OK(sys_unlink(path));
        return;
    }
    CHECK_OK(sys_file_open(path, SYS_OPEN_WRITE | SYS_OPEN_CREATE, &f));
    CHECK_OK(sys_file_size(f, &size));
    CHECK_OK(sys_disk_space("/", &total, &unused));
    if (unused > 0)
        CHECK_OK(sys_file_allocate(f, size, unused));
    sys_file_close(f);
}

/* Others' files take the last byte, and what the ballast then gives, too: half of it stays. With that the disk
 * deletes, durably and with the index that it has, or can be opened. With room again the ballast is whole. */
static void full_to_the_last_byte(void)
{
    enum { BALLAST = 256 * MIB / 64 };
    sim_disk_limit(1, 256 * MIB);
    CHECK_OK(kit_format(suite_dir()));
    struct shard_store *s = open_compacting(50 * SYS_MS);
    for (uint32_t i = 0; i < 40; i++)
        CHECK_OK(kit_write(s, i, LENGTH));
    CHECK(await_ballast(BALLAST));
    for (int opened = 0; opened < 2; opened++) {
        uint32_t from = opened ? 10 : 0;
        fill(true);
        CHECK(await_ballast(BALLAST / 2));
        CHECK_ERR(kit_write(s, 100, LENGTH), ERR_DISK_FULL);
        fill(true);
        if (opened) {
            shard_store_close(s);
            s = open_compacting(50 * SYS_MS);
            CHECK_EQ(ballast_bytes(suite_dir()), 0);
        }
        for (uint32_t i = from; i < from + 10; i++)
            CHECK_OK(kit_delete(s, i));
        CHECK_OK(shard_store_flush(s, KIT_DEADLINE));
        CHECK_EQ(ballast_bytes(suite_dir()), 0);
        CHECK_EQ(stats_of(s).index_rebuilds, 0);
        for (uint32_t i = from + 10; i < 40; i++)
            CHECK_OK(kit_read(s, i, LENGTH, 0, LENGTH));
        fill(false);
        CHECK(await_ballast(BALLAST));
    }
    /* In the moment in which it is closed: all of it is given at once. */
    shard_store_close(s);
    fill(true);
    s = open_compacting(50 * SYS_MS);
    CHECK_EQ(ballast_bytes(suite_dir()), 0);
    fill(false);
    CHECK(await_ballast(BALLAST));
    CHECK_OK(kit_write(s, 100, LENGTH));
    shard_store_close(s);
}

/* So many extents wait for a flush that no more can be opened: what was made in vain goes again. */
static void too_many_extents(void)
{
    enum { LARGE = 600000 };
    CHECK_OK(kit_format(suite_dir()));
    struct shard_store *s = NULL;
    struct shard_store_config c = kit_config(suite_dir());
    c.extent_bytes = 1 << 20; /* one record each */
    c.flush_interval = 3600 * SYS_SECOND;
    CHECK_OK(shard_store_open(&s, &c));
    uint32_t written = 0;
    enum err e = OK;
    while (!e && written < 200) {
        e = kit_write(s, written, LARGE);
        written += e == OK;
    }
    CHECK_ERR(e, ERR_BUSY);
    CHECK_EQ(extent_files(), written);
    CHECK_OK(shard_store_flush(s, KIT_DEADLINE));
    CHECK_OK(kit_write(s, written, LARGE));
    CHECK_EQ(extent_files(), written + 1);
    shard_store_close(s);
}

static const struct test tests[] = {
    {"the last extent stays", the_last_extent_stays},
    {"compaction: extents are emptied and removed", compacts},
    {"compaction without holes", compacts_without_punching},
    {"compaction keeps what has rotted", keeps_rot},
    {"compaction beside deletes and second commits", rivals},
    {"a disk full of fragments", full_of_fragments},
    {"what a crash left preallocated", trims},
    {"a disk full to the last byte", full_to_the_last_byte},
    {"marks of a configured capacity", marks_of_a_cap},
    {"marks of the file system", marks_of_the_file_system},
    {"too many extents", too_many_extents},
    {0},
};
SUITE("shard store, space", tests)
