#include "tests/sim/storm.h"
#include <string.h>
#include "common/sys/sim/sim.h"
#include "tests/sim/watch.h"

#define STORM_FOR (90 * SYS_SECOND)

static uint64_t below(uint64_t n)
{
    return sim_random() % n;
}

/* A few milliseconds as often as a few seconds. */
static int64_t some_time(void)
{
    static const int64_t most[] = {20 * SYS_MS, 300 * SYS_MS, 2 * SYS_SECOND, 6 * SYS_SECOND};
    return SYS_MS + (int64_t)below((uint64_t)most[below(4)]);
}

static void rest(int64_t time)
{
    sys_sleep_until(sys_now() + time);
}

static uint32_t any(const struct storm *s)
{
    return (uint32_t)below(s->cluster->metadata_count);
}

static void crash(const struct storm *s, uint32_t member)
{
    sim_restart_after(s->cluster->metadata[member], some_time());
    sim_crash(s->cluster->metadata[member]);
}

static void crash_soon(const struct storm *s, uint32_t member)
{
    sim_restart_after(s->cluster->metadata[member], some_time());
    sim_crash_at(s->cluster->metadata[member], 1 + below(400));
}

/* Members' hosts are their numbers from 1. out, in: what one says and hears. */
static void cut_off(const struct storm *s, uint32_t member, bool out, bool in, bool cut)
{
    for (uint32_t i = 0; i < s->cluster->metadata_count; i++) {
        if (i == member)
            continue;
        if (out)
            sim_cut(1 + member, 1 + i, cut);
        if (in)
            sim_cut(1 + i, 1 + member, cut);
    }
}

static void wake(const struct storm *s)
{
    for (uint32_t i = 0; i < s->cluster->metadata_count; i++)
        sim_pause(s->cluster->metadata[i], false);
}

static void calm(const struct storm *s)
{
    wake(s);
    for (uint32_t i = 0; i < s->cluster->metadata_count; i++) {
        int pid = s->cluster->metadata[i];
        cut_off(s, i, true, true, false);
        for (uint32_t j = 0; j < s->cluster->metadata_count; j++)
            sim_delay(1 + i, 1 + j, 0);
        sim_disk_slow(1 + i, "/metadata", 0);
        sim_crash_at(pid, 0);
        sim_restart_after(pid, s->cluster->restart_after);
        sim_restart(pid);
    }
}

static uint32_t leader(const struct storm *s)
{
    for (uint32_t i = 0; i < s->cluster->metadata_count; i++)
        if (s->cluster->metadata[i] == watch_leader())
            return i;
    return any(s);
}

/* Raft, figure 8: one leader after the other is alone with its last entries, at times before they are on its
 * own disk; when the next is, the one before is back. */
static void figure_8(const struct storm *s)
{
    uint32_t alone = UINT32_MAX;
    for (uint64_t turns = 2 + below(4); turns > 0; turns--) {
        uint32_t now = leader(s);
        if (now == alone)
            break; /* nobody else could be elected */
        if (below(3) == 0)
            sim_disk_slow(1 + now, "/metadata", some_time() / 4);
        cut_off(s, now, true, true, true);
        if (alone != UINT32_MAX && below(4)) {
            cut_off(s, alone, true, true, false);
            cut_off(s, now, true, true, true);
        }
        alone = now;
        int64_t until = sys_now() + 6 * SYS_SECOND;
        while (leader(s) == alone && sys_now() < until)
            rest(5 * SYS_MS);
        rest(some_time() / 32);
    }
}

static void strike(const struct storm *s)
{
    uint32_t member = any(s), other = any(s);
    switch (below(12)) {
    case 10:
    case 11:
        figure_8(s);
        return;
    case 0:
        crash(s, member);
        return;
    case 1:
    case 2:
        crash_soon(s, member);
        return;
    case 3:
        for (uint32_t i = 0; i < s->cluster->metadata_count; i++)
            crash(s, i);
        return;
    case 4:
    case 5:
        /* Long enough for another leader, and for entries of both. */
        cut_off(s, member, true, true, true);
        int64_t pause = 2 * SYS_SECOND + some_time() / 4; /* both draw: one after the other */
        sys_sleep_until(sys_now() + pause);
        return;
    case 6: {
        bool in = below(2), out = below(2);
        cut_off(s, member, in, out, true);
        return;
    }
    case 7:
        /* A leader that slept and is still cut off when it wakes believes that it leads. */
        if (below(3))
            cut_off(s, member, true, true, true);
        sim_pause(s->cluster->metadata[member], true);
        return;
    case 8:
        sim_disk_slow(1 + member, "/metadata", some_time() / 4);
        return;
    default:
        if (other != member)
            sim_delay(1 + member, 1 + other, some_time() / 4);
    }
}

void storm_main(void *arg)
{
    struct storm *s = arg;
    while (s->work->phase == PHASE_START && !s->work->failed)
        sys_sleep_until(sys_now() + 100 * SYS_MS);
    int64_t until = sys_now() + STORM_FOR;
    while (s->work->phase == PHASE_WORK && !s->work->failed && sys_now() < until) {
        for (uint64_t n = 1 + below(4); n > 0; n--, s->strikes++) {
            strike(s);
            rest(some_time() / 2);
        }
        wake(s);
        rest(some_time() / 4);
        calm(s);
        rest(some_time());
    }
    calm(s);
}
