/* Where a member's state lies: DIRECTORY/current names the one directory DIRECTORY/state-* that counts,
 * and is replaced in one step when another state was installed (hazard 11).
 *
 *   current   0 u8[8] "CAIRNPTR"  8 u32 version = 1  12 u32 CRC32C of bytes 16..
 *            16 u8 1: a state, 2: discarded  17 u8 length of the name, the name
 *             u64 index, u64 term: where it was installed or discarded, 0 for one that began empty
 *             u64 index, u64 term, u32 length, bytes: the configuration as of then
 *
 *  H1  A directory is synced and complete before current names it. current is written aside, synced,
 *      renamed, and its directory synced.
 *  H2  What current does not name counts for nothing; opening removes it, once current has been written
 *      anew: the rename that is seen may be one whose sync has failed, and what it replaced may come back,
 *      which for the first state is nothing.
 *
 * File calls: start-up and the driver's snapshot thread. */
#pragma once
#include <stdbool.h>
#include "common/base/err.h"
#include "metadata/raft/types.h"

enum { STATE_HOME_NAME = 32 };

struct state_home {
    bool discarded;             /* on purpose: a snapshot must come before anything is applied */
    char name[STATE_HOME_NAME]; /* of the directory; "" when discarded */
    struct raft_snapshot at;    /* holds a reference */
};
/* ERR_NOT_FOUND: no state yet. ERR_CORRUPT, ERR_UNSUPPORTED. */
enum err state_home_read(const char *directory, struct state_home *out) MUST_USE;
bool state_home_there(const char *directory);
/* Durable on return. On an error nobody knows which of the two counts: the process must end. */
enum err state_home_write(const char *directory, const struct state_home *home) MUST_USE;
void state_home_release(struct state_home *home);
/* A fresh name for a directory. */
void state_home_name(char out[STATE_HOME_NAME]);
/* Makes sure that `home` counts, then removes all states but the one that it names. NULL: all. */
enum err state_home_clean(const char *directory, const struct state_home *home) MUST_USE;
