/* Taking an image: blocks are checked as they become whole, their rows written in synced batches. */
#include <assert.h>
#include "common/base/digest.h"
#include "common/sys/log.h"
#include "metadata/state/image_internal.h"
#include "metadata/state/state_internal.h"

enum { BATCH_BYTES = 1 << 20 };

struct state_import {
    char *directory;
    struct uuid cluster;
    struct kv *kv;
    struct kv_batch *batch;
    uint8_t *bytes; /* the beginning of what is not whole yet, at `whole` in the image */
    size_t length, room;
    uint64_t whole;
    bool has_header, ended, kept;
    uint64_t index, term, hash, rows, digest;
};

enum err state_import_begin(const char *directory, const struct uuid *cluster,
                            struct state_import **out)
{
    struct state_import *i = sys_alloc(sizeof *i);
    size_t n = strlen(directory) + 1;
    i->directory = memcpy(sys_alloc(n), directory, n);
    i->cluster = *cluster;
    i->batch = kv_batch_new();
    enum err e = kv_open(directory, &state_kv_options, &i->kv);
    if (e != OK) {
        state_import_free(i);
        return e;
    }
    *out = i;
    return OK;
}

uint64_t state_import_offset(const struct state_import *i)
{
    return i->whole + i->length;
}

static enum err take_header(struct state_import *i, const uint8_t *bytes)
{
    struct reader r;
    struct uuid cluster;
    reader_init(&r, bytes, IMAGE_HEADER_BYTES);
    const void *magic = read_view(&r, 8);
    uint32_t version = read_u32(&r), level = read_u32(&r);
    read_bytes(&r, cluster.bytes, UUID_BYTES);
    i->index = read_u64(&r);
    i->term = read_u64(&r);
    i->hash = read_u64(&r);
    if (memcmp(magic, IMAGE_MAGIC, 8) != 0 ||
        read_u32(&r) != crc32c(0, bytes, IMAGE_HEADER_BYTES - 4))
        return ERR_CORRUPT;
    if (version > STATE_IMAGE_VERSION || level > STATE_LEVEL_MAX)
        return ERR_UNSUPPORTED;
    if (!uuid_equal(&cluster, &i->cluster))
        return ERR_FOREIGN_CLUSTER;
    i->has_header = true;
    return OK;
}

static enum err flush(struct state_import *i)
{
    if (kv_batch_count(i->batch) == 0)
        return OK;
    enum err e = kv_write(i->kv, i->batch, true);
    kv_batch_clear(i->batch);
    return e;
}

static enum err take_rows(struct state_import *i, const uint8_t *body, size_t n)
{
    struct reader r;
    reader_init(&r, body, n);
    while (reader_left(&r) > 0) {
        struct kv_slice key = {.length = read_u32(&r)}, value = {.length = read_u32(&r)};
        key.data = read_view(&r, key.length);
        value.data = read_view(&r, value.length);
        if (r.failed || key.length > IMAGE_KEY_MAX || value.length > IMAGE_VALUE_MAX)
            return ERR_CORRUPT;
        kv_batch_put(i->batch, key, value);
        i->digest = image_digest(i->digest, key, value);
        i->rows++;
        if (kv_batch_bytes(i->batch) >= BATCH_BYTES) {
            enum err e = flush(i);
            if (e != OK)
                return e;
        }
    }
    return OK;
}

static enum err take_end(struct state_import *i, const uint8_t *body)
{
    struct reader r;
    reader_init(&r, body, IMAGE_END_BYTES - IMAGE_BLOCK_HEAD);
    if (read_u64(&r) != i->rows || read_u64(&r) != i->digest)
        return ERR_CORRUPT;
    i->ended = true;
    return OK;
}

/* One header, block or end of those at bytes; *used 0: more is needed. */
static enum err take(struct state_import *i, const uint8_t *bytes, size_t n, size_t *used)
{
    *used = 0;
    if (i->ended)
        return ERR_CORRUPT;
    if (!i->has_header) {
        if (n < IMAGE_HEADER_BYTES)
            return OK;
        *used = IMAGE_HEADER_BYTES;
        return take_header(i, bytes);
    }
    if (n < IMAGE_BLOCK_HEAD)
        return OK;
    struct reader r;
    reader_init(&r, bytes, IMAGE_BLOCK_HEAD);
    uint32_t rows = read_u32(&r), crc = read_u32(&r);
    size_t body = rows ? rows : IMAGE_END_BYTES - IMAGE_BLOCK_HEAD;
    if (body > IMAGE_BODY_MAX)
        return ERR_CORRUPT;
    if (n < IMAGE_BLOCK_HEAD + body)
        return OK;
    if (crc != image_crc(i->whole, bytes + IMAGE_BLOCK_HEAD, body))
        return ERR_CORRUPT;
    *used = IMAGE_BLOCK_HEAD + body;
    return rows ? take_rows(i, bytes + IMAGE_BLOCK_HEAD, body)
                : take_end(i, bytes + IMAGE_BLOCK_HEAD);
}

enum err state_import_write(struct state_import *i, const void *piece, size_t n)
{
    if (i->room < i->length + n) {
        i->room = i->length + n + i->room / 2;
        i->bytes = sys_realloc(i->bytes, i->room);
    }
    if (n > 0)
        memcpy(i->bytes + i->length, piece, n);
    i->length += n;
    size_t at = 0, used = 1;
    enum err e = OK;
    while (e == OK && used > 0 && at < i->length) {
        e = take(i, i->bytes + at, i->length - at, &used);
        at += used;
        i->whole += used;
    }
    i->length -= at;
    memmove(i->bytes, i->bytes + at, i->length);
    return e;
}

/* What is on disk now against what was sent. */
static enum err verify(const struct state_import *i, struct state *s)
{
    uint64_t rows = 0, digest = 0;
    struct kv_iterator *it = kv_iterator_new(s->kv, NULL);
    for (kv_iterator_seek(it, (struct kv_slice){"", 0}); kv_iterator_valid(it);
         kv_iterator_next(it)) {
        digest = image_digest(digest, kv_iterator_key(it), kv_iterator_value(it));
        rows++;
    }
    enum err e = kv_iterator_error(it);
    kv_iterator_free(it);
    if (e == OK && (rows != i->rows || digest != i->digest || s->position.index != i->index ||
                    s->position.term != i->term || s->hash != i->hash))
        e = ERR_CORRUPT;
    return e;
}

enum err state_import_finish(struct state_import *i, uint64_t checkpoint_every, struct state **out)
{
    if (!i->ended || i->length > 0)
        return ERR_TRUNCATED;
    enum err e = flush(i);
    kv_close(i->kv);
    i->kv = NULL;
    if (e != OK)
        return e;
    struct state *s;
    e = state_open(i->directory, checkpoint_every, &s);
    if (e != OK)
        return e;
    e = verify(i, s);
    if (e != OK) {
        state_unref(s);
        return e;
    }
    i->kept = true;
    *out = s;
    return OK;
}

void state_import_free(struct state_import *i)
{
    if (i->kv)
        kv_close(i->kv);
    if (!i->kept && kv_destroy(i->directory) != OK)
        log_warn("state", "cannot remove an unfinished state in %s", i->directory);
    kv_batch_free(i->batch);
    sys_free(i->bytes);
    sys_free(i->directory);
    sys_free(i);
}
