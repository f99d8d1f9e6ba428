#include <string.h>
#include "common/base/text.h"
#include "gateway/gateway_internal.h"

/* GetObject and HeadObject. */

struct slice {
    uint64_t first, length;
    bool partial; /* 206 */
};

/* What a part number asks for: that part's bytes. */
static enum s3_error part_slice(struct op *op, const Answer *a, uint64_t number, struct slice *out)
{
    uint64_t parts = a->body ? a->body->n_part_sizes : 0;
    if (parts == 0) {
        *out = (struct slice){0, a->head->size, true};
        return number == 1 ? S3_OK : S3_INVALID_RANGE;
    }
    if (number > parts) {
        op->error.message = "The requested partnumber is not satisfiable";
        return S3_INVALID_RANGE;
    }
    uint64_t at = 0;
    for (uint64_t i = 0; i + 1 < number; i++)
        at += a->body->part_sizes[i];
    *out = (struct slice){at, a->body->part_sizes[number - 1], true};
    return S3_OK;
}

static enum s3_error choose_slice(struct op *op, const Answer *a, struct slice *out)
{
    const struct s3_range *range = &op->request.range;
    *out = (struct slice){0, a->head->size, false};
    if (s3_request_param(&op->request, "partNumber")) {
        uint64_t number = 0;
        enum s3_error s = s3_request_number(&op->request, "partNumber", 0, &number);
        if (s != S3_OK || number == 0 || number > S3_PARTS_MAX)
            return S3_INVALID_ARGUMENT;
        return range->kind == S3_RANGE_NONE ? part_slice(op, a, number, out) : S3_INVALID_REQUEST;
    }
    const char *if_range = op->request.conditions.if_range;
    if (range->kind == S3_RANGE_NONE ||
        (if_range && !s3_if_range_holds(if_range, op_string(op, a->head->etag), a->head->modified)))
        return S3_OK;
    out->partial = true;
    return s3_range_resolve(range, a->head->size, &out->first, &out->length);
}

static const struct {
    const char *parameter, *header;
} overrides[] = {
    {"response-content-type", "Content-Type"},
    {"response-content-language", "Content-Language"},
    {"response-expires", "Expires"},
    {"response-cache-control", "Cache-Control"},
    {"response-content-disposition", "Content-Disposition"},
    {"response-content-encoding", "Content-Encoding"},
};

/* NULL: none; an empty one is none. */
static const char *override_of(struct op *op, const char *header)
{
    const char *value = NULL;
    for (size_t i = 0; i < sizeof overrides / sizeof overrides[0]; i++)
        if (text_equal_fold(overrides[i].header, header))
            value = s3_request_param(&op->request, overrides[i].parameter);
    return value && value[0] ? value : NULL;
}

static void stored_headers(struct op *op, const ObjectHead *head, struct http_headers *h)
{
    const char *type = override_of(op, "Content-Type");
    http_headers_add(h, "Content-Type",
                     type                    ? type
                     : head->content_type[0] ? head->content_type
                                             : "binary/octet-stream");
    for (size_t i = 0; i < head->n_headers; i++) {
        const char *name = op_string(op, head->headers[i]->name);
        if (!override_of(op, name))
            http_headers_add(h, name, op_string(op, head->headers[i]->value));
    }
    for (size_t i = 0; i < sizeof overrides / sizeof overrides[0]; i++) {
        const char *value = override_of(op, overrides[i].header);
        if (value && !text_equal_fold(overrides[i].header, "Content-Type"))
            http_headers_add(h, overrides[i].header, value);
    }
    for (size_t i = 0; i < head->n_metadata; i++)
        http_headers_add(
            h, arena_format(op->arena, "x-amz-meta-%s", op_string(op, head->metadata[i]->name)),
            op_string(op, head->metadata[i]->value));
}

static void object_headers(struct op *op, const Answer *a, const struct slice *slice,
                           struct http_headers *h)
{
    const ObjectHead *head = a->head;
    op_headers(op, h);
    s3_headers_etag(h, op_string(op, head->etag));
    s3_headers_last_modified(h, head->modified);
    http_headers_add(h, "Accept-Ranges", "bytes");
    stored_headers(op, head, h);
    if (slice->partial)
        http_headers_addf(h, "Content-Range", "bytes %llu-%llu/%llu",
                          (unsigned long long)slice->first,
                          (unsigned long long)(slice->first + slice->length - (slice->length > 0)),
                          (unsigned long long)head->size);
    if (head->part_count > 0 && s3_request_param(&op->request, "partNumber"))
        http_headers_addf(h, "x-amz-mp-parts-count", "%u", head->part_count);
    const char *mode = http_request_header(op->exchange, "x-amz-checksum-mode");
    if (!mode || !text_equal_fold(mode, "ENABLED") || slice->partial)
        return;
    for (size_t i = 0; i < head->n_checksums; i++) {
        const Pair *c = head->checksums[i];
        char *value = arena_alloc(op->arena, base64_length(c->value.len) + 1);
        base64_encode(c->value.data, c->value.len, value);
        http_headers_add(h, arena_format(op->arena, "x-amz-checksum-%s", op_string(op, c->name)),
                         value);
        http_headers_add(h, "x-amz-checksum-type", "FULL_OBJECT");
    }
}

/* The row, if its conditions hold, and what of it is asked for. */
static enum s3_error find(struct op *op, bool want_body, Answer **answer, struct slice *slice)
{
    const struct s3_request *r = &op->request;
    if (s3_request_param(r, "versionId"))
        return S3_NOT_IMPLEMENTED;
    bool parts = s3_request_param(r, "partNumber") != NULL;
    enum s3_error s = op_find_object(op, r->bucket, r->key, r->key_n, want_body || parts, answer);
    if (s != S3_OK)
        return s;
    const ObjectHead *head = (*answer)->head;
    s = s3_conditions_read(&r->conditions, op_string(op, head->etag), head->modified);
    return s == S3_OK ? choose_slice(op, *answer, slice) : s;
}

/* 304 carries what a cache needs to go on using its copy. */
static enum s3_error not_modified(struct op *op, const Answer *a)
{
    struct http_headers h;
    op_headers(op, &h);
    s3_headers_etag(&h, op_string(op, a->head->etag));
    s3_headers_last_modified(&h, a->head->modified);
    return op_respond_empty(op, 304, &h);
}

enum s3_error op_head_object(struct op *op)
{
    Answer *answer = NULL;
    struct slice slice;
    struct http_headers h;
    enum s3_error s = find(op, false, &answer, &slice);
    if (s == S3_NOT_MODIFIED)
        return not_modified(op, answer);
    if (s != S3_OK)
        return s;
    object_headers(op, answer, &slice, &h);
    int status = slice.partial ? 206 : 200;
    return http_respond(op->exchange, status, &h, (int64_t)slice.length) == OK ? S3_OK
                                                                               : S3_CLIENT_GONE;
}

static enum s3_error read_failed(struct op *op, const struct object_reader *r, enum err e)
{
    if (e == ERR_CLIENT_GONE)
        return S3_CLIENT_GONE;
    op->error.message = arena_format(op->arena, "The object cannot be read now: %s, at %s.",
                                     err_text(e), object_reader_where(r, op->arena));
    return e == ERR_BUSY ? S3_SLOW_DOWN : S3_SERVICE_UNAVAILABLE;
}

/* The headers go out with the first bytes, so that an object that cannot be read is answered by an
 * error and not by a short body. *gone: all shards are gone and nothing has been answered. */
static enum s3_error send(struct op *op, const Answer *a, const struct slice *slice, bool *gone)
{
    struct object_reader *r;
    struct http_headers h;
    const void *data = NULL;
    size_t n = 0;
    enum err e = object_reader_open(op->gateway->config.io, &op->data, a->body, slice->first,
                                    slice->length, &r);
    if (e != OK)
        return op_failed(op, e);
    e = object_reader_next(r, &data, &n);
    *gone = e == ERR_NOT_FOUND;
    enum s3_error s = e == OK ? S3_OK : read_failed(op, r, e);
    if (s == S3_OK) {
        object_headers(op, a, slice, &h);
        e = http_respond(op->exchange, slice->partial ? 206 : 200, &h, (int64_t)slice->length);
        s = e == OK ? S3_OK : S3_CLIENT_GONE;
    }
    while (s == S3_OK && n > 0) {
        if (http_body_write(op->exchange, data, n) != OK)
            s = S3_CLIENT_GONE;
        else if ((e = object_reader_next(r, &data, &n)) != OK)
            s = read_failed(op, r, e);
    }
    object_reader_free(r);
    return s;
}

enum s3_error op_get_object(struct op *op)
{
    /* Read again when everything was gone before a byte was sent: the object was replaced or deleted
     * while this was on its way (hazard 19). */
    for (int attempt = 0;; attempt++) {
        Answer *answer = NULL;
        struct slice slice;
        bool gone = false;
        enum s3_error s = find(op, true, &answer, &slice);
        if (s == S3_NOT_MODIFIED)
            return not_modified(op, answer);
        if (s != S3_OK)
            return s;
        int place = gateway_read_begin(op->gateway, answer->time);
        if (place < 0)
            return S3_SLOW_DOWN;
        s = send(op, answer, &slice, &gone);
        gateway_read_end(op->gateway, place);
        if (!gone || attempt > 0)
            return s;
    }
}
