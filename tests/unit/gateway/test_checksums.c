/* Checksums that stand in a URL: an SDK that presigns it may have put them there. */
#include "tests/unit/gateway/gateway_kit.h"

#define WRONG      "x-amz-checksum-crc32c=4waShw%3D%3D"
#define RIGHT      "x-amz-checksum-crc32c=4waSgw%3D%3D"
#define RIGHT_TOO  "X-Amz-Checksum-Sha1=98O8HYCOBHMq32eZZczDTKeuNEE%3D"
#define OF_NOTHING "x-amz-checksum-crc32=AAAAAA%3D%3D&x-amz-sdk-checksum-algorithm=CRC32"
#define SHA256_OF_NOTHING \
    "X-Amz-Checksum-Sha256=47DEQpj8HBSa%2B%2FTImW%2B5JCeuQeRkm5NMpJWZG3hSuFU%3D"

/* A PUT of "123456789" with this query; what the answer says of the CRC32C, "none" for nothing. */
static int put(struct gateway *g, const char *query, const struct http_header *h, char echo[32])
{
    struct http_memory answer;
    char target[400];
    snprintf(target, sizeof target, "/test/key?%s", query);
    int status = kit_send(g, "PUT", target, h, h ? 1 : 0, "123456789", 9, &answer);
    const char *found =
        status == 200 ? http_headers_get(&answer.answer, "x-amz-checksum-crc32c") : NULL;
    snprintf(echo, 32, "%s", found ? found : "none");
    http_memory_release(&answer);
    return status;
}

static void in_a_query(void)
{
    static const struct http_header crc32c = {"x-amz-checksum-crc32c", "4waSgw=="};
    struct world w = {.chunk_count = 4, .k = 2, .m = 1};
    struct world_test t = {0};
    char echo[32];
    world_start(&w);
    world_open(&t, &w);
    struct gateway *g = kit_open(&t);
    CHECK_EQ(put(g, WRONG, NULL, echo), 400);
    CHECK_EQ(put(g, RIGHT "&" RIGHT_TOO, NULL, echo), 400);
    CHECK_EQ(put(g, RIGHT_TOO, &crc32c, echo), 400);
    CHECK_EQ(kit_send(g, "GET", "/test/key", NULL, 0, NULL, 0, NULL), 404);
    CHECK_EQ(put(g, RIGHT, NULL, echo), 200);
    CHECK_TEXT(echo, "4waSgw==");
    CHECK_EQ(put(g, OF_NOTHING, NULL, echo), 200);
    CHECK_TEXT(echo, "none");
    CHECK_EQ(put(g, SHA256_OF_NOTHING, NULL, echo), 200);
    CHECK_EQ(put(g, OF_NOTHING, &crc32c, echo), 200);
    CHECK_TEXT(echo, "4waSgw==");
    gateway_free(g);
    world_client_close(&t.c);
    world_stop(&w);
}

static const struct test tests[] = {
    {"in a query", in_a_query},
    {0},
};
SUITE("checksums", tests)
