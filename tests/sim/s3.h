/* A minimal S3 client over http_memory: signs, sends, takes the answer. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "gateway/gateway.h"
#include "gateway/http_memory.h"

struct s3_answer {
    int status;
    struct http_memory exchange; /* its answer and body, until s3_release */
};
/* method and target as they go on the wire ("/bucket/key?query", already encoded). */
void s3_send(struct gateway *g, const char *method, const char *target, const void *body, size_t n,
             struct s3_answer *out);
void s3_release(struct s3_answer *a);
