#include "tests/sim/faults.h"
#include <stdio.h>
#include <string.h>
#include "common/sys/sim/sim.h"

/* What is on its way back to normal. */
enum undo_kind { UNDO_CUT, UNDO_DELAY, UNDO_PAUSE, UNDO_SKEW, UNDO_SLOW, UNDO_HANG };
struct undo {
    enum undo_kind kind;
    uint32_t a, b; /* hosts; pid for a pause */
    int64_t at;
};
#define FAULTS_FOR (120 * SYS_SECOND)
enum { UNDOS_MAX = 24, EXTENT_BYTES = 1 << 22 };

struct nemesis {
    struct faults *f;
    struct undo undos[UNDOS_MAX];
    uint32_t undo_count;
    uint32_t member; /* the one that is harmed now, index */
    int64_t member_until;
    int64_t skewed_until;
    bool lost; /* the victim's disk has been wiped or given up */
    bool view_open;
    struct cluster_view view;
};

const char *fault_name(enum fault kind)
{
    static const char *const names[FAULT_KINDS] = {
#define X(name, text) [FAULT_##name] = text,
        FAULT_LIST(X)
#undef X
    };
    return names[kind];
}

void faults_choose(struct faults *f, bool none)
{
    static const int64_t gaps[] = {100 * SYS_MS, 400 * SYS_MS, 1500 * SYS_MS, 5 * SYS_SECOND};
    f->gap = (uint64_t)gaps[sim_random() % 4];
    f->victim = (uint32_t)(sim_random() % f->cluster->chunk_count);
    uint64_t bits = sim_random(), more = sim_random();
    bool many = sim_random() % 2;
    f->on = none ? 0 : (uint32_t)(bits & (many ? ~UINT64_C(0) : more) & ((1u << FAULT_KINDS) - 1));
}

/* ---- random choices ---- */

static uint64_t below(uint64_t n)
{
    return sim_random() % n;
}

static int64_t some_time(int64_t most)
{
    int64_t t = (int64_t)below((uint64_t)most);
    return below(2) ? t : t / 16 + SYS_MS;
}

static uint32_t chunk_host(uint32_t index)
{
    return SIM_CHUNK_HOST + index + 1;
}

static uint32_t any_chunk(const struct nemesis *n)
{
    return (uint32_t)below(n->f->cluster->chunk_count);
}

/* A member that may be harmed now for so long: of three the one that is harmed already, or any when
 * all are well; the only one there is only if it will come back. */
static uint32_t some_member(struct nemesis *n, int64_t how_long)
{
    const struct sim_cluster *c = n->f->cluster;
    if (sys_now() >= n->member_until + 3 * SYS_SECOND)
        n->member = (uint32_t)below(c->metadata_count);
    if (sys_now() + how_long > n->member_until)
        n->member_until = sys_now() + how_long;
    return n->member;
}

/* Any host but the members that are well. */
static uint32_t some_host(struct nemesis *n, int64_t how_long)
{
    uint64_t dice = below(4);
    if (dice == 0)
        return SIM_CLIENT_HOST;
    if (dice == 1)
        return 1 + some_member(n, how_long);
    return chunk_host(any_chunk(n));
}

static uint32_t any_host(const struct nemesis *n)
{
    uint64_t dice = below(3);
    return dice == 0   ? SIM_CLIENT_HOST
           : dice == 1 ? 1 + (uint32_t)below(n->f->cluster->metadata_count)
                       : chunk_host(any_chunk(n));
}

/* ---- and back ---- */

static void undo(const struct undo *u)
{
    switch (u->kind) {
    case UNDO_CUT:
        sim_cut(u->a, u->b, false);
        return;
    case UNDO_DELAY:
        sim_delay(u->a, u->b, 0);
        return;
    case UNDO_PAUSE:
        sim_pause((int)u->a, false);
        return;
    case UNDO_SKEW:
        sim_clock_skew(u->a, 0);
        return;
    case UNDO_SLOW:
        sim_disk_slow(u->a, "/disk", 0);
        return;
    case UNDO_HANG:
        sim_disk_hang(u->a, "/disk", false);
        return;
    }
}

/* False: too much is going on. */
static bool remember(struct nemesis *n, enum undo_kind kind, uint32_t a, uint32_t b, int64_t after)
{
    if (n->undo_count == UNDOS_MAX)
        return false;
    n->undos[n->undo_count++] =
        (struct undo){.kind = kind, .a = a, .b = b, .at = sys_now() + after};
    return true;
}

static void undo_due(struct nemesis *n, int64_t now)
{
    for (uint32_t i = 0; i < n->undo_count;)
        if (n->undos[i].at <= now) {
            struct undo u = n->undos[i];
            n->undos[i] = n->undos[--n->undo_count];
            undo(&u);
        } else {
            i++;
        }
}

/* ---- the operator ---- */

static bool view(struct nemesis *n)
{
    if (!n->view_open && sim_cluster_view(n->f->cluster, &n->view) == OK)
        n->view_open = true;
    if (n->view_open)
        view_forget(&n->view);
    return n->view_open && view_ask_map(&n->view) == OK;
}

static bool set_state(struct nemesis *n, disk_id disk, enum disk_admin state)
{
    SetDiskState body = SET_DISK_STATE__INIT;
    Command command = COMMAND__INIT;
    Result *result;
    body.disk = disk;
    body.admin_state = (uint32_t)state;
    command.body_case = COMMAND__BODY_SET_DISK_STATE;
    command.set_disk_state = &body;
    return view_execute(&n->view, &command, &result) == OK;
}

/* The newest disk of a chunkserver, NULL when the map has none. */
static const struct cluster_disk *disk_of(const struct nemesis *n, uint32_t index)
{
    char host[16];
    snprintf(host, sizeof host, "host-%u", index + 1);
    const struct cluster_disk *found = NULL;
    for (size_t i = 0; i < n->view.map->disk_count; i++)
        if (strcmp(n->view.map->disks[i].host, host) == 0)
            found = &n->view.map->disks[i];
    return found;
}

/* The victim's chunkserver dies and comes back with an empty disk; the operator gives the old one
 * up. */
static bool lose_disk(struct nemesis *n, bool wipe)
{
    struct faults *f = n->f;
    if (n->lost || !view(n))
        return false;
    const struct cluster_disk *disk = disk_of(n, f->victim);
    if (!disk || disk->admin != DISK_IN)
        return false;
    n->lost = true;
    disk_id id = disk->id;
    if (wipe) {
        sim_restart_after(f->cluster->chunks[f->victim], some_time(10 * SYS_SECOND) + SYS_MS);
        sim_crash(f->cluster->chunks[f->victim]);
        if (sim_disk_wipe(chunk_host(f->victim), "/disk") != OK)
            return false;
    }
    while (!set_state(n, id, DISK_FAILED))
        sys_sleep_until(sys_now() + 500 * SYS_MS);
    return true;
}

static bool drain(struct nemesis *n)
{
    if (!view(n))
        return false;
    const struct cluster_disk *disk = disk_of(n, any_chunk(n));
    if (!disk || disk->admin == DISK_FAILED)
        return false;
    return set_state(n, disk->id, disk->admin == DISK_IN ? DISK_DRAINING : DISK_IN);
}

/* All disks that have not failed are in again, so that there is room for all slots. */
static void take_all_in(struct nemesis *n)
{
    for (bool all = false; !all;) {
        all = view(n);
        for (size_t i = 0; all && i < n->view.map->disk_count; i++) {
            const struct cluster_disk *d = &n->view.map->disks[i];
            if (d->admin == DISK_DRAINING || d->admin == DISK_OUT)
                all = set_state(n, d->id, DISK_IN);
        }
        if (!all)
            sys_sleep_until(sys_now() + SYS_SECOND);
    }
}

/* ---- strikes ---- */

static void crash(struct nemesis *n, int pid, int64_t back_after)
{
    (void)n;
    sim_restart_after(pid, back_after);
    sim_crash(pid);
}

/* The power fails everywhere at once. */
static void blackout(struct nemesis *n)
{
    struct sim_cluster *c = n->f->cluster;
    for (uint32_t i = 0; i < c->chunk_count; i++)
        crash(n, c->chunks[i], some_time(3 * SYS_SECOND));
    for (uint32_t i = 0; i < c->metadata_count; i++)
        crash(n, c->metadata[i], some_time(3 * SYS_SECOND));
    crash(n, n->f->client, some_time(3 * SYS_SECOND));
}

static bool strike_process(struct nemesis *n, enum fault kind)
{
    struct faults *f = n->f;
    struct sim_cluster *c = f->cluster;
    int64_t t = some_time(9 * SYS_SECOND) + SYS_MS;
    switch (kind) {
    case FAULT_CHUNK_CRASH:
        crash(n, c->chunks[any_chunk(n)], t);
        return true;
    case FAULT_MEMBER_CRASH:
        crash(n, c->metadata[some_member(n, t)], t);
        return true;
    case FAULT_GATEWAY_CRASH:
        crash(n, f->client, t / 4);
        return true;
    case FAULT_CRASH_POINT: {
        uint64_t dice = below(8);
        int pid = dice == 0   ? f->client
                  : dice <= 2 ? c->metadata[some_member(n, SYS_SECOND)]
                              : c->chunks[any_chunk(n)];
        sim_restart_after(pid, some_time(2 * SYS_SECOND) + SYS_MS);
        sim_crash_at(pid, 1 + below(3000));
        return true;
    }
    default: {
        int pid = below(3) == 0 ? c->metadata[some_member(n, t)] : c->chunks[any_chunk(n)];
        if (!remember(n, UNDO_PAUSE, (uint32_t)pid, 0, t))
            return false;
        sim_pause(pid, true);
        return true;
    }
    }
}

static bool strike_network(struct nemesis *n, enum fault kind)
{
    int64_t t = some_time(12 * SYS_SECOND) + SYS_MS;
    uint32_t a = some_host(n, t), b = any_host(n);
    if (a == b)
        return false;
    switch (kind) {
    case FAULT_RESET:
        sim_reset_connections(a, b);
        return true;
    case FAULT_SLOW_LINK:
        if (!remember(n, UNDO_DELAY, a, b, t))
            return false;
        sim_delay(a, b, some_time(3 * SYS_SECOND));
        return true;
    default: {
        bool back = below(2);
        uint32_t from = back ? b : a, to = back ? a : b;
        if (n->undo_count + 2 > UNDOS_MAX)
            return false;
        (void)remember(n, UNDO_CUT, from, to, t);
        sim_cut(from, to, true);
        if (kind == FAULT_CUT) {
            (void)remember(n, UNDO_CUT, to, from, t);
            sim_cut(to, from, true);
        }
        return true;
    }
    }
}

static bool strike_disk(struct nemesis *n, enum fault kind)
{
    struct faults *f = n->f;
    int64_t t = some_time(10 * SYS_SECOND) + SYS_MS;
    uint32_t host = chunk_host(any_chunk(n)), victim = chunk_host(f->victim);
    switch (kind) {
    case FAULT_DISK_SLOW:
        if (!remember(n, UNDO_SLOW, host, 0, t))
            return false;
        sim_disk_slow(host, "/disk", some_time(300 * SYS_MS));
        return true;
    case FAULT_DISK_HANG:
        if (!remember(n, UNDO_HANG, host, 0, t))
            return false;
        sim_disk_hang(host, "/disk", true);
        return true;
    case FAULT_READ_ERROR:
        sim_disk_fail(victim, "/disk/extents", 1 + below(40), ERR_IO, false);
        f->cluster->may_exit[f->victim] = true;
        return true;
    default: {
        char path[64];
        snprintf(path, sizeof path, "/disk/extents/%08u", 1 + (unsigned)below(3));
        f->cluster->may_exit[f->victim] = true;
        f->work->may_rot = true;
        return sim_disk_flip(victim, path, below(EXTENT_BYTES), (uint8_t)(1 + below(255))) == OK;
    }
    }
}

static bool strike_clock(struct nemesis *n)
{
    static const int64_t steps[] = {SYS_SECOND, 60 * SYS_SECOND, 3600 * SYS_SECOND,
                                    48 * 3600 * SYS_SECOND};
    uint32_t host = below(3) ? chunk_host(any_chunk(n)) : 1 + some_member(n, SYS_SECOND);
    int64_t t = some_time(20 * SYS_SECOND) + SYS_MS;
    if (sys_now() < n->skewed_until || !remember(n, UNDO_SKEW, host, 0, t))
        return false;
    /* One of several members takes log time nowhere, nor does it lead. */
    n->f->work->skewed |= host < SIM_CHUNK_HOST && n->f->cluster->metadata_count == 1;
    n->skewed_until = sys_now() + t; /* one clock at a time */
    sim_clock_skew(host, below(2) ? steps[below(4)] : -steps[below(4)]);
    return true;
}

static bool strike(struct nemesis *n, enum fault kind)
{
    switch (kind) {
    case FAULT_CHUNK_CRASH:
    case FAULT_MEMBER_CRASH:
    case FAULT_GATEWAY_CRASH:
    case FAULT_CRASH_POINT:
    case FAULT_PAUSE:
        return strike_process(n, kind);
    case FAULT_RESET:
    case FAULT_CUT_ONE_WAY:
    case FAULT_CUT:
    case FAULT_SLOW_LINK:
        return strike_network(n, kind);
    case FAULT_DISK_SLOW:
    case FAULT_DISK_HANG:
    case FAULT_READ_ERROR:
    case FAULT_ROT:
        return strike_disk(n, kind);
    case FAULT_SKEW:
        return strike_clock(n);
    case FAULT_WIPE:
    case FAULT_DISK_FAIL:
        return below(4) == 0 && lose_disk(n, kind == FAULT_WIPE);
    case FAULT_DRAIN:
        return below(3) == 0 && drain(n);
    case FAULT_GROW:
        if (below(4) || n->f->cluster->chunk_count > n->f->cluster->k + n->f->cluster->m + 4)
            return false;
        sim_cluster_grow(n->f->cluster);
        return true;
    case FAULT_BLACKOUT:
        if (below(8))
            return false;
        blackout(n);
        return true;
    case FAULT_KINDS:
        break;
    }
    return false;
}

/* ---- healing ---- */

static void heal(struct nemesis *n)
{
    struct sim_cluster *c = n->f->cluster;
    undo_due(n, INT64_MAX);
    for (uint32_t i = 0; i < c->chunk_count; i++) {
        sim_crash_at(c->chunks[i], 0);
        sim_disk_fail(chunk_host(i), "/disk/extents", 0, OK, false);
        sim_restart_after(c->chunks[i], c->restart_after);
        sim_restart(c->chunks[i]);
    }
    for (uint32_t i = 0; i < c->metadata_count; i++) {
        sim_crash_at(c->metadata[i], 0);
        sim_restart_after(c->metadata[i], c->restart_after);
        sim_restart(c->metadata[i]);
    }
    sim_crash_at(n->f->client, 0);
}

/* A disk that has failed or was given up, and was not emptied, is: else there may be too few. */
static void replace_failed(struct nemesis *n)
{
    struct faults *f = n->f;
    if (!f->cluster->may_exit[f->victim] && !n->lost)
        return;
    /* A failed sync fails the disk; the word of it takes a moment. */
    sys_sleep_until(sys_now() + 5 * SYS_SECOND);
    while (!view(n))
        sys_sleep_until(sys_now() + SYS_SECOND);
    const struct cluster_disk *disk = disk_of(n, f->victim);
    if (!disk || disk->admin != DISK_FAILED)
        return;
    sim_crash(f->cluster->chunks[f->victim]);
    if (sim_disk_wipe(chunk_host(f->victim), "/disk") != OK)
        workload_fail(f->work, "the victim's disk cannot be wiped");
}

void faults_main(void *arg)
{
    struct faults *f = arg;
    struct nemesis *n = sys_alloc(sizeof *n);
    memset(n, 0, sizeof *n);
    n->f = f;
    while (f->work->phase == PHASE_START && !f->work->failed)
        sys_sleep_until(sys_now() + 100 * SYS_MS);
    int64_t until = sys_now() + some_time(FAULTS_FOR);
    while (f->work->phase == PHASE_WORK && !f->work->failed && sys_now() < until) {
        enum fault kind = (enum fault)below(FAULT_KINDS);
        sys_sleep_until(sys_now() + (int64_t)below(2 * f->gap) / 4);
        undo_due(n, sys_now());
        if (f->on >> kind & 1 && f->work->phase == PHASE_WORK && strike(n, kind))
            f->counts[kind]++;
    }
    heal(n);
    while (f->work->phase == PHASE_WORK && !f->work->failed)
        sys_sleep_until(sys_now() + 100 * SYS_MS);
    if (!f->work->failed && f->on >> FAULT_DRAIN & 1)
        take_all_in(n);
    if (!f->work->failed)
        replace_failed(n);
    if (n->view_open)
        view_close(&n->view);
    sys_free(n);
    if (f->work->phase == PHASE_HEAL)
        f->work->phase = PHASE_CHECK;
}
