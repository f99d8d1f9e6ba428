/* The contract of kv.h, on whichever store and floor is linked; tests/unit/kv_posix includes this
 * file. What a crash does is in test_crash.c, where the disk is simulated. */
#include "tests/unit/suite.h"
#include <stdio.h>
#include <stdlib.h>
#include "common/kv/kv.h"
#include "common/sys/sys.h"

static struct kv_slice text(const char *s)
{
    return (struct kv_slice){s, strlen(s)};
}

static const char *store_dir(void)
{
    return suite_dir();
}

static struct kv *open_store(const char *dir)
{
    struct kv *kv = NULL;
    if (!CHECK_OK(kv_open(dir, NULL, &kv)))
        sys_exit(1, "a store is needed to go on");
    return kv;
}

static void path_in(const char *name, char out[SYS_PATH_MAX])
{
    snprintf(out, SYS_PATH_MAX, "%s/%s", store_dir(), name);
}

static void put(struct kv *kv, const char *key, const char *value)
{
    struct kv_batch *b = kv_batch_new();
    if (value)
        kv_batch_put(b, text(key), text(value));
    else
        kv_batch_delete(b, text(key));
    CHECK_OK(kv_write(kv, b, false));
    kv_batch_free(b);
}

/* want NULL: must not be there. */
static void expect(struct kv *kv, const struct kv_snapshot *s, const char *key, const char *want)
{
    void *value;
    size_t n;
    enum err e = kv_get(kv, s, text(key), &value, &n);
    if (!want) {
        CHECK_ERR(e, ERR_NOT_FOUND);
        CHECK(value == NULL);
    } else if (CHECK_OK(e)) {
        suite_check(n == strlen(want) && memcmp(value, want, n) == 0, __FILE__, __LINE__,
                    "%s is %s", key, want);
    }
    sys_free(value);
}

static void put_get_delete(void)
{
    char dir[SYS_PATH_MAX];
    path_in("s", dir);
    struct kv *kv = open_store(dir);
    expect(kv, NULL, "a", NULL);
    put(kv, "a", "1");
    put(kv, "b", "");
    put(kv, "", "the empty key");
    expect(kv, NULL, "a", "1");
    expect(kv, NULL, "b", "");
    expect(kv, NULL, "", "the empty key");
    put(kv, "a", "2");
    expect(kv, NULL, "a", "2");
    put(kv, "a", NULL);
    put(kv, "never there", NULL);
    expect(kv, NULL, "a", NULL);
    put(kv, "a", "3");
    expect(kv, NULL, "a", "3");
    kv_close(kv);
}

static void batches(void)
{
    char dir[SYS_PATH_MAX];
    path_in("s", dir);
    struct kv *kv = open_store(dir);
    struct kv_batch *b = kv_batch_new();
    CHECK_EQ(kv_batch_count(b), 0);
    CHECK_OK(kv_write(kv, b, false));
    CHECK_OK(kv_write(kv, b, true));
    kv_batch_put(b, text("x"), text("first"));
    kv_batch_put(b, text("x"), text("second"));
    kv_batch_put(b, text("y"), text("gone"));
    kv_batch_delete(b, text("y"));
    kv_batch_delete(b, text("z"));
    kv_batch_put(b, text("z"), text("back"));
    CHECK_EQ(kv_batch_count(b), 6);
    CHECK_EQ(kv_batch_bytes(b), 6 + 5 + 6 + 4 + 4);
    CHECK_OK(kv_write(kv, b, true));
    expect(kv, NULL, "x", "second");
    expect(kv, NULL, "y", NULL);
    expect(kv, NULL, "z", "back");
    kv_batch_clear(b);
    CHECK_EQ(kv_batch_count(b), 0);
    CHECK_EQ(kv_batch_bytes(b), 0);
    kv_batch_delete(b, text("x"));
    CHECK_OK(kv_write(kv, b, false));
    expect(kv, NULL, "x", NULL);
    expect(kv, NULL, "z", "back");
    kv_batch_free(b);
    kv_batch_free(NULL);
    kv_close(kv);
}

static void order_of_keys(void)
{
    static const struct kv_slice keys[] = {
        {"", 0},   {"\0", 1}, {"\0\0", 2}, {"\0a", 2},  {"A", 1},    {"a", 1},        {"a\0", 2},
        {"aa", 2}, {"b", 1},  {"\x7f", 1}, {"\x80", 1}, {"\xff", 1}, {"\xff\xff", 2},
    };
    enum { N = sizeof keys / sizeof keys[0] };
    char dir[SYS_PATH_MAX];
    path_in("s", dir);
    struct kv *kv = open_store(dir);
    struct kv_batch *b = kv_batch_new();
    for (size_t i = 0; i < N; i++)
        kv_batch_put(b, keys[i * 5 % N], keys[i * 5 % N]);
    CHECK_OK(kv_write(kv, b, false));
    kv_batch_free(b);
    struct kv_iterator *it = kv_iterator_new(kv, NULL);
    CHECK(!kv_iterator_valid(it));
    kv_iterator_seek(it, text(""));
    for (size_t i = 0; i < N && CHECK(kv_iterator_valid(it)); i++, kv_iterator_next(it)) {
        struct kv_slice k = kv_iterator_key(it), v = kv_iterator_value(it);
        CHECK_EQ(k.length, keys[i].length);
        CHECK_EQ(v.length, keys[i].length);
        CHECK_BYTES(k.data, keys[i].data, keys[i].length);
        CHECK_BYTES(v.data, keys[i].data, keys[i].length);
    }
    CHECK(!kv_iterator_valid(it));
    kv_iterator_seek_last(it);
    for (size_t i = N; i-- > 0 && CHECK(kv_iterator_valid(it)); kv_iterator_previous(it))
        CHECK_EQ(kv_iterator_key(it).length, keys[i].length);
    CHECK(!kv_iterator_valid(it));
    kv_iterator_seek(it, (struct kv_slice){"aaa", 3});
    CHECK_BYTES(kv_iterator_key(it).data, "b", 1);
    kv_iterator_seek(it, (struct kv_slice){"\xff\xff\xff", 3});
    CHECK(!kv_iterator_valid(it));
    CHECK_OK(kv_iterator_error(it));
    kv_iterator_free(it);
    kv_close(kv);
}

/* ---- random work beside a model: an array indexed by key ---- */

enum { MODEL_KEYS = 60, MODEL_SNAPSHOTS = 4 };

struct model {
    int values[MODEL_KEYS]; /* 0: not there */
};

static uint64_t next_random(uint64_t *x)
{
    *x = *x * 6364136223846793005u + 1442695040888963407u;
    return *x >> 33;
}

static void model_key(unsigned i, char out[16])
{
    snprintf(out, 16, "key-%03u", i);
}

static bool iterator_at(struct kv_iterator *it, const struct model *m, int want)
{
    if (want < 0 || want >= MODEL_KEYS)
        return !kv_iterator_valid(it);
    if (!kv_iterator_valid(it))
        return false;
    char key[16], value[16];
    model_key((unsigned)want, key);
    snprintf(value, sizeof value, "%d", m->values[want]);
    struct kv_slice k = kv_iterator_key(it), v = kv_iterator_value(it);
    return k.length == 7 && memcmp(k.data, key, 7) == 0 && v.length == strlen(value) &&
           memcmp(v.data, value, v.length) == 0;
}

static int model_step(const struct model *m, int from, int step)
{
    while (from >= 0 && from < MODEL_KEYS && m->values[from] == 0)
        from += step;
    return from;
}

/* A walk to and fro. */
static bool iterator_equals(struct kv_iterator *it, const struct model *m, uint64_t *random)
{
    char key[16];
    int at = (int)(next_random(random) % MODEL_KEYS);
    model_key((unsigned)at, key);
    kv_iterator_seek(it, text(key));
    at = model_step(m, at, 1);
    for (int moves = 0; moves < 30; moves++) {
        if (!iterator_at(it, m, at))
            return false;
        if (at < 0 || at >= MODEL_KEYS) {
            kv_iterator_seek_last(it);
            at = model_step(m, MODEL_KEYS - 1, -1);
        } else if (next_random(random) % 3) {
            kv_iterator_next(it);
            at = model_step(m, at + 1, 1);
        } else {
            kv_iterator_previous(it);
            at = model_step(m, at - 1, -1);
        }
    }
    return true;
}

static bool gets_equal(struct kv *kv, const struct kv_snapshot *s, const struct model *m)
{
    bool good = true;
    for (unsigned i = 0; i < MODEL_KEYS; i++) {
        char key[16], want[16];
        void *value;
        size_t n;
        model_key(i, key);
        snprintf(want, sizeof want, "%d", m->values[i]);
        enum err e = kv_get(kv, s, text(key), &value, &n);
        good = good &&
               (m->values[i] == 0 ? e == ERR_NOT_FOUND
                                  : e == OK && n == strlen(want) && memcmp(value, want, n) == 0);
        sys_free(value);
    }
    return good;
}

static void random_batch(struct kv *kv, struct model *m, int round, uint64_t *random)
{
    struct kv_batch *b = kv_batch_new();
    for (uint64_t n = next_random(random) % 9; n > 0; n--) {
        char key[16], value[16];
        unsigned i = (unsigned)(next_random(random) % MODEL_KEYS);
        model_key(i, key);
        if (next_random(random) % 3 == 0) {
            kv_batch_delete(b, text(key));
            m->values[i] = 0;
        } else {
            m->values[i] = round * 10 + (int)n;
            snprintf(value, sizeof value, "%d", m->values[i]);
            kv_batch_put(b, text(key), text(value));
        }
    }
    CHECK_OK(kv_write(kv, b, next_random(random) % 50 == 0));
    kv_batch_free(b);
}

static void random_work_beside_a_model(void)
{
    char dir[SYS_PATH_MAX];
    path_in("s", dir);
    uint64_t random = suite_seed();
    struct kv *kv = open_store(dir);
    struct model now = {{0}};
    struct {
        struct kv_snapshot *snapshot;
        struct kv_iterator *iterator;
        struct model model;
    } held[MODEL_SNAPSHOTS] = {{0}};
    bool good = true;
    for (int round = 1; round <= 1500 && good; round++) {
        random_batch(kv, &now, round, &random);
        unsigned i = (unsigned)(next_random(&random) % MODEL_SNAPSHOTS);
        if (next_random(&random) % 4 == 0) {
            /* Freed in any order; sometimes the snapshot before the iterator made from it. */
            kv_snapshot_free(kv, held[i].snapshot);
            kv_iterator_free(held[i].iterator);
            held[i].snapshot = kv_snapshot_new(kv);
            held[i].model = now;
            held[i].iterator = NULL;
        } else if (held[i].snapshot && !held[i].iterator) {
            held[i].iterator = kv_iterator_new(kv, held[i].snapshot);
        }
        if (held[i].snapshot && round % 3 == 0)
            good = gets_equal(kv, held[i].snapshot, &held[i].model);
        if (held[i].iterator)
            good = good && iterator_equals(held[i].iterator, &held[i].model, &random);
        if (round % 20 == 0)
            good = good && gets_equal(kv, NULL, &now);
        if (round % 500 == 0) {
            for (unsigned j = 0; j < MODEL_SNAPSHOTS; j++) {
                kv_iterator_free(held[j].iterator);
                kv_snapshot_free(kv, held[j].snapshot);
                held[j].iterator = NULL;
                held[j].snapshot = NULL;
            }
            kv_close(kv);
            kv = open_store(dir);
            good = good && gets_equal(kv, NULL, &now);
        }
        suite_check(good, __FILE__, __LINE__, "round %d equals the model", round);
    }
    for (unsigned j = 0; j < MODEL_SNAPSHOTS; j++) {
        kv_iterator_free(held[j].iterator);
        kv_snapshot_free(kv, held[j].snapshot);
    }
    kv_close(kv);
}

static void iterators_see_one_moment(void)
{
    char dir[SYS_PATH_MAX];
    path_in("s", dir);
    struct kv *kv = open_store(dir);
    put(kv, "a", "1");
    put(kv, "b", "1");
    put(kv, "c", "1");
    struct kv_iterator *it = kv_iterator_new(kv, NULL);
    kv_iterator_seek(it, text("b"));
    put(kv, "b", NULL);
    put(kv, "c", "2");
    put(kv, "bb", "2");
    put(kv, "a", NULL);
    CHECK_BYTES(kv_iterator_value(it).data, "1", 1);
    kv_iterator_next(it);
    CHECK_BYTES(kv_iterator_key(it).data, "c", 1);
    CHECK_BYTES(kv_iterator_value(it).data, "1", 1);
    kv_iterator_previous(it);
    kv_iterator_previous(it);
    CHECK_BYTES(kv_iterator_key(it).data, "a", 1);
    kv_iterator_free(it);
    it = kv_iterator_new(kv, NULL);
    kv_iterator_seek(it, text(""));
    CHECK_BYTES(kv_iterator_key(it).data, "bb", 2);
    kv_iterator_free(it);
    kv_close(kv);
}

static void opening_again(void)
{
    char dir[SYS_PATH_MAX];
    path_in("s", dir);
    struct kv *kv = open_store(dir), *second = NULL;
    put(kv, "kept", "unsynced, but closed in order");
    CHECK_ERR(kv_open(dir, NULL, &second), ERR_BUSY);
    CHECK(second == NULL);
    kv_close(kv);
    kv_close(NULL);
    for (int i = 0; i < 3; i++) {
        kv = open_store(dir);
        expect(kv, NULL, "kept", "unsynced, but closed in order");
        kv_close(kv);
    }
    CHECK_OK(kv_destroy(dir));
    CHECK_OK(kv_destroy(dir));
    kv = open_store(dir);
    expect(kv, NULL, "kept", NULL);
    kv_close(kv);
    path_in("no/parent", dir);
    CHECK(kv_open(dir, NULL, &kv) != OK);
}

static void largest_key_and_value(void)
{
    enum { KEY = 4096, VALUE = 8 << 20 };
    char dir[SYS_PATH_MAX];
    path_in("s", dir);
    struct kv *kv = open_store(dir);
    uint8_t *key = sys_alloc(KEY), *value = sys_alloc(VALUE);
    memset(key, 'k', KEY);
    for (size_t i = 0; i < VALUE; i++)
        value[i] = (uint8_t)(i * 2654435761u >> 20);
    struct kv_batch *b = kv_batch_new();
    kv_batch_put(b, (struct kv_slice){key, KEY}, (struct kv_slice){value, VALUE});
    kv_batch_put(b, (struct kv_slice){key, KEY - 1}, text("short"));
    CHECK_OK(kv_write(kv, b, true));
    kv_batch_free(b);
    for (int i = 0; i < 2; i++) {
        void *back;
        size_t n;
        CHECK_OK(kv_get(kv, NULL, (struct kv_slice){key, KEY}, &back, &n));
        CHECK_EQ(n, VALUE);
        CHECK(n == VALUE && memcmp(back, value, n) == 0);
        sys_free(back);
        kv_close(kv);
        kv = open_store(dir);
    }
    kv_close(kv);
    sys_free(key);
    sys_free(value);
}

/* More than any write buffer, most of it overwritten: files are switched and rewritten below. */
static void much_overwriting(void)
{
    enum { ROUNDS = 40, KEYS = 50, SIZE = 4000 };
    char dir[SYS_PATH_MAX];
    path_in("s", dir);
    struct kv *kv = NULL;
    struct kv_options options = {.write_buffer_bytes = 256 << 10};
    CHECK_OK(kv_open(dir, &options, &kv));
    struct kv_batch *b = kv_batch_new();
    uint8_t value[SIZE];
    uint64_t random = suite_seed();
    for (int round = 0; round < ROUNDS; round++) {
        kv_batch_clear(b);
        for (unsigned i = 0; i < KEYS; i++) {
            char key[16];
            model_key(i, key);
            for (size_t j = 0; j < SIZE; j++)
                value[j] = (uint8_t)next_random(&random);
            memcpy(value, &round, sizeof round);
            kv_batch_put(b, text(key), (struct kv_slice){value, SIZE});
        }
        CHECK_OK(kv_write(kv, b, round % 10 == 0));
    }
    kv_batch_free(b);
    CHECK(kv_approximate_bytes(kv, text("key-"), text("key-~")) >= KEYS * SIZE / 2);
    CHECK_EQ(kv_approximate_bytes(kv, text("x"), text("y")), 0);
    for (int again = 0; again < 2; again++) {
        unsigned seen = 0;
        struct kv_iterator *it = kv_iterator_new(kv, NULL);
        for (kv_iterator_seek(it, text("")); kv_iterator_valid(it); kv_iterator_next(it)) {
            int round = 0;
            CHECK_EQ(kv_iterator_value(it).length, SIZE);
            memcpy(&round, kv_iterator_value(it).data, sizeof round);
            CHECK_EQ(round, ROUNDS - 1);
            seen++;
        }
        CHECK_OK(kv_iterator_error(it));
        CHECK_EQ(seen, KEYS);
        kv_iterator_free(it);
        kv_close(kv);
        kv = open_store(dir);
    }
    kv_close(kv);
}

/* ---- K6: readers beside the writer see whole batches ---- */

enum { PAIR_ROUNDS = 300 };

struct pair_reader {
    struct kv *kv;
    int rounds, torn;
};

static int number_in(struct kv *kv, const struct kv_snapshot *s, const char *key)
{
    void *value;
    size_t n;
    int v = -1;
    if (kv_get(kv, s, text(key), &value, &n) == OK && n == sizeof v)
        memcpy(&v, value, n);
    sys_free(value);
    return v;
}

static void read_pairs(void *arg)
{
    struct pair_reader *r = arg;
    for (r->rounds = 0; r->rounds < PAIR_ROUNDS; r->rounds++) {
        struct kv_snapshot *s = kv_snapshot_new(r->kv);
        int a = number_in(r->kv, s, "a"), b = number_in(r->kv, s, "b");
        struct kv_iterator *it = kv_iterator_new(r->kv, s);
        int first = -2, second = -3;
        kv_iterator_seek(it, text("a"));
        if (kv_iterator_valid(it)) {
            memcpy(&first, kv_iterator_value(it).data, sizeof first);
            kv_iterator_next(it);
            if (kv_iterator_valid(it))
                memcpy(&second, kv_iterator_value(it).data, sizeof second);
        }
        kv_iterator_free(it);
        kv_snapshot_free(r->kv, s);
        r->torn += a != b || first != a || second != a;
    }
}

static void readers_beside_the_writer(void)
{
    char dir[SYS_PATH_MAX];
    path_in("s", dir);
    struct kv *kv = open_store(dir);
    struct kv_batch *b = kv_batch_new();
    struct pair_reader readers[2] = {{kv, 0, 0}, {kv, 0, 0}};
    struct sys_thread *threads[2];
    for (int round = 0; round < PAIR_ROUNDS; round++) {
        struct kv_slice v = {&round, sizeof round};
        kv_batch_clear(b);
        kv_batch_put(b, text("a"), v);
        kv_batch_put(b, text("b"), v);
        CHECK_OK(kv_write(kv, b, false));
        for (int i = 0; round == 0 && i < 2; i++)
            CHECK_OK(sys_thread_start(&threads[i], "reader", 0, read_pairs, &readers[i]));
    }
    for (int i = 0; i < 2; i++) {
        sys_thread_join(threads[i]);
        CHECK_EQ(readers[i].rounds, PAIR_ROUNDS);
        CHECK_EQ(readers[i].torn, 0);
    }
    kv_batch_free(b);
    kv_close(kv);
}

static const struct test tests[] = {
    {"put, get, delete", put_get_delete},
    {"batches", batches},
    {"order of keys", order_of_keys},
    {"random work beside a model", random_work_beside_a_model},
    {"iterators see one moment", iterators_see_one_moment},
    {"opening again", opening_again},
    {"largest key and value", largest_key_and_value},
    {"much overwriting", much_overwriting},
    {"readers beside the writer", readers_beside_the_writer},
    {0},
};
SUITE("kv contract", tests)
