/* The disk's process dies at a primitive of a mixed workload; the disk loses what was not synced.
 * Afterwards, with the index as it is and again with the index lost: every acknowledged shard is
 * equal, none is half there. */
#include "common/sys/sim/sim.h"
#include "tests/unit/chunkserver/store_kit.h"

enum { THREADS = 3, EACH = 8, SHARDS = THREADS * EACH, DISK_HOST = 2, RUNS_MAX = 40 };

enum fate { UNKNOWN, ACKED, DELETED, GONE }; /* GONE: deleted, and flushed since */

/* In the test's memory: it survives the disk's process. */
struct ledger {
    char dir[32];
    uint8_t fate[SHARDS];
    bool finished, lose_index;
    bool rebuilt; /* once at least: deleted ones may be back */
    uint64_t crash_at;
};

struct hand {
    struct ledger *ledger;
    struct shard_store *store;
    uint32_t number;
};

static uint32_t length_of(uint32_t number)
{
    static const uint32_t lengths[EACH] = {300, 70000, 5000, 600000, 64000, 20000, 131072, 1};
    return lengths[number % EACH];
}

static void hand_main(void *arg)
{
    struct hand *h = arg;
    for (uint32_t i = 0; i < EACH; i++) {
        uint32_t number = h->number * EACH + i;
        CHECK_OK(kit_write(h->store, number, length_of(number)));
        h->ledger->fate[number] = ACKED;
        if (i % 3 == 2) {
            h->ledger->fate[number - 1] = DELETED;
            CHECK_OK(kit_delete(h->store, number - 1));
        }
        if (i % 3 == 1 && h->number == 1) {
            uint8_t before[SHARDS];
            memcpy(before + EACH, h->ledger->fate + EACH, EACH);
            CHECK_OK(shard_store_flush(h->store, KIT_DEADLINE));
            /* What its delete had not been answered for might still be on its way. */
            for (uint32_t k = EACH; k < 2 * EACH; k++)
                if (before[k] == DELETED)
                    h->ledger->fate[k] = GONE;
        }
    }
}

static void work_main(void *arg)
{
    struct ledger *l = arg;
    struct hand hands[THREADS];
    struct sys_thread *threads[THREADS];
    struct shard_store_config c = kit_config(l->dir);
    c.extent_bytes = 2 << 20;
    c.staging_max = 4;
    struct shard_store *s = NULL;
    CHECK_OK(shard_store_open(&s, &c));
    for (uint32_t i = 0; i < THREADS; i++) {
        hands[i] = (struct hand){l, s, i};
        CHECK_OK(sys_thread_start(&threads[i], "hand", 0, hand_main, &hands[i]));
    }
    for (int i = 0; i < THREADS; i++)
        sys_thread_join(threads[i]);
    shard_store_close(s);
    l->finished = true;
}

static void check_main(void *arg)
{
    struct ledger *l = arg;
    uint32_t found = 0;
    l->rebuilt |= l->lose_index;
    if (l->lose_index)
        kit_lose_index(l->dir);
    struct shard_store *s = kit_open(l->dir);
    for (uint32_t i = 0; s && i < SHARDS; i++) {
        enum err e = kit_read(s, i, length_of(i), 0, length_of(i));
        found += e == OK;
        bool right = l->fate[i] == ACKED ? e == OK
                     : l->fate[i] == GONE && !l->rebuilt
                         ? e == ERR_NOT_FOUND
                         : e == OK || e == ERR_NOT_FOUND ||
                               /* its space was being given back when the crash came */
                               (e == ERR_CORRUPT && l->fate[i] >= DELETED && l->rebuilt);
        found += e == ERR_CORRUPT;
        suite_check(right, __FILE__, __LINE__,
                    "crash at %" PRIu64 "%s: shard %u, fate %d, reads %s", l->crash_at,
                    l->lose_index ? ", index lost" : "", i, l->fate[i], err_name(e));
    }
    CHECK_EQ(kit_count(s), found);
    struct shard_store_stats st;
    shard_store_stats(s, &st);
    CHECK_EQ(st.shards, found);
    CHECK(st.index_rebuilds >= (l->lose_index && found > 0));
    /* And it goes on from here. */
    CHECK_OK(kit_write(s, 1000 + l->lose_index, 100000));
    CHECK_OK(kit_read(s, 1000 + l->lose_index, 100000, 0, 100000));
    CHECK_OK(kit_delete(s, 1000 + l->lose_index));
    shard_store_close(s);
    l->finished = true;
}

static void format_main(void *arg)
{
    struct ledger *l = arg;
    CHECK_OK(sys_mkdir(l->dir));
    CHECK_OK(sys_dir_sync("/"));
    CHECK_OK(kit_format(l->dir));
}

static void run(const char *name, void (*main_function)(void *), struct ledger *l,
                uint64_t crash_at, uint64_t *points)
{
    int pid = sim_spawn(name, DISK_HOST, main_function, l);
    if (crash_at)
        sim_crash_at(pid, crash_at);
    while (sim_alive(pid))
        sys_sleep_until(sys_now() + SYS_MS);
    if (points)
        *points = sim_points(pid);
}

static void one(unsigned number, uint64_t crash_at, uint64_t *points, bool *finished)
{
    struct ledger l = {.crash_at = crash_at};
    snprintf(l.dir, sizeof(l.dir), "/disk%u", number);
    run("format", format_main, &l, 0, NULL);
    run("disk", work_main, &l, crash_at, points);
    *finished = l.finished;
    for (int lose = 0; lose < 2; lose++) {
        l.finished = false;
        l.lose_index = lose;
        run("check", check_main, &l, 0, NULL);
        suite_check(l.finished, __FILE__, __LINE__, "crash at %" PRIu64 ": no check", crash_at);
    }
    CHECK_OK(sim_disk_wipe(DISK_HOST, l.dir));
}

static void crash_anywhere(void)
{
    uint64_t total = 0;
    bool finished = false;
    one(0, 0, &total, &finished);
    CHECK(finished);
    uint64_t stride = total / RUNS_MAX + 1, at = 1 + suite_seed() % stride;
    for (unsigned i = 1; at < total + stride; i++, at += stride)
        one(i, at, NULL, &finished);
}

/* A crash while an open recovers from a crash. */
static void crash_in_recovery(void)
{
    uint64_t total = 0;
    bool finished = false;
    one(0, 0, &total, &finished);
    for (unsigned i = 1; i < 8; i++) {
        struct ledger l = {0};
        snprintf(l.dir, sizeof(l.dir), "/disk%u", i);
        run("format", format_main, &l, 0, NULL);
        run("disk", work_main, &l, total * 3 / 4, NULL);
        for (uint64_t again = 1; again < 4; again++) {
            l.lose_index = (i + again) % 3 == 0;
            run("check", check_main, &l, (i * 17 + again * 29) % 400 + 1, NULL);
        }
        for (int lose = 0; lose < 2; lose++) {
            l.lose_index = lose;
            run("check", check_main, &l, 0, NULL);
        }
        CHECK_OK(sim_disk_wipe(DISK_HOST, l.dir));
    }
}

/* Few primitives, so that each can be tried several times: what a crash takes differs. */
static void short_main(void *arg)
{
    struct ledger *l = arg;
    struct shard_store *s = kit_open(l->dir);
    for (uint32_t i = 3; i < 6; i++) { /* 600000, 64000, 20000 */
        CHECK_OK(kit_write(s, i, length_of(i)));
        l->fate[i] = ACKED;
    }
    shard_store_close(s);
    l->finished = true;
}

static void crash_around_commits(void)
{
    unsigned number = 0;
    bool finished = false;
    for (uint64_t at = 60 + suite_seed() % 4; !finished; at += 5) {
        for (int again = 0; again < 2; again++) {
            struct ledger l = {.crash_at = at};
            snprintf(l.dir, sizeof(l.dir), "/disk%u", number++);
            run("format", format_main, &l, 0, NULL);
            run("disk", short_main, &l, at, NULL);
            finished = l.finished;
            l.lose_index = again == 1;
            run("check", check_main, &l, 0, NULL);
            CHECK_OK(sim_disk_wipe(DISK_HOST, l.dir));
        }
    }
}

static void late_done(void *arg, enum err result)
{
    CHECK_OK(result);
    sys_event_set(arg);
}

/* A record whose place is below that of others which the index knows already. */
static void late_main(void *arg)
{
    struct ledger *l = arg;
    struct shard_store *s = kit_open(l->dir);
    struct stored_shard shard = kit_shard(3, length_of(3));
    struct shard_writer *w = NULL;
    uint8_t *data = sys_alloc(shard.length + 8);
    uint32_t crcs[16], table = 0;
    kit_fill(3, data, shard.length);
    for (uint32_t b = 0; b < shard_block_count(shard.length); b++) {
        uint32_t from = b * SHARD_BLOCK, n = shard.length - from;
        crcs[b] = shard_crc(&shard.id, b, data + from, n < SHARD_BLOCK ? n : SHARD_BLOCK);
        table = shard_crc_of_crcs(table, &crcs[b], 1);
    }
    CHECK_OK(shard_writer_open(s, &shard, &w));
    CHECK_OK(shard_writer_append(w, data, 8 * SHARD_BLOCK, crcs, KIT_DEADLINE));
    sys_sleep_until(sys_now() + 100 * SYS_MS);
    for (uint32_t i = 5; i < 8; i++) {
        CHECK_OK(kit_write(s, i, length_of(i)));
        l->fate[i] = ACKED;
    }
    CHECK_OK(kit_write(s, 1, length_of(1)));
    CHECK_OK(kit_delete(s, 1));
    CHECK_OK(shard_store_flush(s, KIT_DEADLINE));
    l->fate[1] = GONE;
    CHECK_OK(shard_writer_append(w, data + 8 * SHARD_BLOCK, shard.length - 8 * SHARD_BLOCK,
                                 crcs + 8, KIT_DEADLINE));
    struct sys_event *done = NULL;
    CHECK_OK(sys_event_new(&done));
    if (l->crash_at)
        sim_crash_at(sim_self(), l->crash_at);
    shard_writer_commit(w, table, late_done, done);
    struct sys_poll p = {.event = done};
    CHECK_OK(sys_poll(&p, 1, KIT_DEADLINE));
    l->fate[3] = ACKED;
    l->finished = true;
    sim_crash(sim_self());
}

static void late_commit(void)
{
    unsigned number = 0;
    /* 0: after the answer. Else before it: header and reservation are durable, of the last bytes
     * and the footer a crash leaves what it likes. */
    for (uint64_t at = 0; at < 60; at += 1 + suite_seed() % 3 + at / 20) {
        struct ledger l = {.crash_at = at};
        snprintf(l.dir, sizeof(l.dir), "/disk%u", number++);
        run("format", format_main, &l, 0, NULL);
        run("disk", late_main, &l, 0, NULL);
        CHECK(l.finished || at > 0);
        for (int lose = 0; lose < 2; lose++) {
            l.lose_index = lose;
            run("check", check_main, &l, 0, NULL);
        }
        CHECK_OK(sim_disk_wipe(DISK_HOST, l.dir));
    }
}

static const struct test tests[] = {
    {"a crash at any primitive", crash_anywhere},
    {"a crash in recovery", crash_in_recovery},
    {"a crash around commits", crash_around_commits},
    {"a late commit below the watermark", late_commit},
    {0},
};
SUITE("shard store, crashes", tests)
