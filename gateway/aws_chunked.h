/* aws-chunked, undone piece by piece.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
 *
 *   chunk    SIZE-IN-HEX [";chunk-signature=" 64 HEX] CR LF  bytes  CR LF
 *   last     "0" [..] CR LF, then trailers "name:value" CR LF, then CR LF
 *
 * Invariants:
 * 1. Only bytes of chunks come out; framing never does.
 * 2. A chunk header or trailer line is at most AWS_CHUNKED_LINE_MAX bytes.
 * 3. In the signed modes every chunk's signature has been compared before a byte of the next chunk
 *    comes out, and the trailers' before the end is reported. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "gateway/http.h"
#include "gateway/s3_error.h"
#include "gateway/sigv4.h"

enum { AWS_CHUNKED_LINE_MAX = 1024, AWS_CHUNKED_TRAILERS_MAX = 16 };

struct aws_chunked;
/* auth: a streaming mode's; used until free, as is the arena (for trailers). */
struct aws_chunked *aws_chunked_new(const struct sigv4_result *auth, struct arena *arena);
void aws_chunked_free(struct aws_chunked *c);
/* Takes up to in_n bytes (*used), gives up to out_max of content (*made). Stops when either runs out.
 * S3_INVALID_REQUEST: framing; S3_SIGNATURE_DOES_NOT_MATCH. */
enum s3_error aws_chunked_feed(struct aws_chunked *c, const void *in, size_t in_n, size_t *used,
                               void *out, size_t out_max, size_t *made);
/* The HTTP body has ended: S3_INCOMPLETE_BODY unless the last chunk and all trailers were there. */
enum s3_error aws_chunked_finish(struct aws_chunked *c);
/* Names in lower case; complete after finish. */
const struct http_headers *aws_chunked_trailers(const struct aws_chunked *c);
