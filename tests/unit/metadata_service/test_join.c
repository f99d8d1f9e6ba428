/* When a joining member may take itself for a voter: not for a configuration that is in its log alone, which
 * its leader may come back without. */
#include "tests/unit/metadata_service/members_kit.h"

enum { LEADER = 0, JOINER = 1, ROUNDS = 8 };

struct joiner {
    uint64_t member;
    bool voter;     /* in the newest configuration of its log, which acts at once */
    bool votes;     /* for good */
    bool overruled; /* was a voter by its log, and then none */
};

static void joiner_main(void *arg)
{
    struct joiner *j = arg;
    struct members_process p;
    struct sys_poll stop = {.event = sys_stop_event()};
    members_process_start(&p, JOINER);
    j->member = p.member;
    while (sys_poll(&stop, 1, sys_now() + 5 * SYS_MS) != OK) {
        struct arena arena;
        Members ask = MEMBERS__INIT;
        ProtobufCMessage *reply = NULL;
        arena_init(&arena);
        bool votes = metadata_service_votes(p.service);
        CHECK_OK(metadata_service_call(p.service, MSG_MEMBERS, &ask.base, &arena, 0, &reply));
        const MemberInfo *own = members_entry((const Members *)reply, JOINER);
        bool voter = own && own->voter;
        CHECK(!votes || voter);
        j->overruled |= j->voter && !voter;
        j->votes |= votes;
        j->voter = voter;
        arena_release(&arena);
    }
    members_process_stop(&p);
}

static enum err ask_to_join(struct members_test *t, uint64_t member, int64_t timeout)
{
    char address[SYS_ADDR_TEXT];
    struct arena arena;
    ProtobufCMessage *reply = NULL;
    Join body = JOIN__INIT;
    const struct request_context request = {.deadline = sys_now() + timeout};
    world_address(MEMBERS_HOST + JOINER, address);
    body.id = member;
    body.address = address;
    arena_init(&arena);
    enum err e =
        metadata_call_leader(t->c.metadata, &request, MSG_JOIN, &body.base, &arena, &reply);
    arena_release(&arena);
    return e;
}

static bool leads(const Members *m, const MemberInfo *one)
{
    return m->leader == one->id;
}

static bool learns(const Members *m, const MemberInfo *one)
{
    return !one->voter && one->match == m->commit;
}

static void wait_for(const bool *flag, const bool *other)
{
    for (int i = 0; i < 300 && !*flag && !*other; i++)
        sys_sleep_until(sys_now() + 100 * SYS_MS);
    CHECK(*flag || *other);
}

/* The leader's own copy of the promotion is not durable when it crashes, the joiner's is. Whether the promotion
 * was overruled: what hung may have reached the leader's disk all the same. */
static bool promised(struct members_test *t, struct joiner *j)
{
    sim_disk_hang(MEMBERS_HOST, "/metadata/log", true);
    CHECK(ask_to_join(t, j->member, SYS_SECOND) != OK);
    wait_for(&j->voter, &j->votes);
    CHECK(!j->votes);
    sim_crash(t->pid[LEADER]);
    sim_disk_hang(MEMBERS_HOST, "/metadata/log", false);
    sim_restart(t->pid[LEADER]);
    wait_for(&j->overruled, &j->votes);
    CHECK(j->overruled != j->votes);
    return j->overruled;
}

static bool joins(void)
{
    struct members_test t = {.number = {LEADER}};
    struct joiner j = {0};
    t.pid[LEADER] = sim_spawn("metadata", MEMBERS_HOST, members_main, &t.number[LEADER]);
    t.pid[JOINER] = sim_spawn("joiner", MEMBERS_HOST + JOINER, joiner_main, &j);
    members_client(&t.c, RPC_GATEWAY);
    CHECK(members_wait(&t, LEADER, LEADER, leads, 30));
    /* A learner that the leader does not reach is not promoted. */
    sim_partition(MEMBERS_HOST, MEMBERS_HOST + JOINER, true);
    CHECK(ask_to_join(&t, j.member, SYS_SECOND) != OK);
    sim_partition(MEMBERS_HOST, MEMBERS_HOST + JOINER, false);
    CHECK(members_wait(&t, LEADER, JOINER, learns, 30));
    bool overruled = promised(&t, &j);
    for (int i = 0; i < 30 && ask_to_join(&t, j.member, 5 * SYS_SECOND) != OK; i++)
        sys_sleep_until(sys_now() + 200 * SYS_MS);
    wait_for(&j.votes, &j.votes);
    for (unsigned i = LEADER; i <= JOINER; i++) {
        sim_stop(t.pid[i]);
        while (sim_alive(t.pid[i]))
            sys_sleep_until(sys_now() + 20 * SYS_MS);
        CHECK_OK(sim_disk_wipe(MEMBERS_HOST + i, "/metadata"));
    }
    world_client_close(&t.c);
    return overruled;
}

static void promised_and_lost(void)
{
    unsigned overruled = 0;
    for (int i = 0; i < ROUNDS; i++)
        overruled += joins();
    CHECK(overruled > 0);
}

static const struct test tests[] = {
    {"a promotion that was seen and is lost", promised_and_lost},
    {0},
};
SUITE("joining a metadata group", tests)
