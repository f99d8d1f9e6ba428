#include "metadata/clock_agreement.h"

static size_t covering(const struct clock_range *ranges, size_t n, int64_t point)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += ranges[i].low <= point && point <= ranges[i].high;
    return count;
}

/* What many ranges share begins where one begins and ends where one ends. */
bool clock_agree(const struct clock_range *ranges, size_t n, size_t majority,
                 struct clock_range *out)
{
    bool found = false;
    for (size_t i = 0; i < n; i++) {
        if (covering(ranges, n, ranges[i].low) >= majority) {
            if (!found || ranges[i].low < out->low)
                out->low = ranges[i].low;
            if (!found || ranges[i].low > out->high)
                out->high = ranges[i].low;
            found = true;
        }
    }
    for (size_t i = 0; found && i < n; i++)
        if (ranges[i].high > out->high && covering(ranges, n, ranges[i].high) >= majority)
            out->high = ranges[i].high;
    return found;
}

bool clock_touches(struct clock_range a, struct clock_range b)
{
    return a.low <= b.high && b.low <= a.high;
}

int64_t clock_clamp(int64_t time, struct clock_range within)
{
    return time < within.low ? within.low : time > within.high ? within.high : time;
}
