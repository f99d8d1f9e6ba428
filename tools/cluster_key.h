/* The cluster key's file: by it servers and tools know each other; it never travels.
 *
 *   one line per key: key id (decimal), a space, 64 hex digits; the newest first, at most
 *   RPC_KEYS_MAX; # begins a comment line; mode 0600 */
#pragma once
#include "common/base/err.h"
#include "common/rpc/hello.h"

/* Makes the file with one random key of id 1. ERR_EXISTS: an old one is never replaced. */
enum err cluster_key_create(const char *path) MUST_USE;
/* ERR_NOT_FOUND, ERR_ACCESS, ERR_FORMAT (no key in it, or a line that is none). */
enum err cluster_key_read(const char *path, struct rpc_keys *out) MUST_USE;
