/* The file in which the memory store keeps its batches.
 *
 * DIRECTORY/log begins with a header of 512 bytes, little-endian:
 *
 *    0  8  "CAIRNKVM"
 *    8  4  version, 1
 *   12  4  CRC32C of bytes 0 .. 11 and 16 .. 511
 *   16  8  salt, random for each file
 *   24  8  synced end: the file was synced up to here before it got its name
 *   32     zeros
 *
 * Records follow, each on a multiple of 512, zero-padded to the next:
 *
 *    0  4  "KVMR"
 *    4  4  CRC32C of salt (8), the record's offset (8), bytes 8 .. 31 and the payload
 *    8  8  sequence, rising from record to record
 *   16  8  synced end: the file was synced up to here before this record was written
 *   24  4  payload length
 *   28  4  number of operations
 *   32     payload: operations of kind (1 byte: 1 put, 2 delete), key length (4), value length (4,
 *          only of a put), key, value
 *
 *  L1  No record shares a block of 512 bytes with another: a crash takes a record whole, or leaves
 *      something that its CRC refuses, and its neighbours stay.
 *  L2  What is missing at or beyond the highest synced end was not synced: it is skipped. What is
 *      missing below it has rotted: ERR_CORRUPT.
 *  L3  The salt and the offset in the CRC keep bytes of a value, or of an earlier file in the same
 *      blocks, from being taken for a record.
 *  L4  A file that recovered with holes is never appended to: it is written anew. */
#pragma once
#include "common/kv/kv.h"
#include "common/sys/sys.h"

enum { LOG_BLOCK = 512, LOG_RECORD_HEADER = 32, LOG_PUT = 1, LOG_DELETE = 2 };
#define LOG_FILE_MAX (UINT64_C(1) << 31)

struct log {
    char directory[SYS_PATH_MAX];
    struct sys_file *file; /* NULL: closed */
    uint64_t salt, end, synced_end;
    uint64_t sequence; /* of the last record */
    uint8_t *buffer;   /* one record being built */
    size_t buffer_size;
};

/* One operation; value NULL: a deletion. */
typedef void log_visit(void *arg, uint64_t sequence, struct kv_slice key,
                       const struct kv_slice *value);

/* Opens DIRECTORY/log and shows its operations in order. *holes: it lacks records in the middle or
 * at the end. ERR_NOT_FOUND, ERR_CORRUPT, ERR_UNSUPPORTED (a later version). */
enum err log_open(struct log *l, const char *directory, log_visit *visit, void *arg,
                  bool *holes) MUST_USE;
/* A new file beside it under another name. log_publish makes it the log. */
enum err log_create(struct log *l, const char *directory) MUST_USE;
enum err log_publish(struct log *l) MUST_USE;
/* Room for a payload of n bytes, filled in by the caller before log_append. */
uint8_t *log_payload(struct log *l, size_t n);
enum err log_append(struct log *l, size_t n, uint32_t count) MUST_USE;
enum err log_sync(struct log *l) MUST_USE;
void log_close(struct log *l);

/* DIRECTORY/name; ERR_TOO_BIG. */
enum err log_path(const char *directory, const char *name, char out[SYS_PATH_MAX]) MUST_USE;
