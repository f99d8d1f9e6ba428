/* Records what is done to the files of one directory: libleveldb.so binds to the calls defined here
 * instead of libc's, since the program comes first. Each goes on to the real file system, but for
 * syncs, which are only noted: what they mean is worked out by crash_states.h.
 *
 * For one test program; a header, so that no other program gets these calls. LevelDB 1.23 writes
 * with open, write, fdatasync, close, rename and unlink; what it does not use aborts when it is used
 * on a recorded file. Its LOG (written by stdio) and LOCK mean nothing to its recovery: left out. */
#pragma once
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/sys/sys.h"

enum { REC_FDS = 1024, REC_NAME = 64, REC_NAMES = 128 };

enum rec_kind {
    REC_CREATE, /* inode under name, in place of what was there */
    REC_RENAME, /* name to other */
    REC_UNLINK,
    REC_WRITE,
    REC_SYNC,     /* of inode */
    REC_SYNC_DIR, /* of the directory */
    REC_MARK,     /* the test's own: inode is a number of its choice */
};

struct rec_op {
    enum rec_kind kind;
    int inode;
    uint64_t offset;
    size_t n;
    uint8_t *data;
    char name[REC_NAME], other[REC_NAME];
};

/* What the directory held when the recording began, all of it durable. */
struct rec_base {
    char name[REC_NAME];
    uint8_t *data;
    size_t n;
};

struct recording {
    struct rec_op *ops;
    size_t count, capacity;
    struct rec_base base[REC_NAMES]; /* inode i is base[i], later ones are made by REC_CREATE */
    int base_count, inode_count;
};

static struct {
    pthread_mutex_t mutex;
    struct recording *to; /* NULL: nothing is recorded */
    char dir[SYS_PATH_MAX];
    struct {
        char name[REC_NAME];
        int inode;
    } names[REC_NAMES];
    int name_count;
    struct {
        int inode; /* 0: not recorded, -1: the directory, else number + 1 */
        uint64_t position;
    } fds[REC_FDS];
} rec = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* ---- the live names ---- */

static int *rec_find(const char *name)
{
    for (int i = 0; i < rec.name_count; i++)
        if (strcmp(rec.names[i].name, name) == 0)
            return &rec.names[i].inode;
    return NULL;
}

static void rec_set(const char *name, int inode)
{
    int *known = rec_find(name);
    if (known) {
        *known = inode;
        return;
    }
    if (rec.name_count == REC_NAMES)
        abort();
    snprintf(rec.names[rec.name_count].name, REC_NAME, "%s", name);
    rec.names[rec.name_count++].inode = inode;
}

static void rec_remove(const char *name)
{
    for (int i = 0; i < rec.name_count; i++)
        if (strcmp(rec.names[i].name, name) == 0)
            rec.names[i] = rec.names[--rec.name_count];
}

static struct rec_op *rec_add(enum rec_kind kind, int inode, const char *name)
{
    struct recording *r = rec.to;
    if (r->count == r->capacity) {
        r->capacity = r->capacity ? 2 * r->capacity : 256;
        r->ops = sys_realloc(r->ops, r->capacity * sizeof *r->ops);
    }
    struct rec_op *o = &r->ops[r->count++];
    memset(o, 0, sizeof *o);
    o->kind = kind;
    o->inode = inode;
    snprintf(o->name, sizeof o->name, "%s", name);
    return o;
}

/* The name of a recorded file; "" is the directory itself; NULL: no business of ours. */
static const char *rec_name(const char *path)
{
    size_t n = strlen(rec.dir);
    if (!rec.to || strncmp(path, rec.dir, n) != 0 || (path[n] && path[n] != '/'))
        return NULL;
    const char *name = path[n] ? path + n + 1 : "";
    bool ours = strcmp(name, "LOCK") != 0 && strncmp(name, "LOG", 3) != 0;
    return ours ? name : NULL;
}

/* ---- the calls ---- */

#define REC_REAL(type, call, ...)                             \
    static type (*real)(__VA_ARGS__);                         \
    if (!real)                                                \
        real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #call); \
    pthread_mutex_lock(&rec.mutex)

static void rec_opened(const char *name, int fd, int flags)
{
    if (fd >= REC_FDS)
        abort();
    if (!*name) {
        rec.fds[fd].inode = -1;
        return;
    }
    if ((flags & O_ACCMODE) == O_RDONLY)
        return;
    int *known = rec_find(name), inode;
    if (known && !(flags & O_TRUNC))
        abort(); /* LevelDB appends to no file that it finds */
    inode = rec.to->inode_count++;
    rec_set(name, inode);
    rec_add(REC_CREATE, inode, name);
    rec.fds[fd].inode = inode + 1;
    rec.fds[fd].position = 0;
}

int open(const char *path, int flags, ...)
{
    mode_t mode = 0;
    if (flags & O_CREAT) {
        va_list v;
        va_start(v, flags);
        mode = va_arg(v, mode_t);
        va_end(v);
    }
    REC_REAL(int, open, const char *, int, ...);
    int fd = real(path, flags, mode);
    const char *name = rec_name(path);
    if (fd >= 0 && name)
        rec_opened(name, fd, flags);
    pthread_mutex_unlock(&rec.mutex);
    return fd;
}

static bool rec_is_recorded(int fd)
{
    return rec.to && fd >= 0 && fd < REC_FDS && rec.fds[fd].inode > 0;
}

ssize_t write(int fd, const void *data, size_t n)
{
    REC_REAL(ssize_t, write, int, const void *, size_t);
    ssize_t done = real(fd, data, n);
    if (done > 0 && rec_is_recorded(fd)) {
        struct rec_op *o = rec_add(REC_WRITE, rec.fds[fd].inode - 1, "");
        o->offset = rec.fds[fd].position;
        o->n = (size_t)done;
        o->data = sys_alloc(o->n);
        memcpy(o->data, data, o->n);
        rec.fds[fd].position += o->n;
    }
    pthread_mutex_unlock(&rec.mutex);
    return done;
}

static int rec_sync(int fd)
{
    pthread_mutex_lock(&rec.mutex);
    if (rec.to && fd >= 0 && fd < REC_FDS && rec.fds[fd].inode) {
        bool dir = rec.fds[fd].inode == -1;
        rec_add(dir ? REC_SYNC_DIR : REC_SYNC, dir ? 0 : rec.fds[fd].inode - 1, "");
    }
    pthread_mutex_unlock(&rec.mutex);
    return 0;
}

int fdatasync(int fd)
{
    return rec_sync(fd);
}

int fsync(int fd)
{
    return rec_sync(fd);
}

int close(int fd)
{
    REC_REAL(int, close, int);
    if (fd >= 0 && fd < REC_FDS)
        rec.fds[fd].inode = 0;
    int result = real(fd);
    pthread_mutex_unlock(&rec.mutex);
    return result;
}

int rename(const char *from, const char *to)
{
    REC_REAL(int, rename, const char *, const char *);
    int result = real(from, to);
    const char *a = rec_name(from), *b = rec_name(to);
    if (result == 0 && a && b) {
        int *inode = rec_find(a);
        if (!inode)
            abort();
        struct rec_op *o = rec_add(REC_RENAME, *inode, a);
        rec_set(b, *inode);
        rec_remove(a);
        snprintf(o->other, sizeof o->other, "%s", b);
    }
    pthread_mutex_unlock(&rec.mutex);
    return result;
}

int unlink(const char *path)
{
    REC_REAL(int, unlink, const char *);
    int result = real(path);
    const char *name = rec_name(path);
    if (result == 0 && name && rec_find(name)) {
        rec_add(REC_UNLINK, *rec_find(name), name);
        rec_remove(name);
    }
    pthread_mutex_unlock(&rec.mutex);
    return result;
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t offset)
{
    REC_REAL(ssize_t, pwrite, int, const void *, size_t, off_t);
    if (rec_is_recorded(fd))
        abort();
    ssize_t done = real(fd, data, n, offset);
    pthread_mutex_unlock(&rec.mutex);
    return done;
}

int ftruncate(int fd, off_t size)
{
    REC_REAL(int, ftruncate, int, off_t);
    if (rec_is_recorded(fd))
        abort();
    int result = real(fd, size);
    pthread_mutex_unlock(&rec.mutex);
    return result;
}

/* ---- for the test ---- */

static void rec_load(void *arg, const char *name, bool is_dir)
{
    struct recording *r = arg;
    char path[2 * SYS_PATH_MAX];
    struct rec_base *b = &r->base[r->base_count];
    struct sys_file *f = NULL;
    uint64_t size = 0;
    if (is_dir || strcmp(name, "LOCK") == 0 || strncmp(name, "LOG", 3) == 0)
        return;
    snprintf(path, sizeof path, "%s/%s", rec.dir, name);
    if (r->base_count == REC_NAMES || sys_file_open(path, SYS_OPEN_READ, &f) ||
        sys_file_size(f, &size))
        abort();
    snprintf(b->name, sizeof b->name, "%s", name);
    b->data = sys_alloc((size_t)size);
    if (sys_file_read(f, 0, b->data, (size_t)size, &b->n) || b->n != size)
        abort();
    sys_file_close(f);
    rec_set(name, r->base_count++);
}

/* Records what is done to dir, whose files are closed, until rec_stop. */
static void rec_start(struct recording *r, const char *dir)
{
    memset(r, 0, sizeof *r);
    memset(rec.fds, 0, sizeof rec.fds);
    rec.name_count = 0;
    snprintf(rec.dir, sizeof rec.dir, "%s", dir);
    if (sys_dir_list(dir, rec_load, r))
        abort();
    r->inode_count = r->base_count;
    rec.to = r;
}

static void rec_stop(void)
{
    pthread_mutex_lock(&rec.mutex);
    rec.to = NULL;
    pthread_mutex_unlock(&rec.mutex);
}

static void rec_mark(int what)
{
    pthread_mutex_lock(&rec.mutex);
    rec_add(REC_MARK, what, "");
    pthread_mutex_unlock(&rec.mutex);
}

static void rec_free(struct recording *r)
{
    for (size_t i = 0; i < r->count; i++)
        sys_free(r->ops[i].data);
    for (int i = 0; i < r->base_count; i++)
        sys_free(r->base[i].data);
    sys_free(r->ops);
}
