/* Retry decisions of retry.h. */
#include "common/rpc/retry.h"
#include "common/sys/sys.h"

enum { RETRY_COST = 100, RETRY_RESERVE = 20, RETRY_PER_CALL = 10 };

void retry_budget_init(struct retry_budget *b)
{
    *b = (struct retry_budget){
        .tokens = RETRY_RESERVE * RETRY_COST,
        .tokens_max = RETRY_RESERVE * RETRY_COST,
        .per_call = RETRY_PER_CALL,
    };
    sys_mutex_init(&b->lock);
}

void retry_budget_release(struct retry_budget *b)
{
    sys_mutex_release(&b->lock);
}

void retry_budget_earn(struct retry_budget *b)
{
    sys_mutex_lock(&b->lock);
    b->calls++;
    b->tokens = b->tokens + b->per_call < b->tokens_max ? b->tokens + b->per_call : b->tokens_max;
    sys_mutex_unlock(&b->lock);
}

bool retry_budget_spend(struct retry_budget *b)
{
    sys_mutex_lock(&b->lock);
    bool granted = b->tokens >= RETRY_COST;
    if (granted) {
        b->tokens -= RETRY_COST;
        b->retries++;
    } else {
        b->refused++;
    }
    sys_mutex_unlock(&b->lock);
    return granted;
}

void retry_policy_default(struct retry_policy *p)
{
    *p = (struct retry_policy){
        .base_ns = 20 * SYS_MS,
        .cap_ns = 1 * SYS_SECOND,
        .attempts_max = 8,
    };
}

void retry_init(struct retry *r, const struct retry_policy *p, struct retry_budget *budget,
                int64_t deadline)
{
    *r = (struct retry){.policy = *p, .budget = budget, .deadline = deadline};
    if (budget)
        retry_budget_earn(budget);
}

bool retry_again(struct retry *r, enum err failed, bool idempotent, int64_t *until)
{
    uint32_t n = r->attempts++;
    if (failed == OK || !err_retryable(failed) || !(idempotent || err_outcome_known(failed)))
        return false;
    if (r->attempts >= r->policy.attempts_max)
        return false;
    uint64_t random;
    sys_random(&random, sizeof random);
    int64_t now = sys_now();
    int64_t pause = backoff_full_jitter(r->policy.base_ns, r->policy.cap_ns, n, random);
    if (now >= r->deadline || pause >= r->deadline - now)
        return false;
    if (r->budget && !retry_budget_spend(r->budget))
        return false;
    *until = now + pause;
    return true;
}

int64_t backoff_full_jitter(int64_t base_ns, int64_t cap_ns, uint32_t n, uint64_t random)
{
    int64_t most = base_ns;
    while (n-- > 0 && most < cap_ns)
        most *= 2;
    if (most > cap_ns)
        most = cap_ns;
    return most > 0 ? (int64_t)(random % ((uint64_t)most + 1)) : 0;
}
