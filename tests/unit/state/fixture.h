/* A state of its own for a test: short ways to apply commands and to ask. Times are log time that
 * the test moves by itself. */
#pragma once
#include <stdio.h>
#include "tests/unit/suite.h"
#include "common/base/alloc.h"
#include "common/base/arena.h"
#include "common/base/ids.h"
#include "common/kv/kv.h"
#include "common/proto/command.pb-c.h"
#include "common/proto/query.pb-c.h"
#include "common/proto/message.h"
#include "metadata/state/state.h"
#include "placement/cluster_map.h"

#define HOUR   (INT64_C(3600) * INT64_C(1000000000))
#define SECOND INT64_C(1000000000)

struct fixture {
    struct state *state;
    struct arena arena;
    char directory[64];
    uint64_t index;
    int64_t time;
    uint64_t random;
    uint64_t bucket; /* "b" in pool 1 */
    uint64_t writes;
};

static inline uint64_t fx_random(struct fixture *f, uint64_t below)
{
    f->random += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = f->random;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (z ^ (z >> 31)) % below;
}

static inline void fx_open(struct fixture *f, const char *name)
{
    *f = (struct fixture){.time = 1000 * HOUR, .random = suite_seed()};
    arena_init(&f->arena);
    snprintf(f->directory, sizeof f->directory, "%s/%s", suite_dir(), name);
    CHECK_OK(state_open(f->directory, 0, &f->state));
}

static inline void fx_close(struct fixture *f)
{
    state_unref(f->state);
    arena_release(&f->arena);
}

static inline void fx_reopen(struct fixture *f)
{
    state_unref(f->state);
    CHECK_OK(state_open(f->directory, 0, &f->state));
}

static inline ProtobufCBinaryData fx_bytes(const void *data, size_t n)
{
    return (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)data, .len = n};
}
static inline ProtobufCBinaryData fx_text(const char *text)
{
    return fx_bytes(text, strlen(text));
}

/* Applies one command with the next index; its result, alive until the arena is cleared. */
static inline Result *fx_apply(struct fixture *f, Command *c)
{
    uint8_t *packed;
    size_t n;
    ProtobufCMessage *m = NULL;
    c->time = f->time;
    CHECK_OK(message_pack(&c->base, &f->arena, 1 << 20, &packed, &n));
    bool grows;
    CHECK_OK(state_check_command(packed, n, &grows));
    struct state_entry e = {.index = ++f->index, .data = packed, .length = n};
    CHECK_OK(state_apply(f->state, &e, 1, &(struct state_position){.index = e.index}, &f->arena));
    CHECK_OK(message_unpack(&result__descriptor, &f->arena, e.result, e.result_length, &m));
    return (Result *)m;
}

#define FX_COMMAND(NAME, field, Type)                               \
    static inline Result *fx_##field(struct fixture *f, Type *body) \
    {                                                               \
        Command c = COMMAND__INIT;                                  \
        c.body_case = COMMAND__BODY_##NAME;                         \
        c.field = body;                                             \
        return fx_apply(f, &c);                                     \
    }
FX_COMMAND(CREATE_POOL, create_pool, CreatePool)
FX_COMMAND(ASSIGN_POOL, assign_pool, AssignPool)
FX_COMMAND(PUSH_HOLDERS, push_holders, PushHolders)
FX_COMMAND(FINISH_HOLDER, finish_holder, FinishHolder)
FX_COMMAND(REGISTER_DISK, register_disk, RegisterDisk)
FX_COMMAND(SET_DISK_STATE, set_disk_state, SetDiskState)
FX_COMMAND(SET_DISKS_UP, set_disks_up, SetDisksUp)
FX_COMMAND(SET_DISKS_SUSPECT, set_disks_suspect, SetDisksSuspect)
FX_COMMAND(CREATE_BUCKET, create_bucket, CreateBucket)
FX_COMMAND(DELETE_BUCKET, delete_bucket, DeleteBucket)
FX_COMMAND(PUT_OBJECT, put_object, PutObject)
FX_COMMAND(DELETE_OBJECTS, delete_objects, DeleteObjects)
FX_COMMAND(CREATE_UPLOAD, create_upload, CreateUpload)
FX_COMMAND(PUT_PART, put_part, PutPart)
FX_COMMAND(COMPLETE_UPLOAD, complete_upload, CompleteUpload)
FX_COMMAND(ABORT_UPLOAD, abort_upload, AbortUpload)
FX_COMMAND(ABORT_WRITE, abort_write, AbortWrite)
FX_COMMAND(ORDER_REPAIRS, order_repairs, OrderRepairs)
FX_COMMAND(FINISH_REPAIRS, finish_repairs, FinishRepairs)
FX_COMMAND(COLLECT_RUN, collect_run, CollectRun)
FX_COMMAND(CREATE_USER, create_user, CreateUser)
FX_COMMAND(DELETE_USER, delete_user, DeleteUser)
FX_COMMAND(SET_FEATURE_LEVEL, set_feature_level, SetFeatureLevel)
FX_COMMAND(REGISTER_CLIENT, register_client, RegisterClient)

static inline Answer *fx_query(struct fixture *f, Query *q)
{
    Answer *answer = NULL;
    enum err e = state_query(f->state, q, &f->arena, &answer);
    CHECK(answer != NULL && answer->error == (int)e);
    return answer;
}

static inline Answer *fx_get(struct fixture *f, const char *key)
{
    GetObject get = GET_OBJECT__INIT;
    Query q = QUERY__INIT;
    get.bucket = fx_text("b");
    get.key = fx_text(key);
    get.want_body = true;
    q.body_case = QUERY__BODY_GET_OBJECT;
    q.get_object = &get;
    return fx_query(f, &q);
}

static inline Answer *fx_map(struct fixture *f, uint64_t since)
{
    GetMap get = GET_MAP__INIT;
    Query q = QUERY__INIT;
    get.since = since;
    q.body_case = QUERY__BODY_GET_MAP;
    q.get_map = &get;
    return fx_query(f, &q);
}

static inline Answer *fx_status(struct fixture *f)
{
    GetStatus get = GET_STATUS__INIT;
    Query q = QUERY__INIT;
    q.body_case = QUERY__BODY_GET_STATUS;
    q.get_status = &get;
    return fx_query(f, &q);
}

static inline Answer *fx_due(struct fixture *f, int64_t until)
{
    ListDue list = LIST_DUE__INIT;
    Query q = QUERY__INIT;
    list.until = until;
    list.max = 1000;
    q.body_case = QUERY__BODY_LIST_DUE;
    q.list_due = &list;
    return fx_query(f, &q);
}

static inline Answer *fx_repairs(struct fixture *f)
{
    ListRepairs list = LIST_REPAIRS__INIT;
    Query q = QUERY__INIT;
    list.pool = 1;
    list.all_pgs = true;
    list.max = 1000;
    q.body_case = QUERY__BODY_LIST_REPAIRS;
    q.list_repairs = &list;
    return fx_query(f, &q);
}

static inline Result *fx_disk(struct fixture *f, uint8_t n, uint64_t incarnation,
                              const char *address)
{
    uint8_t uuid[16] = {n};
    RegisterDisk body = REGISTER_DISK__INIT;
    body.uuid = fx_bytes(uuid, 16);
    body.capacity_bytes = UINT64_C(10) << 30;
    body.host = arena_format(&f->arena, "h%u", n);
    body.address = arena_string(&f->arena, address);
    body.incarnation = incarnation;
    return fx_register_disk(f, &body);
}

enum { FX_DISKS = 8, FX_BITS = 3 };

/* Eight disks, pool 1 = 4+2 with slot i of PG g on disk (g + i) % 8 + 1, and the bucket "b". */
static inline void fx_populate(struct fixture *f)
{
    uint32_t table[(1 << FX_BITS) * 6];
    CreatePool pool = CREATE_POOL__INIT;
    AssignPool assign = ASSIGN_POOL__INIT;
    CreateBucket bucket = CREATE_BUCKET__INIT;
    for (uint8_t d = 1; d <= FX_DISKS; d++)
        CHECK_EQ(fx_disk(f, d, 1, "a:1")->disk, d);
    pool.name = "standard";
    pool.k = 4;
    pool.m = 2;
    pool.cell = 65536;
    pool.failure_domain = DOMAIN_DISK;
    CHECK_EQ(fx_create_pool(f, &pool)->index, 1);
    for (uint32_t i = 0; i < (1 << FX_BITS) * 6; i++)
        table[i] = (i / 6 + i % 6) % FX_DISKS + 1;
    assign.pool = 1;
    assign.pg_bits = FX_BITS;
    assign.disks = table;
    assign.n_disks = (1 << FX_BITS) * 6;
    assign.epoch = state_epoch(f->state);
    CHECK_OK(fx_assign_pool(f, &assign)->error);
    bucket.name = fx_text("b");
    bucket.owner = "alice";
    bucket.pool = 1;
    Result *r = fx_create_bucket(f, &bucket);
    CHECK_OK(r->error);
    f->bucket = r->index;
}

/* ---- writes ---- */

/* A body of `chunks` chunks of 1 MiB, the last of 1,000 bytes, durable everywhere. */
struct fx_write {
    PutObject put;
    ObjectHead head;
    ObjectBody body;
    ChunkRun run, *runs[1];
    ChunkDurable durable[16], *durables[16];
    uint32_t disks[16][6];
    uint8_t id[WRITE_ID_BYTES];
};

static inline uint32_t fx_pg(const uint8_t *write_id, uint32_t sequence)
{
    struct chunk_id chunk = {.sequence = sequence};
    memcpy(chunk.write.bytes, write_id, WRITE_ID_BYTES);
    return pg_of_hash(chunk_hash(&chunk), FX_BITS);
}

static inline void fx_write_init(struct fixture *f, struct fx_write *w, uint32_t chunks)
{
    memset(w, 0, sizeof *w);
    put_object__init(&w->put);
    object_head__init(&w->head);
    object_body__init(&w->body);
    chunk_run__init(&w->run);
    f->writes++;
    memcpy(w->id, &f->writes, sizeof f->writes);
    w->id[11] = 0xee;
    w->run.pool = 1;
    w->run.write_id = fx_bytes(w->id, WRITE_ID_BYTES);
    w->run.count = chunks;
    w->run.chunk_size = 1 << 20;
    w->run.last_length = 1000;
    w->runs[0] = &w->run;
    w->body.runs = w->runs;
    w->body.n_runs = chunks > 0;
    w->head.size = chunks > 0 ? (uint64_t)(chunks - 1) * (1 << 20) + 1000 : 0;
    w->head.etag = fx_text("etag");
    for (uint32_t i = 0; i < chunks; i++) {
        chunk_durable__init(&w->durable[i]);
        w->durable[i].sequence = i;
        w->durable[i].nonce = 77;
        w->durable[i].disks = w->disks[i];
        w->durable[i].n_disks = 6;
        w->durables[i] = &w->durable[i];
        for (uint32_t s = 0; s < 6; s++)
            w->disks[i][s] = (fx_pg(w->id, i) + s) % FX_DISKS + 1;
    }
    w->put.durable = w->durables;
    w->put.n_durable = chunks;
    w->put.bucket = f->bucket;
    w->put.head = &w->head;
    w->put.body = &w->body;
    w->put.began = f->time;
}

/* The same bytes as a part of an upload. */
static inline Result *fx_write_part(struct fixture *f, struct fx_write *w, const uint8_t *upload,
                                    const char *key, uint32_t number, uint8_t md5)
{
    uint8_t sum[16] = {md5};
    PutPart body = PUT_PART__INIT;
    PartInfo part = PART_INFO__INIT;
    part.number = number;
    part.size = w->head.size;
    part.md5 = fx_bytes(sum, 16);
    part.runs = w->runs;
    part.n_runs = w->body.n_runs;
    body.bucket = f->bucket;
    body.key = fx_text(key);
    body.upload = fx_bytes(upload, 16);
    body.part = &part;
    body.began = w->put.began;
    body.durable = w->durables;
    body.n_durable = w->put.n_durable;
    return fx_put_part(f, &body);
}

static inline Result *fx_put_inline(struct fixture *f, const char *key, const char *text)
{
    struct fx_write w;
    fx_write_init(f, &w, 0);
    w.put.key = fx_text(key);
    w.body.inline_data = fx_text(text);
    w.head.size = strlen(text);
    w.head.etag = fx_text(text);
    return fx_put_object(f, &w.put);
}

static inline Result *fx_delete(struct fixture *f, const char *key)
{
    ProtobufCBinaryData name = fx_text(key);
    DeleteObjects body = DELETE_OBJECTS__INIT;
    body.bucket = f->bucket;
    body.keys = &name;
    body.n_keys = 1;
    return fx_delete_objects(f, &body);
}

/* Collects everything that is due now. */
static inline void fx_collect(struct fixture *f)
{
    for (int round = 0; round < 10000; round++) {
        Answer *due = fx_due(f, f->time);
        if (due->n_due == 0)
            return;
        CollectRun body = COLLECT_RUN__INIT;
        body.due = due->due[0]->due;
        body.write_id = due->due[0]->run->write_id;
        body.first_sequence = due->due[0]->run->first_sequence;
        body.next_sequence = due->due[0]->next_sequence;
        body.count = 3;
        CHECK_OK(fx_collect_run(f, &body)->error);
        arena_clear(&f->arena);
    }
    CHECK(!"the queue ends");
}

/* How many rows begin with this. The state must be closed. */
static inline size_t fx_rows(struct fixture *f, const char *prefix)
{
    struct kv *kv;
    size_t n = 0;
    struct kv_options options = {0};
    CHECK_OK(kv_open(f->directory, &options, &kv));
    struct kv_iterator *i = kv_iterator_new(kv, NULL);
    struct kv_slice p = {.data = prefix, .length = strlen(prefix)};
    for (kv_iterator_seek(i, p); kv_iterator_valid(i); kv_iterator_next(i), n++) {
        struct kv_slice k = kv_iterator_key(i);
        if (k.length < p.length || memcmp(k.data, p.data, p.length) != 0)
            break;
    }
    kv_iterator_free(i);
    kv_close(kv);
    return n;
}
