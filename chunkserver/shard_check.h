/* A disk that no server has open: looked through, listed, its index made anew. For `cairn chunk ..`.
 *
 * All calls wait for the disk and belong to one thread. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "chunkserver/shard_store.h"

struct shard_check;

/* Takes the disk's lock and looks at what index there is; changes nothing. ERR_NOT_FOUND,
 * ERR_DISK_IN_USE, ERR_FORMAT, ERR_IO; the reason is logged. */
enum err shard_check_open(const char *directory, struct shard_check **out) MUST_USE;
void shard_check_close(struct shard_check *c);
void shard_check_identity(const struct shard_check *c, struct shard_store_identity *out);

enum shard_record_state {
    RECORD_LIVE,       /* the index names it */
    RECORD_DEAD,       /* deleted or replaced, its space not given back */
    RECORD_BEHIND,     /* younger than the index: the next open takes it over */
    RECORD_UNFINISHED, /* no valid footer: never acknowledged, or its end has rotted */
    RECORD_STATES
};
const char *shard_record_state_name(enum shard_record_state state);

struct shard_record {
    struct stored_shard shard;
    uint32_t extent;
    uint64_t offset, bytes; /* bytes: what it takes of the extent */
    uint64_t sequence;      /* 0: unfinished */
    enum shard_record_state state;
};

/* Something that is not as it ought to be. */
enum shard_fault_kind {
    FAULT_SUPERBLOCK, /* one of its copies is bad */
    FAULT_INDEX,      /* none that can be used: the next open rebuilds it */
    FAULT_EXTENT,     /* header, reservation log or blocks of it cannot be read or are bad */
    FAULT_MISSING,    /* the index names a record that is not there */
    FAULT_CORRUPT,    /* a record does not match its checksums */
    FAULT_UNREADABLE, /* the disk cannot read it */
    FAULT_KINDS
};
const char *shard_fault_name(enum shard_fault_kind kind);

struct shard_fault {
    enum shard_fault_kind kind;
    uint32_t extent;           /* 0: not of one */
    uint64_t offset;           /* of the record */
    struct stored_shard shard; /* k is 0 when it is not about one */
};

/* Who looks on. Each may be NULL. bytes: of the extents, and of what the index names. */
struct shard_check_watcher {
    void *arg;
    void (*progress)(void *arg, uint64_t bytes, uint64_t of);
    void (*fault)(void *arg, const struct shard_fault *fault);
    void (*record)(void *arg, const struct shard_record *record);
};

struct shard_check_result {
    uint64_t extents, extent_bytes;
    uint64_t records[RECORD_STATES], record_bytes[RECORD_STATES];
    uint64_t indexed;       /* shards that the index names */
    uint64_t blocks, bytes; /* of data that were compared with their checksums */
    uint64_t faults[FAULT_KINDS], fault_count;
};

/* Reads every block of every record that counts (live or behind), and compares both ways: each record
 * with the index, each row of the index with its record. OK also with faults: see the result. */
enum err shard_check_verify(struct shard_check *c, const struct shard_check_watcher *w,
                            struct shard_check_result *out) MUST_USE;
/* Shows the records of all extents, in the order of their places. */
enum err shard_check_records(struct shard_check *c, const struct shard_check_watcher *w,
                             struct shard_check_result *out) MUST_USE;
/* Drops the index and makes a new one from the extents alone. out: shards and their bytes. */
enum err shard_check_rebuild(struct shard_check *c, const struct shard_check_watcher *w,
                             uint64_t *shards, uint64_t *bytes) MUST_USE;
