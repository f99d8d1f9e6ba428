/* What a crash may leave of a recording (recorder.h), made real in a directory.
 *
 *   S1  Every write before the last sync of its file is there.
 *   S2  Of the later ones any subset is, each whole, or sector by sector (512 bytes); where one is
 *       missing below another there are zeros. A file may also have its full size and lack bytes at
 *       the end.
 *   S3  Changes of names stay in their order: a crash keeps a prefix of them.
 *   S4  A sync of the directory makes all of them durable; so does, up to the last one that named
 *       it, the sync of a file: that is how ext4, XFS and btrfs do it. strict: it does not, as
 *       POSIX allows. */
#pragma once
#include <xxhash.h>
#include "tests/unit/kv_posix/recorder.h"

enum { SECTOR = 512, FILE_SIZE_MAX = 4 << 20 };

struct crash_view {
    const struct recording *r;
    size_t at; /* operations before it have happened */
    size_t *names, name_count, names_durable;
    size_t *loose, loose_count; /* writes that were not synced */
    size_t *synced_until;       /* by inode: index of its last sync, 0: none */
};

enum crash_keep { KEEP_ALL, KEEP_NONE, KEEP_MASK, KEEP_SOME, KEEP_TORN };
struct crash_choice {
    enum crash_keep keep;
    uint64_t mask;   /* of loose writes, for KEEP_MASK */
    uint64_t random; /* for KEEP_SOME and KEEP_TORN */
    size_t names;    /* changes of names that are there */
    bool stretched;  /* sizes as if nothing were missing */
};

static uint64_t crash_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return XXH64(state, sizeof *state, 1);
}

static void crash_view(const struct recording *r, size_t at, bool strict, struct crash_view *v)
{
    memset(v, 0, sizeof *v);
    v->r = r;
    v->at = at;
    v->names = sys_alloc((at + 1) * sizeof *v->names);
    v->loose = sys_alloc((at + 1) * sizeof *v->loose);
    v->synced_until = sys_alloc(((size_t)r->inode_count + 1) * sizeof *v->synced_until);
    for (size_t i = 0; i < at; i++) {
        const struct rec_op *o = &r->ops[i];
        if (o->kind <= REC_UNLINK)
            v->names[v->name_count++] = i;
        if (o->kind == REC_SYNC_DIR)
            v->names_durable = v->name_count;
        if (o->kind != REC_SYNC)
            continue;
        v->synced_until[o->inode] = i;
        for (size_t k = v->name_count; !strict && k > v->names_durable; k--)
            if (r->ops[v->names[k - 1]].inode == o->inode)
                v->names_durable = k;
    }
    for (size_t i = 0; i < at; i++)
        if (r->ops[i].kind == REC_WRITE && i >= v->synced_until[r->ops[i].inode])
            v->loose[v->loose_count++] = i;
}

static void crash_view_free(struct crash_view *v)
{
    sys_free(v->names);
    sys_free(v->loose);
    sys_free(v->synced_until);
}

/* How the write with this number among the loose ones survives: 0 not, 1 whole, 2 in part. */
static int crash_fate(const struct crash_view *v, const struct crash_choice *c, size_t number)
{
    uint64_t own = c->random + number * 7919, place = c->random;
    switch (c->keep) {
    case KEEP_ALL:
        return 1;
    case KEEP_NONE:
        return 0;
    case KEEP_MASK:
        return c->mask >> number & 1;
    case KEEP_TORN: {
        size_t torn = crash_random(&place) % v->loose_count;
        return number < torn ? 1 : number == torn ? 2 : 0;
    }
    case KEEP_SOME:
        break;
    }
    uint64_t dice = crash_random(&own) % 8;
    return dice < 4 ? 1 : dice == 4 ? 2 : 0;
}

static void crash_place(uint8_t *bytes, size_t *size, const struct rec_op *o, int fate,
                        uint64_t random)
{
    for (size_t at = 0, part; at < o->n; at += part) {
        size_t place = (size_t)o->offset + at;
        part = SECTOR - place % SECTOR < o->n - at ? SECTOR - place % SECTOR : o->n - at;
        if (place + part > FILE_SIZE_MAX)
            abort();
        if (fate == 0 || (fate == 2 && crash_random(&random) % 2))
            continue;
        memcpy(bytes + place, o->data + at, part);
        if (place + part > *size)
            *size = place + part;
    }
}

/* The bytes of one file; returns their number. bytes are zeros before. */
static size_t crash_contents(const struct crash_view *v, const struct crash_choice *c, int inode,
                             uint8_t *bytes)
{
    size_t size = 0, full = 0, number = 0;
    if (inode < v->r->base_count) {
        full = size = v->r->base[inode].n;
        memcpy(bytes, v->r->base[inode].data, size);
    }
    for (size_t i = 0; i < v->at; i++) {
        const struct rec_op *o = &v->r->ops[i];
        if (o->kind != REC_WRITE)
            continue;
        bool loose = number < v->loose_count && v->loose[number] == i;
        if (o->inode == inode) {
            int fate = loose ? crash_fate(v, c, number) : 1;
            crash_place(bytes, &size, o, fate, c->random + i);
            full = o->offset + o->n > full ? (size_t)o->offset + o->n : full;
        }
        number += loose;
    }
    return c->stretched ? full : size;
}

struct crash_names {
    struct {
        char name[REC_NAME];
        int inode;
    } v[REC_NAMES];
    int count;
};

static void crash_name_drop(struct crash_names *n, const char *name)
{
    for (int i = 0; i < n->count; i++)
        if (strcmp(n->v[i].name, name) == 0)
            n->v[i--] = n->v[--n->count];
}

static void crash_name_put(struct crash_names *n, const char *name, int inode)
{
    crash_name_drop(n, name);
    if (n->count == REC_NAMES)
        abort();
    snprintf(n->v[n->count].name, REC_NAME, "%s", name);
    n->v[n->count++].inode = inode;
}

static void crash_name_list(const struct crash_view *v, size_t count, struct crash_names *n)
{
    n->count = 0;
    for (int i = 0; i < v->r->base_count; i++)
        crash_name_put(n, v->r->base[i].name, i);
    for (size_t i = 0; i < count; i++) {
        const struct rec_op *o = &v->r->ops[v->names[i]];
        if (o->kind != REC_CREATE)
            crash_name_drop(n, o->name);
        if (o->kind != REC_UNLINK)
            crash_name_put(n, o->kind == REC_CREATE ? o->name : o->other, o->inode);
    }
}

static void crash_remove(void *arg, const char *name, bool is_dir)
{
    char path[2 * SYS_PATH_MAX];
    (void)is_dir;
    snprintf(path, sizeof path, "%s/%s", (const char *)arg, name);
    if (sys_unlink(path))
        abort();
}

/* Empties dir and makes the state there. Returns a hash of it. */
static uint64_t crash_make(const struct crash_view *v, const struct crash_choice *c,
                           const char *dir)
{
    static uint8_t bytes[FILE_SIZE_MAX];
    struct crash_names *n = sys_alloc(sizeof *n);
    uint64_t hash = 0;
    if (sys_dir_list(dir, crash_remove, (void *)(uintptr_t)dir))
        abort();
    crash_name_list(v, c->names, n);
    for (int i = 0; i < n->count; i++) {
        char path[2 * SYS_PATH_MAX];
        struct sys_file *f = NULL;
        size_t size = crash_contents(v, c, n->v[i].inode, bytes);
        snprintf(path, sizeof path, "%s/%s", dir, n->v[i].name);
        if (sys_file_open(path, SYS_OPEN_WRITE | SYS_OPEN_CREATE, &f) ||
            (size && sys_file_write(f, 0, bytes, size)))
            abort();
        sys_file_close(f);
        hash += XXH64(bytes, size, XXH64(n->v[i].name, strlen(n->v[i].name), 0));
        memset(bytes, 0, size);
    }
    sys_free(n);
    return hash;
}
