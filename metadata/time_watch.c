#include "common/sys/log.h"
#include "metadata/service_internal.h"

/* Whether log time can be believed (hazard 6). Where the clock of a sole member is a year ahead, or
 * those of a majority, log time goes with them, for good: what ages by it would be deleted at once, and
 * disks that were down for a moment would be given up. So every member compares log time with the time
 * that has passed on its own monotonic clock, leading or not, and after a step ahead of more than
 * time_step the leader's destructive duties rest for time_step, in which people can see to the clocks,
 * or until somebody has confirmed the time (`cairn raft confirm-time`).
 *
 * A member that starts knows only its wall clock: log time that is ahead of that is a step too, unless
 * it has been confirmed. What passed while all members were stopped looks like a step, and only
 * delays. */

static bool is_step(const struct metadata_service *s, int64_t log_time, int64_t now)
{
    const struct time_watch *w = &s->time_watch;
    int64_t step = s->config.timeouts.time_step;
    if (w->log_time == 0)
        return log_time - sys_wall() > step &&
               log_time - state_time_confirmed(s->states.now) > step;
    return log_time - w->log_time - (now - w->now) > step;
}

/* Locked. */
static int64_t held_for(const struct metadata_service *s, int64_t now)
{
    const struct time_watch *w = &s->time_watch;
    bool held = now < w->held_until && state_time_confirmed(s->states.now) < w->stepped_to;
    return held ? w->held_until - now : 0;
}

int64_t service_time_held(struct metadata_service *s, int64_t log_time)
{
    int64_t now = sys_now();
    sys_mutex_lock(&s->lock);
    struct time_watch *w = &s->time_watch;
    bool step = log_time > 0 && is_step(s, log_time, now);
    if (log_time > 0 && (step || w->log_time == 0)) {
        w->log_time = log_time;
        w->now = now;
    }
    if (step) {
        w->held_until = now + s->config.timeouts.time_step;
        w->stepped_to = log_time;
    }
    int64_t held = held_for(s, now);
    sys_mutex_unlock(&s->lock);
    if (step)
        log_error("time",
                  "log time has run ahead of elapsed time: a clock of the metadata group is wrong, "
                  "or was; nothing is deleted or given up for %lld s; if the time is right, "
                  "`cairn raft confirm-time` ends that",
                  (long long)(s->config.timeouts.time_step / SYS_SECOND));
    return held;
}
