/* Bulk calls and streams to a peer, as calls of a gather. All by the gather's owner; none blocks.
 *
 * Each takes a connection of the peer's pool exclusively, waiting for one (inside gather_next, up to
 * its deadline) when none is idle. Request payload is sent from where it lies, together with its
 * header and body; reply payload is received to its place. A call fails with ERR_TIMEOUT when no
 * byte moves for timeouts.shard_progress while one is due, or at its deadline. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <protobuf-c/protobuf-c.h>
#include "common/base/err.h"
#include "common/rpc/buf.h"
#include "common/rpc/gather.h"
#include "common/rpc/rpc_peer.h"

struct rpc_call {
    uint32_t tag;
    uint16_t type;
    const ProtobufCMessage *body; /* packed at once; NULL: empty */
    struct buf *payload;          /* NULL, or sent with it: a reference is taken */
    size_t payload_at, payload_length;
    bool payload_checked_elsewhere; /* its checksums are in the body: no other is computed */
    void *into;                     /* where the reply's payload goes; NULL: none expected */
    size_t into_bytes;              /* a longer one fails the call with ERR_TOO_BIG */
    int64_t deadline;               /* 0: the gather's context's */
    int64_t progress;               /* ns without a byte; 0: timeouts.shard_progress */
    bool insist; /* goes though the breaker is open or connecting has just failed: a last resort */
};

/* One request, one reply. ERR_BREAKER_OPEN | ERR_BUSY | ERR_TOO_BIG | ERR_STOPPING at once. into is
 * written only inside the owner's own calls and never after gather_cancel. */
enum err rpc_call_start(struct rpc_peer *peer, struct gather *g, const struct rpc_call *request,
                        struct call **out) MUST_USE;

/* Many frames, one reply: a shard write. The stream is a call of the gather: it is given out as
 * credit when its window has room again after an ERR_BUSY, and as finished with the one reply, which
 * may come early (an error: later sends answer ERR_CLOSED). Small frames wait for the next one, so
 * that they leave together; gather_next sends what still waits. gather_cancel aborts it: the server
 * drops what it was doing. Errors as above. */
enum err rpc_stream_open(struct rpc_peer *peer, struct gather *g, const struct rpc_call *first,
                         struct call **out) MUST_USE;
/* Queues a frame, and sends as much as goes without waiting, or nothing when it is little. Takes a
 * reference to payload (may be NULL). ERR_BUSY: the window is full, wait for credit in gather_next.
 * ERR_CLOSED: it has ended. */
enum err rpc_stream_send(struct call *stream, uint16_t type, const ProtobufCMessage *body,
                         struct buf *payload, size_t at, size_t length,
                         bool checked_elsewhere) MUST_USE;
/* The last frame; exempt from the window. The call finishes with the server's reply. */
enum err rpc_stream_finish(struct call *stream, uint16_t type,
                           const ProtobufCMessage *body) MUST_USE;
