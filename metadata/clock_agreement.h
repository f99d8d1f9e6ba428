/* What time it is, when clocks differ: the intersection of Marzullo ("Maintaining the Time in a
 * Distributed System", 1983), as NTP uses it to tell clocks that run true from those that do not.
 *
 * A clock whose error has a bound says that the time lies in a range: what it shows, less and more
 * that bound (and less and more what is not known of the way to it). Ranges of clocks that run true
 * have the time in common. The time is taken to lie where a majority of the ranges overlaps; a clock
 * whose range lies outside is off by more than its bound. Pure. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct clock_range {
    int64_t low, high; /* ns, both included */
};

/* Where at least majority of the n ranges overlap: from the lowest such point to the highest. False
 * when there is none. */
bool clock_agree(const struct clock_range *ranges, size_t n, size_t majority,
                 struct clock_range *out);
bool clock_touches(struct clock_range a, struct clock_range b);
int64_t clock_clamp(int64_t time, struct clock_range within);
