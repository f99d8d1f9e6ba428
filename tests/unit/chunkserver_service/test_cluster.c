/* Chunkservers, metadata and a client together: the path of every byte, and healing. */
#include "tests/unit/chunkserver_service/world_kit.h"

enum { OBJECTS = 12 };

static const uint32_t sizes[] = {1, 4096, 70000, 300000, 1 << 20, 2500000};

static uint32_t size_of(uint32_t number)
{
    return sizes[number % (sizeof sizes / sizeof *sizes)];
}

static void put_objects(struct world_test *t, uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++)
        CHECK_OK(world_put(t, i, size_of(i)));
}

static void get_objects(struct world_test *t, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        CHECK_OK(world_get(t, i, size_of(i)));
}

static void check_healthy(struct world_test *t, unsigned chunks_least)
{
    struct world_health h = world_health(t);
    CHECK(h.chunks >= chunks_least);
    CHECK_EQ(h.bad_shards, 0);
    CHECK_OK(h.first);
    CHECK_EQ(h.moving_slots, 0);
    CHECK_EQ(h.repair_rows, 0);
}

static void writes_and_reads(void)
{
    struct world w = {.chunk_count = 6, .k = 4, .m = 2};
    struct world_test t = {0};
    world_start(&w);
    world_open(&t, &w);
    put_objects(&t, 0, OBJECTS);
    get_objects(&t, OBJECTS);
    check_healthy(&t, OBJECTS);
    world_client_close(&t.c);
    world_stop(&w);
}

static const struct test tests[] = {
    {"what was written is read back, and every shard verifies", writes_and_reads},
    {0},
};
SUITE("chunkserver service", tests)
