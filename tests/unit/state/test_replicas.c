/* The same log on two instances: one takes every command by itself, the other takes batches and is
 * closed and opened in between. Results, hashes and every row are equal. */
#include "tests/unit/state/fixture.h"

struct logged {
    uint8_t *bytes;
    size_t n;
};

static struct logged log_put(struct fixture *f, uint32_t chunks, int64_t time)
{
    struct logged out;
    struct fx_write w;
    Command c = COMMAND__INIT;
    uint8_t *packed;
    uint8_t print[32] = {0};
    SdkRetry retry = SDK_RETRY__INIT;
    fx_write_init(f, &w, chunks);
    w.put.key = fx_text(arena_format(&f->arena, "k%u", (unsigned)fx_random(f, 48)));
    w.put.began = time;
    retry.access_key = "AK";
    retry.invocation_id = arena_format(&f->arena, "i%u", (unsigned)fx_random(f, 50));
    retry.attempt = (uint32_t)fx_random(f, 3);
    retry.fingerprint = fx_bytes(print, 32);
    w.put.retry = fx_random(f, 3) ? NULL : &retry;
    c.time = time;
    c.body_case = COMMAND__BODY_PUT_OBJECT;
    c.put_object = &w.put;
    CHECK_OK(message_pack(&c.base, &f->arena, 1 << 20, &packed, &out.n));
    out.bytes = packed;
    return out;
}

static void compare_stores(const char *a, const char *b)
{
    struct kv *kv[2];
    struct kv_iterator *i[2];
    struct kv_options options = {0};
    CHECK_OK(kv_open(a, &options, &kv[0]));
    CHECK_OK(kv_open(b, &options, &kv[1]));
    size_t rows = 0;
    bool equal = true;
    for (int j = 0; j < 2; j++) {
        i[j] = kv_iterator_new(kv[j], NULL);
        kv_iterator_seek(i[j], (struct kv_slice){"", 0});
    }
    for (; equal && kv_iterator_valid(i[0]) && kv_iterator_valid(i[1]); rows++) {
        struct kv_slice k[2], v[2];
        for (int j = 0; j < 2; j++) {
            k[j] = kv_iterator_key(i[j]);
            v[j] = kv_iterator_value(i[j]);
        }
        equal = k[0].length == k[1].length && memcmp(k[0].data, k[1].data, k[0].length) == 0 &&
                v[0].length == v[1].length && memcmp(v[0].data, v[1].data, v[0].length) == 0;
        kv_iterator_next(i[0]);
        kv_iterator_next(i[1]);
    }
    CHECK(equal && rows > 100);
    CHECK_EQ(kv_iterator_valid(i[0]), kv_iterator_valid(i[1]));
    for (int j = 0; j < 2; j++) {
        kv_iterator_free(i[j]);
        kv_close(kv[j]);
    }
}

static bool same_result(const struct state_entry *a, const struct state_entry *b)
{
    return a->result_length == b->result_length &&
           memcmp(a->result, b->result, a->result_length) == 0;
}

static void replicas(void)
{
    struct fixture f, g;
    struct arena arena;
    enum { COUNT = 2200 };
    struct state_entry *one = sys_alloc(COUNT * sizeof *one), *two;
    arena_init(&arena);
    fx_open(&f, "one");
    fx_open(&g, "two");
    fx_populate(&f);
    fx_populate(&g);
    for (int i = 0; i < COUNT; i++) {
        f.time += (int64_t)fx_random(&f, 3 * 60) * SECOND;
        struct logged l = log_put(&f, (uint32_t)fx_random(&f, 4), f.time);
        one[i] = (struct state_entry){.index = ++f.index + (i > 1000), .data = l.bytes};
        one[i].length = l.n;
    }
    two = sys_alloc(COUNT * sizeof *two);
    memcpy(two, one, COUNT * sizeof *two);
    for (int i = 0; i < COUNT; i++)
        CHECK_OK(state_apply(f.state, &one[i], 1, &(struct state_position){.index = one[i].index},
                             &arena));
    for (int i = 0; i < COUNT;) {
        int n = 1 + (int)fx_random(&g, 60);
        n = n > COUNT - i ? COUNT - i : n;
        CHECK_OK(state_apply(g.state, &two[i], (size_t)n,
                             &(struct state_position){.index = two[i + n - 1].index}, &arena));
        i += n;
        if (fx_random(&g, 6) == 0)
            fx_reopen(&g); /* a crash between batches: goes on behind state_applied */
        CHECK_EQ(state_applied(g.state), two[i - 1].index);
    }
    bool same = true;
    for (int i = 0; i < COUNT; i++)
        same = same && same_result(&one[i], &two[i]);
    CHECK(same);
    uint64_t at[2], hash[2];
    struct state_checkpoints seen[2];
    state_checkpoints(f.state, &seen[0]);
    at[0] = seen[0].index[seen[0].count - 1];
    hash[0] = seen[0].hash[seen[0].count - 1];
    state_checkpoints(g.state, &seen[1]);
    at[1] = seen[1].index[seen[1].count - 1];
    hash[1] = seen[1].hash[seen[1].count - 1];
    CHECK_EQ(at[0], 2000);
    CHECK(at[0] == at[1] && hash[0] == hash[1]);
    CHECK(fx_status(&f)->status->state_hash == fx_status(&g)->status->state_hash);
    f.index = g.index = one[COUNT - 1].index;
    uint64_t before = fx_status(&f)->status->state_hash;
    Result *r[] = {fx_put_inline(&f, "k1", "x"), fx_put_inline(&g, "k1", "x")};
    CHECK(r[0]->error == OK && r[1]->error == OK);
    CHECK(fx_status(&f)->status->state_hash != before);
    CHECK(fx_status(&f)->status->state_hash == fx_status(&g)->status->state_hash);
    fx_close(&f);
    fx_close(&g);
    compare_stores(f.directory, g.directory);
    arena_release(&arena);
    sys_free(one);
    sys_free(two);
}

/* Hazard 24: writes that differ only in their key are seen in the hash. */
static void divergence(void)
{
    struct fixture f, g;
    fx_open(&f, "one");
    fx_open(&g, "two");
    fx_populate(&f);
    fx_populate(&g);
    CHECK(fx_status(&f)->status->state_hash == fx_status(&g)->status->state_hash);
    fx_put_inline(&f, "k1", "x");
    fx_put_inline(&g, "k2", "x");
    CHECK(fx_status(&f)->status->state_hash != fx_status(&g)->status->state_hash);
    fx_close(&f);
    fx_close(&g);
}

static const struct test tests[] = {{"replicas", replicas}, {"divergence", divergence}, {0}};
SUITE("state replicas", tests)
