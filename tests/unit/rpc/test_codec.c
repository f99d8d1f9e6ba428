/* The pure parts: frames, greetings, messages, buffers, breaker, backoff. */
#include "tests/unit/rpc/rig.h"
#include "common/rpc/breaker.h"
#include "common/rpc/retry.h"

static uint64_t random_step(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

static void frames(void)
{
    struct frame_header h = {.type = 77,
                             .flags = FRAME_STREAM | FRAME_LAST,
                             .call = 0x1122334455667788,
                             .body_length = FRAME_BODY_MAX,
                             .payload_length = FRAME_PAYLOAD_MAX,
                             .deadline_ms = 1234,
                             .payload_crc = 5,
                             .body_crc = 6,
                             .epoch = 7,
                             .trace = 8};
    struct frame_header back;
    uint8_t bytes[FRAME_HEADER_BYTES];
    frame_encode(&h, bytes);
    CHECK_OK(frame_decode(bytes, &back));
    CHECK_EQ(back.call, h.call);
    CHECK_EQ(back.deadline_ms, 1234);
    CHECK_EQ(back.payload_length, FRAME_PAYLOAD_MAX);
    CHECK_EQ(back.epoch, 7);
    CHECK_EQ(back.trace, 8);
    /* The format itself, not only its own inverse. */
    static const uint8_t start[16] = {0x43, 0x52, 0x4e, 0x31, 77,   0,    12,   0,
                                      0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11};
    CHECK_BYTES(bytes, start, sizeof start);
    h = (struct frame_header){.flags = FRAME_REPLY, .status = ERR_NOT_FOUND};
    frame_encode(&h, bytes);
    CHECK_OK(frame_decode(bytes, &back));
    CHECK_EQ(back.status, ERR_NOT_FOUND);
    for (unsigned bit = 0; bit < sizeof bytes * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        CHECK(frame_decode(bytes, &back) != OK);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

/* A header whose CRC holds, but whose lengths or flags do not. */
static void seal(uint8_t bytes[FRAME_HEADER_BYTES])
{
    uint32_t crc = crc32c(0, bytes, FRAME_HEADER_BYTES - 4);
    for (unsigned i = 0; i < 4; i++)
        bytes[FRAME_HEADER_BYTES - 4 + i] = (uint8_t)(crc >> 8 * i);
}

static void frames_out_of_bounds(void)
{
    struct frame_header h = {.type = 1}, back;
    uint8_t bytes[FRAME_HEADER_BYTES];
    frame_encode(&h, bytes);
    bytes[19] = 1; /* body of 16 MiB */
    seal(bytes);
    CHECK_ERR(frame_decode(bytes, &back), ERR_TOO_BIG);
    frame_encode(&h, bytes);
    bytes[23] = 0xff; /* payload */
    seal(bytes);
    CHECK_ERR(frame_decode(bytes, &back), ERR_TOO_BIG);
    frame_encode(&h, bytes);
    bytes[7] = 0x80; /* a flag of the future */
    seal(bytes);
    CHECK_ERR(frame_decode(bytes, &back), ERR_FORMAT);
    uint64_t x = suite_seed() | 1;
    for (int i = 0; i < 20000; i++) {
        for (unsigned j = 0; j < sizeof bytes; j++)
            bytes[j] = (uint8_t)random_step(&x);
        if (i % 2)
            memcpy(bytes, "CRN1", 4);
        seal(bytes);
        if (frame_decode(bytes, &back) == OK)
            CHECK(back.body_length <= FRAME_BODY_MAX && back.payload_length <= FRAME_PAYLOAD_MAX);
    }
}

static void hellos(void)
{
    struct hello h = {.version = 1,
                      .kind = RPC_BULK,
                      .key_id = 9,
                      .identity = {.node_id = 5, .role = RPC_CHUNK, .feature_level = 2}};
    memset(h.nonce, 3, sizeof h.nonce);
    uint8_t bytes[HELLO_BYTES + 20];
    struct hello back;
    memset(bytes, 0xee, sizeof bytes);
    hello_encode(&h, bytes);
    for (size_t n = 0; n < HELLO_BYTES; n++)
        CHECK_ERR(hello_decode(bytes, n, &back), ERR_FORMAT);
    CHECK_OK(hello_decode(bytes, HELLO_BYTES, &back));
    CHECK_OK(hello_decode(bytes, sizeof bytes, &back)); /* what a later version adds */
    CHECK_EQ(back.identity.node_id, 5);
    CHECK_EQ(back.kind, RPC_BULK);
    uint8_t a[32], b[32];
    struct rpc_key key = {.id = 1};
    hello_proof(&key, true, bytes, HELLO_BYTES, bytes, HELLO_BYTES, a);
    hello_proof(&key, false, bytes, HELLO_BYTES, bytes, HELLO_BYTES, b);
    CHECK(memcmp(a, b, 32) != 0); /* a proof cannot be reflected */
    hello_proof(&key, true, bytes, HELLO_BYTES - 1, bytes, HELLO_BYTES, b);
    CHECK(memcmp(a, b, 32) != 0);
    bytes[2] = 99;
    CHECK_ERR(hello_decode(bytes, HELLO_BYTES, &back), ERR_FORMAT);
    bytes[0] = bytes[1] = 0;
    CHECK_ERR(hello_decode(bytes, HELLO_BYTES, &back), ERR_UNSUPPORTED);
}

static void messages(void)
{
    struct arena arena;
    arena_init(&arena);
    ShardDelete m = SHARD_DELETE__INIT;
    ProtobufCBinaryData ids[100];
    for (unsigned i = 0; i < 100; i++)
        ids[i] = (ProtobufCBinaryData){16, (uint8_t *)ids};
    m.chunk_ids = ids;
    m.n_chunk_ids = 100;
    m.disk = 4;
    uint8_t *packed;
    size_t n;
    CHECK_ERR(message_pack(&m.base, &arena, 100, &packed, &n), ERR_TOO_BIG);
    CHECK_OK(message_pack(&m.base, &arena, 100000, &packed, &n));
    ProtobufCMessage *back;
    CHECK_OK(message_unpack(&shard_delete__descriptor, &arena, packed, n, &back));
    CHECK_EQ(((ShardDelete *)back)->n_chunk_ids, 100);
    CHECK_ERR(message_unpack(&shard_delete__descriptor, &arena, packed, n - 1, &back), ERR_FORMAT);
    CHECK_OK(message_unpack(&shard_delete__descriptor, &arena, NULL, 0, &back));
    uint64_t x = suite_seed() | 1;
    for (int i = 0; i < 3000; i++) {
        uint8_t *copy = arena_copy(&arena, packed, n);
        for (int j = 0; j < 4; j++)
            copy[random_step(&x) % n] = (uint8_t)random_step(&x);
        (void)!message_unpack(&shard_delete__descriptor, &arena, copy, random_step(&x) % n, &back);
        if (i % 100 == 0) {
            arena_clear(&arena);
            CHECK_OK(message_pack(&m.base, &arena, 100000, &packed, &n));
        }
    }
    /* Many two-byte empty submessages: refused before they fill the memory. */
    size_t bomb_n = 1024 * 1024;
    uint8_t *bomb = sys_alloc(bomb_n);
    for (size_t i = 0; i < bomb_n; i += 2)
        bomb[i] = 0x0a; /* Reports.heartbeats, length 0 */
    arena_clear(&arena);
    (void)!message_unpack(&reports__descriptor, &arena, bomb, bomb_n, &back);
    CHECK(arena.used_bytes <= 65 * 1024 * 1024 + 65536);
    sys_free(bomb);
    arena_release(&arena);
}

static void buffers(void)
{
    struct buf_pool *p = buf_pool_new(1024 * 1024);
    struct buf *v[16], *large;
    for (int i = 0; i < 16; i++) {
        CHECK_OK(buf_get(p, 1, &v[i]));
        CHECK_EQ((uintptr_t)v[i]->data % BUF_ALIGN, 0);
        memset(v[i]->data, i, v[i]->capacity);
    }
    CHECK_ERR(buf_get(p, 1, &large), ERR_BUSY);
    buf_unref(buf_ref(v[0]));
    CHECK_ERR(buf_get(p, 1, &large), ERR_BUSY);
    for (int i = 0; i < 4; i++)
        buf_unref(v[i]);
    CHECK_OK(buf_get(p, BUF_SMALL + 1, &large));
    CHECK_EQ(large->capacity, BUF_LARGE);
    CHECK_ERR(buf_get(p, 1, &v[0]), ERR_BUSY);
    buf_unref(large);
    for (int i = 4; i < 16; i++)
        buf_unref(v[i]);
    struct buf_pool_stats s = buf_pool_stats(p);
    CHECK_EQ(s.used_bytes, 0);
    CHECK_EQ(s.peak_bytes, 1024 * 1024);
    CHECK_EQ(s.refusals, 3);
    buf_pool_free(p);
}

static void breakers(void)
{
    struct breaker_settings s;
    breaker_settings_default(&s);
    struct breaker b;
    breaker_init(&b, &s);
    int64_t now = 1000 * SYS_SECOND;
    for (int i = 0; i < 100; i++) {
        CHECK(breaker_allow(&b, now));
        breaker_report(&b, now, true, SYS_MS);
    }
    for (int i = 0; i < 99; i++)
        breaker_report(&b, now, false, 0);
    CHECK_EQ(breaker_state(&b, now), BREAKER_CLOSED);
    breaker_report(&b, now, true, 2 * SYS_SECOND); /* slow counts */
    CHECK_EQ(breaker_state(&b, now), BREAKER_OPEN);
    CHECK(!breaker_allow(&b, now + s.open_ns - 1));
    now += s.open_ns;
    CHECK(breaker_allow(&b, now));
    CHECK(!breaker_allow(&b, now)); /* one probe at a time */
    breaker_report(&b, now, false, 0);
    CHECK(!breaker_allow(&b, now + s.open_ns)); /* the pause has doubled */
    now += 2 * s.open_ns;
    CHECK(breaker_allow(&b, now));
    breaker_forget(&b, now);
    for (uint32_t i = 0; i < s.probes; i++) {
        CHECK(breaker_allow(&b, now));
        breaker_report(&b, now, true, SYS_MS);
    }
    CHECK_EQ(breaker_state(&b, now), BREAKER_CLOSED);
    /* Old failures leave the window. */
    for (int i = 0; i < 4; i++)
        breaker_report(&b, now, false, 0);
    now += s.window_ns + SYS_SECOND;
    breaker_report(&b, now, false, 0);
    CHECK_EQ(breaker_state(&b, now), BREAKER_CLOSED);
}

static void retries(void)
{
    CHECK_EQ(backoff_full_jitter(10, 1000, 0, 10), 10);
    CHECK_EQ(backoff_full_jitter(10, 1000, 3, 80), 80);
    CHECK_EQ(backoff_full_jitter(10, 1000, 3, 81), 0);
    CHECK_EQ(backoff_full_jitter(10, 1000, 4000000000u, 1000), 1000);
    struct retry_policy policy;
    retry_policy_default(&policy);
    struct retry_budget budget;
    retry_budget_init(&budget);
    struct retry r;
    int64_t until, deadline = sys_now() + 100 * SYS_SECOND;
    retry_init(&r, &policy, &budget, deadline);
    CHECK(!retry_again(&r, ERR_NOT_FOUND, true, &until));
    CHECK(!retry_again(&r, ERR_TIMEOUT, false, &until)); /* outcome unknown */
    CHECK(retry_again(&r, ERR_TIMEOUT, true, &until));
    CHECK(until <= sys_now() + policy.cap_ns);
    CHECK(retry_again(&r, ERR_NOT_LEADER, false, &until));
    retry_init(&r, &policy, &budget, sys_now());
    CHECK(!retry_again(&r, ERR_BUSY, true, &until)); /* no time left */
    unsigned granted = 0;
    for (int i = 0; i < 1000; i++) {
        retry_init(&r, &policy, &budget, deadline);
        while (retry_again(&r, ERR_BUSY, true, &until))
            granted++;
    }
    CHECK(granted >= 100 && granted <= 121); /* 10 % and the reserve */
    retry_budget_release(&budget);
}

static const struct test tests[] = {
    {"frames", frames},   {"frames out of bounds", frames_out_of_bounds},
    {"hellos", hellos},   {"messages", messages},
    {"buffers", buffers}, {"breakers", breakers},
    {"retries", retries}, {0}};
SUITE("rpc codec", tests)
