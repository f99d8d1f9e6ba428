/* Opening: follow the chain of batches through all segments, take what is whole, cut a torn tail,
 * stop at rot below a known end (L3). */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "common/sys/log.h"
#include "metadata/log_recover.h"

static void collect_name(void *arg, const char *name, bool is_dir)
{
    struct log_names *names = arg;
    if (is_dir || strlen(name) >= sizeof names->v[0].name ||
        (strncmp(name, "segment-", 8) != 0 && strncmp(name, "spare-", 6) != 0))
        return;
    if (names->n == names->capacity) {
        names->capacity = names->capacity ? names->capacity * 2 : 16;
        names->v = sys_realloc(names->v, names->capacity * sizeof *names->v);
    }
    struct log_name *one = &names->v[names->n++];
    memcpy(one->name, name, strlen(name) + 1);
    one->spare = name[1] == 'p';
    one->sequence = one->spare ? 0 : strtoull(name + 8, NULL, 16);
}

/* A spare that is there is used; more than one would only be waste. */
static enum err keep_spare(struct log_store *s, const char *name)
{
    char path[SYS_PATH_MAX];
    if (!s->spare_name[0]) {
        memcpy(s->spare_name, name, strlen(name) + 1);
        return OK;
    }
    log_store_path(s, name, path);
    return sys_unlink(path);
}

/* A segment that was named before the one before it was sealed: nothing in it counts. */
static enum err give_back(struct log_store *s, uint64_t sequence)
{
    char name[64], from[SYS_PATH_MAX], to[SYS_PATH_MAX];
    log_store_segment_name(sequence, name);
    log_store_path(s, name, from);
    log_store_spare_random_name(name);
    log_store_path(s, name, to);
    enum err e = sys_rename(from, to);
    if (!e)
        e = sys_dir_sync(s->directory);
    return e ? e : keep_spare(s, name);
}

static enum err follow(struct log_scan *scan, const struct log_names *names)
{
    struct log_store *s = scan->store;
    uint64_t expected = 0;
    size_t at = 0;
    for (; at < names->n; at++) {
        if (names->v[at].spare)
            continue;
        uint64_t sequence = names->v[at].sequence;
        if (expected && sequence != expected)
            return log_store_scan_corrupt(scan, "a segment is missing");
        if (expected && !scan->sealed)
            break;
        enum err e = log_store_scan_segment(scan, sequence);
        if (e)
            return e;
        expected = sequence + 1;
    }
    if (expected == 0)
        return ERR_NOT_FOUND;
    if (scan->sealed)
        return log_store_scan_corrupt(scan, "the segment that follows a sealed one is missing");
    size_t tail = at;
    for (; at < names->n; at++) {
        enum err e =
            names->v[at].spare ? OK : log_store_scan_evidence_in(scan, names->v[at].sequence);
        if (e)
            return e;
    }
    for (at = 0; at < names->n; at++) {
        enum err e = OK;
        if (names->v[at].spare)
            e = keep_spare(s, names->v[at].name);
        else if (at >= tail)
            e = give_back(s, names->v[at].sequence);
        if (e)
            return e;
    }
    return OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct log_name *)a)->name, ((const struct log_name *)b)->name);
}

static enum err lock_directory(struct log_store *s)
{
    char path[SYS_PATH_MAX];
    log_store_path(s, "lock", path);
    enum err e = sys_file_open(path, SYS_OPEN_WRITE | SYS_OPEN_CREATE, &s->lock);
    return e ? e : sys_file_lock_wait(s->lock);
}

static enum err finish(struct log_scan *scan, struct log_recovery *out)
{
    struct log_store *s = scan->store;
    bool from_start = s->segments[0].sequence == 1;
    if (s->compact_first_sequence ? s->segments[0].sequence > s->compact_first_sequence
                                  : !from_start)
        return log_store_scan_corrupt(scan, "its first segments are missing");
    if (scan->floating || s->terms.base_index < s->compact_configuration.index)
        return log_store_scan_corrupt(scan, "entries are missing");
    if (s->hard.commit > s->terms.last_index)
        s->hard.commit = s->terms.last_index;
    out->identity = s->identity;
    out->hard = s->hard;
    out->cut_bytes = scan->cut_bytes;
    term_runs_copy(&out->terms, &s->terms);
    log_store_configurations_compact(s, s->terms.base_index);
    if (s->compact_configuration.payload)
        raft_entries_push(&out->configurations, &s->compact_configuration);
    for (size_t i = 0; i < s->configurations.n; i++)
        raft_entries_push(&out->configurations, &s->configurations.v[i]);
    if (scan->cut_bytes)
        log_warn("log",
                 "cut a torn tail that was never acknowledged log=%s segment=%" PRIu64
                 " offset=%" PRIu64 " bytes=%" PRIu64,
                 s->directory, log_store_segment_last(s)->sequence, s->end, scan->cut_bytes);
    return OK;
}

static enum err recover(struct log_store *s, struct log_recovery *out)
{
    struct log_names names = {0};
    struct log_scan scan = {.store = s};
    enum err e = sys_dir_list(s->directory, collect_name, &names);
    if (!e && names.n == 0)
        e = ERR_NOT_FOUND;
    if (!e) {
        qsort(names.v, names.n, sizeof *names.v, by_name);
        e = follow(&scan, &names);
    }
    if (!e) /* what was read may not have been durable yet, nor its name */
        e = sys_file_sync(s->file);
    if (!e)
        e = sys_dir_sync(s->directory);
    if (!e)
        e = finish(&scan, out);
    s->known_sequence = s->segment_count ? log_store_segment_last(s)->sequence : 0;
    s->known_offset = s->end;
    sys_free(names.v);
    log_store_scan_release(&scan);
    return e;
}

enum err log_store_open(const struct log_store_options *options, struct log_store **out,
                        struct log_recovery *recovery)
{
    *recovery = (struct log_recovery){0};
    if (strlen(options->directory) > SYS_PATH_MAX - 80)
        return ERR_TOO_BIG;
    struct log_store *s = sys_alloc(sizeof *s);
    size_t n = strlen(options->directory) + 1;
    s->directory = memcpy(sys_alloc(n), options->directory, n);
    s->segment_bytes = options->segment_bytes ? options->segment_bytes : LOG_SEGMENT_DEFAULT;
    if (s->segment_bytes < LOG_SEGMENT_MIN)
        s->segment_bytes = LOG_SEGMENT_MIN;
    s->segment_bytes -= s->segment_bytes % LOG_BLOCK;
    s->batch_bytes = options->batch_bytes ? options->batch_bytes : LOG_BATCH_DEFAULT;
    sys_random(&s->incarnation, sizeof s->incarnation);
    enum err e = lock_directory(s);
    if (!e)
        e = recover(s, recovery);
    if (e) {
        log_recovery_release(recovery);
        log_store_close(s);
        return e;
    }
    *out = s;
    return OK;
}

void log_recovery_release(struct log_recovery *r)
{
    term_runs_release(&r->terms);
    raft_entries_release(&r->configurations);
}

void log_store_close(struct log_store *s)
{
    if (s->spare)
        sys_file_close(s->spare);
    if (s->file)
        sys_file_close(s->file);
    if (s->lock)
        sys_file_close(s->lock);
    raft_payload_unref(s->compact_configuration.payload);
    raft_entries_release(&s->configurations);
    term_runs_release(&s->terms);
    sys_free(s->segments);
    sys_free(s->places);
    sys_free(s->buffer);
    sys_free(s->directory);
    sys_free(s);
}

uint64_t log_store_base(const struct log_store *s)
{
    return s->terms.base_index;
}

uint64_t log_store_used(const struct log_store *s)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < s->segment_count; i++)
        bytes += s->segments[i].bytes;
    return bytes;
}

void log_store_status(const struct log_store *s, struct log_store_status *out)
{
    uint64_t in_use = log_store_used(s);
    *out = (struct log_store_status){
        .first_index = s->terms.base_index + 1,
        .last_index = s->terms.last_index,
        .segments = s->segment_count,
        .spares = s->spare_name[0] != 0,
        .used_bytes = in_use,
        .bytes = in_use + (s->spare_name[0] ? s->segment_bytes : 0),
        .appends = s->appends,
        .syncs = s->syncs,
        .written_bytes = s->written_bytes,
    };
}
