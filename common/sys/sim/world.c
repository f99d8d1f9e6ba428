/* The world: its random numbers, its time, its run queue, and the loop that runs it all. */
#define _GNU_SOURCE
#include <execinfo.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>
#include "common/sys/sim/sim_internal.h"

enum { WATCHDOG_SECONDS = 10, POINT_NS = 200, POINT_SPREAD_NS = 256 };

struct world world;

void *world_alloc(size_t size)
{
    void *block = calloc(1, size ? size : 1);
    if (!block)
        sim_fail("the simulator is out of memory");
    return block;
}

void *world_realloc(void *block, size_t size)
{
    block = realloc(block, size ? size : 1);
    if (!block)
        sim_fail("the simulator is out of memory");
    return block;
}

void world_free(void *block)
{
    free(block);
}

#if defined(__SANITIZE_THREAD__)
__attribute__((no_sanitize("thread"))) void sim_enter(void)
{
    if (world.current)
        world.current->quiet++;
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
}

__attribute__((no_sanitize("thread"))) void sim_leave(void)
{
    if (world.current)
        world.current->quiet--;
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
}
#else
void sim_enter(void)
{
}

void sim_leave(void)
{
}
#endif

/* ---- random numbers and the trace ---- */

uint64_t sim_random(void) /* splitmix64 */
{
    uint64_t z = (world.random += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t sim_below(uint64_t n)
{
    return n ? sim_random() % n : 0;
}

void sim_trace(uint64_t value)
{
    world.hash = (world.hash ^ value) * UINT64_C(0x100000001b3);
    world.hash ^= world.hash >> 29;
}

/* The ends say enough of a payload: what depends on an address or on uninitialised memory shows. */
void sim_trace_bytes(const void *data, size_t n)
{
    enum { END = 32 };
    const uint8_t *at = data;
    sim_trace(n);
    for (size_t i = 0; i < n && i < END; i++)
        sim_trace(at[i]);
    for (size_t i = n > END ? n - END : n; i < n; i++)
        sim_trace(at[i]);
}

int64_t sim_now(void)
{
    return world.now;
}

/* ---- timers ---- */

static bool timer_before(const struct timer *a, const struct timer *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void heap_put(size_t i, struct timer *t)
{
    world.heap[i] = t;
    t->slot = i + 1;
}

static void heap_settle(size_t i, struct timer *t)
{
    while (i > 0 && timer_before(t, world.heap[(i - 1) / 2])) {
        heap_put(i, world.heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= world.heap_count)
            break;
        if (child + 1 < world.heap_count && timer_before(world.heap[child + 1], world.heap[child]))
            child++;
        if (!timer_before(world.heap[child], t))
            break;
        heap_put(i, world.heap[child]);
        i = child;
    }
    heap_put(i, t);
}

void timer_arm(struct timer *t, int64_t at)
{
    timer_cancel(t);
    t->at = at;
    t->order = world.timer_order++;
    if (world.heap_count == world.heap_capacity) {
        world.heap_capacity = world.heap_capacity ? 2 * world.heap_capacity : 256;
        world.heap = world_realloc(world.heap, world.heap_capacity * sizeof(struct timer *));
    }
    world.heap_count++;
    heap_settle(world.heap_count - 1, t);
}

void timer_cancel(struct timer *t)
{
    if (!t->slot)
        return;
    size_t i = t->slot - 1;
    t->slot = 0;
    struct timer *last = world.heap[--world.heap_count];
    if (last != t)
        heap_settle(i, last);
}

static void fire_due(void)
{
    while (world.heap_count > 0 && world.heap[0]->at <= world.now) {
        struct timer *t = world.heap[0];
        timer_cancel(t);
        t->fire(t);
    }
}

/* ---- waking and waiting ---- */

void fiber_wake(struct fiber *f, enum wake why)
{
    if (f->dead || f->ready)
        return;
    f->ready = true;
    f->wake = why;
    f->turn++;
    timer_cancel(&f->timer);
    if (f->process->paused)
        return;
    if (world.queue_count == world.queue_capacity) {
        world.queue_capacity = world.queue_capacity ? 2 * world.queue_capacity : 64;
        world.queue = world_realloc(world.queue, world.queue_capacity * sizeof(struct fiber *));
    }
    world.queue[world.queue_count++] = f;
    f->queued = world.queue_count;
}

static void unqueue(struct fiber *f)
{
    if (!f->queued)
        return;
    struct fiber *last = world.queue[--world.queue_count];
    world.queue[f->queued - 1] = last;
    last->queued = f->queued;
    f->queued = 0;
}

/* Entries whose fiber has been woken since are void. */
static bool waiter_valid(const struct waiter *w)
{
    return w->turn == w->fiber->turn && !w->fiber->dead && !w->fiber->ready;
}

void wait_add(struct wait_list *w)
{
    if (w->count == w->capacity) {
        size_t kept = 0;
        for (size_t i = 0; i < w->count; i++)
            if (waiter_valid(&w->v[i]))
                w->v[kept++] = w->v[i];
        w->count = kept;
        if (2 * kept >= w->capacity) {
            w->capacity = w->capacity ? 2 * w->capacity : 4;
            w->v = world_realloc(w->v, w->capacity * sizeof *w->v);
        }
    }
    w->v[w->count++] = (struct waiter){world.current, world.current->turn};
}

void wait_wake_all(struct wait_list *w)
{
    for (size_t i = 0; i < w->count; i++)
        if (waiter_valid(&w->v[i]))
            fiber_wake(w->v[i].fiber, WAKE_RUN);
    w->count = 0;
}

void wait_wake_one(struct wait_list *w)
{
    while (w->count > 0) {
        size_t i = sim_below(w->count);
        struct waiter chosen = w->v[i];
        w->v[i] = w->v[--w->count];
        if (waiter_valid(&chosen)) {
            fiber_wake(chosen.fiber, WAKE_RUN);
            return;
        }
    }
}

void wait_release(struct wait_list *w)
{
    world_free(w->v);
    *w = (struct wait_list){0};
}

static void yield(void)
{
    fiber_wake(world.current, WAKE_RUN);
    fiber_stop();
}

void sim_point(uint64_t what)
{
    struct fiber *f = world.current;
    if (!f)
        return; /* outside of any process nothing happens on its own */
    struct process *p = f->process;
    world.now += POINT_NS + (int64_t)(sim_random() % POINT_SPREAD_NS);
    world.stats.points++;
    p->points++;
    sim_trace(what ^ (uint64_t)f->number << 16);
    sim_trace((uint64_t)world.now);
    if ((p->crash_at && p->points >= p->crash_at) ||
        (p->mean_points && sim_below(p->mean_points) == 0))
        process_end_self(END_CRASH, -1);
    if (sim_random() % 4 == 0)
        yield();
}

void sim_point_io(uint64_t what)
{
    if (world.current && world.current->locks > 0)
        sim_fail("%s/%s holds a mutex across a file or network call (sys_mutex_init_io declares "
                 "exceptions)",
                 world.current->process->name, world.current->name);
    sim_point(what);
}

enum wake sim_block(int64_t deadline, const char *waits_for)
{
    struct fiber *f = world.current;
    if (!f)
        sim_fail("outside of any process something waits for %s", waits_for);
    if (deadline <= world.now) {
        f->turn++;
        return WAKE_TIMEOUT;
    }
    if (deadline != SYS_FOREVER)
        timer_arm(&f->timer, deadline);
    f->waits_for = waits_for;
    fiber_stop();
    f->waits_for = NULL;
    return f->wake;
}

void sim_sleep(int64_t ns)
{
    int64_t until = world.now + ns;
    while (world.current && world.now < until)
        (void)sim_block(until, "the passing of time");
}

/* ---- reports ---- */

void sim_report(void)
{
    fprintf(stderr, "virtual time %.9f s, seed %llu; live fibers:\n", (double)world.now / 1e9,
            (unsigned long long)world.seed);
    for (size_t i = 0; i < world.process_count; i++) {
        const struct process *p = world.processes[i];
        for (const struct fiber *f = p->fibers; f; f = f->next)
            fprintf(stderr, "  %s (pid %d, host %u%s) %s: %s%s\n", p->name, p->pid, p->host->number,
                    p->paused ? ", paused" : "", f->name,
                    f == world.current ? "running"
                    : f->ready         ? "can run"
                                       : "waits for ",
                    f == world.current || f->ready ? ""
                    : f->waits_for                 ? f->waits_for
                                                   : "?");
    }
}

void sim_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "\nsimulation stopped: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    sim_report();
    abort();
}

/* CPU time has gone by and no primitive was called: some fiber spins. */
static void on_watchdog(int number)
{
    static uint64_t seen;
    (void)number;
    uint64_t progress = world.stats.points + world.stats.switches + world.seed;
    if (world.current && progress == seen) {
        static const char text[] = "\nsimulation stopped: a fiber never reaches a primitive\n";
        void *frames[32];
        (void)!write(STDERR_FILENO, text, sizeof text - 1);
        backtrace_symbols_fd(frames, backtrace(frames, 32), STDERR_FILENO);
        sim_report();
        abort();
    }
    seen = progress;
}

static void watchdog(int seconds)
{
    struct sigaction action = {.sa_handler = seconds ? on_watchdog : SIG_DFL,
                               .sa_flags = SA_RESTART};
    struct itimerval every = {{seconds, 0}, {seconds, 0}};
    sigemptyset(&action.sa_mask);
    if (seconds)
        sigaction(SIGVTALRM, &action, NULL);
    setitimer(ITIMER_VIRTUAL, &every, NULL);
    if (!seconds)
        sigaction(SIGVTALRM, &action, NULL);
}

/* ---- begin, run, end ---- */

void sim_init(uint64_t seed)
{
    assert(!world.live);
    memset(&world, 0, sizeof world);
    world.live = true;
    world.seed = seed;
    world.random = seed;
    world.now = SYS_SECOND;
    world.outside.pid = -1;
    snprintf(world.outside.name, sizeof world.outside.name, "outside");
    watchdog(WATCHDOG_SECONDS);
}

static bool anybody_alive(void)
{
    for (size_t i = 0; i < world.process_count; i++)
        if (world.processes[i]->alive || world.processes[i]->restart.slot)
            return true;
    return false;
}

static void bury_dead(void)
{
    for (size_t i = 0; i < world.process_count; i++) {
        struct process *p = world.processes[i];
        if (!p->dying)
            continue;
        for (struct fiber *f = p->fibers; f; f = f->next)
            unqueue(f);
        process_bury(p);
    }
}

static void run_one(void)
{
    struct fiber *f = world.queue[sim_below(world.queue_count)];
    unqueue(f);
    if (f->process->paused)
        return; /* it stays ready; sim_pause queues it again */
    f->ready = false;
    sim_trace(f->number);
    fiber_resume(f);
    if (f->dead)
        fiber_free(f);
}

bool sim_run(int64_t until, bool (*done)(void *arg), void *arg)
{
    assert(world.live && !world.current);
    sim_enter();
    bool finished = true;
    for (;;) {
        bury_dead();
        SYNC_ACQUIRE(&world);
        if ((done && done(arg)) || !anybody_alive())
            break;
        finished = world.now < until;
        if (!finished)
            break;
        fire_due();
        if (world.queue_count > 0) {
            run_one();
        } else if (world.heap_count > 0) {
            if (world.heap[0]->at > world.now)
                world.now = world.heap[0]->at < until ? world.heap[0]->at : until;
        } else {
            sim_fail("nothing can run");
        }
    }
    sim_leave();
    return finished;
}

struct sim_stats sim_stats(void)
{
    struct sim_stats stats = world.stats;
    stats.hash = world.hash;
    stats.now = world.now;
    return stats;
}

static void free_hosts(void)
{
    while (world.hosts) {
        struct host *h = world.hosts;
        world.hosts = h->next;
        fs_free(h->fs);
        wait_release(&h->hung);
        world_free(h);
    }
    while (world.links) {
        struct link *l = world.links;
        world.links = l->next;
        world_free(l);
    }
}

struct sim_stats sim_end(void)
{
    assert(world.live && !world.current);
    sim_enter();
    struct sim_stats stats = sim_stats();
    world.ending = true;
    for (size_t i = 0; i < world.process_count; i++)
        if (world.processes[i]->alive) {
            world.processes[i]->dying = true;
            world.processes[i]->how = END_EXIT;
            world.processes[i]->paused = false;
        }
    bury_dead();
    memory_free_all(&world.outside);
    while (world.outside.objects)
        object_destroy(world.outside.objects);
    network_release();
    while (world.heap_count > 0)
        timer_cancel(world.heap[0]);
    for (size_t i = 0; i < world.process_count; i++) {
        events_release(world.processes[i]);
        world_free(world.processes[i]);
    }
    free_hosts();
    fibers_release();
    world_free(world.processes);
    world_free(world.queue);
    world_free(world.heap);
    watchdog(0);
    sim_leave();
    world.live = false;
    return stats;
}
