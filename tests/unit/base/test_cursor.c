#include "tests/unit/suite.h"
#include "common/base/cursor.h"

static void round_trip(void)
{
    uint8_t b[64];
    struct writer w;
    writer_init(&w, b, sizeof b);
    write_u8(&w, 0xa1);
    write_u16(&w, 0xb1b2);
    write_u32(&w, 0xc1c2c3c4);
    write_u64(&w, 0xd1d2d3d4d5d6d7d8);
    write_u32_be(&w, 0xc1c2c3c4);
    write_u64_be(&w, 0xd1d2d3d4d5d6d7d8);
    write_bytes(&w, "xyz", 3);
    write_zeros(&w, 2);
    CHECK(!w.failed);
    CHECK_EQ(writer_used(&w), 32);
    static const uint8_t want[32] = {0xa1, 0xb2, 0xb1, 0xc4, 0xc3, 0xc2, 0xc1, 0xd8,
                                     0xd7, 0xd6, 0xd5, 0xd4, 0xd3, 0xd2, 0xd1, 0xc1,
                                     0xc2, 0xc3, 0xc4, 0xd1, 0xd2, 0xd3, 0xd4, 0xd5,
                                     0xd6, 0xd7, 0xd8, 'x',  'y',  'z',  0,    0};
    CHECK_BYTES(b, want, 32);

    struct reader r;
    reader_init(&r, b, 32);
    CHECK_EQ(read_u8(&r), 0xa1);
    CHECK_EQ(read_u16(&r), 0xb1b2);
    CHECK_EQ(read_u32(&r), 0xc1c2c3c4);
    CHECK(read_u64(&r) == 0xd1d2d3d4d5d6d7d8);
    CHECK_EQ(read_u32_be(&r), 0xc1c2c3c4);
    CHECK(read_u64_be(&r) == 0xd1d2d3d4d5d6d7d8);
    CHECK_EQ(reader_left(&r), 5);
    char text[3];
    read_bytes(&r, text, 3);
    CHECK_BYTES(text, "xyz", 3);
    CHECK(!reader_finished(&r));
    read_skip(&r, 2);
    CHECK(reader_finished(&r));
}

static void reading_past_the_end_is_remembered(void)
{
    uint8_t b[5] = {1, 2, 3, 4, 5};
    struct reader r;
    reader_init(&r, b, sizeof b);
    CHECK_EQ(read_u32(&r), 0x04030201);
    CHECK_EQ(read_u16(&r), 0); /* one byte is left: nothing of it is used */
    CHECK(r.failed);
    CHECK_EQ(read_u8(&r), 0); /* and nothing after it */
    CHECK_EQ(reader_left(&r), 0);
    CHECK(!reader_finished(&r));
    uint8_t out[3] = {9, 9, 9};
    read_bytes(&r, out, 3);
    CHECK_BYTES(out, "\0\0\0", 3);
    CHECK(read_view(&r, 1) == NULL);
    /* Lengths from outside that would wrap a pointer. */
    reader_init(&r, b, sizeof b);
    CHECK(read_view(&r, SIZE_MAX) == NULL);
    reader_init(&r, NULL, 0);
    CHECK(read_view(&r, 0) != NULL);
    CHECK(reader_finished(&r));
    CHECK_EQ(read_u64_be(&r), 0);
    CHECK(r.failed);
}

static void writing_past_the_end_writes_nothing(void)
{
    uint8_t b[8];
    memset(b, 0xee, sizeof b);
    struct writer w;
    writer_init(&w, b, 6);
    write_u32(&w, 1);
    write_u32(&w, 2);
    CHECK(w.failed);
    write_u8(&w, 3); /* would fit, but the record is broken already */
    CHECK_EQ(writer_used(&w), 4);
    CHECK_BYTES(b + 4, "\xee\xee\xee\xee", 4);
    writer_init(&w, NULL, 0);
    write_bytes(&w, "", 0);
    CHECK(!w.failed);
    write_zeros(&w, SIZE_MAX);
    CHECK(w.failed);
}

static const struct test tests[] = {
    {"round trip", round_trip},
    {"reading past the end is remembered", reading_past_the_end_is_remembered},
    {"writing past the end writes nothing", writing_past_the_end_writes_nothing},
    {0},
};
SUITE("cursor", tests)
