#include <stdlib.h>
#include <string.h>
#include "common/base/text.h"
#include "common/client/map_cache.h"
#include "gateway/gateway_internal.h"

/* What several operations need. */

enum { FOLLOWS_MAX = 3 }; /* how often a commit goes after slots that move */

ProtobufCBinaryData op_bytes(const void *data, size_t n)
{
    return (ProtobufCBinaryData){.len = n, .data = (uint8_t *)(uintptr_t)data};
}

ProtobufCBinaryData op_text(const char *text)
{
    return op_bytes(text, strlen(text));
}

const char *op_string(struct op *op, ProtobufCBinaryData b)
{
    char *text = arena_alloc(op->arena, b.len + 1);
    memcpy(text, b.data, b.len);
    return text;
}

const struct request_context *op_metadata(struct op *op)
{
    op->context.deadline = sys_now() + op->gateway->config.timeouts.metadata_call;
    return &op->context;
}

enum err op_query(struct op *op, Query *query, Answer **answer)
{
    return metadata_query(op->gateway->config.metadata, op_metadata(op), query, op->arena, answer);
}

enum err op_execute(struct op *op, Command *command, Result **result)
{
    return metadata_execute(op->gateway->config.metadata, op_metadata(op), command, op->arena,
                            result);
}

enum s3_error op_failed(struct op *op, enum err e)
{
    enum s3_error s = s3_error_from(e);
    if (s3_error_status(s) < 500)
        return s;
    /* Every err of an operation is the metadata group's; what went wrong on the way to it says, to
     * whoever is not its operator, only that it did not answer. */
    bool answered = e != ERR_TIMEOUT && e != ERR_CLOSED && e != ERR_REFUSED &&
                    e != ERR_NOT_LEADER && e != ERR_UNAVAILABLE && e != ERR_BREAKER_OPEN &&
                    e != ERR_UNKNOWN_OUTCOME;
    op->error.message =
        answered
            ? arena_format(op->arena, "The request could not be served now: %s.", err_text(e))
            : arena_format(op->arena,
                           "The metadata servers did not answer in time (%s). Try again; when it "
                           "stays so, fewer than a majority of them can be reached.",
                           err_text(e));
    return s;
}

void op_not_written(struct op *op, enum s3_error s)
{
    if (s == S3_SERVICE_UNAVAILABLE && !op->error.message)
        op->error.message = "Too few disks could take the object's shards in time. Try again.";
}

enum s3_error op_check_owner(struct op *op, const BucketInfo *bucket)
{
    bool allowed = op->user.root || strcmp(bucket->owner, op->user.name) == 0;
    return allowed ? S3_OK : S3_ACCESS_DENIED;
}

enum s3_error op_query_owned(struct op *op, Query *query, Answer **answer)
{
    enum err e = op_query(op, query, answer);
    /* Whether a key exists is nothing that a stranger may learn: the owner is checked first. */
    if (*answer && (*answer)->bucket) {
        enum s3_error denied = op_check_owner(op, (*answer)->bucket);
        if (denied != S3_OK)
            return denied;
    }
    if (e != OK)
        return op_failed(op, e);
    return (*answer)->bucket ? S3_OK : S3_INTERNAL_ERROR;
}

enum s3_error op_find_bucket(struct op *op, BucketInfo **bucket, int64_t *time)
{
    GetBucket get = GET_BUCKET__INIT;
    get.name = op_text(op->request.bucket);
    Query query = QUERY__INIT;
    query.body_case = QUERY__BODY_GET_BUCKET;
    query.get_bucket = &get;
    Answer *answer = NULL;
    enum err e = op_query(op, &query, &answer);
    if (e == ERR_NO_BUCKET)
        known_buckets_forget(&op->gateway->buckets, op->request.bucket);
    if (e != OK)
        return op_failed(op, e);
    if (!answer->bucket)
        return S3_INTERNAL_ERROR;
    known_buckets_note(&op->gateway->buckets, answer->bucket);
    *bucket = answer->bucket;
    enum s3_error s = op_check_owner(op, answer->bucket);
    if (!time || s != S3_OK)
        return s;
    *time = answer->time;
    return op_may_grow(op, answer);
}

enum s3_error op_may_grow(struct op *op, const Answer *answer)
{
    return answer->growth_refused ? op_failed(op, ERR_METADATA_FULL) : S3_OK;
}

enum s3_error op_known_bucket(struct op *op, BucketInfo **bucket, bool *known)
{
    struct known_bucket found;
    *known = known_buckets_find(&op->gateway->buckets, op->request.bucket, &found);
    if (*known) {
        BucketInfo *info = arena_alloc(op->arena, sizeof *info);
        bucket_info__init(info);
        info->id = found.id;
        info->name = op_text(op->request.bucket);
        info->owner = arena_string(op->arena, found.owner);
        info->pool = found.pool;
        *bucket = info;
        /* Another user's: so it was, but one of the same name may have been made since. */
        *known = op_check_owner(op, info) == S3_OK;
    }
    return *known ? S3_OK : op_find_bucket(op, bucket, NULL);
}

enum s3_error op_find_object(struct op *op, const char *bucket, const void *key, size_t key_n,
                             bool want_body, Answer **answer)
{
    GetObject get = GET_OBJECT__INIT;
    get.bucket = op_text(bucket);
    get.key = op_bytes(key, key_n);
    get.want_body = want_body;
    Query query = QUERY__INIT;
    query.body_case = QUERY__BODY_GET_OBJECT;
    query.get_object = &get;
    enum s3_error s = op_query_owned(op, &query, answer);
    if (s != S3_OK)
        return s;
    return (*answer)->head && (!want_body || (*answer)->body) ? S3_OK : S3_INTERNAL_ERROR;
}

enum s3_error op_pool(struct op *op, const BucketInfo *bucket, uint32_t *pool)
{
    const char *name = op->request.storage_class;
    *pool = bucket->pool;
    if (!name || strcmp(name, "STANDARD") == 0)
        return S3_OK;
    struct map_cache *cache = op->gateway->config.io->map;
    const struct cluster_map *map = map_cache_ref(cache);
    const struct cluster_pool *found = cluster_map_pool_named(map, name);
    if (found)
        *pool = found->id;
    map_cache_unref(cache, map);
    return found ? S3_OK : S3_INVALID_STORAGE_CLASS;
}

enum s3_error op_write_conditions(struct op *op, Conditions *out)
{
    const struct s3_conditions *c = &op->request.conditions;
    conditions__init(out);
    if (c->if_none_match) {
        if (strcmp(c->if_none_match, "*") != 0)
            return S3_NOT_IMPLEMENTED;
        out->if_absent = true;
    }
    if (c->if_match)
        out->if_match_etag = op_text(s3_etag_bare(op->arena, c->if_match));
    return S3_OK;
}

SdkRetry *op_sdk_retry(struct op *op, uint64_t bucket, const void *digest, size_t digest_n)
{
    const char *id = http_request_header(op->exchange, "amz-sdk-invocation-id");
    const char *request = http_request_header(op->exchange, "amz-sdk-request");
    const char *attempt = request ? strstr(request, "attempt=") : NULL;
    if (!id || !attempt || strlen(id) > 128)
        return NULL;
    const struct s3_request *r = &op->request;
    struct digest *d = digest_new(DIGEST_SHA256);
    const char *none_match = r->conditions.if_none_match ? r->conditions.if_none_match : "";
    const char *match = r->conditions.if_match ? r->conditions.if_match : "";
    uint64_t sizes[2] = {bucket, r->key_n};
    digest_update(d, r->http->method, strlen(r->http->method) + 1);
    digest_update(d, sizes, sizeof sizes);
    digest_update(d, r->key, r->key_n);
    digest_update(d, r->http->query ? r->http->query : "",
                  r->http->query ? strlen(r->http->query) + 1 : 1);
    digest_update(d, none_match, strlen(none_match) + 1);
    digest_update(d, match, strlen(match) + 1);
    digest_update(d, digest, digest_n);
    uint8_t *fingerprint = arena_alloc(op->arena, SHA256_BYTES);
    digest_final(d, fingerprint);
    digest_free(d);
    SdkRetry *retry = arena_alloc(op->arena, sizeof *retry);
    sdk_retry__init(retry);
    retry->access_key = arena_string(op->arena, op->user.access_key);
    retry->invocation_id = arena_string(op->arena, id);
    retry->fingerprint = op_bytes(fingerprint, SHA256_BYTES);
    retry->attempt = (uint32_t)strtoul(attempt + strlen("attempt="), NULL, 10);
    return retry;
}

enum s3_error op_url_encoding(struct op *op, bool *url)
{
    const char *encoding = s3_request_param(&op->request, "encoding-type");
    *url = encoding && text_equal_fold(encoding, "url");
    return !encoding || !encoding[0] || *url ? S3_OK : S3_INVALID_ARGUMENT;
}

enum err op_commit(struct op *op, Command *command, struct object_written *written, int64_t began,
                   Result **result)
{
    enum err e = op_execute(op, command, result);
    for (int i = 0; e == ERR_STALE_PLACEMENT && i < FOLLOWS_MAX; i++) {
        e = object_follow(op->gateway->config.io, &op->data, began, written);
        if (e == OK)
            e = op_execute(op, command, result);
    }
    return e;
}

void op_refused(struct op *op, enum err e, const Result *result,
                const struct object_written *written)
{
    /* Without an answer the outcome is not known; "exists" says that an earlier attempt of this very
     * write has been committed. */
    if (result && e != ERR_UNKNOWN_OUTCOME && e != ERR_EXISTS)
        object_discard(op->gateway->config.io, written);
}

void op_headers(struct op *op, struct http_headers *h)
{
    s3_headers_init(h, op->arena, &op->ids);
}

enum s3_error op_respond_empty(struct op *op, int status, struct http_headers *h)
{
    return http_respond(op->exchange, status, h, 0) == OK ? S3_OK : S3_CLIENT_GONE;
}

enum err op_keepalive(struct op *op)
{
    struct http_headers h;
    int64_t now = sys_now();
    if (now - op->heard < op->gateway->config.timeouts.answer_keepalive)
        return OK;
    op->heard = now;
    op_headers(op, &h);
    return http_keepalive_space(op->exchange, &h) == OK ? OK : ERR_CLIENT_GONE;
}

enum s3_error op_execute_empty(struct op *op, Command *command)
{
    Result *result = NULL;
    enum err e = op_execute(op, command, &result);
    if (e != OK)
        return op_failed(op, e == ERR_MISMATCH ? ERR_NO_BUCKET : e);
    struct http_headers h;
    op_headers(op, &h);
    return op_respond_empty(op, 204, &h);
}

enum s3_error op_respond_xml(struct op *op, struct xml_writer *w)
{
    struct http_headers h;
    op_headers(op, &h);
    return s3_respond_xml(op->exchange, 200, &h, w) == OK ? S3_OK : S3_CLIENT_GONE;
}
