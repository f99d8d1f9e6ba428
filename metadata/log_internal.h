/* The open log, shared by its files: log_write.c, log_segment.c, log_open.c, log_read.c. */
#pragma once
#include "common/sys/sys.h"
#include "metadata/log.h"
#include "metadata/log_format.h"

struct log_segment {
    uint64_t sequence, generation, bytes;
};
/* A batch that holds entries: where reading for an index begins. */
struct log_place {
    uint64_t first; /* index of its first entry that still counts */
    uint64_t sequence, offset;
    uint32_t bytes;
};

struct log_store {
    char *directory;
    uint64_t segment_bytes;
    size_t batch_bytes;
    struct log_store_identity identity;
    struct sys_file *lock;

    struct log_segment *segments; /* in use, ascending; the last is written */
    size_t segment_count, segment_capacity;
    struct sys_file *file; /* the last one's */
    uint64_t end;          /* where its next batch goes */
    uint32_t chain;        /* the CRC that it names */
    uint64_t incarnation;
    uint64_t known_sequence, known_offset; /* synced up to here */
    bool marked; /* the end of all that was acknowledged stands in a later batch */

    uint8_t *buffer; /* one batch, aligned */
    size_t buffer_bytes;
    struct writer records;
    uint32_t record_count;

    struct sys_file *spare; /* being written, as spare_name; NULL: none begun */
    uint64_t spare_written;
    char spare_name[64]; /* "" none; ready when spare is NULL */

    struct raft_hard_state hard;
    struct term_runs terms;
    struct raft_entry compact_configuration; /* payload NULL: none */
    struct raft_entries configurations;      /* those of the entries that are there */
    uint64_t compact_first_sequence;
    struct log_place *places;
    size_t place_count, place_capacity;
    uint64_t appends, syncs, written_bytes, file_bytes;
};

/* log_segment.c */
_Noreturn void log_store_die(const struct log_store *s, const char *what, enum err e);
void log_store_path(const struct log_store *s, const char *name, char out[SYS_PATH_MAX]);
void log_store_segment_name(uint64_t sequence, char out[64]);
enum err log_store_file_fill(struct sys_file *f, uint64_t from, uint64_t to) MUST_USE;
void log_store_spare_random_name(char out[64]);
enum err log_store_spare_advance(struct log_store *s, uint64_t bytes) MUST_USE;
void log_store_rotate(struct log_store *s, uint64_t needed);
void log_store_segment_add(struct log_store *s, const struct log_segment_header *h);
struct log_segment *log_store_segment_last(struct log_store *s);

/* log_write.c */
void log_store_buffer_reserve(struct log_store *s, size_t bytes);
void log_store_batch_begin(struct log_store *s);
void log_store_make_room(struct log_store *s, uint64_t record_bytes);
void log_store_put_truncate(struct log_store *s, uint64_t from);
void log_store_put_compact(struct log_store *s);
size_t log_store_compact_bytes(const struct raft_entry *configuration);
void log_store_put_seal(struct log_store *s, uint64_t sequence, uint64_t generation);
void log_store_batch_write_here(struct log_store *s); /* at s->end, which has the room */
void log_store_sync(struct log_store *s);

/* log_compact.c */
void log_store_configurations_truncate(struct log_store *s, uint64_t from);
/* Those up to index are compacted away; the last of them is kept as the compacted one. */
void log_store_configurations_compact(struct log_store *s, uint64_t index);

/* log_places.c */
void log_store_place_add(struct log_store *s, uint64_t first, uint64_t sequence, uint64_t offset,
                         uint32_t bytes);
void log_store_place_truncate(struct log_store *s, uint64_t from);
void log_store_place_compact(struct log_store *s, uint64_t index);
size_t log_store_place_find(const struct log_store *s, uint64_t index); /* place_count: none */
