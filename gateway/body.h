/* The bytes of an object or a part as they come from a client: aws-chunked undone, counted, and
 * compared at the end with everything that the client said about them. Only after body_read has
 * reported the end with S3_OK may anything be committed.
 *
 * Verified: the length (Content-Length or x-amz-decoded-content-length), x-amz-content-sha256,
 * Content-MD5, x-amz-checksum-* in header, query or trailer, signatures of chunks and trailers. */
#pragma once
#include "gateway/checksum.h"
#include "gateway/http.h"
#include "gateway/s3_error.h"
#include "gateway/sigv4.h"

struct body;
struct body_config {
    uint64_t size_max;  /* S3_ENTITY_TOO_LARGE, before a byte is read when announced */
    bool md5;           /* compute the MD5 (the ETag), also without Content-MD5 */
    bool demand_length; /* no length is not taken for 0: S3_MISSING_CONTENT_LENGTH */
    bool of_the_parts;  /* the x-amz-checksum-* headers are not this body's: not compared */
    const struct http_headers *query; /* x-amz-checksum-* of a presigned URL, or NULL */
};
/* Looks at the headers only; nothing is read, no 100 Continue is sent. S3_MISSING_CONTENT_LENGTH,
 * S3_INVALID_DIGEST, S3_INVALID_REQUEST (two checksums, ..), S3_ENTITY_TOO_LARGE. auth is used until
 * body_free. */
enum s3_error body_open(struct body **out, struct http_exchange *e, const struct sigv4_result *auth,
                        const struct body_config *c);
/* Fills out with as many of the object's bytes as come, up to max; fewer only at the end, which is
 * reported by *n < max (0 when nothing was left) once all has been verified. */
enum s3_error body_read(struct body *b, void *out, size_t max, size_t *n);
/* The object's bytes, as announced; every accepted body announces them. */
uint64_t body_size(const struct body *b);

struct body_digests {
    bool has_md5;
    uint8_t md5[MD5_BYTES];
    enum checksum_kind checksum; /* that the client states or asks for; NONE: none */
    bool checksum_given;         /* by the client, and verified */
    uint8_t checksum_bytes[DIGEST_MAX_BYTES];
    char checksum_text[CHECKSUM_TEXT]; /* base64 */
};
/* After the end. */
void body_digests(const struct body *b, struct body_digests *out);
void body_free(struct body *b); /* NULL is allowed */

/* A whole small body (XML, JSON), NUL-terminated in the exchange's arena, verified. demand_digest:
 * S3_INVALID_REQUEST without Content-MD5 or x-amz-checksum-*. S3_MAX_MESSAGE_LENGTH_EXCEEDED. */
enum s3_error body_whole(struct http_exchange *e, const struct sigv4_result *auth, size_t max,
                         bool demand_digest, char **out, size_t *n);
/* The same for CompleteMultipartUpload, whose x-amz-checksum-* headers are of the object that its parts
 * make. */
enum s3_error body_whole_of_parts(struct http_exchange *e, const struct sigv4_result *auth,
                                  size_t max, char **out, size_t *n);
