/* Reading entries back for followers that lag and for the replay after a restart. Rare, so every
 * read opens its file, and every batch is checked again. */
#include <inttypes.h>
#include "common/sys/log.h"
#include "metadata/log_internal.h"

static const struct log_segment *segment_of(const struct log_store *s, uint64_t sequence)
{
    return &s->segments[sequence - s->segments[0].sequence];
}

static enum err read_batch(struct log_store *s, const struct log_place *p, uint8_t *batch)
{
    char name[64], path[SYS_PATH_MAX];
    log_store_segment_name(p->sequence, name);
    log_store_path(s, name, path);
    struct sys_file *f;
    enum err e = sys_file_open(path, SYS_OPEN_READ | SYS_OPEN_DIRECT, &f);
    if (e)
        return e;
    size_t done = 0;
    e = sys_file_read(f, p->offset, batch, p->bytes, &done);
    sys_file_close(f);
    if (e)
        return e;
    struct log_batch_header h;
    if (done < p->bytes ||
        !log_store_batch_peek(batch, segment_of(s, p->sequence)->generation, p->offset, p->bytes,
                              &h) ||
        h.bytes != p->bytes || !log_store_batch_valid(&h, batch)) {
        log_error(
            "log",
            "a record that was written is damaged, look after the disk; cairn raft remove this "
            "member, and let a new one join from an empty directory log=%s segment=%" PRIu64
            " offset=%" PRIu64,
            s->directory, p->sequence, p->offset);
        return ERR_CORRUPT;
    }
    return OK;
}

/* Adds the batch's entries from *next up to last; *bytes counts them. */
static bool take(const struct log_place *p, const uint8_t *batch, uint64_t *next, uint64_t last,
                 size_t max_bytes, size_t *bytes, struct raft_entries *out)
{
    struct log_batch_header h;
    if (!log_store_batch_peek(batch, read_u64(&(struct reader){batch + 16, batch + 24, false}),
                              p->offset, p->bytes, &h))
        return false;
    struct reader r;
    reader_init(&r, batch + LOG_BATCH_HEADER, h.record_bytes);
    struct log_record record;
    while (*next <= last && log_store_record_next(&r, &record)) {
        if (record.type != LOG_ENTRY)
            continue;
        struct reader *b = &record.body;
        struct raft_entry e = {.index = read_u64(b), .type = (enum raft_entry_type)record.kind};
        e.term = read_u64(b);
        if (e.index != *next)
            continue;
        size_t n = reader_left(b), more = n + RAFT_ENTRY_OVERHEAD;
        if (*bytes > 0 && *bytes + more > max_bytes) {
            *bytes = max_bytes; /* full */
            return true;
        }
        e.payload = n ? raft_payload_new(read_view(b, n), n) : NULL;
        raft_entries_push(out, &e);
        raft_payload_unref(e.payload);
        *bytes += more;
        ++*next;
    }
    return true;
}

enum err log_store_read(struct log_store *s, uint64_t first, uint64_t last, size_t max_bytes,
                        struct raft_entries *out)
{
    if (first <= s->terms.base_index || first > s->terms.last_index)
        return ERR_NOT_FOUND;
    if (last > s->terms.last_index)
        last = s->terms.last_index;
    uint64_t next = first;
    size_t bytes = 0;
    while (next <= last && bytes < max_bytes) {
        size_t at = log_store_place_find(s, next);
        if (at == s->place_count)
            return ERR_NOT_FOUND;
        const struct log_place *p = &s->places[at];
        uint64_t end = at + 1 < s->place_count ? s->places[at + 1].first - 1 : last;
        uint64_t before = next;
        uint8_t *batch = sys_alloc_aligned(p->bytes, LOG_BLOCK);
        enum err e = read_batch(s, p, batch);
        if (!e && (!take(p, batch, &next, end < last ? end : last, max_bytes, &bytes, out) ||
                   (next == before && bytes < max_bytes)))
            e = ERR_CORRUPT;
        sys_free(batch);
        if (e)
            return e;
    }
    return OK;
}
