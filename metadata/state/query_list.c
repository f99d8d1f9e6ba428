/* Listings of objects, uploads and parts: one walk over the rows, with a seek past what rolls up into
 * a common prefix.
 *
 * A page resumes behind `after`, which is an entry's key or a common prefix of the page before; a
 * text that begins with the prefix and whose first delimiter behind it ends the text is taken for a
 * common prefix: everything that begins with it is passed.
 *
 * Entries have what a listing shows of a row and no more, and a page ends early when it has PAGE_BYTES:
 * an answer is one message, whatever keys and parts are like. */
#include "metadata/state/query_internal.h"

struct listing {
    struct walk walk;
    struct query *query;
    uint64_t bucket;
    char table; /* 'o' or 'u' */
    ProtobufCBinaryData prefix, delimiter;
    size_t most, count; /* entries and prefixes together */
    ProtobufCBinaryData last;
};

/* The length of the common prefix that this key rolls up into, 0 for none. */
static size_t rolled_up(const struct listing *l, const uint8_t *key, size_t n)
{
    size_t d = l->delimiter.len;
    if (d == 0)
        return 0;
    for (size_t i = l->prefix.len; i + d <= n; i++)
        if (memcmp(key + i, l->delimiter.data, d) == 0)
            return i + d;
    return 0;
}

static bool begins(ProtobufCBinaryData text, ProtobufCBinaryData prefix)
{
    return text.len >= prefix.len &&
           (prefix.len == 0 || memcmp(text.data, prefix.data, prefix.len) == 0);
}

static void key_listing(const struct listing *l, struct key *k)
{
    key_begin(k, l->table);
    key_u64(k, l->bucket);
}

/* To the first key behind all that begin with text; false when there is none in this table. */
static bool seek_past_prefix(struct listing *l, const void *text, size_t n)
{
    struct key k;
    key_listing(l, &k);
    key_text_open(&k, text, n);
    if (!key_behind(&k))
        return false;
    walk_seek(&l->walk, &k);
    return true;
}

static void seek_past_key(struct listing *l, const void *text, size_t n)
{
    struct key k;
    key_listing(l, &k);
    key_text_behind(&k, text, n);
    walk_seek(&l->walk, &k);
}

static int compare(ProtobufCBinaryData a, ProtobufCBinaryData b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n > 0 ? memcmp(a.data, b.data, n) : 0;
    return c != 0 ? c : a.len < b.len ? -1 : a.len > b.len;
}

static enum err listing_init(struct listing *l, struct query *q, char table, uint64_t bucket,
                             ProtobufCBinaryData prefix, ProtobufCBinaryData delimiter,
                             ProtobufCBinaryData after, uint32_t most)
{
    struct key k;
    if (prefix.len > OBJECT_KEY_MAX || delimiter.len > OBJECT_KEY_MAX || after.len > OBJECT_KEY_MAX)
        return ERR_INVALID;
    *l = (struct listing){.query = q, .bucket = bucket, .table = table, .prefix = prefix};
    l->delimiter = delimiter;
    l->most = page_size(most, LIST_MAX);
    key_listing(l, &k);
    key_text_open(&k, prefix.data, prefix.len);
    walk_init(&l->walk, q, &k);
    if (after.len == 0 || (compare(after, prefix) < 0 && !begins(after, prefix)))
        return OK;
    if (begins(after, prefix) && rolled_up(l, after.data, after.len) == after.len)
        (void)seek_past_prefix(l, after.data, after.len);
    else if (table == 'o')
        seek_past_key(l, after.data, after.len);
    return OK;
}

enum step { STEP_ENTRY, STEP_PREFIX, STEP_END };

/* The next entry (its key in text) or common prefix; sets truncated when the page is full and
 * something follows. A walk that is beyond the prefix has ended. */
static enum step listing_next(struct listing *l, uint8_t *text, size_t *n, struct kv_slice *value,
                              struct key_reader *rest)
{
    struct kv_slice key;
    Answer *answer = l->query->answer;
    if (!walk_here(&l->walk, &key, value))
        return STEP_END;
    key_reader_init(rest, key, 9);
    if (key_read_text(rest, text, OBJECT_KEY_MAX, n) != OK) {
        l->query->error = ERR_CORRUPT;
        return STEP_END;
    }
    if (l->count == l->most || page_full(l->query)) {
        answer->truncated = l->most > 0;
        return STEP_END;
    }
    l->count++;
    size_t up = rolled_up(l, text, *n);
    l->last = query_copy(l->query, text, up > 0 ? up : *n);
    if (up == 0)
        return STEP_ENTRY;
    answer->prefixes[answer->n_prefixes++] = l->last;
    page_add(l->query, l->last.len);
    if (!seek_past_prefix(l, text, up))
        return STEP_END;
    return STEP_PREFIX;
}

static void listing_end(struct listing *l)
{
    if (l->query->answer->truncated)
        l->query->answer->next = l->last;
    walk_release(&l->walk);
}

/* Not its headers, metadata and checksums: a thousand of those do not fit into an answer. */
static ObjectHead *listed_head(struct query *q, const ObjectHead *stored)
{
    ObjectHead *head = arena_alloc(q->arena, sizeof *head);
    object_head__init(head);
    head->size = stored->size;
    head->etag = stored->etag;
    head->modified = stored->modified;
    head->version = stored->version;
    head->delete_marker = stored->delete_marker;
    return head;
}

static bool add_object(struct listing *l, struct kv_slice value)
{
    struct query *q = l->query;
    ObjectHead *stored;
    if (!query_unpack(q, &object_head__descriptor, value, &stored))
        return false;
    ObjectEntry *entry = arena_alloc(q->arena, sizeof *entry);
    object_entry__init(entry);
    entry->key = l->last;
    entry->head = listed_head(q, stored);
    q->answer->objects[q->answer->n_objects++] = entry;
    page_add(q, object_entry__get_packed_size(entry));
    return true;
}

enum err query_list_objects(struct query *q, const ListObjects *c)
{
    BucketInfo *bucket;
    struct listing l;
    struct kv_slice value;
    struct key_reader rest;
    uint8_t text[OBJECT_KEY_MAX];
    size_t n;
    Answer *answer = q->answer;
    enum err e = query_bucket(q, c->bucket, &bucket);
    if (e == OK)
        e = listing_init(&l, q, 'o', bucket->id, c->prefix, c->delimiter, c->after, c->max_keys);
    if (e != OK)
        return e;
    answer->objects = arena_alloc(q->arena, (l.most + 1) * sizeof *answer->objects);
    answer->prefixes = arena_alloc(q->arena, (l.most + 1) * sizeof *answer->prefixes);
    for (enum step s; (s = listing_next(&l, text, &n, &value, &rest)) != STEP_END;) {
        if (s == STEP_PREFIX)
            continue;
        if (!add_object(&l, value))
            break;
        seek_past_key(&l, text, n); /* its older versions */
    }
    listing_end(&l);
    return OK;
}

/* Uploads of one key resume behind the upload id. */
static void seek_upload_marker(struct listing *l, const ListUploads *c)
{
    struct key k;
    if (c->key_marker.len == 0 || compare(c->key_marker, c->prefix) < 0 ||
        (begins(c->key_marker, c->prefix) &&
         rolled_up(l, c->key_marker.data, c->key_marker.len) == c->key_marker.len))
        return;
    if (c->upload_marker.len != UPLOAD_ID_BYTES) {
        seek_past_key(l, c->key_marker.data, c->key_marker.len);
        return;
    }
    key_upload(&k, l->bucket, c->key_marker.data, c->key_marker.len, c->upload_marker.data);
    key_u8(&k, 0);
    walk_seek(&l->walk, &k);
}

enum err query_list_uploads(struct query *q, const ListUploads *c)
{
    BucketInfo *bucket;
    struct listing l;
    struct kv_slice value;
    struct key_reader rest;
    uint8_t text[OBJECT_KEY_MAX], upload[UPLOAD_ID_BYTES];
    size_t n;
    Answer *answer = q->answer;
    enum err e = query_bucket(q, c->bucket, &bucket);
    if (e == OK)
        e = listing_init(&l, q, 'u', bucket->id, c->prefix, c->delimiter, c->key_marker, c->max);
    if (e != OK)
        return e;
    seek_upload_marker(&l, c);
    answer->uploads = arena_alloc(q->arena, (l.most + 1) * sizeof *answer->uploads);
    answer->prefixes = arena_alloc(q->arena, (l.most + 1) * sizeof *answer->prefixes);
    ProtobufCBinaryData last = {0};
    for (enum step s; (s = listing_next(&l, text, &n, &value, &rest)) != STEP_END;) {
        UploadEntry *entry;
        last = (ProtobufCBinaryData){0};
        if (s == STEP_PREFIX)
            continue;
        if (!query_unpack(q, &upload_entry__descriptor, value, &entry))
            break;
        key_read_raw(&rest, upload, sizeof upload);
        entry->key = l.last;
        entry->upload = last = query_copy(q, upload, sizeof upload);
        entry->head = NULL; /* no part of a listing */
        answer->uploads[answer->n_uploads++] = entry;
        page_add(q, upload_entry__get_packed_size(entry));
        walk_next(&l.walk);
    }
    listing_end(&l);
    if (answer->truncated)
        answer->next_upload = last;
    return OK;
}

static bool add_part(struct query *q, const ListParts *c, struct kv_slice value)
{
    PartInfo *part;
    if (!query_unpack(q, &part_info__descriptor, value, &part))
        return false;
    part->n_checksums = 0;
    if (!c->want_runs)
        part->n_runs = 0;
    q->answer->parts[q->answer->n_parts++] = part;
    page_add(q, part_info__get_packed_size(part));
    return true;
}

enum err query_list_parts(struct query *q, const ListParts *c)
{
    BucketInfo *bucket;
    struct key key;
    struct walk w;
    struct kv_slice row, value;
    Answer *answer = q->answer;
    size_t most = page_size(c->max, LIST_MAX);
    enum err e = query_bucket(q, c->bucket, &bucket);
    if (e != OK)
        return e;
    if (c->key.len == 0 || c->key.len > OBJECT_KEY_MAX || c->upload.len != UPLOAD_ID_BYTES)
        return ERR_NO_UPLOAD;
    key_upload(&key, bucket->id, c->key.data, c->key.len, c->upload.data);
    if (!query_get_message(q, &key, &upload_entry__descriptor, &answer->upload))
        return ERR_NO_UPLOAD;
    answer->upload->key = c->key;
    answer->upload->upload = c->upload;
    answer->parts = arena_alloc(q->arena, (most + 1) * sizeof *answer->parts);
    key_parts(&key, c->upload.data);
    walk_init(&w, q, &key);
    if (c->after < PARTS_MAX)
        key_part(&key, c->upload.data, c->after + 1);
    else
        key_part(&key, c->upload.data, UINT32_MAX);
    walk_seek(&w, &key);
    for (; walk_here(&w, &row, &value); walk_next(&w)) {
        if (answer->n_parts == most || page_full(q)) {
            answer->truncated = most > 0;
            break;
        }
        if (!add_part(q, c, value))
            break;
    }
    walk_release(&w);
    return OK;
}
