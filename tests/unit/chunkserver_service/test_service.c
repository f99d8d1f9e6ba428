/* One chunkserver by itself, and the embedded form: what it opens, what it refuses, what it notices. */
#include "tests/unit/chunkserver_service/objects_kit.h"

enum { DISKS = 6, OBJECTS = 12 };

static uint32_t size_of(uint32_t number)
{
    return 1000 + number * 90000;
}

/* ---- what is a disk and what is not ---- */

static enum err open_directories(struct world_client *c, const char *const *directories, size_t n,
                                 struct chunk_service **out)
{
    const struct chunk_service_config config = {.directories = directories,
                                                .directory_count = n,
                                                .cluster = world_uuid(9),
                                                .node = world_uuid(20),
                                                .map = c->map,
                                                .timeouts = c->timeouts,
                                                .read_memory = 4 << 20,
                                                .store = {.extent_bytes = 8 << 20}};
    return chunk_service_open(&config, out);
}

static void put_file(const char *path)
{
    struct sys_file *f;
    CHECK_OK(sys_file_open(path, SYS_OPEN_WRITE | SYS_OPEN_CREATE, &f));
    CHECK_OK(sys_file_write(f, 0, "x", 1));
    sys_file_close(f);
}

static void directories(void)
{
    struct world_client c;
    struct chunk_service *s = NULL, *second = NULL;
    const char *const all[] = {"/test/new", "/test/mounted", "/test/foreign", "/test/other"};
    const char *const missing = "/test/missing";
    const struct uuid other = world_uuid(8), disk = world_uuid(5);
    world_client_open(&c, RPC_CHUNK);
    CHECK_OK(sys_mkdir("/test/mounted"));
    CHECK_OK(sys_mkdir("/test/mounted/lost+found"));
    CHECK_OK(sys_mkdir("/test/foreign"));
    put_file("/test/foreign/letters.txt");
    CHECK_OK(sys_mkdir("/test/other"));
    CHECK_OK(shard_store_format("/test/other", &other, &disk));
    /* A mistake stops all, before anything is made; what is not there does not. */
    struct chunk_disk_status status[CHUNK_DISKS_MAX];
    struct shard_store_identity identity;
    CHECK_OK(sys_mkdir("/test/new"));
    CHECK_ERR(open_directories(&c, all, 3, &s), ERR_FOREIGN_DISK);
    CHECK_ERR(open_directories(&c, all + 3, 1, &s), ERR_FOREIGN_DISK);
    CHECK_ERR(shard_store_peek("/test/new", &identity), ERR_NOT_FOUND);
    CHECK_ERR(open_directories(&c, &missing, 1, &s), ERR_NOT_FOUND);
    const char *const with_missing[] = {missing, "/test/new", "/test/mounted"};
    CHECK_OK(open_directories(&c, with_missing, 3, &s));
    CHECK_EQ(chunk_service_disks(s, status, CHUNK_DISKS_MAX), 3);
    CHECK(!status[0].open);
    CHECK_ERR(status[0].error, ERR_NOT_FOUND);
    CHECK(status[1].open);
    CHECK(status[2].open);
    CHECK(!uuid_equal(&status[1].identity.disk, &status[2].identity.disk));
    CHECK_ERR(open_directories(&c, all, 1, &second), ERR_DISK_IN_USE);
    chunk_service_free(s);
    CHECK_OK(open_directories(&c, all, 2, &s)); /* what was made is found again */
    struct chunk_disk_status again[CHUNK_DISKS_MAX];
    CHECK_EQ(chunk_service_disks(s, again, CHUNK_DISKS_MAX), 2);
    CHECK(uuid_equal(&status[1].identity.disk, &again[0].identity.disk));
    CHECK_EQ(again[0].identity.incarnation, 2);
    chunk_service_free(s);
    world_client_io(&c, NULL);
    world_client_close(&c);
}

/* ---- embedded: all disks in the process of the client ---- */

struct embedded {
    struct world w;
    struct world_test t;
    struct chunk_service *s;
};

static const char *const directories_of[DISKS] = {"/test/d1", "/test/d2", "/test/d3",
                                                  "/test/d4", "/test/d5", "/test/d6"};

static void embedded_open(struct embedded *e)
{
    struct shard_local local;
    memset(e, 0, sizeof *e);
    e->w = (struct world){.k = 4, .m = 2};
    world_start(&e->w);
    world_client_open(&e->t.c, RPC_CHUNK);
    for (size_t i = 0; i < DISKS; i++)
        CHECK_OK(sys_mkdir(directories_of[i]));
    CHECK_OK(open_directories(&e->t.c, directories_of, DISKS, &e->s));
    chunk_service_local(e->s, &local);
    world_client_io(&e->t.c, &local);
}

/* Without a pool. */
static void embedded_begin(struct embedded *e)
{
    embedded_open(e);
    /* No listener: whoever were to come by socket would find none. */
    CHECK_OK(chunk_service_start(e->s, "10.0.0.1:1", &e->t.c.io, e->t.c.metadata));
}

static void embedded_start(struct embedded *e)
{
    embedded_begin(e);
    e->w.chunk_count = DISKS;
    world_furnish(&e->t, &e->w, DOMAIN_DISK);
    e->w.chunk_count = 0; /* none to stop */
}

static void embedded_stop(struct embedded *e)
{
    chunk_service_stop(e->s);
    chunk_service_free(e->s);
    world_client_close(&e->t.c);
    world_stop(&e->w);
}

static void function_calls(void)
{
    struct embedded e;
    embedded_start(&e);
    for (uint32_t i = 0; i < OBJECTS; i++)
        CHECK_OK(world_put(&e.t, i, size_of(i)));
    for (uint32_t i = 0; i < OBJECTS; i++)
        CHECK_OK(world_get(&e.t, i, size_of(i)));
    struct chunk_disk_status status[CHUNK_DISKS_MAX];
    size_t n = chunk_service_disks(e.s, status, CHUNK_DISKS_MAX);
    CHECK_EQ(n, DISKS);
    for (size_t i = 0; i < n; i++) {
        CHECK(status[i].registered);
        CHECK(status[i].identity.id != 0);
        CHECK(status[i].stats.shards >= OBJECTS);
    }
    embedded_stop(&e);
}

/* ---- disks that go and come back ---- */

static void embedded_close_disks(struct embedded *e)
{
    chunk_service_stop(e->s);
    chunk_service_free(e->s);
    shard_client_free(e->t.c.shards);
}

static void embedded_open_disks(struct embedded *e)
{
    struct shard_local local;
    CHECK_OK(open_directories(&e->t.c, directories_of, DISKS, &e->s));
    chunk_service_local(e->s, &local);
    e->t.c.io.shards = e->t.c.shards = shard_client_new(e->t.c.node, e->t.c.map, &local);
    CHECK_OK(chunk_service_start(e->s, "10.0.0.1:1", &e->t.c.io, e->t.c.metadata));
}

static struct chunk_disk_status disk_status(struct embedded *e, size_t disk)
{
    struct chunk_disk_status status[CHUNK_DISKS_MAX];
    CHECK_EQ(chunk_service_disks(e->s, status, CHUNK_DISKS_MAX), DISKS);
    return status[disk];
}

static bool becomes(struct embedded *e, size_t disk, bool open)
{
    int64_t until = sys_now() + 20 * SYS_SECOND;
    while (sys_now() < until &&
           (disk_status(e, disk).open != open || disk_status(e, disk).registered != open))
        sys_sleep_until(sys_now() + 100 * SYS_MS);
    return disk_status(e, disk).open == open && disk_status(e, disk).registered == open;
}

static bool up_becomes(struct embedded *e, disk_id id, bool up)
{
    bool now = !up;
    for (int64_t until = sys_now() + 20 * SYS_SECOND; sys_now() < until && now != up;) {
        world_refresh(&e->t);
        const struct cluster_map *map = map_cache_ref(e->t.c.map);
        now = cluster_map_disk(map, id)->up;
        map_cache_unref(e->t.c.map, map);
        sys_sleep_until(sys_now() + 100 * SYS_MS);
    }
    return now == up;
}

/* The reads of a disk that hangs keep their memory: there is some left for the others'. */
static void one_hangs(void)
{
    struct embedded e;
    embedded_start(&e);
    for (uint32_t i = 0; i < OBJECTS; i++)
        CHECK_OK(world_put(&e.t, i, size_of(i)));
    sim_disk_hang(1, directories_of[2], true);
    for (uint32_t i = 0; i < 4 * OBJECTS; i++) {
        int64_t began = sys_now();
        CHECK_OK(world_get_once(&e.t, i % OBJECTS, size_of(i % OBJECTS)));
        CHECK(sys_now() - began < 3 * SYS_SECOND);
    }
    /* Who has something deleted waits no longer than he wants to, whatever the disk has. */
    struct shard_local local;
    const struct chunk_id unknown = {.sequence = 77};
    chunk_service_local(e.s, &local);
    for (size_t i = 1; i < 3; i++) {
        int64_t deadline = sys_now() + SYS_SECOND;
        disk_id disk = disk_status(&e, i).identity.id;
        CHECK_ERR(local.remove(local.context, disk, e.t.pool, &unknown, 1, deadline),
                  i == 2 ? ERR_TIMEOUT : OK);
        CHECK(sys_now() < deadline + 100 * SYS_MS);
    }
    int64_t until = sys_now() + 15 * SYS_SECOND;
    while (disk_status(&e, 2).stats.queue > 0 && sys_now() < until)
        sys_sleep_until(sys_now() + SYS_SECOND);
    CHECK_EQ(disk_status(&e, 2).stats.queue, 0);
    sim_disk_hang(1, directories_of[2], false);
    embedded_stop(&e);
}

/* A new disk hangs while it is given its id: the others are registered, and stay up. */
static void one_hangs_while_new(void)
{
    struct embedded e;
    embedded_open(&e);
    sim_disk_hang(1, "/test/d3/superblock.new", true);
    CHECK_OK(chunk_service_start(e.s, "10.0.0.1:1", &e.t.c.io, e.t.c.metadata));
    for (size_t i = 0; i < DISKS; i++)
        CHECK(i == 2 || becomes(&e, i, true));
    sys_sleep_until(sys_now() + 10 * SYS_SECOND);
    for (size_t i = 0; i < DISKS; i++)
        CHECK(i == 2 || up_becomes(&e, disk_status(&e, i).identity.id, true));
    CHECK(!disk_status(&e, 2).registered);
    sim_disk_hang(1, "/test/d3/superblock.new", false);
    CHECK(becomes(&e, 2, true));
    embedded_stop(&e);
}

/* Its file system is unmounted under the server: it is down, not failed, and what was written meanwhile is
 * repaired on it when it is back. */
static void goes_and_comes(void)
{
    struct embedded e;
    embedded_start(&e);
    for (uint32_t i = 0; i < OBJECTS; i++)
        CHECK_OK(world_put(&e.t, i, size_of(i)));
    const struct shard_store_identity was = disk_status(&e, 2).identity;
    CHECK_OK(sys_rename("/test/d3", "/away"));
    CHECK(becomes(&e, 2, false));
    CHECK_ERR(disk_status(&e, 2).error, ERR_NOT_FOUND);
    CHECK(up_becomes(&e, was.id, false));
    for (uint32_t i = 0; i < OBJECTS; i++)
        CHECK_OK(world_get(&e.t, i, size_of(i)));
    for (uint32_t i = OBJECTS; i < 2 * OBJECTS; i++)
        CHECK_OK(world_put(&e.t, i, size_of(i)));
    CHECK_OK(sys_mkdir("/test/d3")); /* the mount point: no disk is made of it */
    sys_sleep_until(sys_now() + 10 * SYS_SECOND);
    CHECK(!disk_status(&e, 2).open);
    CHECK_OK(sys_rename("/away", "/test/d3"));
    CHECK(becomes(&e, 2, true));
    CHECK(up_becomes(&e, was.id, true));
    const struct shard_store_identity is = disk_status(&e, 2).identity;
    CHECK(uuid_equal(&is.disk, &was.disk) && is.id == was.id);
    CHECK_EQ(is.incarnation, was.incarnation + 1);
    CHECK(world_wait_healed(&e.t, 60 * SYS_SECOND));
    CHECK(disk_status(&e, 2).stats.shards >= 2 * OBJECTS);
    for (uint32_t i = 0; i < 2 * OBJECTS; i++)
        CHECK_OK(world_get(&e.t, i, size_of(i)));
    embedded_stop(&e);
}

/* One that was not there at the start; and a stop while one is away. */
static void comes_later(void)
{
    struct embedded e;
    embedded_start(&e);
    for (uint32_t i = 0; i < OBJECTS; i++)
        CHECK_OK(world_put(&e.t, i, size_of(i)));
    disk_id id = disk_status(&e, 4).identity.id;
    embedded_close_disks(&e);
    CHECK_OK(sys_rename("/test/d5", "/away"));
    embedded_open_disks(&e);
    CHECK_ERR(disk_status(&e, 4).error, ERR_NOT_FOUND);
    CHECK(becomes(&e, 4, false));
    CHECK(up_becomes(&e, id, false));
    CHECK_OK(sys_rename("/away", "/test/d5"));
    CHECK(becomes(&e, 4, true));
    CHECK(up_becomes(&e, id, true));
    CHECK(world_wait_healed(&e.t, 60 * SYS_SECOND));
    CHECK_OK(sys_rename("/test/d5", "/away"));
    CHECK(becomes(&e, 4, false));
    embedded_stop(&e);
}

/* No disk of the process has the room that its index takes to be opened: it starts, and waits for room. */
static void full_at_the_start(void)
{
    struct embedded e;
    embedded_start(&e);
    for (uint32_t i = 0; i < OBJECTS; i++)
        CHECK_OK(world_put(&e.t, i, size_of(i)));
    disk_id id = disk_status(&e, 4).identity.id;
    embedded_close_disks(&e);
    sim_disk_limit(1, SYS_BLOCK);
    embedded_open_disks(&e);
    CHECK(up_becomes(&e, id, false));
    for (size_t i = 0; i < DISKS; i++)
        CHECK(disk_status(&e, i).error == ERR_NO_SPACE && disk_status(&e, i).identity.id != 0);
    sim_disk_limit(1, UINT64_C(64) << 30);
    for (size_t i = 0; i < DISKS; i++)
        CHECK(becomes(&e, i, true));
    for (uint32_t i = 0; i < OBJECTS; i++)
        CHECK_OK(world_get(&e.t, i, size_of(i)));
    embedded_stop(&e);
}

/* An empty mount point was taken for a new disk; then the file system is mounted over it. */
static void mounted_over(void)
{
    struct embedded e;
    embedded_start(&e);
    for (uint32_t i = 0; i < OBJECTS; i++)
        CHECK_OK(world_put(&e.t, i, size_of(i)));
    const struct shard_store_identity was = disk_status(&e, 4).identity;
    embedded_close_disks(&e);
    CHECK_OK(sys_rename("/test/d5", "/away"));
    CHECK_OK(sys_mkdir("/test/d5"));
    embedded_open_disks(&e);
    CHECK(becomes(&e, 4, true));
    CHECK(disk_status(&e, 4).identity.id > DISKS);
    CHECK_OK(sys_rename("/test/d5", "/beneath"));
    CHECK_OK(sys_rename("/away", "/test/d5"));
    CHECK(up_becomes(&e, was.id, true));
    CHECK_EQ(disk_status(&e, 4).identity.id, was.id);
    for (uint32_t i = 0; i < OBJECTS; i++)
        CHECK_OK(world_get(&e.t, i, size_of(i)));
    embedded_stop(&e);
}

static size_t disks_known(struct embedded *e)
{
    world_refresh(&e->t);
    const struct cluster_map *map = map_cache_ref(e->t.c.map);
    size_t n = map->disk_count;
    map_cache_unref(e->t.c.map, map);
    return n;
}

/* What an operator has removed is not taken for a new disk until its directory is empty. */
static void begin_with_one_removed(struct embedded *e)
{
    embedded_begin(e);
    for (size_t i = 0; i < DISKS; i++)
        CHECK(becomes(e, i, true));
    SetDiskState body = SET_DISK_STATE__INIT;
    body.disk = disk_status(e, 2).identity.id;
    body.remove = true;
    Command command = COMMAND__INIT;
    command.body_case = COMMAND__BODY_SET_DISK_STATE;
    command.set_disk_state = &body;
    CHECK_OK(world_command(&e->t, &command, NULL));
}

static void removed(void)
{
    struct embedded e;
    begin_with_one_removed(&e);
    embedded_close_disks(&e);
    embedded_open_disks(&e);
    CHECK(becomes(&e, 5, true));
    sys_sleep_until(sys_now() + 30 * SYS_SECOND);
    CHECK(disk_status(&e, 2).open && !disk_status(&e, 2).registered);
    CHECK_EQ(disks_known(&e), DISKS - 1);
    embedded_close_disks(&e);
    CHECK_OK(sim_disk_wipe(1, directories_of[2]));
    embedded_open_disks(&e);
    CHECK(becomes(&e, 2, true));
    CHECK(disk_status(&e, 2).identity.id > DISKS);
    CHECK_EQ(disks_known(&e), DISKS);
    embedded_stop(&e);
}

/* A large shard is lost, and so is the index: only a look at what metadata knows finds that out. */
static void lose_a_shard(const char *directory, uint32_t pool)
{
    const struct shard_store_config config = {.directory = directory, .cluster = world_uuid(9)};
    struct shard_store *s = NULL;
    struct stored_shard all[OBJECTS];
    size_t n = 0, large = 0;
    char index[64];
    int64_t deadline = sys_now() + 10 * SYS_SECOND;
    CHECK_OK(shard_store_open(&s, &config));
    CHECK_OK(shard_store_list(s, pool, 0, UINT64_MAX, NULL, all, OBJECTS, &n));
    while (large < n && all[large].length < 100000)
        large++;
    CHECK(large < n);
    CHECK_OK(shard_store_delete(s, pool, &all[large].id, deadline));
    CHECK_OK(shard_store_flush(s, deadline));
    shard_store_close(s);
    snprintf(index, sizeof index, "%s/index", directory);
    CHECK_OK(sim_disk_wipe(1, index));
}

/* .. and a disk that is refused does not keep anybody from that look. */
static void audited_beside_a_removed_one(void)
{
    struct embedded e;
    begin_with_one_removed(&e);
    e.w.k = 2;
    e.w.m = 1;
    e.w.chunk_count = DISKS - 1;
    world_furnish(&e.t, &e.w, DOMAIN_DISK);
    e.w.chunk_count = 0;
    for (uint32_t i = 0; i < OBJECTS; i++)
        CHECK_OK(world_put(&e.t, i, size_of(i)));
    uint64_t shards = disk_status(&e, 3).stats.shards;
    embedded_close_disks(&e);
    lose_a_shard(directories_of[3], e.t.pool);
    embedded_open_disks(&e);
    CHECK(becomes(&e, 3, true));
    int64_t until = sys_now() + 30 * SYS_SECOND;
    while (disk_status(&e, 3).stats.shards < shards && sys_now() < until)
        sys_sleep_until(sys_now() + 100 * SYS_MS);
    CHECK_EQ(disk_status(&e, 3).stats.shards, shards);
    embedded_stop(&e);
}

/* ---- what is missing is noticed ---- */

/* The first chunk of any group, and the index of its slot i's holder. */
static bool any_chunk(struct world_test *t, struct chunk_id *id, disk_id *holders)
{
    const struct cluster_map *map = map_cache_ref(t->c.map);
    const struct cluster_pool *pool = cluster_map_pool(map, t->pool);
    bool found = false;
    for (uint32_t pg = 0; pg < pool_pg_count(pool) && !found; pg++) {
        struct arena arena;
        arena_init(&arena);
        ListChunks list = LIST_CHUNKS__INIT;
        list.pool = t->pool;
        list.pg = pg;
        list.max = 1;
        Query query = QUERY__INIT;
        query.body_case = QUERY__BODY_LIST_CHUNKS;
        query.list_chunks = &list;
        Answer *answer = NULL;
        if (world_query(t, &query, &arena, &answer) == OK && answer->n_chunks == 1) {
            chunk_id_decode(answer->chunks[0]->chunk_id.data, id);
            pg_acting(pool, pg, holders);
            found = true;
        }
        arena_release(&arena);
    }
    map_cache_unref(t->c.map, map);
    return found;
}

static bool shard_there(struct world_test *t, disk_id disk, const struct chunk_id *chunk,
                        uint8_t index)
{
    const struct shard_id id = {.chunk = *chunk, .index = index};
    uint64_t nonce;
    return world_verify(t, disk, &id, &nonce) == OK;
}

static bool comes_back(struct world_test *t, disk_id disk, const struct chunk_id *chunk,
                       uint8_t index)
{
    bool back = false;
    for (unsigned i = 0; i < 40 && !back; i++) {
        sys_sleep_until(sys_now() + 250 * SYS_MS);
        back = shard_there(t, disk, chunk, index);
    }
    return back;
}

/* A shard that its disk has lost: a read notices; or nobody reads, and the disk itself compares after
 * an unclean stop. */
static void missing(void)
{
    struct world w = {.chunk_count = 6, .k = 4, .m = 2};
    struct world_test t = {0};
    struct chunk_id chunk;
    disk_id holders[POOL_SLOTS_MAX];
    world_start(&w);
    world_open(&t, &w);
    CHECK_OK(world_put(&t, 1, 200000));
    CHECK(world_wait_healed(&t, 20 * SYS_SECOND));
    CHECK(any_chunk(&t, &chunk, holders));
    const struct request_context request = world_ask();
    CHECK_OK(shard_remove(t.c.shards, &request, holders[0], t.pool, &chunk, 1));
    CHECK(!shard_there(&t, holders[0], &chunk, 0));
    CHECK_OK(world_get(&t, 1, 200000));
    CHECK(comes_back(&t, holders[0], &chunk, 0));
    /* Shard 5 is parity, which no read asks for. */
    CHECK_OK(shard_remove(t.c.shards, &request, holders[5], t.pool, &chunk, 1));
    sys_sleep_until(sys_now() + 5 * SYS_SECOND);
    CHECK(!shard_there(&t, holders[5], &chunk, 5));
    for (unsigned i = 1; i <= w.chunk_count; i++)
        if (world_disk_of(&t, i) == holders[5]) {
            sim_crash(w.chunk_pid[i - 1]);
            sim_restart(w.chunk_pid[i - 1]);
        }
    CHECK(comes_back(&t, holders[5], &chunk, 5));
    world_client_close(&t.c);
    world_stop(&w);
}

/* ---- hazard 20 ---- */

static enum err write_shard(struct world_test *t, disk_id disk, const struct stored_shard *shard,
                            uint64_t since)
{
    const struct request_context request = world_ask();
    struct sys_event *event;
    struct gather g;
    struct shard_write *w = NULL;
    struct buf *buf = NULL;
    struct call *call;
    CHECK_OK(sys_event_new(&event));
    CHECK_OK(gather_init(&g, event, &request));
    CHECK_OK(buf_get(t->c.io.buffers, shard->length, &buf));
    world_fill(1, 0, buf->data, shard->length);
    uint32_t crc = shard_crc(&shard->id, 0, buf->data, shard->length);
    enum err e = shard_write_begin(t->c.shards, &g, disk, shard, since, 1, &w);
    if (e == OK)
        e = shard_write_append(w, buf, 0, shard->length, &crc);
    if (e == OK) {
        shard_write_commit(w, shard_crc_of_crcs(0, &crc, 1));
        do
            e = gather_next(&g, SYS_FOREVER, &call);
        while (e == OK && !call_info(call).finished);
        if (e == OK)
            e = shard_write_result(w);
    }
    shard_write_free(w);
    gather_release(&g);
    buf_unref(buf);
    sys_event_free(event);
    return e;
}

static void stale(void)
{
    struct world w = {.chunk_count = 7, .k = 4, .m = 2};
    struct world_test t = {0};
    world_start(&w);
    world_open(&t, &w);
    struct stored_shard shard = {.pool = t.pool,
                                 .length = 5000,
                                 .chunk_length = 20000,
                                 .cell = 65536,
                                 .k = 4,
                                 .m = 2,
                                 .nonce = 77};
    shard.id.chunk.write.bytes[0] = 1;
    const struct cluster_map *map = map_cache_ref(t.c.map);
    const struct cluster_pool *pool = cluster_map_pool(map, t.pool);
    uint32_t pg = pg_of_chunk(pool, &shard.id.chunk);
    const struct pg_slot old = *pool_slot(pool, pg, 0);
    map_cache_unref(t.c.map, map);
    disk_id from = slot_newest(&old), to = 0;
    CHECK_OK(write_shard(&t, from, &shard, slot_since(&old)));
    CHECK_OK(write_shard(&t, from, &shard, slot_since(&old) + 1000)); /* knows more than anybody */
    CHECK_OK(world_set_disk(&t, from, DISK_DRAINING));
    for (unsigned i = 0; i < 100 && (to == 0 || to == from); i++) {
        sys_sleep_until(sys_now() + 100 * SYS_MS);
        world_refresh(&t);
        map = map_cache_ref(t.c.map);
        to = slot_newest(pool_slot(cluster_map_pool(map, t.pool), pg, 0));
        map_cache_unref(t.c.map, map);
    }
    CHECK(to != 0 && to != from);
    sys_sleep_until(sys_now() + 2 * SYS_SECOND); /* the disk has heard of it as well */
    CHECK_ERR(write_shard(&t, from, &shard, slot_since(&old)), ERR_STALE_PLACEMENT);
    CHECK_OK(write_shard(&t, from, &shard, 0)); /* repair writes anywhere */
    CHECK(world_wait_healed(&t, 60 * SYS_SECOND));
    world_client_close(&t.c);
    world_stop(&w);
}

static const struct test tests[] = {
    {"directories: new, mounted, foreign, another cluster's", directories},
    {"the embedded form calls functions", function_calls},
    {"one of the disks hangs", one_hangs},
    {"a new disk hangs", one_hangs_while_new},
    {"a disk goes and comes back", goes_and_comes},
    {"a disk that is not there at the start comes later", comes_later},
    {"disks without room at the start come once they have some", full_at_the_start},
    {"a disk is mounted over an empty one", mounted_over},
    {"a disk that was removed", removed},
    {"disks beside one that was removed", audited_beside_a_removed_one},
    {"a missing shard is noticed by a read, or after a crash", missing},
    {"only a change of the slot refuses a write", stale},
    {0},
};
SUITE("chunkserver service, alone", tests)
