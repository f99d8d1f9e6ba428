/* The verbs of main.c's table; each file tools/VERB.c defines its own. */
#pragma once
#include "tools/cli.h"

extern const struct cli_verb dev_verbs[];
extern const struct cli_verb disk_verbs[];
extern const struct cli_verb chunk_verbs[];
extern const struct cli_verb pool_verbs[];
extern const struct cli_verb pg_verbs[];
extern const struct cli_verb object_verbs[];
extern const struct cli_verb rebuild_verbs[];
extern const struct cli_verb scrub_verbs[];
extern const struct cli_verb drill_verbs[];
extern const struct cli_verb raft_verbs[];
extern const struct cli_verb user_verbs[];
extern const struct cli_verb bench_verbs[];

int verb_status(struct cli *cli, int argc, char **argv);

/* The keys of the configuration, as text or as a Markdown table. */
int verb_config(struct cli *cli, int argc, char **argv);
/* Its options are configuration keys. */
int verb_server(struct cli *cli, int argc, char **argv);
int verb_version(struct cli *cli, int argc, char **argv);
