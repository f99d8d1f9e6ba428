#include <assert.h>
#include <string.h>
#include "common/base/shard_crc.h"
#include "common/client/chunk_latency_internal.h"
#include "common/client/map_cache.h"
#include "common/client/shard_client.h"
#include "common/sys/sys.h"
#include "erasure/erasure.h"
#include "erasure/stripe.h"

/* One chunk on its way to k+m disks.
 *
 * The caller's bytes land where they are sent from: a *group* is one buffer per shard, as many stripes
 * as fit into it. A full stripe is encoded at once, while it is hot; a full group is checksummed and
 * handed to the streams, which hold its buffers until they are sent. At most GROUPS_MAX groups wait
 * for a stream that is slow.
 *
 *  W1  A shard that fails is given up, and so is one that keeps the others waiting, in all, for longer
 *      than the grace and the time that the write takes without that: a slow disk at most doubles it.
 *      One that is known to be slow is given up as soon as it does.
 *      The write goes on as long as the ack quorum can be reached. What is given up becomes a repair
 *      order when the object is committed.
 *  W2  Quorum (hazard 8): m = 0: k; else k+1. All k+m are waited for while their disks are up, for
 *      the grace beyond the quorum; for the deadline where one more shard lets the chunk survive the
 *      loss of a whole failure domain; not at all for a disk that is known to be slow. In no case
 *      for longer than COMMIT_PROGRESS progress time-outs: a local disk has no other limit.
 *  W3  However slowly the caller's bytes come, what is queued goes out, and the disks hear often
 *      enough that the write goes on. */

enum { GROUPS_MAX = CHUNK_WINDOW_STRIPES, BLOCKS_PER_GROUP = BUF_LARGE / SHARD_BLOCK };
#define BUFFER_PATIENCE (5 * SYS_SECOND)
#define BUFFER_PAUSE    (5 * SYS_MS)
/* A disk that is well but busy is rarely later than this, and a repair costs far more. */
#define GRACE_LEAST (250 * SYS_MS)
enum { COMMIT_PROGRESS = 5 };
#define TEND_EVERY (100 * SYS_MS)

enum shard_phase { SHARD_OPEN_, SHARD_COMMITTING, SHARD_DURABLE, SHARD_LOST };

struct out {
    enum shard_phase phase;
    disk_id disk;
    struct shard_write *write;
    uint32_t accepted; /* groups that its stream has taken */
    uint32_t crc;      /* of the block CRCs so far */
};

struct group {
    struct buf *bufs[POOL_SLOTS_MAX];
    uint32_t length; /* bytes of each shard */
    uint32_t crcs[POOL_SLOTS_MAX][BLOCKS_PER_GROUP];
};

struct chunk_writer {
    const struct chunk_io *io;
    const struct request_context *request;
    const struct cluster_map *map;
    const struct cluster_pool *pool;
    struct gather gather;
    struct sys_event *event;
    struct erasure erasure;
    struct stripe_layout layout;
    struct chunk_id id;
    uint64_t nonce;
    unsigned k, m, quorum;
    struct out outs[POOL_SLOTS_MAX];

    struct group groups[GROUPS_MAX]; /* a ring: group number modulo GROUPS_MAX */
    uint32_t sealed;                 /* groups that are complete */
    uint32_t released;               /* groups that every live stream has taken */
    bool filling;                    /* group number `sealed` has buffers */
    uint32_t stripes_per_group;
    uint32_t stripe; /* being filled */
    uint32_t filled; /* bytes of it that are there */
    unsigned full;   /* shards that were given up because their disks are full */
    int64_t opened;
    int64_t lagged; /* ns, in all, that a quorum has waited for the others */
    int64_t tended, kept;
};

static unsigned width(const struct chunk_writer *w)
{
    return w->k + w->m;
}

static unsigned live(const struct chunk_writer *w)
{
    unsigned n = 0;
    for (unsigned i = 0; i < width(w); i++)
        n += w->outs[i].phase != SHARD_LOST;
    return n;
}

static unsigned durable(const struct chunk_writer *w)
{
    unsigned n = 0;
    for (unsigned i = 0; i < width(w); i++)
        n += w->outs[i].phase == SHARD_DURABLE;
    return n;
}

/* e: why. */
static void give_up(struct chunk_writer *w, unsigned i, enum err e)
{
    struct out *o = &w->outs[i];
    w->full += e == ERR_DISK_FULL;
    shard_write_free(o->write);
    o->write = NULL;
    o->phase = SHARD_LOST;
}

/* What to say when too few shards are left: that disks are full, if that is why. */
static enum err no_quorum(const struct chunk_writer *w, enum err otherwise)
{
    return w->full > 0 && live(w) + w->full >= w->quorum ? ERR_DISK_FULL : otherwise;
}

static void open_shards(struct chunk_writer *w, int64_t began, uint32_t pg)
{
    for (unsigned i = 0; i < width(w); i++) {
        struct out *o = &w->outs[i];
        const struct pg_slot *slot = pool_slot(w->pool, pg, i);
        const struct stored_shard shard = {
            .id = {.chunk = w->id, .index = (uint8_t)i},
            .pool = w->pool->id,
            .length = w->layout.shard_length,
            .chunk_length = w->layout.chunk_length,
            .cell = w->layout.cell_size,
            .k = (uint8_t)w->k,
            .m = (uint8_t)w->m,
            .nonce = w->nonce,
            .began = began,
        };
        o->disk = slot_newest(slot);
        enum err e = o->disk == 0 || shard_disk_avoided(w->io->shards, o->disk)
                         ? ERR_UNAVAILABLE
                         : shard_write_begin(w->io->shards, &w->gather, o->disk, &shard,
                                             slot_since(slot), i, &o->write);
        if (e != OK)
            give_up(w, i, e);
    }
}

enum err chunk_writer_open(const struct chunk_io *io, const struct request_context *request,
                           uint32_t pool, const struct chunk_id *id, uint32_t length, int64_t began,
                           struct chunk_writer **out)
{
    if (length == 0 || length > CHUNK_BYTES_MAX)
        return ERR_INVALID;
    struct chunk_writer *w = sys_alloc(sizeof *w);
    w->io = io;
    w->request = request;
    w->id = *id;
    w->map = map_cache_ref(io->map);
    w->pool = cluster_map_pool(w->map, pool);
    w->opened = w->tended = w->kept = sys_now();
    enum err e = w->pool ? sys_event_new(&w->event) : ERR_NOT_FOUND;
    if (e == OK)
        e = gather_init(&w->gather, w->event, request);
    if (e != OK) {
        if (w->event)
            sys_event_free(w->event);
        map_cache_unref(io->map, w->map);
        sys_free(w);
        return e;
    }
    w->k = w->pool->k;
    w->m = w->pool->m;
    w->quorum = w->m == 0 ? w->k : w->k + 1;
    sys_random(&w->nonce, sizeof w->nonce);
    w->nonce |= 1; /* 0 is none */
    e = erasure_init(&w->erasure, w->k, w->m);
    if (e == OK)
        e = stripe_layout_init(&w->layout, length, w->k, w->pool->cell_bytes);
    /* Groups end at block boundaries, whatever the cell size. */
    if (e == OK && BUF_LARGE % w->pool->cell_bytes != 0)
        e = ERR_UNSUPPORTED;
    if (e == OK) {
        w->stripes_per_group = BUF_LARGE / w->pool->cell_bytes;
        open_shards(w, began, pg_of_chunk(w->pool, id));
        e = live(w) < w->quorum ? ERR_UNAVAILABLE : OK;
    }
    if (e != OK) {
        chunk_writer_free(w);
        return e;
    }
    *out = w;
    return OK;
}

/* ---- streams ---- */

static void end_of(struct chunk_writer *w, unsigned i, int64_t commit_began)
{
    struct out *o = &w->outs[i];
    if (!o->write)
        return;
    enum err e = shard_write_result(o->write);
    if (e == OK && o->phase == SHARD_COMMITTING) {
        o->phase = SHARD_DURABLE;
        chunk_latency_note(w->io->latency, LATENCY_COMMIT, sys_now() - commit_began);
        shard_write_free(o->write);
        o->write = NULL;
    } else {
        give_up(w, i, e);
    }
}

/* Lets the network move until something happened or `until`. */
static enum err pump(struct chunk_writer *w, int64_t until, int64_t commit_began)
{
    struct call *call;
    enum err e = gather_next(&w->gather, until, &call);
    while (e == OK) {
        struct call_info info = call_info(call);
        if (info.finished)
            end_of(w, info.tag, commit_began);
        e = gather_next(&w->gather, 0, &call);
    }
    return e == ERR_TIMEOUT || e == ERR_EMPTY ? OK : e;
}

/* Hands sealed groups to the streams that have room, and drops the groups that all have taken. */
static void feed(struct chunk_writer *w)
{
    uint32_t least = w->sealed;
    for (unsigned i = 0; i < width(w); i++) {
        struct out *o = &w->outs[i];
        enum err e = OK;
        while (e == OK && o->phase == SHARD_OPEN_ && o->accepted < w->sealed) {
            struct group *g = &w->groups[o->accepted % GROUPS_MAX];
            e = shard_write_append(o->write, g->bufs[i], 0, g->length, g->crcs[i]);
            if (e == OK) {
                o->crc = shard_crc_of_crcs(o->crc, g->crcs[i], shard_block_count(g->length));
                o->accepted++;
            }
        }
        if (e != OK && e != ERR_BUSY)
            give_up(w, i, e);
        if (o->phase == SHARD_OPEN_ && o->accepted < least)
            least = o->accepted;
    }
    for (; w->released < least; w->released++)
        for (unsigned i = 0; i < width(w); i++) {
            struct group *g = &w->groups[w->released % GROUPS_MAX];
            buf_unref(g->bufs[i]);
            g->bufs[i] = NULL;
        }
}

static int64_t grace(const struct chunk_writer *w)
{
    int64_t most = w->io->timeouts.straggler_grace;
    int64_t p99 = chunk_latency_percentile(w->io->latency, LATENCY_COMMIT, 99, most / 3);
    int64_t g = 3 * p99 > GRACE_LEAST ? 3 * p99 : GRACE_LEAST;
    return g < most ? g : most;
}

/* It straggles habitually, or metadata calls it suspect. */
static bool is_slow(const struct chunk_writer *w, unsigned i)
{
    return cluster_map_disk_suspect(w->map, w->outs[i].disk) ||
           chunk_latency_straggles(w->io->latency, w->outs[i].disk);
}

/* Whether only a minority keeps the window full. */
static bool quorum_waits(const struct chunk_writer *w)
{
    unsigned ahead = 0;
    for (unsigned i = 0; i < width(w); i++)
        ahead += w->outs[i].phase == SHARD_OPEN_ && w->outs[i].accepted == w->sealed;
    return ahead >= w->quorum;
}

static bool lags(const struct chunk_writer *w, unsigned i)
{
    return w->outs[i].phase == SHARD_OPEN_ && w->outs[i].accepted == w->released;
}

/* W1: how long a quorum waits for the others, in all. */
static int64_t patience(const struct chunk_writer *w, int64_t now)
{
    for (unsigned i = 0; i < width(w); i++)
        if (lags(w, i) && !is_slow(w, i))
            return w->io->timeouts.straggler_grace + (now - w->opened - w->lagged);
    return 0;
}

/* W1 */
static void drop_laggards(struct chunk_writer *w)
{
    for (unsigned i = 0; i < width(w); i++)
        if (lags(w, i)) {
            chunk_latency_straggled(w->io->latency, w->outs[i].disk, true);
            give_up(w, i, ERR_TIMEOUT);
        }
}

/* Until the window has room for another group (or, all, until every stream has taken everything). */
static enum err await_room(struct chunk_writer *w, bool all)
{
    for (;;) {
        feed(w);
        if (live(w) < w->quorum)
            return no_quorum(w, ERR_NO_QUORUM);
        if (all ? w->released == w->sealed : w->sealed - w->released < GROUPS_MAX)
            return OK;
        int64_t now = sys_now();
        if (now >= w->request->deadline)
            return ERR_TIMEOUT;
        int64_t until = w->request->deadline;
        bool lagging = quorum_waits(w);
        if (lagging) {
            int64_t allowed = patience(w, now);
            if (w->lagged >= allowed) {
                drop_laggards(w);
                continue;
            }
            if (allowed - w->lagged < until - now)
                until = now + allowed - w->lagged;
        }
        enum err e = pump(w, until, 0);
        if (lagging)
            w->lagged += sys_now() - now;
        if (e != OK)
            return e;
    }
}

/* ---- filling ---- */

/* All buffers of a group or none of them, so that two writers never wait for each other's. */
static enum err take_buffers(struct chunk_writer *w, struct group *g, uint32_t length)
{
    for (unsigned i = 0; i < width(w); i++) {
        enum err e = buf_get(w->io->buffers, length, &g->bufs[i]);
        if (e == OK)
            continue;
        while (i-- > 0) {
            buf_unref(g->bufs[i]);
            g->bufs[i] = NULL;
        }
        return e;
    }
    g->length = length;
    return OK;
}

static enum err begin_group(struct chunk_writer *w)
{
    enum err e = await_room(w, false);
    if (e != OK)
        return e;
    uint32_t at = w->sealed * BUF_LARGE;
    uint32_t length = w->layout.shard_length - at;
    if (length > BUF_LARGE)
        length = BUF_LARGE;
    struct group *g = &w->groups[w->sealed % GROUPS_MAX];
    int64_t patience = sys_now() + BUFFER_PATIENCE;
    while ((e = take_buffers(w, g, length)) == ERR_BUSY) {
        int64_t now = sys_now();
        if (now >= patience || now >= w->request->deadline)
            return ERR_BUSY;
        /* Our own groups under way may be what the pool waits for. */
        if (w->gather.outstanding == 0)
            sys_sleep_until(now + BUFFER_PAUSE);
        e = pump(w, now + BUFFER_PAUSE, 0);
        if (e != OK)
            return e;
        feed(w);
    }
    w->filling = e == OK;
    return e;
}

enum err chunk_writer_space(struct chunk_writer *w, void **at, size_t *n)
{
    assert(w->stripe < w->layout.stripes);
    if (!w->filling) {
        enum err e = begin_group(w);
        if (e != OK)
            return e;
    }
    struct group *g = &w->groups[w->sealed % GROUPS_MAX];
    uint32_t cell = stripe_cell_length(&w->layout, w->stripe);
    uint32_t index = w->filled / cell, into = w->filled % cell;
    uint32_t rest = stripe_data_length(&w->layout, w->stripe) - w->filled;
    uint32_t in_group = stripe_shard_offset(&w->layout, w->stripe) - w->sealed * BUF_LARGE;
    *at = g->bufs[index]->data + in_group + into;
    *n = cell - into < rest ? cell - into : rest;
    return OK;
}

/* The stripe's bytes are all there: pads, encodes. */
static void encode_stripe(struct chunk_writer *w)
{
    struct group *g = &w->groups[w->sealed % GROUPS_MAX];
    uint32_t cell = stripe_cell_length(&w->layout, w->stripe);
    uint32_t in_group = stripe_shard_offset(&w->layout, w->stripe) - w->sealed * BUF_LARGE;
    const uint8_t *data[POOL_K_MAX];
    uint8_t *parity[POOL_M_MAX];
    for (unsigned i = 0; i < w->k; i++) {
        uint8_t *bytes = g->bufs[i]->data + in_group;
        uint32_t used = stripe_cell_data_length(&w->layout, w->stripe, i);
        memset(bytes + used, 0, cell - used);
        data[i] = bytes;
    }
    for (unsigned i = 0; i < w->m; i++)
        parity[i] = g->bufs[w->k + i]->data + in_group;
    if (w->m > 0)
        erasure_encode(&w->erasure, cell, data, parity);
}

static void seal_group(struct chunk_writer *w)
{
    struct group *g = &w->groups[w->sealed % GROUPS_MAX];
    uint32_t first = w->sealed * BLOCKS_PER_GROUP;
    for (unsigned i = 0; i < width(w); i++) {
        const struct shard_id id = {.chunk = w->id, .index = (uint8_t)i};
        for (uint32_t b = 0; b * SHARD_BLOCK < g->length; b++) {
            uint32_t at = b * SHARD_BLOCK;
            uint32_t n = g->length - at < SHARD_BLOCK ? g->length - at : SHARD_BLOCK;
            g->crcs[i][b] = shard_crc(&id, first + b, g->bufs[i]->data + at, n);
        }
    }
    w->sealed++;
    w->filling = false;
}

/* W3 */
static enum err tend(struct chunk_writer *w)
{
    int64_t now = sys_now();
    if (now - w->tended < TEND_EVERY)
        return OK;
    w->tended = now;
    feed(w);
    if (now - w->kept > w->io->timeouts.shard_write_idle / 4) {
        w->kept = now;
        for (unsigned i = 0; i < width(w); i++)
            if (w->outs[i].phase == SHARD_OPEN_ && w->outs[i].accepted == w->sealed)
                shard_write_keep(w->outs[i].write);
    }
    return pump(w, 0, 0);
}

enum err chunk_writer_advance(struct chunk_writer *w, size_t n)
{
    w->filled += (uint32_t)n;
    if (w->filled < stripe_data_length(&w->layout, w->stripe))
        return tend(w);
    assert(w->filled == stripe_data_length(&w->layout, w->stripe));
    encode_stripe(w);
    w->stripe++;
    w->filled = 0;
    bool last = w->stripe == w->layout.stripes;
    if (!last && w->stripe % w->stripes_per_group != 0)
        return tend(w);
    seal_group(w);
    feed(w);
    /* Moves what can move without waiting, so that sending overlaps with the next bytes. The last of
     * them leave with the commit. */
    enum err e = last ? OK : pump(w, 0, 0);
    if (e == OK && live(w) < w->quorum)
        e = no_quorum(w, ERR_NO_QUORUM);
    return e;
}

/* ---- the end ---- */

static bool same_domain(const struct chunk_writer *w, disk_id a, disk_id b)
{
    const struct cluster_disk *x = cluster_map_disk(w->map, a), *y = cluster_map_disk(w->map, b);
    return a == b || (x && y && cluster_disks_share(x, y, w->pool->domain));
}

/* Whether the durable shards (and those still coming, with) survive the loss of any one domain. */
static bool survives_domain(const struct chunk_writer *w, bool with_coming)
{
    for (unsigned i = 0; i < width(w); i++) {
        unsigned left = 0;
        for (unsigned j = 0; j < width(w); j++) {
            const struct out *o = &w->outs[j];
            bool counts =
                o->phase == SHARD_DURABLE || (with_coming && o->phase == SHARD_COMMITTING);
            left += counts && !same_domain(w, w->outs[i].disk, o->disk);
        }
        if (left < w->k)
            return false;
    }
    return true;
}

/* Whether a shard that is still coming is worth the grace. */
static bool worth_waiting(const struct chunk_writer *w)
{
    for (unsigned i = 0; i < width(w); i++)
        if (w->outs[i].phase == SHARD_COMMITTING && !is_slow(w, i))
            return true;
    return false;
}

static bool coming(const struct chunk_writer *w)
{
    for (unsigned i = 0; i < width(w); i++)
        if (w->outs[i].phase == SHARD_COMMITTING)
            return true;
    return false;
}

/* Which disks made the others wait. One that was not given the grace has shown nothing new. */
static void note_stragglers(const struct chunk_writer *w, bool had_grace)
{
    for (unsigned i = 0; i < width(w); i++) {
        const struct out *o = &w->outs[i];
        if (o->phase == SHARD_DURABLE || (o->phase == SHARD_COMMITTING && had_grace))
            chunk_latency_straggled(w->io->latency, o->disk, o->phase == SHARD_COMMITTING);
    }
}

/* W2 */
static enum err await_durable(struct chunk_writer *w, int64_t began)
{
    int64_t grace_end = 0;
    int64_t limit = began + COMMIT_PROGRESS * w->io->timeouts.shard_progress;
    if (limit > w->request->deadline)
        limit = w->request->deadline;
    while (coming(w)) {
        int64_t now = sys_now();
        if (durable(w) >= w->quorum && grace_end == 0)
            grace_end = now + grace(w);
        int64_t until = limit;
        bool domain = w->m > 0 && !survives_domain(w, false) && survives_domain(w, true);
        if (grace_end > 0 && !domain) {
            if (now >= grace_end || !worth_waiting(w))
                break;
            until = grace_end < until ? grace_end : until;
        }
        if (live(w) < w->quorum || now >= limit)
            break;
        enum err e = pump(w, until, began);
        if (e != OK)
            return e;
    }
    note_stragglers(w, grace_end > 0 && sys_now() >= grace_end);
    if (durable(w) >= w->quorum)
        return OK;
    return live(w) < w->quorum ? no_quorum(w, ERR_NO_QUORUM) : ERR_TIMEOUT;
}

enum err chunk_writer_finish(struct chunk_writer *w, struct chunk_durable *out)
{
    assert(w->stripe == w->layout.stripes);
    *out = (struct chunk_durable){.sequence = w->id.sequence};
    enum err e = await_room(w, true);
    if (e != OK)
        return e;
    int64_t began = sys_now();
    for (unsigned i = 0; i < width(w); i++)
        if (w->outs[i].phase == SHARD_OPEN_) {
            w->outs[i].phase = SHARD_COMMITTING;
            shard_write_commit(w->outs[i].write, w->outs[i].crc);
        }
    e = await_durable(w, began);
    out->nonce = w->nonce;
    out->width = (uint8_t)width(w);
    for (unsigned i = 0; i < width(w); i++) {
        const struct out *o = &w->outs[i];
        if (o->phase == SHARD_DURABLE || (e != OK && o->phase == SHARD_COMMITTING))
            out->disks[i] = o->disk;
    }
    return e;
}

void chunk_writer_free(struct chunk_writer *w)
{
    if (!w)
        return;
    for (unsigned i = 0; i < POOL_SLOTS_MAX; i++) {
        shard_write_free(w->outs[i].write);
        for (unsigned g = 0; g < GROUPS_MAX; g++)
            buf_unref(w->groups[g].bufs[i]);
    }
    gather_release(&w->gather);
    sys_event_free(w->event);
    map_cache_unref(w->io->map, w->map);
    sys_free(w);
}
