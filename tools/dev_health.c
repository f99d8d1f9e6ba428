/* When a local cluster is healthy: asked over the same calls as any tool's. */
#include <stdio.h>
#include <string.h>
#include "common/proto/message_types.h"
#include "tools/admin.h"
#include "tools/dev_cluster.h"

enum { WORDS = 256 };
#define ASK_EVERY (100 * SYS_MS)
#define ASK_FOR   (2 * SYS_SECOND)

struct want {
    size_t metadata, disks;
};

static enum err members_vote(struct admin *a, const struct want *want, struct arena *arena,
                             char words[WORDS])
{
    struct request_context request = admin_request(a, ASK_FOR);
    Members *members;
    size_t voters = 0;
    enum err e = metadata_members(a->metadata, &request, arena, &members);
    if (e) {
        snprintf(words, WORDS, "metadata: %s", err_text(e));
        return e;
    }
    for (size_t i = 0; i < members->n_members; i++) {
        voters += members->members[i]->voter;
    }
    snprintf(words, WORDS, "metadata: %s leader, %zu of %zu members vote",
             members->leader ? "a" : "no", voters, want->metadata);
    return members->leader && voters >= want->metadata ? OK : ERR_UNAVAILABLE;
}

static enum err disks_up(struct admin *a, const struct want *want, struct arena *arena,
                         uint64_t *epoch, char words[WORDS])
{
    struct request_context request = admin_request(a, ASK_FOR);
    GetMap get = GET_MAP__INIT;
    Query query = QUERY__INIT;
    Answer *answer = NULL;
    query.body_case = QUERY__BODY_GET_MAP;
    query.get_map = &get;
    enum err e = metadata_query(a->metadata, &request, &query, arena, &answer);
    if (e || !answer->map) {
        snprintf(words, WORDS, "cluster map: %s", err_text(e));
        return e ? e : ERR_UNAVAILABLE;
    }
    const MapInfo *map = answer->map;
    *epoch = map->epoch;
    size_t up = 0, assigned = 0;
    for (size_t i = 0; i < map->n_disks; i++)
        up += map->disks[i]->up && !map->disks[i]->removed;
    for (size_t i = 0; i < map->n_pools; i++)
        assigned += map->pools[i]->assigned;
    snprintf(words, WORDS, "disks: %zu of %zu up; pools: %zu of %zu placed", up, want->disks,
             assigned, map->n_pools);
    return up >= want->disks && map->n_pools > 0 && assigned == map->n_pools ? OK : ERR_UNAVAILABLE;
}

/* A gateway that has not seen the newest map yet refuses to make buckets. */
static enum err gateway_knows(struct admin *a, uint64_t epoch, struct arena *arena,
                              char words[WORDS])
{
    struct request_context request = admin_request(a, ASK_FOR);
    Reports ask = REPORTS__INIT;
    ProtobufCMessage *reply = NULL;
    uint64_t seen = 0;
    enum err e = metadata_call_leader(a->metadata, &request, MSG_REPORTS, &ask.base, arena, &reply);
    const Reports *reports = (const Reports *)reply;
    for (size_t i = 0; !e && reports && i < reports->n_heartbeats; i++)
        if (reports->heartbeats[i]->role == RPC_GATEWAY && reports->heartbeats[i]->epoch > seen)
            seen = reports->heartbeats[i]->epoch;
    snprintf(words, WORDS, "gateway: at map epoch %llu of %llu", (unsigned long long)seen,
             (unsigned long long)epoch);
    return e ? e : seen >= epoch ? OK : ERR_UNAVAILABLE;
}

static enum err gateway_listens(const struct config *config, char words[WORDS])
{
    struct sys_addr address;
    struct sys_socket *s;
    enum err e = sys_addr_parse(config->s3, &address);
    if (!e)
        e = sys_connect(&address, sys_now() + ASK_FOR, &s);
    if (!e)
        sys_socket_close(s);
    snprintf(words, WORDS, "gateway %s: %s", config->s3, err_text(e));
    return e;
}

static enum err look(struct admin *a, const struct config *config, const struct want *want,
                     char words[WORDS])
{
    struct arena arena;
    uint64_t epoch = 0;
    arena_init(&arena);
    enum err e = members_vote(a, want, &arena, words);
    if (!e)
        e = disks_up(a, want, &arena, &epoch, words);
    if (!e)
        e = gateway_knows(a, epoch, &arena, words);
    if (!e)
        e = gateway_listens(config, words);
    arena_release(&arena);
    return e;
}

enum err dev_wait_healthy(const struct dev_cluster *c, int64_t deadline,
                          bool (*waiting)(void *arg, const char *what), void *arg, char *problem,
                          size_t problem_max)
{
    char path[DEV_PATH], words[CONFIG_PROBLEM];
    struct config config;
    struct admin admin = {0};
    struct want want = {0};
    for (size_t i = 0; i < c->count; i++) {
        want.metadata += dev_process_is(&c->processes[i], "metadata");
        want.disks += dev_process_is(&c->processes[i], "chunk");
    }
    snprintf(path, sizeof path, "%s/cairn.conf", c->dir);
    config_init(&config);
    enum err e = config_read_file(&config, path, words);
    if (!e)
        e = admin_open(&admin, &config, words);
    if (!e) {
        while ((e = look(&admin, &config, &want, words)) != OK) {
            if (!waiting(arg, words)) {
                e = ERR_CANCELLED;
                break;
            }
            if (sys_now() >= deadline) {
                e = ERR_TIMEOUT;
                break;
            }
            sys_sleep_until(sys_now() + ASK_EVERY);
        }
    }
    snprintf(problem, problem_max, "%s", words);
    admin_close(&admin);
    config_release(&config);
    return e;
}
