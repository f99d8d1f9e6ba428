/* Sealed secrets open with the same key and context alone. */
#include "common/base/seal.h"
#include "tests/unit/suite.h"

static const uint8_t key[SEAL_KEY_BYTES] = {1, 2, 3}, other[SEAL_KEY_BYTES] = {1, 2, 4};
static const uint8_t nonce[SEAL_NONCE_BYTES] = {9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 1, 2};

static void opens(void)
{
    static const size_t sizes[] = {0, 1, 15, 16, 17, 40, 1000};
    uint8_t plain[1000], sealed[1000 + SEAL_OVERHEAD + 1], out[1000 + SEAL_OVERHEAD];
    for (size_t i = 0; i < sizeof plain; i++)
        plain[i] = (uint8_t)(i * 7);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t n = sizes[i], got = 99999;
        sealed[n + SEAL_OVERHEAD] = 0xee;
        seal(key, 0x01020304, nonce, "user secret alice", plain, n, sealed);
        CHECK_EQ(sealed[n + SEAL_OVERHEAD], 0xee);
        CHECK_EQ(sealed[0], 1);
        CHECK_BYTES(sealed + 1, "\x04\x03\x02\x01", 4);
        CHECK_BYTES(sealed + 5, nonce, SEAL_NONCE_BYTES);
        if (n >= 15)
            CHECK(memcmp(sealed + 5 + SEAL_NONCE_BYTES, plain, n) != 0);
        CHECK_OK(seal_open(key, "user secret alice", sealed, n + SEAL_OVERHEAD, out, &got));
        CHECK_EQ(got, n);
        CHECK_BYTES(out, plain, n);
    }
}

static void refuses(void)
{
    static const char secret[] = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    enum { N = sizeof secret - 1, SEALED = N + SEAL_OVERHEAD };
    uint8_t sealed[SEALED], out[SEALED];
    size_t n;
    seal(key, 1, nonce, "a", secret, N, sealed);
    CHECK_ERR(seal_open(other, "a", sealed, SEALED, out, &n), ERR_AUTHENTICATION);
    CHECK_ERR(seal_open(key, "b", sealed, SEALED, out, &n), ERR_AUTHENTICATION);
    CHECK_ERR(seal_open(key, "", sealed, SEALED, out, &n), ERR_AUTHENTICATION);
    for (size_t length = 0; length < SEALED; length++) {
        enum err e = seal_open(key, "a", sealed, length, out, &n);
        CHECK_ERR(e, length < SEAL_OVERHEAD ? ERR_FORMAT : ERR_AUTHENTICATION);
    }
    /* Every bit is covered but the key id, which only says where to look for the key. */
    for (size_t i = 0; i < SEALED * 8; i++) {
        sealed[i / 8] ^= (uint8_t)(1 << i % 8);
        enum err e = seal_open(key, "a", sealed, SEALED, out, &n);
        if (i / 8 == 0)
            CHECK_ERR(e, ERR_FORMAT);
        else
            CHECK_ERR(e, i / 8 < 5 ? OK : ERR_AUTHENTICATION);
        sealed[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    CHECK_OK(seal_open(key, "a", sealed, SEALED, out, &n));
    CHECK_BYTES(out, secret, N);
}

/* The format is on disk: these bytes must open for ever. */
static void golden(void)
{
    /* Computed apart from this code, by the standards' own steps. */
    static const uint8_t want[2 + SEAL_OVERHEAD] = {
        0x01, 0x07, 0x00, 0x00, 0x00, 0x09, 0x08, 0x07, 0x06, 0x05, 0x04, 0x03,
        0x02, 0x01, 0x00, 0x01, 0x02, 0xbe, 0x60, 0x9d, 0xda, 0xa0, 0xf9, 0x9c,
        0xbf, 0xc7, 0x34, 0xa6, 0x6c, 0xd9, 0xef, 0x45, 0x18, 0xd7, 0xe6};
    uint8_t sealed[sizeof want];
    seal(key, 7, nonce, "ctx", "hi", 2, sealed);
    CHECK_BYTES(sealed, want, sizeof want);
}

static const struct test tests[] = {
    {"opens", opens}, {"refuses", refuses}, {"golden", golden}, {0}};
SUITE("seal", tests)
