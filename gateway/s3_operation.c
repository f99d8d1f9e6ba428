/* The table of operations: what method and query parameters make which, and what else each allows. */
#include <string.h>
#include "common/base/text.h"
#include "gateway/s3_request_internal.h"

enum scope { SERVICE, BUCKET, OBJECT };

struct operation_row {
    enum scope scope;
    const char *method;
    const char *needs;  /* parameters that make it this one, separated by spaces; "" none */
    const char *allows; /* others that it takes */
    enum s3_operation operation;
};

#define LISTING "prefix delimiter max-keys encoding-type "
#define OVERRIDES                                                       \
    "response-content-type response-content-language response-expires " \
    "response-cache-control response-content-disposition response-content-encoding "

/* The first row whose needs are all there wins. */
static const struct operation_row rows[] = {
    {SERVICE, "GET", "", "prefix max-buckets continuation-token bucket-region", S3_LIST_BUCKETS},
    {BUCKET, "GET", "location", "", S3_GET_BUCKET_LOCATION},
    {BUCKET, "GET", "versioning", "", S3_GET_BUCKET_VERSIONING},
    {BUCKET, "GET", "tagging", "", S3_GET_BUCKET_TAGGING},
    {BUCKET, "GET", "cors", "", S3_GET_BUCKET_CORS},
    {BUCKET, "GET", "lifecycle", "", S3_GET_BUCKET_LIFECYCLE},
    {BUCKET, "GET", "policy", "", S3_GET_BUCKET_POLICY},
    {BUCKET, "GET", "policyStatus", "", S3_GET_BUCKET_POLICY_STATUS},
    {BUCKET, "GET", "acl", "", S3_GET_BUCKET_ACL},
    {BUCKET, "GET", "encryption", "", S3_GET_BUCKET_ENCRYPTION},
    {BUCKET, "GET", "object-lock", "", S3_GET_OBJECT_LOCK},
    {BUCKET, "GET", "ownershipControls", "", S3_GET_BUCKET_OWNERSHIP},
    {BUCKET, "GET", "publicAccessBlock", "", S3_GET_PUBLIC_ACCESS_BLOCK},
    {BUCKET, "GET", "requestPayment", "", S3_GET_BUCKET_REQUEST_PAYMENT},
    {BUCKET, "GET", "logging", "", S3_GET_BUCKET_LOGGING},
    {BUCKET, "GET", "notification", "", S3_GET_BUCKET_NOTIFICATION},
    {BUCKET, "GET", "website", "", S3_GET_BUCKET_WEBSITE},
    {BUCKET, "GET", "accelerate", "", S3_GET_BUCKET_ACCELERATE},
    {BUCKET, "GET", "versions", LISTING "key-marker version-id-marker", S3_LIST_OBJECT_VERSIONS},
    {BUCKET, "GET", "uploads",
     "prefix delimiter max-uploads encoding-type key-marker upload-id-marker",
     S3_LIST_MULTIPART_UPLOADS},
    {BUCKET, "GET", "list-type", LISTING "continuation-token start-after fetch-owner",
     S3_LIST_OBJECTS_V2},
    {BUCKET, "GET", "", LISTING "marker", S3_LIST_OBJECTS},
    {BUCKET, "HEAD", "", "", S3_HEAD_BUCKET},
    {BUCKET, "PUT", "versioning", "", S3_PUT_BUCKET_VERSIONING},
    {BUCKET, "PUT", "tagging", "", S3_PUT_BUCKET_TAGGING},
    {BUCKET, "PUT", "cors", "", S3_PUT_BUCKET_CORS},
    {BUCKET, "PUT", "lifecycle", "", S3_PUT_BUCKET_LIFECYCLE},
    {BUCKET, "PUT", "policy", "", S3_PUT_BUCKET_POLICY},
    {BUCKET, "PUT", "acl", "", S3_PUT_BUCKET_ACL},
    {BUCKET, "PUT", "encryption", "", S3_PUT_BUCKET_ENCRYPTION},
    {BUCKET, "PUT", "object-lock", "", S3_PUT_OBJECT_LOCK},
    {BUCKET, "PUT", "ownershipControls", "", S3_PUT_BUCKET_OWNERSHIP},
    {BUCKET, "PUT", "publicAccessBlock", "", S3_PUT_PUBLIC_ACCESS_BLOCK},
    {BUCKET, "PUT", "requestPayment", "", S3_PUT_BUCKET_REQUEST_PAYMENT},
    {BUCKET, "PUT", "logging", "", S3_PUT_BUCKET_LOGGING},
    {BUCKET, "PUT", "notification", "", S3_PUT_BUCKET_NOTIFICATION},
    {BUCKET, "PUT", "website", "", S3_PUT_BUCKET_WEBSITE},
    {BUCKET, "PUT", "accelerate", "", S3_PUT_BUCKET_ACCELERATE},
    {BUCKET, "PUT", "", "", S3_CREATE_BUCKET},
    {BUCKET, "DELETE", "tagging", "", S3_DELETE_BUCKET_TAGGING},
    {BUCKET, "DELETE", "cors", "", S3_DELETE_BUCKET_CORS},
    {BUCKET, "DELETE", "lifecycle", "", S3_DELETE_BUCKET_LIFECYCLE},
    {BUCKET, "DELETE", "policy", "", S3_DELETE_BUCKET_POLICY},
    {BUCKET, "DELETE", "encryption", "", S3_DELETE_BUCKET_ENCRYPTION},
    {BUCKET, "DELETE", "ownershipControls", "", S3_DELETE_BUCKET_OWNERSHIP},
    {BUCKET, "DELETE", "publicAccessBlock", "", S3_DELETE_PUBLIC_ACCESS_BLOCK},
    {BUCKET, "DELETE", "website", "", S3_DELETE_BUCKET_WEBSITE},
    {BUCKET, "DELETE", "", "", S3_DELETE_BUCKET},
    {BUCKET, "POST", "delete", "", S3_DELETE_OBJECTS},
    {BUCKET, "POST", "", "", S3_POST_OBJECT},
    {OBJECT, "GET", "uploadId", "max-parts part-number-marker encoding-type", S3_LIST_PARTS},
    {OBJECT, "GET", "attributes", "versionId", S3_GET_OBJECT_ATTRIBUTES},
    {OBJECT, "GET", "tagging", "versionId", S3_GET_OBJECT_TAGGING},
    {OBJECT, "GET", "acl", "versionId", S3_GET_OBJECT_ACL},
    {OBJECT, "GET", "retention", "versionId", S3_GET_OBJECT_RETENTION},
    {OBJECT, "GET", "legal-hold", "versionId", S3_GET_OBJECT_LEGAL_HOLD},
    {OBJECT, "GET", "", OVERRIDES "versionId partNumber", S3_GET_OBJECT},
    {OBJECT, "HEAD", "", OVERRIDES "versionId partNumber", S3_HEAD_OBJECT},
    {OBJECT, "PUT", "partNumber uploadId", "", S3_UPLOAD_PART},
    {OBJECT, "PUT", "tagging", "versionId", S3_PUT_OBJECT_TAGGING},
    {OBJECT, "PUT", "acl", "versionId", S3_PUT_OBJECT_ACL},
    {OBJECT, "PUT", "retention", "versionId", S3_PUT_OBJECT_RETENTION},
    {OBJECT, "PUT", "legal-hold", "versionId", S3_PUT_OBJECT_LEGAL_HOLD},
    {OBJECT, "PUT", "", "", S3_PUT_OBJECT},
    {OBJECT, "DELETE", "uploadId", "", S3_ABORT_MULTIPART_UPLOAD},
    {OBJECT, "DELETE", "tagging", "versionId", S3_DELETE_OBJECT_TAGGING},
    {OBJECT, "DELETE", "", "versionId", S3_DELETE_OBJECT},
    {OBJECT, "POST", "uploads", "", S3_CREATE_MULTIPART_UPLOAD},
    {OBJECT, "POST", "uploadId", "", S3_COMPLETE_MULTIPART_UPLOAD},
};

/* Parameters of the signature and of SDKs, on every operation. */
static const char *const everywhere =
    "x-id X-Amz-Algorithm X-Amz-Credential X-Amz-Date X-Amz-Expires X-Amz-SignedHeaders "
    "X-Amz-Signature X-Amz-Content-Sha256 x-amz-user-agent";

static bool listed(const char *list, const char *word, size_t word_n)
{
    while (*list) {
        size_t n = strcspn(list, " ");
        if (n == word_n && memcmp(list, word, n) == 0)
            return true;
        list += n;
        list += strspn(list, " ");
    }
    return false;
}

static bool needs_met(const struct s3_request *r, const char *needs)
{
    while (*needs) {
        size_t n = strcspn(needs, " ");
        bool found = false;
        for (size_t i = 0; i < r->params_n && !found; i++)
            found = strlen(r->params[i].name) == n && memcmp(r->params[i].name, needs, n) == 0;
        if (!found)
            return false;
        needs += n;
        needs += strspn(needs, " ");
    }
    return true;
}

/* Headers about checksums, which SDKs put into the query of a URL that they presign. */
static bool is_checksum_param(const char *name)
{
    return (text_starts_fold(name, CHECKSUM_HEADER) ||
            text_equal_fold(name, "x-amz-sdk-checksum-algorithm")) &&
           s3_header_known(name, "");
}

static bool params_allowed(const struct s3_request *r, const struct operation_row *row)
{
    for (size_t i = 0; i < r->params_n; i++) {
        const char *name = r->params[i].name;
        size_t n = strlen(name);
        if (!listed(row->needs, name, n) && !listed(row->allows, name, n) &&
            !listed(everywhere, name, n) && !is_checksum_param(name))
            return false;
    }
    return true;
}

enum s3_error s3_operation_find(struct s3_request *r)
{
    enum scope scope = r->key_n ? OBJECT : r->bucket[0] ? BUCKET : SERVICE;
    bool method_known = false;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct operation_row *row = &rows[i];
        if (row->scope != scope || strcmp(row->method, r->http->method) != 0)
            continue;
        method_known = true;
        if (!needs_met(r, row->needs))
            continue;
        if (!params_allowed(r, row))
            return S3_NOT_IMPLEMENTED;
        r->operation = row->operation;
        if (r->copy.bucket && row->operation == S3_PUT_OBJECT)
            r->operation = S3_COPY_OBJECT;
        else if (r->copy.bucket && row->operation == S3_UPLOAD_PART)
            r->operation = S3_UPLOAD_PART_COPY;
        else if (r->copy.bucket)
            return S3_INVALID_REQUEST;
        const char *list_type = s3_request_param(r, "list-type");
        if (list_type && strcmp(list_type, "2") != 0)
            return S3_INVALID_ARGUMENT;
        return S3_OK;
    }
    return method_known ? S3_NOT_IMPLEMENTED : S3_METHOD_NOT_ALLOWED;
}

/* Headers of S3 that something here looks at, or that change nothing. Any other x-amz-* asks for
 * what is not there. */
bool s3_header_known(const char *name, const char *value)
{
    static const char *const known[] = {
        "x-amz-date",
        "x-amz-content-sha256",
        "x-amz-decoded-content-length",
        "x-amz-trailer",
        "x-amz-user-agent",
        "x-amz-te", /* what the client could take, were it sent */
        "x-amz-copy-source",
        "x-amz-copy-source-range",
        "x-amz-copy-source-if-match",
        "x-amz-copy-source-if-none-match",
        "x-amz-copy-source-if-modified-since",
        "x-amz-copy-source-if-unmodified-since",
        "x-amz-metadata-directive",
        "x-amz-storage-class",
        "x-amz-checksum-crc32",
        "x-amz-checksum-crc32c",
        "x-amz-checksum-crc64nvme",
        "x-amz-checksum-sha1",
        "x-amz-checksum-sha256",
        "x-amz-checksum-algorithm",
        "x-amz-checksum-type",
        "x-amz-checksum-mode",
        "x-amz-sdk-checksum-algorithm",
        "x-amz-mp-object-size",
        "x-amz-object-attributes",
        "x-amz-max-parts",
        "x-amz-part-number-marker",
        "x-amz-expected-bucket-owner",
        "x-amz-source-expected-bucket-owner",
        "x-amz-request-payer",
        "x-amz-object-ownership",
        "x-amz-optional-object-attributes",
    };
    if (text_equal_fold(name, "x-amz-acl")) /* everything belongs to its bucket's owner */
        return strcmp(value, "private") == 0 || strcmp(value, "bucket-owner-full-control") == 0 ||
               strcmp(value, "bucket-owner-read") == 0;
    if (text_equal_fold(name, "x-amz-bucket-object-lock-enabled"))
        return text_equal_fold(value, "false");
    if (text_equal_fold(name, "x-amz-api-version"))
        return strcmp(value, "2006-03-01") == 0;
    if (text_equal_fold(name, "x-amz-tagging-directive"))
        return strcmp(value, "COPY") == 0;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (text_equal_fold(name, known[i]))
            return true;
    return false;
}

const char *s3_operation_name(enum s3_operation o)
{
    static const char *const names[S3_OPERATIONS] = {
#define X(name, text) [name] = text,
        S3_OPERATION_LIST(X)
#undef X
    };
    return (unsigned)o < S3_OPERATIONS ? names[o] : "Unknown";
}
