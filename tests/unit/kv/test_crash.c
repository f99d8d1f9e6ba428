/* What crashes and failing disks do to the store in memory: K1 to K4 of kv.h under the simulated
 * disk, which keeps any subset of the 512-byte sectors that were not synced. */
#include "tests/unit/suite.h"
#include <stdio.h>
#include "common/kv/kv.h"
#include "common/sys/sim/sim.h"
#include "common/sys/sys.h"

enum { HOST = 2, BATCHES_MAX = 400, BATCHES_PER_LIFE = 40, BIG = 12000 };

/* Lives in the test's process: what the dying ones have done. */
struct history {
    uint64_t random;
    unsigned started;              /* batches 1 .. started were given to kv_write */
    bool synced[BATCHES_MAX + 1];  /* K2: answered OK with sync, or seen by an earlier life (M3) */
    bool gone[BATCHES_MAX + 1];    /* an earlier life has seen that it is lost: it stays so */
    bool big;                      /* with values that make the log outgrow what lives */
    unsigned lives, opens, closed; /* how often the interesting happened */
    unsigned lost, holes;          /* batches gone; gone with a later one there */
    unsigned overtaken;            /* gone with a later one that was answered as synced */
};

static uint64_t next_random(uint64_t *x)
{
    *x = *x * 6364136223846793005u + 1442695040888963407u;
    return *x >> 33;
}

static struct kv_slice text(const char *s)
{
    return (struct kv_slice){s, strlen(s)};
}

/* The number under a key; 0: none. */
static unsigned number_at(struct kv *kv, const char *format, unsigned i)
{
    char key[32];
    void *value;
    size_t n;
    unsigned number = 0;
    snprintf(key, sizeof key, format, i);
    enum err e = kv_get(kv, NULL, text(key), &value, &n);
    if (e == OK && CHECK(n >= sizeof number))
        memcpy(&number, value, sizeof number);
    else
        CHECK_ERR(e, ERR_NOT_FOUND);
    sys_free(value);
    return number;
}

static void verify(struct history *h, struct kv *kv)
{
    unsigned last = 0, newest_lost = 0, last_synced = h->started;
    while (last_synced > 0 && !h->synced[last_synced])
        last_synced--;
    for (unsigned i = 1; i <= h->started; i++) {
        unsigned a = number_at(kv, "%04u-a", i), b = number_at(kv, "%04u-b", i);
        suite_check(a == b && (a == 0 || a == i), __FILE__, __LINE__, "batch %u: whole (%u, %u)", i,
                    a, b);
        suite_check(a == i || !h->synced[i], __FILE__, __LINE__, "batch %u of %u was synced", i,
                    h->started);
        suite_check(a == 0 || !h->gone[i], __FILE__, __LINE__, "batch %u was lost before", i);
        if (a) {
            last = i;
            h->holes += newest_lost != 0;
            newest_lost = 0;
        } else if (!h->gone[i]) {
            h->gone[i] = true;
            newest_lost = i;
            h->lost++;
            h->overtaken += i < last_synced;
        }
        h->synced[i] = a != 0; /* what a life has seen stays */
    }
    /* Overwritten by every batch: replayed in order. */
    CHECK_EQ(number_at(kv, "last", 0), last);
    CHECK_EQ(number_at(kv, "%04u-a", h->started + 1), 0);
}

static void store_main(void *arg)
{
    struct history *h = arg;
    struct kv *kv = NULL;
    h->lives++;
    if (!CHECK_OK(kv_open("/store", NULL, &kv)))
        return;
    h->opens++;
    verify(h, kv);
    struct kv_batch *b = kv_batch_new();
    uint8_t value[BIG] = {0};
    unsigned most = h->started + BATCHES_PER_LIFE;
    while (h->started < most && h->started < BATCHES_MAX) {
        unsigned i = ++h->started;
        char key[32];
        struct kv_slice v = {value, sizeof i + next_random(&h->random) % 900};
        memcpy(value, &i, sizeof i);
        kv_batch_clear(b);
        snprintf(key, sizeof key, "%04u-a", i);
        kv_batch_put(b, text(key), v);
        kv_batch_put(b, text("last"), v);
        if (h->big)
            kv_batch_put(b, text("big"), (struct kv_slice){value, BIG});
        snprintf(key, sizeof key, "%04u-b", i);
        kv_batch_put(b, text(key), v);
        bool sync = next_random(&h->random) % 4 == 0;
        CHECK_OK(kv_write(kv, b, sync));
        h->synced[i] = sync;
    }
    kv_batch_free(b);
    kv_close(kv);
    h->closed++;
}

/* Lives that end at a random primitive or close in order, then a last look. */
static void one_history(struct history *h)
{
    int pid = sim_spawn("store", HOST, store_main, h);
    for (int life = 0; life < 9; life++) {
        if (life < 7 && next_random(&h->random) % 5)
            sim_crash_at(pid, 1 + next_random(&h->random) % (life % 2 ? 60 : 900));
        for (int i = 0; i < 10000 && sim_alive(pid); i++)
            sys_sleep_until(sys_now() + SYS_MS);
        if (!CHECK(!sim_alive(pid)))
            return;
        if (life < 8)
            sim_restart(pid);
    }
    CHECK(sim_disk_wipe(HOST, "/") == OK);
}

static void crashes(bool big)
{
    uint64_t random = suite_seed();
    struct history sum = {0};
    for (int round = 0; round < 35; round++) {
        struct history h = {.random = random + (uint64_t)round * 7919, .big = big};
        one_history(&h);
        sum.lost += h.lost;
        sum.holes += h.holes;
        sum.overtaken += h.overtaken;
        sum.opens += h.opens;
        sum.lives += h.lives;
        sum.closed += h.closed;
    }
    /* The schedules that matter did happen. */
    CHECK(sum.lost > 10);
    CHECK(sum.holes > 4);
    CHECK(sum.overtaken > 2);
    CHECK(sum.lives > sum.opens && sum.opens > sum.closed && sum.closed > 35);
}

static void any_subset_of_unsynced_batches(void)
{
    crashes(false);
}

static void crashes_while_the_log_is_rewritten(void)
{
    crashes(true);
}

/* ---- the nth call on the disk fails, for every n ---- */

/* Opens, writes six batches, every other one synced. Returns whether all went well; *synced: the last batch
 * that was answered with OK and synced. */
static bool write_six(unsigned *synced, enum err injected)
{
    struct kv *kv = NULL;
    enum err failed = kv_open("/test/s", NULL, &kv);
    *synced = 0;
    if (failed) {
        CHECK(kv == NULL);
        CHECK_ERR(failed, injected);
        return false;
    }
    struct kv_batch *b = kv_batch_new();
    for (unsigned i = 1; i <= 6; i++) {
        char key[16];
        uint8_t value[2000] = {0};
        memcpy(value, &i, sizeof i);
        kv_batch_clear(b);
        snprintf(key, sizeof key, "%04u-a", i);
        kv_batch_put(b, text(key), (struct kv_slice){value, sizeof value});
        enum err e = kv_write(kv, b, i % 2 == 0);
        if (failed)
            CHECK_ERR(e, failed); /* K4 */
        else if (e)
            CHECK_ERR(e, injected);
        else if (i % 2 == 0)
            *synced = i;
        /* Reading goes on, without what failed. */
        CHECK_EQ(number_at(kv, "%04u-a", i), e ? 0 : i);
        failed = failed ? failed : e;
    }
    kv_batch_free(b);
    kv_close(kv);
    return !failed;
}

static void every_failing_call(enum err injected)
{
    bool clean = false;
    unsigned n = 1, refused = 0;
    for (; n < 200 && !clean; n++) {
        unsigned synced = 0;
        uint64_t before = sim_disk_primitives(1);
        sim_disk_fail(1, "/test/s", n, injected, false);
        bool went_well = write_six(&synced, injected);
        clean = went_well && sim_disk_primitives(1) - before < n;
        refused += !went_well;
        sim_disk_fail(1, "/test/s", 0, injected, false);
        struct kv *kv = NULL;
        if (CHECK_OK(kv_open("/test/s", NULL, &kv))) {
            for (unsigned i = 2; i <= synced; i += 2)
                CHECK_EQ(number_at(kv, "%04u-a", i), i);
            kv_close(kv);
        }
        CHECK_OK(kv_destroy("/test/s"));
    }
    CHECK(clean);
    CHECK(refused > 10);
}

static void failed_writes_are_sticky(void)
{
    every_failing_call(ERR_IO);
    every_failing_call(ERR_NO_SPACE);
}

/* ---- memory: old versions go with the snapshots that held them ---- */

static void overwrite(struct kv *kv, unsigned rounds)
{
    struct kv_batch *b = kv_batch_new();
    uint8_t value[1000] = {0};
    for (unsigned i = 0; i < rounds; i++) {
        char key[16];
        snprintf(key, sizeof key, "%04u-a", i % 10);
        kv_batch_clear(b);
        kv_batch_put(b, text(key), (struct kv_slice){value, sizeof value});
        CHECK_OK(kv_write(kv, b, true));
    }
    kv_batch_free(b);
}

static void old_versions_go_with_their_snapshots(void)
{
    struct kv *kv = NULL;
    CHECK_OK(kv_open("/test/s", NULL, &kv));
    overwrite(kv, 10);
    uint64_t least = sim_leaks(sim_self()).bytes;
    overwrite(kv, 100);
    CHECK(sim_leaks(sim_self()).bytes < least + 100);
    struct kv_snapshot *snapshots[3];
    for (int i = 0; i < 3; i++) {
        snapshots[i] = kv_snapshot_new(kv);
        overwrite(kv, 100);
    }
    CHECK(sim_leaks(sim_self()).bytes > least + 30000);
    CHECK(sim_leaks(sim_self()).bytes < least + 40000);
    kv_snapshot_free(kv, snapshots[1]);
    kv_snapshot_free(kv, snapshots[0]);
    kv_snapshot_free(kv, snapshots[2]);
    CHECK(sim_leaks(sim_self()).bytes < least + 100);
    kv_close(kv);
}

/* ---- rot ---- */

static void rot_below_the_synced_end_is_noticed(void)
{
    struct kv *kv = NULL;
    unsigned synced;
    /* The file's header, a record's header, its payload: before the end that later ones know. */
    static const uint64_t places[] = {0, 9, 17, 25, 300, 512, 517, 521, 530, 537, 560, 2000};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        CHECK(write_six(&synced, OK));
        CHECK_OK(sim_disk_flip(1, "/test/s/log", places[i], 0x10));
        suite_check(kv_open("/test/s", NULL, &kv) == ERR_CORRUPT, __FILE__, __LINE__,
                    "a flip at %" PRIu64 " is noticed", places[i]);
        CHECK_OK(sim_disk_flip(1, "/test/s/log", places[i], 0x10));
        CHECK_OK(kv_open("/test/s", NULL, &kv));
        CHECK_EQ(number_at(kv, "%04u-a", 6), 6);
        kv_close(kv);
        CHECK_OK(kv_destroy("/test/s"));
    }
}

static const struct test tests[] = {
    {"any subset of unsynced batches", any_subset_of_unsynced_batches},
    {"crashes while the log is rewritten", crashes_while_the_log_is_rewritten},
    {"failed writes are sticky", failed_writes_are_sticky},
    {"old versions go with their snapshots", old_versions_go_with_their_snapshots},
    {"rot below the synced end is noticed", rot_below_the_synced_end_is_noticed},
    {0},
};
SUITE("kv crash", tests)
