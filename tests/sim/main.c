/* The simulator: whole clusters, one for each seed.
 *
 *   sim [--seed N | --today] [--seeds COUNT] [--known FILE] [--jobs N] [--trace] [--shrink]
 *       [--kinds BITS] [--strikes LIST] [--clients N] [--operations N]
 *
 * --today begins at a seed of the date; --known runs those of a file first; --trace shows the log of a
 * seed; --shrink looks for the least of a failing seed that still fails. The second line leaves out
 * some of a seed, as shrinking does. Closes with 'N passed, N failed'. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "tests/sim/plan.h"
#include "tests/sim/soak.h"

enum { SEEDS_MAX = 200000 };

struct options {
    struct plan plan;
    uint64_t seeds, jobs;
    const char *known;
    bool shrink;
};

/* Seeds that failed once: "number why", one a line; # begins a comment. */
static size_t read_seeds(const char *path, uint64_t *out, size_t room)
{
    char line[256];
    size_t n = 0;
    FILE *f = fopen(path, "r");
    if (!f) {
        fprintf(stderr, "sim: %s cannot be read\n", path);
        exit(2);
    }
    while (n < room && fgets(line, sizeof line, f)) {
        char *rest;
        uint64_t seed = strtoull(line, &rest, 10);
        if (rest != line)
            out[n++] = seed;
    }
    fclose(f);
    return n;
}

static bool read_value(struct options *o, const char *word, const char *value)
{
    char *end;
    uint64_t number = strtoull(value, &end, 0);
    if (strcmp(word, "--known") == 0)
        o->known = value;
    else if (strcmp(word, "--strikes") == 0)
        return plan_read_strikes(&o->plan, value);
    else if (*end || end == value)
        return false;
    else if (strcmp(word, "--seed") == 0)
        o->plan.seed = number;
    else if (strcmp(word, "--seeds") == 0)
        o->seeds = number;
    else if (strcmp(word, "--jobs") == 0)
        o->jobs = number;
    else if (strcmp(word, "--kinds") == 0)
        o->plan.kinds = number;
    else if (strcmp(word, "--clients") == 0)
        o->plan.clients = (uint32_t)number;
    else if (strcmp(word, "--operations") == 0)
        o->plan.operations = (uint32_t)number;
    else
        return false;
    return true;
}

static bool read_options(struct options *o, int argc, char **argv)
{
    plan_whole(&o->plan, 1);
    o->seeds = o->jobs = 1;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--today") == 0)
            o->plan.seed = (uint64_t)time(NULL) / 86400 * 1000;
        else if (strcmp(argv[i], "--trace") == 0)
            o->plan.trace = true;
        else if (strcmp(argv[i], "--shrink") == 0)
            o->shrink = true;
        else if (i + 1 == argc || !read_value(o, argv[i], argv[i + 1]))
            return false;
        else
            i++;
    }
    return o->jobs > 0 && o->jobs <= SOAK_JOBS_MAX && o->seeds <= SEEDS_MAX / 2;
}

int main(int argc, char **argv)
{
    static struct options o;
    static uint64_t list[SEEDS_MAX];
    struct timespec from, to;
    if (!read_options(&o, argc, argv)) {
        fprintf(stderr,
                "usage: sim [--seed N | --today] [--seeds COUNT] [--known FILE] [--jobs 1..%d] "
                "[--trace] [--shrink]\n"
                "           [--kinds BITS] [--strikes LIST] [--clients N] [--operations N]\n",
                SOAK_JOBS_MAX);
        return 2;
    }
    if (o.shrink)
        return plan_shrink(&o.plan, argv[0]);
    size_t n = o.known ? read_seeds(o.known, list, SEEDS_MAX / 2) : 0;
    if (o.seeds > 1)
        printf("%zu known seeds, then %llu from %llu\n", n, (unsigned long long)o.seeds,
               (unsigned long long)o.plan.seed);
    for (uint64_t i = 0; i < o.seeds; i++)
        list[n++] = o.plan.seed + i;
    struct soak soak = {.program = argv[0], .plan = &o.plan, .jobs = o.jobs};
    clock_gettime(CLOCK_MONOTONIC, &from);
    soak_run(&soak, list, n);
    clock_gettime(CLOCK_MONOTONIC, &to);
    soak_print(&soak, n,
               (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9);
    return soak.failed == 0 ? 0 : 1;
}
