/* Other processes: started apart from us, waited for, signalled by identity and not by number. */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>
#include "common/sys/sys.h"
#include "tests/unit/suite.h"

static struct sys_process shell(const char *script, char output[300])
{
    const char *argv[] = {"/bin/sh", "-c", script, NULL};
    struct sys_process p = {0};
    snprintf(output, 300, "%s/output", suite_dir());
    CHECK_OK(sys_process_spawn(argv, output, &p));
    return p;
}

static size_t read_all(const char *path, char *out, size_t max)
{
    struct sys_file *f;
    size_t n = 0;
    if (CHECK_OK(sys_file_open(path, SYS_OPEN_READ, &f))) {
        CHECK_OK(sys_file_read(f, 0, out, max - 1, &n));
        sys_file_close(f);
    }
    out[n] = 0;
    return n;
}

static void waits_for_the_end(void)
{
    char output[300], text[100];
    int status;
    struct sys_process p = shell("echo out; echo err >&2; exit 7", output);
    CHECK_OK(sys_process_wait(&p, sys_now() + 10 * SYS_SECOND, &status));
    CHECK_EQ(status, 7);
    read_all(output, text, sizeof text);
    CHECK_TEXT(text, "out\nerr\n");
    CHECK_ERR(sys_process_signal(&p, SYS_PROCESS_KILL), ERR_NOT_FOUND);
}

static void stops_and_kills(void)
{
    char output[300];
    int status;
    struct sys_process p = shell("exec tail -f /dev/null", output);
    CHECK_ERR(sys_process_wait(&p, sys_now() + 20 * SYS_MS, &status), ERR_TIMEOUT);
    CHECK_OK(sys_process_signal(&p, SYS_PROCESS_STOP));
    CHECK_OK(sys_process_wait(&p, sys_now() + 10 * SYS_SECOND, &status));
    CHECK_EQ(status, 128 + SIGTERM);
    p = shell("trap '' TERM; exec tail -f /dev/null", output);
    CHECK_OK(sys_process_signal(&p, SYS_PROCESS_KILL));
    CHECK_OK(sys_process_wait(&p, sys_now() + 10 * SYS_SECOND, &status));
    CHECK_EQ(status, 128 + SIGKILL);
}

static void spares_a_new_owner_of_the_pid(void)
{
    char output[300];
    int status;
    struct sys_process p = shell("exec tail -f /dev/null", output), found, older;
    CHECK_OK(sys_process_find(p.pid, &found));
    CHECK(found.started == p.started && p.started > 0);
    older = p;
    older.started--;
    CHECK_ERR(sys_process_signal(&older, SYS_PROCESS_KILL), ERR_NOT_FOUND);
    CHECK_OK(sys_process_find(p.pid, &found));
    CHECK_OK(sys_process_signal(&p, SYS_PROCESS_KILL));
    CHECK_OK(sys_process_wait(&p, sys_now() + 10 * SYS_SECOND, &status));
    CHECK_ERR(sys_process_find(p.pid, &found), ERR_NOT_FOUND);
}

static void tells_what_it_used(void)
{
    char output[300];
    int status;
    struct sys_usage usage = {0};
    struct sys_process p = shell("while :; do :; done", output), older = p;
    for (unsigned i = 0; i < 1000 && usage.cpu_ns < 20 * SYS_MS; i++) {
        sys_sleep_until(sys_now() + 10 * SYS_MS);
        CHECK_OK(sys_process_usage(&p, &usage));
    }
    CHECK(usage.cpu_ns >= 20 * SYS_MS && usage.cpu_ns < 10 * SYS_SECOND);
    CHECK_EQ(usage.pid, p.pid);
    CHECK(usage.resident_bytes > 100000);
    older.started--;
    CHECK_ERR(sys_process_usage(&older, &usage), ERR_NOT_FOUND);
    CHECK_OK(sys_process_signal(&p, SYS_PROCESS_KILL));
    CHECK_OK(sys_process_wait(&p, sys_now() + 10 * SYS_SECOND, &status));
    CHECK_ERR(sys_process_usage(&p, &usage), ERR_NOT_FOUND);
}

static void inherits_nothing(void)
{
    char output[300], text[200];
    int status, pipes[2];
    CHECK_EQ(pipe(pipes), 0); /* without close-on-exec */
    struct sys_process p = shell("cd /proc/self/fd && set -- * && echo $#", output);
    CHECK_OK(sys_process_wait(&p, sys_now() + 10 * SYS_SECOND, &status));
    close(pipes[0]);
    close(pipes[1]);
    read_all(output, text, sizeof text);
    CHECK(strncmp(text, "4\n", 2) == 0 || strncmp(text, "3\n", 2) == 0);
}

static void says_what_cannot_run(void)
{
    const char *argv[] = {"/no/such/program", NULL};
    char output[300];
    struct sys_process p;
    snprintf(output, sizeof output, "%s/output", suite_dir());
    CHECK_ERR(sys_process_spawn(argv, output, &p), ERR_NOT_FOUND);
    CHECK_ERR(sys_process_find(0, &p), ERR_NOT_FOUND);
    CHECK_ERR(sys_process_find(INT64_C(1) << 40, &p), ERR_NOT_FOUND);
}

static const struct test tests[] = {
    {"waits for the end", waits_for_the_end},
    {"stops and kills", stops_and_kills},
    {"spares a new owner of the pid", spares_a_new_owner_of_the_pid},
    {"tells what it used", tells_what_it_used},
    {"inherits nothing", inherits_nothing},
    {"says what cannot run", says_what_cannot_run},
    {0},
};
SUITE("other processes", tests)
