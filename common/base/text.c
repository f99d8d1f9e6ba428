/* Bytes, numbers and sizes; times are in time_text.c. */
#include "common/base/text.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char hex_digits[] = "0123456789abcdef";
static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void text_lower(char *text)
{
    for (; *text; text++)
        *text = char_lower(*text);
}

bool text_starts_fold(const char *text, const char *lower_prefix)
{
    for (; *lower_prefix; text++, lower_prefix++)
        if (char_lower(*text) != *lower_prefix)
            return false;
    return true;
}

bool text_equal_fold(const char *a, const char *b)
{
    while (*a && char_lower(*a) == char_lower(*b)) {
        a++;
        b++;
    }
    return char_lower(*a) == char_lower(*b);
}

bool text_copy(char *out, size_t room, const char *text)
{
    size_t n = strlen(text);
    if (n >= room)
        return false;
    memcpy(out, text, n + 1);
    return true;
}

void hex_encode(const void *data, size_t n, char *out)
{
    const uint8_t *in = data;
    for (size_t i = 0; i < n; i++) {
        *out++ = hex_digits[in[i] >> 4];
        *out++ = hex_digits[in[i] & 15];
    }
    *out = 0;
}

int hex_value(char c)
{
    c = char_lower(c);
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

enum err hex_decode(const char *text, size_t text_n, void *out, size_t out_n)
{
    if (text_n % 2 || text_n / 2 != out_n)
        return ERR_FORMAT;
    uint8_t *to = out;
    for (size_t i = 0; i < out_n; i++) {
        int high = hex_value(text[2 * i]), low = hex_value(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return ERR_FORMAT;
        to[i] = (uint8_t)(high << 4 | low);
    }
    return OK;
}

size_t base64_length(size_t n)
{
    return (n + 2) / 3 * 4;
}

void base64_encode(const void *data, size_t n, char *out)
{
    const uint8_t *in = data;
    for (; n >= 3; n -= 3, in += 3) {
        uint32_t v = (uint32_t)in[0] << 16 | (uint32_t)in[1] << 8 | in[2];
        *out++ = base64_digits[v >> 18];
        *out++ = base64_digits[v >> 12 & 63];
        *out++ = base64_digits[v >> 6 & 63];
        *out++ = base64_digits[v & 63];
    }
    if (n > 0) {
        uint32_t v = (uint32_t)in[0] << 16 | (n == 2 ? (uint32_t)in[1] << 8 : 0);
        *out++ = base64_digits[v >> 18];
        *out++ = base64_digits[v >> 12 & 63];
        *out++ = n == 2 ? base64_digits[v >> 6 & 63] : '=';
        *out++ = '=';
    }
    *out = 0;
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Strict: padding is there, no white space, and the bits that no byte uses are zero, so that every
 * byte string has exactly one text. */
enum err base64_decode(const char *text, size_t text_n, void *out, size_t max, size_t *n)
{
    *n = 0;
    if (text_n % 4)
        return ERR_FORMAT;
    size_t pad = 0;
    while (pad < 2 && pad < text_n && text[text_n - 1 - pad] == '=')
        pad++;
    size_t length = text_n / 4 * 3 - pad;
    if (length > max)
        return ERR_TOO_BIG;
    uint8_t *to = out;
    size_t made = 0;
    for (size_t i = 0; i < text_n; i += 4) {
        size_t digits = i + 4 == text_n ? 4 - pad : 4;
        uint32_t v = 0;
        for (size_t j = 0; j < 4; j++) {
            int d = j < digits ? base64_value(text[i + j]) : 0;
            if (d < 0)
                return ERR_FORMAT;
            v = v << 6 | (uint32_t)d;
        }
        if ((digits == 3 && (v & 0xff)) || (digits == 2 && (v & 0xffff)))
            return ERR_FORMAT;
        for (size_t j = 0; j + 1 < digits; j++)
            to[made++] = (uint8_t)(v >> (16 - 8 * j));
    }
    *n = made;
    return OK;
}

/* Leading digits of text; *used says how many. */
static enum err digits_parse(const char *text, size_t n, uint64_t *out, size_t *used)
{
    uint64_t v = 0;
    size_t i = 0;
    for (; i < n && text[i] >= '0' && text[i] <= '9'; i++)
        if (__builtin_mul_overflow(v, 10u, &v) ||
            __builtin_add_overflow(v, (uint64_t)(text[i] - '0'), &v))
            return ERR_TOO_BIG;
    *out = v;
    *used = i;
    return i ? OK : ERR_FORMAT;
}

enum err decimal_parse(const char *text, size_t n, uint64_t *out)
{
    uint64_t v;
    size_t used;
    enum err e = digits_parse(text, n, &v, &used);
    if (e)
        return e;
    if (used != n)
        return ERR_FORMAT;
    *out = v;
    return OK;
}

struct unit {
    const char *name;
    uint64_t factor;
};

/* A number and one of the units, nothing between or behind. */
static enum err scaled_parse(const char *text, const struct unit *units, bool bare, uint64_t *out)
{
    uint64_t v;
    size_t used;
    enum err e = digits_parse(text, strlen(text), &v, &used);
    if (e)
        return e;
    if (text[used] == 0 && bare) {
        *out = v;
        return OK;
    }
    for (const struct unit *u = units; u->name; u++)
        if (text_equal_fold(text + used, u->name))
            return __builtin_mul_overflow(v, u->factor, out) ? ERR_TOO_BIG : OK;
    return ERR_FORMAT;
}

enum err bytes_parse(const char *text, uint64_t *out)
{
    /* "KB" is refused: half of those who write it mean 1000. */
    static const struct unit units[] = {
        {"b", 1},
        {"k", UINT64_C(1) << 10},
        {"kib", UINT64_C(1) << 10},
        {"m", UINT64_C(1) << 20},
        {"mib", UINT64_C(1) << 20},
        {"g", UINT64_C(1) << 30},
        {"gib", UINT64_C(1) << 30},
        {"t", UINT64_C(1) << 40},
        {"tib", UINT64_C(1) << 40},
        {"p", UINT64_C(1) << 50},
        {"pib", UINT64_C(1) << 50},
        {NULL, 0},
    };
    return scaled_parse(text, units, true, out);
}

enum err duration_parse(const char *text, int64_t *out)
{
    static const struct unit units[] = {
        {"ns", 1},
        {"us", 1000},
        {"ms", 1000000},
        {"s", UINT64_C(1000000000)},
        {"m", UINT64_C(60) * 1000000000},
        {"min", UINT64_C(60) * 1000000000},
        {"h", UINT64_C(3600) * 1000000000},
        {"d", UINT64_C(86400) * 1000000000},
        {NULL, 0},
    };
    uint64_t v = 0;
    /* "0" needs no unit; any other bare number would be a guess. */
    if (strcmp(text, "0") != 0) {
        enum err e = scaled_parse(text, units, false, &v);
        if (e)
            return e;
    }
    if (v > INT64_MAX)
        return ERR_TOO_BIG;
    *out = (int64_t)v;
    return OK;
}

void bytes_format(uint64_t n, char *out, size_t max)
{
    static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    unsigned unit = 0;
    uint64_t whole = n, tenths = 0;
    while (whole >= 1024 && unit + 1 < sizeof names / sizeof names[0]) {
        unit++;
        whole = n >> (10 * unit);
        tenths = (n >> (10 * (unit - 1)) & 1023) * 10 / 1024;
    }
    if (unit == 0)
        snprintf(out, max, "%" PRIu64 " B", n);
    else
        snprintf(out, max, "%" PRIu64 ".%" PRIu64 " %s", whole, tenths, names[unit]);
}

size_t utf8_length(const void *text, size_t n)
{
    const unsigned char *p = text;
    if (n == 0)
        return 0;
    size_t length = *p < 0x80                 ? 1
                    : *p >= 0xc2 && *p < 0xe0 ? 2
                    : (*p & 0xf0) == 0xe0     ? 3
                    : *p >= 0xf0 && *p < 0xf5 ? 4
                                              : 0;
    if (length == 0 || length > n)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if (length == 3 && ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] >= 0xa0)))
        return 0; /* overlong, surrogate */
    if (length == 3 && *p == 0xef && p[1] == 0xbf && p[2] >= 0xbe)
        return 0; /* U+FFFE, U+FFFF */
    if (length == 4 && ((*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] >= 0x90)))
        return 0;
    return length;
}
