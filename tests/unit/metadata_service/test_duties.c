/* The leader's watch over disks: one that has just come is waited for like any other, and many at once fall silent. */
#include "tests/unit/chunkserver_service/world_kit.h"

enum { MANY = 300 }; /* more than one command may name */

static enum err register_disk(struct world_test *t, uint32_t number)
{
    struct uuid uuid = world_uuid(0), node = world_uuid(3);
    char label[] = "a", address[] = "10.0.0.9:1";
    RegisterDisk body = REGISTER_DISK__INIT;
    Command command = COMMAND__INIT;
    memcpy(uuid.bytes, &number, sizeof number);
    body.uuid = (ProtobufCBinaryData){.len = UUID_BYTES, .data = uuid.bytes};
    body.node = (ProtobufCBinaryData){.len = UUID_BYTES, .data = node.bytes};
    body.capacity_bytes = UINT64_C(1) << 40;
    body.zone = body.rack = body.host = label;
    body.address = address;
    body.incarnation = 1;
    command.body_case = COMMAND__BODY_REGISTER_DISK;
    command.register_disk = &body;
    return world_command(t, &command, NULL);
}

static size_t disks_up(struct world_test *t)
{
    size_t up = 0;
    world_refresh(t);
    const struct cluster_map *map = map_cache_ref(t->c.map);
    CHECK_EQ(map->disk_count, MANY);
    for (size_t i = 0; i < map->disk_count; i++)
        up += map->disks[i].up;
    map_cache_unref(t->c.map, map);
    return up;
}

static void come_and_fall_silent(void)
{
    struct world w = {.k = 2, .m = 1};
    struct world_test t = {0};
    world_start(&w);
    world_client_open(&t.c, RPC_CHUNK);
    world_client_io(&t.c, NULL);
    world_refresh(&t);
    sys_sleep_until(sys_now() + 3 * t.c.timeouts.down_after); /* the leader is not new any more */
    for (uint32_t i = 1; i <= MANY; i++)
        CHECK_OK(register_disk(&t, i));
    int64_t last = sys_now();
    CHECK_EQ(disks_up(&t), MANY);
    sys_sleep_until(last + t.c.timeouts.down_after / 4);
    CHECK_EQ(disks_up(&t), MANY);
    /* To a new leader all of them fall silent in the same round. */
    sim_restart_after(w.metadata_pid, 100 * SYS_MS);
    sim_crash_at(w.metadata_pid, 1);
    sys_sleep_until(last + 5 * t.c.timeouts.down_after);
    CHECK_EQ(disks_up(&t), 0);
    sim_restart_after(w.metadata_pid, 0);
    world_client_close(&t.c);
    world_stop(&w);
}

static const struct test tests[] = {
    {"disks come, and fall silent, many at once", come_and_fall_silent},
    {0},
};
SUITE("metadata duties", tests)
