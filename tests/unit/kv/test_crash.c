/* K1 to K4 of kv.h on the memory store, whose disk is simulated: what a crash takes, what a stall
 * holds up, what a failure leaves. What real LevelDB does: kv_posix/test_leveldb_crash.c. */
#include <stdatomic.h>
#include <stdio.h>
#include "common/kv/kv.h"
#include "common/sys/sim/sim.h"
#include "tests/unit/suite.h"

/* Batch i puts the keys i.0 and i.1 and counts up "last": of different sizes, so that records take
 * one sector, or many. Its values say i all over. */
enum { BATCHES = 24, KEYS = 2 };

static size_t value_size(int i)
{
    static const size_t sizes[] = {10, 700, 3000, 40, 9000};
    return sizes[i % 5];
}

static void batch_of(struct kv_batch *b, int i)
{
    uint8_t value[9000];
    memset(value, i, sizeof value);
    kv_batch_clear(b);
    for (int k = 0; k < KEYS; k++) {
        uint8_t key[2] = {(uint8_t)i, (uint8_t)k};
        kv_batch_put(b, (struct kv_slice){key, 2}, (struct kv_slice){value, value_size(i)});
    }
    kv_batch_put(b, (struct kv_slice){"last", 4}, (struct kv_slice){value, 1});
}

static enum err write_batch(struct kv *kv, int i, bool sync)
{
    struct kv_batch *b = kv_batch_new();
    batch_of(b, i);
    enum err e = kv_write(kv, b, sync);
    kv_batch_free(b);
    return e;
}

/* How many of batch i's keys are there, each with all its bytes. */
static int keys_of(struct kv *kv, int i)
{
    int n = 0;
    for (int k = 0; k < KEYS; k++) {
        uint8_t key[2] = {(uint8_t)i, (uint8_t)k}, *value;
        size_t length;
        enum err e = kv_get(kv, NULL, (struct kv_slice){key, 2}, (void **)&value, &length);
        CHECK(e == OK || e == ERR_NOT_FOUND);
        bool whole = e == OK && length == value_size(i);
        for (size_t at = 0; whole && at < length; at++)
            whole = value[at] == i;
        CHECK(e || whole);
        n += whole;
        sys_free(value);
    }
    return n;
}

static int last_of(struct kv *kv)
{
    uint8_t *value;
    size_t n;
    enum err e = kv_get(kv, NULL, (struct kv_slice){"last", 4}, (void **)&value, &n);
    int last = e ? 0 : value[0];
    sys_free(value);
    return last;
}

/* ---- any subset ---- */

struct work {
    uint32_t sync;              /* bit i: batch i is written with sync */
    int batches;                /* 1 .. this */
    int answered, last_durable; /* batches with OK; the last one that was written with sync */
    bool done;
    /* found by the reader */
    enum err opened;
    uint32_t there;
};

static void write_work(void *arg)
{
    struct work *w = arg;
    struct kv *kv = NULL;
    if (kv_open("/s", NULL, &kv))
        sys_exit(1, "cannot open");
    for (int i = 1; i <= w->batches; i++) {
        CHECK_OK(write_batch(kv, i, w->sync >> i & 1));
        w->answered = i;
        if (w->sync >> i & 1)
            w->last_durable = i;
    }
    w->done = true;
    sys_sleep_until(SYS_FOREVER);
}

static void read_work(void *arg)
{
    struct work *w = arg;
    struct kv *kv = NULL;
    w->opened = kv_open("/s", NULL, &kv);
    int newest = 0;
    for (int i = 1; !w->opened && i <= w->batches; i++) {
        int n = keys_of(kv, i);
        CHECK(n == 0 || n == KEYS); /* K1 */
        w->there |= n ? 1u << i : 0;
        newest = n ? i : newest;
    }
    if (!w->opened)
        CHECK_EQ(last_of(kv), newest); /* among what is there, the order stays */
    kv_close(kv);
}

static bool work_done(void *arg)
{
    return ((struct work *)arg)->done;
}

/* crash_at 0: once all is written. */
static void run_crash(uint64_t seed, struct work *w, uint64_t crash_at)
{
    sim_init(seed);
    int pid = sim_spawn("writer", 1, write_work, w);
    sim_crash_at(pid, crash_at);
    CHECK(sim_run(60 * SYS_SECOND, work_done, w));
    sim_crash(pid);
    CHECK(sim_run(120 * SYS_SECOND, NULL, NULL));
    sim_spawn("reader", 1, read_work, w);
    CHECK(sim_run(180 * SYS_SECOND, NULL, NULL));
    sim_end();
    CHECK_OK(w->opened); /* never ERR_CORRUPT */
    /* K2 */
    for (int i = 1; i <= w->batches; i++)
        if (w->sync >> i & 1 && i <= w->last_durable)
            CHECK(w->there >> i & 1);
    CHECK_EQ(w->there >> (w->answered + 1) & (crash_at ? ~1u : ~0u), 0);
}

/* K3: of three batches that were not synced, after one that was, each of the eight subsets. */
static void any_subset(void)
{
    int seen[8] = {0};
    for (uint64_t seed = 1; seed <= 400; seed++) {
        struct work w = {.sync = 1u << 1, .batches = 4};
        run_crash(seed, &w, 0);
        CHECK(w.there >> 1 & 1);
        seen[w.there >> 2]++;
    }
    for (int subset = 0; subset < 8; subset++)
        suite_check(seen[subset] > 0, __FILE__, __LINE__, "subset %d was seen", subset);
}

/* A synced batch after unsynced ones takes them along here, as the same file is synced; LevelDB
 * may have put them into an older one. No caller may count on either: the floor decides. */
static void crashes_everywhere(void)
{
    int crashes = 0;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        bool done = false;
        for (uint64_t n = 1; !done && n < 4000; n += 1 + seed % 3) {
            struct work w = {.sync = 0x924924, .batches = BATCHES - 1};
            run_crash(seed, &w, n);
            done = w.done;
            crashes += !done;
        }
        CHECK(done);
    }
    CHECK(crashes > 500);
}

/* ---- K4: a failure stays until the store is opened again ---- */

static void failures_stay(void)
{
    uint64_t nth = 1;
    int failed_writes = 0;
    bool clean = false;
    for (; !clean && nth < 500; nth++) {
        char dir[32];
        struct kv *kv = NULL;
        enum err e, first = OK;
        int last = 0;
        snprintf(dir, sizeof dir, "/test/%u", (unsigned)nth);
        sim_disk_fail(1, "/test", nth, ERR_IO, false); /* once, and then all is well */
        e = kv_open(dir, NULL, &kv);
        if (e) {
            CHECK_ERR(e, ERR_IO);
            CHECK(kv == NULL);
        }
        for (int i = 1; kv && i <= 12; i++) {
            e = write_batch(kv, i, i % 3 == 0);
            if (!e)
                last = i;
            CHECK_ERR(e, first ? first : e);
            first = first ? first : e;
            CHECK_EQ(last_of(kv), last); /* reads go on, and show what was answered */
        }
        failed_writes += first != OK;
        clean = kv && !first;
        kv_close(kv);
        sim_disk_fail(1, "/test", 0, OK, false);
        CHECK_OK(kv_open(dir, NULL, &kv));
        for (int i = 1; i <= 12; i++) {
            int n = keys_of(kv, i);
            /* The one that failed may be there, whole. */
            CHECK(i <= last ? n == KEYS : i == last + 1 ? n == 0 || n == KEYS : n == 0);
        }
        CHECK_OK(write_batch(kv, 20, true));
        kv_close(kv);
        CHECK_EQ(sim_leaks(-1).files, 0);
    }
    CHECK(clean);
    CHECK(failed_writes >= 16); /* 12 writes, 4 syncs */
}

/* ---- stalls ---- */

struct stalled {
    struct kv *kv;
    atomic_int written;
};

static void write_two(void *arg)
{
    struct stalled *s = arg;
    for (int i = 2; i <= 3; i++) {
        CHECK_OK(write_batch(s->kv, i, true));
        s->written++;
    }
}

static void stalls(void)
{
    struct stalled s = {0};
    struct sys_thread *t = NULL;
    CHECK_OK(kv_open("/test/s", NULL, &s.kv));
    CHECK_OK(write_batch(s.kv, 1, true));
    sim_disk_hang(1, "/test/s", true);
    CHECK_OK(sys_thread_start(&t, "writer", 0, write_two, &s));
    for (int i = 0; i < 100; i++) {
        int64_t before = sys_now();
        CHECK_EQ(last_of(s.kv), 1); /* readers are not held up */
        CHECK(sys_now() - before < SYS_MS);
        sys_sleep_until(sys_now() + 100 * SYS_MS);
    }
    CHECK_EQ(s.written, 0);
    sim_disk_hang(1, "/test/s", false);
    sys_thread_join(t);
    CHECK_EQ(last_of(s.kv), 3);
    /* Now and then 0.3 s, as when LevelDB compacts. */
    sim_disk_stalls(1, "/test/s", 20, 300 * SYS_MS);
    int slow = 0, fast = 0;
    for (int i = 1; i <= 200; i++) {
        int64_t before = sys_now();
        CHECK_OK(write_batch(s.kv, 4, false));
        int64_t took = sys_now() - before;
        slow += took > 10 * SYS_MS;
        fast += took < SYS_MS;
        CHECK(took < 1000 * SYS_MS);
    }
    CHECK(slow >= 3 && slow <= 40 && fast >= 150);
    sim_disk_stalls(1, "/test/s", 0, 0);
    kv_close(s.kv);
}

static const struct test tests[] = {
    {"outside: any subset of what is not synced", any_subset},
    {"outside: crashes everywhere", crashes_everywhere},
    {"failures stay", failures_stay},
    {"stalls", stalls},
    {0},
};
SUITE("kv crash", tests)
