/* XML out and in, the bodies clients send, and answers in S3's dress. */
#include <stdio.h>
#include <string.h>
#include "gateway/http_memory.h"
#include "gateway/s3_bodies.h"
#include "gateway/s3_response.h"
#include "gateway/xml_reader.h"
#include "gateway/xml_writer.h"
#include "tests/unit/suite.h"

static void writes(void)
{
    struct arena a;
    struct xml_writer w;
    arena_init(&a);
    xml_writer_init(&w, &a);
    xml_open(&w, "Result", S3_XMLNS);
    xml_text(&w, "Name", "a<b>&\"c\"\r\n");
    xml_text_n(&w, "Bad", "\x01\xff\xc3\xa4\xed\xa0\x80\xef\xbf\xbf", 10);
    xml_key(&w, "Key", "a b/\x01", 5, true);
    xml_number(&w, "N", UINT64_MAX);
    xml_bool(&w, "B", true);
    xml_etag(&w, "ETag", "abc-2");
    xml_time(&w, "T", 0);
    xml_close(&w);
    CHECK_TEXT(w.text, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                       "<Result xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
                       "<Name>a&lt;b&gt;&amp;&quot;c&quot;&#13;&#10;</Name>"
                       "<Bad>??\xc3\xa4?????\?</Bad><Key>a%20b/%01</Key>"
                       "<N>18446744073709551615</N><B>true</B><ETag>&quot;abc-2&quot;</ETag>"
                       "<T>1970-01-01T00:00:00.000Z</T></Result>");
    CHECK_EQ(w.n, strlen(w.text));
    struct xml_node *root;
    CHECK_OK(xml_read(&a, w.text, w.n, &root)); /* what is written can be read */
    CHECK_TEXT(xml_child_text(root, "Name"), "a<b>&\"c\"\r\n");
    arena_release(&a);
}

static void reads(void)
{
    static const char *const bad[] = {
        "",
        "<a>",
        "<a></b>",
        "text",
        "<a/><b/>",
        "<a>&unknown;</a>",
        "<a>\x01</a>",
        "<!DOCTYPE a><a/>",
        "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>",
        "<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><a/>",
    };
    struct arena a;
    struct xml_node *root;
    arena_init(&a);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (!CHECK_ERR(xml_read(&a, bad[i], strlen(bad[i]), &root), ERR_FORMAT))
            printf("for: %s\n", bad[i]);
    char deep[200] = "";
    for (int i = 0; i < 13; i++)
        strcat(deep, "<a>");
    CHECK_ERR(xml_read(&a, deep, strlen(deep), &root), ERR_TOO_BIG);
    const char *good = "<?xml version=\"1.0\"?><s:a xmlns:s=\"x\"><b>1<![CDATA[<2]]></b>"
                       "<s:b>&amp;&#x41;</s:b><c/></s:a>";
    CHECK_OK(xml_read(&a, good, strlen(good), &root));
    const struct xml_node *b = xml_child(root, "b");
    CHECK_TEXT(root->name, "a");
    CHECK_TEXT(b->text, "1<2");
    CHECK_TEXT(xml_next(b, "b")->text, "&A");
    CHECK_TEXT(xml_child_text(root, "c"), "");
    CHECK(xml_child_text(root, "d") == NULL);
    arena_release(&a);
}

static enum s3_error complete(struct arena *a, const char *text, struct s3_complete *out)
{
    return s3_complete_parse(a, text, strlen(text), out);
}

#define PART(n, e)  "<Part><PartNumber>" n "</PartNumber><ETag>" e "</ETag></Part>"
#define COMPLETE(x) "<CompleteMultipartUpload>" x "</CompleteMultipartUpload>"

static void completes(void)
{
    struct arena a;
    struct s3_complete c;
    arena_init(&a);
    CHECK_EQ(complete(&a, COMPLETE(PART("1", "&quot;abc&quot;") PART("10000", "def")), &c), S3_OK);
    CHECK_EQ(c.parts_n, 2);
    CHECK_TEXT(c.parts[0].etag, "abc");
    CHECK_TEXT(c.parts[1].etag, "def");
    CHECK_EQ(c.parts[1].number, 10000);
    CHECK_EQ(complete(&a,
                      COMPLETE("<Part><ETag>a</ETag><PartNumber>1</PartNumber>"
                               "<ChecksumCRC32C>x</ChecksumCRC32C></Part>"),
                      &c),
             S3_OK);
    CHECK_TEXT(c.parts[0].etag, "a");
    CHECK_EQ(complete(&a, COMPLETE(PART("2", "a") PART("1", "b")), &c), S3_INVALID_PART_ORDER);
    CHECK_EQ(complete(&a, COMPLETE(PART("1", "a") PART("1", "b")), &c), S3_INVALID_PART_ORDER);
    CHECK_EQ(complete(&a, COMPLETE(PART("0", "a")), &c), S3_INVALID_ARGUMENT);
    CHECK_EQ(complete(&a, COMPLETE(PART("10001", "a")), &c), S3_INVALID_ARGUMENT);
    CHECK_EQ(complete(&a, COMPLETE(PART("x", "a")), &c), S3_MALFORMED_XML);
    CHECK_EQ(complete(&a, COMPLETE(""), &c), S3_MALFORMED_XML);
    CHECK_EQ(complete(&a, "<Delete/>", &c), S3_MALFORMED_XML);
    CHECK_EQ(complete(&a, "", &c), S3_MALFORMED_XML);
    arena_release(&a);
}

static void deletes_and_buckets(void)
{
    struct arena a;
    struct s3_delete d;
    const char *location, *text;
    arena_init(&a);
    text = "<Delete xmlns=\"x\"><Quiet>true</Quiet><Object><Key> a&lt;</Key></Object>"
           "<Object><Key>b</Key><VersionId>v</VersionId></Object></Delete>";
    CHECK_EQ(s3_delete_parse(&a, text, strlen(text), &d), S3_OK);
    CHECK_EQ(d.entries_n, 2);
    CHECK(d.quiet);
    CHECK_TEXT(d.entries[0].key, " a<");
    CHECK_TEXT(d.entries[1].version, "v");
    text = "<Delete><Object><Key></Key></Object></Delete>";
    CHECK_EQ(s3_delete_parse(&a, text, strlen(text), &d), S3_MALFORMED_XML);
    CHECK_EQ(s3_delete_parse(&a, "<Delete/>", 9, &d), S3_MALFORMED_XML);
    char *many = arena_alloc(&a, 64 * 1024);
    strcpy(many, "<Delete>");
    char *at = many + strlen(many);
    for (int i = 0; i < 1001; i++)
        at += sprintf(at, "<Object><Key>k%d</Key></Object>", i);
    strcpy(at, "</Delete>");
    CHECK_EQ(s3_delete_parse(&a, many, strlen(many), &d), S3_MALFORMED_XML);

    CHECK_EQ(s3_create_bucket_parse(&a, "", 0, &location), S3_OK);
    CHECK_TEXT(location, "");
    text = "<CreateBucketConfiguration><LocationConstraint>eu</LocationConstraint>"
           "</CreateBucketConfiguration>";
    CHECK_EQ(s3_create_bucket_parse(&a, text, strlen(text), &location), S3_OK);
    CHECK_TEXT(location, "eu");
    CHECK_EQ(s3_create_bucket_parse(&a, "<x/>", 4, &location), S3_MALFORMED_XML);
    arena_release(&a);
}

static void refuse(struct http_exchange *e, void *arg)
{
    struct s3_ids ids;
    s3_ids_new(&ids);
    CHECK_EQ(strlen(ids.request_id), 16);
    CHECK_EQ(strlen(ids.host_id), 44);
    s3_respond_error(e, &ids, &(struct s3_error_detail){.error = *(enum s3_error *)arg});
}

static void errors(void)
{
    enum s3_error error = S3_NO_SUCH_KEY;
    struct http_memory m = {.method = "GET", .target = "/b/a%26b"};
    http_memory_run(&m, refuse, &error);
    CHECK_EQ(m.status, 404);
    CHECK(m.complete);
    CHECK(strstr(m.answer_body, "<Code>NoSuchKey</Code>") != NULL);
    CHECK(strstr(m.answer_body, "<Resource>/b/a%26b</Resource>") != NULL);
    CHECK(http_headers_get(&m.answer, "x-amz-request-id") != NULL);
    CHECK(strstr(m.answer_body, http_headers_get(&m.answer, "x-amz-id-2")) != NULL);
    http_memory_release(&m);
    error = S3_SLOW_DOWN;
    m = (struct http_memory){.method = "HEAD", .target = "/b/k"};
    http_memory_run(&m, refuse, &error);
    CHECK_EQ(m.status, 503);
    CHECK(m.complete && m.answer_body_n == 0 && m.length > 0);
    CHECK_TEXT(http_headers_get(&m.answer, "Retry-After"), "1");
    http_memory_release(&m);
    error = S3_ACCESS_DENIED;
    m = (struct http_memory){
        .method = "PUT", .target = "/b/k", .body_n = 1 << 20, .body = "", .piece_bytes = 1};
    http_memory_run(&m, refuse, &error);
    CHECK_EQ(m.status, 403);
    CHECK(m.closes && !m.continued);
    http_memory_release(&m);
    for (int i = 0; i < S3_ERRORS; i++)
        CHECK(s3_error_status((enum s3_error)i) >= 200 && s3_error_code((enum s3_error)i));
#define X(name, value, known, retryable, text) \
    CHECK((name == OK) == (s3_error_from(name) == S3_OK));
    ERR_LIST(X)
#undef X
    char body[1024];
    CHECK(s3_refusal_body(NULL, HTTP_REFUSED_BUSY, body, sizeof body) > 0);
    CHECK(strstr(body, "SlowDown") != NULL);
}

static const struct test tests[] = {
    {"writes", writes},       {"reads", reads},
    {"completes", completes}, {"deletes and buckets", deletes_and_buckets},
    {"errors", errors},       {0},
};
SUITE("xml", tests)
