/* One straight-line request, many outstanding calls: start calls to disks and servers, remote (by
 * rpc_call.h) or local (by call_new and call_complete), and take them as they finish.
 *
 *   gather_init(&g, event, context);
 *   for each disk: rpc_call_start(peer, &g, ..) or shard_read(..)
 *   while ((e = gather_next(&g, until, &call)) == OK) { info = call_info(call); .. }
 *   gather_release(&g);
 *
 * One thread owns a gather and all its sockets: every byte is sent and received inside the owner's
 * own calls, in gather_next by one sys_poll over all of them. Only call_complete and
 * call_abandoned come from other threads.
 *
 * A call ends exactly once, by its result, and is given out by gather_next exactly once with
 * info.finished set; before that perhaps several times unfinished: "credit", its window has room
 * again. It belongs to the gather until gather_cancel or gather_release. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <protobuf-c/protobuf-c.h>
#include "common/base/arena.h"
#include "common/base/err.h"
#include "common/base/request_context.h"

enum { GATHER_CALLS_MAX = 112 };

struct call;
struct gather_port;
struct gather {
    /* private */
    struct gather_port *port;
    const struct request_context *context;
    struct call *calls;              /* all of them, newest first */
    struct call *ready, *ready_last; /* to be given out */
    uint32_t count;                  /* in calls */
    uint32_t outstanding;            /* not yet given out as finished */
};

struct call_info {
    uint32_t tag;    /* the caller's own number */
    bool finished;   /* false: only credit */
    bool answered;   /* the other side has spoken (its error, not the network's) */
    enum err result; /* OK, the other side's error, ERR_TIMEOUT, ERR_CLOSED, ERR_REFUSED, .. */
    int64_t started, ended;
    uint16_t type;       /* the request's message type; 0 for local calls */
    const uint8_t *body; /* the reply's packed body, the gather's until the call is cancelled */
    size_t body_length;
    size_t payload_length;          /* bytes received to where the caller wanted them */
    bool payload_checked_elsewhere; /* the payload's checksums are in the body: check them */
};

/* local_done: an event that nobody else uses while this gather lives; it may be reused for the next.
 * ERR_BUSY never happens today; the context must outlive the gather. */
enum err gather_init(struct gather *g, struct sys_event *local_done,
                     const struct request_context *context) MUST_USE;
/* The next finished or credited call. ERR_TIMEOUT: until (or the context's deadline) has come, the
 * calls go on. ERR_CLIENT_GONE: the context's client hung up or cancel is set. ERR_EMPTY: nothing is
 * outstanding. until in the past: looks once. */
enum err gather_next(struct gather *g, int64_t until, struct call **out) MUST_USE;
struct call_info call_info(const struct call *call);
/* Unpacks the reply's body into the arena; *out NULL and OK when there is none. ERR_FORMAT. */
enum err call_reply(const struct call *call, const ProtobufCMessageDescriptor *type,
                    struct arena *arena, ProtobufCMessage **out) MUST_USE;
/* Ends the caller's interest in a call, finished or not, and frees it. A remote one leaves its
 * connection draining, a local one is dropped if not begun. */
void gather_cancel(struct gather *g, struct call *call);
/* Cancels what is left. Never waits. The event may be freed or reused afterwards. */
void gather_release(struct gather *g);

/* ---- for those who implement local calls ---- */

/* A call that another thread will finish with call_complete, exactly once, even when the gather is
 * long gone. ERR_BUSY at GATHER_CALLS_MAX. */
enum err call_new(struct gather *g, uint32_t tag, struct call **out) MUST_USE;
/* Any thread; the last touch of the call. payload_length goes to call_info. */
void call_complete(struct call *call, enum err result, size_t payload_length);
/* Any thread, before call_complete: whether nobody waits any more, so that unstarted work is dropped
 * (and then still completed). */
bool call_abandoned(const struct call *call);
