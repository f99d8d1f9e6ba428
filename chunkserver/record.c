/* The bytes of records, extent headers and reservation logs.
 *
 * All integers are little-endian. "check" is xxh64, seeded with the first 8 bytes of the disk's
 * secret salt, over: the salt (32), extent number u32, offset u64, and the bytes before the check.
 *
 * Extent: a file of extents/, named by its number in eight decimal digits
 *   0       block 0: magic "CAIRNEXT", format u32 = 1, number u32, bytes u64, log_blocks u32,
 *           reserved u32, incarnation u64; zeros; check u64 at 4088 (offset 0)
 *   4096    log_blocks blocks of reservation log
 *           magic "CAIRNRES", extent u32, slot u32, count u32, zeros to 32;
 *           count x { offset u64, length u32, kind u32: 0 run of small records, 1 one large };
 *           zeros; check u64 at 4088 (offset of the block)
 *   then    records
 *
 * Record
 *   0       header, 256 bytes: magic "CAIRNREC", format u16 = 1, then the shard (66 bytes):
 *           index u8, k u8, m u8, reserved u8, pool u32, cell u32, length u32, chunk_length u32,
 *           nonce u64, began i64, chunk id 16, xxh64(chunk id) u64, reserved u16 x 3;
 *           zeros; check u64 at 248
 *   256     data, length bytes
 *   then    table: CRC u32 of every block of 64 KiB (shard_crc.h)
 *   then    footer, 256 bytes: magic "CAIRNEND", format u16 = 1, the shard as in the header,
 *           sequence u64, synced u64, table_crc u32; zeros; check u64 at 248 (of the record's
 *           offset)
 *   A record of more than 64 KiB has whole blocks of 4 KiB of its own; smaller ones follow one
 *   another at multiples of 64 bytes, padded with zeros to 4 KiB at the end of each batch.
 *
 * Invariants
 *  R1  A record exists only if header and footer are valid, say the same shard, and the table has
 *      the footer's table_crc.
 *  R2  No byte below the end of an acknowledged record's blocks is written again; holes are
 *      punched only where nothing alive is left in a block.
 *  R3  User bytes cannot forge a header: the check needs the salt, and binds extent and offset.
 *  R4  A record with sequence <= synced of any other record of the disk was durable: if its bytes
 *      do not match then it has rotted; if not, its commit may never have been finished. */
#include <assert.h>
#include <string.h>
#include "chunkserver/record_internal.h"
#include "common/base/cursor.h"
#include "common/base/digest.h"

static const char record_magic[8] = "CAIRNREC", footer_magic[8] = "CAIRNEND";
static const char extent_magic[8] = "CAIRNEXT", log_magic[8] = "CAIRNRES";
enum { CHECK_AT = RECORD_HEADER - 8, BLOCK_CHECK_AT = SYS_BLOCK - 8, LOG_FIRST = 32 };

static uint64_t check_of(const uint8_t *salt, uint32_t extent, uint64_t offset,
                         const uint8_t *bytes, size_t n)
{
    uint8_t all[SALT_BYTES + 12 + SYS_BLOCK];
    struct writer w;
    assert(n <= SYS_BLOCK);
    writer_init(&w, all, sizeof(all));
    write_bytes(&w, salt, SALT_BYTES);
    write_u32(&w, extent);
    write_u64(&w, offset);
    write_bytes(&w, bytes, n);
    struct reader r;
    reader_init(&r, salt, SALT_BYTES);
    return xxh64(all, writer_used(&w), read_u64(&r));
}

static void seal(const uint8_t *salt, uint32_t extent, uint64_t offset, uint8_t *out, size_t at)
{
    struct writer w;
    writer_init(&w, out + at, 8);
    write_u64(&w, check_of(salt, extent, offset, out, at));
}

static bool sealed(const uint8_t *salt, uint32_t extent, uint64_t offset, const uint8_t *in,
                   size_t at)
{
    struct reader r;
    reader_init(&r, in + at, 8);
    return read_u64(&r) == check_of(salt, extent, offset, in, at);
}

bool bytes_are_zero(const uint8_t *data, size_t n)
{
    return n == 0 || (data[0] == 0 && memcmp(data, data + 1, n - 1) == 0);
}

bool stored_shard_valid(const struct stored_shard *shard)
{
    return shard->length <= SHARD_LENGTH_MAX && shard->k > 0 &&
           shard->id.index < (unsigned)shard->k + shard->m;
}

void stored_shard_write(struct writer *w, const struct stored_shard *shard)
{
    uint8_t chunk[CHUNK_ID_BYTES];
    chunk_id_encode(&shard->id.chunk, chunk);
    write_u8(w, shard->id.index);
    write_u8(w, shard->k);
    write_u8(w, shard->m);
    write_u8(w, 0);
    write_u32(w, shard->pool);
    write_u32(w, shard->cell);
    write_u32(w, shard->length);
    write_u32(w, shard->chunk_length);
    write_u64(w, shard->nonce);
    write_u64(w, (uint64_t)shard->began);
    write_bytes(w, chunk, sizeof(chunk));
    write_u64(w, xxh64(chunk, sizeof(chunk), 0));
    write_zeros(w, 6);
}

void stored_shard_read(struct reader *r, struct stored_shard *shard)
{
    uint8_t chunk[CHUNK_ID_BYTES];
    shard->id.index = read_u8(r);
    shard->k = read_u8(r);
    shard->m = read_u8(r);
    read_skip(r, 1);
    shard->pool = read_u32(r);
    shard->cell = read_u32(r);
    shard->length = read_u32(r);
    shard->chunk_length = read_u32(r);
    shard->nonce = read_u64(r);
    shard->began = (int64_t)read_u64(r);
    read_bytes(r, chunk, sizeof(chunk));
    chunk_id_decode(chunk, &shard->id.chunk);
    read_skip(r, 8 + 6);
}

void record_encode_header(const uint8_t *salt, const struct stored_shard *shard,
                          const struct place *at, uint8_t out[RECORD_HEADER])
{
    struct writer w;
    memset(out, 0, RECORD_HEADER);
    writer_init(&w, out, CHECK_AT);
    write_bytes(&w, record_magic, 8);
    write_u16(&w, EXTENT_FORMAT);
    stored_shard_write(&w, shard);
    assert(!w.failed);
    seal(salt, at->extent, at->offset, out, CHECK_AT);
}

bool record_decode_header(const uint8_t *salt, const uint8_t in[RECORD_HEADER],
                          const struct place *at, struct stored_shard *shard)
{
    if (memcmp(in, record_magic, 8) != 0 || !sealed(salt, at->extent, at->offset, in, CHECK_AT))
        return false;
    struct reader r;
    reader_init(&r, in + 8, CHECK_AT - 8);
    if (read_u16(&r) != EXTENT_FORMAT)
        return false;
    stored_shard_read(&r, shard);
    return stored_shard_valid(shard);
}

void record_encode_table(const uint32_t *crcs, uint32_t n, uint8_t *out)
{
    struct writer w;
    writer_init(&w, out, 4 * (size_t)n);
    for (uint32_t i = 0; i < n; i++)
        write_u32(&w, crcs[i]);
}

void record_encode_footer(const uint8_t *salt, const struct stored_shard *shard,
                          const struct place *at, const struct footer *footer,
                          uint8_t out[RECORD_FOOTER])
{
    struct writer w;
    assert(footer->synced < footer->sequence);
    memset(out, 0, RECORD_FOOTER);
    writer_init(&w, out, CHECK_AT);
    write_bytes(&w, footer_magic, 8);
    write_u16(&w, EXTENT_FORMAT);
    stored_shard_write(&w, shard);
    write_u64(&w, footer->sequence);
    write_u64(&w, footer->synced);
    write_u32(&w, footer->table_crc);
    assert(!w.failed);
    seal(salt, at->extent, at->offset, out, CHECK_AT);
}

static bool same_shard(const struct stored_shard *a, const struct stored_shard *b)
{
    return chunk_id_equal(&a->id.chunk, &b->id.chunk) && a->id.index == b->id.index &&
           a->pool == b->pool && a->length == b->length && a->chunk_length == b->chunk_length &&
           a->cell == b->cell && a->k == b->k && a->m == b->m && a->nonce == b->nonce &&
           a->began == b->began;
}

bool record_decode_tail(const uint8_t *salt, const uint8_t *tail, const struct stored_shard *shard,
                        const struct place *at, struct footer *footer, uint32_t *crcs)
{
    uint32_t blocks = shard_block_count(shard->length);
    const uint8_t *in = tail + 4 * (size_t)blocks;
    if (memcmp(in, footer_magic, 8) != 0 || !sealed(salt, at->extent, at->offset, in, CHECK_AT))
        return false;
    struct reader r;
    struct stored_shard named;
    reader_init(&r, in + 8, CHECK_AT - 8);
    if (read_u16(&r) != EXTENT_FORMAT)
        return false;
    stored_shard_read(&r, &named);
    footer->sequence = read_u64(&r);
    footer->synced = read_u64(&r);
    footer->table_crc = read_u32(&r);
    if (r.failed || !same_shard(shard, &named) || footer->synced >= footer->sequence ||
        footer->table_crc != crc32c(0, tail, 4 * (size_t)blocks))
        return false;
    reader_init(&r, tail, 4 * (size_t)blocks);
    for (uint32_t i = 0; crcs && i < blocks; i++)
        crcs[i] = read_u32(&r);
    return true;
}

void extent_encode_header(const uint8_t *salt, const struct extent_header *h,
                          uint8_t out[SYS_BLOCK])
{
    struct writer w;
    memset(out, 0, SYS_BLOCK);
    writer_init(&w, out, BLOCK_CHECK_AT);
    write_bytes(&w, extent_magic, 8);
    write_u32(&w, EXTENT_FORMAT);
    write_u32(&w, h->number);
    write_u64(&w, h->bytes);
    write_u32(&w, h->log_blocks);
    write_u32(&w, 0);
    write_u64(&w, h->incarnation);
    seal(salt, h->number, 0, out, BLOCK_CHECK_AT);
}

bool extent_decode_header(const uint8_t *salt, const uint8_t in[SYS_BLOCK], uint32_t number,
                          struct extent_header *h)
{
    if (memcmp(in, extent_magic, 8) != 0 || !sealed(salt, number, 0, in, BLOCK_CHECK_AT))
        return false;
    struct reader r;
    reader_init(&r, in + 8, BLOCK_CHECK_AT - 8);
    if (read_u32(&r) != EXTENT_FORMAT)
        return false;
    h->number = read_u32(&r);
    h->bytes = read_u64(&r);
    h->log_blocks = read_u32(&r);
    read_skip(&r, 4);
    h->incarnation = read_u64(&r);
    return h->number == number;
}

void log_encode(const uint8_t *salt, uint32_t extent, uint32_t slot, const struct reservation *v,
                uint32_t n, uint8_t out[SYS_BLOCK])
{
    struct writer w;
    assert(n <= LOG_ENTRIES_MAX);
    memset(out, 0, SYS_BLOCK);
    writer_init(&w, out, BLOCK_CHECK_AT);
    write_bytes(&w, log_magic, 8);
    write_u32(&w, extent);
    write_u32(&w, slot);
    write_u32(&w, n);
    write_zeros(&w, LOG_FIRST - writer_used(&w));
    for (uint32_t i = 0; i < n; i++) {
        write_u64(&w, v[i].offset);
        write_u32(&w, v[i].length);
        write_u32(&w, v[i].large);
    }
    assert(!w.failed);
    seal(salt, extent, (uint64_t)(1 + slot) * SYS_BLOCK, out, BLOCK_CHECK_AT);
}

bool log_decode(const uint8_t *salt, const uint8_t in[SYS_BLOCK], uint32_t extent, uint32_t slot,
                struct reservation *v, uint32_t *n)
{
    if (memcmp(in, log_magic, 8) != 0 ||
        !sealed(salt, extent, (uint64_t)(1 + slot) * SYS_BLOCK, in, BLOCK_CHECK_AT))
        return false;
    struct reader r;
    reader_init(&r, in + 8, BLOCK_CHECK_AT - 8);
    if (read_u32(&r) != extent || read_u32(&r) != slot)
        return false;
    *n = read_u32(&r);
    read_skip(&r, LOG_FIRST - 20);
    for (uint32_t i = 0; i < *n && i < LOG_ENTRIES_MAX; i++) {
        v[i].offset = read_u64(&r);
        v[i].length = read_u32(&r);
        v[i].large = read_u32(&r) != 0;
    }
    return *n <= LOG_ENTRIES_MAX && !r.failed;
}
