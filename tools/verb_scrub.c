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

/* ---- placement groups ---- */

struct heard_disks {
    const ScrubGroups **v; /* in the order of the map's disks; NULL: no answer */
    unsigned silent;
};

static void ask_disks(struct cluster_view *v, struct heard_disks *out)
{
    const MapInfo *info = v->facts.info;
    out->v = arena_alloc(&v->arena, (info->n_disks + 1) * sizeof *out->v);
    for (size_t i = 0; i < info->n_disks; i++) {
        ScrubGroups ask = SCRUB_GROUPS__INIT;
        ProtobufCMessage *reply = NULL;
        ask.disk = info->disks[i]->id;
        out->v[i] = NULL;
        if (info->disks[i]->removed)
            continue;
        if (info->disks[i]->up && view_call(v, info->disks[i]->address, MSG_SCRUB_GROUPS, &ask.base,
                                            &scrub_groups__descriptor, START_ASK, &reply) == OK)
            out->v[i] = (const ScrubGroups *)reply;
        out->silent += !out->v[i];
    }
}

static const ScrubGroup *row_of(struct cluster_view *v, const struct heard_disks *heard,
                                disk_id disk, uint32_t pool, uint32_t pg)
{
    for (size_t i = 0; i < v->facts.info->n_disks; i++)
        for (size_t k = 0; heard->v[i] && heard->v[i]->disk == disk && k < heard->v[i]->n_groups;
             k++)
            if (heard->v[i]->groups[k]->pool == pool && heard->v[i]->groups[k]->pg == pg)
                return heard->v[i]->groups[k];
    return NULL;
}

/* Of its disks, the one that was looked at longest ago. */
static void group_row(struct cluster_view *v, bool json, const struct heard_disks *heard,
                      const struct cluster_pool *pool, uint32_t pg, struct cli_table *table)
{
    int64_t light = INT64_MAX, deep = INT64_MAX;
    uint64_t bad = 0, missing = 0;
    unsigned width = pool_width(pool), known = 0;
    for (unsigned i = 0; i < width; i++) {
        const ScrubGroup *g = row_of(v, heard, slot_newest(pool_slot(pool, pg, i)), pool->id, pg);
        int64_t swept = g ? g->swept : 0, read = g ? g->read : 0;
        light = swept < light ? swept : light;
        deep = read < deep ? read : deep;
        bad += g ? g->bad : 0;
        missing += g ? g->missing : 0;
        known += read > 0;
    }
    cli_table_row(table,
                  (const char *const[]){
                      pool->name, count(v, pg), moment(v, json, light), moment(v, json, deep),
                      json ? count(v, known) : arena_format(&v->arena, "%u of %u", known, width),
                      count(v, bad), count(v, missing)});
}

static int run_groups(struct cli *cli, int argc, char **argv)
{
    static const char *const columns[] = {"pool", "pg",  "light",   "deep",
                                          "read", "bad", "missing", NULL};
    struct cluster_view v;
    struct heard_disks heard = {0};
    int status = cli_options_only(cli, NULL, argc, argv);
    if (status)
        return status;
    status = view_open(cli, &v);
    if (!status)
        status = view_need_map(&v);
    if (!status) {
        ask_disks(&v, &heard);
        if (heard.silent)
            fprintf(stderr, "cairn: %u disks do not answer; what they know is missing here\n",
                    heard.silent);
        struct cli_table *table = cli_table_new(columns);
        for (size_t i = 0; i < v.map->pool_count; i++)
            if (pool_assigned(&v.map->pools[i]))
                for (uint32_t pg = 0; pg < pool_pg_count(&v.map->pools[i]); pg++)
                    group_row(&v, cli->json, &heard, &v.map->pools[i], pg, table);
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
    {"groups", "", "Show the same for each placement group",
     "light, deep: when the last of its disks was compared, and read whole; never: one of them "
     "has\n"
     "not been yet. read: how many have. bad, missing: what these passes found, which is "
     "repaired.\n",
     run_groups, NULL},
    {"start", "[--deep] [DISK]", "Begin a pass now, over one disk or all that are up",
     "Light: what the disk holds is compared with the metadata, both ways. --deep: then every "
     "block "
     "is\n"
     "read and checked as well, at most scrub_rate bytes a second; one that goes on is not begun "
     "anew.\n",
     run_start, NULL},
    {0},
};
