/* The server's side: a listener, a thread per connection, a table of handlers.
 *
 * A handler is called on its connection's thread when a frame's header and body have been read, but
 * before its payload: it takes the payload where it wants it with rpc_payload_read; what it leaves is
 * drained. It may reply at once, or keep the request and let any thread reply later.
 *
 *   control connections  many calls in progress; the next frame is read when the handler returns, so
 *                        a handler that waits stalls its whole connection: keep the request instead.
 *                        No payloads. rpc_reply never blocks: replies are queued (bounded: beyond it
 *                        the connection is closed) and leave together.
 *   bulk connections     one call at a time: a handler may wait (with a deadline) and reply itself.
 *                        rpc_reply sends straight and may block up to the progress time-out, so it is
 *                        called from threads that may wait for a client.
 *
 * Streams: each frame comes to the handler of its own type. Only the last one (rpc_request_last) must
 * be answered; for an earlier one an answer (normally an error) ends the stream: later frames of it
 * are dropped. A handler that returns without answering or keeping such a frame is done with it.
 * Between the frames, what is being built hangs on the connection (rpc_connection_set_state) and is
 * destroyed when the connection ends or the caller gives the stream up. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <protobuf-c/protobuf-c.h>
#include "common/base/arena.h"
#include "common/base/err.h"
#include "common/base/request_context.h"
#include "common/base/timeouts.h"
#include "common/rpc/hello.h"
#include "common/rpc/rpc_peer.h"
#include "common/sys/sys.h"

struct rpc_server;
struct rpc_connection;
struct rpc_request;

typedef void rpc_handler(void *context, struct rpc_request *request);
struct rpc_route {
    uint16_t type;
    const ProtobufCMessageDescriptor *body; /* unpacked before the handler is called; NULL: raw */
    rpc_handler *handle;
    void *context;
};

struct rpc_server_config {
    struct sys_addr listen; /* port 0: a free one */
    struct rpc_identity self;
    struct rpc_keys keys;
    struct rpc_epoch epoch;
    struct timeouts timeouts;
    const struct rpc_route *routes; /* copied; types differ */
    size_t routes_count;
    uint32_t connections_max;   /* 1024; above it: greeted with ERR_BUSY */
    uint32_t requests_max;      /* kept per connection: 2048; above it: answered ERR_BUSY */
    uint32_t reply_queue_bytes; /* per control connection: 16 MiB */
};
/* Everything but listen, self, keys and routes. */
void rpc_server_config_default(struct rpc_server_config *c);

/* ERR_ADDRESS_IN_USE, ERR_BUSY. */
enum err rpc_server_start(const struct rpc_server_config *config, struct rpc_server **out) MUST_USE;
struct sys_addr rpc_server_address(const struct rpc_server *server);
/* Stops listening, cuts all connections, joins all threads (and so waits for handlers that run).
 * Requests that are kept may still be answered, into the void. */
void rpc_server_stop(struct rpc_server *server);
/* After stop; asserts that no kept request is left. */
void rpc_server_free(struct rpc_server *server);

/* ---- a request, valid until it is answered (or, a stream's earlier frame, until return) ---- */

uint16_t rpc_request_type(const struct rpc_request *r);
/* The message by its route's descriptor, in the request's arena; NULL without descriptor. */
const ProtobufCMessage *rpc_request_body(const struct rpc_request *r);
const uint8_t *rpc_request_raw(const struct rpc_request *r, size_t *n); /* the packed body */
struct arena *rpc_request_arena(struct rpc_request *r);
size_t rpc_request_payload_length(const struct rpc_request *r);
bool rpc_request_one_way(const struct rpc_request *r); /* rpc_reply only frees it */
bool rpc_request_last(const struct rpc_request *r);    /* not an earlier frame of a stream */
/* When the caller stops waiting, by this server's clock; SYS_FOREVER when it did not say. */
int64_t rpc_request_deadline(const struct rpc_request *r);
/* Deadline and trace, for calls made on behalf of it; lives as long as the request. */
const struct request_context *rpc_request_context(const struct rpc_request *r);
struct rpc_connection *rpc_request_connection(struct rpc_request *r);

/* The next n bytes of the payload, straight to their place. Handler's thread only, during the handler.
 * ERR_TRUNCATED when fewer are left, ERR_CLOSED, ERR_TIMEOUT (no progress), ERR_CORRUPT (with the last
 * byte, when the frame's CRC does not hold). After an error but ERR_TRUNCATED the handler still
 * replies (the connection is over). */
enum err rpc_payload_read(struct rpc_request *r, void *into, size_t n) MUST_USE;

/* Keeps the request beyond the handler's return: somebody will rpc_reply it. Implied by nothing. */
void rpc_request_keep(struct rpc_request *r);

enum {
    RPC_REPLY_CHECKED_ELSEWHERE = 1, /* the body carries checksums of the payload */
    /* More replies follow at once: sending is left to the connection's thread, so that they leave
     * together. */
    RPC_REPLY_SOON = 2,
};
enum { RPC_REPLY_SLICES_MAX = SYS_SLICES_MAX - 1 };
/* Exactly once per request; frees it, whatever becomes of the reply. body may be NULL; slices are read
 * before it returns; payload only on bulk connections. A handler that returns without having answered
 * or kept its request has it answered with ERR_UNSUPPORTED. */
void rpc_reply(struct rpc_request *r, enum err status, const ProtobufCMessage *body,
               const struct sys_slice *payload, size_t slices, unsigned flags);

/* ---- a connection: handlers only, on its own thread ---- */

/* One thing that lives with the connection. Replacing it destroys the one before. */
void rpc_connection_set_state(struct rpc_connection *c, void *state, void (*destroy)(void *state));
void *rpc_connection_state(const struct rpc_connection *c);
/* Gives the state back without destroying it. */
void *rpc_connection_take_state(struct rpc_connection *c);
