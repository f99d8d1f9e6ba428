/* Shrinking: from a seed that fails to the least of it that still fails, by leaving out. First whole
 * kinds of faults, then strikes (halves, quarters, .. single ones: Zeller, Hildebrandt: Simplifying and
 * isolating failure-inducing input, TSE 2002), then operations and clients. Leaving something out changes
 * what comes after it, so each step is a new run, and what is found is small, not the smallest. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "tests/sim/plan.h"

enum { RUNS_MAX = 400, TEXT = 32 * 1024 };

struct shrink {
    struct plan best;
    struct outcome outcome; /* of the best */
    unsigned runs;
    bool show;
};

static unsigned count_strikes(const struct plan *p)
{
    unsigned n = 0;
    for (size_t i = 0; i < STRIKE_WORDS; i++)
        n += (unsigned)__builtin_popcountll(p->strikes[i]);
    return n;
}

/* Whether two failures are of one sort: the words up to the first colon, without numbers. */
static bool alike(const char *a, const char *b)
{
    for (;; a++, b++) {
        a += strspn(a, "0123456789");
        b += strspn(b, "0123456789");
        if (*a != *b)
            return false;
        if (*a == 0 || *a == ':')
            return true;
    }
}

/* Takes the plan when it fails as the first did: of its strikes only those that were made. */
static bool try(struct shrink *s, const struct plan *plan)
{
    if (s->runs++ >= RUNS_MAX)
        return false;
    struct outcome o = plan_run(plan);
    if (s->show)
        fprintf(stderr, "\r%u runs, %u strikes, %u clients of %u operations ", s->runs,
                count_strikes(&s->best), s->best.clients, s->best.operations);
    if (o.passed || (s->runs > 1 && !alike(o.problem, s->outcome.problem)))
        return false;
    s->best = *plan;
    if (o.clients) /* else its process died, and told nothing */
        for (size_t i = 0; i < STRIKE_WORDS; i++)
            s->best.strikes[i] &= o.struck[i];
    s->outcome = o;
    return true;
}

static void leave_out_kinds(struct shrink *s)
{
    for (int kind = 0; kind < FAULT_KINDS; kind++) {
        struct plan p = s->best;
        p.kinds &= ~(UINT64_C(1) << kind);
        if (p.kinds != s->best.kinds)
            (void)try(s, &p);
    }
}

/* Without the strikes first .. first + n of those that are left. */
static struct plan without(const struct plan *plan, unsigned first, unsigned n)
{
    struct plan p = *plan;
    unsigned at = 0;
    for (unsigned i = 0; i < STRIKES_MAX; i++)
        if (p.strikes[i / 64] >> i % 64 & 1) {
            if (at >= first && at < first + n)
                p.strikes[i / 64] &= ~(UINT64_C(1) << i % 64);
            at++;
        }
    return p;
}

static void leave_out_strikes(struct shrink *s)
{
    unsigned step = (count_strikes(&s->best) + 1) / 2;
    while (step > 0 && s->runs < RUNS_MAX) {
        bool less = false;
        for (unsigned at = 0; at < count_strikes(&s->best) && s->runs < RUNS_MAX;) {
            struct plan p = without(&s->best, at, step);
            if (try(s, &p))
                less = true;
            else
                at += step;
        }
        step = step > 1 ? step / 2 : less ? 1 : 0;
    }
}

static void leave_out_work(struct shrink *s)
{
    while (s->best.clients > 1) {
        struct plan p = s->best;
        p.clients--;
        if (!try(s, &p))
            break;
    }
    for (uint32_t step = s->best.operations / 2; step > 0;) {
        struct plan p = s->best;
        p.operations -= step;
        if (step >= s->best.operations || !try(s, &p))
            step /= 2;
    }
}

int plan_shrink(struct plan *plan, const char *program)
{
    static char text[TEXT];
    struct shrink s = {.best = *plan, .show = isatty(STDERR_FILENO)};
    if (!try(&s, plan)) {
        printf("seed %llu passes\n", (unsigned long long)plan->seed);
        return 1;
    }
    if (s.outcome.clients) {
        s.best.kinds &= s.outcome.on;
        s.best.clients = s.outcome.clients;
        s.best.operations = s.outcome.operations;
        leave_out_kinds(&s);
        leave_out_strikes(&s);
        leave_out_work(&s);
        leave_out_strikes(&s);
    }
    plan_write(&s.best, text, sizeof text);
    printf("%s%u runs; %u strikes are enough:", s.show ? "\n" : "", s.runs, count_strikes(&s.best));
    for (int i = 0; i < FAULT_KINDS; i++)
        if (s.outcome.faults[i])
            printf(" %llu %s;", (unsigned long long)s.outcome.faults[i], fault_name((enum fault)i));
    printf("\n%s\n%s\n    replay: %s %s --trace\n", s.outcome.shape,
           s.outcome.problem[0] ? s.outcome.problem : "its process died", program, text);
    return 0;
}
