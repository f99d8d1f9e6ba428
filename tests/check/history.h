/* What clients did to keys and what they were told: recorded while it happens, checked afterwards
 * (linearizable.h). Memory is the C library's, so that a history outlives simulated processes.
 *
 * A value is a 64-bit number that stands for an object's content (its XXH64, or whatever the recorder
 * maps content to); equal content, equal value. Times are nanoseconds of one clock that all clients
 * share. One thread at a time. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HISTORY_NOTHING  0          /* no object */
#define HISTORY_ANYTHING UINT64_MAX /* some object: a copy of what is not known, an entry by name */
#define HISTORY_NEVER    INT64_MAX  /* a time of return: none */

enum history_kind { HISTORY_GET, HISTORY_PUT, HISTORY_DELETE };
enum history_condition {
    HISTORY_ALWAYS,
    HISTORY_IF_ABSENT, /* If-None-Match: * */
    HISTORY_IF_MATCH,  /* If-Match: `expected`; HISTORY_ANYTHING is If-Match: * */
};
/* OPEN: the outcome is not known; it may take effect once, at any time after invoke, or never.
 * REFUSED: its condition did not hold (412). What was refused for any other reason is dropped: it
 * must not be seen by anybody. */
enum history_outcome { HISTORY_OPEN, HISTORY_DONE, HISTORY_REFUSED };

struct history_op {
    int64_t invoke, done; /* done: HISTORY_NEVER when OPEN */
    uint64_t value;       /* PUT: what it writes; GET: what it returned */
    uint64_t expected;    /* IF_MATCH */
    uint32_t client, key;
    uint8_t kind, condition, outcome; /* the enums above */
    bool dropped;
    bool listed; /* a GET that stands for a key's presence in, or absence from, a listing */
};

struct history_listed {
    uint32_t key;
    uint64_t value;
};

enum {
    HISTORY_OPS_MAX = 1 << 22,
    HISTORY_KEYS_MAX = 1 << 18,
    HISTORY_NAME_MAX = 1024, /* bytes of a key */
};

struct history;
struct history *history_new(void);
void history_free(struct history *h);

/* The number of a key, from its name: NUL-terminated, at most HISTORY_NAME_MAX bytes. */
uint32_t history_key(struct history *h, const char *name);
const char *history_name(const struct history *h, uint32_t key);
size_t history_keys(const struct history *h);

/* An operation begins: OPEN until history_end. Its number, by which it is ended or dropped. */
size_t history_begin(struct history *h, const struct history_op *op);
/* It returned at `done`. value: for a GET, and for a PUT of what was HISTORY_ANYTHING so far. */
void history_end(struct history *h, size_t number, int64_t done, enum history_outcome outcome,
                 uint64_t value);
/* It certainly had no effect, nor ever will; or a read that was not answered. */
void history_drop(struct history *h, size_t number);
/* begin and end in one. */
void history_add(struct history *h, const struct history_op *op);

/* One page of a listing of the keys that begin with prefix and lie in (after, until]; until NULL: to
 * the end. Every key of the history in that range that is not among `listed` was absent. Copies. */
void history_list(struct history *h, uint32_t client, int64_t invoke, int64_t done,
                  const char *prefix, const char *after, const char *until,
                  const struct history_listed *listed, size_t n);

/* The operations of one key in order of invoke, listings among them as GETs; open reads and what was
 * dropped left out. malloc'd; NULL when there is none. */
struct history_op *history_of_key(const struct history *h, uint32_t key, size_t *n);
size_t history_size(const struct history *h); /* operations, and pages of listings */

/* JSON lines, one operation a line (README.md). OK, or what is wrong with which line. */
bool history_read(struct history *h, const char *path, char problem[200]);
