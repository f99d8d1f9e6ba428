/* Random client work, and a model of what each key may hold (model.h).
 *
 * Each client owns its keys, so its history is sequential. Beside them all clients fight for claims:
 * conditional puts of which one may win. The process that runs the clients and their gateway may
 * crash at any time: it goes on where it was. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "tests/sim/cluster.h"
#include "tests/sim/model.h"

enum { WORK_KEYS = 6, WORK_CLIENTS_MAX = 4, WORK_CLAIMS = 8 };
enum phase { PHASE_START, PHASE_WORK, PHASE_HEAL, PHASE_CHECK, PHASE_END };

struct client {
    struct workload *work;
    struct gateway *gateway;
    uint32_t number, step; /* operations done or given up */
    struct model_key keys[WORK_KEYS];
};

struct claim {
    uint64_t winner;
    uint64_t tries[WORK_CLIENTS_MAX]; /* what each has ever tried; 0: nothing */
    uint32_t open;                    /* tries that may win or have won unseen */
};

struct workload {
    struct sim_cluster *cluster;
    uint32_t clients, operations; /* operations of each client */
    int64_t pause;                /* at most, between two operations */
    bool large;                   /* multipart uploads among them */
    bool lose_disks;              /* m disks at once, when all is whole */
    bool lose_too_many;           /* at the end: m + 1 */
    uint32_t lost_first, lost;    /* the disks that were lost, in a ring */
    bool may_rot;                 /* what the disks hold may be found bad, and is mended */
    bool skewed;                  /* the sole member's clock was off */
    enum phase phase;             /* the nemesis works in PHASE_WORK, heals, sets PHASE_CHECK */
    /* out */
    struct client client[WORK_CLIENTS_MAX];
    struct claim claims[WORK_CLAIMS];
    uint64_t puts, gets, deletes, lists, copies, uploads, refused;
    bool failed;
    char problem[400];
};
/* A simulated process's main function; arg is a struct workload. Ends when all has been checked. */
void workload_main(void *arg);
void workload_fail(struct workload *w, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* operations.c: one random operation of a client. */
void operation_random(struct client *c);
/* Reads a key; false when the answer was "not now". */
bool operation_get(struct client *c, uint32_t key);
bool operation_list(struct client *c);
/* Whether a claim's key holds what it may; false: "not now". */
bool operation_get_claim(struct client *c, uint32_t claim);
