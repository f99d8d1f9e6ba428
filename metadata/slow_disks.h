/* Which disks are slower than their peers, and have been for long. Fed by the leader with what heartbeats say of
 * each disk's pace (chunkserver/pace.c); its memory is the leader's own and begins anew with it.
 *
 *  slow     a pace of at least SLOW_LEAST and SLOW_TIMES the median of the others'. When all are slow
 *           nobody is, and with fewer than two others nothing is said.
 *  suspect  slow at every look for suspect_after
 *  well     not slow at every look for well_after; a disk whose pace is not known is neither */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/base/ids.h"
#include "common/base/timeouts.h"

enum { SLOW_TIMES = 5, SLOW_OTHERS_MIN = 2 };
#define SLOW_LEAST (INT64_C(50) * 1000 * 1000) /* ns: a busy spinning disk is faster */

struct disk_pace {
    disk_id id;
    int64_t pace_ns; /* 0: not known */
    bool suspect;    /* as the map has it */
};

struct slow_disks {
    struct {
        disk_id id;
        int64_t since; /* it has been other than what the map says; 0: it has not */
    } * seen;
    size_t count, room;
};

void slow_disks_init(struct slow_disks *s);
void slow_disks_release(struct slow_disks *s);
void slow_disks_clear(struct slow_disks *s);
/* A look at all disks that are in use, at `now` of a monotonic clock. What the map ought to say of those of
 * whom it says otherwise goes to changed, which has room for n; returns how many. */
size_t slow_disks_judge(struct slow_disks *s, const struct timeouts *t, int64_t now,
                        const struct disk_pace *disks, size_t n, struct disk_pace *changed);
