#include "tests/sim/s3.h"
#include <stdio.h>
#include <string.h>
#include "common/base/text.h"
#include "gateway/sigv4.h"
#include "tests/sim/cluster.h"

enum { HEADERS_MAX = 10, TEXT = 2048 };

/* SigV4 over host, what has to be signed, and date; the payload itself is not signed. */
static void authorize(const struct s3_request *r, char date[TIME_TEXT], char out[TEXT])
{
    char iso[TIME_TEXT], canonical[TEXT], to_sign[TEXT], hash[65], day[9], signature[65];
    uint8_t key[SHA256_BYTES], digest[SHA256_BYTES];
    const char *query = strchr(r->target, '?');
    int path_n = query ? (int)(query - r->target) : (int)strlen(r->target);
    time_format_iso(sys_wall(), iso);
    snprintf(date, TIME_TEXT, "%.4s%.2s%.2sT%.2s%.2s%.2sZ", iso, iso + 5, iso + 8, iso + 11,
             iso + 14, iso + 17);
    snprintf(day, sizeof day, "%.8s", date);
    snprintf(
        canonical, sizeof canonical,
        "%s\n%.*s\n%s\nhost:sim\nx-amz-content-sha256:UNSIGNED-PAYLOAD\n%s%s%sx-amz-date:%s\n\n"
        "host;x-amz-content-sha256;%sx-amz-date\nUNSIGNED-PAYLOAD",
        r->method, path_n, r->target, query ? query + 1 : "",
        r->copy_source ? "x-amz-copy-source:" : "", r->copy_source ? r->copy_source : "",
        r->copy_source ? "\n" : "", date, r->copy_source ? "x-amz-copy-source;" : "");
    digest_sha256(canonical, strlen(canonical), digest);
    hex_encode(digest, sizeof digest, hash);
    snprintf(to_sign, sizeof to_sign, "AWS4-HMAC-SHA256\n%s\n%s/us-east-1/s3/aws4_request\n%s",
             date, day, hash);
    sigv4_signing_key(sim_secret, day, "us-east-1", "s3", key);
    hmac_sha256(key, sizeof key, to_sign, strlen(to_sign), digest);
    hex_encode(digest, sizeof digest, signature);
    snprintf(out, TEXT,
             "AWS4-HMAC-SHA256 Credential=%s/%s/us-east-1/s3/aws4_request, "
             "SignedHeaders=host;x-amz-content-sha256;%sx-amz-date, Signature=%s",
             sim_access_key, day, r->copy_source ? "x-amz-copy-source;" : "", signature);
}

static struct {
    void (*seen)(void *arg, const struct s3_request *request);
    void *arg;
} watch;

void s3_watch(void (*seen)(void *arg, const struct s3_request *request), void *arg)
{
    watch.seen = seen;
    watch.arg = arg;
}

void s3_send(struct gateway *g, const struct s3_request *r, struct s3_answer *out)
{
    char date[TIME_TEXT], authorization[TEXT], attempt[32];
    struct http_header headers[HEADERS_MAX];
    size_t n = 0;
    memset(out, 0, sizeof *out);
    if (watch.seen)
        watch.seen(watch.arg, r);
    authorize(r, date, authorization);
    snprintf(attempt, sizeof attempt, "attempt=%u; max=3", r->attempt);
    const struct http_header all[HEADERS_MAX] = {
        {"Host", "sim"},
        {"x-amz-content-sha256", "UNSIGNED-PAYLOAD"},
        {"x-amz-date", date},
        {"Authorization", authorization},
        {"Range", r->range},
        {"If-None-Match", r->if_none_match},
        {"If-Match", r->if_match},
        {"x-amz-copy-source", r->copy_source},
        {"amz-sdk-invocation-id", r->invocation},
        {"amz-sdk-request", r->invocation ? attempt : NULL},
    };
    for (size_t i = 0; i < HEADERS_MAX; i++)
        if (all[i].value)
            headers[n++] = all[i];
    out->exchange.method = r->method;
    out->exchange.target = r->target;
    out->exchange.headers = headers;
    out->exchange.headers_n = n;
    out->exchange.body = r->body;
    out->exchange.body_n = r->n;
    out->exchange.piece_bytes = 64 * 1024;
    http_memory_run(&out->exchange, gateway_handle, g);
    out->status = out->exchange.complete ? out->exchange.status : 0;
}

void s3_release(struct s3_answer *a)
{
    http_memory_release(&a->exchange);
}
