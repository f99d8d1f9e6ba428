/* The geometry against a slow model that places every byte, one by one. */
#include "tests/unit/suite.h"
#include "common/base/alloc.h"
#include "erasure/stripe.h"

static uint64_t next_random(uint64_t *x)
{
    *x = *x * 6364136223846793005u + 1442695040888963407u;
    return *x >> 33;
}

struct place {
    uint32_t cell, shard_offset;
};

/* Places every byte of the chunk by rules G1 to G3 of stripe.h; returns the shard's length. */
static uint32_t slow_places(uint32_t length, uint32_t k, uint32_t cell, struct place *out)
{
    uint32_t at = 0, shard = 0;
    while (at < length) {
        uint32_t rest = length - at, this_cell = cell;
        if (rest < k * cell) {
            this_cell = rest / k + (rest % k != 0);
            while (this_cell % 64)
                this_cell++;
        }
        for (uint32_t i = 0; i < k; i++)
            for (uint32_t j = 0; j < this_cell && at < length; j++)
                out[at++] = (struct place){i, shard + j};
        shard += this_cell;
    }
    return shard;
}

static bool check_layout(uint32_t length, uint32_t k, uint32_t cell, uint64_t *random)
{
    struct stripe_layout l;
    if (!CHECK_OK(stripe_layout_init(&l, length, k, cell)))
        return false;
    struct place *places = sys_alloc((length + 1) * sizeof *places);
    bool good = l.shard_length == slow_places(length, k, cell, places);
    good = good && l.shard_length % 64 == 0;

    uint32_t shard = 0, data = 0;
    for (uint32_t s = 0; s < l.stripes; s++) {
        good = good && stripe_shard_offset(&l, s) == shard && stripe_chunk_offset(&l, s) == data;
        uint32_t sum = 0;
        for (uint32_t i = 0; i < k; i++)
            sum += stripe_cell_data_length(&l, s, i);
        good = good && sum == stripe_data_length(&l, s);
        shard += stripe_cell_length(&l, s);
        data += sum;
    }
    good = good && shard == l.shard_length && data == length;

    for (int round = 0; round < 12; round++) {
        uint32_t from = (uint32_t)(next_random(random) % (length + 1));
        uint32_t n = (uint32_t)(next_random(random) % (length - from + 1));
        if (round == 0)
            from = 0, n = length;
        struct stripe_walk walk;
        struct stripe_piece p;
        uint32_t at = from;
        good = good && stripe_walk_init(&walk, &l, from, n) == OK;
        while (good && stripe_walk_next(&walk, &p)) {
            good = p.length > 0 && p.chunk_offset == at && at + p.length <= from + n &&
                   p.cell_offset + p.length <= stripe_cell_length(&l, p.stripe) &&
                   p.shard_offset == stripe_shard_offset(&l, p.stripe) + p.cell_offset;
            for (uint32_t i = 0; good && i < p.length; i++)
                good = places[at + i].cell == p.cell &&
                       places[at + i].shard_offset == p.shard_offset + i;
            at += p.length;
        }
        good = good && at == from + n;

        for (uint32_t cell_index = 0; good && cell_index < k; cell_index++) {
            uint32_t low = UINT32_MAX, high = 0, count = 0;
            for (uint32_t i = from; i < from + n; i++)
                if (places[i].cell == cell_index) {
                    uint32_t o = places[i].shard_offset;
                    low = o < low ? o : low;
                    high = o + 1 > high ? o + 1 : high;
                    count++;
                }
            struct stripe_range r = stripe_shard_range(&l, cell_index, from, n);
            good = r.length == count && (count == 0 || (r.offset == low && low + count == high));
        }
    }
    sys_free(places);
    return suite_check(good, __FILE__, __LINE__, "length %u, k %u, cell %u", length, k, cell);
}

static void small_chunks_exhaustively(void)
{
    uint64_t random = suite_seed();
    for (uint32_t k = 1; k <= 5; k++)
        for (uint32_t length = 1; length <= 3 * k * 128 + 1; length += 1 + (length > 200) * 6)
            if (!check_layout(length, k, 128, &random))
                return;
}

static void random_chunks(void)
{
    uint64_t random = suite_seed();
    for (int i = 0; i < 120; i++) {
        uint32_t k = 1 + (uint32_t)(next_random(&random) % 32);
        uint32_t cell = 64 * (1 + (uint32_t)(next_random(&random) % 40));
        uint32_t length = 1 + (uint32_t)(next_random(&random) % (4 * k * cell));
        if (i % 4 == 0)
            length = k * cell * (1 + i % 3) + (uint32_t)(i % 8) - 1;
        if (length > 150000)
            length %= 150000;
        if (length > 0 && !check_layout(length, k, cell, &random))
            return;
    }
}

static void known_layouts(void)
{
    struct stripe_layout l;
    /* 64 MiB at 4+2: whole stripes only. */
    CHECK_OK(stripe_layout_init(&l, 64 << 20, 4, 64 << 10));
    CHECK_EQ(l.stripes, 256);
    CHECK_EQ(l.last_cell, 65536);
    CHECK_EQ(l.shard_length, 16 << 20);
    /* 20 KiB: one short stripe over four disks. */
    CHECK_OK(stripe_layout_init(&l, 20480, 4, 64 << 10));
    CHECK_EQ(l.stripes, 1);
    CHECK_EQ(l.shard_length, 5120);
    /* One byte: a cell of 64, of which the other shards hold zeros. */
    CHECK_OK(stripe_layout_init(&l, 1, 4, 64 << 10));
    CHECK_EQ(l.shard_length, 64);
    CHECK_EQ(stripe_cell_data_length(&l, 0, 0), 1);
    CHECK_EQ(stripe_cell_data_length(&l, 0, 1), 0);
    CHECK_EQ(stripe_shard_range(&l, 1, 0, 1).length, 0);
    /* One stripe and one byte. */
    CHECK_OK(stripe_layout_init(&l, 262145, 4, 64 << 10));
    CHECK_EQ(l.stripes, 2);
    CHECK_EQ(l.shard_length, 65536 + 64);
    /* Replication: the shard is the chunk, padded. */
    CHECK_OK(stripe_layout_init(&l, 100000, 1, 64 << 10));
    CHECK_EQ(l.stripes, 2);
    CHECK_EQ(l.shard_length, 100032);
    /* The largest layout there is. */
    CHECK_OK(stripe_layout_init(&l, 64 << 20, 32, 1 << 20));
    CHECK_EQ(l.shard_length, 2 << 20);
    CHECK_OK(stripe_layout_init(&l, 64 << 20, 1, 64));
    CHECK_EQ(l.stripes, 1 << 20);
}

static void refuses(void)
{
    struct stripe_layout l;
    struct stripe_walk w;
    struct stripe_piece p;
    CHECK_ERR(stripe_layout_init(&l, (64 << 20) + 1, 4, 65536), ERR_INVALID);
    CHECK_ERR(stripe_layout_init(&l, UINT64_MAX, 4, 65536), ERR_INVALID);
    CHECK_ERR(stripe_layout_init(&l, 1, 0, 65536), ERR_INVALID);
    CHECK_ERR(stripe_layout_init(&l, 1, 33, 65536), ERR_INVALID);
    CHECK_ERR(stripe_layout_init(&l, 1, 4, 0), ERR_INVALID);
    CHECK_ERR(stripe_layout_init(&l, 1, 4, 100), ERR_INVALID);
    CHECK_ERR(stripe_layout_init(&l, 1, 4, 2 << 20), ERR_INVALID);
    CHECK_OK(stripe_layout_init(&l, 1000, 4, 65536));
    CHECK_ERR(stripe_walk_init(&w, &l, 1001, 0), ERR_INVALID);
    CHECK_ERR(stripe_walk_init(&w, &l, 1, 1000), ERR_INVALID);
    CHECK_ERR(stripe_walk_init(&w, &l, UINT64_MAX, 2), ERR_INVALID);
    CHECK_ERR(stripe_walk_init(&w, &l, 2, UINT64_MAX), ERR_INVALID);
    CHECK_OK(stripe_walk_init(&w, &l, 1000, 0));
    CHECK(!stripe_walk_next(&w, &p));
    CHECK_OK(stripe_layout_init(&l, 0, 4, 65536));
    CHECK_EQ(l.shard_length, 0);
    CHECK_OK(stripe_walk_init(&w, &l, 0, 0));
    CHECK(!stripe_walk_next(&w, &p));
}

static const struct test tests[] = {
    {"small chunks, exhaustively", small_chunks_exhaustively},
    {"random chunks", random_chunks},
    {"known layouts", known_layouts},
    {"refuses", refuses},
    {0},
};
SUITE("stripe", tests)
