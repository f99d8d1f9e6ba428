/* A metadata group of three in the simulated world, each member a process on a host of its own, and the
 * test as a client of it. No disks: what members tell one another, and what they do about it. */
#pragma once
#include "tests/unit/chunkserver_service/world_kit.h"

/* A suite may set its own before it includes this; without a bound of the log its first segment has the
 * usual size. */
#ifndef MEMBERS_SEGMENT
#define MEMBERS_SEGMENT (1 << 20)
#endif
#ifndef MEMBERS_LOG
#define MEMBERS_LOG 0
#endif
#ifndef MEMBERS_CHECKPOINT
#define MEMBERS_CHECKPOINT 0
#endif
#ifndef MEMBERS_LEASES
#define MEMBERS_LEASES false
#endif

enum { MEMBERS = 3, MEMBERS_HOST = 2 };

struct members_test {
    int pid[MEMBERS];
    unsigned number[MEMBERS];
    struct world_client c;
    uint32_t pool;
    unsigned made; /* names that were used */
};

static inline void members_addresses(char text[MEMBERS][SYS_ADDR_TEXT], const char *out[MEMBERS])
{
    for (uint32_t i = 0; i < MEMBERS; i++) {
        world_address(MEMBERS_HOST + i, text[i]);
        out[i] = text[i];
    }
}

static inline void members_client(struct world_client *c, enum rpc_role role)
{
    char text[MEMBERS][SYS_ADDR_TEXT];
    const char *addresses[MEMBERS];
    members_addresses(text, addresses);
    world_client_open(c, role);
    metadata_client_free(c->metadata);
    map_cache_free(c->map);
    c->map = NULL;
    const struct metadata_client_config config = {.node = c->node,
                                                  .addresses = addresses,
                                                  .address_count = MEMBERS,
                                                  .name = "test",
                                                  .timeouts = c->timeouts};
    if (metadata_client_new(&config, &c->metadata) != OK)
        sys_exit(1, "no metadata client");
    c->map = map_cache_new(c->metadata);
    world_client_io(c, NULL);
}

/* The first makes the group, the others join it, once. */
static inline void members_join(struct world_client *c, uint64_t member, const char *address)
{
    struct arena arena;
    ProtobufCMessage *reply = NULL;
    Join body = JOIN__INIT;
    enum err e = ERR_UNAVAILABLE;
    body.id = member;
    body.address = (char *)(uintptr_t)address;
    for (int i = 0; i < 60 && e != OK; i++) {
        const struct request_context request = world_ask();
        arena_init(&arena);
        e = metadata_call_leader(c->metadata, &request, MSG_JOIN, &body.base, &arena, &reply);
        arena_release(&arena);
        sys_sleep_until(sys_now() + 200 * SYS_MS);
    }
    if (e != OK)
        sys_exit(1, "cannot join");
}

/* One of them, within its process. */
struct members_process {
    struct world_client client;
    struct metadata_service *service;
    struct rpc_server *server;
    char address[SYS_ADDR_TEXT];
    uint64_t member;
    bool made; /* just now: it is in no group yet, but for the first */
};

static inline void members_process_start(struct members_process *p, unsigned number)
{
    struct rpc_route routes[METADATA_ROUTES];
    struct uuid cluster = world_uuid(9);
    world_address(MEMBERS_HOST + number, p->address);
    members_client(&p->client, RPC_METADATA);
    enum err made =
        metadata_service_create("/metadata", &cluster, p->address,
                                MEMBERS_LOG ? MEMBERS_SEGMENT : 0, number == 0, &p->member);
    if (made != OK && made != ERR_EXISTS)
        sys_exit(1, "no metadata member");
    p->made = made == OK;
    const struct metadata_service_config config = {.directory = "/metadata",
                                                   .address = p->address,
                                                   .node = p->client.node,
                                                   .timeouts = p->client.timeouts,
                                                   .segment_bytes = MEMBERS_SEGMENT,
                                                   .log_bytes = MEMBERS_LOG,
                                                   .checkpoint_every = MEMBERS_CHECKPOINT,
                                                   .lease_reads = MEMBERS_LEASES};
    if (metadata_service_start(&config, &p->service) != OK)
        sys_exit(1, "metadata does not start");
    size_t n = metadata_service_routes(p->service, routes);
    p->server = world_listen(&p->client, RPC_METADATA, MEMBERS_HOST + number, routes, n);
}

static inline void members_process_stop(struct members_process *p)
{
    rpc_server_stop(p->server);
    metadata_service_stop(p->service);
    rpc_server_free(p->server);
    world_client_close(&p->client);
}

static inline void members_main(void *arg)
{
    unsigned number = *(const unsigned *)arg;
    struct members_process p;
    members_process_start(&p, number);
    if (p.made && number > 0)
        members_join(&p.client, p.member, p.address);
    if (metadata_service_lead(p.service, p.client.shards) != OK)
        sys_exit(1, "metadata does not lead");
    world_wait_stop();
    members_process_stop(&p);
}

/* What a member says of the group; false: no answer. */
static inline bool members_ask(struct members_test *t, unsigned number, struct arena *arena,
                               const Members **out)
{
    struct sys_addr where = sim_addr(MEMBERS_HOST + number, WORLD_PORT);
    struct rpc_peer *peer;
    ProtobufCMessage *reply = NULL;
    Members body = MEMBERS__INIT;
    const struct request_context request = {.deadline = sys_now() + 2 * SYS_SECOND};
    if (rpc_peer_get(t->c.node, &where, &peer) != OK ||
        rpc_control_call(peer, &request, MSG_MEMBERS, &body.base, &members__descriptor, arena,
                         &reply) != OK ||
        !reply)
        return false;
    *out = (const Members *)reply;
    return true;
}

/* The entry about a member in what another one says; NULL: none. */
static inline const MemberInfo *members_entry(const Members *m, unsigned number)
{
    char address[SYS_ADDR_TEXT];
    world_address(MEMBERS_HOST + number, address);
    for (size_t i = 0; i < m->n_members; i++)
        if (strcmp(m->members[i]->address, address) == 0)
            return m->members[i];
    return NULL;
}

/* The number of the member that says of itself that it leads; -1: none. */
static inline int members_leader(struct members_test *t)
{
    int leader = -1;
    for (unsigned i = 0; i < MEMBERS; i++) {
        struct arena arena;
        const Members *m;
        arena_init(&arena);
        const MemberInfo *own = members_ask(t, i, &arena, &m) ? members_entry(m, i) : NULL;
        if (own && own->id == m->leader)
            leader = (int)i;
        arena_release(&arena);
    }
    return leader;
}

/* Asks a member about a member until it says so. */
static inline bool members_wait(struct members_test *t, unsigned asked, unsigned about,
                                bool (*says)(const Members *m, const MemberInfo *one), int seconds)
{
    bool yes = false;
    for (int i = 0; i < seconds * 5 && !yes; i++) {
        struct arena arena;
        const Members *m;
        arena_init(&arena);
        const MemberInfo *one = members_ask(t, asked, &arena, &m) ? members_entry(m, about) : NULL;
        yes = one && says(m, one);
        arena_release(&arena);
        if (!yes)
            sys_sleep_until(sys_now() + 200 * SYS_MS);
    }
    return yes;
}

static inline enum err members_command(struct members_test *t, Command *command, uint64_t *index)
{
    struct arena arena;
    Result *result = NULL;
    const struct request_context request = world_ask();
    arena_init(&arena);
    enum err e = metadata_execute(t->c.metadata, &request, command, &arena, &result);
    if (index && result)
        *index = result->index;
    arena_release(&arena);
    return e;
}

/* Something that a client adds, and something that is always admitted. */
static inline enum err members_grow(struct members_test *t)
{
    char name[24];
    CreateBucket bucket = CREATE_BUCKET__INIT;
    Command command = COMMAND__INIT;
    snprintf(name, sizeof name, "bucket-%u", t->made++);
    bucket.name = (ProtobufCBinaryData){.len = strlen(name), .data = (uint8_t *)name};
    bucket.owner = (char *)(uintptr_t) "root";
    bucket.pool = t->pool;
    command.body_case = COMMAND__BODY_CREATE_BUCKET;
    command.create_bucket = &bucket;
    return members_command(t, &command, NULL);
}

static inline enum err members_touch(struct members_test *t)
{
    AbortWrite body = ABORT_WRITE__INIT;
    Command command = COMMAND__INIT;
    uint8_t id[12] = {0};
    snprintf((char *)id, sizeof id, "w-%u", t->made++);
    body.write_id = (ProtobufCBinaryData){.len = sizeof id, .data = id};
    command.body_case = COMMAND__BODY_ABORT_WRITE;
    command.abort_write = &body;
    return members_command(t, &command, NULL);
}

static inline bool members_all_vote(const Members *m, const MemberInfo *one)
{
    size_t votes = 0;
    for (size_t i = 0; i < m->n_members; i++)
        votes += m->members[i]->voter && m->members[i]->clock_known && m->members[i]->disk_known;
    return votes == MEMBERS && one->voter;
}

static inline void members_start(struct members_test *t)
{
    memset(t, 0, sizeof *t);
    for (unsigned i = 0; i < MEMBERS; i++) {
        t->number[i] = i;
        t->pid[i] = sim_spawn("metadata", MEMBERS_HOST + i, members_main, &t->number[i]);
    }
    members_client(&t->c, RPC_GATEWAY);
    for (unsigned i = 0; i < MEMBERS; i++)
        CHECK(members_wait(t, i, i, members_all_vote, 60));
    CreatePool pool = CREATE_POOL__INIT;
    uint64_t index = 0;
    Command command = COMMAND__INIT;
    pool.name = (char *)(uintptr_t) "standard";
    pool.k = 2;
    pool.m = 1;
    pool.cell = 65536;
    command.body_case = COMMAND__BODY_CREATE_POOL;
    command.create_pool = &pool;
    CHECK_OK(members_command(t, &command, &index));
    t->pool = (uint32_t)index;
}

static inline void members_stop(struct members_test *t)
{
    for (unsigned i = 0; i < MEMBERS; i++)
        sim_stop(t->pid[i]);
    for (unsigned i = 0; i < MEMBERS; i++) {
        int64_t until = sys_now() + 20 * SYS_SECOND;
        while (sim_alive(t->pid[i]) && sys_now() < until)
            sys_sleep_until(sys_now() + 20 * SYS_MS);
        CHECK(!sim_alive(t->pid[i]));
        struct sim_leaks l = sim_leaks(t->pid[i]);
        CHECK_EQ(l.blocks + l.threads + l.sockets + l.events + l.files, 0);
    }
    world_client_close(&t->c);
}
