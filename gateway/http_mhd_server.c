/* Start, drain and stop of the edge on libmicrohttpd 0.9.75: a thread per connection, the listening
 * socket made here so that the errors are ours. Its own connection limit lies above ours, because at
 * its limit clients hang in the backlog without a word. */
#define _GNU_SOURCE
#include "gateway/http_mhd_internal.h"
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    REFUSED_AT_ONCE = 64, /* connections beyond connections_max that are told so */
    THREAD_STACK_BYTES = 512 * 1024,
    BACKLOG = 512,
    FIBERS_KEPT_MAX = 256,
};

static void addr_from_system(const struct sockaddr *from, struct sys_addr *to)
{
    memset(to, 0, sizeof *to);
    if (from && from->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const void *)from;
        memcpy(to->host, &v6->sin6_addr, 16);
        to->port = ntohs(v6->sin6_port);
    } else if (from && from->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)from;
        to->host[10] = to->host[11] = 0xff;
        memcpy(to->host + 12, &v4->sin_addr, 4);
        to->port = ntohs(v4->sin_port);
    }
}

static socklen_t addr_to_system(const struct sys_addr *from, struct sockaddr_storage *to)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    memset(to, 0, sizeof *to);
    if (memcmp(from->host, mapped, sizeof mapped) == 0) {
        struct sockaddr_in *v4 = (void *)to;
        v4->sin_family = AF_INET;
        v4->sin_port = htons(from->port);
        memcpy(&v4->sin_addr, from->host + 12, 4);
        return sizeof *v4;
    }
    struct sockaddr_in6 *v6 = (void *)to;
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(from->port);
    memcpy(&v6->sin6_addr, from->host, 16);
    return sizeof *v6;
}

static enum err listen_at(const struct sys_addr *want, int *out, struct sys_addr *actual)
{
    struct sockaddr_storage addr;
    socklen_t n = addr_to_system(want, &addr);
    int on = 1;
    int s = socket(addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s < 0)
        return ERR_BUSY;
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(s, (struct sockaddr *)&addr, n) || listen(s, BACKLOG)) {
        enum err err = errno == EADDRINUSE ? ERR_ADDRESS_IN_USE
                       : errno == EACCES   ? ERR_ACCESS
                                           : ERR_INVALID;
        close(s);
        return err;
    }
    n = sizeof addr;
    getsockname(s, (struct sockaddr *)&addr, &n);
    addr_from_system((struct sockaddr *)&addr, actual);
    *out = s;
    return OK;
}

/* ---- connections ---- */

static void connection_started(struct http_server *s, struct MHD_Connection *mhd, void **context)
{
    const union MHD_ConnectionInfo *descriptor =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    int number = descriptor ? descriptor->connect_fd : -1;
    const union MHD_ConnectionInfo *peer =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    struct http_connection *c = sys_alloc(sizeof *c);
    c->server = s;
    c->descriptor = number;
    addr_from_system(peer ? peer->client_addr : NULL, &c->peer);
    atomic_store(&c->phase, PHASE_HEADERS);
    atomic_store(&c->phase_since, sys_now());
    sys_mutex_lock(&s->mutex);
    c->over = s->connections_n >= s->config.connections_max;
    c->next = s->connections;
    if (c->next)
        c->next->previous = c;
    s->connections = c;
    s->connections_n++;
    s->accepted++;
    sys_mutex_unlock(&s->mutex);
    *context = c;
}

static void connection_closed(struct http_server *s, struct http_connection *c)
{
    sys_mutex_lock(&s->mutex);
    if (c->previous)
        c->previous->next = c->next;
    else
        s->connections = c->next;
    if (c->next)
        c->next->previous = c->previous;
    s->connections_n--;
    if (atomic_load(&s->draining))
        sys_cond_broadcast(&s->fewer);
    sys_mutex_unlock(&s->mutex);
    if (c->borrowed)
        sys_socket_release(c->borrowed);
    sys_free(c);
}

static void connection_changed(void *arg, struct MHD_Connection *mhd, void **context,
                               enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        connection_started(arg, mhd, context);
    } else if (*context) {
        connection_closed(arg, *context);
        *context = NULL;
    }
}

/* ---- libmicrohttpd ---- */

static size_t keep_escapes(void *arg, struct MHD_Connection *mhd, char *text)
{
    (void)arg;
    (void)mhd;
    return strlen(text);
}

static struct MHD_Daemon *daemon_start(struct http_server *s, int listener)
{
    const struct http_server_config *c = &s->config;
    unsigned flags = MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD |
                     MHD_USE_POLL | MHD_USE_ITC;
    return MHD_start_daemon(
        flags, 0, NULL, NULL, mhd_access, s, MHD_OPTION_LISTEN_SOCKET, listener,
        MHD_OPTION_NOTIFY_COMPLETED, mhd_completed, s, MHD_OPTION_NOTIFY_CONNECTION,
        connection_changed, s, MHD_OPTION_URI_LOG_CALLBACK, mhd_target, s,
        MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        c->connection_pool_bytes, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)(c->connections_max + REFUSED_AT_ONCE), MHD_OPTION_THREAD_STACK_SIZE,
        (size_t)THREAD_STACK_BYTES, MHD_OPTION_CONNECTION_TIMEOUT, 0u, MHD_OPTION_STRICT_FOR_CLIENT,
        1, MHD_OPTION_END);
}

enum err http_server_start(struct http_server **out, const struct http_server_config *c)
{
    if (!c->handler || !c->connections_max || c->connection_pool_bytes < 32 * 1024)
        return ERR_INVALID;
    int listener = -1;
    struct http_server *s = sys_alloc(sizeof *s);
    s->config = *c;
    s->limits = (struct http_limits){c->target_bytes_max, c->header_bytes_max};
    enum err err = listen_at(&c->listen, &listener, &s->addr);
    if (err) {
        sys_free(s);
        return err;
    }
    sys_mutex_init(&s->mutex);
    sys_cond_init(&s->fewer);
    sys_cond_init(&s->wake);
    s->fibers = http_fiber_pool_new(c->fiber_stack_bytes, FIBERS_KEPT_MAX);
    err = sys_thread_start(&s->reaper, "http-reaper", 0, reaper_main, s);
    if (!err) {
        s->daemon = daemon_start(s, listener);
        if (!s->daemon)
            err = ERR_BUSY;
    }
    if (err) {
        close(listener);
        http_server_stop(s);
        return err;
    }
    *out = s;
    return OK;
}

struct sys_addr http_server_addr(const struct http_server *s)
{
    return s->addr;
}

void http_server_stats(struct http_server *s, struct http_server_stats *out)
{
    sys_mutex_lock(&s->mutex);
    *out = (struct http_server_stats){s->connections_n, s->in_flight, s->accepted,
                                      s->requests,      s->refused,   s->reaped};
    sys_mutex_unlock(&s->mutex);
}

enum err http_server_drain(struct http_server *s, int64_t deadline)
{
    if (!s->quiesced) {
        int listener = MHD_quiesce_daemon(s->daemon);
        s->quiesced = true;
        if (listener >= 0)
            close(listener);
    }
    atomic_store(&s->draining, true);
    sys_mutex_lock(&s->mutex);
    sys_cond_broadcast(&s->wake); /* the reaper closes who is idle */
    while (s->connections_n > 0)
        if (sys_cond_wait(&s->fewer, &s->mutex, deadline) == ERR_TIMEOUT)
            break;
    bool left = s->in_flight > 0;
    sys_mutex_unlock(&s->mutex);
    return left ? ERR_TIMEOUT : OK;
}

void http_server_stop(struct http_server *s)
{
    atomic_store(&s->draining, true);
    sys_mutex_lock(&s->mutex);
    s->stopping = true;
    for (struct http_connection *c = s->connections; c; c = c->next)
        shutdown(c->descriptor, SHUT_RDWR);
    sys_cond_broadcast(&s->wake);
    sys_mutex_unlock(&s->mutex);
    if (s->daemon)
        MHD_stop_daemon(s->daemon);
    if (s->reaper)
        sys_thread_join(s->reaper);
    assert(s->connections_n == 0 && s->in_flight == 0);
    http_fiber_pool_free(s->fibers);
    sys_cond_release(&s->fewer);
    sys_cond_release(&s->wake);
    sys_mutex_release(&s->mutex);
    sys_free(s);
}
