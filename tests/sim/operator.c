/* The operator: a thread of the nemesis that asks the cluster for changes while the faults go on. */
#include <string.h>
#include "common/sys/sim/sim.h"
#include "tests/sim/nemesis.h"
#include "tests/sim/rare.h"

#define IDLE         (20 * SYS_MS)
#define ON_SIGHT     (2 * SYS_MS)
#define GIVE_UP      (5 * SYS_SECOND)
#define SILENT_FOR   (30 * SYS_SECOND)
#define BIT(kind)    (UINT64_C(1) << FAULT_##kind)
#define HARMS_VICTIM (BIT(READ_ERROR) | BIT(ROT) | BIT(BAD_SECTORS) | BIT(LIE))

bool operator_open(struct nemesis *n)
{
    if (!n->view_open && sim_cluster_view(n->f->cluster, &n->view) == OK)
        n->view_open = true;
    if (n->view_open)
        view_forget(&n->view);
    return n->view_open;
}

static bool view(struct nemesis *n)
{
    return operator_open(n) && view_ask_map(&n->view) == OK;
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

static const struct cluster_disk *disk_numbered(const struct nemesis *n, uint32_t disk)
{
    disk_id id = n->f->cluster->disk_ids[disk];
    return id ? cluster_map_disk(n->view.map, id) : NULL;
}

/* ---- errands ---- */

static void fail_lost(struct nemesis *n, const bool *enough)
{
    while (n->to_fail && !*enough) {
        if (set_state(n, n->to_fail, DISK_FAILED))
            n->to_fail = 0;
        else
            sys_sleep_until(sys_now() + 500 * SYS_MS);
    }
}

/* The victim's disk is given up; with wipe, its process dies first and comes back with an empty one. */
static bool lose_disk(struct nemesis *n, bool wipe, uint64_t *dice)
{
    struct sim_cluster *c = n->f->cluster;
    uint32_t victim = n->f->victim;
    char path[SIM_PATH], extents[SIM_PATH + 16];
    if (n->lost || !view(n))
        return false;
    const struct cluster_disk *disk = disk_numbered(n, victim);
    if (!disk || disk->admin != DISK_IN)
        return false;
    n->lost = true;
    n->to_fail = disk->id;
    if (wipe) {
        int pid = sim_disk_pid(c, victim);
        sim_disk_path(c, victim, path);
        sim_restart_after(pid, nemesis_time(dice, 10 * SYS_SECOND) + SYS_MS);
        sim_crash(pid);
        if (sim_disk_wipe(sim_disk_host(c, victim), path) != OK)
            return false;
        /* What was armed for the old one is not for the new one. */
        sim_disk_store(c, victim, path);
        snprintf(extents, sizeof extents, "%s/extents", path);
        sim_disk_fail(sim_disk_host(c, victim), extents, 0, OK, false);
    }
    fail_lost(n, &n->ending);
    return true;
}

static bool drain(struct nemesis *n, uint64_t *dice, bool on_sight)
{
    if (!view(n))
        return false;
    const struct cluster_disk *disk =
        disk_numbered(n, (uint32_t)nemesis_below(dice, sim_disk_count(n->f->cluster)));
    if (!disk || disk->admin == DISK_FAILED)
        return false;
    uint64_t puts = n->puts_seen;
    int64_t until = sys_now() + GIVE_UP;
    while (on_sight && n->puts_seen == puts && sys_now() < until && !n->ending)
        sys_sleep_until(sys_now() + ON_SIGHT);
    return set_state(n, disk->id,
                     disk->admin != DISK_IN       ? DISK_IN
                     : nemesis_below(dice, 4) > 0 ? DISK_DRAINING
                                                  : DISK_OUT);
}

static bool run(struct nemesis *n, const struct errand *e)
{
    uint64_t dice = e->dice;
    switch (e->kind) {
    case FAULT_WIPE:
    case FAULT_DISK_FAIL:
        return lose_disk(n, e->kind == FAULT_WIPE, &dice);
    case FAULT_DRAIN:
        return drain(n, &dice, e->on_sight);
    default:
        return members_run(n, e->kind, dice);
    }
}

static void operator_main(void *arg)
{
    struct nemesis *n = arg;
    while (!n->ending) {
        sys_sleep_until(sys_now() + IDLE);
        if (!n->errand.open)
            continue;
        if (run(n, &n->errand))
            n->f->counts[n->errand.kind]++;
        n->errand.open = false;
    }
}

bool operator_ask(struct nemesis *n, enum fault kind, uint64_t dice, bool on_sight)
{
    if (n->errand.open)
        return false;
    n->errand = (struct errand){.kind = kind, .dice = dice, .open = true, .on_sight = on_sight};
    return true;
}

void operator_start(struct nemesis *n)
{
    if (sys_thread_start(&n->operator, "operator", 0, operator_main, n) != OK)
        workload_fail(n->f->work, "no operator");
}

void operator_stop(struct nemesis *n)
{
    n->ending = true;
    if (n->operator)
        sys_thread_join(n->operator);
    n->operator= NULL;
}

/* ---- the end ---- */

/* Whether a server has the disk: an embedded one puts a disk out that is in no directory any more. */
static bool somewhere(const struct nemesis *n, disk_id id)
{
    for (uint32_t i = 0; i < sim_disk_count(n->f->cluster); i++)
        if (n->f->cluster->disk_ids[i] == id)
            return true;
    return false;
}

/* All disks that are there and have not failed are in again, so that there is room for all slots. */
static void take_all_in(struct nemesis *n)
{
    for (bool all = false; !all && !n->f->work->failed;) {
        all = view(n);
        for (size_t i = 0; all && i < n->view.map->disk_count; i++) {
            const struct cluster_disk *d = &n->view.map->disks[i];
            if ((d->admin == DISK_DRAINING || d->admin == DISK_OUT) && somewhere(n, d->id))
                all = set_state(n, d->id, DISK_IN);
        }
        if (!all)
            sys_sleep_until(sys_now() + SYS_SECOND);
    }
}

static uint32_t silent(struct nemesis *n, bool start)
{
    struct sim_cluster *c = n->f->cluster;
    uint32_t count = 0;
    for (uint32_t i = 0; i < sim_disk_count(c); i++) {
        const struct cluster_disk *d = disk_numbered(n, i);
        if (!d || d->admin != DISK_IN || d->up)
            continue;
        count++;
        if (start) {
            sim_crash(sim_disk_pid(c, i));
            rare_note(RARE_STARTED);
        }
    }
    return count;
}

/* A chunkserver that was cut off while all members were replaced that it knew finds nobody: it is started
 * again, and its configuration names the members of today. */
static void start_the_silent(struct nemesis *n)
{
    int64_t until = sys_now() + SILENT_FOR;
    bool all = !n->removed;
    while (!all && sys_now() < until && !n->f->work->failed) {
        all = view(n) && silent(n, false) == 0;
        if (!all)
            sys_sleep_until(sys_now() + SYS_SECOND);
    }
    if (!all && view(n))
        silent(n, true);
}

/* A disk that could not be opened is tried again once a minute; its server is started again instead. When it is
 * left out then too, it is given up, and emptied. */
static void open_victim(struct nemesis *n)
{
    struct sim_cluster *c = n->f->cluster;
    uint32_t victim = n->f->victim;
    char path[SIM_PATH];
    for (int i = 0; i < 2 && !c->embedded && !c->disk_ids[victim]; i++) {
        sim_crash(sim_disk_pid(c, victim));
        sim_disk_path(c, victim, path);
        if (i > 0 && sim_disk_wipe(sim_disk_host(c, victim), path) != OK)
            workload_fail(n->f->work, "the victim's disk cannot be wiped");
        sys_sleep_until(sys_now() + 2 * GIVE_UP);
        while (i > 0 && !view(n) && !n->f->work->failed)
            sys_sleep_until(sys_now() + SYS_SECOND);
        for (size_t d = 0; i > 0 && !n->f->work->failed && d < n->view.map->disk_count; d++) {
            const struct cluster_disk *one = &n->view.map->disks[d];
            if (one->admin == DISK_IN && !one->up && !set_state(n, one->id, DISK_FAILED))
                workload_fail(n->f->work, "the victim's disk cannot be given up");
        }
    }
}

/* A disk that has failed or was given up, and was not emptied, is: else there may be too few. */
static void replace_failed(struct nemesis *n)
{
    struct faults *f = n->f;
    char path[SIM_PATH];
    if (!(f->on & HARMS_VICTIM) && !n->lost)
        return;
    /* A failed sync fails the disk; the word of it takes a moment. */
    sys_sleep_until(sys_now() + GIVE_UP);
    open_victim(n);
    while (!view(n) && !f->work->failed)
        sys_sleep_until(sys_now() + SYS_SECOND);
    const struct cluster_disk *disk = f->work->failed ? NULL : disk_numbered(n, f->victim);
    if (!disk || disk->admin != DISK_FAILED)
        return;
    sim_crash(sim_disk_pid(f->cluster, f->victim));
    sim_disk_path(f->cluster, f->victim, path);
    if (sim_disk_wipe(sim_disk_host(f->cluster, f->victim), path) != OK)
        workload_fail(f->work, "the victim's disk cannot be wiped");
}

/* The same with one that could not be opened for want of space. */
static void open_left_out(struct nemesis *n)
{
    struct sim_cluster *c = n->f->cluster;
    bool any = false;
    for (uint32_t i = 0; !c->embedded && i < sim_disk_count(c); i++) {
        if (c->disk_ids[i] || i == n->f->victim)
            continue;
        sim_crash(sim_disk_pid(c, i));
        any = true;
    }
    if (any)
        sys_sleep_until(sys_now() + 2 * GIVE_UP);
}

void operator_settle(struct nemesis *n)
{
    while (n->to_fail && !n->f->work->failed && !view(n))
        sys_sleep_until(sys_now() + SYS_SECOND);
    fail_lost(n, &n->f->work->failed);
    members_settle(n);
    open_left_out(n);
    if (!n->f->work->failed)
        take_all_in(n);
    if (!n->f->work->failed)
        start_the_silent(n);
    if (!n->f->work->failed)
        replace_failed(n);
    if (n->view_open)
        view_close(&n->view);
    n->view_open = false;
}
