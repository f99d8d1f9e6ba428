#include "erasure/erasure.h"
#include <assert.h>
#include <limits.h>
#include <string.h>
#include <isa-l/erasure_code.h>

/* ISA-L's prototypes lack const; it only reads its sources. */
static void multiply(size_t length, unsigned k, unsigned rows, const uint8_t *tables,
                     const uint8_t *const sources[], uint8_t *const out[])
{
    assert(length <= INT_MAX);
    ec_encode_data((int)length, (int)k, (int)rows, (unsigned char *)(uintptr_t)tables,
                   (unsigned char **)(uintptr_t)sources, (unsigned char **)(uintptr_t)out);
}

enum err erasure_init(struct erasure *e, unsigned k, unsigned m)
{
    if (k < 1 || k > ERASURE_K_MAX || m > ERASURE_M_MAX)
        return ERR_INVALID;
    memset(e, 0, sizeof *e);
    e->k = k;
    e->m = m;
    gf_gen_cauchy1_matrix(e->matrix, (int)(k + m), (int)k);
    if (k == 1)
        memset(e->matrix, 1, k + m); /* replication: the Cauchy row would be a multiple */
    if (m > 0)
        ec_init_tables((int)k, (int)m, e->matrix + k * k, e->tables);
    return OK;
}

void erasure_encode(const struct erasure *e, size_t length, const uint8_t *const data[],
                    uint8_t *const parity[])
{
    if (length == 0 || e->m == 0)
        return;
    if (e->k == 1) {
        for (unsigned i = 0; i < e->m; i++)
            memcpy(parity[i], data[0], length);
        return;
    }
    multiply(length, e->k, e->m, e->tables, data, parity);
}

/* The k rows of the present cells, inverted: present cells -> data cells. */
static enum err invert(const struct erasure *e, const struct erasure_cell *present,
                       uint8_t inverse[ERASURE_K_MAX * ERASURE_K_MAX])
{
    uint8_t rows[ERASURE_K_MAX * ERASURE_K_MAX];
    uint64_t seen = 0;
    for (unsigned i = 0; i < e->k; i++) {
        unsigned index = present[i].index;
        if (index >= e->k + e->m || (seen >> index & 1))
            return ERR_INVALID;
        seen |= UINT64_C(1) << index;
        memcpy(rows + i * e->k, e->matrix + index * e->k, e->k);
    }
    int failed = gf_invert_matrix(rows, inverse, (int)e->k);
    assert(failed == 0); /* any k rows of the matrix are independent */
    return OK;
}

/* The coefficients that make cell index out of the present cells: its row times the inverse. */
static void wanted_row(const struct erasure *e, const uint8_t *inverse, unsigned index,
                       uint8_t row[])
{
    const uint8_t *own = e->matrix + index * e->k;
    if (index < e->k) {
        memcpy(row, inverse + index * e->k, e->k);
        return;
    }
    for (unsigned c = 0; c < e->k; c++) {
        uint8_t sum = 0;
        for (unsigned i = 0; i < e->k; i++)
            sum ^= gf_mul(own[i], inverse[i * e->k + c]);
        row[c] = sum;
    }
}

enum err erasure_decode(const struct erasure *e, size_t length, const struct erasure_cell *present,
                        size_t present_n, const unsigned *wanted, size_t wanted_n,
                        uint8_t *const out[])
{
    if (present_n < e->k)
        return ERR_SHARDS_LOST;
    for (size_t i = 0; i < wanted_n; i++)
        if (wanted[i] >= e->k + e->m)
            return ERR_INVALID;
    uint8_t inverse[ERASURE_K_MAX * ERASURE_K_MAX];
    enum err err = invert(e, present, inverse);
    if (err || length == 0)
        return err;
    const uint8_t *sources[ERASURE_K_MAX];
    for (unsigned i = 0; i < e->k; i++)
        sources[i] = present[i].bytes;
    /* In groups, so that the tables fit on the stack whatever is wanted. */
    for (size_t at = 0, group; at < wanted_n; at += group) {
        uint8_t rows[ERASURE_M_MAX * ERASURE_K_MAX];
        uint8_t tables[32 * ERASURE_K_MAX * ERASURE_M_MAX];
        group = wanted_n - at < ERASURE_M_MAX ? wanted_n - at : ERASURE_M_MAX;
        for (size_t i = 0; i < group; i++)
            wanted_row(e, inverse, wanted[at + i], rows + i * e->k);
        ec_init_tables((int)e->k, (int)group, rows, tables);
        multiply(length, e->k, (unsigned)group, tables, sources, out + at);
    }
    return OK;
}
