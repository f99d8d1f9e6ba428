/* The part of an exchange that does not depend on its carrier: what may be called when, how many
 * bytes are due, and what becomes of a body that nobody reads.
 *
 * Invariants:
 * 1. A body's pieces are handed out before the answer begins, or not at all.
 * 2. At most one answer; never more bytes than it announced (asserted: that is a bug here).
 * 3. The first failure sticks: after it nothing reaches the carrier. */
#include "gateway/http_internal.h"
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include "common/base/text.h"

enum {
    REST_DROPPED_MAX = 64 * 1024, /* a rest of a body that is read away to keep the connection */
    AT_ONCE_BYTES = 32 * 1024,
};

void http_headers_init(struct http_headers *h, struct arena *arena)
{
    memset(h, 0, sizeof *h);
    h->arena = arena;
}

void http_headers_add(struct http_headers *h, const char *name, const char *value)
{
    if (h->n == h->max) {
        size_t max = h->max ? 2 * h->max : 16;
        struct http_header *v = arena_alloc(h->arena, max * sizeof *v);
        if (h->n)
            memcpy(v, h->v, h->n * sizeof *v);
        h->v = v;
        h->max = max;
    }
    char *copy = arena_string(h->arena, value);
    for (char *p = copy; *p; p++)
        if (((unsigned char)*p < 0x20 && *p != '\t') || *p == 0x7f)
            *p = ' ';
    h->v[h->n++] = (struct http_header){arena_string(h->arena, name), copy};
}

void http_headers_addf(struct http_headers *h, const char *name, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const char *value = arena_vformat(h->arena, format, args);
    va_end(args);
    http_headers_add(h, name, value);
}

const char *http_headers_get(const struct http_headers *h, const char *name)
{
    for (size_t i = 0; i < h->n; i++)
        if (text_equal_fold(h->v[i].name, name))
            return h->v[i].value;
    return NULL;
}

size_t http_headers_count(const struct http_headers *h, const char *name)
{
    size_t n = 0;
    for (size_t i = 0; i < h->n; i++)
        n += text_equal_fold(h->v[i].name, name);
    return n;
}

void http_exchange_init(struct http_exchange *e, const struct http_carrier *carrier)
{
    memset(e, 0, sizeof *e);
    e->carrier = carrier;
    arena_init(&e->arena);
    e->request.arena = &e->arena;
    http_headers_init(&e->request.headers, &e->arena);
}

void http_exchange_release(struct http_exchange *e)
{
    arena_release(&e->arena);
}

const struct http_request *http_request(const struct http_exchange *e)
{
    return &e->request;
}

const char *http_request_header(const struct http_exchange *e, const char *name)
{
    return http_headers_get(&e->request.headers, name);
}

enum err http_body_peek(struct http_exchange *e, const void **data, size_t *n)
{
    *data = NULL;
    *n = 0;
    if (e->failed)
        return e->failed;
    if (e->responded)
        return ERR_INVALID; /* invariant 1 */
    if (e->piece_n == 0 && !e->body_ended) {
        const void *piece = NULL;
        size_t piece_n = 0;
        e->body_asked = true;
        enum err err = e->carrier->body_more(e, &piece, &piece_n);
        if (err) {
            e->failed = err;
            e->piece_n = 0;
            return err;
        }
        e->piece = piece;
        e->piece_n = piece_n;
        e->body_seen += piece_n;
        if (piece_n == 0)
            e->body_ended = true;
    }
    *data = e->piece;
    *n = e->piece_n;
    return OK;
}

void http_body_take(struct http_exchange *e, size_t n)
{
    assert(n <= e->piece_n);
    e->piece_n -= n;
    if (n)
        e->piece += n;
}

enum err http_body_read(struct http_exchange *e, void *out, size_t max, size_t *n)
{
    const void *data;
    size_t have;
    *n = 0;
    enum err err = http_body_peek(e, &data, &have);
    if (err || have == 0)
        return err;
    *n = have < max ? have : max;
    memcpy(out, data, *n);
    http_body_take(e, *n);
    return OK;
}

/* Reads a small rest away, so that the connection can go on; false when it must close instead. A
 * client that still waits for 100 Continue is not told to send what nobody wants. */
static bool drop_rest(struct http_exchange *e)
{
    const struct http_request *r = &e->request;
    if (e->body_ended)
        return true;
    if (r->body_kind != HTTP_BODY_LENGTH || (r->expects_continue && !e->body_asked))
        return false;
    if (r->body_length - e->body_seen + e->piece_n > REST_DROPPED_MAX)
        return false;
    while (!e->body_ended) {
        const void *data;
        size_t n;
        if (http_body_peek(e, &data, &n))
            return false;
        http_body_take(e, n);
    }
    return true;
}

enum err http_respond(struct http_exchange *e, int status, const struct http_headers *headers,
                      int64_t length)
{
    assert(status >= 200 && status <= 599 && length >= HTTP_CHUNKED);
    if (e->failed)
        return e->failed;
    if (e->responded)
        return ERR_INVALID; /* invariant 2 */
    bool whole = drop_rest(e);
    if (e->failed)
        return e->failed;
    e->early = !whole;
    e->responded = true;
    e->status = status;
    e->length = length;
    e->discards = status == 204 || status == 304 || strcmp(e->request.method, "HEAD") == 0;
    if (headers)
        e->response = *headers;
    else
        http_headers_init(&e->response, &e->arena);
    e->failed = e->carrier->respond(e);
    return e->failed;
}

bool http_responded(const struct http_exchange *e)
{
    return e->responded;
}

enum err http_body_write(struct http_exchange *e, const void *data, size_t n)
{
    if (e->failed)
        return e->failed;
    if (!e->responded || e->aborted)
        return ERR_INVALID;
    e->written += n;
    assert(e->length == HTTP_CHUNKED || e->written <= (uint64_t)e->length); /* invariant 2 */
    if (e->discards || n == 0)
        return OK;
    e->failed = e->carrier->write(e, data, n, n >= AT_ONCE_BYTES);
    return e->failed;
}

enum err http_keepalive_space(struct http_exchange *e, const struct http_headers *headers)
{
    if (!e->spaced) {
        struct http_headers h;
        http_headers_init(&h, &e->arena);
        for (size_t i = 0; headers && i < headers->n; i++)
            http_headers_add(&h, headers->v[i].name, headers->v[i].value);
        if (!http_headers_get(&h, "Content-Type"))
            http_headers_add(&h, "Content-Type", "application/xml");
        enum err err = http_respond(e, 200, &h, HTTP_CHUNKED);
        if (err)
            return err;
        e->spaced = true;
    }
    if (e->failed)
        return e->failed;
    e->written++;
    if (!e->discards)
        e->failed = e->carrier->write(e, " ", 1, true);
    return e->failed;
}

bool http_kept_alive(const struct http_exchange *e)
{
    return e->spaced;
}

void http_abort(struct http_exchange *e)
{
    e->aborted = true;
}

bool http_exchange_complete(const struct http_exchange *e)
{
    if (e->failed || e->aborted || !e->responded)
        return false;
    return e->discards || e->length == HTTP_CHUNKED || e->written == (uint64_t)e->length;
}

struct sys_socket *http_socket(struct http_exchange *e)
{
    return e->carrier->socket(e);
}

void http_server_config_default(struct http_server_config *c, const struct timeouts *t)
{
    memset(c, 0, sizeof *c);
    c->connections_max = 512;
    c->connection_pool_bytes = 128 * 1024;
    c->target_bytes_max = 8 * 1024;
    c->header_bytes_max = 8 * 1024;
    c->fiber_stack_bytes = 256 * 1024;
    c->headers_timeout = t->http_headers;
    c->idle_timeout = t->client_idle;
    c->least_rate_bytes_per_s = 1024;
    c->rate_window = t->client_idle;
    c->reaper_interval = 500 * SYS_MS;
    c->drain_bytes_max = 8 * 1024 * 1024;
    c->drain_timeout = 2 * SYS_SECOND;
    c->server_name = "cairn";
}
