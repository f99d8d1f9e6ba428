/* K4 on LevelDB: a failed write is sticky, and what was synced before it is there afterwards. The
 * full disk is a limit on the size of files. */
#include "tests/unit/suite.h"
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include "common/kv/kv.h"
#include "common/sys/sys.h"

static struct kv_slice key_of(unsigned i, char out[16])
{
    snprintf(out, 16, "key-%05u", i);
    return (struct kv_slice){out, strlen(out)};
}

static enum err write_one(struct kv *kv, unsigned i, bool sync)
{
    char key[16];
    static const uint8_t value[1000] = {1};
    struct kv_batch *b = kv_batch_new();
    kv_batch_put(b, key_of(i, key), (struct kv_slice){value, sizeof value});
    enum err e = kv_write(kv, b, sync);
    kv_batch_free(b);
    return e;
}

static bool is_there(struct kv *kv, unsigned i)
{
    char key[16];
    void *value;
    size_t n;
    enum err e = kv_get(kv, NULL, key_of(i, key), &value, &n);
    sys_free(value);
    return e == OK;
}

static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void failed_writes_are_sticky(void)
{
    for (int sync = 0; sync < 2; sync++) {
        char dir[SYS_PATH_MAX];
        struct kv *kv = NULL;
        snprintf(dir, sizeof dir, "%s/s%d", suite_dir(), sync);
        CHECK_OK(kv_open(dir, NULL, &kv));
        signal(SIGXFSZ, SIG_IGN);
        limit_files(256 << 10);
        unsigned n = 0;
        enum err e = OK;
        while (!e && n < 1000)
            e = write_one(kv, n++, sync);
        limit_files(RLIM_INFINITY);
        signal(SIGXFSZ, SIG_DFL);
        CHECK_ERR(e, ERR_IO);
        CHECK(n > 100);
        CHECK_ERR(write_one(kv, n, true), ERR_IO); /* there is room again: too late */
        CHECK_ERR(write_one(kv, n, false), ERR_IO);
        CHECK(is_there(kv, 0));
        kv_close(kv);
        CHECK_OK(kv_open(dir, NULL, &kv));
        for (unsigned i = 0; sync && i + 1 < n; i++)
            CHECK(is_there(kv, i));
        CHECK_OK(write_one(kv, n, true));
        CHECK(is_there(kv, n));
        kv_close(kv);
    }
}

static const struct test tests[] = {
    {"failed writes are sticky", failed_writes_are_sticky},
    {0},
};
SUITE("kv full disk", tests)
