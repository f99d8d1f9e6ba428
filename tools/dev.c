/* `cairn dev`: a local cluster of real processes, for trying, testing and drills. */
#include <stdio.h>
#include <string.h>
#include "common/sys/sys.h"
#include "tools/dev_cluster.h"
#include "tools/verbs.h"

enum { STOP_SECONDS = 20, UP_SECONDS = 60 };

static int load(struct cli *cli, const char *dir, struct dev_cluster *c)
{
    if (!dir)
        return cli_usage(cli, "--dir is missing: which cluster?");
    enum err e = dev_cluster_load(dir, c);
    if (e == ERR_NOT_FOUND)
        return cli_failed("%s holds no cluster; make one with: cairn dev up --dir %s", dir, dir);
    return e ? cli_failed("%s: %s", dir, err_text(e)) : CLI_OK;
}

/* ---- up and down ---- */

static int check_plan(struct cli *cli, const struct dev_plan *plan)
{
    struct config c;
    char problem[CONFIG_PROBLEM];
    char *words[] = {(char *)"--pool", (char *)(uintptr_t)plan->pool};
    config_init(&c);
    enum err e = config_read_arguments(&c, 2, words, problem);
    uint64_t width = c.pool_k + c.pool_m;
    config_release(&c);
    if (e)
        return cli_usage(cli, "%s", problem);
    if (plan->metadata < 1 || plan->metadata > DEV_METADATA_MAX || plan->metadata % 2 == 0)
        return cli_usage(cli, "--metadata: an odd number up to %d", DEV_METADATA_MAX);
    if (plan->disks < width || plan->disks > DEV_DISKS_MAX)
        return cli_usage(cli, "--disks: %llu to %d; %s needs as many as it has shards",
                         (unsigned long long)width, DEV_DISKS_MAX, plan->pool);
    if (plan->s3_port > UINT16_MAX)
        return cli_usage(cli, "--s3-port: at most %d", UINT16_MAX);
    return CLI_OK;
}

/* Stops everything at once and waits for each; what does not stop in time is killed. */
static size_t stop_all(const struct dev_cluster *c)
{
    int64_t deadline = sys_now() + STOP_SECONDS * SYS_SECOND;
    size_t ended = 0;
    for (size_t i = c->count; i-- > 0;) /* the gateway first */
        ended += dev_process_end(c, &c->processes[i], SYS_PROCESS_STOP, sys_now()) != ERR_NOT_FOUND;
    for (size_t i = c->count; i-- > 0;) {
        const struct dev_process *p = &c->processes[i];
        if (dev_process_end(c, p, SYS_PROCESS_STOP, deadline) == ERR_TIMEOUT) {
            fprintf(stderr, "cairn: %s did not stop within %d s: killed\n", p->name, STOP_SECONDS);
            (void)!dev_process_end(c, p, SYS_PROCESS_KILL, sys_now() + STOP_SECONDS * SYS_SECOND);
        }
    }
    return ended;
}

/* The first member makes the cluster, until that has once been brought to its end; the others join,
 * which says nothing new to one that has. An emptied member never makes a second cluster beside the
 * one that its fellows hold: it joins anew. */
static const char *flag_for(const struct dev_cluster *c, const struct dev_process *p)
{
    if (!dev_process_is(p, "metadata"))
        return NULL;
    if (p != &c->processes[0])
        return "--join";
    if (dev_process_is_new(c, p))
        for (size_t i = 1; i < c->count; i++)
            if (dev_process_is(&c->processes[i], "metadata") &&
                !dev_process_is_new(c, &c->processes[i]))
                return "--join";
    return dev_cluster_is_complete(c) ? NULL : "--bootstrap";
}

static enum err start(const struct dev_cluster *c, const struct dev_process *p)
{
    return dev_process_start(c, p, flag_for(c, p));
}

struct waiting {
    const struct dev_cluster *cluster;
    struct cli_progress progress;
    const char *ended; /* the process that did not stay */
};

static bool wait_tick(void *arg, const char *what)
{
    struct waiting *w = arg;
    struct sys_process process;
    cli_progress_update(&w->progress, 0, 0, what);
    for (size_t i = 0; i < w->cluster->count; i++)
        if (dev_process_state(w->cluster, &w->cluster->processes[i], &process)) {
            w->ended = w->cluster->processes[i].name;
            return false;
        }
    return true;
}

static int wait_healthy(struct cli *cli, const struct dev_cluster *c)
{
    struct waiting w = {.cluster = c};
    char problem[256] = "";
    cli_progress_init(&w.progress, cli, "waiting:");
    enum err e = dev_wait_healthy(c, sys_now() + UP_SECONDS * SYS_SECOND, wait_tick, &w, problem,
                                  sizeof problem);
    cli_progress_release(&w.progress);
    if (w.ended)
        return cli_failed("%s ended at its start: see %s/log/%s.log", w.ended, c->dir, w.ended);
    if (e)
        return cli_failed("not healthy after %d s (%s): see %s/log", UP_SECONDS, problem, c->dir);
    return CLI_OK;
}

static int run_up(struct cli *cli, int argc, char **argv)
{
    const char *dir = NULL;
    struct dev_plan plan = {.metadata = 3, .disks = 8, .pool = "4+2", .s3_port = 9000};
    const struct cli_option options[] = {{"dir", CLI_TEXT, &dir},
                                         {"metadata", CLI_COUNT, &plan.metadata},
                                         {"disks", CLI_COUNT, &plan.disks},
                                         {"pool", CLI_TEXT, &plan.pool},
                                         {"s3-port", CLI_COUNT, &plan.s3_port},
                                         {0}};
    struct dev_cluster c;
    char problem[CONFIG_PROBLEM];
    int status = cli_options_only(cli, options, argc, argv);
    if (!status && !dir)
        status = cli_usage(cli, "--dir is missing: where?");
    if (!status)
        status = check_plan(cli, &plan);
    if (status)
        return status;
    if (!dev_cluster_exists(dir) && dev_cluster_create(dir, &plan, problem, sizeof problem))
        return cli_failed("%s", problem);
    status = load(cli, dir, &c);
    for (size_t i = 0; !status && i < c.count; i++) {
        enum err e = start(&c, &c.processes[i]);
        if (e && e != ERR_EXISTS)
            status = cli_failed("%s: cannot be started: %s", c.processes[i].name, err_text(e));
    }
    if (!status)
        status = wait_healthy(cli, &c);
    if (!status && dev_cluster_set_complete(&c))
        status = cli_failed("%s/run cannot be written", c.dir);
    if (status) {
        stop_all(&c);
        return status;
    }
    if (cli->json)
        cli_print_json(
            json_pack("{s:s, s:i, s:b}", "dir", c.dir, "processes", (int)c.count, "healthy", 1));
    else
        printf("%zu processes run and the cluster is healthy.\n"
               "  set -a; . %s/credentials.env; set +a\n  export CAIRN_CONFIG=%s/cairn.conf\n",
               c.count, c.dir, c.dir);
    return CLI_OK;
}

static int run_down(struct cli *cli, int argc, char **argv)
{
    const char *dir = NULL;
    const struct cli_option options[] = {{"dir", CLI_TEXT, &dir}, {0}};
    struct dev_cluster c;
    int status = cli_options_only(cli, options, argc, argv);
    if (!status)
        status = load(cli, dir, &c);
    if (status)
        return status;
    size_t ended = stop_all(&c);
    if (cli->json)
        cli_print_json(json_pack("{s:i}", "stopped", (int)ended));
    else
        printf("%zu processes stopped.\n", ended);
    return CLI_OK;
}

/* ---- one process ---- */

static int one(struct cli *cli, int argc, char **argv, struct dev_cluster *c,
               const struct dev_process **out)
{
    const char *dir = NULL;
    const struct cli_option options[] = {{"dir", CLI_TEXT, &dir}, {0}};
    int status = cli_options(cli, options, &argc, argv);
    if (!status && argc != 1)
        status = cli_usage(cli, argc ? "one process at a time" : "which process?");
    if (!status)
        status = load(cli, dir, c);
    if (status)
        return status;
    *out = dev_cluster_find(c, argv[0]);
    if (!*out)
        return cli_usage(cli, "there is no process \"%.40s\"; see cairn dev list --dir %s", argv[0],
                         dir);
    return CLI_OK;
}

static int say(const struct cli *cli, const struct dev_process *p, const char *state)
{
    if (cli->json)
        cli_print_json(json_pack("{s:s, s:s}", "name", p->name, "state", state));
    return CLI_OK;
}

static int run_start(struct cli *cli, int argc, char **argv)
{
    struct dev_cluster c;
    const struct dev_process *p;
    int status = one(cli, argc, argv, &c, &p);
    if (status)
        return status;
    enum err e = start(&c, p);
    if (e == ERR_EXISTS)
        return cli_failed("%s runs already", p->name);
    return e ? cli_failed("%s: cannot be started: %s", p->name, err_text(e))
             : say(cli, p, "running");
}

static int end_one(struct cli *cli, int argc, char **argv, enum sys_process_signal how)
{
    struct dev_cluster c;
    const struct dev_process *p;
    int status = one(cli, argc, argv, &c, &p);
    if (status)
        return status;
    enum err e = dev_process_end(&c, p, how, sys_now() + STOP_SECONDS * SYS_SECOND);
    if (e == ERR_NOT_FOUND)
        return cli_failed("%s does not run", p->name);
    return e ? cli_failed("%s: %s", p->name, err_text(e)) : say(cli, p, "stopped");
}

static int run_stop(struct cli *cli, int argc, char **argv)
{
    return end_one(cli, argc, argv, SYS_PROCESS_STOP);
}

static int run_kill(struct cli *cli, int argc, char **argv)
{
    return end_one(cli, argc, argv, SYS_PROCESS_KILL);
}

static int run_list(struct cli *cli, int argc, char **argv)
{
    static const char *const columns[] = {"name", "state", "pid", "log", NULL};
    const char *dir = NULL;
    const struct cli_option options[] = {{"dir", CLI_TEXT, &dir}, {0}};
    struct dev_cluster c;
    int status = cli_options_only(cli, options, argc, argv);
    if (!status)
        status = load(cli, dir, &c);
    if (status)
        return status;
    struct cli_table *table = cli_table_new(columns);
    for (size_t i = 0; i < c.count; i++) {
        const struct dev_process *p = &c.processes[i];
        struct sys_process process;
        char pid[32] = "", log[DEV_PATH];
        bool runs = dev_process_state(&c, p, &process) == OK;
        if (runs)
            snprintf(pid, sizeof pid, "%lld", (long long)process.pid);
        dev_path(&c, "log", p, ".log", log);
        cli_table_row(table,
                      (const char *const[]){p->name, runs ? "running" : "stopped", pid, log});
    }
    cli_table_print(cli, table);
    cli_table_free(table);
    return CLI_OK;
}

const struct cli_verb dev_verbs[] = {
    {"up", "--dir DIR [--metadata 3] [--disks 8] [--pool 4+2] [--s3-port 9000]",
     "Start a cluster on 127.0.0.1; returns when it is healthy",
     "Makes the cluster in DIR, or starts again one that is there. Port 0 picks a free one.\n"
     "DIR/credentials.env holds what S3 clients need, DIR/cairn.conf what every cairn verb\n"
     "needs (--config or CAIRN_CONFIG). Processes are metadata-1.., chunk-1.., gateway-1, each\n"
     "with DIR/run/NAME.pid, DIR/log/NAME.log and DIR/data/NAME/.\n",
     run_up, NULL},
    {"down", "--dir DIR", "Stop all its processes", NULL, run_down, NULL},
    {"start", "NAME --dir DIR", "Start one process", NULL, run_start, NULL},
    {"stop", "NAME --dir DIR", "Stop one process and wait for its end", NULL, run_stop, NULL},
    {"kill", "NAME --dir DIR", "End one process with SIGKILL", NULL, run_kill, NULL},
    {"list", "--dir DIR", "Show its processes", NULL, run_list, NULL},
    {0},
};
