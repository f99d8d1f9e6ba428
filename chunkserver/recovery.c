/* What an open finds: the index as of its last flush, and extents that know more. Without an index,
 * everything is read from the extents.
 *
 *  V1  A record whose sequence the index has passed is not adopted: it is indexed, or it was deleted.
 *  V2  A record that was durable by the word of another one (record.c R4) is adopted as it is: if it
 *      has rotted, reads say so. Any other is adopted only if every byte of it matches, and only
 *      after another sync of its extent: so a half-written one is never seen.
 *      A record that cannot be read now is left as it lies: its disk may read it another time. Compaction leaves
 *      its extent alone until the disk is opened again.
 *  V3  The first flush after this marks all these extents as indexed; nothing writes into them. */
#include <string.h>
#include "chunkserver/store_internal.h"
#include "common/sys/log.h"

enum { REBUILD_FLUSH = 2 * TAIL_FLUSH };

struct suspect {
    struct index_entry entry;
    bool bad; /* seen not to match */
};

struct scan {
    struct shard_store *s;
    bool rebuild;
    uint64_t top, synced; /* highest seen */
    uint64_t adopted;
    uint64_t done, total; /* bytes of extents, of a rebuild */
    struct suspect *suspects;
    size_t suspect_count, suspect_capacity;
    struct extent_scan extents;
    uint8_t *scratch;
};

static enum err adopt(struct scan *c, const struct index_entry *entry)
{
    struct index_entry known;
    enum err e = index_find(c->s, entry->shard.pool, &entry->shard.id, &known);
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

/* A record by an old commit, or one that is not whole: the index has the last word. */
static enum err old_record(struct scan *c, const struct index_entry *entry)
{
    struct index_entry known;
    enum err e = index_find(c->s, entry->shard.pool, &entry->shard.id, &known);
    if (e && e != ERR_NOT_FOUND)
        return e;
    if (e == ERR_NOT_FOUND || known.place.extent != entry->place.extent ||
        known.place.offset != entry->place.offset)
        drop(c, entry);
    return OK;
}

static enum err found(void *arg, struct scanned *r)
{
    struct scan *c = arg;
    struct index_entry *entry = &r->entry;
    sys_mutex_lock(&c->s->lock);
    bool stop = c->s->keeper_stop;
    sys_mutex_unlock(&c->s->lock);
    if (stop)
        return ERR_STOPPING;
    if (!r->exists)
        return r->unread ? OK : old_record(c, entry);
    if (entry->sequence > c->top)
        c->top = entry->sequence;
    if (r->synced > c->synced)
        c->synced = r->synced;
    if (!c->rebuild && entry->sequence <= c->s->flushed_sequence)
        return old_record(c, entry);
    if (r->punched)
        return OK;
    if (entry->sequence <= c->synced)
        return adopt(c, entry);
    suspect(c, entry, !r->matches);
    return OK;
}

static void note_unread(struct shard_store *s, uint32_t number)
{
    sys_mutex_lock(&s->lock);
    s->unread = sys_realloc(s->unread, (s->unread_count + 1) * sizeof(*s->unread));
    s->unread[s->unread_count++] = number;
    sys_mutex_unlock(&s->lock);
}

static enum err read_extent(struct scan *c, uint32_t number)
{
    struct shard_store *s = c->s;
    uint64_t from = 0;
    enum err e = c->rebuild ? OK : index_scan_from(s, number, &from);
    if (e || from == UINT64_MAX)
        return e;
    e = scan_extent(&c->extents, number, from);
    c->done += c->extents.bytes;
    if (c->rebuild && s->progress)
        s->progress(s->progress_arg, c->done, c->total);
    if (e)
        return e;
    if (c->extents.unreadable)
        note_unread(s, number);
    s->scanned = sys_realloc(s->scanned, (s->scanned_count + 1) * sizeof(*s->scanned));
    s->scanned[s->scanned_count++] = number;
    return OK;
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
        if (e == ERR_CORRUPT || e == ERR_NOT_FOUND)
            drop(c, entry);
        if (e == ERR_IO)
            note_unread(s, entry->place.extent);
        if (e == ERR_CORRUPT || e == ERR_NOT_FOUND || e == ERR_IO)
            e = OK;
        if (there && synced != entry->place.extent) {
            e = sys_file_sync(x->file) ? ERR_DISK_FAILED : OK;
            synced = entry->place.extent;
        }
        extent_unuse(s, x);
        if (there && !e)
            e = adopt(c, entry);
    }
    return e;
}

enum err recovery_run(struct shard_store *s, bool rebuild)
{
    struct extent_list list;
    struct scan c = {.s = s, .rebuild = rebuild, .top = s->flushed_sequence};
    c.synced = s->flushed_sequence;
    c.scratch = sys_alloc_aligned(SCRATCH_BYTES, SYS_BLOCK);
    scan_init(&c.extents, s, found, &c);
    enum err e = scan_list(s, &list);
    uint32_t next = list.count ? list.v[list.count - 1] + 1 : 1;
    if (next > s->next_extent)
        s->next_extent = next;
    if (!e && rebuild)
        e = scan_bytes(s, &list, &c.total);
    for (size_t i = 0; !e && i < list.count; i++)
        e = read_extent(&c, list.v[i]);
    if (!e)
        e = judge(&c);
    if (!e) {
        sys_mutex_lock(&s->lock);
        if (c.top > s->sequence)
            s->sequence = c.top;
        s->dirty = true;
        sys_mutex_unlock(&s->lock);
        e = index_flush(s, false, false);
        if (!rebuild && c.adopted)
            log_info("store", "%s: shards found behind the index shards=%llu", s->directory,
                     (unsigned long long)c.adopted);
    }
    scan_release(&c.extents);
    sys_free(list.v);
    sys_free(c.suspects);
    sys_free(c.scratch);
    return e;
}
