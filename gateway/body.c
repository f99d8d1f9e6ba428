/* One pass: bytes go from the carrier's piece straight into the caller's buffer, framing left out, and
 * are hashed there while they are in the cache. */
#include "gateway/body.h"
#include <string.h>
#include "common/base/text.h"
#include "gateway/aws_chunked.h"

struct body {
    struct http_exchange *e;
    const struct sigv4_result *auth;
    struct aws_chunked *chunked; /* NULL: the body is the object */
    uint64_t size, seen;
    bool ended;
    enum s3_error failed;

    bool md5_given, has_md5;
    uint8_t md5_expected[MD5_BYTES];
    struct digest *md5;
    struct digest *sha256; /* of PAYLOAD_SIGNED */
    bool checksum_given, checksum_in_trailer;
    uint8_t checksum_expected[DIGEST_MAX_BYTES];
    struct checksum checksum;
    struct body_digests digests;
};

static enum s3_error from_http(enum err err)
{
    return err == ERR_FORMAT ? S3_INCOMPLETE_BODY : s3_error_from(err);
}

static enum s3_error md5_parse(struct body *b, const struct http_headers *h)
{
    const char *text = http_headers_get(h, "content-md5");
    uint8_t bytes[MD5_BYTES];
    size_t n = 0;
    if (!text)
        return S3_OK;
    if (base64_decode(text, strlen(text), bytes, sizeof bytes, &n) || n != MD5_BYTES)
        return S3_INVALID_DIGEST;
    memcpy(b->md5_expected, bytes, n);
    b->md5_given = true;
    return S3_OK;
}

static enum s3_error checksum_value(struct body *b, const char *text)
{
    size_t n = 0;
    if (base64_decode(text, strlen(text), b->checksum_expected, sizeof b->checksum_expected, &n) ||
        n != checksum_bytes(b->checksum.kind))
        return S3_INVALID_REQUEST;
    return S3_OK;
}

/* Whoever presigns a URL has no body yet, and current SDKs put the checksum of none into its query. */
static bool is_of_nothing(enum checksum_kind kind, const char *text)
{
    struct checksum c;
    uint8_t bytes[DIGEST_MAX_BYTES];
    char nothing[CHECKSUM_TEXT];
    checksum_init(&c, kind);
    checksum_final(&c, bytes);
    checksum_release(&c);
    base64_encode(bytes, checksum_bytes(kind), nothing);
    return strcmp(text, nothing) == 0;
}

/* The checksum that headers or a query state: at most one. */
static enum s3_error checksum_stated(const struct http_headers *h, bool query,
                                     enum checksum_kind *kind, const char **value)
{
    for (int k = CHECKSUM_NONE + 1; k < CHECKSUM_KINDS; k++) {
        char name[64] = CHECKSUM_HEADER;
        strcat(name, checksum_name((enum checksum_kind)k));
        const char *found = http_headers_get(h, name);
        if (!found)
            continue;
        if (http_headers_count(h, name) > 1)
            return S3_INVALID_REQUEST;
        if (query && is_of_nothing((enum checksum_kind)k, found))
            continue;
        if (*value)
            return S3_INVALID_REQUEST;
        *value = found;
        *kind = (enum checksum_kind)k;
    }
    return S3_OK;
}

/* At most one, in a header or the query, or announced for the trailer. */
static enum s3_error checksum_parse(struct body *b, const struct http_headers *h,
                                    const struct body_config *c)
{
    enum checksum_kind kind = CHECKSUM_NONE;
    const char *value = NULL;
    if (!c->of_the_parts) {
        enum s3_error e = checksum_stated(h, false, &kind, &value);
        if (!e && c->query)
            e = checksum_stated(c->query, true, &kind, &value);
        if (e)
            return e;
    }
    const char *announced = http_headers_get(h, "x-amz-trailer");
    if (announced) {
        size_t prefix_n = strlen(CHECKSUM_HEADER);
        bool with_trailer = b->chunked && b->auth->payload != PAYLOAD_STREAMING_SIGNED;
        if (value || !with_trailer || strncmp(announced, CHECKSUM_HEADER, prefix_n) != 0)
            return S3_INVALID_REQUEST;
        const char *name = announced + prefix_n;
        kind = checksum_from_name(name, strlen(name));
        if (kind == CHECKSUM_NONE)
            return S3_INVALID_REQUEST;
        b->checksum_in_trailer = true;
    }
    b->checksum_given = kind != CHECKSUM_NONE;
    const char *wanted = http_headers_get(h, "x-amz-sdk-checksum-algorithm");
    if (!b->checksum_given && wanted && !c->of_the_parts)
        kind = checksum_from_name(wanted, strlen(wanted));
    checksum_init(&b->checksum, kind);
    return value ? checksum_value(b, value) : S3_OK;
}

static bool says_aws_chunked(const char *encoding)
{
    for (; encoding && *encoding; encoding += strcspn(encoding, ",")) {
        char token[16] = {0};
        encoding += strspn(encoding, ", \t");
        size_t n = strcspn(encoding, ", \t");
        if (n < sizeof token) {
            memcpy(token, encoding, n);
            if (text_equal_fold(token, "aws-chunked"))
                return true;
        }
    }
    return false;
}

static enum s3_error size_parse(struct body *b, const struct http_request *r, bool demand_length)
{
    if (b->auth->payload == PAYLOAD_SIGNED || b->auth->payload == PAYLOAD_UNSIGNED) {
        /* Framing that the signature does not speak of would be stored as if it were the object. */
        if (says_aws_chunked(http_headers_get(&r->headers, "content-encoding")))
            return S3_INVALID_REQUEST;
        bool given = http_headers_get(&r->headers, "content-length") != NULL;
        if (r->body_kind == HTTP_BODY_CHUNKED || (demand_length && !given))
            return S3_MISSING_CONTENT_LENGTH;
        b->size = r->body_length;
        return S3_OK;
    }
    const char *text = http_headers_get(&r->headers, "x-amz-decoded-content-length");
    if (!text)
        return S3_MISSING_CONTENT_LENGTH;
    if (decimal_parse(text, strlen(text), &b->size))
        return S3_INVALID_ARGUMENT;
    if (r->body_kind == HTTP_BODY_LENGTH && r->body_length < b->size)
        return S3_INCOMPLETE_BODY;
    b->chunked = aws_chunked_new(b->auth, r->arena);
    return S3_OK;
}

enum s3_error body_open(struct body **out, struct http_exchange *e, const struct sigv4_result *auth,
                        const struct body_config *c)
{
    const struct http_request *r = http_request(e);
    struct body *b = sys_alloc(sizeof *b);
    *out = NULL;
    b->e = e;
    b->auth = auth;
    enum s3_error error = size_parse(b, r, c->demand_length);
    if (!error && b->size > c->size_max)
        error = S3_ENTITY_TOO_LARGE;
    if (!error)
        error = md5_parse(b, &r->headers);
    if (!error)
        error = checksum_parse(b, &r->headers, c);
    if (error) {
        body_free(b);
        return error;
    }
    if (c->md5 || b->md5_given)
        b->md5 = digest_new(DIGEST_MD5);
    if (auth->payload == PAYLOAD_SIGNED)
        b->sha256 = digest_new(DIGEST_SHA256);
    *out = b;
    return S3_OK;
}

uint64_t body_size(const struct body *b)
{
    return b->size;
}

void body_free(struct body *b)
{
    if (!b)
        return;
    aws_chunked_free(b->chunked);
    checksum_release(&b->checksum);
    if (b->md5)
        digest_free(b->md5);
    if (b->sha256)
        digest_free(b->sha256);
    sys_free(b);
}

static enum s3_error checksum_verify(struct body *b)
{
    struct body_digests *d = &b->digests;
    d->checksum = b->checksum.kind;
    d->checksum_given = b->checksum_given;
    if (d->checksum == CHECKSUM_NONE)
        return S3_OK;
    size_t n = checksum_bytes(d->checksum);
    checksum_final(&b->checksum, d->checksum_bytes);
    base64_encode(d->checksum_bytes, n, d->checksum_text);
    if (b->checksum_in_trailer) {
        char name[64] = CHECKSUM_HEADER;
        strcat(name, checksum_name(d->checksum));
        const char *text = http_headers_get(aws_chunked_trailers(b->chunked), name);
        if (!text)
            return S3_INCOMPLETE_BODY;
        enum s3_error e = checksum_value(b, text);
        if (e)
            return e;
    }
    if (b->checksum_given && memcmp(b->checksum_expected, d->checksum_bytes, n) != 0)
        return S3_BAD_DIGEST;
    return S3_OK;
}

/* All bytes are here: is it what the client meant to send? */
static enum s3_error verify(struct body *b)
{
    if (b->chunked) {
        enum s3_error e = aws_chunked_finish(b->chunked);
        if (e)
            return e;
    }
    if (b->seen != b->size)
        return S3_INCOMPLETE_BODY;
    if (b->sha256) {
        uint8_t sha256[SHA256_BYTES];
        digest_final(b->sha256, sha256);
        if (memcmp(sha256, b->auth->payload_sha256, sizeof sha256) != 0)
            return S3_XAMZ_CONTENT_SHA256_MISMATCH;
    }
    if (b->md5) {
        digest_final(b->md5, b->digests.md5);
        b->digests.has_md5 = true;
        if (b->md5_given && memcmp(b->digests.md5, b->md5_expected, MD5_BYTES) != 0)
            return S3_BAD_DIGEST;
    }
    return checksum_verify(b);
}

/* One piece into out; *n = 0 without an end is possible when it was all framing. */
static enum s3_error step(struct body *b, void *out, size_t max, size_t *n)
{
    const void *data;
    size_t have, used;
    *n = 0;
    enum err err = http_body_peek(b->e, &data, &have);
    if (err)
        return from_http(err);
    if (have == 0) {
        b->ended = true;
        return verify(b);
    }
    enum s3_error e = S3_OK;
    if (b->chunked) {
        e = aws_chunked_feed(b->chunked, data, have, &used, out, max, n);
    } else {
        used = *n = have < max ? have : max;
        memcpy(out, data, used);
    }
    http_body_take(b->e, used);
    b->seen += *n;
    if (e == S3_OK && b->seen > b->size)
        e = S3_INCOMPLETE_BODY;
    if (e)
        return e;
    if (b->md5)
        digest_update(b->md5, out, *n);
    if (b->sha256)
        digest_update(b->sha256, out, *n);
    checksum_update(&b->checksum, out, *n);
    return S3_OK;
}

enum s3_error body_read(struct body *b, void *out, size_t max, size_t *n)
{
    *n = 0;
    while (*n < max && !b->ended && b->failed == S3_OK) {
        size_t made;
        b->failed = step(b, (char *)out + *n, max - *n, &made);
        *n += made;
    }
    return b->failed;
}

void body_digests(const struct body *b, struct body_digests *out)
{
    *out = b->digests;
}

static enum s3_error read_whole(struct http_exchange *e, const struct sigv4_result *auth,
                                const struct body_config *config, bool demand_digest, char **out,
                                size_t *n)
{
    struct body *b;
    *n = 0;
    *out = arena_alloc(http_request(e)->arena, 1);
    enum s3_error error = body_open(&b, e, auth, config);
    if (error)
        return error == S3_ENTITY_TOO_LARGE ? S3_MAX_MESSAGE_LENGTH_EXCEEDED : error;
    if (demand_digest && !b->md5_given && !b->checksum_given && !b->sha256) {
        body_free(b);
        return S3_INVALID_REQUEST;
    }
    char *text = arena_alloc(http_request(e)->arena, (size_t)b->size + 2);
    error = body_read(b, text, (size_t)b->size + 1, n);
    text[*n] = 0;
    *out = text;
    body_free(b);
    return error;
}

enum s3_error body_whole(struct http_exchange *e, const struct sigv4_result *auth, size_t max,
                         bool demand_digest, char **out, size_t *n)
{
    const struct body_config config = {.size_max = max};
    return read_whole(e, auth, &config, demand_digest, out, n);
}

enum s3_error body_whole_of_parts(struct http_exchange *e, const struct sigv4_result *auth,
                                  size_t max, char **out, size_t *n)
{
    const struct body_config config = {.size_max = max, .of_the_parts = true};
    return read_whole(e, auth, &config, false, out, n);
}
