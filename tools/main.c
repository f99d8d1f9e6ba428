/* The one program: every verb of the command line. */
#include "tools/verbs.h"

static const struct cli_verb verbs[] = {
    {.name = "config",
     .usage = "[--markdown]",
     .summary = "List the configuration keys",
     .run = verb_config},
    {.name = "version", .usage = "", .summary = "Say which version this is", .run = verb_version},
    {.name = "help", .usage = "[VERB ...]", .summary = "Explain a verb", .run = cli_help},
    {0},
};

int main(int argc, char **argv)
{
    struct cli cli = {0};
    return cli_dispatch(&cli, verbs, argc - 1, argv + 1);
}
