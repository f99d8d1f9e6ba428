/* Objects in the world of world_kit.h, as a gateway writes and reads them, and what the disks say about
 * their shards. */
#pragma once
#include "tests/unit/chunkserver_service/world_kit.h"

static inline void world_fill(uint32_t number, uint32_t offset, uint8_t *out, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = offset + i;
        out[i] = (uint8_t)(number * 31 + at + (at >> 8) * 7 + (at >> 16) * 13);
    }
}

/* One chunk through chunk_writer. */
static inline enum err world_write_chunk(struct world_test *t, uint32_t number,
                                         const struct chunk_id *id, uint32_t length, int64_t began,
                                         struct chunk_durable *durable)
{
    const struct request_context request = world_ask();
    struct chunk_writer *w = NULL;
    enum err e = chunk_writer_open(&t->c.io, &request, t->pool, id, length, began, &w);
    uint32_t base = id->sequence * WORLD_CHUNK_BYTES;
    for (uint32_t at = 0; e == OK && at < length;) {
        void *to;
        size_t n;
        e = chunk_writer_space(w, &to, &n);
        if (e != OK)
            break;
        if (n > length - at)
            n = length - at;
        world_fill(number, base + at, to, (uint32_t)n);
        at += (uint32_t)n;
        e = chunk_writer_advance(w, n);
    }
    if (e == OK)
        e = chunk_writer_finish(w, durable);
    chunk_writer_free(w);
    return e;
}

static inline ProtobufCBinaryData world_key(uint32_t number, char out[24])
{
    int n = snprintf(out, 24, "object-%u", number);
    return (ProtobufCBinaryData){.len = (size_t)n, .data = (uint8_t *)out};
}

/* One attempt at one object, as the gateway makes it. */
static inline enum err world_put_once(struct world_test *t, uint32_t number, uint32_t size)
{
    struct arena arena;
    arena_init(&arena);
    GetBucket get = GET_BUCKET__INIT;
    get.name = (ProtobufCBinaryData){.len = 4, .data = (uint8_t *)(uintptr_t) "test"};
    Query query = QUERY__INIT;
    query.body_case = QUERY__BODY_GET_BUCKET;
    query.get_bucket = &get;
    Answer *answer = NULL;
    enum err e = world_query(t, &query, &arena, &answer);
    int64_t began = e == OK ? answer->time : 0;
    uint32_t chunks = (size + WORLD_CHUNK_BYTES - 1) / WORLD_CHUNK_BYTES;
    struct chunk_id id = {.sequence = 0};
    sys_random(id.write.bytes, WRITE_ID_BYTES);
    ChunkDurable **durable = arena_alloc(&arena, chunks * sizeof *durable);
    for (uint32_t i = 0; e == OK && i < chunks; i++) {
        uint32_t left = size - i * WORLD_CHUNK_BYTES;
        struct chunk_durable d;
        id.sequence = i;
        e = world_write_chunk(t, number, &id, left < WORLD_CHUNK_BYTES ? left : WORLD_CHUNK_BYTES,
                              began, &d);
        if (e != OK)
            break;
        ChunkDurable *out = durable[i] = arena_alloc(&arena, sizeof *out);
        chunk_durable__init(out);
        out->sequence = i;
        out->nonce = d.nonce;
        out->disks = arena_copy(&arena, d.disks, d.width * sizeof *d.disks);
        out->n_disks = d.width;
    }
    ChunkRun run = CHUNK_RUN__INIT, *runs[] = {&run};
    run.pool = t->pool;
    run.write_id = (ProtobufCBinaryData){.len = WRITE_ID_BYTES, .data = id.write.bytes};
    run.count = chunks;
    run.chunk_size = WORLD_CHUNK_BYTES;
    run.last_length = size - (chunks - 1) * WORLD_CHUNK_BYTES;
    ObjectBody body = OBJECT_BODY__INIT;
    body.runs = runs;
    body.n_runs = 1;
    ObjectHead head = OBJECT_HEAD__INIT;
    head.size = size;
    PutObject put = PUT_OBJECT__INIT;
    char key[24];
    put.bucket = t->bucket;
    put.key = world_key(number, key);
    put.head = &head;
    put.body = &body;
    put.began = began;
    put.durable = durable;
    put.n_durable = chunks;
    Command command = COMMAND__INIT;
    command.body_case = COMMAND__BODY_PUT_OBJECT;
    command.put_object = &put;
    if (e == OK)
        e = world_command(t, &command, NULL);
    arena_release(&arena);
    return e;
}

static inline enum err world_put(struct world_test *t, uint32_t number, uint32_t size)
{
    enum err e = OK;
    for (unsigned i = 0; i < 8; i++) {
        e = world_put_once(t, number, size);
        if (e == OK || !err_retryable(e))
            return e;
        if (map_cache_behind(t->c.map) || e == ERR_STALE_PLACEMENT)
            world_refresh(t);
        sys_sleep_until(sys_now() + 300 * SYS_MS);
    }
    return e;
}

static inline enum err world_read_chunk(struct world_test *t, uint32_t number,
                                        const struct chunk_id *id, uint32_t length)
{
    const struct request_context request = world_ask();
    struct chunk_reader *r = NULL;
    uint8_t *want = sys_alloc(WORLD_CHUNK_BYTES);
    enum err e = chunk_reader_open(&t->c.io, &request, t->pool, id, length, 0, length, &r);
    uint32_t at = 0;
    while (e == OK) {
        const void *data;
        size_t n;
        e = chunk_reader_next(r, &data, &n);
        if (e != OK || n == 0)
            break;
        world_fill(number, id->sequence * WORLD_CHUNK_BYTES + at, want, (uint32_t)n);
        if (!suite_check(memcmp(want, data, n) == 0, __FILE__, __LINE__,
                         "object %u chunk %u reads wrong at %u", number, id->sequence, at))
            e = ERR_CORRUPT;
        at += (uint32_t)n;
    }
    chunk_reader_free(r);
    sys_free(want);
    if (e == OK && at != length)
        e = ERR_TRUNCATED;
    return e;
}

/* Reads the whole object and compares every byte; one attempt. */
static inline enum err world_get_once(struct world_test *t, uint32_t number, uint32_t size)
{
    struct arena arena;
    arena_init(&arena);
    GetObject get = GET_OBJECT__INIT;
    char key[24];
    get.bucket = (ProtobufCBinaryData){.len = 4, .data = (uint8_t *)(uintptr_t) "test"};
    get.key = world_key(number, key);
    get.want_body = true;
    Query query = QUERY__INIT;
    query.body_case = QUERY__BODY_GET_OBJECT;
    query.get_object = &get;
    Answer *answer = NULL;
    enum err e = world_query(t, &query, &arena, &answer);
    if (e == OK && (!answer->body || answer->body->n_runs != 1 || answer->head->size != size))
        e = ERR_FORMAT;
    for (uint32_t i = 0; e == OK && i < answer->body->runs[0]->count; i++) {
        const ChunkRun *run = answer->body->runs[0];
        struct chunk_id id = {.sequence = run->first_sequence + i};
        memcpy(id.write.bytes, run->write_id.data, WRITE_ID_BYTES);
        e = world_read_chunk(t, number, &id,
                             i + 1 == run->count ? run->last_length : run->chunk_size);
    }
    arena_release(&arena);
    return e;
}

/* As an SDK does it: what may be tried again is. */
static inline enum err world_get(struct world_test *t, uint32_t number, uint32_t size)
{
    enum err e = OK;
    for (unsigned i = 0; i < 8; i++) {
        e = world_get_once(t, number, size);
        if (e == OK || !err_retryable(e))
            return e;
        sys_sleep_until(sys_now() + 500 * SYS_MS);
    }
    return e;
}

/* ---- what the disks say ---- */

/* The disk's own verdict on a shard. */
static inline enum err world_verify(struct world_test *t, disk_id disk, const struct shard_id *id,
                                    uint64_t *nonce)
{
    struct arena arena;
    arena_init(&arena);
    const struct cluster_map *map = map_cache_ref(t->c.map);
    const struct cluster_disk *d = cluster_map_disk(map, disk);
    struct sys_addr address;
    struct rpc_peer *peer = NULL;
    uint8_t chunk[CHUNK_ID_BYTES];
    enum err e = d ? sys_addr_parse(d->address, &address) : ERR_NOT_FOUND;
    map_cache_unref(t->c.map, map);
    if (e == OK)
        e = rpc_peer_get(t->c.node, &address, &peer);
    ShardVerify body = SHARD_VERIFY__INIT;
    chunk_id_encode(&id->chunk, chunk);
    body.disk = disk;
    body.pool = t->pool;
    body.chunk_id = (ProtobufCBinaryData){.len = CHUNK_ID_BYTES, .data = chunk};
    body.index = id->index;
    ProtobufCMessage *reply = NULL;
    const struct request_context request = world_ask();
    if (e == OK)
        e = rpc_control_call(peer, &request, MSG_SHARD_VERIFY, &body.base,
                             &shard_verify_reply__descriptor, &arena, &reply);
    *nonce = e == OK && reply ? ((const ShardVerifyReply *)reply)->nonce : 0;
    arena_release(&arena);
    return e;
}

struct world_health {
    unsigned chunks, bad_shards, moving_slots, repair_rows;
    enum err first;
};

static inline void world_check_group(struct world_test *t, const struct cluster_map *map,
                                     uint32_t pg, struct world_health *h)
{
    struct arena arena;
    arena_init(&arena);
    const struct cluster_pool *pool = cluster_map_pool(map, t->pool);
    ListChunks list = LIST_CHUNKS__INIT;
    list.pool = t->pool;
    list.pg = pg;
    list.max = 1000;
    Query query = QUERY__INIT;
    query.body_case = QUERY__BODY_LIST_CHUNKS;
    query.list_chunks = &list;
    Answer *answer = NULL;
    enum err listed = world_query(t, &query, &arena, &answer);
    CHECK_OK(listed);
    for (size_t i = 0; listed == OK && i < answer->n_chunks; i++) {
        const ChunkEntry *c = answer->chunks[i];
        h->chunks++;
        for (unsigned s = 0; s < pool_width(pool); s++) {
            struct shard_id id = {.index = (uint8_t)s};
            uint64_t nonce;
            chunk_id_decode(c->chunk_id.data, &id.chunk);
            enum err e = world_verify(t, slot_newest(pool_slot(pool, pg, s)), &id, &nonce);
            if (e == OK && nonce != c->nonce)
                e = ERR_MISMATCH;
            if (e != OK && h->bad_shards++ == 0)
                h->first = e;
        }
    }
    arena_release(&arena);
}

/* Tells every disk that each of its shards is suspect. */
static inline void world_suspect_all(struct world_test *t, const struct cluster_map *map,
                                     const struct cluster_pool *pool)
{
    for (uint32_t pg = 0; pg < pool_pg_count(pool); pg++) {
        struct arena arena;
        arena_init(&arena);
        ListChunks list = LIST_CHUNKS__INIT;
        list.pool = t->pool;
        list.pg = pg;
        list.max = 1000;
        Query query = QUERY__INIT;
        query.body_case = QUERY__BODY_LIST_CHUNKS;
        query.list_chunks = &list;
        Answer *answer = NULL;
        enum err e = world_query(t, &query, &arena, &answer);
        CHECK_OK(e);
        for (size_t i = 0; e == OK && i < answer->n_chunks; i++)
            for (unsigned s = 0; s < pool_width(pool); s++) {
                struct shard_id id = {.index = (uint8_t)s};
                chunk_id_decode(answer->chunks[i]->chunk_id.data, &id.chunk);
                shard_suspect(t->c.shards, slot_newest(pool_slot(pool, pg, s)), t->pool, &id);
            }
        arena_release(&arena);
        (void)map;
    }
}

static inline unsigned world_moving(const struct cluster_map *map)
{
    unsigned n = 0;
    for (size_t p = 0; p < map->pool_count; p++) {
        size_t slots = (size_t)pool_width(&map->pools[p]) << map->pools[p].pg_bits;
        for (size_t i = 0; i < slots; i++)
            n += map->pools[p].slots[i].count > 1;
    }
    return n;
}

static inline unsigned world_repair_rows(struct world_test *t)
{
    struct arena arena;
    arena_init(&arena);
    ListRepairs list = LIST_REPAIRS__INIT;
    list.pool = t->pool;
    list.all_pgs = true;
    list.max = 1000;
    Query query = QUERY__INIT;
    query.body_case = QUERY__BODY_LIST_REPAIRS;
    query.list_repairs = &list;
    Answer *answer = NULL;
    unsigned n = world_query(t, &query, &arena, &answer) == OK ? (unsigned)answer->n_repairs : 1000;
    arena_release(&arena);
    return n;
}

/* Asks every disk for every shard that it ought to hold. */
static inline struct world_health world_health(struct world_test *t)
{
    struct world_health h = {0};
    world_refresh(t);
    const struct cluster_map *map = map_cache_ref(t->c.map);
    const struct cluster_pool *pool = cluster_map_pool(map, t->pool);
    h.moving_slots = world_moving(map);
    for (uint32_t pg = 0; pool && pg < pool_pg_count(pool); pg++)
        world_check_group(t, map, pg, &h);
    map_cache_unref(t->c.map, map);
    h.repair_rows = world_repair_rows(t);
    return h;
}

/* Waits until no slot is on its way and no repair is due. */
static inline bool world_wait_healed(struct world_test *t, int64_t within)
{
    int64_t until = sys_now() + within;
    bool healed = false;
    while (!healed && sys_now() < until) {
        sys_sleep_until(sys_now() + 500 * SYS_MS);
        world_refresh(t);
        const struct cluster_map *map = map_cache_ref(t->c.map);
        healed = world_moving(map) == 0 && world_repair_rows(t) == 0;
        map_cache_unref(t->c.map, map);
    }
    return healed;
}

/* The disk whose chunkserver listens on this host; the newest one when it had several. */
static inline disk_id world_disk_of(struct world_test *t, unsigned number)
{
    char address[SYS_ADDR_TEXT];
    world_address(WORLD_CHUNK_HOST + number, address);
    disk_id found = 0;
    const struct cluster_map *map = map_cache_ref(t->c.map);
    for (size_t i = 0; i < map->disk_count; i++)
        if (strcmp(map->disks[i].address, address) == 0)
            found = map->disks[i].id;
    map_cache_unref(t->c.map, map);
    return found;
}

static inline enum err world_set_disk(struct world_test *t, disk_id disk, enum disk_admin state)
{
    SetDiskState body = SET_DISK_STATE__INIT;
    body.disk = disk;
    body.admin_state = state;
    Command command = COMMAND__INIT;
    command.body_case = COMMAND__BODY_SET_DISK_STATE;
    command.set_disk_state = &body;
    return world_command(t, &command, NULL);
}
