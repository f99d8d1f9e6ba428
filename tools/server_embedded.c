#include <stdio.h>
#include <string.h>
#include "chunkserver/shard_store.h"
#include "common/proto/message_types.h"
#include "common/sys/log.h"
#include "placement/cluster_map.h"
#include "tools/cluster_key.h"
#include "tools/embedded.h"

/* The embedded form: `cairn server --data D1 D2 ..`. Each directory is a disk and may carry a
 * metadata member:
 *
 *   Dn/cluster.key   the same key in every directory, so that no single one holds the only copy
 *   Dn/metadata/     a member, in as many directories as the pool's tolerance asks for (hazard 9;
 *                    embedded_members.c)
 *   Dn/disk/         the shards
 *   D1/cairn.conf    where `cairn status` and the other verbs reach this process
 *
 * Calls between the roles are function calls; the disks work in parallel all the same. */

enum { PATH_BYTES = SYS_PATH_MAX, KEY_FILE_MAX = 4096 };
#define SETTLE_PAUSE (20 * SYS_MS)

enum err embedded_path(struct server *s, size_t disk, const char *name, char out[PATH_BYTES])
{
    int n = snprintf(out, PATH_BYTES, "%s/%s", s->config->data.items[disk], name);
    return n > 0 && n < PATH_BYTES ? OK : server_problem(s, ERR_TOO_BIG, "a path is too long");
}

static enum err make_directory(struct server *s, const char *path)
{
    enum err e = sys_dir_make(path);
    if (e == OK)
        return OK;
    return server_problem(s, e, "cannot make the directory %s: %s", path, err_text(e));
}

/* ---- what is there ---- */

struct look {
    bool key, member, disk;
    struct uuid cluster; /* of the member or the disk */
    bool other;          /* something that is not ours */
    char first[SYS_NAME_MAX + 1];
};

static void look_at_entry(void *arg, const char *name, bool is_dir)
{
    static const char *const ours[] = {"cluster.key",    "cairn.conf", "metadata",
                                       EMBEDDED_REMOVED, "disk",       "lost+found"};
    struct look *look = arg;
    (void)is_dir;
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        if (strcmp(name, ours[i]) == 0)
            return;
    if (!look->other)
        snprintf(look->first, sizeof look->first, "%s", name);
    look->other = true;
}

static enum err look_at(struct server *s, size_t i, struct look *look)
{
    char path[PATH_BYTES];
    uint64_t member;
    struct shard_store_identity identity;
    enum err e = embedded_path(s, i, "metadata", path);
    if (e != OK)
        return e;
    e = metadata_service_peek(path, &look->cluster, &member);
    look->member = e == OK;
    if (e == OK || e == ERR_NOT_FOUND)
        e = embedded_path(s, i, "disk", path);
    if (e == OK)
        e = shard_store_peek(path, &identity);
    look->disk = e == OK;
    if (look->disk && look->member && !uuid_equal(&identity.cluster, &look->cluster))
        return server_problem(s, ERR_FOREIGN_DISK,
                              "%s is a disk of another cluster than %s/metadata", path,
                              s->config->data.items[i]);
    if (look->disk)
        look->cluster = identity.cluster;
    if (e == ERR_BUSY)
        return server_problem(s, e, "%s is in use by another process", path);
    if (e != OK && e != ERR_NOT_FOUND)
        return server_problem(s, e, "%s: %s", path, err_text(e));
    return sys_dir_list(s->config->data.items[i], look_at_entry, look);
}

/* Before anything is made: that the directories belong together, and hold nothing but ours. A
 * directory that does not exist is made for a new cluster only; later it may be one whose file system
 * is not mounted, and what is then written beneath it would be lost from sight. */
static enum err survey(struct server *s)
{
    const struct config *c = s->config;
    const char *missing = NULL, *first = NULL;
    struct look looks[CONFIG_LIST_MAX] = {{0}};
    size_t members = 0, known = 0;
    for (size_t i = 0; i < c->data.count; i++) {
        const char *directory = c->data.items[i];
        struct look *look = &looks[i];
        enum err e = look_at(s, i, look);
        if (e == ERR_NOT_FOUND)
            missing = directory;
        else if (e != OK)
            return s->problem[0] ? e : server_problem(s, e, "%s: %s", directory, err_text(e));
        if (look->other && !look->member && !look->disk)
            return server_problem(s, ERR_FOREIGN_DISK,
                                  "%s is no disk and not empty (it holds %s): name an empty one",
                                  directory, look->first);
        if (!look->member && !look->disk)
            continue;
        if (known++ == 0)
            first = directory;
        if (known > 1 && !uuid_equal(&look->cluster, &s->self.cluster))
            return server_problem(s, ERR_FOREIGN_CLUSTER,
                                  "%s and %s belong to different clusters: name those of one",
                                  first, directory);
        s->self.cluster = look->cluster;
        members += look->member;
    }
    if (known > 0 && members == 0)
        return server_problem(s, ERR_NOT_FOUND,
                              "%s is a disk of a cluster whose metadata is in none of these "
                              "directories: name all of its directories",
                              first);
    if (known == 0 && c->data.count < (size_t)c->pool_k + c->pool_m)
        return server_problem(s, ERR_INVALID,
                              "the pool %u+%u needs %u directories, %zu are named: name more, or "
                              "another --pool",
                              c->pool_k, c->pool_m, c->pool_k + c->pool_m, c->data.count);
    if (known > 0 && missing)
        return server_problem(s, ERR_NOT_FOUND,
                              "%s: no such directory: mount its file system, or make it empty to "
                              "go on without what it held",
                              missing);
    return OK;
}

/* ---- the key ---- */

static enum err copy_key(const char *from, const char *to)
{
    struct sys_file *in, *out;
    char text[KEY_FILE_MAX];
    size_t n = 0;
    enum err e = sys_file_open(from, SYS_OPEN_READ, &in);
    if (e != OK)
        return e;
    e = sys_file_read(in, 0, text, sizeof text, &n);
    sys_file_close(in);
    if (e == OK)
        e = sys_file_open(to, SYS_OPEN_WRITE | SYS_OPEN_CREATE | SYS_OPEN_EXCLUSIVE, &out);
    if (e != OK)
        return e;
    e = sys_file_private(to);
    if (e == OK)
        e = sys_file_write(out, 0, text, n);
    if (e == OK)
        e = sys_file_sync(out);
    sys_file_close(out);
    return e;
}

static enum err load_key(struct server *s)
{
    char first[PATH_BYTES], path[PATH_BYTES];
    enum err e = ERR_NOT_FOUND;
    if (s->config->cluster_key)
        return server_load_key(s, s->config->cluster_key, true);
    for (size_t i = 0; e == ERR_NOT_FOUND && i < s->config->data.count; i++) {
        if (embedded_path(s, i, "cluster.key", first) != OK)
            return ERR_TOO_BIG;
        e = cluster_key_read(first, &s->keys);
    }
    if (e == ERR_NOT_FOUND) {
        if (embedded_path(s, 0, "cluster.key", first) != OK)
            return ERR_TOO_BIG;
        e = server_load_key(s, first, true);
    }
    if (e != OK)
        return server_problem(s, e, "cluster key %s: %s", first, err_text(e));
    for (size_t i = 0; e == OK && i < s->config->data.count; i++) {
        e = embedded_path(s, i, "cluster.key", path);
        if (e == OK && strcmp(path, first) != 0)
            e = copy_key(first, path);
        if (e == ERR_EXISTS)
            e = OK;
    }
    return e == OK ? OK : server_problem(s, e, "cannot keep the cluster key in %s", path);
}

/* ---- what operators reach ---- */

static enum err listen_members(struct server *s)
{
    enum err e = OK;
    for (size_t i = 0; e == OK && i < s->member_count; i++) {
        struct rpc_route routes[SERVER_ROUTES_MAX];
        char where[SYS_ADDR_TEXT];
        size_t n = metadata_service_routes(s->members[i], routes);
        e = embedded_address(s, s->member_ports[i], where);
        if (e == OK)
            e = server_listen(s, where, routes, n, &s->metadata_servers[i]);
    }
    return e;
}

/* Ports that nobody asked for may be taken by another such process: then this one serves S3 all the
 * same, and only the verbs do not reach it. */
static enum err unless_asked_for(struct server *s, const char *key, enum err e)
{
    if (e != ERR_ADDRESS_IN_USE || config_given(s->config, key))
        return e;
    log_warn("server", "%s; cairn's verbs do not reach this process: give --%s", s->problem, key);
    s->problem[0] = 0;
    return OK;
}

static bool file_holds(const char *path, const char *text, size_t n)
{
    struct sys_file *f;
    size_t had = 0;
    if (sys_file_open(path, SYS_OPEN_READ, &f) != OK)
        return false;
    char *now = sys_alloc(n + 1);
    bool same =
        sys_file_read(f, 0, now, n + 1, &had) == OK && had == n && memcmp(now, text, n) == 0;
    sys_free(now);
    sys_file_close(f);
    return same;
}

/* The file as it was, or all of the new one. */
static enum err replace_file(const char *path, const char *text, size_t n)
{
    char aside[PATH_BYTES + 8];
    struct sys_file *f;
    snprintf(aside, sizeof aside, "%s.new", path);
    enum err e = sys_file_open(aside, SYS_OPEN_WRITE | SYS_OPEN_CREATE | SYS_OPEN_TRUNCATE, &f);
    if (e != OK)
        return e;
    e = sys_file_write(f, 0, text, n);
    if (e == OK)
        e = sys_file_sync(f);
    sys_file_close(f);
    if (e == OK)
        e = sys_rename(aside, path);
    if (e != OK && sys_unlink(aside) != OK)
        log_warn("server", "%s is left over and may be removed", aside);
    return e;
}

/* So that CAIRN_CONFIG=D1/cairn.conf is all that a verb needs. A full D1 does not keep from starting. */
static enum err write_config(struct server *s)
{
    char path[PATH_BYTES], key[PATH_BYTES], text[2 * PATH_BYTES];
    enum err e = embedded_path(s, 0, "cluster.key", path);
    if (e == OK)
        e = sys_path_real(s->config->cluster_key ? s->config->cluster_key : path, key, sizeof key);
    if (e == OK)
        e = embedded_path(s, 0, "cairn.conf", path);
    if (e != OK)
        return e;
    int n = snprintf(text, sizeof text, "cluster_key = %s\n%s%s\nmetadata =\n", key,
                     s->config->s3 ? "s3 = " : "", s->config->s3 ? s->config->s3 : "");
    for (size_t i = 0; i < s->member_count; i++) {
        char where[SYS_ADDR_TEXT];
        if (embedded_address(s, s->member_ports[i], where) == OK && s->metadata_servers[i])
            n += snprintf(text + n, sizeof text - (size_t)n, "  %s\n", where);
    }
    if (!file_holds(path, text, (size_t)n))
        e = replace_file(path, text, (size_t)n);
    return e == OK ? OK : server_problem(s, e, "cannot write %s: %s", path, err_text(e));
}

/* *address: of the disks, as others see them. */
static enum err listen_for_verbs(struct server *s, const char **address)
{
    *address = "local";
    enum err e = unless_asked_for(s, "metadata_listen", listen_members(s));
    if (e == OK)
        e = unless_asked_for(s, "chunk_listen", server_listen_chunks(s, s->config->chunk_listen));
    if (s->chunk_server)
        *address = s->config->chunk_listen;
    if (e == OK && s->metadata_servers[0])
        e = write_config(s);
    return e;
}

/* ---- all of it ---- */

static enum err open_disks(struct server *s)
{
    char(*paths)[PATH_BYTES] = sys_alloc(s->config->data.count * sizeof *paths);
    const char *directories[CONFIG_LIST_MAX];
    enum err e = OK;
    for (size_t i = 0; e == OK && i < s->config->data.count; i++) {
        e = embedded_path(s, i, "disk", paths[i]);
        if (e == OK)
            e = make_directory(s, paths[i]);
        directories[i] = paths[i];
    }
    if (e == OK)
        e = server_open_disks(s, directories, "local");
    sys_free(paths);
    return e;
}

static enum err start_clients(struct server *s)
{
    struct metadata_local locals[SERVER_FOUND_MAX];
    struct shard_local disks;
    for (size_t i = 0; i < s->member_count; i++)
        locals[i] = (struct metadata_local){.id = metadata_service_member(s->members[i]),
                                            .context = s->members[i],
                                            .call = metadata_service_call};
    enum err e = server_start_metadata_client(s, locals, s->member_count);
    if (e == OK)
        e = open_disks(s);
    if (e != OK)
        return e;
    chunk_service_local(s->chunks, &disks);
    server_start_shard_client(s, &disks);
    for (size_t i = 0; e == OK && i < s->member_count; i++)
        e = metadata_service_lead(s->members[i], s->shards);
    return e;
}

/* ---- settling ---- */

static bool all_placed(struct server *s)
{
    const struct cluster_map *map = map_cache_ref(s->map);
    bool placed = map->pool_count > 0;
    for (size_t i = 0; i < map->pool_count; i++)
        placed &= pool_assigned(&map->pools[i]);
    map_cache_unref(s->map, map);
    return placed;
}

struct disks {
    struct chunk_disk_status status[CHUNK_DISKS_MAX];
    size_t count, open, registered, fresh; /* fresh: made by this start */
};

static void count_disks(struct server *s, struct disks *d)
{
    memset(d, 0, sizeof *d);
    d->count = chunk_service_disks(s->chunks, d->status, CHUNK_DISKS_MAX);
    for (size_t i = 0; i < d->count; i++) {
        d->open += d->status[i].open;
        d->registered += d->status[i].registered;
        d->fresh += d->status[i].open && d->status[i].identity.incarnation == 1;
    }
}

/* Until objects can be written, so that whoever reads "ready" need not try again. Disks that do not
 * come in time are told of by the answers of S3, and do not keep the others from serving. */
static enum err await_disks(struct server *s, struct disks *d)
{
    struct sys_poll stop = {.event = sys_stop_event()};
    int64_t deadline = sys_now() + 2 * s->timeouts.metadata_call;
    for (;;) {
        count_disks(s, d);
        if (d->registered == d->open && all_placed(s))
            return OK;
        if (sys_now() >= deadline) {
            log_warn("server", "%zu of %zu disks are registered, placement is not done: serving",
                     d->registered, d->count);
            return OK;
        }
        if (sys_poll(&stop, 1, sys_now() + SETTLE_PAUSE) == OK)
            return ERR_STOPPING;
    }
}

static bool is_open(const struct disks *d, disk_id id)
{
    for (size_t i = 0; i < d->count; i++)
        if (d->status[i].open && d->status[i].identity.id == id)
            return true;
    return false;
}

/* Takes a disk out: what it held is rebuilt. */
static void give_up(struct server *s, disk_id id)
{
    struct arena arena;
    SetDiskState body = SET_DISK_STATE__INIT;
    Command command = COMMAND__INIT;
    Result *result = NULL;
    const struct request_context ask = {.deadline = sys_now() + s->timeouts.metadata_call};
    body.disk = id;
    body.admin_state = DISK_OUT;
    command.body_case = COMMAND__BODY_SET_DISK_STATE;
    command.set_disk_state = &body;
    arena_init(&arena);
    enum err e = metadata_execute(s->metadata, &ask, &command, &arena, &result);
    arena_release(&arena);
    if (e == OK)
        log_warn("server", "disk %u is in none of the directories: its data is rebuilt", id);
    else
        log_warn("server", "disk %u is gone and could not be taken out: %s", id, err_text(e));
}

/* An empty directory has become a new disk in the place of one that was lost or wiped. All directories
 * of this process are open, so that the old one will not come back by itself: there is nothing to wait for.
 * Not when more are gone than came, which looks like directories that were forgotten. */
static void replace_lost(struct server *s, const struct disks *d, const char *address)
{
    disk_id lost[CHUNK_DISKS_MAX];
    size_t n = 0, in = 0;
    const struct cluster_map *map = map_cache_ref(s->map);
    for (size_t i = 0; i < map->disk_count; i++) {
        const struct cluster_disk *disk = &map->disks[i];
        bool here = strcmp(disk->address, address) == 0 || strcmp(disk->address, "local") == 0;
        if (disk->admin != DISK_IN || !here)
            continue;
        in++;
        if (!is_open(d, disk->id) && n < CHUNK_DISKS_MAX)
            lost[n++] = disk->id;
    }
    map_cache_unref(s->map, map);
    if (d->open < d->count || n > d->fresh || n >= in)
        return;
    for (size_t i = 0; i < n; i++)
        give_up(s, lost[i]);
}

static enum err settle_disks(struct server *s, const char *address)
{
    struct disks *d = sys_alloc(sizeof *d);
    enum err e = await_disks(s, d);
    if (e == OK && d->fresh > 0)
        replace_lost(s, d, address);
    sys_free(d);
    return e;
}

enum err server_start_embedded(struct server *s)
{
    struct embedded_places *places = sys_alloc(sizeof *places);
    const char *address = "local";
    enum err e = survey(s);
    for (size_t i = 0; e == OK && i < s->config->data.count; i++)
        e = make_directory(s, s->config->data.items[i]);
    if (e == OK)
        e = load_key(s);
    if (e == OK)
        e = embedded_find_members(s, places);
    if (e == OK && places->count == 0)
        e = embedded_create_members(s, places);
    if (e == OK) {
        s->self.role = RPC_GATEWAY;
        server_start_node(s);
        e = embedded_start_members(s, places);
    }
    if (e == OK)
        e = start_clients(s);
    if (e == OK)
        e = server_furnish(s);
    if (e == OK)
        e = server_start_pulse(s);
    if (e == OK)
        e = listen_for_verbs(s, &address);
    if (e == OK)
        e = server_start_chunks(s, address);
    if (e == OK)
        e = settle_disks(s, address);
    if (e == OK)
        e = server_start_gateway(s);
    if (e == OK)
        e = embedded_regroup_members(s);
    sys_free(places);
    return e;
}
