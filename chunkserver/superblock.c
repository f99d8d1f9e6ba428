/* The superblock of a disk: who it is, and the secret that its records are checked with.
 *
 * File `superblock`, two equal copies of 4096 bytes (losing it loses the disk, so one rotten block
 * must not): magic "CAIRNDSK", format u32 = 1, disk id u32, cluster uuid 16, disk uuid 16,
 * incarnation u64, salt 32, indexed u64; zeros; CRC32C u32 at 4092 of all before it. Little-endian.
 *
 *  B1  It is never written in place: superblock.new, synced, renamed, directory synced.
 *  B2  cluster, disk uuid and salt never change; an id once given never changes; the incarnation
 *      and `indexed` only grow. */
#include <stdio.h>
#include <string.h>
#include "chunkserver/superblock_internal.h"
#include "common/base/cursor.h"
#include "common/base/digest.h"
#include "common/sys/log.h"

static const char magic[8] = "CAIRNDSK";
enum { FORMAT = 1, COPIES = 2, CRC_AT = SYS_BLOCK - 4 };

enum err disk_path(const char *directory, const char *name, char out[SYS_PATH_MAX])
{
    int n = snprintf(out, SYS_PATH_MAX, "%s/%s", directory, name);
    return n > 0 && n < SYS_PATH_MAX ? OK : ERR_TOO_BIG;
}

static void encode(const struct superblock *sb, uint8_t out[SYS_BLOCK])
{
    struct writer w;
    memset(out, 0, SYS_BLOCK);
    writer_init(&w, out, SYS_BLOCK);
    write_bytes(&w, magic, 8);
    write_u32(&w, FORMAT);
    write_u32(&w, sb->id);
    write_bytes(&w, sb->cluster.bytes, UUID_BYTES);
    write_bytes(&w, sb->disk.bytes, UUID_BYTES);
    write_u64(&w, sb->incarnation);
    write_bytes(&w, sb->salt, SALT_BYTES);
    write_u64(&w, sb->indexed);
    writer_init(&w, out + CRC_AT, 4);
    write_u32(&w, crc32c(0, out, CRC_AT));
}

static bool decode(const uint8_t in[SYS_BLOCK], struct superblock *sb, uint32_t *format)
{
    struct reader r;
    reader_init(&r, in + CRC_AT, 4);
    if (memcmp(in, magic, 8) != 0 || read_u32(&r) != crc32c(0, in, CRC_AT))
        return false;
    reader_init(&r, in + 8, CRC_AT - 8);
    *format = read_u32(&r);
    sb->id = read_u32(&r);
    read_bytes(&r, sb->cluster.bytes, UUID_BYTES);
    read_bytes(&r, sb->disk.bytes, UUID_BYTES);
    sb->incarnation = read_u64(&r);
    read_bytes(&r, sb->salt, SALT_BYTES);
    sb->indexed = read_u64(&r);
    return true;
}

enum err superblock_read(const char *directory, struct superblock *out, unsigned *copies)
{
    char path[SYS_PATH_MAX];
    struct sys_file *f = NULL;
    uint8_t *data = sys_alloc(COPIES * SYS_BLOCK);
    size_t n = 0;
    enum err e = disk_path(directory, "superblock", path);
    if (!e)
        e = sys_file_open(path, SYS_OPEN_READ, &f);
    if (!e) {
        e = sys_file_read(f, 0, data, COPIES * SYS_BLOCK, &n);
        sys_file_close(f);
    }
    if (!e) {
        uint32_t format = 0;
        unsigned valid = 0;
        for (size_t at = 0; at + SYS_BLOCK <= n; at += SYS_BLOCK)
            valid += decode(data + at, out, &format);
        e = valid ? OK : ERR_FORMAT;
        if (copies)
            *copies = valid;
        if (!e && format != FORMAT) {
            log_error("store", "%s has format %u, this version knows %d: use a newer one", path,
                      format, FORMAT);
            e = ERR_FORMAT;
        }
    }
    sys_free(data);
    return e;
}

enum err superblock_write(const char *directory, const struct superblock *sb)
{
    char path[SYS_PATH_MAX], aside[SYS_PATH_MAX];
    struct sys_file *f = NULL;
    uint8_t *data = sys_alloc(COPIES * SYS_BLOCK);
    for (int i = 0; i < COPIES; i++)
        encode(sb, data + (size_t)i * SYS_BLOCK);
    enum err e = disk_path(directory, "superblock", path);
    if (!e)
        e = disk_path(directory, "superblock.new", aside);
    if (!e)
        e = sys_file_open(aside, SYS_OPEN_WRITE | SYS_OPEN_CREATE | SYS_OPEN_TRUNCATE, &f);
    if (!e) {
        e = sys_file_write(f, 0, data, COPIES * SYS_BLOCK);
        if (!e)
            e = sys_file_sync(f);
        sys_file_close(f);
    }
    if (!e)
        e = sys_rename(aside, path);
    if (!e)
        e = sys_dir_sync(directory);
    sys_free(data);
    return e;
}
