#include <assert.h>
#include <string.h>
#include "common/client/chunk_fetch_internal.h"
#include "common/client/map_cache.h"
#include "common/sys/sys.h"

/* A range of a chunk, in order. The range is cut into rounds of a few stripes; while the bytes of one
 * round are used, the next ones are on their way (READ_AHEAD of them).
 *
 *  R1  Nothing moves while the caller uses its bytes, and a server does not wait for long: for a
 *      caller that is slow, nothing is read ahead, and what broke meanwhile is asked again.
 *  R2  A round that lacks memory takes it from the rounds after it.
 *  R3  Bytes that cannot be had are asked for again a few times, after a pause and with the newest map:
 *      servers restart, connections break, and half an answer cannot be taken back. */

enum { READ_AHEAD = 3, SHARD_BYTES_PER_ROUND = FETCH_BYTES_MAX };
#define BUFFER_PATIENCE (5 * SYS_SECOND)
#define BUFFER_PAUSE    (5 * SYS_MS)
enum { LOST_RETRIES = 4 };
#define LOST_PAUSE (100 * SYS_MS) /* doubled each time */

struct round {
    bool used;
    uint32_t from, to; /* of the chunk */
    struct fetch fetch;
};

struct chunk_reader {
    struct chunk_source source;
    const struct request_context *request;
    struct map_cache *map_cache;
    struct gather gather;
    struct sys_event *event;
    uint32_t stripes_per_round;
    uint32_t end;     /* of the range */
    uint32_t planned; /* up to here rounds have been begun */
    struct round rounds[READ_AHEAD];
    uint32_t first; /* the round that is being used: a ring */
    uint32_t ahead; /* rounds that may be begun: 1 .. READ_AHEAD */
    unsigned retries;
    int64_t left; /* when the caller was given its last round; 0: not yet */
    bool walking; /* the pieces of the first round */
    struct stripe_walk walk;
};

enum err chunk_reader_open(const struct chunk_io *io, const struct request_context *request,
                           uint32_t pool, const struct chunk_id *id, uint32_t chunk_length,
                           uint32_t offset, uint32_t length, struct chunk_reader **out)
{
    if ((uint64_t)offset + length > chunk_length)
        return ERR_INVALID;
    struct chunk_reader *r = sys_alloc(sizeof *r);
    r->request = request;
    r->map_cache = io->map;
    const struct cluster_map *map = map_cache_ref(io->map);
    enum err e = sys_event_new(&r->event);
    if (e == OK)
        e = gather_init(&r->gather, r->event, request);
    if (e != OK) {
        map_cache_unref(io->map, map);
        if (r->event)
            sys_event_free(r->event);
        sys_free(r);
        return e;
    }
    e = chunk_source_init(&r->source, io, &r->gather, map, pool, id, chunk_length);
    r->source.map = map;
    if (e == OK) {
        uint32_t cell = r->source.layout.cell_size;
        r->stripes_per_round = cell < SHARD_BYTES_PER_ROUND ? SHARD_BYTES_PER_ROUND / cell : 1;
        r->planned = offset;
        r->end = offset + length;
        e = cell > SHARD_BYTES_PER_ROUND ? ERR_UNSUPPORTED : OK;
    }
    if (e != OK) {
        chunk_reader_free(r);
        return e;
    }
    *out = r;
    return OK;
}

static struct round *round_at(struct chunk_reader *r, uint32_t i)
{
    return &r->rounds[(r->first + i) % READ_AHEAD];
}

/* Begins the next round in a free place. */
static enum err begin_round(struct chunk_reader *r, struct round *round)
{
    const struct stripe_layout *l = &r->source.layout;
    uint32_t bytes_per_stripe = l->k * l->cell_size;
    uint32_t stripe = r->planned / bytes_per_stripe;
    uint64_t to =
        (uint64_t)(stripe / r->stripes_per_round + 1) * r->stripes_per_round * bytes_per_stripe;
    memset(round, 0, sizeof *round);
    round->from = r->planned;
    round->to = to < r->end ? (uint32_t)to : r->end;
    round->fetch.source = &r->source;
    round->fetch.tag = (uint32_t)(round - r->rounds) * FETCH_TAG_STEP;
    for (unsigned i = 0; i < l->k; i++) {
        struct stripe_range w = stripe_shard_range(l, i, round->from, round->to - round->from);
        round->fetch.shards[i].wanted = (struct shard_range){w.offset, w.length};
    }
    enum err e = fetch_start(&round->fetch);
    if (e == OK) {
        round->used = true;
        r->planned = round->to;
    }
    return e;
}

/* Begins as many rounds as there is room and memory for. */
static enum err read_ahead(struct chunk_reader *r)
{
    enum err e = OK;
    for (uint32_t i = 0; e == OK && i < r->ahead && r->planned < r->end; i++)
        if (!round_at(r, i)->used)
            e = begin_round(r, round_at(r, i));
    return e == ERR_BUSY && r->rounds[r->first].used ? OK : e;
}

static void take(struct chunk_reader *r, uint32_t tag)
{
    struct round *round = &r->rounds[tag / FETCH_TAG_STEP];
    if (round->used)
        fetch_take(&round->fetch, tag);
}

/* Whatever is ready now, or the first thing that becomes so until then. */
static enum err pump(struct chunk_reader *r, int64_t until)
{
    struct call *call;
    enum err e = gather_next(&r->gather, until, &call);
    while (e == OK) {
        struct call_info info = call_info(call);
        if (info.finished)
            take(r, info.tag);
        e = gather_next(&r->gather, 0, &call);
    }
    return e == ERR_TIMEOUT || e == ERR_EMPTY ? OK : e;
}

/* R2: gives up the rounds after the first, if there are any. */
static bool fall_back(struct chunk_reader *r)
{
    bool freed = false;
    for (uint32_t i = READ_AHEAD - 1; i > 0; i--) {
        struct round *round = round_at(r, i);
        if (!round->used)
            continue;
        fetch_release(&round->fetch);
        round->used = false;
        r->planned = round->from;
        freed = true;
    }
    r->ahead = 1;
    return freed;
}

/* R3: whether the first round begins anew. */
static bool retry(struct chunk_reader *r)
{
    int64_t until = sys_now() + (LOST_PAUSE << r->retries);
    if (r->retries == LOST_RETRIES || until >= r->request->deadline)
        return false;
    r->retries++;
    (void)fall_back(r);
    struct round *round = &r->rounds[r->first];
    fetch_release(&round->fetch);
    round->used = false;
    r->planned = round->from;
    sys_sleep_until(until);
    const struct cluster_map *unused = map_cache_ref(r->map_cache);
    const struct cluster_pool *pool = cluster_map_pool(unused, r->source.pool_id);
    if (pool) {
        const struct cluster_map *newest = unused;
        unused = r->source.map;
        r->source.map = newest;
        r->source.pg = pg_of_chunk(pool, &r->source.id); /* groups may have been split */
    }
    map_cache_unref(r->map_cache, unused);
    return true;
}

/* The caller is back for more. R1 */
static void resume(struct chunk_reader *r, int64_t now)
{
    bool slow = r->left != 0 && now - r->left > r->source.io->timeouts.shard_progress / 4;
    if (slow)
        r->source.resumed = now;
    r->ahead = slow ? 1 : READ_AHEAD;
    r->source.timed = &r->rounds[r->first].fetch;
    r->source.timed_since = now;
}

/* Moves every round on; how the first one is. */
static enum err poll_rounds(struct chunk_reader *r, int64_t now, int64_t *wake_at)
{
    enum err first = read_ahead(r);
    *wake_at = SYS_FOREVER;
    for (uint32_t i = 0; i < READ_AHEAD; i++) {
        struct round *round = round_at(r, i);
        if (!round->used)
            continue;
        enum err e = fetch_poll(&round->fetch, now);
        if (i == 0 && e != OK)
            first = e; /* those of later rounds come up again when it is their turn */
        if (e == OK && !round->fetch.done && round->fetch.wake_at < *wake_at)
            *wake_at = round->fetch.wake_at;
    }
    return first;
}

/* The first round's bytes are here. */
static enum err await_round(struct chunk_reader *r)
{
    struct round *round = &r->rounds[r->first];
    int64_t now = sys_now();
    int64_t patience = now + BUFFER_PATIENCE;
    resume(r, now);
    enum err e = pump(r, 0);
    while (e == OK) {
        int64_t until;
        now = sys_now();
        e = poll_rounds(r, now, &until);
        if (e == OK && round->used && round->fetch.done) {
            r->left = now;
            return OK;
        }
        if (e == ERR_SHARDS_LOST && retry(r)) {
            e = OK;
            continue;
        }
        if (e != OK && e != ERR_BUSY)
            return e;
        if (now >= r->request->deadline)
            return ERR_TIMEOUT;
        if (e == ERR_BUSY && now >= patience)
            return ERR_BUSY;
        if (e == ERR_BUSY)
            until = fall_back(r) ? now : now + BUFFER_PAUSE;
        if (until > r->request->deadline)
            until = r->request->deadline;
        if (r->gather.outstanding == 0)
            sys_sleep_until(until);
        e = pump(r, until);
    }
    return e;
}

enum err chunk_reader_next(struct chunk_reader *r, const void **data, size_t *n)
{
    struct stripe_piece piece;
    *n = 0;
    for (;;) {
        struct round *round = &r->rounds[r->first];
        if (r->walking && stripe_walk_next(&r->walk, &piece)) {
            const struct fetch *f = &round->fetch;
            uint32_t skip = piece.shard_offset - f->shards[piece.cell].wanted.offset;
            *data = fetch_bytes(f, piece.cell) + skip;
            *n = piece.length;
            return OK;
        }
        if (r->walking) {
            fetch_release(&round->fetch);
            round->used = false;
            r->walking = false;
            r->first = (r->first + 1) % READ_AHEAD;
            continue;
        }
        if (!round->used && r->planned == r->end)
            return OK;
        enum err e = await_round(r);
        if (e == OK)
            e = stripe_walk_init(&r->walk, &r->source.layout, round->from, round->to - round->from);
        if (e != OK)
            return e;
        r->walking = true;
    }
}

unsigned chunk_reader_lost(const struct chunk_reader *r, disk_id disks[POOL_SLOTS_MAX])
{
    const struct fetch *f = &r->rounds[r->first].fetch;
    const struct cluster_pool *pool = cluster_map_pool(r->source.map, r->source.pool_id);
    unsigned n = 0;
    memset(disks, 0, POOL_SLOTS_MAX * sizeof *disks);
    for (unsigned i = 0; pool && i < (unsigned)r->source.k + r->source.m; i++) {
        const struct pg_slot *slot = pool_slot(pool, r->source.pg, i);
        if (f->shards[i].state != FETCH_FAILED || !slot || slot->count == 0)
            continue;
        disks[i] = slot->holders[0].disk;
        n++;
    }
    return n;
}

void chunk_reader_free(struct chunk_reader *r)
{
    if (!r)
        return;
    for (uint32_t i = 0; i < READ_AHEAD; i++)
        if (r->rounds[i].used)
            fetch_release(&r->rounds[i].fetch);
    gather_release(&r->gather);
    sys_event_free(r->event);
    map_cache_unref(r->map_cache, r->source.map);
    sys_free(r);
}
