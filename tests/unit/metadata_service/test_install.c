/* Logs that are compacted all the time, so that a member that was away takes the leader's state as a
 * snapshot: under load, after a crash anywhere in it, with failing disks; and a state that differs. */
#define MEMBERS_SEGMENT    (64 << 10)
#define MEMBERS_LOG        (256 << 10)
#define MEMBERS_CHECKPOINT 10
#include "common/kv/kv.h"
#include "metadata/driver.h"
#include "metadata/state_home.h"
#include "tests/unit/metadata_service/members_kit.h"

static void work(struct members_test *t, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        CHECK_OK(i % 3 ? members_touch(t) : members_grow(t));
}

static struct Members said(struct members_test *t, unsigned number)
{
    struct arena arena;
    const Members *m = NULL;
    Members copy = MEMBERS__INIT;
    arena_init(&arena);
    if (members_ask(t, number, &arena, &m))
        copy = *m;
    copy.members = NULL;
    copy.n_members = 0;
    arena_release(&arena);
    return copy;
}

static bool caught_up(struct members_test *t, unsigned number, int seconds)
{
    for (int i = 0; i < seconds * 5; i++) {
        int leader = members_leader(t);
        uint64_t commit = leader < 0 ? UINT64_MAX : said(t, (unsigned)leader).commit;
        if (said(t, number).applied >= commit)
            return true;
        sys_sleep_until(sys_now() + 200 * SYS_MS);
    }
    return false;
}

static unsigned a_follower(struct members_test *t)
{
    int leader = members_leader(t);
    CHECK(leader >= 0);
    return leader == 2 ? 1 : 2;
}

static enum err act(struct members_test *t, GroupAct what, uint64_t member)
{
    struct arena arena;
    ProtobufCMessage *reply = NULL;
    Group body = GROUP__INIT;
    const struct request_context request = world_ask();
    body.act = what;
    body.member = member;
    arena_init(&arena);
    enum err e =
        metadata_call_leader(t->c.metadata, &request, MSG_GROUP, &body.base, &arena, &reply);
    arena_release(&arena);
    return e;
}

static uint64_t id_of(struct members_test *t, unsigned number)
{
    struct arena arena;
    const Members *m;
    uint64_t id = 0;
    arena_init(&arena);
    for (unsigned asked = 0; id == 0 && asked < MEMBERS; asked++) {
        const MemberInfo *one = members_ask(t, asked, &arena, &m) ? members_entry(m, number) : NULL;
        id = one ? one->id : 0;
    }
    arena_release(&arena);
    return id;
}

static bool lead(struct members_test *t, unsigned number)
{
    for (int i = 0; i < 100 && members_leader(t) != (int)number; i++) {
        (void)act(t, GROUP_ACT__GROUP_TRANSFER, id_of(t, number));
        sys_sleep_until(sys_now() + 200 * SYS_MS);
    }
    return members_leader(t) == (int)number;
}

/* One command with a session of its own choosing, as often as it takes to be answered. */
static Result *numbered(struct members_test *t, struct arena *arena, Command *c, uint8_t session)
{
    uint8_t id[16] = {session};
    ProtobufCMessage *reply = NULL;
    c->client = (ProtobufCBinaryData){.len = sizeof id, .data = id};
    c->sequence = 1;
    for (int i = 0; i < 50 && !reply; i++) {
        const struct request_context request = world_ask();
        if (metadata_call_leader(t->c.metadata, &request, MSG_COMMAND, &c->base, arena, &reply))
            reply = NULL;
    }
    CHECK(reply != NULL);
    return (Result *)reply;
}

static void a_bucket(struct members_test *t, Command *c, CreateBucket *body)
{
    static char name[] = "once";
    command__init(c);
    create_bucket__init(body);
    body->name = (ProtobufCBinaryData){.len = 4, .data = (uint8_t *)name};
    body->owner = name;
    body->pool = t->pool;
    c->body_case = COMMAND__BODY_CREATE_BUCKET;
    c->create_bucket = body;
}

/* Away for thousands of bytes of log, back under load; the log stays within its bound; what was done
 * once before the snapshot is not done again after it. */
static void lagging(void)
{
    struct members_test t;
    struct arena arena;
    members_start(&t);
    arena_init(&arena);
    Command c = COMMAND__INIT;
    CreateBucket body;
    RegisterClient session = REGISTER_CLIENT__INIT;
    uint8_t id[16] = {77};
    char name[] = "raw";
    session.client = (ProtobufCBinaryData){.len = 16, .data = id};
    session.slots = 1;
    session.name = name;
    c.body_case = COMMAND__BODY_REGISTER_CLIENT;
    c.register_client = &session;
    CHECK_OK(members_command(&t, &c, NULL));
    a_bucket(&t, &c, &body);
    Result *first = numbered(&t, &arena, &c, 77);
    CHECK(first && first->error == OK);
    unsigned away = a_follower(&t);
    sim_crash(t.pid[away]);
    work(&t, 200);
    sim_restart(t.pid[away]);
    work(&t, 60);
    CHECK(caught_up(&t, away, 60));
    CHECK(said(&t, away).installed_index > 0);
    for (unsigned i = 0; i < MEMBERS; i++) {
        Members m = said(&t, i);
        CHECK(m.first_index > 100);
        CHECK(m.log_bytes <= MEMBERS_LOG + 2 * MEMBERS_SEGMENT);
    }
    CHECK(lead(&t, away));
    a_bucket(&t, &c, &body);
    Result *again = numbered(&t, &arena, &c, 77);
    CHECK(again && again->error == OK && again->index == first->index);
    work(&t, 20);
    arena_release(&arena);
    members_stop(&t);
}

/* The member crashes at one primitive after the other of its start and its install, and comes back. */
static void crashes(void)
{
    struct members_test t;
    uint64_t at = 1;
    unsigned installs = 0;
    members_start(&t);
    unsigned away = a_follower(&t);
    for (unsigned round = 0; round < 40; round++) {
        sim_crash(t.pid[away]);
        sys_sleep_until(sys_now() + 4 * SYS_SECOND); /* then nobody keeps the log for it */
        work(&t, 110);
        uint64_t before = said(&t, away == 2 ? 1 : 2).applied;
        sim_restart(t.pid[away]);
        at = 1 + sim_random() % (round % 2 ? 400 : 6000);
        sim_crash_at(t.pid[away], at);
        for (int i = 0; i < 100 && sim_alive(t.pid[away]); i++)
            sys_sleep_until(sys_now() + 50 * SYS_MS);
        sim_crash_at(t.pid[away], 0);
        if (!sim_alive(t.pid[away]))
            sim_restart(t.pid[away]);
        if (!suite_check(caught_up(&t, away, 60), __FILE__, __LINE__,
                         "round %u, after a crash at %llu", round, (unsigned long long)at))
            break;
        installs += said(&t, away).installed_index + 100 > before;
    }
    CHECK(installs > 20);
    CHECK(lead(&t, away));
    work(&t, 10);
    members_stop(&t);
}

/* The nth file call of the returning member fails: it ends, or tries again, and then comes back. */
static void failures(void)
{
    struct members_test t;
    char where[] = "/metadata";
    members_start(&t);
    unsigned away = a_follower(&t);
    for (unsigned round = 0; round < 30; round++) {
        sim_crash(t.pid[away]);
        sys_sleep_until(sys_now() + 4 * SYS_SECOND); /* then nobody keeps the log for it */
        work(&t, 110);
        uint64_t nth = 1 + sim_random() % 250;
        sim_restart(t.pid[away]);
        sim_disk_fail(MEMBERS_HOST + away, where, nth, round % 2 ? ERR_IO : ERR_NO_SPACE,
                      round % 3 == 0);
        for (int i = 0; i < 60 && sim_alive(t.pid[away]); i++)
            sys_sleep_until(sys_now() + 50 * SYS_MS);
        sim_disk_fail(MEMBERS_HOST + away, where, 0, OK, false);
        if (!sim_alive(t.pid[away]))
            sim_restart(t.pid[away]);
        if (!suite_check(caught_up(&t, away, 60), __FILE__, __LINE__, "round %u, failure %llu",
                         round, (unsigned long long)nth))
            break;
    }
    members_stop(&t);
}

/* Its log cannot be written from the nth time on: before, in or after the reset. */
static void log_failures(void)
{
    struct members_test t;
    members_start(&t);
    unsigned away = a_follower(&t);
    for (uint64_t nth = 1; nth <= 8; nth++) {
        sim_crash(t.pid[away]);
        sys_sleep_until(sys_now() + 4 * SYS_SECOND);
        work(&t, 110);
        sim_disk_fail_kinds(MEMBERS_HOST + away, "/metadata/log", SIM_DISK_WRITE, nth, ERR_IO,
                            true);
        sim_restart(t.pid[away]);
        for (int i = 0; i < 60 && sim_alive(t.pid[away]); i++)
            sys_sleep_until(sys_now() + 50 * SYS_MS);
        sim_disk_fail_kinds(MEMBERS_HOST + away, "/metadata/log", SIM_DISK_WRITE, 0, OK, false);
        if (!sim_alive(t.pid[away]))
            sim_restart(t.pid[away]);
        if (!suite_check(caught_up(&t, away, 60), __FILE__, __LINE__, "write %llu",
                         (unsigned long long)nth))
            break;
    }
    members_stop(&t);
}

static void send_nothing(void *arg, const struct raft_message *m)
{
    (void)arg;
    (void)m;
}

static enum err apply_nothing(void *arg, struct driver_entry *entries, size_t n)
{
    (void)arg;
    (void)entries;
    (void)n;
    return OK;
}

/* As a crash leaves it there: the state is the installed one, the log still what it was. It begins anew
 * behind the state; but a log that is behind a state that was not installed has lost something. */
static void between_switch_and_reset(void)
{
    char log[64];
    snprintf(log, sizeof log, "%s/log", suite_dir());
    struct raft_configuration first = {0};
    const struct log_store_identity who = {.member = 7};
    CHECK_OK(raft_configuration_set(&first, 7, RAFT_VOTER, "here"));
    struct raft_entry c = raft_bootstrap_entry(&first);
    struct driver_options o = {
        .log = {.directory = log, .segment_bytes = 64 << 10},
        .applied = 50,
        .applied_term = 1,
        .callbacks = {.send = send_nothing, .apply = apply_nothing},
    };
    struct driver *d;
    CHECK_OK(driver_create(&o.log, &who, &first));
    CHECK_ERR(driver_start(&o, NULL, &d), ERR_CORRUPT);
    o.installed = (struct raft_snapshot){.index = 50, .term = 1, .configuration = c};
    for (int life = 0; life < 2; life++) {
        struct driver_status s;
        if (!CHECK_OK(driver_start(&o, NULL, &d)))
            break;
        driver_status(d, &s);
        CHECK_EQ(s.raft.first_index, 51);
        CHECK_EQ(s.applied, 50);
        CHECK_EQ(s.raft.configuration.count, 1);
        driver_stop(d);
        o.installed.index = 0; /* the log holds it now */
    }
    raft_payload_unref(c.payload);
}

/* ---- a state that differs ---- */

static bool tampered;

static void tamper(void *arg)
{
    (void)arg;
    struct state_home home;
    char path[64];
    struct kv *kv;
    if (state_home_read("/metadata", &home))
        return;
    snprintf(path, sizeof path, "/metadata/%s", home.name);
    state_home_release(&home);
    const struct kv_options options = {0};
    if (kv_open(path, &options, &kv))
        return;
    struct kv_batch *b = kv_batch_new();
    struct kv_iterator *i = kv_iterator_new(kv, NULL);
    kv_iterator_seek(i, (struct kv_slice){"b", 1});
    if (kv_iterator_valid(i) && *(const char *)kv_iterator_key(i).data == 'b')
        kv_batch_delete(b, kv_iterator_key(i));
    kv_iterator_free(i);
    tampered = kv_write(kv, b, true) == OK;
    kv_batch_free(b);
    kv_close(kv);
}

/* A row is lost on one member. What it makes of the same command is something else than what the others
 * make of it; it sees that, stops, and takes the leader's state when it is started again. */
static void differs(bool leads)
{
    struct members_test t;
    members_start(&t);
    work(&t, 30);
    unsigned bad = a_follower(&t);
    if (leads)
        CHECK(lead(&t, bad));
    sim_crash(t.pid[bad]);
    tampered = false;
    int pid = sim_spawn("tamper", MEMBERS_HOST + bad, tamper, NULL);
    for (int i = 0; i < 100 && sim_alive(pid); i++)
        sys_sleep_until(sys_now() + 50 * SYS_MS);
    CHECK(tampered);
    sim_restart(t.pid[bad]);
    CHECK(caught_up(&t, bad, 30));
    if (leads)
        CHECK(lead(&t, bad));
    t.made = 0; /* the first bucket again: the others refuse it */
    for (int i = 0; i < 300 && sim_alive(t.pid[bad]); i++) {
        (void)members_grow(&t);
        sys_sleep_until(sys_now() + 50 * SYS_MS);
    }
    CHECK(!sim_alive(t.pid[bad]));
    CHECK(strstr(sim_exit_reason(t.pid[bad]), "differs") != NULL);
    sim_restart(t.pid[bad]);
    CHECK(caught_up(&t, bad, 60));
    Members m = said(&t, bad);
    CHECK(m.installed_index > 0 && !m.discarded);
    t.made = 1000;
    work(&t, 40);
    CHECK(lead(&t, bad));
    work(&t, 10);
    for (unsigned i = 0; i < MEMBERS; i++)
        CHECK(sim_alive(t.pid[i]));
    members_stop(&t);
}
static void a_follower_differs(void)
{
    differs(false);
}
static void the_leader_differs(void)
{
    differs(true);
}

/* ---- which state counts ---- */

static struct {
    int life;
    bool first; /* there was no state before */
    bool there;
} home_rig;

static const struct kv_slice a_key = {"key", 3};

static void make_state(const char *name)
{
    char path[64];
    struct kv *kv;
    snprintf(path, sizeof path, "/home/%s", name);
    CHECK_OK(kv_open(path, NULL, &kv));
    struct kv_batch *b = kv_batch_new();
    kv_batch_put(b, a_key, a_key);
    CHECK_OK(kv_write(kv, b, true));
    kv_batch_free(b);
    kv_close(kv);
    CHECK_OK(sys_dir_sync("/home"));
}

static bool state_is_there(const char *name)
{
    char path[64];
    struct kv *kv;
    void *value = NULL;
    size_t n;
    snprintf(path, sizeof path, "/home/%s", name);
    CHECK_OK(kv_open(path, NULL, &kv));
    bool there = kv_get(kv, NULL, a_key, &value, &n) == OK;
    sys_free(value);
    kv_close(kv);
    return there;
}

static void home_main(void *arg)
{
    (void)arg;
    uint32_t host = MEMBERS_HOST;
    struct state_home home = {.name = "state-1"};
    struct sys_poll stop = {.event = sys_stop_event()};
    if (home_rig.life++ == 0) {
        CHECK_OK(sys_dir_make("/home"));
        if (!home_rig.first) {
            make_state("state-1");
            CHECK_OK(state_home_write("/home", &home));
        }
        make_state("state-2");
        memcpy(home.name, "state-2", 8);
        sim_disk_fail_kinds(host, "/home", SIM_DISK_SYNC, 2, ERR_IO, false); /* behind the rename */
        CHECK_ERR(state_home_write("/home", &home), ERR_IO);
        /* The process ends, the host does not: the next start sees the new name. */
        CHECK_OK(state_home_read("/home", &home));
        CHECK_TEXT(home.name, "state-2");
        CHECK_OK(state_home_clean("/home", &home));
        state_home_release(&home);
        CHECK(sys_poll(&stop, 1, SYS_FOREVER) == OK); /* until the power fails */
        return;
    }
    CHECK_OK(state_home_read("/home", &home));
    home_rig.there = state_is_there(home.name);
    state_home_release(&home);
}

static void undone(bool first)
{
    for (int i = 0; i < 20; i++) {
        memset(&home_rig, 0, sizeof home_rig);
        home_rig.first = first;
        int pid = sim_spawn("home", MEMBERS_HOST, home_main, NULL);
        sys_sleep_until(sys_now() + SYS_SECOND);
        sim_crash(pid);
        sim_restart(pid);
        sys_sleep_until(sys_now() + SYS_SECOND);
        CHECK_EQ(home_rig.life, 2);
        CHECK(home_rig.there);
        CHECK_OK(sim_disk_wipe(MEMBERS_HOST, "/"));
    }
}

/* A switch whose last sync fails may be undone by a power cut: until it is sure, nothing is removed. */
static void a_switch_that_is_undone(void)
{
    undone(false);
}

/* The first state's too: once it has been opened it must be found. */
static void a_beginning_that_is_undone(void)
{
    undone(true);
}

/* ---- a member that is lost ---- */

static bool three_voters(const Members *m, const MemberInfo *one)
{
    size_t voters = 0;
    for (size_t i = 0; i < m->n_members; i++)
        voters += m->members[i]->voter;
    return m->n_members == MEMBERS && voters == MEMBERS && one->voter;
}

/* Part of its directory is gone: it does not start, and says what to do. All of it: it joins as another
 * member, and the old one is removed. */
static void lost(void)
{
    struct members_test t;
    members_start(&t);
    work(&t, 120);
    unsigned gone = a_follower(&t);
    uint64_t old = id_of(&t, gone);
    sim_crash(t.pid[gone]);
    CHECK_OK(sim_disk_wipe(MEMBERS_HOST + gone, "/metadata/log"));
    sim_restart(t.pid[gone]);
    for (int i = 0; i < 100 && sim_alive(t.pid[gone]); i++)
        sys_sleep_until(sys_now() + 50 * SYS_MS);
    CHECK(!sim_alive(t.pid[gone]));
    work(&t, 10);
    CHECK_OK(sim_disk_wipe(MEMBERS_HOST + gone, "/metadata"));
    CHECK_OK(act(&t, GROUP_ACT__GROUP_REMOVE, old));
    sim_restart(t.pid[gone]);
    CHECK(members_wait(&t, gone, gone, three_voters, 60));
    CHECK(id_of(&t, gone) != old);
    CHECK(caught_up(&t, gone, 60));
    work(&t, 20);
    CHECK(lead(&t, gone));
    work(&t, 20);
    members_stop(&t);
}

/* The leader of two is removed and wiped as soon as that is answered. What it sends takes a while: the
 * other one must have the configuration without it by then, or it never leads. */
static void removed_is_out(void)
{
    struct members_test t;
    members_start(&t);
    unsigned first = a_follower(&t);
    CHECK_OK(act(&t, GROUP_ACT__GROUP_REMOVE, id_of(&t, first)));
    sim_crash(t.pid[first]);
    int leader = members_leader(&t);
    CHECK(leader >= 0);
    unsigned last = MEMBERS - first - (unsigned)leader;
    sim_delay(MEMBERS_HOST + (unsigned)leader, MEMBERS_HOST + last, 400 * SYS_MS);
    enum err e = act(&t, GROUP_ACT__GROUP_REMOVE, id_of(&t, (unsigned)leader));
    sim_cut(MEMBERS_HOST + (unsigned)leader, MEMBERS_HOST + last, true);
    sim_crash(t.pid[leader]);
    CHECK_OK(sim_disk_wipe(MEMBERS_HOST + (unsigned)leader, "/metadata"));
    CHECK(e == OK || e == ERR_NOT_FOUND);
    work(&t, 20);
    CHECK_EQ(members_leader(&t), (int)last);
    members_stop(&t);
}

static const struct test tests[] = {
    {"lagging", lagging},
    {"crashes", crashes},
    {"failures", failures},
    {"log failures", log_failures},
    {"between switch and reset", between_switch_and_reset},
    {"a switch that is undone", a_switch_that_is_undone},
    {"a beginning that is undone", a_beginning_that_is_undone},
    {"a follower differs", a_follower_differs},
    {"the leader differs", the_leader_differs},
    {"lost", lost},
    {"removed is out", removed_is_out},
    {0},
};
SUITE("metadata install", tests)
