#include "chunkserver/service_internal.h"

/* ---- memory for reads ----
 * A read needs the blocks that cover its range and what surrounds them on disk. Kept once made: a
 * buffer that is mapped anew for each read costs more than the read's copy would.
 *
 * No disk's reads get more than its share: those of a disk that hangs give nothing back, and the others are
 * to be read meanwhile. */

#define WAIT_FOR_MEMORY SYS_SECOND
enum { SHARES = 4 };

static size_t class_bytes(unsigned c)
{
    return shard_read_room(0, c == 0 ? SHARD_BLOCK : READ_PIECES_MAX * SHARD_BLOCK);
}

void read_memory_init(struct read_memory *m, uint64_t budget_bytes, size_t disks)
{
    sys_mutex_init(&m->lock);
    sys_cond_init(&m->back);
    uint64_t least = 2 * class_bytes(READ_CLASSES - 1);
    m->budget_bytes = budget_bytes < least ? least : budget_bytes;
    m->share_bytes = m->budget_bytes / (disks < SHARES ? disks : SHARES);
    if (m->share_bytes < least / 2)
        m->share_bytes = least / 2;
}

void read_memory_release(struct read_memory *m)
{
    for (unsigned c = 0; c < READ_CLASSES; c++)
        while (m->free[c]) {
            struct read_buffer *b = m->free[c];
            m->free[c] = b->next;
            sys_free(b->data);
            sys_free(b);
        }
    sys_cond_release(&m->back);
    sys_mutex_release(&m->lock);
}

/* Under the lock: a new one within the budget; a free one of the other size gives way. */
static struct read_buffer *make(struct read_memory *m, unsigned class)
{
    size_t bytes = class_bytes(class);
    unsigned other = 1 - class;
    while (m->made_bytes + bytes > m->budget_bytes && m->free[other]) {
        struct read_buffer *old = m->free[other];
        m->free[other] = old->next;
        m->made_bytes -= old->capacity;
        sys_free(old->data);
        sys_free(old);
    }
    if (m->made_bytes + bytes > m->budget_bytes)
        return NULL;
    m->made_bytes += bytes;
    struct read_buffer *b = sys_alloc(sizeof *b);
    b->data = sys_alloc_aligned(bytes, SYS_BLOCK);
    b->capacity = bytes;
    return b;
}

static bool share_is_taken(const struct read_memory *m, const struct chunk_disk *d, unsigned class)
{
    return d->read_bytes + class_bytes(class) > m->share_bytes;
}

/* Under the lock; NULL: not now. */
static struct read_buffer *take(struct read_memory *m, struct chunk_disk *d, unsigned class)
{
    if (share_is_taken(m, d, class))
        return NULL;
    struct read_buffer *b = m->free[class];
    if (b)
        m->free[class] = b->next;
    else
        b = make(m, class);
    if (b)
        d->read_bytes += b->capacity;
    return b;
}

/* Waits a little; not for a disk that has its share and has long given nothing back. */
static struct read_buffer *read_buffer_get(struct read_memory *m, struct chunk_disk *d,
                                           size_t bytes, int64_t deadline)
{
    unsigned class = bytes <= class_bytes(0) ? 0 : 1;
    int64_t now = sys_now(), until = now + WAIT_FOR_MEMORY;
    if (until > deadline)
        until = deadline;
    sys_mutex_lock(&m->lock);
    if (d->read_bytes == 0)
        d->read_back = now;
    bool late = share_is_taken(m, d, class) && now - d->read_back > WAIT_FOR_MEMORY;
    struct read_buffer *b = take(m, d, class);
    while (!b && !late) {
        late = sys_cond_wait(&m->back, &m->lock, until) == ERR_TIMEOUT;
        b = take(m, d, class);
    }
    sys_mutex_unlock(&m->lock);
    return b;
}

static void read_buffer_give(struct read_memory *m, struct chunk_disk *d, struct read_buffer *b)
{
    unsigned class = b->capacity <= class_bytes(0) ? 0 : 1;
    int64_t now = sys_now();
    sys_mutex_lock(&m->lock);
    b->next = m->free[class];
    m->free[class] = b;
    d->read_bytes -= b->capacity;
    d->read_back = now;
    sys_mutex_unlock(&m->lock);
    sys_cond_broadcast(&m->back);
}

/* ---- pending ---- */

struct pending *pending_new(struct chunk_service *s)
{
    struct pending *p = sys_alloc(sizeof *p);
    sys_mutex_init(&p->lock);
    sys_cond_init(&p->cond);
    p->users = 1;
    p->service = s;
    return p;
}

void pending_unref(struct pending *p)
{
    sys_mutex_lock(&p->lock);
    bool last = --p->users == 0;
    sys_mutex_unlock(&p->lock);
    if (!last)
        return;
    if (p->buffer)
        read_buffer_give(&p->service->reads, p->disk, p->buffer);
    sys_cond_release(&p->cond);
    sys_mutex_release(&p->lock);
    sys_free(p);
}

void pending_done(void *arg, enum err result)
{
    struct pending *p = arg;
    sys_mutex_lock(&p->lock);
    p->over = true;
    p->result = result;
    sys_cond_signal(&p->cond);
    sys_mutex_unlock(&p->lock);
    pending_unref(p);
}

static void job_done(struct shard_job *job, enum err result)
{
    pending_done(job->arg, result);
}

enum err pending_read(struct pending *p, struct chunk_disk *d, uint32_t pool,
                      const struct shard_id *id, uint32_t offset, uint32_t length, int64_t deadline)
{
    if (length == 0 || length > READ_BYTES_MAX || offset > SHARD_LENGTH_MAX)
        return ERR_INVALID;
    size_t room = shard_read_room(offset, length);
    p->disk = d;
    p->buffer = read_buffer_get(&p->service->reads, d, room, deadline);
    if (!p->buffer)
        return ERR_BUSY;
    p->job = (struct shard_job){
        .kind = SHARD_READ,
        .pool = pool,
        .id = *id,
        .deadline = deadline,
        .offset = offset,
        .length = length,
        .buffer = p->buffer->data,
        .capacity = p->buffer->capacity,
        .crcs = p->crcs,
        .done = job_done,
        .arg = p,
    };
    return OK;
}

enum err pending_submit(struct pending *p)
{
    p->users++; /* the store's */
    enum err e = shard_store_submit(p->disk->store, &p->job);
    if (e != OK)
        p->users--;
    return e;
}

enum err pending_wait(struct pending *p, int64_t deadline)
{
    sys_mutex_lock(&p->lock);
    enum err waited = OK;
    while (!p->over && waited != ERR_TIMEOUT)
        waited = sys_cond_wait(&p->cond, &p->lock, deadline);
    enum err e = p->over ? p->result : ERR_TIMEOUT;
    sys_mutex_unlock(&p->lock);
    return e;
}
