#include "tools/bench_cpu.h"
#include <stdio.h>
#include <string.h>
#include "common/proto/message_types.h"

#define ASK (2 * SYS_SECOND)

static void begin_dev(struct cpu_watch *w)
{
    for (size_t i = 0; i < w->dev->count && w->count < CPU_SERVERS_MAX; i++) {
        struct cpu_server *s = &w->servers[w->count];
        struct sys_usage usage;
        if (dev_process_state(w->dev, &w->dev->processes[i], &s->process) ||
            sys_process_usage(&s->process, &usage))
            continue;
        snprintf(s->name, sizeof s->name, "%s", w->dev->processes[i].name);
        s->pid = usage.pid;
        s->before = usage.cpu_ns;
        w->count++;
    }
}

static const NodeStatus *ask(struct cluster_view *v, const char *address)
{
    NodeStatus empty = NODE_STATUS__INIT;
    ProtobufCMessage *reply;
    enum err e =
        view_call(v, address, MSG_NODE_STATUS, &empty.base, &node_status__descriptor, ASK, &reply);
    const NodeStatus *status = (const NodeStatus *)reply;
    return e || !status || status->node.len != UUID_BYTES ? NULL : status;
}

/* A process with several roles answers at several addresses, and is counted once. */
static void begin_server(struct cpu_watch *w, const char *role, const char *address)
{
    struct cpu_server *s = &w->servers[w->count];
    if (!*address || w->count == CPU_SERVERS_MAX)
        return;
    for (size_t i = 0; i < w->count; i++)
        if (strcmp(w->servers[i].address, address) == 0)
            return;
    const NodeStatus *status = ask(w->view, address);
    if (!status)
        return;
    memcpy(s->node.bytes, status->node.data, UUID_BYTES);
    for (size_t i = 0; i < w->count; i++)
        if (uuid_equal(&w->servers[i].node, &s->node))
            return;
    snprintf(s->name, sizeof s->name, "%s %.80s", role, address);
    snprintf(s->address, sizeof s->address, "%s", address);
    s->pid = status->pid;
    s->before = status->cpu_ns;
    w->count++;
}

void cpu_watch_begin(struct cpu_watch *w, const struct dev_cluster *dev, struct cluster_view *view)
{
    memset(w, 0, sizeof *w);
    w->dev = dev;
    w->view = dev ? NULL : view;
    if (w->dev)
        begin_dev(w);
    if (!w->view)
        return;
    const struct cluster_facts *f = &w->view->facts;
    for (size_t i = 0; f->members && i < f->members->n_members; i++)
        begin_server(w, "metadata", f->members->members[i]->address);
    for (size_t i = 0; f->info && i < f->info->n_disks; i++)
        if (f->info->disks[i]->up && !f->info->disks[i]->removed)
            begin_server(w, "chunk", f->info->disks[i]->address);
}

void cpu_watch_end(struct cpu_watch *w)
{
    for (size_t i = 0; i < w->count; i++) {
        struct cpu_server *s = &w->servers[i];
        struct sys_usage usage = {0};
        if (w->dev) {
            s->known = sys_process_usage(&s->process, &usage) == OK;
        } else {
            const NodeStatus *status = ask(w->view, s->address);
            s->known = status && memcmp(status->node.data, s->node.bytes, UUID_BYTES) == 0;
            if (s->known)
                usage = (struct sys_usage){.cpu_ns = status->cpu_ns,
                                           .resident_bytes = status->resident_bytes};
        }
        s->after = usage.cpu_ns;
        s->resident_bytes = usage.resident_bytes;
    }
}
