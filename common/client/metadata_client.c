#include "common/client/metadata_client.h"
#include <assert.h>
#include <string.h>
#include "common/client/metadata_client_internal.h"
#include "common/proto/message_types.h"
#include "common/sys/log.h"

/* Finding the leader: one call, as many attempts as the deadline allows.
 *
 * The hint is the member that answered last, or the one that a follower named. A refusal that says
 * "not I" costs nothing and is followed at once; everything else backs off with full jitter. The
 * retry budget is charged only where a repeat adds load to a server that is there: after a time-out
 * or ERR_BUSY. A command of which an attempt may have been carried out is repeated until the deadline
 * in any case: the repeat is harmless, and its answer is the only way to know. */

enum { ATTEMPTS_MAX = 200, REDIRECTS_AT_ONCE = 3, EXPIRIES_MAX = 4 };

static enum err add_member(struct metadata_client *c, const char *address)
{
    for (size_t i = 0; i < c->member_count; i++)
        if (!c->members[i].local && strcmp(c->members[i].address, address) == 0)
            return OK;
    if (c->member_count == METADATA_MEMBERS_MAX || strlen(address) >= METADATA_ADDRESS_MAX)
        return ERR_TOO_BIG;
    struct member *m = &c->members[c->member_count++];
    memset(m, 0, sizeof *m);
    memcpy(m->address, address, strlen(address) + 1);
    return OK;
}

enum err metadata_client_new(const struct metadata_client_config *config,
                             struct metadata_client **out)
{
    if (config->address_count + config->local_count == 0)
        return ERR_INVALID;
    struct metadata_client *c = sys_alloc(sizeof *c);
    c->node = config->node;
    c->timeouts = config->timeouts;
    sys_mutex_init(&c->lock);
    retry_budget_init(&c->budget);
    session_init(&c->session, config->name);
    enum err e = config->local_count > METADATA_MEMBERS_MAX ? ERR_TOO_BIG : OK;
    for (size_t i = 0; e == OK && i < config->local_count; i++)
        c->members[c->member_count++] =
            (struct member){.local = true, .functions = config->locals[i]};
    for (size_t i = 0; e == OK && i < config->address_count; i++)
        e = add_member(c, config->addresses[i]);
    if (e != OK) {
        metadata_client_free(c);
        return e;
    }
    *out = c;
    return OK;
}

void metadata_client_free(struct metadata_client *c)
{
    if (!c)
        return;
    session_release(&c->session);
    retry_budget_release(&c->budget);
    sys_mutex_release(&c->lock);
    sys_free(c);
}

/* "host:port" to an address, asking the resolver when it is a name. */
static enum err resolve(const char *text, int64_t deadline, struct sys_addr *out)
{
    if (sys_addr_parse(text, out) == OK)
        return OK;
    const char *colon = strrchr(text, ':');
    char host[METADATA_ADDRESS_MAX];
    unsigned long port = 0;
    if (!colon)
        return ERR_INVALID;
    for (const char *p = colon + 1; *p; p++) {
        if (*p < '0' || *p > '9' || port > UINT16_MAX)
            return ERR_INVALID;
        port = port * 10 + (unsigned long)(*p - '0');
    }
    if (port == 0 || port > UINT16_MAX)
        return ERR_INVALID;
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = 0;
    size_t n = 0;
    enum err e = sys_resolve(host, (uint16_t)port, deadline, out, 1, &n);
    return e == OK && n == 0 ? ERR_NOT_FOUND : e;
}

static const ProtobufCMessageDescriptor *reply_type(uint16_t type)
{
    switch (type) {
    case MSG_COMMAND:
        return &result__descriptor;
    case MSG_QUERY:
        return &answer__descriptor;
    case MSG_MEMBERS:
    case MSG_JOIN:
    case MSG_GROUP:
        return &members__descriptor;
    case MSG_HEARTBEAT:
        return &heartbeat_reply__descriptor;
    case MSG_REPORTS:
        return &reports__descriptor;
    }
    return NULL;
}

/* One attempt at member i. */
static enum err attempt(struct metadata_client *c, size_t i, const struct request_context *request,
                        uint16_t type, const ProtobufCMessage *body, struct arena *arena,
                        ProtobufCMessage **reply)
{
    struct member m;
    sys_mutex_lock(&c->lock);
    m = c->members[i];
    sys_mutex_unlock(&c->lock);
    struct request_context mine = *request;
    int64_t limit = sys_now() + c->timeouts.metadata_call / 2;
    if (limit < mine.deadline)
        mine.deadline = limit;
    if (m.local)
        return m.functions.call(m.functions.context, type, body, arena, mine.deadline, reply);
    if (!m.peer) {
        struct sys_addr address;
        enum err e = resolve(m.address, mine.deadline, &address);
        if (e == OK)
            e = rpc_peer_get(c->node, &address, &m.peer);
        if (e != OK)
            return err_retryable(e) ? e : ERR_UNAVAILABLE;
        sys_mutex_lock(&c->lock);
        if (strcmp(c->members[i].address, m.address) == 0) /* nobody else has its place by now */
            c->members[i].peer = m.peer;
        sys_mutex_unlock(&c->lock);
    }
    return rpc_control_call(m.peer, &mine, type, body, reply_type(type), arena, reply);
}

/* Locked. One of ours, or member_count. */
static size_t find_member(const struct metadata_client *c, const MemberInfo *m)
{
    size_t k = 0;
    while (k < c->member_count &&
           !(c->members[k].local ? c->members[k].functions.id == m->id
                                 : strcmp(c->members[k].address, m->address) == 0))
        k++;
    return k;
}

/* Locked. When there is no other place, a new one takes that of one that is none any more: the first behind
 * the one that was asked, since that is who is asked next. */
static enum err add_listed(struct metadata_client *c, const Members *members, const char *address,
                           size_t asked)
{
    enum err e = add_member(c, address);
    for (size_t i = 1; e != OK && i < c->member_count; i++) {
        size_t k = (asked + i) % c->member_count;
        bool listed = c->members[k].local;
        for (size_t n = 0; !listed && n < members->n_members; n++)
            listed = strcmp(members->members[n]->address, c->members[k].address) == 0;
        if (listed || strlen(address) >= METADATA_ADDRESS_MAX)
            continue;
        c->members[k] = (struct member){0};
        memcpy(c->members[k].address, address, strlen(address) + 1);
        e = OK;
    }
    return e;
}

/* Asks member *target who the members are, and remembers them; *target is the leader then. False when
 * it does not know who leads. */
static bool follow(struct metadata_client *c, const struct request_context *request,
                   struct arena *arena, size_t *target)
{
    Members ask = MEMBERS__INIT;
    ProtobufCMessage *reply = NULL;
    if (attempt(c, *target, request, MSG_MEMBERS, &ask.base, arena, &reply) != OK || !reply)
        return false;
    const Members *members = (const Members *)reply;
    const size_t asked = *target;
    bool found = false;
    sys_mutex_lock(&c->lock);
    for (size_t i = 0; i < members->n_members; i++) {
        const MemberInfo *m = members->members[i];
        size_t k = find_member(c, m);
        if (k == c->member_count &&
            (!m->address[0] || add_listed(c, members, m->address, asked) != OK))
            continue;
        if (m->id == members->leader) {
            found = true;
            *target = find_member(c, m);
        }
    }
    sys_mutex_unlock(&c->lock);
    return found;
}

void metadata_learn(struct metadata_client *c, int64_t deadline)
{
    const struct request_context request = {.deadline = deadline};
    struct arena arena;
    arena_init(&arena);
    sys_mutex_lock(&c->lock);
    size_t target = c->leader;
    bool remote = !c->members[target].local;
    sys_mutex_unlock(&c->lock);
    if (remote && !follow(c, &request, &arena, &target))
        log_line(LOG_DEBUG, "client", "the members could not be asked for, asking again");
    arena_release(&arena);
}

static void note_leader(struct metadata_client *c, size_t i)
{
    sys_mutex_lock(&c->lock);
    c->leader = i;
    sys_mutex_unlock(&c->lock);
}

/* Whoever is next in turn. */
static size_t next_member(struct metadata_client *c, size_t i)
{
    sys_mutex_lock(&c->lock);
    size_t next = (i + 1) % c->member_count;
    sys_mutex_unlock(&c->lock);
    return next;
}

enum err metadata_call(struct metadata_client *c, const struct request_context *request,
                       uint16_t type, const ProtobufCMessage *body, bool any_member,
                       struct arena *arena, ProtobufCMessage **reply, bool *unknown)
{
    const struct retry_policy policy = {
        .base_ns = 10 * SYS_MS, .cap_ns = 400 * SYS_MS, .attempts_max = ATTEMPTS_MAX};
    struct retry retry;
    retry_init(&retry, &policy, NULL, request->deadline);
    retry_budget_earn(&c->budget);
    sys_mutex_lock(&c->lock);
    size_t target = c->leader;
    sys_mutex_unlock(&c->lock);
    unsigned redirects = 0;
    for (;;) {
        *reply = NULL;
        enum err e = attempt(c, target, request, type, body, arena, reply);
        if (e == OK) {
            if (!any_member)
                note_leader(c, target);
            return OK;
        }
        bool known = err_outcome_known(e);
        *unknown |= !known;
        if (e == ERR_NOT_LEADER && follow(c, request, arena, &target)) {
            if (++redirects <= REDIRECTS_AT_ONCE)
                continue;
        } else {
            target = next_member(c, target);
        }
        redirects = 0;
        bool learn = type == MSG_COMMAND && *unknown;
        if ((e == ERR_TIMEOUT || e == ERR_BUSY) && !retry_budget_spend(&c->budget) && !learn)
            return e;
        int64_t until;
        if (!retry_again(&retry, learn && !known ? ERR_TIMEOUT : e, true, &until))
            return e;
        sys_sleep_until(until);
    }
}

static void note_answer(struct metadata_client *c, int64_t time, uint64_t epoch)
{
    sys_mutex_lock(&c->lock);
    if (time > c->log_time)
        c->log_time = time;
    if (epoch > c->epoch)
        c->epoch = epoch;
    sys_mutex_unlock(&c->lock);
}

enum err metadata_query(struct metadata_client *c, const struct request_context *request,
                        const Query *query, struct arena *arena, Answer **answer)
{
    ProtobufCMessage *reply = NULL;
    bool unknown = false;
    *answer = NULL;
    enum err e = metadata_call(c, request, MSG_QUERY, &query->base, false, arena, &reply, &unknown);
    if (e != OK)
        return e;
    if (!reply)
        return ERR_FORMAT;
    *answer = (Answer *)reply;
    note_answer(c, (*answer)->time, (*answer)->epoch);
    return err_from_wire((*answer)->error);
}

/* Once, under a slot of its own. *expired: the group has forgotten the session, and certainly did not
 * carry this out. */
static enum err execute_once(struct metadata_client *c, const struct request_context *request,
                             Command *command, struct arena *arena, Result **result, bool *expired)
{
    struct session_slot *slot;
    *result = NULL;
    *expired = false;
    enum err e = session_acquire(c, request, &slot);
    if (e != OK)
        return e;
    session_stamp(slot, command);
    ProtobufCMessage *reply = NULL;
    bool unknown = false;
    e = metadata_call(c, request, MSG_COMMAND, &command->base, false, arena, &reply, &unknown);
    if (e == OK && !reply)
        e = ERR_FORMAT;
    if (e == OK) {
        *result = (Result *)reply;
        e = err_from_wire((*result)->error);
        note_answer(c, (*result)->time, (*result)->epoch);
    } else if (unknown) {
        e = ERR_UNKNOWN_OUTCOME;
    }
    session_give_back(&c->session, slot, e == ERR_SESSION_EXPIRED);
    if (e != ERR_SESSION_EXPIRED)
        return e;
    /* This attempt was not executed; one before it, whose answer was lost, may have been. */
    *expired = !unknown;
    return unknown ? ERR_UNKNOWN_OUTCOME : e;
}

enum err metadata_execute(struct metadata_client *c, const struct request_context *request,
                          Command *command, struct arena *arena, Result **result)
{
    bool expired = true;
    enum err e = ERR_SESSION_EXPIRED;
    for (int i = 0; expired && i < EXPIRIES_MAX; i++)
        e = execute_once(c, request, command, arena, result, &expired);
    return expired ? ERR_UNAVAILABLE : e;
}

enum err metadata_call_leader(struct metadata_client *c, const struct request_context *request,
                              uint16_t type, const ProtobufCMessage *body, struct arena *arena,
                              ProtobufCMessage **reply)
{
    bool unknown = false;
    return metadata_call(c, request, type, body, false, arena, reply, &unknown);
}

enum err metadata_members(struct metadata_client *c, const struct request_context *request,
                          struct arena *arena, Members **members)
{
    Members ask = MEMBERS__INIT;
    ProtobufCMessage *reply = NULL;
    bool unknown = false;
    enum err e = metadata_call(c, request, MSG_MEMBERS, &ask.base, true, arena, &reply, &unknown);
    if (e == OK && !reply)
        e = ERR_FORMAT;
    *members = e == OK ? (Members *)reply : NULL;
    return e;
}

int64_t metadata_log_time(struct metadata_client *c)
{
    sys_mutex_lock(&c->lock);
    int64_t time = c->log_time;
    sys_mutex_unlock(&c->lock);
    return time;
}

uint64_t metadata_epoch_seen(struct metadata_client *c)
{
    sys_mutex_lock(&c->lock);
    uint64_t epoch = c->epoch;
    sys_mutex_unlock(&c->lock);
    return epoch;
}
