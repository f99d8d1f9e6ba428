/* Bulk calls and streams through gather. */
#include "common/sys/sim/sim.h"
#include "tests/unit/rpc/rig.h"

static void reads(void)
{
    struct rig rig;
    rig_init(&rig);
    static const uint32_t sizes[] = {0, 1, 400, 4096, 65536, 1 << 20, FRAME_PAYLOAD_MAX};
    struct request_context context = rig_context(20 * SYS_SECOND);
    for (unsigned i = 0; i < 7; i++) {
        struct gather g;
        CHECK_OK(gather_init(&g, rig.event, &context));
        uint8_t *into = sys_alloc(sizes[i]);
        ShardRead m;
        struct rpc_call r = rig_read_call(&m, 0, sizes[i], into, i);
        struct call *c, *got = NULL;
        CHECK_OK(rpc_call_start(rig.peer, &g, &r, &c));
        CHECK_OK(gather_next(&g, SYS_FOREVER, &got));
        CHECK(got == c);
        struct call_info info = call_info(c);
        CHECK(info.finished && info.answered);
        CHECK_OK(info.result);
        CHECK_EQ(info.tag, i);
        CHECK_EQ(info.payload_length, sizes[i]);
        CHECK(rig_is_pattern(into, sizes[i]));
        CHECK_ERR(gather_next(&g, SYS_FOREVER, &got), ERR_EMPTY);
        gather_release(&g);
        sys_free(into);
    }
    CHECK_EQ(rpc_peer_stats(rig.peer).connects, 1);
    CHECK_EQ(rpc_peer_stats(rig.peer).bulk_idle, 1);
    CHECK_EQ(rig.epoch_seen_by_node, 9);
    rig_release(&rig);
}

static void too_long_for_its_place(void)
{
    struct rig rig;
    rig_init(&rig);
    struct request_context context = rig_context(5 * SYS_SECOND);
    struct gather g;
    CHECK_OK(gather_init(&g, rig.event, &context));
    uint8_t into[1000];
    ShardRead m;
    struct rpc_call r = rig_read_call(&m, 0, 1000, into, 0);
    r.into_bytes = 999;
    struct call *c;
    CHECK_OK(rpc_call_start(rig.peer, &g, &r, &c));
    CHECK_OK(gather_next(&g, SYS_FOREVER, &c));
    CHECK_ERR(call_info(c).result, ERR_TOO_BIG);
    gather_release(&g);
    rig_release(&rig);
}

static void many_at_once(void)
{
    enum { N = 20, BYTES = 100 * 1000 };
    struct rig rig;
    rig_init(&rig);
    struct request_context context = rig_context(20 * SYS_SECOND);
    struct gather g;
    CHECK_OK(gather_init(&g, rig.event, &context));
    uint8_t *into = sys_alloc(N * BYTES);
    for (uint32_t i = 0; i < N; i++) {
        ShardRead m;
        struct rpc_call r = rig_read_call(&m, (N - i) * 5, BYTES, into + i * BYTES, i);
        struct call *c;
        CHECK_OK(rpc_call_start(rig.peer, &g, &r, &c));
    }
    bool seen[N] = {false};
    struct call *c;
    while (gather_next(&g, SYS_FOREVER, &c) == OK) {
        struct call_info info = call_info(c);
        CHECK(info.finished && !seen[info.tag]);
        CHECK_OK(info.result);
        seen[info.tag] = true;
        CHECK(rig_is_pattern(into + info.tag * BYTES, BYTES));
    }
    for (unsigned i = 0; i < N; i++)
        CHECK(seen[i]);
    gather_release(&g);
    sys_free(into);
    CHECK_EQ(rpc_peer_stats(rig.peer).bulk_busy, 0);
    rig_release(&rig);
}

/* One hedged read loses: its connection drains and is used again. */
static void cancel_drains(void)
{
    struct rig rig;
    rig_init(&rig);
    struct request_context context = rig_context(20 * SYS_SECOND);
    struct gather g;
    CHECK_OK(gather_init(&g, rig.event, &context));
    uint8_t *into = sys_alloc(300000);
    ShardRead m;
    struct rpc_call r = rig_read_call(&m, 200, 300000, into, 0);
    struct call *c, *got;
    CHECK_OK(rpc_call_start(rig.peer, &g, &r, &c));
    CHECK_ERR(gather_next(&g, sys_now() + 100 * SYS_MS, &got), ERR_TIMEOUT);
    gather_cancel(&g, c);
    CHECK_EQ(rpc_peer_stats(rig.peer).bulk_draining, 1);
    CHECK_ERR(gather_next(&g, SYS_FOREVER, &got), ERR_EMPTY);
    gather_release(&g);
    sys_sleep_until(sys_now() + 500 * SYS_MS);
    struct rpc_peer_stats s = rpc_peer_stats(rig.peer);
    CHECK_EQ(s.bulk_draining, 0);
    CHECK_EQ(s.bulk_idle, 1);
    CHECK_EQ(s.connects, 1);
    CHECK(into[1] == 0 && into[299999] == 0); /* never written after the cancel */
    sys_free(into);
    rig_release(&rig);
}

static void open_stream(struct rig *rig, struct gather *g, struct call **out)
{
    ShardOpen open = SHARD_OPEN__INIT;
    struct rpc_call first = {.tag = 1, .type = T_OPEN, .body = &open.base};
    CHECK_OK(rpc_stream_open(rig->peer, g, &first, out));
}

static void stream_commits(void)
{
    enum { PIECES = 100 };
    struct rig rig;
    rig_init(&rig);
    struct request_context context = rig_context(50 * SYS_SECOND);
    struct buf *b;
    CHECK_OK(buf_get(rig.pool, BUF_SMALL, &b));
    memset(b->data, 0x42, b->capacity);
    for (int round = 0; round < 2; round++) {
        struct gather g;
        CHECK_OK(gather_init(&g, rig.event, &context));
        struct call *stream, *c;
        open_stream(&rig, &g, &stream);
        CHECK_OK(rig_stream(&rig, &g, stream, b, PIECES, UINT32_MAX));
        ShardCommit commit = SHARD_COMMIT__INIT;
        CHECK_OK(rpc_stream_finish(stream, T_COMMIT, &commit.base));
        do
            CHECK_OK(gather_next(&g, SYS_FOREVER, &c));
        while (!call_info(c).finished);
        CHECK(c == stream);
        CHECK_OK(call_info(c).result);
        struct arena arena;
        arena_init(&arena);
        ProtobufCMessage *reply;
        CHECK_OK(call_reply(c, &shard_verify_reply__descriptor, &arena, &reply));
        CHECK(reply && ((ShardVerifyReply *)reply)->length == PIECES * BUF_SMALL);
        uint32_t crc = 0;
        for (int i = 0; i < PIECES; i++)
            crc = crc32c(crc, b->data, b->capacity);
        CHECK(reply && ((ShardVerifyReply *)reply)->nonce == crc);
        arena_release(&arena);
        gather_release(&g);
    }
    CHECK_EQ(rpc_peer_stats(rig.peer).connects, 1);
    CHECK_EQ(rig.streams_destroyed, 0);
    buf_unref(b);
    rig_release(&rig);
}

static void stream_is_refused_early(void)
{
    struct rig rig;
    rig_init(&rig);
    struct request_context context = rig_context(50 * SYS_SECOND);
    struct buf *b;
    CHECK_OK(buf_get(rig.pool, BUF_SMALL, &b));
    struct gather g;
    CHECK_OK(gather_init(&g, rig.event, &context));
    struct call *stream, *c = NULL;
    open_stream(&rig, &g, &stream);
    (void)rig_stream(&rig, &g, stream, b, 40, 3);
    while (!call_info(stream).finished && gather_next(&g, SYS_FOREVER, &c) == OK)
        ;
    CHECK_ERR(call_info(stream).result, ERR_NO_SPACE);
    CHECK(call_info(stream).answered);
    ShardAppend m = SHARD_APPEND__INIT;
    CHECK_ERR(rpc_stream_send(stream, T_APPEND, &m.base, b, 0, 10, false), ERR_CLOSED);
    gather_release(&g);
    CHECK(rig_await(&rig, &rig.streams_destroyed, 1));
    sys_sleep_until(sys_now() + 100 * SYS_MS);
    CHECK_EQ(rig.strays, 0); /* what was on its way when it was answered reaches no handler */
    buf_unref(b);
    rig_release(&rig);
}

static void stream_is_given_up(void)
{
    struct rig rig;
    rig_init(&rig);
    struct request_context context = rig_context(50 * SYS_SECOND);
    struct buf *b;
    CHECK_OK(buf_get(rig.pool, BUF_SMALL, &b));
    struct gather g;
    CHECK_OK(gather_init(&g, rig.event, &context));
    struct call *stream, *c;
    open_stream(&rig, &g, &stream);
    CHECK_OK(rig_stream(&rig, &g, stream, b, 3, UINT32_MAX));
    CHECK_ERR(gather_next(&g, sys_now() + 100 * SYS_MS, &c), ERR_TIMEOUT);
    gather_release(&g);
    CHECK(rig_await(&rig, &rig.streams_destroyed, 1));
    sys_sleep_until(sys_now() + 100 * SYS_MS);
    CHECK_EQ(rpc_peer_stats(rig.peer).bulk_idle, 1);
    /* the same connection serves the next */
    CHECK_OK(gather_init(&g, rig.event, &context));
    uint8_t into[100];
    ShardRead m;
    struct rpc_call r = rig_read_call(&m, 0, 100, into, 0);
    CHECK_OK(rpc_call_start(rig.peer, &g, &r, &c));
    CHECK_OK(gather_next(&g, SYS_FOREVER, &c));
    CHECK_OK(call_info(c).result);
    gather_release(&g);
    CHECK_EQ(rpc_peer_stats(rig.peer).connects, 1);
    buf_unref(b);
    rig_release(&rig);
}

static void restart_between_calls(void)
{
    struct rig rig;
    rig_init(&rig);
    struct request_context context = rig_context(50 * SYS_SECOND);
    for (int round = 0; round < 4; round++) {
        struct gather g;
        CHECK_OK(gather_init(&g, rig.event, &context));
        uint8_t into[100];
        ShardRead m;
        struct call *c;
        struct rpc_call r = rig_read_call(&m, 0, 100, into, 0);
        CHECK_OK(rpc_call_start(rig.peer, &g, &r, &c));
        CHECK_OK(gather_next(&g, SYS_FOREVER, &c));
        CHECK_OK(call_info(c).result);
        gather_release(&g);
        rig_unserve(&rig);
        rig_serve(&rig, 64);
        sys_sleep_until(sys_now() + 50 * SYS_MS); /* the end of the old connection travels too */
    }
    rig_release(&rig);
}

static void restart_in_mid_call(void)
{
    struct rig rig;
    rig_init(&rig);
    struct request_context context = rig_context(50 * SYS_SECOND);
    struct gather g;
    CHECK_OK(gather_init(&g, rig.event, &context));
    struct call *c;
    struct rpc_call r = {.type = T_HANG};
    CHECK_OK(rpc_call_start(rig.peer, &g, &r, &c));
    CHECK_ERR(gather_next(&g, sys_now() + 100 * SYS_MS, &c), ERR_TIMEOUT);
    rig_unserve(&rig);
    rig_serve(&rig, 64);
    CHECK_OK(gather_next(&g, SYS_FOREVER, &c));
    CHECK(call_info(c).result == ERR_CLOSED || call_info(c).answered);
    gather_release(&g);
    rig_release(&rig);
}

static void hung_peer_opens_the_breaker(void)
{
    struct rig rig;
    rig_init(&rig);
    struct request_context context = rig_context(100 * SYS_SECOND);
    struct gather g;
    CHECK_OK(gather_init(&g, rig.event, &context));
    struct call *c;
    enum err e = OK;
    int64_t began = sys_now();
    for (int i = 0; i < 10; i++) {
        struct rpc_call r = {.type = T_HANG, .progress = 100 * SYS_MS};
        e = rpc_call_start(rig.peer, &g, &r, &c);
        if (e)
            break;
        CHECK_OK(gather_next(&g, SYS_FOREVER, &c));
        CHECK_ERR(call_info(c).result, ERR_TIMEOUT);
        CHECK(!call_info(c).answered);
    }
    CHECK_ERR(e, ERR_BREAKER_OPEN);
    CHECK(sys_now() - began < 2 * SYS_SECOND);
    sys_mutex_lock(&rig.lock);
    rig.release = true;
    sys_cond_broadcast(&rig.changed);
    sys_mutex_unlock(&rig.lock);
    sys_sleep_until(sys_now() + 1200 * SYS_MS);
    for (int i = 0; i < 2; i++) {
        uint8_t into[10];
        ShardRead m;
        struct rpc_call r = rig_read_call(&m, 0, 10, into, 0);
        CHECK_OK(rpc_call_start(rig.peer, &g, &r, &c));
        CHECK_OK(gather_next(&g, SYS_FOREVER, &c));
        CHECK_OK(call_info(c).result);
    }
    CHECK_EQ(rpc_peer_stats(rig.peer).bulk_breaker, BREAKER_CLOSED);
    gather_release(&g);
    rig_release(&rig);
}

static enum err read_once(struct rig *rig)
{
    struct request_context context = rig_context(5 * SYS_SECOND);
    struct gather g;
    uint8_t into[400];
    ShardRead m;
    struct rpc_call r = rig_read_call(&m, 0, sizeof into, into, 0);
    struct call *c;
    CHECK_OK(gather_init(&g, rig->event, &context));
    enum err e = rpc_call_start(rig->peer, &g, &r, &c);
    if (e == OK)
        e = gather_next(&g, SYS_FOREVER, &c);
    if (e == OK)
        e = call_info(c).result;
    gather_release(&g);
    return e;
}

/* Connections that had idled break under their next call, again and again: those calls fail, the
 * endpoint is not given up. */
static void stale_connections(void)
{
    struct rig rig;
    rig_init(&rig);
    for (unsigned i = 0; i < 12; i++) {
        CHECK_OK(read_once(&rig));
        sim_network_fail(sim_self(), 1);
        CHECK_ERR(read_once(&rig), ERR_CLOSED);
        CHECK_EQ(rpc_peer_stats(rig.peer).bulk_breaker, BREAKER_CLOSED);
    }
    CHECK_EQ(rpc_peer_stats(rig.peer).connects, 12);
    rig_release(&rig);
}

/* The first connection breaks at the nth use while it is made: but for a refusal the call that waits
 * for it does not notice. */
static void breaks_while_greeted(void)
{
    unsigned refused = 0;
    for (unsigned nth = 1; nth <= 6; nth++) {
        struct rig rig;
        rig_init(&rig);
        sim_network_fail(sim_self(), nth);
        enum err e = read_once(&rig);
        refused += e == ERR_REFUSED;
        suite_check(e == OK || e == ERR_REFUSED, __FILE__, __LINE__, "use %u: %s", nth,
                    err_name(e));
        CHECK_EQ(sim_network_fail_left(sim_self()), 0);
        rig_release(&rig);
    }
    CHECK_EQ(refused, 1);
}

static void deadline_and_client(void)
{
    struct rig rig;
    rig_init(&rig);
    struct sys_event *cancel;
    CHECK_OK(sys_event_new(&cancel));
    struct request_context context = rig_context(300 * SYS_MS);
    context.cancel = cancel;
    struct gather g;
    CHECK_OK(gather_init(&g, rig.event, &context));
    struct call *c;
    struct rpc_call r = {.type = T_HANG};
    CHECK_OK(rpc_call_start(rig.peer, &g, &r, &c));
    CHECK_OK(gather_next(&g, SYS_FOREVER, &c));
    CHECK_ERR(call_info(c).result, ERR_TIMEOUT);
    gather_release(&g);
    context.deadline = sys_now() + 50 * SYS_SECOND;
    CHECK_OK(gather_init(&g, rig.event, &context));
    CHECK_OK(rpc_call_start(rig.peer, &g, &r, &c));
    sys_event_set(cancel);
    CHECK_ERR(gather_next(&g, SYS_FOREVER, &c), ERR_CLIENT_GONE);
    gather_release(&g);
    sys_event_free(cancel);
    rig_release(&rig);
}

static void connections_are_bounded(void)
{
    struct rig rig;
    rig_init(&rig);
    rig_disconnect(&rig);
    rig.node_config.bulk_connections_max = 2;
    rig.node_config.bulk_waiting_max = 3;
    rig_connect(&rig);
    struct request_context context = rig_context(50 * SYS_SECOND);
    struct gather g;
    CHECK_OK(gather_init(&g, rig.event, &context));
    struct call *c;
    unsigned started = 0, busy = 0, done = 0;
    for (unsigned i = 0; i < 8; i++) {
        ShardRead m;
        uint8_t into[10];
        struct rpc_call r = rig_read_call(&m, 500, 0, into, i);
        enum err e = rpc_call_start(rig.peer, &g, &r, &c);
        started += e == OK;
        busy += e == ERR_BUSY;
        if (i < 2)
            CHECK_ERR(gather_next(&g, sys_now() + 100 * SYS_MS, &c), ERR_TIMEOUT);
    }
    CHECK_EQ(started, 5);
    CHECK_EQ(busy, 3);
    while (gather_next(&g, SYS_FOREVER, &c) == OK)
        done += call_info(c).result == OK;
    CHECK_EQ(done, 5);
    CHECK_EQ(rpc_peer_stats(rig.peer).connects, 2);
    gather_release(&g);
    rig_release(&rig);
}

static void nobody_there(void)
{
    struct rig rig;
    rig_init(&rig);
    rig_unserve(&rig);
    struct request_context context = rig_context(5 * SYS_SECOND);
    struct gather g;
    CHECK_OK(gather_init(&g, rig.event, &context));
    struct call *c;
    struct rpc_call r = {.type = T_HANG};
    CHECK_OK(rpc_call_start(rig.peer, &g, &r, &c));
    CHECK_OK(gather_next(&g, SYS_FOREVER, &c));
    CHECK_ERR(call_info(c).result, ERR_REFUSED);
    gather_release(&g);
    rig_serve(&rig, 64);
    rig_release(&rig);
}

/* ---- local calls ---- */

struct worker {
    struct call *call[4];
    unsigned n;
    int64_t pause;
};

static void worker_run(void *arg)
{
    struct worker *w = arg;
    for (unsigned i = 0; i < w->n; i++) {
        sys_sleep_until(sys_now() + w->pause);
        call_complete(w->call[i], call_abandoned(w->call[i]) ? ERR_CANCELLED : OK, i);
    }
}

static void local_calls(void)
{
    struct rig rig;
    rig_init(&rig);
    struct request_context context = rig_context(50 * SYS_SECOND);
    struct gather g;
    CHECK_OK(gather_init(&g, rig.event, &context));
    struct worker w = {.n = 4, .pause = 10 * SYS_MS};
    for (unsigned i = 0; i < 4; i++)
        CHECK_OK(call_new(&g, i, &w.call[i]));
    struct sys_thread *t;
    CHECK_OK(sys_thread_start(&t, "worker", 0, worker_run, &w));
    unsigned finished = 0;
    struct call *c;
    while (finished < 3 && gather_next(&g, SYS_FOREVER, &c) == OK) {
        struct call_info info = call_info(c);
        CHECK(info.finished);
        CHECK_EQ(info.payload_length, info.tag);
        CHECK_OK(info.result);
        finished++;
        gather_cancel(&g, c);
    }
    CHECK_EQ(finished, 3);
    gather_release(&g); /* the fourth completes later, into nothing */
    sys_thread_join(t);
    rig_release(&rig);
}

static const struct test tests[] = {{"reads", reads},
                                    {"too long for its place", too_long_for_its_place},
                                    {"many at once", many_at_once},
                                    {"cancel drains", cancel_drains},
                                    {"stream commits", stream_commits},
                                    {"stream is refused early", stream_is_refused_early},
                                    {"stream is given up", stream_is_given_up},
                                    {"restart between calls", restart_between_calls},
                                    {"restart in mid call", restart_in_mid_call},
                                    {"hung peer opens the breaker", hung_peer_opens_the_breaker},
                                    {"stale connections", stale_connections},
                                    {"breaks while greeted", breaks_while_greeted},
                                    {"deadline and client", deadline_and_client},
                                    {"connections are bounded", connections_are_bounded},
                                    {"nobody there", nobody_there},
                                    {"local calls", local_calls},
                                    {0}};
SUITE("rpc bulk", tests)
