/* `cairn drill ..`: a fault that the cluster must bear is made in it, and watched until it is over. What is made
 * is a lease: it ends by itself when this process does. */
#include <stdio.h>
#include <string.h>
#include "common/proto/message_types.h"
#include "common/sys/sys.h"
#include "chunkserver/shard_store.h"
#include "tools/census.h"
#include "tools/verb_view.h"
#include "tools/verbs.h"

#define LEASE          (10 * SYS_SECOND)
#define RENEW_EVERY    (2 * SYS_SECOND)
#define LOOK_EVERY     (500 * SYS_MS)
#define CALL_TIME      (5 * SYS_SECOND)
#define DETECT_WITHIN  (60 * SYS_SECOND)
#define RECOVER_WITHIN (120 * SYS_SECOND)
#define WHOLE_WITHIN   (600 * SYS_SECOND)
#define WHOLE_FOR      (2 * SYS_SECOND) /* before moves are planned it looks so, too */
#define DELAY_DEFAULT  (200 * SYS_MS)
#define HOLD_DEFAULT   (10 * SYS_SECOND)

/* What is done to a disk, and how that is to show. */
struct drill_spec {
    const char *name;
    enum drill_kind kind;
    enum health_code code; /* that names the disk when it is found out */
    bool fails;            /* it is given up, and has to be added again */
    bool deep;             /* it shows when the disk is read: a deep pass is begun */
    int64_t hold;
    const char *found, *well;
};

static const struct drill_spec specs[] = {
    {"slow-disk", DRILL_DELAY, HEALTH_CODE_DISK_SUSPECT, .hold = HOLD_DEFAULT, .found = "suspect",
     .well = "well again"},
    {"disk-failure", DRILL_SYNC, HEALTH_CODE_DISK_FAILED, .fails = true, .hold = HOLD_DEFAULT,
     .found = "failed", .well = "in use again"},
    {"read-only-disk", DRILL_READ_ONLY, HEALTH_CODE_DISK_READ_ONLY, .fails = true,
     .hold = HOLD_DEFAULT, .found = "failed, as read-only,", .well = "in use again"},
    {"missing-disk", DRILL_GONE, HEALTH_CODE_DISK_MISSING, .hold = HOLD_DEFAULT, .found = "missed",
     .well = "in use again"},
    {"full-disk", DRILL_FULL, HEALTH_CODE_DISK_FULL, .hold = HOLD_DEFAULT, .found = "full",
     .well = "not full any more"},
    {"read-errors", DRILL_READS, HEALTH_CODE_DISK_READ_ERRORS, .deep = true,
     .found = "named for read errors", .well = "repaired"},
    {"bitrot", DRILL_ROT, HEALTH_CODE_CORRUPT_SHARDS, .deep = true, .found = "named for bad shards",
     .well = "repaired"},
};

struct drill {
    const struct drill_spec *spec;
    const struct cli *cli;
    struct cluster_view *view;
    struct cli_progress bar;
    uint32_t disk;
    char address[64];
    int64_t delay; /* DRILL_DELAY; INT64_MAX: it hangs */
    int64_t hold;
    int64_t began, renewed;
    DiskReport before;
    /* Since it began; -1: not. */
    int64_t found_at, well_at, whole_at;
    int64_t whole_since; /* without a break; -1: it is not */
};

/* What is seen of the disk and of the slots. */
struct look {
    bool known, found, well, whole, ready;
    char words[64];
};

/* Whether the disk is called what it has been made. */
static bool is_found(const struct drill *d, const DiskInfo *disk, const DiskReport *r)
{
    bool failed = disk->admin_state == DISK_FAILED;
    switch (d->spec->kind) {
    case DRILL_DELAY:
        return disk->suspect;
    case DRILL_SYNC:
        return failed && r && r->fault == DISK_FAULT_SYNC;
    case DRILL_READ_ONLY:
        return failed && r && r->fault == DISK_FAULT_READ_ONLY;
    case DRILL_GONE:
        return facts_absent(&d->view->facts, d->disk) || !disk->up;
    case DRILL_FULL:
        return r && r->mark == DISK_MARK_FULL;
    case DRILL_READS:
        return r && r->io_errors > d->before.io_errors;
    case DRILL_ROT:
        return r && r->corrupt > d->before.corrupt;
    case DRILL_KINDS:
        break;
    }
    return false;
}

static void see(struct drill *d, struct look *out)
{
    struct cluster_view *v = d->view;
    struct census census;
    *out = (struct look){0};
    view_forget(v);
    if (view_ask_map(v) != OK || view_ask_reports(v) != OK || view_ask_status(v) != OK)
        return; /* a change of leader takes some seconds: asked again */
    const DiskInfo *disk = view_disk(v, d->disk);
    const DiskReport *r = facts_report(&v->facts, d->disk);
    if (!disk)
        return;
    census_take(v->map, &census);
    bool repaired = v->facts.status->repair_rows == 0;
    out->known = true;
    out->found = is_found(d, disk, r);
    out->ready = r && r->incarnation > d->before.incarnation && !r->failed;
    out->well = d->spec->deep ? repaired : !out->found && disk->up && disk->admin_state == DISK_IN;
    out->whole = out->well && repaired &&
                 census.slots_moving + census.slots_missing + census.slots_waiting == 0;
    snprintf(out->words, sizeof out->words, "%s, %s%s, pace %.0f ms", disk->up ? "up" : "down",
             view_admin_name(disk->admin_state), disk->suspect ? ", suspect" : "",
             r ? (double)r->pace_ns / 1e6 : 0);
}

static enum err make(struct drill *d, enum drill_kind kind, int64_t delay)
{
    DiskDrill body = DISK_DRILL__INIT;
    ProtobufCMessage *reply = NULL;
    body.disk = d->disk;
    body.kind = (uint32_t)kind;
    body.delay_ns = kind == DRILL_DELAY ? delay : 0;
    body.lease_ns = LEASE;
    d->renewed = sys_now();
    return view_call(d->view, d->address, MSG_DISK_DRILL, &body.base, NULL, CALL_TIME, &reply);
}

static enum err begin_deep(struct drill *d)
{
    ScrubStart body = SCRUB_START__INIT;
    ProtobufCMessage *reply = NULL;
    body.disk = d->disk;
    body.deep = true;
    return view_call(d->view, d->address, MSG_SCRUB_START, &body.base, NULL, CALL_TIME, &reply);
}

static void tell(struct drill *d, const char *phase, const struct look *l, int64_t *next_line)
{
    char words[120];
    int64_t now = sys_now();
    snprintf(words, sizeof words, "%s, %lld s: %s", phase,
             (long long)((now - d->began) / SYS_SECOND), l->words);
    cli_progress_update(&d->bar, 0, 0, words);
    if (!d->bar.columns && !d->cli->json && now >= *next_line) {
        printf("%s\n", words);
        fflush(stdout);
        *next_line = now + 5 * SYS_SECOND;
    }
}

enum until { UNTIL_FOUND, UNTIL_HELD, UNTIL_READY, UNTIL_WELL, UNTIL_WHOLE };

/* False: the time is over, or somebody interrupts. */
static bool run_phase(struct drill *d, const char *phase, enum until what, int64_t within)
{
    int64_t deadline = sys_now() + within, next_line = 0;
    d->whole_since = -1;
    while (sys_now() < deadline) {
        struct look l;
        see(d, &l);
        if (!l.whole)
            d->whole_since = -1;
        else if (d->whole_since < 0)
            d->whole_since = sys_now();
        if (l.known) {
            tell(d, phase, &l, &next_line);
            if ((what == UNTIL_FOUND && l.found) || (what == UNTIL_READY && l.ready) ||
                (what == UNTIL_WELL && l.well) ||
                (what == UNTIL_WHOLE && l.whole && sys_now() - d->whole_since >= WHOLE_FOR))
                return true;
        }
        bool made = what == UNTIL_FOUND || what == UNTIL_HELD;
        if (made && sys_now() - d->renewed >= RENEW_EVERY && make(d, d->spec->kind, d->delay) != OK)
            d->renewed = 0; /* again with the next look */
        struct sys_poll stop = {.event = sys_stop_event()};
        if (sys_poll(&stop, 1, sys_now() + LOOK_EVERY) == OK)
            return false;
    }
    return what == UNTIL_HELD;
}

static int64_t since(const struct drill *d)
{
    return sys_now() - d->began;
}

/* A disk that was given up is used again when it says that it is sound, and somebody adds it: here also
 * when the drill was interrupted, unless it is once more. */
static bool take_back(struct drill *d)
{
    if (sys_event_is_set(sys_stop_event())) {
        sys_event_clear(sys_stop_event());
        fprintf(stderr, "cairn: takes disk %u back before it ends\n", d->disk);
    }
    bool ready = run_phase(d, "waits for the disk", UNTIL_READY,
                           d->found_at < 0 ? 2 * LEASE : RECOVER_WITHIN);
    SetDiskState body = SET_DISK_STATE__INIT;
    Command command = COMMAND__INIT;
    Result *result;
    body.disk = d->disk;
    body.admin_state = DISK_IN;
    command.body_case = COMMAND__BODY_SET_DISK_STATE;
    command.set_disk_state = &body;
    if (ready && view_execute(d->view, &command, &result) == OK)
        return true;
    const DiskInfo *disk = view_disk(d->view, d->disk);
    if (!disk || disk->admin_state != DISK_IN)
        fprintf(
            stderr,
            "cairn: disk %u was given up for this drill alone: when cairn disk list shows it up, "
            "cairn disk add %u\n",
            d->disk, d->disk);
    return false;
}

static void run_drill(struct drill *d)
{
    d->found_at = d->well_at = d->whole_at = -1;
    d->began = sys_now();
    bool made = make(d, d->spec->kind, d->delay) == OK;
    bool goes_on = made && (!d->spec->deep || begin_deep(d) == OK);
    goes_on = goes_on && run_phase(d, "made so", UNTIL_FOUND, DETECT_WITHIN);
    if (goes_on) {
        d->found_at = since(d);
        goes_on = run_phase(d, "kept so", UNTIL_HELD, d->hold);
    }
    if (make(d, DRILL_DELAY, 0) != OK)
        fprintf(stderr, "cairn: the drill goes on until its lease ends, in %d s\n",
                (int)(LEASE / SYS_SECOND));
    int64_t ended = sys_now();
    if (made && d->spec->fails && !take_back(d))
        goes_on = false;
    if (!goes_on)
        return;
    if (run_phase(d, "left alone", UNTIL_WELL, RECOVER_WITHIN))
        d->well_at = sys_now() - ended;
    if (d->well_at >= 0 && run_phase(d, "slots go back", UNTIL_WHOLE, WHOLE_WITHIN))
        d->whole_at = d->whole_since - ended;
}

static double seconds(int64_t ns)
{
    return (double)ns / (double)SYS_SECOND;
}

static json_t *seconds_or_null(int64_t ns)
{
    return ns < 0 ? json_null() : json_real(seconds(ns));
}

static int report(const struct drill *d)
{
    const struct drill_spec *s = d->spec;
    bool held = d->found_at >= 0 && d->well_at >= 0 && d->whole_at >= 0;
    if (d->cli->json) {
        cli_print_json(json_pack(
            "{s:s, s:I, s:s, s:o, s:o, s:o, s:b}", "drill", s->name, "disk", (json_int_t)d->disk,
            "code", health_name(s->code), "found_s", seconds_or_null(d->found_at), "well_s",
            seconds_or_null(d->well_at), "whole_s", seconds_or_null(d->whole_at), "held", held));
        return held ? CLI_OK : CLI_FAILED;
    }
    if (d->found_at < 0)
        return cli_failed("disk %u was not %s within %d s: see cairn disk list%s", d->disk,
                          s->found, (int)(DETECT_WITHIN / SYS_SECOND),
                          s->deep ? "; does it hold enough to be harmed?" : "");
    printf("%s after %.1f s\n", s->found, seconds(d->found_at));
    if (d->well_at < 0)
        return cli_failed("disk %u is not %s: see cairn status", d->disk, s->well);
    printf("%s %.1f s after the drill's end\n", s->well, seconds(d->well_at));
    if (d->whole_at < 0)
        return cli_failed("its slots are not back yet: see cairn rebuild status");
    printf("all redundancy back after %.1f s\n", seconds(d->whole_at));
    return CLI_OK;
}

/* A drill must not be what takes the last shards away. */
static int check_calm(struct drill *d)
{
    const DiskInfo *disk = view_disk(d->view, d->disk);
    struct census census;
    if (!disk)
        return cli_failed("there is no disk %u: see cairn disk list", d->disk);
    if (!disk->up || disk->admin_state != DISK_IN)
        return cli_failed("disk %u is %s and %s: a drill takes one that is up and in", d->disk,
                          disk->up ? "up" : "down", view_admin_name(disk->admin_state));
    for (size_t i = 0; i < d->view->facts.info->n_disks; i++)
        if (!d->view->facts.info->disks[i]->removed && d->view->facts.info->disks[i]->suspect)
            return cli_failed("disk %u is suspect already: see cairn status",
                              d->view->facts.info->disks[i]->id);
    census_take(d->view->map, &census);
    if (census.slots_moving + census.slots_missing + census.slots_waiting > 0)
        return cli_failed(
            "the cluster is not whole: cairn rebuild status --watch waits until it is");
    if (d->spec->fails && census_lost_without(d->view->map, d->disk))
        return cli_failed(
            "without disk %u some shards would be the last: a pool without parity has no "
            "such drill",
            d->disk);
    const DiskReport *r = facts_report(&d->view->facts, d->disk);
    if (!r)
        return cli_failed("disk %u has not reported yet: try again in some seconds", d->disk);
    d->before = *r;
    snprintf(d->address, sizeof d->address, "%s", disk->address);
    return CLI_OK;
}

static int run_on(struct cli *cli, struct drill *d, const struct cli_option *options, int argc,
                  char **argv, const bool *hang)
{
    struct cluster_view v;
    int status = cli_options(cli, options, &argc, argv);
    if (!status)
        status = view_disk_word(cli, argc, argv, &d->disk);
    if (!status && d->delay < 0)
        status = cli_usage(cli, "--delay: more than nothing");
    if (status)
        return status;
    if (hang && *hang)
        d->delay = INT64_MAX;
    d->cli = cli;
    d->view = &v;
    status = view_open(cli, &v);
    if (!status)
        status = view_need_map(&v);
    if (!status && view_ask_reports(&v) != OK)
        status =
            cli_failed("the metadata leader does not tell what it has heard: see cairn status");
    if (!status)
        status = check_calm(d);
    if (!status) {
        cli_progress_init(&d->bar, cli, "drill");
        run_drill(d);
        cli_progress_release(&d->bar);
        status = report(d);
    }
    view_close(&v);
    return status;
}

static int run_slow_disk(struct cli *cli, int argc, char **argv)
{
    bool hang = false;
    struct drill d = {.spec = &specs[0], .delay = DELAY_DEFAULT, .hold = specs[0].hold};
    const struct cli_option options[] = {{"delay", CLI_DURATION, &d.delay},
                                         {"hold", CLI_DURATION, &d.hold},
                                         {"hang", CLI_FLAG, &hang},
                                         {0}};
    return run_on(cli, &d, options, argc, argv, &hang);
}

static int run_named(struct cli *cli, const char *name, int argc, char **argv)
{
    size_t i = 0;
    while (strcmp(specs[i].name, name) != 0)
        i++;
    struct drill d = {.spec = &specs[i], .hold = specs[i].hold};
    const struct cli_option options[] = {{"hold", CLI_DURATION, &d.hold}, {0}};
    return run_on(cli, &d, options, argc, argv, NULL);
}

#define DRILL_VERB(function, name)                              \
    static int function(struct cli *cli, int argc, char **argv) \
    {                                                           \
        return run_named(cli, name, argc, argv);                \
    }
DRILL_VERB(run_disk_failure, "disk-failure")
DRILL_VERB(run_read_only_disk, "read-only-disk")
DRILL_VERB(run_missing_disk, "missing-disk")
DRILL_VERB(run_full_disk, "full-disk")
DRILL_VERB(run_read_errors, "read-errors")
DRILL_VERB(run_bitrot, "bitrot")

#define HELP_END                                                                                 \
    "Exit status 0 when all of that came to pass. Needs a cluster that is whole. What is made\n" \
    "so ends within 10 s of this process; interrupted, it takes back a disk that was given up.\n"

const struct cli_verb drill_verbs[] = {
    {"slow-disk", "[--delay 200ms | --hang] [--hold 10s] DISK",
     "Make a disk slow, and see that it is found out and left alone",
     "All that the disk has to do takes so much longer, or never ends, until it is called suspect\n"
     "and for --hold more; then until it is well and its slots are back.\n" HELP_END,
     run_slow_disk, NULL},
    {"disk-failure", "[--hold 10s] DISK",
     "Let a disk fail, and see that it is given up and rebuilt",
     "Its next sync fails. It is to be given up (DISK_FAILED), and its shards to be rebuilt on "
     "the\n"
     "others, for --hold; then it is taken back, until everything is whole.\n" HELP_END,
     run_disk_failure, NULL},
    {"read-only-disk", "[--hold 10s] DISK", "The same with a file system that becomes read-only",
     "As disk-failure, with DISK_READ_ONLY.\n" HELP_END, run_read_only_disk, NULL},
    {"missing-disk", "[--hold 10s] DISK", "Let a disk's directory be gone, and come back",
     "It is to be missed (DISK_MISSING) and, when it is back, opened again.\n" HELP_END,
     run_missing_disk, NULL},
    {"full-disk", "[--hold 10s] DISK", "Let a disk be full: it is read and deleted from alone",
     "It is to be called DISK_FULL; what is written meanwhile goes elsewhere or is "
     "repaired.\n" HELP_END,
     run_full_disk, NULL},
    {"read-errors", "[--hold 0s] DISK", "Let places of a disk be unreadable, and be repaired",
     "One place in 256 KiB gives an error. A deep pass begins, which is to find one\n"
     "(DISK_READ_ERRORS); then what was found is to be repaired.\n" HELP_END,
     run_read_errors, NULL},
    {"bitrot", "[--hold 0s] DISK", "Let bytes of a disk rot, and be repaired",
     "One bit in 256 KiB reads wrong. A deep pass begins, which is to find one\n"
     "(CORRUPT_SHARDS); then what was found is to be repaired.\n" HELP_END,
     run_bitrot, NULL},
    {0},
};
