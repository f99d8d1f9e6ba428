/* What the carriers of an exchange (http_mhd*.c, http_memory.c) share with http.c. */
#pragma once
#include "gateway/http.h"

/* A carrier. body_more and write may switch away from the handler; none is called once
 * exchange.failed is set. */
struct http_carrier {
    /* The next piece of the body; *n = 0 at its end. */
    enum err (*body_more)(struct http_exchange *e, const void **data, size_t *n);
    /* Begins the answer described by status, response, length, chunked, discards and early. */
    enum err (*respond)(struct http_exchange *e);
    enum err (*write)(struct http_exchange *e, const void *data, size_t n, bool at_once);
    struct sys_socket *(*socket)(struct http_exchange *e);
};

struct http_exchange {
    const struct http_carrier *carrier;
    struct http_request request;
    struct arena arena;
    const uint8_t *piece; /* what is left of the piece at hand */
    size_t piece_n;
    uint64_t body_seen; /* bytes that pieces have brought */
    bool body_asked;    /* the carrier has been asked: a waiting client has been told to send */
    bool body_ended;
    bool responded;
    bool early;    /* the answer came before the body's end: close after it */
    bool discards; /* HEAD, 204, 304: announce, send nothing */
    bool aborted;
    bool spaced; /* http_keepalive_space has answered */
    int status;
    int64_t length; /* or HTTP_CHUNKED */
    uint64_t written;
    struct http_headers response;
    enum err failed; /* sticky */
};

/* request must have its arena set to &e->arena by the caller afterwards. */
void http_exchange_init(struct http_exchange *e, const struct http_carrier *carrier);
void http_exchange_release(struct http_exchange *e);
/* Whether the answer is whole: all announced bytes written, not cut. */
bool http_exchange_complete(const struct http_exchange *e);

/* Fills path, query, body_kind, body_length and expects_continue from the rest, or says why the
 * request is refused (0: it is not). version: "HTTP/1.1". Pure. */
struct http_limits {
    size_t target_bytes_max, header_bytes_max;
};
bool http_request_check(struct http_request *r, const char *version, const struct http_limits *l,
                        enum http_refusal *why);

const char *http_status_text(int status);
int http_refusal_status(enum http_refusal why);
