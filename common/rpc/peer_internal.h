/* The inside of a node and its peers: the control connection (rpc_control.c) and the pool of bulk
 * connections (rpc_pool.c), each with a thread of its own that starts at its first use. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/rpc/breaker.h"
#include "common/rpc/link_internal.h"
#include "common/rpc/outbox_internal.h"
#include "common/rpc/rpc_peer.h"

/* A connection that breaks this soon counts as an attempt that failed. */
#define RPC_SOON_NS (1 * SYS_SECOND)

enum { PEERS_MAX = 1024, DRAINING_MAX = 16, PEER_STACK = 256 * 1024 };

struct call;

/* When to try to connect again; under peer->lock. */
struct reconnect {
    int64_t not_before;
    uint32_t failures;   /* in a row */
    enum err last_error; /* why, in words that tell that nothing was sent */
};

enum control_state { CONTROL_DOWN, CONTROL_CONNECTING, CONTROL_UP };
struct control_call;
struct control {
    enum control_state state;
    struct sys_thread *thread;
    struct sys_cond changed; /* state, attempts, stopping */
    struct sys_event *wake;
    uint64_t attempts; /* that have ended */
    struct reconnect reconnect;
    struct breaker breaker;
    struct sys_socket *socket; /* to be shut down by stop */
    struct outbox outbox;
    uint64_t generation;
    struct control_call **calls; /* control_calls_max slots; a call's id is sequence * max + slot */
    uint32_t pending, next_slot;
    uint64_t sequence;
};

struct pool {
    struct sys_thread *thread; /* the keeper: connects, drains, closes */
    struct sys_event *wake;
    struct reconnect reconnect;
    struct breaker breaker;
    struct link *idle; /* newest first */
    struct link *draining;
    struct link *busy; /* to be shut down by stop */
    struct call *waiting, *waiting_last;
    uint32_t idle_count, draining_count, busy_count, waiting_count, connecting;
    uint64_t next_call;
};

struct rpc_peer {
    struct rpc_node *node;
    struct rpc_peer *next;
    struct sys_addr address;
    struct sys_mutex lock;
    bool stopping;
    uint64_t connects, connects_failed;
    struct control control;
    struct pool pool;
};

struct rpc_node {
    struct rpc_node_config config;
    struct sys_mutex lock;
    struct rpc_peer *peers;
    uint32_t count;
    bool stopping;
};

/* rpc_node.c: a greeted connection; counts it and remembers who answered. Blocks up to
 * timeouts.connect. */
enum err peer_connect(struct rpc_peer *p, enum rpc_kind kind, struct sys_socket **out) MUST_USE;
/* Under the lock: the pause after an attempt that failed with e (or a connection that broke soon). */
void reconnect_failed(struct reconnect *r, enum err e, int64_t now);
void reconnect_done(struct reconnect *r);
/* Whether how a call ended says something against the endpoint: reports it. Under the lock. */
void breaker_end(struct breaker *b, int64_t now, bool answered, enum err result, int64_t took_ns);

/* rpc_control.c */
void control_init(struct rpc_peer *p);
void control_release(struct rpc_peer *p);
void control_stop(struct rpc_peer *p); /* under the lock */
void control_join(struct rpc_peer *p); /* behind control_stop, without it */

/* rpc_pool.c */
void pool_init(struct rpc_peer *p);
void pool_release(struct rpc_peer *p);
void pool_stop(struct rpc_peer *p); /* under the lock */
/* A connection for a call: *out, or NULL when the call is in line and will be told by
 * call_connected. ERR_BREAKER_OPEN, ERR_BUSY, ERR_REFUSED, ERR_UNAVAILABLE, ERR_STOPPING.
 * *id: the call's. */
enum err pool_take(struct rpc_peer *p, struct call *call, uint64_t *id, struct link **out) MUST_USE;
/* Takes a call out of the line; false when it has been told already. */
bool pool_leave(struct rpc_peer *p, struct call *call);
/* Gives a connection back: with nothing under way, with a reply due that nobody wants, or broken. */
enum link_end { LINK_IDLE, LINK_DRAIN, LINK_BROKEN };
void pool_give(struct rpc_peer *p, struct link *link, enum link_end end);
void pool_report(struct rpc_peer *p, bool answered, enum err result, int64_t took_ns);
