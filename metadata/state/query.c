/* Queries: the frame, and those about users, buckets and single objects; lists are in query_list.c,
 * what concerns the map and the chunks in query_cluster.c. */
#include "metadata/state/query_internal.h"
#include "common/proto/message.h"

bool query_get(struct query *q, const struct key *key, struct kv_slice *value)
{
    void *stored;
    size_t length;
    if (q->error != OK || key->overflow)
        return false;
    enum err e = kv_get(q->kv, q->snapshot, key_slice(key), &stored, &length);
    if (e == OK) {
        value->data = arena_copy(q->arena, stored, length);
        value->length = length;
        sys_free(stored);
    } else if (e != ERR_NOT_FOUND) {
        q->error = e;
    }
    return e == OK;
}

bool query_unpack(struct query *q, const ProtobufCMessageDescriptor *type, struct kv_slice bytes,
                  void *out)
{
    ProtobufCMessage *m = NULL;
    if (message_unpack(type, q->arena, bytes.data, bytes.length, &m) != OK) {
        q->error = ERR_CORRUPT;
        return false;
    }
    memcpy(out, &m, sizeof m);
    return true;
}

bool query_get_message(struct query *q, const struct key *key,
                       const ProtobufCMessageDescriptor *type, void *out)
{
    struct kv_slice value;
    return query_get(q, key, &value) && query_unpack(q, type, value, out);
}

ProtobufCBinaryData query_copy(struct query *q, const void *data, size_t n)
{
    return (ProtobufCBinaryData){.len = n, .data = n > 0 ? arena_copy(q->arena, data, n) : NULL};
}

void walk_init(struct walk *w, struct query *q, const struct key *prefix)
{
    w->query = q;
    w->prefix = *prefix;
    w->iterator = kv_iterator_new(q->kv, q->snapshot);
    kv_iterator_seek(w->iterator, key_slice(prefix));
}

void walk_release(struct walk *w)
{
    enum err e = kv_iterator_error(w->iterator);
    if (w->query->error == OK)
        w->query->error = e;
    kv_iterator_free(w->iterator);
}

void walk_seek(struct walk *w, const struct key *key)
{
    kv_iterator_seek(w->iterator, key_slice(key));
}

void walk_next(struct walk *w)
{
    kv_iterator_next(w->iterator);
}

bool walk_here(struct walk *w, struct kv_slice *key, struct kv_slice *value)
{
    if (!kv_iterator_valid(w->iterator))
        return false;
    *key = kv_iterator_key(w->iterator);
    *value = kv_iterator_value(w->iterator);
    return slice_begins(*key, &w->prefix);
}

uint64_t walk_count(struct query *q, const struct key *prefix)
{
    struct walk w;
    struct kv_slice key, value;
    uint64_t n = 0;
    walk_init(&w, q, prefix);
    for (; n < STATUS_COUNT_MAX && walk_here(&w, &key, &value); n++)
        walk_next(&w);
    walk_release(&w);
    return n;
}

/* ---- buckets and objects ---- */

enum err query_bucket(struct query *q, ProtobufCBinaryData name, BucketInfo **out)
{
    struct key key;
    if (name.len == 0 || name.len > STATE_TEXT_MAX)
        return ERR_NO_BUCKET;
    key_bucket(&key, name.data, name.len);
    if (!query_get_message(q, &key, &bucket_info__descriptor, out))
        return ERR_NO_BUCKET;
    q->answer->bucket = *out;
    return OK;
}

static bool get_usage(struct query *q, uint64_t bucket, struct usage *usage)
{
    struct key key;
    struct kv_slice value;
    key_usage(&key, bucket);
    return query_get(q, &key, &value) && usage_decode(value, usage);
}

static enum err get_bucket(struct query *q, const GetBucket *c)
{
    BucketInfo *bucket;
    struct usage usage = {0};
    enum err e = query_bucket(q, c->name, &bucket);
    if (e != OK || !c->want_usage || !get_usage(q, bucket->id, &usage))
        return e;
    q->answer->usage = arena_alloc(q->arena, sizeof *q->answer->usage);
    usage__init(q->answer->usage);
    q->answer->usage->objects = usage.objects;
    q->answer->usage->bytes = usage.bytes;
    return OK;
}

static enum err get_object(struct query *q, const GetObject *c)
{
    BucketInfo *bucket;
    struct key prefix, body;
    struct walk w;
    struct kv_slice key, value;
    struct key_reader r;
    enum err e = query_bucket(q, c->bucket, &bucket);
    if (e != OK)
        return e;
    if (c->key.len == 0 || c->key.len > OBJECT_KEY_MAX)
        return ERR_NO_KEY;
    key_object_all(&prefix, 'o', bucket->id, c->key.data, c->key.len);
    walk_init(&w, q, &prefix);
    if (!walk_here(&w, &key, &value)) {
        e = ERR_NO_KEY;
    } else if (query_unpack(q, &object_head__descriptor, value, &q->answer->head) && c->want_body) {
        key_reader_init(&r, key, prefix.length);
        key_object(&body, 'x', bucket->id, c->key.data, c->key.len, key_read_version(&r));
        if (!query_get_message(q, &body, &object_body__descriptor, &q->answer->body))
            e = ERR_CORRUPT; /* O2 */
    }
    walk_release(&w);
    return e;
}

static enum err list_buckets(struct query *q, const ListBuckets *c)
{
    struct key prefix, from;
    struct walk w;
    struct kv_slice key, value;
    size_t most = page_size(c->max, LIST_MAX);
    if (c->prefix.len > STATE_TEXT_MAX || c->after.len > STATE_TEXT_MAX)
        return ERR_INVALID;
    q->answer->buckets = arena_alloc(q->arena, most * sizeof *q->answer->buckets);
    key_bucket(&prefix, c->prefix.data, c->prefix.len);
    key_bucket(&from, c->after.data, c->after.len);
    key_u8(&from, 0); /* bucket names hold no NUL: the first key behind `after` */
    walk_init(&w, q, &prefix);
    if (c->after.len > 0 && memcmp(from.bytes, prefix.bytes,
                                   from.length < prefix.length ? from.length : prefix.length) >= 0)
        walk_seek(&w, &from);
    for (; walk_here(&w, &key, &value); walk_next(&w)) {
        BucketInfo *info;
        if (!query_unpack(q, &bucket_info__descriptor, value, &info))
            break;
        if (c->owner[0] != 0 && strcmp(c->owner, info->owner) != 0)
            continue;
        if (q->answer->n_buckets == most) {
            q->answer->truncated = true;
            break;
        }
        q->answer->buckets[q->answer->n_buckets++] = info;
        q->answer->next = info->name;
    }
    if (!q->answer->truncated)
        q->answer->next = (ProtobufCBinaryData){0};
    walk_release(&w);
    return OK;
}

/* ---- users, status ---- */

static void add_user(struct query *q, UserInfo *user)
{
    q->answer->users[q->answer->n_users++] = user;
}

static enum err get_user(struct query *q, const GetUser *c)
{
    struct key key;
    struct kv_slice name;
    UserInfo *user;
    if (c->access_key[0] == 0 || strlen(c->access_key) > STATE_TEXT_MAX)
        return ERR_NO_USER;
    key_access(&key, c->access_key);
    if (!query_get(q, &key, &name))
        return ERR_NO_USER;
    key_begin2(&key, 'm', 'u');
    key_raw(&key, name.data, name.length);
    if (!query_get_message(q, &key, &user_info__descriptor, &user))
        return ERR_NO_USER;
    q->answer->users = arena_alloc(q->arena, sizeof *q->answer->users);
    add_user(q, user);
    return OK;
}

static enum err list_users(struct query *q, const ListUsers *c)
{
    struct key prefix, from;
    struct walk w;
    struct kv_slice key, value;
    if (c->after.len > STATE_TEXT_MAX)
        return ERR_INVALID;
    q->answer->users = arena_alloc(q->arena, LIST_MAX * sizeof *q->answer->users);
    key_begin2(&prefix, 'm', 'u');
    walk_init(&w, q, &prefix);
    if (c->after.len > 0) {
        key_begin2(&from, 'm', 'u');
        key_raw(&from, c->after.data, c->after.len);
        key_u8(&from, 0); /* names hold no NUL: the first key behind `after` */
        walk_seek(&w, &from);
    }
    for (; walk_here(&w, &key, &value); walk_next(&w)) {
        UserInfo *user;
        if (q->answer->n_users == LIST_MAX) {
            q->answer->truncated = true;
            break;
        }
        if (!query_unpack(q, &user_info__descriptor, value, &user))
            break;
        add_user(q, user);
        q->answer->next = (ProtobufCBinaryData){strlen(user->name), (uint8_t *)user->name};
    }
    if (!q->answer->truncated)
        q->answer->next = (ProtobufCBinaryData){0};
    walk_release(&w);
    return OK;
}

/* All rows of g but the lists, which stand behind any time. */
static uint64_t count_due(struct query *q)
{
    struct key prefix;
    struct walk w;
    struct kv_slice key, value;
    uint64_t n = 0;
    key_begin(&prefix, 'g');
    walk_init(&w, q, &prefix);
    for (; n < STATUS_COUNT_MAX && walk_here(&w, &key, &value); n++) {
        if (key.length > 1 && ((const uint8_t *)key.data)[1] == 0xff)
            break;
        walk_next(&w);
    }
    walk_release(&w);
    return n;
}

static enum err get_status(struct query *q)
{
    StatusInfo *s = arena_alloc(q->arena, sizeof *s);
    struct key prefix;
    struct walk w;
    struct kv_slice key, value;
    struct meta_row meta;
    status_info__init(s);
    key_begin(&prefix, 'n');
    walk_init(&w, q, &prefix);
    for (; walk_here(&w, &key, &value); walk_next(&w)) {
        struct usage usage;
        if (!usage_decode(value, &usage))
            q->error = ERR_CORRUPT;
        s->buckets++;
        s->objects += usage.objects;
        s->bytes += usage.bytes;
    }
    walk_release(&w);
    key_begin(&prefix, 'r');
    s->repair_rows = walk_count(q, &prefix);
    s->due_rows = count_due(q);
    key_begin2(&prefix, 'm', 'u');
    s->users = walk_count(q, &prefix);
    key_meta(&prefix);
    if (query_get(q, &prefix, &value) && meta_decode(value, &meta)) {
        s->applied = meta.at.index;
        s->feature_level = meta.level;
        s->state_hash = meta.hash;
    }
    q->answer->status = s;
    return OK;
}

static enum err run_cluster(struct query *q, const Query *c)
{
    switch (c->body_case) {
    case QUERY__BODY_GET_USER:
        return get_user(q, c->get_user);
    case QUERY__BODY_LIST_USERS:
        return list_users(q, c->list_users);
    case QUERY__BODY_GET_MAP:
        return query_map(q, c->get_map);
    case QUERY__BODY_LIST_CHUNKS:
        return query_list_chunks(q, c->list_chunks);
    case QUERY__BODY_GET_CHUNK:
        return query_get_chunk(q, c->get_chunk);
    case QUERY__BODY_LIST_REPAIRS:
        return query_list_repairs(q, c->list_repairs);
    case QUERY__BODY_LIST_DUE:
        return query_list_due(q, c->list_due);
    case QUERY__BODY_JUDGE_SHARDS:
        return query_judge_shards(q, c->judge_shards);
    case QUERY__BODY_GET_STATUS:
        return get_status(q);
    default:
        return ERR_UNSUPPORTED;
    }
}

static enum err run(struct query *q, const Query *c)
{
    switch (c->body_case) {
    case QUERY__BODY_GET_BUCKET:
        return get_bucket(q, c->get_bucket);
    case QUERY__BODY_GET_OBJECT:
        return get_object(q, c->get_object);
    case QUERY__BODY_LIST_OBJECTS:
        return query_list_objects(q, c->list_objects);
    case QUERY__BODY_LIST_BUCKETS:
        return list_buckets(q, c->list_buckets);
    case QUERY__BODY_LIST_PARTS:
        return query_list_parts(q, c->list_parts);
    case QUERY__BODY_LIST_UPLOADS:
        return query_list_uploads(q, c->list_uploads);
    default:
        return run_cluster(q, c);
    }
}

enum err state_query(struct state *s, const Query *query, struct arena *arena, Answer **answer)
{
    struct query q = {.kv = s->kv, .arena = arena, .timeouts = &s->timeouts};
    q.answer = arena_alloc(arena, sizeof *q.answer);
    answer__init(q.answer);
    /* Before the snapshot: what they promise is in it. */
    q.answer->time = state_time(s);
    q.answer->epoch = state_epoch(s);
    q.snapshot = kv_snapshot_new(s->kv);
    enum err e = run(&q, query);
    kv_snapshot_free(s->kv, q.snapshot);
    if (q.error != OK)
        return q.error;
    q.answer->error = e;
    *answer = q.answer;
    return e;
}
