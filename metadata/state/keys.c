#include "metadata/state/keys.h"
#include <string.h>
#include "placement/cluster_map.h"

void key_raw(struct key *k, const void *data, size_t n)
{
    if (k->overflow || n > sizeof k->bytes - k->length) {
        k->overflow = true;
        return;
    }
    if (n > 0)
        memcpy(k->bytes + k->length, data, n);
    k->length += n;
}

void key_u8(struct key *k, uint8_t v)
{
    key_raw(k, &v, 1);
}

void key_begin(struct key *k, char prefix)
{
    k->length = 0;
    k->overflow = false;
    key_u8(k, (uint8_t)prefix);
}

void key_begin2(struct key *k, char prefix, char kind)
{
    key_begin(k, prefix);
    key_u8(k, (uint8_t)kind);
}

static void key_integer(struct key *k, uint64_t v, unsigned bytes)
{
    for (unsigned i = bytes; i-- > 0;)
        key_u8(k, (uint8_t)(v >> (8 * i)));
}

void key_u16(struct key *k, uint16_t v)
{
    key_integer(k, v, 2);
}

void key_u32(struct key *k, uint32_t v)
{
    key_integer(k, v, 4);
}

void key_u64(struct key *k, uint64_t v)
{
    key_integer(k, v, 8);
}

void key_version(struct key *k, uint64_t index)
{
    key_u64(k, ~index);
}

void key_text_open(struct key *k, const void *text, size_t n)
{
    const uint8_t *at = text, *end = at + n;
    while (at < end) {
        const uint8_t *nul = memchr(at, 0, (size_t)(end - at));
        const uint8_t *stop = nul ? nul : end;
        key_raw(k, at, (size_t)(stop - at));
        if (nul)
            key_raw(k, "\x00\xff", 2);
        at = nul ? nul + 1 : end;
    }
}

void key_text(struct key *k, const void *text, size_t n)
{
    key_text_open(k, text, n);
    key_raw(k, "\x00\x00", 2);
}

void key_text_behind(struct key *k, const void *text, size_t n)
{
    key_text_open(k, text, n);
    key_raw(k, "\x00\x01", 2); /* behind the terminator 00 00, before an escaped NUL 00 FF */
}

bool key_behind(struct key *k)
{
    while (k->length > 0 && k->bytes[k->length - 1] == 0xff)
        k->length--;
    if (k->length == 0)
        return false;
    k->bytes[k->length - 1]++;
    return true;
}

void key_copy(struct key *k, struct kv_slice stored)
{
    k->length = 0;
    k->overflow = false;
    key_raw(k, stored.data, stored.length);
}

bool slice_begins(struct kv_slice s, const struct key *prefix)
{
    return s.length >= prefix->length && memcmp(s.data, prefix->bytes, prefix->length) == 0;
}

/* ---- reading ---- */

void key_reader_init(struct key_reader *r, struct kv_slice key, size_t skip)
{
    r->at = key.data;
    r->end = r->at + key.length;
    r->failed = skip > key.length;
    r->at = r->failed ? r->end : r->at + skip;
}

void key_read_raw(struct key_reader *r, void *out, size_t n)
{
    if (r->failed || (size_t)(r->end - r->at) < n) {
        r->failed = true;
        memset(out, 0, n);
        return;
    }
    memcpy(out, r->at, n);
    r->at += n;
}

static uint64_t read_integer(struct key_reader *r, unsigned bytes)
{
    uint8_t raw[8];
    uint64_t v = 0;
    key_read_raw(r, raw, bytes);
    for (unsigned i = 0; i < bytes; i++)
        v = v << 8 | raw[i];
    return v;
}

uint8_t key_read_u8(struct key_reader *r)
{
    return (uint8_t)read_integer(r, 1);
}

uint32_t key_read_u32(struct key_reader *r)
{
    return (uint32_t)read_integer(r, 4);
}

uint64_t key_read_u64(struct key_reader *r)
{
    return read_integer(r, 8);
}

uint64_t key_read_version(struct key_reader *r)
{
    return ~read_integer(r, 8);
}

enum err key_read_text(struct key_reader *r, void *out, size_t max, size_t *n)
{
    uint8_t *to = out;
    *n = 0;
    while (!r->failed) {
        uint8_t c = key_read_u8(r);
        if (c == 0 && !r->failed) {
            uint8_t mark = key_read_u8(r);
            if (mark == 0 && !r->failed)
                return OK;
            if (mark != 0xff)
                break;
        }
        if (r->failed)
            break;
        if (*n == max)
            return ERR_TOO_BIG;
        to[(*n)++] = c;
    }
    r->failed = true;
    return ERR_FORMAT;
}

/* ---- the usual ones ---- */

void key_bucket(struct key *k, const void *name, size_t n)
{
    key_begin(k, 'b');
    key_raw(k, name, n);
}

void key_usage(struct key *k, uint64_t bucket)
{
    key_begin(k, 'n');
    key_u64(k, bucket);
}

void key_object_all(struct key *k, char prefix, uint64_t bucket, const void *key, size_t n)
{
    key_begin(k, prefix);
    key_u64(k, bucket);
    key_text(k, key, n);
}

void key_object(struct key *k, char prefix, uint64_t bucket, const void *key, size_t n,
                uint64_t version)
{
    key_object_all(k, prefix, bucket, key, n);
    key_version(k, version);
}

void key_upload(struct key *k, uint64_t bucket, const void *key, size_t n, const uint8_t *upload)
{
    key_object_all(k, 'u', bucket, key, n);
    key_raw(k, upload, UPLOAD_ID_BYTES);
}

void key_parts(struct key *k, const uint8_t *upload)
{
    key_begin(k, 'p');
    key_raw(k, upload, UPLOAD_ID_BYTES);
}

void key_part(struct key *k, const uint8_t *upload, uint32_t number)
{
    key_parts(k, upload);
    key_u32(k, number);
}

void key_chunk(struct key *k, uint32_t pool, const struct chunk_id *chunk)
{
    uint8_t id[CHUNK_ID_BYTES];
    chunk_id_encode(chunk, id);
    key_begin(k, 'c');
    key_u32(k, pool);
    key_u64(k, chunk_hash(chunk));
    key_raw(k, id, sizeof id);
}

void key_repair(struct key *k, uint32_t pool, uint32_t pg, uint8_t priority,
                const struct chunk_id *chunk)
{
    uint8_t id[CHUNK_ID_BYTES];
    chunk_id_encode(chunk, id);
    key_begin(k, 'r');
    key_u32(k, pool);
    key_u32(k, pg);
    key_u8(k, priority);
    key_raw(k, id, sizeof id);
}

void key_due(struct key *k, int64_t due, const uint8_t *write_id, uint32_t first_sequence)
{
    key_begin(k, 'g');
    key_u64(k, (uint64_t)due);
    key_raw(k, write_id, WRITE_ID_BYTES);
    key_u32(k, first_sequence);
}
