/* The replicated state: buckets, objects, uploads, chunks, disks, pools, users, sessions. A
 * deterministic function of the log's commands over one kv store.
 *
 * One thread applies. Every apply writes its changes and the applied index in one synced kv batch
 * (hazard 1); only then are results given out. Reads run beside it on snapshots, from any thread.
 * Time is log time, monotonic, taken from the commands; nothing here looks at a clock. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "common/base/arena.h"
#include "common/base/err.h"
#include "common/proto/command.pb-c.h"
#include "common/proto/query.pb-c.h"

struct state;

enum {
    STATE_LEVEL_MAX = 1,    /* the highest feature level that this program knows (hazard 24) */
    STATE_RESULT_MAX = 256, /* bytes of a packed Result, since sessions remember it */
    STATE_CHECKPOINT_EVERY = 1000,
    STATE_CONFIGURATION_MAX = 4096, /* bytes of a configuration that is kept along */
};

/* Where in the log a state stands, as of the last entry that it includes. */
struct state_position {
    uint64_t index, term; /* 0: nothing was applied */
    /* The last configuration up to there; its bytes mean nothing here. */
    uint64_t configuration_index, configuration_term;
    const void *configuration;
    size_t configuration_length;
};

/* Opens the state in directory, making it when missing, with one reference. checkpoint_every: how
 * many entries lie between two hashes that members compare; 0: STATE_CHECKPOINT_EVERY. ERR_BUSY,
 * ERR_CORRUPT, ERR_IO. */
enum err state_open(const char *directory, uint64_t checkpoint_every, struct state **out) MUST_USE;
/* Any thread. Whoever uses a state that may be replaced holds a reference; the last one closes. */
struct state *state_ref(struct state *s);
void state_unref(struct state *s);
/* Its directory goes with the last reference. */
void state_retire(struct state *s);

/* One committed command, and what came of it. */
struct state_entry {
    uint64_t index;
    const void *data; /* a packed Command */
    size_t length;
    const void *result; /* out: a packed Result, in the arena given to state_apply */
    size_t result_length;
};
/* Applies entries in order; indices ascend and are above state_applied. end: the entry up to which
 * everything is applied then (those that are no commands are not given); a configuration index of 0
 * keeps the configuration as it is. Synced on return. An error is fatal: the kv store failed, or
 * ERR_UNSUPPORTED, a command of a later version. */
enum err state_apply(struct state *s, struct state_entry *entries, size_t count,
                     const struct state_position *end, struct arena *arena) MUST_USE;

/* Apply thread, or while nothing is applied; the configuration is valid until the next apply. */
struct state_position state_position(const struct state *s);
uint64_t state_applied(const struct state *s);       /* any thread, like those below */
int64_t state_time(const struct state *s);           /* log time, ns */
int64_t state_time_confirmed(const struct state *s); /* up to which an operator has confirmed it */
uint64_t state_epoch(const struct state *s);         /* of the cluster map */

/* The hashes over all writes up to the last indices that are multiples of checkpoint_every, oldest
 * first: equal on members that applied the same log (hazard 24). Apply thread. */
enum { STATE_CHECKPOINTS_MAX = 16 };
struct state_checkpoints {
    size_t count;
    uint64_t index[STATE_CHECKPOINTS_MAX], hash[STATE_CHECKPOINTS_MAX];
};
void state_checkpoints(const struct state *s, struct state_checkpoints *out);

/* Whether these bytes are a command that every member of this version takes: ask before proposing
 * what came from outside. *grows: as state_command_grows. ERR_FORMAT; ERR_UNSUPPORTED: unknown to this version, applying it would
 * stop the member. */
enum err state_check_command(const void *data, size_t n, bool *grows) MUST_USE;
/* Whether it adds rows on a client's behalf: what is refused while a disk is nearly full. What frees
 * room, finishes an upload or is an operator's is not. */
bool state_command_grows(const Command *command);

/* Answers from a snapshot of now. *answer (in arena) is set unless the store fails; its `error` is
 * returned, and its time and epoch are always filled in. */
enum err state_query(struct state *s, const Query *query, struct arena *arena,
                     Answer **answer) MUST_USE;
