/* How a rebuild goes on: from looks at the cluster to a percentage, a rate and the time left. Pure. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "tools/census.h"

struct rebuild_look {
    int64_t at; /* monotonic ns */
    struct census census;
    uint64_t repair_rows;
    uint64_t bytes; /* backfilled since their start by the disks that are up */
};

struct rebuild_progress {
    uint64_t most;      /* the most slots, and chunks to repair, that were to be done */
    uint32_t permille;  /* never goes back while most stays */
    double bytes_per_s; /* smoothed */
    int64_t left_ns;    /* -1: not known */
    int64_t began;
    uint32_t began_permille;
    uint64_t bytes;
    int64_t at;
    int64_t first_at; /* the first look */
    uint64_t first_bytes;
};

/* All shards are where they belong. */
bool rebuild_whole(const struct rebuild_look *l);
/* What is missing is on disks that are only down: nothing is done about it. */
bool rebuild_waits(const struct rebuild_look *l);
/* p: zero before the first look. */
void rebuild_note(struct rebuild_progress *p, const struct rebuild_look *l);
enum { REBUILD_WORDS = 160 };
void rebuild_words(const struct rebuild_look *l, const struct rebuild_progress *p,
                   char out[REBUILD_WORDS]);
