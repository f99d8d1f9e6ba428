/* A whole cluster in the simulated world: the product's own servers (tools/server.h) as simulated
 * processes.
 *
 *   metadata-1..   hosts 1..      port 7000     metadata-1 bootstraps, the others join
 *   chunk-1..      hosts 101..    port 7200..   disks in /chunk-N/disk-M; several may share a host
 *   client         host 200                     a gateway without a listener, and the workload
 *   nemesis        host 250                     faults and the operator's work
 *
 * The embedded form (`embedded`) has neither metadata- nor chunk-: all of it is in the client's
 * process, with its directories in /data-M. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "tools/server.h"
#include "tools/verb_view.h"

enum {
    SIM_METADATA_MAX = 8, /* ever, those removed included */
    SIM_CHUNKS_MAX = 20,
    SIM_DISKS_EACH_MAX = 4,
    SIM_DISKS_MAX = 24,
    SIM_CHUNK_HOST = 100,
    SIM_CLIENT_HOST = 200,
    SIM_NEMESIS_HOST = 250,
    SIM_PATH = 48,
};

struct sim_cluster {
    bool embedded;
    uint32_t metadata_count; /* processes started; embedded: 0 */
    uint32_t chunk_count;    /* processes; embedded: 0 */
    uint32_t disks_each;     /* of a chunkserver; embedded: all disks */
    uint32_t chunks_per_host;
    uint32_t k, m;
    uint64_t inline_max, buffer_memory;
    uint64_t log_bytes, log_segment, checkpoint_entries;
    bool lease_reads;
    struct config_bounds bounds;
    int64_t short_age; /* what has hours until it is forgotten or destroyed has so long; 0: hours */
    int64_t restart_after;
    int metadata[SIM_METADATA_MAX], chunks[SIM_CHUNKS_MAX], client; /* pids */
    /* What was done to a process's disk may make it give up. */
    bool member_may_exit[SIM_METADATA_MAX], may_exit[SIM_CHUNKS_MAX];
    /* Members: the first one need not make the cluster any more; who is not to be started. */
    bool founded, member_down[SIM_METADATA_MAX];
    /* What is in each disk's directory as of its process's last look; 0: not known. */
    disk_id disk_ids[SIM_DISKS_MAX];
    disk_id lost_ids[SIM_DISKS_MAX]; /* of the disks that check_lose_disks took */
    struct server *server;           /* the client's, while its process lives */
};

/* Starts the servers' processes, which come back by themselves restart_after their ends. */
void sim_cluster_start(struct sim_cluster *c);
/* One chunkserver more, with empty disks. False: there is no room. */
bool sim_cluster_grow(struct sim_cluster *c);

/* One metadata server more, with an empty directory, which joins. False: there is no room. */
bool sim_cluster_add_member(struct sim_cluster *c);
/* Where it listens: "10.0.0.1:7000". */
void sim_member_address(uint32_t member, char out[SIM_PATH]);

/* Disks are numbered through all chunkservers. */
uint32_t sim_disk_count(const struct sim_cluster *c);
uint32_t sim_disk_host(const struct sim_cluster *c, uint32_t disk);
int sim_disk_pid(const struct sim_cluster *c, uint32_t disk);
/* The directory of everything on this disk, and of its shard store. */
void sim_disk_path(const struct sim_cluster *c, uint32_t disk, char out[SIM_PATH]);
void sim_disk_store(const struct sim_cluster *c, uint32_t disk, char out[SIM_PATH]);
void sim_disk_may_exit(struct sim_cluster *c, uint32_t disk);
uint32_t sim_chunk_host(const struct sim_cluster *c, uint32_t chunkserver);

/* The client's process: starts its gateway, and in the embedded form all of the cluster. Waits until
 * the pool has its placement groups. */
enum err sim_cluster_connect(struct sim_cluster *c, struct server *out,
                             struct config *config) MUST_USE;
/* The client's process: brings disk_ids of the embedded form up to date. */
void sim_cluster_note_disks(struct sim_cluster *c);
/* Within a process: what an operator's verbs use; view_close ends it. */
enum err sim_cluster_view(struct sim_cluster *c, struct cluster_view *out) MUST_USE;

extern const char sim_access_key[], sim_secret[];
