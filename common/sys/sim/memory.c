/* common/base/alloc.h: real malloc with a header that puts each block on its process' list, so that a
 * crash can free them and the sanitizers still see every block by itself. What is not promised to
 * be zero is filled with a pattern: the real heap's remains would differ from run to run. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include "common/sys/sim/sim_internal.h"

enum { HEADER = 64, GARBAGE = 0xa5 };
static const uint64_t MAGIC = UINT64_C(0x636169726e2b6d65);

struct block {
    struct block *next, *prev;
    struct process *process;
    void *raw;
    size_t size;
    uint64_t magic; /* last: what writes before its block hits this first */
};
_Static_assert(sizeof(struct block) <= HEADER, "the header fits before the block");

static struct block *block_of(void *user)
{
    struct block *b = (struct block *)(void *)((uint8_t *)user - sizeof(struct block));
    if (b->magic != MAGIC)
        sim_fail("freed memory that is no block, or was written before its start");
    if (b->process != sim_process())
        sim_fail("%s frees a block of %s", sim_process()->name, b->process->name);
    return b;
}

static void *block_new(size_t size, size_t align)
{
    sim_enter();
    size_t before = align > HEADER ? align : HEADER;
    void *raw = NULL;
    if (posix_memalign(&raw, align > 16 ? align : 16, before + (size ? size : 1)))
        sim_fail("out of memory for a block of %zu bytes", size);
    uint8_t *user = (uint8_t *)raw + before;
    struct block *b = (struct block *)(void *)(user - sizeof *b);
    struct process *p = sim_process();
    *b = (struct block){.next = p->blocks, .process = p, .raw = raw, .size = size, .magic = MAGIC};
    if (b->next)
        b->next->prev = b;
    p->blocks = b;
    p->block_count++;
    p->block_bytes += size;
    sim_leave();
    return user;
}

static void block_unlink(struct block *b)
{
    struct process *p = b->process;
    if (b->prev)
        b->prev->next = b->next;
    else
        p->blocks = b->next;
    if (b->next)
        b->next->prev = b->prev;
    p->block_count--;
    p->block_bytes -= b->size;
    b->magic = 0;
}

void *sys_alloc(size_t size)
{
    return memset(block_new(size, 16), 0, size);
}

void *sys_alloc_aligned(size_t size, size_t align)
{
    assert(align >= 16 && (align & (align - 1)) == 0);
    return memset(block_new(size, align), GARBAGE, size);
}

void *sys_realloc(void *block, size_t size)
{
    uint8_t *fresh = block_new(size, 16);
    size_t kept = 0;
    if (block) {
        sim_enter();
        size_t old = block_of(block)->size;
        sim_leave();
        kept = old < size ? old : size;
        memcpy(fresh, block, kept);
    }
    memset(fresh + kept, GARBAGE, size - kept);
    sys_free(block);
    return fresh;
}

void sys_free(void *block)
{
    if (!block)
        return;
    sim_enter();
    struct block *b = block_of(block);
    block_unlink(b);
    free(b->raw);
    sim_leave();
}

void memory_free_all(struct process *p)
{
    while (p->blocks) {
        struct block *b = p->blocks;
        if (p->how == END_CRASH) {
            world.stats.blocks_freed_by_crash++;
            world.stats.bytes_freed_by_crash += b->size;
        }
        block_unlink(b);
        free(b->raw);
    }
}
