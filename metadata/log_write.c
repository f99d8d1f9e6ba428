/* Writing: a batch is built in memory, padded to whole blocks, written behind the last one and made
 * durable by one sync for all batches of an append. */
#include <assert.h>
#include <string.h>
#include "common/sys/log.h"
#include "metadata/log_internal.h"

enum {
    SPARE_STEP = 256 << 10, /* of the next segment, written with each append */
    COMPACT_FIXED = 40,     /* of a compact record's body, before the configuration */
};

static uint64_t padded(uint64_t n)
{
    return (n + LOG_BLOCK - 1) / LOG_BLOCK * LOG_BLOCK;
}

void log_store_buffer_reserve(struct log_store *s, size_t bytes)
{
    if (bytes <= s->buffer_bytes)
        return;
    size_t used = s->buffer ? LOG_BATCH_HEADER + writer_used(&s->records) : 0;
    size_t size = (size_t)padded(bytes + bytes / 2);
    uint8_t *buffer = sys_alloc_aligned(size, LOG_BLOCK);
    if (used)
        memcpy(buffer, s->buffer, used);
    sys_free(s->buffer);
    s->buffer = buffer;
    s->buffer_bytes = size;
    writer_init(&s->records, buffer + LOG_BATCH_HEADER, size - LOG_BATCH_HEADER);
    if (used)
        s->records.at += used - LOG_BATCH_HEADER;
}

void log_store_batch_begin(struct log_store *s)
{
    log_store_buffer_reserve(s, LOG_BLOCK);
    writer_init(&s->records, s->buffer + LOG_BATCH_HEADER, s->buffer_bytes - LOG_BATCH_HEADER);
    s->record_count = 0;
}

static struct writer *put(struct log_store *s, enum log_record_type type, uint8_t kind, size_t n)
{
    log_store_buffer_reserve(s,
                             LOG_BATCH_HEADER + writer_used(&s->records) + LOG_RECORD_HEADER + n);
    s->record_count++;
    write_u8(&s->records, (uint8_t)type);
    write_u8(&s->records, kind);
    write_u16(&s->records, 0);
    write_u32(&s->records, (uint32_t)n);
    return &s->records;
}

void log_store_put_seal(struct log_store *s, uint64_t sequence, uint64_t generation)
{
    struct writer *w = put(s, LOG_SEAL, 0, 16);
    write_u64(w, sequence);
    write_u64(w, generation);
}

static void put_hard(struct log_store *s)
{
    struct writer *w = put(s, LOG_HARD_STATE, 0, 16);
    write_u64(w, s->hard.term);
    write_u64(w, s->hard.vote);
}

static void put_entry(struct log_store *s, const struct raft_entry *e)
{
    size_t n = raft_entry_length(e);
    struct writer *w = put(s, LOG_ENTRY, (uint8_t)e->type, 16 + n);
    write_u64(w, e->index);
    write_u64(w, e->term);
    if (n)
        write_bytes(w, e->payload->data, n);
}

void log_store_put_truncate(struct log_store *s, uint64_t from)
{
    write_u64(put(s, LOG_TRUNCATE, 0, 8), from);
}

/* What the two records of a compaction or a reset take. */
size_t log_store_compact_bytes(const struct raft_entry *configuration)
{
    return 2 * (size_t)LOG_RECORD_HEADER + 8 + COMPACT_FIXED + raft_entry_length(configuration);
}

void log_store_put_compact(struct log_store *s)
{
    const struct raft_entry *c = &s->compact_configuration;
    size_t n = raft_entry_length(c);
    struct writer *w = put(s, LOG_COMPACT, 0, COMPACT_FIXED + n);
    write_u64(w, s->terms.base_index);
    write_u64(w, s->terms.base_term);
    write_u64(w, s->compact_first_sequence);
    write_u64(w, c->index);
    write_u64(w, c->term);
    if (n)
        write_bytes(w, c->payload->data, n);
}

void log_store_batch_write_here(struct log_store *s)
{
    const struct log_segment *segment = log_store_segment_last(s);
    assert(!s->records.failed);
    uint32_t used = (uint32_t)writer_used(&s->records);
    struct log_batch_header h = {
        .bytes = (uint32_t)padded(LOG_BATCH_HEADER + used),
        .previous_crc = s->chain,
        .generation = segment->generation,
        .incarnation = s->incarnation,
        .offset = s->end,
        .known_sequence = s->known_sequence,
        .known_offset = s->known_offset,
        .commit = s->hard.commit,
        .records = s->record_count,
        .record_bytes = used,
    };
    log_store_buffer_reserve(s, h.bytes);
    assert(s->end + h.bytes <= segment->bytes);
    log_store_batch_seal(&h, s->buffer);
    enum err e = sys_file_write(s->file, s->end, s->buffer, h.bytes);
    if (e)
        log_store_die(s, "write", e);
    s->end += h.bytes;
    s->chain = h.crc;
    s->written_bytes += h.bytes;
}

void log_store_sync(struct log_store *s)
{
    enum err e = sys_file_sync(s->file);
    if (e)
        log_store_die(s, "sync", e);
    s->known_sequence = log_store_segment_last(s)->sequence;
    s->known_offset = s->end;
    s->syncs++;
}

/* Makes room for a batch with this many bytes of records: seals a full segment, begins the next one
 * with what must not be lost with those before it (L5). A block always stays for the seal. */
void log_store_make_room(struct log_store *s, uint64_t record_bytes)
{
    uint64_t needed = padded(LOG_BATCH_HEADER + record_bytes);
    uint64_t state = s->end == LOG_BLOCK ? LOG_BLOCK : 0;
    if (s->end + state + needed + LOG_BLOCK > log_store_segment_last(s)->bytes) {
        log_store_rotate(s, needed + LOG_BLOCK);
    }
    if (s->end != LOG_BLOCK)
        return;
    log_store_batch_begin(s);
    put_hard(s);
    if (s->terms.base_index)
        log_store_put_compact(s);
    log_store_batch_write_here(s);
    assert(s->end == 2 * LOG_BLOCK);
}

static void record_entries(struct log_store *s, const struct raft_entry *entries, size_t n,
                           uint64_t offset)
{
    log_store_place_add(s, entries[0].index, log_store_segment_last(s)->sequence, offset,
                        (uint32_t)(s->end - offset));
    for (size_t i = 0; i < n; i++) {
        assert(entries[i].index == s->terms.last_index + 1);
        term_runs_append(&s->terms, entries[i].term);
        if (entries[i].type == RAFT_ENTRY_CONFIGURATION)
            raft_entries_push(&s->configurations, &entries[i]);
    }
}

static size_t entry_record_bytes(const struct raft_entry *e)
{
    return LOG_RECORD_HEADER + 16 + raft_entry_length(e);
}

/* As many entries as belong into one batch. */
static size_t cut_batch(const struct log_store *s, const struct raft_entry *entries, size_t n,
                        size_t *bytes)
{
    size_t i = 0;
    *bytes = 0;
    for (; i < n; i++) {
        size_t more = entry_record_bytes(&entries[i]);
        if (i > 0 && *bytes + more > s->batch_bytes)
            break;
        *bytes += more;
    }
    return i;
}

void log_store_append(struct log_store *s, const struct log_append *a)
{
    size_t done = 0, extra = 4 * (LOG_RECORD_HEADER + 16);
    bool first = true;
    do {
        size_t bytes, n = cut_batch(s, a->entries + done, a->count - done, &bytes);
        log_store_make_room(s, bytes + extra); /* its batches know what was committed before: L8 */
        if (a->commit > s->hard.commit)
            s->hard.commit = a->commit;
        log_store_batch_begin(s);
        if (first && a->hard) {
            s->hard.term = a->hard->term;
            s->hard.vote = a->hard->vote;
            put_hard(s);
        }
        if (first && a->truncate_from) {
            log_store_put_truncate(s, a->truncate_from);
            log_store_configurations_truncate(s, a->truncate_from);
            term_runs_truncate(&s->terms, a->truncate_from);
            log_store_place_truncate(s, a->truncate_from);
        }
        for (size_t i = 0; i < n; i++)
            put_entry(s, &a->entries[done + i]);
        uint64_t offset = s->end;
        log_store_batch_write_here(s);
        if (n)
            record_entries(s, a->entries + done, n, offset);
        done += n;
        first = false;
    } while (done < a->count);
    log_store_sync(s);
    s->appends++;
    s->marked = false;
    enum err e = log_store_spare_advance(s, SPARE_STEP);
    if (e)
        log_warn("log", "cannot prepare a segment in %s: %s", s->directory, err_text(e));
}

bool log_store_needs_mark(const struct log_store *s)
{
    return !s->marked;
}

void log_store_mark(struct log_store *s)
{
    if (s->marked)
        return;
    log_store_make_room(s, 0);
    log_store_batch_begin(s);
    log_store_batch_write_here(s);
    log_store_sync(s);
    s->marked = true;
}
