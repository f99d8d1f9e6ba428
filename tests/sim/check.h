/* What must hold once the faults have stopped, beside the keys themselves. Each says in the workload
 * what does not. */
#pragma once
#include "tests/sim/workload.h"

/* Within a bound of virtual time: every disk that is `in` answers, each slot has one holder and every
 * shard of every chunk verifies there, nothing is left to repair, the bucket's counters are those of a
 * listing, and the chunks that metadata knows are exactly those that objects, uploads and due deletes
 * name. */
void check_whole(struct workload *w, const char *when);
/* So many disks are lost at once: their processes crash and come back with empty ones. In the embedded
 * form that is the caller: it ends here, and begins anew with work->lost set. */
void check_lose_disks(struct workload *w, uint32_t count);
/* The operator gives up the disks that do not answer. */
void check_give_up_lost(struct workload *w);
