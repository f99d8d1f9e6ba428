/* Letting go of the log's beginning: below what a synced state has applied, or all of it when a state
 * was installed that is further. */
#include <assert.h>
#include <string.h>
#include "metadata/log_internal.h"

void log_store_configurations_truncate(struct log_store *s, uint64_t from)
{
    struct raft_entries *c = &s->configurations;
    while (c->n && c->v[c->n - 1].index >= from)
        raft_payload_unref(c->v[--c->n].payload);
}

void log_store_configurations_compact(struct log_store *s, uint64_t index)
{
    struct raft_entries *c = &s->configurations;
    size_t gone = 0;
    for (; gone < c->n && c->v[gone].index <= index; gone++) {
        raft_payload_unref(s->compact_configuration.payload);
        s->compact_configuration = c->v[gone];
    }
    if (gone)
        memmove(c->v, c->v + gone, (c->n - gone) * sizeof *c->v);
    c->n -= gone;
}

static const struct raft_entry *configuration_at(const struct log_store *s, uint64_t index)
{
    const struct raft_entry *at = &s->compact_configuration;
    for (size_t i = 0; i < s->configurations.n && s->configurations.v[i].index <= index; i++)
        at = &s->configurations.v[i];
    return at;
}

/* L6: what may go is durable first, then the files go, lowest first. */
static void recycle_below(struct log_store *s, uint64_t sequence)
{
    size_t gone = 0;
    for (; s->segments[gone].sequence < sequence; gone++) {
        char name[64], from[SYS_PATH_MAX], to[SYS_PATH_MAX];
        log_store_segment_name(s->segments[gone].sequence, name);
        log_store_path(s, name, from);
        enum err e;
        if (s->spare_name[0]) {
            e = sys_unlink(from);
            s->file_bytes -= s->segments[gone].bytes;
        } else {
            log_store_spare_random_name(name);
            log_store_path(s, name, to);
            e = sys_rename(from, to);
            memcpy(s->spare_name, name, sizeof name);
        }
        if (!e)
            e = sys_dir_sync(s->directory);
        if (e)
            log_store_die(s, "recycle a segment", e);
    }
    memmove(s->segments, s->segments + gone, (s->segment_count - gone) * sizeof *s->segments);
    s->segment_count -= gone;
}

/* The batch that was begun, closed by the record that says where the log begins now. */
static void write_base(struct log_store *s, uint64_t first_sequence)
{
    s->compact_first_sequence = first_sequence;
    log_store_put_compact(s);
    log_store_batch_write_here(s);
    log_store_sync(s);
    s->marked = false;
    recycle_below(s, first_sequence);
}

void log_store_compact(struct log_store *s, uint64_t index)
{
    if (index <= s->terms.base_index)
        return;
    assert(index <= s->terms.last_index);
    log_store_make_room(s, log_store_compact_bytes(configuration_at(s, index)));
    log_store_configurations_compact(s, index);
    term_runs_compact(&s->terms, index);
    log_store_place_compact(s, index);
    log_store_batch_begin(s);
    write_base(s, s->place_count ? s->places[0].sequence : log_store_segment_last(s)->sequence);
}

uint64_t log_store_compactable(const struct log_store *s, uint64_t keep_bytes)
{
    size_t first = s->segment_count - 1;
    uint64_t kept = s->segments[first].bytes;
    while (first > 0 && kept + s->segments[first - 1].bytes <= keep_bytes)
        kept += s->segments[--first].bytes;
    size_t low = 0, high = s->place_count; /* the first place in a segment that is kept */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->places[middle].sequence < s->segments[first].sequence)
            low = middle + 1;
        else
            high = middle;
    }
    return low < s->place_count ? s->places[low].first - 1 : s->terms.last_index;
}

/* As a truncation and a compaction beyond the last entry, in one batch. */
void log_store_reset(struct log_store *s, uint64_t index, uint64_t term,
                     const struct raft_entry *configuration)
{
    assert(index > s->terms.base_index);
    log_store_make_room(s, log_store_compact_bytes(configuration));
    uint64_t from = s->terms.base_index + 1;
    log_store_configurations_truncate(s, 0);
    raft_payload_ref(configuration->payload);
    raft_payload_unref(s->compact_configuration.payload);
    s->compact_configuration = *configuration;
    term_runs_release(&s->terms);
    s->terms.base_index = s->terms.last_index = index;
    s->terms.base_term = term;
    s->place_count = 0;
    if (s->hard.commit < index)
        s->hard.commit = index;
    log_store_batch_begin(s);
    log_store_put_truncate(s, from);
    write_base(s, log_store_segment_last(s)->sequence);
}
