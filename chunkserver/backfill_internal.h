/* Shared by backfill.c (rounds, threads, the rate), backfill_plan.c (what the map says is to be done)
 * and backfill_run.c (doing it). */
#pragma once
#include "chunkserver/service_internal.h"

/* In the order in which they are done among equals. */
enum task_kind {
    TASK_REPAIR, /* the repair rows of a placement group whose primary is ours */
    TASK_FILL,   /* a slot that one of our disks has newly been given */
    TASK_AUDIT,  /* a slot that we held before an unclean stop: is all of it still there? */
};
struct task {
    enum task_kind kind;
    uint32_t pool, pg;
    unsigned slot;        /* fill, audit */
    uint64_t since_epoch; /* fill */
    disk_id disk;
    struct chunk_disk *owner;
    unsigned danger; /* slots of the group that nobody can read from now */
    /* Of one that has failed: how often, and until when others go before it. */
    unsigned failures;
    int64_t again_at;
};
bool task_same(const struct task *a, const struct task *b);
/* The time that a failure costs: 3 s, twice as long after each further one, up to 192 s. */
void task_failed(struct task *t, int64_t now);

struct task_list {
    struct task *v;
    size_t count, room;
};
void task_list_add(struct task_list *l, const struct task *t);
void task_list_clear(struct task_list *l);
struct task *task_list_find(const struct task_list *l, const struct task *t); /* or NULL */

enum { BACKFILL_THREADS_MAX = 64 };

struct backfill {
    struct chunk_service *service;
    const struct chunk_io *io;
    struct metadata_client *metadata;
    struct sys_event *cancel; /* set by stopping: ends the gathers of rebuilds */
    struct sys_thread *planner;
    struct sys_thread *workers[BACKFILL_THREADS_MAX];
    unsigned worker_count;

    struct sys_mutex lock;
    struct sys_cond changed;
    bool stopping, woken;
    struct task_list waiting; /* in order; taken from `next` */
    size_t next;
    struct task_list running, failing;
    size_t failed;          /* tasks of this round that have to be done again */
    int64_t rate_at;        /* nothing is moved before this time */
    uint64_t lists, listed; /* chunk lists read to their end, and what was on them */

    /* The planner's own. */
    struct task_list audits;
    bool audits_known;
};

/* backfill.c */
bool backfill_goes_on(struct backfill *b);
/* Waits until bytes may be moved; false when stopping. Then tells how many were. */
bool backfill_may_move(struct backfill *b);
void backfill_moved(struct backfill *b, struct chunk_disk *owner, uint64_t bytes);
/* Adds to a disk's progress; negative takes back. */
void backfill_count(struct backfill *b, struct chunk_disk *owner, int64_t done, int64_t total);
void backfill_repaired(struct backfill *b, struct chunk_disk *owner, uint64_t shards);
void backfill_listed(struct backfill *b, uint64_t chunks);

/* backfill_plan.c: what is to be done by the newest map; of repairs, also by metadata's rows. */
void backfill_plan(struct backfill *b, struct task_list *out);
/* Puts what has just failed behind all else, until its time: what cannot be done must not starve what can. */
void backfill_put_off(const struct task_list *failing, int64_t now, struct task_list *plan);

/* backfill_run.c: OK, or some of it could not be done now. */
enum err backfill_run(struct backfill *b, const struct task *t) MUST_USE;

struct request_context backfill_request(struct backfill *b);
