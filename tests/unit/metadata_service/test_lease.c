/* Queries under a lease: answered by a leader that reaches nobody while its lease holds, by none later,
 * and never with a state that another leader has left behind. */
#define MEMBERS_LEASES true
#include "tests/unit/metadata_service/members_kit.h"

enum { ROUNDS = 6 };

/* Asks one member, whoever leads. The number of buckets, if it answered. */
static enum err count_buckets(struct members_test *t, unsigned number, int64_t timeout,
                              size_t *count)
{
    struct sys_addr where = sim_addr(MEMBERS_HOST + number, WORLD_PORT);
    struct rpc_peer *peer;
    struct arena arena;
    ProtobufCMessage *reply = NULL;
    Query query = QUERY__INIT;
    ListBuckets body = LIST_BUCKETS__INIT;
    const struct request_context request = {.deadline = sys_now() + timeout};
    body.owner = (char *)(uintptr_t) "root";
    query.body_case = QUERY__BODY_LIST_BUCKETS;
    query.list_buckets = &body;
    arena_init(&arena);
    enum err e = rpc_peer_get(t->c.node, &where, &peer);
    if (e == OK)
        e = rpc_control_call(peer, &request, MSG_QUERY, &query.base, &answer__descriptor, &arena,
                             &reply);
    if (e == OK && CHECK(reply != NULL))
        *count = ((const Answer *)reply)->n_buckets;
    arena_release(&arena);
    return e;
}

static void isolate(int member, bool cut)
{
    for (uint32_t i = 0; i < MEMBERS; i++)
        if ((int)i != member)
            sim_partition(MEMBERS_HOST + (uint32_t)member, MEMBERS_HOST + i, cut);
}

static int leader(struct members_test *t)
{
    int found = -1;
    for (int i = 0; i < 100 && found < 0; i++) {
        found = members_leader(t);
        sys_sleep_until(sys_now() + 200 * SYS_MS);
    }
    CHECK(found >= 0);
    return found;
}

static bool settled(const Members *m, const MemberInfo *one)
{
    return m->leader != 0 && one->voter;
}

static void cut_off(void)
{
    struct members_test t;
    members_start(&t);
    for (int round = 0; round < ROUNDS; round++) {
        int old = leader(&t);
        size_t before = 0, n = 0;
        CHECK_OK(members_grow(&t));
        CHECK_OK(count_buckets(&t, (unsigned)old, 2 * SYS_SECOND, &before));
        isolate(old, true);
        int64_t cut = sys_now(), last = cut;
        int answers = 0;
        while (sys_now() < cut + 4 * SYS_SECOND)
            if (count_buckets(&t, (unsigned)old, 50 * SYS_MS, &n) == OK) {
                answers++;
                last = sys_now();
                CHECK_EQ(n, before);
            } else {
                sys_sleep_until(sys_now() + 10 * SYS_MS);
            }
        CHECK(answers > 20);
        CHECK(last - cut < 950 * SYS_MS);
        CHECK_OK(members_grow(&t));
        n = before + 1;
        CHECK(count_buckets(&t, (unsigned)old, 500 * SYS_MS, &n) != OK || n == before + 1);
        isolate(old, false);
        CHECK(members_wait(&t, (unsigned)old, (unsigned)old, settled, 20));
    }
    members_stop(&t);
}

/* The leader's process stands still at any moment of a query, until another one has written. */
static void asleep(void)
{
    struct members_test t;
    int answered = 0;
    members_start(&t);
    for (int round = 0; round < 4 * ROUNDS; round++) {
        int old = leader(&t);
        size_t before = 0, n = 0;
        CHECK_OK(count_buckets(&t, (unsigned)old, 2 * SYS_SECOND, &before));
        sim_pause(t.pid[old], true);
        CHECK_OK(members_grow(&t));
        sim_pause(t.pid[old], false);
        if (count_buckets(&t, (unsigned)old, 2 * SYS_SECOND, &n) == OK) {
            answered++; /* it leads again already */
            CHECK_EQ(n, before + 1);
        }
        CHECK(members_wait(&t, (unsigned)old, (unsigned)old, settled, 20));
    }
    CHECK(answered < 4 * ROUNDS);
    members_stop(&t);
}

static const struct test tests[] = {
    {"a leader that is cut off answers while its lease holds", cut_off},
    {"a leader that slept does not answer from the past", asleep},
    {0},
};
SUITE("metadata service: leases", tests)
