/* A circuit breaker for one endpoint (a peer, a disk): stops asking one that does not answer.
 *
 *   closed     calls pass; when, within the window, at least `least` calls ended and `percent` of
 *              them failed, it opens
 *   open       calls are refused for `open_ns` (doubled at each failed probe, up to open_max_ns)
 *   half-open  one probe at a time passes; `probes` good ones in a row close it, a bad one opens it
 *
 * A call fails when no answer came (time-out, broken connection) or when it was slower than
 * slow_ns. An answer is a success whatever it says: NOT_FOUND, STALE_PLACEMENT, NOT_LEADER or BUSY
 * come from an endpoint that works. Pure: time is passed in; the owner locks. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum { BREAKER_BUCKETS = 10 };

struct breaker_settings {
    int64_t window_ns;   /* 10 s: what is counted */
    int64_t slow_ns;     /* 1 s: an answer later than this is a failure */
    int64_t open_ns;     /* 1 s: first pause */
    int64_t open_max_ns; /* 5 s */
    uint32_t least;      /* 5 calls in the window before a rate means anything */
    uint32_t percent;    /* 50 */
    uint32_t probes;     /* 2 good ones close it */
};
enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN };

struct breaker {
    struct breaker_settings settings;
    enum breaker_state state;
    int64_t open_until, open_for, probe_started;
    uint32_t probes_good;
    bool probing;
    struct {
        int64_t slot; /* time / bucket width */
        uint32_t calls, failures;
    } bucket[BREAKER_BUCKETS];
};

void breaker_settings_default(struct breaker_settings *s);
void breaker_init(struct breaker *b, const struct breaker_settings *s);
/* Whether a call may go now. true obliges the caller to report its end, or to forget it. */
bool breaker_allow(struct breaker *b, int64_t now);
/* A call goes in any case, since there is nobody else to ask: unless closed, it is the probe. */
void breaker_insist(struct breaker *b, int64_t now);
/* answered: a reply came, whatever it says. */
void breaker_report(struct breaker *b, int64_t now, bool answered, int64_t took_ns);
/* The call ended without saying anything about the endpoint (never sent, cancelled early). */
void breaker_forget(struct breaker *b, int64_t now);
enum breaker_state breaker_state(struct breaker *b, int64_t now);
