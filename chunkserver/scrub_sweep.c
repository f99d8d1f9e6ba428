/* A light pass: the disk's index against what metadata names, both ways, placement group by placement
 * group. What ought to be here and is not becomes a verdict and so a repair order. What is here is
 * judged by metadata alone (hazard 5): the disk sends what it holds, page by page, and removes what is
 * called dead.
 *
 *  W1  Nothing is removed but by a verdict on it, whose slot has had the same newest holder ever since
 *      (hazard 17: group_enter), and no copy that was committed after the verdict was asked for.
 *  W2  A verdict that does not come, or that is not acted on, is asked for again by the next pass. */
#include <string.h>
#include "chunkserver/scrub_internal.h"

enum { PAGE = 256 };
#define REMOVE_WAIT (10 * SYS_SECOND)
#define PAGE_PAUSE  (10 * SYS_MS) /* between two pages: a pass is no load that anybody notices */

/* ---- what ought to be here ---- */

/* The slot that is this disk's alone, -1: none; others are looked through by backfill. */
static int own_slot(struct scrub_disk *d, disk_id disk, uint32_t pool_id, uint32_t pg)
{
    int found = -1;
    struct map_cache *cache = d->scrub->service->map;
    const struct cluster_map *map = map_cache_ref(cache);
    const struct cluster_pool *pool = cluster_map_pool(map, pool_id);
    for (unsigned i = 0; pool && i < pool_width(pool); i++) {
        const struct pg_slot *slot = pool_slot(pool, pg, i);
        if (slot && slot->count == 1 && slot_newest(slot) == disk)
            found = (int)i;
    }
    map_cache_unref(cache, map);
    return found;
}

static enum err compare_one(struct scrub_disk *d, disk_id disk, uint32_t pool, unsigned slot,
                            const ChunkEntry *entry)
{
    struct shard_id id = {.index = (uint8_t)slot};
    struct stored_shard shard;
    if (entry->chunk_id.len != CHUNK_ID_BYTES)
        return ERR_FORMAT;
    if (entry->missing >> slot & 1)
        return OK; /* known, and ordered */
    chunk_id_decode(entry->chunk_id.data, &id.chunk);
    enum err e = shard_store_stat(d->disk->store, pool, &id, &shard);
    bool there = e == OK && shard.nonce == entry->nonce;
    if (there || (e != OK && e != ERR_NOT_FOUND))
        return e;
    if (!slot_is_sole_holder(d->scrub->service, disk, pool, &id))
        return OK;
    scrub_count(d, 1, 0);
    return scrub_tell(d, pool, &id) ? OK : ERR_STOPPING;
}

static enum err compare_group(struct scrub_disk *d, disk_id disk, uint32_t pool, uint32_t pg)
{
    int slot = own_slot(d, disk, pool, pg);
    if (slot < 0)
        return OK;
    struct arena arenas[2]; /* the page before holds the token of this one */
    arena_init(&arenas[0]);
    arena_init(&arenas[1]);
    ProtobufCBinaryData after = {0};
    enum err e = OK;
    bool more = true;
    for (unsigned page = 0; e == OK && more; page++) {
        const struct request_context request = scrub_request(d);
        Answer *answer = NULL;
        arena_clear(&arenas[page % 2]);
        e = group_chunks(d->scrub->service->metadata, &request, pool, pg, after, PAGE,
                         &arenas[page % 2], &answer);
        if (e != OK)
            break;
        for (size_t i = 0; e == OK && i < answer->n_chunks; i++)
            e = compare_one(d, disk, pool, (unsigned)slot, answer->chunks[i]);
        after = answer->next;
        more = answer->truncated && after.len > 0;
        if (e == OK && answer->n_chunks > 0 && !scrub_wait(d, sys_now() + PAGE_PAUSE))
            e = ERR_STOPPING;
    }
    arena_release(&arenas[0]);
    arena_release(&arenas[1]);
    return e;
}

/* ---- what is here ---- */

static bool still_judged(struct chunk_service *s, uint32_t pool_id, uint32_t pg,
                         const struct scrub_verdict *v)
{
    const struct cluster_map *map = map_cache_ref(s->map);
    const struct cluster_pool *pool = cluster_map_pool(map, pool_id);
    const struct pg_slot *slot = pool ? pool_slot(pool, pg, v->id.index) : NULL;
    bool same = slot && slot->count > 0 && slot_since(slot) == v->since_epoch;
    map_cache_unref(s->map, map);
    return same;
}

enum err scrub_remove(struct chunk_disk *d, uint32_t pool, uint32_t pg, uint64_t newest,
                      const struct scrub_verdict *v, size_t count, uint64_t *removed)
{
    enum err e = OK;
    *removed = 0;
    group_enter(d, pool, pg);
    for (size_t i = 0; e == OK && i < count; i++) {
        if (!still_judged(d->service, pool, pg, &v[i]))
            continue;
        e = shard_store_drop(d->store, pool, &v[i].id, newest, sys_now() + REMOVE_WAIT);
        *removed += e == OK;
        if (e == ERR_MISMATCH)
            e = OK;
    }
    group_leave(d);
    return e;
}

static enum err ask(struct scrub_disk *d, disk_id disk, uint32_t pool,
                    const struct stored_shard *shards, size_t n, struct arena *arena,
                    Answer **answer)
{
    JudgeShards body = JUDGE_SHARDS__INIT;
    body.disk = disk;
    body.pool = pool;
    body.shards = arena_alloc(arena, n * sizeof *body.shards);
    for (size_t i = 0; i < n; i++) {
        ShardClaim *claim = body.shards[body.n_shards++] = arena_alloc(arena, sizeof *claim);
        shard_claim__init(claim);
        claim->chunk_id.data = arena_alloc(arena, CHUNK_ID_BYTES);
        claim->chunk_id.len = CHUNK_ID_BYTES;
        chunk_id_encode(&shards[i].id.chunk, claim->chunk_id.data);
        claim->index = shards[i].id.index;
        claim->began = shards[i].began;
    }
    Query query = QUERY__INIT;
    query.body_case = QUERY__BODY_JUDGE_SHARDS;
    query.judge_shards = &body;
    const struct request_context request = scrub_request(d);
    enum err e = metadata_query(d->scrub->service->metadata, &request, &query, arena, answer);
    return e == OK && (*answer)->n_verdicts != n ? ERR_FORMAT : e;
}

struct judged {
    uint64_t young, removed;
};

static enum err judge_page(struct scrub_disk *d, disk_id disk, uint32_t pool, uint32_t pg,
                           const struct stored_shard *shards, size_t n, uint64_t newest,
                           struct judged *out)
{
    struct scrub_verdict dead[PAGE];
    size_t count = 0;
    struct arena arena;
    Answer *answer = NULL;
    uint64_t removed = 0;
    arena_init(&arena);
    enum err e = ask(d, disk, pool, shards, n, &arena, &answer);
    for (size_t i = 0; e == OK && i < n; i++) {
        const ShardVerdict *v = answer->verdicts[i];
        out->young += v->verdict == VERDICT__VERDICT_YOUNG;
        if (v->verdict == VERDICT__VERDICT_DEAD)
            dead[count++] =
                (struct scrub_verdict){.id = shards[i].id, .since_epoch = v->since_epoch};
    }
    arena_release(&arena);
    if (e == OK && count > 0)
        e = scrub_remove(d->disk, pool, pg, newest, dead, count, &removed);
    out->removed += removed;
    scrub_count(d, 0, removed);
    return e;
}

static enum err judge_group(struct scrub_disk *d, disk_id disk, uint32_t pool, uint32_t pg,
                            uint8_t pg_bits, struct judged *out)
{
    uint64_t first, last;
    struct shard_store *store = d->disk->store;
    struct stored_shard *shards = sys_alloc(PAGE * sizeof *shards);
    struct shard_id after;
    size_t n = PAGE;
    enum err e = OK;
    pg_hash_range(pg, pg_bits, &first, &last);
    for (unsigned page = 0; e == OK && n == PAGE; page++) {
        struct shard_store_stats stats;
        shard_store_stats(store, &stats); /* before the list: what comes behind it is younger */
        e = shard_store_list(store, pool, first, last, page ? &after : NULL, shards, PAGE, &n);
        if (e != OK || n == 0 || stats.synced_sequence == 0)
            break;
        after = shards[n - 1].id;
        e = judge_page(d, disk, pool, pg, shards, n, stats.synced_sequence, out);
        if (e == OK && !scrub_wait(d, sys_now() + PAGE_PAUSE))
            e = ERR_STOPPING;
    }
    sys_free(shards);
    return e;
}

/* ---- a pass ---- */

struct pool_facts {
    uint32_t id, pgs;
    uint8_t pg_bits;
};

static size_t pools_of(struct map_cache *cache, struct pool_facts *out)
{
    size_t n = 0;
    const struct cluster_map *map = map_cache_ref(cache);
    for (size_t i = 0; i < map->pool_count; i++)
        if (pool_assigned(&map->pools[i]))
            out[n++] = (struct pool_facts){.id = map->pools[i].id,
                                           .pgs = pool_pg_count(&map->pools[i]),
                                           .pg_bits = map->pools[i].pg_bits};
    map_cache_unref(cache, map);
    return n;
}

enum err scrub_sweep(struct scrub_disk *d)
{
    struct pool_facts pools[CLUSTER_POOLS_MAX];
    struct judged judged = {0};
    struct map_cache *cache = d->scrub->service->map;
    disk_id disk = chunk_disk_id(d->disk);
    const struct request_context request = scrub_request(d);
    enum err e = map_cache_refresh(cache, &request, 0);
    size_t n = e == OK ? pools_of(cache, pools) : 0;
    for (size_t i = 0; i < n; i++)
        for (uint32_t pg = 0; e == OK && pg < pools[i].pgs; pg++) {
            uint64_t missing = d->shown.missing; /* changed by this thread alone */
            bool ours = own_slot(d, disk, pools[i].id, pg) >= 0;
            e = compare_group(d, disk, pools[i].id, pg);
            if (e == OK)
                e = judge_group(d, disk, pools[i].id, pg, pools[i].pg_bits, &judged);
            if (e == OK && ours)
                scrub_group_compared(d, pools[i].id, pg, (uint32_t)(d->shown.missing - missing));
        }
    if (judged.removed > 0)
        log_info("scrub", "removed shards that nothing needs any more disk=%u shards=%llu", disk,
                 (unsigned long long)judged.removed);
    if (e == OK) {
        sys_mutex_lock(&d->scrub->lock);
        d->shown.young = judged.young;
        sys_mutex_unlock(&d->scrub->lock);
    }
    return e;
}
