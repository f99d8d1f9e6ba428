/* Plans as words of the command line. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "tests/sim/scenario.h"

/* "3,7-9" or "none". False: neither. */
bool plan_read_strikes(struct plan *plan, const char *text);
/* The options that replay it: "--seed 17 --kinds 0x41 --strikes 3,7-9"; what is whole is left out. */
void plan_write(const struct plan *plan, char *out, size_t room);

/* soak.c: runs it in a process of its own. */
struct outcome plan_run(const struct plan *plan);

/* shrink.c: looks for the least of a failing seed that still fails, and says how to replay it. An exit
 * status: 0 when something was found, 1 when the seed passes. */
int plan_shrink(struct plan *plan, const char *program);
