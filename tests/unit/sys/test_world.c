/* The simulator itself: one seed, one run; crashes and what they leave; the network's and the disks'
 * faults; what it refuses. */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common/sys/sim/sim.h"
#include "tests/unit/suite.h"

static int64_t in_ms(int64_t ms)
{
    return sys_now() + ms * SYS_MS;
}

/* ---- the same seed, the same run ---- */

enum { PORT = 7000 };

/* Answers each byte with the same byte, from a thread for each connection's life. */
static void echo_server(void *arg)
{
    (void)arg;
    struct sys_addr a = sim_addr(2, PORT);
    struct sys_socket *l = NULL, *s = NULL;
    if (sys_listen(&a, &l))
        sys_exit(1, "cannot listen");
    while (!sys_event_is_set(sys_stop_event())) {
        if (sys_accept(l, in_ms(20), &s))
            continue;
        uint8_t b[16];
        size_t n, sent;
        while (sys_recv(s, b, sizeof b, in_ms(100), &n) == OK) {
            struct sys_slice v = {b, n};
            if (sys_send(s, &v, 1, false, in_ms(100), &sent))
                break;
        }
        sys_socket_close(s);
    }
    sys_socket_close(l);
}

struct echo_result {
    int answered, lost;
    bool done;
};

static bool ask(struct sys_socket *s, uint8_t byte)
{
    struct sys_slice v = {&byte, 1};
    uint8_t got = 0;
    size_t n;
    return sys_send(s, &v, 1, false, in_ms(100), &n) == OK &&
           sys_recv(s, &got, 1, in_ms(200), &n) == OK && got == byte;
}

static void echo_client(void *arg)
{
    struct echo_result *r = arg;
    struct sys_addr a = sim_addr(2, PORT);
    struct sys_socket *s = NULL;
    for (int i = 0; i < 200; i++) {
        if (!s && sys_connect(&a, in_ms(100), &s) != OK) {
            s = NULL;
            r->lost++;
            continue;
        }
        if (ask(s, (uint8_t)i)) {
            r->answered++;
        } else {
            r->lost++;
            sys_socket_close(s);
            s = NULL;
        }
    }
    sys_socket_close(s);
    r->done = true;
}

static bool echo_done(void *arg)
{
    return ((struct echo_result *)arg)->done;
}

static struct sim_stats echo_world(uint64_t seed, struct echo_result *r)
{
    *r = (struct echo_result){0};
    sim_init(seed);
    int server = sim_spawn("server", 2, echo_server, NULL);
    sim_restart_after(server, 5 * SYS_MS);
    sim_random_crashes(server, 300);
    sim_random_resets(100);
    sim_spawn("client", 1, echo_client, r);
    CHECK(sim_run(600 * SYS_SECOND, echo_done, r));
    return sim_end();
}

static void same_seed_same_run(void)
{
    uint64_t other = 0, crashes = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct echo_result a, b;
        struct sim_stats first = echo_world(seed, &a), second = echo_world(seed, &b);
        CHECK_EQ(first.hash, second.hash);
        CHECK_EQ(first.points, second.points);
        CHECK_EQ(first.now, second.now);
        CHECK(a.answered == b.answered && a.lost == b.lost);
        CHECK(a.answered > 20);
        crashes += first.crashes;
        CHECK(first.hash != other);
        other = first.hash;
    }
    CHECK(crashes > 10);
}

/* ---- a crash at every primitive of a small writer ---- */

/* Writes records 1, 2, .. of one block each and syncs each; what has been acknowledged is counted in
 * memory outside of the process. */
struct writer {
    int acknowledged, highest;
    bool renamed, finished;
};
enum { RECORDS = 4 };

static void write_records(void *arg)
{
    struct writer *w = arg;
    struct sys_file *f = NULL;
    uint8_t *block = sys_alloc(SYS_BLOCK);
    if (sys_file_open("/new", SYS_OPEN_WRITE | SYS_OPEN_CREATE, &f) || sys_dir_sync("/"))
        sys_exit(1, "open");
    for (int i = 0; i < RECORDS; i++) {
        memset(block, i + 1, SYS_BLOCK);
        w->highest = i + 1;
        if (sys_file_write(f, (uint64_t)i * SYS_BLOCK, block, SYS_BLOCK) || sys_file_sync(f))
            sys_exit(1, "write");
        w->acknowledged = i + 1;
    }
    sys_file_close(f);
    if (sys_rename("/new", "/old") || sys_dir_sync("/"))
        sys_exit(1, "rename");
    w->renamed = true;
    sys_free(block);
    w->finished = true;
}

struct found {
    bool exists, torn, done;
    int whole; /* records that are all there, from the first on */
};

static void read_records(void *arg)
{
    struct found *r = arg;
    struct sys_file *f = NULL;
    uint8_t block[SYS_BLOCK];
    size_t n;
    bool old = sys_file_open("/old", SYS_OPEN_READ, &f) == OK;
    if (!old && sys_file_open("/new", SYS_OPEN_READ, &f) != OK) {
        r->done = true;
        return;
    }
    r->exists = true;
    for (int i = 0; i < RECORDS; i++) {
        if (sys_file_read(f, (uint64_t)i * SYS_BLOCK, block, SYS_BLOCK, &n))
            break;
        size_t same = 0;
        for (size_t k = 0; k < n; k++)
            same += block[k] == i + 1;
        r->whole += same == SYS_BLOCK;
        r->torn = r->torn || (same > 0 && same < SYS_BLOCK);
    }
    sys_file_close(f);
    r->done = true;
}

static void crash_everywhere(void)
{
    int torn = 0, vanished = 0, ahead = 0;
    bool finished = false;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        finished = false;
        for (uint64_t n = 1; n < 200 && !finished; n++) {
            struct writer w = {0};
            struct found r = {0};
            sim_init(seed);
            int pid = sim_spawn("writer", 1, write_records, &w);
            sim_crash_at(pid, n);
            CHECK(sim_run(60 * SYS_SECOND, NULL, NULL));
            finished = w.finished;
            CHECK(sim_exit_status(pid) == (finished ? 0 : -1));
            sim_spawn("reader", 1, read_records, &r);
            CHECK(sim_run(60 * SYS_SECOND, NULL, NULL) && r.done);
            struct sim_stats stats = sim_end();
            CHECK(r.whole >= w.acknowledged && r.whole <= w.highest);
            CHECK(w.acknowledged == 0 || r.exists);
            CHECK(finished || stats.crashes == 1);
            CHECK(finished || w.highest == 0 || stats.blocks_freed_by_crash == 1);
            torn += r.torn;
            vanished += !r.exists;
            ahead += r.whole > w.acknowledged;
        }
        CHECK(finished);
    }
    CHECK(torn > 0);
    CHECK(vanished > 0);
    CHECK(ahead > 0);
}

/* ---- disk faults: fail the 1st, 2nd, .. file primitive ---- */

static enum err careful_write(void)
{
    struct sys_file *f = NULL;
    enum err e = sys_file_open("/disk/f", SYS_OPEN_WRITE | SYS_OPEN_CREATE, &f);
    if (e)
        return e;
    e = sys_file_write(f, 0, "12345678", 8);
    if (!e)
        e = sys_file_sync(f);
    sys_file_close(f);
    return e ? e : sys_dir_sync("/disk");
}

static void disk_fault_sweep(void)
{
    CHECK_OK(sys_mkdir("/disk"));
    CHECK_OK(sys_mkdir("/other"));
    uint64_t nth = 1;
    for (;; nth++) {
        sim_disk_fail(1, "/disk", nth, ERR_IO, false);
        enum err e = careful_write();
        CHECK_OK(sys_dir_sync("/other")); /* no business of this disk's */
        if (!e)
            break;
        CHECK_ERR(e, ERR_IO);
    }
    CHECK_EQ(nth, 5); /* open, write, sync, dir_sync failed one after the other */
    sim_disk_fail(1, "/disk", 2, ERR_READ_ONLY, true);
    CHECK_ERR(careful_write(), ERR_READ_ONLY);
    CHECK_ERR(careful_write(), ERR_READ_ONLY);
    sim_disk_fail(1, "/disk", 0, OK, false);
    CHECK_OK(careful_write());
}

static void disk_full(void)
{
    struct sys_file *f = NULL;
    uint8_t *data = sys_alloc(64 * SYS_BLOCK);
    uint64_t total = 0, left = 0;
    sim_disk_limit(1, 32 * SYS_BLOCK);
    CHECK_OK(sys_file_open("/test/f", SYS_OPEN_WRITE | SYS_OPEN_CREATE, &f));
    CHECK_OK(sys_file_write(f, 0, data, 30 * SYS_BLOCK));
    CHECK_OK(sys_disk_space("/", &total, &left));
    CHECK(total == 32 * SYS_BLOCK && left == 2 * SYS_BLOCK);
    CHECK_ERR(sys_file_write(f, 30 * SYS_BLOCK, data, 3 * SYS_BLOCK), ERR_NO_SPACE);
    CHECK_OK(sys_file_write(f, 0, data, 30 * SYS_BLOCK)); /* in place */
    CHECK_OK(sys_file_punch(f, 0, 10 * SYS_BLOCK));
    CHECK_OK(sys_file_allocate(f, 32 * SYS_BLOCK, 10 * SYS_BLOCK));
    CHECK_ERR(sys_file_allocate(f, 50 * SYS_BLOCK, SYS_BLOCK), ERR_NO_SPACE);
    sys_file_close(f);
    CHECK_OK(sys_unlink("/test/f"));
    CHECK_OK(sys_disk_space("/", &total, &left));
    CHECK_EQ(left, 32 * SYS_BLOCK);
    sys_free(data);
}

static void disk_rot_and_wipe(void)
{
    struct sys_file *f = NULL;
    char got[4];
    size_t n;
    CHECK_OK(sys_file_open("/test/f", SYS_OPEN_WRITE | SYS_OPEN_CREATE, &f));
    CHECK_OK(sys_file_write(f, 0, "abcd", 4));
    CHECK_OK(sim_disk_flip(1, "/test/f", 1, 1));
    CHECK_OK(sys_file_read(f, 0, got, 4, &n));
    CHECK_BYTES(got, "accd", 4);
    CHECK_ERR(sim_disk_flip(1, "/test/f", 4, 1), ERR_INVALID);
    CHECK_ERR(sim_disk_flip(1, "/test/g", 0, 1), ERR_NOT_FOUND);
    sys_file_close(f);
    CHECK_OK(sim_disk_wipe(1, "/test"));
    CHECK_ERR(sys_file_open("/test/f", SYS_OPEN_READ, &f), ERR_NOT_FOUND);
}

/* Writes that nobody synced: which of them survive differs, sector by sector. */
static void write_unsynced(void *arg)
{
    struct sys_file *f = NULL;
    uint8_t *block = sys_alloc(SYS_BLOCK);
    if (sys_file_open("/f", SYS_OPEN_WRITE | SYS_OPEN_CREATE, &f))
        sys_exit(1, "open");
    memset(block, 1, SYS_BLOCK);
    if (sys_file_write(f, 0, block, SYS_BLOCK) || sys_file_sync(f) || sys_dir_sync("/"))
        sys_exit(1, "write");
    memset(block, 2, SYS_BLOCK);
    if (sys_file_write(f, 0, block, SYS_BLOCK))
        sys_exit(1, "write");
    atomic_store((atomic_bool *)arg, true);
    sys_sleep_until(SYS_FOREVER);
}

static void count_sectors(void *arg)
{
    int *count = arg; /* of sectors all 1, all 2, neither */
    struct sys_file *f = NULL;
    uint8_t block[SYS_BLOCK];
    size_t n = 0;
    if (sys_file_open("/f", SYS_OPEN_READ, &f) || sys_file_read(f, 0, block, SYS_BLOCK, &n))
        sys_exit(1, "read");
    for (size_t s = 0; s < n; s += 512) {
        int kind = block[s] == 1 ? 0 : block[s] == 2 ? 1 : 2;
        for (size_t k = 0; k < 512; k++)
            if (block[s + k] != block[s])
                kind = 2;
        count[kind]++;
    }
    sys_file_close(f);
}

static void torn_sectors(void)
{
    int mixed = 0, all_old = 0, all_new = 0;
    for (int i = 0; i < 100; i++) {
        atomic_bool written = false; /* by another process: there is no mutex between two */
        int count[3] = {0};
        int pid = sim_spawn("writer", 2, write_unsynced, &written);
        while (!atomic_load(&written))
            sys_sleep_until(in_ms(1));
        CHECK(sim_leaks(pid).blocks == 1 && sim_leaks(pid).files == 1);
        sim_crash(pid);
        CHECK(!sim_alive(pid) && sim_leaks(pid).blocks == 0);
        int reader = sim_spawn("reader", 2, count_sectors, count);
        while (sim_alive(reader))
            sys_sleep_until(in_ms(1));
        CHECK_EQ(count[0] + count[1], 8);
        all_old += count[0] == 8;
        all_new += count[1] == 8;
        mixed += count[0] > 0 && count[1] > 0;
    }
    CHECK(all_old > 5 && all_new > 5 && mixed > 15);
}

/* ---- the network ---- */

static void echo_forever(void *arg)
{
    echo_server(arg);
}

static void partitions(void)
{
    int server = sim_spawn("server", 2, echo_forever, NULL);
    struct sys_addr a = sim_addr(2, PORT), nobody = sim_addr(77, PORT);
    struct sys_socket *s = NULL, *none = NULL;
    sys_sleep_until(in_ms(5));
    CHECK_ERR(sys_connect(&nobody, in_ms(300), &none), ERR_TIMEOUT);
    CHECK_OK(sys_connect(&a, in_ms(1000), &s));
    CHECK(ask(s, 1));
    sim_partition(1, 2, true);
    struct sys_slice v = {"z", 1};
    uint8_t got = 0;
    size_t n;
    CHECK_OK(sys_send(s, &v, 1, false, 0, &n));
    CHECK_ERR(sys_recv(s, &got, 1, in_ms(60), &n), ERR_TIMEOUT);
    CHECK_ERR(sys_connect(&a, in_ms(300), &none), ERR_TIMEOUT);
    sim_partition(1, 2, false);
    (void)!sys_recv(s, &got, 1, in_ms(1000), &n); /* unless the server gave up on it meanwhile */
    sys_socket_close(s);
    CHECK_OK(sys_connect(&a, in_ms(1000), &s));
    sim_delay(1, 2, 30 * SYS_MS);
    int64_t before = sys_now();
    CHECK(ask(s, 2));
    CHECK(sys_now() - before > 30 * SYS_MS);
    sim_delay(1, 2, 0);
    sim_reset_connections(2, 1);
    CHECK(!ask(s, 3));
    sys_socket_close(s);
    /* Stopped with its event, it leaves nothing behind. */
    sim_stop(server);
    while (sim_alive(server))
        sys_sleep_until(in_ms(5));
    struct sim_leaks left = sim_leaks(server);
    CHECK(left.blocks == 0 && left.sockets == 0 && left.events == 0);
    CHECK_ERR(sys_connect(&a, in_ms(1000), &none), ERR_REFUSED);
}

static void pause_and_restart(void)
{
    int server = sim_spawn("server", 2, echo_forever, NULL);
    struct sys_addr a = sim_addr(2, PORT);
    struct sys_socket *s = NULL;
    sys_sleep_until(in_ms(5));
    sim_pause(server, true);
    CHECK_OK(sys_connect(&a, in_ms(1000), &s)); /* the kernel still answers */
    CHECK(!ask(s, 1));
    sim_pause(server, false);
    sys_socket_close(s);
    sys_sleep_until(in_ms(300));
    CHECK_OK(sys_connect(&a, in_ms(1000), &s));
    CHECK(ask(s, 2));
    sim_crash(server);
    CHECK(!ask(s, 3));
    sys_socket_close(s);
    CHECK_ERR(sys_connect(&a, in_ms(1000), &s), ERR_REFUSED);
    sim_restart(server);
    sys_sleep_until(in_ms(5));
    CHECK_OK(sys_connect(&a, in_ms(1000), &s));
    CHECK(ask(s, 4));
    sys_socket_close(s);
    sim_crash(server);
}

static void sync_slowly(void *arg)
{
    if (careful_write() == OK)
        atomic_store((atomic_bool *)arg, true);
}

static void disk_hangs(void)
{
    atomic_bool written = false;
    CHECK_OK(sys_mkdir("/disk"));
    CHECK_OK(sys_mkdir("/disk2"));
    sim_disk_hang(1, "/disk", true);
    struct sys_thread *t = NULL;
    CHECK_OK(sys_thread_start(&t, "writer", 0, sync_slowly, &written));
    sys_sleep_until(in_ms(5000));
    CHECK(!atomic_load(&written));
    CHECK_OK(sys_dir_sync("/disk2"));
    sim_disk_hang(1, "/disk", false);
    sys_thread_join(t);
    CHECK(atomic_load(&written));
    sim_disk_slow(1, "/", 50 * SYS_MS);
    int64_t before = sys_now();
    CHECK_OK(careful_write());
    CHECK(sys_now() - before >= 200 * SYS_MS);
}

static void disk_unmounted(void)
{
    struct sys_file *f = NULL, *again;
    uint8_t block[SYS_BLOCK] = {7};
    size_t n = 0;
    CHECK_OK(sys_mkdir("/disk"));
    CHECK_OK(sys_mkdir("/disk2"));
    CHECK_OK(sys_file_open("/disk/file", SYS_OPEN_WRITE | SYS_OPEN_CREATE, &f));
    sim_disk_unmount(1, "/disk", true);
    CHECK_OK(sys_file_write(f, 0, block, sizeof block));
    CHECK_OK(sys_file_sync(f));
    CHECK_ERR(sys_file_open("/disk/file", SYS_OPEN_READ, &again), ERR_NOT_FOUND);
    CHECK_ERR(sys_file_open("/disk/new", SYS_OPEN_WRITE | SYS_OPEN_CREATE, &again), ERR_NOT_FOUND);
    CHECK_ERR(sys_dir_sync("/disk"), ERR_NOT_FOUND);
    CHECK_OK(sys_dir_sync("/disk2"));
    sim_disk_unmount(1, "/disk", false);
    CHECK_OK(sys_file_open("/disk/file", SYS_OPEN_READ, &again));
    memset(block, 0, sizeof block);
    CHECK_OK(sys_file_read(again, 0, block, sizeof block, &n));
    CHECK(n == sizeof block && block[0] == 7);
    sys_file_close(again);
    sys_file_close(f);
}

/* ---- what it refuses ---- */

static void relock(void)
{
    struct sys_mutex m;
    sys_mutex_init(&m);
    sys_mutex_lock(&m);
    sys_mutex_lock(&m);
}

static void release_held(void)
{
    struct sys_mutex m;
    sys_mutex_init(&m);
    sys_mutex_lock(&m);
    sys_mutex_release(&m);
}

static void file_under_mutex(void)
{
    struct sys_mutex m;
    sys_mutex_init(&m);
    sys_mutex_lock(&m);
    (void)!sys_mkdir("/x");
}

static void poll_under_mutex(void)
{
    struct sys_mutex m;
    struct sys_poll v = {0};
    sys_mutex_init(&m);
    sys_mutex_lock(&m);
    (void)!sys_poll(&v, 1, 0);
}

static void write_before_block(void)
{
    uint8_t *block = sys_alloc(10);
    block[-1] ^= 1;
    sys_free(block);
}

static void wait_for_nothing(void)
{
    struct sys_event *e = NULL;
    if (sys_event_new(&e))
        return;
    struct sys_poll v = {.event = e};
    (void)!sys_poll(&v, 1, SYS_FOREVER);
}

/* In a copy of this OS process. */
static void check_dies(void (*crime)(void), const char *name)
{
    pid_t child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr))
            _exit(1);
        crime();
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    suite_check(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, __FILE__, __LINE__,
                "%s ends the world", name);
}

static void refusals(void)
{
    check_dies(relock, "locking twice");
    check_dies(release_held, "releasing a held mutex");
    check_dies(file_under_mutex, "a file call with a mutex");
    check_dies(poll_under_mutex, "a poll with a mutex");
    check_dies(wait_for_nothing, "a deadlock");
    check_dies(write_before_block, "a write before a block");
    struct sys_mutex io;
    sys_mutex_init_io(&io);
    sys_mutex_lock(&io);
    CHECK_OK(sys_dir_sync("/"));
    sys_mutex_unlock(&io);
    sys_mutex_release(&io);
}

static const struct test tests[] = {
    {"outside: same seed, same run", same_seed_same_run},
    {"outside: crash everywhere", crash_everywhere},
    {"disk fault sweep", disk_fault_sweep},
    {"disk full", disk_full},
    {"disk rot and wipe", disk_rot_and_wipe},
    {"torn sectors", torn_sectors},
    {"partitions", partitions},
    {"pause and restart", pause_and_restart},
    {"disk hangs", disk_hangs},
    {"disk unmounted", disk_unmounted},
    {"refusals", refusals},
    {0},
};
SUITE("sys world", tests)
