/* AWS Signature Version 4 as S3 uses it, in the Authorization header and in the query (presigned).
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-auth-using-authorization-header.html
 *
 * 1. The path is signed as it was sent: encoded once, never decoded or normalised before.
 * 2. Every x-amz-* header and Host must be signed, on presigned URLs too.
 * 3. Signatures are compared in constant time.
 * 4. A payload mode that is not known is refused: framing must never be stored.
 * 5. A signed header is named once: the canonical request is no longer than what came. */
#pragma once
#include <stdint.h>
#include "common/base/digest.h"
#include "gateway/http.h"
#include "gateway/s3_error.h"

enum { SIGV4_KEY_ID_MAX = 128, SIGV4_SECRET_MAX = 128, SIGV4_SIGNATURE_TEXT = 65 };

enum sigv4_payload {
    PAYLOAD_SIGNED,                    /* one SHA-256 over the body, known from the start */
    PAYLOAD_UNSIGNED,                  /* UNSIGNED-PAYLOAD */
    PAYLOAD_STREAMING_SIGNED,          /* aws-chunked, each chunk signed */
    PAYLOAD_STREAMING_SIGNED_TRAILER,  /* and trailers, signed */
    PAYLOAD_STREAMING_UNSIGNED_TRAILER /* aws-chunked, unsigned, with trailers */
};

struct sigv4_config {
    const char *region;
    int64_t now;  /* wall ns */
    int64_t skew; /* timeouts.clock_skew */
    /* Writes the key's secret, NUL-terminated. ERR_NO_USER: no such key; other errors: not now. */
    enum err (*secret)(void *arg, const char *key_id, char *out, size_t max);
    void *arg;
};

struct sigv4_result {
    bool anonymous; /* nothing was signed: the rest is empty, payload is UNSIGNED */
    bool presigned;
    char key_id[SIGV4_KEY_ID_MAX + 1];
    enum sigv4_payload payload;
    uint8_t payload_sha256[SHA256_BYTES]; /* PAYLOAD_SIGNED */
    /* For the chunks of a streaming payload. */
    uint8_t signing_key[SHA256_BYTES];
    char signature[SIGV4_SIGNATURE_TEXT];
    const char *date;  /* 20130524T000000Z */
    const char *scope; /* 20130524/us-east-1/s3/aws4_request */
};

/* S3_OK also for an anonymous request: whether those are allowed is the caller's to say. Strings in
 * the result live in the request's arena. */
enum s3_error sigv4_verify(const struct http_request *r, const struct sigv4_config *c,
                           struct sigv4_result *out);
/* HMAC chain of the secret: date is YYYYMMDD. */
void sigv4_signing_key(const char *secret, const char *date, const char *region,
                       const char *service, uint8_t out[SHA256_BYTES]);
