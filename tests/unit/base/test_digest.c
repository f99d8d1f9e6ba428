#include "tests/unit/suite.h"
#include "common/base/alloc.h"
#include "common/base/digest.h"
#include "common/base/text.h"

static void check_hex(const uint8_t *bytes, size_t n, const char *want)
{
    char text[2 * DIGEST_MAX_BYTES + 1];
    hex_encode(bytes, n, text);
    CHECK_TEXT(text, want);
}

/* RFC 3720, B.4 */
static void crc32c_vectors(void)
{
    uint8_t b[32];
    CHECK_EQ(crc32c(0, "", 0), 0);
    CHECK_EQ(crc32c(0, NULL, 0), 0);
    CHECK_EQ(crc32c(0, "123456789", 9), 0xe3069283);
    memset(b, 0, sizeof b);
    CHECK_EQ(crc32c(0, b, 32), 0x8a9136aa);
    memset(b, 0xff, sizeof b);
    CHECK_EQ(crc32c(0, b, 32), 0x62a8ab43);
    for (int i = 0; i < 32; i++)
        b[i] = (uint8_t)i;
    CHECK_EQ(crc32c(0, b, 32), 0x46dd794e);
}

static uint32_t crc32c_slow(uint32_t crc, const uint8_t *p, size_t n)
{
    crc = ~crc;
    while (n--) {
        crc ^= *p++;
        for (int i = 0; i < 8; i++)
            crc = crc >> 1 ^ (0x82f63b78 & (0 - (crc & 1)));
    }
    return ~crc;
}

static void crc32c_continues_at_every_cut(void)
{
    uint8_t b[700];
    uint64_t x = suite_seed();
    for (size_t i = 0; i < sizeof b; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        b[i] = (uint8_t)(x >> 56);
    }
    uint32_t whole = crc32c_slow(0, b, sizeof b);
    for (size_t cut = 0; cut <= sizeof b; cut++)
        CHECK_EQ(crc32c(crc32c(0, b, cut), b + cut, sizeof b - cut), whole);
    for (size_t n = 0; n < 300; n++)
        CHECK_EQ(crc32c(7, b + n % 17, n), crc32c_slow(7, b + n % 17, n));
}

static void xxh64_vectors(void)
{
    CHECK(xxh64("", 0, 0) == 0xef46db3751d8e999);
    CHECK(xxh64("abc", 3, 0) == 0x44bc2cf5ad770999);
    CHECK(xxh64("abc", 3, 1) != xxh64("abc", 3, 0));
}

static void one_shot_vectors(void)
{
    uint8_t out[DIGEST_MAX_BYTES];
    digest_md5("", 0, out);
    check_hex(out, MD5_BYTES, "d41d8cd98f00b204e9800998ecf8427e");
    digest_md5("message digest", 14, out); /* RFC 1321, A.5 */
    check_hex(out, MD5_BYTES, "f96b697d7cb7938d525a2f31aaf161d0");
    digest_sha256(NULL, 0, out);
    check_hex(out, SHA256_BYTES,
              "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    digest_sha256("abc", 3, out); /* FIPS 180-4 examples */
    check_hex(out, SHA256_BYTES,
              "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void running_digests_in_pieces(void)
{
    static const char text[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    static const struct {
        enum digest_kind kind;
        size_t n;
        const char *want;
    } cases[] = {
        {DIGEST_MD5, MD5_BYTES, "8215ef0796a20bcaaae116d3876c664a"},
        {DIGEST_SHA1, SHA1_BYTES, "84983e441c3bd26ebaae4aa1f95129e5e54670f1"},
        {DIGEST_SHA256, SHA256_BYTES,
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++)
        for (size_t piece = 1; piece < sizeof text; piece += 6) {
            struct digest *d = digest_new(cases[c].kind);
            digest_update(d, NULL, 0);
            for (size_t at = 0; at < sizeof text - 1; at += piece) {
                size_t left = sizeof text - 1 - at;
                digest_update(d, text + at, left < piece ? left : piece);
            }
            uint8_t out[DIGEST_MAX_BYTES];
            digest_final(d, out);
            check_hex(out, cases[c].n, cases[c].want);
            digest_free(d);
        }
    digest_free(NULL);
}

/* RFC 4231 */
static void hmac_vectors(void)
{
    uint8_t key[131], data[50], out[SHA256_BYTES];
    memset(key, 0x0b, 20);
    hmac_sha256(key, 20, "Hi There", 8, out);
    check_hex(out, SHA256_BYTES,
              "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, out);
    check_hex(out, SHA256_BYTES,
              "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof key);
    memset(data, 0xdd, sizeof data);
    hmac_sha256(key, 20, data, 50, out);
    check_hex(out, SHA256_BYTES,
              "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
    static const char large[] = "Test Using Larger Than Block-Size Key - Hash Key First";
    hmac_sha256(key, sizeof key, large, sizeof large - 1, out);
    check_hex(out, SHA256_BYTES,
              "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    hmac_sha256("", 0, "", 0, out);
    check_hex(out, SHA256_BYTES,
              "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void constant_time_comparison(void)
{
    CHECK(equal_constant_time("abcd", "abcd", 4));
    CHECK(equal_constant_time("abcd", "abcx", 3));
    CHECK(!equal_constant_time("abcd", "abcx", 4));
    CHECK(!equal_constant_time("xbcd", "abcd", 4));
    CHECK(equal_constant_time("a", "b", 0));
}

static const struct test tests[] = {
    {"crc32c vectors", crc32c_vectors},
    {"crc32c continues at every cut", crc32c_continues_at_every_cut},
    {"xxh64 vectors", xxh64_vectors},
    {"one-shot vectors", one_shot_vectors},
    {"running digests in pieces", running_digests_in_pieces},
    {"hmac vectors", hmac_vectors},
    {"constant-time comparison", constant_time_comparison},
    {0},
};
SUITE("digest", tests)
