/* What an operator does to the metadata group: members come, go and are replaced, under load and faults.
 * A change that the faults interrupt is ended after them (members_settle). Only one change is under way,
 * so at most one member has lost what it had promised; the others keep their disks. */
#include <stdio.h>
#include <string.h>
#include "common/proto/message_types.h"
#include "common/sys/log.h"
#include "common/sys/sim/sim.h"
#include "tests/sim/nemesis.h"
#include "tests/sim/rare.h"
#include "tests/sim/watch.h"

#define CALL_TIME     (10 * SYS_SECOND)
#define LOOK_EVERY    (500 * SYS_MS)
#define NOTICE        (2 * SYS_SECOND) /* what rot does to a member that starts shows in this time */
#define SETTLE_WITHIN (300 * SYS_SECOND)
enum { VOTERS_MAX = 5, SEGMENTS_LOOKED_AT = 4096, ROT_NEAR = 16 << 10 };

static uint64_t below(uint64_t *dice, uint64_t n)
{
    return nemesis_below(dice, n);
}

uint32_t members_count(const struct nemesis *n)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < n->f->cluster->metadata_count; i++)
        count += n->post[i].stage == POST_FILLED || n->post[i].stage == POST_REMOVE;
    return count;
}

/* ---- asking ---- */

/* The group as its leader knows it; NULL: not now. */
static const Members *ask(struct nemesis *n)
{
    if (!operator_open(n) || view_ask_members(&n->view) != OK)
        return NULL;
    const Members *m = n->view.facts.members;
    return m->leader ? m : NULL;
}

static const MemberInfo *by_id(const Members *m, uint64_t id)
{
    for (size_t i = 0; i < m->n_members; i++)
        if (m->members[i]->id == id)
            return m->members[i];
    return NULL;
}

/* Who is there, other than the one that left. */
static const MemberInfo *at_post(const Members *m, uint32_t post, uint64_t but)
{
    char address[SIM_PATH];
    sim_member_address(post, address);
    for (size_t i = 0; i < m->n_members; i++)
        if (strcmp(m->members[i]->address, address) == 0 && m->members[i]->id != but)
            return m->members[i];
    return NULL;
}

static enum err act(struct nemesis *n, GroupAct what, uint64_t member)
{
    struct request_context request = admin_request(&n->view.admin, CALL_TIME);
    Group body = GROUP__INIT;
    ProtobufCMessage *reply = NULL;
    body.act = what;
    body.member = member;
    return metadata_call_leader(n->view.admin.metadata, &request, MSG_GROUP, &body.base,
                                &n->view.arena, &reply);
}

/* ---- a post, step by step ---- */

static void stop(struct nemesis *n, uint32_t post)
{
    n->f->cluster->member_down[post] = true;
    n->f->cluster->member_may_exit[post] = true;
    sim_crash(n->f->cluster->metadata[post]);
}

static void empty(struct nemesis *n, uint32_t post)
{
    if (sim_disk_wipe(1 + post, "/metadata") != OK)
        workload_fail(n->f->work, "the directory of metadata-%u cannot be wiped", post + 1);
}

/* One step of what is to be done. False: not now. */
static bool step(struct nemesis *n, uint32_t post)
{
    struct post *p = &n->post[post];
    const Members *m = ask(n);
    if (!m)
        return false;
    switch (p->stage) {
    case POST_REMOVE: {
        enum err e = act(n, GROUP_ACT__GROUP_REMOVE, p->id);
        if (e != OK && e != ERR_NOT_FOUND)
            return false;
        p->stage = p->emptied ? POST_JOIN : POST_EMPTY;
        return true;
    }
    case POST_EMPTY:
        /* One that is started again with --join before it is stopped has joined anew: it must run to be
         * removed once more, when without it there is no majority. */
        stop(n, post);
        m = by_id(m, p->id) ? m : ask(n);
        if (!m || by_id(m, p->id)) {
            n->f->cluster->member_down[post] = false;
            p->stage = POST_REMOVE;
            return true;
        }
        empty(n, post);
        p->stage = p->closes ? POST_CLOSED : POST_JOIN;
        n->f->cluster->member_down[post] = p->closes;
        n->harmed_until[post] = 0;
        return true;
    case POST_JOIN: {
        n->f->cluster->member_down[post] = false;
        const MemberInfo *one = at_post(m, post, p->id);
        if (!one || !one->voter)
            return false;
        n->harmed_until[post] = 0;
        *p = (struct post){.stage = POST_FILLED};
        return true;
    }
    default:
        return true;
    }
}

/* One step, told. */
static bool go_on(struct nemesis *n, uint32_t post)
{
    static const char *const stages[] = {"filled", "to be removed", "to be emptied", "joining",
                                         "closed"};
    unsigned before = n->post[post].stage;
    bool done = step(n, post);
    if (before == POST_REMOVE && n->post[post].stage != before) {
        n->removed = true;
        n->f->work->skewed |= sys_now() < n->skewed_until && members_count(n) < 2;
    }
    /* Who lives learns within a second who has joined, before an operator removes another one. */
    if (before == POST_JOIN && done)
        sys_sleep_until(sys_now() + NOTICE);
    if (n->post[post].stage != before)
        log_info("members", "metadata-%u: %s", post + 1, stages[n->post[post].stage]);
    return done;
}

static bool open_post(const struct nemesis *n, uint32_t post)
{
    return n->post[post].stage != POST_FILLED && n->post[post].stage != POST_CLOSED;
}

/* False: the faults are over first, and members_settle goes on. */
static bool carry_out(struct nemesis *n, uint32_t post)
{
    while (open_post(n, post) && !n->ending && !n->f->work->failed)
        if (!go_on(n, post))
            sys_sleep_until(sys_now() + LOOK_EVERY);
    return !open_post(n, post);
}

/* What each of them says, for who looks into it. */
static void tell_all(struct nemesis *n)
{
    const Members *m = ask(n);
    if (!m)
        log_info("members", "nobody leads");
    m = n->view.facts.members;
    for (size_t i = 0; m && i < m->n_members && i < VIEW_MEMBERS_MAX; i++) {
        const Members *own = n->view.own[i];
        log_info("members", "%016llx at %s%s: %s, term %llu, leader %016llx, commit %llu",
                 (unsigned long long)m->members[i]->id, m->members[i]->address,
                 m->members[i]->voter ? ", votes" : "", own ? "answers" : "silent",
                 own ? (unsigned long long)own->term : 0, own ? (unsigned long long)own->leader : 0,
                 own ? (unsigned long long)own->commit : 0);
    }
}

void members_settle(struct nemesis *n)
{
    int64_t until = sys_now() + SETTLE_WITHIN;
    for (uint32_t i = 0; i < n->f->cluster->metadata_count;) {
        if (!open_post(n, i)) {
            i++;
        } else if (n->f->work->failed) {
            return;
        } else if (sys_now() >= until) {
            tell_all(n);
            return workload_fail(n->f->work, "metadata-%u is still not replaced, at stage %d",
                                 i + 1, (int)n->post[i].stage);
        } else if (!go_on(n, i)) {
            sys_sleep_until(sys_now() + LOOK_EVERY);
        }
    }
}

/* ---- changes ---- */

/* One that votes; at times the leader. -1: nobody answers. */
static int choose(struct nemesis *n, uint64_t *dice)
{
    const Members *m = ask(n);
    uint32_t count = n->f->cluster->metadata_count, post = (uint32_t)below(dice, count);
    bool leader = below(dice, 2);
    for (uint32_t i = 0; m && i < 2 * count; i++, post = (post + 1) % count) {
        const MemberInfo *one = at_post(m, post, 0);
        if (n->post[post].stage != POST_FILLED || !one || !one->voter ||
            (leader && i < count && one->id != m->leader))
            continue;
        n->post[post].id = one->id;
        return (int)post;
    }
    return -1;
}

static bool add(struct nemesis *n)
{
    struct sim_cluster *c = n->f->cluster;
    uint32_t post = 0;
    while (post < c->metadata_count && n->post[post].stage != POST_CLOSED)
        post++;
    if (post == c->metadata_count && !sim_cluster_add_member(c))
        return false;
    n->post[post].stage = POST_JOIN;
    return carry_out(n, post);
}

/* Its process runs until it is out, and perhaps longer. */
static bool withdraw(struct nemesis *n, uint32_t post, bool closes, uint64_t *dice)
{
    struct post *p = &n->post[post];
    bool linger = below(dice, 2);
    p->closes = closes;
    p->stage = POST_REMOVE;
    while (p->stage == POST_REMOVE && !n->ending)
        if (!go_on(n, post))
            sys_sleep_until(sys_now() + LOOK_EVERY);
    if (linger && !n->ending)
        sys_sleep_until(sys_now() + nemesis_time(dice, 3 * SYS_SECOND));
    return carry_out(n, post);
}

/* The new one comes first when there is room for it. */
static bool replace(struct nemesis *n, uint64_t *dice)
{
    int post = choose(n, dice);
    if (post < 0)
        return false;
    bool first = below(dice, 2) && members_count(n) < VOTERS_MAX && add(n);
    if (n->ending || (!first && members_count(n) < 2))
        return false;
    return withdraw(n, (uint32_t)post, first, dice);
}

static bool roll(struct nemesis *n, uint64_t *dice)
{
    uint32_t count = members_count(n), done = 0;
    uint64_t before[SIM_METADATA_MAX];
    const Members *m = ask(n);
    if (!m || count < 2)
        return false;
    for (uint32_t i = 0; i < SIM_METADATA_MAX; i++) {
        const MemberInfo *one = at_post(m, i, 0);
        before[i] = one ? one->id : 0;
    }
    for (uint32_t i = 0; i < SIM_METADATA_MAX && !n->ending; i++) {
        if (!before[i] || n->post[i].stage != POST_FILLED)
            continue;
        n->post[i].id = before[i];
        done += withdraw(n, i, false, dice);
    }
    return done == count;
}

/* ---- losses ---- */

/* What was at the post is gone or bad: whatever comes back there is not the member that it was. */
static void lost(struct nemesis *n, uint32_t post)
{
    n->f->cluster->member_may_exit[post] = true;
    n->harmed_until[post] = INT64_MAX;
    n->post[post].stage = POST_REMOVE;
    n->post[post].closes = false;
}

/* Its directory is empty. It is removed before another one is started there, or that one is there first. */
static bool wipe(struct nemesis *n, uint64_t *dice)
{
    int post = members_count(n) < 3 ? -1 : choose(n, dice);
    if (post < 0)
        return false;
    lost(n, (uint32_t)post);
    stop(n, (uint32_t)post);
    empty(n, (uint32_t)post);
    n->post[post].emptied = true;
    n->f->cluster->member_down[post] = below(dice, 2);
    return carry_out(n, (uint32_t)post);
}

/* The segments in use, lowest first; the one that is written last is left alone: behind the last marker
 * rot and a torn tail are the same (metadata/log_format.h, L3). */
static bool rot_log(uint32_t host, uint64_t *dice)
{
    char path[SIM_PATH];
    uint64_t first = 0, count = 0;
    for (uint64_t i = 0; i < SEGMENTS_LOOKED_AT; i++) {
        snprintf(path, sizeof path, "/metadata/log/segment-%016llx.log", (unsigned long long)i);
        bool there = sim_disk_number(host, path) != 0;
        if (there && count++ == 0)
            first = i;
        if (!there && count > 0)
            break;
    }
    if (count == 0)
        return false;
    bool sole = count < 3;
    uint64_t at = first + (sole ? 0 : below(dice, count - 2));
    snprintf(path, sizeof path, "/metadata/log/segment-%016llx.log", (unsigned long long)at);
    return sim_disk_flip(host, path, below(dice, sole ? ROT_NEAR : 64 << 10),
                         (uint8_t)(1 + below(dice, 255))) == OK;
}

static bool rot_state(const struct nemesis *n, uint32_t post, uint64_t *dice)
{
    char directory[SYS_PATH_MAX], path[SYS_PATH_MAX + 8];
    if (!watch_directory(n->f->cluster->metadata[post], directory))
        return false;
    snprintf(path, sizeof path, "%s/log", directory);
    return sim_disk_flip(1 + post, path, below(dice, ROT_NEAR), (uint8_t)(1 + below(dice, 255))) ==
           OK;
}

/* It runs on, or is started again and may refuse to; then it is replaced. */
static bool rot(struct nemesis *n, uint64_t *dice)
{
    int post = members_count(n) < 3 ? -1 : choose(n, dice);
    if (post < 0)
        return false;
    bool harmed =
        below(dice, 2) ? rot_log(1 + (uint32_t)post, dice) : rot_state(n, (uint32_t)post, dice);
    if (!harmed)
        return false;
    lost(n, (uint32_t)post);
    sys_sleep_until(sys_now() + nemesis_time(dice, NOTICE));
    if (below(dice, 4)) {
        uint64_t exits = sim_exits(n->f->cluster->metadata[post]);
        sim_crash(n->f->cluster->metadata[post]);
        sys_sleep_until(sys_now() + NOTICE);
        rare_note(sim_exits(n->f->cluster->metadata[post]) > exits ? RARE_ROT_REFUSED
                                                                   : RARE_ROT_UNNOTICED);
    }
    return carry_out(n, (uint32_t)post);
}

/* ---- all ---- */

static bool compact(struct nemesis *n, uint64_t *dice)
{
    const Members *m = ask(n);
    bool all = below(dice, 2), done = false;
    size_t one = m && m->n_members ? below(dice, m->n_members) : 0;
    for (size_t i = 0; m && i < m->n_members; i++) {
        Group body = GROUP__INIT;
        ProtobufCMessage *reply;
        body.act = GROUP_ACT__GROUP_COMPACT;
        if (all || i == one)
            done |= view_call(&n->view, m->members[i]->address, MSG_GROUP, &body.base,
                              &members__descriptor, CALL_TIME, &reply) == OK;
    }
    return done;
}

static bool transfer(struct nemesis *n, uint64_t *dice)
{
    const Members *m = ask(n);
    if (!m || m->n_members == 0)
        return false;
    uint64_t to = below(dice, 2) ? m->members[below(dice, m->n_members)]->id : 0;
    return act(n, GROUP_ACT__GROUP_TRANSFER, to) == OK;
}

bool members_run(struct nemesis *n, enum fault kind, uint64_t dice)
{
    int post;
    if (n->f->cluster->embedded)
        return false;
    switch (kind) {
    case FAULT_TRANSFER:
        return transfer(n, &dice);
    case FAULT_COMPACT:
        return compact(n, &dice);
    case FAULT_MEMBER_ADD:
        return members_count(n) < VOTERS_MAX && add(n);
    case FAULT_MEMBER_REMOVE:
        post = members_count(n) < 2 ? -1 : choose(n, &dice);
        return post >= 0 && withdraw(n, (uint32_t)post, true, &dice);
    case FAULT_MEMBER_REPLACE:
        return replace(n, &dice);
    case FAULT_MEMBER_ROLL:
        return roll(n, &dice);
    case FAULT_MEMBER_WIPE:
        return wipe(n, &dice);
    default:
        return rot(n, &dice);
    }
}
