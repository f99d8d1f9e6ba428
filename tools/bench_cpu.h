/* What the servers of a cluster have computed between two moments. Either all processes of a local
 * cluster, by their pids, or those servers that answer calls: members and chunkservers. */
#pragma once
#include "tools/dev_cluster.h"
#include "tools/verb_view.h"

enum { CPU_SERVERS_MAX = 256, CPU_NAME = 96 };

struct cpu_server {
    char name[CPU_NAME]; /* "chunk-1", "chunk 127.0.0.1:7200" */
    uint64_t pid, resident_bytes;
    int64_t before, after; /* ns */
    bool known;            /* the same process both times */
    char address[CLUSTER_ADDRESS_MAX + 1];
    struct sys_process process;
    struct uuid node;
};
struct cpu_watch {
    const struct dev_cluster *dev; /* or */
    struct cluster_view *view;     /* or neither: nothing is known */
    struct cpu_server servers[CPU_SERVERS_MAX];
    size_t count;
};

/* dev and view outlive the watch; both may be NULL, dev wins. The view's map and members must have
 * been asked. */
void cpu_watch_begin(struct cpu_watch *w, const struct dev_cluster *dev, struct cluster_view *view);
void cpu_watch_end(struct cpu_watch *w);
