/* What both stores share. */
#pragma once
#include "common/base/err.h"

/* Makes the directory when it is missing, and its name durable in the one above. */
enum err kv_make_directory(const char *directory) MUST_USE;
