#include "erasure/stripe.h"
#include <assert.h>

enum err stripe_layout_init(struct stripe_layout *l, uint64_t chunk_length, uint32_t k,
                            uint32_t cell_size)
{
    if (chunk_length > STRIPE_CHUNK_MAX || k < 1 || k > STRIPE_K_MAX || cell_size == 0 ||
        cell_size > STRIPE_CELL_MAX || cell_size % STRIPE_ALIGN != 0)
        return ERR_INVALID;
    uint32_t length = (uint32_t)chunk_length, stripe = k * cell_size;
    *l = (struct stripe_layout){.chunk_length = length, .cell_size = cell_size, .k = k};
    if (length == 0)
        return OK;
    l->stripes = (length + stripe - 1) / stripe;
    uint32_t rest = length - (l->stripes - 1) * stripe;
    l->last_cell = ((rest + k - 1) / k + STRIPE_ALIGN - 1) / STRIPE_ALIGN * STRIPE_ALIGN;
    assert(l->last_cell <= cell_size);
    l->shard_length = (l->stripes - 1) * cell_size + l->last_cell;
    return OK;
}

uint32_t stripe_cell_length(const struct stripe_layout *l, uint32_t stripe)
{
    assert(stripe < l->stripes);
    return stripe + 1 < l->stripes ? l->cell_size : l->last_cell;
}

uint32_t stripe_chunk_offset(const struct stripe_layout *l, uint32_t stripe)
{
    assert(stripe < l->stripes);
    return stripe * l->k * l->cell_size;
}

uint32_t stripe_data_length(const struct stripe_layout *l, uint32_t stripe)
{
    uint32_t rest = l->chunk_length - stripe_chunk_offset(l, stripe);
    uint32_t whole = l->k * l->cell_size;
    return rest < whole ? rest : whole;
}

uint32_t stripe_shard_offset(const struct stripe_layout *l, uint32_t stripe)
{
    assert(stripe < l->stripes);
    return stripe * l->cell_size;
}

uint32_t stripe_cell_data_length(const struct stripe_layout *l, uint32_t stripe, uint32_t cell)
{
    assert(cell < l->k);
    uint32_t length = stripe_cell_length(l, stripe), data = stripe_data_length(l, stripe);
    uint32_t before = cell * length;
    if (before >= data)
        return 0;
    return data - before < length ? data - before : length;
}

enum err stripe_walk_init(struct stripe_walk *w, const struct stripe_layout *l, uint64_t from,
                          uint64_t length)
{
    if (from > l->chunk_length || length > l->chunk_length - from)
        return ERR_INVALID;
    *w = (struct stripe_walk){l, (uint32_t)from, (uint32_t)(from + length)};
    return OK;
}

/* The piece that holds chunk byte at, up to the end of its cell or of the chunk. */
static struct stripe_piece piece_at(const struct stripe_layout *l, uint32_t at)
{
    uint32_t stripe = at / (l->k * l->cell_size);
    uint32_t in_stripe = at - stripe_chunk_offset(l, stripe);
    uint32_t length = stripe_cell_length(l, stripe);
    struct stripe_piece p = {.stripe = stripe, .cell = in_stripe / length, .chunk_offset = at};
    p.cell_offset = in_stripe % length;
    p.shard_offset = stripe_shard_offset(l, stripe) + p.cell_offset;
    p.length = stripe_cell_data_length(l, stripe, p.cell) - p.cell_offset;
    return p;
}

bool stripe_walk_next(struct stripe_walk *w, struct stripe_piece *out)
{
    if (w->at == w->end)
        return false;
    *out = piece_at(w->layout, w->at);
    if (out->length > w->end - w->at)
        out->length = w->end - w->at;
    w->at += out->length;
    return true;
}

/* Where in the shard of cell the first chunk byte >= at lies; after the last one, the end of the
 * shard's bytes of the chunk. at <= chunk_length. */
static uint32_t shard_position(const struct stripe_layout *l, uint32_t cell, uint32_t at)
{
    if (at == l->chunk_length) {
        uint32_t last = l->stripes - 1;
        uint32_t held = stripe_cell_data_length(l, last, cell);
        return stripe_shard_offset(l, last) + held;
    }
    struct stripe_piece p = piece_at(l, at);
    if (cell == p.cell)
        return p.shard_offset;
    uint32_t start = stripe_shard_offset(l, p.stripe);
    return cell > p.cell ? start : start + stripe_cell_data_length(l, p.stripe, cell);
}

struct stripe_range stripe_shard_range(const struct stripe_layout *l, uint32_t cell, uint32_t from,
                                       uint32_t length)
{
    assert(cell < l->k && from <= l->chunk_length && length <= l->chunk_length - from);
    struct stripe_range r = {0, 0};
    if (length == 0)
        return r;
    uint32_t a = shard_position(l, cell, from), b = shard_position(l, cell, from + length);
    if (a < b)
        r = (struct stripe_range){a, b - a};
    return r;
}
