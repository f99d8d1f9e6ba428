/* The index: shard -> place, a cache of the extents. Rows in kv:
 *
 *   'm'                  format u8 = 1, disk uuid 16, sequence u64, shards u64, bytes u64,
 *                        incarnation u64, clean u8
 *   'e' extent u32 (be)  u64: everything in the extent below this offset is in the index (or was
 *                        deleted); UINT64_MAX: all of it
 *   's' key              a shard's place (tail.c)
 *
 *  I1  A row is written only for what is durable in its extent, by one synced batch together with
 *      'm' and the 'e' rows that speak of it (kv.h K3: nothing unsynced can be relied on).
 *  I2  Lookups ask the tail, then the tail that is being flushed, then kv: a change leaves the tails
 *      only after kv shows it.
 *  I3  All commits up to 'm'.sequence are in the rows or deleted. Recovery adopts only younger ones.
 *      So the deletion of a younger one stays in the tail until the sequence has passed it.
 *  I4  A dead record's space is given back only after the batch without it is durable.
 *  I5  Without an 'm' row of this disk, or with one of an incarnation before the one that the superblock
 *      names, the rows are worth nothing: rebuild (rebuild.c).
 */
#include <assert.h>
#include <string.h>
#include "chunkserver/store_internal.h"
#include "common/base/cursor.h"
#include "common/sys/log.h"

enum { META_FORMAT = 1, META_BYTES = 50, SHARD_ROW = 1 + INDEX_KEY };
/* A flush without descriptors. Then kv is opened anew, which the rebuild does. */
enum { ATTEMPTS = 30 };
#define TRY_AGAIN SYS_SECOND

static struct kv_slice slice(const void *data, size_t n)
{
    return (struct kv_slice){data, n};
}

static void shard_row(const uint8_t key[INDEX_KEY], uint8_t out[SHARD_ROW])
{
    out[0] = 's';
    memcpy(out + 1, key, INDEX_KEY);
}

static int64_t room_of(const struct index_entry *entry)
{
    return (int64_t)record_room(entry->shard.length);
}

enum err index_error(enum err e)
{
    return e == OK || e == ERR_NOT_FOUND || e == ERR_BUSY ? e : ERR_CORRUPT;
}

static enum err kv_lookup(struct shard_store *s, const uint8_t key[INDEX_KEY],
                          struct index_entry *out)
{
    uint8_t row[SHARD_ROW];
    struct kv_slice value;
    void *data = NULL;
    size_t n = 0;
    shard_row(key, row);
    enum err e = kv_get(s->index, NULL, slice(row, sizeof(row)), &data, &n);
    if (!e) {
        value = slice(data, n);
        if (!index_decode_value(&value, key, out))
            e = ERR_CORRUPT;
        sys_free(data);
    }
    return index_error(e);
}

enum err index_find(struct shard_store *s, uint32_t pool, const struct shard_id *id,
                    struct index_entry *out)
{
    uint8_t key[INDEX_KEY];
    index_key(pool, id, key);
    sys_mutex_lock(&s->lock);
    const struct tail_entry *e = tail_find(&s->tail, key);
    if (!e)
        e = tail_find(&s->flushing, key);
    bool known = e != NULL, deleted = e && e->deleted;
    if (e)
        *out = e->entry;
    sys_mutex_unlock(&s->lock);
    if (known)
        return deleted ? ERR_NOT_FOUND : OK;
    return kv_lookup(s, key, out);
}

enum err index_lookup(struct shard_store *s, uint32_t pool, const struct shard_id *id,
                      struct index_entry *out)
{
    enum err e = index_enter(s);
    return e ? e : index_leave(s, index_find(s, pool, id, out));
}

void dead_add(struct dead_list *d, const struct place *place, uint32_t length)
{
    if (d->count == d->capacity) {
        d->capacity = d->capacity ? 2 * d->capacity : 64;
        d->v = sys_realloc(d->v, d->capacity * sizeof(*d->v));
    }
    d->v[d->count++] = (struct dead_place){*place, length};
}

/* Something happens to a shard: a copy of it that is under way is out of date. */
static void note_change(struct shard_store *s, const uint8_t key[INDEX_KEY])
{
    struct move *m = move_of(s, key);
    if (m)
        m->changed = true;
}

static void account(struct shard_store *s, struct tail_entry *e, int64_t shards, int64_t bytes)
{
    e->shards += shards;
    e->bytes += bytes;
    s->stats.shards += (uint64_t)shards;
    s->stats.shard_bytes += (uint64_t)bytes;
}

void index_put(struct shard_store *s, const struct index_entry *entry)
{
    uint8_t key[INDEX_KEY];
    index_key(entry->shard.pool, &entry->shard.id, key);
    note_change(s, key);
    struct tail_entry *e = tail_find(&s->tail, key);
    if (e && !e->deleted) {
        dead_add(&s->dead, &e->entry.place, e->entry.shard.length);
        account(s, e, -1, -room_of(&e->entry));
    }
    if (!e) {
        e = tail_add(&s->tail, key);
        const struct tail_entry *below = tail_find(&s->flushing, key);
        if (below && !below->deleted)
            account(s, e, -1, -room_of(&below->entry));
    }
    e->deleted = false;
    e->entry = *entry;
    account(s, e, 1, room_of(entry));
    if (s->tail.count >= TAIL_FLUSH)
        sys_cond_signal(&s->house);
}

bool index_delete(struct shard_store *s, const struct index_entry *found)
{
    uint8_t key[INDEX_KEY];
    index_key(found->shard.pool, &found->shard.id, key);
    struct tail_entry *e = tail_find(&s->tail, key);
    const struct tail_entry *below = tail_find(&s->flushing, key);
    const struct tail_entry *seen = e ? e : below;
    if (seen && (seen->deleted || seen->entry.sequence != found->sequence))
        return false;
    const struct move *m = move_of(s, key);
    if (m && m->sealed)
        return false;
    note_change(s, key);
    s->deaths++;
    if (e)
        dead_add(&s->dead, &e->entry.place, e->entry.shard.length);
    else
        e = tail_add(&s->tail, key);
    e->deleted = true;
    e->entry = *found;
    account(s, e, -1, -room_of(found));
    s->stats.deletes++;
    if (s->tail.count >= TAIL_FLUSH)
        sys_cond_signal(&s->house);
    return true;
}

/* ---- opening ---- */

static enum err index_directory(struct shard_store *s, char out[SYS_PATH_MAX])
{
    return disk_path(s->directory, "index", out);
}

static enum err read_meta(struct shard_store *s)
{
    void *data = NULL;
    size_t n = 0;
    enum err e = kv_get(s->index, NULL, slice("m", 1), &data, &n);
    if (e)
        return e;
    struct reader r;
    struct uuid disk;
    reader_init(&r, data, n);
    uint8_t format = read_u8(&r);
    read_bytes(&r, disk.bytes, UUID_BYTES);
    s->flushed_sequence = read_u64(&r);
    s->index_shards = read_u64(&r);
    s->index_bytes = read_u64(&r);
    uint64_t incarnation = read_u64(&r);
    bool clean = read_u8(&r) != 0;
    bool fits = reader_finished(&r) && format == META_FORMAT;
    sys_free(data);
    if (!fits || !uuid_equal(&disk, &s->superblock.disk))
        return ERR_NOT_FOUND;
    if (incarnation < s->superblock.indexed) {
        log_warn("store", "%s: the index is of an earlier time", s->directory);
        return ERR_NOT_FOUND;
    }
    /* The superblock says this incarnation already; the one before it must have closed the disk. */
    s->stats.unclean = !clean || incarnation + 1 != s->superblock.incarnation;
    return OK;
}

enum err index_start_anew(struct shard_store *s)
{
    char directory[SYS_PATH_MAX];
    enum err e = index_directory(s, directory);
    if (s->index)
        kv_close(s->index);
    s->index = NULL;
    s->flushed_sequence = s->index_shards = s->index_bytes = 0;
    if (e)
        return e;
    e = kv_destroy(directory);
    if (e && e != ERR_NOT_FOUND)
        log_warn("store", "%s: %s", directory, err_text(e));
    e = kv_open(directory, NULL, &s->index);
    if (e)
        return e;
    /* Whatever could not be removed, no row of the old one may stay. */
    struct kv_iterator *i = kv_iterator_new(s->index, NULL);
    kv_iterator_seek(i, slice("", 0));
    if (kv_iterator_valid(i) || kv_iterator_error(i))
        e = ERR_IO;
    kv_iterator_free(i);
    return e;
}

static void ignore_entry(void *arg, const char *name, bool is_dir)
{
    (void)arg, (void)name, (void)is_dir;
}

enum err index_open_existing(struct shard_store *s)
{
    char directory[SYS_PATH_MAX];
    enum err e = index_directory(s, directory);
    if (!e)
        e = sys_dir_list(directory, ignore_entry, NULL);
    if (!e)
        e = kv_open(directory, NULL, &s->index);
    if (!e)
        e = read_meta(s);
    if (e == ERR_BUSY)
        e = ERR_DISK_IN_USE;
    if (e == ERR_IO)
        e = ERR_CORRUPT; /* some of its files cannot be read */
    if (!e) {
        s->stats.shards = s->index_shards;
        s->stats.shard_bytes = s->index_bytes;
    }
    return e;
}

enum err index_open(struct shard_store *s, bool *rebuild)
{
    enum err e = index_open_existing(s);
    *rebuild = e == ERR_NOT_FOUND || e == ERR_CORRUPT || e == ERR_FORMAT;
    if (!*rebuild)
        return e;
    s->stats.unclean = s->superblock.incarnation > 1;
    return index_start_anew(s);
}

enum err index_scan_from(struct shard_store *s, uint32_t extent, uint64_t *from)
{
    uint8_t row[5] = {'e', (uint8_t)(extent >> 24), (uint8_t)(extent >> 16), (uint8_t)(extent >> 8),
                      (uint8_t)extent};
    void *data = NULL;
    size_t n = 0;
    *from = 0;
    enum err e = kv_get(s->index, NULL, slice(row, sizeof(row)), &data, &n);
    if (e)
        return e == ERR_NOT_FOUND ? OK : index_error(e);
    struct reader r;
    reader_init(&r, data, n);
    *from = read_u64(&r);
    bool fits = reader_finished(&r);
    sys_free(data);
    return fits ? OK : ERR_CORRUPT;
}

/* ---- flushing ---- */

struct flush {
    struct kv_batch *batch;
    uint64_t sequence;
    struct extent *final[EXTENTS_OPEN_MAX]; /* fully indexed by this flush; a use of each */
    unsigned final_count;
    struct dead_list dead;
    int64_t shards, bytes;         /* change of what kv holds */
    int64_t fix_shards, fix_bytes; /* what the tail had assumed wrongly */
    int attempts;
};

static uint64_t scan_from(const struct shard_store *s, const struct extent *e)
{
    uint64_t from = e->sealed ? UINT64_MAX : e->next;
    for (const struct shard_writer *w = s->writers; w; w = w->next)
        if (w->extent == e && w->place.offset < from)
            from = w->place.offset;
    if (s->run == e && s->run_at < from)
        from = s->run_at;
    return from;
}

static void put_extent_row(struct flush *f, uint32_t extent, uint64_t from)
{
    uint8_t row[5] = {'e', (uint8_t)(extent >> 24), (uint8_t)(extent >> 16), (uint8_t)(extent >> 8),
                      (uint8_t)extent};
    uint8_t value[8];
    struct writer w;
    writer_init(&w, value, sizeof(value));
    write_u64(&w, from);
    kv_batch_put(f->batch, slice(row, sizeof(row)), slice(value, sizeof(value)));
}

static void drop_extent_row(struct flush *f, uint32_t extent)
{
    uint8_t row[5] = {'e', (uint8_t)(extent >> 24), (uint8_t)(extent >> 16), (uint8_t)(extent >> 8),
                      (uint8_t)extent};
    kv_batch_delete(f->batch, slice(row, sizeof(row)));
}

/* Under the lock: what this flush will speak of. */
static void flush_begin(struct shard_store *s, struct flush *f, bool partial)
{
    f->sequence = writer_synced(s);
    f->dead = s->dead;
    s->dead = (struct dead_list){0};
    s->dirty = false;
    s->flushing = s->tail;
    s->tail = (struct tail){0};
    struct tail *t = &s->flushing;
    for (size_t i = 0; i < t->slot_count; i++) {
        struct tail_entry **at = &t->slots[i];
        while (*at) {
            struct tail_entry *e = *at;
            if (!e->deleted || e->entry.sequence <= f->sequence) {
                at = &e->next;
                continue;
            }
            struct tail_entry *kept = tail_add(&s->tail, e->key); /* I3 */
            struct tail_entry *next = kept->next;
            *kept = *e;
            kept->next = next;
            *at = e->next;
            t->count--;
            sys_free(e);
        }
    }
    for (size_t i = 0; !partial && i < s->scanned_count; i++)
        put_extent_row(f, s->scanned[i], UINT64_MAX);
    for (size_t i = 0; !partial && i < s->gone_count; i++)
        drop_extent_row(f, s->gone[i]);
    if (!partial)
        s->gone_count = 0; /* a row that stays is of no harm: its number never comes back */
    for (unsigned i = 0; !partial && i < s->extent_count; i++) {
        struct extent *e = s->extents[i];
        if (!e->active)
            continue;
        uint64_t from = scan_from(s, e);
        put_extent_row(f, e->number, from);
        if (from == UINT64_MAX) {
            e->users++;
            f->final[f->final_count++] = e;
        }
    }
}

/* Waits a little after ERR_BUSY. False: it has been tried often enough. */
static bool flush_again(struct shard_store *s, struct flush *f)
{
    int64_t until = sys_now() + TRY_AGAIN;
    enum err waited = OK;
    if (f->attempts++ == 0)
        log_warn("store", "%s: the index cannot be written now, it is tried again", s->directory);
    sys_mutex_lock(&s->lock);
    while (waited != ERR_TIMEOUT && !s->failed && !s->keeper_stop)
        waited = sys_cond_wait(&s->house, &s->lock, until);
    bool again = !s->failed && !s->keeper_stop && f->attempts < ATTEMPTS;
    sys_mutex_unlock(&s->lock);
    return again;
}

static enum err flush_entry(struct shard_store *s, struct flush *f, const struct tail_entry *e)
{
    uint8_t row[SHARD_ROW], value[INDEX_VALUE];
    struct index_entry old;
    enum err error;
    do
        error = kv_lookup(s, e->key, &old);
    while (error == ERR_BUSY && flush_again(s, f));
    bool was = error == OK;
    if (error && error != ERR_NOT_FOUND)
        return error;
    bool same = was && !e->deleted && old.place.extent == e->entry.place.extent &&
                old.place.offset == e->entry.place.offset;
    if (was && !same)
        dead_add(&f->dead, &old.place, old.shard.length);
    shard_row(e->key, row);
    if (e->deleted && was)
        kv_batch_delete(f->batch, slice(row, sizeof(row)));
    if (!e->deleted)
        kv_batch_put(f->batch, slice(row, sizeof(row)),
                     slice(value, index_encode_value(&e->entry, value)));
    int64_t shards = (e->deleted ? 0 : 1) - (was ? 1 : 0);
    int64_t bytes = (e->deleted ? 0 : room_of(&e->entry)) - (was ? room_of(&old) : 0);
    f->shards += shards;
    f->bytes += bytes;
    f->fix_shards += shards - e->shards;
    f->fix_bytes += bytes - e->bytes;
    return OK;
}

static void put_meta(struct shard_store *s, struct flush *f, bool clean)
{
    uint8_t value[META_BYTES];
    struct writer w;
    writer_init(&w, value, sizeof(value));
    write_u8(&w, META_FORMAT);
    write_bytes(&w, s->superblock.disk.bytes, UUID_BYTES);
    write_u64(&w, f->sequence);
    write_u64(&w, s->index_shards + (uint64_t)f->shards);
    write_u64(&w, s->index_bytes + (uint64_t)f->bytes);
    write_u64(&w, s->superblock.incarnation);
    write_u8(&w, clean);
    assert(!w.failed && writer_used(&w) == META_BYTES);
    kv_batch_put(f->batch, slice("m", 1), slice(value, sizeof(value)));
}

static enum err flush_write(struct shard_store *s, struct flush *f, bool partial, bool clean)
{
    enum err e = OK;
    /* Only this thread changes `flushing`; others look things up in it. */
    for (size_t i = 0; !e && i < s->flushing.slot_count; i++)
        for (const struct tail_entry *t = s->flushing.slots[i]; !e && t; t = t->next)
            e = flush_entry(s, f, t);
    if (!e && !partial)
        put_meta(s, f, clean);
    if (e || kv_batch_count(f->batch) == 0)
        return e;
    do
        e = kv_write(s->index, f->batch, true);
    while (e == ERR_BUSY && flush_again(s, f));
    return e;
}

static void flush_end(struct shard_store *s, struct flush *f, enum err e, bool partial)
{
    sys_mutex_lock(&s->lock);
    if (e) {
        if (e == ERR_CORRUPT || index_waits(e))
            index_lost(s, err_text(e));
        else
            store_fail(s, DISK_FAULT_INDEX, "write of the index", e);
        f->dead.count = 0; /* I4 */
    } else {
        s->index_shards += (uint64_t)f->shards;
        s->index_bytes += (uint64_t)f->bytes;
        s->stats.shards += (uint64_t)f->fix_shards;
        s->stats.shard_bytes += (uint64_t)f->fix_bytes;
        if (!partial) {
            s->flushed_sequence = f->sequence;
            s->scanned_count = 0;
        }
        tail_clear(&s->flushing);
    }
    s->deaths += f->dead.count;
    sys_mutex_unlock(&s->lock);
    for (unsigned i = 0; i < f->final_count; i++) {
        struct extent *x = f->final[i];
        if (!e && sys_file_truncate(x->file, x->next) != OK)
            log_warn("store", "%s: cannot trim extent %u", s->directory, x->number);
        sys_mutex_lock(&s->lock);
        if (!e)
            x->active = false;
        x->users--;
        sys_mutex_unlock(&s->lock);
    }
    for (size_t i = 0; i < f->dead.count; i++)
        extent_punch(s, &f->dead.v[i]);
    sys_free(f->dead.v);
    kv_batch_free(f->batch);
}

enum err index_flush(struct shard_store *s, bool partial, bool clean)
{
    struct flush f = {.batch = kv_batch_new()};
    sys_mutex_lock(&s->lock);
    bool failed = s->failed;
    bool wanted = s->tail.count > 0 || s->dead.count > 0 || s->dirty || clean;
    if (!failed && wanted)
        flush_begin(s, &f, partial);
    sys_mutex_unlock(&s->lock);
    if (failed || !wanted) {
        kv_batch_free(f.batch);
        return failed ? ERR_DISK_FAILED : OK;
    }
    enum err e = flush_write(s, &f, partial, clean);
    flush_end(s, &f, e, partial);
    return !e || index_waits(e) ? e : e == ERR_CORRUPT ? ERR_UNAVAILABLE : ERR_DISK_FAILED;
}

void index_release(struct shard_store *s)
{
    tail_clear(&s->tail);
    tail_clear(&s->flushing);
    sys_free(s->scanned);
    sys_free(s->unread);
    sys_free(s->dead.v);
    s->dead = (struct dead_list){0};
    if (s->index)
        kv_close(s->index);
    s->index = NULL;
}
