/* Files of lines KEY=value, as shells and S3 tools read them: AWS_ACCESS_KEY_ID=.. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "common/base/err.h"

enum { CREDENTIALS_MAX = 4096 };

/* The value of a key in such lines, "export " before it or not. false when it is missing, empty or
 * does not fit. */
bool credentials_value(const char *text, const char *key, char *out, size_t room);
/* The whole file, NUL-terminated. ERR_NOT_FOUND, ERR_ACCESS, ERR_TOO_BIG. */
enum err credentials_read(const char *path, char out[CREDENTIALS_MAX + 1]) MUST_USE;
