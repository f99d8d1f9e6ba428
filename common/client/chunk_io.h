/* Writing, reading and rebuilding one chunk: erasure coding over shard_client, placed by the map.
 * Straight-line and blocking, on the caller's thread; see chunk_writer.c, chunk_reader.c and
 * chunk_rebuild.c for the rules (DESIGN 6, hazards 8, 16, 18, 20). */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/base/err.h"
#include "common/base/ids.h"
#include "common/base/request_context.h"
#include "common/base/timeouts.h"
#include "placement/cluster_map.h"

struct map_cache;
struct shard_client;
struct buf_pool;
struct chunk_latency; /* p95/p99 of recent shard reads and writes, per process */

enum {
    CHUNK_BYTES_MAX = 64 << 20,
    CHUNK_WINDOW_STRIPES = 3, /* groups of 256 KiB in flight, for each shard */
};

/* What chunk readers and writers stand on; one per process, const after start. */
struct chunk_io {
    struct map_cache *map;
    struct shard_client *shards;
    struct buf_pool *buffers;
    struct chunk_latency *latency;
    struct timeouts timeouts;
    uint32_t chunk_bytes; /* of new objects; 0: CHUNK_BYTES_MAX */
};

struct chunk_latency *chunk_latency_new(void);
void chunk_latency_free(struct chunk_latency *l);

/* Where one chunk's shards became durable, by shard index; 0 where none did. */
struct chunk_durable {
    uint32_t sequence;
    uint64_t nonce;
    uint8_t width; /* k+m */
    disk_id disks[POOL_SLOTS_MAX];
};

/* ---- write ---- */

struct chunk_writer;
/* length is the chunk's exact length, 1 .. CHUNK_BYTES_MAX. ERR_NOT_FOUND: no such pool,
 * ERR_UNAVAILABLE: its PGs are unassigned or fewer than the ack quorum of disks can be reached. */
enum err chunk_writer_open(const struct chunk_io *io, const struct request_context *request,
                           uint32_t pool, const struct chunk_id *id, uint32_t length, int64_t began,
                           struct chunk_writer **out) MUST_USE;
/* Where the chunk's next bytes go, straight into a cell: *n > 0 bytes at *at. Waits, until the
 * deadline, for a buffer (ERR_BUSY when the pool stays empty) and for room in the window. */
enum err chunk_writer_space(struct chunk_writer *w, void **at, size_t *n) MUST_USE;
/* n of those bytes are there. A full stripe is encoded and sent. */
enum err chunk_writer_advance(struct chunk_writer *w, size_t n) MUST_USE;
/* Commits every shard and waits by the ack rule (hazard 8). OK: at least the quorum is durable. An
 * error: out has where shards may have become durable all the same, for who removes them. */
enum err chunk_writer_finish(struct chunk_writer *w, struct chunk_durable *out) MUST_USE;
void chunk_writer_free(struct chunk_writer *w); /* unfinished: every shard is aborted */

/* ---- read ---- */

struct chunk_reader;
/* Reads [offset, offset+length) of a chunk that is chunk_length long. */
enum err chunk_reader_open(const struct chunk_io *io, const struct request_context *request,
                           uint32_t pool, const struct chunk_id *id, uint32_t chunk_length,
                           uint32_t offset, uint32_t length, struct chunk_reader **out) MUST_USE;
/* The next bytes in order, verified; valid until the next call. *n = 0 at the end. While they are
 * used the next stripes are on their way. ERR_SHARDS_LOST: too few shards can be read, or
 * ERR_NOT_FOUND: no holder has any shard of it (deleted meanwhile: read the row again). */
enum err chunk_reader_next(struct chunk_reader *r, const void **data, size_t *n) MUST_USE;
/* After ERR_SHARDS_LOST: the disks (newest holders) of the shards that could not be had, by shard
 * index; 0 for the others. How many there are. */
unsigned chunk_reader_lost(const struct chunk_reader *r, disk_id disks[POOL_SLOTS_MAX]);
void chunk_reader_free(struct chunk_reader *r);

/* ---- rebuild ---- */

/* Makes shard `index` durable on disk `target`: copied from another holder of its slot when one
 * answers, else decoded from any k others. bytes_moved counts what was read and written.
 * ERR_SHARDS_LOST, ERR_NOT_FOUND (no shard anywhere), or how the write ended. */
enum err chunk_rebuild(const struct chunk_io *io, const struct request_context *request,
                       uint32_t pool, const struct chunk_id *id, uint32_t chunk_length,
                       uint64_t nonce, int64_t began, uint8_t index, disk_id target,
                       uint64_t *bytes_moved) MUST_USE;

/* A commit was refused because slots have moved on: copies every shard that lies on a disk which is
 * no holder any more to the slot's newest one, and says so in *durable. The map is to be fresh.
 * ERR_NOT_FOUND: no such pool. */
enum err chunk_follow(const struct chunk_io *io, const struct request_context *request,
                      uint32_t pool, const struct chunk_id *id, uint32_t chunk_length,
                      int64_t began, struct chunk_durable *durable) MUST_USE;
