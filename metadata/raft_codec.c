/* To and from common/proto/raft.proto. An entry's index is not sent: it follows from the message's,
 * but for a snapshot's configuration. */
#include "metadata/raft_codec.h"
#include "common/base/alloc.h"
#include "common/proto/raft.pb-c.h"
#include "common/proto/message.h"
#include "metadata/raft/raft.h"

struct packing {
    RaftMessage message;
    RaftEntry *entries;
    RaftEntry **pointers;
};

static void packing_init(struct packing *p, const struct raft_message *m)
{
    RaftMessage empty = RAFT_MESSAGE__INIT;
    size_t n = m->entries.n;
    p->message = empty;
    p->message.type = m->type;
    p->message.from = m->from;
    p->message.to = m->to;
    p->message.term = m->term;
    p->message.index = m->index;
    p->message.log_term = m->log_term;
    p->message.commit = m->commit;
    p->message.reject = m->reject;
    p->message.hint_index = m->hint_index;
    p->message.hint_term = m->hint_term;
    p->message.context = m->context;
    if (m->piece) {
        p->message.piece.data = m->piece->data;
        p->message.piece.len = m->piece->length;
    }
    p->message.offset = m->offset;
    p->message.last = m->last;
    p->entries = n ? sys_alloc(n * sizeof *p->entries) : NULL;
    p->pointers = n ? sys_alloc(n * sizeof(RaftEntry *)) : NULL;
    p->message.n_entries = n;
    p->message.entries = p->pointers;
    for (size_t i = 0; i < n; i++) {
        RaftEntry *e = p->pointers[i] = &p->entries[i];
        raft_entry__init(e);
        e->type = m->entries.v[i].type;
        e->term = m->entries.v[i].term;
        e->index = m->type == RAFT_SNAPSHOT ? m->entries.v[i].index : 0;
        if (m->entries.v[i].payload) {
            e->payload.data = m->entries.v[i].payload->data;
            e->payload.len = m->entries.v[i].payload->length;
        }
    }
}

static void packing_release(struct packing *p)
{
    sys_free(p->entries);
    sys_free(p->pointers);
}

size_t raft_codec_size(const struct raft_message *m)
{
    struct packing p;
    packing_init(&p, m);
    size_t n = raft_message__get_packed_size(&p.message);
    packing_release(&p);
    return n;
}

void raft_codec_encode(const struct raft_message *m, void *out)
{
    struct packing p;
    packing_init(&p, m);
    raft_message__pack(&p.message, out);
    packing_release(&p);
}

static enum err unpack(const RaftMessage *in, struct raft_message *out)
{
    if (in->type == 0 || in->type > RAFT_TIMEOUT_NOW || in->n_entries > RAFT_MESSAGE_ENTRIES_MAX ||
        in->index > UINT64_MAX / 2 || in->piece.len > RAFT_PIECE_MAX)
        return ERR_FORMAT;
    *out = (struct raft_message){
        .type = (enum raft_message_type)in->type,
        .from = in->from,
        .to = in->to,
        .term = in->term,
        .index = in->index,
        .log_term = in->log_term,
        .commit = in->commit,
        .reject = in->reject,
        .hint_index = in->hint_index,
        .hint_term = in->hint_term,
        .context = in->context,
        .offset = in->offset,
        .last = in->last,
    };
    if (in->piece.len)
        out->piece = raft_payload_new(in->piece.data, in->piece.len);
    for (size_t i = 0; i < in->n_entries; i++) {
        const RaftEntry *e = in->entries[i];
        if (e->payload.len > RAFT_COMMAND_MAX || e->type == 0 || e->type > 255)
            return ERR_FORMAT;
        struct raft_entry entry = {.index =
                                       out->type == RAFT_SNAPSHOT ? e->index : in->index + 1 + i,
                                   .term = e->term,
                                   .type = (enum raft_entry_type)e->type};
        if (e->payload.len)
            entry.payload = raft_payload_new(e->payload.data, e->payload.len);
        raft_entries_push(&out->entries, &entry);
        raft_payload_unref(entry.payload);
    }
    return OK;
}

enum err raft_codec_decode(const void *data, size_t n, struct raft_message *out)
{
    *out = (struct raft_message){0};
    if (n > RAFT_CODEC_MAX)
        return ERR_TOO_BIG;
    struct arena arena;
    arena_init(&arena);
    ProtobufCMessage *in;
    enum err e = message_unpack(&raft_message__descriptor, &arena, data, n, &in);
    if (!e)
        e = unpack((const RaftMessage *)in, out);
    if (e)
        raft_message_release(out);
    arena_release(&arena);
    return e;
}
