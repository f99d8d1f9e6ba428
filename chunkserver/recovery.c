/* What an open finds: the index as of its last flush, and extents that know more. Without an index,
 * everything is read from the extents.
 *
 * An extent is read along its reservation log: each entry is one large record or a run of small ones.
 * Where the log has holes or rotten blocks, and in a run behind a record whose header has rotted or
 * was given back, every multiple of 64 is tried for a header; the salt in its check is what keeps
 * user bytes out (record.c R3).
 *
 *  V1  A record whose sequence the index has passed is not adopted: it is indexed, or it was deleted.
 *  V2  A record that was durable by the word of another one (record.c R4) is adopted as it is: if it
 *      has rotted, reads say so. Any other is adopted only if every byte of it matches, and only
 *      after another sync of its extent: so a half-written one is never seen.
 *  V3  The first flush after this marks all these extents as indexed; nothing writes into them. */
#include <stdlib.h>
#include <string.h>
#include "chunkserver/store_internal.h"
#include "common/sys/log.h"

enum { WINDOW = 256 << 10, REBUILD_FLUSH = 2 * TAIL_FLUSH };

struct suspect {
    struct index_entry entry;
    bool bad; /* seen not to match */
};

struct scan {
    struct shard_store *s;
    bool rebuild;
    uint64_t top, synced; /* highest seen */
    uint64_t adopted;
    struct suspect *suspects;
    size_t suspect_count, suspect_capacity;
    /* of the extent at hand */
    struct extent *extent;
    uint64_t bytes;
    uint8_t *window; /* WINDOW + 2 blocks; what it holds: */
    uint64_t window_at;
    size_t window_bytes;
    uint8_t *scratch;
};

/* n bytes (at most WINDOW) of the extent, valid until the next call. */
static enum err view(struct scan *c, uint64_t at, size_t n, size_t ahead, const uint8_t **out)
{
    if (at < c->window_at || at + n > c->window_at + c->window_bytes) {
        uint64_t from = round_down(at, SYS_BLOCK);
        size_t want = (size_t)(round_up(at + (n > ahead ? n : ahead), SYS_BLOCK) - from);
        if (want > WINDOW + SYS_BLOCK)
            want = WINDOW + SYS_BLOCK;
        c->window_bytes = 0;
        enum err e = extent_read(c->extent, from, c->window, want);
        if (e)
            return e;
        c->window_at = from;
        c->window_bytes = want;
    }
    *out = c->window + (at - c->window_at);
    return OK;
}

static enum err adopt(struct scan *c, const struct index_entry *entry)
{
    struct index_entry known;
    enum err e = index_lookup(c->s, entry->shard.pool, &entry->shard.id, &known);
    if (e && e != ERR_NOT_FOUND)
        return e;
    if (!e && known.sequence >= entry->sequence)
        return OK;
    c->adopted++;
    sys_mutex_lock(&c->s->lock);
    index_put(c->s, entry);
    bool full = c->s->tail.count >= REBUILD_FLUSH;
    sys_mutex_unlock(&c->s->lock);
    return c->rebuild && full ? index_flush(c->s, true, false) : OK;
}

/* Space of a large record that is not there. */
static void drop(struct scan *c, const struct index_entry *entry)
{
    if (!c->rebuild && !record_is_small(entry->shard.length))
        dead_add(&c->s->dead, &entry->place, entry->shard.length);
}

static void suspect(struct scan *c, const struct index_entry *entry, bool bad)
{
    if (c->suspect_count == c->suspect_capacity) {
        c->suspect_capacity = c->suspect_capacity ? 2 * c->suspect_capacity : 64;
        c->suspects = sys_realloc(c->suspects, c->suspect_capacity * sizeof(*c->suspects));
    }
    c->suspects[c->suspect_count++] = (struct suspect){*entry, bad};
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

/* A record by an old commit: the index has the last word. */
static enum err old_record(struct scan *c, const struct index_entry *entry)
{
    struct index_entry known;
    enum err e = index_lookup(c->s, entry->shard.pool, &entry->shard.id, &known);
    if (e && e != ERR_NOT_FOUND)
        return e;
    if (e || known.place.extent != entry->place.extent || known.place.offset != entry->place.offset)
        drop(c, entry);
    return OK;
}

/* A valid header has been found. */
static enum err scan_record(struct scan *c, struct index_entry *entry)
{
    struct shard_store *s = c->s;
    uint32_t crcs[SHARD_BLOCKS_MAX], length = entry->shard.length;
    uint64_t at = entry->place.offset;
    size_t before = RECORD_HEADER + (size_t)length;
    bool small = record_is_small(length), matches = true;
    struct footer footer;
    const uint8_t *bytes;
    size_t tail = (size_t)record_bytes(length) - before;
    enum err e =
        small ? view(c, at, before + tail, WINDOW, &bytes) : view(c, at + before, tail, 0, &bytes);
    if (e)
        return e;
    if (!record_decode_tail(s->superblock.salt, small ? bytes + before : bytes, &entry->shard,
                            &entry->place, &footer, crcs)) {
        drop(c, entry);
        return OK;
    }
    entry->sequence = footer.sequence;
    if (footer.sequence > c->top)
        c->top = footer.sequence;
    if (footer.synced > c->synced)
        c->synced = footer.synced;
    if (!c->rebuild && footer.sequence <= s->flushed_sequence)
        return old_record(c, entry);
    if (small) {
        matches = small_matches(&entry->shard, bytes, crcs);
        if (!matches && small_punched(entry, bytes))
            return OK;
    }
    if (footer.sequence <= c->synced)
        return adopt(c, entry);
    suspect(c, entry, !matches);
    return OK;
}

/* Records from `from` up to `to`. once: there is only the one at `from`. */
static enum err scan_range(struct scan *c, uint64_t from, uint64_t to, bool once)
{
    while (from + RECORD_HEADER + RECORD_FOOTER <= to) {
        struct index_entry entry = {.place = {c->extent->number, from}};
        const uint8_t *bytes;
        enum err e = view(c, from, RECORD_HEADER, once ? 0 : WINDOW, &bytes);
        if (e)
            return e;
        if (record_decode_header(c->s->superblock.salt, bytes, &entry.place, &entry.shard) &&
            from + record_bytes(entry.shard.length) <= to) {
            from += record_room(entry.shard.length);
            e = scan_record(c, &entry);
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

static enum err read_log(struct scan *c, uint32_t blocks, struct log *log)
{
    struct reservation *v = sys_alloc(LOG_ENTRIES_MAX * sizeof(*v));
    uint32_t zeros = 0, n = 0;
    enum err e = OK;
    log->whole = true;
    /* A stretch of untouched blocks is the end: they are written one after the other. */
    for (uint32_t slot = 0; slot < blocks && zeros < WINDOW / SYS_BLOCK; slot++) {
        const uint8_t *bytes;
        e = view(c, (uint64_t)(1 + slot) * SYS_BLOCK, SYS_BLOCK, WINDOW, &bytes);
        if (e)
            break;
        if (bytes_are_zero(bytes, SYS_BLOCK)) {
            zeros++;
        } else if (!log_decode(c->s->superblock.salt, bytes, c->extent->number, slot, v, &n)) {
            log->whole = false;
        } else {
            log->whole = log->whole && zeros == 0;
            log->v = sys_realloc(log->v, (log->count + n) * sizeof(*v) + 1);
            memcpy(log->v + log->count, v, n * sizeof(*v));
            log->count += n;
        }
    }
    sys_free(v);
    return e;
}

static enum err scan_log(struct scan *c, const struct log *log, uint64_t start, uint64_t from)
{
    uint64_t at = start;
    enum err e = OK;
    for (size_t i = 0; !e && i < log->count; i++) {
        const struct reservation *r = &log->v[i];
        uint64_t end = r->offset + r->length;
        if (r->offset < at || end > c->bytes || r->offset % SYS_BLOCK != 0)
            continue;
        if (r->offset > at && r->offset > from)
            e = scan_range(c, at > from ? at : from, r->offset, false);
        if (!e && end > from)
            e = scan_range(c, r->offset > from ? r->offset : from, end, r->large);
        at = end;
    }
    if (!e && !log->whole) {
        log_warn("store",
                 "%s: extent %u: parts of its reservation log are unreadable, searching it",
                 c->s->directory, c->extent->number);
        e = scan_range(c, at > from ? at : from, c->bytes, false);
    }
    return e;
}

static enum err scan_extent(struct scan *c, uint32_t number)
{
    uint64_t from = 0;
    struct log log = {0};
    struct extent_header header;
    const uint8_t *bytes;
    enum err e = c->rebuild ? OK : index_scan_from(c->s, number, &from);
    if (e || from == UINT64_MAX)
        return e;
    e = extent_use(c->s, number, &c->extent);
    if (e)
        return e;
    c->window_bytes = 0;
    e = sys_file_size(c->extent->file, &c->bytes);
    if (!e)
        e = view(c, 0, SYS_BLOCK, 0, &bytes);
    if (!e && extent_decode_header(c->s->superblock.salt, bytes, number, &header)) {
        e = read_log(c, header.log_blocks, &log);
        if (!e)
            e = scan_log(c, &log, (uint64_t)(1 + header.log_blocks) * SYS_BLOCK, from);
    } else if (!e && !bytes_are_zero(bytes, SYS_BLOCK)) {
        log_warn("store", "%s: the header of extent %u is unreadable, searching it",
                 c->s->directory, number);
        e = scan_range(c, from > SYS_BLOCK ? from : SYS_BLOCK, c->bytes, false);
    }
    /* A zero header: the crash came while it was made, before anything could lie in it. */
    sys_free(log.v);
    extent_unuse(c->s, c->extent);
    c->extent = NULL;
    struct shard_store *s = c->s;
    s->scanned = sys_realloc(s->scanned, (s->scanned_count + 1) * sizeof(*s->scanned));
    s->scanned[s->scanned_count++] = number;
    return e;
}

/* V2. Suspects come in the order of extents. */
static enum err judge(struct scan *c)
{
    struct shard_store *s = c->s;
    uint32_t synced = 0;
    enum err e = OK;
    for (size_t i = 0; !e && i < c->suspect_count; i++) {
        const struct index_entry *entry = &c->suspects[i].entry;
        struct extent *x = NULL;
        if (entry->sequence <= c->synced) {
            e = adopt(c, entry);
            continue;
        }
        if (c->suspects[i].bad)
            continue;
        e = extent_use(s, entry->place.extent, &x);
        if (e)
            return e;
        e = record_is_small(entry->shard.length) ? OK : reader_verify(s, x, entry, c->scratch);
        bool there = e == OK;
        if (e == ERR_CORRUPT || e == ERR_NOT_FOUND || e == ERR_IO) {
            drop(c, entry);
            e = OK;
        }
        if (there && synced != entry->place.extent) {
            e = sys_file_sync(x->file);
            synced = entry->place.extent;
        }
        extent_unuse(s, x);
        if (there && !e)
            e = adopt(c, entry);
    }
    return e;
}

struct names {
    uint32_t *v;
    size_t count;
};

static void visit(void *arg, const char *name, bool is_dir)
{
    struct names *n = arg;
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

enum err recovery_run(struct shard_store *s, bool rebuild)
{
    char path[SYS_PATH_MAX];
    struct names names = {0};
    struct scan c = {.s = s, .rebuild = rebuild, .top = s->flushed_sequence};
    c.synced = s->flushed_sequence;
    c.window = sys_alloc_aligned(WINDOW + SYS_BLOCK, SYS_BLOCK);
    c.scratch = sys_alloc_aligned(SCRATCH_BYTES, SYS_BLOCK);
    enum err e = disk_path(s->directory, "extents", path);
    if (!e)
        e = sys_dir_list(path, visit, &names);
    if (!e && names.count)
        qsort(names.v, names.count, sizeof(*names.v), by_number);
    s->next_extent = names.count ? names.v[names.count - 1] + 1 : 1;
    for (size_t i = 0; !e && i < names.count; i++)
        e = scan_extent(&c, names.v[i]);
    if (!e)
        e = judge(&c);
    if (!e) {
        s->sequence = c.top;
        s->dirty = true;
        e = index_flush(s, false, false);
        if ((rebuild && s->superblock.incarnation > 1) || c.adopted)
            log_info("store", "%s: %s shards=%llu", s->directory,
                     rebuild ? "the index was rebuilt from the extents"
                             : "shards found behind the index",
                     (unsigned long long)c.adopted);
    }
    sys_free(names.v);
    sys_free(c.suspects);
    sys_free(c.window);
    sys_free(c.scratch);
    return e;
}
