/* The writes of one apply batch before they are written: a sorted overlay over the kv store, so
 * that each command reads what the commands before it wrote, and all of it goes out in one synced
 * kv batch (hazard 1).
 *
 * A read error of the store sticks in `error`; reads then find nothing and the batch is never
 * written, so that callers need not look at it. One thread. */
#pragma once
#include <stdbool.h>
#include <protobuf-c/protobuf-c.h>
#include "common/base/arena.h"
#include "metadata/state/keys.h"

struct txn_entry {
    struct kv_slice key, value;
    bool removed;
};
struct txn {
    struct kv *kv;
    struct arena *arena; /* holds all keys and values until release */
    struct kv_iterator *iterator;
    bool scanning;
    struct txn_entry *entries; /* ascending by key */
    size_t count, room;
    uint64_t hash; /* over every write in order: not of how commands fell into batches */
    unsigned rows; /* writes since the caller last set it to 0 */
    enum err error;
};

void txn_init(struct txn *t, struct kv *kv, struct arena *arena, uint64_t hash);
void txn_release(struct txn *t);
/* Writes all of it, synced, with one more row that is not part of the hash. */
enum err txn_write(struct txn *t, const struct key *key, const void *value, size_t n) MUST_USE;

/* value lives in the arena (or the store's copy in it). */
bool txn_get(struct txn *t, const struct key *key, struct kv_slice *value);
void txn_put(struct txn *t, const struct key *key, const void *value, size_t n);
void txn_remove(struct txn *t, const struct key *key);

/* Rows that are messages. A row that does not unpack sets error to ERR_CORRUPT. */
bool txn_get_message(struct txn *t, const struct key *key, const ProtobufCMessageDescriptor *type,
                     void *out);
bool txn_unpack(struct txn *t, const ProtobufCMessageDescriptor *type, struct kv_slice bytes,
                void *out);
void txn_put_message(struct txn *t, const struct key *key, const ProtobufCMessage *m);

/* The rows that begin with prefix, ascending, from `from` on (NULL: the first). Writing rows while
 * scanning is allowed. One scan at a time; end it. Key and value live in the arena. */
struct txn_scan {
    struct txn *txn;
    struct key prefix;
    struct key next; /* the least key not yet given */
    bool sought;
};
void txn_scan_begin(struct txn_scan *s, struct txn *t, const struct key *prefix,
                    const struct key *from);
bool txn_scan_next(struct txn_scan *s, struct kv_slice *key, struct kv_slice *value);
void txn_scan_end(struct txn_scan *s);
/* The first row that begins with prefix. */
bool txn_first(struct txn *t, const struct key *prefix, struct kv_slice *key,
               struct kv_slice *value);
