/* A peer's bulk connections. Whoever has one has it alone. The keeper, a thread per peer, does what
 * must not hold up a request: it connects for those who wait in line, reads replies that nobody wants
 * any more from draining connections, and closes what has idled too long.
 *
 * Invariants:
 *   1. idle + busy + draining + connecting <= bulk_connections_max;
 *   2. a call in line is told exactly once, or leaves by pool_leave;
 *   3. only the keeper takes a connection out of the draining list. */
#include <assert.h>
#include "common/rpc/call_internal.h"
#include "common/rpc/peer_internal.h"

#define IDLE_NS  (15 * SYS_SECOND)
#define DRAIN_NS (10 * SYS_SECOND)

void pool_init(struct rpc_peer *p)
{
    breaker_init(&p->pool.breaker, &p->node->config.breaker);
    p->pool.next_call = 1;
}

static void list_push(struct link **list, struct link *l)
{
    l->previous = NULL;
    l->next = *list;
    if (*list)
        (*list)->previous = l;
    *list = l;
}

static void list_remove(struct link **list, struct link *l)
{
    if (l->previous)
        l->previous->next = l->next;
    else
        *list = l->next;
    if (l->next)
        l->next->previous = l->previous;
    l->next = l->previous = NULL;
}

void pool_release(struct rpc_peer *p)
{
    struct pool *pool = &p->pool;
    if (pool->thread)
        sys_thread_join(pool->thread);
    assert(pool->busy_count == 0 && pool->waiting_count == 0);
    for (struct link *l; (l = pool->idle);) {
        list_remove(&pool->idle, l);
        link_free(l);
    }
    for (struct link *l; (l = pool->draining);) {
        list_remove(&pool->draining, l);
        link_free(l);
    }
    sys_event_free(pool->wake);
}

/* Under the lock. */
static struct call *line_pop(struct pool *pool)
{
    struct call *c = pool->waiting;
    if (c) {
        pool->waiting = c->wait_next;
        if (!pool->waiting)
            pool->waiting_last = NULL;
        c->wait_next = NULL;
        pool->waiting_count--;
    }
    return c;
}

static void fail_line(struct pool *pool, enum err e)
{
    for (struct call *c; (c = line_pop(pool));)
        call_connected(c, NULL, e);
}

void pool_stop(struct rpc_peer *p)
{
    for (struct link *l = p->pool.busy; l; l = l->next)
        sys_socket_shutdown(l->socket);
    fail_line(&p->pool, ERR_STOPPING);
    sys_event_set(p->pool.wake);
}

/* Under the lock: gives a usable connection to the first in line, or keeps it. NULL, or the one to
 * close. */
static struct link *place(struct rpc_peer *p, struct link *l, int64_t now)
{
    struct pool *pool = &p->pool;
    if (p->stopping)
        return l;
    struct call *c = line_pop(pool);
    if (c) {
        list_push(&pool->busy, l);
        pool->busy_count++;
        call_connected(c, l, OK);
        return NULL;
    }
    l->until = now + IDLE_NS;
    l->idled = true;
    list_push(&pool->idle, l);
    pool->idle_count++;
    return NULL;
}

static uint32_t total(const struct pool *pool)
{
    return pool->idle_count + pool->busy_count + pool->draining_count + pool->connecting;
}

/* ---- the keeper ---- */

static void connect_one(struct rpc_peer *p)
{
    struct sys_socket *socket;
    enum err e = peer_connect(p, RPC_BULK, &socket);
    /* Those in line have sent nothing: one that broke while it was greeted is no reason to fail them. */
    if (e == ERR_CLOSED)
        e = peer_connect(p, RPC_BULK, &socket);
    struct link *l = e ? NULL : link_new(socket);
    int64_t now = sys_now();
    sys_mutex_lock(&p->lock);
    p->pool.connecting--;
    if (l) {
        reconnect_done(&p->pool.reconnect);
        l = place(p, l, now);
    } else {
        reconnect_failed(&p->pool.reconnect, e, now);
        fail_line(&p->pool, p->pool.reconnect.last_error);
    }
    sys_mutex_unlock(&p->lock);
    link_free(l);
}

/* Closes idle connections whose time has come (the oldest are last); *next: when to look again. */
static void close_idle(struct rpc_peer *p, int64_t now, int64_t *next)
{
    struct pool *pool = &p->pool;
    struct link *gone = NULL;
    sys_mutex_lock(&p->lock);
    for (struct link *l = pool->idle, *after; l; l = after) {
        after = l->next;
        if (l->until <= now) {
            list_remove(&pool->idle, l);
            pool->idle_count--;
            list_push(&gone, l);
        } else if (l->until < *next) {
            *next = l->until;
        }
    }
    sys_mutex_unlock(&p->lock);
    for (struct link *l; (l = gone);) {
        list_remove(&gone, l);
        link_free(l);
    }
}

static size_t list_draining(struct rpc_peer *p, struct link *out[DRAINING_MAX], int64_t *next)
{
    size_t n = 0;
    sys_mutex_lock(&p->lock);
    for (struct link *l = p->pool.draining; l; l = l->next) {
        assert(n < DRAINING_MAX);
        out[n++] = l;
        if (l->until < *next)
            *next = l->until;
    }
    sys_mutex_unlock(&p->lock);
    return n;
}

static void drain(struct rpc_peer *p, struct link *l, int64_t now)
{
    bool moved;
    enum err e = link_receive(l, &moved);
    if (e == ERR_TIMEOUT && now < l->until)
        return;
    sys_mutex_lock(&p->lock);
    list_remove(&p->pool.draining, l);
    p->pool.draining_count--;
    if (e == OK)
        l = place(p, l, now);
    sys_mutex_unlock(&p->lock);
    link_free(l);
}

static void keep(struct rpc_peer *p)
{
    struct link *draining[DRAINING_MAX];
    struct sys_poll v[1 + DRAINING_MAX] = {{.event = p->pool.wake}};
    int64_t next = SYS_FOREVER;
    close_idle(p, sys_now(), &next);
    size_t n = list_draining(p, draining, &next);
    for (size_t i = 0; i < n; i++)
        v[1 + i] = (struct sys_poll){.socket = draining[i]->socket, .want = SYS_READ};
    enum err e = sys_poll(v, 1 + n, next);
    if (e == OK && v[0].ready)
        sys_event_clear(p->pool.wake);
    int64_t now = sys_now();
    for (size_t i = 0; i < n; i++)
        if ((e == OK && v[1 + i].ready) || draining[i]->until <= now)
            drain(p, draining[i], now);
}

static void keeper_run(void *arg)
{
    struct rpc_peer *p = arg;
    struct pool *pool = &p->pool;
    for (;;) {
        sys_mutex_lock(&p->lock);
        bool stopping = p->stopping;
        bool connect =
            !stopping && pool->waiting && total(pool) < p->node->config.bulk_connections_max;
        pool->connecting += connect;
        sys_mutex_unlock(&p->lock);
        if (stopping)
            return;
        if (connect)
            connect_one(p);
        else
            keep(p);
    }
}

/* ---- for calls ---- */

/* Under the lock. */
static enum err stand_in_line(struct rpc_peer *p, struct call *call, int64_t now)
{
    struct pool *pool = &p->pool;
    if (now < pool->reconnect.not_before && !call->insist)
        return pool->reconnect.last_error;
    if (pool->waiting_count >= p->node->config.bulk_waiting_max)
        return ERR_BUSY;
    if (!pool->thread && sys_thread_start(&pool->thread, "rpc-bulk", PEER_STACK, keeper_run, p))
        return ERR_BUSY;
    call->wait_next = NULL;
    if (pool->waiting_last)
        pool->waiting_last->wait_next = call;
    else
        pool->waiting = call;
    pool->waiting_last = call;
    pool->waiting_count++;
    sys_event_set(pool->wake);
    return OK;
}

/* Whether the other side has not closed it meanwhile (a restarted server, an idle time-out). */
static bool is_quiet(struct link *l)
{
    struct sys_poll v = {.socket = l->socket, .want = SYS_READ};
    return sys_poll(&v, 1, 0) == ERR_TIMEOUT;
}

static struct link *take_idle(struct rpc_peer *p)
{
    struct pool *pool = &p->pool;
    struct link *l = pool->idle;
    if (l) {
        list_remove(&pool->idle, l);
        pool->idle_count--;
        list_push(&pool->busy, l);
        pool->busy_count++;
    }
    return l;
}

enum err pool_take(struct rpc_peer *p, struct call *call, uint64_t *id, struct link **out)
{
    struct pool *pool = &p->pool;
    int64_t now = sys_now();
    bool allowed = false;
    for (;;) {
        enum err e = OK;
        struct link *l = NULL;
        sys_mutex_lock(&p->lock);
        if (call->insist && !allowed)
            breaker_insist(&pool->breaker, now);
        if (p->stopping)
            e = ERR_STOPPING;
        else if (!allowed && !call->insist && !breaker_allow(&pool->breaker, now))
            e = ERR_BREAKER_OPEN;
        else {
            allowed = true;
            *id = pool->next_call++;
            l = take_idle(p);
            if (!l)
                e = stand_in_line(p, call, now);
        }
        if (e && allowed)
            breaker_forget(&pool->breaker, now);
        sys_mutex_unlock(&p->lock);
        *out = l;
        if (e || !l || is_quiet(l))
            return e;
        pool_give(p, l, LINK_BROKEN);
    }
}

bool pool_leave(struct rpc_peer *p, struct call *call)
{
    struct pool *pool = &p->pool;
    bool found = false;
    sys_mutex_lock(&p->lock);
    struct call *before = NULL;
    for (struct call **at = &pool->waiting; *at; before = *at, at = &(*at)->wait_next) {
        if (*at != call)
            continue;
        *at = call->wait_next;
        if (pool->waiting_last == call)
            pool->waiting_last = before;
        pool->waiting_count--;
        found = true;
        break;
    }
    sys_mutex_unlock(&p->lock);
    return found;
}

void pool_give(struct rpc_peer *p, struct link *l, enum link_end end)
{
    struct pool *pool = &p->pool;
    int64_t now = sys_now();
    bool wake = false;
    sys_mutex_lock(&p->lock);
    list_remove(&pool->busy, l);
    pool->busy_count--;
    bool keeper =
        pool->thread || !sys_thread_start(&pool->thread, "rpc-bulk", PEER_STACK, keeper_run, p);
    if (end == LINK_IDLE) {
        l = place(p, l, now);
    } else if (end == LINK_DRAIN && keeper && !p->stopping && pool->draining_count < DRAINING_MAX) {
        l->until = now + DRAIN_NS;
        list_push(&pool->draining, l);
        pool->draining_count++;
        l = NULL;
        wake = true;
    }
    wake = wake || pool->waiting; /* one fewer: room to connect */
    sys_mutex_unlock(&p->lock);
    if (wake)
        sys_event_set(pool->wake);
    link_free(l);
}

void pool_report(struct rpc_peer *p, bool answered, enum err result, int64_t took_ns)
{
    int64_t now = sys_now();
    sys_mutex_lock(&p->lock);
    if (result == ERR_CANCELLED && !answered && took_ns <= p->pool.breaker.settings.slow_ns)
        breaker_forget(&p->pool.breaker, now);
    else
        breaker_end(&p->pool.breaker, now, answered, result, took_ns);
    sys_mutex_unlock(&p->lock);
}
