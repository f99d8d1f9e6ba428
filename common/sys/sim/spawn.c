/* A simulated process starts no others, has no environment and no terminal. */
#include <string.h>
#include "common/sys/sys.h"

enum err sys_process_spawn(const char *const *argv, const char *output, struct sys_process *out)
{
    (void)argv, (void)output, (void)out;
    return ERR_UNSUPPORTED;
}

enum err sys_process_find(int64_t pid, struct sys_process *out)
{
    (void)pid, (void)out;
    return ERR_UNSUPPORTED;
}

enum err sys_process_signal(const struct sys_process *p, enum sys_process_signal what)
{
    (void)p, (void)what;
    return ERR_UNSUPPORTED;
}

enum err sys_process_wait(const struct sys_process *p, int64_t deadline, int *status)
{
    (void)p, (void)deadline, (void)status;
    return ERR_UNSUPPORTED;
}

enum err sys_process_usage(const struct sys_process *p, struct sys_usage *out)
{
    (void)p, (void)out;
    return ERR_UNSUPPORTED;
}

enum err sys_program_path(char *out, size_t max)
{
    (void)out, (void)max;
    return ERR_UNSUPPORTED;
}

/* A simulated host has no links, and no process a working directory: a path is what it says. */
enum err sys_path_real(const char *path, char *out, size_t max)
{
    size_t n = strlen(path) + 1;
    if (path[0] != '/')
        return ERR_INVALID;
    if (n > max)
        return ERR_TOO_BIG;
    memcpy(out, path, n);
    return OK;
}

const char *sys_environment(const char *name)
{
    (void)name;
    return NULL;
}

unsigned sys_terminal_columns(void)
{
    return 0;
}

enum err sys_file_private(const char *path)
{
    (void)path;
    return OK; /* a simulated disk has one owner */
}
