/* Raft as a pure state machine: raft_step(raft, event, effects). No I/O, clock, threads or
 * randomness of its own; time is ticks, chance comes from the seed. One thread owns it.
 *
 * Sources: Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm (extended)",
 * cited as "Raft"; Ongaro's dissertation, cited as "thesis".
 *
 * The caller's duties
 *  D1  Effects of several steps may be gathered in one raft_effects and are then carried out in
 *      one go; the persist part is written as one unit: truncate, then entries, then hard state.
 *  D2  When everything up to a persist sequence is durable, step RAFT_PERSISTED with it. Writes
 *      become durable in the order of their sequences.
 *  D3  A message leaves only when its `after` is durable. Messages may be lost, repeated and
 *      reordered.
 *  D4  Entries up to apply_to, in order, go to the state machine; then step RAFT_APPLIED. They are
 *      durable here by then. After raft_new that is everything up to raft_commit. Fetch them with
 *      raft_entries_cached, or from the log when they are not in memory.
 *  D5  A load is answered by RAFT_LOADED, possibly with no entries, which tries again at the next
 *      heartbeat.
 *  D6  When `violation` is set the member must stop: what it was told contradicts what is committed.
 *
 * Learners, joint configurations and snapshots have their room in types.h and configuration.h. A
 * change goes learner, then voter, one at a time; every member catches up from the log. */
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
};

struct raft_options {
    raft_id id;
    uint64_t seed;
    uint32_t heartbeat_ticks;                        /* 0: 1 */
    uint32_t election_min_ticks, election_max_ticks; /* 0: 10, 20; timeouts are in [min, max) */
    size_t cache_bytes;    /* 0: 16 MiB; committed and durable entries kept in memory */
    size_t batch_bytes;    /* 0: RAFT_BATCH_BYTES */
    size_t inflight_bytes; /* 0: RAFT_INFLIGHT_BYTES */
};

/* What the log gave back at start. All is copied. */
struct raft_restored {
    struct raft_hard_state hard;
    const struct term_runs *terms;           /* of all entries; base = what is compacted away */
    const struct raft_entry *configurations; /* all configuration entries of the log, in order, */
    size_t configuration_count;              /* beginning with the compacted prefix's last one */
    uint64_t applied;                        /* the state machine's synced index */
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
    RAFT_RESIGN,    /* a leader whose disk hangs gives up */
};

enum raft_change_type {
    RAFT_ADD_LEARNER = 1,    /* ERR_EXISTS when it is a member (a voter's address is updated) */
    RAFT_PROMOTE = 2,        /* learner to voter, through a joint configuration; ERR_BUSY while the
                                learner is not within one batch of the leader's log */
    RAFT_REMOVE_LEARNER = 3, /* ERR_NOT_FOUND */
};

struct raft_event {
    enum raft_event_type type;
    const struct raft_message *message;   /* MESSAGE; entries are referenced, not taken */
    struct raft_payload *const *payloads; /* PROPOSE: count of them; referenced, not taken */
    size_t count;
    enum raft_change_type change;       /* CHANGE */
    raft_id member;                     /* CHANGE; LOADED: for whom */
    const char *address;                /* CHANGE: ADD_LEARNER */
    uint64_t read;                      /* READ: the caller's number for it */
    uint64_t sequence;                  /* PERSISTED */
    uint64_t index;                     /* APPLIED */
    const struct raft_entries *entries; /* LOADED */
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
};

/* What is to be done. Owned by the caller; clear after carrying it out. */
struct raft_effects {
    uint64_t persist_sequence; /* 0: nothing to persist */
    bool hard_state_changed;   /* term or vote */
    struct raft_hard_state hard_state;
    uint64_t truncate_from; /* not 0: entries at and above go before `entries` are appended */
    struct raft_entries entries;
    struct raft_message *messages;
    size_t message_count, message_capacity;
    struct raft_load *loads;
    size_t load_count, load_capacity;
    struct raft_read_result *reads;
    size_t read_count, read_capacity;
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

/* OK but for refused PROPOSE, CHANGE and READ. Adds to effects. */
enum err raft_step(struct raft *r, const struct raft_event *event,
                   struct raft_effects *effects) MUST_USE;

enum raft_role { RAFT_FOLLOWER, RAFT_PRE_CANDIDATE, RAFT_CANDIDATE, RAFT_LEADER };
const char *raft_role_name(enum raft_role role);

enum raft_flow { RAFT_PROBE, RAFT_REPLICATE };
struct raft_member_status {
    raft_id id;
    uint64_t match, next; /* known to a leader only, else 0 */
    enum raft_flow flow;
    bool active; /* heard from lately */
};
struct raft_status {
    raft_id id, leader, vote; /* leader: 0 when not known */
    enum raft_role role;
    uint64_t term, commit, applied, persisted, first_index, last_index;
    uint64_t configuration_index;
    struct raft_configuration configuration;
    struct raft_member_status members[RAFT_MEMBERS_MAX]; /* in the configuration's order */
};
void raft_status(const struct raft *r, struct raft_status *out);
uint64_t raft_term(const struct raft *r);
uint64_t raft_commit(const struct raft *r);
bool raft_is_leader(const struct raft *r);
/* Whether a leader's first entry of its term is committed, so that it knows all that is. */
bool raft_leader_ready(const struct raft *r);

/* Adds entries first .. last to out, at most max_bytes of them (but one at least). False when first
 * is not in memory. */
bool raft_entries_cached(const struct raft *r, uint64_t first, uint64_t last, size_t max_bytes,
                         struct raft_entries *out);
/* Log entry 1 of a new group, the same at each of its voters: term 1, written before the first
 * raft_new with a hard state of term 1, commit 1. The caller owns the payload's reference. */
struct raft_entry raft_bootstrap_entry(const struct raft_configuration *c);
