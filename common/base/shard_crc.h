/* The block checksums of a shard: writers compute them, chunkservers verify and keep them, readers
 * verify them again. One CRC from end to end.
 *
 * A shard's bytes are cut into blocks of SHARD_BLOCK. The CRC of a block is the CRC32C of a seed and
 * the bytes; the seed is the CRC32C of the chunk id (16 bytes), the index (1 byte) and the block's
 * number (4 bytes, little-endian). So a block that lands under another shard, or at another place of
 * its own shard, never verifies.
 *
 *   uint32_t crc = shard_crc_begin(&id, number);
 *   crc = crc32c(crc, part_1, n1);           running: parts may come one by one
 *   crc = crc32c(crc, part_2, n2);           the block's CRC once all of its bytes were added
 *
 * A *piece* is what a message carries of one block. The CRC of a piece that begins inside a block
 * starts from the same seed and covers the piece alone. */
#pragma once
#include "common/base/digest.h"
#include "common/base/ids.h"

enum {
    SHARD_BLOCK = 65536,         /* bytes under one CRC */
    SHARD_LENGTH_MAX = 64 << 20, /* a chunk of a pool with k = 1 */
    SHARD_BLOCKS_MAX = SHARD_LENGTH_MAX / SHARD_BLOCK,
};

/* What a disk keeps about a shard beside its bytes; given by the writer, never changed. Shards of one
 * chunk with different nonces come from different attempts and never decode together. */
struct stored_shard {
    struct shard_id id;
    uint32_t pool;
    uint32_t length;       /* bytes of this shard, at most SHARD_LENGTH_MAX */
    uint32_t chunk_length; /* bytes of the chunk before padding */
    uint32_t cell;         /* the pool's cell size in bytes */
    uint8_t k, m;
    uint64_t nonce;
    int64_t began; /* log time at which the write began */
};

static inline uint32_t shard_block_count(uint32_t length)
{
    return length / SHARD_BLOCK + (length % SHARD_BLOCK != 0);
}

static inline uint32_t shard_crc_begin(const struct shard_id *id, uint32_t block)
{
    uint8_t seed[CHUNK_ID_BYTES + 5];
    chunk_id_encode(&id->chunk, seed);
    seed[16] = id->index;
    seed[17] = (uint8_t)block;
    seed[18] = (uint8_t)(block >> 8);
    seed[19] = (uint8_t)(block >> 16);
    seed[20] = (uint8_t)(block >> 24);
    return crc32c(0, seed, sizeof(seed));
}

/* The CRC of a whole piece at once. */
static inline uint32_t shard_crc(const struct shard_id *id, uint32_t block, const void *data,
                                 size_t n)
{
    return crc32c(shard_crc_begin(id, block), data, n);
}

/* What a commit names: the CRC32C of a shard's block CRCs in order, each as four little-endian
 * bytes (not seeded: the block CRCs are). Continues from crc; 0 to begin. */
static inline uint32_t shard_crc_of_crcs(uint32_t crc, const uint32_t *block_crcs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t v = block_crcs[i];
        uint8_t bytes[4] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)};
        crc = crc32c(crc, bytes, 4);
    }
    return crc;
}
