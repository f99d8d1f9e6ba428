#include "common/client/chunk_latency_internal.h"
#include <stdlib.h>
#include <string.h>
#include "common/sys/sys.h"

/* Recent latencies of this process's shard reads and commits, and which disks straggle. */

enum {
    SAMPLES = 256,
    REFRESH_EVERY = 32, /* samples between two computations of the percentiles */
    DISKS = 1024,       /* remembered stragglers; by disk id modulo this */
    STRAGGLE_WINDOW = 10,
    STRAGGLE_LIMIT = 3,
};
/* A disk that was given no grace cannot show that it is well again: it is tried after this long. */
#define STRAGGLE_MEMORY (30 * SYS_SECOND)

struct samples {
    int64_t ring[SAMPLES];
    uint32_t count; /* ever */
    int64_t p95, p99;
};

struct straggler {
    disk_id disk;
    uint16_t late; /* of the last STRAGGLE_WINDOW writes, newest in bit 0 */
    int64_t last_late;
};

struct chunk_latency {
    struct sys_mutex lock;
    struct samples samples[LATENCY_KINDS];
    struct straggler stragglers[DISKS];
};

struct chunk_latency *chunk_latency_new(void)
{
    struct chunk_latency *l = sys_alloc(sizeof *l);
    sys_mutex_init(&l->lock);
    return l;
}

void chunk_latency_free(struct chunk_latency *l)
{
    if (!l)
        return;
    sys_mutex_release(&l->lock);
    sys_free(l);
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void refresh(struct samples *s)
{
    int64_t sorted[SAMPLES];
    size_t n = s->count < SAMPLES ? s->count : SAMPLES;
    memcpy(sorted, s->ring, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, compare);
    s->p95 = sorted[n * 95 / 100];
    s->p99 = sorted[n * 99 / 100];
}

void chunk_latency_note(struct chunk_latency *l, enum latency_kind kind, int64_t took_ns)
{
    sys_mutex_lock(&l->lock);
    struct samples *s = &l->samples[kind];
    s->ring[s->count++ % SAMPLES] = took_ns;
    if (s->count % REFRESH_EVERY == 0)
        refresh(s);
    sys_mutex_unlock(&l->lock);
}

int64_t chunk_latency_percentile(struct chunk_latency *l, enum latency_kind kind, unsigned percent,
                                 int64_t unknown)
{
    sys_mutex_lock(&l->lock);
    const struct samples *s = &l->samples[kind];
    int64_t value = percent >= 99 ? s->p99 : s->p95;
    if (s->count < REFRESH_EVERY)
        value = unknown;
    sys_mutex_unlock(&l->lock);
    return value;
}

void chunk_latency_straggled(struct chunk_latency *l, disk_id disk, bool late)
{
    int64_t now = sys_now();
    sys_mutex_lock(&l->lock);
    struct straggler *s = &l->stragglers[disk % DISKS];
    if (s->disk != disk)
        *s = (struct straggler){.disk = disk};
    if (late)
        s->last_late = now;
    s->late = (uint16_t)((s->late << 1 | late) & ((1 << STRAGGLE_WINDOW) - 1));
    sys_mutex_unlock(&l->lock);
}

bool chunk_latency_straggles(struct chunk_latency *l, disk_id disk)
{
    int64_t now = sys_now();
    sys_mutex_lock(&l->lock);
    const struct straggler *s = &l->stragglers[disk % DISKS];
    bool known = s->disk == disk && now - s->last_late < STRAGGLE_MEMORY;
    unsigned late = 0;
    for (unsigned bits = known ? s->late : 0; bits; bits >>= 1)
        late += bits & 1;
    sys_mutex_unlock(&l->lock);
    return late >= STRAGGLE_LIMIT;
}
