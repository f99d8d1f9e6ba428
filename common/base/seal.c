#include "common/base/seal.h"
#include <assert.h>
#include <string.h>
#include <openssl/evp.h>
#include "common/base/digest.h"

enum { VERSION = 1, TAG_BYTES = 16, HEADER_BYTES = 5 + SEAL_NONCE_BYTES };

/* The cluster key itself authenticates connections; secrets are sealed under one of their own. */
static void derive(const uint8_t key[SEAL_KEY_BYTES], uint8_t out[SHA256_BYTES])
{
    static const char purpose[] = "cairn seal 1";
    hmac_sha256(key, SEAL_KEY_BYTES, purpose, sizeof purpose - 1, out);
}

void seal(const uint8_t key[SEAL_KEY_BYTES], uint32_t key_id, const uint8_t nonce[SEAL_NONCE_BYTES],
          const char *context, const void *plain, size_t n, uint8_t *out)
{
    uint8_t own[SHA256_BYTES];
    derive(key, own);
    out[0] = VERSION;
    for (int i = 0; i < 4; i++)
        out[1 + i] = (uint8_t)(key_id >> (8 * i));
    memcpy(out + 5, nonce, SEAL_NONCE_BYTES);
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    int done = 0, rest = 0;
    int ok = c && EVP_EncryptInit_ex(c, EVP_aes_256_gcm(), NULL, own, nonce) == 1;
    ok = ok &&
         EVP_EncryptUpdate(c, NULL, &done, (const uint8_t *)context, (int)strlen(context)) == 1;
    ok = ok && EVP_EncryptUpdate(c, out + HEADER_BYTES, &done, plain, (int)n) == 1;
    ok = ok && EVP_EncryptFinal_ex(c, out + HEADER_BYTES + done, &rest) == 1;
    ok = ok && EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, TAG_BYTES, out + HEADER_BYTES + n) == 1;
    assert(ok && (size_t)done + (size_t)rest == n);
    EVP_CIPHER_CTX_free(c);
}

enum err seal_open(const uint8_t key[SEAL_KEY_BYTES], const char *context, const void *sealed,
                   size_t sealed_n, uint8_t *out, size_t *n)
{
    const uint8_t *in = sealed;
    if (sealed_n < SEAL_OVERHEAD || sealed_n > INT32_MAX || in[0] != VERSION)
        return ERR_FORMAT;
    uint8_t own[SHA256_BYTES], tag[TAG_BYTES];
    derive(key, own);
    size_t length = sealed_n - SEAL_OVERHEAD;
    memcpy(tag, in + HEADER_BYTES + length, TAG_BYTES);
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    int done = 0, rest = 0;
    int ok = c && EVP_DecryptInit_ex(c, EVP_aes_256_gcm(), NULL, own, in + 5) == 1;
    ok = ok &&
         EVP_DecryptUpdate(c, NULL, &done, (const uint8_t *)context, (int)strlen(context)) == 1;
    ok = ok && EVP_DecryptUpdate(c, out, &done, in + HEADER_BYTES, (int)length) == 1;
    ok = ok && EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, TAG_BYTES, tag) == 1;
    ok = ok && EVP_DecryptFinal_ex(c, out + done, &rest) == 1;
    EVP_CIPHER_CTX_free(c);
    *n = length;
    return ok ? OK : ERR_AUTHENTICATION;
}
