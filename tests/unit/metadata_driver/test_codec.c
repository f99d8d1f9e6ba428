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

static void bytes_from_strangers(void)
{
    struct raft_message m = sample(6), back;
    size_t size = raft_codec_size(&m);
    uint8_t *bytes = sys_alloc(size);
    uint64_t x = suite_seed() | 1;
    for (int i = 0; i < 20000; i++) {
        raft_codec_encode(&m, bytes);
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
    raft_message_release(&m);
}

static const struct test tests[] = {
    {"there and back", there_and_back}, {"bytes from strangers", bytes_from_strangers}, {0}};
SUITE("raft codec", tests)
