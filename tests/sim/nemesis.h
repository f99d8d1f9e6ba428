/* Between the files of the nemesis:
 *   faults.c     what strikes when; healing
 *   strikes.c    harm to processes, network, disks and clocks
 *   replies.c    harm at the moment when a write has been applied and nobody has been told
 *   operator.c   what an operator does meanwhile, in a thread of its own
 *   members.c    and to the members of the metadata group */
#pragma once
#include "tests/sim/faults.h"
#include "tests/sim/s3.h"

/* What is on its way back to normal. */
enum undo_kind {
    UNDO_CUT,
    UNDO_DELAY,
    UNDO_LOSS,
    UNDO_BANDWIDTH,
    UNDO_PAUSE,
    UNDO_SKEW,
    UNDO_SLOW,
    UNDO_HANG,
    UNDO_UNMOUNT,
    UNDO_LIMIT
};
struct undo {
    enum undo_kind kind;
    uint32_t a, b; /* hosts; pid for a pause; host and 0 or 1 + disk, 0: the member's */
    int64_t at;
};
enum { UNDOS_MAX = 32 };

/* Requests that are worth an aimed strike. */
enum moment { MOMENT_PUT, MOMENT_CLAIM, MOMENT_COMPLETE, MOMENT_DELETE, MOMENT_GET, MOMENTS };

/* What the operator is asked to do; one thing at a time. */
struct errand {
    enum fault kind;
    uint64_t dice;
    bool open;     /* asked for, not yet done */
    bool on_sight; /* not before the next large PUT is under way */
};

/* A place for a member, and what is still to be done there. */
struct post {
    enum {
        POST_FILLED, /* a voter, as far as the operator knows */
        POST_REMOVE, /* who is there, or was before its disk was lost, is taken out of the group */
        POST_EMPTY,  /* its process is stopped and its directory emptied */
        POST_JOIN,   /* another one comes, and is waited for */
        POST_CLOSED, /* nobody comes */
    } stage;
    uint64_t id;  /* of the member that leaves, or was there last; 0: not known */
    bool closes;  /* nobody takes its place */
    bool emptied; /* its directory is empty already */
};

struct nemesis {
    struct faults *f;
    uint64_t dice; /* of the strike that is under way */
    struct undo undos[UNDOS_MAX];
    uint32_t undo_count;
    int64_t harmed_until[SIM_METADATA_MAX];
    struct post post[SIM_METADATA_MAX];
    bool removed; /* a member was */
    int64_t skewed_until;
    bool lost;       /* the victim's disk has been wiped or given up */
    disk_id to_fail; /* .. and is still to be called failed; 0: it is */
    /* the next request of that kind is struck */
    struct aim {
        bool armed;
        enum moment at;
        uint64_t dice;
    } aim;
    /* the next write that is applied is struck */
    struct reply {
        bool armed, conditional; /* only one with a condition */
        uint64_t dice;
        uint64_t
            applied; /* the highest index so far: a write is struck where it is applied first */
    } reply;
    /* all chunkservers crash when the next object is there */
    struct outage {
        bool armed;
        uint64_t dice;
    } outage;
    uint64_t puts_seen;
    struct errand errand;
    bool ending;
    struct sys_thread *operator;
    bool view_open;
    struct cluster_view view;
};

/* The next random number below n of a stream. */
uint64_t nemesis_below(uint64_t *dice, uint64_t n);
/* Half of them evenly below most, half of them below a sixteenth of it. */
int64_t nemesis_time(uint64_t *dice, int64_t most);

/* strikes.c; false: not now. */
bool nemesis_strike(struct nemesis *n, enum fault kind);
void nemesis_undo_due(struct nemesis *n, int64_t now);
/* Undoes it so much later, at the latest when all is healed. False: too much is going on. */
bool nemesis_undo_after(struct nemesis *n, enum undo_kind kind, uint32_t a, uint32_t b,
                        int64_t after);
/* A request begins: what waits for such a one strikes. */
void nemesis_seen(void *nemesis, const struct s3_request *request);

/* replies.c: waits for a write, for as long as it takes. False: one is waited for. */
bool replies_strike(struct nemesis *n);
void nemesis_applied(void *nemesis, uint64_t index, const void *command, size_t bytes);
/* members.c: what an operator does to the metadata group; in the operator's thread. */
bool members_run(struct nemesis *n, enum fault kind, uint64_t dice);
/* After the faults: ends what was begun. */
void members_settle(struct nemesis *n);
/* Voters there are, as far as the operator knows; with who is to be removed. */
uint32_t members_count(const struct nemesis *n);

/* operator.c */
bool operator_open(struct nemesis *n); /* the cluster can be asked; forgets earlier answers */
void operator_start(struct nemesis *n);
void operator_stop(struct nemesis *n);
bool operator_ask(struct nemesis *n, enum fault kind, uint64_t dice, bool on_sight);
/* Once the faults are over: all disks are in that have not failed; the victim's, when it has failed, is
 * replaced by an empty one. */
void operator_settle(struct nemesis *n);
