/* Shared by the files of this folder; private to it.
 *
 * A handler looks first and writes last: it returns an error only before its first write, so that
 * a refused command changes nothing but its session's slot. It writes at most STATE_ROWS_MAX rows. */
#pragma once
#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include "common/base/alloc.h"
#include "common/base/arena.h"
#include "common/base/timeouts.h"
#include "common/proto/command.pb-c.h"
#include "common/proto/types.pb-c.h"
#include "metadata/state/keys.h"
#include "metadata/state/rows.h"
#include "metadata/state/state.h"
#include "metadata/state/txn.h"
#include "placement/cluster_map.h"

struct state {
    struct kv *kv;
    char *directory;
    _Atomic uint32_t refs;
    _Atomic bool retired;
    uint64_t checkpoint_every;
    struct timeouts timeouts;
    struct cluster_map *map;        /* what the m rows say; the apply thread's own */
    struct state_position position; /* the apply thread's; its configuration is owned */
    uint64_t hash, checkpoint_index, checkpoint_hash; /* the last one, which the meta row holds */
    struct state_checkpoints checkpoints;
    uint32_t level;
    bool broken; /* an apply failed: nothing more is taken */
    /* Lower bounds of what housekeeping finds first; not state, found again at open. */
    int64_t next_expiry;
    uint64_t oldest_retry;
    _Atomic uint64_t applied, epoch;
    _Atomic int64_t time, time_confirmed;
};

enum map_kind { MAP_DISK = 'd', MAP_POOL = 'p', MAP_PG = 'g' };
struct map_change {
    uint8_t kind;
    uint32_t a, b; /* disk; pool; pool and PG */
};

/* One command being applied. */
struct apply {
    struct state *state;
    struct txn *txn;
    struct arena *arena;
    uint64_t index;
    int64_t time; /* log time as of this command */
    Result *result;
    uint16_t expiries;
    uint64_t epoch; /* of the map after this command */
    struct map_change *changes;
    size_t change_count, change_room;
};

enum {
    STATE_ROWS_MAX = 1024,
    STATE_KEYS_MAX = 200,   /* keys of one DeleteObjects */
    STATE_CHUNKS_MAX = 256, /* chunks of one commit or collection */
    STATE_ETAG_MAX = 64,    /* a result with it must fit in STATE_RESULT_MAX */
    STATE_INLINE_MAX = 65536,
    STATE_PG_BITS_MAX = POOL_PG_BITS_DEFAULT_MAX,
    MAP_DELTAS_KEPT = 1000,
    PARTS_MAX = 10000,
    /* Chunk runs of one object. A run packs into at most 41 bytes, and all of them, with the sizes of
     * 10,000 parts and the head, are one answer: at most FRAME_BODY_MAX of common/rpc/frame.h. */
    OBJECT_RUNS_MAX = 24000,
    PART_LEAST_BYTES = 5 << 20,
};
#define OBJECT_BYTES_MAX (INT64_C(5) << 40)
#define UPLOAD_MEMORY    (INT64_C(24) * 3600 * INT64_C(1000000000))

/* apply.c: one command, to its packed result in a->arena. An error is fatal. */
enum err apply_command(struct apply *a, const void *data, size_t n, const void **result,
                       size_t *result_n);

/* session.c */
enum err apply_register_client(struct apply *a, const RegisterClient *c);
/* OK: go on. ERR_EXISTS: *remembered is the answer. Else: refuse with this error. */
enum err session_check(struct apply *a, const Command *c, struct kv_slice *remembered);
void session_remember(struct apply *a, const Command *c, const void *result, size_t n);
bool retry_known(struct apply *a, const SdkRetry *r, struct kv_slice *remembered);
void retry_remember(struct apply *a, const SdkRetry *r, const void *result, size_t n);
uint64_t retry_age(const struct state *s, int64_t time);
void retry_forget_old(struct apply *a);

/* expiry.c */
enum expiry_kind {
    EXPIRE_WRITE = 1, /* payload: write id; forget its fate */
    EXPIRE_TOMBSTONE, /* upload id; forget how it ended */
    EXPIRE_PARTS,     /* upload id; drop its part rows, queue the unused parts' runs */
    EXPIRE_UPLOADS,   /* bucket id; end the uploads of a bucket that is gone */
};
void expiry_add(struct apply *a, int64_t due, enum expiry_kind kind, const void *payload, size_t n);
void housekeeping(struct apply *a);
int64_t expiry_first_due(struct txn *t);
uint64_t retry_first_age(struct txn *t);

/* bucket.c */
enum err apply_create_bucket(struct apply *a, const CreateBucket *c);
enum err apply_delete_bucket(struct apply *a, const DeleteBucket *c);
bool usage_get(struct apply *a, uint64_t bucket, struct usage *usage); /* false: no such bucket */
void usage_put(struct apply *a, uint64_t bucket, const struct usage *usage);

/* object.c */
struct object_key {
    uint64_t bucket;
    ProtobufCBinaryData key;
};
struct object_row { /* the newest version */
    bool found;
    uint64_t version;
    ObjectHead *head;
};
enum err apply_put_object(struct apply *a, const PutObject *c);
enum err apply_delete_objects(struct apply *a, const DeleteObjects *c);
void object_current(struct apply *a, const struct object_key *key, struct object_row *row);
enum err conditions_check(const Conditions *c, const struct object_row *old);
/* The one function that replaces an o row and changes the bucket's counters. head NULL: the key is
 * gone. body NULL with a head: the old body is kept. What is left of the old body goes to g. */
void object_replace(struct apply *a, const struct object_key *key, const struct object_row *old,
                    ObjectHead *head, const ObjectBody *body);
enum err head_check(const ObjectHead *head);

/* multipart.c */
enum err apply_create_upload(struct apply *a, const CreateUpload *c);
enum err apply_put_part(struct apply *a, const PutPart *c);
enum err apply_abort_upload(struct apply *a, const AbortUpload *c);
/* complete.c */
enum err apply_complete_upload(struct apply *a, const CompleteUpload *c);
struct tombstone {
    bool completed;
    uint64_t version, size;
    ProtobufCBinaryData key, etag;
    uint64_t bucket;
    const uint8_t *used; /* a bit per part number that became part of the object */
    size_t used_bytes;
};
bool tombstone_get(struct apply *a, const uint8_t *upload, struct tombstone *t);
/* Ends an upload: its u row goes, the tombstone comes, its parts are dropped soon. */
void upload_end(struct apply *a, const struct object_key *key, const uint8_t *upload,
                const struct tombstone *t);
bool upload_drop_parts(struct apply *a, const uint8_t *upload); /* true: all are gone */
bool bucket_drop_uploads(struct apply *a, uint64_t bucket);     /* likewise */
void part_etag(const PartInfo *part, char out[33]);

/* chunk.c */
struct commit {
    struct write_id write;
    uint32_t pool;
    struct run *runs;
    size_t run_count;
    uint64_t bytes;
    uint64_t *missing; /* per chunk, in order of sequence */
};
enum err commit_check(struct apply *a, ChunkRun *const *runs, size_t run_count,
                      ChunkDurable *const *durable, size_t durable_count, int64_t began,
                      struct commit *out);
void commit_write(struct apply *a, const struct commit *commit, ChunkDurable *const *durable,
                  int64_t began);
enum err apply_abort_write(struct apply *a, const AbortWrite *c);
enum err apply_order_repairs(struct apply *a, const OrderRepairs *c);
enum err apply_finish_repairs(struct apply *a, const FinishRepairs *c);
bool chunk_get(struct apply *a, uint32_t pool, const struct chunk_id *chunk, struct chunk_row *row);
void chunk_put(struct apply *a, const struct cluster_pool *pool, const struct chunk_id *chunk,
               const struct chunk_row *old, const struct chunk_row *row); /* row NULL: remove */

/* gc.c */
void gc_queue(struct apply *a, ChunkRun *const *runs, size_t count);
enum err apply_collect_run(struct apply *a, const CollectRun *c);

/* cluster.c */
enum err apply_register_disk(struct apply *a, const RegisterDisk *c);
enum err apply_set_disk_state(struct apply *a, const SetDiskState *c);
enum err apply_set_disks_suspect(struct apply *a, const SetDisksSuspect *c);
enum err apply_set_disks_up(struct apply *a, const SetDisksUp *c);
/* pool.c */
enum err apply_create_pool(struct apply *a, const CreatePool *c);
enum err apply_assign_pool(struct apply *a, const AssignPool *c);
enum err apply_push_holders(struct apply *a, const PushHolders *c);
enum err apply_finish_holder(struct apply *a, const FinishHolder *c);

/* map_rows.c: the cluster map as rows and as the struct, always changed together */
enum err map_load(struct state *s);
uint64_t map_next_epoch(struct apply *a); /* of what this command changes */
bool map_get_disk(struct apply *a, uint32_t id, DiskInfo **disk);
bool map_get_pool(struct apply *a, uint32_t id, PoolInfo **pool);
void map_put_disk(struct apply *a, DiskInfo *disk);
void map_put_pool(struct apply *a, PoolInfo *pool);
void map_put_pg(struct apply *a, const struct cluster_pool *pool, uint32_t pg);
void map_finish(struct apply *a);
void key_map(struct key *k, enum map_kind kind, uint32_t a, uint32_t b);

/* user.c */
enum err apply_create_user(struct apply *a, const CreateUser *c);
enum err apply_delete_user(struct apply *a, const DeleteUser *c);
void key_user(struct key *k, const char *name);
void key_access(struct key *k, const char *access_key);

/* confirm.c */
enum err apply_confirm_time(struct apply *a, const ConfirmTime *c);
int64_t confirmed_load(struct txn *t); /* 0: never */

/* The row that every batch ends with: fixed fields, then the configuration's bytes. */
struct meta_row {
    struct state_position at; /* the configuration lies in the bytes it was decoded from */
    int64_t time;
    uint64_t epoch, hash, checkpoint_index, checkpoint_hash;
    uint32_t level;
};
enum { META_FIXED_BYTES = 76, META_ROW_MAX = META_FIXED_BYTES + STATE_CONFIGURATION_MAX };
void key_meta(struct key *k);
bool meta_decode(struct kv_slice value, struct meta_row *row);
/* Of a snapshot, or of now when it is NULL; *row points into *bytes, to be freed with sys_free. A
 * state without it is empty. */
enum err meta_read(struct kv *kv, const struct kv_snapshot *snapshot, struct meta_row *row,
                   void **bytes) MUST_USE;
/* How a state's store is opened. */
extern const struct kv_options state_kv_options;

static inline bool binary_equal(ProtobufCBinaryData a, ProtobufCBinaryData b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}
