#include "tests/sim/model.h"
#include <stdio.h>
#include <string.h>
#include "common/base/digest.h"
#include "common/base/text.h"
#include "common/sys/sys.h"
#include "tests/check/memory.h"

#define LARGE (UINT64_C(1) << 62)

struct content {
    uint64_t value, seed;
};
struct model {
    struct content *contents;
    size_t n, room;
};

struct model *model_new(void)
{
    return check_alloc(sizeof(struct model));
}

uint64_t model_seed(uint64_t random, bool large)
{
    return (random & ~LARGE) | 1 | (large ? LARGE : 0);
}

bool model_large(uint64_t seed)
{
    return seed & LARGE;
}

size_t model_size(uint64_t seed)
{
    static const uint32_t sizes[] = {0,     1,      63,     4096,   16384,   16385,
                                     20480, 100000, 131072, 262145, 1048577, 1500000};
    if (seed & LARGE)
        return MODEL_PART + seed % 100000;
    return sizes[(seed >> 1) % (sizeof sizes / sizeof sizes[0])];
}

uint8_t *model_bytes(uint64_t seed)
{
    size_t n = model_size(seed);
    uint8_t *out = sys_alloc(n + 8);
    uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    for (size_t i = 0; i < n; i += 8) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        memcpy(out + i, &x, 8);
    }
    return out;
}

uint64_t model_value(const char *etag)
{
    return xxh64(etag, strlen(etag), 0);
}

static void add(struct model *m, const char *etag, uint64_t seed)
{
    uint64_t value = model_value(etag);
    if (model_find(m, value))
        return;
    m->contents = check_grow(m->contents, m->n, &m->room, sizeof *m->contents);
    m->contents[m->n++] = (struct content){value, seed};
}

uint64_t model_add(struct model *m, uint64_t seed, const uint8_t *bytes, bool parts,
                   char etag[MODEL_ETAG])
{
    uint8_t md5[2][MD5_BYTES], both[MD5_BYTES];
    digest_md5(bytes, model_size(seed), both);
    hex_encode(both, MD5_BYTES, etag);
    add(m, etag, seed);
    if (parts) {
        digest_md5(bytes, MODEL_PART, md5[0]);
        digest_md5(bytes + MODEL_PART, model_size(seed) - MODEL_PART, md5[1]);
        digest_md5(md5, sizeof md5, both);
        hex_encode(both, MD5_BYTES, etag);
        strcat(etag, "-2");
        add(m, etag, seed);
    }
    return model_value(etag);
}

uint64_t model_find(const struct model *m, uint64_t value)
{
    for (size_t i = m->n; i-- > 0;)
        if (m->contents[i].value == value)
            return m->contents[i].seed;
    return 0;
}

bool model_is(uint64_t seed, size_t offset, const void *data, size_t n)
{
    size_t size = model_size(seed);
    if (offset > size || n > size - offset)
        return false;
    uint8_t *bytes = model_bytes(seed);
    bool same = memcmp(bytes + offset, data, n) == 0;
    sys_free(bytes);
    return same;
}
