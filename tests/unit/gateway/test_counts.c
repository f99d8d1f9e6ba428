/* How a request ended, as the metrics tell it. */
#include "tests/unit/gateway/gateway_kit.h"

enum { SIZE = 70000 };

static enum err gone(void *arg, const void *data, size_t n)
{
    (void)arg, (void)data, (void)n;
    return ERR_CLIENT_GONE;
}

static struct gateway_count count_of(struct gateway *g, const char *operation)
{
    struct gateway_count all[GATEWAY_COUNTS_MAX], none = {0};
    uint64_t running;
    size_t n = gateway_counts(g, all, GATEWAY_COUNTS_MAX, &running);
    CHECK_EQ(running, 0);
    for (size_t i = 0; i < n; i++)
        if (strcmp(all[i].operation, operation) == 0)
            return all[i];
    return none;
}

static void outcomes(void)
{
    struct world w = {.chunk_count = 4, .k = 2, .m = 1};
    struct world_test t = {0};
    static uint8_t bytes[SIZE];
    world_start(&w);
    world_open(&t, &w);
    struct gateway *g = kit_open(&t);
    struct http_memory cancelled = {.consume = gone}, halved = {.body = bytes, .body_n = SIZE};
    CHECK_EQ(kit_run(g, "GET", "/test/key", NULL, 0, &cancelled), 0);
    http_memory_release(&cancelled);
    /* Nobody was there to read the error. */
    CHECK_EQ(count_of(g, "GetObject").requests[GATEWAY_REFUSED], 1);
    CHECK_EQ(kit_send(g, "PUT", "/test/key", NULL, 0, bytes, SIZE, NULL), 200);
    cancelled = (struct http_memory){.consume = gone};
    CHECK_EQ(kit_run(g, "GET", "/test/key", NULL, 0, &cancelled), 0);
    http_memory_release(&cancelled);
    halved.body_gone_at = SIZE / 2;
    CHECK_EQ(kit_run(g, "PUT", "/test/key", NULL, 0, &halved), 0);
    http_memory_release(&halved);
    CHECK_EQ(kit_send(g, "GET", "/test/key", NULL, 0, NULL, 0, NULL), 200);
    const struct gateway_count get = count_of(g, "GetObject"), put = count_of(g, "PutObject");
    CHECK_EQ(get.requests[GATEWAY_ANSWERED], 1);
    CHECK_EQ(get.requests[GATEWAY_GONE], 1);
    CHECK_EQ(get.requests[GATEWAY_REFUSED], 1);
    CHECK_EQ(get.requests[GATEWAY_FAILED], 0);
    CHECK_EQ(put.requests[GATEWAY_ANSWERED], 1);
    CHECK_EQ(put.requests[GATEWAY_GONE], 1);
    CHECK_EQ(put.requests[GATEWAY_REFUSED], 0);
    gateway_free(g);
    world_client_close(&t.c);
    world_stop(&w);
}

static const struct test tests[] = {
    {"outcomes", outcomes},
    {0},
};
SUITE("request counts", tests)
