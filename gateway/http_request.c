/* Which requests are refused before anyone looks at who sent them: those that two readers of HTTP
 * could take for different ones (request smuggling), and those beyond the limits. Pure. */
#include "gateway/http_internal.h"
#include <string.h>
#include "common/base/text.h"

static bool is_token(const char *s)
{
    static const char *const others = "!#$%&'*+-.^_`|~";
    if (!*s)
        return false;
    for (; *s; s++) {
        char c = *s;
        bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!alnum && !strchr(others, c))
            return false;
    }
    return true;
}

static bool is_value(const char *s)
{
    for (; *s; s++)
        if (((unsigned char)*s < 0x20 && *s != '\t') || *s == 0x7f)
            return false;
    return true;
}

/* Absolute targets ("http://host/") and "*" are refused: no S3 client sends them, and a second way
 * to name the host is a second way to disagree about it. */
static bool is_target(const char *s)
{
    if (*s != '/')
        return false;
    for (; *s; s++)
        if ((unsigned char)*s <= 0x20 || *s == 0x7f || *s == '#')
            return false;
    return true;
}

static bool headers_check(const struct http_headers *h, const struct http_limits *l,
                          enum http_refusal *why)
{
    static const char *const single[] = {"host",
                                         "content-length",
                                         "transfer-encoding",
                                         "authorization",
                                         "expect",
                                         "range",
                                         "content-type",
                                         "x-amz-content-sha256",
                                         "x-amz-decoded-content-length"};
    size_t bytes = 0;
    for (size_t i = 0; i < h->n; i++) {
        bytes += strlen(h->v[i].name) + strlen(h->v[i].value) + 4;
        if (!is_token(h->v[i].name) || !is_value(h->v[i].value)) {
            *why = HTTP_REFUSED_FRAMING;
            return false;
        }
    }
    if (bytes > l->header_bytes_max) {
        *why = HTTP_REFUSED_HEADERS;
        return false;
    }
    for (size_t i = 0; i < sizeof single / sizeof *single; i++)
        if (http_headers_count(h, single[i]) > 1) {
            *why = HTTP_REFUSED_FRAMING;
            return false;
        }
    return true;
}

static bool body_check(struct http_request *r, bool http_1_1)
{
    const char *length = http_headers_get(&r->headers, "content-length");
    const char *encoding = http_headers_get(&r->headers, "transfer-encoding");
    if (length && encoding)
        return false;
    r->body_kind = HTTP_BODY_NONE;
    if (encoding) {
        if (!http_1_1 || !text_equal_fold(encoding, "chunked"))
            return false;
        r->body_kind = HTTP_BODY_CHUNKED;
    } else if (length) {
        if (decimal_parse(length, strlen(length), &r->body_length) || r->body_length > INT64_MAX)
            return false;
        if (r->body_length > 0)
            r->body_kind = HTTP_BODY_LENGTH;
    }
    const char *expect = http_headers_get(&r->headers, "expect");
    if (expect && !text_equal_fold(expect, "100-continue"))
        return false;
    r->expects_continue = expect && http_1_1 && r->body_kind != HTTP_BODY_NONE;
    return true;
}

bool http_request_check(struct http_request *r, const char *version, const struct http_limits *l,
                        enum http_refusal *why)
{
    bool http_1_1 = strcmp(version, "HTTP/1.1") == 0;
    if (!http_1_1 && strcmp(version, "HTTP/1.0") != 0) {
        *why = HTTP_REFUSED_VERSION;
        return false;
    }
    if (strlen(r->target) > l->target_bytes_max) {
        *why = HTTP_REFUSED_TARGET;
        return false;
    }
    if (!headers_check(&r->headers, l, why))
        return false;
    *why = HTTP_REFUSED_FRAMING;
    if (!is_token(r->method) || !is_target(r->target))
        return false;
    if (http_1_1 && !http_headers_get(&r->headers, "host"))
        return false;
    if (!body_check(r, http_1_1))
        return false;
    const char *mark = strchr(r->target, '?');
    size_t path_n = mark ? (size_t)(mark - r->target) : strlen(r->target);
    char *path = arena_alloc(r->arena, path_n + 1);
    memcpy(path, r->target, path_n);
    r->path = path;
    r->query = mark ? mark + 1 : NULL;
    return true;
}

int http_refusal_status(enum http_refusal why)
{
    switch (why) {
    case HTTP_REFUSED_FRAMING:
        return 400;
    case HTTP_REFUSED_TARGET:
        return 414;
    case HTTP_REFUSED_HEADERS:
        return 431;
    case HTTP_REFUSED_VERSION:
        return 505;
    case HTTP_REFUSED_BUSY:
        return 503;
    case HTTP_REFUSED_SLOW:
        return 400;
    case HTTP_REFUSED_UNANSWERED:
        return 500;
    }
    return 500;
}

const char *http_status_text(int status)
{
    static const struct {
        int status;
        const char *text;
    } all[] = {
        {200, "OK"},
        {204, "No Content"},
        {206, "Partial Content"},
        {301, "Moved Permanently"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {400, "Bad Request"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {409, "Conflict"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {416, "Range Not Satisfiable"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {505, "HTTP Version Not Supported"},
        {507, "Insufficient Storage"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].status == status)
            return all[i].text;
    return "Status";
}
