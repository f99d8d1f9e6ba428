/* Where the bytes of a chunk lie in its shards: pure geometry, a function of (chunk length, k, cell
 * size) alone. It is part of the on-disk format; lengths are never inferred from a shard.
 *
 *   chunk   | stripe 0: k cells | stripe 1: k cells | ... | last stripe: k shorter cells |
 *   shard i | cell i of stripe 0 | cell i of stripe 1 | ... | cell i of the last stripe  |
 *
 *  G1  Stripe s begins at chunk byte s * k * cell and, in every shard, at byte s * cell.
 *  G2  All cells of a stripe, data and parity, have one length: the cell size, but in the last
 *      stripe ceil(rest / k) rounded up to 64. So all shards of a chunk have equal length.
 *  G3  Cell i of a stripe holds the i-th cell length of its bytes. Where the chunk ends earlier, the
 *      cell is padded with zeros: these are stored, and encoded like data.
 *  G4  The bytes of one shard that a range of the chunk needs are contiguous in it.
 *
 * A degraded read of bytes [a, b) of a missing shard needs the same bytes [a, b) of any k others. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "common/base/err.h"

enum {
    STRIPE_CHUNK_MAX = 64 << 20,
    STRIPE_CELL_MAX = 1 << 20,
    STRIPE_ALIGN = 64,
    STRIPE_K_MAX = 32,
};

struct stripe_layout {
    uint32_t chunk_length, cell_size;
    uint32_t k;
    uint32_t stripes;      /* 0 only for an empty chunk */
    uint32_t last_cell;    /* cell length in the last stripe */
    uint32_t shard_length; /* of every shard, data and parity, padding included */
};

/* ERR_INVALID: chunk_length over 64 MiB, k not 1 .. 32, cell_size no multiple of 64 up to 1 MiB. */
enum err stripe_layout_init(struct stripe_layout *l, uint64_t chunk_length, uint32_t k,
                            uint32_t cell_size) MUST_USE;

/* Per stripe; stripe < stripes. */
uint32_t stripe_cell_length(const struct stripe_layout *l, uint32_t stripe);
uint32_t stripe_chunk_offset(const struct stripe_layout *l,
                             uint32_t stripe); /* of its first byte */
uint32_t stripe_data_length(const struct stripe_layout *l,
                            uint32_t stripe); /* bytes of the chunk */
uint32_t stripe_shard_offset(const struct stripe_layout *l, uint32_t stripe); /* in every shard */
/* How many bytes of the chunk data cell 0 .. k-1 holds; what follows in it is zero. */
uint32_t stripe_cell_data_length(const struct stripe_layout *l, uint32_t stripe, uint32_t cell);

/* A range of the chunk, cut where it passes from one cell to the next, in the chunk's order. */
struct stripe_piece {
    uint32_t stripe;
    uint32_t cell;         /* the data shard's index, 0 .. k-1 */
    uint32_t cell_offset;  /* where in the cell */
    uint32_t shard_offset; /* the same place in the shard */
    uint32_t chunk_offset; /* the same place in the chunk */
    uint32_t length;       /* at least 1 */
};
struct stripe_walk {
    const struct stripe_layout *layout;
    uint32_t at, end;
};
/* ERR_INVALID when [from, from + length) is not inside the chunk. */
enum err stripe_walk_init(struct stripe_walk *w, const struct stripe_layout *l, uint64_t from,
                          uint64_t length) MUST_USE;
bool stripe_walk_next(struct stripe_walk *w, struct stripe_piece *out); /* false: no more */

struct stripe_range {
    uint32_t offset, length; /* length 0: nothing of it */
};
/* The bytes of data shard cell that the chunk's range [from, from + length), inside the chunk,
 * touches: all of these and no others (G4). */
struct stripe_range stripe_shard_range(const struct stripe_layout *l, uint32_t cell, uint32_t from,
                                       uint32_t length);
