/* One metadata member: its Raft driver, its state, and what it answers to others.
 *
 *   commands   stamped with log time by the leader, proposed, answered when applied
 *   queries    after a read barrier (ReadIndex, or a lease), on worker threads
 *   duties     what only a leader does on its own: failure detection, placement, collection
 *
 * Served over rpc (metadata_service_routes) and, in the embedded form, by function calls with the
 * same meaning (metadata_service_call). */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <protobuf-c/protobuf-c.h>
#include "common/base/arena.h"
#include "common/base/err.h"
#include "common/base/ids.h"
#include "common/base/timeouts.h"
#include "common/rpc/rpc_server.h"

struct metadata_service;
struct rpc_node;
struct shard_client;

/* Makes the directories and the log of a new member. bootstrap: the first of a new cluster, whose
 * first configuration it is; else one that will join. address: where others reach it,
 * "1.2.3.4:5678". segment_bytes: of the log's first file, 0: its default. *member receives its
 * random id. ERR_EXISTS: there is a member already. */
enum err metadata_service_create(const char *directory, const struct uuid *cluster,
                                 const char *address, uint64_t segment_bytes, bool bootstrap,
                                 uint64_t *member) MUST_USE;
/* The same for all members of the embedded form at once: count voters, each with its directory and
 * the address at which tools may reach it. */
enum err metadata_service_create_group(const char *const *directories, const char *const *addresses,
                                       size_t count, const struct uuid *cluster,
                                       uint64_t segment_bytes) MUST_USE;
/* Whose directory it is. ERR_NOT_FOUND: none yet. ERR_CORRUPT: a state is there, but no log; such a
 * member has forgotten what it promised, and only a new one from an empty directory can take its
 * place (hazard 11). */
enum err metadata_service_peek(const char *directory, struct uuid *cluster,
                               uint64_t *member) MUST_USE;
/* Removes a member's directory with all that is in it; OK when there is none. A crash halfway leaves
 * what metadata_service_peek may take for a damaged member: rename it first. */
enum err metadata_service_destroy(const char *directory) MUST_USE;

struct metadata_service_config {
    const char *directory; /* copied */
    const char *address;   /* where other members reach it; "" when all are in this process */
    struct rpc_node *node; /* for messages to other members */
    struct timeouts timeouts;
    uint64_t segment_bytes; /* of the log; 0: its default */
    uint64_t log_bytes;     /* above which it is compacted; 0: its default */
    uint64_t
        checkpoint_every; /* entries between hashes of the state that members compare; 0: 1,000 */
    bool lease_reads;     /* when it leads, queries ask no majority while it has a lease */
    unsigned workers;     /* 0: 4 query threads */
    int64_t settle;       /* ns without a new disk before a pool's first table; 0: 2 s */
    unsigned moves_max;   /* slots on their way at once, per pool; 0: 64 */
};
/* ERR_CORRUPT, ERR_BUSY (in use), ERR_NOT_FOUND. The reason is logged. */
enum err metadata_service_start(const struct metadata_service_config *config,
                                struct metadata_service **out) MUST_USE;
/* Lets it carry out a leader's duties whenever it leads; until then it only answers. shards: for
 * deletes on disks; must outlive the service. */
enum err metadata_service_lead(struct metadata_service *s, struct shard_client *shards) MUST_USE;
/* Joins its threads and frees it. The rpc server that serves its routes must have stopped. */
void metadata_service_stop(struct metadata_service *s);

uint64_t metadata_service_member(const struct metadata_service *s);
/* Whether a committed configuration makes it a voter. One that is only in the log acts already, but may be
 * overruled yet. */
bool metadata_service_votes(const struct metadata_service *s);
/* Appends its routes; room for METADATA_ROUTES of them. */
enum { METADATA_ROUTES = 9 };
size_t metadata_service_routes(struct metadata_service *s, struct rpc_route *out);
/* The embedded form: as over the wire (metadata_client.h, struct metadata_local). */
enum err metadata_service_call(void *service, uint16_t type, const ProtobufCMessage *body,
                               struct arena *arena, int64_t deadline, ProtobufCMessage **reply);
/* Members of one process reach each other directly. Call for each pair, before any is needed. */
void metadata_service_link(struct metadata_service *s, struct metadata_service *other);
