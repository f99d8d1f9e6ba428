/* Encoding and checking of headers, batches and records. Pure. */
#include "metadata/log_format.h"
#include <assert.h>
#include <string.h>
#include "common/base/digest.h"

static const uint32_t SEGMENT_MAGIC = 0x47534c43, BATCH_MAGIC = 0x54424c43;

void log_store_header_encode(struct log_segment_header *h, uint8_t block[LOG_BLOCK])
{
    struct writer w;
    writer_init(&w, block, LOG_BLOCK);
    write_u32(&w, SEGMENT_MAGIC);
    write_u32(&w, 0);
    write_u32(&w, LOG_VERSION);
    write_u32(&w, 0);
    write_bytes(&w, h->identity.cluster.bytes, UUID_BYTES);
    write_u64(&w, h->identity.member);
    write_u64(&w, h->sequence);
    write_u64(&w, h->generation);
    write_u64(&w, h->previous_generation);
    write_u64(&w, h->bytes);
    write_zeros(&w, LOG_BLOCK - writer_used(&w));
    assert(!w.failed && writer_used(&w) == LOG_BLOCK);
    h->crc = crc32c(0, block + 8, LOG_BLOCK - 8);
    writer_init(&w, block + 4, 4);
    write_u32(&w, h->crc);
}

enum err log_store_header_decode(const uint8_t block[LOG_BLOCK], struct log_segment_header *out)
{
    struct reader r;
    reader_init(&r, block, LOG_BLOCK);
    uint32_t magic = read_u32(&r);
    out->crc = read_u32(&r);
    if (magic != SEGMENT_MAGIC || out->crc != crc32c(0, block + 8, LOG_BLOCK - 8))
        return ERR_CORRUPT;
    if (read_u32(&r) != LOG_VERSION)
        return ERR_UNSUPPORTED;
    read_u32(&r);
    read_bytes(&r, out->identity.cluster.bytes, UUID_BYTES);
    out->identity.member = read_u64(&r);
    out->sequence = read_u64(&r);
    out->generation = read_u64(&r);
    out->previous_generation = read_u64(&r);
    out->bytes = read_u64(&r);
    return out->bytes % LOG_BLOCK || out->bytes < LOG_SEGMENT_MIN ? ERR_CORRUPT : OK;
}

static uint32_t batch_crc(uint64_t generation, const uint8_t *batch, uint32_t bytes)
{
    uint8_t seed[8];
    struct writer w;
    writer_init(&w, seed, sizeof seed);
    write_u64(&w, generation);
    return crc32c(crc32c(0, seed, sizeof seed), batch + 8, bytes - 8);
}

void log_store_batch_seal(struct log_batch_header *h, uint8_t *batch)
{
    assert(h->bytes % LOG_BLOCK == 0 && h->bytes >= LOG_BATCH_HEADER + h->record_bytes);
    memset(batch + LOG_BATCH_HEADER + h->record_bytes, 0,
           h->bytes - LOG_BATCH_HEADER - h->record_bytes);
    struct writer w;
    writer_init(&w, batch, LOG_BATCH_HEADER);
    write_u32(&w, BATCH_MAGIC);
    write_u32(&w, 0);
    write_u32(&w, h->bytes);
    write_u32(&w, h->previous_crc);
    write_u64(&w, h->generation);
    write_u64(&w, h->incarnation);
    write_u64(&w, h->offset);
    write_u64(&w, h->known_sequence);
    write_u64(&w, h->known_offset);
    write_u64(&w, h->commit);
    write_u32(&w, h->records);
    write_u32(&w, h->record_bytes);
    assert(!w.failed && writer_used(&w) == LOG_BATCH_HEADER);
    h->crc = batch_crc(h->generation, batch, h->bytes);
    writer_init(&w, batch + 4, 4);
    write_u32(&w, h->crc);
}

bool log_store_batch_peek(const uint8_t *block, uint64_t generation, uint64_t offset, uint64_t room,
                          struct log_batch_header *out)
{
    struct reader r;
    reader_init(&r, block, LOG_BATCH_HEADER);
    uint32_t magic = read_u32(&r);
    out->crc = read_u32(&r);
    out->bytes = read_u32(&r);
    out->previous_crc = read_u32(&r);
    out->generation = read_u64(&r);
    out->incarnation = read_u64(&r);
    out->offset = read_u64(&r);
    out->known_sequence = read_u64(&r);
    out->known_offset = read_u64(&r);
    out->commit = read_u64(&r);
    out->records = read_u32(&r);
    out->record_bytes = read_u32(&r);
    return magic == BATCH_MAGIC && out->generation == generation && out->offset == offset &&
           out->bytes >= LOG_BLOCK && out->bytes % LOG_BLOCK == 0 && out->bytes <= room &&
           out->record_bytes <= out->bytes - LOG_BATCH_HEADER;
}

bool log_store_batch_valid(const struct log_batch_header *h, const uint8_t *batch)
{
    return h->crc == batch_crc(h->generation, batch, h->bytes);
}

bool log_store_record_next(struct reader *r, struct log_record *out)
{
    if (reader_left(r) == 0)
        return false;
    out->type = (enum log_record_type)read_u8(r);
    out->kind = read_u8(r);
    read_u16(r);
    uint32_t n = read_u32(r);
    const void *body = read_view(r, n);
    if (r->failed)
        return false;
    reader_init(&out->body, body, n);
    return true;
}
