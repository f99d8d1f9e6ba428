/* A cluster in the simulated world, as far as chunks need one: metadata on host 2, chunkservers with
 * two disks each on hosts 101.., and the test itself as the client. Whole objects are written with
 * chunk_writer and PutObject, read with GetObject and chunk_reader; their bytes follow from their
 * number. */
#pragma once
#include <stdio.h>
#include <string.h>
#include "chunkserver/service.h"
#include "common/client/map_cache.h"
#include "common/client/metadata_client.h"
#include "common/proto/message_types.h"
#include "common/rpc/rpc_peer.h"
#include "common/sys/log.h"
#include "common/sys/sim/sim.h"
#include "metadata/service.h"
#include "tests/unit/suite.h"

enum {
    WORLD_CHUNKS_MAX = 12,
    WORLD_METADATA_HOST = 2,
    WORLD_CHUNK_HOST = 100,
    WORLD_PORT = 7000,
    WORLD_CHUNK_BYTES = 1 << 20,
    WORLD_OBJECTS_MAX = 200,
};

/* Bounds of a chunkserver, 0: wide. */
struct world_bounds {
    size_t buffer_bytes;
    unsigned staging_max, writers_max;
};
struct world_chunk {
    unsigned number;
    struct world_bounds bounds; /* as of its next start */
};

/* What the processes are told; one world at a time, so it may be static. */
struct world {
    unsigned chunk_count;
    uint32_t k, m;
    uint32_t pg_bits; /* 0: as many groups as the leader finds right, hundreds */
    int metadata_pid;
    int chunk_pid[WORLD_CHUNKS_MAX];
    struct world_chunk chunk[WORLD_CHUNKS_MAX];
};

static inline struct uuid world_uuid(uint8_t n)
{
    struct uuid u;
    memset(u.bytes, n, sizeof u.bytes);
    return u;
}

static inline void world_timeouts(struct timeouts *t)
{
    timeouts_default(t);
    t->heartbeat = 300 * SYS_MS;
    t->down_after = 2 * SYS_SECOND;
    t->out_after = 600 * SYS_SECOND;
    t->time_step = 300 * SYS_SECOND;
}

static inline void world_address(uint32_t host, char out[SYS_ADDR_TEXT])
{
    struct sys_addr a = sim_addr(host, WORLD_PORT);
    sys_addr_format(&a, out);
}

/* ---- what every process has: itself as a client ---- */

struct world_client {
    struct timeouts timeouts;
    struct rpc_node *node;
    struct metadata_client *metadata;
    struct map_cache *map;
    struct shard_client *shards;
    struct chunk_io io;
};

static inline uint64_t world_mine(void *context)
{
    struct world_client *c = context;
    return c->map ? map_cache_epoch(c->map) : 0;
}

static inline void world_seen(void *context, uint64_t epoch)
{
    struct world_client *c = context;
    if (c->map)
        map_cache_seen(c->map, epoch);
}

static inline void world_identity(struct rpc_identity *self, struct rpc_keys *keys,
                                  enum rpc_role role)
{
    self->cluster = world_uuid(9);
    self->role = role;
    self->feature_level = 1;
    sys_random(&self->node_id, sizeof self->node_id);
    keys->count = 1;
    keys->key[0].id = 1;
    memset(keys->key[0].bytes, 7, sizeof keys->key[0].bytes);
}

static inline void world_client_open(struct world_client *c, enum rpc_role role)
{
    memset(c, 0, sizeof *c);
    world_timeouts(&c->timeouts);
    struct rpc_node_config node;
    rpc_node_config_default(&node);
    world_identity(&node.self, &node.keys, role);
    node.timeouts = c->timeouts;
    node.epoch = (struct rpc_epoch){c, world_mine, world_seen};
    c->node = rpc_node_new(&node);
    char address[SYS_ADDR_TEXT];
    world_address(WORLD_METADATA_HOST, address);
    const char *addresses[] = {address};
    const struct metadata_client_config metadata = {.node = c->node,
                                                    .addresses = addresses,
                                                    .address_count = 1,
                                                    .name = "test",
                                                    .timeouts = c->timeouts};
    if (metadata_client_new(&metadata, &c->metadata) != OK)
        sys_exit(1, "no metadata client");
    c->map = map_cache_new(c->metadata);
}

static inline void world_client_io_of(struct world_client *c, const struct shard_local *local,
                                      size_t buffer_bytes)
{
    c->shards = shard_client_new(c->node, c->map, local);
    c->io = (struct chunk_io){.map = c->map,
                              .shards = c->shards,
                              .buffers = buf_pool_new(buffer_bytes),
                              .latency = chunk_latency_new(),
                              .timeouts = c->timeouts};
}

static inline void world_client_io(struct world_client *c, const struct shard_local *local)
{
    world_client_io_of(c, local, 64 << 20);
}

static inline void world_client_close(struct world_client *c)
{
    rpc_node_stop(c->node);
    shard_client_free(c->shards);
    struct map_cache *map = c->map;
    c->map = NULL;
    map_cache_free(map);
    metadata_client_free(c->metadata);
    rpc_node_free(c->node);
    buf_pool_free(c->io.buffers);
    chunk_latency_free(c->io.latency);
}

static inline struct rpc_server *world_listen(const struct world_client *c, enum rpc_role role,
                                              uint32_t host, const struct rpc_route *routes,
                                              size_t n)
{
    struct rpc_server_config config;
    struct rpc_server *server;
    rpc_server_config_default(&config);
    world_identity(&config.self, &config.keys, role);
    config.listen = sim_addr(host, WORLD_PORT);
    config.timeouts = c->timeouts;
    config.epoch = (struct rpc_epoch){(void *)(uintptr_t)c, world_mine, world_seen};
    config.routes = routes;
    config.routes_count = n;
    if (rpc_server_start(&config, &server) != OK)
        sys_exit(1, "cannot listen");
    return server;
}

static inline void world_wait_stop(void)
{
    struct sys_poll stop = {.event = sys_stop_event()};
    while (sys_poll(&stop, 1, SYS_FOREVER) != OK)
        continue;
}

/* ---- metadata ---- */

static inline void world_metadata_main(void *arg)
{
    (void)arg;
    struct world_client client;
    struct metadata_service *service;
    struct rpc_route routes[METADATA_ROUTES];
    struct uuid cluster = world_uuid(9);
    uint64_t member;
    char address[SYS_ADDR_TEXT];
    world_address(WORLD_METADATA_HOST, address);
    world_client_open(&client, RPC_METADATA);
    world_client_io(&client, NULL);
    enum err e = metadata_service_create("/metadata", &cluster, address, 0, true, &member);
    if (e != OK && e != ERR_EXISTS)
        sys_exit(1, "no metadata member");
    const struct metadata_service_config config = {.directory = "/metadata",
                                                   .node = client.node,
                                                   .timeouts = client.timeouts,
                                                   .segment_bytes = 4 << 20};
    if (metadata_service_start(&config, &service) != OK)
        sys_exit(1, "metadata does not start");
    size_t n = metadata_service_routes(service, routes);
    struct rpc_server *server = world_listen(&client, RPC_METADATA, WORLD_METADATA_HOST, routes, n);
    if (metadata_service_lead(service, client.shards) != OK)
        sys_exit(1, "metadata does not lead");
    world_wait_stop();
    rpc_server_stop(server);
    metadata_service_stop(service);
    rpc_server_free(server);
    world_client_close(&client);
}

/* ---- chunkservers ---- */

static inline void world_chunk_main(void *arg)
{
    const struct world_chunk *self = arg;
    const struct world_bounds bounds = self->bounds;
    unsigned number = self->number;
    struct world_client client;
    struct chunk_service *service;
    struct rpc_route routes[CHUNK_ROUTES];
    struct shard_local local;
    char address[SYS_ADDR_TEXT], host[24];
    static const char *const directories[] = {"/disk"};
    snprintf(host, sizeof host, "host-%u", number);
    world_client_open(&client, RPC_CHUNK);
    const struct chunk_service_config config = {
        .directories = directories,
        .directory_count = 1,
        .cluster = world_uuid(9),
        .node = world_uuid((uint8_t)(20 + number)),
        .host = host,
        .map = client.map,
        .timeouts = client.timeouts,
        .store = {.extent_bytes = 8 << 20,
                  .io_threads = 2,
                  .staging_max = bounds.staging_max ? bounds.staging_max : 16,
                  .writers_max = bounds.writers_max},
    };
    enum err made = sys_mkdir("/disk");
    if ((made != OK && made != ERR_EXISTS) || chunk_service_open(&config, &service) != OK)
        sys_exit(1, "no disk");
    chunk_service_local(service, &local);
    world_client_io_of(&client, &local, bounds.buffer_bytes ? bounds.buffer_bytes : 64 << 20);
    size_t n = chunk_service_routes(service, routes);
    CHECK_EQ(n, CHUNK_ROUTES);
    struct rpc_server *server =
        world_listen(&client, RPC_CHUNK, WORLD_CHUNK_HOST + number, routes, n);
    world_address(WORLD_CHUNK_HOST + number, address);
    if (chunk_service_start(service, address, &client.io, client.metadata) != OK)
        sys_exit(1, "chunkserver does not start");
    world_wait_stop();
    chunk_service_stop(service);
    rpc_server_stop(server);
    chunk_service_free(service);
    rpc_server_free(server);
    world_client_close(&client);
}

static inline void world_start_chunk(struct world *w, unsigned i)
{
    static char names[WORLD_CHUNKS_MAX][24];
    w->chunk[i].number = i + 1;
    snprintf(names[i], sizeof names[i], "chunk-%u", i + 1);
    w->chunk_pid[i] = sim_spawn(names[i], WORLD_CHUNK_HOST + i + 1, world_chunk_main, &w->chunk[i]);
}

static inline void world_start(struct world *w)
{
    w->metadata_pid = sim_spawn("metadata", WORLD_METADATA_HOST, world_metadata_main, w);
    for (unsigned i = 0; i < w->chunk_count; i++)
        world_start_chunk(w, i);
}

/* Every process is asked to stop, ends by itself, and has left nothing behind. */
static inline void world_stop(struct world *w)
{
    int pids[WORLD_CHUNKS_MAX + 1];
    unsigned n = 0;
    for (unsigned i = 0; i < w->chunk_count; i++)
        pids[n++] = w->chunk_pid[i];
    pids[n++] = w->metadata_pid;
    for (unsigned i = 0; i < n; i++) {
        if (!sim_alive(pids[i]))
            continue;
        sim_stop(pids[i]);
        int64_t until = sys_now() + 20 * SYS_SECOND;
        while (sim_alive(pids[i]) && sys_now() < until)
            sys_sleep_until(sys_now() + 20 * SYS_MS);
        CHECK(!sim_alive(pids[i]));
        struct sim_leaks l = sim_leaks(pids[i]);
        CHECK_EQ(l.blocks, 0);
        CHECK_EQ(l.threads, 0);
        CHECK_EQ(l.sockets, 0);
        CHECK_EQ(l.events, 0);
        CHECK_EQ(l.files, 0);
    }
}

/* ---- the test as a client ---- */

struct world_test {
    struct world *world;
    struct world_client c;
    uint64_t bucket;
    uint32_t pool;
};

static inline struct request_context world_ask(void)
{
    return (struct request_context){.deadline = sys_now() + 20 * SYS_SECOND};
}

static inline enum err world_command(struct world_test *t, Command *command, uint64_t *index)
{
    struct arena arena;
    arena_init(&arena);
    Result *result = NULL;
    const struct request_context request = world_ask();
    enum err e = metadata_execute(t->c.metadata, &request, command, &arena, &result);
    if (index && result)
        *index = result->index;
    arena_release(&arena);
    return e;
}

static inline enum err world_query(struct world_test *t, const Query *query, struct arena *arena,
                                   Answer **answer)
{
    const struct request_context request = world_ask();
    return metadata_query(t->c.metadata, &request, query, arena, answer);
}

static inline void world_refresh(struct world_test *t)
{
    const struct request_context request = world_ask();
    CHECK_OK(map_cache_refresh(t->c.map, &request, 0));
}

/* Gives the pool few groups, before the leader finds that no more disks come. */
static inline void world_assign(struct world_test *t, const struct world *w)
{
    unsigned width = w->k + w->m;
    uint32_t disks[64];
    enum err e = ERR_MISMATCH;
    for (unsigned i = 0; i < 300 && e != OK; i++) {
        world_refresh(t);
        const struct cluster_map *map = map_cache_ref(t->c.map);
        AssignPool body = ASSIGN_POOL__INIT;
        body.pool = t->pool;
        body.pg_bits = w->pg_bits;
        body.disks = disks;
        body.n_disks = (size_t)width << w->pg_bits;
        body.epoch = map->epoch;
        for (size_t s = 0; map->disk_count >= w->chunk_count && s < body.n_disks; s++)
            disks[s] = map->disks[(s / width + s % width) % map->disk_count].id;
        Command command = COMMAND__INIT;
        command.body_case = COMMAND__BODY_ASSIGN_POOL;
        command.assign_pool = &body;
        if (map->disk_count >= w->chunk_count)
            e = world_command(t, &command, NULL);
        map_cache_unref(t->c.map, map);
        sys_sleep_until(sys_now() + 20 * SYS_MS);
    }
    CHECK_OK(e);
}

/* Makes the pool and the bucket, waits until every disk is there and the pool has its groups. */
static inline void world_furnish(struct world_test *t, struct world *w, enum failure_domain domain)
{
    t->world = w;
    CreatePool pool = CREATE_POOL__INIT;
    pool.name = (char *)(uintptr_t) "standard";
    pool.k = w->k;
    pool.m = w->m;
    pool.cell = 65536;
    pool.failure_domain = domain;
    Command command = COMMAND__INIT;
    command.body_case = COMMAND__BODY_CREATE_POOL;
    command.create_pool = &pool;
    uint64_t index = 0;
    CHECK_OK(world_command(t, &command, &index));
    t->pool = (uint32_t)index;
    CreateBucket bucket = CREATE_BUCKET__INIT;
    bucket.name = (ProtobufCBinaryData){.len = 4, .data = (uint8_t *)(uintptr_t) "test"};
    bucket.owner = (char *)(uintptr_t) "root";
    bucket.pool = t->pool;
    command = (Command)COMMAND__INIT;
    command.body_case = COMMAND__BODY_CREATE_BUCKET;
    command.create_bucket = &bucket;
    CHECK_OK(world_command(t, &command, &t->bucket));
    if (w->pg_bits)
        world_assign(t, w);
    bool ready = false;
    for (unsigned i = 0; i < 300 && !ready; i++) {
        world_refresh(t);
        const struct cluster_map *map = map_cache_ref(t->c.map);
        ready = map->pool_count == 1 && pool_assigned(&map->pools[0]) &&
                map->disk_count >= w->chunk_count;
        map_cache_unref(t->c.map, map);
        sys_sleep_until(sys_now() + 100 * SYS_MS);
    }
    CHECK(ready);
}

/* The test as a gateway would be. */
static inline void world_open(struct world_test *t, struct world *w)
{
    world_client_open(&t->c, RPC_GATEWAY);
    world_client_io(&t->c, NULL);
    world_furnish(t, w, DOMAIN_HOST);
}
