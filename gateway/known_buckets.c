#include "gateway/known_buckets.h"
#include <string.h>
#include "common/base/digest.h"

#define KNOWN_TTL (10 * SYS_SECOND) /* as users: a changed default pool is seen at most so late */

void known_buckets_init(struct known_buckets *k)
{
    *k = (struct known_buckets){0};
    sys_mutex_init(&k->lock);
}

void known_buckets_release(struct known_buckets *k)
{
    sys_mutex_release(&k->lock);
}

static struct known_bucket *place_of(struct known_buckets *k, const void *name, size_t n)
{
    return &k->places[xxh64(name, n, 0) % KNOWN_BUCKETS];
}

void known_buckets_note(struct known_buckets *k, const BucketInfo *info)
{
    struct known_bucket b = {.id = info->id, .pool = info->pool};
    size_t owner = strlen(info->owner);
    if (info->name.len == 0 || info->name.len > KNOWN_NAME_MAX || owner > KNOWN_OWNER_MAX)
        return;
    memcpy(b.name, info->name.data, info->name.len);
    memcpy(b.owner, info->owner, owner);
    b.until = sys_now() + KNOWN_TTL;
    sys_mutex_lock(&k->lock);
    *place_of(k, info->name.data, info->name.len) = b;
    sys_mutex_unlock(&k->lock);
}

void known_buckets_forget(struct known_buckets *k, const char *name)
{
    struct known_bucket *b = place_of(k, name, strlen(name));
    sys_mutex_lock(&k->lock);
    if (strcmp(b->name, name) == 0)
        b->until = 0;
    sys_mutex_unlock(&k->lock);
}

bool known_buckets_find(struct known_buckets *k, const char *name, struct known_bucket *out)
{
    int64_t now = sys_now();
    const struct known_bucket *b = place_of(k, name, strlen(name));
    sys_mutex_lock(&k->lock);
    bool found = b->until > now && strcmp(b->name, name) == 0;
    if (found)
        *out = *b;
    sys_mutex_unlock(&k->lock);
    return found;
}
