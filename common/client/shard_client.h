/* One shard on one disk, wherever the disk is: behind a socket (shard_remote.c) or in this process
 * (shard_local.c, the embedded form). Everything is started from a gather and finishes in it.
 *
 * Breakers, pooled connections and deadlines are the rpc layer's; retries are the chunk reader's
 * and writer's. An answer ERR_STALE_PLACEMENT has already been given to the map cache. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "common/base/err.h"
#include "common/base/ids.h"
#include "common/base/shard_crc.h"
#include "common/rpc/buf.h"
#include "common/rpc/gather.h"

struct shard_client;
struct shard_write;
struct shard_read;
struct map_cache;
struct rpc_node;

/* The disks of this process, for the embedded form: the chunkserver's own functions. All complete
 * the given call through call_complete, from any thread. */
struct shard_local {
    void *context;
    bool (*has_disk)(void *context, disk_id disk);
    enum err (*write_begin)(void *context, disk_id disk, const struct stored_shard *shard,
                            uint64_t since_epoch, void **write);
    /* Copies the payload before it returns; waits for room in the disk's window until deadline. */
    enum err (*write_append)(void *write, const void *data, size_t length,
                             const uint32_t *block_crc, int64_t deadline);
    void (*write_commit)(void *write, uint32_t crc, struct call *call); /* takes the write */
    void (*write_abort)(void *write);
    /* Puts verified bytes at into->data + at, holding a reference of its own while it may touch
     * them, and completes the call; the shard's nonce goes where a remote call has the length of its
     * payload. */
    enum err (*read)(void *context, disk_id disk, uint32_t pool, const struct shard_id *id,
                     uint32_t offset, uint32_t length, struct buf *into, size_t at,
                     struct call *call);
    void (*suspect)(void *context, disk_id disk, uint32_t pool, const struct shard_id *id);
    enum err (*remove)(void *context, disk_id disk, uint32_t pool, const struct chunk_id *chunks,
                       size_t count, int64_t deadline);
};

struct shard_client *shard_client_new(struct rpc_node *node, struct map_cache *map,
                                      const struct shard_local *local); /* local may be NULL */
void shard_client_free(struct shard_client *c);

/* ---- write ---- */

/* Begins a write as the call `tag` of the gather; the call finishes when the write has been committed
 * or has failed. since_epoch: of the slot's newest holder as the writer knows it; 0 for repair and
 * backfill. ERR_NOT_FOUND: the map has no such disk. Errors of rpc_stream_open. */
enum err shard_write_begin(struct shard_client *c, struct gather *g, disk_id disk,
                           const struct stored_shard *shard, uint64_t since_epoch, uint32_t tag,
                           struct shard_write **out) MUST_USE;
/* [at, at + length) of buf are the shard's next bytes: whole blocks, or up to the end. block_crc: one
 * for each block. Takes a reference of its own. ERR_BUSY: the window is full, gather_next gives
 * credit. ERR_CLOSED: it has ended. */
enum err shard_write_append(struct shard_write *w, struct buf *buf, size_t at, size_t length,
                            const uint32_t *block_crc) MUST_USE;
/* Says that the write goes on though nothing has been appended for long. */
void shard_write_keep(struct shard_write *w);
/* crc: shard_crc_of_crcs of all blocks. The call ends OK only when synced. */
void shard_write_commit(struct shard_write *w, uint32_t crc);
/* How it ended, once its call has finished. A stale placement has been given to the map cache. */
enum err shard_write_result(struct shard_write *w);
void shard_write_free(struct shard_write *w); /* unfinished: aborted. Before gather_release. */

/* ---- read ---- */

/* Reads [offset, offset + length) of a shard to into->data + at; takes a reference to the buffer.
 * insist: asks also a disk that is to be avoided, as the last resort. */
struct shard_range {
    uint32_t offset, length;
};
enum err shard_read_begin(struct shard_client *c, struct gather *g, disk_id disk, uint32_t pool,
                          const struct shard_id *id, uint64_t since_epoch, struct shard_range range,
                          struct buf *into, size_t at, bool insist, uint32_t tag,
                          struct shard_read **out) MUST_USE;
/* How it ended, once its call has finished: OK only when the disk and now this process have verified
 * every block. A bad one has been reported to its disk as suspect. *nonce is set when OK. */
enum err shard_read_result(struct shard_read *r, uint64_t *nonce);
void shard_read_free(struct shard_read *r); /* unfinished: given up. Before gather_release. */

/* ---- neither ---- */

/* Deletes whatever shards of these chunks the disk holds; OK also when it holds none. Blocking.
 * count <= SHARD_REMOVE_MAX. */
enum { SHARD_REMOVE_MAX = 256 };
enum err shard_remove(struct shard_client *c, const struct request_context *request, disk_id disk,
                      uint32_t pool, const struct chunk_id *chunks, size_t count) MUST_USE;
/* A reader's hint that a shard is bad: the owning disk verifies. Never waits, may be lost. */
void shard_suspect(struct shard_client *c, disk_id disk, uint32_t pool, const struct shard_id *id);
/* Whether the disk's endpoint is not to be asked now: its breaker is open, or it is down. */
bool shard_disk_avoided(struct shard_client *c, disk_id disk);
