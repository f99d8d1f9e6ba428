/* A local cluster of real processes in one directory:
 *
 *   cairn.conf          for every verb, through --config or CAIRN_CONFIG
 *   cluster.key         mode 0600
 *   credentials.env     mode 0600: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, ..
 *   metrics.json        where each process tells its metrics, as Prometheus reads it
 *   conf/NAME.conf      what `cairn server --config` of process NAME reads; these files are the list
 *   run/NAME.pid        its pid, in decimal; run/NAME.started: the kernel's stamp of its start
 *   run/complete        made once the new cluster had its members, disks and first user
 *   log/NAME.log        its output, appended to
 *   data/NAME/          what it keeps
 *
 * Names are metadata-N, chunk-N and gateway-1; chunk-N has one disk and is a host of its own. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/base/err.h"
#include "common/sys/sys.h"

enum {
    DEV_NAME = 32,
    DEV_METADATA_MAX = 7,
    DEV_DISKS_MAX = 64,
    DEV_PROCESSES_MAX = DEV_METADATA_MAX + DEV_DISKS_MAX + 1,
    DEV_DIR_MAX = 140, /* configuration lines hold it, and socket names */
    DEV_PATH = 256,
};

struct dev_plan {
    uint64_t metadata, disks;
    const char *pool;
    uint64_t s3_port; /* 0: a free one */
};

struct dev_process {
    char name[DEV_NAME];
};
struct dev_cluster {
    char dir[DEV_DIR_MAX + 1]; /* absolute */
    struct dev_process processes[DEV_PROCESSES_MAX];
    size_t count;
};

/* Whether dir holds a cluster made by dev_cluster_create. */
bool dev_cluster_exists(const char *dir);
/* Makes the directories and every file above but those of run, log and data; picks the ports.
 * Writes to problem what went wrong. */
enum err dev_cluster_create(const char *dir, const struct dev_plan *plan, char *problem,
                            size_t problem_max) MUST_USE;
/* Finds the processes of dir: metadata first, then chunk, then gateway, by number. ERR_NOT_FOUND. */
enum err dev_cluster_load(const char *dir, struct dev_cluster *out) MUST_USE;
bool dev_cluster_is_complete(const struct dev_cluster *c);
enum err dev_cluster_set_complete(const struct dev_cluster *c) MUST_USE;
/* NULL when there is none of that name. */
const struct dev_process *dev_cluster_find(const struct dev_cluster *c, const char *name);
void dev_path(const struct dev_cluster *c, const char *folder, const struct dev_process *p,
              const char *suffix, char out[DEV_PATH]);

/* ---- its processes (dev_process.c) ---- */

/* OK and *out when it runs, ERR_NOT_FOUND when it does not. */
enum err dev_process_state(const struct dev_cluster *c, const struct dev_process *p,
                           struct sys_process *out) MUST_USE;
/* Starts `cairn server --config ..`; flag (may be NULL) is a further word. ERR_EXISTS: it runs. */
enum err dev_process_start(const struct dev_cluster *c, const struct dev_process *p,
                           const char *flag) MUST_USE;
/* Asks it to stop, or kills it, and waits until it has ended. ERR_NOT_FOUND: it did not run.
 * ERR_TIMEOUT: it still runs. */
enum err dev_process_end(const struct dev_cluster *c, const struct dev_process *p,
                         enum sys_process_signal how, int64_t deadline) MUST_USE;
/* True when its data directory holds nothing yet. */
bool dev_process_is_new(const struct dev_cluster *c, const struct dev_process *p);
bool dev_process_is(const struct dev_process *p, const char *role);

/* ---- its health (dev_health.c) ---- */

/* Returns OK once all members vote and have a leader, every disk is up, every placement group has
 * its disks, and the gateway listens and knows that; calls *waiting now and then with what is still
 * missing (a false answer ends it with ERR_CANCELLED). ERR_TIMEOUT with the last such text in
 * problem. */
enum err dev_wait_healthy(const struct dev_cluster *c, int64_t deadline,
                          bool (*waiting)(void *arg, const char *what), void *arg, char *problem,
                          size_t problem_max) MUST_USE;
