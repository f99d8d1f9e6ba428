#include <string.h>
#include "common/base/shard_crc.h"
#include "common/client/chunk_fetch_internal.h"
#include "common/client/map_cache.h"
#include "common/sys/sys.h"

/* One shard of one chunk made anew, piece by piece: read (copied from an older holder, or decoded),
 * checksummed, appended to the target. Memory: one piece of k shards, whatever the chunk's length. */

enum { WRITE_TAG = 1 << 20 };
#define PAUSE (5 * SYS_MS)

struct rebuild {
    struct chunk_source source;
    const struct request_context *request;
    struct gather gather;
    struct fetch fetch;
    struct stored_shard shard;
    struct shard_write *write;
    bool write_ended;
    uint64_t moved;
};

static enum err pump(struct rebuild *r, int64_t until)
{
    struct call *call;
    enum err e = gather_next(&r->gather, until, &call);
    while (e == OK) {
        struct call_info info = call_info(call);
        if (info.finished && info.tag == WRITE_TAG)
            r->write_ended = true;
        else if (info.finished) {
            fetch_take(&r->fetch, info.tag);
            /* What was asked and has come counts, used or not. */
            r->moved += r->fetch.shards[info.tag].state == FETCH_HAVE
                            ? r->fetch.shards[info.tag].asked.length
                            : 0;
        }
        e = gather_next(&r->gather, 0, &call);
    }
    return e == ERR_TIMEOUT || e == ERR_EMPTY ? OK : e;
}

static enum err fetch_piece(struct rebuild *r, struct shard_range range)
{
    unsigned index = r->shard.id.index;
    bool begun = false;
    for (;;) {
        enum err e = OK;
        if (!begun) {
            memset(&r->fetch, 0, sizeof r->fetch);
            r->fetch.source = &r->source;
            r->fetch.shards[index].wanted = range;
            e = fetch_start(&r->fetch);
            begun = e == OK;
        }
        int64_t now = sys_now();
        if (begun)
            e = fetch_poll(&r->fetch, now);
        if (begun && e == OK && r->fetch.done)
            return OK;
        if (e != OK && e != ERR_BUSY)
            return e;
        if (now >= r->request->deadline)
            return ERR_TIMEOUT;
        int64_t until = e == ERR_BUSY ? now + PAUSE : r->fetch.wake_at;
        if (until > r->request->deadline)
            until = r->request->deadline;
        if (r->gather.outstanding == 0)
            sys_sleep_until(until);
        e = pump(r, until);
        if (e != OK)
            return e;
    }
}

/* Sends one piece; the fetch's own buffer is what the network sends from. */
static enum err append_piece(struct rebuild *r, struct shard_range range, uint32_t *crc)
{
    struct fetch_shard *from = &r->fetch.shards[r->shard.id.index];
    struct buf *buf = from->state == FETCH_HAVE ? from->bytes : from->decoded;
    const uint8_t *bytes = fetch_bytes(&r->fetch, r->shard.id.index);
    uint32_t crcs[FETCH_BYTES_MAX / SHARD_BLOCK];
    uint32_t blocks = shard_block_count(range.length);
    for (uint32_t i = 0; i < blocks; i++) {
        uint32_t at = i * SHARD_BLOCK;
        uint32_t n = range.length - at < SHARD_BLOCK ? range.length - at : SHARD_BLOCK;
        crcs[i] = shard_crc(&r->shard.id, range.offset / SHARD_BLOCK + i, bytes + at, n);
    }
    *crc = shard_crc_of_crcs(*crc, crcs, blocks);
    for (;;) {
        enum err e =
            shard_write_append(r->write, buf, (size_t)(bytes - buf->data), range.length, crcs);
        if (e != ERR_BUSY)
            return e;
        if (sys_now() >= r->request->deadline)
            return ERR_TIMEOUT;
        e = pump(r, r->request->deadline);
        if (e != OK)
            return e;
    }
}

static enum err run(struct rebuild *r, disk_id target)
{
    uint32_t crc = 0;
    enum err e = shard_write_begin(r->source.io->shards, &r->gather, target, &r->shard, 0,
                                   WRITE_TAG, &r->write);
    for (uint32_t at = 0; e == OK && at < r->shard.length; at += FETCH_BYTES_MAX) {
        struct shard_range range = {at, r->shard.length - at};
        if (range.length > FETCH_BYTES_MAX)
            range.length = FETCH_BYTES_MAX;
        e = fetch_piece(r, range);
        if (e == OK && r->source.nonce != r->shard.nonce)
            e = ERR_CORRUPT; /* what is stored is not what metadata knows */
        if (e == OK)
            e = append_piece(r, range, &crc);
        r->moved += e == OK ? range.length : 0;
        if (r->fetch.source)
            fetch_release(&r->fetch);
    }
    if (e != OK)
        return r->write_ended && e == ERR_CLOSED ? shard_write_result(r->write) : e;
    shard_write_commit(r->write, crc);
    while (e == OK && !r->write_ended)
        e = sys_now() >= r->request->deadline ? ERR_TIMEOUT : pump(r, r->request->deadline);
    return e == OK ? shard_write_result(r->write) : e;
}

static enum err rebuild(const struct chunk_io *io, const struct request_context *request,
                        uint32_t pool, const struct chunk_id *id, uint32_t chunk_length,
                        uint64_t nonce, int64_t began, uint8_t index, disk_id target,
                        const disk_id *known, uint64_t *bytes_moved)
{
    *bytes_moved = 0;
    struct sys_event *event;
    enum err e = sys_event_new(&event);
    if (e != OK)
        return e;
    struct rebuild *r = sys_alloc(sizeof *r);
    r->request = request;
    e = gather_init(&r->gather, event, request);
    if (e != OK) {
        sys_event_free(event);
        sys_free(r);
        return e;
    }
    const struct cluster_map *map = map_cache_ref(io->map);
    e = chunk_source_init(&r->source, io, &r->gather, map, pool, id, chunk_length);
    if (e == OK && index >= r->source.k + r->source.m)
        e = ERR_INVALID;
    if (e == OK) {
        r->source.nonce = nonce;
        r->source.excluded = target;
        r->source.known = known;
        r->shard = (struct stored_shard){
            .id = {.chunk = *id, .index = index},
            .pool = pool,
            .length = r->source.layout.shard_length,
            .chunk_length = chunk_length,
            .cell = r->source.layout.cell_size,
            .k = r->source.k,
            .m = r->source.m,
            .nonce = nonce,
            .began = began,
        };
        e = run(r, target);
    }
    *bytes_moved = r->moved;
    shard_write_free(r->write);
    gather_release(&r->gather);
    map_cache_unref(io->map, map);
    sys_event_free(event);
    sys_free(r);
    return e;
}

enum err chunk_rebuild(const struct chunk_io *io, const struct request_context *request,
                       uint32_t pool, const struct chunk_id *id, uint32_t chunk_length,
                       uint64_t nonce, int64_t began, uint8_t index, disk_id target,
                       uint64_t *bytes_moved)
{
    return rebuild(io, request, pool, id, chunk_length, nonce, began, index, target, NULL,
                   bytes_moved);
}

/* Hazard 3. A shard that cannot be copied is no longer counted; the commit then says whether what is
 * left is enough. */
enum err chunk_follow(const struct chunk_io *io, const struct request_context *request,
                      uint32_t pool_id, const struct chunk_id *id, uint32_t chunk_length,
                      int64_t began, struct chunk_durable *durable)
{
    const struct cluster_map *map = map_cache_ref(io->map);
    const struct cluster_pool *pool = cluster_map_pool(map, pool_id);
    const struct chunk_durable before = *durable;
    enum err e = pool && pool_width(pool) == durable->width ? OK : ERR_NOT_FOUND;
    uint32_t pg = e == OK ? pg_of_chunk(pool, id) : 0;
    for (unsigned i = 0; e == OK && i < durable->width; i++) {
        const struct pg_slot *slot = pool_slot(pool, pg, i);
        uint64_t moved;
        disk_id disk = durable->disks[i];
        if (disk == 0 || (slot_has_holder(slot, disk) && cluster_map_disk_holds(map, disk)))
            continue;
        disk_id target = slot_newest(slot);
        enum err copied = rebuild(io, request, pool_id, id, chunk_length, before.nonce, began,
                                  (uint8_t)i, target, before.disks, &moved);
        durable->disks[i] = copied == OK ? target : 0;
    }
    map_cache_unref(io->map, map);
    return e;
}
