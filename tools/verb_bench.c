/* `cairn bench put|get`: how fast a cluster is through S3, and what that costs in CPU time. */
#include <stdio.h>
#include <string.h>
#include "common/base/text.h"
#include "tools/bench_cpu.h"
#include "tools/bench_run.h"
#include "tools/credentials.h"
#include "tools/verbs.h"

enum { WORKING_SET = 256 << 20, OBJECTS_MIN = 4, OBJECTS_MAX = 1000, SECONDS_MAX = 24 * 3600 };
#define RESOLVE (5 * SYS_SECOND)

struct words {
    const char *bucket, *endpoint, *dev, *verify;
    uint64_t size, clients, seconds, objects;
    bool sign, keep;
};

struct run {
    struct words words;
    struct bench_plan plan;
    struct s3_target target;
    struct dev_cluster dev_cluster;
    struct cluster_view view;
    struct cpu_watch cpu;
    struct bench_counts counts;
    struct cli_progress progress;
    int64_t elapsed, client_cpu;
    bool with_dev, with_view;
};

/* ---- the words ---- */

static const char *setting(const char *file, const char *name, char *out, size_t room)
{
    const char *value = file[0] ? NULL : sys_environment(name);
    if (file[0] && credentials_value(file, name, out, room))
        return out;
    return value && *value && strlen(value) < room ? value : NULL;
}

static int find_target(struct run *r)
{
    char file[CREDENTIALS_MAX + 1] = "", path[DEV_PATH + 32], value[3][S3_HOST_MAX + 1];
    struct s3_target *t = &r->target;
    if (r->words.dev) {
        snprintf(path, sizeof path, "%s/credentials.env", r->words.dev);
        enum err e = credentials_read(path, file);
        if (e)
            return cli_failed("%s: %s", path, err_text(e));
    }
    const char *url = r->words.endpoint;
    if (!url)
        url = setting(file, "AWS_ENDPOINT_URL", value[0], sizeof value[0]);
    const char *access_key = setting(file, "AWS_ACCESS_KEY_ID", value[1], sizeof t->access_key);
    const char *secret = setting(file, "AWS_SECRET_ACCESS_KEY", value[2], sizeof t->secret);
    if (!url || !access_key || !secret)
        return cli_failed("%s is missing: give --dev DIR of a local cluster, or set "
                          "AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
                          !url          ? "the endpoint"
                          : !access_key ? "AWS_ACCESS_KEY_ID"
                                        : "AWS_SECRET_ACCESS_KEY");
    snprintf(t->access_key, sizeof t->access_key, "%s", access_key);
    snprintf(t->secret, sizeof t->secret, "%s", secret);
    char region[S3_REGION_MAX + 1];
    const char *said = setting(file, "AWS_REGION", region, sizeof region);
    snprintf(t->region, sizeof t->region, "%s", said ? said : "us-east-1");
    enum err e = s3_target_parse(t, url, sys_now() + RESOLVE);
    if (e == ERR_UNSUPPORTED)
        return cli_failed("%s: only http://HOST:PORT can be measured", url);
    return e ? cli_failed("%s: %s", url, err_text(e)) : CLI_OK;
}

static bool bucket_valid(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789.-");
    return n >= 3 && n <= BENCH_BUCKET_MAX && !name[n];
}

static int check_words(const struct cli *cli, struct run *r)
{
    struct words *w = &r->words;
    if (w->size > BENCH_SIZE_MAX)
        return cli_usage(cli, "--size: at most 1GiB");
    if (w->clients < 1 || w->clients > BENCH_CLIENTS_MAX)
        return cli_usage(cli, "--concurrency: 1 to %d", BENCH_CLIENTS_MAX);
    if (w->seconds < 1 || w->seconds > SECONDS_MAX)
        return cli_usage(cli, "--seconds: 1 to %d", SECONDS_MAX);
    if (!bucket_valid(w->bucket))
        return cli_usage(cli, "--bucket: \"%.80s\" is no bucket's name", w->bucket);
    bool all = strcmp(w->verify, "all") == 0, sample = strcmp(w->verify, "sample") == 0;
    if (!all && !sample && strcmp(w->verify, "none") != 0)
        return cli_usage(cli, "--verify: all, sample or none");
    r->plan.verify_every = all ? 1 : sample ? 8 : 0;
    if (!w->objects) {
        w->objects = w->size ? WORKING_SET / w->size : OBJECTS_MAX;
        w->objects = w->objects < OBJECTS_MIN   ? OBJECTS_MIN
                     : w->objects > OBJECTS_MAX ? OBJECTS_MAX
                                                : w->objects;
    }
    if (w->objects > UINT32_MAX)
        return cli_usage(cli, "--objects: too many");
    return CLI_OK;
}

/* Where the servers are, to ask them what they have used. Without it, only the client is measured. */
static int find_servers(struct cli *cli, struct run *r)
{
    if (r->words.dev) {
        if (dev_cluster_load(r->words.dev, &r->dev_cluster))
            return cli_failed("%s holds no cluster of cairn dev up", r->words.dev);
        r->with_dev = true;
        return CLI_OK;
    }
    const char *named = cli->config_path ? cli->config_path : sys_environment("CAIRN_CONFIG");
    if (!named || !*named)
        return CLI_OK;
    r->with_view = true;
    int status = view_open(cli, &r->view);
    if (!status && (view_ask_members(&r->view) || view_ask_map(&r->view)))
        fprintf(stderr, "cairn: the metadata group does not answer: its CPU time is not known\n");
    return status;
}

/* ---- the output ---- */

static double seconds_of(int64_t ns)
{
    return (double)ns / (double)SYS_SECOND;
}

struct cost {
    double seconds, per_gib, per_thousand;
};

static struct cost cost_of(const struct run *r, int64_t ns)
{
    double gib = (double)r->counts.operations * (double)r->plan.size / (double)(1 << 30);
    double thousands = (double)r->counts.operations / 1000;
    struct cost c = {.seconds = seconds_of(ns)};
    c.per_gib = gib > 0 ? c.seconds / gib : 0;
    c.per_thousand = thousands > 0 ? c.seconds / thousands : 0;
    return c;
}

static int64_t all_servers(const struct run *r)
{
    int64_t sum = 0;
    for (size_t i = 0; i < r->cpu.count; i++)
        if (r->cpu.servers[i].known)
            sum += r->cpu.servers[i].after - r->cpu.servers[i].before;
    return sum;
}

static json_t *json_cost(const struct run *r, const char *name, int64_t ns)
{
    struct cost c = cost_of(r, ns);
    return json_pack("{s:s, s:f, s:f, s:f}", "name", name, "cpu_seconds", c.seconds, "per_gib",
                     c.per_gib, "per_1000_operations", c.per_thousand);
}

static void print_json(const struct run *r)
{
    const struct bench_counts *c = &r->counts;
    double s = seconds_of(r->elapsed), ops = s > 0 ? (double)c->operations / s : 0;
    json_t *servers = json_array(), *out;
    for (size_t i = 0; i < r->cpu.count; i++) {
        const struct cpu_server *one = &r->cpu.servers[i];
        if (!one->known)
            continue;
        json_t *row = json_cost(r, one->name, one->after - one->before);
        json_object_set_new(row, "pid", json_integer((json_int_t)one->pid));
        json_object_set_new(row, "resident_bytes", json_integer((json_int_t)one->resident_bytes));
        json_array_append_new(servers, row);
    }
    out = json_pack("{s:s, s:I, s:i, s:f, s:b, s:I, s:f, s:f}", "operation",
                    r->plan.get ? "get" : "put", "size", (json_int_t)r->plan.size, "concurrency",
                    (int)r->plan.clients, "seconds", s, "signed_payload", r->plan.sign_payload,
                    "operations", (json_int_t)c->operations, "operations_per_s", ops, "mb_per_s",
                    ops * (double)r->plan.size / 1e6);
    json_object_set_new(out, "latency_ms",
                        json_pack("{s:f, s:f, s:f}", "p50",
                                  (double)stats_percentile(&c->times, 500) / 1e6, "p99",
                                  (double)stats_percentile(&c->times, 990) / 1e6, "max",
                                  (double)c->times.max_ns / 1e6));
    json_object_set_new(out, "errors", json_integer((json_int_t)c->errors));
    json_object_set_new(out, "slow_downs", json_integer((json_int_t)c->slow_downs));
    json_object_set_new(out, "verified", json_integer((json_int_t)c->verified));
    json_object_set_new(out, "wrong", json_integer((json_int_t)c->wrong));
    if (c->first_error[0])
        json_object_set_new(out, "first_error", json_string(c->first_error));
    json_object_set_new(out, "client", json_cost(r, "client", r->client_cpu));
    json_object_set_new(out, "servers", servers);
    json_object_set_new(out, "all_servers", json_cost(r, "all servers", all_servers(r)));
    cli_print_json(out);
}

static void cost_row(const struct run *r, struct cli_table *table, const char *name, int64_t ns,
                     uint64_t resident)
{
    struct cost c = cost_of(r, ns);
    char cells[3][32], bytes[32] = "";
    snprintf(cells[0], sizeof cells[0], "%.2f", c.seconds);
    snprintf(cells[1], sizeof cells[1], "%.2f", c.per_gib);
    snprintf(cells[2], sizeof cells[2], "%.3f", c.per_thousand);
    if (resident)
        bytes_format(resident, bytes, sizeof bytes);
    cli_table_row(table, (const char *const[]){name, cells[0], cells[1], cells[2], bytes});
}

static void print_people(const struct cli *cli, const struct run *r)
{
    static const char *const columns[] = {"process",  "CPU s",  "per GiB",
                                          "per 1000", "memory", NULL};
    const struct bench_counts *c = &r->counts;
    double s = seconds_of(r->elapsed), ops = s > 0 ? (double)c->operations / s : 0;
    char size[32];
    bytes_format(r->plan.size, size, sizeof size);
    printf("%s of %s, %u clients, %.1f s%s\n\n", r->plan.get ? "GET" : "PUT", size, r->plan.clients,
           s, r->plan.sign_payload ? ", payload signed" : "");
    printf("%llu operations: %.0f/s, %.1f MB/s\n", (unsigned long long)c->operations, ops,
           ops * (double)r->plan.size / 1e6);
    printf("p50 %.2f ms, p99 %.2f ms, max %.2f ms\n",
           (double)stats_percentile(&c->times, 500) / 1e6,
           (double)stats_percentile(&c->times, 990) / 1e6, (double)c->times.max_ns / 1e6);
    printf("%llu errors, %llu told to slow down", (unsigned long long)c->errors,
           (unsigned long long)c->slow_downs);
    if (r->plan.get)
        printf("; %llu compared byte by byte, %llu wrong", (unsigned long long)c->verified,
               (unsigned long long)c->wrong);
    printf("\n");
    if (c->first_error[0])
        printf("first error: %s\n", c->first_error);
    struct cli_table *table = cli_table_new(columns);
    for (size_t i = 0; i < r->cpu.count; i++)
        if (r->cpu.servers[i].known)
            cost_row(r, table, r->cpu.servers[i].name,
                     r->cpu.servers[i].after - r->cpu.servers[i].before,
                     r->cpu.servers[i].resident_bytes);
    if (r->cpu.count)
        cost_row(r, table, "all servers", all_servers(r), 0);
    cost_row(r, table, "this client", r->client_cpu, 0);
    printf("\n");
    cli_table_print(cli, table);
    cli_table_free(table);
    if (!r->with_dev)
        printf("(%s; --dev DIR measures every process of a local cluster)\n",
               r->with_view ? "gateways are not asked" : "the servers are not known");
}

/* ---- the verb ---- */

static void show_fill(void *arg, uint64_t done, uint64_t total)
{
    struct run *r = arg;
    cli_progress_update(&r->progress, done, total, "putting what is to be fetched");
}

static void show_load(void *arg, uint64_t done, uint64_t total)
{
    struct run *r = arg;
    cli_progress_update(&r->progress, done, total, "measuring");
}

static int measure(struct cli *cli, struct run *r)
{
    char problem[BENCH_TEXT] = "";
    struct bench *b = bench_new(&r->plan);
    cli_progress_init(&r->progress, cli, "bench");
    enum err e = bench_prepare(b, show_fill, r, problem);
    if (!e) {
        cpu_watch_begin(&r->cpu, r->with_dev ? &r->dev_cluster : NULL,
                        r->with_view ? &r->view : NULL);
        int64_t cpu = sys_cpu_time();
        e = bench_run(b, sys_stop_event(), show_load, r, &r->counts, &r->elapsed);
        r->client_cpu = sys_cpu_time() - cpu;
        cpu_watch_end(&r->cpu);
    }
    cli_progress_release(&r->progress);
    int status = CLI_OK;
    if (e == ERR_CANCELLED)
        status = cli_failed("interrupted");
    else if (e)
        status = cli_failed("%s", problem[0] ? problem : err_text(e));
    if (!status) {
        if (cli->json)
            print_json(r);
        else
            print_people(cli, r);
        if (r->counts.errors || r->counts.operations == 0)
            status = CLI_FAILED;
    }
    if (bench_clean(b, problem))
        status = cli_failed("the objects of this run are left in bucket %s: %s", r->plan.bucket,
                            problem);
    bench_free(b);
    return status;
}

static int run_bench(struct cli *cli, int argc, char **argv)
{
    struct run *r = sys_alloc(sizeof *r);
    struct words *w = &r->words;
    *w = (struct words){
        .bucket = "cairn-bench", .verify = "sample", .size = 4096, .clients = 8, .seconds = 10};
    const struct cli_option options[] = {{"bucket", CLI_TEXT, &w->bucket},
                                         {"endpoint", CLI_TEXT, &w->endpoint},
                                         {"dev", CLI_TEXT, &w->dev},
                                         {"verify", CLI_TEXT, &w->verify},
                                         {"size", CLI_SIZE, &w->size},
                                         {"concurrency", CLI_COUNT, &w->clients},
                                         {"seconds", CLI_COUNT, &w->seconds},
                                         {"objects", CLI_COUNT, &w->objects},
                                         {"signed", CLI_FLAG, &w->sign},
                                         {"keep", CLI_FLAG, &w->keep},
                                         {0}};
    int status = cli_options_only(cli, options, argc, argv);
    if (!status)
        status = check_words(cli, r);
    if (!status)
        status = find_target(r);
    if (!status)
        status = find_servers(cli, r);
    r->plan.target = &r->target;
    r->plan.bucket = w->bucket;
    r->plan.get = strcmp(cli->path[cli->depth - 1]->name, "get") == 0;
    r->plan.sign_payload = w->sign;
    r->plan.size = w->size;
    r->plan.clients = (uint32_t)w->clients;
    r->plan.duration = (int64_t)w->seconds * SYS_SECOND;
    r->plan.objects = (uint32_t)w->objects;
    r->plan.keep = w->keep;
    if (!status)
        status = measure(cli, r);
    if (r->with_view)
        view_close(&r->view);
    sys_free(r);
    return status;
}

#define HELP                                                                                      \
    "A closed loop of clients with a connection each. The endpoint and the keys come from the\n"  \
    "variables AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION, or,\n"  \
    "with --dev, from the directory of a local cluster, whose processes' CPU time is then\n"      \
    "measured too; of other clusters that of the servers which --config names. What was put is\n" \
    "deleted at the end (--keep leaves it). --signed signs payloads by their SHA-256, too.\n"

const struct cli_verb bench_verbs[] = {
    {"put", "[--size 4KiB] [--concurrency 8] [--seconds 10] [--dev DIR] [...]", "Measure writing",
     HELP "More: --bucket NAME, --endpoint URL, --signed, --keep.\n", run_bench, NULL},
    {"get", "[--size 4KiB] [--concurrency 8] [--seconds 10] [--dev DIR] [...]",
     "Measure reading, of objects that are put first",
     HELP
     "More: --bucket NAME, --endpoint URL, --keep, --objects N (as many as make 256 MiB, 4 to\n"
     "1000), --verify all|sample|none: which answers are compared byte by byte (one in 8).\n",
     run_bench, NULL},
    {0},
};
