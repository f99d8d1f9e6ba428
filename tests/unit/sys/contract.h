/* What sys.h promises, as tests that pass on both floors: included by tests/unit/sys/test_contract.c
 * (simulated) and tests/unit/sys_posix/test_contract.c (real). Files in contract_files.h. */
#pragma once
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/sys/log.h"
#include "common/sys/sys.h"
#include "tests/unit/suite.h"

static struct sys_thread *start(void (*run)(void *), void *arg)
{
    struct sys_thread *t = NULL;
    CHECK_OK(sys_thread_start(&t, "helper", 0, run, arg));
    return t;
}

static int64_t in_ms(int64_t ms)
{
    return sys_now() + ms * SYS_MS;
}

/* ---- memory, time, randomness, log ---- */

static void memory(void)
{
    uint8_t *zero = sys_alloc(1000);
    for (int i = 0; i < 1000; i++)
        CHECK(zero[i] == 0);
    memset(zero, 7, 1000);
    zero = sys_realloc(zero, 100000);
    CHECK(zero[999] == 7);
    zero = sys_realloc(zero, 10);
    CHECK(zero[9] == 7);
    sys_free(zero);
    for (size_t align = 16; align <= 8192; align *= 2) {
        void *p = sys_alloc_aligned(100, align);
        CHECK((uintptr_t)p % align == 0);
        memset(p, 1, 100);
        sys_free(p);
    }
    void *a = sys_alloc(0), *b = sys_alloc(0);
    CHECK(a != b);
    sys_free(a);
    sys_free(b);
    sys_free(NULL);
    sys_free(sys_realloc(NULL, 10));
}

static void clocks(void)
{
    int64_t before = sys_now();
    sys_sleep_until(before + 5 * SYS_MS);
    CHECK(sys_now() >= before + 5 * SYS_MS);
    sys_sleep_until(0);
    CHECK(sys_wall() > INT64_C(1700000000) * SYS_SECOND);
    CHECK(sys_cpu_time() >= 0);
    int64_t boot = sys_boottime(), begin = sys_now();
    sys_sleep_until(begin + 20 * SYS_MS);
    int64_t end = sys_now(), since = sys_boottime() - boot;
    CHECK(since >= end - begin && since < 5 * SYS_SECOND);
    uint8_t a[40] = {0}, b[40] = {0};
    sys_random(a, sizeof a);
    sys_random(b, sizeof b);
    CHECK(memcmp(a, b, sizeof a) != 0);
    log_info("contract", "a line with a %s", "newline \n in it");
    CHECK(!sys_event_is_set(sys_stop_event()));
    CHECK(!sys_event_is_set(sys_reload_event()));
}

/* ---- threads, mutexes, conditions ---- */

struct counter {
    struct sys_mutex mutex;
    struct sys_cond cond;
    int value, waiting;
};

static void counter_init(struct counter *c)
{
    *c = (struct counter){0};
    sys_mutex_init(&c->mutex);
    sys_cond_init(&c->cond);
}

static void counter_release(struct counter *c)
{
    sys_cond_release(&c->cond);
    sys_mutex_release(&c->mutex);
}

static void add_hundred(void *arg)
{
    struct counter *c = arg;
    for (int i = 0; i < 100; i++) {
        sys_mutex_lock(&c->mutex);
        int seen = c->value;
        if (i % 10 == 0)
            (void)sys_now(); /* somebody else may run here, but not with the lock */
        c->value = seen + 1;
        sys_mutex_unlock(&c->mutex);
    }
}

static void threads_and_mutex(void)
{
    struct counter c;
    struct sys_thread *t[8];
    counter_init(&c);
    for (int i = 0; i < 8; i++)
        t[i] = start(add_hundred, &c);
    for (int i = 0; i < 8; i++)
        sys_thread_join(t[i]);
    CHECK_EQ(c.value, 800);
    counter_release(&c);
}

static void wait_for_value(void *arg)
{
    struct counter *c = arg;
    sys_mutex_lock(&c->mutex);
    c->waiting++;
    sys_cond_broadcast(&c->cond);
    while (c->value == 0)
        (void)sys_cond_wait(&c->cond, &c->mutex, SYS_FOREVER);
    c->value++;
    sys_mutex_unlock(&c->mutex);
}

static void conditions(void)
{
    struct counter c;
    struct sys_thread *t[4];
    counter_init(&c);
    for (int i = 0; i < 4; i++)
        t[i] = start(wait_for_value, &c);
    sys_mutex_lock(&c.mutex);
    while (c.waiting < 4)
        (void)sys_cond_wait(&c.cond, &c.mutex, in_ms(10000));
    CHECK_EQ(c.value, 0);
    c.value = 1;
    sys_mutex_unlock(&c.mutex);
    sys_cond_broadcast(&c.cond);
    for (int i = 0; i < 4; i++)
        sys_thread_join(t[i]);
    CHECK_EQ(c.value, 5);
    counter_release(&c);
}

static void condition_deadline(void)
{
    struct counter c;
    counter_init(&c);
    sys_mutex_lock(&c.mutex);
    int64_t until = in_ms(20);
    while (sys_cond_wait(&c.cond, &c.mutex, until) == OK)
        CHECK(sys_now() < until + 1000 * SYS_MS);
    CHECK(sys_now() >= until);
    while (sys_cond_wait(&c.cond, &c.mutex, 0) == OK) {}
    sys_mutex_unlock(&c.mutex);
    counter_release(&c);
}

/* ---- events and poll ---- */

static void set_later(void *arg)
{
    sys_sleep_until(in_ms(10));
    sys_event_set(arg);
}

static void events(void)
{
    struct sys_event *e = NULL, *other = NULL;
    CHECK_OK(sys_event_new(&e));
    CHECK_OK(sys_event_new(&other));
    struct sys_poll v[3] = {{.event = other}, {0}, {.event = e}};
    CHECK_ERR(sys_poll(v, 3, 0), ERR_TIMEOUT);
    int64_t until = in_ms(10);
    CHECK_ERR(sys_poll(v, 3, until), ERR_TIMEOUT);
    CHECK(sys_now() >= until);
    struct sys_thread *t = start(set_later, e);
    CHECK_OK(sys_poll(v, 3, in_ms(10000)));
    CHECK(!v[0].ready && !v[1].ready && v[2].ready == SYS_READ);
    sys_thread_join(t);
    CHECK(sys_event_is_set(e)); /* until it is cleared, however often it was looked at */
    sys_event_set(e);
    CHECK_OK(sys_poll(v, 3, SYS_FOREVER));
    sys_event_clear(e);
    CHECK(!sys_event_is_set(e));
    CHECK_ERR(sys_poll(v, 3, 0), ERR_TIMEOUT);
    sys_event_free(e);
    sys_event_free(other);
}

/* ---- sockets ---- */

static struct sys_addr loopback(uint16_t port)
{
    char text[SYS_ADDR_TEXT];
    struct sys_addr a = {0};
    snprintf(text, sizeof text, "127.0.0.1:%u", port);
    CHECK_OK(sys_addr_parse(text, &a));
    return a;
}

struct pair {
    struct sys_socket *listener, *client, *server;
};

static void pair_open(struct pair *p)
{
    struct sys_addr any = loopback(0);
    *p = (struct pair){0};
    CHECK_OK(sys_listen(&any, &p->listener));
    struct sys_addr where = sys_socket_local(p->listener);
    CHECK(where.port != 0);
    CHECK_OK(sys_connect(&where, in_ms(5000), &p->client));
    CHECK_OK(sys_accept(p->listener, in_ms(5000), &p->server));
}

static void pair_close(struct pair *p)
{
    sys_socket_close(p->client);
    sys_socket_close(p->server);
    sys_socket_close(p->listener);
}

static void send_all(struct sys_socket *s, const uint8_t *data, size_t n)
{
    while (n > 0) {
        struct sys_slice v[2] = {{data, n / 2}, {data + n / 2, n - n / 2}};
        size_t done = 0;
        if (!CHECK_OK(sys_send(s, v, 2, n > 1000, in_ms(10000), &done)) || !CHECK(done > 0))
            return;
        data += done;
        n -= done;
    }
}

static void check_received(struct sys_socket *s, const uint8_t *want, size_t n)
{
    uint8_t got[5000];
    while (n > 0) {
        size_t done = 0;
        size_t max = n < sizeof got ? n : sizeof got;
        if (!CHECK_OK(sys_recv(s, got, max, in_ms(10000), &done)) || !CHECK(done > 0))
            return;
        CHECK_BYTES(got, want, done);
        want += done;
        n -= done;
    }
}

enum { BULK = 600000 }; /* more than any socket buffers in the simulator */

static uint8_t *pattern(size_t n)
{
    uint8_t *p = sys_alloc(n);
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(i * 31 + i / 251);
    return p;
}

static void send_bulk(void *arg)
{
    uint8_t *data = pattern(BULK);
    send_all(arg, data, BULK);
    sys_socket_shutdown_write(arg);
    sys_free(data);
}

static void sockets_bulk(void)
{
    struct pair p;
    pair_open(&p);
    uint8_t *data = pattern(BULK);
    struct sys_thread *t = start(send_bulk, p.client);
    check_received(p.server, data, BULK);
    uint8_t byte;
    size_t done;
    CHECK_ERR(sys_recv(p.server, &byte, 1, in_ms(5000), &done), ERR_CLOSED);
    /* The other direction still works after the half-close. */
    send_all(p.server, data, 10);
    check_received(p.client, data, 10);
    sys_thread_join(t);
    sys_free(data);
    struct sys_addr a = sys_socket_peer(p.client), b = sys_socket_local(p.server);
    CHECK(memcmp(a.host, b.host, 16) == 0 || a.port == b.port);
    pair_close(&p);
}

static void sockets_deadlines(void)
{
    struct pair p;
    struct sys_socket *none = NULL;
    pair_open(&p);
    uint8_t byte;
    size_t done;
    int64_t until = in_ms(10);
    CHECK_ERR(sys_recv(p.client, &byte, 1, until, &done), ERR_TIMEOUT);
    CHECK(sys_now() >= until);
    CHECK_ERR(sys_recv(p.client, &byte, 1, 0, &done), ERR_TIMEOUT);
    CHECK_ERR(sys_accept(p.listener, in_ms(5), &none), ERR_TIMEOUT);
    /* Nobody reads: at some point the window is full. */
    static const uint8_t zeros[65536];
    struct sys_slice v = {zeros, sizeof zeros};
    enum err e = OK;
    for (int i = 0; i < 1000 && !e; i++)
        e = sys_send(p.client, &v, 1, false, 0, &done);
    CHECK_ERR(e, ERR_TIMEOUT);
    struct sys_poll w = {.socket = p.client, .want = SYS_WRITE};
    CHECK_ERR(sys_poll(&w, 1, in_ms(5)), ERR_TIMEOUT);
    pair_close(&p);
}

static void sockets_poll(void)
{
    struct pair p;
    pair_open(&p);
    struct sys_poll v[2] = {{.socket = p.client, .want = SYS_READ},
                            {.socket = p.listener, .want = SYS_READ}};
    CHECK_ERR(sys_poll(v, 2, in_ms(5)), ERR_TIMEOUT);
    send_all(p.server, (const uint8_t *)"x", 1);
    CHECK_OK(sys_poll(v, 2, in_ms(5000)));
    CHECK_EQ(v[0].ready, SYS_READ);
    CHECK_EQ(v[1].ready, 0);
    check_received(p.client, (const uint8_t *)"x", 1);
    v[0].want = SYS_WRITE;
    CHECK_OK(sys_poll(v, 2, 0));
    CHECK_EQ(v[0].ready, SYS_WRITE);
    /* A peer that left is seen without asking for it. */
    v[0].want = 0;
    sys_socket_close(p.server);
    p.server = NULL;
    CHECK_OK(sys_poll(v, 2, in_ms(5000)));
    CHECK_EQ(v[0].ready, SYS_HANGUP);
    uint8_t byte;
    size_t done;
    CHECK_ERR(sys_recv(p.client, &byte, 1, in_ms(5000), &done), ERR_CLOSED);
    pair_close(&p);
}

static void shut_later(void *arg)
{
    sys_sleep_until(in_ms(10));
    sys_socket_shutdown(arg);
}

static void sockets_shutdown(void)
{
    struct pair p;
    uint8_t byte;
    size_t done;
    pair_open(&p);
    struct sys_thread *t = start(shut_later, p.client);
    CHECK_ERR(sys_recv(p.client, &byte, 1, SYS_FOREVER, &done), ERR_CLOSED);
    sys_thread_join(t);
    struct sys_slice v = {"x", 1};
    CHECK_ERR(sys_send(p.client, &v, 1, false, 0, &done), ERR_CLOSED);
    CHECK_ERR(sys_recv(p.server, &byte, 1, in_ms(5000), &done), ERR_CLOSED);
    struct sys_socket *none = NULL;
    t = start(shut_later, p.listener);
    CHECK_ERR(sys_accept(p.listener, SYS_FOREVER, &none), ERR_CLOSED);
    sys_thread_join(t);
    pair_close(&p);
}

/* Writing to a peer that closed fails, if not at once. */
static void sockets_peer_closed(void)
{
    struct pair p;
    pair_open(&p);
    sys_socket_close(p.server);
    p.server = NULL;
    struct sys_slice v = {"x", 1};
    enum err e = OK;
    for (int i = 0; i < 100 && !e; i++) {
        size_t done;
        e = sys_send(p.client, &v, 1, false, in_ms(100), &done);
        sys_sleep_until(in_ms(2));
    }
    CHECK_ERR(e, ERR_CLOSED);
    pair_close(&p);
}

static void sockets_refused(void)
{
    struct pair p;
    pair_open(&p);
    struct sys_addr where = sys_socket_local(p.listener);
    struct sys_socket *none = NULL;
    CHECK_ERR(sys_listen(&where, &none), ERR_ADDRESS_IN_USE);
    pair_close(&p);
    CHECK_ERR(sys_connect(&where, in_ms(5000), &none), ERR_REFUSED);
    struct sys_addr out[4];
    size_t n = 0;
    CHECK_OK(sys_resolve("127.0.0.1", 80, in_ms(5000), out, 4, &n));
    CHECK(n == 1 && out[0].port == 80);
    where = loopback(80);
    CHECK_BYTES(out[0].host, where.host, 16);
    CHECK_OK(sys_resolve("localhost", 80, in_ms(5000), out, 4, &n));
    CHECK_ERR(sys_resolve("no such host", 80, in_ms(5000), out, 4, &n), ERR_NOT_FOUND);
}

static void sockets_backlog(void)
{
    enum { CLIENTS = 50 };
    struct sys_addr any = loopback(0);
    struct sys_socket *l = NULL, *client[CLIENTS] = {0}, *server[CLIENTS] = {0};
    CHECK_OK(sys_listen(&any, &l));
    struct sys_addr where = sys_socket_local(l);
    for (int i = 0; i < CLIENTS; i++)
        CHECK_OK(sys_connect(&where, in_ms(5000), &client[i]));
    for (int i = 0; i < CLIENTS; i++)
        CHECK_OK(sys_accept(l, in_ms(5000), &server[i]));
    send_all(client[CLIENTS - 1], (const uint8_t *)"y", 1);
    check_received(server[CLIENTS - 1], (const uint8_t *)"y", 1);
    for (int i = 0; i < CLIENTS; i++) {
        sys_socket_close(client[i]);
        sys_socket_close(server[i]);
    }
    sys_socket_close(l);
}

#define CONTRACT_TESTS                                                                        \
    {"memory", memory}, {"clocks", clocks}, {"threads and mutex", threads_and_mutex},         \
        {"conditions", conditions}, {"condition deadline", condition_deadline},               \
        {"events", events}, {"sockets bulk", sockets_bulk},                                   \
        {"sockets deadlines", sockets_deadlines}, {"sockets poll", sockets_poll},             \
        {"sockets shutdown", sockets_shutdown}, {"sockets peer closed", sockets_peer_closed}, \
        {"sockets refused", sockets_refused},                                                 \
    {                                                                                         \
        "sockets backlog", sockets_backlog                                                    \
    }
