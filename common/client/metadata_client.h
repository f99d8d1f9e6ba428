/* How any role asks the metadata group: blocking and straight-line. Hides the search for the
 * leader, reconnects, retries (this is the one layer that retries metadata calls; full-jitter
 * backoff, a retry budget) and the session that makes a retried command apply once (hazard 7).
 *
 * Any thread may call; a command takes a free session slot for as long as it runs. In the embedded
 * form the calls go to the local service's functions instead of sockets: see `local`. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "common/proto/command.pb-c.h"
#include "common/proto/query.pb-c.h"
#include "common/proto/service.pb-c.h"
#include "common/base/arena.h"
#include "common/base/err.h"
#include "common/base/ids.h"
#include "common/base/request_context.h"
#include "common/base/timeouts.h"

struct metadata_client;
struct rpc_node;

/* The local members of the embedded form, called instead of a socket. Answers like a member over
 * the wire: ERR_NOT_LEADER when it is not the leader. reply is allocated from arena. */
struct metadata_local {
    uint64_t id; /* the member's */
    void *context;
    enum err (*call)(void *context, uint16_t type, const ProtobufCMessage *body,
                     struct arena *arena, int64_t deadline, ProtobufCMessage **reply);
};

struct metadata_client_config {
    struct rpc_node *node;
    const char *const *addresses; /* any subset of the members, "host:port"; copied */
    size_t address_count;
    const struct metadata_local *locals; /* copied; with locals no addresses are needed */
    size_t local_count;
    const char *name; /* of the session, for people */
    struct timeouts timeouts;
};

enum err metadata_client_new(const struct metadata_client_config *config,
                             struct metadata_client **out) MUST_USE;
void metadata_client_free(struct metadata_client *c); /* no call may be running */

/* Runs a command once, however often it has to be sent. client, slot and sequence are filled in
 * here. The answer's own `error` is returned and *result is set (from arena) whenever the state
 * machine answered. ERR_UNKNOWN_OUTCOME: the deadline came with an attempt unanswered.
 * ERR_UNAVAILABLE, ERR_TIMEOUT: certainly not done. */
enum err metadata_execute(struct metadata_client *c, const struct request_context *request,
                          Command *command, struct arena *arena, Result **result) MUST_USE;
/* A linearizable read. *answer (from arena) is set whenever the group answered; its `error` is
 * returned. */
enum err metadata_query(struct metadata_client *c, const struct request_context *request,
                        const Query *query, struct arena *arena, Answer **answer) MUST_USE;
/* Calls to the leader that are neither: heartbeats, reports, join. *reply from arena. */
enum err metadata_call_leader(struct metadata_client *c, const struct request_context *request,
                              uint16_t type, const ProtobufCMessage *body, struct arena *arena,
                              ProtobufCMessage **reply) MUST_USE;
/* Asks who the members are now: one attempt. A client that lives long calls it every few seconds, or all
 * that it knows may have been replaced before it meets one that does not lead. */
void metadata_learn(struct metadata_client *c, int64_t deadline);
/* What one reachable member knows of the group; never needs a leader. */
enum err metadata_members(struct metadata_client *c, const struct request_context *request,
                          struct arena *arena, Members **members) MUST_USE;
/* The highest log time and map epoch seen in any answer. */
int64_t metadata_log_time(struct metadata_client *c);
uint64_t metadata_epoch_seen(struct metadata_client *c);
