#include "tools/metrics.h"
#include <stdio.h>
#include <string.h>
#include "common/proto/message_types.h"
#include "tools/metrics_text.h"
#include "tools/verb_view.h"

enum { CONNECTIONS = 16, LABEL = 24 };

/* ---- the process ---- */

static void tell_process(const struct server *s, struct metrics_text *t)
{
    static const char *const roles[] = {"metadata", "chunk", "gateway"};
    struct sys_usage usage;
    sys_usage(&usage);
    metrics_family(t, "cairn_process_cpu_seconds_total", "counter", "CPU time of this process.");
    metrics_sample(t, "cairn_process_cpu_seconds_total", NULL, (double)usage.cpu_ns / 1e9);
    metrics_family(t, "cairn_process_resident_bytes", "gauge", "Memory that it occupies.");
    metrics_sample(t, "cairn_process_resident_bytes", NULL, (double)usage.resident_bytes);
    metrics_family(t, "cairn_process_role", "gauge", "1 for each role that runs in it.");
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        const struct metrics_label labels[] = {{"role", roles[i]}, {0}};
        uint32_t all = s->config->roles;
        metrics_sample(t, "cairn_process_role", labels, all == 0 || all >> i & 1);
    }
}

/* ---- disks ---- */

/*  X(name, type, help, value of a struct chunk_disk_status *d) */
#define DISK_METRICS(X)                                                                           \
    X(open, "gauge", "1: the disk is in use; 0: its directory is missing or cannot be used.",     \
      d->open)                                                                                    \
    X(registered, "gauge", "1: metadata knows it as it is.", d->registered)                       \
    X(failed, "gauge", "1: it has failed, and is used no more.", d->stats.failed)                 \
    X(capacity_bytes, "gauge", "What may be used of it.", d->stats.capacity_bytes)                \
    X(free_bytes, "gauge", "Room for new shards, below the full mark.", d->stats.free_bytes)      \
    X(shards, "gauge", "Shards that it holds.", d->stats.shards)                                  \
    X(shard_bytes, "gauge", "Their bytes.", d->stats.shard_bytes)                                 \
    X(pace_seconds, "gauge", "Median time of what it had to do lately; 0: nothing.",              \
      (double)d->stats.pace_ns / 1e9)                                                             \
    X(queue, "gauge", "Reads and deletes that wait.", d->stats.queue)                             \
    X(writers, "gauge", "Shards that are being written.", d->stats.writers)                       \
    X(commits_total, "counter", "Shards made durable.", d->stats.commits)                         \
    X(commit_groups_total, "counter", "Syncs that they have shared.", d->stats.commit_groups)     \
    X(reads_total, "counter", "Reads answered.", d->stats.reads)                                  \
    X(read_bytes_total, "counter", "Bytes read for them.", d->stats.read_bytes)                   \
    X(written_bytes_total, "counter", "Bytes written.", d->stats.written_bytes)                   \
    X(deletes_total, "counter", "Shards deleted.", d->stats.deletes)                              \
    X(corrupt_shards_total, "counter", "Reads whose checksum did not match.", d->stats.corrupt)   \
    X(io_errors_total, "counter", "Reads and writes that failed.", d->stats.io_errors)            \
    X(index_rebuilding, "gauge", "1: its index is made anew from its extents.",                   \
      d->stats.rebuilding)                                                                        \
    X(compacted_bytes_total, "counter", "Bytes moved by compaction.", d->stats.compacted_bytes)   \
    X(backfill_done_shards, "gauge", "Shards moved or rebuilt onto it, of this burst.",           \
      d->backfill_done)                                                                           \
    X(backfill_total_shards, "gauge", "Shards that are to be, as far as known.",                  \
      d->backfill_total)                                                                          \
    X(repaired_shards_total, "counter", "Shards repaired one by one.", d->repaired)               \
    X(scrub_late, "gauge", "1: no deep pass was completed for twice the time it may take.",       \
      d->scrub.late)                                                                              \
    X(scrub_light_timestamp_seconds, "gauge", "When the last light pass was complete; 0: never.", \
      (double)d->scrub.swept / 1e9)                                                               \
    X(scrub_deep_timestamp_seconds, "gauge", "When the last deep pass was complete; 0: never.",   \
      (double)d->scrub.read / 1e9)                                                                \
    X(scrub_missing_shards_total, "counter", "Shards that light passes found missing.",           \
      d->scrub.missing)                                                                           \
    X(scrub_orphans_total, "counter", "Shards that nothing needed, removed.", d->scrub.orphans)

#define X(name, type, help, value)                               \
    static double disk_##name(const struct chunk_disk_status *d) \
    {                                                            \
        return (double)(value);                                  \
    }
DISK_METRICS(X)
#undef X

static const struct {
    const char *name, *type, *help;
    double (*value)(const struct chunk_disk_status *d);
} disk_metrics[] = {
#define X(name, type, help, value) {"cairn_disk_" #name, type, help, disk_##name},
    DISK_METRICS(X)
#undef X
};

enum { DISK_OPEN = 0 }; /* its place in the list */

static void disk_labels(const struct chunk_disk_status *d, char id[LABEL],
                        struct metrics_label out[4])
{
    snprintf(id, LABEL, "%u", d->identity.id);
    out[0] = (struct metrics_label){"disk", id};
    out[1] = (struct metrics_label){"directory", d->directory};
    out[2] = out[3] = (struct metrics_label){0};
}

/* What has a label more: why a disk has failed, and how full it is. */
static void tell_states(const struct chunk_disk_status *disks, size_t n, struct metrics_text *t)
{
    static const char *const marks[] = {"nearfull", "backfillfull", "full"};
    struct metrics_label labels[4];
    char id[LABEL];
    metrics_family(t, "cairn_disk_fault", "gauge", "1 for why the disk has failed.");
    for (size_t i = 0; i < n; i++)
        for (int fault = DISK_FAULT_NONE + 1; fault < DISK_FAULTS; fault++) {
            bool gone =
                !disks[i].open && disks[i].error != ERR_NO_SPACE && fault == DISK_FAULT_GONE;
            disk_labels(&disks[i], id, labels);
            labels[2] = (struct metrics_label){"fault", disk_fault_name((enum disk_fault)fault)};
            metrics_sample(t, "cairn_disk_fault", labels,
                           gone || (int)disks[i].stats.fault == fault);
        }
    metrics_family(t, "cairn_disk_mark", "gauge", "1 for each mark that its use has reached.");
    for (size_t i = 0; i < n; i++)
        for (int mark = DISK_MARK_NEARFULL; mark <= DISK_MARK_FULL; mark++) {
            disk_labels(&disks[i], id, labels);
            labels[2] = (struct metrics_label){"mark", marks[mark - 1]};
            metrics_sample(t, "cairn_disk_mark", labels,
                           disks[i].error == ERR_NO_SPACE || (int)disks[i].stats.mark >= mark);
        }
}

static void tell_disks(struct server *s, struct metrics_text *t)
{
    struct chunk_disk_status *disks = sys_alloc(CHUNK_DISKS_MAX * sizeof *disks);
    size_t n = chunk_service_disks(s->chunks, disks, CHUNK_DISKS_MAX);
    for (size_t k = 0; k < sizeof disk_metrics / sizeof *disk_metrics; k++) {
        metrics_family(t, disk_metrics[k].name, disk_metrics[k].type, disk_metrics[k].help);
        for (size_t i = 0; i < n; i++) {
            struct metrics_label labels[4];
            char id[LABEL];
            if (!disks[i].open && k != DISK_OPEN)
                continue; /* nothing is known of it: no zeros that look like figures */
            disk_labels(&disks[i], id, labels);
            metrics_sample(t, disk_metrics[k].name, labels, disk_metrics[k].value(&disks[i]));
        }
    }
    tell_states(disks, n, t);
    sys_free(disks);
}

/* ---- the gateway ---- */

static void tell_gateway(struct server *s, struct metrics_text *t)
{
    static const char *const outcomes[GATEWAY_OUTCOMES] = {"answered", "refused", "failed", "gone"};
    struct gateway_count *counts = sys_alloc(GATEWAY_COUNTS_MAX * sizeof *counts);
    uint64_t running;
    size_t n = gateway_counts(s->gateway, counts, GATEWAY_COUNTS_MAX, &running);
    metrics_family(t, "cairn_gateway_requests_running", "gauge", "Requests being answered.");
    metrics_sample(t, "cairn_gateway_requests_running", NULL, (double)running);
    metrics_family(
        t, "cairn_gateway_requests_total", "counter",
        "Requests by outcome: answered, refused (4xx), failed (5xx), gone (by the client).");
    for (size_t i = 0; i < n; i++)
        for (size_t o = 0; o < GATEWAY_OUTCOMES; o++) {
            const struct metrics_label labels[] = {
                {"operation", counts[i].operation}, {"outcome", outcomes[o]}, {0}};
            metrics_sample(t, "cairn_gateway_requests_total", labels,
                           (double)counts[i].requests[o]);
        }
    metrics_family(t, "cairn_gateway_request_seconds_total", "counter",
                   "Time that they took, from their headers to the end of the answer.");
    for (size_t i = 0; i < n; i++) {
        const struct metrics_label labels[] = {{"operation", counts[i].operation}, {0}};
        metrics_sample(t, "cairn_gateway_request_seconds_total", labels,
                       (double)counts[i].ns / 1e9);
    }
    sys_free(counts);
}

/* What the HTTP edge sees, and answers before there is an operation. */
static void tell_edge(struct server *s, struct metrics_text *t)
{
    struct http_server_stats stats;
    http_server_stats(s->http, &stats);
    const struct {
        const char *name, *type, *help;
        double value;
    } told[] = {
        {"cairn_gateway_connections", "gauge", "Open connections of clients.",
         (double)stats.connections},
        {"cairn_gateway_edge_refused_total", "counter",
         "Requests refused unread: too many connections (503), malformed or too long (400, 414, "
         "431).",
         (double)stats.refused},
        {"cairn_gateway_edge_reaped_total", "counter",
         "Connections cut because the client was too slow.", (double)stats.reaped},
    };
    for (size_t i = 0; i < sizeof told / sizeof *told; i++) {
        metrics_family(t, told[i].name, told[i].type, told[i].help);
        metrics_sample(t, told[i].name, NULL, told[i].value);
    }
}

/* ---- metadata ---- */

enum {
    MEMBER_TOLD,
    MEMBER_LEADS,
    MEMBER_TERM,
    MEMBER_COMMIT,
    MEMBER_APPLIED,
    MEMBER_LOG,
    MEMBER_METRICS
};

static const struct {
    const char *name, *type, *help;
} member_metrics[MEMBER_METRICS] = {
    [MEMBER_TOLD] = {"cairn_metadata_up", "gauge", "1: the member answers its own process."},
    [MEMBER_LEADS] = {"cairn_metadata_leads", "gauge", "1: it leads the group."},
    [MEMBER_TERM] = {"cairn_metadata_term", "gauge", "Raft's current term."},
    [MEMBER_COMMIT] = {"cairn_metadata_commit_index", "gauge", "Log entries known as committed."},
    [MEMBER_APPLIED] = {"cairn_metadata_applied_index", "gauge", "Log entries in its state."},
    [MEMBER_LOG] = {"cairn_metadata_log_bytes", "gauge", "Size of its log."},
};

static void ask_member(struct metadata_service *m, struct arena *arena, double out[MEMBER_METRICS])
{
    Members ask = MEMBERS__INIT;
    ProtobufCMessage *reply = NULL;
    memset(out, 0, MEMBER_METRICS * sizeof *out);
    if (metadata_service_call(m, MSG_MEMBERS, &ask.base, arena, 0, &reply) != OK || !reply)
        return;
    const Members *said = (const Members *)reply;
    out[MEMBER_TOLD] = 1;
    out[MEMBER_LEADS] = said->leader == metadata_service_member(m);
    out[MEMBER_TERM] = (double)said->term;
    out[MEMBER_COMMIT] = (double)said->commit;
    out[MEMBER_APPLIED] = (double)said->applied;
    out[MEMBER_LOG] = (double)said->log_bytes;
}

static void tell_members(struct server *s, struct metrics_text *t)
{
    double values[SERVER_FOUND_MAX][MEMBER_METRICS];
    struct arena arena;
    arena_init(&arena);
    for (size_t i = 0; i < s->member_count; i++)
        ask_member(s->members[i], &arena, values[i]);
    for (size_t k = 0; k < MEMBER_METRICS; k++) {
        metrics_family(t, member_metrics[k].name, member_metrics[k].type, member_metrics[k].help);
        for (size_t i = 0; i < s->member_count; i++) {
            char id[LABEL];
            snprintf(id, sizeof id, "%016llx",
                     (unsigned long long)metadata_service_member(s->members[i]));
            const struct metrics_label labels[] = {{"member", id}, {0}};
            metrics_sample(t, member_metrics[k].name, labels, values[i][k]);
        }
    }
    arena_release(&arena);
}

/* What `cairn status` would say now. */
static void tell_health(struct server *s, struct metrics_text *t)
{
    struct cluster_view v = {
        .admin = {.node = s->rpc, .metadata = s->metadata, .timeouts = s->timeouts}};
    struct health h;
    arena_init(&v.arena);
    view_judge(&v, &h);
    metrics_family(t, "cairn_health", "gauge", "1 for each finding of cairn status.");
    for (int code = 0; code < HEALTH_CODES; code++) {
        bool found = false;
        for (size_t i = 0; i < h.count; i++)
            found |= (int)h.findings[i].code == code;
        enum health_level level = health_level((enum health_code)code);
        const struct metrics_label labels[] = {{"code", health_name((enum health_code)code)},
                                               {"level", level == HEALTH_ERR ? "error" : "warning"},
                                               {0}};
        metrics_sample(t, "cairn_health", labels, found);
    }
    view_forget(&v);
    arena_release(&v.arena);
}

/* ---- over HTTP ---- */

static void answer(struct http_exchange *e, int status, const char *type, const char *text)
{
    struct http_headers headers;
    size_t n = strlen(text);
    http_headers_init(&headers, http_request(e)->arena);
    http_headers_add(&headers, "Content-Type", type);
    if (status == 405)
        http_headers_add(&headers, "Allow", "GET, HEAD");
    if (http_respond(e, status, &headers, (int64_t)n) != OK || http_body_write(e, text, n) != OK)
        return; /* the client has left */
}

static void handle(struct http_exchange *e, void *app)
{
    struct server *s = app;
    const struct http_request *r = http_request(e);
    if (strcmp(r->path, "/metrics") != 0) {
        answer(e, 404, "text/plain", "There is nothing here but /metrics.\n");
        return;
    }
    if (strcmp(r->method, "GET") != 0 && strcmp(r->method, "HEAD") != 0) {
        answer(e, 405, "text/plain", "Metrics are read with GET.\n");
        return;
    }
    struct metrics_text t = {0};
    tell_process(s, &t);
    if (s->chunks)
        tell_disks(s, &t);
    if (s->gateway)
        tell_gateway(s, &t);
    if (s->http)
        tell_edge(s, &t);
    if (s->member_count > 0)
        tell_members(s, &t);
    if (s->metadata_servers[0]) /* they ask one another over their addresses */
        tell_health(s, &t);
    answer(e, 200, "text/plain; version=0.0.4; charset=utf-8", t.text);
    metrics_text_release(&t);
}

enum err metrics_start(struct server *s)
{
    struct http_server_config http;
    if (!s->config->metrics)
        return OK;
    http_server_config_default(&http, &s->timeouts);
    http.server_name = "Cairn";
    http.connections_max = CONNECTIONS;
    http.handler = handle;
    http.app = s;
    enum err e = sys_addr_parse(s->config->metrics, &http.listen);
    if (e == OK)
        e = http_server_start(&s->metrics, &http);
    if (e != OK)
        return server_problem(s, e, "cannot serve metrics on %s: %s", s->config->metrics,
                              err_text(e));
    log_info("server", "metrics are served on http://%s/metrics", s->config->metrics);
    return OK;
}

void metrics_stop(struct server *s)
{
    if (!s->metrics)
        return;
    if (http_server_drain(s->metrics, sys_now() + s->timeouts.metadata_call) != OK)
        log_warn("server", "a reader of metrics is cut");
    http_server_stop(s->metrics);
    s->metrics = NULL;
}
