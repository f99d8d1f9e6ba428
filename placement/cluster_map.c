#include "placement/cluster_map.h"
#include <assert.h>
#include "common/base/alloc.h"
#include "common/base/digest.h"

struct cluster_map *cluster_map_new(void)
{
    return sys_alloc(sizeof(struct cluster_map));
}

void cluster_map_clear(struct cluster_map *map)
{
    for (size_t i = 0; i < map->pool_count; i++)
        sys_free(map->pools[i].slots);
    sys_free(map->pools);
    sys_free(map->disks);
    *map = (struct cluster_map){0};
}

void cluster_map_free(struct cluster_map *map)
{
    if (map == NULL)
        return;
    cluster_map_clear(map);
    sys_free(map);
}

static size_t slots_bytes(const struct cluster_pool *pool)
{
    return (size_t)pool_pg_count(pool) * pool_width(pool) * sizeof(struct pg_slot);
}

struct cluster_map *cluster_map_copy(const struct cluster_map *map)
{
    struct cluster_map *copy = cluster_map_new();
    *copy = *map;
    copy->disk_room = map->disk_count;
    copy->disks = sys_alloc(map->disk_count * sizeof *map->disks);
    copy->pools = sys_alloc(map->pool_count * sizeof *map->pools);
    if (map->disk_count > 0)
        memcpy(copy->disks, map->disks, map->disk_count * sizeof *map->disks);
    for (size_t i = 0; i < map->pool_count; i++) {
        const struct cluster_pool *pool = &map->pools[i];
        copy->pools[i] = *pool;
        copy->pools[i].slots = sys_alloc(slots_bytes(pool));
        memcpy(copy->pools[i].slots, pool->slots, slots_bytes(pool));
    }
    return copy;
}

/* The first disk whose id is not below id. */
static size_t disk_position(const struct cluster_map *map, disk_id id)
{
    size_t low = 0, high = map->disk_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (map->disks[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct cluster_disk *cluster_map_disk_mutable(struct cluster_map *map, disk_id id)
{
    size_t at = disk_position(map, id);
    return at < map->disk_count && map->disks[at].id == id ? &map->disks[at] : NULL;
}

const struct cluster_disk *cluster_map_disk(const struct cluster_map *map, disk_id id)
{
    size_t at = disk_position(map, id);
    return at < map->disk_count && map->disks[at].id == id ? &map->disks[at] : NULL;
}

static bool terminated(const char *text, size_t room)
{
    return memchr(text, 0, room) != NULL;
}

bool cluster_disk_valid(const struct cluster_disk *disk)
{
    return disk->id != 0 && disk->weight <= DISK_WEIGHT_MAX &&
           (unsigned)disk->admin < DISK_ADMIN_COUNT && terminated(disk->zone, sizeof disk->zone) &&
           terminated(disk->rack, sizeof disk->rack) && terminated(disk->host, sizeof disk->host) &&
           terminated(disk->address, sizeof disk->address);
}

enum err cluster_map_put_disk(struct cluster_map *map, const struct cluster_disk *disk)
{
    if (!cluster_disk_valid(disk))
        return ERR_INVALID;
    struct cluster_disk *old = cluster_map_disk_mutable(map, disk->id);
    if (old != NULL) {
        *old = *disk;
        return OK;
    }
    if (map->disk_count >= CLUSTER_DISKS_MAX)
        return ERR_TOO_BIG;
    if (map->disk_count == map->disk_room) {
        map->disk_room = map->disk_room < 8 ? 8 : map->disk_room * 2;
        map->disks = sys_realloc(map->disks, map->disk_room * sizeof *map->disks);
    }
    size_t at = disk_position(map, disk->id);
    memmove(map->disks + at + 1, map->disks + at, (map->disk_count - at) * sizeof *map->disks);
    map->disks[at] = *disk;
    map->disk_count++;
    return OK;
}

enum err cluster_map_remove_disk(struct cluster_map *map, disk_id id)
{
    struct cluster_disk *disk = cluster_map_disk_mutable(map, id);
    if (disk == NULL)
        return ERR_NOT_FOUND;
    size_t at = (size_t)(disk - map->disks);
    memmove(disk, disk + 1, (map->disk_count - at - 1) * sizeof *disk);
    map->disk_count--;
    return OK;
}

bool cluster_pool_valid(const struct cluster_pool *pool)
{
    return pool->id != 0 && terminated(pool->name, sizeof pool->name) && pool->name[0] != 0 &&
           pool->k >= 1 && pool->k <= POOL_K_MAX && pool->m <= POOL_M_MAX &&
           pool->pg_bits <= POOL_PG_BITS_MAX && pool->cell_bytes >= POOL_CELL_MIN &&
           pool->cell_bytes <= POOL_CELL_MAX && (pool->cell_bytes & (pool->cell_bytes - 1)) == 0 &&
           (unsigned)pool->domain < FAILURE_DOMAIN_COUNT;
}

bool pool_assigned(const struct cluster_pool *pool)
{
    size_t count = (size_t)pool_pg_count(pool) * pool_width(pool);
    for (size_t i = 0; i < count; i++)
        if (pool->slots[i].count > 0)
            return true;
    return false;
}

enum err cluster_map_put_pool(struct cluster_map *map, const struct cluster_pool *spec)
{
    if (!cluster_pool_valid(spec))
        return ERR_INVALID;
    size_t at = 0;
    while (at < map->pool_count && map->pools[at].id < spec->id)
        at++;
    if (at < map->pool_count && map->pools[at].id == spec->id) {
        struct cluster_pool *old = &map->pools[at];
        if (old->k != spec->k || old->m != spec->m || old->cell_bytes != spec->cell_bytes)
            return ERR_INVALID;
        if (old->pg_bits != spec->pg_bits) {
            if (pool_assigned(old))
                return ERR_INVALID;
            old->pg_bits = spec->pg_bits;
            sys_free(old->slots);
            old->slots = sys_alloc(slots_bytes(spec));
        }
        memcpy(old->name, spec->name, sizeof old->name);
        old->domain = spec->domain;
        return OK;
    }
    if (map->pool_count >= CLUSTER_POOLS_MAX)
        return ERR_TOO_BIG;
    map->pools = sys_realloc(map->pools, (map->pool_count + 1) * sizeof *map->pools);
    memmove(map->pools + at + 1, map->pools + at, (map->pool_count - at) * sizeof *map->pools);
    map->pools[at] = *spec;
    map->pools[at].slots = sys_alloc(slots_bytes(spec));
    map->pool_count++;
    return OK;
}

const struct cluster_pool *cluster_map_pool(const struct cluster_map *map, uint32_t id)
{
    for (size_t i = 0; i < map->pool_count; i++)
        if (map->pools[i].id == id)
            return &map->pools[i];
    return NULL;
}

const struct cluster_pool *cluster_map_pool_named(const struct cluster_map *map, const char *name)
{
    for (size_t i = 0; i < map->pool_count; i++)
        if (strcmp(map->pools[i].name, name) == 0)
            return &map->pools[i];
    return NULL;
}

uint8_t pool_default_pg_bits(size_t disks, unsigned width)
{
    uint64_t wanted = width == 0 ? 0 : (uint64_t)disks * 100 / width;
    uint8_t bits = 3;
    /* Up while the next power is nearer than this one: ties stay low. */
    while (bits < POOL_PG_BITS_DEFAULT_MAX && wanted > (UINT64_C(3) << bits) / 2)
        bits++;
    return bits;
}

/* ---- chunk -> PG ---- */

uint64_t chunk_hash(const struct chunk_id *chunk)
{
    uint8_t bytes[CHUNK_ID_BYTES];
    chunk_id_encode(chunk, bytes);
    return xxh64(bytes, sizeof bytes, 0);
}

uint32_t pg_of_hash(uint64_t hash, uint8_t pg_bits)
{
    assert(pg_bits <= POOL_PG_BITS_MAX);
    return pg_bits == 0 ? 0 : (uint32_t)(hash >> (64 - pg_bits));
}

uint32_t pg_of_chunk(const struct cluster_pool *pool, const struct chunk_id *chunk)
{
    return pg_of_hash(chunk_hash(chunk), pool->pg_bits);
}

void pg_hash_range(uint32_t pg, uint8_t pg_bits, uint64_t *first, uint64_t *last)
{
    assert(pg_bits <= POOL_PG_BITS_MAX && pg < UINT32_C(1) << pg_bits);
    *first = pg_bits == 0 ? 0 : (uint64_t)pg << (64 - pg_bits);
    *last = *first | (pg_bits == 0 ? UINT64_MAX : UINT64_MAX >> pg_bits);
}

/* ---- slots ---- */

struct pg_slot *pool_slot(const struct cluster_pool *pool, uint32_t pg, unsigned index)
{
    if (pg >= pool_pg_count(pool) || index >= pool_width(pool))
        return NULL;
    return &pool->slots[(size_t)pg * pool_width(pool) + index];
}

disk_id slot_newest(const struct pg_slot *slot)
{
    return slot->count > 0 ? slot->holders[0].disk : 0;
}

uint64_t slot_since(const struct pg_slot *slot)
{
    return slot->count > 0 ? slot->holders[0].since_epoch : 0;
}

static int holder_position(const struct pg_slot *slot, disk_id disk)
{
    for (int i = 0; i < slot->count; i++)
        if (slot->holders[i].disk == disk)
            return i;
    return -1;
}

bool slot_has_holder(const struct pg_slot *slot, disk_id disk)
{
    return holder_position(slot, disk) >= 0;
}

static void holder_remove(struct pg_slot *slot, int at)
{
    memmove(slot->holders + at, slot->holders + at + 1,
            (size_t)(slot->count - at - 1) * sizeof slot->holders[0]);
    slot->count--;
    slot->holders[slot->count] = (struct slot_holder){0};
}

enum err slot_push(const struct cluster_map *map, struct pg_slot *slot, disk_id disk,
                   uint64_t epoch)
{
    if (disk == 0 || epoch <= slot_since(slot))
        return ERR_INVALID;
    int at = holder_position(slot, disk);
    for (int i = slot->count - 1; at < 0 && slot->count == SLOT_HOLDERS_MAX && i > 0; i--)
        if (!cluster_map_disk_holds(map, slot->holders[i].disk))
            at = i;
    if (at >= 0)
        holder_remove(slot, at);
    if (slot->count == SLOT_HOLDERS_MAX)
        return ERR_BUSY;
    memmove(slot->holders + 1, slot->holders, slot->count * sizeof slot->holders[0]);
    slot->holders[0] = (struct slot_holder){.disk = disk, .since_epoch = epoch};
    slot->count++;
    slot->whole_since = 0;
    for (int i = 1; i < slot->count; i++) /* M3 */
        assert(slot->holders[i].disk != disk &&
               slot->holders[i].since_epoch < slot->holders[i - 1].since_epoch);
    return OK;
}

enum err slot_finish(struct pg_slot *slot, disk_id disk, uint64_t since_epoch)
{
    if (slot->count == 0 || slot->holders[0].disk != disk ||
        slot->holders[0].since_epoch != since_epoch)
        return ERR_MISMATCH;
    while (slot->count > 1)
        holder_remove(slot, slot->count - 1);
    return OK;
}

bool cluster_map_disk_holds(const struct cluster_map *map, disk_id id)
{
    const struct cluster_disk *disk = cluster_map_disk(map, id);
    return disk != NULL && disk->admin != DISK_FAILED;
}

bool cluster_map_disk_suspect(const struct cluster_map *map, disk_id id)
{
    const struct cluster_disk *disk = cluster_map_disk(map, id);
    return disk != NULL && disk->suspect;
}

bool cluster_disks_share(const struct cluster_disk *a, const struct cluster_disk *b,
                         enum failure_domain level)
{
    if (level == DOMAIN_DISK)
        return a->id == b->id;
    return strcmp(a->zone, b->zone) == 0 &&
           (level == DOMAIN_ZONE || strcmp(a->rack, b->rack) == 0) &&
           (level >= DOMAIN_RACK || strcmp(a->host, b->host) == 0);
}

const char *failure_domain_name(uint32_t domain)
{
    static const char *const names[FAILURE_DOMAIN_COUNT] = {"disk", "host", "rack", "zone"};
    return domain < FAILURE_DOMAIN_COUNT ? names[domain] : "unknown";
}

unsigned pg_acting(const struct cluster_pool *pool, uint32_t pg, disk_id *out)
{
    unsigned width = pool_width(pool);
    for (unsigned i = 0; i < width; i++) {
        const struct pg_slot *slot = pool_slot(pool, pg, i);
        out[i] = slot != NULL ? slot_newest(slot) : 0;
    }
    return width;
}

disk_id pg_primary(const struct cluster_map *map, const struct cluster_pool *pool, uint32_t pg)
{
    for (unsigned i = 0; i < pool_width(pool); i++) {
        const struct pg_slot *slot = pool_slot(pool, pg, i);
        const struct cluster_disk *disk =
            slot != NULL ? cluster_map_disk(map, slot_newest(slot)) : NULL;
        if (disk != NULL && disk->up && disk->admin != DISK_FAILED)
            return disk->id;
    }
    return 0;
}
