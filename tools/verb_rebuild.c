/* `cairn rebuild status`: what still moves or is rebuilt, how fast, and until when. */
#include <stdio.h>
#include <string.h>
#include "common/sys/sys.h"
#include "tools/rebuild.h"
#include "tools/verb_view.h"
#include "tools/verbs.h"

#define LOOK_EVERY (500 * SYS_MS)
#define LINE_EVERY (2 * SYS_SECOND)

/* One look. Everything is in the view until it is forgotten. */
static enum err look(struct cluster_view *v, struct rebuild_look *out)
{
    memset(out, 0, sizeof *out);
    view_forget(v);
    enum err e = view_ask_map(v);
    if (!e)
        e = view_ask_status(v);
    if (!e)
        e = view_ask_reports(v);
    if (e)
        return e;
    census_take(v->map, &out->census);
    out->at = sys_now();
    out->repair_rows = v->facts.status->repair_rows;
    for (size_t i = 0; i < v->facts.info->n_disks; i++) {
        const DiskInfo *d = v->facts.info->disks[i];
        const DiskReport *r = d->removed ? NULL : facts_report(&v->facts, d->id);
        if (!r || !d->up)
            continue;
        out->bytes += r->backfill_bytes;
    }
    return OK;
}

static struct cli_table *disk_table(struct cluster_view *v, bool json)
{
    static const char *const columns[] = {"disk", "host", "slots", "done", "total", "bytes", NULL};
    struct cli_table *table = cli_table_new(columns);
    struct arena *a = &v->arena;
    for (size_t i = 0; i < v->facts.info->n_disks; i++) {
        const DiskInfo *d = v->facts.info->disks[i];
        const DiskReport *r = d->removed ? NULL : facts_report(&v->facts, d->id);
        uint64_t slots = 0;
        if (d->removed)
            continue;
        for (size_t p = 0; p < v->map->pool_count; p++) {
            const struct cluster_pool *pool = &v->map->pools[p];
            for (size_t n = 0; n < (size_t)pool_pg_count(pool) * pool_width(pool); n++)
                slots += pool->slots[n].count > 1 && slot_newest(&pool->slots[n]) == d->id;
        }
        if (!slots && !json)
            continue;
        cli_table_row(table,
                      (const char *const[]){
                          arena_format(a, "%u", d->id), d->host,
                          arena_format(a, "%llu", (unsigned long long)slots),
                          r ? arena_format(a, "%llu", (unsigned long long)r->backfill_done) : "-",
                          r ? arena_format(a, "%llu", (unsigned long long)r->backfill_total) : "-",
                          !r     ? "-"
                          : json ? arena_format(a, "%llu", (unsigned long long)r->backfill_bytes)
                                 : view_bytes(v, r->backfill_bytes)});
    }
    return table;
}

static void print_json(struct cluster_view *v, const struct rebuild_look *l,
                       const struct rebuild_progress *p)
{
    struct cli_table *table = disk_table(v, true);
    json_t *out = json_pack("{s:b, s:b, s:o}", "whole", rebuild_whole(l), "waits_for_disks",
                            rebuild_waits(l), "disks", cli_table_json(table));
    json_object_set_new(out, "slots_moving", json_integer((json_int_t)l->census.slots_moving));
    json_object_set_new(out, "slots_waiting", json_integer((json_int_t)l->census.slots_waiting));
    json_object_set_new(out, "slots_missing", json_integer((json_int_t)l->census.slots_missing));
    json_object_set_new(out, "slots_down", json_integer((json_int_t)l->census.slots_down));
    json_object_set_new(out, "repair_rows", json_integer((json_int_t)l->repair_rows));
    json_object_set_new(out, "bytes_per_s", json_integer((json_int_t)p->bytes_per_s));
    json_object_set_new(out, "seconds_left",
                        p->left_ns < 0 ? json_null() : json_integer(p->left_ns / SYS_SECOND));
    cli_print_json(out);
    cli_table_free(table);
}

static void print_people(const struct cli *cli, struct cluster_view *v,
                         const struct rebuild_look *l, const struct rebuild_progress *p)
{
    char words[REBUILD_WORDS];
    rebuild_words(l, p, words);
    printf("%s\n", words);
    if (l->at > p->first_at && rebuild_whole(l)) {
        /* The disks tell once a second: what was quick may not be told of yet. */
        uint64_t bytes = l->bytes > p->first_bytes ? l->bytes - p->first_bytes : 0;
        printf("%s%safter %.1f s of watching\n", bytes ? view_bytes(v, bytes) : "",
               bytes ? " copied or rebuilt, " : "",
               (double)(l->at - p->first_at) / (double)SYS_SECOND);
    }
    if (rebuild_waits(l))
        printf(
            "%llu slots are on disks that are down: they are rebuilt when a disk goes out, or at "
            "once with cairn disk fail ID\n",
            (unsigned long long)l->census.slots_down);
    struct cli_table *table = disk_table(v, false);
    if (cli_table_rows(table)) {
        printf("\n");
        cli_table_print(cli, table);
    }
    cli_table_free(table);
}

/* Until redundancy is whole again, or the time is over. */
static int watch(const struct cli *cli, struct cluster_view *v, struct rebuild_look *l,
                 struct rebuild_progress *p, int64_t deadline)
{
    struct cli_progress bar;
    char words[REBUILD_WORDS] = "";
    int64_t next_line = 0;
    enum err e = OK;
    cli_progress_init(&bar, cli, "rebuild");
    while (!rebuild_whole(l) && sys_now() < deadline) {
        rebuild_words(l, p, words);
        cli_progress_update(&bar, p->permille, 1000, words);
        if (!bar.columns && !cli->json && l->at >= next_line) {
            printf("%5.1f%% %s\n", (double)p->permille / 10, words);
            fflush(stdout);
            next_line = l->at + LINE_EVERY;
        }
        struct sys_poll stop = {.event = sys_stop_event()};
        if (sys_poll(&stop, 1, sys_now() + LOOK_EVERY) == OK)
            break;
        struct rebuild_look now;
        e = look(v, &now); /* a change of leader takes some seconds: asked again */
        if (!e) {
            *l = now;
            rebuild_note(p, l);
        } else if (!err_retryable(e) && err_outcome_known(e)) {
            break;
        }
    }
    cli_progress_release(&bar);
    if (e && !rebuild_whole(l))
        return view_failed(v, e, "the rebuild cannot be watched");
    return CLI_OK;
}

static int run_status(struct cli *cli, int argc, char **argv)
{
    bool watching = false;
    int64_t timeout = 0;
    const struct cli_option options[] = {
        {"watch", CLI_FLAG, &watching}, {"timeout", CLI_DURATION, &timeout}, {0}};
    struct cluster_view v;
    struct rebuild_look l, again;
    struct rebuild_progress p = {0};
    int status = cli_options_only(cli, options, argc, argv);
    if (!status && timeout && !watching)
        status = cli_usage(cli, "--timeout goes with --watch");
    if (status)
        return status;
    status = view_open(cli, &v);
    enum err e = status ? OK : look(&v, &l);
    if (e)
        status = view_failed(&v, e, "rebuild status");
    if (status) {
        view_close(&v);
        return status;
    }
    rebuild_note(&p, &l);
    if (watching) {
        status = watch(cli, &v, &l, &p, timeout ? sys_now() + timeout : SYS_FOREVER);
    } else if (l.census.slots_moving) {
        sys_sleep_until(sys_now() + 2 * LOOK_EVERY); /* a second look tells the rate */
        if (look(&v, &again) == OK) {
            l = again;
            rebuild_note(&p, &l);
        }
    }
    if (!status && !v.facts.map && look(&v, &l)) /* the last look of the watch had failed */
        status = view_failed(&v, ERR_UNAVAILABLE, "rebuild status");
    if (!status) {
        if (cli->json)
            print_json(&v, &l, &p);
        else
            print_people(cli, &v, &l, &p);
        if (watching && !rebuild_whole(&l))
            status = CLI_FAILED;
    }
    view_close(&v);
    return status;
}

const struct cli_verb rebuild_verbs[] = {
    {"status", "[--watch [--timeout TIME]]", "Show what is being rebuilt or moved, and how fast",
     "With --watch, shows progress until redundancy is whole, or until --timeout (10m, say; else\n"
     "for as long as it takes): then exit status 1. slots: those that the disk is being filled\n"
     "for; done and total: their shards, as far as known; bytes: since its chunkserver's start.\n",
     run_status, NULL},
    {0},
};
