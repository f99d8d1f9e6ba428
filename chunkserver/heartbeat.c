#include <string.h>
#include "common/client/metadata_client.h"
#include "common/proto/message_types.h"
#include "chunkserver/service_internal.h"

/* What this chunkserver tells metadata, and what it hears from there. Two threads, so that a
 * heartbeat is never late because a map is being fetched. */

#define REFRESH_EVERY  (100 * SYS_MS)
#define COMPLAIN_EVERY (60 * SYS_SECOND)
#define FAULT_WAIT     (5 * SYS_SECOND)  /* for why a disk has failed */
#define REFUSED_WAIT   (10 * SYS_SECOND) /* before a refused disk asks again */

enum { ORDERS_MAX = 256 };

bool service_wait(struct chunk_service *s, int64_t until)
{
    sys_mutex_lock(&s->lock);
    while (!s->stopping && sys_cond_wait(&s->changed, &s->lock, until) != ERR_TIMEOUT)
        continue;
    bool go = !s->stopping;
    sys_mutex_unlock(&s->lock);
    return go;
}

/* ---- registration ---- */

static void fill_register(struct chunk_disk *d, RegisterDisk *body)
{
    struct chunk_service *s = d->service;
    struct shard_store_stats stats;
    shard_store_stats(d->store, &stats);
    body->uuid = (ProtobufCBinaryData){.len = UUID_BYTES, .data = d->uuid.bytes};
    body->node = (ProtobufCBinaryData){.len = UUID_BYTES, .data = s->node.bytes};
    body->capacity_bytes = stats.capacity_bytes;
    body->zone = s->zone;
    body->rack = s->rack;
    body->host = s->host;
    body->address = s->address;
    body->incarnation = stats.incarnation;
}

static bool map_has(struct chunk_service *s, disk_id id)
{
    const struct cluster_map *map = map_cache_ref(s->map);
    bool has = cluster_map_disk(map, id) != NULL;
    map_cache_unref(s->map, map);
    return has;
}

/* ERR_FOREIGN_DISK: an operator has removed it. Registered anew it would become another disk, with an id
 * that its superblock does not take. Any map that is fetched now is newer than the id. */
static enum err check_not_removed(struct chunk_disk *d, const struct request_context *request)
{
    struct shard_store_identity own;
    shard_store_identity(d->store, &own);
    if (own.id == 0 || map_has(d->service, own.id))
        return OK;
    enum err e = map_cache_refresh(d->service->map, request, 0);
    if (e)
        return e;
    return map_has(d->service, own.id) ? OK : ERR_FOREIGN_DISK;
}

/* A disk that was removed, or is an older or second copy of one that metadata knows, is not served. */
static void refused(struct chunk_disk *d, enum err e)
{
    struct chunk_service *s = d->service;
    int64_t now = sys_now();
    sys_mutex_lock(&s->lock);
    d->id = 0;
    d->refused = true;
    d->register_at = now + REFUSED_WAIT;
    bool say = d->complained_at == 0 || now - d->complained_at > COMPLAIN_EVERY;
    if (say)
        d->complained_at = now;
    sys_mutex_unlock(&s->lock);
    if (say && e == ERR_FOREIGN_DISK)
        log_error("chunk",
                  "disk %s was removed from the cluster; it is not served: take it out of data, or "
                  "empty the directory to use it as a new disk",
                  d->directory);
    else if (say)
        log_error("chunk", "metadata refuses disk %s: %s; it is not served", d->directory,
                  err_text(e));
}

void register_finish(struct chunk_disk *d, disk_id id)
{
    struct chunk_service *s = d->service;
    enum err e = shard_store_set_identity(d->store, id);
    if (e == ERR_DISK_FAILED)
        e = OK; /* the reports say so, and only of a disk that is registered there are any */
    if (e == OK) {
        sys_mutex_lock(&s->lock);
        d->id = id;
        d->registered = true;
        d->arrivals += d->refused;
        d->refused = false;
        sys_mutex_unlock(&s->lock);
        log_info("chunk", "disk %s is registered disk=%u", d->directory, id);
    } else if (!err_retryable(e)) {
        refused(d, e);
    } /* else: the next heartbeat tries again */
}

static void register_disk(struct chunk_disk *d)
{
    struct chunk_service *s = d->service;
    struct arena arena;
    arena_init(&arena);
    RegisterDisk body = REGISTER_DISK__INIT;
    fill_register(d, &body);
    Command command = COMMAND__INIT;
    command.body_case = COMMAND__BODY_REGISTER_DISK;
    command.register_disk = &body;
    const struct request_context request = {.deadline = sys_now() + s->timeouts.metadata_call};
    Result *result = NULL;
    enum err e = check_not_removed(d, &request);
    bool removed = e == ERR_FOREIGN_DISK;
    if (e == OK)
        e = metadata_execute(s->metadata, &request, &command, &arena, &result);
    if (e == OK && result->disk == 0)
        e = ERR_FORMAT;
    if (e == OK) {
        map_cache_seen(s->map, result->epoch);
        control_register(d, result->disk);
    } else if (removed || (result && !err_retryable(e))) {
        refused(d, e);
    } /* else: no metadata for now; the next heartbeat tries again */
    arena_release(&arena);
}

static void register_disks(struct chunk_service *s)
{
    for (size_t i = 0; i < s->disk_count; i++) {
        struct chunk_disk *d = &s->disks[i];
        int64_t now = sys_now();
        sys_mutex_lock(&s->lock);
        bool wanted =
            d->open && !d->registered && !d->registering && !s->stopping && now >= d->register_at;
        sys_mutex_unlock(&s->lock);
        if (wanted && chunk_disk_enter(d)) {
            register_disk(d);
            chunk_disk_leave(d);
        }
    }
}

/* ---- heartbeats ---- */

/* Of a disk that is open; false: there is none to make. *gone: it is there no more. */
static bool fill_report(struct chunk_disk *d, DiskReport *out, bool *gone)
{
    disk_report__init(out);
    sys_mutex_lock(&d->service->lock);
    out->id = d->registered ? d->id : 0;
    sys_mutex_unlock(&d->service->lock);
    struct shard_store_stats stats;
    struct backfill_progress progress;
    shard_store_stats(d->store, &stats);
    *gone = stats.fault == DISK_FAULT_GONE;
    if (out->id == 0 || *gone)
        return false;
    bool known = stats.fault != DISK_FAULT_NONE || sys_now() - stats.failed_at > FAULT_WAIT;
    backfill_progress(d->service->backfill, d, &progress);
    out->capacity_bytes = stats.capacity_bytes;
    out->free_bytes = stats.free_bytes;
    out->shards = stats.shards;
    out->used_bytes = stats.shard_bytes;
    out->failed = stats.failed && known;
    out->fault = (uint32_t)stats.fault;
    out->io_errors = stats.io_errors;
    out->mark = (uint32_t)stats.mark;
    out->indexing = stats.rebuilding;
    out->indexed_bytes = stats.rebuild_done;
    out->extent_bytes = stats.rebuild_total;
    out->incarnation = stats.incarnation;
    out->corrupt = stats.corrupt;
    out->pace_ns = stats.pace_ns;
    out->backfill_done = progress.done;
    out->backfill_total = progress.total;
    out->backfill_bytes = progress.bytes;
    out->repaired = progress.repaired;
    struct scrub_status scrub;
    scrub_report(d->service->scrub, d, &scrub);
    out->scrubbing = (uint32_t)scrub.now;
    out->scrub_late = scrub.late;
    out->scrub_swept = scrub.swept;
    out->scrub_read = scrub.read;
    out->scrub_begun = scrub.begun;
    out->scrub_bytes = scrub.bytes;
    out->scrub_bad = scrub.bad;
    out->scrub_missing = scrub.missing;
    out->scrub_orphans = scrub.orphans;
    out->scrub_young = scrub.young;
    return true;
}

static AbsentDisk *absent(struct chunk_disk *d, struct arena *arena)
{
    AbsentDisk *out = arena_alloc(arena, sizeof *out);
    absent_disk__init(out);
    out->directory = d->directory;
    sys_mutex_lock(&d->service->lock);
    out->id = d->id;
    out->error = d->error ? d->error : ERR_NOT_FOUND;
    sys_mutex_unlock(&d->service->lock);
    return out;
}

static void beat(struct chunk_service *s)
{
    struct arena arena;
    arena_init(&arena);
    Heartbeat body = HEARTBEAT__INIT;
    body.node = (ProtobufCBinaryData){.len = UUID_BYTES, .data = s->node.bytes};
    body.address = s->address;
    body.epoch = map_cache_epoch(s->map);
    body.role = RPC_CHUNK;
    body.disks = arena_alloc(&arena, s->disk_count * sizeof *body.disks);
    DiskReport *reports = arena_alloc(&arena, s->disk_count * sizeof *reports);
    body.absent = arena_alloc(&arena, s->disk_count * sizeof *body.absent);
    for (size_t i = 0; i < s->disk_count; i++) {
        struct chunk_disk *d = &s->disks[i];
        bool open = chunk_disk_enter(d), gone = !open;
        if (open && fill_report(d, &reports[body.n_disks], &gone)) {
            shard_store_probe(d->store);
            body.disks[body.n_disks] = &reports[body.n_disks];
            body.n_disks++;
        }
        if (open)
            chunk_disk_leave(d);
        if (gone)
            body.absent[body.n_absent++] = absent(d, &arena);
    }
    int64_t wait = 2 * s->timeouts.heartbeat;
    const struct request_context request = {.deadline = sys_now() + wait};
    ProtobufCMessage *reply = NULL;
    enum err e =
        metadata_call_leader(s->metadata, &request, MSG_HEARTBEAT, &body.base, &arena, &reply);
    if (e == OK && reply)
        map_cache_seen(s->map, ((const HeartbeatReply *)reply)->epoch);
    arena_release(&arena);
}

/* A tenth more or less, so that the heartbeats of a cluster that was started at once spread. */
static int64_t jittered(int64_t period)
{
    uint32_t random;
    sys_random(&random, sizeof random);
    int64_t tenth = period / 10;
    return period - tenth + (tenth > 0 ? (int64_t)(random % (uint64_t)(2 * tenth)) : 0);
}

void heartbeat_run(void *service)
{
    struct chunk_service *s = service;
    do {
        int64_t begun = sys_now();
        register_disks(s);
        beat(s);
        if (!service_wait(s, begun + jittered(s->timeouts.heartbeat)))
            break;
    } while (true);
}

/* ---- verdicts ---- */

static bool same_verdict(const struct verdict *a, const struct verdict *b)
{
    return a->disk == b->disk && a->pool == b->pool && a->id.index == b->id.index &&
           chunk_id_equal(&a->id.chunk, &b->id.chunk);
}

bool heartbeat_tell(struct chunk_service *s, const struct verdict *v)
{
    int64_t now = sys_now();
    bool told = false;
    sys_mutex_lock(&s->lock);
    for (size_t i = 0; i < RECENT_MAX && !told; i++)
        told = s->recent[i].until > now && same_verdict(&s->recent[i].verdict, v);
    bool room = s->verdict_count < VERDICTS_MAX;
    if (!told && room) {
        s->verdicts[s->verdict_count++] = *v;
        s->recent[s->recent_at].verdict = *v;
        s->recent[s->recent_at].until = now + 10 * SYS_SECOND;
        s->recent_at = (s->recent_at + 1) % RECENT_MAX;
    }
    sys_mutex_unlock(&s->lock);
    if (!told && room)
        log_warn("chunk",
                 "a shard is bad or missing, its repair is ordered disk=%u pool=%u index=%u",
                 v->disk, v->pool, v->id.index);
    return told || room;
}

bool heartbeat_has_told(struct chunk_service *s, disk_id disk)
{
    bool waits = false;
    sys_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->verdict_count && !waits; i++)
        waits = s->verdicts[i].disk == disk;
    sys_mutex_unlock(&s->lock);
    return !waits;
}

/* The first of the queue, at most max. They stay there until they are told. */
static size_t first_verdicts(struct chunk_service *s, struct verdict *out, size_t max)
{
    sys_mutex_lock(&s->lock);
    size_t n = s->verdict_count < max ? s->verdict_count : max;
    memcpy(out, s->verdicts, n * sizeof *out);
    sys_mutex_unlock(&s->lock);
    return n;
}

static void drop_verdicts(struct chunk_service *s, size_t n)
{
    sys_mutex_lock(&s->lock);
    s->verdict_count -= n;
    memmove(s->verdicts, s->verdicts + n, s->verdict_count * sizeof *s->verdicts);
    sys_mutex_unlock(&s->lock);
}

static void order_repairs(struct chunk_service *s)
{
    struct arena arena;
    arena_init(&arena);
    struct verdict *verdicts = arena_alloc(&arena, ORDERS_MAX * sizeof *verdicts);
    size_t n = first_verdicts(s, verdicts, ORDERS_MAX);
    if (n > 0) {
        OrderRepairs body = ORDER_REPAIRS__INIT;
        body.shards = arena_alloc(&arena, n * sizeof *body.shards);
        for (size_t i = 0; i < n; i++) {
            RepairKey *key = body.shards[body.n_shards++] = arena_alloc(&arena, sizeof *key);
            repair_key__init(key);
            key->pool = verdicts[i].pool;
            key->disk = verdicts[i].disk;
            key->index = verdicts[i].id.index;
            key->chunk_id.data = arena_alloc(&arena, CHUNK_ID_BYTES);
            key->chunk_id.len = CHUNK_ID_BYTES;
            chunk_id_encode(&verdicts[i].id.chunk, key->chunk_id.data);
        }
        Command command = COMMAND__INIT;
        command.body_case = COMMAND__BODY_ORDER_REPAIRS;
        command.order_repairs = &body;
        const struct request_context request = {.deadline = sys_now() + s->timeouts.metadata_call};
        Result *result = NULL;
        enum err e = metadata_execute(s->metadata, &request, &command, &arena, &result);
        if (e == OK || (err_outcome_known(e) && !err_retryable(e)))
            drop_verdicts(s, n); /* to order one twice does no harm */
        if (e == OK)
            chunk_service_wake(s);
    }
    arena_release(&arena);
}

/* ---- the map ---- */

static bool refresh(struct chunk_service *s, bool first)
{
    const struct request_context request = {.deadline = sys_now() + s->timeouts.metadata_call / 2};
    uint64_t before = map_cache_epoch(s->map);
    enum err e = map_cache_refresh(s->map, &request, 0);
    if (e == OK && (first || map_cache_epoch(s->map) != before))
        chunk_service_wake(s);
    return e == OK;
}

void refresher_run(void *service)
{
    struct chunk_service *s = service;
    bool known = false;
    unsigned failures = 0;
    for (;;) {
        if (!known || map_cache_behind(s->map)) {
            bool fresh = refresh(s, !known);
            known |= fresh;
            failures = fresh ? 0 : failures + (failures < 5);
        }
        order_repairs(s);
        int64_t rest = jittered(REFRESH_EVERY << failures);
        if (!service_wait(s, sys_now() + rest))
            break;
    }
}
