/* A log compaction that is asked for while the state is being replaced by the leader's. */
#include <stdio.h>
#include <string.h>
#include "common/sys/sys.h"
#include "metadata/driver.h"
#include "tests/unit/suite.h"

enum { SELF = 7, LEADER = 8, AT = 50 };

/* One member, which hears a leader that is not there. Each round of its driver's thread takes a while, between
 * what it is told and what it carries out. */
struct rig {
    struct driver *driver;
    struct sys_mutex lock;
    struct sys_cond changed;
    unsigned rounds;
    bool installed;
};

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

static bool slow_round(void *arg)
{
    struct rig *r = arg;
    sys_mutex_lock(&r->lock);
    r->rounds++;
    sys_cond_broadcast(&r->changed);
    sys_mutex_unlock(&r->lock);
    sys_sleep_until(sys_now() + 50 * SYS_MS);
    return true;
}

static enum err take(void *arg, const struct raft_install_piece *piece)
{
    (void)arg;
    (void)piece;
    return OK;
}

/* The compaction is asked for, and the state is there, in one round. */
static enum err switch_over(void *arg, const struct raft_snapshot *snapshot)
{
    struct rig *r = arg;
    (void)snapshot;
    sys_mutex_lock(&r->lock);
    unsigned now = r->rounds;
    while (r->rounds == now)
        (void)sys_cond_wait(&r->changed, &r->lock, SYS_FOREVER);
    r->installed = true;
    sys_cond_broadcast(&r->changed);
    sys_mutex_unlock(&r->lock);
    sys_sleep_until(sys_now() + 10 * SYS_MS);
    return OK;
}

static void compact(void *arg)
{
    struct rig *r = arg;
    uint64_t index = 0;
    sys_mutex_lock(&r->lock);
    while (!r->installed)
        (void)sys_cond_wait(&r->changed, &r->lock, SYS_FOREVER);
    sys_mutex_unlock(&r->lock);
    CHECK_OK(driver_compact(r->driver, sys_now() + 10 * SYS_SECOND, &index));
    CHECK_EQ(index, AT);
}

static void tell_snapshot(struct rig *r)
{
    static const char image[] = "all of it";
    struct raft_configuration members = {0};
    CHECK_OK(raft_configuration_set(&members, SELF, RAFT_VOTER, "here"));
    CHECK_OK(raft_configuration_set(&members, LEADER, RAFT_VOTER, "there"));
    struct raft_entry e = {.index = 3,
                           .term = 1,
                           .type = RAFT_ENTRY_CONFIGURATION,
                           .payload = raft_configuration_encode(&members)};
    struct raft_message m = {.type = RAFT_SNAPSHOT,
                             .from = LEADER,
                             .to = SELF,
                             .term = 2,
                             .index = AT,
                             .log_term = 2,
                             .piece = raft_payload_new(image, sizeof image),
                             .last = true};
    raft_entries_push(&m.entries, &e);
    raft_payload_unref(e.payload);
    CHECK_OK(driver_receive(r->driver, &m));
}

static void while_installing(void)
{
    struct rig r = {0};
    char log[64];
    struct sys_thread *thread;
    struct driver_status s;
    snprintf(log, sizeof log, "%s/log", suite_dir());
    const struct log_store_identity who = {.member = SELF};
    const struct driver_options o = {
        .log = {.directory = log, .segment_bytes = 64 << 10},
        .tick = SYS_MS,
        .election_min_ticks = 1000,
        .election_max_ticks = 2000,
        .callbacks = {.arg = &r,
                      .send = send_nothing,
                      .apply = apply_nothing,
                      .snapshot_write = take,
                      .snapshot_install = switch_over,
                      .tick = slow_round},
    };
    sys_mutex_init(&r.lock);
    sys_cond_init(&r.changed);
    CHECK_OK(driver_create(&o.log, &who, NULL));
    CHECK_OK(driver_start(&o, NULL, &r.driver));
    CHECK_OK(sys_thread_start(&thread, "compact", 0, compact, &r));
    tell_snapshot(&r);
    sys_thread_join(thread);
    driver_status(r.driver, &s);
    CHECK_EQ(s.raft.first_index, AT + 1);
    CHECK_EQ(s.applied, AT);
    driver_stop(r.driver);
    sys_cond_release(&r.changed);
    sys_mutex_release(&r.lock);
}

static const struct test tests[] = {
    {"while a state is installed", while_installing},
    {0},
};
SUITE("driver compact", tests)
