/* Raft's safety (Ongaro and Ousterhout, figure 3), checked after every step of every member, by whoever
 * sees them all: a simulator in one process. Told of each new core, each step and each command that is
 * applied; it keeps what the members may not contradict:
 *
 *  election safety        one leader a term
 *  leader append-only,    an index and a term name one entry with one predecessor, on whatever member,
 *  log matching           and hence one log up to it
 *  leader completeness    a new leader has all that was seen committed in lower terms
 *  state machine safety   one entry a committed index; what is applied is that entry
 *  votes                  one a member and term, over restarts: in its hard state, and as those who
 *                         got them see it
 *  promises               what a message vouches for is durable by then: the term and vote that it speaks
 *                         of, the entries that it acknowledges, which are the leader's own
 *  counting               a leader commits an entry of its own term that a majority has, of the outgoing
 *                         voters too; its own log counts as far as it is durable. It leads with the
 *                         votes of a majority, its own when that is durable
 *  durability             after a restart everything that the core had been told was durable is there
 *  commit, term           do not go back while a core lives; terms not over restarts either
 *  reads                  a read's index is not below what anybody knew as committed when it was asked,
 *                         is of the leader's own term, and applied when it is answered
 *  leases                 nobody leads in a later term than one whose lease holds; each leased read is
 *                         to be asked about when the state has been read, so its index says nothing
 *  state                  equal hashes of the states at each applied index
 *
 * Logs may begin above a base, and a member's log may be replaced by a snapshot: what lies at or below
 * status.first_index - 1 is not looked at. Memory: 24 bytes an entry and member, 48 an entry. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "metadata/raft/raft.h"

struct raft_check;

enum {
    RAFT_CHECK_MEMBERS = 64,       /* that ever were */
    RAFT_CHECK_INDEX_MAX = 1 << 22 /* then it complains, rather than forget */
};

/* violated: called with a line that says what, who and where; each time. */
struct raft_check *raft_check_new(void (*violated)(void *arg, const char *text), void *arg);
void raft_check_free(struct raft_check *c);

/* Behind a raft_new that went well. A core at the address of an earlier one has taken its place. */
void raft_check_started(struct raft_check *c, const struct raft *core,
                        const struct raft_restored *restored);
/* Before a raft_step: what is in effects by now was looked at. */
void raft_check_steps(struct raft_check *c, const struct raft *core,
                      const struct raft_effects *effects);
/* Behind a raft_step: effects may hold those of several steps, as they were left by it. */
void raft_check_stepped(struct raft_check *c, const struct raft *core,
                        const struct raft_event *event, const struct raft_effects *effects);
/* A lease was asked about: newest is what raft_check_newest gave when the asking began. */
uint64_t raft_check_newest(const struct raft_check *c); /* the last term that has had a leader */
void raft_check_lease_held(struct raft_check *c, raft_id member, uint64_t newest);
/* A command was applied on the state of some member (any number that names it over its lives), whose
 * hash is now this. */
void raft_check_applied(struct raft_check *c, uint64_t member, uint64_t index, const void *data,
                        size_t n, uint64_t hash);
/* The state of that member was opened (again); it has applied up to this. */
void raft_check_opened(struct raft_check *c, uint64_t member, uint64_t applied);

struct raft_check_counts {
    uint64_t steps, entries, committed, leaders, votes, reads, leases, applied;
    uint64_t compared; /* hashes that a second member had too */
};
struct raft_check_counts raft_check_counts(const struct raft_check *c);
