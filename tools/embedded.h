/* Between the files of the embedded form: server_embedded.c, embedded_members.c. */
#pragma once
#include <stddef.h>
#include "common/base/err.h"
#include "common/sys/sys.h"
#include "tools/server.h"

/* What the directory of a member that the group has removed is called while it is taken away. */
#define EMBEDDED_REMOVED "metadata.removed"

/* The members of this process, in the order of server.members. */
struct embedded_places {
    char paths[SERVER_FOUND_MAX][SYS_PATH_MAX];
    size_t count;
};

/* The path of a name in data directory number `disk`. */
enum err embedded_path(struct server *s, size_t disk, const char *name,
                       char out[SYS_PATH_MAX]) MUST_USE;
/* Where the member of that place listens: as many ports above the configured one. */
enum err embedded_address(struct server *s, size_t place, char out[SYS_ADDR_TEXT]) MUST_USE;

/* The members that are there; all must be of one cluster. */
enum err embedded_find_members(struct server *s, struct embedded_places *found) MUST_USE;
/* Those of a new cluster. */
enum err embedded_create_members(struct server *s, struct embedded_places *places) MUST_USE;
/* Starts all, and after the loss of some makes others in their places, which do not count yet. */
enum err embedded_start_members(struct server *s, struct embedded_places *places) MUST_USE;
/* Has the group take in those that were made: in the background, since they first take its state. */
enum err embedded_regroup_members(struct server *s) MUST_USE;
