/* Answers are single messages: whatever keys, parts and objects are like, they stay below what a frame
 * takes, and a listing's pages lead to its end. */
#include "tests/unit/state/fixture.h"
#include <stdlib.h>
#include "common/rpc/frame.h"
#include "common/client/chunk_io.h"
#include "metadata/state/state_internal.h"

enum { ENTRIES = 1000, HEADERS = 8, HEADER = 1000, RUNS = 256 };

/* An entry whose row is as large as a client can make it. */
struct large {
    ObjectHead head;
    Pair pairs[HEADERS], *list[HEADERS];
    char key[OBJECT_KEY_MAX + 1], value[HEADER + 1];
};

static void large_init(struct large *l)
{
    object_head__init(&l->head);
    memset(l->value, 'v', HEADER);
    l->value[HEADER] = 0;
    for (int i = 0; i < HEADERS; i++) {
        pair__init(&l->pairs[i]);
        l->pairs[i].name = fx_text("name");
        l->pairs[i].value = fx_text(l->value);
        l->list[i] = &l->pairs[i];
    }
    l->head.metadata = l->head.headers = l->list;
    l->head.n_metadata = l->head.n_headers = HEADERS / 2;
    l->head.content_type = l->value;
    l->head.etag = fx_text("0123456789abcdef0123456789abcdef-10000");
}

static void large_key(struct large *l, int n)
{
    memset(l->key, 'k', OBJECT_KEY_MAX);
    l->key[snprintf(l->key, 8, "%06d", n)] = 'k';
    l->key[OBJECT_KEY_MAX] = 0;
}

static void check_answer(const Answer *a)
{
    CHECK_OK(a->error);
    CHECK(answer__get_packed_size(a) <= FRAME_BODY_MAX);
}

static void put_large(struct fixture *f, int n)
{
    static struct large l;
    PutObject put = PUT_OBJECT__INIT;
    ObjectBody body = OBJECT_BODY__INIT;
    large_init(&l);
    large_key(&l, n);
    body.inline_data = fx_text("x");
    l.head.size = 1;
    put.bucket = f->bucket;
    put.key = fx_text(l.key);
    put.head = &l.head;
    put.body = &body;
    put.began = f->time;
    CHECK_OK(fx_put_object(f, &put)->error);
    arena_clear(&f->arena);
}

/* The number of an entry or prefix; they come in order. */
static void follows(ProtobufCBinaryData key, int *next)
{
    char digits[7] = {0};
    CHECK(key.len > 6);
    memcpy(digits, key.data, 6);
    CHECK_EQ(atoi(digits), *next);
    (*next)++;
}

static int list_all(struct fixture *f, const char *delimiter, int *pages)
{
    ListObjects list = LIST_OBJECTS__INIT;
    Query q = QUERY__INIT;
    int found = 0;
    q.body_case = QUERY__BODY_LIST_OBJECTS;
    q.list_objects = &list;
    list.bucket = fx_text("b");
    list.delimiter = fx_text(delimiter);
    list.max_keys = ENTRIES;
    for (*pages = 1; *pages < 10; (*pages)++) {
        Answer *a = fx_query(f, &q);
        check_answer(a);
        for (size_t i = 0; i < a->n_objects; i++) {
            follows(a->objects[i]->key, &found);
            CHECK_EQ(a->objects[i]->head->size, 1);
            CHECK(a->objects[i]->head->modified > 0 && a->objects[i]->head->etag.len == 38);
        }
        for (size_t i = 0; i < a->n_prefixes; i++)
            follows(a->prefixes[i], &found);
        if (!a->truncated)
            break;
        list.after = a->next;
    }
    return found;
}

static void objects(void)
{
    struct fixture f;
    int pages;
    fx_open(&f, "s");
    fx_populate(&f);
    for (int i = 0; i < ENTRIES; i++)
        put_large(&f, i);
    CHECK_EQ(list_all(&f, "", &pages), ENTRIES);
    CHECK_EQ(pages, 2);
    /* Each key is a common prefix of its own. */
    CHECK_EQ(list_all(&f, "kkkkkkkkkk", &pages), ENTRIES);
    CHECK_EQ(pages, 1);
    fx_close(&f);
}

static void uploads(void)
{
    struct fixture f;
    static struct large l;
    uint8_t id[UPLOAD_ID_BYTES] = {0};
    CreateUpload make = CREATE_UPLOAD__INIT;
    ListUploads list = LIST_UPLOADS__INIT;
    Query q = QUERY__INIT;
    int found = 0, pages = 1;
    fx_open(&f, "s");
    fx_populate(&f);
    large_init(&l);
    make.bucket = f.bucket;
    make.upload = fx_bytes(id, sizeof id);
    make.head = &l.head;
    make.owner = "alice";
    for (int i = 0; i < ENTRIES; i++) {
        large_key(&l, i);
        make.key = fx_text(l.key);
        memcpy(id, &i, sizeof i);
        CHECK_OK(fx_create_upload(&f, &make)->error);
        arena_clear(&f.arena);
    }
    q.body_case = QUERY__BODY_LIST_UPLOADS;
    q.list_uploads = &list;
    list.bucket = fx_text("b");
    list.max = ENTRIES;
    for (; pages < 10; pages++) {
        Answer *a = fx_query(&f, &q);
        check_answer(a);
        for (size_t i = 0; i < a->n_uploads; i++)
            follows(a->uploads[i]->key, &found);
        if (!a->truncated)
            break;
        list.key_marker = a->next;
        list.upload_marker = a->next_upload;
    }
    CHECK_EQ(found, ENTRIES);
    CHECK_EQ(pages, 2);
    fx_close(&f);
}

/* ---- objects in very many pieces ---- */

struct pieces {
    struct fixture f;
    uint8_t upload[UPLOAD_ID_BYTES];
    uint32_t parts;
    CompletePart named[OBJECT_RUNS_MAX / RUNS + 1], *list[OBJECT_RUNS_MAX / RUNS + 1];
    char etag[33];
};

/* A part of n runs of one chunk, their numbers as long as they get. */
static enum err put_part(struct pieces *p, uint32_t number, uint32_t n)
{
    static ChunkRun runs[RUNS], *run_list[RUNS];
    static ChunkDurable durable[RUNS], *durable_list[RUNS];
    static uint32_t disks[RUNS][6];
    uint8_t md5[16] = {1}, id[WRITE_ID_BYTES] = {0};
    PartInfo part = PART_INFO__INIT;
    PutPart body = PUT_PART__INIT;
    p->f.writes++;
    memcpy(id, &p->f.writes, sizeof p->f.writes);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t sequence = UINT32_MAX - 2 * (RUNS - i);
        chunk_run__init(&runs[i]);
        chunk_durable__init(&durable[i]);
        runs[i].pool = 1;
        runs[i].write_id = fx_bytes(id, WRITE_ID_BYTES);
        runs[i].first_sequence = durable[i].sequence = sequence;
        runs[i].count = 1;
        runs[i].chunk_size = runs[i].last_length = CHUNK_BYTES_MAX;
        durable[i].disks = disks[i];
        durable[i].n_disks = 6;
        for (uint32_t s = 0; s < 6; s++)
            disks[i][s] = (fx_pg(id, sequence) + s) % FX_DISKS + 1;
        run_list[i] = &runs[i];
        durable_list[i] = &durable[i];
    }
    part.number = number;
    part.size = (uint64_t)n * CHUNK_BYTES_MAX;
    part.md5 = fx_bytes(md5, 16);
    part.runs = run_list;
    part.n_runs = body.n_durable = n;
    body.bucket = p->f.bucket;
    body.key = fx_text("k");
    body.upload = fx_bytes(p->upload, sizeof p->upload);
    body.part = &part;
    body.began = p->f.time;
    body.durable = durable_list;
    Result *r = fx_put_part(&p->f, &body);
    memcpy(p->etag, r->etag.data, r->etag.len < 32 ? r->etag.len : 32);
    enum err e = (enum err)r->error;
    arena_clear(&p->f.arena);
    return e;
}

static enum err complete(struct pieces *p)
{
    CompleteUpload done = COMPLETE_UPLOAD__INIT;
    for (uint32_t i = 0; i < p->parts; i++) {
        complete_part__init(&p->named[i]);
        p->named[i].number = i + 1;
        p->named[i].etag = fx_text(p->etag);
        p->list[i] = &p->named[i];
    }
    done.bucket = p->f.bucket;
    done.key = fx_text("k");
    done.upload = fx_bytes(p->upload, sizeof p->upload);
    done.parts = p->list;
    done.n_parts = p->parts;
    return (enum err)fx_complete_upload(&p->f, &done)->error;
}

/* The parts, by pages; how many runs they have. */
static size_t list_parts(struct pieces *p, bool want_runs, uint32_t *parts)
{
    ListParts list = LIST_PARTS__INIT;
    Query q = QUERY__INIT;
    size_t runs = 0;
    q.body_case = QUERY__BODY_LIST_PARTS;
    q.list_parts = &list;
    list.bucket = fx_text("b");
    list.key = fx_text("k");
    list.upload = fx_bytes(p->upload, sizeof p->upload);
    list.max = ENTRIES;
    list.want_runs = want_runs;
    for (*parts = 0; *parts <= p->parts;) {
        Answer *a = fx_query(&p->f, &q);
        check_answer(a);
        for (size_t i = 0; i < a->n_parts; i++) {
            CHECK_EQ(a->parts[i]->number, ++*parts);
            runs += a->parts[i]->n_runs;
        }
        list.after = *parts;
        if (!a->truncated)
            break;
    }
    return runs;
}

static void pieces(void)
{
    static struct pieces p;
    CreateUpload make = CREATE_UPLOAD__INIT;
    ObjectHead head = OBJECT_HEAD__INIT;
    uint32_t parts;
    memset(&p, 0, sizeof p);
    fx_open(&p.f, "s");
    fx_populate(&p.f);
    make.bucket = p.f.bucket;
    make.key = fx_text("k");
    make.upload = fx_bytes(p.upload, sizeof p.upload);
    make.head = &head;
    CHECK_OK(fx_create_upload(&p.f, &make)->error);
    for (p.parts = 1; p.parts <= OBJECT_RUNS_MAX / RUNS; p.parts++)
        CHECK_OK(put_part(&p, p.parts, RUNS));
    CHECK_OK(put_part(&p, p.parts, OBJECT_RUNS_MAX % RUNS + 1));
    CHECK_ERR(complete(&p), ERR_TOO_BIG);
    CHECK_OK(put_part(&p, p.parts, OBJECT_RUNS_MAX % RUNS));
    CHECK_EQ(list_parts(&p, false, &parts), 0);
    CHECK_EQ(parts, p.parts);
    CHECK_EQ(list_parts(&p, true, &parts), OBJECT_RUNS_MAX);
    CHECK_EQ(parts, p.parts);
    CHECK_OK(complete(&p));
    Answer *a = fx_get(&p.f, "k");
    check_answer(a);
    CHECK_EQ(a->body->n_runs, OBJECT_RUNS_MAX);
    /* With the sizes of as many parts as there may be, and the largest head, it would fit as well. */
    CHECK(answer__get_packed_size(a) + (PARTS_MAX - p.parts) * 6 + 32 * 1024 <= FRAME_BODY_MAX);
    fx_close(&p.f);
}

static const struct test tests[] = {
    {"objects with large rows", objects},
    {"uploads with large rows", uploads},
    {"objects in very many pieces", pieces},
    {0},
};
SUITE("bounded answers", tests)
