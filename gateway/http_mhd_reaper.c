/* Deadlines that libmicrohttpd does not have: it counts inactivity, so a client that drips one byte
 * now and then lives for ever. One thread looks at every connection each reaper_interval:
 *
 *   headers   complete within headers_timeout of their first byte
 *   idle      a next request begins within idle_timeout
 *   body      at least least_rate over each rate_window *spent waiting for the client*, as the
 *             kernel counts bytes; time in which the handler was busy does not count against it
 *   answer    likewise, in bytes that the client has acknowledged
 *
 * It only shuts the socket down: the connection's own thread then sees the end and cleans up. */
#include "gateway/http_mhd_internal.h"
#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

/* On the connection's thread. */
void connection_phase(struct http_connection *c, enum connection_phase phase)
{
    int old = atomic_load_explicit(&c->phase, memory_order_relaxed);
    if (old == (int)phase)
        return;
    int64_t now = sys_now();
    if (old == PHASE_BODY || old == PHASE_SEND)
        atomic_fetch_add(&c->waited, now - atomic_load(&c->phase_since));
    if (phase == PHASE_HEADERS)
        atomic_fetch_add(&c->requests, 1);
    atomic_store(&c->phase_since, now);
    atomic_store(&c->phase, phase);
}

static bool counters(const struct http_connection *c, uint64_t *received, uint64_t *acknowledged)
{
    struct tcp_info info;
    memset(&info, 0, sizeof info);
    socklen_t n = sizeof info;
    if (getsockopt(c->descriptor, IPPROTO_TCP, TCP_INFO, &info, &n))
        return false;
    *received = info.tcpi_bytes_received;
    *acknowledged = info.tcpi_bytes_acked;
    return true;
}

static bool headers_late(struct http_connection *c, int64_t now, uint64_t received)
{
    const struct http_server_config *config = &c->server->config;
    uint64_t requests = atomic_load(&c->requests);
    if (requests != c->seen_requests) {
        c->seen_requests = requests;
        c->seen_received = received;
        c->headers_since = 0;
    }
    c->window_open = false;
    if (received > c->seen_received && c->headers_since == 0)
        c->headers_since = now;
    if (c->headers_since)
        return now - c->headers_since > config->headers_timeout;
    return now - atomic_load(&c->phase_since) > config->idle_timeout;
}

static bool progress_slow(struct http_connection *c, int64_t now, int phase, uint64_t moved)
{
    const struct http_server_config *config = &c->server->config;
    int64_t waited = atomic_load(&c->waited);
    if (phase != PHASE_HANDLER)
        waited += now - atomic_load(&c->phase_since);
    if (!c->window_open) {
        c->window_open = true;
        c->window_waited = waited;
        c->window_moved = moved;
        return false;
    }
    if (waited - c->window_waited < config->rate_window)
        return false;
    uint64_t least =
        config->least_rate_bytes_per_s * (uint64_t)(config->rate_window / SYS_MS) / 1000;
    bool slow = moved - c->window_moved < least;
    c->window_waited = waited;
    c->window_moved = moved;
    return slow;
}

/* Called with the server's mutex held, which keeps the connection and its descriptor alive. */
static void look_at(struct http_connection *c, int64_t now)
{
    struct http_server *s = c->server;
    uint64_t received, acknowledged;
    int phase = atomic_load(&c->phase);
    if (atomic_load(&c->reaped) || !counters(c, &received, &acknowledged))
        return;
    if (phase == PHASE_HEADERS) {
        bool idle = c->headers_since == 0 && received <= c->seen_received;
        if (headers_late(c, now, received)) {
            atomic_store(&c->reaped, true);
            s->reaped++;
            shutdown(c->descriptor, SHUT_RDWR);
        } else if (idle && atomic_load(&s->draining)) {
            shutdown(c->descriptor, SHUT_RD); /* bytes that have arrived can still be read */
        }
        return;
    }
    /* Both directions count: at the border between body and answer either may stand still. */
    if (!progress_slow(c, now, phase, received + acknowledged))
        return;
    atomic_store(&c->reaped, true);
    s->reaped++;
    if (phase == PHASE_BODY)
        raw_refuse(c, HTTP_REFUSED_SLOW, false);
    shutdown(c->descriptor, SHUT_RDWR);
}

void reaper_main(void *arg)
{
    struct http_server *s = arg;
    sys_mutex_lock(&s->mutex);
    while (!s->stopping) {
        int64_t now = sys_now();
        for (struct http_connection *c = s->connections; c; c = c->next)
            look_at(c, now);
        (void)sys_cond_wait(&s->wake, &s->mutex, now + s->config.reaper_interval);
    }
    sys_mutex_unlock(&s->mutex);
}
