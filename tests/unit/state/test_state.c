/* Each rule that binds the state machine, by the hazard that made it. */
#include "tests/unit/state/fixture.h"

/* Hazard 1: what was applied is there after a restart, with its index; a failed apply gives none. */
static void restart(void)
{
    struct fixture f;
    fx_open(&f, "s");
    fx_populate(&f);
    CHECK_OK(fx_put_inline(&f, "k", "hello")->error);
    uint64_t applied = state_applied(f.state), epoch = state_epoch(f.state);
    CHECK_EQ(applied, f.index);
    fx_reopen(&f);
    CHECK_EQ(state_applied(f.state), applied);
    CHECK_EQ(state_epoch(f.state), epoch);
    CHECK_EQ(state_time(f.state), f.time);
    Answer *a = fx_get(&f, "k");
    CHECK_OK(a->error);
    CHECK_EQ(a->head->size, 5);
    CHECK_EQ(a->head->version, applied);
    CHECK_BYTES(a->body->inline_data.data, "hello", 5);
    struct fx_write w;
    fx_write_init(&f, &w, 1); /* the map is there again too */
    w.put.key = fx_text("c");
    CHECK_OK(fx_put_object(&f, &w.put)->error);
    CHECK_OK(state_apply(f.state, NULL, 0, &(struct state_position){.index = ++f.index},
                         &f.arena)); /* only no-ops */
    CHECK_EQ(state_applied(f.state), f.index);
    fx_close(&f);
}

static Result *push(struct fixture *f, uint32_t pg, uint32_t slot, uint32_t disk, uint64_t since)
{
    HolderPush p = HOLDER_PUSH__INIT, *list[] = {&p};
    PushHolders body = PUSH_HOLDERS__INIT;
    p.pg = pg;
    p.slot = slot;
    p.disk = disk;
    p.since_epoch = since;
    body.pool = 1;
    body.pushes = list;
    body.n_pushes = 1;
    return fx_push_holders(f, &body);
}

static Result *finish(struct fixture *f, uint32_t pg, uint32_t slot, uint32_t disk, uint64_t since)
{
    FinishHolder body = FINISH_HOLDER__INIT;
    body.pool = 1;
    body.pg = pg;
    body.slot = slot;
    body.disk = disk;
    body.since_epoch = since;
    return fx_finish_holder(f, &body);
}

static const Slot *slot_now(struct fixture *f, uint32_t pg, uint32_t slot)
{
    Answer *a = fx_map(f, 0);
    for (size_t i = 0; i < a->map->n_pgs; i++)
        if (a->map->pgs[i]->pg == pg)
            return a->map->pgs[i]->slots[slot];
    return NULL;
}

/* Hazards 2, 17: holders grow by pushes, shrink by one compare-and-set. */
static void holders(void)
{
    struct fixture f;
    fx_open(&f, "s");
    fx_populate(&f);
    uint64_t first = slot_now(&f, 0, 0)->holders[0]->since_epoch;
    CHECK_EQ(push(&f, 0, 0, 2, first)->error, ERR_MISMATCH); /* newest of slot 1 already */
    CHECK_EQ(push(&f, 0, 0, 7, first + 1)->error, ERR_MISMATCH);
    CHECK_OK(push(&f, 0, 0, 7, first)->error);
    uint64_t second = slot_now(&f, 0, 0)->holders[0]->since_epoch;
    CHECK(second > first);
    CHECK_EQ(push(&f, 0, 0, 8, first)->error, ERR_MISMATCH); /* planned on an older map */
    CHECK_OK(push(&f, 0, 0, 1, second)->error);              /* cancelled: 1 again, 7 a source */
    const Slot *s = slot_now(&f, 0, 0);
    CHECK_EQ(s->n_holders, 2);
    CHECK(s->holders[0]->disk == 1 && s->holders[1]->disk == 7);
    CHECK_EQ(finish(&f, 0, 0, 7, second)->error, ERR_MISMATCH);
    CHECK_EQ(finish(&f, 0, 0, 1, first)->error, ERR_MISMATCH); /* a late end of the earlier time */
    CHECK_EQ(slot_now(&f, 0, 0)->n_holders, 2);
    uint64_t third = s->holders[0]->since_epoch;
    CHECK_OK(finish(&f, 0, 0, 1, third)->error);
    CHECK_EQ(slot_now(&f, 0, 0)->n_holders, 1);
    CHECK_OK(finish(&f, 0, 0, 1, third)->error);
    fx_close(&f);
}

/* Hazards 3, 8: shards are counted on current holders; a gap becomes an order. */
static void placement_checked(void)
{
    struct fixture f;
    struct fx_write w;
    fx_open(&f, "s");
    fx_populate(&f);
    fx_write_init(&f, &w, 2);
    w.put.key = fx_text("k");
    w.disks[1][0] = w.disks[1][3] = 0; /* 4 of 6: below k + 1 */
    Result *r = fx_put_object(&f, &w.put);
    CHECK_EQ(r->error, ERR_STALE_PLACEMENT);
    CHECK_EQ(r->chunk, 1);
    CHECK_EQ(fx_get(&f, "k")->error, ERR_NO_KEY);
    w.disks[1][0] = (fx_pg(w.id, 1) + 7) % 8 + 1; /* durable, but on no holder */
    CHECK_EQ(fx_put_object(&f, &w.put)->error, ERR_STALE_PLACEMENT);
    w.disks[1][0] = w.disks[1][1]; /* two shards on one disk survive one loss */
    CHECK_EQ(fx_put_object(&f, &w.put)->error, ERR_STALE_PLACEMENT);
    w.disks[1][0] = (fx_pg(w.id, 1) + 0) % 8 + 1; /* copied over: 5 of 6, the same write id */
    CHECK_OK(fx_put_object(&f, &w.put)->error);
    Answer *a = fx_repairs(&f);
    CHECK_EQ(a->n_repairs, 1);
    CHECK_EQ(a->repairs[0]->n_indexes, 1);
    CHECK_EQ(a->repairs[0]->indexes[0], 3);
    CHECK_EQ(a->repairs[0]->length, 1000);
    CHECK_EQ(a->repairs[0]->pg, fx_pg(w.id, 1));

    /* On an older holder it counts, and the newest still needs it. */
    fx_write_init(&f, &w, 1);
    w.put.key = fx_text("l");
    uint32_t pg = fx_pg(w.id, 0), spare = (pg + 6) % 8 + 1;
    CHECK_OK(push(&f, pg, 2, spare, slot_now(&f, pg, 2)->holders[0]->since_epoch)->error);
    CHECK_OK(fx_put_object(&f, &w.put)->error);
    CHECK_EQ(fx_repairs(&f)->n_repairs, 2);
    /* One disk that holds two slots of a PG counts once. */
    fx_write_init(&f, &w, 1);
    w.put.key = fx_text("n");
    pg = fx_pg(w.id, 0);
    uint32_t first = w.disks[0][0];
    const Slot *now = slot_now(&f, pg, 0);
    CHECK_OK(push(&f, pg, 0, (pg + 7) % 8 + 1, now->holders[0]->since_epoch)->error);
    now = slot_now(&f, pg, 5);
    CHECK_OK(push(&f, pg, 5, first, now->holders[0]->since_epoch)->error);
    w.disks[0][4] = 0;
    w.disks[0][5] = first;
    CHECK_EQ(fx_put_object(&f, &w.put)->error, ERR_STALE_PLACEMENT);
    /* On a failed disk it does not. */
    fx_write_init(&f, &w, 1);
    w.put.key = fx_text("m");
    w.disks[0][5] = 0;
    SetDiskState state = SET_DISK_STATE__INIT;
    state.disk = w.disks[0][4];
    state.admin_state = DISK_FAILED;
    CHECK_OK(fx_set_disk_state(&f, &state)->error);
    CHECK_EQ(fx_put_object(&f, &w.put)->error, ERR_STALE_PLACEMENT);
    fx_close(&f);
}

/* Hazard 4: an abort refuses the commit for good; a commit refuses the abort. */
static void aborts(void)
{
    struct fixture f;
    struct fx_write w;
    AbortWrite abort = ABORT_WRITE__INIT;
    fx_open(&f, "s");
    fx_populate(&f);
    fx_write_init(&f, &w, 1);
    w.put.key = fx_text("k");
    abort.write_id = fx_bytes(w.id, WRITE_ID_BYTES);
    CHECK_OK(fx_abort_write(&f, &abort)->error);
    CHECK_EQ(fx_put_object(&f, &w.put)->error, ERR_ABORTED);
    f.time += 12 * HOUR; /* remembered as long as the commit is young enough */
    CHECK_EQ(fx_put_object(&f, &w.put)->error, ERR_ABORTED);
    f.time += 2;
    CHECK_EQ(fx_put_object(&f, &w.put)->error, ERR_TOO_OLD);
    CHECK_EQ(fx_get(&f, "k")->error, ERR_NO_KEY);
    fx_write_init(&f, &w, 1);
    w.put.key = fx_text("k");
    CHECK_OK(fx_put_object(&f, &w.put)->error);
    CHECK_EQ(fx_put_object(&f, &w.put)->error, ERR_EXISTS); /* hazard 13 */
    abort.write_id = fx_bytes(w.id, WRITE_ID_BYTES);
    CHECK_EQ(fx_abort_write(&f, &abort)->error, ERR_EXISTS);
    f.time += 13 * HOUR; /* forgotten by then, with the next commands */
    CHECK_OK(fx_put_inline(&f, "z", "z")->error);
    CHECK_OK(fx_put_inline(&f, "z", "z")->error);
    fx_close(&f);
    CHECK_EQ(fx_rows(&f, "dw"), 0);
    CHECK_EQ(fx_rows(&f, "de"), 0);
}

/* Hazards 5, 6: stamps of the future are refused; log time never goes back. */
static void log_time(void)
{
    struct fixture f;
    struct fx_write w;
    fx_open(&f, "s");
    fx_populate(&f);
    fx_write_init(&f, &w, 1);
    w.put.key = fx_text("k");
    w.put.began = f.time + 1;
    CHECK_EQ(fx_put_object(&f, &w.put)->error, ERR_INVALID);
    int64_t before = f.time;
    f.time -= 5 * HOUR;
    Result *r = fx_put_inline(&f, "k", "x");
    CHECK_EQ(r->time, before);
    CHECK_EQ(state_time(f.state), before);
    CHECK_EQ(fx_get(&f, "k")->head->modified, before);
    fx_close(&f);
}

/* Hazard 13: what was named has to be what is there. */
static void names_checked(void)
{
    struct fixture f;
    DeleteBucket drop = DELETE_BUCKET__INIT;
    CreateBucket make = CREATE_BUCKET__INIT;
    fx_open(&f, "s");
    fx_populate(&f);
    make.name = fx_text("b");
    make.owner = "bob";
    make.pool = 1;
    CHECK_EQ(fx_create_bucket(&f, &make)->error, ERR_BUCKET_EXISTS);
    make.owner = "alice";
    CHECK_EQ(fx_create_bucket(&f, &make)->error, ERR_BUCKET_OWNED);
    CHECK_OK(fx_put_inline(&f, "k", "x")->error);
    drop.bucket = f.bucket;
    drop.name = fx_text("b");
    CHECK_EQ(fx_delete_bucket(&f, &drop)->error, ERR_BUCKET_NOT_EMPTY);
    CHECK_OK(fx_delete(&f, "k")->error);
    drop.bucket++;
    CHECK_EQ(fx_delete_bucket(&f, &drop)->error, ERR_MISMATCH);
    drop.bucket--;
    CHECK_OK(fx_delete_bucket(&f, &drop)->error);
    CHECK_EQ(fx_delete_bucket(&f, &drop)->error, ERR_NO_BUCKET);
    make.owner = "bob";
    CHECK_OK(fx_create_bucket(&f, &make)->error);
    CHECK_EQ(fx_put_inline(&f, "k", "x")->error, ERR_NO_BUCKET); /* a PUT begun in alice's */
    fx_close(&f);
}

static void conditions(void)
{
    struct fixture f;
    struct fx_write w;
    Conditions c = CONDITIONS__INIT;
    fx_open(&f, "s");
    fx_populate(&f);
    fx_write_init(&f, &w, 0);
    w.put.key = fx_text("k");
    w.put.conditions = &c;
    c.if_match_etag = fx_text("etag");
    CHECK_EQ(fx_put_object(&f, &w.put)->error, ERR_NO_KEY);
    c = (Conditions)CONDITIONS__INIT;
    c.if_absent = true;
    CHECK_OK(fx_put_object(&f, &w.put)->error);
    CHECK_EQ(fx_put_object(&f, &w.put)->error, ERR_PRECONDITION);
    c.if_absent = false;
    c.if_match_etag = fx_text("other");
    CHECK_EQ(fx_put_object(&f, &w.put)->error, ERR_PRECONDITION);
    c.if_match_etag = fx_text("etag");
    CHECK_OK(fx_put_object(&f, &w.put)->error);
    c.if_match_etag = fx_text("*");
    CHECK_OK(fx_put_object(&f, &w.put)->error);
    uint64_t version = fx_get(&f, "k")->head->version;
    w.put.conditions = NULL;
    w.put.rewrite_head = true;
    w.head.content_type = "text/plain";
    w.put.if_version = version - 1;
    CHECK_EQ(fx_put_object(&f, &w.put)->error, ERR_MISMATCH);
    w.put.if_version = version;
    CHECK_OK(fx_put_object(&f, &w.put)->error);
    CHECK_TEXT(fx_get(&f, "k")->head->content_type, "text/plain");
    fx_close(&f);
}

/* Hazards 15, 19, 22: replaced runs wait in g, go in bounded steps, take c and r rows with them. */
static void collection(void)
{
    struct fixture f;
    struct fx_write w;
    fx_open(&f, "s");
    fx_populate(&f);
    fx_write_init(&f, &w, 10);
    w.put.key = fx_text("k");
    w.disks[4][2] = 0;
    CHECK_OK(fx_put_object(&f, &w.put)->error);
    CHECK_EQ(fx_repairs(&f)->n_repairs, 1);
    CHECK_OK(fx_put_inline(&f, "k", "new")->error);
    CHECK_EQ(fx_due(&f, f.time)->n_due, 0); /* readers may be at it */
    Answer *due = fx_due(&f, f.time + 60 * SECOND);
    CHECK_EQ(due->n_due, 1);
    CollectRun body = COLLECT_RUN__INIT;
    body.due = due->due[0]->due;
    body.write_id = due->due[0]->run->write_id;
    body.count = 3;
    CHECK_EQ(fx_collect_run(&f, &body)->error, ERR_MISMATCH); /* not due yet */
    f.time += 60 * SECOND;
    body.next_sequence = 3;
    CHECK_EQ(fx_collect_run(&f, &body)->error, ERR_MISMATCH);
    body.next_sequence = 0;
    CHECK_OK(fx_collect_run(&f, &body)->error);
    CHECK_EQ(fx_collect_run(&f, &body)->error, ERR_MISMATCH); /* again: nothing */
    CHECK_EQ(fx_due(&f, f.time)->due[0]->next_sequence, 3);
    fx_collect(&f);
    CHECK_EQ(fx_repairs(&f)->n_repairs, 0);
    CHECK_EQ(fx_get(&f, "k")->head->size, 3);
    fx_close(&f);
    CHECK_EQ(fx_rows(&f, "c"), 0);
    CHECK_EQ(fx_rows(&f, "r"), 0);
    CHECK_EQ(fx_rows(&f, "g"), 0);
    CHECK_EQ(fx_rows(&f, "x"), 1);
}

/* Hazard 18: only the newest holder's verdict makes an order, and its repair ends it. */
static void repairs(void)
{
    struct fixture f;
    struct fx_write w;
    uint8_t id[16] = {0};
    RepairKey key = REPAIR_KEY__INIT, *list[] = {&key};
    OrderRepairs order = ORDER_REPAIRS__INIT;
    FinishRepairs done = FINISH_REPAIRS__INIT;
    fx_open(&f, "s");
    fx_populate(&f);
    fx_write_init(&f, &w, 1);
    w.put.key = fx_text("k");
    CHECK_OK(fx_put_object(&f, &w.put)->error);
    memcpy(id, w.id, WRITE_ID_BYTES);
    key.pool = 1;
    key.chunk_id = fx_bytes(id, 16);
    key.index = 2;
    key.disk = w.disks[0][3];
    order.shards = done.shards = list;
    order.n_shards = done.n_shards = 1;
    CHECK_OK(fx_order_repairs(&f, &order)->error);
    CHECK_EQ(fx_repairs(&f)->n_repairs, 0); /* not its holder */
    key.disk = w.disks[0][2];
    CHECK_OK(fx_order_repairs(&f, &order)->error);
    key.index = 5;
    key.disk = w.disks[0][5];
    CHECK_OK(fx_order_repairs(&f, &order)->error);
    Answer *a = fx_repairs(&f);
    CHECK_EQ(a->n_repairs, 1);
    CHECK_EQ(a->repairs[0]->n_indexes, 2);
    key.disk = w.disks[0][4];
    CHECK_OK(fx_finish_repairs(&f, &done)->error);
    CHECK_EQ(fx_repairs(&f)->repairs[0]->n_indexes, 2); /* durable elsewhere is not enough */
    key.disk = w.disks[0][5];
    CHECK_OK(fx_finish_repairs(&f, &done)->error);
    CHECK_EQ(fx_repairs(&f)->repairs[0]->n_indexes, 1);
    key.index = 2;
    key.disk = w.disks[0][2];
    CHECK_OK(fx_finish_repairs(&f, &done)->error);
    CHECK_EQ(fx_repairs(&f)->n_repairs, 0);
    id[15] = 9; /* a chunk that is not there */
    CHECK_OK(fx_order_repairs(&f, &order)->error);
    CHECK_EQ(fx_repairs(&f)->n_repairs, 0);
    fx_close(&f);
    CHECK_EQ(fx_rows(&f, "r"), 0);
}

/* Hazard 17 and the map's deltas. */
/* Hazard 2: a chunk comes with a shard on the older holder when the newest has compared already: the older one
 * stays until the shard has been made. */
static void committed_behind_a_comparison(void)
{
    struct fixture f;
    struct fx_write w;
    uint8_t id[16] = {0};
    RepairKey key = REPAIR_KEY__INIT, *list[] = {&key};
    FinishRepairs done = FINISH_REPAIRS__INIT;
    fx_open(&f, "s");
    fx_populate(&f);
    fx_write_init(&f, &w, 1);
    w.put.key = fx_text("k");
    uint32_t pg = fx_pg(w.id, 0), spare = (pg + 6) % 8 + 1;
    CHECK_OK(push(&f, pg, 2, spare, slot_now(&f, pg, 2)->holders[0]->since_epoch)->error);
    uint64_t since = slot_now(&f, pg, 2)->holders[0]->since_epoch;
    CHECK_OK(fx_put_object(&f, &w.put)->error);
    CHECK_EQ(finish(&f, pg, 2, spare, since)->error, ERR_BUSY);
    CHECK_EQ(slot_now(&f, pg, 2)->n_holders, 2);
    memcpy(id, w.id, WRITE_ID_BYTES);
    key.pool = 1;
    key.chunk_id = fx_bytes(id, 16);
    key.index = 2;
    key.disk = spare;
    done.shards = list;
    done.n_shards = 1;
    CHECK_OK(fx_finish_repairs(&f, &done)->error);
    CHECK_OK(finish(&f, pg, 2, spare, since)->error);
    CHECK_EQ(slot_now(&f, pg, 2)->n_holders, 1);
    fx_close(&f);
}

static void disks(void)
{
    struct fixture f;
    fx_open(&f, "s");
    fx_populate(&f);
    uint64_t epoch = state_epoch(f.state);
    CHECK_EQ(fx_disk(&f, 3, 1, "a:1")->disk, 3); /* the same message again */
    CHECK_EQ(state_epoch(f.state), epoch);
    CHECK_EQ(fx_disk(&f, 3, 1, "b:2")->error, ERR_DISK_IN_USE); /* a clone */
    CHECK_OK(fx_disk(&f, 3, 2, "b:2")->error);
    CHECK_EQ(fx_disk(&f, 3, 1, "a:1")->error, ERR_DISK_IN_USE); /* late */
    Answer *a = fx_map(&f, epoch);
    CHECK_EQ(a->map->since, epoch);
    CHECK_EQ(a->map->n_disks, 1);
    CHECK_EQ(a->map->n_pgs, 0);
    CHECK_TEXT(a->map->disks[0]->address, "b:2");
    CHECK_EQ(a->map->epoch, epoch + 1);
    SetDisksUp down = SET_DISKS_UP__INIT;
    uint32_t ids[] = {3, 4};
    down.disks = ids;
    down.n_disks = 2;
    CHECK_OK(fx_set_disks_up(&f, &down)->error);
    a = fx_map(&f, epoch + 1);
    CHECK_EQ(a->map->n_disks, 2);
    CHECK_EQ(a->map->disks[1]->down_since, f.time);
    f.time += HOUR;
    CHECK_OK(fx_set_disks_up(&f, &down)->error);
    CHECK_EQ(fx_map(&f, 0)->map->disks[2]->down_since, f.time - HOUR);
    CHECK_EQ(fx_map(&f, 0)->map->n_pgs, 8);
    SetDisksSuspect slow = SET_DISKS_SUSPECT__INIT;
    slow.disks = ids;
    slow.n_disks = 1;
    slow.suspect = true;
    CHECK_OK(fx_set_disks_suspect(&f, &slow)->error);
    f.time += HOUR;
    epoch = state_epoch(f.state);
    CHECK_OK(fx_set_disks_suspect(&f, &slow)->error);
    CHECK_EQ(state_epoch(f.state), epoch);
    CHECK(fx_map(&f, 0)->map->disks[2]->suspect);
    CHECK_EQ(fx_map(&f, 0)->map->disks[2]->suspect_since, f.time - HOUR);
    slow.suspect = false;
    CHECK_OK(fx_set_disks_suspect(&f, &slow)->error);
    CHECK(!fx_map(&f, 0)->map->disks[2]->suspect);
    CHECK_EQ(fx_map(&f, 0)->map->disks[2]->suspect_since, 0);
    SetDiskState gone = SET_DISK_STATE__INIT;
    gone.disk = 3;
    gone.remove = true;
    CHECK_EQ(fx_set_disk_state(&f, &gone)->error, ERR_BUSY);
    gone.disk = fx_disk(&f, 100, 1, "x:1")->disk;
    CHECK_EQ(gone.disk, 9);
    CHECK_OK(fx_set_disk_state(&f, &gone)->error);
    CHECK_EQ(fx_map(&f, 0)->map->n_disks, 8);
    CHECK_EQ(fx_map(&f, state_epoch(f.state) - 1)->map->disks[0]->removed, true);
    fx_reopen(&f);
    CHECK_EQ(fx_disk(&f, 101, 1, "x:1")->disk, 10); /* ids are never used again */
    CHECK_EQ(fx_map(&f, state_epoch(f.state))->map->n_disks, 0);
    /* More than a thousand epochs behind: the whole. */
    for (int i = 0; i < 1002; i++) {
        down.up = i % 2;
        down.n_disks = 1;
        CHECK_OK(fx_set_disks_up(&f, &down)->error);
        arena_clear(&f.arena);
    }
    CHECK_EQ(fx_map(&f, epoch)->map->since, 0);
    CHECK_EQ(fx_map(&f, epoch)->map->n_disks, 9);
    CHECK_EQ(fx_map(&f, state_epoch(f.state) - 500)->map->n_disks, 1);
    fx_close(&f);
}

static void users(void)
{
    struct fixture f;
    CreateUser make = CREATE_USER__INIT;
    DeleteUser drop = DELETE_USER__INIT;
    UserInfo user = USER_INFO__INIT;
    GetUser get = GET_USER__INIT;
    Query q = QUERY__INIT;
    fx_open(&f, "s");
    user.name = "alice";
    user.access_key = "AK1";
    user.sealed_secret = fx_text("sealed");
    make.user = &user;
    CHECK_OK(fx_create_user(&f, &make)->error);
    CHECK_EQ(fx_create_user(&f, &make)->error, ERR_EXISTS);
    user.name = "bob";
    CHECK_EQ(fx_create_user(&f, &make)->error, ERR_EXISTS); /* the access key is taken */
    get.access_key = "AK1";
    q.body_case = QUERY__BODY_GET_USER;
    q.get_user = &get;
    Answer *a = fx_query(&f, &q);
    CHECK_EQ(a->n_users, 1);
    CHECK_TEXT(a->users[0]->name, "alice");
    drop.name = "alice";
    CHECK_OK(fx_delete_user(&f, &drop)->error);
    CHECK_EQ(fx_delete_user(&f, &drop)->error, ERR_NO_USER);
    CHECK_EQ(fx_query(&f, &q)->error, ERR_NO_USER);
    fx_close(&f);
}

/* More of them than one page takes: each is listed once. */
static void many_users(void)
{
    enum { USERS = 2001 };
    struct fixture f;
    CreateUser make = CREATE_USER__INIT;
    UserInfo user = USER_INFO__INIT;
    ListUsers list = LIST_USERS__INIT;
    Query q = QUERY__INIT;
    char name[8], after[8] = "";
    uint32_t next = 0, pages = 1;
    fx_open(&f, "s");
    for (uint32_t i = 0; i < USERS; i++) {
        snprintf(name, sizeof name, "u%04u", i);
        user.name = user.access_key = name;
        user.sealed_secret = fx_text("sealed");
        make.user = &user;
        CHECK_OK(fx_create_user(&f, &make)->error);
        arena_clear(&f.arena);
    }
    q.body_case = QUERY__BODY_LIST_USERS;
    q.list_users = &list;
    for (Answer *a = fx_query(&f, &q);; a = fx_query(&f, &q), pages++) {
        for (size_t i = 0; i < a->n_users; i++) {
            snprintf(name, sizeof name, "u%04u", next++);
            CHECK_TEXT(a->users[i]->name, name);
        }
        if (!a->truncated || pages > 3)
            break;
        snprintf(after, sizeof after, "%.*s", (int)a->next.len, (const char *)a->next.data);
        list.after = fx_text(after);
        arena_clear(&f.arena);
    }
    CHECK_EQ(next, USERS);
    CHECK_EQ(pages, 3);
    fx_close(&f);
}

/* A known command with a field of tomorrow, deep inside: {time 1, put_object {head {1023: "x"}}}. */
static const uint8_t unknown_field[] = {0x08, 0x01, 0x82, 0x01, 0x06, 0x1a,
                                        0x04, 0xfa, 0x3f, 0x01, 'x'};

/* Hazard 24: what this version does not know stops it, and it stays stopped. Garbage does not. */
static void unknown_commands(void)
{
    static const uint8_t unknown[] = {0x08, 0x01, 0xfa, 0x3f, 0x01, 'x'}; /* field 1023 */
    static const uint8_t garbage[] = {0xff, 0xff, 0xff};
    struct fixture f;
    fx_open(&f, "s");
    struct state_entry e = {.index = 1, .data = garbage, .length = sizeof garbage};
    ProtobufCMessage *m;
    bool grows;
    CHECK_ERR(state_check_command(garbage, sizeof garbage, &grows), ERR_FORMAT);
    CHECK_OK(state_apply(f.state, &e, 1, &(struct state_position){.index = 1}, &f.arena));
    CHECK_OK(message_unpack(&result__descriptor, &f.arena, e.result, e.result_length, &m));
    CHECK_EQ(((Result *)m)->error, ERR_FORMAT);
    CHECK_ERR(state_check_command(unknown, sizeof unknown, &grows), ERR_UNSUPPORTED);
    CHECK_ERR(state_check_command(unknown_field, sizeof unknown_field, &grows), ERR_UNSUPPORTED);
    e = (struct state_entry){.index = 2, .data = unknown, .length = sizeof unknown};
    CHECK_ERR(state_apply(f.state, &e, 1, &(struct state_position){.index = 2}, &f.arena),
              ERR_UNSUPPORTED);
    CHECK_EQ(state_applied(f.state), 1);
    CHECK(state_apply(f.state, NULL, 0, &(struct state_position){.index = 3}, &f.arena) != OK);
    fx_close(&f);
}

static const struct test tests[] = {{"restart", restart},
                                    {"holders", holders},
                                    {"placement checked", placement_checked},
                                    {"aborts", aborts},
                                    {"log time", log_time},
                                    {"names checked", names_checked},
                                    {"conditions", conditions},
                                    {"collection", collection},
                                    {"repairs", repairs},
                                    {"a commit behind a comparison", committed_behind_a_comparison},
                                    {"disks", disks},
                                    {"users", users},
                                    {"many users", many_users},
                                    {"unknown commands", unknown_commands},
                                    {0}};
SUITE("state", tests)
