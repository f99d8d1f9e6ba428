#include "tools/credentials.h"
#include <string.h>
#include "common/sys/sys.h"

bool credentials_value(const char *text, const char *key, char *out, size_t room)
{
    size_t key_n = strlen(key);
    for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        if (strncmp(line, "export ", 7) == 0)
            line += 7;
        if (strncmp(line, key, key_n) != 0 || line[key_n] != '=')
            continue;
        const char *value = line + key_n + 1;
        size_t n = strcspn(value, "\r\n");
        if (n == 0 || n >= room)
            return false;
        memcpy(out, value, n);
        out[n] = 0;
        return true;
    }
    return false;
}

enum err credentials_read(const char *path, char out[CREDENTIALS_MAX + 1])
{
    struct sys_file *file;
    size_t n = 0;
    memset(out, 0, CREDENTIALS_MAX + 1);
    enum err e = sys_file_open(path, SYS_OPEN_READ, &file);
    if (e)
        return e;
    e = sys_file_read(file, 0, out, CREDENTIALS_MAX, &n);
    sys_file_close(file);
    return e ? e : n == CREDENTIALS_MAX ? ERR_TOO_BIG : OK;
}
