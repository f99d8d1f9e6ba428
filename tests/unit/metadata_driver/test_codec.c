/* Messages there and back, and bytes from strangers. */
#include "common/base/alloc.h"
#include "metadata/raft/raft.h"
#include "metadata/raft_codec.h"
#include "tests/unit/suite.h"

static struct raft_message sample(size_t entries)
{
    struct raft_message m = {.type = RAFT_APPEND,
                             .from = UINT64_C(0xfedcba9876543210),
                             .to = 7,
                             .term = 12,
                             .index = 40,
                             .log_term = 11,
                             .commit = 39,
                             .reject = true,
                             .hint_index = 3,
                             .hint_term = 2,
                             .context = 99};
    for (size_t i = 0; i < entries; i++) {
        struct raft_entry e = {.index = 41 + i,
                               .term = 11 + i,
                               .type = i ? RAFT_ENTRY_COMMAND : RAFT_ENTRY_NOOP,
                               .payload = i ? raft_payload_new("payload", i % 8) : NULL};
        if (e.payload && e.payload->length == 0) {
            raft_payload_unref(e.payload);
            e.payload = NULL;
        }
        raft_entries_push(&m.entries, &e);
        raft_payload_unref(e.payload);
    }
    return m;
}

static void there_and_back(void)
{
    for (size_t n = 0; n < 40; n += 13) {
        struct raft_message m = sample(n), back;
        size_t size = raft_codec_size(&m);
        uint8_t *bytes = sys_alloc(size);
        raft_codec_encode(&m, bytes);
        if (CHECK_OK(raft_codec_decode(bytes, size, &back))) {
            CHECK_EQ(back.type, m.type);
            CHECK(back.from == m.from && back.to == m.to && back.term == m.term);
            CHECK(back.index == m.index && back.log_term == m.log_term && back.commit == m.commit);
            CHECK(back.reject == m.reject && back.hint_index == m.hint_index);
            CHECK(back.hint_term == m.hint_term && back.context == m.context);
            CHECK_EQ(back.entries.n, n);
            for (size_t i = 0; i < n && i < back.entries.n; i++) {
                const struct raft_entry *a = &m.entries.v[i], *b = &back.entries.v[i];
                CHECK(a->index == b->index && a->term == b->term && a->type == b->type);
                CHECK_EQ(raft_entry_length(a), raft_entry_length(b));
                if (a->payload && b->payload)
                    CHECK_BYTES(a->payload->data, b->payload->data, a->payload->length);
            }
            raft_message_release(&back);
        }
        sys_free(bytes);
        raft_message_release(&m);
    }
}

static struct raft_message snapshot(size_t piece)
{
    struct raft_message m = sample(0);
    m.type = RAFT_SNAPSHOT;
    m.offset = UINT64_C(1) << 40;
    m.last = true;
    struct raft_entry configuration = {.index = 17,
                                       .term = 9,
                                       .type = RAFT_ENTRY_CONFIGURATION,
                                       .payload = raft_payload_new("members", 7)};
    raft_entries_push(&m.entries, &configuration);
    raft_payload_unref(configuration.payload);
    if (piece) {
        uint8_t *bytes = sys_alloc(piece);
        bytes[piece - 1] = 42;
        m.piece = raft_payload_new(bytes, piece);
        sys_free(bytes);
    }
    return m;
}

static void a_piece_of_a_snapshot(void)
{
    const size_t lengths[] = {0, 1, 4096, RAFT_PIECE_MAX, RAFT_PIECE_MAX + 1};
    for (size_t i = 0; i < 5; i++) {
        struct raft_message m = snapshot(lengths[i]), back;
        size_t size = raft_codec_size(&m);
        uint8_t *bytes = sys_alloc(size);
        raft_codec_encode(&m, bytes);
        enum err e = raft_codec_decode(bytes, size, &back);
        if (lengths[i] > RAFT_PIECE_MAX) {
            CHECK_ERR(e, ERR_FORMAT);
        } else if (CHECK_OK(e)) {
            CHECK(back.offset == m.offset && back.last && back.index == 40 && back.log_term == 11);
            CHECK(!back.piece == !m.piece);
            if (back.piece && CHECK_EQ(back.piece->length, lengths[i]))
                CHECK_BYTES(back.piece->data, m.piece->data, lengths[i]);
            if (CHECK_EQ(back.entries.n, 1))
                CHECK(back.entries.v[0].index == 17 && back.entries.v[0].term == 9);
            CHECK_EQ(raft_message_bytes(&back), raft_message_bytes(&m));
            struct raft_message moved;
            raft_message_move(&moved, &back);
            raft_message_release(&moved);
            raft_message_release(&back);
        }
        sys_free(bytes);
        raft_message_release(&m);
    }
}

static void strange_bytes(struct raft_message *m)
{
    struct raft_message back;
    size_t size = raft_codec_size(m);
    uint8_t *bytes = sys_alloc(size);
    uint64_t x = suite_seed() | 1;
    for (int i = 0; i < 20000; i++) {
        raft_codec_encode(m, bytes);
        for (int k = 0; k < 3; k++) {
            x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
            bytes[(x >> 33) % size] = (uint8_t)(x >> 20);
        }
        size_t n = i % 3 ? size : (x >> 40) % size;
        if (raft_codec_decode(bytes, n, &back) == OK)
            raft_message_release(&back);
    }
    CHECK_ERR(raft_codec_decode("", 0, &back), ERR_FORMAT);
    sys_free(bytes);
    raft_message_release(m);
}

static void bytes_from_strangers(void)
{
    struct raft_message appended = sample(6), piece = snapshot(100);
    strange_bytes(&appended);
    strange_bytes(&piece);
}
static const struct test tests[] = {{"there and back", there_and_back},
                                    {"a piece of a snapshot", a_piece_of_a_snapshot},
                                    {"bytes from strangers", bytes_from_strangers},
                                    {0}};
SUITE("raft codec", tests)
