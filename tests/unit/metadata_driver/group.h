/* Metadata members as simulated processes: a driver each, over plain sockets, its state in kv; and a
 * client in each that proposes and reads while its member leads. What the world saw is kept outside
 * of the processes, so that their crashes do not take it along. */
#pragma once
#include <stdio.h>
#include <string.h>
#include "common/base/cursor.h"
#include "common/base/digest.h"
#include "common/kv/kv.h"
#include "common/sys/sim/sim.h"
#include "metadata/driver.h"
#include "metadata/raft_codec.h"
#include "tests/unit/suite.h"

enum {
    GROUP_MEMBERS = 3,
    GROUP_ENTRIES_MAX = 100000,
    GROUP_PORT = 700,
    GROUP_HOST = 10,
    GROUP_OUTBOX = 256,
    GROUP_CONNECTIONS = 16,
};

#define GROUP_TICK (20 * SYS_MS) /* when they are apart */

struct group_member {
    struct group *group;
    int pid, number;
    bool created, running;
    uint64_t life; /* counts its starts */
    struct raft_status raft;
    uint64_t applied;
};
struct group {
    struct group_member members[GROUP_MEMBERS];
    uint64_t segment_bytes, cache_bytes;
    size_t command_bytes;
    /* By index: a digest of what was applied there first, 0: nothing yet. */
    uint64_t applied[GROUP_ENTRIES_MAX];
    uint64_t highest_acknowledged, acknowledged, reads;
    uint64_t differing, lost_replies, stale_reads; /* must stay 0 */
    bool quiet;                                    /* clients rest */
    int64_t lease;                                 /* driver_options.lease */
    uint32_t election_max;                         /* ticks; 0: the default */
    raft_id transfer_to;
    bool apart;           /* all but the first count much shorter ticks, and want leases as short */
    int silent, transfer; /* members, less 1: its client only reads; it hands leadership over */
    int pause; /* this member, less 1, is put to sleep between a leased answer and its read */
    uint64_t leased, again; /* reads that a lease answered; that had to be done again */
    uint64_t messages;      /* sent by the leader */
};

/* A bounded outbox per peer, sent by a thread of its own. */
struct group_peer {
    struct group_node *node;
    int number;
    struct sys_mutex lock;
    struct sys_cond wake;
    struct sys_slice queue[GROUP_OUTBOX];
    size_t first, count;
    bool stopping;
    struct sys_thread *thread;
};
struct group_connection {
    struct sys_socket *socket;
    uint8_t *bytes;
    size_t n, capacity;
};
struct group_node {
    struct group_member *member;
    struct driver *driver;
    struct kv *kv;
    uint64_t applied;
    struct group_peer peers[GROUP_MEMBERS];
    struct sys_socket *listener;
    struct sys_thread *receiver, *client;
    struct sys_event *stop;
};

static inline raft_id group_id(int number)
{
    return (raft_id)(0x1000 + 7 * number);
}

static inline void group_send(void *arg, const struct raft_message *m)
{
    struct group_node *node = arg;
    for (int i = 0; i < GROUP_MEMBERS; i++) {
        struct group_peer *p = &node->peers[i];
        if (m->to != group_id(i) || !p->thread)
            continue;
        size_t n = raft_codec_size(m);
        uint8_t *bytes = sys_alloc(n + 4);
        struct writer w;
        writer_init(&w, bytes, 4);
        write_u32(&w, (uint32_t)n);
        raft_codec_encode(m, bytes + 4);
        sys_mutex_lock(&p->lock);
        if (p->count < GROUP_OUTBOX) {
            p->queue[(p->first + p->count++) % GROUP_OUTBOX] = (struct sys_slice){bytes, n + 4};
            bytes = NULL;
        }
        sys_cond_signal(&p->wake);
        sys_mutex_unlock(&p->lock);
        sys_free(bytes);
    }
}

static inline bool group_send_all(struct sys_socket *s, struct sys_slice all)
{
    size_t at = 0;
    while (at < all.length) {
        struct sys_slice rest = {(const uint8_t *)all.data + at, all.length - at};
        size_t done;
        if (sys_send(s, &rest, 1, false, sys_now() + 2 * SYS_SECOND, &done))
            return false;
        at += done;
    }
    return true;
}

static inline void group_peer_run(void *arg)
{
    struct group_peer *p = arg;
    struct sys_socket *s = NULL;
    struct sys_addr to = sim_addr((uint32_t)(GROUP_HOST + p->number), GROUP_PORT);
    sys_mutex_lock(&p->lock);
    while (!p->stopping) {
        if (p->count == 0) {
            (void)sys_cond_wait(&p->wake, &p->lock, SYS_FOREVER);
            continue;
        }
        struct sys_slice m = p->queue[p->first];
        p->first = (p->first + 1) % GROUP_OUTBOX;
        p->count--;
        sys_mutex_unlock(&p->lock);
        if (!s && sys_connect(&to, sys_now() + SYS_SECOND, &s))
            s = NULL;
        if (s && !group_send_all(s, m)) {
            sys_socket_close(s);
            s = NULL;
        }
        sys_free((void *)(uintptr_t)m.data);
        sys_mutex_lock(&p->lock);
    }
    for (; p->count; p->count--, p->first = (p->first + 1) % GROUP_OUTBOX)
        sys_free((void *)(uintptr_t)p->queue[p->first].data);
    sys_mutex_unlock(&p->lock);
    if (s)
        sys_socket_close(s);
}

static inline void group_drop(struct group_connection *c)
{
    if (c->socket)
        sys_socket_close(c->socket);
    sys_free(c->bytes);
    *c = (struct group_connection){0};
}

static inline void group_receive(struct group_node *node, struct group_connection *c)
{
    if (c->capacity - c->n < 65536) {
        c->capacity = c->n + 131072;
        c->bytes = sys_realloc(c->bytes, c->capacity);
    }
    size_t done;
    if (sys_recv(c->socket, c->bytes + c->n, c->capacity - c->n, sys_now(), &done)) {
        group_drop(c);
        return;
    }
    c->n += done;
    size_t at = 0;
    while (c->n - at >= 4) {
        struct reader r;
        reader_init(&r, c->bytes + at, 4);
        size_t n = read_u32(&r);
        if (c->n - at - 4 < n)
            break;
        struct raft_message m;
        if (CHECK_OK(raft_codec_decode(c->bytes + at + 4, n, &m)) &&
            driver_receive(node->driver, &m))
            break;
        at += 4 + n;
    }
    memmove(c->bytes, c->bytes + at, c->n - at);
    c->n -= at;
}

static inline void group_receiver_run(void *arg)
{
    struct group_node *node = arg;
    struct group_connection c[GROUP_CONNECTIONS] = {0};
    while (!sys_event_is_set(node->stop)) {
        struct sys_poll v[GROUP_CONNECTIONS + 2] = {{.event = node->stop},
                                                    {.socket = node->listener, .want = SYS_READ}};
        for (int i = 0; i < GROUP_CONNECTIONS; i++)
            v[i + 2] = (struct sys_poll){.socket = c[i].socket, .want = SYS_READ};
        if (sys_poll(v, GROUP_CONNECTIONS + 2, sys_now() + SYS_SECOND))
            continue;
        for (int i = 0; i < GROUP_CONNECTIONS; i++)
            if (v[i + 2].ready)
                group_receive(node, &c[i]);
        if (!v[1].ready)
            continue;
        int free_slot = 0;
        while (free_slot < GROUP_CONNECTIONS - 1 && c[free_slot].socket)
            free_slot++;
        group_drop(&c[free_slot]);
        if (sys_accept(node->listener, sys_now(), &c[free_slot].socket))
            c[free_slot].socket = NULL;
    }
    for (int i = 0; i < GROUP_CONNECTIONS; i++)
        group_drop(&c[i]);
}

static inline void group_index_key(uint64_t index, uint8_t key[9])
{
    struct writer w;
    writer_init(&w, key, 9);
    write_u8(&w, 'e');
    write_u64_be(&w, index);
}

static inline enum err group_apply(void *arg, struct driver_entry *entries, size_t n)
{
    struct group_node *node = arg;
    struct group *g = node->member->group;
    struct kv_batch *b = kv_batch_new();
    for (size_t i = 0; i < n; i++) {
        struct driver_entry *e = &entries[i];
        suite_check(e->index == node->applied + 1, __FILE__, __LINE__, "member %d: %llu after %llu",
                    node->member->number, (unsigned long long)e->index,
                    (unsigned long long)node->applied);
        node->applied = e->index;
        uint64_t digest = xxh64(e->data, e->length, e->term * 16 + (uint64_t)e->type) | 1;
        uint8_t key[9];
        group_index_key(e->index, key);
        kv_batch_put(b, (struct kv_slice){key, 9}, (struct kv_slice){&digest, 8});
        if (g->applied[e->index] && g->applied[e->index] != digest)
            g->differing++;
        g->applied[e->index] = digest;
        driver_entry_reply(e, &digest, 8);
    }
    kv_batch_put(b, (struct kv_slice){"applied", 7}, (struct kv_slice){&node->applied, 8});
    enum err e = kv_write(node->kv, b, true);
    kv_batch_free(b);
    node->member->applied = node->applied;
    return e;
}

static inline void group_changed(void *arg, const struct raft_status *status)
{
    struct group_node *node = arg;
    node->member->raft = *status;
}

/* A write. */
static inline void group_client_once(struct group_node *node, uint64_t number)
{
    struct group *g = node->member->group;
    uint8_t *command = sys_alloc(g->command_bytes);
    memcpy(command, &number, sizeof number);
    command[8] = (uint8_t)node->member->number;
    struct driver_result result = {0};
    enum err e = driver_propose(node->driver, command, g->command_bytes, sys_now() + 3 * SYS_SECOND,
                                &result);
    if (e == OK) {
        uint64_t digest =
            xxh64(command, g->command_bytes, result.term * 16 + RAFT_ENTRY_COMMAND) | 1;
        if (!result.reply || memcmp(result.reply, &digest, 8) != 0)
            g->lost_replies++;
        if (g->applied[result.index] != digest)
            g->differing++;
        if (result.index > g->highest_acknowledged)
            g->highest_acknowledged = result.index;
        g->acknowledged++;
        sys_free(result.reply);
    }
    sys_free(command);
}

/* Must see all that anybody was told before it began; under a lease, all that anybody was told before
 * the state was read. */
static inline void group_read(struct group_node *node)
{
    struct group *g = node->member->group;
    uint64_t seen = g->highest_acknowledged;
    bool leased = false;
    enum err e = driver_read_leased(node->driver, sys_now() + SYS_SECOND, &leased);
    if (leased && g->pause == node->member->number + 1) {
        g->pause = 0;
        sim_pause(node->member->pid, true);
        sys_sleep_until(sys_now() + SYS_MS);
    }
    uint64_t applied = node->applied;
    if (leased)
        seen = g->highest_acknowledged;
    if (leased && !driver_lease_holds(node->driver)) {
        g->again++;
        leased = false;
        seen = g->highest_acknowledged;
        e = driver_read_barrier(node->driver, sys_now() + SYS_SECOND);
        applied = node->applied;
    }
    if (e != OK)
        return;
    g->reads++;
    g->leased += leased;
    if (applied < seen)
        g->stale_reads++;
}

static inline void group_client_run(void *arg)
{
    struct group_node *node = arg;
    uint64_t number = node->member->life << 32;
    while (!sys_event_is_set(node->stop)) {
        struct driver_status s;
        driver_status(node->driver, &s);
        node->member->raft = s.raft;
        struct group *g = node->member->group;
        int self = node->member->number + 1;
        if (g->transfer == self &&
            driver_transfer(node->driver, g->transfer_to, sys_now() + SYS_SECOND) == OK)
            g->transfer = 0;
        if (s.leader_ready && !g->quiet && g->silent != self)
            group_client_once(node, ++number);
        if (s.leader_ready && (g->lease || !g->quiet))
            group_read(node);
        if (s.leader_ready)
            g->messages = s.messages_sent;
        sys_sleep_until(sys_now() + 10 * SYS_MS);
    }
}

static inline void group_add_others(struct group_node *node)
{
    for (int i = 1; i < GROUP_MEMBERS; i++) {
        char address[32];
        snprintf(address, sizeof address, "member-%d", i);
        enum err e = ERR_BUSY;
        for (int k = 0; k < 100 && e != OK && e != ERR_EXISTS; k++) {
            sys_sleep_until(sys_now() + 100 * SYS_MS);
            e = driver_change(node->driver, RAFT_ADD_LEARNER, group_id(i), address,
                              sys_now() + 2 * SYS_SECOND);
        }
        for (int k = 0; k < 100; k++) {
            sys_sleep_until(sys_now() + 100 * SYS_MS);
            e = driver_change(node->driver, RAFT_PROMOTE, group_id(i), NULL,
                              sys_now() + 2 * SYS_SECOND);
            if (e == OK || e == ERR_EXISTS)
                break;
        }
    }
}

static inline void group_open_state(struct group_node *node)
{
    void *value;
    size_t n;
    if (kv_open("/state", NULL, &node->kv))
        sys_exit(1, "no state");
    if (kv_get(node->kv, NULL, (struct kv_slice){"applied", 7}, &value, &n))
        return;
    memcpy(&node->applied, value, 8);
    sys_free(value);
}

static inline void group_start_threads(struct group_node *node)
{
    struct sys_addr at = sim_addr((uint32_t)(GROUP_HOST + node->member->number), GROUP_PORT);
    enum err e = sys_event_new(&node->stop);
    if (!e)
        e = sys_listen(&at, &node->listener);
    for (int i = 0; i < GROUP_MEMBERS && !e; i++) {
        struct group_peer *p = &node->peers[i];
        p->node = node;
        p->number = i;
        sys_mutex_init(&p->lock);
        sys_cond_init(&p->wake);
        if (i != node->member->number)
            e = sys_thread_start(&p->thread, "peer", 0, group_peer_run, p);
    }
    if (e)
        sys_exit(1, "no threads");
}

static inline void group_stop_threads(struct group_node *node)
{
    sys_event_set(node->stop);
    sys_thread_join(node->client);
    sys_thread_join(node->receiver);
    driver_stop(node->driver);
    for (int i = 0; i < GROUP_MEMBERS; i++) {
        struct group_peer *p = &node->peers[i];
        sys_mutex_lock(&p->lock);
        p->stopping = true;
        sys_cond_signal(&p->wake);
        sys_mutex_unlock(&p->lock);
        if (p->thread)
            sys_thread_join(p->thread);
        sys_cond_release(&p->wake);
        sys_mutex_release(&p->lock);
    }
    sys_socket_close(node->listener);
    kv_close(node->kv);
    sys_event_free(node->stop);
    sys_free(node);
}

static inline void group_main(void *arg)
{
    struct group_member *m = arg;
    struct group_node *node = sys_alloc(sizeof *node);
    node->member = m;
    bool apart = m->group->apart && m->number > 0;
    m->life++;
    m->running = false;
    struct driver_options o = {
        .log = {.directory = "/log", .segment_bytes = m->group->segment_bytes},
        .cache_bytes = m->group->cache_bytes,
        .lease = apart && m->group->lease ? 10 * GROUP_TICK : m->group->lease,
        .tick = apart ? GROUP_TICK : 0,
        .election_min_ticks = 10,
        .election_max_ticks = m->group->election_max ? m->group->election_max : 20,
        .callbacks = {.arg = node,
                      .send = group_send,
                      .apply = group_apply,
                      .changed = group_changed},
    };
    struct log_store_identity who = {.member = group_id(m->number)};
    struct raft_configuration first = {0};
    if (raft_configuration_set(&first, who.member, RAFT_VOTER, "member-0"))
        sys_exit(1, "no configuration");
    enum err e = driver_create(&o.log, &who, m->number == 0 ? &first : NULL);
    if (e && e != ERR_EXISTS)
        sys_exit(1, "no log");
    group_open_state(node);
    group_start_threads(node);
    o.applied = node->applied;
    e = driver_start(&o, &who, &node->driver);
    if (!suite_check(e == OK, __FILE__, __LINE__, "member %d starts: %s", m->number, err_name(e)))
        sys_exit(2, "does not start");
    e = sys_thread_start(&node->receiver, "receiver", 0, group_receiver_run, node);
    if (!e)
        e = sys_thread_start(&node->client, "client", 0, group_client_run, node);
    if (e)
        sys_exit(1, "no threads");
    m->running = true;
    if (m->number == 0 && m->life == 1)
        group_add_others(node);
    while (!sys_event_is_set(sys_stop_event())) {
        struct sys_poll stop = {.event = sys_stop_event()};
        if (sys_poll(&stop, 1, SYS_FOREVER))
            continue;
    }
    group_stop_threads(node);
    m->running = false;
}
