/* Threads, mutexes and conditions on pthreads. */
#define _GNU_SOURCE
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include "common/sys/posix/posix_internal.h"

enum { STACK_DEFAULT = 256 << 10, THREAD_NAME = 16 };
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { STACK_FACTOR = 4 }; /* red zones and shadow calls make every frame larger */
#else
enum { STACK_FACTOR = 1 };
#endif

struct sys_thread {
    pthread_t handle;
    void (*run)(void *arg);
    void *arg;
    char name[THREAD_NAME];
};

static void *thread_main(void *arg)
{
    struct sys_thread *t = arg;
    pthread_setname_np(pthread_self(), t->name);
    t->run(t->arg);
    return NULL;
}

enum err sys_thread_start(struct sys_thread **out, const char *name, size_t stack_bytes,
                          void (*run)(void *), void *arg)
{
    struct sys_thread *t = sys_alloc(sizeof *t);
    t->run = run;
    t->arg = arg;
    snprintf(t->name, sizeof t->name, "%s", name);
    size_t stack = (stack_bytes ? stack_bytes : STACK_DEFAULT) * STACK_FACTOR;
    size_t least = (size_t)PTHREAD_STACK_MIN;
    stack = stack < least ? least : (stack + SYS_BLOCK - 1) / SYS_BLOCK * SYS_BLOCK;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, stack);
    int failed = pthread_create(&t->handle, &attributes, thread_main, t);
    pthread_attr_destroy(&attributes);
    if (failed) {
        sys_free(t);
        return ERR_BUSY;
    }
    *out = t;
    return OK;
}

void sys_thread_join(struct sys_thread *thread)
{
    int failed = pthread_join(thread->handle, NULL);
    assert(!failed);
    sys_free(thread);
}

_Static_assert(sizeof(pthread_mutex_t) <= sizeof(struct sys_mutex), "a mutex fits");
_Static_assert(sizeof(pthread_cond_t) <= sizeof(struct sys_cond), "a condition fits");

static pthread_mutex_t *mutex_of(struct sys_mutex *m)
{
    return (pthread_mutex_t *)(void *)m;
}

static pthread_cond_t *cond_of(struct sys_cond *c)
{
    return (pthread_cond_t *)(void *)c;
}

void sys_mutex_init(struct sys_mutex *m)
{
    int failed = pthread_mutex_init(mutex_of(m), NULL);
    assert(!failed);
}

void sys_mutex_init_io(struct sys_mutex *m)
{
    sys_mutex_init(m);
}

void sys_mutex_release(struct sys_mutex *m)
{
    int failed = pthread_mutex_destroy(mutex_of(m));
    assert(!failed);
}

void sys_mutex_lock(struct sys_mutex *m)
{
    int failed = pthread_mutex_lock(mutex_of(m));
    assert(!failed);
}

void sys_mutex_unlock(struct sys_mutex *m)
{
    int failed = pthread_mutex_unlock(mutex_of(m));
    assert(!failed);
}

void sys_cond_init(struct sys_cond *c)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    int failed = pthread_cond_init(cond_of(c), &attributes);
    assert(!failed);
    pthread_condattr_destroy(&attributes);
}

void sys_cond_release(struct sys_cond *c)
{
    pthread_cond_destroy(cond_of(c));
}

void sys_cond_signal(struct sys_cond *c)
{
    pthread_cond_signal(cond_of(c));
}

void sys_cond_broadcast(struct sys_cond *c)
{
    pthread_cond_broadcast(cond_of(c));
}

enum err sys_cond_wait(struct sys_cond *c, struct sys_mutex *m, int64_t deadline)
{
    if (deadline == SYS_FOREVER) {
        int failed = pthread_cond_wait(cond_of(c), mutex_of(m));
        assert(!failed);
        return OK;
    }
    struct timespec until = posix_timespec(deadline);
    int result = pthread_cond_timedwait(cond_of(c), mutex_of(m), &until);
    assert(result == 0 || result == ETIMEDOUT);
    return result ? ERR_TIMEOUT : OK;
}
