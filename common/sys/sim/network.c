/* What lies between two sockets: streams of packets with delays, cuts and resets.
 *
 * A stream is one direction of a connection. Packets keep their order; a cut holds them, as TCP's
 * repetition would; a reset overtakes nothing but may throw away what was not read yet. The window
 * counts what was sent and not read, so that a slow reader slows its writer. */
#include <string.h>
#include "common/sys/sim/network_internal.h"

enum { DELAY_NS = 50000, DELAY_SPREAD_NS = 300000, LATE_ONE_IN = 1024 };
static const int64_t LATE_NS = 30 * SYS_MS;
/* A lost packet is sent again after this, then after twice as long .. */
static const int64_t RESEND_NS = 200 * SYS_MS;
enum { RESENDS = 5, PIECES_A_SECOND = 100, PIECE_MIN = 512 };
static const int64_t REPEAT_NS = 50 * SYS_MS; /* how often a cut link is tried */

static const struct link *find_link(uint32_t from, uint32_t to)
{
    for (const struct link *l = world.links; l; l = l->next)
        if (l->from == from && l->to == to)
            return l;
    return NULL;
}

static struct link *need_link(uint32_t from, uint32_t to)
{
    struct link *l = (struct link *)(uintptr_t)find_link(from, to);
    if (!l) {
        l = world_alloc(sizeof *l);
        *l = (struct link){.from = from, .to = to, .next = world.links};
        world.links = l;
    }
    return l;
}

bool network_is_cut(uint32_t from, uint32_t to)
{
    const struct link *l = find_link(from, to);
    return l && l->cut;
}

int64_t network_delay(uint32_t from, uint32_t to)
{
    const struct link *l = find_link(from, to);
    int64_t delay = DELAY_NS + (int64_t)sim_below(DELAY_SPREAD_NS) + (l ? l->delay : 0);
    if (sim_below(LATE_ONE_IN) == 0)
        delay += LATE_NS;
    if (l && l->jitter)
        delay += (int64_t)sim_below((uint64_t)l->jitter);
    int64_t resend = RESEND_NS;
    for (int i = 0; l && l->loss && i < RESENDS && sim_below(100) < l->loss; i++, resend *= 2)
        delay += resend;
    return delay;
}

/* When the last of n bytes that are given to the link now has left it. */
static int64_t link_send(struct link *l, size_t n)
{
    if (l->busy_until < world.now)
        l->busy_until = world.now;
    l->busy_until += (int64_t)(n * (uint64_t)SYS_SECOND / l->bandwidth);
    return l->busy_until;
}

/* ---- streams ---- */

static void packets_free(struct packet *p)
{
    while (p) {
        struct packet *next = p->next;
        world_free(p);
        p = next;
    }
}

static void queue_add(struct packet_queue *q, struct packet *p)
{
    p->next = NULL;
    if (q->last)
        q->last->next = p;
    else
        q->first = p;
    q->last = p;
}

static struct packet *queue_take(struct packet_queue *q)
{
    struct packet *p = q->first;
    q->first = p->next;
    if (!q->first)
        q->last = NULL;
    return p;
}

static void broken(struct sys_socket *s)
{
    s->reset = true;
    wait_wake_all(&s->waiters);
}

static void drop_arrived(struct stream *t)
{
    packets_free(t->arrived.first);
    t->arrived = (struct packet_queue){0};
    t->arrived_bytes = 0;
}

static void deliver(struct stream *t, struct packet *p)
{
    struct sys_socket *reader = t->reader;
    enum packet_kind kind = p->kind;
    if (kind == PACKET_DATA && reader && !reader->reset) {
        t->arrived_bytes += p->bytes;
        queue_add(&t->arrived, p);
        wait_wake_all(&reader->waiters);
        return;
    }
    world_free(p);
    if (kind == PACKET_DATA && (!reader || reader->half_open) && t->back && t->back->reader) {
        stream_put(t->back, PACKET_RESET, NULL, 0); /* data for a closed socket */
    } else if (kind == PACKET_FIN && reader) {
        t->fin_arrived = true;
        wait_wake_all(&reader->waiters);
    } else if (kind == PACKET_RESET && reader) {
        if (sim_below(2) == 0)
            drop_arrived(t);
        broken(reader);
    }
}

static void on_arrival(struct timer *timer)
{
    struct stream *t = (struct stream *)((uint8_t *)timer - offsetof(struct stream, timer));
    if (network_is_cut(t->from, t->to)) {
        timer_arm(timer, world.now + REPEAT_NS + (int64_t)sim_below((uint64_t)REPEAT_NS));
        return;
    }
    while (t->flying.first && t->flying.first->at <= world.now)
        deliver(t, queue_take(&t->flying));
    if (t->flying.first)
        timer_arm(timer, t->flying.first->at);
}

void stream_put_at(struct stream *t, enum packet_kind kind, const void *data, size_t n, int64_t at)
{
    struct packet *p = world_alloc(sizeof *p + n);
    p->kind = kind;
    p->bytes = n;
    if (n)
        memcpy(p->data, data, n);
    p->at = at > t->last_at ? at : t->last_at + 1;
    t->last_at = p->at;
    t->unread += n;
    bool idle = !t->flying.first;
    queue_add(&t->flying, p);
    if (idle)
        timer_arm(&t->timer, p->at);
}

void stream_put(struct stream *t, enum packet_kind kind, const void *data, size_t n)
{
    const struct link *found = find_link(t->from, t->to);
    if (kind != PACKET_DATA || !found || !found->bandwidth) {
        stream_put_at(t, kind, data, n, world.now + network_delay(t->from, t->to));
        return;
    }
    struct link *l = need_link(t->from, t->to);
    size_t most = (size_t)(l->bandwidth / PIECES_A_SECOND);
    most = most < PIECE_MIN ? PIECE_MIN : most;
    for (size_t done = 0, part; done < n; done += part) {
        part = n - done < most ? n - done : most;
        int64_t at = link_send(l, part) + network_delay(t->from, t->to);
        stream_put_at(t, kind, (const uint8_t *)data + done, part, at);
    }
}

size_t stream_read(struct stream *t, uint8_t *out, size_t max)
{
    size_t done = 0;
    while (done < max && t->arrived.first) {
        struct packet *p = t->arrived.first;
        size_t n = p->bytes - p->taken < max - done ? p->bytes - p->taken : max - done;
        memcpy(out + done, p->data + p->taken, n);
        done += n;
        p->taken += n;
        if (p->taken == p->bytes)
            world_free(queue_take(&t->arrived));
    }
    t->arrived_bytes -= done;
    t->unread -= done;
    if (t->writer)
        wait_wake_all(&t->writer->waiters);
    return done;
}

static struct stream *stream_new(uint32_t from, uint32_t to)
{
    struct stream *t = world_alloc(sizeof *t);
    t->from = from;
    t->to = to;
    t->timer.fire = on_arrival;
    t->next = world.streams;
    if (t->next)
        t->next->prev = t;
    world.streams = t;
    return t;
}

/* Goes when both ends are closed and nothing is under way that must still be answered. */
static void stream_free(struct stream *t)
{
    timer_cancel(&t->timer);
    packets_free(t->flying.first);
    packets_free(t->arrived.first);
    if (t->back)
        t->back->back = NULL;
    if (t->prev)
        t->prev->next = t->next;
    else
        world.streams = t->next;
    if (t->next)
        t->next->prev = t->prev;
    world_free(t);
}

void stream_pair(struct sys_socket *a, struct sys_socket *b)
{
    struct stream *there =
        stream_new(a->object.process->host->number, b->object.process->host->number);
    struct stream *back = stream_new(there->to, there->from);
    there->back = back;
    back->back = there;
    there->writer = back->reader = a;
    there->reader = back->writer = b;
    a->out = b->in = there;
    a->in = b->out = back;
}

void stream_leave(struct sys_socket *s)
{
    if (!s->in)
        return;
    drop_arrived(s->in);
    s->in->reader = NULL;
    s->out->writer = NULL;
    if (!s->in->writer)
        stream_free(s->in);
    if (!s->out->reader)
        stream_free(s->out);
    s->in = s->out = NULL;
}

void network_release(void)
{
    while (world.streams)
        stream_free(world.streams);
}

/* ---- sim.h ---- */

void sim_cut(uint32_t from, uint32_t to, bool cut)
{
    sim_enter();
    need_link(from, to)->cut = cut;
    sim_leave();
}

void sim_partition(uint32_t a, uint32_t b, bool cut)
{
    sim_cut(a, b, cut);
    sim_cut(b, a, cut);
}

void sim_delay(uint32_t from, uint32_t to, int64_t ns)
{
    sim_enter();
    need_link(from, to)->delay = ns;
    sim_leave();
}

void sim_jitter(uint32_t from, uint32_t to, int64_t ns)
{
    sim_enter();
    need_link(from, to)->jitter = ns;
    sim_leave();
}

void sim_loss(uint32_t from, uint32_t to, unsigned percent)
{
    sim_enter();
    assert(percent <= 100);
    need_link(from, to)->loss = percent;
    sim_leave();
}

/* What is under way leaves anew, at the new speed: else it would keep the old one's time-table. */
static void leave_anew(struct stream *t, struct link *l)
{
    t->last_at = world.now;
    for (struct packet *p = t->flying.first; p; p = p->next) {
        int64_t at = p->at;
        if (p->kind != PACKET_RESET) {
            at = l->bandwidth ? link_send(l, p->bytes) : world.now;
            at += network_delay(t->from, t->to);
        }
        p->at = at > t->last_at ? at : t->last_at + 1;
        t->last_at = p->at;
    }
    if (t->flying.first)
        timer_arm(&t->timer, t->flying.first->at);
}

void sim_bandwidth(uint32_t from, uint32_t to, uint64_t bytes_per_second)
{
    sim_enter();
    struct link *l = need_link(from, to);
    l->bandwidth = bytes_per_second;
    l->busy_until = world.now;
    for (struct stream *t = world.streams; t; t = t->next)
        if (t->from == from && t->to == to)
            leave_anew(t, l);
    sim_leave();
}

void connection_break(struct sys_socket *s)
{
    if (!s->out)
        return;
    struct sys_socket *peer = s->out->reader;
    broken(s);
    if (peer)
        broken(peer);
}

void sim_reset_connections(uint32_t a, uint32_t b)
{
    sim_enter();
    for (struct stream *t = world.streams; t; t = t->next)
        if (t->writer && ((t->from == a && t->to == b) || (t->from == b && t->to == a)))
            connection_break(t->writer);
    sim_leave();
}

void sim_half_open(uint32_t gone, uint32_t other)
{
    sim_enter();
    for (struct stream *t = world.streams; t; t = t->next)
        if (t->writer && t->from == gone && t->to == other && !t->writer->reset) {
            t->writer->half_open = true;
            broken(t->writer);
        }
    sim_leave();
}

bool network_fails(void)
{
    struct process *p = sim_process();
    return p->network_fail && --p->network_fail == 0;
}

void sim_network_fail(int pid, uint64_t nth)
{
    sim_enter();
    process_of(pid)->network_fail = nth;
    sim_leave();
}

uint64_t sim_network_fail_left(int pid)
{
    return process_of(pid)->network_fail;
}

void sim_random_resets(uint64_t mean_sends)
{
    sim_enter();
    world.mean_resets = mean_sends;
    sim_leave();
}
