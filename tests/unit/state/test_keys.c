/* Keys: the order of the fields is the order of the bytes. */
#include "tests/unit/suite.h"
#include "metadata/state/keys.h"
#include "metadata/state/rows.h"

static uint64_t next(uint64_t *state)
{
    *state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = (*state ^ (*state >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    return z ^ (z >> 29);
}

/* Texts over a nasty alphabet, so that prefixes, NULs and FFs meet. */
static size_t random_text(uint64_t *state, uint8_t *out)
{
    static const uint8_t alphabet[] = {0x00, 0x01, 0xfe, 0xff, 'a'};
    size_t n = 1 + next(state) % 5;
    for (size_t i = 0; i < n; i++)
        out[i] = alphabet[next(state) % sizeof alphabet];
    return n;
}

static int order(const void *a, size_t an, const void *b, size_t bn)
{
    int c = memcmp(a, b, an < bn ? an : bn);
    return c != 0 ? (c < 0 ? -1 : 1) : an < bn ? -1 : an > bn;
}

struct fields {
    uint64_t bucket, version;
    uint8_t text[8];
    size_t n;
};

static int order_fields(const struct fields *a, const struct fields *b)
{
    if (a->bucket != b->bucket)
        return a->bucket < b->bucket ? -1 : 1;
    int c = order(a->text, a->n, b->text, b->n);
    if (c != 0)
        return c;
    return a->version > b->version ? -1 : a->version < b->version; /* newest first */
}

static void order_kept(void)
{
    uint64_t state = suite_seed();
    bool kept = true, back = true, behind = true;
    for (int i = 0; i < 50000; i++) {
        struct fields f[2];
        struct key k[2], past;
        for (int j = 0; j < 2; j++) {
            f[j].bucket = next(&state) % 3 == 0 ? next(&state) : 7;
            f[j].version = next(&state) % 3;
            f[j].n = random_text(&state, f[j].text);
            key_object(&k[j], 'o', f[j].bucket, f[j].text, f[j].n, f[j].version);
        }
        int bytes = order(k[0].bytes, k[0].length, k[1].bytes, k[1].length);
        kept = kept && bytes == order_fields(&f[0], &f[1]);

        struct key_reader r;
        uint8_t text[8];
        size_t n;
        key_reader_init(&r, key_slice(&k[0]), 1);
        back = back && key_read_u64(&r) == f[0].bucket &&
               key_read_text(&r, text, sizeof text, &n) == OK && n == f[0].n &&
               memcmp(text, f[0].text, n) == 0 && key_read_version(&r) == f[0].version &&
               !r.failed && r.at == r.end;

        /* Behind all versions of a text is before every later text. */
        key_begin(&past, 'o');
        key_u64(&past, f[0].bucket);
        key_text_behind(&past, f[0].text, f[0].n);
        f[0].version = f[1].version = 0;
        int c = order_fields(&f[0], &f[1]);
        int p = order(past.bytes, past.length, k[1].bytes, k[1].length);
        behind = behind && (c < 0 ? p < 0 : p > 0);
    }
    CHECK(kept);
    CHECK(back);
    CHECK(behind);
}

static void prefixes(void)
{
    struct key k;
    key_begin(&k, 'o');
    key_raw(&k, "\xff\xff", 2);
    CHECK(key_behind(&k));
    CHECK(k.length == 1 && k.bytes[0] == 'p');
    key_begin(&k, '\xff');
    CHECK(!key_behind(&k));
    key_begin(&k, 'o');
    for (int i = 0; i < 3; i++)
        key_text(&k, "", 0);
    CHECK_EQ(k.length, 7);
    uint8_t big[KEY_MAX] = {0};
    key_text(&k, big, sizeof big);
    CHECK(k.overflow);
    struct key_reader r;
    uint8_t out[4];
    size_t n;
    key_reader_init(&r, (struct kv_slice){"ab", 2}, 0);
    CHECK_ERR(key_read_text(&r, out, 4, &n), ERR_FORMAT);
    key_reader_init(&r, (struct kv_slice){"a\0b\0\0", 5}, 0);
    CHECK_ERR(key_read_text(&r, out, 4, &n), ERR_FORMAT);
    key_reader_init(&r, (struct kv_slice){"abcde\0\0", 7}, 0);
    CHECK_ERR(key_read_text(&r, out, 4, &n), ERR_TOO_BIG);
}

static void rows(void)
{
    struct chunk_row c = {.length = 5, .nonce = UINT64_MAX, .began = 7, .missing = 9}, d;
    uint8_t bytes[64];
    chunk_row_encode(&c, bytes);
    CHECK(chunk_row_decode((struct kv_slice){bytes, CHUNK_ROW_BYTES}, &d));
    CHECK(d.length == 5 && d.nonce == UINT64_MAX && d.began == 7 && d.missing == 9);
    CHECK(!chunk_row_decode((struct kv_slice){bytes, CHUNK_ROW_BYTES - 1}, &d));
    struct due_row g = {.next_sequence = 1, .position = 2, .count = 3, .list_first = 4}, h;
    g.run = (struct run){.pool = 5, .first = 6, .count = 7, .chunk_size = 8, .last_length = 9};
    memset(g.list.bytes, 1, sizeof g.list.bytes);
    memset(g.run.write.bytes, 2, sizeof g.run.write.bytes);
    due_row_encode(&g, bytes);
    CHECK(due_row_decode((struct kv_slice){bytes, DUE_ROW_BYTES}, &h));
    CHECK(h.next_sequence == 1 && h.position == 2 && h.count == 3 && h.list_first == 4);
    CHECK(h.run.pool == 5 && h.run.last_length == 9 && h.list.bytes[11] == 1);
    CHECK_EQ(run_bytes(&h.run), 6 * 8 + 9);
    struct usage u = {.objects = 3, .bytes = 4}, v;
    usage_encode(&u, bytes);
    CHECK(usage_decode((struct kv_slice){bytes, USAGE_BYTES}, &v) && v.objects == 3 &&
          v.bytes == 4);
}

static const struct test tests[] = {
    {"order kept", order_kept}, {"prefixes", prefixes}, {"rows", rows}, {0}};
SUITE("state keys", tests)
