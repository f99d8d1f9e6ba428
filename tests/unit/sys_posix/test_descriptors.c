/* The limit of descriptors is that of the system, not that of a shell. */
#include <sys/resource.h>
#include "common/sys/sys.h"
#include "tests/unit/suite.h"

static void raise_soft(void)
{
    struct rlimit usual, low, raised;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &usual), 0);
    low = (struct rlimit){40, usual.rlim_max};
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
    CHECK_EQ(sys_descriptors_raise(), usual.rlim_max);
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &raised), 0);
    CHECK_EQ(raised.rlim_cur, usual.rlim_max);
    CHECK_EQ(raised.rlim_max, usual.rlim_max);
    CHECK_EQ(sys_descriptors_raise(), usual.rlim_max); /* nothing to do */
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &usual), 0);
}

static const struct test tests[] = {
    {"raised to the hard limit", raise_soft},
    {0},
};
SUITE("descriptors", tests)
