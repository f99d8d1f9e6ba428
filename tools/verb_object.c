/* `cairn object show`: where each shard of an object lies, and whether it verifies there. The disks
 * read every byte of every shard and check it; nothing is sent but the verdicts. */
#include <stdio.h>
#include <string.h>
#include "common/base/text.h"
#include "common/proto/message_types.h"
#include "common/sys/sys.h"
#include "tools/verb_view.h"
#include "tools/verbs.h"

#define VERIFY_ASK (30 * SYS_SECOND)

enum verdict { SHARD_OK, SHARD_MOVED, SHARD_MISSING, SHARD_CORRUPT, SHARD_DOWN, SHARD_FOREIGN };
enum { VERDICTS = 6 };
static const char *const verdict_names[VERDICTS] = {
    "ok", "ok, on the older holder", "missing", "corrupt", "disk down", "of another attempt"};

struct showing {
    struct cluster_view *view;
    struct cli_table *table;
    uint64_t count[VERDICTS];
    uint64_t chunks, chunks_lost, chunks_degraded;
    bool unasked; /* a chunk whose row could not be read */
};

static enum err ask_disk(struct showing *s, const struct cluster_disk *disk, uint32_t pool,
                         const struct chunk_id *id, unsigned index, ShardVerifyReply **out)
{
    uint8_t bytes[CHUNK_ID_BYTES];
    ShardVerify ask = SHARD_VERIFY__INIT;
    ProtobufCMessage *reply;
    chunk_id_encode(id, bytes);
    ask.disk = disk->id;
    ask.pool = pool;
    ask.chunk_id = (ProtobufCBinaryData){sizeof bytes, bytes};
    ask.index = index;
    enum err e = view_call(s->view, disk->address, MSG_SHARD_VERIFY, &ask.base,
                           &shard_verify_reply__descriptor, VERIFY_ASK, &reply);
    *out = (ShardVerifyReply *)reply;
    return !e && !reply ? ERR_FORMAT : e;
}

/* The best of what the slot's holders say, newest first; *at is whose word it is. */
static enum verdict judge_shard(struct showing *s, const struct cluster_pool *pool, uint32_t pg,
                                const struct chunk_id *id, unsigned index, uint64_t nonce,
                                disk_id *at)
{
    const struct pg_slot *slot = pool_slot(pool, pg, index);
    enum verdict worst = SHARD_MISSING;
    *at = slot_newest(slot);
    for (unsigned h = 0; h < slot->count; h++) {
        const struct cluster_disk *disk = cluster_map_disk(s->view->map, slot->holders[h].disk);
        ShardVerifyReply *reply = NULL;
        enum verdict here = SHARD_DOWN;
        if (disk && disk->up && disk->admin != DISK_FAILED) {
            enum err e = ask_disk(s, disk, pool->id, id, index, &reply);
            here = e == ERR_NOT_FOUND               ? SHARD_MISSING
                   : e == ERR_CORRUPT               ? SHARD_CORRUPT
                   : e                              ? SHARD_DOWN
                   : reply->nonce != nonce && nonce ? SHARD_FOREIGN
                   : h                              ? SHARD_MOVED
                                                    : SHARD_OK;
        }
        if (here <= SHARD_MOVED) {
            *at = slot->holders[h].disk;
            return here;
        }
        if (here > worst) {
            worst = here;
            *at = slot->holders[h].disk;
        }
    }
    return worst;
}

static enum err chunk_nonce(struct showing *s, uint32_t pool, const struct chunk_id *id,
                            uint64_t *nonce)
{
    uint8_t bytes[CHUNK_ID_BYTES];
    GetChunk get = GET_CHUNK__INIT;
    Query query = QUERY__INIT;
    Answer *answer;
    chunk_id_encode(id, bytes);
    get.pool = pool;
    get.chunk_id = (ProtobufCBinaryData){sizeof bytes, bytes};
    query.body_case = QUERY__BODY_GET_CHUNK;
    query.get_chunk = &get;
    *nonce = 0;
    enum err e = view_query(s->view, &query, &answer);
    if (!e && answer->n_chunks == 1)
        *nonce = answer->chunks[0]->nonce;
    return !e && answer->n_chunks != 1 ? ERR_NOT_FOUND : e;
}

static void show_shard(struct showing *s, const struct cluster_pool *pool, uint32_t pg,
                       const struct chunk_id *id, uint32_t length, unsigned index, disk_id at,
                       enum verdict verdict)
{
    struct arena *a = &s->view->arena;
    const struct cluster_disk *disk = cluster_map_disk(s->view->map, at);
    const char *host = disk ? disk->host : "-";
    const char *chunk =
        arena_format(a, "%s.%u", view_hex(s->view, id->write.bytes, WRITE_ID_BYTES), id->sequence);
    cli_table_row(s->table,
                  (const char *const[]){chunk, arena_format(a, "%s/%u", pool->name, pg),
                                        arena_format(a, "%u", length), arena_format(a, "%u", index),
                                        index < pool->k ? "data" : "parity",
                                        arena_format(a, "%u", at), host, verdict_names[verdict]});
}

static void show_chunk(struct showing *s, uint32_t pool_id, const struct chunk_id *id,
                       uint32_t length)
{
    const struct cluster_pool *pool = cluster_map_pool(s->view->map, pool_id);
    uint64_t nonce;
    unsigned good = 0;
    s->chunks++;
    if (!pool) {
        s->chunks_lost++;
        return;
    }
    if (chunk_nonce(s, pool_id, id, &nonce) != OK)
        s->unasked = true;
    uint32_t pg = pg_of_chunk(pool, id);
    for (unsigned i = 0; i < pool_width(pool); i++) {
        disk_id at;
        enum verdict verdict = judge_shard(s, pool, pg, id, i, nonce, &at);
        s->count[verdict]++;
        good += verdict <= SHARD_MOVED;
        show_shard(s, pool, pg, id, length, i, at, verdict);
    }
    s->chunks_lost += good < pool->k;
    s->chunks_degraded += good >= pool->k && good < pool_width(pool);
}

static void show_runs(struct showing *s, const ObjectBody *body)
{
    for (size_t i = 0; i < body->n_runs; i++) {
        const ChunkRun *run = body->runs[i];
        if (run->write_id.len != WRITE_ID_BYTES)
            continue;
        for (uint32_t n = 0; n < run->count; n++) {
            struct chunk_id id = {.sequence = run->first_sequence + n};
            memcpy(id.write.bytes, run->write_id.data, WRITE_ID_BYTES);
            show_chunk(s, run->pool, &id, n + 1 == run->count ? run->last_length : run->chunk_size);
        }
    }
}

static bool whole(const struct showing *s)
{
    return s->count[SHARD_MISSING] + s->count[SHARD_CORRUPT] + s->count[SHARD_DOWN] +
                   s->count[SHARD_FOREIGN] ==
               0 &&
           s->chunks_lost == 0 && !s->unasked;
}

static void print_people(const struct showing *s, const char *name, const Answer *answer)
{
    const ObjectHead *head = answer->head;
    char modified[TIME_TEXT];
    time_format_iso(head->modified, modified);
    printf("%s\n  %llu bytes, ETag \"%.*s\", %s, %s, version %llu\n", name,
           (unsigned long long)head->size, (int)head->etag.len, (const char *)head->etag.data,
           head->content_type[0] ? head->content_type : "no content type", modified,
           (unsigned long long)head->version);
    if (s->chunks == 0) {
        printf("  kept in the metadata group: %zu bytes, as safe as its members\n",
               answer->body ? answer->body->inline_data.len : 0);
        return;
    }
    printf("  %llu chunks: ", (unsigned long long)s->chunks);
    for (unsigned i = 0, printed = 0; i < VERDICTS; i++)
        if (s->count[i])
            printf("%s%llu shards %s", printed++ ? ", " : "", (unsigned long long)s->count[i],
                   verdict_names[i]);
    printf("\n");
    if (s->chunks_lost)
        printf("  %llu chunks cannot be read: bring the disks back that are down\n",
               (unsigned long long)s->chunks_lost);
    else if (s->chunks_degraded)
        printf("  readable; %llu chunks have less redundancy\n",
               (unsigned long long)s->chunks_degraded);
    if (s->unasked)
        printf("  some chunks are not in the list of chunks: the object was replaced meanwhile, "
               "or the list is wrong\n");
    printf("\n");
}

static void print_json(const struct showing *s, const char *name, const Answer *answer)
{
    static const char *const keys[VERDICTS] = {"ok",      "ok_older", "missing",
                                               "corrupt", "down",     "foreign"};
    const ObjectHead *head = answer->head;
    json_t *out = json_pack("{s:s, s:s%, s:s, s:b, s:b}", "object", name, "etag",
                            (const char *)head->etag.data, head->etag.len, "content_type",
                            head->content_type, "inline", s->chunks == 0, "whole", whole(s));
    json_object_set_new(out, "size", json_integer((json_int_t)head->size));
    json_object_set_new(out, "version", json_integer((json_int_t)head->version));
    json_object_set_new(out, "chunks", json_integer((json_int_t)s->chunks));
    json_object_set_new(out, "chunks_lost", json_integer((json_int_t)s->chunks_lost));
    json_object_set_new(out, "chunks_degraded", json_integer((json_int_t)s->chunks_degraded));
    for (unsigned i = 0; i < VERDICTS; i++)
        json_object_set_new(out, keys[i], json_integer((json_int_t)s->count[i]));
    json_object_set_new(out, "shards", cli_table_json(s->table));
    cli_print_json(out);
}

static int show(struct cli *cli, struct cluster_view *v, const char *name)
{
    static const char *const columns[] = {"chunk", "pg",   "length", "shard", "holds",
                                          "disk",  "host", "state",  NULL};
    const char *slash = strchr(name, '/');
    GetObject get = GET_OBJECT__INIT;
    Query query = QUERY__INIT;
    Answer *answer;
    get.bucket = (ProtobufCBinaryData){(size_t)(slash - name), (uint8_t *)(uintptr_t)name};
    get.key = (ProtobufCBinaryData){strlen(slash + 1), (uint8_t *)(uintptr_t)(slash + 1)};
    get.want_body = true;
    query.body_case = QUERY__BODY_GET_OBJECT;
    query.get_object = &get;
    enum err e = view_query(v, &query, &answer);
    if (e == ERR_NO_BUCKET || e == ERR_NO_KEY || e == ERR_NOT_FOUND)
        return cli_failed("%s: %s", name, err_text(e));
    if (e || !answer->head)
        return view_failed(v, e ? e : ERR_FORMAT, name);
    int status = view_need_map(v);
    if (status)
        return status;
    struct showing s = {.view = v, .table = cli_table_new(columns)};
    if (answer->body)
        show_runs(&s, answer->body);
    if (cli->json) {
        print_json(&s, name, answer);
    } else {
        print_people(&s, name, answer);
        if (s.chunks)
            cli_table_print(cli, s.table);
    }
    cli_table_free(s.table);
    return whole(&s) ? CLI_OK : CLI_FAILED;
}

static int run_show(struct cli *cli, int argc, char **argv)
{
    struct cluster_view v;
    int status = cli_options(cli, NULL, &argc, argv);
    if (!status && argc != 1)
        status = cli_usage(cli, argc ? "one object at a time" : "which object? BUCKET/KEY");
    if (status)
        return status;
    const char *slash = strchr(argv[0], '/');
    if (!slash || slash == argv[0] || !slash[1])
        return cli_usage(cli, "\"%.60s\" is not BUCKET/KEY", argv[0]);
    status = view_open(cli, &v);
    if (!status)
        status = show(cli, &v, argv[0]);
    view_close(&v);
    return status;
}

const struct cli_verb object_verbs[] = {
    {"show", "BUCKET/KEY", "Show where each shard of an object lies and whether it verifies",
     "Every disk reads and checks its shards. Exit status 1 when one of them is missing, corrupt "
     "or\n"
     "on a disk that does not answer.\n",
     run_show, NULL},
    {0},
};
