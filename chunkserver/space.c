/* How much room a disk has. The file system is asked once an extent and once a flush; in between
 * only preallocated space is used, which it has counted already. */
#include "chunkserver/store_internal.h"
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

static uint64_t beyond(const struct shard_store *s, unsigned percent)
{
    return s->space.capacity / 100 * (100 - percent);
}

uint64_t space_available(const struct shard_store *s)
{
    uint64_t unused = unused_bytes(s), reserve = beyond(s, s->config.full_percent);
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
