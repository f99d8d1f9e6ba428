/* Making members: their directories, identities and logs, before anything runs. */
#include <string.h>
#include "metadata/service_internal.h"

enum err service_path(const char *directory, const char *name, char out[SYS_PATH_MAX])
{
    size_t n = strlen(directory), m = strlen(name);
    if (n + m + 2 > SYS_PATH_MAX)
        return ERR_TOO_BIG;
    memcpy(out, directory, n);
    out[n] = '/';
    memcpy(out + n + 1, name, m + 1);
    return OK;
}

static raft_id random_member(void)
{
    raft_id id = 0;
    while (id == 0)
        sys_random(&id, sizeof id);
    return id;
}

static enum err create_member(const char *directory, const struct uuid *cluster, raft_id member,
                              uint64_t segment_bytes, const struct raft_configuration *first)
{
    char log[SYS_PATH_MAX];
    enum err e = service_path(directory, "log", log);
    if (e == OK)
        e = sys_dir_make(directory);
    const struct log_store_options options = {.directory = log, .segment_bytes = segment_bytes};
    const struct log_store_identity identity = {.cluster = *cluster, .member = member};
    if (e == OK)
        e = driver_create(&options, &identity, first);
    return e == OK ? sys_dir_sync(directory) : e;
}

enum err metadata_service_create(const char *directory, const struct uuid *cluster,
                                 const char *address, uint64_t segment_bytes, bool bootstrap,
                                 uint64_t *member)
{
    *member = random_member();
    struct raft_configuration first = {0};
    enum err e = raft_configuration_set(&first, *member, RAFT_VOTER, address);
    return e == OK ? create_member(directory, cluster, *member, segment_bytes,
                                   bootstrap ? &first : NULL)
                   : e;
}

enum err metadata_service_create_group(const char *const *directories, const char *const *addresses,
                                       size_t count, const struct uuid *cluster,
                                       uint64_t segment_bytes)
{
    struct raft_configuration first = {0};
    raft_id members[RAFT_MEMBERS_MAX];
    if (count == 0 || count > RAFT_MEMBERS_MAX)
        return ERR_INVALID;
    enum err e = OK;
    for (size_t i = 0; e == OK && i < count; i++) {
        members[i] = random_member();
        e = raft_configuration_set(&first, members[i], RAFT_VOTER, addresses[i]);
    }
    for (size_t i = 0; e == OK && i < count; i++)
        e = create_member(directories[i], cluster, members[i], segment_bytes, &first);
    return e;
}

enum err metadata_service_peek(const char *directory, struct uuid *cluster, uint64_t *member)
{
    char log[SYS_PATH_MAX];
    enum err e = service_path(directory, "log", log);
    if (e != OK)
        return e;
    const struct log_store_options options = {.directory = log};
    struct log_store *store;
    struct log_recovery recovery;
    e = log_store_open(&options, &store, &recovery);
    if (e == ERR_NOT_FOUND && state_home_there(directory)) {
        log_error(
            "metadata",
            "the log of the member in %s is gone: remove that member (cairn raft remove), wipe "
            "the directory and let a new one join",
            directory);
        return ERR_CORRUPT;
    }
    if (e != OK)
        return e;
    *cluster = recovery.identity.cluster;
    *member = recovery.identity.member;
    log_recovery_release(&recovery);
    log_store_close(store);
    return OK;
}

/* ---- and removing them ---- */

enum { REMOVE_AT_ONCE = 64 };
struct listed {
    size_t count;
    bool more;
    char names[REMOVE_AT_ONCE][SYS_NAME_MAX + 1];
};

static void list_file(void *arg, const char *name, bool is_dir)
{
    struct listed *l = arg;
    if (is_dir)
        return;
    l->more = l->count == REMOVE_AT_ONCE;
    if (!l->more)
        memcpy(l->names[l->count++], name, strlen(name) + 1);
}

static enum err remove_directory(const char *directory)
{
    char path[SYS_PATH_MAX];
    struct listed *l = sys_alloc(sizeof *l);
    enum err e;
    do {
        l->count = 0;
        l->more = false;
        e = sys_dir_list(directory, list_file, l);
        for (size_t i = 0; e == OK && i < l->count; i++) {
            e = service_path(directory, l->names[i], path);
            if (e == OK)
                e = sys_unlink(path);
        }
    } while (e == OK && l->more);
    sys_free(l);
    return e == OK ? sys_rmdir(directory) : e;
}

enum err metadata_service_destroy(const char *directory)
{
    char log[SYS_PATH_MAX];
    enum err e = service_path(directory, "log", log);
    if (e == OK)
        e = remove_directory(log);
    if (e == OK || e == ERR_NOT_FOUND)
        e = state_home_clean(directory, NULL);
    if (e == OK)
        e = remove_directory(directory);
    return e == ERR_NOT_FOUND ? OK : e;
}
