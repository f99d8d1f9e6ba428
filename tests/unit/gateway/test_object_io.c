/* An object's bytes cut into chunks and joined again, over the simulated cluster. */
#include "gateway/object_io.h"
#include "tests/unit/client/cluster_rig.h"

enum { POOL_BYTES = 32 << 20 };

/* Bytes of a pattern that end, fail or stall where the test says. */
struct bytes {
    uint64_t at, size;
    uint64_t fail_at; /* 0: never */
    enum s3_error error;
    int64_t pause;
    size_t largest;
};

static uint8_t byte_at(uint64_t i)
{
    return (uint8_t)(i * 31 + (i >> 16) * 7 + (i >> 24));
}

static enum s3_error read_bytes(void *arg, void *out, size_t max, size_t *n)
{
    struct bytes *b = arg;
    uint8_t *to = out;
    if (b->pause)
        sys_sleep_until(sys_now() + b->pause);
    if (b->fail_at && b->at + max > b->fail_at)
        return b->error;
    *n = b->size - b->at < max ? (size_t)(b->size - b->at) : max;
    for (size_t i = 0; i < *n; i++)
        to[i] = byte_at(b->at + i);
    b->at += *n;
    if (max > b->largest)
        b->largest = max;
    return S3_OK;
}

static enum s3_error write_from(struct rig *rig, struct bytes *b, uint32_t pool, uint64_t announced,
                                struct arena *arena, struct object_written *out)
{
    struct request_context request = rig_context(600 * SYS_SECOND);
    const struct object_source source = {.read = read_bytes, .arg = b};
    return object_write(&rig->io, &request, pool, announced, 77, &source, arena, out);
}

/* Reads a range and compares it with the pattern. */
static enum err read_back(struct rig *rig, const ObjectBody *body, uint64_t offset, uint64_t length)
{
    struct request_context request = rig_context(600 * SYS_SECOND);
    struct object_reader *r;
    enum err e = object_reader_open(&rig->io, &request, body, offset, length, &r);
    uint64_t done = 0;
    bool same = true;
    while (e == OK) {
        const void *data;
        size_t n;
        e = object_reader_next(r, &data, &n);
        if (e != OK || n == 0)
            break;
        for (size_t i = 0; i < n; i++)
            same &= ((const uint8_t *)data)[i] == byte_at(offset + done + i);
        done += n;
    }
    CHECK(same);
    if (e == OK)
        CHECK_EQ(done, length);
    object_reader_free(r);
    return e;
}

static unsigned shards_kept(struct rig *rig)
{
    unsigned n = 0;
    for (disk_id id = 1; id <= DISKS; id++)
        n += rig->disks[id].count;
    return n;
}

static ObjectBody body_of(const struct object_written *w)
{
    ObjectBody body = OBJECT_BODY__INIT;
    body.runs = w->runs;
    body.n_runs = w->run_count;
    return body;
}

static void one_chunk(void)
{
    struct rig *rig = rig_new(POOL_BYTES);
    static const uint64_t sizes[] = {1, 100, 16384, 65536, 300001, 2 << 20};
    struct arena arena;
    arena_init(&arena);
    for (unsigned i = 0; i < 6; i++) {
        struct bytes b = {.size = sizes[i]};
        struct object_written w;
        CHECK_EQ(write_from(rig, &b, P_4_2, sizes[i], &arena, &w), S3_OK);
        CHECK_EQ(w.run_count, 1);
        CHECK_EQ(w.durable_count, 1);
        CHECK_EQ(w.runs[0]->count, 1);
        CHECK_EQ(w.runs[0]->pool, P_4_2);
        CHECK_EQ(w.runs[0]->last_length, sizes[i]);
        CHECK_EQ(w.durable[0]->n_disks, 6);
        CHECK(w.durable[0]->nonce != 0);
        CHECK(b.largest <= 16384);
        ObjectBody body = body_of(&w);
        CHECK_OK(read_back(rig, &body, 0, sizes[i]));
        for (unsigned k = 0; k < 10; k++) {
            uint64_t offset = rig_random(rig, sizes[i]);
            CHECK_OK(read_back(rig, &body, offset, rig_random(rig, sizes[i] - offset + 1)));
        }
        object_discard(&rig->io, &w);
        CHECK_EQ(shards_kept(rig), 0);
        CHECK_ERR(read_back(rig, &body, 0, sizes[i]), ERR_NOT_FOUND);
    }
    arena_release(&arena);
    rig_free(rig);
}

/* One byte more than a chunk holds. */
static void two_chunks(void)
{
    struct rig *rig = rig_new(POOL_BYTES);
    struct arena arena;
    arena_init(&arena);
    uint64_t size = (uint64_t)CHUNK_BYTES_MAX + 1;
    struct bytes b = {.size = size};
    struct object_written w;
    CHECK_EQ(write_from(rig, &b, P_2_1, size, &arena, &w), S3_OK);
    CHECK_EQ(w.run_count, 1);
    CHECK_EQ(w.runs[0]->count, 2);
    CHECK_EQ(w.runs[0]->chunk_size, CHUNK_BYTES_MAX);
    CHECK_EQ(w.runs[0]->last_length, 1);
    CHECK_EQ(w.durable_count, 2);
    CHECK_EQ(w.durable[0]->sequence, 0);
    CHECK_EQ(w.durable[1]->sequence, 1);
    ObjectBody body = body_of(&w);
    CHECK_OK(read_back(rig, &body, CHUNK_BYTES_MAX - 100000, 100001));
    CHECK_OK(read_back(rig, &body, CHUNK_BYTES_MAX, 1));
    CHECK_OK(read_back(rig, &body, 12345678, 1));
    object_discard(&rig->io, &w);
    CHECK_EQ(shards_kept(rig), 0);
    arena_release(&arena);
    rig_free(rig);
}

/* A row of several runs, as CompleteMultipartUpload makes it. */
static void many_runs(void)
{
    enum { CHUNK = 50000, RUNS = 3 };
    struct rig *rig = rig_new(POOL_BYTES);
    ChunkRun runs[RUNS], *list[RUNS];
    struct write_id ids[RUNS];
    static const uint32_t counts[RUNS] = {3, 1, 2}, lasts[RUNS] = {7, 20000, CHUNK};
    uint64_t at = 0;
    for (unsigned r = 0; r < RUNS; r++) {
        chunk_run__init(&runs[r]);
        list[r] = &runs[r];
        memset(&ids[r], (int)r + 1, sizeof ids[r]);
        runs[r].pool = r == 1 ? P_4_2 : P_2_1;
        runs[r].write_id = (ProtobufCBinaryData){WRITE_ID_BYTES, ids[r].bytes};
        runs[r].first_sequence = r * 5;
        runs[r].count = counts[r];
        runs[r].chunk_size = CHUNK;
        runs[r].last_length = lasts[r];
        for (uint32_t c = 0; c < counts[r]; c++) {
            struct request_context request = rig_context(SYS_SECOND);
            const struct chunk_id id = {.write = ids[r], .sequence = r * 5 + c};
            uint32_t length = c + 1 < counts[r] ? CHUNK : lasts[r], done = 0;
            struct chunk_durable durable;
            struct chunk_writer *w;
            CHECK_OK(chunk_writer_open(&rig->io, &request, runs[r].pool, &id, length, 77, &w));
            while (done < length) {
                void *to;
                size_t n;
                CHECK_OK(chunk_writer_space(w, &to, &n));
                for (size_t i = 0; i < n; i++)
                    ((uint8_t *)to)[i] = byte_at(at + i);
                at += n;
                done += (uint32_t)n;
                CHECK_OK(chunk_writer_advance(w, n));
            }
            CHECK_OK(chunk_writer_finish(w, &durable));
            chunk_writer_free(w);
        }
    }
    ObjectBody body = OBJECT_BODY__INIT;
    body.runs = list;
    body.n_runs = RUNS;
    CHECK_OK(read_back(rig, &body, 0, at));
    for (unsigned i = 0; i < 60; i++) {
        uint64_t offset = rig_random(rig, at);
        CHECK_OK(read_back(rig, &body, offset, rig_random(rig, at - offset + 1)));
    }
    CHECK_OK(read_back(rig, &body, at, 0));
    /* Rows that promise what they do not have. */
    CHECK_ERR(read_back(rig, &body, at - 5, 6), ERR_FORMAT);
    runs[1].chunk_size = 0;
    CHECK_ERR(read_back(rig, &body, 2 * CHUNK + 8, 1), ERR_FORMAT);
    runs[1].chunk_size = CHUNK;
    runs[1].write_id.len = 3;
    CHECK_ERR(read_back(rig, &body, 2 * CHUNK + 8, 1), ERR_FORMAT);
    runs[1].write_id.len = WRITE_ID_BYTES;
    runs[2].last_length = UINT32_MAX;
    CHECK(read_back(rig, &body, at - 5, 50) != OK);
    rig_free(rig);
}

static void inline_bytes(void)
{
    struct rig *rig = rig_new(POOL_BYTES);
    uint8_t data[100];
    for (unsigned i = 0; i < 100; i++)
        data[i] = byte_at(i);
    ObjectBody body = OBJECT_BODY__INIT;
    body.inline_data = (ProtobufCBinaryData){100, data};
    CHECK_OK(read_back(rig, &body, 0, 100));
    CHECK_OK(read_back(rig, &body, 30, 70));
    CHECK_OK(read_back(rig, &body, 100, 0));
    CHECK_ERR(read_back(rig, &body, 30, 71), ERR_FORMAT);
    body = (ObjectBody)OBJECT_BODY__INIT;
    CHECK_OK(read_back(rig, &body, 0, 0));
    CHECK_ERR(read_back(rig, &body, 0, 1), ERR_FORMAT);
    rig_free(rig);
}

/* The source ends early, late, or fails: nothing is left. */
static void bad_sources(void)
{
    struct rig *rig = rig_new(POOL_BYTES);
    struct arena arena;
    struct object_written w;
    arena_init(&arena);
    struct bytes b = {.size = 99999};
    CHECK_EQ(write_from(rig, &b, P_4_2, 100000, &arena, &w), S3_INCOMPLETE_BODY);
    b = (struct bytes){.size = 100001};
    CHECK_EQ(write_from(rig, &b, P_4_2, 100000, &arena, &w), S3_INCOMPLETE_BODY);
    b = (struct bytes){.size = 100000, .fail_at = 50000, .error = S3_CLIENT_GONE};
    CHECK_EQ(write_from(rig, &b, P_4_2, 100000, &arena, &w), S3_CLIENT_GONE);
    /* The digest turns out to be wrong when all bytes are there. */
    b = (struct bytes){.size = 100000, .fail_at = 100000, .error = S3_BAD_DIGEST};
    CHECK_EQ(write_from(rig, &b, P_4_2, 100000, &arena, &w), S3_BAD_DIGEST);
    CHECK_EQ(shards_kept(rig), 0);
    arena_release(&arena);
    rig_free(rig);
}

struct stand_in {
    struct rig *rig;
    int64_t after;
};

static void give_stand_in(void *arg)
{
    struct stand_in *s = arg;
    sys_sleep_until(sys_now() + s->after);
    s->rig->map->epoch++;
    cluster_map_disk_mutable(s->rig->map, 2)->up = false;
    rig_push(s->rig, P_2_1, 1, 9);
}

/* One parity shard and a disk down: the write waits until the slot has a stand-in holder. */
static void waits_for_stand_in(void)
{
    struct rig *rig = rig_new(POOL_BYTES);
    struct arena arena;
    struct object_written w;
    arena_init(&arena);
    rig_set_up(rig, 2, false);
    struct stand_in s = {rig, 4 * SYS_SECOND};
    struct sys_thread *thread;
    CHECK_OK(sys_thread_start(&thread, "stand-in", 0, give_stand_in, &s));
    struct bytes b = {.size = 100000};
    int64_t began = sys_now();
    CHECK_EQ(write_from(rig, &b, P_2_1, 100000, &arena, &w), S3_OK);
    CHECK(sys_now() - began < 5 * SYS_SECOND);
    if (CHECK_EQ(w.durable_count, 1))
        CHECK_EQ(w.durable[0]->disks[1], 9);
    sys_thread_join(thread);
    /* Without one it says so in the end. */
    rig_set_up(rig, 9, false);
    b = (struct bytes){.size = 100000};
    began = sys_now();
    CHECK_EQ(write_from(rig, &b, P_2_1, 100000, &arena, &w), S3_SERVICE_UNAVAILABLE);
    CHECK(sys_now() - began < 12 * SYS_SECOND);
    arena_release(&arena);
    rig_free(rig);
}

/* A client as slow as is allowed, 1 KiB/s: no disk gives the write up. */
static void slowest_client(void)
{
    struct rig *rig = rig_new(POOL_BYTES);
    struct arena arena;
    struct object_written w;
    arena_init(&arena);
    struct bytes b = {.size = 400000, .pause = 16 * SYS_SECOND};
    CHECK_EQ(write_from(rig, &b, P_4_2, 400000, &arena, &w), S3_OK);
    for (unsigned i = 0; i < 6 && CHECK_EQ(w.durable_count, 1); i++)
        CHECK_EQ(w.durable[0]->disks[i], i + 1);
    ObjectBody body = body_of(&w);
    CHECK_OK(read_back(rig, &body, 0, 400000));
    arena_release(&arena);
    rig_free(rig);
}

static const struct test tests[] = {
    {"one chunk", one_chunk},           {"two chunks", two_chunks},
    {"many runs", many_runs},           {"inline", inline_bytes},
    {"bad sources", bad_sources},       {"waits for a stand-in", waits_for_stand_in},
    {"slowest client", slowest_client}, {0},
};
SUITE("object io", tests)
