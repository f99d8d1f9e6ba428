/* Getting ranges of some shards of one chunk, whatever it takes: the shards themselves, their older
 * holders, or decoding from any k others. The reader fetches a few stripes of data shards at a time,
 * the rebuild one shard; both keep several fetches going in one gather.
 *
 * Rules
 *  F1  A shard is asked of its newest holder first, then of the older ones.
 *  F2  A disk that is down or whose breaker is open is passed over, until k shards cannot be had
 *      without it: then it is asked after all.
 *  F3  Where a wanted shard has failed or is late (hedge), others are asked until k that cover its
 *      range are here or in time; what comes first is used. A shard that is asked instead can be
 *      late too.
 *  F4  Only shards of one nonce are decoded together, or put side by side.
 *  F5  A shard that has not come within two progress time-outs has failed, wherever its disk is.
 *  F6  The owner may be away for long between two polls (a client that takes its bytes slowly): what
 *      broke or was late meanwhile says nothing about the disk, and is asked again. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "common/client/chunk_io.h"
#include "common/client/shard_client.h"
#include "common/rpc/gather.h"
#include "erasure/erasure.h"
#include "erasure/stripe.h"
#include "placement/cluster_map.h"

/* One chunk and what it is read with. */
struct chunk_source {
    const struct chunk_io *io;
    struct gather *gather;
    const struct cluster_map *map; /* a reference that the source's owner holds */
    uint32_t pool_id;
    uint32_t pg;
    struct chunk_id id;
    uint8_t k, m;
    struct erasure erasure;
    struct stripe_layout layout;
    uint64_t nonce;       /* 0 until the first shard has answered */
    disk_id excluded;     /* never asked (a rebuild's target); 0: none */
    const disk_id *known; /* by index, a disk that has the shard, whatever the map says; or NULL */
    uint64_t denied;      /* bit i: a holder of shard i does not have it */
    uint32_t found;       /* shards that answered with bytes */
    int64_t resumed;      /* since when its owner is back from being away for long */
    const struct fetch *timed; /* whose latencies are worth noting: the one that is waited for .. */
    int64_t timed_since;       /* .. and only of calls begun since then */
};

enum fetch_state { FETCH_IDLE, FETCH_ASKED, FETCH_HAVE, FETCH_FAILED };

struct fetch_shard {
    enum fetch_state state;
    uint8_t next_holder;
    uint8_t holder;            /* the one that was asked last */
    uint16_t passed;           /* bit n: holder n was passed over (F2) */
    bool insisted;             /* holder was asked though it is to be avoided */
    bool repeated;             /* its connection broke, and the same holder was asked again */
    struct shard_range wanted; /* what the caller needs of it; length 0: nothing */
    struct shard_range asked;  /* what is or was read */
    struct shard_read *read;
    struct buf *bytes;   /* of asked */
    struct buf *decoded; /* of wanted, when it had to be computed */
    int64_t started;
};

struct fetch {
    struct chunk_source *source;
    uint32_t tag;             /* of its calls: tag + shard index */
    struct shard_range cover; /* the smallest range over all wanted */
    bool degraded;            /* others than the wanted shards are asked too */
    bool last_resort;         /* so are the disks that were passed over */
    bool done;
    int64_t hedge;   /* a shard is late this long after it was asked */
    int64_t wake_at; /* when to poll again though nothing has finished */
    struct fetch_shard shards[POOL_SLOTS_MAX];
};

enum { FETCH_TAG_STEP = 64, FETCH_BYTES_MAX = BUF_LARGE };

/* layout, erasure and PG of a chunk. ERR_NOT_FOUND: no such pool. */
enum err chunk_source_init(struct chunk_source *s, const struct chunk_io *io, struct gather *g,
                           const struct cluster_map *map, uint32_t pool, const struct chunk_id *id,
                           uint32_t chunk_length) MUST_USE;

/* Begins: shards[i].wanted have been set (each at most FETCH_BYTES_MAX), the rest is zero. ERR_BUSY:
 * no buffers, nothing was begun. */
enum err fetch_start(struct fetch *f) MUST_USE;
/* A call of this fetch (by its tag) has finished. */
void fetch_take(struct fetch *f, uint32_t tag);
/* Whether all wanted bytes are there (f->done); hedges when the time has come. ERR_SHARDS_LOST or
 * ERR_NOT_FOUND when they can not be had, ERR_BUSY when buffers are missing for that. */
enum err fetch_poll(struct fetch *f, int64_t now) MUST_USE;
/* The wanted range of a shard, once done. */
const uint8_t *fetch_bytes(const struct fetch *f, unsigned index);
/* Gives everything back; what is under way is given up. */
void fetch_release(struct fetch *f);
