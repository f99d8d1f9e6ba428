/* For both stores. A state as a stream of bytes and back: the same rows, whatever the pieces; what is
 * damaged, foreign or cut short never becomes a state, and leaves nothing behind. */
#pragma once
#include "common/sys/sys.h"
#include "metadata/state/image.h"
#include "tests/unit/state/fixture.h"

/* Where each sync costs a real one, a suite asks for fewer. */
#ifndef IMAGE_OBJECTS
#define IMAGE_OBJECTS 1200
#define IMAGE_DAMAGES 260
#endif

static const struct uuid cluster = {{7, 7}};

/* The whole image, read in pieces of this size. */
static uint8_t *read_all(struct state_image *i, size_t piece, size_t *n)
{
    size_t room = 1 << 20;
    uint8_t *all = sys_alloc(room);
    bool last = false;
    *n = 0;
    while (!last) {
        size_t some = 0;
        if (room < *n + piece)
            all = sys_realloc(all, room = 2 * room + piece);
        if (!CHECK_OK(state_image_read(i, *n, all + *n, piece, &some, &last)))
            break;
        *n += some;
    }
    return all;
}

/* One command of one session, the same each time; the index at which it was carried out. */
static uint64_t in_session(struct fixture *f)
{
    uint8_t id[16] = {9};
    struct fx_write w;
    Command c = COMMAND__INIT;
    fx_write_init(f, &w, 0);
    w.put.key = fx_text("of a session");
    w.body.inline_data = fx_text("once");
    w.head.size = 4;
    w.head.etag = fx_text("once");
    c.body_case = COMMAND__BODY_PUT_OBJECT;
    c.put_object = &w.put;
    c.client = fx_bytes(id, sizeof id);
    c.sequence = 1;
    Result *r = fx_apply(f, &c);
    return CHECK_OK(r->error) ? r->index : 0;
}

static uint64_t first_in_session(struct fixture *f)
{
    uint8_t id[16] = {9};
    RegisterClient body = REGISTER_CLIENT__INIT;
    body.client = fx_bytes(id, sizeof id);
    body.slots = 1;
    body.name = "gateway";
    CHECK_OK(fx_register_client(f, &body)->error);
    return in_session(f);
}

static void populate(struct fixture *f, unsigned objects)
{
    char key[32], text[4000];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = 0;
    fx_populate(f);
    (void)first_in_session(f);
    for (unsigned i = 0; i < objects; i++) {
        snprintf(key, sizeof key, "key-%u", i);
        memcpy(text, key, strlen(key));
        struct fx_write w;
        fx_write_init(f, &w, 0);
        w.put.key = fx_text(key);
        w.body.inline_data = fx_text(text);
        w.head.size = strlen(text);
        CHECK_OK(fx_put_object(f, &w.put)->error);
        arena_clear(&f->arena);
    }
    uint8_t configuration[100] = {1, 2, 3};
    const struct state_position end = {.index = ++f->index,
                                       .term = 5,
                                       .configuration_index = f->index - 1,
                                       .configuration_term = 4,
                                       .configuration = configuration,
                                       .configuration_length = sizeof configuration};
    CHECK_OK(state_apply(f->state, NULL, 0, &end, &f->arena));
}

static uint8_t *image_of(struct fixture *f, size_t piece, size_t *n)
{
    struct state_image *i;
    if (!CHECK_OK(state_image_new(f->state, &cluster, &i)))
        return NULL;
    CHECK_EQ(state_image_position(i)->index, f->index);
    uint8_t *all = read_all(i, piece, n);
    state_image_free(i);
    return all;
}

static void there_and_back(void)
{
    struct fixture f, g = {0};
    struct state_import *import;
    size_t n = 0, m = 0;
    fx_open(&f, "one");
    populate(&f, IMAGE_OBJECTS);
    uint8_t *all = image_of(&f, 256 << 10, &n);
    CHECK(n > (size_t)IMAGE_OBJECTS * 3900);
    g = f;
    snprintf(g.directory, sizeof g.directory, "%s/two", suite_dir());
    CHECK_OK(state_import_begin(g.directory, &cluster, &import));
    for (size_t at = 0, some; at < n; at += some) {
        some = 1 + fx_random(&f, 300000);
        some = some < n - at ? some : n - at;
        CHECK_EQ(state_import_offset(import), at);
        CHECK_OK(state_import_write(import, all + at, some));
    }
    CHECK_OK(state_import_finish(import, 0, &g.state));
    state_import_free(import);
    const struct state_position at = state_position(g.state);
    CHECK_EQ(at.index, f.index);
    CHECK_EQ(at.term, 5);
    CHECK_EQ(at.configuration_index, f.index - 1);
    CHECK_EQ(at.configuration_length, 100);
    CHECK_EQ(fx_status(&f)->status->state_hash, fx_status(&g)->status->state_hash);
    CHECK_EQ(state_epoch(g.state), state_epoch(f.state));
    /* Both go on alike, and a copy's image is the same bytes. */
    uint64_t once = in_session(&f);
    CHECK(once < at.index);
    CHECK_EQ(in_session(&g), once); /* told again, not carried out again */
    fx_put_inline(&f, "more", "text");
    g.writes = f.writes - 1;
    fx_put_inline(&g, "more", "text");
    CHECK_EQ(fx_status(&f)->status->state_hash, fx_status(&g)->status->state_hash);
    sys_free(all);
    all = image_of(&f, 100000, &n);
    uint8_t *other = image_of(&g, 7777, &m);
    if (CHECK_EQ(n, m))
        CHECK_BYTES(all, other, n);
    sys_free(all);
    sys_free(other);
    state_unref(g.state);
    fx_close(&f);
}

/* An image does not change with the state, and can be read from any offset again. */
static void from_any_offset(void)
{
    struct fixture f;
    struct state_image *i;
    size_t n = 0;
    fx_open(&f, "any");
    populate(&f, IMAGE_OBJECTS);
    CHECK_OK(state_image_new(f.state, &cluster, &i));
    uint8_t *all = read_all(i, 256 << 10, &n);
    for (unsigned k = 0; k < 50; k++)
        fx_put_inline(&f, "key-1", "changed");
    fx_delete(&f, "key-2");
    uint8_t *some = sys_alloc(200000);
    for (unsigned k = 0; k < 60; k++) {
        size_t at = fx_random(&f, n), got = 0;
        bool last = false;
        if (!CHECK_OK(state_image_read(i, at, some, 200000, &got, &last)))
            break;
        CHECK_EQ(got, n - at < 200000 ? n - at : 200000);
        CHECK(last == (at + got == n));
        CHECK_BYTES(some, all + at, got);
    }
    bool last;
    size_t got;
    CHECK_ERR(state_image_read(i, n, some, 1, &got, &last), ERR_INVALID);
    state_image_free(i);
    sys_free(some);
    sys_free(all);
    fx_close(&f);
}

static void see_nothing(void *arg, const char *name, bool is_dir)
{
    (void)arg;
    (void)name;
    (void)is_dir;
}

static enum err import_all(const uint8_t *all, size_t n, const struct uuid *of)
{
    char directory[64];
    struct state_import *import;
    struct state *state;
    snprintf(directory, sizeof directory, "%s/broken", suite_dir());
    CHECK_OK(state_import_begin(directory, of, &import));
    enum err e = state_import_write(import, all, n);
    if (e == OK)
        e = state_import_finish(import, 0, &state);
    if (e == OK) {
        state_retire(state);
        state_unref(state);
    }
    state_import_free(import);
    CHECK_ERR(sys_dir_list(directory, see_nothing, NULL), ERR_NOT_FOUND);
    return e;
}

static void what_is_not_right(void)
{
    struct fixture f;
    size_t n = 0;
    const struct uuid other = {{8}};
    fx_open(&f, "bad");
    struct state_image *none;
    CHECK_ERR(state_image_new(f.state, &cluster, &none), ERR_NOT_FOUND);
    populate(&f, 40);
    uint8_t *all = image_of(&f, 50000, &n);
    CHECK_OK(import_all(all, n, &cluster));
    CHECK_ERR(import_all(all, n, &other), ERR_FOREIGN_CLUSTER);
    CHECK_ERR(import_all(all, n - 1, &cluster), ERR_TRUNCATED);
    CHECK_ERR(import_all(all, n - 24, &cluster), ERR_TRUNCATED);
    CHECK_ERR(import_all(all, 30, &cluster), ERR_TRUNCATED);
    for (unsigned k = 0; k < IMAGE_DAMAGES; k++) {
        size_t at = k % 3 == 0 ? k / 3 % 60 : k % 3 == 1 ? n - 1 - k / 3 % 24 : fx_random(&f, n);
        all[at] ^= 0x20;
        enum err e = import_all(all, n, &cluster);
        suite_check(e == ERR_CORRUPT || e == ERR_TRUNCATED, __FILE__, __LINE__,
                    "byte %zu of %zu: %s", at, n, err_name(e));
        all[at] ^= 0x20;
    }
    sys_free(all);
    fx_close(&f);
}

static const struct test image_tests[] = {
    {"there and back", there_and_back},
    {"from any offset", from_any_offset},
    {"what is not right", what_is_not_right},
    {0},
};
