/* The file `scrub` of a disk: how far its scrub is, so that a restart goes on there.
 *
 * One block of 4096 bytes: magic "CAIRNSCR", format u32 = 1, known i64, swept i64, read i64, begun i64,
 * anywhere u8, pool u32, chunk id 16, index u8, bytes u64, bad u64, in_group u8, group u32, group_bad u32, number of
 * rows u32, their CRC32C u32; zeros; CRC32C u32 at 4092 of all before it. Then a row for each placement group:
 * pool u32, pg u32, swept i64, read i64, missing u32, bad u32. Little-endian. Written as scrub.new, synced, renamed,
 * directory synced. It can be lost: the next pass then begins at the first shard. */
#include <string.h>
#include "common/base/cursor.h"
#include "common/base/digest.h"
#include "chunkserver/scrub_internal.h"
#include "chunkserver/superblock_internal.h"

static const char magic[8] = "CAIRNSCR";
enum {
    FORMAT = 1,
    CRC_AT = SYS_BLOCK - 4,
    ROW = 32,
    ROWS_MAX = 64 * 1024, /* a file with more is not ours */
};

static void encode_rows(const struct scrub_groups *g, uint8_t *out)
{
    struct writer w;
    writer_init(&w, out, g->count * ROW);
    for (size_t i = 0; i < g->count; i++) {
        write_u32(&w, g->v[i].pool);
        write_u32(&w, g->v[i].pg);
        write_u64(&w, (uint64_t)g->v[i].swept);
        write_u64(&w, (uint64_t)g->v[i].read);
        write_u32(&w, g->v[i].missing);
        write_u32(&w, g->v[i].bad);
    }
}

static void decode_rows(const uint8_t *in, size_t count, struct scrub_groups *out)
{
    struct reader r;
    reader_init(&r, in, count * ROW);
    *out = (struct scrub_groups){
        .v = sys_alloc(count * sizeof *out->v), .count = count, .room = count};
    for (size_t i = 0; i < count; i++) {
        struct scrub_group *g = &out->v[i];
        g->pool = read_u32(&r);
        g->pg = read_u32(&r);
        g->swept = (int64_t)read_u64(&r);
        g->read = (int64_t)read_u64(&r);
        g->missing = read_u32(&r);
        g->bad = read_u32(&r);
    }
}

/* rows: behind the block. */
static void encode(const struct scrub_state *s, const uint8_t *rows, uint8_t out[SYS_BLOCK])
{
    uint8_t chunk[CHUNK_ID_BYTES];
    struct writer w;
    memset(out, 0, SYS_BLOCK);
    chunk_id_encode(&s->at.chunk, chunk);
    writer_init(&w, out, SYS_BLOCK);
    write_bytes(&w, magic, 8);
    write_u32(&w, FORMAT);
    write_u64(&w, (uint64_t)s->known);
    write_u64(&w, (uint64_t)s->swept);
    write_u64(&w, (uint64_t)s->read);
    write_u64(&w, (uint64_t)s->begun);
    write_u8(&w, s->anywhere);
    write_u32(&w, s->pool);
    write_bytes(&w, chunk, sizeof chunk);
    write_u8(&w, s->at.index);
    write_u64(&w, s->bytes);
    write_u64(&w, s->bad);
    write_u8(&w, s->in_group);
    write_u32(&w, s->group);
    write_u32(&w, s->group_bad);
    write_u32(&w, (uint32_t)s->groups.count);
    write_u32(&w, crc32c(0, rows, s->groups.count * ROW));
    writer_init(&w, out + CRC_AT, 4);
    write_u32(&w, crc32c(0, out, CRC_AT));
}

static bool decode(const uint8_t *in, size_t n, struct scrub_state *s)
{
    uint8_t chunk[CHUNK_ID_BYTES];
    struct reader r;
    reader_init(&r, in + CRC_AT, 4);
    if (n < SYS_BLOCK || memcmp(in, magic, 8) != 0 || read_u32(&r) != crc32c(0, in, CRC_AT))
        return false;
    reader_init(&r, in + 8, CRC_AT - 8);
    if (read_u32(&r) != FORMAT)
        return false;
    s->known = (int64_t)read_u64(&r);
    s->swept = (int64_t)read_u64(&r);
    s->read = (int64_t)read_u64(&r);
    s->begun = (int64_t)read_u64(&r);
    s->anywhere = read_u8(&r) != 0;
    s->pool = read_u32(&r);
    read_bytes(&r, chunk, sizeof chunk);
    chunk_id_decode(chunk, &s->at.chunk);
    s->at.index = read_u8(&r);
    s->bytes = read_u64(&r);
    s->bad = read_u64(&r);
    s->in_group = read_u8(&r) != 0;
    s->group = read_u32(&r);
    s->group_bad = read_u32(&r);
    size_t rows = read_u32(&r);
    uint32_t crc = read_u32(&r);
    if (rows <= ROWS_MAX && n == SYS_BLOCK + rows * ROW &&
        (rows == 0 || crc == crc32c(0, in + SYS_BLOCK, rows * ROW)))
        decode_rows(in + SYS_BLOCK, rows, &s->groups);
    return true;
}

enum err scrub_state_load(const char *directory, struct scrub_state *out)
{
    char path[SYS_PATH_MAX];
    struct sys_file *f = NULL;
    uint64_t size = 0;
    size_t n = 0;
    *out = (struct scrub_state){0};
    enum err e = disk_path(directory, "scrub", path);
    if (e == OK)
        e = sys_file_open(path, SYS_OPEN_READ, &f);
    if (e == OK)
        e = sys_file_size(f, &size);
    if (size > SYS_BLOCK + (uint64_t)ROWS_MAX * ROW)
        size = 0;
    uint8_t *bytes = sys_alloc((size_t)size + 1);
    if (e == OK)
        e = sys_file_read(f, 0, bytes, (size_t)size, &n);
    if (f)
        sys_file_close(f);
    if (e == OK && !decode(bytes, n, out))
        *out = (struct scrub_state){0};
    sys_free(bytes);
    return e == ERR_NOT_FOUND ? OK : e;
}

enum err scrub_state_save(const char *directory, const struct scrub_state *state)
{
    char path[SYS_PATH_MAX], fresh[SYS_PATH_MAX];
    size_t n = SYS_BLOCK + state->groups.count * ROW;
    uint8_t *bytes = sys_alloc(n);
    struct sys_file *f = NULL;
    encode_rows(&state->groups, bytes + SYS_BLOCK);
    encode(state, bytes + SYS_BLOCK, bytes);
    enum err e = disk_path(directory, "scrub", path);
    if (e == OK)
        e = disk_path(directory, "scrub.new", fresh);
    if (e == OK)
        e = sys_file_open(fresh, SYS_OPEN_WRITE | SYS_OPEN_CREATE | SYS_OPEN_TRUNCATE, &f);
    if (e == OK)
        e = sys_file_write(f, 0, bytes, n);
    if (e == OK)
        e = sys_file_sync(f);
    if (f)
        sys_file_close(f);
    if (e == OK)
        e = sys_rename(fresh, path);
    if (e == OK)
        e = sys_dir_sync(directory);
    sys_free(bytes);
    return e;
}
