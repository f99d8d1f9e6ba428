/* An ordered key-value store in one directory. Two implementations are chosen at link time and pass
 * one contract suite: common/kv/leveldb, and common/kv/memory (sorted in memory, its batches in one
 * file of the sys floor, for the simulator and for unit tests).
 *
 * Contract
 *  K1  A batch is atomic: after a crash all of it is there or none of it.
 *  K2  A batch written with sync = true and answered OK survives every crash.
 *  K3  Of the batches written without sync since the last synced one, a crash keeps ANY SUBSET.
 *      Not a prefix: LevelDB does not sync the old log when it rotates. Who needs order syncs.
 *  K4  A failed write is sticky: every later write fails until the store is opened again. Callers
 *      treat it as fatal. Not so ERR_BUSY, no descriptors are left: nothing has been written, and the
 *      next attempt may succeed, but perhaps only after another opening.
 *  K5  Keys and values are bytes; keys order as unsigned bytes, shorter first. Key at most 4 KiB,
 *      value at most 8 MiB.
 *  K6  One writer at a time (the caller's duty); readers and iterators from any thread beside it.
 *
 * Writes can stall for 0.3 s while LevelDB compacts: never on the path of a heartbeat. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/base/err.h"

struct kv;
struct kv_batch;
struct kv_snapshot;
struct kv_iterator;

struct kv_slice {
    const void *data;
    size_t length;
};

struct kv_options {
    size_t cache_bytes;        /* 0: 8 MiB */
    size_t write_buffer_bytes; /* 0: 4 MiB */
    size_t block_bytes;        /* what one read takes from disk; 0: 4 KiB */
    size_t file_bytes;         /* of one sorted file; 0: 2 MiB */
};

/* Opens the store in directory, making it when missing. ERR_BUSY: open elsewhere. ERR_CORRUPT. */
enum err kv_open(const char *directory, const struct kv_options *options, struct kv **out) MUST_USE;
void kv_close(struct kv *kv);
/* Removes the store's files and its directory. It must be closed. */
enum err kv_destroy(const char *directory) MUST_USE;

struct kv_batch *kv_batch_new(void);
void kv_batch_free(struct kv_batch *b);
void kv_batch_clear(struct kv_batch *b);
void kv_batch_put(struct kv_batch *b, struct kv_slice key, struct kv_slice value);
void kv_batch_delete(struct kv_batch *b, struct kv_slice key);
size_t kv_batch_count(const struct kv_batch *b);
size_t kv_batch_bytes(const struct kv_batch *b);

enum err kv_write(struct kv *kv, const struct kv_batch *b, bool sync) MUST_USE;

/* A value read; free with sys_free. snapshot NULL: the newest. ERR_NOT_FOUND, ERR_BUSY (as K4). */
enum err kv_get(struct kv *kv, const struct kv_snapshot *snapshot, struct kv_slice key,
                void **value, size_t *length) MUST_USE;

struct kv_snapshot *kv_snapshot_new(struct kv *kv);
void kv_snapshot_free(struct kv *kv, struct kv_snapshot *s);

/* Positioned nowhere until a seek. key and value are valid until the next move. */
struct kv_iterator *kv_iterator_new(struct kv *kv, const struct kv_snapshot *snapshot);
void kv_iterator_free(struct kv_iterator *i);
void kv_iterator_seek(struct kv_iterator *i, struct kv_slice key); /* first key >= key */
void kv_iterator_seek_last(struct kv_iterator *i);
void kv_iterator_next(struct kv_iterator *i);
void kv_iterator_previous(struct kv_iterator *i);
bool kv_iterator_valid(const struct kv_iterator *i);
struct kv_slice kv_iterator_key(const struct kv_iterator *i);
struct kv_slice kv_iterator_value(const struct kv_iterator *i);
enum err kv_iterator_error(const struct kv_iterator *i) MUST_USE;

/* Roughly how many bytes the keys of [from, to) take on disk. */
uint64_t kv_approximate_bytes(struct kv *kv, struct kv_slice from, struct kv_slice to);
