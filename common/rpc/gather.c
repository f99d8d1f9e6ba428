/* See gather.h and call_internal.h. */
#include "common/rpc/gather.h"
#include <assert.h>
#include "common/rpc/call_internal.h"
#include "common/proto/message.h"

enum { POLL_FIXED = 3 };
_Static_assert(GATHER_CALLS_MAX + POLL_FIXED <= SYS_POLL_MAX, "one poll holds a whole gather");

enum err gather_init(struct gather *g, struct sys_event *local_done,
                     const struct request_context *context)
{
    *g = (struct gather){.context = context};
    struct gather_port *port = sys_alloc(sizeof *port);
    sys_mutex_init(&port->lock);
    port->event = local_done;
    port->references = 1;
    g->port = port;
    sys_event_clear(local_done);
    return OK;
}

static void port_unref(struct gather_port *port)
{
    sys_mutex_lock(&port->lock);
    bool last = --port->references == 0;
    sys_mutex_unlock(&port->lock);
    if (last) {
        sys_mutex_release(&port->lock);
        sys_free(port);
    }
}

struct call *call_add(struct gather *g, uint32_t tag, enum call_kind kind)
{
    if (g->count >= GATHER_CALLS_MAX)
        return NULL;
    struct call *c = sys_alloc(sizeof *c);
    c->g = g;
    c->kind = kind;
    c->port = g->port;
    c->info.tag = tag;
    c->info.started = sys_now();
    c->next = g->calls;
    if (g->calls)
        g->calls->previous = c;
    g->calls = c;
    g->count++;
    g->outstanding++;
    return c;
}

static void unready(struct call *c)
{
    struct gather *g = c->g;
    struct call *before = NULL;
    for (struct call **at = &g->ready; *at; before = *at, at = &(*at)->ready_next) {
        if (*at != c)
            continue;
        *at = c->ready_next;
        if (g->ready_last == c)
            g->ready_last = before;
        break;
    }
    c->ready = false;
}

/* Takes it out of the gather; frees nothing. */
void call_remove(struct call *c)
{
    struct gather *g = c->g;
    if (c->ready)
        unready(c);
    if (c->previous)
        c->previous->next = c->next;
    else
        g->calls = c->next;
    if (c->next)
        c->next->previous = c->previous;
    g->count--;
    if (!c->given_out)
        g->outstanding--;
    c->g = NULL;
}

void call_ready(struct call *c)
{
    struct gather *g = c->g;
    if (c->ready)
        return;
    c->ready = true;
    c->ready_next = NULL;
    if (g->ready_last)
        g->ready_last->ready_next = c;
    else
        g->ready = c;
    g->ready_last = c;
}

void call_end(struct call *c, enum err result, bool answered)
{
    assert(!c->info.finished);
    c->info.finished = true;
    c->info.answered = answered;
    c->info.result = result;
    c->info.ended = sys_now();
    call_ready(c);
}

/* ---- what other threads say ---- */

/* Under port->lock. */
static void arrive(struct call *c)
{
    struct gather_port *port = c->port;
    if (!c->arrived) {
        c->arrived = true;
        c->arrived_next = port->arrived;
        port->arrived = c;
    }
    sys_event_set(port->event);
}

enum err call_new(struct gather *g, uint32_t tag, struct call **out)
{
    *out = call_add(g, tag, CALL_LOCAL);
    if (!*out)
        return ERR_BUSY;
    sys_mutex_lock(&g->port->lock);
    g->port->references++;
    sys_mutex_unlock(&g->port->lock);
    return OK;
}

void call_complete(struct call *c, enum err result, size_t payload_length)
{
    struct gather_port *port = c->port;
    sys_mutex_lock(&port->lock);
    assert(!c->completed && c->kind == CALL_LOCAL);
    c->completed = true;
    c->arrived_result = result;
    c->arrived_length = payload_length;
    bool abandoned = c->abandoned;
    if (!abandoned)
        arrive(c);
    sys_mutex_unlock(&port->lock);
    if (abandoned)
        sys_free(c);
    port_unref(port);
}

bool call_abandoned(const struct call *c)
{
    sys_mutex_lock(&c->port->lock);
    bool abandoned = c->abandoned;
    sys_mutex_unlock(&c->port->lock);
    return abandoned;
}

void call_connected(struct call *c, struct link *link, enum err result)
{
    sys_mutex_lock(&c->port->lock);
    c->connected = true;
    c->arrived_link = link;
    c->arrived_result = result;
    arrive(c);
    sys_mutex_unlock(&c->port->lock);
}

/* One call that was told something; its flags are copied under the lock. */
static void take_news(struct call *c, const struct call *news)
{
    if (news->connected) {
        c->waiting = false;
        remote_connected(c, news->arrived_link, news->arrived_result);
    } else if (news->completed) {
        c->info.payload_length = news->arrived_length;
        call_end(c, news->arrived_result, true);
    }
}

static void take_arrived(struct gather *g)
{
    struct gather_port *port = g->port;
    for (;;) {
        struct call news = {0};
        sys_mutex_lock(&port->lock);
        struct call *c = port->arrived;
        if (c) {
            port->arrived = c->arrived_next;
            c->arrived = false;
            news.connected = c->connected;
            news.completed = c->completed;
            news.arrived_link = c->arrived_link;
            news.arrived_result = c->arrived_result;
            news.arrived_length = c->arrived_length;
            c->connected = false;
        }
        sys_mutex_unlock(&port->lock);
        if (!c)
            return;
        take_news(c, &news);
    }
}

/* ---- the owner's ---- */

static struct call *take_ready(struct gather *g)
{
    struct call *c = g->ready;
    if (!c)
        return NULL;
    g->ready = c->ready_next;
    if (!g->ready)
        g->ready_last = NULL;
    c->ready = c->credit = false;
    if (c->info.finished) {
        assert(!c->given_out);
        c->given_out = true;
        g->outstanding--;
    }
    return c;
}

struct waiting {
    struct sys_poll v[GATHER_CALLS_MAX + POLL_FIXED];
    struct call *call[GATHER_CALLS_MAX + POLL_FIXED];
    size_t n;
    int64_t expires;
};

static void collect(struct gather *g, struct waiting *w)
{
    w->v[0] = (struct sys_poll){.event = g->port->event};
    w->v[1] = (struct sys_poll){.event = g->context->cancel};
    w->v[2] = (struct sys_poll){.socket = g->context->client};
    w->n = POLL_FIXED;
    w->expires = SYS_FOREVER;
    for (struct call *c = g->calls; c; c = c->next) {
        if (c->kind == CALL_LOCAL || c->info.finished)
            continue;
        int64_t expires = remote_expires(c);
        if (expires < w->expires)
            w->expires = expires;
        if (!c->link)
            continue;
        w->v[w->n] = (struct sys_poll){.socket = c->link->socket, .want = remote_wants(c)};
        w->call[w->n++] = c;
    }
}

static enum err wait_once(struct gather *g, int64_t limit)
{
    struct waiting w;
    collect(g, &w);
    enum err e = sys_poll(w.v, w.n, limit < w.expires ? limit : w.expires);
    int64_t now = sys_now();
    if (e == OK) {
        if (w.v[1].ready || (w.v[2].ready & SYS_HANGUP))
            return ERR_CLIENT_GONE;
        if (w.v[0].ready)
            sys_event_clear(g->port->event);
        for (size_t i = POLL_FIXED; i < w.n; i++)
            if (w.v[i].ready)
                remote_move(w.call[i], w.v[i].ready, now);
    }
    /* After the sockets were looked at: an owner who was away for long finds what came meanwhile. */
    for (struct call *c = g->calls; c; c = c->next)
        if (c->kind != CALL_LOCAL && !c->info.finished && remote_expires(c) <= now)
            remote_expire(c);
    return OK;
}

enum err gather_next(struct gather *g, int64_t until, struct call **out)
{
    int64_t limit = until < g->context->deadline ? until : g->context->deadline;
    for (bool looked = false;; looked = true) {
        take_arrived(g);
        *out = take_ready(g);
        if (*out)
            return OK;
        if (g->outstanding == 0)
            return ERR_EMPTY;
        if (looked && sys_now() >= limit)
            return ERR_TIMEOUT;
        enum err e = wait_once(g, limit);
        if (e)
            return e;
    }
}

struct call_info call_info(const struct call *c)
{
    return c->info;
}

enum err call_reply(const struct call *c, const ProtobufCMessageDescriptor *type,
                    struct arena *arena, ProtobufCMessage **out)
{
    *out = NULL;
    if (!c->info.finished || !c->info.answered || c->kind == CALL_LOCAL)
        return OK;
    /* An empty message has no bytes: beside OK it is one, beside an error it is none. */
    if (c->info.body_length == 0 && c->info.result != OK)
        return OK;
    return message_unpack(type, arena, c->info.body, c->info.body_length, out);
}

/* Drops what was told and not looked at yet; a connection among it goes back. After this a local call
 * that is not completed belongs to whoever completes it. */
static struct link *unarrive(struct call *c, bool *completed)
{
    struct gather_port *port = c->port;
    struct link *link = NULL;
    sys_mutex_lock(&port->lock);
    if (c->arrived) {
        struct call **at = &port->arrived;
        while (*at != c)
            at = &(*at)->arrived_next;
        *at = c->arrived_next;
        c->arrived = false;
        if (c->connected)
            link = c->arrived_link;
    }
    c->abandoned = true;
    *completed = c->completed;
    sys_mutex_unlock(&port->lock);
    return link;
}

void gather_cancel(struct gather *g, struct call *c)
{
    assert(c->g == g);
    call_remove(c);
    bool completed;
    if (c->kind == CALL_LOCAL) {
        (void)unarrive(c, &completed);
        if (completed)
            sys_free(c); /* else call_complete does */
        return;
    }
    if (c->waiting && !pool_leave(c->peer, c))
        c->link = unarrive(c, &completed);
    remote_cancel(c);
    sys_free(c);
}

void gather_release(struct gather *g)
{
    if (!g->port)
        return;
    while (g->calls)
        gather_cancel(g, g->calls);
    sys_mutex_lock(&g->port->lock);
    g->port->event = NULL;
    sys_mutex_unlock(&g->port->lock);
    port_unref(g->port);
    g->port = NULL;
}
