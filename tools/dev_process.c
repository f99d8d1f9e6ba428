/* Starts and ends the processes of a local cluster. A process is known by its pid and the kernel's
 * stamp of its start, so that a pid that went to somebody else is never signalled. */
#include <stdio.h>
#include <string.h>
#include "common/base/text.h"
#include "tools/dev_cluster.h"

static enum err read_number(const char *path, uint64_t *out)
{
    char text[32];
    struct sys_file *f;
    size_t n;
    enum err e = sys_file_open(path, SYS_OPEN_READ, &f);
    if (e)
        return e;
    e = sys_file_read(f, 0, text, sizeof text, &n);
    sys_file_close(f);
    while (n > 0 && text[n - 1] == '\n')
        n--;
    return e ? e : decimal_parse(text, n, out) ? ERR_NOT_FOUND : OK;
}

static enum err write_number(const char *path, uint64_t number)
{
    char text[32];
    struct sys_file *f;
    int n = snprintf(text, sizeof text, "%llu\n", (unsigned long long)number);
    enum err e = sys_file_open(path, SYS_OPEN_WRITE | SYS_OPEN_CREATE | SYS_OPEN_TRUNCATE, &f);
    if (e)
        return e;
    e = sys_file_write(f, 0, text, (size_t)n);
    sys_file_close(f);
    return e;
}

enum err dev_process_state(const struct dev_cluster *c, const struct dev_process *p,
                           struct sys_process *out)
{
    char path[DEV_PATH];
    uint64_t pid, started;
    dev_path(c, "run", p, ".pid", path);
    enum err e = read_number(path, &pid);
    if (e)
        return e;
    dev_path(c, "run", p, ".started", path);
    e = read_number(path, &started);
    if (e)
        return e;
    if (pid > INT32_MAX)
        return ERR_NOT_FOUND;
    e = sys_process_find((int64_t)pid, out);
    return e ? e : out->started == started ? OK : ERR_NOT_FOUND;
}

enum err dev_process_start(const struct dev_cluster *c, const struct dev_process *p,
                           const char *flag)
{
    char program[SYS_PATH_MAX], conf[DEV_PATH], log[DEV_PATH], path[DEV_PATH];
    struct sys_process process;
    enum err e = dev_process_state(c, p, &process);
    if (e != ERR_NOT_FOUND)
        return e ? e : ERR_EXISTS;
    dev_path(c, "conf", p, ".conf", conf);
    dev_path(c, "log", p, ".log", log);
    e = sys_program_path(program, sizeof program);
    if (e)
        return e;
    const char *argv[] = {program, "server", "--config", conf, flag, NULL};
    e = sys_process_spawn(argv, log, &process);
    if (e)
        return e;
    /* The stamp first: a pid file without it names nobody. */
    dev_path(c, "run", p, ".started", path);
    e = write_number(path, process.started);
    dev_path(c, "run", p, ".pid", path);
    if (!e)
        e = write_number(path, (uint64_t)process.pid);
    if (e)
        (void)!sys_process_signal(&process, SYS_PROCESS_KILL);
    return e;
}

enum err dev_process_end(const struct dev_cluster *c, const struct dev_process *p,
                         enum sys_process_signal how, int64_t deadline)
{
    struct sys_process process;
    int status;
    enum err e = dev_process_state(c, p, &process);
    if (e)
        return e;
    e = sys_process_signal(&process, how);
    if (!e)
        e = sys_process_wait(&process, deadline, &status);
    return e == ERR_NOT_FOUND ? OK : e;
}

static void count_entry(void *arg, const char *name, bool is_dir)
{
    (void)name, (void)is_dir;
    ++*(size_t *)arg;
}

bool dev_process_is_new(const struct dev_cluster *c, const struct dev_process *p)
{
    char path[DEV_PATH];
    size_t entries = 0;
    dev_path(c, "data", p, "", path);
    enum err e = sys_dir_list(path, count_entry, &entries);
    return e == ERR_NOT_FOUND || (!e && entries == 0);
}

bool dev_process_is(const struct dev_process *p, const char *role)
{
    size_t n = strlen(role);
    return strncmp(p->name, role, n) == 0 && p->name[n] == '-';
}
