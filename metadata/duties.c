#include <assert.h>
#include <string.h>
#include "common/client/map_cache.h"
#include "metadata/service_internal.h"
#include "metadata/slow_disks.h"
#include "placement/planner.h"

/* What a leader does on its own, one round at a time on one thread:
 *
 *   watch   a disk whose node is silent for down_after, or says that it is not there, is down; one heard
 *           of again is up; one that reports failure is failed
 *   pace    a disk that is much slower than its peers is suspect, until it is not (slow_disks.h)
 *   retire  a disk that is down, or suspect, for out_after goes out, within the brakes of hazard 18
 *   place   the planner's moves become pushes of holders; a new pool gets its first table
 *   collect what is due for deletion (collect.c), on a thread of its own
 *
 * Nothing here is remembered across a change of leader but what is in the state. A new leader waits
 * a full down_after before it calls anything down, and before it collects: until then it has not
 * heard from every gateway which reads are running. */

enum {
    PUSHES_PER_COMMAND = 128,
    MOVES_MAX = 64,
    DISKS_AT_ONCE = 256,     /* in one command; STATE_CHUNKS_MAX */
    OUT_WEIGHT_PERCENT = 25, /* auto-out stops here */
};
#define ROUND_EVERY         (250 * SYS_MS)
#define ROUND_LEAST         (20 * SYS_MS)
#define SETTLE              (2 * SYS_SECOND)
#define TIME_STANDS_AT_MOST (30 * SYS_SECOND)

/* What the map's structs do not carry. */
struct disk_watch {
    disk_id id;
    int64_t down_since;    /* log time; 0 while up */
    int64_t suspect_since; /* log time; 0 while it is not */
    int64_t came_at;       /* sys_now when it was seen to be opened, or up again */
};

struct duties {
    struct metadata_service *service;
    struct shard_client *shards;
    struct sys_mutex lock;
    struct sys_cond changed;
    bool woken, stopping;
    int64_t leads_since; /* sys_now; 0 while it does not lead; only the rounds thread sets it */
    struct sys_thread *rounds, *collector;

    /* The rounds thread's own. */
    struct cluster_map *map;
    struct disk_watch *watches;
    size_t watch_count, watch_room;
    struct slow_disks slow;
    int64_t disks_settled_at; /* when the last disk came */
    PoolInfo unassigned[CLUSTER_POOLS_MAX];
    size_t unassigned_count;
    uint64_t planned_epoch; /* nothing to move at this epoch */
};

struct duties *duties_new(struct metadata_service *s)
{
    struct duties *d = sys_alloc(sizeof *d);
    d->service = s;
    d->map = cluster_map_new();
    slow_disks_init(&d->slow);
    sys_mutex_init(&d->lock);
    sys_cond_init(&d->changed);
    return d;
}

void duties_free(struct duties *d)
{
    if (!d)
        return;
    for (size_t i = 0; i < d->unassigned_count; i++)
        sys_free(d->unassigned[i].name);
    cluster_map_free(d->map);
    slow_disks_release(&d->slow);
    sys_free(d->watches);
    sys_cond_release(&d->changed);
    sys_mutex_release(&d->lock);
    sys_free(d);
}

void duties_wake(struct duties *d)
{
    sys_mutex_lock(&d->lock);
    d->woken = true;
    sys_mutex_unlock(&d->lock);
    sys_cond_broadcast(&d->changed);
}

/* ---- what the leader knows ---- */

static struct disk_watch *watch_of(struct duties *d, disk_id id)
{
    for (size_t i = 0; i < d->watch_count; i++)
        if (d->watches[i].id == id)
            return &d->watches[i];
    if (d->watch_count == d->watch_room) {
        d->watch_room = d->watch_room ? 2 * d->watch_room : 64;
        d->watches = sys_realloc(d->watches, d->watch_room * sizeof *d->watches);
    }
    d->watches[d->watch_count] = (struct disk_watch){.id = id};
    return &d->watches[d->watch_count++];
}

/* Before the map has it. */
static void note_disk(struct duties *d, const DiskInfo *disk)
{
    const struct cluster_disk *old = cluster_map_disk(d->map, disk->id);
    struct disk_watch *w = watch_of(d, disk->id);
    w->down_since = disk->down_since;
    w->suspect_since = disk->suspect_since;
    if (disk->up && (!old || !old->up || old->incarnation != disk->incarnation))
        w->came_at = sys_now();
}

static void note_pool(struct duties *d, const PoolInfo *pool)
{
    size_t i = 0;
    while (i < d->unassigned_count && d->unassigned[i].id != pool->id)
        i++;
    if (i < d->unassigned_count) {
        sys_free(d->unassigned[i].name);
        d->unassigned[i] = d->unassigned[--d->unassigned_count];
    }
    if (pool->assigned || d->unassigned_count == CLUSTER_POOLS_MAX)
        return;
    PoolInfo *kept = &d->unassigned[d->unassigned_count++];
    *kept = *pool;
    kept->name = sys_alloc(strlen(pool->name) + 1);
    memcpy(kept->name, pool->name, strlen(pool->name) + 1);
}

/* Takes what changed in the state since the last round. */
static enum err refresh(struct duties *d)
{
    struct arena arena;
    arena_init(&arena);
    GetMap get = GET_MAP__INIT;
    get.since = d->map->epoch;
    Query query = QUERY__INIT;
    query.body_case = QUERY__BODY_GET_MAP;
    query.get_map = &get;
    Answer *answer = NULL;
    enum err e = service_read(d->service, &query, &arena, &answer);
    if (e == OK && answer->map && answer->map->epoch > d->map->epoch) {
        const MapInfo *delta = answer->map;
        size_t before = d->watch_count;
        for (size_t i = 0; i < delta->n_disks; i++)
            note_disk(d, delta->disks[i]);
        e = map_apply_delta(d->map, delta);
        for (size_t i = 0; i < delta->n_pools; i++)
            note_pool(d, delta->pools[i]);
        if (d->watch_count > before)
            d->disks_settled_at = sys_now();
    }
    arena_release(&arena);
    return e;
}

/* Runs a command of the leader's own; what it refuses is seen again in the next round. */
static enum err run(struct duties *d, Command *command)
{
    struct arena arena;
    arena_init(&arena);
    Result *result = NULL;
    int64_t deadline = sys_now() + d->service->config.timeouts.metadata_call;
    enum err e = service_execute(d->service, command, deadline, &arena, &result);
    if (e == OK)
        e = err_from_wire(result->error);
    arena_release(&arena);
    return e;
}

/* ---- watch and retire ---- */

static void set_some_up(struct duties *d, uint32_t *disks, size_t n, bool up)
{
    SetDisksUp body = SET_DISKS_UP__INIT;
    body.disks = disks;
    body.n_disks = n;
    body.up = up;
    Command command = COMMAND__INIT;
    command.body_case = COMMAND__BODY_SET_DISKS_UP;
    command.set_disks_up = &body;
    enum err e = run(d, &command);
    for (size_t i = 0; i < n; i++) {
        if (e == OK && up)
            log_info("watch", "disk is up disk=%u", disks[i]);
        else if (e == OK)
            log_warn("watch", "disk is down: it is not heard of disk=%u", disks[i]);
    }
}

static void set_up(struct duties *d, uint32_t *disks, size_t n, bool up)
{
    for (size_t i = 0; i < n; i += DISKS_AT_ONCE)
        set_some_up(d, disks + i, n - i < DISKS_AT_ONCE ? n - i : DISKS_AT_ONCE, up);
}

static int64_t latest(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static void set_state(struct duties *d, disk_id disk, enum disk_admin state, const char *why)
{
    SetDiskState body = SET_DISK_STATE__INIT;
    body.disk = disk;
    body.admin_state = state;
    Command command = COMMAND__INIT;
    command.body_case = COMMAND__BODY_SET_DISK_STATE;
    command.set_disk_state = &body;
    if (run(d, &command) == OK)
        log_warn("watch", "%s disk=%u", why, disk);
}

static void watch(struct duties *d)
{
    const struct timeouts *t = &d->service->config.timeouts;
    int64_t now = sys_now();
    uint32_t *down = sys_alloc(2 * (d->map->disk_count + 1) * sizeof *down);
    uint32_t *up = down + d->map->disk_count + 1;
    size_t downs = 0, ups = 0;
    for (size_t i = 0; i < d->map->disk_count; i++) {
        const struct cluster_disk *disk = &d->map->disks[i];
        const struct disk_heard last = reports_disk(&d->service->reports, disk->id);
        int64_t heard = latest(last.at, latest(d->leads_since, watch_of(d, disk->id)->came_at));
        int64_t silent = now - heard;
        if (disk->up && (silent > t->down_after || last.absent))
            down[downs++] = disk->id;
        else if (!disk->up && last.at > 0 && now - last.at < t->down_after && !last.failed)
            up[ups++] = disk->id;
        if (last.failed && disk->admin != DISK_FAILED)
            set_state(d, disk->id, DISK_FAILED, "disk has failed: it reports so itself");
    }
    set_up(d, down, downs, false);
    set_up(d, up, ups, true);
    sys_free(down);
}

static void set_suspect(struct duties *d, const struct disk_pace *disk)
{
    SetDisksSuspect body = SET_DISKS_SUSPECT__INIT;
    uint32_t id = disk->id;
    body.disks = &id;
    body.n_disks = 1;
    body.suspect = disk->suspect;
    Command command = COMMAND__INIT;
    command.body_case = COMMAND__BODY_SET_DISKS_SUSPECT;
    command.set_disks_suspect = &body;
    if (run(d, &command) != OK)
        return; /* seen again in the next round */
    if (disk->suspect)
        log_warn("watch", "disk is suspect: it is far slower than the others disk=%u pace_ms=%lld",
                 disk->id, (long long)(disk->pace_ns / 1000000));
    else
        log_info("watch", "disk is no longer suspect disk=%u pace_ms=%lld", disk->id,
                 (long long)(disk->pace_ns / 1000000));
}

/* Of disks that are heard of; one that has gone down stays what it was. */
static void judge_pace(struct duties *d)
{
    const struct timeouts *t = &d->service->config.timeouts;
    size_t n = 0, most = d->map->disk_count;
    int64_t now = sys_now();
    struct disk_pace *disks = sys_alloc(2 * (most + 1) * sizeof *disks), *changed = disks + most;
    for (size_t i = 0; i < most; i++) {
        const struct cluster_disk *disk = &d->map->disks[i];
        const struct disk_heard last = reports_disk(&d->service->reports, disk->id);
        bool heard = last.at > 0 && now - last.at < t->down_after;
        if (disk->up && heard && disk->admin != DISK_FAILED)
            disks[n++] = (struct disk_pace){disk->id, last.pace_ns, disk->suspect};
    }
    size_t count = slow_disks_judge(&d->slow, t, now, disks, n, changed);
    for (size_t i = 0; i < count; i++)
        set_suspect(d, &changed[i]);
    sys_free(disks);
}

/* The brakes of hazard 18: within OUT_WEIGHT_PERCENT of the weight, and never a second host while
 * another one is already out. */
static bool may_retire(const struct cluster_map *map, const struct cluster_disk *disk)
{
    uint64_t all = 0, gone = disk->weight;
    for (size_t i = 0; i < map->disk_count; i++) {
        const struct cluster_disk *other = &map->disks[i];
        all += other->weight;
        if (other->id == disk->id || (other->up && !other->suspect) || other->admin == DISK_IN)
            continue;
        gone += other->weight;
        if (!cluster_disks_share(other, disk, DOMAIN_HOST))
            return false;
    }
    return gone * 100 <= all * OUT_WEIGHT_PERCENT;
}

static void retire(struct duties *d)
{
    const struct timeouts *t = &d->service->config.timeouts;
    if (sys_now() - d->leads_since < t->out_after)
        return;
    int64_t time = service_log_time(d->service);
    if (service_time_held(d->service, time))
        return;
    for (size_t i = 0; i < d->map->disk_count; i++) {
        const struct cluster_disk *disk = &d->map->disks[i];
        const struct disk_watch *w = watch_of(d, disk->id);
        int64_t since = disk->up ? w->suspect_since : w->down_since;
        if (disk->admin != DISK_IN || since == 0 || time - since < t->out_after)
            continue;
        if (may_retire(d->map, disk)) {
            set_state(d, disk->id, DISK_OUT,
                      disk->up ? "disk is out: slow for too long, its data is copied elsewhere"
                               : "disk is out: down for too long, its data is rebuilt");
            return; /* one a round, with a fresh map */
        }
    }
}

/* Log time stands still while nobody writes; what ages by it (deletes that become due, writes that
 * are too old) needs it to go on. A command that changes nothing carries the time. */
static void keep_time(struct duties *d)
{
    int64_t time;
    if (!service_clock(d->service, &time) ||
        time - service_log_time(d->service) < TIME_STANDS_AT_MOST)
        return;
    SetDisksUp nothing = SET_DISKS_UP__INIT;
    Command command = COMMAND__INIT;
    command.body_case = COMMAND__BODY_SET_DISKS_UP;
    command.set_disks_up = &nothing;
    if (run(d, &command) != OK)
        log_line(LOG_DEBUG, "duties", "log time could not be moved on, trying again");
}

/* ---- place ---- */

/* A pool's first table. It waits until no disk has come for a while, since a table of the first
 * k+m disks would have to move as soon as the others are there. */
static void assign(struct duties *d, const PoolInfo *info)
{
    int64_t settle = d->service->config.settle ? d->service->config.settle : SETTLE;
    unsigned width = info->k + info->m, usable = 0;
    for (size_t i = 0; i < d->map->disk_count; i++)
        usable += d->map->disks[i].admin == DISK_IN && d->map->disks[i].weight > 0;
    if (usable < width || sys_now() - d->disks_settled_at < settle)
        return;
    struct cluster_map *map = cluster_map_copy(d->map);
    struct cluster_pool pool = {
        .id = info->id,
        .k = (uint8_t)info->k,
        .m = (uint8_t)info->m,
        .cell_bytes = info->cell,
        .domain = (enum failure_domain)info->failure_domain,
        .pg_bits = pool_default_pg_bits(usable, width),
    };
    memcpy(pool.name, info->name, strlen(info->name) + 1);
    struct planner_move *moves = NULL;
    size_t count = 0;
    enum err e = cluster_map_put_pool(map, &pool);
    if (e == OK)
        e = planner_plan(map, pool.id, &moves, &count, NULL);
    size_t slots = (size_t)width << pool.pg_bits;
    if (e == OK && count == slots) {
        uint32_t *disks = sys_alloc(slots * sizeof *disks);
        for (size_t i = 0; i < count; i++)
            disks[moves[i].pg * width + moves[i].slot] = moves[i].to;
        AssignPool body = ASSIGN_POOL__INIT;
        body.pool = pool.id;
        body.pg_bits = pool.pg_bits;
        body.disks = disks;
        body.n_disks = slots;
        body.epoch = d->map->epoch;
        Command command = COMMAND__INIT;
        command.body_case = COMMAND__BODY_ASSIGN_POOL;
        command.assign_pool = &body;
        if (run(d, &command) == OK)
            log_info("place", "pool has its placement groups pool=%s pgs=%u disks=%u", pool.name,
                     1u << pool.pg_bits, usable);
        sys_free(disks);
    }
    sys_free(moves);
    cluster_map_free(map);
}

static void push(struct duties *d, uint32_t pool, const struct planner_move *moves, size_t n)
{
    HolderPush pushes[PUSHES_PER_COMMAND], *list[PUSHES_PER_COMMAND];
    assert(n <= PUSHES_PER_COMMAND);
    for (size_t i = 0; i < n; i++) {
        holder_push__init(&pushes[i]);
        pushes[i].pg = moves[i].pg;
        pushes[i].slot = moves[i].slot;
        pushes[i].disk = moves[i].to;
        pushes[i].since_epoch = moves[i].from_since;
        list[i] = &pushes[i];
    }
    PushHolders body = PUSH_HOLDERS__INIT;
    body.pool = pool;
    body.pushes = list;
    body.n_pushes = n;
    Command command = COMMAND__INIT;
    command.body_case = COMMAND__BODY_PUSH_HOLDERS;
    command.push_holders = &body;
    if (run(d, &command) == OK)
        log_info("place", "slots move pool=%u slots=%zu", pool, n);
}

static unsigned slots_under_way(const struct cluster_pool *pool)
{
    unsigned n = 0;
    size_t slots = (size_t)pool_width(pool) << pool->pg_bits;
    for (size_t i = 0; i < slots; i++)
        n += pool->slots[i].count > 1;
    return n;
}

/* What must leave its disk or a crowded domain leaves at once, and what goes back does; evening out is done a
 * little at a time. Any part of a plan may be taken: it crowds no domain (P5 in planner.h). */
static bool move(struct duties *d, const struct cluster_pool *pool)
{
    unsigned limit = d->service->config.moves_max ? d->service->config.moves_max : MOVES_MAX;
    unsigned busy = slots_under_way(pool);
    unsigned room = busy < limit ? limit - busy : 0;
    struct planner_move *moves = NULL;
    size_t count = 0, kept = 0;
    if (planner_plan(d->map, pool->id, &moves, &count, NULL) != OK)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (moves[i].reason == MOVE_EVEN && room == 0)
            continue;
        room -= moves[i].reason == MOVE_EVEN;
        moves[kept++] = moves[i];
    }
    for (size_t at = 0; at < kept; at += PUSHES_PER_COMMAND) {
        size_t n = kept - at < PUSHES_PER_COMMAND ? kept - at : PUSHES_PER_COMMAND;
        push(d, pool->id, moves + at, n);
    }
    sys_free(moves);
    return kept > 0;
}

static void place(struct duties *d)
{
    for (size_t i = 0; i < d->unassigned_count; i++)
        assign(d, &d->unassigned[i]);
    if (d->planned_epoch == d->map->epoch)
        return;
    bool moved = false;
    for (size_t i = 0; i < d->map->pool_count; i++)
        moved |= move(d, &d->map->pools[i]);
    if (!moved)
        d->planned_epoch = d->map->epoch;
}

/* ---- threads ---- */

static bool leads(struct metadata_service *s)
{
    struct driver_status status;
    driver_status(s->driver, &status);
    return status.leader_ready;
}

static void set_leads_since(struct duties *d, int64_t since)
{
    sys_mutex_lock(&d->lock);
    d->leads_since = since;
    sys_mutex_unlock(&d->lock);
}

static void round_once(struct duties *d)
{
    /* Also where it does not lead: it may, soon. */
    (void)service_time_held(d->service, service_log_time(d->service));
    if (!leads(d->service)) {
        set_leads_since(d, 0);
        return;
    }
    if (d->leads_since == 0) {
        reports_clear(&d->service->reports);
        slow_disks_clear(&d->slow);
        set_leads_since(d, sys_now());
        d->disks_settled_at = d->leads_since;
        d->planned_epoch = 0;
        log_info("duties", "this member leads the metadata group");
    }
    if (refresh(d) != OK)
        return;
    watch(d);
    judge_pace(d);
    retire(d);
    keep_time(d);
    if (refresh(d) == OK)
        place(d);
}

/* Waits for the next round; false when it is time to stop. */
static bool wait_round(struct duties *d, int64_t every)
{
    int64_t now = sys_now();
    sys_mutex_lock(&d->lock);
    while (!d->stopping) {
        int64_t until = now + (d->woken ? ROUND_LEAST : every);
        if (sys_cond_wait(&d->changed, &d->lock, until) == ERR_TIMEOUT)
            break;
    }
    d->woken = false;
    bool go = !d->stopping;
    sys_mutex_unlock(&d->lock);
    return go;
}

static void rounds_main(void *arg)
{
    struct duties *d = arg;
    while (wait_round(d, ROUND_EVERY))
        round_once(d);
}

static void collector_main(void *arg)
{
    struct duties *d = arg;
    struct cluster_map *map = cluster_map_new();
    bool more = false;
    for (;;) {
        sys_mutex_lock(&d->lock);
        int64_t until = sys_now() + (more ? 0 : SYS_SECOND);
        while (!d->stopping && sys_cond_wait(&d->changed, &d->lock, until) != ERR_TIMEOUT)
            continue;
        bool stop = d->stopping;
        int64_t since = d->leads_since;
        sys_mutex_unlock(&d->lock);
        if (stop)
            break;
        more = false;
        bool heard_all = since > 0 && sys_now() - since >= d->service->config.timeouts.down_after;
        if (!heard_all || !leads(d->service))
            continue;
        enum err e = collect_some(d->service, d->shards, map, &more);
        if (e == OK)
            continue;
        more = false;
        /* The others pass with the leader's troubles. */
        if (!err_retryable(e) && err_outcome_known(e))
            log_error("collect", "deletion stands still, its queue cannot be worked off: %s",
                      err_text(e));
    }
    cluster_map_free(map);
}

enum err duties_start(struct duties *d, struct shard_client *shards)
{
    d->shards = shards;
    enum err e = sys_thread_start(&d->rounds, "metadata-duties", 0, rounds_main, d);
    if (e == OK)
        e = sys_thread_start(&d->collector, "metadata-collect", 0, collector_main, d);
    return e;
}

void duties_stop(struct duties *d)
{
    sys_mutex_lock(&d->lock);
    d->stopping = true;
    sys_mutex_unlock(&d->lock);
    sys_cond_broadcast(&d->changed);
    if (d->rounds)
        sys_thread_join(d->rounds);
    if (d->collector)
        sys_thread_join(d->collector);
    d->rounds = d->collector = NULL;
}
