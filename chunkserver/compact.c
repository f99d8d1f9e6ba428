/* Compaction: extents of which little is alive are emptied and removed.
 *
 * What dies gives whole blocks back at once (extent_punch). What is left are records packed into one
 * block with others, everything on file systems that cannot punch, and the reservation logs. Now and
 * then one thread adds up, from the index, what is alive in each extent; where that is less than a
 * share of what the file takes, the live records are written again, like any other record, and an
 * extent without a live record is unlinked. What lies behind the last live record is cut off.
 *
 *  P1  A copy is a new record with a new sequence. The old one dies with the flush that makes the
 *      copy's row durable, like one that a second commit has replaced.
 *  P2  A file is unlinked (or cut) only where nothing is alive in it: no row of kv, which shows only what is
 *      synced, and, looked at before kv, no change in the tails. So whatever a crash leaves, the row
 *      of each shard names a record that is there.
 *  P3  A delete or a second commit of the shard that comes while it is copied wins: the copy gets no
 *      sequence, or no row. From its sequence to its row (one sync) a delete waits, else recovery
 *      could find a copy that is younger than the deletion.
 *  P4  The highest extent that is there for good stays, so that no number is ever given twice; it is cut like
 *      others. One that is just being made may go again.
 *  P5  What cannot be copied (rot, a read error) keeps its extent, and so does what recovery could not read.
 *  P6  Copying may use the space behind the full mark: it ends with more.
 *  P7  After a crash, which leaves an extent preallocated, there is a look as soon as the disk is open, that
 *      copies nothing: each such open would else keep one more, of which nearly all is empty. */
#include <string.h>
#include "chunkserver/store_internal.h"
#include "common/sys/log.h"

enum {
    SHARE_PERCENT = 50,      /* alive, below which an extent is emptied */
    SHARE_NEARFULL = 75,     /* on a disk that has little left */
    BATCH_MOVES = MOVES_MAX, /* copies that share syncs .. */
    BATCH_MOVED = 1 << 20,   /* .. and about their bytes */
    VICTIM_ENTRIES = 4096,   /* shards looked up in one walk over the index */
    PIECE = 8 * SHARD_BLOCK, /* read at once */
};

#define MOVE_WAIT (30 * SYS_SECOND)

struct weight {
    uint32_t number;
    bool made;          /* it will not be taken back */
    bool rest;          /* nobody writes into it, all of it is in the index */
    uint64_t live, end; /* bytes of live records; behind the last of them */
};

struct compaction {
    struct shard_store *s;
    struct extent_list files;
    struct weight *weights; /* as files */
    /* of the batch */
    struct sys_mutex lock;
    struct sys_cond some;
    unsigned outstanding;
    /* of the extent at hand */
    uint32_t victim;
    struct index_entry *entries;
    size_t entry_count;
    uint64_t stuck; /* could not be copied */
    uint8_t *buffer, *scratch;
    uint32_t crcs[PIECE / SHARD_BLOCK + 1];
};

/* ---- moves, as the others see them (P3); under the lock ---- */

struct move *move_of(struct shard_store *s, const uint8_t key[INDEX_KEY])
{
    for (unsigned i = 0; i < MOVES_MAX; i++)
        if (s->moves[i].used && memcmp(s->moves[i].key, key, INDEX_KEY) == 0)
            return &s->moves[i];
    return NULL;
}

void move_await(struct shard_store *s, uint32_t pool, const struct shard_id *id)
{
    uint8_t key[INDEX_KEY];
    enum err waited = OK;
    index_key(pool, id, key);
    int64_t until = sys_now() + SYS_SECOND;
    sys_mutex_lock(&s->lock);
    for (struct move *m; waited != ERR_TIMEOUT && (m = move_of(s, key)) && m->sealed;)
        waited = sys_cond_wait(&s->changed, &s->lock, until);
    sys_mutex_unlock(&s->lock);
}

static struct move *move_begin(struct shard_store *s, const struct index_entry *entry)
{
    struct move *found = NULL;
    sys_mutex_lock(&s->lock);
    for (unsigned i = 0; i < MOVES_MAX && !found; i++)
        if (!s->moves[i].used)
            found = &s->moves[i];
    if (found) {
        *found = (struct move){.used = true};
        index_key(entry->shard.pool, &entry->shard.id, found->key);
    }
    sys_mutex_unlock(&s->lock);
    return found;
}

static void move_end(struct shard_store *s, struct move *m, uint64_t bytes)
{
    sys_mutex_lock(&s->lock);
    m->used = false;
    s->stats.compacted_bytes += bytes;
    sys_cond_broadcast(&s->changed);
    sys_mutex_unlock(&s->lock);
}

/* ---- what is alive ---- */

static struct weight *weight_of(struct compaction *c, uint32_t number)
{
    size_t low = 0, high = c->files.count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (c->weights[middle].number == number)
            return &c->weights[middle];
        if (c->weights[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static enum err weigh_row(void *arg, const struct index_entry *entry)
{
    struct weight *w = weight_of(arg, entry->place.extent);
    if (!w)
        return OK;
    uint64_t room = record_room(entry->shard.length);
    w->live += room;
    if (entry->place.offset + room > w->end)
        w->end = entry->place.offset + room;
    return OK;
}

static void weigh_tail(struct compaction *c, const struct tail *t)
{
    for (size_t i = 0; i < t->slot_count; i++)
        for (const struct tail_entry *e = t->slots[i]; e; e = e->next)
            if (!e->deleted)
                (void)!weigh_row(c, &e->entry);
}

static struct weight look_at(struct shard_store *s, uint32_t number)
{
    struct weight w = {.number = number, .rest = true};
    uint64_t from = 0;
    sys_mutex_lock(&s->lock);
    for (unsigned i = 0; i < s->extent_count; i++) {
        bool it = s->extents[i]->number == number;
        w.made |= it;
        w.rest &= !it || !s->extents[i]->active;
    }
    for (size_t i = 0; i < s->unread_count; i++)
        w.rest &= s->unread[i] != number; /* recovery.c V2 */
    sys_mutex_unlock(&s->lock);
    bool indexed = index_scan_from(s, number, &from) == OK && from == UINT64_MAX;
    w.rest &= indexed;
    w.made |= indexed;
    return w;
}

/* Under index_enter. */
static enum err weigh(struct compaction *c)
{
    struct shard_store *s = c->s;
    enum err e = scan_list(s, &c->files);
    if (e)
        return e;
    c->weights = sys_alloc((c->files.count + 1) * sizeof(*c->weights));
    for (size_t i = 0; i < c->files.count; i++)
        c->weights[i] = look_at(s, c->files.v[i]);
    sys_mutex_lock(&s->lock);
    weigh_tail(c, &s->tail); /* P2: before kv */
    weigh_tail(c, &s->flushing);
    sys_mutex_unlock(&s->lock);
    return index_each(s, weigh_row, c);
}

/* ---- removal ---- */

static enum err remove_file(struct shard_store *s, uint32_t number)
{
    char path[SYS_PATH_MAX], directory[SYS_PATH_MAX];
    enum err e = extent_path(s, number, path);
    if (!e)
        e = disk_path(s->directory, "extents", directory);
    if (!e)
        e = sys_unlink(path);
    if (!e)
        e = sys_dir_sync(directory);
    extent_forget(s, number);
    sys_mutex_lock(&s->lock);
    if (!e && s->gone_count < GONE_MAX)
        s->gone[s->gone_count++] = number; /* its 'e' row goes with the next flush */
    s->dirty = true;
    s->stats.extents_removed += e == OK;
    sys_mutex_unlock(&s->lock);
    if (e)
        log_warn("store", "%s: cannot remove extent %u: %s", s->directory, number, err_text(e));
    return e;
}

/* Cuts off what lies behind the last live record: dead ones, and what a crash left preallocated. */
static void trim(struct shard_store *s, const struct weight *w)
{
    struct extent *x = NULL;
    uint64_t size = 0, end = round_up(w->end, SYS_BLOCK);
    if (extent_use(s, w->number, &x) != OK)
        return;
    enum err e = sys_file_size(x->file, &size);
    if (!e && size > end)
        e = sys_file_truncate(x->file, end);
    if (e)
        log_warn("store", "%s: cannot trim extent %u: %s", s->directory, w->number, err_text(e));
    extent_unuse(s, x);
}

/* Under index_enter: a rebuild waits for it. */
static void give_back(struct compaction *c)
{
    size_t highest = c->files.count;
    while (highest > 0 && !c->weights[highest - 1].made)
        highest--;
    for (size_t i = 0; i < highest; i++) {
        const struct weight *w = &c->weights[i];
        if (!w->rest)
            continue;
        if (w->live > 0 || i + 1 == highest) /* P4 */
            trim(c->s, w);
        else if (remove_file(c->s, w->number) != OK)
            return;
    }
}

/* ---- copying ---- */

static bool goes_on(struct shard_store *s)
{
    sys_mutex_lock(&s->lock);
    bool go = !s->compact_stop && !s->failed && !s->rebuilding;
    sys_mutex_unlock(&s->lock);
    return go;
}

/* Sleeps off what was moved; false when it is time to stop. */
static bool pace(struct shard_store *s, uint64_t bytes)
{
    int64_t until = sys_now() + (int64_t)((double)bytes * (double)SYS_SECOND /
                                          (double)s->config.compact_bytes_per_s);
    enum err waited = OK;
    sys_mutex_lock(&s->lock);
    while (!s->compact_stop && !s->failed && waited != ERR_TIMEOUT)
        waited = sys_cond_wait(&s->compact, &s->lock, until);
    sys_mutex_unlock(&s->lock);
    return goes_on(s);
}

static enum err copy_data(struct compaction *c, const struct stored_shard *shard,
                          struct shard_writer *w)
{
    int64_t deadline = sys_now() + MOVE_WAIT;
    enum err e = OK;
    for (uint32_t at = 0; !e && at < shard->length; at += PIECE) {
        uint32_t n = shard->length - at < PIECE ? shard->length - at : PIECE;
        struct shard_job job = {.kind = SHARD_READ, .pool = shard->pool, .id = shard->id};
        job.offset = at;
        job.length = n;
        job.buffer = c->buffer;
        job.capacity = shard_read_room(0, PIECE);
        job.crcs = c->crcs;
        e = reader_run(c->s, &job, c->scratch);
        if (!e)
            e = shard_writer_append(w, c->buffer + job.data_at, n, c->crcs, deadline);
    }
    return e;
}

struct moving {
    struct compaction *c;
    struct move *move;
    uint64_t bytes;
};

static void moved(void *arg, enum err result)
{
    struct moving *m = arg;
    struct compaction *c = m->c;
    move_end(c->s, m->move, result == OK ? m->bytes : 0);
    sys_free(m);
    sys_mutex_lock(&c->lock);
    c->stuck += result != OK && result != ERR_ABORTED;
    c->outstanding--;
    sys_cond_signal(&c->some);
    sys_mutex_unlock(&c->lock);
}

/* Begins the copy of one shard. OK also when there is nothing to copy any more. */
static enum err move_one(struct compaction *c, const struct index_entry *seen, uint64_t *bytes)
{
    struct shard_store *s = c->s;
    struct shard_writer *w = NULL;
    struct index_entry now;
    struct move *m = move_begin(s, seen);
    if (!m)
        return ERR_BUSY;
    enum err e = index_lookup(s, seen->shard.pool, &seen->shard.id, &now);
    bool here = !e && now.place.extent == c->victim;
    if (here)
        e = writer_open(s, &now.shard, m, &w);
    if (here && !e)
        e = copy_data(c, &now.shard, w);
    if (!here || e) {
        if (w)
            shard_writer_abort(w);
        move_end(s, m, 0);
        /* P5; and what has been deleted meanwhile is nobody's concern. */
        sys_mutex_lock(&c->lock);
        c->stuck += e == ERR_CORRUPT || e == ERR_IO || (here && e == ERR_NOT_FOUND);
        sys_mutex_unlock(&c->lock);
        return e == ERR_CORRUPT || e == ERR_IO || e == ERR_NOT_FOUND || e == ERR_ABORTED ? OK : e;
    }
    struct moving *arg = sys_alloc(sizeof *arg);
    *arg = (struct moving){c, m, record_room(now.shard.length)};
    *bytes += arg->bytes;
    sys_mutex_lock(&c->lock);
    c->outstanding++;
    sys_mutex_unlock(&c->lock);
    shard_writer_commit(w, writer_table_crc(w), moved, arg);
    return OK;
}

static void await_batch(struct compaction *c)
{
    sys_mutex_lock(&c->lock);
    while (c->outstanding > 0)
        (void)sys_cond_wait(&c->some, &c->lock, SYS_FOREVER);
    sys_mutex_unlock(&c->lock);
}

static enum err take_entry(void *arg, const struct index_entry *entry)
{
    struct compaction *c = arg;
    if (entry->place.extent != c->victim)
        return OK;
    c->entries[c->entry_count++] = *entry;
    return c->entry_count == VICTIM_ENTRIES ? ERR_EMPTY : OK; /* enough for now */
}

static enum err find_entries(struct compaction *c)
{
    enum err e = index_enter(c->s);
    c->entry_count = 0;
    if (e)
        return e;
    e = index_each(c->s, take_entry, c);
    return index_leave(c->s, e == ERR_EMPTY ? OK : e);
}

/* Moves what is alive in the extent. */
static enum err empty_extent(struct compaction *c)
{
    struct shard_store *s = c->s;
    enum err e = find_entries(c);
    for (bool more = true; !e && more;) {
        size_t at = 0, count = c->entry_count;
        uint64_t stuck = c->stuck;
        while (!e && at < count) {
            uint64_t bytes = 0;
            unsigned n = 0;
            for (; !e && at < count && n < BATCH_MOVES && bytes < BATCH_MOVED; at++, n++)
                e = move_one(c, &c->entries[at], &bytes);
            await_batch(c);
            if (!e && !pace(s, bytes))
                e = ERR_STOPPING;
        }
        more = count == VICTIM_ENTRIES && c->stuck - stuck < count;
        if (!e)
            e = shard_store_flush(s, sys_now() + MOVE_WAIT);
        if (!e && more)
            e = find_entries(c);
    }
    return e;
}

/* Bytes that the file takes; 0 when that cannot be told. */
static uint64_t taken(struct shard_store *s, uint32_t number)
{
    struct extent *x = NULL;
    uint64_t bytes = 0;
    if (extent_use(s, number, &x) != OK)
        return 0;
    if (sys_file_allocated(x->file, &bytes) != OK)
        bytes = 0;
    extent_unuse(s, x);
    return bytes;
}

/* The extent with the smallest share alive, below the threshold; 0: none. */
static uint32_t choose(struct compaction *c, uint32_t after)
{
    struct shard_store *s = c->s;
    sys_mutex_lock(&s->lock);
    uint64_t percent = space_mark(s) >= DISK_MARK_NEARFULL ? SHARE_NEARFULL : SHARE_PERCENT;
    sys_mutex_unlock(&s->lock);
    for (size_t i = 0; i + 1 < c->files.count; i++) {
        const struct weight *w = &c->weights[i];
        if (w->number <= after || w->live == 0 || !w->rest)
            continue;
        if (w->live < taken(s, w->number) / 100 * percent)
            return w->number;
    }
    return 0;
}

/* One look at all extents. */
static enum err compact_once(struct compaction *c, bool copy)
{
    struct shard_store *s = c->s;
    enum err e = index_enter(s);
    if (e)
        return e;
    e = weigh(c);
    if (!e)
        give_back(c);
    e = index_leave(s, e);
    c->victim = 0;
    while (copy && !e && goes_on(s) && (c->victim = choose(c, c->victim)) != 0) {
        c->stuck = 0;
        e = empty_extent(c);
        if (c->stuck)
            log_warn("store", "%s: %llu shards of extent %u cannot be moved and keep it",
                     s->directory, (unsigned long long)c->stuck, c->victim);
    }
    sys_free(c->files.v);
    sys_free(c->weights);
    c->files = (struct extent_list){0};
    c->weights = NULL;
    return e;
}

/* Waits for the next look: at once, or a while after something has died. False: stop. */
static bool await_look(struct shard_store *s, uint64_t *seen, bool at_once)
{
    sys_mutex_lock(&s->lock);
    int64_t until = sys_now() + (at_once ? 0 : s->config.compact_interval);
    enum err waited = OK;
    while (!s->compact_stop &&
           (waited != ERR_TIMEOUT || s->failed || s->rebuilding || s->deaths == *seen)) {
        if (waited == ERR_TIMEOUT)
            until = sys_now() + s->config.compact_interval;
        waited = sys_cond_wait(&s->compact, &s->lock, until);
    }
    *seen = s->deaths;
    bool go = !s->compact_stop;
    sys_mutex_unlock(&s->lock);
    return go;
}

void compact_run(void *store)
{
    struct shard_store *s = store;
    struct compaction c = {.s = s};
    uint64_t seen = 0, removed = 0, moved_before = 0;
    bool again = s->stats.unclean, copy = !again; /* P7 */
    sys_mutex_init(&c.lock);
    sys_cond_init(&c.some);
    c.entries = sys_alloc(VICTIM_ENTRIES * sizeof(*c.entries));
    c.buffer = sys_alloc_aligned(shard_read_room(0, PIECE), SYS_BLOCK);
    c.scratch = sys_alloc_aligned(SCRATCH_BYTES, SYS_BLOCK);
    while (await_look(s, &seen, again)) {
        enum err e = compact_once(&c, copy);
        if (e || !copy)
            seen = 0; /* there is to be another, for all */
        copy |= !e;
        sys_mutex_lock(&s->lock);
        /* What has been emptied is removed by a second look at once. */
        again = s->stats.compacted_bytes != moved_before && !s->failed && !s->rebuilding;
        moved_before = s->stats.compacted_bytes;
        uint64_t now = s->stats.extents_removed;
        sys_mutex_unlock(&s->lock);
        if (now != removed)
            log_info("store",
                     "%s: compaction has removed extents=%llu, moved since open bytes=%llu",
                     s->directory, (unsigned long long)(now - removed),
                     (unsigned long long)moved_before);
        removed = now;
    }
    sys_free(c.entries);
    sys_free(c.buffer);
    sys_free(c.scratch);
    sys_cond_release(&c.some);
    sys_mutex_release(&c.lock);
}
