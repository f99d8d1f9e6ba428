#include "tools/verb_view.h"
#include <stdio.h>
#include <string.h>
#include "common/base/text.h"
#include "common/client/map_cache.h"
#include "common/proto/message_types.h"
#include "common/sys/sys.h"
#include "placement/planner.h"

#define MEMBER_ASK (1500 * SYS_MS)

int view_open(struct cli *cli, struct cluster_view *v)
{
    char problem[CONFIG_PROBLEM];
    memset(v, 0, sizeof *v);
    arena_init(&v->arena);
    int status = cli_config(cli, &v->config);
    if (!status && admin_open(&v->admin, &v->config, problem))
        status = cli_failed("%s", problem);
    return status;
}

void view_forget(struct cluster_view *v)
{
    cluster_map_free(v->map);
    v->map = NULL;
    memset(&v->facts, 0, sizeof v->facts);
    memset(v->own, 0, sizeof v->own);
    arena_clear(&v->arena);
}

void view_close(struct cluster_view *v)
{
    view_forget(v);
    arena_release(&v->arena);
    admin_close(&v->admin);
    config_release(&v->config);
}

static enum err find_address(const char *text, int64_t deadline, struct sys_addr *out)
{
    char host[256];
    uint64_t port;
    size_t n;
    const char *colon = strrchr(text, ':');
    if (sys_addr_parse(text, out) == OK)
        return OK;
    if (!colon || (size_t)(colon - text) >= sizeof host ||
        decimal_parse(colon + 1, strlen(colon + 1), &port) || port > UINT16_MAX)
        return ERR_INVALID;
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = 0;
    return sys_resolve(host, (uint16_t)port, deadline, out, 1, &n);
}

enum err view_call(struct cluster_view *v, const char *address, uint16_t type,
                   const ProtobufCMessage *body, const ProtobufCMessageDescriptor *reply_type,
                   int64_t timeout, ProtobufCMessage **reply)
{
    struct request_context request = admin_request(&v->admin, timeout);
    struct sys_addr addr;
    struct rpc_peer *peer;
    *reply = NULL;
    enum err e = find_address(address, request.deadline, &addr);
    if (!e)
        e = rpc_peer_get(v->admin.node, &addr, &peer);
    return e ? e : rpc_control_call(peer, &request, type, body, reply_type, &v->arena, reply);
}

/* Asks each of the members that one of them listed, for itself. What the one says that leads, or NULL. */
static const Members *ask_each(struct cluster_view *v, const Members *members)
{
    const Members *leaders = NULL;
    size_t n = members->n_members < VIEW_MEMBERS_MAX ? members->n_members : VIEW_MEMBERS_MAX;
    v->facts.members = members;
    for (size_t i = 0; i < n; i++) {
        Members ask = MEMBERS__INIT;
        ProtobufCMessage *reply;
        v->facts.member_answers[i] = view_call(v, members->members[i]->address, MSG_MEMBERS,
                                               &ask.base, &members__descriptor, MEMBER_ASK, &reply);
        if (v->facts.member_answers[i] == OK && !reply)
            v->facts.member_answers[i] = ERR_FORMAT;
        v->own[i] = v->facts.member_answers[i] ? NULL : (const Members *)reply;
        if (v->own[i] && v->own[i]->leader == members->members[i]->id &&
            (!leaders || v->own[i]->term > leaders->term))
            leaders = v->own[i];
    }
    return leaders;
}

static bool same_members(const Members *a, const Members *b)
{
    bool same = a->n_members == b->n_members;
    for (size_t i = 0; same && i < a->n_members; i++)
        same = a->members[i]->id == b->members[i]->id;
    return same;
}

enum err view_ask_members(struct cluster_view *v)
{
    struct request_context request = admin_request(&v->admin, 0);
    Members *members = NULL;
    enum err e = metadata_members(v->admin.metadata, &request, &v->arena, &members);
    v->facts.members_error = e;
    if (e)
        return e;
    /* Who else is reachable and how far they are, only the leader knows. The one that answered first
     * may have been removed since, which nobody has told it: then the leader's list is asked. */
    const Members *leaders = ask_each(v, members);
    if (leaders && !same_members(members, leaders))
        (void)ask_each(v, leaders);
    else if (leaders)
        v->facts.members = leaders;
    return OK;
}

enum err view_query(struct cluster_view *v, const Query *query, Answer **answer)
{
    struct request_context request = admin_request(&v->admin, 0);
    *answer = NULL;
    enum err e = metadata_query(v->admin.metadata, &request, query, &v->arena, answer);
    return e || *answer ? e : ERR_UNAVAILABLE;
}

enum err view_execute(struct cluster_view *v, Command *command, Result **result)
{
    struct request_context request = admin_request(&v->admin, 0);
    *result = NULL;
    return metadata_execute(v->admin.metadata, &request, command, &v->arena, result);
}

enum err view_ask_map(struct cluster_view *v)
{
    GetMap get = GET_MAP__INIT;
    Query query = QUERY__INIT;
    Answer *answer;
    query.body_case = QUERY__BODY_GET_MAP;
    query.get_map = &get;
    enum err e = view_query(v, &query, &answer);
    if (!e && !answer->map)
        e = ERR_FORMAT;
    if (!e) {
        v->map = cluster_map_new();
        e = map_apply_delta(v->map, answer->map);
    }
    if (!e) {
        v->facts.info = answer->map;
        v->facts.map = v->map;
    }
    v->facts.map_error = e;
    return e;
}

enum err view_ask_reports(struct cluster_view *v)
{
    struct request_context request = admin_request(&v->admin, 0);
    Reports ask = REPORTS__INIT;
    ProtobufCMessage *reply = NULL;
    enum err e = metadata_call_leader(v->admin.metadata, &request, MSG_REPORTS, &ask.base,
                                      &v->arena, &reply);
    if (!e && reply)
        v->facts.reports = (const Reports *)reply;
    return e;
}

enum err view_ask_status(struct cluster_view *v)
{
    GetStatus get = GET_STATUS__INIT;
    Query query = QUERY__INIT;
    Answer *answer;
    query.body_case = QUERY__BODY_GET_STATUS;
    query.get_status = &get;
    enum err e = view_query(v, &query, &answer);
    if (!e)
        v->facts.status = answer->status;
    return e;
}

/* ---- health ---- */

uint32_t view_stranded(const struct cluster_map *map)
{
    uint32_t stranded = 0;
    for (size_t i = 0; i < map->pool_count; i++) {
        struct planner_move *moves = NULL;
        struct planner_report report = {0};
        size_t n;
        if (planner_plan(map, map->pools[i].id, &moves, &n, &report) == OK)
            stranded += report.stranded_slots;
        sys_free(moves);
    }
    return stranded;
}

static bool leader_answers(const struct cluster_view *v)
{
    const Members *m = v->facts.members;
    for (size_t i = 0; i < m->n_members && i < VIEW_MEMBERS_MAX; i++)
        if (m->members[i]->id == m->leader)
            return v->facts.member_answers[i] == OK;
    return false;
}

void view_judge(struct cluster_view *v, struct health *out)
{
    /* What follows needs a leader: not asked for when nobody is there to elect one. */
    if (view_ask_members(v) == OK && view_ask_map(v) == OK) {
        v->facts.stranded = view_stranded(v->map);
        (void)!view_ask_reports(v);
        (void)!view_ask_status(v);
        if (!leader_answers(v)) /* another one was elected while the map was asked for */
            (void)!view_ask_members(v);
    }
    health_judge(&v->facts, out);
}

/* ---- for people ---- */

int view_need_map(struct cluster_view *v)
{
    enum err e = view_ask_map(v);
    return e ? view_failed(v, e, "the cluster map") : CLI_OK;
}

int view_failed(const struct cluster_view *v, enum err e, const char *what)
{
    const struct config_list *list = &v->config.metadata;
    char addresses[512] = "";
    size_t n = 0;
    for (size_t i = 0; i < list->count && n < sizeof addresses; i++)
        n += (size_t)snprintf(addresses + n, sizeof addresses - n, " %s", list->items[i]);
    cli_failed("%s: %s", what, err_text(e));
    if (e == ERR_AUTHENTICATION || e == ERR_FOREIGN_CLUSTER)
        return cli_failed("the key in %s is not that of the cluster at%s", v->config.cluster_key,
                          addresses);
    if (err_retryable(e) || !err_outcome_known(e))
        return cli_failed("the metadata servers are at%s: do a majority of them run? "
                          "`cairn raft status` tells",
                          addresses);
    return CLI_FAILED;
}

int view_disk_word(const struct cli *cli, int argc, char **argv, uint32_t *id)
{
    uint64_t n = 0;
    if (argc != 1)
        return cli_usage(cli, argc ? "one disk at a time" : "which disk?");
    if (decimal_parse(argv[0], strlen(argv[0]), &n) || n == 0 || n > UINT32_MAX)
        return cli_usage(cli, "\"%.40s\" is no disk's id: see cairn disk list", argv[0]);
    *id = (uint32_t)n;
    return CLI_OK;
}

const DiskInfo *view_disk(const struct cluster_view *v, uint32_t id)
{
    for (size_t i = 0; i < v->facts.info->n_disks; i++)
        if (v->facts.info->disks[i]->id == id && !v->facts.info->disks[i]->removed)
            return v->facts.info->disks[i];
    return NULL;
}

const struct cluster_pool *view_pool(const struct cluster_view *v, const char *text)
{
    uint64_t id;
    const struct cluster_pool *pool = cluster_map_pool_named(v->map, text);
    if (!pool && decimal_parse(text, strlen(text), &id) == OK && id <= UINT32_MAX)
        pool = cluster_map_pool(v->map, (uint32_t)id);
    return pool;
}

const char *view_admin_name(uint32_t admin_state)
{
    static const char *const names[DISK_ADMIN_COUNT] = {"in", "out", "draining", "failed"};
    return admin_state < DISK_ADMIN_COUNT ? names[admin_state] : "unknown";
}

const char *view_bytes(struct cluster_view *v, uint64_t n)
{
    char text[32];
    bytes_format(n, text, sizeof text);
    return arena_string(&v->arena, text);
}

const char *view_hex(struct cluster_view *v, const void *data, size_t n)
{
    return arena_hex(&v->arena, data, n);
}
