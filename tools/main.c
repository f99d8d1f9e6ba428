/* The one program: every verb of the command line. */
#include "tools/verbs.h"

static const struct cli_verb verbs[] = {
    {.name = "dev",
     .summary = "Runs a whole cluster of real processes on this machine",
     .verbs = dev_verbs},
    {.name = "status",
     .usage = "",
     .summary = "Show the cluster's health in one screen",
     .help = "Closes with exit status 1 when the health is HEALTH_ERR or nobody answers, else 0.\n",
     .run = verb_status},
    {.name = "disk", .summary = "The disks, and which of them are used", .verbs = disk_verbs},
    {.name = "chunk",
     .summary = "The files of one disk, while no server has it open",
     .verbs = chunk_verbs},
    {.name = "pool", .summary = "The pools", .verbs = pool_verbs},
    {.name = "pg", .summary = "The placement groups and where they lie", .verbs = pg_verbs},
    {.name = "object", .summary = "Objects and their shards", .verbs = object_verbs},
    {.name = "rebuild", .summary = "Rebuilding and moving of shards", .verbs = rebuild_verbs},
    {.name = "scrub", .summary = "Reading and comparing what the disks hold", .verbs = scrub_verbs},
    {.name = "drill", .summary = "Faults made on purpose, and watched", .verbs = drill_verbs},
    {.name = "raft", .summary = "The metadata group", .verbs = raft_verbs},
    {.name = "user", .summary = "Who may speak S3", .verbs = user_verbs},
    {.name = "bench", .summary = "Measure a cluster through S3", .verbs = bench_verbs},
    {.name = "config",
     .usage = "[--markdown]",
     .summary = "List the configuration keys",
     .run = verb_config},
    {.name = "server",
     .usage = "[--config FILE] [--KEY VALUE ...]",
     .summary = "Run a server: one or several roles, or all of them in one process",
     .help =
         "The keys are listed by `cairn config`. With --data D1 D2 .. and no roles everything\n"
         "runs in this process, each directory being a disk. The first start prints the keys of\n"
         "the first user, once (cairn user add NAME --root makes others), and writes "
         "D1/cairn.conf:\n"
         "with CAIRN_CONFIG=D1/cairn.conf in the environment all other verbs find it.\n",
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
