/* Making a core, dispatching its events, and the rules that hold for every message (Raft, section
 * 5.1 and figure 2, "Rules for Servers"). */
#include "metadata/raft/raft.h"
#include <assert.h>
#include "common/base/alloc.h"
#include "metadata/raft/raft_internal.h"

const char *raft_role_name(enum raft_role role)
{
    static const char *const names[] = {"follower", "pre-candidate", "candidate", "leader"};
    return (unsigned)role < 4 ? names[role] : "?";
}

const struct raft_configuration *raft_configuration_now(const struct raft *r)
{
    return &r->configurations[r->configuration_count - 1].c;
}

uint64_t raft_configuration_index(const struct raft *r)
{
    return r->configurations[r->configuration_count - 1].index;
}

int raft_position(const struct raft *r, raft_id id)
{
    const struct raft_configuration *c = raft_configuration_now(r);
    const struct raft_member *m = raft_configuration_find(c, id);
    return m ? (int)(m - c->members) : -1;
}

/* Of the configuration in force, or of one that it may fall back to: one who is being removed may be
 * needed to get that committed (thesis, section 4.2.2). */
bool raft_self_votes(const struct raft *r)
{
    bool votes = false;
    for (size_t i = 0; i < r->configuration_count; i++) {
        const struct raft_member *m =
            raft_configuration_find(&r->configurations[i].c, r->options.id);
        votes |= m && m->roles & (RAFT_VOTER | RAFT_OUTGOING);
    }
    return votes && !raft_removed(r);
}

bool raft_removed(const struct raft *r)
{
    const struct raft_configuration *now = raft_configuration_now(r);
    if (r->removed_at > raft_configuration_index(r))
        return true;
    return now->count && raft_configuration_index(r) <= r->log.commit &&
           !raft_configuration_find(now, r->options.id);
}

void raft_follow(struct raft *r, const struct raft_message *m)
{
    if (r->role != RAFT_FOLLOWER)
        raft_become_follower(r, m->term, m->from);
    r->leader = m->from;
    r->elapsed = 0;
}

void raft_violated(struct raft *r, const char *what)
{
    r->effects->violation = what;
}

static void defaults(struct raft_options *o)
{
    if (!o->heartbeat_ticks)
        o->heartbeat_ticks = 1;
    if (!o->election_min_ticks)
        o->election_min_ticks = 10;
    if (o->election_max_ticks <= o->election_min_ticks)
        o->election_max_ticks = 2 * o->election_min_ticks;
    if (!o->cache_bytes)
        o->cache_bytes = 16 << 20;
    if (!o->batch_bytes)
        o->batch_bytes = RAFT_BATCH_BYTES;
    if (!o->inflight_bytes)
        o->inflight_bytes = RAFT_INFLIGHT_BYTES;
    if (!o->piece_bytes)
        o->piece_bytes = RAFT_PIECE_BYTES;
    if (o->piece_bytes > RAFT_PIECE_MAX)
        o->piece_bytes = RAFT_PIECE_MAX;
}

static enum err restore_configurations(struct raft *r, const struct raft_restored *restored)
{
    /* Before entry 1 arrives, a joining member knows of no member. */
    r->configurations = sys_alloc(sizeof *r->configurations);
    r->configuration_count = r->configuration_capacity = 1;
    for (size_t i = 0; i < restored->configuration_count; i++) {
        enum err e = raft_configuration_push(r, &restored->configurations[i]);
        if (e)
            return ERR_CORRUPT;
    }
    return OK;
}

enum err raft_new(const struct raft_options *options, const struct raft_restored *restored,
                  struct raft **out)
{
    assert(options->id != 0 && options->lease_ns <= options->promise_ns);
    bool below = restored->applied < restored->terms->base_index;
    if (restored->applied > restored->terms->last_index || (below && !restored->discarded) ||
        restored->hard.term < term_runs_last_term(restored->terms))
        return ERR_CORRUPT;
    struct raft *r = sys_alloc(sizeof *r);
    r->options = *options;
    defaults(&r->options);
    r->random = options->seed ^ options->id;
    r->term = restored->hard.term;
    r->vote = restored->hard.vote;
    term_runs_copy(&r->log.terms, restored->terms);
    uint64_t commit = restored->hard.commit;
    if (commit > restored->terms->last_index)
        commit = restored->terms->last_index;
    if (commit < restored->applied)
        commit = restored->applied;
    if (commit < restored->terms->base_index)
        commit = restored->terms->base_index; /* what is compacted away was committed */
    r->log.commit = commit;
    r->log.persisted = restored->terms->last_index;
    r->discarded = below;
    r->log.handed = below ? restored->applied : commit; /* all of it is in the log, so durable */
    r->log.applied = restored->applied;
    enum err e = restore_configurations(r, restored);
    if (e) {
        raft_free(r);
        return e;
    }
    raft_configuration_settle(r);
    struct raft_effects nothing;
    raft_effects_init(&nothing);
    r->effects = &nothing;
    raft_become_follower(r, r->term, 0);
    assert(nothing.persist_sequence == 0 && nothing.message_count == 0);
    r->effects = NULL;
    *out = r;
    return OK;
}

void raft_free(struct raft *r)
{
    if (!r)
        return;
    raft_progress_release(r);
    raft_install_release(r);
    raft_cache_release(&r->log);
    sys_free(r->configurations);
    sys_free(r->reads);
    sys_free(r->persists);
    sys_free(r);
}

/* Decision 10: an answer with our term, so that a leader of the past learns of it and a member whose
 * term ran ahead can come back. */
static void answer_lower_term(struct raft *r, const struct raft_message *m)
{
    switch (m->type) {
    case RAFT_APPEND:
    case RAFT_HEARTBEAT:
    case RAFT_SNAPSHOT: {
        struct raft_message *reply = raft_send(r, RAFT_APPEND_REPLY, m->from);
        reply->reject = true;
        reply->index = m->type == RAFT_HEARTBEAT ? 0 : m->index;
        break;
    }
    case RAFT_PRE_VOTE:
        raft_vote_answer(r, RAFT_PRE_VOTE_REPLY, m->from)->reject = true;
        break;
    case RAFT_VOTE:
        raft_vote_answer(r, RAFT_VOTE_REPLY, m->from)->reject = true;
        break;
    default:
        break;
    }
}

/* Leader stickiness (thesis, section 4.2.3): who hears a leader helps nobody to depose it, unless
 * that leader asked for it. */
static bool sticks_to_leader(const struct raft *r, const struct raft_message *m)
{
    if (m->type != RAFT_PRE_VOTE && (m->type != RAFT_VOTE || m->context == 1))
        return false;
    bool hears =
        r->leader != 0 && r->leader != m->from && r->elapsed < r->options.election_min_ticks;
    return hears || raft_lease_promised(r, m->from);
}

/* Whether the message is to be looked at further. */
static bool settle_term(struct raft *r, const struct raft_message *m)
{
    if (m->term < r->term) {
        answer_lower_term(r, m);
        return false;
    }
    if (sticks_to_leader(r, m)) {
        raft_answer_removed(r, m);
        return false;
    }
    if (m->term == r->term)
        return true;
    /* A pre-vote, and the leave given to one, speak of a term that has not begun. */
    if (m->type == RAFT_PRE_VOTE || (m->type == RAFT_PRE_VOTE_REPLY && !m->reject))
        return true;
    bool from_leader = m->type == RAFT_APPEND || m->type == RAFT_HEARTBEAT ||
                       m->type == RAFT_SNAPSHOT || m->type == RAFT_TIMEOUT_NOW;
    raft_become_follower(r, m->term, from_leader ? m->from : 0);
    return true;
}

static void receive(struct raft *r, const struct raft_message *m)
{
    if (m->from == 0 || m->from == r->options.id || m->to != r->options.id || m->term == 0 ||
        m->term == UINT64_MAX)
        return;
    raft_recv_notice(r, m);
    if (!settle_term(r, m))
        return;
    switch (m->type) {
    case RAFT_PRE_VOTE:
    case RAFT_VOTE:
        raft_recv_vote(r, m);
        break;
    case RAFT_PRE_VOTE_REPLY:
    case RAFT_VOTE_REPLY:
        raft_recv_vote_reply(r, m);
        break;
    case RAFT_APPEND:
        raft_recv_append(r, m);
        break;
    case RAFT_APPEND_REPLY:
        raft_recv_append_reply(r, m);
        break;
    case RAFT_HEARTBEAT:
        raft_recv_heartbeat(r, m);
        break;
    case RAFT_HEARTBEAT_REPLY:
        raft_recv_heartbeat_reply(r, m);
        break;
    case RAFT_SNAPSHOT:
        raft_recv_snapshot(r, m);
        break;
    case RAFT_SNAPSHOT_REPLY:
        raft_recv_snapshot_reply(r, m);
        break;
    case RAFT_TIMEOUT_NOW:
        raft_recv_timeout_now(r, m);
        break;
    default: /* of a later level */
        break;
    }
}

static void applied(struct raft *r, uint64_t index)
{
    assert(index <= r->log.handed);
    if (index > r->log.applied)
        r->log.applied = index;
    raft_reads_release(r);
}

static void compacted(struct raft *r, uint64_t index)
{
    assert(index <= r->log.handed);
    if (index <= r->log.terms.base_index)
        return;
    raft_cache_drop(&r->log, index);
    term_runs_compact(&r->log.terms, index);
}

static enum err dispatch(struct raft *r, const struct raft_event *event)
{
    switch (event->type) {
    case RAFT_TICK:
        raft_tick(r);
        return OK;
    case RAFT_MESSAGE:
        receive(r, event->message);
        return OK;
    case RAFT_PROPOSE:
        return raft_propose(r, event->payloads, event->count);
    case RAFT_CHANGE:
        return raft_change(r, event);
    case RAFT_READ:
        return raft_read(r, event->read, event->lease);
    case RAFT_PERSISTED:
        raft_persisted(r, event->sequence);
        return OK;
    case RAFT_APPLIED:
        applied(r, event->index);
        return OK;
    case RAFT_LOADED:
        raft_loaded(r, event->member, event->entries);
        return OK;
    case RAFT_RESIGN:
        raft_resign(r);
        return OK;
    case RAFT_TRANSFER:
        return raft_transfer(r, event->member);
    case RAFT_SNAPSHOT_READ:
        raft_snapshot_read_done(r, event);
        return OK;
    case RAFT_SNAPSHOT_WRITTEN:
        raft_snapshot_written(r, event);
        return OK;
    case RAFT_INSTALLED:
        raft_installed(r, event->index);
        return OK;
    case RAFT_COMPACTED:
        compacted(r, event->index);
        return OK;
    }
    return ERR_INVALID;
}

enum err raft_step(struct raft *r, const struct raft_event *event, struct raft_effects *effects)
{
    r->effects = effects;
    effects->proposed_first = effects->proposed_term = 0;
    raft_lease_time(r, event->now);
    enum raft_role role = r->role;
    raft_id leader = r->leader;
    uint64_t term = r->term;
    enum err e = dispatch(r, event);
    if (role != r->role || leader != r->leader || term != r->term)
        effects->role_changed = true;
    raft_cache_trim(&r->log, r->options.cache_bytes);
    assert(r->log.commit <= raft_last_index(r));                 /* R1 */
    assert(r->log.handed <= r->log.persisted);                   /* R4 */
    assert(raft_cache_first(&r->log) > r->log.terms.base_index); /* R5 */
    assert(r->log.persisted <= raft_last_index(r));              /* R3 */
    r->effects = NULL;
    return e;
}

void raft_status(const struct raft *r, struct raft_status *out)
{
    *out = (struct raft_status){
        .id = r->options.id,
        .leader = r->leader,
        .vote = r->vote,
        .role = r->role,
        .term = r->term,
        .commit = r->log.commit,
        .applied = r->log.applied,
        .persisted = r->log.persisted,
        .first_index = r->log.terms.base_index + 1,
        .last_index = raft_last_index(r),
        .configuration_index = raft_configuration_index(r),
        .configuration = *raft_configuration_now(r),
        .transfer = r->transfer,
        .install_index = r->install.snapshot.index,
        .install_offset = r->install.written,
        .discarded = r->discarded,
        .removed = raft_removed(r),
        .lease_until = raft_lease_until(r),
    };
    for (size_t i = 0; i < out->configuration.count; i++) {
        out->members[i].id = out->configuration.members[i].id;
        if (r->role != RAFT_LEADER)
            continue;
        const struct raft_progress *p = &r->progress[i];
        bool self = p->id == r->options.id;
        out->members[i].match = self ? r->log.persisted : p->match;
        out->members[i].next = self ? raft_last_index(r) + 1 : p->next;
        out->members[i].flow = p->flow;
        out->members[i].active = self || p->active;
        out->members[i].sending = p->sending.active;
        out->members[i].snapshot_index = p->sending.index;
        out->members[i].snapshot_offset = p->sending.acked;
    }
}

uint64_t raft_term(const struct raft *r)
{
    return r->term;
}

uint64_t raft_commit(const struct raft *r)
{
    return r->log.commit;
}

uint64_t raft_handed(const struct raft *r)
{
    return r->log.handed;
}

bool raft_is_leader(const struct raft *r)
{
    return r->role == RAFT_LEADER;
}

bool raft_leader_ready(const struct raft *r)
{
    return r->role == RAFT_LEADER && r->log.commit >= r->term_start;
}

struct raft_entry raft_bootstrap_entry(const struct raft_configuration *c)
{
    return (struct raft_entry){.index = 1,
                               .term = 1,
                               .type = RAFT_ENTRY_CONFIGURATION,
                               .payload = raft_configuration_encode(c)};
}
