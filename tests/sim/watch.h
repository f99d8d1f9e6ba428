/* Sees every step of every member's core and every command that a state applies, and hands them to
 * tests/check/raft_check.h. The program is linked with --wrap for the functions that watch.c names, so
 * that the product's own files stand as they are. */
#pragma once
#include "tests/check/raft_check.h"
#include "tests/sim/workload.h"

/* Before the world begins; a violation fails the workload. */
void watch_start(struct workload *w);
/* After the world: says on stderr how much was looked at. */
void watch_tell(void);
