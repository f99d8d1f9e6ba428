/* The process: clocks, randomness, its end, its log, and errno's translation. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <unistd.h>
#include "common/sys/posix/posix_internal.h"

enum err posix_error(int number)
{
    switch (number) {
    case 0:
        return OK;
    case ENOENT:
    case ENOTDIR:
        return ERR_NOT_FOUND;
    case EEXIST:
    case ENOTEMPTY:
        return ERR_EXISTS;
    case EACCES:
    case EPERM:
        return ERR_ACCESS;
    case ENOSPC:
    case EDQUOT:
        return ERR_NO_SPACE;
    case EROFS:
        return ERR_READ_ONLY;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
    case EAGAIN:
    case EBUSY:
        return ERR_BUSY;
    case EINVAL:
    case EISDIR:
        return ERR_INVALID;
    case EFBIG:
    case ENAMETOOLONG:
        return ERR_TOO_BIG;
    case EOPNOTSUPP:
    case ENOSYS:
    case EAFNOSUPPORT:
        return ERR_UNSUPPORTED;
    case EADDRINUSE:
        return ERR_ADDRESS_IN_USE;
    case ECONNREFUSED:
        return ERR_REFUSED;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    case EPIPE:
    case ECONNRESET:
    case ECONNABORTED:
    case ENOTCONN:
    case EHOSTUNREACH:
    case ENETUNREACH:
        return ERR_CLOSED;
    default:
        return ERR_IO;
    }
}

static int64_t read_clock(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * SYS_SECOND + t.tv_nsec;
}

int64_t sys_now(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

int64_t sys_wall(void)
{
    return read_clock(CLOCK_REALTIME);
}

int64_t sys_boottime(void)
{
    return read_clock(CLOCK_BOOTTIME);
}

int64_t sys_cpu_time(void)
{
    return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

void sys_usage(struct sys_usage *out)
{
    *out = (struct sys_usage){.pid = (uint64_t)getpid(), .cpu_ns = sys_cpu_time()};
    unsigned long size, resident;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f && fscanf(f, "%lu %lu", &size, &resident) == 2)
        out->resident_bytes = (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
    if (f)
        fclose(f);
}

void sys_host_name(char out[SYS_HOST_NAME])
{
    if (gethostname(out, SYS_HOST_NAME) != 0)
        snprintf(out, SYS_HOST_NAME, "localhost");
    out[SYS_HOST_NAME - 1] = 0;
}

uint64_t sys_descriptors_raise(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit))
        return 0;
    const struct rlimit raised = {limit.rlim_max, limit.rlim_max};
    return setrlimit(RLIMIT_NOFILE, &raised) ? limit.rlim_cur : raised.rlim_cur;
}

struct timespec posix_timespec(int64_t ns)
{
    if (ns < 0)
        ns = 0;
    return (struct timespec){.tv_sec = ns / SYS_SECOND, .tv_nsec = ns % SYS_SECOND};
}

const struct timespec *posix_timeout(int64_t deadline, struct timespec *storage)
{
    if (deadline == SYS_FOREVER)
        return NULL;
    int64_t now = sys_now();
    *storage = posix_timespec(deadline > now ? deadline - now : 0);
    return storage;
}

void sys_sleep_until(int64_t deadline)
{
    struct timespec t = posix_timespec(deadline);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {}
}

void sys_random(void *out, size_t n)
{
    uint8_t *at = out;
    while (n > 0) {
        ssize_t got = getrandom(at, n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            sys_exit(1, "the system gives no random bytes");
        at += got;
        n -= (size_t)got;
    }
}

void sys_exit(int status, const char *why)
{
    char line[512];
    int n = snprintf(line, sizeof line, "process ends with status %d: %s", status, why);
    if (n > 0)
        sys_log_line(line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
    _exit(status);
}

/* The log goes to stderr. A pipe that nobody reads is asked first, since a line is smaller than
 * PIPE_BUF a writable one takes it whole; the lock keeps two threads from asking at once. */
static struct {
    pthread_mutex_t mutex;
    uint64_t dropped;
} log_sink = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static bool log_writable(void)
{
    struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};
    return poll(&p, 1, 0) == 1 && (p.revents & POLLOUT);
}

void sys_log_line(const char *line, size_t n)
{
    enum { MOST = 2048 };
    char newline = '\n';
    if (n > MOST)
        n = MOST;
    pthread_mutex_lock(&log_sink.mutex);
    bool written = log_writable();
    if (written && log_sink.dropped) {
        char note[64];
        int k = snprintf(note, sizeof note, "(%llu log lines dropped)\n",
                         (unsigned long long)log_sink.dropped);
        log_sink.dropped = 0;
        written = write(STDERR_FILENO, note, (size_t)k) == k && log_writable();
    }
    if (written) {
        struct iovec v[2] = {{(void *)(uintptr_t)line, n}, {&newline, 1}};
        written = writev(STDERR_FILENO, v, 2) > 0;
    }
    log_sink.dropped += !written;
    pthread_mutex_unlock(&log_sink.mutex);
}
