/* Following one segment's batches. What does not chain is the end; whether it is a torn tail or rot
 * is decided by what later blocks know (L3). */
#include <inttypes.h>
#include <string.h>
#include "common/sys/log.h"
#include "metadata/log_recover.h"

enum { WINDOW_BYTES = 1 << 20 };

enum err log_store_scan_corrupt(const struct log_scan *scan, const char *what)
{
    const struct log_store *s = scan->store;
    uint64_t sequence = s->segment_count ? s->segments[s->segment_count - 1].sequence : 0;
    log_error("log",
              "%s: acknowledged records are damaged, this member must not go on; cairn raft remove "
              "it, move "
              "its directory away, and let a new one join from an empty one log=%s segment=%" PRIu64
              " offset=%" PRIu64,
              what, s->directory, sequence, s->end);
    return ERR_CORRUPT;
}

void log_store_scan_release(struct log_scan *scan)
{
    sys_free(scan->window.bytes);
}

/* n bytes at offset, or NULL with *e set; ERR_TRUNCATED when the file ends before. */
static const uint8_t *look(struct log_window *w, uint64_t offset, size_t n, enum err *e)
{
    if (offset >= w->from && offset + n <= w->to)
        return w->bytes + (offset - w->from);
    size_t want = n > WINDOW_BYTES ? n : WINDOW_BYTES;
    if (want > w->capacity) {
        sys_free(w->bytes);
        w->bytes = sys_alloc_aligned(want, LOG_BLOCK);
        w->capacity = want;
    }
    size_t done = 0;
    *e = sys_file_read(w->file, offset, w->bytes, want, &done);
    if (*e)
        return NULL;
    w->from = offset;
    w->to = offset + done;
    if (done < n)
        *e = ERR_TRUNCATED;
    return done < n ? NULL : w->bytes;
}

static void apply_compact(struct log_scan *scan, struct reader *b)
{
    struct log_store *s = scan->store;
    uint64_t index = read_u64(b), term = read_u64(b), first = read_u64(b);
    struct raft_entry c = {.type = RAFT_ENTRY_CONFIGURATION};
    c.index = read_u64(b);
    c.term = read_u64(b);
    size_t n = reader_left(b);
    c.payload = n ? raft_payload_new(read_view(b, n), n) : NULL;
    log_store_configurations_compact(s, index);
    raft_payload_unref(s->compact_configuration.payload);
    s->compact_configuration = c;
    s->compact_first_sequence = first;
    if (index < s->terms.base_index)
        return; /* an older one: the one that let the segments before go is still to come */
    scan->floating = false;
    if (index <= s->terms.last_index) {
        term_runs_compact(&s->terms, index);
    } else {
        term_runs_release(&s->terms);
        s->terms.base_index = s->terms.last_index = index;
    }
    s->terms.base_term = term;
    log_store_place_compact(s, index);
}

static void start_at(struct log_scan *scan, uint64_t index)
{
    struct log_store *s = scan->store;
    term_runs_release(&s->terms);
    s->terms.base_index = s->terms.last_index = index - 1;
    s->place_count = 0;
    scan->floating = true;
}

static void apply_truncate(struct log_scan *scan, uint64_t from)
{
    struct log_store *s = scan->store;
    if (from <= s->terms.base_index) {
        if (scan->floating && from > 0)
            start_at(scan, from);
    } else {
        term_runs_truncate(&s->terms, from);
        log_store_place_truncate(s, from);
    }
    log_store_configurations_truncate(s, from);
}

static enum err apply_entry(struct log_scan *scan, const struct log_record *r, uint64_t offset,
                            uint32_t batch_bytes)
{
    struct log_store *s = scan->store;
    struct reader b = r->body;
    struct raft_entry e = {.index = read_u64(&b), .type = (enum raft_entry_type)r->kind};
    e.term = read_u64(&b);
    bool may_float = s->segments[0].sequence > 1 && s->terms.last_index == s->terms.base_index;
    if (b.failed || e.index == 0)
        return log_store_scan_corrupt(scan, "an entry is malformed");
    if (e.index != s->terms.last_index + 1 && may_float)
        start_at(scan, e.index);
    if (e.index <= s->terms.base_index)
        return OK;
    if (e.index != s->terms.last_index + 1 || e.term < term_runs_last_term(&s->terms))
        return log_store_scan_corrupt(scan, "entries do not follow each other");
    term_runs_append(&s->terms, e.term);
    const struct log_place *last = s->place_count ? &s->places[s->place_count - 1] : NULL;
    uint64_t sequence = log_store_segment_last(s)->sequence;
    if (!last || last->sequence != sequence || last->offset != offset)
        log_store_place_add(s, e.index, sequence, offset, batch_bytes);
    if (e.type == RAFT_ENTRY_CONFIGURATION) {
        size_t n = reader_left(&b);
        e.payload = raft_payload_new(read_view(&b, n), n);
        raft_entries_push(&s->configurations, &e);
        raft_payload_unref(e.payload);
    }
    return OK;
}

static enum err apply_batch(struct log_scan *scan, const struct log_batch_header *h,
                            const uint8_t *batch)
{
    struct log_store *s = scan->store;
    struct reader r;
    reader_init(&r, batch + LOG_BATCH_HEADER, h->record_bytes);
    struct log_record record;
    s->hard.commit = h->commit;
    while (log_store_record_next(&r, &record)) {
        struct reader *b = &record.body;
        enum err e = OK;
        switch (record.type) {
        case LOG_HARD_STATE:
            s->hard.term = read_u64(b);
            s->hard.vote = read_u64(b);
            break;
        case LOG_ENTRY:
            e = apply_entry(scan, &record, h->offset, h->bytes);
            break;
        case LOG_TRUNCATE:
            apply_truncate(scan, read_u64(b));
            break;
        case LOG_COMPACT:
            apply_compact(scan, b);
            break;
        case LOG_SEAL:
            scan->sealed = true;
            scan->next_sequence = read_u64(b);
            scan->next_generation = read_u64(b);
            break;
        default:
            return ERR_UNSUPPORTED;
        }
        if (!e && b->failed)
            e = log_store_scan_corrupt(scan, "a record is malformed");
        if (e)
            return e;
    }
    return r.failed ? log_store_scan_corrupt(scan, "a batch is malformed") : OK;
}

static bool beyond_end(const struct log_store *s, const struct log_batch_header *h)
{
    uint64_t sequence = s->segments[s->segment_count - 1].sequence;
    return h->known_sequence > sequence ||
           (h->known_sequence == sequence && h->known_offset > s->end);
}

/* Looks at every block from offset on for a whole batch that knows more than the store. */
static enum err evidence(struct log_scan *scan, const struct log_segment *g, uint64_t offset)
{
    struct log_store *s = scan->store;
    for (; offset + LOG_BLOCK <= g->bytes; offset += LOG_BLOCK) {
        enum err e = OK;
        struct log_batch_header h;
        const uint8_t *block = look(&scan->window, offset, LOG_BLOCK, &e);
        if (e == ERR_TRUNCATED)
            return OK;
        if (e)
            return e;
        if (!log_store_batch_peek(block, g->generation, offset, g->bytes - offset, &h))
            continue;
        scan->cut_bytes = offset + LOG_BLOCK > s->end ? offset + LOG_BLOCK - s->end : 0;
        const uint8_t *batch = look(&scan->window, offset, h.bytes, &e);
        if (e == ERR_TRUNCATED)
            continue;
        if (e)
            return e;
        if (log_store_batch_valid(&h, batch) && beyond_end(s, &h))
            return log_store_scan_corrupt(scan, "bad bytes below a known end");
    }
    return OK;
}

static enum err follow_batches(struct log_scan *scan)
{
    struct log_store *s = scan->store;
    struct log_segment g = *log_store_segment_last(s);
    scan->sealed = false;
    while (!scan->sealed && s->end + LOG_BLOCK <= g.bytes) {
        enum err e = OK;
        struct log_batch_header h;
        const uint8_t *batch = look(&scan->window, s->end, LOG_BLOCK, &e);
        if (!e && (!log_store_batch_peek(batch, g.generation, s->end, g.bytes - s->end, &h) ||
                   h.previous_crc != s->chain))
            break;
        if (!e)
            batch = look(&scan->window, s->end, h.bytes, &e);
        if (e == ERR_TRUNCATED || (!e && !log_store_batch_valid(&h, batch)))
            break;
        if (!e)
            e = apply_batch(scan, &h, batch);
        if (e)
            return e;
        s->end += h.bytes;
        s->chain = h.crc;
        s->marked = h.records == 0;
    }
    return scan->sealed ? OK : evidence(scan, &g, s->end);
}

static enum err open_segment(struct log_scan *scan, uint64_t sequence, struct log_segment_header *h)
{
    struct log_store *s = scan->store;
    char name[64], path[SYS_PATH_MAX];
    log_store_segment_name(sequence, name);
    log_store_path(s, name, path);
    struct sys_file *f;
    enum err e = sys_file_open(path, SYS_OPEN_WRITE | SYS_OPEN_DIRECT, &f);
    if (e)
        return e;
    scan->window.file = f;
    scan->window.from = scan->window.to = 0;
    const uint8_t *block = look(&scan->window, 0, LOG_BLOCK, &e);
    if (!e)
        e = log_store_header_decode(block, h);
    if (e == ERR_TRUNCATED || (!e && h->sequence != sequence))
        e = ERR_CORRUPT;
    if (!e && s->segment_count &&
        (h->identity.member != s->identity.member ||
         !uuid_equal(&h->identity.cluster, &s->identity.cluster)))
        e = ERR_CORRUPT;
    if (e) {
        sys_file_close(f);
        scan->window.file = NULL;
    }
    return e;
}

enum err log_store_scan_segment(struct log_scan *scan, uint64_t sequence)
{
    struct log_store *s = scan->store;
    struct log_segment_header h;
    enum err e = open_segment(scan, sequence, &h);
    if (e == ERR_CORRUPT ||
        (!e && s->segment_count &&
         (h.sequence != scan->next_sequence || h.generation != scan->next_generation)))
        e = log_store_scan_corrupt(scan, "the next segment's header is bad");
    if (s->file && !e) {
        e = sys_file_sync(s->file);
        sys_file_close(s->file);
        s->file = NULL;
    }
    if (e) {
        if (scan->window.file && scan->window.file != s->file)
            sys_file_close(scan->window.file);
        return e;
    }
    s->file = scan->window.file;
    s->identity = h.identity;
    log_store_segment_add(s, &h);
    s->end = LOG_BLOCK;
    s->chain = h.crc;
    return follow_batches(scan);
}

/* A header that cannot be read belongs to nothing that counts: its segment was not sealed to. */
enum err log_store_scan_evidence_in(struct log_scan *scan, uint64_t sequence)
{
    struct log_segment_header h;
    enum err e = open_segment(scan, sequence, &h);
    if (e == ERR_CORRUPT || e == ERR_UNSUPPORTED)
        return OK;
    if (e)
        return e;
    struct log_segment g = {.sequence = sequence, .generation = h.generation, .bytes = h.bytes};
    uint64_t cut = scan->cut_bytes;
    e = evidence(scan, &g, LOG_BLOCK);
    scan->cut_bytes = cut;
    sys_file_close(scan->window.file);
    return e;
}
