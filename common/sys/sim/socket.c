/* Sockets of sys.h over the streams of network.c. Sends and receives are short now and then. */
#include <stdlib.h>
#include <string.h>
#include "common/sys/sim/network_internal.h"

enum {
    POINT_RESOLVE = 48,
    POINT_LISTEN,
    POINT_ACCEPT,
    POINT_CONNECT,
    POINT_SEND,
    POINT_RECV,
    POINT_CLOSE
};
enum { SHORT_ONE_IN = 8, FIRST_FREE_PORT = 20000, SILENT_ONE_IN = 8 };

/* ---- addresses ---- */

static const uint8_t v4_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

struct sys_addr sim_addr(uint32_t host, uint16_t port)
{
    assert(host <= UINT16_MAX);
    struct sys_addr a = {.port = port};
    memcpy(a.host, v4_prefix, sizeof v4_prefix);
    a.host[12] = 10;
    a.host[14] = (uint8_t)(host >> 8);
    a.host[15] = (uint8_t)host;
    return a;
}

/* 10.0.x.y is a host; 127.*, 0.0.0.0, ::1 and :: mean one's own. 0: nobody's. */
static uint32_t host_of(const struct sys_addr *a)
{
    static const uint8_t zero[15];
    uint32_t own = sim_process()->host ? sim_process()->host->number : 0;
    if (memcmp(a->host, v4_prefix, sizeof v4_prefix) != 0)
        return memcmp(a->host, zero, 15) == 0 && a->host[15] <= 1 ? own : 0;
    if (a->host[12] == 127 || memcmp(a->host + 12, zero, 4) == 0)
        return own;
    return a->host[12] == 10 && a->host[13] == 0 ? (uint32_t)a->host[14] << 8 | a->host[15] : 0;
}

static bool numeric_host(const char *host, struct sys_addr *out)
{
    char text[SYS_ADDR_TEXT];
    size_t n = strlen(host);
    if (n + 5 >= sizeof text)
        return false;
    bool v6 = strchr(host, ':') != NULL;
    memcpy(text, "[", 1);
    memcpy(text + v6, host, n);
    memcpy(text + v6 + n, v6 ? "]:0" : ":0", v6 ? 4 : 3);
    return sys_addr_parse(text, out) == OK;
}

enum err sys_resolve(const char *host, uint16_t port, int64_t deadline, struct sys_addr *out,
                     size_t max, size_t *n)
{
    (void)deadline;
    sim_enter();
    sim_point_io(POINT_RESOLVE);
    sim_leave();
    *n = 0;
    struct sys_addr a;
    if (strcmp(host, "localhost") == 0)
        host = "127.0.0.1";
    if (strncmp(host, "host", 4) == 0 && host[4]) {
        char *end;
        unsigned long number = strtoul(host + 4, &end, 10);
        if (*end || number == 0 || number > UINT16_MAX)
            return ERR_NOT_FOUND;
        a = sim_addr((uint32_t)number, 0);
    } else if (!numeric_host(host, &a)) {
        return ERR_NOT_FOUND;
    }
    if (max == 0)
        return ERR_NOT_FOUND;
    a.port = port;
    out[0] = a;
    *n = 1;
    return OK;
}

/* ---- listening and connecting ---- */

static struct sys_socket *find_listener(uint32_t host, uint16_t port)
{
    for (struct sys_socket *l = world.listeners; l; l = l->next_listener)
        if (l->object.process->host->number == host && l->local.port == port)
            return l;
    return NULL;
}

static uint16_t free_port(struct host *h)
{
    for (int i = 0; i <= UINT16_MAX; i++) {
        if (h->next_port < FIRST_FREE_PORT)
            h->next_port = FIRST_FREE_PORT;
        uint16_t port = h->next_port++;
        if (!find_listener(h->number, port))
            return port;
    }
    sim_fail("host %u has no free port", h->number);
}

enum err sys_listen(const struct sys_addr *a, struct sys_socket **out)
{
    sim_enter();
    sim_point_io(POINT_LISTEN);
    struct host *h = sim_process()->host;
    enum err e = OK;
    uint16_t port = a->port ? a->port : free_port(h);
    if (host_of(a) != h->number) {
        e = ERR_INVALID;
    } else if (find_listener(h->number, port)) {
        e = ERR_ADDRESS_IN_USE;
    } else {
        struct sys_socket *s = object_new(OBJECT_SOCKET, sizeof *s);
        s->listener = true;
        s->local = *a;
        s->local.port = port;
        s->next_listener = world.listeners;
        world.listeners = s;
        *out = s;
    }
    sim_leave();
    return e;
}

enum err sys_accept(struct sys_socket *listener, int64_t deadline, struct sys_socket **out)
{
    sim_enter();
    sim_point_io(POINT_ACCEPT);
    assert(listener->listener);
    enum err e = OK;
    while (!e && listener->backlog_count == 0) {
        if (listener->shut_read) {
            e = ERR_CLOSED;
            break;
        }
        wait_add(&listener->waiters);
        if (sim_block(deadline, "a connection to accept") == WAKE_TIMEOUT &&
            listener->backlog_count == 0)
            e = ERR_TIMEOUT;
    }
    if (!e) {
        *out = listener->backlog[0];
        listener->backlog_count--;
        memmove(listener->backlog, listener->backlog + 1,
                listener->backlog_count * sizeof *listener->backlog);
        SYNC_ACQUIRE(*out);
    }
    sim_leave();
    return e;
}

static struct sys_socket *establish(struct sys_socket *listener, uint32_t host)
{
    struct sys_socket *mine = object_new(OBJECT_SOCKET, sizeof *mine);
    struct sys_socket *theirs =
        object_new_in(listener->object.process, OBJECT_SOCKET, sizeof *theirs);
    struct host *own = sim_process()->host;
    mine->local = sim_addr(own->number, free_port(own));
    mine->peer = sim_addr(host, listener->local.port);
    theirs->local = mine->peer;
    theirs->peer = mine->local;
    stream_pair(mine, theirs);
    listener->backlog[listener->backlog_count++] = theirs;
    wait_wake_all(&listener->waiters);
    return mine;
}

/* One try to connect takes a way there and back; a lost first packet is sent again. */
static enum err try_connect(uint32_t from, uint32_t to, uint16_t port, struct sys_socket **out)
{
    if (!host_find(to) || network_is_cut(from, to) || network_is_cut(to, from))
        return ERR_BUSY;
    struct sys_socket *l = find_listener(to, port);
    if (!l || l->shut_read)
        return ERR_REFUSED;
    if (l->backlog_count == BACKLOG)
        return ERR_BUSY;
    *out = establish(l, to);
    return OK;
}

enum err sys_connect(const struct sys_addr *a, int64_t deadline, struct sys_socket **out)
{
    sim_enter();
    sim_point_io(POINT_CONNECT);
    uint32_t from = sim_process()->host->number, to = host_of(a);
    int64_t wait = network_delay(from, to) + network_delay(to, from);
    enum err e = network_fails() ? ERR_REFUSED : ERR_BUSY;
    while (e == ERR_BUSY) {
        int64_t at = world.now + wait;
        if (at > deadline) {
            if (deadline > world.now)
                sim_sleep(deadline - world.now);
            e = ERR_TIMEOUT;
            break;
        }
        sim_sleep(wait);
        e = try_connect(from, to, a->port, out);
        wait = wait < SYS_SECOND / 10 ? SYS_SECOND / 10 : wait < 2 * SYS_SECOND ? 2 * wait : wait;
    }
    sim_leave();
    return e;
}

/* ---- sending and receiving ---- */

static size_t sometimes_short(size_t n)
{
    return n > 1 && sim_below(SHORT_ONE_IN) == 0 ? 1 + sim_below(n - 1) : n;
}

static size_t send_now(struct sys_socket *s, const struct sys_slice *v, size_t n, size_t room)
{
    size_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += v[i].length;
    size_t take = sometimes_short(total < room ? total : room);
    uint8_t *joined = world_alloc(take);
    for (size_t i = 0, at = 0; i < n && at < take; i++) {
        size_t part = v[i].length < take - at ? v[i].length : take - at;
        if (part)
            memcpy(joined + at, v[i].data, part);
        at += part;
    }
    sim_trace_bytes(joined, take);
    if (take) {
        if (s->out->reader)
            SYNC_RELEASE(s->out->reader);
        stream_put(s->out, PACKET_DATA, joined, take);
    }
    world_free(joined);
    return take;
}

enum err sys_send(struct sys_socket *s, const struct sys_slice *v, size_t n, bool more,
                  int64_t deadline, size_t *done)
{
    assert(n > 0 && n <= SYS_SLICES_MAX && !s->listener);
    (void)more;
    sim_enter();
    sim_point_io(POINT_SEND);
    *done = 0;
    enum err e = OK;
    if (network_fails() || (world.mean_resets && sim_below(world.mean_resets) == 0))
        connection_break(s);
    for (;;) {
        if (s->reset || s->shut_write) {
            e = ERR_CLOSED;
            break;
        }
        if (s->out->unread < WINDOW) {
            *done = send_now(s, v, n, WINDOW - s->out->unread);
            break;
        }
        wait_add(&s->waiters);
        if (sim_block(deadline, "room to send") == WAKE_TIMEOUT && s->out->unread >= WINDOW) {
            e = ERR_TIMEOUT;
            break;
        }
    }
    sim_leave();
    return e;
}

enum err sys_recv(struct sys_socket *s, void *out, size_t max, int64_t deadline, size_t *done)
{
    assert(max > 0 && !s->listener);
    sim_enter();
    sim_point_io(POINT_RECV);
    *done = 0;
    enum err e = OK;
    if (network_fails())
        connection_break(s);
    while (!e && s->in->arrived_bytes == 0) {
        if (s->in->fin_arrived || s->reset || s->shut_read) {
            e = ERR_CLOSED;
        } else {
            wait_add(&s->waiters);
            if (sim_block(deadline, "bytes to receive") == WAKE_TIMEOUT &&
                s->in->arrived_bytes == 0)
                e = ERR_TIMEOUT;
        }
    }
    if (!e) {
        SYNC_ACQUIRE(s);
        size_t most = max < s->in->arrived_bytes ? max : s->in->arrived_bytes;
        *done = stream_read(s->in, out, sometimes_short(most));
    }
    sim_leave();
    return e;
}

uint8_t socket_ready(const struct sys_socket *s, uint8_t want)
{
    uint8_t ready = 0;
    if (s->listener) {
        if ((want & SYS_READ) && (s->backlog_count > 0 || s->shut_read))
            ready |= SYS_READ;
        return s->shut_read ? ready | SYS_HANGUP : ready;
    }
    bool ended = s->in->fin_arrived || s->reset || s->shut_read;
    if ((want & SYS_READ) && (s->in->arrived_bytes > 0 || ended))
        ready |= SYS_READ;
    if ((want & SYS_WRITE) && (s->out->unread < WINDOW || s->reset || s->shut_write))
        ready |= SYS_WRITE;
    if (ended)
        ready |= SYS_HANGUP;
    if (ready)
        SYNC_ACQUIRE((void *)(uintptr_t)s);
    return ready;
}

struct wait_list *socket_waiters(struct sys_socket *s)
{
    return &s->waiters;
}

/* ---- ending ---- */

static void shut(struct sys_socket *s, bool both)
{
    if (s->listener) {
        s->shut_read = true;
    } else {
        s->shut_read = s->shut_read || both;
        if (!s->shut_write && !s->reset)
            stream_put(s->out, PACKET_FIN, NULL, 0);
        s->shut_write = true;
    }
    SYNC_RELEASE(s);
    wait_wake_all(&s->waiters);
}

void sys_socket_shutdown(struct sys_socket *s)
{
    sim_enter();
    shut(s, true);
    sim_leave();
}

void sys_socket_shutdown_write(struct sys_socket *s)
{
    sim_enter();
    shut(s, false);
    sim_leave();
}

/* What the peer hears: a FIN; a reset when something stayed unread, as from Linux; after a crash
 * either, and sometimes nothing for long, as from a machine that lost power. */
static void farewell(struct sys_socket *s, bool crash)
{
    if (s->reset || !s->out->reader)
        return;
    if (crash && sim_below(SILENT_ONE_IN) == 0) {
        int64_t late = 2 * SYS_SECOND + (int64_t)sim_below(28 * (uint64_t)SYS_SECOND);
        stream_put_at(s->out, PACKET_RESET, NULL, 0, world.now + late);
    } else if (s->in->unread > 0 || (crash && sim_below(2) == 0)) {
        stream_put(s->out, PACKET_RESET, NULL, 0);
    } else if (!s->shut_write) {
        stream_put(s->out, PACKET_FIN, NULL, 0);
    }
}

void socket_destroy(struct sys_socket *s, bool crash)
{
    if (s->listener) {
        for (struct sys_socket **at = &world.listeners; *at; at = &(*at)->next_listener)
            if (*at == s) {
                *at = s->next_listener;
                break;
            }
        /* When the process ends its object list frees these anyway. */
        while (s->backlog_count > 0)
            socket_destroy(s->backlog[--s->backlog_count], crash);
    } else {
        /* One of a dying process' backlog may go before its listener. */
        for (struct sys_socket *l = world.listeners; l; l = l->next_listener)
            for (size_t i = 0; i < l->backlog_count; i++)
                if (l->backlog[i] == s) {
                    l->backlog_count--;
                    memmove(l->backlog + i, l->backlog + i + 1,
                            (l->backlog_count - i) * sizeof *l->backlog);
                    break;
                }
        if (!world.ending)
            farewell(s, crash);
        stream_leave(s);
    }
    wait_release(&s->waiters);
    object_free(s);
}

void sys_socket_close(struct sys_socket *s)
{
    if (!s)
        return;
    sim_enter();
    assert(s->object.process == sim_process());
    socket_destroy(s, false);
    sim_point(POINT_CLOSE);
    sim_leave();
}

struct sys_addr sys_socket_peer(const struct sys_socket *s)
{
    return s->peer;
}

struct sys_addr sys_socket_local(const struct sys_socket *s)
{
    return s->local;
}

void sys_socket_borrow(int descriptor, struct sys_socket **out)
{
    (void)out;
    sim_fail("the simulator has no descriptor %d to borrow", descriptor);
}

void sys_socket_release(struct sys_socket *s)
{
    (void)s;
    sim_fail("the simulator lends no sockets");
}
