/* The benchmark's S3 client: one keep-alive connection, one request at a time, signed with SigV4.
 * Just enough HTTP for servers that announce their lengths; lean, so that what is measured is them. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/base/err.h"
#include "common/sys/sys.h"

enum { S3_HOST_MAX = 255, S3_KEY_MAX = 128, S3_REGION_MAX = 63, S3_CODE_MAX = 63 };

struct s3_target {
    struct sys_addr address;
    char host[S3_HOST_MAX + 1]; /* as the Host header says it */
    char access_key[S3_KEY_MAX + 1];
    char secret[S3_KEY_MAX + 1];
    char region[S3_REGION_MAX + 1];
};
/* "http://127.0.0.1:9000": fills in address and host. ERR_UNSUPPORTED: another scheme, or a path.
 * ERR_NOT_FOUND and ERR_TIMEOUT: the name is not found. */
enum err s3_target_parse(struct s3_target *t, const char *url, int64_t deadline) MUST_USE;

enum { S3_SLICES_MAX = 4 };
struct s3_request {
    const char *method;
    const char *path;  /* percent-encoded already */
    const char *query; /* "delete", or NULL */
    struct sys_slice body[S3_SLICES_MAX];
    size_t slices;
    bool sign_payload;       /* by its SHA-256; else UNSIGNED-PAYLOAD */
    const char *content_md5; /* base64, or NULL */
    int64_t deadline;
    /* Gets the body of an answer 2xx, piece by piece; may be NULL. */
    void (*take)(void *arg, const uint8_t *data, size_t n);
    void *arg;
};
struct s3_reply {
    int status;
    uint64_t length;            /* of the body */
    char code[S3_CODE_MAX + 1]; /* of an error: "NoSuchKey" */
};

struct s3_connection;
struct s3_connection *s3_connection_new(const struct s3_target *target); /* kept, not copied */
void s3_connection_free(struct s3_connection *c);
/* OK whenever an answer has come, whatever its status. A connection that the server closed between
 * two requests is made anew. ERR_TRUNCATED: the body ended early. */
enum err s3_exchange(struct s3_connection *c, const struct s3_request *request,
                     struct s3_reply *reply) MUST_USE;

/* The text that a request's signature covers, and the Authorization header's value: for tests.
 * date: "20130524T000000Z". */
enum { S3_HEAD_MAX = 4096 };
void s3_authorization(const struct s3_target *t, const uint8_t signing_key[32],
                      const struct s3_request *request, const char *date, const char *payload,
                      char out[S3_HEAD_MAX]);
