#include "common/base/err.h"

const char *err_text(enum err e)
{
    switch (e) {
#define X(name, value, known, retryable, text) \
    case name:                                 \
        return text;
        ERR_LIST(X)
#undef X
    }
    return "unlisted error";
}

const char *err_name(enum err e)
{
    switch (e) {
#define X(name, value, known, retryable, text) \
    case name:                                 \
        return #name;
        ERR_LIST(X)
#undef X
    }
    return "ERR_UNLISTED";
}

bool err_outcome_known(enum err e)
{
    switch (e) {
#define X(name, value, known, retryable, text) \
    case name:                                 \
        return known;
        ERR_LIST(X)
#undef X
    }
    return false;
}

bool err_retryable(enum err e)
{
    switch (e) {
#define X(name, value, known, retryable, text) \
    case name:                                 \
        return retryable;
        ERR_LIST(X)
#undef X
    }
    return false;
}

enum err err_from_wire(int value)
{
    switch (value) {
#define X(name, value, known, retryable, text) \
    case value:                                \
        return name;
        ERR_LIST(X)
#undef X
    }
    return ERR_FORMAT;
}
