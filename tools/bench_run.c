#include "tools/bench_run.h"
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include "common/base/digest.h"
#include "common/base/text.h"

enum { STAMP = 16, PATTERN_SPARE = 65536, DELETE_MAX = 1000, TRIES = 8, PATH_BYTES = 160 };
#define OPERATION (60 * SYS_SECOND)
#define PAUSE     (20 * SYS_MS)
#define LOOK      (100 * SYS_MS)

enum phase { PHASE_FILL, PHASE_LOAD };

struct client {
    struct bench *bench;
    uint32_t number;
    struct sys_thread *thread;
    struct s3_connection *connection;
    uint64_t random;
    uint64_t next; /* object to put */
    struct bench_counts counts;
    bool failed; /* PHASE_FILL; read after the join */
};

struct bench {
    struct bench_plan plan;
    uint8_t *pattern;
    uint8_t run[8]; /* random: objects of one run */
    char run_text[17];
    uint64_t put; /* object numbers below this may exist */
    struct client *clients;
    enum phase phase;
    int64_t end;
    _Atomic uint64_t done, ended; /* operations; clients of this phase */
    _Atomic bool stopping;
};

static uint64_t next_random(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

struct bench *bench_new(const struct bench_plan *plan)
{
    struct bench *b = sys_alloc(sizeof *b);
    uint64_t seed;
    b->plan = *plan;
    size_t n = (size_t)plan->size + PATTERN_SPARE;
    b->pattern = sys_alloc_aligned(n + 8, 4096);
    sys_random(&seed, sizeof seed);
    seed |= 1;
    for (size_t i = 0; i < n; i += 8) {
        uint64_t word = next_random(&seed);
        memcpy(b->pattern + i, &word, 8);
    }
    sys_random(b->run, sizeof b->run);
    hex_encode(b->run, sizeof b->run, b->run_text);
    b->clients = sys_alloc(plan->clients * sizeof *b->clients);
    for (uint32_t i = 0; i < plan->clients; i++) {
        struct client *c = &b->clients[i];
        c->bench = b;
        c->number = i;
        c->random = next_random(&seed);
        c->connection = s3_connection_new(plan->target);
    }
    return b;
}

void bench_free(struct bench *b)
{
    if (!b)
        return;
    for (uint32_t i = 0; i < b->plan.clients; i++)
        s3_connection_free(b->clients[i].connection);
    sys_free(b->clients);
    sys_free(b->pattern);
    sys_free(b);
}

/* ---- objects ---- */

struct object {
    uint8_t stamp[STAMP];
    const uint8_t *rest;
    size_t stamp_n;
    char path[PATH_BYTES];
};

static void make_object(const struct bench *b, uint64_t number, struct object *o)
{
    memcpy(o->stamp, b->run, 8);
    memcpy(o->stamp + 8, &number, 8);
    o->stamp_n = b->plan.size < STAMP ? (size_t)b->plan.size : STAMP;
    o->rest = b->pattern + number * 4099 % PATTERN_SPARE;
    snprintf(o->path, sizeof o->path, "/%s/bench-%s/%llu", b->plan.bucket, b->run_text,
             (unsigned long long)number);
}

struct check {
    const struct object *object;
    size_t at;
    bool compare, wrong;
};

static void check_piece(void *arg, const uint8_t *data, size_t n)
{
    struct check *k = arg;
    const struct object *o = k->object;
    if (k->compare && k->at < o->stamp_n) {
        size_t m = o->stamp_n - k->at < n ? o->stamp_n - k->at : n;
        k->wrong |= memcmp(data, o->stamp + k->at, m) != 0;
        k->at += m;
        data += m;
        n -= m;
    }
    if (k->compare && n)
        k->wrong |= memcmp(data, o->rest + (k->at - o->stamp_n), n) != 0;
    k->at += n;
}

static void note_error(struct bench_counts *counts, const char *what, const char *path, enum err e,
                       const struct s3_reply *reply)
{
    counts->errors++;
    if (counts->first_error[0])
        return;
    if (e)
        snprintf(counts->first_error, BENCH_TEXT, "%s %s: %s", what, path, err_text(e));
    else
        snprintf(counts->first_error, BENCH_TEXT, "%s %s: %d %s", what, path, reply->status,
                 reply->code);
}

/* Whether it held; counts it either way. */
static bool operate(struct client *c, bool get, uint64_t number, bool verify)
{
    const struct bench *b = c->bench;
    struct object object;
    struct s3_reply reply = {0};
    make_object(b, number, &object);
    struct check check = {.object = &object, .compare = verify};
    struct s3_request r = {.method = get ? "GET" : "PUT",
                           .path = object.path,
                           .sign_payload = b->plan.sign_payload,
                           .take = check_piece,
                           .arg = &check};
    if (!get) {
        r.body[0] = (struct sys_slice){object.stamp, object.stamp_n};
        r.body[1] = (struct sys_slice){object.rest, (size_t)b->plan.size - object.stamp_n};
        r.slices = 2;
        r.take = NULL;
    }
    int64_t began = sys_now();
    r.deadline = began + OPERATION;
    enum err e = s3_exchange(c->connection, &r, &reply);
    int64_t took = sys_now() - began;
    if (e == OK && reply.status == 503 && strcmp(reply.code, "SlowDown") == 0) {
        c->counts.slow_downs++;
        return false;
    }
    if (e || reply.status != 200) {
        note_error(&c->counts, r.method, object.path, e, &reply);
        return false;
    }
    if (get && (reply.length != b->plan.size || check.wrong)) {
        c->counts.wrong++;
        note_error(&c->counts, "GET gave other bytes,", object.path, OK, &reply);
        return false;
    }
    c->counts.verified += get && verify;
    c->counts.operations++;
    stats_add(&c->counts.times, took);
    return true;
}

/* ---- phases ---- */

/* The working set, every client its share. */
static void fill(struct client *c)
{
    struct bench *b = c->bench;
    for (uint64_t n = c->number; n < b->plan.objects && !c->failed; n += b->plan.clients) {
        unsigned tries = 0;
        while (!operate(c, false, n, false) && ++tries < TRIES && !atomic_load(&b->stopping))
            sys_sleep_until(sys_now() + (PAUSE << tries));
        c->failed = tries == TRIES || atomic_load(&b->stopping);
        atomic_fetch_add(&b->done, !c->failed);
    }
}

static void load(struct client *c)
{
    struct bench *b = c->bench;
    uint64_t turn = c->number;
    while (!atomic_load(&b->stopping) && sys_now() < b->end) {
        uint64_t number = b->plan.get ? next_random(&c->random) % b->plan.objects : c->next;
        bool verify = b->plan.verify_every && turn++ % b->plan.verify_every == 0;
        bool held = operate(c, b->plan.get, number, verify);
        c->next += b->plan.clients;
        atomic_fetch_add(&b->done, 1);
        if (!held)
            sys_sleep_until(sys_now() + PAUSE);
    }
}

static void client_main(void *arg)
{
    struct client *c = arg;
    if (c->bench->phase == PHASE_FILL)
        fill(c);
    else
        load(c);
    atomic_fetch_add(&c->bench->ended, 1);
}

static enum err start_clients(struct bench *b)
{
    enum err e = OK;
    uint32_t started = 0;
    atomic_store(&b->done, 0);
    atomic_store(&b->ended, 0);
    for (; !e && started < b->plan.clients; started += !e)
        e = sys_thread_start(&b->clients[started].thread, "bench", 0, client_main,
                             &b->clients[started]);
    if (e) {
        atomic_store(&b->stopping, true);
        for (uint32_t i = 0; i < started; i++)
            sys_thread_join(b->clients[i].thread);
    }
    return e;
}

static void join_clients(struct bench *b)
{
    for (uint32_t i = 0; i < b->plan.clients; i++)
        sys_thread_join(b->clients[i].thread);
}

/* ---- before ---- */

static enum err make_bucket(struct bench *b, char problem[BENCH_TEXT])
{
    char path[PATH_BYTES];
    struct s3_reply reply = {0};
    snprintf(path, sizeof path, "/%s", b->plan.bucket);
    struct s3_request r = {.method = "PUT", .path = path, .deadline = sys_now() + OPERATION};
    enum err e = s3_exchange(b->clients[0].connection, &r, &reply);
    if (e == OK && reply.status / 100 != 2 && strcmp(reply.code, "BucketAlreadyOwnedByYou") != 0) {
        snprintf(problem, BENCH_TEXT, "bucket %s: %d %s", b->plan.bucket, reply.status, reply.code);
        return ERR_INVALID;
    }
    if (e)
        snprintf(problem, BENCH_TEXT, "http://%s: %s", b->plan.target->host, err_text(e));
    return e;
}

enum err bench_prepare(struct bench *b, void (*progress)(void *arg, uint64_t done, uint64_t total),
                       void *arg, char problem[BENCH_TEXT])
{
    enum err e = make_bucket(b, problem);
    if (e || !b->plan.get)
        return e;
    b->phase = PHASE_FILL;
    b->put = b->plan.objects;
    e = start_clients(b);
    if (e) {
        snprintf(problem, BENCH_TEXT, "%u threads: %s", b->plan.clients, err_text(e));
        return e;
    }
    struct sys_poll stop = {.event = sys_stop_event()};
    while (!atomic_load(&b->stopping) && atomic_load(&b->ended) < b->plan.clients) {
        progress(arg, atomic_load(&b->done), b->plan.objects);
        if (sys_poll(&stop, 1, sys_now() + LOOK) == OK)
            atomic_store(&b->stopping, true);
    }
    join_clients(b);
    for (uint32_t i = 0; i < b->plan.clients; i++) {
        struct client *c = &b->clients[i];
        if (c->failed && !e) {
            snprintf(problem, BENCH_TEXT, "%s", c->counts.first_error);
            e = ERR_UNAVAILABLE;
        }
        memset(&c->counts, 0, sizeof c->counts);
    }
    return atomic_load(&b->stopping) ? ERR_CANCELLED : e;
}

/* ---- the load ---- */

enum err bench_run(struct bench *b, struct sys_event *stop,
                   void (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                   struct bench_counts *out, int64_t *elapsed)
{
    int64_t began = sys_now();
    struct sys_poll poll = {.event = stop};
    b->phase = PHASE_LOAD;
    b->end = began + b->plan.duration;
    for (uint32_t i = 0; i < b->plan.clients; i++)
        b->clients[i].next = i;
    enum err e = start_clients(b);
    if (e)
        return e;
    for (int64_t now = began; now < b->end; now = sys_now()) {
        progress(arg, (uint64_t)(now - began), (uint64_t)b->plan.duration);
        if (sys_poll(&poll, 1, now + LOOK < b->end ? now + LOOK : b->end) == OK) {
            atomic_store(&b->stopping, true);
            break;
        }
    }
    join_clients(b);
    *elapsed = sys_now() - began;
    memset(out, 0, sizeof *out);
    for (uint32_t i = 0; i < b->plan.clients; i++) {
        const struct client *c = &b->clients[i];
        stats_merge(&out->times, &c->counts.times);
        out->operations += c->counts.operations;
        out->slow_downs += c->counts.slow_downs;
        out->errors += c->counts.errors;
        out->verified += c->counts.verified;
        out->wrong += c->counts.wrong;
        if (!out->first_error[0])
            memcpy(out->first_error, c->counts.first_error, BENCH_TEXT);
        if (!b->plan.get && c->next > b->put)
            b->put = c->next;
    }
    return OK;
}

/* ---- after ---- */

static enum err delete_some(struct bench *b, uint64_t from, uint64_t to, char *text, size_t room,
                            char problem[BENCH_TEXT])
{
    uint8_t md5[MD5_BYTES];
    char md5_text[32], path[PATH_BYTES];
    struct s3_reply reply = {0};
    size_t n = (size_t)snprintf(text, room, "<Delete><Quiet>true</Quiet>");
    for (uint64_t i = from; i < to; i++)
        n += (size_t)snprintf(text + n, room - n, "<Object><Key>bench-%s/%llu</Key></Object>",
                              b->run_text, (unsigned long long)i);
    n += (size_t)snprintf(text + n, room - n, "</Delete>");
    digest_md5(text, n, md5);
    base64_encode(md5, sizeof md5, md5_text);
    snprintf(path, sizeof path, "/%s", b->plan.bucket);
    struct s3_request r = {.method = "POST",
                           .path = path,
                           .query = "delete",
                           .body = {{text, n}},
                           .slices = 1,
                           .content_md5 = md5_text,
                           .deadline = sys_now() + OPERATION};
    enum err e = s3_exchange(b->clients[0].connection, &r, &reply);
    if (e == OK && reply.status == 503)
        return ERR_BUSY;
    if (e == OK && reply.status != 200) {
        snprintf(problem, BENCH_TEXT, "%d %s", reply.status, reply.code);
        return ERR_INVALID;
    }
    if (e)
        snprintf(problem, BENCH_TEXT, "%s", err_text(e));
    return e;
}

enum err bench_clean(struct bench *b, char problem[BENCH_TEXT])
{
    enum { PER_KEY = 96 };
    enum err e = OK;
    if (b->plan.keep || b->put == 0)
        return OK;
    char *text = sys_alloc(DELETE_MAX * PER_KEY);
    for (uint64_t at = 0; !e && at < b->put; at += DELETE_MAX) {
        uint64_t to = at + DELETE_MAX < b->put ? at + DELETE_MAX : b->put;
        unsigned tries = 0;
        do {
            if (tries)
                sys_sleep_until(sys_now() + (PAUSE << tries));
            snprintf(problem, BENCH_TEXT, "503");
            e = delete_some(b, at, to, text, DELETE_MAX * PER_KEY, problem);
        } while (e == ERR_BUSY && ++tries < TRIES);
    }
    sys_free(text);
    return e;
}
