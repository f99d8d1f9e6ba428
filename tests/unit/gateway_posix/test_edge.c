/* The edge on real sockets: framing that must be refused, clients that leave, drip or talk early,
 * answers in the middle of a body, and a stop with everything open. */
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

static int64_t soon(int64_t ms)
{
    return sys_now() + ms * SYS_MS;
}

/* ---- the handler under test ---- */

static void note(struct app *a, enum err err)
{
    sys_mutex_lock(&a->mutex);
    a->last_error = err;
    a->failures += err != OK;
    a->handled++;
    sys_cond_broadcast(&a->changed);
    sys_mutex_unlock(&a->mutex);
}

static void pattern(char *out, size_t n, uint64_t at)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (char)('a' + (at + i) % 26);
}

static enum err answer(struct http_exchange *e, int status, const char *text)
{
    struct http_headers h;
    http_headers_init(&h, http_request(e)->arena);
    http_headers_add(&h, "X-Test", "yes");
    enum err err = http_respond(e, status, &h, (int64_t)strlen(text));
    return err ? err : http_body_write(e, text, strlen(text));
}

static enum err receive(struct http_exchange *e, uint64_t until, uint64_t *total)
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

static enum err put(struct http_exchange *e, const char *path)
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

static enum err get_bytes(struct http_exchange *e, uint64_t n, int64_t announced)
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

static enum err wait_for_hangup(struct http_exchange *e)
{
    struct sys_poll p = {.socket = http_socket(e)};
    if (sys_poll(&p, 1, soon(5000)))
        return ERR_TIMEOUT;
    return p.ready & SYS_HANGUP ? ERR_CLIENT_GONE : ERR_FORMAT;
}

static enum err spaces(struct http_exchange *e)
{
    for (int i = 0; i < 3; i++) {
        enum err err = http_keepalive_space(e, NULL);
        if (err)
            return err;
    }
    CHECK_ERR(http_respond(e, 500, NULL, 0), ERR_INVALID);
    return http_body_write(e, "<done/>", 7);
}

static void handle(struct http_exchange *e, void *arg)
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
    else if (strcmp(r->path, "/wait") == 0)
        err = wait_for_hangup(e);
    else if (strcmp(r->path, "/never") != 0)
        err = answer(e, 200, r->target);
    note(a, err);
}

/* ---- server and client ---- */

static void edge_start(struct edge *s)
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

static bool edge_run(struct edge *s)
{
    return CHECK_OK(http_server_start(&s->server, &s->config));
}

static void edge_stop(struct edge *s)
{
    http_server_stop(s->server);
    sys_cond_release(&s->app.changed);
    sys_mutex_release(&s->app.mutex);
}

/* Waits until so many handlers have begun or ended. */
static bool app_wait(struct edge *s, const int *count, int n)
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

static struct sys_socket *dial(struct edge *s)
{
    struct sys_addr a = http_server_addr(s->server);
    struct sys_socket *c = NULL;
    CHECK_OK(sys_connect(&a, soon(2000), &c));
    return c;
}

static bool say_n(struct sys_socket *c, const char *data, size_t n)
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

static bool say(struct sys_socket *c, const char *text)
{
    return say_n(c, text, strlen(text));
}

static bool say_pattern(struct sys_socket *c, uint64_t n)
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
static struct heard hear(struct sys_socket *c, const char *end, int64_t ms)
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

static bool heard_status(const struct heard *h, int status)
{
    char want[32];
    snprintf(want, sizeof want, "HTTP/1.1 %d ", status);
    bool ok = strncmp(h->text, want, strlen(want)) == 0;
    if (!ok)
        printf("wanted %d, heard: %.*s\n", status, 200, h->text);
    return ok;
}

/* One connection, one text, everything that comes back until the server closes. */
static struct heard talk(struct edge *s, const char *text)
{
    struct sys_socket *c = dial(s);
    say(c, text);
    struct heard h = hear(c, NULL, 3000);
    sys_socket_close(c);
    return h;
}

static void expect(struct edge *s, const char *request, int status)
{
    struct heard h = talk(s, request);
    if (!CHECK(heard_status(&h, status)) || !CHECK(h.closed))
        printf("for: %s\n", request);
    sys_free(h.text);
}

/* ---- tests ---- */

static void refuses_ambiguous_framing(void)
{
    static const char *const bad[] = {
        "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
        "0\r\n\r\n",
        "PUT /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n",
        "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length : 3\r\n\r\nabc",
        "PUT /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: h\r\nX-Folded: a\r\n b\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: h\r\nX-Folded: a\r\n\tb\r\nY: c\r\n\r\n",
        "PUT /x HTTP/1.1\r\nHost: h\r\nTransfer: chunked\r\n -Encoding\r\n\r\n0\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: h\r\nX: a\rContent-Length: 5\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: h\nX: a\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: h\r\nX: a\n\r\n",
        "GET /x HTTP/1.1\nHost: h\r\n\r\n",
        "GET /x HTTP/1.1\r\n Host: h\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: h\r\nX y: i\r\n\r\n",
        "GET /x HTTP/1.1\r\nX: no host\r\n\r\n",
        "GET http://h/x HTTP/1.1\r\nHost: h\r\n\r\n",
        "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3, 3\r\n\r\nabc",
        "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\nabc",
        "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
        "PUT /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "PUT /x HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    };
    struct edge s;
    edge_start(&s);
    if (!edge_run(&s))
        return;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        expect(&s, bad[i], 400);
    CHECK_EQ(s.app.begun, 0);
    edge_stop(&s);
}

static void accepts_plain_requests(void)
{
    static const char *const good[] = {
        "GET /a//b/../c%2Fd%00e+f?x=%2B HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        "GET /a//b/../c%2Fd%00e+f?x=%2B HTTP/1.1\r\nHost:h\r\nX:   a b \t \r\nEmpty:\r\n"
        "Cookie: a=b; c=d\r\nConnection: close\r\n\r\n",
        "GET /a//b/../c%2Fd%00e+f?x=%2B HTTP/1.1\r\nHost: h\r\nConnection: close\r\nLast:\r\n\r\n",
    };
    struct edge s;
    edge_start(&s);
    if (!edge_run(&s))
        return;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct heard h = talk(&s, good[i]);
        CHECK(heard_status(&h, 200));
        CHECK(strstr(h.text, "\r\n\r\n/a//b/../c%2Fd%00e+f?x=%2B") != NULL);
        CHECK(strstr(h.text, "X-Test: yes\r\n") && strstr(h.text, "Server: cairn\r\n"));
        sys_free(h.text);
    }
    edge_stop(&s);
}

static void refuses_what_is_too_long(void)
{
    struct edge s;
    edge_start(&s);
    if (!edge_run(&s))
        return;
    char *big = sys_alloc(20000), *request = sys_alloc(30000);
    memset(big, 'a', 9000);
    snprintf(request, 30000, "GET /x HTTP/1.1\r\nHost: h\r\nX-Big: %s\r\n\r\n", big);
    expect(&s, request, 431);
    snprintf(request, 30000, "GET /%s HTTP/1.1\r\nHost: h\r\n\r\n", big);
    expect(&s, request, 414);
    CHECK_EQ(s.app.begun, 0);
    sys_free(big);
    sys_free(request);
    edge_stop(&s);
}

static void receives_and_reuses(void)
{
    struct edge s;
    edge_start(&s);
    if (!edge_run(&s))
        return;
    struct sys_socket *c = dial(&s);
    CHECK(say(c, "PUT /store HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n"));
    CHECK(say_pattern(c, 3000000));
    struct heard h = hear(c, "\r\n\r\n3000000", 3000);
    CHECK(heard_status(&h, 200) && !h.closed);
    sys_free(h.text);
    CHECK(say(c, "PUT /store HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                 "5\r\nabcde\r\n3\r\nfgh\r\n0\r\n\r\n"));
    h = hear(c, "\r\n\r\n8", 3000);
    CHECK(heard_status(&h, 200) && !h.closed);
    sys_free(h.text);
    CHECK(say(c, "PUT /store HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"));
    h = hear(c, "\r\n\r\n0", 3000);
    CHECK(heard_status(&h, 200) && !h.closed);
    sys_free(h.text);
    /* A small body that nobody reads does not cost the connection. */
    CHECK(say(c, "PUT /refuse HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabcdefghij"));
    h = hear(c, "\r\n\r\nno", 3000);
    CHECK(heard_status(&h, 403) && !h.closed);
    sys_free(h.text);
    CHECK(say(c, "GET /again HTTP/1.1\r\nHost: h\r\n\r\n"));
    h = hear(c, "\r\n\r\n/again", 3000);
    CHECK(heard_status(&h, 200));
    sys_free(h.text);
    sys_socket_close(c);
    struct http_server_stats stats;
    http_server_stats(s.server, &stats);
    CHECK_EQ(stats.accepted, 1);
    CHECK_EQ(stats.requests, 5);
    edge_stop(&s);
}

static void pipelines(void)
{
    struct edge s;
    edge_start(&s);
    if (!edge_run(&s))
        return;
    struct sys_socket *c = dial(&s);
    CHECK(say(c, "GET /one HTTP/1.1\r\nHost: h\r\n\r\n"
                 "PUT /store HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nabcd"
                 "GET /three HTTP/1.1\r\nHost: h\r\n\r\n"));
    struct heard h = hear(c, "\r\n\r\n/three", 3000);
    const char *one = strstr(h.text, "\r\n\r\n/one"), *two = strstr(h.text, "\r\n\r\n4");
    if (!CHECK(one && two && one < two))
        printf("heard: %s\n", h.text);
    sys_free(h.text);
    sys_socket_close(c);
    edge_stop(&s);
}

static void continues_only_when_asked(void)
{
    struct edge s;
    edge_start(&s);
    if (!edge_run(&s))
        return;
    struct sys_socket *c = dial(&s);
    CHECK(say(c, "PUT /store HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n"
                 "Expect: 100-continue\r\n\r\n"));
    struct heard h = hear(c, "HTTP/1.1 100 Continue\r\n\r\n", 3000);
    CHECK(!h.closed && heard_status(&h, 100));
    sys_free(h.text);
    CHECK(say(c, "abcde"));
    h = hear(c, "\r\n\r\n5", 3000);
    CHECK(heard_status(&h, 200));
    sys_free(h.text);
    sys_socket_close(c);
    c = dial(&s);
    CHECK(say(c, "PUT /refuse HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n"
                 "Expect: 100-continue\r\n\r\n"));
    h = hear(c, NULL, 3000);
    CHECK(heard_status(&h, 403) && h.closed && strstr(h.text, "Connection: close\r\n"));
    sys_free(h.text);
    sys_socket_close(c);
    edge_stop(&s);
}

static void answers_in_mid_body(void)
{
    struct edge s;
    edge_start(&s);
    if (!edge_run(&s))
        return;
    static const char *const paths[] = {"midway", "refuse"};
    for (int i = 0; i < 2; i++) {
        struct sys_socket *c = dial(&s);
        char head[100];
        snprintf(head, sizeof head,
                 "PUT /%s HTTP/1.1\r\nHost: h\r\nContent-Length: 4000000\r\n\r\n", paths[i]);
        CHECK(say(c, head));
        CHECK(say_pattern(c, 4000000)); /* all of it can be sent: nobody resets */
        struct heard h = hear(c, NULL, 4000);
        CHECK(heard_status(&h, i ? 403 : 400) && h.closed);
        CHECK(strstr(h.text, i ? "\r\n\r\nno" : "\r\n\r\nbad") != NULL);
        sys_free(h.text);
        sys_socket_close(c);
    }
    edge_stop(&s);
}

static void sends_bodies(void)
{
    struct edge s;
    edge_start(&s);
    if (!edge_run(&s))
        return;
    static const uint64_t sizes[] = {0, 1, 65536, 65537, 131072, 2000001};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int chunked = 0; chunked < 2; chunked++) {
            char request[200];
            snprintf(request, sizeof request,
                     "GET /%s/%" PRIu64 " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
                     chunked ? "chunked" : "bytes", sizes[i]);
            struct heard h = talk(&s, request);
            CHECK(heard_status(&h, 200) && h.closed);
            const char *body = strstr(h.text, "\r\n\r\n");
            if (!chunked && CHECK(body != NULL)) {
                CHECK_EQ(h.n - (size_t)(body + 4 - h.text), sizes[i]);
                char *want = sys_alloc(sizes[i] + 1);
                pattern(want, sizes[i], 0);
                CHECK_BYTES(body + 4, want, sizes[i]);
                sys_free(want);
            } else {
                CHECK(h.n > 5 && strcmp(h.text + h.n - 5, "0\r\n\r\n") == 0);
            }
            sys_free(h.text);
        }
    edge_stop(&s);
}

static void head_announces(void)
{
    struct edge s;
    edge_start(&s);
    if (!edge_run(&s))
        return;
    struct sys_socket *c = dial(&s);
    CHECK(say(c, "HEAD /bytes/2000000 HTTP/1.1\r\nHost: h\r\n\r\n"
                 "HEAD /bytes/20 HTTP/1.1\r\nHost: h\r\n\r\n"
                 "GET /end HTTP/1.1\r\nHost: h\r\n\r\n"));
    struct heard h = hear(c, "\r\n\r\n/end", 3000);
    CHECK(strstr(h.text, "Content-Length: 2000000\r\n") != NULL);
    CHECK(strstr(h.text, "Content-Length: 20\r\n") != NULL);
    CHECK(h.n < 2000);
    CHECK_EQ(s.app.failures, 0);
    sys_free(h.text);
    sys_socket_close(c);
    edge_stop(&s);
}

static void short_and_missing_answers(void)
{
    struct edge s;
    edge_start(&s);
    if (!edge_run(&s))
        return;
    struct heard h = talk(&s, "GET /short HTTP/1.1\r\nHost: h\r\n\r\n");
    CHECK(h.closed && h.n > 200000 && h.n < 201000);
    sys_free(h.text);
    h = talk(&s, "GET /tiny-short HTTP/1.1\r\nHost: h\r\n\r\n");
    CHECK(h.closed && h.n == 0);
    sys_free(h.text);
    h = talk(&s, "GET /never HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    CHECK(heard_status(&h, 500));
    sys_free(h.text);
    h = talk(&s, "POST /spaces HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    CHECK(heard_status(&h, 200));
    CHECK(strstr(h.text, "\r\n\r\n1\r\n \r\n1\r\n \r\n1\r\n \r\n7\r\n<done/>\r\n0\r\n\r\n") !=
          NULL);
    sys_free(h.text);
    edge_stop(&s);
}

static void notices_who_leaves(void)
{
    struct edge s;
    edge_start(&s);
    if (!edge_run(&s))
        return;
    struct sys_socket *c = dial(&s);
    CHECK(say(c, "PUT /store HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n"));
    CHECK(say_pattern(c, 1000000));
    sys_socket_close(c);
    CHECK(app_wait(&s, &s.app.failures, 1));
    CHECK_ERR(s.app.last_error, ERR_CLIENT_GONE);
    c = dial(&s);
    CHECK(say(c, "GET /wait HTTP/1.1\r\nHost: h\r\n\r\n"));
    CHECK(app_wait(&s, &s.app.begun, 2));
    sys_socket_close(c);
    CHECK(app_wait(&s, &s.app.failures, 2));
    CHECK_ERR(s.app.last_error, ERR_CLIENT_GONE);
    c = dial(&s);
    CHECK(say(c, "GET /bytes/300000000 HTTP/1.1\r\nHost: h\r\n\r\n"));
    CHECK(app_wait(&s, &s.app.begun, 3));
    sys_socket_close(c);
    CHECK(app_wait(&s, &s.app.failures, 3));
    CHECK_ERR(s.app.last_error, ERR_CLIENT_GONE);
    c = dial(&s);
    CHECK(say(c, "PUT /store HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                 "5\r\nabcde\r\nzz\r\n"));
    CHECK(app_wait(&s, &s.app.failures, 4));
    CHECK(s.app.last_error == ERR_FORMAT || s.app.last_error == ERR_CLIENT_GONE);
    sys_socket_close(c);
    edge_stop(&s);
}

/* Sends one byte each few ms until the server has had enough. */
static bool drip(struct sys_socket *c, int64_t step_ms, int steps)
{
    for (int i = 0; i < steps; i++) {
        char byte = (char)('a' + i % 26);
        if (!say_n(c, &byte, 1))
            return true;
        struct sys_poll p = {.socket = c, .want = SYS_READ};
        if (sys_poll(&p, 1, soon(step_ms)) == OK)
            return true;
    }
    return false;
}

static void reaps_who_drips(void)
{
    struct edge s;
    edge_start(&s);
    if (!edge_run(&s))
        return;
    struct sys_socket *c = dial(&s);
    CHECK(say(c, "GET /x HTTP/1.1\r\nHost: h\r\nX: "));
    CHECK(drip(c, 10, 200));
    sys_socket_close(c);
    c = dial(&s);
    CHECK(say(c, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n"));
    struct heard h = hear(c, "/x", 3000);
    CHECK(heard_status(&h, 200));
    sys_free(h.text);
    CHECK(drip(c, 10, 200)); /* the same on a connection in use */
    sys_socket_close(c);
    c = dial(&s);
    CHECK(say(c, "PUT /store HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n"));
    CHECK(drip(c, 10, 200));
    h = hear(c, NULL, 2000);
    CHECK(heard_status(&h, 400) || h.n == 0);
    sys_free(h.text);
    CHECK(app_wait(&s, &s.app.failures, 1));
    CHECK_ERR(s.app.last_error, ERR_TOO_SLOW);
    sys_socket_close(c);
    c = dial(&s); /* an idle one goes too */
    h = hear(c, NULL, 3000);
    CHECK(h.closed);
    sys_free(h.text);
    sys_socket_close(c);
    edge_stop(&s);
}

static void reaps_who_does_not_receive(void)
{
    struct edge s;
    edge_start(&s);
    if (!edge_run(&s))
        return;
    struct sys_socket *c = dial(&s);
    CHECK(say(c, "GET /bytes/300000000 HTTP/1.1\r\nHost: h\r\n\r\n"));
    CHECK(app_wait(&s, &s.app.failures, 1));
    CHECK_ERR(s.app.last_error, ERR_TOO_SLOW);
    sys_socket_close(c);
    edge_stop(&s);
}

static void refuses_beyond_its_limit(void)
{
    struct edge s;
    edge_start(&s);
    s.config.connections_max = 2;
    s.config.idle_timeout = 5 * SYS_SECOND;
    if (!edge_run(&s))
        return;
    struct sys_socket *a = dial(&s), *b = dial(&s);
    CHECK(say(a, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n"));
    struct heard h = hear(a, "/x", 3000);
    sys_free(h.text);
    CHECK(say(b, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n"));
    h = hear(b, "/x", 3000);
    sys_free(h.text);
    h = talk(&s, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
    CHECK(heard_status(&h, 503) && h.closed && strstr(h.text, "Retry-After"));
    sys_free(h.text);
    sys_socket_close(a);
    sys_socket_close(b);
    edge_stop(&s);
}

struct one_of_many {
    struct edge *s;
    bool ok;
};

static void many_main(void *arg)
{
    struct one_of_many *m = arg;
    struct sys_socket *c = dial(m->s);
    m->ok = true;
    for (int i = 0; i < 5 && m->ok; i++) {
        m->ok = say(c, "PUT /store HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n") &&
                say_pattern(c, 200000);
        struct heard h = hear(c, "\r\n\r\n200000", 10000);
        m->ok = m->ok && strncmp(h.text, "HTTP/1.1 200", 12) == 0;
        sys_free(h.text);
    }
    sys_socket_close(c);
}

static void serves_many_at_once(void)
{
    enum { MANY = 64 };
    struct edge s;
    edge_start(&s);
    s.config.rate_window = 10 * SYS_SECOND;
    s.config.headers_timeout = s.config.idle_timeout = 10 * SYS_SECOND;
    if (!edge_run(&s))
        return;
    struct sys_thread *threads[MANY];
    struct one_of_many many[MANY];
    for (int i = 0; i < MANY; i++) {
        many[i] = (struct one_of_many){&s, false};
        CHECK_OK(sys_thread_start(&threads[i], "many", 512 * 1024, many_main, &many[i]));
    }
    for (int i = 0; i < MANY; i++) {
        sys_thread_join(threads[i]);
        CHECK(many[i].ok);
    }
    CHECK_EQ(s.app.handled, 5 * MANY);
    edge_stop(&s);
}

static void drains(void)
{
    struct edge s;
    edge_start(&s);
    s.config.idle_timeout = s.config.rate_window = 10 * SYS_SECOND;
    if (!edge_run(&s))
        return;
    struct sys_socket *idle = dial(&s), *busy = dial(&s);
    CHECK(say(idle, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n"));
    struct heard h = hear(idle, "/x", 3000);
    sys_free(h.text);
    CHECK(say(busy, "PUT /store HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab"));
    CHECK(app_wait(&s, &s.app.begun, 2));
    CHECK_ERR(http_server_drain(s.server, soon(100)), ERR_TIMEOUT);
    h = hear(idle, NULL, 2000);
    CHECK(h.closed);
    sys_free(h.text);
    CHECK(say(busy, "cd"));
    CHECK_OK(http_server_drain(s.server, soon(3000)));
    h = hear(busy, NULL, 2000);
    CHECK(heard_status(&h, 200) && h.closed && strstr(h.text, "Connection: close"));
    sys_free(h.text);
    struct sys_addr a = http_server_addr(s.server);
    struct sys_socket *late = NULL;
    CHECK_ERR(sys_connect(&a, soon(500), &late), ERR_REFUSED);
    sys_socket_close(idle);
    sys_socket_close(busy);
    edge_stop(&s);
}

static void stops_with_everything_open(void)
{
    struct edge s;
    edge_start(&s);
    if (!edge_run(&s))
        return;
    struct sys_socket *c[4];
    for (int i = 0; i < 4; i++)
        c[i] = dial(&s);
    CHECK(say(c[1], "GET /x HTT"));
    CHECK(say(c[2], "PUT /store HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab"));
    CHECK(say(c[3], "GET /wait HTTP/1.1\r\nHost: h\r\n\r\n"));
    CHECK(app_wait(&s, &s.app.begun, 2));
    int64_t began = sys_now();
    http_server_stop(s.server);
    CHECK(sys_now() - began < 2 * SYS_SECOND);
    CHECK_EQ(s.app.failures, 2);
    for (int i = 0; i < 4; i++)
        sys_socket_close(c[i]);
    sys_cond_release(&s.app.changed);
    sys_mutex_release(&s.app.mutex);
}

static void says_that_the_address_is_taken(void)
{
    struct edge s, t;
    edge_start(&s);
    edge_start(&t);
    if (!edge_run(&s))
        return;
    t.config.listen = http_server_addr(s.server);
    CHECK_ERR(http_server_start(&t.server, &t.config), ERR_ADDRESS_IN_USE);
    edge_stop(&s);
}

static const struct test tests[] = {
    {"refuses ambiguous framing", refuses_ambiguous_framing},
    {"accepts plain requests", accepts_plain_requests},
    {"refuses what is too long", refuses_what_is_too_long},
    {"receives and reuses", receives_and_reuses},
    {"pipelines", pipelines},
    {"continues only when asked", continues_only_when_asked},
    {"answers in mid-body", answers_in_mid_body},
    {"sends bodies", sends_bodies},
    {"HEAD announces", head_announces},
    {"short and missing answers", short_and_missing_answers},
    {"notices who leaves", notices_who_leaves},
    {"reaps who drips", reaps_who_drips},
    {"reaps who does not receive", reaps_who_does_not_receive},
    {"refuses beyond its limit", refuses_beyond_its_limit},
    {"serves many at once", serves_many_at_once},
    {"drains", drains},
    {"stops with everything open", stops_with_everything_open},
    {"says that the address is taken", says_that_the_address_is_taken},
    {0},
};
SUITE("edge", tests)
