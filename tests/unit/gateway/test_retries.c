/* What an SDK sees of its own retries (hazard 7), and what these leave behind; and more reads than a
 * gateway can protect (hazard 19). */
#include "tests/unit/gateway/gateway_kit.h"

enum { SIZE = 70000, SHARDS = 3 };

static int put(struct gateway *g, const char *attempt, const uint8_t *bytes, size_t n)
{
    const struct http_header headers[] = {
        {"If-None-Match", "*"},
        {"amz-sdk-invocation-id", "0f0e0d0c-0001"},
        {"amz-sdk-request", attempt},
    };
    return kit_send(g, "PUT", "/test/key", headers, 3, bytes, n, NULL);
}

static bool reads(struct gateway *g, const uint8_t *bytes, size_t n)
{
    struct http_memory answer;
    int status = kit_send(g, "GET", "/test/key", NULL, 0, NULL, 0, &answer);
    bool same =
        status == 200 && answer.answer_body_n == n && memcmp(answer.answer_body, bytes, n) == 0;
    http_memory_release(&answer);
    return same;
}

static void sdk_retries(void)
{
    struct world w = {.chunk_count = 4, .k = 2, .m = 1};
    struct world_test t = {0};
    static uint8_t one[SIZE], two[SIZE];
    memset(one, 'a', SIZE);
    memset(two, 'b', SIZE);
    world_start(&w);
    world_open(&t, &w);
    struct gateway *g = kit_open(&t);
    CHECK_EQ(put(g, "attempt=1; max=3", one, SIZE), 200);
    CHECK_EQ(kit_shards(&t), SHARDS);
    /* Its answer was lost: the next attempt is told what the first one would have been told, and what
     * it brought is not kept. */
    CHECK_EQ(put(g, "attempt=2; max=3", one, SIZE), 200);
    CHECK(reads(g, one, SIZE));
    CHECK_EQ(kit_shards(&t), SHARDS);
    /* The same id on other bytes, and the very same attempt again, are requests of their own. */
    CHECK_EQ(put(g, "attempt=3; max=3", two, SIZE), 412);
    CHECK_EQ(put(g, "attempt=1; max=3", one, SIZE), 412);
    CHECK(reads(g, one, SIZE));
    CHECK_EQ(kit_shards(&t), SHARDS);
    /* Also when the bytes live in the row. */
    CHECK_EQ(kit_send(g, "DELETE", "/test/key", NULL, 0, NULL, 0, NULL), 204);
    CHECK_EQ(put(g, "attempt=1; max=3", two, 100), 200);
    CHECK_EQ(put(g, "attempt=2; max=3", two, 100), 200);
    CHECK(reads(g, two, 100));
    gateway_free(g);
    world_client_close(&t.c);
    world_stop(&w);
}

/* A read that cannot be protected from collection does not begin. */
static void too_many_reads(void)
{
    struct world w = {.chunk_count = 4, .k = 2, .m = 1};
    struct world_test t = {0};
    static uint8_t bytes[SIZE];
    world_start(&w);
    world_open(&t, &w);
    struct gateway *g = kit_open(&t);
    CHECK_EQ(kit_send(g, "PUT", "/test/key", NULL, 0, bytes, SIZE, NULL), 200);
    for (int i = 0; i < READS_MAX; i++)
        CHECK_EQ(gateway_read_begin(g, 1), i);
    CHECK_EQ(kit_send(g, "GET", "/test/key", NULL, 0, NULL, 0, NULL), 503);
    CHECK_EQ(kit_send(g, "HEAD", "/test/key", NULL, 0, NULL, 0, NULL), 200);
    gateway_read_end(g, 7);
    CHECK(reads(g, bytes, SIZE));
    gateway_free(g);
    world_client_close(&t.c);
    world_stop(&w);
}

static const struct test tests[] = {
    {"an SDK's retries", sdk_retries},
    {"too many reads", too_many_reads},
    {0},
};
SUITE("gateway retries", tests)
