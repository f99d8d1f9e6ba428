/* What a request carries through every layer: until when, under which trace, and whether whoever
 * asked is still there. Made once where the request enters, passed by pointer, never changed. */
#pragma once
#include <stdint.h>

struct sys_socket;
struct sys_event;

struct request_context {
    int64_t deadline;          /* absolute, monotonic ns (sys_now); SYS_FOREVER only in tests */
    uint64_t trace;            /* travels in every frame; 0: none */
    struct sys_socket *client; /* NULL, or the requester's socket: its hang-up ends a gather */
    struct sys_event *cancel;  /* NULL, or set when the request is to end: ends a gather */
};
