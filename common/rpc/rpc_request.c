/* Requests as handlers see them, and their replies. */
#include <assert.h>
#include <string.h>
#include "common/base/digest.h"
#include "common/rpc/server_internal.h"
#include "common/rpc/wire_internal.h"

struct rpc_request *request_new(struct rpc_connection *c, const struct frame_header *h)
{
    sys_mutex_lock(&c->lock);
    struct rpc_request *r = c->spare;
    c->spare = NULL;
    c->references++;
    sys_mutex_unlock(&c->lock);
    if (!r) {
        r = sys_alloc(sizeof *r);
        arena_init(&r->arena);
    }
    r->connection = c;
    r->header = *h;
    r->raw = NULL;
    r->body = NULL;
    r->replied = r->kept = false;
    r->context = (struct request_context){.deadline = SYS_FOREVER, .trace = h->trace};
    if (h->deadline_ms > 0)
        r->context.deadline = sys_now() + h->deadline_ms * SYS_MS;
    return r;
}

void request_free(struct rpc_request *r)
{
    struct rpc_connection *c = r->connection;
    arena_clear(&r->arena);
    sys_mutex_lock(&c->lock);
    bool reuse = !c->over && !c->spare;
    if (reuse)
        c->spare = r;
    sys_mutex_unlock(&c->lock);
    if (!reuse) {
        arena_release(&r->arena);
        sys_free(r);
    }
    connection_unref(c);
}

/* A peer that does not take its answers is cut off. */
static void cut(struct rpc_connection *c)
{
    sys_mutex_lock(&c->server->lock);
    if (c->socket)
        sys_socket_shutdown(c->socket);
    sys_mutex_unlock(&c->server->lock);
}

static uint32_t crc_of(const struct sys_slice *v, size_t n)
{
    uint32_t crc = 0;
    for (size_t i = 0; i < n; i++)
        crc = crc32c(crc, v[i].data, v[i].length);
    return crc;
}

/* Header, body and payload in one send; one reply at a time. */
static void send_bulk(struct rpc_connection *c, struct frame_header *h,
                      const ProtobufCMessage *body, const struct sys_slice *payload, size_t slices)
{
    uint8_t *head;
    size_t n;
    if (frame_pack(h, body, &head, &n)) {
        cut(c);
        return;
    }
    struct sys_slice v[SYS_SLICES_MAX] = {{head, n}};
    if (slices > 0)
        memcpy(v + 1, payload, slices * sizeof *payload);
    sys_mutex_lock(&c->lock);
    while (c->sending)
        (void)sys_cond_wait(&c->idle, &c->lock, SYS_FOREVER);
    bool over = c->over;
    c->sending = !over;
    sys_mutex_unlock(&c->lock);
    if (!over) {
        enum err e = socket_send_all(c->socket, v, slices + 1, SYS_FOREVER,
                                     c->server->config.timeouts.client_idle);
        if (e)
            sys_socket_shutdown(c->socket);
        sys_mutex_lock(&c->lock);
        c->sending = false;
        sys_cond_broadcast(&c->idle);
        sys_mutex_unlock(&c->lock);
    }
    sys_free(head);
}

void connection_reply(struct rpc_connection *c, const struct frame_header *request, enum err status,
                      const ProtobufCMessage *body, const struct sys_slice *payload, size_t slices,
                      unsigned flags, bool flush)
{
    struct frame_header h = {
        .type = request->type,
        .flags = FRAME_REPLY,
        .call = request->call,
        .status = status,
        .epoch = epoch_mine(&c->server->config.epoch),
        .trace = request->trace,
    };
    if (frame_packed_size(body) > FRAME_HEADER_BYTES + FRAME_BODY_MAX) {
        h.status = ERR_TOO_BIG;
        body = NULL;
        slices = 0;
    }
    if (c->peer.kind == RPC_CONTROL) {
        assert(slices == 0);
        enum err e = outbox_put(&c->outbox, c->generation, &h, body);
        if (e == ERR_BUSY)
            cut(c);
        else if (!e && flush)
            outbox_flush(&c->outbox);
        return;
    }
    assert(slices <= RPC_REPLY_SLICES_MAX);
    size_t payload_length = 0;
    for (size_t i = 0; i < slices; i++)
        payload_length += payload[i].length;
    assert(payload_length <= FRAME_PAYLOAD_MAX);
    h.payload_length = (uint32_t)payload_length;
    if (flags & RPC_REPLY_CHECKED_ELSEWHERE)
        h.flags |= FRAME_PAYLOAD_CHECKED_ELSEWHERE;
    else
        h.payload_crc = crc_of(payload, slices);
    send_bulk(c, &h, body, payload, slices);
}

void rpc_reply(struct rpc_request *r, enum err status, const ProtobufCMessage *body,
               const struct sys_slice *payload, size_t slices, unsigned flags)
{
    struct rpc_connection *c = r->connection;
    bool control = c->peer.kind == RPC_CONTROL;
    bool send = !(r->header.flags & FRAME_ONE_WAY);
    sys_mutex_lock(&c->lock);
    assert(!r->replied);
    r->replied = true;
    bool inside = c->dispatching == r;
    if (inside)
        c->dispatching = NULL;
    /* Who handles frames sends what has gathered when there are no more; a request that it has handed on may
     * be answered when it has done so. */
    bool gathers = inside && !r->kept;
    if (r->kept)
        c->kept--;
    if (!control && r->header.call == c->call) {
        send = send && !c->answered;
        c->answered = true;
    }
    sys_mutex_unlock(&c->lock);
    if (send) {
        bool soon = flags & RPC_REPLY_SOON;
        connection_reply(c, &r->header, status, body, payload, slices, flags, !gathers && !soon);
        if (control && soon && !gathers)
            sys_event_set(c->wake);
    }
    request_free(r);
}

void rpc_request_keep(struct rpc_request *r)
{
    struct rpc_connection *c = r->connection;
    sys_mutex_lock(&c->lock);
    assert(!r->kept && !r->replied);
    r->kept = true;
    c->kept++;
    sys_mutex_unlock(&c->lock);
}

enum err rpc_payload_read(struct rpc_request *r, void *into, size_t n)
{
    return bulk_payload_read(r->connection, into, n);
}

uint16_t rpc_request_type(const struct rpc_request *r)
{
    return r->header.type;
}

const ProtobufCMessage *rpc_request_body(const struct rpc_request *r)
{
    return r->body;
}

const uint8_t *rpc_request_raw(const struct rpc_request *r, size_t *n)
{
    *n = r->header.body_length;
    return r->raw;
}

struct arena *rpc_request_arena(struct rpc_request *r)
{
    return &r->arena;
}

size_t rpc_request_payload_length(const struct rpc_request *r)
{
    return r->header.payload_length;
}

bool rpc_request_one_way(const struct rpc_request *r)
{
    return r->header.flags & FRAME_ONE_WAY;
}

bool rpc_request_last(const struct rpc_request *r)
{
    return !(r->header.flags & FRAME_STREAM) || (r->header.flags & FRAME_LAST);
}

int64_t rpc_request_deadline(const struct rpc_request *r)
{
    return r->context.deadline;
}

const struct request_context *rpc_request_context(const struct rpc_request *r)
{
    return &r->context;
}

struct rpc_connection *rpc_request_connection(struct rpc_request *r)
{
    return r->connection;
}
