/* Random client work on keys that all clients share. What each did, and what it was told, goes into a
 * history (tests/check/history.h) outside of the simulated processes; workload_judge asks in the end
 * whether it is linearizable.
 *
 * The process that runs the clients and their one or two gateways may crash at any time: then clients
 * try most writes again that were under way, what else was has no known outcome, and they go on. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "tests/check/history.h"
#include "tests/sim/cluster.h"
#include "tests/sim/model.h"

enum { WORK_KEYS_MAX = 6, WORK_CLIENTS_MAX = 5, WORK_CLAIMS = 10, WORK_GATEWAYS = 2 };
enum phase { PHASE_START, PHASE_WORK, PHASE_HEAL, PHASE_CHECK, PHASE_END };

/* A write that a client has sent and not heard of. The client is not the gateway: when that dies, it
 * tries again as an SDK does, under the same invocation id. */
struct pending {
    bool open, removes;
    bool once; /* never tried again: its id and attempt are those of an earlier request */
    uint32_t key, attempt;
    enum history_condition condition;
    uint64_t seed, value;
    size_t number; /* in the history */
    size_t again;  /* likewise, of what later attempts do if the first is forgotten */
    bool has_again;
    char match[MODEL_ETAG]; /* IF_MATCH */
    char id[40];            /* the invocation's */
};

struct client {
    struct workload *work;
    struct gateway *gateway;
    uint32_t number, step, claims;        /* operations and claims begun */
    char seen[WORK_KEYS_MAX][MODEL_ETAG]; /* what it last saw there; "": nothing */
    struct pending pending;
};

struct workload {
    struct sim_cluster *cluster;
    uint32_t clients, operations; /* operations of each client */
    uint32_t keys, gateways;      /* 0: chosen by the process */
    int64_t pause;                /* at most, between two operations */
    bool large;                   /* multipart uploads among them */
    bool lose_disks;              /* m disks at once, when all is whole */
    bool lose_too_many;           /* at the end: m + 1 */
    uint32_t lost_first, lost;    /* the disks that were lost, in a ring */
    bool may_rot;                 /* what the disks hold may be found bad, and is mended */
    bool skewed;                  /* the sole member's clock was off */
    enum phase phase;             /* the nemesis works in PHASE_WORK, heals, sets PHASE_CHECK */
    /* out */
    struct gateway *gateway[WORK_GATEWAYS]; /* while the process lives */
    struct client client[WORK_CLIENTS_MAX];
    struct history *history;
    int64_t stamp; /* of the history's last begin or end */
    struct model *model;
    uint64_t puts, gets, deletes, lists, copies, uploads, refused;
    bool failed;
    char problem[400];
};
/* Before the world begins: what outlives the process. */
void workload_init(struct workload *w);
/* A simulated process's main function; arg is a struct workload. Ends when all has been checked. */
void workload_main(void *arg);
void workload_fail(struct workload *w, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* After the world: whether the history is linearizable. What is not is explained on stderr. */
void workload_judge(struct workload *w, bool tell);

/* operations.c: one random operation of a client. */
void operation_random(struct client *c);
/* The process is a new one: mostly tries the write again that was under way. */
void operation_resume(struct client *c);
/* Reads a key: the shared ones, then the claims. False when the answer was "not now". */
bool operation_get(struct client *c, uint32_t key);

/* operations_more.c */
bool operation_list(struct client *c); /* false: "not now" */
void operation_copy(struct client *c, uint32_t from, uint32_t key);
void operation_upload(struct client *c, uint32_t key);
