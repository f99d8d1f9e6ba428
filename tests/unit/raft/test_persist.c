/* What becomes durable counts for the entries that were written, not for others at their place. */
#include <string.h>
#include "metadata/raft/raft.h"
#include "tests/unit/suite.h"

/* Member 1 of three, whose log begins with their configuration. */
struct follower {
    struct raft *raft;
    struct raft_effects effects;
    struct raft_entry first;
};

static void follower_start(struct follower *f)
{
    struct raft_configuration c = {0};
    for (raft_id i = 1; i <= 3; i++)
        CHECK_OK(raft_configuration_set(&c, i, RAFT_VOTER, "a"));
    f->first = raft_bootstrap_entry(&c);
    struct term_runs terms;
    term_runs_init(&terms);
    term_runs_append(&terms, 1);
    const struct raft_options options = {.id = 1};
    const struct raft_restored restored = {.hard = {.term = 1, .commit = 1},
                                           .terms = &terms,
                                           .configurations = &f->first,
                                           .configuration_count = 1,
                                           .applied = 1};
    CHECK_OK(raft_new(&options, &restored, &f->raft));
    raft_effects_init(&f->effects);
    term_runs_release(&terms);
}

static void follower_stop(struct follower *f)
{
    raft_effects_release(&f->effects);
    raft_free(f->raft);
    raft_payload_unref(f->first.payload);
}

/* Returns the sequence of what is to be written. */
static uint64_t step(struct follower *f, struct raft_event event, bool carried_out)
{
    CHECK_OK(raft_step(f->raft, &event, &f->effects));
    uint64_t sequence = f->effects.persist_sequence;
    if (carried_out)
        raft_effects_clear(&f->effects);
    return sequence;
}

/* Entries first .. last of the term, from its leader. */
static uint64_t append(struct follower *f, uint64_t term, uint64_t before_term, uint64_t first,
                       uint64_t last, bool carried_out)
{
    struct raft_message m = {.type = RAFT_APPEND,
                             .from = term,
                             .to = 1,
                             .term = term,
                             .index = first - 1,
                             .log_term = before_term};
    for (uint64_t i = first; i <= last; i++)
        raft_entries_push(
            &m.entries, &(struct raft_entry){.index = i, .term = term, .type = RAFT_ENTRY_COMMAND});
    uint64_t sequence =
        step(f, (struct raft_event){.type = RAFT_MESSAGE, .message = &m}, carried_out);
    raft_message_release(&m);
    return sequence;
}

/* The state becomes what leader 3 has at 8/3. */
static uint64_t install(struct follower *f, bool carried_out)
{
    struct raft_message m = {.type = RAFT_SNAPSHOT,
                             .from = 3,
                             .to = 1,
                             .term = 3,
                             .index = 8,
                             .log_term = 3,
                             .last = true};
    m.piece = raft_payload_new("x", 1);
    raft_entries_push(&m.entries, &f->first);
    (void)step(f, (struct raft_event){.type = RAFT_MESSAGE, .message = &m}, carried_out);
    raft_message_release(&m);
    return step(f, (struct raft_event){.type = RAFT_INSTALLED, .index = 8}, carried_out);
}

static uint64_t persisted(struct follower *f, uint64_t sequence)
{
    struct raft_status s;
    (void)step(f, (struct raft_event){.type = RAFT_PERSISTED, .sequence = sequence}, true);
    raft_status(f->raft, &s);
    return s.persisted;
}

static void a_write_from_before_a_reset(void)
{
    struct follower f;
    follower_start(&f);
    uint64_t old = append(&f, 2, 1, 2, 10, true);
    uint64_t reset = install(&f, true);
    uint64_t new = append(&f, 3, 3, 9, 12, true);
    CHECK(old && old < reset && reset < new);
    CHECK_EQ(persisted(&f, old), 8); /* 9 and 10 are others now */
    CHECK_EQ(persisted(&f, reset), 8);
    CHECK_EQ(persisted(&f, new), 12);
    follower_stop(&f);
}

/* The same when old entries, reset and new ones are carried out as one. */
static void all_in_one_write(void)
{
    struct follower f;
    follower_start(&f);
    uint64_t old = append(&f, 2, 1, 2, 20, false);
    uint64_t reset = install(&f, false);
    uint64_t new = append(&f, 3, 3, 9, 10, false);
    CHECK(old && old == reset && reset == new);
    CHECK_EQ(f.effects.reset.index, 8);
    CHECK_EQ(f.effects.entries.n, 2);
    raft_effects_clear(&f.effects);
    CHECK_EQ(persisted(&f, new), 10);
    follower_stop(&f);
}

/* Likewise when another leader's entries take the place of those that are on their way. */
static void a_write_from_before_a_truncation(void)
{
    struct follower f;
    follower_start(&f);
    uint64_t old = append(&f, 2, 1, 2, 10, true);
    uint64_t new = append(&f, 3, 2, 5, 12, true);
    CHECK(old && old < new);
    CHECK_EQ(persisted(&f, old), 4);
    CHECK_EQ(persisted(&f, new), 12);
    follower_stop(&f);
}

static const struct test tests[] = {
    {"a write from before a reset", a_write_from_before_a_reset},
    {"all in one write", all_in_one_write},
    {"a write from before a truncation", a_write_from_before_a_truncation},
    {0},
};
SUITE("raft: what is durable", tests)
