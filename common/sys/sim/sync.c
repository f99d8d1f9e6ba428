/* Threads, mutexes, conditions. A waiter that is woken competes again: who wins is the scheduler's
 * draw, and a condition now and then wakes without a reason, as real ones may. */
#include <stdio.h>
#include <string.h>
#include "common/sys/sim/sim_internal.h"

enum { POINT_START = 16, POINT_JOIN, POINT_LOCK, POINT_UNLOCK, POINT_WAIT, POINT_SIGNAL };
enum { SPURIOUS_ONE_IN = 32 };

struct mutex {
    struct object object;
    struct fiber *holder;
    bool io; /* may be held across file and network calls */
    struct wait_list waiters;
};
struct cond {
    struct object object;
    struct wait_list waiters;
};

/* ---- threads ---- */

enum err sys_thread_start(struct sys_thread **out, const char *name, size_t stack_bytes,
                          void (*run)(void *), void *arg)
{
    sim_enter();
    sim_point(POINT_START);
    struct sys_thread *t = object_new(OBJECT_THREAD, sizeof *t);
    snprintf(t->name, sizeof t->name, "%s", name);
    t->fiber = fiber_new(sim_process(), name, stack_bytes, run, arg);
    t->fiber->thread = t;
    *out = t;
    sim_leave();
    return OK;
}

void sys_thread_join(struct sys_thread *thread)
{
    sim_enter();
    sim_point(POINT_JOIN);
    assert(thread->object.process == sim_process());
    if (thread->fiber == world.current)
        sim_fail("a thread joins itself");
    while (thread->fiber) {
        wait_add(&thread->joiners);
        (void)sim_block(SYS_FOREVER, "the end of a thread");
    }
    SYNC_ACQUIRE(thread);
    thread_destroy(thread);
    sim_leave();
}

void thread_destroy(struct sys_thread *t)
{
    wait_release(&t->joiners);
    object_free(t);
}

/* ---- mutexes ---- */

static struct mutex *mutex_of(struct sys_mutex *m)
{
    struct mutex *mutex = m->impl[0];
    if (!mutex || mutex->object.kind != OBJECT_MUTEX || mutex->object.process != sim_process())
        sim_fail("a mutex is used that was not initialised in this process");
    return mutex;
}

static void mutex_new(struct sys_mutex *m, bool io)
{
    sim_enter();
    memset(m, 0, sizeof *m);
    struct mutex *mutex = object_new(OBJECT_MUTEX, sizeof *mutex);
    mutex->io = io;
    m->impl[0] = mutex;
    sim_leave();
}

void sys_mutex_init(struct sys_mutex *m)
{
    mutex_new(m, false);
}

void sys_mutex_init_io(struct sys_mutex *m)
{
    mutex_new(m, true);
}

void sys_mutex_release(struct sys_mutex *m)
{
    sim_enter();
    struct mutex *mutex = mutex_of(m);
    if (mutex->holder)
        sim_fail("a mutex is released while %s holds it", mutex->holder->name);
    mutex_destroy(&mutex->object);
    m->impl[0] = NULL;
    sim_leave();
}

void mutex_destroy(struct object *o)
{
    struct mutex *mutex = (struct mutex *)(void *)o;
    wait_release(&mutex->waiters);
    object_free(mutex);
}

static void lock(struct mutex *mutex)
{
    if (mutex->holder == world.current && world.current)
        sim_fail("a mutex is locked twice by %s", world.current->name);
    while (mutex->holder) {
        wait_add(&mutex->waiters);
        (void)sim_block(SYS_FOREVER, "a mutex");
    }
    mutex->holder = world.current;
    if (world.current)
        world.current->locks += !mutex->io;
    SYNC_ACQUIRE(mutex);
}

static void unlock(struct mutex *mutex)
{
    if (mutex->holder != world.current)
        sim_fail("a mutex is unlocked by who does not hold it");
    SYNC_RELEASE(mutex);
    mutex->holder = NULL;
    if (world.current)
        world.current->locks -= !mutex->io;
    wait_wake_all(&mutex->waiters);
}

void sys_mutex_lock(struct sys_mutex *m)
{
    sim_enter();
    sim_point(POINT_LOCK);
    lock(mutex_of(m));
    sim_leave();
}

void sys_mutex_unlock(struct sys_mutex *m)
{
    sim_enter();
    unlock(mutex_of(m));
    sim_point(POINT_UNLOCK);
    sim_leave();
}

/* ---- conditions ---- */

static struct cond *cond_of(struct sys_cond *c)
{
    struct cond *cond = c->impl[0];
    if (!cond || cond->object.kind != OBJECT_COND || cond->object.process != sim_process())
        sim_fail("a condition is used that was not initialised in this process");
    return cond;
}

void sys_cond_init(struct sys_cond *c)
{
    sim_enter();
    memset(c, 0, sizeof *c);
    c->impl[0] = object_new(OBJECT_COND, sizeof(struct cond));
    sim_leave();
}

void sys_cond_release(struct sys_cond *c)
{
    sim_enter();
    cond_destroy(&cond_of(c)->object);
    c->impl[0] = NULL;
    sim_leave();
}

void cond_destroy(struct object *o)
{
    struct cond *cond = (struct cond *)(void *)o;
    wait_release(&cond->waiters);
    object_free(cond);
}

enum err sys_cond_wait(struct sys_cond *c, struct sys_mutex *m, int64_t deadline)
{
    sim_enter();
    struct cond *cond = cond_of(c);
    struct mutex *mutex = mutex_of(m);
    sim_point(POINT_WAIT);
    if (!world.current)
        sim_fail("a condition is waited for outside of any process");
    enum wake why = WAKE_RUN;
    if (sim_below(SPURIOUS_ONE_IN) == 0) {
        unlock(mutex);
        sim_point(POINT_WAIT);
    } else {
        wait_add(&cond->waiters);
        unlock(mutex);
        why = sim_block(deadline, "a condition");
    }
    lock(mutex);
    sim_leave();
    return why == WAKE_TIMEOUT ? ERR_TIMEOUT : OK;
}

void sys_cond_signal(struct sys_cond *c)
{
    sim_enter();
    wait_wake_one(&cond_of(c)->waiters);
    sim_point(POINT_SIGNAL);
    sim_leave();
}

void sys_cond_broadcast(struct sys_cond *c)
{
    sim_enter();
    wait_wake_all(&cond_of(c)->waiters);
    sim_point(POINT_SIGNAL);
    sim_leave();
}
