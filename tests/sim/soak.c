#define _POSIX_C_SOURCE 200809L
#include "tests/sim/soak.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "tests/sim/plan.h"

enum { TWICE_EVERY = 25, OPTIONS = 16 * 1024 };

/* A seed that runs in a child, which tells its outcome through a pipe. */
struct child {
    uint64_t seed;
    pid_t pid;
    int pipe;
};

static struct child begin(const struct plan *plan)
{
    int ends[2];
    struct child c = {.seed = plan->seed};
    fflush(stdout);
    if (pipe(ends) != 0)
        exit(1);
    c.pid = fork();
    if (c.pid < 0)
        exit(1);
    if (c.pid == 0) {
        struct outcome outcome;
        scenario_run(plan, &outcome);
        ssize_t n = write(ends[1], &outcome, sizeof outcome); /* fits into the pipe: one piece */
        _exit(n == (ssize_t)sizeof outcome ? 0 : 1);
    }
    close(ends[1]);
    c.pipe = ends[0];
    return c;
}

static struct outcome end(struct child *c)
{
    struct outcome outcome = {0};
    int status = 1;
    ssize_t n = read(c->pipe, &outcome, sizeof outcome);
    close(c->pipe);
    waitpid(c->pid, &status, 0);
    if (n != (ssize_t)sizeof outcome || status != 0)
        outcome = (struct outcome){0};
    return outcome;
}

struct outcome plan_run(const struct plan *plan)
{
    struct child c = begin(plan);
    return end(&c);
}

static void add(struct outcome *sum, const struct outcome *o)
{
    sum->crashes += o->crashes;
    sum->puts += o->puts;
    sum->gets += o->gets;
    sum->deletes += o->deletes;
    sum->lists += o->lists;
    sum->copies += o->copies;
    sum->uploads += o->uploads;
    sum->refused += o->refused;
    for (int i = 0; i < FAULT_KINDS; i++)
        sum->faults[i] += o->faults[i];
    for (int i = 0; i < RARE_KINDS; i++)
        sum->rare[i] += o->rare[i];
    sum->virtual_ns += o->virtual_ns;
    sum->hash = o->hash;
}

static struct plan plan_of(const struct soak *s, uint64_t seed)
{
    struct plan p = *s->plan;
    p.seed = seed;
    return p;
}

static void count(struct soak *s, uint64_t seed, const struct outcome *o)
{
    static char options[OPTIONS];
    add(&s->all, o);
    if (o->passed) {
        s->passed++;
        return;
    }
    struct plan p = plan_of(s, seed);
    plan_write(&p, options, sizeof options);
    s->failed++;
    fprintf(stderr,
            "seed %llu failed: %s\n    %s\n    replay: %s %s --trace    least: %s %s --shrink\n",
            (unsigned long long)seed, o->problem[0] ? o->problem : "its process died", o->shape,
            s->program, options, s->program, options);
}

/* The same seed is the same run: every TWICE_EVERY-th seed is run again and compared. */
static void run_again(struct soak *s, uint64_t seed, uint64_t hash)
{
    struct plan p = plan_of(s, seed);
    struct outcome o = plan_run(&p);
    if (o.hash == hash)
        return;
    fprintf(stderr, "seed %llu ran differently the second time: %016llx, then %016llx\n",
            (unsigned long long)seed, (unsigned long long)hash, (unsigned long long)o.hash);
    s->failed++;
}

/* On a terminal only. */
static void show_progress(const struct soak *s, size_t done, size_t n, const struct timespec *from)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    double took = (double)(now.tv_sec - from->tv_sec) + (double)(now.tv_nsec - from->tv_nsec) / 1e9;
    fprintf(stderr, "\r%zu of %zu seeds, %llu failed, %.1f a second, %.0f s to go   %s", done, n,
            (unsigned long long)s->failed, (double)done / took,
            took / (double)done * (double)(n - done), done == n ? "\n" : "");
}

void soak_run(struct soak *s, const uint64_t *seeds, size_t n)
{
    struct child running[SOAK_JOBS_MAX];
    struct timespec from;
    bool show = n > 1 && !s->plan->trace && isatty(STDERR_FILENO);
    size_t begun = 0;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (size_t i = 0; i < n; i++) {
        for (; begun < n && begun < i + s->jobs; begun++) {
            struct plan p = plan_of(s, seeds[begun]);
            running[begun % s->jobs] = begin(&p);
        }
        struct child *c = &running[i % s->jobs];
        struct outcome o = end(c);
        count(s, c->seed, &o);
        if (o.passed && n > 1 && c->seed % TWICE_EVERY == 0)
            run_again(s, c->seed, o.hash);
        if (show)
            show_progress(s, i + 1, n, &from);
    }
}

void soak_print(const struct soak *s, size_t seeds, double seconds)
{
    const struct outcome *all = &s->all;
    uint64_t faults = 0;
    if (seeds == 1)
        printf("hash %016llx\n", (unsigned long long)all->hash);
    printf("%.1f seeds/s, %.2f virtual hours, %llu crashes\n", (double)seeds / seconds,
           (double)all->virtual_ns / 3.6e12, (unsigned long long)all->crashes);
    printf(
        "%llu puts, %llu gets, %llu deletes, %llu lists, %llu copies, %llu uploads, %llu refused\n",
        (unsigned long long)all->puts, (unsigned long long)all->gets,
        (unsigned long long)all->deletes, (unsigned long long)all->lists,
        (unsigned long long)all->copies, (unsigned long long)all->uploads,
        (unsigned long long)all->refused);
    for (int i = 0; i < FAULT_KINDS; i++)
        faults += all->faults[i];
    printf("%llu faults:", (unsigned long long)faults);
    for (int i = 0; i < FAULT_KINDS; i++)
        printf("%s %llu %s", i ? "," : "", (unsigned long long)all->faults[i],
               fault_name((enum fault)i));
    printf("\nrare branches:");
    for (int i = 0; i < RARE_KINDS; i++)
        printf("%s %llu %s", i ? "," : "", (unsigned long long)all->rare[i],
               rare_name((enum rare)i));
    printf("\n%llu passed, %llu failed\n", (unsigned long long)s->passed,
           (unsigned long long)s->failed);
}
