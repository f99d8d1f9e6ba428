/* From a raw target and headers to an operation on a bucket and a key. The path is split before it is
 * decoded, and decoded once: "%2F" in a key is a slash of the key, never of the path. */
#include "gateway/s3_request.h"
#include <string.h>
#include "common/base/text.h"
#include "gateway/s3_request_internal.h"
#include "gateway/s3_uri.h"

enum { PARAMS_MAX = 64 };

bool s3_bucket_name_ok(const char *name)
{
    size_t n = strlen(name), dots = 0, digits = 0;
    if (n < 3 || n > 63)
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = name[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        bool edge = i == 0 || i == n - 1;
        if (!alnum && (edge || (c != '-' && c != '.')))
            return false;
        if (c == '.' && name[i + 1] == '.')
            return false;
        dots += c == '.';
        digits += c >= '0' && c <= '9';
    }
    bool like_an_address = dots == 3 && digits + dots == n;
    return !like_an_address && strncmp(name, "xn--", 4) != 0;
}

/* The bucket that the Host header names under the base domain; NULL: none. */
static const char *host_bucket(const struct http_request *http, const struct s3_request_config *c)
{
    const char *host = http_headers_get(&http->headers, "host");
    if (!c || !c->base_domain || !host)
        return NULL;
    size_t n = strcspn(host, ":"), base_n = strlen(c->base_domain);
    if (n <= base_n + 1 || host[n - base_n - 1] != '.')
        return NULL;
    char *bucket = arena_copy(http->arena, host, n + 1);
    bucket[n] = 0;
    if (!text_equal_fold(bucket + n - base_n, c->base_domain))
        return NULL;
    bucket[n - base_n - 1] = 0;
    return bucket;
}

static enum s3_error path_parse(struct s3_request *r, const struct s3_request_config *c)
{
    const struct http_request *http = r->http;
    const char *rest = http->path + 1;
    const char *bucket = host_bucket(http, c);
    if (!bucket) {
        size_t n = strcspn(rest, "/"), decoded_n;
        bucket = uri_decode(http->arena, rest, n, false, &decoded_n);
        if (!bucket)
            return S3_INVALID_URI;
        if (n && strlen(bucket) != decoded_n)
            return S3_INVALID_BUCKET_NAME;
        rest += n;
        rest += *rest == '/';
    }
    r->bucket = bucket;
    r->key = uri_decode(http->arena, rest, strlen(rest), false, &r->key_n);
    if (!r->key) {
        r->key = "";
        r->key_n = 0;
        return S3_INVALID_URI;
    }
    if (r->bucket[0] ? !s3_bucket_name_ok(r->bucket) : r->key_n > 0)
        return S3_INVALID_BUCKET_NAME;
    return r->key_n > S3_KEY_MAX ? S3_KEY_TOO_LONG : S3_OK;
}

static enum s3_error params_parse(struct s3_request *r)
{
    const char *at = r->http->query ? r->http->query : "";
    struct arena *a = r->http->arena;
    r->params = arena_alloc(a, PARAMS_MAX * sizeof *r->params);
    http_headers_init(&r->query_checksums, a);
    while (*at) {
        size_t n = strcspn(at, "&");
        const char *equals = memchr(at, '=', n);
        size_t name_n = equals ? (size_t)(equals - at) : n, decoded_n;
        if (n > 0) {
            struct s3_param p = {"", "", 0};
            if (r->params_n == PARAMS_MAX)
                return S3_INVALID_ARGUMENT;
            p.name = uri_decode(a, at, name_n, true, &decoded_n);
            if (equals)
                p.value = uri_decode(a, equals + 1, n - name_n - 1, true, &p.value_n);
            if (!p.name || !p.value || strlen(p.name) != decoded_n)
                return S3_INVALID_URI;
            /* Two values for one name: whoever signed and whoever serves could take different ones. */
            if (s3_request_param(r, p.name))
                return S3_INVALID_ARGUMENT;
            r->params[r->params_n++] = p;
            if (text_starts_fold(p.name, CHECKSUM_HEADER))
                http_headers_add(&r->query_checksums, p.name, p.value);
        }
        at += n;
        at += *at == '&';
    }
    return S3_OK;
}

const char *s3_request_param(const struct s3_request *r, const char *name)
{
    for (size_t i = 0; i < r->params_n; i++)
        if (strcmp(r->params[i].name, name) == 0)
            return r->params[i].value;
    return NULL;
}

enum s3_error s3_request_number(const struct s3_request *r, const char *name, uint64_t fallback,
                                uint64_t *out)
{
    const char *text = s3_request_param(r, name);
    *out = fallback;
    if (!text)
        return S3_OK;
    return decimal_parse(text, strlen(text), out) ? S3_INVALID_ARGUMENT : S3_OK;
}

static enum s3_error copy_parse(struct s3_request *r)
{
    const char *value = http_headers_get(&r->http->headers, "x-amz-copy-source");
    struct arena *a = r->http->arena;
    size_t n, decoded_n;
    if (!value)
        return S3_OK;
    value += *value == '/';
    const char *mark = strstr(value, "?versionId=");
    n = mark ? (size_t)(mark - value) : strlen(value);
    if (mark)
        r->copy.version = uri_decode(a, mark + 11, strlen(mark + 11), false, &decoded_n);
    if (mark && !r->copy.version)
        return S3_INVALID_ARGUMENT;
    /* Some clients encode the slash between bucket and key: here it is decoded first, then split. */
    char *whole = uri_decode(a, value, n, false, &decoded_n);
    char *slash = whole ? memchr(whole, '/', decoded_n) : NULL;
    if (!slash || slash + 1 == whole + decoded_n)
        return S3_INVALID_ARGUMENT;
    *slash = 0;
    r->copy.bucket = whole;
    r->copy.key = slash + 1;
    r->copy.key_n = decoded_n - (size_t)(slash + 1 - whole);
    if (strlen(whole) != (size_t)(slash - whole) || !s3_bucket_name_ok(r->copy.bucket))
        return S3_INVALID_BUCKET_NAME;
    s3_conditions_parse(&r->http->headers, "x-amz-copy-source-", &r->copy_conditions);
    return r->copy.key_n > S3_KEY_MAX ? S3_KEY_TOO_LONG : S3_OK;
}

/* aws-chunked describes the transfer, not the object. */
static const char *without_aws_chunked(struct arena *a, const char *value)
{
    char *out = arena_alloc(a, strlen(value) + 1);
    size_t n = 0;
    while (*value) {
        value += strspn(value, ", \t");
        size_t part = strcspn(value, ",");
        size_t trimmed = part;
        while (trimmed && (value[trimmed - 1] == ' ' || value[trimmed - 1] == '\t'))
            trimmed--;
        char *token = arena_alloc(a, trimmed + 1);
        memcpy(token, value, trimmed);
        if (trimmed && !text_equal_fold(token, "aws-chunked")) {
            if (n)
                out[n++] = ',';
            memcpy(out + n, token, trimmed);
            n += trimmed;
        }
        value += part;
    }
    out[n] = 0;
    return out;
}

static void stored_parse(struct s3_request *r)
{
    static const char *const names[] = {"Content-Type",        "Cache-Control",
                                        "Content-Disposition", "Content-Encoding",
                                        "Content-Language",    "Expires"};
    http_headers_init(&r->stored, r->http->arena);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = http_headers_get(&r->http->headers, names[i]);
        if (value && strcmp(names[i], "Content-Encoding") == 0)
            value = without_aws_chunked(r->http->arena, value);
        if (value && *value)
            http_headers_add(&r->stored, names[i], value);
    }
}

static void metadata_add(struct s3_request *r, const char *name, const char *value)
{
    struct arena *a = r->http->arena;
    char *lower = arena_string(a, name);
    text_lower(lower);
    for (size_t i = 0; i < r->metadata.n; i++)
        if (strcmp(r->metadata.v[i].name, lower) == 0) {
            r->metadata.v[i].value = arena_format(a, "%s,%s", r->metadata.v[i].value, value);
            return;
        }
    http_headers_add(&r->metadata, lower, value);
}

static enum s3_error headers_parse(struct s3_request *r)
{
    const struct http_headers *h = &r->http->headers;
    size_t bytes = 0;
    http_headers_init(&r->metadata, r->http->arena);
    for (size_t i = 0; i < h->n; i++) {
        const char *name = h->v[i].name, *value = h->v[i].value;
        if (text_starts_fold(name, "x-amz-meta-")) {
            bytes += strlen(name) - 11 + strlen(value);
            metadata_add(r, name + 11, value);
        } else if (text_starts_fold(name, "x-amz-") && !s3_header_known(name, value)) {
            return S3_NOT_IMPLEMENTED;
        }
    }
    if (bytes > S3_METADATA_MAX)
        return S3_METADATA_TOO_LARGE;
    s3_conditions_parse(h, "", &r->conditions);
    stored_parse(r);
    r->storage_class = http_headers_get(h, "x-amz-storage-class");
    return S3_OK;
}

/* U+FFFE and U+FFFF are UTF-8, although no XML may hold them. */
static bool is_utf8(const char *text, size_t n)
{
    while (n) {
        size_t length = utf8_length(text, n);
        if (length == 0 && n >= 3 && memcmp(text, "\xef\xbf", 2) == 0 &&
            ((unsigned char)text[2] == 0xbe || (unsigned char)text[2] == 0xbf))
            length = 3;
        if (length == 0)
            return false;
        text += length;
        n -= length;
    }
    return true;
}

/* No listing could name a key that is not UTF-8. One that is there is still read and deleted. */
static bool key_creatable(const struct s3_request *r)
{
    bool creates = r->operation == S3_PUT_OBJECT || r->operation == S3_COPY_OBJECT ||
                   r->operation == S3_CREATE_MULTIPART_UPLOAD;
    return !creates || is_utf8(r->key, r->key_n);
}

static enum s3_error operation_check(struct s3_request *r)
{
    if (!key_creatable(r))
        return S3_INVALID_URI;
    bool writes = r->operation == S3_PUT_OBJECT || r->operation == S3_COPY_OBJECT ||
                  r->operation == S3_COMPLETE_MULTIPART_UPLOAD;
    if (writes && r->conditions.if_none_match && strcmp(r->conditions.if_none_match, "*") != 0)
        return S3_NOT_IMPLEMENTED;
    const struct http_headers *h = &r->http->headers;
    if (r->operation == S3_UPLOAD_PART_COPY)
        return s3_copy_range_parse(http_headers_get(h, "x-amz-copy-source-range"), &r->range);
    if (r->operation == S3_GET_OBJECT || r->operation == S3_HEAD_OBJECT)
        s3_range_parse(http_headers_get(h, "range"), &r->range);
    return S3_OK;
}

enum s3_error s3_request_parse(const struct http_request *http, const struct s3_request_config *c,
                               struct s3_request *out)
{
    memset(out, 0, sizeof *out);
    out->http = http;
    out->bucket = out->key = "";
    enum s3_error e = path_parse(out, c);
    if (e == S3_OK)
        e = params_parse(out);
    if (e == S3_OK)
        e = headers_parse(out);
    if (e == S3_OK)
        e = copy_parse(out);
    if (e == S3_OK)
        e = s3_operation_find(out);
    return e == S3_OK ? operation_check(out) : e;
}
