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
enum { ADDRESS = 32, METADATA_PORT = 7000, CHUNK_PORT = 7200 };
#define LOOK_EVERY     (500 * SYS_MS)
#define OPERATOR_TRIES (100 * SYS_MS)

/* ---- where things are ---- */

static void address_of(char out[ADDRESS], uint32_t host, unsigned port)
{
    snprintf(out, ADDRESS, "10.0.%u.%u:%u", host >> 8, host & 255, port);
}

void sim_member_address(uint32_t member, char out[SIM_PATH])
{
    char address[ADDRESS];
    address_of(address, member + 1, METADATA_PORT);
    snprintf(out, SIM_PATH, "%s", address);
}

uint32_t sim_chunk_host(const struct sim_cluster *c, uint32_t chunkserver)
{
    return SIM_CHUNK_HOST + 1 + chunkserver / c->chunks_per_host;
}

uint32_t sim_disk_count(const struct sim_cluster *c)
{
    return c->embedded ? c->disks_each : c->chunk_count * c->disks_each;
}

uint32_t sim_disk_host(const struct sim_cluster *c, uint32_t disk)
{
    return c->embedded ? SIM_CLIENT_HOST : sim_chunk_host(c, disk / c->disks_each);
}

int sim_disk_pid(const struct sim_cluster *c, uint32_t disk)
{
    return c->embedded ? c->client : c->chunks[disk / c->disks_each];
}

void sim_disk_may_exit(struct sim_cluster *c, uint32_t disk)
{
    if (!c->embedded)
        c->may_exit[disk / c->disks_each] = true;
}

void sim_disk_path(const struct sim_cluster *c, uint32_t disk, char out[SIM_PATH])
{
    if (c->embedded)
        snprintf(out, SIM_PATH, "/data-%u", disk + 1);
    else
        snprintf(out, SIM_PATH, "/chunk-%u/disk-%u", disk / c->disks_each + 1,
                 disk % c->disks_each + 1);
}

void sim_disk_store(const struct sim_cluster *c, uint32_t disk, char out[SIM_PATH])
{
    sim_disk_path(c, disk, out);
    if (c->embedded)
        snprintf(out, SIM_PATH, "/data-%u/disk", disk + 1);
}

/* ---- configuration ---- */

/* Whether the file holds just this. */
static bool holds(const char *path, const char *text, size_t n)
{
    char there[512];
    struct sys_file *f;
    size_t got = 0;
    if (sys_file_open(path, SYS_OPEN_READ, &f) != OK)
        return false;
    enum err e = sys_file_read(f, 0, there, n, &got);
    sys_file_close(f);
    return e == OK && got == n && memcmp(there, text, n) == 0;
}

static enum err write_file(const char *path, const char *text, size_t n)
{
    struct sys_file *f;
    enum err e = sys_file_open(path, SYS_OPEN_WRITE | SYS_OPEN_CREATE | SYS_OPEN_TRUNCATE, &f);
    if (e != OK)
        return e;
    e = sys_file_write(f, 0, text, n);
    if (e == OK)
        e = sys_file_sync(f);
    sys_file_close(f);
    return e == OK ? sys_dir_sync("/") : e;
}

/* The files and directories that an operator would have put there; he tries until the disk has room. */
static void put_file(const char *path, const char *text)
{
    size_t n = strlen(text);
    while (!holds(path, text, n) && write_file(path, text, n) != OK)
        sys_sleep_until(sys_now() + OPERATOR_TRIES);
}

static void make_directory(const char *path)
{
    while (sys_dir_make(path) != OK)
        sys_sleep_until(sys_now() + OPERATOR_TRIES);
}

static void add_metadata(struct config *c, uint32_t host, unsigned port)
{
    char address[ADDRESS];
    if (c->metadata.count == CONFIG_LIST_MAX)
        return;
    address_of(address, host, port);
    c->metadata.items[c->metadata.count++] = arena_string(&c->arena, address);
}

static void common_config(struct config *c, const struct sim_cluster *cluster)
{
    char credentials[256];
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
    c->buffer_memory = cluster->buffer_memory;
    c->log_bytes = cluster->log_bytes;
    c->log_segment = cluster->log_segment;
    c->checkpoint_entries = cluster->checkpoint_entries;
    c->lease_reads = cluster->lease_reads;
    c->bounds = cluster->bounds;
    for (uint32_t i = 1; i <= cluster->metadata_count; i++)
        add_metadata(c, i, METADATA_PORT);
    for (unsigned i = 0; cluster->embedded && i < SERVER_MEMBERS_MAX; i++)
        add_metadata(c, SIM_CLIENT_HOST, METADATA_PORT + i);
}

/* ---- processes ---- */

/* The ids of the disks that process serves, from `first` on. False: one is still to come. */
static bool note_disks(struct sim_cluster *c, struct server *s, uint32_t first)
{
    struct chunk_disk_status *status = sys_alloc(CHUNK_DISKS_MAX * sizeof *status);
    size_t n = chunk_service_disks(s->chunks, status, CHUNK_DISKS_MAX);
    bool all = true;
    for (size_t i = 0; i < n && first + i < SIM_DISKS_MAX; i++) {
        c->disk_ids[first + i] = status[i].open ? status[i].identity.id : 0;
        all &= !status[i].open || status[i].identity.id != 0;
    }
    sys_free(status);
    return all;
}

void sim_cluster_note_disks(struct sim_cluster *c)
{
    if (c->embedded && c->server)
        (void)note_disks(c, c->server, 0);
}

/* Runs a server until it is asked to stop. What the disk has from before a crash decides what a
 * start does. */
static void serve(struct config *config, struct sim_cluster *c, uint32_t first_disk)
{
    struct server *s = sys_alloc(sizeof *s);
    struct sys_poll stop = {.event = sys_stop_event()};
    if (server_start(s, config) != OK)
        sys_exit(1, s->problem);
    bool known = !s->chunks;
    do {
        if (!known)
            known = note_disks(c, s, first_disk);
    } while (sys_poll(&stop, 1, known ? SYS_FOREVER : sys_now() + LOOK_EVERY) != OK);
    server_stop(s);
    sys_free(s);
    config_release(config);
}

static void metadata_main(void *arg)
{
    const struct role *role = arg;
    struct config config;
    char address[ADDRESS];
    while (role->cluster->member_down[role->number - 1])
        sys_sleep_until(sys_now() + LOOK_EVERY);
    common_config(&config, role->cluster);
    config.roles = ROLE_METADATA;
    config.metadata_dir = "/metadata";
    address_of(address, role->number, METADATA_PORT);
    config.metadata_listen = arena_string(&config.arena, address);
    config.bootstrap = role->number == 1 && !role->cluster->founded;
    config.join = !config.bootstrap;
    serve(&config, role->cluster, 0);
}

static void chunk_main(void *arg)
{
    const struct role *role = arg;
    struct sim_cluster *c = role->cluster;
    uint32_t index = role->number - 1;
    struct config config;
    char address[ADDRESS], text[SIM_PATH];
    common_config(&config, c);
    config.roles = ROLE_CHUNK;
    snprintf(text, sizeof text, "/chunk-%u", role->number);
    make_directory(text);
    for (uint32_t i = 0; i < c->disks_each; i++) {
        c->disk_ids[index * c->disks_each + i] = 0; /* until it is open */
        sim_disk_path(c, index * c->disks_each + i, text);
        make_directory(text);
        config.data.items[config.data.count++] = arena_string(&config.arena, text);
    }
    address_of(address, sim_chunk_host(c, index), CHUNK_PORT + index % c->chunks_per_host);
    config.chunk_listen = arena_string(&config.arena, address);
    snprintf(text, sizeof text, "host-%u", sim_chunk_host(c, index));
    config.host = arena_string(&config.arena, text);
    serve(&config, c, index * c->disks_each);
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
    int pid = chunk ? sim_spawn(name, sim_chunk_host(c, number - 1), chunk_main, role)
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

bool sim_cluster_grow(struct sim_cluster *c)
{
    if (c->embedded || c->chunk_count == SIM_CHUNKS_MAX ||
        (c->chunk_count + 1) * c->disks_each > SIM_DISKS_MAX)
        return false;
    start_one(c, "chunk", ++c->chunk_count);
    return true;
}

bool sim_cluster_add_member(struct sim_cluster *c)
{
    if (c->embedded || c->metadata_count == SIM_METADATA_MAX)
        return false;
    start_one(c, "metadata", ++c->metadata_count);
    return true;
}

enum err sim_cluster_view(struct sim_cluster *c, struct cluster_view *out)
{
    memset(out, 0, sizeof *out);
    arena_init(&out->arena);
    common_config(&out->config, c);
    char problem[CONFIG_PROBLEM];
    return admin_open(&out->admin, &out->config, problem);
}

static void embedded_config(struct config *config, const struct sim_cluster *c)
{
    char text[SIM_PATH];
    config->metadata.count = 0;
    for (uint32_t i = 0; i < c->disks_each; i++) {
        sim_disk_path(c, i, text);
        make_directory(text);
        config->data.items[config->data.count++] = arena_string(&config->arena, text);
    }
    address_of(text, SIM_CLIENT_HOST, METADATA_PORT);
    config->metadata_listen = arena_string(&config->arena, text);
    address_of(text, SIM_CLIENT_HOST, CHUNK_PORT);
    config->chunk_listen = arena_string(&config->arena, text);
}

enum err sim_cluster_connect(struct sim_cluster *c, struct server *out, struct config *config)
{
    common_config(config, c);
    config->roles = c->embedded ? 0 : ROLE_GATEWAY;
    config->s3 = NULL;
    if (c->embedded)
        embedded_config(config, c);
    enum err e = server_start(out, config);
    c->server = out;
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
    if (e == OK)
        sim_cluster_note_disks(c);
    return e;
}
