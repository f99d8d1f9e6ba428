/* Who is at the other end: the versioned, mutually authenticated greeting of a new connection.
 *
 *   client -> server   HELLO    its identity, key id, random nonce
 *   server -> client   HELLO    the same, and HMAC-SHA256(key, "cairn server" || hello C || hello S)
 *   client -> server   PROOF    HMAC-SHA256(key, "cairn client" || hello C || hello S)
 *   server -> client   WELCOME  status 0; any refusal is a WELCOME with its error, at any point
 *
 * Each proof covers both nonces and both identities, so none can be replayed, reflected or bound to
 * another pair. The key itself never travels. A client that does not know its cluster yet sends a
 * zero uuid and learns it from a server that holds the same key.
 *
 * The hello's bytes (little-endian): version u16, role u8, kind u8, feature level u32, key id u32,
 * reserved u32 = 0, node id u64, cluster uuid 16, nonce 32; then anything a later version adds.
 * Codec and proofs are pure; the exchange itself is in handshake_internal.h. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/base/err.h"
#include "common/base/ids.h"

enum {
    RPC_VERSION = 1,
    RPC_KEY_BYTES = 32,
    RPC_NONCE_BYTES = 32,
    RPC_KEYS_MAX = 4,
    HELLO_BYTES = 72,
    HELLO_MAX_BYTES = 512,
};

enum rpc_role { RPC_METADATA = 1, RPC_CHUNK = 2, RPC_GATEWAY = 3, RPC_ADMIN = 4 };
enum rpc_kind { RPC_CONTROL = 1, RPC_BULK = 2 };

/* One's own, fixed while a server or node lives. */
struct rpc_identity {
    struct uuid cluster; /* zero: unknown yet (clients only) */
    uint64_t node_id;    /* member id, chunkserver id, or random per process start */
    enum rpc_role role;
    uint32_t feature_level;
};
/* The cluster key; while it is being rotated, the new one and the old. */
struct rpc_key {
    uint32_t id;
    uint8_t bytes[RPC_KEY_BYTES];
};
/* The first is used for one's own connections, any of them for those that come. */
struct rpc_keys {
    struct rpc_key key[RPC_KEYS_MAX];
    size_t count;
};

struct hello {
    uint16_t version;
    enum rpc_kind kind;
    uint32_t key_id;
    struct rpc_identity identity;
    uint8_t nonce[RPC_NONCE_BYTES];
};

void hello_encode(const struct hello *h, uint8_t out[HELLO_BYTES]);
/* ERR_FORMAT: too short, unknown role or kind. ERR_UNSUPPORTED: version 0. */
enum err hello_decode(const void *data, size_t n, struct hello *out) MUST_USE;
/* The proof of one side (of_server or of the client) over both hellos as they travelled. */
void hello_proof(const struct rpc_key *key, bool of_server, const void *client_hello,
                 size_t client_n, const void *server_hello, size_t server_n, uint8_t out[32]);
/* NULL when there is none of that id. */
const struct rpc_key *rpc_keys_find(const struct rpc_keys *keys, uint32_t id);
