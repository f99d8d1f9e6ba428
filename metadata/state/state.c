#include "metadata/state/state.h"
#include <assert.h>
#include "common/base/cursor.h"
#include "common/sys/log.h"
#include "metadata/state/state_internal.h"

enum {
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

const struct kv_options state_kv_options = {.cache_bytes = STATE_CACHE,
                                            .write_buffer_bytes = STATE_WRITE_BUFFER,
                                            .block_bytes = STATE_BLOCK,
                                            .file_bytes = STATE_FILE};

static size_t meta_encode(const struct meta_row *row, uint8_t out[META_ROW_MAX])
{
    struct writer w;
    writer_init(&w, out, META_ROW_MAX);
    write_u64(&w, row->at.index);
    write_u64(&w, row->at.term);
    write_u64(&w, (uint64_t)row->time);
    write_u64(&w, row->epoch);
    write_u64(&w, row->hash);
    write_u64(&w, row->checkpoint_index);
    write_u64(&w, row->checkpoint_hash);
    write_u32(&w, row->level);
    write_u64(&w, row->at.configuration_index);
    write_u64(&w, row->at.configuration_term);
    assert(!w.failed && writer_used(&w) == META_FIXED_BYTES);
    if (row->at.configuration_length > 0)
        write_bytes(&w, row->at.configuration, row->at.configuration_length);
    assert(!w.failed);
    return writer_used(&w);
}

bool meta_decode(struct kv_slice value, struct meta_row *row)
{
    struct reader r;
    reader_init(&r, value.data, value.length);
    row->at.index = read_u64(&r);
    row->at.term = read_u64(&r);
    row->time = (int64_t)read_u64(&r);
    row->epoch = read_u64(&r);
    row->hash = read_u64(&r);
    row->checkpoint_index = read_u64(&r);
    row->checkpoint_hash = read_u64(&r);
    row->level = read_u32(&r);
    row->at.configuration_index = read_u64(&r);
    row->at.configuration_term = read_u64(&r);
    row->at.configuration_length = reader_left(&r);
    row->at.configuration = read_view(&r, reader_left(&r));
    return reader_finished(&r);
}

enum err meta_read(struct kv *kv, const struct kv_snapshot *snapshot, struct meta_row *row,
                   void **bytes)
{
    struct key key;
    size_t n = 0;
    *row = (struct meta_row){.level = 1};
    *bytes = NULL;
    key_meta(&key);
    enum err e = kv_get(kv, snapshot, key_slice(&key), bytes, &n);
    if (e == OK && !meta_decode((struct kv_slice){.data = *bytes, .length = n}, row))
        e = ERR_CORRUPT;
    return e == ERR_NOT_FOUND ? OK : e;
}

/* The configuration's bytes are copied. */
static void keep_position(struct state *s, const struct state_position *at)
{
    const void *kept = s->position.configuration;
    size_t n = at->configuration_length;
    s->position = *at;
    s->position.configuration = n ? memcpy(sys_alloc(n), at->configuration, n) : NULL;
    sys_free((void *)(uintptr_t)kept);
}

/* What the last batch left, and the hints for housekeeping. */
static enum err load(struct state *s)
{
    struct arena arena;
    struct txn txn;
    struct meta_row meta;
    void *bytes;
    arena_init(&arena);
    txn_init(&txn, s->kv, &arena, 0);
    txn.error = meta_read(s->kv, NULL, &meta, &bytes);
    keep_position(s, &meta.at);
    sys_free(bytes);
    s->hash = meta.hash;
    s->checkpoint_index = meta.checkpoint_index;
    s->checkpoint_hash = meta.checkpoint_hash;
    if (meta.checkpoint_index) {
        s->checkpoints.count = 1;
        s->checkpoints.index[0] = meta.checkpoint_index;
        s->checkpoints.hash[0] = meta.checkpoint_hash;
    }
    s->level = meta.level;
    s->map->epoch = meta.epoch;
    atomic_store(&s->applied, meta.at.index);
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

enum err state_open(const char *directory, uint64_t checkpoint_every, struct state **out)
{
    struct state *s = sys_alloc(sizeof *s);
    size_t n = strlen(directory) + 1;
    s->directory = memcpy(sys_alloc(n), directory, n);
    s->checkpoint_every = checkpoint_every ? checkpoint_every : STATE_CHECKPOINT_EVERY;
    atomic_init(&s->refs, 1);
    enum err e = kv_open(directory, &state_kv_options, &s->kv);
    if (e == OK) {
        timeouts_default(&s->timeouts);
        s->map = cluster_map_new();
        e = load(s);
    }
    if (e != OK) {
        log_error("state", "cannot open the state in %s: %s", directory, err_text(e));
        state_unref(s);
        return e;
    }
    *out = s;
    return OK;
}

struct state *state_ref(struct state *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void state_retire(struct state *s)
{
    atomic_store(&s->retired, true);
}

void state_unref(struct state *s)
{
    if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (s->kv != NULL)
        kv_close(s->kv);
    if (atomic_load(&s->retired)) {
        enum err e = kv_destroy(s->directory);
        if (e != OK) /* then the next start does it */
            log_warn("state", "cannot remove the state that was replaced in %s: %s", s->directory,
                     err_text(e));
    }
    cluster_map_free(s->map);
    sys_free((void *)(uintptr_t)s->position.configuration);
    sys_free(s->directory);
    sys_free(s);
}

struct state_position state_position(const struct state *s)
{
    return s->position;
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

void state_checkpoints(const struct state *s, struct state_checkpoints *out)
{
    *out = s->checkpoints;
}

static void add_checkpoint(struct state *s, uint64_t index, uint64_t hash)
{
    struct state_checkpoints *c = &s->checkpoints;
    s->checkpoint_index = index;
    s->checkpoint_hash = hash;
    if (c->count == STATE_CHECKPOINTS_MAX) {
        c->count--;
        memmove(c->index, c->index + 1, c->count * sizeof *c->index);
        memmove(c->hash, c->hash + 1, c->count * sizeof *c->hash);
    }
    c->index[c->count] = index;
    c->hash[c->count++] = hash;
}

/* One entry; *time goes on with it. */
static enum err apply_entry(struct state *s, struct txn *txn, int64_t *time,
                            struct state_entry *entry, struct arena *arena)
{
    struct apply a = {.state = s, .txn = txn, .arena = txn->arena, .index = entry->index};
    const void *result = NULL;
    size_t n = 0;
    uint64_t checkpoint = entry->index / s->checkpoint_every * s->checkpoint_every;
    if (checkpoint > s->checkpoint_index)
        add_checkpoint(s, checkpoint, txn->hash);
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
    if (meta->at.configuration_index != s->position.configuration_index)
        keep_position(s, &meta->at);
    s->position.index = meta->at.index;
    s->position.term = meta->at.term;
    s->hash = meta->hash;
    atomic_store(&s->epoch, meta->epoch);
    atomic_store(&s->time, meta->time);
    atomic_store(&s->applied, meta->at.index);
}

static enum err write_batch(struct state *s, struct txn *txn, const struct state_position *end,
                            int64_t time)
{
    uint8_t bytes[META_ROW_MAX];
    struct key key;
    struct meta_row meta = {.at = *end,
                            .time = time,
                            .epoch = s->map->epoch,
                            .hash = txn->hash,
                            .checkpoint_index = s->checkpoint_index,
                            .checkpoint_hash = s->checkpoint_hash,
                            .level = s->level};
    if (end->configuration_index == 0) {
        meta.at = s->position;
        meta.at.index = end->index;
        meta.at.term = end->term;
    }
    if (meta.at.configuration_length > STATE_CONFIGURATION_MAX)
        return ERR_TOO_BIG;
    size_t n = meta_encode(&meta, bytes);
    key_meta(&key);
    enum err e = txn_write(txn, &key, bytes, n);
    if (e == OK)
        publish(s, &meta);
    return e;
}

enum err state_apply(struct state *s, struct state_entry *entries, size_t count,
                     const struct state_position *end, struct arena *arena)
{
    struct arena work;
    struct txn txn;
    uint64_t before = atomic_load(&s->applied);
    int64_t time = atomic_load(&s->time);
    enum err e = s->broken ? ERR_IO : OK;
    arena_init(&work);
    txn_init(&txn, s->kv, &work, s->hash);
    for (size_t i = 0; e == OK && i < count; i++) {
        assert(entries[i].index > before && entries[i].index <= end->index);
        before = entries[i].index;
        e = apply_entry(s, &txn, &time, &entries[i], arena);
    }
    if (e == OK && end->index > atomic_load(&s->applied))
        e = write_batch(s, &txn, end, time);
    if (e != OK) {
        s->broken = true;
        log_error("state", "apply failed behind index %" PRIu64 ": %s", before, err_text(e));
    }
    txn_release(&txn);
    arena_release(&work);
    return e;
}
