/* The client's side: a node (this process as a client) and its peers (one per address).
 *
 * Control calls and one-way messages share one multiplexed connection per peer, held open with pings
 * and re-established with full-jitter backoff; frames queued during one send leave together. Bulk
 * calls and streams (rpc_call.h) take a connection of a per-peer pool exclusively.
 *
 * A hung host stalls only its own calls: connecting, draining and closing are done by threads of the
 * peer, which start with its first use and are joined by rpc_node_free. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <protobuf-c/protobuf-c.h>
#include "common/base/arena.h"
#include "common/base/err.h"
#include "common/base/request_context.h"
#include "common/base/timeouts.h"
#include "common/rpc/breaker.h"
#include "common/rpc/hello.h"
#include "common/sys/sys.h"

/* Map epochs ride on every frame. Both may be NULL; called from any thread, must not block. */
struct rpc_epoch {
    void *context;
    uint64_t (*mine)(void *context);
    void (*seen)(void *context, uint64_t epoch); /* the other side's; only when not 0 */
};

struct rpc_node_config {
    struct rpc_identity self;
    struct rpc_keys keys;
    struct rpc_epoch epoch;
    struct timeouts timeouts;
    struct breaker_settings breaker; /* of each peer, for control and bulk apart */
    uint32_t bulk_connections_max;   /* per peer, in use and idle: 64 */
    uint32_t bulk_waiting_max;       /* calls that wait for one of them, per peer: 256 */
    uint32_t stream_window_bytes;    /* queued on one stream before ERR_BUSY: 512 KiB */
    uint32_t control_calls_max;      /* in progress per peer: 1024 */
    uint32_t control_queue_bytes;    /* waiting to be sent per peer: 8 MiB */
};
/* Everything but self and keys. */
void rpc_node_config_default(struct rpc_node_config *c);

struct rpc_node;
struct rpc_peer;
struct rpc_node *rpc_node_new(const struct rpc_node_config *config);
/* Fails what is in progress and refuses what comes (ERR_STOPPING). Waits until no connection of its own hears
 * anything any more, at most timeouts.connect: afterwards config.epoch is told only by those whose calls end. */
void rpc_node_stop(struct rpc_node *node);
/* Joins all threads and closes all connections. No gather may hold a call of it, no thread be in a
 * control call (asserted). */
void rpc_node_free(struct rpc_node *node);

/* The peer at an address, made when new; lives as long as the node. ERR_BUSY above 1024 of them. */
enum err rpc_peer_get(struct rpc_node *node, const struct sys_addr *address,
                      struct rpc_peer **out) MUST_USE;
struct rpc_peer_stats {
    enum breaker_state control_breaker, bulk_breaker;
    bool control_connected;
    uint32_t bulk_idle, bulk_busy, bulk_draining, bulk_waiting, control_pending;
    uint64_t control_sends, control_frames; /* frames / sends: how well they coalesce */
    uint64_t connects, connects_failed;
};
struct rpc_peer_stats rpc_peer_stats(struct rpc_peer *peer);

/* One call over the control connection: blocks until the answer or context->deadline. *reply (of
 * reply_type, in arena) is set, also beside an error, when the answer had a body; else NULL.
 *
 * Returns the other side's status, or: ERR_BREAKER_OPEN, ERR_BUSY (too many in progress),
 * ERR_REFUSED or ERR_UNAVAILABLE (could not connect: certainly not sent), ERR_CLOSED (sent, the
 * connection broke: outcome unknown), ERR_TIMEOUT (outcome unknown), ERR_FORMAT (undecodable answer),
 * ERR_TOO_BIG (the body), ERR_AUTHENTICATION, ERR_FOREIGN_CLUSTER, ERR_STOPPING. */
enum err rpc_control_call(struct rpc_peer *peer, const struct request_context *context,
                          uint16_t type, const ProtobufCMessage *body,
                          const ProtobufCMessageDescriptor *reply_type, struct arena *arena,
                          ProtobufCMessage **reply) MUST_USE;
/* A message without an answer, in order, perhaps lost. Never blocks: ERR_BUSY at the bound,
 * ERR_UNAVAILABLE while not connected (which begins a connection). */
enum err rpc_control_notify(struct rpc_peer *peer, uint16_t type,
                            const ProtobufCMessage *body) MUST_USE;
