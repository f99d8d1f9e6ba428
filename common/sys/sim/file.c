/* Files and names of sys.h over the host's simulated file system. */
#include <stdio.h>
#include <string.h>
#include "common/sys/sim/fs_internal.h"

struct sys_file {
    struct object object;
    struct inode *inode;
    bool writable, direct;
    unsigned syncing;
    char path[256]; /* as opened, cut: for the disk rules */
};

/* Rough times of one operation, so that concurrent ones overlap. */
enum { FAST_NS = 4000, FAST_SPREAD_NS = 20000, SYNC_NS = 80000, SYNC_SPREAD_NS = 400000 };

static struct fs *own_fs(void)
{
    struct host *h = sim_process()->host;
    if (!h)
        sim_fail("a file call outside of any process");
    return h->fs;
}

static int own_pid(void)
{
    return sim_process()->pid;
}

static enum err fast(const char *path, unsigned kind)
{
    return disk_primitive(path, kind, FAST_NS, FAST_SPREAD_NS);
}

/* The same of what is looked for by its name. */
static enum err fast_named(const char *path, unsigned kind)
{
    enum err e = fast(path, kind);
    return e == OK && disk_unmounted(path) ? ERR_NOT_FOUND : e;
}

/* ---- opening ---- */

static enum err open_inode(const char *path, unsigned flags, struct inode **out)
{
    struct fs *fs = own_fs();
    struct inode *dir;
    char name[SYS_NAME_MAX + 1];
    enum err e = fs_parent(fs, path, &dir, name);
    if (e)
        return e;
    struct inode *i = fs_entry(dir, name);
    if (i && (flags & SYS_OPEN_CREATE) && (flags & SYS_OPEN_EXCLUSIVE))
        return ERR_EXISTS;
    if (i && i->is_dir)
        return ERR_INVALID;
    if (!i) {
        if (!(flags & SYS_OPEN_CREATE))
            return ERR_NOT_FOUND;
        i = fs_inode_new(fs, false);
        fs_change(fs, own_pid(), NULL, NULL, dir, name, i);
    }
    *out = i;
    return OK;
}

enum err sys_file_open(const char *path, unsigned flags, struct sys_file **out)
{
    sim_enter();
    struct inode *i = NULL;
    enum err e = fast_named(path, SIM_DISK_NAMES);
    if (!e)
        e = open_inode(path, flags, &i);
    if (!e) {
        if (flags & SYS_OPEN_TRUNCATE) {
            pages_resize(i, own_pid(), 0);
            fs_tell(i->fs, &(struct sim_disk_change){.kind = SIM_CHANGE_SIZE, .file = i->number});
        }
        struct sys_file *f = object_new(OBJECT_FILE, sizeof *f);
        f->inode = i;
        f->writable = flags & SYS_OPEN_WRITE;
        f->direct = flags & SYS_OPEN_DIRECT;
        snprintf(f->path, sizeof f->path, "%s", path);
        i->opens++;
        fs_count(i);
        *out = f;
    }
    sim_leave();
    return e;
}

void file_destroy(struct sys_file *f)
{
    struct inode *i = f->inode;
    if (i->locked_by == f)
        i->locked_by = NULL;
    i->syncing -= f->syncing; /* a crash in the middle of them */
    i->opens--;
    fs_count(i);
    if (i->opens == 0 && i->links == 0)
        fs_drop_unused(i->fs);
    object_free(f);
}

void sys_file_close(struct sys_file *f)
{
    if (!f)
        return;
    sim_enter();
    assert(f->object.process == sim_process());
    file_destroy(f);
    sim_leave();
}

/* ---- contents ---- */

static void tell(const struct inode *i, int kind, uint64_t offset, uint64_t n, const void *data)
{
    fs_tell(i->fs, &(struct sim_disk_change){
                       .kind = kind, .file = i->number, .offset = offset, .n = n, .data = data});
}

static void check(const struct sys_file *f, uint64_t offset, const void *data, size_t n)
{
    assert(f->object.process == sim_process());
    if (f->direct)
        assert(offset % SYS_BLOCK == 0 && n % SYS_BLOCK == 0 && (uintptr_t)data % SYS_BLOCK == 0);
}

enum err sys_file_read(struct sys_file *f, uint64_t offset, void *out, size_t n, size_t *done)
{
    sim_enter();
    check(f, offset, out, n);
    *done = 0;
    enum err e = fast(f->path, SIM_DISK_READ);
    if (!e && offset < f->inode->size) {
        uint64_t rest = f->inode->size - offset;
        size_t most = n < rest ? n : (size_t)rest;
        if (pages_bad(f->inode, offset, most)) {
            e = ERR_IO;
        } else {
            pages_read(f->inode, offset, out, most);
            *done = most;
        }
    }
    sim_leave();
    return e;
}

/* True: the disk says that it has written, and has not. What only the file system knows, such as the
 * size, is right. */
static bool write_lies(struct sys_file *f, uint64_t offset, const void *data, size_t n)
{
    bool misdirected = disk_lies(f->path, SIM_WRITE_MISDIRECTED);
    if (misdirected)
        disk_write_elsewhere(f->path, f->inode, offset, data, n);
    return misdirected || disk_lies(f->path, SIM_WRITE_LOST);
}

enum err sys_file_write(struct sys_file *f, uint64_t offset, const void *data, size_t n)
{
    sim_enter();
    check(f, offset, data, n);
    sim_trace_bytes(data, n);
    enum err e = f->writable ? fast(f->path, SIM_DISK_WRITE) : ERR_IO;
    if (!e && n > 0 && write_lies(f, offset, data, n)) {
        if (offset + n > f->inode->size)
            pages_resize(f->inode, own_pid(), offset + n);
    } else if (!e) {
        e = pages_write(f->inode, own_pid(), offset, data, n);
        if (!e)
            tell(f->inode, SIM_CHANGE_WRITE, offset, n, data);
    } else if (f->writable && e != ERR_READ_ONLY && n > 1) {
        /* A write that fails may have changed something. */
        (void)!pages_write(f->inode, own_pid(), offset, data, sim_below(n));
    }
    sim_leave();
    return e;
}

/* Covers what was there when it began; durable only when it ends. */
enum err sys_file_sync(struct sys_file *f)
{
    sim_enter();
    check(f, 0, NULL, 0);
    uint64_t began = f->inode->fs->clock, size = f->inode->size;
    f->inode->syncing++;
    f->syncing++;
    tell(f->inode, SIM_CHANGE_SYNC_BEGIN, 0, 0, NULL);
    enum err e = disk_primitive(f->path, SIM_DISK_SYNC, SYNC_NS, SYNC_SPREAD_NS);
    f->inode->syncing--;
    f->syncing--;
    if (!e && !disk_lies(f->path, SIM_SYNC_LOST)) {
        pages_sync(f->inode, began, size);
        tell(f->inode, SIM_CHANGE_SYNC, 0, 0, NULL);
    }
    sim_leave();
    return e;
}

enum err sys_file_allocate(struct sys_file *f, uint64_t offset, uint64_t n)
{
    sim_enter();
    check(f, 0, NULL, 0);
    enum err e = fast(f->path, SIM_DISK_WRITE);
    if (!e)
        e = pages_reserve(f->inode, offset, n);
    if (!e && offset + n > f->inode->size) {
        pages_resize(f->inode, own_pid(), offset + n);
        tell(f->inode, SIM_CHANGE_SIZE, 0, offset + n, NULL);
    }
    sim_leave();
    return e;
}

enum err sys_file_punch(struct sys_file *f, uint64_t offset, uint64_t n)
{
    sim_enter();
    check(f, 0, NULL, 0);
    enum err e = fast(f->path, SIM_DISK_WRITE);
    if (!e && f->inode->fs->no_holes)
        e = ERR_UNSUPPORTED;
    if (!e) {
        pages_zero(f->inode, own_pid(), offset, n);
        tell(f->inode, SIM_CHANGE_ZERO, offset, n, NULL);
    }
    sim_leave();
    return e;
}

enum err sys_file_truncate(struct sys_file *f, uint64_t size)
{
    sim_enter();
    check(f, 0, NULL, 0);
    enum err e = fast(f->path, SIM_DISK_WRITE);
    if (!e) {
        pages_resize(f->inode, own_pid(), size);
        tell(f->inode, SIM_CHANGE_SIZE, 0, size, NULL);
    }
    sim_leave();
    return e;
}

enum err sys_file_next_data(struct sys_file *f, uint64_t from, uint64_t *out)
{
    sim_enter();
    check(f, 0, NULL, 0);
    enum err e = fast(f->path, SIM_DISK_READ);
    if (!e && !pages_next_data(f->inode, from, out))
        e = ERR_NOT_FOUND;
    sim_leave();
    return e;
}

enum err sys_file_size(struct sys_file *f, uint64_t *out)
{
    sim_enter();
    check(f, 0, NULL, 0);
    enum err e = fast(f->path, SIM_DISK_READ);
    *out = f->inode->size;
    sim_leave();
    return e;
}

enum err sys_file_allocated(struct sys_file *f, uint64_t *out)
{
    sim_enter();
    check(f, 0, NULL, 0);
    enum err e = fast(f->path, SIM_DISK_READ);
    *out = f->inode->used_pages * PAGE;
    sim_leave();
    return e;
}

enum err sys_file_lock(struct sys_file *f)
{
    sim_enter();
    check(f, 0, NULL, 0);
    enum err e = fast(f->path, SIM_DISK_NAMES);
    if (!e && f->inode->locked_by && f->inode->locked_by != f)
        e = ERR_BUSY;
    if (!e)
        f->inode->locked_by = f;
    sim_leave();
    return e;
}

/* ---- names ---- */

static enum err rename_inode(const char *from, const char *to)
{
    struct fs *fs = own_fs();
    struct inode *from_dir, *to_dir;
    char from_name[SYS_NAME_MAX + 1], to_name[SYS_NAME_MAX + 1];
    enum err e = fs_parent(fs, from, &from_dir, from_name);
    if (!e)
        e = fs_parent(fs, to, &to_dir, to_name);
    if (e)
        return e;
    struct inode *i = fs_entry(from_dir, from_name), *target = fs_entry(to_dir, to_name);
    if (!i)
        return ERR_NOT_FOUND;
    if (i == target)
        return OK;
    if (target && (target->is_dir ? !i->is_dir : i->is_dir))
        return target->is_dir ? ERR_INVALID : ERR_NOT_FOUND;
    if (target && target->is_dir && target->live.count > 0)
        return ERR_EXISTS;
    fs_change(fs, own_pid(), from_dir, from_name, to_dir, to_name, i);
    return OK;
}

enum err sys_rename(const char *from, const char *to)
{
    sim_enter();
    enum err e = fast_named(from, SIM_DISK_NAMES);
    if (!e)
        e = rename_inode(from, to);
    sim_leave();
    return e;
}

static enum err remove_inode(const char *path, bool is_dir)
{
    struct inode *dir;
    char name[SYS_NAME_MAX + 1];
    enum err e = fs_parent(own_fs(), path, &dir, name);
    if (e)
        return e;
    struct inode *i = fs_entry(dir, name);
    if (!i || (is_dir && !i->is_dir))
        return ERR_NOT_FOUND;
    if (!is_dir && i->is_dir)
        return ERR_INVALID;
    if (i->live.count > 0)
        return ERR_EXISTS;
    fs_change(own_fs(), own_pid(), dir, name, NULL, NULL, i);
    return OK;
}

enum err sys_unlink(const char *path)
{
    sim_enter();
    enum err e = fast_named(path, SIM_DISK_NAMES);
    if (!e)
        e = remove_inode(path, false);
    sim_leave();
    return e;
}

enum err sys_rmdir(const char *path)
{
    sim_enter();
    enum err e = fast_named(path, SIM_DISK_NAMES);
    if (!e)
        e = remove_inode(path, true);
    sim_leave();
    return e;
}

enum err sys_mkdir(const char *path)
{
    sim_enter();
    struct inode *dir;
    char name[SYS_NAME_MAX + 1];
    enum err e = fast_named(path, SIM_DISK_NAMES);
    if (!e)
        e = fs_parent(own_fs(), path, &dir, name);
    if (!e && fs_entry(dir, name))
        e = ERR_EXISTS;
    if (!e)
        fs_change(own_fs(), own_pid(), NULL, NULL, dir, name, fs_inode_new(own_fs(), true));
    sim_leave();
    return e;
}

static enum err find_dir(const char *path, struct inode **out)
{
    enum err e = fs_lookup(own_fs(), path, out);
    return e ? e : (*out)->is_dir ? OK : ERR_NOT_FOUND;
}

enum err sys_dir_sync(const char *path)
{
    sim_enter();
    struct inode *dir;
    uint64_t began = own_fs()->clock;
    enum err e = disk_unmounted(path) ? ERR_NOT_FOUND : find_dir(path, &dir);
    if (!e) {
        dir->opens++; /* it may be removed meanwhile */
        tell(dir, SIM_CHANGE_SYNC_BEGIN, 0, 0, NULL);
    }
    enum err failed = disk_primitive(path, SIM_DISK_SYNC, SYNC_NS, SYNC_SPREAD_NS);
    if (!e) {
        dir->opens--;
        if (!failed && !disk_lies(path, SIM_SYNC_LOST)) {
            tell(dir, SIM_CHANGE_DIR_SYNC, 0, 0, NULL);
            fs_sync_dir(own_fs(), dir, began);
        } else {
            fs_drop_unused(own_fs());
        }
    }
    sim_leave();
    return failed ? failed : e;
}

struct listing {
    struct listing *next;
    bool is_dir;
    char name[];
};

/* Read whole before the first visit, in the product's memory: the visitor may do anything. */
enum err sys_dir_list(const char *path, void (*visit)(void *arg, const char *name, bool is_dir),
                      void *arg)
{
    sim_enter();
    struct listing *first = NULL, **end = &first;
    struct inode *dir;
    enum err e = fast_named(path, SIM_DISK_READ);
    if (!e)
        e = find_dir(path, &dir);
    for (size_t i = 0; !e && i < dir->live.count; i++) {
        size_t n = strlen(dir->live.v[i].name) + 1;
        struct listing *l = sys_alloc(sizeof *l + n);
        l->is_dir = dir->live.v[i].inode->is_dir;
        memcpy(l->name, dir->live.v[i].name, n);
        *end = l;
        end = &l->next;
    }
    sim_leave();
    while (first) {
        struct listing *l = first;
        first = l->next;
        visit(arg, l->name, l->is_dir);
        sys_free(l);
    }
    return e;
}

enum err sys_disk_space(const char *path, uint64_t *total_bytes, uint64_t *free_bytes)
{
    sim_enter();
    struct inode *i;
    enum err e = fast_named(path, SIM_DISK_READ);
    if (!e)
        e = fs_lookup(own_fs(), path, &i);
    struct fs *fs = own_fs();
    *total_bytes = fs->limit_pages * PAGE;
    *free_bytes = fs->used_pages < fs->limit_pages ? (fs->limit_pages - fs->used_pages) * PAGE : 0;
    sim_leave();
    return e;
}
