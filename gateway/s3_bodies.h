/* The XML bodies that clients send. All results live in the arena. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "gateway/s3_error.h"
#include "gateway/s3_request.h"

struct s3_completed_part {
    uint32_t number;  /* 1 .. 10000, ascending (S3_INVALID_PART_ORDER) */
    const char *etag; /* without quotes */
};
struct s3_complete {
    struct s3_completed_part *parts;
    size_t parts_n;
};
enum s3_error s3_complete_parse(struct arena *a, const char *text, size_t n,
                                struct s3_complete *out);

struct s3_delete_entry {
    const char *key;
    size_t key_n;
    const char *version; /* NULL: none named */
    const char *etag;    /* NULL: none named; without quotes */
};
struct s3_delete {
    struct s3_delete_entry *entries; /* 1 .. 1000 */
    size_t entries_n;
    bool quiet;
};
enum s3_error s3_delete_parse(struct arena *a, const char *text, size_t n, struct s3_delete *out);

/* An empty body is no constraint: *location = "". */
enum s3_error s3_create_bucket_parse(struct arena *a, const char *text, size_t n,
                                     const char **location);
