/* The member's state and the log's hold on it: opened through its pointer, applied to, read as images
 * for followers, replaced as a whole by what a leader sends. Whoever uses the state holds a reference,
 * so a query that runs while another state is switched in ends on the old one. */
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include "metadata/service_internal.h"

#define IMAGE_KEEP (30 * SYS_SECOND) /* after it was read last */

struct state *service_state(struct metadata_service *s)
{
    sys_mutex_lock(&s->lock);
    struct state *state = state_ref(s->states.now);
    sys_mutex_unlock(&s->lock);
    return state;
}

int64_t service_log_time(struct metadata_service *s)
{
    struct state *state = service_state(s);
    int64_t time = state_time(state);
    state_unref(state);
    return time;
}

uint64_t service_epoch(struct metadata_service *s)
{
    struct state *state = service_state(s);
    uint64_t epoch = state_epoch(state);
    state_unref(state);
    return epoch;
}

/* ---- opening ---- */

static enum err path_of(const struct metadata_service *s, const char *name, char out[SYS_PATH_MAX])
{
    int n = snprintf(out, SYS_PATH_MAX, "%s/%s", s->config.directory, name);
    return n < 0 || n >= SYS_PATH_MAX ? ERR_TOO_BIG : OK;
}

static enum err open_named(struct metadata_service *s)
{
    char path[SYS_PATH_MAX];
    enum err e = path_of(s, s->states.home.name, path);
    return e == OK ? state_open(path, s->config.checkpoint_every, &s->states.now) : e;
}

/* An empty state: of a new member, or while a snapshot is waited for, which needs no pointer. */
static enum err open_fresh(struct metadata_service *s, bool point)
{
    char name[STATE_HOME_NAME];
    struct state_home *home = &s->states.home;
    state_home_name(name);
    memcpy(home->name, name, sizeof name);
    enum err e = open_named(s);
    if (e == OK && point)
        e = state_home_write(s->config.directory, home);
    if (!point)
        home->name[0] = 0;
    return e;
}

enum err service_state_open(struct metadata_service *s)
{
    struct state_home *home = &s->states.home;
    enum err e = state_home_read(s->config.directory, home);
    bool none = e == ERR_NOT_FOUND;
    if (e == OK || none)
        e = state_home_clean(s->config.directory, none ? NULL : home);
    if (e == OK)
        e = none || home->discarded ? open_fresh(s, none) : open_named(s);
    if (e == OK && !home->discarded && state_applied(s->states.now) < home->at.index) {
        log_error("metadata",
                  "the state in %s/%s is gone: remove this member and let a new one join from an "
                  "empty directory",
                  s->config.directory, home->name);
        e = ERR_CORRUPT;
    }
    if (e == OK) {
        state_checkpoints(s->states.now, &s->states.hashes);
        s->states.installed_index = home->discarded ? 0 : home->at.index;
    }
    if (e == OK && home->discarded)
        log_warn("metadata", "the state in %s was discarded: waiting for the leader's",
                 s->config.directory);
    return e;
}

void service_state_release(struct metadata_service *s)
{
    for (size_t i = 0; i < SERVICE_IMAGES_MAX; i++)
        if (s->states.images[i].image)
            state_image_free(s->states.images[i].image);
    if (s->states.import)
        state_import_free(s->states.import);
    if (s->states.ready)
        state_unref(s->states.ready);
    if (s->states.now)
        state_unref(s->states.now);
    state_home_release(&s->states.home);
}

/* ---- applying ---- */

static void keep_hashes(struct metadata_service *s, const struct state *state)
{
    struct state_checkpoints hashes;
    state_checkpoints(state, &hashes);
    sys_mutex_lock(&s->lock);
    s->states.hashes = hashes;
    sys_mutex_unlock(&s->lock);
}

enum err service_state_apply(void *arg, struct driver_entry *entries, size_t n)
{
    struct metadata_service *s = arg;
    struct state_entry batch[DRIVER_APPLY_MAX];
    struct state_position end = {.index = entries[n - 1].index, .term = entries[n - 1].term};
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        if (entries[i].type == RAFT_ENTRY_COMMAND)
            batch[count++] = (struct state_entry){
                .index = entries[i].index, .data = entries[i].data, .length = entries[i].length};
        if (entries[i].type == RAFT_ENTRY_CONFIGURATION) {
            end.configuration_index = entries[i].index;
            end.configuration_term = entries[i].term;
            end.configuration = entries[i].data;
            end.configuration_length = entries[i].length;
        }
    }
    struct arena arena;
    arena_init(&arena);
    struct state *state = service_state(s);
    service_agreement_check(s, state);
    enum err e = state_apply(state, batch, count, &end, &arena);
    for (size_t i = 0, k = 0; e == OK && i < n; i++) {
        if (entries[i].type != RAFT_ENTRY_COMMAND)
            continue;
        if (entries[i].local)
            driver_entry_reply(&entries[i], batch[k].result, batch[k].result_length);
        k++;
    }
    keep_hashes(s, state);
    state_unref(state);
    arena_release(&arena);
    return e;
}

/* ---- images for followers: the driver's snapshot thread ---- */

static void drop(struct held_image *h)
{
    state_image_free(h->image);
    *h = (struct held_image){0};
}

static struct held_image *held(struct metadata_service *s, const struct raft_snapshot_read *want)
{
    struct held_image *newest = NULL;
    for (size_t i = 0; i < SERVICE_IMAGES_MAX; i++) {
        struct held_image *h = &s->states.images[i];
        if (!h->image)
            continue;
        uint64_t index = state_image_position(h->image)->index;
        if (want->index && index == want->index)
            return h;
        if (index >= want->least && (!newest || index > state_image_position(newest->image)->index))
            newest = h;
    }
    return newest;
}

/* The state as of now, in the place of the image that was read least lately. */
static enum err take_image(struct metadata_service *s, struct held_image **out)
{
    struct held_image *h = &s->states.images[0];
    for (size_t i = 1; i < SERVICE_IMAGES_MAX; i++)
        if (h->image && (!s->states.images[i].image || s->states.images[i].read < h->read))
            h = &s->states.images[i];
    if (h->image)
        drop(h);
    struct state *state = service_state(s);
    enum err e = state_image_new(state, &s->identity.cluster, &h->image);
    state_unref(state);
    *out = h;
    return e;
}

static void describe(const struct state_position *at, struct raft_snapshot *out)
{
    *out = (struct raft_snapshot){.index = at->index, .term = at->term};
    out->configuration = (struct raft_entry){
        .index = at->configuration_index,
        .term = at->configuration_term,
        .type = RAFT_ENTRY_CONFIGURATION,
        .payload = raft_payload_new(at->configuration, at->configuration_length)};
}

enum err service_snapshot_read(void *arg, const struct raft_snapshot_read *want,
                               struct driver_piece *out)
{
    struct metadata_service *s = arg;
    struct held_image *h = held(s, want);
    enum err e = h ? OK : take_image(s, &h);
    if (e != OK)
        return e;
    const struct state_position *at = state_image_position(h->image);
    if (at->index < want->least)
        return ERR_NOT_FOUND; /* not applied here yet */
    uint64_t offset = at->index == want->index ? want->offset : 0;
    uint8_t *bytes = sys_alloc(want->max_bytes);
    size_t n = 0;
    bool last = false;
    h->read = sys_now();
    e = state_image_read(h->image, offset, bytes, want->max_bytes, &n, &last);
    if (e == OK) {
        out->offset = offset;
        out->last = last;
        out->piece = raft_payload_new(bytes, n);
        describe(at, &out->snapshot);
    }
    sys_free(bytes);
    return e;
}

void service_snapshot_idle(void *arg)
{
    struct metadata_service *s = arg;
    int64_t now = sys_now();
    for (size_t i = 0; i < SERVICE_IMAGES_MAX; i++) {
        struct held_image *h = &s->states.images[i];
        if (h->image && now - h->read > IMAGE_KEEP)
            drop(h);
    }
}

/* ---- what a leader sends: the same thread ---- */

static void abandon(struct metadata_service *s)
{
    if (s->states.ready) {
        state_retire(s->states.ready);
        state_unref(s->states.ready);
    }
    if (s->states.import)
        state_import_free(s->states.import);
    s->states.ready = NULL;
    s->states.import = NULL;
}

static enum err begin(struct metadata_service *s, uint64_t index)
{
    char path[SYS_PATH_MAX];
    abandon(s);
    state_home_name(s->states.import_name);
    s->states.import_index = index;
    enum err e = path_of(s, s->states.import_name, path);
    return e == OK ? state_import_begin(path, &s->identity.cluster, &s->states.import) : e;
}

/* The import is whole: it becomes a state that is ready to be switched to. */
static enum err finish(struct metadata_service *s, const struct raft_snapshot *snapshot)
{
    enum err e =
        state_import_finish(s->states.import, s->config.checkpoint_every, &s->states.ready);
    state_import_free(s->states.import);
    s->states.import = NULL;
    if (e != OK)
        return e;
    struct state_position at = state_position(s->states.ready);
    return at.index == snapshot->index && at.term == snapshot->term ? OK : ERR_CORRUPT;
}

enum err service_snapshot_write(void *arg, const struct raft_install_piece *piece)
{
    struct metadata_service *s = arg;
    enum err e = OK;
    if (piece->offset == 0)
        e = begin(s, piece->snapshot.index);
    else if (!s->states.import || s->states.import_index != piece->snapshot.index ||
             state_import_offset(s->states.import) != piece->offset)
        e = ERR_INVALID;
    if (e == OK && piece->piece)
        e = state_import_write(s->states.import, piece->piece->data, piece->piece->length);
    if (e == OK && piece->last)
        e = finish(s, &piece->snapshot);
    if (e != OK)
        abandon(s);
    return e;
}

enum err service_snapshot_install(void *arg, const struct raft_snapshot *snapshot)
{
    struct metadata_service *s = arg;
    struct state_home home = {.at = *snapshot};
    assert(s->states.ready);
    memcpy(home.name, s->states.import_name, sizeof home.name);
    enum err e = state_home_write(s->config.directory, &home);
    if (e != OK)
        return e;
    raft_payload_ref(home.at.configuration.payload);
    state_home_release(&s->states.home);
    s->states.home = home;
    sys_mutex_lock(&s->lock);
    struct state *old = s->states.now;
    s->states.now = s->states.ready;
    state_checkpoints(s->states.now, &s->states.hashes);
    s->states.installed_index = snapshot->index;
    s->states.ready = NULL;
    sys_mutex_unlock(&s->lock);
    state_retire(old);
    state_unref(old);
    return OK;
}
