/* Chunks: what a commit must prove (hazards 3, 4, 5, 8, 16), the c rows that say which chunks exist,
 * and the r rows of those with missing shards.
 *
 * Invariants
 *  C1  a chunk has a c row exactly while an x or p row or the rows of g name it.
 *  C2  a chunk has an r row exactly while its c row's `missing` is not 0; it is keyed by how many
 *      losses the chunk can still take, fewest first.
 *  C3  the fate of a write id is remembered for max_write_age: one commit or one abort, the first
 *      of the two; a commit older than that is refused by its age. */
#include <assert.h>
#include "common/base/cursor.h"
#include "metadata/state/state_internal.h"

enum { FATE_BYTES = 9 };

static void key_fate(struct key *k, const void *write_id)
{
    key_begin2(k, 'd', 'w');
    key_raw(k, write_id, WRITE_ID_BYTES);
}

/* 0 when nothing is remembered. */
static enum write_fate fate_get(struct apply *a, const void *write_id)
{
    struct key key;
    struct kv_slice value;
    key_fate(&key, write_id);
    if (!txn_get(a->txn, &key, &value) || value.length != FATE_BYTES)
        return 0;
    return (enum write_fate)((const uint8_t *)value.data)[0];
}

static void fate_put(struct apply *a, const void *write_id, enum write_fate fate)
{
    uint8_t bytes[FATE_BYTES];
    struct writer w;
    struct key key;
    writer_init(&w, bytes, sizeof bytes);
    write_u8(&w, (uint8_t)fate);
    write_u64(&w, a->index);
    key_fate(&key, write_id);
    txn_put(a->txn, &key, bytes, sizeof bytes);
    expiry_add(a, a->time + a->state->timeouts.max_write_age + 1, EXPIRE_WRITE, write_id,
               WRITE_ID_BYTES);
}

enum err apply_abort_write(struct apply *a, const AbortWrite *c)
{
    if (c->write_id.len != WRITE_ID_BYTES)
        return ERR_INVALID;
    switch (fate_get(a, c->write_id.data)) {
    case WRITE_COMMITTED:
        return ERR_EXISTS; /* its shards must stay */
    case WRITE_ABORTED:
        return OK;
    }
    fate_put(a, c->write_id.data, WRITE_ABORTED);
    return OK;
}

/* ---- rows ---- */

bool chunk_get(struct apply *a, uint32_t pool, const struct chunk_id *chunk, struct chunk_row *row)
{
    struct key key;
    struct kv_slice value;
    key_chunk(&key, pool, chunk);
    if (!txn_get(a->txn, &key, &value))
        return false;
    if (!chunk_row_decode(value, row))
        a->txn->error = ERR_CORRUPT;
    return true;
}

/* How many more disks may be lost. */
static uint8_t priority(const struct cluster_pool *pool, uint64_t missing)
{
    unsigned lost = (unsigned)__builtin_popcountll(missing);
    return (uint8_t)(lost < pool->m ? pool->m - lost : 0);
}

void chunk_put(struct apply *a, const struct cluster_pool *pool, const struct chunk_id *chunk,
               const struct chunk_row *old, const struct chunk_row *row)
{
    uint8_t bytes[CHUNK_ROW_BYTES];
    struct key key;
    uint32_t pg = pg_of_chunk(pool, chunk);
    bool had = old != NULL && old->missing != 0, has = row != NULL && row->missing != 0;
    if (had && (!has || priority(pool, old->missing) != priority(pool, row->missing))) {
        key_repair(&key, pool->id, pg, priority(pool, old->missing), chunk);
        txn_remove(a->txn, &key);
        had = false;
    }
    if (has && !had) {
        key_repair(&key, pool->id, pg, priority(pool, row->missing), chunk);
        txn_put(a->txn, &key, NULL, 0);
    }
    key_chunk(&key, pool->id, chunk);
    if (row == NULL) {
        txn_remove(a->txn, &key);
        return;
    }
    chunk_row_encode(row, bytes);
    txn_put(a->txn, &key, bytes, sizeof bytes);
}

/* ---- commits ---- */

/* Hazard 3: counts the shards that lie on different current holders that have not failed, and marks
 * those that are not on the newest. */
static enum err shards_check(struct apply *a, const struct cluster_pool *pool,
                             const struct chunk_id *chunk, const ChunkDurable *durable,
                             uint64_t *missing)
{
    unsigned width = pool_width(pool), count = 0;
    unsigned quorum = pool->k + 1U < width ? pool->k + 1U : width;
    uint32_t pg = pg_of_chunk(pool, chunk);
    *missing = 0;
    for (unsigned i = 0; i < width; i++) {
        const struct pg_slot *slot = pool_slot(pool, pg, i);
        disk_id disk = durable->disks[i];
        bool counts =
            disk != 0 && slot_has_holder(slot, disk) && cluster_map_disk_holds(a->state->map, disk);
        for (unsigned j = 0; counts && j < i; j++)
            counts = durable->disks[j] != disk;
        count += counts;
        if (!counts || disk != slot_newest(slot))
            *missing |= UINT64_C(1) << i;
    }
    if (count >= quorum)
        return OK;
    a->result->chunk = chunk->sequence;
    return ERR_STALE_PLACEMENT;
}

/* All runs are of one write id and pool, ascending and apart. */
static enum err runs_check(struct apply *a, ChunkRun *const *runs, size_t count, struct commit *out,
                           size_t *chunks)
{
    uint64_t total = 0;
    if (count > STATE_CHUNKS_MAX)
        return ERR_TOO_BIG;
    out->runs = arena_alloc(a->arena, count * sizeof *out->runs);
    out->run_count = count;
    out->bytes = 0;
    for (size_t i = 0; i < count; i++) {
        struct run *run = &out->runs[i];
        if (!run_from_message(runs[i], run) || run->pool != out->runs[0].pool ||
            !write_id_equal(&run->write, &out->runs[0].write) ||
            (i > 0 && run->first < run[-1].first + run[-1].count))
            return ERR_INVALID;
        total += run->count;
        out->bytes += run_bytes(run);
    }
    if (total > STATE_CHUNKS_MAX)
        return ERR_TOO_BIG;
    *chunks = (size_t)total;
    return OK;
}

/* Hazards 4, 5, 13: a write id commits once, not after an abort, and not when it is too old. */
static enum err write_check(struct apply *a, const struct commit *c, int64_t began)
{
    if (began > a->time)
        return ERR_INVALID;
    if (a->time - began > a->state->timeouts.max_write_age)
        return ERR_TOO_OLD;
    switch (fate_get(a, c->write.bytes)) {
    case WRITE_COMMITTED:
        return ERR_EXISTS;
    case WRITE_ABORTED:
        return ERR_ABORTED;
    }
    return OK;
}

enum err commit_check(struct apply *a, ChunkRun *const *runs, size_t run_count,
                      ChunkDurable *const *durable, size_t durable_count, int64_t began,
                      struct commit *out)
{
    size_t chunks = 0, n = 0;
    *out = (struct commit){0};
    enum err e = runs_check(a, runs, run_count, out, &chunks);
    if (e != OK)
        return e;
    if (chunks != durable_count)
        return ERR_INVALID;
    if (run_count == 0)
        return OK;
    out->write = out->runs[0].write;
    out->pool = out->runs[0].pool;
    const struct cluster_pool *pool = cluster_map_pool(a->state->map, out->pool);
    if (pool == NULL)
        return ERR_NOT_FOUND;
    e = write_check(a, out, began);
    out->missing = arena_alloc(a->arena, chunks * sizeof *out->missing);
    for (size_t r = 0; r < run_count; r++)
        for (uint32_t i = 0; e == OK && i < out->runs[r].count; i++, n++) {
            const struct chunk_id chunk = {.write = out->write, .sequence = out->runs[r].first + i};
            if (durable[n]->sequence != chunk.sequence || durable[n]->n_disks != pool_width(pool))
                return ERR_INVALID;
            e = shards_check(a, pool, &chunk, durable[n], &out->missing[n]);
        }
    return e;
}

void commit_write(struct apply *a, const struct commit *commit, ChunkDurable *const *durable,
                  int64_t began)
{
    size_t n = 0;
    if (commit->run_count == 0)
        return;
    const struct cluster_pool *pool = cluster_map_pool(a->state->map, commit->pool);
    for (size_t r = 0; r < commit->run_count; r++)
        for (uint32_t i = 0; i < commit->runs[r].count; i++, n++) {
            const struct chunk_id chunk = {.write = commit->write,
                                           .sequence = commit->runs[r].first + i};
            const struct chunk_row row = {.length = run_chunk_length(&commit->runs[r], i),
                                          .nonce = durable[n]->nonce,
                                          .began = began,
                                          .missing = commit->missing[n]};
            chunk_put(a, pool, &chunk, NULL, &row);
        }
    fate_put(a, commit->write.bytes, WRITE_COMMITTED);
}

/* ---- repair orders ---- */

static bool repair_target(struct apply *a, const RepairKey *k, const struct cluster_pool **pool,
                          struct chunk_id *chunk, const struct pg_slot **slot)
{
    if (k->chunk_id.len != CHUNK_ID_BYTES)
        return false;
    chunk_id_decode(k->chunk_id.data, chunk);
    *pool = cluster_map_pool(a->state->map, k->pool);
    *slot = *pool != NULL ? pool_slot(*pool, pg_of_chunk(*pool, chunk), k->index) : NULL;
    return *slot != NULL;
}

/* Sets or clears the chunk's bit; chunks that are gone meanwhile are passed over. */
static void mark(struct apply *a, const RepairKey *k, bool missing)
{
    const struct cluster_pool *pool;
    const struct pg_slot *slot;
    struct chunk_id chunk;
    struct chunk_row old;
    if (!repair_target(a, k, &pool, &chunk, &slot) || !chunk_get(a, k->pool, &chunk, &old))
        return;
    if (k->disk != slot_newest(slot) && (!missing || k->disk != 0))
        return; /* only the newest holder is asked to hold it */
    struct chunk_row row = old;
    if (missing)
        row.missing |= UINT64_C(1) << k->index;
    else
        row.missing &= ~(UINT64_C(1) << k->index);
    if (row.missing != old.missing)
        chunk_put(a, pool, &chunk, &old, &row);
}

enum err apply_order_repairs(struct apply *a, const OrderRepairs *c)
{
    if (c->n_shards > STATE_CHUNKS_MAX)
        return ERR_TOO_BIG;
    for (size_t i = 0; i < c->n_shards; i++)
        mark(a, c->shards[i], true);
    return OK;
}

enum err apply_finish_repairs(struct apply *a, const FinishRepairs *c)
{
    if (c->n_shards > STATE_CHUNKS_MAX)
        return ERR_TOO_BIG;
    for (size_t i = 0; i < c->n_shards; i++)
        mark(a, c->shards[i], false);
    return OK;
}
