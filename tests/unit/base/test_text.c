#include "tests/unit/suite.h"
#include "common/base/text.h"

static void hex(void)
{
    char text[9];
    uint8_t out[4];
    hex_encode("\x00\x1f\xa0\xff", 4, text);
    CHECK_TEXT(text, "001fa0ff");
    CHECK_OK(hex_decode("001fA0fF", 8, out, 4));
    CHECK_BYTES(out, "\x00\x1f\xa0\xff", 4);
    CHECK_ERR(hex_decode("001fa0f", 7, out, 4), ERR_FORMAT);
    CHECK_ERR(hex_decode("001fa0ff", 8, out, 3), ERR_FORMAT);
    CHECK_ERR(hex_decode("001fa0fg", 8, out, 4), ERR_FORMAT);
    CHECK_ERR(hex_decode("001fa0f\0", 8, out, 4), ERR_FORMAT);
    CHECK_OK(hex_decode("", 0, out, 0));
}

/* RFC 4648, section 10 */
static void base64(void)
{
    static const char *const pairs[][2] = {
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        char text[16];
        uint8_t out[8];
        size_t n, plain = strlen(pairs[i][0]);
        base64_encode(pairs[i][0], plain, text);
        CHECK_TEXT(text, pairs[i][1]);
        CHECK_EQ(strlen(text), base64_length(plain));
        CHECK_OK(base64_decode(text, strlen(text), out, plain, &n));
        CHECK_EQ(n, plain);
        CHECK_BYTES(out, pairs[i][0], n);
        if (plain)
            CHECK_ERR(base64_decode(text, strlen(text), out, plain - 1, &n), ERR_TOO_BIG);
    }
    static const char *const bad[] = {"Zg=",    "Zg",   "Zh==",     "Zm9=", "Z===", "====",
                                      "Zm9v\n", "Zm 9", "Zg==Zg==", "Zm9-", "=g==", "Zg=g"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint8_t out[16];
        size_t n;
        suite_check(base64_decode(bad[i], strlen(bad[i]), out, sizeof out, &n) == ERR_FORMAT,
                    __FILE__, __LINE__, "refuses \"%s\"", bad[i]);
    }
}

static void decimals(void)
{
    uint64_t v = 1;
    CHECK_OK(decimal_parse("0", 1, &v));
    CHECK_EQ(v, 0);
    CHECK_OK(decimal_parse("18446744073709551615", 20, &v));
    CHECK(v == UINT64_MAX);
    CHECK_ERR(decimal_parse("18446744073709551616", 20, &v), ERR_TOO_BIG);
    CHECK_ERR(decimal_parse("99999999999999999999", 20, &v), ERR_TOO_BIG);
    CHECK_ERR(decimal_parse("", 0, &v), ERR_FORMAT);
    CHECK_ERR(decimal_parse("+1", 2, &v), ERR_FORMAT);
    CHECK_ERR(decimal_parse("1 ", 2, &v), ERR_FORMAT);
    CHECK_ERR(decimal_parse("-1", 2, &v), ERR_FORMAT);
    CHECK_OK(decimal_parse("12x", 2, &v)); /* n bounds it */
    CHECK_EQ(v, 12);
}

static void sizes_and_durations(void)
{
    uint64_t n;
    int64_t d;
    char text[32];
    CHECK_OK(bytes_parse("4096", &n));
    CHECK_EQ(n, 4096);
    CHECK_OK(bytes_parse("64KiB", &n));
    CHECK_EQ(n, 65536);
    CHECK_OK(bytes_parse("16MiB", &n));
    CHECK_EQ(n, 16777216);
    CHECK_OK(bytes_parse("1g", &n));
    CHECK_EQ(n, 1073741824);
    CHECK_OK(bytes_parse("7B", &n));
    CHECK_EQ(n, 7);
    CHECK_ERR(bytes_parse("1KB", &n), ERR_FORMAT);
    CHECK_ERR(bytes_parse("KiB", &n), ERR_FORMAT);
    CHECK_ERR(bytes_parse("", &n), ERR_FORMAT);
    CHECK_ERR(bytes_parse("1 g", &n), ERR_FORMAT);
    CHECK_ERR(bytes_parse("16385P", &n), ERR_TOO_BIG);
    CHECK_OK(duration_parse("10s", &d));
    CHECK(d == INT64_C(10000000000));
    CHECK_OK(duration_parse("250ms", &d));
    CHECK_EQ(d, 250000000);
    CHECK_OK(duration_parse("12h", &d));
    CHECK(d == INT64_C(43200000000000));
    CHECK_OK(duration_parse("0", &d));
    CHECK_EQ(d, 0);
    CHECK_ERR(duration_parse("10", &d), ERR_FORMAT);
    CHECK_ERR(duration_parse("10x", &d), ERR_FORMAT);
    CHECK_ERR(duration_parse("-1s", &d), ERR_FORMAT);
    CHECK_ERR(duration_parse("9999999999999d", &d), ERR_TOO_BIG);
    CHECK_ERR(duration_parse("9223372036854775808ns", &d), ERR_TOO_BIG);
    bytes_format(0, text, sizeof text);
    CHECK_TEXT(text, "0 B");
    bytes_format(1023, text, sizeof text);
    CHECK_TEXT(text, "1023 B");
    bytes_format(1536, text, sizeof text);
    CHECK_TEXT(text, "1.5 KiB");
    bytes_format(UINT64_C(1610612736), text, sizeof text);
    CHECK_TEXT(text, "1.5 GiB");
    bytes_format(UINT64_MAX, text, sizeof text);
    CHECK_TEXT(text, "15.9 EiB");
}

static void times(void)
{
    const int64_t second = 1000000000;
    char text[TIME_TEXT];
    int64_t ns;
    time_format_iso(0, text);
    CHECK_TEXT(text, "1970-01-01T00:00:00.000Z");
    time_format_http(0, text);
    CHECK_TEXT(text, "Thu, 01 Jan 1970 00:00:00 GMT");
    time_format_iso(1769860800 * second + 7999999, text);
    CHECK_TEXT(text, "2026-01-31T12:00:00.007Z");
    time_format_http(1769860800 * second, text);
    CHECK_TEXT(text, "Sat, 31 Jan 2026 12:00:00 GMT");
    time_format_iso(-1, text);
    CHECK_TEXT(text, "1969-12-31T23:59:59.999Z");
    time_format_iso(951782400 * second, text); /* a leap day of a leap century */
    CHECK_TEXT(text, "2000-02-29T00:00:00.000Z");
    CHECK_OK(time_parse_basic("20260131T120000Z", &ns));
    CHECK(ns == 1769860800 * second);
    static const char *const bad[] = {
        "20260131T120000",  "2026-131T120000Z", "20261331T120000Z",  "20260230T120000Z",
        "20260131T240000Z", "20260131T126000Z", "20260131T120000ZZ", "",
        "20250229T000000Z"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK_ERR(time_parse_basic(bad[i], &ns), ERR_FORMAT);
    CHECK_ERR(time_parse_basic("99991231T235959Z", &ns), ERR_TOO_BIG); /* beyond 64 bits of ns */
}

/* RFC 9110, 5.6.7: three spellings of one second */
static void http_times(void)
{
    int64_t ns;
    static const char *const same[] = {"Sun, 06 Nov 1994 08:49:37 GMT",
                                       "Sunday, 06-Nov-94 08:49:37 GMT",
                                       "Sun Nov  6 08:49:37 1994"};
    for (size_t i = 0; i < 3; i++) {
        ns = 0;
        CHECK_OK(time_parse_http(same[i], &ns));
        CHECK(ns == INT64_C(784111777) * 1000000000);
    }
    CHECK_OK(time_parse_http("Wednesday, 06-Nov-24 08:49:37 GMT", &ns));
    CHECK(ns == INT64_C(1730882977) * 1000000000);
    CHECK_OK(time_parse_http("Wed Nov 16 08:49:37 2022", &ns));
    static const char *const bad[] = {"",
                                      "Sun",
                                      "Sun, 06 Nov 1994 08:49:37",
                                      "Sun, 06 Nov 1994 08:49:37 CET",
                                      "Sun, 06 Nox 1994 08:49:37 GMT",
                                      "Foo, 06 Nov 1994 08:49:37 GMT",
                                      "Sun, 6 Nov 1994 08:49:37 GMT",
                                      "Sun, 31 Feb 1994 08:49:37 GMT",
                                      "Sunday 06-Nov-94 08:49:37 GMT"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        suite_check(time_parse_http(bad[i], &ns) == ERR_FORMAT, __FILE__, __LINE__,
                    "refuses \"%s\"", bad[i]);
}

static void formatted_times_parse_back(void)
{
    uint64_t x = suite_seed();
    for (int i = 0; i < 20000; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        int64_t second = (int64_t)((x >> 20) % UINT64_C(9000000000)) - 2000000000;
        int64_t back = 0;
        char text[TIME_TEXT];
        time_format_http(second * 1000000000, text);
        if (time_parse_http(text, &back) || back != second * 1000000000) {
            suite_check(false, __FILE__, __LINE__, "%s parses back", text);
            break;
        }
    }
}

static void folded_equality(void)
{
    CHECK(text_equal_fold("Content-Type", "content-tYPE"));
    CHECK(!text_equal_fold("content", "content-type"));
    CHECK(!text_equal_fold("content-type", "content"));
    CHECK(text_equal_fold("", ""));
    CHECK(!text_equal_fold("[", "{"));
    CHECK(text_starts_fold("X-Amz-Date", "x-amz-") && text_starts_fold("x", ""));
    CHECK(!text_starts_fold("x-am", "x-amz-"));
}

static void copies(void)
{
    char out[4] = "old";
    CHECK(!text_copy(out, sizeof out, "four"));
    CHECK_TEXT(out, "old");
    CHECK(text_copy(out, sizeof out, "abc"));
    CHECK_TEXT(out, "abc");
    CHECK(text_copy(out, 1, ""));
    CHECK_TEXT(out, "");
    CHECK_EQ(hex_value('9'), 9);
    CHECK_EQ(hex_value('F'), 15);
    CHECK_EQ(hex_value('a'), 10);
    CHECK_EQ(hex_value('g'), -1);
}

static const struct test tests[] = {
    {"hex", hex},
    {"base64", base64},
    {"decimals", decimals},
    {"sizes and durations", sizes_and_durations},
    {"times", times},
    {"http times", http_times},
    {"formatted times parse back", formatted_times_parse_back},
    {"folded equality", folded_equality},
    {"copies", copies},
    {0},
};
SUITE("text", tests)
