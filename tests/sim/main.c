/* The simulator: whole clusters, one for each seed.
 *
 *   sim [--seed N | --today] [--seeds COUNT] [--known FILE] [--jobs N] [--trace]
 *
 * Each seed is run in a process of its own, so that an assertion ends one seed and not the soak. A
 * failing seed prints the command that replays it. --today begins at a seed of the date; --known runs
 * those of a file first; --trace shows the log of one seed. Closes with 'N passed, N failed'. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "tests/sim/scenario.h"

enum { JOBS_MAX = 16, TWICE_EVERY = 25, SEEDS_MAX = 200000 };

/* A seed that runs in a child, which tells its outcome through a pipe. */
struct child {
    uint64_t seed;
    pid_t pid;
    int pipe;
};

static struct child begin(uint64_t seed, bool trace)
{
    int ends[2];
    struct child c = {.seed = seed};
    if (pipe(ends) != 0)
        exit(1);
    c.pid = fork();
    if (c.pid < 0)
        exit(1);
    if (c.pid == 0) {
        struct outcome outcome;
        scenario_run(seed, trace, &outcome);
        ssize_t n = write(ends[1], &outcome, sizeof outcome);
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
        outcome.passed = false;
    return outcome;
}

struct sum {
    struct outcome all;
    uint64_t passed, failed;
};

static void count(struct sum *sum, const char *program, uint64_t seed, const struct outcome *o)
{
    if (o->passed) {
        sum->passed++;
    } else {
        sum->failed++;
        fprintf(stderr, "seed %llu failed: %s\n    replay: %s --seed %llu --trace\n",
                (unsigned long long)seed, o->problem[0] ? o->problem : "its process died", program,
                (unsigned long long)seed);
    }
    sum->all.crashes += o->crashes;
    sum->all.puts += o->puts;
    sum->all.gets += o->gets;
    sum->all.deletes += o->deletes;
    sum->all.lists += o->lists;
    sum->all.copies += o->copies;
    sum->all.uploads += o->uploads;
    sum->all.refused += o->refused;
    for (int i = 0; i < FAULT_KINDS; i++)
        sum->all.faults[i] += o->faults[i];
    sum->all.virtual_ns += o->virtual_ns;
    sum->all.hash = o->hash;
}

/* The same seed is the same run: every TWICE_EVERY-th seed is run again and compared. */
static void run_again(struct sum *sum, uint64_t seed, uint64_t hash)
{
    struct child again = begin(seed, false);
    struct outcome o = end(&again);
    if (o.hash == hash)
        return;
    fprintf(stderr, "seed %llu ran differently the second time: %016llx, then %016llx\n",
            (unsigned long long)seed, (unsigned long long)hash, (unsigned long long)o.hash);
    sum->failed++;
}

static void run_all(struct sum *sum, const char *program, const uint64_t *seeds, size_t n,
                    uint64_t jobs, bool trace)
{
    struct child running[JOBS_MAX];
    size_t begun = 0;
    for (size_t i = 0; i < n; i++) {
        for (; begun < n && begun < i + jobs; begun++)
            running[begun % jobs] = begin(seeds[begun], trace);
        struct child *c = &running[i % jobs];
        struct outcome o = end(c);
        count(sum, program, c->seed, &o);
        if (o.passed && n > 1 && c->seed % TWICE_EVERY == 0)
            run_again(sum, c->seed, o.hash);
    }
}

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

static void print_sum(const struct sum *sum, size_t seeds, double took)
{
    const struct outcome *all = &sum->all;
    if (seeds == 1)
        printf("hash %016llx\n", (unsigned long long)all->hash);
    printf("%.1f seeds/s, %.2f virtual hours, %llu crashes\n", (double)seeds / took,
           (double)all->virtual_ns / 3.6e12, (unsigned long long)all->crashes);
    printf(
        "%llu puts, %llu gets, %llu deletes, %llu lists, %llu copies, %llu uploads, %llu refused\n",
        (unsigned long long)all->puts, (unsigned long long)all->gets,
        (unsigned long long)all->deletes, (unsigned long long)all->lists,
        (unsigned long long)all->copies, (unsigned long long)all->uploads,
        (unsigned long long)all->refused);
    printf("faults:");
    for (int i = 0; i < FAULT_KINDS; i++)
        printf("%s %llu %s", i ? "," : "", (unsigned long long)all->faults[i],
               fault_name((enum fault)i));
    printf("\n%llu passed, %llu failed\n", (unsigned long long)sum->passed,
           (unsigned long long)sum->failed);
}

int main(int argc, char **argv)
{
    uint64_t seed = 1, seeds = 1, jobs = 1;
    bool trace = false;
    const char *known = NULL;
    static uint64_t list[SEEDS_MAX];
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
            seed = strtoull(argv[++i], NULL, 0);
        else if (strcmp(argv[i], "--seeds") == 0 && i + 1 < argc)
            seeds = strtoull(argv[++i], NULL, 0);
        else if (strcmp(argv[i], "--jobs") == 0 && i + 1 < argc)
            jobs = strtoull(argv[++i], NULL, 0);
        else if (strcmp(argv[i], "--known") == 0 && i + 1 < argc)
            known = argv[++i];
        else if (strcmp(argv[i], "--today") == 0)
            seed = (uint64_t)time(NULL) / 86400 * 1000;
        else if (strcmp(argv[i], "--trace") == 0)
            trace = true;
        else
            jobs = 0;
    }
    if (jobs == 0 || jobs > JOBS_MAX || seeds > SEEDS_MAX / 2) {
        fprintf(stderr,
                "usage: sim [--seed N | --today] [--seeds COUNT] [--known FILE] [--jobs 1..%d] "
                "[--trace]\n",
                JOBS_MAX);
        return 2;
    }
    struct sum sum = {0};
    struct timespec from, to;
    size_t n = known ? read_seeds(known, list, SEEDS_MAX / 2) : 0;
    if (seeds > 1)
        printf("%zu known seeds, then %llu from %llu\n", n, (unsigned long long)seeds,
               (unsigned long long)seed);
    fflush(stdout);
    for (uint64_t i = 0; i < seeds; i++)
        list[n++] = seed + i;
    clock_gettime(CLOCK_MONOTONIC, &from);
    run_all(&sum, argv[0], list, n, jobs, trace);
    clock_gettime(CLOCK_MONOTONIC, &to);
    print_sum(&sum, n,
              (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9);
    return sum.failed == 0 ? 0 : 1;
}
