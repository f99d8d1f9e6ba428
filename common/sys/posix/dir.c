/* Names: directories, renames, free space. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "common/sys/posix/posix_internal.h"

enum err sys_rename(const char *from, const char *to)
{
    return rename(from, to) ? posix_error(errno) : OK;
}

enum err sys_unlink(const char *path)
{
    return unlink(path) ? posix_error(errno) : OK;
}

enum err sys_mkdir(const char *path)
{
    return mkdir(path, 0755) ? posix_error(errno) : OK;
}

enum err sys_rmdir(const char *path)
{
    return rmdir(path) ? posix_error(errno) : OK;
}

enum err sys_dir_sync(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return posix_error(errno);
    enum err e = fsync(fd) ? posix_error(errno) : OK;
    close(fd);
    return e == ERR_BUSY ? ERR_IO : e;
}

struct entry {
    char *name;
    bool is_dir;
};

struct listing {
    struct entry *entries;
    size_t count, capacity;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static bool entry_is_dir(DIR *dir, const struct dirent *d)
{
    if (d->d_type != DT_UNKNOWN && d->d_type != DT_LNK)
        return d->d_type == DT_DIR;
    struct stat st;
    return fstatat(dirfd(dir), d->d_name, &st, 0) == 0 && S_ISDIR(st.st_mode);
}

static void listing_add(struct listing *l, const char *name, bool is_dir)
{
    if (l->count == l->capacity) {
        l->capacity = l->capacity ? 2 * l->capacity : 64;
        l->entries = sys_realloc(l->entries, l->capacity * sizeof *l->entries);
    }
    size_t n = strlen(name) + 1;
    char *copy = sys_alloc(n);
    memcpy(copy, name, n);
    l->entries[l->count++] = (struct entry){copy, is_dir};
}

static enum err listing_read(struct listing *l, const char *path)
{
    DIR *dir = opendir(path);
    if (!dir)
        return posix_error(errno);
    enum err e = OK;
    for (;;) {
        errno = 0;
        struct dirent *d = readdir(dir);
        if (!d) {
            e = posix_error(errno);
            break;
        }
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
            listing_add(l, d->d_name, entry_is_dir(dir, d));
    }
    closedir(dir);
    return e;
}

/* Read whole before the first visit: the visitor may change the directory. */
enum err sys_dir_list(const char *path, void (*visit)(void *arg, const char *name, bool is_dir),
                      void *arg)
{
    struct listing l = {0};
    enum err e = listing_read(&l, path);
    if (!e && l.count)
        qsort(l.entries, l.count, sizeof *l.entries, by_name);
    for (size_t i = 0; i < l.count; i++) {
        if (!e)
            visit(arg, l.entries[i].name, l.entries[i].is_dir);
        sys_free(l.entries[i].name);
    }
    sys_free(l.entries);
    return e;
}

enum err sys_disk_space(const char *path, uint64_t *total_bytes, uint64_t *free_bytes)
{
    struct statvfs v;
    if (statvfs(path, &v))
        return posix_error(errno);
    *total_bytes = (uint64_t)v.f_blocks * v.f_frsize;
    *free_bytes = (uint64_t)v.f_bavail * v.f_frsize;
    return OK;
}
