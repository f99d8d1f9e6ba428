/* One bulk connection as the client sees it: the receiving of one reply, as far as it has arrived.
 * Never waits. Header and body come through a small buffer, the payload straight to its place. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/base/err.h"
#include "common/rpc/frame.h"
#include "common/sys/sys.h"

enum { LINK_INPUT_BYTES = 512 };
enum link_phase { LINK_HEADER, LINK_BODY, LINK_PAYLOAD, LINK_DONE };

struct link {
    struct link *next, *previous; /* in one of the pool's lists */
    struct sys_socket *socket;
    int64_t until; /* idle: when to close it; draining: when to give up */
    bool idled;    /* has been in use before: what broke it may be older than this use */
    /* the reply that is due */
    uint64_t call;
    enum link_phase phase;
    bool discard;
    struct frame_header header;
    uint8_t *body; /* sys_alloc; the caller may take it when done */
    size_t body_got;
    uint8_t *into;
    size_t into_bytes, payload_got;
    uint32_t payload_crc;
    size_t input_start, input_end;
    uint8_t input[LINK_INPUT_BYTES];
};

struct link *link_new(struct sys_socket *socket);
void link_free(struct link *l); /* closes the socket */
/* A reply to this call is due, its payload to go to into. */
void link_expect(struct link *l, uint64_t call, void *into, size_t into_bytes);
/* Nobody wants it any more. */
void link_discard(struct link *l);
/* Takes what has arrived. OK: the reply is whole (phase LINK_DONE). ERR_TIMEOUT: more is to come;
 * *moved says whether any did. Else the connection is over: ERR_CLOSED, ERR_FORMAT, ERR_CORRUPT,
 * ERR_TOO_BIG. */
enum err link_receive(struct link *l, bool *moved) MUST_USE;
