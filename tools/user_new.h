/* A new user: its keys, and the command that makes it known. The secret travels and is kept only
 * sealed under the cluster key, with the access key as context. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "common/base/err.h"
#include "common/base/seal.h"
#include "common/proto/command.pb-c.h"
#include "common/rpc/hello.h"

enum { USER_ACCESS_KEY_MAX = 127, USER_SECRET_MAX = 127, USER_NAME_MAX = 63 };

struct user_keys {
    char access_key[USER_ACCESS_KEY_MAX + 1];
    char secret[USER_SECRET_MAX + 1];
};
/* 20 and 40 random characters that no shell or URL minds. */
void user_keys_random(struct user_keys *keys);

/* 1 .. USER_NAME_MAX letters, digits and . _ - @ */
bool user_name_valid(const char *name);

/* Points into itself: not to be moved or copied. */
struct user_command {
    Command command;
    CreateUser body;
    UserInfo user;
    char name[USER_NAME_MAX + 1];
    char access_key[USER_ACCESS_KEY_MAX + 1];
    uint8_t sealed[USER_SECRET_MAX + SEAL_OVERHEAD];
};
/* For metadata_execute, which answers ERR_EXISTS when there is such a name or access key. The name
 * must be valid. */
void user_command(struct user_command *out, const struct rpc_key *key, const char *name,
                  const struct user_keys *keys, bool root);
