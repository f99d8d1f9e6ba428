#include "metadata/state/state.h"
#include <assert.h>
#include "common/base/cursor.h"
#include "common/sys/log.h"
#include "metadata/state/state_internal.h"

enum {
    HASH_EVERY = 1000,
    /* Inline bodies make the rows large. With the store's usual 4 MiB the compactions of what is
     * written took a third of the CPU of small PUTs, and each block is one write to the file. */
    STATE_CACHE = 32 << 20,
    STATE_WRITE_BUFFER = 16 << 20,
    STATE_BLOCK = 16 << 10,
    STATE_FILE = 8 << 20,
};

void key_meta(struct key *k)
{
    key_begin2(k, 'm', 'a');
}

static void meta_encode(const struct meta_row *row, uint8_t out[META_ROW_BYTES])
{
    struct writer w;
    writer_init(&w, out, META_ROW_BYTES);
    write_u64(&w, row->applied);
    write_u64(&w, (uint64_t)row->time);
    write_u64(&w, row->epoch);
    write_u64(&w, row->hash);
    write_u64(&w, row->checkpoint_index);
    write_u64(&w, row->checkpoint_hash);
    write_u32(&w, row->level);
    assert(!w.failed && writer_used(&w) == META_ROW_BYTES);
}

bool meta_decode(struct kv_slice value, struct meta_row *row)
{
    struct reader r;
    reader_init(&r, value.data, value.length);
    row->applied = read_u64(&r);
    row->time = (int64_t)read_u64(&r);
    row->epoch = read_u64(&r);
    row->hash = read_u64(&r);
    row->checkpoint_index = read_u64(&r);
    row->checkpoint_hash = read_u64(&r);
    row->level = read_u32(&r);
    return reader_finished(&r);
}

/* What the last batch left, and the hints for housekeeping. */
static enum err load(struct state *s)
{
    struct arena arena;
    struct txn txn;
    struct key key;
    struct kv_slice value;
    struct meta_row meta = {.level = 1};
    arena_init(&arena);
    txn_init(&txn, s->kv, &arena, 0);
    key_meta(&key);
    if (txn_get(&txn, &key, &value) && !meta_decode(value, &meta))
        txn.error = ERR_CORRUPT;
    s->hash = meta.hash;
    s->checkpoint_index = meta.checkpoint_index;
    s->checkpoint_hash = meta.checkpoint_hash;
    s->level = meta.level;
    s->map->epoch = meta.epoch;
    atomic_store(&s->applied, meta.applied);
    atomic_store(&s->epoch, meta.epoch);
    atomic_store(&s->time, meta.time);
    atomic_store(&s->time_confirmed, confirmed_load(&txn));
    s->next_expiry = expiry_first_due(&txn);
    s->oldest_retry = retry_first_age(&txn);
    enum err e = txn.error;
    txn_release(&txn);
    arena_release(&arena);
    if (e == OK && meta.level > STATE_LEVEL_MAX) {
        log_error("state",
                  "the state is of feature level %u, this program knows up to %u: install "
                  "a newer one",
                  meta.level, STATE_LEVEL_MAX);
        e = ERR_UNSUPPORTED;
    }
    return e == OK ? map_load(s) : e;
}

enum err state_open(const char *directory, struct state **out)
{
    const struct kv_options options = {.cache_bytes = STATE_CACHE,
                                       .write_buffer_bytes = STATE_WRITE_BUFFER,
                                       .block_bytes = STATE_BLOCK,
                                       .file_bytes = STATE_FILE};
    struct state *s = sys_alloc(sizeof *s);
    enum err e = kv_open(directory, &options, &s->kv);
    if (e == OK) {
        timeouts_default(&s->timeouts);
        s->map = cluster_map_new();
        e = load(s);
    }
    if (e != OK) {
        log_error("state", "cannot open the state in %s: %s", directory, err_text(e));
        state_close(s);
        return e;
    }
    *out = s;
    return OK;
}

void state_close(struct state *s)
{
    if (s->kv != NULL)
        kv_close(s->kv);
    cluster_map_free(s->map);
    sys_free(s);
}

uint64_t state_applied(const struct state *s)
{
    return atomic_load(&s->applied);
}

int64_t state_time(const struct state *s)
{
    return atomic_load(&s->time);
}

uint64_t state_epoch(const struct state *s)
{
    return atomic_load(&s->epoch);
}

void state_checkpoint(const struct state *s, uint64_t *index, uint64_t *hash)
{
    *index = s->checkpoint_index;
    *hash = s->checkpoint_hash;
}

/* One entry; *time goes on with it. */
static enum err apply_entry(struct state *s, struct txn *txn, int64_t *time,
                            struct state_entry *entry, struct arena *arena)
{
    struct apply a = {.state = s, .txn = txn, .arena = txn->arena, .index = entry->index};
    const void *result = NULL;
    size_t n = 0;
    if (entry->index / HASH_EVERY * HASH_EVERY > s->checkpoint_index) {
        s->checkpoint_index = entry->index / HASH_EVERY * HASH_EVERY;
        s->checkpoint_hash = txn->hash;
    }
    a.time = *time;
    enum err e = apply_command(&a, entry->data, entry->length, &result, &n);
    if (e != OK)
        return e;
    assert(n <= STATE_RESULT_MAX);
    *time = a.time;
    entry->result = arena_copy(arena, result, n);
    entry->result_length = n;
    return txn->error;
}

static void publish(struct state *s, const struct meta_row *meta)
{
    s->hash = meta->hash;
    atomic_store(&s->epoch, meta->epoch);
    atomic_store(&s->time, meta->time);
    atomic_store(&s->applied, meta->applied);
}

enum err state_apply(struct state *s, struct state_entry *entries, size_t count, uint64_t last,
                     struct arena *arena)
{
    struct arena work;
    struct txn txn;
    uint64_t before = atomic_load(&s->applied);
    int64_t time = atomic_load(&s->time);
    enum err e = s->broken ? ERR_IO : OK;
    arena_init(&work);
    txn_init(&txn, s->kv, &work, s->hash);
    for (size_t i = 0; e == OK && i < count; i++) {
        assert(entries[i].index > before && entries[i].index <= last);
        before = entries[i].index;
        e = apply_entry(s, &txn, &time, &entries[i], arena);
    }
    if (e == OK && last > atomic_load(&s->applied)) {
        uint8_t bytes[META_ROW_BYTES];
        struct key key;
        struct meta_row meta = {.applied = last,
                                .time = time,
                                .epoch = s->map->epoch,
                                .hash = txn.hash,
                                .checkpoint_index = s->checkpoint_index,
                                .checkpoint_hash = s->checkpoint_hash,
                                .level = s->level};
        meta_encode(&meta, bytes);
        key_meta(&key);
        e = txn_write(&txn, &key, bytes, sizeof bytes);
        if (e == OK)
            publish(s, &meta);
    }
    if (e != OK) {
        s->broken = true;
        log_error("state", "apply failed behind index %" PRIu64 ": %s", before, err_text(e));
    }
    txn_release(&txn);
    arena_release(&work);
    return e;
}
