/* What is to be forgotten or finished at some log time, in order of time. Every command carries a
 * few of these along, which keeps them bounded and deterministic and needs no worker: an idle
 * cluster forgets later, which nobody sees.
 *
 *   d 'e' due u64, log index u64, n u16     kind u8, payload
 *
 * A job that takes several steps keeps its row until the last one. */
#include "metadata/state/state_internal.h"

enum { EXPIRE_AT_ONCE = 4, PAYLOAD_MAX = 16 };

void expiry_add(struct apply *a, int64_t due, enum expiry_kind kind, const void *payload, size_t n)
{
    uint8_t value[1 + PAYLOAD_MAX];
    struct key key;
    value[0] = (uint8_t)kind;
    memcpy(value + 1, payload, n);
    key_begin2(&key, 'd', 'e');
    key_u64(&key, (uint64_t)due);
    key_u64(&key, a->index);
    key_u16(&key, a->expiries++);
    txn_put(a->txn, &key, value, 1 + n);
    if (due < a->state->next_expiry)
        a->state->next_expiry = due;
}

static int64_t due_of(struct kv_slice key)
{
    struct key_reader r;
    key_reader_init(&r, key, 2);
    return (int64_t)key_read_u64(&r);
}

int64_t expiry_first_due(struct txn *t)
{
    struct key prefix;
    struct kv_slice key, value;
    key_begin2(&prefix, 'd', 'e');
    return txn_first(t, &prefix, &key, &value) ? due_of(key) : INT64_MAX;
}

/* One step of one job; true when it is done. */
static bool step(struct apply *a, struct kv_slice value)
{
    const uint8_t *bytes = value.data, *payload = bytes + 1;
    uint64_t bucket;
    struct key key;
    struct kv_slice row, rest;
    if (value.length < 1 + (size_t)8)
        return true;
    switch (bytes[0]) {
    case EXPIRE_WRITE:
        key_begin2(&key, 'd', 'w');
        key_raw(&key, payload, value.length - 1);
        txn_remove(a->txn, &key);
        return true;
    case EXPIRE_TOMBSTONE:
        /* Says which parts belong to the object: it must outlive the last part row. */
        key_parts(&key, payload);
        if (txn_first(a->txn, &key, &row, &rest))
            return false;
        key_begin2(&key, 'd', 't');
        key_raw(&key, payload, value.length - 1);
        txn_remove(a->txn, &key);
        return true;
    case EXPIRE_PARTS:
        return upload_drop_parts(a, payload);
    case EXPIRE_UPLOADS:
        memcpy(&bucket, payload, sizeof bucket);
        return bucket_drop_uploads(a, bucket);
    default:
        return true;
    }
}

void housekeeping(struct apply *a)
{
    struct key prefix, key;
    struct kv_slice keys[EXPIRE_AT_ONCE], values[EXPIRE_AT_ONCE], row, value;
    struct txn_scan scan;
    size_t count = 0;
    retry_forget_old(a);
    if (a->time < a->state->next_expiry)
        return;
    int64_t next = INT64_MAX;
    key_begin2(&prefix, 'd', 'e');
    key = prefix;
    key_u64(&key, (uint64_t)a->state->next_expiry);
    txn_scan_begin(&scan, a->txn, &prefix, &key);
    while (next == INT64_MAX && txn_scan_next(&scan, &row, &value)) {
        if (count == EXPIRE_AT_ONCE || due_of(row) > a->time) {
            next = due_of(row);
        } else {
            keys[count] = row;
            values[count++] = value;
        }
    }
    txn_scan_end(&scan);
    a->state->next_expiry = next; /* steps may add earlier ones */
    for (size_t i = 0; i < count; i++) {
        if (!step(a, values[i])) {
            if (due_of(keys[i]) < a->state->next_expiry)
                a->state->next_expiry = due_of(keys[i]);
            continue;
        }
        key_copy(&key, keys[i]);
        txn_remove(a->txn, &key);
    }
}
