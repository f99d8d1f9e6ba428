/* The floor: the only way to the operating system. Two implementations are chosen at link time:
 * common/sys/posix (threads, sockets, files) and common/sys/sim (fibers on one OS thread, virtual
 * time, seeded faults). Memory is declared in common/base/alloc.h.
 *
 * Deadlines are absolute, in monotonic nanoseconds (sys_now); one in the past means "try once";
 * SYS_FOREVER never comes. Calls marked [S] may switch to another thread, and in the simulator may
 * be where the process crashes. Everything here may be called from any thread of the process
 * unless it says otherwise. errno never leaves this folder. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdarg.h>
#include "common/base/alloc.h"
#include "common/base/err.h"

#define SYS_FOREVER INT64_MAX
#define SYS_US      INT64_C(1000)
#define SYS_MS      INT64_C(1000000)
#define SYS_SECOND  INT64_C(1000000000)

/* ---- process, time, randomness, log ---- */

/* Ends this process (in the simulator: this simulated process). why goes to the log. */
_Noreturn void sys_exit(int status, const char *why);
int64_t sys_now(void);  /* [S] monotonic ns */
int64_t sys_wall(void); /* [S] ns since 1970 UTC; may jump */
int64_t
sys_boottime(void); /* [S] monotonic ns that go on while the machine sleeps; compare only with
                               one another */
int64_t sys_cpu_time(void); /* CPU ns used by this process; 0 in the simulator */
struct sys_usage {
    uint64_t pid, resident_bytes;
    int64_t cpu_ns;
};
void sys_usage(struct sys_usage *out); /* of this process; zeros in the simulator */
enum { SYS_HOST_NAME = 64 };
void sys_host_name(char out[SYS_HOST_NAME]); /* what the machine calls itself, perhaps cut */
/* Lets this process have as many descriptors open as it is allowed to, and says how many that is;
 * UINT64_MAX in the simulator. */
uint64_t sys_descriptors_raise(void);
void sys_sleep_until(int64_t deadline); /* [S] */
void sys_random(void *out, size_t n);   /* cryptographic on posix, seeded in the simulator */
/* One whole line without its newline. Never blocks: drops and counts when the log is stuck. */
void sys_log_line(const char *line, size_t n);
/* Set when the process is asked to stop (SIGTERM, SIGINT) or to reload (SIGHUP). */
struct sys_event *sys_stop_event(void);
struct sys_event *sys_reload_event(void);

/* ---- threads ---- */

struct sys_thread;
/* stack_bytes 0 = 256 KiB. Every started thread must be joined; there is no detach and no cancel.
 * ERR_BUSY when the system has no more threads to give. */
enum err sys_thread_start(struct sys_thread **out, const char *name, size_t stack_bytes,
                          void (*run)(void *), void *arg) MUST_USE; /* [S] */
void sys_thread_join(struct sys_thread *thread);                    /* [S] frees it */

struct sys_mutex {
    void *impl[6];
};
struct sys_cond {
    void *impl[7];
};
void sys_mutex_init(struct sys_mutex *m);
/* A mutex that may be held across file and network calls; for any other the simulator asserts. Only
 * for locks that exist to put such calls in order (the log writer's), named in their module. */
void sys_mutex_init_io(struct sys_mutex *m);
void sys_mutex_release(struct sys_mutex *m);
void sys_mutex_lock(struct sys_mutex *m);   /* [S] not recursive */
void sys_mutex_unlock(struct sys_mutex *m); /* [S] */
void sys_cond_init(struct sys_cond *c);
void sys_cond_release(struct sys_cond *c);
void sys_cond_signal(struct sys_cond *c);    /* [S] */
void sys_cond_broadcast(struct sys_cond *c); /* [S] */
/* OK (perhaps spuriously: test your condition again) or ERR_TIMEOUT; m is held again either way. */
enum err sys_cond_wait(struct sys_cond *c, struct sys_mutex *m, int64_t deadline); /* [S] */

/* ---- events: level-triggered flags that sys_poll can wait for ---- */

struct sys_event;
enum err sys_event_new(struct sys_event **out) MUST_USE; /* ERR_BUSY: no descriptors left */
void sys_event_free(struct sys_event *e);
void sys_event_set(struct sys_event *e); /* any thread; never switches, never blocks */
void sys_event_clear(struct sys_event *e);
bool sys_event_is_set(const struct sys_event *e);

/* ---- network: stream sockets, always non-blocking underneath ---- */

struct sys_socket;
struct sys_addr {
    uint8_t host[16]; /* IPv6, or IPv4 mapped (::ffff:a.b.c.d) */
    uint16_t port;
};
struct sys_slice {
    const void *data;
    size_t length;
};
enum { SYS_SLICES_MAX = 16, SYS_POLL_MAX = 128, SYS_ADDR_TEXT = 64 };

enum err sys_resolve(const char *host, uint16_t port, int64_t deadline, struct sys_addr *out,
                     size_t max, size_t *n) MUST_USE; /* [S] ERR_NOT_FOUND | ERR_TIMEOUT */
/* "127.0.0.1:9000" or "[::1]:9000"; numeric only. */
enum err sys_addr_parse(const char *text, struct sys_addr *out) MUST_USE;
void sys_addr_format(const struct sys_addr *a, char out[SYS_ADDR_TEXT]);

/* Port 0 picks a free one: sys_socket_local says which. ERR_ADDRESS_IN_USE. */
enum err sys_listen(const struct sys_addr *a, struct sys_socket **out) MUST_USE; /* [S] */
enum err sys_accept(struct sys_socket *listener, int64_t deadline,
                    struct sys_socket **out) MUST_USE; /* [S] */
enum err
sys_connect(const struct sys_addr *a, int64_t deadline,
            struct sys_socket **out) MUST_USE; /* [S] ERR_REFUSED | ERR_TIMEOUT | ERR_CLOSED */
/* Sends at least one byte, perhaps fewer than given. n <= SYS_SLICES_MAX. more: hold the last
 * partial packet, further bytes follow at once. */
enum err sys_send(struct sys_socket *s, const struct sys_slice *v, size_t n, bool more,
                  int64_t deadline, size_t *done) MUST_USE; /* [S] */
/* At least one byte; ERR_CLOSED at the end of the stream. */
enum err sys_recv(struct sys_socket *s, void *out, size_t max, int64_t deadline,
                  size_t *done) MUST_USE;       /* [S] */
void sys_socket_shutdown(struct sys_socket *s); /* both ways; wakes whoever waits on it */
void sys_socket_shutdown_write(struct sys_socket *s);
void sys_socket_close(struct sys_socket *s); /* nobody may be using it; [S] */
struct sys_addr sys_socket_peer(const struct sys_socket *s);
struct sys_addr sys_socket_local(const struct sys_socket *s);
/* A socket over a descriptor that somebody else owns and closes (the HTTP edge's connection), for
 * waiting on hang-up. posix only; sys_socket_release instead of close. */
void sys_socket_borrow(int descriptor, struct sys_socket **out);
void sys_socket_release(struct sys_socket *s);

enum sys_ready {
    SYS_READ = 1,
    SYS_WRITE = 2,
    SYS_HANGUP = 4, /* always watched for on sockets: the peer has gone */
};
struct sys_poll {
    struct sys_socket *socket; /* one of these two is NULL; both NULL: the entry is skipped */
    struct sys_event *event;
    uint8_t want;  /* sys_ready bits; for an event ignored */
    uint8_t ready; /* out */
};
/* OK: at least one entry is ready. ERR_TIMEOUT: none. n <= SYS_POLL_MAX. */
enum err sys_poll(struct sys_poll *v, size_t n, int64_t deadline) MUST_USE; /* [S] */

/* ---- files: positioned, all-or-error, blocking; only disk threads, the log writer and start-up
 * make these calls, since they have no deadline ---- */

struct sys_file;
enum sys_open {
    SYS_OPEN_READ = 0,
    SYS_OPEN_WRITE = 1,     /* read and write */
    SYS_OPEN_CREATE = 2,    /* make it when missing (then sync the directory) */
    SYS_OPEN_EXCLUSIVE = 4, /* with CREATE: ERR_EXISTS when it is there */
    SYS_OPEN_DIRECT =
        8, /* past the page cache: offset, length, memory aligned to SYS_BLOCK; silently
                                buffered on file systems without it */
    SYS_OPEN_TRUNCATE = 16,
};
enum { SYS_BLOCK = 4096, SYS_NAME_MAX = 255, SYS_PATH_MAX = 1024 };

enum err sys_file_open(const char *path, unsigned flags, struct sys_file **out) MUST_USE; /* [S] */
void sys_file_close(struct sys_file *f);                                                  /* [S] */
/* Fewer than n bytes only at the end of the file: *done says how many. */
enum err sys_file_read(struct sys_file *f, uint64_t offset, void *out, size_t n,
                       size_t *done) MUST_USE; /* [S] */
enum err
sys_file_write(struct sys_file *f, uint64_t offset, const void *data,
               size_t n) MUST_USE; /* [S] all of it, or an error: ERR_NO_SPACE, ERR_IO, .. */
/* As fdatasync. A failure means that the disk has failed: never call it again, never retry. */
enum err sys_file_sync(struct sys_file *f) MUST_USE; /* [S] */
/* Reserves space; the bytes read as zero. The size grows to cover it. */
enum err sys_file_allocate(struct sys_file *f, uint64_t offset, uint64_t n) MUST_USE; /* [S] */
/* Gives whole blocks back; they read as zero. ERR_UNSUPPORTED where the file system cannot. */
enum err sys_file_punch(struct sys_file *f, uint64_t offset, uint64_t n) MUST_USE; /* [S] */
enum err sys_file_truncate(struct sys_file *f, uint64_t size) MUST_USE;            /* [S] */
/* First offset >= from that may hold data; ERR_NOT_FOUND when only a hole follows. */
enum err sys_file_next_data(struct sys_file *f, uint64_t from, uint64_t *out) MUST_USE; /* [S] */
enum err sys_file_size(struct sys_file *f, uint64_t *out) MUST_USE;                     /* [S] */
/* What it takes of the file system: without holes, with space that is only reserved. */
enum err sys_file_allocated(struct sys_file *f, uint64_t *out) MUST_USE; /* [S] */
/* An exclusive lock for as long as the file is open; ERR_BUSY when another process holds it. */
enum err sys_file_lock(struct sys_file *f) MUST_USE; /* [S] */
/* The same for a server that starts: waits up to 5 s, for a holder that was killed is not gone at once. */
enum err sys_file_lock_wait(struct sys_file *f) MUST_USE; /* [S] */

enum err sys_rename(const char *from,
                    const char *to) MUST_USE;   /* [S] does not sync: call dir_sync */
enum err sys_unlink(const char *path) MUST_USE; /* [S] */
enum err sys_mkdir(const char *path) MUST_USE;  /* [S] ERR_EXISTS */
enum err sys_rmdir(const char *path) MUST_USE;  /* [S] */
/* ERR_BUSY: the directory could not be opened, nothing has been tried. */
enum err sys_dir_sync(const char *path) MUST_USE; /* [S] */
/* Makes the name of a file or directory durable by syncing the directory that holds it. */
enum err sys_dir_sync_parent(const char *path) MUST_USE; /* [S] */
/* Makes the directory unless it is there, and makes its name durable. */
enum err sys_dir_make(const char *path) MUST_USE; /* [S] */
/* Calls visit for each entry but "." and "..", in byte order. */
enum err sys_dir_list(const char *path, void (*visit)(void *arg, const char *name, bool is_dir),
                      void *arg) MUST_USE; /* [S] */
enum err sys_disk_space(const char *path, uint64_t *total_bytes,
                        uint64_t *free_bytes) MUST_USE; /* [S] free: for us, now */

/* ---- other processes, the environment, the terminal: for the tools; in the simulator there are
 * none (ERR_UNSUPPORTED, NULL, 0) ---- */

/* Names one process for good: the pid alone may be given to another after it ended. */
struct sys_process {
    int64_t pid;
    uint64_t started; /* the kernel's stamp of its start */
};
enum sys_process_signal { SYS_PROCESS_STOP, SYS_PROCESS_KILL, SYS_PROCESS_RELOAD };

/* Starts argv[0] (a path; argv ends with NULL) in a session of its own, so that it outlives the
 * terminal and us; no descriptor of ours but: input from /dev/null, output and errors appended to
 * the file output. ERR_NOT_FOUND, ERR_ACCESS: argv[0] cannot be run. */
enum err sys_process_spawn(const char *const *argv, const char *output,
                           struct sys_process *out) MUST_USE;
/* Fills in started for a pid that runs now, else ERR_NOT_FOUND. */
enum err sys_process_find(int64_t pid, struct sys_process *out) MUST_USE;
/* ERR_NOT_FOUND when it has ended, even if its pid has a new owner. */
enum err sys_process_signal(const struct sys_process *p, enum sys_process_signal what) MUST_USE;
/* OK when it has ended (a child is reaped), ERR_TIMEOUT when it still runs. *status: what a child
 * exited with, 128 + signal when it was killed, -1 when it was no child of ours. */
enum err sys_process_wait(const struct sys_process *p, int64_t deadline, int *status) MUST_USE;
/* What another process has used so far. ERR_NOT_FOUND when it has ended. */
enum err sys_process_usage(const struct sys_process *p, struct sys_usage *out) MUST_USE;
/* The path of the program that this process runs. */
enum err sys_program_path(char *out, size_t max) MUST_USE;
/* A variable of the environment, NULL when unset. */
const char *sys_environment(const char *name);
/* Columns of the terminal that standard output is; 0 when it is none. */
unsigned sys_terminal_columns(void);
/* Changes a file to be read and written by its owner alone. */
enum err sys_file_private(const char *path) MUST_USE;
/* The absolute path of a file or directory that exists, without links and dots. */
enum err sys_path_real(const char *path, char *out, size_t max) MUST_USE;
