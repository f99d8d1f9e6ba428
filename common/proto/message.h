/* protobuf-c messages in arenas: bodies of frames, and anything else that is packed. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <protobuf-c/protobuf-c.h>
#include "common/base/arena.h"
#include "common/base/err.h"

/* Unpacks into the arena: freed with it, never by itself. ERR_FORMAT when the bytes are no such
 * message or would need far more memory than their length explains. */
enum err message_unpack(const ProtobufCMessageDescriptor *type, struct arena *arena,
                        const void *data, size_t n, ProtobufCMessage **out) MUST_USE;
/* Packs into the arena; ERR_TOO_BIG above max bytes. */
enum err message_pack(const ProtobufCMessage *message, struct arena *arena, size_t max,
                      uint8_t **out, size_t *n) MUST_USE;
