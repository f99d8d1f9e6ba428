/* The keys of the replicated state. Order-preserving: comparing two keys as bytes is comparing
 * their fields in order, so every listing is one range scan.
 *
 *   integers   big-endian, fixed width
 *   text       each NUL as 00 FF, then the terminator 00 00
 *   version    the complement of the log index: newest first
 *   fixed ids  as they are
 *
 *   b  name                                  BucketInfo
 *   n  bucket                                objects u64, bytes u64
 *   o  bucket, text key, version             ObjectHead
 *   x  bucket, text key, version             ObjectBody
 *   u  bucket, text key, upload id 16        UploadEntry
 *   p  upload id 16, part u32                PartInfo
 *   c  pool u32, hash u64, chunk id 16       chunk_row (rows.h)
 *   r  pool u32, PG u32, priority u8, chunk id 16   (empty)
 *   g  due u64, write id 12, first sequence u32     due_row (rows.h)
 *   g  FF x 8, write id 12, first sequence u32      the runs of an object of several (rows.h)
 *   d  's' client 16                         session: slots, last use
 *   d  'l' client 16, slot u32               sequence, result
 *   d  'r' age u64, text access key, text invocation   an SDK's request: attempt, fingerprint, result
 *   d  'n' age u64, text access key          how many of these
 *   d  'w' write id 12                       committed or aborted
 *   d  't' upload id 16                      tombstone of an upload
 *   d  'e' due u64, index u64, n u16         what is to be forgotten then (expiry.c)
 *   m  'a'                                   applied index, log time, hash, level, epoch
 *   m  'd' disk u32 | 'p' pool u32 | 'g' pool u32, PG u32     DiskInfo, PoolInfo, PgInfo
 *   m  'c' epoch u64                         which of them changed then
 *   m  't'                                   log time u64 that an operator has confirmed
 *   m  'i'                                   the highest disk id ever given
 *   m  'u' name | 'k' access key             UserInfo; the name
 *
 * Signed times are stored as unsigned: log time is never negative. All other integers in values are
 * little-endian. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/base/err.h"
#include "common/base/ids.h"
#include "common/kv/kv.h"

enum {
    OBJECT_KEY_MAX = 1024,
    STATE_TEXT_MAX = 255, /* names of buckets, users, access keys, invocation ids */
    UPLOAD_ID_BYTES = 16,
    CLIENT_ID_BYTES = 16,
    KEY_MAX = 2 * OBJECT_KEY_MAX + 64,
};

/* A key under construction; too much sets overflow and writes nothing. */
struct key {
    uint8_t bytes[KEY_MAX];
    size_t length;
    bool overflow;
};

void key_begin(struct key *k, char prefix);
void key_begin2(struct key *k, char prefix, char kind);
void key_u8(struct key *k, uint8_t v);
void key_u16(struct key *k, uint16_t v);
void key_u32(struct key *k, uint32_t v);
void key_u64(struct key *k, uint64_t v);
void key_version(struct key *k, uint64_t index);
void key_raw(struct key *k, const void *data, size_t n);
/* Escaped and terminated; without the terminator: the common beginning of all texts that begin so. */
void key_text(struct key *k, const void *text, size_t n);
void key_text_open(struct key *k, const void *text, size_t n);
/* Makes it the first key behind all that begin with it; false when there is none (all FF). */
bool key_behind(struct key *k);
/* Makes "prefix, .., text key" the first key behind every version of that text. */
void key_text_behind(struct key *k, const void *text, size_t n);

static inline struct kv_slice key_slice(const struct key *k)
{
    return (struct kv_slice){.data = k->bytes, .length = k->length};
}
/* Takes over a whole stored key. */
void key_copy(struct key *k, struct kv_slice stored);
bool slice_begins(struct kv_slice s, const struct key *prefix);

/* Reading back: a cursor over a key. Past the end it fails and stays failed. */
struct key_reader {
    const uint8_t *at, *end;
    bool failed;
};
void key_reader_init(struct key_reader *r, struct kv_slice key, size_t skip);
uint8_t key_read_u8(struct key_reader *r);
uint32_t key_read_u32(struct key_reader *r);
uint64_t key_read_u64(struct key_reader *r);
uint64_t key_read_version(struct key_reader *r);
void key_read_raw(struct key_reader *r, void *out, size_t n);
/* Unescapes a text into out; ERR_TOO_BIG when it needs more than max. */
enum err key_read_text(struct key_reader *r, void *out, size_t max, size_t *n) MUST_USE;

/* The usual ones, whole. */
void key_bucket(struct key *k, const void *name, size_t n);
void key_usage(struct key *k, uint64_t bucket);
void key_object(struct key *k, char prefix, uint64_t bucket, const void *key, size_t n,
                uint64_t version);
/* All versions of one key. */
void key_object_all(struct key *k, char prefix, uint64_t bucket, const void *key, size_t n);
void key_upload(struct key *k, uint64_t bucket, const void *key, size_t n, const uint8_t *upload);
void key_part(struct key *k, const uint8_t *upload, uint32_t number);
void key_parts(struct key *k, const uint8_t *upload);
void key_chunk(struct key *k, uint32_t pool, const struct chunk_id *chunk);
void key_repair(struct key *k, uint32_t pool, uint32_t pg, uint8_t priority,
                const struct chunk_id *chunk);
void key_due(struct key *k, int64_t due, const uint8_t *write_id, uint32_t first_sequence);
