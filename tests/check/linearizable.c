/* The search. Definite operations (DONE, REFUSED) have to be placed, all of them; open ones may be.
 *
 * What makes it short enough
 *  - Definite operations are tried before open ones.
 *  - An open operation is placed only when it changes the state, and then only right before an
 *    operation that looks at the state (a read, a condition) and is content with it: before a blind
 *    write it would not be noticed, and may as well be placed later or never.
 *  - Of open operations that are alike only the earliest that is not placed yet is tried.
 *  - The memory holds 128-bit fingerprints of (placed, state), made by adding up random words of the
 *    operations; two that differ are taken for equal once in 2^128 / pairs^2. */
#include "tests/check/linearizable.h"
#include "common/base/digest.h"
#include "tests/check/memory.h"

struct fingerprint {
    uint64_t a, b;
};
struct node {
    const struct history_op *op;
    struct fingerprint word;
    bool open, placed;
};
/* An operation that was placed, and where the search stood before. */
struct frame {
    struct node *node;
    size_t cursor; /* where to go on looking when this one is taken back */
    uint64_t state;
    bool after_open;
};
struct search {
    struct node *nodes;        /* definite ones by invoke, then open ones by invoke */
    size_t n, definite, first; /* first: the first definite one that is not placed */
    size_t left;               /* definite ones that are not placed */
    struct frame *frames;
    size_t depth;
    uint64_t state;
    bool after_open; /* the last one placed was open */
    struct fingerprint placed;
    struct fingerprint *seen;
    size_t seen_n, seen_size;
    uint64_t steps, steps_max;
    bool gave_up;
};

/* ---- the object ---- */

/* Whether the condition may hold in this state, or fail in it. With HISTORY_ANYTHING either may be. */
static bool may_hold(const struct history_op *op, uint64_t state)
{
    if (op->condition == HISTORY_IF_ABSENT)
        return state == HISTORY_NOTHING;
    if (op->condition == HISTORY_IF_MATCH)
        return state != HISTORY_NOTHING && (op->expected == HISTORY_ANYTHING ||
                                            state == HISTORY_ANYTHING || state == op->expected);
    return true;
}

static bool may_fail(const struct history_op *op, uint64_t state)
{
    if (op->condition == HISTORY_IF_ABSENT)
        return state != HISTORY_NOTHING;
    return op->condition == HISTORY_IF_MATCH &&
           (state == HISTORY_NOTHING ||
            (op->expected != HISTORY_ANYTHING && state != op->expected));
}

/* The state behind the operation; false when its outcome is impossible here. */
static bool place(const struct history_op *op, uint64_t state, uint64_t *next)
{
    *next = state;
    if (op->kind == HISTORY_GET) {
        if (op->value == HISTORY_ANYTHING || state == HISTORY_ANYTHING) {
            if (op->value != HISTORY_ANYTHING)
                *next = op->value; /* now it is known what was there */
            return state != HISTORY_NOTHING && op->value != HISTORY_NOTHING;
        }
        return state == op->value;
    }
    if (op->outcome == HISTORY_REFUSED)
        return may_fail(op, state);
    *next = op->kind == HISTORY_DELETE ? HISTORY_NOTHING : op->value;
    return may_hold(op, state);
}

static bool blind(const struct history_op *op)
{
    return op->kind != HISTORY_GET && op->condition == HISTORY_ALWAYS;
}

/* ---- the memory ---- */

static uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    x ^= x >> 27;
    x *= UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static void seen_put(struct fingerprint *table, size_t size, struct fingerprint f)
{
    size_t i = f.a & (size - 1);
    while (table[i].a | table[i].b)
        i = (i + 1) & (size - 1);
    table[i] = f;
}

/* False: this pair has been tried. */
static bool seen_add(struct search *s)
{
    struct fingerprint f = {s->placed.a + mix(s->state + 1) + s->after_open,
                            s->placed.b + mix(s->state ^ UINT64_C(0x9e3779b97f4a7c15))};
    f.b |= 1; /* not all zero */
    size_t i = f.a & (s->seen_size - 1);
    for (; s->seen[i].a | s->seen[i].b; i = (i + 1) & (s->seen_size - 1))
        if (s->seen[i].a == f.a && s->seen[i].b == f.b)
            return false;
    if (2 * s->seen_n >= s->seen_size) {
        if (s->seen_n >= LINEARIZABLE_SEEN) {
            s->gave_up = true;
            return true;
        }
        struct fingerprint *larger = check_alloc(2 * s->seen_size * sizeof *larger);
        for (size_t k = 0; k < s->seen_size; k++)
            if (s->seen[k].a | s->seen[k].b)
                seen_put(larger, 2 * s->seen_size, s->seen[k]);
        free(s->seen);
        s->seen = larger;
        s->seen_size *= 2;
    }
    seen_put(s->seen, s->seen_size, f);
    s->seen_n++;
    return true;
}

/* ---- the search ---- */

static bool alike(const struct history_op *a, const struct history_op *b)
{
    return a->kind == b->kind && a->condition == b->condition && a->value == b->value &&
           a->expected == b->expected;
}

static bool earlier_alike(const struct search *s, size_t at)
{
    for (size_t i = s->definite; i < at; i++)
        if (!s->nodes[i].placed && alike(s->nodes[i].op, s->nodes[at].op))
            return true;
    return false;
}

/* The earliest return of the definite operations that are not placed: what is invoked after it comes
 * later. They are sorted by invoke, so that those invoked after it need not be looked at. */
static int64_t horizon(const struct search *s)
{
    int64_t least = INT64_MAX;
    for (size_t i = s->first; i < s->definite && s->nodes[i].op->invoke <= least; i++)
        if (!s->nodes[i].placed && s->nodes[i].op->done < least)
            least = s->nodes[i].op->done;
    return least;
}

/* Whether something that may come next looks at this state and finds what it needs. */
static bool wanted(const struct search *s, size_t by, uint64_t state, int64_t until)
{
    uint64_t next;
    for (size_t i = s->first; i < s->definite && s->nodes[i].op->invoke <= until; i++)
        if (!s->nodes[i].placed && !blind(s->nodes[i].op) && place(s->nodes[i].op, state, &next))
            return true;
    for (size_t i = s->definite; i < s->n && s->nodes[i].op->invoke <= until; i++)
        if (i != by && !s->nodes[i].placed && !blind(s->nodes[i].op) &&
            place(s->nodes[i].op, state, &next) && next != state)
            return true;
    return false;
}

static bool try_node(struct search *s, size_t at, int64_t until)
{
    struct node *node = &s->nodes[at];
    uint64_t next;
    s->steps++;
    if (s->after_open && blind(node->op))
        return false;
    if (!place(node->op, s->state, &next) || (node->open && next == s->state))
        return false;
    if (node->open && (!wanted(s, at, next, until) || earlier_alike(s, at)))
        return false;
    struct frame undo = {
        .node = node, .cursor = at, .state = s->state, .after_open = s->after_open};
    s->placed.a += node->word.a;
    s->placed.b += node->word.b;
    s->state = next;
    s->after_open = node->open;
    if (!seen_add(s)) {
        s->placed.a -= node->word.a;
        s->placed.b -= node->word.b;
        s->state = undo.state;
        s->after_open = undo.after_open;
        return false;
    }
    node->placed = true;
    s->left -= !node->open;
    s->frames[s->depth++] = undo;
    while (s->first < s->definite && s->nodes[s->first].placed)
        s->first++;
    return true;
}

/* Places one more, looking from cursor on. */
static bool advance(struct search *s, size_t cursor)
{
    int64_t until = horizon(s);
    size_t i = cursor > s->first ? cursor : s->first;
    for (; i < s->n; i++) {
        if (s->nodes[i].op->invoke > until) {
            if (s->nodes[i].open)
                return false;
            i = s->definite - 1; /* on to the open ones */
            continue;
        }
        if (!s->nodes[i].placed && try_node(s, i, until))
            return true;
    }
    return false;
}

static size_t take_back(struct search *s)
{
    struct frame *f = &s->frames[--s->depth];
    f->node->placed = false;
    s->left += !f->node->open;
    s->placed.a -= f->node->word.a;
    s->placed.b -= f->node->word.b;
    s->state = f->state;
    s->after_open = f->after_open;
    if (!f->node->open && f->cursor < s->first)
        s->first = f->cursor;
    return f->cursor + 1;
}

static enum linearizable run(struct search *s)
{
    size_t cursor = 0;
    while (s->left) {
        if (s->steps >= s->steps_max || s->gave_up)
            return LINEARIZABLE_GAVE_UP;
        if (advance(s, cursor))
            cursor = 0;
        else if (s->depth == 0)
            return NOT_LINEARIZABLE;
        else
            cursor = take_back(s);
    }
    return LINEARIZABLE;
}

enum linearizable linearizable_ops(const struct history_op *ops, size_t n, uint64_t steps_max,
                                   uint64_t *steps)
{
    struct search s = {.n = 0, .steps_max = steps_max, .seen_size = 1024};
    s.nodes = check_alloc((n + 1) * sizeof *s.nodes);
    s.frames = check_alloc((n + 1) * sizeof *s.frames);
    s.seen = check_alloc(s.seen_size * sizeof *s.seen);
    for (int open = 0; open < 2; open++)
        for (size_t i = 0; i < n; i++)
            if ((ops[i].outcome == HISTORY_OPEN) == open)
                s.nodes[s.n++] = (struct node){.op = &ops[i],
                                               .open = open,
                                               .word = {mix(2 * i + 1), mix(~(uint64_t)i)}},
                s.definite += !open;
    s.left = s.definite;
    enum linearizable verdict = run(&s);
    *steps += s.steps;
    free(s.nodes);
    free(s.frames);
    free(s.seen);
    return verdict;
}

enum linearizable linearizable_check(const struct history *h, uint64_t steps_max,
                                     struct linearizable_report *report)
{
    *report = (struct linearizable_report){.verdict = LINEARIZABLE};
    for (uint32_t key = 0; key < history_keys(h); key++) {
        size_t n;
        struct history_op *ops = history_of_key(h, key, &n);
        enum linearizable verdict =
            n ? linearizable_ops(ops, n, steps_max, &report->steps) : LINEARIZABLE;
        report->checked += n;
        if (verdict != LINEARIZABLE) {
            report->verdict = verdict;
            report->key = key;
            report->ops = ops;
            report->of = n;
            report->n = verdict == NOT_LINEARIZABLE ? linearizable_shorten(ops, n) : n;
            return verdict;
        }
        free(ops);
    }
    return LINEARIZABLE;
}

void linearizable_report_release(struct linearizable_report *r)
{
    free(r->ops);
}
