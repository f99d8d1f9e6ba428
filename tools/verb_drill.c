/* `cairn drill ..`: a fault that the cluster must bear is made in it, and watched until it is over. What is made
 * is a lease: it ends by itself when this process does. */
#include <stdio.h>
#include <string.h>
#include "common/proto/message_types.h"
#include "common/sys/sys.h"
#include "tools/census.h"
#include "tools/verb_view.h"
#include "tools/verbs.h"

#define LEASE          (10 * SYS_SECOND)
#define RENEW_EVERY    (2 * SYS_SECOND)
#define LOOK_EVERY     (500 * SYS_MS)
#define CALL_TIME      (5 * SYS_SECOND)
#define DETECT_WITHIN  (60 * SYS_SECOND)
#define RECOVER_WITHIN (120 * SYS_SECOND)
#define DELAY_DEFAULT  (200 * SYS_MS)
#define HOLD_DEFAULT   (10 * SYS_SECOND)

struct slow_drill {
    const struct cli *cli;
    struct cluster_view *view;
    struct cli_progress bar;
    uint32_t disk;
    int64_t delay; /* INT64_MAX: it hangs */
    int64_t hold;
    int64_t began, renewed;
    /* Since it began; -1: not. */
    int64_t suspect_at, well_at, whole_at;
};

/* What is seen of the disk and of the slots. */
struct look {
    bool known, suspect, whole;
    int64_t pace_ns;
};

static void see(struct slow_drill *d, struct look *out)
{
    struct cluster_view *v = d->view;
    struct census census;
    *out = (struct look){0};
    view_forget(v);
    if (view_ask_map(v) != OK || view_ask_reports(v) != OK)
        return; /* a change of leader takes some seconds: asked again */
    const DiskInfo *disk = view_disk(v, d->disk);
    const DiskReport *r = facts_report(&v->facts, d->disk);
    census_take(v->map, &census);
    out->known = disk != NULL;
    out->suspect = disk && disk->suspect;
    out->pace_ns = r ? r->pace_ns : 0;
    out->whole = census.slots_moving + census.slots_missing + census.slots_waiting == 0;
}

static enum err set_delay(struct slow_drill *d, int64_t delay)
{
    const DiskInfo *disk = view_disk(d->view, d->disk);
    DiskDelay body = DISK_DELAY__INIT;
    ProtobufCMessage *reply = NULL;
    body.disk = d->disk;
    body.delay_ns = delay;
    body.lease_ns = LEASE;
    d->renewed = sys_now();
    return disk ? view_call(d->view, disk->address, MSG_DISK_DELAY, &body.base, NULL, CALL_TIME,
                            &reply)
                : ERR_NOT_FOUND;
}

static void tell(struct slow_drill *d, const char *phase, const struct look *l, int64_t *next_line)
{
    char words[120];
    int64_t now = sys_now();
    snprintf(words, sizeof words, "%s, %lld s: pace %.0f ms, %s", phase,
             (long long)((now - d->began) / SYS_SECOND), (double)l->pace_ns / 1e6,
             l->suspect ? "suspect" : "not suspect");
    cli_progress_update(&d->bar, 0, 0, words);
    if (!d->bar.columns && !d->cli->json && now >= *next_line) {
        printf("%s\n", words);
        fflush(stdout);
        *next_line = now + 5 * SYS_SECOND;
    }
}

enum until { UNTIL_SUSPECT, UNTIL_HELD, UNTIL_WELL, UNTIL_WHOLE };

/* False: the time is over, or somebody interrupts. */
static bool run_phase(struct slow_drill *d, const char *phase, enum until what, int64_t within)
{
    int64_t deadline = sys_now() + within, next_line = 0;
    while (sys_now() < deadline) {
        struct look l;
        see(d, &l);
        if (l.known) {
            tell(d, phase, &l, &next_line);
            if ((what == UNTIL_SUSPECT && l.suspect) || (what == UNTIL_WELL && !l.suspect) ||
                (what == UNTIL_WHOLE && l.whole && !l.suspect))
                return true;
            bool slow = what == UNTIL_SUSPECT || what == UNTIL_HELD;
            if (slow && sys_now() - d->renewed >= RENEW_EVERY && set_delay(d, d->delay) != OK)
                d->renewed = 0; /* again with the next look */
        }
        struct sys_poll stop = {.event = sys_stop_event()};
        if (sys_poll(&stop, 1, sys_now() + LOOK_EVERY) == OK)
            return false;
    }
    return what == UNTIL_HELD;
}

static int64_t since(const struct slow_drill *d)
{
    return sys_now() - d->began;
}

static void run_slow(struct slow_drill *d)
{
    d->suspect_at = d->well_at = d->whole_at = -1;
    d->began = sys_now();
    bool goes_on =
        set_delay(d, d->delay) == OK && run_phase(d, "made slow", UNTIL_SUSPECT, DETECT_WITHIN);
    if (goes_on) {
        d->suspect_at = since(d);
        goes_on = run_phase(d, "kept slow", UNTIL_HELD, d->hold);
    }
    struct look l;
    see(d, &l);
    if (set_delay(d, 0) != OK)
        fprintf(stderr, "cairn: the disk is slow until its lease ends, in %d s\n",
                (int)(LEASE / SYS_SECOND));
    int64_t ended = sys_now();
    if (d->suspect_at < 0 || !goes_on)
        return;
    if (run_phase(d, "left alone", UNTIL_WELL, RECOVER_WITHIN))
        d->well_at = sys_now() - ended;
    if (d->well_at >= 0 && run_phase(d, "slots go back", UNTIL_WHOLE, RECOVER_WITHIN))
        d->whole_at = sys_now() - ended;
}

static double seconds(int64_t ns)
{
    return (double)ns / (double)SYS_SECOND;
}

static json_t *seconds_or_null(int64_t ns)
{
    return ns < 0 ? json_null() : json_real(seconds(ns));
}

static int report(const struct slow_drill *d)
{
    bool held = d->suspect_at >= 0 && d->well_at >= 0 && d->whole_at >= 0;
    if (d->cli->json) {
        cli_print_json(json_pack("{s:I, s:o, s:o, s:o, s:b}", "disk", (json_int_t)d->disk,
                                 "suspect_after_s", seconds_or_null(d->suspect_at), "well_after_s",
                                 seconds_or_null(d->well_at), "whole_after_s",
                                 seconds_or_null(d->whole_at), "held", held));
        return held ? CLI_OK : CLI_FAILED;
    }
    if (d->suspect_at < 0)
        return cli_failed(
            "disk %u was not called suspect: was the delay long enough? See cairn disk list",
            d->disk);
    printf("suspect after %.1f s\n", seconds(d->suspect_at));
    if (d->well_at < 0)
        return cli_failed("disk %u is still suspect: see cairn status", d->disk);
    printf("well again %.1f s after the delay ended\n", seconds(d->well_at));
    if (d->whole_at < 0)
        return cli_failed("its slots are not back yet: see cairn rebuild status");
    printf("its slots back after %.1f s\n", seconds(d->whole_at));
    return CLI_OK;
}

/* A drill must not be what takes the last shards away. */
static int check_calm(struct slow_drill *d)
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
    return CLI_OK;
}

static int run_slow_disk(struct cli *cli, int argc, char **argv)
{
    bool hang = false;
    struct slow_drill d = {.cli = cli, .delay = DELAY_DEFAULT, .hold = HOLD_DEFAULT};
    const struct cli_option options[] = {{"delay", CLI_DURATION, &d.delay},
                                         {"hold", CLI_DURATION, &d.hold},
                                         {"hang", CLI_FLAG, &hang},
                                         {0}};
    struct cluster_view v;
    int status = cli_options(cli, options, &argc, argv);
    if (!status)
        status = view_disk_word(cli, argc, argv, &d.disk);
    if (!status && d.delay <= 0)
        status = cli_usage(cli, "--delay: more than nothing");
    if (status)
        return status;
    d.delay = hang ? INT64_MAX : d.delay;
    d.view = &v;
    status = view_open(cli, &v);
    if (!status)
        status = view_need_map(&v);
    if (!status)
        status = check_calm(&d);
    if (!status) {
        cli_progress_init(&d.bar, cli, "drill");
        run_slow(&d);
        cli_progress_release(&d.bar);
        status = report(&d);
    }
    view_close(&v);
    return status;
}

const struct cli_verb drill_verbs[] = {
    {"slow-disk", "[--delay 200ms | --hang] [--hold 10s] DISK",
     "Make a disk slow, and see that it is found out and left alone",
     "All that the disk has to do takes so much longer, or never ends, until it is called suspect "
     "and\n"
     "for --hold more; then until it is well and its slots are back. Exit status 0 when all of "
     "that\n"
     "came to pass. Needs a cluster that is whole. The delay ends within 10 s of this process.\n",
     run_slow_disk, NULL},
    {0},
};
