/* The group as this member knows it, and what operators and joining members change of it. */
#include <string.h>
#include "metadata/service_internal.h"

#define GROUP_LIMIT (30 * SYS_SECOND)
#define LOOK_EVERY  (50 * SYS_MS)

void service_group_describe(struct metadata_service *s, struct arena *arena, Members *out)
{
    struct driver_status *status = arena_alloc(arena, sizeof *status);
    driver_status(s->driver, status);
    const struct raft_configuration *c = &status->raft.configuration;
    out->members = arena_alloc(arena, (c->count + 1) * sizeof *out->members);
    for (size_t i = 0; i < c->count; i++) {
        MemberInfo *m = arena_alloc(arena, sizeof *m);
        const struct raft_member_status *known = &status->raft.members[i];
        member_info__init(m);
        m->id = c->members[i].id;
        m->address = arena_string(arena, c->members[i].address);
        m->voter = c->members[i].roles & RAFT_VOTER;
        m->leader = m->id == status->raft.leader;
        m->match = known->match;
        m->reachable = m->id == s->identity.member || known->active;
        m->sending = known->sending;
        m->snapshot_index = known->snapshot_index;
        m->snapshot_offset = known->snapshot_offset;
        out->members[out->n_members++] = m;
    }
    out->leader = status->raft.leader;
    out->term = status->raft.term;
    out->commit = status->raft.commit;
    out->applied = status->applied;
    out->first_index = status->log.first_index;
    out->log_bytes = status->log.used_bytes;
    out->discarded = status->raft.discarded;
    sys_mutex_lock(&s->lock);
    out->installed_index = s->states.installed_index;
    sys_mutex_unlock(&s->lock);
    out->cluster = (ProtobufCBinaryData){
        .len = UUID_BYTES, .data = arena_copy(arena, s->identity.cluster.bytes, UUID_BYTES)};
    out->time = service_log_time(s);
    out->time_held_ns = service_time_held(s, out->time);
    service_notes_describe(s, out);
}

bool metadata_service_votes(const struct metadata_service *s)
{
    struct driver_status *status = sys_alloc(sizeof *status);
    driver_status(s->driver, status);
    const struct raft_member *self =
        raft_configuration_find(&status->raft.configuration, s->identity.member);
    bool votes = self && (self->roles & RAFT_VOTER) &&
                 status->raft.configuration_index <= status->raft.commit;
    sys_free(status);
    return votes;
}

/* Learner first, voter as soon as it has caught up: whoever asks, asks again. Nothing waits here, on a thread
 * that queries need. */
enum err service_group_join(struct metadata_service *s, const Join *body, int64_t deadline)
{
    if (!driver_is_leader(s->driver))
        return ERR_NOT_LEADER;
    if (body->id == 0 || strlen(body->address) > RAFT_ADDRESS_MAX)
        return ERR_INVALID;
    enum err e = driver_change(s->driver, RAFT_ADD_LEARNER, body->id, body->address, deadline);
    if (e != OK && e != ERR_EXISTS)
        return e;
    e = driver_change(s->driver, RAFT_PROMOTE, body->id, NULL, deadline);
    return e == ERR_EXISTS ? OK : e;
}

/* It counts in the joint configuration too, that its change makes: whoever asked wipes its directory, so
 * it must be out before that is said. A second request to remove it finds it gone when it is, and is
 * refused as busy until then; when leadership is lost on the way, the next leader is asked. */
static enum err leave(struct metadata_service *s, uint64_t member, int64_t deadline)
{
    enum err e = driver_change(s->driver, RAFT_REMOVE, member, NULL, deadline);
    if (e != OK)
        return e;
    for (;;) {
        e = driver_change(s->driver, RAFT_REMOVE, member, NULL, deadline);
        if (e != ERR_BUSY)
            return e == ERR_NOT_FOUND ? OK : e;
        if (sys_now() >= deadline || service_stopping(s))
            return ERR_TIMEOUT;
        sys_sleep_until(sys_now() + LOOK_EVERY);
    }
}

enum err service_group_act(struct metadata_service *s, const Group *body, int64_t deadline)
{
    uint64_t index;
    if (body->act == GROUP_ACT__GROUP_COMPACT)
        return driver_compact(s->driver, deadline, &index);
    if (!driver_is_leader(s->driver))
        return ERR_NOT_LEADER;
    if (body->act == GROUP_ACT__GROUP_TRANSFER)
        return driver_transfer(s->driver, body->member, deadline);
    if (body->act == GROUP_ACT__GROUP_REMOVE)
        return leave(s, body->member, deadline);
    return ERR_UNSUPPORTED;
}

void service_group_run(struct metadata_service *s, struct rpc_request *r)
{
    struct arena *arena = rpc_request_arena(r);
    const ProtobufCMessage *body = rpc_request_body(r);
    int64_t limit = sys_now() + GROUP_LIMIT, deadline = rpc_request_deadline(r);
    Members *members = arena_alloc(arena, sizeof *members);
    members__init(members);
    if (deadline > limit)
        deadline = limit;
    enum err e = !body ? ERR_FORMAT
                 : rpc_request_type(r) == MSG_JOIN
                     ? service_group_join(s, (const Join *)body, deadline)
                     : service_group_act(s, (const Group *)body, deadline);
    service_group_describe(s, arena, members);
    rpc_reply(r, e, &members->base, NULL, 0, 0);
}
