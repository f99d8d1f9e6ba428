/* A new log: its first segment is written as a spare and gets its name when all of it is durable, so
 * a log is there whole or not at all. */
#include <string.h>
#include "metadata/log_internal.h"

static void any_segment(void *arg, const char *name, bool is_dir)
{
    (void)is_dir;
    if (strncmp(name, "segment-", 8) == 0)
        *(bool *)arg = true;
}

static enum err write_first(struct sys_file *f, const struct log_store_identity *identity,
                            uint64_t bytes, const struct raft_entry *first)
{
    struct log_segment_header h = {.identity = *identity, .sequence = 1, .bytes = bytes};
    sys_random(&h.generation, sizeof h.generation);
    h.generation |= 1;
    uint8_t *block = sys_alloc_aligned(LOG_BLOCK, LOG_BLOCK);
    log_store_header_encode(&h, block);
    enum err e = sys_file_write(f, 0, block, LOG_BLOCK);
    struct writer w;
    writer_init(&w, block + LOG_BATCH_HEADER, LOG_BLOCK - LOG_BATCH_HEADER);
    write_u32(&w, LOG_HARD_STATE);
    write_u32(&w, 16);
    write_u64(&w, first ? first->term : 0);
    write_u64(&w, 0);
    if (first) {
        write_u8(&w, LOG_ENTRY);
        write_u8(&w, (uint8_t)first->type);
        write_u16(&w, 0);
        write_u32(&w, (uint32_t)(16 + raft_entry_length(first)));
        write_u64(&w, first->index);
        write_u64(&w, first->term);
        if (first->payload)
            write_bytes(&w, first->payload->data, first->payload->length);
    }
    if (!e && w.failed)
        e = ERR_TOO_BIG;
    struct log_batch_header b = {.bytes = LOG_BLOCK,
                                 .previous_crc = h.crc,
                                 .generation = h.generation,
                                 .offset = LOG_BLOCK,
                                 .commit = first ? first->index : 0,
                                 .records = first ? 2 : 1,
                                 .record_bytes = (uint32_t)writer_used(&w)};
    if (!e) {
        log_store_batch_seal(&b, block);
        e = sys_file_write(f, LOG_BLOCK, block, LOG_BLOCK);
    }
    sys_free(block);
    return e ? e : sys_file_sync(f);
}

enum err log_store_create(const struct log_store_options *options,
                          const struct log_store_identity *identity, const struct raft_entry *first)
{
    char name[64], from[SYS_PATH_MAX], to[SYS_PATH_MAX];
    struct log_store where = {.directory = (char *)(uintptr_t)options->directory};
    if (strlen(options->directory) > SYS_PATH_MAX - 80)
        return ERR_TOO_BIG;
    enum err e = sys_dir_make(options->directory);
    bool there = false;
    if (!e)
        e = sys_dir_list(options->directory, any_segment, &there);
    if (e)
        return e;
    if (there)
        return ERR_EXISTS;
    uint64_t bytes = options->segment_bytes ? options->segment_bytes : LOG_SEGMENT_DEFAULT;
    log_store_spare_random_name(name);
    log_store_path(&where, name, from);
    log_store_segment_name(1, name);
    log_store_path(&where, name, to);
    struct sys_file *f;
    e = sys_file_open(from, SYS_OPEN_WRITE | SYS_OPEN_CREATE | SYS_OPEN_EXCLUSIVE | SYS_OPEN_DIRECT,
                      &f);
    if (e)
        return e;
    e = log_store_file_fill(f, 0, bytes);
    if (!e)
        e = write_first(f, identity, bytes, first);
    sys_file_close(f);
    if (!e)
        e = sys_dir_sync(options->directory);
    if (!e)
        e = sys_rename(from, to);
    return e ? e : sys_dir_sync(options->directory);
}
