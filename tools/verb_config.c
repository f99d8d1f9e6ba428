/* `cairn version`, and `cairn config`: the table of configuration keys. */
#include <stdio.h>
#include "tools/verbs.h"

#define CAIRN_VERSION "0.1.0"

int verb_version(struct cli *cli, int argc, char **argv)
{
    int status = cli_options_only(cli, NULL, argc, argv);
    if (status)
        return status;
    if (cli->json)
        cli_print_json(json_pack("{s:s}", "version", CAIRN_VERSION));
    else
        printf("cairn %s\n", CAIRN_VERSION);
    return CLI_OK;
}

static void print_markdown(void)
{
    struct config_text t;
    printf("| key | type | range | default | what |\n|---|---|---|---|---|\n");
    for (size_t i = 0; config_describe(i, &t); i++)
        printf("| `%s` | %s | %s | %s | %s |\n", t.key, t.type, t.range, t.initial, t.help);
}

int verb_config(struct cli *cli, int argc, char **argv)
{
    static const char *const columns[] = {"key", "type", "range", "default", "what", NULL};
    bool markdown = false;
    const struct cli_option options[] = {{"markdown", CLI_FLAG, &markdown}, {0}};
    int status = cli_options_only(cli, options, argc, argv);
    if (status)
        return status;
    if (markdown) {
        print_markdown();
        return CLI_OK;
    }
    struct cli_table *table = cli_table_new(columns);
    struct config_text t;
    for (size_t i = 0; config_describe(i, &t); i++)
        cli_table_row(table, (const char *const[]){t.key, t.type, t.range, t.initial, t.help});
    cli_table_print(cli, table);
    cli_table_free(table);
    return CLI_OK;
}
