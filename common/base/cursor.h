/* The only way to decode bytes from outside: bounded cursors that remember the first overrun.
 *
 * Reading past the end returns zeros (or NULL) and sets failed; the caller checks once at the end.
 * Writing past the end writes nothing and sets failed. Integers are little-endian unless the name
 * says big-endian (_be, used in ordered keys). */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct reader {
    const uint8_t *at, *end;
    bool failed;
};
struct writer {
    uint8_t *start, *at, *end;
    bool failed;
};

void reader_init(struct reader *r, const void *data, size_t n);
uint8_t read_u8(struct reader *r);
uint16_t read_u16(struct reader *r);
uint32_t read_u32(struct reader *r);
uint64_t read_u64(struct reader *r);
uint32_t read_u32_be(struct reader *r);
uint64_t read_u64_be(struct reader *r);
void read_bytes(struct reader *r, void *out, size_t n); /* zeros when too few are left */
const void *read_view(struct reader *r, size_t n);      /* into the source; NULL when too few */
void read_skip(struct reader *r, size_t n);
size_t reader_left(const struct reader *r);
/* Whether everything was in bounds and nothing is left over. */
bool reader_finished(const struct reader *r);

void writer_init(struct writer *w, void *out, size_t capacity);
void write_u8(struct writer *w, uint8_t v);
void write_u16(struct writer *w, uint16_t v);
void write_u32(struct writer *w, uint32_t v);
void write_u64(struct writer *w, uint64_t v);
void write_u32_be(struct writer *w, uint32_t v);
void write_u64_be(struct writer *w, uint64_t v);
void write_bytes(struct writer *w, const void *data, size_t n);
void write_zeros(struct writer *w, size_t n);
size_t writer_used(const struct writer *w);
