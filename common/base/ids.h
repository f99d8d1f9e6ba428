/* The names of things that several folders pass around. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { WRITE_ID_BYTES = 12, UUID_BYTES = 16 };

/* 96 random bits, chosen by the writer for one attempt, never used twice. */
struct write_id {
    uint8_t bytes[WRITE_ID_BYTES];
};
/* One chunk of one attempt. */
struct chunk_id {
    struct write_id write;
    uint32_t sequence;
};
/* One shard: the cells of a chunk with the same index, 0 .. k+m-1. */
struct shard_id {
    struct chunk_id chunk;
    uint8_t index;
};
struct uuid {
    uint8_t bytes[UUID_BYTES];
};
/* Given by metadata when a disk is added, never reused; 0 is none. The disk's superblock carries it
 * with the disk's own uuid. */
typedef uint32_t disk_id;

static inline bool write_id_equal(const struct write_id *a, const struct write_id *b)
{
    return memcmp(a->bytes, b->bytes, WRITE_ID_BYTES) == 0;
}
static inline bool chunk_id_equal(const struct chunk_id *a, const struct chunk_id *b)
{
    return write_id_equal(&a->write, &b->write) && a->sequence == b->sequence;
}
static inline bool uuid_equal(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a->bytes, b->bytes, UUID_BYTES) == 0;
}

/* The 16 bytes of a chunk id as kept on disk, in keys and in hashes: write id, then the sequence,
 * big-endian. */
enum { CHUNK_ID_BYTES = 16 };
static inline void chunk_id_encode(const struct chunk_id *id, uint8_t out[CHUNK_ID_BYTES])
{
    memcpy(out, id->write.bytes, WRITE_ID_BYTES);
    out[12] = (uint8_t)(id->sequence >> 24);
    out[13] = (uint8_t)(id->sequence >> 16);
    out[14] = (uint8_t)(id->sequence >> 8);
    out[15] = (uint8_t)id->sequence;
}
static inline void chunk_id_decode(const uint8_t in[CHUNK_ID_BYTES], struct chunk_id *id)
{
    memcpy(id->write.bytes, in, WRITE_ID_BYTES);
    id->sequence = (uint32_t)in[12] << 24 | (uint32_t)in[13] << 16 | (uint32_t)in[14] << 8 | in[15];
}
