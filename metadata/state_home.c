#include "metadata/state_home.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "common/base/cursor.h"
#include "common/base/digest.h"
#include "common/kv/kv.h"
#include "common/sys/sys.h"

enum { HEAD_BYTES = 16, FILE_MAX = 8192, CONFIGURATION_MAX = 4096, VERSION = 1 };
static const char magic[8] = {'C', 'A', 'I', 'R', 'N', 'P', 'T', 'R'};

static enum err path_of(const char *directory, const char *name, char out[SYS_PATH_MAX])
{
    int n = snprintf(out, SYS_PATH_MAX, "%s/%s", directory, name);
    return n < 0 || n >= SYS_PATH_MAX ? ERR_TOO_BIG : OK;
}

void state_home_name(char out[STATE_HOME_NAME])
{
    uint64_t x;
    sys_random(&x, sizeof x);
    snprintf(out, STATE_HOME_NAME, "state-%016" PRIx64, x);
}

void state_home_release(struct state_home *home)
{
    raft_payload_unref(home->at.configuration.payload);
    *home = (struct state_home){0};
}

static enum err decode(const uint8_t *bytes, size_t n, struct state_home *out)
{
    struct reader r;
    reader_init(&r, bytes, n);
    const void *head = read_view(&r, sizeof magic);
    uint32_t version = read_u32(&r), crc = read_u32(&r);
    if (r.failed || memcmp(head, magic, sizeof magic) != 0)
        return ERR_CORRUPT;
    if (version != VERSION)
        return ERR_UNSUPPORTED;
    if (crc != crc32c(0, bytes + HEAD_BYTES, n - HEAD_BYTES))
        return ERR_CORRUPT;
    out->discarded = read_u8(&r) == 2;
    size_t length = read_u8(&r);
    const void *name = read_view(&r, length);
    if (r.failed || length >= STATE_HOME_NAME)
        return ERR_CORRUPT;
    memcpy(out->name, name, length);
    out->at.index = read_u64(&r);
    out->at.term = read_u64(&r);
    struct raft_entry *c = &out->at.configuration;
    c->type = RAFT_ENTRY_CONFIGURATION;
    c->index = read_u64(&r);
    c->term = read_u64(&r);
    length = read_u32(&r);
    const void *configuration = read_view(&r, length);
    if (!reader_finished(&r))
        return ERR_CORRUPT;
    if (length > 0)
        c->payload = raft_payload_new(configuration, length);
    return OK;
}

enum err state_home_read(const char *directory, struct state_home *out)
{
    char path[SYS_PATH_MAX];
    uint8_t bytes[FILE_MAX];
    size_t n = 0;
    struct sys_file *f;
    *out = (struct state_home){0};
    enum err e = path_of(directory, "current", path);
    if (e == OK)
        e = sys_file_open(path, SYS_OPEN_READ, &f);
    if (e != OK)
        return e;
    e = sys_file_read(f, 0, bytes, sizeof bytes, &n);
    sys_file_close(f);
    if (e == OK)
        e = decode(bytes, n, out);
    return e;
}

bool state_home_there(const char *directory)
{
    struct state_home home;
    enum err e = state_home_read(directory, &home);
    state_home_release(&home);
    return e != ERR_NOT_FOUND;
}

static size_t encode(const struct state_home *home, uint8_t out[FILE_MAX])
{
    const struct raft_entry *c = &home->at.configuration;
    size_t name = strlen(home->name);
    struct writer w;
    writer_init(&w, out, FILE_MAX);
    write_bytes(&w, magic, sizeof magic);
    write_u32(&w, VERSION);
    write_u32(&w, 0);
    write_u8(&w, home->discarded ? 2 : 1);
    write_u8(&w, (uint8_t)name);
    write_bytes(&w, home->name, name);
    write_u64(&w, home->at.index);
    write_u64(&w, home->at.term);
    write_u64(&w, c->index);
    write_u64(&w, c->term);
    write_u32(&w, (uint32_t)raft_entry_length(c));
    if (c->payload)
        write_bytes(&w, c->payload->data, c->payload->length);
    size_t n = writer_used(&w);
    writer_init(&w, out + 12, 4);
    write_u32(&w, crc32c(0, out + HEAD_BYTES, n - HEAD_BYTES));
    return n;
}

enum err state_home_write(const char *directory, const struct state_home *home)
{
    char path[SYS_PATH_MAX], fresh[SYS_PATH_MAX];
    uint8_t bytes[FILE_MAX];
    struct sys_file *f;
    if (raft_entry_length(&home->at.configuration) > CONFIGURATION_MAX)
        return ERR_TOO_BIG;
    size_t n = encode(home, bytes);
    enum err e = path_of(directory, "current", path);
    if (e == OK)
        e = path_of(directory, "current.new", fresh);
    if (e == OK)
        e = sys_file_open(fresh, SYS_OPEN_WRITE | SYS_OPEN_CREATE | SYS_OPEN_TRUNCATE, &f);
    if (e != OK)
        return e;
    e = sys_file_write(f, 0, bytes, n);
    if (e == OK)
        e = sys_file_sync(f);
    sys_file_close(f);
    if (e == OK)
        e = sys_rename(fresh, path);
    return e == OK ? sys_dir_sync(directory) : e;
}

/* ---- what does not count ---- */

struct found {
    const char *keep;
    char (*names)[STATE_HOME_NAME];
    size_t count, room;
};

static void find(void *arg, const char *name, bool is_dir)
{
    struct found *f = arg;
    if (!is_dir || strncmp(name, "state-", 6) != 0 || strlen(name) >= STATE_HOME_NAME ||
        (f->keep && strcmp(name, f->keep) == 0))
        return;
    if (f->count == f->room) {
        f->room = f->room ? 2 * f->room : 4;
        f->names = sys_realloc(f->names, f->room * sizeof *f->names);
    }
    memcpy(f->names[f->count++], name, strlen(name) + 1);
}

enum err state_home_clean(const char *directory, const struct state_home *home)
{
    char path[SYS_PATH_MAX];
    struct found f = {.keep = home ? home->name : NULL};
    enum err e = sys_dir_list(directory, find, &f);
    if (e == OK && home)
        e = state_home_write(directory, home);
    for (size_t i = 0; e == OK && i < f.count; i++) {
        e = path_of(directory, f.names[i], path);
        if (e == OK)
            e = kv_destroy(path);
    }
    sys_free(f.names);
    return e;
}
