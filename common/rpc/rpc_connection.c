/* A connection's thread: greeting, then frames to handlers until the end. Control connections are
 * here, bulk ones in rpc_bulk_server.c. */
#include <assert.h>
#include <stdlib.h>
#include "common/rpc/handshake_internal.h"
#include "common/rpc/inbox_internal.h"
#include "common/rpc/server_internal.h"
#include "common/rpc/wire_internal.h"
#include "common/sys/log.h"

/* Replies given inside handlers wait for those of the next requests that have arrived already, but
 * not for more than a few: a slow handler must not hold back the others' answers. */
enum { HOLD_MAX = 8 };

void connection_drop_state(struct rpc_connection *c)
{
    void *state = c->state;
    void (*destroy)(void *) = c->destroy_state;
    c->state = NULL;
    c->destroy_state = NULL;
    c->state_of_stream = false;
    if (state && destroy)
        destroy(state);
}

void connection_unref(struct rpc_connection *c)
{
    sys_mutex_lock(&c->lock);
    assert(c->references > 0);
    bool last = --c->references == 0;
    sys_mutex_unlock(&c->lock);
    if (!last)
        return;
    struct rpc_server *s = c->server;
    assert(!c->socket && !c->state && !c->spare);
    sys_cond_release(&c->idle);
    sys_mutex_release(&c->lock);
    if (c->outbox_ready)
        outbox_release(&c->outbox);
    sys_event_free(c->wake);
    sys_free(c);
    sys_mutex_lock(&s->lock);
    s->alive--;
    sys_mutex_unlock(&s->lock);
}

static int compare_type(const void *key, const void *element)
{
    uint16_t type = *(const uint16_t *)key, other = ((const struct rpc_route *)element)->type;
    return type < other ? -1 : type > other;
}

static const struct rpc_route *find_route(const struct rpc_server *s, uint16_t type)
{
    return bsearch(&type, s->routes, s->config.routes_count, sizeof *s->routes, compare_type);
}

/* OK, or what to answer instead of calling the handler. */
static enum err prepare(struct rpc_connection *c, struct rpc_request *r,
                        const struct rpc_route *route)
{
    if (!route)
        return ERR_UNSUPPORTED;
    sys_mutex_lock(&c->lock);
    bool full = c->kept >= c->server->config.requests_max;
    sys_mutex_unlock(&c->lock);
    if (full)
        return ERR_BUSY;
    if (!route->body)
        return OK;
    return message_unpack(route->body, &r->arena, r->raw, r->header.body_length, &r->body);
}

void connection_dispatch(struct rpc_connection *c, struct rpc_request *r)
{
    bool last = rpc_request_last(r);
    const struct rpc_route *route = find_route(c->server, r->header.type);
    enum err e = prepare(c, r, route);
    if (e) {
        rpc_reply(r, e, NULL, NULL, 0, 0);
        return;
    }
    /* The handler may free r by answering it: what is asked afterwards is asked of a reference. */
    sys_mutex_lock(&c->lock);
    c->dispatching = r;
    sys_mutex_unlock(&c->lock);
    route->handle(route->context, r);
    sys_mutex_lock(&c->lock);
    bool mine = c->dispatching == r && !r->kept;
    c->dispatching = NULL;
    sys_mutex_unlock(&c->lock);
    if (!mine)
        return;
    if (last && !rpc_request_one_way(r))
        rpc_reply(r, ERR_UNSUPPORTED, NULL, NULL, 0, 0);
    else
        request_free(r);
}

/* ---- control ---- */

static void pong(struct rpc_connection *c, const struct frame_header *h)
{
    connection_reply(c, h, OK, NULL, NULL, 0, 0, false);
}

/* All whole frames that are there. */
static enum err serve_arrived(struct rpc_connection *c, struct inbox *in)
{
    struct frame_header h;
    const uint8_t *body;
    enum err e;
    unsigned held = 0;
    while ((e = inbox_next(in, &h, &body)) == OK) {
        if (h.flags & (FRAME_REPLY | FRAME_STREAM))
            return ERR_FORMAT;
        epoch_seen(&c->server->config.epoch, h.epoch);
        if (h.type == FRAME_TYPE_PING) {
            pong(c, &h);
        } else if (h.type >= FRAME_TYPE_OWN) {
            return ERR_FORMAT;
        } else {
            struct rpc_request *r = request_new(c, &h);
            r->raw = arena_copy(&r->arena, body, h.body_length);
            connection_dispatch(c, r);
        }
        if (++held % HOLD_MAX == 0)
            outbox_flush(&c->outbox);
    }
    outbox_flush(&c->outbox);
    return e == ERR_EMPTY ? OK : e;
}

static enum err serve_control(struct rpc_connection *c, struct inbox *in)
{
    int64_t idle = c->server->config.timeouts.client_idle;
    int64_t heard = sys_now();
    for (;;) {
        uint8_t want = SYS_READ | (outbox_blocked(&c->outbox) ? SYS_WRITE : 0);
        struct sys_poll v[2] = {{.event = c->wake}, {.socket = c->socket, .want = want}};
        enum err e = sys_poll(v, 2, heard + idle);
        if (e)
            return e;
        if (v[0].ready) {
            sys_event_clear(c->wake);
            outbox_flush(&c->outbox);
        }
        if (v[1].ready & SYS_WRITE)
            outbox_unblock(&c->outbox);
        if (!(v[1].ready & (SYS_READ | SYS_HANGUP)))
            continue;
        e = inbox_fill(in, c->socket);
        if (e == ERR_TIMEOUT)
            continue;
        if (!e)
            e = serve_arrived(c, in);
        if (e)
            return e;
        heard = sys_now();
    }
}

static void complain(const struct rpc_connection *c, const char *what, enum err e)
{
    char from[SYS_ADDR_TEXT];
    sys_addr_format(&c->address, from);
    log_warn("rpc", "%s: %s from=%s", what, err_text(e), from);
}

static void run_control(struct rpc_connection *c)
{
    if (sys_event_new(&c->wake))
        return;
    outbox_init(&c->outbox, c->wake, c->server->config.reply_queue_bytes);
    c->outbox_ready = true;
    c->generation = outbox_open(&c->outbox, c->socket);
    struct inbox in;
    inbox_init(&in);
    enum err e = serve_control(c, &in);
    if (e == ERR_FORMAT || e == ERR_CORRUPT || e == ERR_TOO_BIG)
        complain(c, "closed a connection that sent what is no frame", e);
    inbox_release(&in);
    outbox_close(&c->outbox);
}

/* ---- both ---- */

void connection_run(void *arg)
{
    struct rpc_connection *c = arg;
    struct rpc_server *s = c->server;
    const struct rpc_server_config *config = &s->config;
    enum err e = handshake_server(c->socket, &config->self, &config->keys, c->refused,
                                  sys_now() + config->timeouts.connect * 2, &c->peer);
    if (e == OK && c->peer.kind == RPC_CONTROL)
        run_control(c);
    else if (e == OK)
        connection_run_bulk(c);
    else if (e == ERR_AUTHENTICATION || e == ERR_FOREIGN_CLUSTER)
        complain(c, "refused a connection, compare the cluster key and id of both", e);
    connection_drop_state(c);
    /* Replies of kept requests may be on their way out. */
    sys_mutex_lock(&c->lock);
    c->over = true;
    struct rpc_request *spare = c->spare;
    c->spare = NULL;
    while (c->sending)
        (void)sys_cond_wait(&c->idle, &c->lock, SYS_FOREVER);
    sys_mutex_unlock(&c->lock);
    if (spare) {
        arena_release(&spare->arena);
        sys_free(spare);
    }
    sys_mutex_lock(&s->lock);
    struct sys_socket *socket = c->socket;
    c->socket = NULL;
    sys_mutex_unlock(&s->lock);
    sys_socket_close(socket);
    sys_mutex_lock(&s->lock);
    c->finished = true;
    sys_mutex_unlock(&s->lock);
    sys_event_set(s->wake);
}

void rpc_connection_set_state(struct rpc_connection *c, void *state, void (*destroy)(void *state))
{
    connection_drop_state(c);
    c->state = state;
    c->destroy_state = destroy;
    c->state_of_stream = c->streaming;
}

void *rpc_connection_state(const struct rpc_connection *c)
{
    return c->state;
}

void *rpc_connection_take_state(struct rpc_connection *c)
{
    void *state = c->state;
    c->state = NULL;
    c->destroy_state = NULL;
    c->state_of_stream = false;
    return state;
}
