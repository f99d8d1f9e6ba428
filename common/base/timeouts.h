/* Every time-out and age of the system, in nanoseconds, in one place. A server reads them from
 * this struct, so that a simulation can scale them together. */
#pragma once
#include <stdint.h>

struct timeouts {
    int64_t raft_tick;        /* 100 ms: the unit of the Raft core */
    int64_t election_min;     /* 1 s .. */
    int64_t election_max;     /* .. 2 s */
    int64_t connect;          /* 1 s */
    int64_t metadata_call;    /* 5 s */
    int64_t shard_progress;   /* 2 s without a byte */
    int64_t shard_write_idle; /* 30 s, then an uncommitted shard write is dropped */
    int64_t heartbeat;        /* 1 s, with jitter */
    int64_t down_after;       /* 5 s without a heartbeat */
    int64_t out_after;        /* 10 min down */
    int64_t suspect_after;    /* 10 s slower than its peers */
    int64_t well_after;       /* 30 s no slower than they are */
    int64_t client_idle;      /* 30 s */
    int64_t http_headers;     /* 10 s */
    int64_t answer_keepalive; /* 10 s of silence while an object is copied */
    int64_t straggler_grace;  /* at most 1 s beyond k+1 shards */
    int64_t max_write_age;    /* 12 h, log time */
    int64_t max_read_age;     /* 24 h, log time */
    int64_t former_keep;      /* 24 h, log time: a former holder's copies, once the slot is whole */
    int64_t gc_delay;         /* 60 s, log time */
    int64_t sdk_retry_memory; /* 15 min, log time */
    int64_t session_idle;     /* 24 h, log time: then a client's session may make room */
    int64_t clock_skew;       /* 15 min, SigV4 */
    int64_t clock_error;      /* 10 s: what a metadata member's clock may be off and still count */
    int64_t time_step;        /* 1 h: log time that runs ahead by more holds deletion for as long */
};

void timeouts_default(struct timeouts *t);
