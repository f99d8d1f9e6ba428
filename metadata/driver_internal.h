/* The driver's parts: driver.c (driver thread), driver_effects.c (carrying effects out),
 * driver_log.c (log thread), driver_apply.c (apply thread), driver_snapshot.c (snapshot thread),
 * driver_compact.c (how long the log gets), driver_wait.c (blocking calls).
 *
 * One lock for all that threads hand to each other; never held over a callback, a file call or a
 * step of the core. */
#pragma once
#include "common/sys/sys.h"
#include "metadata/driver.h"

enum {
    DRIVER_READS_QUEUED_MAX = RAFT_READS_MAX,
    DRIVER_CHANGES_MAX = 16,
    DRIVER_GATHER_MS = 10,              /* what a member that does not lead may leave lying */
    DRIVER_APPLY_QUEUE_BYTES = 8 << 20, /* handed to the apply thread and not yet applied, */
    DRIVER_APPLY_QUEUE_MAX = 4096,      /* or so many entries */
};

/* Something asked of the driver thread, in order of arrival. */
enum driver_item_type {
    ITEM_MESSAGE,
    ITEM_PROPOSE,
    ITEM_READ,
    ITEM_CHANGE,
    ITEM_TRANSFER,
    ITEM_COMPACT
};
struct driver_item {
    struct driver_item *next;
    enum driver_item_type type;
    struct raft_message message;
    struct raft_payload *payload; /* PROPOSE */
    driver_proposed *done;        /* PROPOSE, CHANGE, TRANSFER, COMPACT */
    driver_read_done *read_done;  /* READ */
    void *arg;
    uint64_t read;
    bool lease; /* READ */
    enum raft_change_type change;
    raft_id member;
    char *address;
};
struct driver_list {
    struct driver_item *first, *last;
    size_t n;
};

/* A proposal in the log whose end somebody waits for. */
struct driver_pending {
    uint64_t index, term;
    driver_proposed *done;
    void *arg;
};

/* What the log thread shall make durable: several steps' effects as one. */
struct driver_write {
    uint64_t sequence; /* 0: nothing */
    bool hard_changed;
    struct raft_hard_state hard;
    uint64_t commit, truncate_from;
    struct raft_snapshot reset; /* index not 0: before the rest; holds a reference */
    struct raft_entries entries;
};
struct driver_loaded {
    struct driver_loaded *next;
    struct raft_load load; /* member 0: for the apply thread */
    struct raft_entries entries;
};

/* Asked of the snapshot thread, and its answer. */
struct driver_snapshot_job {
    struct driver_snapshot_job *next;
    bool install;
    struct raft_snapshot_read want;  /* a read */
    struct raft_install_piece piece; /* an install */
    enum err err;
    struct driver_piece got;
    bool installed;
};
struct driver_snapshot_list {
    struct driver_snapshot_job *first, *last;
};

struct driver {
    struct driver_options options;
    struct raft *raft;     /* driver thread */
    struct log_store *log; /* log thread */
    struct sys_thread *driver_thread, *log_thread, *apply_thread, *snapshot_thread;

    struct sys_mutex lock;
    struct sys_cond wake, log_wake, apply_wake, snapshot_wake;
    bool stopping, log_stopping, apply_stopping, snapshot_stopping;

    /* to the driver thread */
    struct driver_list items;
    size_t message_count, message_bytes, reads_queued, changes_queued;
    size_t proposals; /* queued or pending */
    uint64_t persisted, applied;
    struct driver_loaded *loaded_first, **loaded_end;
    struct driver_snapshot_list snapshots_done;
    uint64_t compacted;   /* the log's base */
    uint64_t compactable; /* where it could go to get within its bound; 0: it is */

    /* to the log thread */
    struct driver_write write;
    struct driver_loaded *loads_first, **loads_end;
    uint64_t compact_to;    /* 0: nothing to do */
    int64_t log_busy_since; /* 0: idle */

    /* to the snapshot thread */
    struct driver_snapshot_list snapshots;

    /* to the apply thread */
    struct raft_entries apply;
    size_t apply_bytes;
    bool gathering; /* the apply thread waits for more, until it is told or its time is over */
    bool apply_paused, applying; /* a state is being installed; a batch is under way */
    int64_t apply_busy_since;

    struct driver_pending *pending; /* a ring of DRIVER_PROPOSALS_MAX, ascending by index */
    size_t pending_first, pending_count;

    struct driver_status status;
    int64_t lease_until; /* sys_boottime; dropped before others are told to stand */

    /* the driver thread's own */
    struct raft_effects effects;
    int64_t now;               /* sys_boottime, read after what is stepped with it */
    struct raft_message *held; /* until their persist sequence is durable */
    size_t held_count, held_capacity;
    struct driver_list reads;       /* asked of the core, in order */
    struct driver_list compactions; /* asked for, under way */
    uint64_t compact_asked;         /* how far, by those that came in this round */
    uint64_t compacted_done;
    uint64_t read_number;
    uint64_t persisted_done, applied_done;
    uint64_t apply_to, fed; /* may be applied; handed to the apply thread */
    bool feeding;           /* a load for the apply thread is under way */
    uint64_t leading_term;  /* 0: no leader */
    bool announce;
};

/* driver.c */
void driver_list_push(struct driver_list *l, struct driver_item *item);
struct driver_item *driver_list_pop(struct driver_list *l);
void driver_item_free(struct driver_item *item);
enum err driver_step(struct driver *d, const struct raft_event *event);

/* driver_effects.c */
void driver_carry_out(struct driver *d);
void driver_release_held(struct driver *d);
void driver_feed_apply(struct driver *d);
void driver_take_loaded(struct driver *d, struct driver_loaded *loaded);
void driver_queue_load(struct driver *d, const struct raft_load *load);

/* driver_snapshot.c */
void driver_snapshot_run(void *driver);
void driver_queue_snapshots(struct driver *d);
/* Steps the core with what the snapshot thread has done. */
void driver_take_snapshots(struct driver *d, struct driver_snapshot_list done);
void driver_snapshots_release(struct driver_snapshot_list *l);

/* driver_compact.c */
/* Driver thread: tells the core how far the log is compacted, and the log how far it is to be. */
void driver_compact_step(struct driver *d, const struct raft_status *status);
void driver_compact_start(struct driver *d, struct driver_item *item);

/* driver_log.c, driver_apply.c */
void driver_log_run(void *driver);
void driver_apply_run(void *driver);
/* Locked. Whether a batch goes to the state now rather than after the next entries have come. */
bool driver_apply_due(const struct driver *d);
void driver_pending_add(struct driver *d, uint64_t index, uint64_t term, driver_proposed *done,
                        void *arg);
/* Ends all pending proposals: their outcome is not known here. */
void driver_pending_close(struct driver *d);
void driver_loaded_free(struct driver_loaded *l);
