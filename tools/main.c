/* The one program: every verb of the command line. */
#include "tools/verbs.h"

static const struct cli_verb verbs[] = {
    {.name = "dev",
     .summary = "Runs a whole cluster of real processes on this machine",
     .verbs = dev_verbs},
    {.name = "config",
     .usage = "[--markdown]",
     .summary = "List the configuration keys",
     .run = verb_config},
    {.name = "server",
     .usage = "[--config FILE] [--KEY VALUE ...]",
     .summary = "Run a server: one or several roles, or all of them in one process",
     .help = "The keys are listed by `cairn config`. With --data D1 D2 .. and no roles everything\n"
             "runs in this process, each directory being a disk.",
     .run = verb_server},
    {.name = "version", .usage = "", .summary = "Say which version this is", .run = verb_version},
    {.name = "help", .usage = "[VERB ...]", .summary = "Explain a verb", .run = cli_help},
    {0},
};

int main(int argc, char **argv)
{
    struct cli cli = {0};
    return cli_dispatch(&cli, verbs, argc - 1, argv + 1);
}
