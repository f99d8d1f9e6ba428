#include "common/client/map_cache.h"
#include <assert.h>
#include "common/base/arena.h"
#include "common/client/metadata_client.h"
#include "common/sys/sys.h"

/* One immutable map; lives until nobody holds it any more. */
struct version {
    struct version *next;
    struct cluster_map *map;
    uint32_t references; /* one of them is the cache's own while it is the newest */
};

struct map_cache {
    struct metadata_client *metadata;
    struct sys_mutex lock;
    struct sys_cond changed;  /* a fetch ended */
    struct version *versions; /* newest first */
    uint64_t seen;            /* highest epoch heard of */
    uint64_t fetches;         /* that ended, good or bad */
    bool fetching;
    enum err last_error;
};

static struct version *version_new(struct cluster_map *map)
{
    struct version *v = sys_alloc(sizeof *v);
    v->map = map;
    v->references = 1;
    return v;
}

struct map_cache *map_cache_new(struct metadata_client *metadata)
{
    struct map_cache *c = sys_alloc(sizeof *c);
    c->metadata = metadata;
    sys_mutex_init(&c->lock);
    sys_cond_init(&c->changed);
    c->versions = version_new(cluster_map_new());
    return c;
}

/* Locked. Drops one reference of v; frees it with the last. */
static void version_unref(struct map_cache *c, struct version *v)
{
    assert(v->references > 0);
    if (--v->references > 0)
        return;
    struct version **at = &c->versions;
    while (*at != v)
        at = &(*at)->next;
    *at = v->next;
    cluster_map_free(v->map);
    sys_free(v);
}

void map_cache_free(struct map_cache *c)
{
    if (!c)
        return;
    version_unref(c, c->versions);
    assert(!c->versions && !c->fetching);
    sys_cond_release(&c->changed);
    sys_mutex_release(&c->lock);
    sys_free(c);
}

const struct cluster_map *map_cache_ref(struct map_cache *c)
{
    sys_mutex_lock(&c->lock);
    struct version *v = c->versions;
    v->references++;
    sys_mutex_unlock(&c->lock);
    return v->map;
}

void map_cache_unref(struct map_cache *c, const struct cluster_map *map)
{
    if (!map)
        return;
    sys_mutex_lock(&c->lock);
    struct version *v = c->versions;
    while (v && v->map != map)
        v = v->next;
    assert(v);
    version_unref(c, v);
    sys_mutex_unlock(&c->lock);
}

/* Locked. Makes map the newest version. */
static void publish(struct map_cache *c, struct cluster_map *map)
{
    struct version *old = c->versions;
    struct version *v = version_new(map);
    v->next = old;
    c->versions = v;
    version_unref(c, old);
    if (map->epoch > c->seen)
        c->seen = map->epoch;
}

/* Fetches what changed since our epoch and publishes it. Not locked. */
static enum err fetch(struct map_cache *c, const struct request_context *request)
{
    struct arena arena;
    arena_init(&arena);
    const struct cluster_map *old = map_cache_ref(c);
    GetMap get = GET_MAP__INIT;
    get.since = old->epoch;
    Query query = QUERY__INIT;
    query.body_case = QUERY__BODY_GET_MAP;
    query.get_map = &get;
    Answer *answer = NULL;
    enum err e = metadata_query(c->metadata, request, &query, &arena, &answer);
    if (e == OK && !answer->map)
        e = ERR_FORMAT;
    if (e == OK && answer->map->epoch > old->epoch) {
        struct cluster_map *map = cluster_map_copy(old);
        e = map_apply_delta(map, answer->map);
        sys_mutex_lock(&c->lock);
        if (e == OK && map->epoch > c->versions->map->epoch)
            publish(c, map);
        else
            cluster_map_free(map);
        sys_mutex_unlock(&c->lock);
    }
    map_cache_unref(c, old);
    arena_release(&arena);
    return e;
}

enum err map_cache_refresh(struct map_cache *c, const struct request_context *request,
                           uint64_t epoch)
{
    sys_mutex_lock(&c->lock);
    uint64_t asked_at = c->fetches + (c->fetching ? 1 : 0);
    enum err e = OK;
    for (;;) {
        /* A fetch that began after the call, or a map that is new enough, is what was asked for. */
        if (epoch > 0 && c->versions->map->epoch >= epoch)
            break;
        if (c->fetches > asked_at) {
            e = c->last_error;
            break;
        }
        if (c->fetching) {
            if (sys_cond_wait(&c->changed, &c->lock, request->deadline) == ERR_TIMEOUT) {
                e = ERR_TIMEOUT;
                break;
            }
            continue;
        }
        c->fetching = true;
        sys_mutex_unlock(&c->lock);
        e = fetch(c, request);
        sys_mutex_lock(&c->lock);
        c->fetching = false;
        c->fetches++;
        c->last_error = e;
        sys_cond_broadcast(&c->changed);
        break;
    }
    /* The group may be behind the epoch that a frame named: that is no error, only no news. */
    sys_mutex_unlock(&c->lock);
    return e;
}

void map_cache_seen(void *cache, uint64_t epoch)
{
    struct map_cache *c = cache;
    sys_mutex_lock(&c->lock);
    if (epoch > c->seen)
        c->seen = epoch;
    sys_mutex_unlock(&c->lock);
}

uint64_t map_cache_epoch(void *cache)
{
    struct map_cache *c = cache;
    sys_mutex_lock(&c->lock);
    uint64_t epoch = c->versions->map->epoch;
    sys_mutex_unlock(&c->lock);
    return epoch;
}

bool map_cache_behind(struct map_cache *c)
{
    sys_mutex_lock(&c->lock);
    bool behind = c->seen > c->versions->map->epoch;
    sys_mutex_unlock(&c->lock);
    return behind;
}

/* Locked. Whether a line says anything that the map does not know: some slot changed hands later, and
 * none earlier (a server that is itself behind). */
static bool is_news(const struct cluster_pool *pool, const PgInfo *pg)
{
    bool newer = false;
    if (pg->pg >= pool_pg_count(pool) || pg->n_slots != pool_width(pool))
        return false;
    for (unsigned i = 0; i < pg->n_slots; i++) {
        if (pg->slots[i]->n_holders == 0)
            return false;
        uint64_t mine = slot_since(pool_slot(pool, pg->pg, i));
        uint64_t theirs = pg->slots[i]->holders[0]->since_epoch;
        if (theirs < mine)
            return false;
        newer |= theirs > mine;
    }
    return newer;
}

void map_cache_take_pg(struct map_cache *c, const PgInfo *pg)
{
    sys_mutex_lock(&c->lock);
    const struct cluster_pool *pool = cluster_map_pool(c->versions->map, pg->pool);
    if (pool && is_news(pool, pg)) {
        /* The line alone is newer, not the map: its epoch stays, so that the next delta brings all. */
        struct cluster_map *map = cluster_map_copy(c->versions->map);
        if (map_apply_pg(map, pg) == OK)
            publish(c, map);
        else
            cluster_map_free(map);
    }
    sys_mutex_unlock(&c->lock);
}
