/* The simulated world: processes on hosts, a network, disks and virtual time, in one OS thread,
 * decided by one seed. The same seed gives the same run, down to the trace hash.
 *
 *   sim_init(seed);
 *   int server = sim_spawn("server", 2, server_main, &config);
 *   sim_spawn("client", 1, client_main, &config);
 *   bool finished = sim_run(60 * SYS_SECOND, NULL, NULL);
 *   struct sim_stats stats = sim_end();
 *
 * Everything between init and end may also be called from inside a simulated process (a unit test
 * that starts, crashes and restarts servers). There is one world at a time.
 *
 * A process is a main function and an argument, which must outlive the world or the process that
 * made it. Its threads are fibers; at every [S] primitive of sys.h time moves, somebody else may
 * run and the process may crash. A crash does not unwind: its memory is freed, its sockets are
 * reset, and of what it wrote to its host's file system and did not sync a random part is gone:
 * any subset of 512-byte sectors, any tail of the changes to a directory.
 *
 * The world ends the OS process, saying why, when: nothing can run (each fiber and what it waits for
 * is listed), a mutex is locked twice, freed while held, or held across a file or network call, a
 * main function returns while its threads live, a fiber runs 10 s of CPU without a primitive. */
#pragma once
#include "common/sys/sys.h"

struct sim_stats {
    uint64_t hash;     /* of everything that happened, in order */
    int64_t now;       /* virtual time at the end, ns */
    uint64_t points;   /* primitives called */
    uint64_t switches; /* fibers resumed */
    uint64_t fibers;   /* started */
    uint64_t crashes;  /* of processes */
    uint64_t exits;    /* sys_exit of processes */
    uint64_t blocks_freed_by_crash, bytes_freed_by_crash;
    uint64_t sectors_torn; /* unsynced sectors that a crash took back */
    uint64_t disk_lies;    /* writes and syncs that were acknowledged and not done */
};

void sim_init(uint64_t seed);
/* Runs until done(arg) is true (asked between steps; may be NULL), all processes have ended, or the
 * virtual time is over. False in the last case. Not from inside a process. */
bool sim_run(int64_t until, bool (*done)(void *arg), void *arg);
struct sim_stats sim_end(void);
struct sim_stats sim_stats(void); /* so far */
/* Lists all live fibers and what they wait for on stderr. */
void sim_report(void);
int64_t sim_now(void);     /* not a primitive: time stands still */
uint64_t sim_random(void); /* from the world's seed */
/* Where log lines go; NULL: nowhere. */
void sim_log_to(void (*sink)(void *arg, const char *process, const char *line, size_t n),
                void *arg);

/* ---- processes ---- */

/* Starts a process and returns its pid (>= 0), which it keeps over restarts. */
int sim_spawn(const char *name, uint32_t host, void (*main_function)(void *arg), void *arg);
void sim_crash(int pid);              /* now, between two primitives; no effect on a dead one */
void sim_stop(int pid);               /* as SIGTERM: sets its stop event */
void sim_reload(int pid);             /* as SIGHUP */
void sim_restart(int pid);            /* starts a dead one again */
void sim_pause(int pid, bool paused); /* as SIGSTOP and SIGCONT */
/* Restarts by itself this long after each crash or sys_exit; 0: never. */
void sim_restart_after(int pid, int64_t delay);
void sim_crash_at(int pid, uint64_t nth);               /* its nth primitive from now; 0: never */
void sim_random_crashes(int pid, uint64_t mean_points); /* 0: none */
bool sim_alive(int pid);
uint64_t sim_points(int pid);         /* primitives since its (re)start */
int sim_exit_status(int pid);         /* of sys_exit; 0 after main returned, -1 after a crash */
uint64_t sim_exits(int pid);          /* how often it has called sys_exit .. */
const char *sim_exit_reason(int pid); /* .. and why the last time; "" */
int sim_self(void);                   /* the pid of the calling process */

struct sim_leaks {
    uint64_t blocks, bytes, threads, sockets, files, events, mutexes, conds;
};
/* What the process holds now. After its main returned: what it had left. */
struct sim_leaks sim_leaks(int pid);

/* ---- hosts: 10.0.0.host; host 1..65535 ---- */

struct sys_addr sim_addr(uint32_t host, uint16_t port);
/* The wall clock (sys_wall): sys_now is true everywhere. A change shows as a jump. */
void sim_clock_skew(uint32_t host, int64_t ns);   /* how far off it is; ends a drift so far */
void sim_clock_step(uint32_t host, int64_t ns);   /* jumps forward, or back when negative */
void sim_clock_drift(uint32_t host, int32_t ppm); /* runs fast (slow) by this from now on, and
                                                      sys_boottime with it */

/* ---- network ---- */

/* Packets of one direction of a connection keep their order; different connections, and the two
 * directions of one, are delayed each by itself, so that what was sent first may arrive last.
 *
 * Nothing passes from one to the other; what was sent waits, as TCP would. */
void sim_cut(uint32_t from, uint32_t to, bool cut);
void sim_partition(uint32_t a, uint32_t b, bool cut);    /* both ways */
void sim_delay(uint32_t from, uint32_t to, int64_t ns);  /* added to each delivery */
void sim_jitter(uint32_t from, uint32_t to, int64_t ns); /* random below this, added to each */
/* Each packet is lost with this probability and sent again 0.2 s later, then 0.4 s .. later. */
void sim_loss(uint32_t from, uint32_t to, unsigned percent);
/* A slow link that all connections share; bytes a second, 0: no limit. What is under way keeps to
 * the new speed. */
void sim_bandwidth(uint32_t from, uint32_t to, uint64_t bytes_per_second);
void sim_reset_connections(uint32_t a, uint32_t b); /* both ends learn of it at once */
/* Host gone drops its connections to other, whose ends stay open: each is told when it sends. */
void sim_half_open(uint32_t gone, uint32_t other);
void sim_random_resets(uint64_t mean_sends); /* 0: none */
/* For sweeps: the nth connect, send or receive of the process from now on finds its connection reset
 * (a connect is refused); 0: none. */
void sim_network_fail(int pid, uint64_t nth);
uint64_t sim_network_fail_left(int pid); /* 0: it has happened */

/* ---- disks: the files of a host at or below a path; "/" for all. At most 16 rules a host. ---- */

/* The nth file primitive there from now on fails (1: the next); sticky: and all after it. nth 0
 * ends it. */
void sim_disk_fail(uint32_t host, const char *path, uint64_t nth, enum err error, bool sticky);
enum sim_disk_kind {
    SIM_DISK_READ = 1,
    SIM_DISK_WRITE = 2, /* also allocate, punch, truncate */
    SIM_DISK_SYNC = 4,  /* of files and directories */
    SIM_DISK_NAMES = 8, /* open, lock, rename, unlink, mkdir, rmdir */
    SIM_DISK_ALL = 15,
};
/* The same, counting and failing only these kinds. One rule a path: replaces sim_disk_fail's. */
void sim_disk_fail_kinds(uint32_t host, const char *path, unsigned kinds, uint64_t nth,
                         enum err error, bool sticky);
/* The nth write (sync) there from now on is answered with OK, and: nothing was written; it went over
 * other bytes at or below path; nothing was made durable. One lie a path. nth 0 ends it. */
enum sim_disk_lie { SIM_WRITE_LOST, SIM_WRITE_MISDIRECTED, SIM_SYNC_LOST };
void sim_disk_lie(uint32_t host, const char *path, uint64_t nth, enum sim_disk_lie lie);
void sim_disk_hang(uint32_t host, const char *path, bool hung);
void sim_disk_slow(uint32_t host, const char *path, int64_t ns); /* added to each primitive */
/* As when a file system is unmounted that somebody has files open on: no name there is found, what is open
 * goes on. */
void sim_disk_unmount(uint32_t host, const char *path, bool gone);
/* One primitive in so many takes up to this much longer, as when a drive or a store tidies up; 0:
 * none. */
void sim_disk_stalls(uint32_t host, const char *path, uint64_t one_in, int64_t ns);
uint64_t sim_disk_primitives(uint32_t host);        /* counted since the start */
void sim_disk_limit(uint32_t host, uint64_t bytes); /* the whole host's; default 64 GiB */
uint64_t sim_disk_used(uint32_t host);
/* Changes one byte by xor, on the platter and in the cache. */
enum err sim_disk_flip(uint32_t host, const char *path, uint64_t offset, uint8_t mask) MUST_USE;
/* Reads of these bytes fail with ERR_IO until the sectors are written again or given back. */
enum err sim_disk_bad_sectors(uint32_t host, const char *path, uint64_t offset,
                              uint64_t n) MUST_USE;
/* Its file system cannot punch: ERR_UNSUPPORTED. */
void sim_disk_no_holes(uint32_t host, bool none);

/* What changes a host's files, in order: told when it shows, before the primitive returns. Directories
 * and files by numbers of their own. */
struct sim_disk_change {
    enum {
        SIM_CHANGE_WRITE,
        SIM_CHANGE_ZERO,       /* punched */
        SIM_CHANGE_SIZE,       /* n: the size from now on */
        SIM_CHANGE_SYNC_BEGIN, /* of a file or directory */
        SIM_CHANGE_SYNC,       /* ended: what was there at the last begin of this file is durable */
        SIM_CHANGE_NAME,       /* from from/from_name (from 0: new) to to/to_name (to 0: gone) */
        SIM_CHANGE_DIR_SYNC,
    } kind;
    uint64_t file; /* or the directory that is synced */
    uint64_t offset, n;
    const void *data; /* while it is told */
    uint64_t from, to;
    const char *from_name, *to_name;
    bool is_dir;
};
/* seen may not call primitives. NULL: nobody any more. */
void sim_disk_observe(uint32_t host, void (*seen)(void *arg, const struct sim_disk_change *change),
                      void *arg);
/* The number of a file or directory; 0: none. */
uint64_t sim_disk_number(uint32_t host, const char *path);
enum err sim_disk_wipe(uint32_t host, const char *path) MUST_USE; /* empties a directory, durably */
