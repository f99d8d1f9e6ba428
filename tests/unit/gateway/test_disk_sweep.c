/* PUT and GET through a gateway over real shard stores, with one file call of one disk failing: the
 * first, the second, .. until a run is clean. 200: it can be read, also after everything has crashed at
 * once. An error: nothing is visible, and no shard stays on the disks that work but for a few, which
 * are counted. The next PUT goes well. */
#include "tests/unit/gateway/gateway_kit.h"

enum { SIZE = 300000 };
#define PATIENCE (60 * SYS_SECOND)

struct bench {
    struct world w;
    struct world_test t;
    struct gateway *g;
    uint8_t *bytes;
    unsigned refused, answered; /* PUTs under a fault */
    uint64_t strays;
};

static void bench_open(struct bench *b)
{
    memset(&b->t, 0, sizeof b->t);
    world_start(&b->w);
    world_open(&b->t, &b->w);
    b->g = kit_open(&b->t);
}

/* The hosts' disks are as new afterwards. */
static void bench_close(struct bench *b)
{
    gateway_free(b->g);
    world_client_close(&b->t.c);
    world_stop(&b->w);
    CHECK_OK(sim_disk_wipe(WORLD_METADATA_HOST, "/metadata"));
    for (unsigned i = 1; i <= b->w.chunk_count; i++)
        CHECK_OK(sim_disk_wipe(WORLD_CHUNK_HOST + i, "/disk"));
}

static int put(struct bench *b, const char *target)
{
    return kit_send(b->g, "PUT", target, NULL, 0, b->bytes, SIZE, NULL);
}

/* The status; 0 when the bytes are wrong. */
static int get(struct bench *b, const char *target)
{
    struct http_memory answer;
    int status = kit_send(b->g, "GET", target, NULL, 0, NULL, 0, &answer);
    bool same = answer.answer_body_n == SIZE && memcmp(answer.answer_body, b->bytes, SIZE) == 0;
    http_memory_release(&answer);
    return status == 200 && !same ? 0 : status;
}

/* As an SDK does it. */
static int in_time(struct bench *b, const char *target, int (*one)(struct bench *, const char *))
{
    int64_t until = sys_now() + PATIENCE;
    int status = one(b, target);
    while (status >= 500 && sys_now() < until) {
        sys_sleep_until(sys_now() + 300 * SYS_MS);
        world_refresh(&b->t); /* as a gateway's heartbeats do */
        status = one(b, target);
    }
    return status;
}

static void crash_all(struct bench *b)
{
    for (unsigned i = 0; i < b->w.chunk_count; i++)
        sim_crash(b->w.chunk_pid[i]);
    sim_crash(b->w.metadata_pid);
    for (unsigned i = 0; i < b->w.chunk_count; i++)
        sim_restart(b->w.chunk_pid[i]);
    sim_restart(b->w.metadata_pid);
}

/* A disk that has given itself up is replaced by an empty one. */
static void give_another(struct bench *b, unsigned number)
{
    sys_sleep_until(sys_now() + SYS_SECOND); /* a few heartbeats */
    world_refresh(&b->t);
    const struct cluster_map *map = map_cache_ref(b->t.c.map);
    bool failed = cluster_map_disk(map, world_disk_of(&b->t, number))->admin == DISK_FAILED;
    map_cache_unref(b->t.c.map, map);
    if (!failed)
        return;
    sim_crash(b->w.chunk_pid[number - 1]);
    CHECK_OK(sim_disk_wipe(WORLD_CHUNK_HOST + number, "/disk"));
    sim_restart(b->w.chunk_pid[number - 1]);
}

/* One PUT while the nth call of a disk fails; true: none did. */
static bool one_put(struct bench *b, unsigned disk, uint64_t nth, bool sticky)
{
    uint32_t host = WORLD_CHUNK_HOST + disk;
    bench_open(b);
    uint64_t before = sim_disk_primitives(host);
    sim_disk_fail(host, "/disk", nth, sticky ? ERR_NO_SPACE : ERR_IO, sticky);
    int status = put(b, "/test/key");
    if (sim_disk_primitives(host) - before < nth) /* then one of the flush after it */
        sys_sleep_until(sys_now() + 1500 * SYS_MS);
    bool clean = sim_disk_primitives(host) - before < nth;
    sim_disk_fail(host, "/disk", 0, OK, false);
    if (status == 200) {
        b->answered++;
        crash_all(b);
        int read = in_time(b, "/test/key", get);
        suite_check(read == 200, __FILE__, __LINE__, "disk %u call %" PRIu64 ": 200, then %d", disk,
                    nth, read);
    } else {
        b->refused++;
        CHECK_EQ(status, 503);
        CHECK_EQ(get(b, "/test/key"), 404);
        uint64_t kept = kit_shards(&b->t);
        b->strays += kept;
    }
    give_another(b, disk);
    CHECK_EQ(in_time(b, "/test/next", put), 200);
    CHECK_EQ(in_time(b, "/test/next", get), 200);
    CHECK_EQ(buf_pool_stats(b->t.c.io.buffers).used_bytes, 0);
    bench_close(b);
    return clean;
}

static void every_put(unsigned k, unsigned m, unsigned disks, bool sticky)
{
    struct bench b = {.w = {.chunk_count = 3, .k = k, .m = m, .pg_bits = 2}};
    b.bytes = sys_alloc(SIZE);
    world_fill(1, 0, b.bytes, SIZE);
    unsigned nth = 0;
    for (unsigned disk = 1; disk <= disks; disk++) {
        bool clean = false;
        for (nth = 1; !clean && nth < 200; nth++)
            clean = one_put(&b, disk, nth, sticky);
        CHECK(clean);
    }
    CHECK(b.refused + b.answered > 8 * disks);
    /* A shard whose commit came after its delete stays, unknown to metadata; without deletes two of
     * each refused PUT would. */
    suite_check(b.strays <= b.refused / 3, __FILE__, __LINE__, "%" PRIu64 " strays of %u", b.strays,
                b.refused);
    CHECK_EQ(m == 1, b.refused > 0); /* with m = 1 all three must be durable (hazard 8) */
    sys_free(b.bytes);
}

static void put_with_all(void)
{
    every_put(2, 1, 3, false);
}
static void put_with_two(void)
{
    every_put(1, 2, 1, false);
}
static void put_sticky(void)
{
    every_put(1, 2, 1, true);
}

static void every_get(void)
{
    struct bench b = {.w = {.chunk_count = 3, .k = 2, .m = 1, .pg_bits = 2}};
    unsigned harmed = 0;
    b.bytes = sys_alloc(SIZE);
    world_fill(1, 0, b.bytes, SIZE);
    bench_open(&b);
    CHECK_EQ(put(&b, "/test/key"), 200);
    for (unsigned disk = 1; disk <= 3; disk++)
        for (unsigned sticky = 0; sticky < 2; sticky++) {
            uint32_t host = WORLD_CHUNK_HOST + disk;
            bool clean = false;
            for (uint64_t nth = 1; !clean && nth < 100; nth++) {
                CHECK(world_wait_healed(&b.t, PATIENCE));
                uint64_t before = sim_disk_primitives(host);
                sim_disk_fail_kinds(host, "/disk", SIM_DISK_READ, nth, ERR_IO, sticky);
                int status = get(&b, "/test/key");
                suite_check(status == 200, __FILE__, __LINE__, "disk %u read %" PRIu64 ": %d", disk,
                            nth, status);
                clean = sim_disk_primitives(host) - before < nth;
                harmed += !clean;
                sim_disk_fail_kinds(host, "/disk", SIM_DISK_READ, 0, OK, false);
                CHECK_EQ(buf_pool_stats(b.t.c.io.buffers).used_bytes, 0);
            }
            CHECK(clean);
        }
    CHECK(harmed >= 4);
    CHECK(world_wait_healed(&b.t, PATIENCE));
    struct world_health h = world_health(&b.t);
    CHECK_EQ(h.chunks, 1);
    CHECK_EQ(h.bad_shards, 0);
    bench_close(&b);
    sys_free(b.bytes);
}

static const struct test tests[] = {
    {"every call of a PUT that needs all disks", put_with_all},
    {"every call of a PUT that can spare one", put_with_two},
    {"every call of a PUT fails from then on", put_sticky},
    {"every read of a GET", every_get},
    {0},
};
SUITE("disk sweep", tests)
