#include "tests/sim/scenario.h"
#include <stdio.h>
#include <string.h>
#include "common/sys/sim/sim.h"
#include "tests/sim/ages.h"
#include "tests/sim/durable.h"
#include "tests/sim/nemesis.h"
#include "tests/sim/storm.h"
#include "tests/sim/watch.h"

#define TIME_LIMIT (3600 * SYS_SECOND)
#define SHORT_AGE  (60 * SYS_SECOND)

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

void plan_whole(struct plan *plan, uint64_t seed)
{
    *plan = (struct plan){
        .seed = seed, .kinds = UINT64_MAX, .clients = UINT32_MAX, .operations = UINT32_MAX};
    memset(plan->strikes, 0xff, sizeof plan->strikes);
}

/* ---- the shape of a seed ---- */

/* One of a few values. */
#define ONE_OF(dice, values) ((values)[nemesis_below((dice), sizeof(values) / sizeof *(values))])

/* Bounds so small that what is rare with their defaults happens all the time; each in some seeds. */
static void squeeze(uint64_t *dice, struct sim_cluster *c)
{
    static const uint64_t inline_max[] = {16 << 10, 1 << 10, 0, 64 << 10};
    static const uint64_t buffers[] = {96 << 20, 8 << 20, 16 << 20};
    static const uint32_t chunk[] = {0, 0, 200000, 1 << 20};
    static const unsigned few[] = {0, 0, 1, 3}, some[] = {0, 0, 2, 6}, queue[] = {0, 0, 8, 32};
    static const int64_t flush[] = {0, 0, 50 * SYS_MS, 20 * SYS_SECOND};
    static const uint64_t read_memory[] = {0, 0, 4 << 20};
    static const int64_t scrub[] = {0, 0, 10 * SYS_SECOND, 60 * SYS_SECOND};
    uint64_t apart = *dice ^ UINT64_C(0x7363727562); /* a draw more would change every seed */
    struct config_bounds *b = &c->bounds;
    b->scrub_interval = ONE_OF(&apart, scrub);
    b->sweep_interval = ONE_OF(&apart, scrub);
    c->short_age = nemesis_below(&apart, 4) ? 0 : SHORT_AGE;
    if (c->short_age) /* orphans go within the time that a check waits for it */
        b->sweep_interval = scrub[2 + nemesis_below(&apart, 2)];
    c->inline_max = ONE_OF(dice, inline_max);
    c->buffer_memory = ONE_OF(dice, buffers);
    b->chunk_bytes = ONE_OF(dice, chunk);
    /* A record must fit into an extent: a chunk's shard is as large as the chunk when k is 1. */
    if (b->chunk_bytes && nemesis_below(dice, 2))
        b->extent_bytes = b->chunk_bytes < 1 << 20 ? 1 << 20 : 4 << 20;
    b->queue_max = ONE_OF(dice, queue);
    b->writers_max = ONE_OF(dice, some);
    b->staging_max = ONE_OF(dice, some);
    b->window = ONE_OF(dice, few);
    b->flush_interval = ONE_OF(dice, flush);
    b->read_memory = ONE_OF(dice, read_memory);
    b->backfill_parallel = ONE_OF(dice, few);
    b->moves_max = ONE_OF(dice, few);
    /* Most logs are compacted all the time, so that who was away takes a snapshot. */
    bool short_log = nemesis_below(dice, 4) > 0;
    c->log_segment = short_log ? 64 << 10 : 1 << 20;
    c->log_bytes = short_log ? (nemesis_below(dice, 2) ? 128 << 10 : 512 << 10) : 64 << 20;
    c->checkpoint_entries = nemesis_below(dice, 2) ? 10 : 100;
}

static void shape_cluster(uint64_t *dice, struct sim_cluster *c)
{
    static const uint32_t pools[][2] = {{2, 1}, {4, 2}, {1, 2}, {2, 1}, {4, 2}, {2, 1}, {8, 3}};
    static const uint32_t members[] = {1, 1, 3, 3, 3, 3, 3, 5};
    static const uint32_t each[] = {1, 1, 1, 2, 3}, per_host[] = {1, 1, 1, 2};
    const uint32_t *pool = ONE_OF(dice, pools);
    uint32_t disks = pool[0] + pool[1] + (uint32_t)nemesis_below(dice, 3);
    *c = (struct sim_cluster){
        .embedded = nemesis_below(dice, 8) == 0,
        .k = pool[0],
        .m = pool[1],
        .metadata_count = ONE_OF(dice, members),
        .disks_each = ONE_OF(dice, each),
        .chunks_per_host = ONE_OF(dice, per_host),
        .restart_after = 200 * SYS_MS,
    };
    c->chunk_count = (disks + c->disks_each - 1) / c->disks_each;
    if (c->embedded) {
        c->metadata_count = c->chunk_count = 0;
        c->disks_each = disks;
    }
    squeeze(dice, c);
    c->lease_reads = nemesis_below(dice, 3) == 0;
}

/* Every fourth seed is hard on consensus: members enough, many short operations, a storm. */
static bool is_stormy(const struct plan *plan, const struct sim_cluster *c)
{
    return plan->seed % 4 == 3 && !c->embedded;
}

/* The number decides some kinds, so that seeds in a row differ. */
static void shape(const struct plan *plan, struct sim_cluster *c, struct workload *w)
{
    static const int64_t pauses[] = {0, 400 * SYS_MS, 2 * SYS_SECOND, 5 * SYS_SECOND};
    uint64_t seed = plan->seed, dice = ~seed;
    shape_cluster(&dice, c);
    uint32_t clients = 2 + (uint32_t)nemesis_below(&dice, 4);
    uint32_t operations = 20 + (uint32_t)nemesis_below(&dice, 40);
    int64_t pause = ONE_OF(&dice, pauses);
    if (is_stormy(plan, c)) {
        c->metadata_count = seed % 8 == 3 ? 3 : 5;
        operations *= 2;
        pause = SYS_SECOND;
    }
    *w = (struct workload){
        .cluster = c,
        .clients = clients < plan->clients ? clients : plan->clients,
        .operations = operations < plan->operations ? operations : plan->operations,
        .pause = pause,
        .large = seed % 8 == 2,
        .lose_disks = seed % 5 == 1,
        .lose_too_many = seed % 10 == 7,
    };
}

static void describe(const struct sim_cluster *c, char out[200])
{
    const struct config_bounds *b = &c->bounds;
    snprintf(
        out, 200,
        "%s%u+%u, %u members%s, %u chunkservers of %u disks, %u a host; inline %llu, chunk %u, "
        "extent "
        "%llu, buffers %llu, moves %u, flush %lld ms",
        c->embedded ? "embedded " : "", c->k, c->m, c->metadata_count,
        c->lease_reads ? " with leases" : "", c->chunk_count, c->disks_each, c->chunks_per_host,
        (unsigned long long)c->inline_max, b->chunk_bytes, (unsigned long long)b->extent_bytes,
        (unsigned long long)c->buffer_memory, b->moves_max,
        (long long)(b->flush_interval / SYS_MS));
}

static void judge_exits(const struct sim_cluster *c, struct workload *w)
{
    for (uint32_t i = 0; i < c->metadata_count; i++)
        if (sim_exits(c->metadata[i]) && !c->member_may_exit[i])
            workload_fail(w, "metadata-%u ended itself: %s", i + 1,
                          sim_exit_reason(c->metadata[i]));
    for (uint32_t i = 0; i < c->chunk_count; i++)
        if (sim_exits(c->chunks[i]) && !c->may_exit[i])
            workload_fail(w, "chunk-%u ended itself: %s", i + 1, sim_exit_reason(c->chunks[i]));
    if (sim_exits(c->client))
        workload_fail(w, "the gateway ended itself: %s", sim_exit_reason(c->client));
}

void scenario_run(const struct plan *plan, struct outcome *out)
{
    static struct sim_cluster cluster;
    static struct workload work;
    static struct faults faults;
    static struct storm storm;
    sim_init(plan->seed);
    sim_log_to(plan->trace ? show : NULL, NULL);
    shape(plan, &cluster, &work);
    faults = (struct faults){
        .cluster = &cluster, .work = &work, .seed = plan->seed, .strikes = plan->strikes};
    faults_choose(&faults, plan->seed % 16 == 0);
    uint64_t on = faults.on;
    faults.on &= plan->kinds;
    workload_init(&work);
    ages_set(cluster.short_age);
    watch_start(&work);
    durable_start(&work);
    sim_cluster_start(&cluster);
    cluster.client = sim_spawn("client", SIM_CLIENT_HOST, workload_main, &work);
    sim_restart_after(cluster.client, cluster.restart_after);
    (void)sim_spawn("nemesis", SIM_NEMESIS_HOST, faults_main, &faults);
    storm = (struct storm){.cluster = &cluster, .work = &work};
    if (is_stormy(plan, &cluster))
        (void)sim_spawn("storm", SIM_NEMESIS_HOST, storm_main, &storm);
    bool ended = sim_run(TIME_LIMIT, client_ended, &work);
    if (!ended)
        workload_fail(&work, "no end in %lld s of virtual time, in phase %d",
                      (long long)(TIME_LIMIT / SYS_SECOND), (int)work.phase);
    judge_exits(&cluster, &work);
    workload_judge(&work, plan->trace);
    if (plan->trace)
        watch_tell();
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
                            .on = on,
                            .clients = work.clients,
                            .operations = work.operations,
                            .virtual_ns = stats.now,
                            .passed = ended && !work.failed};
    memcpy(out->faults, faults.counts, sizeof out->faults);
    rare_counts(out->rare);
    memcpy(out->struck, faults.struck, sizeof out->struck);
    snprintf(out->problem, sizeof out->problem, "%s", work.problem);
    describe(&cluster, out->shape);
}
