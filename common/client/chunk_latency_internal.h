/* What chunk readers hedge by and chunk writers wait by; see chunk_latency.c. Any thread. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "common/base/ids.h"
#include "common/client/chunk_io.h"

enum latency_kind { LATENCY_READ, LATENCY_COMMIT };
enum { LATENCY_KINDS = 2 };

void chunk_latency_note(struct chunk_latency *l, enum latency_kind kind, int64_t took_ns);
/* percent 95 or 99; unknown while too few were seen. */
int64_t chunk_latency_percentile(struct chunk_latency *l, enum latency_kind kind, unsigned percent,
                                 int64_t unknown);
/* Whether this disk was among the late ones of a write, and whether it was in 3 of its last 10. */
void chunk_latency_straggled(struct chunk_latency *l, disk_id disk, bool late);
bool chunk_latency_straggles(struct chunk_latency *l, disk_id disk);
