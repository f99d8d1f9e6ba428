/* The last heartbeat of every node, as this leader heard it: nothing of it is replicated, and a new
 * leader begins with none (duties.c waits until all may have spoken). */
#include <string.h>
#include "common/proto/message.h"
#include "metadata/service_internal.h"

enum { HEARTBEAT_BYTES_MAX = 256 * 1024 };

void reports_init(struct reports *r)
{
    memset(r, 0, sizeof *r);
    sys_mutex_init(&r->lock);
}

static void report_free(struct node_report *n)
{
    arena_release(&n->arena);
    sys_free(n);
}

void reports_clear(struct reports *r)
{
    sys_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->count; i++)
        report_free(r->nodes[i]);
    r->count = 0;
    sys_mutex_unlock(&r->lock);
}

void reports_release(struct reports *r)
{
    reports_clear(r);
    sys_mutex_release(&r->lock);
}

static bool same_node(const Heartbeat *a, const Heartbeat *b)
{
    return a->node.len == b->node.len && memcmp(a->node.data, b->node.data, a->node.len) == 0;
}

/* A message's deep copy goes through its packed form: the only copy that knows every field. */
static enum err copy(const Heartbeat *in, struct arena *arena, Heartbeat **out)
{
    uint8_t *bytes;
    size_t n;
    ProtobufCMessage *message;
    enum err e = message_pack(&in->base, arena, HEARTBEAT_BYTES_MAX, &bytes, &n);
    if (e == OK)
        e = message_unpack(&heartbeat__descriptor, arena, bytes, n, &message);
    if (e == OK)
        *out = (Heartbeat *)message;
    return e;
}

enum err reports_take(struct reports *r, const Heartbeat *heartbeat)
{
    if (heartbeat->node.len != UUID_BYTES || heartbeat->n_disks > SERVICE_DISKS_PER_NODE)
        return ERR_INVALID;
    struct node_report *fresh = sys_alloc(sizeof *fresh);
    arena_init(&fresh->arena);
    enum err e = copy(heartbeat, &fresh->arena, &fresh->heartbeat);
    if (e != OK) {
        report_free(fresh);
        return e;
    }
    fresh->heard = sys_now();
    struct node_report *old = NULL;
    sys_mutex_lock(&r->lock);
    size_t i = 0;
    while (i < r->count && !same_node(r->nodes[i]->heartbeat, fresh->heartbeat))
        i++;
    if (i < r->count) {
        old = r->nodes[i];
        r->nodes[i] = fresh;
    } else if (r->count < SERVICE_NODES_MAX) {
        r->nodes[r->count++] = fresh;
    } else {
        /* Processes that were started anew leave their former selves behind. */
        for (size_t k = i = 0; k < r->count; k++)
            if (r->nodes[k]->heard < r->nodes[i]->heard)
                i = k;
        old = r->nodes[i];
        r->nodes[i] = fresh;
    }
    sys_mutex_unlock(&r->lock);
    if (old)
        report_free(old);
    return e;
}

struct disk_heard reports_disk(struct reports *r, uint32_t disk)
{
    struct disk_heard last = {0};
    bool absent = false;
    sys_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->count; i++) {
        const struct node_report *n = r->nodes[i];
        for (size_t d = 0; d < n->heartbeat->n_disks; d++) {
            const DiskReport *report = n->heartbeat->disks[d];
            if (report->id != disk || n->heard < last.at)
                continue;
            last = (struct disk_heard){
                .at = n->heard, .failed = report->failed, .pace_ns = report->pace_ns};
        }
        for (size_t d = 0; d < n->heartbeat->n_absent; d++)
            absent |= n->heartbeat->absent[d]->id == disk;
    }
    last.absent = absent && last.at == 0; /* else it is with another server now */
    sys_mutex_unlock(&r->lock);
    return last;
}

int64_t reports_oldest_read(struct reports *r, int64_t heard_since)
{
    int64_t oldest = INT64_MAX;
    sys_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->count; i++) {
        int64_t read = r->nodes[i]->heartbeat->oldest_read;
        if (r->nodes[i]->heard >= heard_since && read > 0 && read < oldest)
            oldest = read;
    }
    sys_mutex_unlock(&r->lock);
    return oldest;
}

void reports_copy(struct reports *r, struct arena *arena, Reports *out)
{
    sys_mutex_lock(&r->lock);
    out->heartbeats = arena_alloc(arena, (r->count + 1) * sizeof *out->heartbeats);
    out->n_heartbeats = 0;
    for (size_t i = 0; i < r->count; i++)
        if (copy(r->nodes[i]->heartbeat, arena, &out->heartbeats[out->n_heartbeats]) == OK)
            out->n_heartbeats++;
    sys_mutex_unlock(&r->lock);
}
