#include "metadata/slow_disks.h"
#include <stdlib.h>
#include <string.h>
#include "common/base/alloc.h"

void slow_disks_init(struct slow_disks *s)
{
    memset(s, 0, sizeof *s);
}

void slow_disks_release(struct slow_disks *s)
{
    sys_free(s->seen);
    slow_disks_init(s);
}

void slow_disks_clear(struct slow_disks *s)
{
    s->count = 0;
}

static int64_t *since_of(struct slow_disks *s, disk_id id)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->seen[i].id == id)
            return &s->seen[i].since;
    if (s->count == s->room) {
        s->room = s->room ? 2 * s->room : 64;
        s->seen = sys_realloc(s->seen, s->room * sizeof *s->seen);
    }
    s->seen[s->count].id = id;
    s->seen[s->count].since = 0;
    return &s->seen[s->count++].since;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* The median of the known paces but one's own, which is at its place in the sorted ones. */
static bool is_slow(int64_t pace, const int64_t *sorted, size_t known)
{
    size_t own = 0, others = known - 1;
    if (others < SLOW_OTHERS_MIN || pace < SLOW_LEAST)
        return false;
    while (sorted[own] != pace)
        own++;
    size_t middle = others / 2;
    return pace / SLOW_TIMES >= sorted[middle < own ? middle : middle + 1];
}

size_t slow_disks_judge(struct slow_disks *s, const struct timeouts *t, int64_t now,
                        const struct disk_pace *disks, size_t n, struct disk_pace *changed)
{
    int64_t *sorted = sys_alloc((n + 1) * sizeof *sorted);
    size_t known = 0, count = 0;
    for (size_t i = 0; i < n; i++)
        if (disks[i].pace_ns > 0)
            sorted[known++] = disks[i].pace_ns;
    qsort(sorted, known, sizeof *sorted, compare);
    for (size_t i = 0; i < n; i++) {
        const struct disk_pace *d = &disks[i];
        int64_t *since = since_of(s, d->id);
        bool otherwise = d->pace_ns > 0 && is_slow(d->pace_ns, sorted, known) != d->suspect;
        if (!otherwise)
            *since = 0;
        else if (*since == 0)
            *since = now;
        if (!otherwise || now - *since < (d->suspect ? t->well_after : t->suspect_after))
            continue;
        changed[count] = *d;
        changed[count++].suspect = !d->suspect;
    }
    sys_free(sorted);
    return count;
}
