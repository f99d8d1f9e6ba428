/* The metadata members of the embedded form. All of the group are in this process, so it is known at the
 * start which were lost: those that the group names and no directory holds. In their places others are
 * made, under new ids (hazard 11):
 *
 *   M1  Nothing is changed unless the members that are there are a quorum. Who belongs to the group is
 *       read from a leader that has just confirmed that it leads; nobody changes it at the same time,
 *       since verbs do not reach this process yet.
 *   M2  A member that the group does not name goes: one that was removed while its directory was away, or
 *       one that an earlier start made and could not add. Its directory is renamed, then removed.
 *   M3  In directories without a member new ones are made, until there are as many as are wanted. Their
 *       identities are durable before anybody hears of them. They start empty and vote for nobody.
 *   M4  One change at a time, each through the log: a lost voter is removed, then a new member is added as
 *       a learner and promoted; learners that are in no directory are removed. The group never has
 *       more voters than are wanted, and tolerates no less at any step than it did before.
 *
 * After a crash anywhere the next start does the same with what it finds. */
#include <inttypes.h>
#include <string.h>
#include "common/proto/message_types.h"
#include "common/sys/log.h"
#include "tools/embedded.h"

#define LEADER_PAUSE (50 * SYS_MS)
#define CHANGE_PAUSE (200 * SYS_MS)
#define CHANGE_TIME  (2 * SYS_SECOND) /* also how long a stop may wait for one */

/* min(2m + 1, N, 5), rounded down to odd. */
static size_t wanted_by_pool(const struct config *c)
{
    size_t n = 2 * (size_t)c->pool_m + 1;
    n = n < c->data.count ? n : c->data.count;
    n = n < SERVER_MEMBERS_MAX ? n : SERVER_MEMBERS_MAX;
    return n % 2 == 1 ? n : n - 1;
}

enum err embedded_find_members(struct server *s, struct embedded_places *found)
{
    char path[SYS_PATH_MAX];
    for (size_t i = 0; i < s->config->data.count; i++) {
        struct uuid cluster;
        uint64_t member;
        enum err e = embedded_path(s, i, EMBEDDED_REMOVED, path);
        if (e == OK)
            e = metadata_service_destroy(path);
        if (e == OK)
            e = embedded_path(s, i, "metadata", path);
        if (e == OK)
            e = metadata_service_peek(path, &cluster, &member);
        if (e == ERR_NOT_FOUND)
            continue;
        if (e != OK)
            return server_problem(s, e, "metadata in %s: %s", path, err_text(e));
        if (found->count > 0 && !uuid_equal(&cluster, &s->self.cluster))
            return server_problem(s, ERR_FOREIGN_CLUSTER, "%s belongs to another cluster", path);
        if (found->count == SERVER_FOUND_MAX)
            return server_problem(s, ERR_TOO_BIG, "more than %d metadata members",
                                  SERVER_FOUND_MAX);
        s->self.cluster = cluster;
        memcpy(found->paths[found->count++], path, sizeof path);
    }
    return OK;
}

enum err embedded_address(struct server *s, size_t place, char out[SYS_ADDR_TEXT])
{
    struct sys_addr a;
    enum err e = sys_addr_parse(s->config->metadata_listen, &a);
    if (e != OK || a.port > UINT16_MAX - SERVER_MEMBERS_MAX)
        return server_problem(s, ERR_INVALID, "metadata_listen %s leaves no room for %d ports",
                              s->config->metadata_listen, SERVER_MEMBERS_MAX);
    a.port = (uint16_t)(a.port + place);
    sys_addr_format(&a, out);
    return OK;
}

enum err embedded_create_members(struct server *s, struct embedded_places *places)
{
    const char *directories[SERVER_MEMBERS_MAX], *addresses[SERVER_MEMBERS_MAX];
    char texts[SERVER_MEMBERS_MAX][SYS_ADDR_TEXT];
    places->count = wanted_by_pool(s->config);
    for (size_t i = 0; i < places->count; i++) {
        enum err e = embedded_path(s, i, "metadata", places->paths[i]);
        if (e == OK)
            e = embedded_address(s, i, texts[i]);
        if (e != OK)
            return e;
        directories[i] = places->paths[i];
        addresses[i] = texts[i];
    }
    sys_random(s->self.cluster.bytes, sizeof s->self.cluster.bytes);
    s->created = true;
    enum err e = metadata_service_create_group(directories, addresses, places->count,
                                               &s->self.cluster, s->config->log_segment);
    return e == OK ? OK : server_problem(s, e, "cannot make the metadata members: %s", err_text(e));
}

/* ---- the group, as one of its members knows it ---- */

enum { GROUP_MAX = 16 };
struct group {
    uint64_t leader, term;
    size_t count, voters;
    struct {
        uint64_t id;
        bool voter, here;
        uint16_t port;
    } v[GROUP_MAX];
    size_t voters_here, learners_gone;
};

static bool is_here(const struct server *s, uint64_t id)
{
    for (size_t i = 0; i < s->member_count; i++)
        if (metadata_service_member(s->members[i]) == id)
            return true;
    return false;
}

static enum err ask_group(const struct server *s, struct metadata_service *member, struct group *g)
{
    struct arena arena;
    Members ask = MEMBERS__INIT;
    ProtobufCMessage *reply = NULL;
    arena_init(&arena);
    memset(g, 0, sizeof *g);
    enum err e = metadata_service_call(member, MSG_MEMBERS, &ask.base, &arena,
                                       sys_now() + s->timeouts.metadata_call, &reply);
    const Members *m = (const Members *)reply;
    if (e == OK && m->n_members > GROUP_MAX)
        e = ERR_TOO_BIG;
    for (size_t i = 0; e == OK && i < m->n_members; i++) {
        struct sys_addr a;
        bool voter = m->members[i]->voter, here = is_here(s, m->members[i]->id);
        g->v[i].id = m->members[i]->id;
        g->v[i].voter = voter;
        g->v[i].here = here;
        g->v[i].port = sys_addr_parse(m->members[i]->address, &a) == OK ? a.port : 0;
        g->voters += voter;
        g->voters_here += voter && here;
        g->learners_gone += !voter && !here;
        g->count++;
    }
    if (e == OK) {
        g->leader = m->leader;
        g->term = m->term;
    }
    arena_release(&arena);
    return e;
}

static bool in_group(const struct group *g, uint64_t id, bool voter)
{
    for (size_t i = 0; i < g->count; i++)
        if (g->v[i].id == id && (g->v[i].voter || !voter))
            return true;
    return false;
}

/* How many there should be: what the pool asks for, and no fewer than there were. */
static size_t members_wanted(const struct server *s, const struct group *g)
{
    size_t wanted = wanted_by_pool(s->config);
    wanted = wanted > g->voters ? wanted : g->voters;
    wanted += wanted % 2 == 0;
    return wanted < SERVER_MEMBERS_MAX ? wanted : SERVER_MEMBERS_MAX;
}

/* The next data directory that holds no member, from number *i on. */
static bool next_free(struct server *s, const struct embedded_places *places, size_t *i,
                      char path[SYS_PATH_MAX])
{
    for (; *i < s->config->data.count; ++*i) {
        bool taken = embedded_path(s, *i, "metadata", path) != OK;
        for (size_t k = 0; !taken && k < places->count; k++)
            taken = strcmp(places->paths[k], path) == 0;
        if (!taken)
            return true;
    }
    return false;
}

/* Whether this member sees anything that is to be changed and can be. */
static bool all_well(struct server *s, const struct embedded_places *places, const struct group *g)
{
    char path[SYS_PATH_MAX];
    size_t from = 0;
    for (size_t i = 0; i < s->member_count; i++)
        if (!in_group(g, metadata_service_member(s->members[i]), true))
            return false;
    return g->learners_gone == 0 &&
           (g->voters_here >= members_wanted(s, g) || !next_free(s, places, &from, path));
}

/* Which of the ports above the configured one is whose: by the address that it was made with, also when
 * one before it is gone with its directory, or when another port is configured than then. */
static void find_ports(struct server *s, const struct group *g)
{
    struct sys_addr a = {0};
    uint16_t least = UINT16_MAX, most = 0, first = 0;
    for (size_t i = 0; i < g->count; i++) {
        least = g->v[i].port < least ? g->v[i].port : least;
        most = g->v[i].port > most ? g->v[i].port : most;
    }
    if (sys_addr_parse(s->config->metadata_listen, &a) == OK)
        first = a.port;
    if (least < first || most >= first + SERVER_MEMBERS_MAX)
        first = least;
    memset(s->member_ports, 0, sizeof s->member_ports);
    for (size_t i = 0; i < s->member_count; i++)
        for (size_t k = 0; k < g->count; k++)
            if (g->v[k].id == metadata_service_member(s->members[i]) &&
                (unsigned)g->v[k].port - first < SERVER_MEMBERS_MAX)
                s->member_ports[i] = (unsigned)g->v[k].port - first;
}

/* ---- starting them ---- */

static enum err start_member(struct server *s, const char *path)
{
    const struct metadata_service_config config = {
        .directory = path,
        .address = "",
        .node = s->rpc,
        .timeouts = s->timeouts,
        .moves_max = s->config->bounds.moves_max,
        .segment_bytes = s->config->log_segment,
        .log_bytes = s->config->log_bytes,
        .checkpoint_every = s->config->checkpoint_entries,
        .lease_reads = s->config->lease_reads,
    };
    struct metadata_service *fresh;
    enum err e = metadata_service_start(&config, &fresh);
    if (e != OK)
        return server_problem(s, e, "the metadata member in %s does not start: %s", path,
                              err_text(e));
    for (size_t i = 0; i < s->member_count; i++) {
        metadata_service_link(s->members[i], fresh);
        metadata_service_link(fresh, s->members[i]);
    }
    s->members[s->member_count++] = fresh;
    return OK;
}

/* Some member must know of a group that those here have a majority of. Alone they cannot agree on
 * anything: said at once, instead of waiting for a leader for ever. */
static enum err look(struct server *s, struct embedded_places *places, bool *well)
{
    struct group g, least = {0};
    bool quorum = false;
    *well = true;
    for (size_t i = 0; i < s->member_count; i++) {
        enum err e = ask_group(s, s->members[i], &g);
        if (e != OK)
            return server_problem(s, e, "the metadata member in %s does not answer: %s",
                                  places->paths[i], err_text(e));
        *well &= all_well(s, places, &g);
        if (g.voters > 0 && g.voters_here >= g.voters / 2 + 1)
            quorum = true;
        else if (g.voters > 0)
            least = g;
        if (*well)
            find_ports(s, &g);
    }
    if (quorum)
        return OK;
    return server_problem(s, ERR_NO_QUORUM,
                          "only %zu of the %zu metadata members are in these directories: name all "
                          "of the cluster's directories",
                          least.voters_here, least.voters);
}

/* M1. False: not now, or not this one. */
static bool confirmed(struct server *s, struct metadata_service *member, struct group *g)
{
    struct arena arena;
    struct group before;
    GetStatus status = GET_STATUS__INIT;
    Query query = QUERY__INIT;
    ProtobufCMessage *reply = NULL;
    query.body_case = QUERY__BODY_GET_STATUS;
    query.get_status = &status;
    uint64_t id = metadata_service_member(member);
    if (ask_group(s, member, &before) != OK || before.leader != id)
        return false;
    arena_init(&arena);
    enum err e = metadata_service_call(member, MSG_QUERY, &query.base, &arena,
                                       sys_now() + CHANGE_TIME, &reply);
    arena_release(&arena);
    return e == OK && ask_group(s, member, g) == OK && g->leader == id && g->term == before.term;
}

static enum err await_group(struct server *s, struct group *g)
{
    struct sys_poll stop = {.event = sys_stop_event()};
    for (;;) {
        for (size_t i = 0; i < s->member_count; i++)
            if (confirmed(s, s->members[i], g))
                return OK;
        if (sys_poll(&stop, 1, sys_now() + LEADER_PAUSE) == OK)
            return ERR_STOPPING;
    }
}

/* M2 */
static enum err drop_strangers(struct server *s, struct embedded_places *places,
                               const struct group *g)
{
    for (size_t i = 0; i < s->member_count;) {
        char aside[SYS_PATH_MAX];
        const char *path = places->paths[i];
        size_t n = strlen(path) - strlen("metadata");
        uint64_t id = metadata_service_member(s->members[i]);
        if (in_group(g, id, false)) {
            i++;
            continue;
        }
        if (n + sizeof EMBEDDED_REMOVED > sizeof aside)
            return ERR_TOO_BIG;
        memcpy(aside, path, n);
        memcpy(aside + n, EMBEDDED_REMOVED, sizeof EMBEDDED_REMOVED);
        metadata_service_stop(s->members[i]);
        s->member_count--;
        memmove(&s->members[i], &s->members[i + 1], (s->member_count - i) * sizeof s->members[0]);
        enum err e = sys_rename(path, aside);
        if (e == OK)
            e = sys_dir_sync_parent(aside);
        if (e == OK)
            e = metadata_service_destroy(aside);
        if (e != OK)
            return server_problem(s, e, "cannot remove %s, which is no member any more: %s", path,
                                  err_text(e));
        log_warn("server", "member %016" PRIx64 " in %s is not of the group any more: removed", id,
                 path);
        places->count--;
        memmove(places->paths[i], places->paths[i + 1],
                (places->count - i) * sizeof places->paths[0]);
    }
    return OK;
}

static unsigned free_port(const struct server *s)
{
    bool taken[SERVER_MEMBERS_MAX + 1] = {false};
    unsigned port = 0;
    for (size_t i = 0; i < s->member_count; i++)
        taken[s->member_ports[i]] = true;
    while (taken[port])
        port++;
    return port;
}

/* M3. A directory that cannot take one is told of and left out. */
static void make_members(struct server *s, struct embedded_places *places)
{
    for (size_t i = 0; places->count < s->members_wanted; i++) {
        char address[SYS_ADDR_TEXT], *path = places->paths[places->count];
        uint64_t id;
        unsigned port = free_port(s);
        if (!next_free(s, places, &i, path))
            return;
        enum err e = embedded_address(s, port, address);
        if (e == OK)
            e = metadata_service_create(path, &s->self.cluster, address, s->config->log_segment,
                                        false, &id);
        if (e == OK)
            e = start_member(s, path);
        if (e != OK) {
            log_warn("server", "no metadata member can be made in %s: %s", path, err_text(e));
            s->problem[0] = 0;
            continue;
        }
        log_warn("server",
                 "made metadata member %016" PRIx64 " in %s; it votes when it has caught up", id,
                 path);
        s->member_ports[places->count++] = port;
    }
}

enum err embedded_start_members(struct server *s, struct embedded_places *places)
{
    struct group g;
    bool well = false;
    enum err e = OK;
    for (size_t i = 0; e == OK && i < places->count; i++)
        e = start_member(s, places->paths[i]);
    if (e == OK)
        e = look(s, places, &well);
    if (e != OK || well)
        return e;
    e = await_group(s, &g);
    if (e == OK)
        e = drop_strangers(s, places, &g);
    if (e != OK)
        return e;
    s->members_wanted = members_wanted(s, &g);
    find_ports(s, &g);
    make_members(s, places);
    return OK;
}

/* ---- the changes ---- */

static enum err change(struct metadata_service *leader, uint16_t type, const ProtobufCMessage *body)
{
    struct arena arena;
    ProtobufCMessage *reply = NULL;
    arena_init(&arena);
    enum err e = metadata_service_call(leader, type, body, &arena, sys_now() + CHANGE_TIME, &reply);
    arena_release(&arena);
    return e;
}

static void drop_member(struct metadata_service *leader, uint64_t id)
{
    Group body = GROUP__INIT;
    body.act = GROUP_ACT__GROUP_REMOVE;
    body.member = id;
    enum err e = change(leader, MSG_GROUP, &body.base);
    if (e == OK)
        log_warn("server", "metadata member %016" PRIx64 " is in none of the directories: removed",
                 id);
    else
        log_info("server", "metadata member %016" PRIx64 " is not removed yet: %s", id,
                 err_text(e));
}

static void add_member(struct server *s, struct metadata_service *leader, size_t which)
{
    char address[SYS_ADDR_TEXT];
    Join body = JOIN__INIT;
    body.id = metadata_service_member(s->members[which]);
    body.address = address;
    enum err e = embedded_address(s, s->member_ports[which], address);
    if (e == OK)
        e = change(leader, MSG_JOIN, &body.base);
    if (e == OK)
        log_info("server", "metadata member %016" PRIx64 " votes", body.id);
    else
        log_info("server", "metadata member %016" PRIx64 " does not vote yet: %s", body.id,
                 err_text(e));
}

/* Of the voters that are lost the one whose address a new member takes over, or any; 0: none. */
static uint64_t lost_voter(struct server *s, const struct group *g, size_t fresh)
{
    struct sys_addr a = {0};
    uint64_t lost = 0;
    if (sys_addr_parse(s->config->metadata_listen, &a) != OK)
        a.port = 0;
    for (size_t i = 0; i < g->count; i++) {
        if (g->v[i].here || !g->v[i].voter)
            continue;
        lost = g->v[i].id;
        if (g->v[i].port == a.port + s->member_ports[fresh])
            break;
    }
    return lost;
}

/* M4, the next change. False: none is left. */
static bool regroup_step(struct server *s, struct metadata_service *leader, const struct group *g)
{
    for (size_t i = 0; i < g->count; i++)
        if (!g->v[i].here && !g->v[i].voter) {
            drop_member(leader, g->v[i].id);
            return true;
        }
    for (size_t i = 0; i < s->member_count; i++) {
        if (in_group(g, metadata_service_member(s->members[i]), true))
            continue;
        uint64_t lost = lost_voter(s, g, i);
        if (lost && g->voters >= s->members_wanted)
            drop_member(leader, lost);
        else
            add_member(s, leader, i);
        return true;
    }
    return false;
}

static void regroup_main(void *arg)
{
    struct server *s = arg;
    struct sys_poll stop = {.event = s->stopping};
    bool more = true;
    do {
        struct group g;
        for (size_t i = 0; i < s->member_count; i++)
            if (ask_group(s, s->members[i], &g) == OK &&
                g.leader == metadata_service_member(s->members[i])) {
                more = regroup_step(s, s->members[i], &g);
                break;
            }
        if (!more)
            log_info("server", "%zu of %zu metadata members vote, and all of them are here",
                     g.voters_here, s->members_wanted);
    } while (more && sys_poll(&stop, 1, sys_now() + CHANGE_PAUSE) != OK);
}

enum err embedded_regroup_members(struct server *s)
{
    size_t wanted = s->members_wanted ? s->members_wanted : wanted_by_pool(s->config);
    if (s->member_count < wanted)
        log_warn("server", "%zu metadata members run; the pool's tolerance asks for %zu",
                 s->member_count, wanted);
    return s->members_wanted ? sys_thread_start(&s->regroup, "regroup", 0, regroup_main, s) : OK;
}
