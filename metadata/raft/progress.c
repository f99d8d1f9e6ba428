/* What a leader knows of each member, and how much is under way to it. */
#include <assert.h>
#include "common/base/alloc.h"
#include "metadata/raft/raft_internal.h"

void raft_progress_probe(struct raft_progress *p)
{
    p->flow = RAFT_PROBE;
    p->next = p->match + 1;
    p->probing = p->loading = false;
    p->inflight_first = p->inflight_count = p->inflight_bytes = 0;
}

void raft_progress_replicate(struct raft_progress *p)
{
    if (p->flow == RAFT_SNAPSHOT_FLOW && !p->sending.wants)
        raft_sending_end(p);
    p->flow = RAFT_REPLICATE;
    p->next = p->match + 1;
    p->probing = p->loading = false;
}

/* What comes next is compacted away. */
void raft_progress_snapshot(struct raft_progress *p)
{
    p->flow = RAFT_SNAPSHOT_FLOW;
    p->probing = p->loading = false;
    p->inflight_first = p->inflight_count = p->inflight_bytes = 0;
}

static void start(struct raft *r, struct raft_progress *p, raft_id id)
{
    *p = (struct raft_progress){.id = id, .next = raft_last_index(r) + 1, .active = true};
}

void raft_progress_release(struct raft *r)
{
    for (size_t i = 0; i < r->progress_count; i++)
        sys_free(r->progress[i].inflight);
    r->progress_count = 0;
}

void raft_progress_reset(struct raft *r)
{
    raft_progress_release(r);
    const struct raft_configuration *c = raft_configuration_now(r);
    r->progress_count = c->count;
    for (size_t i = 0; i < c->count; i++)
        start(r, &r->progress[i], c->members[i].id);
}

/* Keeps what is known of those who stay. */
void raft_progress_rebuild(struct raft *r)
{
    struct raft_progress old[RAFT_MEMBERS_MAX];
    size_t count = r->progress_count;
    for (size_t i = 0; i < count; i++)
        old[i] = r->progress[i];
    const struct raft_configuration *c = raft_configuration_now(r);
    r->progress_count = c->count;
    r->departed_count = 0;
    for (size_t i = 0; i < c->count; i++) {
        size_t at = 0;
        while (at < count && old[at].id != c->members[i].id)
            at++;
        if (at == count) {
            start(r, &r->progress[i], c->members[i].id);
            continue;
        }
        r->progress[i] = old[at];
        old[at].inflight = NULL;
    }
    for (size_t i = 0; i < count; i++) {
        sys_free(old[i].inflight);
        if (raft_position(r, old[i].id) < 0 && old[i].id != r->options.id)
            r->departed[r->departed_count++] = old[i].id;
    }
}

static struct raft_inflight *at(struct raft_progress *p, size_t i)
{
    return &p->inflight[(p->inflight_first + i) % RAFT_INFLIGHT_MESSAGES];
}

void raft_inflight_add(struct raft_progress *p, uint64_t last, size_t bytes)
{
    if (!p->inflight)
        p->inflight = sys_alloc(RAFT_INFLIGHT_MESSAGES * sizeof *p->inflight);
    assert(p->inflight_count < RAFT_INFLIGHT_MESSAGES);
    *at(p, p->inflight_count++) = (struct raft_inflight){.last = last, .bytes = bytes};
    p->inflight_bytes += bytes;
}

void raft_inflight_free_to(struct raft_progress *p, uint64_t index)
{
    while (p->inflight_count && at(p, 0)->last <= index) {
        p->inflight_bytes -= at(p, 0)->bytes;
        p->inflight_first = (p->inflight_first + 1) % RAFT_INFLIGHT_MESSAGES;
        p->inflight_count--;
    }
}

bool raft_inflight_full(const struct raft *r, const struct raft_progress *p)
{
    return p->inflight_count == RAFT_INFLIGHT_MESSAGES ||
           p->inflight_bytes >= r->options.inflight_bytes;
}
