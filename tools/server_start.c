#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "common/base/digest.h"
#include "common/proto/message_types.h"
#include "common/sys/log.h"
#include "gateway/s3_response.h"
#include "tools/metrics.h"

/* What all roles share, each role's start, and the way back. */

enum { FEATURE_LEVEL = 1 };
#define PULSE     (100 * SYS_MS)
#define PULSE_ASK (2 * SYS_SECOND)
#define DAY       (INT64_C(24) * 3600 * SYS_SECOND)

enum err server_problem(struct server *s, enum err e, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(s->problem, sizeof s->problem, format, args);
    va_end(args);
    return e;
}

static void handle_node_status(void *arg, struct rpc_request *request)
{
    struct server *s = arg;
    NodeStatus status = NODE_STATUS__INIT;
    status.node = (ProtobufCBinaryData){.len = UUID_BYTES, .data = s->node.bytes};
    status.role = s->self.role;
    struct sys_usage usage;
    sys_usage(&usage);
    status.pid = usage.pid;
    status.cpu_ns = usage.cpu_ns;
    status.resident_bytes = usage.resident_bytes;
    rpc_reply(request, OK, &status.base, NULL, 0, 0);
}

enum err server_listen(struct server *s, const char *where, struct rpc_route *routes, size_t n,
                       struct rpc_server **out)
{
    struct rpc_server_config config;
    rpc_server_config_default(&config);
    routes[n++] = (struct rpc_route){MSG_NODE_STATUS, NULL, handle_node_status, s};
    enum err e = sys_addr_parse(where, &config.listen);
    config.self = s->self;
    config.keys = s->keys;
    config.timeouts = s->timeouts;
    config.epoch = (struct rpc_epoch){s->map, map_cache_epoch, map_cache_seen};
    config.routes = routes;
    config.routes_count = n;
    if (e == OK)
        e = rpc_server_start(&config, out);
    return e == OK ? OK : server_problem(s, e, "cannot listen on %s: %s", where, err_text(e));
}

/* ---- this process as a client ---- */

/* The hooks are called before the map exists, while the first connections are made. */
static uint64_t my_epoch(void *arg)
{
    struct server *s = arg;
    return s->map ? map_cache_epoch(s->map) : 0;
}

static void seen_epoch(void *arg, uint64_t epoch)
{
    struct server *s = arg;
    if (s->map)
        map_cache_seen(s->map, epoch);
}

void server_start_node(struct server *s)
{
    struct rpc_node_config config;
    rpc_node_config_default(&config);
    config.self = s->self;
    config.keys = s->keys;
    config.timeouts = s->timeouts;
    config.epoch = (struct rpc_epoch){s, my_epoch, seen_epoch};
    s->rpc = rpc_node_new(&config);
}

enum err server_start_metadata_client(struct server *s, const struct metadata_local *locals,
                                      size_t count)
{
    const struct metadata_client_config config = {
        .node = s->rpc,
        .addresses = count == 0 ? s->config->metadata.items : NULL,
        .address_count = count == 0 ? s->config->metadata.count : 0,
        .locals = locals,
        .local_count = count,
        .name = "server",
        .timeouts = s->timeouts,
    };
    if (count == 0 && s->config->metadata.count == 0)
        return server_problem(s, ERR_INVALID, "the configuration names no metadata members");
    enum err e = metadata_client_new(&config, &s->metadata);
    if (e != OK)
        return server_problem(s, e, "metadata addresses: %s", err_text(e));
    s->map = map_cache_new(s->metadata);
    return OK;
}

void server_start_shard_client(struct server *s, const struct shard_local *disks)
{
    s->shards = shard_client_new(s->rpc, s->map, disks);
    s->buffers = buf_pool_new(s->config->buffer_memory);
    s->latency = chunk_latency_new();
    s->io = (struct chunk_io){.map = s->map,
                              .shards = s->shards,
                              .buffers = s->buffers,
                              .latency = s->latency,
                              .timeouts = s->timeouts,
                              .chunk_bytes = s->config->bounds.chunk_bytes};
}

/* ---- roles ---- */

static enum err start_metadata(struct server *s)
{
    struct rpc_route routes[SERVER_ROUTES_MAX];
    const struct metadata_service_config config = {
        .directory = s->config->metadata_dir,
        .address = s->config->metadata_listen,
        .node = s->rpc,
        .timeouts = s->timeouts,
        .moves_max = s->config->bounds.moves_max,
        .segment_bytes = s->config->log_segment,
        .log_bytes = s->config->log_bytes,
        .checkpoint_every = s->config->checkpoint_entries,
        .lease_reads = s->config->lease_reads,
    };
    enum err e = metadata_service_start(&config, &s->members[0]);
    if (e != OK)
        return server_problem(s, e, "the metadata member in %s does not start: %s",
                              s->config->metadata_dir, err_text(e));
    s->member_count = 1;
    size_t n = metadata_service_routes(s->members[0], routes);
    return server_listen(s, s->config->metadata_listen, routes, n, &s->metadata_servers[0]);
}

/* Once it can be reached: its place in the group, its duties, what a new cluster needs. */
static enum err settle_metadata(struct server *s)
{
    enum err e = metadata_service_lead(s->members[0], s->shards);
    if (e == OK && s->config->join)
        e = server_join(s);
    if (e == OK && s->config->bootstrap)
        e = server_furnish(s);
    return e;
}

enum err server_open_disks(struct server *s, const char *const *directories, const char *address)
{
    const struct config_bounds *bounds = &s->config->bounds;
    char host[SYS_HOST_NAME];
    sys_host_name(host);
    struct chunk_service_config config = {
        .directories = directories,
        .directory_count = s->config->data.count,
        .cluster = s->self.cluster,
        .zone = s->config->zone,
        .rack = s->config->rack,
        .host = s->config->host ? s->config->host : host,
        .map = s->map,
        .timeouts = s->timeouts,
        .store = {.capacity_bytes = s->config->disk_capacity,
                  .extent_bytes = bounds->extent_bytes,
                  .queue_max = bounds->queue_max,
                  .writers_max = bounds->writers_max,
                  .staging_max = bounds->staging_max,
                  .window = bounds->window,
                  .flush_interval = bounds->flush_interval},
        .read_memory = bounds->read_memory,
        .backfill_parallel = bounds->backfill_parallel,
        .scrub_bytes_per_s = s->config->scrub_rate,
        .scrub_interval = bounds->scrub_interval  ? bounds->scrub_interval
                          : s->config->scrub_days ? (int64_t)s->config->scrub_days * DAY
                                                  : -1,
        .sweep_interval = bounds->sweep_interval,
        .problem = s->problem,
        .problem_bytes = sizeof s->problem,
    };
    /* The same after each start, without a file to keep it in: from the cluster and the address. */
    struct digest *d = digest_new(DIGEST_MD5);
    digest_update(d, s->self.cluster.bytes, UUID_BYTES);
    digest_update(d, address, strlen(address));
    digest_final(d, config.node.bytes);
    digest_free(d);
    enum err e = chunk_service_open(&config, &s->chunks);
    return e == OK || s->problem[0] ? e : server_problem(s, e, "no disk opens: %s", err_text(e));
}

static enum err start_chunk(struct server *s)
{
    enum err e = server_listen_chunks(s, s->config->chunk_listen);
    return e == OK ? server_start_chunks(s, s->config->chunk_listen) : e;
}

enum err server_listen_chunks(struct server *s, const char *where)
{
    struct rpc_route routes[SERVER_ROUTES_MAX];
    size_t n = chunk_service_routes(s->chunks, routes);
    return server_listen(s, where, routes, n, &s->chunk_server);
}

enum err server_start_chunks(struct server *s, const char *address)
{
    enum err e = chunk_service_start(s->chunks, address, &s->io, s->metadata);
    s->chunks_started = e == OK;
    return e;
}

static void make_gateway(struct server *s)
{
    struct gateway_config config = {
        .metadata = s->metadata,
        .io = &s->io,
        .region = s->config->region,
        .base_domain = s->config->base_domain,
        .inline_max = (uint32_t)s->config->inline_max,
        .timeouts = s->timeouts,
    };
    memcpy(config.key, s->keys.key[0].bytes, sizeof config.key);
    s->gateway = gateway_new(&config);
}

enum err server_start_gateway(struct server *s)
{
    /* The simulator has no sockets that libmicrohttpd could use; it calls gateway_handle itself. */
    if (!s->config->s3)
        return OK;
    struct http_server_config http;
    http_server_config_default(&http, &s->timeouts);
    http.server_name = "Cairn";
    http.refusal_body = s3_refusal_body;
    http.handler = gateway_handle;
    http.app = s->gateway;
    enum err e = sys_addr_parse(s->config->s3, &http.listen);
    if (e == OK)
        e = http_server_start(&s->http, &http);
    if (e != OK)
        return server_problem(s, e, "cannot serve S3 on %s: %s", s->config->s3, err_text(e));
    log_info("server", "S3 is served on %s", s->config->s3);
    return OK;
}

/* ---- pulse ---- */

/* A gateway's heartbeat: how far back its running reads reach (hazard 19). */
static void beat(struct server *s, struct arena *arena)
{
    Heartbeat body = HEARTBEAT__INIT;
    ProtobufCMessage *reply = NULL;
    body.node = (ProtobufCBinaryData){.len = UUID_BYTES, .data = s->node.bytes};
    body.address = arena_string(arena, s->config->s3 ? s->config->s3 : "");
    body.role = RPC_GATEWAY;
    body.epoch = map_cache_epoch(s->map);
    body.oldest_read = gateway_oldest_read(s->gateway);
    const struct request_context ask = {.deadline = sys_now() + PULSE_ASK};
    if (metadata_call_leader(s->metadata, &ask, MSG_HEARTBEAT, &body.base, arena, &reply) == OK &&
        reply)
        map_cache_seen(s->map, ((HeartbeatReply *)reply)->epoch);
}

static void pulse_main(void *arg)
{
    struct server *s = arg;
    struct sys_poll stop = {.event = s->stopping};
    struct arena arena;
    arena_init(&arena);
    int64_t next_beat = 0, next_learn = 0;
    while (sys_poll(&stop, 1, sys_now() + PULSE) != OK) {
        const struct request_context ask = {.deadline = sys_now() + PULSE_ASK};
        bool first = map_cache_epoch(s->map) == 0;
        if ((first || map_cache_behind(s->map)) && map_cache_refresh(s->map, &ask, 0) != OK)
            log_line(LOG_DEBUG, "server", "the cluster map could not be fetched, asking again");
        if (sys_now() >= next_learn) {
            metadata_learn(s->metadata, sys_now() + PULSE_ASK);
            next_learn = sys_now() + s->timeouts.heartbeat;
        }
        if (s->gateway && sys_now() >= next_beat) {
            beat(s, &arena);
            next_beat = sys_now() + s->timeouts.heartbeat;
        }
        arena_clear(&arena);
    }
    arena_release(&arena);
}

enum err server_start_pulse(struct server *s)
{
    /* The thread speaks for the gateway, so it is there first; it serves nobody yet. */
    if (s->config->roles == 0 || s->config->roles & ROLE_GATEWAY)
        make_gateway(s);
    return sys_thread_start(&s->pulse, "pulse", 0, pulse_main, s);
}

/* ---- all of it ---- */

static enum rpc_role main_role(uint32_t roles)
{
    return roles & ROLE_METADATA ? RPC_METADATA : roles & ROLE_CHUNK ? RPC_CHUNK : RPC_GATEWAY;
}

/* Before anything can be opened: which cluster this is. A metadata member has it in its log; the
 * others ask, over a client that does not know it yet. */
static enum err find_identity(struct server *s)
{
    uint64_t member = 0;
    s->self.role = RPC_ADMIN;
    server_start_node(s);
    enum err e = OK;
    if (s->config->metadata.count > 0)
        e = server_start_metadata_client(s, NULL, 0);
    if (e == OK && s->config->roles & ROLE_METADATA) {
        e = server_prepare_member(s);
        if (e == OK)
            e = metadata_service_peek(s->config->metadata_dir, &s->self.cluster, &member);
    } else if (e == OK) {
        e = server_find_cluster(s, &s->self.cluster);
    }
    if (member != 0)
        s->self.node_id = member;
    s->self.role = main_role(s->config->roles);
    return e;
}

static void stop_client(struct server *s)
{
    if (s->rpc)
        rpc_node_stop(s->rpc);
    shard_client_free(s->shards);
    map_cache_free(s->map);
    metadata_client_free(s->metadata);
    if (s->rpc)
        rpc_node_free(s->rpc);
    if (s->buffers)
        buf_pool_free(s->buffers);
    chunk_latency_free(s->latency);
    s->shards = NULL;
    s->map = NULL;
    s->metadata = NULL;
    s->rpc = NULL;
    s->buffers = NULL;
    s->latency = NULL;
}

/* This process as a client of disks; its own, if it has any, are function calls away. */
static enum err start_disks(struct server *s)
{
    struct shard_local local;
    bool own = s->config->roles & ROLE_CHUNK;
    enum err e = OK;
    if (own)
        e = server_open_disks(s, s->config->data.items, s->config->chunk_listen);
    if (e == OK && own)
        chunk_service_local(s->chunks, &local);
    if (e == OK)
        server_start_shard_client(s, own ? &local : NULL);
    return e;
}

static enum err start_roles(struct server *s)
{
    uint32_t roles = s->config->roles;
    enum err e = server_load_key(s, s->config->cluster_key, s->config->bootstrap);
    if (e == OK)
        e = find_identity(s);
    stop_client(s);
    if (e != OK)
        return e;
    server_start_node(s);
    e = server_start_metadata_client(s, NULL, 0);
    if (e == OK && roles & ROLE_METADATA)
        e = start_metadata(s); /* before the disks: opening one may take long */
    if (e == OK)
        e = start_disks(s);
    if (e == OK && roles & ROLE_METADATA)
        e = settle_metadata(s);
    if (e == OK)
        e = server_start_pulse(s);
    if (e == OK && roles & ROLE_CHUNK)
        e = start_chunk(s);
    if (e == OK && roles & ROLE_GATEWAY)
        e = server_start_gateway(s);
    return e;
}

/* What may be open at once: of a disk its extents and the tables of its index, of a metadata member the
 * latter; connections of all kinds. */
static void raise_descriptors(const struct config *config)
{
    enum { DISK = 128 + 256 + 16, MEMBERS = SERVER_MEMBERS_MAX * 256, CONNECTIONS = 2048 };
    unsigned long long needed = config->data.count * DISK + MEMBERS + CONNECTIONS;
    unsigned long long allowed = sys_descriptors_raise();
    if (allowed < needed)
        log_warn(
            "server",
            "only %llu files may be open at once, %llu may be needed: raise LimitNOFILE= in the "
            "server's unit, or ulimit -n",
            allowed, needed);
}

enum err server_start(struct server *s, const struct config *config)
{
    memset(s, 0, sizeof *s);
    s->config = config;
    config_timeouts(config, &s->timeouts);
    sys_random(s->node.bytes, sizeof s->node.bytes);
    sys_random(&s->self.node_id, sizeof s->self.node_id);
    s->self.feature_level = FEATURE_LEVEL;
    raise_descriptors(config);
    enum err e = sys_event_new(&s->stopping);
    if (e == OK)
        e = config->roles == 0 ? server_start_embedded(s) : start_roles(s);
    if (e == OK)
        e = metrics_start(s);
    if (e != OK && !s->problem[0])
        return server_problem(s, e, "the server does not start: %s", err_text(e));
    return e;
}

void server_stop(struct server *s)
{
    metrics_stop(s);
    if (s->http) {
        if (http_server_drain(s->http, sys_now() + s->timeouts.metadata_call) != OK)
            log_warn("server", "requests are cut: they did not end in time");
        http_server_stop(s->http);
    }
    if (s->stopping)
        sys_event_set(s->stopping);
    if (s->pulse)
        sys_thread_join(s->pulse);
    if (s->regroup)
        sys_thread_join(s->regroup);
    if (s->chunks_started)
        chunk_service_stop(s->chunks);
    if (s->chunk_server)
        rpc_server_stop(s->chunk_server);
    for (size_t i = 0; i < SERVER_FOUND_MAX; i++)
        if (s->metadata_servers[i])
            rpc_server_stop(s->metadata_servers[i]);
    for (size_t i = 0; i < s->member_count; i++)
        metadata_service_stop(s->members[i]);
    chunk_service_free(s->chunks);
    if (s->chunk_server)
        rpc_server_free(s->chunk_server);
    for (size_t i = 0; i < SERVER_FOUND_MAX; i++)
        if (s->metadata_servers[i])
            rpc_server_free(s->metadata_servers[i]);
    gateway_free(s->gateway);
    stop_client(s);
    if (s->stopping)
        sys_event_free(s->stopping);
}
