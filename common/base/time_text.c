/* Times to text and back (text.h), without libc's calendar: its functions read the environment and
 * the locale. The proleptic Gregorian calendar, no leap seconds, years 0 to 9999. */
#include "common/base/text.h"
#include <stdio.h>
#include <string.h>

#define NS_PER_SECOND INT64_C(1000000000)

static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
static const char days[7][10] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                 "Thursday", "Friday", "Saturday"};

struct civil {
    int year, month, day; /* month and day from 1 */
    int hour, minute, second, millisecond;
    int weekday; /* 0: Sunday */
};

/* Days since 1970-01-01. Counts from 1 March, so that the leap day ends a year. */
static int64_t days_from_civil(int year, int month, int day)
{
    int64_t y = month <= 2 ? (int64_t)year - 1 : year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static int64_t floor_divide(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static void civil_from_ns(int64_t wall_ns, struct civil *c)
{
    int64_t seconds = floor_divide(wall_ns, NS_PER_SECOND);
    int64_t ns = wall_ns - seconds * NS_PER_SECOND;
    int64_t day = floor_divide(seconds, 86400);
    int64_t of_day = seconds - day * 86400;
    int64_t z = day + 719468;
    int64_t era = floor_divide(z, 146097);
    int64_t day_of_era = z - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month = (5 * day_of_year + 2) / 153; /* 0: March */
    c->day = (int)(day_of_year - (153 * month + 2) / 5 + 1);
    c->month = (int)(month < 10 ? month + 3 : month - 9);
    c->year = (int)(year_of_era + era * 400 + (c->month <= 2));
    c->hour = (int)(of_day / 3600);
    c->minute = (int)(of_day / 60 % 60);
    c->second = (int)(of_day % 60);
    c->millisecond = (int)(ns / 1000000);
    c->weekday = (int)(day + 4 - 7 * floor_divide(day + 4, 7)); /* 1970-01-01: a Thursday */
}

static enum err ns_from_civil(const struct civil *c, int64_t *out)
{
    static const int lengths[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (c->month < 1 || c->month > 12 || c->day < 1 || c->hour > 23 || c->minute > 59 ||
        c->second > 60)
        return ERR_FORMAT;
    bool leap = c->year % 4 == 0 && (c->year % 100 != 0 || c->year % 400 == 0);
    if (c->day > lengths[c->month - 1] + (c->month == 2 && leap))
        return ERR_FORMAT;
    int64_t seconds = days_from_civil(c->year, c->month, c->day) * 86400 + c->hour * 3600 +
                      c->minute * 60 + c->second;
    return __builtin_mul_overflow(seconds, NS_PER_SECOND, out) ? ERR_TOO_BIG : OK;
}

void time_format_iso(int64_t wall_ns, char out[TIME_TEXT])
{
    struct civil c;
    civil_from_ns(wall_ns, &c);
    snprintf(out, TIME_TEXT, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", (unsigned)c.year % 10000,
             (unsigned)c.month % 100, (unsigned)c.day % 100, (unsigned)c.hour % 100,
             (unsigned)c.minute % 100, (unsigned)c.second % 100, (unsigned)c.millisecond % 1000);
}

void time_format_http(int64_t wall_ns, char out[TIME_TEXT])
{
    struct civil c;
    civil_from_ns(wall_ns, &c);
    snprintf(out, TIME_TEXT, "%.3s, %02u %s %04u %02u:%02u:%02u GMT", days[c.weekday],
             (unsigned)c.day % 100, months[c.month - 1], (unsigned)c.year % 10000,
             (unsigned)c.hour % 100, (unsigned)c.minute % 100, (unsigned)c.second % 100);
}

/* ---- parsing: a text and where we are in it; the first mismatch makes at NULL ---- */

struct scan {
    const char *at;
};

static void expect(struct scan *s, const char *word)
{
    size_t n = strlen(word);
    if (s->at && strncmp(s->at, word, n) == 0)
        s->at += n;
    else
        s->at = NULL;
}

/* Exactly n digits. */
static int number(struct scan *s, int n)
{
    int v = 0;
    for (int i = 0; s->at && i < n; i++) {
        char c = *s->at;
        if (c < '0' || c > '9')
            s->at = NULL;
        else {
            v = v * 10 + (c - '0');
            s->at++;
        }
    }
    return s->at ? v : 0;
}

static int month_name(struct scan *s)
{
    for (int i = 0; s->at && i < 12; i++)
        if (strncmp(s->at, months[i], 3) == 0) {
            s->at += 3;
            return i + 1;
        }
    s->at = NULL;
    return 0;
}

static void clock_time(struct scan *s, struct civil *c)
{
    c->hour = number(s, 2);
    expect(s, ":");
    c->minute = number(s, 2);
    expect(s, ":");
    c->second = number(s, 2);
}

static enum err scan_finish(const struct scan *s, const struct civil *c, int64_t *wall_ns)
{
    if (!s->at || *s->at)
        return ERR_FORMAT;
    return ns_from_civil(c, wall_ns);
}

enum err time_parse_basic(const char *text, int64_t *wall_ns)
{
    struct scan s = {text};
    struct civil c = {0};
    c.year = number(&s, 4);
    c.month = number(&s, 2);
    c.day = number(&s, 2);
    expect(&s, "T");
    c.hour = number(&s, 2);
    c.minute = number(&s, 2);
    c.second = number(&s, 2);
    expect(&s, "Z");
    return scan_finish(&s, &c, wall_ns);
}

/* "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110, 5.6.7) behind its "Sun, " */
static enum err parse_imf(struct scan s, int64_t *wall_ns)
{
    struct civil c = {0};
    c.day = number(&s, 2);
    expect(&s, " ");
    c.month = month_name(&s);
    expect(&s, " ");
    c.year = number(&s, 4);
    expect(&s, " ");
    clock_time(&s, &c);
    expect(&s, " GMT");
    return scan_finish(&s, &c, wall_ns);
}

/* "Sunday, 06-Nov-94 08:49:37 GMT" behind its "Sunday, ". Two digits of a year: 70 and later are of
 * the last century. */
static enum err parse_rfc850(struct scan s, int64_t *wall_ns)
{
    struct civil c = {0};
    c.day = number(&s, 2);
    expect(&s, "-");
    c.month = month_name(&s);
    expect(&s, "-");
    c.year = number(&s, 2);
    c.year += c.year < 70 ? 2000 : 1900;
    expect(&s, " ");
    clock_time(&s, &c);
    expect(&s, " GMT");
    return scan_finish(&s, &c, wall_ns);
}

/* "Sun Nov  6 08:49:37 1994" behind its "Sun " */
static enum err parse_asctime(struct scan s, int64_t *wall_ns)
{
    struct civil c = {0};
    c.month = month_name(&s);
    expect(&s, " ");
    if (s.at && *s.at == ' ') {
        s.at++;
        c.day = number(&s, 1);
    } else {
        c.day = number(&s, 2);
    }
    expect(&s, " ");
    clock_time(&s, &c);
    expect(&s, " ");
    c.year = number(&s, 4);
    return scan_finish(&s, &c, wall_ns);
}

enum err time_parse_http(const char *text, int64_t *wall_ns)
{
    for (int i = 0; i < 7; i++) {
        if (strncmp(text, days[i], 3) != 0)
            continue;
        size_t n = strlen(days[i]);
        if (strncmp(text + 3, ", ", 2) == 0)
            return parse_imf((struct scan){text + 5}, wall_ns);
        if (strncmp(text, days[i], n) == 0 && strncmp(text + n, ", ", 2) == 0)
            return parse_rfc850((struct scan){text + n + 2}, wall_ns);
        if (text[3] == ' ')
            return parse_asctime((struct scan){text + 4}, wall_ns);
    }
    return ERR_FORMAT;
}
