/* The newest entries, in memory as a ring that ends at the last index (R5). What is durable and
 * committed may leave from the front; who needs it then loads it from the log. */
#include <assert.h>
#include "common/base/alloc.h"
#include "metadata/raft/raft_internal.h"

uint64_t raft_last_index(const struct raft *r)
{
    return r->log.terms.last_index;
}

uint64_t raft_last_term(const struct raft *r)
{
    return term_runs_last_term(&r->log.terms);
}

uint64_t raft_term_at(const struct raft *r, uint64_t index)
{
    return term_runs_at(&r->log.terms, index);
}

uint64_t raft_cache_first(const struct raft_log *log)
{
    return log->terms.last_index + 1 - log->count;
}

static struct raft_entry *slot(const struct raft_log *log, size_t i)
{
    return &log->ring[(log->head + i) & (log->capacity - 1)];
}

const struct raft_entry *raft_cache_at(const struct raft_log *log, uint64_t index)
{
    uint64_t first = raft_cache_first(log);
    if (index < first || index > log->terms.last_index)
        return NULL;
    return slot(log, index - first);
}

static void grow(struct raft_log *log)
{
    size_t capacity = log->capacity ? log->capacity * 2 : 64;
    struct raft_entry *ring = sys_alloc(capacity * sizeof *ring);
    for (size_t i = 0; i < log->count; i++)
        ring[i] = *slot(log, i);
    sys_free(log->ring);
    log->ring = ring;
    log->capacity = capacity;
    log->head = 0;
}

void raft_cache_push(struct raft_log *log, const struct raft_entry *e)
{
    assert(e->index == log->terms.last_index + 1);
    if (log->count == log->capacity)
        grow(log);
    term_runs_append(&log->terms, e->term);
    *slot(log, log->count++) = *e;
    raft_payload_ref(e->payload);
    log->bytes += raft_entry_bytes(e);
}

void raft_cache_truncate(struct raft_log *log, uint64_t from)
{
    while (log->count && log->terms.last_index >= from) {
        struct raft_entry *e = slot(log, --log->count);
        log->bytes -= raft_entry_bytes(e);
        raft_payload_unref(e->payload);
        term_runs_truncate(&log->terms, log->terms.last_index);
    }
    term_runs_truncate(&log->terms, from);
}

static void drop_first(struct raft_log *log)
{
    struct raft_entry *e = slot(log, 0);
    log->bytes -= raft_entry_bytes(e);
    raft_payload_unref(e->payload);
    log->head = (log->head + 1) & (log->capacity - 1);
    log->count--;
}

void raft_cache_trim(struct raft_log *log, size_t bytes)
{
    uint64_t safe = log->commit < log->persisted ? log->commit : log->persisted;
    while (log->count && log->bytes > bytes && raft_cache_first(log) <= safe)
        drop_first(log);
}

void raft_cache_drop(struct raft_log *log, uint64_t to)
{
    while (log->count && raft_cache_first(log) <= to)
        drop_first(log);
}

void raft_cache_clear(struct raft_log *log)
{
    raft_cache_drop(log, log->terms.last_index);
}

void raft_cache_release(struct raft_log *log)
{
    raft_cache_clear(log);
    sys_free(log->ring);
    term_runs_release(&log->terms);
}

bool raft_entries_cached(const struct raft *r, uint64_t first, uint64_t last, size_t max_bytes,
                         struct raft_entries *out)
{
    if (!raft_cache_at(&r->log, first))
        return false;
    size_t bytes = 0, n = 0;
    for (uint64_t i = first; i <= last && n < RAFT_MESSAGE_ENTRIES_MAX; i++, n++) {
        const struct raft_entry *e = raft_cache_at(&r->log, i);
        if (!e || (n > 0 && bytes + raft_entry_bytes(e) > max_bytes))
            break;
        raft_entries_push(out, e);
        bytes += raft_entry_bytes(e);
    }
    return true;
}
