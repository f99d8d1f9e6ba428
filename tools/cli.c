/* Dispatch, options and help. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "common/base/text.h"
#include "common/sys/sys.h"
#include "tools/cli.h"

static void print_verbs(const char *before, const struct cli_verb *verbs)
{
    for (const struct cli_verb *v = verbs; v->name; v++) {
        if (v->verbs) {
            char inner[64];
            snprintf(inner, sizeof inner, "%s%s ", before, v->name);
            print_verbs(inner, v->verbs);
        } else {
            char line[128];
            snprintf(line, sizeof line, "%s%s %s", before, v->name, v->usage);
            printf(strlen(line) >= 36 ? "  cairn %s\n%44s%s\n" : "  cairn %-36s%.0s%s\n", line, "",
                   v->summary);
        }
    }
}

static void print_all(const struct cli *cli)
{
    printf("cairn: an S3-compatible, erasure-coded object store\n\n");
    print_verbs("", cli->verbs);
    printf(
        "\nEvery verb takes --help, and --json for programs (server and help do not). --config "
        "FILE or\n"
        "the variable CAIRN_CONFIG say which cluster. Exit status: 0 it held, 1 it did not, 2 the\n"
        "words were wrong.\n");
}

static void print_path(FILE *to, const struct cli *cli)
{
    fprintf(to, "cairn");
    for (size_t i = 0; i < cli->depth; i++)
        fprintf(to, " %s", cli->path[i]->name);
}

static void print_one(const struct cli *cli)
{
    const struct cli_verb *v = cli->path[cli->depth - 1];
    if (v->verbs) {
        char before[64];
        snprintf(before, sizeof before, "%s ", v->name);
        printf("%s\n\n", v->summary);
        print_verbs(before, v->verbs);
        return;
    }
    printf("usage: ");
    print_path(stdout, cli);
    printf(" %s\n\n%s\n", v->usage, v->summary);
    if (v->help)
        printf("\n%s", v->help);
}

static const struct cli_verb *find_verb(const struct cli_verb *verbs, const char *name)
{
    for (const struct cli_verb *v = verbs; v->name; v++)
        if (strcmp(v->name, name) == 0)
            return v;
    return NULL;
}

static bool asks_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

int cli_help(struct cli *cli, int argc, char **argv)
{
    const struct cli_verb *verbs = cli->verbs;
    cli->depth = 0;
    for (int i = 0; i < argc && verbs && cli->depth < CLI_DEPTH; i++) {
        const struct cli_verb *v = find_verb(verbs, argv[i]);
        if (!v)
            return cli_usage(cli, "there is no verb \"%.40s\"", argv[i]);
        cli->path[cli->depth++] = v;
        verbs = v->verbs;
    }
    if (cli->depth == 0)
        print_all(cli);
    else
        print_one(cli);
    return CLI_OK;
}

int cli_dispatch(struct cli *cli, const struct cli_verb *verbs, int argc, char **argv)
{
    if (cli->depth == 0)
        cli->verbs = verbs;
    if (argc == 0)
        return cli->depth == 0 ? (print_all(cli), CLI_USAGE) : cli_usage(cli, "a verb is missing");
    if (asks_help(argv[0])) {
        if (cli->depth == 0)
            print_all(cli);
        else
            print_one(cli);
        return CLI_OK;
    }
    bool asks_version = cli->depth == 0 && strcmp(argv[0], "--version") == 0;
    const struct cli_verb *v = find_verb(verbs, asks_version ? "version" : argv[0]);
    if (!v || cli->depth == CLI_DEPTH)
        return cli_usage(cli, "there is no verb \"%.40s\"", argv[0]);
    cli->path[cli->depth++] = v;
    if (v->verbs)
        return cli_dispatch(cli, v->verbs, argc - 1, argv + 1);
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (asks_help(argv[i])) {
            print_one(cli);
            return CLI_OK;
        }
    return v->run(cli, argc - 1, argv + 1);
}

int cli_usage(const struct cli *cli, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "cairn: ");
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n");
    const struct cli_verb *v = cli->depth ? cli->path[cli->depth - 1] : NULL;
    if (v && !v->verbs) {
        fprintf(stderr, "usage: ");
        print_path(stderr, cli);
        fprintf(stderr, " %s\n", v->usage);
    } else {
        fprintf(stderr, "see: ");
        print_path(stderr, cli);
        fprintf(stderr, " --help\n");
    }
    return CLI_USAGE;
}

int cli_failed(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "cairn: ");
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n");
    return CLI_FAILED;
}

/* ---- options ---- */

static const struct cli_option *find_option(const struct cli_option *options, const char *word)
{
    for (const struct cli_option *o = options; o && o->name; o++)
        if (strcmp(o->name, word) == 0)
            return o;
    return NULL;
}

static int take_value(const struct cli *cli, const struct cli_option *o, const char *value)
{
    enum err e = OK;
    switch (o->type) {
    case CLI_TEXT:
        *(const char **)o->out = value;
        break;
    case CLI_COUNT:
        e = decimal_parse(value, strlen(value), o->out);
        break;
    case CLI_SIZE:
        e = bytes_parse(value, o->out);
        break;
    case CLI_DURATION:
        e = duration_parse(value, o->out);
        break;
    case CLI_FLAG:
        break;
    }
    if (!e)
        return CLI_OK;
    const char *want = o->type == CLI_COUNT  ? "a number"
                       : o->type == CLI_SIZE ? "a size such as 64KiB"
                                             : "a duration such as 10s";
    return cli_usage(cli, "--%s: \"%.60s\" is not %s", o->name, value, want);
}

int cli_options(struct cli *cli, const struct cli_option *options, int *argc, char **argv)
{
    const struct cli_option common[] = {
        {"json", CLI_FLAG, &cli->json}, {"config", CLI_TEXT, &cli->config_path}, {0}};
    int kept = 0, i = 0;
    for (; i < *argc; i++) {
        if (strncmp(argv[i], "--", 2) != 0) {
            argv[kept++] = argv[i];
            continue;
        }
        const char *word = argv[i] + 2;
        if (!*word) {
            i++;
            break;
        }
        const struct cli_option *o = find_option(options, word);
        if (!o)
            o = find_option(common, word);
        if (!o)
            return cli_usage(cli, "there is no option --%.40s", word);
        if (o->type == CLI_FLAG) {
            *(bool *)o->out = true;
            continue;
        }
        if (i + 1 == *argc)
            return cli_usage(cli, "--%s needs a value", o->name);
        int status = take_value(cli, o, argv[++i]);
        if (status)
            return status;
    }
    while (i < *argc)
        argv[kept++] = argv[i++];
    *argc = kept;
    return CLI_OK;
}

int cli_options_only(struct cli *cli, const struct cli_option *options, int argc, char **argv)
{
    int status = cli_options(cli, options, &argc, argv);
    return !status && argc ? cli_usage(cli, "unexpected word \"%.40s\"", argv[0]) : status;
}

int cli_config(struct cli *cli, struct config *c)
{
    char problem[CONFIG_PROBLEM];
    const char *path = cli->config_path ? cli->config_path : sys_environment("CAIRN_CONFIG");
    config_init(c);
    if (!path || !*path)
        return cli_usage(cli, "which cluster? give --config FILE or set CAIRN_CONFIG");
    if (config_read_file(c, path, problem))
        return cli_failed("%s", problem);
    return CLI_OK;
}
