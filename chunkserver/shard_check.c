/* A disk looked through without a server.
 *
 *  K1  Nothing of the disk is changed but by rebuild; a key-value store that was not closed puts its
 *      own log in order when it is opened.
 *  K2  Every row of the index is followed to its record, and every record to its row: what only one
 *      of them knows is told. A record that is dead is only counted: holes may have been punched. */
#include "chunkserver/shard_check.h"
#include <string.h>
#include "chunkserver/store_internal.h"

struct shard_check {
    struct shard_store *store;
    unsigned superblock_copies;
    bool indexed; /* there is an index that can be used */
    uint8_t *scratch;
};

/* One look through the disk. */
struct look {
    struct shard_check *check;
    const struct shard_check_watcher *watcher;
    struct shard_check_result *result;
    uint64_t done, total;
    bool verify;     /* read the data of records */
    uint64_t synced; /* what has a younger sequence may never have been finished (record.c R4) */
};

const char *shard_record_state_name(enum shard_record_state state)
{
    static const char *const names[] = {"live", "dead", "behind", "unfinished"};
    return names[state];
}

const char *shard_fault_name(enum shard_fault_kind kind)
{
    static const char *const names[] = {"superblock", "index",   "extent",
                                        "missing",    "corrupt", "unreadable"};
    return names[kind];
}

enum err shard_check_open(const char *directory, struct shard_check **out)
{
    const struct shard_store_config config = {.directory = directory};
    struct shard_check *c = sys_alloc(sizeof *c);
    *out = NULL;
    enum err e = store_attach(&c->store, &config);
    if (!e)
        e = superblock_read(directory, &c->store->superblock, &c->superblock_copies);
    if (!e) {
        e = index_open_existing(c->store);
        c->indexed = e == OK;
        if (e == ERR_NOT_FOUND || e == ERR_CORRUPT || e == ERR_FORMAT)
            e = OK;
    }
    if (e) {
        if (c->store)
            store_detach(c->store);
        sys_free(c);
        return e;
    }
    c->scratch = sys_alloc_aligned(SCRATCH_BYTES, SYS_BLOCK);
    *out = c;
    return OK;
}

void shard_check_close(struct shard_check *c)
{
    store_detach(c->store);
    sys_free(c->scratch);
    sys_free(c);
}

void shard_check_identity(const struct shard_check *c, struct shard_store_identity *out)
{
    shard_store_identity(c->store, out);
}

static void advance(struct look *l, uint64_t bytes)
{
    l->done += bytes;
    if (l->watcher->progress)
        l->watcher->progress(l->watcher->arg, l->done, l->total);
}

static void fault(struct look *l, enum shard_fault_kind kind, uint32_t extent,
                  const struct index_entry *entry)
{
    struct shard_fault f = {.kind = kind, .extent = extent};
    if (entry) {
        f.extent = entry->place.extent;
        f.offset = entry->place.offset;
        f.shard = entry->shard;
    }
    l->result->faults[kind]++;
    l->result->fault_count++;
    if (l->watcher->fault)
        l->watcher->fault(l->watcher->arg, &f);
}

/* The whole record against its checksums. */
static enum err read_record(struct look *l, const struct index_entry *entry)
{
    struct shard_store *s = l->check->store;
    struct extent *x = NULL;
    enum err e = extent_use(s, entry->place.extent, &x);
    if (!e) {
        e = reader_verify(s, x, entry, l->check->scratch);
        extent_unuse(s, x);
    }
    if (!e) {
        l->result->blocks += shard_block_count(entry->shard.length);
        l->result->bytes += entry->shard.length;
    }
    return e;
}

static enum err judge(struct look *l, const struct index_entry *entry, enum err e)
{
    if (e == ERR_NOT_FOUND)
        fault(l, FAULT_MISSING, 0, entry);
    else if (e == ERR_CORRUPT)
        fault(l, FAULT_CORRUPT, 0, entry);
    else if (e == ERR_IO)
        fault(l, FAULT_UNREADABLE, 0, entry);
    else
        return e;
    return OK;
}

/* ---- extents -> index ---- */

static enum err state_of(struct look *l, const struct scanned *r, enum shard_record_state *out)
{
    struct shard_store *s = l->check->store;
    const struct index_entry *entry = &r->entry;
    struct index_entry known;
    enum err e = l->check->indexed ? index_find(s, entry->shard.pool, &entry->shard.id, &known)
                                   : ERR_NOT_FOUND;
    if (e && e != ERR_NOT_FOUND)
        return e;
    if (!e && known.place.extent == entry->place.extent &&
        known.place.offset == entry->place.offset)
        *out = RECORD_LIVE; /* even if its footer has rotted */
    else if (!r->exists)
        *out = RECORD_UNFINISHED;
    else if (entry->sequence > s->flushed_sequence && !r->punched &&
             (e || entry->sequence > known.sequence))
        *out = RECORD_BEHIND;
    else
        *out = RECORD_DEAD;
    return OK;
}

static enum err look_at_record(void *arg, struct scanned *r)
{
    struct look *l = arg;
    const struct index_entry *entry = &r->entry;
    struct shard_record record = {.shard = entry->shard,
                                  .extent = entry->place.extent,
                                  .offset = entry->place.offset,
                                  .bytes = record_room(entry->shard.length),
                                  .sequence = entry->sequence};
    enum err e = state_of(l, r, &record.state);
    if (!e && l->verify && record.state == RECORD_BEHIND) {
        e = read_record(l, entry); /* live ones are met again on the way from the index */
        if (e == ERR_CORRUPT && entry->sequence > l->synced) {
            record.state = RECORD_UNFINISHED;
            e = OK;
        }
        e = judge(l, entry, e);
    }
    if (e)
        return e;
    l->result->records[record.state]++;
    l->result->record_bytes[record.state] += record.bytes;
    if (l->watcher->record)
        l->watcher->record(l->watcher->arg, &record);
    return OK;
}

static enum err note_synced(void *arg, struct scanned *r)
{
    struct look *l = arg;
    if (r->exists && r->synced > l->synced)
        l->synced = r->synced;
    return OK;
}

/* The youngest records lie in the last extents. */
static enum err find_synced(struct look *l)
{
    enum { LAST = 2 };
    struct shard_store *s = l->check->store;
    struct extent_scan scan;
    struct extent_list list;
    l->synced = s->flushed_sequence;
    enum err e = scan_list(s, &list);
    scan_init(&scan, s, note_synced, l);
    for (size_t i = list.count > LAST ? list.count - LAST : 0; !e && i < list.count; i++) {
        e = scan_extent(&scan, list.v[i], 0);
        if (e == ERR_IO)
            e = OK; /* told when it is looked through */
    }
    scan_release(&scan);
    sys_free(list.v);
    return e;
}

static enum err look_at_extents(struct look *l)
{
    struct shard_store *s = l->check->store;
    struct extent_scan scan;
    struct extent_list list;
    enum err e = scan_list(s, &list);
    scan_init(&scan, s, look_at_record, l);
    for (size_t i = 0; !e && i < list.count; i++) {
        e = scan_extent(&scan, list.v[i], 0);
        if (e == ERR_IO || (!e && (scan.header_damaged || scan.log_damaged || scan.unreadable))) {
            fault(l, FAULT_EXTENT, list.v[i], NULL);
            e = OK;
        }
        l->result->extents++;
        l->result->extent_bytes += scan.bytes;
        advance(l, scan.bytes);
    }
    scan_release(&scan);
    sys_free(list.v);
    return e;
}

/* ---- index -> extents ---- */

static enum err look_at_row(void *arg, const struct index_entry *entry)
{
    struct look *l = arg;
    l->result->indexed++;
    advance(l, record_room(entry->shard.length));
    return judge(l, entry, read_record(l, entry));
}

static enum err begin(struct look *l, struct shard_check *c, const struct shard_check_watcher *w,
                      struct shard_check_result *out)
{
    memset(out, 0, sizeof *out);
    *l = (struct look){.check = c, .watcher = w, .result = out};
    struct extent_list list;
    enum err e = scan_list(c->store, &list);
    if (!e)
        e = scan_bytes(c->store, &list, &l->total);
    sys_free(list.v);
    return e;
}

enum err shard_check_verify(struct shard_check *c, const struct shard_check_watcher *w,
                            struct shard_check_result *out)
{
    struct look l;
    enum err e = begin(&l, c, w, out);
    l.verify = true;
    l.total += c->store->index_bytes;
    if (e)
        return e;
    if (c->superblock_copies < 2)
        fault(&l, FAULT_SUPERBLOCK, 0, NULL);
    if (!c->indexed)
        fault(&l, FAULT_INDEX, 0, NULL);
    e = find_synced(&l);
    if (!e)
        e = look_at_extents(&l);
    if (!e && c->indexed)
        e = index_each(c->store, look_at_row, &l);
    if (e == ERR_CORRUPT) { /* of the index itself */
        fault(&l, FAULT_INDEX, 0, NULL);
        e = OK;
    }
    return e;
}

enum err shard_check_records(struct shard_check *c, const struct shard_check_watcher *w,
                             struct shard_check_result *out)
{
    struct look l;
    enum err e = begin(&l, c, w, out);
    return e ? e : look_at_extents(&l);
}

enum err shard_check_rebuild(struct shard_check *c, const struct shard_check_watcher *w,
                             uint64_t *shards, uint64_t *bytes)
{
    struct shard_store *s = c->store;
    s->progress = w->progress;
    s->progress_arg = w->arg;
    c->indexed = false;
    enum err e = index_start_anew(s);
    s->stats.shards = s->stats.shard_bytes = 0;
    if (!e)
        e = recovery_run(s, true);
    c->indexed = e == OK;
    *shards = s->stats.shards;
    *bytes = s->stats.shard_bytes;
    return e;
}
