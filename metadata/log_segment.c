/* Segments as files: written once in advance, a little with each append, so that neither creating a
 * segment nor the first sync into fresh blocks falls on one unlucky append; then sealed and chained
 * one to the next (L1, L4). */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "common/sys/log.h"
#include "metadata/log_internal.h"

enum { FILL_BYTES = 256 << 10 };

void log_store_die(const struct log_store *s, const char *what, enum err e)
{
    char why[256];
    snprintf(why, sizeof why, "metadata log %s: cannot %s: %s", s->directory, what, err_text(e));
    log_error("log", "%s; the disk has failed or is full, this member stops", why);
    sys_exit(1, why);
}

void log_store_path(const struct log_store *s, const char *name, char out[SYS_PATH_MAX])
{
    snprintf(out, SYS_PATH_MAX, "%s/%s", s->directory, name);
}

void log_store_segment_name(uint64_t sequence, char out[64])
{
    snprintf(out, 64, "segment-%016" PRIx64 ".log", sequence);
}

void log_store_spare_random_name(char out[64])
{
    uint64_t x;
    sys_random(&x, sizeof x);
    snprintf(out, 64, "spare-%016" PRIx64 ".log", x);
}

enum err log_store_file_fill(struct sys_file *f, uint64_t from, uint64_t to)
{
    uint8_t *zeros = sys_alloc_aligned(FILL_BYTES, LOG_BLOCK);
    memset(zeros, 0, FILL_BYTES);
    enum err e = OK;
    while (from < to && !e) {
        size_t n = to - from < FILL_BYTES ? (size_t)(to - from) : FILL_BYTES;
        e = sys_file_write(f, from, zeros, n);
        from += n;
    }
    sys_free(zeros);
    return e;
}

/* Writes at most bytes more of the next segment; when it is whole, it is synced and ready. */
enum err log_store_spare_advance(struct log_store *s, uint64_t bytes)
{
    char path[SYS_PATH_MAX];
    if (!s->spare_name[0]) {
        char name[64];
        log_store_spare_random_name(name);
        log_store_path(s, name, path);
        enum err e = sys_file_open(
            path, SYS_OPEN_WRITE | SYS_OPEN_CREATE | SYS_OPEN_EXCLUSIVE | SYS_OPEN_DIRECT,
            &s->spare);
        if (e)
            return e;
        memcpy(s->spare_name, name, sizeof name);
        s->spare_written = 0;
    }
    if (!s->spare)
        return OK;
    uint64_t left = s->segment_bytes - s->spare_written;
    uint64_t n = bytes < left ? (bytes + LOG_BLOCK - 1) / LOG_BLOCK * LOG_BLOCK : left;
    enum err e = log_store_file_fill(s->spare, s->spare_written, s->spare_written + n);
    if (e)
        return e;
    s->spare_written += n;
    if (s->spare_written < s->segment_bytes)
        return OK;
    e = sys_file_sync(s->spare);
    if (e)
        log_store_die(s, "sync a new segment", e);
    sys_file_close(s->spare);
    s->spare = NULL;
    s->file_bytes += s->segment_bytes;
    return OK;
}

struct log_segment *log_store_segment_last(struct log_store *s)
{
    return &s->segments[s->segment_count - 1];
}

void log_store_segment_add(struct log_store *s, const struct log_segment_header *h)
{
    if (s->segment_count == s->segment_capacity) {
        s->segment_capacity = s->segment_capacity ? s->segment_capacity * 2 : 8;
        s->segments = sys_realloc(s->segments, s->segment_capacity * sizeof *s->segments);
    }
    s->segments[s->segment_count++] = (struct log_segment){
        .sequence = h->sequence, .generation = h->generation, .bytes = h->bytes};
}

/* Opens the file that becomes the next segment, of at least needed bytes, all written once. */
static struct sys_file *take_spare(struct log_store *s, uint64_t needed, uint64_t *bytes)
{
    char path[SYS_PATH_MAX];
    enum err e = log_store_spare_advance(s, s->segment_bytes);
    if (e)
        log_store_die(s, "make a new segment", e);
    log_store_path(s, s->spare_name, path);
    struct sys_file *f;
    e = sys_file_open(path, SYS_OPEN_WRITE | SYS_OPEN_DIRECT, &f);
    if (!e)
        e = sys_file_size(f, bytes);
    if (e)
        log_store_die(s, "open a new segment", e);
    *bytes -= *bytes % LOG_BLOCK;
    uint64_t wanted = needed > s->segment_bytes ? needed : s->segment_bytes;
    if (*bytes < wanted) { /* an entry larger than a usual segment, or a spare of smaller ones */
        e = log_store_file_fill(f, *bytes, wanted);
        if (e)
            log_store_die(s, "extend a new segment", e);
        s->file_bytes += wanted - *bytes;
        *bytes = wanted;
    }
    return f;
}

static void name_segment(struct log_store *s, uint64_t sequence)
{
    char from[SYS_PATH_MAX], to[SYS_PATH_MAX], name[64];
    log_store_path(s, s->spare_name, from);
    log_store_segment_name(sequence, name);
    log_store_path(s, name, to);
    enum err e = sys_rename(from, to);
    if (!e)
        e = sys_dir_sync(s->directory);
    if (e)
        log_store_die(s, "name a new segment", e);
    s->spare_name[0] = 0;
}

/* The batch being built is not touched: the caller builds it after the rotation. */
void log_store_rotate(struct log_store *s, uint64_t needed)
{
    const struct log_segment *last = log_store_segment_last(s);
    struct log_segment_header h = {.identity = s->identity,
                                   .sequence = last->sequence + 1,
                                   .previous_generation = last->generation};
    struct sys_file *next = take_spare(s, needed + 3 * LOG_BLOCK, &h.bytes);
    do
        sys_random(&h.generation, sizeof h.generation);
    while (h.generation == 0);
    uint8_t *block = sys_alloc_aligned(LOG_BLOCK, LOG_BLOCK);
    log_store_header_encode(&h, block);
    enum err e = sys_file_write(next, 0, block, LOG_BLOCK);
    sys_free(block);
    if (!e)
        e = sys_file_sync(next);
    if (e)
        log_store_die(s, "write a segment's header", e);
    name_segment(s, h.sequence);
    log_store_batch_begin(s);
    log_store_put_seal(s, h.sequence, h.generation);
    log_store_batch_write_here(s);
    log_store_sync(s);
    sys_file_close(s->file);
    s->file = next;
    log_store_segment_add(s, &h);
    s->end = LOG_BLOCK;
    s->chain = h.crc;
}
