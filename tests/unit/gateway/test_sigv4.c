/* SigV4 against the examples that AWS publishes, and against what must be refused.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html */
#include <stdio.h>
#include <string.h>
#include "common/base/text.h"
#include "gateway/http_memory.h"
#include "gateway/sigv4.h"
#include "tests/unit/suite.h"

#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define CREDENTIAL \
    "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
#define HOST                                     \
    {                                            \
        "Host", "examplebucket.s3.amazonaws.com" \
    }
#define DATE                             \
    {                                    \
        "x-amz-date", "20130524T000000Z" \
    }

static enum err secret(void *arg, const char *key_id, char *out, size_t max)
{
    (void)arg;
    if (strcmp(key_id, "AKIAIOSFODNN7EXAMPLE") != 0)
        return ERR_NO_USER;
    snprintf(out, max, "%s", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
    return OK;
}

struct outcome {
    enum s3_error error;
    struct sigv4_result result;
    int64_t minutes; /* the server's clock against the examples' */
    const char *region;
};

static void handle(struct http_exchange *e, void *arg)
{
    struct outcome *o = arg;
    struct sigv4_config c = {.region = o->region ? o->region : "us-east-1",
                             .skew = 15 * 60 * SYS_SECOND,
                             .secret = secret};
    CHECK_OK(time_parse_basic("20130524T000000Z", &c.now));
    c.now += o->minutes * 60 * SYS_SECOND;
    o->error = sigv4_verify(http_request(e), &c, &o->result);
}

static struct outcome verify(const char *method, const char *target, const struct http_header *h,
                             size_t n, int64_t minutes)
{
    struct http_memory m = {.method = method, .target = target, .headers = h, .headers_n = n};
    struct outcome o = {.error = S3_INTERNAL_ERROR, .minutes = minutes};
    http_memory_run(&m, handle, &o);
    CHECK(!m.refused);
    http_memory_release(&m);
    return o;
}

#define VERIFY(method, target, headers) \
    verify(method, target, headers, sizeof(headers) / sizeof *(headers), 0)

static void published_headers(void)
{
    struct http_header get[] = {
        HOST,
        DATE,
        {"Range", "bytes=0-9"},
        {"x-amz-content-sha256", EMPTY},
        {"Authorization",
         CREDENTIAL "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"
                    "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"}};
    struct outcome o = VERIFY("GET", "/test.txt", get);
    CHECK_EQ(o.error, S3_OK);
    CHECK_EQ(o.result.payload, PAYLOAD_SIGNED);
    CHECK_TEXT(o.result.key_id, "AKIAIOSFODNN7EXAMPLE");
    CHECK(!o.result.anonymous && !o.result.presigned);
    struct http_header put[] = {
        HOST,
        DATE,
        {"Date", "Fri, 24 May 2013 00:00:00 GMT"},
        {"x-amz-storage-class", "REDUCED_REDUNDANCY"},
        {"x-amz-content-sha256",
         "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"},
        {"Authorization",
         CREDENTIAL "SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class,"
                    "Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"}};
    CHECK_EQ(VERIFY("PUT", "/test%24file.text", put).error, S3_OK);
    /* A client that signs encoded what it sends bare. */
    CHECK_EQ(VERIFY("PUT", "/test$file.text", put).error, S3_OK);
    CHECK_EQ(VERIFY("PUT", "/test%2524file.text", put).error, S3_SIGNATURE_DOES_NOT_MATCH);
    CHECK_EQ(VERIFY("PUT", "//test%24file.text", put).error, S3_SIGNATURE_DOES_NOT_MATCH);
    CHECK_EQ(VERIFY("PUT", "/./test%24file.text", put).error, S3_SIGNATURE_DOES_NOT_MATCH);
}

static void published_queries(void)
{
    struct http_header lifecycle[] = {
        HOST,
        DATE,
        {"x-amz-content-sha256", EMPTY},
        {"Authorization",
         CREDENTIAL "SignedHeaders=host;x-amz-content-sha256;x-amz-date, "
                    "Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"}};
    CHECK_EQ(VERIFY("GET", "/?lifecycle", lifecycle).error, S3_OK);
    CHECK_EQ(VERIFY("GET", "/?lifecycle=", lifecycle).error, S3_OK);
    CHECK_EQ(VERIFY("GET", "/?policy", lifecycle).error, S3_SIGNATURE_DOES_NOT_MATCH);
    struct http_header list[] = {
        HOST,
        DATE,
        {"x-amz-content-sha256", EMPTY},
        {"Authorization",
         CREDENTIAL "SignedHeaders=host;x-amz-content-sha256;x-amz-date,"
                    "Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"}};
    CHECK_EQ(VERIFY("GET", "/?max-keys=2&prefix=J", list).error, S3_OK);
    CHECK_EQ(VERIFY("GET", "/?prefix=J&max-keys=2", list).error, S3_OK);
    CHECK_EQ(VERIFY("GET", "/?prefix=K&max-keys=2", list).error, S3_SIGNATURE_DOES_NOT_MATCH);
}

#define PRESIGNED                                                                      \
    "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE" \
    "%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z"          \
    "&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature="                   \
    "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"

static void presigned(void)
{
    struct http_header plain[] = {HOST};
    struct outcome o = VERIFY("GET", PRESIGNED, plain);
    CHECK_EQ(o.error, S3_OK);
    CHECK(o.result.presigned);
    CHECK_EQ(o.result.payload, PAYLOAD_UNSIGNED);
    CHECK_EQ(verify("GET", PRESIGNED, plain, 1, 24 * 60 - 1).error, S3_OK);
    CHECK_EQ(verify("GET", PRESIGNED, plain, 1, 24 * 60 + 1).error, S3_REQUEST_EXPIRED);
    CHECK_EQ(verify("GET", PRESIGNED, plain, 1, -20).error, S3_ACCESS_DENIED);
    CHECK_EQ(VERIFY("PUT", PRESIGNED, plain).error, S3_SIGNATURE_DOES_NOT_MATCH);
    struct http_header unsigned_header[] = {HOST, {"x-amz-meta-evil", "1"}};
    CHECK_EQ(VERIFY("GET", PRESIGNED, unsigned_header).error, S3_UNSIGNED_HEADERS);
    struct http_header both[] = {HOST, {"Authorization", CREDENTIAL "SignedHeaders=host"}};
    CHECK_EQ(VERIFY("GET", PRESIGNED, both).error, S3_INVALID_ARGUMENT);
}

static void streaming_seed(void)
{
    struct http_header put[] = {
        {"Host", "s3.amazonaws.com"},
        DATE,
        {"x-amz-storage-class", "REDUCED_REDUNDANCY"},
        {"x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"},
        {"Content-Encoding", "aws-chunked"},
        {"x-amz-decoded-content-length", "66560"},
        {"Content-Length", "66824"},
        {"Authorization", CREDENTIAL
         "SignedHeaders=content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;"
         "x-amz-decoded-content-length;x-amz-storage-class,"
         "Signature=4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"}};
    struct outcome o = VERIFY("PUT", "/examplebucket/chunkObject.txt", put);
    CHECK_EQ(o.error, S3_OK);
    CHECK_EQ(o.result.payload, PAYLOAD_STREAMING_SIGNED);
    put[3].value = "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD";
    CHECK_EQ(VERIFY("PUT", "/examplebucket/chunkObject.txt", put).error, S3_INVALID_ARGUMENT);
}

#define GOOD_SIGNATURE "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"

static enum s3_error with_authorization(const char *authorization, int64_t minutes)
{
    struct http_header get[] = {HOST,
                                DATE,
                                {"Range", "bytes=0-9"},
                                {"x-amz-content-sha256", EMPTY},
                                {"Authorization", authorization}};
    return verify("GET", "/test.txt", get, 5, minutes).error;
}

static void refuses(void)
{
    static const struct {
        const char *authorization;
        enum s3_error error;
    } all[] = {
        {CREDENTIAL "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date," GOOD_SIGNATURE,
         S3_OK},
        {"AWS4-HMAC-SHA256 Credential=NOBODY/20130524/us-east-1/s3/aws4_request,"
         "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date," GOOD_SIGNATURE,
         S3_INVALID_ACCESS_KEY_ID},
        {"AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/eu-west-1/s3/aws4_request,"
         "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date," GOOD_SIGNATURE,
         S3_AUTHORIZATION_HEADER_MALFORMED},
        {"AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130525/us-east-1/s3/aws4_request,"
         "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date," GOOD_SIGNATURE,
         S3_AUTHORIZATION_HEADER_MALFORMED},
        {"AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/ec2/aws4_request,"
         "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date," GOOD_SIGNATURE,
         S3_AUTHORIZATION_HEADER_MALFORMED},
        {CREDENTIAL "SignedHeaders=host;range;x-amz-date," GOOD_SIGNATURE, S3_UNSIGNED_HEADERS},
        {CREDENTIAL "SignedHeaders=range;x-amz-content-sha256;x-amz-date," GOOD_SIGNATURE,
         S3_UNSIGNED_HEADERS},
        {CREDENTIAL "SignedHeaders=host;x-amz-content-sha256;x-amz-date," GOOD_SIGNATURE,
         S3_SIGNATURE_DOES_NOT_MATCH},
        {CREDENTIAL "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature=abc",
         S3_AUTHORIZATION_HEADER_MALFORMED},
        {CREDENTIAL "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date",
         S3_AUTHORIZATION_HEADER_MALFORMED},
        {CREDENTIAL
         "SignedHeaders=host;range;Range;x-amz-content-sha256;x-amz-date," GOOD_SIGNATURE,
         S3_AUTHORIZATION_HEADER_MALFORMED},
        {CREDENTIAL "SignedHeaders=host;range;;x-amz-content-sha256;x-amz-date," GOOD_SIGNATURE,
         S3_AUTHORIZATION_HEADER_MALFORMED},
        {CREDENTIAL GOOD_SIGNATURE "," GOOD_SIGNATURE, S3_AUTHORIZATION_HEADER_MALFORMED},
        {"AWS AKIAIOSFODNN7EXAMPLE:bWq2s1WEIj+Ydj0vQ697zp+IXMU=", S3_SIGNATURE_V2},
        {"Basic abc", S3_AUTHORIZATION_HEADER_MALFORMED},
        {"AWS4-HMAC-SHA256", S3_AUTHORIZATION_HEADER_MALFORMED},
        {"", S3_AUTHORIZATION_HEADER_MALFORMED},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!CHECK_EQ(with_authorization(all[i].authorization, 0), all[i].error))
            printf("for: %s\n", all[i].authorization);
    CHECK_EQ(with_authorization(all[0].authorization, 14), S3_OK);
    CHECK_EQ(with_authorization(all[0].authorization, -14), S3_OK);
    CHECK_EQ(with_authorization(all[0].authorization, 16), S3_REQUEST_TIME_TOO_SKEWED);
    CHECK_EQ(with_authorization(all[0].authorization, -16), S3_REQUEST_TIME_TOO_SKEWED);
    struct http_header v2[] = {HOST};
    CHECK_EQ(VERIFY("GET", "/x?AWSAccessKeyId=A&Signature=b&Expires=1", v2).error, S3_SIGNATURE_V2);
    struct http_header sha[] = {
        HOST, DATE, {"Range", "bytes=0-9"}, {"Authorization", all[0].authorization}};
    CHECK_EQ(VERIFY("GET", "/test.txt", sha).error, S3_MISSING_SECURITY_HEADER);
}

static void anonymous(void)
{
    struct http_header none[] = {HOST};
    struct outcome o = VERIFY("GET", "/x", none);
    CHECK_EQ(o.error, S3_OK);
    CHECK(o.result.anonymous);
    struct http_header framed[] = {HOST,
                                   {"x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"}};
    CHECK_EQ(VERIFY("PUT", "/x", framed).error, S3_ACCESS_DENIED);
}

static const struct test tests[] = {
    {"published headers", published_headers},
    {"published queries", published_queries},
    {"presigned", presigned},
    {"streaming seed", streaming_seed},
    {"refuses", refuses},
    {"anonymous", anonymous},
    {0},
};
SUITE("sigv4", tests)
