/* Stream sockets. Descriptors are non-blocking; whoever must wait waits in ppoll with a deadline.
 * Host names are looked up by resolve.c. */
#define _GNU_SOURCE
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include "common/sys/posix/posix_internal.h"

enum { BACKLOG = 1024 };

static const uint8_t v4_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_storage space;
};

static socklen_t to_os(const struct sys_addr *a, union address *out)
{
    memset(out, 0, sizeof *out);
    if (memcmp(a->host, v4_prefix, sizeof v4_prefix) == 0) {
        out->v4.sin_family = AF_INET;
        out->v4.sin_port = htons(a->port);
        memcpy(&out->v4.sin_addr, a->host + sizeof v4_prefix, 4);
        return sizeof out->v4;
    }
    out->v6.sin6_family = AF_INET6;
    out->v6.sin6_port = htons(a->port);
    memcpy(&out->v6.sin6_addr, a->host, 16);
    return sizeof out->v6;
}

static struct sys_addr from_os(const union address *in)
{
    struct sys_addr a = {0};
    if (in->any.sa_family == AF_INET) {
        memcpy(a.host, v4_prefix, sizeof v4_prefix);
        memcpy(a.host + sizeof v4_prefix, &in->v4.sin_addr, 4);
        a.port = ntohs(in->v4.sin_port);
    } else if (in->any.sa_family == AF_INET6) {
        memcpy(a.host, &in->v6.sin6_addr, 16);
        a.port = ntohs(in->v6.sin6_port);
    }
    return a;
}

static struct sys_socket *socket_new(int fd)
{
    struct sys_socket *s = sys_alloc(sizeof *s);
    s->fd = fd;
    return s;
}

static enum err open_socket(const struct sys_addr *a, union address *os, socklen_t *size, int *fd)
{
    *size = to_os(a, os);
    *fd = socket(os->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return *fd < 0 ? posix_error(errno) : OK;
}

/* Small frames go out at once; sys_send's `more` is how callers join them. */
static void no_delay(int fd)
{
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

enum err sys_listen(const struct sys_addr *a, struct sys_socket **out)
{
    union address os;
    socklen_t size;
    int fd, one = 1;
    enum err e = open_socket(a, &os, &size, &fd);
    if (e)
        return e;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, &os.any, size) || listen(fd, BACKLOG)) {
        e = posix_error(errno);
        close(fd);
        return e;
    }
    *out = socket_new(fd);
    return OK;
}

/* Linux reports the errors of a connection that died in the queue through accept: take the next. */
static bool accept_again(int number)
{
    return number == EINTR || number == ECONNABORTED || number == EPROTO || number == ENETDOWN ||
           number == EHOSTUNREACH || number == ENETUNREACH || number == EHOSTDOWN;
}

enum err sys_accept(struct sys_socket *listener, int64_t deadline, struct sys_socket **out)
{
    for (;;) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            no_delay(fd);
            *out = socket_new(fd);
            return OK;
        }
        if (accept_again(errno))
            continue;
        if (errno == EINVAL)
            return ERR_CLOSED; /* shut down */
        if (errno != EAGAIN)
            return posix_error(errno);
        enum err e = posix_await(listener->fd, POLLIN, deadline);
        if (e)
            return e;
    }
}

static enum err connect_error(int number)
{
    enum err e = posix_error(number);
    return e == ERR_IO || e == ERR_ACCESS || e == ERR_INVALID ? ERR_CLOSED : e;
}

enum err sys_connect(const struct sys_addr *a, int64_t deadline, struct sys_socket **out)
{
    union address os;
    socklen_t size;
    int fd;
    enum err e = open_socket(a, &os, &size, &fd);
    if (e)
        return e;
    no_delay(fd);
    if (connect(fd, &os.any, size)) {
        /* After EINTR the attempt goes on by itself, as with EINPROGRESS. */
        if (errno != EINPROGRESS && errno != EINTR) {
            e = connect_error(errno);
            goto out;
        }
        e = posix_await(fd, POLLOUT, deadline);
        if (e)
            goto out;
        int failed = 0;
        socklen_t length = sizeof failed;
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &length))
            failed = errno;
        e = failed ? connect_error(failed) : OK;
    }
out:
    if (e)
        close(fd);
    else
        *out = socket_new(fd);
    return e;
}

enum err sys_send(struct sys_socket *s, const struct sys_slice *v, size_t n, bool more,
                  int64_t deadline, size_t *done)
{
    assert(n > 0 && n <= SYS_SLICES_MAX);
    struct iovec parts[SYS_SLICES_MAX];
    for (size_t i = 0; i < n; i++)
        parts[i] = (struct iovec){(void *)(uintptr_t)v[i].data, v[i].length};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = n};
    *done = 0;
    for (;;) {
        ssize_t sent = sendmsg(s->fd, &message, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
        if (sent >= 0) {
            *done = (size_t)sent;
            return OK;
        }
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN)
            return ERR_CLOSED;
        enum err e = posix_await(s->fd, POLLOUT, deadline);
        if (e)
            return e;
    }
}

enum err sys_recv(struct sys_socket *s, void *out, size_t max, int64_t deadline, size_t *done)
{
    assert(max > 0);
    *done = 0;
    for (;;) {
        ssize_t got = recv(s->fd, out, max, 0);
        if (got > 0) {
            *done = (size_t)got;
            return OK;
        }
        if (got < 0 && errno == EINTR)
            continue;
        if (got == 0 || errno != EAGAIN)
            return ERR_CLOSED;
        enum err e = posix_await(s->fd, POLLIN, deadline);
        if (e)
            return e;
    }
}

void sys_socket_shutdown(struct sys_socket *s)
{
    (void)shutdown(s->fd, SHUT_RDWR);
}

void sys_socket_shutdown_write(struct sys_socket *s)
{
    (void)shutdown(s->fd, SHUT_WR);
}

void sys_socket_close(struct sys_socket *s)
{
    if (!s)
        return;
    assert(!s->borrowed);
    close(s->fd);
    sys_free(s);
}

void sys_socket_borrow(int descriptor, struct sys_socket **out)
{
    *out = socket_new(descriptor);
    (*out)->borrowed = true;
}

void sys_socket_release(struct sys_socket *s)
{
    if (!s)
        return;
    assert(s->borrowed);
    sys_free(s);
}

struct sys_addr sys_socket_peer(const struct sys_socket *s)
{
    union address os = {0};
    socklen_t size = sizeof os;
    if (getpeername(s->fd, &os.any, &size))
        return (struct sys_addr){0};
    return from_os(&os);
}

struct sys_addr sys_socket_local(const struct sys_socket *s)
{
    union address os = {0};
    socklen_t size = sizeof os;
    if (getsockname(s->fd, &os.any, &size))
        return (struct sys_addr){0};
    return from_os(&os);
}
