/* See link_internal.h. */
#include "common/rpc/link_internal.h"
#include <assert.h>
#include <string.h>
#include "common/base/digest.h"

enum { SCRATCH_BYTES = 16 * 1024 };

struct link *link_new(struct sys_socket *socket)
{
    struct link *l = sys_alloc(sizeof *l);
    l->socket = socket;
    l->phase = LINK_DONE;
    return l;
}

void link_free(struct link *l)
{
    if (!l)
        return;
    sys_socket_close(l->socket);
    sys_free(l->body);
    sys_free(l);
}

void link_expect(struct link *l, uint64_t call, void *into, size_t into_bytes)
{
    assert(l->phase == LINK_DONE && l->input_start == l->input_end);
    sys_free(l->body);
    l->body = NULL;
    l->call = call;
    l->phase = LINK_HEADER;
    l->discard = false;
    l->into = into;
    l->into_bytes = into_bytes;
    l->body_got = l->payload_got = 0;
    l->payload_crc = 0;
    l->input_start = l->input_end = 0;
}

void link_discard(struct link *l)
{
    l->discard = true;
    l->into = NULL;
}

/* Bytes into the input buffer. */
static enum err fill(struct link *l)
{
    memmove(l->input, l->input + l->input_start, l->input_end - l->input_start);
    l->input_end -= l->input_start;
    l->input_start = 0;
    size_t done;
    enum err e =
        sys_recv(l->socket, l->input + l->input_end, sizeof l->input - l->input_end, 0, &done);
    if (!e)
        l->input_end += done;
    return e;
}

/* Up to n bytes to their place: buffered ones, or else what one receive brings. */
static enum err take(struct link *l, uint8_t *into, size_t n, size_t *done)
{
    size_t have = l->input_end - l->input_start;
    if (have == 0)
        return sys_recv(l->socket, into, n, 0, done);
    *done = have < n ? have : n;
    memcpy(into, l->input + l->input_start, *done);
    l->input_start += *done;
    return OK;
}

static enum err step_header(struct link *l)
{
    while (l->input_end - l->input_start < FRAME_HEADER_BYTES) {
        enum err e = fill(l);
        if (e)
            return e;
    }
    enum err e = frame_decode(l->input + l->input_start, &l->header);
    if (e)
        return e;
    l->input_start += FRAME_HEADER_BYTES;
    if (!(l->header.flags & FRAME_REPLY) || l->header.call != l->call)
        return ERR_FORMAT;
    if (!l->discard && l->header.payload_length > l->into_bytes)
        return ERR_TOO_BIG;
    l->body = sys_alloc(l->header.body_length);
    l->phase = LINK_BODY;
    return OK;
}

static enum err step_body(struct link *l)
{
    size_t left = l->header.body_length - l->body_got;
    if (left > 0) {
        size_t done;
        enum err e = take(l, l->body + l->body_got, left, &done);
        if (e)
            return e;
        l->body_got += done;
        if (done < left)
            return OK;
    }
    l->phase = LINK_PAYLOAD;
    return frame_check_body(&l->header, l->body);
}

static enum err step_payload(struct link *l)
{
    uint8_t scratch[SCRATCH_BYTES];
    size_t left = l->header.payload_length - l->payload_got;
    bool check = !l->discard && !(l->header.flags & FRAME_PAYLOAD_CHECKED_ELSEWHERE);
    if (left > 0) {
        uint8_t *into = l->discard ? scratch : l->into + l->payload_got;
        size_t n = l->discard && left > sizeof scratch ? sizeof scratch : left, done;
        enum err e = take(l, into, n, &done);
        if (e)
            return e;
        if (check)
            l->payload_crc = crc32c(l->payload_crc, into, done);
        l->payload_got += done;
        if (done < left)
            return OK;
    }
    l->phase = LINK_DONE;
    if (l->input_start != l->input_end)
        return ERR_FORMAT; /* nothing follows a reply unasked */
    return check && l->payload_crc != l->header.payload_crc ? ERR_CORRUPT : OK;
}

enum err link_receive(struct link *l, bool *moved)
{
    enum err e = OK;
    *moved = false;
    while (l->phase != LINK_DONE && e == OK) {
        size_t before = l->body_got + l->payload_got + l->input_end;
        enum link_phase phase = l->phase;
        switch (phase) {
        case LINK_HEADER:
            e = step_header(l);
            break;
        case LINK_BODY:
            e = step_body(l);
            break;
        case LINK_PAYLOAD:
            e = step_payload(l);
            break;
        case LINK_DONE:
            break;
        }
        if (phase != l->phase || l->body_got + l->payload_got + l->input_end != before)
            *moved = true;
    }
    return e;
}
