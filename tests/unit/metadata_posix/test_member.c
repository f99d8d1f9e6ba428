/* One member on the real floor: real threads, O_DIRECT, a restart that replays. */
#include <stdatomic.h>
#include <stdio.h>
#include "common/sys/sys.h"
#include "metadata/driver.h"
#include "tests/unit/suite.h"

enum { THREADS = 8, EACH = 100 };

struct member {
    struct driver *driver;
    _Atomic uint64_t applied, commands;
};

static void send_nothing(void *arg, const struct raft_message *m)
{
    (void)arg;
    (void)m;
}

static enum err apply(void *arg, struct driver_entry *entries, size_t n)
{
    struct member *m = arg;
    for (size_t i = 0; i < n; i++) {
        CHECK_EQ(entries[i].index, m->applied + 1);
        m->applied = entries[i].index;
        if (entries[i].type != RAFT_ENTRY_COMMAND)
            continue;
        m->commands++;
        driver_entry_reply(&entries[i], entries[i].data, entries[i].length);
    }
    return OK;
}

static void propose_all(void *arg)
{
    struct member *m = arg;
    for (uint64_t i = 0; i < EACH; i++) {
        uint64_t command[40] = {i};
        struct driver_result r = {0};
        if (!CHECK_OK(driver_propose(m->driver, command, sizeof command,
                                     sys_now() + 10 * SYS_SECOND, &r)))
            return;
        CHECK(r.reply_length == sizeof command && memcmp(r.reply, command, sizeof command) == 0);
        sys_free(r.reply);
        if (i % 10 == 0)
            CHECK_OK(driver_read_barrier(m->driver, sys_now() + 10 * SYS_SECOND));
    }
}

static void wait_until_ready(struct member *m)
{
    struct driver_status s = {0};
    for (int i = 0; i < 500 && !s.leader_ready; i++) {
        sys_sleep_until(sys_now() + 10 * SYS_MS);
        driver_status(m->driver, &s);
    }
    CHECK(s.leader_ready);
}

static void restarts_and_replays(void)
{
    char log[SYS_PATH_MAX];
    snprintf(log, sizeof log, "%s/log", suite_dir());
    struct member m = {0};
    struct driver_options o = {.log = {.directory = log, .segment_bytes = 256 << 10},
                               .tick = 10 * SYS_MS,
                               .callbacks = {.arg = &m, .send = send_nothing, .apply = apply}};
    struct raft_configuration first = {0};
    struct log_store_identity who = {.member = 77};
    CHECK_OK(raft_configuration_set(&first, 77, RAFT_VOTER, "here"));
    CHECK_OK(driver_create(&o.log, &who, &first));
    for (int life = 1; life <= 3; life++) {
        m.applied = m.commands = 0; /* a state that forgot all: everything is replayed */
        who.member = 0;
        if (!CHECK_OK(driver_start(&o, &who, &m.driver)))
            return;
        CHECK_EQ(who.member, 77);
        wait_until_ready(&m);
        struct sys_thread *threads[THREADS];
        for (int i = 0; i < THREADS; i++)
            CHECK_OK(sys_thread_start(&threads[i], "client", 0, propose_all, &m));
        for (int i = 0; i < THREADS; i++)
            sys_thread_join(threads[i]);
        driver_stop(m.driver);
        CHECK_EQ(m.commands, life * THREADS * EACH);
    }
}

static const struct test tests[] = {{"restarts and replays", restarts_and_replays}, {0}};
SUITE("metadata member", tests)
