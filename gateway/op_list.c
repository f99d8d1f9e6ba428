#include <string.h>
#include "common/base/text.h"
#include "gateway/gateway_internal.h"

/* ListObjects, version 1 and 2: one range scan of the metadata group, told in two dialects. */

struct listing {
    const char *prefix, *delimiter;
    const void *after; /* where to resume */
    size_t after_n;
    uint64_t max;
    bool url;
    Answer *answer;
};

static enum s3_error parse(struct op *op, struct listing *l)
{
    const char *prefix = s3_request_param(&op->request, "prefix");
    const char *delimiter = s3_request_param(&op->request, "delimiter");
    l->prefix = prefix ? prefix : "";
    l->delimiter = delimiter ? delimiter : "";
    enum s3_error s = op_url_encoding(op, &l->url);
    if (s == S3_OK)
        s = s3_request_number(&op->request, "max-keys", S3_PAGE_MAX, &l->max);
    if (s == S3_OK && l->max > S3_PAGE_MAX)
        l->max = S3_PAGE_MAX;
    return s;
}

static enum s3_error scan(struct op *op, struct listing *l)
{
    ListObjects list = LIST_OBJECTS__INIT;
    list.bucket = op_text(op->request.bucket);
    list.prefix = op_text(l->prefix);
    list.delimiter = op_text(l->delimiter);
    list.after = op_bytes(l->after, l->after_n);
    list.max_keys = (uint32_t)l->max;
    Query query = QUERY__INIT;
    query.body_case = QUERY__BODY_LIST_OBJECTS;
    query.list_objects = &list;
    return op_query_owned(op, &query, &l->answer);
}

static void write_entries(struct op *op, struct xml_writer *w, const struct listing *l, bool owner)
{
    const Answer *a = l->answer;
    for (size_t i = 0; i < a->n_objects; i++) {
        const ObjectEntry *o = a->objects[i];
        xml_open(w, "Contents", NULL);
        xml_key(w, "Key", o->key.data, o->key.len, l->url);
        xml_time(w, "LastModified", o->head->modified);
        xml_etag(w, "ETag", op_string(op, o->head->etag));
        xml_number(w, "Size", o->head->size);
        xml_text(w, "StorageClass", "STANDARD");
        if (owner) {
            xml_open(w, "Owner", NULL);
            xml_text(w, "ID", a->bucket->owner);
            xml_text(w, "DisplayName", a->bucket->owner);
            xml_close(w);
        }
        xml_close(w);
    }
    for (size_t i = 0; i < a->n_prefixes; i++) {
        xml_open(w, "CommonPrefixes", NULL);
        xml_key(w, "Prefix", a->prefixes[i].data, a->prefixes[i].len, l->url);
        xml_close(w);
    }
}

static void write_begin(struct op *op, struct xml_writer *w, const struct listing *l)
{
    xml_writer_init(w, op->arena);
    xml_open(w, "ListBucketResult", S3_XMLNS);
    xml_text(w, "Name", op->request.bucket);
    xml_key(w, "Prefix", l->prefix, strlen(l->prefix), l->url);
    if (l->delimiter[0])
        xml_key(w, "Delimiter", l->delimiter, strlen(l->delimiter), l->url);
    xml_number(w, "MaxKeys", l->max);
    if (l->url)
        xml_text(w, "EncodingType", "url");
    xml_bool(w, "IsTruncated", l->answer->truncated);
}

enum s3_error op_list_objects(struct op *op)
{
    struct listing l = {0};
    const char *marker = s3_request_param(&op->request, "marker");
    enum s3_error s = parse(op, &l);
    if (s != S3_OK)
        return s;
    l.after = marker ? marker : "";
    l.after_n = strlen(l.after);
    s = scan(op, &l);
    if (s != S3_OK)
        return s;
    struct xml_writer w;
    write_begin(op, &w, &l);
    xml_key(&w, "Marker", l.after, l.after_n, l.url);
    if (l.answer->truncated && l.delimiter[0])
        xml_key(&w, "NextMarker", l.answer->next.data, l.answer->next.len, l.url);
    write_entries(op, &w, &l, true);
    xml_close(&w);
    return op_respond_xml(op, &w);
}

/* A continuation token is the place to resume, in hex: opaque, and safe in any URL. */
static enum s3_error take_token(struct op *op, const char *token, struct listing *l)
{
    size_t n = strlen(token);
    if (n == 0 || n % 2 != 0 || n > 2 * (S3_KEY_MAX + 1))
        return S3_INVALID_ARGUMENT;
    uint8_t *place = arena_alloc(op->arena, n / 2);
    l->after = place;
    l->after_n = n / 2;
    return hex_decode(token, n, place, n / 2) == OK ? S3_OK : S3_INVALID_ARGUMENT;
}

enum s3_error op_list_objects_v2(struct op *op)
{
    struct listing l = {0};
    const char *token = s3_request_param(&op->request, "continuation-token");
    const char *start = s3_request_param(&op->request, "start-after");
    const char *owner = s3_request_param(&op->request, "fetch-owner");
    enum s3_error s = parse(op, &l);
    l.after = start ? start : "";
    l.after_n = strlen(l.after);
    if (s == S3_OK && token)
        s = take_token(op, token, &l);
    if (s == S3_OK)
        s = scan(op, &l);
    if (s != S3_OK)
        return s;
    struct xml_writer w;
    write_begin(op, &w, &l);
    xml_number(&w, "KeyCount", l.answer->n_objects + l.answer->n_prefixes);
    if (token)
        xml_text(&w, "ContinuationToken", token);
    if (start)
        xml_key(&w, "StartAfter", start, strlen(start), l.url);
    if (l.answer->truncated)
        xml_text(&w, "NextContinuationToken",
                 arena_hex(op->arena, l.answer->next.data, l.answer->next.len));
    write_entries(op, &w, &l, owner && text_equal_fold(owner, "true"));
    xml_close(&w);
    return op_respond_xml(op, &w);
}
