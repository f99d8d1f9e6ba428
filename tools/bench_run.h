/* The benchmark's load: a closed loop of clients, each with a connection of its own.
 *
 * The bytes of an object follow from its number: 16 bytes that say which it is, then a stretch of
 * one random pattern, so that any of it can be compared and none takes time to make. */
#pragma once
#include "tools/bench_s3.h"
#include "tools/bench_stats.h"

enum { BENCH_CLIENTS_MAX = 256, BENCH_TEXT = 400, BENCH_BUCKET_MAX = 63 };
#define BENCH_SIZE_MAX (UINT64_C(1) << 30)

struct bench_plan {
    const struct s3_target *target;
    const char *bucket;
    bool get;
    bool sign_payload;
    uint64_t size;
    uint32_t clients;
    int64_t duration;
    uint32_t objects;      /* the working set of get */
    uint32_t verify_every; /* of the objects fetched; 0: none */
    bool keep;             /* leave the objects behind */
};

struct bench_counts {
    struct stats times;  /* of what succeeded */
    uint64_t operations; /* that succeeded */
    uint64_t slow_downs; /* told to come later: 503 SlowDown */
    uint64_t errors;
    uint64_t verified, wrong;
    char first_error[BENCH_TEXT];
};

struct bench;
struct bench *bench_new(const struct bench_plan *plan); /* copied, but for what it points to */
void bench_free(struct bench *b);
/* Makes the bucket and, for get, the working set. Writes to problem what did not work. */
enum err bench_prepare(struct bench *b, void (*progress)(void *arg, uint64_t done, uint64_t total),
                       void *arg, char problem[BENCH_TEXT]) MUST_USE;
/* Runs for the plan's duration and until the last operation then under way has ended, or until
 * stop. *elapsed is all that. */
enum err bench_run(struct bench *b, struct sys_event *stop,
                   void (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                   struct bench_counts *out, int64_t *elapsed) MUST_USE;
/* Deletes what it put. */
enum err bench_clean(struct bench *b, char problem[BENCH_TEXT]) MUST_USE;
