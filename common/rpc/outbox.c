/* See outbox_internal.h. Two byte queues, swapped when one has left. */
#include "common/rpc/outbox_internal.h"
#include <assert.h>
#include "common/rpc/wire_internal.h"

enum { KEEP_BYTES = 256 * 1024, FIRST_BYTES = 4096 };

void outbox_init(struct outbox *o, struct sys_event *wake, size_t bound_bytes)
{
    *o = (struct outbox){.wake = wake, .bound_bytes = bound_bytes};
    sys_mutex_init(&o->lock);
    sys_cond_init(&o->idle);
}

void outbox_release(struct outbox *o)
{
    assert(!o->sending && !o->socket);
    sys_free(o->pending.data);
    sys_free(o->leaving.data);
    sys_cond_release(&o->idle);
    sys_mutex_release(&o->lock);
}

uint64_t outbox_open(struct outbox *o, struct sys_socket *socket)
{
    sys_mutex_lock(&o->lock);
    assert(!o->sending && !o->socket);
    o->socket = socket;
    o->pending.used = o->leaving.used = o->sent = 0;
    o->blocked = o->broken = false;
    uint64_t generation = ++o->generation;
    sys_mutex_unlock(&o->lock);
    return generation;
}

void outbox_close(struct outbox *o)
{
    sys_mutex_lock(&o->lock);
    o->broken = true;
    /* A sender tries once and never waits, so this is short. */
    while (o->sending)
        (void)sys_cond_wait(&o->idle, &o->lock, SYS_FOREVER);
    o->socket = NULL;
    o->pending.used = o->leaving.used = o->sent = 0;
    sys_mutex_unlock(&o->lock);
}

static uint8_t *reserve(struct outbox_bytes *b, size_t n)
{
    if (b->used + n > b->capacity) {
        size_t capacity = b->capacity ? b->capacity : FIRST_BYTES;
        while (capacity < b->used + n)
            capacity *= 2;
        b->data = sys_realloc(b->data, capacity);
        b->capacity = capacity;
    }
    b->used += n;
    return b->data + b->used - n;
}

enum err outbox_put(struct outbox *o, uint64_t generation, struct frame_header *h,
                    const ProtobufCMessage *body)
{
    size_t n = frame_packed_size(body);
    if (n > FRAME_HEADER_BYTES + FRAME_BODY_MAX)
        return ERR_TOO_BIG;
    enum err e = OK;
    sys_mutex_lock(&o->lock);
    size_t queued = o->pending.used + o->leaving.used - o->sent;
    if (!o->socket || o->broken || o->generation != generation)
        e = ERR_CLOSED;
    else if (queued > 0 && queued + n > o->bound_bytes)
        e = ERR_BUSY;
    else
        frame_pack_to(h, body, n, reserve(&o->pending, n));
    if (!e)
        o->frames++;
    sys_mutex_unlock(&o->lock);
    return e;
}

/* Under the lock: the next bytes to send, or false when there are none. */
static bool next_bytes(struct outbox *o)
{
    if (o->sent < o->leaving.used)
        return true;
    if (o->leaving.capacity > KEEP_BYTES) {
        sys_free(o->leaving.data);
        o->leaving = (struct outbox_bytes){0};
    }
    struct outbox_bytes empty = o->leaving;
    empty.used = 0;
    o->leaving = o->pending;
    o->pending = empty;
    o->sent = 0;
    return o->leaving.used > 0;
}

void outbox_flush(struct outbox *o)
{
    bool wake = false;
    sys_mutex_lock(&o->lock);
    if (o->sending || o->blocked) {
        sys_mutex_unlock(&o->lock);
        return;
    }
    o->sending = true;
    while (!o->broken && o->socket && next_bytes(o)) {
        struct sys_slice v = {o->leaving.data + o->sent, o->leaving.used - o->sent};
        struct sys_socket *socket = o->socket;
        sys_mutex_unlock(&o->lock);
        size_t done = 0;
        enum err e = sys_send(socket, &v, 1, false, 0, &done);
        sys_mutex_lock(&o->lock);
        if (e == OK) {
            o->sent += done;
            o->sends++;
        } else if (e == ERR_TIMEOUT) {
            o->blocked = wake = true;
            break;
        } else {
            o->broken = true;
            sys_socket_shutdown(socket);
        }
    }
    o->sending = false;
    sys_cond_broadcast(&o->idle);
    sys_mutex_unlock(&o->lock);
    if (wake)
        sys_event_set(o->wake);
}

void outbox_unblock(struct outbox *o)
{
    sys_mutex_lock(&o->lock);
    o->blocked = false;
    sys_mutex_unlock(&o->lock);
    outbox_flush(o);
}

bool outbox_blocked(struct outbox *o)
{
    sys_mutex_lock(&o->lock);
    bool blocked = o->blocked;
    sys_mutex_unlock(&o->lock);
    return blocked;
}
