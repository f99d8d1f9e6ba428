#include "metadata/service.h"
#include <assert.h>
#include <string.h>
#include "common/proto/message.h"
#include "metadata/service_internal.h"

/* What a member answers. A request goes one of three ways:
 *
 *   command  connection thread: stamp, propose        apply thread: reply with the result
 *   query    connection thread: ask for a barrier     driver thread: queue   worker: read, reply
 *   group    connection thread: queue                                        worker: change, reply
 *
 * so that no connection thread and no thread of the driver ever waits. */

enum { WORKERS = 4, COMMAND_BYTES_MAX = RAFT_COMMAND_MAX - 16 };

/* A request that waits for its barrier or for a worker. */
struct job {
    struct job *next;
    struct metadata_service *service;
    struct rpc_request *request;
    bool leased; /* a query: nobody was asked, so the lease is looked at once more afterwards */
};

/* ---- commands ---- */

/* The leader's time for its next command: never less than what it or the state has seen. */
static int64_t stamp(struct metadata_service *s)
{
    int64_t clock;
    bool known = service_clock(s, &clock);
    int64_t applied = service_log_time(s);
    sys_mutex_lock(&s->lock);
    if (s->stamped < applied)
        s->stamped = applied;
    if (known && s->stamped < clock)
        s->stamped = clock;
    int64_t time = s->stamped;
    sys_mutex_unlock(&s->lock);
    return time;
}

/* The packed command with its time: field 1, appended. Of a field that comes twice the last one
 * holds, so the bytes that came over the wire need not be taken apart and packed again. */
static size_t stamped_command(const void *packed, size_t n, int64_t time, uint8_t *out)
{
    memcpy(out, packed, n);
    out[n++] = 1 << 3;
    for (uint64_t rest = (uint64_t)time;; rest >>= 7) {
        out[n++] = (uint8_t)((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
        if (rest <= 0x7f)
            return n;
    }
}

static void command_done(void *arg, enum err err, uint64_t index, uint64_t term, const void *reply,
                         size_t reply_length)
{
    (void)index;
    (void)term;
    struct rpc_request *request = arg;
    ProtobufCMessage *result = NULL;
    if (err == OK)
        err = message_unpack(&result__descriptor, rpc_request_arena(request), reply, reply_length,
                             &result);
    /* What was put aside by another leader's entry was certainly not done: ask the new one. */
    rpc_reply(request, err == ERR_ABORTED ? ERR_NOT_LEADER : err, result, NULL, 0, RPC_REPLY_SOON);
}

static void handle_command(void *service, struct rpc_request *request)
{
    struct metadata_service *s = service;
    size_t n;
    const uint8_t *raw = rpc_request_raw(request, &n);
    if (!driver_is_leader(s->driver)) {
        rpc_reply(request, ERR_NOT_LEADER, NULL, NULL, 0, 0);
        return;
    }
    if (n > COMMAND_BYTES_MAX) {
        rpc_reply(request, ERR_TOO_BIG, NULL, NULL, 0, 0);
        return;
    }
    /* A command of a later version would stop every member: it never enters the log. */
    bool grows;
    enum err e = state_check_command(raw, n, &grows);
    if (e == OK && grows && service_growth_refused(s))
        e = ERR_METADATA_FULL;
    if (e != OK) {
        rpc_reply(request, e, NULL, NULL, 0, 0);
        return;
    }
    uint8_t *bytes = sys_alloc(n + 16);
    n = stamped_command(raw, n, stamp(s), bytes);
    rpc_request_keep(request);
    e = driver_propose_start(s->driver, bytes, n, command_done, request);
    sys_free(bytes);
    if (e != OK)
        rpc_reply(request, e, NULL, NULL, 0, 0);
}

enum err service_execute(struct metadata_service *s, Command *command, int64_t deadline,
                         struct arena *arena, Result **result)
{
    uint8_t *packed;
    size_t n;
    *result = NULL;
    if (state_command_grows(command) && service_growth_refused(s))
        return ERR_METADATA_FULL;
    enum err e = message_pack(&command->base, arena, COMMAND_BYTES_MAX, &packed, &n);
    if (e != OK)
        return e;
    uint8_t *bytes = arena_alloc(arena, n + 16);
    n = stamped_command(packed, n, stamp(s), bytes);
    struct driver_result done = {0};
    e = driver_propose(s->driver, bytes, n, deadline, &done);
    if (e != OK)
        return e == ERR_ABORTED ? ERR_NOT_LEADER : e;
    ProtobufCMessage *message = NULL;
    e = message_unpack(&result__descriptor, arena, done.reply, done.reply_length, &message);
    sys_free(done.reply);
    *result = (Result *)message;
    return e;
}

static void changed(void *arg, const struct raft_status *status)
{
    struct metadata_service *s = arg;
    service_raft_configure(s, &status->configuration);
    duties_wake(s->duties);
}

/* ---- queries and joins: workers ---- */

static void queue_job(struct metadata_service *s, struct job *j)
{
    j->next = NULL; /* it may have been queued before, with others behind it */
    sys_mutex_lock(&s->queue_lock);
    bool taken = !s->stopping && s->queue_length < SERVICE_QUEUE_MAX;
    if (taken) {
        *s->queue_last = j;
        s->queue_last = &j->next;
        s->queue_length++;
    }
    sys_mutex_unlock(&s->queue_lock);
    if (taken) {
        sys_cond_signal(&s->queue_some);
        return;
    }
    rpc_reply(j->request, ERR_BUSY, NULL, NULL, 0, 0);
    sys_free(j);
}

static void barrier_done(void *arg, enum err err, uint64_t index, bool leased)
{
    (void)index;
    struct job *j = arg;
    j->leased = leased;
    if (err != OK) {
        rpc_reply(j->request, err, NULL, NULL, 0, RPC_REPLY_SOON);
        sys_free(j);
        return;
    }
    queue_job(j->service, j);
}

static struct job *job_new(struct metadata_service *s, struct rpc_request *request)
{
    struct job *j = sys_alloc(sizeof *j);
    j->service = s;
    j->request = request;
    rpc_request_keep(request);
    return j;
}

static void start_query(struct metadata_service *s, struct job *j, bool lease)
{
    enum err e = driver_read_start(s->driver, lease, barrier_done, j);
    if (e != OK) {
        rpc_reply(j->request, e, NULL, NULL, 0, 0);
        sys_free(j);
    }
}

static void handle_query(void *service, struct rpc_request *request)
{
    struct metadata_service *s = service;
    start_query(s, job_new(s, request), true);
}

static void handle_group(void *service, struct rpc_request *request)
{
    struct metadata_service *s = service;
    queue_job(s, job_new(s, request));
}

/* While log time is in doubt nothing is dead (hazard 6): log time tells the age of what nothing names. */
static void hold_verdicts(struct metadata_service *s, Answer *answer)
{
    answer->time_held = service_time_held(s, answer->time) != 0;
    for (size_t i = 0; answer->time_held && i < answer->n_verdicts; i++)
        if (answer->verdicts[i]->verdict == VERDICT__VERDICT_DEAD)
            answer->verdicts[i]->verdict = VERDICT__VERDICT_YOUNG;
}

enum err service_read(struct metadata_service *s, const Query *query, struct arena *arena,
                      Answer **answer)
{
    struct state *state = service_state(s);
    *answer = NULL;
    enum err e = state_query(state, query, arena, answer);
    state_unref(state);
    if (*answer)
        (*answer)->growth_refused = service_growth_refused(s);
    if (*answer && (*answer)->n_verdicts > 0)
        hold_verdicts(s, *answer);
    return e;
}

bool service_stopping(struct metadata_service *s)
{
    sys_mutex_lock(&s->queue_lock);
    bool yes = s->stopping;
    sys_mutex_unlock(&s->queue_lock);
    return yes;
}

static void run_job(struct metadata_service *s, struct job *j)
{
    struct rpc_request *r = j->request;
    if (rpc_request_type(r) != MSG_QUERY) {
        service_group_run(s, r);
    } else {
        struct arena *arena = rpc_request_arena(r);
        Answer *answer = NULL;
        enum err e = service_read(s, (const Query *)rpc_request_body(r), arena, &answer);
        if (j->leased && !driver_lease_holds(s->driver)) {
            start_query(s, j, false);
            return;
        }
        /* The answer carries its own error; the frame's status is OK whenever there is one. */
        rpc_reply(r, answer ? OK : e, answer ? &answer->base : NULL, NULL, 0, 0);
    }
    sys_free(j);
}

static void worker_main(void *arg)
{
    struct metadata_service *s = arg;
    for (;;) {
        sys_mutex_lock(&s->queue_lock);
        while (!s->queue_first && !s->stopping)
            (void)sys_cond_wait(&s->queue_some, &s->queue_lock, SYS_FOREVER);
        struct job *j = s->queue_first;
        if (j) {
            s->queue_first = j->next;
            if (!s->queue_first)
                s->queue_last = &s->queue_first;
            s->queue_length--;
        }
        sys_mutex_unlock(&s->queue_lock);
        if (!j)
            return;
        run_job(s, j);
    }
}

/* ---- what is answered at once ---- */

static void handle_members(void *service, struct rpc_request *request)
{
    struct arena *arena = rpc_request_arena(request);
    Members *members = arena_alloc(arena, sizeof *members);
    members__init(members);
    service_group_describe(service, arena, members);
    rpc_reply(request, OK, &members->base, NULL, 0, 0);
}

static enum err take_heartbeat(struct metadata_service *s, const Heartbeat *heartbeat,
                               HeartbeatReply *reply)
{
    if (!driver_is_leader(s->driver))
        return ERR_NOT_LEADER;
    enum err e = reports_take(&s->reports, heartbeat);
    reply->epoch = service_epoch(s);
    reply->time = service_log_time(s);
    duties_wake(s->duties);
    return e;
}

static void handle_heartbeat(void *service, struct rpc_request *request)
{
    HeartbeatReply reply = HEARTBEAT_REPLY__INIT;
    enum err e = take_heartbeat(service, (const Heartbeat *)rpc_request_body(request), &reply);
    rpc_reply(request, e, &reply.base, NULL, 0, 0);
}

static enum err take_reports(struct metadata_service *s, struct arena *arena, Reports *out)
{
    if (!driver_is_leader(s->driver))
        return ERR_NOT_LEADER;
    reports_copy(&s->reports, arena, out);
    out->time = service_log_time(s);
    return OK;
}

static void handle_reports(void *service, struct rpc_request *request)
{
    struct arena *arena = rpc_request_arena(request);
    Reports *reports = arena_alloc(arena, sizeof *reports);
    reports__init(reports);
    enum err e = take_reports(service, arena, reports);
    rpc_reply(request, e, &reports->base, NULL, 0, 0);
}

size_t metadata_service_routes(struct metadata_service *s, struct rpc_route *out)
{
    const struct rpc_route routes[METADATA_ROUTES] = {
        {MSG_COMMAND, NULL, handle_command, s},
        {MSG_QUERY, &query__descriptor, handle_query, s},
        {MSG_MEMBERS, NULL, handle_members, s},
        {MSG_HEARTBEAT, &heartbeat__descriptor, handle_heartbeat, s},
        {MSG_REPORTS, NULL, handle_reports, s},
        {MSG_JOIN, &join__descriptor, handle_group, s},
        {MSG_GROUP, &group__descriptor, handle_group, s},
        {MSG_RAFT, &raft_bytes__descriptor, service_raft_handle, s},
        {MSG_MEMBER_NOTE, &member_note__descriptor, service_notes_handle, s},
    };
    memcpy(out, routes, sizeof routes);
    return METADATA_ROUTES;
}

static enum err query_here(struct metadata_service *s, const Query *query, struct arena *arena,
                           int64_t deadline, ProtobufCMessage **reply)
{
    Answer *answer = NULL;
    bool leased;
    enum err e = driver_read_leased(s->driver, deadline, &leased);
    if (e == OK)
        e = service_read(s, query, arena, &answer);
    if (leased && !driver_lease_holds(s->driver)) {
        answer = NULL;
        e = driver_read_barrier(s->driver, deadline);
        if (e == OK)
            e = service_read(s, query, arena, &answer);
    }
    *reply = answer ? &answer->base : NULL;
    return answer ? OK : e;
}

enum err metadata_service_call(void *service, uint16_t type, const ProtobufCMessage *body,
                               struct arena *arena, int64_t deadline, ProtobufCMessage **reply)
{
    struct metadata_service *s = service;
    *reply = NULL;
    if (type == MSG_COMMAND) {
        /* The caller's command is packed here, so its own time field may stay as it is. */
        Result *result = NULL;
        enum err e = service_execute(s, (Command *)(uintptr_t)body, deadline, arena, &result);
        *reply = result ? &result->base : NULL;
        return e;
    }
    if (type == MSG_QUERY)
        return query_here(s, (const Query *)body, arena, deadline, reply);
    if (type == MSG_MEMBERS) {
        Members *members = arena_alloc(arena, sizeof *members);
        members__init(members);
        service_group_describe(s, arena, members);
        *reply = &members->base;
        return OK;
    }
    if (type == MSG_JOIN)
        return service_group_join(s, (const Join *)body, deadline);
    if (type == MSG_GROUP)
        return service_group_act(s, (const Group *)body, deadline);
    if (type == MSG_HEARTBEAT) {
        HeartbeatReply *answer = arena_alloc(arena, sizeof *answer);
        heartbeat_reply__init(answer);
        *reply = &answer->base;
        return take_heartbeat(s, (const Heartbeat *)body, answer);
    }
    if (type == MSG_REPORTS) {
        Reports *reports = arena_alloc(arena, sizeof *reports);
        reports__init(reports);
        *reply = &reports->base;
        return take_reports(s, arena, reports);
    }
    return ERR_UNSUPPORTED;
}

/* ---- starting, stopping ---- */

static enum err start_driver(struct metadata_service *s)
{
    char log[SYS_PATH_MAX];
    enum err e = service_path(s->config.directory, "log", log);
    if (e != OK)
        return e;
    const struct timeouts *t = &s->config.timeouts;
    const struct state_position at = state_position(s->states.now);
    const struct driver_options options = {
        .log = {.directory = log, .segment_bytes = s->config.segment_bytes},
        .tick = t->raft_tick,
        .election_min_ticks = (uint32_t)(t->election_min / t->raft_tick),
        .election_max_ticks = (uint32_t)(t->election_max / t->raft_tick),
        .log_bytes = s->config.log_bytes,
        .lease = s->config.lease_reads ? t->election_min : 0,
        .applied = at.index,
        .applied_term = at.term,
        .installed = s->states.home.at,
        .discarded = s->states.home.discarded,
        .callbacks = {.arg = s,
                      .send = service_raft_send,
                      .apply = service_state_apply,
                      .snapshot_read = service_snapshot_read,
                      .snapshot_write = service_snapshot_write,
                      .snapshot_install = service_snapshot_install,
                      .snapshot_idle = service_snapshot_idle,
                      .changed = changed,
                      .tick = service_notes_tick},
    };
    e = driver_start(&options, &s->identity, &s->driver);
    if (e != OK)
        return e;
    struct driver_status status;
    driver_status(s->driver, &status);
    service_raft_configure(s, &status.raft.configuration);
    service_notes_start(s);
    return OK;
}

static enum err start_workers(struct metadata_service *s)
{
    unsigned wanted = s->config.workers ? s->config.workers : WORKERS;
    s->workers = sys_alloc(wanted * sizeof *s->workers);
    enum err e = OK;
    for (; e == OK && s->worker_count < wanted; s->worker_count += e == OK)
        e = sys_thread_start(&s->workers[s->worker_count], "metadata-worker", 0, worker_main, s);
    return e;
}

enum err metadata_service_start(const struct metadata_service_config *config,
                                struct metadata_service **out)
{
    if (strlen(config->directory) >= SYS_PATH_MAX)
        return ERR_TOO_BIG;
    struct metadata_service *s = sys_alloc(sizeof *s);
    s->config = *config;
    memcpy(s->directory, config->directory, strlen(config->directory) + 1);
    s->config.directory = s->directory;
    sys_mutex_init(&s->lock);
    sys_mutex_init(&s->queue_lock);
    sys_cond_init(&s->queue_some);
    sys_cond_init(&s->linked_idle);
    sys_cond_init(&s->space.stop);
    s->queue_last = &s->queue_first;
    reports_init(&s->reports);
    space_guard_prepare(s);
    enum err e = service_state_open(s);
    s->duties = duties_new(s);
    if (e == OK)
        e = start_driver(s);
    if (e == OK)
        e = start_workers(s);
    if (e == OK)
        e = space_guard_start(s);
    if (e != OK) {
        log_error("metadata", "the member in %s does not start: %s", config->directory,
                  err_text(e));
        metadata_service_stop(s);
        return e;
    }
    *out = s;
    return OK;
}

void metadata_service_stop(struct metadata_service *s)
{
    if (!s)
        return;
    duties_stop(s->duties);
    service_raft_unlink(s);
    space_guard_stop(s);
    sys_mutex_lock(&s->queue_lock);
    s->stopping = true;
    sys_mutex_unlock(&s->queue_lock);
    sys_cond_broadcast(&s->queue_some);
    /* The workers use the driver, so they end first; what its end lets go of is then answered by
     * queue_job, since nobody is left to do it. */
    for (unsigned i = 0; i < s->worker_count; i++)
        sys_thread_join(s->workers[i]);
    if (s->driver)
        driver_stop(s->driver);
    assert(!s->queue_first);
    sys_free(s->workers);
    duties_free(s->duties);
    service_state_release(s);
    reports_release(&s->reports);
    sys_cond_release(&s->queue_some);
    sys_cond_release(&s->linked_idle);
    sys_cond_release(&s->space.stop);
    sys_mutex_release(&s->queue_lock);
    sys_mutex_release(&s->lock);
    sys_free(s);
}

enum err metadata_service_lead(struct metadata_service *s, struct shard_client *shards)
{
    return duties_start(s->duties, shards);
}
