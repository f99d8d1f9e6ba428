#include "tests/sim/plan.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool has(const struct plan *p, uint64_t strike)
{
    return p->strikes[strike / 64] >> strike % 64 & 1;
}

bool plan_read_strikes(struct plan *plan, const char *text)
{
    memset(plan->strikes, 0, sizeof plan->strikes);
    if (strcmp(text, "none") == 0)
        return true;
    for (const char *at = text;; at++) {
        char *end;
        unsigned long from = strtoul(at, &end, 10), to = from;
        if (end == at)
            return false;
        at = end;
        if (*at == '-') {
            to = strtoul(at + 1, &end, 10);
            if (end == at + 1)
                return false;
            at = end;
        }
        for (; from <= to && from < STRIKES_MAX; from++)
            plan->strikes[from / 64] |= UINT64_C(1) << from % 64;
        if (*at != ',')
            return *at == 0;
    }
}

static void write_strikes(const struct plan *p, char *out, size_t room)
{
    size_t n = 0;
    for (uint64_t i = 0; i < STRIKES_MAX && n + 32 < room; i++) {
        uint64_t from = i;
        if (!has(p, i))
            continue;
        while (i + 1 < STRIKES_MAX && has(p, i + 1))
            i++;
        n += (size_t)snprintf(out + n, room - n, n ? ",%llu" : "%llu", (unsigned long long)from);
        if (i > from)
            n += (size_t)snprintf(out + n, room - n, "-%llu", (unsigned long long)i);
    }
    if (n == 0)
        snprintf(out, room, "none");
}

void plan_write(const struct plan *plan, char *out, size_t room)
{
    struct plan whole;
    plan_whole(&whole, plan->seed);
    int n = snprintf(out, room, "--seed %llu", (unsigned long long)plan->seed);
    if (plan->kinds != whole.kinds)
        n +=
            snprintf(out + n, room - (size_t)n, " --kinds 0x%llx", (unsigned long long)plan->kinds);
    if (plan->clients != whole.clients)
        n += snprintf(out + n, room - (size_t)n, " --clients %u", plan->clients);
    if (plan->operations != whole.operations)
        n += snprintf(out + n, room - (size_t)n, " --operations %u", plan->operations);
    if (memcmp(plan->strikes, whole.strikes, sizeof whole.strikes) != 0) {
        n += snprintf(out + n, room - (size_t)n, " --strikes ");
        write_strikes(plan, out + n, room - (size_t)n);
    }
}
