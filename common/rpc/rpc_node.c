/* A node: its peers by address, and what both transports of a peer share. */
#include <assert.h>
#include <string.h>
#include "common/rpc/handshake_internal.h"
#include "common/rpc/peer_internal.h"
#include "common/rpc/retry.h"
#include "common/sys/log.h"

#define RECONNECT_BASE (20 * SYS_MS)
#define RECONNECT_CAP  (1 * SYS_SECOND)

void rpc_node_config_default(struct rpc_node_config *c)
{
    *c = (struct rpc_node_config){
        .bulk_connections_max = 64,
        .bulk_waiting_max = 256,
        .stream_window_bytes = 512 * 1024,
        .control_calls_max = 1024,
        .control_queue_bytes = 8 * 1024 * 1024,
    };
    timeouts_default(&c->timeouts);
    breaker_settings_default(&c->breaker);
}

struct rpc_node *rpc_node_new(const struct rpc_node_config *config)
{
    assert(config->keys.count > 0 && config->keys.count <= RPC_KEYS_MAX);
    struct rpc_node *n = sys_alloc(sizeof *n);
    n->config = *config;
    sys_mutex_init(&n->lock);
    return n;
}

void rpc_node_stop(struct rpc_node *n)
{
    sys_mutex_lock(&n->lock);
    n->stopping = true;
    for (struct rpc_peer *p = n->peers; p; p = p->next) {
        sys_mutex_lock(&p->lock);
        p->stopping = true;
        control_stop(p);
        pool_stop(p);
        sys_mutex_unlock(&p->lock);
    }
    struct rpc_peer *first = n->peers; /* no other comes any more */
    sys_mutex_unlock(&n->lock);
    for (struct rpc_peer *p = first; p; p = p->next)
        control_join(p);
}

static void peer_free(struct rpc_peer *p)
{
    if (!p)
        return;
    control_release(p);
    pool_release(p);
    sys_mutex_release(&p->lock);
    sys_free(p);
}

void rpc_node_free(struct rpc_node *n)
{
    if (!n)
        return;
    rpc_node_stop(n);
    for (struct rpc_peer *p = n->peers, *next; p; p = next) {
        next = p->next;
        peer_free(p);
    }
    sys_mutex_release(&n->lock);
    sys_free(n);
}

static bool same_address(const struct sys_addr *a, const struct sys_addr *b)
{
    return a->port == b->port && memcmp(a->host, b->host, sizeof a->host) == 0;
}

static enum err peer_new(struct rpc_node *n, const struct sys_addr *address, struct rpc_peer **out)
{
    struct sys_event *control, *pool;
    if (sys_event_new(&control))
        return ERR_BUSY;
    if (sys_event_new(&pool)) {
        sys_event_free(control);
        return ERR_BUSY;
    }
    struct rpc_peer *p = sys_alloc(sizeof *p);
    p->node = n;
    p->address = *address;
    sys_mutex_init(&p->lock);
    p->control.wake = control;
    p->pool.wake = pool;
    control_init(p);
    pool_init(p);
    *out = p;
    return OK;
}

enum err rpc_peer_get(struct rpc_node *n, const struct sys_addr *address, struct rpc_peer **out)
{
    enum err e = OK;
    sys_mutex_lock(&n->lock);
    struct rpc_peer *p = n->peers;
    while (p && !same_address(&p->address, address))
        p = p->next;
    if (n->stopping) {
        e = ERR_STOPPING;
    } else if (!p) {
        e = n->count < PEERS_MAX ? peer_new(n, address, &p) : ERR_BUSY;
        if (!e) {
            p->next = n->peers;
            n->peers = p;
            n->count++;
        }
    }
    sys_mutex_unlock(&n->lock);
    *out = e ? NULL : p;
    return e;
}

struct rpc_peer_stats rpc_peer_stats(struct rpc_peer *p)
{
    int64_t now = sys_now();
    sys_mutex_lock(&p->lock);
    struct rpc_peer_stats s = {
        .control_breaker = breaker_state(&p->control.breaker, now),
        .bulk_breaker = breaker_state(&p->pool.breaker, now),
        .control_connected = p->control.state == CONTROL_UP,
        .bulk_idle = p->pool.idle_count,
        .bulk_busy = p->pool.busy_count,
        .bulk_draining = p->pool.draining_count,
        .bulk_waiting = p->pool.waiting_count,
        .control_pending = p->control.pending,
        .connects = p->connects,
        .connects_failed = p->connects_failed,
    };
    sys_mutex_lock(&p->control.outbox.lock);
    s.control_sends = p->control.outbox.sends;
    s.control_frames = p->control.outbox.frames;
    sys_mutex_unlock(&p->control.outbox.lock);
    sys_mutex_unlock(&p->lock);
    return s;
}

enum err peer_connect(struct rpc_peer *p, enum rpc_kind kind, struct sys_socket **out)
{
    const struct rpc_node_config *config = &p->node->config;
    int64_t deadline = sys_now() + config->timeouts.connect;
    struct hello server;
    struct sys_socket *s = NULL;
    enum err e = sys_connect(&p->address, deadline, &s);
    if (!e) {
        e = handshake_client(s, &config->self, &config->keys, kind, deadline, &server);
        if (e)
            sys_socket_close(s);
    }
    bool news = false;
    sys_mutex_lock(&p->lock);
    if (e) {
        p->connects_failed++;
        news = e == ERR_AUTHENTICATION || e == ERR_FOREIGN_CLUSTER;
    } else {
        p->connects++;
    }
    sys_mutex_unlock(&p->lock);
    if (news) {
        char text[SYS_ADDR_TEXT];
        sys_addr_format(&p->address, text);
        log_warn("rpc", "cannot talk to a server: %s address=%s", err_text(e), text);
    }
    *out = e ? NULL : s;
    return e;
}

/* Nothing was sent: the outcome of the calls that wait for it is known. */
static enum err not_sent(enum err e)
{
    return e == ERR_REFUSED || e == ERR_BUSY || e == ERR_AUTHENTICATION ||
                   e == ERR_FOREIGN_CLUSTER || e == ERR_STOPPING || e == ERR_UNSUPPORTED
               ? e
               : ERR_UNAVAILABLE;
}

void reconnect_failed(struct reconnect *r, enum err e, int64_t now)
{
    uint64_t random;
    sys_random(&random, sizeof random);
    r->not_before = now + backoff_full_jitter(RECONNECT_BASE, RECONNECT_CAP, r->failures, random);
    if (r->failures < UINT32_MAX)
        r->failures++;
    r->last_error = not_sent(e);
}

void reconnect_done(struct reconnect *r)
{
    *r = (struct reconnect){0};
}

void breaker_end(struct breaker *b, int64_t now, bool answered, enum err result, int64_t took_ns)
{
    /* A refusal is quick and certain, and the pauses between attempts are its own remedy; a breaker
     * that opened for it would keep callers from a server that has just come back. */
    bool says_nothing = result == ERR_REFUSED || result == ERR_BUSY || result == ERR_STOPPING ||
                        result == ERR_TOO_BIG || result == ERR_AUTHENTICATION ||
                        result == ERR_FOREIGN_CLUSTER;
    if (!answered && says_nothing)
        breaker_forget(b, now);
    else
        breaker_report(b, now, answered, took_ns);
}
