/* Between verb_raft.c, which has the table of `cairn raft`, and verb_raft_change.c. */
#pragma once
#include "tools/cli.h"

int raft_run_add(struct cli *cli, int argc, char **argv);
int raft_run_remove(struct cli *cli, int argc, char **argv);
int raft_run_transfer(struct cli *cli, int argc, char **argv);
int raft_run_snapshot(struct cli *cli, int argc, char **argv);
