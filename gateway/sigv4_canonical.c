/* The canonical request: what both sides sign. Built from the target and headers as they were sent;
 * as a second form, for clients that sign everything encoded but send some characters bare, with what
 * is not encoded yet encoded. Both name the same object, so accepting either opens nothing. */
#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include "common/base/text.h"
#include "gateway/s3_uri.h"
#include "gateway/sigv4_internal.h"

struct pair {
    const char *name, *value;
};

static int pair_order(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order ? order : strcmp(x->value, y->value);
}

static const char *piece(struct arena *a, const char *text, size_t n, bool encode)
{
    size_t decoded_n;
    const char *decoded = encode ? uri_decode(a, text, n, true, &decoded_n) : NULL;
    if (decoded)
        return uri_encode(a, decoded, decoded_n, false);
    char *copy = arena_alloc(a, n + 1);
    memcpy(copy, text, n);
    return copy;
}

/* Sorted by name, then value, as bytes; without X-Amz-Signature. */
static const char *canonical_query(struct arena *a, const char *query, bool encode)
{
    size_t max = 1, n = 0, bytes = 1;
    if (!query || !*query)
        return "";
    for (const char *p = query; *p; p++)
        max += *p == '&';
    struct pair *pairs = arena_alloc(a, max * sizeof *pairs);
    while (*query) {
        size_t whole = strcspn(query, "&");
        const char *equals = memchr(query, '=', whole);
        size_t name_n = equals ? (size_t)(equals - query) : whole;
        struct pair p = {piece(a, query, name_n, encode), ""};
        if (equals)
            p.value = piece(a, equals + 1, whole - name_n - 1, encode);
        if (whole && strcmp(p.name, "X-Amz-Signature") != 0) {
            bytes += strlen(p.name) + strlen(p.value) + 2;
            pairs[n++] = p;
        }
        query += whole;
        query += *query == '&';
    }
    qsort(pairs, n, sizeof *pairs, pair_order);
    char *out = arena_alloc(a, bytes), *at = out;
    for (size_t i = 0; i < n; i++) {
        size_t name_n = strlen(pairs[i].name), value_n = strlen(pairs[i].value);
        if (i)
            *at++ = '&';
        memcpy(at, pairs[i].name, name_n);
        at += name_n;
        *at++ = '=';
        memcpy(at, pairs[i].value, value_n);
        at += value_n;
    }
    *at = 0;
    return out;
}

/* Blanks at both ends away, runs of them inside to one. Returns the end of what it wrote. */
static char *put_trimmed(char *out, const char *value)
{
    const char *start = out;
    for (; *value; value++) {
        bool blank = *value == ' ' || *value == '\t';
        if (!blank)
            *out++ = *value;
        else if (out > start && out[-1] != ' ')
            *out++ = ' ';
    }
    return out > start && out[-1] == ' ' ? out - 1 : out;
}

/* "name:value\n" for each name of the list, all headers of one name joined by commas. Each is named
 * once (invariant 5), so there is room for all at once. */
static const char *canonical_headers(const struct http_request *r, const char *signed_headers)
{
    struct arena *a = r->arena;
    size_t room = 3 * strlen(signed_headers) + 1;
    for (size_t i = 0; i < r->headers.n; i++)
        room += strlen(r->headers.v[i].value) + 1;
    char *out = arena_alloc(a, room), *to = out;
    for (const char *at = signed_headers; *at;) {
        size_t n = strcspn(at, ";");
        const char *name = memcpy(to, at, n);
        bool found = false;
        to += n;
        *to++ = 0; /* becomes the colon */
        for (size_t i = 0; i < r->headers.n; i++) {
            if (!text_equal_fold(r->headers.v[i].name, name))
                continue;
            if (found)
                *to++ = ',';
            to = put_trimmed(to, r->headers.v[i].value);
            found = true;
        }
        out[name - out + (ptrdiff_t)n] = ':';
        *to++ = '\n';
        at += n;
        at += *at == ';';
    }
    assert((size_t)(to - out) < room);
    *to = 0;
    return out;
}

const char *sigv4_canonical(const struct http_request *r, const char *signed_headers,
                            const char *payload_hash, bool encode)
{
    struct arena *a = r->arena;
    const char *path = encode ? uri_encode_rest(a, r->path, strlen(r->path), true) : r->path;
    return arena_format(a, "%s\n%s\n%s\n%s\n%s\n%s", r->method, path,
                        canonical_query(a, r->query, encode), canonical_headers(r, signed_headers),
                        signed_headers, payload_hash);
}
