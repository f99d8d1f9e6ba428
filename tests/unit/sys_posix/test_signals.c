/* What only the real floor has: signals that become events, a log that never blocks, a name looked up
 * past its deadline. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>
#include "common/sys/sys.h"
#include "tests/unit/suite.h"

static void signals(void)
{
    struct sys_event *stop = sys_stop_event(), *reload = sys_reload_event();
    struct sys_poll v = {.event = stop};
    CHECK(!sys_event_is_set(stop) && !sys_event_is_set(reload));
    kill(getpid(), SIGHUP);
    CHECK(sys_event_is_set(reload) && !sys_event_is_set(stop));
    sys_event_clear(reload);
    CHECK(!sys_event_is_set(reload));
    kill(getpid(), SIGTERM);
    CHECK_OK(sys_poll(&v, 1, sys_now() + SYS_SECOND));
    sys_event_clear(stop);
    kill(getpid(), SIGINT);
    CHECK(sys_event_is_set(stop));
    sys_event_clear(stop);
}

/* stderr becomes a pipe that nobody reads: lines are dropped, and counted once there is room. */
static void log_does_not_block(void)
{
    int ends[2], saved = dup(STDERR_FILENO);
    char line[1000], got[8192];
    CHECK(pipe(ends) == 0);
    memset(line, 'x', sizeof line);
    dup2(ends[1], STDERR_FILENO);
    for (int i = 0; i < 200; i++)
        sys_log_line(line, sizeof line);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    bool counted = false;
    ssize_t n;
    while (read(ends[0], got, sizeof got) > 0) {}
    sys_log_line("after", 5);
    while ((n = read(ends[0], got, sizeof got - 1)) > 0) {
        got[n] = 0;
        counted = counted || strstr(got, " log lines dropped)\nafter\n");
    }
    CHECK(counted);
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(ends[0]);
    close(ends[1]);
}

static void resolve_past_deadline(void)
{
    struct sys_addr out;
    size_t n;
    enum err e = sys_resolve("localhost.invalid", 1, 0, &out, 1, &n);
    CHECK(e == ERR_TIMEOUT || e == ERR_NOT_FOUND);
    /* The one that was given up is joined by a later call. */
    for (int i = 0; i < 200 && e == ERR_TIMEOUT; i++) {
        sys_sleep_until(sys_now() + 5 * SYS_MS);
        CHECK_OK(sys_resolve("127.0.0.1", 1, 0, &out, 1, &n));
    }
}

static const struct test tests[] = {
    {"signals", signals},
    {"log does not block", log_does_not_block},
    {"resolve past its deadline", resolve_past_deadline},
    {0},
};
SUITE("sys on the real floor", tests)
