/* The exchange of hello.h over a new socket. Blocking, both sides; after an error the caller closes
 * the socket. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "common/base/err.h"
#include "common/rpc/hello.h"
#include "common/sys/sys.h"

/* ERR_FOREIGN_CLUSTER, ERR_AUTHENTICATION, ERR_BUSY (the server is full), ERR_UNSUPPORTED,
 * ERR_FORMAT, ERR_CORRUPT, ERR_TIMEOUT, ERR_CLOSED. */
enum err handshake_client(struct sys_socket *s, const struct rpc_identity *self,
                          const struct rpc_keys *keys, enum rpc_kind kind, int64_t deadline,
                          struct hello *server) MUST_USE;
/* full: refuse politely, with ERR_BUSY. */
enum err handshake_server(struct sys_socket *s, const struct rpc_identity *self,
                          const struct rpc_keys *keys, bool full, int64_t deadline,
                          struct hello *client) MUST_USE;
