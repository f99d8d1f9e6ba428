/* `cairn chunk ..`: one disk, while no server has it open. */
#include <stdio.h>
#include <string.h>
#include "chunkserver/shard_check.h"
#include "common/sys/log.h"
#include "common/sys/sys.h"
#include "tools/verb_view.h"
#include "tools/verbs.h"

enum { FAULTS_SHOWN = 1000 };

struct chunk_view {
    struct cli *cli;
    const char *directory;
    struct shard_check *check;
    struct cli_progress bar;
    struct arena arena;
    json_t *faults; /* with --json; at most FAULTS_SHOWN */
    uint64_t shown;
};

/* ---- begin, end ---- */

static int open_disk(struct cli *cli, int argc, char **argv, const char *label,
                     struct chunk_view *v)
{
    memset(v, 0, sizeof *v);
    v->cli = cli;
    int status = cli_options(cli, NULL, &argc, argv);
    if (!status && argc != 1)
        status = cli_usage(cli, argc ? "one disk at a time" : "which disk? name its directory");
    if (status)
        return status;
    v->directory = argv[0];
    log_level_set(LOG_ERROR); /* what a log warns of is told as a fault */
    enum err e = shard_check_open(v->directory, &v->check);
    if (e == ERR_DISK_IN_USE)
        return cli_failed("%s is open in a server: stop that first", v->directory);
    if (e == ERR_NOT_FOUND)
        return cli_failed(
            "%s is no disk: it has no superblock (the disk of `cairn server --data D` "
            "is D/disk)",
            v->directory);
    if (e)
        return cli_failed("%s cannot be looked at: %s", v->directory, err_text(e));
    arena_init(&v->arena);
    cli_progress_init(&v->bar, cli, label);
    return CLI_OK;
}

static void close_disk(struct chunk_view *v)
{
    shard_check_close(v->check);
    arena_release(&v->arena);
}

static void show_progress(void *arg, uint64_t done, uint64_t total)
{
    struct chunk_view *v = arg;
    char note[64];
    snprintf(note, sizeof note, "%.1f of %.1f MiB", (double)done / 1048576,
             (double)total / 1048576);
    cli_progress_update(&v->bar, done, total, note);
}

static json_t *json_count(uint64_t n)
{
    return json_integer((json_int_t)n);
}

static const char *chunk_text(struct chunk_view *v, const struct stored_shard *shard)
{
    uint8_t bytes[CHUNK_ID_BYTES];
    chunk_id_encode(&shard->id.chunk, bytes);
    return arena_hex(&v->arena, bytes, sizeof bytes);
}

/* ---- verify ---- */

static void show_fault(void *arg, const struct shard_fault *f)
{
    struct chunk_view *v = arg;
    if (v->shown++ >= FAULTS_SHOWN)
        return;
    if (v->cli->json) {
        json_t *o = json_pack("{s:s}", "fault", shard_fault_name(f->kind));
        if (f->extent)
            json_object_set_new(o, "extent", json_count(f->extent));
        if (f->shard.k) {
            json_object_set_new(o, "offset", json_count(f->offset));
            json_object_set_new(o, "pool", json_count(f->shard.pool));
            json_object_set_new(o, "chunk", json_string(chunk_text(v, &f->shard)));
            json_object_set_new(o, "index", json_count(f->shard.id.index));
        }
        json_array_append_new(v->faults, o);
        return;
    }
    cli_progress_release(&v->bar);
    printf("%s", shard_fault_name(f->kind));
    if (f->extent)
        printf(" extent %u", f->extent);
    if (f->shard.k)
        printf(" offset %llu: pool %u chunk %s shard %u", (unsigned long long)f->offset,
               f->shard.pool, chunk_text(v, &f->shard), f->shard.id.index);
    printf("\n");
}

static void print_counts(struct chunk_view *v, const struct shard_check_result *r)
{
    json_t *records = json_object(), *faults = json_object();
    for (int i = 0; i < RECORD_STATES; i++)
        json_object_set_new(records, shard_record_state_name((enum shard_record_state)i),
                            json_pack("{s:o, s:o}", "count", json_count(r->records[i]), "bytes",
                                      json_count(r->record_bytes[i])));
    for (int i = 0; i < FAULT_KINDS; i++)
        json_object_set_new(faults, shard_fault_name((enum shard_fault_kind)i),
                            json_count(r->faults[i]));
    cli_print_json(json_pack(
        "{s:s, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:O}", "directory", v->directory,
        "sound", r->fault_count == 0, "extents", json_count(r->extents), "extent_bytes",
        json_count(r->extent_bytes), "records", records, "indexed", json_count(r->indexed),
        "blocks_verified", json_count(r->blocks), "bytes_verified", json_count(r->bytes), "faults",
        faults, "fault_count", json_count(r->fault_count), "found", v->faults));
}

static void print_verified(struct chunk_view *v, const struct shard_check_result *r)
{
    if (v->shown > FAULTS_SHOWN)
        printf("and %llu more\n", (unsigned long long)(v->shown - FAULTS_SHOWN));
    printf("%s: %llu shards in %llu extents, %llu blocks read, %s\n", v->directory,
           (unsigned long long)(r->records[RECORD_LIVE] + r->records[RECORD_BEHIND]),
           (unsigned long long)r->extents, (unsigned long long)r->blocks,
           r->fault_count ? "with faults" : "all sound");
    if (r->records[RECORD_BEHIND])
        printf("%llu records are younger than the index: the next start takes them over\n",
               (unsigned long long)r->records[RECORD_BEHIND]);
    if (r->records[RECORD_DEAD])
        printf("%llu dead records wait for compaction\n",
               (unsigned long long)r->records[RECORD_DEAD]);
    if (r->faults[FAULT_INDEX])
        printf("the index cannot be used: the next start rebuilds it, or now: cairn chunk "
               "rebuild-index %s\n",
               v->directory);
    if (r->faults[FAULT_MISSING] + r->faults[FAULT_CORRUPT] + r->faults[FAULT_UNREADABLE])
        printf("shards with faults are repaired from the others once this disk is served again and "
               "they are read or verified\n");
}

static int run_verify(struct cli *cli, int argc, char **argv)
{
    struct chunk_view v;
    struct shard_check_result r;
    int status = open_disk(cli, argc, argv, "verify", &v);
    if (status)
        return status;
    v.faults = json_array();
    const struct shard_check_watcher w = {
        .arg = &v, .progress = show_progress, .fault = show_fault};
    enum err e = shard_check_verify(v.check, &w, &r);
    cli_progress_release(&v.bar);
    if (e)
        status = cli_failed("%s could not be verified: %s", v.directory, err_text(e));
    else if (cli->json)
        print_counts(&v, &r);
    else
        print_verified(&v, &r);
    if (!status && r.fault_count)
        status = CLI_FAILED;
    json_decref(v.faults);
    close_disk(&v);
    return status;
}

/* ---- dump ---- */

/* One at a time: a disk has more records than fit into memory. */
static void show_record(void *arg, const struct shard_record *r)
{
    struct chunk_view *v = arg;
    const struct stored_shard *s = &r->shard;
    arena_clear(&v->arena);
    if (!v->cli->json) {
        if (v->shown++ == 0)
            printf("%8s %10s %9s %-10s %5s %-32s %5s %9s %s\n", "extent", "offset", "bytes",
                   "state", "pool", "chunk", "shard", "length", "sequence");
        printf("%8u %10llu %9llu %-10s %5u %-32s %5u %9u %llu\n", r->extent,
               (unsigned long long)r->offset, (unsigned long long)r->bytes,
               shard_record_state_name(r->state), s->pool, chunk_text(v, s), s->id.index, s->length,
               (unsigned long long)r->sequence);
        return;
    }
    json_t *o =
        json_pack("{s:o, s:o, s:o, s:s, s:o, s:s, s:o, s:o, s:o}", "extent", json_count(r->extent),
                  "offset", json_count(r->offset), "bytes", json_count(r->bytes), "state",
                  shard_record_state_name(r->state), "pool", json_count(s->pool), "chunk",
                  chunk_text(v, s), "index", json_count(s->id.index), "length",
                  json_count(s->length), "sequence", json_count(r->sequence));
    json_object_set_new(o, "chunk_length", json_count(s->chunk_length));
    json_object_set_new(o, "k", json_count(s->k));
    json_object_set_new(o, "m", json_count(s->m));
    json_object_set_new(
        o, "nonce", json_string(arena_format(&v->arena, "%016llx", (unsigned long long)s->nonce)));
    json_object_set_new(o, "began", json_integer(s->began));
    fputs(v->shown++ ? ",\n " : "\n ", stdout);
    json_dumpf(o, stdout, JSON_COMPACT);
    json_decref(o);
}

static int run_dump(struct cli *cli, int argc, char **argv)
{
    struct chunk_view v;
    struct shard_check_result r;
    int status = open_disk(cli, argc, argv, "dump", &v);
    if (status)
        return status;
    const struct shard_check_watcher w = {.arg = &v, .record = show_record};
    if (cli->json)
        printf("[");
    enum err e = shard_check_records(v.check, &w, &r);
    if (cli->json)
        printf("\n]\n");
    if (e)
        status = cli_failed("%s could not be listed to its end: %s", v.directory, err_text(e));
    close_disk(&v);
    return status;
}

/* ---- rebuild-index ---- */

static int run_rebuild(struct cli *cli, int argc, char **argv)
{
    struct chunk_view v;
    uint64_t shards = 0, bytes = 0;
    int status = open_disk(cli, argc, argv, "rebuild-index", &v);
    if (status)
        return status;
    const struct shard_check_watcher w = {.arg = &v, .progress = show_progress};
    enum err e = shard_check_rebuild(v.check, &w, &shards, &bytes);
    cli_progress_release(&v.bar);
    if (e)
        status = cli_failed("the index of %s could not be rebuilt: %s", v.directory, err_text(e));
    else if (cli->json)
        cli_print_json(json_pack("{s:s, s:o, s:o}", "directory", v.directory, "shards",
                                 json_count(shards), "bytes", json_count(bytes)));
    else
        printf("%s: the index was rebuilt, %llu shards\n", v.directory, (unsigned long long)shards);
    close_disk(&v);
    return status;
}

const struct cli_verb chunk_verbs[] = {
    {"verify", "DIR", "Read every block of a disk that no server has open",
     "Every record is read and compared with its checksums, and compared with the index in both\n"
     "directions. Nothing is changed. Exit status 1 when something is not as it ought to be:\n"
     "  superblock   one of its two copies is bad\n"
     "  index        missing or damaged; the next start rebuilds it\n"
     "  extent       header, reservation log or blocks of it are bad\n"
     "  missing      the index names a record that is not there\n"
     "  corrupt      a record does not match its checksums\n"
     "  unreadable   the disk cannot read it\n",
     run_verify, NULL},
    {"dump", "DIR", "List the records of a disk that no server has open",
     "state: live (the index names it), dead (deleted or replaced), behind (younger than the\n"
     "index), unfinished (never acknowledged).\n",
     run_dump, NULL},
    {"rebuild-index", "DIR", "Make the index anew from the extents alone",
     "For a disk that no server has open; a server does the same by itself when it finds the "
     "index\n"
     "missing or damaged. Deleted shards whose space was not given back yet may be in it again.\n",
     run_rebuild, NULL},
    {0},
};
