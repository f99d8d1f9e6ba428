/* Chunkservers, metadata and a client together: the path of every byte, and healing. */
#include <stdlib.h>
#include "tests/unit/chunkserver_service/objects_kit.h"

enum { OBJECTS = 12 };

static const uint32_t sizes[] = {1, 4096, 70000, 300000, 1 << 20, 2500000};

static uint32_t size_of(uint32_t number)
{
    return sizes[number % (sizeof sizes / sizeof *sizes)];
}

static void put_objects(struct world_test *t, uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++)
        CHECK_OK(world_put(t, i, size_of(i)));
}

static void get_objects(struct world_test *t, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        CHECK_OK(world_get(t, i, size_of(i)));
}

static void check_healthy(struct world_test *t, unsigned chunks_least)
{
    struct world_health h = world_health(t);
    CHECK(h.chunks >= chunks_least);
    CHECK_EQ(h.bad_shards, 0);
    CHECK_OK(h.first);
    CHECK_EQ(h.moving_slots, 0);
    CHECK_EQ(h.repair_rows, 0);
}

static void writes_and_reads(void)
{
    struct world w = {.chunk_count = 6, .k = 4, .m = 2};
    struct world_test t = {0};
    world_start(&w);
    world_open(&t, &w);
    put_objects(&t, 0, OBJECTS);
    get_objects(&t, OBJECTS);
    CHECK(world_wait_healed(&t, 20 * SYS_SECOND)); /* of a straggler, if there was one */
    check_healthy(&t, OBJECTS);
    world_client_close(&t.c);
    world_stop(&w);
}

static void wait_disk(struct world_test *t, disk_id disk, bool up)
{
    bool is = !up;
    for (unsigned i = 0; i < 100 && is != up; i++) {
        sys_sleep_until(sys_now() + 100 * SYS_MS);
        world_refresh(t);
        const struct cluster_map *map = map_cache_ref(t->c.map);
        const struct cluster_disk *d = cluster_map_disk(map, disk);
        is = d && d->up;
        map_cache_unref(t->c.map, map);
    }
    CHECK_EQ(is, up);
}

/* One chunkserver is gone: reads decode, writes are acknowledged with k+1 and their rows are drained
 * as soon as it is back. Two are gone: reads still decode. */
static void degraded(void)
{
    struct world w = {.chunk_count = 6, .k = 4, .m = 2};
    struct world_test t = {0};
    world_start(&w);
    world_open(&t, &w);
    put_objects(&t, 0, OBJECTS);
    CHECK(world_wait_healed(&t, 20 * SYS_SECOND));
    disk_id first = world_disk_of(&t, 1);
    sim_crash(w.chunk_pid[0]);
    get_objects(&t, OBJECTS); /* before anybody knows */
    wait_disk(&t, first, false);
    get_objects(&t, OBJECTS);
    put_objects(&t, OBJECTS, OBJECTS);
    CHECK(world_repair_rows(&t) >= OBJECTS);
    sim_restart(w.chunk_pid[0]);
    wait_disk(&t, first, true);
    CHECK(world_wait_healed(&t, 60 * SYS_SECOND));
    check_healthy(&t, 2 * OBJECTS);
    sim_crash(w.chunk_pid[1]);
    sim_crash(w.chunk_pid[4]);
    get_objects(&t, 2 * OBJECTS);
    world_client_close(&t.c);
    world_stop(&w);
}

/* One parity shard (hazard 8): a disk that is down has a stand-in for new writes at once; what it held
 * is made again only when it is out, and not at all when it returns before. */
static void stood_in_for(void)
{
    struct world w = {.chunk_count = 5, .k = 2, .m = 1};
    struct world_test t = {0};
    world_start(&w);
    world_open(&t, &w);
    put_objects(&t, 0, OBJECTS);
    CHECK(world_wait_healed(&t, 20 * SYS_SECOND));
    disk_id first = world_disk_of(&t, 1), second = world_disk_of(&t, 2);
    sim_crash(w.chunk_pid[0]);
    wait_disk(&t, first, false);
    sys_sleep_until(sys_now() + 3 * SYS_SECOND);
    put_objects(&t, OBJECTS, OBJECTS);
    CHECK_EQ(world_repair_rows(&t), 0);
    sys_sleep_until(sys_now() + 60 * SYS_SECOND);
    CHECK(world_health(&t).moving_slots > 0);
    sim_restart(w.chunk_pid[0]);
    wait_disk(&t, first, true);
    CHECK(world_wait_healed(&t, 60 * SYS_SECOND));
    check_healthy(&t, 2 * OBJECTS);
    sim_crash(w.chunk_pid[1]);
    wait_disk(&t, second, false);
    sys_sleep_until(sys_now() + 20 * SYS_SECOND);
    CHECK(world_health(&t).moving_slots > 0);
    CHECK_OK(world_set_disk(&t, second, DISK_OUT));
    CHECK(world_wait_healed(&t, 60 * SYS_SECOND));
    check_healthy(&t, 2 * OBJECTS);
    get_objects(&t, 2 * OBJECTS);
    world_client_close(&t.c);
    world_stop(&w);
}

/* Two of eight disks are wiped and given up: the other six get everything back; when the servers
 * return with empty disks, these take their part. */
static void wiped(void)
{
    struct world w = {.chunk_count = 8, .k = 4, .m = 2};
    struct world_test t = {0};
    world_start(&w);
    world_open(&t, &w);
    put_objects(&t, 0, 3 * OBJECTS);
    /* An object survives m losses once its repair rows have drained (hazard 8). */
    CHECK(world_wait_healed(&t, 20 * SYS_SECOND));
    for (unsigned i = 0; i < 2; i++) {
        disk_id disk = world_disk_of(&t, i + 1);
        sim_crash(w.chunk_pid[i]);
        CHECK_OK(sim_disk_wipe(WORLD_CHUNK_HOST + i + 1, "/disk"));
        CHECK_OK(world_set_disk(&t, disk, DISK_FAILED));
    }
    get_objects(&t, 3 * OBJECTS);
    CHECK(world_wait_healed(&t, 300 * SYS_SECOND));
    check_healthy(&t, 3 * OBJECTS);
    sim_restart(w.chunk_pid[0]);
    sim_restart(w.chunk_pid[1]);
    sys_sleep_until(sys_now() + 5 * SYS_SECOND);
    CHECK(world_wait_healed(&t, 300 * SYS_SECOND));
    check_healthy(&t, 3 * OBJECTS);
    CHECK(world_disk_of(&t, 1) > 8);
    get_objects(&t, 3 * OBJECTS);
    world_client_close(&t.c);
    world_stop(&w);
}

/* Bytes rot on one disk: every read is right, what is bad is found, ordered and rebuilt. */
static void rotten(void)
{
    struct world w = {.chunk_count = 6, .k = 4, .m = 2};
    struct world_test t = {0};
    world_start(&w);
    world_open(&t, &w);
    put_objects(&t, 0, 3 * OBJECTS);
    sys_sleep_until(sys_now() + 2 * SYS_SECOND);
    for (uint64_t at = 700; at < 800000; at += 9000)
        if (sim_disk_flip(WORLD_CHUNK_HOST + 2, "/disk/extents/00000001", at, 0x10) != OK)
            break;
    CHECK(world_health(&t).bad_shards > 0);
    for (unsigned i = 0; i < 6 && world_health(&t).bad_shards > 0; i++) {
        get_objects(&t, 3 * OBJECTS);
        sys_sleep_until(sys_now() + 4 * SYS_SECOND);
        CHECK(world_wait_healed(&t, 60 * SYS_SECOND));
    }
    /* A parity shard is not read while all data shards are there: it is told by hand, as a scrubber
     * would. */
    const struct cluster_map *map = map_cache_ref(t.c.map);
    const struct cluster_pool *pool = cluster_map_pool(map, t.pool);
    world_suspect_all(&t, map, pool);
    map_cache_unref(t.c.map, map);
    sys_sleep_until(sys_now() + 4 * SYS_SECOND);
    CHECK(world_wait_healed(&t, 60 * SYS_SECOND));
    check_healthy(&t, 3 * OBJECTS);
    world_client_close(&t.c);
    world_stop(&w);
}

/* A disk whose index is gone is made whole from its own extents; meanwhile the others do its work. */
static void index_lost(void)
{
    struct world w = {.chunk_count = 7, .k = 4, .m = 2};
    struct world_test t = {0};
    world_start(&w);
    world_open(&t, &w);
    put_objects(&t, 0, 2 * OBJECTS);
    CHECK(world_wait_healed(&t, 20 * SYS_SECOND));
    disk_id disk = world_disk_of(&t, 3);
    sim_crash(w.chunk_pid[3]);
    CHECK_OK(sim_disk_wipe(WORLD_CHUNK_HOST + 3, "/disk/index"));
    sim_disk_slow(WORLD_CHUNK_HOST + 3, "/disk/extents", 300 * SYS_MS);
    sim_restart(w.chunk_pid[3]);
    wait_disk(&t, disk, true); /* registered while its index is being made */
    get_objects(&t, 2 * OBJECTS);
    put_objects(&t, 2 * OBJECTS, OBJECTS);
    get_objects(&t, 3 * OBJECTS);
    sim_disk_slow(WORLD_CHUNK_HOST + 3, "/disk/extents", 0);
    sys_sleep_until(sys_now() + 5 * SYS_SECOND);
    CHECK(world_wait_healed(&t, 120 * SYS_SECOND));
    check_healthy(&t, 3 * OBJECTS);
    CHECK_EQ(world_disk_of(&t, 3), disk);
    world_client_close(&t.c);
    world_stop(&w);
}

/* Chunkservers crash at random primitives and come back, while objects are written and read. */
static void crashes(void)
{
    struct world w = {.chunk_count = 7, .k = 4, .m = 2};
    struct world_test t = {0};
    bool written[4 * OBJECTS] = {0};
    world_start(&w);
    world_open(&t, &w);
    for (unsigned i = 0; i < w.chunk_count; i++)
        sim_restart_after(w.chunk_pid[i], 700 * SYS_MS);
    for (uint32_t i = 0; i < 4 * OBJECTS; i++) {
        if (i % 4 == 0)
            sim_crash_at(w.chunk_pid[i / 4 % w.chunk_count], 1 + sim_random() % 3000);
        written[i] = world_put(&t, i, size_of(i)) == OK;
        uint32_t again = (uint32_t)(sim_random() % (i + 1));
        if (written[again])
            CHECK_OK(world_get(&t, again, size_of(again)));
    }
    for (unsigned i = 0; i < w.chunk_count; i++)
        sim_crash_at(w.chunk_pid[i], 0);
    sys_sleep_until(sys_now() + 5 * SYS_SECOND);
    CHECK(world_wait_healed(&t, 120 * SYS_SECOND));
    unsigned count = 0;
    for (uint32_t i = 0; i < 4 * OBJECTS; i++) {
        count += written[i];
        if (written[i])
            CHECK_OK(world_get(&t, i, size_of(i)));
    }
    CHECK(count >= 3 * OBJECTS);
    check_healthy(&t, count);
    for (unsigned i = 0; i < w.chunk_count; i++)
        sim_restart_after(w.chunk_pid[i], 0);
    world_client_close(&t.c);
    world_stop(&w);
}

/* A disk that fails says so itself, and is rebuilt on the others without anybody's help. */
static void fails(void)
{
    struct world w = {.chunk_count = 7, .k = 4, .m = 2};
    struct world_test t = {0};
    world_start(&w);
    world_open(&t, &w);
    put_objects(&t, 0, 2 * OBJECTS);
    CHECK(world_wait_healed(&t, 20 * SYS_SECOND));
    disk_id disk = world_disk_of(&t, 3);
    sim_disk_fail(WORLD_CHUNK_HOST + 3, "/disk", 1, ERR_IO, true);
    put_objects(&t, 2 * OBJECTS, OBJECTS);
    get_objects(&t, 3 * OBJECTS);
    sys_sleep_until(sys_now() + 5 * SYS_SECOND);
    CHECK(world_wait_healed(&t, 120 * SYS_SECOND));
    check_healthy(&t, 3 * OBJECTS);
    const struct cluster_map *map = map_cache_ref(t.c.map);
    CHECK_EQ(cluster_map_disk(map, disk)->admin, DISK_FAILED);
    map_cache_unref(t.c.map, map);
    world_client_close(&t.c);
    world_stop(&w);
}

/* It fails before its server has registered it anew: metadata hears of that as well. */
static void fails_unregistered(void)
{
    struct world w = {.chunk_count = 7, .k = 4, .m = 2};
    struct world_test t = {0};
    world_start(&w);
    world_open(&t, &w);
    put_objects(&t, 0, OBJECTS);
    CHECK(world_wait_healed(&t, 20 * SYS_SECOND));
    disk_id disk = world_disk_of(&t, 3);
    sim_crash(w.metadata_pid);
    sim_crash(w.chunk_pid[2]);
    sim_restart(w.chunk_pid[2]);
    for (uint8_t i = 0; i < 50;
         i++) { /* it is served already: its index has something to keep, and cannot */
        const struct chunk_id id = {.write = {{9, i}}};
        struct chunk_durable durable;
        sys_sleep_until(sys_now() + 100 * SYS_MS);
        CHECK_OK(world_write_chunk(&t, 1, &id, 300000, 1, &durable));
    }
    sim_disk_fail(WORLD_CHUNK_HOST + 3, "/disk", 1, ERR_IO, true);
    sys_sleep_until(sys_now() + 10 * SYS_SECOND);
    sim_restart(w.metadata_pid);
    int64_t until = sys_now() + 60 * SYS_SECOND;
    bool failed = false;
    while (!failed && sys_now() < until) {
        sys_sleep_until(sys_now() + 500 * SYS_MS);
        world_refresh(&t);
        const struct cluster_map *map = map_cache_ref(t.c.map);
        failed = cluster_map_disk(map, disk)->admin == DISK_FAILED;
        map_cache_unref(t.c.map, map);
    }
    CHECK(failed);
    CHECK(world_wait_healed(&t, 120 * SYS_SECOND));
    check_healthy(&t, OBJECTS);
    world_client_close(&t.c);
    world_stop(&w);
}

/* A disk that hangs: its chunkserver goes on answering, nobody waits for it for long, and what it
 * missed comes when it moves again. */
static void hangs(void)
{
    struct world w = {.chunk_count = 6, .k = 4, .m = 2};
    struct world_test t = {0};
    world_start(&w);
    world_open(&t, &w);
    put_objects(&t, 0, OBJECTS);
    CHECK(world_wait_healed(&t, 20 * SYS_SECOND));
    sim_disk_hang(WORLD_CHUNK_HOST + 4, "/disk", true);
    int64_t begun = sys_now();
    get_objects(&t, OBJECTS);
    put_objects(&t, OBJECTS, OBJECTS);
    CHECK(sys_now() - begun < 60 * SYS_SECOND);
    get_objects(&t, 2 * OBJECTS);
    CHECK(world_repair_rows(&t) > 0);
    sim_disk_hang(WORLD_CHUNK_HOST + 4, "/disk", false);
    sys_sleep_until(sys_now() + 5 * SYS_SECOND);
    CHECK(world_wait_healed(&t, 120 * SYS_SECOND));
    check_healthy(&t, 2 * OBJECTS);
    world_client_close(&t.c);
    world_stop(&w);
}

static bool is_suspect(struct world_test *t, disk_id disk)
{
    world_refresh(t);
    const struct cluster_map *map = map_cache_ref(t->c.map);
    bool suspect = cluster_map_disk_suspect(map, disk);
    map_cache_unref(t->c.map, map);
    return suspect;
}

static bool wait_suspect(struct world_test *t, disk_id disk, bool suspect, int seconds)
{
    int64_t until = sys_now() + seconds * SYS_SECOND;
    while (is_suspect(t, disk) != suspect && sys_now() < until)
        sys_sleep_until(sys_now() + 100 * SYS_MS);
    return is_suspect(t, disk) == suspect;
}

static int earlier(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* How long all but the slowest few puts with their gets take: the world has its own stalls. Nearly every object
 * has a shard on one of two disks of nine. */
static int64_t times(struct world_test *t, uint32_t first)
{
    int64_t took[OBJECTS];
    for (uint32_t i = 0; i < OBJECTS; i++) {
        int64_t begun = sys_now();
        CHECK_OK(world_put(t, first + i, size_of(i)));
        CHECK_OK(world_get(t, first + i, size_of(i)));
        took[i] = sys_now() - begun;
    }
    qsort(took, OBJECTS, sizeof took[0], earlier);
    return took[OBJECTS * 3 / 4];
}

/* One disk answers in 200 ms and one not at all. Both are called suspect; then nobody waits for them, and what
 * is written has all its shards, on others, while what they hold is not made again. One is well again, and
 * takes its part; one stays so, and is given up. */
static void slow(void)
{
    struct world w = {.chunk_count = 9, .k = 4, .m = 2};
    struct world_test t = {0};
    world_start(&w);
    world_open(&t, &w);
    int64_t usual = times(&t, 0);
    CHECK(world_wait_healed(&t, 20 * SYS_SECOND));
    disk_id crawls = world_disk_of(&t, 2), hangs_for_good = world_disk_of(&t, 5);
    sim_disk_slow(WORLD_CHUNK_HOST + 2, "/disk", 200 * SYS_MS);
    sim_disk_hang(WORLD_CHUNK_HOST + 5, "/disk", true);
    CHECK(wait_suspect(&t, crawls, true, 30));
    CHECK(wait_suspect(&t, hangs_for_good, true, 30));
    sys_sleep_until(sys_now() + 2 * SYS_SECOND); /* stand-ins */
    world_refresh(&t);
    uint64_t rows = world_repair_rows(&t);
    CHECK(times(&t, OBJECTS) <= 2 * usual);
    CHECK(world_repair_rows(&t) <= rows);
    sys_sleep_until(sys_now() + 60 * SYS_SECOND);
    CHECK(world_health(&t).moving_slots > 0); /* and nothing is copied yet */
    sim_disk_slow(WORLD_CHUNK_HOST + 2, "/disk", 0);
    CHECK(wait_suspect(&t, crawls, false, 60));
    get_objects(&t, 2 * OBJECTS);
    sys_sleep_until(sys_now() + 700 * SYS_SECOND);
    CHECK(world_wait_healed(&t, 120 * SYS_SECOND));
    check_healthy(&t, 2 * OBJECTS);
    world_refresh(&t);
    const struct cluster_map *map = map_cache_ref(t.c.map);
    CHECK_EQ(cluster_map_disk(map, crawls)->admin, DISK_IN);
    CHECK_EQ(cluster_map_disk(map, hangs_for_good)->admin, DISK_OUT);
    map_cache_unref(t.c.map, map);
    sim_disk_hang(WORLD_CHUNK_HOST + 5, "/disk", false);
    world_client_close(&t.c);
    world_stop(&w);
}

/* The metadata member crashes and returns; chunkservers serve on with the map that they know. */
static void metadata_away(void)
{
    struct world w = {.chunk_count = 6, .k = 4, .m = 2};
    struct world_test t = {0};
    struct chunk_durable durable;
    const struct chunk_id id = {.write = {{1, 2, 3}}};
    world_start(&w);
    world_open(&t, &w);
    put_objects(&t, 0, OBJECTS);
    CHECK(world_wait_healed(&t, 20 * SYS_SECOND));
    sim_crash(w.metadata_pid);
    CHECK_OK(world_write_chunk(&t, 1, &id, 300000, 1, &durable));
    CHECK_OK(world_read_chunk(&t, 1, &id, 300000));
    sys_sleep_until(sys_now() + 20 * SYS_SECOND);
    CHECK_OK(world_read_chunk(&t, 1, &id, 300000));
    sim_restart(w.metadata_pid);
    put_objects(&t, OBJECTS, OBJECTS);
    get_objects(&t, 2 * OBJECTS);
    CHECK(world_wait_healed(&t, 60 * SYS_SECOND));
    check_healthy(&t, 2 * OBJECTS);
    world_client_close(&t.c);
    world_stop(&w);
}

static void delete_objects(struct world_test *t, uint32_t count)
{
    char keys[OBJECTS][24];
    ProtobufCBinaryData names[OBJECTS];
    DeleteObjects body = DELETE_OBJECTS__INIT;
    for (uint32_t i = 0; i < count; i++)
        names[i] = world_key(i, keys[i]);
    body.bucket = t->bucket;
    body.keys = names;
    body.n_keys = count;
    Command command = COMMAND__INIT;
    command.body_case = COMMAND__BODY_DELETE_OBJECTS;
    command.delete_objects = &body;
    CHECK_OK(world_command(t, &command, NULL));
}

/* Shards on the disk, as it reports them. */
static uint64_t reported_shards(struct world_test *t, disk_id disk)
{
    struct arena arena;
    ProtobufCMessage *reply = NULL;
    uint64_t n = 0;
    arena_init(&arena);
    const struct request_context request = world_ask();
    CHECK_OK(metadata_call_leader(t->c.metadata, &request, MSG_REPORTS, NULL, &arena, &reply));
    const Reports *reports = (const Reports *)reply;
    for (size_t i = 0; reports && i < reports->n_heartbeats; i++)
        for (size_t d = 0; d < reports->heartbeats[i]->n_disks; d++)
            if (reports->heartbeats[i]->disks[d]->id == disk)
                n += reports->heartbeats[i]->disks[d]->shards;
    arena_release(&arena);
    return n;
}

/* A disk is to be filled and hangs; until it moves again, what it was to get has been collected. (What was moved
 * to another one before that stays on the disk that it has left, for a day.) */
static void collected_meanwhile(void)
{
    struct world w = {.chunk_count = 4, .k = 2, .m = 1};
    struct world_test t = {0};
    world_start(&w);
    world_open(&t, &w);
    disk_id spare = world_disk_of(&t, 4);
    CHECK_OK(world_set_disk(&t, spare, DISK_DRAINING));
    sys_sleep_until(sys_now() + 2 * SYS_SECOND);
    CHECK(world_wait_healed(&t, 20 * SYS_SECOND));
    put_objects(&t, 0, OBJECTS);
    delete_objects(&t, OBJECTS);
    sys_sleep_until(sys_now() + t.c.timeouts.gc_delay - 5 * SYS_SECOND);
    sim_disk_hang(WORLD_CHUNK_HOST + 4, "/disk", true);
    CHECK_OK(world_set_disk(&t, spare, DISK_IN));
    CHECK_OK(world_set_disk(&t, world_disk_of(&t, 1), DISK_DRAINING));
    sys_sleep_until(sys_now() + 40 * SYS_SECOND); /* log time may stand still for 30 s */
    CHECK_EQ(world_health(&t).chunks, 0);
    sim_disk_hang(WORLD_CHUNK_HOST + 4, "/disk", false);
    CHECK(world_wait_healed(&t, 120 * SYS_SECOND));
    sys_sleep_until(sys_now() + 5 * SYS_SECOND);
    CHECK_EQ(reported_shards(&t, spare), 0);
    world_client_close(&t.c);
    world_stop(&w);
}

static const struct test tests[] = {
    {"what was written is read back, and every shard verifies", writes_and_reads},
    {"chunkservers are gone for a while", degraded},
    {"a stand-in for a disk that is down", stood_in_for},
    {"two wiped disks are rebuilt on the others", wiped},
    {"rotten shards are found and repaired", rotten},
    {"an index is lost", index_lost},
    {"crashes while writing", crashes},
    {"a disk fails", fails},
    {"a disk fails before it is registered", fails_unregistered},
    {"a disk hangs", hangs},
    {"a disk is slow", slow},
    {"chunks are collected while they are moved", collected_meanwhile},
    {"metadata is away for a while", metadata_away},
    {0},
};
SUITE("chunkserver service", tests)
