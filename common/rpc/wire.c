/* Whole sends and receives on non-blocking sockets, and packed frames. */
#include "common/rpc/wire_internal.h"
#include <assert.h>
#include <string.h>
#include "common/base/digest.h"

size_t slices_advance(struct sys_slice *v, size_t n, size_t done)
{
    size_t skip = 0;
    while (skip < n && done >= v[skip].length)
        done -= v[skip++].length;
    assert(skip < n || done == 0);
    if (skip < n) {
        v[skip].data = (const uint8_t *)v[skip].data + done;
        v[skip].length -= done;
    }
    if (skip > 0)
        memmove(v, v + skip, (n - skip) * sizeof *v);
    return n - skip;
}

/* Only a wait that may be long asks for the time. */
static int64_t next_limit(int64_t deadline, int64_t progress)
{
    if (progress == 0)
        return deadline;
    int64_t limit = sys_now() + progress;
    return limit < deadline ? limit : deadline;
}

enum err socket_send_all(struct sys_socket *s, struct sys_slice *v, size_t n, int64_t deadline,
                         int64_t progress)
{
    n = slices_advance(v, n, 0);
    while (n > 0) {
        size_t done;
        enum err e = sys_send(s, v, n, false, next_limit(deadline, progress), &done);
        if (e)
            return e;
        n = slices_advance(v, n, done);
    }
    return OK;
}

enum err socket_recv_all(struct sys_socket *s, void *out, size_t n, int64_t deadline,
                         int64_t progress)
{
    uint8_t *at = out;
    while (n > 0) {
        size_t done;
        enum err e = sys_recv(s, at, n, next_limit(deadline, progress), &done);
        if (e)
            return e;
        at += done;
        n -= done;
    }
    return OK;
}

uint32_t deadline_to_ms(int64_t deadline, int64_t now)
{
    if (deadline == SYS_FOREVER)
        return 0;
    int64_t ms = deadline > now ? (deadline - now) / SYS_MS : 0;
    if (ms < 1)
        return 1;
    return ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
}

size_t frame_packed_size(const ProtobufCMessage *body)
{
    return FRAME_HEADER_BYTES + (body ? protobuf_c_message_get_packed_size(body) : 0);
}

void frame_pack_to(struct frame_header *h, const ProtobufCMessage *body, size_t size, uint8_t *out)
{
    h->body_length = (uint32_t)(size - FRAME_HEADER_BYTES);
    if (h->body_length > 0)
        protobuf_c_message_pack(body, out + FRAME_HEADER_BYTES);
    h->body_crc = crc32c(0, out + FRAME_HEADER_BYTES, h->body_length);
    frame_encode(h, out);
}

enum err frame_pack(struct frame_header *h, const ProtobufCMessage *body, uint8_t **out, size_t *n)
{
    *n = frame_packed_size(body);
    if (*n > FRAME_HEADER_BYTES + FRAME_BODY_MAX)
        return ERR_TOO_BIG;
    *out = sys_alloc(*n);
    frame_pack_to(h, body, *n, *out);
    return OK;
}

uint64_t epoch_mine(const struct rpc_epoch *e)
{
    return e->mine ? e->mine(e->context) : 0;
}

void epoch_seen(const struct rpc_epoch *e, uint64_t epoch)
{
    if (epoch != 0 && e->seen)
        e->seen(e->context, epoch);
}
