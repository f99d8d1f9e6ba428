/* The greeting, step by step as hello.h draws it. Bodies are kept as they travelled, since the
 * proofs cover bytes, not meanings. */
#include "common/rpc/handshake_internal.h"
#include <assert.h>
#include <string.h>
#include "common/base/digest.h"
#include "common/rpc/frame.h"
#include "common/rpc/wire_internal.h"

struct letter {
    struct frame_header header;
    uint8_t body[HELLO_MAX_BYTES + SHA256_BYTES];
    size_t n;
};

static enum err send_letter(struct sys_socket *s, uint16_t type, enum err status, const void *body,
                            size_t n, int64_t deadline)
{
    struct frame_header h = {.type = type, .body_length = (uint32_t)n, .status = status};
    h.flags = type == FRAME_TYPE_WELCOME ? FRAME_REPLY : 0;
    h.body_crc = crc32c(0, body, n);
    uint8_t header[FRAME_HEADER_BYTES];
    frame_encode(&h, header);
    struct sys_slice v[2] = {{header, sizeof header}, {body, n}};
    return socket_send_all(s, v, n ? 2 : 1, deadline, 0);
}

/* Expects a frame of one type, or a refusal. */
static enum err recv_letter(struct sys_socket *s, uint16_t type, int64_t deadline,
                            struct letter *out)
{
    uint8_t header[FRAME_HEADER_BYTES];
    enum err e = socket_recv_all(s, header, sizeof header, deadline, 0);
    if (!e)
        e = frame_decode(header, &out->header);
    if (e)
        return e;
    out->n = out->header.body_length;
    if (out->n > sizeof out->body || out->header.payload_length > 0)
        return ERR_FORMAT;
    e = socket_recv_all(s, out->body, out->n, deadline, 0);
    if (!e)
        e = frame_check_body(&out->header, out->body);
    if (e)
        return e;
    if (out->header.type == FRAME_TYPE_WELCOME && out->header.status != OK)
        return err_from_wire(out->header.status);
    return out->header.type == type ? OK : ERR_FORMAT;
}

static bool is_zero(const struct uuid *u)
{
    static const struct uuid zero = {{0}};
    return uuid_equal(u, &zero);
}

static void make_hello(const struct rpc_identity *self, const struct rpc_key *key,
                       enum rpc_kind kind, uint8_t out[HELLO_BYTES])
{
    struct hello h = {.version = RPC_VERSION, .kind = kind, .key_id = key->id, .identity = *self};
    sys_random(h.nonce, sizeof h.nonce);
    hello_encode(&h, out);
}

static enum err check_server(const struct letter *l, const struct rpc_identity *self,
                             const struct rpc_key *key, const uint8_t mine[HELLO_BYTES],
                             struct hello *server)
{
    if (l->n < HELLO_BYTES + SHA256_BYTES)
        return ERR_FORMAT;
    size_t hello_n = l->n - SHA256_BYTES;
    enum err e = hello_decode(l->body, hello_n, server);
    if (e)
        return e;
    uint8_t proof[SHA256_BYTES];
    hello_proof(key, true, mine, HELLO_BYTES, l->body, hello_n, proof);
    if (server->key_id != key->id || !equal_constant_time(proof, l->body + hello_n, sizeof proof))
        return ERR_AUTHENTICATION;
    if (!is_zero(&self->cluster) && !uuid_equal(&self->cluster, &server->identity.cluster))
        return ERR_FOREIGN_CLUSTER;
    return OK;
}

enum err handshake_client(struct sys_socket *s, const struct rpc_identity *self,
                          const struct rpc_keys *keys, enum rpc_kind kind, int64_t deadline,
                          struct hello *server)
{
    assert(keys->count > 0);
    const struct rpc_key *key = &keys->key[0];
    uint8_t mine[HELLO_BYTES], proof[SHA256_BYTES];
    struct letter l;
    make_hello(self, key, kind, mine);
    enum err e = send_letter(s, FRAME_TYPE_HELLO, OK, mine, sizeof mine, deadline);
    if (!e)
        e = recv_letter(s, FRAME_TYPE_HELLO, deadline, &l);
    if (!e)
        e = check_server(&l, self, key, mine, server);
    if (e)
        return e;
    hello_proof(key, false, mine, sizeof mine, l.body, l.n - SHA256_BYTES, proof);
    e = send_letter(s, FRAME_TYPE_PROOF, OK, proof, sizeof proof, deadline);
    return e ? e : recv_letter(s, FRAME_TYPE_WELCOME, deadline, &l);
}

/* What the server thinks of a hello; *key is the one to prove with. */
static enum err judge_client(const struct letter *l, const struct rpc_identity *self,
                             const struct rpc_keys *keys, bool full, struct hello *client,
                             const struct rpc_key **key)
{
    if (l->n > HELLO_MAX_BYTES)
        return ERR_FORMAT;
    enum err e = hello_decode(l->body, l->n, client);
    if (e)
        return e;
    if (full)
        return ERR_BUSY;
    if (!is_zero(&client->identity.cluster) &&
        !uuid_equal(&client->identity.cluster, &self->cluster))
        return ERR_FOREIGN_CLUSTER;
    *key = rpc_keys_find(keys, client->key_id);
    return *key ? OK : ERR_AUTHENTICATION;
}

enum err handshake_server(struct sys_socket *s, const struct rpc_identity *self,
                          const struct rpc_keys *keys, bool full, int64_t deadline,
                          struct hello *client)
{
    struct letter theirs, answer;
    const struct rpc_key *key;
    enum err e = recv_letter(s, FRAME_TYPE_HELLO, deadline, &theirs);
    if (e)
        return e; /* not one of us: nothing to say to it */
    e = judge_client(&theirs, self, keys, full, client, &key);
    if (e)
        goto refuse;
    uint8_t mine[HELLO_BYTES + SHA256_BYTES], proof[SHA256_BYTES];
    make_hello(self, key, client->kind, mine);
    hello_proof(key, true, theirs.body, theirs.n, mine, HELLO_BYTES, mine + HELLO_BYTES);
    e = send_letter(s, FRAME_TYPE_HELLO, OK, mine, sizeof mine, deadline);
    if (!e)
        e = recv_letter(s, FRAME_TYPE_PROOF, deadline, &answer);
    if (e)
        return e;
    hello_proof(key, false, theirs.body, theirs.n, mine, HELLO_BYTES, proof);
    if (answer.n != sizeof proof || !equal_constant_time(proof, answer.body, sizeof proof)) {
        e = ERR_AUTHENTICATION;
        goto refuse;
    }
    return send_letter(s, FRAME_TYPE_WELCOME, OK, NULL, 0, deadline);
refuse:
    if (send_letter(s, FRAME_TYPE_WELCOME, e, NULL, 0, deadline))
        return ERR_CLOSED;
    return e;
}
