/* Answers that libmicrohttpd would not send: those in the middle of a body, and refusals. Written
 * straight to the socket, which nobody else writes to at that time: head with Connection: close, body,
 * half-close, then what the client still sends is read away, within bounds, since a close with unread
 * bytes becomes a reset that can overtake the answer. */
#include "gateway/http_mhd_internal.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include "common/base/text.h"

enum { SEND_STALL_MS = 5000 };

static enum err send_all(int descriptor, const char *data, size_t n, int stall_ms)
{
    while (n) {
        ssize_t sent = send(descriptor, data, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0) {
            data += sent;
            n -= (size_t)sent;
            continue;
        }
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            struct pollfd p = {descriptor, POLLOUT, 0};
            int ready = poll(&p, 1, stall_ms);
            if (ready > 0 || (ready < 0 && errno == EINTR))
                continue;
        }
        return ERR_CLIENT_GONE;
    }
    return OK;
}

enum err raw_respond(struct mhd_exchange *x)
{
    struct http_exchange *e = &x->base;
    char date[TIME_TEXT];
    time_format_http(sys_wall(), date);
    char *head = arena_format(&e->arena, "HTTP/1.1 %d %s\r\nDate: %s\r\nServer: %s\r\n", e->status,
                              http_status_text(e->status), date, x->server->config.server_name);
    enum err err = send_all(x->connection->descriptor, head, strlen(head), SEND_STALL_MS);
    for (size_t i = 0; i < e->response.n && !err; i++) {
        char *line =
            arena_format(&e->arena, "%s: %s\r\n", e->response.v[i].name, e->response.v[i].value);
        err = send_all(x->connection->descriptor, line, strlen(line), SEND_STALL_MS);
    }
    /* Without a length the body ends where the connection does. */
    char *last = e->length < 0
                     ? arena_string(&e->arena, "Connection: close\r\n\r\n")
                     : arena_format(&e->arena, "Content-Length: %lld\r\nConnection: close\r\n\r\n",
                                    (long long)e->length);
    if (!err)
        err = send_all(x->connection->descriptor, last, strlen(last), SEND_STALL_MS);
    x->raw_broken = err != OK;
    return err;
}

enum err raw_write(struct mhd_exchange *x, const void *data, size_t n)
{
    enum err err = send_all(x->connection->descriptor, data, n, SEND_STALL_MS);
    x->raw_broken = err != OK;
    return err;
}

void raw_drain(struct http_connection *c)
{
    const struct http_server_config *config = &c->server->config;
    int64_t deadline = sys_now() + config->drain_timeout;
    uint64_t drained = 0;
    char away[16 * 1024];
    shutdown(c->descriptor, SHUT_WR);
    while (drained < config->drain_bytes_max) {
        int64_t left_ms = (deadline - sys_now()) / SYS_MS;
        struct pollfd p = {c->descriptor, POLLIN, 0};
        if (left_ms <= 0 || poll(&p, 1, (int)left_ms) <= 0)
            return;
        ssize_t n = recv(c->descriptor, away, sizeof away, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return;
        if (n > 0)
            drained += (uint64_t)n;
    }
}

void raw_finish(struct mhd_exchange *x)
{
    if (!x->raw_broken)
        raw_drain(x->connection);
}

void raw_refuse(struct http_connection *c, enum http_refusal why, bool drain)
{
    const struct http_server_config *config = &c->server->config;
    char body[1024], head[512], date[TIME_TEXT];
    size_t n = config->refusal_body ? config->refusal_body(config->app, why, body, sizeof body) : 0;
    int status = http_refusal_status(why);
    int stall_ms = drain ? SEND_STALL_MS : 0;
    time_format_http(sys_wall(), date);
    snprintf(head, sizeof head,
             "HTTP/1.1 %d %s\r\nDate: %s\r\nServer: %s\r\n%s%sContent-Length: %zu\r\n"
             "Connection: close\r\n\r\n",
             status, http_status_text(status), date, config->server_name,
             status == 503 ? "Retry-After: 1\r\n" : "",
             n ? "Content-Type: application/xml\r\n" : "", n);
    if (send_all(c->descriptor, head, strlen(head), stall_ms) == OK &&
        send_all(c->descriptor, body, n, stall_ms) == OK && drain)
        raw_drain(c);
}
