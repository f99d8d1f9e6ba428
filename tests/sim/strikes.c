/* Harm to processes, the network, disks and clocks, and its end. */
#include <stdio.h>
#include <string.h>
#include "common/sys/sim/sim.h"
#include "tests/sim/nemesis.h"

enum {
    EXTENT_BYTES = 1 << 22, /* of one that are harmed */
    EXTENT_DEFAULT = 256 << 20,
    EXTENT_BYTES_A_LOG_BLOCK = 256 << 10,
    LARGE_PUT = 64 * 1024,
    DISK_ROOM = 4 << 20,
    MEMBER_DISK = UINT32_MAX
};

static uint64_t below(struct nemesis *n, uint64_t most)
{
    return nemesis_below(&n->dice, most);
}

static int64_t some_time(struct nemesis *n, int64_t most)
{
    return nemesis_time(&n->dice, most);
}

/* ---- who ---- */

static uint32_t any_disk(struct nemesis *n)
{
    return (uint32_t)below(n, sim_disk_count(n->f->cluster));
}

static int any_chunk(struct nemesis *n)
{
    return sim_disk_pid(n->f->cluster, any_disk(n));
}

static uint32_t any_chunk_host(struct nemesis *n)
{
    return sim_disk_host(n->f->cluster, any_disk(n));
}

/* A member that may be harmed now for so long, by index: with a minority harmed one of those. The only
 * one there is may always be: it comes back. -1: there is none of its own. */
static int some_member(struct nemesis *n, int64_t how_long)
{
    uint32_t count = n->f->cluster->metadata_count, harmed = 0;
    uint32_t voters = members_count(n), most = voters > 2 ? (voters - 1) / 2 : 1;
    int64_t now = sys_now();
    if (count == 0)
        return -1;
    for (uint32_t i = 0; i < count; i++)
        harmed += n->harmed_until[i] > now && n->post[i].stage != POST_CLOSED;
    uint32_t member = (uint32_t)below(n, count);
    while (harmed >= most && n->harmed_until[member] <= now)
        member = (member + 1) % count;
    int64_t until = now + how_long + 3 * SYS_SECOND;
    if (n->harmed_until[member] < until)
        n->harmed_until[member] = until;
    return (int)member;
}

static int member_or_client(struct nemesis *n, int64_t how_long)
{
    int member = some_member(n, how_long);
    return member < 0 ? n->f->cluster->client : n->f->cluster->metadata[member];
}

/* Any host but the members that are well. */
static uint32_t some_host(struct nemesis *n, int64_t how_long)
{
    uint64_t dice = below(n, 4);
    int member = dice == 1 ? some_member(n, how_long) : -1;
    return member >= 0 ? 1 + (uint32_t)member : dice <= 1 ? SIM_CLIENT_HOST : any_chunk_host(n);
}

static uint32_t any_host(struct nemesis *n)
{
    uint64_t dice = below(n, 3);
    uint32_t members = n->f->cluster->metadata_count;
    return dice == 0 || (dice == 1 && members == 0) ? SIM_CLIENT_HOST
           : dice == 1                              ? 1 + (uint32_t)below(n, members)
                                                    : any_chunk_host(n);
}

/* ---- and back ---- */

static void path_of(const struct nemesis *n, uint32_t disk, char path[SIM_PATH])
{
    if (disk == MEMBER_DISK)
        snprintf(path, SIM_PATH, "/metadata");
    else
        sim_disk_store(n->f->cluster, disk, path);
}

static void undo(const struct nemesis *n, const struct undo *u)
{
    char path[SIM_PATH];
    switch (u->kind) {
    case UNDO_CUT:
        sim_cut(u->a, u->b, false);
        return;
    case UNDO_DELAY:
        sim_delay(u->a, u->b, 0);
        return;
    case UNDO_LOSS:
        sim_loss(u->a, u->b, 0);
        sim_jitter(u->a, u->b, 0);
        return;
    case UNDO_BANDWIDTH:
        sim_bandwidth(u->a, u->b, 0);
        return;
    case UNDO_PAUSE:
        sim_pause((int)u->a, false);
        return;
    case UNDO_SKEW:
        sim_clock_drift(u->a, 0);
        sim_clock_skew(u->a, 0);
        return;
    case UNDO_SLOW:
        path_of(n, u->b, path);
        sim_disk_slow(u->a, path, 0);
        return;
    case UNDO_HANG:
        path_of(n, u->b, path);
        sim_disk_hang(u->a, path, false);
        return;
    case UNDO_UNMOUNT:
        path_of(n, u->b, path);
        sim_disk_unmount(u->a, path, false);
        return;
    case UNDO_LIMIT:
        sim_disk_limit(u->a, UINT64_C(64) << 30);
        return;
    }
}

bool nemesis_undo_after(struct nemesis *n, enum undo_kind kind, uint32_t a, uint32_t b,
                        int64_t after)
{
    if (n->undo_count == UNDOS_MAX)
        return false;
    n->undos[n->undo_count++] =
        (struct undo){.kind = kind, .a = a, .b = b, .at = sys_now() + after};
    return true;
}

void nemesis_undo_due(struct nemesis *n, int64_t now)
{
    for (uint32_t i = 0; i < n->undo_count;)
        if (n->undos[i].at <= now) {
            struct undo u = n->undos[i];
            n->undos[i] = n->undos[--n->undo_count];
            undo(n, &u);
        } else {
            i++;
        }
}

/* ---- processes ---- */

static void crash(int pid, int64_t back_after)
{
    sim_restart_after(pid, back_after);
    sim_crash(pid);
}

/* The power fails everywhere at once. */
static void blackout(struct nemesis *n)
{
    struct sim_cluster *c = n->f->cluster;
    for (uint32_t i = 0; i < c->chunk_count; i++)
        crash(c->chunks[i], some_time(n, 3 * SYS_SECOND));
    for (uint32_t i = 0; i < c->metadata_count; i++)
        crash(c->metadata[i], some_time(n, 3 * SYS_SECOND));
    crash(c->client, some_time(n, 3 * SYS_SECOND));
}

/* Some of the chunkservers, a member and at times the gateway in the same instant. */
static void crash_several(struct nemesis *n)
{
    struct sim_cluster *c = n->f->cluster;
    int member = some_member(n, 9 * SYS_SECOND);
    for (uint32_t i = 0; i < c->chunk_count; i++)
        if (below(n, 2))
            crash(c->chunks[i], some_time(n, 9 * SYS_SECOND));
    if (member >= 0)
        crash(c->metadata[member], some_time(n, 9 * SYS_SECOND));
    if (below(n, 3) == 0)
        crash(c->client, some_time(n, 2 * SYS_SECOND));
}

static void crash_at_point(struct nemesis *n, uint64_t points)
{
    uint64_t dice = below(n, 8);
    int pid = dice == 0   ? n->f->cluster->client
              : dice <= 2 ? member_or_client(n, SYS_SECOND)
                          : any_chunk(n);
    sim_restart_after(pid, some_time(n, 2 * SYS_SECOND) + SYS_MS);
    sim_crash_at(pid, 1 + below(n, points));
}

static bool pause_one(struct nemesis *n)
{
    int64_t t = some_time(n, 9 * SYS_SECOND) + SYS_MS;
    int pid = below(n, 3) == 0 ? member_or_client(n, t) : any_chunk(n);
    if (!nemesis_undo_after(n, UNDO_PAUSE, (uint32_t)pid, 0, t))
        return false;
    sim_pause(pid, true);
    return true;
}

static bool prepare_outage(struct nemesis *n);

static bool strike_process(struct nemesis *n, enum fault kind)
{
    struct sim_cluster *c = n->f->cluster;
    int64_t t = some_time(n, 9 * SYS_SECOND) + SYS_MS;
    switch (kind) {
    case FAULT_CHUNK_CRASH:
        crash(any_chunk(n), t);
        return true;
    case FAULT_MEMBER_CRASH:
        crash(member_or_client(n, t), t);
        return true;
    case FAULT_GATEWAY_CRASH:
        crash(c->client, t / 4);
        return true;
    case FAULT_CRASH_POINT:
        crash_at_point(n, 3000);
        return true;
    case FAULT_CRASH_SEVERAL:
        if (below(n, 4))
            return false;
        crash_several(n);
        return true;
    case FAULT_BLACKOUT:
        if (below(n, 8))
            return below(n, 3) == 0 && prepare_outage(n);
        blackout(n);
        return true;
    default:
        return pause_one(n);
    }
}

/* ---- network ---- */

/* One direction of a link. */
static bool make_worse(struct nemesis *n, enum fault kind, uint32_t from, uint32_t to, int64_t t)
{
    enum undo_kind back = kind == FAULT_LOSSY    ? UNDO_LOSS
                          : kind == FAULT_NARROW ? UNDO_BANDWIDTH
                                                 : UNDO_DELAY;
    if (!nemesis_undo_after(n, back, from, to, t))
        return false;
    if (kind == FAULT_LOSSY) {
        sim_loss(from, to, 1 + (unsigned)below(n, 40));
        sim_jitter(from, to, some_time(n, 200 * SYS_MS));
    } else if (kind == FAULT_NARROW) {
        sim_bandwidth(from, to, (UINT64_C(64) << 10) << below(n, 8));
    } else {
        sim_delay(from, to, some_time(n, 3 * SYS_SECOND));
    }
    return true;
}

static bool strike_network(struct nemesis *n, enum fault kind)
{
    int64_t t = some_time(n, 12 * SYS_SECOND) + SYS_MS;
    uint32_t a = some_host(n, t), b = any_host(n);
    if (a == b)
        return false;
    if (kind == FAULT_RESET) {
        sim_reset_connections(a, b);
        return true;
    }
    bool back = below(n, 2);
    uint32_t from = back ? b : a, to = back ? a : b;
    if (kind == FAULT_HALF_OPEN) {
        sim_half_open(from, to);
        return true;
    }
    if (kind == FAULT_SLOW_LINK || kind == FAULT_LOSSY || kind == FAULT_NARROW)
        return make_worse(n, kind, from, to, t);
    if (n->undo_count + 2 > UNDOS_MAX)
        return false;
    (void)nemesis_undo_after(n, UNDO_CUT, from, to, t);
    sim_cut(from, to, true);
    if (kind == FAULT_CUT) {
        (void)nemesis_undo_after(n, UNDO_CUT, to, from, t);
        sim_cut(to, from, true);
    }
    return true;
}

/* ---- disks ---- */

static bool slow_or_hang(struct nemesis *n, bool slow, uint32_t host, uint32_t disk, int64_t t)
{
    char path[SIM_PATH];
    path_of(n, disk, path);
    if (!nemesis_undo_after(n, slow ? UNDO_SLOW : UNDO_HANG, host, disk, t))
        return false;
    if (slow)
        sim_disk_slow(host, path, some_time(n, 300 * SYS_MS));
    else
        sim_disk_hang(host, path, true);
    return true;
}

/* Until it is mounted again, its server does not start when it is the only one. */
static bool unmount(struct nemesis *n, uint32_t host, uint32_t disk, int64_t t)
{
    char path[SIM_PATH];
    if (n->f->cluster->embedded || !nemesis_undo_after(n, UNDO_UNMOUNT, host, disk, t))
        return false;
    path_of(n, disk, path);
    sim_disk_may_exit(n->f->cluster, disk);
    sim_disk_unmount(host, path, true);
    return true;
}

/* Somebody else's files leave only so much room. */
static bool fill(struct nemesis *n, uint32_t host, uint64_t room, int64_t t)
{
    if (!nemesis_undo_after(n, UNDO_LIMIT, host, 0, t))
        return false;
    sim_disk_limit(host, sim_disk_used(host) + room);
    return true;
}

/* A chunkserver that starts without room gives up and is started again; so does one that is yet to come. */
static bool fill_chunks(struct nemesis *n, uint32_t host, int64_t t)
{
    struct sim_cluster *c = n->f->cluster;
    uint64_t room = below(n, 2) ? DISK_ROOM : 0;
    if (c->embedded)
        return false;
    for (uint32_t i = 0; i < SIM_CHUNKS_MAX; i++)
        if (sim_chunk_host(c, i) == host)
            c->may_exit[i] = true;
    return fill(n, host, room, t);
}

/* Half of them where an extent's first shards lie, behind its log (chunkserver/extent.c). */
static uint64_t some_offset(struct nemesis *n)
{
    uint64_t bytes = n->f->cluster->bounds.extent_bytes;
    uint64_t blocks = (bytes ? bytes : EXTENT_DEFAULT) / EXTENT_BYTES_A_LOG_BLOCK;
    uint64_t first = (1 + (blocks < 8 ? 8 : blocks)) * SYS_BLOCK;
    uint64_t offset = below(n, EXTENT_BYTES);
    return below(n, 2) ? first + offset / 8 : offset;
}

/* The chunkservers' power is to fail when the next write has been applied: by then its shards are durable,
 * with slow disks, too. */
static bool prepare_outage(struct nemesis *n)
{
    if (n->outage.armed)
        return false;
    n->outage.armed = true;
    for (uint32_t i = 0; i < sim_disk_count(n->f->cluster) && n->undo_count < UNDOS_MAX / 2; i++)
        if (below(n, 4))
            (void)slow_or_hang(n, true, sim_disk_host(n->f->cluster, i), i, 6 * SYS_SECOND);
    n->outage.dice = below(n, UINT64_MAX);
    return true;
}

static bool harm_victim(struct nemesis *n, enum fault kind)
{
    static const enum sim_disk_lie lies[] = {SIM_WRITE_LOST, SIM_WRITE_MISDIRECTED, SIM_SYNC_LOST};
    struct faults *f = n->f;
    uint32_t host = sim_disk_host(f->cluster, f->victim);
    char store[SIM_PATH], extents[SIM_PATH + 16], path[SIM_PATH + 32];
    if (n->lost && f->cluster->m < 2)
        return false; /* what is moved to its successor would be a second loss */
    sim_disk_store(f->cluster, f->victim, store);
    snprintf(extents, sizeof extents, "%s/extents", store);
    sim_disk_may_exit(f->cluster, f->victim);
    if (kind == FAULT_READ_ERROR) {
        sim_disk_fail(host, extents, 1 + below(n, 40), ERR_IO, false);
        return true;
    }
    f->work->may_rot = true;
    if (kind == FAULT_LIE) {
        enum sim_disk_lie lie = lies[below(n, 3)];
        sim_disk_lie(host, extents, 1 + below(n, 20), lie);
        return true;
    }
    uint64_t number = 1 + below(n, 3), offset = some_offset(n);
    snprintf(path, sizeof path, "%s/%08u", extents, (unsigned)number);
    if (kind == FAULT_BAD_SECTORS)
        return sim_disk_bad_sectors(host, path, offset, 1 + below(n, 20000)) == OK;
    return sim_disk_flip(host, path, offset, (uint8_t)(1 + below(n, 255))) == OK;
}

static bool strike_disk(struct nemesis *n, enum fault kind)
{
    int64_t t = some_time(n, 10 * SYS_SECOND) + SYS_MS;
    uint32_t disk = any_disk(n), host = sim_disk_host(n->f->cluster, disk);
    if (kind == FAULT_DISK_SLOW || kind == FAULT_DISK_HANG) /* at times until it is suspect */
        return slow_or_hang(n, kind == FAULT_DISK_SLOW, host, disk, below(n, 4) ? t : 6 * t);
    if (kind == FAULT_DISK_FULL)
        return fill_chunks(n, host, t);
    if (kind == FAULT_UNMOUNT)
        return unmount(n, host, disk, below(n, 4) ? t : 6 * t);
    return harm_victim(n, kind);
}

static bool strike_member_disk(struct nemesis *n, enum fault kind)
{
    int64_t t = some_time(n, 10 * SYS_SECOND) + SYS_MS;
    int member = some_member(n, t);
    if (member < 0)
        return false;
    uint32_t host = 1 + (uint32_t)member;
    if (kind == FAULT_MEMBER_SLOW || kind == FAULT_MEMBER_HANG)
        return slow_or_hang(n, kind == FAULT_MEMBER_SLOW, host, MEMBER_DISK, t);
    n->f->cluster->member_may_exit[member] = true;
    if (kind == FAULT_MEMBER_FULL)
        return fill(n, host, 0, t);
    sim_disk_fail(host, "/metadata", 1 + below(n, 60), ERR_IO, false);
    return true;
}

/* ---- clocks ---- */

static bool strike_clock(struct nemesis *n, enum fault kind)
{
    static const int64_t steps[] = {SYS_SECOND, 60 * SYS_SECOND, 3600 * SYS_SECOND,
                                    48 * 3600 * SYS_SECOND};
    int64_t t = some_time(n, 20 * SYS_SECOND) + SYS_MS;
    uint64_t dice = below(n, 4);
    int member = dice == 0 ? some_member(n, t) : -1;
    uint32_t host = member >= 0 ? 1 + (uint32_t)member
                    : dice == 1 ? SIM_CLIENT_HOST
                                : any_chunk_host(n);
    int64_t step = steps[below(n, 4)];
    if (sys_now() < n->skewed_until || !nemesis_undo_after(n, UNDO_SKEW, host, 0, t))
        return false;
    /* One of several members takes log time nowhere, nor does it lead; those of the embedded form share a
     * clock. */
    n->f->work->skewed |= (member >= 0 && members_count(n) < 2) ||
                          (n->f->cluster->embedded && host == SIM_CLIENT_HOST);
    n->skewed_until = sys_now() + t; /* one clock at a time */
    if (kind == FAULT_DRIFT)
        sim_clock_drift(host, (int32_t)below(n, 200001) - 100000);
    else
        sim_clock_skew(host, below(n, 2) ? step : -step);
    return true;
}

/* ---- aimed ---- */

static bool is_moment(enum moment m, const struct s3_request *r)
{
    switch (m) {
    case MOMENT_PUT:
        return r->method[0] == 'P' && r->n > LARGE_PUT;
    case MOMENT_CLAIM:
        return r->if_none_match != NULL;
    case MOMENT_COMPLETE:
        return strcmp(r->method, "POST") == 0 && r->n > 0;
    case MOMENT_DELETE:
        return r->method[0] == 'D';
    case MOMENT_GET:
        return r->method[0] == 'G';
    case MOMENTS:
        break;
    }
    return false;
}

void nemesis_seen(void *nemesis, const struct s3_request *request)
{
    struct nemesis *n = nemesis;
    n->puts_seen += is_moment(MOMENT_PUT, request);
    if (!n->aim.armed || !is_moment(n->aim.at, request))
        return;
    uint64_t own = n->dice;
    n->aim.armed = false;
    n->dice = n->aim.dice;
    switch (below(n, 4)) {
    case 0:
        sim_reset_connections(SIM_CLIENT_HOST, any_host(n));
        break;
    case 1: {
        int pid = member_or_client(n, 2 * SYS_SECOND);
        sim_restart_after(pid, some_time(n, 2 * SYS_SECOND) + SYS_MS);
        sim_crash_at(pid, 1 + below(n, 400));
        break;
    }
    default:
        crash_at_point(n, 400);
        break;
    }
    n->dice = own;
}

/* Waits for a request of some kind, for as long as it takes. */
static bool aim(struct nemesis *n)
{
    uint64_t dice = below(n, UINT64_MAX);
    if (below(n, 4) == 0)
        return operator_ask(n, FAULT_DRAIN, dice, true);
    enum moment at = (enum moment)below(n, MOMENTS);
    if (n->aim.armed)
        return false;
    n->aim = (struct aim){.armed = true, .at = at, .dice = dice};
    return true;
}

/* ---- all ---- */

bool nemesis_strike(struct nemesis *n, enum fault kind)
{
    switch (kind) {
    case FAULT_CHUNK_CRASH:
    case FAULT_MEMBER_CRASH:
    case FAULT_GATEWAY_CRASH:
    case FAULT_CRASH_POINT:
    case FAULT_CRASH_SEVERAL:
    case FAULT_BLACKOUT:
    case FAULT_PAUSE:
        return strike_process(n, kind);
    case FAULT_AIMED:
        return aim(n);
    case FAULT_REPLY:
        return replies_strike(n);
    case FAULT_RESET:
    case FAULT_CUT_ONE_WAY:
    case FAULT_CUT:
    case FAULT_SLOW_LINK:
    case FAULT_HALF_OPEN:
    case FAULT_LOSSY:
    case FAULT_NARROW:
        return strike_network(n, kind);
    case FAULT_DISK_SLOW:
    case FAULT_DISK_HANG:
    case FAULT_DISK_FULL:
    case FAULT_READ_ERROR:
    case FAULT_ROT:
    case FAULT_BAD_SECTORS:
    case FAULT_LIE:
    case FAULT_UNMOUNT:
        return strike_disk(n, kind);
    case FAULT_MEMBER_SLOW:
    case FAULT_MEMBER_HANG:
    case FAULT_MEMBER_ERROR:
    case FAULT_MEMBER_FULL:
        return strike_member_disk(n, kind);
    case FAULT_SKEW:
    case FAULT_DRIFT:
        return strike_clock(n, kind);
    case FAULT_WIPE:
    case FAULT_DISK_FAIL:
        return below(n, 4) == 0 && operator_ask(n, kind, below(n, UINT64_MAX), false);
    case FAULT_DRAIN:
        return below(n, 3) == 0 && operator_ask(n, kind, below(n, UINT64_MAX), false);
    case FAULT_TRANSFER:
    case FAULT_COMPACT:
    case FAULT_MEMBER_ADD:
    case FAULT_MEMBER_REMOVE:
    case FAULT_MEMBER_REPLACE:
    case FAULT_MEMBER_ROLL:
    case FAULT_MEMBER_WIPE:
    case FAULT_MEMBER_ROT:
        return !n->f->cluster->embedded && operator_ask(n, kind, below(n, UINT64_MAX), false);
    case FAULT_GROW:
        return below(n, 4) == 0 &&
               sim_disk_count(n->f->cluster) < n->f->cluster->k + n->f->cluster->m + 5 &&
               sim_cluster_grow(n->f->cluster);
    case FAULT_KINDS:
        break;
    }
    return false;
}
