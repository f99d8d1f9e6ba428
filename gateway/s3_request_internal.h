/* Shared by s3_request.c and s3_operation.c. */
#pragma once
#include "gateway/checksum.h"
#include "gateway/s3_request.h"

/* Bucket, key, parameters and copy source are known; fills operation. */
enum s3_error s3_operation_find(struct s3_request *r);
/* Whether an x-amz-* header (not x-amz-meta-*) is understood. */
bool s3_header_known(const char *name, const char *value);
