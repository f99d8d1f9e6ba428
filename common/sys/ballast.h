/* A file DIRECTORY/ballast that only keeps room, on a file system that others may fill: given away, it lets
 * what is there be opened and deleted from. The calls wait for the disk, and are durable on return. */
#pragma once
#include <stdint.h>
#include "common/base/err.h"

uint64_t ballast_bytes(const char *directory); /* 0: there is none */
/* Makes it, or makes it larger; or leaves it as it was. */
enum err ballast_make(const char *directory, uint64_t bytes) MUST_USE;
/* Gives away what is over `left` bytes; 0: all of it. ERR_NOT_FOUND: there is none. */
enum err ballast_give(const char *directory, uint64_t left) MUST_USE;
