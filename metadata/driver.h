/* Runs one Raft member: the only place that knows persist, then send, then apply.
 *
 *   driver thread   owns the core: takes events from a bounded queue, ticks it, carries effects out
 *   log thread      owns the log: one group sync for all that is pending, loads old entries
 *   apply thread    gives committed, durable entries to the state machine in batches
 *   snapshot thread reads images of the state for followers, takes those that a leader sends
 *
 * The log is compacted when its segments outgrow log_bytes: down to half of it, but not beyond what is
 * applied, nor, up to PIN times that bound, what a live follower still needs.
 *
 * Callbacks never hold a lock of the driver and must not call driver_stop. Everything else here may
 * be called from any thread. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/base/err.h"
#include "common/base/ids.h"
#include "common/sys/sys.h"
#include "metadata/log.h"
#include "metadata/raft/raft.h"

struct driver;

/* A committed entry on its way into the state machine. */
struct driver_entry {
    uint64_t index, term;
    enum raft_entry_type type; /* only COMMAND has meaning for the state machine */
    const void *data;          /* valid during the callback */
    size_t length;
    bool local; /* proposed here and waited for: a reply will be delivered */
    /* Set by the callback with driver_entry_reply. */
    void *reply;
    size_t reply_length;
};
/* Copies what the proposer shall get back. At most once per entry; ignored when not local. */
void driver_entry_reply(struct driver_entry *e, const void *data, size_t n);

/* What a snapshot read gives. */
struct driver_piece {
    struct raft_snapshot snapshot; /* holds a reference, as does piece */
    uint64_t offset;               /* 0 when it is another image than the one asked for */
    struct raft_payload *piece;
    bool last;
};

struct driver_callbacks {
    void *arg;
    /* Driver thread. Must not block: queue it, or drop it. The message is valid during the call;
     * encode it with raft_codec_encode. m->to's address is in the configuration. */
    void (*send)(void *arg, const struct raft_message *m);
    /* Apply thread. Returns when all of it is durable in the state (with the index of the last
     * entry); an error stops the process. Indices are consecutive, no-ops and configurations
     * included. At most DRIVER_APPLY_MAX entries. */
    enum err (*apply)(void *arg, struct driver_entry *entries, size_t n);
    /* Snapshot thread, each may wait for disks (D7, D8 in raft.h). read: ERR_NOT_FOUND and others: not
     * now. write: the last piece's answer is OK when the image is verified and ready. install: makes
     * the image that is ready the state, in one durable step; nothing is applied meanwhile; an error
     * stops the process. */
    enum err (*snapshot_read)(void *arg, const struct raft_snapshot_read *want,
                              struct driver_piece *out);
    enum err (*snapshot_write)(void *arg, const struct raft_install_piece *piece);
    enum err (*snapshot_install)(void *arg, const struct raft_snapshot *snapshot);
    /* Snapshot thread, every second while it is idle: images that nobody reads can go. */
    void (*snapshot_idle)(void *arg);
    /* Driver thread; may be NULL. On each change of role, leader, term or configuration. Must not
     * block. */
    void (*changed)(void *arg, const struct raft_status *status);
    /* Driver thread; may be NULL. With each tick; must not block. False: this member must not lead
     * now, it gives leadership up and does not stand. */
    bool (*tick)(void *arg);
};

enum {
    DRIVER_APPLY_MAX = 256,           /* entries in one apply batch */
    DRIVER_APPLY_BYTES = 1 << 20,     /* or when this is reached */
    DRIVER_MESSAGES_MAX = 4096,       /* queued, not yet stepped */
    DRIVER_MESSAGE_BYTES = 128 << 20, /* their entries */
    DRIVER_PROPOSALS_MAX = 4096,      /* proposed and not yet applied; then ERR_BUSY */
    DRIVER_PIN = 4, /* times log_bytes: how long the log may get for a follower's sake */
};
/* The longest lease (raft.h, promise_ns): no configuration changes it, and no later version makes it
 * longer, since others may run this one. For as long a restarted member gives no vote. */
#define DRIVER_PROMISE SYS_SECOND

struct driver_options {
    struct log_store_options log;
    int64_t tick;                                    /* ns; 0: 100 ms */
    uint32_t election_min_ticks, election_max_ticks; /* 0: 10, 20 */
    int64_t idle_mark;                               /* ns; 0: 50 ms */
    int64_t lease; /* ns; 0: none. At most DRIVER_PROMISE: a leader answers reads without asking
                           for nine tenths of it from when a majority has heard it (hazard 14) */
    int64_t stall; /* ns; 0: 2 s: a leader whose log or apply stands still resigns */
    size_t cache_bytes; /* 0: 16 MiB */
    uint64_t log_bytes; /* 0: 256 MiB; segments in use beyond it are compacted away */
    uint64_t applied;   /* the index that the state has synced; apply starts behind it */
    uint64_t applied_term;
    /* What the state was installed from; index 0: it began empty. */
    struct raft_snapshot installed;
    bool discarded; /* there is no state, on purpose: a snapshot is waited for */
    struct driver_callbacks callbacks;
};

/* Makes the log of a new member in options->log.directory. bootstrap: the first configuration,
 * the same at each of its voters, usually this member alone; NULL for one that joins.
 * ERR_EXISTS. */
enum err driver_create(const struct log_store_options *log,
                       const struct log_store_identity *identity,
                       const struct raft_configuration *bootstrap) MUST_USE;
/* Opens the log and starts the threads. identity, when not NULL, receives whose log it is.
 * Errors as log_store_open and raft_new. */
enum err driver_start(const struct driver_options *options, struct log_store_identity *identity,
                      struct driver **out) MUST_USE;
/* Joins all threads; what still waits ends with ERR_CLOSED. Frees d. */
void driver_stop(struct driver *d);

/* A message from the network: takes over m's entries (also on error). ERR_BUSY: dropped. */
enum err driver_receive(struct driver *d, struct raft_message *m) MUST_USE;

/* Ends a proposal, once, from the apply or driver thread; must not block. OK: applied here, with
 * what apply gave as reply (valid during the call). Definitely not taken: ERR_NOT_LEADER,
 * ERR_ABORTED (another entry was committed in its place). ERR_CLOSED: leadership was lost or the
 * driver stopped first, the outcome is not known. */
typedef void driver_proposed(void *arg, enum err err, uint64_t index, uint64_t term,
                             const void *reply, size_t reply_length);
/* Copies data. ERR_BUSY | ERR_TOO_BIG | ERR_NOT_LEADER | ERR_STOPPING: done is not called. */
enum err driver_propose_start(struct driver *d, const void *data, size_t n, driver_proposed *done,
                              void *arg) MUST_USE;

struct driver_result {
    uint64_t index, term;
    void *reply; /* free with sys_free; NULL when apply gave none */
    size_t reply_length;
};
/* The same, waiting. ERR_TIMEOUT: the outcome is not known. */
enum err driver_propose(struct driver *d, const void *data, size_t n, int64_t deadline,
                        struct driver_result *out) MUST_USE;

/* A linearizable read point: OK when everything committed before the call is applied here and this
 * member was the leader during the call. ERR_NOT_LEADER | ERR_BUSY | ERR_TIMEOUT | ERR_CLOSED. */
enum err driver_read_barrier(struct driver *d, int64_t deadline) MUST_USE;
/* leased: nobody was asked. What is then read from the state counts only if driver_lease_holds
 * afterwards; else all of it is done again, without lease. */
typedef void driver_read_done(void *arg, enum err err, uint64_t index, bool leased);
/* lease: a lease will do, if there is one. */
enum err driver_read_start(struct driver *d, bool lease, driver_read_done *done,
                           void *arg) MUST_USE;
/* The same, waiting. */
enum err driver_read_leased(struct driver *d, int64_t deadline, bool *leased) MUST_USE;
/* Whether until now nobody else has led, nor can have. */
bool driver_lease_holds(struct driver *d);

/* Membership; OK when the change is applied. Errors of RAFT_CHANGE, and as driver_propose. */
enum err driver_change(struct driver *d, enum raft_change_type change, raft_id member,
                       const char *address, int64_t deadline) MUST_USE;

/* Compacts the log up to what is applied here, but for what followers need. *index: up to where it is
 * compacted then. ERR_BUSY | ERR_TIMEOUT | ERR_CLOSED. */
enum err driver_compact(struct driver *d, int64_t deadline, uint64_t *index) MUST_USE;
/* Hands leadership over; member 0: to the best. OK when it is under way: driver_status tells.
 * Errors of RAFT_TRANSFER. */
enum err driver_transfer(struct driver *d, raft_id member, int64_t deadline) MUST_USE;

struct driver_status {
    struct raft_status raft; /* as of the last events */
    uint64_t applied;
    uint64_t waiting_proposals, queued_events;
    uint64_t messages_sent, messages_received, messages_dropped;
    bool leader_ready; /* leads, and knows all that is committed */
    bool stalled;      /* its log or apply stands still */
    struct log_store_status log;
};
void driver_status(struct driver *d, struct driver_status *out);
bool driver_is_leader(struct driver *d);
bool driver_stalled(struct driver *d);
