#include "tests/sim/workload.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "common/sys/sim/sim.h"
#include "tests/check/linearizable.h"
#include "tests/sim/check.h"
#include "tests/sim/s3.h"

/* Tries of the final reads, half a second apart: faults have stopped, this is how long the cluster
 * may take to answer again. */
enum { PATIENCE = 240, BUCKET_PATIENCE = 600 };

void workload_fail(struct workload *w, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (!w->failed)
        vsnprintf(w->problem, sizeof w->problem, format, args);
    va_end(args);
    w->failed = true;
}

static void client_main(void *arg)
{
    struct client *c = arg;
    struct workload *w = c->work;
    operation_resume(c);
    while (c->step < w->operations && !w->failed) {
        c->step++;
        operation_random(c);
        if (w->pause) {
            int64_t rest = (int64_t)(sim_random() % (uint64_t)w->pause);
            sys_sleep_until(sys_now() + rest);
        }
    }
}

static bool make_bucket(struct workload *w, struct gateway *g)
{
    for (int i = 0; i < BUCKET_PATIENCE; i++) {
        struct s3_answer a;
        s3_send(g, &(struct s3_request){.method = "PUT", .target = "/bucket"}, &a);
        bool made = a.status == 200;
        if (!made && a.status && a.status < 500)
            workload_fail(w, "PUT /bucket: %d %.200s", a.status, a.exchange.answer_body);
        s3_release(&a);
        if (made || w->failed)
            return made;
        sys_sleep_until(sys_now() + 200 * SYS_MS);
    }
    return false;
}

/* All clients at once, each where it was. */
static void work(struct workload *w)
{
    struct sys_thread *threads[WORK_CLIENTS_MAX];
    uint32_t started = 0;
    for (; started < w->clients; started++)
        if (sys_thread_start(&threads[started], "client", 0, client_main, &w->client[started]) !=
            OK)
            break;
    for (uint32_t i = 0; i < started; i++)
        sys_thread_join(threads[i]);
}

/* Every key can be read and all can be listed, within a bound; what they show is judged later. */
static void read_all(struct workload *w, const char *when)
{
    struct client *c = &w->client[0];
    int tries = 0;
    for (uint32_t key = 0; key < WORK_KEYS_MAX + WORK_CLAIMS && !w->failed; key++) {
        for (; !operation_get(c, key) && !w->failed && tries < PATIENCE; tries++)
            sys_sleep_until(sys_now() + 500 * SYS_MS);
        if (tries == PATIENCE)
            workload_fail(w, "%s: key %u cannot be read", when, key);
    }
    for (; !w->failed && !operation_list(c) && tries < PATIENCE; tries++)
        sys_sleep_until(sys_now() + 500 * SYS_MS);
    if (tries == PATIENCE)
        workload_fail(w, "%s: the bucket cannot be listed", when);
}

/* Beyond what the pool survives: an answer is an error or the right bytes. */
static void read_what_is_lost(struct workload *w)
{
    if (!w->lost)
        check_lose_disks(w, w->cluster->m + 1);
    for (uint32_t key = 0; key < WORK_KEYS_MAX && !w->failed; key++)
        (void)operation_get(&w->client[0], key);
}

static void check(struct workload *w)
{
    bool lost = w->lost > 0; /* already, and this process with them */
    if (!lost)
        read_all(w, "after the faults");
    if (!w->failed && !lost)
        check_whole(w, "after the faults");
    if (!w->failed && w->lose_disks && w->cluster->m > 0) {
        if (!lost)
            check_lose_disks(w, w->cluster->m);
        read_all(w, "with disks lost");
        check_give_up_lost(w);
        if (!w->failed)
            check_whole(w, "after disks were lost");
        read_all(w, "after disks were lost");
    }
    if (!w->failed && w->lose_too_many)
        read_what_is_lost(w);
}

/* Clients take the gateways in turn: each gateway has its own idea of who leads. */
static void run_phases(struct workload *w, struct server *servers)
{
    for (uint32_t i = 0; i < w->gateways; i++)
        w->gateway[i] = servers[i].gateway;
    for (uint32_t i = 0; i < w->clients; i++) {
        w->client[i].work = w;
        w->client[i].number = i;
        w->client[i].gateway = w->gateway[i % w->gateways];
    }
    if (!w->failed && w->phase == PHASE_START) {
        if (!make_bucket(w, servers[0].gateway))
            workload_fail(w, "the bucket could not be made");
        else
            w->phase = PHASE_WORK;
    }
    if (!w->failed && w->phase == PHASE_WORK) {
        work(w);
        w->phase = PHASE_HEAL;
    }
    while (!w->failed && w->phase == PHASE_HEAL)
        sys_sleep_until(sys_now() + 100 * SYS_MS);
    if (!w->failed)
        check(w);
    w->phase = PHASE_END;
}

void workload_init(struct workload *w)
{
    w->history = history_new();
    w->model = model_new();
}

void workload_main(void *arg)
{
    struct workload *w = arg;
    struct server *servers = sys_alloc(WORK_GATEWAYS * sizeof *servers);
    struct config configs[WORK_GATEWAYS];
    if (!w->keys) {
        w->keys = 2 + (uint32_t)(sim_random() % (WORK_KEYS_MAX - 1));
        /* The embedded form's gateway brings all of the cluster with it. */
        w->gateways = w->cluster->embedded ? 1 : 1 + (uint32_t)(sim_random() % WORK_GATEWAYS);
    }
    for (uint32_t i = 0; i < w->gateways; i++)
        if (sim_cluster_connect(w->cluster, &servers[i], &configs[i]) != OK)
            workload_fail(w, "no gateway: %s", servers[i].problem);
    run_phases(w, servers);
    for (uint32_t i = 0; i < w->gateways; i++) {
        server_stop(&servers[i]);
        config_release(&configs[i]);
    }
    sys_free(servers);
}

void workload_judge(struct workload *w, bool tell)
{
    struct linearizable_report report;
    enum linearizable verdict = linearizable_check(w->history, LINEARIZABLE_STEPS, &report);
    if (verdict != LINEARIZABLE) {
        workload_fail(w, "the history of %s %s", history_name(w->history, report.key),
                      verdict == NOT_LINEARIZABLE ? "is not linearizable"
                                                  : "takes too long to judge");
        tell = true;
    }
    if (tell)
        linearizable_print(&report, w->history, stderr);
    linearizable_report_release(&report);
}
