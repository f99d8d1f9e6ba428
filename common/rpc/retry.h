/* When to try again: full-jitter exponential backoff under a budget. Used by the one layer that
 * retries (common/client). Decides from the two flags of enum err alone.
 *
 *   struct retry r;
 *   retry_init(&r, &policy, &budget, context->deadline);
 *   while ((e = attempt()) != OK && retry_again(&r, e, idempotent, &until))
 *       sys_sleep_until(until);
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "common/base/err.h"
#include "common/sys/sys.h"

/* Retries may be at most this share of calls, beyond a small reserve. Shared by all threads. */
struct retry_budget {
    struct sys_mutex lock;
    uint32_t tokens, tokens_max; /* hundredths of a retry */
    uint32_t per_call;           /* hundredths that each call earns: 10 = 10 % */
    uint64_t calls, retries, refused;
};
void retry_budget_init(struct retry_budget *b); /* 10 %, a reserve of 20 retries */
void retry_budget_release(struct retry_budget *b);
void retry_budget_earn(struct retry_budget *b); /* once a call; retry_init does it */
bool retry_budget_spend(struct retry_budget *b);

struct retry_policy {
    int64_t base_ns, cap_ns; /* 20 ms, 1 s: the n-th pause is random in [0, min(cap, base * 2^n)] */
    uint32_t attempts_max;   /* 8 */
};
void retry_policy_default(struct retry_policy *p);

struct retry {
    struct retry_policy policy;
    struct retry_budget *budget; /* NULL: unlimited */
    int64_t deadline;
    uint32_t attempts; /* that failed so far */
};
void retry_init(struct retry *r, const struct retry_policy *p, struct retry_budget *budget,
                int64_t deadline);
/* Whether to try again after failed, and when (*until, absolute). idempotent: the operation may be
 * repeated although its outcome is unknown. */
bool retry_again(struct retry *r, enum err failed, bool idempotent, int64_t *until);

/* The pause before attempt n (0, 1, ..): random in [0, min(cap, base * 2^n)]. Pure. */
int64_t backoff_full_jitter(int64_t base_ns, int64_t cap_ns, uint32_t n, uint64_t random);
