/* Opens and closes a tool's connection to its cluster. */
#include <stdio.h>
#include "common/sys/sys.h"
#include "tools/admin.h"
#include "tools/cluster_key.h"

enum err admin_open(struct admin *a, const struct config *config, char problem[CONFIG_PROBLEM])
{
    struct rpc_node_config node;
    *a = (struct admin){0};
    config_timeouts(config, &a->timeouts);
    if (!config->cluster_key || config->metadata.count == 0) {
        snprintf(problem, CONFIG_PROBLEM, "the configuration names no %s",
                 config->cluster_key ? "metadata addresses" : "cluster_key");
        return ERR_INVALID;
    }
    rpc_node_config_default(&node);
    enum err e = cluster_key_read(config->cluster_key, &node.keys);
    if (e) {
        snprintf(problem, CONFIG_PROBLEM, "%s: %s", config->cluster_key, err_text(e));
        return e;
    }
    node.self = (struct rpc_identity){.role = RPC_ADMIN, .feature_level = 1};
    sys_random(&node.self.node_id, sizeof node.self.node_id);
    node.timeouts = a->timeouts;
    a->node = rpc_node_new(&node);
    const struct metadata_client_config client = {.node = a->node,
                                                  .addresses = config->metadata.items,
                                                  .address_count = config->metadata.count,
                                                  .name = "cairn",
                                                  .timeouts = a->timeouts};
    e = metadata_client_new(&client, &a->metadata);
    if (e) {
        snprintf(problem, CONFIG_PROBLEM, "metadata: %s", err_text(e));
        admin_close(a);
    }
    return e;
}

void admin_close(struct admin *a)
{
    if (a->node)
        rpc_node_stop(a->node);
    if (a->metadata)
        metadata_client_free(a->metadata);
    if (a->node)
        rpc_node_free(a->node);
    *a = (struct admin){0};
}

struct request_context admin_request(const struct admin *a, int64_t timeout)
{
    return (struct request_context){.deadline = sys_now() +
                                                (timeout ? timeout : a->timeouts.metadata_call)};
}
