/* A deep pass: every block of every record that the index names is read and compared with its checksum,
 * in the order of the index, at the allowed rate and behind what others want of the disk. A bad one
 * becomes the owning disk's verdict, and so a repair order; its record stays until the replacement is
 * committed, which takes its place (shard_store.h S3). */
#include "chunkserver/scrub_internal.h"
#include "common/sys/log.h"

enum { PAGE = 64, YIELDS_MAX = 50 };
#define YIELD       (20 * SYS_MS)
#define VERIFY_WAIT (60 * SYS_SECOND)

/* The lowest pool from `least` on; 0: none. */
static uint32_t pool_from(struct scrub_disk *d, uint32_t least)
{
    uint32_t found = 0;
    struct map_cache *cache = d->scrub->service->map;
    const struct cluster_map *map = map_cache_ref(cache);
    for (size_t i = 0; i < map->pool_count && found == 0; i++) /* M1: they ascend */
        if (map->pools[i].id >= least)
            found = map->pools[i].id;
    map_cache_unref(cache, map);
    return found;
}

/* Until the rate allows the next shard; and while others wait for this disk, for a while. */
static bool may_read(struct scrub_disk *d)
{
    if (!scrub_wait(d, d->rate_at))
        return false;
    for (unsigned i = 0; i < YIELDS_MAX; i++) {
        struct shard_store_stats stats;
        shard_store_stats(d->disk->store, &stats);
        if (stats.queue == 0 && stats.staging == 0)
            break;
        if (!scrub_wait(d, sys_now() + YIELD))
            return false;
    }
    return true;
}

static void was_read(struct scrub_disk *d, uint32_t bytes)
{
    int64_t now = sys_now();
    double rate = (double)d->scrub->service->scrub_bytes_per_s;
    if (d->rate_at < now)
        d->rate_at = now;
    d->rate_at += (int64_t)((double)bytes * (double)SYS_SECOND / rate);
    d->state.bytes += bytes;
}

/* A record that the index names and that is not there is missing; one that was deleted meanwhile is
 * not. */
static bool is_bad(struct scrub_disk *d, const struct stored_shard *shard, enum err verdict)
{
    struct stored_shard now;
    if (verdict != ERR_NOT_FOUND)
        return verdict == ERR_CORRUPT || verdict == ERR_IO;
    return shard_store_stat(d->disk->store, shard->pool, &shard->id, &now) == OK;
}

static void group_of(struct scrub_disk *d, const struct stored_shard *shard, bool bad)
{
    struct map_cache *cache = d->scrub->service->map;
    const struct cluster_map *map = map_cache_ref(cache);
    const struct cluster_pool *pool = cluster_map_pool(map, shard->pool);
    bool known = pool && pool_assigned(pool);
    uint32_t pg = known ? pg_of_chunk(pool, &shard->id.chunk) : 0;
    map_cache_unref(cache, map);
    if (known)
        scrub_group_reads(d, pg, bad);
}

static enum err read_one(struct scrub_disk *d, const struct stored_shard *shard)
{
    if (!may_read(d))
        return ERR_STOPPING;
    int64_t begun = sys_now();
    d->rate_at = begun;
    enum err e =
        shard_store_verify(d->disk->store, shard->pool, &shard->id, NULL, begun + VERIFY_WAIT);
    was_read(d, shard->length);
    bool bad = is_bad(d, shard, e);
    group_of(d, shard, bad);
    if (bad) {
        d->state.bad++;
        log_warn("scrub", "a shard is bad: %s disk=%u pool=%u index=%u", err_text(e),
                 chunk_disk_id(d->disk), shard->pool, shard->id.index);
        e = scrub_tell(d, shard->pool, &shard->id) ? OK : ERR_STOPPING;
    } else if (e == ERR_NOT_FOUND) {
        e = OK;
    }
    if (e == OK) {
        d->state.anywhere = true;
        d->state.pool = shard->pool;
        d->state.at = shard->id;
        scrub_progress(d);
    }
    return e;
}

enum err scrub_read_some(struct scrub_disk *d, bool *over)
{
    struct stored_shard shards[PAGE];
    struct scrub_state *s = &d->state;
    size_t n = 0;
    *over = false;
    if (s->pool == 0)
        s->pool = pool_from(d, 1);
    if (s->pool == 0) {
        *over = true;
        return OK;
    }
    enum err e = shard_store_list(d->disk->store, s->pool, 0, UINT64_MAX,
                                  s->anywhere ? &s->at : NULL, shards, PAGE, &n);
    for (size_t i = 0; e == OK && i < n; i++)
        e = read_one(d, &shards[i]);
    if (e != OK || n == PAGE)
        return e;
    scrub_groups_read(d);
    uint32_t next = pool_from(d, s->pool + 1);
    *over = next == 0;
    s->anywhere = false;
    s->pool = next;
    return OK;
}
