/* A skip list of keys, each with its versions, newest first.
 *
 *  T1  Versions of a node are in falling order of sequence, at least one of them; the oldest is no
 *      deletion.
 *  T2  A version is kept while it is the newest or some snapshot sees it.
 *  T3  A node is in the garbage list exactly when it has more than one version. */
#include "common/kv/memory/table_internal.h"
#include <assert.h>
#include <string.h>
#include "common/base/alloc.h"

int key_compare(struct kv_slice a, struct kv_slice b)
{
    size_t n = a.length < b.length ? a.length : b.length;
    int order = n ? memcmp(a.data, b.data, n) : 0;
    if (order)
        return order;
    return (a.length > b.length) - (a.length < b.length);
}

static struct kv_slice node_key(const struct node *n)
{
    return (struct kv_slice){n->key, n->key_length};
}

static struct node *node_new(unsigned height, struct kv_slice key)
{
    struct node *n = sys_alloc(sizeof *n + height * sizeof n->next[0] + key.length);
    n->height = height;
    n->key = (uint8_t *)(n->next + height);
    n->key_length = key.length;
    if (key.length)
        memcpy(n->key, key.data, key.length);
    return n;
}

void table_init(struct table *t)
{
    *t = (struct table){.random = 0x9e3779b97f4a7c15u};
    t->head = node_new(TABLE_HEIGHT_MAX, (struct kv_slice){NULL, 0});
}

static void node_free(struct node *n)
{
    for (struct version *v = n->newest, *older; v; v = older) {
        older = v->older;
        sys_free(v);
    }
    sys_free(n);
}

void table_release(struct table *t)
{
    assert(!t->oldest); /* snapshots and iterators are freed before their store is closed */
    for (struct node *n = t->head, *next; n; n = next) {
        next = n->next[0];
        node_free(n);
    }
    *t = (struct table){0};
}

/* The last node before key at every level. */
static void find_before(const struct table *t, struct kv_slice key,
                        struct node *before[TABLE_HEIGHT_MAX])
{
    struct node *n = t->head;
    for (unsigned level = TABLE_HEIGHT_MAX; level-- > 0;) {
        while (n->next[level] && key_compare(node_key(n->next[level]), key) < 0)
            n = n->next[level];
        before[level] = n;
    }
}

struct node *table_seek(const struct table *t, struct kv_slice key)
{
    struct node *before[TABLE_HEIGHT_MAX];
    find_before(t, key, before);
    return before[0]->next[0];
}

const struct version *node_at(const struct node *n, uint64_t sequence)
{
    const struct version *v = n->newest;
    while (v && v->sequence > sequence)
        v = v->older;
    return v && !v->deleted ? v : NULL;
}

static unsigned random_height(struct table *t)
{
    t->random ^= t->random << 13;
    t->random ^= t->random >> 7;
    t->random ^= t->random << 17;
    unsigned height = 1;
    for (uint64_t bits = t->random >> 20; height < TABLE_HEIGHT_MAX && (bits & 3) == 0; bits >>= 2)
        height++;
    return height;
}

static struct node *insert(struct table *t, struct kv_slice key, struct node **before)
{
    struct node *n = node_new(random_height(t), key);
    for (unsigned level = 0; level < n->height; level++) {
        n->next[level] = before[level]->next[level];
        before[level]->next[level] = n;
    }
    n->previous = before[0] == t->head ? NULL : before[0];
    if (n->next[0])
        n->next[0]->previous = n;
    else
        t->last = n;
    return n;
}

static void garbage_remove(struct table *t, struct node *n)
{
    if (!n->garbage)
        return;
    if (n->garbage_previous)
        n->garbage_previous->garbage_next = n->garbage_next;
    else
        t->garbage = n->garbage_next;
    if (n->garbage_next)
        n->garbage_next->garbage_previous = n->garbage_previous;
    n->garbage_previous = n->garbage_next = NULL;
    n->garbage = false;
}

static void garbage_add(struct table *t, struct node *n)
{
    if (n->garbage)
        return;
    n->garbage_next = t->garbage;
    if (t->garbage)
        t->garbage->garbage_previous = n;
    t->garbage = n;
    n->garbage = true;
}

static void remove_node(struct table *t, struct node *n)
{
    struct node *before[TABLE_HEIGHT_MAX];
    find_before(t, node_key(n), before);
    for (unsigned level = 0; level < n->height; level++) {
        assert(before[level]->next[level] == n);
        before[level]->next[level] = n->next[level];
    }
    if (n->next[0])
        n->next[0]->previous = n->previous;
    else
        t->last = n->previous;
    garbage_remove(t, n);
    node_free(n);
}

/* Whether a snapshot lies in [from, to). */
static bool snapshot_between(const struct table *t, uint64_t from, uint64_t to)
{
    const struct kv_snapshot *s = t->newest;
    while (s && s->sequence >= to)
        s = s->previous;
    return s && s->sequence >= from;
}

/* Restores T1 to T3 of one node, which may vanish. */
static void prune(struct table *t, struct node *n)
{
    for (struct version *newer = n->newest; newer && newer->older;) {
        struct version *v = newer->older;
        if (snapshot_between(t, v->sequence, newer->sequence)) {
            newer = v;
        } else {
            newer->older = v->older;
            sys_free(v);
        }
    }
    /* A deletion of nothing says nothing. */
    for (;;) {
        struct version **last = &n->newest;
        while (*last && (*last)->older)
            last = &(*last)->older;
        if (!*last || !(*last)->deleted)
            break;
        sys_free(*last);
        *last = NULL;
    }
    if (!n->newest)
        remove_node(t, n);
    else if (n->newest->older)
        garbage_add(t, n);
    else
        garbage_remove(t, n);
}

static void count_live(struct table *t, const struct node *n, bool add)
{
    if (!n->newest || n->newest->deleted)
        return;
    uint64_t bytes = n->key_length + n->newest->length;
    t->live_bytes = add ? t->live_bytes + bytes : t->live_bytes - bytes;
    t->live_keys = add ? t->live_keys + 1 : t->live_keys - 1;
}

void table_put(struct table *t, uint64_t sequence, struct kv_slice key,
               const struct kv_slice *value)
{
    struct node *before[TABLE_HEIGHT_MAX];
    find_before(t, key, before);
    struct node *n = before[0]->next[0];
    if (!n || key_compare(node_key(n), key) != 0) {
        if (!value)
            return; /* nothing to delete, for any snapshot */
        n = insert(t, key, before);
    }
    count_live(t, n, false);
    size_t length = value ? value->length : 0;
    struct version *v = sys_alloc(sizeof *v + length);
    v->sequence = sequence;
    v->deleted = !value;
    v->length = length;
    if (length)
        memcpy(v->bytes, value->data, length);
    v->older = n->newest;
    assert(!v->older || v->older->sequence <= sequence);
    n->newest = v;
    count_live(t, n, true);
    prune(t, n);
}

struct kv_snapshot *table_snapshot_new(struct table *t, uint64_t sequence)
{
    struct kv_snapshot *s = sys_alloc(sizeof *s), *at = t->newest;
    while (at && at->sequence > sequence)
        at = at->previous;
    s->sequence = sequence;
    s->previous = at;
    s->next = at ? at->next : t->oldest;
    if (s->previous)
        s->previous->next = s;
    else
        t->oldest = s;
    if (s->next)
        s->next->previous = s;
    else
        t->newest = s;
    return s;
}

void table_snapshot_free(struct table *t, struct kv_snapshot *s)
{
    if (s->previous)
        s->previous->next = s->next;
    else
        t->oldest = s->next;
    if (s->next)
        s->next->previous = s->previous;
    else
        t->newest = s->previous;
    /* Only the last or the oldest one holds back much: others are not worth a walk. */
    bool walk = !s->previous;
    sys_free(s);
    for (struct node *n = walk ? t->garbage : NULL, *next; n; n = next) {
        next = n->garbage_next;
        prune(t, n);
    }
}
