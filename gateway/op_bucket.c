#include <string.h>
#include "common/client/map_cache.h"
#include "gateway/gateway_internal.h"

/* Buckets: create, delete, head, location, list; and what clients probe before they work. */

enum { CONFIGURATION_MAX = 64 * 1024, BUCKETS_MAX = 10000 };

static void write_buckets(struct xml_writer *w, const Answer *answer)
{
    for (size_t i = 0; i < answer->n_buckets; i++) {
        const BucketInfo *b = answer->buckets[i];
        xml_open(w, "Bucket", NULL);
        xml_text_n(w, "Name", b->name.data, b->name.len);
        xml_time(w, "CreationDate", b->created);
        xml_close(w);
    }
}

/* As many buckets as are asked for, from as many pages as metadata gives them in; *last: the answer that
 * says whether there are more. */
static enum s3_error list_all(struct op *op, ListBuckets *list, struct xml_writer *w, Answer **last)
{
    Query query = QUERY__INIT;
    query.body_case = QUERY__BODY_LIST_BUCKETS;
    query.list_buckets = list;
    do {
        enum err e = op_query(op, &query, last);
        if (e != OK)
            return op_failed(op, e);
        if ((*last)->n_buckets > list->max)
            return S3_INTERNAL_ERROR;
        write_buckets(w, *last);
        list->max -= (uint32_t)(*last)->n_buckets;
        list->after = (*last)->next;
    } while ((*last)->truncated && (*last)->n_buckets > 0 && list->max > 0);
    return S3_OK;
}

enum s3_error op_list_buckets(struct op *op)
{
    uint64_t max = 0;
    enum s3_error s = s3_request_number(&op->request, "max-buckets", BUCKETS_MAX, &max);
    if (s != S3_OK || max == 0 || max > BUCKETS_MAX)
        return S3_INVALID_ARGUMENT;
    const char *prefix = s3_request_param(&op->request, "prefix");
    const char *token = s3_request_param(&op->request, "continuation-token");
    ListBuckets list = LIST_BUCKETS__INIT;
    list.owner = op->user.root ? (char *)(uintptr_t) "" : op->user.name;
    list.prefix = op_text(prefix ? prefix : "");
    list.after = op_text(token ? token : "");
    list.max = (uint32_t)max;
    Answer *answer = NULL;
    struct xml_writer w;
    xml_writer_init(&w, op->arena);
    xml_open(&w, "ListAllMyBucketsResult", S3_XMLNS);
    xml_open(&w, "Owner", NULL);
    xml_text(&w, "ID", op->user.name);
    xml_text(&w, "DisplayName", op->user.name);
    xml_close(&w);
    xml_open(&w, "Buckets", NULL);
    s = list_all(op, &list, &w, &answer);
    if (s != S3_OK)
        return s;
    xml_close(&w);
    if (answer->truncated)
        xml_text_n(&w, "ContinuationToken", answer->next.data, answer->next.len);
    if (prefix)
        xml_text(&w, "Prefix", prefix);
    xml_close(&w);
    return op_respond_xml(op, &w);
}

static bool find_pool(const struct gateway_config *c, uint32_t *pool)
{
    const struct cluster_map *map = map_cache_ref(c->io->map);
    const struct cluster_pool *found = NULL;
    if (c->default_pool)
        found = cluster_map_pool_named(map, c->default_pool);
    else if (map->pool_count > 0)
        found = &map->pools[0];
    if (found)
        *pool = found->id;
    map_cache_unref(c->io->map, map);
    return found != NULL;
}

/* The pool of a new bucket: the configured one, else the first that has its placement groups. */
static enum s3_error new_bucket_pool(struct op *op, uint32_t *pool)
{
    const struct gateway_config *c = &op->gateway->config;
    if (find_pool(c, pool))
        return S3_OK;
    /* It may just have got them. */
    if (map_cache_refresh(c->io->map, op_metadata(op), 0) == OK && find_pool(c, pool))
        return S3_OK;
    op->error.message = "No pool has its placement groups yet: too few disks have joined.";
    return S3_SERVICE_UNAVAILABLE;
}

enum s3_error op_create_bucket(struct op *op)
{
    char *text = NULL;
    const char *location = "";
    size_t n = 0;
    uint32_t pool = 0;
    if (!s3_bucket_name_ok(op->request.bucket))
        return S3_INVALID_BUCKET_NAME;
    enum s3_error s = body_whole(op->exchange, &op->auth, CONFIGURATION_MAX, false, &text, &n);
    if (s == S3_OK)
        s = s3_create_bucket_parse(op->arena, text, n, &location);
    if (s == S3_OK && location[0] && strcmp(location, op->gateway->config.region) != 0)
        s = S3_ILLEGAL_LOCATION_CONSTRAINT;
    if (s == S3_OK)
        s = new_bucket_pool(op, &pool);
    if (s != S3_OK)
        return s;
    CreateBucket body = CREATE_BUCKET__INIT;
    body.name = op_text(op->request.bucket);
    body.owner = op->user.name;
    body.pool = pool;
    body.location = arena_string(op->arena, location);
    Command command = COMMAND__INIT;
    command.body_case = COMMAND__BODY_CREATE_BUCKET;
    command.create_bucket = &body;
    Result *result = NULL;
    enum err e = op_execute(op, &command, &result);
    if (e != OK && e != ERR_BUCKET_OWNED)
        return op_failed(op, e);
    struct http_headers h;
    op_headers(op, &h);
    http_headers_addf(&h, "Location", "/%s", op->request.bucket);
    return op_respond_empty(op, 200, &h);
}

enum s3_error op_delete_bucket(struct op *op)
{
    BucketInfo *bucket;
    enum s3_error s = op_find_bucket(op, &bucket, NULL);
    if (s != S3_OK)
        return s;
    DeleteBucket body = DELETE_BUCKET__INIT;
    body.bucket = bucket->id;
    body.name = bucket->name;
    Command command = COMMAND__INIT;
    command.body_case = COMMAND__BODY_DELETE_BUCKET;
    command.delete_bucket = &body;
    return op_execute_empty(op, &command);
}

enum s3_error op_head_bucket(struct op *op)
{
    BucketInfo *bucket;
    enum s3_error s = op_find_bucket(op, &bucket, NULL);
    if (s != S3_OK)
        return s;
    struct http_headers h;
    op_headers(op, &h);
    http_headers_add(&h, "x-amz-bucket-region", op->gateway->config.region);
    return op_respond_empty(op, 200, &h);
}

enum s3_error op_bucket_location(struct op *op)
{
    BucketInfo *bucket;
    enum s3_error s = op_find_bucket(op, &bucket, NULL);
    if (s != S3_OK)
        return s;
    const char *region = op->gateway->config.region;
    struct xml_writer w;
    xml_writer_init(&w, op->arena);
    xml_open(&w, "LocationConstraint", S3_XMLNS);
    if (strcmp(region, "us-east-1") != 0)
        xml_chars(&w, region);
    xml_close(&w);
    return op_respond_xml(op, &w);
}

/* An access control list that says: the owner may do everything. */
static enum s3_error respond_acl(struct op *op, const char *owner)
{
    struct xml_writer w;
    xml_writer_init(&w, op->arena);
    xml_open(&w, "AccessControlPolicy", S3_XMLNS);
    xml_open(&w, "Owner", NULL);
    xml_text(&w, "ID", owner);
    xml_text(&w, "DisplayName", owner);
    xml_close(&w);
    xml_open(&w, "AccessControlList", NULL);
    xml_open(&w, "Grant", NULL);
    xml_open_attribute(&w, "Grantee",
                       "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type",
                       "CanonicalUser");
    xml_text(&w, "ID", owner);
    xml_text(&w, "DisplayName", owner);
    xml_close(&w);
    xml_text(&w, "Permission", "FULL_CONTROL");
    xml_close(&w);
    xml_close(&w);
    xml_close(&w);
    return op_respond_xml(op, &w);
}

static enum s3_error respond_element(struct op *op, const char *element, const char *child,
                                     const char *text)
{
    struct xml_writer w;
    xml_writer_init(&w, op->arena);
    xml_open(&w, element, S3_XMLNS);
    if (child)
        xml_text(&w, child, text);
    xml_close(&w);
    return op_respond_xml(op, &w);
}

/* What a bucket does not have: the answer says so, which is what clients probe for. Everything that
 * would have to change something is refused. */
enum s3_error op_bucket_probe(struct op *op)
{
    BucketInfo *bucket;
    Answer *answer = NULL;
    const struct s3_request *r = &op->request;
    enum s3_error s = r->bucket[0] == 0 ? S3_NOT_IMPLEMENTED
                      : r->key_n > 0
                          ? op_find_object(op, r->bucket, r->key, r->key_n, false, &answer)
                          : op_find_bucket(op, &bucket, NULL);
    if (s != S3_OK)
        return s;
    switch (r->operation) {
    case S3_GET_BUCKET_VERSIONING:
        return respond_element(op, "VersioningConfiguration", NULL, NULL);
    case S3_GET_BUCKET_ACL:
        return respond_acl(op, bucket->owner);
    case S3_GET_OBJECT_ACL:
        return respond_acl(op, answer->bucket->owner);
    case S3_GET_BUCKET_REQUEST_PAYMENT:
        return respond_element(op, "RequestPaymentConfiguration", "Payer", "BucketOwner");
    case S3_GET_BUCKET_LOGGING:
        return respond_element(op, "BucketLoggingStatus", NULL, NULL);
    case S3_GET_BUCKET_NOTIFICATION:
        return respond_element(op, "NotificationConfiguration", NULL, NULL);
    case S3_GET_BUCKET_ACCELERATE:
        return respond_element(op, "AccelerateConfiguration", NULL, NULL);
    case S3_GET_BUCKET_POLICY:
    case S3_GET_BUCKET_POLICY_STATUS:
        return S3_NO_SUCH_BUCKET_POLICY;
    case S3_GET_BUCKET_TAGGING:
        return S3_NO_SUCH_TAG_SET;
    case S3_GET_OBJECT_TAGGING:
        return respond_element(op, "Tagging", "TagSet", "");
    case S3_GET_BUCKET_CORS:
        return S3_NO_SUCH_CORS_CONFIGURATION;
    case S3_GET_BUCKET_LIFECYCLE:
        return S3_NO_SUCH_LIFECYCLE;
    case S3_GET_BUCKET_ENCRYPTION:
        return S3_NO_SUCH_ENCRYPTION;
    case S3_GET_OBJECT_LOCK:
        return S3_NO_SUCH_OBJECT_LOCK;
    case S3_GET_BUCKET_OWNERSHIP:
        return S3_NO_SUCH_OWNERSHIP;
    case S3_GET_PUBLIC_ACCESS_BLOCK:
        return S3_NO_SUCH_PUBLIC_ACCESS_BLOCK;
    case S3_GET_BUCKET_WEBSITE:
        return S3_NO_SUCH_WEBSITE;
    default:
        return S3_NOT_IMPLEMENTED;
    }
}
