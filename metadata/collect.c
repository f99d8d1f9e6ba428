#include <string.h>
#include "common/client/map_cache.h"
#include "common/client/shard_client.h"
#include "metadata/service_internal.h"

/* Deleting what nobody can reach any more. The state machine queued the runs of a replaced or
 * deleted object under the log time at which they are due (hazard 19); here the leader first tells
 * every holder's disk to drop its shards, then removes the chunks' rows, some chunks of one run at a
 * time. A disk that is down, suspect or does not answer is not waited for: what it keeps is unknown to
 * metadata from then on. A crash in between repeats deletes, which is harmless. */

enum { CHUNKS_AT_ONCE = 64, RUNS_AT_ONCE = 16 };

static enum err refresh_map(struct metadata_service *s, struct arena *arena,
                            struct cluster_map *map)
{
    GetMap get = GET_MAP__INIT;
    get.since = map->epoch;
    Query query = QUERY__INIT;
    query.body_case = QUERY__BODY_GET_MAP;
    query.get_map = &get;
    Answer *answer = NULL;
    enum err e = service_read(s, &query, arena, &answer);
    if (e == OK && answer->map && answer->map->epoch > map->epoch)
        e = map_apply_delta(map, answer->map);
    return e;
}

static enum err list_due(struct metadata_service *s, struct arena *arena, Answer **answer)
{
    int64_t until = service_log_time(s);
    if (service_time_held(s, until))
        return ERR_BUSY;
    /* A gateway that was not heard of for so long has died, or cannot reach the disks either. */
    int64_t read = reports_oldest_read(&s->reports, sys_now() - s->config.timeouts.out_after);
    int64_t limit = until - s->config.timeouts.max_read_age;
    if (read < until)
        until = read > limit ? read : limit;
    ListDue list = LIST_DUE__INIT;
    list.until = until;
    list.max = RUNS_AT_ONCE;
    Query query = QUERY__INIT;
    query.body_case = QUERY__BODY_LIST_DUE;
    query.list_due = &list;
    return service_read(s, &query, arena, answer);
}

/* Tells one disk to drop the shards of those of the chunks that it may hold. */
static void remove_from(struct shard_client *shards, const struct cluster_map *map,
                        const struct cluster_pool *pool, const struct cluster_disk *disk,
                        const struct chunk_id *chunks, size_t count)
{
    struct chunk_id held[CHUNKS_AT_ONCE];
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t pg = pg_of_chunk(pool, &chunks[i]);
        for (unsigned slot = 0; slot < pool_width(pool); slot++) {
            if (!slot_has_holder(pool_slot(pool, pg, slot), disk->id))
                continue;
            held[n++] = chunks[i];
            break;
        }
    }
    if (n == 0 || !disk->up || disk->suspect || !cluster_map_disk_holds(map, disk->id))
        return;
    const struct request_context request = {.deadline = sys_now() + SYS_SECOND};
    enum err e = shard_remove(shards, &request, disk->id, pool->id, held, n);
    if (e != OK)
        log_warn("collect", "a disk did not delete; its copies are swept later disk=%u: %s",
                 disk->id, err_text(e));
}

static enum err remove_rows(struct metadata_service *s, struct arena *arena, const DueEntry *due,
                            uint32_t count)
{
    CollectRun body = COLLECT_RUN__INIT;
    body.due = due->due;
    body.write_id = due->run->write_id;
    body.first_sequence = due->run->first_sequence;
    body.next_sequence = due->next_sequence;
    body.count = count;
    Command command = COMMAND__INIT;
    command.body_case = COMMAND__BODY_COLLECT_RUN;
    command.collect_run = &body;
    Result *result = NULL;
    int64_t deadline = sys_now() + s->config.timeouts.metadata_call;
    enum err e = service_execute(s, &command, deadline, arena, &result);
    return e == OK ? err_from_wire(result->error) : e;
}

static enum err collect_run(struct metadata_service *s, struct shard_client *shards,
                            const struct cluster_map *map, struct arena *arena, const DueEntry *due)
{
    const ChunkRun *run = due->run;
    const struct cluster_pool *pool = cluster_map_pool(map, run->pool);
    uint32_t end = run->first_sequence + run->count;
    if (!pool || run->write_id.len != WRITE_ID_BYTES || due->next_sequence >= end)
        return ERR_FORMAT;
    uint32_t count = end - due->next_sequence;
    if (count > CHUNKS_AT_ONCE)
        count = CHUNKS_AT_ONCE;
    struct chunk_id chunks[CHUNKS_AT_ONCE];
    for (uint32_t i = 0; i < count; i++) {
        memcpy(chunks[i].write.bytes, run->write_id.data, WRITE_ID_BYTES);
        chunks[i].sequence = due->next_sequence + i;
    }
    for (size_t i = 0; i < map->disk_count; i++)
        remove_from(shards, map, pool, &map->disks[i], chunks, count);
    return remove_rows(s, arena, due, count);
}

enum err collect_some(struct metadata_service *s, struct shard_client *shards,
                      struct cluster_map *map, bool *more)
{
    struct arena arena;
    arena_init(&arena);
    Answer *answer = NULL;
    enum err e = refresh_map(s, &arena, map);
    if (e == OK)
        e = list_due(s, &arena, &answer);
    *more = e == OK && answer->n_due > 0;
    for (size_t i = 0; e == OK && i < answer->n_due; i++)
        e = collect_run(s, shards, map, &arena, answer->due[i]);
    arena_release(&arena);
    return e;
}
