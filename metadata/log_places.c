/* Which batch holds which entries: one place per batch, not per entry. A batch counts up to where
 * the next place begins, since what was truncated was written again behind it. */
#include <string.h>
#include "metadata/log_internal.h"

void log_store_place_add(struct log_store *s, uint64_t first, uint64_t sequence, uint64_t offset,
                         uint32_t bytes)
{
    if (s->place_count == s->place_capacity) {
        s->place_capacity = s->place_capacity ? s->place_capacity * 2 : 64;
        s->places = sys_realloc(s->places, s->place_capacity * sizeof *s->places);
    }
    s->places[s->place_count++] =
        (struct log_place){.first = first, .sequence = sequence, .offset = offset, .bytes = bytes};
}

void log_store_place_truncate(struct log_store *s, uint64_t from)
{
    while (s->place_count && s->places[s->place_count - 1].first >= from)
        s->place_count--;
}

void log_store_place_compact(struct log_store *s, uint64_t index)
{
    size_t gone = 0;
    if (s->place_count == 0)
        return;
    while (gone + 1 < s->place_count && s->places[gone + 1].first <= index + 1)
        gone++;
    if (gone + 1 == s->place_count && s->terms.last_index <= index)
        gone++;
    if (gone)
        memmove(s->places, s->places + gone, (s->place_count - gone) * sizeof *s->places);
    s->place_count -= gone;
}

size_t log_store_place_find(const struct log_store *s, uint64_t index)
{
    size_t low = 0, high = s->place_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->places[middle].first <= index)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? low - 1 : s->place_count;
}
