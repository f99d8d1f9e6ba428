/* The configuration's table: precedence, lists, ranges, and that every refusal says where and why. */
#include <stdio.h>
#include "common/sys/sys.h"
#include "tests/unit/suite.h"
#include "tools/config.h"

static const char *write_file(const char *text, char path[300])
{
    struct sys_file *f;
    snprintf(path, 300, "%s/cairn.conf", suite_dir());
    CHECK_OK(sys_file_open(path, SYS_OPEN_WRITE | SYS_OPEN_CREATE | SYS_OPEN_TRUNCATE, &f));
    CHECK_OK(sys_file_write(f, 0, text, strlen(text)));
    sys_file_close(f);
    return path;
}

static void defaults_hold(void)
{
    struct config c;
    config_init(&c);
    CHECK_EQ(c.roles, 0);
    CHECK_EQ(c.inline_max, 4096);
    CHECK_EQ(c.pool_k, 4);
    CHECK_EQ(c.pool_m, 2);
    CHECK_EQ(c.log_level, LOG_INFO);
    CHECK_TEXT(c.s3, "127.0.0.1:9000");
    CHECK(!config_given(&c, "s3"));
    config_release(&c);
}

static void file_then_command_line(void)
{
    struct config c;
    char path[300], problem[CONFIG_PROBLEM];
    char *const words[] = {"--inline-max", "8KiB",        "--data", "/a",
                           "/b",           "--bootstrap", "--s3",   "[::1]:80"};
    config_init(&c);
    CHECK_OK(config_read_file(&c,
                              write_file("# a comment\nroles = metadata chunk\n"
                                         "metadata = 10.0.0.1:1 10.0.0.2:1,\n  10.0.0.3:1\n"
                                         "data = /x\ninline_max = 1KiB\npool = 1+2\n"
                                         "timeout_percent = 50\nlog_level = debug\n",
                                         path),
                              problem));
    CHECK_EQ(c.roles, ROLE_METADATA | ROLE_CHUNK);
    CHECK_EQ(c.inline_max, 1024);
    CHECK_EQ(c.metadata.count, 3);
    CHECK_TEXT(c.metadata.items[2], "10.0.0.3:1");
    CHECK_OK(config_read_arguments(&c, 8, words, problem));
    CHECK_EQ(c.inline_max, 8192);
    CHECK_EQ(c.data.count, 2);
    CHECK_TEXT(c.data.items[0], "/a");
    CHECK_TEXT(c.s3, "[::1]:80");
    CHECK(c.bootstrap && !c.join && c.pool_k == 1 && c.pool_m == 2);
    CHECK_EQ(c.log_level, LOG_DEBUG);
    struct timeouts t;
    config_timeouts(&c, &t);
    CHECK_EQ(t.heartbeat, SYS_SECOND / 2);
    CHECK_EQ(t.max_write_age, 12 * 3600 * SYS_SECOND);
    config_release(&c);
}

static void bad_files_say_where(void)
{
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"pool = 4+2\ndatta = /x\n", ":2: unknown key \"datta\"; known are roles data"},
        {"inline_max = 1MiB\n", ":1: inline_max: \"1MiB\" is not a size of 0 B to 64.0 KiB"},
        {"timeout_percent = 1\n", ":1: timeout_percent: \"1\" is not a number of 5 to 10000"},
        {"\n\ns3 = localhost\n", ":3: s3: \"localhost\" is not ADDR:PORT"},
        {"pool = 4\n", "is not K+M"},
        {"pool = 0+2\n", "is not K+M"},
        {"log_level = loud\n", "is not one of"},
        {"bootstrap = maybe\n", "is not true or false"},
        {"roles = metadata kitchen\n", "\"kitchen\" is not metadata, chunk or gateway"},
        {"pool = 4+2\npool = 4+1\n", ":2: pool is given twice"},
        {"[server]\npool = 4+2\n", "sections such as [server] are not used"},
        {"pool\n", ":1: not of the form key = value"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct config c;
        char path[300], problem[CONFIG_PROBLEM] = "";
        config_init(&c);
        CHECK_ERR(config_read_file(&c, write_file(cases[i].text, path), problem), ERR_FORMAT);
        suite_check(strstr(problem, cases[i].words) != NULL, __FILE__, __LINE__, "%s", problem);
        suite_check(strncmp(problem, path, strlen(path)) == 0, __FILE__, __LINE__, "%s", problem);
        config_release(&c);
    }
}

static void long_lines_are_refused(void)
{
    struct config c;
    char path[300], problem[CONFIG_PROBLEM] = "", text[400] = "pool = 4+2\nmetadata_dir = ";
    memset(text + strlen(text), 'x', 250);
    config_init(&c);
    CHECK_ERR(config_read_file(&c, write_file(text, path), problem), ERR_FORMAT);
    CHECK(strstr(problem, ":2: the line is longer"));
    CHECK_ERR(config_read_file(&c, "/no/such/file", problem), ERR_NOT_FOUND);
    CHECK(strstr(problem, "/no/such/file: not found"));
    config_release(&c);
}

static void bad_arguments(void)
{
    static char *const cases[][3] = {
        {"--datta", "x", "unknown key \"--datta\""},
        {"word", "x", "\"word\" belongs to no --key"},
        {"--pool", "--bootstrap", "--pool needs a value"},
        {"--s3", "x:y", "is not ADDR:PORT"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct config c;
        char problem[CONFIG_PROBLEM] = "";
        config_init(&c);
        CHECK_ERR(config_read_arguments(&c, 2, cases[i], problem), ERR_INVALID);
        suite_check(strstr(problem, cases[i][2]) != NULL, __FILE__, __LINE__, "%s", problem);
        config_release(&c);
    }
}

static enum err check_words(int n, char *const *words, char problem[CONFIG_PROBLEM])
{
    struct config c;
    config_init(&c);
    CHECK_OK(config_read_arguments(&c, n, words, problem));
    enum err e = config_check_server(&c, problem);
    config_release(&c);
    return e;
}

static void keys_must_fit_together(void)
{
    char problem[CONFIG_PROBLEM];
    CHECK_ERR(check_words(0, NULL, problem), ERR_INVALID);
    CHECK_OK(check_words(3, (char *[]){"--data", "/a", "/b"}, problem));
    CHECK_ERR(check_words(2, (char *[]){"--roles", "gateway"}, problem), ERR_INVALID);
    CHECK(strstr(problem, "cluster_key is missing"));
    CHECK_ERR(check_words(4, (char *[]){"--roles", "gateway", "--cluster-key", "k"}, problem),
              ERR_INVALID);
    CHECK(strstr(problem, "metadata is missing"));
    CHECK_OK(check_words(
        6, (char *[]){"--roles", "gateway", "--cluster-key", "k", "--metadata", "127.0.0.1:1"},
        problem));
}

static void every_key_is_described(void)
{
    struct config_text t;
    size_t n = 0;
    for (; config_describe(n, &t); n++)
        CHECK(*t.key && *t.type && *t.help);
    CHECK(n > 15);
}

static const struct test tests[] = {
    {"defaults hold", defaults_hold},
    {"file, then command line", file_then_command_line},
    {"bad files say where", bad_files_say_where},
    {"long lines are refused", long_lines_are_refused},
    {"bad arguments", bad_arguments},
    {"keys must fit together", keys_must_fit_together},
    {"every key is described", every_key_is_described},
    {0},
};
SUITE("configuration", tests)
