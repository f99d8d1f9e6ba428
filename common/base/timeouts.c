#include "common/base/timeouts.h"

#define MS     INT64_C(1000000)
#define SECOND INT64_C(1000000000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)

void timeouts_default(struct timeouts *t)
{
    *t = (struct timeouts){
        .raft_tick = 100 * MS,
        .election_min = 1 * SECOND,
        .election_max = 2 * SECOND,
        .connect = 1 * SECOND,
        .metadata_call = 5 * SECOND,
        .shard_progress = 2 * SECOND,
        .shard_write_idle = 30 * SECOND,
        .heartbeat = 1 * SECOND,
        .down_after = 5 * SECOND,
        .out_after = 10 * MINUTE,
        .suspect_after = 10 * SECOND,
        .well_after = 30 * SECOND,
        .client_idle = 30 * SECOND,
        .http_headers = 10 * SECOND,
        .answer_keepalive = 10 * SECOND,
        .straggler_grace = 1 * SECOND,
        .max_write_age = 12 * HOUR,
        .max_read_age = 24 * HOUR,
        .former_keep = 24 * HOUR,
        .gc_delay = 60 * SECOND,
        .sdk_retry_memory = 15 * MINUTE,
        .session_idle = 24 * HOUR,
        .clock_skew = 15 * MINUTE,
        .clock_error = 10 * SECOND,
        .time_step = 1 * HOUR,
    };
}
