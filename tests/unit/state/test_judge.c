/* What metadata says of shards that disks hold (hazards 5, 17): keep, young or dead, at log time. */
#include "tests/unit/state/fixture.h"

#define WRITE_AGE (12 * HOUR)

static const Answer *ask(struct fixture *f, uint32_t disk, const uint8_t *write_id,
                         uint32_t sequence, uint32_t index, int64_t began)
{
    static uint8_t id[CHUNK_ID_BYTES];
    struct chunk_id chunk = {.sequence = sequence};
    ShardClaim claim = SHARD_CLAIM__INIT, *list[] = {&claim};
    JudgeShards body = JUDGE_SHARDS__INIT;
    Query q = QUERY__INIT;
    memcpy(chunk.write.bytes, write_id, WRITE_ID_BYTES);
    chunk_id_encode(&chunk, id);
    claim.chunk_id = fx_bytes(id, sizeof id);
    claim.index = index;
    claim.began = began;
    body.disk = disk;
    body.pool = 1;
    body.shards = list;
    body.n_shards = 1;
    q.body_case = QUERY__BODY_JUDGE_SHARDS;
    q.judge_shards = &body;
    return fx_query(f, &q);
}

static Verdict judge(struct fixture *f, const struct fx_write *w, uint32_t sequence, uint32_t index)
{
    const Answer *a = ask(f, w->disks[sequence][index], w->id, sequence, index, w->put.began);
    CHECK_OK(a->error);
    return a->n_verdicts == 1 ? a->verdicts[0]->verdict : VERDICT__VERDICT_DEAD;
}

/* Log time moves by commands alone. */
static void pass(struct fixture *f, int64_t until)
{
    f->time = until;
    CHECK_OK(fx_put_inline(f, "clock", "x")->error);
}

static void age(void)
{
    struct fixture f;
    struct fx_write w;
    fx_open(&f, "s");
    fx_populate(&f);
    fx_write_init(&f, &w, 1);
    w.put.key = fx_text("never");
    int64_t began = f.time;
    const int64_t young[] = {0, 1, WRITE_AGE, WRITE_AGE + 1, 2 * WRITE_AGE};
    for (size_t i = 0; i < sizeof young / sizeof *young; i++) {
        pass(&f, began + young[i]);
        CHECK_EQ(judge(&f, &w, 0, 2), VERDICT__VERDICT_YOUNG);
    }
    w.put.began = f.time + HOUR; /* a stamp that no log time has given */
    CHECK_EQ(judge(&f, &w, 0, 2), VERDICT__VERDICT_YOUNG);
    w.put.began = INT64_MAX;
    CHECK_EQ(judge(&f, &w, 0, 2), VERDICT__VERDICT_YOUNG);
    w.put.began = began;
    pass(&f, began + 2 * WRITE_AGE + 1);
    CHECK_EQ(judge(&f, &w, 0, 2), VERDICT__VERDICT_DEAD);
    /* What is dead cannot be committed any more. */
    CHECK_ERR(fx_put_object(&f, &w.put)->error, ERR_TOO_OLD);
    CHECK_EQ(judge(&f, &w, 0, 2), VERDICT__VERDICT_DEAD);
    fx_close(&f);
}

/* The commit comes at the last moment at which it is taken. */
static void last_moment(void)
{
    struct fixture f;
    struct fx_write w;
    fx_open(&f, "s");
    fx_populate(&f);
    fx_write_init(&f, &w, 2);
    w.put.key = fx_text("late");
    int64_t began = f.time;
    pass(&f, began + WRITE_AGE);
    CHECK_EQ(judge(&f, &w, 1, 0), VERDICT__VERDICT_YOUNG);
    CHECK_OK(fx_put_object(&f, &w.put)->error);
    for (int64_t later = 0; later <= 4 * WRITE_AGE; later += WRITE_AGE) {
        pass(&f, began + WRITE_AGE + later);
        for (uint32_t i = 0; i < 6; i++)
            CHECK_EQ(judge(&f, &w, 1, i), VERDICT__VERDICT_KEEP);
    }
    /* Deleted: its rows name the chunks until they are collected; then the stamp counts. */
    CHECK_OK(fx_delete(&f, "late")->error);
    CHECK_EQ(judge(&f, &w, 0, 0), VERDICT__VERDICT_KEEP);
    f.time += HOUR;
    fx_collect(&f);
    CHECK_EQ(judge(&f, &w, 0, 0), VERDICT__VERDICT_DEAD);
    fx_close(&f);
}

/* An upload may stay open for as long as it likes. */
static void open_upload(void)
{
    struct fixture f;
    struct fx_write w;
    const uint8_t upload[16] = {7};
    ObjectHead head = OBJECT_HEAD__INIT;
    CreateUpload create = CREATE_UPLOAD__INIT;
    AbortUpload end = ABORT_UPLOAD__INIT;
    fx_open(&f, "s");
    fx_populate(&f);
    create.bucket = end.bucket = f.bucket;
    create.key = end.key = fx_text("parts");
    create.upload = end.upload = fx_bytes(upload, 16);
    create.owner = "alice";
    head.etag = fx_text("");
    create.head = &head;
    CHECK_OK(fx_create_upload(&f, &create)->error);
    fx_write_init(&f, &w, 1);
    CHECK_OK(fx_write_part(&f, &w, upload, "parts", 1, 9)->error);
    pass(&f, f.time + 1000 * HOUR);
    CHECK_EQ(judge(&f, &w, 0, 3), VERDICT__VERDICT_KEEP);
    CHECK_OK(fx_abort_upload(&f, &end)->error);
    pass(&f, f.time + 1);
    CHECK_EQ(judge(&f, &w, 0, 3), VERDICT__VERDICT_KEEP); /* due, not collected */
    f.time += HOUR;
    fx_collect(&f);
    CHECK_EQ(judge(&f, &w, 0, 3), VERDICT__VERDICT_DEAD);
    fx_close(&f);
}

static const Slot *slot_now(struct fixture *f, uint32_t pg, uint32_t slot)
{
    Answer *a = fx_map(f, 0);
    for (size_t i = 0; i < a->map->n_pgs; i++)
        if (a->map->pgs[i]->pg == pg)
            return a->map->pgs[i]->slots[slot];
    return NULL;
}

static enum err push(struct fixture *f, uint32_t pg, uint32_t slot, uint32_t disk)
{
    HolderPush p = HOLDER_PUSH__INIT, *list[] = {&p};
    PushHolders body = PUSH_HOLDERS__INIT;
    p.pg = pg;
    p.slot = slot;
    p.disk = disk;
    p.since_epoch = slot_now(f, pg, slot)->holders[0]->since_epoch;
    body.pool = 1;
    body.pushes = list;
    body.n_pushes = 1;
    return fx_push_holders(f, &body)->error;
}

static enum err finish(struct fixture *f, uint32_t pg, uint32_t slot)
{
    const Slot *s = slot_now(f, pg, slot);
    FinishHolder body = FINISH_HOLDER__INIT;
    body.pool = 1;
    body.pg = pg;
    body.slot = slot;
    body.disk = s->holders[0]->disk;
    body.since_epoch = s->holders[0]->since_epoch;
    return fx_finish_holder(f, &body)->error;
}

/* A former holder keeps its copy until the slot has been whole for a day and lacks nothing. */
static void former_holder(void)
{
    struct fixture f;
    struct fx_write w;
    fx_open(&f, "s");
    fx_populate(&f);
    fx_write_init(&f, &w, 1);
    w.put.key = fx_text("k");
    CHECK_OK(fx_put_object(&f, &w.put)->error);
    uint32_t pg = fx_pg(w.id, 0), from = w.disks[0][1], to = (pg + 6) % FX_DISKS + 1;
    CHECK_OK(push(&f, pg, 1, to));
    pass(&f, f.time + 100 * HOUR);
    CHECK_EQ(judge(&f, &w, 0, 1), VERDICT__VERDICT_KEEP); /* a source still */
    CHECK_OK(finish(&f, pg, 1));
    int64_t whole = f.time;
    CHECK_EQ(slot_now(&f, pg, 1)->whole_since, whole);
    pass(&f, whole + 24 * HOUR);
    CHECK_EQ(judge(&f, &w, 0, 1), VERDICT__VERDICT_KEEP);
    fx_reopen(&f);
    CHECK_OK(push(&f, pg, 2, (pg + 7) % FX_DISKS + 1)); /* another slot: the row is written anew */
    CHECK_EQ(slot_now(&f, pg, 1)->whole_since, whole);
    pass(&f, whole + 24 * HOUR + 1);
    CHECK_EQ(judge(&f, &w, 0, 1), VERDICT__VERDICT_DEAD);
    /* The new holder has lost it: the old copy may be the last. */
    uint8_t id[CHUNK_ID_BYTES] = {0};
    RepairKey key = REPAIR_KEY__INIT, *list[] = {&key};
    OrderRepairs order = ORDER_REPAIRS__INIT;
    memcpy(id, w.id, WRITE_ID_BYTES);
    key.pool = 1;
    key.chunk_id = fx_bytes(id, sizeof id);
    key.index = 1;
    key.disk = to;
    order.shards = list;
    order.n_shards = 1;
    CHECK_OK(fx_order_repairs(&f, &order)->error);
    CHECK_EQ(judge(&f, &w, 0, 1), VERDICT__VERDICT_KEEP);
    /* Pushed again it is a holder; the epoch tells an earlier verdict from one of now. */
    uint64_t before = ask(&f, from, w.id, 0, 1, w.put.began)->verdicts[0]->since_epoch;
    CHECK_OK(push(&f, pg, 1, from));
    const Answer *now = ask(&f, from, w.id, 0, 1, w.put.began);
    CHECK_EQ(now->verdicts[0]->verdict, VERDICT__VERDICT_KEEP);
    CHECK(now->verdicts[0]->since_epoch > before);
    CHECK_EQ(slot_now(&f, pg, 1)->whole_since, 0);
    fx_close(&f);
}

static void refused(void)
{
    struct fixture f;
    struct fx_write w;
    fx_open(&f, "s");
    fx_populate(&f);
    fx_write_init(&f, &w, 1);
    CHECK_ERR(ask(&f, 1, w.id, 0, 6, 0)->error, ERR_INVALID);
    JudgeShards body = JUDGE_SHARDS__INIT;
    ShardClaim claim = SHARD_CLAIM__INIT, *list[513];
    Query q = QUERY__INIT;
    for (size_t i = 0; i < 513; i++)
        list[i] = &claim;
    q.body_case = QUERY__BODY_JUDGE_SHARDS;
    q.judge_shards = &body;
    body.shards = list;
    body.n_shards = 1;
    body.pool = 1;
    CHECK_ERR(fx_query(&f, &q)->error, ERR_INVALID); /* no chunk id */
    body.n_shards = 513;
    CHECK_ERR(fx_query(&f, &q)->error, ERR_TOO_BIG);
    body.pool = 2;
    body.n_shards = 1;
    CHECK_ERR(fx_query(&f, &q)->error, ERR_NOT_FOUND);
    fx_close(&f);
}

static const struct test tests[] = {{"age", age},
                                    {"a commit at the last moment", last_moment},
                                    {"an open upload", open_upload},
                                    {"a former holder", former_holder},
                                    {"refused", refused},
                                    {0}};
SUITE("state: verdicts on shards", tests)
