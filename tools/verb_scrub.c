/* `cairn scrub ..`: whether what the disks hold has been read and compared, and when. */
#include <stdio.h>
#include <string.h>
#include "common/proto/message_types.h"
#include "common/sys/sys.h"
#include "tools/verb_view.h"
#include "tools/verbs.h"

#define START_ASK (5 * SYS_SECOND)

static const char *count(struct cluster_view *v, uint64_t n)
{
    return arena_format(&v->arena, "%llu", (unsigned long long)n);
}

/* A moment: for people how long ago, for programs ns since 1970. */
static const char *moment(struct cluster_view *v, bool json, int64_t at)
{
    if (json)
        return count(v, (uint64_t)at);
    if (at == 0)
        return "never";
    int64_t ago = (sys_wall() - at) / SYS_SECOND;
    if (ago < 0)
        ago = 0;
    return ago < 120             ? arena_format(&v->arena, "%llds ago", (long long)ago)
           : ago < 2 * 3600      ? arena_format(&v->arena, "%lldm ago", (long long)ago / 60)
           : ago < 2 * 24 * 3600 ? arena_format(&v->arena, "%lldh ago", (long long)ago / 3600)
                                 : arena_format(&v->arena, "%lldd ago", (long long)ago / 86400);
}

static const char *doing(struct cluster_view *v, bool json, const DiskReport *r)
{
    if (!r->scrub_begun)
        return r->scrubbing == 1 ? "light" : "-";
    unsigned percent =
        r->used_bytes ? (unsigned)((double)r->scrub_bytes / (double)r->used_bytes * 100) : 0;
    return json ? "deep" : arena_format(&v->arena, "deep %u%%", percent > 99 ? 99 : percent);
}

static void status_row(struct cluster_view *v, bool json, const DiskInfo *d,
                       struct cli_table *table)
{
    static const DiskReport none = DISK_REPORT__INIT;
    const DiskReport *r = facts_report(&v->facts, d->id);
    if (!r)
        r = &none;
    cli_table_row(table, (const char *const[]){
                             count(v, d->id), d->host, doing(v, json, r),
                             moment(v, json, r->scrub_swept), moment(v, json, r->scrub_read),
                             json ? count(v, r->scrub_bytes) : view_bytes(v, r->scrub_bytes),
                             count(v, r->scrub_bad), count(v, r->scrub_missing),
                             count(v, r->scrub_orphans), count(v, r->scrub_young)});
}

static int run_status(struct cli *cli, int argc, char **argv)
{
    static const char *const columns[] = {"disk", "host",    "now",     "light", "deep", "read",
                                          "bad",  "missing", "removed", "young", NULL};
    struct cluster_view v;
    int status = cli_options_only(cli, NULL, argc, argv);
    if (status)
        return status;
    status = view_open(cli, &v);
    if (!status)
        status = view_need_map(&v);
    enum err e = status ? OK : view_ask_reports(&v);
    if (e)
        status = view_failed(&v, e, "what the disks report is not known");
    if (!status) {
        struct cli_table *table = cli_table_new(columns);
        for (size_t i = 0; i < v.facts.info->n_disks; i++)
            if (!v.facts.info->disks[i]->removed)
                status_row(&v, cli->json, v.facts.info->disks[i], table);
        cli_table_print(cli, table);
        cli_table_free(table);
    }
    view_close(&v);
    return status;
}

/* ---- start ---- */

static enum err start_one(struct cluster_view *v, const DiskInfo *d, bool deep)
{
    ScrubStart body = SCRUB_START__INIT;
    ProtobufCMessage *reply = NULL;
    body.disk = d->id;
    body.deep = deep;
    return view_call(v, d->address, MSG_SCRUB_START, &body.base, NULL, START_ASK, &reply);
}

static int start_all(struct cluster_view *v, const struct cli *cli, uint32_t only, bool deep)
{
    unsigned begun = 0, failed = 0;
    for (size_t i = 0; i < v->facts.info->n_disks; i++) {
        const DiskInfo *d = v->facts.info->disks[i];
        if (d->removed || (only && d->id != only) || (!only && !d->up))
            continue;
        enum err e = start_one(v, d, deep);
        if (e)
            fprintf(stderr, "cairn: disk %u does not begin: %s\n", d->id, err_text(e));
        begun += e == OK;
        failed += e != OK;
    }
    if (cli->json)
        cli_print_json(
            json_pack("{s:i, s:i, s:b}", "begun", (int)begun, "failed", (int)failed, "deep", deep));
    else if (begun)
        printf("a %s pass begins on %u disks: cairn scrub status shows it\n",
               deep ? "deep" : "light", begun);
    if (begun + failed == 0)
        return cli_failed("no disk is up: see cairn disk list");
    return failed ? CLI_FAILED : CLI_OK;
}

static int run_start(struct cli *cli, int argc, char **argv)
{
    bool deep = false;
    uint32_t id = 0;
    const struct cli_option options[] = {{"deep", CLI_FLAG, &deep}, {0}};
    struct cluster_view v;
    int status = cli_options(cli, options, &argc, argv);
    if (!status && argc > 0) /* none: all of them */
        status = view_disk_word(cli, argc, argv, &id);
    if (status)
        return status;
    status = view_open(cli, &v);
    if (!status)
        status = view_need_map(&v);
    if (!status && id && !view_disk(&v, id))
        status = cli_failed("there is no disk %u: see cairn disk list", id);
    if (!status)
        status = start_all(&v, cli, id, deep);
    view_close(&v);
    return status;
}

const struct cli_verb scrub_verbs[] = {
    {"status", "", "Show when the disks were read and compared, and what was found",
     "now: light or deep while a pass goes on. light, deep: when the last one was complete. read, "
     "bad:\n"
     "by the deep pass that goes on, or the last one; bad shards are repaired. missing: found by "
     "light\n"
     "passes since the start, and repaired. removed: shards that nothing needed any more. young: "
     "those\n"
     "that nothing names and that wait for their age.\n",
     run_status, NULL},
    {"start", "[--deep] [DISK]", "Begin a pass now, over one disk or all that are up",
     "Light: what the disk holds is compared with the metadata, both ways. --deep: then every "
     "block "
     "is\n"
     "read and checked as well, at most scrub_rate bytes a second; one that goes on is not begun "
     "anew.\n",
     run_start, NULL},
    {0},
};
