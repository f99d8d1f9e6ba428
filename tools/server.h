/* One server process: which roles run in it, and what they share. The roles never know of one
 * another; here they are started in order, connected, and stopped in the opposite order.
 *
 *   server.c             the verb: configuration in, stop event out
 *   server_start.c       what all roles share, and each role's start
 *   server_bootstrap.c   a new cluster: its identity, its first pool, its first user; joining one
 *   server_embedded.c    the embedded form: members and disks in one process, no sockets between
 *   embedded_members.c   its metadata members, also those that are made in the place of lost ones */
#pragma once
#include "chunkserver/service.h"
#include "common/client/chunk_io.h"
#include "common/client/map_cache.h"
#include "common/client/metadata_client.h"
#include "common/client/shard_client.h"
#include "common/rpc/buf.h"
#include "common/rpc/rpc_peer.h"
#include "common/rpc/rpc_server.h"
#include "gateway/gateway.h"
#include "metadata/service.h"
#include "tools/config.h"

enum {
    SERVER_MEMBERS_MAX = 5,
    /* In the embedded form's directories; those that the group has removed go at the start. */
    SERVER_FOUND_MAX = 2 * SERVER_MEMBERS_MAX,
    SERVER_PROBLEM = CONFIG_PROBLEM,
};

struct server {
    const struct config *config;
    struct timeouts timeouts;
    struct rpc_keys keys;
    struct rpc_identity self;
    struct uuid node; /* of this process start; heartbeats carry it */
    bool created;     /* this start has made a new cluster */

    struct rpc_node *rpc;
    struct metadata_service *members[SERVER_FOUND_MAX];
    size_t member_count;
    /* The embedded form: where each listens, so many ports above the configured one, and how many the
     * group is to have when it is to be changed, else 0. */
    unsigned member_ports[SERVER_FOUND_MAX];
    size_t members_wanted;
    struct rpc_server *metadata_servers[SERVER_FOUND_MAX]; /* by member; NULL: not listening */
    struct rpc_server *chunk_server;
    struct metadata_client *metadata;
    struct map_cache *map;
    struct shard_client *shards;
    struct buf_pool *buffers;
    struct chunk_latency *latency;
    struct chunk_io io;
    struct chunk_service *chunks;
    bool chunks_started;
    struct gateway *gateway;
    struct http_server *http, *metrics;
    struct sys_thread *pulse;   /* keeps the map fresh; a gateway's heartbeats */
    struct sys_thread *regroup; /* the embedded form: makes voters of new members, then ends */
    struct sys_event *stopping;

    char problem[SERVER_PROBLEM]; /* what went wrong, for people */
};

/* Starts what the configuration asks for. On an error problem says what to do; stop it anyway. */
enum err server_start(struct server *s, const struct config *config) MUST_USE;
void server_stop(struct server *s);

/* ---- between the files ---- */

enum err server_problem(struct server *s, enum err e, const char *format, ...)
    __attribute__((format(printf, 3, 4))) MUST_USE;
/* The cluster key, made when a new cluster is; into s->keys. */
enum err server_load_key(struct server *s, const char *path, bool create) MUST_USE;
/* Serves a role's routes, and those that every role has, at an address. routes has room for one more
 * than n. */
enum err server_listen(struct server *s, const char *where, struct rpc_route *routes, size_t n,
                       struct rpc_server **out) MUST_USE;
enum err server_listen_chunks(struct server *s, const char *where) MUST_USE;
void server_start_node(struct server *s);
/* This process as a client, first of the metadata group (locals as in metadata_client.h; none: the
 * configured addresses) and with the map, then of disks. */
enum err server_start_metadata_client(struct server *s, const struct metadata_local *locals,
                                      size_t count) MUST_USE;
void server_start_shard_client(struct server *s, const struct shard_local *disks);
enum err server_open_disks(struct server *s, const char *const *directories,
                           const char *address) MUST_USE;
enum err server_start_chunks(struct server *s, const char *address) MUST_USE;
/* The pulse speaks for the gateway: it starts first. */
enum err server_start_pulse(struct server *s) MUST_USE;
enum err server_start_gateway(struct server *s) MUST_USE;

/* server_bootstrap.c */

/* The cluster that the members at config->metadata belong to; asks until it is told or the server is
 * asked to stop. */
enum err server_find_cluster(struct server *s, struct uuid *cluster) MUST_USE;
/* Makes this member's directory when it is new: as the first of a cluster, or to join one. */
enum err server_prepare_member(struct server *s) MUST_USE;
/* Has this member added to its group, until it is or the server is asked to stop. */
enum err server_join(struct server *s) MUST_USE;
/* The first pool and the first user, when they are missing. */
enum err server_furnish(struct server *s) MUST_USE;

enum { SERVER_ROUTES_MAX = 32 };

/* server_embedded.c */
enum err server_start_embedded(struct server *s) MUST_USE;
