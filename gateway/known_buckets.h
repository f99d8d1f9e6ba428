/* Buckets that this gateway has seen lately, for small writes: a PUT whose bytes travel in the command
 * itself needs of its bucket the id, the owner and the pool, and no log time at which it began.
 *
 * An id is never used twice and its owner never changes, and the command that names an id which is no
 * longer there is refused (hazard 13). So an entry that is out of date costs a second look, and can
 * store nothing in the wrong place. Thread-safe. */
#pragma once
#include "common/proto/types.pb-c.h"
#include "common/sys/sys.h"

enum { KNOWN_BUCKETS = 256, KNOWN_NAME_MAX = 63, KNOWN_OWNER_MAX = 64 };

struct known_bucket {
    char name[KNOWN_NAME_MAX + 1];
    char owner[KNOWN_OWNER_MAX + 1];
    uint64_t id;
    uint32_t pool;
    int64_t until; /* sys_now; 0: free place */
};

struct known_buckets {
    struct sys_mutex lock;
    struct known_bucket places[KNOWN_BUCKETS]; /* by hash of the name; the newer one stays */
};

void known_buckets_init(struct known_buckets *k);
void known_buckets_release(struct known_buckets *k);
void known_buckets_note(struct known_buckets *k, const BucketInfo *info);
void known_buckets_forget(struct known_buckets *k, const char *name);
bool known_buckets_find(struct known_buckets *k, const char *name, struct known_bucket *out);
