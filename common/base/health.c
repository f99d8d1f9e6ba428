#include "common/base/health.h"
#include <stdbool.h>

static const struct {
    const char *name, *advice;
    enum health_level level;
} codes[] = {
#define X(name, level, advice) {#name, advice, level},
    HEALTH_LIST(X)
#undef X
};

const char *disk_fault_name(enum disk_fault fault)
{
    static const char *const names[DISK_FAULTS] = {"none",  "sync",      "index",
                                                   "reads", "read_only", "gone"};
    return (unsigned)fault < DISK_FAULTS ? names[fault] : "unknown";
}

static bool known(enum health_code code)
{
    return (unsigned)code < HEALTH_CODES;
}

const char *health_name(enum health_code code)
{
    return known(code) ? codes[code].name : "UNKNOWN";
}

const char *health_advice(enum health_code code)
{
    return known(code) ? codes[code].advice : "";
}

enum health_level health_level(enum health_code code)
{
    return known(code) ? codes[code].level : HEALTH_WARN;
}

const char *health_level_name(enum health_level level)
{
    return level == HEALTH_OK ? "HEALTH_OK" : level == HEALTH_WARN ? "HEALTH_WARN" : "HEALTH_ERR";
}
