/* Percent-encoding as S3 and SigV4 want it. Pure. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "common/base/arena.h"

/* Everything but A-Z a-z 0-9 - . _ ~ becomes %XX, upper case; '/' too unless keep_slash. */
char *uri_encode(struct arena *a, const void *data, size_t n, bool keep_slash);
/* NULL when a '%' is not followed by two hex digits. The result has a NUL after its *out_n bytes and
 * may hold others. plus_is_space: as in a form or a query. */
char *uri_decode(struct arena *a, const char *text, size_t n, bool plus_is_space, size_t *out_n);
/* As uri_encode over what is not encoded yet: "%XX" stays what it is, in upper case. */
char *uri_encode_rest(struct arena *a, const char *text, size_t n, bool keep_slash);
