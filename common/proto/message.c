/* The allocator hands out arena memory within a budget: unpacked messages are several times larger
 * than their bytes (a two-byte empty submessage costs a whole struct), and a peer must not choose
 * that factor freely. protobuf-c answers a refused allocation by failing the whole message. */
#include "common/proto/message.h"

enum { UNPACK_FACTOR = 64, UNPACK_BASE = 64 * 1024 };

struct budget {
    struct arena *arena;
    size_t left;
};

static void *budget_alloc(void *data, size_t size)
{
    struct budget *b = data;
    if (size > b->left)
        return NULL;
    b->left -= size;
    return arena_alloc(b->arena, size);
}

static void budget_free(void *data, void *block)
{
    (void)data;
    (void)block;
}

enum err message_unpack(const ProtobufCMessageDescriptor *type, struct arena *arena,
                        const void *data, size_t n, ProtobufCMessage **out)
{
    struct budget b = {.arena = arena, .left = UNPACK_BASE + n * UNPACK_FACTOR};
    ProtobufCAllocator allocator = {budget_alloc, budget_free, &b};
    /* It takes no NULL, not even for no bytes. */
    *out = protobuf_c_message_unpack(type, &allocator, n, n ? data : (const void *)"");
    return *out ? OK : ERR_FORMAT;
}

enum err message_pack(const ProtobufCMessage *message, struct arena *arena, size_t max,
                      uint8_t **out, size_t *n)
{
    *n = protobuf_c_message_get_packed_size(message);
    if (*n > max)
        return ERR_TOO_BIG;
    *out = arena_alloc(arena, *n);
    protobuf_c_message_pack(message, *out);
    return OK;
}
