/* What a step asks for, gathered until the driver clears it. */
#include <string.h>
#include "common/base/alloc.h"
#include "metadata/raft/raft_internal.h"

void raft_effects_init(struct raft_effects *e)
{
    *e = (struct raft_effects){0};
}

void raft_effects_clear(struct raft_effects *e)
{
    for (size_t i = 0; i < e->message_count; i++)
        raft_message_release(&e->messages[i]);
    raft_entries_clear(&e->entries);
    raft_payload_unref(e->reset.configuration.payload);
    for (size_t i = 0; i < e->install_count; i++) {
        raft_payload_unref(e->installs[i].snapshot.configuration.payload);
        raft_payload_unref(e->installs[i].piece);
    }
    struct raft_effects empty = {
        .entries = e->entries,
        .messages = e->messages,
        .message_capacity = e->message_capacity,
        .loads = e->loads,
        .load_capacity = e->load_capacity,
        .reads = e->reads,
        .read_capacity = e->read_capacity,
        .snapshot_reads = e->snapshot_reads,
        .snapshot_read_capacity = e->snapshot_read_capacity,
        .installs = e->installs,
        .install_capacity = e->install_capacity,
    };
    *e = empty;
}

void raft_effects_release(struct raft_effects *e)
{
    raft_effects_clear(e);
    raft_entries_release(&e->entries);
    sys_free(e->messages);
    sys_free(e->loads);
    sys_free(e->reads);
    sys_free(e->snapshot_reads);
    sys_free(e->installs);
    raft_effects_init(e);
}

static void *grown(void *v, size_t n, size_t *capacity, size_t size)
{
    if (n < *capacity)
        return v;
    *capacity = *capacity ? *capacity * 2 : 8;
    return sys_realloc(v, *capacity * size);
}

/* Every message waits for the last change of term or vote; acknowledgements wait for more. */
struct raft_message *raft_send(struct raft *r, enum raft_message_type type, raft_id to)
{
    struct raft_effects *e = r->effects;
    e->messages = grown(e->messages, e->message_count, &e->message_capacity, sizeof *e->messages);
    struct raft_message *m = &e->messages[e->message_count++];
    *m = (struct raft_message){
        .type = type,
        .from = r->options.id,
        .to = to,
        .term = r->term,
        .after = r->hard_sequence > r->sequence_done ? r->hard_sequence : 0,
    };
    bool answers_leader =
        type == RAFT_APPEND_REPLY || type == RAFT_HEARTBEAT_REPLY || type == RAFT_SNAPSHOT_REPLY;
    if (answers_leader && r->discarded)
        m->commit = r->log.terms.base_index; /* wants */
    return m;
}

void raft_effect_load(struct raft *r, const struct raft_load *load)
{
    struct raft_effects *e = r->effects;
    e->loads = grown(e->loads, e->load_count, &e->load_capacity, sizeof *e->loads);
    e->loads[e->load_count++] = *load;
}

void raft_effect_snapshot_read(struct raft *r, const struct raft_snapshot_read *read)
{
    struct raft_effects *e = r->effects;
    e->snapshot_reads = grown(e->snapshot_reads, e->snapshot_read_count, &e->snapshot_read_capacity,
                              sizeof *e->snapshot_reads);
    e->snapshot_reads[e->snapshot_read_count++] = *read;
}

void raft_effect_install(struct raft *r, const struct raft_install_piece *piece)
{
    struct raft_effects *e = r->effects;
    e->installs = grown(e->installs, e->install_count, &e->install_capacity, sizeof *e->installs);
    e->installs[e->install_count++] = *piece;
    raft_payload_ref(piece->snapshot.configuration.payload);
    raft_payload_ref(piece->piece);
}

void raft_effect_read(struct raft *r, const struct raft_read_result *result)
{
    struct raft_effects *e = r->effects;
    e->reads = grown(e->reads, e->read_count, &e->read_capacity, sizeof *e->reads);
    e->reads[e->read_count++] = *result;
}
