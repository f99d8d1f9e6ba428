/* The faults of the simulated floor, one by one: what each does, that it ends, and that the same seed
 * does it the same way again. Crashes, partitions, resets, hangs and full disks: test_world.c. */
#include <stdatomic.h>
#include <string.h>
#include "common/sys/sim/sim.h"
#include "tests/unit/suite.h"

enum { PORT = 7100, BULK = 200000 };

static int64_t in_ms(int64_t ms)
{
    return sys_now() + ms * SYS_MS;
}

/* ---- the network: a sink on host 2 that answers each connection's first byte with itself ---- */

struct sink {
    struct sys_socket *listener;
    struct sys_socket *accepted[8];
    int count;
};

static void sink_open(struct sink *k)
{
    struct sys_addr a = sim_addr(2, PORT);
    memset(k, 0, sizeof *k);
    CHECK_OK(sys_listen(&a, &k->listener));
}

/* In a process on host 2: takes connections, reads them to their ends, counts bytes; what arrived
 * when is noted in memory of the test. */
struct arrivals {
    atomic_int bytes, ended, order_count;
    uint8_t order[64];
    int64_t at[64];
};

static void serve(void *arg)
{
    struct arrivals *v = arg;
    struct sink k;
    uint8_t buffer[4096];
    sink_open(&k);
    while (!sys_event_is_set(sys_stop_event())) {
        struct sys_poll p[10] = {{.event = sys_stop_event()},
                                 {.socket = k.listener, .want = SYS_READ}};
        for (int i = 0; i < k.count; i++)
            p[2 + i] = (struct sys_poll){.socket = k.accepted[i], .want = SYS_READ};
        if (sys_poll(p, 2 + (size_t)k.count, SYS_FOREVER))
            break;
        for (int i = 0; i < k.count; i++) {
            size_t n = 0;
            if (!p[2 + i].ready)
                continue;
            enum err e = sys_recv(k.accepted[i], buffer, sizeof buffer, 0, &n);
            if (!e && n > 0 && v->order_count < 64) {
                v->at[v->order_count] = sim_now();
                v->order[v->order_count] = buffer[0];
                v->order_count++;
            }
            v->bytes += (int)n;
            if (e == ERR_CLOSED) {
                sys_socket_close(k.accepted[i]);
                k.accepted[i] = NULL;
                v->ended++;
            }
        }
        if (p[1].ready && k.count < 8 &&
            sys_accept(k.listener, in_ms(10), &k.accepted[k.count]) == OK)
            k.count++;
    }
    for (int i = 0; i < k.count; i++)
        sys_socket_close(k.accepted[i]);
    sys_socket_close(k.listener);
}

static int serve_on_2(struct arrivals *v)
{
    memset(v, 0, sizeof *v);
    int pid = sim_spawn("server", 2, serve, v);
    sys_sleep_until(in_ms(5));
    return pid;
}

static void end_of(int pid)
{
    sim_stop(pid);
    while (sim_alive(pid))
        sys_sleep_until(in_ms(5));
    struct sim_leaks left = sim_leaks(pid);
    CHECK(left.sockets == 0 && left.blocks == 0);
}

static struct sys_socket *connect_to_2(void)
{
    struct sys_addr a = sim_addr(2, PORT);
    struct sys_socket *s = NULL;
    CHECK_OK(sys_connect(&a, in_ms(5000), &s));
    return s;
}

static enum err send_bytes(struct sys_socket *s, uint8_t byte, size_t n)
{
    uint8_t data[4096];
    memset(data, byte, sizeof data);
    while (n > 0) {
        struct sys_slice v = {data, n < sizeof data ? n : sizeof data};
        size_t done = 0;
        enum err e = sys_send(s, &v, 1, false, in_ms(60000), &done);
        if (e)
            return e;
        n -= done;
    }
    return OK;
}

static int64_t time_until(const struct arrivals *v, int bytes, int64_t most_ms)
{
    int64_t began = sys_now();
    while (v->bytes < bytes && sys_now() < began + most_ms * SYS_MS)
        sys_sleep_until(in_ms(1));
    CHECK_EQ(v->bytes, bytes);
    return sys_now() - began;
}

/* Sent one after the other over 8 connections, they arrive in another order: 8 bits of order. */
static unsigned order_of_arrival(int64_t jitter)
{
    struct arrivals v;
    struct sys_socket *s[8];
    unsigned inversions = 0;
    int pid = serve_on_2(&v);
    sim_jitter(1, 2, jitter);
    for (int i = 0; i < 8; i++)
        s[i] = connect_to_2();
    for (int i = 0; i < 8; i++) {
        CHECK_OK(send_bytes(s[i], (uint8_t)i, 1));
        sys_sleep_until(in_ms(2)); /* far more than delays differ anyway */
    }
    (void)time_until(&v, 8, 2000);
    for (int i = 1; i < 8; i++)
        inversions += v.order[i] < v.order[i - 1];
    for (int i = 0; i < 8; i++)
        sys_socket_close(s[i]);
    sim_jitter(1, 2, 0);
    end_of(pid);
    return inversions;
}

static void connections_overtake(void)
{
    unsigned inversions = 0;
    for (int i = 0; i < 5; i++)
        inversions += order_of_arrival(50 * SYS_MS);
    CHECK(inversions >= 8);
    CHECK(order_of_arrival(0) <= 1);
    /* But one connection keeps its order. */
    struct arrivals v;
    int pid = serve_on_2(&v);
    struct sys_socket *s = connect_to_2();
    sim_jitter(1, 2, 50 * SYS_MS);
    for (int i = 0; i < 20; i++) {
        CHECK_OK(send_bytes(s, (uint8_t)i, 1));
        sys_sleep_until(in_ms(10));
    }
    (void)time_until(&v, 20, 2000);
    for (int i = 1; i < v.order_count; i++)
        CHECK(v.order[i] > v.order[i - 1]);
    sys_socket_close(s);
    end_of(pid);
}

static void lost_packets_come_late(void)
{
    struct arrivals v;
    int pid = serve_on_2(&v), late = 0;
    struct sys_socket *s = connect_to_2();
    sim_loss(1, 2, 30);
    for (int i = 0; i < 50; i++) {
        CHECK_OK(send_bytes(s, 1, 1));
        late += time_until(&v, i + 1, 20000) > 200 * SYS_MS;
    }
    CHECK(late >= 5 && late <= 30);
    sim_loss(1, 2, 0);
    for (int i = 50; i < 100; i++) {
        CHECK_OK(send_bytes(s, 1, 1));
        CHECK(time_until(&v, i + 1, 20000) < 100 * SYS_MS);
    }
    sys_socket_close(s);
    end_of(pid);
}

/* Two connections share 100,000 bytes a second; the other way stays fast. */
static void slow_link(void)
{
    struct arrivals v;
    int pid = serve_on_2(&v);
    struct sys_socket *a = connect_to_2(), *b = connect_to_2();
    sim_bandwidth(1, 2, 100000);
    CHECK_OK(send_bytes(a, 1, BULK / 2));
    CHECK_OK(send_bytes(b, 2, BULK / 2));
    int64_t took = time_until(&v, BULK, 10000);
    CHECK(took > 1900 * SYS_MS && took < 2200 * SYS_MS);
    /* It trickles: no silence is longer than a piece takes. */
    CHECK(v.at[20] - v.at[0] < 500 * SYS_MS);
    /* What is under way when the link is mended does not keep the old time-table. */
    CHECK_OK(send_bytes(a, 1, BULK));
    sim_bandwidth(1, 2, 0);
    CHECK(time_until(&v, 2 * BULK, 10000) < 200 * SYS_MS);
    sys_socket_close(a);
    sys_socket_close(b);
    end_of(pid);
}

static void one_way_cut(void)
{
    struct arrivals v;
    int pid = serve_on_2(&v);
    struct sys_socket *s = connect_to_2();
    sim_cut(2, 1, true); /* the way there is open */
    CHECK_OK(send_bytes(s, 1, 10));
    CHECK(time_until(&v, 10, 1000) < 100 * SYS_MS);
    struct sys_addr a = sim_addr(2, PORT);
    struct sys_socket *none = NULL;
    CHECK_ERR(sys_connect(&a, in_ms(500), &none), ERR_TIMEOUT);
    sim_cut(2, 1, false);
    sim_cut(1, 2, true);
    CHECK_OK(send_bytes(s, 1, 10));
    sys_sleep_until(in_ms(1000));
    CHECK_EQ(v.bytes, 10);
    sim_cut(1, 2, false);
    (void)time_until(&v, 20, 1000);
    sys_socket_close(s);
    end_of(pid);
}

/* Host 1 loses its connection; the server's end stays open and silent. */
static void half_open(void)
{
    struct arrivals v;
    uint8_t byte;
    size_t n;
    int pid = serve_on_2(&v);
    struct sys_socket *s = connect_to_2();
    CHECK_OK(send_bytes(s, 1, 1));
    (void)time_until(&v, 1, 1000);
    sim_half_open(1, 2);
    CHECK_ERR(sys_recv(s, &byte, 1, in_ms(100), &n), ERR_CLOSED);
    sys_socket_close(s);
    sys_sleep_until(in_ms(600000));
    CHECK_EQ(v.ended, 0); /* not told */
    end_of(pid);
    /* The other way round: who sends is told, whether the gone end is closed or not. */
    for (int closed = 0; closed < 2; closed++) {
        pid = serve_on_2(&v);
        s = connect_to_2();
        CHECK_OK(send_bytes(s, 1, 1));
        (void)time_until(&v, 1, 1000);
        sim_pause(pid, !closed);
        sim_half_open(2, 1);
        CHECK_ERR(sys_recv(s, &byte, 1, in_ms(10000), &n), ERR_TIMEOUT);
        CHECK_OK(send_bytes(s, 1, 1));
        CHECK_ERR(sys_recv(s, &byte, 1, in_ms(10000), &n), ERR_CLOSED);
        CHECK_EQ(v.bytes, 1);
        sys_socket_close(s);
        sim_pause(pid, false);
        end_of(pid);
    }
}

/* ---- disks ---- */

static struct sys_file *file_of(const char *path, const void *data, size_t n)
{
    struct sys_file *f = NULL;
    CHECK_OK(sys_file_open(path, SYS_OPEN_WRITE | SYS_OPEN_CREATE, &f));
    CHECK_OK(sys_file_write(f, 0, data, n));
    CHECK_OK(sys_file_sync(f));
    return f;
}

static void kinds_of_failures(void)
{
    uint8_t block[SYS_BLOCK] = {1};
    size_t n = 0;
    struct sys_file *f = file_of("/test/f", block, sizeof block);
    sim_disk_fail_kinds(1, "/test", SIM_DISK_READ, 1, ERR_IO, true);
    CHECK_OK(sys_file_write(f, 0, block, sizeof block));
    CHECK_OK(sys_file_sync(f));
    CHECK_ERR(sys_file_read(f, 0, block, 1, &n), ERR_IO);
    CHECK_ERR(sys_file_read(f, 0, block, 1, &n), ERR_IO);
    sim_disk_fail_kinds(1, "/test", SIM_DISK_WRITE | SIM_DISK_SYNC, 2, ERR_IO, false);
    CHECK_OK(sys_file_read(f, 0, block, 1, &n));
    CHECK_OK(sys_file_write(f, 0, block, sizeof block));
    CHECK_OK(sys_rename("/test/f", "/test/g"));
    CHECK_ERR(sys_file_sync(f), ERR_IO);
    CHECK_OK(sys_file_sync(f));
    sim_disk_fail_kinds(1, "/test", SIM_DISK_NAMES, 1, ERR_READ_ONLY, false);
    CHECK_OK(sys_file_write(f, 0, block, sizeof block));
    CHECK_ERR(sys_mkdir("/test/d"), ERR_READ_ONLY);
    CHECK_OK(sys_mkdir("/test/d"));
    sys_file_close(f);
}

static void bad_sectors(void)
{
    uint8_t block[SYS_BLOCK];
    size_t n = 9;
    memset(block, 7, sizeof block);
    struct sys_file *f = file_of("/test/f", block, sizeof block);
    CHECK_ERR(sim_disk_bad_sectors(1, "/test/f", 4000, 200), ERR_INVALID);
    CHECK_OK(sim_disk_bad_sectors(1, "/test/f", 1024, 600)); /* two sectors */
    CHECK_ERR(sys_file_read(f, 0, block, sizeof block, &n), ERR_IO);
    CHECK_EQ(n, 0);
    CHECK_OK(sys_file_read(f, 0, block, 1024, &n));
    CHECK_ERR(sys_file_read(f, 2047, block, 1, &n), ERR_IO);
    CHECK_OK(sys_file_read(f, 2048, block, 100, &n));
    CHECK_OK(sys_file_write(f, 1024, block, 512)); /* the drive gives that one another place */
    CHECK_OK(sys_file_read(f, 1024, block, 512, &n));
    CHECK_ERR(sys_file_read(f, 1536, block, 1, &n), ERR_IO);
    CHECK_OK(sys_file_punch(f, 0, sizeof block));
    CHECK_OK(sys_file_read(f, 0, block, sizeof block, &n));
    sys_file_close(f);
}

static void lost_and_misdirected_writes(void)
{
    uint8_t old[4 * SYS_BLOCK], data[SYS_BLOCK], got[4 * SYS_BLOCK];
    size_t n = 0, elsewhere = 0;
    uint64_t size = 0;
    memset(old, 1, sizeof old);
    memset(data, 2, sizeof data);
    CHECK_OK(sys_mkdir("/test/d"));
    struct sys_file *f = file_of("/test/d/f", old, sizeof old);
    struct sys_file *g = file_of("/test/d/g", old, sizeof old);
    struct sys_file *h = file_of("/test/h", old, sizeof old);
    sim_disk_lie(1, "/test/d", 2, SIM_WRITE_LOST);
    CHECK_OK(sys_file_write(f, 0, data, 512));
    CHECK_OK(sys_file_write(f, 4 * SYS_BLOCK, data, 512)); /* lost, but for the size */
    CHECK_OK(sys_file_write(f, 512, data, 512));
    CHECK_OK(sys_file_size(f, &size));
    CHECK_EQ(size, 4 * SYS_BLOCK + 512);
    CHECK_OK(sys_file_read(f, 4 * SYS_BLOCK, got, 512, &n));
    CHECK(n == 512 && got[0] == 0);
    CHECK_OK(sys_file_read(f, 0, got, 1024, &n));
    CHECK(got[0] == 2 && got[1023] == 2);
    CHECK_OK(sys_file_write(f, 0, old, 1024));
    CHECK_EQ(sim_stats().disk_lies, 1);

    for (int i = 0; i < 20; i++) {
        sim_disk_lie(1, "/test/d", 1, SIM_WRITE_MISDIRECTED);
        CHECK_OK(sys_file_write(f, 0, data, sizeof data));
        CHECK_OK(sys_file_read(g, 0, got, sizeof got, &n));
        for (size_t k = 0; k < n; k += 512)
            elsewhere += got[k] == 2;
        CHECK_OK(sys_file_write(g, 0, old, sizeof old));
    }
    CHECK(elsewhere >= 3 * 8); /* over the other file, whole, now and then */
    CHECK_OK(sys_file_read(h, 0, got, sizeof got, &n));
    CHECK_BYTES(got, old, sizeof old); /* not below the path */
    CHECK_EQ(sim_stats().disk_lies, 21);
    sys_file_close(f);
    sys_file_close(g);
    sys_file_close(h);
}

static void sync_and_wait(void *arg)
{
    sim_disk_lie(3, "/", 2, SIM_SYNC_LOST);
    struct sys_file *f = file_of("/f", "abcd", 4);
    CHECK_OK(sys_dir_sync("/"));
    CHECK_OK(sys_file_write(f, 0, "efgh", 4));
    CHECK_OK(sys_file_sync(f));
    atomic_store((atomic_bool *)arg, true);
    sys_sleep_until(SYS_FOREVER);
}

static void look_for_f(void *arg)
{
    struct sys_file *f = NULL;
    if (sys_file_open("/f", SYS_OPEN_READ, &f) == ERR_NOT_FOUND)
        ++*(int *)arg;
    else
        sys_file_close(f);
}

/* The second sync is the directory's: a crash may take the name with it. */
static void lost_syncs(void)
{
    int missing = 0;
    for (int i = 0; i < 40; i++) {
        atomic_bool done = false;
        int pid = sim_spawn("writer", 3, sync_and_wait, &done);
        while (!atomic_load(&done))
            sys_sleep_until(in_ms(1));
        sim_crash(pid);
        pid = sim_spawn("reader", 3, look_for_f, &missing);
        while (sim_alive(pid))
            sys_sleep_until(in_ms(1));
        CHECK_OK(sim_disk_wipe(3, "/"));
    }
    CHECK(missing > 5 && missing < 40);
    CHECK_EQ(sim_stats().disk_lies, 40);
}

/* ---- clocks ---- */

static void clocks_jump_and_drift(void)
{
    int64_t mono = sys_now(), wall = sys_wall(), boot = sys_boottime();
    sim_clock_step(1, 3600 * SYS_SECOND);
    CHECK(sys_wall() - wall >= 3600 * SYS_SECOND && sys_wall() - wall < 3601 * SYS_SECOND);
    sim_clock_step(1, -7200 * SYS_SECOND);
    CHECK(sys_wall() < wall - 3599 * SYS_SECOND);
    sim_clock_skew(1, 0);
    CHECK(sys_wall() > wall && sys_wall() - wall < SYS_SECOND);
    CHECK(sys_now() - mono < SYS_SECOND);      /* all the while */
    CHECK(sys_boottime() - boot < SYS_SECOND); /* nor does this one jump */
    boot = sys_boottime();
    wall = sys_wall();
    sim_clock_drift(1, 1000);
    sys_sleep_until(in_ms(100000));
    int64_t fast = sys_wall() - wall;
    int64_t ran = sys_boottime() - boot;
    CHECK(ran > 100 * SYS_SECOND + 90 * SYS_MS && ran < 100 * SYS_SECOND + 110 * SYS_MS);
    CHECK(fast > 100 * SYS_SECOND + 90 * SYS_MS && fast < 100 * SYS_SECOND + 110 * SYS_MS);
    wall = sys_wall();
    sim_clock_drift(1, 0); /* what it has gained, it keeps */
    CHECK(sys_wall() > wall);
    wall = sys_wall();
    sys_sleep_until(in_ms(100000));
    CHECK(sys_wall() - wall < 100 * SYS_SECOND + SYS_MS);
    sim_clock_skew(1, 0);
}

/* ---- all of it twice ---- */

static void suffer(void *arg)
{
    struct arrivals *v = arg;
    int pid = serve_on_2(v);
    struct sys_file *f = file_of("/f", "0123456789", 10);
    sim_jitter(1, 2, 20 * SYS_MS);
    sim_loss(1, 2, 10);
    sim_bandwidth(1, 2, 1000000);
    for (int i = 0; i < 10; i++) {
        struct sys_socket *s = connect_to_2();
        CHECK_OK(send_bytes(s, (uint8_t)i, 2000));
        sim_disk_lie(1, "/", 1 + sim_random() % 3, (enum sim_disk_lie)(sim_random() % 3));
        sim_clock_step(1, (int64_t)(sim_random() % 1000) - 500);
        CHECK_OK(sys_file_write(f, 0, "abcdefgh", 8));
        CHECK_OK(sys_file_sync(f));
        if (i % 3 == 0)
            sim_half_open(1, 2);
        if (i % 5 == 0) {
            sim_crash(pid);
            sim_restart(pid);
            sys_sleep_until(in_ms(5));
        }
        sys_socket_close(s);
    }
    sys_file_close(f);
    sim_crash(pid);
}

static uint64_t suffering(uint64_t seed)
{
    struct arrivals v;
    sim_init(seed);
    sim_spawn("client", 1, suffer, &v);
    CHECK(sim_run(600 * SYS_SECOND, NULL, NULL));
    struct sim_stats s = sim_end();
    CHECK(s.disk_lies > 0);
    return s.hash ^ (uint64_t)s.now ^ (uint64_t)v.bytes;
}

static void the_same_again(void)
{
    uint64_t before = 0;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        uint64_t hash = suffering(seed);
        CHECK_EQ(hash, suffering(seed));
        CHECK(hash != before);
        before = hash;
    }
}

static const struct test tests[] = {
    {"connections overtake each other", connections_overtake},
    {"lost packets come late", lost_packets_come_late},
    {"a slow link", slow_link},
    {"a one-way cut", one_way_cut},
    {"a half-open connection", half_open},
    {"kinds of failures", kinds_of_failures},
    {"bad sectors", bad_sectors},
    {"lost and misdirected writes", lost_and_misdirected_writes},
    {"lost syncs", lost_syncs},
    {"clocks jump and drift", clocks_jump_and_drift},
    {"outside: the same again", the_same_again},
    {0},
};
SUITE("sys faults", tests)
