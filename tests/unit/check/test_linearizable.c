/* The checker of histories: known cases by name, a slow oracle that tries every order, histories of a
 * correct register, and the same with one lie in each. */
#include <stdio.h>
#include <stdlib.h>
#include "tests/check/linearizable.h"
#include "tests/unit/suite.h"

/* A history of one key, written down as: by whom, when, what. */
struct sketch {
    struct history *h;
    uint32_t key;
};
static struct sketch begin(void)
{
    struct sketch s = {.h = history_new()};
    s.key = history_key(s.h, "key");
    return s;
}

static void add(struct sketch *s, int64_t from, int64_t to, enum history_kind kind, uint64_t value)
{
    history_add(s->h,
                &(struct history_op){.invoke = from,
                                     .done = to,
                                     .kind = (uint8_t)kind,
                                     .value = value,
                                     .key = s->key,
                                     .outcome = to == HISTORY_NEVER ? HISTORY_OPEN : HISTORY_DONE});
}

static void add_if(struct sketch *s, int64_t from, int64_t to, enum history_kind kind,
                   enum history_condition condition, uint64_t expected, uint64_t value,
                   enum history_outcome outcome)
{
    history_add(s->h, &(struct history_op){.invoke = from,
                                           .done = to,
                                           .kind = (uint8_t)kind,
                                           .condition = (uint8_t)condition,
                                           .expected = expected,
                                           .value = value,
                                           .key = s->key,
                                           .outcome = (uint8_t)outcome});
}

/* Ends the sketch; needed: how many operations the explanation may have, 0: it is linearizable. */
static void expect(struct sketch *s, size_t needed)
{
    struct linearizable_report r;
    enum linearizable verdict = linearizable_check(s->h, LINEARIZABLE_STEPS, &r);
    CHECK_EQ(verdict, needed ? NOT_LINEARIZABLE : LINEARIZABLE);
    if (needed)
        CHECK_EQ(r.n, needed);
    linearizable_report_release(&r);
    history_free(s->h);
}

static void in_order(void)
{
    struct sketch s = begin();
    add(&s, 0, 1, HISTORY_GET, HISTORY_NOTHING);
    add(&s, 2, 3, HISTORY_PUT, 7);
    add(&s, 4, 5, HISTORY_GET, 7);
    add(&s, 6, 7, HISTORY_DELETE, 0);
    add(&s, 8, 9, HISTORY_GET, HISTORY_NOTHING);
    expect(&s, 0);
}

static void concurrent_reads_of_two_values(void)
{
    struct sketch s = begin();
    add(&s, 0, 100, HISTORY_PUT, 7);
    add(&s, 0, 100, HISTORY_PUT, 8);
    add(&s, 10, 20, HISTORY_GET, 8);
    add(&s, 30, 40, HISTORY_GET, 7);
    expect(&s, 0);
    s = begin(); /* but not back again: each is written once */
    add(&s, 0, 100, HISTORY_PUT, 7);
    add(&s, 0, 100, HISTORY_PUT, 8);
    add(&s, 10, 20, HISTORY_GET, 8);
    add(&s, 30, 40, HISTORY_GET, 7);
    add(&s, 50, 60, HISTORY_GET, 8);
    expect(&s, 5);
}

static void stale_read(void)
{
    struct sketch s = begin();
    add(&s, 0, 1, HISTORY_PUT, 7);
    add(&s, 2, 3, HISTORY_GET, 7);
    add(&s, 4, 5, HISTORY_PUT, 8);
    add(&s, 6, 7, HISTORY_GET, 7);
    add(&s, 8, 9, HISTORY_GET, 8);
    expect(&s, 3);
}

static void lost_update(void)
{
    struct sketch s = begin(); /* both were told that they had replaced 7 */
    add(&s, 0, 1, HISTORY_PUT, 7);
    add_if(&s, 2, 10, HISTORY_PUT, HISTORY_IF_MATCH, 7, 8, HISTORY_DONE);
    add_if(&s, 3, 11, HISTORY_PUT, HISTORY_IF_MATCH, 7, 9, HISTORY_DONE);
    expect(&s, 3);
    s = begin(); /* an acknowledged write that nobody finds */
    add(&s, 0, 1, HISTORY_PUT, 7);
    add(&s, 2, 3, HISTORY_GET, HISTORY_NOTHING);
    expect(&s, 2);
}

static void read_from_the_future(void)
{
    struct sketch s = begin();
    add(&s, 0, 1, HISTORY_GET, 7);
    add(&s, 2, 3, HISTORY_PUT, 7);
    expect(&s, 1);
}

static void write_that_was_refused(void)
{
    struct sketch s = begin(); /* dirty: told 412, and yet it is there */
    add(&s, 0, 1, HISTORY_PUT, 7);
    add_if(&s, 2, 3, HISTORY_PUT, HISTORY_IF_ABSENT, 0, 8, HISTORY_REFUSED);
    add(&s, 4, 5, HISTORY_GET, 8);
    expect(&s, 1);
    s = begin(); /* dropped: 400, and yet it is there */
    size_t put = history_begin(s.h, &(struct history_op){.kind = HISTORY_PUT, .value = 7});
    history_drop(s.h, put);
    add(&s, 4, 5, HISTORY_GET, 7);
    expect(&s, 1);
    s = begin(); /* refused, but nothing was there */
    add_if(&s, 2, 3, HISTORY_PUT, HISTORY_IF_ABSENT, 0, 8, HISTORY_REFUSED);
    expect(&s, 1);
}

static void condition_won_twice(void)
{
    struct sketch s = begin();
    add_if(&s, 0, 10, HISTORY_PUT, HISTORY_IF_ABSENT, 0, 7, HISTORY_DONE);
    add_if(&s, 0, 10, HISTORY_PUT, HISTORY_IF_ABSENT, 0, 8, HISTORY_DONE);
    expect(&s, 2);
    s = begin(); /* with a delete between it may be */
    add_if(&s, 0, 10, HISTORY_PUT, HISTORY_IF_ABSENT, 0, 7, HISTORY_DONE);
    add_if(&s, 0, 10, HISTORY_PUT, HISTORY_IF_ABSENT, 0, 8, HISTORY_DONE);
    add(&s, 5, HISTORY_NEVER, HISTORY_DELETE, 0);
    expect(&s, 0);
}

static void outcome_not_known(void)
{
    struct sketch s = begin(); /* takes effect late, once */
    add(&s, 0, HISTORY_NEVER, HISTORY_PUT, 7);
    add(&s, 1, 2, HISTORY_PUT, 8);
    add(&s, 3, 4, HISTORY_GET, 8);
    add(&s, 5, 6, HISTORY_GET, 7);
    add(&s, 7, 8, HISTORY_DELETE, 0);
    add(&s, 9, 10, HISTORY_GET, HISTORY_NOTHING);
    expect(&s, 0);
    s = begin(); /* and not twice: a retry that ran again */
    add(&s, 0, HISTORY_NEVER, HISTORY_PUT, 7);
    add(&s, 1, 2, HISTORY_GET, 7);
    add(&s, 3, 4, HISTORY_DELETE, 0);
    add(&s, 5, 6, HISTORY_GET, HISTORY_NOTHING);
    add(&s, 7, 8, HISTORY_GET, 7);
    expect(&s, 4);
    s = begin(); /* not before it began */
    add(&s, 0, 1, HISTORY_GET, 7);
    add(&s, 2, HISTORY_NEVER, HISTORY_PUT, 7);
    expect(&s, 1);
}

static void copy_of_what_is_not_known(void)
{
    struct sketch s = begin();
    add(&s, 0, HISTORY_NEVER, HISTORY_PUT, HISTORY_ANYTHING);
    add(&s, 1, 2, HISTORY_GET, 7);
    add(&s, 3, 4, HISTORY_GET, 7);
    expect(&s, 0);
    s = begin();
    add(&s, 0, HISTORY_NEVER, HISTORY_PUT, HISTORY_ANYTHING);
    add(&s, 1, 2, HISTORY_GET, 7);
    add(&s, 3, 4, HISTORY_GET, 8);
    expect(&s, 3);
}

static void listings(void)
{
    for (int lie = 0; lie < 4; lie++) {
        struct history *h = history_new();
        struct linearizable_report r;
        uint32_t a = history_key(h, "p/a"), b = history_key(h, "p/b"), c = history_key(h, "q/c");
        for (uint32_t key = a; key <= c; key++)
            history_add(h, &(struct history_op){.invoke = 0,
                                                .done = 1,
                                                .kind = HISTORY_PUT,
                                                .value = 7 + key,
                                                .key = key,
                                                .outcome = HISTORY_DONE});
        struct history_listed all[] = {{a, 7 + a}, {b, 7 + b}, {c, 7 + c}};
        if (lie == 0) /* the second page begins behind a */
            history_list(h, 0, 2, 3, "p/", "p/a", NULL, all + 1, 1);
        else if (lie == 1) /* b is not there */
            history_list(h, 0, 2, 3, "p/", NULL, NULL, all, 1);
        else if (lie == 2) /* likewise, but the page ended at a */
            history_list(h, 0, 2, 3, "p/", NULL, "p/a", all, 1);
        else { /* b with the ETag of a */
            all[1].value = 7 + a;
            history_list(h, 0, 2, 3, "p/", NULL, NULL, all, 2);
        }
        CHECK_EQ(linearizable_check(h, LINEARIZABLE_STEPS, &r),
                 lie == 1 || lie == 3 ? NOT_LINEARIZABLE : LINEARIZABLE);
        CHECK(r.verdict == LINEARIZABLE || r.key == b);
        linearizable_report_release(&r);
        history_free(h);
    }
}

/* ---- an oracle: every order, and for what is not known every value ---- */

struct oracle {
    const struct history_op *ops;
    size_t n;
    uint32_t placed;
};

static bool holds(const struct history_op *op, uint64_t state)
{
    if (op->condition == HISTORY_IF_ABSENT)
        return state == 0;
    if (op->condition == HISTORY_IF_MATCH)
        return state && (op->expected == HISTORY_ANYTHING || op->expected == state);
    return true;
}

static bool some_order(struct oracle *o, uint64_t state);

static bool goes_on(struct oracle *o, size_t i, uint64_t state)
{
    o->placed |= 1u << i;
    bool good = some_order(o, state);
    o->placed &= ~(1u << i);
    return good;
}

static bool oracle_place(struct oracle *o, size_t i, uint64_t state)
{
    const struct history_op *op = &o->ops[i];
    if (op->kind == HISTORY_GET)
        return (op->value == HISTORY_ANYTHING ? state != 0 : state == op->value) &&
               goes_on(o, i, state);
    if (op->outcome == HISTORY_REFUSED)
        return !holds(op, state) && goes_on(o, i, state);
    if (!holds(op, state))
        return false;
    if (op->kind == HISTORY_DELETE)
        return goes_on(o, i, 0);
    if (op->value != HISTORY_ANYTHING)
        return goes_on(o, i, op->value);
    for (uint64_t value = 1; value <= 4; value++)
        if (goes_on(o, i, value))
            return true;
    return false;
}

static bool some_order(struct oracle *o, uint64_t state)
{
    int64_t until = INT64_MAX;
    bool left = false;
    for (size_t i = 0; i < o->n; i++)
        if (!(o->placed >> i & 1) && o->ops[i].outcome != HISTORY_OPEN) {
            left = true;
            if (o->ops[i].done < until)
                until = o->ops[i].done;
        }
    for (size_t i = 0; left && i < o->n; i++)
        if (!(o->placed >> i & 1) && o->ops[i].invoke <= until && oracle_place(o, i, state))
            return true;
    return !left;
}

static uint64_t roll(uint64_t *x, uint64_t n)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x % n;
}

static int by_invoke(const void *a, const void *b)
{
    const struct history_op *x = a, *y = b;
    return (x->invoke > y->invoke) - (x->invoke < y->invoke);
}

/* Anything at all, most of it impossible. */
static bool any_history(uint64_t *x, struct history_op *ops, size_t n)
{
    bool unknown_values = false;
    for (size_t i = 0; i < n; i++) {
        uint64_t dice = roll(x, 10);
        ops[i] = (struct history_op){.invoke = (int64_t)roll(x, 20), .value = 1 + roll(x, 3)};
        ops[i].done = ops[i].invoke + (int64_t)roll(x, 12);
        ops[i].outcome = HISTORY_DONE;
        ops[i].kind = dice < 4 ? HISTORY_GET : dice < 8 ? HISTORY_PUT : HISTORY_DELETE;
        if (ops[i].kind == HISTORY_GET) {
            ops[i].value = roll(x, 10) ? roll(x, 4) : HISTORY_ANYTHING;
            continue;
        }
        if (roll(x, 20) == 0) {
            ops[i].value = HISTORY_ANYTHING;
            unknown_values |= ops[i].kind == HISTORY_PUT;
        }
        if (roll(x, 3) == 0) {
            ops[i].condition = roll(x, 2) ? HISTORY_IF_ABSENT : HISTORY_IF_MATCH;
            ops[i].expected = roll(x, 5) ? 1 + roll(x, 3) : HISTORY_ANYTHING;
            ops[i].outcome = roll(x, 2) ? HISTORY_DONE : HISTORY_REFUSED;
        }
        if (roll(x, 3) == 0) {
            ops[i].outcome = HISTORY_OPEN;
            ops[i].done = HISTORY_NEVER;
        }
    }
    qsort(ops, n, sizeof *ops, by_invoke);
    return unknown_values;
}

static void against_the_oracle(void)
{
    uint64_t x = suite_seed() | 1, steps = 0;
    size_t linearizable = 0, exact = 0;
    for (int i = 0; i < 40000; i++) {
        struct history_op ops[8];
        size_t n = 1 + roll(&x, 7);
        bool unknown_values = any_history(&x, ops, n);
        struct oracle o = {.ops = ops, .n = n};
        bool good = some_order(&o, HISTORY_NOTHING);
        enum linearizable verdict = linearizable_ops(ops, n, LINEARIZABLE_STEPS, &steps);
        linearizable += good;
        exact += !unknown_values;
        /* A copied value that is not known may be one thing now and another later: never a false
         * alarm, but not exact. */
        if (good)
            CHECK_EQ(verdict, LINEARIZABLE);
        else if (!unknown_values)
            CHECK_EQ(verdict, NOT_LINEARIZABLE);
        if (verdict == NOT_LINEARIZABLE) {
            struct oracle rest = {.ops = ops, .n = linearizable_shorten(ops, n)};
            CHECK(rest.n > 0 && !some_order(&rest, HISTORY_NOTHING));
        }
    }
    CHECK(linearizable > 8000 && linearizable < 32000 && exact > 20000);
}

/* ---- histories of a register, and lies ---- */

/* Clients each with one operation under way; each takes effect at some moment within. */
static size_t true_history(uint64_t *x, struct history_op *ops, size_t n, uint32_t clients)
{
    struct history_op running[8] = {{0}};
    bool busy[8] = {false}, effective[8] = {false};
    uint64_t state = HISTORY_NOTHING, next_value = 1;
    size_t count = 0;
    int64_t now = 0;
    while (count < n) {
        uint32_t c = (uint32_t)roll(x, clients);
        struct history_op *op = &running[c];
        now += 1 + (int64_t)roll(x, 5);
        if (!busy[c]) {
            uint64_t dice = roll(x, 100);
            *op = (struct history_op){.invoke = now, .client = c, .outcome = HISTORY_DONE};
            op->kind = dice < 45 ? HISTORY_GET : dice < 90 ? HISTORY_PUT : HISTORY_DELETE;
            op->value = op->kind == HISTORY_PUT ? next_value++ : 0;
            if (op->kind == HISTORY_PUT && dice < 60)
                op->condition = dice < 52 ? HISTORY_IF_ABSENT : HISTORY_IF_MATCH;
            op->expected = state ? state : 1;
            busy[c] = true;
            effective[c] = false;
        } else if (!effective[c] && roll(x, 12) == 0) {
            /* Nobody hears of it again; it may take effect or not. */
            op->outcome = HISTORY_OPEN;
            op->done = HISTORY_NEVER;
            if (op->kind != HISTORY_GET && roll(x, 2) && holds(op, state))
                state = op->kind == HISTORY_PUT ? op->value : HISTORY_NOTHING;
            if (op->kind != HISTORY_GET)
                ops[count++] = *op;
            busy[c] = false;
        } else if (!effective[c]) {
            effective[c] = true;
            if (op->kind == HISTORY_GET)
                op->value = state;
            else if (!holds(op, state))
                op->outcome = HISTORY_REFUSED;
            else
                state = op->kind == HISTORY_PUT ? op->value : HISTORY_NOTHING;
        } else {
            op->done = now;
            ops[count++] = *op;
            busy[c] = false;
        }
    }
    /* What is still under way. */
    for (uint32_t c = 0; c < clients && count < n + 8; c++)
        if (busy[c] && running[c].kind != HISTORY_GET) {
            running[c].outcome = HISTORY_OPEN;
            running[c].done = HISTORY_NEVER;
            ops[count++] = running[c];
        }
    qsort(ops, count, sizeof *ops, by_invoke);
    return count;
}

static void true_histories_pass(void)
{
    static struct history_op ops[1024];
    uint64_t x = suite_seed() | 1, steps = 0;
    for (int i = 0; i < 400; i++) {
        size_t n = true_history(&x, ops, 20 + roll(&x, 300), 2 + (uint32_t)roll(&x, 6));
        CHECK_EQ(linearizable_ops(ops, n, LINEARIZABLE_STEPS, &steps), LINEARIZABLE);
    }
    printf("  400 histories, %" PRIu64 " steps\n", steps);
}

/* One lie in each: a read of an older value, of nothing, of another's value; a won condition told as
 * lost and a lost one as won; an acknowledged write that never was. Those that could have been so are
 * no fault of the checker's; most cannot. */
static bool lie(uint64_t *x, struct history_op *ops, size_t *n, uint64_t kind)
{
    for (int tries = 0; tries < 200; tries++) {
        size_t i = roll(x, *n), k = roll(x, *n);
        struct history_op *op = &ops[i];
        if (kind == 0 && op->kind == HISTORY_GET && ops[k].kind == HISTORY_PUT &&
            ops[k].done < op->invoke && ops[k].value != op->value) {
            op->value = ops[k].value;
            return true;
        }
        if (kind == 1 && op->kind == HISTORY_GET && op->value) {
            op->value = HISTORY_NOTHING;
            return true;
        }
        if (kind == 2 && op->condition != HISTORY_ALWAYS && op->outcome != HISTORY_OPEN) {
            op->outcome = op->outcome == HISTORY_DONE ? HISTORY_REFUSED : HISTORY_DONE;
            return true;
        }
        if (kind == 3 && op->kind == HISTORY_GET && op->value)
            for (size_t p = 0; p < *n; p++)
                if (ops[p].kind == HISTORY_PUT && ops[p].value == op->value) {
                    memmove(&ops[p], &ops[p + 1], (--*n - p) * sizeof *ops);
                    return true;
                }
    }
    return false;
}

static void lies_are_caught(void)
{
    static const char *const names[] = {"an older value", "nothing", "a condition's outcome",
                                        "a write that never was"};
    static const int least[] = {90, 50, 50, 100}; /* of a hundred */
    static struct history_op ops[1024];
    uint64_t x = suite_seed() | 1, steps = 0;
    for (uint64_t kind = 0; kind < 4; kind++) {
        int caught = 0, told = 0;
        while (told < 300) {
            size_t n = true_history(&x, ops, 40 + roll(&x, 100), 2 + (uint32_t)roll(&x, 3));
            if (!lie(&x, ops, &n, kind))
                continue;
            enum linearizable verdict = linearizable_ops(ops, n, LINEARIZABLE_STEPS, &steps);
            CHECK(verdict != LINEARIZABLE_GAVE_UP);
            caught += verdict == NOT_LINEARIZABLE;
            told++;
        }
        printf("  %s: %d of %d caught\n", names[kind], caught, told);
        CHECK(caught * 100 >= told * least[kind]);
    }
}

static void too_much_work_is_said(void)
{
    struct sketch s = begin();
    struct linearizable_report r;
    for (int i = 0; i < 12; i++)
        add(&s, 0, 100, HISTORY_PUT, 1 + (uint64_t)i);
    add(&s, 200, 201, HISTORY_GET, HISTORY_NOTHING);
    CHECK_EQ(linearizable_check(s.h, 1000, &r), LINEARIZABLE_GAVE_UP);
    linearizable_report_release(&r);
    expect(&s, 2); /* with enough of it: nobody deletes */
}

/* What is in doubt piles up in a long bad hour: hundreds of open writes on one key are no problem. */
static void many_open_writes(void)
{
    struct sketch s = begin();
    uint64_t steps = 0;
    for (uint64_t i = 0; i < 300; i++) {
        add(&s, (int64_t)(10 * i), HISTORY_NEVER, i % 5 ? HISTORY_PUT : HISTORY_DELETE, 1000 + i);
        add(&s, (int64_t)(10 * i) + 1, (int64_t)(10 * i) + 3, HISTORY_PUT, 1 + i);
        add(&s, (int64_t)(10 * i) + 2, (int64_t)(10 * i) + 4, HISTORY_GET,
            i % 7 == 6 && (i - 3) % 5 ? 1000 + i - 3 : 1 + i);
    }
    size_t n;
    struct history_op *ops = history_of_key(s.h, s.key, &n);
    CHECK_EQ(linearizable_ops(ops, n, LINEARIZABLE_STEPS, &steps), LINEARIZABLE);
    free(ops);
    printf("  %" PRIu64 " steps, then", steps);
    add(&s, 5000, 5001, HISTORY_GET, 1); /* long gone */
    ops = history_of_key(s.h, s.key, &n);
    CHECK_EQ(linearizable_ops(ops, n, LINEARIZABLE_STEPS, &steps), NOT_LINEARIZABLE);
    free(ops);
    history_free(s.h);
    printf("  %" PRIu64 " steps\n", steps);
}

static const struct test tests[] = {
    {"in order", in_order},
    {"concurrent reads of two values", concurrent_reads_of_two_values},
    {"stale read", stale_read},
    {"lost update", lost_update},
    {"read from the future", read_from_the_future},
    {"a write that was refused is seen", write_that_was_refused},
    {"a condition won twice", condition_won_twice},
    {"an outcome that is not known", outcome_not_known},
    {"a copy of what is not known", copy_of_what_is_not_known},
    {"listings", listings},
    {"against the oracle", against_the_oracle},
    {"true histories pass", true_histories_pass},
    {"lies are caught", lies_are_caught},
    {"too much work is said", too_much_work_is_said},
    {"many open writes", many_open_writes},
    {0}};
SUITE("linearizable", tests)
