/* Runs a suite's tests on the real floor: on the main thread, in an empty directory that is
 * removed afterwards. A test that hangs is ended by the alarm. */
#define _GNU_SOURCE
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "tests/unit/suite_internal.h"

enum { TEST_SECONDS = 120 };

static char directory[256];

const char *suite_dir(void)
{
    return directory;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

/* Not counting eventfds: the process' own stop events are made when first asked for, and a lost
 * one of the test's is a lost block too, which ASan sees. */
static unsigned open_descriptors(void)
{
    unsigned n = 0;
    for (int fd = 0; fd < 1024; fd++) {
        char link[64], target[64] = {0};
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        n += readlink(link, target, sizeof target - 1) > 0 && !strstr(target, "eventfd");
    }
    return n;
}

void suite_floor_run(const struct test *test, uint64_t seed)
{
    (void)seed;
    const char *base = getenv("TMPDIR");
    snprintf(directory, sizeof directory, "%s/cairn-unit-XXXXXX", base && *base ? base : "/tmp");
    if (!suite_check(mkdtemp(directory) != NULL, __FILE__, __LINE__, "mkdtemp %s", directory))
        return;
    unsigned before = open_descriptors();
    alarm(TEST_SECONDS);
    test->run();
    alarm(0);
    unsigned after = open_descriptors();
    suite_check(after <= before, __FILE__, __LINE__, "%u descriptors were left open",
                after - before);
    (void)nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}
