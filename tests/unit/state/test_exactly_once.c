/* Hazard 7: each command of a session and each request of an SDK takes effect once. */
#include "tests/unit/state/fixture.h"

static Result *in_session(struct fixture *f, uint8_t client, uint32_t slot, uint64_t sequence,
                          const char *key, const char *text, SdkRetry *retry, bool if_absent)
{
    uint8_t id[16] = {client};
    struct fx_write w;
    Conditions conditions = CONDITIONS__INIT;
    Command c = COMMAND__INIT;
    fx_write_init(f, &w, 0);
    w.put.key = fx_text(key);
    w.body.inline_data = fx_text(text);
    w.head.size = strlen(text);
    w.head.etag = fx_text(text);
    w.put.retry = retry;
    conditions.if_absent = if_absent;
    w.put.conditions = &conditions;
    c.body_case = COMMAND__BODY_PUT_OBJECT;
    c.put_object = &w.put;
    if (client != 0) {
        c.client = fx_bytes(id, 16);
        c.slot = slot;
        c.sequence = sequence;
    }
    return fx_apply(f, &c);
}

static void register_client(struct fixture *f, uint8_t client, uint32_t slots)
{
    uint8_t id[16] = {client};
    RegisterClient body = REGISTER_CLIENT__INIT;
    body.client = fx_bytes(id, 16);
    body.slots = slots;
    body.name = "gateway";
    CHECK_OK(fx_register_client(f, &body)->error);
}

/* Hazard 7, inside: each (slot, sequence) applies once; an unknown session never. */
static void sessions(void)
{
    struct fixture f;
    fx_open(&f, "s");
    fx_populate(&f);
    CHECK_EQ(in_session(&f, 1, 0, 1, "k", "one", NULL, false)->error, ERR_SESSION_EXPIRED);
    CHECK_EQ(fx_get(&f, "k")->error, ERR_NO_KEY);
    register_client(&f, 1, 4);
    Result *first = in_session(&f, 1, 0, 1, "k", "one", NULL, true);
    CHECK_OK(first->error);
    Result *again = in_session(&f, 1, 0, 1, "k", "one", NULL, true);
    CHECK_OK(again->error); /* not 412: it is the same command */
    CHECK_EQ(again->index, first->index);
    register_client(&f, 1, 4); /* changes nothing */
    CHECK_OK(in_session(&f, 1, 3, 7, "k", "two", NULL, false)->error);
    CHECK_OK(in_session(&f, 1, 0, 3, "k", "three", NULL, false)->error);
    CHECK_EQ(in_session(&f, 1, 0, 2, "k", "late", NULL, false)->error, ERR_MISMATCH);
    CHECK_EQ(in_session(&f, 1, 4, 1, "k", "no such slot", NULL, false)->error, ERR_INVALID);
    CHECK_EQ(fx_get(&f, "k")->head->size, 5);
    fx_reopen(&f);
    CHECK_OK(in_session(&f, 1, 0, 3, "k", "three", NULL, true)->error);
    f.time += 30 * HOUR;
    register_client(&f, 2, 4); /* an idle session makes room */
    CHECK_EQ(in_session(&f, 1, 0, 4, "k", "four", NULL, false)->error, ERR_SESSION_EXPIRED);
    fx_close(&f);
}

/* Hazard 7, outside: an SDK's own retry of what succeeded gets the first answer. */
static void sdk_retries(void)
{
    struct fixture f;
    uint8_t print[32] = {1};
    SdkRetry r = SDK_RETRY__INIT;
    fx_open(&f, "s");
    fx_populate(&f);
    r.access_key = "AK";
    r.invocation_id = "inv";
    r.fingerprint = fx_bytes(print, 32);
    r.attempt = 1;
    Result *first = in_session(&f, 0, 0, 0, "k", "one", &r, true);
    CHECK_OK(first->error);
    r.attempt = 2;
    f.time += 14 * 60 * SECOND;
    Result *again = in_session(&f, 0, 0, 0, "k", "one", &r, true);
    CHECK_OK(again->error);
    CHECK_EQ(again->index, first->index);
    print[0] = 2; /* the same id, another body: another request */
    CHECK_EQ(in_session(&f, 0, 0, 0, "k", "two", &r, true)->error, ERR_PRECONDITION);
    print[0] = 1;
    r.attempt = 1; /* the same attempt: the id is used again */
    CHECK_EQ(in_session(&f, 0, 0, 0, "k", "one", &r, true)->error, ERR_PRECONDITION);
    r.attempt = 3;
    r.access_key = "other";
    CHECK_EQ(in_session(&f, 0, 0, 0, "k", "one", &r, true)->error, ERR_PRECONDITION);
    f.time += 25 * 60 * SECOND;
    r.access_key = "AK";
    CHECK_EQ(in_session(&f, 0, 0, 0, "k", "one", &r, true)->error, ERR_PRECONDITION);
    f.time += 25 * 60 * SECOND;
    CHECK_OK(fx_put_inline(&f, "z", "z")->error);
    fx_close(&f);
    CHECK_EQ(fx_rows(&f, "dr"), 0);
    CHECK_EQ(fx_rows(&f, "dn"), 0);
}

/* One attempt of an SDK: r with this number. */
static Result *attempt(struct fixture *f, SdkRetry *r, uint32_t number, const char *text,
                       bool if_absent)
{
    r->attempt = number;
    return in_session(f, 0, 0, 0, "k", text, r, if_absent);
}

static void request(SdkRetry *r, const char *id, const uint8_t print[32])
{
    sdk_retry__init(r);
    r->access_key = "AK";
    r->invocation_id = (char *)(uintptr_t)id;
    r->fingerprint = fx_bytes(print, 32);
}

/* An SDK's first attempt is on its way while its second is told 412 or 404: it then changes nothing. */
static void late_attempts(void)
{
    struct fixture f;
    uint8_t print[32] = {1};
    SdkRetry r;
    fx_open(&f, "s");
    fx_populate(&f);
    CHECK_OK(fx_put_inline(&f, "k", "other's")->error);
    request(&r, "absent", print);
    CHECK_EQ(attempt(&f, &r, 2, "one", true)->error, ERR_PRECONDITION);
    CHECK_OK(fx_delete(&f, "k")->error);
    Result *late = attempt(&f, &r, 1, "one", true);
    CHECK_EQ(late->error, ERR_PRECONDITION);
    CHECK(late->remembered); /* and the gateway drops what this attempt wrote */
    CHECK_EQ(fx_get(&f, "k")->error, ERR_NO_KEY);

    Conditions match = CONDITIONS__INIT;
    ProtobufCBinaryData name = fx_text("k");
    DeleteObjects body = DELETE_OBJECTS__INIT;
    match.if_match_etag = fx_text("*");
    body.bucket = f.bucket;
    body.keys = &name;
    body.n_keys = 1;
    body.conditions = &match;
    body.retry = &r;
    request(&r, "delete", print);
    r.attempt = 2;
    CHECK_EQ(fx_delete_objects(&f, &body)->error, ERR_NO_KEY);
    CHECK_OK(fx_put_inline(&f, "k", "newer")->error);
    r.attempt = 1;
    CHECK_EQ(fx_delete_objects(&f, &body)->error, ERR_NO_KEY);
    CHECK_EQ(fx_get(&f, "k")->head->size, 5);
    r.invocation_id = "another"; /* and one that nobody remembers */
    CHECK_OK(fx_delete_objects(&f, &body)->error);
    fx_close(&f);
}

static Result *complete(struct fixture *f, const uint8_t *upload, SdkRetry *r, uint32_t attempt)
{
    CompletePart part = COMPLETE_PART__INIT, *parts[] = {&part};
    CompleteUpload body = COMPLETE_UPLOAD__INIT;
    part.number = 1;
    part.etag = fx_text("07000000000000000000000000000000");
    body.bucket = f->bucket;
    body.key = fx_text("k");
    body.upload = fx_bytes(upload, 16);
    body.parts = parts;
    body.n_parts = 1;
    body.retry = r;
    r->attempt = attempt;
    return fx_complete_upload(f, &body);
}

static void late_complete(void)
{
    struct fixture f;
    struct fx_write w;
    uint8_t print[32] = {1}, upload[16] = {9};
    CreateUpload create = CREATE_UPLOAD__INIT;
    ObjectHead head = OBJECT_HEAD__INIT;
    SdkRetry r;
    fx_open(&f, "s");
    fx_populate(&f);
    create.bucket = f.bucket;
    create.key = fx_text("k");
    create.upload = fx_bytes(upload, 16);
    create.owner = "alice";
    create.head = &head;
    CHECK_OK(fx_create_upload(&f, &create)->error);
    request(&r, "complete", print);
    CHECK_EQ(complete(&f, upload, &r, 2)->error, ERR_INVALID_PART); /* it is not there yet */
    fx_write_init(&f, &w, 1);
    CHECK_OK(fx_write_part(&f, &w, upload, "k", 1, 7)->error);
    CHECK_EQ(complete(&f, upload, &r, 1)->error, ERR_INVALID_PART);
    CHECK_EQ(fx_get(&f, "k")->error, ERR_NO_KEY);
    r.invocation_id = "another";
    CHECK_OK(complete(&f, upload, &r, 1)->error);
    fx_close(&f);
}

/* What a client is told to try again, it may try again: under the same invocation, too. */
static void refusals_forgotten(void)
{
    struct fixture f;
    struct fx_write w;
    Conditions absent = CONDITIONS__INIT;
    uint8_t print[32] = {1}, elsewhere[32] = {2};
    SdkRetry r;
    fx_open(&f, "s");
    fx_populate(&f);
    request(&r, "stale", print);
    fx_write_init(&f, &w, 1);
    w.put.key = fx_text("k");
    w.put.retry = &r;
    absent.if_absent = true;
    w.put.conditions = &absent;
    uint32_t good = w.disks[0][0];
    w.disks[0][0] = w.disks[0][3] = 0;
    r.attempt = 1;
    CHECK_EQ(fx_put_object(&f, &w.put)->error, ERR_STALE_PLACEMENT);
    r.attempt = 2;
    CHECK_EQ(fx_put_object(&f, &w.put)->error, ERR_STALE_PLACEMENT);
    w.disks[0][0] = good; /* followed: the same write and attempt again */
    Result *first = fx_put_object(&f, &w.put);
    CHECK_OK(first->error);
    CHECK(!first->remembered);
    r.attempt = 1;
    Result *again = fx_put_object(&f, &w.put);
    CHECK_OK(again->error);
    CHECK_EQ(again->index, first->index);

    /* A gateway that still knows an earlier bucket of that name: what the request did in the present
     * one stays remembered. */
    request(&r, "bucket", print);
    CHECK_OK(attempt(&f, &r, 1, "x", false)->error);
    r.fingerprint = fx_bytes(elsewhere, 32);
    f.bucket += 1000;
    CHECK_EQ(attempt(&f, &r, 2, "x", true)->error, ERR_NO_BUCKET);
    f.bucket -= 1000;
    r.fingerprint = fx_bytes(print, 32);
    CHECK_OK(attempt(&f, &r, 2, "x", true)->error);
    fx_close(&f);
}

static const struct test tests[] = {{"sessions", sessions},
                                    {"sdk retries", sdk_retries},
                                    {"late attempts", late_attempts},
                                    {"late complete", late_complete},
                                    {"refusals forgotten", refusals_forgotten},
                                    {0}};
SUITE("exactly once", tests)
