/* Reads of a shard: the blocks that cover a range, each checked against the record's table.
 *
 * The table lies behind the data. When the range ends near it, one read fetches both; else it is
 * read by itself and kept: a chunk is mostly read range after range.
 *
 * What does not match is told apart: a record whose header reads as zeros is missing (it was deleted
 * meanwhile, or its write was lost), everything else has rotted. */
#include <string.h>
#include "chunkserver/store_internal.h"
#include "common/sys/log.h"

enum { TAIL_NEAR = 65536, LOOKUPS_MAX = 4 };

size_t shard_read_room(uint32_t offset, uint32_t length)
{
    return (size_t)shard_read_pieces(offset, length) * SHARD_BLOCK + 2 * SYS_BLOCK +
           round_up(RECORD_TAIL_MAX, SYS_BLOCK);
}

uint32_t shard_read_pieces(uint32_t offset, uint32_t length)
{
    if (length == 0)
        return 0;
    return (uint32_t)(((uint64_t)offset + length - 1) / SHARD_BLOCK - offset / SHARD_BLOCK + 1);
}

static bool same_place(const struct place *a, const struct place *b)
{
    return a->extent == b->extent && a->offset == b->offset;
}

/* ---- tables ---- */

static bool table_get(struct shard_store *s, const struct place *place, uint32_t first,
                      uint32_t count, uint32_t *out)
{
    bool found = false;
    sys_mutex_lock(&s->lock);
    for (unsigned i = 0; i < TABLES_MAX && !found; i++) {
        struct table_slot *t = &s->tables[i];
        if (!t->crcs || !same_place(&t->place, place) || first + count > t->count)
            continue;
        memcpy(out, t->crcs + first, count * sizeof(*out));
        t->used_at = ++s->clock;
        found = true;
    }
    sys_mutex_unlock(&s->lock);
    return found;
}

static void table_keep(struct shard_store *s, const struct place *place, const uint32_t *crcs,
                       uint32_t count)
{
    uint32_t *copy = sys_alloc(count * sizeof(*copy));
    memcpy(copy, crcs, count * sizeof(*copy));
    sys_mutex_lock(&s->lock);
    struct table_slot *t = &s->tables[0];
    for (unsigned i = 0; i < TABLES_MAX; i++) {
        struct table_slot *o = &s->tables[i];
        if (o->crcs && same_place(&o->place, place)) {
            t = o;
            break;
        }
        if (!o->crcs || (t->crcs && o->used_at < t->used_at))
            t = o;
    }
    uint32_t *old = t->crcs;
    *t = (struct table_slot){*place, ++s->clock, copy, count};
    sys_mutex_unlock(&s->lock);
    sys_free(old);
}

void tables_forget(struct shard_store *s)
{
    for (unsigned i = 0; i < TABLES_MAX; i++)
        sys_free(s->tables[i].crcs);
    memset(s->tables, 0, sizeof(s->tables));
}

/* ---- a record's parts ---- */

static uint64_t data_at(const struct index_entry *entry, uint32_t offset)
{
    return entry->place.offset + RECORD_HEADER + offset;
}

static uint32_t block_end(const struct index_entry *entry, uint32_t block)
{
    uint64_t end = ((uint64_t)block + 1) * SHARD_BLOCK;
    return end < entry->shard.length ? (uint32_t)end : entry->shard.length;
}

/* The whole table, into crcs (SHARD_BLOCKS_MAX). ERR_CORRUPT: the record does not exist. */
static enum err read_tail(struct shard_store *s, struct extent *e, const struct index_entry *entry,
                          uint32_t *crcs, uint8_t *scratch)
{
    uint64_t at = data_at(entry, entry->shard.length);
    uint64_t from = round_down(at, SYS_BLOCK);
    uint64_t to = entry->place.offset + record_bytes(entry->shard.length);
    struct footer footer;
    enum err error = store_read(s, e, from, scratch, round_up(to, SYS_BLOCK) - from);
    if (error)
        return error;
    return record_decode_tail(s->superblock.salt, scratch + (at - from), &entry->shard,
                              &entry->place, &footer, crcs)
               ? OK
               : ERR_CORRUPT;
}

/* Why something did not match. */
static enum err verdict(struct shard_store *s, struct extent *e, const struct index_entry *entry,
                        uint8_t *scratch)
{
    uint64_t from = round_down(entry->place.offset, SYS_BLOCK);
    uint64_t to = round_up(entry->place.offset + RECORD_HEADER, SYS_BLOCK);
    enum err error = store_read(s, e, from, scratch, to - from);
    if (error)
        return error;
    (void)s;
    return bytes_are_zero(scratch + (entry->place.offset - from), RECORD_HEADER) ? ERR_NOT_FOUND
                                                                                 : ERR_CORRUPT;
}

enum err reader_verify(struct shard_store *s, struct extent *e, const struct index_entry *entry,
                       uint8_t *scratch)
{
    enum { STEP = STAGING_BYTES / SHARD_BLOCK };
    uint32_t crcs[SHARD_BLOCKS_MAX], blocks = shard_block_count(entry->shard.length);
    struct stored_shard named;
    uint64_t from = round_down(entry->place.offset, SYS_BLOCK);
    enum err error = store_read(s, e, from, scratch, 2 * SYS_BLOCK);
    if (error)
        return error;
    if (!record_decode_header(s->superblock.salt, scratch + (entry->place.offset - from),
                              &entry->place, &named))
        return verdict(s, e, entry, scratch);
    error = read_tail(s, e, entry, crcs, scratch);
    for (uint32_t block = 0; !error && block < blocks; block += STEP) {
        uint32_t last = block + STEP <= blocks ? block + STEP - 1 : blocks - 1;
        uint64_t begin = data_at(entry, block * SHARD_BLOCK),
                 end = data_at(entry, block_end(entry, last));
        from = round_down(begin, SYS_BLOCK);
        error = store_read(s, e, from, scratch, round_up(end, SYS_BLOCK) - from);
        const uint8_t *data = scratch + (begin - from);
        for (uint32_t b = block; !error && b <= last; b++) {
            uint32_t n = block_end(entry, b) - b * SHARD_BLOCK;
            if (shard_crc(&entry->shard.id, b, data, n) != crcs[b])
                error = ERR_CORRUPT;
            data += n;
        }
    }
    return error;
}

/* ---- a range ---- */

/* Checks the blocks of the range in the buffer and gives the pieces' CRCs. */
static enum err check_blocks(const struct index_entry *entry, struct shard_job *job,
                             const uint8_t *data, const uint32_t *crcs)
{
    uint32_t first = job->offset / SHARD_BLOCK, end = job->offset + job->length;
    uint32_t last = (end - 1) / SHARD_BLOCK;
    for (uint32_t b = first; b <= last; b++) {
        uint32_t start = b * SHARD_BLOCK, stop = block_end(entry, b);
        if (shard_crc(&entry->shard.id, b, data, stop - start) != crcs[b - first])
            return ERR_CORRUPT;
        uint32_t from = job->offset > start ? job->offset : start;
        uint32_t to = end < stop ? end : stop;
        bool whole = from == start && to == stop;
        if (job->crcs)
            job->crcs[b - first] =
                whole ? crcs[b - first]
                      : shard_crc(&entry->shard.id, b, data + (from - start), to - from);
        data += stop - start;
    }
    job->crc_count = last - first + 1;
    return OK;
}

static enum err read_range(struct shard_store *s, struct extent *e, const struct index_entry *entry,
                           struct shard_job *job, uint8_t *scratch)
{
    uint32_t crcs[SHARD_BLOCKS_MAX], blocks = shard_block_count(entry->shard.length);
    uint32_t first = job->offset / SHARD_BLOCK;
    uint32_t count = shard_read_pieces(job->offset, job->length);
    const uint32_t *wanted = crcs;
    uint64_t begin = data_at(entry, first * SHARD_BLOCK);
    uint64_t end = data_at(entry, block_end(entry, first + count - 1));
    uint64_t tail = data_at(entry, entry->shard.length);
    uint64_t tail_end = entry->place.offset + record_bytes(entry->shard.length);
    uint64_t from = round_down(begin, SYS_BLOCK), to = round_up(end, SYS_BLOCK);
    bool have = table_get(s, &entry->place, first, count, crcs), joined = false;
    if (!have && tail - end <= TAIL_NEAR && round_up(tail_end, SYS_BLOCK) - from <= job->capacity) {
        to = round_up(tail_end, SYS_BLOCK);
        joined = true;
    }
    enum err error = store_read(s, e, from, job->buffer, to - from);
    uint8_t *data = (uint8_t *)job->buffer + (begin - from);
    if (!error && !have) {
        struct footer footer;
        if (!joined)
            error = read_tail(s, e, entry, crcs, scratch);
        else if (!record_decode_tail(s->superblock.salt, data + (tail - begin), &entry->shard,
                                     &entry->place, &footer, crcs))
            error = ERR_CORRUPT;
        if (!error && blocks > count)
            table_keep(s, &entry->place, crcs, blocks);
        wanted = crcs + first;
    }
    if (!error)
        error = check_blocks(entry, job, data, wanted);
    job->data_at = (size_t)(begin - from) + (job->offset - first * SHARD_BLOCK);
    return error;
}

static enum err run_on(struct shard_store *s, struct shard_job *job,
                       const struct index_entry *entry, uint8_t *scratch)
{
    struct extent *e = NULL;
    if (job->kind == SHARD_READ && (uint64_t)job->offset + job->length > entry->shard.length)
        return ERR_INVALID;
    enum err error = extent_use(s, entry->place.extent, &e);
    if (error)
        return error;
    error = job->kind == SHARD_READ ? read_range(s, e, entry, job, scratch)
                                    : reader_verify(s, e, entry, scratch);
    if (error == ERR_CORRUPT)
        error = verdict(s, e, entry, scratch);
    extent_unuse(s, e);
    return error;
}

static enum err delete_one(struct shard_store *s, uint32_t pool, const struct shard_id *id,
                           uint64_t newest)
{
    for (int i = 0; i < LOOKUPS_MAX; i++) {
        struct index_entry entry;
        move_await(s, pool, id);
        enum err error = index_lookup(s, pool, id, &entry);
        if (error)
            return error == ERR_NOT_FOUND ? OK : error;
        if (newest && entry.sequence > newest)
            return ERR_MISMATCH;
        sys_mutex_lock(&s->lock);
        bool gone = index_delete(s, &entry);
        sys_mutex_unlock(&s->lock);
        if (gone)
            return OK;
    }
    return ERR_BUSY;
}

static enum err run_delete(struct shard_store *s, const struct shard_job *job)
{
    if (job->kind == SHARD_DELETE)
        return delete_one(s, job->pool, &job->id, job->newest);
    enum err e = OK;
    for (uint8_t index = 0; e == OK && index < job->id.index; index++) {
        const struct shard_id id = {.chunk = job->id.chunk, .index = index};
        e = delete_one(s, job->pool, &id, 0);
    }
    return e;
}

static void count_result(struct shard_store *s, const struct shard_job *job,
                         const struct place *place, enum err e)
{
    sys_mutex_lock(&s->lock);
    if (!e && job->kind == SHARD_READ) {
        s->stats.reads++;
        s->stats.read_bytes += job->length;
    }
    if (e == ERR_CORRUPT)
        s->stats.corrupt++;
    if (e == ERR_IO)
        fault_read_failed(s, place);
    sys_mutex_unlock(&s->lock);
}

enum err reader_run(struct shard_store *s, struct shard_job *job, uint8_t *scratch)
{
    struct index_entry entry, again;
    if (job->kind == SHARD_DELETE || job->kind == SHARD_DELETE_CHUNK)
        return run_delete(s, job);
    enum err e = index_lookup(s, job->pool, &job->id, &entry);
    for (int i = 0; !e && i < LOOKUPS_MAX; i++) {
        job->shard = entry.shard;
        e = run_on(s, job, &entry, scratch);
        if (e != ERR_CORRUPT && e != ERR_NOT_FOUND)
            break;
        /* A delete or a second commit may have pulled the record away underneath. */
        enum err looked = index_lookup(s, job->pool, &job->id, &again);
        if (looked)
            e = looked;
        else if (same_place(&again.place, &entry.place))
            break;
        else
            e = OK;
        entry = again;
    }
    if (e == ERR_CORRUPT)
        log_warn("store", "%s: shard of extent %u offset %llu does not match its checksums",
                 s->directory, entry.place.extent, (unsigned long long)entry.place.offset);
    if (e == ERR_IO)
        log_warn("store", "%s: shard of extent %u offset %llu cannot be read", s->directory,
                 entry.place.extent, (unsigned long long)entry.place.offset);
    count_result(s, job, &entry.place, e);
    return e;
}
