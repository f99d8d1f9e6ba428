/* Exactly once, this side of it (hazard 7): a session is registered before its first command; each
 * command takes a slot and a sequence number that it keeps over all attempts; a session that the
 * group no longer knows is replaced, never a command repeated under another one. */
#include "common/client/metadata_client_internal.h"
#include <assert.h>
#include <string.h>
#include "common/proto/message_types.h"

void session_init(struct session *s, const char *name)
{
    memset(s, 0, sizeof *s);
    sys_mutex_init(&s->lock);
    sys_cond_init(&s->changed);
    s->name = name;
    for (uint32_t i = 0; i < SESSION_SLOTS; i++)
        s->slots[i].number = i;
}

void session_release(struct session *s)
{
    assert(s->busy == 0);
    sys_cond_release(&s->changed);
    sys_mutex_release(&s->lock);
}

/* Not locked; s->registering keeps others out. */
static enum err register_client(struct metadata_client *c, const struct request_context *request)
{
    struct session *s = &c->session;
    uint8_t client[CLIENT_ID_BYTES];
    sys_random(client, sizeof client);
    struct arena arena;
    arena_init(&arena);
    RegisterClient body = REGISTER_CLIENT__INIT;
    body.client = (ProtobufCBinaryData){.len = sizeof client, .data = client};
    body.slots = SESSION_SLOTS;
    body.name = arena_string(&arena, s->name ? s->name : "");
    Command command = COMMAND__INIT;
    command.body_case = COMMAND__BODY_REGISTER_CLIENT;
    command.register_client = &body;
    ProtobufCMessage *reply = NULL;
    bool unknown = false;
    /* Registering the same random id again changes nothing, so it needs no session of its own. */
    enum err e =
        metadata_call(c, request, MSG_COMMAND, &command.base, false, &arena, &reply, &unknown);
    if (e == OK && !reply)
        e = ERR_FORMAT;
    if (e == OK)
        e = err_from_wire(((Result *)reply)->error);
    if (e == OK) {
        sys_mutex_lock(&s->lock);
        memcpy(s->client, client, sizeof client);
        s->generation++;
        sys_mutex_unlock(&s->lock);
    }
    arena_release(&arena);
    return e;
}

/* Locked. */
static struct session_slot *free_slot(struct session *s)
{
    for (uint32_t i = 0; i < SESSION_SLOTS; i++)
        if (!s->slots[i].busy)
            return &s->slots[i];
    return NULL;
}

enum err session_acquire(struct metadata_client *c, const struct request_context *request,
                         struct session_slot **out)
{
    struct session *s = &c->session;
    enum err e = OK;
    sys_mutex_lock(&s->lock);
    for (;;) {
        struct session_slot *slot = s->registered ? free_slot(s) : NULL;
        if (slot) {
            if (slot->generation != s->generation) {
                slot->generation = s->generation;
                slot->sequence = 0;
                memcpy(slot->client, s->client, sizeof slot->client);
            }
            slot->busy = true;
            slot->sequence++;
            s->busy++;
            *out = slot;
            break;
        }
        if (!s->registered && !s->registering) {
            s->registering = true;
            sys_mutex_unlock(&s->lock);
            e = register_client(c, request);
            sys_mutex_lock(&s->lock);
            s->registering = false;
            s->registered = e == OK;
            sys_cond_broadcast(&s->changed);
            if (e != OK)
                break;
            continue;
        }
        if (sys_cond_wait(&s->changed, &s->lock, request->deadline) == ERR_TIMEOUT) {
            e = ERR_BUSY;
            break;
        }
    }
    sys_mutex_unlock(&s->lock);
    return e;
}

void session_stamp(struct session_slot *slot, Command *command)
{
    command->client = (ProtobufCBinaryData){.len = CLIENT_ID_BYTES, .data = slot->client};
    command->slot = slot->number;
    command->sequence = slot->sequence;
}

void session_give_back(struct session *s, struct session_slot *slot, bool expired)
{
    sys_mutex_lock(&s->lock);
    assert(slot->busy);
    slot->busy = false;
    s->busy--;
    if (expired && slot->generation == s->generation)
        s->registered = false;
    sys_cond_broadcast(&s->changed);
    sys_mutex_unlock(&s->lock);
}
