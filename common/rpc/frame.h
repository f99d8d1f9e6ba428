/* One frame of the wire protocol between servers. This file owns the format; pure.
 *
 *   offset size
 *    0     4   magic 0x314e5243 ("CRN1": the format's version is in it)
 *    4     2   message type (common/proto/message_types.h; from 0xff00 on: rpc's own)
 *    6     2   flags (enum frame_flag; unknown ones are refused)
 *    8     8   call id: chosen by the caller, never used twice on a connection; a reply repeats it
 *   16     4   body length: a packed protobuf message, at most FRAME_BODY_MAX
 *   20     4   payload length: raw bytes, at most FRAME_PAYLOAD_MAX
 *   24     4   request: ms until the caller's deadline (0: none); reply: enum err, two's complement
 *   28     4   CRC32C of the payload; 0 when FRAME_PAYLOAD_CHECKED_ELSEWHERE or empty
 *   32     8   the sender's map epoch (0: knows none)
 *   40     8   trace id (0: none)
 *   48     4   CRC32C of the body
 *   52     4   CRC32C of bytes 0..51
 *   56         body, then payload
 *
 * All little-endian. Invariants:
 *   1. lengths are believed only after the header's own CRC has held and they are within the caps;
 *   2. nothing is allocated before 1;
 *   3. a reply has FRAME_REPLY and the type and call id of its request. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/base/err.h"

enum {
    FRAME_HEADER_BYTES = 56,
    FRAME_BODY_MAX = 1024 * 1024 + 64 * 1024, /* a command or append batch of 1 MiB and its frame */
    FRAME_PAYLOAD_MAX = 4 * 1024 * 1024,
};
#define FRAME_MAGIC UINT32_C(0x314e5243)

enum frame_flag {
    FRAME_REPLY = 1,
    FRAME_ONE_WAY = 2, /* no reply will come */
    FRAME_STREAM = 4,  /* belongs to a stream: answered once, after FRAME_LAST or an error */
    FRAME_LAST = 8,    /* the stream's last frame */
    FRAME_PAYLOAD_CHECKED_ELSEWHERE = 16, /* the body carries checksums of the payload */
    FRAME_FLAGS_KNOWN = 31,
};

/* rpc's own message types. */
enum {
    FRAME_TYPE_HELLO = 0xff00,
    FRAME_TYPE_PROOF = 0xff01,
    FRAME_TYPE_WELCOME = 0xff02,
    FRAME_TYPE_PING = 0xff03,
    FRAME_TYPE_CANCEL = 0xff04, /* the call of this id is given up: answer it once, if not yet */
    FRAME_TYPE_OWN = 0xff00,    /* the first */
};

struct frame_header {
    uint16_t type, flags;
    uint64_t call;
    uint32_t body_length, payload_length;
    uint32_t deadline_ms; /* requests */
    int32_t status;       /* replies */
    uint32_t payload_crc, body_crc;
    uint64_t epoch, trace;
};

/* Lengths over the caps assert: they are the sender's own. */
void frame_encode(const struct frame_header *h, uint8_t out[FRAME_HEADER_BYTES]);
/* ERR_FORMAT: magic, flags. ERR_CORRUPT: CRC. ERR_TOO_BIG: lengths. */
enum err frame_decode(const uint8_t in[FRAME_HEADER_BYTES], struct frame_header *out) MUST_USE;
/* ERR_CORRUPT when the body does not match the header. */
enum err frame_check_body(const struct frame_header *h, const void *body) MUST_USE;
