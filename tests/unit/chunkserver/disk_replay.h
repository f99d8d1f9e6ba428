/* Everything that a workload did to the files of a disk, and the states in which a crash can leave it.
 *
 * The recording is the changes that the simulated floor tells (sim_disk_observe) with the marks of the
 * workload between them: what was begun, what was answered. Replay goes through it change by change and
 * knows of each file what is durable and what is pending, that is, written and not covered by a sync
 * that has ended. After each change a crash may keep
 *    of a file's pending changes any subset, in order; of a write also any of its sectors, of a hole
 *    any of its blocks;
 *    of a directory's pending changes any prefix. */
#pragma once
#include "common/sys/sim/sim.h"
#include "tests/unit/chunkserver/store_kit.h"

enum {
    REPLAY_CHANGES = 20000,
    REPLAY_POOL = 96 << 20,
    REPLAY_NODES = 256,
    REPLAY_PENDING = 512,
    REPLAY_ENTRIES = 64,
    REPLAY_FILE = 2 << 20, /* the longest file */
    REPLAY_SECTOR = 512,
};

enum replay_mark { MARK_NOTHING, MARK_BEGUN, MARK_DONE };

struct replay_change {
    struct sim_disk_change change;
    /* a mark of the workload */
    enum replay_mark mark;
    int what;
    uint32_t shard;
};

struct recording {
    struct replay_change changes[REPLAY_CHANGES];
    size_t count;
    uint8_t pool[REPLAY_POOL];
    size_t used;
    uint64_t disk; /* number of its directory */
    bool deaf;     /* changes are not kept, marks are */
};

static inline void *recording_keep(struct recording *r, const void *data, size_t n)
{
    CHECK(r->used + n <= REPLAY_POOL);
    if (r->used + n > REPLAY_POOL)
        return r->pool;
    void *at = memcpy(r->pool + r->used, data, n);
    r->used += n;
    return at;
}

static inline struct replay_change *recording_add(struct recording *r)
{
    CHECK(r->count < REPLAY_CHANGES);
    if (r->count == REPLAY_CHANGES)
        r->count--;
    struct replay_change *c = &r->changes[r->count++];
    *c = (struct replay_change){0};
    return c;
}

static inline void recording_see(void *arg, const struct sim_disk_change *change)
{
    struct recording *r = arg;
    if (r->deaf)
        return;
    struct replay_change *c = recording_add(r);
    c->change = *change;
    if (change->data)
        c->change.data = recording_keep(r, change->data, change->n);
    if (change->from_name)
        c->change.from_name = recording_keep(r, change->from_name, strlen(change->from_name) + 1);
    if (change->to_name)
        c->change.to_name = recording_keep(r, change->to_name, strlen(change->to_name) + 1);
}

static inline void recording_mark(struct recording *r, enum replay_mark mark, int what,
                                  uint32_t shard)
{
    struct replay_change *c = recording_add(r);
    c->mark = mark;
    c->what = what;
    c->shard = shard;
}

/* ---- replay ---- */

struct replay_entry {
    char name[32];
    uint64_t node;
};

struct replay_node {
    uint64_t number;
    bool is_dir;
    uint8_t *bytes; /* durable; zeros behind size */
    bool kept;      /* in the recording's memory */
    uint64_t size;
    struct replay_entry entries[REPLAY_ENTRIES]; /* durable */
    size_t entry_count;
    const struct sim_disk_change *pending[REPLAY_PENDING];
    size_t pending_count, syncing; /* pending when the sync that runs began */
};

struct replay {
    const struct recording *recording;
    struct replay_node nodes[REPLAY_NODES];
    size_t node_count;
    size_t next; /* change */
};

static inline struct replay_node *replay_node(struct replay *r, uint64_t number)
{
    for (size_t i = 0; i < r->node_count; i++)
        if (r->nodes[i].number == number)
            return &r->nodes[i];
    CHECK(r->node_count < REPLAY_NODES);
    struct replay_node *n = &r->nodes[r->node_count++];
    n->number = number;
    n->bytes = NULL;
    return n;
}

/* lost: sectors that a crash takes of a write, a bit each, from bit 0 on again behind 64. */
static inline void replay_apply(uint8_t *bytes, uint64_t *size, const struct sim_disk_change *c,
                                uint64_t lost)
{
    uint64_t end = c->offset + c->n;
    if (c->kind == SIM_CHANGE_SIZE) {
        if (c->n < *size)
            memset(bytes + c->n, 0, *size - c->n);
        *size = c->n;
        return;
    }
    CHECK(end <= REPLAY_FILE);
    if (c->kind == SIM_CHANGE_ZERO) { /* the size stays */
        for (uint64_t at = 0, k = 0; at < c->n; at += SYS_BLOCK, k++)
            if (!(lost >> (k % 64) & 1))
                memset(bytes + c->offset + at, 0, c->n - at < SYS_BLOCK ? c->n - at : SYS_BLOCK);
        return;
    }
    for (uint64_t at = 0, k = 0; at < c->n; at += REPLAY_SECTOR, k++) {
        uint64_t n = c->n - at < REPLAY_SECTOR ? c->n - at : REPLAY_SECTOR;
        if (!(lost >> (k % 64) & 1))
            memcpy(bytes + c->offset + at, (const uint8_t *)c->data + at, n);
    }
    if (end > *size)
        *size = end;
}

static inline void replay_rename(struct replay_entry *v, size_t *n, uint64_t directory,
                                 const struct sim_disk_change *c)
{
    const char *gone[2] = {c->from == directory ? c->from_name : NULL,
                           c->to == directory ? c->to_name : NULL};
    for (int g = 0; g < 2; g++)
        for (size_t i = 0; gone[g] && i < *n; i++)
            if (strcmp(v[i].name, gone[g]) == 0)
                v[i--] = v[--*n];
    if (c->to == directory) {
        CHECK(*n < REPLAY_ENTRIES);
        v[*n].node = c->file;
        snprintf(v[*n].name, sizeof v[*n].name, "%s", c->to_name);
        ++*n;
    }
}

static inline void replay_settle(struct replay_node *n, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (n->is_dir) {
            replay_rename(n->entries, &n->entry_count, n->number, n->pending[i]);
            continue;
        }
        if (!n->bytes)
            n->bytes = sys_alloc(REPLAY_FILE);
        replay_apply(n->bytes, &n->size, n->pending[i], 0);
    }
    n->pending_count -= count;
    memmove(n->pending, n->pending + count, n->pending_count * sizeof *n->pending);
    n->syncing -= n->syncing < count ? n->syncing : count;
}

static inline void replay_pend(struct replay_node *n, const struct sim_disk_change *c)
{
    CHECK(n->pending_count < REPLAY_PENDING);
    if (n->pending_count < REPLAY_PENDING)
        n->pending[n->pending_count++] = c;
}

/* ---- a disk that is there already: all of it counts as durable ---- */

struct replay_base {
    struct recording *recording; /* its memory outlives the process */
    struct replay *replay;
    struct replay_node *dir;
    const char *path;
    uint32_t host;
};

static inline void replay_load(struct recording *m, struct replay *r, uint32_t host,
                               const char *path);

static inline void replay_load_entry(void *arg, const char *name, bool is_dir)
{
    struct replay_base *b = arg;
    char path[256];
    snprintf(path, sizeof path, "%.200s/%.31s", b->path, name);
    struct replay_entry *e = &b->dir->entries[b->dir->entry_count++];
    CHECK(b->dir->entry_count < REPLAY_ENTRIES);
    snprintf(e->name, sizeof e->name, "%s", name);
    e->node = sim_disk_number(b->host, path);
    if (is_dir) {
        replay_load(b->recording, b->replay, b->host, path);
        return;
    }
    struct replay_node *n = replay_node(b->replay, e->node);
    struct sys_file *f = NULL;
    size_t done = 0;
    n->bytes = b->recording->pool + b->recording->used;
    n->kept = true;
    b->recording->used += REPLAY_FILE;
    CHECK(b->recording->used <= REPLAY_POOL);
    memset(n->bytes, 0, REPLAY_FILE);
    CHECK_OK(sys_file_open(path, SYS_OPEN_READ, &f));
    CHECK_OK(sys_file_read(f, 0, n->bytes, REPLAY_FILE, &done));
    CHECK_OK(sys_file_size(f, &n->size));
    CHECK_EQ(done, n->size);
    sys_file_close(f);
}

static inline void replay_load(struct recording *m, struct replay *r, uint32_t host,
                               const char *path)
{
    struct replay_base b = {m, r, replay_node(r, sim_disk_number(host, path)), path, host};
    b.dir->is_dir = true;
    CHECK_OK(sys_dir_list(path, replay_load_entry, &b));
}

/* The next change. True when a crash after it is a case of its own. */
static inline bool replay_step(struct replay *r)
{
    const struct replay_change *rc = &r->recording->changes[r->next++];
    const struct sim_disk_change *c = &rc->change;
    if (rc->mark)
        return rc->mark == MARK_DONE;
    struct replay_node *n;
    switch (c->kind) {
    case SIM_CHANGE_SYNC_BEGIN:
        n = replay_node(r, c->file);
        n->syncing = n->pending_count;
        return false;
    case SIM_CHANGE_SYNC:
    case SIM_CHANGE_DIR_SYNC:
        n = replay_node(r, c->file);
        replay_settle(n, n->syncing);
        return true;
    case SIM_CHANGE_NAME:
        replay_node(r, c->file)->is_dir = c->is_dir;
        n = replay_node(r, c->to ? c->to : c->from);
        n->is_dir = true;
        CHECK(!c->from || !c->to || c->from == c->to);
        replay_pend(n, c);
        return true;
    default:
        replay_pend(replay_node(r, c->file), c);
        return true;
    }
}

static inline size_t replay_pending(const struct replay *r)
{
    size_t count = 0;
    for (size_t i = 0; i < r->node_count; i++)
        count += r->nodes[i].pending_count;
    return count;
}

/* ---- a state ---- */

/* How a crash chooses: bit i keeps the i-th pending change, all of them counted through; a directory
 * keeps its first ones up to the first that is not kept. torn: a random part of the kept writes' sectors
 * is lost. */
struct replay_choice {
    uint64_t keep;
    bool all, none, torn;
    uint64_t random;
};

static inline uint64_t replay_draw(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

static inline bool replay_keeps(struct replay_choice *c, size_t index)
{
    if (c->all || c->none)
        return c->all;
    return index < 64 ? c->keep >> index & 1 : replay_draw(&c->random) & 1;
}

/* Writes bytes that are not zero, then the size. */
static inline void replay_put_file(const char *path, const uint8_t *bytes, uint64_t size)
{
    struct sys_file *f = NULL;
    CHECK_OK(sys_file_open(path, SYS_OPEN_WRITE | SYS_OPEN_CREATE, &f));
    for (uint64_t at = 0; at < size;) {
        uint64_t end = at;
        while (end < size) {
            uint64_t n = size - end < SYS_BLOCK ? size - end : SYS_BLOCK;
            if (bytes[end] == 0 && memcmp(bytes + end, bytes + end + 1, n - 1) == 0)
                break;
            end += n;
        }
        if (end > at)
            CHECK_OK(sys_file_write(f, at, bytes + at, end - at));
        at = end > at ? end : at + SYS_BLOCK;
    }
    CHECK_OK(sys_file_truncate(f, size));
    sys_file_close(f);
}

/* Makes the files of directory node `number` at path, as the crash left them. first: of each node, the
 * count of pending changes before its own. */
static inline void replay_put(struct replay *r, uint64_t number, const char *path,
                              const struct replay_choice *choice, uint8_t *scratch)
{
    struct replay_node *dir = replay_node(r, number);
    struct replay_entry entries[REPLAY_ENTRIES];
    size_t count = dir->entry_count, first = 0;
    memcpy(entries, dir->entries, sizeof entries);
    struct replay_choice c = *choice;
    for (size_t i = 0; &r->nodes[i] != dir; i++)
        first += r->nodes[i].pending_count;
    for (size_t i = 0; i < dir->pending_count && replay_keeps(&c, first + i); i++)
        replay_rename(entries, &count, number, dir->pending[i]);
    for (size_t i = 0; i < count; i++) {
        char inner[256];
        struct replay_node *n = replay_node(r, entries[i].node);
        snprintf(inner, sizeof inner, "%.200s/%.31s", path, entries[i].name);
        if (n->is_dir) {
            CHECK_OK(sys_mkdir(inner));
            replay_put(r, n->number, inner, choice, scratch);
            continue;
        }
        const uint8_t *bytes = n->bytes;
        uint64_t size = n->size;
        if (n->pending_count) {
            memset(scratch, 0, REPLAY_FILE);
            if (n->bytes)
                memcpy(scratch, n->bytes, REPLAY_FILE);
            first = 0;
            for (size_t k = 0; &r->nodes[k] != n; k++)
                first += r->nodes[k].pending_count;
            for (size_t k = 0; k < n->pending_count; k++)
                if (replay_keeps(&c, first + k))
                    replay_apply(scratch, &size, n->pending[k],
                                 c.torn && replay_draw(&c.random) & 1 ? replay_draw(&c.random) : 0);
            bytes = scratch;
        }
        if (size == 0)
            bytes = scratch;
        replay_put_file(inner, bytes, size);
    }
}

static inline void replay_release(struct replay *r)
{
    for (size_t i = 0; i < r->node_count; i++)
        if (!r->nodes[i].kept)
            sys_free(r->nodes[i].bytes);
}
