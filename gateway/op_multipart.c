#include <string.h>
#include "common/base/text.h"
#include "gateway/gateway_internal.h"

/* Multipart uploads: create, parts (sent or copied), complete, abort, list. */

enum { UPLOAD_ID_BYTES = 16, COMPLETE_BODY_MAX = 2 * 1024 * 1024 };

/* An upload id is 128 random bits, in hex for clients. */
static enum s3_error upload_id(struct op *op, ProtobufCBinaryData *out)
{
    const char *text = s3_request_param(&op->request, "uploadId");
    uint8_t *id = arena_alloc(op->arena, UPLOAD_ID_BYTES);
    if (!text || hex_decode(text, strlen(text), id, UPLOAD_ID_BYTES) != OK)
        return S3_NO_SUCH_UPLOAD;
    *out = op_bytes(id, UPLOAD_ID_BYTES);
    return S3_OK;
}

static enum s3_error part_number(struct op *op, uint32_t *out)
{
    uint64_t number = 0;
    enum s3_error s = s3_request_number(&op->request, "partNumber", 0, &number);
    if (s != S3_OK || number == 0 || number > S3_PARTS_MAX) {
        op->error.message = "Part number must be an integer between 1 and 10000, inclusive";
        return S3_INVALID_ARGUMENT;
    }
    *out = (uint32_t)number;
    return S3_OK;
}

enum s3_error op_create_upload(struct op *op)
{
    BucketInfo *bucket;
    ObjectHead head;
    uint8_t *id = arena_alloc(op->arena, UPLOAD_ID_BYTES);
    enum s3_error s = op_find_bucket(op, &bucket, NULL);
    op_head_from_request(op, &head);
    if (s == S3_OK)
        s = op_pool(op, bucket, &head.pool);
    if (s != S3_OK)
        return s;
    sys_random(id, UPLOAD_ID_BYTES);
    CreateUpload body = CREATE_UPLOAD__INIT;
    body.bucket = bucket->id;
    body.key = op_bytes(op->request.key, op->request.key_n);
    body.upload = op_bytes(id, UPLOAD_ID_BYTES);
    body.head = &head;
    body.owner = op->user.name;
    Command command = COMMAND__INIT;
    command.body_case = COMMAND__BODY_CREATE_UPLOAD;
    command.create_upload = &body;
    Result *result = NULL;
    enum err e = op_execute(op, &command, &result);
    if (e != OK)
        return op_failed(op, e == ERR_MISMATCH ? ERR_NO_BUCKET : e);
    struct xml_writer w;
    xml_writer_init(&w, op->arena);
    xml_open(&w, "InitiateMultipartUploadResult", S3_XMLNS);
    xml_text(&w, "Bucket", op->request.bucket);
    xml_text_n(&w, "Key", op->request.key, op->request.key_n);
    xml_text(&w, "UploadId", arena_hex(op->arena, id, UPLOAD_ID_BYTES));
    xml_close(&w);
    return op_respond_xml(op, &w);
}

/* The upload's own record: in which pool its parts belong. */
static enum s3_error find_upload(struct op *op, ProtobufCBinaryData id, uint32_t after,
                                 uint32_t max, Answer **answer)
{
    ListParts list = LIST_PARTS__INIT;
    list.bucket = op_text(op->request.bucket);
    list.key = op_bytes(op->request.key, op->request.key_n);
    list.upload = id;
    list.after = after;
    list.max = max;
    Query query = QUERY__INIT;
    query.body_case = QUERY__BODY_LIST_PARTS;
    query.list_parts = &list;
    enum s3_error s = op_query_owned(op, &query, answer);
    if (s != S3_OK)
        return s;
    return (*answer)->upload && (*answer)->upload->head ? S3_OK : S3_INTERNAL_ERROR;
}

static enum s3_error commit_part(struct op *op, const Answer *upload, ProtobufCBinaryData id,
                                 PartInfo *part, struct object_written *written)
{
    part->runs = written->runs;
    part->n_runs = written->run_count;
    PutPart body = PUT_PART__INIT;
    body.bucket = upload->bucket->id;
    body.key = op_bytes(op->request.key, op->request.key_n);
    body.upload = id;
    body.part = part;
    body.began = upload->time;
    body.durable = written->durable;
    body.n_durable = written->durable_count;
    Command command = COMMAND__INIT;
    command.body_case = COMMAND__BODY_PUT_PART;
    command.put_part = &body;
    Result *result = NULL;
    enum err e = op_commit(op, &command, written, body.began, &result);
    if (e == OK)
        return S3_OK;
    op_refused(op, e, result, written);
    return op_failed(op, e == ERR_MISMATCH ? ERR_NO_UPLOAD : e);
}

enum s3_error op_upload_part(struct op *op)
{
    ProtobufCBinaryData id;
    Answer *upload = NULL;
    struct body *source = NULL;
    ObjectBody body;
    struct object_written written = {0};
    struct body_digests digests;
    PartInfo part = PART_INFO__INIT;
    const struct body_config config = {.size_max = OBJECT_PUT_MAX,
                                       .md5 = true,
                                       .demand_length = true,
                                       .query = &op->request.query_checksums};
    enum s3_error s = upload_id(op, &id);
    if (s == S3_OK)
        s = part_number(op, &part.number);
    if (s == S3_OK)
        s = find_upload(op, id, 0, 1, &upload);
    if (s == S3_OK)
        s = op_may_grow(op, upload);
    if (s == S3_OK)
        s = body_open(&source, op->exchange, &op->auth, &config);
    if (s == S3_OK)
        s = op_store_body(op, source, upload->upload->head->pool, upload->time, 0, &body, &written);
    if (s != S3_OK)
        goto out;
    body_digests(source, &digests);
    part.size = body_size(source);
    part.md5 = op_bytes(digests.md5, MD5_BYTES);
    s = commit_part(op, upload, id, &part, &written);
    if (s == S3_OK) {
        struct http_headers h;
        op_headers(op, &h);
        s3_headers_etag(&h, arena_hex(op->arena, digests.md5, MD5_BYTES));
        if (digests.checksum_given)
            http_headers_add(
                &h, arena_format(op->arena, "x-amz-checksum-%s", checksum_name(digests.checksum)),
                digests.checksum_text);
        s = op_respond_empty(op, 200, &h);
    }
out:
    body_free(source);
    return s;
}

/* A read is cut where the object ends; a part that would be is refused. */
static enum s3_error copied_range(struct op *op, uint64_t size, uint64_t *first, uint64_t *length)
{
    const struct s3_range *range = &op->request.range;
    if (range->kind != S3_RANGE_NONE && range->last >= size)
        return S3_INVALID_RANGE;
    return s3_range_resolve(range, size, first, length);
}

enum s3_error op_upload_part_copy(struct op *op)
{
    ProtobufCBinaryData id;
    Answer *upload = NULL, *source = NULL;
    ObjectBody body;
    struct object_written written = {0};
    PartInfo part = PART_INFO__INIT;
    uint8_t md5[MD5_BYTES];
    uint64_t first = 0, length = 0;
    enum s3_error s = upload_id(op, &id);
    if (s == S3_OK)
        s = part_number(op, &part.number);
    if (s == S3_OK)
        s = find_upload(op, id, 0, 1, &upload);
    if (s == S3_OK)
        s = op_may_grow(op, upload);
    if (s == S3_OK)
        s = op_copy_source(op, &source);
    if (s != S3_OK)
        return s;
    s = copied_range(op, source->head->size, &first, &length);
    if (s == S3_OK && length > OBJECT_PUT_MAX)
        s = S3_ENTITY_TOO_LARGE;
    if (s != S3_OK)
        return s;
    s = op_store_copy(op, source, first, length, upload->upload->head->pool, upload->time, 0, &body,
                      &written, md5);
    if (s != S3_OK)
        return s;
    part.size = length;
    part.md5 = op_bytes(md5, MD5_BYTES);
    s = commit_part(op, upload, id, &part, &written);
    if (s != S3_OK)
        return s;
    struct xml_writer w;
    xml_writer_init(&w, op->arena);
    xml_open(&w, "CopyPartResult", S3_XMLNS);
    xml_time(&w, "LastModified", upload->time);
    xml_etag(&w, "ETag", arena_hex(op->arena, md5, MD5_BYTES));
    xml_close(&w);
    return op_respond_xml(op, &w);
}

static enum s3_error respond_complete(struct op *op, const Result *result)
{
    const char *host = http_request_header(op->exchange, "host");
    struct xml_writer w;
    xml_writer_init(&w, op->arena);
    xml_open(&w, "CompleteMultipartUploadResult", S3_XMLNS);
    xml_text(&w, "Location",
             arena_format(op->arena, "http://%s%s", host ? host : "", op->request.http->path));
    xml_text(&w, "Bucket", op->request.bucket);
    xml_text_n(&w, "Key", op->request.key, op->request.key_n);
    xml_etag(&w, "ETag", op_string(op, result->etag));
    xml_close(&w);
    return op_respond_xml(op, &w);
}

enum s3_error op_complete_upload(struct op *op)
{
    BucketInfo *bucket;
    Conditions conditions;
    struct s3_complete parsed;
    char *text = NULL;
    size_t n = 0;
    CompleteUpload body = COMPLETE_UPLOAD__INIT;
    enum s3_error s = upload_id(op, &body.upload);
    if (s == S3_OK)
        s = op_find_bucket(op, &bucket, NULL);
    if (s == S3_OK)
        s = op_write_conditions(op, &conditions);
    if (s == S3_OK)
        s = body_whole_of_parts(op->exchange, &op->auth, COMPLETE_BODY_MAX, &text, &n);
    if (s == S3_OK)
        s = s3_complete_parse(op->arena, text, n, &parsed);
    if (s != S3_OK)
        return s;
    body.bucket = bucket->id;
    body.key = op_bytes(op->request.key, op->request.key_n);
    body.conditions = &conditions;
    body.retry = op_sdk_retry(op, bucket->id, text, n);
    body.parts = arena_alloc(op->arena, (parsed.parts_n + 1) * sizeof *body.parts);
    for (size_t i = 0; i < parsed.parts_n; i++) {
        CompletePart *p = arena_alloc(op->arena, sizeof *p);
        complete_part__init(p);
        p->number = parsed.parts[i].number;
        p->etag = op_text(parsed.parts[i].etag);
        body.parts[body.n_parts++] = p;
    }
    Command command = COMMAND__INIT;
    command.body_case = COMMAND__BODY_COMPLETE_UPLOAD;
    command.complete_upload = &body;
    Result *result = NULL;
    enum err e = op_execute(op, &command, &result);
    if (e == ERR_TOO_BIG)
        op->error.message =
            "The parts add up to more than 5 TiB, or are stored in more than 24,000 "
            "pieces. Upload the object again, in fewer and larger parts.";
    return e == OK ? respond_complete(op, result) : op_failed(op, e);
}

enum s3_error op_abort_upload(struct op *op)
{
    BucketInfo *bucket;
    AbortUpload body = ABORT_UPLOAD__INIT;
    enum s3_error s = upload_id(op, &body.upload);
    if (s == S3_OK)
        s = op_find_bucket(op, &bucket, NULL);
    if (s != S3_OK)
        return s;
    body.bucket = bucket->id;
    body.key = op_bytes(op->request.key, op->request.key_n);
    Command command = COMMAND__INIT;
    command.body_case = COMMAND__BODY_ABORT_UPLOAD;
    command.abort_upload = &body;
    return op_execute_empty(op, &command);
}

static void write_owner(struct xml_writer *w, const char *element, const char *owner)
{
    xml_open(w, element, NULL);
    xml_text(w, "ID", owner);
    xml_text(w, "DisplayName", owner);
    xml_close(w);
}

enum s3_error op_list_parts(struct op *op)
{
    ProtobufCBinaryData id;
    Answer *a = NULL;
    uint64_t max = 0, after = 0;
    enum s3_error s = upload_id(op, &id);
    if (s == S3_OK)
        s = s3_request_number(&op->request, "max-parts", S3_PAGE_MAX, &max);
    if (s == S3_OK)
        s = s3_request_number(&op->request, "part-number-marker", 0, &after);
    if (s == S3_OK && after > S3_PARTS_MAX)
        s = S3_INVALID_ARGUMENT;
    max = max > S3_PAGE_MAX ? S3_PAGE_MAX : max;
    if (s == S3_OK)
        s = find_upload(op, id, (uint32_t)after, (uint32_t)max, &a);
    if (s != S3_OK)
        return s;
    struct xml_writer w;
    xml_writer_init(&w, op->arena);
    xml_open(&w, "ListPartsResult", S3_XMLNS);
    xml_text(&w, "Bucket", op->request.bucket);
    xml_text_n(&w, "Key", op->request.key, op->request.key_n);
    xml_text(&w, "UploadId", arena_hex(op->arena, id.data, id.len));
    write_owner(&w, "Initiator", a->upload->owner);
    write_owner(&w, "Owner", a->bucket->owner);
    xml_text(&w, "StorageClass", "STANDARD");
    xml_number(&w, "PartNumberMarker", after);
    if (a->n_parts > 0)
        xml_number(&w, "NextPartNumberMarker", a->parts[a->n_parts - 1]->number);
    xml_number(&w, "MaxParts", max);
    xml_bool(&w, "IsTruncated", a->truncated);
    for (size_t i = 0; i < a->n_parts; i++) {
        xml_open(&w, "Part", NULL);
        xml_number(&w, "PartNumber", a->parts[i]->number);
        xml_time(&w, "LastModified", a->parts[i]->modified);
        xml_etag(&w, "ETag", arena_hex(op->arena, a->parts[i]->md5.data, a->parts[i]->md5.len));
        xml_number(&w, "Size", a->parts[i]->size);
        xml_close(&w);
    }
    xml_close(&w);
    return op_respond_xml(op, &w);
}

static void write_uploads(struct op *op, struct xml_writer *w, const Answer *a, bool url)
{
    for (size_t i = 0; i < a->n_uploads; i++) {
        const UploadEntry *u = a->uploads[i];
        xml_open(w, "Upload", NULL);
        xml_key(w, "Key", u->key.data, u->key.len, url);
        xml_text(w, "UploadId", arena_hex(op->arena, u->upload.data, u->upload.len));
        write_owner(w, "Initiator", u->owner);
        write_owner(w, "Owner", a->bucket->owner);
        xml_text(w, "StorageClass", "STANDARD");
        xml_time(w, "Initiated", u->created);
        xml_close(w);
    }
    for (size_t i = 0; i < a->n_prefixes; i++) {
        xml_open(w, "CommonPrefixes", NULL);
        xml_key(w, "Prefix", a->prefixes[i].data, a->prefixes[i].len, url);
        xml_close(w);
    }
}

enum s3_error op_list_uploads(struct op *op)
{
    const struct s3_request *r = &op->request;
    const char *prefix = s3_request_param(r, "prefix"),
               *delimiter = s3_request_param(r, "delimiter");
    const char *key = s3_request_param(r, "key-marker");
    const char *marker = s3_request_param(r, "upload-id-marker");
    bool url;
    uint64_t max = 0;
    uint8_t *id = arena_alloc(op->arena, UPLOAD_ID_BYTES);
    ListUploads list = LIST_UPLOADS__INIT;
    enum s3_error s = op_url_encoding(op, &url);
    if (s == S3_OK)
        s = s3_request_number(r, "max-uploads", S3_PAGE_MAX, &max);
    if (s == S3_OK && marker && marker[0]) {
        if (hex_decode(marker, strlen(marker), id, UPLOAD_ID_BYTES) != OK)
            s = S3_INVALID_ARGUMENT;
        list.upload_marker = op_bytes(id, UPLOAD_ID_BYTES);
    }
    if (s != S3_OK)
        return s;
    list.bucket = op_text(r->bucket);
    list.prefix = op_text(prefix ? prefix : "");
    list.delimiter = op_text(delimiter ? delimiter : "");
    list.key_marker = op_text(key ? key : "");
    list.max = max > S3_PAGE_MAX ? S3_PAGE_MAX : (uint32_t)max;
    Query query = QUERY__INIT;
    query.body_case = QUERY__BODY_LIST_UPLOADS;
    query.list_uploads = &list;
    Answer *a = NULL;
    s = op_query_owned(op, &query, &a);
    if (s != S3_OK)
        return s;
    struct xml_writer w;
    xml_writer_init(&w, op->arena);
    xml_open(&w, "ListMultipartUploadsResult", S3_XMLNS);
    xml_text(&w, "Bucket", r->bucket);
    xml_key(&w, "KeyMarker", list.key_marker.data, list.key_marker.len, url);
    xml_text(&w, "UploadIdMarker", marker ? marker : "");
    xml_key(&w, "Prefix", list.prefix.data, list.prefix.len, url);
    if (list.delimiter.len > 0)
        xml_key(&w, "Delimiter", list.delimiter.data, list.delimiter.len, url);
    xml_number(&w, "MaxUploads", list.max);
    if (url)
        xml_text(&w, "EncodingType", "url");
    xml_bool(&w, "IsTruncated", a->truncated);
    if (a->truncated) {
        xml_key(&w, "NextKeyMarker", a->next.data, a->next.len, url);
        xml_text(&w, "NextUploadIdMarker",
                 arena_hex(op->arena, a->next_upload.data, a->next_upload.len));
    }
    write_uploads(op, &w, a, url);
    xml_close(&w);
    return op_respond_xml(op, &w);
}
