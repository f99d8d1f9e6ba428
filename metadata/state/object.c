/* Objects: put, delete, and the one function that replaces an o row.
 *
 * Invariants
 *  O1  n counts exactly the o rows of the bucket and the sum of their sizes.
 *  O2  every o row has an x row under the same key and version.
 *  O3  a run is named by one x row, one p row, or the rows of g: never by two of them. */
#include <assert.h>
#include "metadata/state/state_internal.h"

void object_current(struct apply *a, const struct object_key *key, struct object_row *row)
{
    struct key prefix;
    struct kv_slice stored, value;
    struct key_reader r;
    *row = (struct object_row){0};
    key_object_all(&prefix, 'o', key->bucket, key->key.data, key->key.len);
    if (!txn_first(a->txn, &prefix, &stored, &value))
        return;
    key_reader_init(&r, stored, prefix.length);
    row->version = key_read_version(&r);
    row->found = txn_unpack(a->txn, &object_head__descriptor, value, &row->head);
}

enum err conditions_check(const Conditions *c, const struct object_row *old)
{
    if (c == NULL)
        return OK;
    if (c->if_absent && old->found)
        return ERR_PRECONDITION;
    if (c->if_match_etag.len == 0)
        return OK;
    if (!old->found)
        return ERR_NO_KEY;
    bool any = c->if_match_etag.len == 1 && c->if_match_etag.data[0] == '*';
    return any || binary_equal(c->if_match_etag, old->head->etag) ? OK : ERR_PRECONDITION;
}

/* An old body's runs go to g; inline bytes just go. */
static void body_drop(struct apply *a, const struct key *key, const ObjectHead *head)
{
    ObjectBody *body;
    if ((head->write_id.len > 0 || head->part_count > 0) &&
        txn_get_message(a->txn, key, &object_body__descriptor, &body))
        gc_queue(a, body->runs, body->n_runs);
}

void object_replace(struct apply *a, const struct object_key *key, const struct object_row *old,
                    ObjectHead *head, const ObjectBody *body)
{
    struct usage usage = {0};
    struct key o, x;
    struct kv_slice kept = {0};
    bool alive = usage_get(a, key->bucket, &usage);
    assert(alive || a->txn->error != OK);
    if (old->found) {
        key_object(&x, 'x', key->bucket, key->key.data, key->key.len, old->version);
        key_object(&o, 'o', key->bucket, key->key.data, key->key.len, old->version);
        if (head != NULL && body == NULL)
            (void)txn_get(a->txn, &x, &kept);
        else
            body_drop(a, &x, old->head);
        txn_remove(a->txn, &o);
        txn_remove(a->txn, &x);
        usage.objects--;
        usage.bytes -= old->head->size;
    }
    if (head != NULL) {
        head->version = a->index;
        head->modified = a->time;
        key_object(&o, 'o', key->bucket, key->key.data, key->key.len, a->index);
        key_object(&x, 'x', key->bucket, key->key.data, key->key.len, a->index);
        txn_put_message(a->txn, &o, &head->base);
        if (body != NULL)
            txn_put_message(a->txn, &x, &body->base);
        else
            txn_put(a->txn, &x, kept.data, kept.length);
        usage.objects++;
        usage.bytes += head->size;
    }
    usage_put(a, key->bucket, &usage);
}

enum err head_check(const ObjectHead *head)
{
    if (head == NULL || head->etag.len > STATE_ETAG_MAX || head->delete_marker)
        return ERR_INVALID;
    return head->size > (uint64_t)OBJECT_BYTES_MAX ? ERR_TOO_BIG : OK;
}

static bool key_valid(uint64_t bucket, ProtobufCBinaryData key)
{
    return bucket != 0 && key.len > 0 && key.len <= OBJECT_KEY_MAX;
}

/* Copy onto itself: the head is new, the body and what describes it stay. */
static enum err rewrite_head(struct apply *a, const PutObject *c, const struct object_key *key,
                             const struct object_row *old)
{
    if (!old->found)
        return ERR_NO_KEY;
    if (old->version != c->if_version)
        return ERR_MISMATCH;
    ObjectHead head = *c->head;
    head.size = old->head->size;
    head.etag = old->head->etag;
    head.pool = old->head->pool;
    head.part_count = old->head->part_count;
    head.write_id = old->head->write_id;
    head.n_checksums = old->head->n_checksums;
    head.checksums = old->head->checksums;
    object_replace(a, key, old, &head, NULL);
    a->result->etag = head.etag;
    a->result->size = head.size;
    return OK;
}

static enum err put_new(struct apply *a, const PutObject *c, const struct object_key *key,
                        const struct object_row *old)
{
    struct commit commit = {0};
    ObjectHead head = *c->head;
    const ObjectBody *body = c->body;
    if (body == NULL || body->n_part_sizes > 0 || (body->n_runs > 0 && body->inline_data.len > 0) ||
        body->inline_data.len > STATE_INLINE_MAX)
        return ERR_INVALID;
    enum err e =
        commit_check(a, body->runs, body->n_runs, c->durable, c->n_durable, c->began, &commit);
    if (e != OK)
        return e;
    if (head.size != (body->n_runs > 0 ? commit.bytes : body->inline_data.len))
        return ERR_INVALID;
    head.part_count = 0;
    head.write_id = (ProtobufCBinaryData){0};
    if (commit.run_count > 0) {
        head.write_id.len = WRITE_ID_BYTES;
        head.write_id.data = commit.write.bytes;
        head.pool = commit.pool;
    }
    object_replace(a, key, old, &head, body);
    commit_write(a, &commit, c->durable, c->began);
    a->result->etag = head.etag;
    a->result->size = head.size;
    return OK;
}

enum err apply_put_object(struct apply *a, const PutObject *c)
{
    const struct object_key key = {.bucket = c->bucket, .key = c->key};
    struct object_row old;
    struct usage usage;
    if (!key_valid(c->bucket, c->key))
        return ERR_INVALID;
    enum err e = head_check(c->head);
    if (e != OK)
        return e;
    if (!usage_get(a, c->bucket, &usage))
        return ERR_NO_BUCKET;
    object_current(a, &key, &old);
    e = conditions_check(c->conditions, &old);
    if (e != OK)
        return e;
    return c->rewrite_head ? rewrite_head(a, c, &key, &old) : put_new(a, c, &key, &old);
}

enum err apply_delete_objects(struct apply *a, const DeleteObjects *c)
{
    struct object_row old;
    struct usage usage;
    if (c->n_keys == 0 || (c->conditions != NULL && c->n_keys != 1))
        return ERR_INVALID;
    if (c->n_keys > STATE_KEYS_MAX)
        return ERR_TOO_BIG;
    for (size_t i = 0; i < c->n_keys; i++)
        if (!key_valid(c->bucket, c->keys[i]))
            return ERR_INVALID;
    if (!usage_get(a, c->bucket, &usage))
        return ERR_NO_BUCKET;
    if (c->conditions != NULL) {
        const struct object_key key = {.bucket = c->bucket, .key = c->keys[0]};
        object_current(a, &key, &old);
        enum err e = conditions_check(c->conditions, &old);
        if (e != OK)
            return e;
    }
    a->result->existed.len = (c->n_keys + 7) / 8;
    a->result->existed.data = arena_alloc(a->arena, a->result->existed.len);
    for (size_t i = 0; i < c->n_keys; i++) {
        const struct object_key key = {.bucket = c->bucket, .key = c->keys[i]};
        object_current(a, &key, &old);
        if (!old.found)
            continue;
        a->result->existed.data[i / 8] |= (uint8_t)(1U << i % 8);
        object_replace(a, &key, &old, NULL, NULL);
    }
    return OK;
}
