/* A leader's clock that is far ahead (hazard 6): log time jumps, and nothing is destroyed for it. */
#include "tests/unit/chunkserver_service/objects_kit.h"

enum { SIZE = 70000 };
#define DAY (24 * 3600 * SYS_SECOND)

static enum err delete_object(struct world_test *t, uint32_t number)
{
    char key[24];
    ProtobufCBinaryData name = world_key(number, key);
    DeleteObjects body = DELETE_OBJECTS__INIT;
    body.bucket = t->bucket;
    body.keys = &name;
    body.n_keys = 1;
    Command command = COMMAND__INIT;
    command.body_case = COMMAND__BODY_DELETE_OBJECTS;
    command.delete_objects = &body;
    return world_command(t, &command, NULL);
}

static enum disk_admin admin_of(struct world_test *t, disk_id disk)
{
    world_refresh(t);
    const struct cluster_map *map = map_cache_ref(t->c.map);
    enum disk_admin admin = cluster_map_disk(map, disk)->admin;
    map_cache_unref(t->c.map, map);
    return admin;
}

/* A day's jump makes the deletes due and a disk's few seconds of silence a day's: all of it waits, also
 * for the leader that follows. In the end it is done. */
static void step(void)
{
    struct world w = {.chunk_count = 5, .k = 2, .m = 2};
    struct world_test t = {0};
    world_start(&w);
    world_open(&t, &w);
    CHECK_OK(world_put(&t, 1, SIZE));
    CHECK_OK(world_put(&t, 2, SIZE));
    CHECK_OK(delete_object(&t, 2));
    sys_sleep_until(sys_now() + 620 * SYS_SECOND); /* it has led for long enough to give disks up */
    CHECK_EQ(world_health(&t).chunks, 1);          /* at the usual pace, deletes are done */
    CHECK_OK(delete_object(&t, 1));
    disk_id disk = world_disk_of(&t, 5);
    sim_crash(w.chunk_pid[4]);
    sys_sleep_until(sys_now() + 5 * SYS_SECOND);
    sim_clock_skew(WORLD_METADATA_HOST, DAY);
    CHECK_ERR(world_put(&t, 3, SIZE), ERR_TOO_OLD); /* it had begun a day ago */
    CHECK_OK(world_put(&t, 3, SIZE));
    sys_sleep_until(sys_now() + 100 * SYS_SECOND);
    CHECK_EQ(world_health(&t).chunks, 2);
    CHECK_EQ(admin_of(&t, disk), DISK_IN);
    /* The clock is set right; log time stays where it is. Restarting does not make it credible. */
    sim_clock_skew(WORLD_METADATA_HOST, 0);
    sim_restart_after(w.metadata_pid, 100 * SYS_MS);
    sim_crash_at(w.metadata_pid, 1);
    sys_sleep_until(sys_now() + 100 * SYS_SECOND);
    CHECK_EQ(world_health(&t).chunks, 2);
    CHECK_EQ(admin_of(&t, disk), DISK_IN);
    sys_sleep_until(sys_now() + 230 * SYS_SECOND);
    CHECK_EQ(world_health(&t).chunks, 1);
    sim_restart_after(w.metadata_pid, 0);
    world_client_close(&t.c);
    world_stop(&w);
}

static const struct test tests[] = {
    {"a step of log time destroys nothing", step},
    {0},
};
SUITE("log time", tests)
