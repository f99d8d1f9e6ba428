/* The log under crashes, failing disks and rot: what was acknowledged is there, nothing else comes
 * back, and damage below a known end is never taken for a torn tail. */
#include <stdlib.h>
#include "metadata/log_format.h"
#include "tests/unit/metadata_log/model.h"

static struct model *model_new(uint64_t seed)
{
    struct model *m = sys_alloc(sizeof *m);
    model_init(m, seed);
    return m;
}

static void reopens(void)
{
    struct model *m = model_new(suite_seed());
    int pid = sim_spawn("log", MODEL_HOST, model_main, m);
    model_wait(pid);
    for (int i = 0; i < 30; i++) {
        m->steps_left = 40;
        m->finished = false;
        sim_restart(pid);
        model_wait(pid);
        CHECK(m->finished);
        struct sim_leaks l = sim_leaks(pid);
        CHECK_EQ(l.blocks + l.files, 0);
    }
    CHECK(m->sure.base > 0);
    CHECK(m->segments < 40); /* they are recycled */
    sys_free(m);
}

/* One log, hundreds of crashes at random primitives. */
static void crashes_in_a_row(void)
{
    struct model *m = model_new(suite_seed());
    int pid = sim_spawn("log", MODEL_HOST, model_main, m);
    for (int i = 0; i < 300; i++) {
        m->steps_left = 200;
        if (!sim_alive(pid))
            sim_restart(pid);
        sim_crash_at(pid, 1 + sim_random() % (i % 2 ? 60 : 600));
        model_wait(pid);
        if (!CHECK_EQ(m->open_error, OK))
            break;
    }
    CHECK(m->opened > 100);
    CHECK(m->cut > 1); /* torn tails occur */
    sys_free(m);
}

/* A fresh log that crashes at its 1st, 2nd, .. primitive, from its creation on. */
static void every_primitive(void)
{
    struct model *m = model_new(suite_seed());
    int pid = sim_spawn("log", MODEL_HOST, model_main, m);
    bool through = false;
    for (uint64_t nth = 1; nth < 600 && !through; nth++) {
        sim_crash(pid);
        CHECK_OK(sim_disk_wipe(MODEL_HOST, "/"));
        model_init(m, suite_seed());
        m->steps_left = 60;
        sim_restart(pid);
        sim_crash_at(pid, nth);
        model_wait(pid);
        through = m->finished;
        m->steps_left = 3;
        m->finished = false;
        sim_crash_at(pid, 0);
        sim_restart(pid);
        model_wait(pid);
        if (!suite_check(m->finished, __FILE__, __LINE__, "after a crash at %llu: %s",
                         (unsigned long long)nth, err_name(m->open_error)))
            break;
    }
    CHECK(through);
    sys_free(m);
}

static bool goes_on(struct model *m, int pid)
{
    m->steps_left = 3;
    m->finished = false;
    sim_restart(pid);
    while (sim_alive(pid) && !m->finished)
        sys_sleep_until(sys_now() + SYS_MS);
    return m->finished;
}

/* The 1st, 2nd, .. file operation fails, once or from then on: the process ends, or refuses to open;
 * nothing is lost, also when the power fails after the next start. Until none fails. */
static void fail_every_call(enum err error, bool sticky)
{
    struct model *m = model_new(suite_seed());
    int pid = sim_spawn("log", MODEL_HOST, model_main, m);
    model_wait(pid);
    bool clean = false;
    for (uint64_t nth = 1; nth < 2000 && !clean; nth++) {
        CHECK_OK(sim_disk_wipe(MODEL_HOST, "/"));
        model_init(m, suite_seed());
        m->steps_left = 60;
        uint64_t before = sim_disk_primitives(MODEL_HOST);
        sim_disk_fail(MODEL_HOST, "/log", nth, error, sticky);
        sim_restart(pid);
        model_wait(pid);
        clean = m->finished && sim_disk_primitives(MODEL_HOST) - before < nth;
        sim_disk_fail(MODEL_HOST, "/log", 0, OK, false);
        m->lingers = true;
        bool whole = goes_on(m, pid);
        sim_crash(pid);
        m->lingers = false;
        whole = whole && goes_on(m, pid);
        model_wait(pid);
        struct sim_leaks l = sim_leaks(pid);
        CHECK_EQ(l.blocks + l.files, 0);
        if (!suite_check(whole, __FILE__, __LINE__, "after failure %llu: %s",
                         (unsigned long long)nth, err_name(m->open_error)))
            break;
    }
    CHECK(clean);
    sys_free(m);
}

static void every_failure(void)
{
    fail_every_call(ERR_IO, false);
}

static void every_failure_that_stays(void)
{
    fail_every_call(ERR_NO_SPACE, true);
}

/* Flips a byte, opens, flips it back. True: the log opened and holds all of `sure`. */
static bool opens_whole(struct model *m, int pid, const char *file, uint64_t offset, bool *refused)
{
    CHECK_OK(sim_disk_flip(MODEL_HOST, file, offset, 0x10));
    struct model_state before = m->sure;
    m->finished = m->is_corrupt = false;
    m->steps_left = 0;
    sim_restart(pid);
    model_wait(pid);
    CHECK_OK(sim_disk_flip(MODEL_HOST, file, offset, 0x10));
    *refused = m->is_corrupt;
    bool whole = m->finished && m->sure.last == before.last && m->sure.base == before.base;
    m->sure = m->maybe = before;
    return whole;
}

static void rot_is_noticed(void)
{
    struct model *m = model_new(suite_seed());
    m->never_compact = true;
    int pid = sim_spawn("log", MODEL_HOST, model_main, m);
    model_wait(pid);
    /* Two full segments and something in a third, closed by a marker. */
    for (int i = 0; i < 100 && m->segments < 3; i++) {
        m->steps_left = 4;
        sim_restart(pid);
        model_wait(pid);
    }
    CHECK(m->segments >= 3 && m->sure.base == 0);
    uint64_t refusals = 0, harmless = 0;
    for (uint64_t segment = 1; segment <= 3; segment++) {
        char file[64];
        snprintf(file, sizeof file, "/log/segment-%016llx.log", (unsigned long long)segment);
        for (uint64_t at = 0; at < (64 << 10); at += at % LOG_BLOCK < 96 ? 5 : 211) {
            bool refused;
            bool whole = opens_whole(m, pid, file, at, &refused);
            refusals += refused;
            harmless += whole;
            suite_check(refused != whole, __FILE__, __LINE__,
                        "segment %llu offset %llu: neither refused nor whole",
                        (unsigned long long)segment, (unsigned long long)at);
        }
    }
    CHECK(refusals > 500);
    CHECK(harmless > 10);
    sys_free(m);
}

static void what_is_not_there(void)
{
    struct log_store_options o = {.directory = "/test/log", .segment_bytes = 64 << 10};
    struct log_store *s;
    struct log_recovery r;
    CHECK_ERR(log_store_open(&(struct log_store_options){.directory = "/test/none"}, &s, &r),
              ERR_NOT_FOUND);
    struct log_store_identity who = {.member = 9};
    CHECK_OK(log_store_create(&o, &who, NULL));
    CHECK_ERR(log_store_create(&o, &who, NULL), ERR_EXISTS);
    CHECK_OK(log_store_open(&o, &s, &r));
    log_recovery_release(&r);
    struct raft_entries none = {0};
    CHECK_ERR(log_store_read(s, 1, 1, 100, &none), ERR_NOT_FOUND);
    log_store_close(s);
}

/* An entry larger than a segment gets a segment of its own size. */
static void a_large_entry(void)
{
    struct log_store_options o = {.directory = "/test/log", .segment_bytes = 64 << 10};
    struct log_store_identity who = {.member = 9};
    struct log_store *s;
    struct log_recovery r;
    CHECK_OK(log_store_create(&o, &who, NULL));
    CHECK_OK(log_store_open(&o, &s, &r));
    log_recovery_release(&r);
    uint8_t *big = sys_alloc(1 << 20);
    model_fill(5, big, 1 << 20);
    struct raft_entry e = {.index = 1,
                           .term = 1,
                           .type = RAFT_ENTRY_COMMAND,
                           .payload = raft_payload_new(big, 1 << 20)};
    struct raft_hard_state hard = {.term = 1};
    log_store_append(s, &(struct log_append){.hard = &hard, .entries = &e, .count = 1});
    log_store_close(s);
    CHECK_OK(log_store_open(&o, &s, &r));
    CHECK_EQ(r.terms.last_index, 1);
    struct raft_entries back = {0};
    if (CHECK_OK(log_store_read(s, 1, 1, 100, &back)) && CHECK_EQ(back.n, 1))
        CHECK_BYTES(back.v[0].payload->data, big, 1 << 20);
    raft_entries_release(&back);
    log_recovery_release(&r);
    log_store_close(s);
    raft_payload_unref(e.payload);
    sys_free(big);
}

static const struct test tests[] = {
    {"reopens", reopens},
    {"crashes in a row", crashes_in_a_row},
    {"every primitive", every_primitive},
    {"every failure", every_failure},
    {"every failure that stays", every_failure_that_stays},
    {"rot is noticed", rot_is_noticed},
    {"what is not there", what_is_not_there},
    {"a large entry", a_large_entry},
    {0},
};
SUITE("metadata log", tests)
