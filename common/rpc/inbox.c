/* See inbox_internal.h. The buffer grows to the one frame that needs it, within the frame's cap, and
 * shrinks when that is through. */
#include "common/rpc/inbox_internal.h"
#include <assert.h>
#include <string.h>

enum { USUAL_BYTES = 32 * 1024, LEAST_ROOM = 4096 };

void inbox_init(struct inbox *b)
{
    *b = (struct inbox){.data = sys_alloc(USUAL_BYTES), .capacity = USUAL_BYTES};
}

void inbox_release(struct inbox *b)
{
    sys_free(b->data);
    *b = (struct inbox){0};
}

static void resize(struct inbox *b, size_t capacity)
{
    assert(capacity >= b->end - b->start);
    uint8_t *data = sys_alloc(capacity);
    memcpy(data, b->data + b->start, b->end - b->start);
    sys_free(b->data);
    *b = (struct inbox){data, capacity, 0, b->end - b->start};
}

enum err inbox_fill(struct inbox *b, struct sys_socket *s)
{
    if (b->start == b->end) {
        b->start = b->end = 0;
        if (b->capacity > USUAL_BYTES)
            resize(b, USUAL_BYTES);
    } else if (b->capacity - b->end < LEAST_ROOM && b->start > 0) {
        memmove(b->data, b->data + b->start, b->end - b->start);
        b->end -= b->start;
        b->start = 0;
    }
    /* inbox_next has made room for the frame that is under way */
    assert(b->end < b->capacity);
    size_t done;
    enum err e = sys_recv(s, b->data + b->end, b->capacity - b->end, 0, &done);
    if (!e)
        b->end += done;
    return e;
}

enum err inbox_next(struct inbox *b, struct frame_header *h, const uint8_t **body)
{
    size_t have = b->end - b->start;
    if (have < FRAME_HEADER_BYTES) {
        if (b->capacity - b->start < FRAME_HEADER_BYTES)
            resize(b, b->capacity);
        return ERR_EMPTY;
    }
    enum err e = frame_decode(b->data + b->start, h);
    if (e)
        return e;
    if (h->payload_length > 0)
        return ERR_FORMAT;
    size_t whole = FRAME_HEADER_BYTES + h->body_length;
    if (have < whole) {
        if (b->capacity - b->start < whole)
            resize(b, whole > b->capacity ? whole : b->capacity);
        return ERR_EMPTY;
    }
    *body = b->data + b->start + FRAME_HEADER_BYTES;
    b->start += whole;
    return frame_check_body(h, *body);
}
