#include <string.h>
#include "chunkserver/scrub_internal.h"
#include "common/sys/log.h"

/* Scrub: what a disk holds is what it ought to hold, and is what was once written. Each disk has a
 * thread, so that one that hangs holds up no other's:
 *
 *   light   every sweep_interval: index against metadata, both ways (scrub_sweep.c)
 *   deep    every scrub_interval: every block is read (scrub_read.c); goes on where it was after a
 *           restart (scrub_state.c)
 *
 * What is due is told by the wall clock and the disk's file; nothing is destroyed for its sake.
 *
 *  T1  The file is behind what metadata has been told: while a verdict on the disk waits, nothing is kept, and
 *      whoever begins with the file, after a stop or a kill, finds again what was found since.
 *  T2  The state is that of the disk which lies in the directory: it is loaded anew when a disk arrives there, be
 *      it another one, and works and is kept for that arrival alone. */

#define LOOK_EVERY  (60 * SYS_SECOND) /* at a clock that may be set, and at the disk */
#define SAVE_EVERY  (30 * SYS_SECOND)
#define AGAIN_AFTER (5 * SYS_SECOND)
#define TELL_AGAIN  (100 * SYS_MS)
enum { SPREAD = 24 }; /* light passes begin within such a part of their interval after a start */

bool scrub_wait(struct scrub_disk *d, int64_t until)
{
    struct scrub *c = d->scrub;
    sys_mutex_lock(&c->lock);
    while (!c->stopping && sys_now() < until &&
           sys_cond_wait(&c->changed, &c->lock, until) != ERR_TIMEOUT)
        continue;
    bool go = !c->stopping;
    sys_mutex_unlock(&c->lock);
    return go;
}

struct request_context scrub_request(struct scrub_disk *d)
{
    return (struct request_context){
        .deadline = sys_now() + d->scrub->service->timeouts.metadata_call,
        .cancel = d->scrub->cancel,
    };
}

bool scrub_tell(struct scrub_disk *d, uint32_t pool, const struct shard_id *id)
{
    const struct verdict v = {.disk = chunk_disk_id(d->disk), .pool = pool, .id = *id};
    while (!heartbeat_tell(d->scrub->service, &v))
        if (!scrub_wait(d, sys_now() + TELL_AGAIN))
            return false;
    return true;
}

void scrub_count(struct scrub_disk *d, uint64_t missing, uint64_t orphans)
{
    sys_mutex_lock(&d->scrub->lock);
    d->shown.missing += missing;
    d->shown.orphans += orphans;
    sys_mutex_unlock(&d->scrub->lock);
}

/* ---- what is due ---- */

struct work {
    bool light, deep;
};

/* Whether so much time has passed since then. A clock that was set back counts as that. */
static bool has_passed(int64_t since, int64_t wall, int64_t interval)
{
    return wall < since || wall - since >= interval;
}

static struct work due(struct scrub_disk *d)
{
    const struct chunk_service *s = d->scrub->service;
    const struct scrub_state *t = &d->state;
    int64_t wall = sys_wall(), last = t->read > t->known ? t->read : t->known;
    sys_mutex_lock(&d->scrub->lock);
    struct work w = {.light = d->want_light, .deep = d->want_deep};
    sys_mutex_unlock(&d->scrub->lock);
    w.light |= sys_now() >= d->first_at && has_passed(t->swept, wall, s->sweep_interval);
    w.deep |= t->begun > 0;
    w.deep |= s->scrub_interval > 0 && has_passed(last, wall, s->scrub_interval);
    return w;
}

static uint64_t arrivals(struct scrub_disk *d)
{
    struct chunk_service *s = d->scrub->service;
    sys_mutex_lock(&s->lock);
    uint64_t n = d->disk->arrivals;
    sys_mutex_unlock(&s->lock);
    return n;
}

/* As chunk_disk_enter; also false for another disk than the state's (T2). */
static bool enter(struct scrub_disk *d)
{
    if (!chunk_disk_enter(d->disk))
        return false;
    if (arrivals(d) == d->arrived)
        return true;
    chunk_disk_leave(d->disk);
    return false;
}

static bool registered(struct scrub_disk *d)
{
    struct chunk_service *s = d->scrub->service;
    sys_mutex_lock(&s->lock);
    bool yes = d->disk->registered;
    sys_mutex_unlock(&s->lock);
    return yes;
}

static void show(struct scrub_disk *d, enum scrub_kind now)
{
    const struct scrub_state *t = &d->state;
    int64_t interval = d->scrub->service->scrub_interval;
    int64_t last = t->read > t->known ? t->read : t->known;
    sys_mutex_lock(&d->scrub->lock);
    d->shown.now = now;
    d->shown.late = interval > 0 && sys_wall() - last > 2 * interval;
    d->shown.swept = t->swept;
    d->shown.read = t->read;
    d->shown.begun = t->begun;
    d->shown.bytes = t->bytes;
    d->shown.bad = t->bad;
    sys_mutex_unlock(&d->scrub->lock);
}

static void save(struct scrub_disk *d)
{
    d->unsaved = !heartbeat_has_told(d->scrub->service, chunk_disk_id(d->disk));
    if (d->unsaved)
        return; /* T1 */
    enum err e = scrub_state_save(d->disk->directory, &d->state);
    d->saved_at = sys_now();
    if (e != OK && !d->complained)
        log_warn("scrub", "%s: how far its scrub is cannot be kept: %s", d->disk->directory,
                 err_text(e));
    d->complained = e != OK;
}

static void save_rest(struct scrub_disk *d)
{
    if (!d->unsaved || !enter(d))
        return;
    save(d);
    chunk_disk_leave(d->disk);
}

void scrub_progress(struct scrub_disk *d)
{
    if (sys_now() - d->saved_at >= SAVE_EVERY)
        save(d);
    show(d, SCRUB_DEEP);
}

/* ---- passes ---- */

static enum err run_light(struct scrub_disk *d)
{
    sys_mutex_lock(&d->scrub->lock);
    d->want_light = false; /* what is wanted from now on is wanted after this pass */
    sys_mutex_unlock(&d->scrub->lock);
    show(d, SCRUB_LIGHT);
    enum err e = scrub_sweep(d);
    if (e == OK) {
        d->state.swept = sys_wall();
        save(d);
    } else {
        scrub_wanted(d->scrub, d->disk, false);
    }
    show(d, SCRUB_NONE);
    return e;
}

static void begin_deep(struct scrub_disk *d)
{
    struct scrub_state *t = &d->state;
    t->begun = sys_wall();
    t->pool = 0;
    t->anywhere = t->in_group = false;
    t->bytes = t->bad = 0;
    save(d);
    log_info("scrub", "deep pass begins disk=%u", chunk_disk_id(d->disk));
}

static enum err run_deep(struct scrub_disk *d)
{
    struct scrub_state *t = &d->state;
    bool over = false;
    sys_mutex_lock(&d->scrub->lock);
    d->want_deep = false;
    sys_mutex_unlock(&d->scrub->lock);
    if (t->begun == 0)
        begin_deep(d);
    show(d, SCRUB_DEEP);
    enum err e = scrub_read_some(d, &over);
    if (e == OK && over) {
        log_info("scrub", "deep pass is complete disk=%u bytes=%llu bad=%llu",
                 chunk_disk_id(d->disk), (unsigned long long)t->bytes, (unsigned long long)t->bad);
        t->read = sys_wall();
        t->begun = 0;
    }
    if (over)
        save(d);
    show(d, over ? SCRUB_NONE : SCRUB_DEEP);
    return e;
}

/* What the disk's file says, as soon as the disk is there. */
static bool loaded(struct scrub_disk *d)
{
    if (d->state.known != 0 && d->arrived == arrivals(d))
        return true;
    if (!chunk_disk_enter(d->disk))
        return false;
    d->arrived = arrivals(d); /* in use: no other one comes */
    struct scrub_state found;
    enum err e = scrub_state_load(d->disk->directory, &found);
    sys_mutex_lock(&d->scrub->lock);
    sys_free(d->state.groups.v);
    d->state = found;
    d->shown = (struct scrub_status){0};
    sys_mutex_unlock(&d->scrub->lock);
    d->unsaved = false;
    if (e != OK || d->state.known == 0) {
        d->state.known = sys_wall();
        save(d);
    }
    d->saved_at = sys_now();
    chunk_disk_leave(d->disk);
    return true;
}

/* Until something may be due; false when it stops. */
static bool wait_work(struct scrub_disk *d, struct work *out)
{
    struct scrub *c = d->scrub;
    for (;;) {
        int64_t now = sys_now(), until = now + LOOK_EVERY;
        *out = (struct work){0};
        save_rest(d);
        bool ready = loaded(d) && registered(d) && now >= d->again_at;
        if (ready)
            *out = due(d);
        if (!ready || d->unsaved)
            until = now + AGAIN_AFTER;
        if (d->first_at > now && d->first_at < until)
            until = d->first_at;
        show(d, SCRUB_NONE);
        sys_mutex_lock(&c->lock);
        bool stop = c->stopping, wanted = ready && (d->want_light || d->want_deep);
        if (!stop && !out->light && !out->deep && !wanted)
            (void)sys_cond_wait(&c->changed, &c->lock, until);
        sys_mutex_unlock(&c->lock);
        if (stop || out->light || out->deep)
            return !stop;
    }
}

static void disk_main(void *arg)
{
    struct scrub_disk *d = arg;
    struct work w;
    while (wait_work(d, &w)) {
        enum err e = ERR_UNAVAILABLE;
        if (enter(d)) {
            e = w.light ? run_light(d) : run_deep(d);
            chunk_disk_leave(d->disk);
        }
        if (e != OK)
            d->again_at = sys_now() + AGAIN_AFTER;
    }
    d->unsaved |= d->state.begun > 0;
    save_rest(d);
}

/* ---- from outside ---- */

static struct scrub_disk *of(struct scrub *c, const struct chunk_disk *disk)
{
    for (size_t i = 0; i < c->count; i++)
        if (c->disks[i].disk == disk)
            return &c->disks[i];
    return NULL;
}

void scrub_wanted(struct scrub *c, const struct chunk_disk *disk, bool deep)
{
    struct scrub_disk *d = of(c, disk);
    if (!d)
        return;
    sys_mutex_lock(&c->lock);
    d->want_light = true;
    d->want_deep |= deep;
    sys_mutex_unlock(&c->lock);
    sys_cond_broadcast(&c->changed);
}

void scrub_report(struct scrub *c, const struct chunk_disk *disk, struct scrub_status *out)
{
    *out = (struct scrub_status){0};
    const struct scrub_disk *d = of(c, disk);
    if (!d)
        return;
    sys_mutex_lock(&c->lock);
    *out = d->shown;
    sys_mutex_unlock(&c->lock);
}

enum err scrub_start(struct chunk_service *s, struct scrub **out)
{
    struct scrub *c = sys_alloc(sizeof *c);
    c->service = s;
    c->disks = sys_alloc(s->disk_count * sizeof *c->disks);
    sys_mutex_init(&c->lock);
    sys_cond_init(&c->changed);
    *out = c;
    enum err e = sys_event_new(&c->cancel);
    for (size_t i = 0; e == OK && i < s->disk_count; i++) {
        uint16_t random;
        struct scrub_disk *d = &c->disks[c->count++];
        sys_random(&random, sizeof random);
        d->scrub = c;
        d->disk = &s->disks[i];
        d->first_at = sys_now() + s->sweep_interval / SPREAD / UINT16_MAX * random;
    }
    for (size_t i = 0; e == OK && i < c->count; i++)
        e = sys_thread_start(&c->disks[i].thread, "scrub", 0, disk_main, &c->disks[i]);
    return e;
}

void scrub_stop(struct scrub *c)
{
    if (!c)
        return;
    sys_mutex_lock(&c->lock);
    c->stopping = true;
    sys_mutex_unlock(&c->lock);
    if (c->cancel)
        sys_event_set(c->cancel);
    sys_cond_broadcast(&c->changed);
    for (size_t i = 0; i < c->count; i++)
        if (c->disks[i].thread)
            sys_thread_join(c->disks[i].thread);
    if (c->cancel)
        sys_event_free(c->cancel);
    sys_cond_release(&c->changed);
    sys_mutex_release(&c->lock);
    for (size_t i = 0; i < c->count; i++)
        sys_free(c->disks[i].state.groups.v);
    sys_free(c->disks);
    sys_free(c);
}
