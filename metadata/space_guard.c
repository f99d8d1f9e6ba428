/* The room on the disk that holds this member's log and state (hazard 23). A log or a state that cannot
 * be written ends the member, and a group whose disks are full could not even delete. So:
 *
 *   mark      four segments of the log, or an eighth of a small disk. Below it the member says so, and
 *             the leader refuses what makes the state grow, while any voter says so; deletes and what
 *             operators do are admitted. Above it by a quarter growth goes on.
 *   ballast   a file of one segment, or a sixteenth of a small disk, that only keeps room. With less than
 *             a quarter of the mark left it is removed, so that deletes have something to work with; also
 *             before a member starts, which needs room to open its state. It is made again when there is
 *             room for it above the mark.
 *
 * The next segment of the log is written in advance (log_segment.c), so that the log itself goes on for
 * a segment whatever else fills the disk. File calls may hang with their disk: a thread of its own asks,
 * once in a heartbeat. */
#include "common/sys/ballast.h"
#include "metadata/service_internal.h"

enum { MARK_SEGMENTS = 4, SEGMENT_BYTES = 64 << 20 };

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t mark_of(uint64_t segment, uint64_t total)
{
    return least(MARK_SEGMENTS * segment, total / 8);
}

static uint64_t ballast_of(uint64_t segment, uint64_t total)
{
    return least(segment, total / 16) / SYS_BLOCK * SYS_BLOCK;
}

static uint64_t segment_of(const struct metadata_service *s)
{
    return s->config.segment_bytes ? s->config.segment_bytes : SEGMENT_BYTES;
}

static bool needed(uint64_t segment, uint64_t total, uint64_t unused)
{
    return unused < mark_of(segment, total) / 4;
}

void space_guard_prepare(struct metadata_service *s)
{
    const char *directory = s->config.directory;
    uint64_t total, unused;
    struct space_guard *g = &s->space;
    g->ballast = ballast_bytes(directory) > 0;
    if (!g->ballast || sys_disk_space(directory, &total, &unused) != OK ||
        !needed(segment_of(s), total, unused))
        return;
    enum err e = ballast_give(directory, 0);
    g->ballast = e != OK;
    log_warn("space",
             "%s: the disk is full, the ballast was removed to start with what it kept free: %s",
             directory, err_text(e));
}

static void set_ballast(struct metadata_service *s, bool there)
{
    sys_mutex_lock(&s->lock);
    s->space.ballast = there;
    sys_mutex_unlock(&s->lock);
}

/* After a look: gives the ballast away, or makes it again. */
static void tend_ballast(struct metadata_service *s, uint64_t total, uint64_t unused)
{
    struct space_guard *g = &s->space;
    const char *directory = s->config.directory;
    uint64_t segment = segment_of(s), mark = mark_of(segment, total);
    uint64_t bytes = ballast_of(segment, total);
    enum err e = OK;
    if (g->ballast && needed(segment, total, unused)) {
        e = ballast_give(directory, 0);
        set_ballast(s, e != OK && e != ERR_NOT_FOUND);
        log_error("space", "%s: the disk is all but full, the ballast was removed: %s", directory,
                  err_text(e));
    } else if (!g->ballast && bytes > 0 && unused > mark + mark / 4 + bytes) {
        e = ballast_make(directory, bytes);
        set_ballast(s, e == OK);
        if (e != OK && !g->warned)
            log_warn("space", "%s: no ballast can be made: %s", directory, err_text(e));
        g->warned = e != OK;
    }
}

static void look(struct metadata_service *s)
{
    uint64_t total = 0, unused = 0;
    struct space_guard *g = &s->space;
    bool known = sys_disk_space(s->config.directory, &total, &unused) == OK;
    uint64_t mark = mark_of(segment_of(s), total);
    sys_mutex_lock(&s->lock);
    bool was_low = g->low;
    g->known = known;
    if (known) {
        g->free_bytes = unused;
        g->low = unused < (was_low ? mark + mark / 4 : mark);
    }
    bool low = g->low;
    sys_mutex_unlock(&s->lock);
    if (low && !was_low)
        log_error("space",
                  "%s: %llu MiB are left on the disk: puts are refused until there is more room",
                  s->config.directory, (unsigned long long)(unused >> 20));
    else if (!low && was_low)
        log_info("space", "%s: there is room again", s->config.directory);
    if (known)
        tend_ballast(s, total, unused);
}

static void run(void *arg)
{
    struct metadata_service *s = arg;
    struct space_guard *g = &s->space;
    for (bool stop = false; !stop;) {
        look(s);
        int64_t until = sys_now() + s->config.timeouts.heartbeat;
        sys_mutex_lock(&s->lock);
        while (!g->stopping && sys_cond_wait(&g->stop, &s->lock, until) != ERR_TIMEOUT)
            continue;
        stop = g->stopping;
        sys_mutex_unlock(&s->lock);
    }
}

enum err space_guard_start(struct metadata_service *s)
{
    return sys_thread_start(&s->space.thread, "metadata-space", 0, run, s);
}

void space_guard_stop(struct metadata_service *s)
{
    sys_mutex_lock(&s->lock);
    s->space.stopping = true;
    sys_cond_broadcast(&s->space.stop);
    sys_mutex_unlock(&s->lock);
    if (s->space.thread)
        sys_thread_join(s->space.thread);
    s->space.thread = NULL;
}

bool service_growth_refused(struct metadata_service *s)
{
    int64_t now = sys_now();
    sys_mutex_lock(&s->lock);
    bool low = s->space.low;
    for (size_t i = 0; i < s->configuration.count && !low; i++)
        low = s->configuration.members[i].roles & RAFT_VOTER &&
              service_note_low(s, s->configuration.members[i].id, now);
    sys_mutex_unlock(&s->lock);
    return low;
}
