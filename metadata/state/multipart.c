/* Multipart uploads while they are open: begin, take parts, abort; and the slow end of both ways to
 * close one, which housekeeping carries out in bounded steps. */
#include "common/base/text.h"
#include "metadata/state/state_internal.h"

enum { PARTS_PER_STEP = 64, UPLOADS_PER_STEP = 8 };

static bool upload_valid(uint64_t bucket, ProtobufCBinaryData key, ProtobufCBinaryData upload)
{
    return bucket != 0 && key.len > 0 && key.len <= OBJECT_KEY_MAX && upload.len == UPLOAD_ID_BYTES;
}

enum err apply_create_upload(struct apply *a, const CreateUpload *c)
{
    struct usage usage;
    struct tombstone ended;
    struct key key;
    struct kv_slice value;
    UploadEntry entry = UPLOAD_ENTRY__INIT;
    if (!upload_valid(c->bucket, c->key, c->upload) || strlen(c->owner) > STATE_TEXT_MAX)
        return ERR_INVALID;
    enum err e = head_check(c->head);
    if (e != OK)
        return e;
    if (!usage_get(a, c->bucket, &usage))
        return ERR_NO_BUCKET;
    key_upload(&key, c->bucket, c->key.data, c->key.len, c->upload.data);
    if (txn_get(a->txn, &key, &value) || tombstone_get(a, c->upload.data, &ended))
        return ERR_EXISTS;
    entry.created = a->time;
    entry.owner = c->owner;
    entry.head = c->head;
    txn_put_message(a->txn, &key, &entry.base);
    return OK;
}

void part_etag(const PartInfo *part, char out[33])
{
    hex_encode(part->md5.data, part->md5.len, out);
}

enum err apply_put_part(struct apply *a, const PutPart *c)
{
    struct commit commit;
    struct usage usage;
    struct key key;
    struct kv_slice value;
    PartInfo *old = NULL;
    if (!upload_valid(c->bucket, c->key, c->upload) || c->part == NULL || c->part->number == 0 ||
        c->part->number > PARTS_MAX || c->part->md5.len != 16)
        return ERR_INVALID;
    if (!usage_get(a, c->bucket, &usage))
        return ERR_NO_BUCKET;
    key_upload(&key, c->bucket, c->key.data, c->key.len, c->upload.data);
    if (!txn_get(a->txn, &key, &value))
        return ERR_NO_UPLOAD;
    enum err e = commit_check(a, c->part->runs, c->part->n_runs, c->durable, c->n_durable, c->began,
                              &commit);
    if (e != OK)
        return e;
    if (c->part->size != commit.bytes)
        return ERR_INVALID;
    key_part(&key, c->upload.data, c->part->number);
    if (txn_get_message(a->txn, &key, &part_info__descriptor, &old))
        gc_queue(a, old->runs, old->n_runs);
    PartInfo part = *c->part;
    part.modified = a->time;
    txn_put_message(a->txn, &key, &part.base);
    commit_write(a, &commit, c->durable, c->began);
    a->result->etag.data = arena_alloc(a->arena, 33);
    a->result->etag.len = 32;
    part_etag(&part, (char *)a->result->etag.data);
    a->result->size = part.size;
    return OK;
}

enum err apply_abort_upload(struct apply *a, const AbortUpload *c)
{
    const struct object_key object = {.bucket = c->bucket, .key = c->key};
    struct tombstone ended = {0};
    struct key key;
    struct kv_slice value;
    if (!upload_valid(c->bucket, c->key, c->upload))
        return ERR_INVALID;
    key_upload(&key, c->bucket, c->key.data, c->key.len, c->upload.data);
    if (!txn_get(a->txn, &key, &value)) {
        if (tombstone_get(a, c->upload.data, &ended) && !ended.completed &&
            ended.bucket == c->bucket && binary_equal(ended.key, c->key))
            return OK;
        return ERR_NO_UPLOAD;
    }
    ended = (struct tombstone){.bucket = c->bucket, .key = c->key};
    upload_end(a, &object, c->upload.data, &ended);
    return OK;
}

/* ---- steps of housekeeping ---- */

bool upload_drop_parts(struct apply *a, const uint8_t *upload)
{
    struct key prefix, key;
    struct kv_slice rows[PARTS_PER_STEP], values[PARTS_PER_STEP], row, value;
    struct txn_scan scan;
    struct tombstone ended = {0};
    size_t count = 0;
    bool more = false;
    /* Without it (which never happens) nothing is known to be unused, and nothing is deleted. */
    bool known = tombstone_get(a, upload, &ended);
    key_parts(&prefix, upload);
    txn_scan_begin(&scan, a->txn, &prefix, NULL);
    while (!more && txn_scan_next(&scan, &row, &value)) {
        more = count == PARTS_PER_STEP;
        if (!more) {
            rows[count] = row;
            values[count++] = value;
        }
    }
    txn_scan_end(&scan);
    for (size_t i = 0; i < count; i++) {
        PartInfo *part;
        if (!txn_unpack(a->txn, &part_info__descriptor, values[i], &part))
            return true;
        bool used = part->number / 8 < ended.used_bytes &&
                    (ended.used[part->number / 8] >> part->number % 8 & 1);
        if (known && !used)
            gc_queue(a, part->runs, part->n_runs);
        key_copy(&key, rows[i]);
        txn_remove(a->txn, &key);
    }
    return !more;
}

bool bucket_drop_uploads(struct apply *a, uint64_t bucket)
{
    struct key prefix;
    struct kv_slice rows[UPLOADS_PER_STEP], row, value;
    struct txn_scan scan;
    size_t count = 0;
    bool more = false;
    key_begin(&prefix, 'u');
    key_u64(&prefix, bucket);
    txn_scan_begin(&scan, a->txn, &prefix, NULL);
    while (!more && txn_scan_next(&scan, &row, &value)) {
        more = count == UPLOADS_PER_STEP;
        if (!more)
            rows[count++] = row;
    }
    txn_scan_end(&scan);
    for (size_t i = 0; i < count; i++) {
        uint8_t text[OBJECT_KEY_MAX], upload[UPLOAD_ID_BYTES];
        size_t n;
        struct key_reader r;
        key_reader_init(&r, rows[i], prefix.length);
        if (key_read_text(&r, text, sizeof text, &n) != OK) {
            a->txn->error = ERR_CORRUPT;
            return true;
        }
        key_read_raw(&r, upload, sizeof upload);
        const struct object_key object = {.bucket = bucket, .key = {.len = n, .data = text}};
        const struct tombstone ended = {.bucket = bucket, .key = object.key};
        upload_end(a, &object, upload, &ended);
    }
    return !more;
}
