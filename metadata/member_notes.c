/* What the members tell one another beside Raft: once in a heartbeat each asks every other one, and is
 * answered with that one's clock and the state of its disk.
 *
 * Clocks (hazard 6). The answer left the other member between asking and hearing, so its clock, less
 * this member's monotonic one, is known to within the way there and back. Each clock may be off by
 * timeouts.clock_error: the time lies where the ranges of a majority of the voters overlap
 * (clock_agreement.h). A leader stamps only inside of it. A member whose own range lies outside does not
 * lead: it resigns and does not stand, once that has lasted for two rounds (a machine that slept finds
 * its samples outdated, and new ones in the next). Where no majority agrees log time stands still:
 * nothing becomes due, and reads and writes go on. A sole voter has nobody to compare with; the hold of
 * time_watch.c protects it as it does when a majority is wrong.
 *
 * During a joint change the incoming voters are counted. Samples are dropped after NOTE_ROUNDS; what a
 * clock drifts in that time is nothing beside the error allowed. */
#include "metadata/service_internal.h"
#include "common/rpc/rpc_peer.h"

enum { NOTE_ROUNDS = 10, OUTSIDE_ROUNDS = 2 };

static int64_t round_time(const struct metadata_service *s)
{
    return s->config.timeouts.heartbeat;
}

/* Locked. */
static struct member_note *note_of(struct metadata_service *s, raft_id id)
{
    for (size_t i = 0; i < s->notes.count; i++)
        if (s->notes.v[i].id == id)
            return &s->notes.v[i];
    return NULL;
}

static bool recent(const struct metadata_service *s, int64_t at, int64_t now)
{
    return at > 0 && now - at <= NOTE_ROUNDS * round_time(s);
}

/* ---- clocks ---- */

static struct clock_range widened(const struct metadata_service *s, struct clock_range r)
{
    int64_t error = s->config.timeouts.clock_error;
    return (struct clock_range){r.low - error, r.high + error};
}

static struct clock_range own_range(const struct metadata_service *s, int64_t now, int64_t wall)
{
    return widened(s, (struct clock_range){wall - now, wall - now});
}

/* Locked. */
static enum clock_state judge(struct metadata_service *s, int64_t now, int64_t wall)
{
    struct clock_range ranges[SERVICE_PEERS_MAX];
    struct clock_range own = own_range(s, now, wall);
    size_t voters = 0, n = 0;
    bool votes = false;
    for (size_t i = 0; i < s->configuration.count; i++) {
        const struct raft_member *m = &s->configuration.members[i];
        if (!(m->roles & RAFT_VOTER))
            continue;
        voters++;
        votes |= m->id == s->identity.member;
        const struct member_note *note = note_of(s, m->id);
        if (m->id == s->identity.member)
            ranges[n++] = own;
        else if (note && recent(s, note->clock_at, now))
            ranges[n++] = widened(s, note->clock);
    }
    size_t majority = voters / 2 + 1;
    if (voters == 1 && votes)
        return CLOCK_ALONE;
    if (voters == 0 || n < majority)
        return CLOCK_UNKNOWN;
    if (!clock_agree(ranges, n, majority, &s->notes.agreed))
        return CLOCK_DISAGREE;
    return clock_touches(own, s->notes.agreed) ? CLOCK_AGREES : CLOCK_OUTSIDE;
}

/* Locked. */
static void look(struct metadata_service *s, int64_t now, int64_t wall)
{
    struct member_notes *n = &s->notes;
    n->clock = judge(s, now, wall);
    if (n->clock != CLOCK_OUTSIDE)
        n->outside_since = 0;
    else if (n->outside_since == 0)
        n->outside_since = now;
}

bool service_clock(struct metadata_service *s, int64_t *time)
{
    int64_t now = sys_now(), wall = sys_wall();
    bool known = false;
    sys_mutex_lock(&s->lock);
    const struct member_notes *n = &s->notes;
    *time = wall;
    if (n->clock == CLOCK_ALONE) {
        known = true;
    } else if (n->clock == CLOCK_AGREES || n->clock == CLOCK_OUTSIDE) {
        /* Its own clock may have been set since the last look. */
        known = clock_touches(own_range(s, now, wall), n->agreed);
        *time = now + clock_clamp(wall - now, n->agreed);
    }
    sys_mutex_unlock(&s->lock);
    return known;
}

/* ---- the exchange ---- */

static void write_note(struct metadata_service *s, int64_t wall, struct state_checkpoints *hashes,
                       MemberNote *out)
{
    member_note__init(out);
    out->from = s->identity.member;
    out->address = (char *)(uintptr_t)s->config.address;
    out->wall = wall;
    sys_mutex_lock(&s->lock);
    out->disk_known = s->space.known;
    out->disk_free_bytes = s->space.free_bytes;
    out->disk_low = s->space.low;
    out->ballast_gone = s->space.known && !s->space.ballast;
    *hashes = s->states.hashes;
    sys_mutex_unlock(&s->lock);
    out->stalled = driver_stalled(s->driver);
    out->hash_indices = hashes->index;
    out->hashes = hashes->hash;
    out->n_hash_indices = out->n_hashes = hashes->count;
}

static void take_hashes(const MemberNote *m, struct state_checkpoints *out)
{
    out->count = m->n_hashes < m->n_hash_indices ? m->n_hashes : m->n_hash_indices;
    if (out->count > STATE_CHECKPOINTS_MAX)
        out->count = 0;
    for (size_t i = 0; i < out->count; i++) {
        out->index[i] = m->hash_indices[i];
        out->hash[i] = m->hashes[i];
    }
}

static void take(struct metadata_service *s, const MemberNote *m, int64_t now)
{
    sys_mutex_lock(&s->lock);
    struct member_note *n = note_of(s, m->from);
    if (!n && raft_configuration_find(&s->configuration, m->from)) {
        if (s->notes.count == SERVICE_PEERS_MAX) /* one who has left makes room */
            for (size_t i = 0; i < s->notes.count && !n; i++)
                if (!raft_configuration_find(&s->configuration, s->notes.v[i].id))
                    n = &s->notes.v[i];
        if (!n)
            n = &s->notes.v[s->notes.count++];
        *n = (struct member_note){.id = m->from};
    }
    if (n) {
        n->heard = now;
        n->stalled = m->stalled;
        n->disk_known = m->disk_known;
        n->disk_free_bytes = m->disk_free_bytes;
        n->disk_low = m->disk_low;
        n->ballast_gone = m->ballast_gone;
        take_hashes(m, &n->hashes);
        /* A long way says little of the clock; an earlier answer may say more. */
        if (m->asked <= now && now - m->asked <= s->config.timeouts.clock_error) {
            n->clock = (struct clock_range){m->wall - now, m->wall - m->asked};
            n->clock_at = now;
        }
    }
    sys_mutex_unlock(&s->lock);
}

static void ask(struct metadata_service *s, raft_id id)
{
    struct raft_peer p;
    if (!service_peer_enter(s, id, NULL, &p))
        return;
    MemberNote note;
    struct state_checkpoints hashes;
    int64_t asked = sys_now();
    if (p.linked) {
        write_note(p.linked, sys_wall(), &hashes, &note);
        note.asked = asked;
        take(s, &note, sys_now());
    } else {
        write_note(s, sys_wall(), &hashes, &note);
        note.asked = asked;
        if (rpc_control_notify(p.peer, MSG_MEMBER_NOTE, &note.base) != OK) {
            /* Not connected, or its queue is full: asked again in the next round. */
        }
    }
    service_peer_leave(s, &p);
}

void service_notes_handle(void *service, struct rpc_request *request)
{
    struct metadata_service *s = service;
    const MemberNote *m = (const MemberNote *)rpc_request_body(request);
    struct raft_peer p;
    int64_t now = sys_now();
    if (m && m->answer) {
        take(s, m, now);
    } else if (m && service_peer_enter(s, m->from, m->address, &p)) {
        MemberNote note;
        struct state_checkpoints hashes;
        write_note(s, sys_wall(), &hashes, &note);
        note.answer = true;
        note.asked = m->asked;
        if (p.peer && rpc_control_notify(p.peer, MSG_MEMBER_NOTE, &note.base) != OK) {
            /* Lost: it asks again. */
        }
        service_peer_leave(s, &p);
    }
    rpc_reply(request, OK, NULL, NULL, 0, 0);
}

void service_notes_start(struct metadata_service *s)
{
    int64_t now = sys_now(), wall = sys_wall();
    sys_mutex_lock(&s->lock);
    s->notes.on = true;
    look(s, now, wall);
    sys_mutex_unlock(&s->lock);
}

bool service_notes_tick(void *service)
{
    struct metadata_service *s = service;
    raft_id others[RAFT_MEMBERS_MAX];
    size_t count = 0;
    int64_t now = sys_now(), wall = sys_wall();
    sys_mutex_lock(&s->lock);
    struct member_notes *n = &s->notes;
    bool on = n->on, was_fit = n->fit;
    if (on) {
        look(s, now, wall);
        service_agreement_look(s);
        if (now >= n->ask_at) {
            n->ask_at = now + round_time(s);
            for (size_t i = 0; i < s->configuration.count; i++)
                if (s->configuration.members[i].id != s->identity.member)
                    others[count++] = s->configuration.members[i].id;
        }
        n->fit = n->outside_since == 0 || now - n->outside_since < OUTSIDE_ROUNDS * round_time(s);
    }
    bool fit = !on || n->fit;
    int64_t off = wall - now - n->agreed.low / 2 - n->agreed.high / 2;
    sys_mutex_unlock(&s->lock);
    if (on && was_fit && !fit)
        log_error("time",
                  "this member's clock is %.1f s from that of the others: it does not lead until "
                  "it is set",
                  (double)off / (double)SYS_SECOND);
    for (size_t i = 0; i < count; i++)
        ask(s, others[i]);
    return fit;
}

/* ---- telling ---- */

bool service_note_low(struct metadata_service *s, raft_id id, int64_t now)
{
    const struct member_note *n = note_of(s, id);
    return n && n->disk_low && recent(s, n->heard, now);
}

/* Locked. What this member knows of one of the group. */
static void describe(struct metadata_service *s, MemberInfo *out, int64_t now, int64_t wall)
{
    const struct member_notes *n = &s->notes;
    const struct member_note *note = note_of(s, out->id);
    bool agreed = n->clock == CLOCK_AGREES || n->clock == CLOCK_OUTSIDE;
    int64_t middle = agreed ? n->agreed.low / 2 + n->agreed.high / 2 : wall - now;
    struct clock_range clock;
    if (out->id == s->identity.member) {
        clock = (struct clock_range){wall - now, wall - now};
    } else if (note && recent(s, note->clock_at, now)) {
        clock = note->clock;
    } else {
        return;
    }
    out->clock_known = true;
    out->clock_offset_ns = clock.low / 2 + clock.high / 2 - middle;
    out->clock_off = agreed && !clock_touches(widened(s, clock), n->agreed);
}

void service_notes_describe(struct metadata_service *s, Members *out)
{
    int64_t now = sys_now(), wall = sys_wall();
    MemberNote own;
    struct state_checkpoints hashes;
    write_note(s, wall, &hashes, &own);
    sys_mutex_lock(&s->lock);
    for (size_t i = 0; i < out->n_members; i++) {
        MemberInfo *m = out->members[i];
        const struct member_note *note = note_of(s, m->id);
        describe(s, m, now, wall);
        if (m->id == s->identity.member) {
            m->disk_known = own.disk_known;
            m->disk_free_bytes = own.disk_free_bytes;
            m->disk_low = own.disk_low;
            m->ballast_gone = own.ballast_gone;
            m->stalled = own.stalled;
        } else if (note && recent(s, note->heard, now)) {
            m->disk_known = note->disk_known;
            m->disk_free_bytes = note->disk_free_bytes;
            m->disk_low = note->disk_low;
            m->ballast_gone = note->ballast_gone;
            m->stalled = note->stalled;
        }
    }
    out->clocks_disagree = s->notes.clock == CLOCK_DISAGREE;
    sys_mutex_unlock(&s->lock);
}
