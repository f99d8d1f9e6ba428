/* The shard store on a disk that rots, fills, fails or hangs: right bytes or an error of its own. */
#include "common/sys/sim/sim.h"
#include "tests/unit/chunkserver/store_kit.h"
#include "chunkserver/store_internal.h"

static const uint32_t lengths[] = {300, 70000, 5000, 300000, 60000, 20000};
enum { SHARDS = sizeof(lengths) / sizeof(*lengths) };

static void write_all(struct shard_store *s)
{
    for (uint32_t i = 0; i < SHARDS; i++)
        CHECK_OK(kit_write(s, i, lengths[i]));
}

static enum err read_whole(struct shard_store *s, uint32_t number)
{
    return kit_read(s, number, lengths[number], 0, lengths[number]);
}

/* One byte of every 4 KiB of the extent is flipped, one at a time. */
static void rot(bool lose_index, uint32_t step)
{
    char path[64];
    uint64_t end = 0;
    uint32_t harmed = 0;
    struct sys_file *f = NULL;
    CHECK_OK(kit_format(suite_dir()));
    struct shard_store *s = kit_open(suite_dir());
    write_all(s);
    shard_store_close(s);
    snprintf(path, sizeof(path), "%s/extents/00000001", suite_dir());
    CHECK_OK(sys_file_open(path, SYS_OPEN_READ, &f));
    CHECK_OK(sys_file_size(f, &end));
    sys_file_close(f);
    for (uint64_t at = suite_seed() % 4096; at < end; at += step) {
        CHECK_OK(sim_disk_flip(1, path, at, 0x10));
        if (lose_index)
            kit_lose_index(suite_dir());
        s = kit_open(suite_dir());
        uint32_t bad = 0;
        for (uint32_t i = 0; i < SHARDS; i++) {
            enum err e = read_whole(s, i), v = kit_verify(s, i);
            /* Without an index, what has lost its header or footer is missing. */
            suite_check(e == OK || e == ERR_CORRUPT || (lose_index && e == ERR_NOT_FOUND), __FILE__,
                        __LINE__, "flip at %" PRIu64 ": shard %u reads %s", at, i, err_name(e));
            CHECK(v == e || (e == OK && v == ERR_CORRUPT));
            bad += e != OK || v != OK;
        }
        suite_check(bad <= 1, __FILE__, __LINE__, "flip at %" PRIu64 " harms %u shards", at, bad);
        harmed += bad;
        shard_store_close(s);
        CHECK_OK(sim_disk_flip(1, path, at, 0x10));
    }
    CHECK(harmed >= 10);
}

static void rot_with_index(void)
{
    rot(false, 4096);
}

static void rot_without_index(void)
{
    rot(true, 3 * 4096 + 64);
}

/* Both copies of the superblock are needed to lose it. */
static void rot_of_superblock(void)
{
    char path[64];
    CHECK_OK(kit_format(suite_dir()));
    snprintf(path, sizeof(path), "%s/superblock", suite_dir());
    struct shard_store *s = NULL;
    struct shard_store_config c = kit_config(suite_dir());
    CHECK_OK(sim_disk_flip(1, path, 40, 1));
    shard_store_close(kit_open(suite_dir()));
    CHECK_OK(sim_disk_flip(1, path, 40, 1));
    CHECK_OK(sim_disk_flip(1, path, 4096 + 40, 1));
    CHECK_ERR(shard_store_open(&s, &c), ERR_FORMAT);
}

/* A shard whose bytes are a record, at every place where one could begin. */
static void forged(void)
{
    enum { LENGTH = 200000 };
    uint8_t salt[SALT_BYTES] = {0};
    CHECK_OK(kit_format(suite_dir()));
    struct shard_store *s = kit_open(suite_dir());
    struct stored_shard victim = kit_shard(77, 64), host = kit_shard(1, LENGTH);
    uint8_t *data = sys_alloc(LENGTH);
    CHECK_OK(kit_write(s, 1, LENGTH));
    shard_store_close(s);
    /* Without the salt; and (worse than can be) with it, but for another place. */
    struct superblock sb;
    CHECK_OK(superblock_read(suite_dir(), &sb, NULL));
    for (int known = 0; known < 2; known++) {
        s = kit_open(suite_dir());
        struct place place = {3, 1 << 20};
        for (uint32_t at = 0; at + 1024 <= LENGTH; at += 1024) {
            uint32_t crc = shard_crc(&victim.id, 0, data + at + RECORD_HEADER, 64);
            struct footer footer = {.sequence = UINT64_MAX, .table_crc = 0};
            footer.table_crc = shard_crc_of_crcs(0, &crc, 1);
            const uint8_t *with = known ? sb.salt : salt;
            record_encode_header(with, &victim, &place, data + at);
            record_encode_table(&crc, 1, data + at + RECORD_HEADER + 64);
            record_encode_footer(with, &victim, &place, &footer, data + at + RECORD_HEADER + 68);
        }
        host.id.chunk.sequence = 100 + (uint32_t)known;
        CHECK_OK(shard_store_write(s, &host, data, KIT_DEADLINE));
        host.length = 60000; /* a small one, too: packed in a run */
        host.id.chunk.sequence = 200 + (uint32_t)known;
        CHECK_OK(shard_store_write(s, &host, data, KIT_DEADLINE));
        host.length = LENGTH;
        shard_store_close(s);
    }
    /* Rot in the logs makes a rebuild search the extents, rot in a record's header its bytes. */
    char path[64];
    for (int e = 1; e <= 3; e++) {
        snprintf(path, sizeof(path), "%s/extents/%08d", suite_dir(), e);
        CHECK_OK(sim_disk_flip(1, path, SYS_BLOCK + 100, 1));
        if (e > 1)
            CHECK_OK(sim_disk_flip(1, path, (1 + 16) * SYS_BLOCK, 1));
    }
    kit_lose_index(suite_dir());
    s = kit_open(suite_dir());
    CHECK_EQ(kit_count(s), 3);
    CHECK_ERR(kit_verify(s, 77), ERR_NOT_FOUND);
    CHECK_OK(kit_read(s, 1, LENGTH, 0, LENGTH));
    shard_store_close(s);
    sys_free(data);
}

static void full(void)
{
    CHECK_OK(kit_format(suite_dir()));
    struct shard_store_config c = kit_config(suite_dir());
    struct shard_store *s = NULL;
    c.extent_bytes = 1 << 20;
    for (int limited = 0; limited < 2; limited++) {
        if (limited)
            c.capacity_bytes = 8 << 20;
        else
            sim_disk_limit(1, 16 << 20);
        CHECK_OK(shard_store_open(&s, &c));
        uint32_t n = 0;
        enum err e = OK;
        while (!e && n < 1000) {
            n++;
            e = kit_write(s, n, n % 2 ? 200000 : 3000);
        }
        CHECK_ERR(e, ERR_DISK_FULL);
        suite_check(n > 40 && n < 200, __FILE__, __LINE__, "full after %u", n);
        struct shard_store_stats st;
        for (uint32_t i = 1; i < n; i++)
            CHECK_OK(kit_read(s, i, i % 2 ? 200000 : 3000, 0, 3000));
        for (uint32_t i = 1; i < n; i++)
            CHECK_OK(kit_delete(s, i));
        CHECK_OK(shard_store_flush(s, KIT_DEADLINE));
        shard_store_stats(s, &st);
        CHECK(st.mark != DISK_MARK_FULL && !st.failed);
        CHECK_EQ(st.shards, 0);
        CHECK_EQ(st.shard_bytes, 0);
        CHECK_OK(kit_write(s, 2000, 200000));
        CHECK_OK(kit_delete(s, 2000));
        shard_store_close(s);
        sim_disk_limit(1, UINT64_C(64) << 30);
    }
}

static void failed_sync(void)
{
    char path[64];
    snprintf(path, sizeof(path), "%s/extents", suite_dir());
    CHECK_OK(kit_format(suite_dir()));
    struct shard_store *s = kit_open(suite_dir());
    write_all(s);
    /* Writes that fail are that commit's trouble; the first sync that fails is the disk's. */
    bool failed = false;
    for (uint64_t nth = 1; nth < 20 && !failed; nth++) {
        sim_disk_fail(1, path, nth, ERR_IO, false);
        enum err e = kit_write(s, 100 + (uint32_t)nth, 1000);
        sim_disk_fail(1, path, 0, OK, false);
        struct shard_store_stats st;
        shard_store_stats(s, &st);
        failed = st.failed;
        CHECK(failed ? e == ERR_DISK_FAILED : e == OK || e == ERR_IO);
    }
    CHECK(failed);
    struct stored_shard shard = kit_shard(0, 300);
    struct shard_writer *w = NULL;
    CHECK_ERR(shard_writer_open(s, &shard, &w), ERR_DISK_FAILED);
    CHECK_ERR(read_whole(s, 0), ERR_DISK_FAILED);
    CHECK_ERR(kit_delete(s, 0), ERR_DISK_FAILED);
    CHECK_ERR(kit_verify(s, 0), ERR_DISK_FAILED);
    CHECK_ERR(shard_store_flush(s, KIT_DEADLINE), ERR_DISK_FAILED);
    CHECK_ERR(shard_store_set_identity(s, 4), ERR_DISK_FAILED);
    shard_store_close(s);
    s = kit_open(suite_dir()); /* what had been acknowledged is still there */
    for (uint32_t i = 0; i < SHARDS; i++)
        CHECK_OK(read_whole(s, i));
    shard_store_close(s);
}

/* A process that has no descriptors left for a moment has healthy disks. */
static void no_descriptors(void)
{
    char path[64];
    snprintf(path, sizeof(path), "%s/extents", suite_dir());
    CHECK_OK(kit_format(suite_dir()));
    struct shard_store *s = kit_open(suite_dir());
    sim_disk_fail_kinds(1, path, SIM_DISK_SYNC, 2, ERR_BUSY, false); /* after that of the file */
    CHECK_ERR(kit_write(s, 1, 70000), ERR_BUSY);
    CHECK_OK(kit_write(s, 1, 70000));
    CHECK_OK(kit_read(s, 1, 70000, 0, 70000));
    for (uint32_t minutes = 0; minutes < 2;
         minutes++) { /* a flush waits; then the index is rebuilt */
        struct shard_store_stats st;
        snprintf(path, sizeof(path), "%s/index", suite_dir());
        sim_disk_fail_kinds(1, path, SIM_DISK_WRITE, 1, ERR_BUSY, true);
        CHECK_OK(kit_write(s, 2 + minutes, 70000));
        sys_sleep_until(sys_now() + (minutes ? 60 : 10) * SYS_SECOND);
        shard_store_stats(s, &st);
        CHECK(!st.failed);
        CHECK_EQ(st.rebuilding, minutes > 0);
        sim_disk_fail(1, path, 0, OK, false);
        kit_await(s);
        CHECK_OK(shard_store_flush(s, sys_now() + 5 * SYS_SECOND));
        for (uint32_t i = 1; i <= 2 + minutes; i++)
            CHECK_OK(kit_read(s, i, 70000, 0, 70000));
    }
    shard_store_close(s);
}

/* The 1st, 2nd, ... Nth call to the disk fails. */
static void sweep(bool sticky)
{
    bool clean = false;
    for (uint64_t nth = 1; !clean && nth < 400; nth++) {
        bool acked[SHARDS] = {0};
        uint32_t good = 0;
        struct shard_store *s = NULL;
        CHECK_OK(sim_disk_wipe(1, suite_dir()));
        CHECK_OK(kit_format(suite_dir()));
        struct shard_store_config c = kit_config(suite_dir());
        sim_disk_fail(1, suite_dir(), nth, ERR_IO, sticky);
        uint64_t before = sim_disk_primitives(1);
        enum err e = shard_store_open(&s, &c);
        for (uint32_t i = 0; !e && i < SHARDS; i++) {
            acked[i] = kit_write(s, i, lengths[i]) == OK;
            if (acked[i]) {
                enum err r = read_whole(s, i);
                CHECK(r == OK || r == ERR_IO || r == ERR_DISK_FAILED);
            }
        }
        if (!e) {
            enum err d = kit_delete(s, 0);
            CHECK(d == OK || d == ERR_IO || d == ERR_DISK_FAILED);
            acked[0] &= d != OK;
            enum err f = shard_store_flush(s, KIT_DEADLINE);
            CHECK(f == OK || f == ERR_DISK_FAILED);
            shard_store_close(s);
        }
        clean = sim_disk_primitives(1) - before < nth;
        sim_disk_fail(1, suite_dir(), 0, OK, false);
        s = kit_open(suite_dir());
        for (uint32_t i = 0; s && i < SHARDS; i++) {
            enum err r = read_whole(s, i);
            good += r == OK;
            suite_check(r == OK || (!acked[i] && r == ERR_NOT_FOUND), __FILE__, __LINE__,
                        "call %" PRIu64 " failed: shard %u (%d) reads %s", nth, i, acked[i],
                        err_name(r));
        }
        CHECK_EQ(kit_count(s), good);
        shard_store_close(s);
    }
    CHECK(clean);
}

/* The 1st, 2nd, .. call of an open that has to make the index anew fails. The next one finds all. */
static void sweep_recovery(void)
{
    bool clean = false;
    CHECK_OK(kit_format(suite_dir()));
    struct shard_store *s = kit_open(suite_dir());
    write_all(s);
    CHECK_OK(kit_delete(s, 0));
    shard_store_close(s);
    for (uint64_t nth = 1; !clean && nth < 600; nth++) {
        struct shard_store_config c = kit_config(suite_dir());
        kit_lose_index(suite_dir());
        uint64_t before = sim_disk_primitives(1);
        sim_disk_fail(1, suite_dir(), nth, ERR_IO, nth % 2 == 0);
        s = NULL;
        enum err e = shard_store_open(&s, &c);
        if (e == OK) {
            kit_await(s);
            for (uint32_t i = 1; i < SHARDS; i++) {
                enum err r = read_whole(s, i);
                suite_check(r == OK || r == ERR_IO || r == ERR_DISK_FAILED ||
                                r == ERR_UNAVAILABLE || r == ERR_NOT_FOUND,
                            __FILE__, __LINE__, "call %" PRIu64 ": shard %u reads %s", nth, i,
                            err_name(r));
            }
            shard_store_close(s);
        }
        clean = sim_disk_primitives(1) - before < nth;
        sim_disk_fail(1, suite_dir(), 0, OK, false);
        char index[SYS_PATH_MAX];
        snprintf(index, sizeof index, "%s/index", suite_dir());
        enum err made = sys_mkdir(index); /* the open may have failed before */
        CHECK(made == OK || made == ERR_EXISTS);
        kit_lose_index(suite_dir());
        s = kit_open(suite_dir());
        for (uint32_t i = 1; i < SHARDS; i++)
            suite_check(read_whole(s, i) == OK, __FILE__, __LINE__,
                        "call %" PRIu64 " failed: shard %u is lost", nth, i);
        shard_store_close(s);
    }
    CHECK(clean);
}

static void sweep_one(void)
{
    sweep(false);
}

static void sweep_sticky(void)
{
    sweep(true);
}

/* A hung disk holds up nobody beyond the deadline. */
static void hang(void)
{
    char path[64];
    snprintf(path, sizeof(path), "%s/extents", suite_dir());
    CHECK_OK(kit_format(suite_dir()));
    struct shard_store *s = kit_open(suite_dir());
    write_all(s);
    sim_disk_hang(1, path, true);
    struct stored_shard shard = kit_shard(50, 5000);
    uint8_t data[5000] = {0};
    int64_t start = sys_now();
    CHECK_ERR(shard_store_write(s, &shard, data, start + SYS_SECOND), ERR_TIMEOUT);
    CHECK_ERR(shard_store_read(s, KIT_POOL, &shard.id, 0, 10, data, NULL, start + 2 * SYS_SECOND),
              ERR_NOT_FOUND); /* known without the extents */
    shard = kit_shard(1, 70000);
    CHECK_ERR(shard_store_read(s, KIT_POOL, &shard.id, 0, 10, data, NULL, start + 3 * SYS_SECOND),
              ERR_TIMEOUT);
    CHECK(sys_now() < start + 4 * SYS_SECOND);
    struct shard_writer *w = NULL;
    shard = kit_shard(51, 3000000);
    CHECK_OK(shard_writer_open(s, &shard, &w));
    uint8_t *big = sys_alloc(3000000);
    CHECK_ERR(shard_writer_append(w, big, 3000000, NULL, sys_now() + SYS_SECOND), ERR_BUSY);
    sys_free(big);
    shard_writer_abort(w);
    sim_disk_hang(1, path, false);
    CHECK_OK(read_whole(s, 1));
    CHECK_OK(kit_write(s, 52, 100000));
    shard_store_close(s);
}

struct told {
    bool over;
    enum err result;
};

static void tell(struct shard_job *job, enum err result)
{
    struct told *t = job->arg;
    CHECK(!t->over);
    *t = (struct told){true, result};
}

/* All threads of the disk hang; what waits for them is told when its time is over. */
static void hang_of_queue(void)
{
    enum { JOBS = 6, SHORT = 4 };
    struct told told[JOBS] = {0};
    struct shard_job jobs[JOBS] = {0};
    char path[64];
    snprintf(path, sizeof(path), "%s/extents", suite_dir());
    CHECK_OK(kit_format(suite_dir()));
    struct shard_store *s = kit_open(suite_dir());
    write_all(s);
    sim_disk_hang(1, path, true);
    int64_t start = sys_now();
    for (int i = 0; i < JOBS; i++) {
        int64_t deadline = start + (i == SHORT ? 2 : 10) * SYS_SECOND;
        jobs[i] = (struct shard_job){.kind = SHARD_VERIFY,
                                     .pool = KIT_POOL,
                                     .id = kit_shard(1, 0).id,
                                     .deadline = deadline,
                                     .done = tell,
                                     .arg = &told[i]};
        CHECK_OK(shard_store_submit(s, &jobs[i]));
        sys_sleep_until(sys_now() + 10 * SYS_MS);
    }
    uint8_t byte;
    struct stored_shard shard = kit_shard(1, 70000);
    for (int late = 0; late < 2; late++) { /* told by a probe, then by another job */
        sys_sleep_until(start + (late ? 11 : 3) * SYS_SECOND);
        if (late)
            CHECK_ERR(shard_store_read(s, KIT_POOL, &shard.id, 0, 1, &byte, NULL, sys_now()),
                      ERR_TIMEOUT);
        else
            shard_store_probe(s);
        for (int i = 0; i < JOBS; i++) {
            CHECK_EQ(told[i].over, i == SHORT || (late && i >= 2)); /* two threads */
            CHECK_ERR(told[i].result, told[i].over ? ERR_TIMEOUT : OK);
        }
    }
    sim_disk_hang(1, path, false);
    shard_store_close(s);
    for (int i = 0; i < JOBS; i++)
        CHECK(told[i].over);
}

struct overtaken {
    struct shard_store *s;
    uint32_t number;
};

static void overtaken_main(void *arg)
{
    struct overtaken *o = arg;
    CHECK_OK(kit_read(o->s, o->number, 70000, 0, 70000));
}

/* Reads have found the record and hang; a second commit takes its place, its space goes. */
static void overtaken_reads(void)
{
    enum { READS = 6 };
    struct overtaken o[READS];
    struct sys_thread *t[READS];
    char path[64];
    CHECK_OK(kit_format(suite_dir()));
    struct shard_store *s = kit_open(suite_dir());
    for (uint32_t i = 0; i < READS; i++)
        CHECK_OK(kit_write(s, i, 70000));
    shard_store_close(s);
    struct shard_store_config c = kit_config(suite_dir());
    c.io_threads = READS + 1;
    CHECK_OK(shard_store_open(&s, &c));
    CHECK_OK(kit_read(s, 0, 70000, 0, 10)); /* the file is open */
    snprintf(path, sizeof(path), "%s/extents/00000001", suite_dir());
    sim_disk_hang(1, path, true);
    for (uint32_t i = 0; i < READS; i++) {
        o[i] = (struct overtaken){s, i};
        CHECK_OK(sys_thread_start(&t[i], "overtaken", 0, overtaken_main, &o[i]));
    }
    sys_sleep_until(sys_now() + SYS_SECOND);
    for (uint32_t i = 0; i < READS; i++)
        CHECK_OK(kit_write(s, i, 70000));
    CHECK_ERR(shard_store_flush(s, sys_now() + 5 * SYS_SECOND), ERR_TIMEOUT); /* in the punch */
    sim_disk_hang(1, path, false);
    for (int i = 0; i < READS; i++)
        sys_thread_join(t[i]);
    shard_store_close(s);
}

static const struct test tests[] = {
    {"one flipped byte, with the index", rot_with_index},
    {"one flipped byte, index lost", rot_without_index},
    {"one flipped byte of the superblock", rot_of_superblock},
    {"forged records in user bytes", forged},
    {"full", full},
    {"a failed sync fails the disk", failed_sync},
    {"no descriptors", no_descriptors},
    {"every call fails once", sweep_one},
    {"every call fails from then on", sweep_sticky},
    {"every call of a recovery fails", sweep_recovery},
    {"a hung disk", hang},
    {"a hung disk: who waits in its queue", hang_of_queue},
    {"reads that a second commit overtakes", overtaken_reads},
    {0},
};
SUITE("shard store, faults", tests)
