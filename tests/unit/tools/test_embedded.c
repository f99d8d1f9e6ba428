/* The metadata members of the embedded form, as one simulated process over six directories that crashes at
 * every so many of its steps: whatever it left behind, the next start makes the group whole. */
#include <stdio.h>
#include <string.h>
#include "common/proto/message_types.h"
#include "common/sys/sim/sim.h"
#include "tests/unit/suite.h"
#include "tools/server.h"

enum { HOST = 7, DIRECTORIES = 6, MEMBERS = 5, PATH = 64 };

/* What the process is told, and what it tells; one at a time, so it may be static. */
static struct rig {
    int pid;
    size_t directories;
    uint32_t k, m;
    bool end_at_learner; /* the process ends once the group has a member that does not vote */
    /* As the leader says. */
    bool led;
    size_t members, voters, here, running;
    uint64_t ids[16];
    uint64_t discarded, installed;
} rig;

static void look(struct server *s)
{
    struct arena arena;
    rig.led = false;
    arena_init(&arena);
    rig.discarded = rig.installed = 0;
    for (size_t i = 0; i < s->member_count; i++) {
        Members ask = MEMBERS__INIT;
        ProtobufCMessage *reply = NULL;
        uint64_t id = metadata_service_member(s->members[i]);
        if (metadata_service_call(s->members[i], MSG_MEMBERS, &ask.base, &arena, 0, &reply) != OK)
            continue;
        const Members *m = (const Members *)reply;
        rig.discarded += m->discarded;
        rig.installed += m->installed_index > 0;
        if (m->leader != id)
            continue;
        rig.led = true;
        rig.members = m->n_members;
        rig.running = s->member_count;
        rig.voters = rig.here = 0;
        for (size_t k = 0; k < m->n_members && k < 16; k++) {
            rig.ids[k] = m->members[k]->id;
            rig.voters += m->members[k]->voter;
            for (size_t n = 0; n < s->member_count; n++)
                rig.here += metadata_service_member(s->members[n]) == rig.ids[k];
        }
        if (rig.end_at_learner && rig.voters < rig.members)
            sys_exit(1, "a learner");
    }
    arena_release(&arena);
}

static void put_credentials(const char *path)
{
    static const char text[] = "AWS_ACCESS_KEY_ID=EMBEDDED\nAWS_SECRET_ACCESS_KEY=not-so-secret\n";
    struct sys_file *f;
    if (sys_file_open(path, SYS_OPEN_WRITE | SYS_OPEN_CREATE | SYS_OPEN_TRUNCATE, &f) != OK ||
        sys_file_write(f, 0, text, sizeof text - 1) != OK)
        sys_exit(1, "no credentials");
    sys_file_close(f);
}

static void server_main(void *arg)
{
    (void)arg;
    struct config config;
    char path[PATH];
    config_init(&config);
    config.pool_k = rig.k;
    config.pool_m = rig.m;
    config.log_segment = 64 << 10;
    config.buffer_memory = 8 << 20;
    config.s3 = NULL;
    config.root_credentials = "/root.env";
    put_credentials(config.root_credentials);
    for (size_t i = 0; i < rig.directories; i++) {
        snprintf(path, sizeof path, "/D%zu", i + 1);
        if (sys_dir_make(path) != OK)
            sys_exit(1, "no directory");
        config.data.items[config.data.count++] = arena_string(&config.arena, path);
    }
    config.metadata_listen = arena_string(&config.arena, "10.0.0.7:7000");
    config.chunk_listen = arena_string(&config.arena, "10.0.0.7:7200");
    struct server *s = sys_alloc(sizeof *s);
    struct sys_poll stop = {.event = sys_stop_event()};
    if (server_start(s, &config) != OK)
        sys_exit(1, s->problem);
    do
        look(s);
    while (sys_poll(&stop, 1, sys_now() + (rig.end_at_learner ? SYS_MS : 50 * SYS_MS)) != OK);
    server_stop(s);
    sys_free(s);
    config_release(&config);
}

static bool whole(void)
{
    return rig.led && rig.members == rig.voters && rig.voters == rig.here &&
           rig.running == rig.here;
}

static bool await_whole(size_t members)
{
    for (int i = 0; i < 600; i++) {
        if (whole() && rig.voters == members)
            return true;
        sys_sleep_until(sys_now() + 100 * SYS_MS);
    }
    return false;
}

static bool known(uint64_t id)
{
    for (size_t i = 0; i < rig.members; i++)
        if (rig.ids[i] == id)
            return true;
    return false;
}

static void kill_server(void)
{
    sim_crash(rig.pid);
    rig.led = false;
}

static void lose(unsigned directory)
{
    char path[PATH];
    snprintf(path, sizeof path, "/D%u", directory);
    CHECK_OK(sim_disk_wipe(HOST, path));
}

static void begin(size_t directories, uint32_t k, uint32_t m, size_t members)
{
    memset(&rig, 0, sizeof rig);
    rig.directories = directories;
    rig.k = k;
    rig.m = m;
    rig.pid = sim_spawn("server", HOST, server_main, NULL);
    CHECK(await_whole(members));
}

static void end(void)
{
    sim_stop(rig.pid);
    for (int i = 0; i < 200 && sim_alive(rig.pid); i++)
        sys_sleep_until(sys_now() + 50 * SYS_MS);
    CHECK(!sim_alive(rig.pid));
    CHECK_EQ(sim_leaks(rig.pid).blocks, 0);
}

/* One and two directories at once; no directory's loss leaves a trace when it is over. */
static void made_again(void)
{
    uint64_t before[MEMBERS];
    begin(DIRECTORIES, 4, 2, MEMBERS);
    for (unsigned n = 1; n <= 2; n++) {
        memcpy(before, rig.ids, sizeof before);
        kill_server();
        for (unsigned i = 0; i < n; i++)
            lose(2 + i);
        sim_restart(rig.pid);
        CHECK(await_whole(MEMBERS));
        unsigned gone = 0;
        for (size_t i = 0; i < MEMBERS; i++)
            gone += !known(before[i]);
        CHECK_EQ(gone, n);
    }
    end();
}

/* The directory of one that had only begun to join is lost as well: the group forgets it. */
static void learner_lost(void)
{
    begin(DIRECTORIES, 4, 2, MEMBERS);
    kill_server();
    lose(3);
    rig.end_at_learner = true;
    sim_disk_slow(HOST, "/D3", 50 * SYS_MS); /* it is seen to be a learner before it votes */
    sim_restart(rig.pid);
    for (int i = 0; i < 400 && sim_alive(rig.pid); i++)
        sys_sleep_until(sys_now() + 50 * SYS_MS);
    CHECK(!sim_alive(rig.pid));
    CHECK_TEXT(sim_exit_reason(rig.pid), "a learner");
    sim_disk_slow(HOST, "/D3", 0);
    lose(3);
    rig.end_at_learner = false;
    rig.led = false;
    sim_restart(rig.pid);
    CHECK(await_whole(MEMBERS));
    end();
}

static void no_quorum(void)
{
    begin(DIRECTORIES, 4, 2, MEMBERS);
    kill_server();
    for (unsigned i = 1; i <= 3; i++)
        lose(i);
    sim_restart(rig.pid);
    for (int i = 0; i < 200 && sim_alive(rig.pid); i++)
        sys_sleep_until(sys_now() + 50 * SYS_MS);
    CHECK(!sim_alive(rig.pid));
    CHECK(strstr(sim_exit_reason(rig.pid), "only 2 of the 5") != NULL);
    struct uuid cluster;
    uint64_t member;
    CHECK_ERR(metadata_service_peek("/D1/metadata", &cluster, &member), ERR_NOT_FOUND);
}

/* With more directories, more members. */
static void grows(void)
{
    begin(3, 1, 2, 3);
    kill_server();
    rig.directories = 5;
    sim_restart(rig.pid);
    CHECK(await_whole(5));
    end();
}

/* Crashes at a dozen steps of the start that replaces two members, twice in a row. */
static void crashes(void)
{
    begin(DIRECTORIES, 4, 2, MEMBERS);
    kill_server();
    lose(1);
    lose(4);
    sim_restart(rig.pid);
    CHECK(await_whole(MEMBERS));
    uint64_t points = sim_points(rig.pid), step = points / 12 + 1;
    for (uint64_t at = step / 2; at < points; at += step) {
        kill_server();
        lose(1 + (unsigned)(at / step) % DIRECTORIES);
        lose(1 + (unsigned)(at / step + 2) % DIRECTORIES);
        for (int i = 0; i < 2; i++) {
            sim_restart(rig.pid);
            sim_crash_at(rig.pid, i == 0 ? at : points - at);
            for (int t = 0; t < 600 && sim_alive(rig.pid) && !whole(); t++)
                sys_sleep_until(sys_now() + 20 * SYS_MS);
            sim_crash_at(rig.pid, 0);
            CHECK(!sim_alive(rig.pid) || whole());
            kill_server();
        }
        sim_restart(rig.pid);
        if (!CHECK(await_whole(MEMBERS)))
            break;
    }
    end();
}

static const struct test tests[] = {
    {"made again", made_again}, {"a learner lost", learner_lost},
    {"no quorum", no_quorum},   {"grows", grows},
    {"crashes", crashes},       {0},
};
SUITE("embedded members", tests)
