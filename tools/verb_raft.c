/* `cairn raft status`: the metadata group, each member asked for itself. */
#include <stdio.h>
#include "tools/verb_view.h"
#include "tools/verbs.h"

static const char *number(struct cluster_view *v, bool known, uint64_t n)
{
    return known ? arena_format(&v->arena, "%llu", (unsigned long long)n) : "-";
}

static int run_status(struct cli *cli, int argc, char **argv)
{
    static const char *const columns[] = {"id",   "address", "votes",   "role",    "match",
                                          "term", "commit",  "applied", "answers", NULL};
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
                          own ? "yes" : err_text(v.facts.member_answers[i])});
    }
    cli_table_print(cli, table);
    cli_table_free(table);
    if (!led)
        status = cli_failed("there is no leader: a majority of the voting members must run and "
                            "reach one another");
    view_close(&v);
    return status;
}

const struct cli_verb raft_verbs[] = {
    {"status", "", "Show the members of the metadata group",
     "Each member is asked for itself; match is how far the leader knows its log to agree.\n"
     "Exit status 1 when there is no leader.\n",
     run_status, NULL},
    {0},
};
