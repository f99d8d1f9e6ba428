/* Reads and makes the cluster key's file. */
#include <stdio.h>
#include <string.h>
#include "common/base/text.h"
#include "common/sys/sys.h"
#include "tools/cluster_key.h"

enum { FILE_MAX = 4096 };

enum err cluster_key_create(const char *path)
{
    uint8_t key[RPC_KEY_BYTES];
    char hex[2 * RPC_KEY_BYTES + 1], line[2 * RPC_KEY_BYTES + 8];
    struct sys_file *f;
    enum err e = sys_file_open(path, SYS_OPEN_WRITE | SYS_OPEN_CREATE | SYS_OPEN_EXCLUSIVE, &f);
    if (e)
        return e;
    e = sys_file_private(path); /* before there is anything to read */
    sys_random(key, sizeof key);
    hex_encode(key, sizeof key, hex);
    int n = snprintf(line, sizeof line, "1 %s\n", hex);
    if (!e)
        e = sys_file_write(f, 0, line, (size_t)n);
    if (!e)
        e = sys_file_sync(f);
    sys_file_close(f);
    return e;
}

static enum err read_line(const char *line, size_t n, struct rpc_keys *out)
{
    const char *space = memchr(line, ' ', n);
    uint64_t id;
    if (n == 0 || *line == '#')
        return OK;
    if (!space || out->count == RPC_KEYS_MAX)
        return ERR_FORMAT;
    struct rpc_key *key = &out->key[out->count];
    if (decimal_parse(line, (size_t)(space - line), &id) || id > UINT32_MAX)
        return ERR_FORMAT;
    key->id = (uint32_t)id;
    enum err e = hex_decode(space + 1, n - (size_t)(space + 1 - line), key->bytes, RPC_KEY_BYTES);
    if (!e)
        out->count++;
    return e ? ERR_FORMAT : OK;
}

enum err cluster_key_read(const char *path, struct rpc_keys *out)
{
    char text[FILE_MAX];
    struct sys_file *f;
    size_t n;
    *out = (struct rpc_keys){0};
    enum err e = sys_file_open(path, SYS_OPEN_READ, &f);
    if (e)
        return e;
    e = sys_file_read(f, 0, text, sizeof text, &n);
    sys_file_close(f);
    if (!e && n == sizeof text)
        e = ERR_FORMAT;
    for (size_t at = 0; !e && at < n;) {
        const char *end = memchr(text + at, '\n', n - at);
        size_t length = end ? (size_t)(end - text) - at : n - at;
        e = read_line(text + at, length, out);
        at += length + 1;
    }
    return e ? e : out->count == 0 ? ERR_FORMAT : OK;
}
