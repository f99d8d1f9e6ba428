/* What a GET of an object answers, by what its query and headers ask for. */
#include "tests/unit/gateway/gateway_kit.h"

struct stored {
    struct world world;
    struct world_test test;
    struct gateway *gateway;
};

/* "0123456789" under "/test/key". */
static void begin(struct stored *s)
{
    static const struct http_header headers[] = {{"Content-Type", "text/x"},
                                                 {"Cache-Control", "no-cache"}};
    memset(s, 0, sizeof *s);
    s->world = (struct world){.chunk_count = 4, .k = 2, .m = 1};
    world_start(&s->world);
    world_open(&s->test, &s->world);
    s->gateway = kit_open(&s->test);
    CHECK_EQ(kit_send(s->gateway, "PUT", "/test/key", headers, 2, "0123456789", 10, NULL), 200);
}

static void end(struct stored *s)
{
    gateway_free(s->gateway);
    world_client_close(&s->test.c);
    world_stop(&s->world);
}

static void overridden(struct stored *s, const char *query, const char *type, const char *control,
                       const char *language)
{
    struct http_memory answer;
    char target[300];
    snprintf(target, sizeof target, "/test/key?%s", query);
    CHECK_EQ(kit_send(s->gateway, "GET", target, NULL, 0, NULL, 0, &answer), 200);
    const char *found = http_headers_get(&answer.answer, "Content-Language");
    CHECK_TEXT(http_headers_get(&answer.answer, "Content-Type"), type);
    CHECK_TEXT(http_headers_get(&answer.answer, "Cache-Control"), control);
    CHECK_TEXT(found ? found : "none", language);
    http_memory_release(&answer);
}

/* An empty override is none. */
static void overrides(void)
{
    struct stored s;
    begin(&s);
    overridden(&s, "x-id=GetObject", "text/x", "no-cache", "none");
    overridden(&s, "response-content-type=a&response-cache-control=b&response-content-language=c",
               "a", "b", "c");
    overridden(&s, "response-content-type=&response-cache-control=&response-content-language=",
               "text/x", "no-cache", "none");
    end(&s);
}

/* What a range that depends on a validator answers: 206, or 200 and all of it. */
static int ranged(struct stored *s, const char *if_range, const char *range)
{
    const struct http_header headers[] = {{"If-Range", if_range}, {"Range", range}};
    struct http_memory answer;
    int status = kit_send(s->gateway, "GET", "/test/key", headers, 2, NULL, 0, &answer);
    CHECK_TEXT(answer.answer_body, status == 206 ? "234" : "0123456789");
    http_memory_release(&answer);
    return status;
}

/* A download that goes on must not be given the rest of another object. */
static void if_range(void)
{
    const char *range = "bytes=2-4";
    struct http_memory head;
    struct stored s;
    begin(&s);
    CHECK_EQ(kit_send(s.gateway, "HEAD", "/test/key", NULL, 0, NULL, 0, &head), 200);
    const char *etag = http_headers_get(&head.answer, "ETag");
    const char *modified = http_headers_get(&head.answer, "Last-Modified");
    CHECK_EQ(ranged(&s, etag, range), 206);
    CHECK_EQ(ranged(&s, modified, range), 206);
    CHECK_EQ(ranged(&s, "\"other\"", range), 200);
    CHECK_EQ(ranged(&s, "\"other\"", "bytes=100-"), 200);
    CHECK_EQ(ranged(&s, arena_format(&head.arena, "W/%s", etag), range), 200);
    CHECK_EQ(ranged(&s, "Fri, 02 Jan 1970 00:00:00 GMT", range), 200);
    http_memory_release(&head);
    end(&s);
}

static const struct test tests[] = {
    {"overrides", overrides},
    {"If-Range", if_range},
    {0},
};
SUITE("GetObject", tests)
