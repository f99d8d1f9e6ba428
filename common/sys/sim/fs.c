/* The names of a simulated file system: a live tree, a durable tree, and the changes between them.
 *
 *   1. Every change of names joins the list of changes, in order, and shows in the live tree.
 *   2. dir_sync makes the changes of that directory durable, and of those that share a directory
 *      with one of them (a move is durable whole or not at all).
 *   3. A crash keeps, of each directory's pending changes of the dead process, a prefix.
 *   4. An inode lives while a tree, a change or an open file names it. */
#include <string.h>
#include "common/sys/sim/fs_internal.h"

static const uint64_t DEFAULT_LIMIT_PAGES = UINT64_C(64) << 30 >> 12;

static char *copy_text(const char *text)
{
    size_t n = strlen(text) + 1;
    return memcpy(world_alloc(n), text, n);
}

/* ---- entries ---- */

static size_t entry_place(const struct entries *e, const char *name, bool *found)
{
    size_t low = 0, high = e->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(e->v[middle].name, name);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *found = false;
    return low;
}

static uint32_t *links_of(struct inode *i, bool durable)
{
    return durable ? &i->durable_links : &i->links;
}

static void entry_remove(struct inode *dir, const char *name, bool durable)
{
    struct entries *e = durable ? &dir->durable : &dir->live;
    bool found;
    size_t at = entry_place(e, name, &found);
    if (!found)
        return;
    --*links_of(e->v[at].inode, durable);
    fs_count(e->v[at].inode);
    world_free(e->v[at].name);
    e->count--;
    memmove(e->v + at, e->v + at + 1, (e->count - at) * sizeof *e->v);
}

static void entry_set(struct inode *dir, const char *name, struct inode *inode, bool durable)
{
    entry_remove(dir, name, durable);
    struct entries *e = durable ? &dir->durable : &dir->live;
    bool found;
    size_t at = entry_place(e, name, &found);
    if (e->count == e->capacity) {
        e->capacity = e->capacity ? 2 * e->capacity : 8;
        e->v = world_realloc(e->v, e->capacity * sizeof *e->v);
    }
    memmove(e->v + at + 1, e->v + at, (e->count - at) * sizeof *e->v);
    e->v[at] = (struct entry){copy_text(name), inode};
    e->count++;
    ++*links_of(inode, durable);
    fs_count(inode);
}

static void entries_clear(struct inode *dir, bool durable)
{
    struct entries *e = durable ? &dir->durable : &dir->live;
    while (e->count > 0)
        entry_remove(dir, e->v[e->count - 1].name, durable);
}

/* ---- inodes ---- */

struct inode *fs_inode_new(struct fs *fs, bool is_dir)
{
    struct inode *i = world_alloc(sizeof *i);
    i->fs = fs;
    i->number = ++fs->numbers;
    i->is_dir = is_dir;
    i->size_writer = -1;
    i->next = fs->inodes;
    if (i->next)
        i->next->prev = i;
    fs->inodes = i;
    return i;
}

void fs_count(struct inode *i)
{
    bool counted = i->links > 0 || i->opens > 0;
    if (counted == i->counted)
        return;
    i->counted = counted;
    i->fs->used_pages += counted ? i->used_pages : 0 - i->used_pages;
}

static void inode_free(struct inode *i)
{
    if (i->counted)
        i->fs->used_pages -= i->used_pages;
    if (i->prev)
        i->prev->next = i->next;
    else
        i->fs->inodes = i->next;
    if (i->next)
        i->next->prev = i->prev;
    pages_free(i);
    world_free(i->live.v);
    world_free(i->durable.v);
    world_free(i);
}

static bool unused(const struct inode *i)
{
    return i != i->fs->root && !i->opens && !i->links && !i->durable_links && !i->changes;
}

void fs_drop_unused(struct fs *fs)
{
    bool again = true;
    while (again) {
        again = false;
        for (struct inode *i = fs->inodes, *next; i; i = next) {
            next = i->next;
            if (!unused(i))
                continue;
            again = again || i->live.count || i->durable.count;
            entries_clear(i, false);
            entries_clear(i, true);
            inode_free(i);
        }
    }
}

struct fs *fs_new(void)
{
    struct fs *fs = world_alloc(sizeof *fs);
    fs->root = fs_inode_new(fs, true);
    fs->changes_end = &fs->changes;
    fs->limit_pages = DEFAULT_LIMIT_PAGES;
    return fs;
}

/* ---- changes ---- */

static void change_apply(const struct change *c, bool durable)
{
    if (c->from)
        entry_remove(c->from, c->from_name, durable);
    if (c->to)
        entry_set(c->to, c->to_name, c->inode, durable);
}

static void change_references(struct change *c, int by)
{
    if (c->from)
        c->from->changes += (uint32_t)by;
    if (c->to)
        c->to->changes += (uint32_t)by;
    c->inode->changes += (uint32_t)by;
}

void fs_change(struct fs *fs, int pid, struct inode *from, const char *from_name, struct inode *to,
               const char *to_name, struct inode *inode)
{
    struct change *c = world_alloc(sizeof *c);
    *c = (struct change){.pid = pid,
                         .at = ++fs->clock,
                         .from = from,
                         .to = to,
                         .from_name = from ? copy_text(from_name) : NULL,
                         .to_name = to ? copy_text(to_name) : NULL,
                         .inode = inode};
    change_references(c, 1);
    *fs->changes_end = c;
    fs->changes_end = &c->next;
    change_apply(c, false);
    fs_tell(fs, &(struct sim_disk_change){.kind = SIM_CHANGE_NAME,
                                          .file = inode->number,
                                          .from = from ? from->number : 0,
                                          .to = to ? to->number : 0,
                                          .from_name = c->from_name,
                                          .to_name = c->to_name,
                                          .is_dir = inode->is_dir});
}

/* Unlinks and frees the change that *at points to. */
static void change_drop(struct fs *fs, struct change **at)
{
    struct change *c = *at;
    *at = c->next;
    if (!c->next)
        fs->changes_end = at;
    change_references(c, -1);
    world_free(c->from_name);
    world_free(c->to_name);
    world_free(c);
}

static bool touches_cut(const struct change *c)
{
    return (c->from && c->from->cut) || (c->to && c->to->cut);
}

static void cut_dirs(const struct change *c)
{
    if (c->from)
        c->from->cut = true;
    if (c->to)
        c->to->cut = true;
}

static void clear_cuts(struct fs *fs)
{
    for (struct inode *i = fs->inodes; i; i = i->next)
        i->cut = false;
}

void fs_sync_dir(struct fs *fs, struct inode *dir, uint64_t until)
{
    clear_cuts(fs);
    dir->cut = true;
    for (bool again = true; again;) {
        again = false;
        for (struct change *c = fs->changes; c && c->at <= until; c = c->next)
            if (touches_cut(c) && ((c->from && !c->from->cut) || (c->to && !c->to->cut))) {
                cut_dirs(c);
                again = true;
            }
    }
    for (struct change **at = &fs->changes; *at && (*at)->at <= until;) {
        if (touches_cut(*at)) {
            change_apply(*at, true);
            change_drop(fs, at);
        } else {
            at = &(*at)->next;
        }
    }
    clear_cuts(fs);
    fs_drop_unused(fs);
}

static void crash_names(struct fs *fs, int pid, enum survival how)
{
    clear_cuts(fs);
    for (struct change **at = &fs->changes; *at;) {
        struct change *c = *at;
        if (c->pid != pid && !touches_cut(c)) {
            at = &c->next;
            continue;
        }
        bool keep =
            !touches_cut(c) && (how == SURVIVE_ALL || (how != SURVIVE_NONE && sim_below(4) != 0));
        if (keep)
            change_apply(c, true);
        else
            cut_dirs(c);
        change_drop(fs, at);
    }
    clear_cuts(fs);
    for (struct inode *i = fs->inodes; i; i = i->next) {
        entries_clear(i, false);
        for (size_t k = 0; k < i->durable.count; k++)
            entry_set(i, i->durable.v[k].name, i->durable.v[k].inode, false);
    }
    for (struct change *c = fs->changes; c; c = c->next)
        change_apply(c, false);
}

void fs_crash(struct fs *fs, int pid)
{
    uint64_t draw = sim_below(8);
    enum survival how = draw < 2   ? (enum survival)draw
                        : draw < 5 ? SURVIVE_SECTORS
                                   : SURVIVE_WRITES;
    uint64_t fate = sim_random();
    bool any = false;
    for (struct change *c = fs->changes; c && !any; c = c->next)
        any = c->pid == pid;
    if (any)
        crash_names(fs, pid, how);
    for (struct inode *i = fs->inodes; i; i = i->next)
        if (!i->is_dir)
            pages_crash(i, pid, how, fate);
    fs_drop_unused(fs);
}

void fs_free(struct fs *fs)
{
    while (fs->changes)
        change_drop(fs, &fs->changes);
    for (struct inode *i = fs->inodes; i; i = i->next) {
        entries_clear(i, false);
        entries_clear(i, true);
    }
    while (fs->inodes)
        inode_free(fs->inodes);
    world_free(fs);
}

static bool in_tree(const struct inode *i)
{
    return i == i->fs->root || i->links || i->durable_links;
}

static bool is_named(const struct fs *fs, const struct inode *i)
{
    bool named = in_tree(i);
    for (const struct change *c = fs->changes; c && !named; c = c->next)
        named = c->inode == i;
    return named;
}

/* Drops the changes in a directory and, for good, in those that nothing names any more. */
static void drop_changes(struct fs *fs, const struct inode *dir)
{
    for (struct change **at = &fs->changes; *at;) {
        const struct change *c = *at;
        bool lost = !(c->from && is_named(fs, c->from)) && !(c->to && is_named(fs, c->to));
        if (c->from == dir || c->to == dir || lost)
            change_drop(fs, at);
        else
            at = &(*at)->next;
    }
}

static void empty(struct fs *fs, struct inode *dir)
{
    const struct entries *trees[] = {&dir->live, &dir->durable};
    for (int t = 0; t < 2; t++)
        for (size_t k = 0; k < trees[t]->count; k++)
            if (trees[t]->v[k].inode->is_dir)
                empty(fs, trees[t]->v[k].inode);
    drop_changes(fs, dir);
    entries_clear(dir, false);
    entries_clear(dir, true);
}

/* Empties a directory, and those below it, at once in both trees: its disk was replaced. */
void fs_wipe(struct fs *fs, struct inode *dir)
{
    empty(fs, dir);
    fs_drop_unused(fs);
}

/* ---- paths ---- */

struct inode *fs_entry(const struct inode *dir, const char *name)
{
    bool found;
    size_t at = entry_place(&dir->live, name, &found);
    return found ? dir->live.v[at].inode : NULL;
}

/* Takes the next name of a path; false at its end. */
static bool next_name(const char **path, char name[SYS_NAME_MAX + 1], enum err *e)
{
    while (**path == '/')
        ++*path;
    size_t n = strcspn(*path, "/");
    if (n == 0)
        return false;
    if (n > SYS_NAME_MAX) {
        *e = ERR_TOO_BIG;
        return false;
    }
    memcpy(name, *path, n);
    name[n] = 0;
    *path += n;
    while (**path == '/')
        ++*path;
    return true;
}

enum err fs_parent(struct fs *fs, const char *path, struct inode **dir, char name[SYS_NAME_MAX + 1])
{
    enum err e = OK;
    struct inode *at = fs->root;
    if (strlen(path) >= SYS_PATH_MAX)
        return ERR_TOO_BIG;
    if (!next_name(&path, name, &e))
        return e ? e : ERR_INVALID;
    while (*path) {
        at = fs_entry(at, name);
        if (!at || !at->is_dir)
            return ERR_NOT_FOUND;
        if (!next_name(&path, name, &e))
            return e;
    }
    *dir = at;
    return OK;
}

enum err fs_lookup(struct fs *fs, const char *path, struct inode **out)
{
    char name[SYS_NAME_MAX + 1];
    struct inode *dir;
    if (path[strspn(path, "/")] == 0) {
        *out = fs->root;
        return OK;
    }
    enum err e = fs_parent(fs, path, &dir, name);
    if (e)
        return e;
    *out = fs_entry(dir, name);
    return *out ? OK : ERR_NOT_FOUND;
}
