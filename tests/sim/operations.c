/* What a client does with one key: writes, reads, conditions. */
#include <stdio.h>
#include <string.h>
#include "common/sys/sim/sim.h"
#include "tests/sim/operation.h"

enum { TRIES = 3, ID = 40, BODY_UNIQUE = 16 };

void operation_target(uint32_t key, char out[OPERATION_TARGET])
{
    if (key < WORK_KEYS_MAX)
        snprintf(out, OPERATION_TARGET, "/bucket/keys/%u", key);
    else
        snprintf(out, OPERATION_TARGET, "/bucket/claim/%u", key - WORK_KEYS_MAX);
}

const char *operation_name(const char *target)
{
    return target + strlen("/bucket/");
}

bool operation_certain(int status)
{
    return status >= 200 && status < 500;
}

void operation_complain(struct client *c, const char *what, const char *target,
                        const struct s3_answer *a)
{
    workload_fail(c->work, "%s %s: %d %.160s", what, target, a->status,
                  a->exchange.answer_body ? a->exchange.answer_body : "");
}

bool operation_contains(const struct s3_answer *a, const char *text)
{
    return a->exchange.answer_body && strstr(a->exchange.answer_body, text);
}

static void invocation(char out[ID])
{
    /* In one order: a seed is the same run whatever the compiler does. */
    uint64_t first = sim_random(), second = sim_random();
    snprintf(out, ID, "%016llx-%016llx", (unsigned long long)first, (unsigned long long)second);
}

void operation_send(struct client *c, struct s3_request *r, struct s3_answer *a)
{
    char id[ID];
    uint32_t tries = 1 + (uint32_t)(sim_random() % TRIES);
    invocation(id);
    r->invocation = id;
    for (r->attempt = 1;; r->attempt++) {
        s3_send(c->gateway, r, a);
        if (operation_certain(a->status) || r->attempt == tries)
            return;
        s3_release(a);
        int64_t rest = (int64_t)(sim_random() % (300 * SYS_MS));
        sys_sleep_until(sys_now() + rest);
    }
}

/* ---- the history ---- */

int64_t operation_stamp(struct client *c)
{
    struct workload *w = c->work;
    w->stamp = sim_now() > w->stamp ? sim_now() : w->stamp + 1;
    return w->stamp;
}

size_t operation_begin(struct client *c, const char *target, enum history_kind kind,
                       enum history_condition condition, uint64_t expected, uint64_t value)
{
    struct history *h = c->work->history;
    return history_begin(h, &(struct history_op){.invoke = operation_stamp(c),
                                                 .value = value,
                                                 .expected = expected,
                                                 .client = c->number,
                                                 .key = history_key(h, operation_name(target)),
                                                 .kind = (uint8_t)kind,
                                                 .condition = (uint8_t)condition});
}

void operation_done(struct client *c, size_t number, uint64_t value)
{
    history_end(c->work->history, number, operation_stamp(c), HISTORY_DONE, value);
}

void operation_refused(struct client *c, size_t number)
{
    history_end(c->work->history, number, operation_stamp(c), HISTORY_REFUSED, HISTORY_NOTHING);
}

void operation_etag(const char *quoted, char out[MODEL_ETAG])
{
    size_t n = 0;
    out[0] = '\0';
    if (!quoted || *quoted++ != '"')
        return;
    n = strcspn(quoted, "\"");
    if (n < MODEL_ETAG)
        snprintf(out, MODEL_ETAG, "%.*s", (int)n, quoted);
}

static void answer_etag(const struct s3_answer *a, char out[MODEL_ETAG])
{
    operation_etag(http_headers_get(&a->exchange.answer, "ETag"), out);
}

/* A condition on an object that is not there is refused with 404. */
static bool condition_failed(enum history_condition condition, const struct s3_answer *a)
{
    return condition != HISTORY_ALWAYS &&
           (a->status == 412 || (a->status == 404 && condition == HISTORY_IF_MATCH));
}

/* The end of a write, by its answer: done, refused, or not known. */
static bool ended(struct client *c, size_t number, const char *what, const char *target,
                  enum history_condition condition, const struct s3_answer *a, uint64_t value)
{
    bool done = a->status == 200 || a->status == 204;
    if (done) {
        operation_done(c, number, value);
        return true;
    }
    c->work->refused++;
    if (condition_failed(condition, a))
        operation_refused(c, number);
    else if (operation_certain(a->status))
        operation_complain(c, what, target, a);
    return false;
}

static void remember(struct client *c, uint32_t key, const char *etag)
{
    if (key < WORK_KEYS_MAX)
        snprintf(c->seen[key], MODEL_ETAG, "%s", etag);
}

/* ---- writes ---- */

/* All attempts of the pending write that there will be; it is pending no longer. */
static void attempt_all(struct client *c, const char *target, const uint8_t *bytes,
                        struct s3_answer *a)
{
    struct pending *p = &c->pending;
    uint32_t tries = p->once ? 1 : 1 + (uint32_t)(sim_random() % TRIES);
    char match[MODEL_ETAG + 2];
    struct s3_request r = {.method = p->removes ? "DELETE" : "PUT",
                           .target = target,
                           .body = bytes,
                           .n = bytes ? model_size(p->seed) : 0,
                           .invocation = p->id};
    snprintf(match, sizeof match, "\"%s\"", p->match);
    if (p->condition == HISTORY_IF_ABSENT)
        r.if_none_match = "*";
    if (p->condition == HISTORY_IF_MATCH)
        r.if_match = match;
    for (;;) {
        r.attempt = ++p->attempt;
        s3_send(c->gateway, &r, a);
        if (operation_certain(a->status) || --tries == 0)
            break;
        s3_release(a);
        int64_t rest = (int64_t)(sim_random() % (300 * SYS_MS));
        sys_sleep_until(sys_now() + rest);
        if (sim_random() % 2) /* as a balancer in between would */
            c->gateway = c->work->gateway[sim_random() % c->work->gateways];
    }
    p->open = false;
}

static size_t begin_pending(struct client *c, const char *target)
{
    const struct pending *p = &c->pending;
    bool matches = p->condition == HISTORY_IF_MATCH;
    return operation_begin(c, target, p->removes ? HISTORY_DELETE : HISTORY_PUT, p->condition,
                           matches ? model_value(p->match) : 0, p->value);
}

/* What an SDK's retry is told from is remembered by log time. When the only clock has made a step, later
 * attempts may be a request of their own. */
static bool may_be_apart(const struct client *c)
{
    return c->work->skewed && c->pending.attempt > 1;
}

static void attempt_pending(struct client *c, const char *target, const uint8_t *bytes,
                            struct s3_answer *a)
{
    struct pending *p = &c->pending;
    if (p->has_again && !may_be_apart(c))
        history_drop(c->work->history, p->again);
    p->again = begin_pending(c, target);
    p->has_again = true;
    attempt_all(c, target, bytes, a);
    p->has_again = false;
    if (!may_be_apart(c))
        history_drop(c->work->history, p->again);
}

/* Whether it was done. */
static bool write_pending(struct client *c)
{
    struct workload *w = c->work;
    struct pending *p = &c->pending;
    char target[OPERATION_TARGET], got[MODEL_ETAG];
    struct s3_answer a;
    operation_target(p->key, target);
    uint8_t *bytes = p->removes ? NULL : model_bytes(p->seed);
    attempt_pending(c, target, bytes, &a);
    /* Done is one of the two, at some time since the first began, and maybe both are. A refusal may be the
     * second's alone: then nothing is known of the first. */
    bool refused = may_be_apart(c) && condition_failed(p->condition, &a);
    bool done = !refused && ended(c, p->number, p->removes ? "DELETE" : "PUT", target, p->condition,
                                  &a, p->value);
    if (done) {
        *(p->removes ? &w->deletes : &w->puts) += 1;
        answer_etag(&a, got);
        if (!p->removes && model_value(got) != p->value)
            workload_fail(w, "PUT %s: ETag %s is not that of what was sent", target, got);
        remember(c, p->key, p->removes ? "" : got);
    }
    s3_release(&a);
    sys_free(bytes);
    return done;
}

/* IF_MATCH: what this client saw there last, if anything. Whether it was done. */
static bool begin_write(struct client *c, uint32_t key, bool removes,
                        enum history_condition condition)
{
    struct pending *p = &c->pending;
    const char *seen = key < WORK_KEYS_MAX ? c->seen[key] : "";
    char target[OPERATION_TARGET], etag[MODEL_ETAG];
    if (condition == HISTORY_IF_MATCH && !seen[0])
        condition = HISTORY_ALWAYS;
    operation_target(key, target);
    const struct pending former = *p;
    *p = (struct pending){.removes = removes, .key = key, .condition = condition};
    invocation(p->id);
    snprintf(p->match, sizeof p->match, "%s", seen);
    if (!removes) {
        p->seed = model_seed(sim_random(), false);
        uint8_t *bytes = model_bytes(p->seed);
        p->value = model_add(c->work->model, p->seed, bytes, false, etag);
        sys_free(bytes);
        /* An id that was used before, for bytes that were not: another request all the same. */
        if (former.id[0] && model_size(p->seed) >= BODY_UNIQUE && sim_random() % 8 == 0) {
            memcpy(p->id, former.id, sizeof p->id);
            p->attempt = former.attempt;
        }
    }
    p->number = begin_pending(c, target);
    p->open = true;
    return write_pending(c);
}

static void put(struct client *c, uint32_t key, enum history_condition condition)
{
    (void)begin_write(c, key, false, condition);
}

static void delete (struct client *c, uint32_t key, enum history_condition condition)
{
    (void)begin_write(c, key, true, condition);
}

/* An id and attempt number that were used for an equal request, which was answered: another request all
 * the same. It is sent once: a second attempt could not be told from one of the first request. */
static void delete_again(struct client *c, uint32_t key)
{
    struct pending *p = &c->pending, first;
    char target[OPERATION_TARGET];
    bool done = begin_write(c, key, true, HISTORY_ALWAYS);
    first = *p;
    if (!done || first.attempt > 1 || c->work->failed)
        return;
    put(c, key, HISTORY_ALWAYS);
    operation_target(key, target);
    *p = first;
    p->attempt = 0;
    p->once = p->open = true;
    p->number = operation_begin(c, target, HISTORY_DELETE, HISTORY_ALWAYS, 0, 0);
    if (write_pending(c))
        (void)operation_get(c, key);
}

void operation_resume(struct client *c)
{
    if (c->pending.open && !c->pending.once && sim_random() % 8)
        (void)write_pending(c);
    c->pending.open = false;
}

/* ---- reads ---- */

/* The value that a 2xx answer shows, after its bytes have been compared with what was once sent under
 * its ETag: [from, from + n) of it, or all when whole. */
static uint64_t shown(struct client *c, const char *target, const struct s3_answer *a, size_t from,
                      bool whole, char etag[MODEL_ETAG])
{
    answer_etag(a, etag);
    uint64_t value = model_value(etag), seed = model_find(c->work->model, value);
    size_t n = a->exchange.answer_body_n;
    if (!seed)
        workload_fail(c->work, "GET %s: ETag %s is of nothing that was ever written", target, etag);
    else if ((whole && n != model_size(seed)) ||
             !model_is(seed, from, a->exchange.answer_body ? a->exchange.answer_body : "", n))
        workload_fail(c->work, "GET %s: %zu bytes from %zu are not those of ETag %s", target, n,
                      from, etag);
    return value;
}

bool operation_get(struct client *c, uint32_t key)
{
    char target[OPERATION_TARGET], etag[MODEL_ETAG] = "";
    struct s3_answer a;
    operation_target(key, target);
    size_t number = operation_begin(c, target, HISTORY_GET, HISTORY_ALWAYS, 0, 0);
    s3_send(c->gateway, &(struct s3_request){.method = "GET", .target = target}, &a);
    bool answered = a.status == 200 || a.status == 404;
    if (a.status == 200)
        operation_done(c, number, shown(c, target, &a, 0, true, etag));
    else if (a.status == 404)
        operation_done(c, number, HISTORY_NOTHING);
    if (answered)
        remember(c, key, etag);
    else if (operation_certain(a.status))
        operation_complain(c, "GET", target, &a);
    c->work->gets += answered;
    c->work->refused += !answered;
    s3_release(&a);
    return answered;
}

static void get_range(struct client *c, uint32_t key)
{
    char target[OPERATION_TARGET], etag[MODEL_ETAG], range[64];
    uint64_t from = sim_random() % 3 ? sim_random() % 140000 : 0, n = 1 + sim_random() % 200000;
    struct s3_answer a;
    operation_target(key, target);
    snprintf(range, sizeof range, "bytes=%llu-%llu", (unsigned long long)from,
             (unsigned long long)(from + n - 1));
    size_t number = operation_begin(c, target, HISTORY_GET, HISTORY_ALWAYS, 0, 0);
    s3_send(c->gateway, &(struct s3_request){.method = "GET", .target = target, .range = range},
            &a);
    uint64_t value = HISTORY_NOTHING;
    bool answered = a.status == 206 || a.status == 404 || a.status == 416;
    if (a.status == 206) {
        value = shown(c, target, &a, from, false, etag);
        size_t size = model_size(model_find(c->work->model, value));
        size_t expected = size - from < n ? size - from : n;
        if (!c->work->failed && a.exchange.answer_body_n != expected)
            workload_fail(c->work, "GET %s %s: %zu of %zu bytes", target, range,
                          a.exchange.answer_body_n, expected);
    }
    if (answered) /* 416: an object, but which? */
        operation_done(c, number, a.status == 416 ? HISTORY_ANYTHING : value);
    else if (operation_certain(a.status))
        operation_complain(c, "GET range", target, &a);
    c->work->gets += answered;
    c->work->refused += !answered;
    s3_release(&a);
}

/* All clients go through the claims in the same order: the same ones at about the same time. */
static void claim(struct client *c)
{
    if (c->claims < WORK_CLAIMS)
        put(c, WORK_KEYS_MAX + c->claims++, HISTORY_IF_ABSENT);
    else
        (void)operation_get(c, WORK_KEYS_MAX + (uint32_t)(sim_random() % WORK_CLAIMS));
}

void operation_random(struct client *c)
{
    struct workload *w = c->work;
    uint32_t key = (uint32_t)(sim_random() % w->keys);
    uint64_t dice = sim_random() % 100;
    if (dice < 16)
        put(c, key, HISTORY_ALWAYS);
    else if (dice < 26)
        put(c, key, HISTORY_IF_ABSENT);
    else if (dice < 38)
        put(c, key, HISTORY_IF_MATCH);
    else if (dice < 58)
        (void)operation_get(c, key);
    else if (dice < 64)
        get_range(c, key);
    else if (dice < 73)
        delete (c, key, sim_random() % 2 ? HISTORY_ALWAYS : HISTORY_IF_MATCH);
    else if (dice < 75)
        delete_again(c, key);
    else if (dice < 82)
        (void)operation_list(c);
    else if (dice < 87)
        operation_copy(c, (uint32_t)(sim_random() % w->keys), key);
    else if (dice < 91 && w->large)
        operation_upload(c, key);
    else
        claim(c);
}
