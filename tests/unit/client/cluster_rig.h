/* A small cluster for the suites of common/client: the chunkservers of cluster_disks.h and a client (rpc
 * node, map cache, shard client, buffer pool) on the test's own host. The cluster map comes from a
 * metadata function in the test's process. */
#pragma once
#include "tests/unit/client/cluster_disks.h"

/* ---- metadata ---- */

static inline MapInfo *rig_map_info(const struct cluster_map *map, struct arena *a)
{
    MapInfo *info = arena_alloc(a, sizeof *info);
    map_info__init(info);
    info->epoch = map->epoch;
    info->n_disks = map->disk_count;
    info->disks = arena_alloc(a, map->disk_count * sizeof *info->disks);
    info->n_pools = info->n_pgs = map->pool_count;
    info->pools = arena_alloc(a, map->pool_count * sizeof *info->pools);
    info->pgs = arena_alloc(a, map->pool_count * sizeof *info->pgs);
    for (size_t i = 0; i < map->disk_count; i++) {
        struct cluster_disk *d = &map->disks[i];
        DiskInfo *m = info->disks[i] = arena_alloc(a, sizeof *m);
        disk_info__init(m);
        m->id = d->id;
        m->uuid = (ProtobufCBinaryData){UUID_BYTES, d->uuid.bytes};
        m->admin_state = d->admin;
        m->up = d->up;
        m->suspect = d->suspect;
        m->weight = d->weight;
        m->zone = d->zone;
        m->rack = d->rack;
        m->host = d->host;
        m->address = d->address;
    }
    for (size_t i = 0; i < map->pool_count; i++) {
        struct cluster_pool *p = &map->pools[i];
        PoolInfo *m = info->pools[i] = arena_alloc(a, sizeof *m);
        pool_info__init(m);
        m->id = p->id;
        m->name = p->name;
        m->k = p->k;
        m->m = p->m;
        m->cell = p->cell_bytes;
        m->failure_domain = p->domain;
        m->assigned = true;
        PgInfo *pg = info->pgs[i] = arena_alloc(a, sizeof *pg);
        pg_info__init(pg);
        pg->pool = p->id;
        pg->n_slots = pool_width(p);
        pg->slots = arena_alloc(a, pg->n_slots * sizeof *pg->slots);
        for (unsigned s = 0; s < pg->n_slots; s++) {
            const struct pg_slot *from = pool_slot(p, 0, s);
            Slot *slot = pg->slots[s] = arena_alloc(a, sizeof *slot);
            slot__init(slot);
            slot->n_holders = from->count;
            slot->holders = arena_alloc(a, from->count * sizeof *slot->holders);
            for (unsigned h = 0; h < from->count; h++) {
                Holder *holder = slot->holders[h] = arena_alloc(a, sizeof *holder);
                holder__init(holder);
                holder->disk = from->holders[h].disk;
                holder->since_epoch = from->holders[h].since_epoch;
            }
        }
    }
    return info;
}

static inline enum err rig_metadata(void *context, uint16_t type, const ProtobufCMessage *body,
                                    struct arena *arena, int64_t deadline, ProtobufCMessage **reply)
{
    struct rig *rig = context;
    (void)deadline;
    if (type != MSG_QUERY || ((const Query *)body)->body_case != QUERY__BODY_GET_MAP)
        return ERR_UNSUPPORTED;
    rig->map_queries++;
    Answer *a = arena_alloc(arena, sizeof *a);
    answer__init(a);
    a->epoch = rig->map->epoch;
    a->map = rig_map_info(rig->map, arena);
    *reply = &a->base;
    return OK;
}

static inline struct request_context rig_context(int64_t timeout)
{
    return (struct request_context){.deadline = sys_now() + timeout, .trace = 7};
}

/* The client takes the map as it is now. */
static inline void rig_publish(struct rig *rig)
{
    struct request_context c = rig_context(SYS_SECOND);
    rig->map->epoch++;
    CHECK_OK(map_cache_refresh(rig->io.map, &c, rig->map->epoch));
}

static inline void rig_set_up(struct rig *rig, disk_id id, bool up)
{
    cluster_map_disk_mutable(rig->map, id)->up = up;
    rig_publish(rig);
}

static inline void rig_set_suspect(struct rig *rig, disk_id id, bool suspect)
{
    cluster_map_disk_mutable(rig->map, id)->suspect = suspect;
    rig_publish(rig);
}

/* A new newest holder of a slot; the client does not know yet. */
static inline void rig_push(struct rig *rig, uint32_t pool, unsigned index, disk_id disk)
{
    rig->map->epoch++;
    CHECK_OK(slot_push(rig->map, pool_slot(cluster_map_pool(rig->map, pool), 0, index), disk,
                       rig->map->epoch));
}

/* ---- the whole ---- */

static inline void rig_make_map(struct rig *rig)
{
    rig->map = cluster_map_new();
    rig->map->epoch = 5;
    for (disk_id id = 1; id <= DISKS; id++) {
        struct cluster_disk d = {.id = id, .weight = 10, .up = true};
        d.uuid.bytes[0] = (uint8_t)id;
        d.host[0] = (char)('a' + id);
        d.zone[0] = (char)('A' + (id - 1) / 2);
        struct sys_addr address = sim_addr(FIRST_HOST + id, PORT);
        sys_addr_format(&address, d.address);
        CHECK_OK(cluster_map_put_disk(rig->map, &d));
    }
    for (unsigned i = 0; i < POOLS; i++) {
        CHECK_OK(cluster_map_put_pool(rig->map, &rig_pools[i]));
        const struct cluster_pool *pool = cluster_map_pool(rig->map, rig_pools[i].id);
        for (unsigned s = 0; s < pool_width(pool); s++)
            CHECK_OK(slot_push(rig->map, pool_slot(pool, 0, s), s + 1, 5));
    }
}

static inline struct rig *rig_new(size_t buffer_bytes)
{
    struct rig *rig = calloc(1, sizeof *rig);
    rig->random = suite_seed() | 1;
    memset(rig->identity.cluster.bytes, 0xcc, UUID_BYTES);
    rig->identity.role = RPC_GATEWAY;
    rig->identity.node_id = 7;
    rig->keys.count = 1;
    rig->keys.key[0].id = 3;
    memset(rig->keys.key[0].bytes, 0x5a, RPC_KEY_BYTES);
    rig_make_map(rig);
    for (disk_id id = 1; id <= DISKS; id++) {
        rig->disks[id] = (struct disk){.rig = rig, .id = id};
        rig->disks[id].pid = sim_spawn("chunk", FIRST_HOST + id, rig_serve, &rig->disks[id]);
    }
    struct rpc_node_config nc;
    rpc_node_config_default(&nc);
    nc.self = rig->identity;
    nc.keys = rig->keys;
    rig->node = rpc_node_new(&nc);
    struct metadata_local local = {.id = 1, .context = rig, .call = rig_metadata};
    struct metadata_client_config mc = {
        .node = rig->node, .locals = &local, .local_count = 1, .name = "test"};
    timeouts_default(&mc.timeouts);
    CHECK_OK(metadata_client_new(&mc, &rig->metadata));
    rig->io.map = map_cache_new(rig->metadata);
    rig->io.shards = shard_client_new(rig->node, rig->io.map, NULL);
    rig->io.buffers = buf_pool_new(buffer_bytes);
    rig->io.latency = chunk_latency_new();
    timeouts_default(&rig->io.timeouts);
    sys_sleep_until(sys_now() + SYS_MS); /* the servers listen */
    rig_publish(rig);
    return rig;
}

static inline void rig_free(struct rig *rig)
{
    for (disk_id id = 1; id <= DISKS; id++) {
        CHECK_EQ(rig->disks[id].wrong, 0);
        sim_stop(rig->disks[id].pid);
    }
    rpc_node_free(rig->node);
    CHECK_EQ(buf_pool_stats(rig->io.buffers).used_bytes, 0);
    buf_pool_free(rig->io.buffers);
    chunk_latency_free(rig->io.latency);
    shard_client_free(rig->io.shards);
    map_cache_free(rig->io.map);
    metadata_client_free(rig->metadata);
    cluster_map_free(rig->map);
    for (disk_id id = 1; id <= DISKS; id++)
        while (sim_alive(rig->disks[id].pid))
            sys_sleep_until(sys_now() + SYS_MS);
    for (struct block *b; (b = rig->memory);) {
        rig->memory = b->next;
        free(b);
    }
    free(rig);
}

static inline void rig_crash(struct rig *rig, disk_id id)
{
    sim_crash(rig->disks[id].pid);
}

/* ---- chunks ---- */

static inline uint8_t rig_byte(uint32_t seed, size_t i)
{
    uint32_t x = (uint32_t)i * 2654435761u + seed * 40503u;
    return (uint8_t)(x >> 13 ^ x >> 23);
}

struct chunk {
    uint32_t pool;
    struct chunk_id id;
    uint32_t length, seed;
    struct chunk_durable durable;
};

static inline struct chunk rig_chunk(struct rig *rig, uint32_t pool, uint32_t length)
{
    struct chunk c = {.pool = pool, .length = length};
    c.id.sequence = c.seed = ++rig->sequence;
    for (unsigned i = 0; i < WRITE_ID_BYTES; i++)
        c.id.write.bytes[i] = (uint8_t)rig_random(rig, 256);
    return c;
}

/* Writes all of it but the finish; *w NULL when it could not be opened. pause: before each space. */
static inline enum err rig_fill(struct rig *rig, const struct request_context *request,
                                struct chunk *c, int64_t pause, struct chunk_writer **w)
{
    *w = NULL;
    enum err e = chunk_writer_open(&rig->io, request, c->pool, &c->id, c->length, 77, w);
    for (uint32_t done = 0; e == OK && done < c->length;) {
        void *at;
        size_t n;
        if (pause)
            sys_sleep_until(sys_now() + pause);
        e = chunk_writer_space(*w, &at, &n);
        if (e != OK)
            break;
        if (n > 1 && rig_random(rig, 4) == 0)
            n = 1 + rig_random(rig, n);
        for (size_t i = 0; i < n; i++)
            ((uint8_t *)at)[i] = rig_byte(c->seed, done + i);
        done += (uint32_t)n;
        e = chunk_writer_advance(*w, n);
    }
    return e;
}

static inline enum err rig_write(struct rig *rig, struct chunk *c, int64_t timeout, int64_t pause)
{
    struct request_context request = rig_context(timeout);
    struct chunk_writer *w;
    enum err e = rig_fill(rig, &request, c, pause, &w);
    if (e == OK)
        e = chunk_writer_finish(w, &c->durable);
    chunk_writer_free(w);
    return e;
}

static inline unsigned rig_durable(const struct chunk *c)
{
    unsigned n = 0;
    for (unsigned i = 0; i < c->durable.width; i++)
        n += c->durable.disks[i] != 0;
    return n;
}

/* Reads a range and compares; pause: after each piece. */
static inline enum err rig_read_range(struct rig *rig, const struct request_context *request,
                                      const struct chunk *c, uint32_t offset, uint32_t length,
                                      int64_t pause)
{
    struct chunk_reader *r = NULL;
    enum err e =
        chunk_reader_open(&rig->io, request, c->pool, &c->id, c->length, offset, length, &r);
    uint32_t done = 0;
    bool same = true;
    while (e == OK) {
        const void *data;
        size_t n;
        e = chunk_reader_next(r, &data, &n);
        if (e != OK || n == 0)
            break;
        for (size_t i = 0; i < n; i++)
            same &= ((const uint8_t *)data)[i] == rig_byte(c->seed, offset + done + i);
        done += (uint32_t)n;
        if (pause)
            sys_sleep_until(sys_now() + pause);
    }
    CHECK(same);
    if (e == OK)
        CHECK_EQ(done, length);
    chunk_reader_free(r);
    return e;
}

static inline enum err rig_check(struct rig *rig, const struct chunk *c, int64_t timeout)
{
    struct request_context request = rig_context(timeout);
    return rig_read_range(rig, &request, c, 0, c->length, 0);
}

/* A shard by its disk; NULL when it does not have it. */
static inline struct kept *rig_shard(struct rig *rig, disk_id disk, const struct chunk *c,
                                     unsigned index)
{
    const struct shard_id id = {.chunk = c->id, .index = (uint8_t)index};
    return rig_find(&rig->disks[disk], &id);
}

/* Takes a shard away (and back) without anybody noticing. */
static inline void rig_hide(struct rig *rig, disk_id disk, const struct chunk *c, unsigned index,
                            bool hidden)
{
    struct disk *d = &rig->disks[disk];
    for (unsigned i = 0; i < d->count; i++) {
        struct shard_id *id = &d->kept[i].shard.id;
        if (chunk_id_equal(&id->chunk, &c->id) && (id->index & 0x7f) == index)
            id->index = (uint8_t)(index | (hidden ? 0x80 : 0));
    }
}
