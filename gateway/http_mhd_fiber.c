/* The switch: six callee-saved registers on x86_64, ucontext elsewhere. The floating-point control
 * words are left alone, since nobody here changes them. */
#define _GNU_SOURCE
#include "gateway/http_mhd_fiber.h"
#include <assert.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>
#include "common/sys/sys.h"

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#define WITH_TSAN 1
void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void *fiber);
void __tsan_switch_to_fiber(void *fiber, unsigned flags);
#endif
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

struct http_fiber {
    struct http_fiber *next; /* in the pool */
    char *map;               /* guard page, then the stack */
    size_t map_bytes, guard_bytes;
    void (*run)(void *);
    void *arg;
    bool running, finished;
#if defined(__x86_64__)
    void *inside, *outside; /* stack pointers */
#else
    ucontext_t inside, outside;
#endif
#if defined(WITH_ASAN)
    void *fake_inside, *fake_outside;
    const void *outside_bottom;
    size_t outside_bytes;
#endif
#if defined(WITH_TSAN)
    void *tsan_inside, *tsan_outside;
#endif
};

struct http_fiber_pool {
    struct sys_mutex mutex;
    struct http_fiber *idle;
    size_t idle_n, max_kept, out_n, stack_bytes;
};

#if defined(__x86_64__)
void http_fiber_switch(void **save, void *load);
__asm__(".text\n"
        ".globl http_fiber_switch\n"
        ".type http_fiber_switch,@function\n"
        "http_fiber_switch:\n"
        "  push %rbp\n  push %rbx\n  push %r12\n  push %r13\n  push %r14\n  push %r15\n"
        "  mov %rsp,(%rdi)\n"
        "  mov %rsi,%rsp\n"
        "  pop %r15\n  pop %r14\n  pop %r13\n  pop %r12\n  pop %rbx\n  pop %rbp\n"
        "  ret\n"
        ".size http_fiber_switch,.-http_fiber_switch\n");
#endif

static void switch_in(struct http_fiber *f)
{
#if defined(WITH_ASAN)
    __sanitizer_start_switch_fiber(&f->fake_outside, f->map + f->guard_bytes,
                                   f->map_bytes - f->guard_bytes);
#endif
#if defined(WITH_TSAN)
    f->tsan_outside = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(f->tsan_inside, 0);
#endif
#if defined(__x86_64__)
    http_fiber_switch(&f->outside, f->inside);
#else
    swapcontext(&f->outside, &f->inside);
#endif
#if defined(WITH_ASAN)
    __sanitizer_finish_switch_fiber(f->fake_outside, NULL, NULL);
#endif
}

static void switch_out(struct http_fiber *f)
{
#if defined(WITH_ASAN)
    /* NULL tells the sanitizer that this stack's frames are gone for good. */
    __sanitizer_start_switch_fiber(f->finished ? NULL : &f->fake_inside, f->outside_bottom,
                                   f->outside_bytes);
#endif
#if defined(WITH_TSAN)
    __tsan_switch_to_fiber(f->tsan_outside, 0);
#endif
#if defined(__x86_64__)
    http_fiber_switch(&f->inside, f->outside);
#else
    swapcontext(&f->inside, &f->outside);
#endif
#if defined(WITH_ASAN)
    __sanitizer_finish_switch_fiber(f->fake_inside, &f->outside_bottom, &f->outside_bytes);
#endif
}

static void fiber_main(struct http_fiber *f)
{
#if defined(WITH_ASAN)
    __sanitizer_finish_switch_fiber(NULL, &f->outside_bottom, &f->outside_bytes);
#endif
    f->run(f->arg);
    f->finished = true;
    switch_out(f);
    assert(!"a finished fiber was resumed");
}

#if defined(__x86_64__)
/* Entered by ret, with the fiber in a register that the first switch pops. */
void http_fiber_entry(void);
__attribute__((used)) void http_fiber_begin(struct http_fiber *f);
void http_fiber_begin(struct http_fiber *f)
{
    fiber_main(f);
}
__asm__(".text\n"
        ".globl http_fiber_entry\n"
        ".type http_fiber_entry,@function\n"
        "http_fiber_entry:\n"
        "  mov %rbx,%rdi\n"
        "  call http_fiber_begin\n"
        "  ud2\n"
        ".size http_fiber_entry,.-http_fiber_entry\n");

static void prepare(struct http_fiber *f)
{
    /* From the top: alignment, then what the switch pops: r15 r14 r13 r12 rbx rbp, return address.
     * After its ret the stack pointer is a multiple of 16, as before a call. */
    uintptr_t top = (uintptr_t)(f->map + f->map_bytes) & ~(uintptr_t)15;
    void **sp = (void **)top;
    *--sp = NULL;
    *--sp = NULL;
    *--sp = (void *)(uintptr_t)http_fiber_entry;
    *--sp = NULL; /* rbp */
    *--sp = f;    /* rbx */
    *--sp = NULL; /* r12 */
    *--sp = NULL;
    *--sp = NULL;
    *--sp = NULL; /* r15 */
    f->inside = sp;
}
#else
static void entry(unsigned low, unsigned high)
{
    fiber_main((struct http_fiber *)((uintptr_t)low | (uintptr_t)high << 16 << 16));
}

static void prepare(struct http_fiber *f)
{
    uintptr_t p = (uintptr_t)f;
    getcontext(&f->inside);
    f->inside.uc_stack.ss_sp = f->map + f->guard_bytes;
    f->inside.uc_stack.ss_size = f->map_bytes - f->guard_bytes;
    f->inside.uc_link = NULL;
    makecontext(&f->inside, (void (*)(void))entry, 2, (unsigned)p, (unsigned)(p >> 16 >> 16));
}
#endif

struct http_fiber_pool *http_fiber_pool_new(size_t stack_bytes, size_t max_kept)
{
    struct http_fiber_pool *p = sys_alloc(sizeof *p);
    sys_mutex_init(&p->mutex);
    p->stack_bytes = stack_bytes;
    p->max_kept = max_kept;
    return p;
}

static void fiber_free(struct http_fiber *f)
{
    munmap(f->map, f->map_bytes);
#if defined(WITH_TSAN)
    __tsan_destroy_fiber(f->tsan_inside);
#endif
    sys_free(f);
}

void http_fiber_pool_free(struct http_fiber_pool *p)
{
    assert(p->out_n == 0);
    while (p->idle) {
        struct http_fiber *f = p->idle;
        p->idle = f->next;
        fiber_free(f);
    }
    sys_mutex_release(&p->mutex);
    sys_free(p);
}

static struct http_fiber *fiber_new(size_t stack_bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t bytes = (stack_bytes + page - 1) / page * page + page;
    char *map =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (map == MAP_FAILED)
        return NULL;
    if (mprotect(map, page, PROT_NONE)) {
        munmap(map, bytes);
        return NULL;
    }
    struct http_fiber *f = sys_alloc(sizeof *f);
    f->map = map;
    f->map_bytes = bytes;
    f->guard_bytes = page;
#if defined(WITH_TSAN)
    f->tsan_inside = __tsan_create_fiber(0);
#endif
    return f;
}

struct http_fiber *http_fiber_get(struct http_fiber_pool *p)
{
    sys_mutex_lock(&p->mutex);
    struct http_fiber *f = p->idle;
    if (f) {
        p->idle = f->next;
        p->idle_n--;
    }
    p->out_n++;
    sys_mutex_unlock(&p->mutex);
    if (!f)
        f = fiber_new(p->stack_bytes);
    if (!f) {
        sys_mutex_lock(&p->mutex);
        p->out_n--;
        sys_mutex_unlock(&p->mutex);
        return NULL;
    }
    f->next = NULL;
    f->running = f->finished = false;
    return f;
}

void http_fiber_put(struct http_fiber_pool *p, struct http_fiber *f)
{
    assert(!f->running || f->finished);
    sys_mutex_lock(&p->mutex);
    p->out_n--;
    bool keep = p->idle_n < p->max_kept;
    if (keep) {
        f->next = p->idle;
        p->idle = f;
        p->idle_n++;
    }
    sys_mutex_unlock(&p->mutex);
    if (!keep)
        fiber_free(f);
}

void http_fiber_start(struct http_fiber *f, void (*run)(void *), void *arg)
{
    assert(!f->running);
    f->run = run;
    f->arg = arg;
    f->running = true;
#if defined(WITH_ASAN)
    /* The frames of its last user that never returned left their marks. */
    ASAN_UNPOISON_MEMORY_REGION(f->map + f->guard_bytes, f->map_bytes - f->guard_bytes);
#endif
    prepare(f);
    switch_in(f);
}

void http_fiber_resume(struct http_fiber *f)
{
    assert(f->running && !f->finished);
    switch_in(f);
}

void http_fiber_yield(struct http_fiber *f)
{
    switch_out(f);
}
