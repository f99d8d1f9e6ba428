/* Shared by the S3 operations (op_*.c): one request on its way through the gateway. */
#pragma once
#include "common/base/request_context.h"
#include "common/client/metadata_client.h"
#include "gateway/body.h"
#include "gateway/gateway.h"
#include "gateway/known_buckets.h"
#include "gateway/object_io.h"
#include "gateway/s3_bodies.h"
#include "gateway/s3_request.h"
#include "gateway/s3_response.h"

enum { READS_MAX = 4096, USERS_CACHED = 256, USER_NAME_MAX = 64 };

struct cached_user {
    char access_key[SIGV4_KEY_ID_MAX + 1];
    char secret[SIGV4_SECRET_MAX + 1];
    char name[USER_NAME_MAX + 1];
    bool root;
    int64_t until; /* sys_now */
};

struct gateway {
    struct gateway_config config;
    struct sys_mutex lock;
    struct cached_user users[USERS_CACHED];
    size_t next_user; /* the place that is used next */
    struct known_buckets buckets;
    int64_t reads[READS_MAX];                   /* log times of running reads; 0: free place */
    struct gateway_count counts[S3_OPERATIONS]; /* by operation */
    uint64_t running;
};

/* One request. Everything that it allocates lives in the exchange's arena. */
struct op {
    struct gateway *gateway;
    struct http_exchange *exchange;
    struct arena *arena;
    struct s3_request request;
    struct sigv4_result auth;
    struct cached_user user;
    struct s3_ids ids;
    struct request_context context; /* of metadata calls: short */
    struct request_context data;    /* of shard traffic: as long as a read or write may take */
    struct s3_error_detail error;   /* what to answer when an operation returns not S3_OK */
    int64_t heard;                  /* when the client was last sent something; see op_keepalive */
};

/* An operation answers by itself and returns S3_OK, or has not answered and says why not. */
typedef enum s3_error op_function(struct op *op);
op_function op_list_buckets, op_create_bucket, op_delete_bucket, op_head_bucket, op_bucket_location,
    op_bucket_probe, op_list_objects, op_list_objects_v2, op_put_object, op_copy_object,
    op_get_object, op_head_object, op_delete_object, op_delete_objects, op_create_upload,
    op_upload_part, op_upload_part_copy, op_complete_upload, op_abort_upload, op_list_parts,
    op_list_uploads;

/* ---- op.c: what several operations need ---- */

/* The deadline of the next metadata call. */
const struct request_context *op_metadata(struct op *op);
enum err op_query(struct op *op, Query *query, Answer **answer);
/* A query whose answer names a bucket: checked. */
enum s3_error op_query_owned(struct op *op, Query *query, Answer **answer);
enum err op_execute(struct op *op, Command *command, Result **result);
/* S3_OK when the user may use this bucket: its owner, or root. */
enum s3_error op_check_owner(struct op *op, const BucketInfo *bucket);
/* The request's bucket; checked. *time: the log time at which a write begins. */
enum s3_error op_find_bucket(struct op *op, BucketInfo **bucket, int64_t *time);
/* What a write learns with its first query: a body that metadata cannot take is not asked for. */
enum s3_error op_may_grow(struct op *op, const Answer *answer);
/* The same for a write that needs no log time: *known when it comes from memory, and whoever is then
 * refused because there is no such bucket must ask op_find_bucket. */
enum s3_error op_known_bucket(struct op *op, BucketInfo **bucket, bool *known);
/* A named object of a bucket that the user may use. */
enum s3_error op_find_object(struct op *op, const char *bucket, const void *key, size_t key_n,
                             bool want_body, Answer **answer);
/* The pool that x-amz-storage-class names, else the bucket's. */
enum s3_error op_pool(struct op *op, const BucketInfo *bucket, uint32_t *pool);
/* An err as S3 says it, with what it is about in op->error. */
enum s3_error op_failed(struct op *op, enum err e);
/* Says why object_write answered "not now". */
void op_not_written(struct op *op, enum s3_error s);
/* encoding-type of a listing: whether keys are to be given URL-encoded. */
enum s3_error op_url_encoding(struct op *op, bool *url);
/* If-Match and If-None-Match of a write. */
enum s3_error op_write_conditions(struct op *op, Conditions *out);
/* amz-sdk-invocation-id and the attempt number, with the request's fingerprint; NULL: none. */
SdkRetry *op_sdk_retry(struct op *op, uint64_t bucket, const void *digest, size_t digest_n);
/* A command that names what was written, whose messages it points to: when slots have moved on it
 * follows them and commits again under the same write id (hazard 3). */
enum err op_commit(struct op *op, Command *command, struct object_written *written, int64_t began,
                   Result **result);
/* A commit did not succeed: deletes what it would have named, when it was definitely refused and no
 * row can name it (hazard 4). */
void op_refused(struct op *op, enum err e, const Result *result,
                const struct object_written *written);
/* An initialised answer's header list. */
void op_headers(struct op *op, struct http_headers *h);
enum s3_error op_respond_empty(struct op *op, int status, struct http_headers *h);
/* Called now and then by what may take minutes, once nothing but its end is unknown: whenever the client
 * has heard nothing for answer_keepalive it is sent a space, the first one behind a status of 200. Then
 * op_respond_xml ends the answer, and an error is an XML document in it. ERR_CLIENT_GONE. */
enum err op_keepalive(struct op *op);
/* A command that has no more to say than that it held: 204. */
enum s3_error op_execute_empty(struct op *op, Command *command);
enum s3_error op_respond_xml(struct op *op, struct xml_writer *w);
ProtobufCBinaryData op_bytes(const void *data, size_t n);
ProtobufCBinaryData op_text(const char *text);
const char *op_string(struct op *op, ProtobufCBinaryData b); /* a copy with a NUL */

/* What one request may bring or copy: larger objects come in parts, and are copied in parts. */
#define OBJECT_PUT_MAX (UINT64_C(5) << 30)

/* ---- op_put.c: an object's head from a request's headers ---- */

void op_head_from_request(struct op *op, ObjectHead *head);
void op_head_checksum(struct op *op, ObjectHead *head, const struct body_digests *d);
/* Reads the request's body to chunks of the pool, or whole into body->inline_data. */
enum s3_error op_store_body(struct op *op, struct body *source, uint32_t pool, int64_t began,
                            uint32_t inline_max, ObjectBody *body, struct object_written *written);

/* ---- op_copy.c ---- */

/* Reads [offset, offset + length) of a source object to new chunks (or inline), and its MD5. What it
 * reads is kept from being collected meanwhile; S3_SLOW_DOWN when too many reads are running,
 * S3_INVALID_REQUEST above OBJECT_PUT_MAX. */
enum s3_error op_store_copy(struct op *op, const Answer *source, uint64_t offset, uint64_t length,
                            uint32_t pool, int64_t began, uint32_t inline_max, ObjectBody *body,
                            struct object_written *written, uint8_t md5[MD5_BYTES]);
/* The source that x-amz-copy-source names, its conditions checked. */
enum s3_error op_copy_source(struct op *op, Answer **answer);

/* ---- gateway.c ---- */

/* A running read keeps what it reads from being collected; the place it got, or -1: too
 * many are running, and the read must not begin. */
int gateway_read_begin(struct gateway *g, int64_t log_time);
void gateway_read_end(struct gateway *g, int place);
