#include "tests/sim/s3.h"
#include <stdio.h>
#include <string.h>
#include "common/base/text.h"
#include "gateway/sigv4.h"
#include "tests/sim/cluster.h"

enum { HEADERS = 5, TEXT = 2048 };

/* SigV4 over host, payload mode and date; the payload itself is not signed. */
static void authorize(const char *method, const char *target, char date[TIME_TEXT], char out[TEXT])
{
    char iso[TIME_TEXT], canonical[TEXT], to_sign[TEXT], hash[65], day[9], signature[65];
    uint8_t key[SHA256_BYTES], digest[SHA256_BYTES];
    const char *query = strchr(target, '?');
    int path_n = query ? (int)(query - target) : (int)strlen(target);
    time_format_iso(sys_wall(), iso);
    snprintf(date, TIME_TEXT, "%.4s%.2s%.2sT%.2s%.2s%.2sZ", iso, iso + 5, iso + 8, iso + 11,
             iso + 14, iso + 17);
    snprintf(day, sizeof day, "%.8s", date);
    snprintf(canonical, sizeof canonical,
             "%s\n%.*s\n%s\nhost:sim\nx-amz-content-sha256:UNSIGNED-PAYLOAD\nx-amz-date:%s\n\n"
             "host;x-amz-content-sha256;x-amz-date\nUNSIGNED-PAYLOAD",
             method, path_n, target, query ? query + 1 : "", date);
    digest_sha256(canonical, strlen(canonical), digest);
    hex_encode(digest, sizeof digest, hash);
    snprintf(to_sign, sizeof to_sign, "AWS4-HMAC-SHA256\n%s\n%s/us-east-1/s3/aws4_request\n%s",
             date, day, hash);
    sigv4_signing_key(sim_secret, day, "us-east-1", "s3", key);
    hmac_sha256(key, sizeof key, to_sign, strlen(to_sign), digest);
    hex_encode(digest, sizeof digest, signature);
    snprintf(out, TEXT,
             "AWS4-HMAC-SHA256 Credential=%s/%s/us-east-1/s3/aws4_request, "
             "SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=%s",
             sim_access_key, day, signature);
}

void s3_send(struct gateway *g, const char *method, const char *target, const void *body, size_t n,
             struct s3_answer *out)
{
    char date[TIME_TEXT], authorization[TEXT];
    memset(out, 0, sizeof *out);
    authorize(method, target, date, authorization);
    const struct http_header headers[HEADERS] = {
        {"Host", "sim"},
        {"x-amz-content-sha256", "UNSIGNED-PAYLOAD"},
        {"x-amz-date", date},
        {"Authorization", authorization},
    };
    out->exchange.method = method;
    out->exchange.target = target;
    out->exchange.headers = headers;
    out->exchange.headers_n = HEADERS - 1;
    out->exchange.body = body;
    out->exchange.body_n = n;
    out->exchange.piece_bytes = 64 * 1024;
    http_memory_run(&out->exchange, gateway_handle, g);
    out->status = out->exchange.complete ? out->exchange.status : 0;
}

void s3_release(struct s3_answer *a)
{
    http_memory_release(&a->exchange);
}
