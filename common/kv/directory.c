#include <stdio.h>
#include <string.h>
#include "common/kv/kv_internal.h"
#include "common/sys/sys.h"

enum err kv_make_directory(const char *directory)
{
    enum err e = sys_mkdir(directory);
    if (e)
        return e == ERR_EXISTS ? OK : e;
    char parent[SYS_PATH_MAX];
    snprintf(parent, sizeof parent, "%s", directory);
    char *slash = strrchr(parent, '/');
    if (!slash)
        return sys_dir_sync(".");
    slash[slash == parent] = 0; /* the root keeps its name */
    return sys_dir_sync(parent);
}
