/* A leader's side of a snapshot in pieces (Raft, section 7): the driver reads them, a few are under
 * way, what is lost is sent again from the offset that the follower has. It goes to a member whose
 * next entry is compacted away, and beside appends to one whose state was discarded. */
#include <string.h>
#include "metadata/raft/raft_internal.h"

enum { PATIENCE = 3 }; /* heartbeats' replies without news until pieces count as lost */

static void begin(struct raft_progress *p)
{
    uint64_t wants = p->sending.wants;
    p->sending = (struct raft_sending){.active = true, .wants = wants};
}

void raft_sending_end(struct raft_progress *p)
{
    p->sending = (struct raft_sending){0};
}

void raft_sending_wanted(struct raft *r, struct raft_progress *p, uint64_t wants)
{
    if (wants > raft_last_index(r))
        return; /* cannot be */
    p->sending.wants = wants;
    if (wants && !p->sending.active)
        begin(p);
    else if (!wants && p->flow != RAFT_SNAPSHOT_FLOW)
        raft_sending_end(p);
}

static uint64_t least(const struct raft *r, const struct raft_progress *p)
{
    uint64_t base = r->log.terms.base_index;
    return p->sending.wants > base ? p->sending.wants : base;
}

/* A member that is silent costs nothing, and keeps no image. */
void raft_sending_go_on(struct raft *r, struct raft_progress *p)
{
    struct raft_sending *s = &p->sending;
    if (!p->heard || !p->active)
        return;
    if (!s->active && p->flow == RAFT_SNAPSHOT_FLOW)
        begin(p);
    if (s->active && s->index && s->index < least(r, p)) /* the log no longer goes on behind it */
        begin(p);
    bool full = s->next - s->acked >= RAFT_PIECE_WINDOW * r->options.piece_bytes;
    if (!s->active || s->reading || s->waiting || s->sent_all || full)
        return;
    s->reading = true;
    s->asked_index = s->index;
    s->asked_offset = s->next;
    raft_effect_snapshot_read(r, &(struct raft_snapshot_read){.member = p->id,
                                                              .index = s->index,
                                                              .least = least(r, p),
                                                              .offset = s->next,
                                                              .max_bytes = r->options.piece_bytes});
}

static void go_back(struct raft_sending *s, uint64_t offset)
{
    s->acked = s->next = offset;
    s->sent_all = false;
}

void raft_sending_again(struct raft *r, struct raft_progress *p)
{
    struct raft_sending *s = &p->sending;
    s->waiting = false;
    s->idle = s->acked == s->acked_before && !s->reading ? s->idle + 1 : 0;
    s->acked_before = s->acked;
    if (s->active && s->idle >= PATIENCE) {
        s->idle = 0;
        s->went_back = false;
        /* All of it there, and no word of its being installed: the last piece asks. */
        go_back(s, s->sent_all && s->acked == s->next ? s->last_offset : s->acked);
    }
    raft_sending_go_on(r, p);
}

/* An image that this leader's log goes on behind. */
static bool usable(const struct raft *r, const struct raft_progress *p,
                   const struct raft_event *event)
{
    const struct raft_snapshot *image = event->snapshot;
    size_t length = event->piece ? event->piece->length : 0;
    return image->index >= least(r, p) && image->index > 0 && image->index <= r->log.commit &&
           image->term == raft_term_at(r, image->index) && image->configuration.payload &&
           length <= RAFT_PIECE_MAX && (length > 0 || event->last);
}

static void send_piece(struct raft *r, struct raft_progress *p, const struct raft_event *event)
{
    struct raft_sending *s = &p->sending;
    struct raft_message *m = raft_send(r, RAFT_SNAPSHOT, p->id);
    m->index = s->index;
    m->log_term = s->term;
    m->offset = event->offset;
    m->last = event->last;
    m->piece = raft_payload_ref(event->piece);
    raft_entries_push(&m->entries, &event->snapshot->configuration);
    s->sent_all = event->last;
    s->last_offset = event->offset;
    s->next += event->piece ? event->piece->length : 0;
}

void raft_snapshot_read_done(struct raft *r, const struct raft_event *event)
{
    int position = r->role == RAFT_LEADER ? raft_position(r, event->member) : -1;
    if (position < 0)
        return;
    struct raft_progress *p = &r->progress[position];
    struct raft_sending *s = &p->sending;
    if (!s->active || !s->reading)
        return;
    const struct raft_snapshot *image = event->snapshot;
    bool same = image && s->asked_index && image->index == s->asked_index;
    if (same && event->offset != s->asked_offset)
        return; /* of an earlier sending; what was asked for is still to come */
    s->reading = false;
    if (!image || !usable(r, p, event) || (!same && event->offset != 0)) {
        s->waiting = true;
        return;
    }
    if (image->index != s->index) {
        s->index = image->index;
        s->term = image->term;
        s->went_back = false;
        go_back(s, 0);
    }
    if (event->offset == s->next)
        send_piece(r, p, event);
    raft_sending_go_on(r, p);
}

void raft_recv_snapshot_reply(struct raft *r, const struct raft_message *m)
{
    int position = r->role == RAFT_LEADER ? raft_position(r, m->from) : -1;
    if (position < 0)
        return;
    struct raft_progress *p = &r->progress[position];
    struct raft_sending *s = &p->sending;
    p->active = p->heard = true;
    raft_sending_wanted(r, p, m->commit);
    if (!s->active || m->index != s->index)
        return;
    uint64_t offset = m->hint_index;
    if (m->reject) {
        if (s->went_back && offset == s->acked)
            return; /* those that were under way behind the lost one */
        go_back(s, offset);
        s->went_back = true;
    } else if (offset > s->acked && offset <= s->next) {
        s->acked = offset;
        s->went_back = false;
    }
    raft_sending_go_on(r, p);
}
