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

uint64_t space_available(const struct shard_store *s)
{
    uint64_t unused = s->space.fs_free;
    if (s->current && !s->current->sealed)
        unused += s->current->bytes - s->current->next;
    uint64_t reserve = s->space.capacity / 100 * (100 - s->config.full_percent);
    /* What open writers will still take of the file system is not seen by it yet. */
    uint64_t taken = reserve + s->writer_bytes;
    uint64_t by_disk = unused > taken ? unused - taken : 0;
    if (s->config.capacity_bytes == 0)
        return by_disk;
    uint64_t used = s->stats.shard_bytes + taken;
    uint64_t by_limit = s->space.capacity > used ? s->space.capacity - used : 0;
    return by_limit < by_disk ? by_limit : by_disk;
}
