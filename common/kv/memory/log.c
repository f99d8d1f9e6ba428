#include "common/kv/memory/log_internal.h"
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include "common/base/cursor.h"
#include "common/base/digest.h"

static const uint8_t file_magic[8] = {'C', 'A', 'I', 'R', 'N', 'K', 'V', 'M'};
static const uint8_t record_magic[4] = {'K', 'V', 'M', 'R'};

enum err log_path(const char *directory, const char *name, char out[SYS_PATH_MAX])
{
    int n = snprintf(out, SYS_PATH_MAX, "%s/%s", directory, name);
    return n < 0 || n >= SYS_PATH_MAX ? ERR_TOO_BIG : OK;
}

static uint32_t header_crc(const uint8_t header[LOG_BLOCK])
{
    return crc32c(crc32c(0, header, 12), header + 16, LOG_BLOCK - 16);
}

static uint32_t record_crc(uint64_t salt, uint64_t offset, const uint8_t *record, size_t payload)
{
    uint8_t place[16];
    struct writer w;
    writer_init(&w, place, sizeof place);
    write_u64(&w, salt);
    write_u64(&w, offset);
    return crc32c(crc32c(0, place, sizeof place), record + 8, LOG_RECORD_HEADER - 8 + payload);
}

static uint64_t round_up(uint64_t n)
{
    return (n + LOG_BLOCK - 1) / LOG_BLOCK * LOG_BLOCK;
}

static enum err write_header(struct log *l)
{
    uint8_t header[LOG_BLOCK];
    struct writer w;
    memset(header, 0, sizeof header);
    writer_init(&w, header, sizeof header);
    write_bytes(&w, file_magic, sizeof file_magic);
    write_u32(&w, 1);
    write_u32(&w, 0);
    write_u64(&w, l->salt);
    write_u64(&w, l->end);
    writer_init(&w, header + 12, 4);
    write_u32(&w, header_crc(header));
    return sys_file_write(l->file, 0, header, sizeof header);
}

static enum err read_header(struct log *l, const uint8_t *bytes, size_t n)
{
    struct reader r;
    reader_init(&r, bytes, n);
    const void *magic = read_view(&r, sizeof file_magic);
    uint32_t version = read_u32(&r), crc = read_u32(&r);
    l->salt = read_u64(&r);
    l->synced_end = read_u64(&r);
    if (n < LOG_BLOCK || memcmp(magic, file_magic, sizeof file_magic) != 0 ||
        crc != header_crc(bytes))
        return ERR_CORRUPT;
    return version == 1 ? OK : ERR_UNSUPPORTED;
}

/* The operations of a payload; false: they are not well-formed. Twice: first only to look. */
static bool visit_payload(const uint8_t *payload, size_t n, uint32_t count, uint64_t sequence,
                          log_visit *visit, void *arg)
{
    struct reader r;
    reader_init(&r, payload, n);
    for (uint32_t i = 0; i < count && !r.failed; i++) {
        uint8_t kind = read_u8(&r);
        if (kind != LOG_PUT && kind != LOG_DELETE)
            return false;
        struct kv_slice key = {.length = read_u32(&r)}, value = {.length = 0};
        if (kind == LOG_PUT)
            value.length = read_u32(&r);
        key.data = read_view(&r, key.length);
        value.data = read_view(&r, value.length);
        if (!r.failed && visit)
            visit(arg, sequence, key, kind == LOG_PUT ? &value : NULL);
    }
    return reader_finished(&r);
}

/* The length on disk of the record at bytes; 0: none that is whole. */
static uint64_t record_length(const struct log *l, uint64_t offset, const uint8_t *bytes,
                              uint64_t left)
{
    struct reader r;
    if (left < LOG_RECORD_HEADER || memcmp(bytes, record_magic, sizeof record_magic) != 0)
        return 0;
    reader_init(&r, bytes + 4, LOG_RECORD_HEADER - 4);
    uint32_t crc = read_u32(&r);
    read_skip(&r, 16);
    uint64_t payload = read_u32(&r), whole = round_up(LOG_RECORD_HEADER + payload);
    if (whole > left || crc != record_crc(l->salt, offset, bytes, (size_t)payload))
        return 0;
    return whole;
}

static enum err scan(struct log *l, const uint8_t *bytes, uint64_t size, log_visit *visit,
                     void *arg, bool *holes)
{
    uint64_t first_hole = UINT64_MAX;
    for (uint64_t at = LOG_BLOCK, step; at < size; at += step) {
        step = record_length(l, at, bytes + at, size - at);
        if (step == 0) {
            step = LOG_BLOCK;
            if (first_hole == UINT64_MAX)
                first_hole = at;
            continue;
        }
        struct reader r;
        reader_init(&r, bytes + at + 8, LOG_RECORD_HEADER - 8);
        uint64_t sequence = read_u64(&r), synced = read_u64(&r);
        uint32_t n = read_u32(&r), count = read_u32(&r);
        const uint8_t *payload = bytes + at + LOG_RECORD_HEADER;
        if (sequence <= l->sequence || !visit_payload(payload, n, count, sequence, NULL, NULL))
            return ERR_CORRUPT;
        l->sequence = sequence;
        if (synced > l->synced_end)
            l->synced_end = synced;
        visit_payload(payload, n, count, sequence, visit, arg);
    }
    *holes = first_hole != UINT64_MAX || size % LOG_BLOCK != 0;
    uint64_t good_end = first_hole < size ? first_hole : size;
    return good_end < l->synced_end ? ERR_CORRUPT : OK;
}

enum err log_open(struct log *l, const char *directory, log_visit *visit, void *arg, bool *holes)
{
    char path[SYS_PATH_MAX];
    uint8_t *bytes = NULL;
    uint64_t size;
    size_t done = 0;
    memset(l, 0, sizeof *l);
    snprintf(l->directory, sizeof l->directory, "%s", directory);
    enum err e = log_path(directory, "log", path);
    if (e)
        return e;
    e = sys_file_open(path, SYS_OPEN_WRITE, &l->file);
    if (e)
        return e;
    e = sys_file_size(l->file, &size);
    if (!e && size > LOG_FILE_MAX)
        e = ERR_TOO_BIG;
    if (!e) {
        bytes = sys_alloc((size_t)size);
        e = sys_file_read(l->file, 0, bytes, (size_t)size, &done);
    }
    if (!e && done != size)
        e = ERR_CORRUPT;
    if (!e)
        e = read_header(l, bytes, done);
    if (!e)
        e = scan(l, bytes, size, visit, arg, holes);
    l->end = size;
    sys_free(bytes);
    if (e)
        log_close(l);
    return e;
}

enum err log_create(struct log *l, const char *directory)
{
    char path[SYS_PATH_MAX];
    memset(l, 0, sizeof *l);
    snprintf(l->directory, sizeof l->directory, "%s", directory);
    enum err e = log_path(directory, "log.new", path);
    if (e)
        return e;
    sys_random(&l->salt, sizeof l->salt);
    l->end = LOG_BLOCK;
    return sys_file_open(path, SYS_OPEN_WRITE | SYS_OPEN_CREATE | SYS_OPEN_TRUNCATE, &l->file);
}

enum err log_publish(struct log *l)
{
    char from[SYS_PATH_MAX], to[SYS_PATH_MAX];
    /* The header comes last, since it says how far the file goes; the rename makes it count. */
    enum err e = write_header(l);
    if (!e)
        e = log_sync(l);
    if (!e)
        e = log_path(l->directory, "log.new", from);
    if (!e)
        e = log_path(l->directory, "log", to);
    if (!e)
        e = sys_rename(from, to);
    return e ? e : sys_dir_sync(l->directory);
}

uint8_t *log_payload(struct log *l, size_t n)
{
    assert(n <= LOG_FILE_MAX / 2);
    size_t need = (size_t)round_up(LOG_RECORD_HEADER + n);
    if (l->buffer_size < need) {
        l->buffer_size = need < 4096 ? 4096 : need;
        l->buffer = sys_realloc(l->buffer, l->buffer_size);
    }
    return l->buffer + LOG_RECORD_HEADER;
}

enum err log_append(struct log *l, size_t n, uint32_t count)
{
    size_t whole = (size_t)round_up(LOG_RECORD_HEADER + n);
    assert(whole <= l->buffer_size && l->end % LOG_BLOCK == 0);
    if (l->end + whole > LOG_FILE_MAX)
        return ERR_NO_SPACE;
    struct writer w;
    writer_init(&w, l->buffer, LOG_RECORD_HEADER);
    write_bytes(&w, record_magic, sizeof record_magic);
    write_u32(&w, 0);
    write_u64(&w, l->sequence + 1);
    write_u64(&w, l->synced_end);
    write_u32(&w, (uint32_t)n);
    write_u32(&w, count);
    writer_init(&w, l->buffer + 4, 4);
    write_u32(&w, record_crc(l->salt, l->end, l->buffer, n));
    memset(l->buffer + LOG_RECORD_HEADER + n, 0, whole - LOG_RECORD_HEADER - n);
    enum err e = sys_file_write(l->file, l->end, l->buffer, whole);
    if (!e) {
        l->end += whole;
        l->sequence++;
    }
    return e;
}

enum err log_sync(struct log *l)
{
    enum err e = sys_file_sync(l->file);
    if (!e)
        l->synced_end = l->end;
    return e;
}

void log_close(struct log *l)
{
    if (l->file)
        sys_file_close(l->file);
    sys_free(l->buffer);
    l->file = NULL;
    l->buffer = NULL;
    l->buffer_size = 0;
}
