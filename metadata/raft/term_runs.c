/* The runs are few, but a log of many elections has thousands: lookups are binary searches. */
#include "metadata/raft/term_runs.h"
#include <assert.h>
#include <string.h>
#include "common/base/alloc.h"

void term_runs_init(struct term_runs *t)
{
    *t = (struct term_runs){0};
}

void term_runs_release(struct term_runs *t)
{
    sys_free(t->runs);
    term_runs_init(t);
}

void term_runs_copy(struct term_runs *to, const struct term_runs *from)
{
    struct term_run *runs = sys_realloc(to->runs, (from->n + 1) * sizeof *runs);
    if (from->n)
        memcpy(runs, from->runs, from->n * sizeof *runs);
    *to = *from;
    to->runs = runs;
    to->capacity = from->n + 1;
}

uint64_t term_runs_last_term(const struct term_runs *t)
{
    return t->n ? t->runs[t->n - 1].term : t->base_term;
}

void term_runs_append(struct term_runs *t, uint64_t term)
{
    assert(term >= term_runs_last_term(t));
    t->last_index++;
    if (t->n && t->runs[t->n - 1].term == term)
        return;
    if (t->n == t->capacity) {
        t->capacity = t->capacity ? t->capacity * 2 : 8;
        t->runs = sys_realloc(t->runs, t->capacity * sizeof *t->runs);
    }
    t->runs[t->n++] = (struct term_run){.first = t->last_index, .term = term};
}

void term_runs_truncate(struct term_runs *t, uint64_t index)
{
    assert(index > t->base_index);
    if (index > t->last_index)
        return;
    t->last_index = index - 1;
    while (t->n && t->runs[t->n - 1].first >= index)
        t->n--;
}

/* The position of the last run that begins at or before index; t->n when none does. */
static size_t run_at(const struct term_runs *t, uint64_t index)
{
    size_t low = 0, high = t->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (t->runs[middle].first <= index)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? low - 1 : t->n;
}

uint64_t term_runs_at(const struct term_runs *t, uint64_t index)
{
    if (index < t->base_index || index > t->last_index)
        return 0;
    if (index == t->base_index)
        return t->base_term;
    size_t i = run_at(t, index);
    assert(i < t->n);
    return t->runs[i].term;
}

void term_runs_compact(struct term_runs *t, uint64_t index)
{
    assert(index >= t->base_index && index <= t->last_index);
    uint64_t term = term_runs_at(t, index);
    size_t gone = 0;
    while (gone < t->n && (gone + 1 < t->n ? t->runs[gone + 1].first - 1 : t->last_index) <= index)
        gone++;
    if (gone)
        memmove(t->runs, t->runs + gone, (t->n - gone) * sizeof *t->runs);
    t->n -= gone;
    if (t->n && t->runs[0].first <= index)
        t->runs[0].first = index + 1;
    t->base_index = index;
    t->base_term = term;
}

void term_runs_reset(struct term_runs *t, uint64_t base_index, uint64_t base_term)
{
    t->n = 0;
    t->base_index = t->last_index = base_index;
    t->base_term = base_term;
}

uint64_t term_runs_find(const struct term_runs *t, uint64_t index, uint64_t term)
{
    if (index > t->last_index)
        index = t->last_index;
    if (index <= t->base_index)
        return t->base_index;
    size_t i = run_at(t, index);
    if (t->runs[i].term <= term)
        return index;
    while (i > 0 && t->runs[i].term > term)
        i--;
    /* Either a run that is low enough, whose last index precedes the next run, or none. */
    return t->runs[i].term <= term ? t->runs[i + 1].first - 1 : t->base_index;
}
