/* Times of many operations in little memory: counts by power of two, each cut in 64, so that a
 * percentile is at most 1.6 % too high. Pure. */
#pragma once
#include <stdint.h>

enum { STATS_PARTS = 64, STATS_BUCKETS = 40 * STATS_PARTS };

struct stats {
    uint64_t counts[STATS_BUCKETS];
    uint64_t count;
    int64_t max_ns;
};

void stats_add(struct stats *s, int64_t ns);
void stats_merge(struct stats *into, const struct stats *from);
/* The time within which this share of the operations ended (per mille); 0 without any. */
int64_t stats_percentile(const struct stats *s, unsigned permille);
