/* What the shard store's suites share: shards whose bytes follow from their number. */
#pragma once
#include <stdio.h>
#include <string.h>
#include "chunkserver/shard_store.h"
#include "common/sys/sys.h"
#include "tests/unit/suite.h"

#define KIT_DEADLINE (sys_now() + 60 * SYS_SECOND)
enum { KIT_POOL = 7 };

static inline struct uuid kit_uuid(uint8_t n)
{
    struct uuid u;
    memset(u.bytes, n, sizeof(u.bytes));
    return u;
}

static inline struct stored_shard kit_shard(uint32_t number, uint32_t length)
{
    struct stored_shard s = {.pool = KIT_POOL, .length = length, .k = 4, .m = 2, .cell = 65536};
    s.id.chunk.sequence = number % 3;
    memcpy(s.id.chunk.write.bytes, &number, sizeof(number));
    memset(s.id.chunk.write.bytes + 4, 0x5a, 4);
    s.id.index = number % 6;
    s.chunk_length = 4 * length;
    s.nonce = number * UINT64_C(0x9e3779b97f4a7c15);
    s.began = 1000 + number;
    return s;
}

/* Byte i of a shard is a function of its number and i. */
static inline void kit_fill(uint32_t number, uint8_t *out, uint32_t n)
{
    uint64_t x = number * UINT64_C(0x2545f4914f6cdd1d) + 1;
    for (uint32_t i = 0; i < n; i += 8) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        memcpy(out + i, &x, n - i < 8 ? n - i : 8);
    }
}

static inline enum err kit_format(const char *dir)
{
    struct uuid cluster = kit_uuid(1), disk = kit_uuid(2);
    return shard_store_format(dir, &cluster, &disk);
}

static inline struct shard_store_config kit_config(const char *dir)
{
    return (struct shard_store_config){.directory = dir,
                                       .cluster = kit_uuid(1),
                                       .extent_bytes = 4 << 20,
                                       .io_threads = 2,
                                       .staging_max = 8};
}

/* Until the index has been rebuilt, if it is. */
static inline void kit_await(struct shard_store *s)
{
    struct shard_store_stats st = {.rebuilding = s != NULL};
    while (st.rebuilding) {
        shard_store_stats(s, &st);
        if (st.failed)
            break;
        if (st.rebuilding)
            sys_sleep_until(sys_now() + SYS_MS);
    }
}

static inline struct shard_store *kit_open(const char *dir)
{
    struct shard_store *s = NULL;
    struct shard_store_config c = kit_config(dir);
    CHECK_OK(shard_store_open(&s, &c));
    kit_await(s);
    return s;
}

static inline enum err kit_write(struct shard_store *s, uint32_t number, uint32_t length)
{
    struct stored_shard shard = kit_shard(number, length);
    uint8_t *data = sys_alloc(length + 8);
    kit_fill(number, data, length);
    enum err e = shard_store_write(s, &shard, data, KIT_DEADLINE);
    sys_free(data);
    return e;
}

/* Reads a range; OK means that it was right (else the check fails). */
static inline enum err kit_read(struct shard_store *s, uint32_t number, uint32_t length,
                                uint32_t offset, uint32_t n)
{
    struct stored_shard shard = kit_shard(number, length), got;
    uint8_t *want = sys_alloc(length + 8), *data = sys_alloc(n + 1);
    kit_fill(number, want, length);
    enum err e = shard_store_read(s, KIT_POOL, &shard.id, offset, n, data, &got, KIT_DEADLINE);
    if (!e) {
        CHECK_BYTES(want + offset, data, n);
        CHECK_EQ(got.nonce, shard.nonce);
        CHECK_EQ(got.length, length);
    }
    sys_free(want);
    sys_free(data);
    return e;
}

static inline enum err kit_delete(struct shard_store *s, uint32_t number)
{
    struct stored_shard shard = kit_shard(number, 0);
    return shard_store_delete(s, KIT_POOL, &shard.id, KIT_DEADLINE);
}

static inline enum err kit_verify(struct shard_store *s, uint32_t number)
{
    struct stored_shard shard = kit_shard(number, 0);
    return shard_store_verify(s, KIT_POOL, &shard.id, NULL, KIT_DEADLINE);
}

static inline uint32_t kit_count(struct shard_store *s)
{
    struct stored_shard page[7], last;
    uint32_t total = 0;
    size_t n = 7;
    while (n == 7) {
        CHECK_OK(
            shard_store_list(s, KIT_POOL, 0, UINT64_MAX, total ? &last.id : NULL, page, 7, &n));
        total += (uint32_t)n;
        if (n)
            last = page[n - 1];
    }
    return total;
}

/* Blocks of the extents that hold data. The free space of a real disk is everybody's: not a measure. */
static inline void kit_visit_extent(void *arg, const char *name, bool is_dir)
{
    char path[SYS_PATH_MAX];
    struct sys_file *f = NULL;
    uint64_t *blocks = arg, at = 0, found;
    CHECK(!is_dir);
    snprintf(path, sizeof(path), "%s/extents/%s", suite_dir(), name);
    CHECK_OK(sys_file_open(path, SYS_OPEN_READ, &f));
    while (f && !sys_file_next_data(f, at, &found)) {
        ++*blocks;
        at = found - found % SYS_BLOCK + SYS_BLOCK;
    }
    sys_file_close(f);
}

static inline uint64_t kit_data_bytes(void)
{
    char path[SYS_PATH_MAX];
    uint64_t blocks = 0;
    snprintf(path, sizeof(path), "%s/extents", suite_dir());
    CHECK_OK(sys_dir_list(path, kit_visit_extent, &blocks));
    return blocks * SYS_BLOCK;
}

/* Empties or removes the index, as if it had been lost. */
static inline void kit_visit_remove(void *arg, const char *name, bool is_dir)
{
    char path[SYS_PATH_MAX];
    snprintf(path, sizeof(path), "%s/index/%s", (const char *)arg, name);
    CHECK(!is_dir);
    CHECK_OK(sys_unlink(path));
}

static inline void kit_lose_index(const char *dir)
{
    char path[SYS_PATH_MAX];
    snprintf(path, sizeof(path), "%s/index", dir);
    CHECK_OK(sys_dir_list(path, kit_visit_remove, (void *)(uintptr_t)dir));
    CHECK_OK(sys_dir_sync(path));
}
