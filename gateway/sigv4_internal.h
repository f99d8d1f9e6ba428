/* Between sigv4.c and sigv4_canonical.c. */
#pragma once
#include "gateway/sigv4.h"

/* In the request's arena. */
const char *sigv4_canonical(const struct http_request *r, const char *signed_headers,
                            const char *payload_hash, bool encode);
