/* The term of every index of a log, as runs: a log has few terms, so this stays small when the
 * entries themselves are long out of memory. Pure. */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct term_run {
    uint64_t first; /* index */
    uint64_t term;
};
struct term_runs {
    uint64_t base_index, base_term; /* the entry before the first; 0, 0 for a whole log */
    uint64_t last_index;            /* base_index when empty */
    struct term_run *runs;
    size_t n, capacity;
};

void term_runs_init(struct term_runs *t);
void term_runs_release(struct term_runs *t);
void term_runs_copy(struct term_runs *to, const struct term_runs *from); /* to is initialised */
/* The next index has this term, which is not below the last one's. */
void term_runs_append(struct term_runs *t, uint64_t term);
/* Drops from index on; index > base_index. */
void term_runs_truncate(struct term_runs *t, uint64_t index);
/* Forgets all up to and including index, which becomes the base. */
void term_runs_compact(struct term_runs *t, uint64_t index);
/* Empty, behind this base. */
void term_runs_reset(struct term_runs *t, uint64_t base_index, uint64_t base_term);
/* 0 when the index lies outside of base_index .. last_index. */
uint64_t term_runs_at(const struct term_runs *t, uint64_t index);
uint64_t term_runs_last_term(const struct term_runs *t);
/* The largest index <= index whose term is <= term; base_index at the least. */
uint64_t term_runs_find(const struct term_runs *t, uint64_t index, uint64_t term);
