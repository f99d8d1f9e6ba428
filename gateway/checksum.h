/* The checksums S3 knows besides MD5 (x-amz-checksum-*), as running values.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/base/digest.h"
#include "common/base/err.h"

enum checksum_kind {
    CHECKSUM_NONE,
    CHECKSUM_CRC32,
    CHECKSUM_CRC32C,
    CHECKSUM_CRC64NVME,
    CHECKSUM_SHA1,
    CHECKSUM_SHA256,
    CHECKSUM_KINDS
};
#define CHECKSUM_HEADER "x-amz-checksum-" /* and the name */
enum { CHECKSUM_TEXT = 48 };              /* base64 and a NUL */

/* "crc32c", as in headers' names. */
const char *checksum_name(enum checksum_kind k);
/* Also "CRC32C", as in headers' values; NONE: no such. */
enum checksum_kind checksum_from_name(const char *name, size_t n);
size_t checksum_bytes(enum checksum_kind k);

uint64_t crc64nvme(uint64_t crc, const void *data, size_t n); /* check value: ae8b14860a799888 */

struct checksum {
    enum checksum_kind kind;
    uint64_t crc;
    struct digest *digest; /* SHA only */
};
void checksum_init(struct checksum *c, enum checksum_kind kind);
void checksum_release(struct checksum *c);
void checksum_update(struct checksum *c, const void *data, size_t n);
/* The bytes in network order, as S3 encodes them; once. */
void checksum_final(struct checksum *c, uint8_t out[DIGEST_MAX_BYTES]);
