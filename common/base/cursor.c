#include "common/base/cursor.h"
#include <string.h>

void reader_init(struct reader *r, const void *data, size_t n)
{
    /* An empty source may be NULL; adding 0 to it is still not defined. */
    r->at = data;
    r->end = n ? r->at + n : r->at;
    r->failed = false;
}

size_t reader_left(const struct reader *r)
{
    return r->failed ? 0 : (size_t)(r->end - r->at);
}

bool reader_finished(const struct reader *r)
{
    return !r->failed && r->at == r->end;
}

const void *read_view(struct reader *r, size_t n)
{
    if (r->failed || (size_t)(r->end - r->at) < n) {
        r->failed = true;
        return NULL;
    }
    const uint8_t *view = r->at;
    if (n)
        r->at += n;
    /* A view of nothing is not a failure, even in a source that is NULL. */
    return view ? (const void *)view : (const void *)"";
}

void read_skip(struct reader *r, size_t n)
{
    (void)read_view(r, n);
}

void read_bytes(struct reader *r, void *out, size_t n)
{
    const void *view = read_view(r, n);
    if (n == 0)
        return;
    if (view)
        memcpy(out, view, n);
    else
        memset(out, 0, n);
}

static uint64_t read_little(struct reader *r, unsigned bytes)
{
    const uint8_t *p = read_view(r, bytes);
    uint64_t v = 0;
    for (unsigned i = 0; p && i < bytes; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

static uint64_t read_big(struct reader *r, unsigned bytes)
{
    const uint8_t *p = read_view(r, bytes);
    uint64_t v = 0;
    for (unsigned i = 0; p && i < bytes; i++)
        v = v << 8 | p[i];
    return v;
}

uint8_t read_u8(struct reader *r)
{
    return (uint8_t)read_little(r, 1);
}

uint16_t read_u16(struct reader *r)
{
    return (uint16_t)read_little(r, 2);
}

uint32_t read_u32(struct reader *r)
{
    return (uint32_t)read_little(r, 4);
}

uint64_t read_u64(struct reader *r)
{
    return read_little(r, 8);
}

uint32_t read_u32_be(struct reader *r)
{
    return (uint32_t)read_big(r, 4);
}

uint64_t read_u64_be(struct reader *r)
{
    return read_big(r, 8);
}

void writer_init(struct writer *w, void *out, size_t capacity)
{
    w->start = w->at = out;
    w->end = capacity ? w->start + capacity : w->start;
    w->failed = false;
}

size_t writer_used(const struct writer *w)
{
    return (size_t)(w->at - w->start);
}

static uint8_t *write_room(struct writer *w, size_t n)
{
    if (w->failed || (size_t)(w->end - w->at) < n) {
        w->failed = true;
        return NULL;
    }
    uint8_t *room = w->at;
    if (n)
        w->at += n;
    return room;
}

void write_bytes(struct writer *w, const void *data, size_t n)
{
    uint8_t *room = write_room(w, n);
    if (room && n)
        memcpy(room, data, n);
}

void write_zeros(struct writer *w, size_t n)
{
    uint8_t *room = write_room(w, n);
    if (room && n)
        memset(room, 0, n);
}

static void write_little(struct writer *w, uint64_t v, unsigned bytes)
{
    uint8_t *room = write_room(w, bytes);
    for (unsigned i = 0; room && i < bytes; i++)
        room[i] = (uint8_t)(v >> (8 * i));
}

static void write_big(struct writer *w, uint64_t v, unsigned bytes)
{
    uint8_t *room = write_room(w, bytes);
    for (unsigned i = 0; room && i < bytes; i++)
        room[i] = (uint8_t)(v >> (8 * (bytes - 1 - i)));
}

void write_u8(struct writer *w, uint8_t v)
{
    write_little(w, v, 1);
}

void write_u16(struct writer *w, uint16_t v)
{
    write_little(w, v, 2);
}

void write_u32(struct writer *w, uint32_t v)
{
    write_little(w, v, 4);
}

void write_u64(struct writer *w, uint64_t v)
{
    write_little(w, v, 8);
}

void write_u32_be(struct writer *w, uint32_t v)
{
    write_big(w, v, 4);
}

void write_u64_be(struct writer *w, uint64_t v)
{
    write_big(w, v, 8);
}
