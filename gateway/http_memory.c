/* The carrier in memory. Nothing is sent anywhere: pieces come from the caller's bytes, the answer is
 * gathered. */
#include "gateway/http_memory.h"
#include <stdio.h>
#include <string.h>
#include "gateway/http_internal.h"

struct memory_exchange {
    struct http_exchange base; /* first */
    struct http_memory *m;
    size_t at, body_max;
};

static enum err memory_body_more(struct http_exchange *e, const void **data, size_t *n)
{
    struct memory_exchange *x = (struct memory_exchange *)e;
    struct http_memory *m = x->m;
    m->continued = e->request.expects_continue;
    if (m->produce)
        return m->produce(m->arg, data, n);
    size_t end = m->body_gone_at && m->body_gone_at < m->body_n ? m->body_gone_at : m->body_n;
    size_t left = end - x->at;
    if (left == 0 && end < m->body_n)
        return ERR_CLIENT_GONE;
    *n = m->piece_bytes && m->piece_bytes < left ? m->piece_bytes : left;
    *data = (const char *)m->body + x->at;
    x->at += *n;
    return OK;
}

static enum err memory_respond(struct http_exchange *e)
{
    struct http_memory *m = ((struct memory_exchange *)e)->m;
    m->status = e->status;
    m->length = e->length;
    m->closes = e->early;
    http_headers_init(&m->answer, &m->arena);
    for (size_t i = 0; i < e->response.n; i++)
        http_headers_add(&m->answer, e->response.v[i].name, e->response.v[i].value);
    return OK;
}

static enum err memory_write(struct http_exchange *e, const void *data, size_t n, bool at_once)
{
    struct memory_exchange *x = (struct memory_exchange *)e;
    struct http_memory *m = x->m;
    (void)at_once;
    if (m->consume)
        return m->consume(m->arg, data, n);
    if (m->answer_body_n + n + 1 > x->body_max) {
        x->body_max = 2 * (m->answer_body_n + n + 1);
        m->answer_body = sys_realloc(m->answer_body, x->body_max);
    }
    memcpy(m->answer_body + m->answer_body_n, data, n);
    m->answer_body_n += n;
    m->answer_body[m->answer_body_n] = 0;
    return OK;
}

static struct sys_socket *memory_socket(struct http_exchange *e)
{
    return ((struct memory_exchange *)e)->m->socket;
}

static const struct http_carrier memory_carrier = {memory_body_more, memory_respond, memory_write,
                                                   memory_socket};

static void describe(struct http_memory *m, struct http_request *r)
{
    r->method = arena_string(r->arena, m->method);
    r->target = arena_string(r->arena, m->target);
    for (size_t i = 0; i < m->headers_n; i++)
        http_headers_add(&r->headers, m->headers[i].name, m->headers[i].value);
    if (!http_headers_get(&r->headers, "host"))
        http_headers_add(&r->headers, "Host", "localhost");
    if (m->chunked)
        http_headers_add(&r->headers, "Transfer-Encoding", "chunked");
    else if (!m->lengthless && !http_headers_get(&r->headers, "content-length"))
        http_headers_addf(&r->headers, "Content-Length", "%zu", m->body_n);
    r->received = sys_now();
}

void http_memory_run(struct http_memory *m, http_handler *handler, void *app)
{
    struct memory_exchange x;
    memset(&x, 0, sizeof x);
    http_exchange_init(&x.base, &memory_carrier);
    x.m = m;
    arena_init(&m->arena);
    describe(m, &x.base.request);
    struct http_limits limits = {8192, 8192};
    enum http_refusal why;
    if (!http_request_check(&x.base.request, "HTTP/1.1", &limits, &why)) {
        m->refused = true;
        m->status = http_refusal_status(why);
    } else {
        x.base.body_ended = x.base.request.body_kind == HTTP_BODY_NONE;
        handler(&x.base, app);
        if (!x.base.responded && !x.base.failed && http_respond(&x.base, 500, NULL, 0))
            m->status = 0;
        m->complete = http_exchange_complete(&x.base);
    }
    if (!m->answer_body && !m->consume)
        m->answer_body = sys_alloc(1);
    http_exchange_release(&x.base);
}

void http_memory_release(struct http_memory *m)
{
    sys_free(m->answer_body);
    m->answer_body = NULL;
    arena_release(&m->arena);
}
