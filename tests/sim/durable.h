/* What a commit names must be durable, and be one shard more than a read needs, on disks that readers ask: sees
 * every shard whose writer a disk has told so and every commit that a state accepts. Linked with --wrap, as watch.h is. */
#pragma once
#include "tests/sim/workload.h"

/* Before the world begins; a violation fails the workload. */
void durable_start(struct workload *w);
