/* This process's copy of the cluster map: immutable versions, shared by reference, replaced whole.
 *
 * A newer epoch seen anywhere (in a frame, in an answer) makes the next refresh fetch the delta;
 * one fetch serves all who wait. A single PG's new line, attached to ERR_STALE_PLACEMENT, is taken
 * at once (hazard 20). */
#pragma once
#include <stdint.h>
#include "common/proto/types.pb-c.h"
#include "common/base/err.h"
#include "common/base/request_context.h"
#include "placement/cluster_map.h"

struct map_cache;
struct metadata_client;

struct map_cache *map_cache_new(struct metadata_client *metadata);
void map_cache_free(struct map_cache *c);

/* The newest version; never NULL (before the first fetch: empty, epoch 0). Give it back. */
const struct cluster_map *map_cache_ref(struct map_cache *c);
void map_cache_unref(struct map_cache *c, const struct cluster_map *map);
/* Waits until the copy is at least at this epoch (0: fetch in any case). */
enum err map_cache_refresh(struct map_cache *c, const struct request_context *request,
                           uint64_t epoch) MUST_USE;
/* An epoch was seen; cheap, any thread (the rpc node's hook). */
void map_cache_seen(void *cache, uint64_t epoch);
uint64_t map_cache_epoch(void *cache);
/* A higher epoch than ours has been seen. */
bool map_cache_behind(struct map_cache *c);
/* A newer line of one PG. */
void map_cache_take_pg(struct map_cache *c, const PgInfo *pg);

/* From messages to structs (map_codec.c). A delta since 0 is a whole map: what it leaves out is gone. ERR_FORMAT, and what cluster_map_put_* answer; the map is
 * then of no use. */
enum err map_apply_delta(struct cluster_map *map, const MapInfo *delta) MUST_USE;
enum err map_apply_pg(struct cluster_map *map, const PgInfo *pg) MUST_USE;
