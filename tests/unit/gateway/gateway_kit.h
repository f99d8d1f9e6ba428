/* A gateway in the simulated world of world_kit.h, and a client that signs what it sends to it. */
#pragma once
#include <stdlib.h>
#include "common/base/seal.h"
#include "common/base/text.h"
#include "gateway/gateway_internal.h"
#include "gateway/http_memory.h"
#include "gateway/sigv4_internal.h"
#include "tests/unit/chunkserver_service/objects_kit.h"

enum { KIT_HEADERS_MAX = 12, KIT_TEXT = 2048, KIT_KEY_ID = 1, KIT_KEY_BYTE = 7 };

static const char kit_access_key[] = "AKKITKITKITKITKITKIT";
static const char kit_secret[] = "kitkitkitkitkitkitkitkitkitkitkitkitkit0";

static inline struct gateway *kit_open(struct world_test *t)
{
    uint8_t key[SEAL_KEY_BYTES], nonce[SEAL_NONCE_BYTES] = {1};
    uint8_t sealed[sizeof kit_secret + SEAL_OVERHEAD];
    size_t n = strlen(kit_secret);
    memset(key, KIT_KEY_BYTE, sizeof key);
    seal(key, KIT_KEY_ID, nonce, kit_access_key, kit_secret, n, sealed);
    UserInfo user = USER_INFO__INIT;
    user.name = (char *)(uintptr_t) "root";
    user.access_key = (char *)(uintptr_t)kit_access_key;
    user.sealed_secret = (ProtobufCBinaryData){n + SEAL_OVERHEAD, sealed};
    user.root = true;
    CreateUser body = CREATE_USER__INIT;
    body.user = &user;
    Command command = COMMAND__INIT;
    command.body_case = COMMAND__BODY_CREATE_USER;
    command.create_user = &body;
    CHECK_OK(world_command(t, &command, NULL));
    struct gateway_config config = {.metadata = t->c.metadata,
                                    .io = &t->c.io,
                                    .region = "us-east-1",
                                    .inline_max = 16 * 1024,
                                    .timeouts = t->c.timeouts};
    memcpy(config.key, key, sizeof key);
    return gateway_new(&config);
}

static inline int kit_name_order(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* "host;x-amz-..": what must be signed, in order. */
static inline const char *kit_signed_names(struct arena *a, const struct http_headers *h)
{
    const char *names[KIT_HEADERS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < h->n; i++) {
        char *name = arena_string(a, h->v[i].name);
        text_lower(name);
        if (strcmp(name, "host") == 0 || strncmp(name, "x-amz-", 6) == 0)
            names[n++] = name;
    }
    qsort(names, n, sizeof *names, kit_name_order);
    const char *out = names[0];
    for (size_t i = 1; i < n; i++)
        out = arena_format(a, "%s;%s", out, names[i]);
    return out;
}

/* The Authorization header of a request with these headers. */
static inline void kit_sign(const char *method, const char *target, const char *date,
                            const struct http_header *headers, size_t n, char out[KIT_TEXT])
{
    struct arena a;
    char hash[65], signature[65], day[9];
    uint8_t key[SHA256_BYTES], digest[SHA256_BYTES];
    arena_init(&a);
    const char *query = strchr(target, '?');
    size_t path_n = query ? (size_t)(query - target) : strlen(target);
    struct http_request r = {.method = method, .arena = &a, .query = query ? query + 1 : NULL};
    r.path = arena_format(&a, "%.*s", (int)path_n, target);
    http_headers_init(&r.headers, &a);
    for (size_t i = 0; i < n; i++)
        http_headers_add(&r.headers, headers[i].name, headers[i].value);
    const char *names = kit_signed_names(&a, &r.headers);
    const char *canonical = sigv4_canonical(&r, names, "UNSIGNED-PAYLOAD", false);
    snprintf(day, sizeof day, "%.8s", date);
    digest_sha256(canonical, strlen(canonical), digest);
    hex_encode(digest, sizeof digest, hash);
    const char *to_sign =
        arena_format(&a, "AWS4-HMAC-SHA256\n%s\n%s/us-east-1/s3/aws4_request\n%s", date, day, hash);
    sigv4_signing_key(kit_secret, day, "us-east-1", "s3", key);
    hmac_sha256(key, sizeof key, to_sign, strlen(to_sign), digest);
    hex_encode(digest, sizeof digest, signature);
    snprintf(out, KIT_TEXT,
             "AWS4-HMAC-SHA256 Credential=%s/%s/us-east-1/s3/aws4_request, SignedHeaders=%s, "
             "Signature=%s",
             kit_access_key, day, names, signature);
    arena_release(&a);
}

/* Runs an exchange whose body is set, signed, with extra headers; the status. */
static inline int kit_run(struct gateway *g, const char *method, const char *target,
                          const struct http_header *extra, size_t extra_n, struct http_memory *m)
{
    char iso[TIME_TEXT], date[TIME_TEXT], authorization[KIT_TEXT];
    struct http_header headers[KIT_HEADERS_MAX] = {
        {"Authorization", authorization},
        {"Host", "sim"},
        {"x-amz-content-sha256", "UNSIGNED-PAYLOAD"},
        {"x-amz-date", date},
    };
    time_format_iso(sys_wall(), iso);
    snprintf(date, TIME_TEXT, "%.4s%.2s%.2sT%.2s%.2s%.2sZ", iso, iso + 5, iso + 8, iso + 11,
             iso + 14, iso + 17);
    for (size_t i = 0; i < extra_n; i++)
        headers[4 + i] = extra[i];
    kit_sign(method, target, date, headers + 1, 3 + extra_n, authorization);
    m->method = method;
    m->target = target;
    m->headers = headers;
    m->headers_n = 4 + extra_n;
    m->piece_bytes = 64 * 1024;
    http_memory_run(m, gateway_handle, g);
    return m->complete ? m->status : 0;
}

/* answer may be NULL. */
static inline int kit_send(struct gateway *g, const char *method, const char *target,
                           const struct http_header *extra, size_t extra_n, const void *body,
                           size_t n, struct http_memory *answer)
{
    struct http_memory m = {.body = body, .body_n = n};
    int status = kit_run(g, method, target, extra, extra_n, &m);
    if (answer)
        *answer = m;
    else
        http_memory_release(&m);
    return status;
}

/* Shards on all disks, as these report them. */
static inline uint64_t kit_shards(struct world_test *t)
{
    struct arena arena;
    ProtobufCMessage *reply = NULL;
    uint64_t n = 0;
    arena_init(&arena);
    sys_sleep_until(sys_now() + SYS_SECOND); /* two heartbeats */
    const struct request_context request = world_ask();
    CHECK_OK(metadata_call_leader(t->c.metadata, &request, MSG_REPORTS, NULL, &arena, &reply));
    const Reports *reports = (const Reports *)reply;
    for (size_t i = 0; reports && i < reports->n_heartbeats; i++)
        for (size_t d = 0; d < reports->heartbeats[i]->n_disks; d++)
            n += reports->heartbeats[i]->disks[d]->shards;
    arena_release(&arena);
    return n;
}
