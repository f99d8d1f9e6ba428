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
};

/* Opens the state in directory, making it when missing. ERR_BUSY, ERR_CORRUPT, ERR_IO. */
enum err state_open(const char *directory, struct state **out) MUST_USE;
void state_close(struct state *s);

/* One committed command, and what came of it. */
struct state_entry {
    uint64_t index;
    const void *data; /* a packed Command */
    size_t length;
    const void *result; /* out: a packed Result, in the arena given to state_apply */
    size_t result_length;
};
/* Applies entries in order; indices ascend and are above state_applied. last: the index up to which
 * everything is applied then (entries that are no commands are not given). Synced on return. An
 * error is fatal: the kv store failed, or ERR_UNSUPPORTED, a command of a later version. */
enum err state_apply(struct state *s, struct state_entry *entries, size_t count, uint64_t last,
                     struct arena *arena) MUST_USE;

uint64_t state_applied(const struct state *s);       /* any thread, like those below */
int64_t state_time(const struct state *s);           /* log time, ns */
int64_t state_time_confirmed(const struct state *s); /* up to which an operator has confirmed it */
uint64_t state_epoch(const struct state *s);         /* of the cluster map */

/* The hash over all writes up to the last index that is a multiple of 1,000: equal on members that
 * applied the same log (hazard 24). Apply thread. */
void state_checkpoint(const struct state *s, uint64_t *index, uint64_t *hash);

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
