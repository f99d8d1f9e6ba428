/* The bytes of simulated files, each sector as it is now and as the platter has it.
 *
 *   1. A sector reads as what was last written to it.
 *   2. After a crash it holds what was last synced, or what was written at any time since.
 *   3. A sync covers what was written before it began. Hence a page that is written again while a
 *      sync runs, and at random otherwise, is first taken as having reached the platter. */
#include <string.h>
#include "common/sys/sim/fs_internal.h"

enum { SECTORS = PAGE / SECTOR, ALL_SECTORS = 0xff };
_Static_assert(SECTORS == 8, "a byte of dirty bits");

static struct page *page_at(const struct inode *i, uint64_t number)
{
    size_t group = number / GROUP;
    return group < i->group_count && i->groups[group] ? &i->groups[group][number % GROUP] : NULL;
}

static struct page *page_need(struct inode *i, uint64_t number)
{
    size_t group = number / GROUP;
    if (group >= i->group_count) {
        size_t count = i->group_count ? i->group_count : 4;
        while (count <= group)
            count *= 2;
        i->groups = world_realloc(i->groups, count * sizeof *i->groups);
        memset(i->groups + i->group_count, 0, (count - i->group_count) * sizeof *i->groups);
        i->group_count = count;
    }
    if (!i->groups[group])
        i->groups[group] = world_alloc(GROUP * sizeof(struct page));
    return &i->groups[group][number % GROUP];
}

static bool occupies(const struct page *p)
{
    return p->data || p->reserved;
}

static void count_pages(struct inode *i, int64_t more)
{
    i->used_pages += (uint64_t)more;
    if (i->counted)
        i->fs->used_pages += (uint64_t)more;
}

static void promote(struct page *p)
{
    world_free(p->durable);
    p->durable = NULL;
    p->dirty = 0;
}

static void list_dirty(struct inode *i, struct page *p, uint64_t number)
{
    if (p->listed)
        return;
    p->listed = true;
    if (i->listed_count == i->listed_capacity) {
        i->listed_capacity = i->listed_capacity ? 2 * i->listed_capacity : 16;
        i->listed = world_realloc(i->listed, i->listed_capacity * sizeof *i->listed);
    }
    i->listed[i->listed_count++] = number;
}

/* Prepares a page for a change of the given sectors: keeps their durable bytes aside. The caller
 * then changes data, which is the page's own copy (or NULL). */
static void begin_change(struct inode *i, struct page *p, uint64_t number, int pid, uint8_t sectors)
{
    if (p->dirty && (i->syncing || sim_below(2) == 0))
        promote(p);
    if (!p->dirty && p->data) {
        p->durable = world_alloc(PAGE);
        memcpy(p->durable, p->data, PAGE);
    } else if (p->dirty && (sectors & (uint8_t)~p->dirty)) {
        /* Sectors that were clean until now: what they hold is durable. */
        if (!p->durable)
            p->durable = world_alloc(PAGE);
        for (int s = 0; s < SECTORS; s++) {
            if (p->dirty >> s & 1)
                continue;
            if (p->data)
                memcpy(p->durable + s * SECTOR, p->data + s * SECTOR, SECTOR);
            else
                memset(p->durable + s * SECTOR, 0, SECTOR);
        }
    }
    p->dirty |= sectors;
    p->bad &= (uint8_t)~sectors;
    for (int s = 0; s < SECTORS; s++)
        if (sectors >> s & 1)
            p->stamp[s] = (uint8_t)i->fs->clock;
    p->writer = pid;
    p->written = i->fs->clock;
    list_dirty(i, p, number);
}

static uint8_t sectors_of(size_t offset, size_t n)
{
    size_t first = offset / SECTOR, last = (offset + n - 1) / SECTOR;
    uint8_t bits = 0;
    for (size_t s = first; s <= last; s++)
        bits |= (uint8_t)(1u << s);
    return bits;
}

void pages_read(const struct inode *i, uint64_t offset, uint8_t *out, size_t n)
{
    while (n > 0) {
        size_t in_page = offset % PAGE;
        size_t part = PAGE - in_page < n ? PAGE - in_page : n;
        const struct page *p = page_at(i, offset / PAGE);
        if (p && p->data)
            memcpy(out, p->data + in_page, part);
        else
            memset(out, 0, part);
        out += part;
        offset += part;
        n -= part;
    }
}

static void grow_size(struct inode *i, int pid, uint64_t size)
{
    if (size > i->size) {
        i->size = size;
        i->size_writer = pid;
    }
}

/* Without room it stops on a page boundary: a prefix has been written. */
enum err pages_write(struct inode *i, int pid, uint64_t offset, const uint8_t *data, size_t n)
{
    struct fs *fs = i->fs;
    fs->clock++;
    while (n > 0) {
        size_t in_page = offset % PAGE;
        size_t part = PAGE - in_page < n ? PAGE - in_page : n;
        struct page *p = page_need(i, offset / PAGE);
        if (!occupies(p) && fs->used_pages >= fs->limit_pages)
            return ERR_NO_SPACE;
        begin_change(i, p, offset / PAGE, pid, sectors_of(in_page, part));
        if (!occupies(p))
            count_pages(i, 1);
        if (!p->data)
            p->data = world_alloc(PAGE);
        memcpy(p->data + in_page, data, part);
        data += part;
        offset += part;
        n -= part;
        grow_size(i, pid, offset);
    }
    return OK;
}

/* Whole pages give their space back. The size stays. */
void pages_zero(struct inode *i, int pid, uint64_t offset, uint64_t n)
{
    i->fs->clock++;
    while (n > 0) {
        size_t in_page = offset % PAGE;
        size_t part = PAGE - in_page < n ? (size_t)(PAGE - in_page) : (size_t)n;
        struct page *p = page_at(i, offset / PAGE);
        if (p && p->data) {
            begin_change(i, p, offset / PAGE, pid, sectors_of(in_page, part));
            if (part == PAGE) {
                world_free(p->data);
                p->data = NULL;
                if (!p->reserved)
                    count_pages(i, -1);
            } else {
                memset(p->data + in_page, 0, part);
            }
        }
        if (p && p->reserved && part == PAGE) {
            p->reserved = false;
            count_pages(i, -1);
        }
        if (p)
            p->bad &= (uint8_t)~sectors_of(in_page, part);
        offset += part;
        n -= part;
    }
}

enum err pages_reserve(struct inode *i, uint64_t offset, uint64_t n)
{
    struct fs *fs = i->fs;
    for (uint64_t at = offset / PAGE; at * PAGE < offset + n; at++) {
        struct page *p = page_need(i, at);
        if (!occupies(p)) {
            if (fs->used_pages >= fs->limit_pages)
                return ERR_NO_SPACE;
            count_pages(i, 1);
        }
        p->reserved = true;
    }
    return OK;
}

void pages_resize(struct inode *i, int pid, uint64_t size)
{
    if (size < i->size) {
        uint64_t pages = i->group_count * (uint64_t)GROUP * PAGE;
        uint64_t end = i->size > pages ? pages : (i->size + PAGE - 1) / PAGE * PAGE;
        if (size < end)
            pages_zero(i, pid, size, end - size);
    }
    if (size != i->size) {
        i->fs->clock++;
        i->size = size;
        i->size_writer = pid;
    }
}

bool pages_next_data(const struct inode *i, uint64_t from, uint64_t *out)
{
    for (uint64_t at = from / PAGE; at * PAGE < i->size; at++) {
        if (at / GROUP >= i->group_count)
            return false;
        if (!i->groups[at / GROUP]) {
            at += GROUP - 1 - at % GROUP;
            continue;
        }
        const struct page *p = page_at(i, at);
        if (p->data) {
            *out = at * PAGE > from ? at * PAGE : from;
            return *out < i->size;
        }
    }
    return false;
}

/* Makes durable what was written up to clock `until`; the file had this size then. */
void pages_sync(struct inode *i, uint64_t until, uint64_t size)
{
    size_t kept = 0;
    for (size_t k = 0; k < i->listed_count; k++) {
        struct page *p = page_at(i, i->listed[k]);
        if (p->dirty && p->written > until) {
            i->listed[kept++] = i->listed[k];
            continue;
        }
        promote(p);
        p->listed = false;
    }
    i->listed_count = kept;
    i->durable_size = size;
}

static bool sector_is_lost(const struct page *p, int s, enum survival how, uint64_t fate)
{
    if (how == SURVIVE_WRITES) {
        uint64_t mixed = (fate ^ p->stamp[s]) * 0x9e3779b97f4a7c15u;
        return (mixed ^ mixed >> 32) & UINT64_C(1) << 20;
    }
    return how == SURVIVE_NONE || (how == SURVIVE_SECTORS && sim_below(2));
}

static void crash_page(struct inode *i, struct page *p, enum survival how, uint64_t fate)
{
    bool occupied = occupies(p);
    uint8_t lost = 0;
    for (int s = 0; s < SECTORS; s++)
        if ((p->dirty >> s & 1) && sector_is_lost(p, s, how, fate))
            lost |= (uint8_t)(1u << s);
    if (lost) {
        if (!p->data)
            p->data = world_alloc(PAGE);
        for (int s = 0; s < SECTORS; s++) {
            if (!(lost >> s & 1))
                continue;
            if (p->durable)
                memcpy(p->data + s * SECTOR, p->durable + s * SECTOR, SECTOR);
            else
                memset(p->data + s * SECTOR, 0, SECTOR);
            world.stats.sectors_torn++;
        }
        if (!p->durable && lost == ALL_SECTORS) {
            world_free(p->data);
            p->data = NULL;
        }
    }
    promote(p);
    if (occupies(p) != occupied)
        count_pages(i, occupied ? -1 : 1);
}

static uint64_t surviving_size(const struct inode *i, enum survival how)
{
    if (how == SURVIVE_ALL || how == SURVIVE_WRITES || i->size == i->durable_size)
        return i->size;
    uint64_t draw = how == SURVIVE_NONE ? 0 : sim_below(3);
    if (draw == 0 || (draw == 2 && i->size < i->durable_size))
        return i->durable_size;
    if (draw == 1)
        return i->size;
    uint64_t size = i->durable_size + SECTOR * sim_below((i->size - i->durable_size) / SECTOR + 1);
    return size;
}

void pages_crash(struct inode *i, int pid, enum survival how, uint64_t fate)
{
    size_t kept = 0;
    for (size_t k = 0; k < i->listed_count; k++) {
        struct page *p = page_at(i, i->listed[k]);
        if (p->dirty && p->writer != pid) {
            i->listed[kept++] = i->listed[k];
            continue;
        }
        if (p->dirty)
            crash_page(i, p, how, fate);
        p->listed = false;
    }
    i->listed_count = kept;
    if (i->size_writer != pid)
        return;
    uint64_t size = surviving_size(i, how);
    if (size < i->size)
        pages_resize(i, pid, size);
    i->size = i->durable_size = size;
    for (size_t k = 0; k < i->listed_count; k++) /* what the cut above dirtied */
        if (page_at(i, i->listed[k])->writer == pid)
            promote(page_at(i, i->listed[k]));
}

void pages_plant(struct inode *i, uint64_t offset, const uint8_t *data, size_t n)
{
    while (n > 0) {
        size_t in_page = offset % PAGE;
        size_t part = PAGE - in_page < n ? PAGE - in_page : n;
        struct page *p = page_need(i, offset / PAGE);
        if (!occupies(p))
            count_pages(i, 1);
        if (!p->data)
            p->data = world_alloc(PAGE);
        if (p->dirty && !p->durable) /* zeros until now */
            p->durable = world_alloc(PAGE);
        memcpy(p->data + in_page, data, part);
        if (p->durable)
            memcpy(p->durable + in_page, data, part);
        data += part;
        offset += part;
        n -= part;
    }
}

void pages_flip(struct inode *i, uint64_t offset, uint8_t mask)
{
    struct page *p = page_need(i, offset / PAGE);
    if (!p->data) {
        if (!occupies(p))
            count_pages(i, 1);
        p->data = world_alloc(PAGE);
    }
    p->data[offset % PAGE] ^= mask;
    if (p->durable)
        p->durable[offset % PAGE] ^= mask;
}

void pages_make_bad(struct inode *i, uint64_t offset, uint64_t n)
{
    for (uint64_t s = offset / SECTOR; s <= (offset + n - 1) / SECTOR; s++)
        page_need(i, s / SECTORS)->bad |= (uint8_t)(1u << s % SECTORS);
}

bool pages_bad(const struct inode *i, uint64_t offset, uint64_t n)
{
    for (uint64_t s = offset / SECTOR; n > 0 && s <= (offset + n - 1) / SECTOR; s++) {
        const struct page *p = page_at(i, s / SECTORS);
        if (p && (p->bad >> s % SECTORS & 1))
            return true;
    }
    return false;
}

void pages_free(struct inode *i)
{
    for (size_t g = 0; g < i->group_count; g++) {
        for (size_t k = 0; i->groups[g] && k < GROUP; k++) {
            world_free(i->groups[g][k].data);
            world_free(i->groups[g][k].durable);
        }
        world_free(i->groups[g]);
    }
    world_free(i->groups);
    world_free(i->listed);
}
