/* What both sides need of sockets and frames: slices, whole sends and receives, packed frames. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <protobuf-c/protobuf-c.h>
#include "common/rpc/frame.h"
#include "common/rpc/rpc_peer.h"
#include "common/sys/sys.h"

/* Drops the first done bytes; returns how many slices are left (moved to the front). */
size_t slices_advance(struct sys_slice *v, size_t n, size_t done);
/* All bytes, or an error. Each wait for progress ends at deadline, or after progress ns (0: no such
 * limit) without a byte, whichever is first. */
enum err socket_send_all(struct sys_socket *s, struct sys_slice *v, size_t n, int64_t deadline,
                         int64_t progress) MUST_USE;
enum err socket_recv_all(struct sys_socket *s, void *out, size_t n, int64_t deadline,
                         int64_t progress) MUST_USE;

/* The ms that a deadline leaves, for a frame's header: at least 1; 0 for SYS_FOREVER. */
uint32_t deadline_to_ms(int64_t deadline, int64_t now);

/* Header and body in one block of sys_alloc: fills h's body length and CRC. body may be NULL.
 * ERR_TOO_BIG. */
enum err frame_pack(struct frame_header *h, const ProtobufCMessage *body, uint8_t **out,
                    size_t *n) MUST_USE;
/* The same to a place that has frame_packed_size bytes. */
size_t frame_packed_size(const ProtobufCMessage *body);
void frame_pack_to(struct frame_header *h, const ProtobufCMessage *body, size_t size, uint8_t *out);

uint64_t epoch_mine(const struct rpc_epoch *e);
void epoch_seen(const struct rpc_epoch *e, uint64_t epoch);
