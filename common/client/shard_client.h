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
struct map_cache;
struct rpc_node;

/* The disks of this process, for the embedded form: the chunkserver's own functions. All complete
 * the given call through call_complete, from any thread. */
struct shard_local {
    void *context;
    bool (*has_disk)(void *context, disk_id disk);
    enum err (*write_begin)(void *context, disk_id disk, const struct stored_shard *header,
                            uint64_t since_epoch, void **write);
    /* Copies or references the payload before it returns; ERR_BUSY: the disk's window is full. */
    enum err (*write_append)(void *write, const void *data, size_t length, size_t at,
                             const uint32_t *block_crc, int64_t deadline);
    void (*write_commit)(void *write, struct call *call);
    void (*write_free)(void *write);
    enum err (*read)(void *context, disk_id disk, uint32_t pool, const struct shard_id *id,
                     uint64_t since_epoch, uint32_t offset, uint32_t length, void *into,
                     uint32_t *block_crc, uint64_t *nonce, struct call *call);
    enum err (*remove)(void *context, disk_id disk, uint32_t pool, const struct chunk_id *chunks,
                       size_t count, int64_t deadline);
};

struct shard_client *shard_client_new(struct rpc_node *node, struct map_cache *map,
                                      const struct shard_local *local); /* local may be NULL */
void shard_client_free(struct shard_client *c);

/* Begins a write as the call `tag` of the gather; it finishes when committed or failed. since_epoch:
 * of the slot's newest holder as the writer knows it; 0 for repair and backfill. */
enum err shard_write_begin(struct shard_client *c, struct gather *g, disk_id disk,
                           const struct stored_shard *header, uint64_t since_epoch, uint32_t tag,
                           struct shard_write **out) MUST_USE;
/* [at, at+length) of buf are the shard's next bytes: whole blocks, or the last one. Takes a
 * reference of its own. ERR_BUSY: the window is full, gather_next gives credit. */
enum err shard_write_append(struct shard_write *w, struct buf *buf, size_t at, size_t length,
                            const uint32_t *block_crc) MUST_USE;
void shard_write_commit(struct shard_write *w); /* completes OK only when synced */
void shard_write_free(struct shard_write *w);   /* uncommitted: aborted */
struct call *shard_write_call(struct shard_write *w);

/* Reads [offset, offset+length) of a shard into buf at `at`; every block has been verified by the
 * disk and again here. The call's info carries the nonce. */
enum err shard_read(struct shard_client *c, struct gather *g, disk_id disk, uint32_t pool,
                    const struct shard_id *id, uint64_t since_epoch, uint32_t offset,
                    uint32_t length, struct buf *into, size_t at, uint32_t tag,
                    struct call **out) MUST_USE;
uint64_t shard_read_nonce(const struct call *call);

/* Deletes whatever shards of these chunks the disk holds; OK also when it holds none. Blocking.
 * count <= SHARD_REMOVE_MAX. */
enum { SHARD_REMOVE_MAX = 256 };
enum err shard_remove(struct shard_client *c, const struct request_context *request, disk_id disk,
                      uint32_t pool, const struct chunk_id *chunks, size_t count) MUST_USE;
/* Fire and forget: a reader's hint that a shard is bad. */
void shard_suspect(struct shard_client *c, disk_id disk, uint32_t pool, const struct shard_id *id);
/* Is the endpoint's breaker open: go to parity at once. */
bool shard_disk_avoided(struct shard_client *c, disk_id disk);
