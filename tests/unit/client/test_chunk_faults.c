/* Chunks written and read while disks are dead, hung, slow, full or lying: what the caller is told,
 * and how long it takes. All times are virtual. */
#include "tests/unit/client/cluster_rig.h"

enum { POOL_BYTES = 64 << 20 };

static int64_t took(int64_t since)
{
    return sys_now() - since;
}

/* ---- writes ---- */

static const uint16_t write_types[] = {MSG_SHARD_OPEN, MSG_SHARD_APPEND, MSG_SHARD_COMMIT};
static const uint32_t write_sizes[] = {100000, 3000000};

/* Writes a chunk of each size with this disk misbehaving at each step; all must succeed without it,
 * in time. */
static void write_without(void (*set)(struct misdeeds *, uint16_t), int64_t within)
{
    for (unsigned t = 0; t < 3; t++)
        for (unsigned i = 0; i < 2; i++) {
            struct rig *rig = rig_new(POOL_BYTES);
            struct chunk warm = rig_chunk(rig, P_4_2, 1000);
            CHECK_OK(rig_write(rig, &warm, SYS_SECOND, 0));
            set(&rig->disks[2].bad, write_types[t]);
            struct chunk c = rig_chunk(rig, P_4_2, write_sizes[i]);
            int64_t began = sys_now();
            CHECK_OK(rig_write(rig, &c, 60 * SYS_SECOND, 0));
            int64_t n = took(began);
            suite_check(n <= within, __FILE__, __LINE__, "type %u size %u took %" PRId64 " ms",
                        write_types[t], write_sizes[i], n / SYS_MS);
            CHECK_EQ(rig_durable(&c), 5);
            CHECK_EQ(c.durable.disks[1], 0);
            rig->disks[2].bad = (struct misdeeds){0};
            CHECK_OK(rig_check(rig, &c, 10 * SYS_SECOND));
            rig_free(rig);
        }
}

static void set_crash(struct misdeeds *bad, uint16_t type)
{
    bad->crash_type = type;
}
static void set_hang(struct misdeeds *bad, uint16_t type)
{
    bad->hang_type = type;
}
static void set_full(struct misdeeds *bad, uint16_t type)
{
    bad->error_type = type;
    bad->error = ERR_DISK_FULL;
}
static void set_slow(struct misdeeds *bad, uint16_t type)
{
    bad->slow_type = type;
    bad->slow = 1800 * SYS_MS; /* shorter than what the rpc layer gives up at */
}

static void write_crash(void)
{
    write_without(set_crash, 2200 * SYS_MS); /* a host that loses power says nothing */
}
/* At worst the grace twice: in the window and at the commit. */
static void write_hang(void)
{
    write_without(set_hang, 2200 * SYS_MS);
}
static void write_full(void)
{
    write_without(set_full, 200 * SYS_MS);
}
static void write_slow(void)
{
    write_without(set_slow, 2200 * SYS_MS);
}

/* A disk that takes each group a little too slowly must not pace a long write. */
static void write_paced(void)
{
    struct rig *rig = rig_new(POOL_BYTES);
    rig->disks[3].bad.slow_type = MSG_SHARD_APPEND;
    rig->disks[3].bad.slow = 700 * SYS_MS;
    struct chunk c = rig_chunk(rig, P_4_2, 24 << 20); /* 24 groups: 17 s at its pace */
    int64_t began = sys_now();
    CHECK_OK(rig_write(rig, &c, 60 * SYS_SECOND, 0));
    CHECK(took(began) < 4 * SYS_SECOND);
    CHECK_EQ(rig_durable(&c), 5);
    rig->disks[3].bad = (struct misdeeds){0};
    CHECK_OK(rig_check(rig, &c, 10 * SYS_SECOND));
    rig_free(rig);
}

/* A client that brings its bytes slowly makes no disk a laggard. */
static void write_slow_client(void)
{
    struct rig *rig = rig_new(POOL_BYTES);
    struct chunk c = rig_chunk(rig, P_4_2, 3 << 20);
    CHECK_OK(rig_write(rig, &c, 600 * SYS_SECOND, 2500 * SYS_MS));
    CHECK_EQ(rig_durable(&c), 6);
    CHECK_OK(rig_check(rig, &c, 10 * SYS_SECOND));
    rig_free(rig);
}

/* Fewer than k + 1 can be had: an error, promptly. */
static void write_no_quorum(void)
{
    for (unsigned t = 0; t < 3; t++) {
        struct rig *rig = rig_new(POOL_BYTES);
        struct chunk c = rig_chunk(rig, P_4_2, 1500000);
        int64_t began = sys_now();
        set_full(&rig->disks[2].bad, write_types[t]);
        set_crash(&rig->disks[5].bad, write_types[t]);
        CHECK_ERR(rig_write(rig, &c, 600 * SYS_SECOND, 0), ERR_DISK_FULL);
        CHECK(took(began) < 5 * SYS_SECOND);
        began = sys_now();
        rig->disks[2].bad = (struct misdeeds){0};
        set_hang(&rig->disks[2].bad, write_types[t]);
        c = rig_chunk(rig, P_4_2, 1500000);
        enum err e = rig_write(rig, &c, 600 * SYS_SECOND, 0);
        CHECK(e == ERR_NO_QUORUM || e == ERR_UNAVAILABLE);
        CHECK(took(began) < 5 * SYS_SECOND);
        rig_free(rig);
    }
}

/* That disks are full is said when that is why. */
static void write_full_group(void)
{
    for (unsigned t = 0; t < 3; t++) {
        struct rig *rig = rig_new(POOL_BYTES);
        struct chunk c = rig_chunk(rig, P_4_2, 3000000);
        set_full(&rig->disks[2].bad, write_types[t]);
        set_full(&rig->disks[3].bad, write_types[t]);
        CHECK_ERR(rig_write(rig, &c, 60 * SYS_SECOND, 0), ERR_DISK_FULL);
        rig->disks[3].bad = (struct misdeeds){0};
        CHECK_OK(rig_write(rig, &c, 60 * SYS_SECOND, 0));
        rig_set_up(rig, 4, false);
        rig_set_up(rig, 5, false);
        CHECK_ERR(rig_write(rig, &c, 60 * SYS_SECOND, 0),
                  ERR_UNAVAILABLE); /* with room there, too */
        rig_free(rig);
    }
}

/* One parity shard: all three must be durable. */
static void write_m1(void)
{
    struct rig *rig = rig_new(POOL_BYTES);
    struct chunk c = rig_chunk(rig, P_2_1, 500000);
    set_slow(&rig->disks[2].bad, MSG_SHARD_COMMIT);
    int64_t began = sys_now();
    CHECK_OK(rig_write(rig, &c, 60 * SYS_SECOND, 0));
    CHECK(took(began) >= 1800 * SYS_MS);
    CHECK_EQ(rig_durable(&c), 3);
    rig_crash(rig, 1);
    c = rig_chunk(rig, P_2_1, 500000);
    began = sys_now();
    enum err e = rig_write(rig, &c, 60 * SYS_SECOND, 0);
    CHECK(e == ERR_NO_QUORUM || e == ERR_UNAVAILABLE);
    CHECK(took(began) < 3 * SYS_SECOND);
    rig_free(rig);
}

/* Five of six on three zones of two disks do not survive a zone: the sixth is waited for beyond the
 * grace; one that hangs costs the progress time-out. */
static void write_domain(void)
{
    struct rig *rig = rig_new(POOL_BYTES);
    for (unsigned i = 0; i < 40; i++) { /* the shortest grace */
        struct chunk w = rig_chunk(rig, P_4_2_ZONES, 1000);
        CHECK_OK(rig_write(rig, &w, SYS_SECOND, 0));
    }
    rig->disks[6].bad.slow_type = MSG_SHARD_COMMIT;
    rig->disks[6].bad.slow = 700 * SYS_MS;
    struct chunk c = rig_chunk(rig, P_4_2_ZONES, 1000);
    CHECK_OK(rig_write(rig, &c, 60 * SYS_SECOND, 0));
    CHECK_EQ(rig_durable(&c), 6);
    /* Six hosts of their own: five survive any of them, and the grace is enough. */
    c = rig_chunk(rig, P_4_2, 1000);
    int64_t began = sys_now();
    CHECK_OK(rig_write(rig, &c, 60 * SYS_SECOND, 0));
    CHECK(took(began) < 300 * SYS_MS);
    CHECK_EQ(rig_durable(&c), 5);
    rig->disks[6].bad = (struct misdeeds){.hang_type = MSG_SHARD_COMMIT};
    c = rig_chunk(rig, P_4_2_ZONES, 1000);
    began = sys_now();
    CHECK_OK(rig_write(rig, &c, 60 * SYS_SECOND, 0));
    CHECK(took(began) < 2500 * SYS_MS);
    CHECK_EQ(rig_durable(&c), 5);
    rig->disks[6].bad = (struct misdeeds){0};
    rig_free(rig);
}

/* A slot has moved: the refusal brings the new line, and the next write goes there. */
static void write_stale(void)
{
    struct rig *rig = rig_new(POOL_BYTES);
    struct chunk c = rig_chunk(rig, P_4_2, 100000);
    rig_push(rig, P_4_2, 2, 11);
    rig->disks[3].bad =
        (struct misdeeds){.error_type = MSG_SHARD_OPEN, .error = ERR_STALE_PLACEMENT, .news = true};
    CHECK_OK(rig_write(rig, &c, SYS_SECOND, 0));
    CHECK_EQ(rig_durable(&c), 5);
    CHECK(map_cache_behind(rig->io.map));
    c = rig_chunk(rig, P_4_2, 100000);
    CHECK_OK(rig_write(rig, &c, SYS_SECOND, 0));
    CHECK_EQ(rig_durable(&c), 6);
    CHECK_EQ(c.durable.disks[2], 11);
    CHECK_OK(rig_check(rig, &c, SYS_SECOND));
    rig_free(rig);
}

static void set_later(void *arg)
{
    sys_sleep_until(sys_now() + 100 * SYS_MS);
    sys_event_set(arg);
}

/* The client leaves while a write, then a read, waits for disks that hang. */
static void client_gone(void)
{
    struct rig *rig = rig_new(POOL_BYTES);
    struct chunk c = rig_chunk(rig, P_4_2, 2000000);
    CHECK_OK(rig_write(rig, &c, SYS_SECOND, 0));
    for (unsigned round = 0; round < 2; round++) {
        struct sys_event *gone;
        struct sys_thread *thread;
        CHECK_OK(sys_event_new(&gone));
        CHECK_OK(sys_thread_start(&thread, "gone", 0, set_later, gone));
        for (disk_id id = 1; id <= 6; id++)
            set_hang(&rig->disks[id].bad, round == 0 ? MSG_SHARD_APPEND : MSG_SHARD_READ);
        struct request_context request = rig_context(60 * SYS_SECOND);
        request.cancel = gone;
        int64_t began = sys_now();
        if (round == 0) {
            struct chunk d = rig_chunk(rig, P_4_2, 8 << 20);
            struct chunk_writer *w;
            CHECK_ERR(rig_fill(rig, &request, &d, 0, &w), ERR_CLIENT_GONE);
            chunk_writer_free(w);
        } else {
            CHECK_ERR(rig_read_range(rig, &request, &c, 0, c.length, 0), ERR_CLIENT_GONE);
        }
        CHECK(took(began) < 150 * SYS_MS);
        sys_thread_join(thread);
        sys_event_free(gone);
        for (disk_id id = 1; id <= 6; id++)
            rig->disks[id].bad = (struct misdeeds){0};
    }
    rig_free(rig);
}

/* What is not finished leaves nothing, on either side. */
static void write_given_up(void)
{
    struct rig *rig = rig_new(POOL_BYTES);
    struct chunk c = rig_chunk(rig, P_4_2, 9000000);
    struct request_context request = rig_context(SYS_SECOND);
    struct chunk_writer *w;
    CHECK_OK(rig_fill(rig, &request, &c, 0, &w));
    chunk_writer_free(w);
    sys_sleep_until(sys_now() + SYS_SECOND);
    for (disk_id id = 1; id <= 6; id++) {
        CHECK_EQ(rig->disks[id].count, 0);
        CHECK_EQ(rig->disks[id].aborts, 1);
    }
    rig_free(rig);
}

/* ---- reads ---- */

/* Reads a chunk with disks 1 .. count misbehaving; suspects: hints given to each of them. */
static void read_despite(const struct misdeeds *bad, unsigned count, uint32_t length,
                         int64_t within, unsigned suspects)
{
    struct rig *rig = rig_new(POOL_BYTES);
    struct chunk c = rig_chunk(rig, P_4_2, length);
    CHECK_OK(rig_write(rig, &c, 10 * SYS_SECOND, 0));
    for (unsigned i = 0; i < 16; i++)
        CHECK_OK(rig_check(rig, &c, 10 * SYS_SECOND));
    for (disk_id id = 1; id <= count; id++)
        rig->disks[id].bad = *bad;
    int64_t began = sys_now();
    CHECK_OK(rig_check(rig, &c, 60 * SYS_SECOND));
    int64_t n = took(began);
    suite_check(n <= within, __FILE__, __LINE__, "%u bytes took %" PRId64 " ms", length,
                n / SYS_MS);
    sys_sleep_until(sys_now() + 100 * SYS_MS);
    /* The first hint to a server has no connection to go by yet. */
    CHECK_OK(rig_check(rig, &c, 60 * SYS_SECOND));
    sys_sleep_until(sys_now() + 100 * SYS_MS);
    for (disk_id id = 1; id <= 6; id++) {
        if (id <= count)
            CHECK(rig->disks[id].suspects >= suspects);
        else
            CHECK_EQ(rig->disks[id].suspects, 0);
        rig->disks[id].bad = (struct misdeeds){0};
    }
    rig_free(rig);
}

static void read_slow(void)
{
    const struct misdeeds slow = {.slow = 1500 * SYS_MS};
    read_despite(&slow, 1, 100000, 100 * SYS_MS, 0);
    read_despite(&slow, 2, 100000, 100 * SYS_MS, 0);
    read_despite(&slow, 2, 5000000, 400 * SYS_MS, 0);
}
static void read_hang(void)
{
    const struct misdeeds hang = {.hang_type = MSG_SHARD_READ};
    read_despite(&hang, 2, 100000, 100 * SYS_MS, 0);
    read_despite(&hang, 2, 5000000, 400 * SYS_MS, 0);
}
static void read_crash(void)
{
    const struct misdeeds crash = {.crash_type = MSG_SHARD_READ};
    read_despite(&crash, 2, 100000, 200 * SYS_MS, 0);
    read_despite(&crash, 2, 5000000, 200 * SYS_MS, 0);
}
static void read_corrupt(void)
{
    const struct misdeeds corrupt = {.corrupt = true};
    read_despite(&corrupt, 2, 100000, 100 * SYS_MS, 1);
    read_despite(&corrupt, 2, 5000000, 200 * SYS_MS, 1);
}
static void read_busy(void)
{
    const struct misdeeds busy = {.error_type = MSG_SHARD_READ, .error = ERR_BUSY};
    read_despite(&busy, 2, 1000000, 100 * SYS_MS, 0);
}

/* A shard of another attempt is never put beside the others. */
static void read_misdated(void)
{
    struct rig *rig = rig_new(POOL_BYTES);
    struct chunk c = rig_chunk(rig, P_4_2, 400000);
    CHECK_OK(rig_write(rig, &c, SYS_SECOND, 0));
    /* They answer last, so the others' nonce is the chunk's. */
    for (disk_id id = 3; id <= 4; id++)
        rig->disks[id].bad = (struct misdeeds){.misdated = true, .slow = 10 * SYS_MS};
    CHECK_OK(rig_check(rig, &c, SYS_SECOND));
    /* Three and three: neither is enough, and nothing is made of both. */
    rig->disks[5].bad = rig->disks[3].bad;
    CHECK_ERR(rig_check(rig, &c, SYS_SECOND), ERR_SHARDS_LOST);
    rig_free(rig);
}

static void read_lost(void)
{
    struct rig *rig = rig_new(POOL_BYTES);
    struct chunk c = rig_chunk(rig, P_4_2, 400000);
    CHECK_OK(rig_write(rig, &c, SYS_SECOND, 0));
    /* Two gone, two refusing: lost for now; all denied: gone for good. */
    rig_hide(rig, 1, &c, 0, true);
    rig_hide(rig, 2, &c, 1, true);
    for (disk_id id = 3; id <= 4; id++)
        rig->disks[id].bad = (struct misdeeds){.error_type = MSG_SHARD_READ, .error = ERR_BUSY};
    CHECK_ERR(rig_check(rig, &c, SYS_SECOND), ERR_SHARDS_LOST);
    rig->disks[4].bad = (struct misdeeds){0};
    CHECK_ERR(rig_check(rig, &c, SYS_SECOND), ERR_SHARDS_LOST);
    rig->disks[3].bad = (struct misdeeds){0};
    for (unsigned s = 0; s < 6; s++)
        rig_hide(rig, s + 1, &c, s, true);
    CHECK_ERR(rig_check(rig, &c, SYS_SECOND), ERR_NOT_FOUND);
    rig_free(rig);
}

/* By reads that it leaves without an answer. */
static void open_breaker(struct rig *rig, disk_id disk, const struct chunk *c)
{
    enum { CALLS = 6 };
    struct request_context request = rig_context(60 * SYS_SECOND);
    const struct shard_id id = {.chunk = c->id};
    struct shard_read *reads[CALLS] = {0};
    struct sys_event *event;
    struct gather gather;
    struct call *call;
    struct buf *into;
    sys_sleep_until(sys_now() + 20 * SYS_SECOND); /* what went well is forgotten */
    set_hang(&rig->disks[disk].bad, MSG_SHARD_READ);
    CHECK_OK(sys_event_new(&event));
    CHECK_OK(gather_init(&gather, event, &request));
    CHECK_OK(buf_get(rig->io.buffers, SHARD_BLOCK, &into));
    for (unsigned i = 0; i < CALLS; i++)
        CHECK_OK(shard_read_begin(rig->io.shards, &gather, disk, c->pool, &id, 0,
                                  (struct shard_range){0, 1000}, into, 0, false, i, &reads[i]));
    while (gather_next(&gather, sys_now() + 5 * SYS_SECOND, &call) == OK)
        continue;
    for (unsigned i = 0; i < CALLS; i++)
        shard_read_free(reads[i]);
    gather_release(&gather);
    buf_unref(into);
    sys_event_free(event);
    rig->disks[disk].bad = (struct misdeeds){0};
}

/* A disk that is to be avoided is asked all the same when the others are too few: one that the map
 * calls down, one whose breaker is open. */
static void read_last_resort(void)
{
    struct rig *rig = rig_new(POOL_BYTES);
    struct chunk c = rig_chunk(rig, P_4_2, 3000000);
    CHECK_OK(rig_write(rig, &c, SYS_SECOND, 0));
    rig_set_up(rig, 3, false);
    CHECK_OK(rig_check(rig, &c, SYS_SECOND));
    CHECK_EQ(rig->disks[3].reads, 0);
    rig_hide(rig, 1, &c, 0, true);
    rig_hide(rig, 2, &c, 1, true);
    int64_t began = sys_now();
    CHECK_OK(rig_check(rig, &c, SYS_SECOND));
    CHECK(rig->disks[3].reads > 0 && took(began) < 100 * SYS_MS);
    rig_set_up(rig, 3, true);
    open_breaker(rig, 3, &c);
    CHECK(shard_disk_avoided(rig->io.shards, 3));
    began = sys_now();
    CHECK_OK(rig_check(rig, &c, SYS_SECOND));
    CHECK(took(began) < 100 * SYS_MS);
    CHECK(!shard_disk_avoided(rig->io.shards, 3)); /* these were its probes */
    /* One that is dead makes the error neither wrong nor late. */
    rig_set_up(rig, 3, false);
    rig_crash(rig, 3);
    began = sys_now();
    CHECK_ERR(rig_check(rig, &c, 60 * SYS_SECOND), ERR_SHARDS_LOST);
    CHECK(took(began) < 5 * SYS_SECOND);
    rig_free(rig);
}

/* All servers have restarted: the pooled connections are dead, the shards are not. */
static void read_restarted(void)
{
    struct rig *rig = rig_new(POOL_BYTES);
    struct chunk c = rig_chunk(rig, P_4_2, 3000000);
    CHECK_OK(rig_write(rig, &c, SYS_SECOND, 0));
    CHECK_OK(rig_check(rig, &c, SYS_SECOND));
    for (disk_id id = 1; id <= 6; id++) {
        rig_crash(rig, id);
        sim_restart(rig->disks[id].pid);
    }
    sys_sleep_until(sys_now() + 10 * SYS_MS);
    CHECK_OK(rig_check(rig, &c, 10 * SYS_SECOND));
    /* And connections that break under the calls. */
    struct request_context request = rig_context(10 * SYS_SECOND);
    struct chunk_reader *r;
    CHECK_OK(chunk_reader_open(&rig->io, &request, c.pool, &c.id, c.length, 0, c.length, &r));
    uint32_t done = 0;
    for (;;) {
        const void *data;
        size_t n;
        if (!CHECK_OK(chunk_reader_next(r, &data, &n)) || n == 0)
            break;
        if (done == 0)
            for (disk_id id = 1; id <= 6; id++)
                sim_reset_connections(1, FIRST_HOST + id);
        done += (uint32_t)n;
    }
    CHECK_EQ(done, c.length);
    chunk_reader_free(r);
    rig_free(rig);
}

/* A client that takes its bytes slower than any server waits gets all of them, and no disk is blamed
 * for it. */
static void read_slow_client(void)
{
    struct rig *rig = rig_new(POOL_BYTES);
    struct chunk c = rig_chunk(rig, P_4_2, 8 << 20);
    CHECK_OK(rig_write(rig, &c, 10 * SYS_SECOND, 0));
    struct request_context request = rig_context(3000 * SYS_SECOND);
    CHECK_OK(rig_read_range(rig, &request, &c, 0, c.length, 3 * SYS_SECOND));
    int64_t began = sys_now();
    CHECK_OK(rig_check(rig, &c, 10 * SYS_SECOND));
    CHECK(took(began) < 300 * SYS_MS);
    for (disk_id id = 1; id <= 6; id++)
        CHECK(!shard_disk_avoided(rig->io.shards, id));
    rig_free(rig);
}

/* What is to be deleted may lie on a disk that this process has not heard of yet. */
static void remove_unheard_of(void)
{
    struct rig *rig = rig_new(POOL_BYTES);
    const struct chunk c = rig_chunk(rig, P_4_2, 1000);
    const struct request_context request = rig_context(SYS_SECOND);
    struct cluster_disk news = *cluster_map_disk(rig->map, DISKS);
    news.id = DISKS + 1;
    news.uuid.bytes[0] = DISKS + 1;
    CHECK_ERR(shard_remove(rig->io.shards, &request, news.id, c.pool, &c.id, 1), ERR_NOT_FOUND);
    CHECK_OK(cluster_map_put_disk(rig->map, &news));
    rig->map->epoch++;
    CHECK_OK(shard_remove(rig->io.shards, &request, news.id, c.pool, &c.id, 1));
    CHECK_EQ(rig->disks[DISKS].deletes, 1);
    rig_free(rig);
}

static const struct test tests[] = {
    {"write: crash", write_crash},
    {"write: hang", write_hang},
    {"write: full", write_full},
    {"write: slow", write_slow},
    {"write: paced", write_paced},
    {"write: slow client", write_slow_client},
    {"write: no quorum", write_no_quorum},
    {"write: full group", write_full_group},
    {"write: one parity", write_m1},
    {"write: whole domain", write_domain},
    {"write: stale placement", write_stale},
    {"write: given up", write_given_up},
    {"client gone", client_gone},
    {"read: slow", read_slow},
    {"read: hang", read_hang},
    {"read: crash", read_crash},
    {"read: corrupt", read_corrupt},
    {"read: busy", read_busy},
    {"read: other attempts", read_misdated},
    {"read: lost", read_lost},
    {"read: last resort", read_last_resort},
    {"read: restarted", read_restarted},
    {"read: slow client", read_slow_client},
    {"remove: unheard of", remove_unheard_of},
    {0},
};
SUITE("chunk faults", tests)
