/* What a process is told: one table of keys (config.c), each with type, range, default and help,
 * read from an INI file ("key = value", # comments) and from the command line ("--key value",
 * hyphen or underscore). The command line wins over the file, the file over the default.
 *
 * A list takes several words: "--data D1 D2 D3", or in the file words separated by spaces or on
 * further indented lines. Read once, const after start. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/base/arena.h"
#include "common/base/err.h"
#include "common/base/timeouts.h"
#include "common/sys/log.h"

enum { CONFIG_LIST_MAX = 64, CONFIG_PROBLEM = 512, CONFIG_KEYS_MAX = 64, CONFIG_RANGE = 64 };

/* Bits of config.roles. */
enum config_role { ROLE_METADATA = 1, ROLE_CHUNK = 2, ROLE_GATEWAY = 4 };

struct config_list {
    const char *items[CONFIG_LIST_MAX];
    size_t count;
};

/* Bounds that no key sets; 0: what each part uses by itself. Small ones make rare branches frequent:
 * only the simulator's assembly (tests/sim) sets them. */
struct config_bounds {
    unsigned moves_max;    /* slots on their way at once, per pool */
    uint64_t extent_bytes; /* of the shard store */
    unsigned queue_max, writers_max, staging_max, window;
    int64_t flush_interval; /* of its index, ns */
    uint64_t read_memory;   /* of reads in progress on a chunkserver */
    unsigned backfill_parallel;
    int64_t scrub_interval, sweep_interval; /* between deep and light passes over a disk, ns */
    uint32_t chunk_bytes;                   /* of new objects' chunks */
};

struct config {
    uint32_t roles;          /* config_role bits; 0: the embedded form, all of them */
    struct config_list data; /* directories, each one disk of the chunk role */
    const char *metadata_dir;
    const char *metadata_listen, *chunk_listen, *s3, *metrics; /* ADDR:PORT */
    struct config_list metadata;                               /* addresses of some members */
    const char *cluster_key;                                   /* path */
    const char *root_credentials;                              /* path */
    bool bootstrap, join;
    const char *zone, *rack, *host;
    const char *pool;        /* "4+2" */
    uint32_t pool_k, pool_m; /* the same, parsed */
    uint64_t inline_max, buffer_memory;
    uint64_t disk_capacity; /* 0: what the file system has */
    uint64_t scrub_rate, scrub_days;
    uint64_t timeout_percent;
    uint64_t log_bytes, log_segment, checkpoint_entries;
    bool lease_reads;
    const char *region, *base_domain;
    enum log_level log_level;
    struct config_bounds bounds;

    struct arena arena;             /* owns the texts */
    uint8_t given[CONFIG_KEYS_MAX]; /* by key: 0 default, 1 file, 2 command line */
};

/* All defaults. */
void config_init(struct config *c);
void config_release(struct config *c);

/* Every failure writes a sentence for people to problem: where, what, and what would be right. */

/* ERR_NOT_FOUND, ERR_ACCESS, ERR_FORMAT (unknown key, bad value, twice the same key). */
enum err config_read_file(struct config *c, const char *path,
                          char problem[CONFIG_PROBLEM]) MUST_USE;
/* Takes all of argv (without program and verb). ERR_INVALID: unknown key or a bad value, or a word
 * that belongs to none. */
enum err config_read_arguments(struct config *c, int argc, char *const *argv,
                               char problem[CONFIG_PROBLEM]) MUST_USE;
/* What only a server needs, once all is read: that the keys fit together. ERR_INVALID. */
enum err config_check_server(const struct config *c, char problem[CONFIG_PROBLEM]) MUST_USE;

/* Whether the key was given at all. */
bool config_given(const struct config *c, const char *key);
/* The time-outs at their percentage. */
void config_timeouts(const struct config *c, struct timeouts *out);

/* One key at a time, for --help and docs. */
struct config_text {
    const char *key, *type, *initial, *help;
    char range[CONFIG_RANGE];
};
/* false behind the last. */
bool config_describe(size_t index, struct config_text *out);
