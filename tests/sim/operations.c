/* What a client does: one S3 request or a few, and what they say about the model. */
#include <stdio.h>
#include <string.h>
#include "common/sys/sim/sim.h"
#include "tests/sim/s3.h"
#include "tests/sim/workload.h"

enum { TARGET = 128, TRIES = 3, PART = 5 << 20, ID = 40 };

static void target_of(const struct client *c, uint32_t key, char out[TARGET])
{
    snprintf(out, TARGET, "/bucket/client-%u/key-%u", c->number, key);
}

/* 2xx, 4xx: certain. 5xx or nothing: a write may or may not have happened. */
static bool certain(int status)
{
    return status >= 200 && status < 500;
}

static void complain(struct client *c, const char *what, const char *target,
                     const struct s3_answer *a)
{
    workload_fail(c->work, "%s %s: %d %.160s", what, target, a->status,
                  a->exchange.answer_body ? a->exchange.answer_body : "");
}

static void invocation(char out[ID])
{
    snprintf(out, ID, "%016llx-%016llx", (unsigned long long)sim_random(),
             (unsigned long long)sim_random());
}

/* Sends it, and again as an SDK does when the answer is 5xx. *doubt: an earlier attempt may have
 * happened. The answer is the last one's. */
static void send_retried(struct client *c, struct s3_request *r, struct s3_answer *a, bool *doubt)
{
    char id[ID];
    uint32_t tries = 1 + (uint32_t)(sim_random() % TRIES);
    invocation(id);
    r->invocation = id;
    *doubt = false;
    for (r->attempt = 1;; r->attempt++) {
        s3_send(c->gateway, r, a);
        if (certain(a->status) || r->attempt == tries)
            return;
        *doubt = true;
        s3_release(a);
        sys_sleep_until(sys_now() + (int64_t)(sim_random() % (300 * SYS_MS)));
    }
}

static void put(struct client *c, uint32_t number)
{
    struct model_key *k = &c->keys[number];
    uint64_t value = model_value(sim_random(), false);
    char target[TARGET];
    struct s3_answer a;
    bool doubt;
    target_of(c, number, target);
    if (!model_begin(k, value))
        return;
    uint8_t *bytes = model_bytes(value);
    struct s3_request r = {
        .method = "PUT", .target = target, .body = bytes, .n = model_size(value)};
    send_retried(c, &r, &a, &doubt);
    if (a.status == 200) {
        model_done(k, value);
        c->work->puts++;
    } else {
        c->work->refused++;
        if (certain(a.status))
            complain(c, "PUT", target, &a);
    }
    s3_release(&a);
    sys_free(bytes);
}

static void delete (struct client *c, uint32_t number)
{
    struct model_key *k = &c->keys[number];
    char target[TARGET];
    struct s3_answer a;
    bool doubt;
    target_of(c, number, target);
    if (!model_begin(k, 0))
        return;
    struct s3_request r = {.method = "DELETE", .target = target};
    send_retried(c, &r, &a, &doubt);
    if (a.status == 204) {
        model_done(k, 0);
        c->work->deletes++;
    } else {
        c->work->refused++;
        if (certain(a.status))
            complain(c, "DELETE", target, &a);
    }
    s3_release(&a);
}

/* Finds the value that an answer shows; 0 with false when there is none. */
static bool match(const struct model_key *k, const struct s3_answer *a, size_t offset, bool whole,
                  uint64_t *value)
{
    for (uint32_t i = 0; model_candidate(k, i, value); i++) {
        if (a->status == 404 && *value == 0)
            return true;
        if (a->status != 404 && *value &&
            (!whole || model_size(*value) == a->exchange.answer_body_n) &&
            model_is(*value, offset, a->exchange.answer_body, a->exchange.answer_body_n))
            return true;
    }
    return false;
}

bool operation_get(struct client *c, uint32_t number)
{
    struct model_key *k = &c->keys[number];
    char target[TARGET];
    struct s3_answer a;
    uint64_t value;
    target_of(c, number, target);
    s3_send(c->gateway, &(struct s3_request){.method = "GET", .target = target}, &a);
    bool answered = a.status == 200 || a.status == 404;
    if (answered && (!match(k, &a, 0, true, &value) || !model_saw(k, value)))
        workload_fail(c->work,
                      "GET %s: %d with %zu bytes is none of the values it may hold (%016llx of %zu "
                      "bytes, %u more)",
                      target, a.status, a.exchange.answer_body_n, (unsigned long long)k->value,
                      k->value ? model_size(k->value) : 0, k->count);
    c->work->gets += answered;
    c->work->refused += !answered;
    if (!answered && certain(a.status))
        complain(c, "GET", target, &a);
    s3_release(&a);
    return answered;
}

static void get_range(struct client *c, uint32_t number)
{
    struct model_key *k = &c->keys[number];
    char target[TARGET], range[64];
    struct s3_answer a;
    uint64_t value, least = UINT64_MAX;
    for (uint32_t i = 0; model_candidate(k, i, &value); i++)
        if (value && model_size(value) < least)
            least = model_size(value);
    if (least == UINT64_MAX || least == 0)
        return;
    uint64_t from = sim_random() % least, to = from + sim_random() % (least - from);
    snprintf(range, sizeof range, "bytes=%llu-%llu", (unsigned long long)from,
             (unsigned long long)to);
    target_of(c, number, target);
    s3_send(c->gateway, &(struct s3_request){.method = "GET", .target = target, .range = range},
            &a);
    bool answered = a.status == 206 || a.status == 404;
    if (answered && (!match(k, &a, from, false, &value) ||
                     (a.status == 206 && a.exchange.answer_body_n != to - from + 1)))
        workload_fail(c->work, "GET %s %s: %d with %zu bytes is none of the values it may hold",
                      target, range, a.status, a.exchange.answer_body_n);
    else if (answered && (a.status == 404 || to - from > 16) && !model_saw(k, value))
        workload_fail(c->work, "GET %s %s: an old value", target, range);
    c->work->gets += answered;
    c->work->refused += !answered;
    if (!answered && certain(a.status))
        complain(c, "GET range", target, &a);
    s3_release(&a);
}

static bool contains(const struct s3_answer *a, const char *text)
{
    return a->exchange.answer_body && strstr(a->exchange.answer_body, text);
}

static void copy(struct client *c, uint32_t from, uint32_t number)
{
    struct model_key *source = &c->keys[from], *k = &c->keys[number];
    uint64_t value = source->value;
    char target[TARGET], source_text[TARGET];
    struct s3_answer a;
    bool doubt;
    if (from == number || source->count > 0 || value == 0 || !model_begin(k, value))
        return;
    target_of(c, number, target);
    target_of(c, from, source_text);
    struct s3_request r = {.method = "PUT", .target = target, .copy_source = source_text};
    send_retried(c, &r, &a, &doubt);
    if (a.status == 200 && contains(&a, "<CopyObjectResult")) {
        model_done(k, value);
        c->work->copies++;
    } else {
        c->work->refused++;
        if (certain(a.status) && a.status != 200)
            complain(c, "COPY", target, &a);
    }
    s3_release(&a);
}

/* ---- multipart ---- */

/* 0: it did not work; an answer that cannot be is complained of. */
static int upload_call(struct client *c, struct s3_request r, const char *expected, char *out,
                       size_t room)
{
    struct s3_answer a;
    bool doubt;
    send_retried(c, &r, &a, &doubt);
    int status = a.status;
    const char *at =
        expected && a.exchange.answer_body ? strstr(a.exchange.answer_body, expected) : NULL;
    if (at && out)
        snprintf(out, room, "%.*s", (int)strcspn(at + strlen(expected), "<"),
                 at + strlen(expected));
    if (certain(status) && status != 200)
        complain(c, r.method, r.target, &a);
    if (status == 200 && expected && !at)
        status = 0;
    if (status == 200 && !expected) {
        const char *etag = http_headers_get(&a.exchange.answer, "ETag");
        snprintf(out, room, "%s", etag ? etag : "");
    }
    s3_release(&a);
    return status == 200;
}

static void upload(struct client *c, uint32_t number)
{
    struct model_key *k = &c->keys[number];
    uint64_t value = model_value(sim_random(), true);
    char key[TARGET], target[TARGET + 160], id[100], etags[2][48], xml[400];
    target_of(c, number, key);
    snprintf(target, sizeof target, "%s?uploads=", key);
    if (k->count + 1 >= MODEL_PENDING_MAX ||
        !upload_call(c, (struct s3_request){.method = "POST", .target = target}, "<UploadId>", id,
                     sizeof id))
        return;
    uint8_t *bytes = model_bytes(value);
    bool good = true;
    for (int part = 0; good && part < 2; part++) {
        snprintf(target, sizeof target, "%s?partNumber=%d&uploadId=%s", key, part + 1, id);
        good = upload_call(c,
                           (struct s3_request){.method = "PUT",
                                               .target = target,
                                               .body = bytes + (part ? PART : 0),
                                               .n = part ? model_size(value) - PART : PART},
                           NULL, etags[part], sizeof etags[0]);
    }
    sys_free(bytes);
    snprintf(target, sizeof target, "%s?uploadId=%s", key, id);
    if (!good) {
        struct s3_answer a;
        s3_send(c->gateway, &(struct s3_request){.method = "DELETE", .target = target}, &a);
        s3_release(&a);
        return;
    }
    snprintf(xml, sizeof xml,
             "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>%s</ETag></Part>"
             "<Part><PartNumber>2</PartNumber><ETag>%s</ETag></Part></CompleteMultipartUpload>",
             etags[0], etags[1]);
    (void)model_begin(k, value);
    if (upload_call(
            c,
            (struct s3_request){.method = "POST", .target = target, .body = xml, .n = strlen(xml)},
            "<CompleteMultipartUploadResult", NULL, 0)) {
        model_done(k, value);
        c->work->uploads++;
    }
}

/* ---- list ---- */

/* Marks the client's keys that a page names; the last one's number, -1: none. */
static int mark(const struct client *c, const char *xml, bool seen[WORK_KEYS])
{
    int last = -1;
    char prefix[64];
    int n = snprintf(prefix, sizeof prefix, "<Key>client-%u/key-", c->number);
    for (const char *at = strstr(xml, prefix); at; at = strstr(at, prefix)) {
        at += n;
        last = *at - '0';
        if (last >= 0 && last < WORK_KEYS)
            seen[last] = true;
    }
    return last;
}

bool operation_list(struct client *c)
{
    bool seen[WORK_KEYS] = {false}, more = true;
    char target[TARGET + 64], after[32] = "";
    unsigned page = sim_random() % 2 ? 2 : 1000;
    while (more) {
        struct s3_answer a;
        snprintf(target, sizeof target, "/bucket?list-type=2&max-keys=%u&prefix=client-%u%%2F%s%s",
                 page, c->number, after[0] ? "&start-after=" : "", after);
        s3_send(c->gateway, &(struct s3_request){.method = "GET", .target = target}, &a);
        bool answered = a.status == 200 && a.exchange.answer_body;
        int last = answered ? mark(c, a.exchange.answer_body, seen) : -1;
        more = answered && contains(&a, "<IsTruncated>true");
        if (more && last < 0)
            workload_fail(c->work, "LIST %s: an empty page that is not the last", target);
        if (!answered && certain(a.status))
            complain(c, "LIST", target, &a);
        snprintf(after, sizeof after, "client-%u%%2Fkey-%d", c->number, last);
        s3_release(&a);
        if (!answered) {
            c->work->refused++;
            return false;
        }
        more = more && !c->work->failed;
    }
    c->work->lists++;
    for (uint32_t i = 0; i < WORK_KEYS; i++) {
        const struct model_key *k = &c->keys[i];
        bool may_be = false, may_lack = false;
        uint64_t value;
        for (uint32_t n = 0; model_candidate(k, n, &value); n++)
            *(value ? &may_be : &may_lack) = true;
        if (seen[i] ? !may_be : !may_lack)
            workload_fail(c->work, "LIST of client %u %s key %u", c->number,
                          seen[i] ? "shows the deleted" : "lacks the acknowledged", i);
    }
    return true;
}

/* ---- claims ---- */

static void claim_target(uint32_t number, char out[TARGET])
{
    snprintf(out, TARGET, "/bucket/claim/%u", number);
}

static void claim(struct client *c, uint32_t number)
{
    struct claim *cl = &c->work->claims[number];
    uint64_t value = model_value(sim_random(), false);
    char target[TARGET];
    struct s3_answer a;
    bool doubt;
    while (model_size(value) < 16) /* no two alike */
        value = model_value(sim_random(), false);
    if (cl->tries[c->number])
        return; /* once each */
    cl->tries[c->number] = value;
    cl->open++;
    claim_target(number, target);
    uint8_t *bytes = model_bytes(value);
    struct s3_request r = {.method = "PUT",
                           .target = target,
                           .body = bytes,
                           .n = model_size(value),
                           .if_none_match = "*"};
    send_retried(c, &r, &a, &doubt);
    if (a.status == 200) {
        if (cl->winner)
            workload_fail(c->work, "%s: two conditional puts have won", target);
        cl->winner = value;
        c->work->puts++;
    } else if (a.status == 412) {
        /* Lost: to one who has won or may yet, and is not this one itself. */
        if (cl->open < 2 && !cl->winner)
            workload_fail(c->work, "%s: 412, but nobody else has ever written there", target);
        if (cl->winner != value)
            cl->open -= !doubt;
    } else {
        c->work->refused++;
        if (certain(a.status) && a.status != 409)
            complain(c, "PUT if absent", target, &a);
    }
    s3_release(&a);
    sys_free(bytes);
}

bool operation_get_claim(struct client *c, uint32_t number)
{
    struct claim *cl = &c->work->claims[number];
    char target[TARGET];
    struct s3_answer a;
    uint64_t winner = cl->winner, found = 0;
    claim_target(number, target);
    s3_send(c->gateway, &(struct s3_request){.method = "GET", .target = target}, &a);
    bool answered = a.status == 200 || a.status == 404;
    for (uint32_t i = 0; a.status == 200 && i < WORK_CLIENTS_MAX; i++)
        if (cl->tries[i] && model_size(cl->tries[i]) == a.exchange.answer_body_n &&
            model_is(cl->tries[i], 0, a.exchange.answer_body, a.exchange.answer_body_n))
            found = cl->tries[i];
    if (answered && (a.status == 200) != (found != 0))
        workload_fail(c->work, "GET %s: what nobody wrote", target);
    if (answered && winner && found != winner)
        workload_fail(c->work, "GET %s: %d, not what has won", target, a.status);
    if (answered && found && !cl->winner && !winner)
        cl->winner = found;
    c->work->refused += !answered;
    s3_release(&a);
    return answered;
}

void operation_random(struct client *c)
{
    uint32_t key = (uint32_t)(sim_random() % WORK_KEYS);
    uint64_t dice = sim_random() % 100;
    if (dice < 40)
        put(c, key);
    else if (dice < 60)
        (void)operation_get(c, key);
    else if (dice < 70)
        get_range(c, key);
    else if (dice < 78)
        delete (c, key);
    else if (dice < 84)
        (void)operation_list(c);
    else if (dice < 89)
        copy(c, (uint32_t)(sim_random() % WORK_KEYS), key);
    else if (dice < 93 && c->work->large)
        upload(c, key);
    else if (dice < 97)
        claim(c, (uint32_t)(sim_random() % WORK_CLAIMS));
    else
        (void)operation_get_claim(c, (uint32_t)(sim_random() % WORK_CLAIMS));
}
