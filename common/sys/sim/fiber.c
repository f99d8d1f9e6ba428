/* Fibers: their stacks, the switch, and what the sanitizers must be told about both.
 *
 * The switch is six pushes and a return on x86_64 (2.4 times faster overall than swapcontext, which
 * makes a system call), ucontext elsewhere or with -DSIM_UCONTEXT. A killed fiber is never
 * unwound; when a sanitizer keeps state for it, it is resumed one last time to give that up. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "common/sys/sim/sim_internal.h"

#if !defined(__x86_64__) && !defined(SIM_UCONTEXT)
#define SIM_UCONTEXT 1
#endif
#if defined(SIM_UCONTEXT)
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void *fiber);
void __tsan_switch_to_fiber(void *fiber, unsigned flags);
enum { TSAN_NO_SYNC = 1 };
#endif

/* The switch itself lies outside of sim_enter. */
#if defined(__SANITIZE_THREAD__)
#define UNSEEN __attribute__((no_sanitize("thread")))
#else
#define UNSEEN
#endif

enum { STACK_DEFAULT = 256 << 10, GUARD = 4096, POOLED_STACKS = 1024 };
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { STACK_FACTOR = 4, LAST_SWITCH = 1 };
#else
enum { STACK_FACTOR = 1, LAST_SWITCH = 0 };
#endif

static struct {
    void *scheduler; /* where it stopped */
    const void *scheduler_stack;
    size_t scheduler_stack_bytes;
    void *scheduler_fake, *scheduler_tsan;
    uint8_t *stacks[POOLED_STACKS]; /* of the default size */
    size_t stack_count;
    struct fiber *pool; /* ended ones: wait lists may still point to them */
} fibers;

/* ---- the switch ---- */

#if defined(SIM_UCONTEXT)
UNSEEN static void context_switch(void **from, void *to)
{
    ucontext_t here;
    *from = &here;
    swapcontext(&here, to);
}
#else
void sim_context_switch(void **from, void *to);
__asm__(".text\n"
        ".globl sim_context_switch\n"
        ".type sim_context_switch,@function\n"
        "sim_context_switch:\n"
        "    push %rbp\n    push %rbx\n    push %r12\n"
        "    push %r13\n    push %r14\n    push %r15\n"
        "    mov %rsp,(%rdi)\n"
        "    mov %rsi,%rsp\n"
        "    pop %r15\n    pop %r14\n    pop %r13\n"
        "    pop %r12\n    pop %rbx\n    pop %rbp\n"
        "    ret\n"
        ".size sim_context_switch,.-sim_context_switch\n");
UNSEEN static void context_switch(void **from, void *to)
{
    sim_context_switch(from, to);
}
#endif

UNSEEN static void switch_to_scheduler(struct fiber *f)
{
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(f->dead ? NULL : &f->fake_stack, fibers.scheduler_stack,
                                   fibers.scheduler_stack_bytes);
#endif
#if defined(__SANITIZE_THREAD__)
    SYNC_RELEASE(&world); /* acquired where the world is looked at from outside */
    __tsan_switch_to_fiber(fibers.scheduler_tsan, TSAN_NO_SYNC);
#endif
    context_switch(&f->context, fibers.scheduler);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(f->fake_stack, &fibers.scheduler_stack,
                                    &fibers.scheduler_stack_bytes);
#endif
}

UNSEEN void fiber_stop(void)
{
    struct fiber *f = world.current;
    switch_to_scheduler(f);
    if (f->killed) {
        while (f->quiet > 0)
            sim_leave();
        f->dead = true;
        switch_to_scheduler(f);
        abort();
    }
}

UNSEEN void fiber_resume(struct fiber *f)
{
    world.current = f;
    world.stats.switches++;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&fibers.scheduler_fake, f->stack, f->stack_bytes);
#endif
#if defined(__SANITIZE_THREAD__)
    fibers.scheduler_tsan = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(f->tsan, TSAN_NO_SYNC);
#endif
    context_switch(&fibers.scheduler, f->context);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fibers.scheduler_fake, NULL, NULL);
#endif
    world.current = NULL;
}

/* A fiber's first frame. */
UNSEEN static void fiber_entry(void)
{
    struct fiber *f = world.current;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(NULL, &fibers.scheduler_stack, &fibers.scheduler_stack_bytes);
#endif
    f->started = true;
    SYNC_ACQUIRE(f);
    f->run(f->arg);
    sim_enter();
    process_fiber_ended(f);
    sim_leave();
    f->dead = true;
    switch_to_scheduler(f);
    abort();
}

/* ---- stacks ---- */

static uint8_t *stack_new(size_t bytes)
{
    if (bytes == STACK_DEFAULT * STACK_FACTOR && fibers.stack_count > 0)
        return fibers.stacks[--fibers.stack_count];
    uint8_t *base = mmap(NULL, bytes + GUARD, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        sim_fail("no memory for a fiber's stack");
    if (mprotect(base, GUARD, PROT_NONE))
        sim_fail("no guard page for a fiber's stack");
    return base + GUARD;
}

static void stack_free(uint8_t *stack, size_t bytes)
{
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(stack, bytes); /* the frames were never left */
#endif
#if !defined(__SANITIZE_THREAD__) /* which would take the next owner's accesses for races */
    if (bytes == STACK_DEFAULT * STACK_FACTOR && fibers.stack_count < POOLED_STACKS) {
        fibers.stacks[fibers.stack_count++] = stack;
        return;
    }
#endif
    munmap(stack - GUARD, bytes + GUARD);
}

static void prepare(struct fiber *f)
{
#if defined(SIM_UCONTEXT)
    /* Kept at the stack's low end, far from where it grows from. */
    ucontext_t *first = (ucontext_t *)(void *)f->stack;
    getcontext(first);
    first->uc_stack.ss_sp = f->stack + sizeof *first;
    first->uc_stack.ss_size = f->stack_bytes - sizeof *first;
    makecontext(first, fiber_entry, 0);
    f->context = first;
#else
    /* As if fiber_entry had been called: at its first instruction rsp % 16 == 8. */
    void **sp = (void **)(void *)(f->stack + f->stack_bytes);
    *--sp = NULL;
    *--sp = (void *)(uintptr_t)fiber_entry;
    for (int i = 0; i < 6; i++)
        *--sp = NULL;
    f->context = sp;
#endif
}

static void on_deadline(struct timer *t)
{
    struct fiber *f = (struct fiber *)((uint8_t *)t - offsetof(struct fiber, timer));
    if (!world.ending)
        fiber_wake(f, WAKE_TIMEOUT);
}

struct fiber *fiber_new(struct process *p, const char *name, size_t stack_bytes,
                        void (*run)(void *), void *arg)
{
    struct fiber *f = fibers.pool;
    uint64_t turn = 0;
    if (f) {
        fibers.pool = f->pool_next;
        turn = f->turn + 1;
        memset(f, 0, sizeof *f);
    } else {
        f = world_alloc(sizeof *f);
    }
    size_t stack = (stack_bytes ? stack_bytes : STACK_DEFAULT) * STACK_FACTOR;
    if (stack < (16 << 10) * STACK_FACTOR)
        stack = (16 << 10) * STACK_FACTOR;
    f->turn = turn;
    f->stack_bytes = (stack + GUARD - 1) / GUARD * GUARD;
    f->stack = stack_new(f->stack_bytes);
    f->process = p;
    f->number = (uint32_t)world.fiber_numbers++;
    f->run = run;
    f->arg = arg;
    f->timer.fire = on_deadline;
    snprintf(f->name, sizeof f->name, "%s", name);
    f->next = p->fibers;
    if (f->next)
        f->next->prev = f;
    p->fibers = f;
    prepare(f);
#if defined(__SANITIZE_THREAD__)
    f->tsan = __tsan_create_fiber(0);
#endif
    SYNC_RELEASE(f);
    world.stats.fibers++;
    fiber_wake(f, WAKE_RUN);
    return f;
}

void fiber_free(struct fiber *f)
{
    timer_cancel(&f->timer);
    if (!f->dead && f->started && LAST_SWITCH) {
        f->killed = true;
        fiber_resume(f);
    }
#if defined(__SANITIZE_THREAD__)
    __tsan_destroy_fiber(f->tsan);
#endif
    stack_free(f->stack, f->stack_bytes);
    if (f->prev)
        f->prev->next = f->next;
    else
        f->process->fibers = f->next;
    if (f->next)
        f->next->prev = f->prev;
    f->stack = NULL;
    f->dead = true;
    f->turn++;
    f->pool_next = fibers.pool;
    fibers.pool = f;
}

void fibers_release(void)
{
    while (fibers.stack_count > 0)
        munmap(fibers.stacks[--fibers.stack_count] - GUARD, STACK_DEFAULT * STACK_FACTOR + GUARD);
    while (fibers.pool) {
        struct fiber *f = fibers.pool;
        fibers.pool = f->pool_next;
        world_free(f);
    }
}
