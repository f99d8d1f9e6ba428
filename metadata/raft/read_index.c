/* Linearizable reads without the log (Raft, section 8; thesis, section 6.4): note the commit index,
 * hear from a majority that this is still the leader, wait until the index is applied. Reads that
 * arrive while a round is under way share the next one. */
#include <string.h>
#include "common/base/alloc.h"
#include "metadata/raft/raft_internal.h"

enum err raft_read(struct raft *r, uint64_t read, bool lease)
{
    if (r->role != RAFT_LEADER)
        return ERR_NOT_LEADER;
    if (r->read_count >= RAFT_READS_MAX)
        return ERR_BUSY;
    if (r->read_count == r->read_capacity) {
        r->read_capacity = r->read_capacity ? r->read_capacity * 2 : 16;
        r->reads = sys_realloc(r->reads, r->read_capacity * sizeof *r->reads);
    }
    /* Answers leave in order, so not before an earlier one that waits for a round. */
    bool leased = lease && raft_leader_ready(r) && raft_lease_holds(r, r->now) &&
                  (r->read_count == 0 || r->reads[r->read_count - 1].ready);
    r->reads[r->read_count++] = (struct raft_waiting_read){.read = read};
    if (!leased) {
        raft_reads_begin(r);
        return OK;
    }
    struct raft_waiting_read *w = &r->reads[r->read_count - 1];
    w->ready = w->leased = true;
    w->index = r->log.commit;
    w->round = r->round;
    raft_reads_release(r);
    return OK;
}

/* A leader that has not committed an entry of its term may not know all that is committed. */
void raft_reads_begin(struct raft *r)
{
    if (!raft_leader_ready(r) || r->round != r->round_done)
        return;
    bool any = false;
    for (size_t i = r->read_count; i > 0 && r->reads[i - 1].round == 0; i--) {
        r->reads[i - 1].round = r->round + 1;
        r->reads[i - 1].index = r->log.commit;
        any = true;
    }
    if (!any)
        return;
    r->round++;
    r->round_started = r->now;
    raft_heartbeat_all(r);
    raft_reads_confirm(r);
}

void raft_reads_confirm(struct raft *r)
{
    if (r->round == r->round_done)
        return;
    uint32_t yes = 0;
    for (size_t i = 0; i < r->progress_count; i++)
        if (r->progress[i].id == r->options.id || r->progress[i].round == r->round)
            yes |= UINT32_C(1) << i;
    if (!raft_configuration_quorum(raft_configuration_now(r), yes))
        return;
    r->round_done = r->round;
    raft_lease_confirmed(r);
    for (size_t i = 0; i < r->read_count; i++)
        if (r->reads[i].round == r->round)
            r->reads[i].ready = true;
    raft_reads_release(r);
    raft_reads_begin(r);
}

void raft_reads_release(struct raft *r)
{
    size_t done = 0;
    for (; done < r->read_count; done++) {
        const struct raft_waiting_read *w = &r->reads[done];
        if (!w->ready || w->index > r->log.applied)
            break;
        raft_effect_read(
            r, &(struct raft_read_result){.read = w->read, .index = w->index, .leased = w->leased});
    }
    if (done == 0)
        return;
    memmove(r->reads, r->reads + done, (r->read_count - done) * sizeof *r->reads);
    r->read_count -= done;
}

void raft_reads_fail(struct raft *r)
{
    for (size_t i = 0; i < r->read_count; i++)
        raft_effect_read(
            r, &(struct raft_read_result){.read = r->reads[i].read, .err = ERR_NOT_LEADER});
    r->read_count = 0;
}
