/* Extents: files of fixed size, made and preallocated one at a time, filled from front to back.
 *
 *  E1  Only the process that made an extent writes into it. Every open begins a new one, so nothing
 *      that a crash may have left behind an end is ever met again.
 *  E2  An extent's header is durable before the first reservation in it.
 *  E3  Reservations follow one another without gaps from the first block behind the log. Every
 *      reservation is in the log before a sync acknowledges anything in it.
 *      From the moment that it is made its writer, or the run, has its place: a flush says that an extent
 *      need not be read again up to there (index.c, scan_from), and looks for what is on its way.
 *  E4  A block of the log is written once. When the log has no block left, or the next record does
 *      not fit, the extent is sealed and its rest given back.
 *  E5  Numbers only rise: the extent with the highest one is never removed (compact.c P4).
 *
 * At most EXTENTS_OPEN_MAX files are open; the one unused for longest is closed for the next. */
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include "chunkserver/store_internal.h"
#include "common/sys/log.h"

enum { LOG_BLOCKS_MIN = 8, LOG_BLOCK_COVERS = 256 << 10, EXTENT_MIN = 1 << 20 };

enum err extent_path(struct shard_store *s, uint32_t number, char out[SYS_PATH_MAX])
{
    char name[32];
    snprintf(name, sizeof(name), "extents/%08u", number);
    return disk_path(s->directory, name, out);
}

static struct extent *find(struct shard_store *s, uint32_t number)
{
    for (unsigned i = 0; i < s->extent_count; i++)
        if (s->extents[i]->number == number)
            return s->extents[i];
    return NULL;
}

/* Makes room for one more; the extent to close and free, if any. Under the lock. */
static enum err make_room(struct shard_store *s, struct extent **victim)
{
    *victim = NULL;
    if (s->extent_count < EXTENTS_OPEN_MAX)
        return OK;
    unsigned best = EXTENTS_OPEN_MAX;
    for (unsigned i = 0; i < s->extent_count; i++) {
        struct extent *e = s->extents[i];
        if (e->users == 0 && !e->active &&
            (best == EXTENTS_OPEN_MAX || e->used_at < s->extents[best]->used_at))
            best = i;
    }
    if (best == EXTENTS_OPEN_MAX)
        return ERR_BUSY;
    *victim = s->extents[best];
    s->extents[best] = s->extents[--s->extent_count];
    return OK;
}

static void free_extent(struct extent *e)
{
    if (!e)
        return;
    sys_file_close(e->file);
    sys_free(e);
}

enum err extent_use(struct shard_store *s, uint32_t number, struct extent **out)
{
    sys_mutex_lock(&s->lock);
    struct extent *e = find(s, number);
    if (e) {
        e->users++;
        e->used_at = ++s->clock;
    }
    sys_mutex_unlock(&s->lock);
    *out = e;
    if (e)
        return OK;
    char path[SYS_PATH_MAX];
    struct sys_file *file = NULL;
    enum err error = extent_path(s, number, path);
    if (!error)
        error = sys_file_open(path, SYS_OPEN_WRITE | SYS_OPEN_DIRECT, &file);
    if (error)
        return error;
    struct extent *fresh = sys_alloc(sizeof(*fresh)), *victim = NULL;
    fresh->number = number;
    fresh->file = file;
    fresh->sealed = true;
    sys_mutex_lock(&s->lock);
    e = find(s, number); /* another thread may have been quicker */
    if (!e) {
        error = make_room(s, &victim);
        if (!error) {
            e = s->extents[s->extent_count++] = fresh;
            fresh = NULL;
        }
    }
    if (e) {
        e->users++;
        e->used_at = ++s->clock;
    }
    sys_mutex_unlock(&s->lock);
    free_extent(fresh);
    free_extent(victim);
    *out = e;
    return error;
}

/* Takes an extent that nobody uses out of the open ones. Under the lock. */
static void take_out(struct shard_store *s, struct extent *e)
{
    for (unsigned i = 0; i < s->extent_count; i++)
        if (s->extents[i] == e) {
            s->extents[i] = s->extents[--s->extent_count];
            return;
        }
}

void extent_unuse(struct shard_store *s, struct extent *e)
{
    if (!e)
        return;
    sys_mutex_lock(&s->lock);
    assert(e->users > 0);
    e->users--;
    bool last = e->gone && e->users == 0;
    if (last)
        take_out(s, e);
    sys_mutex_unlock(&s->lock);
    if (last)
        free_extent(e);
}

void extent_forget(struct shard_store *s, uint32_t number)
{
    sys_mutex_lock(&s->lock);
    struct extent *e = find(s, number);
    if (e)
        e->gone = true;
    bool last = e && e->users == 0;
    if (last)
        take_out(s, e);
    sys_mutex_unlock(&s->lock);
    if (last)
        free_extent(e);
}

void extent_close_all(struct shard_store *s)
{
    for (unsigned i = 0; i < s->extent_count; i++) {
        assert(s->extents[i]->users == 0);
        free_extent(s->extents[i]);
    }
    s->extent_count = 0;
    s->current = NULL;
}

/* A new extent's size: on a disk that has little left, less than configured. */
static uint64_t choose_bytes(struct shard_store *s, uint64_t need)
{
    uint64_t bytes = s->config.extent_bytes;
    uint64_t quarter = s->space.fs_free / 4;
    if (bytes > quarter)
        bytes = quarter;
    uint64_t least = round_up(need + need / 8, SYS_BLOCK) + (LOG_BLOCKS_MIN + 2) * SYS_BLOCK;
    if (bytes < least)
        bytes = least;
    if (bytes < EXTENT_MIN)
        bytes = EXTENT_MIN;
    return round_up(bytes, SYS_BLOCK);
}

static enum err write_new(struct shard_store *s, struct extent *e, const char *path)
{
    struct extent_header h = {e->number, e->log_blocks, e->bytes, s->superblock.incarnation};
    uint8_t *block = sys_alloc_aligned(SYS_BLOCK, SYS_BLOCK);
    char directory[SYS_PATH_MAX];
    extent_encode_header(s->superblock.salt, &h, block);
    enum err error = sys_file_open(
        path, SYS_OPEN_WRITE | SYS_OPEN_CREATE | SYS_OPEN_EXCLUSIVE | SYS_OPEN_DIRECT, &e->file);
    if (!error)
        error = sys_file_allocate(e->file, 0, e->bytes);
    if (!error)
        error = store_write(s, e->file, 0, block, SYS_BLOCK);
    else
        error = store_write_failed(s, error);
    sys_free(block);
    if (error)
        return error == ERR_NO_SPACE ? ERR_DISK_FULL : error;
    error = store_sync(s, e->file, "sync of a new extent");
    if (!error)
        error = disk_path(s->directory, "extents", directory);
    if (!error)
        error = sys_dir_sync(directory);
    if (error == ERR_BUSY)
        return error; /* no descriptors are left: not the disk's fault */
    if (error) {
        sys_mutex_lock(&s->lock);
        store_fail(s, DISK_FAULT_SYNC, "sync of the extents", error);
        sys_mutex_unlock(&s->lock);
        return ERR_DISK_FAILED;
    }
    return OK;
}

/* Makes the next current extent. One thread at a time (making_extent); not under the lock. */
static enum err make_extent(struct shard_store *s, uint64_t need)
{
    char path[SYS_PATH_MAX];
    struct extent *e = sys_alloc(sizeof(*e)), *victim = NULL;
    space_refresh(s);
    sys_mutex_lock(&s->lock);
    e->number = s->next_extent++;
    e->bytes = choose_bytes(s, need);
    sys_mutex_unlock(&s->lock);
    e->active = true;
    e->log_blocks = (uint32_t)(e->bytes / LOG_BLOCK_COVERS);
    if (e->log_blocks < LOG_BLOCKS_MIN)
        e->log_blocks = LOG_BLOCKS_MIN;
    e->next = (uint64_t)(1 + e->log_blocks) * SYS_BLOCK;
    enum err error = extent_path(s, e->number, path);
    if (!error)
        error = write_new(s, e, path);
    sys_mutex_lock(&s->lock);
    if (!error)
        error = make_room(s, &victim);
    if (!error) {
        if (s->current)
            s->current->sealed = true;
        s->extents[s->extent_count++] = s->current = e;
        e = NULL;
    }
    sys_mutex_unlock(&s->lock);
    /* Nothing names it yet; a disk that has failed is left as it is. */
    if (e && e->file && error != ERR_DISK_FAILED && sys_unlink(path) != OK)
        log_warn("store", "%s is left over and may be removed", path);
    free_extent(e);
    free_extent(victim);
    if (!error)
        space_refresh(s);
    return error;
}

/* Under the lock. */
static bool fits(const struct extent *e, uint64_t length)
{
    return e && !e->broken && e->next + length <= e->bytes && e->log_next < e->log_blocks &&
           e->pending_count < LOG_ENTRIES_MAX;
}

enum err extent_reserve(struct shard_store *s, uint64_t length, struct shard_writer *w)
{
    assert(length > 0 && length % SYS_BLOCK == 0);
    enum err error = OK;
    sys_mutex_lock(&s->lock);
    while (!error && !fits(s->current, length)) {
        if (s->failed) {
            error = ERR_DISK_FAILED;
        } else if (s->making_extent) {
            (void)sys_cond_wait(&s->changed, &s->lock, SYS_FOREVER);
        } else {
            s->making_extent = true;
            sys_mutex_unlock(&s->lock);
            error = make_extent(s, length);
            sys_mutex_lock(&s->lock);
            s->making_extent = false;
            sys_cond_broadcast(&s->changed);
        }
    }
    if (!error) {
        struct extent *e = s->current;
        e->pending[e->pending_count++] = (struct reservation){e->next, (uint32_t)length, w != NULL};
        if (w) {
            w->place = (struct place){e->number, e->next};
            w->extent = e;
        } else {
            s->run = e;
            s->run_at = e->next;
            s->run_end = e->next + length;
        }
        e->next += length;
        e->users++;
        e->used_at = ++s->clock;
        s->dirty = true;
    }
    sys_mutex_unlock(&s->lock);
    return error;
}

enum err extent_log(struct shard_store *s, struct extent *e, uint8_t *block)
{
    uint32_t slot = 0;
    sys_mutex_lock(&s->lock);
    bool write = e->pending_count > 0;
    bool broken = e->broken;
    if (write && !broken) {
        slot = e->log_next++;
        assert(slot < e->log_blocks);
        log_encode(s->superblock.salt, e->number, slot, e->pending, e->pending_count, block);
        e->pending_count = 0;
    }
    sys_mutex_unlock(&s->lock);
    if (broken)
        return ERR_IO;
    if (!write)
        return OK;
    enum err error = store_write(s, e->file, (uint64_t)(1 + slot) * SYS_BLOCK, block, SYS_BLOCK);
    if (error) {
        log_error("store", "%s: reservation log of extent %u: %s", s->directory, e->number,
                  err_text(error));
        sys_mutex_lock(&s->lock);
        e->broken = true;
        sys_mutex_unlock(&s->lock);
    }
    return error;
}

enum err extent_read(struct extent *e, uint64_t offset, uint8_t *out, size_t n)
{
    size_t done = 0;
    enum err error = sys_file_read(e->file, offset, out, n, &done);
    if (!error && done < n)
        memset(out + done, 0, n - done);
    return error;
}

void extent_punch(struct shard_store *s, const struct dead_place *d)
{
    uint64_t from = round_up(d->place.offset, SYS_BLOCK);
    uint64_t to = d->place.offset + record_bytes(d->length);
    to = record_is_small(d->length) ? round_down(to, SYS_BLOCK) : round_up(to, SYS_BLOCK);
    struct extent *e = NULL;
    if (from >= to)
        return;
    enum err error = extent_use(s, d->place.extent, &e);
    if (!error)
        error = sys_file_punch(e->file, from, to - from);
    extent_unuse(s, e);
    /* Space that stays taken is no danger; compaction or the next delete gets it. */
    if (error && error != ERR_UNSUPPORTED && error != ERR_NOT_FOUND)
        log_warn("store", "%s: cannot give back space of extent %u: %s", s->directory,
                 d->place.extent, err_text(error));
}
