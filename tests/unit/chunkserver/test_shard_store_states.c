/* Every state in which a crash can leave a disk: workloads (puts, second commits, deletes, compaction,
 * index flushes, a commit that comes late, a close and an open, a recovery from a crash) are recorded change by change, replayed to every
 * prefix with every legal loss of what was not synced (all subsets where they are few, seeded samples
 * beyond), and each state opened with its index, with the index lost, and with the index as it was at
 * an earlier sync. Of each state:
 *
 *   a shard whose write was acknowledged, and which was not deleted since, reads right;
 *   one that was never begun is not there; of all others the bytes are right or it is not there;
 *   one whose delete was acknowledged before a flush that has ended is not there with its own index.
 *     Without it, or with an older one, it may reappear: metadata does not know it, and the sweep
 *     of unknown shards removes it. What is left of its record may fail its checksums, never read wrong;
 *   what the store counts and lists is what can be read; and the disk takes writes again.
 *
 * CAIRN_LONG=1 tries many more. */
#include <stdlib.h>
#include "tests/unit/chunkserver/disk_replay.h"

enum { DISK_HOST = 2, SMALL_FIRST = 64, LARGE_FIRST = 160, LATE = 62, SHARDS = 180 };
enum { DISK_BYTES = 64 << 20 }; /* with a ballast of 1 MiB */

enum what { WHAT_PUT, WHAT_DELETE, WHAT_FLUSH, WHAT_READY };

struct workload {
    void (*prepare)(struct shard_store *s); /* before the first crash */
    void (*run)(struct shard_store *s);
    bool no_holes;
    bool crash; /* after run: what is tried are the states of the recovery */
    int64_t compact_interval;
};

/* The states of one workload: the test's, not a simulated process's memory. */
static struct recording recording;
static struct replay replay;
static bool finished;

struct tried {
    uint64_t points, states, opens;
};

static uint32_t length_of(uint32_t number)
{
    static const uint32_t lengths[8] = {300, 70000, 5000, 200000, 30000, 20000, 131072, 1};
    return number == LATE          ? 700000
           : number >= LARGE_FIRST ? 200000
           : number >= SMALL_FIRST ? 30000
                                   : lengths[number % 8];
}

static void put(struct shard_store *s, uint32_t number)
{
    recording_mark(&recording, MARK_BEGUN, WHAT_PUT, number);
    CHECK_OK(kit_write(s, number, length_of(number)));
    recording_mark(&recording, MARK_DONE, WHAT_PUT, number);
}

static void drop(struct shard_store *s, uint32_t number)
{
    recording_mark(&recording, MARK_BEGUN, WHAT_DELETE, number);
    CHECK_OK(kit_delete(s, number));
    recording_mark(&recording, MARK_DONE, WHAT_DELETE, number);
}

static void flush(struct shard_store *s)
{
    recording_mark(&recording, MARK_BEGUN, WHAT_FLUSH, 0);
    CHECK_OK(shard_store_flush(s, KIT_DEADLINE));
    recording_mark(&recording, MARK_DONE, WHAT_FLUSH, 0);
}

/* ---- workloads ---- */

struct hand {
    struct shard_store *s;
    uint32_t first;
};

static void hand_main(void *arg)
{
    struct hand *h = arg;
    for (uint32_t i = 0; i < 6; i++) {
        put(h->s, h->first + i);
        if (i % 2)
            drop(h->s, h->first + i - 1);
        if (i == 4)
            put(h->s, h->first + 3); /* once more */
    }
}

static void mixed(struct shard_store *s)
{
    struct hand hands[3];
    struct sys_thread *threads[3];
    for (uint32_t i = 0; i < 3; i++) {
        hands[i] = (struct hand){s, i * 7};
        CHECK_OK(sys_thread_start(&threads[i], "hand", 0, hand_main, &hands[i]));
    }
    sys_sleep_until(sys_now() + 5 * SYS_MS);
    flush(s);
    for (int i = 0; i < 3; i++)
        sys_thread_join(threads[i]);
    drop(s, 1);
    flush(s);
    put(s, 30);
}

/* Until a moment at which much is under way. */
static void mixed_cut(struct shard_store *s)
{
    finished = true;
    sim_crash_at(sim_self(), 330 + suite_seed() % 60);
    mixed(s);
}

/* Extents full of shards, of which the run leaves little alive: they are emptied and removed while some
 * of what moves is deleted and written anew. */
static void fill(struct shard_store *s, uint32_t first, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        put(s, first + i);
    flush(s);
}

static void thin_out(struct shard_store *s, uint32_t first, uint32_t count, uint32_t keep)
{
    for (uint32_t i = 0; i < count; i++)
        if (i % keep)
            drop(s, first + i);
    flush(s);
    struct shard_store_stats st = {0};
    int64_t until = sys_now() + 20 * SYS_SECOND;
    for (uint32_t n = 0; st.extents_removed < 2 && sys_now() < until; n++) {
        if (n < 3) {
            put(s, 10 + n);
            put(s, first + n * keep); /* a second commit */
            drop(s, first + (3 + n) * keep % count);
        }
        sys_sleep_until(sys_now() + 2 * SYS_MS);
        shard_store_stats(s, &st);
    }
    CHECK(st.extents_removed >= 2);
    flush(s);
}

static void fill_small(struct shard_store *s)
{
    fill(s, SMALL_FIRST, 76);
}

static void thin_out_small(struct shard_store *s)
{
    thin_out(s, SMALL_FIRST, 76, 9);
}

static void fill_large(struct shard_store *s)
{
    fill(s, LARGE_FIRST, 15);
}

static void thin_out_large(struct shard_store *s)
{
    thin_out(s, LARGE_FIRST, 15, 5);
}

static void late_done(void *arg, enum err result)
{
    CHECK_OK(result);
    recording_mark(&recording, MARK_DONE, WHAT_PUT, LATE);
    sys_event_set(arg);
}

/* A record that has its sequence and lies below others, and whose last write takes long: what comes
 * after it is committed, flushed and deleted meanwhile. */
static void late(struct shard_store *s)
{
    struct stored_shard shard = kit_shard(LATE, length_of(LATE));
    struct shard_writer *w = NULL;
    struct sys_event *done = NULL;
    uint8_t *data = sys_alloc(shard.length + 8);
    uint32_t crcs[16], table = 0, most = 9 * SHARD_BLOCK;
    kit_fill(LATE, data, shard.length);
    for (uint32_t b = 0; b < shard_block_count(shard.length); b++) {
        uint32_t from = b * SHARD_BLOCK, n = shard.length - from;
        crcs[b] = shard_crc(&shard.id, b, data + from, n < SHARD_BLOCK ? n : SHARD_BLOCK);
        table = shard_crc_of_crcs(table, &crcs[b], 1);
    }
    put(s, 16); /* begins a run of small ones below it */
    recording_mark(&recording, MARK_BEGUN, WHAT_PUT, LATE);
    CHECK_OK(shard_writer_open(s, &shard, &w));
    CHECK_OK(shard_writer_append(w, data, most, crcs, KIT_DEADLINE));
    sys_sleep_until(sys_now() + 20 * SYS_MS);
    put(s, 3); /* fills the extent */
    put(s, 6);
    put(s, 2);
    CHECK_OK(sys_event_new(&done));
    sim_disk_slow(DISK_HOST, "/disk/extents/00000001", 150 * SYS_MS);
    CHECK_OK(shard_writer_append(w, data + most, shard.length - most, crcs + 9, KIT_DEADLINE));
    shard_writer_commit(w, table, late_done, done);
    sys_sleep_until(sys_now() + 5 * SYS_MS);
    put(s, 11);
    put(s, 4);
    sys_sleep_until(sys_now() + 30 * SYS_MS); /* a flush of their rows */
    drop(s, 11);
    drop(s, 4);
    sys_sleep_until(sys_now() + 40 * SYS_MS); /* and one of their deletion */
    struct sys_poll p = {.event = done};
    CHECK_OK(sys_poll(&p, 1, KIT_DEADLINE));
    sim_disk_slow(DISK_HOST, "/disk/extents/00000001", 0);
    flush(s);
    sys_event_free(done);
    sys_free(data);
}

static struct shard_store *open_disk(const char *dir, int64_t compact_interval)
{
    struct shard_store *s = NULL;
    struct shard_store_config c = kit_config(dir);
    c.extent_bytes = 1 << 20;
    c.staging_max = 4;
    c.flush_interval = 20 * SYS_MS;
    c.compact_interval = compact_interval;
    CHECK_OK(shard_store_open(&s, &c));
    if (s)
        kit_await(s);
    return s;
}

static void go_on_main(void *arg);

static void record_main(void *arg)
{
    const struct workload *w = arg;
    struct shard_store *s;
    CHECK_OK(sys_mkdir("/disk"));
    CHECK_OK(sys_dir_sync("/"));
    recording.disk = sim_disk_number(DISK_HOST, "/disk");
    CHECK_OK(kit_format("/disk"));
    s = open_disk("/disk", w->compact_interval);
    if (w->prepare)
        w->prepare(s);
    if (!w->crash)
        recording_mark(&recording, MARK_DONE, WHAT_READY, 0);
    w->run(s);
    if (w->crash) {
        finished = true;
        sim_crash(sim_self());
    }
    shard_store_close(s);
    go_on_main(arg);
}

/* Another incarnation. */
static void go_on_main(void *arg)
{
    const struct workload *w = arg;
    struct shard_store *s = open_disk("/disk", w->compact_interval);
    put(s, 60);
    drop(s, 60);
    put(s, 61);
    flush(s);
    shard_store_close(s);
    finished = true;
}

/* ---- what must be there ---- */

enum fate { NEVER, BEGUN, THERE, LEAVING, DELETED, GONE };

struct expected {
    uint8_t fate[SHARDS];
    uint8_t deleted_at_flush[SHARDS]; /* answered when the flush began */
};

static void expect(struct expected *x, const struct replay_change *c)
{
    uint8_t *f = &x->fate[c->shard];
    if (c->what == WHAT_PUT && *f != THERE)
        *f = c->mark == MARK_DONE ? THERE : *f == NEVER ? BEGUN : *f;
    if (c->what == WHAT_DELETE)
        *f = c->mark == MARK_DONE ? DELETED : LEAVING;
    /* A crash before this: a delete that no flush has followed may have been undone for good. */
    for (uint32_t i = 0; c->what == WHAT_READY && i < SHARDS; i++)
        if (x->fate[i] == DELETED)
            x->fate[i] = LEAVING;
    for (uint32_t i = 0; c->what == WHAT_FLUSH && i < SHARDS; i++) {
        if (c->mark == MARK_BEGUN)
            x->deleted_at_flush[i] = x->fate[i] == DELETED;
        else if (x->deleted_at_flush[i] && x->fate[i] == DELETED)
            x->fate[i] = GONE;
    }
}

enum index_as { AS_IT_IS, LOST, EARLIER, INDEX_WAYS };

static bool is_allowed(enum fate fate, enum err e, enum index_as index)
{
    switch (fate) {
    case NEVER:
        return e == ERR_NOT_FOUND;
    case BEGUN:
        return e == OK || e == ERR_NOT_FOUND;
    case THERE:
        return e == OK;
    case LEAVING:
    case DELETED:
        return e == OK || e == ERR_NOT_FOUND || (index != AS_IT_IS && e == ERR_CORRUPT);
    default:
        return e == ERR_NOT_FOUND || (index != AS_IT_IS && (e == OK || e == ERR_CORRUPT));
    }
}

static void check_disk(const struct expected *x, enum index_as index, const char *where)
{
    struct shard_store *s = open_disk("/image", SYS_SECOND);
    struct shard_store_stats st;
    uint32_t found = 0;
    if (!suite_check(s != NULL, __FILE__, __LINE__, "%s: no disk", where))
        return;
    for (uint32_t i = 0; i < SHARDS; i++) {
        /* Of those that were never begun a few stand for all. */
        if (x->fate[i] == NEVER && i % 32)
            continue;
        enum err e = kit_read(s, i, length_of(i), 0, length_of(i));
        found += e == OK || e == ERR_CORRUPT;
        suite_check(is_allowed((enum fate)x->fate[i], e, index), __FILE__, __LINE__,
                    "%s: shard %u, fate %d, reads %s", where, i, x->fate[i], err_name(e));
    }
    shard_store_stats(s, &st);
    CHECK(!st.failed);
    suite_check(index != AS_IT_IS || st.index_rebuilds == 0, __FILE__, __LINE__,
                "%s: a sound index was dropped", where);
    if (index != EARLIER) {
        suite_check(kit_count(s) == found && st.shards == found, __FILE__, __LINE__,
                    "%s: %u readable, %u listed, %u counted", where, found, kit_count(s),
                    (uint32_t)st.shards);
    }
    CHECK_OK(kit_write(s, 1000, 70000));
    CHECK_OK(kit_read(s, 1000, 70000, 0, 70000));
    shard_store_close(s);
}

/* ---- the states ---- */

/* The index's file as it was at each of its syncs. */
struct earlier {
    uint8_t *bytes[512];
    uint64_t size[512];
    size_t count;
};

struct checker {
    struct expected expected;
    struct earlier earlier;
    struct tried tried;
    uint64_t index_node; /* the file of the index */
    uint64_t random;
    uint8_t *scratch;
    bool long_form;
};

static void keep_index(struct checker *c, const struct replay_change *rc)
{
    const struct sim_disk_change *change = &rc->change;
    if (rc->mark)
        return;
    if (change->kind == SIM_CHANGE_NAME && change->to && strcmp(change->to_name, "log") == 0)
        c->index_node = change->file;
    if (change->kind != SIM_CHANGE_SYNC || change->file != c->index_node || c->earlier.count == 512)
        return;
    const struct replay_node *n = replay_node(&replay, c->index_node);
    if (!n->bytes)
        return;
    size_t at = c->earlier.count++;
    c->earlier.bytes[at] = sys_alloc(n->size + 1);
    memcpy(c->earlier.bytes[at], n->bytes, n->size);
    c->earlier.size[at] = n->size;
}

/* One state, opened in one way. */
static void try_state(struct checker *c, const struct replay_choice *choice, enum index_as index,
                      size_t earlier)
{
    char where[96];
    snprintf(where, sizeof where, "after change %zu, keep %llx%s%s, index %d (%zu)", replay.next,
             (unsigned long long)choice->keep,
             choice->all    ? " all"
             : choice->none ? " none"
                            : "",
             choice->torn ? " torn" : "", index, earlier);
    replay_put(&replay, recording.disk, "/image", choice, c->scratch);
    if (index != AS_IT_IS) {
        enum err e = sim_disk_wipe(DISK_HOST, "/image/index");
        CHECK(e == OK || e == ERR_NOT_FOUND);
        if (e == ERR_NOT_FOUND)
            CHECK_OK(sys_mkdir("/image/index"));
    }
    if (index == EARLIER)
        replay_put_file("/image/index/log", c->earlier.bytes[earlier], c->earlier.size[earlier]);
    check_disk(&c->expected, index, where);
    CHECK_OK(sim_disk_wipe(DISK_HOST, "/image"));
    c->tried.opens++;
}

/* The short form opens each state in one way, in turn. */
static void try_choice(struct checker *c, const struct replay_choice *choice)
{
    unsigned turn = c->tried.states++ % 4;
    size_t earlier = c->earlier.count ? replay_draw(&c->random) % c->earlier.count : 0;
    bool known = c->earlier.count > 0;
    if (c->long_form || turn % 2 == 0 || (turn == 3 && !known))
        try_state(c, choice, AS_IT_IS, 0);
    if (c->long_form || turn == 1)
        try_state(c, choice, LOST, 0);
    if (known && (c->long_form || turn == 3))
        try_state(c, choice, EARLIER, earlier);
}

/* Every loss that a crash here can mean. */
static void try_point(struct checker *c)
{
    size_t pending = replay_pending(&replay);
    size_t few = c->long_form ? 8 : 2, samples = c->long_form ? 48 : 1;
    struct replay_choice choice = {.all = true};
    c->tried.points++;
    try_choice(c, &choice);
    if (pending == 0)
        return;
    choice = (struct replay_choice){.none = true};
    try_choice(c, &choice);
    if (pending <= few) {
        for (uint64_t keep = 1; keep + 1 < UINT64_C(1) << pending; keep++) {
            choice = (struct replay_choice){.keep = keep};
            try_choice(c, &choice);
        }
    }
    for (size_t i = 0; i < samples; i++) {
        choice = (struct replay_choice){.keep = replay_draw(&c->random),
                                        .torn = i % 2 == 0,
                                        .random = replay_draw(&c->random) | 1};
        try_choice(c, &choice);
    }
}

static void check_main(void *arg)
{
    struct checker *c = arg;
    bool ready = false;
    c->scratch = sys_alloc(REPLAY_FILE);
    CHECK_OK(sys_mkdir("/image"));
    while (replay.next < recording.count) {
        const struct replay_change *rc = &recording.changes[replay.next];
        bool point = replay_step(&replay);
        if (rc->mark)
            expect(&c->expected, rc);
        keep_index(c, rc);
        ready |= rc->mark && rc->what == WHAT_READY;
        if (ready && point)
            try_point(c);
    }
    replay_release(&replay);
    for (size_t i = 0; i < c->earlier.count; i++)
        sys_free(c->earlier.bytes[i]);
    sys_free(c->scratch);
    finished = true;
}

static void run(const char *name, void (*main_function)(void *), void *arg)
{
    finished = false;
    int pid = sim_spawn(name, DISK_HOST, main_function, arg);
    while (sim_alive(pid))
        sys_sleep_until(sys_now() + SYS_MS);
    CHECK(finished);
}

/* What the crash has left, in memory that outlives the process. */
static void load_main(void *arg)
{
    (void)arg;
    replay_load(&recording, &replay, DISK_HOST, "/disk");
    finished = true;
}

static void all_states(struct workload *w)
{
    struct checker c = {.random = suite_seed() | 1,
                        .long_form = getenv("CAIRN_LONG") && *getenv("CAIRN_LONG")};
    memset(&recording, 0, offsetof(struct recording, pool));
    recording.used = 0;
    memset(&replay, 0, sizeof replay);
    replay.recording = &recording;
    sim_disk_limit(DISK_HOST, DISK_BYTES);
    sim_disk_no_holes(DISK_HOST, w->no_holes);
    sim_disk_observe(DISK_HOST, recording_see, &recording);
    recording.deaf = w->crash;
    run("record", record_main, w);
    if (w->crash) {
        recording_mark(&recording, MARK_DONE, WHAT_READY, 0);
        recording.deaf = false;
        run("load", load_main, NULL);
        run("go on", go_on_main, w);
    }
    sim_disk_observe(DISK_HOST, NULL, NULL);
    CHECK_OK(sim_disk_wipe(DISK_HOST, "/disk"));
    run("check", check_main, &c);
    printf("\n    %zu changes, %llu crash points, %llu states, opened %llu times ", recording.count,
           (unsigned long long)c.tried.points, (unsigned long long)c.tried.states,
           (unsigned long long)c.tried.opens);
    CHECK(c.tried.points > 25 && c.tried.opens > c.tried.points);
}

static void mixed_states(void)
{
    all_states(&(struct workload){.run = mixed, .compact_interval = 60 * SYS_SECOND});
}

static void late_states(void)
{
    all_states(&(struct workload){.run = late, .compact_interval = 60 * SYS_SECOND});
}

static void recovery_states(void)
{
    all_states(
        &(struct workload){.run = mixed_cut, .compact_interval = 60 * SYS_SECOND, .crash = true});
}

static void compaction_states(void)
{
    all_states(&(struct workload){
        .prepare = fill_small, .run = thin_out_small, .compact_interval = 5 * SYS_MS});
}

static void compaction_states_without_holes(void)
{
    all_states(&(struct workload){.prepare = fill_large,
                                  .run = thin_out_large,
                                  .compact_interval = 5 * SYS_MS,
                                  .no_holes = true});
}

static const struct test tests[] = {
    {"all states: puts, deletes, flushes", mixed_states},
    {"all states: a late commit", late_states},
    {"all states: recovery from a crash", recovery_states},
    {"all states: compaction", compaction_states},
    {"all states: compaction without holes", compaction_states_without_holes},
    {0},
};
SUITE("shard store, states", tests)
