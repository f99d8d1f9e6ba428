/* `cairn user ..`: who may speak S3. */
#include <stdio.h>
#include <string.h>
#include "common/base/text.h"
#include "tools/cluster_key.h"
#include "tools/user_new.h"
#include "tools/verb_view.h"
#include "tools/verbs.h"

static int the_name(struct cli *cli, const struct cli_option *options, int *argc, char **argv)
{
    int status = cli_options(cli, options, argc, argv);
    if (!status && *argc != 1)
        status = cli_usage(cli, *argc ? "one user at a time" : "which user?");
    if (!status && !user_name_valid(argv[0]))
        status = cli_usage(cli,
                           "\"%.80s\" cannot be a user's name: letters, digits and . _ - @, at "
                           "most %d",
                           argv[0], USER_NAME_MAX);
    return status;
}

static int run_add(struct cli *cli, int argc, char **argv)
{
    bool root = false;
    const struct cli_option options[] = {{"root", CLI_FLAG, &root}, {0}};
    struct cluster_view v;
    struct rpc_keys keys = {0};
    struct user_keys user;
    struct user_command command;
    Result *result;
    int status = the_name(cli, options, &argc, argv);
    if (status)
        return status;
    status = view_open(cli, &v);
    enum err e = status ? OK : cluster_key_read(v.config.cluster_key, &keys);
    if (e)
        status = cli_failed("%s: %s", v.config.cluster_key, err_text(e));
    if (!status) {
        user_keys_random(&user);
        user_command(&command, &keys.key[0], argv[0], &user, root);
        e = view_execute(&v, &command.command, &result);
        if (e == ERR_EXISTS)
            status = cli_failed("there is a user %s already: cairn user list", argv[0]);
        else if (e == ERR_UNKNOWN_OUTCOME)
            status = view_failed(&v, e,
                                 "whether the user was made is not known (if so, remove it "
                                 "and add it again: its secret was not printed)");
        else if (e)
            status = view_failed(&v, e, "the user was not made");
    }
    view_close(&v);
    if (status)
        return status;
    if (cli->json)
        cli_print_json(json_pack("{s:s, s:s, s:s, s:b}", "name", argv[0], "access_key",
                                 user.access_key, "secret_key", user.secret, "root", root));
    else
        printf("AWS_ACCESS_KEY_ID=%s\nAWS_SECRET_ACCESS_KEY=%s\n", user.access_key, user.secret);
    if (!cli->json)
        fprintf(stderr, "cairn: keep the secret, it is printed only now\n");
    return CLI_OK;
}

static int run_list(struct cli *cli, int argc, char **argv)
{
    static const char *const columns[] = {"name", "access key", "root", "created", NULL};
    struct cluster_view v;
    ListUsers list = LIST_USERS__INIT;
    Query query = QUERY__INIT;
    Answer *answer;
    bool more = true;
    int status = cli_options_only(cli, NULL, argc, argv);
    if (status)
        return status;
    query.body_case = QUERY__BODY_LIST_USERS;
    query.list_users = &list;
    status = view_open(cli, &v);
    struct cli_table *table = cli_table_new(columns);
    while (!status && more) {
        enum err e = view_query(&v, &query, &answer);
        if (e)
            status = view_failed(&v, e, "the list of users");
        for (size_t i = 0; !e && i < answer->n_users; i++) {
            const UserInfo *u = answer->users[i];
            char created[TIME_TEXT];
            time_format_iso(u->created, created);
            cli_table_row(table, (const char *const[]){u->name, u->access_key,
                                                       u->root ? "yes" : "no", created});
        }
        more = !e && answer->truncated;
        if (more)
            list.after = answer->next;
    }
    if (!status)
        cli_table_print(cli, table);
    cli_table_free(table);
    view_close(&v);
    return status;
}

static int run_remove(struct cli *cli, int argc, char **argv)
{
    struct cluster_view v;
    DeleteUser body = DELETE_USER__INIT;
    Command command = COMMAND__INIT;
    Result *result;
    int status = the_name(cli, NULL, &argc, argv);
    if (status)
        return status;
    body.name = argv[0];
    command.body_case = COMMAND__BODY_DELETE_USER;
    command.delete_user = &body;
    status = view_open(cli, &v);
    enum err e = status ? OK : view_execute(&v, &command, &result);
    if (e == ERR_NO_USER || e == ERR_NOT_FOUND)
        status = cli_failed("there is no user %s: cairn user list", argv[0]);
    else if (e)
        status = view_failed(&v, e, "the user was not removed for certain");
    view_close(&v);
    if (status)
        return status;
    if (cli->json)
        cli_print_json(json_pack("{s:s}", "removed", argv[0]));
    else
        printf("user %s is removed (gateways forget its keys within 10 s); its buckets stay\n",
               argv[0]);
    return CLI_OK;
}

const struct cli_verb user_verbs[] = {
    {"add", "NAME [--root]", "Make a user and print its keys, once",
     "The secret is kept encrypted under the cluster key and cannot be shown again.\n", run_add,
     NULL},
    {"list", "", "Show the users", NULL, run_list, NULL},
    {"remove", "NAME", "Remove a user: its keys are refused within 10 s", NULL, run_remove, NULL},
    {0},
};
