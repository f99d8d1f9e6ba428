#include "tests/sim/workload.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "common/sys/sim/sim.h"
#include "tests/sim/s3.h"

enum { KEYS = 6, VALUES_MAX = 8, CLIENTS_MAX = 8, PATIENCE = 200 };

/* What a key may hold: the values that its writes had, 0 for "nothing". */
struct key {
    uint64_t values[VALUES_MAX];
    uint32_t count;
};

struct client {
    struct workload *work;
    struct gateway *gateway;
    uint32_t number;
    struct key keys[KEYS];
};

static void fail(struct client *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void fail(struct client *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (!c->work->failed)
        vsnprintf(c->work->problem, sizeof c->work->problem, format, args);
    va_end(args);
    c->work->failed = true;
}

/* A value is a seed: its size and its bytes follow from it. */
static uint32_t size_of(uint64_t value)
{
    static const uint32_t sizes[] = {0,     1,      63,     4096,    16384,
                                     20480, 100000, 262144, 1048577, 3000000};
    return sizes[value % (sizeof sizes / sizeof sizes[0])];
}

static void bytes_of(uint64_t value, uint8_t *out, size_t n)
{
    uint64_t x = value * UINT64_C(0x9e3779b97f4a7c15) + 1;
    for (size_t i = 0; i < n; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        out[i] = (uint8_t)x;
    }
}

static void target_of(const struct client *c, uint32_t key, char out[64])
{
    snprintf(out, 64, "/bucket/client-%u/key-%u", c->number, key);
}

static void may_hold(struct key *k, uint64_t value)
{
    if (k->count < VALUES_MAX)
        k->values[k->count++] = value;
}

/* 2xx, 4xx: certain. 5xx or nothing: a write may or may not have happened. */
static bool certain(int status)
{
    return status >= 200 && status < 500;
}

static void put(struct client *c, uint32_t number)
{
    struct key *k = &c->keys[number];
    uint64_t value = sim_random() | 1;
    uint32_t n = size_of(value);
    uint8_t *bytes = sys_alloc(n + 1);
    char target[64];
    struct s3_answer a;
    bytes_of(value, bytes, n);
    target_of(c, number, target);
    if (k->count == VALUES_MAX)
        return sys_free(bytes);
    s3_send(c->gateway, "PUT", target, bytes, n, &a);
    if (a.status == 200) {
        k->count = 0;
        c->work->puts++;
    } else {
        c->work->refused++;
    }
    if (certain(a.status) && a.status != 200)
        fail(c, "PUT %s: %d %s", target, a.status, a.exchange.answer_body);
    else
        may_hold(k, value);
    s3_release(&a);
    sys_free(bytes);
}

static void delete (struct client *c, uint32_t number)
{
    struct key *k = &c->keys[number];
    char target[64];
    struct s3_answer a;
    target_of(c, number, target);
    if (k->count == VALUES_MAX)
        return;
    s3_send(c->gateway, "DELETE", target, NULL, 0, &a);
    if (a.status == 204) {
        k->count = 0;
        c->work->deletes++;
    } else {
        c->work->refused++;
    }
    if (certain(a.status) && a.status != 204)
        fail(c, "DELETE %s: %d %s", target, a.status, a.exchange.answer_body);
    else
        may_hold(k, 0);
    s3_release(&a);
}

static bool is_value(uint64_t value, const uint8_t *data, size_t n)
{
    bool same = n == size_of(value);
    uint8_t *bytes = same ? sys_alloc(n + 1) : NULL;
    if (same) {
        bytes_of(value, bytes, n);
        same = memcmp(bytes, data, n) == 0;
    }
    sys_free(bytes);
    return same;
}

/* False when the answer was "not now". */
static bool get(struct client *c, uint32_t number)
{
    struct key *k = &c->keys[number];
    char target[64];
    struct s3_answer a;
    bool found = false;
    target_of(c, number, target);
    s3_send(c->gateway, "GET", target, NULL, 0, &a);
    bool answered = a.status == 200 || a.status == 404;
    for (uint32_t i = 0; answered && !found && i < k->count; i++) {
        uint64_t v = k->values[i];
        found = a.status == 404 ? v == 0
                                : v != 0 && is_value(v, (const uint8_t *)a.exchange.answer_body,
                                                     a.exchange.answer_body_n);
        if (found) {
            k->values[0] = v;
            k->count = 1;
        }
    }
    if (answered && !found)
        fail(c, "GET %s: %d with %zu bytes is none of the %u values it may hold", target, a.status,
             a.exchange.answer_body_n, k->count);
    c->work->gets += answered;
    c->work->refused += !answered;
    if (!answered && certain(a.status))
        fail(c, "GET %s: %d %s", target, a.status, a.exchange.answer_body);
    s3_release(&a);
    return answered;
}

static void client_main(void *arg)
{
    struct client *c = arg;
    for (uint32_t i = 0; i < KEYS; i++)
        may_hold(&c->keys[i], 0);
    for (uint32_t i = 0; i < c->work->operations && !c->work->failed; i++) {
        uint32_t key = (uint32_t)(sim_random() % KEYS);
        uint64_t dice = sim_random() % 10;
        if (dice < 5)
            put(c, key);
        else if (dice < 9)
            (void)get(c, key);
        else
            delete (c, key);
    }
    /* Everything that was acknowledged is there, however long the cluster needs to say so. */
    for (uint32_t key = 0; key < KEYS && !c->work->failed; key++) {
        uint32_t tries = 0;
        while (!get(c, key) && !c->work->failed && ++tries < PATIENCE)
            sys_sleep_until(sys_now() + 500 * SYS_MS);
        if (tries == PATIENCE)
            fail(c, "client %u key %u cannot be read", c->number, key);
    }
    c->work->done++;
}

static bool make_bucket(struct gateway *g)
{
    for (int i = 0; i < PATIENCE; i++) {
        struct s3_answer a;
        s3_send(g, "PUT", "/bucket", NULL, 0, &a);
        bool made = a.status == 200;
        s3_release(&a);
        if (made)
            return true;
        sys_sleep_until(sys_now() + 200 * SYS_MS);
    }
    return false;
}

void workload_main(void *arg)
{
    struct workload *w = arg;
    struct server *s = sys_alloc(sizeof *s);
    struct client *clients = sys_alloc(CLIENTS_MAX * sizeof *clients);
    struct sys_thread *threads[CLIENTS_MAX];
    struct config config;
    uint32_t started = 0;
    if (sim_cluster_connect(w->cluster, s, &config) != OK)
        fail(&(struct client){.work = w}, "no gateway: %s", s->problem);
    else if (!make_bucket(s->gateway))
        fail(&(struct client){.work = w}, "the bucket could not be made");
    for (; !w->failed && started < w->clients && started < CLIENTS_MAX; started++) {
        clients[started] = (struct client){.work = w, .gateway = s->gateway, .number = started};
        if (sys_thread_start(&threads[started], "client", 0, client_main, &clients[started]) != OK)
            break;
    }
    for (uint32_t i = 0; i < started; i++)
        sys_thread_join(threads[i]);
    server_stop(s);
    sys_free(clients);
    sys_free(s);
    config_release(&config);
}
