/* A sorted map of keys to versions, so that a snapshot is a number. Not locked: the store's mutex
 * guards it. Nodes and versions never move, and one that a live snapshot can see is never freed:
 * that is what lets an iterator stand on them between two calls. */
#pragma once
#include "common/kv/kv.h"

enum { TABLE_HEIGHT_MAX = 16 };

struct version {
    struct version *older;
    uint64_t sequence;
    size_t length;
    bool deleted;
    uint8_t bytes[];
};

struct node {
    struct version *newest;
    struct node *previous;
    struct node *garbage_previous, *garbage_next; /* in the table's list of nodes to look at */
    bool garbage;
    unsigned height;
    size_t key_length;
    uint8_t *key;
    struct node *next[];
};

struct kv_snapshot {
    uint64_t sequence;
    struct kv_snapshot *previous, *next;
};

struct table {
    struct node *head; /* without a key, of full height */
    struct node *last; /* NULL when empty */
    struct node *garbage;
    struct kv_snapshot *oldest, *newest; /* by sequence */
    uint64_t random;                     /* heights: seeded by a constant */
    uint64_t live_bytes;                 /* keys and values of what is visible now */
    uint64_t live_keys;
};

void table_init(struct table *t);
void table_release(struct table *t);
/* A version with this sequence, not below the last one given. value NULL: a deletion. */
void table_put(struct table *t, uint64_t sequence, struct kv_slice key,
               const struct kv_slice *value);
struct kv_snapshot *table_snapshot_new(struct table *t, uint64_t sequence);
void table_snapshot_free(struct table *t, struct kv_snapshot *s);

/* What sequence sees of a node; NULL: nothing. */
const struct version *node_at(const struct node *n, uint64_t sequence);
/* The first node with key >= key; NULL: none. */
struct node *table_seek(const struct table *t, struct kv_slice key);
int key_compare(struct kv_slice a, struct kv_slice b);
