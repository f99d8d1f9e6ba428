#include <string.h>
#include "chunkserver/backfill_internal.h"
#include "common/client/shard_client.h"

/* One task: a slot filled or looked through, or the repair rows of a placement group drained. */

enum { PAGE_MAX = 256, FINISH_MAX = 64 };

#define REBUILD_WAIT (60 * SYS_SECOND)
#define LIST_OLD     (10 * SYS_SECOND)

/* What went wrong in a task, for one line in the log. */
struct trouble {
    uint64_t count;
    enum err first;
    bool stopped; /* told to stop, or metadata is away: no use going on */
};

static void note(struct trouble *t, enum err e)
{
    if (t->count++ == 0)
        t->first = e;
}

/* What fails again and again is told ever less often. */
static void tell(const struct trouble *t, const struct task *task)
{
    bool told = (task->failures & (task->failures - 1)) != 0; /* but at 0, 1, 2, 4, 8, .. */
    if (t->count == 0 || t->stopped || told)
        return;
    log_warn("backfill",
             "%llu shards cannot be rebuilt now, they are tried again: %s pool=%u pg=%u",
             (unsigned long long)t->count, err_text(t->first), task->pool, task->pg);
}

struct chunk_facts {
    struct chunk_id id;
    uint32_t length;
    uint64_t nonce;
    int64_t began;
};

/* Whether metadata still has the chunk (hazard 19). A group that does not answer says nothing. */
static enum err still_there(struct backfill *b, uint32_t pool, const struct chunk_id *id,
                            bool *there)
{
    struct arena arena;
    arena_init(&arena);
    uint8_t bytes[CHUNK_ID_BYTES];
    chunk_id_encode(id, bytes);
    GetChunk get = GET_CHUNK__INIT;
    get.pool = pool;
    get.chunk_id = (ProtobufCBinaryData){.len = CHUNK_ID_BYTES, .data = bytes};
    Query query = QUERY__INIT;
    query.body_case = QUERY__BODY_GET_CHUNK;
    query.get_chunk = &get;
    const struct request_context request = backfill_request(b);
    Answer *answer = NULL;
    enum err e = metadata_query(b->metadata, &request, &query, &arena, &answer);
    *there = e == OK && answer->n_chunks > 0;
    arena_release(&arena);
    return e == ERR_NOT_FOUND ? OK : e;
}

/* A chunk that was collected while its shard was made: the collector has passed this disk already, and
 * nobody else would ever delete what has just come. */
static enum err drop_if_gone(struct backfill *b, uint32_t pool, const struct chunk_id *id,
                             disk_id target, bool *made)
{
    bool there;
    enum err e = still_there(b, pool, id, &there);
    if (e != OK || there)
        return e;
    *made = false;
    const struct request_context request = backfill_request(b);
    return shard_remove(b->io->shards, &request, target, pool, id, 1);
}

/* Makes one shard anew on its disk. OK also when the chunk has been deleted meanwhile; *made says
 * whether the shard is there now. */
static enum err rebuild(struct backfill *b, const struct task *t, const struct chunk_facts *c,
                        unsigned index, disk_id target, int64_t listed_at, bool *made)
{
    *made = false;
    if (!backfill_may_move(b))
        return ERR_STOPPING;
    bool there = true;
    enum err e = OK;
    if (sys_now() - listed_at > LIST_OLD)
        e = still_there(b, t->pool, &c->id, &there);
    if (e != OK || !there)
        return e;
    const struct request_context request = {.deadline = sys_now() + REBUILD_WAIT,
                                            .cancel = b->cancel};
    uint64_t moved = 0;
    e = chunk_rebuild(b->io, &request, t->pool, &c->id, c->length, c->nonce, c->began,
                      (uint8_t)index, target, &moved);
    backfill_moved(b, t->owner, moved);
    *made = e == OK;
    if (e == OK)
        e = drop_if_gone(b, t->pool, &c->id, target, made);
    if (e == ERR_NOT_FOUND || e == ERR_SHARDS_LOST) {
        enum err asked = still_there(b, t->pool, &c->id, &there);
        return asked == OK && !there ? OK : e;
    }
    return e;
}

/* ---- a slot ---- */

static bool still_ours(struct backfill *b, const struct task *t)
{
    const struct cluster_map *map = map_cache_ref(b->service->map);
    const struct cluster_pool *pool = cluster_map_pool(map, t->pool);
    const struct pg_slot *slot = pool ? pool_slot(pool, t->pg, t->slot) : NULL;
    bool ours = slot && slot_newest(slot) == t->disk &&
                (t->kind != TASK_FILL || slot_since(slot) == t->since_epoch);
    map_cache_unref(b->service->map, map);
    return ours;
}

struct compared {
    int64_t listed, done;
    uint64_t made;
};

/* One chunk of the slot's list against our own index. */
static void compare(struct backfill *b, const struct task *t, const struct chunk_facts *c,
                    int64_t listed_at, struct compared *n, struct trouble *trouble)
{
    const struct shard_id id = {.chunk = c->id, .index = (uint8_t)t->slot};
    struct stored_shard shard;
    group_await(t->owner, t->pool, t->pg);
    enum err e = shard_store_stat(t->owner->store, t->pool, &id, &shard);
    if (e == OK && shard.nonce == c->nonce)
        return;
    bool made = false;
    if (e == OK || e == ERR_NOT_FOUND)
        e = rebuild(b, t, c, t->slot, t->disk, listed_at, &made);
    n->made += made;
    if (e == ERR_STOPPING || e == ERR_CLIENT_GONE || e == ERR_DISK_FAILED || e == ERR_UNAVAILABLE)
        trouble->stopped = true;
    if (e != OK)
        note(trouble, e);
}

enum err group_chunks(struct metadata_client *metadata, const struct request_context *request,
                      uint32_t pool, uint32_t pg, ProtobufCBinaryData after, uint32_t max,
                      struct arena *arena, Answer **answer)
{
    ListChunks list = LIST_CHUNKS__INIT;
    list.pool = pool;
    list.pg = pg;
    list.after = after;
    list.max = max;
    Query query = QUERY__INIT;
    query.body_case = QUERY__BODY_LIST_CHUNKS;
    query.list_chunks = &list;
    return metadata_query(metadata, request, &query, arena, answer);
}

static enum err list_chunks(struct backfill *b, const struct task *t, ProtobufCBinaryData after,
                            struct arena *arena, Answer **answer)
{
    const struct request_context request = backfill_request(b);
    return group_chunks(b->metadata, &request, t->pool, t->pg, after, PAGE_MAX, arena, answer);
}

static bool facts_of(const ChunkEntry *entry, struct chunk_facts *out)
{
    if (entry->chunk_id.len != CHUNK_ID_BYTES)
        return false;
    chunk_id_decode(entry->chunk_id.data, &out->id);
    out->length = entry->length;
    out->nonce = entry->nonce;
    out->began = entry->began;
    return true;
}

/* Everything that is on the list now; ERR_MISMATCH when the slot has moved on. */
static enum err compare_all(struct backfill *b, const struct task *t, struct compared *n,
                            struct trouble *trouble)
{
    struct arena arenas[2]; /* the page before holds the token of this one */
    arena_init(&arenas[0]);
    arena_init(&arenas[1]);
    ProtobufCBinaryData after = {0};
    enum err e = OK;
    bool more = true;
    for (unsigned page = 0; e == OK && more; page++) {
        struct arena *arena = &arenas[page % 2];
        arena_clear(arena);
        Answer *answer = NULL;
        int64_t listed_at = sys_now();
        e = list_chunks(b, t, after, arena, &answer);
        if (e != OK)
            break;
        if (t->kind == TASK_FILL)
            backfill_count(b, t->owner, 0, (int64_t)answer->n_chunks);
        n->listed += (int64_t)answer->n_chunks;
        for (size_t i = 0; e == OK && i < answer->n_chunks; i++) {
            struct chunk_facts c;
            if (!facts_of(answer->chunks[i], &c))
                e = ERR_FORMAT;
            else if (!backfill_goes_on(b))
                e = ERR_STOPPING;
            else if (!still_ours(b, t))
                e = ERR_MISMATCH;
            else
                compare(b, t, &c, listed_at, n, trouble);
            n->done += e == OK;
            if (e == OK && t->kind == TASK_FILL)
                backfill_count(b, t->owner, 1, 0);
            if (e == OK && trouble->stopped)
                e = trouble->first;
        }
        after = answer->next;
        more = answer->truncated && after.len > 0;
    }
    arena_release(&arenas[0]);
    arena_release(&arenas[1]);
    return e;
}

static enum err finish_holder(struct backfill *b, const struct task *t)
{
    struct arena arena;
    arena_init(&arena);
    FinishHolder body = FINISH_HOLDER__INIT;
    body.pool = t->pool;
    body.pg = t->pg;
    body.slot = t->slot;
    body.disk = t->disk;
    body.since_epoch = t->since_epoch;
    Command command = COMMAND__INIT;
    command.body_case = COMMAND__BODY_FINISH_HOLDER;
    command.finish_holder = &body;
    const struct request_context request = backfill_request(b);
    Result *result = NULL;
    enum err e = metadata_execute(b->metadata, &request, &command, &arena, &result);
    if (result)
        map_cache_seen(b->service->map, result->epoch);
    arena_release(&arena);
    return e;
}

static enum err run_slot(struct backfill *b, const struct task *t)
{
    struct trouble trouble = {0};
    struct compared n = {0};
    enum err e = compare_all(b, t, &n, &trouble);
    tell(&trouble, t);
    if (t->kind == TASK_AUDIT && n.made > 0)
        log_warn("backfill",
                 "shards that this disk had lost are rebuilt disk=%u pool=%u pg=%u shards=%llu",
                 t->disk, t->pool, t->pg, (unsigned long long)n.made);
    if (e == OK && trouble.count > 0)
        e = trouble.first;
    if (e == OK)
        e = shard_store_flush(t->owner->store, sys_now() + REBUILD_WAIT);
    if (e == OK && t->kind == TASK_FILL)
        e = finish_holder(b, t);
    if (e == OK)
        backfill_listed(b, (uint64_t)n.listed);
    else if (t->kind == TASK_FILL)
        backfill_count(b, t->owner, -n.done, -n.listed); /* comes again */
    return e == ERR_MISMATCH ? OK : e;                   /* moved on: the map says what is next */
}

/* ---- repair rows ---- */

struct finished {
    RepairKey keys[FINISH_MAX];
    RepairKey *list[FINISH_MAX];
    uint8_t ids[FINISH_MAX][CHUNK_ID_BYTES];
    size_t count;
};

static enum err finish_repairs(struct backfill *b, const struct task *t, struct finished *f)
{
    if (f->count == 0)
        return OK;
    struct arena arena;
    arena_init(&arena);
    FinishRepairs body = FINISH_REPAIRS__INIT;
    body.shards = f->list;
    body.n_shards = f->count;
    Command command = COMMAND__INIT;
    command.body_case = COMMAND__BODY_FINISH_REPAIRS;
    command.finish_repairs = &body;
    const struct request_context request = backfill_request(b);
    Result *result = NULL;
    enum err e = metadata_execute(b->metadata, &request, &command, &arena, &result);
    if (e == OK)
        backfill_repaired(b, t->owner, f->count);
    f->count = 0;
    arena_release(&arena);
    return e;
}

static void add_finished(struct finished *f, const struct task *t, const struct chunk_id *id,
                         unsigned index, disk_id disk)
{
    size_t i = f->count++;
    repair_key__init(&f->keys[i]);
    chunk_id_encode(id, f->ids[i]);
    f->keys[i].pool = t->pool;
    f->keys[i].chunk_id = (ProtobufCBinaryData){.len = CHUNK_ID_BYTES, .data = f->ids[i]};
    f->keys[i].index = index;
    f->keys[i].disk = disk;
    f->list[i] = &f->keys[i];
}

/* One missing shard: to its slot's newest holder, wherever that is. *disk: who has it now, 0: the
 * chunk is gone. */
static enum err repair_one(struct backfill *b, const struct task *t, const struct chunk_facts *c,
                           unsigned index, int64_t listed_at, disk_id *disk)
{
    const struct cluster_map *map = map_cache_ref(b->service->map);
    const struct cluster_pool *pool = cluster_map_pool(map, t->pool);
    const struct pg_slot *slot = pool ? pool_slot(pool, t->pg, index) : NULL;
    disk_id target = slot ? slot_newest(slot) : 0;
    const struct cluster_disk *d = cluster_map_disk(map, target);
    bool usable = d && d->up && d->admin != DISK_FAILED;
    map_cache_unref(b->service->map, map);
    *disk = target;
    struct chunk_disk *own = chunk_disk_use(b->service, target);
    if (!own && !usable)
        return ERR_UNAVAILABLE;
    if (own) {
        /* An order may have been carried out already, by backfill or by the writer itself. */
        const struct shard_id id = {.chunk = c->id, .index = (uint8_t)index};
        struct stored_shard shard;
        group_await(own, t->pool, t->pg);
        enum err e = shard_store_verify(own->store, t->pool, &id, &shard, sys_now() + REBUILD_WAIT);
        chunk_disk_leave(own);
        if (e == OK && shard.nonce == c->nonce)
            return OK;
        if (e == ERR_DISK_FAILED)
            return e;
    }
    bool made;
    enum err e = rebuild(b, t, c, index, target, listed_at, &made);
    if (!made)
        *disk = 0;
    return e;
}

static enum err list_repairs(struct backfill *b, const struct task *t, ProtobufCBinaryData after,
                             struct arena *arena, Answer **answer)
{
    ListRepairs list = LIST_REPAIRS__INIT;
    list.pool = t->pool;
    list.pg = t->pg;
    list.after = after;
    list.max = PAGE_MAX;
    Query query = QUERY__INIT;
    query.body_case = QUERY__BODY_LIST_REPAIRS;
    query.list_repairs = &list;
    const struct request_context request = backfill_request(b);
    return metadata_query(b->metadata, &request, &query, arena, answer);
}

static enum err repair_entry(struct backfill *b, const struct task *t, const RepairEntry *entry,
                             int64_t listed_at, struct finished *f, struct trouble *trouble)
{
    if (entry->chunk_id.len != CHUNK_ID_BYTES)
        return ERR_FORMAT;
    struct chunk_facts c = {.length = entry->length, .nonce = entry->nonce, .began = entry->began};
    chunk_id_decode(entry->chunk_id.data, &c.id);
    for (size_t i = 0; i < entry->n_indexes; i++) {
        if (!backfill_goes_on(b))
            return ERR_STOPPING;
        disk_id disk;
        enum err e = repair_one(b, t, &c, entry->indexes[i], listed_at, &disk);
        if (e == ERR_STOPPING || e == ERR_CLIENT_GONE)
            return e;
        if (e != OK)
            note(trouble, e);
        else if (disk != 0)
            add_finished(f, t, &c.id, entry->indexes[i], disk);
        if (f->count == FINISH_MAX) {
            e = finish_repairs(b, t, f);
            if (e != OK)
                return e;
        }
    }
    return OK;
}

static enum err run_repairs(struct backfill *b, const struct task *t)
{
    struct arena arenas[2];
    arena_init(&arenas[0]);
    arena_init(&arenas[1]);
    struct finished *f = sys_alloc(sizeof *f);
    struct trouble trouble = {0};
    ProtobufCBinaryData after = {0};
    enum err e = OK;
    bool more = true;
    for (unsigned page = 0; e == OK && more; page++) {
        struct arena *arena = &arenas[page % 2];
        arena_clear(arena);
        Answer *answer = NULL;
        int64_t listed_at = sys_now();
        e = list_repairs(b, t, after, arena, &answer);
        for (size_t i = 0; e == OK && i < answer->n_repairs; i++)
            e = repair_entry(b, t, answer->repairs[i], listed_at, f, &trouble);
        if (e == OK)
            e = finish_repairs(b, t, f);
        if (e != OK)
            break;
        after = answer->next;
        more = answer->truncated && after.len > 0;
    }
    sys_free(f);
    arena_release(&arenas[0]);
    arena_release(&arenas[1]);
    tell(&trouble, t);
    return e == OK ? trouble.first : e;
}

enum err backfill_run(struct backfill *b, const struct task *t)
{
    if (!chunk_disk_enter(t->owner))
        return ERR_UNAVAILABLE;
    /* Of a slot's disk: another one may have come to its directory since. */
    bool there = t->kind == TASK_REPAIR || chunk_disk_id(t->owner) == t->disk;
    enum err e = t->kind == TASK_REPAIR ? run_repairs(b, t)
                 : there                ? run_slot(b, t)
                                        : ERR_UNAVAILABLE;
    chunk_disk_leave(t->owner);
    return e;
}
