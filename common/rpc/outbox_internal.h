/* The sending end of a multiplexed (control) connection: many threads put frames, whoever finds
 * nobody sending sends, and everything that was put meanwhile leaves with the next send.
 *
 * Nobody ever waits for the network here. When the socket is full, the rest is left to the
 * connection's own thread: it is woken, sees outbox_blocked, polls for SYS_WRITE and flushes.
 *
 * Invariants:
 *   1. at most one thread is sending;
 *   2. the socket is used only between outbox_open and the return of outbox_close;
 *   3. queued bytes never exceed bound_bytes, but for a single frame in an empty queue. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <protobuf-c/protobuf-c.h>
#include "common/base/err.h"
#include "common/rpc/frame.h"
#include "common/sys/sys.h"

struct outbox_bytes {
    uint8_t *data;
    size_t used, capacity;
};
struct outbox {
    struct sys_mutex lock;
    struct sys_cond idle;
    struct sys_socket *socket; /* NULL: closed */
    struct sys_event *wake;    /* of the connection's thread */
    uint64_t generation;       /* counts outbox_open */
    size_t bound_bytes;
    struct outbox_bytes pending; /* being filled */
    struct outbox_bytes leaving; /* being sent, from sent on */
    size_t sent;
    bool sending, blocked, broken;
    uint64_t sends, frames;
};

void outbox_init(struct outbox *o, struct sys_event *wake, size_t bound_bytes);
void outbox_release(struct outbox *o);
/* Starts over, empty, on a new socket; returns the generation. */
uint64_t outbox_open(struct outbox *o, struct sys_socket *socket);
/* Nobody uses the socket after this. What was queued is lost. */
void outbox_close(struct outbox *o);

/* Queues one frame. ERR_CLOSED: closed, or not that generation any more. ERR_BUSY: at the bound.
 * ERR_TOO_BIG: the body. */
enum err outbox_put(struct outbox *o, uint64_t generation, struct frame_header *h,
                    const ProtobufCMessage *body) MUST_USE;
/* Sends as much as goes without waiting, unless another thread is at it. A broken connection is
 * shut down, so that its thread learns of it. */
void outbox_flush(struct outbox *o);
/* The connection's own thread, when the socket is writable again. */
void outbox_unblock(struct outbox *o);
bool outbox_blocked(struct outbox *o);
