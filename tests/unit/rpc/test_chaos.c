/* A server on another host that crashes, is cut off and loses connections, under a caller that makes
 * control calls, reads that it hedges away, and streams: every answer is right, every call ends, and
 * nothing is left. */
#include "common/sys/sim/sim.h"
#include "tests/unit/rpc/rig.h"

enum { PORT = 7000, SERVER_HOST = 2, ROUNDS = 60 };

static void serve(void *arg)
{
    struct rig *rig = arg; /* of this process only: it is made anew at each start */
    struct rig own = {.identity = rig->identity, .keys = rig->keys, .epoch_of_server = 9};
    sys_mutex_init(&own.lock);
    sys_cond_init(&own.changed);
    own.address = sim_addr(SERVER_HOST, PORT);
    rig_serve(&own, 64);
    struct sys_poll v = {.event = sys_stop_event()};
    while (sys_poll(&v, 1, SYS_FOREVER) != OK)
        ;
    rig_unserve(&own);
    sys_cond_release(&own.changed);
    sys_mutex_release(&own.lock);
}

static bool read_round(struct rig *rig, uint8_t *into, size_t bytes)
{
    struct request_context context = rig_context(3 * SYS_SECOND);
    struct gather g;
    CHECK_OK(gather_init(&g, rig->event, &context));
    bool good = false;
    for (uint32_t i = 0; i < 4; i++) {
        ShardRead m;
        struct call *c;
        struct rpc_call r = rig_read_call(&m, i * 3, (uint32_t)bytes, into + i * bytes, i);
        enum err e = rpc_call_start(rig->peer, &g, &r, &c);
        CHECK(e == OK || err_outcome_known(e));
    }
    struct call *c;
    for (unsigned n = 0; n < 3 && gather_next(&g, SYS_FOREVER, &c) == OK; n++) {
        struct call_info info = call_info(c);
        if (info.result == OK) {
            CHECK(rig_is_pattern(into + info.tag * bytes, bytes));
            good = true;
        }
    }
    gather_release(&g);
    return good;
}

static bool stream_round(struct rig *rig, struct buf *b, bool commits)
{
    struct request_context context = rig_context(3 * SYS_SECOND);
    struct gather g;
    CHECK_OK(gather_init(&g, rig->event, &context));
    ShardOpen open = SHARD_OPEN__INIT;
    struct rpc_call first = {.tag = 1, .type = T_OPEN, .body = &open.base};
    struct call *stream, *c;
    bool good = false;
    if (rpc_stream_open(rig->peer, &g, &first, &stream) == OK &&
        rig_stream(rig, &g, stream, b, 5, UINT32_MAX) == OK && commits) {
        ShardCommit commit = SHARD_COMMIT__INIT;
        (void)!rpc_stream_finish(stream, T_COMMIT, &commit.base);
        while (!call_info(stream).finished && gather_next(&g, SYS_FOREVER, &c) == OK)
            ;
        struct arena arena;
        arena_init(&arena);
        ProtobufCMessage *reply;
        CHECK_OK(call_reply(stream, &shard_verify_reply__descriptor, &arena, &reply));
        good = call_info(stream).result == OK;
        if (good)
            CHECK(reply && ((ShardVerifyReply *)reply)->length == 5 * BUF_SMALL);
        arena_release(&arena);
    }
    gather_release(&g);
    return good;
}

static void survives(void)
{
    enum { BYTES = 20000 };
    struct rig rig;
    rig_init(&rig);
    rig_disconnect(&rig);
    rig.address = sim_addr(SERVER_HOST, PORT);
    int server = sim_spawn("server", SERVER_HOST, serve, &rig);
    sim_restart_after(server, 50 * SYS_MS);
    sim_random_crashes(server, 3000);
    sim_random_resets(400);
    rig_connect(&rig);
    uint8_t *into = sys_alloc(4 * BYTES);
    struct buf *b;
    CHECK_OK(buf_get(rig.pool, BUF_SMALL, &b));
    memset(b->data, 3, b->capacity);
    unsigned good = 0;
    for (unsigned i = 0; i < ROUNDS; i++) {
        int64_t answer;
        if (i % 20 == 10)
            sim_partition(1, SERVER_HOST, true);
        if (i % 20 == 13)
            sim_partition(1, SERVER_HOST, false);
        enum err e = rig_call(&rig, T_ECHO, i, 2 * SYS_SECOND, &answer);
        CHECK(e != OK || answer == i);
        good += e == OK;
        good += read_round(&rig, into, BYTES);
        good += stream_round(&rig, b, i % 4 != 3);
        sys_sleep_until(sys_now() + 20 * SYS_MS);
    }
    CHECK(good > 0);
    /* And when the trouble is over, all is well again. */
    sim_random_crashes(server, 0);
    sim_random_resets(0);
    sys_sleep_until(sys_now() + 20 * SYS_SECOND);
    for (unsigned i = 0; i < 4; i++) {
        (void)read_round(&rig, into, BYTES);
        sys_sleep_until(sys_now() + SYS_SECOND);
    }
    int64_t answer;
    CHECK_OK(rig_call(&rig, T_ECHO, 1, 2 * SYS_SECOND, &answer));
    CHECK(read_round(&rig, into, BYTES));
    CHECK(stream_round(&rig, b, true));
    sys_sleep_until(sys_now() + SYS_SECOND);
    struct rpc_peer_stats s = rpc_peer_stats(rig.peer);
    CHECK(s.bulk_busy == 0 && s.bulk_draining == 0 && s.bulk_waiting == 0);
    CHECK_EQ(s.bulk_breaker, BREAKER_CLOSED);
    buf_unref(b);
    sys_free(into);
    sim_stop(server);
    rig_release(&rig);
}

static const struct test tests[] = {{"survives", survives}, {0}};
SUITE("rpc chaos", tests)
