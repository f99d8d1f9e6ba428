/* The copy of the cluster map: whole and in deltas, one fetch for all who wait, single lines, and
 * messages that make no sense. */
#include "tests/unit/client/cluster_rig.h"

enum { POOL_BYTES = 1 << 20 };

/* A metadata that answers slowly, or with what the test says. */
struct source {
    struct rig *rig;
    int64_t slow;
    unsigned queries;
    uint64_t last_since;
    MapInfo *instead;
    enum err error;
};

static enum err ask(void *context, uint16_t type, const ProtobufCMessage *body, struct arena *arena,
                    int64_t deadline, ProtobufCMessage **reply)
{
    struct source *s = context;
    s->queries++;
    s->last_since = ((const Query *)body)->get_map->since;
    if (s->slow)
        sys_sleep_until(sys_now() + s->slow);
    if (s->error)
        return s->error;
    enum err e = rig_metadata(s->rig, type, body, arena, deadline, reply);
    if (e == OK && s->instead)
        ((Answer *)*reply)->map = s->instead;
    return e;
}

struct fixture {
    struct rig *rig;
    struct source source;
    struct metadata_client *metadata;
    struct map_cache *cache;
};

static struct fixture *fixture_new(void)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->rig = rig_new(POOL_BYTES);
    f->source.rig = f->rig;
    struct metadata_local local = {.id = 1, .context = &f->source, .call = ask};
    struct metadata_client_config config = {
        .node = f->rig->node, .locals = &local, .local_count = 1, .name = "map"};
    timeouts_default(&config.timeouts);
    CHECK_OK(metadata_client_new(&config, &f->metadata));
    f->cache = map_cache_new(f->metadata);
    return f;
}

static void fixture_free(struct fixture *f)
{
    map_cache_free(f->cache);
    metadata_client_free(f->metadata);
    rig_free(f->rig);
    free(f);
}

static enum err refresh(struct fixture *f, uint64_t epoch)
{
    struct request_context c = rig_context(2 * SYS_SECOND);
    return map_cache_refresh(f->cache, &c, epoch);
}

static void whole_and_deltas(void)
{
    struct fixture *f = fixture_new();
    const struct cluster_map *empty = map_cache_ref(f->cache);
    CHECK_EQ(empty->epoch, 0);
    CHECK_EQ(empty->disk_count, 0);
    CHECK_OK(refresh(f, 0));
    CHECK_EQ(f->source.last_since, 0);
    const struct cluster_map *first = map_cache_ref(f->cache);
    CHECK_EQ(first->epoch, f->rig->map->epoch);
    CHECK_EQ(first->disk_count, DISKS);
    CHECK_EQ(first->pool_count, POOLS);
    for (unsigned i = 0; i < DISKS; i++)
        CHECK(memcmp(&first->disks[i], &f->rig->map->disks[i], sizeof *first->disks) == 0);
    for (unsigned i = 0; i < POOLS; i++) {
        const struct cluster_pool *a = &first->pools[i], *b = &f->rig->map->pools[i];
        CHECK(a->k == b->k && a->m == b->m && a->cell_bytes == b->cell_bytes);
        CHECK(a->domain == b->domain && strcmp(a->name, b->name) == 0);
        CHECK(memcmp(a->slots, b->slots, pool_width(a) * sizeof *a->slots) == 0);
    }
    /* A delta: one disk gone, one down. Old versions stay what they were for who holds them. */
    uint64_t epoch = first->epoch;
    DiskInfo gone = DISK_INFO__INIT, down = DISK_INFO__INIT;
    gone.id = 14;
    gone.removed = true;
    uint8_t uuid[UUID_BYTES] = {2};
    down.id = 2;
    down.uuid = (ProtobufCBinaryData){UUID_BYTES, uuid};
    down.weight = 10;
    DiskInfo *disks[] = {&gone, &down};
    MapInfo delta = MAP_INFO__INIT;
    delta.since = epoch;
    delta.epoch = epoch + 1;
    delta.disks = disks;
    delta.n_disks = 2;
    f->source.instead = &delta;
    map_cache_seen(f->cache, epoch + 1);
    CHECK(map_cache_behind(f->cache));
    CHECK_OK(refresh(f, epoch + 1));
    CHECK_EQ(f->source.last_since, epoch);
    CHECK(!map_cache_behind(f->cache));
    CHECK_EQ(map_cache_epoch(f->cache), epoch + 1);
    const struct cluster_map *second = map_cache_ref(f->cache);
    CHECK(cluster_map_disk(second, 14) == NULL && cluster_map_disk(first, 14) != NULL);
    CHECK(!cluster_map_disk(second, 2)->up && cluster_map_disk(first, 2)->up);
    CHECK(cluster_map_pool(second, P_4_2) != NULL);
    /* New enough already: nothing is asked. */
    unsigned before = f->source.queries;
    CHECK_OK(refresh(f, epoch));
    CHECK_EQ(f->source.queries, before);
    /* Whoever is too far behind gets a whole one, which leaves out what is gone. */
    DiskInfo *alone[] = {&down};
    MapInfo whole = MAP_INFO__INIT;
    whole.epoch = epoch + 2;
    whole.disks = alone;
    whole.n_disks = 1;
    struct cluster_map *map = cluster_map_copy(second);
    CHECK_OK(map_apply_delta(map, &whole));
    CHECK(map->disk_count == 1 && map->pool_count == 0 && map->epoch == epoch + 2);
    cluster_map_free(map);
    map_cache_unref(f->cache, first);
    map_cache_unref(f->cache, empty);
    map_cache_unref(f->cache, second);
    f->source.instead = NULL;
    fixture_free(f);
}

struct waiter {
    struct fixture *f;
    uint64_t epoch;
    enum err error;
    struct sys_thread *thread;
};

static void wait_for_map(void *arg)
{
    struct waiter *w = arg;
    w->error = refresh(w->f, w->epoch);
}

static void one_fetch_for_all(void)
{
    struct fixture *f = fixture_new();
    struct waiter waiters[20];
    f->source.slow = 100 * SYS_MS;
    int64_t began = sys_now();
    for (unsigned i = 0; i < 20; i++) {
        waiters[i] = (struct waiter){.f = f, .epoch = i % 2 ? 0 : f->rig->map->epoch};
        CHECK_OK(
            sys_thread_start(&waiters[i].thread, "waiter", 64 << 10, wait_for_map, &waiters[i]));
    }
    for (unsigned i = 0; i < 20; i++) {
        sys_thread_join(waiters[i].thread);
        CHECK_OK(waiters[i].error);
    }
    /* The first one's, and one that began after the others had asked for the latest. */
    CHECK(f->source.queries <= 2);
    CHECK(sys_now() - began < 300 * SYS_MS);
    /* One that fails, fails for all who waited for it; the next try is a new one. */
    f->source.error = ERR_UNSUPPORTED;
    CHECK_ERR(refresh(f, 0), ERR_UNSUPPORTED);
    f->source.error = OK;
    CHECK_OK(refresh(f, 0));
    /* An epoch that the group does not know yet is no error, only no news. */
    CHECK_OK(refresh(f, 1000));
    fixture_free(f);
}

static PgInfo *line(struct rig *rig, struct arena *a, uint32_t pool)
{
    MapInfo *info = rig_map_info(rig->map, a);
    return info->pgs[pool - 1];
}

static disk_id newest_of(struct fixture *f, uint32_t pool, unsigned slot)
{
    const struct cluster_map *map = map_cache_ref(f->cache);
    disk_id disk = slot_newest(pool_slot(cluster_map_pool(map, pool), 0, slot));
    map_cache_unref(f->cache, map);
    return disk;
}

static void single_lines(void)
{
    struct fixture *f = fixture_new();
    struct arena arena;
    arena_init(&arena);
    CHECK_OK(refresh(f, 0));
    uint64_t epoch = map_cache_epoch(f->cache);
    PgInfo *old = line(f->rig, &arena, P_4_2);
    rig_push(f->rig, P_4_2, 2, 12);
    PgInfo *new = line(f->rig, &arena, P_4_2);
    map_cache_take_pg(f->cache, new);
    CHECK_EQ(newest_of(f, P_4_2, 2), 12);
    CHECK_EQ(map_cache_epoch(f->cache), epoch); /* the rest is as old as before */
    /* A server that is behind cannot take it back. */
    map_cache_take_pg(f->cache, old);
    CHECK_EQ(newest_of(f, P_4_2, 2), 12);
    old->slots[0]->holders[0]->since_epoch = 1000; /* nor with something newer beside it */
    map_cache_take_pg(f->cache, old);
    CHECK_EQ(newest_of(f, P_4_2, 2), 12);
    /* Lines that fit nothing. */
    PgInfo bad = *new;
    bad.pool = 99;
    map_cache_take_pg(f->cache, &bad);
    bad = *new;
    bad.pg = 1;
    map_cache_take_pg(f->cache, &bad);
    bad = *new;
    bad.n_slots = 5;
    map_cache_take_pg(f->cache, &bad);
    Slot none = SLOT__INIT;
    Slot *slots[6] = {&none, &none, &none, &none, &none, &none};
    bad = *new;
    bad.slots = slots;
    map_cache_take_pg(f->cache, &bad);
    Holder many[SLOT_HOLDERS_MAX + 1], *list[SLOT_HOLDERS_MAX + 1];
    for (unsigned i = 0; i <= SLOT_HOLDERS_MAX; i++) {
        holder__init(&many[i]);
        many[i].disk = i + 1;
        many[i].since_epoch = 1000 - i;
        list[i] = &many[i];
    }
    none.holders = list;
    none.n_holders = SLOT_HOLDERS_MAX + 1;
    map_cache_take_pg(f->cache, &bad);
    CHECK_EQ(newest_of(f, P_4_2, 2), 12);
    CHECK_EQ(newest_of(f, P_4_2, 0), 1);
    arena_release(&arena);
    fixture_free(f);
}

/* What a whole map may not say: refused, and the map that was there stays. */
static void nonsense(void)
{
    struct fixture *f = fixture_new();
    struct arena arena;
    char text[400];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    arena_init(&arena);
    CHECK_OK(refresh(f, 0));
    uint64_t epoch = map_cache_epoch(f->cache);
    f->rig->map->epoch = epoch + 5;
    for (unsigned i = 0; i < 12; i++) {
        MapInfo *m = f->source.instead = rig_map_info(f->rig->map, &arena);
        switch (i) {
        case 0:
            m->disks[3]->address = text;
            break;
        case 1:
            m->disks[3]->zone = text;
            break;
        case 2:
            m->disks[3]->uuid.len = 3;
            break;
        case 3:
            m->disks[3]->admin_state = 77;
            break;
        case 4:
            m->disks[3]->id = 0;
            break;
        case 5:
            m->pools[0]->name = text;
            break;
        case 6:
            m->pools[0]->k = 1000;
            break;
        case 7:
            m->pools[0]->pg_bits = 60;
            break;
        case 8:
            m->pools[0]->failure_domain = 9;
            break;
        case 9:
            m->pgs[0]->pool = 50;
            break;
        case 10:
            m->pgs[0]->n_slots = 2;
            break;
        case 11:
            m->pgs[0]->pg = 4;
            break;
        }
        enum err e = refresh(f, 0);
        CHECK(e == ERR_FORMAT || e == ERR_INVALID);
        CHECK_EQ(map_cache_epoch(f->cache), epoch);
    }
    f->source.instead = NULL;
    CHECK_OK(refresh(f, 0));
    CHECK_EQ(map_cache_epoch(f->cache), epoch + 5);
    arena_release(&arena);
    fixture_free(f);
}

static const struct test tests[] = {
    {"whole and deltas", whole_and_deltas},
    {"one fetch for all", one_fetch_for_all},
    {"single lines", single_lines},
    {"nonsense", nonsense},
    {0},
};
SUITE("map cache", tests)
