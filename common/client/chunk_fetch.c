#include "common/client/chunk_fetch_internal.h"
#include <assert.h>
#include <string.h>
#include "common/client/chunk_latency_internal.h"
#include "common/sys/sys.h"

#define HEDGE_LEAST   (3 * SYS_MS)
#define HEDGE_MOST    (500 * SYS_MS)
#define HEDGE_UNKNOWN (50 * SYS_MS) /* while no latencies are known */

enum err chunk_source_init(struct chunk_source *s, const struct chunk_io *io, struct gather *g,
                           const struct cluster_map *map, uint32_t pool_id,
                           const struct chunk_id *id, uint32_t chunk_length)
{
    const struct cluster_pool *pool = cluster_map_pool(map, pool_id);
    if (!pool)
        return ERR_NOT_FOUND;
    memset(s, 0, sizeof *s);
    s->io = io;
    s->gather = g;
    s->map = map;
    s->pool_id = pool_id;
    s->pg = pg_of_chunk(pool, id);
    s->id = *id;
    s->k = pool->k;
    s->m = pool->m;
    enum err e = erasure_init(&s->erasure, pool->k, pool->m);
    return e == OK ? stripe_layout_init(&s->layout, chunk_length, pool->k, pool->cell_bytes) : e;
}

static unsigned width(const struct fetch *f)
{
    return (unsigned)f->source->k + f->source->m;
}

static bool covers(const struct shard_range *a, const struct shard_range *b)
{
    return a->offset <= b->offset && a->offset + a->length >= b->offset + b->length;
}

static void drop(struct fetch_shard *s)
{
    shard_read_free(s->read);
    buf_unref(s->bytes);
    s->read = NULL;
    s->bytes = NULL;
}

/* Asks the next holder that can be asked; FETCH_FAILED when there is none left. ERR_BUSY: no
 * buffer. */
static enum err ask(struct fetch *f, unsigned index, struct shard_range range)
{
    struct chunk_source *source = f->source;
    struct fetch_shard *s = &f->shards[index];
    const struct cluster_pool *pool = cluster_map_pool(source->map, source->pool_id);
    const struct pg_slot *slot = pool_slot(pool, source->pg, index);
    struct buf *into = NULL;
    enum err e = buf_get(source->io->buffers, range.length, &into);
    if (e != OK)
        return e;
    const struct shard_id id = {.chunk = source->id, .index = (uint8_t)index};
    while (slot && s->next_holder < slot->count) {
        const struct slot_holder *holder = &slot->holders[s->next_holder++];
        if (holder->disk == source->excluded ||
            !cluster_map_disk_holds(source->map, holder->disk) ||
            shard_disk_avoided(source->io->shards, holder->disk))
            continue;
        e = shard_read_begin(source->io->shards, source->gather, holder->disk, source->pool_id, &id,
                             holder->since_epoch, range, into, 0, f->tag + index, &s->read);
        if (e != OK)
            continue;
        s->state = FETCH_ASKED;
        s->disk = holder->disk;
        s->asked = range;
        s->bytes = into;
        s->started = sys_now();
        return OK;
    }
    buf_unref(into);
    s->state = FETCH_FAILED;
    return OK;
}

/* How many shards cover the whole of `cover`, or will when their answer comes. */
static unsigned covering(const struct fetch *f)
{
    unsigned n = 0;
    for (unsigned i = 0; i < width(f); i++) {
        const struct fetch_shard *s = &f->shards[i];
        n += (s->state == FETCH_ASKED || s->state == FETCH_HAVE) && covers(&s->asked, &f->cover);
    }
    return n;
}

/* Degraded: besides what is asked already (`late` of it perhaps never answered), asks until k shards
 * that cover everything are on their way. */
static enum err ask_others(struct fetch *f, unsigned late)
{
    f->degraded = true;
    for (unsigned i = 0; i < width(f) && covering(f) < f->source->k + late; i++) {
        struct fetch_shard *s = &f->shards[i];
        if (s->state == FETCH_FAILED || (s->state == FETCH_ASKED && !covers(&s->asked, &f->cover)))
            continue;
        if (s->state != FETCH_IDLE && covers(&s->asked, &f->cover))
            continue;
        /* A wanted shard that had been read in part is read again as a whole. */
        if (s->state == FETCH_HAVE) {
            drop(s);
            s->next_holder = s->next_holder ? s->next_holder - 1 : 0;
        }
        enum err e = ask(f, i, f->cover);
        if (e != OK)
            return e;
    }
    return OK;
}

/* ERR_NOT_FOUND when no shard was ever seen and every holder denied it. */
static enum err lost(const struct fetch *f)
{
    const struct chunk_source *s = f->source;
    return s->found == 0 && s->missing > s->m ? ERR_NOT_FOUND : ERR_SHARDS_LOST;
}

static bool any_asked(const struct fetch *f)
{
    for (unsigned i = 0; i < width(f); i++)
        if (f->shards[i].state == FETCH_ASKED)
            return true;
    return false;
}

/* Asked shards that are wanted and have not answered. */
static unsigned wanted_late(const struct fetch *f)
{
    unsigned n = 0;
    for (unsigned i = 0; i < width(f); i++)
        n += f->shards[i].state == FETCH_ASKED && f->shards[i].wanted.length > 0;
    return n;
}

static bool wanted_failed(const struct fetch *f)
{
    for (unsigned i = 0; i < width(f); i++)
        if (f->shards[i].state == FETCH_FAILED && f->shards[i].wanted.length > 0)
            return true;
    return false;
}

enum err fetch_start(struct fetch *f)
{
    uint32_t from = UINT32_MAX, to = 0;
    for (unsigned i = 0; i < width(f); i++) {
        const struct shard_range *w = &f->shards[i].wanted;
        if (w->length == 0)
            continue;
        from = w->offset < from ? w->offset : from;
        to = w->offset + w->length > to ? w->offset + w->length : to;
    }
    assert(from < to && to - from <= FETCH_BYTES_MAX);
    f->cover = (struct shard_range){.offset = from, .length = to - from};
    enum err e = OK;
    for (unsigned i = 0; e == OK && i < width(f); i++)
        if (f->shards[i].wanted.length > 0)
            e = ask(f, i, f->shards[i].wanted);
    if (e == OK && wanted_failed(f))
        e = ask_others(f, 0);
    if (e != OK) {
        fetch_release(f);
        return e;
    }
    int64_t p95 = chunk_latency_percentile(f->source->io->latency, LATENCY_READ, 95, HEDGE_UNKNOWN);
    p95 = p95 < HEDGE_LEAST ? HEDGE_LEAST : p95 > HEDGE_MOST ? HEDGE_MOST : p95;
    f->hedge_at = sys_now() + p95;
    return OK;
}

void fetch_take(struct fetch *f, uint32_t tag)
{
    struct fetch_shard *s = &f->shards[tag - f->tag];
    struct chunk_source *source = f->source;
    if (s->state != FETCH_ASKED)
        return;
    uint64_t nonce = 0;
    enum err e = shard_read_result(s->read, &nonce);
    if (e == OK && source->nonce == 0)
        source->nonce = nonce;
    if (e == OK && nonce == source->nonce) {
        s->state = FETCH_HAVE;
        source->found++;
        chunk_latency_note(source->io->latency, LATENCY_READ, sys_now() - s->started);
        shard_read_free(s->read);
        s->read = NULL;
        return;
    }
    source->missing += e == ERR_NOT_FOUND;
    drop(s);
    s->state = FETCH_IDLE;
    /* Its older holders; then, in fetch_poll, the others. */
    if (ask(f, tag - f->tag, s->asked) != OK)
        s->state = FETCH_FAILED;
}

/* k shards that cover everything are here: computes what is wanted and missing. */
static enum err decode(struct fetch *f)
{
    struct erasure_cell present[POOL_SLOTS_MAX];
    size_t n = 0;
    for (unsigned i = 0; i < width(f); i++) {
        const struct fetch_shard *s = &f->shards[i];
        if (s->state == FETCH_HAVE && covers(&s->asked, &f->cover))
            present[n++] = (struct erasure_cell){
                .index = i, .bytes = s->bytes->data + (f->cover.offset - s->asked.offset)};
    }
    for (unsigned i = 0; i < width(f); i++) {
        struct fetch_shard *s = &f->shards[i];
        if (s->wanted.length == 0 || s->state == FETCH_HAVE)
            continue;
        enum err e = buf_get(f->source->io->buffers, f->cover.length, &s->decoded);
        if (e != OK)
            return e;
        uint8_t *out = s->decoded->data;
        e = erasure_decode(&f->source->erasure, f->cover.length, present, n, &i, 1, &out);
        if (e != OK)
            return e;
    }
    f->done = true;
    return OK;
}

enum err fetch_poll(struct fetch *f, int64_t now)
{
    if (f->done)
        return OK;
    bool complete = true;
    unsigned have = 0;
    for (unsigned i = 0; i < width(f); i++) {
        const struct fetch_shard *s = &f->shards[i];
        complete &= s->wanted.length == 0 || s->state == FETCH_HAVE;
        have += s->state == FETCH_HAVE && covers(&s->asked, &f->cover);
    }
    if (complete) {
        f->done = true;
        return OK;
    }
    if (have >= f->source->k)
        return decode(f);
    unsigned late = now >= f->hedge_at ? wanted_late(f) : 0;
    enum err e = OK;
    if (wanted_failed(f) || f->degraded || late > 0) {
        e = ask_others(f, late < f->source->m ? late : f->source->m);
        if (late > 0)
            f->hedge_at = e == ERR_BUSY ? now + HEDGE_LEAST : SYS_FOREVER;
    }
    /* Without memory for more it goes on with what has been asked. */
    if (any_asked(f))
        return e == ERR_BUSY ? OK : e;
    return e == OK ? lost(f) : e;
}

const uint8_t *fetch_bytes(const struct fetch *f, unsigned index)
{
    const struct fetch_shard *s = &f->shards[index];
    assert(f->done && s->wanted.length > 0);
    if (s->state == FETCH_HAVE)
        return s->bytes->data + (s->wanted.offset - s->asked.offset);
    return s->decoded->data + (s->wanted.offset - f->cover.offset);
}

void fetch_release(struct fetch *f)
{
    for (unsigned i = 0; i < width(f); i++) {
        drop(&f->shards[i]);
        buf_unref(f->shards[i].decoded);
        f->shards[i].decoded = NULL;
    }
}
