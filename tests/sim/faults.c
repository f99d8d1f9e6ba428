#include "tests/sim/faults.h"
#include <stdio.h>
#include <string.h>
#include "common/sys/sim/sim.h"
#include "tests/sim/nemesis.h"
#include "tests/sim/watch.h"

#define FAULTS_FOR (120 * SYS_SECOND)

const char *fault_name(enum fault kind)
{
    static const char *const names[FAULT_KINDS] = {
#define X(name, text) [FAULT_##name] = text,
        FAULT_LIST(X)
#undef X
    };
    return names[kind];
}

/* ---- random choices: not the world's, so that what is left out changes nothing else ---- */

/* SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014). */
static uint64_t next(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

uint64_t nemesis_below(uint64_t *dice, uint64_t n)
{
    return next(dice) % n;
}

int64_t nemesis_time(uint64_t *dice, int64_t most)
{
    int64_t t = (int64_t)nemesis_below(dice, (uint64_t)most);
    return nemesis_below(dice, 2) ? t : t / 16 + SYS_MS;
}

/* Random numbers of strike i; i = STRIKES_MAX: of the choices before all. */
static uint64_t dice_of(uint64_t seed, uint64_t i)
{
    uint64_t state = seed;
    state = next(&state) ^ i * UINT64_C(0xD6E8FEB86659FD93);
    return next(&state);
}

void faults_choose(struct faults *f, bool none)
{
    static const int64_t gaps[] = {100 * SYS_MS, 400 * SYS_MS, 1500 * SYS_MS, 5 * SYS_SECOND};
    uint64_t dice = dice_of(f->seed, STRIKES_MAX);
    f->gap = (uint64_t)gaps[nemesis_below(&dice, 4)];
    f->victim = (uint32_t)nemesis_below(&dice, sim_disk_count(f->cluster));
    uint64_t bits = next(&dice), more = next(&dice);
    bool many = nemesis_below(&dice, 2);
    f->on = none ? 0 : bits & (many ? UINT64_MAX : more) & ((UINT64_C(1) << FAULT_KINDS) - 1);
}

/* ---- healing ---- */

static void heal_process(struct nemesis *n, int pid)
{
    sim_crash_at(pid, 0);
    sim_restart_after(pid, n->f->cluster->restart_after);
    sim_restart(pid);
}

static void heal(struct nemesis *n)
{
    struct sim_cluster *c = n->f->cluster;
    n->aim.armed = false;
    n->reply.armed = false;
    n->outage.armed = false;
    nemesis_undo_due(n, INT64_MAX);
    for (uint32_t i = 0; i < sim_disk_count(c); i++) {
        char store[SIM_PATH], path[SIM_PATH + 16];
        sim_disk_store(c, i, store);
        snprintf(path, sizeof path, "%s/extents", store);
        sim_disk_fail(sim_disk_host(c, i), path, 0, OK, false);
        sim_disk_lie(sim_disk_host(c, i), path, 0, SIM_WRITE_LOST);
    }
    for (uint32_t i = 0; i < c->metadata_count; i++) {
        sim_disk_fail(1 + i, "/metadata", 0, OK, false);
        heal_process(n, c->metadata[i]);
    }
    for (uint32_t i = 0; i < c->chunk_count; i++)
        heal_process(n, c->chunks[i]);
    heal_process(n, c->client);
}

/* ---- all of it ---- */

static bool allowed(const struct faults *f, uint64_t strike)
{
    return !f->strikes || f->strikes[strike / 64] >> strike % 64 & 1;
}

static void strike_on(struct nemesis *n)
{
    struct faults *f = n->f;
    uint64_t dice = dice_of(f->seed, STRIKES_MAX + 1);
    int64_t at = sys_now(), until = at + nemesis_time(&dice, FAULTS_FOR);
    for (uint64_t i = 0; i < STRIKES_MAX; i++) {
        n->dice = dice_of(f->seed, i);
        at += (int64_t)nemesis_below(&n->dice, 2 * f->gap) / 4;
        enum fault kind = (enum fault)nemesis_below(&n->dice, FAULT_KINDS);
        if (at >= until)
            return;
        if (at > sys_now())
            sys_sleep_until(at);
        nemesis_undo_due(n, sys_now());
        if (f->work->phase != PHASE_WORK || f->work->failed)
            return;
        if (f->on >> kind & 1 && allowed(f, i) && nemesis_strike(n, kind)) {
            bool errand = kind == FAULT_WIPE || kind == FAULT_DISK_FAIL || kind == FAULT_DRAIN ||
                          (kind >= FAULT_TRANSFER && kind <= FAULT_MEMBER_ROT);
            f->counts[kind] += !errand; /* the operator counts what he has done */
            f->struck[i / 64] |= UINT64_C(1) << i % 64;
        }
    }
}

void faults_main(void *arg)
{
    struct faults *f = arg;
    struct nemesis *n = sys_alloc(sizeof *n);
    memset(n, 0, sizeof *n);
    n->f = f;
    while (f->work->phase == PHASE_START && !f->work->failed)
        sys_sleep_until(sys_now() + 100 * SYS_MS);
    s3_watch(nemesis_seen, n);
    watch_applied(nemesis_applied, n);
    f->cluster->founded = true;
    operator_start(n);
    strike_on(n);
    heal(n);
    operator_stop(n);
    s3_watch(NULL, NULL);
    watch_applied(NULL, NULL);
    while (f->work->phase == PHASE_WORK && !f->work->failed)
        sys_sleep_until(sys_now() + 100 * SYS_MS);
    operator_settle(n);
    sys_free(n);
    if (f->work->phase == PHASE_HEAL)
        f->work->phase = PHASE_CHECK;
}
