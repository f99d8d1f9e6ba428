/* PUT through the gateway's object layer with one thing failing: the first, the second, .. until a run
 * is clean. Each bound of the buffer pool, each use of a connection, each request to each disk.
 * Whatever fails: the caller gets S3_OK and the bytes can be read, or an error and no shard stays;
 * no buffer is kept; the next PUT goes well. */
#include "gateway/object_io.h"
#include "tests/unit/client/cluster_rig.h"

enum { POOL_BYTES = 32 << 20, SIZE = 700000 };

struct bytes {
    uint64_t at;
};

static uint8_t byte_at(uint64_t i)
{
    return (uint8_t)(i * 31 + (i >> 12) * 7);
}

static enum s3_error read_bytes(void *arg, void *out, size_t max, size_t *n)
{
    struct bytes *b = arg;
    *n = SIZE - b->at < max ? (size_t)(SIZE - b->at) : max;
    for (size_t i = 0; i < *n; i++)
        ((uint8_t *)out)[i] = byte_at(b->at + i);
    b->at += *n;
    return S3_OK;
}

static bool reads_back(struct rig *rig, const struct object_written *w)
{
    struct request_context request = rig_context(60 * SYS_SECOND);
    ObjectBody body = OBJECT_BODY__INIT;
    struct object_reader *r;
    uint64_t done = 0;
    bool same = true;
    body.runs = w->runs;
    body.n_runs = w->run_count;
    enum err e = object_reader_open(&rig->io, &request, &body, 0, SIZE, &r);
    while (e == OK) {
        const void *data;
        size_t n;
        e = object_reader_next(r, &data, &n);
        if (e != OK || n == 0)
            break;
        for (size_t i = 0; i < n; i++)
            same = same && ((const uint8_t *)data)[i] == byte_at(done + i);
        done += n;
    }
    object_reader_free(r);
    return e == OK && same && done == SIZE;
}

static unsigned shards_kept(struct rig *rig)
{
    unsigned n = 0;
    for (disk_id id = 1; id <= DISKS; id++)
        n += rig->disks[id].count;
    return n;
}

/* Waits until no shard is kept. A commit that the network held up may come after its shard's delete:
 * such a one stays, as after any death of a gateway; it is counted, and taken away by hand. */
static unsigned strays;

static bool all_gone(struct rig *rig)
{
    for (unsigned i = 0; i < 20 && shards_kept(rig) > 0; i++)
        sys_sleep_until(sys_now() + 50 * SYS_MS);
    unsigned left = shards_kept(rig);
    strays += left;
    for (disk_id id = 1; id <= DISKS; id++)
        rig->disks[id].count = 0;
    return left <= 1;
}

/* From all holders, as the collector does: one that was late may have it too, unnamed. */
static void discard(struct rig *rig, struct object_written *w)
{
    for (size_t i = 0; i < w->durable_count; i++)
        for (size_t k = 0; k < w->durable[i]->n_disks; k++)
            w->durable[i]->disks[k] = k + 1;
    object_discard(&rig->io, w);
}

static enum s3_error put(struct rig *rig, struct arena *arena, struct object_written *w)
{
    struct request_context request = rig_context(60 * SYS_SECOND);
    struct bytes b = {0};
    const struct object_source source = {.read = read_bytes, .arg = &b};
    return object_write(&rig->io, &request, P_4_2, SIZE, 77, &source, arena, w);
}

/* One PUT with the fault, judged once the fault is over; then a clean one. Returns what the first
 * one's caller was told. */
static enum s3_error put_and_judge(struct rig *rig, void (*over)(struct rig *rig), const char *what,
                                   unsigned nth)
{
    struct arena arena;
    struct object_written w;
    arena_init(&arena);
    enum s3_error e = put(rig, &arena, &w);
    over(rig);
    if (e == S3_OK) {
        suite_check(reads_back(rig, &w), __FILE__, __LINE__, "%s %u: reads back", what, nth);
        discard(rig, &w);
    }
    suite_check(all_gone(rig), __FILE__, __LINE__, "%s %u: shards stay after %s", what, nth,
                e == S3_OK ? "a delete" : "an error");
    CHECK_EQ(buf_pool_stats(rig->io.buffers).used_bytes, 0);
    enum s3_error again = put(rig, &arena, &w);
    suite_check(again == S3_OK && reads_back(rig, &w), __FILE__, __LINE__,
                "%s %u: the next one goes well", what, nth);
    if (again == S3_OK)
        discard(rig, &w);
    CHECK(all_gone(rig));
    arena_release(&arena);
    return e;
}

static void more_buffers(struct rig *rig)
{
    buf_pool_free(rig->io.buffers);
    rig->io.buffers = buf_pool_new(POOL_BYTES);
}

static void every_buffer(void)
{
    strays = 0;
    struct rig *rig = rig_new(POOL_BYTES);
    unsigned failed = 0;
    enum s3_error e = S3_INTERNAL_ERROR;
    for (unsigned n = 1; e != S3_OK && n < 200; n++) {
        buf_pool_free(rig->io.buffers);
        rig->io.buffers = buf_pool_new((size_t)n * BUF_LARGE);
        e = put_and_judge(rig, more_buffers, "pool of large buffers:", n);
        CHECK(e == S3_OK || e == S3_SLOW_DOWN);
        failed += e != S3_OK;
    }
    CHECK_EQ(e, S3_OK);
    suite_check(failed >= 1, __FILE__, __LINE__, "%u pools were too small", failed);
    rig_free(rig);
    suite_check(strays <= 4, __FILE__, __LINE__, "%u strays", strays);
}

static void network_is_well(struct rig *rig)
{
    (void)rig;
    sim_network_fail(sim_self(), 0);
}

/* warm: with connections from an earlier PUT; else each run makes its own. */
static void every_connection(bool warm)
{
    strays = 0;
    unsigned nth = 0, refused = 0;
    bool clean = false;
    struct rig *rig = warm ? rig_new(POOL_BYTES) : NULL;
    if (warm)
        (void)put_and_judge(rig, network_is_well, "warming", 0);
    for (nth = 1; !clean && nth < 3000; nth++) {
        struct arena arena;
        struct object_written w;
        if (!warm)
            rig = rig_new(POOL_BYTES);
        arena_init(&arena);
        sim_network_fail(sim_self(), nth);
        enum s3_error e = put(rig, &arena, &w);
        clean = sim_network_fail_left(sim_self()) > 0;
        network_is_well(rig);
        refused += e != S3_OK;
        /* Whoever refused a connection is left alone for up to 20 ms: that would be a second fault. */
        sys_sleep_until(sys_now() + 50 * SYS_MS);
        if (e == S3_OK) {
            suite_check(reads_back(rig, &w), __FILE__, __LINE__, "use %u reads back", nth);
            discard(rig, &w);
        }
        suite_check(all_gone(rig), __FILE__, __LINE__, "use %u: shards stay", nth);
        CHECK_EQ(buf_pool_stats(rig->io.buffers).used_bytes, 0);
        arena_release(&arena);
        if (!warm)
            rig_free(rig);
    }
    suite_check(clean && nth > 10, __FILE__, __LINE__, "clean %d at %u", clean, nth);
    CHECK_EQ(refused, 0); /* one connection less is no loss of a quorum of six */
    if (warm)
        rig_free(rig);
    suite_check(strays <= 4, __FILE__, __LINE__, "%u strays", strays);
}

static void every_new_connection(void)
{
    every_connection(false);
}

static void every_kept_connection(void)
{
    every_connection(true);
}

static void disks_are_well(struct rig *rig)
{
    for (disk_id id = 1; id <= DISKS; id++)
        rig->disks[id].bad = (struct misdeeds){0};
}

/* One disk fails each kind of request: nobody notices. Two do: below k + 1, an error. */
static void every_request(void)
{
    strays = 0;
    static const uint16_t types[] = {MSG_SHARD_OPEN, MSG_SHARD_APPEND, MSG_SHARD_COMMIT};
    static const enum err errors[] = {ERR_IO, ERR_DISK_FULL};
    struct rig *rig = rig_new(POOL_BYTES);
    for (unsigned t = 0; t < 3; t++)
        for (unsigned k = 0; k < 2; k++)
            for (disk_id id = 1; id <= 6; id += 2)
                for (unsigned two = 0; two < 2; two++) {
                    const struct misdeeds bad = {.error_type = types[t], .error = errors[k]};
                    rig->disks[id].bad = bad;
                    if (two)
                        rig->disks[id % 6 + 1].bad = bad;
                    enum s3_error e = put_and_judge(rig, disks_are_well, "request to disk", id);
                    CHECK_EQ(e == S3_OK, !two);
                    /* Whom the client has just seen fail it may leave alone for a while. */
                    sys_sleep_until(sys_now() + 60 * SYS_SECOND);
                }
    rig_free(rig);
    suite_check(strays <= 4, __FILE__, __LINE__, "%u strays", strays);
}

static const struct test tests[] = {
    {"every buffer", every_buffer},
    {"every new connection", every_new_connection},
    {"every kept connection", every_kept_connection},
    {"every request", every_request},
    {0},
};
SUITE("put sweep", tests)
