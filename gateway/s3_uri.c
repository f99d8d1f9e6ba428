#include "gateway/s3_uri.h"
#include <string.h>
#include "common/base/text.h"

static const char *const digits = "0123456789ABCDEF";

static bool is_unreserved(unsigned char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

static char *put_encoded(char *out, unsigned char c)
{
    *out++ = '%';
    *out++ = digits[c >> 4];
    *out++ = digits[c & 15];
    return out;
}

char *uri_encode(struct arena *a, const void *data, size_t n, bool keep_slash)
{
    const unsigned char *in = data;
    char *text = arena_alloc(a, 3 * n + 1), *out = text;
    for (size_t i = 0; i < n; i++)
        if (is_unreserved(in[i]) || (in[i] == '/' && keep_slash))
            *out++ = (char)in[i];
        else
            out = put_encoded(out, in[i]);
    *out = 0;
    return text;
}

char *uri_decode(struct arena *a, const char *text, size_t n, bool plus_is_space, size_t *out_n)
{
    char *decoded = arena_alloc(a, n + 1), *out = decoded;
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '%') {
            int high = i + 2 < n ? hex_value(text[i + 1]) : -1;
            int low = i + 2 < n ? hex_value(text[i + 2]) : -1;
            if (high < 0 || low < 0)
                return NULL;
            *out++ = (char)(high << 4 | low);
            i += 2;
        } else {
            *out++ = text[i] == '+' && plus_is_space ? ' ' : text[i];
        }
    }
    *out = 0;
    *out_n = (size_t)(out - decoded);
    return decoded;
}

char *uri_encode_rest(struct arena *a, const char *text, size_t n, bool keep_slash)
{
    char *encoded = arena_alloc(a, 3 * n + 1), *out = encoded;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '%' && i + 2 < n && hex_value(text[i + 1]) >= 0 && hex_value(text[i + 2]) >= 0) {
            out = put_encoded(
                out, (unsigned char)(hex_value(text[i + 1]) << 4 | hex_value(text[i + 2])));
            i += 2;
        } else if (is_unreserved(c) || (c == '/' && keep_slash)) {
            *out++ = (char)c;
        } else {
            out = put_encoded(out, c);
        }
    }
    *out = 0;
    return encoded;
}
