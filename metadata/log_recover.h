/* Reading the log back at start; private to log_open.c and log_scan.c. */
#pragma once
#include "metadata/log_internal.h"

struct log_name {
    char name[64];
    uint64_t sequence;
    bool spare;
};
struct log_names {
    struct log_name *v;
    size_t n, capacity;
};

/* A window into a segment that is read in order. */
struct log_window {
    struct sys_file *file;
    uint8_t *bytes;
    size_t capacity;
    uint64_t from, to; /* offsets that bytes holds */
};

struct log_scan {
    struct log_store *store;
    struct log_window window;
    bool sealed; /* the segment read last ends in a seal, which names: */
    uint64_t next_sequence, next_generation;
    bool
        floating; /* what came before the first entries seen is gone: a compact record must follow */
    uint64_t cut_bytes;
};

/* Says where, and is ERR_CORRUPT. */
enum err log_store_scan_corrupt(const struct log_scan *scan, const char *what);
/* Reads the segment that follows (or the first), applying its records to the store. On OK it is the
 * store's last one; scan->sealed says whether another follows. */
enum err log_store_scan_segment(struct log_scan *scan, uint64_t sequence) MUST_USE;
/* ERR_CORRUPT when that segment holds a batch that knows an end beyond the store's. */
enum err log_store_scan_evidence_in(struct log_scan *scan, uint64_t sequence) MUST_USE;
void log_store_scan_release(struct log_scan *scan);
