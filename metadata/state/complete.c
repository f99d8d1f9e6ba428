/* CompleteMultipartUpload, and the tombstone that an upload leaves for a day, so that completing or
 * aborting again gets the first answer (hazard 13):
 *
 *   d 't' upload id   completed u8, bucket u64, version u64, size u64, etag length u8, key length u16,
 *                     etag, key, then a bit per part number that became part of the object */
#include <assert.h>
#include <stdio.h>
#include "common/base/cursor.h"
#include "common/base/digest.h"
#include "common/base/text.h"
#include "metadata/state/state_internal.h"

enum {
    TOMBSTONE_HEADER = 28,
    USED_BYTES = PARTS_MAX / 8 + 1,
};

static void key_tombstone(struct key *k, const uint8_t *upload)
{
    key_begin2(k, 'd', 't');
    key_raw(k, upload, UPLOAD_ID_BYTES);
}

bool tombstone_get(struct apply *a, const uint8_t *upload, struct tombstone *t)
{
    struct key key;
    struct kv_slice value;
    struct reader r;
    *t = (struct tombstone){0};
    key_tombstone(&key, upload);
    if (!txn_get(a->txn, &key, &value))
        return false;
    reader_init(&r, value.data, value.length);
    t->completed = read_u8(&r) != 0;
    t->bucket = read_u64(&r);
    t->version = read_u64(&r);
    t->size = read_u64(&r);
    t->etag.len = read_u8(&r);
    t->key.len = read_u16(&r);
    t->etag.data = (uint8_t *)(uintptr_t)read_view(&r, t->etag.len);
    t->key.data = (uint8_t *)(uintptr_t)read_view(&r, t->key.len);
    t->used_bytes = reader_left(&r);
    t->used = read_view(&r, t->used_bytes);
    if (r.failed)
        a->txn->error = ERR_CORRUPT;
    return !r.failed;
}

void upload_end(struct apply *a, const struct object_key *object, const uint8_t *upload,
                const struct tombstone *t)
{
    size_t n = TOMBSTONE_HEADER + t->etag.len + t->key.len + t->used_bytes;
    uint8_t *bytes = arena_alloc(a->arena, n);
    struct writer w;
    struct key key;
    writer_init(&w, bytes, n);
    write_u8(&w, t->completed);
    write_u64(&w, t->bucket);
    write_u64(&w, t->version);
    write_u64(&w, t->size);
    write_u8(&w, (uint8_t)t->etag.len);
    write_u16(&w, (uint16_t)t->key.len);
    write_bytes(&w, t->etag.data, t->etag.len);
    write_bytes(&w, t->key.data, t->key.len);
    write_bytes(&w, t->used, t->used_bytes);
    assert(!w.failed && writer_used(&w) == n);
    key_tombstone(&key, upload);
    txn_put(a->txn, &key, bytes, n);
    key_upload(&key, object->bucket, object->key.data, object->key.len, upload);
    txn_remove(a->txn, &key);
    expiry_add(a, a->time, EXPIRE_PARTS, upload, UPLOAD_ID_BYTES);
    expiry_add(a, a->time + UPLOAD_MEMORY, EXPIRE_TOMBSTONE, upload, UPLOAD_ID_BYTES);
}

/* What the named parts add up to. */
struct assembly {
    PartInfo **parts;
    size_t runs;
    uint64_t size;
    char etag[STATE_ETAG_MAX];
};

/* The stored parts that the request names, found in one walk over the upload's part rows. */
static enum err find_parts(struct apply *a, const CompleteUpload *c, struct assembly *out)
{
    struct key prefix;
    struct kv_slice row, value;
    struct txn_scan scan;
    size_t found = 0;
    for (size_t i = 1; i < c->n_parts; i++)
        if (c->parts[i]->number <= c->parts[i - 1]->number)
            return ERR_PART_ORDER;
    out->parts = arena_alloc(a->arena, c->n_parts * sizeof *out->parts);
    key_parts(&prefix, c->upload.data);
    txn_scan_begin(&scan, a->txn, &prefix, NULL);
    while (found < c->n_parts && txn_scan_next(&scan, &row, &value)) {
        struct key_reader r;
        key_reader_init(&r, row, prefix.length);
        uint32_t number = key_read_u32(&r);
        if (number > c->parts[found]->number)
            break; /* the named part is not there */
        if (number == c->parts[found]->number &&
            txn_unpack(a->txn, &part_info__descriptor, value, &out->parts[found]))
            found++;
    }
    txn_scan_end(&scan);
    return found == c->n_parts ? OK : ERR_INVALID_PART;
}

static enum err check_parts(const CompleteUpload *c, struct assembly *out)
{
    struct digest *md5 = digest_new(DIGEST_MD5);
    uint8_t sum[MD5_BYTES];
    enum err e = OK;
    for (size_t i = 0; i < c->n_parts; i++) {
        const PartInfo *part = out->parts[i];
        char etag[33];
        part_etag(part, etag);
        if (c->parts[i]->etag.len != 32 || memcmp(c->parts[i]->etag.data, etag, 32) != 0)
            e = ERR_INVALID_PART;
        else if (e == OK && i + 1 < c->n_parts && part->size < PART_LEAST_BYTES)
            e = ERR_PART_TOO_SMALL;
        digest_update(md5, part->md5.data, part->md5.len);
        out->size += part->size;
        out->runs += part->n_runs;
    }
    digest_final(md5, sum);
    digest_free(md5);
    hex_encode(sum, sizeof sum, out->etag);
    snprintf(out->etag + 32, sizeof out->etag - 32, "-%zu", c->n_parts);
    if (e == OK && (out->size > (uint64_t)OBJECT_BYTES_MAX || out->runs > OBJECT_RUNS_MAX))
        e = ERR_TOO_BIG;
    return e;
}

static void fill_body(struct apply *a, const CompleteUpload *c, const struct assembly *in,
                      ObjectBody *body, uint8_t *used)
{
    body->runs = arena_alloc(a->arena, in->runs * sizeof *body->runs);
    body->part_sizes = arena_alloc(a->arena, c->n_parts * sizeof *body->part_sizes);
    body->n_part_sizes = c->n_parts;
    for (size_t i = 0; i < c->n_parts; i++) {
        const PartInfo *part = in->parts[i];
        body->part_sizes[i] = part->size;
        for (size_t r = 0; r < part->n_runs; r++)
            body->runs[body->n_runs++] = part->runs[r];
        used[part->number / 8] |= (uint8_t)(1U << part->number % 8);
    }
}

/* The upload is gone: perhaps because this very request was carried out before. */
static enum err complete_again(struct apply *a, const CompleteUpload *c)
{
    struct tombstone t;
    if (!tombstone_get(a, c->upload.data, &t) || !t.completed || t.bucket != c->bucket ||
        !binary_equal(t.key, c->key))
        return ERR_NO_UPLOAD;
    a->result->index = t.version;
    a->result->etag = t.etag;
    a->result->size = t.size;
    return OK;
}

enum err apply_complete_upload(struct apply *a, const CompleteUpload *c)
{
    const struct object_key object = {.bucket = c->bucket, .key = c->key};
    struct assembly parts = {0};
    struct object_row old;
    struct usage usage;
    struct key key;
    UploadEntry *upload;
    if (c->bucket == 0 || c->key.len == 0 || c->key.len > OBJECT_KEY_MAX ||
        c->upload.len != UPLOAD_ID_BYTES || c->n_parts == 0 || c->n_parts > PARTS_MAX)
        return ERR_INVALID;
    if (!usage_get(a, c->bucket, &usage))
        return ERR_NO_BUCKET;
    key_upload(&key, c->bucket, c->key.data, c->key.len, c->upload.data);
    if (!txn_get_message(a->txn, &key, &upload_entry__descriptor, &upload))
        return complete_again(a, c);
    enum err e = find_parts(a, c, &parts);
    if (e == OK)
        e = check_parts(c, &parts);
    if (e != OK)
        return e;
    object_current(a, &object, &old);
    e = conditions_check(c->conditions, &old);
    if (e != OK)
        return e;
    ObjectBody body = OBJECT_BODY__INIT;
    ObjectHead head = *upload->head;
    uint8_t *used = arena_alloc(a->arena, USED_BYTES);
    fill_body(a, c, &parts, &body, used);
    head.size = parts.size;
    head.part_count = (uint32_t)c->n_parts;
    head.write_id = (ProtobufCBinaryData){0};
    head.etag.len = strlen(parts.etag);
    head.etag.data = arena_copy(a->arena, parts.etag, head.etag.len);
    object_replace(a, &object, &old, &head, &body);
    const struct tombstone ended = {.completed = true,
                                    .bucket = c->bucket,
                                    .version = a->index,
                                    .size = head.size,
                                    .etag = head.etag,
                                    .key = c->key,
                                    .used = used,
                                    .used_bytes = USED_BYTES};
    upload_end(a, &object, c->upload.data, &ended);
    a->result->etag = head.etag;
    a->result->size = head.size;
    return OK;
}
