/* Small secrets at rest: AES-256-GCM under a key derived from the cluster key (OpenSSL EVP).
 *
 *   sealed = version u8 = 1 | key id u32 little-endian | nonce 12 | ciphertext | tag 16
 *
 * The context (for example "user secret", and whose it is) is authenticated too: a sealed value moved
 * to another place does not open. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "common/base/err.h"

enum { SEAL_KEY_BYTES = 32, SEAL_NONCE_BYTES = 12, SEAL_OVERHEAD = 1 + 4 + SEAL_NONCE_BYTES + 16 };

/* out has room for n + SEAL_OVERHEAD bytes. nonce: fresh random bytes, never used twice. */
void seal(const uint8_t key[SEAL_KEY_BYTES], uint32_t key_id, const uint8_t nonce[SEAL_NONCE_BYTES],
          const char *context, const void *plain, size_t n, uint8_t *out);
/* out has room for sealed_n bytes. ERR_AUTHENTICATION: another key or context, or changed bytes.
 * ERR_FORMAT: too short or of another version. */
enum err seal_open(const uint8_t key[SEAL_KEY_BYTES], const char *context, const void *sealed,
                   size_t sealed_n, uint8_t *out, size_t *n) MUST_USE;
