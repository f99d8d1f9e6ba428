/* Bodies: aws-chunked in all its forms and cuts, and every digest that a client can declare. */
#include <stdio.h>
#include <string.h>
#include "common/base/text.h"
#include "gateway/aws_chunked.h"
#include "gateway/body.h"
#include "gateway/http_memory.h"
#include "tests/unit/suite.h"

struct outcome {
    struct sigv4_result auth;
    struct body_config config;
    enum s3_error error;
    size_t buffer; /* bytes a read */
    char *got;
    size_t got_n;
    struct body_digests digests;
};

static void handle(struct http_exchange *e, void *arg)
{
    struct outcome *o = arg;
    struct body *b = NULL;
    o->got = sys_alloc(200000);
    o->error = body_open(&b, e, &o->auth, &o->config);
    while (o->error == S3_OK) {
        size_t n;
        o->error = body_read(b, o->got + o->got_n, o->buffer, &n);
        o->got_n += n;
        if (n < o->buffer)
            break;
    }
    if (b)
        body_digests(b, &o->digests);
    body_free(b);
}

static struct outcome receive(enum sigv4_payload payload, struct http_memory *m)
{
    struct outcome o = {.config = {.size_max = 1 << 20, .md5 = true, .demand_length = true},
                        .buffer = 1000};
    o.auth.payload = payload;
    m->method = "PUT";
    m->target = "/b/k";
    http_memory_run(m, handle, &o);
    CHECK(!m->refused);
    http_memory_release(m);
    return o;
}

static enum s3_error received(enum sigv4_payload payload, const char *body,
                              const struct http_header *h, size_t n, const char *want)
{
    struct http_memory m = {.headers = h, .headers_n = n, .body = body, .body_n = strlen(body)};
    struct outcome o = receive(payload, &m);
    if (o.error == S3_OK && want)
        CHECK(o.got_n == strlen(want) && memcmp(o.got, want, o.got_n) == 0);
    sys_free(o.got);
    return o.error;
}

/* ---- checksums ---- */

static void check_values(void)
{
    static const struct {
        enum checksum_kind kind;
        const char *base64;
    } all[] = {
        {CHECKSUM_CRC32, "y/Q5Jg=="},
        {CHECKSUM_CRC32C, "4waSgw=="},
        {CHECKSUM_CRC64NVME, "rosUhgp5mIg="},
        {CHECKSUM_SHA1, "98O8HYCOBHMq32eZZczDTKeuNEE="},
        {CHECKSUM_SHA256, "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct checksum c;
        uint8_t bytes[DIGEST_MAX_BYTES];
        char text[CHECKSUM_TEXT];
        checksum_init(&c, all[i].kind);
        checksum_update(&c, "1234", 4);
        checksum_update(&c, "56789", 5);
        checksum_final(&c, bytes);
        checksum_release(&c);
        base64_encode(bytes, checksum_bytes(all[i].kind), text);
        CHECK_TEXT(text, all[i].base64);
        CHECK_EQ(checksum_from_name(checksum_name(all[i].kind), strlen(checksum_name(all[i].kind))),
                 all[i].kind);
    }
    CHECK_EQ(checksum_from_name("crc16", 5), CHECKSUM_NONE);
}

/* Folding against one bit at a time, at all lengths and offsets around its blocks. */
static void crc64_folds(void)
{
    uint8_t data[700];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 167 + (i >> 3));
    for (size_t n = 0; n + 8 < sizeof data; n++) {
        const uint8_t *p = data + n % 8;
        uint64_t slow = ~UINT64_C(0);
        for (size_t i = 0; i < n; i++) {
            slow ^= p[i];
            for (int bit = 0; bit < 8; bit++)
                slow = slow >> 1 ^ (slow & 1 ? UINT64_C(0x9a6c9329ac4bc9b5) : 0);
        }
        if (!CHECK(crc64nvme(0, p, n) == ~slow))
            return;
        CHECK(crc64nvme(crc64nvme(0, p, n / 3), p + n / 3, n - n / 3) == ~slow);
    }
}

/* ---- plain bodies ---- */

static void plain(void)
{
    struct http_header md5[] = {{"Content-MD5", "XUFAKrxLKna5cZ2REBfFkg=="}}; /* "hello" */
    CHECK_EQ(received(PAYLOAD_UNSIGNED, "hello", md5, 1, "hello"), S3_OK);
    CHECK_EQ(received(PAYLOAD_UNSIGNED, "hellp", md5, 1, NULL), S3_BAD_DIGEST);
    md5[0].value = "XUFAKrxLKna5cZ2REBfF";
    CHECK_EQ(received(PAYLOAD_UNSIGNED, "hello", md5, 1, NULL), S3_INVALID_DIGEST);
    struct http_header crc[] = {{"x-amz-checksum-crc32c", "4waSgw=="},
                                {"x-amz-checksum-sha1", "x"}};
    CHECK_EQ(received(PAYLOAD_UNSIGNED, "123456789", crc, 1, "123456789"), S3_OK);
    CHECK_EQ(received(PAYLOAD_UNSIGNED, "12345678", crc, 1, NULL), S3_BAD_DIGEST);
    CHECK_EQ(received(PAYLOAD_UNSIGNED, "123456789", crc, 2, NULL), S3_INVALID_REQUEST);
    crc[0].value = "4waS";
    CHECK_EQ(received(PAYLOAD_UNSIGNED, "123456789", crc, 1, NULL), S3_INVALID_REQUEST);
    CHECK_EQ(received(PAYLOAD_SIGNED, "hello", NULL, 0, NULL), S3_XAMZ_CONTENT_SHA256_MISMATCH);
    struct http_header framed[] = {{"Content-Encoding", "gzip, aws-chunked"}};
    CHECK_EQ(received(PAYLOAD_UNSIGNED, "hello", framed, 1, NULL), S3_INVALID_REQUEST);
    CHECK_EQ(received(PAYLOAD_UNSIGNED, "", NULL, 0, ""), S3_OK);
    struct http_memory chunked = {.body = "x", .body_n = 1, .chunked = true};
    struct outcome o = receive(PAYLOAD_UNSIGNED, &chunked);
    CHECK_EQ(o.error, S3_MISSING_CONTENT_LENGTH);
    sys_free(o.got);
    struct http_memory lengthless = {.lengthless = true};
    o = receive(PAYLOAD_UNSIGNED, &lengthless);
    CHECK_EQ(o.error, S3_MISSING_CONTENT_LENGTH);
    sys_free(o.got);
    struct http_memory gone = {.body = "hello", .body_n = 5, .body_gone_at = 3};
    o = receive(PAYLOAD_UNSIGNED, &gone);
    CHECK_EQ(o.error, S3_CLIENT_GONE);
    sys_free(o.got);
}

static void digests(void)
{
    struct http_header wanted[] = {{"x-amz-sdk-checksum-algorithm", "CRC64NVME"}};
    struct http_memory m = {.headers = wanted, .headers_n = 1, .body = "123456789", .body_n = 9};
    struct outcome o = {.config = {.size_max = 9, .md5 = true}, .buffer = 4};
    m.method = "PUT";
    m.target = "/b/k";
    digest_sha256("123456789", 9, o.auth.payload_sha256);
    o.auth.payload = PAYLOAD_SIGNED;
    http_memory_run(&m, handle, &o);
    CHECK_EQ(o.error, S3_OK);
    CHECK(o.digests.has_md5 && !o.digests.checksum_given);
    CHECK_EQ(o.digests.checksum, CHECKSUM_CRC64NVME);
    CHECK_TEXT(o.digests.checksum_text, "rosUhgp5mIg=");
    uint8_t md5[MD5_BYTES];
    digest_md5("123456789", 9, md5);
    CHECK_BYTES(md5, o.digests.md5, MD5_BYTES);
    sys_free(o.got);
    http_memory_release(&m);
    struct http_memory big = {
        .method = "PUT", .target = "/b/k", .body = "1234567890", .body_n = 10};
    o = (struct outcome){.config = {.size_max = 9}, .buffer = 4};
    o.auth.payload = PAYLOAD_UNSIGNED;
    http_memory_run(&big, handle, &o);
    CHECK_EQ(o.error, S3_ENTITY_TOO_LARGE);
    CHECK(!big.continued);
    sys_free(o.got);
    http_memory_release(&big);
}

/* ---- aws-chunked ---- */

#define SIZE(n)                           \
    {                                     \
        "x-amz-decoded-content-length", n \
    }

static enum s3_error trailing(const char *body, const char *size, const char *announced,
                              const char *want)
{
    struct http_header h[] = {SIZE(size), {"x-amz-trailer", announced}};
    return received(PAYLOAD_STREAMING_UNSIGNED_TRAILER, body, h, announced ? 2 : 1, want);
}

static void unsigned_trailers(void)
{
    const char *crc = "x-amz-checksum-crc32c";
    CHECK_EQ(trailing("9\r\n123456789\r\n0\r\nx-amz-checksum-crc32c:4waSgw==\r\n\r\n", "9", crc,
                      "123456789"),
             S3_OK);
    CHECK_EQ(trailing("4\r\n1234\r\n5\r\n56789\r\n0\r\nX-Amz-Checksum-Crc32c: 4waSgw== \r\n\r\n",
                      "9", crc, "123456789"),
             S3_OK);
    CHECK_EQ(trailing("0\r\n\r\n", "0", NULL, ""), S3_OK);
    CHECK_EQ(trailing("4\r\n0\r\n\r\n\r\n0\r\n\r\n", "4", NULL, NULL), S3_INVALID_REQUEST);
    CHECK_EQ(trailing("5\r\n0\r\n\r\n\r\n0\r\n\r\n", "5", NULL, "0\r\n\r\n"), S3_OK);
    static const struct {
        const char *body;
        enum s3_error error;
    } bad[] = {
        {"9\r\n123456789\r\n0\r\nx-amz-checksum-crc32c:4waSgg==\r\n\r\n", S3_BAD_DIGEST},
        {"9\r\n123456789\r\n0\r\nx-amz-checksum-crc32c:4waS\r\n\r\n", S3_INVALID_REQUEST},
        {"9\r\n123456789\r\n0\r\n\r\n", S3_INCOMPLETE_BODY},
        {"9\r\n123456789\r\n", S3_INCOMPLETE_BODY},
        {"9\r\n123456789", S3_INCOMPLETE_BODY},
        {"9\r\n12345678", S3_INCOMPLETE_BODY},
        {"9\r\n123456789\r\n0", S3_INCOMPLETE_BODY},
        {"a\r\n1234567890\r\n0\r\nx-amz-checksum-crc32c:4waSgw==\r\n\r\n", S3_INCOMPLETE_BODY},
        {"8\r\n12345678\r\n0\r\nx-amz-checksum-crc32c:4waSgw==\r\n\r\n", S3_INCOMPLETE_BODY},
        {"9\n123456789\r\n0\r\n\r\n", S3_INVALID_REQUEST},
        {"9\r\n1234567890\r\n0\r\n\r\n", S3_INVALID_REQUEST},
        {"9;ext=1\r\n123456789\r\n0\r\n\r\n", S3_INVALID_REQUEST},
        {"-9\r\n123456789\r\n0\r\n\r\n", S3_INVALID_REQUEST},
        {"\r\n123456789\r\n0\r\n\r\n", S3_INVALID_REQUEST},
        {"fffffffffffffffff\r\n123456789\r\n", S3_INVALID_REQUEST},
        {"ffffffffffffffff\r\n123456789\r\n", S3_INVALID_REQUEST},
        {"9\r\n123456789\r\n0\r\nno-colon\r\n\r\n", S3_INVALID_REQUEST},
        {"9\r\n123456789\r\n0\r\nx-amz-checksum-crc32c:4waSgw==\r\n"
         "x-amz-checksum-crc32c:4waSgw==\r\n\r\n",
         S3_INVALID_REQUEST},
        {"9\r\n123456789\r\n0\r\nx-amz-checksum-crc32c:4waSgw==\r\n\r\nmore", S3_INVALID_REQUEST},
        {"9\r\n123456789\r\n0\r\nx-amz-trailer-signature:00\r\n\r\n", S3_INVALID_REQUEST},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (!CHECK_EQ(trailing(bad[i].body, "9", crc, NULL), bad[i].error))
            printf("for: %s\n", bad[i].body);
    CHECK_EQ(trailing("9\r\n123456789\r\n0\r\n\r\n", "9", "x-amz-checksum-md4", NULL),
             S3_INVALID_REQUEST);
    CHECK_EQ(received(PAYLOAD_STREAMING_UNSIGNED_TRAILER, "0\r\n\r\n", NULL, 0, NULL),
             S3_MISSING_CONTENT_LENGTH);
}

/* The published examples of signed chunks, cut at every size of piece.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html (and -trailers.html) */
static void example_auth(struct sigv4_result *auth, enum sigv4_payload payload, const char *seed)
{
    auth->payload = payload;
    auth->date = "20130524T000000Z";
    auth->scope = "20130524/us-east-1/s3/aws4_request";
    snprintf(auth->signature, sizeof auth->signature, "%s", seed);
    sigv4_signing_key("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "20130524", "us-east-1", "s3",
                      auth->signing_key);
}

static size_t example_body(char *out, const char *const signature[3], const char *end)
{
    static const size_t sizes[] = {65536, 1024, 0};
    size_t n = 0;
    for (int i = 0; i < 3; i++) {
        n += (size_t)sprintf(out + n, "%zx;chunk-signature=%s\r\n", sizes[i], signature[i]);
        memset(out + n, 'a', sizes[i]);
        n += sizes[i];
        if (sizes[i])
            n += (size_t)sprintf(out + n, "\r\n");
    }
    return n + (size_t)sprintf(out + n, "%s", end);
}

static enum s3_error example(enum sigv4_payload payload, const char *seed, const char *body,
                             size_t body_n, size_t piece, size_t buffer)
{
    struct http_header h[] = {SIZE("66560"), {"x-amz-trailer", "x-amz-checksum-crc32c"}};
    struct http_memory m = {.method = "PUT",
                            .target = "/examplebucket/chunkObject.txt",
                            .headers = h,
                            .body = body,
                            .body_n = body_n,
                            .piece_bytes = piece};
    m.headers_n = payload == PAYLOAD_STREAMING_SIGNED ? 1 : 2;
    struct outcome o = {.config = {.size_max = 1 << 20}, .buffer = buffer};
    example_auth(&o.auth, payload, seed);
    http_memory_run(&m, handle, &o);
    if (o.error == S3_OK) {
        bool all_a = o.got_n == 66560;
        for (size_t i = 0; i < o.got_n && all_a; i++)
            all_a = o.got[i] == 'a';
        CHECK(all_a);
    }
    sys_free(o.got);
    http_memory_release(&m);
    return o.error;
}

static void published_chunks(void)
{
    static const char *const signature[] = {
        "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
        "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
        "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"};
    static const char *const seed =
        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";
    const enum sigv4_payload payload = PAYLOAD_STREAMING_SIGNED;
    char *body = sys_alloc(70000);
    size_t n = example_body(body, signature, "\r\n");
    static const size_t pieces[] = {0, 1, 2, 3, 85, 86, 87, 1000, 65536};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++)
        CHECK_EQ(example(payload, seed, body, n, pieces[i], 4096), S3_OK);
    CHECK_EQ(example(payload, seed, body, n, 0, 66560), S3_OK);
    CHECK_EQ(example(payload, seed, body, n, 0, 100000), S3_OK);
    body[100] ^= 1; /* a byte of the object */
    CHECK_EQ(example(payload, seed, body, n, 0, 4096), S3_SIGNATURE_DOES_NOT_MATCH);
    body[100] ^= 1;
    body[n - 5] ^= 1; /* of the last signature */
    CHECK_EQ(example(payload, seed, body, n, 0, 4096), S3_SIGNATURE_DOES_NOT_MATCH);
    n = example_body(body, signature, "\r\nx-evil:1\r\n");
    CHECK_EQ(example(payload, seed, body, n, 0, 4096), S3_INVALID_REQUEST);
    n = example_body(body, signature, "\r\n");
    for (size_t cut = 1; cut < n - 2; cut = cut * 3 + 1)
        CHECK_EQ(example(payload, seed, body, n - 2 - cut, 0, 4096), S3_INCOMPLETE_BODY);
    sys_free(body);
}

static void published_trailers(void)
{
    static const char *const signature[] = {
        "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
        "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
        "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992"};
    static const char *const seed =
        "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e";
    const enum sigv4_payload payload = PAYLOAD_STREAMING_SIGNED_TRAILER;
    static const char *const end =
        "x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:"
        "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n";
    char *body = sys_alloc(70000);
    size_t n = example_body(body, signature, end);
    CHECK_EQ(example(payload, seed, body, n, 0, 4096), S3_OK);
    CHECK_EQ(example(payload, seed, body, n, 7, 4096), S3_OK);
    CHECK_EQ(example(payload, seed, body, n - 2, 0, 4096), S3_OK); /* without the last line */
    body[n - 6] ^= 1;
    CHECK_EQ(example(payload, seed, body, n, 0, 4096), S3_SIGNATURE_DOES_NOT_MATCH);
    n = example_body(body, signature, "x-amz-checksum-crc32c:sOO8/Q==\r\n\r\n");
    CHECK_EQ(example(payload, seed, body, n, 0, 4096), S3_INCOMPLETE_BODY);
    sys_free(body);
}

/* Random damage: any answer but a crash, and content only from chunks. */
static void survives_damage(void)
{
    static const char *const good = "4\r\n1234\r\n5\r\n56789\r\n0\r\n"
                                    "x-amz-checksum-crc32c:4waSgw==\r\n\r\n";
    struct http_header h[] = {SIZE("9"), {"x-amz-trailer", "x-amz-checksum-crc32c"}};
    uint64_t random = suite_seed() | 1;
    for (int i = 0; i < 5000; i++) {
        char body[100];
        size_t n = strlen(good);
        memcpy(body, good, n);
        for (int k = 0; k < 3; k++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            body[(random >> 33) % n] = "0159a;\r\n: \0\xff"[(random >> 50) % 12];
        }
        struct http_memory m = {.headers = h,
                                .headers_n = 2,
                                .body = body,
                                .body_n = n,
                                .piece_bytes = 1 + (random >> 40) % 20};
        struct outcome o = receive(PAYLOAD_STREAMING_UNSIGNED_TRAILER, &m);
        CHECK(o.error != S3_OK || (o.got_n == 9 && memcmp(o.got, "123456789", 9) == 0));
        sys_free(o.got);
    }
}

/* ---- whole small bodies ---- */

static void whole_handle(struct http_exchange *e, void *arg)
{
    struct outcome *o = arg;
    char *text;
    size_t n;
    o->error = body_whole(e, &o->auth, 10, true, &text, &n);
    if (o->error == S3_OK)
        CHECK_TEXT(text, "hello");
}

static void whole(void)
{
    struct http_header h[] = {{"Content-MD5", "XUFAKrxLKna5cZ2REBfFkg=="}};
    struct http_memory m = {.method = "POST",
                            .target = "/b?delete",
                            .body = "hello",
                            .body_n = 5,
                            .headers = h,
                            .headers_n = 1};
    struct outcome o = {.auth.payload = PAYLOAD_UNSIGNED};
    http_memory_run(&m, whole_handle, &o);
    CHECK_EQ(o.error, S3_OK);
    http_memory_release(&m);
    m = (struct http_memory){.method = "POST", .target = "/b?delete", .body = "hello", .body_n = 5};
    http_memory_run(&m, whole_handle, &o);
    CHECK_EQ(o.error, S3_INVALID_REQUEST);
    http_memory_release(&m);
    m = (struct http_memory){
        .method = "POST", .target = "/b?delete", .body = "hello world", .body_n = 11};
    http_memory_run(&m, whole_handle, &o);
    CHECK_EQ(o.error, S3_MAX_MESSAGE_LENGTH_EXCEEDED);
    http_memory_release(&m);
}

static const struct test tests[] = {
    {"check values", check_values},
    {"CRC64 folds", crc64_folds},
    {"plain", plain},
    {"digests", digests},
    {"unsigned trailers", unsigned_trailers},
    {"published chunks", published_chunks},
    {"published trailers", published_trailers},
    {"survives damage", survives_damage},
    {"whole", whole},
    {0},
};
SUITE("body", tests)
