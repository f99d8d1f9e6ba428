#include "gateway/s3_error.h"

struct error_row {
    const char *code;
    int status;
    const char *message;
};

static const struct error_row *row(enum s3_error e)
{
    static const struct error_row rows[S3_ERRORS] = {
#define X(name, code, status, message) [name] = {code, status, message},
        S3_ERROR_LIST(X)
#undef X
    };
    return &rows[(unsigned)e < S3_ERRORS ? e : S3_INTERNAL_ERROR];
}

const char *s3_error_code(enum s3_error e)
{
    return row(e)->code;
}

int s3_error_status(enum s3_error e)
{
    return row(e)->status;
}

const char *s3_error_message(enum s3_error e)
{
    return row(e)->message;
}

enum s3_error s3_error_from(enum err e)
{
    switch (e) {
    case OK:
        return S3_OK;
    case ERR_CLIENT_GONE:
        return S3_CLIENT_GONE;
    case ERR_TOO_SLOW:
        return S3_REQUEST_TIMEOUT;
    case ERR_TRUNCATED:
        return S3_INCOMPLETE_BODY;
    case ERR_BUSY:
        return S3_SLOW_DOWN;
    case ERR_NO_BUCKET:
        return S3_NO_SUCH_BUCKET;
    case ERR_NOT_FOUND:
    case ERR_NO_KEY:
        return S3_NO_SUCH_KEY;
    case ERR_NO_UPLOAD:
        return S3_NO_SUCH_UPLOAD;
    case ERR_BUCKET_EXISTS:
        return S3_BUCKET_ALREADY_EXISTS;
    case ERR_BUCKET_OWNED:
        return S3_BUCKET_ALREADY_OWNED_BY_YOU;
    case ERR_BUCKET_NOT_EMPTY:
        return S3_BUCKET_NOT_EMPTY;
    case ERR_PRECONDITION:
        return S3_PRECONDITION_FAILED;
    case ERR_MISMATCH:
    case ERR_CONFLICT:
        return S3_CONDITIONAL_REQUEST_CONFLICT;
    case ERR_INVALID_PART:
        return S3_INVALID_PART;
    case ERR_PART_TOO_SMALL:
        return S3_ENTITY_TOO_SMALL;
    case ERR_PART_ORDER:
        return S3_INVALID_PART_ORDER;
    case ERR_NO_USER:
        return S3_INVALID_ACCESS_KEY_ID;
    case ERR_DIGEST:
        return S3_BAD_DIGEST;
    case ERR_TOO_BIG:
        return S3_ENTITY_TOO_LARGE;
    case ERR_INVALID:
        return S3_INVALID_ARGUMENT;
    case ERR_ACCESS:
    case ERR_AUTHENTICATION:
        return S3_ACCESS_DENIED;
    case ERR_UNSUPPORTED:
        return S3_NOT_IMPLEMENTED;
    case ERR_METADATA_FULL:
        return S3_INSUFFICIENT_STORAGE;
    /* A client may try these again; ERR_NO_SPACE ends when an operator has made room. */
    case ERR_NO_SPACE:
    case ERR_TOO_OLD:
    case ERR_SESSION_EXPIRED:
        return S3_SERVICE_UNAVAILABLE;
    default:
        return err_retryable(e) ? S3_SERVICE_UNAVAILABLE : S3_INTERNAL_ERROR;
    }
}
