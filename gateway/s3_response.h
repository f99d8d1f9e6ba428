/* Answers in S3's dress: ids, quoted ETags, XML errors. */
#pragma once
#include "gateway/http.h"
#include "gateway/s3_error.h"
#include "gateway/s3_request.h"
#include "gateway/xml_writer.h"

/* x-amz-request-id, for logs and answers alike. */
struct s3_ids {
    char request_id[17];
    char host_id[45];
};
void s3_ids_new(struct s3_ids *ids);

/* An initialised list with both ids in it. */
void s3_headers_init(struct http_headers *h, struct arena *arena, const struct s3_ids *ids);
void s3_headers_etag(struct http_headers *h, const char *etag); /* without quotes */
void s3_headers_last_modified(struct http_headers *h, int64_t wall_ns);

struct s3_error_detail {
    enum s3_error error;
    const char *message;      /* instead of the table's; NULL: the table's */
    const char *resource;     /* NULL: the request's path */
    const char *name, *value; /* one more element, e.g. "BucketName"; NULL: none */
};
/* Status, ids, XML body (none on HEAD, 304 and for S3_CLIENT_GONE, which is not answered). 503 has
 * Retry-After. After http_keepalive_space the XML alone: SDKs know errors behind a status of 200. Ignores
 * that the client has gone. */
void s3_respond_error(struct http_exchange *e, const struct s3_ids *ids,
                      const struct s3_error_detail *d);
/* The error's XML alone, e.g. after http_keepalive_space. */
void s3_error_xml(struct xml_writer *w, const struct s3_ids *ids, const struct s3_error_detail *d,
                  const char *resource);
/* Whole XML answer; h has the ids already. After http_keepalive_space its end, without status and h. */
enum err s3_respond_xml(struct http_exchange *e, int status, struct http_headers *h,
                        const struct xml_writer *w) MUST_USE;
/* http_server_config.refusal_body for an S3 server; app is not used. */
size_t s3_refusal_body(void *app, enum http_refusal why, char *out, size_t max);
