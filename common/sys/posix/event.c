/* Events on eventfd, the wait for many of them, and the signals that set two of them.
 *
 * The state of an event is its descriptor's, no flag beside it, so that setting is one system
 * call that also a signal handler may make. */
#define _GNU_SOURCE
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "common/sys/posix/posix_internal.h"

enum err sys_event_new(struct sys_event **out)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd < 0)
        return ERR_BUSY;
    struct sys_event *e = sys_alloc(sizeof *e);
    e->fd = fd;
    *out = e;
    return OK;
}

void sys_event_free(struct sys_event *e)
{
    if (!e)
        return;
    close(e->fd);
    sys_free(e);
}

/* EAGAIN means that the counter is full: set it is. */
void sys_event_set(struct sys_event *e)
{
    uint64_t one = 1;
    ssize_t n;
    atomic_fetch_add_explicit(&e->order, 1, memory_order_release);
    do
        n = write(e->fd, &one, sizeof one);
    while (n < 0 && errno == EINTR);
}

void sys_event_clear(struct sys_event *e)
{
    uint64_t count;
    ssize_t n;
    do
        n = read(e->fd, &count, sizeof count);
    while (n < 0 && errno == EINTR);
}

bool sys_event_is_set(const struct sys_event *e)
{
    struct pollfd p = {.fd = e->fd, .events = POLLIN};
    bool set = poll(&p, 1, 0) == 1;
    (void)atomic_load_explicit(&e->order, memory_order_acquire);
    return set;
}

enum err posix_await(int fd, short bits, int64_t deadline)
{
    struct pollfd p = {.fd = fd, .events = bits};
    for (;;) {
        struct timespec storage;
        int n = ppoll(&p, 1, posix_timeout(deadline, &storage), NULL);
        if (n > 0)
            return OK;
        if (n == 0)
            return ERR_TIMEOUT;
        assert(errno == EINTR || errno == ENOMEM);
    }
}

static void poll_entry(const struct sys_poll *v, struct pollfd *p)
{
    *p = (struct pollfd){.fd = -1}; /* the kernel skips negative descriptors */
    if (v->socket) {
        p->fd = v->socket->fd;
        p->events = POLLRDHUP;
        if (v->want & SYS_READ)
            p->events |= POLLIN;
        if (v->want & SYS_WRITE)
            p->events |= POLLOUT;
    } else if (v->event) {
        p->fd = v->event->fd;
        p->events = POLLIN;
    }
}

static uint8_t poll_ready(const struct sys_poll *v, short bits)
{
    assert(!(bits & POLLNVAL));
    if (v->event && !v->socket) {
        (void)atomic_load_explicit(&v->event->order, memory_order_acquire);
        return bits & POLLIN ? SYS_READ : 0;
    }
    uint8_t ready = 0;
    if (bits & POLLIN)
        ready |= SYS_READ;
    if (bits & POLLOUT)
        ready |= SYS_WRITE;
    if (bits & (POLLRDHUP | POLLHUP | POLLERR))
        ready |= SYS_HANGUP;
    return ready;
}

enum err sys_poll(struct sys_poll *v, size_t n, int64_t deadline)
{
    struct pollfd p[SYS_POLL_MAX];
    assert(n <= SYS_POLL_MAX);
    for (size_t i = 0; i < n; i++) {
        poll_entry(&v[i], &p[i]);
        v[i].ready = 0;
    }
    for (;;) {
        struct timespec storage;
        int found = ppoll(p, n, posix_timeout(deadline, &storage), NULL);
        if (found == 0)
            return ERR_TIMEOUT;
        if (found > 0)
            break;
        assert(errno == EINTR || errno == ENOMEM);
    }
    for (size_t i = 0; i < n; i++)
        v[i].ready = poll_ready(&v[i], p[i].revents);
    return OK;
}

/* ---- signals ----
 *
 * One handler writes to the event's descriptor. A thread in sigwait would need the signals blocked
 * in every thread that was started before it, and somebody to join it at the end. */
static struct {
    pthread_once_t once;
    struct sys_event stop, reload;
} signals = {.once = PTHREAD_ONCE_INIT, .stop = {.fd = -1}, .reload = {.fd = -1}};

static void on_signal(int number)
{
    int saved = errno;
    sys_event_set(number == SIGHUP ? &signals.reload : &signals.stop);
    errno = saved;
}

static void signals_start(void)
{
    signals.stop.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    signals.reload.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (signals.stop.fd < 0 || signals.reload.fd < 0)
        sys_exit(1, "no descriptors left for the signal events");
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    /* Libraries that write to sockets on their own (TLS, HTTP) do not all pass MSG_NOSIGNAL. */
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigemptyset(&ignore.sa_mask);
    sigaction(SIGPIPE, &ignore, NULL);
}

struct sys_event *sys_stop_event(void)
{
    pthread_once(&signals.once, signals_start);
    return &signals.stop;
}

struct sys_event *sys_reload_event(void)
{
    pthread_once(&signals.once, signals_start);
    return &signals.reload;
}
