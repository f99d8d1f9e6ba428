#define _POSIX_C_SOURCE 200809L
#include "tests/sim/scenario.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/sys/sim/sim.h"

#define TIME_LIMIT (3600 * SYS_SECOND)

static void show(void *arg, const char *process, const char *line, size_t n)
{
    (void)arg;
    fprintf(stderr, "%12.6f %-12s %.*s\n", (double)sim_now() / 1e9, process, (int)n, line);
}

static bool client_ended(void *arg)
{
    const struct workload *w = arg;
    return w->failed || w->phase == PHASE_END;
}

/* The shape of the cluster and its work. The first number decides the kind, so that seeds in a row
 * differ. */
static void shape(uint64_t seed, struct sim_cluster *c, struct workload *w)
{
    static const uint32_t pools[][2] = {{2, 1}, {4, 2}, {1, 2}, {2, 1}};
    static const int64_t pauses[] = {0, 400 * SYS_MS, 2 * SYS_SECOND, 5 * SYS_SECOND};
    const uint32_t *pool = pools[sim_random() % 4];
    *c = (struct sim_cluster){
        .metadata_count = seed % 3 == 0 ? 1 : 3,
        .k = pool[0],
        .m = pool[1],
        .chunk_count = pool[0] + pool[1] + (uint32_t)(sim_random() % 3),
        .inline_max = sim_random() % 2 ? 16 * 1024 : 1024,
        .restart_after = 200 * SYS_MS,
    };
    *w = (struct workload){
        .cluster = c,
        .clients = 1 + (uint32_t)(sim_random() % 3),
        .operations = 12 + (uint32_t)(sim_random() % 20),
        .pause = pauses[sim_random() % 4],
        .large = seed % 8 == 2,
        .lose_disks = seed % 5 == 1,
        .lose_too_many = seed % 10 == 7,
    };
}

static void judge_exits(const struct sim_cluster *c, struct workload *w)
{
    for (uint32_t i = 0; i < c->metadata_count; i++)
        if (sim_exits(c->metadata[i]))
            workload_fail(w, "metadata-%u ended itself: %s", i + 1,
                          sim_exit_reason(c->metadata[i]));
    for (uint32_t i = 0; i < c->chunk_count; i++)
        if (sim_exits(c->chunks[i]) && !c->may_exit[i])
            workload_fail(w, "chunk-%u ended itself: %s", i + 1, sim_exit_reason(c->chunks[i]));
}

void scenario_run(uint64_t seed, bool trace, struct outcome *out)
{
    static struct sim_cluster cluster;
    static struct workload work;
    static struct faults faults;
    sim_init(seed);
    sim_log_to(trace ? show : NULL, NULL);
    shape(seed, &cluster, &work);
    faults = (struct faults){.cluster = &cluster, .work = &work};
    faults_choose(&faults, seed % 16 == 0);
    const char *only = getenv("SIM_FAULTS"); /* for shrinking by hand: the kinds' bits */
    if (only)
        faults.on &= (uint32_t)strtoul(only, NULL, 0);
    sim_cluster_start(&cluster);
    faults.client = sim_spawn("client", SIM_CLIENT_HOST, workload_main, &work);
    sim_restart_after(faults.client, cluster.restart_after);
    (void)sim_spawn("nemesis", SIM_NEMESIS_HOST, faults_main, &faults);
    bool ended = sim_run(TIME_LIMIT, client_ended, &work);
    if (!ended)
        workload_fail(&work, "no end in %lld s of virtual time, in phase %d",
                      (long long)(TIME_LIMIT / SYS_SECOND), (int)work.phase);
    judge_exits(&cluster, &work);
    if (trace && work.failed)
        fprintf(stderr, "seed %llu: %s (pool %u+%u, %u members, %u chunkservers, faults 0x%x)\n",
                (unsigned long long)seed, work.problem, cluster.k, cluster.m,
                cluster.metadata_count, cluster.chunk_count, faults.on);
    struct sim_stats stats = sim_end();
    *out = (struct outcome){.hash = stats.hash,
                            .crashes = stats.crashes,
                            .puts = work.puts,
                            .gets = work.gets,
                            .deletes = work.deletes,
                            .lists = work.lists,
                            .copies = work.copies,
                            .uploads = work.uploads,
                            .refused = work.refused,
                            .virtual_ns = stats.now,
                            .passed = ended && !work.failed};
    memcpy(out->faults, faults.counts, sizeof out->faults);
    snprintf(out->problem, sizeof out->problem, "%s", work.problem);
}
