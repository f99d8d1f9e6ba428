/* `cairn disk ..`: the disks, and whether placement uses them. */
#include <stdio.h>
#include <string.h>
#include "common/sys/sys.h"
#include "tools/verb_view.h"
#include "tools/verbs.h"

static const char *number(struct cluster_view *v, uint64_t n)
{
    return arena_format(&v->arena, "%llu", (unsigned long long)n);
}

static const char *up_name(const DiskInfo *d)
{
    return !d->up ? "down" : d->suspect ? "slow" : "up";
}

/* A mark, by the name of its health code; what it is busy with. */
static const char *notes(struct cluster_view *v, const DiskInfo *d, const DiskReport *r)
{
    static const char *const marks[] = {"", "nearfull", "backfillfull", "full"};
    if (facts_absent(&v->facts, d->id))
        return "missing";
    if (r && r->fault == DISK_FAULT_READ_ONLY)
        return "read-only";
    if (!r || (!r->indexing && (r->mark == DISK_MARK_NONE || r->mark > DISK_MARK_FULL)))
        return "-";
    const char *mark = r->mark <= DISK_MARK_FULL ? marks[r->mark] : "";
    if (!r->indexing)
        return mark;
    unsigned percent =
        r->extent_bytes ? (unsigned)((double)r->indexed_bytes / (double)r->extent_bytes * 100) : 0;
    return arena_format(&v->arena, "%s%sindexing %u%%", mark, *mark ? ", " : "", percent);
}

static const char *pace(struct cluster_view *v, const DiskReport *r, bool json)
{
    if (!r || r->pace_ns <= 0)
        return "-";
    return json ? number(v, (uint64_t)r->pace_ns / 1000)
                : arena_format(&v->arena, "%.1f ms", (double)r->pace_ns / 1e6);
}

static void list_row(struct cluster_view *v, bool json, const DiskInfo *d, struct cli_table *table)
{
    const DiskReport *r = facts_report(&v->facts, d->id);
    struct disk_slots slots = census_disk(v->map, d->id);
    uint64_t capacity = r && r->capacity_bytes ? r->capacity_bytes : d->capacity_bytes;
    cli_table_row(table, (const char *const[]){
                             number(v, d->id), d->host, view_admin_name(d->admin_state), up_name(d),
                             json ? number(v, capacity) : view_bytes(v, capacity),
                             !r     ? "-"
                             : json ? number(v, r->used_bytes)
                                    : view_bytes(v, r->used_bytes),
                             notes(v, d, r), number(v, slots.newest), number(v, slots.leaving),
                             r ? number(v, r->shards) : "-", r ? number(v, r->corrupt) : "-",
                             pace(v, r, json), d->address, d->zone, d->rack,
                             view_hex(v, d->uuid.data, d->uuid.len)});
}

static int run_list(struct cli *cli, int argc, char **argv)
{
    static const char *const columns[] = {
        "id",     "host",    "state",   "up",      "capacity", "used", "notes", "slots", "leaving",
        "shards", "corrupt", "pace_us", "address", "zone",     "rack", "uuid",  NULL};
    static const char *const narrow[] = {"id",      "host",  "state",   "up",      "capacity",
                                         "used",    "notes", "slots",   "leaving", "shards",
                                         "corrupt", "pace",  "address", NULL};
    struct cluster_view v;
    int status = cli_options_only(cli, NULL, argc, argv);
    if (status)
        return status;
    status = view_open(cli, &v);
    if (!status)
        status = view_need_map(&v);
    if (!status) {
        (void)!view_ask_reports(&v); /* without it, usage is not known */
        struct cli_table *table = cli_table_new(cli->json ? columns : narrow);
        for (size_t i = 0; i < v.facts.info->n_disks; i++)
            if (!v.facts.info->disks[i]->removed)
                list_row(&v, cli->json, v.facts.info->disks[i], table);
        cli_table_print(cli, table);
        cli_table_free(table);
    }
    view_close(&v);
    return status;
}

/* ---- changes ---- */

/* The one word of a verb that names a disk. */
static int open_disk(struct cli *cli, const struct cli_option *options, int argc, char **argv,
                     struct cluster_view *v, const DiskInfo **disk)
{
    uint32_t id = 0;
    memset(v, 0, sizeof *v);
    int status = cli_options(cli, options, &argc, argv);
    if (!status)
        status = view_disk_word(cli, argc, argv, &id);
    if (status)
        return status;
    status = view_open(cli, v);
    if (!status)
        status = view_need_map(v);
    if (!status && !(*disk = view_disk(v, id)))
        status = cli_failed("there is no disk %u: see cairn disk list", id);
    if (status)
        view_close(v);
    return status;
}

static int set_state(struct cluster_view *v, const DiskInfo *disk, enum disk_admin state,
                     bool removed)
{
    SetDiskState body = SET_DISK_STATE__INIT;
    Command command = COMMAND__INIT;
    Result *result;
    body.disk = disk->id;
    body.admin_state = (uint32_t)state;
    body.remove = removed;
    command.body_case = COMMAND__BODY_SET_DISK_STATE;
    command.set_disk_state = &body;
    enum err e = view_execute(v, &command, &result);
    char what[64];
    snprintf(what, sizeof what, "disk %u was not changed", disk->id);
    if (e == ERR_UNKNOWN_OUTCOME)
        snprintf(what, sizeof what, "whether disk %u was changed is not known", disk->id);
    return e ? view_failed(v, e, what) : CLI_OK;
}

static int say(const struct cli *cli, const DiskInfo *disk, const char *state, const char *words)
{
    if (cli->json)
        cli_print_json(json_pack("{s:i, s:s}", "id", (int)disk->id, "state", state));
    else
        printf("disk %u is %s%s\n", disk->id, state, words);
    return CLI_OK;
}

/* Tells when the slots of a disk that leaves have nowhere to go. */
static void warn_stranded(const struct cluster_view *v, disk_id id, enum disk_admin state)
{
    struct cluster_map *map = cluster_map_copy(v->map);
    cluster_map_disk_mutable(map, id)->admin = state;
    uint32_t stranded = view_stranded(map);
    cluster_map_free(map);
    if (stranded)
        fprintf(stderr,
                "cairn: %u slots have no disk to go to: too few disks are in; add some, then they "
                "move\n",
                stranded);
}

static int run_fail(struct cli *cli, int argc, char **argv)
{
    bool force = false;
    const struct cli_option options[] = {{"force", CLI_FLAG, &force}, {0}};
    struct cluster_view v;
    const DiskInfo *disk;
    int status = open_disk(cli, options, argc, argv, &v, &disk);
    if (status)
        return status;
    uint64_t lost = census_lost_without(v.map, disk->id);
    if (disk->admin_state != DISK_FAILED && lost && !force)
        status = cli_failed("failing disk %u now would give up the last copies in %llu placement "
                            "groups, which already miss as many shards as they tolerate. Bring "
                            "other disks back first; --force if it is lost anyhow",
                            disk->id, (unsigned long long)lost);
    if (!status)
        status = set_state(&v, disk, DISK_FAILED, false);
    if (!status) {
        warn_stranded(&v, disk->id, DISK_FAILED);
        say(cli, disk, "failed", ": its shards are rebuilt elsewhere (cairn rebuild status)");
    }
    view_close(&v);
    return status;
}

static int run_drain(struct cli *cli, int argc, char **argv)
{
    struct cluster_view v;
    const DiskInfo *disk;
    int status = open_disk(cli, NULL, argc, argv, &v, &disk);
    if (status)
        return status;
    if (disk->admin_state == DISK_FAILED)
        status = cli_failed("disk %u has failed: nothing is read from it any more. If it is sound "
                            "after all: cairn disk add %u, then drain it",
                            disk->id, disk->id);
    if (!status)
        status = set_state(&v, disk, DISK_DRAINING, false);
    if (!status) {
        warn_stranded(&v, disk->id, DISK_DRAINING);
        say(cli, disk, "draining", ": its shards are copied elsewhere (cairn rebuild status)");
    }
    view_close(&v);
    return status;
}

static int run_add(struct cli *cli, int argc, char **argv)
{
    struct cluster_view v;
    const DiskInfo *disk;
    int status = open_disk(cli, NULL, argc, argv, &v, &disk);
    if (status)
        return status;
    status = set_state(&v, disk, DISK_IN, false);
    if (!status)
        say(cli, disk, "in",
            disk->up ? ": it takes its share of the slots"
                     : ", but down: it takes its share once its chunkserver runs");
    view_close(&v);
    return status;
}

static int run_remove(struct cli *cli, int argc, char **argv)
{
    struct cluster_view v;
    const DiskInfo *disk;
    int status = open_disk(cli, NULL, argc, argv, &v, &disk);
    if (status)
        return status;
    struct disk_slots slots = census_disk(v.map, disk->id);
    if (slots.newest && (disk->admin_state == DISK_IN || disk->admin_state == DISK_OUT))
        status = cli_failed("disk %u holds %llu slots: first cairn disk drain %u (or fail, when "
                            "it is lost), then wait for cairn rebuild status --watch",
                            disk->id, (unsigned long long)(slots.newest + slots.leaving), disk->id);
    else if (slots.newest || slots.leaving)
        status = cli_failed("disk %u still holds shards of %llu slots: %llu are being taken "
                            "elsewhere, %llu have not begun. Wait for cairn rebuild status --watch",
                            disk->id, (unsigned long long)(slots.newest + slots.leaving),
                            (unsigned long long)slots.leaving, (unsigned long long)slots.newest);
    if (!status)
        status = set_state(&v, disk, (enum disk_admin)disk->admin_state, true);
    if (!status)
        say(cli, disk, "removed", ": its chunkserver may be stopped and the disk taken away");
    view_close(&v);
    return status;
}

const struct cli_verb disk_verbs[] = {
    {"list", "", "Show the disks",
     "state: in, out, draining or failed; up: whether it answers. slots: how many it is the "
     "newest\n"
     "holder of; leaving: how many it is an older holder of, whose shards are taken elsewhere;\n"
     "pace: the median time of what it had to do in the last ten seconds.\n"
     "notes: nearfull, backfillfull or full, the mark that it has reached; indexing, with how "
     "much\n"
     "of its extents has been read, while its index is rebuilt; missing, read-only.\n",
     run_list, NULL},
    {"fail", "ID [--force]", "Give a lost disk up: its shards are rebuilt on the others",
     "Nothing is read from it any more. Refused when that would give up the last copies of\n"
     "something; --force if they are lost anyhow.\n",
     run_fail, NULL},
    {"drain", "ID", "Move everything off a disk that still works",
     "It is read from until all its shards are on other disks; then it can be removed.\n",
     run_drain, NULL},
    {"add", "ID", "Use a disk again that is out, draining or failed",
     "A new disk needs no word: it is in when its chunkserver has registered it.\n", run_add, NULL},
    {"remove", "ID", "Forget a disk that holds nothing any more", NULL, run_remove, NULL},
    {0},
};
