/* The cluster map and its deltas, the chunks of a PG, what is to be repaired, what is due. */
#include <stdlib.h>
#include "common/base/cursor.h"
#include "metadata/state/query_internal.h"

enum { TOKEN_CHUNK = 8 + CHUNK_ID_BYTES, TOKEN_REPAIR = 4 + 4 + 1 + CHUNK_ID_BYTES };

static int compare_changes(const void *x, const void *y)
{
    const struct map_change *a = x, *b = y;
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    if (a->a != b->a)
        return a->a < b->a ? -1 : 1;
    return a->b < b->b ? -1 : a->b > b->b;
}

/* What changed in the epochs behind since, each record once, by kind and id; false when that is not
 * known any more. */
static bool changes_since(struct query *q, uint64_t since, uint64_t epoch, struct map_change **out,
                          size_t *count)
{
    struct key prefix, from;
    struct walk w;
    struct kv_slice key, value;
    size_t n = 0, room = 256;
    uint64_t seen = since;
    struct map_change *list = sys_alloc(room * sizeof *list);
    key_begin2(&prefix, 'm', 'c');
    from = prefix;
    key_u64(&from, since + 1);
    walk_init(&w, q, &prefix);
    for (walk_seek(&w, &from); walk_here(&w, &key, &value); walk_next(&w), seen++) {
        struct reader r;
        struct key_reader k;
        key_reader_init(&k, key, 2);
        if (key_read_u64(&k) != seen + 1)
            break;
        for (reader_init(&r, value.data, value.length); reader_left(&r) > 0; n++) {
            if (n == room) {
                room *= 2;
                list = sys_realloc(list, room * sizeof *list);
            }
            list[n].kind = read_u8(&r);
            list[n].a = read_u32(&r);
            list[n].b = read_u32(&r);
        }
    }
    walk_release(&w);
    qsort(list, n, sizeof *list, compare_changes);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || compare_changes(&list[kept - 1], &list[i]) != 0)
            list[kept++] = list[i];
    *out = arena_copy(q->arena, list, kept * sizeof *list);
    *count = kept;
    sys_free(list);
    return seen >= epoch;
}

static void make_room(struct query *q, MapInfo *map, size_t room)
{
    map->disks = arena_alloc(q->arena, room * sizeof *map->disks);
    map->pools = arena_alloc(q->arena, room * sizeof *map->pools);
    map->pgs = arena_alloc(q->arena, room * sizeof *map->pgs);
}

static void take_record(struct query *q, MapInfo *map, uint8_t kind, struct kv_slice value,
                        bool whole)
{
    if (kind == MAP_DISK) {
        if (query_unpack(q, &disk_info__descriptor, value, &map->disks[map->n_disks]))
            map->n_disks += !(whole && map->disks[map->n_disks]->removed);
    } else if (kind == MAP_POOL) {
        if (query_unpack(q, &pool_info__descriptor, value, &map->pools[map->n_pools]))
            map->n_pools++;
    } else if (query_unpack(q, &pg_info__descriptor, value, &map->pgs[map->n_pgs])) {
        map->n_pgs++;
    }
}

static void whole_map(struct query *q, MapInfo *map)
{
    static const enum map_kind kinds[] = {MAP_DISK, MAP_POOL, MAP_PG};
    struct key prefix;
    struct kv_slice key, value;
    size_t rows = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < 3; i++) {
            struct walk w;
            key_begin2(&prefix, 'm', (char)kinds[i]);
            walk_init(&w, q, &prefix);
            for (; walk_here(&w, &key, &value) && q->error == OK; walk_next(&w)) {
                if (pass == 0)
                    rows++;
                else
                    take_record(q, map, (uint8_t)kinds[i], value, true);
            }
            walk_release(&w);
        }
        if (pass == 0)
            make_room(q, map, rows + 1);
    }
}

enum err query_map(struct query *q, const GetMap *c)
{
    MapInfo *map = arena_alloc(q->arena, sizeof *map);
    struct map_change *changes = NULL;
    struct meta_row meta = {0};
    struct key key;
    struct kv_slice value;
    size_t count = 0;
    map_info__init(map);
    key_meta(&key);
    if (query_get(q, &key, &value) && !meta_decode(value, &meta))
        return ERR_CORRUPT;
    map->epoch = meta.epoch;
    q->answer->map = map;
    q->answer->epoch = meta.epoch;
    if (c->since >= meta.epoch && c->since > 0) {
        map->since = meta.epoch;
        return OK;
    }
    if (c->since == 0 || !changes_since(q, c->since, meta.epoch, &changes, &count)) {
        whole_map(q, map);
        return OK;
    }
    map->since = c->since;
    make_room(q, map, count + 1);
    for (size_t i = 0; i < count; i++) {
        key_map(&key, (enum map_kind)changes[i].kind, changes[i].a, changes[i].b);
        if (query_get(q, &key, &value))
            take_record(q, map, changes[i].kind, value, false);
    }
    return OK;
}

/* ---- chunks ---- */

static bool get_pool(struct query *q, uint32_t id, PoolInfo **pool)
{
    struct key key;
    key_map(&key, MAP_POOL, id, 0);
    return query_get_message(q, &key, &pool_info__descriptor, pool) && (*pool)->assigned;
}

static ChunkEntry *chunk_entry(struct query *q, const uint8_t *id, const struct chunk_row *row)
{
    ChunkEntry *entry = arena_alloc(q->arena, sizeof *entry);
    chunk_entry__init(entry);
    entry->chunk_id = query_copy(q, id, CHUNK_ID_BYTES);
    entry->length = row->length;
    entry->nonce = row->nonce;
    entry->began = row->began;
    entry->missing = row->missing;
    return entry;
}

enum err query_list_chunks(struct query *q, const ListChunks *c)
{
    PoolInfo *pool;
    struct key prefix, from;
    struct walk w;
    struct kv_slice key, value;
    uint64_t first, last;
    Answer *answer = q->answer;
    size_t most = page_size(c->max, CHUNKS_MAX_PAGE);
    if (!get_pool(q, c->pool, &pool) || c->pg >= UINT32_C(1) << pool->pg_bits)
        return ERR_NOT_FOUND;
    if (c->after.len != 0 && c->after.len != TOKEN_CHUNK)
        return ERR_INVALID;
    pg_hash_range(c->pg, (uint8_t)pool->pg_bits, &first, &last);
    key_begin(&prefix, 'c');
    key_u32(&prefix, c->pool);
    from = prefix;
    if (c->after.len == 0)
        key_u64(&from, first);
    key_raw(&from, c->after.data, c->after.len);
    if (c->after.len > 0)
        key_u8(&from, 0); /* the first key behind it */
    answer->chunks = arena_alloc(q->arena, (most + 1) * sizeof *answer->chunks);
    walk_init(&w, q, &prefix);
    for (walk_seek(&w, &from); walk_here(&w, &key, &value); walk_next(&w)) {
        struct key_reader r;
        struct chunk_row row;
        uint8_t token[TOKEN_CHUNK];
        key_reader_init(&r, key, prefix.length);
        uint64_t hash = key_read_u64(&r);
        if (hash > last)
            break;
        if (answer->n_chunks == most) {
            answer->truncated = most > 0;
            break;
        }
        key_reader_init(&r, key, prefix.length);
        key_read_raw(&r, token, sizeof token);
        if (!chunk_row_decode(value, &row))
            q->error = ERR_CORRUPT;
        answer->chunks[answer->n_chunks++] = chunk_entry(q, token + 8, &row);
        answer->next = query_copy(q, token, sizeof token);
    }
    if (!answer->truncated)
        answer->next = (ProtobufCBinaryData){0};
    walk_release(&w);
    return OK;
}

static bool get_chunk_row(struct query *q, uint32_t pool, const uint8_t *id, struct chunk_row *row)
{
    struct key key;
    struct kv_slice value;
    struct chunk_id chunk;
    chunk_id_decode(id, &chunk);
    key_chunk(&key, pool, &chunk);
    if (!query_get(q, &key, &value))
        return false;
    if (!chunk_row_decode(value, row))
        q->error = ERR_CORRUPT;
    return q->error == OK;
}

enum err query_get_chunk(struct query *q, const GetChunk *c)
{
    struct chunk_row row;
    if (c->chunk_id.len != CHUNK_ID_BYTES)
        return ERR_INVALID;
    if (!get_chunk_row(q, c->pool, c->chunk_id.data, &row))
        return ERR_NOT_FOUND;
    q->answer->chunks = arena_alloc(q->arena, sizeof *q->answer->chunks);
    q->answer->chunks[q->answer->n_chunks++] = chunk_entry(q, c->chunk_id.data, &row);
    return OK;
}

/* One r row with what its chunk's row says; NULL when the chunk is gone (never in one snapshot). */
static RepairEntry *repair_entry(struct query *q, struct kv_slice key)
{
    struct key_reader r;
    struct chunk_row row;
    uint8_t id[CHUNK_ID_BYTES];
    RepairEntry *entry = arena_alloc(q->arena, sizeof *entry);
    repair_entry__init(entry);
    key_reader_init(&r, key, 1);
    entry->pool = key_read_u32(&r);
    entry->pg = key_read_u32(&r);
    (void)key_read_u8(&r);
    key_read_raw(&r, id, sizeof id);
    if (r.failed || !get_chunk_row(q, entry->pool, id, &row))
        return NULL;
    entry->chunk_id = query_copy(q, id, sizeof id);
    entry->length = row.length;
    entry->nonce = row.nonce;
    entry->began = row.began;
    entry->indexes = arena_alloc(q->arena, POOL_SLOTS_MAX * sizeof *entry->indexes);
    for (uint32_t i = 0; i < POOL_SLOTS_MAX; i++)
        if (row.missing >> i & 1)
            entry->indexes[entry->n_indexes++] = i;
    return entry;
}

enum err query_list_repairs(struct query *q, const ListRepairs *c)
{
    struct key prefix, from;
    struct walk w;
    struct kv_slice key, value;
    Answer *answer = q->answer;
    size_t most = page_size(c->max, CHUNKS_MAX_PAGE);
    if (c->after.len != 0 && c->after.len != TOKEN_REPAIR)
        return ERR_INVALID;
    key_begin(&prefix, 'r');
    if (c->pool != 0 || !c->all_pgs)
        key_u32(&prefix, c->pool);
    if (!c->all_pgs)
        key_u32(&prefix, c->pg);
    answer->repairs = arena_alloc(q->arena, (most + 1) * sizeof *answer->repairs);
    walk_init(&w, q, &prefix);
    if (c->after.len > 0) {
        key_begin(&from, 'r');
        key_raw(&from, c->after.data, c->after.len);
        key_u8(&from, 0);
        walk_seek(&w, &from);
    }
    for (; walk_here(&w, &key, &value); walk_next(&w)) {
        if (answer->n_repairs == most) {
            answer->truncated = most > 0;
            break;
        }
        RepairEntry *entry = repair_entry(q, key);
        if (entry == NULL)
            continue;
        answer->repairs[answer->n_repairs++] = entry;
        answer->next = query_copy(q, (const uint8_t *)key.data + 1, key.length - 1);
    }
    if (!answer->truncated)
        answer->next = (ProtobufCBinaryData){0};
    walk_release(&w);
    return OK;
}

enum err query_list_due(struct query *q, const ListDue *c)
{
    struct key prefix;
    struct walk w;
    struct kv_slice key, value;
    Answer *answer = q->answer;
    size_t most = page_size(c->max, LIST_MAX);
    answer->due = arena_alloc(q->arena, (most + 1) * sizeof *answer->due);
    key_begin(&prefix, 'g');
    walk_init(&w, q, &prefix);
    for (; walk_here(&w, &key, &value); walk_next(&w)) {
        struct key_reader r;
        struct due_row row;
        key_reader_init(&r, key, 1);
        uint64_t due = key_read_u64(&r);
        if (c->until < 0 || due > (uint64_t)c->until) /* the list rows are behind any time */
            break;
        if (answer->n_due == most) {
            answer->truncated = most > 0;
            break;
        }
        if (!due_row_decode(value, &row)) {
            q->error = ERR_CORRUPT;
            break;
        }
        DueEntry *entry = arena_alloc(q->arena, sizeof *entry);
        due_entry__init(entry);
        entry->due = (int64_t)due;
        entry->next_sequence = row.next_sequence;
        entry->run = arena_alloc(q->arena, sizeof *entry->run);
        run_to_message(&row.run, q->arena, entry->run);
        answer->due[answer->n_due++] = entry;
    }
    walk_release(&w);
    return OK;
}
