/* Other processes, named by pid and start stamp. A pidfd is opened first and the stamp read after:
 * when both agree, the descriptor is that process and no later owner of its pid, so a signal can
 * never reach a stranger. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "common/sys/posix/posix_internal.h"

/* Field 22 of /proc/PID/stat, in clock ticks since boot; the second field is a name in brackets
 * that may hold anything, so the fields are counted from its last bracket. A zombie (state Z or X)
 * has ended. */
static enum err read_start(int64_t pid, uint64_t *started)
{
    enum { STATE = 3, START = 22 };
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return posix_error(errno);
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return ERR_NOT_FOUND;
    text[n] = 0;
    char *at = strrchr(text, ')');
    if (!at || !at[1] || at[2] == 'Z' || at[2] == 'X')
        return ERR_NOT_FOUND;
    at += 2;
    for (int field = STATE; field < START; field++) {
        at = strchr(at, ' ');
        if (!at)
            return ERR_FORMAT;
        at++;
    }
    *started = strtoull(at, NULL, 10);
    return OK;
}

/* A descriptor of exactly this process, or -1 when it has ended. */
static int open_process(const struct sys_process *p)
{
    int fd = pidfd_open((pid_t)p->pid, 0);
    uint64_t started;
    if (fd >= 0 && (read_start(p->pid, &started) != OK || started != p->started)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

enum err sys_process_find(int64_t pid, struct sys_process *out)
{
    if (pid <= 0 || pid > INT32_MAX)
        return ERR_NOT_FOUND;
    out->pid = pid;
    return read_start(pid, &out->started);
}

enum err sys_process_signal(const struct sys_process *p, enum sys_process_signal what)
{
    static const int numbers[] = {SIGTERM, SIGKILL, SIGHUP};
    int fd = open_process(p);
    if (fd < 0)
        return ERR_NOT_FOUND;
    int failed = pidfd_send_signal(fd, numbers[what], NULL, 0);
    enum err e = failed ? (errno == ESRCH ? ERR_NOT_FOUND : posix_error(errno)) : OK;
    close(fd);
    return e;
}

/* Reaps our own child; false when it is none of ours. */
static bool reap(const struct sys_process *p, int *status)
{
    int raw;
    pid_t got;
    do
        got = waitpid((pid_t)p->pid, &raw, WNOHANG);
    while (got < 0 && errno == EINTR);
    if (got != (pid_t)p->pid)
        return false;
    *status = WIFEXITED(raw) ? WEXITSTATUS(raw) : 128 + WTERMSIG(raw);
    return true;
}

enum err sys_process_wait(const struct sys_process *p, int64_t deadline, int *status)
{
    *status = -1;
    int fd = open_process(p);
    if (fd >= 0) {
        enum err e = posix_await(fd, POLLIN, deadline);
        close(fd);
        if (e)
            return e;
    }
    reap(p, status);
    return OK;
}

static enum err spawn_error(int number)
{
    return number == ENOEXEC ? ERR_FORMAT : posix_error(number);
}

enum err sys_process_spawn(const char *const *argv, const char *output, struct sys_process *out)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none, defaults;
    sigemptyset(&none);
    sigfillset(&defaults);
    if (posix_spawn_file_actions_init(&files) || posix_spawnattr_init(&attributes))
        return ERR_BUSY;
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, 1, output, O_WRONLY | O_CREAT | O_APPEND, 0644);
    posix_spawn_file_actions_adddup2(&files, 1, 2);
    posix_spawn_file_actions_addclosefrom_np(&files, 3);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    pid_t pid;
    int failed =
        posix_spawn(&pid, argv[0], &files, &attributes, (char *const *)(uintptr_t)argv, environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
    if (failed)
        return spawn_error(failed);
    enum err e = sys_process_find(pid, out);
    if (e == ERR_NOT_FOUND) /* it has ended already: whoever waits will reap it */
        *out = (struct sys_process){.pid = pid};
    return e == ERR_NOT_FOUND ? OK : e;
}

/* By the kernel's CPU clock of the process, in nanoseconds; /proc/PID/stat knows only ticks. */
enum err sys_process_usage(const struct sys_process *p, struct sys_usage *out)
{
    char path[64];
    clockid_t clock;
    struct timespec t;
    unsigned long size, resident = 0;
    int fd = open_process(p);
    if (fd < 0)
        return ERR_NOT_FOUND;
    *out = (struct sys_usage){.pid = (uint64_t)p->pid};
    enum err e =
        clock_getcpuclockid((pid_t)p->pid, &clock) || clock_gettime(clock, &t) ? ERR_NOT_FOUND : OK;
    snprintf(path, sizeof path, "/proc/%lld/statm", (long long)p->pid);
    FILE *f = e ? NULL : fopen(path, "re");
    if (f && fscanf(f, "%lu %lu", &size, &resident) == 2)
        out->resident_bytes = (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
    if (f)
        fclose(f);
    if (!e)
        out->cpu_ns = (int64_t)t.tv_sec * SYS_SECOND + t.tv_nsec;
    close(fd);
    return e;
}

enum err sys_program_path(char *out, size_t max)
{
    ssize_t n = readlink("/proc/self/exe", out, max);
    if (n < 0)
        return posix_error(errno);
    if ((size_t)n >= max)
        return ERR_TOO_BIG;
    out[n] = 0;
    return OK;
}

enum err sys_path_real(const char *path, char *out, size_t max)
{
    char real[PATH_MAX];
    if (!realpath(path, real))
        return posix_error(errno);
    if (strlen(real) >= max)
        return ERR_TOO_BIG;
    memcpy(out, real, strlen(real) + 1);
    return OK;
}

const char *sys_environment(const char *name)
{
    return getenv(name);
}

unsigned sys_terminal_columns(void)
{
    struct winsize size;
    if (!isatty(STDOUT_FILENO))
        return 0;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || size.ws_col == 0)
        return 80;
    return size.ws_col;
}

enum err sys_file_private(const char *path)
{
    return chmod(path, 0600) ? posix_error(errno) : OK;
}
