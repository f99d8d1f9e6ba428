#include "tests/sim/cluster.h"
#include <stdio.h>
#include <string.h>
#include "common/sys/sim/sim.h"

const char sim_access_key[] = "SIMULATEDACCESSKEY00";
const char sim_secret[] = "simulated+secret/of+the+first+user";

/* What one process is told; lives as long as the world. */
struct role {
    struct sim_cluster *cluster;
    uint32_t number; /* from 1 */
};
enum { ADDRESS = 32 };

static void address_of(char out[ADDRESS], uint32_t host, unsigned port)
{
    snprintf(out, ADDRESS, "10.0.%u.%u:%u", host >> 8, host & 255, port);
}

/* The files that an operator would have put there. */
static void put_file(const char *path, const char *text)
{
    struct sys_file *f;
    if (sys_file_open(path, SYS_OPEN_WRITE | SYS_OPEN_CREATE | SYS_OPEN_TRUNCATE, &f) != OK)
        return;
    if (sys_file_write(f, 0, text, strlen(text)) != OK || sys_file_sync(f) != OK ||
        sys_dir_sync("/") != OK)
        sys_exit(1, "a fresh disk refuses a file");
    sys_file_close(f);
}

static void common_config(struct config *c, const struct sim_cluster *cluster)
{
    char address[ADDRESS], credentials[256];
    put_file("/cluster.key", "1 000102030405060708090a0b0c0d0e0f"
                             "101112131415161718191a1b1c1d1e1f\n");
    snprintf(credentials, sizeof credentials, "AWS_ACCESS_KEY_ID=%s\nAWS_SECRET_ACCESS_KEY=%s\n",
             sim_access_key, sim_secret);
    put_file("/root.env", credentials);
    config_init(c);
    c->cluster_key = "/cluster.key";
    c->root_credentials = "/root.env";
    c->pool_k = cluster->k;
    c->pool_m = cluster->m;
    c->inline_max = cluster->inline_max;
    for (uint32_t i = 1; i <= cluster->metadata_count; i++) {
        address_of(address, i, 7000);
        c->metadata.items[c->metadata.count++] = arena_string(&c->arena, address);
    }
}

/* Runs a server until it is asked to stop. What the disk has from before a crash decides what a
 * start does. */
static void serve(struct config *config)
{
    struct server *s = sys_alloc(sizeof *s);
    struct sys_poll stop = {.event = sys_stop_event()};
    if (server_start(s, config) != OK)
        sys_exit(1, s->problem);
    while (sys_poll(&stop, 1, SYS_FOREVER) != OK)
        continue;
    server_stop(s);
    sys_free(s);
    config_release(config);
}

static void metadata_main(void *arg)
{
    const struct role *role = arg;
    struct config config;
    char address[ADDRESS];
    common_config(&config, role->cluster);
    config.roles = ROLE_METADATA;
    config.metadata_dir = "/metadata";
    address_of(address, role->number, 7000);
    config.metadata_listen = arena_string(&config.arena, address);
    config.bootstrap = role->number == 1;
    config.join = role->number > 1;
    serve(&config);
}

static void chunk_main(void *arg)
{
    const struct role *role = arg;
    struct config config;
    char address[ADDRESS], host[ADDRESS];
    common_config(&config, role->cluster);
    config.roles = ROLE_CHUNK;
    config.data.items[config.data.count++] = "/disk";
    address_of(address, SIM_CHUNK_HOST + role->number, 7200);
    config.chunk_listen = arena_string(&config.arena, address);
    snprintf(host, sizeof host, "host-%u", role->number);
    config.host = arena_string(&config.arena, host);
    enum err made = sys_mkdir("/disk");
    if (made != OK && made != ERR_EXISTS)
        sys_exit(1, "no directory");
    serve(&config);
}

static void start_one(struct sim_cluster *c, const char *kind, uint32_t number)
{
    static struct role roles[2][SIM_CHUNKS_MAX];
    static char names[2][SIM_CHUNKS_MAX][16];
    bool chunk = strcmp(kind, "chunk") == 0;
    struct role *role = &roles[chunk][number - 1];
    char *name = names[chunk][number - 1];
    *role = (struct role){.cluster = c, .number = number};
    snprintf(name, sizeof names[0][0], "%s-%u", kind, number);
    int pid = chunk ? sim_spawn(name, SIM_CHUNK_HOST + number, chunk_main, role)
                    : sim_spawn(name, number, metadata_main, role);
    sim_restart_after(pid, c->restart_after);
    if (chunk)
        c->chunks[number - 1] = pid;
    else
        c->metadata[number - 1] = pid;
}

void sim_cluster_start(struct sim_cluster *c)
{
    for (uint32_t i = 1; i <= c->metadata_count; i++)
        start_one(c, "metadata", i);
    for (uint32_t i = 1; i <= c->chunk_count; i++)
        start_one(c, "chunk", i);
}

void sim_cluster_grow(struct sim_cluster *c)
{
    if (c->chunk_count < SIM_CHUNKS_MAX)
        start_one(c, "chunk", ++c->chunk_count);
}

enum err sim_cluster_view(struct sim_cluster *c, struct cluster_view *out)
{
    memset(out, 0, sizeof *out);
    arena_init(&out->arena);
    common_config(&out->config, c);
    char problem[CONFIG_PROBLEM];
    return admin_open(&out->admin, &out->config, problem);
}

enum err sim_cluster_connect(struct sim_cluster *c, struct server *out, struct config *config)
{
    common_config(config, c);
    config->roles = ROLE_GATEWAY;
    config->s3 = NULL;
    enum err e = server_start(out, config);
    while (e == OK) {
        const struct cluster_map *map = map_cache_ref(out->map);
        bool ready = map->pool_count > 0;
        map_cache_unref(out->map, map);
        if (ready)
            break;
        sys_sleep_until(sys_now() + 100 * SYS_MS);
        const struct request_context ask = {.deadline = sys_now() + SYS_SECOND};
        if (map_cache_refresh(out->map, &ask, 0) != OK)
            continue;
    }
    return e;
}
