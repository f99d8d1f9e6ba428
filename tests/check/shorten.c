/* From a key's history that is not linearizable to a short one that a person can follow.
 *
 *  1. The shortest beginning that is not linearizable: up to the return of some operation; what has
 *     not returned by then counts as open. (Every beginning of a linearizable history is one.)
 *  2. Without each read and each refused condition that can be spared: they change nothing.
 *  3. Without each value that can be spared: what writes it together with what saw it. Only once no
 *     refused condition is left, which might have been refused because of it. */
#include <inttypes.h>
#include "tests/check/linearizable.h"
#include "tests/check/memory.h"

enum { SHORTEN_STEPS = 300000, LINES_MAX = 60 };

static bool still_bad(const struct history_op *ops, size_t n)
{
    uint64_t steps = 0;
    return linearizable_ops(ops, n, SHORTEN_STEPS, &steps) == NOT_LINEARIZABLE;
}

/* What was known at time t. */
static size_t beginning(const struct history_op *ops, size_t n, int64_t t, struct history_op *out)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (ops[i].invoke > t || (ops[i].done > t && ops[i].kind == HISTORY_GET))
            continue;
        out[kept] = ops[i];
        if (out[kept].done > t) {
            out[kept].outcome = HISTORY_OPEN;
            out[kept].done = HISTORY_NEVER;
        }
        kept++;
    }
    return kept;
}

static int by_time(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static size_t shortest_beginning(struct history_op *ops, size_t n)
{
    int64_t *times = check_alloc(n * sizeof *times);
    struct history_op *work = check_alloc(n * sizeof *work);
    size_t count = 0, low = 0;
    for (size_t i = 0; i < n; i++)
        if (ops[i].done != HISTORY_NEVER)
            times[count++] = ops[i].done;
    qsort(times, count, sizeof *times, by_time);
    for (size_t high = count - 1; low < high;) {
        size_t middle = low + (high - low) / 2;
        size_t kept = beginning(ops, n, times[middle], work);
        if (still_bad(work, kept))
            high = middle;
        else
            low = middle + 1;
    }
    size_t kept = beginning(ops, n, times[low], work);
    if (still_bad(work, kept)) {
        memcpy(ops, work, kept * sizeof *ops);
        n = kept;
    }
    free(times);
    free(work);
    return n;
}

static bool changes_nothing(const struct history_op *op)
{
    return op->kind == HISTORY_GET || op->outcome == HISTORY_REFUSED;
}

static bool concerns(const struct history_op *op, uint64_t value)
{
    return (op->kind != HISTORY_DELETE && op->value == value) ||
           (op->condition == HISTORY_IF_MATCH && op->expected == value);
}

/* Tries without the operations for which pick says so; the new n. */
static size_t spare(struct history_op *ops, size_t n, struct history_op *work, uint64_t value,
                    size_t only)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (only < n ? i != only : !concerns(&ops[i], value))
            work[kept++] = ops[i];
    if (kept == n || !still_bad(work, kept))
        return n;
    memcpy(ops, work, kept * sizeof *ops);
    return kept;
}

size_t linearizable_shorten(struct history_op *ops, size_t n)
{
    n = shortest_beginning(ops, n);
    struct history_op *work = check_alloc(n * sizeof *work);
    bool refused = false;
    for (size_t i = n; i-- > 0;)
        if (i < n && changes_nothing(&ops[i]))
            n = spare(ops, n, work, 0, i);
    for (size_t i = 0; i < n; i++)
        refused |= ops[i].outcome == HISTORY_REFUSED;
    for (size_t i = n; !refused && i-- > 0;)
        if (i < n && ops[i].kind == HISTORY_PUT && ops[i].value != HISTORY_ANYTHING)
            n = spare(ops, n, work, ops[i].value, n);
    free(work);
    return n;
}

/* ---- in words ---- */

static void print_value(uint64_t value, FILE *to)
{
    if (value == HISTORY_NOTHING)
        fprintf(to, "nothing");
    else if (value == HISTORY_ANYTHING)
        fprintf(to, "some object");
    else
        fprintf(to, "%016" PRIx64, value);
}

static void print_op(const struct history_op *op, int64_t from, FILE *to)
{
    fprintf(to, "    %10.6f .. ", (double)(op->invoke - from) / 1e9);
    if (op->done == HISTORY_NEVER)
        fprintf(to, "       ?  ");
    else
        fprintf(to, "%10.6f", (double)(op->done - from) / 1e9);
    fprintf(to, "  client %-3u %s", op->client,
            op->listed                ? "lists"
            : op->kind == HISTORY_GET ? "gets"
            : op->kind == HISTORY_PUT ? "puts"
                                      : "deletes");
    if (op->kind != HISTORY_DELETE) {
        fprintf(to, " ");
        print_value(op->value, to);
    }
    if (op->condition == HISTORY_IF_ABSENT)
        fprintf(to, " if absent");
    if (op->condition == HISTORY_IF_MATCH) {
        fprintf(to, " if it is ");
        print_value(op->expected, to);
    }
    fprintf(to, "%s\n",
            op->outcome == HISTORY_OPEN      ? ": not known"
            : op->outcome == HISTORY_REFUSED ? ": refused"
                                             : "");
}

void linearizable_print(const struct linearizable_report *r, const struct history *h, FILE *to)
{
    if (r->verdict == LINEARIZABLE) {
        fprintf(to, "linearizable: %zu operations on %zu keys, %" PRIu64 " steps\n", r->checked,
                history_keys(h), r->steps);
        return;
    }
    fprintf(to, "%s: %s%zu of its %zu operations%s\n", history_name(h, r->key),
            r->verdict == NOT_LINEARIZABLE ? "not linearizable; " : "gave up; ", r->n, r->of,
            r->verdict == NOT_LINEARIZABLE ? " cannot be put in any order:" : ":");
    for (size_t i = 0; i < r->n && i < LINES_MAX; i++)
        print_op(&r->ops[i], r->ops[0].invoke, to);
    if (r->n > LINES_MAX)
        fprintf(to, "    .. and %zu more\n", r->n - LINES_MAX);
}
