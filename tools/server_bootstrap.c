#include <stdio.h>
#include <string.h>
#include "common/proto/message_types.h"
#include "common/sys/log.h"
#include "placement/cluster_map.h"
#include "tools/cluster_key.h"
#include "tools/credentials.h"
#include "tools/server.h"
#include "tools/user_new.h"

/* A new cluster, or a new member of one. Everything here can be repeated after a crash: identities
 * are written before they are used, and what is there already is left as it is. */

#define ASK_FOR   (5 * SYS_SECOND)
#define ASK_PAUSE (200 * SYS_MS)

static struct request_context request(void)
{
    return (struct request_context){.deadline = sys_now() + ASK_FOR};
}

/* Waits a little; false when the server is asked to stop. */
static bool pause_or_stop(void)
{
    struct sys_poll stop = {.event = sys_stop_event()};
    return sys_poll(&stop, 1, sys_now() + ASK_PAUSE) != OK;
}

enum err server_load_key(struct server *s, const char *path, bool create)
{
    if (!path)
        return server_problem(s, ERR_INVALID, "the configuration names no cluster_key");
    enum err e = create ? cluster_key_create(path) : OK;
    if (e == OK || e == ERR_EXISTS)
        e = cluster_key_read(path, &s->keys);
    return e == OK ? OK
                   : server_problem(s, e,
                                    "cluster key %s: %s; copy the file (mode 0600) from the server "
                                    "that made the cluster",
                                    path, err_text(e));
}

enum err server_find_cluster(struct server *s, struct uuid *cluster)
{
    struct arena arena;
    arena_init(&arena);
    enum err e;
    for (bool told = false;; told = true) {
        Members *members = NULL;
        struct request_context ask = request();
        e = metadata_members(s->metadata, &ask, &arena, &members);
        if (e == OK && members->cluster.len == UUID_BYTES) {
            memcpy(cluster->bytes, members->cluster.data, UUID_BYTES);
            break;
        }
        if (e == ERR_AUTHENTICATION || e == ERR_INVALID) {
            e = server_problem(s, e, "the metadata members refuse this cluster key: %s",
                               err_text(e));
            break;
        }
        if (!told)
            log_warn("server", "no metadata member answers yet, asking on: %s", err_text(e));
        if (!pause_or_stop()) {
            e = ERR_STOPPING;
            break;
        }
    }
    arena_release(&arena);
    return e;
}

static bool zero(const struct uuid *u)
{
    static const struct uuid none;
    return uuid_equal(u, &none);
}

enum err server_prepare_member(struct server *s)
{
    const struct config *c = s->config;
    struct uuid cluster = {{0}};
    uint64_t member = 0;
    enum err e = metadata_service_peek(c->metadata_dir, &cluster, &member);
    if (e == OK)
        return OK;
    if (e != ERR_NOT_FOUND)
        return server_problem(s, e, "metadata directory %s: %s", c->metadata_dir, err_text(e));
    if (!c->bootstrap && !c->join)
        return server_problem(s, ERR_NOT_FOUND,
                              "%s holds no metadata member: give --bootstrap for the first member "
                              "of a new cluster, --join for another one",
                              c->metadata_dir);
    if (c->bootstrap) {
        sys_random(cluster.bytes, sizeof cluster.bytes);
        s->created = true;
    } else {
        e = server_find_cluster(s, &cluster);
        if (e != OK)
            return e;
    }
    if (zero(&cluster))
        return server_problem(s, ERR_FORMAT, "the members do not know their cluster");
    e = metadata_service_create(c->metadata_dir, &cluster, c->metadata_listen, c->log_segment,
                                c->bootstrap, &member);
    if (e != OK)
        return server_problem(s, e, "cannot make a metadata member in %s: %s", c->metadata_dir,
                              err_text(e));
    log_info("server", "made a metadata member in %s", c->metadata_dir);
    return OK;
}

enum err server_join(struct server *s)
{
    struct arena arena;
    arena_init(&arena);
    Join join = JOIN__INIT;
    join.id = metadata_service_member(s->members[0]);
    join.address = arena_string(&arena, s->config->metadata_listen);
    enum err e;
    for (;;) {
        ProtobufCMessage *reply = NULL;
        struct request_context ask = {.deadline = sys_now() + 3 * ASK_FOR};
        e = metadata_service_votes(s->members[0])
                ? OK
                : metadata_call_leader(s->metadata, &ask, MSG_JOIN, &join.base, &arena, &reply);
        if (e == OK)
            break;
        log_info("server", "not a voter yet: %s", err_text(e));
        if (!pause_or_stop()) {
            e = ERR_STOPPING;
            break;
        }
    }
    arena_release(&arena);
    return e;
}

/* ---- the first pool and the first user ---- */

/* Until the outcome is known: what is made here exists or it does not, and making it again is refused
 * with ERR_EXISTS, so that doubt is no reason to give up. */
static enum err execute(struct server *s, Command *command)
{
    struct arena arena;
    arena_init(&arena);
    enum err e;
    do {
        Result *result = NULL;
        struct request_context ask = request();
        e = metadata_execute(s->metadata, &ask, command, &arena, &result);
    } while ((err_retryable(e) || e == ERR_UNKNOWN_OUTCOME) && pause_or_stop());
    arena_release(&arena);
    return e;
}

static enum err make_pool(struct server *s)
{
    char name[] = "standard";
    CreatePool body = CREATE_POOL__INIT;
    body.name = name;
    body.k = s->config->pool_k;
    body.m = s->config->pool_m;
    body.cell = 64 * 1024;
    /* In one process all disks share a host. */
    body.failure_domain = s->config->roles == 0 ? DOMAIN_DISK : DOMAIN_HOST;
    Command command = COMMAND__INIT;
    command.body_case = COMMAND__BODY_CREATE_POOL;
    command.create_pool = &body;
    enum err e = execute(s, &command);
    return e == ERR_EXISTS ? OK : e;
}

static enum err read_credentials(struct server *s, struct user_keys *keys)
{
    const char *path = s->config->root_credentials;
    char text[CREDENTIALS_MAX + 1];
    enum err e = credentials_read(path, text);
    if (e == OK &&
        (!credentials_value(text, "AWS_ACCESS_KEY_ID", keys->access_key, sizeof keys->access_key) ||
         !credentials_value(text, "AWS_SECRET_ACCESS_KEY", keys->secret, sizeof keys->secret)))
        e = ERR_FORMAT;
    return e == OK ? OK
                   : server_problem(s, e,
                                    "root_credentials %s: %s; it holds the lines "
                                    "AWS_ACCESS_KEY_ID=.. and AWS_SECRET_ACCESS_KEY=..",
                                    path, err_text(e));
}

static enum err make_root(struct server *s)
{
    struct user_keys keys;
    struct user_command user;
    bool given = s->config->root_credentials != NULL;
    if (given) {
        enum err e = read_credentials(s, &keys);
        if (e != OK)
            return e;
    } else {
        user_keys_random(&keys);
    }
    user_command(&user, &s->keys.key[0], "root", &keys, true);
    enum err e = execute(s, &user.command);
    if (e == OK && !given)
        printf("The first user, root. This is printed once:\n"
               "  AWS_ACCESS_KEY_ID=%s\n  AWS_SECRET_ACCESS_KEY=%s\n",
               keys.access_key, keys.secret);
    fflush(stdout);
    return e == ERR_EXISTS ? OK : e;
}

enum err server_furnish(struct server *s)
{
    enum err e = make_pool(s);
    if (e == OK)
        e = make_root(s);
    if (e != OK && !s->problem[0])
        return server_problem(s, e, "cannot make the first pool and user: %s", err_text(e));
    return e;
}
