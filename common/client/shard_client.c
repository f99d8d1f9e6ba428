#include "common/client/shard_client.h"
#include <assert.h>
#include <string.h>
#include "common/client/map_cache.h"
#include "common/proto/message_types.h"
#include "common/proto/service.pb-c.h"
#include "common/rpc/rpc_call.h"
#include "common/rpc/rpc_peer.h"
#include "common/sys/sys.h"

enum { BLOCKS_PER_APPEND = BUF_LARGE / SHARD_BLOCK + 1 };

struct shard_client {
    struct rpc_node *node;
    struct map_cache *map;
    bool has_local;
    struct shard_local local;
};

struct shard_write {
    struct shard_client *client;
    struct gather *gather;
    struct call *call;
    void *local; /* the local disk's write, NULL once taken or for a remote one */
    bool is_local, committed;
    uint32_t sent;
    int64_t deadline;
};

struct shard_read {
    struct shard_client *client;
    struct gather *gather;
    struct call *call;
    struct buf *into;
    size_t at;
    struct shard_range range;
    struct shard_id id;
    disk_id disk;
    uint32_t pool;
    bool is_local;
};

struct shard_client *shard_client_new(struct rpc_node *node, struct map_cache *map,
                                      const struct shard_local *local)
{
    struct shard_client *c = sys_alloc(sizeof *c);
    c->node = node;
    c->map = map;
    if (local) {
        c->has_local = true;
        c->local = *local;
    }
    return c;
}

void shard_client_free(struct shard_client *c)
{
    sys_free(c);
}

static bool is_local(const struct shard_client *c, disk_id disk)
{
    return c->has_local && c->local.has_disk(c->local.context, disk);
}

/* The chunkserver that has this disk, by the map. */
static enum err peer_of(struct shard_client *c, disk_id disk, struct rpc_peer **out, bool *up)
{
    const struct cluster_map *map = map_cache_ref(c->map);
    const struct cluster_disk *d = cluster_map_disk(map, disk);
    struct sys_addr address;
    enum err e = d ? sys_addr_parse(d->address, &address) : ERR_NOT_FOUND;
    *up = d && d->up;
    map_cache_unref(c->map, map);
    return e == OK ? rpc_peer_get(c->node, &address, out) : e;
}

bool shard_disk_avoided(struct shard_client *c, disk_id disk)
{
    struct rpc_peer *peer;
    bool up;
    if (is_local(c, disk))
        return false;
    if (peer_of(c, disk, &peer, &up) != OK || !up)
        return true;
    return rpc_peer_stats(peer).bulk_breaker == BREAKER_OPEN;
}

/* A refusal for a changed slot carries the placement group's new line. */
static void take_news(struct shard_client *c, const struct call *call)
{
    struct arena arena;
    ProtobufCMessage *message = NULL;
    arena_init(&arena);
    if (call_reply(call, &placement_news__descriptor, &arena, &message) == OK && message) {
        const PlacementNews *news = (const PlacementNews *)message;
        map_cache_seen(c->map, news->epoch);
        if (news->pg)
            map_cache_take_pg(c->map, news->pg);
    }
    arena_release(&arena);
}

static ProtobufCBinaryData chunk_bytes(const struct chunk_id *id, uint8_t out[CHUNK_ID_BYTES])
{
    chunk_id_encode(id, out);
    return (ProtobufCBinaryData){.len = CHUNK_ID_BYTES, .data = out};
}

/* ---- write ---- */

static enum err open_remote(struct shard_write *w, disk_id disk, const struct stored_shard *shard,
                            uint64_t since_epoch, uint32_t tag)
{
    struct rpc_peer *peer;
    bool up;
    uint8_t chunk[CHUNK_ID_BYTES];
    enum err e = peer_of(w->client, disk, &peer, &up);
    if (e != OK)
        return e;
    ShardOpen body = SHARD_OPEN__INIT;
    body.disk = disk;
    body.pool = shard->pool;
    body.chunk_id = chunk_bytes(&shard->id.chunk, chunk);
    body.index = shard->id.index;
    body.k = shard->k;
    body.m = shard->m;
    body.cell = shard->cell;
    body.chunk_length = shard->chunk_length;
    body.shard_length = shard->length;
    body.nonce = shard->nonce;
    body.began = shard->began;
    body.since_epoch = since_epoch;
    const struct rpc_call first = {.tag = tag, .type = MSG_SHARD_OPEN, .body = &body.base};
    return rpc_stream_open(peer, w->gather, &first, &w->call);
}

static enum err open_local(struct shard_write *w, disk_id disk, const struct stored_shard *shard,
                           uint64_t since_epoch, uint32_t tag)
{
    const struct shard_local *l = &w->client->local;
    enum err e = l->write_begin(l->context, disk, shard, since_epoch, &w->local);
    if (e != OK)
        return e;
    e = call_new(w->gather, tag, &w->call);
    if (e != OK)
        l->write_abort(w->local);
    return e;
}

enum err shard_write_begin(struct shard_client *c, struct gather *g, disk_id disk,
                           const struct stored_shard *shard, uint64_t since_epoch, uint32_t tag,
                           struct shard_write **out)
{
    struct shard_write *w = sys_alloc(sizeof *w);
    w->client = c;
    w->gather = g;
    w->is_local = is_local(c, disk);
    w->deadline = g->context->deadline;
    enum err e = w->is_local ? open_local(w, disk, shard, since_epoch, tag)
                             : open_remote(w, disk, shard, since_epoch, tag);
    if (e != OK) {
        sys_free(w);
        return e;
    }
    *out = w;
    return OK;
}

enum err shard_write_append(struct shard_write *w, struct buf *buf, size_t at, size_t length,
                            const uint32_t *block_crc)
{
    uint32_t crcs[BLOCKS_PER_APPEND];
    uint32_t blocks = shard_block_count((uint32_t)length);
    assert(blocks <= BLOCKS_PER_APPEND && w->sent % SHARD_BLOCK == 0);
    if (w->is_local) {
        if (!w->local)
            return ERR_CLOSED;
        const struct shard_local *l = &w->client->local;
        enum err e = l->write_append(w->local, buf->data + at, length, block_crc, w->deadline);
        w->sent += e == OK ? (uint32_t)length : 0;
        return e;
    }
    ShardAppend body = SHARD_APPEND__INIT;
    memcpy(crcs, block_crc, blocks * sizeof *crcs);
    body.offset = w->sent;
    body.block_crc = crcs;
    body.n_block_crc = blocks;
    enum err e = rpc_stream_send(w->call, MSG_SHARD_APPEND, &body.base, buf, at, length, true);
    w->sent += e == OK ? (uint32_t)length : 0;
    return e;
}

void shard_write_keep(struct shard_write *w)
{
    if (w->is_local)
        return; /* has no idle time-out */
    ShardAppend body = SHARD_APPEND__INIT;
    body.offset = w->sent;
    if (rpc_stream_send(w->call, MSG_SHARD_APPEND, &body.base, NULL, 0, 0, true) != OK) {
        /* Full: then it is not idle. Ended: the call says how. */
    }
}

void shard_write_commit(struct shard_write *w, uint32_t crc)
{
    assert(!w->committed);
    w->committed = true;
    if (w->is_local) {
        void *local = w->local;
        w->local = NULL;
        w->client->local.write_commit(local, crc, w->call);
        return;
    }
    ShardCommit body = SHARD_COMMIT__INIT;
    body.crc = crc;
    if (rpc_stream_finish(w->call, MSG_SHARD_COMMIT, &body.base) != OK) {
        /* It has ended already: the call says how. */
    }
}

enum err shard_write_result(struct shard_write *w)
{
    struct call_info info = call_info(w->call);
    if (info.result == ERR_STALE_PLACEMENT)
        take_news(w->client, w->call);
    if (info.result == OK && !w->committed)
        return ERR_FORMAT; /* an answer before the question */
    return info.result;
}

void shard_write_free(struct shard_write *w)
{
    if (!w)
        return;
    if (w->is_local && w->local) {
        w->client->local.write_abort(w->local);
        call_complete(w->call, ERR_ABORTED, 0);
    }
    gather_cancel(w->gather, w->call);
    sys_free(w);
}

/* ---- read ---- */

static enum err read_remote(struct shard_read *r, uint64_t since_epoch, bool insist, uint32_t tag)
{
    struct rpc_peer *peer;
    bool up;
    uint8_t chunk[CHUNK_ID_BYTES];
    enum err e = peer_of(r->client, r->disk, &peer, &up);
    if (e != OK)
        return e;
    ShardRead body = SHARD_READ__INIT;
    body.disk = r->disk;
    body.pool = r->pool;
    body.chunk_id = chunk_bytes(&r->id.chunk, chunk);
    body.index = r->id.index;
    body.offset = r->range.offset;
    body.length = r->range.length;
    body.since_epoch = since_epoch;
    const struct rpc_call request = {
        .tag = tag,
        .type = MSG_SHARD_READ,
        .body = &body.base,
        .into = r->into->data + r->at,
        .into_bytes = r->range.length,
        .insist = insist,
    };
    return rpc_call_start(peer, r->gather, &request, &r->call);
}

static enum err read_local(struct shard_read *r, uint32_t tag)
{
    const struct shard_local *l = &r->client->local;
    enum err e = call_new(r->gather, tag, &r->call);
    if (e != OK)
        return e;
    e = l->read(l->context, r->disk, r->pool, &r->id, r->range.offset, r->range.length, r->into,
                r->at, r->call);
    if (e != OK) {
        call_complete(r->call, e, 0);
        gather_cancel(r->gather, r->call);
    }
    return e;
}

enum err shard_read_begin(struct shard_client *c, struct gather *g, disk_id disk, uint32_t pool,
                          const struct shard_id *id, uint64_t since_epoch, struct shard_range range,
                          struct buf *into, size_t at, bool insist, uint32_t tag,
                          struct shard_read **out)
{
    assert(range.length > 0 && at + range.length <= into->capacity);
    struct shard_read *r = sys_alloc(sizeof *r);
    *r = (struct shard_read){
        .client = c,
        .gather = g,
        .into = buf_ref(into),
        .at = at,
        .range = range,
        .id = *id,
        .disk = disk,
        .pool = pool,
        .is_local = is_local(c, disk),
    };
    enum err e = r->is_local ? read_local(r, tag) : read_remote(r, since_epoch, insist, tag);
    if (e != OK) {
        buf_unref(r->into);
        sys_free(r);
        return e;
    }
    *out = r;
    return OK;
}

/* Every piece of the payload against the CRC that the disk sent for it. */
static enum err verify(const struct shard_read *r, const ShardReadReply *reply)
{
    const uint8_t *bytes = r->into->data + r->at;
    uint32_t done = 0;
    for (size_t i = 0; done < r->range.length; i++) {
        uint32_t at = r->range.offset + done;
        uint32_t n = SHARD_BLOCK - at % SHARD_BLOCK;
        if (n > r->range.length - done)
            n = r->range.length - done;
        if (i >= reply->n_block_crc)
            return ERR_FORMAT;
        if (shard_crc(&r->id, at / SHARD_BLOCK, bytes + done, n) != reply->block_crc[i])
            return ERR_CORRUPT;
        done += n;
    }
    return OK;
}

enum err shard_read_result(struct shard_read *r, uint64_t *nonce)
{
    struct call_info info = call_info(r->call);
    if (info.result == ERR_STALE_PLACEMENT)
        take_news(r->client, r->call);
    if (info.result != OK)
        return info.result;
    struct arena arena;
    ProtobufCMessage *message = NULL;
    arena_init(&arena);
    enum err e = OK;
    if (r->is_local) {
        /* The disk has verified it, and no network lies between. */
        *nonce = info.payload_length;
    } else {
        e = call_reply(r->call, &shard_read_reply__descriptor, &arena, &message);
        if (e == OK && (!message || info.payload_length != r->range.length))
            e = ERR_FORMAT;
        const ShardReadReply *reply = (const ShardReadReply *)message;
        if (e == OK)
            e = verify(r, reply);
        if (e == OK)
            *nonce = reply->nonce;
        else
            shard_suspect(r->client, r->disk, r->pool, &r->id);
    }
    arena_release(&arena);
    return e;
}

void shard_read_free(struct shard_read *r)
{
    if (!r)
        return;
    gather_cancel(r->gather, r->call);
    buf_unref(r->into);
    sys_free(r);
}

/* ---- neither ---- */

enum err shard_remove(struct shard_client *c, const struct request_context *request, disk_id disk,
                      uint32_t pool, const struct chunk_id *chunks, size_t count)
{
    assert(count <= SHARD_REMOVE_MAX);
    if (is_local(c, disk))
        return c->local.remove(c->local.context, disk, pool, chunks, count, request->deadline);
    struct rpc_peer *peer;
    bool up;
    enum err e = peer_of(c, disk, &peer, &up);
    if (e == ERR_NOT_FOUND) {
        /* Who asks knows of a disk that is newer than this process's map. */
        e = map_cache_refresh(c->map, request, 0);
        if (e == OK)
            e = peer_of(c, disk, &peer, &up);
    }
    if (e != OK)
        return e;
    uint8_t bytes[SHARD_REMOVE_MAX][CHUNK_ID_BYTES];
    ProtobufCBinaryData ids[SHARD_REMOVE_MAX];
    for (size_t i = 0; i < count; i++)
        ids[i] = chunk_bytes(&chunks[i], bytes[i]);
    ShardDelete body = SHARD_DELETE__INIT;
    body.disk = disk;
    body.pool = pool;
    body.chunk_ids = ids;
    body.n_chunk_ids = count;
    struct arena arena;
    ProtobufCMessage *reply = NULL;
    arena_init(&arena);
    e = rpc_control_call(peer, request, MSG_SHARD_DELETE, &body.base, NULL, &arena, &reply);
    arena_release(&arena);
    return e;
}

void shard_suspect(struct shard_client *c, disk_id disk, uint32_t pool, const struct shard_id *id)
{
    if (is_local(c, disk)) {
        c->local.suspect(c->local.context, disk, pool, id);
        return;
    }
    struct rpc_peer *peer;
    bool up;
    uint8_t chunk[CHUNK_ID_BYTES];
    if (peer_of(c, disk, &peer, &up) != OK)
        return;
    ShardSuspect body = SHARD_SUSPECT__INIT;
    body.disk = disk;
    body.pool = pool;
    body.chunk_id = chunk_bytes(&id->chunk, chunk);
    body.index = id->index;
    if (rpc_control_notify(peer, MSG_SHARD_SUSPECT, &body.base) != OK) {
        /* A hint that is lost is given again by the next reader. */
    }
}
