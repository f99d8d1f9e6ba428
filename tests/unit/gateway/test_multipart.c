/* Multipart uploads as SDKs ask for them. */
#include "tests/unit/gateway/gateway_kit.h"

enum { SIZE = 70000 };

struct upload {
    struct world world;
    struct world_test test;
    struct gateway *gateway;
    char target[256]; /* "/test/key?uploadId=..", and room for a part number */
    char etag[64];
};

/* What stands in an answer's XML between <name> and </name>. */
static void element(const struct http_memory *answer, const char *name, char *out, size_t room)
{
    char open[64];
    snprintf(open, sizeof open, "<%s>", name);
    const char *at = strstr(answer->answer_body, open);
    if (CHECK(at != NULL))
        snprintf(out, room, "%.*s", (int)strcspn(at + strlen(open), "<"), at + strlen(open));
}

static void begin(struct upload *u)
{
    struct http_memory answer;
    char id[64] = "";
    memset(u, 0, sizeof *u);
    u->world = (struct world){.chunk_count = 4, .k = 2, .m = 1};
    world_start(&u->world);
    world_open(&u->test, &u->world);
    u->gateway = kit_open(&u->test);
    CHECK_EQ(kit_send(u->gateway, "POST", "/test/key?uploads=", NULL, 0, NULL, 0, &answer), 200);
    element(&answer, "UploadId", id, sizeof id);
    snprintf(u->target, sizeof u->target, "/test/key?uploadId=%s", id);
    http_memory_release(&answer);
}

static void end(struct upload *u)
{
    gateway_free(u->gateway);
    world_client_close(&u->test.c);
    world_stop(&u->world);
}

static void put_part(struct upload *u, const uint8_t *bytes, size_t n)
{
    struct http_memory answer;
    char target[300];
    snprintf(target, sizeof target, "%s&partNumber=1", u->target);
    CHECK_EQ(kit_send(u->gateway, "PUT", target, NULL, 0, bytes, n, &answer), 200);
    const char *etag = http_headers_get(&answer.answer, "ETag");
    if (CHECK(etag != NULL))
        snprintf(u->etag, sizeof u->etag, "%s", etag);
    http_memory_release(&answer);
}

static int complete(struct upload *u, const struct http_header *h, size_t n)
{
    char xml[512];
    snprintf(xml, sizeof xml,
             "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>%s</ETag>"
             "<ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part></CompleteMultipartUpload>",
             u->etag);
    return kit_send(u->gateway, "POST", u->target, h, n, xml, strlen(xml), NULL);
}

/* The checksum that Complete brings is the object's, not that of its own XML. */
static void checksums_of_the_object(void)
{
    static const struct http_header headers[] = {
        {"x-amz-checksum-crc32", "y/Q5Jg=="},
        {"x-amz-checksum-sha256", "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=-1"},
        {"x-amz-checksum-type", "FULL_OBJECT"},
        {"x-amz-sdk-checksum-algorithm", "CRC32"},
    };
    static const struct http_header wrong[] = {{"Content-MD5", "XUFAKrxLKna5cZ2REBfFkg=="}};
    static uint8_t bytes[SIZE];
    struct upload u;
    begin(&u);
    put_part(&u, bytes, SIZE);
    CHECK_EQ(complete(&u, wrong, 1), 400);
    CHECK_EQ(complete(&u, headers, 4), 200);
    CHECK_EQ(kit_send(u.gateway, "GET", "/test/key", NULL, 0, NULL, 0, NULL), 200);
    end(&u);
}

/* A part whose URL holds its checksum. */
static void checksum_in_a_url(void)
{
    struct upload u;
    char target[400];
    begin(&u);
    snprintf(target, sizeof target, "%s&partNumber=1&X-Amz-Checksum-Crc32c=4waSgw%%3D%%3D",
             u.target);
    CHECK_EQ(kit_send(u.gateway, "PUT", target, NULL, 0, "12345678", 8, NULL), 400);
    CHECK_EQ(kit_send(u.gateway, "PUT", target, NULL, 0, "123456789", 9, NULL), 200);
    end(&u);
}

static int copy_part(struct upload *u, const char *range)
{
    const struct http_header headers[] = {{"x-amz-copy-source", "test/source"},
                                          {"x-amz-copy-source-range", range}};
    char target[300];
    snprintf(target, sizeof target, "%s&partNumber=1", u->target);
    return kit_send(u->gateway, "PUT", target, headers, 2, NULL, 0, NULL);
}

/* No range is taken for another one: a part would hold bytes that nobody asked for. */
static void copied_ranges(void)
{
    struct upload u;
    begin(&u);
    CHECK_EQ(kit_send(u.gateway, "PUT", "/test/source", NULL, 0, "0123456789", 10, NULL), 200);
    CHECK_EQ(copy_part(&u, "bytes=0-9"), 200);
    CHECK_EQ(copy_part(&u, "bytes=9-9"), 200);
    CHECK_EQ(copy_part(&u, "bytes=0-10"), 416);
    CHECK_EQ(copy_part(&u, "bytes=10-10"), 416);
    CHECK_EQ(copy_part(&u, "bytes=0-18446744073709551615"), 416);
    CHECK_EQ(copy_part(&u, "bytes=5-"), 400);
    CHECK_EQ(copy_part(&u, "bytes=0-1,3-4"), 400);
    CHECK_EQ(kit_send(u.gateway, "PUT", "/test/source", NULL, 0, "", 0, NULL), 200);
    CHECK_EQ(copy_part(&u, "bytes=0-0"), 416);
    end(&u);
}

static const struct test tests[] = {
    {"checksums of the object", checksums_of_the_object},
    {"checksum in a URL", checksum_in_a_url},
    {"copied ranges", copied_ranges},
    {0},
};
SUITE("multipart uploads", tests)
