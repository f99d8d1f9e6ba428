/* A bulk connection's thread: frames of one call at a time, payload straight to where the handler
 * wants it. Header and body come through a small buffer; what of the payload is not in it yet is
 * received to its place.
 *
 * Rules by which both sides agree where a call ends:
 *   1. each call (unary, or all frames of a stream) has an id of its own and gets exactly one reply;
 *   2. once it is answered, frames of the same id that still arrive are dropped;
 *   3. CANCEL of a call that is not answered: what the stream was building is destroyed, and the reply
 *      is ERR_CANCELLED, or its own when it is being worked on; of one that is answered: nothing;
 *   4. a frame of another id, while the last call is not answered, is a protocol error. */
#include <assert.h>
#include <string.h>
#include "common/base/digest.h"
#include "common/rpc/server_internal.h"
#include "common/rpc/wire_internal.h"
#include "common/sys/log.h"

enum { IDLE_FACTOR = 4, DRAIN_PIECE = 8192 };

/* Takes at least one byte into the input buffer. */
static enum err fill(struct rpc_connection *c, int64_t deadline)
{
    if (c->input_start > 0) {
        memmove(c->input, c->input + c->input_start, c->input_end - c->input_start);
        c->input_end -= c->input_start;
        c->input_start = 0;
    }
    assert(c->input_end < sizeof c->input);
    size_t done;
    enum err e = sys_recv(c->socket, c->input + c->input_end, sizeof c->input - c->input_end,
                          deadline, &done);
    if (!e)
        c->input_end += done;
    return e;
}

/* n bytes: what is buffered, then straight from the socket. */
static enum err take(struct rpc_connection *c, void *into, size_t n)
{
    size_t have = c->input_end - c->input_start;
    size_t first = have < n ? have : n;
    memcpy(into, c->input + c->input_start, first);
    c->input_start += first;
    return socket_recv_all(c->socket, (uint8_t *)into + first, n - first, SYS_FOREVER,
                           c->server->config.timeouts.client_idle);
}

enum err bulk_payload_read(struct rpc_connection *c, void *into, size_t n)
{
    if (c->input_error)
        return c->input_error;
    if (n > c->payload_left)
        return ERR_TRUNCATED;
    if (n == 0)
        return OK;
    enum err e = take(c, into, n);
    c->payload_left -= n;
    if (!e && c->payload_check) {
        c->payload_crc = crc32c(c->payload_crc, into, n);
        if (c->payload_left == 0 && c->payload_crc != c->payload_crc_want)
            e = ERR_CORRUPT;
    }
    c->input_error = e;
    return e;
}

static enum err skip(struct rpc_connection *c, size_t n)
{
    uint8_t scratch[DRAIN_PIECE];
    while (n > 0) {
        size_t piece = n < sizeof scratch ? n : sizeof scratch;
        enum err e = take(c, scratch, piece);
        if (e)
            return e;
        n -= piece;
    }
    return OK;
}

static bool in_stream(struct rpc_connection *c)
{
    sys_mutex_lock(&c->lock);
    bool open = c->streaming && !c->answered;
    sys_mutex_unlock(&c->lock);
    return open;
}

static enum err read_header(struct rpc_connection *c, struct frame_header *h)
{
    const struct timeouts *t = &c->server->config.timeouts;
    int64_t wait = in_stream(c) ? t->shard_write_idle : t->client_idle * IDLE_FACTOR;
    while (c->input_end - c->input_start < FRAME_HEADER_BYTES) {
        enum err e = fill(c, sys_now() + wait);
        if (e)
            return e;
        wait = t->client_idle;
    }
    enum err e = frame_decode(c->input + c->input_start, h);
    c->input_start += FRAME_HEADER_BYTES;
    return e;
}

/* What a stream was building goes when the stream has been answered without taking it. */
static void drop_answered_state(struct rpc_connection *c)
{
    if (!c->state_of_stream)
        return;
    sys_mutex_lock(&c->lock);
    bool answered = c->answered;
    sys_mutex_unlock(&c->lock);
    if (answered)
        connection_drop_state(c);
}

static enum err cancel(struct rpc_connection *c, const struct frame_header *h)
{
    if (h->body_length > 0 || h->payload_length > 0)
        return ERR_FORMAT;
    sys_mutex_lock(&c->lock);
    bool answer = h->call == c->call && !c->answered && c->kept == 0;
    if (answer)
        c->answered = true;
    sys_mutex_unlock(&c->lock);
    if (answer) { /* what the stream was building goes before the next frame is read */
        drop_answered_state(c);
        connection_reply(c, h, ERR_CANCELLED, NULL, NULL, 0, 0, true);
    }
    return OK;
}

/* Rules 2 and 4. *drop: the frame is of a call that has been answered. */
static enum err track(struct rpc_connection *c, const struct frame_header *h, bool *drop)
{
    enum err e = OK;
    sys_mutex_lock(&c->lock);
    *drop = h->call == c->call && c->answered;
    if (h->call != c->call) {
        if (c->call != 0 && !c->answered)
            e = ERR_FORMAT;
        c->call = h->call;
        c->answered = h->flags & FRAME_ONE_WAY;
        c->streaming = h->flags & FRAME_STREAM;
    } else if (!*drop && !(c->streaming && (h->flags & FRAME_STREAM))) {
        e = ERR_FORMAT;
    }
    sys_mutex_unlock(&c->lock);
    return e;
}

static enum err serve_request(struct rpc_connection *c, const struct frame_header *h)
{
    struct rpc_request *r = request_new(c, h);
    uint8_t *raw = arena_alloc(&r->arena, h->body_length);
    r->raw = raw;
    enum err e = take(c, raw, h->body_length);
    if (!e)
        e = frame_check_body(h, raw);
    if (e) {
        request_free(r);
        return e;
    }
    c->payload_left = h->payload_length;
    c->payload_crc = 0;
    c->payload_crc_want = h->payload_crc;
    c->payload_check = !(h->flags & FRAME_PAYLOAD_CHECKED_ELSEWHERE);
    connection_dispatch(c, r);
    e = c->input_error ? c->input_error : skip(c, c->payload_left);
    c->payload_left = 0;
    return e;
}

static enum err serve_frame(struct rpc_connection *c)
{
    struct frame_header h;
    drop_answered_state(c);
    enum err e = read_header(c, &h);
    if (e)
        return e;
    drop_answered_state(c);
    epoch_seen(&c->server->config.epoch, h.epoch);
    if (h.flags & FRAME_REPLY)
        return ERR_FORMAT;
    if (h.type == FRAME_TYPE_CANCEL)
        return cancel(c, &h);
    if (h.type >= FRAME_TYPE_OWN || h.call == 0)
        return ERR_FORMAT;
    bool drop;
    e = track(c, &h, &drop);
    if (e)
        return e;
    return drop ? skip(c, (size_t)h.body_length + h.payload_length) : serve_request(c, &h);
}

void connection_run_bulk(struct rpc_connection *c)
{
    enum err e;
    do
        e = serve_frame(c);
    while (e == OK);
    if (e == ERR_FORMAT || e == ERR_CORRUPT || e == ERR_TOO_BIG)
        log_warn("rpc", "closed a connection: %s", err_text(e));
}
