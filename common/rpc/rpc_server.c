/* The listener: accepts, starts a thread per connection, joins the ones that have ended. */
#include "common/rpc/rpc_server.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "common/rpc/server_internal.h"
#include "common/sys/log.h"

enum { CONNECTION_STACK = 256 * 1024, REFUSALS_MAX = 16 };

void rpc_server_config_default(struct rpc_server_config *c)
{
    *c = (struct rpc_server_config){
        .connections_max = 1024,
        .requests_max = 2048,
        .reply_queue_bytes = 16 * 1024 * 1024,
    };
    timeouts_default(&c->timeouts);
}

static int compare_routes(const void *a, const void *b)
{
    const struct rpc_route *x = a, *y = b;
    return x->type < y->type ? -1 : x->type > y->type;
}

static void copy_routes(struct rpc_server *s)
{
    size_t n = s->config.routes_count;
    s->routes = sys_alloc(n * sizeof *s->routes);
    if (n > 0)
        memcpy(s->routes, s->config.routes, n * sizeof *s->routes);
    qsort(s->routes, n, sizeof *s->routes, compare_routes);
    for (size_t i = 0; i < n; i++)
        assert(s->routes[i].type < FRAME_TYPE_OWN &&
               (i == 0 || s->routes[i].type != s->routes[i - 1].type));
    s->config.routes = s->routes;
}

static struct rpc_connection *connection_new(struct rpc_server *s, struct sys_socket *socket)
{
    struct rpc_connection *c = sys_alloc(sizeof *c);
    c->server = s;
    c->socket = socket;
    c->address = sys_socket_peer(socket);
    c->references = 1;
    sys_mutex_init(&c->lock);
    sys_cond_init(&c->idle);
    return c;
}

static void refuse_socket(struct rpc_connection *c)
{
    struct sys_socket *socket = c->socket;
    c->socket = NULL;
    sys_socket_close(socket);
    connection_unref(c);
}

static void admit(struct rpc_server *s, struct sys_socket *socket)
{
    struct rpc_connection *c = connection_new(s, socket);
    sys_mutex_lock(&s->lock);
    s->alive++;
    c->refused = s->running >= s->config.connections_max;
    bool room = s->running < s->config.connections_max + REFUSALS_MAX;
    s->running += room;
    sys_mutex_unlock(&s->lock);
    enum err e =
        room ? sys_thread_start(&c->thread, "rpc-connection", CONNECTION_STACK, connection_run, c)
             : ERR_BUSY;
    if (e) {
        if (room) {
            sys_mutex_lock(&s->lock);
            s->running--;
            sys_mutex_unlock(&s->lock);
        }
        refuse_socket(c);
        return;
    }
    sys_mutex_lock(&s->lock);
    c->next = s->connections;
    s->connections = c;
    bool stopping = s->stopping;
    if (stopping && c->socket)
        sys_socket_shutdown(c->socket);
    sys_mutex_unlock(&s->lock);
}

/* Joins connections whose threads have ended, one after the other. */
static void reap(struct rpc_server *s)
{
    for (;;) {
        sys_mutex_lock(&s->lock);
        struct rpc_connection **at = &s->connections;
        while (*at && !(*at)->finished)
            at = &(*at)->next;
        struct rpc_connection *c = *at;
        if (c) {
            *at = c->next;
            s->running--;
        }
        sys_mutex_unlock(&s->lock);
        if (!c)
            return;
        sys_thread_join(c->thread);
        connection_unref(c);
    }
}

static bool is_stopping(struct rpc_server *s)
{
    sys_mutex_lock(&s->lock);
    bool stopping = s->stopping;
    sys_mutex_unlock(&s->lock);
    return stopping;
}

static void listen_run(void *arg)
{
    struct rpc_server *s = arg;
    while (!is_stopping(s)) {
        struct sys_poll v[2] = {{.event = s->wake}, {.socket = s->listener, .want = SYS_READ}};
        if (sys_poll(v, 2, SYS_FOREVER))
            continue;
        if (v[0].ready)
            sys_event_clear(s->wake);
        reap(s);
        if (!v[1].ready || is_stopping(s))
            continue;
        struct sys_socket *socket;
        enum err e = sys_accept(s->listener, 0, &socket);
        if (e == OK)
            admit(s, socket);
        else if (e != ERR_TIMEOUT && e != ERR_CLOSED)
            sys_sleep_until(sys_now() + 10 * SYS_MS); /* out of descriptors: let some close */
    }
}

enum err rpc_server_start(const struct rpc_server_config *config, struct rpc_server **out)
{
    struct rpc_server *s = sys_alloc(sizeof *s);
    s->config = *config;
    assert(config->keys.count > 0 && config->keys.count <= RPC_KEYS_MAX);
    enum err e = sys_event_new(&s->wake);
    if (e)
        goto out_free;
    e = sys_listen(&config->listen, &s->listener);
    if (e)
        goto out_event;
    copy_routes(s);
    sys_mutex_init(&s->lock);
    e = sys_thread_start(&s->thread, "rpc-listen", 0, listen_run, s);
    if (e)
        goto out_all;
    *out = s;
    return OK;
out_all:
    sys_mutex_release(&s->lock);
    sys_free(s->routes);
    sys_socket_close(s->listener);
out_event:
    sys_event_free(s->wake);
out_free:
    sys_free(s);
    return e;
}

struct sys_addr rpc_server_address(const struct rpc_server *s)
{
    return sys_socket_local(s->listener);
}

void rpc_server_stop(struct rpc_server *s)
{
    sys_mutex_lock(&s->lock);
    bool before = s->stopping;
    s->stopping = true;
    sys_mutex_unlock(&s->lock);
    if (before)
        return;
    sys_event_set(s->wake);
    sys_thread_join(s->thread);
    sys_socket_close(s->listener);
    s->listener = NULL;
    sys_mutex_lock(&s->lock);
    for (struct rpc_connection *c = s->connections; c; c = c->next)
        if (c->socket)
            sys_socket_shutdown(c->socket);
    while (s->connections) {
        struct rpc_connection *c = s->connections;
        s->connections = c->next;
        s->running--;
        sys_mutex_unlock(&s->lock);
        sys_thread_join(c->thread);
        connection_unref(c);
        sys_mutex_lock(&s->lock);
    }
    sys_mutex_unlock(&s->lock);
}

void rpc_server_free(struct rpc_server *s)
{
    if (!s)
        return;
    assert(s->stopping && !s->connections && s->running == 0);
    sys_mutex_lock(&s->lock);
    assert(s->alive == 0);
    sys_mutex_unlock(&s->lock);
    sys_mutex_release(&s->lock);
    sys_event_free(s->wake);
    sys_free(s->routes);
    sys_free(s);
}
