/* Whether a history is one of an object store whose every operation takes effect at one moment between
 * its invoke and its return (Herlihy and Wing, "Linearizability", 1990).
 *
 * The search is Wing and Gong's ("Testing and Verifying Concurrent Objects", 1993) with Lowe's memory
 * of the pairs (set of operations already placed, state) that led nowhere ("Testing for
 * Linearizability", 2017). Keys are checked one by one: linearizability is local, so a history is
 * linearizable exactly when each key's is.
 *
 * An OPEN operation returns never: it may be placed anywhere after its invoke, or nowhere.
 *
 * A page of a listing counts as one read of each key in its range, each at a moment of its own within
 * the page's interval. That is weaker than what the product promises (a page is one snapshot): a page
 * that shows one key as it was before a write and another as it was after a later one is not found,
 * when the page's interval spans both. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "tests/check/history.h"

enum linearizable { LINEARIZABLE, NOT_LINEARIZABLE, LINEARIZABLE_GAVE_UP };

enum {
    LINEARIZABLE_STEPS = 20000000, /* operations tried, for one key; then it gives up */
    LINEARIZABLE_SEEN = 1 << 22,   /* pairs remembered, 16 bytes each; likewise */
};

struct linearizable_report {
    enum linearizable verdict;
    uint32_t key;           /* the first that is not linearizable or too much work .. */
    size_t n, of;           /* .. n of its `of` operations, which cannot be placed .. */
    struct history_op *ops; /* .. and no read among them can be spared; malloc'd */
    uint64_t steps;         /* operations tried, over all keys */
    size_t checked;         /* operations of all keys, listed ones among them */
};
/* Anything but LINEARIZABLE is a failure: who gave up has shown nothing. */
enum linearizable linearizable_check(const struct history *h, uint64_t steps_max,
                                     struct linearizable_report *report);
void linearizable_report_release(struct linearizable_report *r);
/* A few lines: the key, and the operations by time. */
void linearizable_print(const struct linearizable_report *r, const struct history *h, FILE *to);

/* The operations of one key, ascending by invoke; *steps goes on. */
enum linearizable linearizable_ops(const struct history_op *ops, size_t n, uint64_t steps_max,
                                   uint64_t *steps);
/* Takes from operations that are not linearizable what is not needed for that; the new n. */
size_t linearizable_shorten(struct history_op *ops, size_t n);
