#include "tests/sim/ages.h"
#include "common/base/timeouts.h"

enum { SESSION_PART = 4 }; /* of a write's age: a gateway that sleeps loses its session */

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
}
