#include <string.h>
#include "common/base/text.h"
#include "gateway/gateway_internal.h"

/* CopyObject. A copy rewrites the bytes: no two rows share a write id (hazard 15). Only a copy onto
 * itself rewrites the row alone. 5 GiB take longer than SDKs wait in silence: while the bytes go their way
 * the answer is begun and kept alive. */

struct copy_source {
    struct op *op;
    struct object_reader *reader;
    struct digest *md5;
    const uint8_t *data; /* what the reader gave last */
    size_t n;
    enum err failed;
};

static enum s3_error read_source(void *arg, void *out, size_t max, size_t *n)
{
    struct copy_source *c = arg;
    *n = 0;
    if (op_keepalive(c->op) != OK)
        return S3_CLIENT_GONE;
    while (*n < max) {
        if (c->n == 0) {
            const void *data;
            c->failed = object_reader_next(c->reader, &data, &c->n);
            c->data = data;
            if (c->failed != OK)
                return c->failed == ERR_CLIENT_GONE ? S3_CLIENT_GONE : S3_SERVICE_UNAVAILABLE;
            if (c->n == 0)
                return S3_OK;
        }
        size_t take = c->n < max - *n ? c->n : max - *n;
        memcpy((uint8_t *)out + *n, c->data, take);
        digest_update(c->md5, c->data, take);
        c->data += take;
        c->n -= take;
        *n += take;
    }
    return S3_OK;
}

static enum s3_error store(struct op *op, const ObjectBody *from, uint64_t offset, uint64_t length,
                           uint32_t pool, int64_t began, uint32_t inline_max, ObjectBody *body,
                           struct object_written *written, uint8_t md5[MD5_BYTES])
{
    struct copy_source c = {.op = op};
    object_body__init(body);
    memset(written, 0, sizeof *written);
    enum err e =
        object_reader_open(op->gateway->config.io, &op->data, from, offset, length, &c.reader);
    if (e != OK)
        return op_failed(op, e);
    c.md5 = digest_new(DIGEST_MD5);
    enum s3_error s;
    if (length == 0 || length <= inline_max) {
        uint8_t *bytes = arena_alloc(op->arena, (size_t)length + 1);
        size_t n = 0;
        s = read_source(&c, bytes, (size_t)length, &n);
        body->inline_data = op_bytes(bytes, n);
    } else {
        const struct object_source source = {.read = read_source, .arg = &c};
        s = object_write(op->gateway->config.io, &op->data, pool, length, began, &source, op->arena,
                         written);
        body->runs = written->runs;
        body->n_runs = written->run_count;
    }
    if (c.failed != OK)
        op->error.message =
            arena_format(op->arena, "The source cannot be read now: %s, at %s.", err_text(c.failed),
                         object_reader_where(c.reader, op->arena));
    op_not_written(op, s);
    digest_final(c.md5, md5);
    digest_free(c.md5);
    object_reader_free(c.reader);
    return s;
}

enum s3_error op_store_copy(struct op *op, const Answer *source, uint64_t offset, uint64_t length,
                            uint32_t pool, int64_t began, uint32_t inline_max, ObjectBody *body,
                            struct object_written *written, uint8_t md5[MD5_BYTES])
{
    if (length > OBJECT_PUT_MAX) {
        op->error.message = "The specified copy source is larger than the maximum allowable size "
                            "for a copy source: 5368709120";
        return S3_INVALID_REQUEST;
    }
    int place = gateway_read_begin(op->gateway, source->time);
    if (place < 0)
        return S3_SLOW_DOWN;
    enum s3_error s =
        store(op, source->body, offset, length, pool, began, inline_max, body, written, md5);
    gateway_read_end(op->gateway, place);
    return s;
}

enum s3_error op_copy_source(struct op *op, Answer **answer)
{
    const struct s3_copy_source *from = &op->request.copy;
    if (from->version)
        return S3_NOT_IMPLEMENTED;
    enum s3_error s = op_find_object(op, from->bucket, from->key, from->key_n, true, answer);
    if (s != S3_OK)
        return s;
    const ObjectHead *head = (*answer)->head;
    s = s3_conditions_read(&op->request.copy_conditions, op_string(op, head->etag), head->modified);
    return s == S3_NOT_MODIFIED ? S3_PRECONDITION_FAILED : s;
}

static bool replaces_metadata(struct op *op, bool *valid)
{
    const char *directive = http_request_header(op->exchange, "x-amz-metadata-directive");
    bool replace = directive && strcmp(directive, "REPLACE") == 0;
    *valid = !directive || replace || strcmp(directive, "COPY") == 0;
    return replace;
}

/* The destination's head: the source's, or what the request says with the directive REPLACE. */
static void destination_head(struct op *op, const ObjectHead *source, bool replace,
                             ObjectHead *head)
{
    op_head_from_request(op, head);
    if (!replace) {
        head->content_type = source->content_type;
        head->headers = source->headers;
        head->n_headers = source->n_headers;
        head->metadata = source->metadata;
        head->n_metadata = source->n_metadata;
    }
    head->checksums = source->checksums;
    head->n_checksums = source->n_checksums;
    head->size = source->size;
}

static enum s3_error respond(struct op *op, const Result *result)
{
    struct xml_writer w;
    xml_writer_init(&w, op->arena);
    xml_open(&w, "CopyObjectResult", S3_XMLNS);
    xml_time(&w, "LastModified", result->time);
    xml_etag(&w, "ETag", op_string(op, result->etag));
    xml_close(&w);
    return op_respond_xml(op, &w);
}

/* The destination is the source. */
static bool onto_itself(const struct op *op)
{
    const struct s3_request *r = &op->request;
    return strcmp(r->bucket, r->copy.bucket) == 0 && r->key_n == r->copy.key_n &&
           memcmp(r->key, r->copy.key, r->key_n) == 0;
}

static enum s3_error fill_copy(struct op *op, const Answer *source, PutObject *put,
                               struct object_written *written)
{
    uint8_t md5[MD5_BYTES];
    enum s3_error s = op_store_copy(op, source, 0, source->head->size, put->head->pool, put->began,
                                    op->gateway->config.inline_max, put->body, written, md5);
    if (s != S3_OK)
        return s;
    put->head->etag = op_text(arena_hex(op->arena, md5, MD5_BYTES));
    if (written->run_count > 0)
        put->head->write_id = written->runs[0]->write_id;
    put->durable = written->durable;
    put->n_durable = written->durable_count;
    return S3_OK;
}

enum s3_error op_copy_object(struct op *op)
{
    Answer *source = NULL;
    BucketInfo *bucket;
    ObjectHead head;
    ObjectBody body;
    Conditions conditions;
    PutObject put = PUT_OBJECT__INIT;
    struct object_written written = {0};
    Result *result = NULL;
    bool valid;
    bool replace = replaces_metadata(op, &valid);
    if (!valid)
        return S3_INVALID_ARGUMENT;
    enum s3_error s = op_find_bucket(op, &bucket, &put.began);
    if (s == S3_OK)
        s = op_write_conditions(op, &conditions);
    if (s == S3_OK)
        s = op_copy_source(op, &source);
    if (s != S3_OK)
        return s;
    destination_head(op, source->head, replace, &head);
    s = op_pool(op, bucket, &head.pool);
    put.bucket = bucket->id;
    put.key = op_bytes(op->request.key, op->request.key_n);
    put.head = &head;
    put.body = &body;
    put.conditions = &conditions;
    if (s == S3_OK && onto_itself(op)) {
        if (!replace) {
            op->error.message = "This copy request is illegal because it is trying to copy an "
                                "object to itself without changing the object's metadata.";
            return S3_INVALID_REQUEST;
        }
        object_body__init(&body);
        head.etag = source->head->etag;
        put.rewrite_head = true;
        put.if_version = source->head->version;
    } else if (s == S3_OK) {
        s = fill_copy(op, source, &put, &written);
    }
    if (s != S3_OK)
        return s;
    Command command = COMMAND__INIT;
    command.body_case = COMMAND__BODY_PUT_OBJECT;
    command.put_object = &put;
    enum err e = op_commit(op, &command, &written, put.began, &result);
    if (e == OK)
        return respond(op, result);
    op_refused(op, e, result, &written);
    return op_failed(op, e == ERR_MISMATCH && !put.rewrite_head ? ERR_NO_BUCKET : e);
}
