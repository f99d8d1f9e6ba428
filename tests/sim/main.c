/* The simulator: whole clusters, one for each seed.
 *
 *   sim [--seed N] [--seeds COUNT] [--jobs N] [--trace]
 *
 * Each seed is run in a process of its own, so that an assertion ends one seed and not the soak. A
 * failing seed prints the command that replays it. --trace shows the log of one seed. Closes with
 * 'N passed, N failed'. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "common/sys/sim/sim.h"
#include "tests/sim/workload.h"

#define TIME_LIMIT (1800 * SYS_SECOND)
enum { JOBS_MAX = 16, TWICE_EVERY = 25 };

struct outcome {
    uint64_t hash, crashes, puts, gets, deletes, refused;
    int64_t virtual_ns;
    bool passed;
};

static void show(void *arg, const char *process, const char *line, size_t n)
{
    (void)arg;
    fprintf(stderr, "%12.6f %-12s %.*s\n", (double)sim_now() / 1e9, process, (int)n, line);
}

static bool client_ended(void *arg)
{
    return !sim_alive(*(int *)arg);
}

/* One chunkserver that crashes at random primitives and comes back, under random client work. */
static void run_seed(uint64_t seed, bool trace, struct outcome *out)
{
    static struct sim_cluster cluster;
    static struct workload work;
    cluster = (struct sim_cluster){
        .metadata_count = seed % 3 == 0 ? 3 : 1,
        .chunk_count = 4,
        .k = 2,
        .m = 1,
        .inline_max = 16 * 1024,
    };
    work = (struct workload){.cluster = &cluster, .clients = 2, .operations = 25};
    sim_init(seed);
    sim_log_to(trace ? show : NULL, NULL);
    if (seed % 2 == 1) {
        cluster.k = 4;
        cluster.m = 2;
        cluster.chunk_count = 7;
    }
    sim_cluster_start(&cluster, 200 * SYS_MS);
    int victim = cluster.chunks[seed % cluster.chunk_count];
    sim_random_crashes(victim, 400 + seed % 7 * 800);
    int client = sim_spawn("client", SIM_CLIENT_HOST, workload_main, &work);
    bool ended = sim_run(TIME_LIMIT, client_ended, &client);
    if (!ended)
        fprintf(stderr, "seed %llu: no end in %lld s of virtual time\n", (unsigned long long)seed,
                (long long)(TIME_LIMIT / SYS_SECOND));
    if (work.failed)
        fprintf(stderr, "seed %llu: %s\n", (unsigned long long)seed, work.problem);
    struct sim_stats stats = sim_end();
    *out = (struct outcome){.hash = stats.hash,
                            .crashes = stats.crashes,
                            .puts = work.puts,
                            .gets = work.gets,
                            .deletes = work.deletes,
                            .refused = work.refused,
                            .virtual_ns = stats.now,
                            .passed = ended && !work.failed && work.done == work.clients};
}

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
        run_seed(seed, trace, &outcome);
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
        fprintf(stderr, "seed %llu failed; replay: %s --seed %llu --trace\n",
                (unsigned long long)seed, program, (unsigned long long)seed);
    }
    sum->all.crashes += o->crashes;
    sum->all.puts += o->puts;
    sum->all.gets += o->gets;
    sum->all.deletes += o->deletes;
    sum->all.refused += o->refused;
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

static void run_all(struct sum *sum, const char *program, uint64_t seed, uint64_t seeds,
                    uint64_t jobs, bool trace)
{
    struct child running[JOBS_MAX];
    uint64_t begun = 0;
    for (uint64_t i = 0; i < seeds; i++) {
        for (; begun < seeds && begun < i + jobs; begun++)
            running[begun % jobs] = begin(seed + begun, trace);
        struct child *c = &running[i % jobs];
        struct outcome o = end(c);
        count(sum, program, c->seed, &o);
        if (o.passed && seeds > 1 && c->seed % TWICE_EVERY == 0)
            run_again(sum, c->seed, o.hash);
    }
}

int main(int argc, char **argv)
{
    uint64_t seed = 1, seeds = 1, jobs = 1;
    bool trace = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
            seed = strtoull(argv[++i], NULL, 0);
        else if (strcmp(argv[i], "--seeds") == 0 && i + 1 < argc)
            seeds = strtoull(argv[++i], NULL, 0);
        else if (strcmp(argv[i], "--jobs") == 0 && i + 1 < argc)
            jobs = strtoull(argv[++i], NULL, 0);
        else if (strcmp(argv[i], "--trace") == 0)
            trace = true;
        else
            jobs = 0;
    }
    if (jobs == 0 || jobs > JOBS_MAX) {
        fprintf(stderr, "usage: sim [--seed N] [--seeds COUNT] [--jobs 1..%d] [--trace]\n",
                JOBS_MAX);
        return 2;
    }
    struct sum sum = {0};
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    run_all(&sum, argv[0], seed, seeds, jobs, trace);
    clock_gettime(CLOCK_MONOTONIC, &to);
    if (seeds == 1)
        printf("seed %llu hash %016llx\n", (unsigned long long)seed,
               (unsigned long long)sum.all.hash);
    double took = (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
    printf("%.1f seeds/s, %.2f virtual hours, %llu crashes, %llu puts, %llu gets, %llu deletes, "
           "%llu refused\n",
           (double)seeds / took, (double)sum.all.virtual_ns / 3.6e12,
           (unsigned long long)sum.all.crashes, (unsigned long long)sum.all.puts,
           (unsigned long long)sum.all.gets, (unsigned long long)sum.all.deletes,
           (unsigned long long)sum.all.refused);
    printf("%llu passed, %llu failed\n", (unsigned long long)sum.passed,
           (unsigned long long)sum.failed);
    return sum.failed == 0 ? 0 : 1;
}
