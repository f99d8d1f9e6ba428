/* The codec of frame.h. */
#include "common/rpc/frame.h"
#include <assert.h>
#include "common/base/cursor.h"
#include "common/base/digest.h"

enum { CRC_AT = FRAME_HEADER_BYTES - 4 };

void frame_encode(const struct frame_header *h, uint8_t out[FRAME_HEADER_BYTES])
{
    assert(h->body_length <= FRAME_BODY_MAX && h->payload_length <= FRAME_PAYLOAD_MAX);
    assert((h->flags & ~FRAME_FLAGS_KNOWN) == 0);
    struct writer w;
    writer_init(&w, out, FRAME_HEADER_BYTES);
    write_u32(&w, FRAME_MAGIC);
    write_u16(&w, h->type);
    write_u16(&w, h->flags);
    write_u64(&w, h->call);
    write_u32(&w, h->body_length);
    write_u32(&w, h->payload_length);
    write_u32(&w, h->flags & FRAME_REPLY ? (uint32_t)h->status : h->deadline_ms);
    write_u32(&w, h->payload_crc);
    write_u64(&w, h->epoch);
    write_u64(&w, h->trace);
    write_u32(&w, h->body_crc);
    write_u32(&w, crc32c(0, out, CRC_AT));
    assert(!w.failed && writer_used(&w) == FRAME_HEADER_BYTES);
}

enum err frame_decode(const uint8_t in[FRAME_HEADER_BYTES], struct frame_header *out)
{
    struct reader r;
    reader_init(&r, in, FRAME_HEADER_BYTES);
    uint32_t magic = read_u32(&r);
    *out = (struct frame_header){0};
    out->type = read_u16(&r);
    out->flags = read_u16(&r);
    out->call = read_u64(&r);
    out->body_length = read_u32(&r);
    out->payload_length = read_u32(&r);
    uint32_t word = read_u32(&r);
    out->payload_crc = read_u32(&r);
    out->epoch = read_u64(&r);
    out->trace = read_u64(&r);
    out->body_crc = read_u32(&r);
    uint32_t crc = read_u32(&r);
    assert(reader_finished(&r));
    if (magic != FRAME_MAGIC)
        return ERR_FORMAT;
    if (crc != crc32c(0, in, CRC_AT))
        return ERR_CORRUPT;
    if (out->flags & ~FRAME_FLAGS_KNOWN)
        return ERR_FORMAT;
    if (out->body_length > FRAME_BODY_MAX || out->payload_length > FRAME_PAYLOAD_MAX)
        return ERR_TOO_BIG;
    if (out->flags & FRAME_REPLY)
        out->status = (int32_t)word;
    else
        out->deadline_ms = word;
    return OK;
}

enum err frame_check_body(const struct frame_header *h, const void *body)
{
    return crc32c(0, body, h->body_length) == h->body_crc ? OK : ERR_CORRUPT;
}
