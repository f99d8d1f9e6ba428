/* Extents read from front to back: every record of which the header is valid.
 *
 * An extent is read along its reservation log: each entry is one large record or a run of small ones.
 * Where the log has holes or rotten blocks, and in a run behind a record whose header has rotted or
 * was given back, every multiple of 64 is tried for a header; the salt in its check is what keeps
 * user bytes out (record.c R3).
 *
 *  N1  Each record is shown once, in the order of its place. Nothing is changed.
 *  N2  Of a small record all bytes are looked at, of a large one header, table and footer.
 *  N3  Blocks that the disk cannot read are passed over; the extent is searched around them. */
#include <stdlib.h>
#include <string.h>
#include "chunkserver/store_internal.h"
#include "common/sys/log.h"

enum { WINDOW = 256 << 10 };

/* What a disk can still read of the window; the rest is taken for zeros. ERR_IO: nothing of a whole one. */
static enum err read_around(struct extent_scan *c, uint64_t from, size_t n)
{
    size_t lost = 0;
    for (size_t at = 0; at < n; at += SYS_BLOCK) {
        enum err e = extent_read(c->extent, from + at, c->window + at, SYS_BLOCK);
        if (e && e != ERR_IO)
            return e;
        if (e)
            memset(c->window + at, 0, SYS_BLOCK);
        lost += e != OK;
    }
    c->unreadable += lost;
    c->window_lost = lost;
    log_warn("store", "%s: %zu blocks of extent %u cannot be read", c->store->directory, lost,
             c->extent->number);
    return lost * SYS_BLOCK < n || n < WINDOW ? OK : ERR_IO;
}

/* n bytes (at most WINDOW) of the extent, valid until the next call. */
static enum err view(struct extent_scan *c, uint64_t at, size_t n, size_t ahead,
                     const uint8_t **out)
{
    if (at < c->window_at || at + n > c->window_at + c->window_bytes) {
        uint64_t from = round_down(at, SYS_BLOCK);
        size_t want = (size_t)(round_up(at + (n > ahead ? n : ahead), SYS_BLOCK) - from);
        if (want > WINDOW + SYS_BLOCK)
            want = WINDOW + SYS_BLOCK;
        c->window_bytes = c->window_lost = 0;
        enum err e = extent_read(c->extent, from, c->window, want);
        if (e == ERR_IO)
            e = read_around(c, from, want);
        if (e)
            return e;
        c->window_at = from;
        c->window_bytes = want;
    }
    *out = c->window + (at - c->window_at);
    return OK;
}

/* Whether a small record, wholly in memory, matches its table. */
static bool small_matches(const struct stored_shard *shard, const uint8_t *record,
                          const uint32_t *crcs)
{
    return shard->length == 0 ||
           shard_crc(&shard->id, 0, record + RECORD_HEADER, shard->length) == crcs[0];
}

/* Whether a whole block of 4 KiB within the record has been given back. */
static bool small_punched(const struct index_entry *entry, const uint8_t *record)
{
    uint64_t end = entry->place.offset + record_bytes(entry->shard.length);
    for (uint64_t at = round_up(entry->place.offset, SYS_BLOCK); at + SYS_BLOCK <= end;
         at += SYS_BLOCK)
        if (bytes_are_zero(record + (at - entry->place.offset), SYS_BLOCK))
            return true;
    return false;
}

/* A valid header has been found: what lies behind it. */
static enum err show(struct extent_scan *c, struct scanned *r)
{
    const struct stored_shard *shard = &r->entry.shard;
    uint32_t crcs[SHARD_BLOCKS_MAX];
    uint64_t at = r->entry.place.offset;
    size_t before = RECORD_HEADER + (size_t)shard->length;
    size_t tail = (size_t)record_bytes(shard->length) - before;
    bool small = record_is_small(shard->length);
    struct footer footer = {0};
    const uint8_t *bytes;
    enum err e =
        small ? view(c, at, before + tail, WINDOW, &bytes) : view(c, at + before, tail, 0, &bytes);
    if (e)
        return e;
    r->exists = record_decode_tail(c->store->superblock.salt, small ? bytes + before : bytes, shard,
                                   &r->entry.place, &footer, crcs);
    r->unread = !r->exists && c->window_lost > 0;
    r->entry.sequence = footer.sequence;
    r->synced = footer.synced;
    r->matches = r->exists && (!small || small_matches(shard, bytes, crcs));
    r->punched = small && r->exists && !r->matches && small_punched(&r->entry, bytes);
    return c->found(c->arg, r);
}

/* Records from `from` up to `to`. once: there is only the one at `from`. */
static enum err scan_range(struct extent_scan *c, uint64_t from, uint64_t to, bool once)
{
    while (from + RECORD_HEADER + RECORD_FOOTER <= to) {
        struct scanned r = {.entry.place = {c->extent->number, from}};
        const uint8_t *bytes;
        enum err e = view(c, from, RECORD_HEADER, once ? 0 : WINDOW, &bytes);
        if (e)
            return e;
        if (record_decode_header(c->store->superblock.salt, bytes, &r.entry.place,
                                 &r.entry.shard) &&
            from + record_bytes(r.entry.shard.length) <= to) {
            from += record_room(r.entry.shard.length);
            e = show(c, &r);
            if (e)
                return e;
        } else {
            from += RECORD_ALIGN;
        }
        if (once)
            break;
    }
    return OK;
}

struct log {
    struct reservation *v;
    size_t count;
    bool whole; /* no block of it is missing or unreadable */
};

static enum err read_log(struct extent_scan *c, uint32_t blocks, struct log *log)
{
    struct reservation *v = sys_alloc(LOG_ENTRIES_MAX * sizeof(*v));
    uint32_t zeros = 0, n = 0;
    enum err e = OK;
    uint64_t unreadable = c->unreadable;
    log->whole = true;
    /* A stretch of untouched blocks is the end: they are written one after the other. */
    for (uint32_t slot = 0; slot < blocks && zeros < WINDOW / SYS_BLOCK; slot++) {
        const uint8_t *bytes;
        e = view(c, (uint64_t)(1 + slot) * SYS_BLOCK, SYS_BLOCK, WINDOW, &bytes);
        if (e)
            break;
        if (bytes_are_zero(bytes, SYS_BLOCK)) {
            zeros++;
        } else if (!log_decode(c->store->superblock.salt, bytes, c->extent->number, slot, v, &n)) {
            log->whole = false;
        } else {
            log->whole = log->whole && zeros == 0;
            log->v = sys_realloc(log->v, (log->count + n) * sizeof(*v) + 1);
            memcpy(log->v + log->count, v, n * sizeof(*v));
            log->count += n;
        }
    }
    if (c->unreadable != unreadable)
        log->whole = false;
    sys_free(v);
    return e;
}

static enum err scan_log(struct extent_scan *c, const struct log *log, uint64_t start,
                         uint64_t from)
{
    uint64_t at = start;
    enum err e = OK;
    for (size_t i = 0; !e && i < log->count; i++) {
        const struct reservation *r = &log->v[i];
        uint64_t end = r->offset + r->length;
        if (end > c->bytes)
            end = c->bytes; /* cut off behind the last live record of a run */
        if (r->offset < at || r->offset >= end || r->offset % SYS_BLOCK != 0)
            continue;
        if (r->offset > at && r->offset > from)
            e = scan_range(c, at > from ? at : from, r->offset, false);
        if (!e && end > from)
            e = scan_range(c, r->offset > from ? r->offset : from, end, r->large);
        at = end;
    }
    if (!e && !log->whole) {
        c->log_damaged = true;
        log_warn("store",
                 "%s: extent %u: parts of its reservation log are unreadable, searching it",
                 c->store->directory, c->extent->number);
        e = scan_range(c, at > from ? at : from, c->bytes, false);
    }
    return e;
}

void scan_init(struct extent_scan *c, struct shard_store *s,
               enum err (*found)(void *arg, struct scanned *r), void *arg)
{
    *c = (struct extent_scan){.store = s, .found = found, .arg = arg};
    c->window = sys_alloc_aligned(WINDOW + SYS_BLOCK, SYS_BLOCK);
}

void scan_release(struct extent_scan *c)
{
    sys_free(c->window);
}

enum err scan_extent(struct extent_scan *c, uint32_t number, uint64_t from)
{
    struct shard_store *s = c->store;
    struct log log = {0};
    struct extent_header header;
    const uint8_t *bytes;
    c->log_damaged = c->header_damaged = false;
    c->unreadable = 0;
    enum err e = extent_use(s, number, &c->extent);
    if (e)
        return e;
    c->window_bytes = 0;
    e = sys_file_size(c->extent->file, &c->bytes);
    if (!e)
        e = view(c, 0, SYS_BLOCK, 0, &bytes);
    if (!e && extent_decode_header(s->superblock.salt, bytes, number, &header)) {
        e = read_log(c, header.log_blocks, &log);
        if (!e)
            e = scan_log(c, &log, (uint64_t)(1 + header.log_blocks) * SYS_BLOCK, from);
    } else if (!e && (c->unreadable || !bytes_are_zero(bytes, SYS_BLOCK))) {
        c->header_damaged = true;
        log_warn("store", "%s: the header of extent %u is unreadable, searching it", s->directory,
                 number);
        e = scan_range(c, from > SYS_BLOCK ? from : SYS_BLOCK, c->bytes, false);
    }
    /* A zero header: the crash came while it was made, before anything could lie in it. */
    sys_free(log.v);
    extent_unuse(s, c->extent);
    c->extent = NULL;
    return e;
}

static void visit(void *arg, const char *name, bool is_dir)
{
    struct extent_list *n = arg;
    char *end = NULL;
    unsigned long long number = strtoull(name, &end, 10);
    if (is_dir || *end != 0 || number == 0 || number > UINT32_MAX - 1)
        return;
    n->v = sys_realloc(n->v, (n->count + 1) * sizeof(*n->v));
    n->v[n->count++] = (uint32_t)number;
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

enum err scan_list(struct shard_store *s, struct extent_list *out)
{
    char path[SYS_PATH_MAX];
    *out = (struct extent_list){0};
    enum err e = disk_path(s->directory, "extents", path);
    if (!e)
        e = sys_dir_list(path, visit, out);
    if (!e && out->count)
        qsort(out->v, out->count, sizeof(*out->v), by_number);
    return e;
}

enum err scan_bytes(struct shard_store *s, const struct extent_list *l, uint64_t *out)
{
    enum err e = OK;
    *out = 0;
    for (size_t i = 0; !e && i < l->count; i++) {
        struct extent *x = NULL;
        uint64_t bytes = 0;
        e = extent_use(s, l->v[i], &x);
        if (!e)
            e = sys_file_size(x->file, &bytes);
        extent_unuse(s, x);
        *out += bytes;
    }
    return e;
}
