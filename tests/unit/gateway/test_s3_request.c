/* Which operation a request is, names, keys, ranges, conditions, headers. */
#include <stdio.h>
#include <string.h>
#include "common/base/text.h"
#include "gateway/http_internal.h"
#include "gateway/http_memory.h"
#include "gateway/s3_request.h"
#include "gateway/s3_uri.h"
#include "tests/unit/suite.h"

struct want {
    enum s3_error error;
    enum s3_operation operation;
    const char *bucket, *key;
    void (*more)(const struct s3_request *r);
};

static void handle(struct http_exchange *e, void *arg)
{
    const struct want *w = arg;
    struct s3_request r;
    struct s3_request_config c = {.base_domain = "s3.example.com"};
    CHECK_EQ(s3_request_parse(http_request(e), &c, &r), w->error);
    if (w->error == S3_OK)
        CHECK_EQ(r.operation, w->operation);
    if (w->bucket)
        CHECK_TEXT(r.bucket, w->bucket);
    if (w->key) {
        CHECK_TEXT(r.key, w->key);
        CHECK_EQ(r.key_n, strlen(w->key));
    }
    if (w->more)
        w->more(&r);
}

static void parse_with(const char *method, const char *target, const struct http_header *h,
                       size_t n, struct want want)
{
    struct http_memory m = {.method = method, .target = target, .headers = h, .headers_n = n};
    http_memory_run(&m, handle, &want);
    if (!CHECK(!m.refused))
        printf("refused: %s %s\n", method, target);
    http_memory_release(&m);
}

static void is(const char *method, const char *target, enum s3_operation o, const char *bucket,
               const char *key)
{
    unsigned before = CU_get_number_of_failures();
    parse_with(method, target, NULL, 0, (struct want){S3_OK, o, bucket, key, NULL});
    if (CU_get_number_of_failures() != before)
        printf("for: %s %s\n", method, target);
}

static void is_not(const char *method, const char *target, enum s3_error error)
{
    unsigned before = CU_get_number_of_failures();
    parse_with(method, target, NULL, 0, (struct want){.error = error});
    if (CU_get_number_of_failures() != before)
        printf("for: %s %s\n", method, target);
}

static void operations(void)
{
    is("GET", "/", S3_LIST_BUCKETS, "", "");
    is("PUT", "/bucket", S3_CREATE_BUCKET, "bucket", "");
    is("PUT", "/bucket/", S3_CREATE_BUCKET, "bucket", "");
    is("HEAD", "/bucket", S3_HEAD_BUCKET, "bucket", "");
    is("DELETE", "/bucket", S3_DELETE_BUCKET, "bucket", "");
    is("GET", "/bucket?location", S3_GET_BUCKET_LOCATION, "bucket", "");
    is("GET", "/bucket?location=", S3_GET_BUCKET_LOCATION, "bucket", "");
    is("GET", "/bucket", S3_LIST_OBJECTS, "bucket", "");
    is("GET", "/bucket?prefix=a%2Fb&delimiter=%2F&max-keys=0", S3_LIST_OBJECTS, "bucket", "");
    is("GET", "/bucket?list-type=2&start-after=x", S3_LIST_OBJECTS_V2, "bucket", "");
    is("GET", "/bucket?versions", S3_LIST_OBJECT_VERSIONS, "bucket", "");
    is("GET", "/bucket?uploads", S3_LIST_MULTIPART_UPLOADS, "bucket", "");
    is("POST", "/bucket?delete", S3_DELETE_OBJECTS, "bucket", "");
    is("POST", "/bucket?delete&x-id=DeleteObjects", S3_DELETE_OBJECTS, "bucket", "");
    is("GET", "/bucket?policy", S3_GET_BUCKET_POLICY, "bucket", "");
    is("PUT", "/bucket/key", S3_PUT_OBJECT, "bucket", "key");
    is("GET", "/bucket/key?versionId=x", S3_GET_OBJECT, "bucket", "key");
    is("HEAD", "/bucket/key", S3_HEAD_OBJECT, "bucket", "key");
    is("DELETE", "/bucket/key", S3_DELETE_OBJECT, "bucket", "key");
    is("POST", "/bucket/key?uploads", S3_CREATE_MULTIPART_UPLOAD, "bucket", "key");
    is("PUT", "/bucket/key?partNumber=1&uploadId=u", S3_UPLOAD_PART, "bucket", "key");
    is("POST", "/bucket/key?uploadId=u", S3_COMPLETE_MULTIPART_UPLOAD, "bucket", "key");
    is("DELETE", "/bucket/key?uploadId=u", S3_ABORT_MULTIPART_UPLOAD, "bucket", "key");
    is("GET", "/bucket/key?uploadId=u&max-parts=5", S3_LIST_PARTS, "bucket", "key");
    is("GET", "/bucket/key?x-amz-checksum-mode=ENABLED&x-id=GetObject", S3_GET_OBJECT, "bucket",
       "key");
    is("PUT",
       "/bucket/key?x-amz-checksum-crc32=AAAAAA%3D%3D&x-amz-sdk-checksum-algorithm=CRC32"
       "&x-id=PutObject",
       S3_PUT_OBJECT, "bucket", "key");
    is("PUT", "/bucket/key?X-Amz-Checksum-Sha256=x&X-Amz-Sdk-Checksum-Algorithm=SHA256",
       S3_PUT_OBJECT, "bucket", "key");
    is("GET", "/bucket/key?attributes", S3_GET_OBJECT_ATTRIBUTES, "bucket", "key");
}

static void refused_operations(void)
{
    is_not("GET", "/bucket?intelligent-tiering", S3_NOT_IMPLEMENTED);
    is_not("GET", "/bucket/key?torrent", S3_NOT_IMPLEMENTED);
    is_not("PUT", "/bucket/key?unknown", S3_NOT_IMPLEMENTED);
    is_not("PUT", "/bucket/key?x-amz-checksum-crc16=x", S3_NOT_IMPLEMENTED);
    is_not("PUT", "/bucket/key?x-amz-acl=private", S3_NOT_IMPLEMENTED);
    is_not("PUT", "/bucket/key?partNumber=1", S3_NOT_IMPLEMENTED);
    is_not("POST", "/bucket/key?restore", S3_NOT_IMPLEMENTED);
    is_not("POST", "/bucket/key", S3_NOT_IMPLEMENTED);
    is_not("DELETE", "/bucket/key?acl", S3_NOT_IMPLEMENTED);
    is_not("PATCH", "/bucket/key", S3_METHOD_NOT_ALLOWED);
    is_not("PUT", "/", S3_METHOD_NOT_ALLOWED);
    is_not("GET", "/bucket?list-type=3", S3_INVALID_ARGUMENT);
    is_not("GET", "/bucket?prefix=a&prefix=b", S3_INVALID_ARGUMENT);
    is_not("GET", "/bucket?prefix=%zz", S3_INVALID_URI);
    is_not("PUT", "/bucket/%", S3_INVALID_URI);
    is_not("PUT", "/bucket/%4", S3_INVALID_URI);
    is_not("PUT", "/Bucket", S3_INVALID_BUCKET_NAME);
    is_not("PUT", "//key", S3_INVALID_BUCKET_NAME);
    is_not("PUT", "/buc%2Fket/key", S3_INVALID_BUCKET_NAME);
    is_not("PUT", "/bucket%00/key", S3_INVALID_BUCKET_NAME);
}

static void long_key(const struct s3_request *r)
{
    CHECK_EQ(r->key_n, 1024);
}

static void nul_key(const struct s3_request *r)
{
    CHECK_EQ(r->key_n, 3);
    CHECK_BYTES(r->key, "a\0b", 3);
}

static void keys(void)
{
    char target[3200] = "/bucket/";
    is("PUT", "/bucket//a//b/../c/./", S3_PUT_OBJECT, "bucket", "/a//b/../c/./");
    is("PUT", "/bucket/a%2Fb+c%2Bd%20e", S3_PUT_OBJECT, "bucket", "a/b+c+d e");
    is("PUT", "/bucket/%252F", S3_PUT_OBJECT, "bucket", "%2F");
    is("PUT", "/bucket/%C3%A4", S3_PUT_OBJECT, "bucket", "\xc3\xa4");
    parse_with("PUT", "/bucket/a%00b", NULL, 0,
               (struct want){S3_OK, S3_PUT_OBJECT, "bucket", NULL, nul_key});
    for (int i = 0; i < 1024; i++)
        strcat(target, "%41");
    parse_with("PUT", target, NULL, 0,
               (struct want){S3_OK, S3_PUT_OBJECT, "bucket", NULL, long_key});
    strcat(target, "b");
    is_not("PUT", target, S3_KEY_TOO_LONG);
}

/* Nobody could list such a key; what is there already can be read and deleted. */
static void keys_that_are_no_text(void)
{
    static const struct http_header copy[] = {{"x-amz-copy-source", "source/%FF"}};
    is_not("PUT", "/bucket/%FF", S3_INVALID_URI);
    is_not("PUT", "/bucket/a%C3", S3_INVALID_URI);
    is_not("PUT", "/bucket/%C0%AF", S3_INVALID_URI);
    is_not("PUT", "/bucket/%ED%A0%80", S3_INVALID_URI);
    is_not("PUT", "/bucket/a\xff", S3_INVALID_URI);
    is_not("POST", "/bucket/%FF?uploads", S3_INVALID_URI);
    parse_with("PUT", "/bucket/%FF", copy, 1, (struct want){.error = S3_INVALID_URI});
    parse_with("PUT", "/bucket/key", copy, 1, (struct want){S3_OK, S3_COPY_OBJECT, 0, 0, 0});
    is("GET", "/bucket/%FF", S3_GET_OBJECT, "bucket", "\xff");
    is("HEAD", "/bucket/%FF", S3_HEAD_OBJECT, "bucket", "\xff");
    is("DELETE", "/bucket/%FF", S3_DELETE_OBJECT, "bucket", "\xff");
    is("POST", "/bucket/%FF?uploadId=u", S3_COMPLETE_MULTIPART_UPLOAD, "bucket", "\xff");
    is("PUT", "/bucket/%EF%BF%BF", S3_PUT_OBJECT, "bucket", "\xef\xbf\xbf");
    is("PUT", "/bucket/%F0%9F%98%80", S3_PUT_OBJECT, "bucket", "\xf0\x9f\x98\x80");
}

static void hosts(void)
{
    struct http_header h[] = {{"Host", "my.bucket.s3.example.com:9000"}};
    parse_with("GET", "/bucket/key", h, 1,
               (struct want){S3_OK, S3_GET_OBJECT, "my.bucket", "bucket/key", NULL});
    parse_with("GET", "/", h, 1, (struct want){S3_OK, S3_LIST_OBJECTS, "my.bucket", "", NULL});
    parse_with("PUT", "//key", h, 1,
               (struct want){S3_OK, S3_PUT_OBJECT, "my.bucket", "/key", NULL});
    h[0].value = "s3.example.com";
    parse_with("GET", "/bucket/key", h, 1,
               (struct want){S3_OK, S3_GET_OBJECT, "bucket", "key", NULL});
    h[0].value = "xs3.example.com";
    parse_with("GET", "/bucket/key", h, 1,
               (struct want){S3_OK, S3_GET_OBJECT, "bucket", "key", NULL});
}

static void bucket_names(void)
{
    static const char *const good[] = {"abc", "a.b-c", "123", "1.2.3.4.5", "a--b"};
    static const char *const bad[] = {
        "ab",
        "",
        "Abc",
        "a_b",
        "-abc",
        "abc-",
        ".abc",
        "abc.",
        "a..b",
        "1.2.3.4",
        "xn--abc",
        "a b",
        "a234567890123456789012345678901234567890123456789012345678901234"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        CHECK(s3_bucket_name_ok(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (!CHECK(!s3_bucket_name_ok(bad[i])))
            printf("for: %s\n", bad[i]);
}

static void stored_more(const struct s3_request *r)
{
    CHECK_EQ(r->stored.n, 3);
    CHECK_TEXT(http_headers_get(&r->stored, "Content-Type"), "text/plain");
    CHECK_TEXT(http_headers_get(&r->stored, "Content-Encoding"), "gzip,br");
    CHECK_EQ(r->metadata.n, 2);
    CHECK_TEXT(http_headers_get(&r->metadata, "a"), "1,3");
    CHECK_TEXT(http_headers_get(&r->metadata, "b-c"), "2");
    CHECK_TEXT(r->storage_class, "STANDARD");
}

static void headers(void)
{
    char big[2100];
    struct http_header h[] = {{"content-type", "text/plain"},
                              {"Content-Encoding", "gzip, aws-chunked , br"},
                              {"Cache-Control", "no-cache"},
                              {"x-amz-meta-A", "1"},
                              {"X-Amz-Meta-b-c", "2"},
                              {"x-amz-meta-a", "3"},
                              {"x-amz-storage-class", "STANDARD"}};
    parse_with("PUT", "/bucket/key", h, 7,
               (struct want){S3_OK, S3_PUT_OBJECT, NULL, NULL, stored_more});
    memset(big, 'a', sizeof big);
    big[2048] = 0;
    struct http_header large[] = {{"x-amz-meta-x", big}};
    parse_with("PUT", "/bucket/key", large, 1, (struct want){.error = S3_METADATA_TOO_LARGE});
    big[2047] = 0;
    parse_with("PUT", "/bucket/key", large, 1, (struct want){S3_OK, S3_PUT_OBJECT, 0, 0, 0});
    static const struct http_header unknown[] = {{"x-amz-server-side-encryption", "aws:kms"},
                                                 {"x-amz-tagging", "a=b"},
                                                 {"x-amz-acl", "public-read"},
                                                 {"x-amz-bucket-object-lock-enabled", "true"},
                                                 {"if-none-match", "\"x\""},
                                                 {"x-amz-api-version", "2007-03-01"},
                                                 {"x-amz-new", "1"}};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        parse_with("PUT", "/bucket/key", &unknown[i], 1,
                   (struct want){.error = S3_NOT_IMPLEMENTED});
    static const struct http_header fine[] = {{"x-amz-acl", "private"},
                                              {"if-none-match", "*"},
                                              {"x-amz-api-version", "2006-03-01"},
                                              {"x-amz-te", "append-md5"}};
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++)
        parse_with("PUT", "/bucket/key", &fine[i], 1, (struct want){S3_OK, S3_PUT_OBJECT, 0, 0, 0});
}

static void copy_more(const struct s3_request *r)
{
    CHECK_TEXT(r->copy.bucket, "source");
    CHECK_TEXT(r->copy.key, "a/b c");
    CHECK_TEXT(r->copy.version, "v1");
    CHECK_EQ(r->range.kind, r->operation == S3_UPLOAD_PART_COPY ? S3_RANGE_SPAN : S3_RANGE_NONE);
    CHECK_TEXT(r->copy_conditions.if_match, "x");
}

static void copies(void)
{
    struct http_header h[] = {{"x-amz-copy-source", "/source/a/b%20c?versionId=v1"},
                              {"x-amz-copy-source-range", "bytes=0-5"},
                              {"x-amz-copy-source-if-match", "x"}};
    parse_with("PUT", "/bucket/key", h, 3, (struct want){S3_OK, S3_COPY_OBJECT, 0, 0, copy_more});
    parse_with("PUT", "/bucket/key?partNumber=1&uploadId=u", h, 3,
               (struct want){S3_OK, S3_UPLOAD_PART_COPY, 0, 0, copy_more});
    h[0].value = "source%2Fa%2Fb%20c?versionId=v1";
    parse_with("PUT", "/bucket/key", h, 3, (struct want){S3_OK, S3_COPY_OBJECT, 0, 0, copy_more});
    parse_with("GET", "/bucket/key", h, 3, (struct want){.error = S3_INVALID_REQUEST});
    h[0].value = "source";
    parse_with("PUT", "/bucket/key", h, 1, (struct want){.error = S3_INVALID_ARGUMENT});
    h[0].value = "S/key";
    parse_with("PUT", "/bucket/key", h, 1, (struct want){.error = S3_INVALID_BUCKET_NAME});
}

static void copy_ranges(void)
{
    static const char *const bad[] = {"bytes=0",    "bytes=0-",
                                      "bytes=-5",   "bytes=9-5",
                                      "bytes=a-b",  "bytes=0-1,3-4",
                                      "0-5",        "lines=0-5",
                                      "bytes=0-5 ", "bytes=0-1-2",
                                      "",           "bytes=",
                                      "Bytes=0-5",  "bytes=0-99999999999999999999"};
    struct http_header h[] = {{"x-amz-copy-source", "source/key"}, {"x-amz-copy-source-range", ""}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        h[1].value = bad[i];
        parse_with("PUT", "/bucket/key?partNumber=1&uploadId=u", h, 2,
                   (struct want){.error = S3_INVALID_ARGUMENT});
    }
}

static void ranges(void)
{
    static const struct {
        const char *text;
        uint64_t size;
        enum s3_error error;
        uint64_t first, length;
    } all[] = {
        {"bytes=0-9", 100, S3_OK, 0, 10},
        {"bytes=5-", 100, S3_OK, 5, 95},
        {"bytes=-10", 100, S3_OK, 90, 10},
        {"bytes=-1000", 100, S3_OK, 0, 100},
        {"bytes=99-1000", 100, S3_OK, 99, 1},
        {"bytes=100-", 100, S3_INVALID_RANGE, 0, 100},
        {"bytes=-0", 100, S3_INVALID_RANGE, 0, 100},
        {"bytes=0-0", 0, S3_INVALID_RANGE, 0, 0},
        {"bytes=-1", 0, S3_INVALID_RANGE, 0, 0},
        {"bytes=9-5", 100, S3_OK, 0, 100},
        {"bytes=0-1,3-4", 100, S3_OK, 0, 100},
        {"bytes=-", 100, S3_OK, 0, 100},
        {"bytes=a-b", 100, S3_OK, 0, 100},
        {"bytes=1", 100, S3_OK, 0, 100},
        {"lines=0-1", 100, S3_OK, 0, 100},
        {"bytes=0-99999999999999999999", 100, S3_OK, 0, 100},
        {"bytes=18446744073709551615-", 100, S3_INVALID_RANGE, 0, 100},
        {NULL, 100, S3_OK, 0, 100},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct s3_range r;
        uint64_t first, length;
        s3_range_parse(all[i].text, &r);
        bool ok = CHECK_EQ(s3_range_resolve(&r, all[i].size, &first, &length), all[i].error);
        if (all[i].error == S3_OK)
            ok = CHECK_EQ(first, all[i].first) && CHECK_EQ(length, all[i].length) && ok;
        if (!ok)
            printf("for: %s\n", all[i].text);
    }
}

static void conditions(void)
{
    const int64_t day = 86400 * SYS_SECOND;
    struct s3_conditions c = {.if_match = "\"a\", W/\"b\" , c"};
    CHECK_EQ(s3_conditions_read(&c, "a", day), S3_OK);
    CHECK_EQ(s3_conditions_read(&c, "b", day), S3_OK);
    CHECK_EQ(s3_conditions_read(&c, "c", day), S3_OK);
    CHECK_EQ(s3_conditions_read(&c, "d", day), S3_PRECONDITION_FAILED);
    c.has_unmodified_since = true; /* overruled by If-Match */
    CHECK_EQ(s3_conditions_read(&c, "a", day), S3_OK);
    c.if_match = NULL;
    CHECK_EQ(s3_conditions_read(&c, "a", day), S3_PRECONDITION_FAILED);
    c.unmodified_since = day;
    CHECK_EQ(s3_conditions_read(&c, "a", day + 999), S3_OK);
    c = (struct s3_conditions){.if_none_match = "*"};
    CHECK_EQ(s3_conditions_read(&c, "a", day), S3_NOT_MODIFIED);
    c.if_none_match = "\"b\"";
    c.has_modified_since = true;
    c.modified_since = 2 * day; /* overruled by If-None-Match */
    CHECK_EQ(s3_conditions_read(&c, "a", day), S3_OK);
    c.if_none_match = NULL;
    CHECK_EQ(s3_conditions_read(&c, "a", day), S3_NOT_MODIFIED);
    CHECK_EQ(s3_conditions_read(&c, "a", 3 * day), S3_OK);
    CHECK(!s3_etag_listed("", ""));
    CHECK(s3_etag_listed("*", "x"));
}

static void if_ranges(void)
{
    const int64_t second = SYS_SECOND, modified = 86400 * second;
    CHECK(s3_if_range_holds("\"a\"", "a", modified));
    CHECK(s3_if_range_holds("a", "a", modified));
    CHECK(!s3_if_range_holds("\"b\"", "a", modified));
    CHECK(!s3_if_range_holds("\"a", "a", modified));
    CHECK(!s3_if_range_holds("W/\"a\"", "a", modified));
    CHECK(!s3_if_range_holds("*", "a", modified));
    CHECK(!s3_if_range_holds("", "a", modified));
    CHECK(!s3_if_range_holds("\"", "", modified));
    CHECK(s3_if_range_holds("Fri, 02 Jan 1970 00:00:00 GMT", "a", modified));
    CHECK(s3_if_range_holds("Fri, 02 Jan 1970 00:00:00 GMT", "a", modified + second - 1));
    CHECK(!s3_if_range_holds("Fri, 02 Jan 1970 00:00:00 GMT", "a", modified + second));
    CHECK(!s3_if_range_holds("Fri, 02 Jan 1970 00:00:00 GMT", "a", modified - 1));
}

/* Every status that is ever answered has its words. */
static void status_texts(void)
{
    for (int e = 0; e < S3_ERRORS; e++)
        if (!CHECK(strcmp(http_status_text(s3_error_status((enum s3_error)e)), "Status") != 0))
            printf("for: %s\n", s3_error_code((enum s3_error)e));
    for (int why = 0; why <= HTTP_REFUSED_UNANSWERED; why++)
        CHECK(strcmp(http_status_text(http_refusal_status((enum http_refusal)why)), "Status") != 0);
    CHECK_TEXT(http_status_text(501), "Not Implemented");
    CHECK_TEXT(http_status_text(206), "Partial Content");
}

static void uris(void)
{
    struct arena a;
    size_t n;
    arena_init(&a);
    CHECK_TEXT(uri_encode(&a, "a/b c~\xc3", 7, true), "a/b%20c~%C3");
    CHECK_TEXT(uri_encode(&a, "a/b", 3, false), "a%2Fb");
    CHECK_TEXT(uri_decode(&a, "a%2fb+", 6, true, &n), "a/b ");
    CHECK(uri_decode(&a, "a%2", 3, false, &n) == NULL);
    CHECK(uri_decode(&a, "%", 1, false, &n) == NULL);
    CHECK_TEXT(uri_encode_rest(&a, "/a%2fb$%", 8, true), "/a%2Fb%24%25");
    arena_release(&a);
}

static const struct test tests[] = {
    {"operations", operations},
    {"refused operations", refused_operations},
    {"keys", keys},
    {"keys that are no text", keys_that_are_no_text},
    {"hosts", hosts},
    {"bucket names", bucket_names},
    {"headers", headers},
    {"copies", copies},
    {"copy ranges", copy_ranges},
    {"ranges", ranges},
    {"conditions", conditions},
    {"If-Range", if_ranges},
    {"status texts", status_texts},
    {"URIs", uris},
    {0},
};
SUITE("s3_request", tests)
