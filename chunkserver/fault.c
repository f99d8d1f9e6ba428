/* What is wrong with a disk: as its files show it, or as a drill makes it.
 *
 *  F1  What fails a disk (shard_store.h S6) comes to store_fail, and stays until the next open.
 *  F2  A file system that has gone shows in all kinds of errors. So the keeper looks into why a disk has failed
 *      before that is told: read-only and gone are told as that, whatever was seen of it.
 *  F3  The directory is looked for every LOOK_EVERY: open files outlive it, what they get does not.
 *  F4  A read that fails is that shard's alone, however often it is read. READS_MAX of them within
 *      READS_WINDOW fail the disk, or it would be read and repaired for ever.
 *  F5  Drills change nothing on the disk, and end by themselves. */
#include <string.h>
#include "chunkserver/store_internal.h"
#include "common/sys/log.h"

#define LOOK_EVERY   (2 * SYS_SECOND)
#define READS_WINDOW (600 * SYS_SECOND)
#define DELAY_STEP   (100 * SYS_MS)
/* The places of an extent that drills harm. */
enum { SPOT_EVERY = 256 << 10, SPOT_AT = 100 << 10 };

/* ---- drills ---- */

bool drill_on(const struct shard_store *s, enum drill_kind kind)
{
    return s->drill.kind == kind && sys_now() < s->drill.until;
}

static bool drill_is(struct shard_store *s, enum drill_kind kind)
{
    sys_mutex_lock(&s->lock);
    bool on = drill_on(s, kind);
    sys_mutex_unlock(&s->lock);
    return on;
}

bool shard_store_drill(struct shard_store *s, enum drill_kind kind, int64_t delay_ns, int64_t until)
{
    const struct drill drill = {.kind = kind, .delay = delay_ns, .until = until};
    sys_mutex_lock(&s->lock);
    bool on = sys_now() < s->drill.until;
    bool new = kind != (on ? s->drill.kind : DRILL_DELAY) || delay_ns != (on ? s->drill.delay : 0);
    s->drill = drill;
    sys_mutex_unlock(&s->lock);
    return new;
}

void delay_wait(struct shard_store *s)
{
    int64_t began = 0;
    for (;;) {
        sys_mutex_lock(&s->lock);
        int64_t delay = s->stopping ? 0 : s->drill.delay, until = s->drill.until;
        sys_mutex_unlock(&s->lock);
        if (delay == 0)
            return;
        int64_t now = sys_now();
        began = began ? began : now;
        int64_t rest = delay - (now - began);
        if (now >= until || rest <= 0)
            return;
        sys_sleep_until(now + (rest < DELAY_STEP ? rest : DELAY_STEP));
    }
}

/* ---- a disk fails ---- */

static bool is_drilled(const struct shard_store *s, enum disk_fault fault)
{
    return (fault == DISK_FAULT_SYNC && drill_on(s, DRILL_SYNC)) ||
           (fault == DISK_FAULT_READ_ONLY && drill_on(s, DRILL_READ_ONLY)) ||
           (fault == DISK_FAULT_GONE && drill_on(s, DRILL_GONE));
}

void store_fail(struct shard_store *s, enum disk_fault fault, const char *what, enum err e)
{
    if (s->failed)
        return;
    s->failed = s->stats.failed = true;
    s->stats.failed_at = sys_now();
    s->failed_by = fault;
    s->drilled = is_drilled(s, fault);
    log_error("store", "%s: %s: %s. The disk has failed%s", s->directory, what, err_text(e),
              s->drilled ? ", by a drill" : "");
    writer_wake_all(s);
    sys_cond_broadcast(&s->changed);
    sys_cond_broadcast(&s->house);
}

static bool is_gone(struct shard_store *s)
{
    struct superblock found;
    enum err e = superblock_read(s->directory, &found, NULL);
    return drill_is(s, DRILL_GONE) || e == ERR_NOT_FOUND ||
           (e == OK && !uuid_equal(&found.disk, &s->superblock.disk));
}

static bool is_read_only(struct shard_store *s)
{
    char path[SYS_PATH_MAX];
    struct sys_file *f = NULL;
    enum err e = disk_path(s->directory, "probe", path);
    if (e == OK)
        e = sys_file_open(path, SYS_OPEN_WRITE, &f);
    if (e == OK)
        sys_file_close(f);
    return e == ERR_READ_ONLY || drill_is(s, DRILL_READ_ONLY);
}

void fault_settle(struct shard_store *s)
{
    if (s->stats.fault != DISK_FAULT_NONE)
        return;
    enum disk_fault found = is_gone(s)        ? DISK_FAULT_GONE
                            : is_read_only(s) ? DISK_FAULT_READ_ONLY
                                              : DISK_FAULT_NONE;
    sys_mutex_lock(&s->lock);
    s->stats.fault = found ? found : s->failed_by;
    sys_mutex_unlock(&s->lock);
    if (found == DISK_FAULT_GONE)
        log_error("store",
                  "%s is gone, or not this disk any more: it is used again when it is back",
                  s->directory);
    else if (found == DISK_FAULT_READ_ONLY)
        log_error("store", "%s: its file system is read-only: see the kernel's log, replace it",
                  s->directory);
    else if (!s->drilled)
        log_error("store", "%s: replace it, the cluster rebuilds it fault=%s", s->directory,
                  disk_fault_name(s->failed_by));
}

void fault_watch(struct shard_store *s)
{
    int64_t now = sys_now();
    if (now - s->looked_at < LOOK_EVERY)
        return;
    s->looked_at = now;
    if (!is_gone(s))
        return;
    sys_mutex_lock(&s->lock);
    store_fail(s, DISK_FAULT_GONE, "its superblock", ERR_NOT_FOUND);
    sys_mutex_unlock(&s->lock);
}

void fault_read_failed(struct shard_store *s, const struct place *place)
{
    int64_t now = sys_now();
    unsigned others = 0;
    s->stats.io_errors++;
    if (drill_on(s, DRILL_READS))
        return;
    for (unsigned i = 0; i < READS_MAX; i++) {
        const struct unreadable *u = &s->unreadable[i];
        if (u->place.extent == 0 || now - u->since > READS_WINDOW)
            continue;
        if (u->place.extent == place->extent && u->place.offset == place->offset)
            return;
        others++;
    }
    s->unreadable[s->unreadable_at] = (struct unreadable){*place, now};
    s->unreadable_at = (s->unreadable_at + 1) % READS_MAX;
    if (others + 1 >= READS_MAX)
        store_fail(s, DISK_FAULT_READS, "too many shards cannot be read", ERR_IO);
}

/* ---- its files ---- */

enum err store_write(struct shard_store *s, struct sys_file *f, uint64_t at, const void *data,
                     size_t n)
{
    enum err e = drill_is(s, DRILL_READ_ONLY) ? ERR_READ_ONLY : sys_file_write(f, at, data, n);
    return e == OK ? OK : store_write_failed(s, e);
}

enum err store_write_failed(struct shard_store *s, enum err e)
{
    if (e != ERR_NO_SPACE) /* told by its mark, once */
        log_error("store", "%s: a write has failed: %s", s->directory, err_text(e));
    sys_mutex_lock(&s->lock);
    s->stats.io_errors += e == ERR_IO;
    if (e == ERR_READ_ONLY)
        store_fail(s, DISK_FAULT_READ_ONLY, "write", e);
    sys_mutex_unlock(&s->lock);
    return e == ERR_READ_ONLY ? ERR_DISK_FAILED : e;
}

enum err store_sync(struct shard_store *s, struct sys_file *f, const char *what)
{
    enum err e = drill_is(s, DRILL_SYNC) ? ERR_IO : sys_file_sync(f);
    if (e == OK)
        return OK;
    sys_mutex_lock(&s->lock);
    store_fail(s, DISK_FAULT_SYNC, what, e);
    sys_mutex_unlock(&s->lock);
    return ERR_DISK_FAILED;
}

enum err store_read(struct shard_store *s, struct extent *e, uint64_t offset, uint8_t *out,
                    size_t n)
{
    uint64_t spot = round_down(offset, SPOT_EVERY) + SPOT_AT;
    spot += spot < offset ? SPOT_EVERY : 0;
    if (spot < offset + n && drill_is(s, DRILL_READS))
        return ERR_IO;
    enum err error = extent_read(e, offset, out, n);
    if (error == OK && spot < offset + n && drill_is(s, DRILL_ROT))
        for (; spot < offset + n; spot += SPOT_EVERY)
            out[spot - offset] ^= 1;
    return error;
}
