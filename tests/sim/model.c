#include "tests/sim/model.h"
#include <string.h>
#include "common/sys/sys.h"

#define LARGE (UINT64_C(1) << 62)
enum { PART_BYTES = 5 << 20 };

bool model_begin(struct model_key *k, uint64_t value)
{
    if (k->count == MODEL_PENDING_MAX)
        return false;
    k->pending[k->count++] = value;
    return true;
}

static bool take(struct model_key *k, uint64_t value)
{
    for (uint32_t i = k->count; i-- > 0;)
        if (k->pending[i] == value) {
            memmove(k->pending + i, k->pending + i + 1, (--k->count - i) * sizeof k->pending[0]);
            return true;
        }
    return false;
}

void model_done(struct model_key *k, uint64_t value)
{
    (void)take(k, value);
    k->value = value;
}

void model_refused(struct model_key *k, uint64_t value)
{
    (void)take(k, value);
}

bool model_saw(struct model_key *k, uint64_t value)
{
    if (k->value == value)
        return true;
    if (!take(k, value))
        return false;
    k->value = value;
    return true;
}

bool model_candidate(const struct model_key *k, uint32_t i, uint64_t *value)
{
    if (i > k->count)
        return false;
    *value = i == 0 ? k->value : k->pending[i - 1];
    return true;
}

uint64_t model_value(uint64_t random, bool large)
{
    return (random & ~LARGE) | 1 | (large ? LARGE : 0);
}

size_t model_size(uint64_t value)
{
    static const uint32_t sizes[] = {0,     1,      63,     4096,   16384,   16385,
                                     20480, 100000, 131072, 262145, 1048577, 1500000};
    if (value & LARGE)
        return PART_BYTES + value % 100000;
    return sizes[(value >> 1) % (sizeof sizes / sizeof sizes[0])];
}

uint8_t *model_bytes(uint64_t value)
{
    size_t n = model_size(value);
    uint8_t *out = sys_alloc(n + 8);
    uint64_t x = value * UINT64_C(0x9e3779b97f4a7c15) + 1;
    for (size_t i = 0; i < n; i += 8) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        memcpy(out + i, &x, 8);
    }
    return out;
}

bool model_is(uint64_t value, size_t offset, const void *data, size_t n)
{
    size_t size = value ? model_size(value) : 0;
    if (!value || offset > size || n > size - offset)
        return false;
    uint8_t *bytes = model_bytes(value);
    bool same = memcmp(bytes + offset, data, n) == 0;
    sys_free(bytes);
    return same;
}
