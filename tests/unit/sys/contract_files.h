/* The files' part of the contract; see contract.h. */
#pragma once
#include "tests/unit/sys/contract.h"

static const char *in_dir(const char *name, char out[SYS_PATH_MAX])
{
    snprintf(out, SYS_PATH_MAX, "%s/%s", suite_dir(), name);
    return out;
}

static struct sys_file *open_file(const char *name, unsigned flags)
{
    char path[SYS_PATH_MAX];
    struct sys_file *f = NULL;
    suite_check(sys_file_open(in_dir(name, path), flags, &f) == OK, __FILE__, __LINE__, "open %s",
                name);
    return f;
}

static enum err open_error(const char *name, unsigned flags)
{
    char path[SYS_PATH_MAX];
    struct sys_file *f = NULL;
    enum err e = sys_file_open(in_dir(name, path), flags, &f);
    if (!e)
        sys_file_close(f);
    return e;
}

static void check_file(struct sys_file *f, uint64_t offset, const void *want, size_t n)
{
    uint8_t *got = sys_alloc(n + 1);
    size_t done = 0;
    CHECK_OK(sys_file_read(f, offset, got, n, &done));
    CHECK_EQ(done, n);
    CHECK_BYTES(got, want, n);
    sys_free(got);
}

static uint64_t size_of(struct sys_file *f)
{
    uint64_t size = 0;
    CHECK_OK(sys_file_size(f, &size));
    return size;
}

enum { WRITE_NEW = SYS_OPEN_WRITE | SYS_OPEN_CREATE | SYS_OPEN_EXCLUSIVE };

static void files_open(void)
{
    CHECK_ERR(open_error("a", SYS_OPEN_READ), ERR_NOT_FOUND);
    CHECK_ERR(open_error("no/a", WRITE_NEW), ERR_NOT_FOUND);
    struct sys_file *f = open_file("a", WRITE_NEW);
    CHECK_ERR(open_error("a", WRITE_NEW), ERR_EXISTS);
    CHECK_OK(sys_file_write(f, 0, "hello", 5));
    sys_file_close(f);
    f = open_file("a", SYS_OPEN_READ);
    check_file(f, 0, "hello", 5);
    CHECK(sys_file_write(f, 0, "x", 1) != OK);
    sys_file_close(f);
    f = open_file("a", SYS_OPEN_WRITE | SYS_OPEN_CREATE | SYS_OPEN_TRUNCATE);
    CHECK_EQ(size_of(f), 0);
    sys_file_close(f);
    CHECK_ERR(open_error("", SYS_OPEN_READ), ERR_INVALID);
}

static void files_read_write(void)
{
    struct sys_file *f = open_file("a", WRITE_NEW);
    static const uint8_t zeros[10000];
    CHECK_OK(sys_file_write(f, 10000, "end", 3));
    CHECK_EQ(size_of(f), 10003);
    check_file(f, 0, zeros, 10000);
    uint8_t got[10];
    size_t done = 99;
    CHECK_OK(sys_file_read(f, 10001, got, sizeof got, &done));
    CHECK_EQ(done, 2);
    CHECK_BYTES(got, "nd", 2);
    CHECK_OK(sys_file_read(f, 20000, got, sizeof got, &done));
    CHECK_EQ(done, 0);
    uint8_t *data = pattern(20000);
    CHECK_OK(sys_file_write(f, 4000, data, 20000));
    check_file(f, 4000, data, 20000);
    CHECK_OK(sys_file_write(f, 5000, zeros, 10000));
    check_file(f, 4000, data, 1000);
    check_file(f, 5000, zeros, 10000);
    check_file(f, 15000, data + 11000, 9000);
    CHECK_OK(sys_file_sync(f));
    CHECK_OK(sys_file_truncate(f, 6000));
    CHECK_EQ(size_of(f), 6000);
    CHECK_OK(sys_file_truncate(f, 30000)); /* what was cut away does not come back */
    check_file(f, 6000, zeros, 10000);
    sys_free(data);
    sys_file_close(f);
}

static void files_direct(void)
{
    struct sys_file *f = open_file("a", WRITE_NEW | SYS_OPEN_DIRECT);
    uint8_t *block = sys_alloc_aligned(4 * SYS_BLOCK, SYS_BLOCK);
    memset(block, 3, 4 * SYS_BLOCK);
    CHECK_OK(sys_file_write(f, SYS_BLOCK, block, 2 * SYS_BLOCK));
    CHECK_OK(sys_file_sync(f));
    memset(block, 9, 4 * SYS_BLOCK);
    size_t done = 0;
    CHECK_OK(sys_file_read(f, 0, block, 4 * SYS_BLOCK, &done));
    CHECK_EQ(done, 3 * SYS_BLOCK);
    CHECK(block[0] == 0 && block[SYS_BLOCK] == 3 && block[3 * SYS_BLOCK - 1] == 3);
    CHECK_OK(sys_file_truncate(f, SYS_BLOCK + 100)); /* an end between blocks */
    CHECK_OK(sys_file_read(f, 0, block, 4 * SYS_BLOCK, &done));
    CHECK_EQ(done, SYS_BLOCK + 100);
    sys_free(block);
    sys_file_close(f);
}

static void files_holes(void)
{
    struct sys_file *f = open_file("a", WRITE_NEW);
    uint64_t at = 0;
    static const uint8_t zeros[65536];
    CHECK_ERR(sys_file_next_data(f, 0, &at), ERR_NOT_FOUND);
    CHECK_OK(sys_file_allocate(f, 0, 1 << 20));
    CHECK_EQ(size_of(f), 1 << 20);
    CHECK_OK(sys_file_allocated(f, &at));
    CHECK(at >= 1 << 20);
    check_file(f, 1000, zeros, sizeof zeros);
    uint8_t *data = pattern(1 << 16);
    CHECK_OK(sys_file_write(f, 1 << 17, data, 1 << 16));
    CHECK_OK(sys_file_sync(f));
    CHECK_OK(sys_file_next_data(f, 0, &at));
    CHECK(at <= 1 << 17);
    CHECK_OK(sys_file_next_data(f, (1 << 17) + 10, &at));
    CHECK_EQ(at, (1 << 17) + 10);
    CHECK_OK(sys_file_punch(f, 1 << 17, 1 << 15));
    check_file(f, 1 << 17, zeros, 1 << 15);
    check_file(f, (1 << 17) + (1 << 15), data + (1 << 15), 1 << 15);
    CHECK_EQ(size_of(f), 1 << 20);
    CHECK_OK(sys_file_punch(f, 0, 1 << 20));
    CHECK_ERR(sys_file_next_data(f, 0, &at), ERR_NOT_FOUND);
    CHECK_OK(sys_file_allocated(f, &at));
    CHECK(at < 1 << 16);
    CHECK_OK(sys_file_allocate(f, 0, 4096)); /* the size never shrinks */
    CHECK_EQ(size_of(f), 1 << 20);
    sys_free(data);
    sys_file_close(f);
}

static void files_lock(void)
{
    struct sys_file *a = open_file("a", WRITE_NEW), *b = open_file("a", SYS_OPEN_WRITE);
    CHECK_OK(sys_file_lock(a));
    CHECK_OK(sys_file_lock(a));
    CHECK_ERR(sys_file_lock(b), ERR_BUSY);
    sys_file_close(a);
    CHECK_OK(sys_file_lock(b));
    sys_file_close(b);
}

struct names {
    char text[200];
};

static void add_name(void *arg, const char *name, bool is_dir)
{
    struct names *n = arg;
    size_t at = strlen(n->text);
    snprintf(n->text + at, sizeof n->text - at, "%s%s ", name, is_dir ? "/" : "");
}

static void check_names(const char *dir, const char *want)
{
    struct names n = {""};
    char path[SYS_PATH_MAX];
    CHECK_OK(sys_dir_list(in_dir(dir, path), add_name, &n));
    CHECK_TEXT(n.text, want);
}

static void make(const char *name, const char *content)
{
    struct sys_file *f = open_file(name, WRITE_NEW);
    CHECK_OK(sys_file_write(f, 0, content, strlen(content)));
    CHECK_OK(sys_file_sync(f));
    sys_file_close(f);
}

static void directories(void)
{
    char a[SYS_PATH_MAX], b[SYS_PATH_MAX];
    CHECK_OK(sys_mkdir(in_dir("d", a)));
    CHECK_ERR(sys_mkdir(a), ERR_EXISTS);
    CHECK_ERR(sys_mkdir(in_dir("x/y", b)), ERR_NOT_FOUND);
    make("d/b", "bee");
    make("d/a", "a");
    make("d/B", "B");
    make("d/10", "ten");
    CHECK_OK(sys_mkdir(in_dir("d/c", b)));
    check_names("d", "10 B a b c/ ");
    CHECK_OK(sys_rename(in_dir("d/b", a), in_dir("d/a", b)));
    check_names("d", "10 B a c/ ");
    struct sys_file *f = open_file("d/a", SYS_OPEN_READ);
    check_file(f, 0, "bee", 3);
    CHECK_OK(sys_unlink(in_dir("d/a", a)));
    check_file(f, 0, "bee", 3); /* open files live on */
    sys_file_close(f);
    CHECK_ERR(sys_unlink(in_dir("d/a", a)), ERR_NOT_FOUND);
    CHECK_ERR(sys_rename(in_dir("d/a", a), in_dir("d/q", b)), ERR_NOT_FOUND);
    CHECK_OK(sys_rename(in_dir("d/10", a), in_dir("d/c/10", b)));
    check_names("d/c", "10 ");
    CHECK_ERR(sys_rmdir(in_dir("d/c", a)), ERR_EXISTS);
    CHECK_OK(sys_rename(in_dir("d/c", a), in_dir("moved", b)));
    check_names("moved", "10 ");
    CHECK_OK(sys_dir_sync(in_dir("d", a)));
    CHECK_OK(sys_dir_sync(suite_dir()));
    CHECK_ERR(sys_dir_sync(in_dir("none", a)), ERR_NOT_FOUND);
    CHECK_ERR(sys_dir_list(in_dir("none", a), add_name, &(struct names){""}), ERR_NOT_FOUND);
    CHECK_OK(sys_unlink(in_dir("d/B", a)));
    CHECK_OK(sys_rmdir(in_dir("d", a)));
    CHECK_ERR(sys_rmdir(a), ERR_NOT_FOUND);
    check_names("", "moved/ ");
}

static void disk_space(void)
{
    uint64_t total = 0, before = 0;
    CHECK_OK(sys_disk_space(suite_dir(), &total, &before));
    CHECK(total >= before && before > 0);
    CHECK_ERR(sys_disk_space("/no/such/path", &total, &before), ERR_NOT_FOUND);
}

#define CONTRACT_FILE_TESTS                                                                       \
    {"files open", files_open}, {"files read and write", files_read_write},                       \
        {"files direct", files_direct}, {"files holes", files_holes}, {"files lock", files_lock}, \
        {"directories", directories},                                                             \
    {                                                                                             \
        "disk space", disk_space                                                                  \
    }
