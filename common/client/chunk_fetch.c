#include "common/client/chunk_fetch_internal.h"
#include <assert.h>
#include <string.h>
#include "common/client/chunk_latency_internal.h"
#include "common/sys/sys.h"

#define HEDGE_LEAST   (3 * SYS_MS)
#define HEDGE_MOST    (500 * SYS_MS)
#define HEDGE_UNKNOWN (50 * SYS_MS) /* while no latencies are known */
#define BUSY_PAUSE    (5 * SYS_MS)

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

/* Holder number n of a shard: its slot's, newest first, then the one that only the source's owner
 * knows of. */
static bool holder_at(const struct chunk_source *source, unsigned index, unsigned n,
                      struct slot_holder *out)
{
    const struct cluster_pool *pool = cluster_map_pool(source->map, source->pool_id);
    const struct pg_slot *slot = pool_slot(pool, source->pg, index);
    unsigned count = slot ? slot->count : 0;
    if (n < count)
        *out = slot->holders[n];
    else if (n == count && source->known && source->known[index] != 0)
        *out = (struct slot_holder){.disk = source->known[index]};
    else
        return false;
    return true;
}

static bool ask_holder(struct fetch *f, unsigned index, unsigned n, bool insist)
{
    struct chunk_source *source = f->source;
    struct fetch_shard *s = &f->shards[index];
    struct slot_holder holder;
    if (!holder_at(source, index, n, &holder) || holder.disk == source->excluded ||
        !cluster_map_disk_holds(source->map, holder.disk))
        return false;
    const struct shard_id id = {.chunk = source->id, .index = (uint8_t)index};
    s->started = sys_now();
    s->holder = (uint8_t)n;
    s->insisted = insist;
    bool avoided = cluster_map_disk_suspect(source->map, holder.disk) ||
                   shard_disk_avoided(source->io->shards, holder.disk);
    if ((insist || !avoided) &&
        shard_read_begin(source->io->shards, source->gather, holder.disk, source->pool_id, &id,
                         holder.since_epoch, s->asked, s->bytes, 0, insist, f->tag + index,
                         &s->read) == OK)
        return true;
    if (!insist)
        s->passed |= (uint16_t)(1u << n);
    return false;
}

/* The holder that was asked last is the next one again. */
static void step_back(struct fetch_shard *s)
{
    if (s->insisted)
        s->passed |= (uint16_t)(1u << s->holder);
    else
        s->next_holder--;
}

/* Asks the next holder that can be asked; FETCH_FAILED when there is none left. A buffer of a call
 * that has finished is used again. ERR_BUSY: no buffer. */
static enum err ask(struct fetch *f, unsigned index, struct shard_range range)
{
    struct chunk_source *source = f->source;
    struct fetch_shard *s = &f->shards[index];
    struct slot_holder holder;
    if (s->bytes && s->bytes->capacity < range.length)
        drop(s);
    if (!s->bytes && buf_get(source->io->buffers, range.length, &s->bytes) != OK) {
        s->bytes = NULL;
        return ERR_BUSY;
    }
    s->asked = range;
    bool begun = false;
    while (!begun && holder_at(source, index, s->next_holder, &holder))
        begun = ask_holder(f, index, s->next_holder++, false);
    for (unsigned n = 0; f->last_resort && !begun && s->passed != 0; n++) {
        if (!(s->passed >> n & 1))
            continue;
        s->passed &= (uint16_t) ~(1u << n);
        begun = ask_holder(f, index, n, true);
    }
    if (begun) {
        s->state = FETCH_ASKED;
        return OK;
    }
    drop(s);
    s->state = FETCH_FAILED;
    return OK;
}

/* F6: when it began, as far as anybody was there to see it. */
static int64_t began(const struct fetch *f, const struct fetch_shard *s)
{
    return s->started > f->source->resumed ? s->started : f->source->resumed;
}

static bool is_late(const struct fetch *f, const struct fetch_shard *s, int64_t now)
{
    return s->state == FETCH_ASKED && now - began(f, s) >= f->hedge;
}

static int64_t limit(const struct fetch *f)
{
    return 2 * f->source->io->timeouts.shard_progress;
}

/* How many shards cover the whole of `cover`, or will shortly. */
static unsigned promising(const struct fetch *f, int64_t now)
{
    unsigned n = 0;
    for (unsigned i = 0; i < width(f); i++) {
        const struct fetch_shard *s = &f->shards[i];
        bool good = s->state == FETCH_HAVE || (s->state == FETCH_ASKED && !is_late(f, s, now));
        n += good && covers(&s->asked, &f->cover);
    }
    return n;
}

/* F2: when not even with all that are late there will be k. */
static enum err ask_avoided(struct fetch *f)
{
    unsigned possible = 0;
    enum err e = OK;
    for (unsigned i = 0; i < width(f); i++)
        possible += f->shards[i].state == FETCH_HAVE || f->shards[i].state == FETCH_ASKED;
    if (possible >= f->source->k || f->last_resort)
        return OK;
    f->last_resort = true;
    for (unsigned i = 0; e == OK && i < width(f); i++) {
        struct fetch_shard *s = &f->shards[i];
        if (s->state != FETCH_FAILED || s->passed == 0)
            continue;
        s->state = FETCH_IDLE;
        e = ask(f, i, f->cover);
    }
    /* Without a buffer it is tried again from the start. */
    f->last_resort = e == OK;
    return e;
}

/* Asks until k shards that cover everything are here or in time: those that have not been asked yet,
 * then the wanted ones that have been read only in part. */
static enum err ask_others(struct fetch *f, int64_t now)
{
    unsigned good = promising(f, now);
    f->degraded = true;
    for (unsigned n = 0; n < 2 * width(f) && good < f->source->k; n++) {
        struct fetch_shard *s = &f->shards[n % width(f)];
        bool again = n >= width(f) && s->state == FETCH_HAVE && !covers(&s->asked, &f->cover);
        if (s->state != FETCH_IDLE && !again)
            continue;
        if (again) {
            s->state = FETCH_IDLE;
            step_back(s);
        }
        enum err e = ask(f, n % width(f), f->cover);
        if (e != OK)
            return e;
        good += s->state == FETCH_ASKED;
    }
    return ask_avoided(f);
}

/* ERR_NOT_FOUND when no shard was ever seen and so many are denied that the chunk cannot be there. */
static enum err lost(const struct fetch *f)
{
    unsigned denied = 0;
    for (unsigned i = 0; i < width(f); i++)
        denied += f->source->denied >> i & 1;
    return f->source->found == 0 && denied > f->source->m ? ERR_NOT_FOUND : ERR_SHARDS_LOST;
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
    int64_t p95 = chunk_latency_percentile(f->source->io->latency, LATENCY_READ, 95, HEDGE_UNKNOWN);
    f->hedge = p95 < HEDGE_LEAST ? HEDGE_LEAST : p95 > HEDGE_MOST ? HEDGE_MOST : p95;
    f->wake_at = sys_now() + f->hedge;
    bool failed = false;
    enum err e = OK;
    for (unsigned i = 0; e == OK && i < width(f); i++)
        if (f->shards[i].wanted.length > 0) {
            e = ask(f, i, f->shards[i].wanted);
            failed |= f->shards[i].state == FETCH_FAILED;
        }
    if (e == OK && failed)
        e = ask_others(f, sys_now());
    if (e != OK)
        fetch_release(f);
    return e;
}

static void note_latency(const struct fetch *f, const struct fetch_shard *s)
{
    const struct chunk_source *source = f->source;
    if (source->timed == f && s->started >= source->timed_since)
        chunk_latency_note(source->io->latency, LATENCY_READ, sys_now() - s->started);
}

/* Whether the same holder is asked once more. */
static bool is_excused(const struct fetch *f, struct fetch_shard *s, enum err e)
{
    if (e != ERR_CLOSED && e != ERR_TIMEOUT)
        return false;
    if (s->started < f->source->resumed)
        return true;
    /* A connection that had idled may break under the first call that uses it. */
    if (e != ERR_CLOSED || s->repeated)
        return false;
    s->repeated = true;
    return true;
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
    shard_read_free(s->read);
    s->read = NULL;
    if (e == OK && nonce == source->nonce) {
        s->state = FETCH_HAVE;
        source->found++;
        note_latency(f, s);
        return;
    }
    if (e == ERR_NOT_FOUND)
        source->denied |= UINT64_C(1) << (tag - f->tag);
    s->state = FETCH_IDLE;
    if (is_excused(f, s, e))
        step_back(s);
    /* Its holders; then, in fetch_poll, the others. Without a buffer it stays idle until then. */
    if (ask(f, tag - f->tag, s->asked) != OK)
        s->state = FETCH_IDLE;
}

/* F5 */
static void expire(struct fetch *f, int64_t now)
{
    for (unsigned i = 0; i < width(f); i++) {
        struct fetch_shard *s = &f->shards[i];
        if (s->state != FETCH_ASKED || now - began(f, s) < limit(f))
            continue;
        /* The buffer may still be written to: it goes with the call. */
        drop(s);
        s->state = FETCH_IDLE;
        if (ask(f, i, s->asked) != OK)
            s->state = FETCH_IDLE;
    }
}

/* All that is wanted is here: what else was asked is not waited for. */
static void finish(struct fetch *f)
{
    f->done = true;
    for (unsigned i = 0; i < width(f); i++) {
        struct fetch_shard *s = &f->shards[i];
        bool used = s->state == FETCH_HAVE && s->wanted.length > 0;
        /* A late one has taken at least this long: without it the percentiles would know only those
         * that were in time. */
        if (s->state == FETCH_ASKED && s->wanted.length > 0)
            note_latency(f, s);
        if (!used) {
            drop(s);
            s->state = FETCH_FAILED;
        }
    }
}

/* k shards that cover everything are here: computes what is wanted and missing. */
static enum err decode(struct fetch *f)
{
    struct erasure_cell present[POOL_SLOTS_MAX];
    unsigned wanted[POOL_SLOTS_MAX];
    uint8_t *out[POOL_SLOTS_MAX];
    size_t present_n = 0, wanted_n = 0;
    for (unsigned i = 0; i < width(f); i++) {
        struct fetch_shard *s = &f->shards[i];
        if (s->state == FETCH_HAVE && covers(&s->asked, &f->cover))
            present[present_n++] = (struct erasure_cell){
                .index = i, .bytes = s->bytes->data + (f->cover.offset - s->asked.offset)};
        if (s->wanted.length == 0 || s->state == FETCH_HAVE)
            continue;
        if (!s->decoded && buf_get(f->source->io->buffers, f->cover.length, &s->decoded) != OK) {
            s->decoded = NULL;
            return ERR_BUSY;
        }
        wanted[wanted_n] = i;
        out[wanted_n++] = s->decoded->data;
    }
    enum err e = erasure_decode(&f->source->erasure, f->cover.length, present, present_n, wanted,
                                wanted_n, out);
    if (e == OK)
        finish(f);
    return e;
}

struct survey {
    bool complete, failed, late, asked;
    unsigned have; /* that cover everything */
};

static struct survey survey(const struct fetch *f, int64_t now)
{
    struct survey v = {.complete = true};
    for (unsigned i = 0; i < width(f); i++) {
        const struct fetch_shard *s = &f->shards[i];
        bool wanted = s->wanted.length > 0;
        v.complete &= !wanted || s->state == FETCH_HAVE;
        v.failed |= wanted && (s->state == FETCH_FAILED || s->state == FETCH_IDLE);
        v.late |= wanted && is_late(f, s, now);
        v.have += s->state == FETCH_HAVE && covers(&s->asked, &f->cover);
        v.asked |= s->state == FETCH_ASKED;
    }
    return v;
}

static int64_t next_wake(const struct fetch *f, int64_t now)
{
    int64_t wake = SYS_FOREVER;
    for (unsigned i = 0; i < width(f); i++) {
        const struct fetch_shard *s = &f->shards[i];
        int64_t at = began(f, s) + (is_late(f, s, now) ? limit(f) : f->hedge);
        if (s->state == FETCH_ASKED && at < wake)
            wake = at;
    }
    return wake;
}

enum err fetch_poll(struct fetch *f, int64_t now)
{
    if (f->done)
        return OK;
    expire(f, now);
    struct survey v = survey(f, now);
    if (v.complete) {
        finish(f);
        return OK;
    }
    if (v.have >= f->source->k)
        return decode(f);
    enum err e = OK;
    if (v.failed || v.late || f->degraded)
        e = ask_others(f, now);
    f->wake_at = e == ERR_BUSY ? now + BUSY_PAUSE : next_wake(f, now);
    v = survey(f, now);
    /* Without memory for more it goes on with what has been asked. */
    if (v.asked)
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
