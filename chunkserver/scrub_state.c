/* The file `scrub` of a disk: how far its scrub is, so that a restart goes on there.
 *
 * One block of 4096 bytes: magic "CAIRNSCR", format u32 = 1, known i64, swept i64, read i64, begun i64,
 * anywhere u8, pool u32, chunk id 16, index u8, bytes u64, bad u64; zeros; CRC32C u32 at 4092 of all
 * before it. Little-endian. Written as scrub.new, synced, renamed, directory synced. It can be lost:
 * the next pass then begins at the first shard. */
#include <string.h>
#include "common/base/cursor.h"
#include "common/base/digest.h"
#include "chunkserver/scrub_internal.h"
#include "chunkserver/superblock_internal.h"

static const char magic[8] = "CAIRNSCR";
enum { FORMAT = 1, CRC_AT = SYS_BLOCK - 4 };

static void encode(const struct scrub_state *s, uint8_t out[SYS_BLOCK])
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
    writer_init(&w, out + CRC_AT, 4);
    write_u32(&w, crc32c(0, out, CRC_AT));
}

static bool decode(const uint8_t in[SYS_BLOCK], struct scrub_state *s)
{
    uint8_t chunk[CHUNK_ID_BYTES];
    struct reader r;
    reader_init(&r, in + CRC_AT, 4);
    if (memcmp(in, magic, 8) != 0 || read_u32(&r) != crc32c(0, in, CRC_AT))
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
    return true;
}

enum err scrub_state_load(const char *directory, struct scrub_state *out)
{
    char path[SYS_PATH_MAX];
    uint8_t block[SYS_BLOCK];
    struct sys_file *f = NULL;
    size_t n = 0;
    *out = (struct scrub_state){0};
    enum err e = disk_path(directory, "scrub", path);
    if (e == OK)
        e = sys_file_open(path, SYS_OPEN_READ, &f);
    if (e == OK)
        e = sys_file_read(f, 0, block, sizeof block, &n);
    if (f)
        sys_file_close(f);
    if (e == OK && (n != sizeof block || !decode(block, out)))
        *out = (struct scrub_state){0};
    return e == ERR_NOT_FOUND ? OK : e;
}

enum err scrub_state_save(const char *directory, const struct scrub_state *state)
{
    char path[SYS_PATH_MAX], fresh[SYS_PATH_MAX];
    uint8_t block[SYS_BLOCK];
    struct sys_file *f = NULL;
    encode(state, block);
    enum err e = disk_path(directory, "scrub", path);
    if (e == OK)
        e = disk_path(directory, "scrub.new", fresh);
    if (e == OK)
        e = sys_file_open(fresh, SYS_OPEN_WRITE | SYS_OPEN_CREATE | SYS_OPEN_TRUNCATE, &f);
    if (e == OK)
        e = sys_file_write(f, 0, block, sizeof block);
    if (e == OK)
        e = sys_file_sync(f);
    if (f)
        sys_file_close(f);
    if (e == OK)
        e = sys_rename(fresh, path);
    if (e == OK)
        e = sys_dir_sync(directory);
    return e;
}
