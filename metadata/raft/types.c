/* Payloads, entries and messages: who holds which reference. */
#include "metadata/raft/types.h"
#include <assert.h>
#include <string.h>
#include "common/base/alloc.h"

struct raft_payload *raft_payload_new(const void *data, size_t n)
{
    assert(n <= UINT32_MAX);
    struct raft_payload *p = sys_alloc(sizeof *p + n);
    atomic_init(&p->refs, 1);
    p->length = (uint32_t)n;
    if (n)
        memcpy(p->data, data, n);
    return p;
}

struct raft_payload *raft_payload_ref(struct raft_payload *p)
{
    if (p)
        atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void raft_payload_unref(struct raft_payload *p)
{
    if (p && atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) == 1)
        sys_free(p);
}

size_t raft_entry_bytes(const struct raft_entry *e)
{
    return raft_entry_length(e) + RAFT_ENTRY_OVERHEAD;
}

void raft_entries_push(struct raft_entries *a, const struct raft_entry *e)
{
    if (a->n == a->capacity) {
        a->capacity = a->capacity ? a->capacity * 2 : 8;
        a->v = sys_realloc(a->v, a->capacity * sizeof *a->v);
    }
    a->v[a->n] = *e;
    raft_payload_ref(e->payload);
    a->n++;
}

void raft_entries_clear(struct raft_entries *a)
{
    for (size_t i = 0; i < a->n; i++)
        raft_payload_unref(a->v[i].payload);
    a->n = 0;
}

void raft_entries_release(struct raft_entries *a)
{
    raft_entries_clear(a);
    sys_free(a->v);
    *a = (struct raft_entries){0};
}

void raft_message_release(struct raft_message *m)
{
    raft_entries_release(&m->entries);
    raft_payload_unref(m->piece);
    m->piece = NULL;
}

void raft_message_move(struct raft_message *to, struct raft_message *from)
{
    *to = *from;
    from->entries = (struct raft_entries){0};
    from->piece = NULL;
}

size_t raft_message_bytes(const struct raft_message *m)
{
    size_t bytes = m->piece ? m->piece->length : 0;
    for (size_t i = 0; i < m->entries.n; i++)
        bytes += raft_entry_bytes(&m->entries.v[i]);
    return bytes;
}
