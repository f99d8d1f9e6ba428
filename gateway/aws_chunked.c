/* A state per place in the framing; lines gather in a fixed buffer, bytes of chunks pass through. */
#include "gateway/aws_chunked.h"
#include <stdio.h>
#include <string.h>
#include "common/base/text.h"

#define EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

enum state { CHUNK_LINE, CHUNK_BYTES, CHUNK_END, TRAILERS, DONE };

struct aws_chunked {
    const struct sigv4_result *auth;
    struct arena *arena;
    bool is_signed, has_trailers;
    enum state state;
    enum s3_error failed;
    uint64_t left; /* of the chunk */
    char line[AWS_CHUNKED_LINE_MAX];
    size_t line_n;
    struct digest *digest;               /* of the chunk */
    char claimed[SIGV4_SIGNATURE_TEXT];  /* the chunk's */
    char previous[SIGV4_SIGNATURE_TEXT]; /* the one before, first the request's */
    struct digest *trailer_digest;
    bool trailer_signature_seen;
    struct http_headers trailers;
};

struct aws_chunked *aws_chunked_new(const struct sigv4_result *auth, struct arena *arena)
{
    struct aws_chunked *c = sys_alloc(sizeof *c);
    c->auth = auth;
    c->arena = arena;
    c->is_signed = auth->payload != PAYLOAD_STREAMING_UNSIGNED_TRAILER;
    c->has_trailers = auth->payload != PAYLOAD_STREAMING_SIGNED;
    memcpy(c->previous, auth->signature, sizeof c->previous);
    http_headers_init(&c->trailers, arena);
    if (c->is_signed && c->has_trailers)
        c->trailer_digest = digest_new(DIGEST_SHA256);
    return c;
}

void aws_chunked_free(struct aws_chunked *c)
{
    if (!c)
        return;
    if (c->digest)
        digest_free(c->digest);
    if (c->trailer_digest)
        digest_free(c->trailer_digest);
    sys_free(c);
}

const struct http_headers *aws_chunked_trailers(const struct aws_chunked *c)
{
    return &c->trailers;
}

/* Compares and becomes the previous one. */
static bool signature_ok(struct aws_chunked *c, const char *to_sign, const char *claimed)
{
    uint8_t mac[SHA256_BYTES];
    char text[SIGV4_SIGNATURE_TEXT];
    hmac_sha256(c->auth->signing_key, SHA256_BYTES, to_sign, strlen(to_sign), mac);
    hex_encode(mac, sizeof mac, text);
    memcpy(c->previous, text, sizeof text);
    return equal_constant_time(text, claimed, SIGV4_SIGNATURE_TEXT - 1);
}

static enum s3_error chunk_verify(struct aws_chunked *c)
{
    uint8_t hash[SHA256_BYTES];
    char hash_text[2 * SHA256_BYTES + 1];
    char to_sign[1024];
    if (!c->is_signed)
        return S3_OK;
    digest_final(c->digest, hash);
    digest_free(c->digest);
    c->digest = NULL;
    hex_encode(hash, sizeof hash, hash_text);
    int n = snprintf(to_sign, sizeof to_sign, "AWS4-HMAC-SHA256-PAYLOAD\n%s\n%s\n%s\n%s\n%s",
                     c->auth->date, c->auth->scope, c->previous, EMPTY_SHA256, hash_text);
    if (n < 0 || (size_t)n >= sizeof to_sign)
        return S3_SIGNATURE_DOES_NOT_MATCH;
    return signature_ok(c, to_sign, c->claimed) ? S3_OK : S3_SIGNATURE_DOES_NOT_MATCH;
}

/* SIZE[;chunk-signature=HEX] */
static enum s3_error chunk_begin(struct aws_chunked *c)
{
    static const char *const extension = ";chunk-signature=";
    const char *at = c->line;
    uint64_t size = 0;
    int digits = 0;
    for (; hex_value(*at) >= 0 && digits < 16; at++, digits++)
        size = size << 4 | (uint64_t)hex_value(*at);
    if (digits == 0 || size > INT64_MAX)
        return S3_INVALID_REQUEST;
    if (c->is_signed) {
        size_t n = strlen(extension);
        if (strncmp(at, extension, n) != 0 || strlen(at + n) != SIGV4_SIGNATURE_TEXT - 1)
            return S3_INVALID_REQUEST;
        memcpy(c->claimed, at + n, SIGV4_SIGNATURE_TEXT);
        c->digest = digest_new(DIGEST_SHA256);
    } else if (*at) {
        return S3_INVALID_REQUEST;
    }
    c->left = size;
    c->state = CHUNK_BYTES;
    if (size > 0)
        return S3_OK;
    c->state = TRAILERS;
    return chunk_verify(c);
}

static enum s3_error trailer_signature(struct aws_chunked *c, const char *claimed)
{
    uint8_t hash[SHA256_BYTES];
    char hash_text[2 * SHA256_BYTES + 1], to_sign[1024];
    if (!c->trailer_digest || c->trailer_signature_seen ||
        strlen(claimed) != SIGV4_SIGNATURE_TEXT - 1)
        return S3_INVALID_REQUEST;
    digest_final(c->trailer_digest, hash);
    c->trailer_signature_seen = true;
    hex_encode(hash, sizeof hash, hash_text);
    int n = snprintf(to_sign, sizeof to_sign, "AWS4-HMAC-SHA256-TRAILER\n%s\n%s\n%s\n%s",
                     c->auth->date, c->auth->scope, c->previous, hash_text);
    if (n < 0 || (size_t)n >= sizeof to_sign || !signature_ok(c, to_sign, claimed))
        return S3_SIGNATURE_DOES_NOT_MATCH;
    return S3_OK;
}

static enum s3_error trailer(struct aws_chunked *c)
{
    char *line = c->line;
    bool signature_due = c->trailer_digest && !c->trailer_signature_seen;
    if (!*line) { /* some clients put an empty line before the signature */
        if (!signature_due)
            c->state = DONE;
        return S3_OK;
    }
    char *colon = strchr(line, ':');
    if (!c->has_trailers || !colon || colon == line || c->trailer_signature_seen ||
        c->trailers.n == AWS_CHUNKED_TRAILERS_MAX)
        return S3_INVALID_REQUEST;
    *colon = 0;
    text_lower(line);
    char *value = colon + 1 + strspn(colon + 1, " \t");
    size_t n = strlen(value);
    while (n && (value[n - 1] == ' ' || value[n - 1] == '\t'))
        value[--n] = 0;
    if (strcmp(line, "x-amz-trailer-signature") == 0)
        return trailer_signature(c, value);
    if (http_headers_get(&c->trailers, line))
        return S3_INVALID_REQUEST;
    if (c->trailer_digest) {
        digest_update(c->trailer_digest, line, strlen(line));
        digest_update(c->trailer_digest, ":", 1);
        digest_update(c->trailer_digest, value, n);
        digest_update(c->trailer_digest, "\n", 1);
    }
    http_headers_add(&c->trailers, line, value);
    return S3_OK;
}

/* A whole line has been gathered, without its end. */
static enum s3_error line_done(struct aws_chunked *c)
{
    if (c->state == CHUNK_LINE)
        return chunk_begin(c);
    if (c->state == TRAILERS)
        return trailer(c);
    if (c->state == CHUNK_END && c->line_n == 0) {
        c->state = CHUNK_LINE;
        return S3_OK;
    }
    return S3_INVALID_REQUEST;
}

/* Chunk lines end in CR LF; trailers may end in a bare LF, as some documented examples do. */
static enum s3_error line_feed(struct aws_chunked *c, char ch)
{
    if (ch == 0 || c->state == DONE)
        return S3_INVALID_REQUEST;
    if (ch != '\n') {
        if (c->line_n + 1 >= sizeof c->line || (c->state == CHUNK_END && ch != '\r'))
            return S3_INVALID_REQUEST; /* invariant 2 */
        c->line[c->line_n++] = ch;
        return S3_OK;
    }
    bool carriage = c->line_n > 0 && c->line[c->line_n - 1] == '\r';
    if (!carriage && c->state != TRAILERS)
        return S3_INVALID_REQUEST;
    c->line_n -= carriage;
    c->line[c->line_n] = 0;
    enum s3_error e = memchr(c->line, '\r', c->line_n) ? S3_INVALID_REQUEST : line_done(c);
    c->line_n = 0;
    return e;
}

enum s3_error aws_chunked_feed(struct aws_chunked *c, const void *in, size_t in_n, size_t *used,
                               void *out, size_t out_max, size_t *made)
{
    const char *from = in;
    char *to = out;
    *used = *made = 0;
    while (*used < in_n && c->failed == S3_OK) {
        if (c->state != CHUNK_BYTES) {
            c->failed = line_feed(c, from[*used]);
            (*used)++;
            continue;
        }
        size_t n = in_n - *used, room = out_max - *made;
        if (n > room)
            n = room;
        if (n > c->left)
            n = (size_t)c->left;
        if (n == 0)
            break;
        memcpy(to + *made, from + *used, n);
        if (c->digest)
            digest_update(c->digest, to + *made, n);
        *used += n;
        *made += n;
        c->left -= n;
        if (c->left == 0) {
            c->failed = chunk_verify(c); /* invariant 3 */
            c->state = CHUNK_END;
        }
    }
    return c->failed;
}

enum s3_error aws_chunked_finish(struct aws_chunked *c)
{
    if (c->failed)
        return c->failed;
    if ((c->state != TRAILERS && c->state != DONE) || c->line_n)
        return S3_INCOMPLETE_BODY;
    if (c->trailer_digest && !c->trailer_signature_seen)
        return S3_INCOMPLETE_BODY;
    return S3_OK;
}
