/* The checker of Raft's safety: quiet while real cores do what they should, through crashes and
 * elections, and loud at each thing that they should not: two groups that believe they are one, effects
 * and restarts that were changed on the way. */
#include <stdio.h>
#include "tests/check/raft_check.h"
#include "tests/unit/suite.h"

static struct raft_check *check;
static char said[1024];
static int complaints;

static void complain(void *arg, const char *text)
{
    (void)arg;
    complaints++;
    if (strlen(said) + strlen(text) + 2 < sizeof said)
        strcat(strcat(said, text), "\n");
}

static enum err watched_new(const struct raft_options *options,
                            const struct raft_restored *restored, struct raft **out)
{
    enum err e = raft_new(options, restored, out);
    if (e == OK)
        raft_check_started(check, *out, restored);
    return e;
}

static enum err watched_step(struct raft *r, const struct raft_event *event,
                             struct raft_effects *effects)
{
    raft_check_steps(check, r, effects);
    enum err e = raft_step(r, event, effects);
    raft_check_stepped(check, r, event, effects);
    return e;
}

#define raft_new  watched_new
#define raft_step watched_step
#include "tests/unit/raft/cluster.h"
#undef raft_new
#undef raft_step

static void begin(void)
{
    said[0] = '\0';
    complaints = 0;
    check = raft_check_new(complain, NULL);
}

/* NULL: nothing is complained of. Else the words must be among the complaints. */
static void end(const char *words)
{
    if (words)
        suite_check(strstr(said, words) != NULL, __FILE__, __LINE__, "no '%s' in: %s", words, said);
    else
        suite_check(complaints == 0, __FILE__, __LINE__, "%d complaints: %s", complaints, said);
    raft_check_free(check);
}

static uint64_t roll(uint64_t *x, uint64_t n)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x % n;
}

static void random_step(struct cluster *c, uint64_t *x)
{
    struct cluster_node *n = &c->nodes[1 + roll(x, 3)];
    uint64_t what = roll(x, 100);
    char text[24];
    if (!n->alive) {
        if (what < 20)
            cluster_start_node(c, n);
        return;
    }
    snprintf(text, sizeof text, "command %" PRIu64, roll(x, 1000));
    if (what < 60 && c->network_count)
        cluster_deliver(c, roll(x, c->network_count), roll(x, 20) == 0);
    else if (what < 75)
        cluster_do(c, n, (struct raft_event){.type = RAFT_TICK});
    else if (what < 88)
        cluster_persist_one(c, n), cluster_apply_all(c, n);
    else if (what < 96 && cluster_propose(c, n, text) == ERR_TOO_BIG)
        CHECK(false);
    else if (what < 99 && cluster_read(c, n) == ERR_INVALID)
        CHECK(false);
    else if (roll(x, 15) == 0)
        cluster_crash(n);
}

static void quiet(void)
{
    uint64_t x = suite_seed() | 1;
    struct raft_check_counts all = {0};
    for (uint64_t seed = 1; seed <= 40; seed++) {
        begin();
        struct cluster *c = cluster_new(seed);
        c->slow_disks = true;
        for (raft_id i = 1; i <= 3; i++)
            cluster_start_node(c, cluster_add(c, i, 3));
        for (int i = 0; i < 6000 && !c->failed && !complaints; i++)
            random_step(c, &x);
        struct raft_check_counts counts = raft_check_counts(check);
        all.leaders += counts.leaders;
        all.committed += counts.committed;
        all.reads += counts.reads;
        all.votes += counts.votes;
        cluster_free(c);
        end(NULL);
    }
    suite_check(all.leaders > 80 && all.committed > 1000 && all.reads > 100 && all.votes > 80,
                __FILE__, __LINE__, "%" PRIu64 " leaders %" PRIu64 " commits %" PRIu64 " reads",
                all.leaders, all.committed, all.reads);
}

/* A group of one with the given id, which leads behind the term and has committed the text. */
static struct cluster *lone_at(raft_id id, uint64_t term, const char *text)
{
    struct cluster *c = cluster_new(id);
    struct raft_configuration first = {0};
    CHECK_OK(raft_configuration_set(&first, id, RAFT_VOTER, ""));
    struct raft_entry e = raft_bootstrap_entry(&first);
    struct cluster_node *n = cluster_add(c, id, 0);
    raft_entries_push(&n->log.entries, &e);
    raft_payload_unref(e.payload);
    n->hard = (struct raft_hard_state){.term = term, .commit = 1};
    cluster_start_node(c, n);
    for (int i = 0; i < 50 && !raft_is_leader(n->raft); i++)
        cluster_do(c, n, (struct raft_event){.type = RAFT_TICK});
    CHECK_OK(cluster_propose(c, n, text));
    return c;
}

static struct cluster *lone(raft_id id, const char *text)
{
    return lone_at(id, 1, text);
}

static void incomplete_leader(void)
{
    begin();
    struct cluster *a = lone_at(1, 1, "x"), *b = lone_at(2, 5, "x");
    cluster_free(a);
    cluster_free(b);
    end("leader completeness");
}

static void two_leaders(void)
{
    begin();
    struct cluster *a = lone(1, "x"), *b = lone(2, "x");
    cluster_free(a);
    cluster_free(b);
    end("election safety");
}

static void different_logs(void)
{
    begin();
    struct cluster *a = lone(1, "x"), *b = lone(2, "y");
    cluster_free(a);
    cluster_free(b);
    end("log matching");
}

static void different_commands(void)
{
    begin();
    raft_check_opened(check, 1, 0);
    raft_check_applied(check, 1, 5, "a", 1, 77);
    raft_check_applied(check, 2, 5, "b", 1, 77);
    end("another command as 5");
    begin();
    struct cluster *a = lone(1, "x");
    uint64_t index = a->highest_applied;
    raft_check_applied(check, 1, index, "y", 1, 77);
    cluster_free(a);
    end("another command than was committed");
}

static void different_states(void)
{
    begin();
    raft_check_applied(check, 1, 5, "a", 1, 77);
    raft_check_applied(check, 2, 5, "a", 1, 78);
    end("differs behind index 5");
}

static void applied_again(void)
{
    begin();
    raft_check_opened(check, 1, 0);
    raft_check_applied(check, 1, 5, "a", 1, 77);
    raft_check_opened(check, 1, 4); /* a batch that was not durable: quite right */
    raft_check_applied(check, 1, 5, "a", 1, 77);
    CHECK_EQ(complaints, 0);
    raft_check_applied(check, 1, 5, "a", 1, 77);
    end("again");
}

static void restarted(struct cluster_node *n, struct cluster *c, const char *words)
{
    cluster_crash(n);
    cluster_start_node(c, n);
    cluster_free(c);
    end(words);
}

static void forgets(void)
{
    begin();
    struct cluster *c = lone(1, "x");
    struct raft_entries *log = &c->nodes[1].log.entries;
    raft_payload_unref(log->v[--log->n].payload);
    c->nodes[1].applied = log->n;
    c->nodes[1].hard.commit = 1;
    restarted(&c->nodes[1], c, "durability");
    begin();
    c = lone(1, "x");
    c->nodes[1].hard.vote = 9;
    restarted(&c->nodes[1], c, "durability");
}

static void votes_twice(void)
{
    begin();
    struct cluster *a = lone(1, "x"), *b = lone(2, "x");
    struct raft_message m = {.type = RAFT_VOTE_REPLY, .from = 3, .to = 1, .term = 9};
    struct raft_event event = {.type = RAFT_MESSAGE, .message = &m};
    said[0] = '\0';
    complaints = 0;
    raft_check_stepped(check, a->nodes[1].raft, &event, &a->nodes[1].effects);
    raft_check_stepped(check, a->nodes[1].raft, &event, &a->nodes[1].effects);
    CHECK_EQ(complaints, 0);
    raft_check_stepped(check, b->nodes[2].raft, &event, &b->nodes[2].effects);
    cluster_free(a);
    cluster_free(b);
    end("gave its vote of term 9");
}

/* Effects and events as no core would have them. */
static void impossible_effects(void)
{
    struct raft_event tick = {.type = RAFT_TICK};
    begin();
    struct cluster *c = lone(1, "x");
    struct raft_effects e;
    raft_effects_init(&e);
    e.apply_to = 99;
    raft_check_stepped(check, c->nodes[1].raft, &tick, &e);
    raft_effects_release(&e);
    cluster_free(c);
    end("applies up to 99");

    begin();
    c = lone(1, "x");
    raft_effects_init(&e);
    struct raft_read_result low = {.read = 5, .err = OK, .index = 1};
    struct raft_event read = {.type = RAFT_READ, .read = 5};
    e.reads = &low;
    e.read_count = 1;
    raft_check_stepped(check, c->nodes[1].raft, &read, &e);
    cluster_free(c);
    end("was committed when it was asked");

    begin(); /* what is committed is put aside by another entry */
    c = lone(1, "x");
    raft_effects_init(&e);
    struct raft_entry other = {.index = 2, .term = 2, .type = RAFT_ENTRY_COMMAND};
    raft_entries_push(&e.entries, &other);
    raft_check_stepped(check, c->nodes[1].raft, &tick, &e);
    raft_effects_release(&e);
    cluster_free(c);
    end("cuts its log");
}

/* A message as no core would send it, from the leader of a group of one, behind a write that is under
 * way: sequence 50, entry 9 of its term. */
static void sends(struct raft_message m, const char *words)
{
    struct raft_event tick = {.type = RAFT_TICK};
    begin();
    struct cluster *c = lone(1, "x");
    struct raft_entry late = {.index = 9, .term = 2, .type = RAFT_ENTRY_COMMAND};
    struct raft_effects e;
    raft_effects_init(&e);
    e.persist_sequence = 50;
    e.hard_state_changed = true;
    e.hard_state = (struct raft_hard_state){.term = 7, .vote = 3};
    raft_entries_push(&e.entries, &late);
    e.messages = &m;
    e.message_count = 1;
    raft_check_stepped(check, c->nodes[1].raft, &tick, &e);
    suite_check(words || !strstr(said, "promise"), __FILE__, __LINE__, "%s", said);
    e.messages = NULL;
    e.message_count = 0;
    raft_effects_release(&e);
    cluster_free(c);
    if (!words)
        said[complaints = 0] = '\0';
    end(words);
}

static void promises(void)
{
    struct raft_message vote = {.type = RAFT_VOTE_REPLY, .to = 3, .term = 7};
    sends(vote, "leaves before its term and vote");
    vote.after = 50;
    sends(vote, NULL);
    vote.to = 4;
    sends(vote, "leaves before its term and vote");
    struct raft_message ack = {.type = RAFT_APPEND_REPLY, .to = 3, .term = 2, .index = 99};
    sends(ack, "acknowledges up to 99");
}

/* What the core is told behind the checker's back. */
static void majorities(void)
{
    begin();
    struct cluster *c = cluster_new(1);
    for (raft_id i = 1; i <= 3; i++)
        cluster_start_node(c, cluster_add(c, i, 3));
    struct cluster_node *n = &c->nodes[1];
    for (int i = 0; i < 200 && n->hard.vote != 1; i++) {
        struct raft_message leave = {
            .type = RAFT_PRE_VOTE_REPLY, .from = 2, .to = 1, .term = n->hard.term + 1};
        cluster_do(c, n, (struct raft_event){.type = RAFT_TICK});
        cluster_do(c, n, (struct raft_event){.type = RAFT_MESSAGE, .message = &leave});
    }
    struct raft_message m = {
        .type = RAFT_VOTE_REPLY, .from = 2, .to = 1, .term = raft_term(n->raft)};
    struct raft_event told = {.type = RAFT_MESSAGE, .message = &m}, tick = {.type = RAFT_TICK};
    CHECK_EQ(complaints, 0);
    CHECK_OK((raft_step)(n->raft, &told, &n->effects));
    CHECK(raft_is_leader(n->raft));
    CHECK_OK(watched_step(n->raft, &tick, &n->effects));
    suite_check(strstr(said, "without the votes") != NULL, __FILE__, __LINE__, "said: %s", said);
    m.type = RAFT_APPEND_REPLY;
    m.index = 1 + n->log.entries.n;
    CHECK_OK(watched_step(n->raft, &told, &n->effects));
    struct raft_event own = {.type = RAFT_PERSISTED, .sequence = n->effects.persist_sequence};
    CHECK_OK(watched_step(n->raft, &own, &n->effects));
    cluster_free(c);
    end("which no majority has");
}

static const struct test tests[] = {{"quiet while all is well", quiet},
                                    {"two leaders in a term", two_leaders},
                                    {"a leader without what is committed", incomplete_leader},
                                    {"two logs", different_logs},
                                    {"different commands", different_commands},
                                    {"different states", different_states},
                                    {"applied again", applied_again},
                                    {"a member forgets", forgets},
                                    {"a member votes twice", votes_twice},
                                    {"impossible effects", impossible_effects},
                                    {"promises", promises},
                                    {"majorities", majorities},
                                    {0}};
SUITE("raft check", tests)
