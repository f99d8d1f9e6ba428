/* A file DIRECTORY/ballast that only keeps room, on a file system that others may fill: given away, it lets
 * what is there be opened and deleted from. The calls wait for the disk, and are durable on return. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "common/base/err.h"

bool ballast_there(const char *directory);
enum err ballast_make(const char *directory, uint64_t bytes) MUST_USE;
/* ERR_NOT_FOUND: there is none. */
enum err ballast_remove(const char *directory) MUST_USE;
