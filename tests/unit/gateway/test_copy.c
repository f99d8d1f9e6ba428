/* What a copy may not bring: objects that came in parts can be larger than any one write. */
#include "tests/unit/gateway/gateway_kit.h"

static void too_large_a_source(void)
{
    struct world w = {.chunk_count = 4, .k = 2, .m = 1};
    struct world_test t = {0};
    struct arena arena;
    world_start(&w);
    world_open(&t, &w);
    arena_init(&arena);
    struct op op = {.gateway = kit_open(&t), .arena = &arena};
    Answer source = ANSWER__INIT;
    ObjectBody body;
    struct object_written written;
    uint8_t md5[MD5_BYTES];
    static const uint64_t sizes[] = {OBJECT_PUT_MAX + 1, UINT64_C(1) << 39, UINT64_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        op.error.message = NULL;
        CHECK_EQ(op_store_copy(&op, &source, 0, sizes[i], 1, 1, 0, &body, &written, md5),
                 S3_INVALID_REQUEST);
        CHECK(op.error.message != NULL);
    }
    CHECK_EQ(gateway_oldest_read(op.gateway), 0);
    gateway_free(op.gateway);
    arena_release(&arena);
    world_client_close(&t.c);
    world_stop(&w);
}

static const struct test tests[] = {
    {"too large a source", too_large_a_source},
    {0},
};
SUITE("gateway copies", tests)
