#include "tools/rebuild.h"
#include <stdio.h>
#include "common/base/text.h"

#define SECOND INT64_C(1000000000)

static uint64_t outstanding(const struct rebuild_look *l)
{
    /* A slot that waits and moves already is counted once. */
    uint64_t slots = l->census.slots_moving > l->census.slots_waiting ? l->census.slots_moving
                                                                      : l->census.slots_waiting;
    return slots + l->census.slots_down + l->repair_rows;
}

bool rebuild_whole(const struct rebuild_look *l)
{
    return outstanding(l) == 0 && l->census.slots_missing == 0;
}

bool rebuild_waits(const struct rebuild_look *l)
{
    return l->census.slots_down > 0 && l->census.slots_moving + l->census.slots_waiting == 0;
}

/* A rate over the last few seconds: the disks report once a second. */
static void note_rate(struct rebuild_progress *p, const struct rebuild_look *l)
{
    double seconds = (double)(l->at - p->at) / (double)SECOND;
    if (p->at && seconds > 0) {
        double now = l->bytes >= p->bytes ? (double)(l->bytes - p->bytes) / seconds : 0;
        double weight = seconds < 4 ? seconds / 4 : 1;
        p->bytes_per_s =
            p->bytes_per_s > 0 ? p->bytes_per_s + weight * (now - p->bytes_per_s) : now;
    }
    p->bytes = l->bytes;
    p->at = l->at;
}

void rebuild_note(struct rebuild_progress *p, const struct rebuild_look *l)
{
    uint64_t left = outstanding(l);
    if (left > p->most) {
        p->most = left;
        p->permille = 0;
        p->began = 0;
    }
    if (!p->at) {
        p->first_at = l->at;
        p->first_bytes = l->bytes;
    }
    note_rate(p, l);
    /* By slots alone: of a slot's shards only those are known that have been looked at. */
    double share = p->most ? (double)(p->most - left) / (double)p->most : 1;
    uint32_t permille = rebuild_whole(l) ? 1000 : (uint32_t)(share * 999);
    if (permille > p->permille)
        p->permille = permille;
    if (!p->began) {
        p->began = l->at;
        p->began_permille = p->permille;
    }
    p->left_ns = -1;
    if (p->permille == 1000)
        p->left_ns = 0;
    else if (p->permille > p->began_permille)
        p->left_ns = (int64_t)((double)(l->at - p->began) * (1000 - p->permille) /
                               (p->permille - p->began_permille));
}

void rebuild_words(const struct rebuild_look *l, const struct rebuild_progress *p,
                   char out[REBUILD_WORDS])
{
    char rate[32] = "", left[32] = "";
    if (rebuild_whole(l)) {
        snprintf(out, REBUILD_WORDS, "redundancy is whole: nothing is being rebuilt or moved");
        return;
    }
    if (p->bytes_per_s >= 1) {
        char bytes[24];
        bytes_format((uint64_t)p->bytes_per_s, bytes, sizeof bytes);
        snprintf(rate, sizeof rate, ", %s/s", bytes);
    }
    if (p->left_ns > 0)
        snprintf(left, sizeof left, ", %lld s left", (long long)(p->left_ns / SECOND + 1));
    snprintf(
        out, REBUILD_WORDS, "%llu slots move, %llu wait, %llu down, %llu chunks to repair%s%s",
        (unsigned long long)l->census.slots_moving, (unsigned long long)(l->census.slots_waiting),
        (unsigned long long)l->census.slots_down, (unsigned long long)l->repair_rows, rate, left);
}
