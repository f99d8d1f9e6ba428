/* Making an image: the rows of a snapshot of the store, packed into blocks as they are asked for. */
#include "metadata/state/image.h"
#include <assert.h>
#include "common/base/digest.h"
#include "metadata/state/image_internal.h"
#include "metadata/state/state_internal.h"

/* Where reading can begin again: the block at offset begins with the row behind key. */
struct mark {
    uint64_t offset, rows, digest;
    struct key key; /* of the last row before; length 0: none */
};

struct state_image {
    struct state *state;
    struct kv_snapshot *snapshot;
    struct kv_iterator *iterator;
    struct meta_row meta;
    void *meta_bytes; /* meta points into them */
    struct uuid cluster;

    uint8_t *block; /* the header, a block or the end, made last */
    size_t block_bytes, block_room;
    uint64_t block_offset;
    bool is_end;
    uint64_t rows, digest; /* of all rows up to the block's end */
    struct key last;       /* their last key */
    struct mark *marks;
    size_t mark_count, mark_room;
};

uint32_t image_crc(uint64_t offset, const void *body, size_t n)
{
    uint8_t place[8];
    struct writer w;
    writer_init(&w, place, sizeof place);
    write_u64(&w, offset);
    return crc32c(crc32c(0, place, sizeof place), body, n);
}

uint64_t image_digest(uint64_t digest, struct kv_slice key, struct kv_slice value)
{
    return xxh64(value.data, value.length, xxh64(key.data, key.length, digest));
}

static void reserve(struct state_image *i, size_t bytes)
{
    if (bytes <= i->block_room)
        return;
    i->block_room = bytes + bytes / 2;
    i->block = sys_realloc(i->block, i->block_room);
}

static void make_header(struct state_image *i)
{
    struct writer w;
    reserve(i, IMAGE_HEADER_BYTES);
    writer_init(&w, i->block, IMAGE_HEADER_BYTES);
    write_bytes(&w, IMAGE_MAGIC, 8);
    write_u32(&w, STATE_IMAGE_VERSION);
    write_u32(&w, i->meta.level);
    write_bytes(&w, i->cluster.bytes, UUID_BYTES);
    write_u64(&w, i->meta.at.index);
    write_u64(&w, i->meta.at.term);
    write_u64(&w, i->meta.hash);
    write_u32(&w, crc32c(0, i->block, IMAGE_HEADER_BYTES - 4));
    assert(!w.failed && writer_used(&w) == IMAGE_HEADER_BYTES);
    i->block_bytes = IMAGE_HEADER_BYTES;
    i->block_offset = 0;
    i->rows = i->digest = 0;
    i->last.length = 0;
    i->is_end = false;
    kv_iterator_seek(i->iterator, (struct kv_slice){"", 0});
}

static void put_head(struct state_image *i, uint32_t body_bytes, size_t n)
{
    struct writer w;
    writer_init(&w, i->block, IMAGE_BLOCK_HEAD);
    write_u32(&w, body_bytes);
    write_u32(&w, image_crc(i->block_offset, i->block + IMAGE_BLOCK_HEAD, n));
    i->block_bytes = IMAGE_BLOCK_HEAD + n;
}

static void add_row(struct state_image *i, size_t *body)
{
    struct kv_slice key = kv_iterator_key(i->iterator), value = kv_iterator_value(i->iterator);
    size_t n = IMAGE_ROW_HEAD + key.length + value.length;
    struct writer w;
    reserve(i, IMAGE_BLOCK_HEAD + *body + n);
    writer_init(&w, i->block + IMAGE_BLOCK_HEAD + *body, n);
    write_u32(&w, (uint32_t)key.length);
    write_u32(&w, (uint32_t)value.length);
    write_bytes(&w, key.data, key.length);
    if (value.length > 0)
        write_bytes(&w, value.data, value.length);
    assert(!w.failed);
    i->digest = image_digest(i->digest, key, value);
    i->rows++;
    i->last.length = 0;
    key_raw(&i->last, key.data, key.length);
    *body += n;
    kv_iterator_next(i->iterator);
}

static enum err make_block(struct state_image *i)
{
    size_t body = 0;
    i->block_offset += i->block_bytes;
    while (body < IMAGE_BLOCK_BYTES && kv_iterator_valid(i->iterator))
        add_row(i, &body);
    enum err e = kv_iterator_error(i->iterator);
    if (e != OK)
        return e;
    if (body > 0) {
        put_head(i, (uint32_t)body, body);
        return OK;
    }
    struct writer w;
    reserve(i, IMAGE_END_BYTES);
    writer_init(&w, i->block + IMAGE_BLOCK_HEAD, IMAGE_END_BYTES - IMAGE_BLOCK_HEAD);
    write_u64(&w, i->rows);
    write_u64(&w, i->digest);
    put_head(i, 0, IMAGE_END_BYTES - IMAGE_BLOCK_HEAD);
    i->is_end = true;
    return OK;
}

/* Before the next block is made. */
static void note_mark(struct state_image *i)
{
    uint64_t at = i->block_offset + i->block_bytes;
    uint64_t before = i->mark_count ? i->marks[i->mark_count - 1].offset : 0;
    if (at < before + STATE_IMAGE_MARK)
        return;
    if (i->mark_count == i->mark_room) {
        i->mark_room = i->mark_room ? 2 * i->mark_room : 8;
        i->marks = sys_realloc(i->marks, i->mark_room * sizeof *i->marks);
    }
    i->marks[i->mark_count++] =
        (struct mark){.offset = at, .rows = i->rows, .digest = i->digest, .key = i->last};
}

/* Back to the last place before offset where reading can begin. */
static enum err rewind_to(struct state_image *i, uint64_t offset)
{
    size_t n = i->mark_count;
    while (n > 0 && i->marks[n - 1].offset > offset)
        n--;
    if (n == 0) {
        make_header(i);
        return OK;
    }
    const struct mark *m = &i->marks[n - 1];
    kv_iterator_seek(i->iterator, key_slice(&m->key));
    if (kv_iterator_valid(i->iterator))
        kv_iterator_next(i->iterator); /* it is there: the snapshot does not change */
    i->rows = m->rows;
    i->digest = m->digest;
    i->last = m->key;
    i->block_offset = m->offset;
    i->block_bytes = 0;
    i->is_end = false;
    return make_block(i);
}

enum err state_image_new(struct state *s, const struct uuid *cluster, struct state_image **out)
{
    struct state_image *i = sys_alloc(sizeof *i);
    i->state = state_ref(s);
    i->cluster = *cluster;
    i->snapshot = kv_snapshot_new(s->kv);
    enum err e = meta_read(s->kv, i->snapshot, &i->meta, &i->meta_bytes);
    if (e == OK && i->meta.at.index == 0)
        e = ERR_NOT_FOUND;
    if (e != OK) {
        state_image_free(i);
        return e;
    }
    i->iterator = kv_iterator_new(s->kv, i->snapshot);
    make_header(i);
    *out = i;
    return OK;
}

void state_image_free(struct state_image *i)
{
    if (i->iterator)
        kv_iterator_free(i->iterator);
    kv_snapshot_free(i->state->kv, i->snapshot);
    state_unref(i->state);
    sys_free(i->meta_bytes);
    sys_free(i->block);
    sys_free(i->marks);
    sys_free(i);
}

const struct state_position *state_image_position(const struct state_image *i)
{
    return &i->meta.at;
}

enum err state_image_read(struct state_image *i, uint64_t offset, void *out, size_t max, size_t *n,
                          bool *last)
{
    enum err e = OK;
    *n = 0;
    *last = false;
    if (offset < i->block_offset)
        e = rewind_to(i, offset);
    while (e == OK && *n < max) {
        uint64_t at = offset + *n - i->block_offset;
        if (at < i->block_bytes) {
            size_t some = i->block_bytes - (size_t)at;
            some = some < max - *n ? some : max - *n;
            memcpy((uint8_t *)out + *n, i->block + at, some);
            *n += some;
            *last = i->is_end && at + some == i->block_bytes;
        } else if (i->is_end) {
            return *n > 0 ? OK : ERR_INVALID;
        } else {
            note_mark(i);
            e = make_block(i);
        }
    }
    return e;
}
