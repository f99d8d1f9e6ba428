/* Buckets: their rows, and the exact counters whose existence says that a bucket id is alive. */
#include <assert.h>
#include "metadata/state/state_internal.h"

bool usage_get(struct apply *a, uint64_t bucket, struct usage *usage)
{
    struct key key;
    struct kv_slice value;
    key_usage(&key, bucket);
    if (!txn_get(a->txn, &key, &value))
        return false;
    if (!usage_decode(value, usage))
        a->txn->error = ERR_CORRUPT;
    return true;
}

void usage_put(struct apply *a, uint64_t bucket, const struct usage *usage)
{
    uint8_t bytes[USAGE_BYTES];
    struct key key;
    usage_encode(usage, bytes);
    key_usage(&key, bucket);
    txn_put(a->txn, &key, bytes, sizeof bytes);
}

enum err apply_create_bucket(struct apply *a, const CreateBucket *c)
{
    struct key key;
    BucketInfo *old, info = BUCKET_INFO__INIT;
    PoolInfo *pool;
    struct usage usage = {0};
    if (c->name.len == 0 || c->name.len > STATE_TEXT_MAX || c->owner[0] == 0 ||
        strlen(c->owner) > STATE_TEXT_MAX || strlen(c->location) > STATE_TEXT_MAX)
        return ERR_INVALID;
    key_bucket(&key, c->name.data, c->name.len);
    if (txn_get_message(a->txn, &key, &bucket_info__descriptor, &old)) {
        a->result->index = old->id;
        return strcmp(old->owner, c->owner) == 0 ? ERR_BUCKET_OWNED : ERR_BUCKET_EXISTS;
    }
    if (!map_get_pool(a, c->pool, &pool))
        return ERR_NOT_FOUND;
    info.id = a->index;
    info.name = c->name;
    info.owner = c->owner;
    info.pool = c->pool;
    info.created = a->time;
    info.location = c->location;
    txn_put_message(a->txn, &key, &info.base);
    usage_put(a, info.id, &usage);
    return OK;
}

enum err apply_delete_bucket(struct apply *a, const DeleteBucket *c)
{
    struct key key;
    struct kv_slice row, value;
    BucketInfo *info;
    struct usage usage;
    if (c->name.len == 0 || c->name.len > STATE_TEXT_MAX)
        return ERR_INVALID;
    key_bucket(&key, c->name.data, c->name.len);
    if (!txn_get_message(a->txn, &key, &bucket_info__descriptor, &info))
        return ERR_NO_BUCKET;
    if (info->id != c->bucket)
        return ERR_MISMATCH;
    if (!usage_get(a, info->id, &usage))
        return ERR_NO_BUCKET;
    if (usage.objects > 0)
        return ERR_BUCKET_NOT_EMPTY;
    txn_remove(a->txn, &key);
    key_usage(&key, info->id);
    txn_remove(a->txn, &key);
    key_begin(&key, 'u');
    key_u64(&key, info->id);
    if (txn_first(a->txn, &key, &row, &value))
        expiry_add(a, a->time, EXPIRE_UPLOADS, &info->id, sizeof info->id);
    return OK;
}
