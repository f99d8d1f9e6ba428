#include "common/sys/ballast.h"
#include <stdio.h>
#include "common/sys/log.h"
#include "common/sys/sys.h"

static void path_of(const char *directory, char out[SYS_PATH_MAX])
{
    snprintf(out, SYS_PATH_MAX, "%s/ballast", directory);
}

uint64_t ballast_bytes(const char *directory)
{
    char path[SYS_PATH_MAX];
    struct sys_file *f;
    uint64_t size = 0;
    path_of(directory, path);
    if (sys_file_open(path, SYS_OPEN_READ, &f) != OK)
        return 0;
    if (sys_file_size(f, &size) != OK)
        size = 0;
    sys_file_close(f);
    return size;
}

static enum err cut(const char *path, uint64_t left)
{
    struct sys_file *f;
    enum err e = sys_file_open(path, SYS_OPEN_WRITE, &f);
    if (e != OK)
        return e;
    e = sys_file_truncate(f, left);
    if (e == OK)
        e = sys_file_sync(f);
    sys_file_close(f);
    return e;
}

enum err ballast_give(const char *directory, uint64_t left)
{
    char path[SYS_PATH_MAX];
    path_of(directory, path);
    if (left > 0)
        return cut(path, left);
    enum err e = sys_unlink(path);
    return e == OK ? sys_dir_sync(directory) : e;
}

enum err ballast_make(const char *directory, uint64_t bytes)
{
    char path[SYS_PATH_MAX];
    struct sys_file *f;
    uint64_t before = ballast_bytes(directory);
    path_of(directory, path);
    enum err e = sys_file_open(path, SYS_OPEN_WRITE | SYS_OPEN_CREATE, &f);
    if (e != OK)
        return e;
    e = sys_file_allocate(f, 0, bytes);
    if (e == OK)
        e = sys_file_sync(f);
    sys_file_close(f);
    if (e == OK)
        e = sys_dir_sync(directory);
    if (e != OK && ballast_give(directory, before) != OK)
        log_warn("space", "%s stays half made", path);
    return e;
}
