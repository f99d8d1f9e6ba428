/* Bytes to text and back: hex, base64, decimal, ISO times. Locale never matters. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/base/err.h"

void hex_encode(const void *data, size_t n, char *out); /* 2n characters and a NUL, lower case */
int hex_value(char c);                                  /* 0 .. 15, either case; -1: no hex digit */
enum err hex_decode(const char *text, size_t text_n, void *out, size_t out_n) MUST_USE; /* exact */
/* out needs base64_length(n) + 1. */
size_t base64_length(size_t n);
void base64_encode(const void *data, size_t n, char *out);
enum err base64_decode(const char *text, size_t text_n, void *out, size_t max, size_t *n) MUST_USE;
/* Whole text must be a decimal number that fits. */
enum err decimal_parse(const char *text, size_t n, uint64_t *out) MUST_USE;
/* "64KiB", "16MiB", "1g", "4096": bytes. */
enum err bytes_parse(const char *text, uint64_t *out) MUST_USE;
/* "10s", "250ms", "12h": nanoseconds. */
enum err duration_parse(const char *text, int64_t *out) MUST_USE;
/* "1.5 GiB" */
void bytes_format(uint64_t n, char *out, size_t max);
/* "2026-01-31T12:00:00.000Z" and "Sat, 31 Jan 2026 12:00:00 GMT" of ns since 1970. */
enum { TIME_TEXT = 32 };
void time_format_iso(int64_t wall_ns, char out[TIME_TEXT]);
void time_format_http(int64_t wall_ns, char out[TIME_TEXT]);
/* "20260131T120000Z" (SigV4) */
enum err time_parse_basic(const char *text, int64_t *wall_ns) MUST_USE;
/* RFC 1123, RFC 850 and asctime forms */
enum err time_parse_http(const char *text, int64_t *wall_ns) MUST_USE;
/* False, and out untouched, when text and its NUL do not fit into room bytes. */
bool text_copy(char *out, size_t room, const char *text) MUST_USE;
bool text_equal_fold(const char *a, const char *b); /* ASCII case folded */
bool text_starts_fold(const char *text, const char *lower_prefix);
/* ASCII alone; the C library's tolower asks the locale. */
static inline char char_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}
void text_lower(char *text); /* in place, by char_lower */
/* Length of the UTF-8 sequence with which text begins; 0: it begins with none. U+FFFE and U+FFFF, which XML
 * may not hold, are none. */
size_t utf8_length(const void *text, size_t n);
