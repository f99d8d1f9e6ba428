/* How much room a disk has. The file system is asked once an extent and twice a flush; in between
 * only preallocated space is used, which it has counted already.
 *
 * Its index needs some to be opened and to be deleted from, and others' files may have taken the last byte: a
 * ballast (common/sys/ballast.h) of a 64th of the file system, at most 32 MiB, gives way when less than half of
 * its size is left, and is made again when there is four times as much. Others that go on writing take what it
 * gives, so one half is kept for what cannot do without: an open, deletes when next to nothing is left, an index
 * that has to be made anew. */
#include "chunkserver/store_internal.h"
#include "common/sys/ballast.h"
#include "common/sys/log.h"

void space_refresh(struct shard_store *s)
{
    uint64_t total = 0, unused = 0;
    enum err e = sys_disk_space(s->directory, &total, &unused);
    if (e) {
        log_warn("store", "%s: cannot tell the free space: %s", s->directory, err_text(e));
        return;
    }
    sys_mutex_lock(&s->lock);
    s->space.fs_total = total;
    s->space.fs_free = unused;
    s->space.capacity = s->config.capacity_bytes;
    if (s->space.capacity == 0 || s->space.capacity > total)
        s->space.capacity = total;
    sys_mutex_unlock(&s->lock);
}

/* Bytes that are neither taken nor spoken for, down to the last. */
static uint64_t unused_bytes(const struct shard_store *s)
{
    uint64_t unused = s->space.fs_free;
    if (s->current && !s->current->sealed)
        unused += s->current->bytes - s->current->next;
    /* What open writers will still take of the file system is not seen by it yet. */
    unused = unused > s->writer_bytes ? unused - s->writer_bytes : 0;
    if (s->config.capacity_bytes == 0)
        return unused;
    uint64_t used = s->stats.shard_bytes + s->writer_bytes;
    uint64_t by_limit = s->space.capacity > used ? s->space.capacity - used : 0;
    return by_limit < unused ? by_limit : unused;
}

void space_tell(struct shard_store *s)
{
    static const char *const names[] = {"below all marks again", "nearfull",
                                        "backfillfull: nothing is moved onto it any more",
                                        "full: it takes no writes any more"};
    sys_mutex_lock(&s->lock);
    enum disk_mark mark = space_mark(s);
    bool changed = mark != s->told_mark, up = mark > s->told_mark;
    uint64_t left = unused_bytes(s);
    s->told_mark = mark;
    sys_mutex_unlock(&s->lock);
    if (changed)
        log_line(up ? LOG_WARN : LOG_INFO, "store", "%s: the disk is %s free_mib=%llu",
                 s->directory, names[mark], (unsigned long long)(left >> 20));
}

enum { BALLAST_PART = 64, BALLAST_MAX = 32 << 20, BALLAST_AGAIN = 4, BALLAST_NEED = 8 };

void space_ballast(struct shard_store *s, bool all)
{
    space_refresh(s);
    sys_mutex_lock(&s->lock);
    uint64_t bytes = s->ballast_size, unused = s->space.fs_free;
    bool wanted = s->tail.count > 0 || s->dead.count > 0 || s->dirty; /* a write of the index */
    sys_mutex_unlock(&s->lock);
    all |= wanted && unused < bytes / BALLAST_NEED;
    uint64_t left = all ? 0 : round_down(bytes / 2, SYS_BLOCK);
    if (bytes == 0)
        return;
    enum err e = OK;
    if (s->ballast > left && unused < bytes / 2) {
        e = ballast_give(s->directory, left);
        log_error("store", "%s: the disk is all but full, the ballast gives way left_kib=%llu: %s",
                  s->directory, (unsigned long long)(left >> 10), err_text(e));
        s->ballast = e == OK ? left : e == ERR_NOT_FOUND ? 0 : s->ballast;
        space_refresh(s);
    } else if (!s->no_ballast && s->ballast < bytes && unused > BALLAST_AGAIN * bytes) {
        e = ballast_make(s->directory, bytes);
        s->ballast = e == OK ? bytes : s->ballast;
        s->no_ballast = e != OK;
        if (e != OK)
            log_warn("store", "%s: no ballast can be made: %s", s->directory, err_text(e));
    }
}

/* How large it is to be follows from the file system as it is now: later another one may be in its place. */
void space_ballast_open(struct shard_store *s)
{
    space_refresh(s);
    uint64_t part = s->space.fs_total / BALLAST_PART;
    s->ballast_size = round_down(part < BALLAST_MAX ? part : BALLAST_MAX, SYS_BLOCK);
    s->ballast = ballast_bytes(s->directory);
    if (s->ballast > 0)
        space_ballast(s, true);
}

static uint64_t beyond(const struct shard_store *s, unsigned percent)
{
    return s->space.capacity / 100 * (100 - percent);
}

uint64_t space_available(const struct shard_store *s)
{
    uint64_t unused = unused_bytes(s), reserve = beyond(s, s->config.full_percent);
    if (drill_on(s, DRILL_FULL))
        return 0;
    return unused > reserve ? unused - reserve : 0;
}

enum disk_mark space_mark(const struct shard_store *s)
{
    uint64_t unused = unused_bytes(s), available = space_available(s);
    /* Some bytes are always left: full is what refuses shards, until that one would fit. */
    if (available == 0 || available < s->space.refused)
        return DISK_MARK_FULL;
    if (unused <= beyond(s, s->config.backfillfull_percent))
        return DISK_MARK_BACKFILLFULL;
    return unused <= beyond(s, s->config.nearfull_percent) ? DISK_MARK_NEARFULL : DISK_MARK_NONE;
}
