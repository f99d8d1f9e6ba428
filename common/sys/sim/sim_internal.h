/* What the files of the simulator share. All state hangs on the one world; nothing of it lies in
 * memory of the simulated processes, which a crash frees. */
#pragma once
#include <assert.h>
#include "common/sys/sim/sim.h"

#if defined(__SANITIZE_THREAD__)
/* Fibers are switched without synchronising, so that TSan sees races between them; what is a
 * synchronisation (mutex, event, socket, thread) says so. The simulator's own accesses, ordered
 * by there being one OS thread, are ignored. */
void __tsan_acquire(void *address);
void __tsan_release(void *address);
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
#define SYNC_ACQUIRE(p) __tsan_acquire(p)
#define SYNC_RELEASE(p) __tsan_release(p)
#else
#define SYNC_ACQUIRE(p) ((void)(p))
#define SYNC_RELEASE(p) ((void)(p))
#endif

/* ---- timers: one binary heap, each timer knows its place in it ---- */

struct timer {
    int64_t at;
    uint64_t order; /* ties go by order of arming */
    size_t slot;    /* place in the heap + 1; 0: not armed */
    void (*fire)(struct timer *t);
};
void timer_arm(struct timer *t, int64_t at); /* moves an armed one */
void timer_cancel(struct timer *t);

/* ---- fibers ---- */

enum wake { WAKE_RUN, WAKE_TIMEOUT };

struct fiber {
    void *context;  /* fiber.c's: where it stopped */
    uint8_t *stack; /* above one guard page */
    size_t stack_bytes;
    void *fake_stack, *tsan; /* the sanitizers' */
    unsigned quiet;          /* depth of sim_enter */
    struct process *process;
    struct fiber *next, *prev; /* of the process; next also in the pool */
    struct fiber *pool_next;
    struct sys_thread *thread; /* NULL: the process' main */
    char name[24];
    void (*run)(void *arg);
    void *arg;
    uint32_t number;
    uint64_t turn; /* counts its wakes, so that older entries in wait lists are void */
    size_t queued; /* place in the run queue + 1 */
    bool ready, started, dead, killed;
    enum wake wake;
    struct timer timer;
    const char *waits_for; /* for reports */
    unsigned locks;        /* mutexes held, but for those of sys_mutex_init_io */
};

struct waiter {
    struct fiber *fiber;
    uint64_t turn;
};
struct wait_list {
    struct waiter *v;
    size_t count, capacity;
};
void wait_add(struct wait_list *w); /* the current fiber, until it is woken by anything */
void wait_wake_all(struct wait_list *w);
void wait_wake_one(struct wait_list *w);
void wait_release(struct wait_list *w);

struct fiber *fiber_new(struct process *p, const char *name, size_t stack_bytes,
                        void (*run)(void *), void *arg);
void fiber_wake(struct fiber *f, enum wake why);
void fiber_resume(struct fiber *f); /* from the scheduler; returns when it stops */
void fiber_stop(void);              /* from the fiber: back to the scheduler */
void fiber_free(struct fiber *f);   /* dead or killed; from the scheduler */
void fibers_release(void);          /* pools, at the end of the world */

/* ---- objects of a process that a crash must find ---- */

enum object_kind {
    OBJECT_THREAD,
    OBJECT_MUTEX,
    OBJECT_COND,
    OBJECT_EVENT,
    OBJECT_SOCKET,
    OBJECT_FILE
};
enum { OBJECT_KINDS = OBJECT_FILE + 1 };
struct object {
    enum object_kind kind;
    struct process *process;
    struct object *next, *prev;
};
void *object_new(enum object_kind kind, size_t size);
void *object_new_in(struct process *p, enum object_kind kind, size_t size);
void object_free(void *object); /* unlinks and frees; kinds clean up before */

struct sys_event {
    struct object object;
    bool set;
    struct wait_list waiters;
};
struct sys_thread {
    struct object object;
    struct fiber *fiber; /* NULL when it has ended */
    char name[24];
    struct wait_list joiners;
};

/* ---- processes ---- */

enum process_end { END_CLEAN, END_EXIT, END_CRASH };

struct block;
struct process {
    char name[24];
    int pid;
    struct host *host;
    void (*main)(void *);
    void *arg;
    bool alive, paused, dying, restart_now;
    enum process_end how;
    int exit_status;
    struct fiber *fibers;
    struct block *blocks;
    uint64_t block_count, block_bytes;
    struct object *objects;
    uint64_t object_counts[OBJECT_KINDS];
    struct sys_event stop, reload;
    uint64_t exits;
    char exit_reason[160];
    uint64_t points, crash_at, mean_points, network_fail;
    int64_t restart_delay;
    struct timer restart;
    struct sim_leaks left; /* at a clean end */
};
void process_end_self(enum process_end how, int status) __attribute__((noreturn));
void process_fiber_ended(struct fiber *f);
void process_bury(struct process *p); /* frees all that a dying process had; from the scheduler */
void memory_free_all(struct process *p);
void events_release(struct process *p);
void object_destroy(struct object *o); /* as its process dies */
struct process *process_of(int pid);

void thread_destroy(struct sys_thread *t);
void mutex_destroy(struct object *o);
void cond_destroy(struct object *o);
void event_destroy(struct sys_event *e);
void socket_destroy(struct sys_socket *s, bool crash);
uint8_t socket_ready(const struct sys_socket *s, uint8_t want);
struct wait_list *socket_waiters(struct sys_socket *s);
void network_release(void);
void file_destroy(struct sys_file *f);

/* ---- hosts ---- */

struct disk_rule {
    char path[256];
    uint64_t fail_after; /* primitives until it fails; 0: does not */
    unsigned fail_kinds;
    enum err error;
    bool sticky, hung, unmounted;
    uint64_t lie_after; /* writes or syncs until it lies; 0: does not */
    enum sim_disk_lie lie;
    int64_t slow_ns, stall_ns;
    uint64_t stall_one_in; /* 0: never */
};
enum { DISK_RULES = 64 };
struct host {
    uint32_t number;
    struct host *next;
    int64_t skew, drift_since;       /* of the wall clock */
    int64_t boot_gained, boot_since; /* of sys_boottime */
    int32_t drift_ppm;
    uint16_t next_port;
    struct fs *fs;
    struct disk_rule rules[DISK_RULES];
    uint64_t primitives;
    struct wait_list hung;
};
struct host *host_get(uint32_t number);
struct host *host_find(uint32_t number); /* NULL when nothing was ever there */
/* Counts a file primitive at path, waits as long as it takes there, says how it fails. */
enum err disk_primitive(const char *path, unsigned kind, int64_t least_ns, int64_t spread_ns);
bool disk_unmounted(const char *path); /* sim_disk_unmount */
/* Counts a write or sync at path towards that lie; true: this one lies. */
bool disk_lies(const char *path, enum sim_disk_lie lie);
int64_t host_wall_offset(const struct host *h); /* of its wall clock, ns */
int64_t host_boot_offset(const struct host *h); /* of sys_boottime */

/* ---- the world ---- */

struct link { /* a rule for what goes from one host to another */
    uint32_t from, to;
    bool cut;
    int64_t delay, jitter;
    unsigned loss;      /* percent */
    uint64_t bandwidth; /* bytes a second; 0: no limit */
    int64_t busy_until; /* when its last byte so far has left */
    struct link *next;
};

struct world {
    bool live, ending;
    uint64_t seed, random, hash, timer_order, fiber_numbers;
    int64_t now;
    struct fiber *current;
    struct fiber **queue; /* those that can run */
    size_t queue_count, queue_capacity;
    struct timer **heap;
    size_t heap_count, heap_capacity;
    struct process **processes;
    size_t process_count;
    struct process outside; /* owns what is allocated outside of any process */
    struct host *hosts;
    struct link *links;
    struct sys_socket *listeners;
    struct stream *streams;
    uint64_t mean_resets;
    struct sim_stats stats;
    void (*log)(void *, const char *, const char *, size_t);
    void *log_arg;
};
extern struct world world;

/* Every call of sys.h and sim.h enters and leaves, so that TSan ignores what lies between. */
void sim_enter(void);
void sim_leave(void);
/* Where time moves, the trace grows, the process may crash and another fiber may run. */
void sim_point(uint64_t what);
/* The same before a network or file primitive: no mutex may be held. */
void sim_point_io(uint64_t what);
void sim_trace(uint64_t value);
void sim_trace_bytes(const void *data, size_t n);
/* Waits to be woken. waits_for is for reports: a literal, or text that outlives the wait. */
enum wake sim_block(int64_t deadline, const char *waits_for);
void sim_sleep(int64_t ns);
uint64_t sim_below(uint64_t n);    /* 0 .. n-1 */
struct process *sim_process(void); /* the current one, or world.outside */
_Noreturn void sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The host's memory: never NULL, zeroed. */
void *world_alloc(size_t size);
void *world_realloc(void *block, size_t size);
void world_free(void *block);

/* fs.c */
struct fs *fs_new(void);
void fs_free(struct fs *fs);
void fs_crash(struct fs *fs, int pid);
