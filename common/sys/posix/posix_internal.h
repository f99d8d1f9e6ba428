/* What the files of this floor share. */
#pragma once
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#include "common/sys/sys.h"

struct sys_event {
    int fd; /* an eventfd: readable = set */
    /* Says nothing; who sees the event set also sees what its setter wrote before. The kernel keeps
     * that order, but neither C nor TSan knows that. */
    atomic_uint order;
};

struct sys_socket {
    int fd;
    bool borrowed; /* somebody else closes the descriptor */
};

/* errno -> enum err; what has no better word is ERR_IO. */
enum err posix_error(int number);
/* Time left until an absolute deadline, for ppoll: NULL when it never comes. */
const struct timespec *posix_timeout(int64_t deadline, struct timespec *storage);
struct timespec posix_timespec(int64_t ns);
/* Waits until one of the poll bits is there. OK or ERR_TIMEOUT. */
enum err posix_await(int fd, short bits, int64_t deadline);
