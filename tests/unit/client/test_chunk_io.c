/* Chunks written and read back: every size around a boundary, every pool, ranges, every pattern of
 * missing shards, older holders. */
#include "tests/unit/client/cluster_rig.h"

enum { POOL_BYTES = 96 << 20 };

static const uint32_t sizes[] = {
    1,      63,     64,     65,      4095,    4096,    65535,       65536,           65537,
    262143, 262144, 262145, 1048575, 1048576, 1048577, 2 * 1048576, 5 * 1048576 + 3, 0,
};

static void round_trips_of(uint32_t pool)
{
    struct rig *rig = rig_new(POOL_BYTES);
    for (unsigned i = 0; sizes[i]; i++) {
        struct chunk c = rig_chunk(rig, pool, sizes[i]);
        if (!CHECK_OK(rig_write(rig, &c, 10 * SYS_SECOND, 0)))
            break;
        const struct cluster_pool *p = &rig_pools[pool - 1];
        CHECK_EQ(c.durable.width, pool_width(p));
        CHECK_EQ(rig_durable(&c), pool_width(p));
        CHECK_EQ(c.durable.sequence, c.id.sequence);
        for (unsigned s = 0; s < pool_width(p); s++) {
            const struct kept *k = rig_shard(rig, s + 1, &c, s);
            if (CHECK(k)) {
                CHECK_EQ(k->shard.nonce, c.durable.nonce);
                CHECK_EQ(k->shard.chunk_length, c.length);
                CHECK_EQ(k->shard.began, 77);
            }
        }
        CHECK_OK(rig_check(rig, &c, 10 * SYS_SECOND));
    }
    rig_free(rig);
}

static void trips_4_2(void)
{
    round_trips_of(P_4_2);
}
static void trips_2_1(void)
{
    round_trips_of(P_2_1);
}
static void trips_1_2(void)
{
    round_trips_of(P_1_2);
}
static void trips_8_3(void)
{
    round_trips_of(P_8_3);
}
static void trips_small(void)
{
    round_trips_of(P_4_2_SMALL);
}
static void trips_3_0(void)
{
    round_trips_of(P_3_0);
}

/* Ranges at random, with m shards hidden in every other read. */
static void ranges_of(struct rig *rig, uint32_t pool, uint32_t length, unsigned count)
{
    const struct cluster_pool *p = &rig_pools[pool - 1];
    struct chunk c = rig_chunk(rig, pool, length);
    CHECK_OK(rig_write(rig, &c, 10 * SYS_SECOND, 0));
    for (unsigned i = 0; i < count; i++) {
        unsigned first = (unsigned)rig_random(rig, pool_width(p));
        struct request_context request = rig_context(10 * SYS_SECOND);
        uint32_t offset = (uint32_t)rig_random(rig, length);
        uint32_t most = length - offset;
        if (rig_random(rig, 2) == 0 && most > 70000)
            most = 70000;
        uint32_t n = 1 + (uint32_t)rig_random(rig, most);
        for (unsigned h = 0; i % 2 == 1 && h < p->m; h++)
            rig_hide(rig, 1 + (first + h) % pool_width(p), &c, (first + h) % pool_width(p), true);
        if (!CHECK_OK(rig_read_range(rig, &request, &c, offset, n, 0)))
            break;
        for (unsigned s = 0; s < pool_width(p); s++)
            rig_hide(rig, s + 1, &c, s, false);
    }
}

static void ranges(void)
{
    struct rig *rig = rig_new(POOL_BYTES);
    ranges_of(rig, P_4_2, 3 * 1048576 + 12345, 40);
    ranges_of(rig, P_4_2, 300000, 40);
    ranges_of(rig, P_4_2, 1000, 20);
    ranges_of(rig, P_2_1, 1048577, 40);
    ranges_of(rig, P_1_2, 700001, 20);
    ranges_of(rig, P_8_3, 2 * 1048576 + 1, 20);
    ranges_of(rig, P_4_2_SMALL, 1048576 - 1, 40);
    struct chunk c = rig_chunk(rig, P_4_2, 100);
    struct request_context request = rig_context(SYS_SECOND);
    CHECK_OK(rig_write(rig, &c, SYS_SECOND, 0));
    CHECK_OK(rig_read_range(rig, &request, &c, 50, 0, 0));
    CHECK_ERR(rig_read_range(rig, &request, &c, 50, 51, 0), ERR_INVALID);
    c.pool = 99;
    CHECK_ERR(rig_read_range(rig, &request, &c, 0, 1, 0), ERR_NOT_FOUND);
    CHECK_ERR(rig_write(rig, &c, SYS_SECOND, 0), ERR_NOT_FOUND);
    rig_free(rig);
}

/* Every pattern of up to m + 1 missing shards. */
static void erasures_of(struct rig *rig, uint32_t pool, uint32_t length)
{
    const struct cluster_pool *p = &rig_pools[pool - 1];
    struct chunk c = rig_chunk(rig, pool, length);
    CHECK_OK(rig_write(rig, &c, 10 * SYS_SECOND, 0));
    for (uint32_t pattern = 0; pattern < 1u << pool_width(p); pattern++) {
        unsigned missing = (unsigned)__builtin_popcount(pattern);
        if (missing > p->m + 1u)
            continue;
        for (unsigned s = 0; s < pool_width(p); s++)
            rig_hide(rig, s + 1, &c, s, pattern >> s & 1);
        enum err e = rig_check(rig, &c, 10 * SYS_SECOND);
        if (missing <= p->m)
            CHECK_OK(e);
        else if (length > 64 * p->k) /* else some cells are nothing but padding */
            CHECK(e == ERR_SHARDS_LOST || e == ERR_NOT_FOUND);
    }
    for (unsigned s = 0; s < pool_width(p); s++)
        rig_hide(rig, s + 1, &c, s, true);
    CHECK_ERR(rig_check(rig, &c, 10 * SYS_SECOND), ERR_NOT_FOUND);
}

static void erasures(void)
{
    struct rig *rig = rig_new(POOL_BYTES);
    erasures_of(rig, P_4_2, 300001);
    erasures_of(rig, P_4_2, 100);
    erasures_of(rig, P_2_1, 200001);
    erasures_of(rig, P_1_2, 65537);
    rig_free(rig);
}

static void older_holders(void)
{
    struct rig *rig = rig_new(POOL_BYTES);
    struct chunk c = rig_chunk(rig, P_4_2, 900000);
    CHECK_OK(rig_write(rig, &c, SYS_SECOND, 0));
    /* Slots 0 .. 2 move to disks that have nothing yet: more than parity could make up for. */
    for (unsigned s = 0; s < 3; s++)
        rig_push(rig, P_4_2, s, 10 + s);
    rig_publish(rig);
    CHECK_OK(rig_check(rig, &c, SYS_SECOND));
    CHECK(rig->disks[10].reads > 0 && rig->disks[1].reads > 0);
    /* New chunks go to the newest holders, under the epoch since which they are. */
    struct chunk d = rig_chunk(rig, P_4_2, 900000);
    CHECK_OK(rig_write(rig, &d, SYS_SECOND, 0));
    CHECK(rig_shard(rig, 10, &d, 0) && !rig_shard(rig, 1, &d, 0));
    CHECK_EQ(d.durable.disks[0], 10);
    CHECK_EQ(rig->disks[10].last_since,
             slot_since(pool_slot(cluster_map_pool(rig->map, P_4_2), 0, 0)));
    CHECK_OK(rig_check(rig, &d, SYS_SECOND));
    /* A disk that has failed is asked for nothing, even as an older holder. */
    cluster_map_disk_mutable(rig->map, 1)->admin = DISK_FAILED;
    rig_publish(rig);
    unsigned before = rig->disks[1].reads;
    CHECK_OK(rig_check(rig, &c, SYS_SECOND));
    CHECK_EQ(rig->disks[1].reads, before);
    rig_free(rig);
}

static void down_disks(void)
{
    struct rig *rig = rig_new(POOL_BYTES);
    struct chunk c = rig_chunk(rig, P_4_2, 500000);
    CHECK_OK(rig_write(rig, &c, SYS_SECOND, 0));
    rig_set_up(rig, 1, false);
    rig_set_up(rig, 4, false);
    unsigned before = rig->disks[1].reads + rig->disks[4].reads;
    int64_t began = sys_now();
    CHECK_OK(rig_check(rig, &c, SYS_SECOND));
    CHECK(sys_now() - began < 200 * SYS_MS);
    CHECK_EQ(rig->disks[1].reads + rig->disks[4].reads, before);
    /* Two of six down: below k + 1, said at once. */
    struct chunk d = rig_chunk(rig, P_4_2, 500000);
    began = sys_now();
    CHECK_ERR(rig_write(rig, &d, SYS_SECOND, 0), ERR_UNAVAILABLE);
    CHECK(sys_now() - began < 10 * SYS_MS);
    rig_set_up(rig, 4, true);
    unsigned opens = rig->disks[1].opens;
    CHECK_OK(rig_write(rig, &d, SYS_SECOND, 0));
    CHECK_EQ(rig_durable(&d), 5);
    CHECK_EQ(d.durable.disks[0], 0);
    CHECK_EQ(rig->disks[1].opens, opens);
    CHECK_OK(rig_check(rig, &d, SYS_SECOND));
    rig_free(rig);
}

/* Two writers and a reader of their own at once, in one process. */
struct worker {
    struct rig *rig;
    uint32_t pool;
    struct chunk chunk;
    enum err error;
    struct sys_thread *thread;
};

static void work(void *arg)
{
    struct worker *w = arg;
    w->chunk = rig_chunk(w->rig, w->pool, 200000 + (uint32_t)rig_random(w->rig, 1000000));
    w->error = rig_write(w->rig, &w->chunk, 60 * SYS_SECOND, 0);
    if (w->error == OK)
        w->error = rig_check(w->rig, &w->chunk, 60 * SYS_SECOND);
}

/* Twenty at once on memory for two groups: they take turns, nobody waits for ever. */
static void tiny_pool(void)
{
    struct rig *rig = rig_new(3 << 20);
    struct worker workers[20];
    unsigned good = 0;
    for (unsigned i = 0; i < 20; i++) {
        workers[i] = (struct worker){.rig = rig, .pool = i % 3 == 0 ? P_2_1 : P_4_2};
        CHECK_OK(sys_thread_start(&workers[i].thread, "worker", 0, work, &workers[i]));
    }
    for (unsigned i = 0; i < 20; i++) {
        sys_thread_join(workers[i].thread);
        good += workers[i].error == OK;
        CHECK(workers[i].error == OK || workers[i].error == ERR_BUSY);
    }
    CHECK(good >= 15);
    rig_free(rig);
}

/* Memory that somebody else holds for good: refused, but not at once. */
static void no_memory(void)
{
    struct rig *rig = rig_new(1 << 20);
    struct chunk c = rig_chunk(rig, P_2_1, 100000);
    CHECK_OK(rig_write(rig, &c, SYS_SECOND, 0));
    struct buf *held[17];
    unsigned n = 0;
    while (buf_get(rig->io.buffers, BUF_SMALL, &held[n]) == OK)
        n++;
    int64_t began = sys_now();
    struct chunk d = rig_chunk(rig, P_2_1, 100000);
    CHECK_ERR(rig_write(rig, &d, 60 * SYS_SECOND, 0), ERR_BUSY);
    CHECK(sys_now() - began > SYS_SECOND && sys_now() - began < 10 * SYS_SECOND);
    began = sys_now();
    CHECK_ERR(rig_check(rig, &c, 60 * SYS_SECOND), ERR_BUSY);
    CHECK(sys_now() - began > SYS_SECOND && sys_now() - began < 10 * SYS_SECOND);
    while (n > 0)
        buf_unref(held[--n]);
    CHECK_OK(rig_check(rig, &c, SYS_SECOND));
    rig_free(rig);
}

/* The body fails its 1st, 2nd, .. buffer, because so many are left; until it runs clean. */
static void sweep(void)
{
    enum { BUFFERS = 40 };
    struct rig *rig = rig_new(BUFFERS * BUF_SMALL);
    struct chunk c = rig_chunk(rig, P_4_2, 250000);
    CHECK_OK(rig_write(rig, &c, SYS_SECOND, 0));
    rig_hide(rig, 1, &c, 0, true);
    rig_hide(rig, 3, &c, 2, true);
    struct buf *held[BUFFERS];
    unsigned writes = 0, reads = 0;
    for (unsigned left = 0; left <= 16; left++) {
        unsigned n = 0;
        for (; n < BUFFERS - left; n++)
            CHECK_OK(buf_get(rig->io.buffers, BUF_SMALL, &held[n]));
        struct chunk d = rig_chunk(rig, P_4_2, 250000);
        enum err e = rig_write(rig, &d, 300 * SYS_MS, 0);
        if (e != ERR_BUSY)
            CHECK_OK(e);
        writes += e == OK;
        e = rig_check(rig, &c, 300 * SYS_MS);
        if (e != ERR_BUSY && e != ERR_TIMEOUT)
            CHECK_OK(e);
        reads += e == OK;
        struct request_context request = rig_context(300 * SYS_MS);
        e = rig_read_range(rig, &request, &c, 60000, 150000, 0);
        if (e != ERR_BUSY && e != ERR_TIMEOUT)
            CHECK_OK(e);
        while (n > 0)
            buf_unref(held[--n]);
        CHECK_EQ(buf_pool_stats(rig->io.buffers).used_bytes, 0);
    }
    CHECK_EQ(writes, 17 - 6);
    CHECK(reads >= 17 - 8 && reads < 17);
    rig_free(rig);
}

static const struct test tests[] = {
    {"4+2", trips_4_2},
    {"2+1", trips_2_1},
    {"1+2", trips_1_2},
    {"8+3", trips_8_3},
    {"4+2 of 16 KiB", trips_small},
    {"3+0", trips_3_0},
    {"ranges", ranges},
    {"erasures", erasures},
    {"older holders", older_holders},
    {"down disks", down_disks},
    {"tiny pool", tiny_pool},
    {"no memory", no_memory},
    {"sweep over buffers", sweep},
    {0},
};
SUITE("chunk io", tests)
