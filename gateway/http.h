/* The HTTP edge: one straight-line function per request, whatever carries the request.
 *
 * A handler reads the body, answers, writes the answer's body and returns. Two carriers stand behind
 * these calls: libmicrohttpd on real sockets (http_mhd*.c: a thread per connection, each request a
 * fiber on its connection's thread) and plain memory (http_memory.h, for simulation and tests).
 *
 * An exchange is used by the one thread that runs its handler. All pointers in the request live in
 * the exchange's arena, until the handler has returned. What reaches a handler has unambiguous
 * framing: header names are tokens, values hold no control characters but tab, at most one of
 * Content-Length and Transfer-Encoding, a target that begins with '/'. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/base/arena.h"
#include "common/base/err.h"
#include "common/base/timeouts.h"
#include "common/sys/sys.h"

struct http_exchange;

/* ---- header lists ---- */

struct http_header {
    const char *name, *value;
};
struct http_headers {
    struct arena *arena;
    struct http_header *v;
    size_t n, max;
};
void http_headers_init(struct http_headers *h, struct arena *arena);
/* Copies both. Control characters in the value become spaces: no value can end a header. */
void http_headers_add(struct http_headers *h, const char *name, const char *value);
void http_headers_addf(struct http_headers *h, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The first of that name, ASCII case folded; NULL when there is none. */
const char *http_headers_get(const struct http_headers *h, const char *name);
size_t http_headers_count(const struct http_headers *h, const char *name);

/* ---- the request ---- */

enum http_body_kind {
    HTTP_BODY_NONE,
    HTTP_BODY_LENGTH,  /* body_length bytes */
    HTTP_BODY_CHUNKED, /* the length is known at its end */
};
struct http_request {
    const char *method; /* as sent: upper case is not enforced */
    const char *target; /* as sent, nothing decoded: "/b/a%2F..//x?list-type=2" */
    const char *path;   /* the target up to the first '?' */
    const char *query;  /* what follows it; NULL without a '?' */
    struct http_headers headers;
    enum http_body_kind body_kind;
    uint64_t body_length;
    bool expects_continue;
    struct sys_addr peer;
    struct arena *arena; /* the handler's too: freed after it has returned */
    int64_t received;    /* sys_now when the headers were complete */
};
const struct http_request *http_request(const struct http_exchange *e);
/* Short for http_headers_get on the request's. */
const char *http_request_header(const struct http_exchange *e, const char *name);

/* ---- its body ---- */

/* At most max bytes of the body, at least one; *n = 0 at its end. The first call tells a waiting
 * client to send (100 Continue): call it when the request is known to be admissible.
 * ERR_CLIENT_GONE, ERR_TOO_SLOW (below the least rate), ERR_TRUNCATED, ERR_FORMAT (bad chunking). */
enum err http_body_read(struct http_exchange *e, void *out, size_t max, size_t *n) MUST_USE;
/* The same without a copy: the bytes at hand, valid until the next call on this exchange; *n = 0 at
 * the end. http_body_take then says how many of them were used. */
enum err http_body_peek(struct http_exchange *e, const void **data, size_t *n) MUST_USE;
void http_body_take(struct http_exchange *e, size_t n);

/* ---- the answer ---- */

#define HTTP_CHUNKED INT64_C(-1)
/* Once per exchange, at any time: when the body has not been read, the rest is dropped, and unless
 * that is little the connection closes after the answer. length: the bytes that will be written, or
 * HTTP_CHUNKED. headers may be NULL. Content-Length, Connection, Date and Server are added here and
 * must not be among headers. On HEAD (and for 204 and 304) the length is announced and whatever is
 * written is discarded. An OK does not say that the client has received anything. */
enum err http_respond(struct http_exchange *e, int status, const struct http_headers *headers,
                      int64_t length) MUST_USE;
bool http_responded(const struct http_exchange *e);
/* Copies the bytes on their way out; may wait for the client. Small pieces are gathered, from
 * 32 KiB on a piece is on its way when this returns. */
enum err http_body_write(struct http_exchange *e, const void *data, size_t n) MUST_USE;
/* For an answer that takes long (CopyObject): the first call answers 200 with chunked
 * application/xml and these headers, each call sends a space. From then on http_respond is over: write
 * the result, or the error as XML, without an XML declaration: that would have to come first. */
enum err http_keepalive_space(struct http_exchange *e, const struct http_headers *headers) MUST_USE;
bool http_kept_alive(const struct http_exchange *e); /* it has answered */
/* After http_respond: cuts the connection, so that the client sees a short body, never a wrong one.
 * A handler that returns having written too little does the same. */
void http_abort(struct http_exchange *e);

/* The connection, for sys_poll: SYS_HANGUP when the client leaves while the handler waits for
 * something else. NULL when there is none to watch. Owned by the exchange; never read from it. */
struct sys_socket *http_socket(struct http_exchange *e);

/* ---- the server on real sockets ---- */

/* Returns = exchange over; when it never answered, the edge answers 500. */
typedef void http_handler(struct http_exchange *e, void *app);

/* What the edge refuses by itself, before a handler sees it. */
enum http_refusal {
    HTTP_REFUSED_FRAMING,    /* 400: ambiguous or malformed */
    HTTP_REFUSED_TARGET,     /* 414: the target is too long */
    HTTP_REFUSED_HEADERS,    /* 431: the header section is too long */
    HTTP_REFUSED_VERSION,    /* 505 */
    HTTP_REFUSED_BUSY,       /* 503: more connections than connections_max */
    HTTP_REFUSED_SLOW,       /* 400: body below the least rate */
    HTTP_REFUSED_UNANSWERED, /* 500: the handler returned without an answer */
};

struct http_server_config {
    struct sys_addr listen;       /* port 0: any free one, see http_server_addr */
    size_t connections_max;       /* beyond: 503 and close */
    size_t connection_pool_bytes; /* per connection; a piece of a body is at most half of it */
    size_t target_bytes_max;
    size_t header_bytes_max;         /* all headers together, without the request line */
    size_t fiber_stack_bytes;        /* what a handler may use */
    int64_t headers_timeout;         /* from a request's first byte to the end of its headers */
    int64_t idle_timeout;            /* between requests */
    uint64_t least_rate_bytes_per_s; /* measured over rate_window of waiting for the client */
    int64_t rate_window;
    int64_t reaper_interval;
    uint64_t drain_bytes_max; /* after an early answer, so that it is not lost to a reset */
    int64_t drain_timeout;
    const char *server_name; /* the Server header */
    /* The body (application/xml) of a refusal; returns its length (<= max). NULL: no body. */
    size_t (*refusal_body)(void *app, enum http_refusal why, char *out, size_t max);
    http_handler *handler;
    void *app; /* given to both; the caller's, outlives the server */
};
void http_server_config_default(struct http_server_config *c, const struct timeouts *t);

struct http_server;
/* ERR_ADDRESS_IN_USE, ERR_INVALID, ERR_BUSY. The config is copied, but for what it points at. */
enum err http_server_start(struct http_server **out, const struct http_server_config *c) MUST_USE;
struct sys_addr http_server_addr(const struct http_server *s);
struct http_server_stats {
    size_t connections, in_flight;
    uint64_t accepted, requests, refused, reaped;
};
void http_server_stats(struct http_server *s, struct http_server_stats *out);
/* Accepts no more, closes idle connections, lets requests in flight finish, each with
 * Connection: close. ERR_TIMEOUT when some are left at the deadline. */
enum err http_server_drain(struct http_server *s, int64_t deadline) MUST_USE;
/* Cuts what is left: handlers see ERR_CLIENT_GONE (or SYS_HANGUP on http_socket) and must return.
 * Afterwards no thread, socket or buffer of the server is left. */
void http_server_stop(struct http_server *s);
