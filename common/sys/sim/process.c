/* Simulated processes: start, end, crash, restart; and what sys.h gives a process about itself. */
#include <stdio.h>
#include <string.h>
#include "common/sys/sim/sim_internal.h"

enum { POINT_NOW = 1, POINT_WALL, POINT_SLEEP, POINT_BOOTTIME };
/* 2026-01-01T00:00:00Z: where the wall clock starts. */
static const int64_t WALL_START = INT64_C(1767225600) * SYS_SECOND;

struct process *sim_process(void)
{
    return world.current ? world.current->process : &world.outside;
}

struct process *process_of(int pid)
{
    if (pid == -1)
        return &world.outside;
    assert(pid >= 0 && (size_t)pid < world.process_count);
    return world.processes[pid];
}

/* ---- objects ---- */

void *object_new_in(struct process *p, enum object_kind kind, size_t size)
{
    struct object *o = world_alloc(size);
    o->kind = kind;
    o->process = p;
    o->next = p->objects;
    if (o->next)
        o->next->prev = o;
    p->objects = o;
    p->object_counts[kind]++;
    return o;
}

void *object_new(enum object_kind kind, size_t size)
{
    return object_new_in(sim_process(), kind, size);
}

void object_free(void *object)
{
    struct object *o = object;
    if (o->prev)
        o->prev->next = o->next;
    else
        o->process->objects = o->next;
    if (o->next)
        o->next->prev = o->prev;
    o->process->object_counts[o->kind]--;
    world_free(o);
}

void object_destroy(struct object *o)
{
    switch (o->kind) {
    case OBJECT_THREAD:
        thread_destroy((struct sys_thread *)o);
        return;
    case OBJECT_MUTEX:
        mutex_destroy(o);
        return;
    case OBJECT_COND:
        cond_destroy(o);
        return;
    case OBJECT_EVENT:
        event_destroy((struct sys_event *)o);
        return;
    case OBJECT_SOCKET:
        socket_destroy((struct sys_socket *)(void *)o, o->process->how == END_CRASH);
        return;
    case OBJECT_FILE:
        file_destroy((struct sys_file *)(void *)o);
        return;
    }
}

/* ---- life ---- */

static void process_main(void *arg)
{
    struct process *p = arg;
    p->main(p->arg);
}

static void process_start(struct process *p)
{
    p->alive = true;
    p->points = 0;
    p->exit_status = 0;
    p->stop.set = p->reload.set = false;
    timer_cancel(&p->restart);
    sim_trace(0x5744 + (uint64_t)p->pid);
    (void)fiber_new(p, "main", 0, process_main, p);
}

static void on_restart(struct timer *t)
{
    struct process *p = (struct process *)((uint8_t *)t - offsetof(struct process, restart));
    if (!p->alive)
        process_start(p);
}

int sim_spawn(const char *name, uint32_t host, void (*main_function)(void *), void *arg)
{
    sim_enter();
    assert(world.live);
    struct process *p = world_alloc(sizeof *p);
    snprintf(p->name, sizeof p->name, "%s", name);
    p->pid = (int)world.process_count++;
    p->host = host_get(host);
    p->main = main_function;
    p->arg = arg;
    p->restart.fire = on_restart;
    p->stop.object.process = p->reload.object.process = p;
    world.processes =
        world_realloc(world.processes, world.process_count * sizeof(struct process *));
    world.processes[p->pid] = p;
    process_start(p);
    sim_leave();
    return p->pid;
}

static struct sim_leaks holdings(const struct process *p)
{
    return (struct sim_leaks){
        .blocks = p->block_count,
        .bytes = p->block_bytes,
        .threads = p->object_counts[OBJECT_THREAD],
        .sockets = p->object_counts[OBJECT_SOCKET],
        .files = p->object_counts[OBJECT_FILE],
        .events = p->object_counts[OBJECT_EVENT],
        .mutexes = p->object_counts[OBJECT_MUTEX],
        .conds = p->object_counts[OBJECT_COND],
    };
}

struct sim_leaks sim_leaks(int pid)
{
    const struct process *p = process_of(pid);
    return p->alive || pid == -1 ? holdings(p) : p->left;
}

/* A fiber has returned. The main one takes its process along. */
void process_fiber_ended(struct fiber *f)
{
    struct process *p = f->process;
    if (f->locks > 0)
        sim_fail("%s/%s ends with a mutex held", p->name, f->name);
    if (f->thread) {
        SYNC_RELEASE(f->thread);
        f->thread->fiber = NULL;
        wait_wake_all(&f->thread->joiners);
        return;
    }
    if (f->next || f->prev)
        sim_fail("the main function of %s returned while threads of it live", p->name);
    p->dying = true;
    p->how = END_CLEAN;
}

void process_end_self(enum process_end how, int status)
{
    struct process *p = world.current->process;
    p->dying = true;
    p->how = how;
    p->exit_status = status;
    fiber_stop();
    sim_fail("a dead process of %s ran on", p->name);
}

void process_bury(struct process *p)
{
    bool restart = p->restart_now;
    p->left = p->how == END_CLEAN ? holdings(p) : (struct sim_leaks){0};
    p->dying = p->alive = p->restart_now = false;
    p->crash_at = 0;
    sim_trace(0xdead00 + (uint64_t)p->how);
    world.stats.crashes += p->how == END_CRASH;
    while (p->fibers)
        fiber_free(p->fibers);
    while (p->objects)
        object_destroy(p->objects);
    memory_free_all(p);
    if (p->how == END_CRASH && !world.ending)
        fs_crash(p->host->fs, p->pid);
    if (world.ending)
        return;
    if (restart)
        process_start(p);
    else if (p->restart_delay && p->how != END_CLEAN)
        timer_arm(&p->restart,
                  world.now + p->restart_delay + (int64_t)sim_below((uint64_t)p->restart_delay));
}

void sim_crash(int pid)
{
    sim_enter();
    struct process *p = process_of(pid);
    if (p->alive && world.current && world.current->process == p)
        process_end_self(END_CRASH, -1);
    if (p->alive && !p->dying) {
        p->dying = true;
        p->how = END_CRASH;
        p->exit_status = -1;
    }
    if (world.current) { /* the scheduler buries it before the caller goes on */
        fiber_wake(world.current, WAKE_RUN);
        fiber_stop();
    }
    sim_leave();
}

void sim_restart(int pid)
{
    sim_enter();
    struct process *p = process_of(pid);
    if (p->dying)
        p->restart_now = true;
    else if (!p->alive)
        process_start(p);
    sim_leave();
}

uint64_t sim_exits(int pid)
{
    return process_of(pid)->exits;
}

const char *sim_exit_reason(int pid)
{
    return process_of(pid)->exit_reason;
}

static void set_own_event(struct sys_event *e)
{
    SYNC_RELEASE(e);
    e->set = true;
    wait_wake_all(&e->waiters);
}

void sim_stop(int pid)
{
    sim_enter();
    set_own_event(&process_of(pid)->stop);
    sim_leave();
}

void sim_reload(int pid)
{
    sim_enter();
    set_own_event(&process_of(pid)->reload);
    sim_leave();
}

void sim_pause(int pid, bool paused)
{
    sim_enter();
    struct process *p = process_of(pid);
    bool was = p->paused;
    p->paused = paused;
    for (struct fiber *f = p->fibers; f && was && !paused; f = f->next)
        if (f->ready && !f->queued) {
            f->ready = false;
            fiber_wake(f, f->wake);
        }
    sim_leave();
}

void sim_restart_after(int pid, int64_t delay)
{
    sim_enter();
    process_of(pid)->restart_delay = delay;
    sim_leave();
}

void sim_crash_at(int pid, uint64_t nth)
{
    sim_enter();
    struct process *p = process_of(pid);
    p->crash_at = nth ? p->points + nth : 0;
    sim_leave();
}

void sim_random_crashes(int pid, uint64_t mean_points)
{
    sim_enter();
    process_of(pid)->mean_points = mean_points;
    sim_leave();
}

bool sim_alive(int pid)
{
    sim_enter();
    bool alive = process_of(pid)->alive;
    if (!alive)
        SYNC_ACQUIRE(&world); /* who sees it dead may look at what it left in shared memory */
    sim_leave();
    return alive;
}

uint64_t sim_points(int pid)
{
    return process_of(pid)->points;
}

int sim_exit_status(int pid)
{
    return process_of(pid)->exit_status;
}

int sim_self(void)
{
    return sim_process()->pid;
}

/* ---- sys.h ---- */

void sys_exit(int status, const char *why)
{
    sys_log_line(why, strlen(why));
    sim_enter();
    if (!world.current)
        sim_fail("sys_exit outside of any process: %s", why);
    struct process *p = world.current->process;
    p->exits++;
    world.stats.exits++;
    snprintf(p->exit_reason, sizeof p->exit_reason, "%s", why);
    process_end_self(END_EXIT, status);
}

int64_t sys_now(void)
{
    sim_enter();
    sim_point(POINT_NOW);
    int64_t now = world.now;
    sim_leave();
    return now;
}

int64_t sys_wall(void)
{
    sim_enter();
    sim_point(POINT_WALL);
    const struct host *h = sim_process()->host;
    int64_t wall = WALL_START + world.now + (h ? host_wall_offset(h) : 0);
    sim_leave();
    return wall;
}

int64_t sys_boottime(void)
{
    sim_enter();
    sim_point(POINT_BOOTTIME);
    const struct host *h = sim_process()->host;
    int64_t now = world.now + (h ? host_boot_offset(h) : 0);
    sim_leave();
    return now;
}

void sys_usage(struct sys_usage *out)
{
    *out = (struct sys_usage){0};
}

void sys_host_name(char out[SYS_HOST_NAME])
{
    const struct host *h = sim_process()->host;
    snprintf(out, SYS_HOST_NAME, "host-%u", h ? h->number : 0);
}

uint64_t sys_descriptors_raise(void)
{
    return UINT64_MAX;
}

int64_t sys_cpu_time(void)
{
    return 0;
}

void sys_sleep_until(int64_t deadline)
{
    sim_enter();
    sim_point(POINT_SLEEP);
    while (world.now < deadline)
        (void)sim_block(deadline, "the end of a sleep");
    sim_leave();
}

void sys_random(void *out, size_t n)
{
    uint8_t *at = out;
    for (size_t i = 0; i < n;) {
        sim_enter();
        uint64_t r = sim_random();
        sim_leave();
        for (int k = 0; k < 8 && i < n; k++, r >>= 8)
            at[i++] = (uint8_t)r;
    }
}

void sys_log_line(const char *line, size_t n)
{
    sim_enter();
    sim_trace_bytes(line, n);
    if (world.log)
        world.log(world.log_arg, sim_process()->name, line, n);
    sim_leave();
}

void sim_log_to(void (*sink)(void *, const char *, const char *, size_t), void *arg)
{
    world.log = sink;
    world.log_arg = arg;
}

struct sys_event *sys_stop_event(void)
{
    return &sim_process()->stop;
}

struct sys_event *sys_reload_event(void)
{
    return &sim_process()->reload;
}
