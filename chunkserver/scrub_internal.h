/* Shared by scrub.c (a thread for each disk: what is due, what is told), scrub_sweep.c (light passes),
 * scrub_read.c (deep ones), scrub_groups.c (what was found, group by group) and scrub_state.c (the file `scrub`
 * of a disk). */
#pragma once
#include "chunkserver/service_internal.h"

/* Of a placement group, on this disk. Times as below. */
struct scrub_group {
    uint32_t pool, pg;
    int64_t swept, read;   /* when it was last compared, last read whole */
    uint32_t missing, bad; /* then */
};
/* Written by the disk's thread under the scrub's lock, so that others may read them under it. */
struct scrub_groups {
    struct scrub_group *v;
    size_t count, room;
};

/* What a disk's file keeps. Times are of the wall clock, ns; 0: never. */
struct scrub_state {
    int64_t known; /* since when the disk is scrubbed */
    int64_t swept; /* the last light pass that was complete */
    int64_t read;  /* the last deep pass that was complete */
    int64_t begun; /* the deep pass that goes on; 0: none */
    uint32_t pool; /* that it is in; 0: the first */
    bool anywhere; /* it has come as far as this shard of it: */
    struct shard_id at;
    uint64_t bytes, bad; /* of this deep pass, or of the last */
    bool in_group;       /* of pool, that the deep pass is in: */
    uint32_t group, group_bad;
    struct scrub_groups groups;
};

/* OK with zeros: there is none, or none of use. The groups: sys_free. */
enum err scrub_state_load(const char *directory, struct scrub_state *out) MUST_USE;
/* Durable when it returns OK. Waits for the disk. */
enum err scrub_state_save(const char *directory, const struct scrub_state *state) MUST_USE;

struct scrub_disk {
    struct scrub *scrub;
    struct chunk_disk *disk;
    struct sys_thread *thread;
    /* Under the scrub's lock. */
    struct scrub_status shown;
    bool want_light, want_deep;
    /* Its thread's own. */
    struct scrub_state state;
    uint64_t arrived; /* T2: the disk's arrival that the state is of */
    int64_t saved_at, rate_at;
    int64_t first_at, again_at; /* no light pass before it; nothing before it after a failure */
    bool complained;
    bool unsaved; /* T1: what the file lacks waits for metadata */
};

struct scrub {
    struct chunk_service *service;
    struct sys_event *cancel; /* set by stopping: ends calls to metadata */
    struct sys_mutex lock;
    struct sys_cond changed; /* stopping, or something is wanted */
    bool stopping;
    struct scrub_disk *disks; /* in the order of the service's */
    size_t count;
};

/* scrub.c: waits until then; false when it stops. */
bool scrub_wait(struct scrub_disk *d, int64_t until);
struct request_context scrub_request(struct scrub_disk *d);
/* The shard is bad or missing; waits for room. False when it stops. Before the state says that it was
 * looked at (T1). */
bool scrub_tell(struct scrub_disk *d, uint32_t pool, const struct shard_id *id);
/* A deep pass has come further: shown, and kept now and then. */
void scrub_progress(struct scrub_disk *d);
void scrub_count(struct scrub_disk *d, uint64_t missing, uint64_t orphans);

/* scrub_groups.c */
void scrub_group_compared(struct scrub_disk *d, uint32_t pool, uint32_t pg, uint32_t missing);
/* The deep pass has read a shard of this group. */
void scrub_group_reads(struct scrub_disk *d, uint32_t pg, bool bad);
/* It has read all of the pool that it was in. */
void scrub_groups_read(struct scrub_disk *d);

/* scrub_sweep.c: one light pass. OK: it was complete. */
enum err scrub_sweep(struct scrub_disk *d) MUST_USE;
/* What metadata has answered about some shards of one group, committed up to sequence `newest`. */
struct scrub_verdict {
    struct shard_id id;
    uint64_t since_epoch;
};
/* Removes those whose slot is still the one that was judged; *removed: so many. */
enum err scrub_remove(struct chunk_disk *d, uint32_t pool, uint32_t pg, uint64_t newest,
                      const struct scrub_verdict *v, size_t count, uint64_t *removed) MUST_USE;

/* scrub_read.c: the next shards of a deep pass. *over: these were the last. */
enum err scrub_read_some(struct scrub_disk *d, bool *over) MUST_USE;
