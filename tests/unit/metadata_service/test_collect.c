/* Collection beside running reads: what a gateway still reads stays, also when the leader is new. */
#include "tests/unit/chunkserver_service/objects_kit.h"

enum { NUMBER = 1, SIZE = 70000 };

/* What a gateway says: the log time of its oldest running read, 0 when there is none. */
static enum err beat(struct world_test *t, int64_t oldest_read)
{
    struct arena arena;
    struct uuid node = world_uuid(77);
    Heartbeat body = HEARTBEAT__INIT;
    ProtobufCMessage *reply = NULL;
    arena_init(&arena);
    body.node = (ProtobufCBinaryData){.len = UUID_BYTES, .data = node.bytes};
    body.role = RPC_GATEWAY;
    body.oldest_read = oldest_read;
    const struct request_context request = world_ask();
    enum err e =
        metadata_call_leader(t->c.metadata, &request, MSG_HEARTBEAT, &body.base, &arena, &reply);
    arena_release(&arena);
    return e;
}

/* The object's one chunk, and the log time at which its row was read. */
static enum err find(struct world_test *t, struct chunk_id *id, int64_t *time)
{
    struct arena arena;
    char key[24];
    GetObject get = GET_OBJECT__INIT;
    Query query = QUERY__INIT;
    Answer *answer = NULL;
    arena_init(&arena);
    get.bucket = (ProtobufCBinaryData){.len = 4, .data = (uint8_t *)(uintptr_t) "test"};
    get.key = world_key(NUMBER, key);
    get.want_body = true;
    query.body_case = QUERY__BODY_GET_OBJECT;
    query.get_object = &get;
    enum err e = world_query(t, &query, &arena, &answer);
    if (e == OK) {
        *id = (struct chunk_id){.sequence = answer->body->runs[0]->first_sequence};
        memcpy(id->write.bytes, answer->body->runs[0]->write_id.data, WRITE_ID_BYTES);
        *time = answer->time;
    }
    arena_release(&arena);
    return e;
}

static enum err delete_object(struct world_test *t)
{
    char key[24];
    ProtobufCBinaryData name = world_key(NUMBER, key);
    DeleteObjects body = DELETE_OBJECTS__INIT;
    body.bucket = t->bucket;
    body.keys = &name;
    body.n_keys = 1;
    Command command = COMMAND__INIT;
    command.body_case = COMMAND__BODY_DELETE_OBJECTS;
    command.delete_objects = &body;
    return world_command(t, &command, NULL);
}

/* A read that is running when its object is deleted goes on, however long ago that was, and when the
 * leader that knew of it is gone. When the read ends the chunk goes. */
static void reads_are_waited_for(void)
{
    struct world w = {.chunk_count = 4, .k = 2, .m = 1};
    struct world_test t = {0};
    struct chunk_id id = {0};
    int64_t read_at = 0;
    world_start(&w);
    world_open(&t, &w);
    CHECK_OK(world_put(&t, NUMBER, SIZE));
    CHECK_OK(find(&t, &id, &read_at));
    CHECK_OK(beat(&t, read_at));
    CHECK_OK(delete_object(&t));
    for (unsigned i = 0; i < 120; i++) {
        sys_sleep_until(sys_now() + SYS_SECOND);
        CHECK_OK(beat(&t, read_at));
    }
    CHECK_OK(world_read_chunk(&t, NUMBER, &id, SIZE));
    CHECK_EQ(world_health(&t).chunks, 1);

    sim_restart_after(w.metadata_pid, 100 * SYS_MS);
    sim_crash_at(w.metadata_pid, 1);
    int64_t ignored;
    struct chunk_id none;
    CHECK_ERR(find(&t, &none, &ignored), ERR_NO_KEY); /* there is a leader again */
    sys_sleep_until(sys_now() + 1500 * SYS_MS);
    CHECK_OK(beat(&t, read_at));
    sys_sleep_until(sys_now() + 5 * SYS_SECOND);
    CHECK_OK(world_read_chunk(&t, NUMBER, &id, SIZE));
    CHECK_EQ(world_health(&t).chunks, 1);

    CHECK_OK(beat(&t, 0));
    sys_sleep_until(sys_now() + 5 * SYS_SECOND);
    CHECK_EQ(world_health(&t).chunks, 0);
    sim_restart_after(w.metadata_pid, 0);
    world_client_close(&t.c);
    world_stop(&w);
}

static const struct test tests[] = {
    {"running reads are waited for", reads_are_waited_for},
    {0},
};
SUITE("metadata collection", tests)
