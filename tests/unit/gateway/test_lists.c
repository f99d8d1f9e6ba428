/* Lists as clients see them. */
#include "tests/unit/gateway/gateway_kit.h"

enum { BUCKETS = 2100, ALL = BUCKETS + 1 /* the world has one */ };

static void make_buckets(struct world_test *t)
{
    for (int i = 0; i < BUCKETS; i++) {
        char name[24];
        CreateBucket body = CREATE_BUCKET__INIT;
        Command command = COMMAND__INIT;
        int n = snprintf(name, sizeof name, "bucket-%04d", i);
        body.name = (ProtobufCBinaryData){.len = (size_t)n, .data = (uint8_t *)name};
        body.owner = (char *)(uintptr_t) "root";
        body.pool = t->pool;
        command.body_case = COMMAND__BODY_CREATE_BUCKET;
        command.create_bucket = &body;
        CHECK_OK(world_command(t, &command, NULL));
    }
}

/* How many are listed, each after the one before; what the answer says about the rest in token. */
static int list(struct gateway *g, const char *target, char token[64])
{
    struct http_memory m;
    char last[64] = "";
    int n = 0;
    token[0] = 0;
    CHECK_EQ(kit_send(g, "GET", target, NULL, 0, NULL, 0, &m), 200);
    for (const char *at = m.answer_body; (at = strstr(at, "<Name>")) != NULL; n++) {
        char name[64];
        at += strlen("<Name>");
        snprintf(name, sizeof name, "%.*s", (int)strcspn(at, "<"), at);
        CHECK(strcmp(name, last) > 0);
        memcpy(last, name, sizeof last);
    }
    const char *next = strstr(m.answer_body, "<ContinuationToken>");
    if (next) {
        next += strlen("<ContinuationToken>");
        snprintf(token, 64, "%.*s", (int)strcspn(next, "<"), next);
    }
    http_memory_release(&m);
    return n;
}

/* More buckets than metadata tells in one answer. */
static void many(void)
{
    struct world w = {.chunk_count = 4, .k = 2, .m = 1};
    struct world_test t = {0};
    char token[64];
    world_start(&w);
    world_open(&t, &w);
    struct gateway *g = kit_open(&t);
    make_buckets(&t);
    CHECK_EQ(list(g, "/", token), ALL);
    CHECK_TEXT(token, "");
    CHECK_EQ(list(g, "/?max-buckets=1500", token), 1500);
    CHECK_TEXT(token, "bucket-1499");
    CHECK_EQ(list(g, "/?continuation-token=bucket-1499&max-buckets=5000", token), ALL - 1500);
    CHECK_TEXT(token, "");
    CHECK_EQ(list(g, "/?max-buckets=2000", token), 2000);
    CHECK_TEXT(token, "bucket-1999");
    CHECK_EQ(list(g, "/?max-buckets=2100&prefix=bucket-", token), BUCKETS);
    CHECK_TEXT(token, "");
    gateway_free(g);
    world_client_close(&t.c);
    world_stop(&w);
}

/* All three lists of keys know the same encodings. */
static void encodings(void)
{
    struct world w = {.chunk_count = 4, .k = 2, .m = 1};
    struct world_test t = {0};
    static const struct {
        const char *target;
        int status;
    } asked[] = {
        {"/test?encoding-type=url", 200},
        {"/test?encoding-type=base64", 400},
        {"/test?encoding-type=url&list-type=2", 200},
        {"/test?encoding-type=base64&list-type=2", 400},
        {"/test?encoding-type=URL&uploads=", 200},
        {"/test?encoding-type=&uploads=", 200},
        {"/test?encoding-type=base64&uploads=", 400},
    };
    world_start(&w);
    world_open(&t, &w);
    struct gateway *g = kit_open(&t);
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++)
        CHECK_EQ(kit_send(g, "GET", asked[i].target, NULL, 0, NULL, 0, NULL), asked[i].status);
    gateway_free(g);
    world_client_close(&t.c);
    world_stop(&w);
}

static const struct test tests[] = {
    {"many buckets", many},
    {"encodings", encodings},
    {0},
};
SUITE("gateway lists", tests)
