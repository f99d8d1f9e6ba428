#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include "common/base/digest.h"
#include "tests/check/memory.h"
#include "tests/check/raft_check_internal.h"

enum { TEXT = 300 };

void raft_check_violated(struct raft_check *c, const char *format, ...)
{
    char text[TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    c->violated(c->arg, text);
}

struct raft_check *raft_check_new(void (*on_violation)(void *arg, const char *text), void *arg)
{
    struct raft_check *c = check_alloc(sizeof *c);
    c->violated = on_violation;
    c->arg = arg;
    c->fact_size = c->choice_size = 1024;
    c->facts = check_alloc(c->fact_size * sizeof *c->facts);
    c->choices = check_alloc(c->choice_size * sizeof *c->choices);
    return c;
}

void raft_check_free(struct raft_check *c)
{
    for (size_t i = 0; i < c->member_count; i++)
        free(c->members[i].log);
    free(c->members);
    free(c->facts);
    free(c->choices);
    free(c->committed);
    free(c->appliers);
    free(c);
}

struct raft_check_counts raft_check_counts(const struct raft_check *c)
{
    return c->counts;
}

/* ---- what is known of everybody ---- */

static uint64_t spread(uint64_t a, uint64_t b)
{
    uint64_t x =
        a * UINT64_C(0x9e3779b97f4a7c15) ^ (b + UINT64_C(0x7f4a7c15)) * UINT64_C(0xd6e8feb8);
    return x ^ x >> 29;
}

static struct fact *fact_slot(struct fact *facts, size_t size, uint64_t index, uint64_t term)
{
    size_t i = spread(index, term) & (size - 1);
    while (facts[i].index && (facts[i].index != index || facts[i].term != term))
        i = (i + 1) & (size - 1);
    return &facts[i];
}

static struct fact *fact_of(struct raft_check *c, uint64_t index, uint64_t term)
{
    if (2 * c->fact_count >= c->fact_size) {
        struct fact *larger = check_alloc(2 * c->fact_size * sizeof *larger);
        for (size_t i = 0; i < c->fact_size; i++)
            if (c->facts[i].index)
                *fact_slot(larger, 2 * c->fact_size, c->facts[i].index, c->facts[i].term) =
                    c->facts[i];
        free(c->facts);
        c->facts = larger;
        c->fact_size *= 2;
    }
    return fact_slot(c->facts, c->fact_size, index, term);
}

static struct choice *choice_slot(struct choice *choices, size_t size, uint64_t member,
                                  uint64_t term)
{
    size_t i = spread(member, term) & (size - 1);
    while (choices[i].term && (choices[i].member != member || choices[i].term != term))
        i = (i + 1) & (size - 1);
    return &choices[i];
}

/* Notes a choice that may be made once; what was chosen before, 0: nothing. */
static uint64_t choose(struct raft_check *c, uint64_t member, uint64_t term, uint64_t choice)
{
    if (2 * c->choice_count >= c->choice_size) {
        struct choice *larger = check_alloc(2 * c->choice_size * sizeof *larger);
        for (size_t i = 0; i < c->choice_size; i++)
            if (c->choices[i].term)
                *choice_slot(larger, 2 * c->choice_size, c->choices[i].member, c->choices[i].term) =
                    c->choices[i];
        free(c->choices);
        c->choices = larger;
        c->choice_size *= 2;
    }
    struct choice *slot = choice_slot(c->choices, c->choice_size, member, term);
    if (slot->term)
        return slot->choice;
    *slot = (struct choice){member, term, choice};
    c->choice_count++;
    return 0;
}

raft_id raft_check_vote_of(const struct raft_check *c, raft_id member, uint64_t term)
{
    const struct choice *slot = choice_slot(c->choices, c->choice_size, member, term);
    return slot->term ? slot->choice : 0;
}

/* NULL behind the bound. */
static struct committed *committed_at(struct raft_check *c, uint64_t index)
{
    if (index == 0 || index > RAFT_CHECK_INDEX_MAX) {
        raft_check_violated(c, "index %" PRIu64 " is beyond what the checker can hold", index);
        return NULL;
    }
    while (index > c->committed_room)
        c->committed =
            check_grow(c->committed, c->committed_room, &c->committed_room, sizeof *c->committed);
    return &c->committed[index - 1];
}

/* ---- one member's log ---- */

static uint64_t digest_of(const struct raft_entry *e)
{
    uint64_t d =
        xxh64(e->payload ? e->payload->data : NULL, raft_entry_length(e), (uint64_t)e->type);
    return d ? d : 1;
}

uint64_t raft_check_term_at(const struct member *m, uint64_t index)
{
    return index > m->base && index <= m->last ? m->log[index - 1].term : 0;
}

static void append(struct raft_check *c, struct member *m, uint64_t index, struct entry entry)
{
    if (index > RAFT_CHECK_INDEX_MAX) {
        raft_check_violated(c, "index %" PRIu64 " is beyond what the checker can hold", index);
        return;
    }
    while (index > m->room)
        m->log = check_grow(m->log, m->room, &m->room, sizeof *m->log);
    uint64_t term = entry.term, digest = entry.digest;
    m->log[index - 1] = entry;
    m->last = index;
    c->counts.entries++;
    uint64_t previous = raft_check_term_at(m, index - 1);
    struct fact *f = fact_of(c, index, term);
    if (!f->index) {
        *f = (struct fact){index, term, digest, previous};
        c->fact_count++;
    }
    if (!f->digest)
        f->digest = digest;
    if (!f->previous)
        f->previous = previous;
    if ((digest && f->digest != digest) || (previous && f->previous != previous))
        raft_check_violated(c,
                            "log matching: entry %" PRIu64 "/%" PRIu64 " of member %016" PRIx64
                            " is another than elsewhere, or has another before it",
                            index, term, m->id);
    if (previous > term)
        raft_check_violated(
            c, "member %016" PRIx64 ": entry %" PRIu64 " has a lower term than the one before",
            m->id, index);
}

static void cut(struct raft_check *c, struct member *m, uint64_t last)
{
    if (last >= m->last)
        return;
    if (last < m->commit)
        raft_check_violated(c,
                            "member %016" PRIx64 " cuts its log at %" PRIu64 ", of which %" PRIu64
                            " is committed",
                            m->id, last, m->commit);
    if (m->leads && raft_is_leader(m->core) && raft_term(m->core) == m->leads_term)
        raft_check_violated(c, "member %016" PRIx64 " leads and cuts its own log at %" PRIu64,
                            m->id, last);
    m->last = last;
}

static void reset(struct member *m, uint64_t base)
{
    m->base = m->last = base;
    m->persisted = 0;
    m->entries_seen = 0;
}

/* ---- a life begins ---- */

static struct member *member_of(struct raft_check *c, raft_id id)
{
    for (size_t i = 0; i < c->member_count; i++)
        if (c->members[i].id == id)
            return &c->members[i];
    if (c->member_count == RAFT_CHECK_MEMBERS) {
        raft_check_violated(c, "more members than the checker can hold");
        return &c->members[0];
    }
    c->members = check_grow(c->members, c->member_count, &c->member_room, sizeof *c->members);
    c->members[c->member_count].id = id;
    return &c->members[c->member_count++];
}

/* What the core had been told was durable must have come back. */
static void durable_came_back(struct raft_check *c, const struct member *m,
                              const struct raft_restored *r)
{
    const struct raft_hard_state *was = &m->durable;
    if (r->hard.term < was->term ||
        (r->hard.term == was->term && was->vote && r->hard.vote != was->vote))
        raft_check_violated(c,
                            "durability: member %016" PRIx64 " came back in term %" PRIu64
                            " with its vote for %016" PRIx64 ", and had term %" PRIu64
                            " with %016" PRIx64,
                            m->id, r->hard.term, r->hard.vote, was->term, was->vote);
    uint64_t from = r->terms->base_index > m->base ? r->terms->base_index : m->base;
    if (r->terms->last_index < m->persisted)
        raft_check_violated(c,
                            "durability: member %016" PRIx64 "'s log came back up to %" PRIu64
                            ", and had been durable up to %" PRIu64,
                            m->id, r->terms->last_index, m->persisted);
    for (uint64_t i = from + 1; i <= m->persisted && i <= r->terms->last_index; i++)
        if (term_runs_at(r->terms, i) != m->log[i - 1].term) {
            raft_check_violated(c,
                                "durability: member %016" PRIx64 "'s entry %" PRIu64
                                " came back with another term",
                                m->id, i);
            return;
        }
}

void raft_check_started(struct raft_check *c, const struct raft *core,
                        const struct raft_restored *restored)
{
    struct raft_status s;
    raft_status(core, &s);
    for (size_t i = 0; i < c->member_count; i++)
        if (c->members[i].core == core)
            c->members[i].core = NULL;
    struct member *m = member_of(c, s.id);
    durable_came_back(c, m, restored);
    if (s.term != restored->hard.term || s.vote != restored->hard.vote)
        raft_check_violated(
            c, "votes: member %016" PRIx64 " begins with another term or vote than its own", m->id);
    const struct term_runs *terms = restored->terms;
    uint64_t old_base = m->base, old_last = m->last;
    m->core = core;
    m->base = m->last = terms->base_index;
    for (uint64_t i = terms->base_index + 1; i <= terms->last_index; i++) {
        uint64_t term = term_runs_at(terms, i);
        bool kept = i > old_base && i <= old_last && m->log[i - 1].term == term;
        uint64_t digest = kept ? m->log[i - 1].digest : fact_of(c, i, term)->digest;
        append(c, m, i, (struct entry){term, digest, 0});
    }
    m->term = s.term;
    m->vote = s.vote;
    m->commit = s.commit;
    m->persisted = s.persisted;
    m->durable = restored->hard;
    m->leads = false;
    m->write_count = 0;
    m->writes_lost = false;
    m->done = 0;
    m->configuration = s.configuration;
    m->messages_before = m->reads_before = 0;
    m->entries_seen = 0;
    memset(m->asked, 0, sizeof m->asked);
}

/* ---- a step ---- */

/* The log as the effects of this step, or of several up to it, leave it. */
static void follow_log(struct raft_check *c, struct member *m, const struct raft_effects *e,
                       const struct raft_status *s)
{
    const struct raft_entries *entries = &e->entries;
    size_t from = m->entries_seen;
    if (e->reset.index && e->reset.index > m->base)
        reset(m, e->reset.index), from = 0;
    if (from > entries->n || (from && (entries->v[from - 1].index != m->seen_index ||
                                       entries->v[from - 1].term != m->seen_term)))
        from = 0;
    for (size_t i = from; i < entries->n; i++) {
        const struct raft_entry *entry = &entries->v[i];
        uint64_t digest = digest_of(entry);
        if (entry->index <= m->last && raft_check_term_at(m, entry->index) == entry->term &&
            m->log[entry->index - 1].digest == digest)
            continue; /* looked at before */
        cut(c, m, entry->index - 1);
        if (entry->index > m->last + 1)
            reset(m, entry->index - 1);
        append(c, m, entry->index, (struct entry){entry->term, digest, e->persist_sequence});
        if (entry->term > s->term)
            raft_check_violated(
                c, "member %016" PRIx64 " appends an entry of term %" PRIu64 " in term %" PRIu64,
                m->id, entry->term, s->term);
    }
    cut(c, m, s->last_index);
    if (s->last_index > m->last)
        reset(m, s->last_index);
    if (s->first_index > m->base + 1)
        m->base = s->first_index - 1 < m->last ? s->first_index - 1 : m->last;
    m->entries_seen = entries->n;
    if (entries->n) {
        m->seen_index = entries->v[entries->n - 1].index;
        m->seen_term = entries->v[entries->n - 1].term;
    }
}

static void follow_commit(struct raft_check *c, struct member *m, const struct raft_status *s)
{
    if (s->commit < m->commit)
        raft_check_violated(
            c, "member %016" PRIx64 "'s commit index went back from %" PRIu64 " to %" PRIu64, m->id,
            m->commit, s->commit);
    if (s->commit > m->last)
        raft_check_violated(
            c, "member %016" PRIx64 " commits %" PRIu64 " and has a log up to %" PRIu64, m->id,
            s->commit, m->last);
    for (uint64_t i = m->commit + 1; i <= s->commit && i <= m->last; i++) {
        struct committed *known = i > m->base ? committed_at(c, i) : NULL;
        if (!known)
            continue;
        const struct entry *mine = &m->log[i - 1];
        if (!known->term) {
            known->term = mine->term;
            known->by_term = s->term;
            c->counts.committed++;
        }
        if (!known->digest)
            known->digest = mine->digest;
        if (known->term != mine->term || (mine->digest && known->digest != mine->digest))
            raft_check_violated(c,
                                "state machine safety: member %016" PRIx64 " commits %" PRIu64
                                "/%" PRIu64 ", another has committed %" PRIu64 "/%" PRIu64 " there",
                                m->id, i, mine->term, i, known->term);
    }
    m->commit = s->commit;
    if (s->commit > c->highest)
        c->highest = s->commit;
}

/* Whether it is new. */
static bool follow_leader(struct raft_check *c, struct member *m, const struct raft_status *s)
{
    bool new = s->role == RAFT_LEADER && (!m->leads || m->leads_term != s->term);
    m->leads = s->role == RAFT_LEADER;
    m->leads_term = s->term;
    if (!new)
        return false;
    c->counts.leaders++;
    if (s->term > c->newest_term)
        c->newest_term = s->term;
    raft_id other = choose(c, 0, s->term, m->id);
    if (other && other != m->id)
        raft_check_violated(
            c, "election safety: %016" PRIx64 " and %016" PRIx64 " lead in term %" PRIu64, other,
            m->id, s->term);
    for (uint64_t i = m->base + 1; i <= c->highest && i <= c->committed_room; i++) {
        const struct committed *known = &c->committed[i - 1];
        if (!known->term || known->by_term >= s->term || raft_check_term_at(m, i) == known->term)
            continue;
        raft_check_violated(c,
                            "leader completeness: %016" PRIx64 " leads in term %" PRIu64
                            " without %" PRIu64 "/%" PRIu64 ", committed in term %" PRIu64,
                            m->id, s->term, i, known->term, known->by_term);
        break;
    }
    return true;
}

static void follow_votes(struct raft_check *c, struct member *m, const struct raft_event *event,
                         const struct raft_status *s)
{
    if (s->term < m->term)
        raft_check_violated(c, "member %016" PRIx64 "'s term went back", m->id);
    if (s->term == m->term && m->vote && s->vote != m->vote)
        raft_check_violated(
            c, "votes: %016" PRIx64 " voted for %016" PRIx64 " and %016" PRIx64 " in term %" PRIu64,
            m->id, m->vote, s->vote, s->term);
    m->term = s->term;
    m->vote = s->vote;
    const struct raft_message *got = event->type == RAFT_MESSAGE ? event->message : NULL;
    if (!got || got->type != RAFT_VOTE_REPLY || got->reject)
        return;
    c->counts.votes++;
    raft_id other = choose(c, got->from, got->term, m->id);
    if (other && other != m->id)
        raft_check_violated(c,
                            "votes: %016" PRIx64 " gave its vote of term %" PRIu64 " to %016" PRIx64
                            " and %016" PRIx64,
                            got->from, got->term, other, m->id);
}

static void follow_writes(struct member *m, const struct raft_event *event,
                          const struct raft_effects *e, const struct raft_status *s)
{
    if (event->type == RAFT_PERSISTED) {
        if (event->sequence > m->done)
            m->done = event->sequence;
        while (m->write_count && m->writes[m->write_first].sequence <= event->sequence) {
            m->durable = m->writes[m->write_first].hard;
            m->write_first = (m->write_first + 1) % WRITES;
            m->write_count--;
        }
    }
    m->persisted = s->persisted;
    if (!e->hard_state_changed)
        return;
    struct write *last = &m->writes[(m->write_first + m->write_count + WRITES - 1) % WRITES];
    if (!m->write_count || last->sequence < e->persist_sequence) {
        if (m->write_count == WRITES) {
            m->writes_lost = true;
            return; /* then this one is not insisted on */
        }
        last = &m->writes[(m->write_first + m->write_count++) % WRITES];
    }
    *last = (struct write){e->persist_sequence, e->hard_state};
}

static void follow_reads(struct raft_check *c, struct member *m, const struct raft_event *event,
                         const struct raft_effects *e)
{
    for (size_t i = 0; i < e->read_count; i++) {
        const struct raft_read_result *r = &e->reads[i];
        struct asked *asked = &m->asked[r->read % READS];
        uint64_t floor = event->type == RAFT_READ && event->read == r->read ? c->highest
                         : asked->read == r->read                           ? asked->floor
                                                                            : 0;
        if (r->err != OK || r->leased)
            continue;
        c->counts.reads++;
        if (r->index < floor)
            raft_check_violated(c,
                                "read: member %016" PRIx64 " may answer at %" PRIu64
                                ", and %" PRIu64 " was committed when it was asked",
                                m->id, r->index, floor);
    }
    if (event->type == RAFT_READ)
        m->asked[event->read % READS] = (struct asked){event->read, c->highest};
}

static struct member *living(struct raft_check *c, const struct raft *core)
{
    for (size_t i = 0; i < c->member_count; i++)
        if (c->members[i].core == core)
            return &c->members[i];
    return NULL;
}

void raft_check_steps(struct raft_check *c, const struct raft *core,
                      const struct raft_effects *effects)
{
    struct member *m = living(c, core);
    if (!m)
        return;
    m->messages_before = effects->message_count;
    m->reads_before = effects->read_count;
}

void raft_check_stepped(struct raft_check *c, const struct raft *core,
                        const struct raft_event *event, const struct raft_effects *effects)
{
    struct member *m = living(c, core);
    if (!m) {
        raft_check_violated(c, "a core steps that never started");
        return;
    }
    struct raft_status s;
    raft_status(core, &s);
    c->counts.steps++;
    follow_votes(c, m, event, &s);
    follow_log(c, m, effects, &s);
    follow_reads(c, m, event, effects);
    uint64_t commit = m->commit;
    follow_commit(c, m, &s);
    bool new_leader = follow_leader(c, m, &s);
    follow_writes(m, event, effects, &s);
    raft_promises_stepped(c, m, event, effects, &s, commit, new_leader);
    m->configuration = s.configuration;
    m->messages_before = m->reads_before = 0;
    if (effects->apply_to > s.commit || effects->apply_to > s.persisted)
        raft_check_violated(c,
                            "member %016" PRIx64 " applies up to %" PRIu64
                            ", committed are %" PRIu64 ", durable %" PRIu64,
                            m->id, effects->apply_to, s.commit, s.persisted);
    if (effects->violation)
        raft_check_violated(c, "member %016" PRIx64 " says: %s", m->id, effects->violation);
}

uint64_t raft_check_newest(const struct raft_check *c)
{
    return c->newest_term;
}

void raft_check_lease_held(struct raft_check *c, raft_id member, uint64_t newest)
{
    const struct member *m = member_of(c, member);
    c->counts.leases++;
    if (m->leads_term < newest)
        raft_check_violated(c,
                            "lease: member %016" PRIx64 " reads as the leader of term %" PRIu64
                            ", and another has led in term %" PRIu64,
                            member, m->leads_term, newest);
}

/* ---- the state machines ---- */

static struct applier *applier_of(struct raft_check *c, uint64_t member)
{
    for (size_t i = 0; i < c->applier_count; i++)
        if (c->appliers[i].member == member)
            return &c->appliers[i];
    c->appliers = check_grow(c->appliers, c->applier_count, &c->applier_room, sizeof *c->appliers);
    c->appliers[c->applier_count].member = member;
    return &c->appliers[c->applier_count++];
}

void raft_check_opened(struct raft_check *c, uint64_t member, uint64_t applied)
{
    applier_of(c, member)->applied = applied;
}

void raft_check_applied(struct raft_check *c, uint64_t member, uint64_t index, const void *data,
                        size_t n, uint64_t hash)
{
    struct applier *a = applier_of(c, member);
    struct committed *known = committed_at(c, index);
    if (!known)
        return;
    uint64_t digest = xxh64(data, n, RAFT_ENTRY_COMMAND);
    digest = digest ? digest : 1;
    c->counts.applied++;
    if (index <= a->applied)
        raft_check_violated(
            c, "state machine %016" PRIx64 " applies %" PRIu64 " again, behind %" PRIu64, member,
            index, a->applied);
    a->applied = index;
    if (known->digest && known->digest != digest)
        raft_check_violated(c,
                            "state machine %016" PRIx64
                            " applies another command than was committed as %" PRIu64,
                            member, index);
    if (known->applied) {
        c->counts.compared++;
        if (known->applied_digest != digest)
            raft_check_violated(
                c, "state machine safety: %016" PRIx64 " applies another command as %" PRIu64,
                member, index);
        else if (known->hash != hash)
            raft_check_violated(c,
                                "state machine %016" PRIx64 " differs behind index %" PRIu64
                                ": hash %016" PRIx64 ", elsewhere %016" PRIx64,
                                member, index, hash, known->hash);
    }
    known->applied = true;
    known->applied_digest = digest;
    known->hash = hash;
}
