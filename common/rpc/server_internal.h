/* The inside of a server: connections and requests. A connection lives as long as its thread or a
 * request that it brought; a request until it is answered. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/rpc/frame.h"
#include "common/proto/message.h"
#include "common/rpc/outbox_internal.h"
#include "common/rpc/rpc_server.h"

enum { BULK_INPUT_BYTES = 2048 };

struct rpc_server {
    struct rpc_server_config config;
    struct rpc_route *routes; /* sorted by type */
    struct sys_socket *listener;
    struct sys_thread *thread;
    struct sys_event *wake; /* of the listener's thread: stop, or a connection to reap */
    struct sys_mutex lock;
    bool stopping;
    struct rpc_connection *connections; /* whose threads are not joined yet */
    uint32_t running;                   /* of these, the ones that count against connections_max */
    uint32_t alive;                     /* connection objects, also those that only requests hold */
};

struct rpc_connection {
    struct rpc_server *server;
    struct rpc_connection *next;
    struct sys_socket *socket; /* NULL once closed; changed under server->lock */
    struct sys_addr address;
    struct sys_thread *thread;
    bool refused;  /* above the bound: only told so */
    bool finished; /* the thread has ended: to be joined */
    struct hello peer;

    void *state; /* the handlers'; of one stream when state_of_stream */
    void (*destroy_state)(void *state);
    bool state_of_stream;

    struct sys_mutex lock;
    struct sys_cond idle;
    uint32_t references; /* the thread and each request that is not freed */
    uint32_t kept;       /* requests that were kept and are not answered */
    bool over;           /* nothing is sent any more */

    /* control */
    struct sys_event *wake;
    struct outbox outbox;
    uint64_t generation;
    bool outbox_ready;
    struct rpc_request *dispatching; /* whose handler runs: its reply may wait for others */

    /* bulk: one call at a time */
    bool sending;
    uint64_t call; /* the newest */
    bool answered, streaming;
    struct rpc_request *spare;
    size_t payload_left; /* of the frame whose handler runs */
    uint32_t payload_crc, payload_crc_want;
    bool payload_check;
    enum err input_error; /* found while a handler read its payload */
    size_t input_start, input_end;
    uint8_t input[BULK_INPUT_BYTES];
};

struct rpc_request {
    struct rpc_connection *connection;
    struct frame_header header;
    struct arena arena;
    const uint8_t *raw;
    ProtobufCMessage *body;
    struct request_context context;
    /* under connection->lock */
    bool replied, kept;
};

/* rpc_connection.c */
void connection_run(void *connection);
void connection_unref(struct rpc_connection *c);
void connection_drop_state(struct rpc_connection *c);
/* One frame's request to its handler; afterwards the request may be gone. */
void connection_dispatch(struct rpc_connection *c, struct rpc_request *r);
/* rpc_bulk_server.c */
void connection_run_bulk(struct rpc_connection *c);
enum err bulk_payload_read(struct rpc_connection *c, void *into, size_t n) MUST_USE;
/* rpc_request.c */
struct rpc_request *request_new(struct rpc_connection *c, const struct frame_header *h);
void request_free(struct rpc_request *r);
void connection_reply(struct rpc_connection *c, const struct frame_header *request, enum err status,
                      const ProtobufCMessage *body, const struct sys_slice *payload, size_t slices,
                      unsigned flags, bool flush);
