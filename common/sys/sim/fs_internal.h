/* A host's file system: between fs.c (names), pages.c (contents) and file.c (sys.h). */
#pragma once
#include "common/sys/sim/sim_internal.h"

enum { PAGE = 4096, SECTOR = 512, GROUP = 256 };

/* What a crash leaves of unsynced changes. Some: sectors one by one, or each write whole or not at
 * all: else of two large writes hardly ever one would stay and the other go. */
enum survival { SURVIVE_ALL, SURVIVE_NONE, SURVIVE_SECTORS, SURVIVE_WRITES };

/* data and durable NULL are zeros. durable counts only where dirty has the sector's bit. */
struct page {
    uint8_t *data, *durable;
    uint8_t dirty, bad; /* bits by sector; bad: cannot be read until it is written again */
    bool listed, reserved;
    uint8_t stamp[PAGE / SECTOR]; /* of each sector's last write: low bits of fs->clock */
    int writer;                   /* pid of the last unsynced write */
    uint64_t written;             /* fs->clock of it */
};

struct entry {
    char *name;
    struct inode *inode;
};
struct entries { /* by name */
    struct entry *v;
    size_t count, capacity;
};

struct inode {
    struct inode *next, *prev;
    struct fs *fs;
    uint64_t number;
    bool is_dir, cut; /* cut: while a crash is worked out */
    uint32_t opens, links, durable_links, changes;
    bool counted; /* its pages count as used */
    uint64_t used_pages;
    /* a file */
    struct page **groups;
    size_t group_count;
    uint64_t size, durable_size;
    int size_writer;
    uint64_t *listed; /* numbers of dirty pages */
    size_t listed_count, listed_capacity;
    unsigned syncing; /* syncs that run */
    struct sys_file *locked_by;
    /* a directory */
    struct entries live, durable;
};

/* A change of names that no dir_sync has covered yet. Moves are atomic, as in a journal. */
struct change {
    struct change *next;
    int pid;
    uint64_t at; /* fs->clock */
    struct inode *from,
        *to; /* directories; from NULL: nothing is removed; to NULL: nothing added */
    char *from_name, *to_name;
    struct inode *inode;
};

struct fs {
    struct inode *root, *inodes;
    struct change *changes, **changes_end;
    uint64_t clock, limit_pages, used_pages, numbers;
    bool no_holes;
    void (*seen)(void *arg, const struct sim_disk_change *change);
    void *seen_arg;
};

static inline void fs_tell(const struct fs *fs, const struct sim_disk_change *change)
{
    if (fs->seen)
        fs->seen(fs->seen_arg, change);
}

/* fs.c */
enum err fs_lookup(struct fs *fs, const char *path, struct inode **out);
/* The directory that path's last name is (to be) in. */
enum err fs_parent(struct fs *fs, const char *path, struct inode **dir,
                   char name[SYS_NAME_MAX + 1]);
struct inode *fs_entry(const struct inode *dir, const char *name); /* NULL: none */
struct inode *fs_inode_new(struct fs *fs, bool is_dir);
void fs_change(struct fs *fs, int pid, struct inode *from, const char *from_name, struct inode *to,
               const char *to_name, struct inode *inode);
void fs_sync_dir(struct fs *fs, struct inode *dir, uint64_t until);
void fs_count(struct inode *i);     /* after links or opens changed */
void fs_drop_unused(struct fs *fs); /* frees inodes that nothing names any more */
void fs_wipe(struct fs *fs, struct inode *dir);

/* pages.c */
void pages_read(const struct inode *i, uint64_t offset, uint8_t *out, size_t n);
enum err pages_write(struct inode *i, int pid, uint64_t offset, const uint8_t *data, size_t n);
void pages_zero(struct inode *i, int pid, uint64_t offset, uint64_t n);
enum err pages_reserve(struct inode *i, uint64_t offset, uint64_t n);
void pages_resize(struct inode *i, int pid, uint64_t size);
bool pages_next_data(const struct inode *i, uint64_t from, uint64_t *out);
void pages_sync(struct inode *i, uint64_t until, uint64_t size);
/* fate: of writes, all over the file system. */
void pages_crash(struct inode *i, int pid, enum survival how, uint64_t fate);
void pages_flip(struct inode *i, uint64_t offset, uint8_t mask);
/* On the platter and in the cache at once, as something that nobody wrote. */
void pages_plant(struct inode *i, uint64_t offset, const uint8_t *data, size_t n);
void pages_make_bad(struct inode *i, uint64_t offset, uint64_t n);
bool pages_bad(const struct inode *i, uint64_t offset, uint64_t n);
void pages_free(struct inode *i);

/* disk.c */
/* A write that its disk puts somewhere else: over another file below the lying rule's path, or
 * elsewhere in the same one, or nowhere. */
void disk_write_elsewhere(const char *path, const struct inode *meant, uint64_t meant_offset,
                          const uint8_t *data, size_t n);
