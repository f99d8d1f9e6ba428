/* Control calls: one multiplexed connection per peer, its thread reads the replies.
 *
 * The thread connects when somebody wants it to, and holds the connection with pings until it
 * breaks. A call waits for an attempt that is under way, but not for one that may not begin yet
 * (backoff): then it fails at once, so that its caller can ask another server. */
#include <assert.h>
#include <string.h>
#include "common/rpc/inbox_internal.h"
#include "common/proto/message.h"
#include "common/rpc/peer_internal.h"
#include "common/rpc/wire_internal.h"

/* A call in progress; on its caller's stack. Under peer->lock. */
struct control_call {
    struct sys_cond done;
    uint64_t id;
    bool finished, answered;
    enum err result;
    uint8_t *body; /* sys_alloc */
    size_t body_length;
};

void control_init(struct rpc_peer *p)
{
    struct control *c = &p->control;
    const struct rpc_node_config *config = &p->node->config;
    sys_cond_init(&c->changed);
    breaker_init(&c->breaker, &config->breaker);
    outbox_init(&c->outbox, c->wake, config->control_queue_bytes);
    c->calls = sys_alloc(config->control_calls_max * sizeof(struct control_call *));
}

void control_release(struct rpc_peer *p)
{
    struct control *c = &p->control;
    assert(c->pending == 0 && !c->thread);
    outbox_release(&c->outbox);
    sys_event_free(c->wake);
    sys_cond_release(&c->changed);
    sys_free(c->calls);
}

void control_join(struct rpc_peer *p)
{
    if (p->control.thread)
        sys_thread_join(p->control.thread);
    p->control.thread = NULL;
}

void control_stop(struct rpc_peer *p)
{
    struct control *c = &p->control;
    if (c->socket)
        sys_socket_shutdown(c->socket);
    sys_cond_broadcast(&c->changed);
    sys_event_set(c->wake);
}

/* Under the lock. */
static void finish(struct control_call *call, enum err result, bool answered)
{
    if (call->finished)
        return;
    call->finished = true;
    call->answered = answered;
    call->result = result;
    sys_cond_signal(&call->done);
}

static void take_reply(struct rpc_peer *p, const struct frame_header *h, const uint8_t *body)
{
    struct control *c = &p->control;
    uint8_t *copy = h->body_length ? sys_alloc(h->body_length) : NULL;
    if (copy)
        memcpy(copy, body, h->body_length);
    sys_mutex_lock(&p->lock);
    struct control_call *call = c->calls[h->call % p->node->config.control_calls_max];
    if (call && call->id == h->call && !call->finished) {
        call->body = copy;
        call->body_length = h->body_length;
        copy = NULL;
        finish(call, err_from_wire(h->status), true);
    }
    sys_mutex_unlock(&p->lock);
    sys_free(copy); /* nobody waits for it any more */
}

static void ping(struct rpc_peer *p)
{
    struct frame_header h = {.type = FRAME_TYPE_PING, .epoch = epoch_mine(&p->node->config.epoch)};
    if (outbox_put(&p->control.outbox, p->control.generation, &h, NULL) == OK)
        outbox_flush(&p->control.outbox);
}

static enum err take_arrived(struct rpc_peer *p, struct inbox *in)
{
    struct frame_header h;
    const uint8_t *body;
    enum err e;
    while ((e = inbox_next(in, &h, &body)) == OK) {
        if (!(h.flags & FRAME_REPLY))
            return ERR_FORMAT;
        epoch_seen(&p->node->config.epoch, h.epoch);
        if (h.type < FRAME_TYPE_OWN)
            take_reply(p, &h, body);
    }
    return e == ERR_EMPTY ? OK : e;
}

static bool is_stopping(struct rpc_peer *p)
{
    sys_mutex_lock(&p->lock);
    bool stopping = p->stopping;
    sys_mutex_unlock(&p->lock);
    return stopping;
}

/* Until the connection breaks or the node stops. */
static enum err read_replies(struct rpc_peer *p, struct sys_socket *socket, struct inbox *in)
{
    struct control *c = &p->control;
    const struct timeouts *t = &p->node->config.timeouts;
    int64_t heard = sys_now(), pinged = heard;
    while (!is_stopping(p)) {
        uint8_t want = SYS_READ | (outbox_blocked(&c->outbox) ? SYS_WRITE : 0);
        struct sys_poll v[2] = {{.event = c->wake}, {.socket = socket, .want = want}};
        int64_t next_ping = (heard > pinged ? heard : pinged) + t->heartbeat;
        enum err e = sys_poll(v, 2, next_ping);
        int64_t now = sys_now();
        if (e == OK && v[0].ready)
            sys_event_clear(c->wake);
        if (e == OK && (v[1].ready & SYS_WRITE))
            outbox_unblock(&c->outbox);
        if (e == OK && (v[1].ready & (SYS_READ | SYS_HANGUP))) {
            e = inbox_fill(in, socket);
            if (e == OK) {
                heard = now;
                e = take_arrived(p, in);
            }
            if (e != OK && e != ERR_TIMEOUT)
                return e;
        }
        if (now - heard > t->down_after)
            return ERR_TIMEOUT;
        if (now >= next_ping) {
            pinged = now;
            ping(p);
        }
    }
    return ERR_STOPPING;
}

/* Under the lock: everybody's call of this connection has an unknown outcome. */
static void fail_pending(struct rpc_peer *p)
{
    for (uint32_t i = 0; i < p->node->config.control_calls_max; i++)
        if (p->control.calls[i])
            finish(p->control.calls[i], ERR_CLOSED, false);
}

static void serve_connection(struct rpc_peer *p, struct sys_socket *socket)
{
    struct control *c = &p->control;
    struct inbox in;
    inbox_init(&in);
    uint64_t generation = outbox_open(&c->outbox, socket);
    sys_mutex_lock(&p->lock);
    c->generation = generation;
    c->socket = socket;
    c->state = CONTROL_UP;
    c->attempts++;
    sys_cond_broadcast(&c->changed);
    sys_mutex_unlock(&p->lock);
    int64_t began = sys_now();
    (void)read_replies(p, socket, &in);
    int64_t now = sys_now();
    sys_mutex_lock(&p->lock);
    c->state = CONTROL_DOWN;
    c->socket = NULL;
    /* One that breaks as soon as it is made is no better than none. */
    if (now - began > RPC_SOON_NS)
        reconnect_done(&c->reconnect);
    else
        reconnect_failed(&c->reconnect, ERR_CLOSED, now);
    fail_pending(p);
    breaker_report(&c->breaker, now, false, 0); /* one failure, however many calls it broke */
    sys_mutex_unlock(&p->lock);
    outbox_close(&c->outbox);
    sys_socket_close(socket);
    inbox_release(&in);
}

static void control_run(void *arg)
{
    struct rpc_peer *p = arg;
    struct control *c = &p->control;
    sys_mutex_lock(&p->lock);
    while (!p->stopping) {
        if (c->state != CONTROL_CONNECTING) {
            (void)sys_cond_wait(&c->changed, &p->lock, SYS_FOREVER);
            continue;
        }
        sys_mutex_unlock(&p->lock);
        struct sys_socket *socket;
        enum err e = peer_connect(p, RPC_CONTROL, &socket);
        if (e == OK)
            serve_connection(p, socket);
        int64_t now = sys_now();
        sys_mutex_lock(&p->lock);
        if (e) {
            reconnect_failed(&c->reconnect, e, now);
            c->state = CONTROL_DOWN;
            c->attempts++;
        }
        sys_cond_broadcast(&c->changed);
    }
    sys_mutex_unlock(&p->lock);
}

/* Under the lock. */
static enum err begin_connecting(struct rpc_peer *p, int64_t now)
{
    struct control *c = &p->control;
    if (p->stopping)
        return ERR_STOPPING;
    if (c->state != CONTROL_DOWN)
        return OK;
    if (now < c->reconnect.not_before)
        return c->reconnect.last_error;
    if (!c->thread && sys_thread_start(&c->thread, "rpc-control", PEER_STACK, control_run, p))
        return ERR_BUSY;
    c->state = CONTROL_CONNECTING;
    sys_cond_broadcast(&c->changed);
    return OK;
}

/* Under the lock. */
static enum err await_connection(struct rpc_peer *p, int64_t deadline, int64_t now)
{
    struct control *c = &p->control;
    uint64_t attempts = c->attempts;
    enum err e = begin_connecting(p, now);
    while (!e && c->state != CONTROL_UP) {
        if (p->stopping)
            return ERR_STOPPING;
        if (c->attempts != attempts)
            return c->reconnect.last_error ? c->reconnect.last_error : ERR_UNAVAILABLE;
        if (sys_cond_wait(&c->changed, &p->lock, deadline) == ERR_TIMEOUT)
            return c->state == CONTROL_UP ? OK : ERR_UNAVAILABLE;
    }
    return e;
}

/* Under the lock. */
static enum err enter(struct rpc_peer *p, struct control_call *call)
{
    struct control *c = &p->control;
    uint32_t max = p->node->config.control_calls_max;
    if (c->pending == max)
        return ERR_BUSY;
    while (c->calls[c->next_slot])
        c->next_slot = (c->next_slot + 1) % max;
    call->id = ++c->sequence * max + c->next_slot;
    c->calls[c->next_slot] = call;
    c->next_slot = (c->next_slot + 1) % max;
    c->pending++;
    return OK;
}

static void leave(struct rpc_peer *p, struct control_call *call)
{
    struct control *c = &p->control;
    c->calls[call->id % p->node->config.control_calls_max] = NULL;
    c->pending--;
}

/* Under the lock, which it leaves for the sending. */
static void exchange(struct rpc_peer *p, const struct request_context *context, uint16_t type,
                     const ProtobufCMessage *body, struct control_call *call)
{
    struct control *c = &p->control;
    uint64_t generation = c->generation;
    struct frame_header h = {.type = type, .call = call->id, .trace = context->trace};
    sys_mutex_unlock(&p->lock);
    h.deadline_ms = deadline_to_ms(context->deadline, sys_now());
    h.epoch = epoch_mine(&p->node->config.epoch);
    enum err e = outbox_put(&c->outbox, generation, &h, body);
    if (e == OK)
        outbox_flush(&c->outbox);
    sys_mutex_lock(&p->lock);
    if (e)
        call->finished = true;
    if (e)
        call->result = e == ERR_CLOSED ? ERR_UNAVAILABLE : e;
    while (!call->finished)
        if (sys_cond_wait(&call->done, &p->lock, context->deadline) == ERR_TIMEOUT)
            finish(call, ERR_TIMEOUT, false);
}

enum err rpc_control_call(struct rpc_peer *p, const struct request_context *context, uint16_t type,
                          const ProtobufCMessage *body,
                          const ProtobufCMessageDescriptor *reply_type, struct arena *arena,
                          ProtobufCMessage **reply)
{
    struct control *c = &p->control;
    struct control_call call = {0};
    int64_t started = sys_now();
    if (reply)
        *reply = NULL;
    sys_mutex_lock(&p->lock);
    if (!breaker_allow(&c->breaker, started)) {
        sys_mutex_unlock(&p->lock);
        return ERR_BREAKER_OPEN;
    }
    enum err e = await_connection(p, context->deadline, started);
    if (!e)
        e = enter(p, &call);
    if (!e) {
        sys_cond_init(&call.done);
        exchange(p, context, type, body, &call);
        leave(p, &call);
        e = call.result;
    }
    bool sent = call.id != 0;
    sys_mutex_unlock(&p->lock);
    int64_t now = sys_now();
    sys_mutex_lock(&p->lock);
    if (e == ERR_CLOSED && !call.answered)
        breaker_forget(&c->breaker, now); /* reported once, by the connection's thread */
    else
        breaker_end(&c->breaker, now, call.answered, e, now - started);
    sys_mutex_unlock(&p->lock);
    if (sent)
        sys_cond_release(&call.done);
    if (call.body && reply_type && reply) {
        enum err bad = message_unpack(reply_type, arena, call.body, call.body_length, reply);
        e = bad ? bad : e;
    } else if (call.answered && e == OK && reply_type && reply) {
        e = message_unpack(reply_type, arena, NULL, 0, reply); /* an empty message has no bytes */
    }
    sys_free(call.body);
    return e;
}

enum err rpc_control_notify(struct rpc_peer *p, uint16_t type, const ProtobufCMessage *body)
{
    struct control *c = &p->control;
    int64_t now = sys_now();
    sys_mutex_lock(&p->lock);
    enum err e = begin_connecting(p, now);
    bool up = c->state == CONTROL_UP;
    uint64_t generation = c->generation;
    sys_mutex_unlock(&p->lock);
    if (e)
        return e == ERR_STOPPING ? e : ERR_UNAVAILABLE;
    if (!up)
        return ERR_UNAVAILABLE;
    struct frame_header h = {
        .type = type, .flags = FRAME_ONE_WAY, .epoch = epoch_mine(&p->node->config.epoch)};
    e = outbox_put(&c->outbox, generation, &h, body);
    if (!e)
        outbox_flush(&c->outbox);
    return e == ERR_CLOSED ? ERR_UNAVAILABLE : e;
}
