/* Writing: a batch is built in memory, padded to whole blocks, written behind the last one and made
 * durable by one sync for all batches of an append. */
#include <assert.h>
#include <string.h>
#include "common/sys/log.h"
#include "metadata/log_internal.h"

enum { SPARE_STEP = 256 << 10 }; /* of the next segment, written with each append */

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

static void put_compact(struct log_store *s)
{
    const struct raft_entry *c = &s->compact_configuration;
    size_t n = raft_entry_length(c);
    struct writer *w = put(s, LOG_COMPACT, 0, 40 + n);
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
static void make_room(struct log_store *s, uint64_t record_bytes)
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
        put_compact(s);
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
    if (a->commit > s->hard.commit)
        s->hard.commit = a->commit;
    size_t done = 0, extra = 4 * (LOG_RECORD_HEADER + 16);
    bool first = true;
    do {
        size_t bytes, n = cut_batch(s, a->entries + done, a->count - done, &bytes);
        make_room(s, bytes + extra);
        log_store_batch_begin(s);
        if (first && a->hard) {
            s->hard.term = a->hard->term;
            s->hard.vote = a->hard->vote;
            put_hard(s);
        }
        if (first && a->truncate_from) {
            write_u64(put(s, LOG_TRUNCATE, 0, 8), a->truncate_from);
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
    make_room(s, 0);
    log_store_batch_begin(s);
    log_store_batch_write_here(s);
    log_store_sync(s);
    s->marked = true;
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

void log_store_compact(struct log_store *s, uint64_t index, const struct raft_entry *configuration)
{
    if (index <= s->terms.base_index)
        return;
    assert(index <= s->terms.last_index);
    make_room(s, LOG_BLOCK - LOG_BATCH_HEADER);
    term_runs_compact(&s->terms, index);
    log_store_place_compact(s, index);
    raft_payload_ref(configuration->payload);
    raft_payload_unref(s->compact_configuration.payload);
    s->compact_configuration = *configuration;
    uint64_t first = s->place_count ? s->places[0].sequence : log_store_segment_last(s)->sequence;
    s->compact_first_sequence = first;
    log_store_batch_begin(s);
    put_compact(s);
    log_store_batch_write_here(s);
    log_store_sync(s);
    s->marked = false;
    recycle_below(s, first);
}
