/* Two classes of buffers over one budget. Returned memory is kept per class; when one class needs
 * room that the other's idle buffers occupy, these are given back to the system first. So the pool
 * never holds more than its budget, and a get fails only when buffers in use fill it.
 *
 * Invariants:
 *   1. used_bytes + idle_bytes <= budget_bytes;
 *   2. a buffer in a free list has no references. */
#include "common/rpc/buf.h"
#include <assert.h>
#include <stdatomic.h>
#include "common/base/alloc.h"
#include "common/sys/sys.h"

enum { CLASSES = 2 };
static const size_t class_bytes[CLASSES] = {BUF_SMALL, BUF_LARGE};

struct buf_pool {
    struct sys_mutex lock;
    struct buf *idle[CLASSES];
    size_t idle_bytes;
    struct buf_pool_stats stats;
};

struct buf_pool *buf_pool_new(size_t budget_bytes)
{
    assert(budget_bytes >= BUF_LARGE);
    struct buf_pool *p = sys_alloc(sizeof *p);
    sys_mutex_init(&p->lock);
    p->stats.budget_bytes = budget_bytes;
    return p;
}

static void destroy(struct buf *b)
{
    sys_free(b->data);
    sys_free(b);
}

static struct buf *pop_idle(struct buf_pool *p, int class)
{
    struct buf *b = p->idle[class];
    if (b) {
        p->idle[class] = b->next;
        b->next = NULL;
        p->idle_bytes -= b->capacity;
    }
    return b;
}

void buf_pool_free(struct buf_pool *p)
{
    if (!p)
        return;
    assert(p->stats.used_bytes == 0);
    for (int class = 0; class < CLASSES; class ++)
        for (struct buf *b; (b = pop_idle(p, class));)
            destroy(b);
    sys_mutex_release(&p->lock);
    sys_free(p);
}

struct buf_pool_stats buf_pool_stats(struct buf_pool *p)
{
    sys_mutex_lock(&p->lock);
    struct buf_pool_stats s = p->stats;
    sys_mutex_unlock(&p->lock);
    return s;
}

/* Under the lock. NULL when the budget is spent. */
static struct buf *take(struct buf_pool *p, size_t size)
{
    int class = size <= BUF_SMALL ? 0 : 1;
    struct buf_pool_stats *s = &p->stats;
    size_t bytes = class_bytes[class];
    if (s->used_bytes + bytes > s->budget_bytes)
        return NULL;
    struct buf *b = pop_idle(p, class);
    if (!b) {
        while (s->used_bytes + p->idle_bytes + bytes > s->budget_bytes)
            destroy(pop_idle(p, 1 - class));
        b = sys_alloc(sizeof *b);
        b->data = sys_alloc_aligned(bytes, BUF_ALIGN);
        b->capacity = bytes;
        b->pool = p;
    }
    assert(atomic_load(&b->references) == 0);
    atomic_store(&b->references, 1);
    s->gets++;
    s->used_bytes += bytes;
    if (s->used_bytes > s->peak_bytes)
        s->peak_bytes = s->used_bytes;
    assert(s->used_bytes + p->idle_bytes <= s->budget_bytes);
    return b;
}

enum err buf_get(struct buf_pool *p, size_t size, struct buf **out)
{
    assert(size <= BUF_LARGE);
    sys_mutex_lock(&p->lock);
    *out = take(p, size);
    if (!*out)
        p->stats.refusals++;
    sys_mutex_unlock(&p->lock);
    return *out ? OK : ERR_BUSY;
}

struct buf *buf_ref(struct buf *b)
{
    uint32_t before = atomic_fetch_add(&b->references, 1);
    assert(before > 0 && before < UINT32_MAX);
    return b;
}

void buf_unref(struct buf *b)
{
    if (!b)
        return;
    uint32_t before = atomic_fetch_sub(&b->references, 1);
    assert(before > 0);
    if (before > 1)
        return;
    struct buf_pool *p = b->pool;
    int class = b->capacity == BUF_SMALL ? 0 : 1;
    sys_mutex_lock(&p->lock);
    assert(p->stats.used_bytes >= b->capacity);
    p->stats.used_bytes -= b->capacity;
    p->idle_bytes += b->capacity;
    b->next = p->idle[class];
    p->idle[class] = b;
    sys_mutex_unlock(&p->lock);
}
