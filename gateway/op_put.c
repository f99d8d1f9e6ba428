#include <string.h>
#include "common/base/text.h"
#include "gateway/gateway_internal.h"

/* PutObject, and what it shares with multipart uploads: a request's headers as an object's head, a
 * request's body as an object's bytes. */

static Pair **pairs(struct op *op, const struct http_headers *h, const char *without, size_t *n)
{
    Pair **out = arena_alloc(op->arena, (h->n + 1) * sizeof *out);
    *n = 0;
    for (size_t i = 0; i < h->n; i++) {
        if (without && text_equal_fold(h->v[i].name, without))
            continue;
        Pair *p = arena_alloc(op->arena, sizeof *p);
        pair__init(p);
        char *name = arena_string(op->arena, h->v[i].name);
        text_lower(name);
        p->name = op_text(name);
        p->value = op_text(h->v[i].value);
        out[(*n)++] = p;
    }
    return out;
}

void op_head_from_request(struct op *op, ObjectHead *head)
{
    const struct s3_request *r = &op->request;
    object_head__init(head);
    const char *type = http_headers_get(&r->stored, "content-type");
    head->content_type = arena_string(op->arena, type ? type : "");
    head->headers = pairs(op, &r->stored, "content-type", &head->n_headers);
    head->metadata = pairs(op, &r->metadata, NULL, &head->n_metadata);
}

void op_head_checksum(struct op *op, ObjectHead *head, const struct body_digests *d)
{
    if (d->checksum == CHECKSUM_NONE)
        return;
    Pair *p = arena_alloc(op->arena, sizeof *p);
    pair__init(p);
    p->name = op_text(checksum_name(d->checksum));
    size_t n = checksum_bytes(d->checksum);
    p->value = op_bytes(arena_copy(op->arena, d->checksum_bytes, n), n);
    head->checksums = arena_alloc(op->arena, sizeof *head->checksums);
    head->checksums[0] = p;
    head->n_checksums = 1;
}

static enum s3_error read_body(void *arg, void *out, size_t max, size_t *n)
{
    return body_read(arg, out, max, n);
}

enum s3_error op_store_body(struct op *op, struct body *source, uint32_t pool, int64_t began,
                            uint32_t inline_max, ObjectBody *body, struct object_written *written)
{
    uint64_t size = body_size(source);
    object_body__init(body);
    memset(written, 0, sizeof *written);
    if (size == 0 || size <= inline_max) {
        /* One byte more than announced, so that the end is reached and everything verified. */
        uint8_t *bytes = arena_alloc(op->arena, (size_t)size + 1);
        size_t n = 0;
        enum s3_error s = body_read(source, bytes, (size_t)size + 1, &n);
        if (s == S3_OK && n != size)
            s = S3_INCOMPLETE_BODY;
        body->inline_data = op_bytes(bytes, n);
        return s;
    }
    const struct object_source from = {.read = read_body, .arg = source};
    enum s3_error s = object_write(op->gateway->config.io, &op->data, pool, size, began, &from,
                                   op->arena, written);
    op_not_written(op, s);
    body->runs = written->runs;
    body->n_runs = written->run_count;
    return s;
}

/* Commits; a definite refusal deletes what was written, an unknown outcome must not (hazard 4). */
static enum s3_error commit(struct op *op, PutObject *put, struct object_written *written,
                            Result **result)
{
    Command command = COMMAND__INIT;
    command.body_case = COMMAND__BODY_PUT_OBJECT;
    command.put_object = put;
    enum err e = op_commit(op, &command, written, put->began, result);
    if (e == OK && (*result)->remembered)
        object_discard(op->gateway->config.io, written); /* an earlier attempt's bytes are there */
    if (e == OK)
        return S3_OK;
    op_refused(op, e, *result, written);
    return op_failed(op, e == ERR_MISMATCH ? ERR_NO_BUCKET : e);
}

static enum s3_error respond(struct op *op, const Result *result, const struct body_digests *d)
{
    struct http_headers h;
    char etag[2 * MD5_BYTES + 1] = {0};
    size_t n = result->etag.len < sizeof etag ? result->etag.len : sizeof etag - 1;
    memcpy(etag, result->etag.data, n);
    op_headers(op, &h);
    s3_headers_etag(&h, etag);
    if (d->checksum_given) {
        http_headers_add(&h,
                         arena_format(op->arena, "x-amz-checksum-%s", checksum_name(d->checksum)),
                         d->checksum_text);
        http_headers_add(&h, "x-amz-checksum-type", "FULL_OBJECT");
    }
    return op_respond_empty(op, 200, &h);
}

/* Whether all bytes will fit into the command, whatever framing comes with them. */
static bool stays_inline(struct op *op)
{
    const struct http_request *r = http_request(op->exchange);
    return r->body_kind == HTTP_BODY_LENGTH && r->body_length <= op->gateway->config.inline_max;
}

/* A refusal that says only that the bucket was known wrongly: once more, with the one of that name as
 * it is now. */
static enum s3_error commit_again(struct op *op, PutObject *put, const struct body_digests *digests,
                                  struct object_written *written, Result **result)
{
    BucketInfo *bucket;
    enum s3_error s = op_find_bucket(op, &bucket, NULL);
    if (s == S3_OK)
        s = op_pool(op, bucket, &put->head->pool);
    if (s != S3_OK)
        return s;
    put->bucket = bucket->id;
    put->retry = op_sdk_retry(op, bucket->id, digests->md5, MD5_BYTES);
    return commit(op, put, written, result);
}

enum s3_error op_put_object(struct op *op)
{
    struct body *source = NULL;
    BucketInfo *bucket;
    ObjectHead head;
    ObjectBody body;
    PutObject put = PUT_OBJECT__INIT;
    Conditions conditions;
    struct object_written written = {0};
    struct body_digests digests;
    Result *result = NULL;
    const struct body_config config = {.size_max = OBJECT_PUT_MAX,
                                       .md5 = true,
                                       .demand_length = true,
                                       .query = &op->request.query_checksums};
    bool known = false;
    enum s3_error s = stays_inline(op) ? op_known_bucket(op, &bucket, &known)
                                       : op_find_bucket(op, &bucket, &put.began);
    if (s == S3_OK)
        s = op_write_conditions(op, &conditions);
    op_head_from_request(op, &head);
    if (s == S3_OK)
        s = op_pool(op, bucket, &head.pool);
    if (s == S3_OK)
        s = body_open(&source, op->exchange, &op->auth, &config);
    if (s == S3_OK)
        s = op_store_body(op, source, head.pool, put.began, op->gateway->config.inline_max, &body,
                          &written);
    if (s != S3_OK)
        goto out;
    body_digests(source, &digests);
    head.size = body_size(source);
    head.etag = op_text(arena_hex(op->arena, digests.md5, MD5_BYTES));
    if (written.run_count > 0)
        head.write_id = written.runs[0]->write_id;
    op_head_checksum(op, &head, &digests);
    put.bucket = bucket->id;
    put.key = op_bytes(op->request.key, op->request.key_n);
    put.head = &head;
    put.body = &body;
    put.durable = written.durable;
    put.n_durable = written.durable_count;
    put.conditions = &conditions;
    put.retry = op_sdk_retry(op, bucket->id, digests.md5, MD5_BYTES);
    s = commit(op, &put, &written, &result);
    if (s == S3_NO_SUCH_BUCKET && known)
        s = commit_again(op, &put, &digests, &written, &result);
    if (s == S3_OK)
        s = respond(op, result, &digests);
out:
    body_free(source);
    return s;
}
