/* The Raft log on disk: entries, hard state, truncations, in segments that are written once in
 * advance and recycled. The format and its invariants are at the head of log_format.h.
 *
 * One thread at a time: the driver's log thread. Appends return when they are durable; an append
 * that cannot be written or synced ends the process, since after a failed sync nobody knows what
 * the disk holds. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/base/err.h"
#include "common/base/ids.h"
#include "metadata/raft/term_runs.h"
#include "metadata/raft/types.h"

struct log_store;

struct log_store_options {
    const char *directory;
    uint64_t segment_bytes; /* 0: 64 MiB; a multiple of 4 KiB, at least 64 KiB, for new segments */
    size_t batch_bytes;     /* 0: 4 MiB; larger appends are written in several batches */
};

/* Whose log it is; in every segment's header. */
struct log_store_identity {
    struct uuid cluster;
    raft_id member;
};

/* Makes directory and an empty log in it, durable on return. first: entry 1 of a bootstrapped group,
 * written with a hard state of its term, committed; NULL for a member that joins.
 * ERR_EXISTS when a log is there. */
enum err log_store_create(const struct log_store_options *options,
                          const struct log_store_identity *identity,
                          const struct raft_entry *first) MUST_USE;

/* What opening found. Release it with log_recovery_release. */
struct log_recovery {
    struct log_store_identity identity;
    struct raft_hard_state hard;
    struct term_runs terms;             /* base: what is compacted away */
    struct raft_entries configurations; /* all configuration entries, the compacted one first */
    uint64_t cut_bytes;                 /* of a torn tail, never acknowledged */
};
void log_recovery_release(struct log_recovery *r);

/* ERR_NOT_FOUND: no log there. ERR_BUSY: open elsewhere. ERR_CORRUPT: acknowledged bytes are bad;
 * the log line says where; such a member is wiped and joins anew under a new id. ERR_UNSUPPORTED:
 * written by a later format. */
enum err log_store_open(const struct log_store_options *options, struct log_store **out,
                        struct log_recovery *recovery) MUST_USE;
void log_store_close(struct log_store *s);

struct log_append {
    const struct raft_hard_state *hard; /* NULL: unchanged */
    uint64_t commit;                    /* a hint, kept with the batch */
    uint64_t truncate_from;             /* 0: none; entries at and above it go first */
    const struct raft_entry *entries;   /* in order, following what is left */
    size_t count;
};
/* Durable on return; otherwise the process has ended. */
void log_store_append(struct log_store *s, const struct log_append *a);
/* The idle marker: makes the last batch's end known on disk, so that rot in it is told from a torn
 * tail. Call it within 50 ms of the last append; does nothing when the end is known already. */
void log_store_mark(struct log_store *s);
bool log_store_needs_mark(const struct log_store *s);

/* Adds entries first .. last to out, at most max_bytes (but one at least).
 * ERR_NOT_FOUND: first is compacted away or not there yet. ERR_CORRUPT, ERR_IO. */
enum err log_store_read(struct log_store *s, uint64_t first, uint64_t last, size_t max_bytes,
                        struct raft_entries *out) MUST_USE;

/* Forgets entries up to index (which must be applied in a synced state, and there), keeping the
 * configuration as of it; whole segments below are recycled. */
void log_store_compact(struct log_store *s, uint64_t index);
/* The index to compact to if the segments that are kept shall take at most this many bytes; 0: none.
 * The segment that is written to is always kept. */
uint64_t log_store_compactable(const struct log_store *s, uint64_t keep_bytes);
/* Forgets all entries: the log begins anew behind index and term, where an installed state stands,
 * with the configuration as of it (referenced). Hard state stays. Durable on return, and one write:
 * a crash leaves the log of before or the empty one. */
void log_store_reset(struct log_store *s, uint64_t index, uint64_t term,
                     const struct raft_entry *configuration);

uint64_t log_store_base(const struct log_store *s); /* compacted or reset up to here */
uint64_t log_store_used(const struct log_store *s); /* bytes of the segments in use */

struct log_store_status {
    uint64_t first_index, last_index;
    uint64_t segments, spares, bytes; /* segments in use, spare ones, bytes of all files */
    uint64_t used_bytes;              /* of the segments in use */
    uint64_t appends, syncs, written_bytes;
};
void log_store_status(const struct log_store *s, struct log_store_status *out);
