/* The inside of calls and gathers.
 *
 * A call belongs to its gather's owner, who alone reads and writes it without a lock. What other
 * threads tell it (a local call has finished, a window has room, a connection has come) goes through
 * the gather's port: a small counted object that outlives the gather as long as a local call may
 * still be completed, so that nobody ever touches a gather that is gone.
 *
 * Locks: peer->lock before port->lock. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/rpc/buf.h"
#include "common/rpc/gather.h"
#include "common/rpc/peer_internal.h"

struct gather_port {
    struct sys_mutex lock;
    struct sys_event *event; /* NULL: the gather is gone */
    struct call *arrived;    /* told something since the owner looked; newest first */
    uint32_t references;     /* the gather and each local call that is not completed */
};

enum call_kind { CALL_LOCAL, CALL_UNARY, CALL_STREAM };
enum { OUT_FRAMES_MAX = 16 };

struct out_frame {
    uint8_t *head; /* header and body; sys_alloc */
    size_t head_length;
    struct buf *payload;
    size_t at, length;
};

struct call {
    struct gather *g;
    struct call *next, *previous; /* in g->calls */
    struct call *ready_next;
    struct call_info info;
    enum call_kind kind;
    bool ready;     /* in g->ready */
    bool given_out; /* as finished */
    bool credit;    /* to be given out as credit */
    struct gather_port *port;

    /* under port->lock */
    struct call *arrived_next;
    bool arrived, completed, connected, abandoned;
    enum err arrived_result;
    size_t arrived_length;

    /* remote; under peer->lock while in line */
    struct rpc_peer *peer;
    struct call *wait_next;
    struct link *arrived_link;
    /* remote; the owner's */
    bool waiting, insist;
    struct link *link;
    uint64_t id;
    uint16_t type;
    void *into;
    size_t into_bytes;
    int64_t deadline, progress_ns, moved; /* moved: when a byte last did, or one became due */
    int64_t due_since;                    /* when the reply became due: for the breaker */
    bool sent;                            /* any byte */
    bool finish_sent, want_credit;
    struct out_frame out[OUT_FRAMES_MAX];
    uint32_t out_first, out_count;
    size_t out_done;   /* of the first frame */
    size_t out_queued; /* payload and head bytes not yet sent */
};

/* gather.c */
struct call *call_add(struct gather *g, uint32_t tag, enum call_kind kind); /* NULL: too many */
void call_remove(struct call *c);
void call_ready(struct call *c);
/* Ends a call for its owner: it is given out next. */
void call_end(struct call *c, enum err result, bool answered);
/* Any thread, under peer->lock: the connection that a call waited for, or why there is none. */
void call_connected(struct call *c, struct link *link, enum err result);

/* rpc_call.c */
void remote_connected(struct call *c, struct link *link, enum err result);
/* The socket is ready: moves what can be moved. */
void remote_move(struct call *c, uint8_t ready, int64_t now);
uint8_t remote_wants(const struct call *c);
/* When the call fails if nothing moves. */
int64_t remote_expires(const struct call *c);
void remote_expire(struct call *c);
void remote_cancel(struct call *c);
