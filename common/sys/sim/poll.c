/* Events, and the wait for many of them and of sockets. */
#include "common/sys/sim/sim_internal.h"

enum { POINT_POLL = 32 };

enum err sys_event_new(struct sys_event **out)
{
    sim_enter();
    *out = object_new(OBJECT_EVENT, sizeof(struct sys_event));
    sim_leave();
    return OK;
}

void event_destroy(struct sys_event *e)
{
    wait_release(&e->waiters);
    object_free(e);
}

void sys_event_free(struct sys_event *e)
{
    if (!e)
        return;
    sim_enter();
    event_destroy(e);
    sim_leave();
}

static void check_owner(const struct sys_event *e)
{
    if (e->object.process != sim_process())
        sim_fail("%s uses an event of %s", sim_process()->name, e->object.process->name);
}

void sys_event_set(struct sys_event *e)
{
    sim_enter();
    check_owner(e);
    SYNC_RELEASE(e);
    e->set = true;
    wait_wake_all(&e->waiters);
    sim_leave();
}

void sys_event_clear(struct sys_event *e)
{
    sim_enter();
    check_owner(e);
    e->set = false;
    sim_leave();
}

bool sys_event_is_set(const struct sys_event *e)
{
    sim_enter();
    check_owner(e);
    bool set = e->set;
    if (set)
        SYNC_ACQUIRE((void *)(uintptr_t)e);
    sim_leave();
    return set;
}

/* The two that every process has are no objects of its list. */
void events_release(struct process *p)
{
    wait_release(&p->stop.waiters);
    wait_release(&p->reload.waiters);
}

static bool gather_ready(struct sys_poll *v, size_t n)
{
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        if (v[i].socket) {
            v[i].ready = socket_ready(v[i].socket, v[i].want);
        } else if (v[i].event) {
            check_owner(v[i].event);
            v[i].ready = v[i].event->set ? SYS_READ : 0;
            if (v[i].ready)
                SYNC_ACQUIRE(v[i].event);
        } else {
            v[i].ready = 0;
        }
        any = any || v[i].ready;
    }
    return any;
}

enum err sys_poll(struct sys_poll *v, size_t n, int64_t deadline)
{
    assert(n <= SYS_POLL_MAX);
    sim_enter();
    sim_point_io(POINT_POLL);
    enum err e = OK;
    while (!gather_ready(v, n)) {
        for (size_t i = 0; i < n; i++) {
            if (v[i].socket)
                wait_add(socket_waiters(v[i].socket));
            else if (v[i].event)
                wait_add(&v[i].event->waiters);
        }
        if (sim_block(deadline, "an event or a socket") == WAKE_TIMEOUT) {
            e = gather_ready(v, n) ? OK : ERR_TIMEOUT;
            break;
        }
    }
    sim_leave();
    return e;
}
