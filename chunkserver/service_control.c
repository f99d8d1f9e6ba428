#include <string.h>
#include "common/proto/message_types.h"
#include "chunkserver/scrub_internal.h"

/* What comes over control connections, whose threads must not wait: each disk has a worker with a
 * bounded queue, so that a hung disk holds up nobody else's deletes and verdicts, nor, by its
 * registration, the heartbeats. */

#define TASK_WAIT       (10 * SYS_SECOND)
#define DRILL_LEASE_MAX (10 * SYS_SECOND)

enum control_kind { CONTROL_DELETE, CONTROL_VERIFY, CONTROL_SUSPECT, CONTROL_REGISTER };

struct control_task {
    struct control_task *next;
    enum control_kind kind;
    struct rpc_request *request; /* kept; NULL for suspicions and registrations */
    uint32_t pool;
    struct shard_id id; /* verify, suspect */
    disk_id disk;       /* register */
};

static int64_t limit(int64_t deadline)
{
    int64_t until = sys_now() + TASK_WAIT;
    return deadline < until ? deadline : until;
}

static void refuse(struct rpc_request *r, enum err e)
{
    rpc_reply(r, e, NULL, NULL, 0, 0);
}

/* ---- delete ---- */

/* The indexes that the pool can have; all there may be when the map does not know it (yet). */
static unsigned width_of(struct chunk_service *s, uint32_t pool_id)
{
    const struct cluster_map *map = map_cache_ref(s->map);
    const struct cluster_pool *pool = cluster_map_pool(map, pool_id);
    unsigned width = pool ? pool_width(pool) : POOL_SLOTS_MAX;
    map_cache_unref(s->map, map);
    return width;
}

enum err control_remove(struct chunk_disk *d, uint32_t pool, const struct chunk_id *chunks,
                        size_t count, int64_t deadline)
{
    unsigned width = width_of(d->service, pool);
    enum err e = OK;
    for (size_t i = 0; e == OK && i < count; i++)
        e = shard_store_delete_chunk(d->store, pool, &chunks[i], width, deadline);
    return e;
}

static void run_delete(struct chunk_disk *d, struct control_task *t)
{
    const ShardDelete *body = (const ShardDelete *)rpc_request_body(t->request);
    int64_t deadline = limit(rpc_request_deadline(t->request));
    enum err e = OK;
    for (size_t i = 0; e == OK && i < body->n_chunk_ids; i++) {
        struct chunk_id chunk;
        chunk_id_decode(body->chunk_ids[i].data, &chunk);
        e = control_remove(d, t->pool, &chunk, 1, deadline);
    }
    refuse(t->request, e);
}

/* ---- verify, suspect: only the disk's own verdict makes an order (hazard 18) ---- */

static void tell_if_bad(struct chunk_disk *d, const struct control_task *t, enum err verdict)
{
    disk_id disk = chunk_disk_id(d);
    bool bad = verdict == ERR_CORRUPT || verdict == ERR_IO;
    if (verdict == ERR_NOT_FOUND)
        bad = slot_is_sole_holder(d->service, disk, t->pool, &t->id);
    if (!bad || disk == 0)
        return;
    const struct verdict v = {.disk = disk, .pool = t->pool, .id = t->id};
    if (!heartbeat_tell(d->service, &v)) {
        /* The next reader, or the scrubber, finds it again. */
    }
}

/* An operator's look and a reader's hint come to the same verdict; a parity shard is read by nobody
 * else until it is needed. */
static void run_verify(struct chunk_disk *d, struct control_task *t)
{
    struct stored_shard shard;
    int64_t deadline = limit(rpc_request_deadline(t->request));
    enum err e = shard_store_verify(d->store, t->pool, &t->id, &shard, deadline);
    tell_if_bad(d, t, e);
    if (e != OK) {
        refuse(t->request, e);
        return;
    }
    ShardVerifyReply reply = SHARD_VERIFY_REPLY__INIT;
    reply.length = shard.length;
    reply.chunk_length = shard.chunk_length;
    reply.nonce = shard.nonce;
    reply.began = shard.began;
    rpc_reply(t->request, OK, &reply.base, NULL, 0, 0);
}

static void run_suspect(struct chunk_disk *d, struct control_task *t)
{
    tell_if_bad(d, t, shard_store_verify(d->store, t->pool, &t->id, NULL, sys_now() + TASK_WAIT));
}

/* ---- the worker ---- */

static enum err enqueue(struct chunk_disk *d, const struct control_task *task)
{
    struct control_task *t = sys_alloc(sizeof *t);
    *t = *task;
    t->next = NULL;
    sys_mutex_lock(&d->lock);
    enum err e = d->stopping ? ERR_STOPPING : d->count >= CONTROL_QUEUE_MAX ? ERR_BUSY : OK;
    if (e == OK) {
        *d->last = t;
        d->last = &t->next;
        d->count++;
        if (t->request)
            rpc_request_keep(t->request);
    }
    sys_mutex_unlock(&d->lock);
    if (e == OK)
        sys_cond_signal(&d->some);
    else
        sys_free(t);
    return e;
}

static struct control_task *dequeue(struct chunk_disk *d)
{
    sys_mutex_lock(&d->lock);
    while (!d->first && !d->stopping)
        (void)sys_cond_wait(&d->some, &d->lock, SYS_FOREVER);
    struct control_task *t = d->first;
    if (t) {
        d->first = t->next;
        if (!d->first)
            d->last = &d->first;
        d->count--;
    }
    sys_mutex_unlock(&d->lock);
    return t;
}

static void set_registering(struct chunk_disk *d, bool registering)
{
    sys_mutex_lock(&d->service->lock);
    d->registering = registering;
    sys_mutex_unlock(&d->service->lock);
}

static void run_task(struct chunk_disk *d, struct control_task *t)
{
    sys_mutex_lock(&d->lock);
    bool stopping = d->stopping;
    sys_mutex_unlock(&d->lock);
    bool open = !stopping && chunk_disk_enter(d);
    if (!open) {
        if (t->request)
            refuse(t->request, stopping ? ERR_STOPPING : ERR_UNAVAILABLE);
    } else if (t->kind == CONTROL_DELETE) {
        run_delete(d, t);
    } else if (t->kind == CONTROL_VERIFY) {
        run_verify(d, t);
    } else if (t->kind == CONTROL_SUSPECT) {
        run_suspect(d, t);
    } else {
        register_finish(d, t->disk);
    }
    if (t->kind == CONTROL_REGISTER)
        set_registering(d, false);
    if (open)
        chunk_disk_leave(d);
    sys_free(t);
}

static void worker_run(void *disk)
{
    struct chunk_disk *d = disk;
    struct control_task *t;
    while ((t = dequeue(d)))
        run_task(d, t);
}

void disk_control_init(struct chunk_disk *d)
{
    sys_mutex_init(&d->lock);
    sys_cond_init(&d->some);
    d->last = &d->first;
}

enum err control_start(struct chunk_disk *d)
{
    return sys_thread_start(&d->worker, "disk-control", 0, worker_run, d);
}

void disk_control_stop(struct chunk_disk *d)
{
    sys_mutex_lock(&d->lock);
    d->stopping = true;
    sys_mutex_unlock(&d->lock);
    sys_cond_broadcast(&d->some);
    if (d->worker)
        sys_thread_join(d->worker);
    d->worker = NULL;
}

void disk_control_release(struct chunk_disk *d)
{
    sys_cond_release(&d->some);
    sys_mutex_release(&d->lock);
}

void control_suspect(struct chunk_disk *d, uint32_t pool, const struct shard_id *id)
{
    const struct control_task task = {.kind = CONTROL_SUSPECT, .pool = pool, .id = *id};
    if (enqueue(d, &task) != OK) {
        /* The next reader will suspect it again. */
    }
}

void control_register(struct chunk_disk *d, disk_id id)
{
    const struct control_task task = {.kind = CONTROL_REGISTER, .disk = id};
    set_registering(d, true);
    if (enqueue(d, &task) != OK)
        set_registering(d, false); /* the next heartbeat tries again */
}

/* ---- handlers ---- */

static bool shard_of(ProtobufCBinaryData chunk, uint32_t index, struct shard_id *out)
{
    if (chunk.len != CHUNK_ID_BYTES || index >= POOL_SLOTS_MAX)
        return false;
    chunk_id_decode(chunk.data, &out->chunk);
    out->index = (uint8_t)index;
    return true;
}

/* Hands a request to the disk's worker, or answers why not. */
static void hand_over(struct chunk_service *s, struct rpc_request *r, disk_id disk,
                      const struct control_task *task)
{
    struct chunk_disk *d = chunk_disk_find(s, disk);
    enum err e = d ? enqueue(d, task) : ERR_UNAVAILABLE;
    if (e != OK)
        refuse(r, e);
}

static void handle_delete(void *context, struct rpc_request *r)
{
    const ShardDelete *body = (const ShardDelete *)rpc_request_body(r);
    bool right = body->n_chunk_ids <= SHARD_REMOVE_MAX;
    for (size_t i = 0; right && i < body->n_chunk_ids; i++)
        right = body->chunk_ids[i].len == CHUNK_ID_BYTES;
    const struct control_task task = {.kind = CONTROL_DELETE, .request = r, .pool = body->pool};
    if (right)
        hand_over(context, r, body->disk, &task);
    else
        refuse(r, ERR_INVALID);
}

static void handle_verify(void *context, struct rpc_request *r)
{
    const ShardVerify *body = (const ShardVerify *)rpc_request_body(r);
    struct control_task task = {.kind = CONTROL_VERIFY, .request = r, .pool = body->pool};
    if (shard_of(body->chunk_id, body->index, &task.id))
        hand_over(context, r, body->disk, &task);
    else
        refuse(r, ERR_INVALID);
}

static void handle_suspect(void *context, struct rpc_request *r)
{
    const ShardSuspect *body = (const ShardSuspect *)rpc_request_body(r);
    struct chunk_disk *d = chunk_disk_find(context, body->disk);
    struct shard_id id;
    if (d && shard_of(body->chunk_id, body->index, &id))
        control_suspect(d, body->pool, &id);
    refuse(r, OK); /* one-way: frees it */
}

static void handle_scrub(void *context, struct rpc_request *r)
{
    struct chunk_service *s = context;
    const ScrubStart *body = (const ScrubStart *)rpc_request_body(r);
    struct chunk_disk *d = chunk_disk_find(s, body->disk);
    sys_mutex_lock(&s->lock);
    bool wanted = d && d->open && s->started;
    if (wanted)
        scrub_wanted(s->scrub, d, body->deep); /* under the lock: until it is stopped it is there */
    sys_mutex_unlock(&s->lock);
    refuse(r, wanted ? OK : ERR_UNAVAILABLE);
}

static void handle_scrub_groups(void *context, struct rpc_request *r)
{
    struct chunk_service *s = context;
    const ScrubGroups *body = (const ScrubGroups *)rpc_request_body(r);
    struct arena *arena = rpc_request_arena(r);
    struct chunk_disk *d = chunk_disk_find(s, body->disk);
    struct scrub_group *groups = NULL;
    size_t n = 0;
    sys_mutex_lock(&s->lock);
    bool known = d && s->started;
    if (known)
        n = scrub_groups_copy(s->scrub, d, arena, &groups); /* under the lock: as above */
    sys_mutex_unlock(&s->lock);
    if (!known) {
        refuse(r, ERR_UNAVAILABLE);
        return;
    }
    ScrubGroups reply = SCRUB_GROUPS__INIT;
    reply.disk = body->disk;
    reply.groups = arena_alloc(arena, (n + 1) * sizeof *reply.groups);
    for (size_t i = 0; i < n; i++) {
        ScrubGroup *g = reply.groups[reply.n_groups++] = arena_alloc(arena, sizeof *g);
        scrub_group__init(g);
        g->pool = groups[i].pool;
        g->pg = groups[i].pg;
        g->swept = groups[i].swept;
        g->read = groups[i].read;
        g->missing = groups[i].missing;
        g->bad = groups[i].bad;
    }
    rpc_reply(r, OK, &reply.base, NULL, 0, 0);
}

static void handle_drill(void *context, struct rpc_request *r)
{
    static const char *const words[DRILL_KINDS] = {
        "delayed", "hard to read", "rot", "unable to sync", "read-only", "gone", "full"};
    const DiskDrill *body = (const DiskDrill *)rpc_request_body(r);
    bool valid = body->kind < DRILL_KINDS && body->delay_ns >= 0 && body->lease_ns >= 0 &&
                 body->lease_ns <= DRILL_LEASE_MAX;
    struct chunk_disk *d = valid ? chunk_disk_use(context, body->disk) : NULL;
    if (d) {
        enum drill_kind kind = (enum drill_kind)body->kind;
        bool new = shard_store_drill(d->store, kind, body->delay_ns, sys_now() + body->lease_ns);
        if (new &&kind == DRILL_DELAY && body->delay_ns == 0)
            log_info("chunk", "the drill on disk %s is over disk=%u", d->directory, body->disk);
        else if (new)
            log_warn("chunk", "a drill makes disk %s %s disk=%u delay_ms=%lld", d->directory,
                     words[kind], body->disk, (long long)(body->delay_ns / SYS_MS));
        chunk_disk_leave(d);
    }
    refuse(r, d ? OK : valid ? ERR_NOT_FOUND : ERR_INVALID);
}

size_t control_routes(struct chunk_service *s, struct rpc_route *out)
{
    const struct rpc_route routes[] = {
        {MSG_SHARD_DELETE, &shard_delete__descriptor, handle_delete, s},
        {MSG_SHARD_VERIFY, &shard_verify__descriptor, handle_verify, s},
        {MSG_SHARD_SUSPECT, &shard_suspect__descriptor, handle_suspect, s},
        {MSG_SCRUB_START, &scrub_start__descriptor, handle_scrub, s},
        {MSG_SCRUB_GROUPS, &scrub_groups__descriptor, handle_scrub_groups, s},
        {MSG_DISK_DRILL, &disk_drill__descriptor, handle_drill, s},
    };
    memcpy(out, routes, sizeof routes);
    return sizeof routes / sizeof *routes;
}
