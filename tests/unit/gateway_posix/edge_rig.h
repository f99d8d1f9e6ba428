/* An edge on real sockets with small time-outs, a handler whose path says what it does, and a client
 * that says any bytes. Included by the suites of this folder. */
#pragma once
#include <stdio.h>
#include <stdlib.h>
#include "common/base/arena.h"
#include "gateway/http.h"
#include "tests/unit/suite.h"

struct app {
    struct sys_mutex mutex;
    struct sys_cond changed;
    enum err last_error; /* what the last handler that failed saw */
    int failures, handled, begun;
};

struct edge {
    struct app app;
    struct http_server *server;
    struct http_server_config config;
};

static inline int64_t soon(int64_t ms)
{
    return sys_now() + ms * SYS_MS;
}

/* ---- the handler under test ---- */

static inline void note(struct app *a, enum err err)
{
    sys_mutex_lock(&a->mutex);
    a->last_error = err;
    a->failures += err != OK;
    a->handled++;
    sys_cond_broadcast(&a->changed);
    sys_mutex_unlock(&a->mutex);
}

static inline void pattern(char *out, size_t n, uint64_t at)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (char)('a' + (at + i) % 26);
}

static inline enum err answer(struct http_exchange *e, int status, const char *text)
{
    struct http_headers h;
    http_headers_init(&h, http_request(e)->arena);
    http_headers_add(&h, "X-Test", "yes");
    enum err err = http_respond(e, status, &h, (int64_t)strlen(text));
    return err ? err : http_body_write(e, text, strlen(text));
}

/* Values as clients may have stored them as metadata. */
static inline enum err odd_headers(struct http_exchange *e)
{
    struct http_headers h;
    http_headers_init(&h, http_request(e)->arena);
    http_headers_add(&h, "X-Empty", "");
    http_headers_add(&h, "X-Tab", "a\tb");
    http_headers_add(&h, "X-Blank", " ");
    enum err err = http_respond(e, 200, &h, 3);
    return err ? err : http_body_write(e, "odd", 3);
}

static inline enum err receive(struct http_exchange *e, uint64_t until, uint64_t *total)
{
    char piece[5000], want[5000];
    for (*total = 0; *total < until;) {
        size_t n;
        enum err err = http_body_read(e, piece, sizeof piece, &n);
        if (err || n == 0)
            return err;
        pattern(want, n, *total);
        if (memcmp(piece, want, n) != 0)
            return ERR_CORRUPT;
        *total += n;
    }
    return OK;
}

static inline enum err put(struct http_exchange *e, const char *path)
{
    uint64_t total;
    char text[64];
    if (strcmp(path, "/refuse") == 0)
        return answer(e, 403, "no");
    if (strcmp(path, "/midway") == 0) {
        enum err err = receive(e, 100000, &total);
        return err ? err : answer(e, 400, "bad");
    }
    enum err err = receive(e, UINT64_MAX, &total);
    if (err)
        return err;
    snprintf(text, sizeof text, "%" PRIu64, total);
    return answer(e, 200, text);
}

static inline enum err get_bytes(struct http_exchange *e, uint64_t n, int64_t announced)
{
    char piece[70000];
    enum err err = http_respond(e, 200, NULL, announced);
    for (uint64_t at = 0; at < n && !err;) {
        size_t part = n - at < sizeof piece ? (size_t)(n - at) : sizeof piece;
        pattern(piece, part, at);
        err = http_body_write(e, piece, part);
        at += part;
    }
    return err;
}

static inline enum err wait_for_hangup(struct http_exchange *e)
{
    struct sys_poll p = {.socket = http_socket(e)};
    if (sys_poll(&p, 1, soon(5000)))
        return ERR_TIMEOUT;
    return p.ready & SYS_HANGUP ? ERR_CLIENT_GONE : ERR_FORMAT;
}

static inline enum err spaces(struct http_exchange *e)
{
    for (int i = 0; i < 3; i++) {
        enum err err = http_keepalive_space(e, NULL);
        if (err)
            return err;
    }
    CHECK_ERR(http_respond(e, 500, NULL, 0), ERR_INVALID);
    return http_body_write(e, "<done/>", 7);
}

static inline void handle(struct http_exchange *e, void *arg)
{
    struct app *a = arg;
    const struct http_request *r = http_request(e);
    enum err err = OK;
    sys_mutex_lock(&a->mutex);
    a->begun++;
    sys_cond_broadcast(&a->changed);
    sys_mutex_unlock(&a->mutex);
    if (strcmp(r->method, "PUT") == 0)
        err = put(e, r->path);
    else if (strncmp(r->path, "/bytes/", 7) == 0)
        err =
            get_bytes(e, strtoull(r->path + 7, NULL, 10), (int64_t)strtoull(r->path + 7, NULL, 10));
    else if (strncmp(r->path, "/chunked/", 9) == 0)
        err = get_bytes(e, strtoull(r->path + 9, NULL, 10), HTTP_CHUNKED);
    else if (strcmp(r->path, "/short") == 0)
        err = get_bytes(e, 200000, 300000);
    else if (strcmp(r->path, "/tiny-short") == 0)
        err = get_bytes(e, 10, 20);
    else if (strcmp(r->path, "/spaces") == 0)
        err = spaces(e);
    else if (strcmp(r->path, "/odd-headers") == 0)
        err = odd_headers(e);
    else if (strcmp(r->path, "/wait") == 0)
        err = wait_for_hangup(e);
    else if (strcmp(r->path, "/never") != 0)
        err = answer(e, 200, r->target);
    note(a, err);
}

/* ---- server and client ---- */

static inline void edge_start(struct edge *s)
{
    struct timeouts t;
    memset(s, 0, sizeof *s);
    timeouts_default(&t);
    sys_mutex_init(&s->app.mutex);
    sys_cond_init(&s->app.changed);
    http_server_config_default(&s->config, &t);
    CHECK_OK(sys_addr_parse("127.0.0.1:0", &s->config.listen));
    s->config.headers_timeout = 200 * SYS_MS;
    s->config.idle_timeout = 400 * SYS_MS;
    s->config.rate_window = 200 * SYS_MS;
    s->config.least_rate_bytes_per_s = 1000;
    s->config.reaper_interval = 20 * SYS_MS;
    s->config.handler = handle;
    s->config.app = &s->app;
}

static inline bool edge_run(struct edge *s)
{
    return CHECK_OK(http_server_start(&s->server, &s->config));
}

static inline void edge_stop(struct edge *s)
{
    http_server_stop(s->server);
    sys_cond_release(&s->app.changed);
    sys_mutex_release(&s->app.mutex);
}

/* Waits until so many handlers have begun or ended. */
static inline bool app_wait(struct edge *s, const int *count, int n)
{
    int64_t deadline = soon(5000);
    sys_mutex_lock(&s->app.mutex);
    while (*count < n)
        if (sys_cond_wait(&s->app.changed, &s->app.mutex, deadline) == ERR_TIMEOUT)
            break;
    bool ok = *count >= n;
    sys_mutex_unlock(&s->app.mutex);
    return ok;
}

static inline struct sys_socket *dial(struct edge *s)
{
    struct sys_addr a = http_server_addr(s->server);
    struct sys_socket *c = NULL;
    CHECK_OK(sys_connect(&a, soon(2000), &c));
    return c;
}

static inline bool say_n(struct sys_socket *c, const char *data, size_t n)
{
    while (n) {
        struct sys_slice v = {data, n};
        size_t done = 0;
        if (sys_send(c, &v, 1, false, soon(3000), &done))
            return false;
        data += done;
        n -= done;
    }
    return true;
}

static inline bool say(struct sys_socket *c, const char *text)
{
    return say_n(c, text, strlen(text));
}

static inline bool say_pattern(struct sys_socket *c, uint64_t n)
{
    char piece[20000];
    for (uint64_t at = 0; at < n;) {
        size_t part = n - at < sizeof piece ? (size_t)(n - at) : sizeof piece;
        pattern(piece, part, at);
        if (!say_n(c, piece, part))
            return false;
        at += part;
    }
    return true;
}

struct heard {
    char *text;
    size_t n;
    bool closed;
};

/* Reads until end appears, the connection ends, or ms have passed. */
static inline struct heard hear(struct sys_socket *c, const char *end, int64_t ms)
{
    struct heard h = {sys_alloc(1), 0, false};
    int64_t deadline = soon(ms);
    for (;;) {
        char piece[65536];
        size_t n = 0;
        enum err err = sys_recv(c, piece, sizeof piece, deadline, &n);
        if (err) {
            h.closed = err == ERR_CLOSED;
            return h;
        }
        h.text = sys_realloc(h.text, h.n + n + 1);
        memcpy(h.text + h.n, piece, n);
        h.n += n;
        h.text[h.n] = 0;
        if (end && h.n >= strlen(end) && strcmp(h.text + h.n - strlen(end), end) == 0)
            return h;
    }
}

static inline bool heard_status(const struct heard *h, int status)
{
    char want[32];
    snprintf(want, sizeof want, "HTTP/1.1 %d ", status);
    bool ok = strncmp(h->text, want, strlen(want)) == 0;
    if (!ok)
        printf("wanted %d, heard: %.*s\n", status, 200, h->text);
    return ok;
}

/* One connection, one text, everything that comes back until the server closes. */
static inline struct heard talk(struct edge *s, const char *text)
{
    struct sys_socket *c = dial(s);
    say(c, text);
    struct heard h = hear(c, NULL, 3000);
    sys_socket_close(c);
    return h;
}

static inline void expect(struct edge *s, const char *request, int status)
{
    struct heard h = talk(s, request);
    if (!CHECK(heard_status(&h, status)) || !CHECK(h.closed))
        printf("for: %s\n", request);
    sys_free(h.text);
}
