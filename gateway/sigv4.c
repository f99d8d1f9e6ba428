/* The invariants are in sigv4.h: 1 in sigv4_canonical.c, 2 in headers_signed, 3 in signature_check,
 * 4 in payload_parse, 5 in names_distinct. */
#include "gateway/sigv4.h"
#include <stdio.h>
#include <string.h>
#include "common/base/text.h"
#include "gateway/s3_uri.h"
#include "gateway/sigv4_internal.h"

#define ALGORITHM "AWS4-HMAC-SHA256"

enum {
    SIGNED_HEADERS_MAX = 2048, /* together with the header limit this bounds the work per request */
    EXPIRES_MAX_S = 604800,
};

/* What a request says about its signature, in either form. */
struct claim {
    const char *credential, *signed_headers, *signature, *timestamp;
    const char *date, *region; /* of the scope */
    const char *payload_hash;  /* as text, for the canonical request */
    int64_t time;
    uint64_t expires_s;
    enum s3_error malformed; /* the error of this form */
};

void sigv4_signing_key(const char *secret, const char *date, const char *region,
                       const char *service, uint8_t out[SHA256_BYTES])
{
    char key[4 + SIGV4_SECRET_MAX + 1] = "AWS4";
    snprintf(key + 4, sizeof key - 4, "%s", secret);
    hmac_sha256(key, strlen(key), date, strlen(date), out);
    hmac_sha256(out, SHA256_BYTES, region, strlen(region), out);
    hmac_sha256(out, SHA256_BYTES, service, strlen(service), out);
    hmac_sha256(out, SHA256_BYTES, "aws4_request", 12, out);
}

static bool is_digits(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (s[i] < '0' || s[i] > '9')
            return false;
    return true;
}

/* KEY/YYYYMMDD/REGION/s3/aws4_request, read from its end since keys may hold slashes. */
static bool credential_split(struct arena *a, struct claim *c, struct sigv4_result *out)
{
    char *text = arena_string(a, c->credential);
    char *part[5] = {text};
    for (int i = 4; i > 0; i--) {
        char *slash = strrchr(text, '/');
        if (!slash)
            return false;
        *slash = 0;
        part[i] = slash + 1;
    }
    c->date = part[1];
    c->region = part[2];
    if (strlen(part[1]) != 8 || !is_digits(part[1], 8) || strcmp(part[3], "s3") != 0 ||
        strcmp(part[4], "aws4_request") != 0)
        return false;
    if (!*text || strlen(text) > SIGV4_KEY_ID_MAX)
        return false;
    memcpy(out->key_id, text, strlen(text) + 1);
    out->scope = arena_format(a, "%s/%s/s3/aws4_request", c->date, c->region);
    return true;
}

static enum s3_error authorization_parse(const struct http_request *r, const char *header,
                                         struct claim *c)
{
    struct arena *a = r->arena;
    c->malformed = S3_AUTHORIZATION_HEADER_MALFORMED;
    if (strncmp(header, "AWS ", 4) == 0)
        return S3_SIGNATURE_V2;
    if (strncmp(header, ALGORITHM, strlen(ALGORITHM)) != 0)
        return c->malformed;
    const char *at = header + strlen(ALGORITHM);
    if (*at != ' ' && *at != '\t')
        return c->malformed;
    while (*at) {
        static const char *const names[] = {"Credential=", "SignedHeaders=", "Signature="};
        const char **fields[] = {&c->credential, &c->signed_headers, &c->signature};
        at += strspn(at, ", \t");
        size_t n = strcspn(at, ", \t"), which = 0;
        while (which < 3 && strncmp(at, names[which], strlen(names[which])) != 0)
            which++;
        if (n == 0)
            break;
        if (which == 3 || *fields[which])
            return c->malformed;
        size_t name_n = strlen(names[which]);
        char *copy = arena_alloc(a, n - name_n + 1);
        memcpy(copy, at + name_n, n - name_n);
        *fields[which] = copy;
        at += n;
    }
    c->timestamp = http_headers_get(&r->headers, "x-amz-date");
    const char *date = http_headers_get(&r->headers, "date");
    if (!c->timestamp && date) {
        char iso[TIME_TEXT];
        int64_t ns;
        if (time_parse_http(date, &ns))
            return S3_ACCESS_DENIED;
        time_format_iso(ns, iso); /* 2026-01-31T12:00:00.000Z */
        c->timestamp = arena_format(a, "%.4s%.2s%.2sT%.2s%.2s%.2sZ", iso, iso + 5, iso + 8,
                                    iso + 11, iso + 14, iso + 17);
    }
    c->payload_hash = http_headers_get(&r->headers, "x-amz-content-sha256");
    return c->payload_hash ? S3_OK : S3_MISSING_SECURITY_HEADER;
}

static const char *query_value(const struct http_request *r, const char *name)
{
    size_t name_n = strlen(name), decoded_n;
    for (const char *at = r->query ? r->query : ""; *at;) {
        size_t n = strcspn(at, "&");
        if (n > name_n && at[name_n] == '=' && memcmp(at, name, name_n) == 0) {
            const char *value =
                uri_decode(r->arena, at + name_n + 1, n - name_n - 1, false, &decoded_n);
            return value && strlen(value) == decoded_n ? value : "";
        }
        at += n;
        at += *at == '&';
    }
    return NULL;
}

static enum s3_error query_parse(const struct http_request *r, struct claim *c)
{
    c->malformed = S3_AUTHORIZATION_QUERY_PARAMETERS;
    const char *algorithm = query_value(r, "X-Amz-Algorithm");
    const char *expires = query_value(r, "X-Amz-Expires");
    if (!algorithm || strcmp(algorithm, ALGORITHM) != 0 || !expires)
        return c->malformed;
    if (decimal_parse(expires, strlen(expires), &c->expires_s) || c->expires_s < 1 ||
        c->expires_s > EXPIRES_MAX_S)
        return c->malformed;
    c->credential = query_value(r, "X-Amz-Credential");
    c->signed_headers = query_value(r, "X-Amz-SignedHeaders");
    c->signature = query_value(r, "X-Amz-Signature");
    c->timestamp = query_value(r, "X-Amz-Date");
    c->payload_hash = query_value(r, "X-Amz-Content-Sha256");
    if (!c->payload_hash)
        c->payload_hash = http_headers_get(&r->headers, "x-amz-content-sha256");
    if (!c->payload_hash)
        c->payload_hash = "UNSIGNED-PAYLOAD";
    return S3_OK;
}

static bool in_list(const char *list, const char *name)
{
    size_t name_n = strlen(name);
    while (*list) {
        size_t n = strcspn(list, ";");
        if (n == name_n) {
            size_t i = 0;
            while (i < n && (list[i] == name[i] || list[i] == (name[i] | 0x20)))
                i++;
            if (i == n)
                return true;
        }
        list += n;
        list += *list == ';';
    }
    return false;
}

/* Each name once, in whatever case: or a list of one name, repeated, would make the canonical request
 * many times as long as the headers that came. */
static bool names_distinct(const char *list)
{
    while (*list) {
        size_t n = strcspn(list, ";");
        if (n == 0)
            return false;
        for (const char *at = list + n; *at;) {
            size_t i = 0;
            at++;
            while (i < n && char_lower(at[i]) == char_lower(list[i]))
                i++;
            if (i == n && (at[n] == ';' || at[n] == 0))
                return false;
            at += strcspn(at, ";");
        }
        list += n;
        list += *list == ';';
    }
    return true;
}

static bool headers_signed(const struct http_request *r, const char *signed_headers)
{
    bool host = false;
    for (size_t i = 0; i < r->headers.n; i++) {
        const char *name = r->headers.v[i].name;
        char start[7] = {0};
        strncpy(start, name, 6);
        bool is_host = text_equal_fold(name, "host");
        if ((is_host || text_equal_fold(start, "x-amz-")) && !in_list(signed_headers, name))
            return false;
        host |= is_host;
    }
    return host;
}

static enum s3_error payload_parse(struct claim *c, struct sigv4_result *out)
{
    static const struct {
        const char *text;
        enum sigv4_payload payload;
    } modes[] = {
        {"UNSIGNED-PAYLOAD", PAYLOAD_UNSIGNED},
        {"STREAMING-" ALGORITHM "-PAYLOAD", PAYLOAD_STREAMING_SIGNED},
        {"STREAMING-" ALGORITHM "-PAYLOAD-TRAILER", PAYLOAD_STREAMING_SIGNED_TRAILER},
        {"STREAMING-UNSIGNED-PAYLOAD-TRAILER", PAYLOAD_STREAMING_UNSIGNED_TRAILER},
    };
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (strcmp(c->payload_hash, modes[i].text) == 0) {
            out->payload = modes[i].payload;
            return S3_OK;
        }
    out->payload = PAYLOAD_SIGNED;
    if (hex_decode(c->payload_hash, strlen(c->payload_hash), out->payload_sha256, SHA256_BYTES))
        return S3_INVALID_ARGUMENT;
    return S3_OK;
}

static enum s3_error time_check(const struct sigv4_config *config, const struct claim *c)
{
    const int64_t second = 1000000000;
    if (c->time > config->now + config->skew)
        return c->expires_s ? S3_ACCESS_DENIED : S3_REQUEST_TIME_TOO_SKEWED;
    if (c->expires_s)
        return config->now > c->time + (int64_t)c->expires_s * second ? S3_REQUEST_EXPIRED : S3_OK;
    return c->time < config->now - config->skew ? S3_REQUEST_TIME_TOO_SKEWED : S3_OK;
}

static bool signature_matches(const struct http_request *r, const struct claim *c,
                              const struct sigv4_result *out, bool encode)
{
    uint8_t digest[SHA256_BYTES], signature[SHA256_BYTES];
    char digest_text[65], signature_text[65];
    const char *canonical = sigv4_canonical(r, c->signed_headers, c->payload_hash, encode);
    digest_sha256(canonical, strlen(canonical), digest);
    hex_encode(digest, sizeof digest, digest_text);
    const char *to_sign =
        arena_format(r->arena, ALGORITHM "\n%s\n%s\n%s", c->timestamp, out->scope, digest_text);
    hmac_sha256(out->signing_key, SHA256_BYTES, to_sign, strlen(to_sign), signature);
    hex_encode(signature, sizeof signature, signature_text);
    return equal_constant_time(signature_text, c->signature, 64);
}

static enum s3_error signature_check(const struct http_request *r,
                                     const struct sigv4_config *config, const struct claim *c,
                                     struct sigv4_result *out)
{
    char secret[SIGV4_SECRET_MAX + 1] = {0};
    enum err err = config->secret(config->arg, out->key_id, secret, sizeof secret);
    if (err == ERR_NO_USER || err == ERR_NOT_FOUND)
        return S3_INVALID_ACCESS_KEY_ID;
    if (err)
        return s3_error_from(err);
    enum s3_error e = time_check(config, c);
    if (e)
        return e;
    sigv4_signing_key(secret, c->date, c->region, "s3", out->signing_key);
    if (!signature_matches(r, c, out, false) && !signature_matches(r, c, out, true))
        return S3_SIGNATURE_DOES_NOT_MATCH;
    memcpy(out->signature, c->signature, SIGV4_SIGNATURE_TEXT);
    out->date = c->timestamp;
    return S3_OK;
}

enum s3_error sigv4_verify(const struct http_request *r, const struct sigv4_config *config,
                           struct sigv4_result *out)
{
    struct claim c = {0};
    memset(out, 0, sizeof *out);
    out->payload = PAYLOAD_UNSIGNED;
    const char *header = http_headers_get(&r->headers, "authorization");
    out->presigned = query_value(r, "X-Amz-Algorithm") || query_value(r, "X-Amz-Signature");
    if (!out->presigned && query_value(r, "AWSAccessKeyId"))
        return S3_SIGNATURE_V2;
    if (header && out->presigned)
        return S3_INVALID_ARGUMENT; /* two claims, which of them counts? */
    if (!header && !out->presigned) {
        out->anonymous = true;
        const char *hash = http_headers_get(&r->headers, "x-amz-content-sha256");
        /* Unsigned framing would have to be undone without anybody vouching for it. */
        return hash && strncmp(hash, "STREAMING-", 10) == 0 ? S3_ACCESS_DENIED : S3_OK;
    }
    enum s3_error e = header ? authorization_parse(r, header, &c) : query_parse(r, &c);
    if (e)
        return e;
    if (!c.credential || !c.signed_headers || !c.signature || strlen(c.signature) != 64 ||
        strlen(c.signed_headers) > SIGNED_HEADERS_MAX || !names_distinct(c.signed_headers) ||
        !credential_split(r->arena, &c, out))
        return c.malformed;
    if (!c.timestamp || time_parse_basic(c.timestamp, &c.time))
        return S3_ACCESS_DENIED;
    if (strncmp(c.timestamp, c.date, 8) != 0 || strcmp(c.region, config->region) != 0)
        return c.malformed;
    e = payload_parse(&c, out);
    if (e)
        return e;
    if (!headers_signed(r, c.signed_headers))
        return S3_UNSIGNED_HEADERS;
    return signature_check(r, config, &c, out);
}
