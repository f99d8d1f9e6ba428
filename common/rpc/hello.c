/* The codec and the proofs of hello.h. */
#include "common/rpc/hello.h"
#include <assert.h>
#include <string.h>
#include "common/base/cursor.h"
#include "common/base/digest.h"

void hello_encode(const struct hello *h, uint8_t out[HELLO_BYTES])
{
    struct writer w;
    writer_init(&w, out, HELLO_BYTES);
    write_u16(&w, h->version);
    write_u8(&w, (uint8_t)h->identity.role);
    write_u8(&w, (uint8_t)h->kind);
    write_u32(&w, h->identity.feature_level);
    write_u32(&w, h->key_id);
    write_u32(&w, 0);
    write_u64(&w, h->identity.node_id);
    write_bytes(&w, h->identity.cluster.bytes, UUID_BYTES);
    write_bytes(&w, h->nonce, RPC_NONCE_BYTES);
    assert(!w.failed && writer_used(&w) == HELLO_BYTES);
}

enum err hello_decode(const void *data, size_t n, struct hello *out)
{
    struct reader r;
    reader_init(&r, data, n);
    *out = (struct hello){0};
    out->version = read_u16(&r);
    uint8_t role = read_u8(&r), kind = read_u8(&r);
    out->identity.feature_level = read_u32(&r);
    out->key_id = read_u32(&r);
    read_skip(&r, 4);
    out->identity.node_id = read_u64(&r);
    read_bytes(&r, out->identity.cluster.bytes, UUID_BYTES);
    read_bytes(&r, out->nonce, RPC_NONCE_BYTES);
    if (r.failed || n > HELLO_MAX_BYTES)
        return ERR_FORMAT;
    if (out->version == 0)
        return ERR_UNSUPPORTED;
    if (role < RPC_METADATA || role > RPC_ADMIN || kind < RPC_CONTROL || kind > RPC_BULK)
        return ERR_FORMAT;
    out->identity.role = role;
    out->kind = kind;
    return OK;
}

void hello_proof(const struct rpc_key *key, bool of_server, const void *client_hello,
                 size_t client_n, const void *server_hello, size_t server_n, uint8_t out[32])
{
    enum { LABEL = 12 };
    uint8_t text[LABEL + 4 + 2 * HELLO_MAX_BYTES];
    assert(client_n <= HELLO_MAX_BYTES && server_n <= HELLO_MAX_BYTES);
    struct writer w;
    writer_init(&w, text, sizeof text);
    write_bytes(&w, of_server ? "cairn server" : "cairn client", LABEL);
    /* The first length, so that the boundary between the two is under the proof as well. */
    write_u32(&w, (uint32_t)client_n);
    write_bytes(&w, client_hello, client_n);
    write_bytes(&w, server_hello, server_n);
    assert(!w.failed);
    hmac_sha256(key->bytes, RPC_KEY_BYTES, text, writer_used(&w), out);
}

const struct rpc_key *rpc_keys_find(const struct rpc_keys *keys, uint32_t id)
{
    for (size_t i = 0; i < keys->count && i < RPC_KEYS_MAX; i++)
        if (keys->key[i].id == id)
            return &keys->key[i];
    return NULL;
}
