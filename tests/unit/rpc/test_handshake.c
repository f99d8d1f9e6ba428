/* The greeting against liars: a side that does not know the key and pretends it does, on either end,
 * is found by the other end alone. */
#include "common/rpc/wire_internal.h"
#include "tests/unit/rpc/rig.h"

static void send_frame(struct sys_socket *s, uint16_t type, const void *body, size_t n)
{
    struct frame_header h = {.type = type, .body_length = (uint32_t)n};
    h.flags = type == FRAME_TYPE_WELCOME ? FRAME_REPLY : 0;
    h.body_crc = crc32c(0, body, n);
    uint8_t bytes[FRAME_HEADER_BYTES];
    frame_encode(&h, bytes);
    struct sys_slice v[2] = {{bytes, sizeof bytes}, {body, n}};
    CHECK_OK(socket_send_all(s, v, n ? 2 : 1, sys_now() + SYS_SECOND, 0));
}

static enum err recv_frame(struct sys_socket *s, struct frame_header *h, uint8_t body[1024])
{
    uint8_t bytes[FRAME_HEADER_BYTES];
    enum err e = socket_recv_all(s, bytes, sizeof bytes, sys_now() + SYS_SECOND, 0);
    if (!e)
        e = frame_decode(bytes, h);
    return e ? e : socket_recv_all(s, body, h->body_length, sys_now() + SYS_SECOND, 0);
}

static size_t make_hello(struct rig *rig, const struct rpc_identity *who, uint8_t out[HELLO_BYTES])
{
    struct hello h = {.version = RPC_VERSION,
                      .kind = RPC_CONTROL,
                      .key_id = rig->keys.key[0].id,
                      .identity = *who};
    hello_encode(&h, out);
    return HELLO_BYTES;
}

static void client_without_the_key(void)
{
    struct rig rig;
    rig_init(&rig);
    struct sys_socket *s;
    struct frame_header h;
    uint8_t hello[HELLO_BYTES], body[1024], proof[32] = {1, 2, 3};
    for (int reflect = 0; reflect < 2; reflect++) {
        CHECK_OK(sys_connect(&rig.address, sys_now() + SYS_SECOND, &s));
        send_frame(s, FRAME_TYPE_HELLO, hello, make_hello(&rig, &rig.identity, hello));
        CHECK_OK(recv_frame(s, &h, body));
        CHECK_EQ(h.type, FRAME_TYPE_HELLO);
        CHECK_EQ(h.body_length, HELLO_BYTES + 32);
        if (reflect)
            memcpy(proof, body + HELLO_BYTES, 32); /* the server's own */
        send_frame(s, FRAME_TYPE_PROOF, proof, sizeof proof);
        CHECK_OK(recv_frame(s, &h, body));
        CHECK_EQ(h.type, FRAME_TYPE_WELCOME);
        CHECK_EQ(h.status, ERR_AUTHENTICATION);
        CHECK_ERR(recv_frame(s, &h, body), ERR_CLOSED);
        sys_socket_close(s);
    }
    rig_release(&rig);
}

/* Asks before it has proven anything. */
static void client_in_a_hurry(void)
{
    struct rig rig;
    rig_init(&rig);
    struct sys_socket *s;
    struct frame_header h;
    uint8_t hello[HELLO_BYTES], body[1024];
    CHECK_OK(sys_connect(&rig.address, sys_now() + SYS_SECOND, &s));
    send_frame(s, FRAME_TYPE_HELLO, hello, make_hello(&rig, &rig.identity, hello));
    CHECK_OK(recv_frame(s, &h, body));
    send_frame(s, T_ECHO, NULL, 0);
    CHECK_ERR(recv_frame(s, &h, body), ERR_CLOSED);
    CHECK_EQ(rig.requests, 0);
    sys_socket_close(s);
    rig_release(&rig);
}

struct liar {
    struct rig *rig;
    struct sys_socket *listener;
};

static void liar_run(void *arg)
{
    struct liar *liar = arg;
    struct sys_socket *s;
    struct frame_header h;
    uint8_t answer[HELLO_BYTES + 32] = {0}, body[1024];
    if (!CHECK_OK(sys_accept(liar->listener, sys_now() + 5 * SYS_SECOND, &s)))
        return;
    CHECK_OK(recv_frame(s, &h, body));
    make_hello(liar->rig, &liar->rig->identity, answer);
    send_frame(s, FRAME_TYPE_HELLO, answer, sizeof answer);
    if (recv_frame(s, &h, body) == OK)
        send_frame(s, FRAME_TYPE_WELCOME, NULL, 0);
    sys_socket_close(s);
}

static void server_without_the_key(void)
{
    struct rig rig;
    rig_init(&rig);
    rig_unserve(&rig);
    struct liar liar = {.rig = &rig};
    CHECK_OK(sys_listen(&rig.address, &liar.listener));
    struct sys_thread *t;
    CHECK_OK(sys_thread_start(&t, "liar", 0, liar_run, &liar));
    int64_t answer;
    CHECK_ERR(rig_call(&rig, T_ECHO, 1, SYS_SECOND, &answer), ERR_AUTHENTICATION);
    sys_thread_join(t);
    sys_socket_close(liar.listener);
    CHECK_EQ(rpc_peer_stats(rig.peer).connects, 0);
    rig_serve(&rig, 64);
    rig_release(&rig);
}

static const struct test tests[] = {{"client without the key", client_without_the_key},
                                    {"client in a hurry", client_in_a_hurry},
                                    {"server without the key", server_without_the_key},
                                    {0}};
SUITE("rpc handshake", tests)
