#include "tests/sim/durable.h"
#include "chunkserver/store_internal.h"
#include "common/base/digest.h"
#include "metadata/state/state_internal.h"
#include "tests/check/memory.h"

/* Shards that disks have told as durable, by a digest of shard, attempt and disk: an open table, at most half
 * full. Nothing leaves it: a shard that was deleted had been durable. */
static struct {
    struct workload *work;
    uint64_t *told;
    size_t count, size; /* a power of two */
} durable;

enum { SIZE_FIRST = 4096 };

/* The types are those of the functions themselves: a change of theirs is seen when this is compiled. */
__typeof__(writer_complete) __real_writer_complete, __wrap_writer_complete;
__typeof__(commit_check) __real_commit_check, __wrap_commit_check;

void durable_start(struct workload *w)
{
    free(durable.told);
    durable.work = w;
    durable.count = 0;
    durable.size = SIZE_FIRST;
    durable.told = check_alloc(durable.size * sizeof *durable.told);
}

static uint64_t digest_of(const struct chunk_id *chunk, unsigned index, uint64_t nonce,
                          disk_id disk)
{
    uint8_t bytes[CHUNK_ID_BYTES];
    const uint64_t rest[] = {index, nonce, disk};
    chunk_id_encode(chunk, bytes);
    uint64_t d = xxh64(rest, sizeof rest, xxh64(bytes, sizeof bytes, 0));
    return d ? d : 1; /* 0 is a free place */
}

static uint64_t *place_of(uint64_t *table, size_t size, uint64_t digest)
{
    size_t i = digest & (size - 1);
    while (table[i] && table[i] != digest)
        i = (i + 1) & (size - 1);
    return &table[i];
}

static void grow(void)
{
    size_t size = 2 * durable.size;
    uint64_t *table = check_alloc(size * sizeof *table);
    for (size_t i = 0; i < durable.size; i++)
        if (durable.told[i])
            *place_of(table, size, durable.told[i]) = durable.told[i];
    free(durable.told);
    durable.told = table;
    durable.size = size;
}

void __wrap_writer_complete(struct shard_writer *w, enum err result)
{
    if (result == OK) {
        const struct stored_shard *shard = &w->shard;
        uint64_t digest =
            digest_of(&shard->id.chunk, shard->id.index, shard->nonce, w->store->superblock.id);
        if (2 * durable.count >= durable.size)
            grow();
        uint64_t *place = place_of(durable.told, durable.size, digest);
        durable.count += *place == 0;
        *place = digest;
    }
    __real_writer_complete(w, result);
}

/* What is named is durable there; on those disks that readers will ask there is one shard more than needed. */
static void judge(const struct cluster_map *map, const struct cluster_pool *pool,
                  const struct chunk_id *chunk, const ChunkDurable *named)
{
    unsigned width = pool_width(pool), found = 0;
    uint32_t pg = pg_of_chunk(pool, chunk);
    for (unsigned i = 0; i < named->n_disks; i++) {
        disk_id disk = named->disks[i];
        uint64_t digest = digest_of(chunk, i, named->nonce, disk);
        if (disk == 0)
            continue;
        if (*place_of(durable.told, durable.size, digest) == 0)
            workload_fail(durable.work,
                          "a commit names shard %u of a chunk on disk %u, which never said that it "
                          "is durable",
                          i, (unsigned)disk);
        found += slot_has_holder(pool_slot(pool, pg, i), disk) && cluster_map_disk_holds(map, disk);
    }
    if (found < (pool->m ? pool->k + 1U : width))
        workload_fail(durable.work, "a chunk of %u+%u is committed with %u shards", pool->k,
                      pool->m, found);
}

enum err __wrap_commit_check(struct apply *a, ChunkRun *const *runs, size_t run_count,
                             ChunkDurable *const *named, size_t named_count, int64_t began,
                             struct commit *out)
{
    enum err e = __real_commit_check(a, runs, run_count, named, named_count, began, out);
    const struct cluster_map *map = a->state->map;
    const struct cluster_pool *pool = e == OK ? cluster_map_pool(map, out->pool) : NULL;
    size_t n = 0;
    for (size_t r = 0; pool && r < out->run_count; r++)
        for (uint32_t i = 0; i < out->runs[r].count; i++, n++) {
            const struct chunk_id chunk = {.write = out->write, .sequence = out->runs[r].first + i};
            judge(map, pool, &chunk, named[n]);
        }
    return e;
}
