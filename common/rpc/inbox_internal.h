/* The receiving end of a multiplexed (control) connection: a buffer that takes what has arrived and
 * gives whole frames. Control frames carry no payload. One thread. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "common/base/err.h"
#include "common/rpc/frame.h"
#include "common/sys/sys.h"

struct inbox {
    uint8_t *data;
    size_t capacity, start, end;
};

void inbox_init(struct inbox *b);
void inbox_release(struct inbox *b);
/* Takes what has arrived, without waiting: ERR_TIMEOUT when nothing has, ERR_CLOSED at the end. */
enum err inbox_fill(struct inbox *b, struct sys_socket *s) MUST_USE;
/* The next whole frame; body points into the buffer until the next fill. ERR_EMPTY: it has not all
 * arrived. Anything else: the connection is to be closed. */
enum err inbox_next(struct inbox *b, struct frame_header *h, const uint8_t **body) MUST_USE;
