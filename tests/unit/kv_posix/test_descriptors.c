/* LevelDB in a process that has no descriptors left: busy, not broken. */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include "common/base/alloc.h"
#include "common/kv/kv.h"
#include "tests/unit/suite.h"

enum { VALUE = 100000, BUFFER = 256 << 10, WRITES_MAX = 200 };

static enum err put(struct kv *kv, uint32_t number)
{
    static uint8_t value[VALUE];
    struct kv_batch *b = kv_batch_new();
    kv_batch_put(b, (struct kv_slice){&number, sizeof number}, (struct kv_slice){value, VALUE});
    enum err e = kv_write(kv, b, true);
    kv_batch_free(b);
    return e;
}

static enum err get(struct kv *kv, uint32_t number)
{
    void *value;
    size_t n;
    enum err e = kv_get(kv, NULL, (struct kv_slice){&number, sizeof number}, &value, &n);
    CHECK(e != OK || n == VALUE);
    sys_free(value);
    return e;
}

/* A lower limit than what is open lets nobody open anything more. */
static void none_left(void)
{
    const struct kv_options options = {.write_buffer_bytes = BUFFER};
    struct kv *kv = NULL;
    struct rlimit usual, none;
    uint32_t written = 0;
    enum err e = OK;
    CHECK_OK(kv_open(suite_dir(), &options, &kv));
    CHECK_OK(put(kv, written++));
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &usual), 0);
    none = usual;
    none.rlim_cur = 3;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    while (e == OK && written < WRITES_MAX) {
        e = put(kv, written);
        written += e == OK;
    }
    CHECK_ERR(e, ERR_BUSY);
    CHECK_ERR(put(kv, written), ERR_BUSY);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &usual), 0);
    kv_close(kv);
    CHECK_OK(kv_open(suite_dir(), &options, &kv));
    for (uint32_t i = 0; i < written; i++)
        CHECK_OK(get(kv, i));
    CHECK_OK(put(kv, written));
    kv_close(kv);
}

static const struct test tests[] = {
    {"none left", none_left},
    {0},
};
SUITE("kv without descriptors", tests)
