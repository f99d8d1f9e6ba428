#include <string.h>
#include "common/proto/message_types.h"
#include "chunkserver/service_internal.h"

/* Shards over bulk connections: the handlers run on their connection's own thread and may wait, with
 * a deadline, for the disk.
 *
 * A write is a stream: OPEN, APPEND .., COMMIT. What is being built hangs on the connection; it is
 * aborted with it, with an error, or when the caller gives up. Payload goes from the socket into the
 * memory from which it is written to the disk; the block CRCs that came with it are compared as it
 * passes. */

#define COMMIT_WAIT (30 * SYS_SECOND)
#define READ_WAIT   (10 * SYS_SECOND)

struct incoming {
    struct chunk_disk *disk; /* a use */
    struct shard_writer *writer;
    uint32_t received;
};

static void incoming_destroy(void *state)
{
    struct incoming *in = state;
    if (in->writer)
        shard_writer_abort(in->writer);
    chunk_disk_leave(in->disk);
    sys_free(in);
}

static int64_t sooner(int64_t deadline, int64_t wait)
{
    int64_t limit = sys_now() + wait;
    return deadline < limit ? deadline : limit;
}

static void refuse(struct rpc_request *r, enum err e, PlacementNews *news)
{
    rpc_reply(r, e, news ? &news->base : NULL, NULL, 0, 0);
}

/* ---- write ---- */

static bool shard_of_open(const ShardOpen *body, struct stored_shard *out)
{
    if (body->chunk_id.len != CHUNK_ID_BYTES || body->index >= POOL_SLOTS_MAX ||
        body->k > POOL_K_MAX || body->m > POOL_M_MAX)
        return false;
    *out = (struct stored_shard){
        .pool = body->pool,
        .length = body->shard_length,
        .chunk_length = body->chunk_length,
        .cell = body->cell,
        .k = (uint8_t)body->k,
        .m = (uint8_t)body->m,
        .nonce = body->nonce,
        .began = body->began,
    };
    chunk_id_decode(body->chunk_id.data, &out->id.chunk);
    out->id.index = (uint8_t)body->index;
    return true;
}

static void handle_open(void *context, struct rpc_request *r)
{
    struct chunk_service *s = context;
    const ShardOpen *body = (const ShardOpen *)rpc_request_body(r);
    struct stored_shard shard;
    if (!shard_of_open(body, &shard)) {
        refuse(r, ERR_INVALID, NULL);
        return;
    }
    struct chunk_disk *d = chunk_disk_use(s, body->disk);
    if (!d) {
        refuse(r, ERR_UNAVAILABLE, NULL);
        return;
    }
    const struct slot_claim claim = {body->disk, body->pool, &shard.id, body->since_epoch};
    PlacementNews *news;
    enum err e = slot_check(s, &claim, rpc_request_context(r), rpc_request_arena(r), &news);
    struct shard_writer *writer = NULL;
    if (e == OK)
        e = chunk_disk_write(d, &shard, body->since_epoch, &writer);
    if (e != OK) {
        chunk_disk_leave(d);
        refuse(r, e, news);
        return;
    }
    struct incoming *in = sys_alloc(sizeof *in);
    in->disk = d;
    in->writer = writer;
    rpc_connection_set_state(rpc_request_connection(r), in, incoming_destroy);
}

/* The CRCs of all blocks of the payload, announced before its bytes come. */
static enum err announce(struct incoming *in, const ShardAppend *body, uint32_t length)
{
    uint32_t whole = shard_writer_shard(in->writer)->length;
    if (body->offset != in->received || body->offset % SHARD_BLOCK != 0 ||
        length > whole - in->received || body->n_block_crc != shard_block_count(length))
        return ERR_INVALID;
    uint32_t end = body->offset + length;
    if (end % SHARD_BLOCK != 0 && end != whole)
        return ERR_INVALID;
    enum err e = OK;
    for (uint32_t i = 0; e == OK && i < body->n_block_crc; i++) {
        uint32_t upto = body->offset + (i + 1) * SHARD_BLOCK;
        e = shard_writer_check(in->writer, upto < end ? upto : end, body->block_crc[i]);
    }
    return e;
}

static enum err receive(struct incoming *in, struct rpc_request *r, uint32_t length)
{
    const struct timeouts *t = &in->disk->service->timeouts;
    while (length > 0) {
        void *at;
        size_t n;
        int64_t until = sooner(rpc_request_deadline(r), t->shard_progress);
        enum err e = shard_writer_space(in->writer, until, &at, &n);
        if (e != OK)
            return e;
        if (n > length)
            n = length;
        if (n == 0)
            return ERR_TOO_BIG;
        e = rpc_payload_read(r, at, n);
        if (e == OK)
            e = shard_writer_advance(in->writer, n);
        if (e != OK)
            return e;
        length -= (uint32_t)n;
        in->received += (uint32_t)n;
    }
    return OK;
}

static void handle_append(void *context, struct rpc_request *r)
{
    (void)context;
    const ShardAppend *body = (const ShardAppend *)rpc_request_body(r);
    struct rpc_connection *c = rpc_request_connection(r);
    struct incoming *in = rpc_connection_state(c);
    size_t length = rpc_request_payload_length(r);
    enum err e = !in || length > SHARD_LENGTH_MAX ? ERR_INVALID : OK;
    if (e == OK)
        e = announce(in, body, (uint32_t)length);
    if (e == OK)
        e = receive(in, r, (uint32_t)length);
    if (e == OK)
        return;
    if (in)
        rpc_connection_set_state(c, NULL, NULL);
    refuse(r, e, NULL);
}

static void handle_commit(void *context, struct rpc_request *r)
{
    struct chunk_service *s = context;
    const ShardCommit *body = (const ShardCommit *)rpc_request_body(r);
    struct incoming *in = rpc_connection_take_state(rpc_request_connection(r));
    if (!in) {
        refuse(r, ERR_INVALID, NULL);
        return;
    }
    struct pending *p = pending_new(s);
    p->users++; /* the store's */
    struct shard_writer *writer = in->writer;
    in->writer = NULL;
    shard_writer_commit(writer, body->crc, pending_done, p);
    incoming_destroy(in);
    enum err e = pending_wait(p, sooner(rpc_request_deadline(r), COMMIT_WAIT));
    pending_unref(p);
    refuse(r, e, NULL);
}

/* ---- read ---- */

static void reply_read(struct rpc_request *r, const struct pending *p)
{
    ShardReadReply reply = SHARD_READ_REPLY__INIT;
    reply.block_crc = (uint32_t *)(uintptr_t)p->crcs;
    reply.n_block_crc = p->job.crc_count;
    reply.nonce = p->job.shard.nonce;
    reply.chunk_length = p->job.shard.chunk_length;
    const struct sys_slice slice = {(const uint8_t *)p->job.buffer + p->job.data_at, p->job.length};
    rpc_reply(r, OK, &reply.base, &slice, 1, RPC_REPLY_CHECKED_ELSEWHERE);
}

/* A shard that is here is always served, to whomever. One that is not is no failure when the sender
 * has an old placement (hazard 20); else the disk had better look. */
static enum err read_failed(struct chunk_service *s, struct chunk_disk *d, enum err e,
                            const struct slot_claim *claim, struct rpc_request *r,
                            PlacementNews **news)
{
    if (e == ERR_NOT_FOUND &&
        slot_check(s, claim, rpc_request_context(r), rpc_request_arena(r), news) != OK)
        return ERR_STALE_PLACEMENT;
    if (e == ERR_CORRUPT || e == ERR_IO ||
        (e == ERR_NOT_FOUND && slot_is_sole_holder(s, claim->disk, claim->pool, claim->id)))
        control_suspect(d, claim->pool, claim->id);
    return e;
}

static void handle_read(void *context, struct rpc_request *r)
{
    struct chunk_service *s = context;
    const ShardRead *body = (const ShardRead *)rpc_request_body(r);
    PlacementNews *news = NULL;
    if (body->chunk_id.len != CHUNK_ID_BYTES || body->index >= POOL_SLOTS_MAX) {
        refuse(r, ERR_INVALID, NULL);
        return;
    }
    struct shard_id id = {.index = (uint8_t)body->index};
    chunk_id_decode(body->chunk_id.data, &id.chunk);
    struct chunk_disk *d = chunk_disk_use(s, body->disk);
    if (!d) {
        refuse(r, ERR_UNAVAILABLE, NULL);
        return;
    }
    int64_t deadline = sooner(rpc_request_deadline(r), READ_WAIT);
    struct pending *p = pending_new(s);
    enum err e = pending_read(p, d, body->pool, &id, body->offset, body->length, deadline);
    if (e == OK)
        e = pending_submit(p);
    chunk_disk_leave(d);
    if (e == OK)
        e = pending_wait(p, deadline);
    const struct slot_claim claim = {body->disk, body->pool, &id, body->since_epoch};
    if (e == OK)
        reply_read(r, p);
    else
        refuse(r, read_failed(s, d, e, &claim, r, &news), news);
    pending_unref(p);
}

size_t bulk_routes(struct chunk_service *s, struct rpc_route *out)
{
    const struct rpc_route routes[] = {
        {MSG_SHARD_OPEN, &shard_open__descriptor, handle_open, s},
        {MSG_SHARD_APPEND, &shard_append__descriptor, handle_append, s},
        {MSG_SHARD_COMMIT, &shard_commit__descriptor, handle_commit, s},
        {MSG_SHARD_READ, &shard_read__descriptor, handle_read, s},
    };
    memcpy(out, routes, sizeof routes);
    return sizeof routes / sizeof *routes;
}
