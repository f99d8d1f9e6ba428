/* The search for the leader and commands that apply once, against three members that answer, hint,
 * lie dead, hang, lose answers and forget sessions: as functions, and behind sockets. */
#include <stdlib.h>
#include "common/client/metadata_client.h"
#include "common/proto/message_types.h"
#include "common/rpc/rpc_peer.h"
#include "common/rpc/rpc_server.h"
#include "common/sys/sim/sim.h"
#include "tests/unit/suite.h"

enum { MEMBERS = 3, SESSIONS = 8, SLOTS = 256, FIRST_HOST = 20, PORT = 7100, COUNTER_KEYS = 400 };

struct fake_session {
    bool known;
    uint8_t client[16];
    uint64_t sequence[SLOTS];
    uint64_t index[SLOTS];
};

struct group;
struct member {
    struct group *group;
    uint64_t id;
    char address[SYS_ADDR_TEXT];
    enum err broken;      /* not OK: answers every call with this, at once */
    bool hung;            /* answers nothing */
    bool ignorant;        /* does not know who leads */
    unsigned lose;        /* so many next commands are carried out and not answered */
    unsigned lose_before; /* so many are lost on the way */
    enum err lost_as;
    int64_t slow;
    unsigned calls;
};

struct group {
    struct member members[MEMBERS];
    unsigned leader; /* index; MEMBERS: none */
    struct fake_session sessions[SESSIONS];
    unsigned registered, running, most_running;
    uint64_t index;
    unsigned done[COUNTER_KEYS]; /* by the bucket name's number: how often it was carried out */
    enum err refuse;             /* every command's Result */
    struct rpc_identity identity;
    struct rpc_keys keys;
    struct rpc_node *node;
    struct metadata_client *client;
};

/* ---- the group ---- */

static struct fake_session *find_session(struct group *g, const ProtobufCBinaryData *client)
{
    for (unsigned i = 0; i < SESSIONS; i++)
        if (g->sessions[i].known && client->len == 16 &&
            memcmp(g->sessions[i].client, client->data, 16) == 0)
            return &g->sessions[i];
    return NULL;
}

static enum err apply(struct group *g, const Command *c, uint64_t *index)
{
    *index = 0;
    if (c->body_case == COMMAND__BODY_REGISTER_CLIENT) {
        const ProtobufCBinaryData *client = &c->register_client->client;
        CHECK_EQ(client->len, 16);
        CHECK_EQ(c->register_client->slots, SLOTS);
        if (find_session(g, client))
            return OK;
        struct fake_session *s = &g->sessions[g->registered++ % SESSIONS];
        *s = (struct fake_session){.known = true};
        memcpy(s->client, client->data, 16);
        return OK;
    }
    struct fake_session *s = find_session(g, &c->client);
    if (!s)
        return ERR_SESSION_EXPIRED;
    CHECK(c->slot < SLOTS && c->sequence > 0);
    if (c->sequence == s->sequence[c->slot]) {
        *index = s->index[c->slot];
        return g->refuse;
    }
    if (c->sequence < s->sequence[c->slot])
        return ERR_ABORTED;
    CHECK_EQ(c->sequence, s->sequence[c->slot] + 1);
    s->sequence[c->slot] = c->sequence;
    *index = s->index[c->slot] = ++g->index;
    if (g->refuse == OK)
        g->done[atoi((const char *)c->create_bucket->name.data) % COUNTER_KEYS]++;
    return g->refuse;
}

static Members *tell_members(struct member *m, struct arena *a)
{
    Members *out = arena_alloc(a, sizeof *out);
    members__init(out);
    out->n_members = MEMBERS;
    out->members = arena_alloc(a, MEMBERS * sizeof *out->members);
    for (unsigned i = 0; i < MEMBERS; i++) {
        MemberInfo *info = out->members[i] = arena_alloc(a, sizeof *info);
        member_info__init(info);
        info->id = m->group->members[i].id;
        info->address = m->group->members[i].address;
        info->voter = true;
    }
    if (m->group->leader < MEMBERS && !m->ignorant)
        out->leader = m->group->members[m->group->leader].id;
    return out;
}

static enum err lead(struct member *m, uint16_t type, const ProtobufCMessage *body, struct arena *a,
                     int64_t deadline, ProtobufCMessage **reply)
{
    struct group *g = m->group;
    if (type == MSG_QUERY) {
        Answer *answer = arena_alloc(a, sizeof *answer);
        answer__init(answer);
        answer->time = 55;
        answer->epoch = 9;
        answer->error = g->refuse;
        *reply = &answer->base;
        return OK;
    }
    if (m->lose_before > 0) {
        m->lose_before--;
        if (m->lost_as == ERR_TIMEOUT)
            sys_sleep_until(deadline);
        return m->lost_as;
    }
    uint64_t index;
    enum err e = apply(g, (const Command *)body, &index);
    if (m->slow > 0)
        sys_sleep_until(sys_now() + m->slow);
    bool is_command = ((const Command *)body)->body_case != COMMAND__BODY_REGISTER_CLIENT;
    if (m->lose > 0 && is_command) {
        m->lose--;
        if (m->lost_as == ERR_TIMEOUT)
            sys_sleep_until(deadline);
        return m->lost_as;
    }
    Result *result = arena_alloc(a, sizeof *result);
    result__init(result);
    result->error = e;
    result->index = index;
    result->time = 66;
    result->epoch = 10;
    *reply = &result->base;
    return OK;
}

static enum err answer(void *context, uint16_t type, const ProtobufCMessage *body, struct arena *a,
                       int64_t deadline, ProtobufCMessage **reply)
{
    struct member *m = context;
    struct group *g = m->group;
    m->calls++;
    if (m->hung) {
        sys_sleep_until(deadline);
        return ERR_TIMEOUT;
    }
    if (m->broken != OK)
        return m->broken;
    if (type == MSG_MEMBERS) {
        *reply = &tell_members(m, a)->base;
        return OK;
    }
    if (g->leader >= MEMBERS || m != &g->members[g->leader])
        return ERR_NOT_LEADER;
    g->running++;
    if (g->running > g->most_running)
        g->most_running = g->running;
    enum err e = lead(m, type, body, a, deadline, reply);
    g->running--;
    return e;
}

/* ---- behind sockets ---- */

static void handle(void *context, struct rpc_request *r)
{
    ProtobufCMessage *reply = NULL;
    enum err e = answer(context, rpc_request_type(r), rpc_request_body(r), rpc_request_arena(r),
                        sys_now() + 3 * SYS_SECOND, &reply);
    rpc_reply(r, e, reply, NULL, 0, 0);
}

static void serve(void *arg)
{
    struct member *m = arg;
    const struct rpc_route routes[] = {
        {MSG_COMMAND, &command__descriptor, handle, m},
        {MSG_QUERY, &query__descriptor, handle, m},
        {MSG_MEMBERS, &members__descriptor, handle, m},
    };
    struct rpc_server_config c;
    rpc_server_config_default(&c);
    c.listen = sim_addr(FIRST_HOST + (uint32_t)m->id, PORT);
    c.self = m->group->identity;
    c.self.role = RPC_METADATA;
    c.self.node_id = m->id;
    c.keys = m->group->keys;
    c.routes = routes;
    c.routes_count = 3;
    struct rpc_server *server;
    if (rpc_server_start(&c, &server) != OK)
        sys_exit(1, "no server");
    struct sys_poll v = {.event = sys_stop_event()};
    while (sys_poll(&v, 1, SYS_FOREVER) != OK)
        ;
    rpc_server_stop(server);
    rpc_server_free(server);
}

static struct group *group_new(bool remote)
{
    struct group *g = calloc(1, sizeof *g);
    struct metadata_local locals[MEMBERS];
    struct metadata_client_config config = {.name = "test"};
    g->leader = 1;
    for (unsigned i = 0; i < MEMBERS; i++) {
        struct member *m = &g->members[i];
        *m = (struct member){.group = g, .id = i + 1, .lost_as = ERR_CLOSED};
        struct sys_addr address = sim_addr(FIRST_HOST + i + 1, PORT);
        sys_addr_format(&address, m->address);
        locals[i] = (struct metadata_local){.id = i + 1, .context = m, .call = answer};
    }
    memset(g->identity.cluster.bytes, 0xcc, UUID_BYTES);
    g->identity.role = RPC_GATEWAY;
    g->identity.node_id = 9;
    g->keys.count = 1;
    g->keys.key[0].id = 3;
    struct rpc_node_config nc;
    rpc_node_config_default(&nc);
    nc.self = g->identity;
    nc.keys = g->keys;
    g->node = rpc_node_new(&nc);
    config.node = g->node;
    timeouts_default(&config.timeouts);
    /* Over sockets it knows one member, and hears of the others. */
    const char *addresses[] = {g->members[0].address};
    config.locals = locals;
    config.local_count = remote ? 0 : MEMBERS;
    config.addresses = addresses;
    config.address_count = remote ? 1 : 0;
    CHECK_OK(metadata_client_new(&config, &g->client));
    return g;
}

static void group_free(struct group *g)
{
    rpc_node_free(g->node);
    metadata_client_free(g->client);
    free(g);
}

static struct request_context within(int64_t timeout)
{
    return (struct request_context){.deadline = sys_now() + timeout};
}

/* Carries out command number n, and says as which log index. */
static enum err execute(struct group *g, unsigned n, int64_t timeout, uint64_t *index)
{
    struct request_context request = within(timeout);
    struct arena arena;
    arena_init(&arena);
    char name[8];
    snprintf(name, sizeof name, "%u", n);
    CreateBucket body = CREATE_BUCKET__INIT;
    body.name = (ProtobufCBinaryData){strlen(name) + 1, (uint8_t *)name};
    Command command = COMMAND__INIT;
    command.body_case = COMMAND__BODY_CREATE_BUCKET;
    command.create_bucket = &body;
    Result *result;
    enum err e = metadata_execute(g->client, &request, &command, &arena, &result);
    *index = result ? result->index : 0;
    arena_release(&arena);
    return e;
}

static enum err query(struct group *g, int64_t timeout)
{
    struct request_context request = within(timeout);
    struct arena arena;
    arena_init(&arena);
    GetStatus get = GET_STATUS__INIT;
    Query q = QUERY__INIT;
    q.body_case = QUERY__BODY_GET_STATUS;
    q.get_status = &get;
    Answer *a;
    enum err e = metadata_query(g->client, &request, &q, &arena, &a);
    CHECK((a != NULL) == (e == OK || e == g->refuse));
    arena_release(&arena);
    return e;
}

static void finds_leader(void)
{
    struct group *g = group_new(false);
    uint64_t index;
    int64_t began = sys_now();
    CHECK_OK(query(g, SYS_SECOND));
    CHECK_OK(execute(g, 1, SYS_SECOND, &index));
    CHECK_EQ(g->done[1], 1);
    CHECK(sys_now() - began < 5 * SYS_MS); /* a hint is followed at once */
    CHECK_EQ(metadata_log_time(g->client), 66);
    CHECK_EQ(metadata_epoch_seen(g->client), 10);
    /* Remembered. */
    unsigned before = g->members[0].calls + g->members[2].calls;
    CHECK_OK(query(g, SYS_SECOND));
    CHECK_EQ(g->members[0].calls + g->members[2].calls, before);
    /* It changes; the old one is dead, hangs, or does not know. */
    g->leader = 2;
    CHECK_OK(query(g, SYS_SECOND));
    g->leader = 0;
    g->members[2].broken = ERR_REFUSED;
    CHECK_OK(query(g, SYS_SECOND));
    g->leader = 1;
    g->members[2].broken = OK;
    g->members[0].ignorant = true;
    CHECK_OK(query(g, SYS_SECOND));
    g->leader = 2;
    g->members[1].hung = true;
    began = sys_now();
    CHECK_OK(query(g, 10 * SYS_SECOND));
    CHECK(sys_now() - began < 4 * SYS_SECOND);
    CHECK_EQ(g->done[1], 1);
    group_free(g);
}

struct later {
    struct group *group;
    unsigned leader;
    int64_t after;
};
static void elect_later(void *arg)
{
    struct later *l = arg;
    sys_sleep_until(sys_now() + l->after);
    l->group->leader = l->leader;
}

static void waits_for_leader(void)
{
    struct group *g = group_new(false);
    uint64_t index;
    g->leader = MEMBERS;
    int64_t began = sys_now();
    enum err e = query(g, 2 * SYS_SECOND);
    CHECK_ERR(e, ERR_NOT_LEADER);
    CHECK(sys_now() - began > SYS_SECOND && sys_now() - began <= 2001 * SYS_MS);
    /* No attempt can have been carried out: not unknown. */
    e = execute(g, 1, SYS_SECOND, &index);
    CHECK(e != OK && err_outcome_known(e));
    struct later l = {g, 2, 1500 * SYS_MS};
    struct sys_thread *thread;
    CHECK_OK(sys_thread_start(&thread, "elect", 0, elect_later, &l));
    began = sys_now();
    CHECK_OK(execute(g, 1, 10 * SYS_SECOND, &index));
    CHECK(sys_now() - began < 2500 * SYS_MS);
    unsigned calls = g->members[0].calls + g->members[1].calls + g->members[2].calls;
    CHECK(calls < 150); /* it does not hammer */
    sys_thread_join(thread);
    group_free(g);
}

/* Nobody there at all, in each way. */
static void nobody(void)
{
    struct group *g = group_new(false);
    uint64_t index;
    for (unsigned i = 0; i < MEMBERS; i++)
        g->members[i].broken = ERR_REFUSED;
    enum err e = execute(g, 1, SYS_SECOND, &index);
    CHECK(e != OK && err_outcome_known(e));
    for (unsigned i = 0; i < MEMBERS; i++) {
        g->members[i].broken = OK;
        g->members[i].hung = true;
    }
    int64_t began = sys_now();
    e = query(g, 4 * SYS_SECOND);
    CHECK_ERR(e, ERR_TIMEOUT);
    CHECK(sys_now() - began <= 4001 * SYS_MS);
    group_free(g);
}

/* The answer is lost; the repeat gets the first one's result. */
static void exactly_once(void)
{
    struct group *g = group_new(false);
    uint64_t index, next;
    const enum err ways[] = {ERR_CLOSED, ERR_TIMEOUT, ERR_UNKNOWN_OUTCOME, ERR_IO};
    for (unsigned i = 0; i < 4; i++) {
        g->members[1].lost_as = ways[i];
        g->members[1].lose = 2;
        g->members[1].lose_before = i;
        CHECK_OK(execute(g, i, 60 * SYS_SECOND, &index));
        CHECK_EQ(g->done[i], 1);
        CHECK_EQ(index, i * 2 + 1);
        CHECK_OK(execute(g, 10 + i, SYS_SECOND, &next));
        CHECK_EQ(next, index + 1);
    }
    /* A refusal by the state machine is an answer, and final. */
    g->refuse = ERR_BUCKET_EXISTS;
    CHECK_ERR(execute(g, 20, SYS_SECOND, &index), ERR_BUCKET_EXISTS);
    CHECK_EQ(g->done[20], 0);
    CHECK_ERR(query(g, SYS_SECOND), ERR_BUCKET_EXISTS);
    g->refuse = OK;
    CHECK_EQ(g->registered, 1);
    group_free(g);
}

/* All answers are lost: unknown, but not before the deadline. */
static void unknown_outcome(void)
{
    struct group *g = group_new(false);
    uint64_t index;
    const enum err ways[] = {ERR_CLOSED, ERR_TIMEOUT};
    for (unsigned i = 0; i < 40; i++) {
        g->members[1].lost_as = ways[i % 2];
        g->members[1].lose = 1000;
        int64_t began = sys_now();
        CHECK_ERR(execute(g, i, 5 * SYS_SECOND, &index), ERR_UNKNOWN_OUTCOME);
        CHECK(sys_now() - began > 4500 * SYS_MS && sys_now() - began <= 5001 * SYS_MS);
        CHECK_EQ(g->done[i], 1);
        g->members[1].lose = 0;
    }
    /* The leader changes while the answer is being lost, and the new one knows. */
    g->members[1].lose = 1;
    g->members[1].lost_as = ERR_CLOSED;
    g->members[1].slow = 50 * SYS_MS;
    struct later l = {g, 0, 20 * SYS_MS};
    struct sys_thread *thread;
    CHECK_OK(sys_thread_start(&thread, "elect", 0, elect_later, &l));
    CHECK_OK(execute(g, 51, SYS_SECOND, &index));
    CHECK_EQ(g->done[51], 1);
    sys_thread_join(thread);
    group_free(g);
}

static void forget(void *arg)
{
    struct group *g = arg;
    sys_sleep_until(sys_now() + 20 * SYS_MS);
    g->sessions[1].known = false;
}

static void session_expires(void)
{
    struct group *g = group_new(false);
    uint64_t index;
    CHECK_OK(execute(g, 1, SYS_SECOND, &index));
    CHECK_EQ(g->registered, 1);
    g->sessions[0].known = false;
    CHECK_OK(execute(g, 2, SYS_SECOND, &index));
    CHECK_EQ(g->registered, 2);
    CHECK_EQ(g->done[2], 1);
    /* Sequences begin anew under the new id. */
    CHECK_EQ(g->sessions[1].sequence[0], 1);
    /* Forgotten after an attempt whose answer was lost: nobody can tell. */
    g->members[1].lose = 1;
    g->members[1].slow = 50 * SYS_MS;
    struct sys_thread *thread;
    CHECK_OK(sys_thread_start(&thread, "forget", 0, forget, g));
    CHECK_ERR(execute(g, 3, SYS_SECOND, &index), ERR_UNKNOWN_OUTCOME);
    sys_thread_join(thread);
    CHECK_EQ(g->done[3], 1);
    CHECK_OK(execute(g, 4, SYS_SECOND, &index));
    CHECK_EQ(g->registered, 3);
    group_free(g);
}

struct caller {
    struct group *group;
    unsigned number;
    enum err error;
    uint64_t index;
    struct sys_thread *thread;
};

static void call(void *arg)
{
    struct caller *c = arg;
    c->error = execute(c->group, c->number, 20 * SYS_SECOND, &c->index);
}

/* 300 at once over 256 slots, half of the way through the session is forgotten: each once. */
static void many_callers(void)
{
    enum { CALLERS = 300 };
    struct group *g = group_new(false);
    struct caller *callers = calloc(CALLERS, sizeof *callers);
    g->members[1].slow = 100 * SYS_MS;
    for (unsigned i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){.group = g, .number = i};
        CHECK_OK(sys_thread_start(&callers[i].thread, "caller", 64 << 10, call, &callers[i]));
    }
    sys_sleep_until(sys_now() + 150 * SYS_MS);
    g->sessions[0].known = false;
    for (unsigned i = 0; i < CALLERS; i++) {
        sys_thread_join(callers[i].thread);
        CHECK_OK(callers[i].error);
        CHECK_EQ(g->done[i], 1);
    }
    CHECK(g->most_running <= SLOTS && g->most_running > 200);
    CHECK(g->registered >= 1 && g->registered <= 2);
    free(callers);
    group_free(g);
}

/* No slot comes free: busy at the deadline, and certainly not done. */
static void no_slot(void)
{
    struct group *g = group_new(false);
    struct caller *callers = calloc(SLOTS, sizeof *callers);
    uint64_t index;
    CHECK_OK(execute(g, 399, SYS_SECOND, &index));
    g->members[1].slow = 2 * SYS_SECOND;
    for (unsigned i = 0; i < SLOTS; i++) {
        callers[i] = (struct caller){.group = g, .number = i};
        CHECK_OK(sys_thread_start(&callers[i].thread, "caller", 64 << 10, call, &callers[i]));
    }
    sys_sleep_until(sys_now() + 50 * SYS_MS);
    int64_t began = sys_now();
    CHECK_ERR(execute(g, 398, 500 * SYS_MS, &index), ERR_BUSY);
    CHECK(sys_now() - began < 600 * SYS_MS);
    CHECK_EQ(g->done[398], 0);
    for (unsigned i = 0; i < SLOTS; i++) {
        sys_thread_join(callers[i].thread);
        CHECK_OK(callers[i].error);
    }
    free(callers);
    group_free(g);
}

/* The same over sockets: one address is known, the others are heard of; the leader crashes. */
static void over_sockets(void)
{
    struct group *g = group_new(true);
    int pids[MEMBERS];
    uint64_t index;
    for (unsigned i = 0; i < MEMBERS; i++)
        pids[i] = sim_spawn("member", FIRST_HOST + i + 1, serve, &g->members[i]);
    CHECK_OK(execute(g, 1, 5 * SYS_SECOND, &index));
    CHECK_EQ(g->done[1], 1);
    sim_crash(pids[1]);
    g->leader = 2;
    CHECK_OK(execute(g, 2, 20 * SYS_SECOND, &index));
    CHECK_EQ(g->done[2], 1);
    CHECK_OK(query(g, 5 * SYS_SECOND));
    /* Cut off from the leader in mid command. */
    sim_partition(1, FIRST_HOST + 3, true);
    g->leader = 0;
    CHECK_OK(execute(g, 3, 20 * SYS_SECOND, &index));
    CHECK_EQ(g->done[3], 1);
    sim_partition(1, FIRST_HOST + 3, false);
    struct request_context request = within(5 * SYS_SECOND);
    struct arena arena;
    arena_init(&arena);
    Members *members;
    CHECK_OK(metadata_members(g->client, &request, &arena, &members));
    CHECK(members && members->n_members == MEMBERS && members->leader == 1);
    arena_release(&arena);
    for (unsigned i = 0; i < MEMBERS; i++)
        sim_stop(pids[i]);
    for (unsigned i = 0; i < MEMBERS; i++)
        while (sim_alive(pids[i]))
            sys_sleep_until(sys_now() + SYS_MS);
    group_free(g);
}

static void configuration(void)
{
    struct metadata_client *c;
    struct metadata_client_config config = {0};
    CHECK_ERR(metadata_client_new(&config, &c), ERR_INVALID);
    char longest[300];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    const char *addresses[] = {longest};
    config.addresses = addresses;
    config.address_count = 1;
    CHECK_ERR(metadata_client_new(&config, &c), ERR_TOO_BIG);
}

static const struct test tests[] = {
    {"finds the leader", finds_leader},
    {"waits for a leader", waits_for_leader},
    {"nobody", nobody},
    {"exactly once", exactly_once},
    {"unknown outcome", unknown_outcome},
    {"session expires", session_expires},
    {"many callers", many_callers},
    {"no slot", no_slot},
    {"over sockets", over_sockets},
    {"configuration", configuration},
    {0},
};
SUITE("metadata client", tests)
