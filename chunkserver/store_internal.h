/* One open disk: what its files share. Everything mutable is under `lock`, which is never held
 * across a call that may wait for the disk; who uses an extent's file holds a use of it.
 *
 * Threads: io_threads of jobs.c, the committer of commit.c, the keeper of keeper.c. */
#pragma once
#include "chunkserver/record_internal.h"
#include "chunkserver/superblock_internal.h"
#include "common/kv/kv.h"

enum {
    STAGING_BYTES = 512 << 10,           /* of a record, in one write */
    STAGING_ROOM = STAGING_BYTES + 8192, /* the last one has room for table and footer */
    BATCH_BYTES = 1 << 20,               /* small records written at once; a run at most */
    GROUP_MAX = 256,                     /* commits that share one sync */
    EXTENTS_OPEN_MAX = 128,              /* descriptors */
    TABLES_MAX = 64,                     /* tables of CRCs kept in memory */
    TAIL_FLUSH = 8192,                   /* changes that start an index flush before its time */
    TAIL_MAX = 65536,                    /* changes that wait; then writers are refused */
    INDEX_KEY = 29,                      /* pool, hash, chunk id, index */
    INDEX_VALUE = 96,
    MOVES_MAX = 32,               /* records that compaction copies at once */
    GONE_MAX = 256,               /* removed extents whose rows are still there */
    SCRATCH_BYTES = STAGING_ROOM, /* of each I/O thread */
    READS_MAX = 100,              /* unreadable shards that fail a disk (fault.c F4) */
};

/* ---- extents ---- */

struct extent {
    uint32_t number;
    struct sys_file *file;
    unsigned users;   /* who must find the file open */
    uint64_t used_at; /* for the choice of which to close */
    bool active;      /* written by this process: kept until its last row is flushed */
    bool sealed;      /* gets no further reservations */
    bool gone;        /* removed: closed with its last use */
    bool broken;      /* its reservation log could not be written: nothing in it commits any more */
    uint64_t bytes, next;
    uint32_t log_blocks, log_next;
    struct reservation pending[LOG_ENTRIES_MAX]; /* not in the log yet */
    uint32_t pending_count;
};

/* ---- index ---- */

struct index_entry {
    struct stored_shard shard;
    struct place place;
    uint64_t sequence;
};

/* A change that is not in kv yet. */
struct tail_entry {
    struct tail_entry *next;
    uint8_t key[INDEX_KEY];
    bool deleted;
    struct index_entry entry; /* of a deleted one: what was deleted */
    int64_t shards, bytes;    /* what this change has added to the store's counts */
};

struct tail {
    struct tail_entry **slots;
    size_t slot_count, count;
};

struct dead_place {
    struct place place;
    uint32_t length; /* of the shard */
};

struct dead_list {
    struct dead_place *v;
    size_t count, capacity;
};

/* ---- writing ---- */

struct staging {
    struct staging *next;
    struct shard_writer *writer;
    uint64_t base; /* position in the record of data[0] */
    uint32_t fill;
    bool last;
    uint8_t *data;
};

enum writer_state { WRITER_OPEN, WRITER_COMMITTING, WRITER_DROPPED };

struct block_check {
    uint32_t end, crc; /* end 0: none outstanding */
};

struct shard_writer {
    struct shard_writer *next, *previous; /* in store.writers */
    struct shard_writer *group_next;      /* in the committer's queue */
    struct shard_store *store;
    struct stored_shard shard;
    uint32_t blocks;
    bool small;
    /* the owner's alone */
    uint32_t at;      /* data bytes that have come */
    uint32_t running; /* CRC of the block that is coming */
    uint32_t verified;
    uint32_t *crcs;
    struct block_check *checks;
    struct staging *filling;
    uint8_t *whole; /* the data of a small one */
    /* under the store's lock */
    enum writer_state state;
    enum err error;
    struct move *move; /* of compaction; else NULL */
    unsigned inflight;
    bool last_written;
    bool waiting; /* its owner, for a staging buffer or its window: */
    struct sys_cond room;
    struct extent *extent; /* a use, once the place is known */
    struct place place;
    struct footer footer; /* sequence 0: none yet */
    void (*done)(void *arg, enum err result);
    void *arg;
};

/* ---- how fast it is ---- */

enum {
    PACE_SAMPLES = 64,
    PACE_STUCK_MAX = 64, /* of those that run: they decide once they are more than have ended */
};
struct pace_call { /* on the stack of the thread that makes it */
    int64_t began;
    struct pace_call *next, **link;
};
struct pace {
    struct {
        int64_t ended, took;
    } ring[PACE_SAMPLES];
    uint64_t count; /* ever */
    struct pace_call *running;
};

/* ---- a drill ---- */

struct drill {
    enum drill_kind kind;
    int64_t delay, until;
};

/* ---- the store ---- */

/* A record on its way to another place (compact.c P3). */
struct move {
    uint8_t key[INDEX_KEY];
    bool used;
    bool changed; /* deleted or committed anew meanwhile */
    bool sealed;  /* the copy has its sequence */
};

struct table_slot {
    struct place place; /* extent 0: empty */
    uint64_t used_at;
    uint32_t *crcs;
    uint32_t count;
};

struct space {
    uint64_t capacity, fs_total, fs_free;
    uint64_t refused; /* the room that the last write lacked; 0: none has been refused */
};

struct shard_store {
    char directory[SYS_PATH_MAX];
    struct shard_store_config config;
    struct superblock superblock;
    struct sys_file *lock_file;
    struct kv *index;
    bool rebuilding;      /* rebuild.c: the index is not to be asked */
    unsigned index_users; /* calls that are in kv */

    struct sys_mutex lock;
    struct sys_cond work;    /* io: a job or a staging buffer waits, or stop */
    struct sys_cond commits; /* committer: a commit waits, or stop */
    struct sys_cond house;   /* keeper: a flush is wanted, or stop */
    struct sys_cond changed; /* a place, a flush, the superblock: something that was waited for */
    bool stopping, io_stop, commit_stop, keeper_stop;
    bool failed;
    bool superblock_busy;
    struct sys_thread **threads; /* io_threads, committer, keeper */
    unsigned thread_count;

    struct extent *extents[EXTENTS_OPEN_MAX];
    unsigned extent_count;
    struct extent *current;
    bool making_extent;
    uint32_t next_extent;
    uint64_t clock; /* of uses */

    struct shard_writer *writers;
    unsigned writer_count;
    uint64_t writer_bytes; /* record_room of all open ones */
    struct staging *staging_free;
    unsigned staging_made, staging_used;
    unsigned staging_waiters;
    struct staging *write_first, *write_last;
    struct shard_job *job_first, *job_last;
    unsigned job_count;

    struct shard_writer *commit_first, *commit_last;
    struct extent *run; /* a use: where small batches go */
    uint64_t run_at, run_end;
    uint64_t sequence; /* last one given, in this or an earlier incarnation */

    struct tail tail, flushing;
    struct dead_list dead;
    bool dirty; /* something to flush beside the tail */
    uint64_t flush_wanted, flush_done;
    uint64_t flush_sequence;            /* the last one given when a flush was asked for */
    uint64_t index_shards, index_bytes; /* of what is in kv */
    uint64_t flushed_sequence;
    uint32_t *scanned; /* extents that recovery has read: the first whole flush says so */
    size_t scanned_count;
    uint32_t *unread; /* extents of which recovery could not read all: they are left as they lie */
    size_t unread_count;
    struct sys_cond compact; /* compaction: something, or stop */
    struct sys_thread *compactor;
    bool compact_stop;
    struct move moves[MOVES_MAX];
    uint64_t deaths; /* records that have died, ever */
    uint32_t gone[GONE_MAX];
    size_t gone_count;
    struct space space;
    enum disk_mark told_mark;       /* the keeper's */
    uint64_t ballast, ballast_size; /* bytes of it, and when whole; of who opens, then the keeper */
    bool no_ballast;                /* none can be made */
    struct table_slot tables[TABLES_MAX];
    struct shard_store_stats stats;
    struct pace pace;
    bool probe_wanted;
    struct drill drill;
    enum disk_fault failed_by;
    bool drilled;      /* it has failed by a drill */
    int64_t looked_at; /* at its directory; the keeper's */
    struct unreadable {
        struct place place;
        int64_t since;
    } unreadable[READS_MAX]; /* lately; extent 0: none */
    unsigned unreadable_at;  /* the next one's, or the oldest's */
    /* Of a recovery from the extents: bytes of them read, of all. progress may be NULL. */
    void (*progress)(void *arg, uint64_t done, uint64_t total);
    void *progress_arg;
};

/* extent.c */
enum err extent_use(struct shard_store *s, uint32_t number, struct extent **out) MUST_USE;
void extent_unuse(struct shard_store *s, struct extent *e);
/* Takes `length` bytes of the current extent (or a new one), with a use of it, as the writer's place; NULL:
 * as the run. From I/O threads and the committer. ERR_DISK_FULL. */
enum err extent_reserve(struct shard_store *s, uint64_t length, struct shard_writer *w) MUST_USE;
/* Writes what was reserved since the last time. The committer's alone. */
enum err extent_log(struct shard_store *s, struct extent *e, uint8_t *block) MUST_USE;
void extent_close_all(struct shard_store *s);
enum err extent_path(struct shard_store *s, uint32_t number, char out[SYS_PATH_MAX]) MUST_USE;
/* Reads whole blocks; what lies behind the end of the file reads as zero. */
enum err extent_read(struct extent *e, uint64_t offset, uint8_t *out, size_t n) MUST_USE;
/* Gives a dead record's whole blocks back. */
void extent_punch(struct shard_store *s, const struct dead_place *d);

/* After its file has been unlinked: closed now, or with its last use. */
void extent_forget(struct shard_store *s, uint32_t number);

/* compact.c */
void compact_run(void *store);
/* Waits for a copy of the shard that has its sequence to be over, a second at most. */
void move_await(struct shard_store *s, uint32_t pool, const struct shard_id *id);
struct move *move_of(struct shard_store *s, const uint8_t key[INDEX_KEY]); /* under the lock */

/* space.c */
void space_tell(struct shard_store *s);    /* the mark that was reached, in the log: the keeper */
void space_refresh(struct shard_store *s); /* waits for the disk, as do: */
void space_ballast_open(struct shard_store *s); /* before anything is written */
/* Gives of it, all that is left for what cannot go on without; or makes it again. The keeper. */
void space_ballast(struct shard_store *s, bool all);
uint64_t space_available(const struct shard_store *s);  /* for new shards; under the lock */
enum disk_mark space_mark(const struct shard_store *s); /* under the lock */

/* index.c */
/* What kv's error means: a file of it that is gone or cannot be read is no better than one with bad
 * checksums; ERR_BUSY passes. */
enum err index_error(enum err e) MUST_USE;
void index_key(uint32_t pool, const struct shard_id *id, uint8_t out[INDEX_KEY]);
/* For everybody else than the keeper and recovery. ERR_UNAVAILABLE while the index is rebuilt. */
enum err index_lookup(struct shard_store *s, uint32_t pool, const struct shard_id *id,
                      struct index_entry *out) MUST_USE;
/* The same for those. ERR_CORRUPT: the index is damaged. */
enum err index_find(struct shard_store *s, uint32_t pool, const struct shard_id *id,
                    struct index_entry *out) MUST_USE;
void index_put(struct shard_store *s, const struct index_entry *entry); /* under the lock */
/* Under the lock; what index_lookup found. False: it has changed meanwhile. */
bool index_delete(struct shard_store *s, const struct index_entry *found);
/* *rebuild: there is none that is of use, an empty one has taken its place. */
enum err index_open(struct shard_store *s, bool *rebuild) MUST_USE;
/* What is there, without making anything. ERR_NOT_FOUND: none, or one without this disk's 'm' row;
 * ERR_CORRUPT. */
enum err index_open_existing(struct shard_store *s) MUST_USE;
/* Drops what there is and begins with an empty one. */
enum err index_start_anew(struct shard_store *s) MUST_USE;
enum err index_flush(struct shard_store *s, bool partial, bool clean) MUST_USE;
/* Shows every row of kv. ERR_CORRUPT: one cannot be read. What visit answers ends it. */
enum err index_each(struct shard_store *s, enum err (*visit)(void *arg, const struct index_entry *),
                    void *arg) MUST_USE;
/* Where a scan of the extent begins; UINT64_MAX: it needs none. */
enum err index_scan_from(struct shard_store *s, uint32_t extent, uint64_t *from) MUST_USE;
void index_release(struct shard_store *s);
void dead_add(struct dead_list *d, const struct place *place, uint32_t length);

/* tail.c */
struct tail_entry *tail_find(const struct tail *t, const uint8_t key[INDEX_KEY]);
struct tail_entry *tail_add(struct tail *t, const uint8_t key[INDEX_KEY]);
void tail_clear(struct tail *t);
bool index_decode_value(const struct kv_slice *value, const uint8_t *key, struct index_entry *out);
size_t index_encode_value(const struct index_entry *entry, uint8_t out[INDEX_VALUE]);

/* writer.c */
/* m: a copy by compaction, which needs no room below the full mark; else NULL. */
enum err writer_open(struct shard_store *s, const struct stored_shard *shard, struct move *m,
                     struct shard_writer **out) MUST_USE;
/* What a commit of the bytes that have come would name. */
uint32_t writer_table_crc(const struct shard_writer *w);
void writer_complete(struct shard_writer *w, enum err result); /* calls done, frees; not locked */
void writer_write_staging(struct shard_store *s, struct staging *b); /* an I/O thread */
uint64_t writer_synced(const struct shard_store *s);                 /* under the lock */
void writer_wake_all(struct shard_store *s);                         /* under the lock */
uint64_t writer_sequence(struct shard_store *s); /* the next one; under the lock */

/* commit.c */
void commit_queue(struct shard_store *s, struct shard_writer *w); /* under the lock */
void commit_run(void *store);

/* jobs.c */
void io_run(void *store);
/* Answers the queued ones whose deadline has passed: the I/O threads may hang. */
void jobs_expire(struct shard_store *s);

/* reader.c */
enum err reader_run(struct shard_store *s, struct shard_job *job, uint8_t *scratch);
/* The whole record against its checksums. */
enum err reader_verify(struct shard_store *s, struct extent *e, const struct index_entry *entry,
                       uint8_t *scratch);
void tables_forget(struct shard_store *s);

/* scan.c */
struct scanned {
    struct index_entry entry; /* sequence: its footer's */
    uint64_t synced;          /* its footer's */
    bool exists;              /* footer and table are valid, too (record.c R1) */
    bool unread;              /* or they lie where the disk cannot be read: perhaps they are */
    bool matches;             /* .. and the data of a small one; that of a large one is not read */
    bool punched;             /* a small one, of which whole blocks were given back */
};
struct extent_scan {
    struct shard_store *store;
    enum err (*found)(void *arg, struct scanned *r); /* not OK ends the scan */
    void *arg;
    bool header_damaged, log_damaged; /* of the last extent: it was searched */
    uint64_t bytes, unreadable;       /* its size; blocks that the disk could not read */
    /* scan.c's: */
    struct extent *extent;
    uint8_t *window;
    uint64_t window_at;
    size_t window_bytes, window_lost; /* blocks of it that could not be read */
};
void scan_init(struct extent_scan *c, struct shard_store *s,
               enum err (*found)(void *arg, struct scanned *r), void *arg);
void scan_release(struct extent_scan *c);
/* Shows the records from offset `from` on. */
enum err scan_extent(struct extent_scan *c, uint32_t number, uint64_t from) MUST_USE;
struct extent_list {
    uint32_t *v; /* rising; sys_free */
    size_t count;
};
enum err scan_list(struct shard_store *s, struct extent_list *out) MUST_USE;
/* The sizes of their files, together. */
enum err scan_bytes(struct shard_store *s, const struct extent_list *l, uint64_t *out) MUST_USE;

/* recovery.c */
enum err recovery_run(struct shard_store *s, bool rebuild) MUST_USE;

/* rebuild.c */
enum err index_enter(struct shard_store *s) MUST_USE; /* before a use of kv .. */
enum err index_leave(struct shard_store *s,
                     enum err e) MUST_USE;               /* .. and after it: what to answer */
void index_lost(struct shard_store *s, const char *why); /* under the lock */
void index_rebuild(struct shard_store *s);               /* the keeper */
bool index_waits(enum err e); /* whether it has failed for what passes, without the disk's fault */

/* keeper.c */
void keeper_run(void *store);

/* pace.c: the first three under the lock */
void pace_begin(struct pace *p, struct pace_call *c, int64_t now);
void pace_end(struct pace *p, struct pace_call *c, int64_t now, bool counts);
int64_t pace_now(const struct pace *p, int64_t now);
void probe_make(struct shard_store *s);
bool probe_run(struct shard_store *s, uint8_t *scratch);

/* fault.c */
/* No more is to be expected of this disk. Under the lock. */
void store_fail(struct shard_store *s, enum disk_fault fault, const char *what, enum err e);
void fault_settle(struct shard_store *s); /* finds out why it has failed: the keeper */
void fault_watch(struct shard_store *s);  /* for its directory: the keeper */
/* The shard at this place. Under the lock. */
void fault_read_failed(struct shard_store *s, const struct place *place);
bool drill_on(const struct shard_store *s, enum drill_kind kind); /* under the lock */
void delay_wait(struct shard_store *s);                           /* a drill's */
/* As sys_file_write, sys_file_sync and extent_read, with what follows from their failures. */
enum err store_write(struct shard_store *s, struct sys_file *f, uint64_t at, const void *data,
                     size_t n) MUST_USE;
enum err store_write_failed(struct shard_store *s, enum err e) MUST_USE; /* what to answer */
enum err store_sync(struct shard_store *s, struct sys_file *f, const char *what) MUST_USE;
enum err store_read(struct shard_store *s, struct extent *e, uint64_t offset, uint8_t *out,
                    size_t n) MUST_USE;

/* shard_store.c: a disk that nobody else has open, and who it is; no threads, no index. */
enum err store_attach(struct shard_store **out, const struct shard_store_config *config) MUST_USE;
/* An index of an earlier opening is stale from now on. */
enum err superblock_note_index(struct shard_store *s) MUST_USE;
void store_detach(struct shard_store *s); /* its threads, if any, have ended */
