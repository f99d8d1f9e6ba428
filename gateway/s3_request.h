/* Which operation a request is, on what, and what its headers say about it. Pure: nothing here looks
 * at who asks; see sigv4.h. What is not known is refused (S3_NOT_IMPLEMENTED), it never falls through
 * to the plain operation. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "gateway/http.h"
#include "gateway/s3_error.h"

/* ListBuckets -> S3_LIST_BUCKETS, and the name as S3 writes it. */
#define S3_OPERATION_LIST(X)                                            \
    X(S3_UNKNOWN, "Unknown")                                            \
    X(S3_LIST_BUCKETS, "ListBuckets")                                   \
    X(S3_CREATE_BUCKET, "CreateBucket")                                 \
    X(S3_DELETE_BUCKET, "DeleteBucket")                                 \
    X(S3_HEAD_BUCKET, "HeadBucket")                                     \
    X(S3_GET_BUCKET_LOCATION, "GetBucketLocation")                      \
    X(S3_LIST_OBJECTS, "ListObjects")                                   \
    X(S3_LIST_OBJECTS_V2, "ListObjectsV2")                              \
    X(S3_LIST_OBJECT_VERSIONS, "ListObjectVersions")                    \
    X(S3_LIST_MULTIPART_UPLOADS, "ListMultipartUploads")                \
    X(S3_DELETE_OBJECTS, "DeleteObjects")                               \
    X(S3_POST_OBJECT, "PostObject")                                     \
    X(S3_GET_BUCKET_VERSIONING, "GetBucketVersioning")                  \
    X(S3_PUT_BUCKET_VERSIONING, "PutBucketVersioning")                  \
    X(S3_GET_BUCKET_TAGGING, "GetBucketTagging")                        \
    X(S3_PUT_BUCKET_TAGGING, "PutBucketTagging")                        \
    X(S3_DELETE_BUCKET_TAGGING, "DeleteBucketTagging")                  \
    X(S3_GET_BUCKET_CORS, "GetBucketCors")                              \
    X(S3_PUT_BUCKET_CORS, "PutBucketCors")                              \
    X(S3_DELETE_BUCKET_CORS, "DeleteBucketCors")                        \
    X(S3_GET_BUCKET_LIFECYCLE, "GetBucketLifecycleConfiguration")       \
    X(S3_PUT_BUCKET_LIFECYCLE, "PutBucketLifecycleConfiguration")       \
    X(S3_DELETE_BUCKET_LIFECYCLE, "DeleteBucketLifecycle")              \
    X(S3_GET_BUCKET_POLICY, "GetBucketPolicy")                          \
    X(S3_PUT_BUCKET_POLICY, "PutBucketPolicy")                          \
    X(S3_DELETE_BUCKET_POLICY, "DeleteBucketPolicy")                    \
    X(S3_GET_BUCKET_POLICY_STATUS, "GetBucketPolicyStatus")             \
    X(S3_GET_BUCKET_ACL, "GetBucketAcl")                                \
    X(S3_PUT_BUCKET_ACL, "PutBucketAcl")                                \
    X(S3_GET_BUCKET_ENCRYPTION, "GetBucketEncryption")                  \
    X(S3_PUT_BUCKET_ENCRYPTION, "PutBucketEncryption")                  \
    X(S3_DELETE_BUCKET_ENCRYPTION, "DeleteBucketEncryption")            \
    X(S3_GET_OBJECT_LOCK, "GetObjectLockConfiguration")                 \
    X(S3_PUT_OBJECT_LOCK, "PutObjectLockConfiguration")                 \
    X(S3_GET_BUCKET_OWNERSHIP, "GetBucketOwnershipControls")            \
    X(S3_PUT_BUCKET_OWNERSHIP, "PutBucketOwnershipControls")            \
    X(S3_DELETE_BUCKET_OWNERSHIP, "DeleteBucketOwnershipControls")      \
    X(S3_GET_PUBLIC_ACCESS_BLOCK, "GetPublicAccessBlock")               \
    X(S3_PUT_PUBLIC_ACCESS_BLOCK, "PutPublicAccessBlock")               \
    X(S3_DELETE_PUBLIC_ACCESS_BLOCK, "DeletePublicAccessBlock")         \
    X(S3_GET_BUCKET_REQUEST_PAYMENT, "GetBucketRequestPayment")         \
    X(S3_PUT_BUCKET_REQUEST_PAYMENT, "PutBucketRequestPayment")         \
    X(S3_GET_BUCKET_LOGGING, "GetBucketLogging")                        \
    X(S3_PUT_BUCKET_LOGGING, "PutBucketLogging")                        \
    X(S3_GET_BUCKET_NOTIFICATION, "GetBucketNotificationConfiguration") \
    X(S3_PUT_BUCKET_NOTIFICATION, "PutBucketNotificationConfiguration") \
    X(S3_GET_BUCKET_WEBSITE, "GetBucketWebsite")                        \
    X(S3_PUT_BUCKET_WEBSITE, "PutBucketWebsite")                        \
    X(S3_DELETE_BUCKET_WEBSITE, "DeleteBucketWebsite")                  \
    X(S3_GET_BUCKET_ACCELERATE, "GetBucketAccelerateConfiguration")     \
    X(S3_PUT_BUCKET_ACCELERATE, "PutBucketAccelerateConfiguration")     \
    X(S3_PUT_OBJECT, "PutObject")                                       \
    X(S3_GET_OBJECT, "GetObject")                                       \
    X(S3_HEAD_OBJECT, "HeadObject")                                     \
    X(S3_DELETE_OBJECT, "DeleteObject")                                 \
    X(S3_COPY_OBJECT, "CopyObject")                                     \
    X(S3_GET_OBJECT_ATTRIBUTES, "GetObjectAttributes")                  \
    X(S3_GET_OBJECT_TAGGING, "GetObjectTagging")                        \
    X(S3_PUT_OBJECT_TAGGING, "PutObjectTagging")                        \
    X(S3_DELETE_OBJECT_TAGGING, "DeleteObjectTagging")                  \
    X(S3_GET_OBJECT_ACL, "GetObjectAcl")                                \
    X(S3_PUT_OBJECT_ACL, "PutObjectAcl")                                \
    X(S3_GET_OBJECT_RETENTION, "GetObjectRetention")                    \
    X(S3_PUT_OBJECT_RETENTION, "PutObjectRetention")                    \
    X(S3_GET_OBJECT_LEGAL_HOLD, "GetObjectLegalHold")                   \
    X(S3_PUT_OBJECT_LEGAL_HOLD, "PutObjectLegalHold")                   \
    X(S3_CREATE_MULTIPART_UPLOAD, "CreateMultipartUpload")              \
    X(S3_UPLOAD_PART, "UploadPart")                                     \
    X(S3_UPLOAD_PART_COPY, "UploadPartCopy")                            \
    X(S3_COMPLETE_MULTIPART_UPLOAD, "CompleteMultipartUpload")          \
    X(S3_ABORT_MULTIPART_UPLOAD, "AbortMultipartUpload")                \
    X(S3_LIST_PARTS, "ListParts")

enum s3_operation {
#define X(name, text) name,
    S3_OPERATION_LIST(X)
#undef X
        S3_OPERATIONS
};
const char *s3_operation_name(enum s3_operation o);

enum { S3_KEY_MAX = 1024, S3_METADATA_MAX = 2048, S3_PARTS_MAX = 10000, S3_PAGE_MAX = 1000 };

struct s3_param {
    const char *name, *value; /* decoded; value "" when there is none */
    size_t value_n;
};

enum s3_range_kind {
    S3_RANGE_NONE,  /* none, or one that is ignored (several ranges, another unit, malformed) */
    S3_RANGE_SPAN,  /* first .. last, both included; last may be UINT64_MAX ("a-") */
    S3_RANGE_SUFFIX /* the last `last` bytes */
};
struct s3_range {
    enum s3_range_kind kind;
    uint64_t first, last;
};
void s3_range_parse(const char *header, struct s3_range *out); /* NULL: none */
/* x-amz-copy-source-range, which is never ignored: "bytes=a-b" and nothing else. */
enum s3_error s3_copy_range_parse(const char *header, struct s3_range *out);
/* The bytes of an object of that size: S3_INVALID_RANGE when there are none of them. */
enum s3_error s3_range_resolve(const struct s3_range *r, uint64_t size, uint64_t *first,
                               uint64_t *length);

struct s3_conditions {
    const char *if_match, *if_none_match; /* as sent; NULL: none */
    const char *if_range;                 /* of reads */
    bool has_modified_since, has_unmodified_since;
    int64_t modified_since, unmodified_since; /* wall ns */
};
/* prefix: "" or "x-amz-copy-source-". Dates that do not parse are ignored, as HTTP says. */
void s3_conditions_parse(const struct http_headers *h, const char *prefix,
                         struct s3_conditions *out);
/* For reads, in HTTP's order of precedence: S3_OK, S3_PRECONDITION_FAILED or S3_NOT_MODIFIED. etag
 * without quotes. For the source of a copy "not modified" counts as failed: the caller maps it. */
enum s3_error s3_conditions_read(const struct s3_conditions *c, const char *etag, int64_t mtime);
/* Whether If-Range names this very state of an object: else its range does not count. A weak ETag never
 * does, a date only as the exact Last-Modified. */
bool s3_if_range_holds(const char *if_range, const char *etag, int64_t mtime);
/* Whether a list as in If-Match ("*", "\"a\", W/\"b\"", a) names this ETag. */
bool s3_etag_listed(const char *list, const char *etag);
/* Trimmed, and without the quotes that clients may or may not send. */
const char *s3_etag_bare(struct arena *a, const char *text);

struct s3_copy_source {
    const char *bucket; /* NULL: no copy */
    const char *key;
    size_t key_n;
    const char *version; /* NULL: the newest */
};

struct s3_request_config {
    const char *base_domain; /* "s3.example.com" or NULL: no virtual-host style */
};
struct s3_request {
    const struct http_request *http;
    enum s3_operation operation;
    const char *bucket; /* "" for the service */
    const char *key;    /* decoded once; "" for a bucket; may hold any byte, with a NUL after it */
    size_t key_n;
    struct s3_param *params;
    size_t params_n;
    struct http_headers query_checksums; /* x-amz-checksum-* of a presigned URL */
    struct s3_range range;               /* from Range, or x-amz-copy-source-range */
    struct s3_conditions conditions;
    struct s3_copy_source copy;
    struct s3_conditions copy_conditions;
    struct http_headers stored;   /* Content-Type, Cache-Control, ..: kept with the object */
    struct http_headers metadata; /* x-amz-meta-NAME: NAME in lower case, value */
    const char *storage_class;    /* NULL: the bucket's pool */
};

/* Everything is allocated in http->arena. On an error, bucket and key are filled as far as they are
 * known, for the error's Resource. */
enum s3_error s3_request_parse(const struct http_request *http, const struct s3_request_config *c,
                               struct s3_request *out);
/* The value of a query parameter; NULL when it is not there. */
const char *s3_request_param(const struct s3_request *r, const char *name);
/* An unsigned parameter: fallback when missing; S3_INVALID_ARGUMENT when it is not a number. */
enum s3_error s3_request_number(const struct s3_request *r, const char *name, uint64_t fallback,
                                uint64_t *out);
bool s3_bucket_name_ok(const char *name);
