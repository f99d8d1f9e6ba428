#include "tests/sim/rare.h"
#include <string.h>
#include "chunkserver/service_internal.h"
#include "common/client/chunk_io.h"
#include "common/rpc/breaker.h"
#include "metadata/log.h"
#include "metadata/raft/raft_internal.h"
#include "metadata/service_internal.h"
#include "metadata/slow_disks.h"
#include "metadata/state/state_internal.h"

static uint64_t counted[RARE_KINDS];

const char *rare_name(enum rare kind)
{
    static const char *const names[RARE_KINDS] = {
#define X(name, text) [RARE_##name] = text,
        RARE_LIST(X)
#undef X
    };
    return names[kind];
}

void rare_note(enum rare kind)
{
    counted[kind]++;
}

void rare_counts(uint64_t counts[RARE_KINDS])
{
    memcpy(counts, counted, sizeof counted);
}

/* ---- the branches; the linker puts these in the place of the product's (Makefile, SIM_WRAP) ---- */

__typeof__(service_snapshot_install) __real_service_snapshot_install,
    __wrap_service_snapshot_install;
__typeof__(log_store_compact) __real_log_store_compact, __wrap_log_store_compact;
__typeof__(raft_transfer_before_leaving) __real_raft_transfer_before_leaving,
    __wrap_raft_transfer_before_leaving;
__typeof__(chunk_follow) __real_chunk_follow, __wrap_chunk_follow;
__typeof__(slot_check) __real_slot_check, __wrap_slot_check;
__typeof__(session_check) __real_session_check, __wrap_session_check;
__typeof__(retry_known) __real_retry_known, __wrap_retry_known;
__typeof__(slow_disks_judge) __real_slow_disks_judge, __wrap_slow_disks_judge;
__typeof__(breaker_allow) __real_breaker_allow, __wrap_breaker_allow;
__typeof__(chunk_rebuild) __real_chunk_rebuild, __wrap_chunk_rebuild;

enum err __wrap_service_snapshot_install(void *service, const struct raft_snapshot *snapshot)
{
    enum err e = __real_service_snapshot_install(service, snapshot);
    counted[RARE_INSTALL] += e == OK;
    return e;
}

void __wrap_log_store_compact(struct log_store *s, uint64_t index)
{
    counted[RARE_COMPACTION]++;
    __real_log_store_compact(s, index);
}

void __wrap_raft_transfer_before_leaving(struct raft *r)
{
    counted[RARE_LEADER_LEAVES]++;
    __real_raft_transfer_before_leaving(r);
}

enum err __wrap_slot_check(struct chunk_service *s, const struct slot_claim *claim,
                           const struct request_context *context, struct arena *arena,
                           PlacementNews **news)
{
    enum err e = __real_slot_check(s, claim, context, arena, news);
    counted[RARE_STALE_SLOT] += e == ERR_STALE_PLACEMENT;
    return e;
}

enum err __wrap_session_check(struct apply *a, const Command *c, struct kv_slice *remembered)
{
    enum err e = __real_session_check(a, c, remembered);
    counted[RARE_SESSION_EXPIRED] += e == ERR_SESSION_EXPIRED;
    counted[RARE_SESSION_AGAIN] += e == ERR_EXISTS;
    return e;
}

bool __wrap_retry_known(struct apply *a, const SdkRetry *r, struct kv_slice *remembered)
{
    bool known = __real_retry_known(a, r, remembered);
    counted[RARE_SDK_AGAIN] += known;
    return known;
}

enum err __wrap_chunk_follow(const struct chunk_io *io, const struct request_context *request,
                             uint32_t pool, const struct chunk_id *id, uint32_t chunk_length,
                             int64_t began, struct chunk_durable *durable)
{
    enum err e = __real_chunk_follow(io, request, pool, id, chunk_length, began, durable);
    counted[RARE_FOLLOW] += e == OK;
    return e;
}

enum err __wrap_chunk_rebuild(const struct chunk_io *io, const struct request_context *request,
                              uint32_t pool, const struct chunk_id *id, uint32_t chunk_length,
                              uint64_t nonce, int64_t began, uint8_t index, disk_id target,
                              uint64_t *bytes_moved)
{
    enum err e = __real_chunk_rebuild(io, request, pool, id, chunk_length, nonce, began, index,
                                      target, bytes_moved);
    counted[RARE_REBUILD] += e == OK;
    return e;
}

size_t __wrap_slow_disks_judge(struct slow_disks *s, const struct timeouts *t, int64_t now,
                               const struct disk_pace *disks, size_t n, struct disk_pace *changed)
{
    size_t count = __real_slow_disks_judge(s, t, now, disks, n, changed);
    for (size_t i = 0; i < count; i++)
        counted[RARE_SUSPECT] += changed[i].suspect;
    return count;
}

bool __wrap_breaker_allow(struct breaker *b, int64_t now)
{
    bool allowed = __real_breaker_allow(b, now);
    counted[RARE_BREAKER] += !allowed;
    return allowed;
}
