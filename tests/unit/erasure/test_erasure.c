/* ISA-L against multiplication by the book, every erasure pattern of the pools that ship. */
#include "tests/unit/suite.h"
#include "common/base/alloc.h"
#include "erasure/erasure.h"

enum { GUARD = 64, LENGTH_MAX = 5000 };

/* Shift and add, reduced by x^8 + x^4 + x^3 + x^2 + 1. */
static uint8_t slow_mul(uint8_t a, uint8_t b)
{
    unsigned product = 0;
    for (unsigned i = 0; i < 8; i++)
        if (b >> i & 1)
            product ^= (unsigned)a << i;
    for (int bit = 14; bit >= 8; bit--)
        if (product >> bit & 1)
            product ^= 0x11du << (bit - 8);
    return (uint8_t)product;
}

static uint8_t slow_inverse(uint8_t a)
{
    for (unsigned b = 1; b < 256; b++)
        if (slow_mul(a, (uint8_t)b) == 1)
            return (uint8_t)b;
    CHECK(!"an inverse");
    return 0;
}

static uint64_t next_random(uint64_t *x)
{
    *x = *x * 6364136223846793005u + 1442695040888963407u;
    return *x >> 33;
}

/* The cells of one code word, each followed by guard bytes, since ISA-L is not instrumented. */
struct word {
    struct erasure e;
    size_t length;
    uint8_t *cells[ERASURE_CELLS_MAX];
    uint8_t *blocks[ERASURE_CELLS_MAX];
};

static bool guarded(const uint8_t *cell, size_t length)
{
    for (size_t i = 0; i < GUARD; i++)
        if (cell[length + i] != 0xee)
            return false;
    return true;
}

static uint8_t *new_cell(size_t length, size_t misalign, uint8_t **block)
{
    *block = sys_alloc_aligned(length + misalign + GUARD, 64);
    memset(*block, 0xee, length + misalign + GUARD);
    return *block + misalign;
}

static void word_make(struct word *w, unsigned k, unsigned m, size_t length, uint64_t *random)
{
    CHECK_OK(erasure_init(&w->e, k, m));
    w->length = length;
    for (unsigned i = 0; i < k + m; i++) {
        w->cells[i] = new_cell(length, *random % 3 == 0 ? i % 17 : 0, &w->blocks[i]);
        for (size_t j = 0; i < k && j < length; j++)
            w->cells[i][j] = (uint8_t)next_random(random);
    }
    erasure_encode(&w->e, length, (const uint8_t *const *)w->cells, w->cells + k);
    for (unsigned i = 0; i < k + m; i++)
        CHECK(guarded(w->cells[i], length));
}

static void word_free(struct word *w)
{
    for (unsigned i = 0; i < w->e.k + w->e.m; i++)
        sys_free(w->blocks[i]);
}

/* Decodes all cells of the bit set lost from the others; whether they came out right. */
static bool decodes(const struct word *w, uint64_t lost, uint64_t *random)
{
    struct erasure_cell present[ERASURE_CELLS_MAX] = {0};
    unsigned wanted[ERASURE_CELLS_MAX] = {0}, all = w->e.k + w->e.m;
    uint8_t *out[ERASURE_CELLS_MAX] = {NULL}, *blocks[ERASURE_CELLS_MAX];
    size_t present_n = 0, wanted_n = 0;
    for (unsigned i = 0; i < all; i++)
        if (lost >> i & 1) {
            wanted[wanted_n] = i;
            out[wanted_n] = new_cell(w->length, 0, &blocks[wanted_n]);
            wanted_n++;
        } else {
            /* In any order: insertion at a random place. */
            size_t at = next_random(random) % (present_n + 1);
            memmove(present + at + 1, present + at, (present_n - at) * sizeof present[0]);
            present[at] = (struct erasure_cell){i, w->cells[i]};
            present_n++;
        }
    bool good = erasure_decode(&w->e, w->length, present, present_n, wanted, wanted_n, out) == OK;
    for (size_t i = 0; i < wanted_n; i++) {
        good = good && memcmp(out[i], w->cells[wanted[i]], w->length) == 0 &&
               guarded(out[i], w->length);
        sys_free(blocks[i]);
    }
    return good;
}

static void parity_by_the_book(void)
{
    static const unsigned shapes[][2] = {{4, 2}, {2, 1}, {8, 3}, {1, 2}, {12, 4}, {32, 8}};
    uint64_t random = suite_seed();
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        unsigned k = shapes[s][0], m = shapes[s][1];
        struct word w;
        word_make(&w, k, m, 300, &random);
        for (unsigned r = 0; r < m; r++)
            for (size_t i = 0; i < w.length; i++) {
                uint8_t sum = 0;
                for (unsigned c = 0; c < k; c++) {
                    uint8_t factor = k == 1 ? 1 : slow_inverse((uint8_t)((k + r) ^ c));
                    sum ^= slow_mul(factor, w.cells[c][i]);
                }
                if (w.cells[k + r][i] != sum) {
                    suite_check(false, __FILE__, __LINE__, "%u+%u parity %u", k, m, r);
                    break;
                }
            }
        word_free(&w);
    }
}

/* The format must not move: 4+2 over four bytes, worked out by hand from the inverses. */
static void known_answer(void)
{
    struct erasure e;
    CHECK_OK(erasure_init(&e, 4, 2));
    static const uint8_t rows[8] = {0x47, 0xa7, 0x7a, 0xba, 0xa7, 0x47, 0xba, 0x7a};
    CHECK_BYTES(e.matrix + 16, rows, 8);
    const uint8_t *data[4] = {(const uint8_t *)"\x01", (const uint8_t *)"\x00",
                              (const uint8_t *)"\x01", (const uint8_t *)"\x00"};
    uint8_t p, q, *parity[2] = {&p, &q};
    erasure_encode(&e, 1, data, parity);
    CHECK_EQ(p, 0x47 ^ 0x7a);
    CHECK_EQ(q, 0xa7 ^ 0xba);
}

/* Every set of up to m lost cells. */
static void every_pattern(void)
{
    static const unsigned shapes[][2] = {{4, 2}, {2, 1}, {8, 3}, {1, 2}, {12, 4}};
    static const size_t lengths[] = {1, 64, 191};
    uint64_t random = suite_seed();
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
        for (size_t n = 0; n < sizeof lengths / sizeof lengths[0]; n++) {
            unsigned k = shapes[s][0], m = shapes[s][1], tried = 0;
            struct word w;
            word_make(&w, k, m, lengths[n], &random);
            for (uint64_t lost = 0; lost < UINT64_C(1) << (k + m); lost++) {
                if ((unsigned)__builtin_popcountll(lost) > m)
                    continue;
                tried++;
                if (!decodes(&w, lost, &random)) {
                    suite_check(false, __FILE__, __LINE__, "%u+%u without %#" PRIx64, k, m, lost);
                    break;
                }
            }
            CHECK(tried > k + m);
            word_free(&w);
        }
}

static void every_shape_some_patterns(void)
{
    uint64_t random = suite_seed();
    for (unsigned k = 1; k <= ERASURE_K_MAX; k++)
        for (unsigned m = 0; m <= ERASURE_M_MAX; m++) {
            struct word w;
            word_make(&w, k, m, 1 + next_random(&random) % 700, &random);
            for (int round = 0; round < 3; round++) {
                uint64_t lost = 0;
                for (unsigned i = 0; i < m; i++)
                    lost |= UINT64_C(1) << next_random(&random) % (k + m);
                suite_check(decodes(&w, lost, &random), __FILE__, __LINE__,
                            "%u+%u without %#" PRIx64, k, m, lost);
            }
            word_free(&w);
        }
}

static void every_length(void)
{
    uint64_t random = suite_seed();
    for (size_t length = 1; length < LENGTH_MAX; length += length < 300 ? 1 : 331) {
        struct word w;
        word_make(&w, 4, 2, length, &random);
        suite_check(decodes(&w, 0x9, &random) && decodes(&w, 0x30, &random), __FILE__, __LINE__,
                    "length %zu", length);
        word_free(&w);
    }
}

static void a_range_of_a_cell(void)
{
    uint64_t random = suite_seed();
    struct word w;
    word_make(&w, 4, 2, 4096, &random);
    struct erasure_cell present[4];
    static const unsigned from[4] = {5, 0, 3, 4};
    for (unsigned i = 0; i < 4; i++)
        present[i] = (struct erasure_cell){from[i], w.cells[from[i]] + 1001};
    /* More than lost: all six, in two groups of tables when k + m is larger than m. */
    uint8_t bytes[6][100], *out[6];
    static const unsigned wanted[6] = {2, 1, 0, 5, 4, 3};
    for (unsigned i = 0; i < 6; i++)
        out[i] = bytes[i];
    CHECK_OK(erasure_decode(&w.e, 100, present, 4, wanted, 6, out));
    for (unsigned i = 0; i < 6; i++)
        CHECK_BYTES(bytes[i], w.cells[wanted[i]] + 1001, 100);
    word_free(&w);
}

static void all_cells_in_groups(void)
{
    uint64_t random = suite_seed();
    struct word w;
    word_make(&w, 12, 4, 77, &random);
    struct erasure_cell present[12];
    unsigned wanted[16];
    uint8_t bytes[16][77], *out[16];
    for (unsigned i = 0; i < 16; i++) {
        if (i < 12)
            present[i] = (struct erasure_cell){15 - i, w.cells[15 - i]};
        wanted[i] = i;
        out[i] = bytes[i];
    }
    CHECK_OK(erasure_decode(&w.e, 77, present, 12, wanted, 16, out));
    for (unsigned i = 0; i < 16; i++)
        CHECK_BYTES(bytes[i], w.cells[i], 77);
    word_free(&w);
}

static void replication_copies(void)
{
    uint64_t random = suite_seed();
    struct word w;
    word_make(&w, 1, 2, 1000, &random);
    CHECK_BYTES(w.cells[1], w.cells[0], 1000);
    CHECK_BYTES(w.cells[2], w.cells[0], 1000);
    word_free(&w);
}

static void refuses(void)
{
    struct erasure e;
    CHECK_ERR(erasure_init(&e, 0, 2), ERR_INVALID);
    CHECK_ERR(erasure_init(&e, 33, 2), ERR_INVALID);
    CHECK_ERR(erasure_init(&e, 4, 9), ERR_INVALID);
    CHECK_OK(erasure_init(&e, 2, 1));
    uint8_t a[8] = {1}, b[8] = {2}, c[8], *out[1] = {c};
    unsigned two = 2, three = 3;
    struct erasure_cell present[2] = {{0, a}, {1, b}};
    CHECK_ERR(erasure_decode(&e, 8, present, 1, &two, 1, out), ERR_SHARDS_LOST);
    CHECK_ERR(erasure_decode(&e, 8, present, 2, &three, 1, out), ERR_INVALID);
    present[1].index = 0;
    CHECK_ERR(erasure_decode(&e, 8, present, 2, &two, 1, out), ERR_INVALID);
    present[1].index = 3;
    CHECK_ERR(erasure_decode(&e, 8, present, 2, &two, 1, out), ERR_INVALID);
    present[1].index = 1;
    CHECK_OK(erasure_decode(&e, 0, present, 2, &two, 1, out));
    CHECK_OK(erasure_decode(&e, 8, present, 2, NULL, 0, NULL));
}

static const struct test tests[] = {
    {"parity by the book", parity_by_the_book},
    {"known answer", known_answer},
    {"every pattern of the pools that ship", every_pattern},
    {"every shape, some patterns", every_shape_some_patterns},
    {"every length", every_length},
    {"a range of a cell", a_range_of_a_cell},
    {"all cells in groups", all_cells_in_groups},
    {"replication copies", replication_copies},
    {"refuses", refuses},
    {0},
};
SUITE("erasure", tests)
