/* What S3 answers when it does not do what was asked: one table of code, HTTP status and message.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html */
#pragma once
#include "common/base/err.h"

/*    name                        code                             status  message */
#define S3_ERROR_LIST(X)                                                                           \
    X(S3_OK, "", 200, "")                                                                          \
    X(S3_CLIENT_GONE, "ClientGone", 400, "The client went away.") /* there is nobody to answer */  \
    X(S3_ACCESS_DENIED, "AccessDenied", 403, "Access Denied")                                      \
    X(S3_AUTHORIZATION_HEADER_MALFORMED, "AuthorizationHeaderMalformed", 400,                      \
      "The authorization header that you provided is not valid.")                                  \
    X(S3_AUTHORIZATION_QUERY_PARAMETERS, "AuthorizationQueryParametersError", 400,                 \
      "The authorization query parameters that you provided are not valid.")                       \
    X(S3_BAD_DIGEST, "BadDigest", 400,                                                             \
      "The Content-MD5 or checksum value that you specified did not match what the server "        \
      "received.")                                                                                 \
    X(S3_BUCKET_ALREADY_EXISTS, "BucketAlreadyExists", 409,                                        \
      "The requested bucket name is not available. Please select a different name and try again.") \
    X(S3_BUCKET_ALREADY_OWNED_BY_YOU, "BucketAlreadyOwnedByYou", 409,                              \
      "The bucket that you tried to create already exists, and you own it.")                       \
    X(S3_BUCKET_NOT_EMPTY, "BucketNotEmpty", 409, "The bucket you tried to delete is not empty.")  \
    X(S3_CONDITIONAL_REQUEST_CONFLICT, "ConditionalRequestConflict", 409,                          \
      "A conflicting operation occurred during the request. Try again.")                           \
    /* Not 507: another try is another placement group, whose disks may have room. */              \
    X(S3_DISKS_FULL, "ServiceUnavailable", 503,                                                    \
      "Too many of the disks that this object fell to are full: add disks, or delete objects.")    \
    X(S3_ENTITY_TOO_LARGE, "EntityTooLarge", 400,                                                  \
      "Your proposed upload exceeds the maximum allowed object size.")                             \
    X(S3_ENTITY_TOO_SMALL, "EntityTooSmall", 400,                                                  \
      "Your proposed upload is smaller than the minimum allowed object size.")                     \
    X(S3_ILLEGAL_LOCATION_CONSTRAINT, "IllegalLocationConstraintException", 400,                   \
      "The specified location constraint is not valid for this region.")                           \
    X(S3_INCOMPLETE_BODY, "IncompleteBody", 400,                                                   \
      "You did not provide the number of bytes specified by the Content-Length HTTP header.")      \
    X(S3_INSUFFICIENT_STORAGE, "InsufficientStorage", 507,                                         \
      "The metadata servers' disks are nearly full. Deletes are taken; puts wait for room.")       \
    X(S3_INTERNAL_ERROR, "InternalError", 500, "An internal error occurred. Try again.")           \
    X(S3_INVALID_ACCESS_KEY_ID, "InvalidAccessKeyId", 403,                                         \
      "The AWS access key ID that you provided does not exist in our records.")                    \
    X(S3_INVALID_ARGUMENT, "InvalidArgument", 400, "Invalid Argument")                             \
    X(S3_INVALID_BUCKET_NAME, "InvalidBucketName", 400, "The specified bucket is not valid.")      \
    X(S3_INVALID_DIGEST, "InvalidDigest", 400,                                                     \
      "The Content-MD5 or checksum value that you specified is not valid.")                        \
    X(S3_INVALID_PART, "InvalidPart", 400,                                                         \
      "One or more of the specified parts could not be found.")                                    \
    X(S3_INVALID_PART_ORDER, "InvalidPartOrder", 400,                                              \
      "The list of parts was not in ascending order.")                                             \
    X(S3_INVALID_RANGE, "InvalidRange", 416, "The requested range is not satisfiable.")            \
    X(S3_INVALID_REQUEST, "InvalidRequest", 400, "Invalid Request")                                \
    X(S3_INVALID_STORAGE_CLASS, "InvalidStorageClass", 400,                                        \
      "The storage class that you specified is not valid.")                                        \
    X(S3_INVALID_URI, "InvalidURI", 400, "The specified URI couldn't be parsed.")                  \
    X(S3_KEY_TOO_LONG, "KeyTooLongError", 400, "Your key is too long.")                            \
    X(S3_MALFORMED_XML, "MalformedXML", 400,                                                       \
      "The XML that you provided was not well formed or did not validate against our published "   \
      "schema.")                                                                                   \
    X(S3_MAX_MESSAGE_LENGTH_EXCEEDED, "MaxMessageLengthExceeded", 400,                             \
      "Your request was too large.")                                                               \
    X(S3_METADATA_TOO_LARGE, "MetadataTooLarge", 400,                                              \
      "Your metadata headers exceed the maximum allowed metadata size.")                           \
    X(S3_METHOD_NOT_ALLOWED, "MethodNotAllowed", 405,                                              \
      "The specified method is not allowed against this resource.")                                \
    X(S3_MISSING_CONTENT_LENGTH, "MissingContentLength", 411,                                      \
      "You must provide the Content-Length HTTP header.")                                          \
    X(S3_MISSING_SECURITY_HEADER, "MissingSecurityHeader", 400,                                    \
      "Your request was missing a required header.")                                               \
    X(S3_NO_SUCH_BUCKET, "NoSuchBucket", 404, "The specified bucket does not exist")               \
    X(S3_NO_SUCH_BUCKET_POLICY, "NoSuchBucketPolicy", 404, "The bucket policy does not exist")     \
    X(S3_NO_SUCH_CORS_CONFIGURATION, "NoSuchCORSConfiguration", 404,                               \
      "The CORS configuration does not exist")                                                     \
    X(S3_NO_SUCH_ENCRYPTION, "ServerSideEncryptionConfigurationNotFoundError", 404,                \
      "The server side encryption configuration was not found")                                    \
    X(S3_NO_SUCH_KEY, "NoSuchKey", 404, "The specified key does not exist.")                       \
    X(S3_NO_SUCH_LIFECYCLE, "NoSuchLifecycleConfiguration", 404,                                   \
      "The lifecycle configuration does not exist.")                                               \
    X(S3_NO_SUCH_OBJECT_LOCK, "ObjectLockConfigurationNotFoundError", 404,                         \
      "Object Lock configuration does not exist for this bucket")                                  \
    X(S3_NO_SUCH_OWNERSHIP, "OwnershipControlsNotFoundError", 404,                                 \
      "The bucket ownership controls were not found")                                              \
    X(S3_NO_SUCH_PUBLIC_ACCESS_BLOCK, "NoSuchPublicAccessBlockConfiguration", 404,                 \
      "The public access block configuration was not found")                                       \
    X(S3_NO_SUCH_TAG_SET, "NoSuchTagSet", 404, "The TagSet does not exist")                        \
    X(S3_NO_SUCH_UPLOAD, "NoSuchUpload", 404,                                                      \
      "The specified multipart upload does not exist. The upload ID might be invalid, or the "     \
      "multipart upload might have been aborted or completed.")                                    \
    X(S3_NO_SUCH_VERSION, "NoSuchVersion", 404, "The specified version does not exist.")           \
    X(S3_NO_SUCH_WEBSITE, "NoSuchWebsiteConfiguration", 404,                                       \
      "The specified bucket does not have a website configuration")                                \
    X(S3_NOT_IMPLEMENTED, "NotImplemented", 501,                                                   \
      "A header or query that you provided implies functionality that is not implemented.")        \
    X(S3_NOT_MODIFIED, "NotModified", 304, "Not Modified") /* sent without a body */               \
    X(S3_PRECONDITION_FAILED, "PreconditionFailed", 412,                                           \
      "At least one of the preconditions that you specified did not hold.")                        \
    X(S3_REQUEST_TIMEOUT, "RequestTimeout", 400,                                                   \
      "Your socket connection to the server was not read from or written to within the timeout "   \
      "period.")                                                                                   \
    X(S3_REQUEST_TIME_TOO_SKEWED, "RequestTimeTooSkewed", 403,                                     \
      "The difference between the request time and the server's time is too large.")               \
    X(S3_REQUEST_EXPIRED, "AccessDenied", 403, "Request has expired")                              \
    X(S3_SERVICE_UNAVAILABLE, "ServiceUnavailable", 503, "Service is unable to handle request.")   \
    X(S3_SIGNATURE_DOES_NOT_MATCH, "SignatureDoesNotMatch", 403,                                   \
      "The request signature that the server calculated does not match the signature that you "    \
      "provided. Check your secret access key and signing method.")                                \
    X(S3_SIGNATURE_V2, "InvalidRequest", 400,                                                      \
      "The authorization mechanism you have provided is not supported. Please use "                \
      "AWS4-HMAC-SHA256.")                                                                         \
    X(S3_SLOW_DOWN, "SlowDown", 503, "Please reduce your request rate.")                           \
    X(S3_UNSIGNED_HEADERS, "AccessDenied", 403,                                                    \
      "There were headers present in the request which were not signed")                           \
    X(S3_XAMZ_CONTENT_SHA256_MISMATCH, "XAmzContentSHA256Mismatch", 400,                           \
      "The provided 'x-amz-content-sha256' header does not match what was computed.")

enum s3_error {
#define X(name, code, status, message) name,
    S3_ERROR_LIST(X)
#undef X
        S3_ERRORS
};

const char *s3_error_code(enum s3_error e);
int s3_error_status(enum s3_error e);
const char *s3_error_message(enum s3_error e);
/* What an operation's result means to an S3 client; the places that know better say it themselves. */
enum s3_error s3_error_from(enum err e);
