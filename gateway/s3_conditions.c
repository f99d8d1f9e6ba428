/* Ranges and conditions: RFC 9110, sections 13 and 14, as far as S3 takes them. */
#include <string.h>
#include "common/base/text.h"
#include "gateway/s3_request.h"

void s3_range_parse(const char *header, struct s3_range *out)
{
    memset(out, 0, sizeof *out);
    if (!header || strncmp(header, "bytes=", 6) != 0 || strchr(header, ','))
        return;
    const char *from = header + 6;
    size_t from_n = strcspn(from, "-");
    if (from[from_n] != '-')
        return;
    const char *to = from + from_n + 1;
    size_t to_n = strlen(to);
    uint64_t first = 0, last = UINT64_MAX;
    if (from_n && decimal_parse(from, from_n, &first))
        return;
    if (to_n && decimal_parse(to, to_n, &last))
        return;
    if (from_n == 0 && to_n == 0)
        return;
    if (from_n && first > last)
        return;
    out->kind = from_n ? S3_RANGE_SPAN : S3_RANGE_SUFFIX;
    out->first = first;
    out->last = last;
}

enum s3_error s3_copy_range_parse(const char *header, struct s3_range *out)
{
    s3_range_parse(header, out);
    if (!header)
        return S3_OK;
    bool both = out->kind == S3_RANGE_SPAN && header[strlen(header) - 1] != '-';
    return both ? S3_OK : S3_INVALID_ARGUMENT;
}

enum s3_error s3_range_resolve(const struct s3_range *r, uint64_t size, uint64_t *first,
                               uint64_t *length)
{
    *first = 0;
    *length = size;
    if (r->kind == S3_RANGE_NONE)
        return S3_OK;
    if (r->kind == S3_RANGE_SUFFIX) {
        if (r->last == 0 || size == 0)
            return S3_INVALID_RANGE;
        *length = r->last < size ? r->last : size;
        *first = size - *length;
        return S3_OK;
    }
    if (r->first >= size)
        return S3_INVALID_RANGE;
    *first = r->first;
    *length = (r->last < size ? r->last : size - 1) - r->first + 1;
    return S3_OK;
}

static const char *get(const struct http_headers *h, const char *prefix, const char *name)
{
    char whole[64];
    size_t prefix_n = strlen(prefix), n = strlen(name);
    if (prefix_n + n >= sizeof whole)
        return NULL;
    memcpy(whole, prefix, prefix_n);
    memcpy(whole + prefix_n, name, n + 1);
    return http_headers_get(h, whole);
}

void s3_conditions_parse(const struct http_headers *h, const char *prefix,
                         struct s3_conditions *out)
{
    memset(out, 0, sizeof *out);
    out->if_match = get(h, prefix, "if-match");
    out->if_none_match = get(h, prefix, "if-none-match");
    out->if_range = get(h, prefix, "if-range");
    const char *since = get(h, prefix, "if-modified-since");
    out->has_modified_since = since && time_parse_http(since, &out->modified_since) == OK;
    since = get(h, prefix, "if-unmodified-since");
    out->has_unmodified_since = since && time_parse_http(since, &out->unmodified_since) == OK;
}

bool s3_etag_listed(const char *list, const char *etag)
{
    size_t etag_n = strlen(etag);
    while (*list) {
        list += strspn(list, ", \t");
        size_t n = strcspn(list, ",");
        size_t whole = n;
        const char *at = list;
        while (n && (at[n - 1] == ' ' || at[n - 1] == '\t'))
            n--;
        if (n >= 2 && at[0] == 'W' && at[1] == '/') {
            at += 2;
            n -= 2;
        }
        if (n >= 2 && at[0] == '"' && at[n - 1] == '"') {
            at++;
            n -= 2;
        }
        if ((n == 1 && *at == '*') || (n == etag_n && n > 0 && memcmp(at, etag, n) == 0))
            return true;
        list += whole;
    }
    return false;
}

const char *s3_etag_bare(struct arena *a, const char *text)
{
    text += strspn(text, " \t\r\n");
    size_t n = strlen(text);
    while (n && strchr(" \t\r\n", text[n - 1]))
        n--;
    if (n >= 2 && text[0] == '"' && text[n - 1] == '"') {
        text++;
        n -= 2;
    }
    char *etag = arena_alloc(a, n + 1);
    memcpy(etag, text, n);
    return etag;
}

enum s3_error s3_conditions_read(const struct s3_conditions *c, const char *etag, int64_t mtime)
{
    const int64_t second = 1000000000;
    int64_t modified = mtime / second; /* dates in headers have no more */
    if (c->if_match) {
        if (!s3_etag_listed(c->if_match, etag))
            return S3_PRECONDITION_FAILED;
    } else if (c->has_unmodified_since && modified > c->unmodified_since / second) {
        return S3_PRECONDITION_FAILED;
    }
    if (c->if_none_match) {
        if (s3_etag_listed(c->if_none_match, etag))
            return S3_NOT_MODIFIED;
    } else if (c->has_modified_since && modified <= c->modified_since / second) {
        return S3_NOT_MODIFIED;
    }
    return S3_OK;
}

bool s3_if_range_holds(const char *if_range, const char *etag, int64_t mtime)
{
    const int64_t second = 1000000000;
    int64_t date;
    if (time_parse_http(if_range, &date) == OK)
        return date / second == mtime / second;
    size_t n = strlen(if_range);
    if (n >= 2 && if_range[0] == '"' && if_range[n - 1] == '"') {
        if_range++;
        n -= 2;
    }
    return n > 0 && n == strlen(etag) && memcmp(if_range, etag, n) == 0;
}
