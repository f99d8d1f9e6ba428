#include "common/sys/log.h"
#include "metadata/service_internal.h"

/* Whether log time can be believed (hazard 6). A leader whose clock is a year ahead carries log time
 * with it, for good: what ages by it would be deleted at once, and disks that were down for a moment
 * would be given up. So every member compares log time with the time that has passed on its own
 * monotonic clock, leading or not, and after a step ahead of more than time_step the leader's
 * destructive duties rest for time_step, in which people can see to the clocks.
 *
 * A member that starts knows only its wall clock: log time that is ahead of that is a step too. What
 * passed while all members were stopped looks like a step, and only delays. */

static bool is_step(const struct metadata_service *s, int64_t log_time, int64_t now)
{
    const struct time_watch *w = &s->time_watch;
    int64_t step = s->config.timeouts.time_step;
    if (w->log_time == 0)
        return log_time - sys_wall() > step;
    return log_time - w->log_time - (now - w->now) > step;
}

bool service_time_held(struct metadata_service *s, int64_t log_time)
{
    int64_t now = sys_now();
    sys_mutex_lock(&s->lock);
    struct time_watch *w = &s->time_watch;
    bool step = log_time > 0 && is_step(s, log_time, now);
    if (log_time > 0 && (step || w->log_time == 0)) {
        w->log_time = log_time;
        w->now = now;
    }
    if (step)
        w->held_until = now + s->config.timeouts.time_step;
    bool held = now < w->held_until;
    sys_mutex_unlock(&s->lock);
    if (step)
        log_error(
            "time",
            "log time has run ahead of elapsed time: a clock of the metadata group is wrong, or "
            "was; nothing is deleted or given up for %lld s",
            (long long)(s->config.timeouts.time_step / SYS_SECOND));
    return held;
}
