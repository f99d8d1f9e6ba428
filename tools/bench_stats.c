#include "tools/bench_stats.h"

/* Below 64 each value has a bucket of its own; then 64 for each power of two. */
static unsigned bucket_of(uint64_t v)
{
    unsigned power = 0;
    for (uint64_t rest = v / STATS_PARTS; rest > 1; rest >>= 1)
        power++;
    uint64_t bucket = v < STATS_PARTS ? v : (power + 1) * STATS_PARTS + (v >> power) - STATS_PARTS;
    return bucket < STATS_BUCKETS ? (unsigned)bucket : STATS_BUCKETS - 1;
}

/* The largest value of a bucket. */
static uint64_t top_of(unsigned bucket)
{
    if (bucket < STATS_PARTS)
        return bucket;
    unsigned power = bucket / STATS_PARTS - 1;
    return ((uint64_t)(bucket % STATS_PARTS + STATS_PARTS + 1) << power) - 1;
}

void stats_add(struct stats *s, int64_t ns)
{
    if (ns < 0)
        ns = 0;
    s->counts[bucket_of((uint64_t)ns)]++;
    s->count++;
    if (ns > s->max_ns)
        s->max_ns = ns;
}

void stats_merge(struct stats *into, const struct stats *from)
{
    for (unsigned i = 0; i < STATS_BUCKETS; i++)
        into->counts[i] += from->counts[i];
    into->count += from->count;
    if (from->max_ns > into->max_ns)
        into->max_ns = from->max_ns;
}

int64_t stats_percentile(const struct stats *s, unsigned permille)
{
    uint64_t want = (s->count * permille + 999) / 1000, seen = 0;
    if (want == 0)
        want = 1;
    for (unsigned i = 0; i + 1 < STATS_BUCKETS; i++) { /* the last one is open to above */
        seen += s->counts[i];
        if (seen >= want)
            return (int64_t)top_of(i) < s->max_ns ? (int64_t)top_of(i) : s->max_ns;
    }
    return s->max_ns;
}
