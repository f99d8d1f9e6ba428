/* The values of rows that are no messages, byte by byte (little-endian):
 *
 *   chunk_row   length u32, nonce u64, began i64, missing u64 (bit i: shard i is not durable on its
 *               slot's newest holder, and an r row says so): 28 bytes
 *   run record  pool u32, write id 12, first sequence u32, count u32, chunk size u32, last length
 *               u32: 32 bytes
 *   due_row     next sequence u32, position u32, count u32 (runs of its object), list write id 12,
 *               list first sequence u32, run record: 60 bytes. With count > 1 the runs are the
 *               records of the list row of that name, and the due row always names the one in
 *               hand: its key changes as the collector goes from run to run
 *   write row   1 committed | 2 aborted, log index u64: 9 bytes
 *   usage       objects u64, bytes u64: 16 bytes */
#pragma once
#include <stdbool.h>
#include "common/base/arena.h"
#include "common/base/ids.h"
#include "common/kv/kv.h"
#include "common/proto/types.pb-c.h"

struct chunk_row {
    uint32_t length;
    uint64_t nonce;
    int64_t began;
    uint64_t missing;
};
enum { CHUNK_ROW_BYTES = 28, RUN_BYTES = 32, DUE_ROW_BYTES = 60, USAGE_BYTES = 16 };

void chunk_row_encode(const struct chunk_row *row, uint8_t out[CHUNK_ROW_BYTES]);
bool chunk_row_decode(struct kv_slice value, struct chunk_row *row);

struct run {
    uint32_t pool;
    struct write_id write;
    uint32_t first, count, chunk_size, last_length;
};
/* From a message: lengths and counts in bounds (one run is at most 2^31 chunks of 64 MiB). */
bool run_from_message(const ChunkRun *m, struct run *run);
void run_to_message(const struct run *run, struct arena *arena, ChunkRun *m);
uint64_t run_bytes(const struct run *run);
/* The length of chunk i (from 0) of the run. */
uint32_t run_chunk_length(const struct run *run, uint32_t i);
void run_encode(const struct run *run, uint8_t out[RUN_BYTES]);
void run_decode(const uint8_t in[RUN_BYTES], struct run *run);

struct due_row {
    uint32_t next_sequence;
    uint32_t position, count; /* of the run in hand among its object's */
    struct write_id list;
    uint32_t list_first;
    struct run run;
};
void due_row_encode(const struct due_row *row, uint8_t out[DUE_ROW_BYTES]);
bool due_row_decode(struct kv_slice value, struct due_row *row);

struct usage {
    uint64_t objects, bytes;
};
void usage_encode(const struct usage *usage, uint8_t out[USAGE_BYTES]);
bool usage_decode(struct kv_slice value, struct usage *usage);

enum write_fate { WRITE_COMMITTED = 1, WRITE_ABORTED = 2 };
