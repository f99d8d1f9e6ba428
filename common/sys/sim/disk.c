/* What a scenario does to the disks of a host: rules by path, which every file primitive asks, and
 * harm done at once to what lies there. */
#include <stdio.h>
#include <string.h>
#include "common/sys/sim/fs_internal.h"

enum { POINT_FILE = 64 };

static bool covers(const char *rule, const char *path)
{
    size_t n = strlen(rule);
    while (n > 0 && rule[n - 1] == '/')
        n--;
    return strncmp(rule, path, n) == 0 && (path[n] == 0 || path[n] == '/');
}

static struct disk_rule *rule_for(struct host *h, const char *path)
{
    struct disk_rule *unused = NULL;
    for (int i = 0; i < DISK_RULES; i++) {
        if (h->rules[i].path[0] && strcmp(h->rules[i].path, path) == 0)
            return &h->rules[i];
        if (!h->rules[i].path[0] && !unused)
            unused = &h->rules[i];
    }
    assert(unused && "at most DISK_RULES a host");
    snprintf(unused->path, sizeof unused->path, "%s", path);
    return unused;
}

static void wait_while_hung(struct host *h, const char *path)
{
    for (int i = 0; i < DISK_RULES; i++)
        while (h->rules[i].path[0] && h->rules[i].hung && covers(h->rules[i].path, path)) {
            wait_add(&h->hung);
            (void)sim_block(SYS_FOREVER, "a disk that hangs");
        }
}

static enum err rules_apply(struct host *h, const char *path, unsigned kind, int64_t *ns)
{
    enum err e = OK;
    for (int i = 0; i < DISK_RULES; i++) {
        struct disk_rule *r = &h->rules[i];
        if (!r->path[0] || !covers(r->path, path))
            continue;
        *ns += r->slow_ns;
        if (r->stall_one_in && sim_below(r->stall_one_in) == 0)
            *ns += (int64_t)sim_below((uint64_t)r->stall_ns);
        if (!(r->fail_kinds & kind))
            continue;
        if (r->fail_after == 1)
            e = r->error;
        if (r->fail_after > 1 || (r->fail_after == 1 && !r->sticky))
            r->fail_after--;
    }
    return e;
}

enum err disk_primitive(const char *path, unsigned kind, int64_t least_ns, int64_t spread_ns)
{
    sim_point_io(POINT_FILE);
    struct host *h = sim_process()->host;
    if (!h)
        sim_fail("a file call outside of any process");
    h->primitives++;
    int64_t ns = least_ns + (int64_t)sim_below((uint64_t)spread_ns);
    enum err e = rules_apply(h, path, kind, &ns);
    wait_while_hung(h, path);
    sim_sleep(ns);
    return e;
}

bool disk_unmounted(const char *path)
{
    const struct host *h = sim_process()->host;
    for (int i = 0; i < DISK_RULES; i++)
        if (h->rules[i].unmounted && covers(h->rules[i].path, path))
            return true;
    return false;
}

bool disk_lies(const char *path, enum sim_disk_lie lie)
{
    struct host *h = sim_process()->host;
    bool lies = false;
    for (int i = 0; i < DISK_RULES; i++) {
        struct disk_rule *r = &h->rules[i];
        if (!r->path[0] || r->lie_after == 0 || r->lie != lie || !covers(r->path, path))
            continue;
        lies = lies || r->lie_after == 1;
        r->lie_after--;
    }
    world.stats.disk_lies += lies;
    return lies;
}

/* ---- writes that land elsewhere ---- */

/* Chooses one of the files at or below a directory, by size. */
static void choose_file(struct inode *i, uint64_t *total, struct inode **chosen)
{
    if (!i->is_dir) {
        *total += i->size;
        if (i->size > 0 && sim_below(*total) < i->size)
            *chosen = i;
        return;
    }
    for (size_t k = 0; k < i->live.count; k++)
        choose_file(i->live.v[k].inode, total, chosen);
}

/* The directory above a rule's path that is one, or the path itself. */
static struct inode *rule_root(struct host *h, const char *path)
{
    for (int i = 0; i < DISK_RULES; i++) {
        struct disk_rule *r = &h->rules[i];
        struct inode *root;
        if (r->path[0] && r->lie == SIM_WRITE_MISDIRECTED && covers(r->path, path) &&
            fs_lookup(h->fs, r->path, &root) == OK)
            return root;
    }
    return h->fs->root;
}

void disk_write_elsewhere(const char *path, const struct inode *meant, uint64_t meant_offset,
                          const uint8_t *data, size_t n)
{
    struct host *h = sim_process()->host;
    struct inode *victim = NULL;
    uint64_t total = 0;
    choose_file(rule_root(h, path), &total, &victim);
    if (!victim || victim->size < n)
        return; /* over the edge: lost */
    uint64_t at = sim_below((victim->size - n) / SECTOR + 1) * SECTOR;
    if (victim == meant && at == meant_offset)
        return;
    pages_plant(victim, at, data, n);
}

/* ---- sim.h ---- */

void sim_disk_fail_kinds(uint32_t host, const char *path, unsigned kinds, uint64_t nth,
                         enum err error, bool sticky)
{
    sim_enter();
    struct disk_rule *r = rule_for(host_get(host), path);
    r->fail_kinds = kinds;
    r->fail_after = nth;
    r->error = error;
    r->sticky = sticky;
    sim_leave();
}

void sim_disk_fail(uint32_t host, const char *path, uint64_t nth, enum err error, bool sticky)
{
    sim_disk_fail_kinds(host, path, SIM_DISK_ALL, nth, error, sticky);
}

void sim_disk_lie(uint32_t host, const char *path, uint64_t nth, enum sim_disk_lie lie)
{
    sim_enter();
    struct disk_rule *r = rule_for(host_get(host), path);
    r->lie_after = nth;
    r->lie = lie;
    sim_leave();
}

void sim_disk_hang(uint32_t host, const char *path, bool hung)
{
    sim_enter();
    struct host *h = host_get(host);
    rule_for(h, path)->hung = hung;
    wait_wake_all(&h->hung);
    sim_leave();
}

void sim_disk_unmount(uint32_t host, const char *path, bool gone)
{
    sim_enter();
    rule_for(host_get(host), path)->unmounted = gone;
    sim_leave();
}

void sim_disk_slow(uint32_t host, const char *path, int64_t ns)
{
    sim_enter();
    rule_for(host_get(host), path)->slow_ns = ns;
    sim_leave();
}

void sim_disk_stalls(uint32_t host, const char *path, uint64_t one_in, int64_t ns)
{
    sim_enter();
    assert(ns > 0 || one_in == 0);
    struct disk_rule *r = rule_for(host_get(host), path);
    r->stall_one_in = one_in;
    r->stall_ns = ns;
    sim_leave();
}

uint64_t sim_disk_primitives(uint32_t host)
{
    sim_enter();
    uint64_t n = host_get(host)->primitives;
    sim_leave();
    return n;
}

uint64_t sim_disk_used(uint32_t host)
{
    sim_enter();
    uint64_t used = host_get(host)->fs->used_pages * PAGE;
    sim_leave();
    return used;
}

void sim_disk_limit(uint32_t host, uint64_t bytes)
{
    sim_enter();
    host_get(host)->fs->limit_pages = bytes / PAGE;
    sim_leave();
}

void sim_disk_no_holes(uint32_t host, bool none)
{
    sim_enter();
    host_get(host)->fs->no_holes = none;
    sim_leave();
}

void sim_disk_observe(uint32_t host, void (*seen)(void *arg, const struct sim_disk_change *change),
                      void *arg)
{
    sim_enter();
    host_get(host)->fs->seen = seen;
    host_get(host)->fs->seen_arg = arg;
    sim_leave();
}

uint64_t sim_disk_number(uint32_t host, const char *path)
{
    sim_enter();
    struct inode *i;
    enum err e = fs_lookup(host_get(host)->fs, path, &i);
    sim_leave();
    return e ? 0 : i->number;
}

enum err sim_disk_flip(uint32_t host, const char *path, uint64_t offset, uint8_t mask)
{
    sim_enter();
    struct inode *i;
    enum err e = fs_lookup(host_get(host)->fs, path, &i);
    if (!e && (i->is_dir || offset >= i->size))
        e = ERR_INVALID;
    if (!e)
        pages_flip(i, offset, mask);
    sim_leave();
    return e;
}

enum err sim_disk_bad_sectors(uint32_t host, const char *path, uint64_t offset, uint64_t n)
{
    sim_enter();
    struct inode *i;
    enum err e = fs_lookup(host_get(host)->fs, path, &i);
    if (!e && (i->is_dir || n == 0 || offset >= i->size || n > i->size - offset))
        e = ERR_INVALID;
    if (!e)
        pages_make_bad(i, offset, n);
    sim_leave();
    return e;
}

enum err sim_disk_wipe(uint32_t host, const char *path)
{
    sim_enter();
    struct inode *dir;
    enum err e = fs_lookup(host_get(host)->fs, path, &dir);
    if (!e && !dir->is_dir)
        e = ERR_INVALID;
    if (!e)
        fs_wipe(dir->fs, dir);
    sim_leave();
    return e;
}
