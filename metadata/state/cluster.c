/* Disks: how they come, what is known of them, how they leave. */
#include "common/base/cursor.h"
#include "metadata/state/state_internal.h"

static bool text_fits(const char *text, size_t max)
{
    return strlen(text) <= max;
}

static bool register_valid(const RegisterDisk *c)
{
    return c->uuid.len == UUID_BYTES && (c->node.len == 0 || c->node.len == UUID_BYTES) &&
           text_fits(c->zone, CLUSTER_NAME_MAX) && text_fits(c->rack, CLUSTER_NAME_MAX) &&
           text_fits(c->host, CLUSTER_NAME_MAX) && text_fits(c->address, CLUSTER_ADDRESS_MAX);
}

/* GiB rounded up: even the smallest disk takes its part. */
static uint32_t weight_of(uint64_t capacity_bytes)
{
    uint64_t gib = capacity_bytes >> 30;
    gib += (capacity_bytes & ((UINT64_C(1) << 30) - 1)) != 0;
    return gib == 0 ? 1 : gib > DISK_WEIGHT_MAX ? DISK_WEIGHT_MAX : (uint32_t)gib;
}

static const struct cluster_disk *disk_by_uuid(const struct cluster_map *map, const uint8_t *uuid)
{
    for (size_t i = 0; i < map->disk_count; i++)
        if (memcmp(map->disks[i].uuid.bytes, uuid, UUID_BYTES) == 0)
            return &map->disks[i];
    return NULL;
}

static void key_last_disk(struct key *k)
{
    key_begin2(k, 'm', 'i');
}

static uint32_t last_disk(struct apply *a)
{
    struct key key;
    struct kv_slice value;
    struct reader r;
    key_last_disk(&key);
    if (!txn_get(a->txn, &key, &value))
        return 0;
    reader_init(&r, value.data, value.length);
    return read_u32(&r);
}

static void put_last_disk(struct apply *a, uint32_t id)
{
    uint8_t bytes[4];
    struct writer w;
    struct key key;
    writer_init(&w, bytes, sizeof bytes);
    write_u32(&w, id);
    key_last_disk(&key);
    txn_put(a->txn, &key, bytes, sizeof bytes);
}

/* What a disk says of itself each time it is opened. */
static void take_over(struct apply *a, const RegisterDisk *c, DiskInfo *disk)
{
    disk->capacity_bytes = c->capacity_bytes;
    disk->weight = weight_of(c->capacity_bytes);
    disk->zone = c->zone;
    disk->rack = c->rack;
    disk->host = c->host;
    disk->address = c->address;
    disk->incarnation = c->incarnation;
    disk->node = c->node;
    disk->up = true;
    disk->down_since = 0;
    map_put_disk(a, disk);
    a->result->disk = disk->id;
}

/* Hazard 17: every open comes with a higher incarnation; an older one, or the same from another
 * process, is a copy of the disk or a late message. */
static enum err register_again(struct apply *a, const RegisterDisk *c, uint32_t id)
{
    DiskInfo *disk;
    if (!map_get_disk(a, id, &disk))
        return ERR_NOT_FOUND;
    a->result->disk = id;
    if (c->incarnation < disk->incarnation ||
        (c->incarnation == disk->incarnation &&
         (!binary_equal(c->node, disk->node) || strcmp(c->address, disk->address) != 0)))
        return ERR_DISK_IN_USE;
    if (c->incarnation == disk->incarnation && disk->up)
        return OK;
    take_over(a, c, disk);
    return OK;
}

enum err apply_register_disk(struct apply *a, const RegisterDisk *c)
{
    DiskInfo disk = DISK_INFO__INIT;
    if (!register_valid(c))
        return ERR_INVALID;
    const struct cluster_disk *known = disk_by_uuid(a->state->map, c->uuid.data);
    if (known != NULL)
        return register_again(a, c, known->id);
    if (a->state->map->disk_count >= CLUSTER_DISKS_MAX)
        return ERR_TOO_BIG;
    disk.id = last_disk(a) + 1;
    disk.uuid = c->uuid;
    disk.admin_state = DISK_IN;
    put_last_disk(a, disk.id);
    take_over(a, c, &disk);
    return OK;
}

static bool holds_a_slot(const struct cluster_map *map, disk_id disk)
{
    for (size_t p = 0; p < map->pool_count; p++) {
        const struct cluster_pool *pool = &map->pools[p];
        size_t slots = (size_t)pool_pg_count(pool) * pool_width(pool);
        for (size_t i = 0; i < slots; i++)
            if (slot_has_holder(&pool->slots[i], disk))
                return true;
    }
    return false;
}

enum err apply_set_disk_state(struct apply *a, const SetDiskState *c)
{
    DiskInfo *disk;
    if (c->admin_state >= DISK_ADMIN_COUNT)
        return ERR_INVALID;
    if (!map_get_disk(a, c->disk, &disk))
        return ERR_NOT_FOUND;
    if (c->remove) {
        if (holds_a_slot(a->state->map, c->disk))
            return ERR_BUSY;
        disk->removed = true;
        disk->up = false;
        map_put_disk(a, disk);
        return OK;
    }
    if (disk->admin_state == c->admin_state)
        return OK;
    disk->admin_state = c->admin_state;
    map_put_disk(a, disk);
    return OK;
}

enum err apply_set_disks_suspect(struct apply *a, const SetDisksSuspect *c)
{
    if (c->n_disks > STATE_CHUNKS_MAX)
        return ERR_TOO_BIG;
    for (size_t i = 0; i < c->n_disks; i++) {
        DiskInfo *disk;
        if (!map_get_disk(a, c->disks[i], &disk) || disk->suspect == c->suspect)
            continue;
        disk->suspect = c->suspect;
        disk->suspect_since = c->suspect ? a->time : 0;
        map_put_disk(a, disk);
    }
    return OK;
}

enum err apply_set_disks_up(struct apply *a, const SetDisksUp *c)
{
    if (c->n_disks > STATE_CHUNKS_MAX)
        return ERR_TOO_BIG;
    for (size_t i = 0; i < c->n_disks; i++) {
        DiskInfo *disk;
        if (!map_get_disk(a, c->disks[i], &disk) || disk->up == c->up)
            continue;
        disk->up = c->up;
        disk->down_since = c->up ? 0 : a->time; /* hazard 18: agreed, whoever leads */
        map_put_disk(a, disk);
    }
    return OK;
}
