/* Hosts and their clocks. */
#include "common/sys/sim/fs_internal.h"

struct host *host_find(uint32_t number)
{
    for (struct host *h = world.hosts; h; h = h->next)
        if (h->number == number)
            return h;
    return NULL;
}

struct host *host_get(uint32_t number)
{
    struct host *h = host_find(number);
    if (!h) {
        assert(number >= 1 && number <= UINT16_MAX);
        h = world_alloc(sizeof *h);
        h->number = number;
        h->fs = fs_new();
        h->next = world.hosts;
        world.hosts = h;
    }
    return h;
}

/* ---- sim.h ---- */

static int64_t gained(const struct host *h, int64_t since)
{
    return (world.now - since) / 1000 * h->drift_ppm / 1000;
}

int64_t host_wall_offset(const struct host *h)
{
    return h->skew + gained(h, h->drift_since);
}

int64_t host_boot_offset(const struct host *h)
{
    return h->boot_gained + gained(h, h->boot_since);
}

void sim_clock_skew(uint32_t host, int64_t ns)
{
    sim_enter();
    struct host *h = host_get(host);
    h->skew = ns;
    h->drift_since = world.now;
    sim_leave();
}

void sim_clock_step(uint32_t host, int64_t ns)
{
    sim_enter();
    host_get(host)->skew += ns;
    sim_leave();
}

void sim_clock_drift(uint32_t host, int32_t ppm)
{
    sim_enter();
    struct host *h = host_get(host);
    h->skew = host_wall_offset(h);
    h->boot_gained = host_boot_offset(h);
    h->drift_since = h->boot_since = world.now;
    h->drift_ppm = ppm;
    sim_leave();
}
