/* Harm at the one moment that exactly-once is about: a write has been applied, and whoever asked for it has
 * not been told. The connection goes, at one end or both; or the gateway, or the member; or the answer does
 * not pass until the gateway has given up and its client tries again. */
#include "common/proto/command.pb-c.h"
#include "common/proto/message.h"
#include "common/sys/sim/sim.h"
#include "tests/sim/nemesis.h"

enum { POINTS = 40 };

bool replies_strike(struct nemesis *n)
{
    if (n->reply.armed)
        return false;
    n->reply.armed = true;
    n->reply.conditional = nemesis_below(&n->dice, 4) > 0;
    n->reply.dice = nemesis_below(&n->dice, UINT64_MAX);
    return true;
}

static bool is_conditional(const Conditions *c)
{
    return c && (c->if_absent || c->if_match_etag.len > 0);
}

static bool is_write(const Command *c, bool conditional)
{
    switch (c->body_case) {
    case COMMAND__BODY_PUT_OBJECT:
        return !conditional || is_conditional(c->put_object->conditions);
    case COMMAND__BODY_DELETE_OBJECTS:
        return !conditional || is_conditional(c->delete_objects->conditions);
    case COMMAND__BODY_COMPLETE_UPLOAD:
        return !conditional;
    default:
        return false;
    }
}

/* The host of a member by its process; 0: of the embedded form, whose calls need no network. */
static uint32_t member_host(const struct sim_cluster *c, int pid)
{
    for (uint32_t i = 0; i < c->metadata_count; i++)
        if (c->metadata[i] == pid)
            return 1 + i;
    return 0;
}

/* The client's process may be the one that is running: at one of its next primitives. */
static void crash_soon(struct nemesis *n, int pid)
{
    sim_restart_after(pid, nemesis_time(&n->reply.dice, 2 * SYS_SECOND));
    sim_crash_at(pid, 1 + nemesis_below(&n->reply.dice, POINTS));
}

static void strike(struct nemesis *n, uint32_t host)
{
    uint64_t kind = nemesis_below(&n->reply.dice, 8);
    if (host == 0) {
        crash_soon(n, sim_self());
        return;
    }
    if (kind == 0) {
        sim_reset_connections(SIM_CLIENT_HOST, host);
    } else if (kind == 1) {
        sim_half_open(host, SIM_CLIENT_HOST);
    } else if (kind <= 4) { /* what it has applied is mostly durable by then */
        sim_reset_connections(SIM_CLIENT_HOST, host);
        crash_soon(n, sim_self());
    } else if (kind == 5) {
        sim_restart_after(n->f->cluster->client, nemesis_time(&n->reply.dice, 2 * SYS_SECOND));
        sim_crash(n->f->cluster->client);
    } else if (nemesis_undo_after(n, UNDO_CUT, host, SIM_CLIENT_HOST,
                                  nemesis_time(&n->reply.dice, 12 * SYS_SECOND))) {
        sim_cut(host, SIM_CLIENT_HOST, true);
    }
}

/* An object that is there has its shards. In the embedded form everything goes. */
static void outage(struct nemesis *n, const Command *command)
{
    struct sim_cluster *c = n->f->cluster;
    if (!n->outage.armed || command->body_case != COMMAND__BODY_PUT_OBJECT ||
        command->put_object->n_durable == 0)
        return;
    n->outage.armed = false;
    if (c->embedded) {
        sim_restart_after(sim_self(), nemesis_time(&n->outage.dice, 2 * SYS_SECOND));
        sim_crash_at(sim_self(), 1 + nemesis_below(&n->outage.dice, POINTS));
    }
    for (uint32_t i = 0; i < c->chunk_count; i++) {
        sim_restart_after(c->chunks[i], nemesis_time(&n->outage.dice, 3 * SYS_SECOND));
        sim_crash(c->chunks[i]);
    }
}

void nemesis_applied(void *nemesis, uint64_t index, const void *command, size_t bytes)
{
    struct nemesis *n = nemesis;
    struct arena arena;
    ProtobufCMessage *m = NULL;
    if (index <= n->reply.applied)
        return;
    n->reply.applied = index;
    if (!n->reply.armed && !n->outage.armed)
        return;
    arena_init(&arena);
    bool wanted = false;
    if (message_unpack(&command__descriptor, &arena, command, bytes, &m) == OK) {
        outage(n, (const Command *)m);
        wanted = n->reply.armed && is_write((const Command *)m, n->reply.conditional);
    }
    arena_release(&arena);
    if (!wanted)
        return;
    n->reply.armed = false;
    strike(n, member_host(n->f->cluster, sim_self()));
}
