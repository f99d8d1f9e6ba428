/* `cairn raft ...`: the metadata group. */
#include <stdio.h>
#include "common/base/text.h"
#include "common/sys/sys.h"
#include "tools/verb_raft.h"
#include "tools/verb_view.h"
#include "tools/verbs.h"

static const char *number(struct cluster_view *v, bool known, uint64_t n)
{
    return known ? arena_format(&v->arena, "%llu", (unsigned long long)n) : "-";
}

/* Of which entry the snapshot was that its state came from, or how much has arrived of one. */
static const char *snapshot(struct cluster_view *v, const MemberInfo *one, const Members *own)
{
    if (one->sending)
        return arena_format(&v->arena, "+%llu", (unsigned long long)one->snapshot_offset);
    return own && own->discarded
               ? "awaited"
               : number(v, own && own->installed_index, own ? own->installed_index : 0);
}

static int run_status(struct cli *cli, int argc, char **argv)
{
    static const char *const columns[] = {"id",      "address", "votes",    "role",  "match",
                                          "term",    "commit",  "applied",  "first", "snapshot",
                                          "answers", "clock_s", "free_mib", NULL};
    struct cluster_view v;
    int status = cli_options_only(cli, NULL, argc, argv);
    if (status)
        return status;
    status = view_open(cli, &v);
    enum err e = status ? OK : view_ask_members(&v);
    if (e)
        status = view_failed(&v, e, "no metadata server answers");
    if (status) {
        view_close(&v);
        return status;
    }
    const Members *m = v.facts.members;
    struct cli_table *table = cli_table_new(columns);
    bool led = false, match = false;
    for (size_t i = 0; i < m->n_members; i++) /* only a leader knows how far the others are */
        match |= m->members[i]->match != 0;
    for (size_t i = 0; i < m->n_members && i < VIEW_MEMBERS_MAX; i++) {
        const MemberInfo *one = m->members[i];
        const Members *own = v.own[i];
        bool leads = own && own->leader == one->id;
        led |= leads;
        cli_table_row(table,
                      (const char *const[]){
                          arena_format(&v.arena, "%016llx", (unsigned long long)one->id),
                          one->address, one->voter ? "yes" : "no",
                          leads        ? "leader"
                          : !own       ? "-"
                          : one->voter ? "follower"
                                       : "learner",
                          number(&v, match, one->match), number(&v, own, own ? own->term : 0),
                          number(&v, own, own ? own->commit : 0),
                          number(&v, own, own ? own->applied : 0),
                          number(&v, own, own ? own->first_index : 0), snapshot(&v, one, own),
                          own ? "yes" : err_text(v.facts.member_answers[i]),
                          one->clock_known
                              ? arena_format(&v.arena, "%.3f", (double)one->clock_offset_ns / 1e9)
                              : "-",
                          number(&v, one->disk_known, one->disk_free_bytes >> 20)});
    }
    cli_table_print(cli, table);
    cli_table_free(table);
    if (!led)
        status = cli_failed("there is no leader: a majority of the voting members must run and "
                            "reach one another");
    view_close(&v);
    return status;
}

/* The hold is told by whoever leads; its log time is what is confirmed. */
static int run_confirm_time(struct cli *cli, int argc, char **argv)
{
    struct cluster_view v;
    Result *result;
    char text[TIME_TEXT];
    int status = cli_options_only(cli, NULL, argc, argv);
    if (status)
        return status;
    status = view_open(cli, &v);
    enum err e = status ? OK : view_ask_members(&v);
    if (e)
        status = view_failed(&v, e, "no metadata server answers");
    const Members *m = status ? NULL : v.facts.members;
    ConfirmTime body = CONFIRM_TIME__INIT;
    Command command = COMMAND__INIT;
    command.body_case = COMMAND__BODY_CONFIRM_TIME;
    command.confirm_time = &body;
    if (m) {
        body.seen = m->time;
        e = view_execute(&v, &command, &result);
        if (e)
            status = view_failed(&v, e, "log time was not confirmed");
    }
    if (m && !status) {
        int64_t ahead = (m->time - sys_wall()) / SYS_SECOND;
        time_format_iso(m->time, text);
        if (cli->json)
            cli_print_json(json_pack("{s:s, s:I, s:b}", "log_time", text, "ahead_s",
                                     (json_int_t)ahead, "was_held", m->time_held_ns > 0));
        else
            printf("log time %s (%+lld s beside this machine's clock) is confirmed: %s\n", text,
                   (long long)ahead,
                   m->time_held_ns ? "what was held goes on" : "nothing was held");
    }
    view_close(&v);
    return status;
}

const struct cli_verb raft_verbs[] = {
    {"status", "", "Show the members of the metadata group",
     "Each member is asked for itself; match is how far the leader knows its log to agree,\n"
     "first is where its log begins, snapshot the entry as of which it took the leader's state\n"
     "instead of entries (+N: N bytes of one have arrived),\n"
     "clock_s the distance of its clock from what the members agree on, free_mib the room where "
     "its\n"
     "metadata lies.\n"
     "Exit status 1 when there is no leader.\n",
     run_status, NULL},
    {"confirm-time", "", "Say that log time is right: deletion and giving up of disks go on",
     "After a step of log time of more than an hour nothing is deleted and no disk is given up "
     "for\n"
     "an hour (METADATA_TIME_HELD in cairn status). If the step was no mistake, this ends the "
     "wait.\n"
     "If it was one, set the clocks instead: log time never goes back, it waits for them.\n",
     run_confirm_time, NULL},
    {"add", "ADDR:PORT [--timeout 5m]", "Wait for a new member to become a voter",
     "Says how to start it, unless it has joined already, and how far it is until it votes.\n"
     "A member joins by itself: cairn server --join, with an empty directory.\n",
     raft_run_add, NULL},
    {"remove", "ID|ADDR:PORT", "Take a member out of the group, for good",
     "For one whose disk is lost, or that is not needed any more. A leader hands over first.\n"
     "To replace a lost one: remove it, start a new one with --join from an empty directory.\n",
     raft_run_remove, NULL},
    {"transfer", "[ID|ADDR:PORT]", "Hand leadership over, and wait until that is done",
     "Without a member to the one that is furthest.\n", raft_run_transfer, NULL},
    {"snapshot", "[ID|ADDR:PORT]", "Make members drop their logs up to what they have applied",
     "All of them, or one; what a live follower still needs is kept. They do it by themselves "
     "when\n"
     "a log outgrows log_bytes.\n",
     raft_run_snapshot, NULL},
    {0},
};
