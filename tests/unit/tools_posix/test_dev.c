/* A local cluster's files: made whole and private, found again in order, never over something else;
 * and its processes: known by pid and start stamp. */
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/sys/log.h"
#include "common/sys/sys.h"
#include "tests/unit/suite.h"
#include "tools/cluster_key.h"
#include "tools/config.h"
#include "tools/dev_cluster.h"

static const struct dev_plan plan = {.metadata = 3, .disks = 11, .pool = "4+2", .s3_port = 0};

static void make(struct dev_cluster *c, char dir[DEV_PATH])
{
    char problem[CONFIG_PROBLEM] = "";
    snprintf(dir, DEV_PATH, "%s/cluster", suite_dir());
    suite_check(dev_cluster_create(dir, &plan, problem, sizeof problem) == OK, __FILE__, __LINE__,
                "%s", problem);
    CHECK(dev_cluster_exists(dir));
    CHECK_OK(dev_cluster_load(dir, c));
}

static unsigned mode_of(const char *dir, const char *name)
{
    char path[DEV_PATH * 2];
    struct stat s = {0};
    snprintf(path, sizeof path, "%s/%s", dir, name);
    CHECK_EQ(stat(path, &s), 0);
    return s.st_mode & 0777;
}

static void finds_what_it_made(void)
{
    struct dev_cluster c;
    char dir[DEV_PATH], path[DEV_PATH];
    struct rpc_keys keys;
    make(&c, dir);
    CHECK_EQ(c.count, 15);
    CHECK_TEXT(c.processes[0].name, "metadata-1");
    CHECK_TEXT(c.processes[3].name, "chunk-1");
    CHECK_TEXT(c.processes[12].name, "chunk-10");
    CHECK_TEXT(c.processes[14].name, "gateway-1");
    CHECK(dev_cluster_find(&c, "chunk-11") && !dev_cluster_find(&c, "chunk-12"));
    CHECK(dev_process_is_new(&c, &c.processes[0]));
    CHECK_EQ(mode_of(dir, "cluster.key"), 0600);
    CHECK_EQ(mode_of(dir, "credentials.env"), 0600);
    snprintf(path, sizeof path, "%.200s/cluster.key", dir);
    CHECK_OK(cluster_key_read(path, &keys));
    CHECK_EQ(keys.count, 1);
    CHECK_EQ(keys.key[0].id, 1);
    CHECK_ERR(cluster_key_create(path), ERR_EXISTS);
}

static void every_configuration_is_sound(void)
{
    struct dev_cluster c;
    char dir[DEV_PATH], path[DEV_PATH], problem[CONFIG_PROBLEM] = "";
    make(&c, dir);
    for (size_t i = 0; i < c.count; i++) {
        struct config config;
        config_init(&config);
        dev_path(&c, "conf", &c.processes[i], ".conf", path);
        enum err e = config_read_file(&config, path, problem);
        if (!e)
            e = config_check_server(&config, problem);
        suite_check(e == OK, __FILE__, __LINE__, "%s", problem);
        CHECK_EQ(config.metadata.count, 3);
        CHECK((config.roles == ROLE_METADATA) == dev_process_is(&c.processes[i], "metadata"));
        config_release(&config);
    }
}

static void spares_what_is_there(void)
{
    struct dev_cluster c;
    char problem[CONFIG_PROBLEM] = "", dir[DEV_PATH];
    CHECK_ERR(dev_cluster_load(suite_dir(), &c), ERR_NOT_FOUND);
    make(&c, dir);
    /* not empty, since it holds the cluster */
    CHECK_ERR(dev_cluster_create(suite_dir(), &plan, problem, sizeof problem), ERR_EXISTS);
    CHECK(strstr(problem, "name an empty directory"));
    CHECK_ERR(dev_cluster_create("/no/such/place", &plan, problem, sizeof problem), ERR_NOT_FOUND);
}

static void says_that_a_port_is_taken(void)
{
    struct sys_addr any;
    struct sys_socket *held;
    char dir[DEV_PATH], problem[CONFIG_PROBLEM] = "";
    CHECK_OK(sys_addr_parse("127.0.0.1:0", &any));
    CHECK_OK(sys_listen(&any, &held));
    struct dev_plan busy = plan;
    busy.s3_port = sys_socket_local(held).port;
    snprintf(dir, sizeof dir, "%s/cluster", suite_dir());
    CHECK_ERR(dev_cluster_create(dir, &busy, problem, sizeof problem), ERR_ADDRESS_IN_USE);
    CHECK(strstr(problem, "is in use"));
    sys_socket_close(held);
}

static void write_number(const struct dev_cluster *c, const struct dev_process *p,
                         const char *suffix, uint64_t number)
{
    char path[DEV_PATH];
    dev_path(c, "run", p, suffix, path);
    FILE *f = fopen(path, "w");
    if (CHECK(f)) {
        fprintf(f, "%llu\n", (unsigned long long)number);
        fclose(f);
    }
}

/* The process that the files name is this test: it must not be taken for the server. */
static void never_ends_a_recycled_pid(void)
{
    struct dev_cluster c;
    char dir[DEV_PATH];
    struct sys_process self, found;
    make(&c, dir);
    const struct dev_process *p = &c.processes[0];
    CHECK_ERR(dev_process_state(&c, p, &found), ERR_NOT_FOUND);
    CHECK_OK(sys_process_find(getpid(), &self));
    write_number(&c, p, ".pid", (uint64_t)getpid());
    CHECK_ERR(dev_process_state(&c, p, &found), ERR_NOT_FOUND);
    write_number(&c, p, ".started", self.started + 1);
    CHECK_ERR(dev_process_state(&c, p, &found), ERR_NOT_FOUND);
    CHECK_ERR(dev_process_end(&c, p, SYS_PROCESS_KILL, sys_now()), ERR_NOT_FOUND);
    write_number(&c, p, ".started", self.started);
    CHECK_OK(dev_process_state(&c, p, &found));
    CHECK_ERR(dev_process_start(&c, p, NULL), ERR_EXISTS);
}

static uint64_t log_bytes(const struct dev_cluster *c, const struct dev_process *p)
{
    char path[DEV_PATH];
    struct sys_file *log;
    uint64_t size = 0;
    dev_path(c, "log", p, ".log", path);
    if (sys_file_open(path, SYS_OPEN_READ, &log) == OK) {
        CHECK_OK(sys_file_size(log, &size));
        sys_file_close(log);
    }
    return size;
}

static uint64_t await_words(const struct dev_cluster *c, const struct dev_process *p, uint64_t more)
{
    int64_t deadline = sys_now() + 20 * SYS_SECOND;
    while (log_bytes(c, p) <= more && CHECK(sys_now() < deadline))
        sys_sleep_until(sys_now() + SYS_MS);
    return log_bytes(c, p);
}

/* This program stands in for the server: see main. */
static void starts_and_ends_processes(void)
{
    struct dev_cluster c;
    char dir[DEV_PATH];
    struct sys_process first, second;
    int64_t soon = sys_now() + 20 * SYS_SECOND;
    make(&c, dir);
    const struct dev_process *p = &c.processes[4];
    CHECK_OK(dev_process_start(&c, p, "--join"));
    CHECK_OK(dev_process_state(&c, p, &first));
    CHECK_ERR(dev_process_start(&c, p, NULL), ERR_EXISTS);
    uint64_t words = await_words(&c, p, 0); /* from now on it handles its signals */
    CHECK_ERR(dev_process_end(&c, p, SYS_PROCESS_RELOAD, sys_now() + 50 * SYS_MS), ERR_TIMEOUT);
    CHECK_OK(dev_process_end(&c, p, SYS_PROCESS_STOP, soon));
    CHECK_ERR(dev_process_end(&c, p, SYS_PROCESS_STOP, soon), ERR_NOT_FOUND);
    CHECK_OK(dev_process_start(&c, p, NULL));
    CHECK_OK(dev_process_state(&c, p, &second));
    await_words(&c, p, words);
    CHECK(first.pid != second.pid || first.started != second.started);
    CHECK_OK(dev_process_end(&c, p, SYS_PROCESS_KILL, soon));
    CHECK_ERR(dev_process_state(&c, p, &second), ERR_NOT_FOUND);
    CHECK(log_bytes(&c, p) > words); /* appended to, not replaced */
}

static const struct test tests[] = {
    {"finds what it made", finds_what_it_made},
    {"every configuration is sound", every_configuration_is_sound},
    {"spares what is there", spares_what_is_there},
    {"says that a port is taken", says_that_a_port_is_taken},
    {"never ends a recycled pid", never_ends_a_recycled_pid},
    {"starts and ends processes", starts_and_ends_processes},
    {0},
};

static int serve(int argc, char **argv)
{
    struct sys_poll stop = {.event = sys_stop_event()};
    (void)sys_reload_event();
    log_info("server", "runs with %s%s%s", argv[3], argc > 4 ? " " : "", argc > 4 ? argv[4] : "");
    return sys_poll(&stop, 1, sys_now() + 60 * SYS_SECOND) ? 1 : 0;
}

/* A started process runs this same program, as with cairn itself. */
int main(int argc, char **argv)
{
    if (argc >= 4 && strcmp(argv[1], "server") == 0)
        return serve(argc, argv);
    return suite_run("a local cluster's files and processes", tests, argc, argv);
}
