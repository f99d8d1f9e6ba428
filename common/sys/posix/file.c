/* Files: positioned reads and writes that finish or fail. */
#define _GNU_SOURCE
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/sys/posix/posix_internal.h"

struct sys_file {
    int fd;
    bool direct;
};

static int open_again(const char *path, int flags)
{
    int fd;
    do
        fd = open(path, flags | O_CLOEXEC, 0644);
    while (fd < 0 && errno == EINTR);
    return fd;
}

enum err sys_file_open(const char *path, unsigned flags, struct sys_file **out)
{
    int os = flags & SYS_OPEN_WRITE ? O_RDWR : O_RDONLY;
    if (flags & SYS_OPEN_CREATE)
        os |= O_CREAT;
    if (flags & SYS_OPEN_EXCLUSIVE)
        os |= O_EXCL;
    if (flags & SYS_OPEN_TRUNCATE)
        os |= O_TRUNC;
    bool direct = flags & SYS_OPEN_DIRECT;
    int fd = open_again(path, direct ? os | O_DIRECT : os);
    if (fd < 0 && direct && errno == EINVAL) {
        /* The file system has no direct access. The refused open may have made the file already. */
        direct = false;
        fd = open_again(path, os & ~O_EXCL);
    }
    if (fd < 0)
        return posix_error(errno);
    struct stat st;
    if (fstat(fd, &st) || S_ISDIR(st.st_mode)) {
        close(fd);
        return ERR_INVALID;
    }
    struct sys_file *f = sys_alloc(sizeof *f);
    f->fd = fd;
    f->direct = direct;
    *out = f;
    return OK;
}

void sys_file_close(struct sys_file *f)
{
    if (!f)
        return;
    close(f->fd);
    sys_free(f);
}

static void check_aligned(const struct sys_file *f, uint64_t offset, const void *data, size_t n)
{
    if (f->direct)
        assert(offset % SYS_BLOCK == 0 && n % SYS_BLOCK == 0 && (uintptr_t)data % SYS_BLOCK == 0);
}

enum err sys_file_read(struct sys_file *f, uint64_t offset, void *out, size_t n, size_t *done)
{
    check_aligned(f, offset, out, n);
    *done = 0;
    while (*done < n) {
        ssize_t got = pread(f->fd, (uint8_t *)out + *done, n - *done, (off_t)(offset + *done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return posix_error(errno);
        *done += (size_t)got;
        /* A direct read that stops between blocks has met the end of the file; to go on from
         * there would be refused as unaligned. */
        if (got == 0 || (f->direct && *done % SYS_BLOCK))
            break;
    }
    return OK;
}

enum err sys_file_write(struct sys_file *f, uint64_t offset, const void *data, size_t n)
{
    check_aligned(f, offset, data, n);
    size_t done = 0;
    while (done < n) {
        ssize_t put = pwrite(f->fd, (const uint8_t *)data + done, n - done, (off_t)(offset + done));
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return posix_error(errno);
        if (put == 0)
            return ERR_IO;
        done += (size_t)put;
    }
    return OK;
}

enum err sys_file_sync(struct sys_file *f)
{
    /* Not even EINTR is tried again: after a failed sync the page cache may call lost pages clean. */
    return fdatasync(f->fd) ? posix_error(errno) : OK;
}

enum err sys_file_allocate(struct sys_file *f, uint64_t offset, uint64_t n)
{
    int result;
    do
        result = fallocate(f->fd, 0, (off_t)offset, (off_t)n);
    while (result && errno == EINTR);
    if (!result)
        return OK;
    if (errno != EOPNOTSUPP)
        return posix_error(errno);
    /* Without reservation the size still grows, as promised. */
    uint64_t size;
    enum err e = sys_file_size(f, &size);
    if (e || size >= offset + n)
        return e;
    return sys_file_truncate(f, offset + n);
}

enum err sys_file_punch(struct sys_file *f, uint64_t offset, uint64_t n)
{
    int result;
    do
        result =
            fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)n);
    while (result && errno == EINTR);
    return result ? posix_error(errno) : OK;
}

enum err sys_file_truncate(struct sys_file *f, uint64_t size)
{
    int result;
    do
        result = ftruncate(f->fd, (off_t)size);
    while (result && errno == EINTR);
    return result ? posix_error(errno) : OK;
}

enum err sys_file_next_data(struct sys_file *f, uint64_t from, uint64_t *out)
{
    off_t at = lseek(f->fd, (off_t)from, SEEK_DATA);
    if (at < 0)
        return errno == ENXIO ? ERR_NOT_FOUND : posix_error(errno);
    *out = (uint64_t)at;
    return OK;
}

enum err sys_file_size(struct sys_file *f, uint64_t *out)
{
    struct stat st;
    if (fstat(f->fd, &st))
        return posix_error(errno);
    *out = (uint64_t)st.st_size;
    return OK;
}

enum err sys_file_allocated(struct sys_file *f, uint64_t *out)
{
    enum { UNIT = 512 }; /* of st_blocks, whatever the file system's */
    struct stat st;
    if (fstat(f->fd, &st))
        return posix_error(errno);
    *out = (uint64_t)st.st_blocks * UNIT;
    return OK;
}

enum err sys_file_lock(struct sys_file *f)
{
    int result;
    do
        result = flock(f->fd, LOCK_EX | LOCK_NB);
    while (result && errno == EINTR);
    return result ? (errno == EWOULDBLOCK ? ERR_BUSY : posix_error(errno)) : OK;
}
