/* The core's own state, shared by its files: one file per message or concern.
 *
 * Invariants
 *  R1  commit <= last index; what is committed is never truncated.
 *  R2  A leader's log is never truncated while it leads.
 *  R3  persisted <= last index; entries above it are in memory.
 *  R4  handed <= min(commit, persisted): only what is durable here is applied.
 *  R5  cached entries are one run that ends at the last index and begins above the base.
 *  R6  A vote or a term counts, also for the voter itself, only when it is durable.
 *  R7  From a snapshot's last piece until it is installed, a log that it will replace is frozen: no
 *      append, no commit, no standing.
 *  R8  A leader that has told somebody to stand takes no lease in that term any more. */
#pragma once
#include "metadata/raft/raft.h"

struct raft_inflight {
    uint64_t last; /* index of the last entry of that append */
    size_t bytes;
};

/* A snapshot on its way to one member (Raft, section 7; etcd's tracker). */
struct raft_sending {
    bool active;
    uint64_t wants;       /* not 0: asked for by a member without state, of this index at least */
    uint64_t index, term; /* 0: which one is not known yet */
    uint64_t acked, next; /* offsets: written there; to be sent */
    uint64_t last_offset; /* of the last piece, once sent_all */
    bool sent_all;
    bool reading; /* the driver is asked for the piece at asked_offset */
    uint64_t asked_index, asked_offset;
    bool waiting;          /* it had none: until the next heartbeat's reply */
    bool went_back;        /* to acked, because a piece was missing there */
    uint64_t acked_before; /* at the last heartbeat's reply */
    uint32_t idle;         /* heartbeats' replies since acked moved */
};

/* What a leader knows of one member (thesis, section 10.2.1; etcd's tracker). */
struct raft_progress {
    raft_id id;
    enum raft_flow flow;
    uint64_t match, next;
    bool probing;   /* PROBE: one append is under way; the next heartbeat's reply frees it */
    bool loading;   /* entries at next are asked of the log */
    bool active;    /* heard from since the last quorum check */
    bool lives;     /* or before that one */
    bool heard;     /* in this term at all */
    uint64_t round; /* the newest read round that it confirmed */
    struct raft_inflight *inflight; /* a ring of RAFT_INFLIGHT_MESSAGES */
    size_t inflight_first, inflight_count, inflight_bytes;
    struct raft_sending sending;
};

/* A snapshot that this member receives. */
struct raft_install {
    struct raft_snapshot snapshot; /* index 0: none */
    uint64_t leader_term;          /* its leader's: another leader begins anew */
    uint64_t wanted, written;      /* offsets: of the next piece; what the driver has written */
    bool complete;                 /* the last piece is with the driver */
};

/* The log as the core sees it: the terms of all, the newest entries themselves. */
struct raft_log {
    struct term_runs terms;
    struct raft_entry *ring; /* capacity is a power of two */
    size_t capacity, head, count;
    size_t bytes;
    uint64_t commit, persisted, handed, applied;
};

struct raft_configuration_at {
    uint64_t index;
    struct raft_configuration c;
};

/* One write that is under way. */
struct raft_persist {
    uint64_t sequence;
    uint64_t last; /* persisted reaches this, unless a truncation lowers it first; 0: no entries */
};

struct raft_waiting_read {
    uint64_t read, index, round;
    bool ready; /* leadership confirmed, waits for apply */
    bool leased;
};

struct raft {
    struct raft_options options;
    uint64_t random;

    uint64_t term;
    raft_id vote;
    struct raft_log log;

    /* The one in force last; below it those that a truncation could bring back. */
    struct raft_configuration_at *configurations;
    size_t configuration_count, configuration_capacity;

    enum raft_role role;
    raft_id leader;
    uint32_t elapsed; /* ticks since the leader was heard, or since the election began */
    uint32_t heartbeat_elapsed;
    uint32_t timeout;        /* this election's */
    uint32_t votes, refused; /* by position in the configuration in force */

    struct raft_progress progress[RAFT_MEMBERS_MAX]; /* leader: by position in the configuration */
    size_t progress_count;
    uint64_t term_start; /* leader: index of its no-op */
    uint64_t uncommitted_bytes;
    raft_id departed[RAFT_MEMBERS_MAX]; /* left by the configuration in force */
    size_t departed_count;
    raft_id transfer; /* leadership shall go there; 0: nowhere */
    uint32_t transfer_elapsed;
    bool resigning; /* steps down if that fails */

    struct raft_install install;
    bool discarded;      /* applied lies below the log's base: waits for a snapshot */
    uint64_t removed_at; /* somebody's committed configuration at this index lacks this member */

    int64_t now;           /* the latest that an event carried */
    bool timed;            /* an event has carried it */
    int64_t promise_until; /* no vote for anybody but promise_to before */
    raft_id promise_to;
    int64_t round_started, lease_until;
    bool lease_off; /* R8 */

    uint64_t round, round_done; /* read rounds begun and confirmed */
    struct raft_waiting_read *reads;
    size_t read_count, read_capacity;

    uint64_t sequence, sequence_done; /* persist */
    uint64_t hard_sequence;           /* of the last change of term or vote */
    struct raft_persist *persists;
    size_t persist_count, persist_capacity;

    struct raft_effects *effects; /* of the step under way */
};

/* raft.c */
const struct raft_configuration *raft_configuration_now(const struct raft *r);
uint64_t raft_configuration_index(const struct raft *r);
int raft_position(const struct raft *r, raft_id id); /* -1: no member */
bool raft_self_votes(const struct raft *r);
bool raft_removed(const struct raft *r);
/* A leader was heard: its followers stay with it for an election timeout. */
void raft_follow(struct raft *r, const struct raft_message *m);
void raft_violated(struct raft *r, const char *what);

/* effects.c */
struct raft_message *raft_send(struct raft *r, enum raft_message_type type, raft_id to);
void raft_effect_load(struct raft *r, const struct raft_load *load);
void raft_effect_snapshot_read(struct raft *r, const struct raft_snapshot_read *read);
void raft_effect_install(struct raft *r, const struct raft_install_piece *piece);
void raft_effect_read(struct raft *r, const struct raft_read_result *result);

/* persist.c */
void raft_save_hard_state(struct raft *r);
void raft_append_entry(struct raft *r, const struct raft_entry *e);
void raft_truncate(struct raft *r, uint64_t from);
void raft_persisted(struct raft *r, uint64_t sequence);
void raft_commit_to(struct raft *r, uint64_t index);
void raft_hand_out(struct raft *r);
void raft_log_reset(struct raft *r, const struct raft_snapshot *snapshot);

/* entries.c: the cache */
uint64_t raft_last_index(const struct raft *r);
uint64_t raft_last_term(const struct raft *r);
uint64_t raft_term_at(const struct raft *r, uint64_t index);
void raft_cache_push(struct raft_log *log, const struct raft_entry *e);
void raft_cache_truncate(struct raft_log *log, uint64_t from);
void raft_cache_trim(struct raft_log *log, size_t bytes);
void raft_cache_drop(struct raft_log *log, uint64_t to); /* what lies in memory up to there */
void raft_cache_clear(struct raft_log *log);
void raft_cache_release(struct raft_log *log);
uint64_t raft_cache_first(const struct raft_log *log); /* last index + 1 when empty */
const struct raft_entry *raft_cache_at(const struct raft_log *log, uint64_t index);

/* election.c */
void raft_tick(struct raft *r);
void raft_become_follower(struct raft *r, uint64_t term, raft_id leader);
void raft_campaign(struct raft *r);
void raft_stand(struct raft *r, bool transfer);
void raft_self_vote_durable(struct raft *r);
void raft_count_votes(struct raft *r);

/* recv_vote.c */
void raft_recv_vote(struct raft *r, const struct raft_message *m);
/* Says also when the one who asked is no member any more. */
struct raft_message *raft_vote_answer(struct raft *r, enum raft_message_type type, raft_id to);
void raft_answer_removed(struct raft *r, const struct raft_message *m);
void raft_recv_notice(struct raft *r, const struct raft_message *m);
void raft_recv_vote_reply(struct raft *r, const struct raft_message *m);

/* recv_append.c, recv_append_reply.c, recv_heartbeat.c */
void raft_recv_append(struct raft *r, const struct raft_message *m);
void raft_acknowledge(struct raft *r, raft_id leader, uint64_t match);
void raft_recv_append_reply(struct raft *r, const struct raft_message *m);
void raft_recv_heartbeat(struct raft *r, const struct raft_message *m);
void raft_recv_heartbeat_reply(struct raft *r, const struct raft_message *m);

/* progress.c */
void raft_progress_reset(struct raft *r);   /* on becoming leader */
void raft_progress_rebuild(struct raft *r); /* on a new configuration */
void raft_progress_release(struct raft *r);
void raft_progress_probe(struct raft_progress *p);
void raft_progress_replicate(struct raft_progress *p);
void raft_progress_snapshot(struct raft_progress *p);
void raft_inflight_add(struct raft_progress *p, uint64_t last, size_t bytes);
void raft_inflight_free_to(struct raft_progress *p, uint64_t index);
bool raft_inflight_full(const struct raft *r, const struct raft_progress *p);

/* replication.c */
void raft_replicate(struct raft *r, struct raft_progress *p);
void raft_replicate_all(struct raft *r);
void raft_replicate_again(struct raft *r, struct raft_progress *p); /* something may be lost */
void raft_heartbeat_all(struct raft *r);
void raft_advance_commit(struct raft *r);
enum err raft_propose(struct raft *r, struct raft_payload *const *payloads, size_t count);
void raft_loaded(struct raft *r, raft_id member, const struct raft_entries *entries);
bool raft_leader_append(struct raft *r, enum raft_entry_type type, struct raft_payload *payload);

/* read_index.c */
enum err raft_read(struct raft *r, uint64_t read, bool lease);
void raft_reads_confirm(struct raft *r);
void raft_reads_release(struct raft *r); /* those that are applied far enough */
void raft_reads_fail(struct raft *r);
void raft_reads_begin(struct raft *r);

/* change.c */
enum err raft_change(struct raft *r, const struct raft_event *event);
enum err raft_configuration_push(struct raft *r, const struct raft_entry *e);
void raft_configuration_truncate(struct raft *r, uint64_t from);
void raft_configuration_settle(struct raft *r);
void raft_change_committed(struct raft *r); /* the leader's duties when its configuration may be */

/* snapshot_send.c: a leader's side */
void raft_sending_wanted(struct raft *r, struct raft_progress *p, uint64_t wants);
void raft_sending_end(struct raft_progress *p);
void raft_sending_go_on(struct raft *r, struct raft_progress *p);
void raft_sending_again(struct raft *r, struct raft_progress *p); /* something may be lost */
void raft_snapshot_read_done(struct raft *r, const struct raft_event *event);
void raft_recv_snapshot_reply(struct raft *r, const struct raft_message *m);

/* snapshot_install.c: a follower's side */
void raft_recv_snapshot(struct raft *r, const struct raft_message *m);
void raft_snapshot_written(struct raft *r, const struct raft_event *event);
void raft_installed(struct raft *r, uint64_t index);
bool raft_frozen(const struct raft *r); /* R7 */
void raft_install_release(struct raft *r);

/* transfer.c */
enum err raft_transfer(struct raft *r, raft_id member);
void raft_transfer_tick(struct raft *r);
void raft_transfer_try(struct raft *r, const struct raft_progress *p);
void raft_transfer_before_leaving(struct raft *r);
void raft_resign(struct raft *r);
void raft_recv_timeout_now(struct raft *r, const struct raft_message *m);

/* lease.c */
void raft_lease_time(struct raft *r, int64_t now);
void raft_lease_promise(struct raft *r, raft_id leader, uint64_t ns);
bool raft_lease_promised(const struct raft *r, raft_id candidate); /* to another, and not over */
void raft_lease_renew(struct raft *r);
void raft_lease_confirmed(struct raft *r);
void raft_lease_drop(struct raft *r);
