/* One shard made anew: copied from an older holder or decoded, byte for byte what it was. */
#include "tests/unit/client/cluster_rig.h"

enum { POOL_BYTES = 16 << 20, SPARE = 13 };

static enum err rebuild(struct rig *rig, const struct chunk *c, unsigned index, uint64_t *moved)
{
    struct request_context request = rig_context(20 * SYS_SECOND);
    return chunk_rebuild(&rig->io, &request, c->pool, &c->id, c->length, c->durable.nonce, 77,
                         (uint8_t)index, SPARE, moved);
}

/* The spare's shard is the original's twin. */
static void check_twin(struct rig *rig, const struct chunk *c, unsigned index,
                       const struct kept *original)
{
    const struct kept *k = rig_shard(rig, SPARE, c, index);
    if (!CHECK(k != NULL))
        return;
    CHECK_EQ(k->shard.length, original->shard.length);
    CHECK_EQ(k->shard.nonce, original->shard.nonce);
    CHECK_EQ(k->shard.chunk_length, original->shard.chunk_length);
    CHECK_EQ(k->shard.began, original->shard.began);
    CHECK_EQ(k->shard.k, original->shard.k);
    CHECK_EQ(k->shard.m, original->shard.m);
    CHECK_EQ(k->shard.cell, original->shard.cell);
    CHECK_BYTES(k->bytes, original->bytes, original->shard.length);
    /* Repair names no epoch. */
    CHECK_EQ(rig->disks[SPARE].last_since, 0);
}

/* Every index of the pool: copied, then decoded with its own and m - 1 more gone. */
static void every_index_of(uint32_t pool, uint32_t length)
{
    struct rig *rig = rig_new(POOL_BYTES);
    const struct cluster_pool *p = &rig_pools[pool - 1];
    unsigned width = pool_width(p);
    struct chunk c = rig_chunk(rig, pool, length);
    uint64_t moved;
    CHECK_OK(rig_write(rig, &c, 10 * SYS_SECOND, 0));
    for (unsigned i = 0; i < width; i++) {
        const struct kept *original = rig_shard(rig, i + 1, &c, i);
        CHECK_OK(rebuild(rig, &c, i, &moved));
        CHECK_EQ(moved, 2ull * original->shard.length);
        check_twin(rig, &c, i, original);
        rig->disks[SPARE].count = 0;
        struct kept gone = *original;
        for (unsigned h = 0; h < p->m; h++)
            rig_hide(rig, 1 + (i + h) % width, &c, (i + h) % width, true);
        CHECK_OK(rebuild(rig, &c, i, &moved));
        CHECK(moved >= (p->k + 1ull) * gone.shard.length);
        check_twin(rig, &c, i, &gone);
        rig->disks[SPARE].count = 0;
        for (unsigned h = 0; h < p->m; h++)
            rig_hide(rig, 1 + (i + h) % width, &c, (i + h) % width, false);
    }
    /* A window of pieces, whatever the chunk's length. */
    CHECK(buf_pool_stats(rig->io.buffers).peak_bytes <= POOL_BYTES);
    rig_free(rig);
}

static void every_index(void)
{
    every_index_of(P_4_2, 100);
    every_index_of(P_4_2, 5 * 1048576 + 7);
    every_index_of(P_2_1, 1048576);
    every_index_of(P_1_2, 300000);
    every_index_of(P_8_3, 3000001);
    every_index_of(P_4_2_SMALL, 1048575);
}

/* A large chunk in the memory of one piece of k shards, what it becomes and what is being sent. */
static void little_memory(void)
{
    struct rig *rig = rig_new(8 * BUF_LARGE);
    struct chunk c = rig_chunk(rig, P_4_2, 12 << 20);
    uint64_t moved;
    CHECK_OK(rig_write(rig, &c, 20 * SYS_SECOND, 0));
    struct kept original = *rig_shard(rig, 2, &c, 1);
    rig_hide(rig, 2, &c, 1, true);
    CHECK_OK(rebuild(rig, &c, 1, &moved));
    check_twin(rig, &c, 1, &original);
    rig_free(rig);
}

static void from_older_holder(void)
{
    struct rig *rig = rig_new(POOL_BYTES);
    struct chunk c = rig_chunk(rig, P_4_2, 700000);
    uint64_t moved;
    CHECK_OK(rig_write(rig, &c, SYS_SECOND, 0));
    rig_push(rig, P_4_2, 2, SPARE);
    rig_publish(rig);
    /* The target is the newest holder and is not asked for what it is to get. */
    CHECK_OK(rebuild(rig, &c, 2, &moved));
    CHECK_EQ(rig->disks[SPARE].reads, 0);
    CHECK_EQ(rig->disks[1].reads, 0);
    check_twin(rig, &c, 2, rig_shard(rig, 3, &c, 2));
    rig_free(rig);
}

/* Its disk is still a holder of the slot and has failed: no commit counts that shard, it is made anew. */
static void from_a_failed_holder(void)
{
    struct rig *rig = rig_new(POOL_BYTES);
    struct chunk c = rig_chunk(rig, P_4_2, 700000);
    struct request_context request = rig_context(20 * SYS_SECOND);
    CHECK_OK(rig_write(rig, &c, SYS_SECOND, 0));
    struct kept original = *rig_shard(rig, 3, &c, 2);
    struct chunk_durable durable = c.durable;
    rig_push(rig, P_4_2, 2, SPARE);
    cluster_map_disk_mutable(rig->map, 3)->admin = DISK_FAILED;
    rig_publish(rig);
    CHECK_OK(chunk_follow(&rig->io, &request, c.pool, &c.id, c.length, 77, &durable));
    CHECK_EQ(durable.disks[2], SPARE);
    CHECK_EQ(durable.disks[1], c.durable.disks[1]);
    check_twin(rig, &c, 2, &original);
    rig_free(rig);
}

static void troubles(void)
{
    struct rig *rig = rig_new(POOL_BYTES);
    struct chunk c = rig_chunk(rig, P_4_2, 3000000);
    uint64_t moved;
    CHECK_OK(rig_write(rig, &c, SYS_SECOND, 0));
    struct kept original = *rig_shard(rig, 1, &c, 0);
    /* The source is rotten: told to its disk, and decoded. */
    rig->disks[1].bad.corrupt = true;
    CHECK_OK(rebuild(rig, &c, 0, &moved));
    check_twin(rig, &c, 0, &original);
    rig->disks[SPARE].count = 0;
    /* Two sources hang. */
    rig->disks[1].bad = rig->disks[2].bad = (struct misdeeds){.hang_type = MSG_SHARD_READ};
    int64_t began = sys_now();
    CHECK_OK(rebuild(rig, &c, 0, &moved));
    CHECK(sys_now() - began < 4 * SYS_SECOND);
    check_twin(rig, &c, 0, &original);
    rig->disks[SPARE].count = 0;
    rig->disks[1].bad = rig->disks[2].bad = (struct misdeeds){0};
    sys_sleep_until(sys_now() + 20 * SYS_SECOND);
    /* The target is full, at each step. */
    for (uint16_t type = MSG_SHARD_OPEN; type <= MSG_SHARD_COMMIT; type++) {
        rig->disks[SPARE].bad =
            (struct misdeeds){.error_type = type, .error = ERR_DISK_FULL, .error_count = 1};
        CHECK_ERR(rebuild(rig, &c, 0, &moved), ERR_DISK_FULL);
    }
    rig->disks[SPARE].bad = (struct misdeeds){.hang_type = MSG_SHARD_APPEND};
    began = sys_now();
    CHECK_ERR(rebuild(rig, &c, 0, &moved), ERR_TIMEOUT);
    CHECK(sys_now() - began < 5 * SYS_SECOND);
    rig->disks[SPARE].bad = (struct misdeeds){0};
    /* What is stored is of another attempt than what metadata knows. */
    c.durable.nonce ^= 4;
    CHECK_ERR(rebuild(rig, &c, 0, &moved), ERR_SHARDS_LOST);
    c.durable.nonce ^= 4;
    CHECK_EQ(rig->disks[SPARE].count, 0);
    /* Nothing anywhere; not enough. */
    for (unsigned s = 0; s < 3; s++)
        rig_hide(rig, s + 1, &c, s, true);
    enum err e = rebuild(rig, &c, 0, &moved);
    CHECK(e == ERR_SHARDS_LOST || e == ERR_NOT_FOUND);
    for (unsigned s = 0; s < 6; s++)
        rig_hide(rig, s + 1, &c, s, true);
    CHECK_ERR(rebuild(rig, &c, 0, &moved), ERR_NOT_FOUND);
    CHECK_EQ(rig->disks[SPARE].count, 0);
    CHECK_ERR(rebuild(rig, &c, 6, &moved), ERR_INVALID);
    rig_free(rig);
}

static const struct test tests[] = {
    {"every index", every_index},
    {"little memory", little_memory},
    {"from an older holder", from_older_holder},
    {"from a holder that has failed", from_a_failed_holder},
    {"troubles", troubles},
    {0},
};
SUITE("chunk rebuild", tests)
