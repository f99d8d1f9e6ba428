/* The S3 gateway: what stands behind the HTTP edge. One function answers every request; it is handed
 * to http_server_start on real sockets and to http_memory_run in the simulator. */
#pragma once
#include <stdint.h>
#include "common/base/err.h"
#include "common/base/ids.h"
#include "common/base/seal.h"
#include "common/base/timeouts.h"
#include "common/client/chunk_io.h"
#include "gateway/http.h"

struct gateway;
struct metadata_client;

struct gateway_config {
    struct metadata_client *metadata;
    const struct chunk_io *io;
    const char *region;       /* "us-east-1" */
    const char *base_domain;  /* for virtual-host style; NULL: path style only */
    const char *default_pool; /* of new buckets; NULL: the first pool that has its PGs */
    uint32_t inline_max;      /* bytes up to which an object lives in its metadata row */
    struct timeouts timeouts;
    uint8_t key[SEAL_KEY_BYTES]; /* the cluster key: users' secrets are sealed under it */
};

/* The config is copied, but for what it points at. */
struct gateway *gateway_new(const struct gateway_config *config);
void gateway_free(struct gateway *g); /* no request may be running */
/* The http_handler; app is the gateway. */
void gateway_handle(struct http_exchange *e, void *app);

/* What has been asked since the start, by operation. */
enum gateway_outcome {
    GATEWAY_ANSWERED,
    GATEWAY_REFUSED, /* 4xx */
    GATEWAY_FAILED,  /* 5xx, or cut in its body */
    GATEWAY_GONE,    /* the client left before the end */
    GATEWAY_OUTCOMES
};
enum { GATEWAY_COUNTS_MAX = 96 };
struct gateway_count {
    const char *operation; /* "PutObject" */
    uint64_t requests[GATEWAY_OUTCOMES];
    int64_t ns; /* that they took, together */
};
/* Those that have been asked for, at most max; *running: requests being answered now. */
size_t gateway_counts(struct gateway *g, struct gateway_count *out, size_t max, uint64_t *running);

/* Log time of the oldest read that is running, 0 when there is none: `g` rows younger than that are
 * not collected (hazard 19). Goes into heartbeats. */
int64_t gateway_oldest_read(struct gateway *g);
