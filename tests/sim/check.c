#include "tests/sim/check.h"
#include <stdio.h>
#include <string.h>
#include "common/client/map_cache.h"
#include "common/proto/message_types.h"
#include "common/sys/log.h"
#include "common/sys/sim/sim.h"
#include "tools/census.h"

#define WHOLE_WITHIN   (900 * SYS_SECOND)
#define LOOK_EVERY     (2 * SYS_SECOND)
#define VERIFY_ASK     (30 * SYS_SECOND)
#define GIVE_UP_WITHIN (60 * SYS_SECOND)
#define DELETED_WITHIN (30 * SYS_SECOND)
#define ORPHANS_EVERY  (10 * SYS_SECOND)
enum { ASKS = 60, PAGE = 256, ROUNDS = 4, BOOK_ROUNDS = 40 };

struct checking {
    struct workload *work;
    const char *when;
    struct cluster_view view;
    uint64_t bad;        /* shards that did not verify in this round */
    char first_bad[160]; /* the first of them */
    size_t due;
    uint64_t known, named; /* chunks in metadata's lists; chunks that something names */
};

/* A query, asked until it is answered. */
static Answer *ask(struct checking *c, const Query *query)
{
    Answer *answer = NULL;
    enum err e = ERR_UNAVAILABLE;
    for (int i = 0; i < ASKS && !c->work->failed; i++) {
        e = view_query(&c->view, query, &answer);
        if (e == OK || (!err_retryable(e) && err_outcome_known(e)))
            break;
        sys_sleep_until(sys_now() + 500 * SYS_MS);
    }
    if (e != OK)
        workload_fail(c->work, "%s: a query of kind %d: %s", c->when, (int)query->body_case,
                      err_text(e));
    return e == OK ? answer : NULL;
}

/* ---- whole? ---- */

/* "" when nothing moves or misses; else what does. */
static void look(struct checking *c, char words[160])
{
    struct census census;
    snprintf(words, 160, "the cluster cannot be looked at");
    view_forget(&c->view);
    if (view_ask_map(&c->view) != OK || view_ask_status(&c->view) != OK)
        return;
    census_take(c->view.map, &census);
    uint64_t down = 0, suspect = 0;
    for (size_t i = 0; i < c->view.map->disk_count; i++) {
        down += c->view.map->disks[i].admin == DISK_IN && !c->view.map->disks[i].up;
        suspect += c->view.map->disks[i].admin == DISK_IN && c->view.map->disks[i].suspect;
    }
    uint64_t rows = c->view.facts.status->repair_rows;
    words[0] = 0;
    if (down || suspect || rows || census.slots_moving || census.slots_missing ||
        census.slots_waiting)
        snprintf(words, 160,
                 "%llu disks down, %llu suspect, %llu repair rows, slots: %llu moving, %llu "
                 "missing, %llu waiting",
                 (unsigned long long)down, (unsigned long long)suspect, (unsigned long long)rows,
                 (unsigned long long)census.slots_moving, (unsigned long long)census.slots_missing,
                 (unsigned long long)census.slots_waiting);
}

static void wait_whole(struct checking *c)
{
    char words[160];
    int64_t until = sys_now() + WHOLE_WITHIN;
    for (look(c, words); words[0] && sys_now() < until && !c->work->failed; look(c, words))
        sys_sleep_until(sys_now() + LOOK_EVERY);
    if (words[0])
        workload_fail(c->work, "%s: not whole again: %s", c->when, words);
}

/* ---- every shard ---- */

/* The first page of a placement group's chunks. */
static void ask_for_chunks(Query *query, ListChunks *list, const struct cluster_pool *pool,
                           uint32_t pg)
{
    *list = (ListChunks)LIST_CHUNKS__INIT;
    *query = (Query)QUERY__INIT;
    query->body_case = QUERY__BODY_LIST_CHUNKS;
    query->list_chunks = list;
    list->pool = pool->id;
    list->pg = pg;
    list->max = PAGE;
}

static bool chunk_known(struct checking *c, const struct cluster_pool *pool, uint32_t pg,
                        ProtobufCBinaryData id)
{
    ListChunks list;
    Query query;
    ask_for_chunks(&query, &list, pool, pg);
    for (bool more = true; more;) {
        Answer *page = ask(c, &query);
        if (!page)
            return true;
        for (size_t i = 0; i < page->n_chunks; i++)
            if (page->chunks[i]->chunk_id.len == id.len &&
                memcmp(page->chunks[i]->chunk_id.data, id.data, id.len) == 0)
                return true;
        more = page->truncated;
        list.after = page->next;
    }
    return false;
}

/* The collector deletes a chunk's shards first and its row then, and waits in between for a disk that
 * does not answer: within that time a row that names no shard goes. */
static bool being_deleted(struct checking *c, const struct cluster_pool *pool, uint32_t pg,
                          ProtobufCBinaryData id)
{
    int64_t until = sys_now() + DELETED_WITHIN;
    while (chunk_known(c, pool, pg, id)) {
        if (sys_now() >= until || c->work->failed)
            return false;
        sys_sleep_until(sys_now() + SYS_SECOND);
    }
    return true;
}

static void verify_shard(struct checking *c, const struct cluster_pool *pool, uint32_t pg,
                         unsigned index, const ChunkEntry *chunk)
{
    disk_id id = slot_newest(pool_slot(pool, pg, index));
    const struct cluster_disk *disk = cluster_map_disk(c->view.map, id);
    ShardVerify verify = SHARD_VERIFY__INIT;
    ProtobufCMessage *reply = NULL;
    enum err e = ERR_NOT_FOUND;
    verify.disk = id;
    verify.pool = pool->id;
    verify.chunk_id = chunk->chunk_id;
    verify.index = index;
    for (int i = 0; disk && i < ASKS; i++) {
        e = view_call(&c->view, disk->address, MSG_SHARD_VERIFY, &verify.base,
                      &shard_verify_reply__descriptor, VERIFY_ASK, &reply);
        if (e == OK || e == ERR_NOT_FOUND || e == ERR_CORRUPT)
            break;
        sys_sleep_until(sys_now() + 500 * SYS_MS);
    }
    const ShardVerifyReply *r = (const ShardVerifyReply *)reply;
    if (e == OK && (!r || r->nonce != chunk->nonce || r->chunk_length != chunk->length))
        e = ERR_MISMATCH;
    if (e == OK ||
        (e == ERR_NOT_FOUND && c->bad == 0 && being_deleted(c, pool, pg, chunk->chunk_id)))
        return;
    if (c->bad++ == 0) {
        snprintf(c->first_bad, sizeof c->first_bad, "chunk %s pg %u shard %u on disk %u: %s",
                 view_hex(&c->view, chunk->chunk_id.data, chunk->chunk_id.len), pg, index, id,
                 err_text(e));
    }
}

static void verify_pg(struct checking *c, const struct cluster_pool *pool, uint32_t pg)
{
    ListChunks list;
    Query query;
    ask_for_chunks(&query, &list, pool, pg);
    for (bool more = true; more && !c->work->failed;) {
        Answer *page = ask(c, &query);
        if (!page)
            return;
        for (size_t i = 0; i < page->n_chunks && !c->work->failed; i++, c->known++)
            for (unsigned index = 0; index < pool_width(pool); index++)
                verify_shard(c, pool, pg, index, page->chunks[i]);
        more = page->truncated;
        list.after = page->next;
    }
}

/* What is found bad when it is asked for is mended; then it is asked again. */
static void verify_all(struct checking *c)
{
    for (int round = 0; round < ROUNDS && !c->work->failed; round++) {
        wait_whole(c);
        c->bad = c->known = 0;
        for (size_t p = 0; !c->work->failed && p < c->view.map->pool_count; p++)
            for (uint32_t pg = 0; pg < pool_pg_count(&c->view.map->pools[p]); pg++)
                verify_pg(c, &c->view.map->pools[p], pg);
        if (!c->bad)
            return;
        if (!c->work->may_rot)
            break;
        sys_sleep_until(sys_now() + 10 * SYS_SECOND);
    }
    if (c->bad)
        workload_fail(c->work, "%s: %llu shards do not verify; %s", c->when,
                      (unsigned long long)c->bad, c->first_bad);
}

/* ---- the books ---- */

static void count_runs(struct checking *c, ChunkRun *const *runs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        c->named += runs[i]->count;
}

static void count_object(struct checking *c, ProtobufCBinaryData bucket, ProtobufCBinaryData key)
{
    GetObject get = GET_OBJECT__INIT;
    Query query = QUERY__INIT;
    query.body_case = QUERY__BODY_GET_OBJECT;
    query.get_object = &get;
    get.bucket = bucket;
    get.key = key;
    get.want_body = true;
    Answer *a = ask(c, &query);
    if (a && a->body)
        count_runs(c, a->body->runs, a->body->n_runs);
}

static void count_uploads(struct checking *c, ProtobufCBinaryData bucket)
{
    ListUploads uploads = LIST_UPLOADS__INIT;
    Query query = QUERY__INIT;
    query.body_case = QUERY__BODY_LIST_UPLOADS;
    query.list_uploads = &uploads;
    uploads.bucket = bucket;
    uploads.max = 1000;
    Answer *a = ask(c, &query);
    for (size_t i = 0; a && i < a->n_uploads; i++) {
        ListParts parts = LIST_PARTS__INIT;
        Query of = QUERY__INIT;
        of.body_case = QUERY__BODY_LIST_PARTS;
        of.list_parts = &parts;
        parts.bucket = bucket;
        parts.key = a->uploads[i]->key;
        parts.upload = a->uploads[i]->upload;
        parts.max = 1000;
        parts.want_runs = true;
        Answer *p = ask(c, &of);
        for (size_t n = 0; p && n < p->n_parts; n++)
            count_runs(c, p->parts[n]->runs, p->parts[n]->n_runs);
    }
}

static void count_due(struct checking *c)
{
    ListDue due = LIST_DUE__INIT;
    Query query = QUERY__INIT;
    query.body_case = QUERY__BODY_LIST_DUE;
    query.list_due = &due;
    due.until = INT64_MAX;
    due.max = 1000;
    Answer *a = ask(c, &query);
    c->due = a ? a->n_due : 0;
    for (size_t i = 0; a && i < a->n_due; i++) {
        const ChunkRun *run = a->due[i]->run;
        uint32_t next = a->due[i]->next_sequence;
        uint32_t gone = next > run->first_sequence ? next - run->first_sequence : 0;
        c->named += gone < run->count ? run->count - gone : 0;
    }
}

static void check_books(struct checking *c)
{
    static const char name[] = "bucket";
    const ProtobufCBinaryData bucket = {sizeof name - 1, (uint8_t *)(uintptr_t)name};
    GetBucket get = GET_BUCKET__INIT;
    ListObjects list = LIST_OBJECTS__INIT;
    Query query = QUERY__INIT;
    uint64_t bytes = 0;
    query.body_case = QUERY__BODY_GET_BUCKET;
    query.get_bucket = &get;
    get.name = bucket;
    get.want_usage = true;
    Answer *usage = ask(c, &query);
    query.body_case = QUERY__BODY_LIST_OBJECTS;
    query.list_objects = &list;
    list.bucket = bucket;
    list.max_keys = 1000;
    Answer *objects = usage ? ask(c, &query) : NULL;
    if (!objects || !usage->usage)
        return workload_fail(c->work, "%s: the bucket's usage cannot be had", c->when);
    c->named = 0;
    for (size_t i = 0; i < objects->n_objects; i++) {
        bytes += objects->objects[i]->head->size;
        count_object(c, bucket, objects->objects[i]->key);
    }
    count_uploads(c, bucket);
    count_due(c);
    if (usage->usage->objects != objects->n_objects || usage->usage->bytes != bytes)
        workload_fail(c->work, "%s: the counters say %llu objects, %llu bytes; a listing %zu, %llu",
                      c->when, (unsigned long long)usage->usage->objects,
                      (unsigned long long)usage->usage->bytes, objects->n_objects,
                      (unsigned long long)bytes);
}

/* What is due names only the first run of each deleted object: the counts must agree once the
 * deletes are done, if not before. A sole member whose clock was ahead has moved log time ahead, and
 * until its clock is there no delete is due. A gateway that died while it read holds all deletes for
 * out_after: ten minutes. */
static void check_chunks(struct checking *c)
{
    for (int i = 0; i < BOOK_ROUNDS && !c->work->failed; i++) {
        check_books(c);
        c->known = 0;
        for (size_t p = 0; !c->work->failed && p < c->view.map->pool_count; p++)
            for (uint32_t pg = 0; pg < pool_pg_count(&c->view.map->pools[p]); pg++) {
                ListChunks list;
                Query query;
                ask_for_chunks(&query, &list, &c->view.map->pools[p], pg);
                Answer *page = ask(c, &query);
                c->known += page ? page->n_chunks : 0;
            }
        bool time_stands = c->work->skewed && c->due > 0 && c->known > c->named;
        if (c->known == c->named || (time_stands && i > 0))
            return;
        log_info("check", "%llu chunks known, %llu named, %zu runs due",
                 (unsigned long long)c->known, (unsigned long long)c->named, c->due);
        sys_sleep_until(sys_now() + 20 * SYS_SECOND);
    }
    workload_fail(c->work, "%s: metadata knows %llu chunks, its objects name %llu", c->when,
                  (unsigned long long)c->known, (unsigned long long)c->named);
}

/* ---- shards that nothing names ---- */

/* How many shards each disk ought to hold, by the lists of chunks. */
static void count_expected(struct checking *c, const struct cluster_pool *pool, uint32_t pg,
                           uint64_t expected[SIM_DISKS_MAX])
{
    ListChunks list;
    Query query;
    ask_for_chunks(&query, &list, pool, pg);
    for (bool more = true; more && !c->work->failed;) {
        Answer *page = ask(c, &query);
        for (unsigned i = 0; page && i < pool_width(pool); i++) {
            disk_id id = slot_newest(pool_slot(pool, pg, i));
            for (size_t at = 0; at < c->view.map->disk_count && at < SIM_DISKS_MAX; at++)
                expected[at] += c->view.map->disks[at].id == id ? page->n_chunks : 0;
        }
        more = page && page->truncated;
        list.after = more ? page->next : list.after;
    }
}

static const DiskReport *report_of(const Reports *reports, disk_id id)
{
    for (size_t h = 0; reports && h < reports->n_heartbeats; h++)
        for (size_t i = 0; i < reports->heartbeats[h]->n_disks; i++)
            if (reports->heartbeats[h]->disks[i]->id == id)
                return reports->heartbeats[h]->disks[i];
    return NULL;
}

/* "" when each disk that is in use says that it holds as many shards as metadata's lists name there. */
static void compare_counts(struct checking *c, char words[160])
{
    uint64_t expected[SIM_DISKS_MAX] = {0};
    snprintf(words, 160, "the disks cannot be asked");
    view_forget(&c->view);
    if (view_ask_map(&c->view) != OK || view_ask_reports(&c->view) != OK)
        return;
    const struct cluster_map *map = c->view.map;
    for (size_t p = 0; p < map->pool_count; p++)
        for (uint32_t pg = 0; pg < pool_pg_count(&map->pools[p]); pg++)
            count_expected(c, &map->pools[p], pg, expected);
    words[0] = 0;
    for (size_t i = 0; i < map->disk_count && i < SIM_DISKS_MAX && !words[0]; i++) {
        const struct cluster_disk *disk = &map->disks[i];
        const DiskReport *r = report_of(c->view.facts.reports, disk->id);
        if (disk->admin == DISK_IN && disk->up && (!r || r->shards != expected[i]))
            snprintf(words, 160, "disk %u holds %lld shards, metadata names %llu", disk->id,
                     r ? (long long)r->shards : -1, (unsigned long long)expected[i]);
    }
}

/* What writes that failed have left behind, and former holders' copies, goes with age. Not where log time
 * stands still for long. */
static void check_orphans(struct checking *c)
{
    char words[160];
    int64_t until = sys_now() + WHOLE_WITHIN;
    if (c->work->cluster->short_age == 0 || c->work->skewed)
        return;
    for (compare_counts(c, words); words[0] && sys_now() < until && !c->work->failed;
         compare_counts(c, words))
        sys_sleep_until(sys_now() + ORPHANS_EVERY);
    if (words[0])
        workload_fail(c->work, "%s: %s", c->when, words);
}

/* ---- all ---- */

/* Of the embedded form: as its pool asks for, of its directories. */
static uint32_t members_wanted(const struct sim_cluster *c)
{
    uint32_t wanted = 2 * c->m + 1 < c->disks_each ? 2 * c->m + 1 : c->disks_each;
    wanted = wanted < SERVER_MEMBERS_MAX ? wanted : SERVER_MEMBERS_MAX;
    return wanted - (wanted % 2 == 0);
}

/* As many members vote as are wanted, and each of them answers, also after a directory went with its
 * member. */
static bool group_is_whole(struct cluster_view *v, const struct sim_cluster *c)
{
    size_t wanted = members_wanted(c);
    view_forget(v);
    if (view_ask_members(v) != OK || v->facts.members->n_members != wanted)
        return false;
    for (size_t i = 0; i < wanted; i++)
        if (!v->facts.members->members[i]->voter || v->facts.member_answers[i] != OK)
            return false;
    return true;
}

static void check_group(struct checking *c)
{
    int64_t until = sys_now() + GIVE_UP_WITHIN;
    while (c->work->cluster->embedded && !group_is_whole(&c->view, c->work->cluster)) {
        if (sys_now() >= until)
            return workload_fail(c->work, "%s: metadata members are missing", c->when);
        sys_sleep_until(sys_now() + SYS_SECOND);
    }
}

void check_whole(struct workload *w, const char *when)
{
    struct checking *c = sys_alloc(sizeof *c);
    memset(c, 0, sizeof *c);
    c->work = w;
    c->when = when;
    if (sim_cluster_view(w->cluster, &c->view) != OK)
        workload_fail(w, "the operator finds no cluster");
    if (!w->failed)
        check_group(c);
    if (!w->failed)
        verify_all(c);
    if (!w->failed)
        check_chunks(c);
    if (!w->failed)
        check_orphans(c);
    view_close(&c->view);
    sys_free(c);
}

/* ---- losing disks ---- */

/* In the embedded form a member goes with the disk, when a majority is left. */
static enum err wipe(const struct workload *w, uint32_t disk)
{
    struct sim_cluster *c = w->cluster;
    char path[SIM_PATH];
    if (c->embedded && w->lost > (members_wanted(c) - 1) / 2)
        sim_disk_store(c, disk, path);
    else
        sim_disk_path(c, disk, path);
    return sim_disk_wipe(sim_disk_host(c, disk), path);
}

/* Each disk that was given up has another in its place. */
static void await_disks(struct workload *w)
{
    int64_t until = sys_now() + GIVE_UP_WITHIN;
    for (uint32_t i = 0; i < sim_disk_count(w->cluster) && !w->failed;) {
        sim_cluster_note_disks(w->cluster);
        if (w->cluster->disk_ids[i])
            i++;
        else if (sys_now() < until)
            sys_sleep_until(sys_now() + SYS_SECOND);
        else
            workload_fail(w, "disk %u does not become known", i);
    }
}

void check_lose_disks(struct workload *w, uint32_t count)
{
    struct sim_cluster *c = w->cluster;
    uint32_t disks = sim_disk_count(c);
    await_disks(w);
    w->lost_first = (uint32_t)(sim_random() % disks);
    w->lost = count;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t n = (w->lost_first + i) % disks;
        c->lost_ids[i] = c->disk_ids[n];
        if (!c->embedded) {
            sim_restart_after(sim_disk_pid(c, n), c->restart_after);
            sim_crash(sim_disk_pid(c, n));
        }
        if (wipe(w, n) != OK)
            workload_fail(w, "disk %u cannot be wiped", n);
    }
    if (!c->embedded)
        return;
    /* All is in this process; it comes back and goes on behind this. */
    sim_crash(c->client);
    sys_sleep_until(sys_now() + SYS_SECOND);
}

static void give_up(struct cluster_view *v, disk_id disk)
{
    SetDiskState body = SET_DISK_STATE__INIT;
    Command command = COMMAND__INIT;
    Result *result;
    body.disk = disk;
    body.admin_state = DISK_FAILED;
    command.body_case = COMMAND__BODY_SET_DISK_STATE;
    command.set_disk_state = &body;
    if (view_execute(v, &command, &result) != OK)
        return; /* seen again in the next round */
}

/* How many of the lost disks still count as there, and how many have no other in their place. */
static uint32_t still_open(struct cluster_view *v, const struct workload *w)
{
    const struct sim_cluster *c = w->cluster;
    uint32_t open = 0;
    for (uint32_t i = 0; i < w->lost; i++) {
        disk_id now = c->disk_ids[(w->lost_first + i) % sim_disk_count(c)];
        const struct cluster_disk *old = cluster_map_disk(v->map, c->lost_ids[i]);
        const struct cluster_disk *new = now ? cluster_map_disk(v->map, now) : NULL;
        bool gone = !old || old->admin == DISK_FAILED || old->admin == DISK_OUT;
        open += !gone || !new || !new->up || now == c->lost_ids[i];
        if (!gone && !old->up)
            give_up(v, old->id);
    }
    return open;
}

void check_give_up_lost(struct workload *w)
{
    struct cluster_view v;
    if (sim_cluster_view(w->cluster, &v) != OK)
        return workload_fail(w, "the operator finds no cluster");
    /* The processes came back with other disks; the old ones stay silent. Some may have been failed or
     * drained before they were lost. */
    int64_t until = sys_now() + GIVE_UP_WITHIN;
    bool done = false;
    while (!done && sys_now() < until && !w->failed) {
        sys_sleep_until(sys_now() + SYS_SECOND);
        sim_cluster_note_disks(w->cluster);
        view_forget(&v);
        done = view_ask_map(&v) == OK && still_open(&v, w) == 0;
    }
    if (!done)
        workload_fail(w, "not all of %u lost disks are seen as down and replaced", w->lost);
    view_close(&v);
}
