/* Every way in which an operation can end. One list: name, value, whether the outcome is known,
 * whether the same request may be tried again, and the text for people.
 *
 * Retry code reads only the two flags, never single names:
 *   known      the operation certainly did not take effect (or, for OK, did)
 *   retryable  trying again, perhaps elsewhere, can succeed without a change to the request
 *
 * Values travel between processes and are never reused or renumbered. */
#pragma once
#include <stdbool.h>

#define MUST_USE __attribute__((warn_unused_result))

/*    name                   value known  retry  text */
#define ERR_LIST(X)                                                                          \
    X(OK, 0, true, false, "ok")                                                              \
    X(ERR_TIMEOUT, -1, false, true, "no answer before the deadline")                         \
    X(ERR_CLOSED, -2, false, true, "the connection was closed")                              \
    X(ERR_BUSY, -3, true, true, "at its limit, try again later")                             \
    X(ERR_IO, -4, false, false, "input/output error")                                        \
    X(ERR_NO_SPACE, -5, true, false, "no space left on the device")                          \
    X(ERR_READ_ONLY, -6, true, false, "read-only file system")                               \
    X(ERR_NOT_FOUND, -7, true, false, "not found")                                           \
    X(ERR_EXISTS, -8, true, false, "exists already")                                         \
    X(ERR_ACCESS, -9, true, false, "permission denied")                                      \
    X(ERR_TOO_BIG, -10, true, false, "larger than the limit")                                \
    X(ERR_FORMAT, -11, true, false, "not in the expected format")                            \
    X(ERR_CORRUPT, -12, true, true, "checksum mismatch")                                     \
    X(ERR_INVALID, -13, true, false, "invalid argument")                                     \
    X(ERR_EMPTY, -14, true, false, "nothing outstanding")                                    \
    X(ERR_CLIENT_GONE, -15, false, false, "the client went away")                            \
    X(ERR_TOO_SLOW, -16, false, false, "slower than the least rate")                         \
    X(ERR_TRUNCATED, -17, true, false, "ended before its announced length")                  \
    X(ERR_BREAKER_OPEN, -18, true, true, "the endpoint's circuit breaker is open")           \
    X(ERR_REFUSED, -19, true, true, "connection refused")                                    \
    X(ERR_ADDRESS_IN_USE, -20, true, false, "address in use")                                \
    X(ERR_UNSUPPORTED, -21, true, false, "not supported")                                    \
    X(ERR_CANCELLED, -22, false, false, "cancelled")                                         \
    X(ERR_STOPPING, -23, true, true, "the server is stopping")                               \
    X(ERR_AUTHENTICATION, -24, true, false, "authentication failed")                         \
    X(ERR_FOREIGN_CLUSTER, -25, true, false, "belongs to another cluster")                   \
    X(ERR_FOREIGN_DISK, -26, true, false, "the disk belongs to another cluster or identity") \
    X(ERR_DISK_IN_USE, -27, true, false, "the disk is open in another process")              \
    X(ERR_DISK_FAILED, -28, true, true, "the disk has failed")                               \
    X(ERR_DISK_FULL, -29, true, true, "the disk is full")                                    \
    X(ERR_STALE_PLACEMENT, -30, true, true, "the placement changed, fetch the new one")      \
    X(ERR_NOT_LEADER, -31, true, true, "not the metadata leader")                            \
    X(ERR_NO_QUORUM, -32, true, true, "too few servers answered")                            \
    X(ERR_UNKNOWN_OUTCOME, -33, false, false, "the outcome is not known")                    \
    X(ERR_SESSION_EXPIRED, -34, true, false, "the session is not known")                     \
    X(ERR_TOO_OLD, -35, true, false, "began too long ago")                                   \
    X(ERR_ABORTED, -36, true, false, "aborted")                                              \
    X(ERR_MISMATCH, -37, true, false, "what it named has changed")                           \
    X(ERR_NO_BUCKET, -38, true, false, "no such bucket")                                     \
    X(ERR_NO_KEY, -39, true, false, "no such key")                                           \
    X(ERR_NO_UPLOAD, -40, true, false, "no such multipart upload")                           \
    X(ERR_BUCKET_EXISTS, -41, true, false, "the bucket exists and belongs to another user")  \
    X(ERR_BUCKET_OWNED, -42, true, false, "the bucket exists and is yours already")          \
    X(ERR_BUCKET_NOT_EMPTY, -43, true, false, "the bucket is not empty")                     \
    X(ERR_PRECONDITION, -44, true, false, "a precondition does not hold")                    \
    X(ERR_CONFLICT, -45, true, true, "a concurrent change conflicts")                        \
    X(ERR_INVALID_PART, -46, true, false, "a named part does not exist or differs")          \
    X(ERR_PART_TOO_SMALL, -47, true, false, "a part is smaller than the least size")         \
    X(ERR_PART_ORDER, -48, true, false, "the parts are not in ascending order")              \
    X(ERR_SHARDS_LOST, -49, true, true, "too few shards can be read")                        \
    X(ERR_NO_USER, -50, true, false, "no such user or key")                                  \
    X(ERR_DIGEST, -51, true, false, "the content differs from its declared digest")          \
    X(ERR_UNAVAILABLE, -52, true, true, "temporarily unavailable")                           \
    X(ERR_METADATA_FULL, -60, true, false, "the metadata servers' disks are nearly full")

enum err {
#define X(name, value, known, retryable, text) name = value,
    ERR_LIST(X)
#undef X
};

/* The text for people; never NULL, also for numbers that are not in the list. */
const char *err_text(enum err e);
/* The name as written here ("ERR_TIMEOUT"). */
const char *err_name(enum err e);
bool err_outcome_known(enum err e);
bool err_retryable(enum err e);
/* A number from outside: one of the list, or ERR_FORMAT when it is none. */
enum err err_from_wire(int value);
