/* A disk's life: format, open, close, identity, figures. */
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include "chunkserver/store_internal.h"
#include "common/sys/log.h"

enum {
    DEFAULT_EXTENT_MIB = 256,
    DEFAULT_IO_THREADS = 4,
    DEFAULT_QUEUE = 256,
    DEFAULT_WRITERS = 128,
    DEFAULT_STAGING = 48,
    DEFAULT_WINDOW = 4,
    DEFAULT_NEARFULL_PERCENT = 85,
    DEFAULT_BACKFILLFULL_PERCENT = 90,
    DEFAULT_FULL_PERCENT = 95,
    DEFAULT_COMPACT_SECONDS = 60,
    DEFAULT_COMPACT_MIB = 32,
    EXTENT_LEAST_MIB = 1,
    IO_THREADS_MAX = 64,
    INCARNATION_BITS = 24, /* sequences hold it above 40 bits */
};

enum err shard_store_format(const char *directory, const struct uuid *cluster,
                            const struct uuid *disk)
{
    struct superblock sb;
    char path[SYS_PATH_MAX];
    enum err e = superblock_read(directory, &sb, NULL);
    if (e == OK || e == ERR_FORMAT) {
        log_error("store", "%s holds a disk already", directory);
        return ERR_EXISTS;
    }
    if (e != ERR_NOT_FOUND)
        return e;
    memset(&sb, 0, sizeof(sb));
    sb.cluster = *cluster;
    sb.disk = *disk;
    sys_random(sb.salt, sizeof(sb.salt));
    e = disk_path(directory, "extents", path);
    if (!e)
        e = sys_mkdir(path);
    if (e == ERR_EXISTS)
        e = OK;
    if (!e)
        e = superblock_write(directory, &sb); /* syncs the directory: extents/, too */
    if (e)
        log_error("store", "cannot make a disk of %s: %s", directory, err_text(e));
    return e;
}

static void identity_of(const struct superblock *sb, struct shard_store_identity *out)
{
    *out = (struct shard_store_identity){sb->cluster, sb->disk, sb->id, sb->incarnation};
}

enum err shard_store_peek(const char *directory, struct shard_store_identity *out)
{
    struct superblock sb;
    enum err e = superblock_read(directory, &sb, NULL);
    if (!e)
        identity_of(&sb, out);
    return e;
}

static void set_defaults(struct shard_store_config *c)
{
    if (c->extent_bytes == 0)
        c->extent_bytes = (uint64_t)DEFAULT_EXTENT_MIB << 20;
    if (c->extent_bytes < (uint64_t)EXTENT_LEAST_MIB << 20)
        c->extent_bytes = (uint64_t)EXTENT_LEAST_MIB << 20;
    if (c->io_threads == 0)
        c->io_threads = DEFAULT_IO_THREADS;
    if (c->io_threads > IO_THREADS_MAX)
        c->io_threads = IO_THREADS_MAX;
    if (c->queue_max == 0)
        c->queue_max = DEFAULT_QUEUE;
    if (c->writers_max == 0)
        c->writers_max = DEFAULT_WRITERS;
    if (c->staging_max == 0)
        c->staging_max = DEFAULT_STAGING;
    if (c->window == 0)
        c->window = DEFAULT_WINDOW;
    if (c->nearfull_percent == 0 || c->nearfull_percent > 100)
        c->nearfull_percent = DEFAULT_NEARFULL_PERCENT;
    if (c->backfillfull_percent == 0 || c->backfillfull_percent > 100)
        c->backfillfull_percent = DEFAULT_BACKFILLFULL_PERCENT;
    if (c->full_percent == 0 || c->full_percent > 100)
        c->full_percent = DEFAULT_FULL_PERCENT;
    if (c->flush_interval == 0)
        c->flush_interval = SYS_SECOND;
    if (c->compact_interval == 0)
        c->compact_interval = DEFAULT_COMPACT_SECONDS * SYS_SECOND;
    if (c->compact_bytes_per_s == 0)
        c->compact_bytes_per_s = (uint64_t)DEFAULT_COMPACT_MIB << 20;
}

/* One process at a time: before anything of the disk is looked at. */
static enum err lock_disk(struct shard_store *s)
{
    char path[SYS_PATH_MAX];
    enum err e = disk_path(s->directory, "lock", path);
    if (!e)
        e = sys_file_open(path, SYS_OPEN_WRITE | SYS_OPEN_CREATE, &s->lock_file);
    if (!e)
        e = sys_file_lock_wait(s->lock_file);
    if (e == ERR_BUSY) {
        log_error("store", "%s is open in another process", s->directory);
        e = ERR_DISK_IN_USE;
    }
    return e;
}

static enum err check_superblock(struct shard_store *s)
{
    const struct uuid none = {{0}};
    enum err e = superblock_read(s->directory, &s->superblock, NULL);
    if (e == ERR_NOT_FOUND)
        log_error("store", "%s is missing or was never formatted as a disk; is it mounted?",
                  s->directory);
    else if (e)
        log_error("store", "%s/superblock: %s", s->directory, err_text(e));
    if (!e && !uuid_equal(&s->config.cluster, &none) &&
        !uuid_equal(&s->config.cluster, &s->superblock.cluster)) {
        log_error("store", "%s belongs to another cluster", s->directory);
        e = ERR_FOREIGN_DISK;
    }
    return e;
}

static enum err bump_incarnation(struct shard_store *s)
{
    s->superblock.incarnation++;
    if (s->superblock.incarnation >> INCARNATION_BITS)
        return ERR_FORMAT;
    return superblock_write(s->directory, &s->superblock);
}

static enum err start_thread(struct shard_store *s, const char *name, void (*run)(void *))
{
    enum err e = sys_thread_start(&s->threads[s->thread_count], name, 0, run, s);
    if (!e)
        s->thread_count++;
    return e;
}

static enum err start_threads(struct shard_store *s)
{
    enum err e = OK;
    s->threads = sys_alloc((s->config.io_threads + 2) * sizeof(struct sys_thread *));
    for (unsigned i = 0; !e && i < s->config.io_threads; i++)
        e = start_thread(s, "disk-io", io_run);
    if (!e)
        e = start_thread(s, "disk-commit", commit_run);
    if (!e)
        e = start_thread(s, "disk-keeper", keeper_run);
    if (!e)
        e = sys_thread_start(&s->compactor, "disk-compact", 0, compact_run, s);
    return e;
}

/* Compaction first, which writes like everybody else. Then I/O threads: what they finish, the committer must still make durable. */
static void stop_threads(struct shard_store *s)
{
    bool *stops[3] = {&s->io_stop, &s->commit_stop, &s->keeper_stop};
    struct sys_cond *conds[3] = {&s->work, &s->commits, &s->house};
    unsigned joined = 0;
    sys_mutex_lock(&s->lock);
    s->compact_stop = true;
    sys_cond_broadcast(&s->compact);
    sys_mutex_unlock(&s->lock);
    if (s->compactor)
        sys_thread_join(s->compactor);
    s->compactor = NULL;
    for (int i = 0; i < 3; i++) {
        sys_mutex_lock(&s->lock);
        s->stopping = true;
        *stops[i] = true;
        sys_cond_broadcast(conds[i]);
        sys_mutex_unlock(&s->lock);
        unsigned upto = i == 0 ? s->config.io_threads : s->config.io_threads + (unsigned)i;
        for (; joined < upto && joined < s->thread_count; joined++)
            sys_thread_join(s->threads[joined]);
    }
    sys_free(s->threads);
    s->threads = NULL;
    s->thread_count = 0;
}

void store_detach(struct shard_store *s)
{
    assert(s->writer_count == 0 && !s->write_first && !s->job_first && !s->commit_first);
    index_release(s);
    extent_close_all(s);
    tables_forget(s);
    for (struct staging *b = s->staging_free, *next; b; b = next) {
        next = b->next;
        sys_free(b->data);
        sys_free(b);
    }
    sys_file_close(s->lock_file);
    struct sys_cond *conds[] = {&s->work, &s->commits, &s->house, &s->changed, &s->compact};
    for (size_t i = 0; i < sizeof(conds) / sizeof(*conds); i++)
        sys_cond_release(conds[i]);
    sys_mutex_release(&s->lock);
    sys_free(s);
}

static struct shard_store *new_store(const struct shard_store_config *config)
{
    struct shard_store *s = sys_alloc(sizeof(*s));
    s->config = *config;
    set_defaults(&s->config);
    s->deaths = 1; /* of earlier processes, perhaps */
    snprintf(s->directory, sizeof(s->directory), "%s", config->directory);
    s->config.directory = s->directory;
    sys_mutex_init(&s->lock);
    struct sys_cond *conds[] = {&s->work, &s->commits, &s->house, &s->changed, &s->compact};
    for (size_t i = 0; i < sizeof(conds) / sizeof(*conds); i++)
        sys_cond_init(conds[i]);
    return s;
}

enum err store_attach(struct shard_store **out, const struct shard_store_config *config)
{
    *out = NULL;
    if (!config->directory || strlen(config->directory) >= SYS_PATH_MAX - 64)
        return ERR_INVALID;
    struct shard_store *s = new_store(config);
    /* Looked at before the lock, so that a directory that is no disk is left without a file. */
    enum err e = check_superblock(s);
    if (!e)
        e = lock_disk(s);
    if (!e)
        e = check_superblock(s); /* as it is now that nobody else changes it */
    if (e)
        store_detach(s);
    else
        *out = s;
    return e;
}

/* Nothing to rebuild an index from: it is made at once. */
static enum err is_empty(struct shard_store *s, bool *empty)
{
    struct extent_list list;
    enum err e = scan_list(s, &list);
    *empty = list.count == 0;
    sys_free(list.v);
    return e;
}

static enum err start_disk(struct shard_store *s)
{
    bool rebuild = false, empty = false;
    space_ballast_open(s);
    probe_make(s);
    enum err e = bump_incarnation(s);
    if (!e)
        e = index_open(s, &rebuild);
    if (!e && rebuild)
        e = is_empty(s, &empty);
    s->rebuilding = rebuild && !empty; /* by the keeper, while others are served */
    if (!e && !s->rebuilding) {
        e = recovery_run(s, rebuild);
        if (!e)
            e = superblock_note_index(s);
        if (e == ERR_CORRUPT || e == ERR_UNAVAILABLE) { /* it opened, and cannot be read */
            sys_mutex_lock(&s->lock);
            index_lost(s, "it is damaged");
            sys_mutex_unlock(&s->lock);
            e = OK;
        }
    }
    if (e)
        return e;
    space_refresh(s);
    log_info("store", "opened %s disk=%u incarnation=%llu shards=%llu%s", s->directory,
             s->superblock.id, (unsigned long long)s->superblock.incarnation,
             (unsigned long long)s->stats.shards, s->stats.unclean ? " after an unclean stop" : "");
    return start_threads(s);
}

enum err shard_store_open(struct shard_store **out, const struct shard_store_config *config)
{
    struct shard_store *s = NULL;
    *out = NULL;
    enum err e = store_attach(&s, config);
    if (!e)
        e = start_disk(s);
    if (e) {
        log_error("store", "cannot open the disk %s: %s",
                  config->directory ? config->directory : "", err_text(e));
        if (s) {
            stop_threads(s);
            store_detach(s);
        }
        return e;
    }
    *out = s;
    return OK;
}

void shard_store_close(struct shard_store *s)
{
    if (!s)
        return;
    stop_threads(s);
    /* Nothing more comes into it: the next open need not read it. */
    if (s->current)
        s->current->sealed = true;
    enum err e = s->rebuilding ? OK : index_flush(s, false, true); /* rebuild.c I9 */
    if (e)
        log_warn("store", "%s: closed without a flush: %s", s->directory, err_text(e));
    store_detach(s);
}

void shard_store_identity(struct shard_store *s, struct shard_store_identity *out)
{
    sys_mutex_lock(&s->lock);
    identity_of(&s->superblock, out);
    sys_mutex_unlock(&s->lock);
}

/* Writes the superblock with this id (0: as it is) and this first incarnation of the index. */
static enum err change_superblock(struct shard_store *s, disk_id id, uint64_t indexed)
{
    enum err e = OK;
    sys_mutex_lock(&s->lock);
    while (s->superblock_busy)
        (void)sys_cond_wait(&s->changed, &s->lock, SYS_FOREVER);
    struct superblock sb = s->superblock;
    if (id != 0 && sb.id != 0 && sb.id != id)
        e = ERR_EXISTS;
    else if (s->failed)
        e = ERR_DISK_FAILED;
    if (id != 0)
        sb.id = id;
    if (indexed > sb.indexed)
        sb.indexed = indexed;
    bool write = !e && (sb.id != s->superblock.id || sb.indexed != s->superblock.indexed);
    s->superblock_busy = write;
    sys_mutex_unlock(&s->lock);
    if (!write)
        return e;
    e = superblock_write(s->directory, &sb);
    sys_mutex_lock(&s->lock);
    s->superblock_busy = false;
    if (!e) { /* the rest is read without the lock, and never changes */
        s->superblock.id = sb.id;
        s->superblock.indexed = sb.indexed;
    }
    sys_cond_broadcast(&s->changed);
    sys_mutex_unlock(&s->lock);
    return e;
}

enum err shard_store_set_identity(struct shard_store *s, disk_id id)
{
    return change_superblock(s, id, 0);
}

enum err superblock_note_index(struct shard_store *s)
{
    return change_superblock(s, 0, s->superblock.incarnation);
}

void shard_store_stats(struct shard_store *s, struct shard_store_stats *out)
{
    int64_t now = sys_now();
    sys_mutex_lock(&s->lock);
    *out = s->stats;
    out->capacity_bytes = s->space.capacity;
    out->free_bytes = space_available(s);
    out->mark = space_mark(s);
    out->queue = s->job_count;
    out->writers = s->writer_count;
    out->staging = s->staging_used;
    out->synced_sequence = writer_synced(s);
    out->incarnation = s->superblock.incarnation;
    out->rebuilding = s->rebuilding;
    out->pace_ns = pace_now(&s->pace, now);
    bool drill_over = s->drill.kind == DRILL_DELAY || now >= s->drill.until;
    out->may_return = drill_over && out->fault && (out->fault == DISK_FAULT_GONE || s->drilled);
    sys_mutex_unlock(&s->lock);
}
