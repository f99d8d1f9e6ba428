/* `cairn raft add, remove, transfer, snapshot`: changes of the metadata group. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "common/base/text.h"
#include "common/proto/message_types.h"
#include "common/sys/sys.h"
#include "tools/verb_raft.h"
#include "tools/verb_view.h"

#define LOOK_EVERY   (200 * SYS_MS)
#define CHANGE_TIME  (20 * SYS_SECOND)
#define WAIT_DEFAULT (5 * 60 * SYS_SECOND)

/* Waits for the next look; false at the deadline. */
static bool wait_look(int64_t deadline)
{
    if (sys_now() >= deadline)
        return false;
    sys_sleep_until(sys_now() + LOOK_EVERY);
    return true;
}

static const char *id_text(struct cluster_view *v, uint64_t id)
{
    return arena_format(&v->arena, "%016" PRIx64, id);
}

/* By its id, or its address. */
static const MemberInfo *find(const struct cluster_view *v, const char *word)
{
    const Members *m = v->facts.members;
    for (size_t i = 0; i < m->n_members; i++) {
        char id[20];
        snprintf(id, sizeof id, "%016" PRIx64, m->members[i]->id);
        if (strcmp(id, word) == 0 || strcmp(m->members[i]->address, word) == 0)
            return m->members[i];
    }
    return NULL;
}

/* Opens the view of a verb that takes at most, or exactly, one member, and asks who is there. Unless it
 * returns CLI_OK the view is closed again. */
static int open_one(struct cli *cli, const struct cli_option *options, bool must, int argc,
                    char **argv, struct cluster_view *v, const char **word)
{
    int status = cli_options(cli, options, &argc, argv);
    if (!status && (argc > 1 || (must && argc == 0)))
        status = cli_usage(cli, must ? "one member, by id or address" : "at most one member");
    *word = status || argc == 0 ? NULL : argv[0];
    if (status)
        return status;
    status = view_open(cli, v);
    enum err e = status ? OK : view_ask_members(v);
    if (e)
        status = view_failed(v, e, "no metadata server answers");
    if (status)
        view_close(v);
    return status;
}

static int unknown(const char *word)
{
    return cli_failed("%s is no member: cairn raft status lists them", word);
}

static enum err ask_leader(struct cluster_view *v, GroupAct act, uint64_t member)
{
    struct request_context request = admin_request(&v->admin, CHANGE_TIME);
    Group body = GROUP__INIT;
    ProtobufCMessage *reply = NULL;
    body.act = act;
    body.member = member;
    return metadata_call_leader(v->admin.metadata, &request, MSG_GROUP, &body.base, &v->arena,
                                &reply);
}

int raft_run_remove(struct cli *cli, int argc, char **argv)
{
    struct cluster_view v;
    const char *word;
    int status = open_one(cli, NULL, true, argc, argv, &v, &word);
    if (status)
        return status;
    const MemberInfo *one = find(&v, word);
    if (!one)
        status = unknown(word);
    if (!status) {
        enum err e = ask_leader(&v, GROUP_ACT__GROUP_REMOVE, one->id);
        if (e == ERR_INVALID)
            status = cli_failed("%s is the last member that votes", word);
        else if (e && e != ERR_NOT_FOUND)
            status = view_failed(&v, e, "it was not removed");
        else if (cli->json)
            cli_print_json(
                json_pack("{s:s, s:s}", "removed", id_text(&v, one->id), "address", one->address));
        else
            printf("removed %s at %s; its directory can be wiped\n", id_text(&v, one->id),
                   one->address);
    }
    view_close(&v);
    return status;
}

int raft_run_transfer(struct cli *cli, int argc, char **argv)
{
    struct cluster_view v;
    const char *word;
    int status = open_one(cli, NULL, false, argc, argv, &v, &word);
    if (status)
        return status;
    const MemberInfo *one = word ? find(&v, word) : NULL;
    if (word && !one)
        status = unknown(word);
    uint64_t before = v.facts.members->leader, to = one ? one->id : 0;
    enum err e = status ? OK : ask_leader(&v, GROUP_ACT__GROUP_TRANSFER, to);
    if (e == ERR_NOT_FOUND)
        status = cli_failed("no other voting member is there to take over");
    else if (e && e != ERR_EXISTS)
        status = view_failed(&v, e, "leadership was not handed over");
    uint64_t leader = e == ERR_EXISTS ? to : 0;
    int64_t deadline = sys_now() + CHANGE_TIME;
    while (!status && !leader) {
        if (!wait_look(deadline)) {
            status = cli_failed("nobody has taken over yet: cairn raft status tells who leads");
            break;
        }
        view_forget(&v);
        if (view_ask_members(&v) == OK && v.facts.members->leader &&
            (to ? v.facts.members->leader == to : v.facts.members->leader != before))
            leader = v.facts.members->leader;
    }
    if (!status && cli->json)
        cli_print_json(json_pack("{s:s}", "leader", id_text(&v, leader)));
    else if (!status)
        printf("%s leads\n", id_text(&v, leader));
    view_close(&v);
    return status;
}

/* Each member for itself; false: it did not. */
static bool compact_one(struct cluster_view *v, const MemberInfo *one, struct cli_table *table)
{
    Group body = GROUP__INIT;
    ProtobufCMessage *reply = NULL;
    body.act = GROUP_ACT__GROUP_COMPACT;
    enum err e = view_call(v, one->address, MSG_GROUP, &body.base, &members__descriptor,
                           CHANGE_TIME, &reply);
    const Members *own = e ? NULL : (const Members *)reply;
    cli_table_row(table, (const char *const[]){
                             id_text(v, one->id), one->address,
                             own ? arena_format(&v->arena, "%" PRIu64, own->first_index - 1) : "-",
                             own ? arena_format(&v->arena, "%" PRIu64, own->log_bytes) : "-",
                             own ? "yes" : err_text(e)});
    return own != NULL;
}

int raft_run_snapshot(struct cli *cli, int argc, char **argv)
{
    static const char *const columns[] = {"id", "address", "index", "log_bytes", "done", NULL};
    struct cluster_view v;
    const char *word;
    int status = open_one(cli, NULL, false, argc, argv, &v, &word);
    if (status)
        return status;
    if (word && !find(&v, word))
        status = unknown(word);
    if (!status) {
        struct cli_table *table = cli_table_new(columns);
        const Members *m = v.facts.members;
        const MemberInfo *one = word ? find(&v, word) : NULL;
        bool all = true;
        for (size_t i = 0; i < m->n_members; i++)
            if (!one || m->members[i] == one)
                all &= compact_one(&v, m->members[i], table);
        cli_table_print(cli, table);
        cli_table_free(table);
        if (!all)
            status = cli_failed("not every member could be asked");
    }
    view_close(&v);
    return status;
}

/* What is missing until the member votes; NULL: nothing. */
static const char *lacking(struct cluster_view *v, const MemberInfo *one)
{
    if (!one)
        return "no member there has asked to join";
    if (one->voter)
        return NULL;
    if (one->sending)
        return arena_format(&v->arena, "it receives a snapshot, %s so far",
                            view_bytes(v, one->snapshot_offset));
    return arena_format(&v->arena, "it catches up, entry %" PRIu64 " of %" PRIu64, one->match,
                        v->facts.members->commit);
}

int raft_run_add(struct cli *cli, int argc, char **argv)
{
    struct cluster_view v;
    struct sys_addr where;
    const char *word;
    int64_t wait = WAIT_DEFAULT;
    const struct cli_option options[] = {{"timeout", CLI_DURATION, &wait}, {0}};
    int status = open_one(cli, options, true, argc, argv, &v, &word);
    if (status)
        return status;
    if (sys_addr_parse(word, &where))
        status =
            cli_usage(cli, "\"%.60s\" is no address: ADDR:PORT where the new member listens", word);
    const char *said = "";
    char told[160] = "";
    if (!status && !find(&v, word))
        fprintf(
            stderr,
            "start it there, with an empty directory (it joins by itself):\n"
            "  cairn server --roles metadata --metadata-dir DIR --metadata-listen %s --join \\\n"
            "    --metadata %s --cluster-key FILE\n",
            word, v.facts.members->members[0]->address);
    int64_t deadline = sys_now() + wait;
    while (!status && (said = lacking(&v, find(&v, word)))) {
        if (strcmp(told, said) != 0 && !cli->json)
            fprintf(stderr, "%s: %s\n", word, said);
        snprintf(told, sizeof told, "%s", said);
        if (!wait_look(deadline)) {
            status = cli_failed("%s does not vote yet: %s", word, told);
            break;
        }
        view_forget(&v);
        while (view_ask_members(&v) != OK && wait_look(deadline))
            view_forget(&v);
        if (!v.facts.members)
            status = cli_failed("no metadata server answers");
    }
    if (!status) {
        const MemberInfo *one = find(&v, word);
        if (cli->json)
            cli_print_json(
                json_pack("{s:s, s:s}", "added", id_text(&v, one->id), "address", one->address));
        else
            printf("%s at %s votes\n", id_text(&v, one->id), one->address);
    }
    view_close(&v);
    return status;
}
