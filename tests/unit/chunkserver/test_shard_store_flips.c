/* Every byte of a small disk's files flipped, one at a time: superblock, extent header, reservation
 * log, headers, data, tables and footers of records, padding, the index. The disk opens, what is read
 * is right or an error, at most one shard is harmed, and what harms is seen by a verify of the disk.
 *
 * On a disk that is opened with the flip in it, and on one that is open when the byte turns. Of blocks of
 * zeros, and of the long record's data, a part stands for all; CAIRN_LONG=1 tries each byte. */
#include <stdlib.h>
#include "chunkserver/shard_check.h"
#include "chunkserver/store_internal.h"
#include "common/sys/sim/sim.h"
#include "tests/unit/chunkserver/store_kit.h"

static const uint32_t lengths[] = {300, 1, 66000, 0, 900};
enum {
    SHARDS = sizeof(lengths) / sizeof(*lengths),
    GONE = 1,
    LINE = 16,
    ZEROS = 512,
    MARGIN = 280
};

struct sweep {
    uint64_t flips, harmed, random;
};

static struct shard_store_config config_of(void)
{
    struct shard_store_config c = kit_config(suite_dir());
    c.extent_bytes = 1 << 20;
    c.io_threads = 1;
    return c;
}

static bool long_form(void)
{
    const char *set = getenv("CAIRN_LONG");
    return set && *set;
}

static void make_disk(void)
{
    struct shard_store *s = NULL;
    struct shard_store_config c = config_of();
    CHECK_OK(kit_format(suite_dir()));
    CHECK_OK(shard_store_open(&s, &c));
    for (uint32_t i = 0; i < SHARDS; i++)
        CHECK_OK(kit_write(s, i, lengths[i]));
    CHECK_OK(kit_delete(s, GONE));
    shard_store_close(s);
}

static void count_fault(void *arg, const struct shard_fault *f)
{
    (void)f;
    ++*(uint64_t *)arg;
}

static uint64_t faults_found(void)
{
    struct shard_check *c = NULL;
    struct shard_check_result r;
    uint64_t faults = 0;
    const struct shard_check_watcher w = {.arg = &faults, .fault = count_fault};
    enum err e = shard_check_open(suite_dir(), &c);
    CHECK_OK(e);
    if (e)
        return 0;
    CHECK_OK(shard_check_verify(c, &w, &r));
    shard_check_close(c);
    return faults;
}

/* How many shards cannot be read. */
static uint32_t open_and_read(bool lost, const char *where)
{
    struct shard_store *s = NULL;
    struct shard_store_config c = config_of();
    uint32_t bad = 0;
    if (!suite_check(shard_store_open(&s, &c) == OK, __FILE__, __LINE__, "%s: no disk", where))
        return 0;
    kit_await(s);
    for (uint32_t i = 0; i < SHARDS; i++) {
        uint32_t n = lengths[i] ? lengths[i] : 1;
        struct stored_shard shard = kit_shard(i, lengths[i]);
        enum err e = lengths[i] ? kit_read(s, i, lengths[i], 0, n) : kit_verify(s, i);
        if (i == GONE) { /* packed among others, its bytes are still there */
            CHECK(e == ERR_NOT_FOUND || e == ERR_CORRUPT || e == OK);
            continue;
        }
        suite_check(e == OK || e == ERR_CORRUPT || e == ERR_NOT_FOUND, __FILE__, __LINE__,
                    "%s: shard %u reads %s", where, i, err_name(e));
        suite_check(e != ERR_NOT_FOUND || lost || shard_store_stat(s, KIT_POOL, &shard.id, &shard),
                    __FILE__, __LINE__, "%s: shard %u is indexed and missing", where, i);
        bad += e != OK;
    }
    suite_check(bad <= 1, __FILE__, __LINE__, "%s: %u shards harmed", where, bad);
    shard_store_close(s);
    return bad;
}

struct saved {
    char path[128];
    uint8_t *bytes;
    size_t size;
};

static enum err load(struct saved *f)
{
    struct sys_file *file = NULL;
    uint64_t size = 0;
    enum err e = sys_file_open(f->path, SYS_OPEN_READ, &file);
    if (e)
        return e;
    CHECK_OK(sys_file_size(file, &size));
    f->bytes = sys_alloc(size + 1);
    CHECK_OK(sys_file_read(file, 0, f->bytes, size, &f->size));
    sys_file_close(file);
    return OK;
}

static void store(const struct saved *f)
{
    struct sys_file *file = NULL;
    CHECK_OK(sys_file_open(f->path, SYS_OPEN_WRITE | SYS_OPEN_CREATE | SYS_OPEN_TRUNCATE, &file));
    if (f->size)
        CHECK_OK(sys_file_write(file, 0, f->bytes, f->size));
    sys_file_close(file);
}

enum { FILES = 3 };

static void save_disk(struct saved files[FILES])
{
    static const char *const names[FILES] = {"superblock", "extents/00000001", "index/log"};
    for (int i = 0; i < FILES; i++) {
        snprintf(files[i].path, sizeof files[i].path, "%s/%s", suite_dir(), names[i]);
        CHECK_OK(load(&files[i]));
    }
}

/* The disk as it was, with one byte changed. */
static void put_disk(struct saved files[FILES], int changed, size_t at, uint8_t mask, bool lost)
{
    CHECK_OK(sim_disk_wipe(1, suite_dir()));
    char path[128];
    snprintf(path, sizeof path, "%s/extents", suite_dir());
    CHECK_OK(sys_mkdir(path));
    snprintf(path, sizeof path, "%s/index", suite_dir());
    CHECK_OK(sys_mkdir(path));
    files[changed].bytes[at] ^= mask;
    for (int i = 0; i < FILES - lost; i++)
        store(&files[i]);
    files[changed].bytes[at] ^= mask;
}

static void one_flip(struct sweep *w, struct saved files[FILES], int file, size_t at, uint8_t mask,
                     bool lost)
{
    char where[192];
    snprintf(where, sizeof where, "%s at %zu ^ %u%s", files[file].path, at, mask,
             lost ? ", index lost" : "");
    uint64_t faults = 0;
    bool verify = w->flips % 8 == 0;
    put_disk(files, file, at, mask, lost);
    if (verify && !lost)
        faults = faults_found();
    uint32_t bad = open_and_read(lost, where);
    if (verify && !lost)
        suite_check(bad == 0 || faults > 0, __FILE__, __LINE__, "%s: not seen by verify", where);
    w->flips++;
    w->harmed += bad;
}

static uint64_t draw(struct sweep *w)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return w->random;
}

static void flip_at(struct sweep *w, struct saved files[FILES], int file, size_t at)
{
    one_flip(w, files, file, at, (uint8_t)(1u << draw(w) % 8), file != 2 && draw(w) % 3 == 0);
}

/* The long record's data, away from all else: alike, so that the short form draws from it. */
static bool is_bulk(const struct saved *f, size_t at)
{
    static const char magic[] = "CAIRNREC";
    if (f->size < 100000)
        return false;
    for (size_t back = 0; back < MARGIN && back <= at; back++)
        if (memcmp(f->bytes + at - back, magic, 8) == 0)
            return false;
    for (size_t next = 0; next < MARGIN && at + next + 8 < f->size; next++)
        if (memcmp(f->bytes + at + next, "CAIRNEND", 8) == 0 ||
            memcmp(f->bytes + at + next, magic, 8) == 0)
            return false;
    return true;
}

static size_t zeros_at(const struct saved *f, size_t at)
{
    size_t n = 0;
    while (n < ZEROS && at + n < f->size && f->bytes[at + n] == 0)
        n++;
    return n;
}

static void sweep_file(struct sweep *w, struct saved files[FILES], int file)
{
    const struct saved *f = &files[file];
    for (size_t at = 0; at < f->size;) {
        size_t zeros = zeros_at(f, at), alike = 1, step = 1;
        if (!long_form() && zeros >= LINE) {
            alike = step = zeros;
        } else if (!long_form() && is_bulk(f, at)) {
            step = MARGIN / 2 + draw(w) % (MARGIN / 2);
        }
        flip_at(w, files, file, at + draw(w) % alike);
        at += step;
    }
}

static void every_byte(int file)
{
    struct saved files[FILES] = {0};
    struct sweep w = {.random = suite_seed() | 1};
    make_disk();
    save_disk(files);
    sweep_file(&w, files, file);
    printf("\n    %zu bytes, %llu flips, %llu harmed a shard ", files[file].size,
           (unsigned long long)w.flips, (unsigned long long)w.harmed);
    CHECK(w.flips >= 80);
    CHECK(file != 1 || w.harmed > 500);
    CHECK(file == 1 || w.harmed == 0);
    for (int i = 0; i < FILES; i++)
        sys_free(files[i].bytes);
}

/* Whether a shard is harmed: then its verify says so, and no read gives other bytes (kit_read compares). */
static bool is_harmed(struct shard_store *s, uint32_t i, size_t at)
{
    enum err v = kit_verify(s, i);
    enum err e = lengths[i] ? kit_read(s, i, lengths[i], 0, lengths[i]) : v;
    bool known = (v == OK || v == ERR_CORRUPT || v == ERR_NOT_FOUND) &&
                 (e == OK || e == ERR_CORRUPT || e == ERR_NOT_FOUND);
    suite_check(known && (e == OK || v != OK), __FILE__, __LINE__,
                "byte %zu: shard %u reads %s, %s", at, i, err_name(e), err_name(v));
    return v != OK;
}

static void while_open(void)
{
    struct saved files[FILES] = {0};
    struct sweep w = {.random = suite_seed() | 1};
    struct shard_store *s = NULL;
    struct shard_store_config c = config_of();
    const size_t step = long_form() ? 1 : 151;
    make_disk();
    save_disk(files);
    CHECK_OK(shard_store_open(&s, &c));
    for (size_t at = 0; s && at < files[1].size; at += step) {
        uint8_t mask = (uint8_t)(1u << draw(&w) % 8);
        uint32_t bad = 0;
        CHECK_OK(sim_disk_flip(1, files[1].path, at, mask));
        for (uint32_t i = 0; i < SHARDS; i++)
            bad += i != GONE && is_harmed(s, i, at);
        CHECK_OK(sim_disk_flip(1, files[1].path, at, mask));
        suite_check(bad <= 1, __FILE__, __LINE__, "byte %zu: %u shards harmed", at, bad);
        w.flips++;
        w.harmed += bad;
    }
    printf("\n    %zu bytes, %llu flips, %llu harmed a shard ", files[1].size,
           (unsigned long long)w.flips, (unsigned long long)w.harmed);
    CHECK(w.harmed > 66000u / step / 2);
    shard_store_close(s);
    for (int i = 0; i < FILES; i++)
        sys_free(files[i].bytes);
}

/* ---- blocks that cannot be read ---- */

/* A power cut after the first shard was flushed: what came after it is looked for in the extent. */
static void save_cut_disk(struct saved files[FILES])
{
    struct shard_store *s = NULL;
    struct shard_store_config c = config_of();
    CHECK_OK(kit_format(suite_dir()));
    CHECK_OK(shard_store_open(&s, &c));
    CHECK_OK(kit_write(s, 0, lengths[0]));
    CHECK_OK(shard_store_flush(s, KIT_DEADLINE));
    save_disk(files);
    sys_free(files[0].bytes);
    sys_free(files[1].bytes);
    struct saved early = files[2];
    for (uint32_t i = 2; i < SHARDS; i++)
        CHECK_OK(kit_write(s, i, lengths[i]));
    shard_store_close(s);
    save_disk(files);
    sys_free(files[2].bytes);
    files[2] = early;
}

/* The disk opens, all other shards are right, and of the file nothing is given back. */
static void one_bad_block(struct saved files[FILES], size_t at, bool lost)
{
    char where[64];
    struct saved now = {0};
    uint32_t missing = 0;
    struct shard_store *s = NULL;
    struct shard_store_config c = config_of();
    snprintf(where, sizeof where, "block at %zu%s", at, lost ? ", index lost" : "");
    put_disk(files, 1, at, 0, lost);
    CHECK_OK(sim_disk_bad_sectors(1, files[1].path, at, SYS_BLOCK));
    if (!suite_check(shard_store_open(&s, &c) == OK, __FILE__, __LINE__, "%s: no disk", where))
        return;
    kit_await(s);
    for (uint32_t i = 0; i < SHARDS; i++)
        missing += i != GONE && (lengths[i] ? kit_read(s, i, lengths[i], 0, lengths[i])
                                            : kit_verify(s, i)) != OK;
    suite_check(missing <= 2, __FILE__, __LINE__, "%s: %u shards missing", where, missing);
    CHECK_OK(shard_store_flush(s, KIT_DEADLINE));
    shard_store_close(s);
    snprintf(now.path, sizeof now.path, "%s", files[1].path);
    now.bytes = sys_alloc(SYS_BLOCK);
    for (size_t b = 0; b < files[1].size; b += SYS_BLOCK) {
        struct sys_file *f = NULL;
        size_t n = 0;
        CHECK_OK(sys_file_open(now.path, SYS_OPEN_READ, &f));
        enum err e = sys_file_read(f, b, now.bytes, SYS_BLOCK, &n);
        sys_file_close(f);
        suite_check(b == at ? e == ERR_IO
                            : e == OK && memcmp(now.bytes, files[1].bytes + b, n) == 0,
                    __FILE__, __LINE__, "%s: block %zu has changed", where, b);
    }
    sys_free(now.bytes);
}

static void bad_blocks(void)
{
    struct saved files[FILES] = {0};
    save_cut_disk(files);
    for (size_t at = 0; at < files[1].size; at += SYS_BLOCK) {
        one_bad_block(files, at, false);
        one_bad_block(files, at, true);
    }
    for (int i = 0; i < FILES; i++)
        sys_free(files[i].bytes);
}

static void superblock(void)
{
    every_byte(0);
}

static void extent(void)
{
    every_byte(1);
}

static void index_file(void)
{
    every_byte(2);
}

static const struct test tests[] = {
    {"each byte of the superblock", superblock},
    {"each byte of an extent", extent},
    {"each byte of the index", index_file},
    {"each byte of an extent that is open", while_open},
    {"each block of an extent that cannot be read", bad_blocks},
    {0},
};
SUITE("shard store, flips", tests)
