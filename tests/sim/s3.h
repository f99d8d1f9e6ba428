/* A minimal S3 client over http_memory: signs, sends, takes the answer. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "gateway/gateway.h"
#include "gateway/http_memory.h"

struct s3_request {
    const char *method, *target; /* as on the wire ("/bucket/key?query"), encoded, query sorted */
    const void *body;
    size_t n;
    /* headers; NULL: none */
    const char *range, *if_none_match, *if_match, *copy_source, *invocation;
    uint32_t attempt; /* of the invocation, from 1 */
};
struct s3_answer {
    int status;                  /* 0: no whole answer */
    struct http_memory exchange; /* its answer and body, until s3_release */
};
void s3_send(struct gateway *g, const struct s3_request *request, struct s3_answer *out);
/* Who is to see each request before it is sent; for the whole world. */
void s3_watch(void (*seen)(void *arg, const struct s3_request *request), void *arg);
void s3_release(struct s3_answer *a);
