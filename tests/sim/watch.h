/* Sees every step of every member's core and every command that a state applies, and hands them to
 * tests/check/raft_check.h. The program is linked with --wrap for the functions that watch.c names, so
 * that the product's own files stand as they are. */
#pragma once
#include "tests/check/raft_check.h"
#include "tests/sim/workload.h"

/* Before the world begins; a violation fails the workload. */
void watch_start(struct workload *w);
/* Who is to see each command that a state has applied, before its batch is synced, in the process that did;
 * for the whole world. NULL: nobody. */
void watch_applied(void (*seen)(void *arg, uint64_t index, const void *command, size_t n),
                   void *arg);
/* The directory of the state that a process opened last; false: none. */
bool watch_directory(int pid, char out[SYS_PATH_MAX]);
/* After the world: says on stderr how much was looked at. */
void watch_tell(void);
/* The process whose member began to lead last; 0: none did. */
int watch_leader(void);
