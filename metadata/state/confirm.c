/* An operator's word that log time is right (hazard 6): steps that it made up to the confirmed time hold
 * nothing up any more (time_watch.c), on any member, also after a restart. */
#include "metadata/state/state_internal.h"
#include "common/base/cursor.h"

static void key_confirmed(struct key *k)
{
    key_begin2(k, 'm', 't');
}

/* Log time goes on between the look and the word: what is confirmed is what was seen. */
enum err apply_confirm_time(struct apply *a, const ConfirmTime *c)
{
    uint8_t bytes[8];
    struct writer w;
    struct key key;
    if (c->seen <= 0 || c->seen > a->time)
        return ERR_INVALID;
    if (c->seen <= atomic_load(&a->state->time_confirmed))
        return OK;
    writer_init(&w, bytes, sizeof bytes);
    write_u64(&w, (uint64_t)c->seen);
    key_confirmed(&key);
    txn_put(a->txn, &key, bytes, sizeof bytes);
    atomic_store(&a->state->time_confirmed, c->seen);
    return OK;
}

int64_t confirmed_load(struct txn *t)
{
    struct key key;
    struct kv_slice value;
    struct reader r;
    key_confirmed(&key);
    if (!txn_get(t, &key, &value))
        return 0;
    reader_init(&r, value.data, value.length);
    int64_t time = (int64_t)read_u64(&r);
    if (!reader_finished(&r))
        t->error = ERR_CORRUPT;
    return time;
}

int64_t state_time_confirmed(const struct state *s)
{
    return atomic_load(&s->time_confirmed);
}
