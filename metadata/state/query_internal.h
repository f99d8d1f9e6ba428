/* Shared by query.c, query_list.c and query_cluster.c: one query on one snapshot, beside the apply
 * thread, whose fields of struct state it never touches. */
#pragma once
#include "metadata/state/state_internal.h"
#include "common/proto/query.pb-c.h"

enum {
    LIST_MAX = 1000, /* entries of one page, whatever was asked for */
    /* A page that has so much ends there: with its last entry and what stands around the entries the
     * answer stays below FRAME_BODY_MAX of common/rpc/frame.h. */
    PAGE_BYTES = 900 * 1024,
    CHUNKS_MAX_PAGE = 4096, /* of chunk and repair lists */
    STATUS_COUNT_MAX = 100000,
};

struct query {
    struct kv *kv;
    struct kv_snapshot *snapshot;
    struct arena *arena;
    Answer *answer;
    const struct timeouts *timeouts;
    enum err error;    /* of the store: sticks, nothing is found any more */
    size_t page_bytes; /* the packed size of the entries that the page has */
};

bool query_get(struct query *q, const struct key *key, struct kv_slice *value);
bool query_unpack(struct query *q, const ProtobufCMessageDescriptor *type, struct kv_slice bytes,
                  void *out);
bool query_get_message(struct query *q, const struct key *key,
                       const ProtobufCMessageDescriptor *type, void *out);
/* The bucket of that name, into the answer; ERR_NO_BUCKET. */
enum err query_bucket(struct query *q, ProtobufCBinaryData name, BucketInfo **out);

/* A walk: the current row, while it begins with prefix. */
struct walk {
    struct query *query;
    struct kv_iterator *iterator;
    struct key prefix;
};
void walk_init(struct walk *w, struct query *q, const struct key *prefix);
void walk_release(struct walk *w);
void walk_seek(struct walk *w, const struct key *key);
void walk_next(struct walk *w);
bool walk_here(struct walk *w, struct kv_slice *key, struct kv_slice *value);
/* How many rows begin with it, counted up to STATUS_COUNT_MAX. */
uint64_t walk_count(struct query *q, const struct key *prefix);

ProtobufCBinaryData query_copy(struct query *q, const void *data, size_t n);
/* One more entry of the page, of n packed bytes. */
static inline void page_add(struct query *q, size_t n)
{
    q->page_bytes += n + 6; /* its tag and length */
}
static inline bool page_full(const struct query *q)
{
    return q->page_bytes >= PAGE_BYTES;
}
static inline size_t page_size(uint32_t asked, size_t most)
{
    return asked < most ? asked : most;
}

/* query_list.c */
enum err query_list_objects(struct query *q, const ListObjects *c);
enum err query_list_uploads(struct query *q, const ListUploads *c);
enum err query_list_parts(struct query *q, const ListParts *c);
/* query_judge.c */
enum err query_judge_shards(struct query *q, const JudgeShards *c);
/* query_cluster.c */
enum err query_map(struct query *q, const GetMap *c);
enum err query_list_chunks(struct query *q, const ListChunks *c);
enum err query_get_chunk(struct query *q, const GetChunk *c);
enum err query_list_repairs(struct query *q, const ListRepairs *c);
enum err query_list_due(struct query *q, const ListDue *c);
