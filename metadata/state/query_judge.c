/* What becomes of shards that a disk holds. Disks never judge age (hazard 5): they send what they hold,
 * with the stamps in its headers, and are told from one state, at its own log time:
 *
 *   keep   a chunk's row names it and the disk is a holder of its slot, or a former one whose copy is
 *          still of use
 *   young  no row names its chunk, and a commit that does may still come
 *   dead   no row names it, and its stamp is 2 x max_write_age old; or the disk is no holder any more,
 *          the slot's only one has been whole for former_keep (hazard 17) and lacks no shard of the chunk
 *
 *  V1  A commit is refused max_write_age after its stamp (chunk.c C3), so what is called dead for want
 *      of a row never gets one: parts of open uploads and due deletes have their rows (C1).
 *  V2  A verdict is worth nothing once the slot has another newest holder: whoever acts on it compares
 *      since_epoch first. */
#include "metadata/state/query_internal.h"

enum { JUDGE_MAX = 512 };

/* The rows of one placement group; the claims of a request mostly lie in the same one. */
struct group {
    bool known;
    uint32_t pg;
    PgInfo *info;
};

static bool is_holder(const Slot *slot, uint32_t disk)
{
    for (size_t i = 0; i < slot->n_holders; i++)
        if (slot->holders[i]->disk == disk)
            return true;
    return false;
}

static Verdict judge(struct query *q, const JudgeShards *c, const ShardClaim *claim,
                     const struct chunk_id *chunk, const Slot *slot)
{
    struct key key;
    struct kv_slice value;
    struct chunk_row row;
    int64_t now = q->answer->time;
    key_chunk(&key, c->pool, chunk);
    if (!query_get(q, &key, &value)) {
        int64_t age = claim->began < now ? now - claim->began : 0;
        return age > 2 * q->timeouts->max_write_age ? VERDICT__VERDICT_DEAD
                                                    : VERDICT__VERDICT_YOUNG;
    }
    if (!chunk_row_decode(value, &row))
        q->error = ERR_CORRUPT;
    bool whole = slot->n_holders == 1 && slot->whole_since > 0 &&
                 now - slot->whole_since > q->timeouts->former_keep &&
                 (row.missing >> claim->index & 1) == 0;
    return whole && !is_holder(slot, c->disk) ? VERDICT__VERDICT_DEAD : VERDICT__VERDICT_KEEP;
}

static enum err judge_one(struct query *q, const JudgeShards *c, const PoolInfo *pool,
                          const ShardClaim *claim, struct group *group)
{
    struct chunk_id chunk;
    struct key key;
    if (claim->chunk_id.len != CHUNK_ID_BYTES || claim->index >= pool->k + pool->m)
        return ERR_INVALID;
    chunk_id_decode(claim->chunk_id.data, &chunk);
    uint32_t pg = pg_of_hash(chunk_hash(&chunk), (uint8_t)pool->pg_bits);
    if (!group->known || group->pg != pg) {
        key_map(&key, MAP_PG, c->pool, pg);
        *group = (struct group){.known = true, .pg = pg};
        if (!query_get_message(q, &key, &pg_info__descriptor, &group->info))
            return ERR_NOT_FOUND;
    }
    if (claim->index >= group->info->n_slots || group->info->slots[claim->index]->n_holders == 0)
        return ERR_NOT_FOUND;
    const Slot *slot = group->info->slots[claim->index];
    ShardVerdict *out = arena_alloc(q->arena, sizeof *out);
    shard_verdict__init(out);
    out->verdict = judge(q, c, claim, &chunk, slot);
    out->since_epoch = slot->holders[0]->since_epoch;
    q->answer->verdicts[q->answer->n_verdicts++] = out;
    return OK;
}

enum err query_judge_shards(struct query *q, const JudgeShards *c)
{
    PoolInfo *pool;
    struct key key;
    struct group group = {0};
    enum err e = OK;
    if (c->n_shards > JUDGE_MAX)
        return ERR_TOO_BIG;
    key_map(&key, MAP_POOL, c->pool, 0);
    if (!query_get_message(q, &key, &pool_info__descriptor, &pool) || !pool->assigned)
        return ERR_NOT_FOUND;
    q->answer->verdicts = arena_alloc(q->arena, (c->n_shards + 1) * sizeof *q->answer->verdicts);
    for (size_t i = 0; e == OK && i < c->n_shards; i++)
        e = judge_one(q, c, pool, c->shards[i], &group);
    return e;
}
