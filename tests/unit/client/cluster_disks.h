/* The chunkservers of cluster_rig.h: simulated processes, one disk each, that keep shards in memory and
 * misbehave on demand. What must outlive a crash is the test's own memory. */
#pragma once
#include <assert.h>
#include <stdlib.h>
#include "common/base/shard_crc.h"
#include "common/client/chunk_io.h"
#include "common/client/map_cache.h"
#include "common/client/metadata_client.h"
#include "common/client/shard_client.h"
#include "common/proto/message_types.h"
#include "common/rpc/rpc_peer.h"
#include "common/rpc/rpc_server.h"
#include "common/sys/sim/sim.h"
#include "erasure/stripe.h"
#include "tests/unit/suite.h"

enum {
    DISKS = 14,
    FIRST_HOST = 10,
    PORT = 7000,
    SHARDS_MAX = 64, /* per disk */
    POOLS = 7,
};
enum { P_4_2 = 1, P_2_1, P_1_2, P_8_3, P_4_2_SMALL, P_3_0, P_4_2_ZONES };
/* The last one's disks lie two to a host. */
static const struct cluster_pool rig_pools[POOLS] = {
    {.id = P_4_2, .name = "a", .k = 4, .m = 2, .cell_bytes = 65536, .domain = DOMAIN_HOST},
    {.id = P_2_1, .name = "b", .k = 2, .m = 1, .cell_bytes = 65536, .domain = DOMAIN_HOST},
    {.id = P_1_2, .name = "c", .k = 1, .m = 2, .cell_bytes = 65536, .domain = DOMAIN_HOST},
    {.id = P_8_3, .name = "d", .k = 8, .m = 3, .cell_bytes = 65536, .domain = DOMAIN_HOST},
    {.id = P_4_2_SMALL, .name = "e", .k = 4, .m = 2, .cell_bytes = 16384, .domain = DOMAIN_HOST},
    {.id = P_3_0, .name = "f", .k = 3, .m = 0, .cell_bytes = 65536, .domain = DOMAIN_HOST},
    {.id = P_4_2_ZONES, .name = "g", .k = 4, .m = 2, .cell_bytes = 65536, .domain = DOMAIN_ZONE},
};

struct kept {
    struct stored_shard shard;
    uint8_t *bytes;
};

/* What a disk does wrong, from the moment it is set. */
struct misdeeds {
    uint16_t slow_type; /* 0: every type */
    int64_t slow;       /* before each answer */
    uint16_t hang_type; /* no answer to these until it is 0 again */
    uint16_t crash_type;
    uint16_t error_type;
    enum err error;
    unsigned error_count; /* how many times; 0: always */
    bool corrupt;         /* flips a byte of every payload that it reads */
    bool misdated;        /* answers reads under a nonce of its own */
    bool news;            /* ERR_STALE_PLACEMENT comes with the map's line */
};

struct rig;
struct disk {
    struct rig *rig;
    disk_id id;
    int pid;
    bool quit;
    struct misdeeds bad;
    struct kept kept[SHARDS_MAX];
    unsigned count, opens, appends, commits, reads, deletes, suspects, aborts, wrong;
    uint64_t last_since;
};

struct block {
    struct block *next;
};

struct rig {
    struct rpc_identity identity;
    struct rpc_keys keys;
    struct disk disks[DISKS + 1]; /* by id */
    struct cluster_map *map;      /* what metadata knows */
    unsigned map_queries;
    struct block *memory;
    struct rpc_node *node;
    struct metadata_client *metadata;
    struct chunk_io io;
    uint64_t random;
    uint32_t sequence;
};

/* The test's own, not a process's: outlives crashes. */
static inline void *rig_memory(struct rig *rig, size_t n)
{
    struct block *b = calloc(1, sizeof *b + n);
    if (!b)
        abort();
    b->next = rig->memory;
    rig->memory = b;
    return b + 1;
}

static inline uint64_t rig_random(struct rig *rig, uint64_t below)
{
    rig->random = rig->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (rig->random >> 20) % below;
}

struct incoming {
    struct disk *disk;
    struct stored_shard shard;
    uint8_t *bytes;
    uint32_t received, crc;
    bool kept;
};

static inline void rig_incoming_destroy(void *state)
{
    struct incoming *in = state;
    in->disk->aborts += !in->kept;
}

/* True: it has been answered, badly. */
static inline bool rig_misbehave(struct disk *d, struct rpc_request *r)
{
    uint16_t type = rpc_request_type(r);
    if (d->bad.crash_type == type) {
        d->bad.crash_type = 0;
        sim_crash(sim_self());
        sys_sleep_until(SYS_FOREVER);
    }
    if (d->bad.slow > 0 && (d->bad.slow_type == 0 || d->bad.slow_type == type))
        sys_sleep_until(sys_now() + d->bad.slow);
    while (d->bad.hang_type == type && !d->quit)
        sys_sleep_until(sys_now() + 20 * SYS_MS);
    if (d->bad.error_type != type)
        return false;
    if (d->bad.error_count > 0 && --d->bad.error_count == 0)
        d->bad.error_type = 0;
    PlacementNews news = PLACEMENT_NEWS__INIT;
    PgInfo pg = PG_INFO__INIT;
    Slot slots[POOL_SLOTS_MAX], *slot_list[POOL_SLOTS_MAX];
    Holder holders[POOL_SLOTS_MAX][SLOT_HOLDERS_MAX];
    Holder *holder_list[POOL_SLOTS_MAX][SLOT_HOLDERS_MAX];
    if (d->bad.error == ERR_STALE_PLACEMENT && d->bad.news) {
        const ShardOpen *body = (const ShardOpen *)rpc_request_body(r);
        const struct cluster_pool *pool = cluster_map_pool(d->rig->map, body->pool);
        for (unsigned i = 0; i < pool_width(pool); i++) {
            const struct pg_slot *s = pool_slot(pool, 0, i);
            slot__init(&slots[i]);
            slot_list[i] = &slots[i];
            slots[i].holders = holder_list[i];
            slots[i].n_holders = s->count;
            for (unsigned h = 0; h < s->count; h++) {
                holder__init(&holders[i][h]);
                holders[i][h].disk = s->holders[h].disk;
                holders[i][h].since_epoch = s->holders[h].since_epoch;
                holder_list[i][h] = &holders[i][h];
            }
        }
        pg.pool = body->pool;
        pg.slots = slot_list;
        pg.n_slots = pool_width(pool);
        pg.changed = d->rig->map->epoch;
        news.pg = &pg;
        news.epoch = d->rig->map->epoch;
        rpc_reply(r, d->bad.error, &news.base, NULL, 0, 0);
        return true;
    }
    rpc_reply(r, d->bad.error, NULL, NULL, 0, 0);
    return true;
}

static inline void rig_open(void *context, struct rpc_request *r)
{
    struct disk *d = context;
    const ShardOpen *m = (const ShardOpen *)rpc_request_body(r);
    d->opens++;
    d->last_since = m->since_epoch;
    if (rig_misbehave(d, r))
        return;
    d->wrong += m->disk != d->id || m->chunk_id.len != CHUNK_ID_BYTES;
    struct incoming *in = rig_memory(d->rig, sizeof *in);
    in->disk = d;
    chunk_id_decode(m->chunk_id.data, &in->shard.id.chunk);
    in->shard.id.index = (uint8_t)m->index;
    in->shard.pool = m->pool;
    in->shard.length = m->shard_length;
    in->shard.chunk_length = m->chunk_length;
    in->shard.cell = m->cell;
    in->shard.k = (uint8_t)m->k;
    in->shard.m = (uint8_t)m->m;
    in->shard.nonce = m->nonce;
    in->shard.began = m->began;
    in->bytes = rig_memory(d->rig, m->shard_length);
    rpc_connection_set_state(rpc_request_connection(r), in, rig_incoming_destroy);
}

static inline void rig_append(void *context, struct rpc_request *r)
{
    struct disk *d = context;
    const ShardAppend *m = (const ShardAppend *)rpc_request_body(r);
    struct incoming *in = rpc_connection_state(rpc_request_connection(r));
    size_t n = rpc_request_payload_length(r);
    d->appends++;
    if (rig_misbehave(d, r))
        return;
    if (!in || m->offset != in->received || in->received + n > in->shard.length ||
        m->n_block_crc != shard_block_count((uint32_t)n) || m->offset % SHARD_BLOCK != 0) {
        d->wrong++;
        rpc_reply(r, ERR_INVALID, NULL, NULL, 0, 0);
        return;
    }
    if (rpc_payload_read(r, in->bytes + in->received, n) != OK)
        return;
    for (size_t at = 0, i = 0; at < n; at += SHARD_BLOCK, i++) {
        size_t piece = n - at < SHARD_BLOCK ? n - at : SHARD_BLOCK;
        d->wrong += shard_crc(&in->shard.id, (uint32_t)((m->offset + at) / SHARD_BLOCK),
                              in->bytes + m->offset + at, piece) != m->block_crc[i];
    }
    in->crc = shard_crc_of_crcs(in->crc, m->block_crc, m->n_block_crc);
    in->received += (uint32_t)n;
}

static inline struct kept *rig_find(struct disk *d, const struct shard_id *id)
{
    for (unsigned i = 0; i < d->count; i++)
        if (chunk_id_equal(&d->kept[i].shard.id.chunk, &id->chunk) &&
            d->kept[i].shard.id.index == id->index)
            return &d->kept[i];
    return NULL;
}

static inline void rig_commit(void *context, struct rpc_request *r)
{
    struct disk *d = context;
    const ShardCommit *m = (const ShardCommit *)rpc_request_body(r);
    d->commits++;
    if (rig_misbehave(d, r))
        return;
    struct incoming *in = rpc_connection_take_state(rpc_request_connection(r));
    if (!in || in->received != in->shard.length || in->crc != m->crc) {
        d->wrong++;
        rpc_reply(r, ERR_INVALID, NULL, NULL, 0, 0);
        return;
    }
    struct kept *k = rig_find(d, &in->shard.id);
    if (!k && d->count < SHARDS_MAX)
        k = &d->kept[d->count++];
    in->kept = true;
    if (k)
        *k = (struct kept){.shard = in->shard, .bytes = in->bytes};
    rpc_reply(r, k ? OK : ERR_DISK_FULL, NULL, NULL, 0, 0);
}

static inline void rig_read(void *context, struct rpc_request *r)
{
    struct disk *d = context;
    const ShardRead *m = (const ShardRead *)rpc_request_body(r);
    d->reads++;
    d->last_since = m->since_epoch;
    if (rig_misbehave(d, r))
        return;
    struct shard_id id = {.index = (uint8_t)m->index};
    chunk_id_decode(m->chunk_id.data, &id.chunk);
    const struct kept *k = rig_find(d, &id);
    if (!k || m->disk != d->id) {
        rpc_reply(r, ERR_NOT_FOUND, NULL, NULL, 0, 0);
        return;
    }
    if (m->offset >= k->shard.length || m->length > k->shard.length - m->offset) {
        d->wrong++;
        rpc_reply(r, ERR_INVALID, NULL, NULL, 0, 0);
        return;
    }
    uint32_t crcs[16], n = 0;
    for (uint32_t done = 0; done < m->length && n < 16; n++) {
        uint32_t at = m->offset + done, piece = SHARD_BLOCK - at % SHARD_BLOCK;
        if (piece > m->length - done)
            piece = m->length - done;
        crcs[n] = shard_crc(&id, at / SHARD_BLOCK, k->bytes + at, piece);
        done += piece;
    }
    ShardReadReply reply = SHARD_READ_REPLY__INIT;
    reply.block_crc = crcs;
    reply.n_block_crc = n;
    reply.nonce = k->shard.nonce + d->bad.misdated;
    reply.chunk_length = k->shard.chunk_length;
    uint8_t flipped = k->bytes[m->offset] ^ 0x10;
    struct sys_slice v[2] = {{k->bytes + m->offset, 1}, {k->bytes + m->offset + 1, m->length - 1}};
    if (d->bad.corrupt)
        v[0].data = &flipped;
    rpc_reply(r, OK, &reply.base, v, m->length > 1 ? 2 : 1, RPC_REPLY_CHECKED_ELSEWHERE);
}

static inline void rig_delete(void *context, struct rpc_request *r)
{
    struct disk *d = context;
    const ShardDelete *m = (const ShardDelete *)rpc_request_body(r);
    d->deletes++;
    if (rig_misbehave(d, r))
        return;
    for (size_t i = 0; i < m->n_chunk_ids; i++) {
        struct chunk_id id;
        chunk_id_decode(m->chunk_ids[i].data, &id);
        for (unsigned k = 0; k < d->count;)
            if (chunk_id_equal(&d->kept[k].shard.id.chunk, &id))
                d->kept[k] = d->kept[--d->count];
            else
                k++;
    }
    rpc_reply(r, OK, NULL, NULL, 0, 0);
}

static inline void rig_suspect(void *context, struct rpc_request *r)
{
    struct disk *d = context;
    d->suspects++;
    rpc_reply(r, OK, NULL, NULL, 0, 0);
}

static inline void rig_serve(void *arg)
{
    struct disk *d = arg;
    const struct rpc_route routes[] = {
        {MSG_SHARD_OPEN, &shard_open__descriptor, rig_open, d},
        {MSG_SHARD_APPEND, &shard_append__descriptor, rig_append, d},
        {MSG_SHARD_COMMIT, &shard_commit__descriptor, rig_commit, d},
        {MSG_SHARD_READ, &shard_read__descriptor, rig_read, d},
        {MSG_SHARD_DELETE, &shard_delete__descriptor, rig_delete, d},
        {MSG_SHARD_SUSPECT, &shard_suspect__descriptor, rig_suspect, d},
    };
    struct rpc_server_config c;
    rpc_server_config_default(&c);
    c.listen = sim_addr(FIRST_HOST + d->id, PORT);
    c.self = d->rig->identity;
    c.self.role = RPC_CHUNK;
    c.self.node_id = 1000 + d->id;
    c.keys = d->rig->keys;
    c.routes = routes;
    c.routes_count = sizeof routes / sizeof *routes;
    struct rpc_server *server;
    if (rpc_server_start(&c, &server) != OK)
        sys_exit(1, "no server");
    struct sys_poll v = {.event = sys_stop_event()};
    while (sys_poll(&v, 1, SYS_FOREVER) != OK)
        ;
    d->quit = true;
    rpc_server_stop(server);
    rpc_server_free(server);
}
