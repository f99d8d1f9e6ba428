/* Runs a suite's tests on the simulated floor: each as the process "test" on host 1 of a world of its
 * own. The test may use sim.h itself. What it leaves behind is a failure, and so is not being done
 * within an hour of virtual time. CAIRN_LOG=1 in the environment shows the log. */
#include <stdio.h>
#include <stdlib.h>
#include "common/sys/sim/sim.h"
#include "tests/unit/suite_internal.h"

#define CHECK_NONE(leaks, what)                                                               \
    suite_check((leaks).what == 0, __FILE__, __LINE__, "the test left %llu " #what " behind", \
                (unsigned long long)(leaks).what)

static struct {
    bool finished;
} state;

const char *suite_dir(void)
{
    return "/test";
}

static void show_log(void *arg, const char *process, const char *line, size_t n)
{
    (void)arg;
    fprintf(stderr, "%.6f %s: %.*s\n", (double)sim_now() / 1e9, process, (int)n, line);
}

static void check_leaks(struct sim_leaks l)
{
    CHECK_NONE(l, blocks);
    CHECK_NONE(l, threads);
    CHECK_NONE(l, sockets);
    CHECK_NONE(l, files);
    CHECK_NONE(l, events);
    CHECK_NONE(l, mutexes);
    CHECK_NONE(l, conds);
}

static void test_main(void *arg)
{
    const struct test *test = arg;
    if (sys_mkdir(suite_dir()) || sys_dir_sync("/"))
        abort();
    test->run();
    check_leaks(sim_leaks(sim_self()));
    state.finished = true;
    sys_exit(0, "the test is over"); /* threads that it forgot have been told of above */
}

static bool finished(void *arg)
{
    (void)arg;
    return state.finished;
}

void suite_floor_run(const struct test *test, uint64_t seed)
{
    if (strncmp(test->name, "outside: ", 9) == 0) {
        test->run();
        return;
    }
    state.finished = false;
    sim_init(seed);
    sim_log_to(getenv("CAIRN_LOG") ? show_log : NULL, NULL);
    int pid = sim_spawn("test", 1, test_main, (void *)(uintptr_t)test);
    bool in_time = sim_run(sim_now() + 3600 * SYS_SECOND, finished, NULL);
    if (!suite_check(in_time, __FILE__, __LINE__, "not done after an hour of virtual time"))
        sim_report();
    suite_check(!in_time || state.finished, __FILE__, __LINE__,
                "the test's process ended before the test did (status %d)", sim_exit_status(pid));
    sim_end();
}
