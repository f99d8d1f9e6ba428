/* kv.h over a sorted table in memory (table_internal.h) and one file of batches (log_internal.h).
 *
 *  M1  A batch reaches the file before readers see it; its operations become visible together.
 *  M2  The first failed write or sync stays: every later write answers the same (K4).
 *  M3  What an open has read is synced before it returns: a later crash cannot take back what a
 *      caller has seen.
 *
 * DIRECTORY holds log, LOCK, and log.new while the log is written anew: at an open that found holes
 * or much garbage, and by the writer when the log has outgrown what lives in it. */
#include "common/kv/kv.h"
#include <assert.h>
#include <string.h>
#include "common/base/cursor.h"
#include "common/kv/kv_internal.h"
#include "common/kv/memory/log_internal.h"
#include "common/kv/memory/table_internal.h"
#include "common/sys/log.h"
#include "common/sys/sys.h"

enum {
    KEY_MAX = 4096,
    VALUE_MAX = 8 << 20,
    OPERATION_HEADER = 9,
    REWRITE_RECORD = 64 << 10, /* payload of a rewritten log's records, about */
    REWRITE_LEAST = 256 << 10, /* a log below this is left alone while it is written to */
    REWRITE_LEAST_OPEN = 16 << 10,
    REWRITE_FACTOR = 4,
};

struct kv {
    struct sys_mutex mutex; /* over table, sequence and writing; never held across a file call */
    struct table table;
    uint64_t sequence; /* of the newest visible batch; the file counts for itself */
    bool writing;

    /* The writer's alone. */
    struct log log;
    struct sys_file *lock;
    enum err failed;
    uint64_t rewrite_at; /* not before the log is this long */
};

struct kv_batch {
    uint8_t *bytes;
    size_t length, capacity, count, payload;
};

struct kv_iterator {
    struct kv *kv;
    struct kv_snapshot *snapshot; /* its own */
    struct node *node;            /* NULL: positioned nowhere */
    const struct version *version;
};

/* ---- batches ---- */

struct kv_batch *kv_batch_new(void)
{
    return sys_alloc(sizeof(struct kv_batch));
}

void kv_batch_free(struct kv_batch *b)
{
    if (b)
        sys_free(b->bytes);
    sys_free(b);
}

void kv_batch_clear(struct kv_batch *b)
{
    b->length = b->count = b->payload = 0;
}

static void batch_add(struct kv_batch *b, struct kv_slice key, const struct kv_slice *value)
{
    size_t n = OPERATION_HEADER + key.length + (value ? value->length : 0);
    assert(key.length <= KEY_MAX && (!value || value->length <= VALUE_MAX));
    if (b->capacity - b->length < n) {
        b->capacity = b->capacity * 2 > b->length + n ? b->capacity * 2 : b->length + n + 256;
        b->bytes = sys_realloc(b->bytes, b->capacity);
    }
    struct writer w;
    writer_init(&w, b->bytes + b->length, n);
    write_u8(&w, value ? LOG_PUT : LOG_DELETE);
    write_u32(&w, (uint32_t)key.length);
    if (value)
        write_u32(&w, (uint32_t)value->length);
    write_bytes(&w, key.data, key.length);
    if (value)
        write_bytes(&w, value->data, value->length);
    assert(!w.failed);
    b->length += writer_used(&w);
    b->payload += key.length + (value ? value->length : 0);
    b->count++;
}

void kv_batch_put(struct kv_batch *b, struct kv_slice key, struct kv_slice value)
{
    batch_add(b, key, &value);
}

void kv_batch_delete(struct kv_batch *b, struct kv_slice key)
{
    batch_add(b, key, NULL);
}

size_t kv_batch_count(const struct kv_batch *b)
{
    return b->count;
}

size_t kv_batch_bytes(const struct kv_batch *b)
{
    return b->payload;
}

/* ---- writing ---- */

static void apply_batch(struct kv *kv, const struct kv_batch *b)
{
    struct reader r;
    reader_init(&r, b->bytes, b->length);
    kv->sequence++;
    while (reader_left(&r) > 0) {
        bool put = read_u8(&r) == LOG_PUT;
        struct kv_slice key = {.length = read_u32(&r)}, value = {.length = 0};
        if (put)
            value.length = read_u32(&r);
        key.data = read_view(&r, key.length);
        value.data = read_view(&r, value.length);
        table_put(&kv->table, kv->sequence, key, put ? &value : NULL);
    }
    assert(reader_finished(&r));
}

/* Everything that is visible now as records of a new file. */
static enum err write_all(struct kv *kv, struct log *fresh)
{
    struct kv_batch *b = kv_batch_new();
    struct kv_iterator *i = kv_iterator_new(kv, NULL);
    enum err e = OK;
    kv_iterator_seek(i, (struct kv_slice){NULL, 0});
    while (!e && (kv_iterator_valid(i) || b->count > 0)) {
        bool more = kv_iterator_valid(i);
        if (more) {
            kv_batch_put(b, kv_iterator_key(i), kv_iterator_value(i));
            kv_iterator_next(i);
        }
        if (more && b->length < REWRITE_RECORD)
            continue;
        memcpy(log_payload(fresh, b->length), b->bytes, b->length);
        e = log_append(fresh, b->length, (uint32_t)b->count);
        kv_batch_clear(b);
    }
    kv_iterator_free(i);
    kv_batch_free(b);
    return e;
}

/* A new file with what lives takes the log's place; on an error the old one stays, unless the
 * failure came so late that nobody knows which of them a crash would leave. */
static enum err rewrite(struct kv *kv)
{
    struct log fresh;
    enum err e = log_create(&fresh, kv->log.directory);
    if (!e)
        e = write_all(kv, &fresh);
    if (!e)
        e = log_publish(&fresh);
    if (e) {
        char path[SYS_PATH_MAX];
        log_close(&fresh);
        if (!log_path(kv->log.directory, "log.new", path)) {
            enum err gone = sys_unlink(path); /* an open empties what stays */
            if (gone && gone != ERR_NOT_FOUND)
                log_warn("kv", "cannot remove %s: %s", path, err_text(gone));
        }
        return e;
    }
    log_close(&kv->log);
    kv->log = fresh;
    kv->rewrite_at = REWRITE_LEAST;
    return OK;
}

static uint64_t live_length(const struct kv *kv)
{
    return kv->table.live_bytes + kv->table.live_keys * OPERATION_HEADER;
}

static void rewrite_when_large(struct kv *kv)
{
    if (kv->log.end < kv->rewrite_at || kv->log.end / REWRITE_FACTOR < live_length(kv))
        return;
    enum err e = rewrite(kv);
    if (e == ERR_NO_SPACE) {
        kv->rewrite_at = kv->log.end * 2; /* the old log still works: try again later */
    } else if (e) {
        kv->failed = e;
        log_error("kv", "cannot rewrite the log of %s: %s; the store takes no more writes",
                  kv->log.directory, err_text(e));
    }
}

enum err kv_write(struct kv *kv, const struct kv_batch *b, bool sync)
{
    sys_mutex_lock(&kv->mutex);
    assert(!kv->writing); /* K6 */
    kv->writing = true;
    sys_mutex_unlock(&kv->mutex);
    enum err e = kv->failed;
    if (!e && b->count > 0) {
        memcpy(log_payload(&kv->log, b->length), b->bytes, b->length);
        e = log_append(&kv->log, b->length, (uint32_t)b->count);
    }
    if (!e && sync)
        e = log_sync(&kv->log);
    if (e && e != ERR_BUSY && !kv->failed) {
        kv->failed = e;
        log_error("kv", "a write to %s failed: %s; the store takes no more writes",
                  kv->log.directory, err_text(e));
    }
    sys_mutex_lock(&kv->mutex);
    if (!e && b->count > 0)
        apply_batch(kv, b);
    sys_mutex_unlock(&kv->mutex);
    if (!e)
        rewrite_when_large(kv);
    sys_mutex_lock(&kv->mutex);
    kv->writing = false;
    sys_mutex_unlock(&kv->mutex);
    return e;
}

/* ---- opening and closing ---- */

static void load_operation(void *arg, uint64_t sequence, struct kv_slice key,
                           const struct kv_slice *value)
{
    struct kv *kv = arg;
    kv->sequence = sequence;
    table_put(&kv->table, sequence, key, value);
}

static enum err take_lock(struct kv *kv, const char *directory)
{
    char path[SYS_PATH_MAX];
    enum err e = log_path(directory, "LOCK", path);
    if (!e)
        e = sys_file_open(path, SYS_OPEN_WRITE | SYS_OPEN_CREATE, &kv->lock);
    return e ? e : sys_file_lock(kv->lock);
}

static enum err load(struct kv *kv, const char *directory)
{
    bool holes = false;
    enum err e = log_open(&kv->log, directory, load_operation, kv, &holes);
    if (e == ERR_NOT_FOUND) {
        e = log_create(&kv->log, directory);
        return e ? e : log_publish(&kv->log);
    }
    if (e)
        return e;
    bool large =
        kv->log.end >= REWRITE_LEAST_OPEN && kv->log.end / REWRITE_FACTOR >= live_length(kv);
    return holes || large ? rewrite(kv) : log_sync(&kv->log);
}

enum err kv_open(const char *directory, const struct kv_options *options, struct kv **out)
{
    (void)options; /* sizes of caches that this store has not */
    *out = NULL;
    if (strlen(directory) == 0 || strlen(directory) >= SYS_PATH_MAX - 16)
        return ERR_INVALID;
    struct kv *kv = sys_alloc(sizeof *kv);
    kv->rewrite_at = REWRITE_LEAST;
    sys_mutex_init(&kv->mutex);
    table_init(&kv->table);
    enum err e = kv_make_directory(directory);
    if (!e)
        e = take_lock(kv, directory);
    if (!e)
        e = load(kv, directory);
    if (e) {
        kv_close(kv);
        return e;
    }
    *out = kv;
    return OK;
}

void kv_close(struct kv *kv)
{
    if (!kv)
        return;
    assert(!kv->writing);
    log_close(&kv->log);
    if (kv->lock)
        sys_file_close(kv->lock);
    table_release(&kv->table);
    sys_mutex_release(&kv->mutex);
    sys_free(kv);
}

enum err kv_destroy(const char *directory)
{
    static const char *const names[] = {"log", "log.new", "LOCK"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[SYS_PATH_MAX];
        enum err e = log_path(directory, names[i], path);
        if (!e)
            e = sys_unlink(path);
        if (e && e != ERR_NOT_FOUND)
            return e;
    }
    enum err e = sys_rmdir(directory);
    return e == ERR_NOT_FOUND ? OK : e;
}

/* ---- reading ---- */

enum err kv_get(struct kv *kv, const struct kv_snapshot *snapshot, struct kv_slice key,
                void **value, size_t *length)
{
    enum err e = ERR_NOT_FOUND;
    *value = NULL;
    *length = 0;
    sys_mutex_lock(&kv->mutex);
    struct node *n = table_seek(&kv->table, key);
    if (n && key_compare((struct kv_slice){n->key, n->key_length}, key) == 0) {
        const struct version *v = node_at(n, snapshot ? snapshot->sequence : kv->sequence);
        if (v) {
            *value = sys_alloc(v->length);
            *length = v->length;
            memcpy(*value, v->bytes, v->length);
            e = OK;
        }
    }
    sys_mutex_unlock(&kv->mutex);
    return e;
}

struct kv_snapshot *kv_snapshot_new(struct kv *kv)
{
    sys_mutex_lock(&kv->mutex);
    struct kv_snapshot *s = table_snapshot_new(&kv->table, kv->sequence);
    sys_mutex_unlock(&kv->mutex);
    return s;
}

void kv_snapshot_free(struct kv *kv, struct kv_snapshot *s)
{
    if (!s)
        return;
    sys_mutex_lock(&kv->mutex);
    table_snapshot_free(&kv->table, s);
    sys_mutex_unlock(&kv->mutex);
}

struct kv_iterator *kv_iterator_new(struct kv *kv, const struct kv_snapshot *snapshot)
{
    struct kv_iterator *i = sys_alloc(sizeof *i);
    i->kv = kv;
    sys_mutex_lock(&kv->mutex);
    i->snapshot = table_snapshot_new(&kv->table, snapshot ? snapshot->sequence : kv->sequence);
    sys_mutex_unlock(&kv->mutex);
    return i;
}

void kv_iterator_free(struct kv_iterator *i)
{
    if (!i)
        return;
    kv_snapshot_free(i->kv, i->snapshot);
    sys_free(i);
}

/* Stands on n or on the nearest node beyond it, in the given direction, that the snapshot sees. */
static void settle(struct kv_iterator *i, struct node *n, bool forward)
{
    i->version = NULL;
    while (n && !(i->version = node_at(n, i->snapshot->sequence)))
        n = forward ? n->next[0] : n->previous;
    i->node = n;
}

void kv_iterator_seek(struct kv_iterator *i, struct kv_slice key)
{
    sys_mutex_lock(&i->kv->mutex);
    settle(i, table_seek(&i->kv->table, key), true);
    sys_mutex_unlock(&i->kv->mutex);
}

void kv_iterator_seek_last(struct kv_iterator *i)
{
    sys_mutex_lock(&i->kv->mutex);
    settle(i, i->kv->table.last, false);
    sys_mutex_unlock(&i->kv->mutex);
}

void kv_iterator_next(struct kv_iterator *i)
{
    assert(i->node);
    sys_mutex_lock(&i->kv->mutex);
    settle(i, i->node->next[0], true);
    sys_mutex_unlock(&i->kv->mutex);
}

void kv_iterator_previous(struct kv_iterator *i)
{
    assert(i->node);
    sys_mutex_lock(&i->kv->mutex);
    settle(i, i->node->previous, false);
    sys_mutex_unlock(&i->kv->mutex);
}

bool kv_iterator_valid(const struct kv_iterator *i)
{
    return i->node != NULL;
}

struct kv_slice kv_iterator_key(const struct kv_iterator *i)
{
    assert(i->node);
    return (struct kv_slice){i->node->key, i->node->key_length};
}

struct kv_slice kv_iterator_value(const struct kv_iterator *i)
{
    assert(i->node);
    return (struct kv_slice){i->version->bytes, i->version->length};
}

enum err kv_iterator_error(const struct kv_iterator *i)
{
    (void)i;
    return OK;
}

uint64_t kv_approximate_bytes(struct kv *kv, struct kv_slice from, struct kv_slice to)
{
    uint64_t bytes = 0;
    sys_mutex_lock(&kv->mutex);
    for (struct node *n = table_seek(&kv->table, from);
         n && key_compare((struct kv_slice){n->key, n->key_length}, to) < 0; n = n->next[0]) {
        const struct version *v = node_at(n, kv->sequence);
        if (v)
            bytes += OPERATION_HEADER + n->key_length + v->length;
    }
    sys_mutex_unlock(&kv->mutex);
    return bytes;
}
