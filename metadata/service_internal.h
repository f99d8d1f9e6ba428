/* Shared by service.c (what a member answers), service_raft.c (messages between members) and
 * duties.c (what a leader does on its own). */
#pragma once
#include "common/proto/message_types.h"
#include "common/sys/log.h"
#include "common/sys/sys.h"
#include "common/proto/command.pb-c.h"
#include "common/proto/query.pb-c.h"
#include "common/proto/service.pb-c.h"
#include "metadata/clock_agreement.h"
#include "metadata/driver.h"
#include "metadata/service.h"
#include "metadata/state/image.h"
#include "metadata/state/state.h"
#include "metadata/state_home.h"
#include "placement/cluster_map.h"

enum {
    SERVICE_PEERS_MAX = RAFT_MEMBERS_MAX,
    SERVICE_QUEUE_MAX = 4096, /* queries past their barrier, waiting for a worker */
    SERVICE_NODES_MAX = 1024, /* chunkservers and gateways that send heartbeats */
    SERVICE_DISKS_PER_NODE = 256,
    SERVICE_IMAGES_MAX = 2, /* of the state, held for followers at once */
};

/* What a node said last. The message lives in its own arena. */
struct node_report {
    struct arena arena;
    Heartbeat *heartbeat;
    int64_t heard; /* sys_now */
};

/* Heartbeats as this leader heard them; emptied when it begins to lead. */
struct reports {
    struct sys_mutex lock;
    struct node_report *nodes[SERVICE_NODES_MAX];
    size_t count;
};

/* The way to another member. */
struct raft_peer {
    raft_id id;
    char address[RAFT_ADDRESS_MAX + 1];
    struct rpc_peer *peer;           /* over the wire, or */
    struct metadata_service *linked; /* in this process */
    bool gone;                       /* was in this process, and has stopped */
};

/* How this member's clock stands to those of the voters (member_notes.c). */
enum clock_state {
    CLOCK_UNKNOWN,  /* too few of them have been heard of */
    CLOCK_ALONE,    /* the only voter: nobody to compare with */
    CLOCK_AGREES,   /* with a majority of which it is one */
    CLOCK_OUTSIDE,  /* a majority agrees on another time */
    CLOCK_DISAGREE, /* there is no such majority */
};
/* What another member said of itself last. */
struct member_note {
    raft_id id;
    int64_t heard;            /* sys_now */
    int64_t clock_at;         /* sys_now of the answer that clock is from; 0: none yet */
    struct clock_range clock; /* its wall clock less this member's monotonic one, ns */
    bool disk_known, disk_low, ballast_gone, stalled;
    uint64_t disk_free_bytes;
    struct state_checkpoints hashes; /* of its state, as it told last */
};
struct member_notes {
    bool on;        /* the member has been started */
    int64_t ask_at; /* sys_now of the next round */
    struct member_note v[SERVICE_PEERS_MAX];
    size_t count;
    enum clock_state clock;
    struct clock_range agreed; /* wall clock less monotonic one, ns; with AGREES and OUTSIDE */
    int64_t outside_since;     /* sys_now; 0: it is not */
    bool fit;                  /* to lead, by its clock */
};

/* Log time beside this member's own elapsed time (time_watch.c); under the service's lock. */
struct time_watch {
    int64_t log_time, now; /* where both stood when it began to watch, or at the last step */
    int64_t held_until;    /* sys_now */
    int64_t stepped_to;    /* log time after the last step: confirming it ends the hold */
};

/* The room for this member's log and state (space_guard.c); under the service's lock. */
struct space_guard {
    struct sys_thread *thread; /* its own: warned; and what it alone changes it reads unlocked */
    struct sys_cond stop;
    bool stopping, warned;
    bool known, low, ballast;
    uint64_t free_bytes;
};

/* An image of the state that a follower reads. */
struct held_image {
    struct state_image *image; /* NULL: none */
    int64_t read;              /* sys_now of the last time */
};

/* The state and those beside it (service_state.c). */
struct service_states {
    struct state *now; /* under the service's lock: service_state gives it out */
    /* The driver's snapshot thread's own, and that of start and stop: */
    struct state_home home;
    struct held_image images[SERVICE_IMAGES_MAX];
    struct state_import *import; /* of what a leader sends; NULL: none */
    uint64_t import_index;
    char import_name[STATE_HOME_NAME];
    struct state *ready; /* whole and verified, not yet the state */
    /* Under the service's lock: */
    struct state_checkpoints hashes; /* of what is applied */
    uint64_t disputed;               /* an index of which nobody knows who is right, told of once */
    bool differs;                    /* from a majority: nothing more is applied */
    uint64_t installed_index;
};

struct job; /* a request on its way to a worker */

struct metadata_service {
    struct metadata_service_config config;
    char directory[SYS_PATH_MAX]; /* config's */
    struct log_store_identity identity;
    struct driver *driver;
    struct service_states states;

    struct sys_mutex lock; /* stamp, configuration, peers, notes, time_watch */
    int64_t stamped;       /* highest time given to a command */
    struct time_watch time_watch;
    struct raft_configuration configuration; /* as the driver told last */
    struct raft_peer peers[SERVICE_PEERS_MAX];
    size_t peer_count;
    size_t linked_calls; /* into members of this process, under way */
    struct sys_cond linked_idle;
    struct member_notes notes;
    struct space_guard space;

    struct sys_mutex queue_lock;
    struct sys_cond queue_some;
    struct job *queue_first, **queue_last;
    size_t queue_length;
    bool stopping;
    struct sys_thread **workers;
    unsigned worker_count;

    struct reports reports;
    struct duties *duties;
};

/* service_create.c: "DIRECTORY/NAME". ERR_TOO_BIG. */
enum err service_path(const char *directory, const char *name, char out[SYS_PATH_MAX]) MUST_USE;
/* service_state.c: the state; service_state with a reference for the caller. */
enum err service_state_open(struct metadata_service *s) MUST_USE;
void service_state_release(struct metadata_service *s);
struct state *service_state(struct metadata_service *s);
int64_t service_log_time(struct metadata_service *s);
uint64_t service_epoch(struct metadata_service *s);
/* The driver's callbacks. */
enum err service_state_apply(void *service, struct driver_entry *entries, size_t n);
enum err service_snapshot_read(void *service, const struct raft_snapshot_read *want,
                               struct driver_piece *out);
enum err service_snapshot_write(void *service, const struct raft_install_piece *piece);
enum err service_snapshot_install(void *service, const struct raft_snapshot *snapshot);
void service_snapshot_idle(void *service);

/* state_agreement.c. Locked: compares what the members told of their states with this member's. */
void service_agreement_look(struct metadata_service *s);
/* Apply thread, before it applies: where this member's state differs from that of a majority, the
 * process ends here, having discarded it. */
void service_agreement_check(struct metadata_service *s, struct state *state);

/* service_group.c: the group as this member knows it, and changes of it. */
void service_group_describe(struct metadata_service *s, struct arena *arena, Members *out);
/* MSG_JOIN, MSG_GROUP: on a worker, may wait. */
void service_group_run(struct metadata_service *s, struct rpc_request *r);
/* The same by a function call. */
enum err service_group_act(struct metadata_service *s, const Group *body, int64_t deadline);
enum err service_group_join(struct metadata_service *s, const Join *body, int64_t deadline);
bool service_stopping(struct metadata_service *s);

/* service_raft.c: callbacks of the driver, and the route of MSG_RAFT. */
void service_raft_configure(struct metadata_service *s, const struct raft_configuration *c);
void service_raft_send(void *service, const struct raft_message *m);
void service_raft_handle(void *service, struct rpc_request *request);
/* The way to a member of the configuration, or to one that gave its address with a message ("" and
 * NULL: none). False: there is none. When out->linked is set, end with service_peer_leave. */
bool service_peer_enter(struct metadata_service *s, raft_id id, const char *address,
                        struct raft_peer *out);
void service_peer_leave(struct metadata_service *s, const struct raft_peer *peer);
/* Before a member of several in one process stops: the others reach it no more. */
void service_raft_unlink(struct metadata_service *s);

/* member_notes.c: what members tell one another of their clocks and disks. The tick is the driver's:
 * false when this member must not lead. */
void service_notes_start(struct metadata_service *s);
bool service_notes_tick(void *service);
void service_notes_handle(void *service, struct rpc_request *request);
/* The time for a leader's next command, by its own clock inside of what a majority agrees on.
 * False: there is no such time, log time stands still. */
bool service_clock(struct metadata_service *s, int64_t *time);
void service_notes_describe(struct metadata_service *s, Members *out);
/* Locked. Whether this member has lately said that its disk is nearly full. */
bool service_note_low(struct metadata_service *s, raft_id id, int64_t now);

/* space_guard.c. prepare: before log and state are opened. */
void space_guard_prepare(struct metadata_service *s);
enum err space_guard_start(struct metadata_service *s) MUST_USE;
void space_guard_stop(struct metadata_service *s);
/* Whether a voter's disk is so full that nothing may be added. */
bool service_growth_refused(struct metadata_service *s);

/* service.c: proposes a command of the leader's own and waits for its result. *result in arena. */
enum err service_execute(struct metadata_service *s, Command *command, int64_t deadline,
                         struct arena *arena, Result **result) MUST_USE;
/* A read of this member's own state, for a leader's duties: as of what is applied here. */
enum err service_read(struct metadata_service *s, const Query *query, struct arena *arena,
                      Answer **answer) MUST_USE;

/* reports.c */
void reports_init(struct reports *r);
void reports_release(struct reports *r);
void reports_clear(struct reports *r);
enum err reports_take(struct reports *r, const Heartbeat *heartbeat) MUST_USE;
/* When the node that has this disk was last heard of; 0: never. */
struct disk_heard {
    int64_t at; /* sys_now of the last report, 0: none */
    bool failed;
    bool absent;     /* its server says that it is not there */
    int64_t pace_ns; /* 0: not known */
};
struct disk_heard reports_disk(struct reports *r, uint32_t disk);
/* Log time of the oldest read that any gateway heard of since then has running; INT64_MAX: none. */
int64_t reports_oldest_read(struct reports *r, int64_t heard_since);
/* Copies all of it into the arena. */
void reports_copy(struct reports *r, struct arena *arena, Reports *out);

/* time_watch.c: to be told of log time as often as it is looked at, by every member. Not 0: it has made
 * a step, and for so many ns nothing may be destroyed for its sake (hazard 6): whatever deletes or
 * gives up by log time asks here first. */
int64_t service_time_held(struct metadata_service *s, int64_t log_time);

/* duties.c: failure detection and placement */
struct duties *duties_new(struct metadata_service *s);
enum err duties_start(struct duties *d, struct shard_client *shards) MUST_USE;
void duties_wake(struct duties *d); /* leadership changed, or a node was heard of */
void duties_stop(struct duties *d); /* joins its thread; wakes go on being allowed */
void duties_free(struct duties *d); /* NULL is allowed */

/* collect.c: what is due for deletion. Deletes the shards of some due chunks, then their rows;
 * *more: there is more to do at once. */
enum err collect_some(struct metadata_service *s, struct shard_client *shards,
                      struct cluster_map *map, bool *more) MUST_USE;
