/* OpenSSL's low-level functions, not EVP, although 3.0 marks them as deprecated: their state is a
 * plain struct in memory of ours, so that a digest costs no hidden allocation (a process that dies
 * in the simulator would leak it), no fetch of the algorithm per use (which is most of the cost of
 * an HMAC of 64 bytes), and no failure. They run the same assembly. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "common/base/digest.h"
#include <assert.h>
#include <limits.h>
#include <string.h>
#include <isa-l/crc.h>
#include <openssl/crypto.h>
#include <openssl/md5.h>
#include <openssl/sha.h>
#include <xxhash.h>
#include "common/base/alloc.h"

uint32_t crc32c(uint32_t crc, const void *data, size_t n)
{
    /* ISA-L works on the bare register: it neither presets nor inverts it, and counts in int. */
    unsigned char *at = (unsigned char *)(uintptr_t)data; /* not const there, only read */
    crc = ~crc;
    while (n > 0) {
        int part = n > INT_MAX ? INT_MAX / 64 * 64 : (int)n;
        crc = crc32_iscsi(at, part, crc);
        at += part;
        n -= (size_t)part;
    }
    return ~crc;
}

uint64_t xxh64(const void *data, size_t n, uint64_t seed)
{
    return XXH64(data, n, seed);
}

struct digest {
    enum digest_kind kind;
    bool finished;
    union {
        MD5_CTX md5;
        SHA_CTX sha1;
        SHA256_CTX sha256;
    } state;
};

struct digest *digest_new(enum digest_kind kind)
{
    struct digest *d = sys_alloc(sizeof *d);
    d->kind = kind;
    switch (kind) {
    case DIGEST_MD5:
        MD5_Init(&d->state.md5);
        return d;
    case DIGEST_SHA1:
        SHA1_Init(&d->state.sha1);
        return d;
    case DIGEST_SHA256:
        SHA256_Init(&d->state.sha256);
        return d;
    }
    assert(!"a digest kind");
    return d;
}

void digest_update(struct digest *d, const void *data, size_t n)
{
    assert(!d->finished);
    if (n == 0)
        return;
    switch (d->kind) {
    case DIGEST_MD5:
        MD5_Update(&d->state.md5, data, n);
        break;
    case DIGEST_SHA1:
        SHA1_Update(&d->state.sha1, data, n);
        break;
    case DIGEST_SHA256:
        SHA256_Update(&d->state.sha256, data, n);
        break;
    }
}

void digest_final(struct digest *d, uint8_t *out)
{
    assert(!d->finished);
    d->finished = true;
    switch (d->kind) {
    case DIGEST_MD5:
        MD5_Final(out, &d->state.md5);
        break;
    case DIGEST_SHA1:
        SHA1_Final(out, &d->state.sha1);
        break;
    case DIGEST_SHA256:
        SHA256_Final(out, &d->state.sha256);
        break;
    }
}

void digest_free(struct digest *d)
{
    sys_free(d);
}

void digest_md5(const void *data, size_t n, uint8_t out[MD5_BYTES])
{
    MD5_CTX c;
    MD5_Init(&c);
    if (n)
        MD5_Update(&c, data, n);
    MD5_Final(out, &c);
}

void digest_sha256(const void *data, size_t n, uint8_t out[SHA256_BYTES])
{
    SHA256_CTX c;
    SHA256_Init(&c);
    if (n)
        SHA256_Update(&c, data, n);
    SHA256_Final(out, &c);
}

/* RFC 2104: H(key ^ opad, H(key ^ ipad, data)), keys longer than a block hashed first. */
void hmac_sha256(const void *key, size_t key_n, const void *data, size_t n,
                 uint8_t out[SHA256_BYTES])
{
    uint8_t block[SHA256_CBLOCK] = {0}, inner[SHA256_BYTES];
    if (key_n > sizeof block)
        digest_sha256(key, key_n, block);
    else if (key_n)
        memcpy(block, key, key_n);
    SHA256_CTX c;
    for (size_t i = 0; i < sizeof block; i++)
        block[i] ^= 0x36;
    SHA256_Init(&c);
    SHA256_Update(&c, block, sizeof block);
    if (n)
        SHA256_Update(&c, data, n);
    SHA256_Final(inner, &c);
    for (size_t i = 0; i < sizeof block; i++)
        block[i] ^= 0x36 ^ 0x5c;
    SHA256_Init(&c);
    SHA256_Update(&c, block, sizeof block);
    SHA256_Update(&c, inner, sizeof inner);
    SHA256_Final(out, &c);
    OPENSSL_cleanse(block, sizeof block);
    OPENSSL_cleanse(inner, sizeof inner);
    OPENSSL_cleanse(&c, sizeof c);
}

bool equal_constant_time(const void *a, const void *b, size_t n)
{
    return CRYPTO_memcmp(a, b, n) == 0;
}
