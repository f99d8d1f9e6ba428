/* What Raft members keep and tell each other: payloads, entries, hard state, messages.
 *
 * Numbers of entry types and message types travel and lie on disk: never reused, never renumbered.
 * A member is named by a random 64-bit id made when it joins, never by its address. */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t raft_id; /* 0: none */

/* The opaque bytes of an entry. Immutable once made, shared between the core, the log's writer, the
 * messages under way and the apply thread; counted, so that nobody copies them. */
struct raft_payload {
    _Atomic uint32_t refs;
    uint32_t length;
    uint8_t data[];
};
/* A copy of data with one reference, the caller's. */
struct raft_payload *raft_payload_new(const void *data, size_t n) __attribute__((returns_nonnull));
struct raft_payload *raft_payload_ref(struct raft_payload *p);
void raft_payload_unref(struct raft_payload *p); /* any thread; NULL is allowed */

enum raft_entry_type {
    RAFT_ENTRY_NOOP = 1,          /* a new leader's first entry; no payload */
    RAFT_ENTRY_COMMAND = 2,       /* the state machine's bytes */
    RAFT_ENTRY_CONFIGURATION = 3, /* configuration.h, effective on append */
};

struct raft_entry {
    uint64_t index, term;
    enum raft_entry_type type;
    struct raft_payload *payload; /* NULL: empty. Whoever holds the entry holds a reference. */
};
/* What an entry counts against the byte limits. */
enum { RAFT_ENTRY_OVERHEAD = 32 };
size_t raft_entry_bytes(const struct raft_entry *e);
static inline size_t raft_entry_length(const struct raft_entry *e)
{
    return e->payload ? e->payload->length : 0;
}

/* Entries that own a reference each. */
struct raft_entries {
    struct raft_entry *v;
    size_t n, capacity;
};
void raft_entries_push(struct raft_entries *a, const struct raft_entry *e); /* adds a reference */
void raft_entries_clear(struct raft_entries *a);                            /* keeps the memory */
void raft_entries_release(struct raft_entries *a);

/* What a snapshot stands for: all entries up to index. */
struct raft_snapshot {
    uint64_t index, term;            /* of the last entry that it includes */
    struct raft_entry configuration; /* the last one up to index, with its own index and term */
};

/* What a member must not forget (Raft, figure 2: currentTerm, votedFor). commit is a hint that
 * saves work after a restart; losing it is harmless. */
struct raft_hard_state {
    uint64_t term;
    raft_id vote;
    uint64_t commit;
};

enum raft_message_type {
    RAFT_PRE_VOTE = 1, /* Ongaro's thesis, section 9.6 */
    RAFT_PRE_VOTE_REPLY = 2,
    RAFT_VOTE = 3, /* Raft, section 5.2 */
    RAFT_VOTE_REPLY = 4,
    RAFT_APPEND = 5, /* Raft, section 5.3 */
    RAFT_APPEND_REPLY = 6,
    RAFT_HEARTBEAT = 7, /* apart from append, so that its reply never waits for a disk */
    RAFT_HEARTBEAT_REPLY = 8,
    RAFT_SNAPSHOT = 9, /* one piece of a snapshot (Raft, section 7) */
    RAFT_SNAPSHOT_REPLY = 10,
    RAFT_TIMEOUT_NOW = 11, /* thesis, section 3.10 */
};

/* One struct for all; what a field means depends on the type:
 *
 *               index               log_term        commit       reject   hint_*           context
 *  PRE_VOTE     last index          last term       -            -        -                -
 *  VOTE         last index          last term       -            -        -                transfer
 *  *VOTE_REPLY  -                   -               -            refused  removed at       -
 *  APPEND       previous index      previous term   leader's     -        -                -
 *  APPEND_REPLY match, or refused   -               wants        refused  where to look    -
 *  HEARTBEAT    promise asked for   -               known there  -        -                read round
 *  H.._REPLY    -                   -               wants        -        -                the same
 *  SNAPSHOT     its last index      its last term   -            -        -                -
 *  S.._REPLY    which snapshot      -               wants        refused  next offset      -
 *  TIMEOUT_NOW  last index          last term       -            -        -                -
 *
 * promise asked for: ns, 0: none (lease.c). term is the sender's, but PRE_VOTE carries the term it would stand in, and so does a granting
 * reply to it. transfer: 1 when the leader asked for this election. removed at (hint_index): not 0
 * when the configuration that is committed at this index does not have the receiver. wants: not 0
 * when the sender's state was discarded; it needs a snapshot of this index or a later one. A
 * SNAPSHOT carries its configuration as its one entry. Refused, in a SNAPSHOT_REPLY: the piece was
 * not the one at the next offset. */
struct raft_message {
    enum raft_message_type type;
    raft_id from, to;
    uint64_t term;
    uint64_t index, log_term, commit;
    bool reject;
    uint64_t hint_index, hint_term;
    uint64_t context;
    struct raft_entries entries; /* APPEND; SNAPSHOT: the configuration in force at index */
    struct raft_payload *piece;  /* SNAPSHOT; NULL: empty, which only a last one may be */
    uint64_t offset;             /* SNAPSHOT: of piece in the image */
    bool last;                   /* SNAPSHOT: the image ends with this piece */
    /* Set by raft_step for the driver, never sent: not to leave before this persist sequence is
     * durable; 0: at once. */
    uint64_t after;
};
void raft_message_release(struct raft_message *m); /* its entries and piece */
/* from keeps nothing that would have to be released. */
void raft_message_move(struct raft_message *to, struct raft_message *from);
/* What its entries and piece count against limits of memory. */
size_t raft_message_bytes(const struct raft_message *m);
