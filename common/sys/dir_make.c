/* A directory whose name is durable: a crash after this returned does not take it back. */
#include <string.h>
#include "common/sys/sys.h"

enum err sys_dir_sync_parent(const char *path)
{
    char parent[SYS_PATH_MAX];
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof parent)
        return ERR_INVALID;
    memcpy(parent, path, n + 1);
    while (n > 1 && parent[n - 1] == '/')
        n--;
    while (n > 0 && parent[n - 1] != '/')
        n--;
    while (n > 1 && parent[n - 1] == '/')
        n--;
    parent[n] = 0;
    return sys_dir_sync(n > 0 ? parent : ".");
}

enum err sys_dir_make(const char *path)
{
    enum err e = sys_mkdir(path);
    if (e != OK && e != ERR_EXISTS)
        return e;
    /* Also of one that was there: whoever made it may not have come this far. */
    return sys_dir_sync_parent(path);
}
