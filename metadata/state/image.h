/* A state as one stream of bytes, and a state made of such a stream: what travels to a member that
 * cannot catch up from the log. Byte by byte, integers little-endian:
 *
 *   header    0 u8[8] "CAIRNIMG"  8 u32 version = 1  12 u32 feature level  16 cluster (16)
 *            32 u64 index  40 u64 term  48 u64 the state's hash  56 u32 CRC32C of bytes 0..55
 *   block     0 u32 bytes of the body, not 0  4 u32 CRC32C of the block's offset (u64) and the body
 *             8.. body: whole rows, ascending by key: u32 bytes of the key, u32 of the value, both
 *   end       0 u32 0  4 u32 CRC32C of the offset (u64) and what follows  8 u64 rows
 *            16 u64 digest: from 0, for each row XXH64(value, seed XXH64(key, seed digest))
 *
 *  G1  All rows are there, as of one applied index, the row that ends batches among them; so the
 *      stream of one state at one index is always the same bytes.
 *  G2  Blocks close as soon as their body has BLOCK_BYTES: only rows that are larger make larger ones.
 *
 * One thread at a time for each image and each import. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/base/err.h"
#include "common/base/ids.h"
#include "metadata/state/state.h"

enum { STATE_IMAGE_VERSION = 1 };

struct state_image;
/* The state as of now, with a reference to it. ERR_NOT_FOUND: nothing was applied yet. */
enum err state_image_new(struct state *s, const struct uuid *cluster,
                         struct state_image **out) MUST_USE;
void state_image_free(struct state_image *i);
/* Valid as long as the image. */
const struct state_position *state_image_position(const struct state_image *i);
/* Up to max bytes from offset on; *last: the image ends with them. Cheap when it goes on where the last
 * call ended, else at most STATE_IMAGE_MARK bytes are made again. ERR_INVALID: beyond the end. */
enum { STATE_IMAGE_MARK = 1 << 20 };
enum err state_image_read(struct state_image *i, uint64_t offset, void *out, size_t max, size_t *n,
                          bool *last) MUST_USE;

struct state_import;
/* Into a directory that is not there yet, next to nothing but what it makes itself. */
enum err state_import_begin(const char *directory, const struct uuid *cluster,
                            struct state_import **out) MUST_USE;
/* The next bytes; written in batches, each synced. ERR_CORRUPT: not what was exported.
 * ERR_FOREIGN_CLUSTER. ERR_UNSUPPORTED: of a later version or feature level. */
enum err state_import_write(struct state_import *i, const void *piece, size_t n) MUST_USE;
uint64_t state_import_offset(const struct state_import *i);
/* After the last byte: closes and opens again what was written, reads all of it back against the
 * digest, compares where it stands with the header. ERR_TRUNCATED: there should be more. */
enum err state_import_finish(struct state_import *i, uint64_t checkpoint_every,
                             struct state **out) MUST_USE;
/* Also after a finish. Without one that was OK the directory is removed. */
void state_import_free(struct state_import *i);
