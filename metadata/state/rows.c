#include "metadata/state/rows.h"
#include <assert.h>
#include "common/base/cursor.h"

enum { CHUNK_BYTES_MAX = 64 << 20 };

void chunk_row_encode(const struct chunk_row *row, uint8_t out[CHUNK_ROW_BYTES])
{
    struct writer w;
    writer_init(&w, out, CHUNK_ROW_BYTES);
    write_u32(&w, row->length);
    write_u64(&w, row->nonce);
    write_u64(&w, (uint64_t)row->began);
    write_u64(&w, row->missing);
    assert(!w.failed && writer_used(&w) == CHUNK_ROW_BYTES);
}

bool chunk_row_decode(struct kv_slice value, struct chunk_row *row)
{
    struct reader r;
    reader_init(&r, value.data, value.length);
    row->length = read_u32(&r);
    row->nonce = read_u64(&r);
    row->began = (int64_t)read_u64(&r);
    row->missing = read_u64(&r);
    return reader_finished(&r);
}

bool run_from_message(const ChunkRun *m, struct run *run)
{
    if (m->write_id.len != WRITE_ID_BYTES || m->pool == 0 || m->count == 0 ||
        m->count > INT32_MAX || m->chunk_size == 0 || m->chunk_size > CHUNK_BYTES_MAX ||
        m->last_length == 0 || m->last_length > m->chunk_size ||
        m->first_sequence > UINT32_MAX - m->count)
        return false;
    *run = (struct run){.pool = m->pool,
                        .first = m->first_sequence,
                        .count = m->count,
                        .chunk_size = m->chunk_size,
                        .last_length = m->last_length};
    memcpy(run->write.bytes, m->write_id.data, WRITE_ID_BYTES);
    return true;
}

void run_to_message(const struct run *run, struct arena *arena, ChunkRun *m)
{
    chunk_run__init(m);
    m->pool = run->pool;
    m->write_id.len = WRITE_ID_BYTES;
    m->write_id.data = arena_copy(arena, run->write.bytes, WRITE_ID_BYTES);
    m->first_sequence = run->first;
    m->count = run->count;
    m->chunk_size = run->chunk_size;
    m->last_length = run->last_length;
}

uint64_t run_bytes(const struct run *run)
{
    return (uint64_t)(run->count - 1) * run->chunk_size + run->last_length;
}

uint32_t run_chunk_length(const struct run *run, uint32_t i)
{
    return i + 1 == run->count ? run->last_length : run->chunk_size;
}

static void write_run(struct writer *w, const struct run *run)
{
    write_u32(w, run->pool);
    write_bytes(w, run->write.bytes, WRITE_ID_BYTES);
    write_u32(w, run->first);
    write_u32(w, run->count);
    write_u32(w, run->chunk_size);
    write_u32(w, run->last_length);
}

static void read_run(struct reader *r, struct run *run)
{
    run->pool = read_u32(r);
    read_bytes(r, run->write.bytes, WRITE_ID_BYTES);
    run->first = read_u32(r);
    run->count = read_u32(r);
    run->chunk_size = read_u32(r);
    run->last_length = read_u32(r);
}

void run_encode(const struct run *run, uint8_t out[RUN_BYTES])
{
    struct writer w;
    writer_init(&w, out, RUN_BYTES);
    write_run(&w, run);
    assert(!w.failed && writer_used(&w) == RUN_BYTES);
}

void run_decode(const uint8_t in[RUN_BYTES], struct run *run)
{
    struct reader r;
    reader_init(&r, in, RUN_BYTES);
    read_run(&r, run);
}

void due_row_encode(const struct due_row *row, uint8_t out[DUE_ROW_BYTES])
{
    struct writer w;
    writer_init(&w, out, DUE_ROW_BYTES);
    write_u32(&w, row->next_sequence);
    write_u32(&w, row->position);
    write_u32(&w, row->count);
    write_bytes(&w, row->list.bytes, WRITE_ID_BYTES);
    write_u32(&w, row->list_first);
    write_run(&w, &row->run);
    assert(!w.failed && writer_used(&w) == DUE_ROW_BYTES);
}

bool due_row_decode(struct kv_slice value, struct due_row *row)
{
    struct reader r;
    reader_init(&r, value.data, value.length);
    row->next_sequence = read_u32(&r);
    row->position = read_u32(&r);
    row->count = read_u32(&r);
    read_bytes(&r, row->list.bytes, WRITE_ID_BYTES);
    row->list_first = read_u32(&r);
    read_run(&r, &row->run);
    return reader_finished(&r);
}

void usage_encode(const struct usage *usage, uint8_t out[USAGE_BYTES])
{
    struct writer w;
    writer_init(&w, out, USAGE_BYTES);
    write_u64(&w, usage->objects);
    write_u64(&w, usage->bytes);
}

bool usage_decode(struct kv_slice value, struct usage *usage)
{
    struct reader r;
    reader_init(&r, value.data, value.length);
    usage->objects = read_u64(&r);
    usage->bytes = read_u64(&r);
    return reader_finished(&r);
}
