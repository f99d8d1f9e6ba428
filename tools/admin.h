/* A tool's connection to the cluster that the configuration names: for every verb that asks or
 * changes something. */
#pragma once
#include "common/base/err.h"
#include "common/base/request_context.h"
#include "common/client/metadata_client.h"
#include "common/rpc/rpc_peer.h"
#include "tools/config.h"

struct admin {
    struct rpc_node *node;
    struct metadata_client *metadata;
    struct timeouts timeouts;
};

/* Uses config's metadata and cluster_key. Connects with the first call only. Writes to problem
 * what is wrong. */
enum err admin_open(struct admin *a, const struct config *config,
                    char problem[CONFIG_PROBLEM]) MUST_USE;
void admin_close(struct admin *a);
/* A request that may take this long from now (0: the metadata call's time-out). */
struct request_context admin_request(const struct admin *a, int64_t timeout);
