/* An exchange in memory: what the simulator, unit tests and fuzzing hand to a handler.
 *
 * The caller describes a request, runs the handler as it would run on a connection, and reads the
 * answer. The request passes the same checks as one from a socket. */
#pragma once
#include "gateway/http.h"

struct http_memory {
    /* in */
    const char *method, *target;
    const struct http_header *headers; /* Host and Content-Length are added when missing */
    size_t headers_n;
    const void *body;
    size_t body_n;
    size_t piece_bytes;  /* the body comes in pieces of this size; 0: in one */
    size_t body_gone_at; /* after so many bytes the client is gone; 0: never */
    bool chunked;        /* the length is not announced */
    bool lengthless;     /* no framing at all, not even a length of 0 */
    /* Instead of body, when not NULL: the next piece, *n = 0 at the end. With chunked, or with
     * body_n as the length. */
    enum err (*produce)(void *arg, const void **data, size_t *n);
    /* When not NULL, takes the answer's body instead of it being kept. */
    enum err (*consume)(void *arg, const void *data, size_t n);
    void *arg;
    struct sys_socket *socket; /* what http_socket returns; may be NULL */

    /* out; pointers live until http_memory_release */
    bool refused;   /* by http_request_check: status says how, no handler ran */
    bool continued; /* the client was told to send its body */
    bool complete;  /* the answer is whole */
    bool closes;    /* the connection would be closed after it */
    int status;     /* 0: never answered */
    int64_t length;
    struct http_headers answer;
    char *answer_body; /* NUL-terminated */
    size_t answer_body_n;
    struct arena arena;
};
void http_memory_run(struct http_memory *m, http_handler *handler, void *app);
void http_memory_release(struct http_memory *m);
