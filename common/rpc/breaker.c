/* The breaker of breaker.h: ten buckets of a tenth of the window, each reset when its slot of time
 * comes round again. */
#include "common/rpc/breaker.h"
#include <assert.h>
#include <string.h>

#define SECOND INT64_C(1000000000)

void breaker_settings_default(struct breaker_settings *s)
{
    *s = (struct breaker_settings){
        .window_ns = 10 * SECOND,
        .slow_ns = 1 * SECOND,
        .open_ns = 1 * SECOND,
        .open_max_ns = 5 * SECOND,
        .least = 5,
        .percent = 50,
        .probes = 2,
    };
}

void breaker_init(struct breaker *b, const struct breaker_settings *s)
{
    memset(b, 0, sizeof *b);
    b->settings = *s;
    b->open_for = s->open_ns;
    assert(s->window_ns >= BREAKER_BUCKETS && s->probes > 0 && s->least > 0);
}

static int64_t slot_of(const struct breaker *b, int64_t now)
{
    /* +1: a slot of 0 is a bucket that was never used */
    return now / (b->settings.window_ns / BREAKER_BUCKETS) + 1;
}

static void count(struct breaker *b, int64_t now, bool failed)
{
    int64_t slot = slot_of(b, now);
    unsigned i = (unsigned)(slot % BREAKER_BUCKETS);
    if (b->bucket[i].slot != slot) {
        b->bucket[i].slot = slot;
        b->bucket[i].calls = b->bucket[i].failures = 0;
    }
    b->bucket[i].calls++;
    b->bucket[i].failures += failed;
}

static bool too_many_failures(const struct breaker *b, int64_t now)
{
    int64_t slot = slot_of(b, now);
    uint64_t calls = 0, failures = 0;
    for (unsigned i = 0; i < BREAKER_BUCKETS; i++) {
        if (b->bucket[i].slot <= slot - BREAKER_BUCKETS)
            continue;
        calls += b->bucket[i].calls;
        failures += b->bucket[i].failures;
    }
    return calls >= b->settings.least && failures * 100 >= calls * b->settings.percent;
}

static void open(struct breaker *b, int64_t now)
{
    b->state = BREAKER_OPEN;
    b->open_until = now + b->open_for;
    b->probing = false;
    b->probes_good = 0;
    b->open_for =
        b->open_for * 2 < b->settings.open_max_ns ? b->open_for * 2 : b->settings.open_max_ns;
}

static void close(struct breaker *b)
{
    b->state = BREAKER_CLOSED;
    b->open_for = b->settings.open_ns;
    b->probing = false;
    b->probes_good = 0;
    memset(b->bucket, 0, sizeof b->bucket);
}

enum breaker_state breaker_state(struct breaker *b, int64_t now)
{
    if (b->state == BREAKER_OPEN && now >= b->open_until)
        b->state = BREAKER_HALF_OPEN;
    return b->state;
}

bool breaker_allow(struct breaker *b, int64_t now)
{
    switch (breaker_state(b, now)) {
    case BREAKER_CLOSED:
        return true;
    case BREAKER_OPEN:
        return false;
    case BREAKER_HALF_OPEN:
        break;
    }
    /* A probe whose end was never reported must not hold the breaker for ever. */
    if (b->probing && now - b->probe_started < b->settings.open_max_ns)
        return false;
    b->probing = true;
    b->probe_started = now;
    return true;
}

void breaker_insist(struct breaker *b, int64_t now)
{
    if (breaker_state(b, now) == BREAKER_CLOSED)
        return;
    b->state = BREAKER_HALF_OPEN;
    b->probing = true;
    b->probe_started = now;
}

void breaker_report(struct breaker *b, int64_t now, bool answered, int64_t took_ns)
{
    bool failed = !answered || took_ns > b->settings.slow_ns;
    switch (breaker_state(b, now)) {
    case BREAKER_CLOSED:
        count(b, now, failed);
        if (failed && too_many_failures(b, now))
            open(b, now);
        return;
    case BREAKER_OPEN:
        return; /* of a call that began before it opened */
    case BREAKER_HALF_OPEN:
        if (!b->probing)
            return;
        b->probing = false;
        if (failed)
            open(b, now);
        else if (++b->probes_good >= b->settings.probes)
            close(b);
        return;
    }
}

void breaker_forget(struct breaker *b, int64_t now)
{
    if (breaker_state(b, now) == BREAKER_HALF_OPEN)
        b->probing = false;
}
