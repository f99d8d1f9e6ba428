#include "gateway/object_io.h"
#include <assert.h>
#include <string.h>
#include "common/base/text.h"
#include "common/client/map_cache.h"
#include "common/client/shard_client.h"
#include "common/sys/log.h"
#include "common/sys/sys.h"

enum {
    OPENS_MAX = 32,    /* sequence numbers tried for one chunk */
    CHUNKS_MAX = 4096, /* of one object or part */
    PIECE_MAX = 16 << 10,
};
#define PLACE_PAUSE (250 * SYS_MS)

/* ---- in ---- */

static enum s3_error write_error(enum err e)
{
    switch (e) {
    case ERR_CLIENT_GONE:
        return S3_CLIENT_GONE;
    case ERR_BUSY:
        return S3_SLOW_DOWN;
    case ERR_DISK_FULL:
        return S3_DISKS_FULL;
    default:
        return S3_SERVICE_UNAVAILABLE;
    }
}

static enum s3_error fill(struct chunk_writer *w, uint32_t length,
                          const struct object_source *source)
{
    for (uint32_t done = 0; done < length;) {
        void *at;
        size_t room, n;
        enum err e = chunk_writer_space(w, &at, &room);
        if (e != OK)
            return write_error(e);
        /* Small pieces: while the source waits for a slow client, the disks hear nothing. */
        if (room > PIECE_MAX)
            room = PIECE_MAX;
        enum s3_error s = source->read(source->arg, at, room, &n);
        if (s != S3_OK)
            return s;
        if (n < room)
            return S3_INCOMPLETE_BODY;
        e = chunk_writer_advance(w, n);
        if (e != OK)
            return write_error(e);
        done += (uint32_t)n;
    }
    return S3_OK;
}

static ChunkDurable *durable_message(struct arena *arena, const struct chunk_durable *d)
{
    ChunkDurable *m = arena_alloc(arena, sizeof *m);
    chunk_durable__init(m);
    m->sequence = d->sequence;
    m->nonce = d->nonce;
    m->n_disks = d->width;
    m->disks = arena_copy(arena, d->disks, d->width * sizeof *d->disks);
    return m;
}

/* Of a chunk that no row will name. */
static void remove_shards(const struct chunk_io *io, uint32_t pool, const struct chunk_id *id,
                          const disk_id *disks, size_t n)
{
    const struct request_context request = {.deadline = sys_now() + SYS_SECOND};
    for (size_t i = 0; i < n; i++)
        if (disks[i] != 0 && shard_remove(io->shards, &request, disks[i], pool, id, 1) != OK) {
            /* It stays there, unknown to metadata, and is swept by its age. */
        }
}

/* Ends the writer. */
static enum s3_error write_chunk(const struct chunk_io *io, uint32_t pool,
                                 const struct chunk_id *id, struct chunk_writer *w, uint32_t length,
                                 const struct object_source *source, struct chunk_durable *durable)
{
    *durable = (struct chunk_durable){0};
    enum s3_error s = fill(w, length, source);
    if (s == S3_OK) {
        enum err e = chunk_writer_finish(w, durable);
        s = e == OK ? S3_OK : write_error(e);
        if (e != OK)
            log_warn("write", "a chunk did not reach its quorum: %s", err_text(e));
    }
    chunk_writer_free(w);
    if (s != S3_OK)
        remove_shards(io, pool, id, durable->disks, durable->width);
    return s;
}

/* Chunks take ascending sequence numbers; those whose placement group cannot take a write now are
 * left out, which begins a new run. */
static ChunkRun *run_for(struct object_written *out, struct arena *arena, uint32_t pool,
                         ProtobufCBinaryData write_id, uint32_t sequence, uint32_t chunk_bytes)
{
    ChunkRun *last = out->run_count > 0 ? out->runs[out->run_count - 1] : NULL;
    if (last && last->first_sequence + last->count == sequence)
        return last;
    ChunkRun *run = arena_alloc(arena, sizeof *run);
    chunk_run__init(run);
    run->pool = pool;
    run->write_id = write_id;
    run->first_sequence = sequence;
    run->chunk_size = chunk_bytes;
    out->runs[out->run_count++] = run;
    return run;
}

/* Opens the next chunk at the first sequence number from id's on whose disks can take it. With some
 * disks down there are nearly always placement groups that have enough of the others; where there are
 * none, it waits for as long as metadata takes to notice and to give their slots other holders: none
 * of the bytes has been taken yet. */
static enum s3_error open_chunk(const struct chunk_io *io, const struct request_context *request,
                                uint32_t pool, struct chunk_id *id, uint32_t length, int64_t began,
                                struct chunk_writer **out)
{
    int64_t patience = sys_now() + 2 * io->timeouts.down_after;
    if (patience > request->deadline)
        patience = request->deadline;
    for (;;) {
        enum err e = ERR_UNAVAILABLE;
        for (int i = 0; e == ERR_UNAVAILABLE && i < OPENS_MAX; i++, id->sequence += e != OK)
            e = chunk_writer_open(io, request, pool, id, length, began, out);
        int64_t now = sys_now();
        if (e != ERR_UNAVAILABLE || now >= patience)
            return e == OK ? S3_OK : write_error(e);
        sys_sleep_until(now + PLACE_PAUSE);
        struct request_context fetch = *request;
        fetch.deadline = patience;
        if (map_cache_refresh(io->map, &fetch, 0) != OK) {
            /* Then with the map that is there. */
        }
    }
}

enum s3_error object_write(const struct chunk_io *io, const struct request_context *request,
                           uint32_t pool, uint64_t size, int64_t began,
                           const struct object_source *source, struct arena *arena,
                           struct object_written *out)
{
    const uint32_t chunk_bytes = io->chunk_bytes ? io->chunk_bytes : CHUNK_BYTES_MAX;
    uint64_t chunks = (size + chunk_bytes - 1) / chunk_bytes;
    assert(size > 0 && chunks <= CHUNKS_MAX);
    struct chunk_id id = {.sequence = 0};
    sys_random(id.write.bytes, sizeof id.write.bytes);
    ProtobufCBinaryData write_id = {.len = WRITE_ID_BYTES,
                                    .data = arena_copy(arena, id.write.bytes, WRITE_ID_BYTES)};
    *out = (struct object_written){
        .runs = arena_alloc(arena, chunks * sizeof *out->runs),
        .durable = arena_alloc(arena, chunks * sizeof *out->durable),
    };
    enum s3_error s = S3_OK;
    for (uint64_t left = size; s == S3_OK && left > 0; id.sequence++) {
        uint32_t length = left < chunk_bytes ? (uint32_t)left : chunk_bytes;
        struct chunk_writer *w;
        struct chunk_durable durable;
        s = open_chunk(io, request, pool, &id, length, began, &w);
        if (s == S3_OK)
            s = write_chunk(io, pool, &id, w, length, source, &durable);
        if (s != S3_OK)
            break;
        ChunkRun *run = run_for(out, arena, pool, write_id, id.sequence, chunk_bytes);
        run->count++;
        run->last_length = length;
        out->durable[out->durable_count++] = durable_message(arena, &durable);
        left -= length;
    }
    /* The source says only at its end whether the bytes are what they were announced to be. */
    size_t rest = 0;
    char none;
    if (s == S3_OK)
        s = source->read(source->arg, &none, 1, &rest);
    if (s == S3_OK && rest > 0)
        s = S3_INCOMPLETE_BODY;
    if (s != S3_OK)
        object_discard(io, out);
    return s;
}

static uint32_t length_of(const struct object_written *written, uint32_t sequence)
{
    for (size_t i = 0; i < written->run_count; i++) {
        const ChunkRun *run = written->runs[i];
        if (sequence >= run->first_sequence && sequence < run->first_sequence + run->count)
            return sequence + 1 < run->first_sequence + run->count ? run->chunk_size
                                                                   : run->last_length;
    }
    return 0;
}

/* What was copied is deleted where it came from, since no row will name it there: but not from a disk
 * that holds another shard of the chunk now. */
static void drop_former(const struct chunk_io *io, const struct request_context *request,
                        uint32_t pool, const struct chunk_id *id,
                        const struct chunk_durable *before, const struct chunk_durable *now)
{
    for (unsigned i = 0; i < now->width; i++) {
        disk_id former = before->disks[i];
        bool moved = former != 0 && now->disks[i] != 0;
        for (unsigned k = 0; moved && k < now->width; k++)
            moved = now->disks[k] != former;
        if (moved && !shard_disk_avoided(io->shards, former) &&
            shard_remove(io->shards, request, former, pool, id, 1) != OK) {
            /* It stays there, unknown to metadata. */
        }
    }
}

enum err object_follow(const struct chunk_io *io, const struct request_context *request,
                       int64_t began, struct object_written *written)
{
    /* The request may have hours left; the commit before and the one behind have this much. */
    struct request_context fetch = *request;
    if (fetch.deadline > sys_now() + io->timeouts.metadata_call)
        fetch.deadline = sys_now() + io->timeouts.metadata_call;
    enum err e = map_cache_refresh(io->map, &fetch, 0);
    for (size_t i = 0; e == OK && i < written->durable_count; i++) {
        ChunkDurable *d = written->durable[i];
        struct chunk_id id = {.sequence = d->sequence};
        struct chunk_durable durable = {.sequence = d->sequence, .nonce = d->nonce};
        if (d->n_disks > POOL_SLOTS_MAX)
            return ERR_INVALID;
        durable.width = (uint8_t)d->n_disks;
        memcpy(durable.disks, d->disks, d->n_disks * sizeof *d->disks);
        memcpy(id.write.bytes, written->runs[0]->write_id.data, WRITE_ID_BYTES);
        const struct chunk_durable before = durable;
        uint32_t pool = written->runs[0]->pool;
        e = chunk_follow(io, request, pool, &id, length_of(written, d->sequence), began, &durable);
        const struct request_context drop = {.deadline = sys_now() + SYS_SECOND};
        if (e == OK)
            drop_former(io, &drop, pool, &id, &before, &durable);
        memcpy(d->disks, durable.disks, d->n_disks * sizeof *d->disks);
    }
    return e;
}

void object_discard(const struct chunk_io *io, const struct object_written *written)
{
    for (size_t i = 0; i < written->durable_count; i++) {
        const ChunkDurable *d = written->durable[i];
        struct chunk_id id = {.sequence = d->sequence};
        memcpy(id.write.bytes, written->runs[0]->write_id.data, WRITE_ID_BYTES);
        remove_shards(io, written->runs[0]->pool, &id, d->disks, d->n_disks);
    }
}

/* ---- out ---- */

struct object_reader {
    const struct chunk_io *io;
    const struct request_context *request;
    const ObjectBody *body;
    uint64_t at, end; /* of the object: what has not been given out, or is in `chunk` */
    size_t run;       /* the run that `at` lies in */
    uint64_t run_at;  /* where that run begins */
    struct chunk_reader *chunk;
    struct chunk_id id; /* of chunk */
};

static uint64_t run_bytes(const ChunkRun *run)
{
    return run->count == 0 ? 0 : (uint64_t)(run->count - 1) * run->chunk_size + run->last_length;
}

enum err object_reader_open(const struct chunk_io *io, const struct request_context *request,
                            const ObjectBody *body, uint64_t offset, uint64_t length,
                            struct object_reader **out)
{
    struct object_reader *r = sys_alloc(sizeof *r);
    *r = (struct object_reader){
        .io = io, .request = request, .body = body, .at = offset, .end = offset + length};
    *out = r;
    return OK;
}

/* Opens the chunk that holds `at`, for as much of it as is wanted. */
static enum err enter_chunk(struct object_reader *r)
{
    while (r->run < r->body->n_runs && r->at >= r->run_at + run_bytes(r->body->runs[r->run]))
        r->run_at += run_bytes(r->body->runs[r->run++]);
    if (r->run == r->body->n_runs)
        return ERR_FORMAT; /* the row promises more bytes than its runs have */
    const ChunkRun *run = r->body->runs[r->run];
    if (run->write_id.len != WRITE_ID_BYTES || run->chunk_size == 0 ||
        run->chunk_size > CHUNK_BYTES_MAX)
        return ERR_FORMAT;
    uint64_t in_run = r->at - r->run_at;
    uint32_t number = (uint32_t)(in_run / run->chunk_size);
    uint32_t length = number + 1 < run->count ? run->chunk_size : run->last_length;
    uint32_t offset = (uint32_t)(in_run % run->chunk_size);
    uint64_t wanted = length - offset;
    if (wanted > r->end - r->at)
        wanted = r->end - r->at;
    memcpy(r->id.write.bytes, run->write_id.data, WRITE_ID_BYTES);
    r->id.sequence = run->first_sequence + number;
    return chunk_reader_open(r->io, r->request, run->pool, &r->id, length, offset, (uint32_t)wanted,
                             &r->chunk);
}

enum err object_reader_next(struct object_reader *r, const void **data, size_t *n)
{
    *n = 0;
    if (r->body->n_runs == 0 && r->at < r->end) {
        const ProtobufCBinaryData *inline_data = &r->body->inline_data;
        if (r->end > inline_data->len)
            return ERR_FORMAT;
        *data = inline_data->data + r->at;
        *n = (size_t)(r->end - r->at);
        r->at = r->end;
        return OK;
    }
    while (r->at < r->end || r->chunk) {
        enum err e = r->chunk ? OK : enter_chunk(r);
        if (e == OK)
            e = chunk_reader_next(r->chunk, data, n);
        if (e != OK)
            return e;
        if (*n > 0) {
            r->at += *n;
            return OK;
        }
        chunk_reader_free(r->chunk);
        r->chunk = NULL;
    }
    return OK;
}

const char *object_reader_where(const struct object_reader *r, struct arena *arena)
{
    uint8_t bytes[CHUNK_ID_BYTES];
    char hex[2 * CHUNK_ID_BYTES + 1];
    disk_id lost[POOL_SLOTS_MAX] = {0};
    if (r->run >= r->body->n_runs)
        return "its record";
    chunk_id_encode(&r->id, bytes);
    hex_encode(bytes, sizeof bytes, hex);
    const char *text = arena_format(arena, "pool %u chunk %s", r->body->runs[r->run]->pool, hex);
    unsigned n = r->chunk ? chunk_reader_lost(r->chunk, lost) : 0;
    for (unsigned i = 0, said = 0; said < n && i < POOL_SLOTS_MAX; i++)
        if (lost[i] != 0)
            text = arena_format(arena, "%s%s shard %u of disk %u", text,
                                said++ == 0 ? ", without" : ",", i, lost[i]);
    return text;
}

void object_reader_free(struct object_reader *r)
{
    if (!r)
        return;
    chunk_reader_free(r->chunk);
    sys_free(r);
}
