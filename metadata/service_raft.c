#include <string.h>
#include "metadata/raft_codec.h"
#include "metadata/service_internal.h"

/* Messages between members. Sending never blocks the driver: a message that cannot be queued at
 * once is dropped, and Raft repeats what matters. */

/* Locked. */
static struct raft_peer *known_peer(struct metadata_service *s, raft_id id)
{
    for (size_t i = 0; i < s->peer_count; i++)
        if (s->peers[i].id == id)
            return &s->peers[i];
    return NULL;
}

/* Locked. The way to a member at this address. */
static struct raft_peer *peer_of(struct metadata_service *s, raft_id id, const char *address)
{
    struct raft_peer *p = known_peer(s, id);
    if (p && (p->linked || p->gone || strcmp(p->address, address) == 0))
        return p;
    if (!p) {
        if (s->peer_count == SERVICE_PEERS_MAX)
            return NULL;
        p = &s->peers[s->peer_count++];
    }
    memset(p, 0, sizeof *p);
    p->id = id;
    memcpy(p->address, address, strlen(address) + 1);
    struct sys_addr where;
    if (sys_addr_parse(address, &where) != OK ||
        rpc_peer_get(s->config.node, &where, &p->peer) != OK) {
        log_warn("raft", "member %016llx has an address that cannot be used: %s",
                 (unsigned long long)id, address);
        p->peer = NULL;
    }
    return p;
}

void service_raft_configure(struct metadata_service *s, const struct raft_configuration *c)
{
    sys_mutex_lock(&s->lock);
    s->configuration = *c;
    sys_mutex_unlock(&s->lock);
}

/* address: the sender's, NULL within one process. */
static void deliver(struct metadata_service *to, const void *bytes, size_t n, const char *address)
{
    struct raft_message m;
    if (raft_codec_decode(bytes, n, &m) != OK)
        return;
    if (address && address[0] && strlen(address) <= RAFT_ADDRESS_MAX) {
        sys_mutex_lock(&to->lock);
        if (!raft_configuration_find(&to->configuration, m.from))
            (void)peer_of(to, m.from, address);
        sys_mutex_unlock(&to->lock);
    }
    if (driver_receive(to->driver, &m) != OK)
        return; /* dropped: the inbox is full */
}

bool service_peer_enter(struct metadata_service *s, raft_id id, const char *address,
                        struct raft_peer *out)
{
    sys_mutex_lock(&s->lock);
    const struct raft_member *member = raft_configuration_find(&s->configuration, id);
    struct raft_peer *p;
    if (member)
        p = peer_of(s, id, member->address);
    else if (address && address[0] && strlen(address) <= RAFT_ADDRESS_MAX)
        p = peer_of(s, id, address);
    else
        p = known_peer(s, id);
    bool found = p && (p->linked || p->peer);
    if (found) {
        *out = *p;
        s->linked_calls += p->linked != NULL;
    }
    sys_mutex_unlock(&s->lock);
    return found;
}

void service_peer_leave(struct metadata_service *s, const struct raft_peer *peer)
{
    if (!peer->linked)
        return;
    sys_mutex_lock(&s->lock);
    if (--s->linked_calls == 0)
        sys_cond_broadcast(&s->linked_idle);
    sys_mutex_unlock(&s->lock);
}

void service_raft_send(void *service, const struct raft_message *m)
{
    struct metadata_service *s = service;
    struct raft_peer p;
    if (!service_peer_enter(s, m->to, NULL, &p))
        return;
    size_t n = raft_codec_size(m);
    uint8_t *bytes = sys_alloc(n);
    raft_codec_encode(m, bytes);
    if (p.linked) {
        deliver(p.linked, bytes, n, NULL);
    } else {
        RaftBytes body = RAFT_BYTES__INIT;
        body.message = (ProtobufCBinaryData){.len = n, .data = bytes};
        body.address = (char *)(uintptr_t)s->config.address;
        if (rpc_control_notify(p.peer, MSG_RAFT, &body.base) != OK) {
            /* Not connected, or its queue is full: lost, as messages may be. */
        }
    }
    sys_free(bytes);
    service_peer_leave(s, &p);
}

void service_raft_handle(void *service, struct rpc_request *request)
{
    const RaftBytes *body = (const RaftBytes *)rpc_request_body(request);
    if (body)
        deliver(service, body->message.data, body->message.len, body->address);
    rpc_reply(request, OK, NULL, NULL, 0, 0);
}

uint64_t metadata_service_member(const struct metadata_service *s)
{
    return s->identity.member;
}

void metadata_service_link(struct metadata_service *s, struct metadata_service *other)
{
    sys_mutex_lock(&s->lock);
    /* It may have been spoken to already, by its address. */
    struct raft_peer *p = known_peer(s, other->identity.member);
    if (!p && s->peer_count < SERVICE_PEERS_MAX)
        p = &s->peers[s->peer_count++];
    if (p)
        *p = (struct raft_peer){.id = other->identity.member, .linked = other};
    sys_mutex_unlock(&s->lock);
}

void service_raft_unlink(struct metadata_service *s)
{
    for (size_t i = 0; i < s->peer_count; i++) {
        struct metadata_service *other = s->peers[i].linked;
        if (!other)
            continue;
        sys_mutex_lock(&other->lock);
        struct raft_peer *p = known_peer(other, s->identity.member);
        if (p) {
            p->linked = NULL;
            p->gone = true;
        }
        while (other->linked_calls > 0)
            (void)sys_cond_wait(&other->linked_idle, &other->lock, SYS_FOREVER);
        sys_mutex_unlock(&other->lock);
    }
}
