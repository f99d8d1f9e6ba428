/* The shard store when nothing fails: every size there and back, over restarts and rebuilds. */
#include "tests/unit/chunkserver/store_kit.h"
#include "chunkserver/store_internal.h"

static const uint32_t sizes[] = {0,      1,      63,     64,      65,      4096,   20480,
                                 65019,  65020,  65021,  65535,   65536,   65537,  131072,
                                 261887, 261888, 524031, 524032,  261889,  262144, 327680,
                                 524033, 524288, 600001, 1048576, 1572608, 3000000};
enum { SIZES = sizeof(sizes) / sizeof(*sizes) };

static void check_all(struct shard_store *s)
{
    for (uint32_t i = 0; i < SIZES; i++) {
        uint32_t n = sizes[i];
        if (n == 0) {
            CHECK_OK(kit_verify(s, i));
            continue;
        }
        CHECK_OK(kit_read(s, i, n, 0, n));
        CHECK_OK(kit_read(s, i, n, n - 1, 1));
        CHECK_OK(kit_read(s, i, n, n / 2, n - n / 2));
        if (n > 70000) {
            CHECK_OK(kit_read(s, i, n, 65536, n - 65536 < 65536 ? n - 65536 : 65536));
            CHECK_OK(kit_read(s, i, n, 100, 64));
            CHECK_OK(kit_read(s, i, n, 65530, 12));
        }
        CHECK_OK(kit_verify(s, i));
    }
    CHECK_EQ(kit_count(s), SIZES);
}

static void round_trips(void)
{
    CHECK_OK(kit_format(suite_dir()));
    struct shard_store *s = kit_open(suite_dir());
    if (!s)
        return;
    for (uint32_t i = 0; i < SIZES; i++)
        CHECK_OK(kit_write(s, i, sizes[i]));
    check_all(s);
    CHECK_OK(shard_store_flush(s, KIT_DEADLINE));
    check_all(s);
    struct shard_store_stats st;
    shard_store_stats(s, &st);
    CHECK_EQ(st.shards, SIZES);
    CHECK(!st.unclean);
    CHECK_EQ(st.writers, 0);
    CHECK_EQ(st.staging, 0);
    uint64_t bytes = st.shard_bytes, sequence = st.synced_sequence;
    shard_store_close(s);
    s = kit_open(suite_dir());
    check_all(s);
    shard_store_stats(s, &st);
    CHECK(!st.unclean && !st.index_rebuilds);
    CHECK_EQ(st.shards, SIZES);
    CHECK_EQ(st.shard_bytes, bytes);
    CHECK_EQ(st.synced_sequence, sequence);
    CHECK_EQ(st.incarnation, 2);
    shard_store_close(s);
    kit_lose_index(suite_dir());
    s = kit_open(suite_dir());
    check_all(s);
    shard_store_stats(s, &st);
    CHECK(st.index_rebuilds);
    CHECK_EQ(st.shards, SIZES);
    CHECK_EQ(st.shard_bytes, bytes);
    CHECK_EQ(st.synced_sequence, sequence);
    shard_store_close(s);
}

static void deletes(void)
{
    CHECK_OK(kit_format(suite_dir()));
    struct shard_store *s = kit_open(suite_dir());
    for (uint32_t i = 0; i < 20; i++)
        CHECK_OK(kit_write(s, i, i % 2 ? 300000 : 9000));
    CHECK_OK(kit_delete(s, 0)); /* still in the tail */
    CHECK_OK(shard_store_flush(s, KIT_DEADLINE));
    struct shard_store_stats after;
    const uint64_t before = kit_data_bytes();
    for (uint32_t i = 1; i < 10; i++)
        CHECK_OK(kit_delete(s, i));
    CHECK_OK(kit_delete(s, 5));
    CHECK_OK(kit_delete(s, 1000));
    for (uint32_t i = 0; i < 20; i++)
        CHECK_ERR(kit_read(s, i, i % 2 ? 300000 : 9000, 0, 9000), i < 10 ? ERR_NOT_FOUND : OK);
    CHECK_OK(shard_store_flush(s, KIT_DEADLINE));
    shard_store_stats(s, &after);
    CHECK_EQ(after.shards, 10);
    CHECK_EQ(kit_count(s), 10);
    /* Given back to the file system, all but the ends of blocks that others share. */
    CHECK(kit_data_bytes() + 5 * (300000 - 2 * SYS_BLOCK) <= before);
    shard_store_close(s);
    for (int round = 0; round < 2; round++) {
        s = kit_open(suite_dir());
        for (uint32_t i = 0; i < 20; i++)
            CHECK_ERR(kit_read(s, i, i % 2 ? 300000 : 9000, 0, 9000),
                      i < 10 && (round == 0 || i % 2) ? ERR_NOT_FOUND
                      : i < 10                        ? kit_read(s, i, 9000, 0, 9000)
                                                      : OK);
        shard_store_close(s);
        kit_lose_index(suite_dir());
    }
}

static void deletes_of_a_chunk(void)
{
    static const uint8_t indexes[] = {0, 2, 5};
    uint8_t data[5000] = {0};
    struct stored_shard shard = kit_shard(7, sizeof data), found;
    CHECK_OK(kit_format(suite_dir()));
    struct shard_store *s = kit_open(suite_dir());
    CHECK_OK(kit_write(s, 20, 9000));
    for (size_t i = 0; i < sizeof indexes; i++) {
        shard.id.index = indexes[i];
        CHECK_OK(shard_store_write(s, &shard, data, KIT_DEADLINE));
    }
    for (unsigned width = 5; width <= 6; width++) {
        CHECK_OK(shard_store_delete_chunk(s, KIT_POOL, &shard.id.chunk, width, KIT_DEADLINE));
        for (size_t i = 0; i < sizeof indexes; i++) {
            shard.id.index = indexes[i];
            CHECK_ERR(shard_store_stat(s, KIT_POOL, &shard.id, &found),
                      indexes[i] < width ? ERR_NOT_FOUND : OK);
        }
    }
    CHECK_OK(shard_store_delete_chunk(s, KIT_POOL, &shard.id.chunk, 6, KIT_DEADLINE));
    CHECK_OK(kit_read(s, 20, 9000, 0, 9000));
    CHECK_EQ(kit_count(s), 1);
    shard_store_close(s);
}

static void again_under_the_same_id(void)
{
    CHECK_OK(kit_format(suite_dir()));
    struct shard_store *s = kit_open(suite_dir());
    CHECK_OK(kit_write(s, 1, 100000));
    CHECK_OK(shard_store_flush(s, KIT_DEADLINE));
    CHECK_OK(kit_write(s, 1, 100000));
    CHECK_OK(kit_write(s, 1, 100000));
    CHECK_OK(kit_read(s, 1, 100000, 0, 100000));
    CHECK_OK(shard_store_flush(s, KIT_DEADLINE));
    CHECK_OK(kit_read(s, 1, 100000, 0, 100000));
    CHECK_OK(kit_delete(s, 1));
    CHECK_OK(kit_write(s, 1, 100000));
    struct shard_store_stats st;
    shard_store_stats(s, &st);
    CHECK_EQ(st.shards, 1);
    shard_store_close(s);
    s = kit_open(suite_dir());
    shard_store_stats(s, &st);
    CHECK_EQ(st.shards, 1);
    CHECK_EQ(kit_count(s), 1);
    CHECK_OK(kit_read(s, 1, 100000, 0, 100000));
    shard_store_close(s);
}

static void lists_a_group(void)
{
    CHECK_OK(kit_format(suite_dir()));
    struct shard_store *s = kit_open(suite_dir());
    for (uint32_t i = 0; i < 200; i++) {
        CHECK_OK(kit_write(s, i, 100));
        if (i == 100)
            CHECK_OK(shard_store_flush(s, KIT_DEADLINE));
    }
    for (uint32_t i = 50; i < 150; i += 10)
        CHECK_OK(kit_delete(s, i));
    uint32_t found = 0;
    for (uint64_t pg = 0; pg < 16; pg++) {
        struct stored_shard page[64];
        size_t n = 0;
        uint64_t from = pg << 60, to = from | (UINT64_MAX >> 4);
        CHECK_OK(shard_store_list(s, KIT_POOL, from, to, NULL, page, 64, &n));
        for (size_t i = 0; i < n; i++) {
            uint8_t chunk[CHUNK_ID_BYTES];
            chunk_id_encode(&page[i].id.chunk, chunk);
            uint64_t h = xxh64(chunk, sizeof(chunk), 0);
            CHECK(h >= from && h <= to);
            uint32_t number;
            memcpy(&number, chunk, 4);
            CHECK_EQ(page[i].began, 1000 + number);
            CHECK_EQ(page[i].length, 100);
        }
        found += (uint32_t)n;
    }
    CHECK_EQ(found, 190);
    CHECK_EQ(kit_count(s), 190);
    struct stored_shard one;
    size_t n = 0;
    CHECK_OK(shard_store_list(s, KIT_POOL + 1, 0, UINT64_MAX, NULL, &one, 1, &n));
    CHECK_EQ(n, 0);
    CHECK_OK(shard_store_list(s, KIT_POOL - 1, 0, UINT64_MAX, NULL, &one, 1, &n));
    CHECK_EQ(n, 0);
    struct stored_shard want = kit_shard(3, 100);
    CHECK_OK(shard_store_stat(s, KIT_POOL, &want.id, &one));
    CHECK_EQ(one.nonce, want.nonce);
    CHECK_EQ(one.chunk_length, want.chunk_length);
    shard_store_close(s);
}

static void identity(void)
{
    struct shard_store *s = NULL;
    struct shard_store_identity id;
    struct shard_store_config c = kit_config("/test/none");
    CHECK_ERR(shard_store_open(&s, &c), ERR_NOT_FOUND);
    c.directory = suite_dir();
    CHECK_ERR(shard_store_open(&s, &c), ERR_NOT_FOUND);
    CHECK_ERR(shard_store_peek(suite_dir(), &id), ERR_NOT_FOUND);
    CHECK_OK(kit_format(suite_dir()));
    CHECK_ERR(kit_format(suite_dir()), ERR_EXISTS);
    c.cluster = kit_uuid(9);
    CHECK_ERR(shard_store_open(&s, &c), ERR_FOREIGN_DISK);
    c.cluster = kit_uuid(1);
    CHECK_OK(shard_store_open(&s, &c));
    shard_store_identity(s, &id);
    CHECK_EQ(id.id, 0);
    CHECK_EQ(id.incarnation, 1);
    CHECK_OK(shard_store_set_identity(s, 12));
    CHECK_OK(shard_store_set_identity(s, 12));
    CHECK_ERR(shard_store_set_identity(s, 13), ERR_EXISTS);
    shard_store_close(s);
    CHECK_OK(shard_store_open(&s, &c));
    shard_store_close(s);
    CHECK_OK(shard_store_peek(suite_dir(), &id));
    CHECK_EQ(id.id, 12);
    CHECK_EQ(id.incarnation, 2);
    CHECK(id.disk.bytes[0] == 2 && id.cluster.bytes[0] == 1);
}

/* ---- the writer's contract ---- */

struct answer {
    struct sys_mutex lock;
    struct sys_cond cond;
    enum err result;
    int times;
};

static void answer_init(struct answer *a)
{
    *a = (struct answer){0};
    sys_mutex_init(&a->lock);
    sys_cond_init(&a->cond);
}

static void answered(void *arg, enum err result)
{
    struct answer *a = arg;
    sys_mutex_lock(&a->lock);
    a->result = result;
    a->times++;
    sys_cond_signal(&a->cond);
    sys_mutex_unlock(&a->lock);
}

static enum err answer_wait(struct answer *a, int times)
{
    int64_t deadline = KIT_DEADLINE;
    enum err waited = OK;
    sys_mutex_lock(&a->lock);
    while (a->times < times && waited != ERR_TIMEOUT)
        waited = sys_cond_wait(&a->cond, &a->lock, deadline);
    CHECK_EQ(a->times, times);
    enum err e = a->result;
    sys_mutex_unlock(&a->lock);
    return e;
}

static void answer_release(struct answer *a)
{
    sys_mutex_release(&a->lock);
    sys_cond_release(&a->cond);
}

static enum err commit(struct shard_writer *w, uint32_t crc)
{
    struct answer a;
    answer_init(&a);
    shard_writer_commit(w, crc, answered, &a);
    enum err e = answer_wait(&a, 1);
    answer_release(&a);
    return e;
}

/* Sends a shard in pieces, as the network does; the checks before or after the bytes. */
static enum err stream(struct shard_store *s, uint32_t number, uint32_t length, uint32_t piece,
                       bool before, uint32_t spoil)
{
    struct stored_shard shard = kit_shard(number, length);
    struct shard_writer *w = NULL;
    uint8_t *data = sys_alloc(length + 8);
    uint32_t table = 0, running = 0;
    kit_fill(number, data, length);
    enum err e = shard_writer_open(s, &shard, &w);
    for (uint32_t at = 0; !e && at < length;) {
        uint32_t block = at / SHARD_BLOCK, end = at + piece;
        if (end > (block + 1) * SHARD_BLOCK)
            end = (block + 1) * SHARD_BLOCK;
        if (end > length)
            end = length;
        if (at % SHARD_BLOCK == 0)
            running = shard_crc_begin(&shard.id, block);
        running = crc32c(running, data + at, end - at);
        uint32_t wrong = spoil > at && spoil <= end;
        if (before)
            e = shard_writer_check(w, end, running ^ wrong);
        while (!e && at < end) {
            void *to = NULL;
            size_t n = 0;
            e = shard_writer_space(w, KIT_DEADLINE, &to, &n);
            if (e)
                break;
            n = n > end - at ? end - at : n;
            n = n > 1000 ? n / 2 : n; /* short receives */
            memcpy(to, data + at, n);
            e = shard_writer_advance(w, n);
            at += (uint32_t)n;
        }
        if (!e && !before)
            e = shard_writer_check(w, end, running ^ wrong);
        if (at % SHARD_BLOCK == 0 || at == length)
            table = shard_crc_of_crcs(table, &running, 1);
    }
    sys_free(data);
    if (e && w)
        shard_writer_abort(w);
    return e ? e : commit(w, table);
}

static void streams(void)
{
    CHECK_OK(kit_format(suite_dir()));
    struct shard_store *s = kit_open(suite_dir());
    uint32_t number = 0;
    for (int before = 0; before < 2; before++) {
        for (uint32_t piece = 4096; piece <= 65536; piece *= 4) {
            uint32_t length = 400000 + piece;
            CHECK_OK(stream(s, ++number, length, piece, before, 0));
            CHECK_OK(kit_read(s, number, length, 0, length));
            CHECK_OK(stream(s, ++number, 30000, piece, before, 0));
            CHECK_OK(kit_read(s, number, 30000, 0, 30000));
            CHECK_ERR(stream(s, ++number, length, piece, before, 200000), ERR_CORRUPT);
            CHECK_ERR(kit_read(s, number, length, 0, length), ERR_NOT_FOUND);
            CHECK_ERR(stream(s, ++number, 30000, piece, before, 29999), ERR_CORRUPT);
            CHECK_ERR(kit_read(s, number, 30000, 0, 1), ERR_NOT_FOUND);
        }
    }
    shard_store_close(s);
}

static void refusals(void)
{
    CHECK_OK(kit_format(suite_dir()));
    struct shard_store *s = NULL;
    struct shard_store_config c = kit_config(suite_dir());
    c.writers_max = 3;
    c.staging_max = 2;
    CHECK_OK(shard_store_open(&s, &c));
    struct shard_writer *w[4] = {0};
    struct stored_shard shard = kit_shard(1, 600000);
    void *to;
    size_t n;
    shard.id.index = 6;
    CHECK_ERR(shard_writer_open(s, &shard, &w[0]), ERR_INVALID);
    shard = kit_shard(1, SHARD_LENGTH_MAX + 1);
    CHECK_ERR(shard_writer_open(s, &shard, &w[0]), ERR_TOO_BIG);
    for (uint32_t i = 0; i < 3; i++) {
        shard = kit_shard(i, 600000);
        CHECK_OK(shard_writer_open(s, &shard, &w[i]));
        CHECK_ERR(shard_writer_space(w[i], 0, &to, &n), i < 2 ? OK : ERR_BUSY);
    }
    shard = kit_shard(3, 600000);
    CHECK_ERR(shard_writer_open(s, &shard, &w[3]), ERR_BUSY);
    CHECK_ERR(commit(w[0], 0), ERR_TRUNCATED);
    shard = kit_shard(1, 600000); /* a second one of the same id */
    CHECK_OK(shard_writer_open(s, &shard, &w[0]));
    CHECK_ERR(shard_writer_space(w[1], 0, &to, &n), ERR_ABORTED);
    CHECK_ERR(shard_writer_check(w[0], 600001, 0), ERR_INVALID);
    CHECK_ERR(commit(w[1], 0), ERR_ABORTED);
    shard_writer_abort(w[0]);
    shard_writer_abort(w[2]);
    /* whole, but nobody said what it should hash to; then with a wrong sum over all */
    shard = kit_shard(5, 1000);
    CHECK_OK(shard_writer_open(s, &shard, &w[0]));
    CHECK_OK(shard_writer_space(w[0], 0, &to, &n));
    CHECK_EQ(n, 1000);
    memset(to, 0, n);
    CHECK_OK(shard_writer_advance(w[0], n));
    CHECK_ERR(commit(w[0], 0), ERR_INVALID);
    CHECK_OK(shard_writer_open(s, &shard, &w[0]));
    uint8_t data[1000] = {0};
    CHECK_OK(shard_writer_append(w[0], data, 1000, NULL, KIT_DEADLINE));
    CHECK_ERR(commit(w[0], 0), ERR_CORRUPT);
    CHECK_EQ(kit_count(s), 0);
    struct shard_job job = {.kind = SHARD_READ, .length = 1, .buffer = data, .capacity = 1000};
    CHECK_ERR(shard_store_submit(s, &job), ERR_INVALID);
    CHECK_OK(kit_write(s, 9, 100));
    CHECK_ERR(kit_read(s, 9, 100, 50, 51), ERR_INVALID);
    shard_store_close(s);
}

/* Pieces of a read come with the CRCs that the network needs. */
static void piece_done(struct shard_job *job, enum err result)
{
    answered(job->arg, result);
}

static void piece_crcs(void)
{
    enum { LENGTH = 200000, FROM = 1000, COUNT = 150000 };
    CHECK_OK(kit_format(suite_dir()));
    struct shard_store *s = kit_open(suite_dir());
    CHECK_OK(kit_write(s, 1, LENGTH));
    struct answer a;
    answer_init(&a);
    struct stored_shard shard = kit_shard(1, LENGTH);
    uint32_t crcs[3];
    struct shard_job job = {.kind = SHARD_READ, .pool = KIT_POOL, .id = shard.id, .offset = FROM};
    job.length = COUNT;
    job.deadline = KIT_DEADLINE;
    job.done = piece_done;
    job.arg = &a;
    job.capacity = shard_read_room(FROM, COUNT);
    job.buffer = sys_alloc_aligned(job.capacity, 4096);
    job.crcs = crcs;
    CHECK_EQ(shard_read_pieces(FROM, COUNT), 3);
    CHECK_OK(shard_store_submit(s, &job));
    CHECK_OK(answer_wait(&a, 1));
    CHECK_EQ(job.crc_count, 3);
    const uint8_t *at = (uint8_t *)job.buffer + job.data_at;
    CHECK_EQ(crcs[0], shard_crc(&shard.id, 0, at, SHARD_BLOCK - FROM));
    CHECK_EQ(crcs[1], shard_crc(&shard.id, 1, at + SHARD_BLOCK - FROM, SHARD_BLOCK));
    CHECK_EQ(crcs[2],
             shard_crc(&shard.id, 2, at + 2 * SHARD_BLOCK - FROM, FROM + COUNT - 2 * SHARD_BLOCK));
    job.deadline = sys_now() - 1; /* expired: dropped unstarted */
    CHECK_OK(shard_store_submit(s, &job));
    CHECK_ERR(answer_wait(&a, 2), ERR_TIMEOUT);
    sys_free(job.buffer);
    answer_release(&a);
    shard_store_close(s);
}

/* ---- many at once ---- */

struct crowd {
    struct shard_store *s;
    uint32_t first, count, length;
};

static void crowd_main(void *arg)
{
    struct crowd *c = arg;
    for (uint32_t i = 0; i < c->count; i++) {
        uint32_t length = i % 4 == 3 ? 20 * c->length : c->length;
        CHECK_OK(kit_write(c->s, c->first + i, length));
        CHECK_OK(kit_read(c->s, c->first + i, length, 0, length));
    }
}

static void commits_share_syncs(void)
{
    enum { THREADS = 16, EACH = 12 };
    struct crowd c[THREADS];
    struct sys_thread *t[THREADS];
    CHECK_OK(kit_format(suite_dir()));
    struct shard_store *s = kit_open(suite_dir());
    for (uint32_t i = 0; i < THREADS; i++) {
        c[i] = (struct crowd){s, i * 1000, EACH, 5000};
        CHECK_OK(sys_thread_start(&t[i], "crowd", 0, crowd_main, &c[i]));
    }
    for (int i = 0; i < THREADS; i++)
        sys_thread_join(t[i]);
    struct shard_store_stats st;
    shard_store_stats(s, &st);
    CHECK_EQ(st.commits, THREADS * EACH);
    suite_check(st.commit_groups < st.commits * 3 / 4, __FILE__, __LINE__,
                "%" PRIu64 " commits in %" PRIu64 " groups", st.commits, st.commit_groups);
    CHECK_EQ(kit_count(s), THREADS * EACH);
    shard_store_close(s);
}

/* Space is given back under the hands of a reader: then the shard is gone or elsewhere, not rotten. */
static void read_main(void *arg)
{
    struct crowd *c = arg;
    for (uint32_t round = 0; round < 6; round++)
        for (uint32_t i = 0; i < c->count; i++) {
            enum err e = kit_read(c->s, c->first + i, c->length, 0, c->length);
            CHECK(e == OK || (e == ERR_NOT_FOUND && i % 2 == 0));
        }
}

static void reads_beside_changes(void)
{
    enum { READERS = 4, COUNT = 8, LENGTH = 70000 };
    struct sys_thread *t[READERS];
    CHECK_OK(kit_format(suite_dir()));
    struct shard_store *s = kit_open(suite_dir());
    struct crowd c = {s, 0, COUNT, LENGTH};
    for (uint32_t i = 0; i < COUNT; i++)
        CHECK_OK(kit_write(s, i, LENGTH));
    for (uint32_t i = 0; i < READERS; i++)
        CHECK_OK(sys_thread_start(&t[i], "reader", 0, read_main, &c));
    for (uint32_t i = 0; i < 4 * COUNT; i++) {
        if (i % 2 == 0)
            CHECK_OK(kit_delete(s, i % COUNT));
        CHECK_OK(kit_write(s, i % COUNT, LENGTH));
        CHECK_OK(shard_store_flush(s, KIT_DEADLINE));
    }
    for (int i = 0; i < READERS; i++)
        sys_thread_join(t[i]);
    struct shard_store_stats st;
    shard_store_stats(s, &st);
    CHECK_EQ(st.corrupt, 0);
    CHECK_EQ(st.shards, COUNT);
    shard_store_close(s);
}

static const struct test tests[] = {
    {"round trips of all sizes, restart, rebuild", round_trips},
    {"deletes", deletes},
    {"deletes of a chunk", deletes_of_a_chunk},
    {"a second commit of the same id", again_under_the_same_id},
    {"lists a placement group", lists_a_group},
    {"identity", identity},
    {"streams with checks", streams},
    {"refusals", refusals},
    {"pieces and their CRCs", piece_crcs},
    {"commits share syncs", commits_share_syncs},
    {"reads beside deletes and second commits", reads_beside_changes},
    {0},
};
SUITE("shard store", tests)
