#include "tests/sim/ages.h"
#include "common/base/timeouts.h"

/* Parts of it. A gateway that sleeps loses its session; a disk is slow for seconds here. */
enum { SESSION_PART = 4, SUSPECT_PART = 60, WELL_PART = 20 };

static int64_t age;

/* The types are those of the functions themselves: a change of theirs is seen when this is compiled. */
__typeof__(timeouts_default) __real_timeouts_default, __wrap_timeouts_default;

void ages_set(int64_t short_age)
{
    age = short_age;
}

void __wrap_timeouts_default(struct timeouts *t)
{
    __real_timeouts_default(t);
    if (age == 0)
        return;
    t->max_write_age = age;
    t->former_keep = age;
    t->session_idle = age / SESSION_PART;
    t->suspect_after = age / SUSPECT_PART;
    t->well_after = age / WELL_PART;
}
