/* Moves and repairs with one thing failing: the first, the second, .. file call of each disk that takes
 * part, each use of a connection, each bound of buffers and writers, until a run is clean. However it
 * fails: the work ends by itself once the fault is over, every object is as it was, every slot has one
 * holder and every shard verifies there, no shard is left beside them and no row, and the processes
 * leave nothing behind. */
#include "tests/unit/chunkserver_service/objects_kit.h"

enum { OBJECTS = 2, SOURCE = 1, TARGET = 4 };
#define PATIENCE (120 * SYS_SECOND)
static const uint32_t sizes[OBJECTS] = {300000, 5000};

struct bench {
    struct world w;
    struct world_test t;
    uint32_t objects;
};

/* What a failing call did not reach, it does not fail. */
struct fault {
    unsigned disk; /* its chunkserver's number; 0: none */
    uint64_t nth;
    bool sticky;
};

static void bench_open(struct bench *b, uint32_t k, uint32_t m)
{
    memset(b, 0, sizeof *b);
    b->w = (struct world){.chunk_count = 3, .k = k, .m = m, .pg_bits = 2};
    world_start(&b->w);
    world_open(&b->t, &b->w);
}

/* The hosts' disks are as new afterwards. */
static void bench_close(struct bench *b)
{
    world_client_close(&b->t.c);
    world_stop(&b->w);
    CHECK_OK(sim_disk_wipe(WORLD_METADATA_HOST, "/metadata"));
    for (unsigned i = 1; i <= b->w.chunk_count; i++)
        CHECK_OK(sim_disk_wipe(WORLD_CHUNK_HOST + i, "/disk"));
}

static uint32_t size_of(uint32_t number)
{
    return sizes[number % OBJECTS];
}

static bool knows(struct bench *b, unsigned number)
{
    world_refresh(&b->t);
    return world_disk_of(&b->t, number) != 0;
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
    sys_sleep_until(sys_now() + SYS_SECOND);
}

static void strike(const struct fault *f)
{
    if (f->disk)
        sim_disk_fail(WORLD_CHUNK_HOST + f->disk, "/disk", f->nth, ERR_IO, f->sticky);
}

static void fault_over(const struct fault *f)
{
    if (f->disk)
        sim_disk_fail(WORLD_CHUNK_HOST + f->disk, "/disk", 0, OK, false);
}

/* Shards on all disks that are up, as these report them. */
static uint64_t shards_kept(struct bench *b)
{
    struct arena arena;
    ProtobufCMessage *reply = NULL;
    uint64_t n = 0;
    arena_init(&arena);
    sys_sleep_until(sys_now() + SYS_SECOND); /* a few heartbeats */
    const struct request_context request = world_ask();
    CHECK_OK(metadata_call_leader(b->t.c.metadata, &request, MSG_REPORTS, NULL, &arena, &reply));
    const Reports *reports = (const Reports *)reply;
    const struct cluster_map *map = map_cache_ref(b->t.c.map);
    for (size_t i = 0; reports && i < reports->n_heartbeats; i++)
        for (size_t d = 0; d < reports->heartbeats[i]->n_disks; d++) {
            const DiskReport *one = reports->heartbeats[i]->disks[d];
            const struct cluster_disk *disk = cluster_map_disk(map, (disk_id)one->id);
            n += disk && disk->up && disk->admin != DISK_FAILED ? one->shards : 0;
        }
    map_cache_unref(b->t.c.map, map);
    arena_release(&arena);
    return n;
}

/* How many of the shards of known chunks there are on disks that answer, whoever holds them now. */
static uint64_t shards_known(struct bench *b)
{
    uint64_t n = 0;
    const struct cluster_map *map = map_cache_ref(b->t.c.map);
    for (uint32_t pg = 0; pg < 1u << b->w.pg_bits; pg++) {
        struct arena arena;
        ListChunks list = LIST_CHUNKS__INIT;
        Query query = QUERY__INIT;
        Answer *answer = NULL;
        arena_init(&arena);
        list.pool = b->t.pool;
        list.pg = pg;
        list.max = 1000;
        query.body_case = QUERY__BODY_LIST_CHUNKS;
        query.list_chunks = &list;
        CHECK_OK(world_query(&b->t, &query, &arena, &answer));
        for (size_t i = 0; answer && i < answer->n_chunks; i++)
            for (size_t s = 0; s < map->disk_count * (b->w.k + b->w.m); s++) {
                const struct cluster_disk *d = &map->disks[s % map->disk_count];
                struct shard_id id = {.index = (uint8_t)(s / map->disk_count)};
                uint64_t nonce;
                chunk_id_decode(answer->chunks[i]->chunk_id.data, &id.chunk);
                n += d->up && d->admin != DISK_FAILED &&
                     world_verify(&b->t, d->id, &id, &nonce) == OK &&
                     nonce == answer->chunks[i]->nonce;
            }
        arena_release(&arena);
    }
    map_cache_unref(b->t.c.map, map);
    return n;
}

/* Former holders keep their copies; nothing else is beside the shards of the holders. */
static void judge(struct bench *b, const char *what, const struct fault *f)
{
    suite_check(world_wait_healed(&b->t, PATIENCE), __FILE__, __LINE__,
                "%s: disk %u, %" PRIu64 ": does not end", what, f->disk, f->nth);
    struct world_health h = world_health(&b->t);
    suite_check(
        h.chunks == b->objects && h.bad_shards == 0 && h.moving_slots == 0 && h.repair_rows == 0,
        __FILE__, __LINE__, "%s: disk %u, %" PRIu64 ": %u chunks, %u bad, %u moving, %u rows", what,
        f->disk, f->nth, h.chunks, h.bad_shards, h.moving_slots, h.repair_rows);
    uint64_t kept = shards_kept(b), known = shards_known(b);
    suite_check(kept == known, __FILE__, __LINE__,
                "%s: disk %u, %" PRIu64 ": %" PRIu64 " shards, %" PRIu64 " known", what, f->disk,
                f->nth, kept, known);
    for (uint32_t i = 0; i < b->objects; i++)
        CHECK_OK(world_get(&b->t, i, size_of(i)));
    CHECK_EQ(buf_pool_stats(b->t.c.io.buffers).used_bytes, 0);
}

/* ---- moves ---- */

static void put_all(struct bench *b)
{
    for (; b->objects < OBJECTS; b->objects++)
        CHECK_OK(world_put(&b->t, b->objects, size_of(b->objects)));
    CHECK(world_wait_healed(&b->t, PATIENCE));
}

/* A fourth chunkserver comes, with these bounds, and is there when this returns. */
static void join(struct bench *b, struct world_bounds bounds)
{
    b->w.chunk[TARGET - 1].bounds = bounds;
    world_start_chunk(&b->w, TARGET - 1);
    b->w.chunk_count = TARGET;
    for (unsigned i = 0; i < 100 && !knows(b, TARGET); i++)
        sys_sleep_until(sys_now() + 50 * SYS_MS);
    CHECK(knows(b, TARGET));
}

/* True: nothing failed. */
static bool one_move(struct bench *b, const struct fault *f)
{
    uint32_t host = WORLD_CHUNK_HOST + f->disk;
    bench_open(b, 2, 1);
    put_all(b);
    join(b, (struct world_bounds){0});
    uint64_t before = sim_disk_primitives(host);
    strike(f);
    CHECK_OK(world_set_disk(&b->t, world_disk_of(&b->t, SOURCE), DISK_DRAINING));
    if (f->sticky)
        sys_sleep_until(sys_now() + 5 * SYS_SECOND);
    else
        (void)world_wait_healed(&b->t, 5 * SYS_SECOND);
    bool clean = sim_disk_primitives(host) - before < f->nth;
    fault_over(f);
    give_another(b, f->disk);
    judge(b, "a move", f);
    bench_close(b);
    return clean;
}

static void every_call_of_a_move(unsigned disk, bool sticky)
{
    struct bench b;
    bool clean = false;
    struct fault f = {.disk = disk, .sticky = sticky};
    for (f.nth = 1; !clean && f.nth < 200; f.nth++)
        clean = one_move(&b, &f);
    suite_check(clean && f.nth > 3, __FILE__, __LINE__, "clean %d at %" PRIu64, clean, f.nth);
}

static void move_source(void)
{
    every_call_of_a_move(SOURCE, false);
}
static void move_target(void)
{
    every_call_of_a_move(TARGET, false);
}
static void move_sticky(void)
{
    every_call_of_a_move(TARGET, true);
}

static void widen(struct bench *b)
{
    int pid = b->w.chunk_pid[TARGET - 1];
    b->w.chunk[TARGET - 1].bounds = (struct world_bounds){0};
    sim_stop(pid);
    for (int i = 0; i < 1000 && sim_alive(pid); i++)
        sys_sleep_until(sys_now() + 20 * SYS_MS);
    struct sim_leaks l = sim_leaks(pid);
    CHECK_EQ(l.blocks + l.threads + l.sockets + l.events + l.files, 0);
    sim_restart(pid);
}

/* The lost disk's shards are decoded by a chunkserver of narrow bounds. What it cannot do, it stops in
 * the middle of, and does once it is started again with wider ones. True: it needed no more. */
static bool one_bound(struct world_bounds bounds, unsigned n)
{
    struct bench b;
    const struct fault none = {.nth = n};
    bench_open(&b, 2, 1);
    put_all(&b);
    disk_id lost = world_disk_of(&b.t, SOURCE);
    sim_crash(b.w.chunk_pid[SOURCE - 1]);
    CHECK_OK(world_set_disk(&b.t, lost, DISK_FAILED));
    join(&b, bounds); /* the only one that can take the lost disk's slots */
    sys_sleep_until(sys_now() + 3 * SYS_SECOND);
    bool enough = world_wait_healed(&b.t, 10 * SYS_SECOND);
    if (!enough)
        widen(&b);
    judge(&b, "bounds", &none);
    bench_close(&b);
    return enough;
}

/* Decoding takes a buffer for each of k shards and one for what comes out; four work at once. */
static void every_bound(void)
{
    for (unsigned n = 1; n <= 6; n++)
        CHECK_EQ(one_bound((struct world_bounds){.buffer_bytes = (size_t)n * BUF_LARGE}, n),
                 n >= 3);
    for (unsigned n = 1; n <= 4; n++) {
        CHECK(one_bound((struct world_bounds){.writers_max = n}, n));
        CHECK(one_bound((struct world_bounds){.staging_max = n}, n));
    }
}

/* ---- repairs ---- */

/* An object of which one disk could not take its shard. */
static void put_short(struct bench *b, unsigned without)
{
    uint32_t host = WORLD_CHUNK_HOST + without;
    sim_disk_fail_kinds(host, "/disk/extents", SIM_DISK_WRITE, 1, ERR_IO, true);
    CHECK_OK(world_put(&b->t, b->objects, size_of(b->objects)));
    b->objects++;
    sim_disk_fail_kinds(host, "/disk/extents", SIM_DISK_WRITE, 0, OK, false);
}

static bool one_repair(struct bench *b, const struct fault *f)
{
    uint32_t host = WORLD_CHUNK_HOST + f->disk;
    bench_open(b, 1, 2);
    put_short(b, 2);
    CHECK_EQ(world_repair_rows(&b->t), 1);
    uint64_t before = sim_disk_primitives(host);
    strike(f);
    if (f->sticky)
        sys_sleep_until(sys_now() + 5 * SYS_SECOND);
    else
        (void)world_wait_healed(&b->t, 5 * SYS_SECOND);
    bool clean = sim_disk_primitives(host) - before < f->nth;
    fault_over(f);
    give_another(b, f->disk);
    judge(b, "a repair", f);
    bench_close(b);
    return clean;
}

static void every_call_of_a_repair(void)
{
    struct bench b;
    for (unsigned disk = 1; disk <= 3; disk++) {
        bool clean = false;
        struct fault f = {.disk = disk};
        for (f.nth = 1; !clean && f.nth < 200; f.nth++)
            clean = one_repair(&b, &f);
        suite_check(clean && f.nth > 2, __FILE__, __LINE__, "clean %d at %" PRIu64, clean, f.nth);
    }
}

/* Each use of a connection by each of the chunkservers, heartbeats and all; in one world. */
static void every_connection_of_a_repair(void)
{
    struct bench b;
    uint64_t uses = 0;
    bench_open(&b, 1, 2);
    for (unsigned number = 1; number <= 3; number++) {
        int pid = b.w.chunk_pid[number - 1];
        bool clean = false;
        struct fault f = {.nth = 1};
        for (; !clean && f.nth < 500; f.nth++) {
            put_short(&b, 2);
            sim_network_fail(pid, f.nth);
            suite_check(world_wait_healed(&b.t, PATIENCE), __FILE__, __LINE__,
                        "use %" PRIu64 " of %u: does not end", f.nth, number);
            clean = sim_network_fail_left(pid) > 0;
            sim_network_fail(pid, 0);
        }
        suite_check(clean, __FILE__, __LINE__, "still at %" PRIu64, f.nth);
        uses += f.nth;
    }
    CHECK(uses > 30); /* most are those of the two that have something to do with it */
    const struct fault none = {0};
    judge(&b, "connections", &none);
    bench_close(&b);
}

static const struct test tests[] = {
    {"a move: every call of the source's disk", move_source},
    {"a move: every call of the target's disk", move_target},
    {"a move: every call of the target's disk and all after it", move_sticky},
    {"a rebuild: every bound", every_bound},
    {"a repair: every call of every disk", every_call_of_a_repair},
    {"a repair: every use of a connection", every_connection_of_a_repair},
    {0},
};
SUITE("heal sweep", tests)
