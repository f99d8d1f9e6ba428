/* Exactly once (hazard 7): sessions of clients with their slots, and what an SDK's own retry of a
 * request is answered with.
 *
 * A session is 128 random bits of one process start. Each of its slots remembers one (sequence,
 * result); the same sequence again gets the result, a lower one is a late duplicate and refused, and
 * a command on a session that is not known is never carried out.
 *
 *   d 's' client        slots u32, last use i64 (within SESSION_TOUCH), name
 *   d 'l' client, slot  sequence u64, packed Result
 *   d 'r' age, access key, invocation   attempt u32, fingerprint 32, packed Result
 *   d 'n' age, access key               count u32
 * age: log time in units of a third of the time that a request is remembered. */
#include "common/base/cursor.h"
#include "metadata/state/state_internal.h"

enum {
    SESSIONS_MAX = 1024,
    SESSION_SLOTS_MAX = 256,
    SESSION_EVICT = 3, /* in one command, since each has up to 257 rows */
    SESSION_HEADER = 12,
    FINGERPRINT_BYTES = 32,
    RETRY_HEADER = 4 + FINGERPRINT_BYTES,
    RETRY_AGES = 3,
    RETRY_PER_AGE = 16384, /* of one access key; more are not remembered */
    RETRY_FORGET = 16,     /* rows in one command */
    SESSION_TOUCHES = 24,  /* so often within session_idle its use is noted */
};

static void key_session(struct key *k, const void *client)
{
    key_begin2(k, 'd', 's');
    key_raw(k, client, CLIENT_ID_BYTES);
}

static void key_slot(struct key *k, const void *client, uint32_t slot)
{
    key_begin2(k, 'd', 'l');
    key_raw(k, client, CLIENT_ID_BYTES);
    key_u32(k, slot);
}

static void session_put(struct apply *a, const void *client, uint32_t slots, const void *name,
                        size_t name_n)
{
    uint8_t bytes[SESSION_HEADER + STATE_TEXT_MAX];
    struct writer w;
    struct key key;
    writer_init(&w, bytes, sizeof bytes);
    write_u32(&w, slots);
    write_u64(&w, (uint64_t)a->time);
    write_bytes(&w, name, name_n);
    key_session(&key, client);
    txn_put(a->txn, &key, bytes, writer_used(&w));
}

static void session_end(struct apply *a, const uint8_t *client)
{
    struct key key;
    struct kv_slice row, value;
    struct txn_scan scan;
    key_session(&key, client);
    txn_remove(a->txn, &key);
    key_begin2(&key, 'd', 'l');
    key_raw(&key, client, CLIENT_ID_BYTES);
    txn_scan_begin(&scan, a->txn, &key, NULL);
    while (txn_scan_next(&scan, &row, &value)) {
        key_copy(&key, row);
        txn_remove(a->txn, &key);
    }
    txn_scan_end(&scan);
}

/* Makes room: the sessions longest unused go, idle ones beyond session_idle and, when all places
 * are taken, one in any case. */
static void sessions_evict(struct apply *a)
{
    struct {
        const uint8_t *client;
        int64_t used;
    } oldest[SESSION_EVICT] = {0};
    struct key prefix;
    struct kv_slice key, value;
    struct txn_scan scan;
    size_t count = 0;
    key_begin2(&prefix, 'd', 's');
    txn_scan_begin(&scan, a->txn, &prefix, NULL);
    while (txn_scan_next(&scan, &key, &value)) {
        struct reader r;
        reader_init(&r, value.data, value.length);
        (void)read_u32(&r);
        int64_t used = (int64_t)read_u64(&r);
        const uint8_t *client = (const uint8_t *)key.data + 2;
        count++;
        for (int i = 0; i < SESSION_EVICT; i++) { /* keeps the three oldest, oldest first */
            if (oldest[i].client != NULL && oldest[i].used <= used)
                continue;
            const uint8_t *c = oldest[i].client;
            int64_t u = oldest[i].used;
            oldest[i].client = client;
            oldest[i].used = used;
            client = c;
            used = u;
            if (client == NULL)
                break;
        }
    }
    txn_scan_end(&scan);
    for (int i = 0; i < SESSION_EVICT && oldest[i].client != NULL; i++)
        if (a->time - oldest[i].used > a->state->timeouts.session_idle ||
            (i == 0 && count >= SESSIONS_MAX))
            session_end(a, oldest[i].client);
}

enum err apply_register_client(struct apply *a, const RegisterClient *c)
{
    struct key key;
    struct kv_slice value;
    size_t name_n = strlen(c->name);
    if (c->client.len != CLIENT_ID_BYTES || c->slots == 0 || c->slots > SESSION_SLOTS_MAX ||
        name_n > STATE_TEXT_MAX)
        return ERR_INVALID;
    key_session(&key, c->client.data);
    if (txn_get(a->txn, &key, &value))
        return OK;
    sessions_evict(a);
    session_put(a, c->client.data, c->slots, c->name, name_n);
    return OK;
}

enum err session_check(struct apply *a, const Command *c, struct kv_slice *remembered)
{
    struct key key;
    struct kv_slice value;
    struct reader r;
    if (c->client.len != CLIENT_ID_BYTES || c->sequence == 0)
        return ERR_INVALID;
    key_session(&key, c->client.data);
    if (!txn_get(a->txn, &key, &value))
        return ERR_SESSION_EXPIRED;
    reader_init(&r, value.data, value.length);
    uint32_t slots = read_u32(&r);
    int64_t used = (int64_t)read_u64(&r);
    if (c->slot >= slots)
        return ERR_INVALID;
    if (a->time - used > a->state->timeouts.session_idle / SESSION_TOUCHES &&
        value.length >= SESSION_HEADER)
        session_put(a, c->client.data, slots, (const uint8_t *)value.data + SESSION_HEADER,
                    value.length - SESSION_HEADER);
    key_slot(&key, c->client.data, c->slot);
    if (!txn_get(a->txn, &key, &value))
        return OK;
    reader_init(&r, value.data, value.length);
    uint64_t sequence = read_u64(&r);
    if (c->sequence > sequence)
        return OK;
    if (c->sequence < sequence)
        return ERR_MISMATCH;
    remembered->length = reader_left(&r);
    remembered->data = read_view(&r, remembered->length);
    return ERR_EXISTS;
}

void session_remember(struct apply *a, const Command *c, const void *result, size_t n)
{
    uint8_t bytes[8 + STATE_RESULT_MAX];
    struct writer w;
    struct key key;
    writer_init(&w, bytes, sizeof bytes);
    write_u64(&w, c->sequence);
    write_bytes(&w, result, n);
    key_slot(&key, c->client.data, c->slot);
    txn_put(a->txn, &key, bytes, writer_used(&w));
}

/* ---- requests of SDKs ---- */

uint64_t retry_age(const struct state *s, int64_t time)
{
    return (uint64_t)(time / (s->timeouts.sdk_retry_memory / RETRY_AGES));
}

static bool retry_valid(const SdkRetry *r)
{
    size_t access = strlen(r->access_key), invocation = strlen(r->invocation_id);
    return access > 0 && access <= STATE_TEXT_MAX && invocation > 0 &&
           invocation <= STATE_TEXT_MAX && r->fingerprint.len == FINGERPRINT_BYTES;
}

static void key_retry(struct key *k, uint64_t age, const SdkRetry *r)
{
    key_begin2(k, 'd', 'r');
    key_u64(k, age);
    key_text(k, r->access_key, strlen(r->access_key));
    key_text(k, r->invocation_id, strlen(r->invocation_id));
}

bool retry_known(struct apply *a, const SdkRetry *r, struct kv_slice *remembered)
{
    uint64_t age = retry_age(a->state, a->time);
    struct key key;
    struct kv_slice value;
    if (!retry_valid(r))
        return false;
    for (uint64_t back = 0; back <= RETRY_AGES && back <= age; back++) {
        struct reader reader;
        key_retry(&key, age - back, r);
        if (!txn_get(a->txn, &key, &value) || value.length < RETRY_HEADER)
            continue;
        reader_init(&reader, value.data, value.length);
        uint32_t attempt = read_u32(&reader);
        const void *fingerprint = read_view(&reader, FINGERPRINT_BYTES);
        if (attempt == r->attempt ||
            memcmp(fingerprint, r->fingerprint.data, FINGERPRINT_BYTES) != 0)
            return false; /* the id is used again for another request */
        remembered->length = reader_left(&reader);
        remembered->data = read_view(&reader, remembered->length);
        return true;
    }
    return false;
}

void retry_remember(struct apply *a, const SdkRetry *r, const void *result, size_t n)
{
    uint8_t bytes[RETRY_HEADER + STATE_RESULT_MAX], counter[4];
    uint64_t age = retry_age(a->state, a->time);
    struct writer w;
    struct key key;
    struct kv_slice value;
    struct reader reader;
    uint32_t count = 0;
    if (!retry_valid(r))
        return;
    key_begin2(&key, 'd', 'n');
    key_u64(&key, age);
    key_text(&key, r->access_key, strlen(r->access_key));
    if (txn_get(a->txn, &key, &value)) {
        reader_init(&reader, value.data, value.length);
        count = read_u32(&reader);
    }
    if (count >= RETRY_PER_AGE)
        return;
    writer_init(&w, counter, sizeof counter);
    write_u32(&w, count + 1);
    txn_put(a->txn, &key, counter, sizeof counter);
    writer_init(&w, bytes, sizeof bytes);
    write_u32(&w, r->attempt);
    write_bytes(&w, r->fingerprint.data, FINGERPRINT_BYTES);
    write_bytes(&w, result, n);
    key_retry(&key, age, r);
    txn_put(a->txn, &key, bytes, writer_used(&w));
}

uint64_t retry_first_age(struct txn *t)
{
    struct key prefix;
    struct kv_slice key, value;
    struct key_reader r;
    key_begin2(&prefix, 'd', 'r');
    if (!txn_first(t, &prefix, &key, &value))
        return 0;
    key_reader_init(&r, key, 2);
    return key_read_u64(&r);
}

/* Removes the first rows of d 'r' or d 'n' that are too old; the age of the first that stays, or
 * `now` when there is none. */
static uint64_t forget(struct apply *a, char kind, uint64_t now)
{
    struct key prefix, key;
    struct kv_slice row, value;
    struct txn_scan scan;
    uint64_t first = now;
    unsigned removed = 0;
    key_begin2(&prefix, 'd', kind);
    txn_scan_begin(&scan, a->txn, &prefix, NULL);
    while (txn_scan_next(&scan, &row, &value)) {
        struct key_reader r;
        key_reader_init(&r, row, 2);
        first = key_read_u64(&r);
        if (first + RETRY_AGES >= now || removed == RETRY_FORGET)
            break;
        key_copy(&key, row);
        txn_remove(a->txn, &key);
        removed++;
        first = now;
    }
    txn_scan_end(&scan);
    return first;
}

void retry_forget_old(struct apply *a)
{
    uint64_t now = retry_age(a->state, a->time);
    if (a->state->oldest_retry + RETRY_AGES >= now)
        return;
    uint64_t requests = forget(a, 'r', now), counters = forget(a, 'n', now);
    a->state->oldest_retry = requests < counters ? requests : counters;
}
