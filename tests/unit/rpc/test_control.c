/* Control calls: many at once over one connection, deadlines, restarts, greetings. */
#include "tests/unit/rpc/rig.h"

static void calls(void)
{
    struct rig rig;
    rig_init(&rig);
    int64_t answer;
    for (uint32_t i = 0; i < 20; i++) {
        CHECK_OK(rig_call(&rig, T_ECHO, i, SYS_SECOND, &answer));
        CHECK_EQ(answer, i);
    }
    CHECK_EQ(rpc_peer_stats(rig.peer).connects, 1);
    CHECK_EQ(rig.last_trace, 0xabc);
    CHECK(rig.last_deadline != SYS_FOREVER && rig.last_deadline > 0);
    CHECK_EQ(rig.epoch_seen_by_server, 5);
    CHECK_EQ(rig.epoch_seen_by_node, 9);
    CHECK_ERR(rig_call(&rig, T_ERROR, 0, SYS_SECOND, &answer), ERR_STALE_PLACEMENT);
    CHECK_EQ(answer, 77);
    CHECK_ERR(rig_call(&rig, 999, 0, SYS_SECOND, &answer), ERR_UNSUPPORTED);
    rig_release(&rig);
}

struct caller {
    struct rig *rig;
    uint16_t type;
    uint32_t number;
    int64_t timeout;
    enum err result;
    int64_t answer;
    struct sys_thread *thread;
};

static void caller_run(void *arg)
{
    struct caller *c = arg;
    c->result = rig_call(c->rig, c->type, c->number, c->timeout, &c->answer);
}

static void callers_start(struct rig *rig, struct caller *v, unsigned n, uint16_t type,
                          int64_t timeout)
{
    for (unsigned i = 0; i < n; i++) {
        v[i] = (struct caller){.rig = rig, .type = type, .number = i, .timeout = timeout};
        CHECK_OK(sys_thread_start(&v[i].thread, "caller", 0, caller_run, &v[i]));
    }
}

static void callers_join(struct caller *v, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        sys_thread_join(v[i].thread);
}

static void many_in_progress(void)
{
    struct rig rig;
    rig_init(&rig);
    struct caller v[32];
    callers_start(&rig, v, 32, T_KEEP, 10 * SYS_SECOND);
    CHECK(rig_await(&rig, &rig.kept_count, 32));
    CHECK_EQ(rpc_peer_stats(rig.peer).control_pending, 32);
    CHECK_EQ(rig_answer(&rig, RPC_REPLY_SOON), 32);
    callers_join(v, 32);
    for (unsigned i = 0; i < 32; i++) {
        CHECK_OK(v[i].result);
        CHECK_EQ(v[i].answer, i);
    }
    CHECK_EQ(rpc_peer_stats(rig.peer).connects, 1);
    rig_release(&rig);
}

static void deadline(void)
{
    struct rig rig;
    rig_init(&rig);
    int64_t answer, before = sys_now();
    CHECK_ERR(rig_call(&rig, T_KEEP, 1, 300 * SYS_MS, &answer), ERR_TIMEOUT);
    CHECK(sys_now() - before < SYS_SECOND);
    CHECK_EQ(rig_answer(&rig, 0), 1); /* late: dropped */
    CHECK_OK(rig_call(&rig, T_ECHO, 2, SYS_SECOND, &answer));
    CHECK_EQ(answer, 2);
    rig_release(&rig);
}

static void one_way(void)
{
    struct rig rig;
    rig_init(&rig);
    int64_t answer;
    CHECK_ERR(rpc_control_notify(rig.peer, T_NOTE, NULL), ERR_UNAVAILABLE);
    CHECK_OK(rig_call(&rig, T_ECHO, 2, SYS_SECOND, &answer));
    for (int i = 0; i < 100; i++)
        CHECK_OK(rpc_control_notify(rig.peer, T_NOTE, NULL));
    CHECK(rig_await(&rig, &rig.notes, 100));
    struct rpc_peer_stats s = rpc_peer_stats(rig.peer);
    CHECK(s.control_frames >= 101);
    rig_release(&rig);
}

static void restart_in_mid_call(void)
{
    struct rig rig;
    rig_init(&rig);
    struct caller v[8];
    callers_start(&rig, v, 8, T_KEEP, 10 * SYS_SECOND);
    CHECK(rig_await(&rig, &rig.kept_count, 8));
    rig_unserve(&rig);
    callers_join(v, 8);
    for (unsigned i = 0; i < 8; i++)
        CHECK_ERR(v[i].result, ERR_CLOSED);
    int64_t answer;
    enum err e = OK;
    for (int i = 0; i < 20 && e != ERR_REFUSED; i++) {
        sys_sleep_until(sys_now() + 20 * SYS_MS);
        e = rig_call(&rig, T_ECHO, 1, SYS_SECOND, &answer);
        CHECK(e != OK && err_outcome_known(e));
    }
    CHECK_ERR(e, ERR_REFUSED);
    rig_serve(&rig, 64);
    for (int i = 0; i < 100 && e != OK; i++) {
        e = rig_call(&rig, T_ECHO, 1, SYS_SECOND, &answer);
        sys_sleep_until(sys_now() + 20 * SYS_MS);
    }
    CHECK_OK(e);
    rig_release(&rig);
}

static void wrong_key_and_cluster(void)
{
    struct rig rig;
    rig_init(&rig);
    int64_t answer;
    rig_disconnect(&rig);
    struct rpc_node_config good = rig.node_config;
    rig.node_config.keys.key[0].bytes[0] ^= 1;
    rig_connect(&rig);
    CHECK_ERR(rig_call(&rig, T_ECHO, 1, SYS_SECOND, &answer), ERR_AUTHENTICATION);
    rig_disconnect(&rig);
    rig.node_config = good;
    rig.node_config.keys.key[0].id = 4;
    rig_connect(&rig);
    CHECK_ERR(rig_call(&rig, T_ECHO, 1, SYS_SECOND, &answer), ERR_AUTHENTICATION);
    rig_disconnect(&rig);
    rig.node_config = good;
    rig.node_config.self.cluster.bytes[0] ^= 1;
    rig_connect(&rig);
    CHECK_ERR(rig_call(&rig, T_ECHO, 1, SYS_SECOND, &answer), ERR_FOREIGN_CLUSTER);
    rig_disconnect(&rig);
    rig.node_config = good;
    memset(rig.node_config.self.cluster.bytes, 0, UUID_BYTES);
    rig_connect(&rig);
    CHECK_OK(rig_call(&rig, T_ECHO, 1, SYS_SECOND, &answer));
    rig_release(&rig);
}

static void too_many_connections(void)
{
    struct rig rig;
    rig_init(&rig);
    rig_unserve(&rig);
    rig_serve(&rig, 1);
    int64_t answer;
    CHECK_OK(rig_call(&rig, T_ECHO, 1, SYS_SECOND, &answer));
    struct rpc_node *first = rig.node;
    rig_connect(&rig);
    CHECK_ERR(rig_call(&rig, T_ECHO, 1, SYS_SECOND, &answer), ERR_BUSY);
    rpc_node_free(first);
    enum err e = ERR_BUSY;
    for (int i = 0; i < 100 && e != OK; i++) {
        sys_sleep_until(sys_now() + 20 * SYS_MS);
        e = rig_call(&rig, T_ECHO, 1, SYS_SECOND, &answer);
    }
    CHECK_OK(e);
    rig_release(&rig);
}

static void breaker_opens_and_recovers(void)
{
    struct rig rig;
    rig_init(&rig);
    int64_t answer;
    enum err e = OK;
    for (int i = 0; i < 20 && e != ERR_BREAKER_OPEN; i++)
        e = rig_call(&rig, T_KEEP, 1, 50 * SYS_MS, &answer);
    CHECK_ERR(e, ERR_BREAKER_OPEN);
    (void)rig_answer(&rig, 0);
    CHECK_ERR(rig_call(&rig, T_ECHO, 1, SYS_SECOND, &answer), ERR_BREAKER_OPEN);
    sys_sleep_until(sys_now() + 1100 * SYS_MS);
    CHECK_OK(rig_call(&rig, T_ECHO, 1, SYS_SECOND, &answer));
    CHECK_OK(rig_call(&rig, T_ECHO, 1, SYS_SECOND, &answer));
    CHECK_EQ(rpc_peer_stats(rig.peer).control_breaker, BREAKER_CLOSED);
    rig_release(&rig);
}

static void queue_is_bounded(void)
{
    struct rig rig;
    rig_init(&rig);
    rig_disconnect(&rig);
    rig.node_config.control_calls_max = 4;
    rig_connect(&rig);
    struct caller v[8];
    callers_start(&rig, v, 8, T_KEEP, 2 * SYS_SECOND);
    CHECK(rig_await(&rig, &rig.kept_count, 4));
    sys_sleep_until(sys_now() + 100 * SYS_MS);
    CHECK_EQ(rig_answer(&rig, 0), 4);
    callers_join(v, 8);
    unsigned ok = 0, busy = 0;
    for (unsigned i = 0; i < 8; i++) {
        ok += v[i].result == OK;
        busy += v[i].result == ERR_BUSY;
    }
    CHECK_EQ(ok, 4);
    CHECK_EQ(busy, 4);
    rig_release(&rig);
}

/* A server that does not read: notes pile up to the bound, callers are told, and when it reads again
 * what was accepted arrives. */
static void full_socket(void)
{
    struct rig rig;
    rig_init(&rig);
    struct caller v;
    callers_start(&rig, &v, 1, T_HANG, 20 * SYS_SECOND);
    CHECK(rig_await(&rig, &rig.hanging, 1));
    ShardRead m = SHARD_READ__INIT;
    m.chunk_id.len = 900 * 1000;
    m.chunk_id.data = sys_alloc(m.chunk_id.len);
    unsigned accepted = 0;
    enum err e = OK;
    while (accepted < 1000 && (e = rpc_control_notify(rig.peer, T_NOTE, &m.base)) == OK)
        accepted++;
    CHECK_ERR(e, ERR_BUSY);
    CHECK(accepted >= 8);
    CHECK_EQ(rig.notes, 0);
    sys_mutex_lock(&rig.lock);
    rig.release = true;
    sys_cond_broadcast(&rig.changed);
    sys_mutex_unlock(&rig.lock);
    CHECK(rig_await(&rig, &rig.notes, accepted));
    callers_join(&v, 1);
    CHECK_OK(v.result);
    sys_free(m.chunk_id.data);
    rig_release(&rig);
}

static void big_bodies(void)
{
    struct rig rig;
    rig_init(&rig);
    struct arena arena;
    arena_init(&arena);
    struct request_context context = rig_context(5 * SYS_SECOND);
    ShardRead m = SHARD_READ__INIT;
    size_t max = FRAME_BODY_MAX;
    m.chunk_id.data = sys_alloc(max);
    ProtobufCMessage *reply;
    m.offset = 3;
    for (size_t n = 1; n < max; n *= 5) {
        m.chunk_id.len = n;
        CHECK_OK(rpc_control_call(rig.peer, &context, T_ECHO, &m.base,
                                  &shard_read_reply__descriptor, &arena, &reply));
        CHECK(reply && ((ShardReadReply *)reply)->chunk_length == 3);
    }
    m.chunk_id.len = max;
    CHECK_ERR(rpc_control_call(rig.peer, &context, T_ECHO, &m.base, &shard_read_reply__descriptor,
                               &arena, &reply),
              ERR_TOO_BIG);
    sys_free(m.chunk_id.data);
    arena_release(&arena);
    rig_release(&rig);
}

/* Rubbish before, during and after the greeting: the server closes, and serves the next. */
static void rubbish(void)
{
    struct rig rig;
    rig_init(&rig);
    uint8_t bytes[4096];
    for (int i = 0; i < 20; i++) {
        struct sys_socket *s;
        CHECK_OK(sys_connect(&rig.address, sys_now() + SYS_SECOND, &s));
        sys_random(bytes, sizeof bytes);
        struct sys_slice v = {bytes, sizeof bytes};
        size_t done;
        CHECK_OK(sys_send(s, &v, 1, false, sys_now() + SYS_SECOND, &done));
        CHECK_ERR(sys_recv(s, bytes, sizeof bytes, sys_now() + 5 * SYS_SECOND, &done), ERR_CLOSED);
        sys_socket_close(s);
    }
    int64_t answer;
    CHECK_OK(rig_call(&rig, T_ECHO, 1, SYS_SECOND, &answer));
    rig_release(&rig);
}

/* Who is told of epochs may be freed once the node has stopped, while answers still arrive. */
static void nothing_is_heard_when_stopped(void)
{
    struct rig rig;
    struct caller v[8];
    rig_init(&rig);
    for (int round = 0; round < 100; round++) {
        callers_start(&rig, v, 8, T_ECHO, SYS_SECOND);
        uint32_t some;
        sys_random(&some, sizeof some);
        sys_sleep_until(sys_now() + (int64_t)(some % (2 * SYS_MS)));
        rpc_node_stop(rig.node);
        sys_mutex_lock(&rig.lock);
        rig.stopped = true;
        sys_mutex_unlock(&rig.lock);
        callers_join(v, 8);
        sys_sleep_until(sys_now() + 10 * SYS_MS);
        rig_disconnect(&rig);
        rig.stopped = false;
        rig_connect(&rig);
    }
    CHECK_EQ(rig.seen_when_stopped, 0);
    rig_release(&rig);
}

static const struct test tests[] = {
    {"calls", calls},
    {"many in progress", many_in_progress},
    {"deadline", deadline},
    {"one way", one_way},
    {"restart in mid call", restart_in_mid_call},
    {"wrong key and cluster", wrong_key_and_cluster},
    {"too many connections", too_many_connections},
    {"breaker opens and recovers", breaker_opens_and_recovers},
    {"queue is bounded", queue_is_bounded},
    {"full socket", full_socket},
    {"big bodies", big_bodies},
    {"rubbish", rubbish},
    {"nothing is heard when stopped", nothing_is_heard_when_stopped},
    {0}};
SUITE("rpc control", tests)
