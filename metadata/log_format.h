/* The log's files, byte by byte, and what must always be true of them. Private to metadata/log*.c.
 *
 * A directory holds segment-SEQUENCE.log (16 hex digits, consecutive; in use), spare-NAME.log
 * (written once, waiting) and lock. Integers are little-endian.
 *
 * Segment: a header block of 4096 bytes, then batches, each beginning at a multiple of 4096.
 *   header    0 u32 magic "CLSG"   4 u32 CRC32C of bytes 8..4095   8 u32 version = 1   12 u32 0
 *            16 cluster uuid (16)  32 u64 member  40 u64 sequence  48 u64 generation
 *            56 u64 generation before, 0 for the first  64 u64 bytes of the segment  72.. 0
 *   batch     0 u32 magic "CLBT"   4 u32 CRC32C of bytes 8..end, seeded with the generation's
 *             8 u32 bytes of the batch, a multiple of 4096  12 u32 CRC of the batch before; of the
 *            first: of the header  16 u64 generation  24 u64 incarnation: random per open
 *            32 u64 own offset     40 u64 known end: sequence  48 u64 known end: offset
 *            56 u64 commit hint    64 u32 records  68 u32 their bytes  72.. records, then zeros
 *   record    0 u8 type  1 u8 kind  2 u16 0  4 u32 bytes of the body  8.. body
 *     1 hard state   u64 term, u64 vote
 *     2 entry        kind: the entry's type; u64 index, u64 term, payload
 *     3 truncate     u64 from: entries at and above it are gone
 *     4 compact      u64 index, u64 term, u64 first sequence in use, u64 configuration's index,
 *                    u64 its term, its payload: entries up to index are gone. An index beyond the
 *                    last entry is a reset, with a truncate of all entries before it in its batch
 *     5 seal         u64 next sequence, u64 next generation; the last batch of a segment
 * A batch without records is an idle marker.
 *
 * Invariants
 *  L1  A generation is random and used once; a header is durable before any batch of it is written.
 *  L2  A block of a batch that is synced is never written again within its segment's use.
 *  L3  A known end is an end up to which all was synced before the batch was written. So bad bytes
 *      below any known end are rot, and stop the member; above all of them they are a torn tail,
 *      which nobody was told of but within the 50 ms before the marker.
 *  L4  A seal is durable before any batch of the next segment is; the next segment's header and
 *      name are durable before the seal is written.
 *  L5  The first batch of a segment repeats hard state and compact, so that no segment before it is
 *      needed for them.
 *  L6  A segment is recycled only after a compact record that allows it is durable, lowest first.
 *  L7  The incarnation makes every batch differ from what an earlier run wrote at the same place,
 *      so what lies behind a cut tail can never chain to what is written over its beginning.
 *  L8  A commit hint speaks of the log as its own batch leaves it: it is in no batch before the one
 *      that truncates what conflicts with it, or a crash between the two would commit that. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "common/base/cursor.h"
#include "metadata/log.h"

enum {
    LOG_BLOCK = 4096,
    LOG_VERSION = 1,
    LOG_BATCH_HEADER = 72,
    LOG_RECORD_HEADER = 8,
    LOG_SEGMENT_MIN = 64 << 10,
    LOG_SEGMENT_DEFAULT = 64 << 20,
    LOG_BATCH_DEFAULT = 4 << 20,
};

enum log_record_type {
    LOG_HARD_STATE = 1,
    LOG_ENTRY = 2,
    LOG_TRUNCATE = 3,
    LOG_COMPACT = 4,
    LOG_SEAL = 5,
};

struct log_segment_header {
    struct log_store_identity identity;
    uint64_t sequence, generation, previous_generation, bytes;
    uint32_t crc; /* out */
};
void log_store_header_encode(struct log_segment_header *h, uint8_t block[LOG_BLOCK]);
/* ERR_CORRUPT | ERR_UNSUPPORTED */
enum err log_store_header_decode(const uint8_t block[LOG_BLOCK],
                                 struct log_segment_header *out) MUST_USE;

struct log_batch_header {
    uint32_t crc, bytes, previous_crc, records, record_bytes;
    uint64_t generation, incarnation, offset, known_sequence, known_offset, commit;
};
/* Fills the head of batch (h->bytes long, records in place) and its CRC, which goes to h->crc. */
void log_store_batch_seal(struct log_batch_header *h, uint8_t *batch);
/* Reads a head without checking its CRC; false: not a batch of this generation at this offset that
 * could lie within room bytes. */
bool log_store_batch_peek(const uint8_t *block, uint64_t generation, uint64_t offset, uint64_t room,
                          struct log_batch_header *out);
/* Whether the batch's bytes are what was written. */
bool log_store_batch_valid(const struct log_batch_header *h, const uint8_t *batch);

struct log_record {
    enum log_record_type type;
    uint8_t kind;
    struct reader body;
};
/* False at the end; a malformed record sets r->failed. */
bool log_store_record_next(struct reader *r, struct log_record *out);
