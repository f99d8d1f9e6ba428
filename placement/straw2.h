/* straw2: each candidate draws a straw whose length depends on the key, the candidate and its
 * weight alone; the longest wins. Adding, removing or re-weighting one candidate moves only what
 * it wins or loses (Weil et al., "CRUSH", 2006, and Ceph's straw2 bucket). All integers: every
 * machine draws the same, held by committed vectors in tests/unit/placement. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* -log2((u + 1) / 2^64) in units of 2^-40, from 0 (u at its largest) to 64 * 2^40. By table and
 * linear interpolation, within 3e-6 of the true value. */
uint64_t straw2_log(uint64_t u);

/* The cost of a draw: the smallest wins. key names what is being placed, item the candidate;
 * weight 1 .. 2^20. UINT64_MAX for weight 0, which never wins. */
uint64_t straw2_cost(uint64_t key, uint64_t item, uint32_t weight);

struct straw2_item {
    uint64_t id;
    uint32_t weight;
};
/* The index of the winner, ties to the lower id; -1 when no item has weight. */
int straw2_choose(uint64_t key, const struct straw2_item *items, size_t count);
