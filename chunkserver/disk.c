#include <stdio.h>
#include <string.h>
#include "chunkserver/service_internal.h"

/* A disk of a process: a directory becomes one, it is used, it goes and comes back.
 *
 *  D1  The store is there for as long as somebody has a use of the disk, and only then asked for anything.
 *  D2  One that is not there (its file system was not mounted at the start, or has gone since) is left out and
 *      looked for. It is used again when its directory holds a disk of this cluster, be it another one: an
 *      empty directory is made a disk at a start alone, since it may be a mount point, and when it was one
 *      then the right disk comes to lie over the wrong one.
 *      One without the room that its index takes to be opened waits for it.
 *  D3  A disk that has failed stays so, but when a drill has done it, until the drill is over. So does one whose
 *      sync fails while it is opened: a second sync would say nothing of what the first has lost. */

#define RETURN_EVERY (2 * SYS_SECOND)
#define REFUSED_WAIT (60 * SYS_SECOND) /* after one that is there and does not open */
#define FULL_WAIT    (5 * SYS_SECOND)  /* .. for want of room */
#define USES_END     (20 * SYS_MS)

bool chunk_disk_enter(struct chunk_disk *d)
{
    sys_mutex_lock(&d->service->lock);
    bool open = d->open;
    d->users += open;
    sys_mutex_unlock(&d->service->lock);
    return open;
}

void chunk_disk_leave(struct chunk_disk *d)
{
    sys_mutex_lock(&d->service->lock);
    d->users--;
    sys_mutex_unlock(&d->service->lock);
}

struct chunk_disk *chunk_disk_find(struct chunk_service *s, disk_id id)
{
    struct chunk_disk *found = NULL;
    sys_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->disk_count && !found && id != 0; i++)
        if (s->disks[i].id == id)
            found = &s->disks[i];
    sys_mutex_unlock(&s->lock);
    return found;
}

struct chunk_disk *chunk_disk_use(struct chunk_service *s, disk_id id)
{
    struct chunk_disk *d = chunk_disk_find(s, id);
    return d && chunk_disk_enter(d) ? d : NULL;
}

disk_id chunk_disk_id(struct chunk_disk *d)
{
    sys_mutex_lock(&d->service->lock);
    disk_id id = d->id;
    sys_mutex_unlock(&d->service->lock);
    return id;
}

enum err chunk_disk_write(struct chunk_disk *d, const struct stored_shard *shard,
                          uint64_t since_epoch, struct shard_writer **out)
{
    struct shard_store_stats stats;
    shard_store_stats(d->store, &stats);
    if (since_epoch == 0 && stats.mark >= DISK_MARK_BACKFILLFULL)
        return ERR_DISK_FULL;
    return shard_writer_open(d->store, shard, out);
}

/* ---- a directory becomes a disk ---- */

struct listing {
    size_t others;
    char first[SYS_NAME_MAX + 1];
};

static void visit(void *arg, const char *name, bool is_dir)
{
    struct listing *l = arg;
    (void)is_dir;
    /* What an earlier format that was cut short has left is ours. */
    if (strcmp(name, "lost+found") == 0 || strcmp(name, "superblock.new") == 0 ||
        strcmp(name, "extents") == 0)
        return;
    if (l->others++ == 0)
        snprintf(l->first, sizeof l->first, "%s", name);
}

static enum err why_not(char why[DISK_WHY_BYTES], const char *directory, enum err e)
{
    if (e == ERR_NOT_FOUND)
        snprintf(why, DISK_WHY_BYTES, "%s: no such directory: make it, or mount its file system",
                 directory);
    else
        snprintf(why, DISK_WHY_BYTES, "%s: %s", directory, err_text(e));
    return e;
}

/* Whether a directory is a disk of this cluster, or (*empty) may become one. Changes nothing. */
static enum err examine(struct chunk_service *s, const char *directory, bool *empty,
                        char why[DISK_WHY_BYTES])
{
    struct shard_store_identity identity;
    struct listing listing = {0};
    enum err e = shard_store_peek(directory, &identity);
    *empty = e == ERR_NOT_FOUND;
    if (e == OK && !uuid_equal(&identity.cluster, &s->cluster)) {
        snprintf(why, DISK_WHY_BYTES, "%s is a disk of another cluster", directory);
        return ERR_FOREIGN_DISK;
    }
    if (*empty)
        e = sys_dir_list(directory, visit, &listing);
    if (e == OK && listing.others > 0) {
        snprintf(why, DISK_WHY_BYTES,
                 "%s is no disk and not empty (it holds %s): name an empty one", directory,
                 listing.first);
        return ERR_FOREIGN_DISK;
    }
    return e == OK ? OK : why_not(why, directory, e);
}

/* Formats a new disk in an empty directory. */
static enum err make_disk(struct chunk_service *s, const char *directory)
{
    struct uuid uuid;
    sys_random(uuid.bytes, sizeof uuid.bytes);
    enum err e = sys_dir_sync_parent(directory); /* or a power cut takes what was acknowledged */
    if (e == OK)
        e = shard_store_format(directory, &s->cluster, &uuid);
    if (e == OK)
        log_info("chunk", "made a new disk of %s", directory);
    return e == ERR_NO_SPACE ? ERR_DISK_FULL : e; /* there is nothing yet to wait for */
}

static enum err open_store(struct chunk_disk *d)
{
    struct chunk_service *s = d->service;
    struct shard_store_config config = s->store;
    struct shard_store_identity identity;
    struct shard_store_stats stats;
    config.directory = d->directory;
    config.cluster = s->cluster;
    enum err e = shard_store_open(&d->store, &config);
    if (e != OK)
        return e;
    shard_store_identity(d->store, &identity);
    shard_store_stats(d->store, &stats);
    sys_mutex_lock(&s->lock);
    d->id = identity.id;
    d->uuid = identity.disk;
    d->audit = stats.unclean || stats.rebuilding;
    d->rebuilds = 0;
    d->registered = d->refused = false;
    d->register_at = 0;
    d->open = true;
    d->arrivals++;
    d->error = OK;
    sys_mutex_unlock(&s->lock);
    if (stats.unclean)
        log_info("chunk", "disk %s was not closed: what it holds is compared with metadata",
                 d->directory);
    return OK;
}

/* When to look again at a disk that was not opened. */
static int64_t look_again(enum err e)
{
    if (e == ERR_DISK_FAILED)
        return SYS_FOREVER; /* D3 */
    if (e == OK || e == ERR_NOT_FOUND)
        return 0;
    return sys_now() + (e == ERR_NO_SPACE ? FULL_WAIT : REFUSED_WAIT);
}

/* Who it is that is left out, so far as that can be read: for the reports. */
static void note_identity(struct chunk_disk *d)
{
    struct shard_store_identity identity;
    if (shard_store_peek(d->directory, &identity) != OK ||
        !uuid_equal(&identity.cluster, &d->service->cluster))
        return;
    sys_mutex_lock(&d->service->lock);
    d->id = identity.id;
    sys_mutex_unlock(&d->service->lock);
}

static enum err open_disk(struct chunk_disk *d, char why[DISK_WHY_BYTES])
{
    bool empty = false;
    enum err e = examine(d->service, d->directory, &empty, why);
    if (e == OK) {
        e = empty ? make_disk(d->service, d->directory) : OK;
        if (e == OK)
            e = open_store(d);
        if (e != OK)
            e = why_not(why, d->directory, e);
    }
    if (e != OK)
        note_identity(d);
    d->look_at = look_again(e);
    d->error = e;
    return e;
}

static bool is_mistake(enum err e)
{
    return e == ERR_FOREIGN_DISK || e == ERR_DISK_IN_USE;
}

enum err disks_open(struct chunk_service *s, const char *const *directories, size_t count,
                    char why[DISK_WHY_BYTES])
{
    char another[DISK_WHY_BYTES];
    enum err first = OK;
    size_t usable = 0;
    bool empty;
    /* All are looked at before the first is changed. */
    for (size_t i = 0; i < count; i++) {
        enum err e = examine(s, directories[i], &empty, why);
        if (is_mistake(e))
            return e;
    }
    s->disks = sys_alloc(count * sizeof *s->disks);
    for (size_t i = 0; i < count; i++) {
        struct chunk_disk *d = &s->disks[s->disk_count++];
        d->service = s;
        d->directory = chunk_text(directories[i]);
        disk_control_init(d);
        enum err e = open_disk(d, first == OK ? why : another);
        if (e == OK || !is_mistake(e)) {
            enum err started = control_start(d);
            if (started != OK)
                return why_not(why, d->directory, started);
        }
        if (is_mistake(e)) {
            if (first != OK)
                memcpy(why, another, sizeof another);
            return e;
        }
        if (e != OK)
            log_error("chunk", "left out: %s", first == OK ? why : another);
        if (e != OK && first == OK)
            first = e;
        usable += e == OK || e == ERR_NO_SPACE; /* D2: there will be room */
    }
    return usable > 0 ? OK : first;
}

/* ---- it goes, and comes back ---- */

/* Nobody uses it any more; false: the service stops. */
static bool close_disk(struct chunk_disk *d)
{
    struct chunk_service *s = d->service;
    bool used = true;
    sys_mutex_lock(&s->lock);
    d->open = d->registered = false;
    d->error = ERR_NOT_FOUND;
    sys_mutex_unlock(&s->lock);
    while (used) {
        sys_mutex_lock(&s->lock);
        used = d->users > 0;
        sys_mutex_unlock(&s->lock);
        if (used && !service_wait(s, sys_now() + USES_END))
            return false; /* closed with the service */
    }
    shard_store_close(d->store);
    d->store = NULL;
    return true;
}

static void look_for(struct chunk_disk *d)
{
    struct shard_store_identity identity;
    if (sys_now() < d->look_at)
        return;
    enum err e = shard_store_peek(d->directory, &identity);
    if (e == OK && !uuid_equal(&identity.cluster, &d->service->cluster))
        e = ERR_FOREIGN_DISK;
    if (e == OK)
        e = open_store(d);
    if (e == OK)
        log_info("chunk", "disk %s is there: it is used again", d->directory);
    else
        note_identity(d);
    d->look_at = look_again(e);
    sys_mutex_lock(&d->service->lock);
    d->error = e;
    sys_mutex_unlock(&d->service->lock);
}

void disks_return_run(void *service)
{
    struct chunk_service *s = service;
    while (service_wait(s, sys_now() + RETURN_EVERY))
        for (size_t i = 0; i < s->disk_count; i++) {
            struct chunk_disk *d = &s->disks[i];
            struct shard_store_stats stats;
            if (d->store) /* this thread alone changes it */
                shard_store_stats(d->store, &stats);
            if (d->store && stats.may_return && !close_disk(d))
                return;
            if (!d->store)
                look_for(d);
        }
}
