/* Simulated files against a plain array: any mix of writes, holes, cuts and syncs reads back as
 * written; after a crash each sector holds what was last synced or something written since. */
#include <stdlib.h>
#include <string.h>
#include "common/sys/sim/sim.h"
#include "tests/unit/suite.h"

enum { SIZE = 64 << 10, SECTOR = 512, SECTORS = SIZE / SECTOR, STEPS = 120, VERSIONS = STEPS + 2 };

/* Every version a sector has had since it was last synced. */
struct oracle {
    uint8_t bytes[SIZE];
    uint64_t size;
    uint8_t (*versions)[VERSIONS][SECTOR]; /* of each sector */
    int count[SECTORS];
    bool synced, done;
    uint64_t least_size, most_size; /* since the last sync */
};

static uint64_t below(uint64_t n)
{
    return sim_random() % n;
}

static void remember(struct oracle *o, uint64_t offset, uint64_t n)
{
    for (uint64_t s = offset / SECTOR; n > 0 && s <= (offset + n - 1) / SECTOR; s++)
        memcpy(o->versions[s][o->count[s]++], o->bytes + s * SECTOR, SECTOR);
    o->least_size = o->size < o->least_size ? o->size : o->least_size;
    o->most_size = o->size > o->most_size ? o->size : o->most_size;
}

static void forget(struct oracle *o)
{
    for (int s = 0; s < SECTORS; s++) {
        o->count[s] = 1;
        memcpy(o->versions[s][0], o->bytes + s * SECTOR, SECTOR);
    }
    o->least_size = o->most_size = o->size;
    o->synced = true;
}

static void write_step(struct oracle *o, struct sys_file *f, uint64_t offset, uint64_t n)
{
    uint8_t data[SIZE];
    sys_random(data, n);
    memcpy(o->bytes + offset, data, n);
    if (offset + n > o->size)
        o->size = offset + n;
    remember(o, offset, n); /* before: a crash in the middle may leave either */
    CHECK_OK(sys_file_write(f, offset, data, n));
}

static void zero_step(struct oracle *o, struct sys_file *f, uint64_t offset, uint64_t n)
{
    memset(o->bytes + offset, 0, n);
    remember(o, offset, n);
    CHECK_OK(sys_file_punch(f, offset, n));
}

static void cut_step(struct oracle *o, struct sys_file *f, uint64_t size)
{
    uint64_t old = o->size;
    o->size = size;
    if (size < old)
        memset(o->bytes + size, 0, old - size);
    remember(o, size, size < old ? old - size : 0);
    CHECK_OK(sys_file_truncate(f, size));
}

static void step(struct oracle *o, struct sys_file *f)
{
    uint64_t offset = below(SIZE), n = 1 + below(below(2) ? 3000 : 20000);
    if (n > SIZE - offset)
        n = SIZE - offset;
    switch (below(8)) {
    case 0:
        zero_step(o, f, offset, n);
        return;
    case 1:
        cut_step(o, f, offset);
        return;
    case 2:
        CHECK_OK(sys_file_allocate(f, offset / 2, n));
        if (offset / 2 + n > o->size)
            o->size = offset / 2 + n;
        remember(o, 0, 0);
        return;
    case 3:
        CHECK_OK(sys_file_sync(f));
        forget(o);
        return;
    default:
        write_step(o, f, offset, n);
    }
}

static void check_equal(struct oracle *o, struct sys_file *f)
{
    uint8_t got[SIZE] = {0};
    size_t n = 0;
    uint64_t size = 0, at = 0;
    CHECK_OK(sys_file_read(f, 0, got, SIZE, &n));
    CHECK_EQ(n, o->size);
    CHECK_OK(sys_file_size(f, &size));
    CHECK_EQ(size, o->size);
    CHECK_BYTES(got, o->bytes, SIZE);
    /* Between data there is nothing but zeros. */
    while (at < size) {
        uint64_t next = size;
        enum err e = sys_file_next_data(f, at, &next);
        CHECK(e == OK || e == ERR_NOT_FOUND);
        CHECK(next >= at && next <= size);
        for (uint64_t i = at; i < next; i++)
            if (!CHECK(o->bytes[i] == 0))
                return;
        at = (next / 4096 + 1) * 4096;
    }
}

static void work(void *arg)
{
    struct oracle *o = arg;
    struct sys_file *f = NULL;
    CHECK_OK(sys_file_open("/f", SYS_OPEN_WRITE | SYS_OPEN_CREATE, &f));
    CHECK_OK(sys_file_sync(f));
    CHECK_OK(sys_dir_sync("/"));
    forget(o);
    for (int i = 0; i < STEPS; i++) {
        step(o, f);
        if (i % 10 == 0)
            check_equal(o, f);
    }
    check_equal(o, f);
    sys_file_close(f);
    o->done = true;
}

/* The crash may cut a sector off at the file's end: then zeros. */
static bool known_version(const struct oracle *o, int s, const uint8_t *got, size_t n)
{
    for (int v = 0; v < o->count[s]; v++)
        if (memcmp(o->versions[s][v], got, n) == 0)
            return true;
    for (size_t i = 0; i < n; i++)
        if (got[i])
            return false;
    return o->least_size < (uint64_t)(s + 1) * SECTOR;
}

static void inspect(void *arg)
{
    struct oracle *o = arg;
    struct sys_file *f = NULL;
    uint8_t got[SIZE];
    size_t n = 0;
    enum err e = sys_file_open("/f", SYS_OPEN_READ, &f);
    if (!o->synced)
        return sys_file_close(e ? NULL : f);
    CHECK_OK(e);
    CHECK_OK(sys_file_read(f, 0, got, SIZE, &n));
    CHECK(n >= o->least_size && n <= o->most_size);
    for (size_t s = 0; s * SECTOR < n; s++)
        CHECK(known_version(o, (int)s, got + s * SECTOR,
                            n - s * SECTOR < SECTOR ? n - s * SECTOR : SECTOR));
    sys_file_close(f);
}

static void run_world(uint64_t seed, uint64_t crash_at, struct sim_stats *stats)
{
    struct oracle *o = calloc(1, sizeof *o);
    o->versions = calloc(SECTORS, sizeof *o->versions);
    sim_init(seed);
    int pid = sim_spawn("worker", 1, work, o);
    sim_crash_at(pid, crash_at);
    CHECK(sim_run(600 * SYS_SECOND, NULL, NULL));
    CHECK(o->done == (sim_exit_status(pid) == 0));
    sim_spawn("inspector", 1, inspect, o);
    CHECK(sim_run(1200 * SYS_SECOND, NULL, NULL));
    *stats = sim_end();
    free(o->versions);
    free(o);
}

static void reads_what_was_written(void)
{
    struct sim_stats stats;
    for (uint64_t seed = 1; seed <= 10; seed++)
        run_world(seed, 0, &stats);
}

static void crashes_keep_what_was_synced(void)
{
    uint64_t torn = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct sim_stats stats;
        run_world(seed, 4 + seed * 2, &stats);
        torn += stats.sectors_torn;
    }
    CHECK(torn > 500);
}

/* ---- a write while a sync runs: what the sync covers is safe all the same ---- */

struct overlap {
    struct sys_file *f;
    bool synced;
};

static void write_byte(struct sys_file *f, int byte)
{
    uint8_t block[SECTOR];
    memset(block, byte, sizeof block);
    CHECK_OK(sys_file_write(f, 0, block, sizeof block));
}

static void overwrite_later(void *arg)
{
    sys_sleep_until(sys_now() + 40 * SYS_US);
    write_byte(((struct overlap *)arg)->f, 3);
}

static void overlapping(void *arg)
{
    struct overlap *o = arg;
    struct sys_thread *t = NULL;
    CHECK_OK(sys_file_open("/f", SYS_OPEN_WRITE | SYS_OPEN_CREATE, &o->f));
    CHECK_OK(sys_dir_sync("/"));
    write_byte(o->f, 1);
    CHECK_OK(sys_file_sync(o->f));
    write_byte(o->f, 2);
    CHECK_OK(sys_thread_start(&t, "overwriter", 0, overwrite_later, o));
    CHECK_OK(sys_file_sync(o->f));
    o->synced = true;
    sys_thread_join(t);
    sys_sleep_until(SYS_FOREVER);
}

static bool has_synced(void *arg)
{
    return ((struct overlap *)arg)->synced;
}

static void read_byte(void *arg)
{
    struct sys_file *f = NULL;
    uint8_t byte = 0;
    size_t n;
    CHECK_OK(sys_file_open("/f", SYS_OPEN_READ, &f));
    CHECK_OK(sys_file_read(f, 0, &byte, 1, &n));
    ((int *)arg)[byte & 3]++;
    sys_file_close(f);
}

static void write_during_sync(void)
{
    int seen[4] = {0};
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct overlap o = {0};
        sim_init(seed);
        int pid = sim_spawn("writer", 1, overlapping, &o);
        CHECK(sim_run(60 * SYS_SECOND, has_synced, &o));
        sim_crash(pid);
        CHECK(sim_run(60 * SYS_SECOND, NULL, NULL));
        sim_spawn("reader", 1, read_byte, seen);
        CHECK(sim_run(120 * SYS_SECOND, NULL, NULL));
        sim_end();
    }
    CHECK(seen[0] == 0 && seen[1] == 0); /* never older than the sync */
    CHECK(seen[2] > 0 && seen[3] > 0);
}

/* ---- names: a crash keeps a prefix of a directory's changes ---- */

static void make_three(void *arg)
{
    static const char *const names[] = {"/d/1", "/d/2", "/d/3"};
    CHECK_OK(sys_mkdir("/d"));
    CHECK_OK(sys_dir_sync("/"));
    for (int i = 0; i < 3; i++) {
        struct sys_file *f = NULL;
        CHECK_OK(sys_file_open(names[i], SYS_OPEN_WRITE | SYS_OPEN_CREATE, &f));
        sys_file_close(f);
    }
    CHECK_OK(sys_rename("/d/1", "/d/4"));
    *(bool *)arg = true;
    sys_sleep_until(SYS_FOREVER);
}

static bool is_true(void *arg)
{
    return *(bool *)arg;
}

static void add_bit(void *arg, const char *name, bool is_dir)
{
    CHECK(!is_dir);
    *(unsigned *)arg |= 1u << (name[0] - '1');
}

static void list_names(void *arg)
{
    CHECK_OK(sys_dir_list("/d", add_bit, arg));
}

static void names_keep_their_order(void)
{
    unsigned seen = 0;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        bool made = false;
        unsigned names = 0;
        sim_init(seed);
        int pid = sim_spawn("maker", 1, make_three, &made);
        CHECK(sim_run(60 * SYS_SECOND, is_true, &made));
        sim_crash(pid);
        CHECK(sim_run(60 * SYS_SECOND, NULL, NULL));
        sim_spawn("lister", 1, list_names, &names);
        CHECK(sim_run(120 * SYS_SECOND, NULL, NULL));
        sim_end();
        /* None, 1, 1 2, 1 2 3, or 2 3 4 after the move: never 1 and 4, never neither. */
        CHECK(names == 0 || names == 1 || names == 3 || names == 7 || names == 14);
        seen |= 1u << names;
    }
    CHECK_EQ(seen, 1u << 0 | 1u << 1 | 1u << 3 | 1u << 7 | 1u << 14);
}

static const struct test tests[] = {
    {"outside: reads what was written", reads_what_was_written},
    {"outside: crashes keep what was synced", crashes_keep_what_was_synced},
    {"outside: write during a sync", write_during_sync},
    {"outside: names keep their order", names_keep_their_order},
    {0},
};
SUITE("sys simulated disk", tests)
