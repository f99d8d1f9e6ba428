/* What the kinds of client work have in common: a request with its retries, and its line in the
 * history. */
#pragma once
#include "tests/sim/s3.h"
#include "tests/sim/workload.h"

enum { OPERATION_TARGET = 128 };

/* The name of a key in the history, "keys/3" or "claim/3"; its target is "/bucket/" and the name. */
void operation_target(uint32_t key, char out[OPERATION_TARGET]);
const char *operation_name(const char *target);

/* 2xx, 4xx: certain. 5xx or nothing: a write may or may not have happened. */
bool operation_certain(int status);
void operation_complain(struct client *c, const char *what, const char *target,
                        const struct s3_answer *a);
/* Sends it, and again as an SDK does when the answer is 5xx: under one invocation id, so that all
 * attempts are one operation. The answer is the last one's. */
void operation_send(struct client *c, struct s3_request *r, struct s3_answer *a);

/* Now, for the history: later than whatever began or ended before. Virtual time may stand still between
 * the end of one operation and the begin of the next, which would then pass for concurrent. */
int64_t operation_stamp(struct client *c);
/* A line of the history, with now as its invoke; ended likewise. */
size_t operation_begin(struct client *c, const char *target, enum history_kind kind,
                       enum history_condition condition, uint64_t expected, uint64_t value);
void operation_done(struct client *c, size_t number, uint64_t value);
void operation_refused(struct client *c, size_t number);

/* The answer's ETag without quotes; "" when it has none. */
void operation_etag(const char *quoted, char out[MODEL_ETAG]);
bool operation_contains(const struct s3_answer *a, const char *text);
