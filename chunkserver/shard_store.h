/* The shards of one disk. A disk is a directory; everything in it belongs to its store:
 *
 *   superblock, lock       who the disk is (superblock.c)
 *   extents/00000001 ..    append-only files of records (extent.c, record.c)
 *   index/                 shard -> place, a cache of the extents (index.c)
 *
 * Contract
 *  S1  A write answered OK is durable and equal to what was sent, block CRC by block CRC; one that
 *      was not answered is wholly there or not at all.
 *  S2  A read gives the right bytes or an error, never other bytes.
 *  S3  Shards are written once under ids that never come back with other bytes. A second commit of
 *      the same id (a retry, a repair) takes the place of the first.
 *  S4  A deleted shard is gone at once for readers, durably so with the next index flush (a second
 *      at most). After a crash before that, or a rebuild of the index, it may be back: it is unknown
 *      to metadata then, and the sweep of unknown shards removes it again.
 *  S5  Every bound (queue, open writers, staging memory) answers ERR_BUSY at once or, where a
 *      deadline is given, when it has passed.
 *  S7  An index that is missing, of an earlier time or damaged is rebuilt from the extents while the
 *      disk is open. Meanwhile everything that needs it answers ERR_UNAVAILABLE.
 *  S6  A failed sync, a failed write of the index, a file system that has become read-only, a directory that
 *      is gone, or too many unreadable shards mean that the disk has failed (fault.c): from then on everything
 *      answers ERR_DISK_FAILED, and nothing is retried.
 *
 * Calls come from any thread; none but format, open, close and those that say so waits for the
 * disk. done() callbacks come exactly once, from a thread of the store or from a call of its functions,
 * and must not block. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/base/err.h"
#include "common/base/health.h"
#include "common/base/ids.h"
#include "common/base/shard_crc.h"

struct shard_store;

/* ---- a disk and who it is ---- */

struct shard_store_config {
    const char *directory;   /* copied */
    struct uuid cluster;     /* the disk must belong to it; all zero: whichever (tools) */
    uint64_t extent_bytes;   /* 0: 256 MiB; at least 1 MiB; a record must fit into one */
    uint64_t capacity_bytes; /* 0: what the file system has; else at most so much is used */
    unsigned io_threads;     /* 0: 4 */
    unsigned queue_max;      /* 0: 256 jobs waiting */
    unsigned writers_max;    /* 0: 128 open at once */
    unsigned staging_max;    /* 0: 48 buffers of 512 KiB, made when first needed */
    unsigned window;         /* 0: 4 staging buffers of one writer on their way to the disk */
    /* Marks, in percent of the capacity: 0 means 85, 90, 95. */
    unsigned nearfull_percent;     /* told */
    unsigned backfillfull_percent; /* told; the service lets no backfill in from there on */
    unsigned full_percent;         /* told; writes are refused from there on */
    int64_t flush_interval;        /* 0: 1 s between flushes of the index */
    int64_t compact_interval;      /* 0: 60 s between looks for what compaction gives back */
    uint64_t compact_bytes_per_s;  /* 0: 32 MiB/s copied by it */
};

/* Makes a disk in an existing directory. ERR_EXISTS when it holds a superblock already,
 * ERR_NOT_FOUND without the directory. Waits for the disk. */
enum err shard_store_format(const char *directory, const struct uuid *cluster,
                            const struct uuid *disk) MUST_USE;

struct shard_store_identity {
    struct uuid cluster, disk;
    disk_id id;           /* 0 until metadata gave one */
    uint64_t incarnation; /* times opened; bumped and synced by every open */
};
/* Reads a disk's superblock without opening it. ERR_NOT_FOUND: no directory or no superblock;
 * ERR_FORMAT. Waits for the disk. */
enum err shard_store_peek(const char *directory, struct shard_store_identity *out) MUST_USE;

/* Opens a disk, recovers what a crash left, starts its threads; an index that cannot be used is rebuilt
 * behind it (S7). ERR_NOT_FOUND (no directory, or not
 * formatted), ERR_FOREIGN_DISK (another cluster's), ERR_DISK_IN_USE, ERR_FORMAT (superblock
 * unreadable or of a later version), ERR_IO. The reason is logged. */
enum err shard_store_open(struct shard_store **out,
                          const struct shard_store_config *config) MUST_USE;
/* Finishes queued work, flushes the index, joins the threads. Every writer must have been committed
 * or aborted; no call may be running. */
void shard_store_close(struct shard_store *s);

void shard_store_identity(struct shard_store *s, struct shard_store_identity *out);
/* Keeps the id that metadata gave (durable when it returns). ERR_EXISTS when it has another one.
 * Waits for the disk. */
enum err shard_store_set_identity(struct shard_store *s, disk_id id) MUST_USE;

struct shard_store_stats {
    uint64_t capacity_bytes, free_bytes; /* free: for new shards, below the full mark */
    uint64_t shards, shard_bytes;        /* stored, and their bytes */
    uint64_t queue, writers, staging;    /* now */
    uint64_t commits, commit_groups;     /* since open; a group is one sync, mostly */
    uint64_t reads, read_bytes, written_bytes, deletes;
    uint64_t corrupt, io_errors; /* failed checks; failed reads and writes; since open */
    uint64_t synced_sequence;    /* of the last durable commit; never goes back */
    uint64_t incarnation;
    enum disk_mark mark; /* the highest that has been reached */
    bool failed;
    /* Why; NONE until it has been looked into, which a disk that hangs may prevent. */
    enum disk_fault fault;
    int64_t failed_at; /* sys_now */
    bool may_return;   /* worth another open: it is GONE, or failed by a drill that is over */
    bool unclean;      /* the last process did not close this disk: compare its inventory */
    bool rebuilding;   /* the index is made anew from the extents; bytes of them read, of all: */
    uint64_t rebuild_done, rebuild_total;
    uint64_t extents_removed, compacted_bytes; /* by compaction, since open */
    uint64_t index_rebuilds; /* finished since open: after each, compare its inventory */
    int64_t pace_ns; /* median time of what the disk had to do lately, 0: nothing (pace.c) */
};
void shard_store_stats(struct shard_store *s, struct shard_store_stats *out);
/* A disk that has had nothing to do for some seconds writes and syncs a block, so that its pace is known;
 * jobs whose deadline has passed are answered, also when the disk hangs. */
void shard_store_probe(struct shard_store *s);
/* For drills: until then (sys_now) the disk is so. What has failed by it stays failed until the next open. */
enum drill_kind {
    DRILL_DELAY,     /* all that it has to do takes so much longer; by 0: none, the drill is over */
    DRILL_READS,     /* some places cannot be read */
    DRILL_ROT,       /* some bytes have changed */
    DRILL_SYNC,      /* the next sync fails */
    DRILL_READ_ONLY, /* so is the file system */
    DRILL_GONE,      /* so is the directory */
    DRILL_FULL,
    DRILL_KINDS
};
/* delay_ns is DRILL_DELAY's. Whether that is new. */
bool shard_store_drill(struct shard_store *s, enum drill_kind kind, int64_t delay_ns,
                       int64_t until);

/* ---- writing: bytes go from the socket straight into memory that goes to the disk ----
 *
 * One thread owns a writer.
 *   shard_writer_open
 *   repeat:  shard_writer_check for what the next bytes should hash to (before or after them)
 *            shard_writer_space, fill it, shard_writer_advance
 *   shard_writer_commit, or shard_writer_abort
 * The first error is remembered: every later call answers it, and commit's done() gets it. */

struct shard_writer;

/* shard is copied. A second open of the same shard id aborts the first (ERR_ABORTED there).
 * ERR_BUSY (writers_max), ERR_DISK_FULL, ERR_DISK_FAILED, ERR_INVALID, ERR_TOO_BIG. */
enum err shard_writer_open(struct shard_store *s, const struct stored_shard *shard,
                           struct shard_writer **out) MUST_USE;
/* Where the shard's next bytes go, and how many fit there (0 only when all have come). Waits until
 * deadline for a staging buffer or for the window (a past one: tries once), then ERR_BUSY. */
enum err shard_writer_space(struct shard_writer *w, int64_t deadline, void **at,
                            size_t *n) MUST_USE;
/* n bytes (at most what space gave) are there. ERR_CORRUPT: they are not what was announced. */
enum err shard_writer_advance(struct shard_writer *w, size_t n) MUST_USE;
/* The bytes of a block from its beginning to offset end of the shard hash to crc: for a whole block
 * its CRC, for a part of one the running CRC so far. Comes before the bytes (at most one end per
 * block outstanding) or right after them; every block needs one at its own end before commit. */
enum err shard_writer_check(struct shard_writer *w, uint32_t end, uint32_t crc) MUST_USE;
/* For payload that lies elsewhere already: copies n bytes (space and advance in a loop). crcs: the
 * CRC of every block that ends within these bytes, in order; NULL: trusted, computed here. */
enum err shard_writer_append(struct shard_writer *w, const void *data, size_t n,
                             const uint32_t *crcs, int64_t deadline) MUST_USE;
/* crc: CRC32C of all block CRCs, each little-endian (shard_crc_of_crcs). done(OK) means durable and
 * readable. Takes the writer: do not touch it again. Errors are told through done() alone, perhaps
 * from inside this call. */
void shard_writer_commit(struct shard_writer *w, uint32_t crc,
                         void (*done)(void *arg, enum err result), void *arg);
/* Drops what was written and frees the writer. */
void shard_writer_abort(struct shard_writer *w);
const struct stored_shard *shard_writer_shard(const struct shard_writer *w);

/* ---- jobs: reads, verdicts and deletes, run by the disk's I/O threads ---- */

/* SHARD_DELETE_CHUNK: all shards of the chunk whose index is below that of id. */
enum shard_job_kind { SHARD_READ, SHARD_VERIFY, SHARD_DELETE, SHARD_DELETE_CHUNK };

/* Memory of the submitter, until done() is called: by then the store has forgotten it. */
struct shard_job {
    enum shard_job_kind kind;
    uint32_t pool;
    struct shard_id id;
    int64_t deadline; /* still queued then: dropped unstarted with ERR_TIMEOUT */
    void (*done)(struct shard_job *job, enum err result);
    void *arg;

    uint64_t newest; /* SHARD_DELETE: not what was committed behind this sequence; 0: whichever */

    /* SHARD_READ: length > 0 bytes from offset, all within the shard (else ERR_INVALID). */
    uint32_t offset, length;
    void *buffer;    /* aligned to 4 KiB */
    size_t capacity; /* at least shard_read_room(offset, length) */
    uint32_t *crcs;  /* room for shard_read_pieces(offset, length), or NULL */

    /* What came of it; the shard for reads and verdicts (not of a shard that is not found). */
    struct stored_shard shard;
    size_t data_at;     /* SHARD_READ: the bytes are at buffer + data_at */
    uint32_t crc_count; /* pieces: the range cut at SHARD_BLOCK boundaries, see shard_crc.h */

    struct shard_job *next; /* the store's */
};

/* Buffer needed for a read: the blocks that cover the range, and what surrounds them on disk. */
size_t shard_read_room(uint32_t offset, uint32_t length);
uint32_t shard_read_pieces(uint32_t offset, uint32_t length);

/* OK: done() will be called exactly once. Else it will not: ERR_BUSY (the queue is full),
 * ERR_DISK_FAILED, ERR_STOPPING, ERR_INVALID.
 * Results: OK; ERR_NOT_FOUND (no such shard; for deletes that is OK); ERR_CORRUPT (a checksum
 * does not match); ERR_IO (the disk could not read it); ERR_MISMATCH (SHARD_DELETE: committed later
 * than `newest`); ERR_DISK_FAILED; ERR_TIMEOUT. */
enum err shard_store_submit(struct shard_store *s, struct shard_job *job) MUST_USE;

/* Blocking conveniences: submit and wait. ERR_TIMEOUT also when the disk hangs. */
enum err shard_store_write(struct shard_store *s, const struct stored_shard *shard,
                           const void *data, int64_t deadline) MUST_USE;
/* Copies into out. shard may be NULL. */
enum err shard_store_read(struct shard_store *s, uint32_t pool, const struct shard_id *id,
                          uint32_t offset, uint32_t length, void *out, struct stored_shard *shard,
                          int64_t deadline) MUST_USE;
enum err shard_store_delete(struct shard_store *s, uint32_t pool, const struct shard_id *id,
                            int64_t deadline) MUST_USE;
/* Those of a chunk with an index below width, which are there. */
enum err shard_store_delete_chunk(struct shard_store *s, uint32_t pool,
                                  const struct chunk_id *chunk, unsigned width,
                                  int64_t deadline) MUST_USE;
/* Only what had been committed when synced_sequence (shard_store_stats) was `newest`: a copy that was
 * made since stays, ERR_MISMATCH. */
enum err shard_store_drop(struct shard_store *s, uint32_t pool, const struct shard_id *id,
                          uint64_t newest, int64_t deadline) MUST_USE;
enum err shard_store_verify(struct shard_store *s, uint32_t pool, const struct shard_id *id,
                            struct stored_shard *shard, int64_t deadline) MUST_USE;
/* What the index says, without a look at the record. Waits for the index (see kv.h). */
enum err shard_store_stat(struct shard_store *s, uint32_t pool, const struct shard_id *id,
                          struct stored_shard *shard) MUST_USE;

/* ---- inventory ---- */

/* The shards of a pool whose xxh64(chunk id) lies in [hash_first, hash_last], in order of (hash,
 * chunk id, index): a placement group is such a range. after: the last one of the page before, NULL
 * for the first page. *n is max when more may follow. Waits for the index. */
enum err shard_store_list(struct shard_store *s, uint32_t pool, uint64_t hash_first,
                          uint64_t hash_last, const struct shard_id *after,
                          struct stored_shard *out, size_t max, size_t *n) MUST_USE;
/* Makes everything committed and deleted so far durable in the index. Waits for the disk. */
enum err shard_store_flush(struct shard_store *s, int64_t deadline) MUST_USE;
