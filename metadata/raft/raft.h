/* Raft as a pure state machine: raft_step(raft, event, effects). No I/O, clock, threads or
 * randomness of its own; time is ticks, chance comes from the seed. One thread owns it.
 *
 * Sources: Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm (extended)",
 * cited as "Raft"; Ongaro's dissertation, cited as "thesis".
 *
 * The caller's duties
 *  D1  Effects of several steps may be gathered in one raft_effects and are then carried out in
 *      one go; the persist part is written as one unit: reset, truncate, entries, hard state.
 *  D2  When everything up to a persist sequence is durable, step RAFT_PERSISTED with it. Writes
 *      become durable in the order of their sequences.
 *  D3  A message leaves only when its `after` is durable. Messages may be lost, repeated and
 *      reordered.
 *  D4  Entries up to apply_to, in order, go to the state machine; then step RAFT_APPLIED. They are
 *      durable here by then. After raft_new that is everything up to raft_handed. Fetch them with
 *      raft_entries_cached, or from the log when they are not in memory.
 *  D5  A load is answered by RAFT_LOADED, possibly with no entries, which tries again at the next
 *      heartbeat.
 *  D6  When `violation` is set the member must stop: what it was told contradicts what is committed.
 *  D7  A snapshot read is answered by RAFT_SNAPSHOT_READ, once. All images of one index that one
 *      process hands out are the same bytes. When there is none of the index asked for (any more),
 *      the answer is the first piece of another. An image is kept while a member's status names it.
 *  D8  Install pieces are written in order, offset 0 beginning anew whatever was there before, and
 *      each is answered by RAFT_SNAPSHOT_WRITTEN, but for the last: when that is written, nothing is
 *      applied any more, the image is verified and has become the state in one durable step, step
 *      RAFT_INSTALLED, or RAFT_SNAPSHOT_WRITTEN with what went wrong. What was handed out for apply
 *      before need not be applied. The answer to RAFT_INSTALLED may hold `reset`: the log is emptied
 *      and begins anew behind that snapshot, in the order of the other writes. A crash in between
 *      leaves a state that is newer than the log: whoever opens both resets the log before raft_new
 *      (term and vote stay), if it has no entry of the state's index and term. That is the rule for
 *      *any* snapshot found at start: a log that has that entry is left as it is.
 *  D9  The log is compacted only up to what is applied durably; then step RAFT_COMPACTED. What
 *      followers need beyond that is in raft_status; one that needs what is gone gets a snapshot. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/base/err.h"
#include "metadata/raft/configuration.h"
#include "metadata/raft/term_runs.h"
#include "metadata/raft/types.h"

struct raft;

enum {
    RAFT_COMMAND_MAX = 1 << 20, /* bytes of one entry's payload */
    RAFT_BATCH_BYTES = 1 << 20, /* of entries in one append, but one entry at least */
    RAFT_MESSAGE_ENTRIES_MAX = 16384,
    RAFT_INFLIGHT_BYTES = 64 << 20, /* unacknowledged, per follower */
    RAFT_INFLIGHT_MESSAGES = 1024,
    RAFT_UNCOMMITTED_BYTES = 64 << 20, /* then proposals get ERR_BUSY */
    RAFT_READS_MAX = 16384,            /* waiting reads; then ERR_BUSY */
    RAFT_PIECE_BYTES = 256 << 10,      /* of a snapshot in one message */
    RAFT_PIECE_MAX = 1 << 20,
    RAFT_PIECE_WINDOW = 4, /* pieces under way to a follower, or to its driver */
};

struct raft_options {
    raft_id id;
    uint64_t seed;
    uint32_t heartbeat_ticks;                        /* 0: 1 */
    uint32_t election_min_ticks, election_max_ticks; /* 0: 10, 20; timeouts are in [min, max) */
    size_t cache_bytes;    /* 0: 16 MiB; committed and durable entries kept in memory */
    size_t batch_bytes;    /* 0: RAFT_BATCH_BYTES */
    size_t inflight_bytes; /* 0: RAFT_INFLIGHT_BYTES */
    size_t piece_bytes;    /* 0: RAFT_PIECE_BYTES; of a snapshot, in one message */
    /* The longest promise of a lease, ns, which a restarted member keeps to, for it may have made one:
     * the same at all members, for ever; events then carry the time. 0: there are no leases. */
    int64_t promise_ns;
    /* What this member asks for when it leads, ns, at most promise_ns; 0: nothing, each read asks a
     * majority. It trusts nine tenths of it (hazard 14), so clocks may run apart by a tenth. Members may
     * differ. More than election_min_ticks would delay elections. */
    int64_t lease_ns;
};

/* What the log gave back at start. All is copied. */
struct raft_restored {
    struct raft_hard_state hard;
    const struct term_runs *terms;           /* of all entries; base = what is compacted away */
    const struct raft_entry *configurations; /* all configuration entries of the log, in order, */
    size_t configuration_count;              /* beginning with the compacted prefix's last one */
    uint64_t applied;                        /* the state machine's synced index */
    /* The state was discarded on purpose, so applied may lie below the log's base. The member votes
     * and appends, but does not stand or apply before it was given a snapshot. */
    bool discarded;
};

/* ERR_CORRUPT: the log lacks what was applied, or a configuration does not decode. */
enum err raft_new(const struct raft_options *options, const struct raft_restored *restored,
                  struct raft **out) MUST_USE;
void raft_free(struct raft *r);

enum raft_event_type {
    RAFT_TICK = 1,
    RAFT_MESSAGE,   /* from the network; not trusted to make sense */
    RAFT_PROPOSE,   /* ERR_NOT_LEADER | ERR_BUSY | ERR_TOO_BIG: nothing was taken */
    RAFT_CHANGE,    /* ERR_NOT_LEADER | ERR_BUSY (one is under way) | ERR_INVALID | ERR_EXISTS.. */
    RAFT_READ,      /* ERR_NOT_LEADER | ERR_BUSY; else answered in effects.reads */
    RAFT_PERSISTED, /* sequence */
    RAFT_APPLIED,   /* index */
    RAFT_LOADED,    /* to, entries */
    RAFT_RESIGN,    /* a leader whose disk hangs hands over, or gives up; nor does it stand */
    RAFT_TRANSFER,  /* member, 0: the best. OK: begun; status tells. ERR_NOT_LEADER | ERR_BUSY |
                       ERR_NOT_FOUND (no voter, or none that lives) | ERR_EXISTS (it leads) */
    RAFT_SNAPSHOT_READ,    /* D7: member, snapshot, offset, piece, last; snapshot NULL: not now, is
                              asked again after the next heartbeat */
    RAFT_SNAPSHOT_WRITTEN, /* D8: index, offset (the next), or err: all of it is to be sent again */
    RAFT_INSTALLED,        /* D8: index */
    RAFT_COMPACTED,        /* D9: index; the log begins behind it */
};

enum raft_change_type {
    RAFT_ADD_LEARNER = 1, /* ERR_EXISTS when it is a member (a voter's address is updated) */
    RAFT_PROMOTE = 2,     /* learner to voter, through a joint configuration; ERR_BUSY while the
                                learner is not within one batch of the leader's log */
    RAFT_REMOVE = 3, /* a learner, or a voter through a joint configuration, also the leader, which
                        then hands over; ERR_NOT_FOUND; ERR_INVALID: the last voter */
};

struct raft_event {
    enum raft_event_type type;
    const struct raft_message *message;   /* MESSAGE; entries are referenced, not taken */
    struct raft_payload *const *payloads; /* PROPOSE: count of them; referenced, not taken */
    size_t count;
    enum raft_change_type change;         /* CHANGE */
    raft_id member;                       /* CHANGE, TRANSFER; LOADED, SNAPSHOT_READ: for whom */
    raft_id replaces;                     /* CHANGE: PROMOTE: this voter leaves in the same step */
    const char *address;                  /* CHANGE: ADD_LEARNER */
    uint64_t read;                        /* READ: the caller's number for it */
    bool lease;                           /* READ: need not ask while there is a lease */
    uint64_t sequence;                    /* PERSISTED */
    uint64_t index;                       /* APPLIED, COMPACTED, SNAPSHOT_WRITTEN, INSTALLED */
    const struct raft_entries *entries;   /* LOADED */
    const struct raft_snapshot *snapshot; /* SNAPSHOT_READ; referenced, not taken, like piece */
    struct raft_payload *piece;           /* SNAPSHOT_READ: at most max_bytes; NULL: empty */
    uint64_t offset;                      /* SNAPSHOT_READ, SNAPSHOT_WRITTEN */
    bool last;                            /* SNAPSHOT_READ: the image ends with piece */
    enum err err;                         /* SNAPSHOT_WRITTEN */
    int64_t now; /* any, with promise_ns: ns of a clock that runs while the machine sleeps,
                    read after what the event tells of */
};

struct raft_load {
    raft_id member;
    uint64_t first, last; /* as many of these as max_bytes allows, but one at least */
    size_t max_bytes;
};
struct raft_read_result {
    uint64_t read;
    enum err err;   /* OK: the state machine, as applied now, may answer. ERR_NOT_LEADER */
    uint64_t index; /* the read index */
    bool leased;    /* once the state is read, raft_lease_holds must say so; else read again */
};
/* A piece of an image of the state is wanted (D7). */
struct raft_snapshot_read {
    raft_id member;
    uint64_t index; /* the snapshot's; 0: any, best the newest */
    uint64_t least; /* another one than asked for must not be below this index */
    uint64_t offset;
    size_t max_bytes;
};
/* A piece for this member's own state (D8). */
struct raft_install_piece {
    raft_id from;
    struct raft_snapshot snapshot; /* holds a reference, as does piece */
    uint64_t offset;
    struct raft_payload *piece; /* NULL: empty */
    bool last;
};

/* What is to be done. Owned by the caller; clear after carrying it out. */
struct raft_effects {
    uint64_t persist_sequence; /* 0: nothing to persist */
    bool hard_state_changed;   /* term or vote */
    struct raft_hard_state hard_state;
    struct raft_snapshot
        reset;              /* index not 0: first of all, the log is emptied and its base is this
                                   (D8); holds a reference */
    uint64_t truncate_from; /* not 0: entries at and above go before `entries` are appended */
    struct raft_entries entries;
    struct raft_message *messages;
    size_t message_count, message_capacity;
    struct raft_load *loads;
    size_t load_count, load_capacity;
    struct raft_read_result *reads;
    size_t read_count, read_capacity;
    struct raft_snapshot_read *snapshot_reads;
    size_t snapshot_read_count, snapshot_read_capacity;
    struct raft_install_piece *installs;
    size_t install_count, install_capacity;
    uint64_t apply_to;       /* 0: unchanged */
    uint64_t proposed_first; /* PROPOSE and CHANGE of the last step: index of the first entry */
    uint64_t proposed_term;
    bool role_changed; /* role, leader or term */
    bool configuration_changed;
    const char *violation; /* D6 */
};
void raft_effects_init(struct raft_effects *e);
void raft_effects_clear(struct raft_effects *e); /* releases references, keeps memory */
void raft_effects_release(struct raft_effects *e);

/* OK but for refused PROPOSE, CHANGE, READ and TRANSFER. Adds to effects. */
enum err raft_step(struct raft *r, const struct raft_event *event,
                   struct raft_effects *effects) MUST_USE;

enum raft_role { RAFT_FOLLOWER, RAFT_PRE_CANDIDATE, RAFT_CANDIDATE, RAFT_LEADER };
const char *raft_role_name(enum raft_role role);

enum raft_flow { RAFT_PROBE, RAFT_REPLICATE, RAFT_SNAPSHOT_FLOW };
struct raft_member_status {
    raft_id id;
    uint64_t match, next; /* known to a leader only, else 0 */
    enum raft_flow flow;
    bool active;  /* heard from lately */
    bool sending; /* a snapshot; also beside REPLICATE, to one whose state is discarded */
    uint64_t snapshot_index;  /* which; 0: not known yet */
    uint64_t snapshot_offset; /* so much of it is acknowledged */
};
struct raft_status {
    raft_id id, leader, vote; /* leader: 0 when not known */
    enum raft_role role;
    uint64_t term, commit, applied, persisted, first_index, last_index;
    uint64_t configuration_index;
    struct raft_configuration configuration;
    struct raft_member_status members[RAFT_MEMBERS_MAX]; /* in the configuration's order */
    raft_id transfer;                       /* leadership is on its way to; 0: to nobody */
    uint64_t install_index, install_offset; /* of the snapshot that this member receives; 0: none */
    bool discarded;                         /* a snapshot is waited for: raft_restored */
    bool removed;        /* a committed configuration is known that does not have this member */
    int64_t lease_until; /* a leader's; what raft_lease_holds compares with. 0: none */
};
void raft_status(const struct raft *r, struct raft_status *out);
uint64_t raft_term(const struct raft *r);
uint64_t raft_commit(const struct raft *r);
/* Up to where entries were handed out for apply (D4). */
uint64_t raft_handed(const struct raft *r);
bool raft_is_leader(const struct raft *r);
/* As in raft_status. */
int64_t raft_lease_until(const struct raft *r);
/* Whether this member leads and nobody else can at `now`, the same clock as in events. */
bool raft_lease_holds(const struct raft *r, int64_t now);
/* Whether a leader's first entry of its term is committed, so that it knows all that is. */
bool raft_leader_ready(const struct raft *r);

/* Adds entries first .. last to out, at most max_bytes of them (but one at least). False when first
 * is not in memory. */
bool raft_entries_cached(const struct raft *r, uint64_t first, uint64_t last, size_t max_bytes,
                         struct raft_entries *out);
/* Log entry 1 of a new group, the same at each of its voters: term 1, written before the first
 * raft_new with a hard state of term 1, commit 1. The caller owns the payload's reference. */
struct raft_entry raft_bootstrap_entry(const struct raft_configuration *c);
