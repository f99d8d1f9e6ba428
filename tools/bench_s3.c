#include "tools/bench_s3.h"
#include <stdio.h>
#include <string.h>
#include "common/base/text.h"
#include "gateway/sigv4.h"

enum { BODY_BUFFER = 256 * 1024 };
#define CONNECT_FOR  (5 * SYS_SECOND)
#define EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

struct s3_connection {
    const struct s3_target *target;
    struct sys_socket *socket;
    bool used; /* has served a request: the server may have closed it */
    char key_date[9];
    uint8_t signing_key[SHA256_BYTES];
    uint8_t *buffer; /* BODY_BUFFER */
    size_t have, at; /* received and not yet taken: buffer + at .. buffer + have */
};

/* ---- where ---- */

enum err s3_target_parse(struct s3_target *t, const char *url, int64_t deadline)
{
    static const char scheme[] = "http://";
    char name[S3_HOST_MAX + 1];
    uint64_t port = 80;
    size_t found;
    if (strncmp(url, scheme, strlen(scheme)) != 0)
        return ERR_UNSUPPORTED;
    const char *host = url + strlen(scheme);
    size_t n = strcspn(host, "/");
    if (n == 0 || n > S3_HOST_MAX || (host[n] == '/' && host[n + 1]))
        return ERR_UNSUPPORTED;
    memcpy(t->host, host, n);
    t->host[n] = 0;
    if (sys_addr_parse(t->host, &t->address) == OK)
        return OK;
    memcpy(name, t->host, n + 1);
    char *colon = strrchr(name, ':');
    if (colon) {
        if (decimal_parse(colon + 1, strlen(colon + 1), &port) || port > UINT16_MAX)
            return ERR_INVALID;
        *colon = 0;
    }
    return sys_resolve(name, (uint16_t)port, deadline, &t->address, 1, &found);
}

/* ---- signing ---- */

void s3_authorization(const struct s3_target *t, const uint8_t signing_key[32],
                      const struct s3_request *r, const char *date, const char *payload,
                      char out[S3_HEAD_MAX])
{
    char text[S3_HEAD_MAX], hash[2 * SHA256_BYTES + 1], signature[2 * SHA256_BYTES + 1];
    uint8_t digest[SHA256_BYTES];
    int n = snprintf(text, sizeof text,
                     "%s\n%s\n%s%s\nhost:%s\nx-amz-content-sha256:%s\nx-amz-date:%s\n\n"
                     "host;x-amz-content-sha256;x-amz-date\n%s",
                     r->method, r->path, r->query ? r->query : "", r->query ? "=" : "", t->host,
                     payload, date, payload);
    digest_sha256(text, n < S3_HEAD_MAX ? (size_t)n : S3_HEAD_MAX - 1, digest);
    hex_encode(digest, sizeof digest, hash);
    n = snprintf(text, sizeof text, "AWS4-HMAC-SHA256\n%s\n%.8s/%s/s3/aws4_request\n%s", date, date,
                 t->region, hash);
    hmac_sha256(signing_key, SHA256_BYTES, text, (size_t)n, digest);
    hex_encode(digest, sizeof digest, signature);
    snprintf(out, S3_HEAD_MAX,
             "AWS4-HMAC-SHA256 Credential=%s/%.8s/%s/s3/aws4_request, "
             "SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=%s",
             t->access_key, date, t->region, signature);
}

static uint64_t body_length(const struct s3_request *r)
{
    uint64_t n = 0;
    for (size_t i = 0; i < r->slices; i++)
        n += r->body[i].length;
    return n;
}

static void payload_text(const struct s3_request *r, char out[2 * SHA256_BYTES + 1])
{
    uint8_t digest[SHA256_BYTES];
    if (r->slices == 0 || !r->sign_payload) {
        snprintf(out, 2 * SHA256_BYTES + 1, "%s",
                 r->slices == 0 ? EMPTY_SHA256 : "UNSIGNED-PAYLOAD");
        return;
    }
    struct digest *d = digest_new(DIGEST_SHA256);
    for (size_t i = 0; i < r->slices; i++)
        digest_update(d, r->body[i].data, r->body[i].length);
    digest_final(d, digest);
    digest_free(d);
    hex_encode(digest, sizeof digest, out);
}

static enum err make_head(struct s3_connection *c, const struct s3_request *r,
                          char out[S3_HEAD_MAX], size_t *length)
{
    const struct s3_target *t = c->target;
    char iso[TIME_TEXT], date[TIME_TEXT], payload[2 * SHA256_BYTES + 1];
    char authorization[S3_HEAD_MAX], put[64] = "";
    time_format_iso(sys_wall(), iso); /* 2026-01-31T12:00:00.000Z */
    snprintf(date, sizeof date, "%.4s%.2s%.2sT%.2s%.2s%.2sZ", iso, iso + 5, iso + 8, iso + 11,
             iso + 14, iso + 17);
    if (strncmp(date, c->key_date, 8) != 0) {
        memcpy(c->key_date, date, 8);
        sigv4_signing_key(t->secret, c->key_date, t->region, "s3", c->signing_key);
    }
    payload_text(r, payload);
    s3_authorization(t, c->signing_key, r, date, payload, authorization);
    if (r->slices || strcmp(r->method, "PUT") == 0)
        snprintf(put, sizeof put, "Content-Length: %llu\r\n", (unsigned long long)body_length(r));
    int n = snprintf(out, S3_HEAD_MAX,
                     "%s %s%s%s HTTP/1.1\r\nHost: %s\r\nx-amz-date: %s\r\n"
                     "x-amz-content-sha256: %s\r\nAuthorization: %s\r\n%s%s%s%s\r\n",
                     r->method, r->path, r->query ? "?" : "", r->query ? r->query : "", t->host,
                     date, payload, authorization, put, r->content_md5 ? "Content-MD5: " : "",
                     r->content_md5 ? r->content_md5 : "", r->content_md5 ? "\r\n" : "");
    *length = (size_t)n;
    return n >= S3_HEAD_MAX ? ERR_TOO_BIG : OK;
}

/* ---- the connection ---- */

struct s3_connection *s3_connection_new(const struct s3_target *target)
{
    struct s3_connection *c = sys_alloc(sizeof *c);
    c->target = target;
    c->buffer = sys_alloc_aligned(BODY_BUFFER, SYS_BLOCK);
    return c;
}

static void hang_up(struct s3_connection *c)
{
    if (c->socket)
        sys_socket_close(c->socket);
    c->socket = NULL;
    c->used = false;
    c->have = c->at = 0;
}

void s3_connection_free(struct s3_connection *c)
{
    if (!c)
        return;
    hang_up(c);
    sys_free(c->buffer);
    sys_free(c);
}

static enum err send_all(struct s3_connection *c, const char *head, size_t head_n,
                         const struct s3_request *r)
{
    struct sys_slice v[S3_SLICES_MAX + 1] = {{head, head_n}};
    size_t n = 1, first = 0;
    for (size_t i = 0; i < r->slices; i++)
        v[n++] = r->body[i];
    while (first < n) {
        size_t done = 0;
        if (v[first].length == 0) {
            first++;
            continue;
        }
        enum err e = sys_send(c->socket, v + first, n - first, false, r->deadline, &done);
        if (e)
            return e;
        while (first < n && done >= v[first].length)
            done -= v[first++].length;
        if (done) {
            v[first].data = (const uint8_t *)v[first].data + done;
            v[first].length -= done;
        }
    }
    return OK;
}

/* Until the blank line is in the buffer; *end is behind it. */
static enum err read_head(struct s3_connection *c, int64_t deadline, size_t *end)
{
    c->have = c->at = 0;
    for (;;) {
        size_t got;
        if (c->have >= S3_HEAD_MAX * 4)
            return ERR_TOO_BIG;
        enum err e =
            sys_recv(c->socket, c->buffer + c->have, BODY_BUFFER - 1 - c->have, deadline, &got);
        if (e)
            return e;
        c->have += got;
        c->buffer[c->have] = 0;
        for (size_t i = 0; i + 4 <= c->have; i++)
            if (memcmp(c->buffer + i, "\r\n\r\n", 4) == 0) {
                *end = i + 4;
                return OK;
            }
    }
}

/* The value of a header in the head's text (which ends at a blank line), up to its line's end. */
static const char *header(const char *head, const char *name, char out[64])
{
    size_t name_n = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line && line[2] != '\r';
         line = strstr(line + 2, "\r\n")) {
        char here[64];
        snprintf(here, sizeof here, "%.*s", (int)name_n, line + 2);
        if (!text_equal_fold(here, name) || line[2 + name_n] != ':')
            continue;
        const char *value = line + 3 + name_n;
        value += strspn(value, " \t");
        snprintf(out, 64, "%.*s", (int)strcspn(value, "\r\n"), value);
        return out;
    }
    return NULL;
}

/* The beginning of an error's XML, which may come in pieces. */
struct error_text {
    char text[1024];
    size_t n;
};

static void keep_text(struct error_text *t, const uint8_t *data, size_t n)
{
    for (size_t i = 0; i < n && t->n + 1 < sizeof t->text; i++)
        t->text[t->n++] = (char)data[i];
}

/* What stands between <Code> and </Code>. */
static void find_code(const struct error_text *t, char out[S3_CODE_MAX + 1])
{
    const char *code = strstr(t->text, "<Code>");
    if (code)
        snprintf(out, S3_CODE_MAX + 1, "%.*s", (int)strcspn(code + 6, "<"), code + 6);
}

static enum err read_body(struct s3_connection *c, const struct s3_request *r,
                          struct s3_reply *reply)
{
    bool good = reply->status / 100 == 2;
    struct error_text text = {.n = 0};
    for (uint64_t left = reply->length; left > 0;) {
        if (c->at == c->have) {
            size_t got;
            enum err e = sys_recv(c->socket, c->buffer, BODY_BUFFER, r->deadline, &got);
            if (e)
                return e == ERR_CLOSED ? ERR_TRUNCATED : e;
            c->at = 0;
            c->have = got;
        }
        size_t n = c->have - c->at;
        if (n > left)
            n = (size_t)left;
        if (good && r->take)
            r->take(r->arg, c->buffer + c->at, n);
        if (!good)
            keep_text(&text, c->buffer + c->at, n);
        c->at += n;
        left -= n;
    }
    find_code(&text, reply->code);
    return OK;
}

static enum err read_reply(struct s3_connection *c, const struct s3_request *r,
                           struct s3_reply *reply, bool *keep)
{
    char value[64];
    size_t end;
    enum err e = read_head(c, r->deadline, &end);
    if (e)
        return e;
    char *head = (char *)c->buffer;
    head[end - 1] = 0; /* the head alone is searched */
    c->at = end;
    uint64_t status;
    if (strncmp(head, "HTTP/1.", 7) != 0 || strlen(head) < 12 ||
        decimal_parse(head + 9, 3, &status))
        return ERR_FORMAT;
    reply->status = (int)status;
    *keep = !(header(head, "connection", value) && text_equal_fold(value, "close"));
    if (header(head, "content-length", value)) {
        if (decimal_parse(value, strlen(value), &reply->length))
            return ERR_FORMAT;
        return read_body(c, r, reply);
    }
    /* In chunks, or up to the end of the connection: only an error's code is of use. */
    if (status != 204 && status != 304)
        *keep = false;
    if (status / 100 != 2) {
        struct error_text text = {.n = 0};
        keep_text(&text, c->buffer + c->at, c->have - c->at);
        find_code(&text, reply->code);
    }
    return OK;
}

enum err s3_exchange(struct s3_connection *c, const struct s3_request *r, struct s3_reply *reply)
{
    char head[S3_HEAD_MAX];
    size_t head_n;
    bool keep = false;
    enum err e = make_head(c, r, head, &head_n);
    while (!e) {
        bool fresh = !c->used;
        memset(reply, 0, sizeof *reply);
        if (!c->socket) {
            int64_t until = sys_now() + CONNECT_FOR;
            e = sys_connect(&c->target->address, until < r->deadline ? until : r->deadline,
                            &c->socket);
            if (e)
                break;
        }
        e = send_all(c, head, head_n, r);
        /* A server that refuses the body answers and closes: its answer is still to be read. */
        if (!e || e == ERR_CLOSED) {
            enum err answered = read_reply(c, r, reply, &keep);
            keep = keep && !e && !answered;
            e = answered;
        }
        c->used = true;
        if (e || !keep)
            hang_up(c);
        if (e != ERR_CLOSED || fresh)
            break;
        e = OK; /* closed while it was idle: once more on a new one */
    }
    return e;
}
