/* Scrub: what is on a disk and what ought to be. Six disks in the test's own process (the embedded
 * form), so that the suite can look into the service. */
#include "chunkserver/scrub_internal.h"
#include "tests/unit/chunkserver_service/objects_kit.h"

enum { DISKS = 6, OBJECTS = 12, SIZE = 700000, TEST_HOST = 1 };
#define DAY (INT64_C(24) * 3600 * SYS_SECOND)

struct rig {
    struct world w;
    struct world_test t;
    struct chunk_service *s;
    uint64_t rate; /* of the next start */
    int64_t deep_every, light_every;
};

static void serve(struct rig *r)
{
    static const char *const directories[DISKS] = {"/test/d1", "/test/d2", "/test/d3",
                                                   "/test/d4", "/test/d5", "/test/d6"};
    struct shard_local local;
    const struct chunk_service_config config = {.directories = directories,
                                                .directory_count = DISKS,
                                                .cluster = world_uuid(9),
                                                .node = world_uuid(20),
                                                .map = r->t.c.map,
                                                .timeouts = r->t.c.timeouts,
                                                .store = {.extent_bytes = 8 << 20},
                                                .scrub_bytes_per_s = r->rate,
                                                .scrub_interval = r->deep_every,
                                                .sweep_interval = r->light_every};
    CHECK_OK(chunk_service_open(&config, &r->s));
    chunk_service_local(r->s, &local);
    world_client_io(&r->t.c, &local);
    CHECK_OK(chunk_service_start(r->s, "10.0.0.1:1", &r->t.c.io, r->t.c.metadata));
}

/* Passes come only by hand, unless something else is said. */
static void rig_open(struct rig *r)
{
    char directory[16];
    r->w = (struct world){.k = 4, .m = 2};
    if (!r->deep_every)
        r->deep_every = -1;
    if (!r->light_every)
        r->light_every = 1000 * DAY;
    world_start(&r->w);
    world_client_open(&r->t.c, RPC_CHUNK);
    for (unsigned i = 1; i <= DISKS; i++) {
        snprintf(directory, sizeof directory, "/test/d%u", i);
        CHECK_OK(sys_mkdir(directory));
    }
    serve(r);
    r->w.chunk_count = DISKS;
    world_furnish(&r->t, &r->w, DOMAIN_DISK);
    r->w.chunk_count = 0; /* none to stop */
}

static void rig_close(struct rig *r)
{
    chunk_service_stop(r->s);
    chunk_service_free(r->s);
    world_client_close(&r->t.c);
    world_stop(&r->w);
}

static void end(struct rig *r)
{
    chunk_service_stop(r->s);
    chunk_service_free(r->s);
    shard_client_free(r->t.c.shards);
    buf_pool_free(r->t.c.io.buffers);
    chunk_latency_free(r->t.c.io.latency);
}

static void restart(struct rig *r)
{
    end(r);
    serve(r);
}

static struct scrub_status status_of(struct rig *r, size_t disk)
{
    struct chunk_disk_status all[CHUNK_DISKS_MAX];
    CHECK_EQ(chunk_service_disks(r->s, all, CHUNK_DISKS_MAX), DISKS);
    return all[disk].scrub;
}

static uint64_t sum(struct rig *r, uint64_t (*field)(const struct scrub_status *))
{
    uint64_t n = 0;
    for (size_t i = 0; i < DISKS; i++) {
        struct scrub_status s = status_of(r, i);
        n += field(&s);
    }
    return n;
}

static uint64_t bad(const struct scrub_status *s)
{
    return s->bad;
}
static uint64_t gone(const struct scrub_status *s)
{
    return s->orphans;
}
static uint64_t kept(const struct scrub_status *s)
{
    return s->young;
}
static uint64_t lost(const struct scrub_status *s)
{
    return s->missing;
}

/* What is told of the placement groups, of all disks or one. */
struct groups {
    size_t count, compared, read;
    uint64_t missing, bad;
};

static struct groups groups_of(struct rig *r, size_t first, size_t end)
{
    struct groups out = {0};
    struct arena arena;
    arena_init(&arena);
    for (size_t i = first; i < end; i++) {
        struct scrub_group *v;
        size_t n = scrub_groups_copy(r->s->scrub, &r->s->disks[i], &arena, &v);
        out.count += n;
        for (size_t k = 0; k < n; k++) {
            CHECK_EQ(v[k].pool, r->t.pool);
            out.compared += v[k].swept > 0;
            out.read += v[k].read > 0;
            out.missing += v[k].missing;
            out.bad += v[k].bad;
        }
    }
    arena_release(&arena);
    return out;
}

static uint32_t pg_count(struct rig *r)
{
    const struct cluster_map *map = map_cache_ref(r->t.c.map);
    uint32_t n = pool_pg_count(cluster_map_pool(map, r->t.pool));
    map_cache_unref(r->t.c.map, map);
    return n;
}

/* Begins a pass over every disk and waits for its end. */
static bool scrub_all(struct rig *r, bool deep)
{
    int64_t begun = sys_wall(), until = sys_now() + 600 * SYS_SECOND;
    size_t done = 0;
    for (size_t i = 0; i < DISKS; i++)
        chunk_service_scrub(r->s, i, deep);
    while (done < DISKS && sys_now() < until) {
        sys_sleep_until(sys_now() + 100 * SYS_MS);
        done = 0;
        for (size_t i = 0; i < DISKS; i++) {
            struct scrub_status s = status_of(r, i);
            done += s.swept > begun && (!deep || s.read > begun);
        }
    }
    return done == DISKS;
}

static void put_all(struct rig *r)
{
    for (uint32_t i = 0; i < OBJECTS; i++)
        CHECK_OK(world_put(&r->t, i, SIZE));
    CHECK(world_wait_healed(&r->t, 20 * SYS_SECOND));
}

/* Every shard of every chunk verifies on its disk; there is no listener to ask. */
static void check_whole(struct rig *r)
{
    unsigned chunks = 0, wrong = 0;
    world_refresh(&r->t);
    const struct cluster_map *map = map_cache_ref(r->t.c.map);
    const struct cluster_pool *pool = cluster_map_pool(map, r->t.pool);
    for (uint32_t pg = 0; pg < pool_pg_count(pool); pg++) {
        struct arena arena;
        Answer *answer = NULL;
        const struct request_context request = world_ask();
        arena_init(&arena);
        CHECK_OK(group_chunks(r->t.c.metadata, &request, r->t.pool, pg, (ProtobufCBinaryData){0},
                              100, &arena, &answer));
        for (size_t i = 0; answer && i < answer->n_chunks; i++, chunks++)
            for (unsigned s = 0; s < pool_width(pool); s++) {
                struct shard_id id = {.index = (uint8_t)s};
                struct chunk_disk *d = chunk_disk_find(r->s, slot_newest(pool_slot(pool, pg, s)));
                chunk_id_decode(answer->chunks[i]->chunk_id.data, &id.chunk);
                wrong += !d || shard_store_verify(d->store, r->t.pool, &id, NULL,
                                                  sys_now() + 10 * SYS_SECOND) != OK;
            }
        arena_release(&arena);
    }
    map_cache_unref(r->t.c.map, map);
    CHECK_EQ(chunks, OBJECTS);
    CHECK_EQ(wrong, 0);
    CHECK_EQ(world_repair_rows(&r->t), 0);
}

/* Of the second disk. */
static void flip_some(void)
{
    unsigned flipped = 0;
    for (uint64_t at = 100000; at < 2000000; at += 50000)
        flipped += sim_disk_flip(TEST_HOST, "/test/d2/extents/00000001", at, 0x10) == OK;
    CHECK(flipped > 0);
}

/* Bytes rot, and nobody reads: the deep pass finds it; the next one finds nothing. */
static void rot(void)
{
    struct rig r = {0};
    rig_open(&r);
    put_all(&r);
    sys_sleep_until(sys_now() + 2 * SYS_SECOND);
    flip_some();
    CHECK(scrub_all(&r, false));
    CHECK_EQ(sum(&r, bad), 0); /* a light pass reads no blocks */
    struct groups g = groups_of(&r, 0, DISKS);
    CHECK_EQ(g.count, (size_t)DISKS * pg_count(&r)); /* six disks: each is in every group */
    CHECK_EQ(g.compared, g.count);
    CHECK_EQ(g.read, 0);
    CHECK(scrub_all(&r, true));
    CHECK(status_of(&r, 1).bad > 0);
    CHECK_EQ(sum(&r, bad), status_of(&r, 1).bad);
    g = groups_of(&r, 0, DISKS);
    CHECK_EQ(g.read, g.count);
    CHECK_EQ(g.bad, sum(&r, bad));
    CHECK_EQ(groups_of(&r, 1, 2).bad, g.bad);
    sys_sleep_until(sys_now() + 3 * SYS_SECOND);
    CHECK(world_wait_healed(&r.t, 60 * SYS_SECOND));
    check_whole(&r);
    CHECK(scrub_all(&r, true));
    CHECK_EQ(sum(&r, bad), 0);
    CHECK_EQ(groups_of(&r, 0, DISKS).bad, 0);
    rig_close(&r);
}

/* Deletes whatever the disk holds of the first chunk that it is given. */
static void lose_some(struct rig *r, size_t disk, size_t count)
{
    struct stored_shard shards[64];
    size_t n = 0;
    struct shard_store *store = r->s->disks[disk].store;
    CHECK_OK(shard_store_list(store, r->t.pool, 0, UINT64_MAX, NULL, shards, count, &n));
    CHECK_EQ(n, count);
    for (size_t i = 0; i < n; i++)
        CHECK_OK(shard_store_delete(store, r->t.pool, &shards[i].id, sys_now() + SYS_SECOND));
}

static void missing(void)
{
    struct rig r = {0};
    rig_open(&r);
    put_all(&r);
    lose_some(&r, 3, 5);
    sys_sleep_until(sys_now() + 10 * SYS_SECOND);
    CHECK_EQ(world_repair_rows(&r.t), 0); /* nobody has noticed */
    CHECK(scrub_all(&r, false));
    CHECK_EQ(sum(&r, lost), 5);
    CHECK_EQ(groups_of(&r, 0, DISKS).missing, 5);
    CHECK_EQ(groups_of(&r, 3, 4).missing, 5);
    sys_sleep_until(sys_now() + 3 * SYS_SECOND);
    CHECK(world_wait_healed(&r.t, 60 * SYS_SECOND));
    check_whole(&r);
    CHECK(scrub_all(&r, false));
    CHECK_EQ(sum(&r, lost), 5);
    CHECK_EQ(groups_of(&r, 0, DISKS).missing, 0); /* of the last pass */
    rig_close(&r);
}

static uint64_t shards(struct rig *r)
{
    struct chunk_disk_status all[CHUNK_DISKS_MAX];
    uint64_t n = 0;
    for (size_t i = 0; i < chunk_service_disks(r->s, all, CHUNK_DISKS_MAX); i++)
        n += all[i].stats.shards;
    return n;
}

/* Gateways that died before their commit: one long ago, one just now. Then log time makes a step: while
 * it is in doubt nothing is removed, afterwards what is old by it is. */
static void orphans(void)
{
    struct rig r = {0};
    struct chunk_durable durable;
    const struct chunk_id old = {.write = {{1, 2, 3}}}, fresh = {.write = {{4, 5, 6}}};
    rig_open(&r);
    put_all(&r);
    CHECK_OK(world_write_chunk(&r.t, 50, &old, 300000, 1, &durable));
    CHECK_OK(world_write_chunk(&r.t, 51, &fresh, 300000, sys_wall() - DAY / 2, &durable));
    sys_sleep_until(sys_now() + 2 * SYS_SECOND);
    CHECK_EQ(shards(&r), (OBJECTS + 2) * DISKS);
    CHECK(scrub_all(&r, false));
    CHECK_EQ(sum(&r, gone), DISKS);
    CHECK_EQ(sum(&r, kept), DISKS);
    CHECK_EQ(shards(&r), (OBJECTS + 1) * DISKS);
    CHECK_OK(world_read_chunk(&r.t, 51, &fresh, 300000));
    sim_clock_skew(WORLD_METADATA_HOST, DAY);
    sys_sleep_until(sys_now() + 40 * SYS_SECOND); /* log time goes with it */
    CHECK(scrub_all(&r, false));
    CHECK_EQ(sum(&r, gone), DISKS);
    CHECK_EQ(sum(&r, kept), DISKS);
    sys_sleep_until(sys_now() + r.t.c.timeouts.time_step + 60 * SYS_SECOND);
    CHECK(scrub_all(&r, false));
    CHECK_EQ(sum(&r, gone), 2 * DISKS);
    CHECK_EQ(sum(&r, kept), 0);
    CHECK(world_wait_healed(&r.t, 20 * SYS_SECOND));
    check_whole(&r);
    for (uint32_t i = 0; i < OBJECTS; i++)
        CHECK_OK(world_get(&r.t, i, SIZE));
    rig_close(&r);
}

/* A verdict is void once its slot has another newest holder, and says nothing of a copy that was made
 * after it (hazard 17). */
static void late_verdicts(void)
{
    struct rig r = {0};
    rig_open(&r);
    put_all(&r);
    struct chunk_disk *d = &r.s->disks[0];
    struct stored_shard shard;
    struct shard_store_stats stats;
    uint64_t removed = 9;
    size_t n;
    CHECK_OK(shard_store_list(d->store, r.t.pool, 0, UINT64_MAX, NULL, &shard, 1, &n));
    shard_store_stats(d->store, &stats);
    const struct cluster_map *map = map_cache_ref(r.t.c.map);
    const struct cluster_pool *pool = cluster_map_pool(map, r.t.pool);
    uint32_t pg = pg_of_chunk(pool, &shard.id.chunk);
    uint64_t since = slot_since(pool_slot(pool, pg, shard.id.index));
    map_cache_unref(r.t.c.map, map);
    struct scrub_verdict v = {.id = shard.id, .since_epoch = since - 1};
    CHECK_OK(scrub_remove(d, r.t.pool, pg, stats.synced_sequence, &v, 1, &removed));
    CHECK_EQ(removed, 0);
    v.since_epoch = since + 1; /* this server is behind: it knows no better */
    CHECK_OK(scrub_remove(d, r.t.pool, pg, stats.synced_sequence, &v, 1, &removed));
    CHECK_EQ(removed, 0);
    v.since_epoch = since;
    CHECK_OK(scrub_remove(d, r.t.pool, pg, 1, &v, 1, &removed));
    CHECK_EQ(removed, 0);
    CHECK_OK(shard_store_stat(d->store, r.t.pool, &v.id, &shard));
    CHECK_OK(scrub_remove(d, r.t.pool, pg, stats.synced_sequence, &v, 1, &removed));
    CHECK_EQ(removed, 1);
    CHECK_ERR(shard_store_stat(d->store, r.t.pool, &v.id, &shard), ERR_NOT_FOUND);
    rig_close(&r);
}

struct waiting {
    struct chunk_disk *disk;
    uint32_t pool, pg;
    bool over;
};

static void wait_for_group(void *arg)
{
    struct waiting *w = arg;
    group_await(w->disk, w->pool, w->pg);
    w->over = true;
}

/* Who counts a group's shards waits while some of them are removed, and nobody else does. */
static void a_group_waits(void)
{
    struct rig r = {0};
    struct sys_thread *thread = NULL;
    rig_open(&r);
    struct waiting w = {.disk = &r.s->disks[0], .pool = r.t.pool, .pg = 3};
    group_enter(w.disk, w.pool, w.pg);
    CHECK_OK(sys_thread_start(&thread, "waiter", 0, wait_for_group, &w));
    group_await(w.disk, w.pool, 4);
    group_await(w.disk, w.pool + 1, 3);
    group_await(&r.s->disks[1], w.pool, 3);
    sys_sleep_until(sys_now() + SYS_SECOND);
    CHECK(!w.over);
    group_leave(w.disk);
    sys_thread_join(thread);
    CHECK(w.over);
    rig_close(&r);
}

/* So slow that a restart comes in between: it goes on there, and all of it takes its time. */
static void rate_and_restart(void)
{
    struct rig r = {.rate = 20000};
    rig_open(&r);
    put_all(&r);
    struct chunk_disk_status all[CHUNK_DISKS_MAX];
    chunk_service_disks(r.s, all, CHUNK_DISKS_MAX);
    uint64_t shard = SIZE / 4, bytes = shard * OBJECTS;
    int64_t least = (int64_t)(bytes / r.rate) * SYS_SECOND, begun = sys_now();
    for (size_t i = 0; i < DISKS; i++)
        chunk_service_scrub(r.s, i, true);
    sys_sleep_until(begun + least / 2);
    struct scrub_status half = status_of(&r, 0);
    CHECK_EQ(half.now, SCRUB_DEEP);
    CHECK(half.begun > 0 && half.read == 0);
    CHECK(half.bytes > bytes / 4 && half.bytes < bytes * 3 / 4);
    struct groups g = groups_of(&r, 0, 1);
    CHECK(g.read > 0 && g.read < OBJECTS);
    restart(&r);
    sys_sleep_until(sys_now() + SYS_SECOND);
    half = status_of(&r, 0);
    CHECK(half.bytes > bytes / 4);
    CHECK_EQ(groups_of(&r, 0, 1).read, g.read);
    CHECK_EQ(groups_of(&r, 0, 1).compared, g.compared);
    unsigned waited = 0;
    while (status_of(&r, 0).read == 0 && waited++ < 3000)
        sys_sleep_until(sys_now() + 100 * SYS_MS);
    struct scrub_status end = status_of(&r, 0);
    CHECK(end.read > 0);
    CHECK_EQ(end.begun, 0);
    g = groups_of(&r, 0, 1);
    CHECK(g.read == g.count && g.count == pg_count(&r));
    CHECK(end.bytes >= bytes && end.bytes < bytes + bytes / 10); /* nothing was read twice */
    CHECK(sys_now() - begun >= least - 10 * SYS_SECOND);
    CHECK(sys_now() - begun < 2 * least);
    rig_close(&r);
}

/* ---- what is kept ---- */

static struct scrub_state kept_state(const char *directory)
{
    struct scrub_state s;
    CHECK_OK(scrub_state_load(directory, &s));
    sys_free(s.groups.v);
    s.groups.v = NULL;
    return s;
}

/* A deep pass over the second disk finds rot while metadata cannot be told of it. */
static void find_untold(struct rig *r, int64_t within)
{
    *r = (struct rig){.rate = 20000};
    rig_open(r);
    put_all(r);
    sys_sleep_until(sys_now() + 2 * SYS_SECOND);
    chunk_service_scrub(r->s, 1, true);
    while (status_of(r, 1).now != SCRUB_DEEP)
        sys_sleep_until(sys_now() + 10 * SYS_MS);
    sim_partition(TEST_HOST, WORLD_METADATA_HOST, true);
    flip_some();
    sys_sleep_until(sys_now() + within);
    CHECK(status_of(r, 1).bad > 0);
    CHECK_EQ(kept_state("/test/d2").bad, 0); /* what a kill leaves */
    CHECK(kept_state("/test/d2").begun > 0);
}

/* .. and stops before it is. */
static void untold(int64_t within, bool over)
{
    struct rig r;
    find_untold(&r, within);
    CHECK_EQ(status_of(&r, 1).read > 0, over);
    end(&r);
    CHECK_EQ(kept_state("/test/d2").bad, 0);
    CHECK(kept_state("/test/d2").begun > 0);
    sim_partition(TEST_HOST, WORLD_METADATA_HOST, false);
    r.rate = 0;
    serve(&r);
    for (unsigned waited = 0; status_of(&r, 1).read == 0 && waited < 300; waited++)
        sys_sleep_until(sys_now() + 100 * SYS_MS);
    CHECK(status_of(&r, 1).read > 0);
    CHECK(status_of(&r, 1).bad > 0);
    CHECK(world_wait_healed(&r.t, 60 * SYS_SECOND));
    check_whole(&r);
    rig_close(&r);
}
static void untold_on_the_way(void)
{
    untold(60 * SYS_SECOND, false);
}
static void untold_at_the_end(void)
{
    untold(150 * SYS_SECOND, true);
}

/* As soon as metadata is there again, what was found is told, and then kept. */
static void told_later(void)
{
    struct rig r;
    find_untold(&r, 150 * SYS_SECOND);
    sim_partition(TEST_HOST, WORLD_METADATA_HOST, false);
    sys_sleep_until(sys_now() + 60 * SYS_SECOND);
    struct scrub_status s = status_of(&r, 1);
    struct scrub_state kept_now = kept_state("/test/d2");
    CHECK(s.read > 0);
    CHECK_EQ(kept_now.read, s.read);
    CHECK_EQ(kept_now.bad, s.bad);
    CHECK_EQ(kept_now.begun, 0);
    CHECK(world_wait_healed(&r.t, 60 * SYS_SECOND));
    struct chunk_disk_status all[CHUNK_DISKS_MAX];
    uint64_t repaired = 0; /* by whoever looks after the group */
    for (size_t i = 0; i < chunk_service_disks(r.s, all, CHUNK_DISKS_MAX); i++)
        repaired += all[i].repaired;
    CHECK_EQ(repaired, s.bad);
    rig_close(&r);
}

static bool becomes(struct rig *r, size_t disk, const struct uuid *is, bool same)
{
    struct chunk_disk_status all[CHUNK_DISKS_MAX];
    for (unsigned i = 0; i < 300; i++) {
        chunk_service_disks(r->s, all, CHUNK_DISKS_MAX);
        if (all[disk].registered && uuid_equal(&all[disk].identity.disk, is) == same)
            return true;
        sys_sleep_until(sys_now() + 100 * SYS_MS);
    }
    return false;
}

/* Two disks take turns in a directory: each has its own scrub. */
static void another_disk(void)
{
    struct rig r = {0};
    rig_open(&r);
    put_all(&r);
    CHECK(scrub_all(&r, true));
    struct chunk_disk_status all[CHUNK_DISKS_MAX];
    chunk_service_disks(r.s, all, CHUNK_DISKS_MAX);
    const struct uuid first = all[4].identity.disk;
    const struct scrub_status was = all[4].scrub;
    CHECK(was.read > 0 && groups_of(&r, 4, 5).read > 0);
    end(&r);
    CHECK_OK(sys_rename("/test/d5", "/first"));
    CHECK_OK(sys_mkdir("/test/d5"));
    serve(&r);
    CHECK(becomes(&r, 4, &first, false));
    sys_sleep_until(sys_now() + 70 * SYS_SECOND); /* its thread looks once a minute */
    CHECK_EQ(status_of(&r, 4).read, 0);
    CHECK_OK(sys_rename("/test/d5", "/second"));
    CHECK_OK(sys_rename("/first", "/test/d5"));
    CHECK(becomes(&r, 4, &first, true));
    sys_sleep_until(sys_now() + 70 * SYS_SECOND);
    CHECK_EQ(status_of(&r, 4).read, was.read);
    CHECK_EQ(status_of(&r, 4).bytes, was.bytes);
    CHECK_EQ(groups_of(&r, 4, 5).read, pg_count(&r));
    CHECK_OK(sys_rename("/test/d5", "/first"));
    CHECK_OK(sys_rename("/second", "/test/d5"));
    CHECK(becomes(&r, 4, &first, false));
    sys_sleep_until(sys_now() + 70 * SYS_SECOND);
    CHECK_EQ(status_of(&r, 4).read, 0);
    CHECK_EQ(groups_of(&r, 4, 5).count, 0);
    CHECK_EQ(kept_state("/first").read, was.read);
    rig_close(&r);
}

/* By themselves, both. */
static void due(void)
{
    struct rig r = {.deep_every = 60 * SYS_SECOND, .light_every = 20 * SYS_SECOND};
    rig_open(&r);
    put_all(&r);
    lose_some(&r, 2, 3);
    sys_sleep_until(sys_now() + 200 * SYS_SECOND);
    CHECK_EQ(sum(&r, lost), 3);
    for (size_t i = 0; i < DISKS; i++) {
        CHECK(status_of(&r, i).read > 0);
        CHECK(!status_of(&r, i).late);
    }
    check_whole(&r);
    rig_close(&r);
}

static const struct test tests[] = {
    {"rot is found without any read", rot},
    {"a missing shard is found", missing},
    {"orphans go when they are old, and time is certain", orphans},
    {"late verdicts remove nothing", late_verdicts},
    {"a group waits while shards are removed from it", a_group_waits},
    {"the rate is held, a restart goes on", rate_and_restart},
    {"what was not told is found again after a stop", untold_on_the_way},
    {"a pass is over when all of it was told", untold_at_the_end},
    {"what was told later is kept then", told_later},
    {"another disk has a scrub of its own", another_disk},
    {"passes are due", due},
    {0},
};
SUITE("scrub", tests)
