/* libmicrohttpd's callbacks turned inside out: it pushes bodies and pulls answers by calling us; the
 * handler runs on a fiber of the same thread and is switched to at each such call.
 *
 *   first access call   the head is checked; the fiber starts (without a body: at the second call); a
 *                       request for the body returns to the library, which only then sends 100
 *   access with bytes   a piece of the body: the fiber runs until it has used it up
 *   access without      the body has ended
 *   reader              room for the answer: the fiber runs until it is full or a large piece ends
 *   completed           the request is over: a fiber that is not done sees ERR_CLIENT_GONE and returns
 *
 * An answer before the body's end never goes through the library (http_mhd_raw.c); small answers are
 * gathered and leave in one packet with their head. */
#include "gateway/http_mhd_internal.h"
#include <assert.h>
#include <string.h>

enum {
    WHOLE_ANSWER_MAX = 64 * 1024,
    BLOCK_BYTES = 128 * 1024,
};

/* ---- on the fiber ---- */

static void switch_for(struct mhd_exchange *x, enum fiber_want want)
{
    x->want = want;
    http_fiber_yield(x->fiber);
}

static enum err mhd_body_more(struct http_exchange *e, const void **data, size_t *n)
{
    struct mhd_exchange *x = (struct mhd_exchange *)e;
    switch_for(x, WANT_BODY);
    *data = e->piece;
    *n = e->piece_n;
    return e->failed;
}

static enum err mhd_respond(struct http_exchange *e)
{
    struct mhd_exchange *x = (struct mhd_exchange *)e;
    if (e->early)
        return raw_respond(x);
    if (e->length >= 0 && e->length <= WHOLE_ANSWER_MAX && !e->discards) {
        x->whole = arena_alloc(&e->arena, (size_t)e->length + 1);
        return OK;
    }
    switch_for(x, WANT_QUEUE);
    return e->failed;
}

static enum err mhd_write(struct http_exchange *e, const void *data, size_t n, bool at_once)
{
    struct mhd_exchange *x = (struct mhd_exchange *)e;
    if (e->early)
        return raw_write(x, data, n);
    if (x->whole) {
        memcpy(x->whole + (e->written - n), data, n);
        return OK;
    }
    const char *at = data;
    while (n) {
        if (x->out_n == x->out_max) {
            switch_for(x, WANT_SEND);
            if (e->failed)
                return e->failed;
            continue;
        }
        size_t room = x->out_max - x->out_n;
        size_t part = n < room ? n : room;
        memcpy(x->out + x->out_n, at, part);
        x->out_n += part;
        at += part;
        n -= part;
    }
    /* The last piece needs no switch: the handler's end sends it. */
    bool last = e->length >= 0 && e->written == (uint64_t)e->length;
    if (at_once && !last)
        switch_for(x, WANT_SEND);
    return e->failed;
}

static struct sys_socket *mhd_socket(struct http_exchange *e)
{
    struct http_connection *c = ((struct mhd_exchange *)e)->connection;
    if (!c->borrowed)
        sys_socket_borrow(c->descriptor, &c->borrowed);
    return c->borrowed;
}

const struct http_carrier mhd_carrier = {mhd_body_more, mhd_respond, mhd_write, mhd_socket};

static void unanswered(struct mhd_exchange *x)
{
    const struct http_server_config *c = &x->server->config;
    char body[1024];
    size_t n =
        c->refusal_body ? c->refusal_body(c->app, HTTP_REFUSED_UNANSWERED, body, sizeof body) : 0;
    struct http_headers h;
    http_headers_init(&h, &x->base.arena);
    if (n)
        http_headers_add(&h, "Content-Type", "application/xml");
    if (http_respond(&x->base, 500, &h, (int64_t)n) == OK && http_body_write(&x->base, body, n))
        http_abort(&x->base);
}

static void fiber_run(void *arg)
{
    struct mhd_exchange *x = arg;
    x->server->config.handler(&x->base, x->server->config.app);
    if (!x->base.responded && !x->base.failed)
        unanswered(x);
    x->finished = true;
}

/* ---- on the connection's thread ---- */

/* Runs the fiber until it wants something or is done. */
static void run(struct mhd_exchange *x)
{
    if (x->finished)
        return;
    connection_phase(x->connection, PHASE_HANDLER);
    x->want = WANT_NOTHING;
    http_fiber_resume(x->fiber);
}

static ssize_t mhd_reader(void *arg, uint64_t at, char *out, size_t max)
{
    struct mhd_exchange *x = arg;
    (void)at;
    x->out = out;
    x->out_n = 0;
    x->out_max = max;
    run(x);
    x->out_max = 0;
    size_t n = x->out_n;
    x->out_n = 0;
    connection_phase(x->connection, PHASE_SEND);
    if (x->base.aborted)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (n)
        return (ssize_t)n;
    return http_exchange_complete(&x->base) ? MHD_CONTENT_READER_END_OF_STREAM
                                            : MHD_CONTENT_READER_END_WITH_ERROR;
}

/* The library takes no value that is empty: for whoever receives it a blank is as good as none. */
static const char *value_for(const char *value)
{
    return value[0] ? value : " ";
}

static bool headers_queue(struct mhd_exchange *x, struct MHD_Response *response)
{
    const struct http_headers *h = &x->base.response;
    for (size_t i = 0; i < h->n; i++)
        if (MHD_add_response_header(response, h->v[i].name, value_for(h->v[i].value)) != MHD_YES)
            return false;
    MHD_add_response_header(response, "Server", x->server->config.server_name);
    if (atomic_load(&x->server->draining))
        MHD_add_response_header(response, "Connection", "close");
    return true;
}

static enum MHD_Result queue(struct mhd_exchange *x)
{
    struct http_exchange *e = &x->base;
    struct MHD_Response *response;
    if (x->whole) {
        response =
            MHD_create_response_from_buffer((size_t)e->length, x->whole, MHD_RESPMEM_PERSISTENT);
    } else {
        uint64_t size = e->length < 0 ? MHD_SIZE_UNKNOWN : (uint64_t)e->length;
        size_t block = e->discards || size == 0 ? 1 : BLOCK_BYTES;
        response = MHD_create_response_from_callback(size, block, mhd_reader, x, NULL);
    }
    if (!response)
        return MHD_NO;
    enum MHD_Result result = MHD_NO;
    if (headers_queue(x, response)) {
        x->queued = true;
        result = MHD_queue_response(x->mhd, (unsigned)e->status, response);
    }
    MHD_destroy_response(response);
    if (result == MHD_YES && e->discards)
        run(x); /* whatever it writes goes nowhere: it never switches again */
    connection_phase(x->connection, PHASE_SEND);
    return result;
}

/* After the fiber has run: what its thread does next. */
static enum MHD_Result follow(struct mhd_exchange *x)
{
    struct http_exchange *e = &x->base;
    if (e->responded && e->early) {
        assert(x->finished); /* a raw answer never switches */
        raw_finish(x);
        return MHD_NO;
    }
    if (x->finished) {
        if (x->whole && http_exchange_complete(e))
            return queue(x);
        return MHD_NO;
    }
    if (x->want == WANT_QUEUE)
        return queue(x);
    assert(x->want == WANT_BODY);
    connection_phase(x->connection, PHASE_BODY);
    return MHD_YES;
}

static enum MHD_Result refuse(struct mhd_exchange *x, enum http_refusal why)
{
    x->finished = true;
    sys_mutex_lock(&x->server->mutex);
    x->server->refused++;
    sys_mutex_unlock(&x->server->mutex);
    connection_phase(x->connection, PHASE_HANDLER);
    raw_refuse(x->connection, why, true);
    return MHD_NO;
}

static enum MHD_Result start(struct mhd_exchange *x)
{
    x->fiber = http_fiber_get(x->server->fibers);
    if (!x->fiber)
        return refuse(x, HTTP_REFUSED_BUSY);
    sys_mutex_lock(&x->server->mutex);
    x->server->requests++;
    x->server->in_flight++;
    sys_mutex_unlock(&x->server->mutex);
    connection_phase(x->connection, PHASE_HANDLER);
    http_fiber_start(x->fiber, fiber_run, x);
    return follow(x);
}

static enum MHD_Result begin(struct mhd_exchange *x, const char *method, const char *version)
{
    enum http_refusal why;
    x->begun = true;
    if (!mhd_head(x, method, version, &why))
        return refuse(x, why);
    if (x->connection->over)
        return refuse(x, HTTP_REFUSED_BUSY);
    x->base.body_ended = x->base.request.body_kind == HTTP_BODY_NONE;
    /* An answer queued now would cost the connection, in case a body comes after all: without a body
     * the next call is the one that begins. */
    return x->base.body_ended ? MHD_YES : start(x);
}

enum MHD_Result mhd_access(void *server, struct MHD_Connection *mhd, const char *url,
                           const char *method, const char *version, const char *data, size_t *n,
                           void **context)
{
    struct mhd_exchange *x = *context;
    (void)server;
    (void)mhd;
    (void)url;
    if (!x)
        return MHD_NO;
    if (!x->begun)
        return begin(x, method, version);
    if (x->finished || x->queued)
        return MHD_NO;
    if (!x->fiber)
        return *n ? MHD_NO : start(x);
    if (*n) {
        x->base.piece = (const uint8_t *)data;
        x->base.piece_n = *n;
        *n = 0;
    } else {
        x->base.piece = NULL;
        x->base.piece_n = 0;
    }
    run(x);
    return follow(x);
}

/* The first that is heard of a request: its target, before anything is decoded. */
void *mhd_target(void *server, const char *target, struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    if (!info || !info->socket_context)
        return NULL;
    struct mhd_exchange *x = sys_alloc(sizeof *x);
    http_exchange_init(&x->base, &mhd_carrier);
    x->server = server;
    x->connection = info->socket_context;
    x->mhd = mhd;
    x->base.request.target = arena_string(&x->base.arena, target);
    return x;
}

static enum err failure(const struct mhd_exchange *x, enum MHD_RequestTerminationCode code)
{
    if (atomic_load(&x->connection->reaped))
        return ERR_TOO_SLOW;
    bool in_body = !x->base.responded && code == MHD_REQUEST_TERMINATED_WITH_ERROR;
    return in_body ? ERR_FORMAT : ERR_CLIENT_GONE;
}

void mhd_completed(void *arg, struct MHD_Connection *mhd, void **context,
                   enum MHD_RequestTerminationCode code)
{
    struct http_server *server = arg;
    struct mhd_exchange *x = *context;
    (void)mhd;
    *context = NULL;
    if (!x)
        return;
    if (x->fiber && !x->finished) {
        /* Also after "completed ok": the last bytes left while the handler had not returned. */
        x->base.failed = failure(x, code);
        x->base.piece_n = 0;
        run(x);
        assert(x->finished);
    }
    connection_phase(x->connection, PHASE_HEADERS);
    if (x->fiber) {
        http_fiber_put(server->fibers, x->fiber);
        sys_mutex_lock(&server->mutex);
        server->in_flight--;
        sys_mutex_unlock(&server->mutex);
    }
    http_exchange_release(&x->base);
    sys_free(x);
}
