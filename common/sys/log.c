/* Formats a log line and hands it to the floor. Never fails, never allocates. */
#include <stdatomic.h>
#include <stdio.h>
#include "common/sys/log.h"
#include "common/sys/sys.h"

enum { LINE_MAX_BYTES = 1024 };

/* Written once, while the process has one thread; the same for every simulated process. */
static atomic_int least_level = LOG_INFO;

void log_level_set(enum log_level least)
{
    atomic_store(&least_level, (int)least);
}

static const char *level_name(enum log_level level)
{
    switch (level) {
    case LOG_DEBUG:
        return "DEBUG";
    case LOG_INFO:
        return "INFO ";
    case LOG_WARN:
        return "WARN ";
    case LOG_ERROR:
        return "ERROR";
    }
    return "?????";
}

struct civil {
    int64_t year;
    int month, day;
};

/* Days since 1970-01-01 to a date of the proleptic Gregorian calendar, by counting years from
 * 1 March, so that the leap day is the last of its year. */
static struct civil civil_from_days(int64_t days)
{
    days += 719468; /* to 0000-03-01 */
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t day_of_era = days - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t shifted_month = (5 * day_of_year + 2) / 153;
    int month = (int)(shifted_month < 10 ? shifted_month + 3 : shifted_month - 9);
    return (struct civil){
        .year = year_of_era + era * 400 + (month <= 2),
        .month = month,
        .day = (int)(day_of_year - (153 * shifted_month + 2) / 5 + 1),
    };
}

static size_t format_time(char *out, size_t size)
{
    int64_t wall = sys_wall();
    if (wall < 0)
        wall = 0;
    int64_t seconds = wall / SYS_SECOND;
    struct civil date = civil_from_days(seconds / 86400);
    int of_day = (int)(seconds % 86400);
    int n = snprintf(out, size, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", (int)date.year, date.month,
                     date.day, of_day / 3600, of_day / 60 % 60, of_day % 60,
                     (int)(wall % SYS_SECOND / SYS_MS));
    return n > 0 ? (size_t)n : 0;
}

void log_line(enum log_level level, const char *area, const char *format, ...)
{
    if ((int)level < atomic_load_explicit(&least_level, memory_order_relaxed))
        return;
    char line[LINE_MAX_BYTES + 1];
    size_t n = format_time(line, sizeof line);
    int k = snprintf(line + n, sizeof line - n, " %s %s ", level_name(level), area);
    if (k > 0)
        n += (size_t)k;
    if (n < LINE_MAX_BYTES) {
        va_list args;
        va_start(args, format);
        k = vsnprintf(line + n, sizeof line - n, format, args);
        va_end(args);
        if (k > 0)
            n += (size_t)k;
    }
    if (n > LINE_MAX_BYTES)
        n = LINE_MAX_BYTES;
    /* What a peer sent must not make a second line. */
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
            line[i] = '?';
    sys_log_line(line, n);
}
