/* A follower's side of a snapshot in pieces (Raft, section 7): handed to the driver in order, and
 * once the driver has made it the state, the log begins anew behind it, unless the log goes on behind
 * it already. */
#include <assert.h>
#include "metadata/raft/raft_internal.h"

void raft_install_release(struct raft *r)
{
    raft_payload_unref(r->install.snapshot.configuration.payload);
    r->install = (struct raft_install){0};
}

static bool in_log(const struct raft *r, uint64_t index, uint64_t term)
{
    return index >= r->log.terms.base_index && term && raft_term_at(r, index) == term;
}

bool raft_frozen(const struct raft *r)
{
    const struct raft_install *i = &r->install;
    return i->complete && !in_log(r, i->snapshot.index, i->snapshot.term);
}

static bool sensible(const struct raft_message *m)
{
    if (m->index == 0 || m->index > UINT64_MAX / 2 || m->offset > UINT64_MAX / 2 ||
        m->log_term == 0 || m->log_term > m->term || m->entries.n != 1)
        return false;
    const struct raft_entry *e = &m->entries.v[0];
    struct raft_configuration c;
    if (e->type != RAFT_ENTRY_CONFIGURATION || e->index == 0 || e->index > m->index ||
        e->term == 0 || e->term > m->log_term || !e->payload ||
        raft_configuration_decode(e->payload->data, e->payload->length, &c))
        return false;
    size_t length = m->piece ? m->piece->length : 0;
    return length <= RAFT_PIECE_MAX && (length > 0 || m->last);
}

static void reply(struct raft *r, raft_id to, uint64_t index, uint64_t offset, bool reject)
{
    struct raft_message *m = raft_send(r, RAFT_SNAPSHOT_REPLY, to);
    m->index = index;
    m->hint_index = offset;
    m->reject = reject;
}

/* False: answered. What the log has, or the state, need not come as an image. */
static bool needed(struct raft *r, const struct raft_message *m)
{
    if (r->discarded && m->index < r->log.terms.base_index)
        return false; /* would leave a gap before the log */
    /* What a leader has a snapshot of is committed. */
    if (in_log(r, m->index, m->log_term))
        raft_commit_to(r, m->index);
    if (m->index > r->log.commit || r->discarded)
        return true;
    raft_acknowledge(r, m->from, r->log.commit);
    return false;
}

static bool under_way(const struct raft *r, const struct raft_message *m)
{
    const struct raft_install *i = &r->install;
    return i->snapshot.index == m->index && i->snapshot.term == m->log_term &&
           i->leader_term == m->term;
}

static void begin(struct raft *r, const struct raft_message *m)
{
    raft_install_release(r);
    r->install.snapshot = (struct raft_snapshot){
        .index = m->index, .term = m->log_term, .configuration = m->entries.v[0]};
    raft_payload_ref(m->entries.v[0].payload);
    r->install.leader_term = m->term;
}

void raft_recv_snapshot(struct raft *r, const struct raft_message *m)
{
    if (r->role == RAFT_LEADER) {
        raft_violated(r, "two leaders in one term");
        return;
    }
    if (!sensible(m))
        return;
    raft_follow(r, m);
    struct raft_install *i = &r->install;
    if (i->complete) {
        if (i->snapshot.index == m->index)
            reply(r, m->from, m->index, i->wanted, false);
        return;
    }
    if (!needed(r, m))
        return;
    if (!under_way(r, m)) {
        if (m->offset != 0) {
            reply(r, m->from, m->index, 0, true);
            return;
        }
        begin(r, m);
    }
    if (m->offset != i->wanted) {
        reply(r, m->from, m->index, i->wanted, m->offset > i->wanted);
        return;
    }
    size_t length = m->piece ? m->piece->length : 0;
    if (i->wanted + length - i->written > RAFT_PIECE_WINDOW * RAFT_PIECE_MAX)
        return; /* comes again */
    i->wanted += length;
    i->complete = m->last;
    raft_effect_install(r, &(struct raft_install_piece){.from = m->from,
                                                        .snapshot = i->snapshot,
                                                        .offset = m->offset,
                                                        .piece = m->piece,
                                                        .last = m->last});
}

void raft_snapshot_written(struct raft *r, const struct raft_event *event)
{
    struct raft_install *i = &r->install;
    if (i->snapshot.index == 0 || i->snapshot.index != event->index)
        return; /* given up meanwhile */
    bool known = r->leader && r->leader != r->options.id;
    if (event->err) {
        raft_install_release(r);
        if (known)
            reply(r, r->leader, event->index, 0, true);
        return;
    }
    if (event->offset <= i->written || event->offset > i->wanted)
        return;
    i->written = event->offset;
    if (known)
        reply(r, r->leader, event->index, event->offset, false);
}

void raft_installed(struct raft *r, uint64_t index)
{
    struct raft_install *i = &r->install;
    if (!i->complete || i->snapshot.index != index)
        return;
    assert(r->role != RAFT_LEADER);
    if (raft_frozen(r))
        raft_log_reset(r, &i->snapshot);
    struct raft_log *log = &r->log;
    log->applied = log->applied > index ? log->applied : index;
    log->handed = log->handed > index ? log->handed : index;
    r->discarded = false;
    raft_install_release(r);
    if (r->leader)
        raft_acknowledge(r, r->leader, r->log.commit);
    raft_hand_out(r);
}
