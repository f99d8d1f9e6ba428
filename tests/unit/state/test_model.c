/* Random work on objects and uploads against a naive model in memory; after everything is deleted and
 * collected no row of a chunk, a repair, an upload or the queue is left. */
#include <stdlib.h>
#include "tests/unit/state/fixture.h"

enum { KEYS = 48, UPLOADS = 4, PARTS = 4 };

struct model_object {
    bool there;
    uint64_t size, version;
    char etag[40];
};
struct model_upload {
    bool open;
    int key;
    uint8_t id[16];
    uint8_t md5[PARTS];   /* 0: no such part */
    uint64_t size[PARTS]; /* the last may be small */
};
struct model {
    struct fixture f;
    struct model_object objects[KEYS];
    struct model_upload uploads[UPLOADS];
    uint64_t upload_ids;
};

/* Few letters, many delimiters and common beginnings. */
static const char *key_name(int i, char out[16])
{
    static const char *const beginnings[] = {"", "a", "a/", "a/b/", "ab/", "b/"};
    snprintf(out, 16, "%s%c%s", beginnings[i % 6], 'a' + i / 6 % 4, i / 24 ? "/z" : "");
    return out;
}

static void expect(struct model *m, int key, uint64_t size, const char *etag, const Result *r)
{
    struct model_object *o = &m->objects[key];
    o->there = true;
    o->size = size;
    o->version = r->index;
    snprintf(o->etag, sizeof o->etag, "%s", etag);
}

static void do_put(struct model *m)
{
    struct fixture *f = &m->f;
    struct fx_write w;
    char name[16], etag[16];
    int key = (int)fx_random(f, KEYS);
    uint32_t chunks = fx_random(f, 2) ? (uint32_t)fx_random(f, 6) : 0;
    Conditions c = CONDITIONS__INIT;
    fx_write_init(f, &w, chunks);
    snprintf(etag, sizeof etag, "e%u", (unsigned)fx_random(f, 3));
    w.put.key = fx_text(key_name(key, name));
    w.head.etag = fx_text(etag);
    if (chunks == 0) {
        w.body.inline_data = fx_bytes("0123456789", fx_random(f, 11));
        w.head.size = w.body.inline_data.len;
    } else if (fx_random(f, 3) == 0) {
        w.disks[0][fx_random(f, 6)] = 0;
    }
    struct model_object *o = &m->objects[key];
    enum err want = OK;
    uint64_t kind = fx_random(f, 6);
    if (kind == 0) {
        w.put.conditions = &c;
        c.if_absent = true;
        want = o->there ? ERR_PRECONDITION : OK;
    } else if (kind == 1) {
        w.put.conditions = &c;
        c.if_match_etag = fx_text("e1");
        want = !o->there ? ERR_NO_KEY : strcmp(o->etag, "e1") != 0 ? ERR_PRECONDITION : OK;
    }
    Result *r = fx_put_object(f, &w.put);
    CHECK_EQ(r->error, want);
    if (r->error == OK)
        expect(m, key, w.head.size, etag, r);
}

static void do_delete(struct model *m)
{
    char names[4][16];
    ProtobufCBinaryData list[4];
    int keys[4];
    DeleteObjects body = DELETE_OBJECTS__INIT;
    body.bucket = m->f.bucket;
    body.keys = list;
    body.n_keys = 1 + fx_random(&m->f, 4);
    for (size_t i = 0; i < body.n_keys; i++) {
        keys[i] = (int)fx_random(&m->f, KEYS);
        list[i] = fx_text(key_name(keys[i], names[i]));
    }
    Result *r = fx_delete_objects(&m->f, &body);
    CHECK_OK(r->error);
    for (size_t i = 0; i < body.n_keys; i++) {
        bool existed = r->existed.data[i / 8] >> i % 8 & 1;
        CHECK_EQ(existed, m->objects[keys[i]].there);
        m->objects[keys[i]].there = false;
    }
}

static void do_upload(struct model *m)
{
    struct fixture *f = &m->f;
    struct model_upload *u = &m->uploads[fx_random(f, UPLOADS)];
    char name[16];
    if (u->open)
        return;
    *u = (struct model_upload){.open = true, .key = (int)fx_random(f, KEYS)};
    m->upload_ids++;
    memcpy(u->id, &m->upload_ids, 8);
    ObjectHead head = OBJECT_HEAD__INIT;
    CreateUpload body = CREATE_UPLOAD__INIT;
    body.bucket = f->bucket;
    body.key = fx_text(key_name(u->key, name));
    body.upload = fx_bytes(u->id, 16);
    body.head = &head;
    body.owner = "alice";
    CHECK_OK(fx_create_upload(f, &body)->error);
}

static void do_part(struct model *m)
{
    struct fixture *f = &m->f;
    struct model_upload *u = &m->uploads[fx_random(f, UPLOADS)];
    struct fx_write w;
    char name[16];
    unsigned part = (unsigned)fx_random(f, PARTS);
    fx_write_init(f, &w, fx_random(f, 3) ? 6 : 1); /* 5 MiB and a bit, or 1,000 bytes */
    uint8_t md5 = (uint8_t)(1 + fx_random(f, 200));
    Result *r = fx_write_part(f, &w, u->id, key_name(u->key, name), part + 1, md5);
    CHECK_EQ(r->error, u->open ? OK : ERR_NO_UPLOAD);
    if (r->error == OK) {
        u->md5[part] = md5;
        u->size[part] = w.head.size;
    }
}

static void do_complete(struct model *m)
{
    struct fixture *f = &m->f;
    struct model_upload *u = &m->uploads[fx_random(f, UPLOADS)];
    CompletePart parts[PARTS], *list[PARTS];
    char etags[PARTS][33], name[16];
    CompleteUpload body = COMPLETE_UPLOAD__INIT;
    enum err want = u->open ? OK : ERR_NO_UPLOAD;
    uint64_t size = 0;
    for (unsigned i = 0; i < PARTS; i++) {
        if (fx_random(f, 4) == 0 || (u->md5[i] == 0 && fx_random(f, 8) > 0))
            continue; /* not named, or named though it is not there */
        CompletePart *p = &parts[body.n_parts];
        complete_part__init(p);
        p->number = i + 1;
        snprintf(etags[i], sizeof etags[i], "%02x%030x", u->md5[i], 0);
        p->etag = fx_text(etags[i]);
        if (want == OK && u->md5[i] == 0)
            want = ERR_INVALID_PART;
        size += u->size[i];
        list[body.n_parts++] = p;
    }
    for (size_t i = 0; want == OK && i + 1 < body.n_parts; i++)
        if (u->size[parts[i].number - 1] < 5 << 20)
            want = ERR_PART_TOO_SMALL;
    if (body.n_parts == 0)
        return;
    body.bucket = f->bucket;
    body.key = fx_text(key_name(u->key, name));
    body.upload = fx_bytes(u->id, 16);
    body.parts = list;
    Result *r = fx_complete_upload(f, &body);
    if (!u->open && r->error == OK)
        return; /* completed before: the tombstone's answer */
    CHECK_EQ(r->error, want);
    if (r->error != OK)
        return;
    char etag[40];
    snprintf(etag, sizeof etag, "%.*s", (int)r->etag.len, (const char *)r->etag.data);
    CHECK_EQ(r->size, size);
    expect(m, u->key, size, etag, r);
    u->open = false;
    Result *again = fx_complete_upload(f, &body);
    CHECK(again->error == OK && again->index == r->index && again->size == size);
}

static void do_abort(struct model *m)
{
    struct model_upload *u = &m->uploads[fx_random(&m->f, UPLOADS)];
    char name[16];
    AbortUpload body = ABORT_UPLOAD__INIT;
    body.bucket = m->f.bucket;
    body.key = fx_text(key_name(u->key, name));
    body.upload = fx_bytes(u->id, 16);
    if (!u->open)
        return;
    CHECK_OK(fx_abort_upload(&m->f, &body)->error);
    CHECK_OK(fx_abort_upload(&m->f, &body)->error);
    u->open = false;
}

/* ---- what is read ---- */

static void check_get(struct model *m, int key)
{
    char name[16];
    const struct model_object *o = &m->objects[key];
    Answer *a = fx_get(&m->f, key_name(key, name));
    CHECK_EQ(a->error, o->there ? OK : ERR_NO_KEY);
    if (a->error != OK || !o->there)
        return;
    CHECK_EQ(a->head->size, o->size);
    CHECK_EQ(a->head->version, o->version);
    CHECK(a->head->etag.len == strlen(o->etag) &&
          memcmp(a->head->etag.data, o->etag, a->head->etag.len) == 0);
    uint64_t sum = a->body->inline_data.len, parts = 0;
    for (size_t i = 0; i < a->body->n_runs; i++)
        sum += (uint64_t)(a->body->runs[i]->count - 1) * a->body->runs[i]->chunk_size +
               a->body->runs[i]->last_length;
    for (size_t i = 0; i < a->body->n_part_sizes; i++)
        parts += a->body->part_sizes[i];
    CHECK_EQ(sum, o->size);
    CHECK(a->head->part_count == 0 || parts == o->size);
}

static int compare_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* The whole listing, naively: sorted entries, a prefix as its text with a mark behind. */
static size_t naive_list(const struct model *m, const char *prefix, const char *delimiter,
                         char out[KEYS][20])
{
    size_t n = 0;
    for (int i = 0; i < KEYS; i++) {
        char name[16];
        if (!m->objects[i].there || strncmp(key_name(i, name), prefix, strlen(prefix)) != 0)
            continue;
        const char *cut = *delimiter ? strstr(name + strlen(prefix), delimiter) : NULL;
        snprintf(out[n], 20, cut ? "%.*s*" : "%.*s",
                 cut ? (int)(cut - name) + (int)strlen(delimiter) : 15, name);
        bool known = false;
        for (size_t j = 0; j < n; j++)
            known = known || strcmp(out[j], out[n]) == 0;
        n += !known;
    }
    qsort(out, n, 20, compare_text);
    return n;
}

/* Pages through a listing; entries and prefixes of a page are merged as the client would. */
static void check_list(struct model *m, const char *prefix, const char *delimiter, uint32_t page)
{
    char want[KEYS][20], got[KEYS * 2][20];
    size_t wanted = naive_list(m, prefix, delimiter, want), found = 0;
    ProtobufCBinaryData after = {0};
    for (int round = 0; round < KEYS + 2; round++) {
        ListObjects list = LIST_OBJECTS__INIT;
        Query q = QUERY__INIT;
        list.bucket = fx_text("b");
        list.prefix = fx_text(prefix);
        list.delimiter = fx_text(delimiter);
        list.after = after;
        list.max_keys = page;
        q.body_case = QUERY__BODY_LIST_OBJECTS;
        q.list_objects = &list;
        Answer *a = fx_query(&m->f, &q);
        CHECK_OK(a->error);
        CHECK(a->n_objects + a->n_prefixes <= page);
        size_t from = found;
        for (size_t i = 0; i < a->n_objects && found < 2 * KEYS; i++)
            snprintf(got[found++], 20, "%.*s", (int)a->objects[i]->key.len,
                     (const char *)a->objects[i]->key.data);
        for (size_t i = 0; i < a->n_prefixes && found < 2 * KEYS; i++)
            snprintf(got[found++], 20, "%.*s*", (int)a->prefixes[i].len,
                     (const char *)a->prefixes[i].data);
        qsort(got[from], found - from, 20, compare_text);
        if (!a->truncated)
            break;
        CHECK_EQ(found - from, page);
        after = a->next;
    }
    CHECK_EQ(found, wanted);
    for (size_t i = 0; i < wanted && i < found; i++)
        CHECK_TEXT(got[i], want[i]);
}

static void check_usage(struct model *m)
{
    GetBucket get = GET_BUCKET__INIT;
    Query q = QUERY__INIT;
    uint64_t objects = 0, bytes = 0;
    for (int i = 0; i < KEYS; i++) {
        objects += m->objects[i].there;
        bytes += m->objects[i].there ? m->objects[i].size : 0;
    }
    get.name = fx_text("b");
    get.want_usage = true;
    q.body_case = QUERY__BODY_GET_BUCKET;
    q.get_bucket = &get;
    Answer *a = fx_query(&m->f, &q);
    CHECK_EQ(a->usage->objects, objects);
    CHECK_EQ(a->usage->bytes, bytes);
}

static void random_step(struct model *m)
{
    static const char *const prefixes[] = {"", "a", "a/", "a/b/", "b", "x"};
    static const char *const delimiters[] = {"", "/", "b", "/z"};
    switch (fx_random(&m->f, 16)) {
    case 0:
        do_delete(m);
        break;
    case 1:
        do_upload(m);
        break;
    case 2:
    case 3:
    case 4:
        do_part(m);
        break;
    case 5:
        do_complete(m);
        break;
    case 6:
        if (fx_random(&m->f, 3) == 0)
            do_abort(m);
        break;
    case 7:
        check_list(m, prefixes[fx_random(&m->f, 6)], delimiters[fx_random(&m->f, 4)],
                   1 + (uint32_t)fx_random(&m->f, 9));
        check_usage(m);
        break;
    case 8:
        m->f.time += SECOND * (int64_t)fx_random(&m->f, 100);
        break;
    case 9:
        if (fx_random(&m->f, 8) == 0)
            fx_collect(&m->f);
        break;
    case 10:
        check_get(m, (int)fx_random(&m->f, KEYS));
        break;
    default:
        do_put(m);
    }
    arena_clear(&m->f.arena);
}

static void against_model(void)
{
    struct model *m = sys_alloc(sizeof *m);
    fx_open(&m->f, "s");
    fx_populate(&m->f);
    for (int i = 0; i < 2500; i++) {
        random_step(m);
        if (fx_random(&m->f, 400) == 0)
            fx_reopen(&m->f);
    }
    for (int i = 0; i < KEYS; i++)
        check_get(m, i);

    /* Everything goes. */
    for (int i = 0; i < KEYS; i++) {
        char name[16];
        CHECK_OK(fx_delete(&m->f, key_name(i, name))->error);
        m->objects[i].there = false;
    }
    check_usage(m);
    DeleteBucket drop = DELETE_BUCKET__INIT;
    drop.bucket = m->f.bucket;
    drop.name = fx_text("b");
    CHECK_OK(fx_delete_bucket(&m->f, &drop)->error); /* with its open uploads */
    for (int i = 0; i < 600; i++) {
        m->f.time += HOUR;
        fx_collect(&m->f);
        fx_delete(&m->f, "nothing"); /* carries housekeeping along */
        arena_clear(&m->f.arena);
    }
    fx_close(&m->f);
    static const char *const gone[] = {"o", "x", "n", "u", "p", "c", "r", "g", "d"};
    for (size_t i = 0; i < sizeof gone / sizeof gone[0]; i++)
        CHECK_EQ(fx_rows(&m->f, gone[i]), 0);
    sys_free(m);
}

/* An object of many parts: complete and delete write few rows, and all of its chunks go. */
static void many_parts(void)
{
    struct fixture f;
    struct fx_write w;
    uint8_t id[16] = {9};
    enum { N = 1500 };
    fx_open(&f, "s");
    fx_populate(&f);
    ObjectHead head = OBJECT_HEAD__INIT;
    CreateUpload make = CREATE_UPLOAD__INIT;
    make.bucket = f.bucket;
    make.key = fx_text("big");
    make.upload = fx_bytes(id, 16);
    make.head = &head;
    CHECK_OK(fx_create_upload(&f, &make)->error);
    CompletePart *parts = sys_alloc(N * sizeof *parts), **list = sys_alloc(N * sizeof *list);
    char etag[33];
    snprintf(etag, sizeof etag, "07%030x", 0);
    for (uint32_t i = 0; i < N; i++) {
        fx_write_init(&f, &w, 6);
        CHECK_OK(fx_write_part(&f, &w, id, "big", i + 1, 7)->error);
        complete_part__init(&parts[i]);
        parts[i].number = i + 1;
        parts[i].etag = fx_text(etag);
        list[i] = &parts[i];
        arena_clear(&f.arena);
    }
    CompleteUpload done = COMPLETE_UPLOAD__INIT;
    done.bucket = f.bucket;
    done.key = fx_text("big");
    done.upload = fx_bytes(id, 16);
    done.parts = list;
    done.n_parts = N - 1; /* the last part is left out */
    CHECK_OK(fx_complete_upload(&f, &done)->error);
    CHECK_EQ(fx_get(&f, "big")->body->n_runs, N - 1);
    for (int i = 0; i < 40; i++)
        fx_delete(&f, "nothing");
    f.time += HOUR;
    Answer *due = fx_due(&f, f.time);
    CHECK_EQ(due->n_due, 1); /* the part that was left out, and only that */
    fx_collect(&f);
    CHECK_EQ(fx_get(&f, "big")->error, OK);
    f.time += 30 * HOUR;
    CHECK_OK(fx_delete(&f, "big")->error);
    CHECK_EQ(fx_due(&f, f.time + HOUR)->n_due, 1);
    CHECK_EQ(fx_status(&f)->status->due_rows, 1);
    f.time += HOUR;
    fx_collect(&f);
    fx_close(&f);
    CHECK_EQ(fx_rows(&f, "c"), 0);
    CHECK_EQ(fx_rows(&f, "g"), 0);
    CHECK_EQ(fx_rows(&f, "p"), 0);
    sys_free(parts);
    sys_free(list);
}

/* A day passes without a command before an upload's parts are dropped: the tombstone, which says
 * what belongs to the object, goes last. */
static void idle_day(void)
{
    struct fixture f;
    struct fx_write w;
    uint8_t id[16] = {9};
    char etag[33];
    CompletePart part = COMPLETE_PART__INIT, *list[] = {&part};
    fx_open(&f, "s");
    fx_populate(&f);
    ObjectHead head = OBJECT_HEAD__INIT;
    CreateUpload make = CREATE_UPLOAD__INIT;
    make.bucket = f.bucket;
    make.key = fx_text("k");
    make.upload = fx_bytes(id, 16);
    make.head = &head;
    CHECK_OK(fx_create_upload(&f, &make)->error);
    for (uint32_t i = 1; i <= 200; i++) { /* the first is used; the last has chunks, too */
        fx_write_init(&f, &w, i == 1 || i == 200 ? 6 : 0);
        CHECK_OK(fx_write_part(&f, &w, id, "k", i, 7)->error);
    }
    snprintf(etag, sizeof etag, "07%030x", 0);
    part.number = 1;
    part.etag = fx_text(etag);
    CompleteUpload done = COMPLETE_UPLOAD__INIT;
    done.bucket = f.bucket;
    done.key = fx_text("k");
    done.upload = fx_bytes(id, 16);
    done.parts = list;
    done.n_parts = 1;
    CHECK_OK(fx_complete_upload(&f, &done)->error); /* drops some of them with it */
    for (int i = 0; i < 20; i++) {
        f.time += 30 * HOUR;
        fx_delete(&f, "nothing");
        fx_collect(&f);
    }
    fx_close(&f);
    CHECK_EQ(fx_rows(&f, "c"), 6);
    CHECK_EQ(fx_rows(&f, "p"), 0);
    CHECK_EQ(fx_rows(&f, "d"), 0);
}

static const struct test tests[] = {
    {"against a model", against_model}, {"many parts", many_parts}, {"an idle day", idle_day}, {0}};
SUITE("state model", tests)
