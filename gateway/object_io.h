/* An object's (or a part's) bytes as chunks: cut on the way in, joined on the way out. Knows nothing
 * of HTTP; the S3 operations and the simulator's clients call the same. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "common/base/arena.h"
#include "common/client/chunk_io.h"
#include "common/proto/types.pb-c.h"
#include "gateway/s3_error.h"

/* ---- in ---- */

/* Where the bytes come from: fills out with exactly max bytes, but fewer at the end (then *n < max).
 * S3_OK, or why not. */
struct object_source {
    enum s3_error (*read)(void *arg, void *out, size_t max, size_t *n);
    void *arg;
};

/* What became durable, ready for a commit. Everything lives in the arena. */
struct object_written {
    ChunkRun **runs;
    size_t run_count;
    ChunkDurable **durable;
    size_t durable_count;
};

/* Writes size > 0 bytes to chunks of the pool. S3_OK: every chunk has its ack quorum. What was
 * written before an error is deleted again, since no commit names it. */
enum s3_error object_write(const struct chunk_io *io, const struct request_context *request,
                           uint32_t pool, uint64_t size, int64_t began,
                           const struct object_source *source, struct arena *arena,
                           struct object_written *out) MUST_USE;
/* The commit was refused with ERR_STALE_PLACEMENT: copies what lies on former holders to the present
 * ones, and changes `written` so that it can be committed again (hazard 3). */
enum err object_follow(const struct chunk_io *io, const struct request_context *request,
                       int64_t began, struct object_written *written) MUST_USE;
/* Deletes what a commit that was definitely refused (or never proposed) would have named. */
void object_discard(const struct chunk_io *io, const struct object_written *written);

/* ---- out ---- */

struct object_reader;
/* Reads [offset, offset + length) of a body; body must outlive the reader. */
enum err object_reader_open(const struct chunk_io *io, const struct request_context *request,
                            const ObjectBody *body, uint64_t offset, uint64_t length,
                            struct object_reader **out) MUST_USE;
/* The next bytes, valid until the next call; *n = 0 at the end. Errors as chunk_reader_next. */
enum err object_reader_next(struct object_reader *r, const void **data, size_t *n) MUST_USE;
/* The chunk at which it failed, for people: "pool 1 chunk 0123..", and after ERR_SHARDS_LOST what of it:
 * ".. without shard 0 of disk 7, shard 3 of disk 2". */
const char *object_reader_where(const struct object_reader *r, struct arena *arena);
void object_reader_free(struct object_reader *r);
