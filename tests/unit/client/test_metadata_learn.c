/* A client that lives long while all members are replaced, one after the other, more often than it has
 * room for: it never meets one that does not lead, and asks who the members are now and then. */
#include "common/client/metadata_client.h"
#include "common/proto/message_types.h"
#include "common/rpc/rpc_peer.h"
#include "common/rpc/rpc_server.h"
#include "common/sys/sim/sim.h"
#include "tests/unit/suite.h"

enum { HOSTS = 40, FIRST_HOST = 20, PORT = 7100 };

static struct {
    unsigned first; /* this one leads, the next one is a member */
    struct rpc_identity identity;
    struct rpc_keys keys;
} group;

static void say_members(void *arg, struct rpc_request *r)
{
    struct arena *a = rpc_request_arena(r);
    Members out = MEMBERS__INIT;
    MemberInfo info[2], *list[2] = {&info[0], &info[1]};
    (void)arg;
    for (unsigned i = 0; i < 2; i++) {
        struct sys_addr where = sim_addr(FIRST_HOST + group.first + i, PORT);
        char *text = arena_alloc(a, SYS_ADDR_TEXT);
        sys_addr_format(&where, text);
        member_info__init(list[i]);
        info[i].id = group.first + i + 1;
        info[i].address = text;
        info[i].voter = true;
    }
    out.members = list;
    out.n_members = 2;
    out.leader = group.first + 1;
    rpc_reply(r, OK, &out.base, NULL, 0, 0);
}

static void say_answer(void *arg, struct rpc_request *r)
{
    Answer out = ANSWER__INIT;
    (void)arg;
    rpc_reply(r, OK, &out.base, NULL, 0, 0);
}

static void serve(void *arg)
{
    const unsigned *number = arg;
    const struct rpc_route routes[] = {{MSG_QUERY, &query__descriptor, say_answer, NULL},
                                       {MSG_MEMBERS, &members__descriptor, say_members, NULL}};
    struct rpc_server_config c;
    struct rpc_server *server;
    rpc_server_config_default(&c);
    c.listen = sim_addr(FIRST_HOST + *number, PORT);
    c.self = group.identity;
    c.self.role = RPC_METADATA;
    c.self.node_id = *number + 1;
    c.keys = group.keys;
    c.routes = routes;
    c.routes_count = 2;
    if (rpc_server_start(&c, &server) != OK)
        sys_exit(1, "no server");
    struct sys_poll stop = {.event = sys_stop_event()};
    while (sys_poll(&stop, 1, SYS_FOREVER) != OK)
        ;
    rpc_server_stop(server);
    rpc_server_free(server);
}

static enum err ask(struct metadata_client *c)
{
    struct request_context request = {.deadline = sys_now() + 5 * SYS_SECOND};
    struct arena arena;
    Query query = QUERY__INIT;
    Answer *answer = NULL;
    GetMap body = GET_MAP__INIT;
    query.body_case = QUERY__BODY_GET_MAP;
    query.get_map = &body;
    arena_init(&arena);
    enum err e = metadata_query(c, &request, &query, &arena, &answer);
    arena_release(&arena);
    return e;
}

static void all_replaced(void)
{
    static unsigned numbers[HOSTS];
    struct rpc_node_config config;
    struct metadata_client *client;
    struct sys_addr where = sim_addr(FIRST_HOST, PORT);
    char text[SYS_ADDR_TEXT];
    const char *addresses[] = {text};
    int pids[HOSTS];
    memset(&group, 0, sizeof group);
    group.keys.count = 1;
    group.keys.key[0].id = 1;
    sys_addr_format(&where, text);
    rpc_node_config_default(&config);
    config.self = group.identity;
    config.self.role = RPC_GATEWAY;
    config.self.node_id = 999;
    config.keys = group.keys;
    struct rpc_node *node = rpc_node_new(&config);
    const struct metadata_client_config mine = {.node = node,
                                                .addresses = addresses,
                                                .address_count = 1,
                                                .name = "test",
                                                .timeouts = config.timeouts};
    CHECK_OK(metadata_client_new(&mine, &client));
    for (unsigned i = 0; i < HOSTS; i++) {
        numbers[i] = i;
        pids[i] = sim_spawn("member", FIRST_HOST + i, serve, &numbers[i]);
    }
    sys_sleep_until(sys_now() + SYS_SECOND);
    for (unsigned i = 0; i + 1 < HOSTS; i++) {
        CHECK_OK(ask(client));
        metadata_learn(client, sys_now() + SYS_SECOND);
        sim_crash(pids[i]);
        group.first = i + 1;
    }
    CHECK_OK(ask(client));
    sim_crash(pids[HOSTS - 1]);
    rpc_node_stop(node);
    metadata_client_free(client);
    rpc_node_free(node);
}

static const struct test tests[] = {
    {"all replaced", all_replaced},
    {0},
};
SUITE("metadata learn", tests)
