#include "tests/unit/suite.h"
#include "common/base/arena.h"

static void gives_zeroed_aligned_separate_memory(void)
{
    struct arena a;
    arena_init(&a);
    uint8_t *blocks[400];
    for (int round = 0; round < 3; round++) {
        size_t asked = 0;
        for (size_t i = 0; i < 400; i++) {
            size_t n = i * 7 % 301;
            if (i % 97 == 0)
                n = 20000 + i;
            blocks[i] = arena_alloc(&a, n);
            asked += n;
            CHECK_EQ((uintptr_t)blocks[i] % 16, 0);
            for (size_t j = 0; j < n; j++)
                if (blocks[i][j] != 0) {
                    CHECK(!"zeroed");
                    break;
                }
            memset(blocks[i], (int)(i % 251) + 1, n);
        }
        CHECK_EQ(a.used_bytes, asked);
        for (size_t i = 0; i < 400; i++) {
            size_t n = i % 97 == 0 ? 20000 + i : i * 7 % 301;
            for (size_t j = 0; j < n; j++)
                if (blocks[i][j] != (uint8_t)(i % 251 + 1)) {
                    CHECK(!"kept its bytes");
                    break;
                }
        }
        arena_clear(&a);
        CHECK_EQ(a.used_bytes, 0);
    }
    arena_release(&a);
}

static void clear_keeps_a_block_and_release_none(void)
{
    struct arena a;
    arena_init(&a);
    arena_clear(&a);
    CHECK(a.blocks == NULL);
    void *first = arena_alloc(&a, 100);
    arena_alloc(&a, 100000);
    arena_clear(&a);
    CHECK(a.blocks != NULL);
    CHECK(arena_alloc(&a, 100) == first);
    arena_release(&a);
    CHECK(a.blocks == NULL);
    /* Only a large block: nothing worth keeping. */
    arena_alloc(&a, 1000000);
    arena_clear(&a);
    CHECK(a.blocks == NULL);
    arena_release(&a);
}

static void copies_and_formats(void)
{
    struct arena a;
    arena_init(&a);
    CHECK_TEXT(arena_string(&a, "stone"), "stone");
    CHECK_TEXT(arena_string(&a, ""), "");
    CHECK_BYTES(arena_copy(&a, "a\0b", 3), "a\0b", 3);
    CHECK(arena_copy(&a, NULL, 0) != NULL);
    CHECK_TEXT(arena_format(&a, "%s-%d", "disk", 12), "disk-12");
    char *wide = arena_format(&a, "%05000d", 7);
    CHECK_EQ(strlen(wide), 5000);
    arena_release(&a);
}

static const struct test tests[] = {
    {"gives zeroed, aligned, separate memory", gives_zeroed_aligned_separate_memory},
    {"clear keeps a block, release none", clear_keeps_a_block_and_release_none},
    {"copies and formats", copies_and_formats},
    {0},
};
SUITE("arena", tests)
