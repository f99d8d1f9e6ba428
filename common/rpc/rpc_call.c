/* Remote calls of a gather: how their frames leave and their replies come, a piece at a time, never
 * waiting. Where a call ends on its connection is agreed in rpc_bulk_server.c. */
#include "common/rpc/rpc_call.h"
#include <assert.h>
#include "common/base/digest.h"
#include "common/rpc/call_internal.h"
#include "common/rpc/wire_internal.h"

/* Less than this of a stream waits for its next frame: a small shard leaves in one send, and wakes its
 * chunkserver once. */
enum { JOIN_BYTES = 64 * 1024 };

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---- frames on their way out ---- */

static void out_pop(struct call *c)
{
    struct out_frame *f = &c->out[c->out_first];
    sys_free(f->head);
    buf_unref(f->payload);
    *f = (struct out_frame){0};
    c->out_first = (c->out_first + 1) % OUT_FRAMES_MAX;
    c->out_count--;
    c->out_done = 0;
}

static void out_clear(struct call *c)
{
    while (c->out_count > 0)
        out_pop(c);
    c->out_queued = 0;
}

static void out_advance(struct call *c, size_t done)
{
    assert(done <= c->out_queued);
    c->out_queued -= done;
    c->out_done += done;
    while (c->out_count > 0) {
        struct out_frame *f = &c->out[c->out_first];
        size_t whole = f->head_length + f->length;
        if (c->out_done < whole)
            return;
        size_t rest = c->out_done - whole;
        out_pop(c);
        c->out_done = rest;
    }
}

/* Head and payload of the queued frames, less what of the first has left. */
static size_t out_slices(const struct call *c, struct sys_slice v[SYS_SLICES_MAX])
{
    size_t n = 0;
    for (uint32_t i = 0; i < c->out_count && n + 2 <= SYS_SLICES_MAX; i++) {
        const struct out_frame *f = &c->out[(c->out_first + i) % OUT_FRAMES_MAX];
        v[n++] = (struct sys_slice){f->head, f->head_length};
        if (f->length > 0)
            v[n++] = (struct sys_slice){f->payload->data + f->at, f->length};
    }
    return slices_advance(v, n, c->out_done);
}

static bool is_due(const struct call *c)
{
    return c->out_count > 0 || c->kind == CALL_UNARY || c->finish_sent;
}

/* ---- ends ---- */

static void finish(struct call *c, enum err result, bool answered, enum link_end end)
{
    int64_t now = sys_now();
    int64_t took = c->due_since ? now - c->due_since : 0;
    enum err told = result;
    if (result == ERR_TIMEOUT && !answered && (!is_due(c) || now - c->moved < c->progress_ns)) {
        /* The caller's own deadline came first: it says nothing about the peer, unless it was slow. */
        told = ERR_CANCELLED;
        took = is_due(c) ? now - c->moved : 0;
    }
    if (result == ERR_CLOSED && !answered && c->link && c->link->idled) {
        /* It may have broken while nobody used it: says nothing either. A new one's break does. */
        told = ERR_CANCELLED;
        took = 0;
    }
    pool_report(c->peer, answered, told, took);
    out_clear(c);
    if (c->link)
        pool_give(c->peer, c->link, end);
    c->link = NULL;
    call_end(c, result, answered);
}

static void finish_replied(struct call *c)
{
    struct link *l = c->link;
    const struct frame_header *h = &l->header;
    epoch_seen(&c->peer->node->config.epoch, h->epoch);
    c->info.body = l->body;
    l->body = NULL; /* freed with the call */
    c->info.body_length = h->body_length;
    c->info.payload_length = h->payload_length;
    c->info.payload_checked_elsewhere = h->flags & FRAME_PAYLOAD_CHECKED_ELSEWHERE;
    /* Half a frame has left, or the request was answered before it was sent: no common ground. */
    bool broken = c->out_done > 0 || (c->kind == CALL_UNARY && c->out_count > 0);
    finish(c, err_from_wire(h->status), true, broken ? LINK_BROKEN : LINK_IDLE);
}

static void receive(struct call *c, int64_t now)
{
    bool moved;
    enum err e = link_receive(c->link, &moved);
    if (moved)
        c->moved = now;
    if (e == OK)
        finish_replied(c);
    else if (e != ERR_TIMEOUT)
        finish(c, e, false, LINK_BROKEN);
}

static void give_credit(struct call *c)
{
    uint32_t window = c->peer->node->config.stream_window_bytes;
    if (c->want_credit && c->out_queued <= window / 2 && c->out_count <= OUT_FRAMES_MAX / 2) {
        c->want_credit = false;
        c->credit = true;
        call_ready(c);
    }
}

static void push(struct call *c, int64_t now)
{
    while (c->link && c->out_count > 0) {
        struct sys_slice v[SYS_SLICES_MAX];
        size_t n = out_slices(c, v), done = 0, offered = 0;
        for (size_t i = 0; i < n; i++)
            offered += v[i].length;
        enum err e = sys_send(c->link->socket, v, n, false, 0, &done);
        if (e == ERR_TIMEOUT)
            break;
        if (e) {
            /* A server that gives up may have said why. */
            receive(c, now);
            if (!c->info.finished)
                finish(c, ERR_CLOSED, false, LINK_BROKEN);
            return;
        }
        c->moved = now;
        c->sent = true;
        out_advance(c, done);
        if (done < offered)
            break;
    }
    give_credit(c);
}

/* ---- what the gather asks ---- */

/* What is left unsent, gather_next finds the socket ready for. */
static bool is_joined(const struct call *c)
{
    return c->kind == CALL_STREAM && !c->finish_sent && c->out_queued < JOIN_BYTES;
}

static void attach(struct call *c, struct link *link)
{
    c->link = link;
    link_expect(link, c->id, c->into, c->into_bytes);
    c->moved = sys_now();
    if (!is_joined(c))
        push(c, c->moved);
}

void remote_connected(struct call *c, struct link *link, enum err result)
{
    if (link)
        attach(c, link);
    else
        finish(c, result, false, LINK_BROKEN);
}

void remote_move(struct call *c, uint8_t ready, int64_t now)
{
    if (ready & (SYS_READ | SYS_HANGUP))
        receive(c, now);
    if (!c->info.finished && (ready & SYS_WRITE))
        push(c, now);
}

uint8_t remote_wants(const struct call *c)
{
    return SYS_READ | (c->out_count > 0 ? SYS_WRITE : 0);
}

int64_t remote_expires(const struct call *c)
{
    if (!c->link || !is_due(c))
        return c->deadline;
    return min64(c->deadline, c->moved + c->progress_ns);
}

void remote_expire(struct call *c)
{
    if (c->waiting) {
        if (!pool_leave(c->peer, c))
            return; /* it has been told just now: take_arrived looks next */
        c->waiting = false;
    }
    finish(c, ERR_TIMEOUT, false, LINK_BROKEN);
}

/* Tells the server that a stream is given up; whole or not at all. */
static enum link_end send_cancel(struct call *c)
{
    struct frame_header h = {.type = FRAME_TYPE_CANCEL, .flags = FRAME_STREAM, .call = c->id};
    uint8_t frame[FRAME_HEADER_BYTES];
    frame_encode(&h, frame);
    for (size_t sent = 0; sent < sizeof frame;) {
        struct sys_slice v = {frame + sent, sizeof frame - sent};
        size_t done;
        if (sys_send(c->link->socket, &v, 1, false, 0, &done))
            return LINK_BROKEN;
        sent += done;
    }
    return LINK_DRAIN;
}

static enum link_end abandon(struct call *c)
{
    if (c->waiting)
        return LINK_IDLE; /* came just now, unused */
    if (c->out_done > 0)
        return LINK_BROKEN;
    if (!c->sent) {
        c->link->phase = LINK_DONE;
        return LINK_IDLE;
    }
    link_discard(c->link);
    if (c->kind == CALL_STREAM && !(c->finish_sent && c->out_count == 0))
        return send_cancel(c);
    return LINK_DRAIN;
}

void remote_cancel(struct call *c)
{
    if (!c->info.finished) {
        int64_t took = c->due_since && is_due(c) ? sys_now() - c->due_since : 0;
        pool_report(c->peer, false, ERR_CANCELLED, took);
        if (c->link)
            pool_give(c->peer, c->link, abandon(c));
        out_clear(c);
    }
    sys_free((void *)(uintptr_t)c->info.body);
}

/* ---- starting ---- */

static enum err queue_frame(struct call *c, uint16_t type, unsigned flags,
                            const ProtobufCMessage *body, struct buf *payload, size_t at,
                            size_t length, bool checked_elsewhere)
{
    assert(length <= FRAME_PAYLOAD_MAX);
    assert(length == 0 || (payload && at <= payload->capacity && length <= payload->capacity - at));
    struct frame_header h = {
        .type = type,
        .flags = (uint16_t)flags,
        .call = c->id,
        .payload_length = (uint32_t)length,
        .deadline_ms = deadline_to_ms(c->deadline, c->moved),
        .epoch = epoch_mine(&c->peer->node->config.epoch),
        .trace = c->g->context->trace,
    };
    if (checked_elsewhere)
        h.flags |= FRAME_PAYLOAD_CHECKED_ELSEWHERE;
    else if (length > 0)
        h.payload_crc = crc32c(0, payload->data + at, length);
    struct out_frame *f = &c->out[(c->out_first + c->out_count) % OUT_FRAMES_MAX];
    enum err e = frame_pack(&h, body, &f->head, &f->head_length);
    if (e)
        return e;
    f->payload = length > 0 ? buf_ref(payload) : NULL;
    f->at = at;
    f->length = length;
    c->out_count++;
    c->out_queued += f->head_length + length;
    return OK;
}

static enum err start(struct rpc_peer *p, struct gather *g, const struct rpc_call *r,
                      enum call_kind kind, struct call **out)
{
    if (frame_packed_size(r->body) > FRAME_HEADER_BYTES + FRAME_BODY_MAX)
        return ERR_TOO_BIG;
    struct call *c = call_add(g, r->tag, kind);
    if (!c)
        return ERR_BUSY;
    c->peer = p;
    c->type = c->info.type = r->type;
    c->into = r->into;
    c->into_bytes = r->into ? r->into_bytes : 0;
    c->deadline = min64(r->deadline ? r->deadline : g->context->deadline, g->context->deadline);
    c->progress_ns = r->progress ? r->progress : p->node->config.timeouts.shard_progress;
    c->moved = c->info.started;
    c->due_since = kind == CALL_UNARY ? c->info.started : 0;
    /* In line, it may be told at once, by the keeper: only through the port, looked at later. */
    c->waiting = true;
    c->insist = r->insist;
    struct link *link;
    enum err e = pool_take(p, c, &c->id, &link);
    if (e) {
        call_remove(c);
        sys_free(c);
        return e;
    }
    e = queue_frame(c, r->type, kind == CALL_STREAM ? FRAME_STREAM : 0, r->body, r->payload,
                    r->payload_at, r->payload_length, r->payload_checked_elsewhere);
    assert(e == OK); /* its size was looked at */
    if (link) {
        c->waiting = false;
        attach(c, link);
    }
    *out = c;
    return OK;
}

enum err rpc_call_start(struct rpc_peer *p, struct gather *g, const struct rpc_call *request,
                        struct call **out)
{
    return start(p, g, request, CALL_UNARY, out);
}

enum err rpc_stream_open(struct rpc_peer *p, struct gather *g, const struct rpc_call *first,
                         struct call **out)
{
    return start(p, g, first, CALL_STREAM, out);
}

static enum err stream_put(struct call *c, uint16_t type, unsigned flags,
                           const ProtobufCMessage *body, struct buf *payload, size_t at,
                           size_t length, bool checked_elsewhere)
{
    int64_t now = sys_now();
    if (!is_due(c))
        c->moved = now; /* nothing was due until now */
    enum err e = queue_frame(c, type, flags, body, payload, at, length, checked_elsewhere);
    if (e)
        return e;
    if (flags & FRAME_LAST) {
        c->finish_sent = true;
        c->due_since = now;
    }
    if (!is_joined(c))
        push(c, now);
    return OK;
}

enum err rpc_stream_send(struct call *c, uint16_t type, const ProtobufCMessage *body,
                         struct buf *payload, size_t at, size_t length, bool checked_elsewhere)
{
    assert(c->kind == CALL_STREAM && !c->finish_sent);
    if (c->info.finished)
        return ERR_CLOSED;
    uint32_t window = c->peer->node->config.stream_window_bytes;
    /* One place is kept for the last frame. */
    if (c->out_count >= OUT_FRAMES_MAX - 1 ||
        (c->out_count > 0 && c->out_queued + length > window)) {
        c->want_credit = true;
        return ERR_BUSY;
    }
    return stream_put(c, type, FRAME_STREAM, body, payload, at, length, checked_elsewhere);
}

enum err rpc_stream_finish(struct call *c, uint16_t type, const ProtobufCMessage *body)
{
    assert(c->kind == CALL_STREAM && !c->finish_sent);
    if (c->info.finished)
        return ERR_CLOSED;
    return stream_put(c, type, FRAME_STREAM | FRAME_LAST, body, NULL, 0, 0, false);
}
