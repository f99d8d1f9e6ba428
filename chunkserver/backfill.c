#include <string.h>
#include "chunkserver/backfill_internal.h"
#include "common/sys/log.h"

/* Healing, as seen from one chunkserver (DESIGN 8: the cluster map is the work list).
 *
 * A planner thread makes rounds: it reads from the map and from the repair rows what this server has
 * to do, puts it in order, and workers do it, one placement group each. A newer map ends the round:
 * what was not begun is planned again, so that the most endangered always come first. What failed is
 * tried again in a later round, behind the rest for a while.
 *
 *  B1  A slot is called filled (FinishHolder) only when each chunk of a list that was read after its
 *      disk had become the newest holder was compared with the disk's index, and the index is synced
 *      (hazard 2, 17).
 *  B2  Nothing is deleted here but what was just made of a chunk that has been collected meanwhile.
 *  B3  A task runs on one worker at a time. */

#define ROUND_EVERY (2 * SYS_SECOND) /* repair rows are looked for so often */
#define RETRY_AFTER (3 * SYS_SECOND)
enum { FAILURES_MAX = 6 };
#define BURST (100 * SYS_MS) /* of the allowed rate, may be used at once */

/* ---- lists ---- */

bool task_same(const struct task *a, const struct task *b)
{
    return a->kind == b->kind && a->pool == b->pool && a->pg == b->pg && a->slot == b->slot &&
           a->disk == b->disk;
}

void task_list_add(struct task_list *l, const struct task *t)
{
    if (l->count == l->room) {
        l->room = l->room ? 2 * l->room : 32;
        l->v = sys_realloc(l->v, l->room * sizeof *l->v);
    }
    l->v[l->count++] = *t;
}

void task_list_clear(struct task_list *l)
{
    sys_free(l->v);
    *l = (struct task_list){0};
}

struct task *task_list_find(const struct task_list *l, const struct task *t)
{
    for (size_t i = 0; i < l->count; i++)
        if (task_same(&l->v[i], t))
            return &l->v[i];
    return NULL;
}

void task_failed(struct task *t, int64_t now)
{
    unsigned doublings = t->failures < FAILURES_MAX ? t->failures : FAILURES_MAX;
    t->failures++;
    t->again_at = now + (RETRY_AFTER << doublings);
}

static void task_list_remove(struct task_list *l, const struct task *t)
{
    for (size_t i = 0; i < l->count; i++)
        if (task_same(&l->v[i], t)) {
            l->v[i] = l->v[--l->count];
            return;
        }
}

/* ---- what workers tell ---- */

bool backfill_goes_on(struct backfill *b)
{
    sys_mutex_lock(&b->lock);
    bool go = !b->stopping;
    sys_mutex_unlock(&b->lock);
    return go;
}

bool backfill_may_move(struct backfill *b)
{
    sys_mutex_lock(&b->lock);
    while (!b->stopping) {
        int64_t at = b->rate_at;
        sys_mutex_unlock(&b->lock);
        bool now = sys_now() >= at;
        sys_mutex_lock(&b->lock);
        if (now)
            break;
        (void)sys_cond_wait(&b->changed, &b->lock, at);
    }
    bool go = !b->stopping;
    sys_mutex_unlock(&b->lock);
    return go;
}

void backfill_moved(struct backfill *b, struct chunk_disk *owner, uint64_t bytes)
{
    int64_t least = sys_now() - BURST;
    uint64_t rate = b->service->backfill_bytes_per_s;
    int64_t took = (int64_t)((double)bytes * (double)SYS_SECOND / (double)rate);
    sys_mutex_lock(&b->lock);
    if (b->rate_at < least)
        b->rate_at = least;
    b->rate_at += took;
    owner->backfill_bytes += bytes;
    sys_mutex_unlock(&b->lock);
}

void backfill_count(struct backfill *b, struct chunk_disk *owner, int64_t done, int64_t total)
{
    sys_mutex_lock(&b->lock);
    owner->backfill_done += (uint64_t)done;
    owner->backfill_total += (uint64_t)total;
    sys_mutex_unlock(&b->lock);
}

void backfill_repaired(struct backfill *b, struct chunk_disk *owner, uint64_t shards)
{
    sys_mutex_lock(&b->lock);
    owner->repaired += shards;
    sys_mutex_unlock(&b->lock);
}

void backfill_listed(struct backfill *b, uint64_t chunks)
{
    sys_mutex_lock(&b->lock);
    b->lists++;
    b->listed += chunks;
    sys_mutex_unlock(&b->lock);
}

/* What waits is not counted yet; it is taken to be as long as the lists that were. */
void backfill_progress(struct backfill *b, struct chunk_disk *d, struct backfill_progress *out)
{
    sys_mutex_lock(&b->lock);
    uint64_t average = b->lists ? (b->listed + b->lists - 1) / b->lists : 0;
    *out = (struct backfill_progress){
        .done = d->backfill_done,
        .total = d->backfill_total + d->fills_waiting * average,
        .bytes = d->backfill_bytes,
        .repaired = d->repaired,
    };
    sys_mutex_unlock(&b->lock);
}

/* ---- workers ---- */

/* Under the lock. */
static bool take_task(struct backfill *b, struct task *out)
{
    if (b->stopping || b->next >= b->waiting.count)
        return false;
    *out = b->waiting.v[b->next++];
    if (out->kind == TASK_FILL) {
        out->owner->fills_waiting--;
        out->owner->fills_running++;
    }
    task_list_add(&b->running, out);
    return true;
}

/* Under the lock. */
static void note_end(struct backfill *b, const struct task *t, enum err e)
{
    if (e == OK) {
        task_list_remove(&b->failing, t);
        return;
    }
    if (!task_list_find(&b->failing, t))
        task_list_add(&b->failing, t);
    task_failed(task_list_find(&b->failing, t), sys_now());
}

static void worker_run(void *arg)
{
    struct backfill *b = arg;
    sys_mutex_lock(&b->lock);
    while (!b->stopping) {
        struct task t;
        if (!take_task(b, &t)) {
            (void)sys_cond_wait(&b->changed, &b->lock, SYS_FOREVER);
            continue;
        }
        sys_mutex_unlock(&b->lock);
        enum err e = backfill_run(b, &t);
        sys_mutex_lock(&b->lock);
        task_list_remove(&b->running, &t);
        if (t.kind == TASK_FILL)
            t.owner->fills_running--;
        if (e == OK && t.kind == TASK_AUDIT)
            task_list_remove(&b->audits, &t);
        note_end(b, &t, e);
        b->failed += e != OK;
        sys_cond_broadcast(&b->changed);
    }
    sys_mutex_unlock(&b->lock);
}

/* ---- rounds ---- */

/* Forgets what failed and is not to be done any more. Under the lock. */
static void forget_failing(struct backfill *b, const struct task_list *plan)
{
    for (size_t i = 0; i < b->failing.count;) {
        const struct task t = b->failing.v[i];
        if (task_list_find(plan, &t) || task_list_find(&b->running, &t))
            i++;
        else
            task_list_remove(&b->failing, &t);
    }
}

/* Puts a fresh plan in the place of the old one. Under the lock. */
static void publish(struct backfill *b, struct task_list *plan)
{
    struct chunk_service *s = b->service;
    uint32_t before[CHUNK_DISKS_MAX];
    for (size_t i = 0; i < s->disk_count; i++) {
        before[i] = s->disks[i].fills_waiting + s->disks[i].fills_running;
        s->disks[i].fills_waiting = 0;
    }
    forget_failing(b, plan);
    backfill_put_off(&b->failing, sys_now(), plan);
    task_list_clear(&b->waiting);
    b->next = 0;
    b->failed = 0;
    for (size_t i = 0; i < plan->count; i++) {
        if (task_list_find(&b->running, &plan->v[i]))
            continue;
        task_list_add(&b->waiting, &plan->v[i]);
        plan->v[i].owner->fills_waiting += plan->v[i].kind == TASK_FILL;
    }
    /* A new burst counts from the beginning; one that is over keeps its figures until then. */
    for (size_t i = 0; i < s->disk_count; i++) {
        struct chunk_disk *d = &s->disks[i];
        if (before[i] == 0 && d->fills_waiting > 0 && d->backfill_done == d->backfill_total)
            d->backfill_done = d->backfill_total = d->backfill_bytes = 0;
    }
}

/* Waits for the end of the round, a newer map or the time of the next look. */
static void wait_round(struct backfill *b)
{
    int64_t begun = sys_now();
    sys_mutex_lock(&b->lock);
    for (;;) {
        bool over = b->next >= b->waiting.count && b->running.count == 0;
        int64_t until = begun + (b->failed ? RETRY_AFTER : ROUND_EVERY);
        if (b->stopping || b->woken)
            break;
        /* While a round runs the rows are looked at as well: what is worse goes first. */
        enum err e = sys_cond_wait(&b->changed, &b->lock, over ? until : begun + RETRY_AFTER);
        if (e == ERR_TIMEOUT)
            break;
    }
    b->woken = false;
    sys_mutex_unlock(&b->lock);
}

static void planner_run(void *arg)
{
    struct backfill *b = arg;
    bool busy = false;
    while (backfill_goes_on(b)) {
        struct task_list plan = {0};
        backfill_plan(b, &plan);
        if (busy && plan.count == 0)
            log_info("backfill", "nothing is left to fill or to repair");
        busy = plan.count > 0;
        sys_mutex_lock(&b->lock);
        publish(b, &plan);
        sys_mutex_unlock(&b->lock);
        sys_cond_broadcast(&b->changed);
        task_list_clear(&plan);
        wait_round(b);
    }
}

void backfill_wake(struct backfill *b)
{
    sys_mutex_lock(&b->lock);
    b->woken = true;
    sys_mutex_unlock(&b->lock);
    sys_cond_broadcast(&b->changed);
}

/* ---- start, stop ---- */

struct request_context backfill_request(struct backfill *b)
{
    return (struct request_context){
        .deadline = sys_now() + b->service->timeouts.metadata_call,
        .cancel = b->cancel,
    };
}

enum err backfill_start(struct chunk_service *s, const struct chunk_io *io, struct backfill **out)
{
    struct backfill *b = sys_alloc(sizeof *b);
    b->service = s;
    b->io = io;
    b->metadata = s->metadata;
    sys_mutex_init(&b->lock);
    sys_cond_init(&b->changed);
    *out = b;
    enum err e = sys_event_new(&b->cancel);
    unsigned wanted = s->backfill_parallel;
    if (wanted > BACKFILL_THREADS_MAX)
        wanted = BACKFILL_THREADS_MAX;
    for (unsigned i = 0; e == OK && i < wanted; i++) {
        e = sys_thread_start(&b->workers[i], "backfill", 0, worker_run, b);
        b->worker_count += e == OK;
    }
    if (e == OK)
        e = sys_thread_start(&b->planner, "backfill-plan", 0, planner_run, b);
    return e;
}

void backfill_stop(struct backfill *b)
{
    if (!b)
        return;
    sys_mutex_lock(&b->lock);
    b->stopping = true;
    sys_mutex_unlock(&b->lock);
    if (b->cancel)
        sys_event_set(b->cancel);
    sys_cond_broadcast(&b->changed);
    if (b->planner)
        sys_thread_join(b->planner);
    for (unsigned i = 0; i < b->worker_count; i++)
        sys_thread_join(b->workers[i]);
    task_list_clear(&b->waiting);
    task_list_clear(&b->running);
    task_list_clear(&b->audits);
    task_list_clear(&b->failing);
    if (b->cancel)
        sys_event_free(b->cancel);
    sys_cond_release(&b->changed);
    sys_mutex_release(&b->lock);
    sys_free(b);
}
