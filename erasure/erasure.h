/* Reed-Solomon over GF(2^8), polynomial 0x11d, computed by ISA-L.
 *
 * A code word is k data cells and m parity cells of one length; cell index 0 .. k-1 is data, k ..
 * k+m-1 parity. Byte i of every cell belongs to the same code word, so any byte range of a missing
 * cell is decoded from the same range of any k others.
 *
 * The matrix is part of the on-disk format: parity row r (0 .. m-1), column c holds the inverse of
 * (k + r) xor c, a Cauchy matrix, of which every square part is invertible (the plain Vandermonde
 * one of ISA-L is not, for larger k and m). With k = 1 every coefficient is 1: parity is a copy.
 *
 * One struct erasure serves any number of threads: nothing changes after erasure_init. Encoding and
 * decoding allocate nothing; decoding uses up to 14 KiB of stack. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "common/base/err.h"

enum {
    ERASURE_K_MAX = 32,
    ERASURE_M_MAX = 8,
    ERASURE_CELLS_MAX = ERASURE_K_MAX + ERASURE_M_MAX,
};

struct erasure {
    unsigned k, m;
    uint8_t matrix[ERASURE_CELLS_MAX * ERASURE_K_MAX]; /* (k+m) rows of k; the first k: identity */
    uint8_t tables[32 * ERASURE_K_MAX * ERASURE_M_MAX];
};

/* k 1 .. 32, m 0 .. 8; else ERR_INVALID. Nothing to release. */
enum err erasure_init(struct erasure *e, unsigned k, unsigned m) MUST_USE;

/* Fills the m parity cells. No cell overlaps another; any length and alignment, 64-byte aligned is
 * fastest. length below 2 GiB. */
void erasure_encode(const struct erasure *e, size_t length, const uint8_t *const data[],
                    uint8_t *const parity[]);

/* One cell that is there. */
struct erasure_cell {
    unsigned index; /* 0 .. k+m-1 */
    const uint8_t *bytes;
};

/* Computes the wanted cells, data or parity in any mixture, into out[0 .. wanted_n-1] from the
 * first k of the cells that are there. A wanted cell may be among them (it comes out as a copy).
 * ERR_SHARDS_LOST: present_n < k. ERR_INVALID: an index out of range or present twice. */
enum err erasure_decode(const struct erasure *e, size_t length, const struct erasure_cell *present,
                        size_t present_n, const unsigned *wanted, size_t wanted_n,
                        uint8_t *const out[]) MUST_USE;
