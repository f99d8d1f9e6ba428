/* Writers: the bytes of one shard on their way to the disk.
 *
 * A large record is built in staging buffers at the very offsets at which it will lie on disk, so
 * that a buffer goes out in one write while the next one fills, and the payload is never copied. The
 * CRC of each block is computed as the bytes arrive: that one pass checks the sender's and makes the
 * record's table. A small record is kept whole until its commit, where the committer packs it.
 *
 *  W1  The owner's fields are touched by the owner alone until commit or abort; then by whoever
 *      finishes the last write.
 *  W2  A writer is freed when it has been committed or aborted and nothing of it is in flight.
 *  W3  A sequence is given when a footer is made. All below the smallest one that has been given and
 *      is not finished are durable or never will be: that is what writer_synced says. The upper 24
 *      bits of a sequence are the disk's incarnation, so that none is given twice. */
#include <assert.h>
#include <string.h>
#include "chunkserver/store_internal.h"
#include "common/sys/log.h"

static const uint32_t BLOCK_VERIFIED = UINT32_MAX; /* block_check.end: and no more of it to come */

static bool same_id(const struct stored_shard *a, const struct stored_shard *b)
{
    return a->pool == b->pool && a->id.index == b->id.index &&
           chunk_id_equal(&a->id.chunk, &b->id.chunk);
}

static uint32_t block_bytes(const struct shard_writer *w, uint32_t block)
{
    uint32_t left = w->shard.length - block * SHARD_BLOCK;
    return left < SHARD_BLOCK ? left : SHARD_BLOCK;
}

/* Under the lock. */
static void link_writer(struct shard_store *s, struct shard_writer *w)
{
    for (struct shard_writer *o = w->move ? NULL : s->writers; o; o = o->next) {
        if (o->state == WRITER_OPEN && same_id(&o->shard, &w->shard)) {
            if (!o->error)
                o->error = ERR_ABORTED;
            sys_cond_signal(&o->room);
        }
    }
    w->next = s->writers;
    if (w->next)
        w->next->previous = w;
    s->writers = w;
    s->writer_count++;
    s->writer_bytes += record_room(w->shard.length);
}

static void unlink_writer(struct shard_store *s, struct shard_writer *w)
{
    if (w->next)
        w->next->previous = w->previous;
    if (w->previous)
        w->previous->next = w->next;
    else
        s->writers = w->next;
    s->writer_count--;
    s->writer_bytes -= record_room(w->shard.length);
}

static void free_writer(struct shard_writer *w)
{
    extent_unuse(w->store, w->extent);
    sys_cond_release(&w->room);
    sys_free(w->crcs);
    sys_free(w->checks);
    sys_free(w->whole);
    sys_free(w);
}

enum err shard_writer_open(struct shard_store *s, const struct stored_shard *shard,
                           struct shard_writer **out)
{
    return writer_open(s, shard, NULL, out);
}

uint32_t writer_table_crc(const struct shard_writer *w)
{
    return shard_crc_of_crcs(0, w->crcs, w->blocks);
}

enum err writer_open(struct shard_store *s, const struct stored_shard *shard, struct move *m,
                     struct shard_writer **out)
{
    if (shard->length > SHARD_LENGTH_MAX)
        return ERR_TOO_BIG;
    if (!stored_shard_valid(shard))
        return ERR_INVALID;
    uint64_t room = record_room(shard->length);
    if (room > s->config.extent_bytes - s->config.extent_bytes / 8 - 16 * SYS_BLOCK)
        return ERR_TOO_BIG;
    struct shard_writer *w = sys_alloc(sizeof(*w));
    w->store = s;
    w->shard = *shard;
    w->move = m;
    sys_cond_init(&w->room);
    w->blocks = shard_block_count(shard->length);
    w->small = record_is_small(shard->length);
    w->crcs = sys_alloc(w->blocks * sizeof(*w->crcs));
    w->checks = sys_alloc(w->blocks * sizeof(*w->checks));
    if (w->small)
        w->whole = sys_alloc_aligned(shard->length + 1, 64);
    enum err e = OK;
    sys_mutex_lock(&s->lock);
    if (s->failed)
        e = ERR_DISK_FAILED;
    else if (s->stopping)
        e = ERR_STOPPING;
    else if (s->rebuilding)
        e = ERR_UNAVAILABLE;
    else if (s->writer_count >= s->config.writers_max || s->tail.count >= TAIL_MAX)
        e = ERR_BUSY;
    else if (!m && space_available(s) < room)
        e = ERR_DISK_FULL;
    else
        link_writer(s, w);
    if (e == ERR_DISK_FULL)
        s->space.refused = room;
    sys_mutex_unlock(&s->lock);
    if (e) {
        free_writer(w);
        return e;
    }
    *out = w;
    return OK;
}

const struct stored_shard *shard_writer_shard(const struct shard_writer *w)
{
    return &w->shard;
}

static enum err note_error(struct shard_writer *w, enum err e)
{
    sys_mutex_lock(&w->store->lock);
    if (!w->error)
        w->error = e;
    e = w->error;
    sys_mutex_unlock(&w->store->lock);
    return e;
}

/* ---- staging ---- */

/* Under the lock. */
static struct staging *take_staging(struct shard_store *s)
{
    struct staging *b = s->staging_free;
    if (b) {
        s->staging_free = b->next;
    } else if (s->staging_made < s->config.staging_max) {
        b = sys_alloc(sizeof(*b));
        b->data = sys_alloc_aligned(STAGING_ROOM, SYS_BLOCK);
        s->staging_made++;
    }
    if (b)
        s->staging_used++;
    return b;
}

/* Lets one go on that can: `first` if it waits. Under the lock. */
static void wake_one(struct shard_store *s, struct shard_writer *first)
{
    if (s->staging_waiters == 0)
        return;
    struct shard_writer *w = first;
    if (!w || !w->waiting)
        for (w = s->writers; w && !(w->waiting && w->inflight < s->config.window);)
            w = w->next;
    if (w)
        sys_cond_signal(&w->room);
}

void writer_wake_all(struct shard_store *s)
{
    for (struct shard_writer *w = s->writers; w; w = w->next)
        if (w->waiting)
            sys_cond_signal(&w->room);
}

static void give_staging(struct shard_store *s, struct staging *b)
{
    b->writer = NULL;
    b->next = s->staging_free;
    s->staging_free = b;
    s->staging_used--;
}

/* Hands the filled buffer to the I/O threads. Under the lock. */
static void submit_staging(struct shard_writer *w, bool last)
{
    struct shard_store *s = w->store;
    struct staging *b = w->filling;
    w->filling = NULL;
    w->inflight++;
    b->last = last;
    b->writer = w;
    b->next = NULL;
    if (s->write_last)
        s->write_last->next = b;
    else
        s->write_first = b;
    s->write_last = b;
    sys_cond_signal(&s->work);
}

static enum err next_staging(struct shard_writer *w, int64_t deadline)
{
    struct shard_store *s = w->store;
    enum err e = OK;
    sys_mutex_lock(&s->lock);
    if (w->filling)
        submit_staging(w, false);
    struct staging *b = NULL;
    for (bool late = false;;) {
        if (s->failed && !w->error)
            w->error = ERR_DISK_FAILED;
        e = w->error;
        if (!e && w->inflight < s->config.window)
            b = take_staging(s);
        if (e || b || late)
            break;
        w->waiting = true;
        s->staging_waiters++;
        late = sys_cond_wait(&w->room, &s->lock, deadline) == ERR_TIMEOUT;
        s->staging_waiters--;
        w->waiting = false;
    }
    if (!b) /* what woke it may do for another */
        wake_one(s, NULL);
    if (b) {
        b->base = w->at == 0 ? 0 : RECORD_HEADER + (uint64_t)w->at;
        b->fill = w->at == 0 ? RECORD_HEADER : 0;
        b->last = false;
        w->filling = b;
    }
    sys_mutex_unlock(&s->lock);
    return e ? e : b ? OK : ERR_BUSY;
}

enum err shard_writer_space(struct shard_writer *w, int64_t deadline, void **at, size_t *n)
{
    uint32_t left = w->shard.length - w->at;
    *n = 0;
    *at = NULL;
    enum err e = note_error(w, OK);
    if (w->small) {
        *at = w->whole + w->at;
        *n = left;
    } else if (!e && left > 0 && (!w->filling || w->filling->fill == STAGING_BYTES)) {
        e = next_staging(w, deadline);
    }
    if (e || w->small)
        return e;
    if (!w->filling)
        return OK;
    *at = w->filling->data + w->filling->fill;
    *n = STAGING_BYTES - w->filling->fill;
    if (*n > left)
        *n = left;
    return OK;
}

/* ---- checksums ---- */

/* The running CRC has reached `end` of the block. */
static enum err compare(struct shard_writer *w, uint32_t block, uint32_t end)
{
    struct block_check *c = &w->checks[block];
    if (c->end != end)
        return OK;
    c->end = 0;
    if (c->crc != w->running)
        return ERR_CORRUPT;
    if (end == block * SHARD_BLOCK + block_bytes(w, block)) {
        c->end = BLOCK_VERIFIED;
        w->verified++;
    }
    return OK;
}

enum err shard_writer_advance(struct shard_writer *w, size_t n)
{
    const uint8_t *data = w->small ? w->whole + w->at : NULL;
    if (!w->small) {
        assert(n == 0 || (w->filling && n <= STAGING_BYTES - w->filling->fill));
        if (n > 0) {
            data = w->filling->data + w->filling->fill;
            w->filling->fill += (uint32_t)n;
        }
    }
    assert(n <= w->shard.length - w->at);
    while (n > 0) {
        uint32_t block = w->at / SHARD_BLOCK, start = block * SHARD_BLOCK;
        uint32_t end = start + block_bytes(w, block);
        uint32_t upto = w->checks[block].end > w->at ? w->checks[block].end : end;
        uint32_t step = upto - w->at < n ? upto - w->at : (uint32_t)n;
        if (w->at == start)
            w->running = shard_crc_begin(&w->shard.id, block);
        w->running = crc32c(w->running, data, step);
        data += step;
        n -= step;
        w->at += step;
        if (w->at == end)
            w->crcs[block] = w->running;
        enum err e = compare(w, block, w->at);
        if (e)
            return note_error(w, e);
    }
    return OK;
}

enum err shard_writer_check(struct shard_writer *w, uint32_t end, uint32_t crc)
{
    if (end == 0 || end > w->shard.length)
        return note_error(w, ERR_INVALID);
    uint32_t block = (end - 1) / SHARD_BLOCK;
    struct block_check *c = &w->checks[block];
    uint32_t block_end = block * SHARD_BLOCK + block_bytes(w, block);
    if (c->end != 0 || (end < w->at && end != block_end))
        return note_error(w, ERR_INVALID);
    *c = (struct block_check){end, crc};
    if (end > w->at)
        return OK;
    if (end == block_end) { /* has passed: its CRC was kept */
        c->end = BLOCK_VERIFIED;
        w->verified++;
        return w->crcs[block] == crc ? OK : note_error(w, ERR_CORRUPT);
    }
    enum err e = compare(w, block, end);
    return e ? note_error(w, e) : OK;
}

enum err shard_writer_append(struct shard_writer *w, const void *data, size_t n,
                             const uint32_t *crcs, int64_t deadline)
{
    const uint8_t *from = data;
    if (n > w->shard.length - w->at)
        return note_error(w, ERR_TOO_BIG);
    while (n > 0) {
        uint32_t block = w->at / SHARD_BLOCK;
        uint32_t end = block * SHARD_BLOCK + block_bytes(w, block);
        void *to = NULL;
        size_t room = 0;
        enum err e = shard_writer_space(w, deadline, &to, &room);
        if (e)
            return e;
        if (room > end - w->at)
            room = end - w->at;
        if (room > n)
            room = n;
        memcpy(to, from, room);
        e = shard_writer_advance(w, room);
        if (!e && w->at == end)
            e = shard_writer_check(w, end, crcs ? *crcs++ : w->crcs[block]);
        if (e)
            return e;
        from += room;
        n -= room;
    }
    return OK;
}

/* ---- the end of a writer ---- */

void writer_complete(struct shard_writer *w, enum err result)
{
    struct shard_store *s = w->store;
    sys_mutex_lock(&s->lock);
    if (w->extent && !w->small && result)
        dead_add(&s->dead, &w->place, w->shard.length);
    unlink_writer(s, w);
    sys_mutex_unlock(&s->lock);
    void (*done)(void *, enum err) = w->done;
    void *arg = w->arg;
    free_writer(w);
    if (done)
        done(arg, result);
}

uint64_t writer_synced(const struct shard_store *s)
{
    uint64_t synced = s->sequence;
    for (const struct shard_writer *w = s->writers; w; w = w->next)
        if (w->footer.sequence != 0 && w->footer.sequence <= synced)
            synced = w->footer.sequence - 1;
    return synced;
}

uint64_t writer_sequence(struct shard_store *s)
{
    uint64_t first = s->superblock.incarnation << 40;
    s->sequence = s->sequence < first ? first : s->sequence + 1;
    return s->sequence;
}

static enum err commit_error(struct shard_writer *w, uint32_t crc)
{
    if (w->at != w->shard.length)
        return ERR_TRUNCATED;
    if (w->verified != w->blocks)
        return ERR_INVALID;
    w->footer.table_crc = shard_crc_of_crcs(0, w->crcs, w->blocks);
    return w->footer.table_crc == crc ? OK : ERR_CORRUPT;
}

void shard_writer_commit(struct shard_writer *w, uint32_t crc,
                         void (*done)(void *arg, enum err result), void *arg)
{
    struct shard_store *s = w->store;
    sys_mutex_lock(&s->lock);
    assert(w->state == WRITER_OPEN);
    w->done = done;
    w->arg = arg;
    w->state = WRITER_COMMITTING;
    if (!w->error)
        w->error = s->failed ? ERR_DISK_FAILED : commit_error(w, crc);
    bool over = w->error && w->inflight == 0;
    if (w->error && w->filling) {
        give_staging(s, w->filling);
        w->filling = NULL;
        wake_one(s, NULL);
    }
    enum err e = w->error;
    if (!e && w->small)
        commit_queue(s, w);
    else if (!e)
        submit_staging(w, true);
    sys_mutex_unlock(&s->lock);
    if (over)
        writer_complete(w, e);
}

void shard_writer_abort(struct shard_writer *w)
{
    struct shard_store *s = w->store;
    sys_mutex_lock(&s->lock);
    assert(w->state == WRITER_OPEN);
    w->state = WRITER_DROPPED;
    if (!w->error)
        w->error = ERR_ABORTED;
    if (w->filling) {
        give_staging(s, w->filling);
        wake_one(s, NULL);
    }
    w->filling = NULL;
    bool over = w->inflight == 0;
    sys_mutex_unlock(&s->lock);
    if (over)
        writer_complete(w, ERR_ABORTED);
}

/* ---- in the I/O threads ---- */

/* Where the record goes: decided by the thread that has its first buffer, awaited by the others
 * (which cannot be ahead of it in the queue). */
static enum err find_place(struct shard_store *s, struct staging *b)
{
    struct shard_writer *w = b->writer;
    sys_mutex_lock(&s->lock);
    enum err e = w->error;
    if (b->base == 0 && !e) {
        sys_mutex_unlock(&s->lock);
        e = extent_reserve(s, record_room(w->shard.length), w);
        sys_mutex_lock(&s->lock);
        if (e && !w->error)
            w->error = e;
        sys_cond_broadcast(&s->changed);
    }
    while (!w->extent && !w->error)
        (void)sys_cond_wait(&s->changed, &s->lock, SYS_FOREVER);
    if (b->last && w->move && w->move->changed && !w->error)
        w->error = ERR_ABORTED; /* compact.c P3 */
    e = w->error;
    if (!e && b->last) {
        if (w->move)
            w->move->sealed = true;
        w->footer.synced = writer_synced(s);
        w->footer.sequence = writer_sequence(s);
    }
    sys_mutex_unlock(&s->lock);
    return e;
}

static enum err write_staging(struct shard_store *s, struct staging *b)
{
    struct shard_writer *w = b->writer;
    enum err e = find_place(s, b);
    if (e)
        return e;
    if (b->base == 0)
        record_encode_header(s->superblock.salt, &w->shard, &w->place, b->data);
    if (b->last) {
        record_encode_table(w->crcs, w->blocks, b->data + b->fill);
        b->fill += 4 * w->blocks;
        record_encode_footer(s->superblock.salt, &w->shard, &w->place, &w->footer,
                             b->data + b->fill);
        b->fill += RECORD_FOOTER;
    }
    uint32_t padded = (uint32_t)round_up(b->fill, SYS_BLOCK);
    assert(padded <= STAGING_ROOM && (b->last || b->fill == STAGING_BYTES));
    assert(b->base + padded <= record_room(w->shard.length));
    memset(b->data + b->fill, 0, padded - b->fill);
    e = store_write(s, w->extent->file, w->place.offset + b->base, b->data, padded);
    return e;
}

void writer_write_staging(struct shard_store *s, struct staging *b)
{
    struct shard_writer *w = b->writer;
    bool last = b->last;
    uint32_t bytes = b->fill;
    enum err e = write_staging(s, b);
    sys_mutex_lock(&s->lock);
    s->stats.written_bytes += bytes;
    if (e && !w->error)
        w->error = e;
    if (w->error && w->waiting)
        sys_cond_signal(&w->room);
    give_staging(s, b);
    w->inflight--;
    wake_one(s, w);
    w->last_written |= last && !e;
    e = w->error;
    bool over = w->inflight == 0 && w->state != WRITER_OPEN && e;
    if (!e && w->inflight == 0 && w->last_written)
        commit_queue(s, w);
    sys_mutex_unlock(&s->lock);
    if (over)
        writer_complete(w, e);
}
