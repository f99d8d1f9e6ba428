/* What the files over libmicrohttpd share. */
#pragma once
#include <microhttpd.h>
#include <stdatomic.h>
#include "gateway/http_internal.h"
#include "gateway/http_mhd_fiber.h"

/* Whom a connection waits for; the reaper's deadlines hang on it. */
enum connection_phase {
    PHASE_HEADERS, /* the client: between requests, or in the middle of headers */
    PHASE_HANDLER, /* us */
    PHASE_BODY,    /* the client, to send */
    PHASE_SEND,    /* the client, to receive */
};

struct http_connection {
    struct http_connection *next, *previous; /* in server->connections, under its mutex */
    struct http_server *server;
    int descriptor;
    struct sys_addr peer;
    bool over;                   /* beyond connections_max: to be refused */
    struct sys_socket *borrowed; /* its thread's, made when first asked for */

    /* Written by the connection's thread, read by the reaper. */
    _Atomic int phase;
    _Atomic int64_t phase_since;
    _Atomic uint64_t requests;
    _Atomic int64_t waited; /* ns in PHASE_BODY and PHASE_SEND, without the current stay */
    _Atomic bool reaped;

    /* The reaper's own. */
    uint64_t seen_requests, seen_received;
    int64_t headers_since; /* the first byte of the headers was seen then; 0: none yet */
    int64_t window_waited;
    uint64_t window_moved;
    bool window_open;
};

struct http_server {
    struct http_server_config config;
    struct http_limits limits;
    struct sys_addr addr;
    struct MHD_Daemon *daemon;
    struct http_fiber_pool *fibers;
    struct sys_thread *reaper;
    struct sys_mutex mutex;
    struct sys_cond fewer; /* fewer connections, while draining */
    struct sys_cond wake;  /* the reaper: stopping, or draining has begun */
    struct http_connection *connections;
    size_t connections_n, in_flight;
    uint64_t accepted, requests, refused, reaped;
    bool stopping; /* under mutex */
    _Atomic bool draining;
    bool quiesced;
};

/* What the handler's fiber asks of the connection's thread when it yields. */
enum fiber_want { WANT_NOTHING, WANT_BODY, WANT_QUEUE, WANT_SEND };

struct mhd_exchange {
    struct http_exchange base; /* first */
    struct http_server *server;
    struct http_connection *connection;
    struct MHD_Connection *mhd;
    struct http_fiber *fiber;
    bool begun, finished, queued;
    enum fiber_want want;
    char *out; /* libmicrohttpd's buffer, while its reader runs */
    size_t out_n, out_max;
    char *whole; /* a small answer, gathered and then queued in one piece */
    bool raw_broken;
};

extern const struct http_carrier mhd_carrier;

/* http_mhd_raw.c: an answer in mid-body, which libmicrohttpd refuses to send. */
enum err raw_respond(struct mhd_exchange *x);
enum err raw_write(struct mhd_exchange *x, const void *data, size_t n);
void raw_finish(struct mhd_exchange *x);
/* Without drain it never waits: what does not fit is not sent. */
void raw_refuse(struct http_connection *c, enum http_refusal why, bool drain);
void raw_drain(struct http_connection *c);

/* http_mhd.c: libmicrohttpd's callbacks. */
enum MHD_Result mhd_access(void *server, struct MHD_Connection *mhd, const char *url,
                           const char *method, const char *version, const char *data, size_t *n,
                           void **context);
void *mhd_target(void *server, const char *target, struct MHD_Connection *mhd);
void mhd_completed(void *server, struct MHD_Connection *mhd, void **context,
                   enum MHD_RequestTerminationCode code);

/* http_mhd_head.c: the request as libmicrohttpd parsed it, if it is what was sent. */
bool mhd_head(struct mhd_exchange *x, const char *method, const char *version,
              enum http_refusal *why);

/* http_mhd_reaper.c */
void connection_phase(struct http_connection *c, enum connection_phase phase);
void reaper_main(void *server);
