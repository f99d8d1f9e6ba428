/* Who a disk is: see superblock.c. */
#pragma once
#include "chunkserver/record_internal.h"

struct superblock {
    struct uuid cluster, disk;
    disk_id id;
    uint64_t incarnation;
    uint64_t indexed; /* an index of an earlier incarnation than this one is stale */
    uint8_t salt[SALT_BYTES];
};

/* ERR_NOT_FOUND: no such file. ERR_FORMAT: no valid copy, or of a later version. copies (may be NULL):
 * how many of the two are valid. */
enum err superblock_read(const char *directory, struct superblock *out, unsigned *copies) MUST_USE;
/* Durable when it returns OK; else the old one is still there. */
enum err superblock_write(const char *directory, const struct superblock *sb) MUST_USE;
/* "directory/name"; ERR_TOO_BIG. */
enum err disk_path(const char *directory, const char *name, char out[SYS_PATH_MAX]) MUST_USE;
