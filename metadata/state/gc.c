/* The deletion queue: runs of chunks that nothing names any more wait here until every reader that
 * may have seen them is done (hazard 19), then go in bounded steps, rows of c and r with them.
 *
 * An object of one run is one row. One of several is a list row with all of them and one due row
 * that walks along it, so that deleting an object of 10,000 parts writes two rows. */
#include <assert.h>
#include "metadata/state/state_internal.h"

static void key_list(struct key *k, const struct write_id *write, uint32_t first)
{
    key_due(k, -1, write->bytes, first);
}

static void due_put(struct apply *a, int64_t due, const struct due_row *row)
{
    uint8_t bytes[DUE_ROW_BYTES];
    struct key key;
    due_row_encode(row, bytes);
    key_due(&key, due, row->run.write.bytes, row->run.first);
    txn_put(a->txn, &key, bytes, sizeof bytes);
}

void gc_queue(struct apply *a, ChunkRun *const *runs, size_t count)
{
    struct due_row row = {0};
    struct key key;
    if (count == 0)
        return;
    uint8_t *list = arena_alloc(a->arena, count * RUN_BYTES);
    for (size_t i = 0; i < count; i++) {
        struct run run;
        if (!run_from_message(runs[i], &run)) {
            a->txn->error = ERR_CORRUPT; /* they were checked when they came in */
            return;
        }
        run_encode(&run, list + i * RUN_BYTES);
    }
    run_decode(list, &row.run);
    row.next_sequence = row.run.first;
    row.count = (uint32_t)count;
    row.list = row.run.write;
    row.list_first = row.run.first;
    if (count > 1) {
        key_list(&key, &row.list, row.list_first);
        txn_put(a->txn, &key, list, count * RUN_BYTES);
    }
    due_put(a, a->time + a->state->timeouts.gc_delay, &row);
}

/* The due row goes on to the next run of its list, or ends with it. */
static void due_next(struct apply *a, int64_t due, struct due_row *row)
{
    struct key key;
    struct kv_slice list;
    if (row->count == 1)
        return;
    key_list(&key, &row->list, row->list_first);
    row->position++;
    if (row->position == row->count) {
        txn_remove(a->txn, &key);
        return;
    }
    if (!txn_get(a->txn, &key, &list) || list.length != (size_t)row->count * RUN_BYTES) {
        a->txn->error = a->txn->error == OK ? ERR_CORRUPT : a->txn->error;
        return;
    }
    run_decode((const uint8_t *)list.data + (size_t)row->position * RUN_BYTES, &row->run);
    row->next_sequence = row->run.first;
    due_put(a, due, row);
}

enum err apply_collect_run(struct apply *a, const CollectRun *c)
{
    struct key key;
    struct kv_slice value;
    struct due_row row;
    if (c->write_id.len != WRITE_ID_BYTES || c->due < 0 || c->count == 0 ||
        c->count > STATE_CHUNKS_MAX)
        return ERR_INVALID;
    if (c->due > a->time)
        return ERR_MISMATCH;
    key_due(&key, c->due, c->write_id.data, c->first_sequence);
    if (!txn_get(a->txn, &key, &value))
        return ERR_NOT_FOUND;
    if (!due_row_decode(value, &row)) {
        a->txn->error = ERR_CORRUPT;
        return ERR_CORRUPT;
    }
    if (row.next_sequence != c->next_sequence)
        return ERR_MISMATCH;
    const struct cluster_pool *pool = cluster_map_pool(a->state->map, row.run.pool);
    assert(pool != NULL); /* pools with chunks are never removed */
    uint32_t end = row.run.first + row.run.count, stop = end;
    if (c->count < end - row.next_sequence)
        stop = row.next_sequence + c->count;
    for (uint32_t s = row.next_sequence; s < stop; s++) {
        const struct chunk_id chunk = {.write = row.run.write, .sequence = s};
        struct chunk_row old;
        if (chunk_get(a, pool->id, &chunk, &old))
            chunk_put(a, pool, &chunk, &old, NULL);
    }
    row.next_sequence = stop;
    if (stop < end) {
        due_put(a, c->due, &row);
        return OK;
    }
    txn_remove(a->txn, &key);
    due_next(a, c->due, &row);
    return OK;
}
