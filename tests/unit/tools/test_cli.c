/* The frame of the verbs: options anywhere among the words, refusals, groups, tables as JSON. */
#include "tests/unit/suite.h"
#include "tools/cli.h"

static int echo_run(struct cli *cli, int argc, char **argv)
{
    bool fast = false;
    uint64_t size = 0;
    const struct cli_option options[] = {{"fast", CLI_FLAG, &fast}, {"size", CLI_SIZE, &size}, {0}};
    int status = cli_options(cli, options, &argc, argv);
    if (status)
        return status;
    return fast && size == 65536 && argc == 2 && strcmp(argv[1], "--raw") == 0 ? CLI_OK
                                                                               : CLI_FAILED;
}

static const struct cli_verb group[] = {
    {.name = "echo", .usage = "", .summary = "repeats", .run = echo_run}, {0}};
static const struct cli_verb verbs[] = {
    {.name = "echo", .usage = "", .summary = "repeats", .run = echo_run},
    {.name = "group", .summary = "holds one", .verbs = group},
    {.name = "help", .usage = "", .summary = "explains", .run = cli_help},
    {0}};

static int run(int argc, const char *const *words, struct cli *cli)
{
    char *argv[16];
    for (int i = 0; i < argc; i++)
        argv[i] = (char *)(uintptr_t)words[i];
    *cli = (struct cli){0};
    return cli_dispatch(cli, verbs, argc, argv);
}
#define RUN(cli, ...)                                                        \
    run((int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(const char *)), \
        (const char *const[]){__VA_ARGS__}, cli)

static void options_stand_anywhere(void)
{
    struct cli cli;
    CHECK_EQ(RUN(&cli, "echo", "one", "--fast", "--json", "--size", "64KiB", "--", "--raw"), 0);
    CHECK(cli.json);
    CHECK_EQ(RUN(&cli, "group", "echo", "--size", "64KiB", "one", "--config", "/c", "--fast", "--",
                 "--raw"),
             0);
    CHECK_TEXT(cli.config_path, "/c");
    CHECK_EQ(RUN(&cli, "echo", "one"), 1);
}

static void wrong_words_are_refused(void)
{
    struct cli cli;
    CHECK_EQ(run(0, NULL, &cli), 2);
    CHECK_EQ(RUN(&cli, "ecko"), 2);
    CHECK_EQ(RUN(&cli, "group"), 2);
    CHECK_EQ(RUN(&cli, "group", "ecko"), 2);
    CHECK_EQ(RUN(&cli, "echo", "--slow"), 2);
    CHECK_EQ(RUN(&cli, "echo", "--size"), 2);
    CHECK_EQ(RUN(&cli, "echo", "--size", "big"), 2);
    CHECK_EQ(RUN(&cli, "help", "ecko"), 2);
}

static void help_is_everywhere(void)
{
    struct cli cli;
    CHECK_EQ(RUN(&cli, "--help"), 0);
    CHECK_EQ(RUN(&cli, "help", "group", "echo"), 0);
    CHECK_EQ(RUN(&cli, "group", "--help"), 0);
    CHECK_EQ(RUN(&cli, "echo", "one", "--help"), 0);
    CHECK_EQ(RUN(&cli, "echo", "--", "--help"), 1); /* a word like any other */
}

static void a_table_is_json(void)
{
    static const char *const columns[] = {"Name", "PG count", NULL};
    struct cli_table *t = cli_table_new(columns);
    cli_table_row(t, (const char *const[]){"007", "12"});
    cli_table_row(t, (const char *const[]){"b\"c", "-"});
    CHECK_EQ(cli_table_rows(t), 2);
    json_t *value = cli_table_json(t), *first = json_array_get(value, 0);
    CHECK_EQ(json_array_size(value), 2);
    CHECK_TEXT(json_string_value(json_object_get(first, "name")), "007");
    CHECK_EQ(json_integer_value(json_object_get(first, "pg_count")), 12);
    CHECK_TEXT(json_string_value(json_object_get(json_array_get(value, 1), "name")), "b\"c");
    CHECK(json_is_null(json_object_get(json_array_get(value, 1), "pg_count")));
    json_decref(value);
    cli_table_free(t);
}

static const struct test tests[] = {
    {"options stand anywhere", options_stand_anywhere},
    {"wrong words are refused", wrong_words_are_refused},
    {"help is everywhere", help_is_everywhere},
    {"a table is JSON", a_table_is_json},
    {0},
};
SUITE("the frame of the verbs", tests)
