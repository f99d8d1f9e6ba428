#include "gateway/checksum.h"
#include <assert.h>
#include <isa-l/crc.h>
#include <string.h>

struct checksum_row {
    const char *name, *upper;
    size_t bytes;
};

static const struct checksum_row *row(enum checksum_kind k)
{
    static const struct checksum_row rows[CHECKSUM_KINDS] = {
        [CHECKSUM_NONE] = {"", "", 0},
        [CHECKSUM_CRC32] = {"crc32", "CRC32", 4},
        [CHECKSUM_CRC32C] = {"crc32c", "CRC32C", 4},
        [CHECKSUM_CRC64NVME] = {"crc64nvme", "CRC64NVME", 8},
        [CHECKSUM_SHA1] = {"sha1", "SHA1", SHA1_BYTES},
        [CHECKSUM_SHA256] = {"sha256", "SHA256", SHA256_BYTES},
    };
    assert((unsigned)k < CHECKSUM_KINDS);
    return &rows[k];
}

const char *checksum_name(enum checksum_kind k)
{
    return row(k)->name;
}

size_t checksum_bytes(enum checksum_kind k)
{
    return row(k)->bytes;
}

enum checksum_kind checksum_from_name(const char *name, size_t n)
{
    for (int k = CHECKSUM_NONE + 1; k < CHECKSUM_KINDS; k++) {
        const struct checksum_row *r = row((enum checksum_kind)k);
        size_t i = 0;
        if (strlen(r->name) != n)
            continue;
        while (i < n && (name[i] == r->name[i] || name[i] == r->upper[i]))
            i++;
        if (i == n)
            return (enum checksum_kind)k;
    }
    return CHECKSUM_NONE;
}

void checksum_init(struct checksum *c, enum checksum_kind kind)
{
    *c = (struct checksum){.kind = kind};
    if (kind == CHECKSUM_SHA1)
        c->digest = digest_new(DIGEST_SHA1);
    if (kind == CHECKSUM_SHA256)
        c->digest = digest_new(DIGEST_SHA256);
}

void checksum_release(struct checksum *c)
{
    if (c->digest)
        digest_free(c->digest);
    c->digest = NULL;
}

void checksum_update(struct checksum *c, const void *data, size_t n)
{
    switch (c->kind) {
    case CHECKSUM_CRC32:
        c->crc = crc32_gzip_refl((uint32_t)c->crc, data, n);
        break;
    case CHECKSUM_CRC32C:
        c->crc = crc32c((uint32_t)c->crc, data, n);
        break;
    case CHECKSUM_CRC64NVME:
        c->crc = crc64nvme(c->crc, data, n);
        break;
    case CHECKSUM_SHA1:
    case CHECKSUM_SHA256:
        digest_update(c->digest, data, n);
        break;
    default:
        break;
    }
}

void checksum_final(struct checksum *c, uint8_t out[DIGEST_MAX_BYTES])
{
    size_t n = checksum_bytes(c->kind);
    if (c->digest)
        digest_final(c->digest, out);
    else
        for (size_t i = 0; i < n; i++)
            out[i] = (uint8_t)(c->crc >> 8 * (n - 1 - i));
}
