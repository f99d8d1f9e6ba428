/* kv.h over LevelDB's C interface. The only file that knows LevelDB.
 *
 * LevelDB keeps a failed sync or compaction for itself, but forgets a failed unsynced write; K4 is
 * held here for both. paranoid_checks is off: with it, a log whose unsynced tail was torn by a power
 * cut makes the store refuse to open, which K3 calls a normal crash. Reads verify checksums. */
#include "common/kv/kv.h"
#include <assert.h>
#include <stdatomic.h>
#include <string.h>
#include <leveldb/c.h>
#include "common/kv/kv_internal.h"
#include "common/sys/log.h"
#include "common/sys/sys.h"

enum {
    KEY_MAX = 4096,
    VALUE_MAX = 8 << 20,
    CACHE_DEFAULT = 8 << 20,
    WRITE_BUFFER_DEFAULT = 4 << 20,
    OPEN_FILES_MAX = 256, /* one store a disk, many disks a process */
    BLOOM_BITS = 10,
};

struct kv {
    leveldb_t *db;
    leveldb_options_t *options;
    leveldb_cache_t *cache;
    leveldb_filterpolicy_t *filter;
    leveldb_readoptions_t *read; /* of the newest state */
    leveldb_writeoptions_t *synced, *unsynced;
    _Atomic int failed; /* enum err; the writer sets it */
    atomic_int readers; /* snapshots and iterators that live */
};

struct kv_batch {
    leveldb_writebatch_t *batch;
    size_t count, bytes;
};

struct kv_iterator {
    struct kv *kv;
    leveldb_readoptions_t *read;
    leveldb_iterator_t *iterator;
};

/* LevelDB's own type, under the name of the contract. */
static const leveldb_snapshot_t *their_snapshot(const struct kv_snapshot *s)
{
    return (const leveldb_snapshot_t *)s;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), end_n = strlen(end);
    return n >= end_n && strcmp(text + n - end_n, end) == 0;
}

/* Takes over text, which is all that LevelDB tells. */
static enum err translate(char *text, const char *doing)
{
    if (!text)
        return OK;
    enum err e = ERR_IO;
    if (strncmp(text, "Corruption", 10) == 0)
        e = ERR_CORRUPT;
    else if (ends_with(text, "already held by process") ||
             ends_with(text, "Resource temporarily unavailable") ||
             ends_with(text, "Too many open files") ||
             ends_with(text, "Too many open files in system"))
        e = ERR_BUSY;
    else if (ends_with(text, "No space left on device") || ends_with(text, "Disk quota exceeded"))
        e = ERR_NO_SPACE;
    else if (ends_with(text, "Read-only file system"))
        e = ERR_READ_ONLY;
    else if (ends_with(text, "Permission denied"))
        e = ERR_ACCESS;
    log_error("kv", "%s: %s", doing, text);
    leveldb_free(text);
    return e;
}

/* ---- opening and closing ---- */

enum err kv_open(const char *directory, const struct kv_options *options, struct kv **out)
{
    *out = NULL;
    if (strlen(directory) == 0 || strlen(directory) >= SYS_PATH_MAX)
        return ERR_INVALID;
    enum err e = kv_make_directory(directory);
    if (e)
        return e;
    size_t cache = options && options->cache_bytes ? options->cache_bytes : CACHE_DEFAULT;
    size_t buffer =
        options && options->write_buffer_bytes ? options->write_buffer_bytes : WRITE_BUFFER_DEFAULT;
    struct kv *kv = sys_alloc(sizeof *kv);
    kv->options = leveldb_options_create();
    kv->cache = leveldb_cache_create_lru(cache);
    kv->filter = leveldb_filterpolicy_create_bloom(BLOOM_BITS);
    leveldb_options_set_create_if_missing(kv->options, 1);
    leveldb_options_set_cache(kv->options, kv->cache);
    leveldb_options_set_filter_policy(kv->options, kv->filter);
    leveldb_options_set_write_buffer_size(kv->options, buffer);
    leveldb_options_set_max_open_files(kv->options, OPEN_FILES_MAX);
    if (options && options->block_bytes)
        leveldb_options_set_block_size(kv->options, options->block_bytes);
    if (options && options->file_bytes)
        leveldb_options_set_max_file_size(kv->options, options->file_bytes);
    kv->read = leveldb_readoptions_create();
    leveldb_readoptions_set_verify_checksums(kv->read, 1);
    kv->synced = leveldb_writeoptions_create();
    leveldb_writeoptions_set_sync(kv->synced, 1);
    kv->unsynced = leveldb_writeoptions_create();
    char *text = NULL;
    kv->db = leveldb_open(kv->options, directory, &text);
    e = translate(text, "cannot open the store");
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
    assert(kv->readers == 0);
    if (kv->db)
        leveldb_close(kv->db);
    leveldb_writeoptions_destroy(kv->synced);
    leveldb_writeoptions_destroy(kv->unsynced);
    leveldb_readoptions_destroy(kv->read);
    leveldb_options_destroy(kv->options);
    leveldb_cache_destroy(kv->cache);
    leveldb_filterpolicy_destroy(kv->filter);
    sys_free(kv);
}

enum err kv_destroy(const char *directory)
{
    char *text = NULL;
    leveldb_options_t *options = leveldb_options_create();
    leveldb_destroy_db(options, directory, &text);
    leveldb_options_destroy(options);
    enum err e = translate(text, "cannot remove the store");
    if (e)
        return e;
    e = sys_rmdir(directory); /* LevelDB tries, and does not tell */
    return e == ERR_NOT_FOUND ? OK : e;
}

/* ---- writing ---- */

struct kv_batch *kv_batch_new(void)
{
    struct kv_batch *b = sys_alloc(sizeof *b);
    b->batch = leveldb_writebatch_create();
    return b;
}

void kv_batch_free(struct kv_batch *b)
{
    if (b)
        leveldb_writebatch_destroy(b->batch);
    sys_free(b);
}

void kv_batch_clear(struct kv_batch *b)
{
    leveldb_writebatch_clear(b->batch);
    b->count = b->bytes = 0;
}

void kv_batch_put(struct kv_batch *b, struct kv_slice key, struct kv_slice value)
{
    assert(key.length <= KEY_MAX && value.length <= VALUE_MAX);
    leveldb_writebatch_put(b->batch, key.length ? key.data : "", key.length,
                           value.length ? value.data : "", value.length);
    b->count++;
    b->bytes += key.length + value.length;
}

void kv_batch_delete(struct kv_batch *b, struct kv_slice key)
{
    assert(key.length <= KEY_MAX);
    leveldb_writebatch_delete(b->batch, key.length ? key.data : "", key.length);
    b->count++;
    b->bytes += key.length;
}

size_t kv_batch_count(const struct kv_batch *b)
{
    return b->count;
}

size_t kv_batch_bytes(const struct kv_batch *b)
{
    return b->bytes;
}

enum err kv_write(struct kv *kv, const struct kv_batch *b, bool sync)
{
    enum err e = (enum err)kv->failed;
    if (e)
        return e;
    char *text = NULL;
    leveldb_write(kv->db, sync ? kv->synced : kv->unsynced, b->batch, &text);
    e = translate(text, "a write failed");
    if (e && e != ERR_BUSY) {
        kv->failed = e;
        log_error("kv", "the store takes no more writes");
    }
    return e;
}

/* ---- reading ---- */

static leveldb_readoptions_t *read_options(const struct kv_snapshot *snapshot)
{
    leveldb_readoptions_t *read = leveldb_readoptions_create();
    leveldb_readoptions_set_verify_checksums(read, 1);
    leveldb_readoptions_set_snapshot(read, their_snapshot(snapshot));
    return read;
}

enum err kv_get(struct kv *kv, const struct kv_snapshot *snapshot, struct kv_slice key,
                void **value, size_t *length)
{
    *value = NULL;
    *length = 0;
    leveldb_readoptions_t *read = snapshot ? read_options(snapshot) : kv->read;
    char *text = NULL;
    size_t n = 0;
    char *found = leveldb_get(kv->db, read, key.length ? key.data : "", key.length, &n, &text);
    if (snapshot)
        leveldb_readoptions_destroy(read);
    enum err e = translate(text, "a read failed");
    if (!e && !found)
        e = ERR_NOT_FOUND;
    if (!e) {
        *value = sys_alloc(n);
        *length = n;
        if (n)
            memcpy(*value, found, n);
    }
    leveldb_free(found);
    return e;
}

struct kv_snapshot *kv_snapshot_new(struct kv *kv)
{
    kv->readers++;
    return (struct kv_snapshot *)(uintptr_t)leveldb_create_snapshot(kv->db);
}

void kv_snapshot_free(struct kv *kv, struct kv_snapshot *s)
{
    if (!s)
        return;
    leveldb_release_snapshot(kv->db, their_snapshot(s));
    kv->readers--;
}

struct kv_iterator *kv_iterator_new(struct kv *kv, const struct kv_snapshot *snapshot)
{
    struct kv_iterator *i = sys_alloc(sizeof *i);
    kv->readers++;
    i->kv = kv;
    i->read = read_options(snapshot);
    i->iterator = leveldb_create_iterator(kv->db, i->read);
    return i;
}

void kv_iterator_free(struct kv_iterator *i)
{
    if (!i)
        return;
    leveldb_iter_destroy(i->iterator);
    leveldb_readoptions_destroy(i->read);
    i->kv->readers--;
    sys_free(i);
}

void kv_iterator_seek(struct kv_iterator *i, struct kv_slice key)
{
    leveldb_iter_seek(i->iterator, key.length ? key.data : "", key.length);
}

void kv_iterator_seek_last(struct kv_iterator *i)
{
    leveldb_iter_seek_to_last(i->iterator);
}

void kv_iterator_next(struct kv_iterator *i)
{
    assert(leveldb_iter_valid(i->iterator));
    leveldb_iter_next(i->iterator);
}

void kv_iterator_previous(struct kv_iterator *i)
{
    assert(leveldb_iter_valid(i->iterator));
    leveldb_iter_prev(i->iterator);
}

bool kv_iterator_valid(const struct kv_iterator *i)
{
    return leveldb_iter_valid(i->iterator);
}

struct kv_slice kv_iterator_key(const struct kv_iterator *i)
{
    struct kv_slice s;
    assert(leveldb_iter_valid(i->iterator));
    s.data = leveldb_iter_key(i->iterator, &s.length);
    return s;
}

struct kv_slice kv_iterator_value(const struct kv_iterator *i)
{
    struct kv_slice s;
    assert(leveldb_iter_valid(i->iterator));
    s.data = leveldb_iter_value(i->iterator, &s.length);
    return s;
}

enum err kv_iterator_error(const struct kv_iterator *i)
{
    char *text = NULL;
    leveldb_iter_get_error(i->iterator, &text);
    return translate(text, "a scan failed");
}

uint64_t kv_approximate_bytes(struct kv *kv, struct kv_slice from, struct kv_slice to)
{
    const char *starts[1] = {from.length ? from.data : ""};
    const char *limits[1] = {to.length ? to.data : ""};
    uint64_t bytes = 0;
    leveldb_approximate_sizes(kv->db, 1, starts, &from.length, limits, &to.length, &bytes);
    return bytes;
}
