/* Digests, all over well-kept libraries: CRC32C by ISA-L, MD5/SHA by OpenSSL, XXH64 by libxxhash.
 * Check values and vectors are in tests/unit/base/test_digest.c. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The standard CRC32C (Castagnoli) of data, continuing from crc (0 to begin):
 * crc32c(crc32c(0, a), b) == crc32c(0, a||b); crc32c(0, "123456789") == 0xe3069283. */
uint32_t crc32c(uint32_t crc, const void *data, size_t n);

/* Seed 0 is used wherever a value is kept on disk or sent. */
uint64_t xxh64(const void *data, size_t n, uint64_t seed);

enum { MD5_BYTES = 16, SHA1_BYTES = 20, SHA256_BYTES = 32, DIGEST_MAX_BYTES = 32 };
enum digest_kind { DIGEST_MD5, DIGEST_SHA1, DIGEST_SHA256 };

/* A running digest; opaque, since OpenSSL's state is. final may be called once, then free. */
struct digest;
struct digest *digest_new(enum digest_kind kind);
void digest_update(struct digest *d, const void *data, size_t n);
void digest_final(struct digest *d, uint8_t *out); /* MD5_BYTES, SHA1_BYTES or SHA256_BYTES */
void digest_free(struct digest *d);

void digest_md5(const void *data, size_t n, uint8_t out[MD5_BYTES]);
void digest_sha256(const void *data, size_t n, uint8_t out[SHA256_BYTES]);
void hmac_sha256(const void *key, size_t key_n, const void *data, size_t n,
                 uint8_t out[SHA256_BYTES]);
/* Whether two byte strings are equal, in time that depends on n alone. */
bool equal_constant_time(const void *a, const void *b, size_t n);
