/* Slots that move while a write is open (hazard 3): the commit is refused, and follows them. */
#include "tests/unit/gateway/gateway_kit.h"

enum { DISKS = 6, SIZE = 400000, PIECES = 5, PIECE = 40000 };

struct scene {
    struct world w;
    struct world_test t;
    struct gateway *g;
    disk_id disks[DISKS];
    unsigned pieces;
    uint64_t sent;
    uint8_t bytes[SIZE];
};

/* Half of the disks takes everything, the other half gives it away. */
static void use_half(struct scene *s, unsigned half)
{
    for (unsigned i = 0; i < DISKS; i++)
        if (i / 3 == half)
            CHECK_OK(world_set_disk(&s->t, s->disks[i], DISK_IN));
    for (unsigned i = 0; i < DISKS; i++)
        if (i / 3 != half)
            CHECK_OK(world_set_disk(&s->t, s->disks[i], DISK_DRAINING));
    sys_sleep_until(sys_now() + 2 * SYS_SECOND);
    CHECK(world_wait_healed(&s->t, 20 * SYS_SECOND));
    const struct cluster_map *map = map_cache_ref(s->t.c.map);
    const struct cluster_pool *pool = cluster_map_pool(map, s->t.pool);
    for (uint32_t i = 0; i < pool_pg_count(pool) * pool_width(pool); i++)
        for (unsigned d = 0; d < DISKS; d++)
            if (d / 3 != half)
                CHECK(!slot_has_holder(&pool->slots[i], s->disks[d]));
    map_cache_unref(s->t.c.map, map);
}

static void open_scene(struct scene *s)
{
    memset(s, 0, sizeof *s);
    s->w = (struct world){.chunk_count = DISKS, .k = 2, .m = 1};
    for (unsigned i = 0; i < SIZE; i++)
        s->bytes[i] = (uint8_t)(i * 7 + (i >> 8) * 3);
    world_start(&s->w);
    world_open(&s->t, &s->w);
    for (unsigned i = 0; i < DISKS; i++)
        s->disks[i] = world_disk_of(&s->t, i + 1);
    use_half(s, 0);
}

static void close_scene(struct scene *s)
{
    world_client_close(&s->t.c);
    world_stop(&s->w);
}

/* A body that comes in pieces; before the last one the slots have moved. Its shards' writes are open by
 * then. */
static enum err produce(void *arg, const void **data, size_t *n)
{
    struct scene *s = arg;
    if (++s->pieces < PIECES)
        sys_sleep_until(sys_now() + 200 * SYS_MS);
    else if (s->pieces == PIECES)
        use_half(s, 1);
    *data = s->bytes + s->sent;
    *n = s->pieces < PIECES ? PIECE : SIZE - s->sent;
    s->sent += *n;
    return OK;
}

static void a_put_follows(void)
{
    static struct scene s;
    open_scene(&s);
    s.g = kit_open(&s.t);
    struct http_memory put = {.body_n = SIZE, .produce = produce, .arg = &s};
    CHECK_EQ(kit_run(s.g, "PUT", "/test/key", NULL, 0, &put), 200);
    http_memory_release(&put);
    CHECK(s.pieces >= PIECES);
    struct world_health h = world_health(&s.t);
    CHECK_EQ(h.chunks, 1);
    CHECK_EQ(h.bad_shards, 0);
    CHECK_EQ(h.repair_rows, 0);
    CHECK_EQ(kit_shards(&s.t), 3);   /* none stays where it was written first */
    for (unsigned i = 0; i < 3; i++) /* it needs nothing of where it was written first */
        sim_crash(s.w.chunk_pid[i]);
    struct http_memory get = {0};
    CHECK_EQ(kit_run(s.g, "GET", "/test/key", NULL, 0, &get), 200);
    CHECK_EQ(get.answer_body_n, SIZE);
    if (get.answer_body_n == SIZE)
        CHECK_BYTES((const uint8_t *)get.answer_body, s.bytes, SIZE);
    http_memory_release(&get);
    gateway_free(s.g);
    close_scene(&s);
}

/* ---- step by step ---- */

static enum s3_error read_bytes(void *arg, void *out, size_t max, size_t *n)
{
    struct scene *s = arg;
    *n = SIZE - s->sent < max ? (size_t)(SIZE - s->sent) : max;
    memcpy(out, s->bytes + s->sent, *n);
    s->sent += *n;
    return S3_OK;
}

static int64_t log_time(struct scene *s)
{
    struct arena arena;
    arena_init(&arena);
    GetBucket get = GET_BUCKET__INIT;
    get.name = (ProtobufCBinaryData){.len = 4, .data = (uint8_t *)(uintptr_t) "test"};
    Query query = QUERY__INIT;
    query.body_case = QUERY__BODY_GET_BUCKET;
    query.get_bucket = &get;
    Answer *answer = NULL;
    CHECK_OK(world_query(&s->t, &query, &arena, &answer));
    int64_t time = answer ? answer->time : 0;
    arena_release(&arena);
    return time;
}

static enum err commit(struct scene *s, const struct object_written *written, int64_t began)
{
    char key[24];
    ObjectBody body = OBJECT_BODY__INIT;
    body.runs = written->runs;
    body.n_runs = written->run_count;
    ObjectHead head = OBJECT_HEAD__INIT;
    head.size = SIZE;
    head.write_id = written->runs[0]->write_id;
    PutObject put = PUT_OBJECT__INIT;
    put.bucket = s->t.bucket;
    put.key = world_key(1, key);
    put.head = &head;
    put.body = &body;
    put.began = began;
    put.durable = written->durable;
    put.n_durable = written->durable_count;
    Command command = COMMAND__INIT;
    command.body_case = COMMAND__BODY_PUT_OBJECT;
    command.put_object = &put;
    return world_command(&s->t, &command, NULL);
}

/* The disks that it was written to are gone with it: refused for good, and nothing is visible. */
static void nothing_to_follow(void)
{
    static struct scene s;
    struct arena arena;
    struct object_written written;
    arena_init(&arena);
    open_scene(&s);
    const struct object_source source = {.read = read_bytes, .arg = &s};
    struct request_context request = world_ask();
    int64_t began = log_time(&s);
    CHECK_EQ(object_write(&s.t.c.io, &request, s.t.pool, SIZE, began, &source, &arena, &written),
             S3_OK);
    use_half(&s, 1);
    CHECK_ERR(commit(&s, &written, began), ERR_STALE_PLACEMENT);
    for (unsigned i = 0; i < 3; i++)
        sim_crash(s.w.chunk_pid[i]);
    request = world_ask();
    CHECK_OK(object_follow(&s.t.c.io, &request, began, &written));
    for (size_t i = 0; i < written.durable[0]->n_disks; i++)
        CHECK_EQ(written.durable[0]->disks[i], 0);
    CHECK_ERR(commit(&s, &written, began), ERR_STALE_PLACEMENT);
    CHECK_ERR(world_get(&s.t, 1, SIZE), ERR_NO_KEY);
    CHECK_EQ(world_health(&s.t).chunks, 0);
    arena_release(&arena);
    close_scene(&s);
}

/* A write may take hours, but not because no metadata server says where its slots are now. */
static void nobody_to_ask(void)
{
    static struct scene s;
    struct arena arena;
    struct object_written written;
    arena_init(&arena);
    open_scene(&s);
    const struct object_source source = {.read = read_bytes, .arg = &s};
    struct request_context request = world_ask();
    int64_t began = log_time(&s);
    CHECK_EQ(object_write(&s.t.c.io, &request, s.t.pool, SIZE, began, &source, &arena, &written),
             S3_OK);
    sim_crash(s.w.metadata_pid);
    int64_t now = sys_now();
    request.deadline = now + s.t.c.timeouts.max_write_age;
    CHECK(object_follow(&s.t.c.io, &request, began, &written) != OK);
    CHECK(sys_now() - now < 2 * s.t.c.timeouts.metadata_call);
    arena_release(&arena);
    close_scene(&s);
}

static const struct test tests[] = {
    {"a PUT follows its slots", a_put_follows},
    {"nothing to follow", nothing_to_follow},
    {"nobody to ask", nobody_to_ask},
    {0},
};
SUITE("following slots", tests)
