/* The simulator: whole clusters, one for each seed.
 *
 *   sim [--seed N] [--seeds COUNT] [--trace]
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
        .metadata_count = 1, .chunk_count = 4, .k = 2, .m = 1, .inline_max = 16 * 1024};
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
    sim_random_crashes(victim, 20000 + seed % 7 * 20000);
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

/* In a child, which tells its outcome through a pipe. */
static struct outcome run_apart(uint64_t seed, bool trace)
{
    struct outcome outcome = {0};
    int ends[2];
    if (pipe(ends) != 0)
        exit(1);
    pid_t child = fork();
    if (child == 0) {
        run_seed(seed, trace, &outcome);
        ssize_t n = write(ends[1], &outcome, sizeof outcome);
        _exit(n == (ssize_t)sizeof outcome ? 0 : 1);
    }
    close(ends[1]);
    int status = 1;
    ssize_t n = read(ends[0], &outcome, sizeof outcome);
    close(ends[0]);
    waitpid(child, &status, 0);
    if (n != (ssize_t)sizeof outcome || status != 0)
        outcome.passed = false;
    return outcome;
}

int main(int argc, char **argv)
{
    uint64_t seed = 1, seeds = 1;
    bool trace = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
            seed = strtoull(argv[++i], NULL, 0);
        else if (strcmp(argv[i], "--seeds") == 0 && i + 1 < argc)
            seeds = strtoull(argv[++i], NULL, 0);
        else if (strcmp(argv[i], "--trace") == 0)
            trace = true;
        else {
            fprintf(stderr, "usage: sim [--seed N] [--seeds COUNT] [--trace]\n");
            return 2;
        }
    }
    struct outcome sum = {0};
    uint64_t passed = 0, failed = 0;
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (uint64_t s = seed; s < seed + seeds; s++) {
        struct outcome o = run_apart(s, trace);
        if (o.passed) {
            passed++;
        } else {
            failed++;
            fprintf(stderr, "seed %llu failed; replay: %s --seed %llu --trace\n",
                    (unsigned long long)s, argv[0], (unsigned long long)s);
        }
        sum.crashes += o.crashes;
        sum.puts += o.puts;
        sum.gets += o.gets;
        sum.deletes += o.deletes;
        sum.refused += o.refused;
        sum.virtual_ns += o.virtual_ns;
        if (seeds == 1)
            printf("seed %llu hash %016llx\n", (unsigned long long)s, (unsigned long long)o.hash);
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    double took = (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
    printf("%.1f seeds/s, %.2f virtual hours, %llu crashes, %llu puts, %llu gets, %llu deletes, "
           "%llu refused\n",
           (double)seeds / took, (double)sum.virtual_ns / 3.6e12, (unsigned long long)sum.crashes,
           (unsigned long long)sum.puts, (unsigned long long)sum.gets,
           (unsigned long long)sum.deletes, (unsigned long long)sum.refused);
    printf("%llu passed, %llu failed\n", (unsigned long long)passed, (unsigned long long)failed);
    return failed == 0 ? 0 : 1;
}
