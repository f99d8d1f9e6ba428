/* The bytes of a record, of an extent's header and of its reservation log. Pure: see record.c. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "chunkserver/shard_store.h"
#include "common/base/cursor.h"
#include "common/sys/sys.h"

enum {
    RECORD_HEADER = 256,
    RECORD_FOOTER = 256,
    RECORD_ALIGN = 64,        /* small records are packed at multiples of this */
    RECORD_SMALL_MAX = 65536, /* bytes of a whole record that goes into a batch */
    RECORD_TAIL_MAX = 4 * SHARD_BLOCKS_MAX + RECORD_FOOTER,
    SALT_BYTES = 32,
    LOG_ENTRIES_MAX = 253,
    EXTENT_FORMAT = 1,
};

struct place {
    uint32_t extent; /* 1 .. */
    uint64_t offset; /* of the record's header */
};

static inline uint64_t round_up(uint64_t n, uint64_t step)
{
    return (n + step - 1) / step * step;
}
static inline uint64_t round_down(uint64_t n, uint64_t step)
{
    return n / step * step;
}

/* Header, data, table and footer; without padding. */
static inline uint64_t record_bytes(uint32_t length)
{
    return RECORD_HEADER + (uint64_t)length + 4u * (uint64_t)shard_block_count(length) +
           RECORD_FOOTER;
}
static inline bool record_is_small(uint32_t length)
{
    return record_bytes(length) <= RECORD_SMALL_MAX;
}
/* What it takes of an extent. */
static inline uint64_t record_room(uint32_t length)
{
    return round_up(record_bytes(length), record_is_small(length) ? RECORD_ALIGN : SYS_BLOCK);
}

bool stored_shard_valid(const struct stored_shard *shard);
void stored_shard_write(struct writer *w, const struct stored_shard *shard);
void stored_shard_read(struct reader *r, struct stored_shard *shard);

struct footer {
    uint64_t sequence;  /* of the commit */
    uint64_t synced;    /* all sequences up to here were durable when this was written */
    uint32_t table_crc; /* shard_crc_of_crcs */
};

void record_encode_header(const uint8_t *salt, const struct stored_shard *shard,
                          const struct place *at, uint8_t out[RECORD_HEADER]);
/* False: no record begins here. */
bool record_decode_header(const uint8_t *salt, const uint8_t in[RECORD_HEADER],
                          const struct place *at, struct stored_shard *shard);
void record_encode_table(const uint32_t *crcs, uint32_t n, uint8_t *out);
void record_encode_footer(const uint8_t *salt, const struct stored_shard *shard,
                          const struct place *at, const struct footer *footer,
                          uint8_t out[RECORD_FOOTER]);
/* tail: the table and the footer. False: this record does not exist. crcs may be NULL. */
bool record_decode_tail(const uint8_t *salt, const uint8_t *tail, const struct stored_shard *shard,
                        const struct place *at, struct footer *footer, uint32_t *crcs);

struct extent_header {
    uint32_t number;
    uint32_t log_blocks;
    uint64_t bytes;
    uint64_t incarnation;
};
void extent_encode_header(const uint8_t *salt, const struct extent_header *h,
                          uint8_t out[SYS_BLOCK]);
bool extent_decode_header(const uint8_t *salt, const uint8_t in[SYS_BLOCK], uint32_t number,
                          struct extent_header *h);

struct reservation {
    uint64_t offset;
    uint32_t length;
    bool large; /* one record; else a run of small ones */
};
void log_encode(const uint8_t *salt, uint32_t extent, uint32_t slot, const struct reservation *v,
                uint32_t n, uint8_t out[SYS_BLOCK]);
/* False: not a block of this log. v needs room for LOG_ENTRIES_MAX. */
bool log_decode(const uint8_t *salt, const uint8_t in[SYS_BLOCK], uint32_t extent, uint32_t slot,
                struct reservation *v, uint32_t *n);

bool bytes_are_zero(const uint8_t *data, size_t n);
