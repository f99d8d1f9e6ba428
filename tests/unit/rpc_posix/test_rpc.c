/* The same over real sockets and threads: many callers, streams beside them, restarts. */
#include "tests/unit/rpc/rig.h"

enum { CALLERS = 6, ROUNDS = 40 };

struct worker {
    struct rig *rig;
    struct sys_event *event;
    struct sys_thread *thread;
    unsigned good, bad;
};

static void note(struct worker *w, bool good)
{
    w->good += good;
    w->bad += !good;
    if (!good)
        sys_sleep_until(sys_now() + 60 * SYS_MS); /* 40 of them outlast an open breaker */
}

static void control_worker(void *arg)
{
    struct worker *w = arg;
    for (uint32_t i = 0; i < ROUNDS * 10; i++) {
        int64_t answer;
        enum err e = rig_call(w->rig, T_ECHO, i % 1000, 5 * SYS_SECOND, &answer);
        note(w, e == OK && answer == i % 1000);
    }
}

static void read_worker(void *arg)
{
    enum { FAN = 6, BYTES = 150000 };
    struct worker *w = arg;
    uint8_t *into = sys_alloc(FAN * BYTES);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct request_context context = rig_context(10 * SYS_SECOND);
        struct gather g;
        if (gather_init(&g, w->event, &context))
            break;
        struct call *c;
        unsigned started = 0;
        for (uint32_t i = 0; i < FAN; i++) {
            ShardRead m;
            struct rpc_call r = rig_read_call(&m, i == 0, BYTES, into + i * BYTES, i);
            started += rpc_call_start(w->rig->peer, &g, &r, &c) == OK;
        }
        if (started < FAN)
            note(w, false);
        for (unsigned n = 0; n + 1 < FAN && gather_next(&g, SYS_FOREVER, &c) == OK; n++) {
            struct call_info info = call_info(c);
            note(w, info.result == OK && rig_is_pattern(into + info.tag * BYTES, BYTES));
        }
        gather_release(&g); /* the last is given up */
    }
    sys_free(into);
}

static void stream_worker(void *arg)
{
    struct worker *w = arg;
    struct buf *b;
    if (!CHECK_OK(buf_get(w->rig->pool, BUF_LARGE, &b)))
        return;
    memset(b->data, 1, b->capacity);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct request_context context = rig_context(10 * SYS_SECOND);
        struct gather g;
        if (gather_init(&g, w->event, &context))
            break;
        ShardOpen open = SHARD_OPEN__INIT;
        struct rpc_call first = {.tag = 1, .type = T_OPEN, .body = &open.base};
        struct call *stream, *c = NULL;
        bool good = rpc_stream_open(w->rig->peer, &g, &first, &stream) == OK;
        if (good && rig_stream(w->rig, &g, stream, b, 8, UINT32_MAX) == OK && round % 3 != 2) {
            ShardCommit commit = SHARD_COMMIT__INIT;
            good = rpc_stream_finish(stream, T_COMMIT, &commit.base) == OK;
            while (!call_info(stream).finished && gather_next(&g, SYS_FOREVER, &c) == OK)
                ;
            good = good && call_info(stream).result == OK;
        }
        note(w, good);
        gather_release(&g);
    }
    buf_unref(b);
}

static void run_all(struct rig *rig, bool restarts)
{
    struct worker w[CALLERS];
    void (*const run[CALLERS])(void *) = {control_worker, control_worker, read_worker,
                                          read_worker,    stream_worker,  stream_worker};
    for (unsigned i = 0; i < CALLERS; i++) {
        w[i] = (struct worker){.rig = rig};
        CHECK_OK(sys_event_new(&w[i].event));
        CHECK_OK(sys_thread_start(&w[i].thread, "worker", 0, run[i], &w[i]));
    }
    for (int i = 0; restarts && i < 3; i++) {
        sys_sleep_until(sys_now() + 30 * SYS_MS);
        rig_unserve(rig);
        rig_serve(rig, 64);
    }
    for (unsigned i = 0; i < CALLERS; i++) {
        sys_thread_join(w[i].thread);
        sys_event_free(w[i].event);
        CHECK(w[i].good > 0);
        CHECK(restarts || w[i].bad == 0);
    }
}

static void everything_at_once(void)
{
    struct rig rig;
    rig_init(&rig);
    run_all(&rig, false);
    CHECK_EQ(rpc_peer_stats(rig.peer).bulk_busy, 0);
    CHECK_EQ(buf_pool_stats(rig.pool).used_bytes, 0);
    rig_release(&rig);
}

static void with_restarts(void)
{
    struct rig rig;
    rig_init(&rig);
    run_all(&rig, true);
    CHECK_EQ(rpc_peer_stats(rig.peer).bulk_busy, 0);
    CHECK_EQ(buf_pool_stats(rig.pool).used_bytes, 0);
    rig_release(&rig);
}

/* A listener that never answers: nothing hangs beyond the connect time-out. */
static void half_open(void)
{
    struct rig rig;
    rig_init(&rig);
    rig_unserve(&rig);
    struct sys_socket *deaf;
    CHECK_OK(sys_listen(&rig.address, &deaf));
    int64_t answer, before = sys_now();
    CHECK_ERR(rig_call(&rig, T_ECHO, 1, 5 * SYS_SECOND, &answer), ERR_UNAVAILABLE);
    CHECK(sys_now() - before < 1500 * SYS_MS);
    sys_socket_close(deaf);
    rig_disconnect(&rig);
    rig_serve(&rig, 64);
    rig_connect(&rig);
    CHECK_OK(rig_call(&rig, T_ECHO, 1, 5 * SYS_SECOND, &answer));
    rig_release(&rig);
}

static const struct test tests[] = {{"everything at once", everything_at_once},
                                    {"with restarts", with_restarts},
                                    {"half open", half_open},
                                    {0}};
SUITE("rpc on sockets", tests)
